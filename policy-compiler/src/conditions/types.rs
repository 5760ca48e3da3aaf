//! What the sides of a test hold, as far as the compiler knows: from a literal, a variable or a tool's schema.
//!
//! Invariant: [`Type::Any`] is comparable with everything; an error is given only where no call can make sense of a test.

use crate::syntax::Unit;
use crate::vocabulary::nearest;
use faramesh_core::decimal::Decimal;
use faramesh_core::policy::artifact::{Kind, Literal, SessionPart, TimePart};

/// What an operand holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    /// Nobody declared it.
    Any,
    Bool,
    Number(Unit),
    Text,
    List,
    Object,
}

impl Type {
    /// For messages: `an amount`.
    pub(crate) const fn noun(self) -> &'static str {
        match self {
            Type::Any => "anything",
            Type::Bool => "true or false",
            Type::Number(unit) => unit.noun(),
            Type::Text => "text",
            Type::List => "a list",
            Type::Object => "an object",
        }
    }

    /// Whether values of the two may be equal or in an order. Plain numbers go with numbers of every unit.
    pub(crate) fn meets(self, other: Type) -> bool {
        match (self, other) {
            (Type::Any, _) | (_, Type::Any) => true,
            (Type::Number(a), Type::Number(b)) => joint_unit(a, b).is_some(),
            (a, b) => a == b,
        }
    }

    pub(crate) fn may_be(self, wanted: &[Type]) -> bool {
        wanted.iter().any(|one| self.meets(*one))
    }

    /// What a schema says of an argument.
    pub(crate) const fn of_kind(kind: Kind) -> Type {
        match kind {
            Kind::Any => Type::Any,
            Kind::Bool => Type::Bool,
            Kind::Number => Type::Number(Unit::None),
            Kind::Money => Type::Number(Unit::Money),
            Kind::Duration => Type::Number(Unit::Duration),
            Kind::Size => Type::Number(Unit::Size),
            Kind::Text | Kind::Path(_) => Type::Text,
            Kind::List => Type::List,
            Kind::Object => Type::Object,
        }
    }

    pub(crate) const fn of_literal(literal: &Literal, unit: Unit) -> Type {
        match literal {
            Literal::Bool(_) => Type::Bool,
            Literal::Number(_) => Type::Number(unit),
            Literal::String(_) => Type::Text,
        }
    }

    pub(crate) const fn of_session(part: SessionPart) -> Type {
        Type::Number(match part {
            SessionPart::CallCount => Unit::None,
            SessionPart::Duration => Unit::Duration,
            SessionPart::CostUsd => Unit::Money,
        })
    }
}

/// The unit of two numbers that are compared, added or subtracted; `None`: they count different things.
pub(crate) fn joint_unit(a: Unit, b: Unit) -> Option<Unit> {
    match (a, b) {
        (Unit::None, other) | (other, Unit::None) => Some(other),
        (a, b) => (a == b).then_some(a),
    }
}

const WEEKDAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// What a text that is compared with a part of the time must be.
pub(crate) const fn time_expected(part: TimePart) -> &'static str {
    match part {
        TimePart::Weekday => "expected a day, such as `\"mon\"`, or 1 to 7",
        TimePart::Month => "expected a month, such as `\"jan\"`, or 1 to 12",
        TimePart::Now => "expected a time, such as `\"2026-01-31T12:00:00Z\"`",
        _ => "expected a number",
    }
}

/// The number that a text means beside a part of the time: `"mon"` is 1, an RFC 3339 time is its second.
///
/// # Errors
/// What could be meant instead, where that is known.
pub(crate) fn time_literal(part: TimePart, text: &str) -> Result<Decimal, Option<&'static str>> {
    match part {
        TimePart::Weekday => named(&WEEKDAYS, text),
        TimePart::Month => named(&MONTHS, text),
        TimePart::Now => rfc3339(text).ok_or(None),
        _ => Err(None),
    }
}

/// A full name or its first three letters, in any case.
fn named(names: &[&'static str], text: &str) -> Result<Decimal, Option<&'static str>> {
    let lower = text.to_ascii_lowercase();
    (1_i64..)
        .zip(names)
        .find(|(_, name)| **name == lower || name.get(..3) == Some(lower.as_str()))
        .map(|(number, _)| Decimal::from(number))
        .ok_or_else(|| nearest(&lower, names.iter().copied()))
}

/// `2026-01-31T12:00:00Z`, `…+01:00`, seconds since the Unix epoch; `None` for anything else. A date alone is its
/// first second in UTC.
fn rfc3339(text: &str) -> Option<Decimal> {
    let (date, clock) = match text.split_once(['T', 't', ' ']) {
        Some((date, clock)) => (date, Some(clock)),
        None => (text, None),
    };
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let days = days_since_epoch(year, month, day);
    let Some(clock) = clock else {
        return Some(Decimal::from(days * 86_400));
    };
    let (clock, offset) = if let Some(clock) = clock.strip_suffix(['Z', 'z']) {
        (clock, 0)
    } else {
        let at = clock.rfind(['+', '-'])?;
        let (clock, offset) = clock.split_at_checked(at)?;
        let [hours, minutes] = fields(offset.get(1..)?, ':', [2, 2])?;
        if hours > 23 || minutes > 59 {
            return None;
        }
        let seconds = hours * 3_600 + minutes * 60;
        (
            clock,
            if offset.starts_with('-') {
                -seconds
            } else {
                seconds
            },
        )
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    if !fraction.bytes().all(|byte| byte == b'0') {
        return None;
    }
    let [hour, minute, second] = fields(clock, ':', [2, 2, 2])?;
    (hour < 24 && minute < 60 && second < 60)
        .then(|| Decimal::from(days * 86_400 + hour * 3_600 + minute * 60 + second - offset))
}

/// Numbers of fixed widths between a sign.
fn fields<const N: usize>(text: &str, sign: char, widths: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(sign);
    let mut found = [0; N];
    for (slot, width) in found.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *slot = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// In the proleptic Gregorian calendar: whole years before this one, then whole months of it.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let leaps = before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400);
    let first_of_1970 = 719_162; // days from 0001-01-01 to 1970-01-01
    let months: i64 = (1..month).map(|month| days_in(year, month)).sum();
    before * 365 + leaps - first_of_1970 + months + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_numbers_meet_every_unit_and_units_meet_their_own_kind_only() {
        let money = Type::Number(Unit::Money);
        assert!(money.meets(Type::Number(Unit::None)) && money.meets(Type::Any));
        assert!(!money.meets(Type::Number(Unit::Duration)) && !money.meets(Type::Text));
        assert!(!Type::Bool.meets(Type::Text) && Type::Text.meets(Type::Text));
    }

    #[test]
    fn names_of_days_and_months_are_numbers_and_misspelt_ones_find_their_neighbour() {
        let weekday = |text| time_literal(TimePart::Weekday, text);
        assert_eq!(weekday("mon"), Ok(Decimal::from(1)));
        assert_eq!(weekday("Sunday"), Ok(Decimal::from(7)));
        assert_eq!(weekday("mondy"), Err(Some("monday")));
        assert_eq!(time_literal(TimePart::Month, "may"), Ok(Decimal::from(5)));
        assert_eq!(time_literal(TimePart::Month, "dec"), Ok(Decimal::from(12)));
        assert_eq!(time_literal(TimePart::Hour, "noon"), Err(None));
    }

    #[test]
    fn a_time_of_rfc_3339_is_its_second_in_any_offset() {
        let seconds = |text| time_literal(TimePart::Now, text);
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Ok(Decimal::from(0)));
        assert_eq!(
            seconds("2000-02-29T12:00:00+01:00"),
            Ok(Decimal::from(951_822_000))
        );
        assert_eq!(
            seconds("2026-11-20T13:50:03.000Z"),
            Ok(Decimal::from(1_795_182_603))
        );
        assert_eq!(seconds("2026-01-01"), Ok(Decimal::from(1_767_225_600)));
        for wrong in [
            "2026-02-29",
            "2026-1-1",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00",
            "tomorrow",
            "",
        ] {
            assert_eq!(seconds(wrong), Err(None), "{wrong}");
        }
    }
}
