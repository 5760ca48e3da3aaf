//! Exact numbers as taught at school: a sign, digits, and where the point is. Nothing is fast here.

use std::cmp::Ordering;

/// Significant digits of a number, and the largest power of ten of its first digit: beyond, a call is none, and what a
/// calculation gives cannot be told.
const LIMIT: i64 = 1_000;

/// ± digits × 10^exponent; no zero at either end of the digits, and none at all for zero.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Number {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Number {
    /// Reads a JSON number.
    pub(crate) fn parse(text: &str) -> Option<Number> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, power) = match text.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, power.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: Option<Vec<u8>> = format!("{whole}{fraction}")
            .chars()
            .map(|c| c.to_digit(10).map(|digit| digit as u8))
            .collect();
        let digits = digits.filter(|digits| !digits.is_empty())?;
        Some(Number::of(negative, digits, power - fraction.len() as i64))
    }

    pub(crate) fn whole(value: i64) -> Number {
        Number::parse(&value.to_string()).unwrap()
    }

    fn of(negative: bool, mut digits: Vec<u8>, mut exponent: i64) -> Number {
        while digits.last() == Some(&0) {
            digits.pop();
            exponent += 1;
        }
        while digits.first() == Some(&0) {
            digits.remove(0);
        }
        if digits.is_empty() {
            return Number {
                negative: false,
                digits,
                exponent: 0,
            };
        }
        Number {
            negative,
            digits,
            exponent,
        }
    }

    /// Whether this is a number for a call, or a result that can be told.
    pub(crate) fn within_limits(&self) -> bool {
        let first = self.digits.len() as i64 - 1 + self.exponent;
        self.digits.is_empty() || (self.digits.len() as i64 <= LIMIT && first.abs() <= LIMIT)
    }

    /// Both with the same exponent and as many digits, most significant first.
    fn aligned(&self, other: &Number) -> (Vec<u8>, Vec<u8>, i64) {
        let exponent = self.exponent.min(other.exponent);
        let pad = |number: &Number| {
            let mut digits = number.digits.clone();
            digits.extend(vec![0; (number.exponent - exponent) as usize]);
            digits
        };
        let (mut a, mut b) = (pad(self), pad(other));
        let length = a.len().max(b.len()) + 1;
        for digits in [&mut a, &mut b] {
            let missing = length - digits.len();
            digits.splice(0..0, vec![0; missing]);
        }
        (a, b, exponent)
    }

    pub(crate) fn plus(&self, other: &Number) -> Number {
        let (a, b, exponent) = self.aligned(other);
        if self.negative == other.negative {
            return Number::of(self.negative, sum(&a, &b), exponent);
        }
        match a.cmp(&b) {
            Ordering::Less => Number::of(other.negative, difference(&b, &a), exponent),
            _ => Number::of(self.negative, difference(&a, &b), exponent),
        }
    }

    pub(crate) fn minus(&self, other: &Number) -> Number {
        self.plus(&Number::of(
            !other.negative,
            other.digits.clone(),
            other.exponent,
        ))
    }

    pub(crate) fn times(&self, other: &Number) -> Number {
        let mut digits = vec![0_u8; self.digits.len() + other.digits.len()];
        for (i, a) in self.digits.iter().enumerate().rev() {
            let mut carry = 0;
            for (j, b) in other.digits.iter().enumerate().rev() {
                let here = u32::from(digits[i + j + 1]) + u32::from(*a) * u32::from(*b) + carry;
                digits[i + j + 1] = (here % 10) as u8;
                carry = here / 10;
            }
            digits[i] += carry as u8;
        }
        Number::of(
            self.negative != other.negative,
            digits,
            self.exponent + other.exponent,
        )
    }

    pub(crate) fn compare(&self, other: &Number) -> Ordering {
        let difference = self.minus(other);
        match (difference.digits.is_empty(), difference.negative) {
            (true, _) => Ordering::Equal,
            (false, true) => Ordering::Less,
            (false, false) => Ordering::Greater,
        }
    }

    /// All its digits, as ECMAScript lays numbers out, where that needs no exponent.
    pub(crate) fn plain(&self) -> Option<String> {
        let sign = if self.negative { "-" } else { "" };
        let digits: String = self.digits.iter().map(|d| char::from(b'0' + d)).collect();
        let before_point = digits.len() as i64 + self.exponent;
        match before_point {
            _ if digits.is_empty() => Some("0".to_owned()),
            -5..=0 => {
                let zeros = "0".repeat(-before_point as usize);
                Some(format!("{sign}0.{zeros}{digits}"))
            }
            1..=21 if self.exponent >= 0 => {
                let zeros = "0".repeat(self.exponent as usize);
                Some(format!("{sign}{digits}{zeros}"))
            }
            1..=21 => {
                let (whole, fraction) = digits.split_at(before_point as usize);
                Some(format!("{sign}{whole}.{fraction}"))
            }
            _ => None,
        }
    }

    /// A way to write it: plain where that is short.
    pub(crate) fn text(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        let digits: String = self.digits.iter().map(|d| char::from(b'0' + d)).collect();
        match self.exponent {
            _ if digits.is_empty() => "0".to_owned(),
            0..=6 => format!("{sign}{digits}{}", "0".repeat(self.exponent as usize)),
            -9..0 => {
                let places = -self.exponent as usize;
                let padded = format!("{digits:0>width$}", width = places + 1);
                let (whole, fraction) = padded.split_at(padded.len() - places);
                format!("{sign}{whole}.{fraction}")
            }
            power => format!("{sign}{digits}e{power}"),
        }
    }
}

fn sum(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut out = vec![0; a.len()];
    let mut carry = 0;
    for at in (0..a.len()).rev() {
        let here = a[at] + b[at] + carry;
        out[at] = here % 10;
        carry = here / 10;
    }
    out
}

/// The greater less the smaller.
fn difference(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut out = vec![0; a.len()];
    let mut borrow = 0;
    for at in (0..a.len()).rev() {
        let here = a[at] as i8 - b[at] as i8 - borrow;
        borrow = i8::from(here < 0);
        out[at] = (here + 10 * borrow) as u8;
    }
    out
}

#[test]
fn the_twins_numbers_calculate_as_small_integers_do() {
    for a in -30_i64..30 {
        for b in -30_i64..30 {
            let (x, y) = (Number::whole(a), Number::whole(b));
            assert_eq!(x.plus(&y), Number::whole(a + b));
            assert_eq!(x.minus(&y), Number::whole(a - b));
            assert_eq!(x.times(&y), Number::whole(a * b));
            assert_eq!(x.compare(&y), a.cmp(&b));
        }
    }
    let tenth = Number::parse("0.1").unwrap();
    assert_eq!(tenth.times(&Number::whole(10)), Number::whole(1));
    assert_eq!(Number::parse("8e1"), Number::parse("80.00"));
    assert_eq!(Number::parse("-0"), Number::parse("0e7"));
}
