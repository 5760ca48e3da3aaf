//! Whether some call can give conditions the truth values that are wanted of them: how a rule that never applies is found.
//!
//! Invariant: "no" is an answer only where it is sure. What is not understood, and what would take too long, is possible.

use crate::conditions::Tables;
use crate::lower::{Declared, Declares};
use faramesh_core::decimal::Decimal;
use faramesh_core::policy::artifact::{
    Ask, Field, Kind, Literal, Op, Order, SessionPart, TimePart,
};
use std::collections::BTreeMap;

/// Steps of one search; a condition that takes more is taken for possible.
const STEPS_PER_SEARCH_MAX: usize = 1_000;
/// Steps of all searches of one agent: a hundred thousand rules do not stop the compiler.
const STEPS_MAX: usize = 1_000_000;
/// Constants of one field that are tried; with more, its tests are taken for possible.
const CONSTANTS_MAX: usize = 64;

/// What a condition must come out as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Yes,
    No,
    /// No or unknown.
    NotYes,
    /// Yes or unknown.
    NotNo,
}

impl Want {
    const fn turned(self) -> Want {
        match self {
            Want::Yes => Want::No,
            Want::No => Want::Yes,
            Want::NotYes => Want::NotNo,
            Want::NotNo => Want::NotYes,
        }
    }

    /// Whether a test that came out so is as wanted; `None`: unknown.
    const fn met(self, found: Option<bool>) -> bool {
        match (self, found) {
            (Want::Yes | Want::NotNo, Some(found)) => found,
            (Want::No | Want::NotYes, Some(found)) => !found,
            (Want::NotYes | Want::NotNo, None) => true,
            (Want::Yes | Want::No, None) => false,
        }
    }

    /// Of a test that is surely one of the two.
    const fn holds(self) -> bool {
        matches!(self, Want::Yes | Want::NotNo)
    }
}

/// A condition as a tree again.
#[derive(Debug)]
pub(super) enum Tree {
    Test(u32),
    Const(bool),
    And(Vec<Tree>),
    Or(Vec<Tree>),
    Not(Box<Tree>),
}

impl Tree {
    /// Of a postfix program; an empty one is always yes. `None` if it does not balance.
    pub(super) fn of(program: &[Op]) -> Option<Tree> {
        let mut stack = Vec::new();
        for op in program {
            let tree = match op {
                Op::Test(test) => Tree::Test(*test),
                Op::Const(value) => Tree::Const(*value),
                Op::Not => Tree::Not(Box::new(stack.pop()?)),
                Op::And => match (stack.pop()?, stack.pop()?) {
                    (last, Tree::And(mut parts)) => {
                        parts.push(last);
                        Tree::And(parts)
                    }
                    (last, first) => Tree::And(vec![first, last]),
                },
                Op::Or => match (stack.pop()?, stack.pop()?) {
                    (last, Tree::Or(mut parts)) => {
                        parts.push(last);
                        Tree::Or(parts)
                    }
                    (last, first) => Tree::Or(vec![first, last]),
                },
            };
            stack.push(tree);
        }
        match stack.pop() {
            None => Some(Tree::Const(true)),
            Some(tree) if stack.is_empty() => Some(tree),
            Some(_) => None,
        }
    }
}

impl Tree {
    /// Part of it is written as a constant, which was reported where it stands.
    pub(super) fn has_constant(&self) -> bool {
        match self {
            Tree::Test(_) => false,
            Tree::Const(_) => true,
            Tree::Not(inner) => inner.has_constant(),
            Tree::And(parts) | Tree::Or(parts) => parts.iter().any(Tree::has_constant),
        }
    }
}

/// What is known of the calls that a search is about, and how much work is left.
pub(super) struct Search<'a> {
    pub(super) tables: &'a Tables,
    pub(super) declared: &'a Declared,
    steps_left: usize,
}

/// A test with what is wanted of it.
type Leaf = (u32, Want);

impl<'a> Search<'a> {
    pub(super) const fn new(tables: &'a Tables, declared: &'a Declared) -> Self {
        Search {
            tables,
            declared,
            steps_left: STEPS_MAX,
        }
    }

    /// Whether some call of these tools gives each condition what is wanted of it.
    pub(super) fn possible(&mut self, tools: &str, goals: &[(&Tree, Want)]) -> bool {
        let mut steps = STEPS_PER_SEARCH_MAX.min(self.steps_left);
        let given = steps;
        let found = self.search(tools, goals.to_vec(), &mut Vec::new(), &mut steps);
        self.steps_left -= given - steps;
        found
    }

    fn search(
        &self,
        tools: &str,
        mut goals: Vec<(&Tree, Want)>,
        leaves: &mut Vec<Leaf>,
        steps: &mut usize,
    ) -> bool {
        let Some(left) = steps.checked_sub(1) else {
            return true;
        };
        *steps = left;
        let Some((tree, want)) = goals.pop() else {
            return true;
        };
        let (parts, all) = match tree {
            Tree::Const(value) => {
                return want.met(Some(*value)) && self.search(tools, goals, leaves, steps);
            }
            Tree::Not(inner) => {
                goals.push((inner, want.turned()));
                return self.search(tools, goals, leaves, steps);
            }
            Tree::Test(test) => {
                leaves.push((*test, want));
                let found =
                    self.agrees(tools, *test, leaves) && self.search(tools, goals, leaves, steps);
                leaves.pop();
                return found;
            }
            Tree::And(parts) => (parts, want.holds()),
            Tree::Or(parts) => (parts, !want.holds()),
        };
        if all {
            goals.extend(parts.iter().map(|part| (part, want)));
            return self.search(tools, goals, leaves, steps);
        }
        parts.iter().any(|part| {
            let mut goals = goals.clone();
            goals.push((part, want));
            self.search(tools, goals, leaves, steps)
        })
    }

    /// Whether some value of the newest test's field gives all tests of that field what is wanted of them.
    fn agrees(&self, tools: &str, newest: u32, leaves: &[Leaf]) -> bool {
        let Some((field, _)) = self.tables.test(newest) else {
            return true;
        };
        let of_field: Vec<(&Ask, Want)> = leaves
            .iter()
            .filter_map(|(test, want)| {
                let (other, ask) = self.tables.test(*test)?;
                (other == field).then_some((ask, *want))
            })
            .collect();
        if let Field::Calculated(_) = field {
            return contrary(&of_field).is_none();
        }
        let shapes = self.shapes(tools, field);
        (shapes.absent
            && of_field
                .iter()
                .all(|(ask, want)| want.met(when_absent(ask))))
            || (shapes.bool
                && [false, true].into_iter().any(|value| {
                    let value = Literal::Bool(value);
                    of_field
                        .iter()
                        .all(|(ask, want)| want.met(put(ask, &value)))
                }))
            || (shapes.number && some_number(field, &of_field))
            || (shapes.text && some_text(&of_field))
            || (shapes.other && some_other(&of_field))
    }

    fn shapes(&self, tools: &str, field: &Field) -> Shapes {
        match field {
            Field::Time(_) => Shapes {
                number: true,
                ..Shapes::NONE
            },
            Field::Tool | Field::Agent | Field::Action => Shapes {
                text: true,
                ..Shapes::NONE
            },
            Field::Length(_) | Field::Count { .. } | Field::Sum { .. } | Field::Denials { .. } => {
                Shapes {
                    number: true,
                    absent: true,
                    ..Shapes::NONE
                }
            }
            Field::Args(path) => {
                let absent = !self.declared.requires(tools, path);
                let kind = match self.declared.argument(tools, path) {
                    Declares::Kind(kind) => kind,
                    Declares::Object => Kind::Object,
                    _ => Kind::Any,
                };
                Shapes {
                    absent,
                    ..Shapes::of(kind)
                }
            }
            _ => Shapes::ANY,
        }
    }
}

/// What a value may be.
#[derive(Clone, Copy)]
struct Shapes {
    absent: bool,
    bool: bool,
    number: bool,
    text: bool,
    /// A list or an object.
    other: bool,
}

impl Shapes {
    const NONE: Shapes = Shapes {
        absent: false,
        bool: false,
        number: false,
        text: false,
        other: false,
    };
    const ANY: Shapes = Shapes {
        absent: true,
        bool: true,
        number: true,
        text: true,
        other: true,
    };

    const fn of(kind: Kind) -> Shapes {
        let mut shapes = Shapes::NONE;
        match kind {
            Kind::Any => return Shapes::ANY,
            Kind::Bool => shapes.bool = true,
            Kind::Number | Kind::Money | Kind::Duration | Kind::Size => shapes.number = true,
            Kind::Text | Kind::Path(_) => shapes.text = true,
            Kind::List | Kind::Object => shapes.other = true,
        }
        shapes
    }
}

/// What a test of an absent value is.
const fn when_absent(ask: &Ask) -> Option<bool> {
    match ask {
        Ask::Has => Some(false),
        _ => None,
    }
}

/// What a test of this value is, where that is known here; `None`: unknown for every such value.
fn put(ask: &Ask, value: &Literal) -> Option<bool> {
    match (ask, value) {
        (Ask::Has, _) => Some(true),
        (Ask::IsTrue, Literal::Bool(value)) => Some(*value),
        (Ask::Equals(literal), value) if same_type(literal, value) => Some(literal == value),
        (Ask::In(list), value) if list.first().is_some_and(|first| same_type(first, value)) => {
            Some(list.contains(value))
        }
        (Ask::Compare(order, bound), Literal::Number(number)) => Some(match order {
            Order::Less => number < bound,
            Order::LessOrEqual => number <= bound,
            Order::Greater => number > bound,
            Order::GreaterOrEqual => number >= bound,
        }),
        (Ask::Contains(Literal::String(part)), Literal::String(text)) => {
            Some(text.contains(part.as_str()))
        }
        (Ask::StartsWith(part), Literal::String(text)) => Some(text.starts_with(part.as_str())),
        (Ask::EndsWith(part), Literal::String(text)) => Some(text.ends_with(part.as_str())),
        (Ask::Matches(source), Literal::String(text)) => {
            faramesh_core::policy::artifact::compile_expression("", source)
                .ok()
                .and_then(|expression| expression.is_match(text))
        }
        _ => None,
    }
}

fn same_type(a: &Literal, b: &Literal) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// A test of which both answers are wanted.
fn contrary<'l>(leaves: &[(&'l Ask, Want)]) -> Option<&'l Ask> {
    leaves.iter().enumerate().find_map(|(index, (ask, want))| {
        leaves
            .iter()
            .take(index)
            .any(|(other, wanted)| other == ask && wanted.holds() != want.holds())
            .then_some(*ask)
    })
}

/// Whether a kind of value answers the test with yes or no.
const fn asks_number(ask: &Ask) -> bool {
    matches!(
        ask,
        Ask::Has | Ask::Compare(..) | Ask::Equals(Literal::Number(_)) | Ask::CompareField(..)
    )
}

fn some_number(field: &Field, leaves: &[(&Ask, Want)]) -> bool {
    let asked = |ask: &Ask| {
        asks_number(ask)
            || matches!(ask, Ask::In(list) if matches!(list.first(), Some(Literal::Number(_))))
    };
    // What a number leaves unknown.
    if leaves
        .iter()
        .any(|(ask, want)| !asked(ask) && !want.met(None))
    {
        return false;
    }
    if contrary(leaves).is_some_and(asked) {
        return false;
    }
    let sure: Vec<&(&Ask, Want)> = leaves
        .iter()
        .filter(|(ask, _)| asked(ask) && !matches!(ask, Ask::CompareField(..)))
        .collect();
    let fits = |number: &Decimal| {
        let value = Literal::Number(number.clone());
        sure.iter().all(|(ask, want)| want.met(put(ask, &value)))
    };
    match whole_range(field) {
        Some((first, last)) => (first..=last).any(|number| fits(&Decimal::from(number))),
        None => match candidates(&sure) {
            Some(numbers) => numbers
                .iter()
                .filter(|number| !counts(field) || **number >= Decimal::ZERO)
                .any(fits),
            None => true,
        },
    }
}

/// Every whole number that a part of the time can be.
const fn whole_range(field: &Field) -> Option<(i64, i64)> {
    match field {
        Field::Time(TimePart::Hour) => Some((0, 23)),
        Field::Time(TimePart::Minute) => Some((0, 59)),
        Field::Time(TimePart::Weekday) => Some((1, 7)),
        Field::Time(TimePart::Day) => Some((1, 31)),
        Field::Time(TimePart::Month) => Some((1, 12)),
        _ => None,
    }
}

/// Never below nothing.
const fn counts(field: &Field) -> bool {
    matches!(
        field,
        Field::Length(_)
            | Field::Count { .. }
            | Field::Denials { .. }
            | Field::Session(SessionPart::CallCount | SessionPart::Duration)
    )
}

/// Numbers of which one fits if any number does: every bound, and one between each two and beyond each end.
fn candidates(leaves: &[&(&Ask, Want)]) -> Option<Vec<Decimal>> {
    let mut bounds = vec![Decimal::ZERO];
    for (ask, _) in leaves {
        match ask {
            Ask::Compare(_, number) | Ask::Equals(Literal::Number(number)) => {
                bounds.push(number.clone());
            }
            Ask::In(list) => bounds.extend(list.iter().filter_map(|literal| match literal {
                Literal::Number(number) => Some(number.clone()),
                _ => None,
            })),
            _ => {}
        }
    }
    if bounds.len() > CONSTANTS_MAX {
        return None;
    }
    bounds.sort();
    bounds.dedup();
    let one = Decimal::from(1);
    let half = Decimal::parse("0.5").ok()?;
    let mut numbers = vec![bounds.first()?.minus(&one)?, bounds.last()?.plus(&one)?];
    for pair in bounds.windows(2) {
        if let [a, b] = pair {
            numbers.push(a.plus(b)?.times(&half)?);
        }
    }
    numbers.extend(bounds);
    Some(numbers)
}

fn asks_text(ask: &Ask) -> bool {
    match ask {
        Ask::Has
        | Ask::Equals(Literal::String(_))
        | Ask::Matches(_)
        | Ask::Contains(Literal::String(_))
        | Ask::StartsWith(_)
        | Ask::EndsWith(_)
        | Ask::Glob(..)
        | Ask::CompareField(..) => true,
        Ask::In(list) => matches!(list.first(), Some(Literal::String(_))),
        _ => false,
    }
}

fn some_text(leaves: &[(&Ask, Want)]) -> bool {
    if leaves
        .iter()
        .any(|(ask, want)| !asks_text(ask) && !want.met(None))
        || contrary(leaves).is_some_and(asks_text)
    {
        return false;
    }
    let sure = || {
        leaves.iter().filter(|(ask, _)| {
            asks_text(ask) && !matches!(ask, Ask::CompareField(..) | Ask::Glob(..))
        })
    };
    let named = sure().find_map(|(ask, want)| match ask {
        Ask::Equals(literal) if want.holds() => Some(std::slice::from_ref(literal)),
        Ask::In(list) if want.holds() && list.len() <= CONSTANTS_MAX => Some(list.as_slice()),
        _ => None,
    });
    match named {
        Some(texts) => texts
            .iter()
            .any(|text| sure().all(|(ask, want)| want.met(put(ask, text)))),
        None => parts_agree(leaves),
    }
}

/// Heads, tails and parts of one text that it must have and must not have.
fn parts_agree(leaves: &[(&Ask, Want)]) -> bool {
    let all = |wanted: bool| {
        leaves
            .iter()
            .filter(move |(_, want)| want.holds() == wanted)
            .map(|(ask, _)| *ask)
    };
    all(true).all(|must| {
        let heads = all(true).all(|other| match (must, other) {
            (Ask::StartsWith(a), Ask::StartsWith(b)) => a.starts_with(b) || b.starts_with(a),
            (Ask::EndsWith(a), Ask::EndsWith(b)) => a.ends_with(b) || b.ends_with(a),
            _ => true,
        });
        heads
            && all(false).all(|never| match (must, never) {
                (Ask::StartsWith(a), Ask::StartsWith(b)) => !a.starts_with(b),
                (Ask::EndsWith(a), Ask::EndsWith(b)) => !a.ends_with(b),
                (
                    Ask::StartsWith(a) | Ask::EndsWith(a) | Ask::Contains(Literal::String(a)),
                    Ask::Contains(Literal::String(b)),
                ) => !a.contains(b),
                _ => true,
            })
    })
}

fn some_other(leaves: &[(&Ask, Want)]) -> bool {
    let asked = |ask: &Ask| {
        matches!(
            ask,
            Ask::Has | Ask::Contains(_) | Ask::AnyGlob(_) | Ask::CompareField(..)
        )
    };
    leaves.iter().all(|(ask, want)| match ask {
        Ask::Has => want.met(Some(true)),
        ask if asked(ask) => true,
        _ => want.met(None),
    }) && !contrary(leaves).is_some_and(asked)
}

/// Rules of an agent by their pattern, and those of wide ones.
#[derive(Default)]
pub(super) struct ByTools<'r> {
    exact: BTreeMap<&'r str, Vec<usize>>,
    wide: Vec<(&'r str, usize)>,
}

impl<'r> ByTools<'r> {
    pub(super) fn add(&mut self, tools: &'r str, index: usize, wide_max: usize) {
        self.exact.entry(tools).or_default().push(index);
        if tools.contains('*') && self.wide.len() < wide_max {
            self.wide.push((tools, index));
        }
    }

    /// The latest rules that speak of all these tools, at most so many of each kind.
    pub(super) fn over(&self, tools: &str, most: usize) -> Vec<usize> {
        let exact = self.exact.get(tools).map_or(&[][..], Vec::as_slice);
        let wide = self
            .wide
            .iter()
            .rev()
            .filter(|(wide, _)| {
                *wide != tools && faramesh_core::policy::pattern::matches(wide, tools)
            })
            .map(|(_, index)| *index);
        exact
            .iter()
            .rev()
            .copied()
            .take(most)
            .chain(wide.take(most))
            .collect()
    }
}
