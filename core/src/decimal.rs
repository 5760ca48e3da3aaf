//! Exact decimals: two different amounts never share a form, and one amount has one form.
//!
//! Invariants: a value is held normalised (no leading or trailing zeros in its digits, one zero), and in the small form
//! exactly when it fits there; so equality and hashing are those of the representation. The canonical text is laid out
//! as ECMAScript lays out numbers (plain from 1e-6 up to below 1e21, else `d.ddde+N`), but with every digit.

mod arithmetic;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::fmt;

/// Significant digits of a number: a thousand is far beyond any amount, and bounds the cost of a comparison.
pub const DIGITS_MAX: usize = 1_000;
/// Largest magnitude of the exponent N in `d.ddd × 10^N`; the same reason.
pub const EXPONENT_MAX: i64 = 1_000;
/// Digits that surely fit an `i64`.
const SMALL_DIGITS_MAX: usize = 18;
/// How many values have so many digits.
const SMALL_VALUES: u64 = 1_000_000_000_000_000_000;
/// From this many digits before the point on, ECMAScript writes an exponent.
const PLAIN_DIGITS_MAX: i64 = 21;
/// With this many zeros after the point, ECMAScript writes an exponent.
const PLAIN_ZEROS_MAX: i64 = 6;

/// An exact decimal number.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Decimal(Form);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Form {
    /// `mantissa × 10^exponent`; the mantissa does not end in 0 unless it is 0, and then the exponent is 0.
    Small { mantissa: i64, exponent: i16 },
    /// More than `SMALL_DIGITS_MAX` digits, the first and the last not 0: `± digits × 10^exponent`.
    Big(Box<Big>),
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Big {
    negative: bool,
    digits: Box<str>,
    exponent: i16,
}

/// Why a text is no number for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalInvalid {
    /// Not a JSON number; the byte where it goes wrong.
    #[error("not a number: wrong at byte {at}")]
    Malformed {
        /// Bytes from the number's first.
        at: usize,
    },
    /// Beyond [`DIGITS_MAX`].
    #[error("number has more than {DIGITS_MAX} significant digits")]
    TooManyDigits,
    /// Beyond [`EXPONENT_MAX`].
    #[error("number has an exponent beyond ±{EXPONENT_MAX}")]
    ExponentOutOfRange,
    /// The same number is written in another way.
    #[error("number is not in its canonical form")]
    NotCanonical,
}

impl Decimal {
    /// The number nothing.
    pub const ZERO: Decimal = Decimal(Form::Small {
        mantissa: 0,
        exponent: 0,
    });

    /// Reads a whole text as a JSON number.
    ///
    /// # Errors
    /// Anything that is not a JSON number, and numbers beyond the limits.
    pub fn parse(text: &str) -> Result<Decimal, DecimalInvalid> {
        let (number, length) = Decimal::scan(text.as_bytes())?;
        if length == text.len() {
            Ok(number)
        } else {
            Err(DecimalInvalid::Malformed { at: length })
        }
    }

    /// Reads a text that must be a number's canonical form.
    ///
    /// # Errors
    /// As [`Decimal::parse`], and every other way of writing a number.
    pub fn parse_canonical(text: &str) -> Result<Decimal, DecimalInvalid> {
        let number = Decimal::parse(text)?;
        if number.to_string() == text {
            Ok(number)
        } else {
            Err(DecimalInvalid::NotCanonical)
        }
    }

    /// Reads the JSON number at the head of `text`, as far as it goes, and says how many bytes it took.
    ///
    /// # Errors
    /// As [`Decimal::parse`], except that bytes may follow.
    pub fn scan(text: &[u8]) -> Result<(Decimal, usize), DecimalInvalid> {
        let mut at = 0;
        let negative = take(text, &mut at, b"-").is_some();
        let whole_from = at;
        let whole = digits(text, &mut at)?;
        if whole.len() > 1 && whole.first() == Some(&b'0') {
            return Err(DecimalInvalid::Malformed { at: whole_from + 1 });
        }
        let fraction = match take(text, &mut at, b".") {
            Some(_) => digits(text, &mut at)?,
            None => &[],
        };
        let exponent = match take(text, &mut at, b"eE") {
            Some(_) => exponent(text, &mut at)?,
            None => 0,
        };
        Ok((build(negative, whole, fraction, exponent)?, at))
    }

    /// Appends the canonical text.
    pub fn write_to(&self, out: &mut String) {
        let mut buffer = [0; SMALL_DIGITS_MAX];
        let (negative, digits, exponent) = self.parts(&mut buffer);
        if negative {
            out.push('-');
        }
        write_layout(digits, exponent, out);
    }

    /// The number as an `i64`, where it is one.
    pub fn to_i64(&self) -> Option<i64> {
        match self.0 {
            Form::Small { mantissa, exponent } => {
                mantissa.checked_mul(10_i64.checked_pow(u32::try_from(exponent).ok()?)?)
            }
            Form::Big(_) => self.to_string().parse().ok(),
        }
    }

    /// Sign, digits (`0` for zero) and the power of ten of the last digit.
    fn parts<'a>(&'a self, buffer: &'a mut [u8; SMALL_DIGITS_MAX]) -> (bool, &'a str, i64) {
        match &self.0 {
            Form::Small { mantissa, exponent } => (
                *mantissa < 0,
                write_digits(mantissa.unsigned_abs(), buffer),
                i64::from(*exponent),
            ),
            Form::Big(big) => (big.negative, &big.digits, i64::from(big.exponent)),
        }
    }

    /// Whether it is below zero.
    pub const fn is_negative(&self) -> bool {
        match &self.0 {
            Form::Small { mantissa, .. } => *mantissa < 0,
            Form::Big(big) => big.negative,
        }
    }

    /// The exponent N of `d.ddd × 10^N`, for a number that is not zero.
    fn magnitude(&self) -> i64 {
        match &self.0 {
            Form::Small { mantissa, exponent } => {
                i64::from(*exponent)
                    + i64::from(mantissa.unsigned_abs().checked_ilog10().unwrap_or(0))
            }
            Form::Big(big) => i64::from(big.exponent) + length(big.digits.len()) - 1,
        }
    }
}

/// One byte out of `choice`, if the next one is.
fn take(text: &[u8], at: &mut usize, choice: &[u8]) -> Option<u8> {
    let byte = text
        .get(*at)
        .copied()
        .filter(|byte| choice.contains(byte))?;
    *at += 1;
    Some(byte)
}

/// A run of at least one digit.
fn digits<'a>(text: &'a [u8], at: &mut usize) -> Result<&'a [u8], DecimalInvalid> {
    let rest = text.get(*at..).unwrap_or_default();
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return Err(DecimalInvalid::Malformed { at: *at });
    }
    *at += count;
    Ok(rest.get(..count).unwrap_or_default())
}

/// The part after the `e`. It saturates far beyond the limit and far below overflow.
fn exponent(text: &[u8], at: &mut usize) -> Result<i64, DecimalInvalid> {
    let negative = take(text, at, b"+-") == Some(b'-');
    let value = digits(text, at)?.iter().fold(0_i64, |value, digit| {
        (value * 10 + i64::from(digit - b'0')).min(1_000_000_000_000)
    });
    Ok(if negative { -value } else { value })
}

/// Normalises and bounds.
fn build(
    negative: bool,
    whole: &[u8],
    fraction: &[u8],
    exponent: i64,
) -> Result<Decimal, DecimalInvalid> {
    let all = whole.iter().chain(fraction);
    let exponent = exponent - length(fraction.len());
    if whole.len() + fraction.len() <= SMALL_DIGITS_MAX {
        return build_small(negative, value_of(all.copied()), exponent);
    }
    let mut digits: Vec<u8> = all.copied().skip_while(|digit| *digit == b'0').collect();
    let given = digits.len();
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    let exponent = exponent + length(given - digits.len());
    if digits.len() <= SMALL_DIGITS_MAX {
        return build_small(negative, value_of(digits.into_iter()), exponent);
    }
    let exponent = bounded(digits.len(), exponent)?;
    let digits = digits
        .into_iter()
        .map(char::from)
        .collect::<String>()
        .into_boxed_str();
    Ok(Decimal(Form::Big(Box::new(Big {
        negative,
        digits,
        exponent,
    }))))
}

/// At most [`SMALL_DIGITS_MAX`] digits as a number.
fn value_of(digits: impl Iterator<Item = u8>) -> u64 {
    digits.fold(0, |value, digit| value * 10 + u64::from(digit - b'0'))
}

fn build_small(
    negative: bool,
    mut value: u64,
    mut exponent: i64,
) -> Result<Decimal, DecimalInvalid> {
    let Some(mut top) = value.checked_ilog10() else {
        return Ok(Decimal::ZERO);
    };
    while value.is_multiple_of(10) {
        value /= 10;
        exponent += 1;
        top -= 1;
    }
    let exponent = bounded(top as usize + 1, exponent)?;
    // Below 10^18 by the caller's count of digits, so it fits.
    let mantissa = value.cast_signed();
    Ok(Decimal(Form::Small {
        mantissa: if negative { -mantissa } else { mantissa },
        exponent,
    }))
}

/// The same from a number in place of digits: no text is made of what fits the small form.
fn build_wide(
    negative: bool,
    mut value: u128,
    mut exponent: i64,
) -> Result<Decimal, DecimalInvalid> {
    while value >= u128::from(SMALL_VALUES) && value.is_multiple_of(10) {
        value /= 10;
        exponent += 1;
    }
    match u64::try_from(value) {
        Ok(small) if small < SMALL_VALUES => build_small(negative, small, exponent),
        _ => build(negative, value.to_string().as_bytes(), &[], exponent),
    }
}

/// Checks both limits for a number of that many digits whose last one stands at that power of ten.
fn bounded(digits: usize, exponent: i64) -> Result<i16, DecimalInvalid> {
    if digits > DIGITS_MAX {
        return Err(DecimalInvalid::TooManyDigits);
    }
    if (exponent + length(digits) - 1).abs() > EXPONENT_MAX {
        return Err(DecimalInvalid::ExponentOutOfRange);
    }
    i16::try_from(exponent).map_err(|_| DecimalInvalid::ExponentOutOfRange)
}

/// Lengths here are those of texts that fit in memory.
fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// `value` (below 10^18) in decimal digits, at the end of `buffer`.
fn write_digits(mut value: u64, buffer: &mut [u8; SMALL_DIGITS_MAX]) -> &str {
    let mut used = 0;
    for slot in buffer.iter_mut().rev() {
        *slot = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    let digits = buffer.get(SMALL_DIGITS_MAX - used..).unwrap_or_default();
    std::str::from_utf8(digits).unwrap_or_default()
}

/// Number::toString of ECMAScript, for digits whose last one stands at the power `exponent` of ten.
fn write_layout(digits: &str, exponent: i64, out: &mut String) {
    let count = length(digits.len());
    let point = count + exponent; // digits before the point
    if digits == "0" {
        out.push('0');
    } else if exponent >= 0 && point <= PLAIN_DIGITS_MAX {
        out.push_str(digits);
        push_zeros(exponent, out);
    } else if (1..=PLAIN_DIGITS_MAX).contains(&point) {
        push_split(digits, usize::try_from(point).unwrap_or(0), out);
    } else if (1 - PLAIN_ZEROS_MAX..=0).contains(&point) {
        out.push_str("0.");
        push_zeros(-point, out);
        out.push_str(digits);
    } else {
        push_split(digits, 1, out);
        out.push_str(if point > 0 { "e+" } else { "e-" });
        let mut buffer = [0; SMALL_DIGITS_MAX];
        out.push_str(write_digits((point - 1).unsigned_abs(), &mut buffer));
    }
}

fn push_zeros(count: i64, out: &mut String) {
    for _ in 0..count {
        out.push('0');
    }
}

/// The digits with a point after the first `before`, where any follow.
fn push_split(digits: &str, before: usize, out: &mut String) {
    let (head, tail) = digits.split_at_checked(before).unwrap_or((digits, ""));
    out.push_str(head);
    if !tail.is_empty() {
        out.push('.');
        out.push_str(tail);
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        if let Some(order) = compare_small(self, other) {
            return order;
        }
        let by_sign = other.is_negative().cmp(&self.is_negative());
        by_sign.then_with(|| {
            let by_size = compare_sizes(self, other);
            if self.is_negative() {
                by_size.reverse()
            } else {
                by_size
            }
        })
    }
}

/// Two small numbers whose last digits do not lie far apart: nearly every comparison there is.
fn compare_small(a: &Decimal, b: &Decimal) -> Option<Ordering> {
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
    if a_exponent == b_exponent {
        return Some(a.cmp(b));
    }
    // Mantissas and the scale are within 18 digits, so 128 bits hold the product.
    let apart = u32::from(a_exponent.abs_diff(*b_exponent));
    let scale = i128::from(10_i64.checked_pow(apart)?);
    let (a, b) = (i128::from(*a), i128::from(*b));
    Some(if a_exponent > b_exponent {
        (a * scale).cmp(&b)
    } else {
        a.cmp(&(b * scale))
    })
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares absolute values.
fn compare_sizes(a: &Decimal, b: &Decimal) -> Ordering {
    match (*a == Decimal::ZERO, *b == Decimal::ZERO) {
        (false, false) => {}
        (a_is_zero, b_is_zero) => return b_is_zero.cmp(&a_is_zero),
    }
    // Normalised digits without trailing zeros compare like words once the first digits stand at the same power.
    a.magnitude().cmp(&b.magnitude()).then_with(|| {
        let (mut for_a, mut for_b) = ([0; SMALL_DIGITS_MAX], [0; SMALL_DIGITS_MAX]);
        a.parts(&mut for_a).1.cmp(b.parts(&mut for_b).1)
    })
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        if value.unsigned_abs() < SMALL_VALUES {
            return build_small(value < 0, value.unsigned_abs(), 0).unwrap_or(Decimal::ZERO);
        }
        // At most 19 digits and no exponent, so always within the limits.
        let digits = value.unsigned_abs().to_string();
        build(value < 0, digits.as_bytes(), &[], 0).unwrap_or(Decimal::ZERO)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write_to(&mut text);
        f.write_str(&text)
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decimal({self})")
    }
}

impl std::str::FromStr for Decimal {
    type Err = DecimalInvalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Decimal::parse(text)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Decimal::parse_canonical(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::hash_map::DefaultHasher;
    use std::hash::{Hash, Hasher};

    fn number(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    fn hash(number: &Decimal) -> u64 {
        let mut hasher = DefaultHasher::new();
        number.hash(&mut hasher);
        hasher.finish()
    }

    /// The obvious twin: the number written out plainly, as a sign and so many digits before and after the point that
    /// every number within the limits fits.
    fn plain(text: &str) -> (bool, String) {
        let (negative, text) = text
            .strip_prefix('-')
            .map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i64 = exponent.parse().unwrap();
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let zeros = 2_500 + exponent - i64::try_from(fraction.len()).unwrap();
        let digits = format!(
            "{whole}{fraction}{}",
            "0".repeat(usize::try_from(zeros).unwrap())
        );
        let zero = digits.bytes().all(|digit| digit == b'0');
        (negative && !zero, format!("{digits:0>5000}"))
    }

    fn plain_order(a: &(bool, String), b: &(bool, String)) -> Ordering {
        match (a.0, b.0) {
            (false, false) => a.1.cmp(&b.1),
            (true, true) => b.1.cmp(&a.1),
            (a, b) => b.cmp(&a),
        }
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9])?",
            "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?",
            "-?[1-9]0{0,30}(\\.0{1,30}[0-9])?",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn numbers_agree_with_their_plain_twin(a in texts(), b in texts()) {
            let (Ok(x), Ok(y)) = (Decimal::parse(&a), Decimal::parse(&b)) else { return Ok(()) };
            let (p, q) = (plain(&a), plain(&b));
            prop_assert_eq!(x.cmp(&y), plain_order(&p, &q));
            prop_assert_eq!(x == y, p == q);
            prop_assert_eq!(x.to_string() == y.to_string(), p == q);
            prop_assert_eq!(plain(&x.to_string()), p);
            prop_assert!(x != y || hash(&x) == hash(&y));
        }

        #[test]
        fn canonical_text_is_a_fixpoint_and_the_only_one_that_is_decoded(text in texts()) {
            let Ok(number) = Decimal::parse(&text) else { return Ok(()) };
            let canonical = number.to_string();
            prop_assert_eq!(Decimal::parse_canonical(&canonical).unwrap().to_string(), canonical.clone());
            prop_assert_eq!(Decimal::parse_canonical(&text).is_ok(), text == canonical);
        }

        #[test]
        fn machine_integers_keep_their_value(value: i64) {
            prop_assert_eq!(Decimal::from(value).to_string(), value.to_string());
            prop_assert_eq!(Decimal::from(value).to_i64(), Some(value));
        }

        #[test]
        fn short_numbers_have_the_value_that_a_double_reads(mantissa in 1_u64..1_000_000_000_000_000, exponent in -40_i32..40) {
            let text = format!("{mantissa}e{exponent}");
            let ours = number(&text).to_string();
            prop_assert_eq!(ours.parse::<f64>().unwrap(), text.parse::<f64>().unwrap());
        }
    }

    #[test]
    fn canonical_text_is_laid_out_as_ecmascript_does() {
        for (given, canonical) in [
            ("1.0", "1"),
            ("1e0", "1"),
            ("-0", "0"),
            ("-0.000e-7", "0"),
            ("100", "100"),
            ("123456789012345678901", "123456789012345678901"),
            ("1e20", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("123e21", "1.23e+23"),
            ("0.000001", "0.000001"),
            ("0.0000001", "1e-7"),
            ("0.00000123", "0.00000123"),
            ("1.5e-9", "1.5e-9"),
            ("12.50", "12.5"),
            ("-12.50E+1", "-125"),
            ("1e1000", "1e+1000"),
            ("0.1e-999", "1e-1000"),
            ("0e99999999999999999999999", "0"),
            (
                "1234567890123456789012345",
                "1.234567890123456789012345e+24",
            ),
            ("0.1234567890123456789012345", "0.1234567890123456789012345"),
        ] {
            assert_eq!(number(given).to_string(), canonical, "{given}");
        }
    }

    #[test]
    fn texts_that_are_no_json_number_are_refused() {
        for text in [
            "", "-", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "0x1", "1 ", " 1", "NaN",
            "Infinity", "1_0", "1,0",
        ] {
            assert!(
                matches!(Decimal::parse(text), Err(DecimalInvalid::Malformed { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn numbers_beyond_the_limits_are_refused_and_at_the_limits_are_not() {
        let long = |digits: usize| format!("0.{}", "7".repeat(digits));
        assert!(Decimal::parse(&long(1_000)).is_ok());
        assert_eq!(
            Decimal::parse(&long(1_001)),
            Err(DecimalInvalid::TooManyDigits)
        );
        assert!(Decimal::parse(&format!("1{}", "0".repeat(1_000))).is_ok());
        for text in [
            "1e1001",
            "10e1000",
            "1e-1001",
            "0.1e-1000",
            "1e9999999999999999999",
            "-1e-9999999999999999999",
        ] {
            assert_eq!(
                Decimal::parse(text),
                Err(DecimalInvalid::ExponentOutOfRange),
                "{text}"
            );
        }
    }

    #[test]
    fn an_artifact_holds_a_number_only_in_its_canonical_text() {
        let bytes = |text: &str| postcard::to_stdvec(text).unwrap();
        assert_eq!(
            postcard::from_bytes::<Decimal>(&bytes("80.5")).unwrap(),
            number("80.5")
        );
        assert!(postcard::from_bytes::<Decimal>(&bytes("80.50")).is_err());
        assert_eq!(
            postcard::to_stdvec(&number("80.50")).unwrap(),
            bytes("80.5")
        );
    }
}
