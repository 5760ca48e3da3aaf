//! What a condition says of a call: the table of tests of `docs/semantics.md`, row by row.

use crate::facts::{self, Question, Reading, Words};
use crate::json::Json;
use crate::logic::Truth;
use crate::number::Number;
use crate::patterns;
use crate::tree::{Clause, Expr, Relation, Sign};
use crate::windows;
use regex::Regex;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

/// Longest text that `matches` searches, bytes.
const MATCHES_BYTES_MAX: usize = 32 * 1024;

/// Every field that made a test *maybe*.
pub(crate) type Missing = BTreeSet<String>;

/// All clauses of a rule together.
pub(crate) fn clauses(
    clauses: &[Clause],
    words: Words<'_>,
    question: &Question<'_>,
    missing: &mut Missing,
) -> Truth {
    let each: Vec<Truth> = clauses
        .iter()
        .map(|each| clause(each, words, question, missing))
        .collect();
    Truth::all(each)
}

fn clause(
    clause: &Clause,
    words: Words<'_>,
    question: &Question<'_>,
    missing: &mut Missing,
) -> Truth {
    // Facts of a request that is really sent: nobody knows them at this door, unless they are supposed.
    let mut of_request = |name: String, fits: &dyn Fn(&Json) -> Truth| {
        let truth = match question.supposed.get(&name) {
            None | Some(Json::Null) => Truth::Maybe,
            Some(value) => fits(value),
        };
        if truth == Truth::Maybe {
            missing.insert(name);
        }
        truth
    };
    let text = |wanted: &str| {
        let wanted = Json::text(wanted);
        move |found: &Json| equal(found, &wanted)
    };
    let glob = |fits: fn(&str, &str) -> bool, pattern: &str| {
        let pattern = pattern.to_owned();
        move |found: &Json| match found {
            Json::Text(found) => Truth::of(fits(&pattern, found)),
            _ => Truth::Maybe,
        }
    };
    match clause {
        Clause::If(expr) => condition(expr, words, question, missing),
        Clause::Door(door) => of_door(door, question, missing),
        Clause::Method(method) => of_request("method".to_owned(), &text(&method.to_uppercase())),
        Clause::Host(host) => of_request("host".to_owned(), &glob(patterns::host, host)),
        Clause::Port(port) => {
            let port = Json::Number(Number::whole(i64::from(*port)));
            of_request("port".to_owned(), &|found| equal(found, &port))
        }
        Clause::Path(path) => of_request("path".to_owned(), &glob(patterns::tool, path)),
        Clause::Query(key, value) => of_request(format!("query.{key}"), &text(value)),
        Clause::Header(key, value) => {
            of_request(format!("headers.{}", key.to_lowercase()), &text(value))
        }
    }
}

/// The way in is always known.
fn of_door(door: &str, question: &Question<'_>, missing: &mut Missing) -> Truth {
    let found = Json::text("govern");
    let found = question.supposed.get("door").unwrap_or(&found);
    let truth = equal(found, &Json::text(door));
    if truth == Truth::Maybe {
        missing.insert("door".to_owned());
    }
    truth
}

/// A condition. Every test in it is put, whatever the others said.
pub(crate) fn condition(
    expr: &Expr,
    words: Words<'_>,
    question: &Question<'_>,
    missing: &mut Missing,
) -> Truth {
    match expr {
        Expr::Or(parts) => {
            let each: Vec<Truth> = parts
                .iter()
                .map(|part| condition(part, words, question, missing))
                .collect();
            Truth::any(each)
        }
        Expr::And(parts) => {
            let each: Vec<Truth> = parts
                .iter()
                .map(|part| condition(part, words, question, missing))
                .collect();
            Truth::all(each)
        }
        Expr::Not(inner) => condition(inner, words, question, missing).not(),
        Expr::Bool(value) => Truth::of(*value),
        Expr::Has(inner) => {
            let reading = read(inner, words, question);
            Truth::of(reading.value.is_some() && !reading.undeclared)
        }
        Expr::Test(Relation::NotEqual, left, right) => {
            test(Relation::Equal, left, right, words, question, missing).not()
        }
        Expr::Test(relation, left, right) => test(*relation, left, right, words, question, missing),
        Expr::Name(_) => {
            let reading = read(expr, words, question);
            match &reading.value {
                _ if reading.undeclared => Truth::No,
                Some(Json::Bool(value)) => Truth::of(*value),
                _ => {
                    missing.extend(reading.fields);
                    Truth::Maybe
                }
            }
        }
        Expr::AnyMatch(path, glob) => {
            let reading = facts::argument(path, words, question);
            let truth = match &reading.value {
                _ if reading.undeclared => Truth::No,
                Some(Json::List(items)) => any_glob(items, glob),
                _ => Truth::Maybe,
            };
            if truth == Truth::Maybe {
                missing.extend(reading.fields);
            }
            truth
        }
        Expr::Purpose(text) => settle(
            Relation::Equal,
            facts::purpose(words, question),
            Reading::constant(Json::text(text)),
            missing,
        ),
        Expr::Within { tool, window_ms } => {
            let count = Expr::Count {
                tool: tool.clone(),
                window_ms: Some(*window_ms),
            };
            settle(
                Relation::Greater,
                read(&count, words, question),
                Reading::constant(Json::Number(Number::whole(0))),
                missing,
            )
        }
        other => unreachable!("no condition: {other:?}"),
    }
}

fn test(
    relation: Relation,
    left: &Expr,
    right: &Expr,
    words: Words<'_>,
    question: &Question<'_>,
    missing: &mut Missing,
) -> Truth {
    settle(
        relation,
        read(left, words, question),
        read(right, words, question),
        missing,
    )
}

/// What stands on one side of a test.
fn read(expr: &Expr, words: Words<'_>, question: &Question<'_>) -> Reading {
    if let Some(value) = facts::constant(expr) {
        return Reading::constant(value);
    }
    let counted = || windows::value(question.session, expr, question.now);
    match expr {
        Expr::Name(parts) => facts::name(parts, words, question),
        Expr::Length(path) => facts::length(path, words, question),
        Expr::Sum {
            tool,
            path,
            window_ms,
        } => facts::remembered(
            question,
            format!(
                "session.sum({tool}.{}{})",
                path.join("."),
                window(*window_ms)
            ),
            counted(),
        ),
        Expr::Count { tool, window_ms } => facts::remembered(
            question,
            format!("session.count({tool}{})", window(*window_ms)),
            counted(),
        ),
        Expr::Denials { window_ms } => facts::remembered(
            question,
            format!(
                "session.denials({})",
                window(*window_ms).trim_start_matches(", ")
            ),
            counted(),
        ),
        Expr::Calculation(sign, left, right) => calculate(
            *sign,
            read(left, words, question),
            read(right, words, question),
        ),
        other => unreachable!("no side of a test: {other:?}"),
    }
}

fn window(window_ms: Option<u64>) -> String {
    let Some(ms) = window_ms else {
        return String::new();
    };
    for (unit, letter) in [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ] {
        if ms > 0 && ms % unit == 0 {
            return format!(", window={}{letter}", ms / unit);
        }
    }
    format!(", window={}.{:03}s", ms / 1_000, ms % 1_000)
}

/// Exact; what is no number, or beyond what a number may be, cannot be told.
fn calculate(sign: Sign, left: Reading, right: Reading) -> Reading {
    let number = |reading: &Reading| match &reading.value {
        Some(Json::Number(number)) => Some(number.clone()),
        _ => None,
    };
    let mut at_fault = Vec::new();
    for side in [&left, &right] {
        if number(side).is_none() {
            // Of a calculation within, those at fault there; of a field of another type, the field.
            at_fault.extend(if side.at_fault.is_empty() {
                side.fields.clone()
            } else {
                side.at_fault.clone()
            });
        }
    }
    let fields = [left.fields.clone(), right.fields.clone()].concat();
    let value = match (number(&left), number(&right)) {
        (Some(a), Some(b)) => {
            let result = match sign {
                Sign::Plus => a.plus(&b),
                Sign::Minus => a.minus(&b),
                Sign::Times => a.times(&b),
            };
            if !result.within_limits() {
                at_fault.clone_from(&fields);
            }
            result.within_limits().then_some(Json::Number(result))
        }
        _ => None,
    };
    Reading {
        fields,
        value,
        at_fault,
        undeclared: left.undeclared || right.undeclared,
    }
}

/// The result of a test, and who is to blame where it is *maybe*: fields that are absent or of a type that the test can
/// never be about; all of them, where they only do not fit each other.
fn settle(relation: Relation, left: Reading, right: Reading, missing: &mut Missing) -> Truth {
    if left.undeclared || right.undeclared {
        return Truth::No;
    }
    let truth = match (&left.value, &right.value) {
        (Some(left), Some(right)) => holds(relation, left, right),
        _ => Truth::Maybe,
    };
    if truth == Truth::Maybe {
        let mut blamed = Vec::new();
        for (side, on_the_left) in [(&left, true), (&right, false)] {
            match &side.value {
                None => blamed.extend(side.at_fault.clone()),
                Some(value) if !fits(relation, on_the_left, value) => {
                    blamed.extend(side.fields.clone());
                }
                Some(_) => {}
            }
        }
        if blamed.is_empty() {
            blamed = [left.fields, right.fields].concat();
        }
        missing.extend(blamed);
    }
    truth
}

/// Whether the relation can be about such a value at all.
fn fits(relation: Relation, on_the_left: bool, value: &Json) -> bool {
    match relation {
        Relation::Less | Relation::LessOrEqual | Relation::Greater | Relation::GreaterOrEqual => {
            matches!(value, Json::Number(_))
        }
        Relation::StartsWith | Relation::EndsWith | Relation::Matches => {
            matches!(value, Json::Text(_))
        }
        Relation::Contains if on_the_left => matches!(value, Json::Text(_) | Json::List(_)),
        _ => true,
    }
}

fn holds(relation: Relation, left: &Json, right: &Json) -> Truth {
    let order = || match (left, right) {
        (Json::Number(a), Json::Number(b)) => Some(a.compare(b)),
        _ => None,
    };
    let compare = |yes: fn(std::cmp::Ordering) -> bool| {
        order().map_or(Truth::Maybe, |order| Truth::of(yes(order)))
    };
    let texts = |yes: fn(&str, &str) -> bool| match (left, right) {
        (Json::Text(a), Json::Text(b)) => Truth::of(yes(a, b)),
        _ => Truth::Maybe,
    };
    match relation {
        Relation::Equal => equal(left, right),
        Relation::NotEqual => equal(left, right).not(),
        Relation::Less => compare(|order| order.is_lt()),
        Relation::LessOrEqual => compare(|order| order.is_le()),
        Relation::Greater => compare(|order| order.is_gt()),
        Relation::GreaterOrEqual => compare(|order| order.is_ge()),
        Relation::In => match right {
            Json::List(items) => Truth::any(items.iter().map(|item| equal(left, item))),
            _ => Truth::Maybe,
        },
        Relation::Contains => match left {
            Json::List(items) => Truth::any(items.iter().map(|item| equal(item, right))),
            _ => texts(|text, part| text.contains(part)),
        },
        Relation::StartsWith => texts(|text, part| text.starts_with(part)),
        Relation::EndsWith => texts(|text, part| text.ends_with(part)),
        Relation::Matches => match (left, right) {
            (Json::Text(text), Json::Text(_)) if text.len() > MATCHES_BYTES_MAX => Truth::Maybe,
            (Json::Text(text), Json::Text(source)) => Truth::of(found(source, text)),
            _ => Truth::Maybe,
        },
    }
}

/// Values of one type are equal or not; of two types, or where one is absent, it cannot be told. Inside of lists and
/// objects the same holds member by member.
pub(crate) fn equal(a: &Json, b: &Json) -> Truth {
    match (a, b) {
        (Json::Null, _) | (_, Json::Null) => Truth::Maybe,
        (Json::Bool(a), Json::Bool(b)) => Truth::of(a == b),
        (Json::Number(a), Json::Number(b)) => Truth::of(a == b),
        (Json::Text(a), Json::Text(b)) => Truth::of(a == b),
        (Json::List(a), Json::List(b)) if a.len() != b.len() => Truth::No,
        (Json::List(a), Json::List(b)) => Truth::all(a.iter().zip(b).map(|(a, b)| equal(a, b))),
        (Json::Map(a), Json::Map(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let absent = Json::Null;
            Truth::all(
                keys.into_iter()
                    .map(|key| equal(a.get(key).unwrap_or(&absent), b.get(key).unwrap_or(&absent))),
            )
        }
        _ => Truth::Maybe,
    }
}

/// Some element of a list against a glob of text: `args_array_any_match`.
fn any_glob(items: &[Json], glob: &str) -> Truth {
    Truth::any(items.iter().map(|item| match item {
        Json::Text(text) => Truth::of(patterns::text(glob, text)),
        _ => Truth::Maybe,
    }))
}

fn found(source: &str, text: &str) -> bool {
    thread_local! {
        static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::new(HashMap::new());
    }
    COMPILED.with_borrow_mut(|compiled| {
        compiled
            .entry(source.to_owned())
            .or_insert_with(|| Regex::new(source).unwrap())
            .is_match(text)
    })
}
