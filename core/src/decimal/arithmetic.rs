//! Sums, differences and products: exact, or none.
//!
//! Invariant: a result is within the limits of every number, and where it would not be there is none. Nothing is ever
//! rounded.

use super::{DIGITS_MAX, Decimal, Form, build, build_wide};
use std::cmp::Ordering;

/// Powers of ten that two mantissas of 18 digits can lie apart and still be added in 128 bits.
const APART_MAX: u32 = 18;
/// Digits of a limb: two of them multiply, with a carry, in 64 bits.
const LIMB_DIGITS: usize = 9;
/// One more than the largest limb.
const LIMB: u64 = 1_000_000_000;

impl Decimal {
    /// The sum, where it is within the limits.
    #[must_use]
    pub fn plus(&self, other: &Decimal) -> Option<Decimal> {
        if let Some(sum) = add_small(self, other) {
            return sum;
        }
        let (a, b) = (Digits::of(self), Digits::of(other));
        let exponent = a.exponent.min(b.exponent);
        let (a_negative, b_negative) = (a.negative, b.negative);
        let (a, b) = (a.aligned(exponent)?, b.aligned(exponent)?);
        if a_negative == b_negative {
            return finish(a_negative, &add(&a, &b), exponent);
        }
        match compare(&a, &b) {
            Ordering::Equal => Some(Decimal::ZERO),
            Ordering::Greater => finish(a_negative, &subtract(&a, &b), exponent),
            Ordering::Less => finish(b_negative, &subtract(&b, &a), exponent),
        }
    }

    /// The difference, where it is within the limits.
    #[must_use]
    pub fn minus(&self, other: &Decimal) -> Option<Decimal> {
        self.plus(&other.negated())
    }

    /// The product, where it is within the limits and its factors have no more digits between them than one number may
    /// have: which bounds the work.
    #[must_use]
    pub fn times(&self, other: &Decimal) -> Option<Decimal> {
        if let (
            Form::Small {
                mantissa: a,
                exponent: a_exponent,
            },
            Form::Small {
                mantissa: b,
                exponent: b_exponent,
            },
        ) = (&self.0, &other.0)
        {
            // Two mantissas of 18 digits multiply in 128 bits.
            let product = i128::from(*a) * i128::from(*b);
            let exponent = i64::from(*a_exponent) + i64::from(*b_exponent);
            return build_wide(product < 0, product.unsigned_abs(), exponent).ok();
        }
        let (a, b) = (Digits::of(self), Digits::of(other));
        if a.digits.len() + b.digits.len() > DIGITS_MAX {
            return None;
        }
        finish(
            a.negative != b.negative,
            &multiply(&a.digits, &b.digits),
            a.exponent + b.exponent,
        )
    }

    /// Whether sum, difference and product take the short way, in a few dozen nanoseconds.
    pub(crate) const fn is_short_with(&self, other: &Decimal) -> bool {
        match (&self.0, &other.0) {
            (Form::Small { exponent: a, .. }, Form::Small { exponent: b, .. }) => {
                a.abs_diff(*b) as u32 <= APART_MAX
            }
            _ => false,
        }
    }

    /// The number with the other sign.
    #[must_use]
    pub fn negated(&self) -> Decimal {
        let mut negated = self.clone();
        match &mut negated.0 {
            // The mantissa has at most 18 digits.
            Form::Small { mantissa, .. } => *mantissa = -*mantissa,
            Form::Big(big) => big.negative = !big.negative,
        }
        negated
    }
}

/// The sum of two small numbers that do not lie far apart: nearly every sum there is. `None`: it takes the long way.
fn add_small(a: &Decimal, b: &Decimal) -> Option<Option<Decimal>> {
    let (
        Form::Small {
            mantissa: a,
            exponent: a_exponent,
        },
        Form::Small {
            mantissa: b,
            exponent: b_exponent,
        },
    ) = (&a.0, &b.0)
    else {
        return None;
    };
    let apart = u32::from(a_exponent.abs_diff(*b_exponent));
    if apart > APART_MAX {
        return None;
    }
    let scale = 10_i128.pow(apart);
    let (a_scale, b_scale) = if a_exponent > b_exponent {
        (scale, 1)
    } else {
        (1, scale)
    };
    let sum = i128::from(*a) * a_scale + i128::from(*b) * b_scale;
    let exponent = i64::from(*a_exponent.min(b_exponent));
    Some(build_wide(sum < 0, sum.unsigned_abs(), exponent).ok())
}

/// A number's digits, most significant first, as values.
struct Digits {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Digits {
    fn of(number: &Decimal) -> Digits {
        let mut buffer = [0; super::SMALL_DIGITS_MAX];
        let (negative, digits, exponent) = number.parts(&mut buffer);
        Digits {
            negative,
            digits: digits.bytes().map(|digit| digit - b'0').collect(),
            exponent,
        }
    }

    /// The digits down to that power of ten, which is not above the last one's.
    fn aligned(mut self, exponent: i64) -> Option<Vec<u8>> {
        let zeros = usize::try_from(self.exponent - exponent).ok()?;
        self.digits.resize(self.digits.len() + zeros, 0);
        Some(self.digits)
    }
}

fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| -> Vec<u8> {
        let digits = digits.iter().copied();
        digits.skip_while(|digit| *digit == 0).collect()
    };
    let (a, b) = (significant(a), significant(b));
    a.len().cmp(&b.len()).then_with(|| a.cmp(&b))
}

/// From the last digit on, with zeros before the first.
fn columns(a: &[u8], b: &[u8]) -> impl Iterator<Item = (u8, u8)> {
    let longest = a.len().max(b.len());
    let backwards = |digits: &[u8]| {
        let digits: Vec<u8> = digits.iter().rev().copied().collect();
        digits.into_iter().chain(std::iter::repeat(0))
    };
    backwards(a).zip(backwards(b)).take(longest)
}

fn add(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut sum: Vec<u8> = columns(a, b)
        .map(|(a, b)| {
            let column = a + b + carry;
            carry = column / 10;
            column % 10
        })
        .collect();
    sum.push(carry);
    sum.reverse();
    sum
}

/// `a` is not less than `b`.
fn subtract(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrowed = 0;
    let mut difference: Vec<u8> = columns(a, b)
        .map(|(a, b)| {
            let column = a + 10 - b - borrowed;
            borrowed = u8::from(column < 10);
            column % 10
        })
        .collect();
    difference.reverse();
    difference
}

fn multiply(a: &[u8], b: &[u8]) -> Vec<u8> {
    let (a, b) = (limbs(a), limbs(b));
    let mut product = vec![0_u64; a.len() + b.len() + 1];
    for (shift, factor) in a.iter().enumerate() {
        let mut carry = 0;
        let columns = b.iter().chain(std::iter::repeat(&0));
        for (column, other) in product.iter_mut().skip(shift).zip(columns) {
            let sum = *column + factor * other + carry;
            *column = sum % LIMB;
            carry = sum / LIMB;
        }
    }
    let mut digits = Vec::with_capacity(product.len() * LIMB_DIGITS);
    for mut limb in product {
        for _ in 0..LIMB_DIGITS {
            digits.push(u8::try_from(limb % 10).unwrap_or(0));
            limb /= 10;
        }
    }
    digits.reverse();
    digits
}

/// From the least significant on.
fn limbs(digits: &[u8]) -> Vec<u64> {
    let value = |limb: &[u8]| {
        limb.iter()
            .fold(0, |value, digit| value * 10 + u64::from(*digit))
    };
    digits.rchunks(LIMB_DIGITS).map(value).collect()
}

fn finish(negative: bool, digits: &[u8], exponent: i64) -> Option<Decimal> {
    let digits: Vec<u8> = digits.iter().map(|digit| digit + b'0').collect();
    build(negative, &digits, &[], exponent).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn nothing_is_rounded() {
        let sum = |a: &str, b: &str| number(a).plus(&number(b)).unwrap().to_string();
        assert_eq!(sum("0.1", "0.2"), "0.3");
        assert_eq!(sum("9007199254740993", "1"), "9007199254740994");
        assert_eq!(sum("1e20", "-99999999999999999999"), "1");
        assert_eq!(
            sum("1e30", "1e-30"),
            format!("1000000000000000000000000000000.{}1", "0".repeat(29))
                .parse::<Decimal>()
                .unwrap()
                .to_string()
        );
        assert_eq!(sum("-5", "5"), "0");
        let product = |a: &str, b: &str| number(a).times(&number(b)).unwrap().to_string();
        assert_eq!(
            product("123456789123456789", "-1000000001"),
            "-1.23456789246913578123456789e+26"
        );
        assert_eq!(product("0", "-3"), "0");
        assert_eq!(product("2.5", "0.4"), "1");
    }

    #[test]
    fn what_is_beyond_the_limits_is_no_number() {
        let (large, small) = (number("9e1000"), number("1e-1000"));
        assert_eq!(large.plus(&large), None);
        assert_eq!(large.plus(&small), None);
        assert_eq!(large.minus(&large.negated()), None);
        assert_eq!(large.times(&number("10")), None);
        assert_eq!(small.times(&small), None);
        let long = number(&"9".repeat(501));
        assert_eq!(long.times(&long), None);
        assert!(long.plus(&long).is_some());
    }

    proptest! {
        #[test]
        fn long_and_short_ways_agree_with_128_bits(
            a in -1_000_000_000_000_000_i64..1_000_000_000_000_000,
            b in -1_000_000_000_000_000_i64..1_000_000_000_000_000,
            apart in 0_u32..40,
        ) {
            let scaled = number(&format!("{b}e{apart}"));
            let sum = Decimal::from(a).plus(&scaled).unwrap();
            prop_assert_eq!(sum.minus(&scaled), Some(Decimal::from(a)));
            prop_assert_eq!(scaled.plus(&Decimal::from(a)), Some(sum.clone()));
            if apart <= 20 {
                let exact = i128::from(a) + i128::from(b) * 10_i128.pow(apart);
                prop_assert_eq!(sum, number(&exact.to_string()));
            }
            let exact = i128::from(a) * i128::from(b);
            prop_assert_eq!(Decimal::from(a).times(&Decimal::from(b)), Some(number(&exact.to_string())));
        }
    }
}
