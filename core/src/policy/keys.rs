//! Among rules for one tool, those whose condition is not surely *no*: found by a value and not by asking each.
//!
//! A rule's **key test** is one that its condition is at most as true as: where the key is *no*, the rule is. Rules with
//! a key are filed under the texts that it names, or under the interval of numbers that it allows. A value of another
//! type, or none, makes every key of a field *maybe*, and then all of its rules are asked.
//!
//! Invariant: each rule is drawn at most once, and every rule that is drawn from no list is *no*.

use crate::decimal::Decimal;
use crate::policy::artifact::{Ask, Literal, Op, Order, Rule, Test};
use crate::policy::conditions::{Asking, Found};
use crate::policy::facts::Operand;
use crate::policy::index::{List, Lists};
use std::cmp::Ordering;
use std::collections::HashMap;

/// So few rules are asked one by one sooner than they are looked up.
const KEYED_MIN: usize = 8;
/// Fields by which the rules of one tool are filed: each is read for every call of the tool.
const KEY_FIELDS_MAX: usize = 4;
/// Values of one `in` under which a rule is filed; a longer list is asked.
const KEY_VALUES_MAX: usize = 16;

/// Rules for one tool, or for one head of tools.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Rules without a key.
    plain: List,
    keyed: Box<[Keyed]>,
}

/// Rules filed by one field.
#[derive(Debug)]
struct Keyed {
    field: u32,
    texts: HashMap<Box<str>, List>,
    all_texts: List,
    numbers: Intervals,
    all_numbers: List,
}

impl Group {
    /// Files rules; `ranks` are theirs, ascending.
    pub(crate) fn new(ranks: &[u32], of: &Ruled<'_>, lists: &mut Lists) -> Group {
        if ranks.len() < KEYED_MIN {
            return Group {
                plain: lists.add(ranks),
                keyed: Box::default(),
            };
        }
        let chosen = choose(ranks, of);
        let plain: Vec<u32> = unkeyed(ranks, &chosen);
        let mut fields: Vec<u32> = chosen.iter().map(|(_, key)| key.field).collect();
        fields.sort_unstable();
        fields.dedup();
        let keyed = fields.into_iter().map(|field| {
            let of_field = chosen.iter().filter(|(_, key)| key.field == field);
            Keyed::new(field, of_field, lists)
        });
        Group {
            keyed: keyed.collect(),
            plain: lists.add(&plain),
        }
    }

    /// Draws what may apply.
    pub(crate) fn draw(&self, asking: &mut Asking<'_, '_>, lists: &Lists) {
        lists.draw(self.plain, asking.seen);
        for keyed in &self.keyed {
            keyed.draw(asking, lists);
        }
    }
}

impl Keyed {
    fn new<'k, 'r: 'k>(
        field: u32,
        rules: impl Iterator<Item = &'k (u32, Key<'r>)>,
        lists: &mut Lists,
    ) -> Keyed {
        let mut texts: HashMap<&str, Vec<u32>> = HashMap::new();
        let (mut all_texts, mut all_numbers, mut spans) = (Vec::new(), Vec::new(), Vec::new());
        for (rank, key) in rules {
            match &key.allows {
                Allows::Texts(values) => {
                    all_texts.push(*rank);
                    for text in values {
                        texts.entry(text).or_default().push(*rank);
                    }
                }
                Allows::Numbers(allowed) => {
                    all_numbers.push(*rank);
                    spans.extend(allowed.iter().map(|span| (*span, *rank)));
                }
            }
        }
        let texts = texts.into_iter();
        Keyed {
            field,
            texts: texts
                .map(|(text, ranks)| (text.into(), lists.add(&ranks)))
                .collect(),
            all_texts: lists.add(&all_texts),
            numbers: Intervals::new(&spans, lists),
            all_numbers: lists.add(&all_numbers),
        }
    }

    fn draw(&self, asking: &mut Asking<'_, '_>, lists: &Lists) {
        match asking.find(self.field) {
            Found::Undeclared => {}
            Found::Present(Operand::String(text)) => {
                let found = self.texts.get(text).copied().unwrap_or_default();
                lists.draw(found, asking.seen);
                lists.draw(self.all_numbers, asking.seen);
            }
            Found::Present(Operand::Number(number)) => {
                for found in self.numbers.around(&number) {
                    lists.draw(found, asking.seen);
                }
                lists.draw(self.all_texts, asking.seen);
            }
            Found::Present(_) | Found::Absent | Found::Beyond => {
                lists.draw(self.all_texts, asking.seen);
                lists.draw(self.all_numbers, asking.seen);
            }
        }
    }
}

/// What keys are found in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ruled<'r> {
    /// Rank to place.
    pub(crate) order: &'r [u32],
    pub(crate) rules: &'r [Rule],
    pub(crate) tests: &'r [Test],
}

impl<'r> Ruled<'r> {
    fn condition(&self, rank: u32) -> &'r [Op] {
        let rule = self
            .order
            .get(rank as usize)
            .and_then(|place| self.rules.get(*place as usize));
        rule.map_or(&[], |rule| &rule.condition)
    }
}

/// A rule applies only where this field has one of these values.
#[derive(Debug, Clone)]
struct Key<'r> {
    field: u32,
    allows: Allows<'r>,
}

#[derive(Debug, Clone)]
enum Allows<'r> {
    Texts(Vec<&'r str>),
    /// Disjoint; none, where no number is allowed.
    Numbers(Vec<Span<'r>>),
}

/// For each rule that is worth filing its best key: the one that fewest rules share.
fn choose<'r>(ranks: &[u32], of: &Ruled<'r>) -> Vec<(u32, Key<'r>)> {
    let keys: Vec<(u32, Vec<Key<'r>>)> = ranks
        .iter()
        .map(|rank| (*rank, keys(of.condition(*rank), of.tests)))
        .collect();
    let crowds = Crowds::of(&keys);
    let best = |keys: &[Key<'r>], fields: Option<&[u32]>| {
        let of_fields = |key: &&Key<'r>| fields.is_none_or(|fields| fields.contains(&key.field));
        let ranked = keys
            .iter()
            .filter(of_fields)
            .map(|key| (crowds.share(key, ranks.len()), key));
        // Filed under what most others are filed under too, a rule is not found any faster.
        let worthwhile = ranked.filter(|(share, _)| share * 4 <= ranks.len() * 3);
        worthwhile
            .min_by_key(|(share, key)| (*share, key.field))
            .map(|(_, key)| key.clone())
    };
    let mut votes: HashMap<u32, usize> = HashMap::new();
    for (_, keys) in &keys {
        if let Some(key) = best(keys, None) {
            *votes.entry(key.field).or_default() += 1;
        }
    }
    let mut fields: Vec<(usize, u32)> = votes
        .into_iter()
        .filter(|(_, votes)| *votes >= KEYED_MIN)
        .map(|(field, votes)| (votes, field))
        .collect();
    fields.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let fields: Vec<u32> = fields
        .into_iter()
        .take(KEY_FIELDS_MAX)
        .map(|it| it.1)
        .collect();
    keys.iter()
        .filter_map(|(rank, keys)| Some((*rank, best(keys, Some(&fields))?)))
        .collect()
}

/// The ranks that no key was chosen for; both ascend.
fn unkeyed(ranks: &[u32], chosen: &[(u32, Key<'_>)]) -> Vec<u32> {
    let has_key = |rank: &&u32| {
        chosen
            .binary_search_by_key(*rank, |(rank, _)| *rank)
            .is_err()
    };
    ranks.iter().filter(has_key).copied().collect()
}

/// How many rules share a value of a key.
struct Crowds<'r> {
    texts: HashMap<(u32, &'r str), usize>,
    spans: HashMap<(u32, Span<'r>), usize>,
}

impl<'r> Crowds<'r> {
    fn of(keys: &[(u32, Vec<Key<'r>>)]) -> Crowds<'r> {
        let (mut texts, mut spans) = (HashMap::new(), HashMap::new());
        for key in keys.iter().flat_map(|(_, keys)| keys) {
            match &key.allows {
                Allows::Texts(values) => {
                    for text in values {
                        *texts.entry((key.field, *text)).or_default() += 1;
                    }
                }
                Allows::Numbers(values) => {
                    for span in values {
                        *spans.entry((key.field, *span)).or_default() += 1;
                    }
                }
            }
        }
        Crowds { texts, spans }
    }

    /// How many of the rules are about to be found by this key's values; guessed for what is open to one side.
    fn share(&self, key: &Key<'r>, rules: usize) -> usize {
        match &key.allows {
            Allows::Texts(values) => values
                .iter()
                .map(|text| self.texts.get(&(key.field, *text)).copied().unwrap_or(0))
                .sum(),
            Allows::Numbers(values) => values
                .iter()
                .map(|span| {
                    let same = self.spans.get(&(key.field, *span)).copied().unwrap_or(0);
                    same.max(if span.is_open() { rules / 2 } else { 0 })
                })
                .sum(),
        }
    }
}

/// Every key of a condition, one a field and type.
fn keys<'r>(condition: &[Op], tests: &'r [Test]) -> Vec<Key<'r>> {
    let mut keys: Vec<Key<'r>> = Vec::new();
    for number in conjuncts(condition) {
        let Some(test) = tests.get(number as usize) else {
            continue;
        };
        let Some(allows) = allows(&test.ask) else {
            continue;
        };
        let with = keys
            .iter_mut()
            .find_map(|key| match (&mut key.allows, &allows) {
                (Allows::Numbers(known), Allows::Numbers(_)) if key.field == test.field => {
                    Some(known)
                }
                _ => None,
            });
        match (with, &allows) {
            (Some(known), Allows::Numbers(new)) => *known = meet(known, new),
            _ => keys.push(Key {
                field: test.field,
                allows,
            }),
        }
    }
    keys
}

/// The tests that a condition is at most as true as: those of its outermost conjunction.
fn conjuncts(condition: &[Op]) -> Vec<u32> {
    let mut tests = Vec::new();
    // Of each operand that is still to come, from the last one on, whether it is one of the outermost conjunction.
    let mut outermost = vec![true];
    for op in condition.iter().rev() {
        let Some(here) = outermost.pop() else { break };
        match op {
            Op::Test(test) if here => tests.push(*test),
            Op::Test(_) | Op::Const(_) => {}
            Op::And => outermost.extend([here, here]),
            Op::Or => outermost.extend([false, false]),
            Op::Not => outermost.push(false),
        }
    }
    tests
}

/// What a test allows, where it can be looked up.
fn allows(ask: &Ask) -> Option<Allows<'_>> {
    match ask {
        Ask::Equals(literal) => of_literals(std::slice::from_ref(literal)),
        Ask::In(literals) if literals.len() <= KEY_VALUES_MAX => of_literals(literals),
        Ask::Compare(order, bound) => Some(Allows::Numbers(vec![Span::of(*order, bound)])),
        _ => None,
    }
}

/// Literals of one type.
fn of_literals(literals: &[Literal]) -> Option<Allows<'_>> {
    let texts = literals.iter().map(|literal| match literal {
        Literal::String(text) => Some(text.as_str()),
        _ => None,
    });
    let numbers = literals.iter().map(|literal| match literal {
        Literal::Number(number) => Some(Span::point(number)),
        _ => None,
    });
    let texts: Option<Vec<&str>> = texts.collect();
    texts
        .map(Allows::Texts)
        .or_else(|| numbers.collect::<Option<_>>().map(Allows::Numbers))
}

/// The numbers between two ends; `None`: there is none on that side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Span<'r> {
    from: Option<End<'r>>,
    to: Option<End<'r>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct End<'r> {
    at: &'r Decimal,
    /// The end itself is in the span.
    included: bool,
}

impl<'r> Span<'r> {
    const fn of(order: Order, at: &'r Decimal) -> Span<'r> {
        let included = matches!(order, Order::LessOrEqual | Order::GreaterOrEqual);
        let end = Some(End { at, included });
        match order {
            Order::Less | Order::LessOrEqual => Span {
                from: None,
                to: end,
            },
            Order::Greater | Order::GreaterOrEqual => Span {
                from: end,
                to: None,
            },
        }
    }

    const fn point(at: &'r Decimal) -> Span<'r> {
        let end = Some(End { at, included: true });
        Span { from: end, to: end }
    }

    const fn is_open(&self) -> bool {
        self.from.is_none() || self.to.is_none()
    }

    /// What both allow, if that is anything.
    fn meet(&self, other: &Span<'r>) -> Option<Span<'r>> {
        let inner = |a: Option<End<'r>>, b: Option<End<'r>>, further: Ordering| match (a, b) {
            (Some(a), Some(b)) => Some(match a.at.cmp(b.at) {
                Ordering::Equal => End {
                    at: a.at,
                    included: a.included && b.included,
                },
                order if order == further => a,
                _ => b,
            }),
            (a, b) => a.or(b),
        };
        let met = Span {
            from: inner(self.from, other.from, Ordering::Greater),
            to: inner(self.to, other.to, Ordering::Less),
        };
        let is_empty = match (met.from, met.to) {
            (Some(from), Some(to)) => match from.at.cmp(to.at) {
                Ordering::Less => false,
                Ordering::Equal => !(from.included && to.included),
                Ordering::Greater => true,
            },
            _ => false,
        };
        (!is_empty).then_some(met)
    }
}

/// What two lists of spans both allow.
fn meet<'r>(a: &[Span<'r>], b: &[Span<'r>]) -> Vec<Span<'r>> {
    let pairs = a.iter().flat_map(|a| b.iter().map(move |b| a.meet(b)));
    pairs.flatten().collect()
}

/// Spans in a tree of halves: those around a number lie on one way from a leaf to the root.
///
/// The bounds cut the numbers into slots: slot 2i is below bound i and above the one before, slot 2i + 1 is bound i
/// itself.
#[derive(Debug, Default)]
struct Intervals {
    bounds: Vec<Decimal>,
    /// Leaves of the tree: a power of two.
    leaves: usize,
    /// Node n's halves are 2n and 2n + 1; the root is 1, and leaf s is node `leaves + s`.
    nodes: Vec<List>,
}

impl Intervals {
    fn new(spans: &[(Span<'_>, u32)], lists: &mut Lists) -> Intervals {
        if spans.is_empty() {
            return Intervals::default();
        }
        let ends = spans.iter().flat_map(|(span, _)| [span.from, span.to]);
        let mut bounds: Vec<Decimal> = ends.flatten().map(|end| end.at.clone()).collect();
        bounds.sort_unstable();
        bounds.dedup();
        let leaves = (2 * bounds.len() + 1).next_power_of_two();
        let mut filed: Vec<(usize, u32)> = Vec::new();
        for (span, rank) in spans {
            let (from, to) = slots(span, &bounds);
            cover(leaves + from, leaves + to + 1, |node| {
                filed.push((node, *rank))
            });
        }
        filed.sort_unstable();
        let mut nodes = vec![List::default(); 2 * leaves];
        for of_node in filed.chunk_by(|a, b| a.0 == b.0) {
            let ranks: Vec<u32> = of_node.iter().map(|(_, rank)| *rank).collect();
            let slot = of_node.first().and_then(|(node, _)| nodes.get_mut(*node));
            if let Some(slot) = slot {
                *slot = lists.add(&ranks);
            }
        }
        Intervals {
            bounds,
            leaves,
            nodes,
        }
    }

    /// The lists of every span that holds the number.
    fn around(&self, number: &Decimal) -> impl Iterator<Item = List> {
        let slot = match self.bounds.binary_search(number) {
            Ok(at) => 2 * at + 1,
            Err(at) => 2 * at,
        };
        let leaf = (self.leaves > 0).then_some(self.leaves + slot);
        let way = std::iter::successors(leaf, |node| (*node > 1).then_some(node / 2));
        way.filter_map(|node| {
            self.nodes
                .get(node)
                .copied()
                .filter(|list| !list.is_empty())
        })
    }
}

/// The first and the last slot of a span.
fn slots(span: &Span<'_>, bounds: &[Decimal]) -> (usize, usize) {
    let place = |end: End<'_>| bounds.binary_search(end.at).unwrap_or_else(|at| at);
    let from = span
        .from
        .map_or(0, |end| 2 * place(end) + 1 + usize::from(!end.included));
    let to = span.to.map_or(2 * bounds.len(), |end| {
        2 * place(end) + usize::from(end.included)
    });
    (from, to)
}

/// The fewest nodes that together have exactly the leaves from `from` up to before `to`.
fn cover(mut from: usize, mut to: usize, mut node: impl FnMut(usize)) {
    while from < to {
        if from % 2 == 1 {
            node(from);
            from += 1;
        }
        if to % 2 == 1 {
            to -= 1;
            node(to);
        }
        from /= 2;
        to /= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(n: i64) -> Decimal {
        Decimal::from(n)
    }

    #[test]
    fn the_conjuncts_of_a_condition_are_those_that_it_cannot_do_without() {
        use Op::{And, Const, Not, Or, Test};
        let of = |condition: &[Op]| {
            let mut tests = conjuncts(condition);
            tests.sort_unstable();
            tests
        };
        assert_eq!(of(&[]), [0_u32; 0]);
        assert_eq!(of(&[Test(3)]), [3]);
        assert_eq!(of(&[Test(1), Test(2), And, Test(3), And]), [1, 2, 3]);
        assert_eq!(of(&[Test(1), Test(2), Or, Test(3), And]), [3]);
        assert_eq!(of(&[Test(1), Not, Test(2), Const(true), And, And]), [2]);
        assert_eq!(of(&[Test(1), Test(2), And, Not]), [0_u32; 0]);
    }

    #[test]
    fn a_number_draws_exactly_the_spans_that_hold_it() {
        let points: Vec<Decimal> = (0..7).map(|n| number(n * 10)).collect();
        let mut spans = Vec::new();
        for from in &points {
            for order in [
                Order::Less,
                Order::LessOrEqual,
                Order::Greater,
                Order::GreaterOrEqual,
            ] {
                spans.push(Span::of(order, from));
            }
            spans.push(Span::point(from));
            for to in &points {
                let low = Span::of(Order::GreaterOrEqual, from);
                spans.extend(low.meet(&Span::of(Order::Less, to)));
                spans
                    .extend(Span::of(Order::Greater, from).meet(&Span::of(Order::LessOrEqual, to)));
            }
        }
        let numbered: Vec<(Span<'_>, u32)> = spans.iter().copied().zip(0..).collect();
        let mut lists = Lists::default();
        let intervals = Intervals::new(&numbered, &mut lists);
        for n in -5..70 {
            let value = number(n);
            let holds = |span: &Span<'_>| {
                span.from.is_none_or(|end| match value.cmp(end.at) {
                    Ordering::Equal => end.included,
                    order => order == Ordering::Greater,
                }) && span.to.is_none_or(|end| match value.cmp(end.at) {
                    Ordering::Equal => end.included,
                    order => order == Ordering::Less,
                })
            };
            let expected: Vec<u32> = numbered
                .iter()
                .filter(|(span, _)| holds(span))
                .map(|(_, rank)| *rank)
                .collect();
            let mut drawn: Vec<u32> = intervals
                .around(&value)
                .flat_map(|list| lists.ranks(list).to_vec())
                .collect();
            drawn.sort_unstable();
            assert_eq!(drawn, expected, "{n}");
        }
    }
}
