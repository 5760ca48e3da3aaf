//! A condition put to a call: Kleene's three values, and a note of everything that was read.
//!
//! Invariants: a test is put at most once in a decision; what decides a condition ends it; of a condition that may
//! apply every test is put, so that what is missing does not depend on the order of operands; nothing here can fail:
//! what cannot be told is [`Truth::Maybe`]. Work that grows with a call's values is taken from the decision's budget
//! first; where it does not fit, nobody looks, and the test is *maybe*, never *no*.

use crate::decimal::Decimal;
use crate::json::{Object, Value};
use crate::policy::artifact::{
    Ask, CALCULATION_DEPTH_MAX, CONDITION_DEPTH_MAX, Field, Literal, Op, Order, Relation, Step,
    Test,
};
use crate::policy::facts::{self, Facts, Operand};
use crate::policy::globs;
use crate::policy::scratch::{Budget, Scratch};
use std::borrow::Cow;
use std::cmp::Ordering;

/// Kleene's values; conjunction is the minimum, disjunction the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truth {
    /// It does not hold.
    No,
    /// It cannot be told.
    Maybe,
    /// It holds.
    Yes,
}

impl Truth {
    pub(crate) const fn of(yes: bool) -> Truth {
        if yes { Truth::Yes } else { Truth::No }
    }

    const fn not(self) -> Truth {
        match self {
            Truth::No => Truth::Yes,
            Truth::Maybe => Truth::Maybe,
            Truth::Yes => Truth::No,
        }
    }
}

/// Bytes of a text whose characters are counted in one step: many at once.
const COUNTED_BYTES_PER_STEP: usize = 16;
/// Steps of an element of a list or object, besides its bytes.
const ELEMENT_STEPS: usize = 4;
/// Steps of looking for a name in an object: among very many the search waits for memory.
const MEMBER_STEPS: usize = 32;
/// Steps of a part of a glob, besides the bytes that it takes of the text: a search is made ready for each.
const GLOB_PART_STEPS: usize = 24;
/// Steps of looking for one argument in a schema.
const SCHEMA_ARGUMENT_STEPS: usize = 4;
/// Steps of an operation on numbers of up to 18 digits that lie near each other, and on others, of up to a thousand.
const SHORT_OPERATION_STEPS: usize = 64;
const LONG_OPERATION_STEPS: usize = 4_096;

/// What a field is found to be.
#[derive(Debug, Clone)]
pub(crate) enum Found<'q> {
    Present(Operand<'q>),
    Absent,
    /// To work it out does not fit into the decision's budget: every test of it is *maybe*.
    Beyond,
    /// Absent, and a closed schema says that there is no such argument: every test of it is *no*.
    Undeclared,
}

/// One decision in the making: what it rests on, and what it has noted.
#[derive(Debug)]
pub(crate) struct Asking<'s, 'q> {
    pub(crate) facts: Facts<'q>,
    pub(crate) seen: &'s mut Scratch,
}

impl<'q> Asking<'_, 'q> {
    /// Puts a condition, with its table of skips: what decides it ends it.
    pub(crate) fn condition(&mut self, condition: &[Op], skips: &[u16]) -> Truth {
        let mut stack = Stack {
            values: [Truth::Maybe; CONDITION_DEPTH_MAX],
            used: 0,
        };
        if condition.is_empty() {
            return Truth::Yes;
        }
        let mut at = 0;
        while let Some(op) = condition.get(at) {
            let skip = usize::from(skips.get(at).copied().unwrap_or(0));
            if skip > 0 && decides(stack.top(), condition.get(at + skip - 1)) {
                at += skip;
                continue;
            }
            match op {
                Op::Test(test) => stack.push(self.test(*test)),
                Op::Const(value) => stack.push(Truth::of(*value)),
                Op::And => stack.join(Truth::min),
                Op::Or => stack.join(Truth::max),
                Op::Not => {
                    let top = stack.pop().not();
                    stack.push(top);
                }
            }
            at += 1;
        }
        stack.pop()
    }

    /// Notes whose fault it is that a condition came out *maybe*: every test of it that did.
    pub(crate) fn note_missing(&mut self, condition: &[Op]) {
        for op in condition {
            if let Op::Test(test) = op
                && self.test(*test) == Truth::Maybe
            {
                self.blame(*test);
            }
        }
    }

    /// Puts one test, unless this decision has put it already.
    pub(crate) fn test(&mut self, number: u32) -> Truth {
        if let Some(known) = self.seen.truth(number) {
            return known;
        }
        let truth = self.put(number);
        self.seen.keep(number, truth);
        truth
    }

    fn put(&mut self, number: u32) -> Truth {
        let rules = self.facts.rules;
        let Some(Test { field, ask }) = rules.policy.tests.get(number as usize) else {
            return Truth::Maybe;
        };
        let found = self.find(*field);
        if let Ask::CompareField(relation, other) = ask {
            return match (found, self.find(*other)) {
                (Found::Undeclared, _) | (_, Found::Undeclared) => Truth::No,
                (Found::Present(a), Found::Present(b)) => {
                    relate(*relation, &a, &b, &mut self.seen.budget).unwrap_or(Truth::Maybe)
                }
                _ => Truth::Maybe,
            };
        }
        match (ask, found) {
            (_, Found::Undeclared) | (Ask::Has, Found::Absent) => Truth::No,
            (_, Found::Absent | Found::Beyond) => Truth::Maybe,
            (Ask::Has, Found::Present(_)) => Truth::Yes,
            (Ask::Matches(_), Found::Present(Operand::String(text))) => {
                self.search(number, text).unwrap_or(Truth::Maybe)
            }
            (ask, Found::Present(operand)) => {
                simple(ask, &operand, &mut self.seen.budget).unwrap_or(Truth::Maybe)
            }
        }
    }

    /// Looks for a test's expression; `None`: the text is too long for it, or for what is left of the budget.
    fn search(&mut self, number: u32, text: &str) -> Option<Truth> {
        let expression = self.facts.rules.expression(number)?;
        self.seen.budget.take(expression.steps(text)?)?;
        expression.is_match(text).map(Truth::of)
    }

    /// Reads a field, and notes it.
    pub(crate) fn find(&mut self, number: u32) -> Found<'q> {
        let Some(field) = self.facts.rules.policy.fields.get(number as usize) else {
            return Found::Absent;
        };
        if let Field::Calculated(steps) = field {
            return self.calculate(steps);
        }
        self.seen.note_read(number);
        if let Some(text) = self.facts.measured(field)
            && self
                .seen
                .budget
                .take(text.len() / COUNTED_BYTES_PER_STEP)
                .is_none()
        {
            return Found::Beyond;
        }
        match self.facts.value(field) {
            Some(operand) => Found::Present(operand),
            None if self.is_undeclared(field) => Found::Undeclared,
            None => Found::Absent,
        }
    }

    /// Whether a closed schema says that there is no such argument. Beyond the budget nobody looks, and it is only absent:
    /// *maybe* instead of *no*.
    fn is_undeclared(&mut self, field: &Field) -> bool {
        let schemas = &self.facts.rules.policy.schemas;
        self.seen.closed.iter().any(|at| {
            schemas.get(*at as usize).is_some_and(|schema| {
                let steps = schema.arguments.len() * SCHEMA_ARGUMENT_STEPS;
                self.seen.budget.take(steps).is_some() && facts::is_undeclared(field, schema)
            })
        })
    }

    /// Exact, or absent. Every part is read, whatever the others are.
    fn calculate(&mut self, steps: &'q [Step]) -> Found<'q> {
        let mut stack = [const { None::<Cow<'_, Decimal>> }; CALCULATION_DEPTH_MAX];
        let (mut used, mut undeclared, mut beyond) = (0_usize, false, false);
        for step in steps {
            let budget = &mut self.seen.budget;
            let mut operate = |stack: &mut [Option<Cow<'_, Decimal>>], by: Arithmetic| {
                let taken = |at: Option<usize>| stack.get(at?)?.as_deref();
                let (a, b) = (taken(used.checked_sub(2))?, taken(used.checked_sub(1))?);
                if budget.take(operation_steps(a, b)).is_none() {
                    beyond = true;
                    return None;
                }
                by(a, b).map(Cow::Owned)
            };
            let value = match step {
                Step::Number(number) => Some(Cow::Borrowed(number)),
                Step::Field(part) => match self.part(*part) {
                    Found::Present(Operand::Number(number)) => Some(number),
                    Found::Undeclared => {
                        undeclared = true;
                        None
                    }
                    Found::Beyond => {
                        beyond = true;
                        None
                    }
                    Found::Present(_) | Found::Absent => None,
                },
                Step::Add => operate(&mut stack, Decimal::plus),
                Step::Subtract => operate(&mut stack, Decimal::minus),
                Step::Multiply => operate(&mut stack, Decimal::times),
            };
            used = match step {
                Step::Number(_) | Step::Field(_) => used,
                Step::Add | Step::Subtract | Step::Multiply => used.saturating_sub(2),
            };
            match stack.get_mut(used) {
                Some(slot) => *slot = value,
                None => return Found::Absent,
            }
            used += 1;
        }
        let [result, ..] = stack;
        match result {
            _ if undeclared => Found::Undeclared,
            _ if beyond => Found::Beyond,
            Some(number) if used == 1 => Found::Present(Operand::Number(number)),
            _ => Found::Absent,
        }
    }

    /// A part of a calculation, which is not calculated itself.
    fn part(&mut self, number: u32) -> Found<'q> {
        match self.facts.rules.policy.fields.get(number as usize) {
            None | Some(Field::Calculated(_)) => Found::Absent,
            Some(_) => self.find(number),
        }
    }

    /// Notes the fields because of which a test came out *maybe*: those that are absent or of a type that the test can
    /// never be about; all of them where they only do not fit each other.
    fn blame(&mut self, number: u32) {
        let Some(Test { field, ask }) = self.facts.rules.policy.tests.get(number as usize) else {
            return;
        };
        let (relation, other) = match ask {
            Ask::CompareField(relation, other) => (Some(*relation), Some(*other)),
            _ => (None, None),
        };
        let mut found_one = false;
        for (side, left) in [(Some(*field), true), (other, false)] {
            let Some(side) = side else { continue };
            match self.find(side) {
                Found::Present(operand) if relation.is_none_or(|it| fits(it, left, &operand)) => {}
                Found::Present(_) | Found::Beyond => {
                    self.note_parts(side);
                    found_one = true;
                }
                Found::Absent | Found::Undeclared => {
                    self.note_at_fault(side);
                    found_one = true;
                }
            }
        }
        if !found_one {
            self.note_parts(*field);
            if let Some(other) = other {
                self.note_parts(other);
            }
        }
    }

    /// The field, or what it is calculated from.
    fn note_parts(&mut self, number: u32) {
        match self.facts.rules.policy.fields.get(number as usize) {
            Some(Field::Calculated(steps)) => {
                for part in parts(steps) {
                    self.seen.note_missing(part);
                }
            }
            _ => self.seen.note_missing(number),
        }
    }

    /// The field that is absent; of a calculation the parts that are no numbers, or those whose result is beyond what a
    /// number may be.
    fn note_at_fault(&mut self, number: u32) {
        let Some(Field::Calculated(steps)) = self.facts.rules.policy.fields.get(number as usize)
        else {
            return self.seen.note_missing(number);
        };
        // Of each operand that waits: its value, and where its steps begin.
        let mut waiting: Vec<(Option<Decimal>, usize)> = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let by: Arithmetic = match step {
                Step::Number(number) => {
                    waiting.push((Some(number.clone()), at));
                    continue;
                }
                Step::Field(part) => {
                    let number = match self.part(*part) {
                        Found::Present(Operand::Number(number)) => Some(number.into_owned()),
                        _ => None,
                    };
                    if number.is_none() {
                        self.seen.note_missing(*part);
                    }
                    waiting.push((number, at));
                    continue;
                }
                Step::Add => Decimal::plus,
                Step::Subtract => Decimal::minus,
                Step::Multiply => Decimal::times,
            };
            let (Some((b, _)), Some((a, from))) = (waiting.pop(), waiting.pop()) else {
                return;
            };
            let both = a.zip(b);
            let result = both.as_ref().and_then(|(a, b)| {
                self.seen.budget.take(operation_steps(a, b))?;
                by(a, b)
            });
            if both.is_some() && result.is_none() {
                for part in parts(steps.get(from..at).unwrap_or_default()) {
                    self.seen.note_missing(part);
                }
            }
            waiting.push((result, from));
        }
    }
}

type Arithmetic = fn(&Decimal, &Decimal) -> Option<Decimal>;

const fn operation_steps(a: &Decimal, b: &Decimal) -> usize {
    if a.is_short_with(b) {
        SHORT_OPERATION_STEPS
    } else {
        LONG_OPERATION_STEPS
    }
}

fn parts(steps: &[Step]) -> impl Iterator<Item = u32> {
    steps.iter().filter_map(|step| match step {
        Step::Field(part) => Some(*part),
        _ => None,
    })
}

/// For each step of a condition, how far to go on where its left operand decides it already; 0: nowhere. The step where
/// a right operand begins leads behind its operator.
pub(crate) fn skips(condition: &[Op]) -> Vec<u16> {
    let mut skips = vec![0; condition.len()];
    let mut begins = Vec::new();
    for (at, op) in condition.iter().enumerate() {
        match op {
            Op::Test(_) | Op::Const(_) => begins.push(at),
            Op::Not => {}
            Op::And | Op::Or => {
                let right = begins.pop().unwrap_or(at);
                if let Some(slot) = skips.get_mut(right) {
                    *slot = u16::try_from(at + 1 - right).unwrap_or(0);
                }
            }
        }
    }
    skips
}

/// Whether a left operand decides what its operator comes to.
const fn decides(left: Truth, operator: Option<&Op>) -> bool {
    matches!(
        (left, operator),
        (Truth::No, Some(Op::And)) | (Truth::Yes, Some(Op::Or))
    )
}

/// Operands of a condition; empty or full, it answers *maybe*, which never helps a caller.
struct Stack {
    values: [Truth; CONDITION_DEPTH_MAX],
    used: usize,
}

impl Stack {
    fn push(&mut self, value: Truth) {
        if let Some(slot) = self.values.get_mut(self.used) {
            *slot = value;
            self.used += 1;
        }
    }

    fn pop(&mut self) -> Truth {
        self.used = self.used.saturating_sub(1);
        self.values.get(self.used).copied().unwrap_or(Truth::Maybe)
    }

    fn top(&self) -> Truth {
        let top = self
            .used
            .checked_sub(1)
            .and_then(|top| self.values.get(top));
        top.copied().unwrap_or(Truth::Maybe)
    }

    fn join(&mut self, join: fn(Truth, Truth) -> Truth) {
        let (b, a) = (self.pop(), self.pop());
        self.push(join(a, b));
    }
}

/// The tests of one value that need nothing but the value; `None`: beyond the budget. What reads no more of a value than
/// the artifact has bytes for it takes nothing.
fn simple(ask: &Ask, operand: &Operand<'_>, budget: &mut Budget) -> Option<Truth> {
    Some(match (ask, operand) {
        (Ask::Equals(literal), operand) => equals(operand, literal),
        (Ask::Compare(order, bound), Operand::Number(number)) => {
            Truth::of(holds(*order, (**number).cmp(bound)))
        }
        (Ask::In(list), operand) => is_in(operand, list),
        (Ask::Contains(Literal::String(part)), Operand::String(text)) => {
            Truth::of(has_part(text, part, budget)?)
        }
        (Ask::Contains(literal), Operand::Array(items)) => some(items, |item| {
            budget.take(walk(&item))?;
            Some(equals(&item, literal))
        })?,
        (Ask::StartsWith(head), Operand::String(text)) => Truth::of(starts(text, head, budget)?),
        (Ask::EndsWith(tail), Operand::String(text)) => Truth::of(ends(text, tail, budget)?),
        (Ask::Glob(glob, pattern), Operand::String(text)) => {
            budget.take(globs_walk(globs::parts(pattern), text))?;
            Truth::of(globs::matches(*glob, pattern, text))
        }
        (Ask::AnyGlob(pattern), Operand::Array(items)) => {
            let parts = globs::parts(pattern);
            some(items, |item| {
                Some(match item {
                    Operand::String(text) => {
                        budget.take(globs_walk(parts, text))?;
                        Truth::of(globs::text(pattern, text))
                    }
                    _ => {
                        budget.take(ELEMENT_STEPS)?;
                        Truth::Maybe
                    }
                })
            })?
        }
        (Ask::IsTrue, Operand::Bool(value)) => Truth::of(*value),
        _ => Truth::Maybe,
    })
}

/// Steps of a walk through a value that is no list or object.
const fn walk(operand: &Operand<'_>) -> usize {
    match operand {
        Operand::String(text) => text.len() + ELEMENT_STEPS,
        _ => ELEMENT_STEPS,
    }
}

/// Steps of putting a text to a glob: parts that are not empty take a byte each, so no more of them are looked for than
/// the text has bytes; empty ones take none.
fn globs_walk(parts: globs::Parts, text: &str) -> usize {
    let looked_for = parts.filled.min(text.len()) + parts.empty + 1;
    text.len() + ELEMENT_STEPS + looked_for * GLOB_PART_STEPS
}

fn starts(text: &str, head: &str, budget: &mut Budget) -> Option<bool> {
    budget.take(head.len().min(text.len()))?;
    Some(text.starts_with(head))
}

fn ends(text: &str, tail: &str, budget: &mut Budget) -> Option<bool> {
    budget.take(tail.len().min(text.len()))?;
    Some(text.ends_with(tail))
}

/// Both are UTF-8, so bytes are found only where characters are.
fn has_part(text: &str, part: &str, budget: &mut Budget) -> Option<bool> {
    budget.take(text.len() + 1)?;
    Some(memchr::memmem::find(text.as_bytes(), part.as_bytes()).is_some())
}

/// Whether it holds of some element; of `null` nothing can be told. The first element beyond the budget ends it.
fn some<'a>(
    items: &'a [Value],
    mut holds: impl FnMut(Operand<'a>) -> Option<Truth>,
) -> Option<Truth> {
    let mut truth = Truth::No;
    for item in items {
        truth = truth.max(match Operand::of(item) {
            Some(operand) => holds(operand)?,
            None => Truth::Maybe,
        });
        if truth == Truth::Yes {
            break;
        }
    }
    Some(truth)
}

/// A value of another type is *maybe*: `"80"` may be meant as 80.
fn equals(operand: &Operand<'_>, literal: &Literal) -> Truth {
    match (operand, literal) {
        (Operand::Bool(a), Literal::Bool(b)) => Truth::of(a == b),
        (Operand::Number(a), Literal::Number(b)) => Truth::of(**a == *b),
        (Operand::String(a), Literal::String(b)) => Truth::of(a == b),
        _ => Truth::Maybe,
    }
}

/// The list is sorted and of one type.
fn is_in(operand: &Operand<'_>, list: &[Literal]) -> Truth {
    let found = match (operand, list.first()) {
        (Operand::Bool(value), Some(Literal::Bool(_))) => list.contains(&Literal::Bool(*value)),
        (Operand::Number(value), Some(Literal::Number(_))) => {
            list.binary_search_by(|item| by_number(item, value)).is_ok()
        }
        (Operand::String(value), Some(Literal::String(_))) => {
            list.binary_search_by(|item| by_string(item, value)).is_ok()
        }
        _ => return Truth::Maybe,
    };
    Truth::of(found)
}

fn by_number(item: &Literal, value: &Decimal) -> Ordering {
    match item {
        Literal::Bool(_) => Ordering::Less,
        Literal::Number(number) => number.cmp(value),
        Literal::String(_) => Ordering::Greater,
    }
}

fn by_string(item: &Literal, value: &str) -> Ordering {
    match item {
        Literal::Bool(_) | Literal::Number(_) => Ordering::Less,
        Literal::String(text) => text.as_str().cmp(value),
    }
}

/// Whether a relation can be about such a value at all, on that side.
fn fits(relation: Relation, left: bool, operand: &Operand<'_>) -> bool {
    match relation {
        Relation::Equal => true,
        Relation::Order(_) => matches!(operand, Operand::Number(_)),
        Relation::Contains => !left || matches!(operand, Operand::String(_) | Operand::Array(_)),
        Relation::StartsWith | Relation::EndsWith => matches!(operand, Operand::String(_)),
    }
}

/// `None`: beyond the budget.
fn relate(
    relation: Relation,
    a: &Operand<'_>,
    b: &Operand<'_>,
    budget: &mut Budget,
) -> Option<Truth> {
    Some(match (relation, a, b) {
        (Relation::Equal, a, b) => same(a, b, budget)?,
        (Relation::Order(order), Operand::Number(a), Operand::Number(b)) => {
            Truth::of(holds(order, a.cmp(b)))
        }
        (Relation::Contains, Operand::Array(items), b) => {
            some(items, |item| same(&item, b, budget))?
        }
        (Relation::Contains, Operand::String(a), Operand::String(b)) => {
            Truth::of(has_part(a, b, budget)?)
        }
        (Relation::StartsWith, Operand::String(a), Operand::String(b)) => {
            Truth::of(starts(a, b, budget)?)
        }
        (Relation::EndsWith, Operand::String(a), Operand::String(b)) => {
            Truth::of(ends(a, b, budget)?)
        }
        _ => Truth::Maybe,
    })
}

fn same(a: &Operand<'_>, b: &Operand<'_>, budget: &mut Budget) -> Option<Truth> {
    budget.take(walk(a).min(walk(b)))?;
    Some(match (a, b) {
        (Operand::Bool(a), Operand::Bool(b)) => Truth::of(a == b),
        (Operand::Number(a), Operand::Number(b)) => Truth::of(a == b),
        (Operand::String(a), Operand::String(b)) => Truth::of(a == b),
        (Operand::Array(a), Operand::Array(b)) if a.len() != b.len() => Truth::No,
        (Operand::Array(a), Operand::Array(b)) => {
            let mut truth = Truth::Yes;
            for (a, b) in a.iter().zip(*b) {
                truth = truth.min(same_members(a, b, budget)?);
                if truth == Truth::No {
                    break;
                }
            }
            truth
        }
        (Operand::Object(a), Operand::Object(b)) => same_objects(a, b, budget)?,
        _ => Truth::Maybe,
    })
}

fn same_objects(a: &Object, b: &Object, budget: &mut Budget) -> Option<Truth> {
    let (mut truth, mut common) = (Truth::Yes, 0);
    for (key, value) in a.iter() {
        budget.take(key.len() + MEMBER_STEPS)?;
        let Some(other) = b.get(key) else {
            truth = truth.min(Truth::Maybe);
            continue;
        };
        common += 1;
        truth = truth.min(same_members(value, other, budget)?);
        if truth == Truth::No {
            return Some(Truth::No);
        }
    }
    let more_in_b = b.len() > common;
    Some(if more_in_b {
        truth.min(Truth::Maybe)
    } else {
        truth
    })
}

/// What is absent inside of a value, or of another type there, is no more told apart than outside: `["80"]` may be
/// meant as `[80]`.
fn same_members(a: &Value, b: &Value, budget: &mut Budget) -> Option<Truth> {
    match (Operand::of(a), Operand::of(b)) {
        (Some(a), Some(b)) => same(&a, &b, budget),
        _ => Some(Truth::Maybe),
    }
}

fn holds(order: Order, found: Ordering) -> bool {
    match order {
        Order::Less => found.is_lt(),
        Order::LessOrEqual => found.is_le(),
        Order::Greater => found.is_gt(),
        Order::GreaterOrEqual => found.is_ge(),
    }
}
