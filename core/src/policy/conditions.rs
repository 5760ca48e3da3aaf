//! A condition put to a call: Kleene's three values, and a note of everything that was read.
//!
//! Invariants: every test of a condition is put, whatever the others said, so that what is noted does not depend on
//! the order of operands; nothing here can fail: what cannot be told is [`Truth::Maybe`].

use crate::decimal::Decimal;
use crate::json::{Object, Value};
use crate::pipeline::Question;
use crate::policy::Rules;
use crate::policy::artifact::{Ask, CONDITION_DEPTH_MAX, Literal, Op, Order, Relation, Test};
use std::cmp::Ordering;

/// Longest text that `matches` searches, bytes; in a longer one the answer is maybe. An expression within the size
/// limit of the artifact can take 24 µs a byte: 0.8 s here, 24 s on the largest call, in which nobody else is decided.
pub(crate) const MATCHES_BYTES_MAX: usize = 32 * 1024;

/// Kleene's values; conjunction is the minimum, disjunction the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Truth {
    No,
    Maybe,
    Yes,
}

impl Truth {
    const fn of(yes: bool) -> Truth {
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

/// What the conditions of one decision read, as indices of fields, in the order of reading, with repetitions.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Every field that a test asked for.
    pub(crate) read: Vec<u32>,
    /// Every field that made a test *maybe*.
    pub(crate) missing: Vec<u32>,
}

/// A field's value; `null` does not get this far.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operand<'a> {
    Bool(bool),
    Number(&'a Decimal),
    String(&'a str),
    Array(&'a [Value]),
    Object(&'a Object),
}

/// Puts a condition to a call. An artifact's check proved that the stack holds.
pub(crate) fn eval<'q>(
    condition: &[Op],
    rules: Rules<'q>,
    question: &Question<'q>,
    seen: &mut Seen,
) -> Truth {
    if condition.is_empty() {
        return Truth::Yes;
    }
    let mut stack = Stack {
        values: [Truth::Maybe; CONDITION_DEPTH_MAX],
        used: 0,
    };
    for op in condition {
        match op {
            Op::Test(test) => stack.push(put(*test, rules, question, seen)),
            Op::Const(value) => stack.push(Truth::of(*value)),
            Op::And => stack.join(Truth::min),
            Op::Or => stack.join(Truth::max),
            Op::Not => {
                let top = stack.pop().not();
                stack.push(top);
            }
        }
    }
    stack.pop()
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

    fn join(&mut self, join: fn(Truth, Truth) -> Truth) {
        let (b, a) = (self.pop(), self.pop());
        self.push(join(a, b));
    }
}

/// Puts one test, and notes what it read.
fn put<'q>(number: u32, rules: Rules<'q>, question: &Question<'q>, seen: &mut Seen) -> Truth {
    let Some(Test { field, ask }) = rules.policy.tests.get(number as usize) else {
        return Truth::Maybe;
    };
    let operand = rules.value(*field, question);
    seen.read.push(*field);
    if let Ask::CompareField(relation, other) = ask {
        seen.read.push(*other);
        return compare_fields(
            *relation,
            (*field, operand),
            (*other, rules.value(*other, question)),
            seen,
        );
    }
    let truth = match (ask, operand) {
        (Ask::Has, operand) => Truth::of(operand.is_some()),
        (_, None) => Truth::Maybe,
        (Ask::Matches(_), Some(Operand::String(text))) => match rules.expression(number) {
            Some(expression) if text.len() <= MATCHES_BYTES_MAX => {
                Truth::of(expression.is_match(text))
            }
            _ => Truth::Maybe,
        },
        (ask, Some(operand)) => simple(ask, operand),
    };
    if truth == Truth::Maybe {
        seen.missing.push(*field);
    }
    truth
}

/// The tests of one value that need nothing but the value.
fn simple(ask: &Ask, operand: Operand<'_>) -> Truth {
    match (ask, operand) {
        (Ask::Equals(literal), operand) => equals(operand, literal),
        (Ask::Compare(order, bound), Operand::Number(number)) => {
            Truth::of(holds(*order, number.cmp(bound)))
        }
        (Ask::In(list), operand) => is_in(operand, list),
        (Ask::Contains(Literal::String(part)), Operand::String(text)) => {
            Truth::of(text.contains(part.as_str()))
        }
        (Ask::Contains(literal), Operand::Array(items)) => {
            let each = items
                .iter()
                .map(|item| Operand::of(item).map_or(Truth::Maybe, |item| equals(item, literal)));
            each.max().unwrap_or(Truth::No)
        }
        (Ask::IsTrue, Operand::Bool(value)) => Truth::of(value),
        _ => Truth::Maybe,
    }
}

/// A value of another type is *maybe*: `"80"` may be meant as 80.
fn equals(operand: Operand<'_>, literal: &Literal) -> Truth {
    match (operand, literal) {
        (Operand::Bool(a), Literal::Bool(b)) => Truth::of(a == *b),
        (Operand::Number(a), Literal::Number(b)) => Truth::of(a == b),
        (Operand::String(a), Literal::String(b)) => Truth::of(a == b),
        _ => Truth::Maybe,
    }
}

/// The list is sorted and of one type.
fn is_in(operand: Operand<'_>, list: &[Literal]) -> Truth {
    let found = match (operand, list.first()) {
        (Operand::Bool(value), Some(Literal::Bool(_))) => list.contains(&Literal::Bool(value)),
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

fn compare_fields(
    relation: Relation,
    (a_field, a): (u32, Option<Operand<'_>>),
    (b_field, b): (u32, Option<Operand<'_>>),
    seen: &mut Seen,
) -> Truth {
    let fits = |operand: Option<Operand<'_>>| match relation {
        Relation::Equal => operand.is_some(),
        _ => matches!(operand, Some(Operand::Number(_))),
    };
    let truth = match (relation, a, b) {
        (Relation::Equal, Some(a), Some(b)) => same(a, b),
        (Relation::Order(order), Some(Operand::Number(a)), Some(Operand::Number(b))) => {
            Truth::of(holds(order, a.cmp(b)))
        }
        _ => Truth::Maybe,
    };
    if truth == Truth::Maybe {
        // Those that cannot be compared with anything, or both, where they cannot be compared with each other.
        let neither = fits(a) && fits(b);
        seen.missing.extend(
            [(a_field, a), (b_field, b)]
                .iter()
                .filter(|(_, v)| neither || !fits(*v))
                .map(|(f, _)| *f),
        );
    }
    truth
}

fn same(a: Operand<'_>, b: Operand<'_>) -> Truth {
    match (a, b) {
        (Operand::Bool(a), Operand::Bool(b)) => Truth::of(a == b),
        (Operand::Number(a), Operand::Number(b)) => Truth::of(a == b),
        (Operand::String(a), Operand::String(b)) => Truth::of(a == b),
        (Operand::Array(a), Operand::Array(b)) if a.len() != b.len() => Truth::No,
        (Operand::Array(a), Operand::Array(b)) => {
            all(a.iter().zip(b).map(|(a, b)| same_members(Some(a), Some(b))))
        }
        (Operand::Object(a), Operand::Object(b)) => {
            let of_a = all(a
                .iter()
                .map(|(key, value)| same_members(Some(value), b.get(key))));
            let of_b = all(b
                .iter()
                .map(|(key, value)| same_members(a.get(key), Some(value))));
            of_a.min(of_b)
        }
        _ => Truth::Maybe,
    }
}

/// What is absent inside of a value, or of another type there, is no more told apart than outside: `["80"]` may be
/// meant as `[80]`.
fn same_members(a: Option<&Value>, b: Option<&Value>) -> Truth {
    match (a.and_then(Operand::of), b.and_then(Operand::of)) {
        (Some(a), Some(b)) => same(a, b),
        _ => Truth::Maybe,
    }
}

fn all(truths: impl Iterator<Item = Truth>) -> Truth {
    truths.min().unwrap_or(Truth::Yes)
}

fn holds(order: Order, found: Ordering) -> bool {
    match order {
        Order::Less => found.is_lt(),
        Order::LessOrEqual => found.is_le(),
        Order::Greater => found.is_gt(),
        Order::GreaterOrEqual => found.is_ge(),
    }
}

impl<'a> Operand<'a> {
    pub(crate) fn of(value: &'a Value) -> Option<Operand<'a>> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(value) => Operand::Bool(*value),
            Value::Number(number) => Operand::Number(number),
            Value::String(text) => Operand::String(text),
            Value::Array(items) => Operand::Array(items),
            Value::Object(object) => Operand::Object(object),
        })
    }

    /// Canonical JSON text.
    pub(crate) fn canonical(self) -> String {
        let mut out = String::new();
        match self {
            Operand::Bool(value) => out.push_str(if value { "true" } else { "false" }),
            Operand::Number(number) => number.write_to(&mut out),
            Operand::String(text) => crate::json::write_string(text, &mut out),
            Operand::Array(items) => crate::json::write_array(items, &mut out),
            Operand::Object(object) => object.write_canonical(&mut out),
        }
        out
    }
}
