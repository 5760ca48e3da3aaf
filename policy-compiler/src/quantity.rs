//! Numbers with what they count: `42`, `$500`, `15m`, `10mb`.

use crate::diagnostic::{Diagnostic, alternatives, quoted};
use crate::number::Number;
use crate::source::Span;
use crate::syntax::{Quantity, Unit};

/// Digits of a number that has a unit: what multiplies exactly in 128 bits, and more than any duration needs.
const UNIT_DIGITS_MAX: usize = 20;

/// Seconds.
const DURATIONS: [(&str, u128); 5] = [
    ("s", 1),
    ("m", 60),
    ("h", 3_600),
    ("d", 86_400),
    ("w", 604_800),
];
/// Bytes: decimal, as the letters say. Where a limit is meant, the smaller reading is the stricter one.
const SIZES: [(&str, u128); 3] = [("kb", 1_000), ("mb", 1_000_000), ("gb", 1_000_000_000)];

/// Reads a number token.
pub(crate) fn parse(shown: &str, span: Span) -> Result<Quantity, Box<Diagnostic>> {
    let make = |value: String, unit: Unit| Quantity {
        value,
        unit,
        shown: shown.to_string(),
    };
    let money = shown.strip_prefix('$');
    let body = money.unwrap_or(shown);
    let (mantissa, suffix) = split(body);
    if let Some(why) = fault(mantissa, suffix) {
        return Err(Box::new(
            Diagnostic::new(
                Number::BadNumber,
                format!("{} is not a number", quoted(shown)),
            )
            .at(span, why),
        ));
    }
    if suffix.is_empty() {
        let unit = if money.is_some() {
            Unit::Money
        } else {
            Unit::None
        };
        return Ok(make(mantissa.to_string(), unit));
    }
    let known = |units: &[(&str, u128)]| {
        units
            .iter()
            .find(|(name, _)| *name == suffix)
            .map(|(_, factor)| *factor)
    };
    let (factor, unit) = match (money, known(&DURATIONS), known(&SIZES)) {
        (None, Some(factor), _) => (factor, Unit::Duration),
        (None, _, Some(factor)) => (factor, Unit::Size),
        _ => return Err(Box::new(unknown_unit(shown, suffix, span, money.is_some()))),
    };
    match scale(mantissa, factor) {
        Some(value) => Ok(make(value, unit)),
        None => Err(Box::new(
            Diagnostic::new(Number::BadNumber, format!("{} is too large", quoted(shown))).at(
                span,
                format!("at most {UNIT_DIGITS_MAX} digits and no exponent before a unit"),
            ),
        )),
    }
}

/// A duration in a string, as one dialect writes them: `"30m"`. Milliseconds.
pub(crate) fn milliseconds(quantity: &Quantity) -> Option<u64> {
    let (whole, fraction) = quantity
        .value
        .split_once('.')
        .unwrap_or((&quantity.value, ""));
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    let exact = fraction.len() <= 3 || fraction.bytes().skip(3).all(|digit| digit == b'0');
    let whole: u64 = whole.parse().ok()?;
    exact.then_some(
        whole
            .checked_mul(1_000)?
            .checked_add(thousandths.parse().ok()?)?,
    )
}

/// The number and the letters behind it; an exponent belongs to the number.
fn split(body: &str) -> (&str, &str) {
    let bytes = body.as_bytes();
    let mut end = 0;
    while let Some(byte) = bytes.get(end) {
        let exponent = matches!(byte, b'e' | b'E')
            && match bytes.get(end + 1) {
                Some(b'+' | b'-') => bytes.get(end + 2).is_some_and(u8::is_ascii_digit),
                Some(digit) => digit.is_ascii_digit(),
                None => false,
            };
        let sign = matches!(byte, b'+' | b'-');
        if !(byte.is_ascii_digit() || *byte == b'.' || sign || exponent) {
            break;
        }
        end += 1;
    }
    body.split_at(end)
}

fn fault(mantissa: &str, suffix: &str) -> Option<&'static str> {
    let whole = mantissa.split(['.', 'e', 'E']).next().unwrap_or("");
    if whole.is_empty() {
        return Some("expected digits");
    }
    if suffix.starts_with('_') {
        return Some("numbers have no separators");
    }
    if whole.len() > 1 && whole.starts_with('0') {
        return Some("numbers have no leading zeros");
    }
    None
}

fn unknown_unit(shown: &str, suffix: &str, span: Span, money: bool) -> Diagnostic {
    let finding = Diagnostic::new(
        Number::UnknownUnit,
        format!("unknown unit {} in {}", quoted(suffix), quoted(shown)),
    );
    if money {
        return finding.at(span, "an amount has no unit");
    }
    if is_currency(suffix.trim()) {
        let number = shown.strip_suffix(suffix).unwrap_or(shown);
        return currency(finding.at(span, ""), number);
    }
    let lower = suffix.to_ascii_lowercase();
    let units = DURATIONS.iter().chain(&SIZES).map(|(name, _)| *name);
    let near = match lower.as_str() {
        "sec" | "secs" | "second" | "seconds" => Some("s"),
        "min" | "mins" | "minute" | "minutes" => Some("m"),
        "hr" | "hrs" | "hour" | "hours" => Some("h"),
        "day" | "days" => Some("d"),
        "week" | "weeks" => Some("w"),
        "k" | "kib" => Some("kb"),
        "mib" => Some("mb"),
        "g" | "gib" => Some("gb"),
        _ => units.clone().find(|name| *name == lower),
    };
    finding
        .at(span, "")
        .suggest(near)
        .note(format!("units are {}", alternatives(units)))
}

/// Codes that people write behind amounts.
pub(crate) fn is_currency(text: &str) -> bool {
    const CODES: [&str; 12] = [
        "AUD", "BTC", "CAD", "CHF", "CNY", "EUR", "GBP", "INR", "JPY", "SEK", "SGD", "USD",
    ];
    CODES.contains(&text)
}

/// How an amount is written instead.
pub(crate) fn currency(finding: Diagnostic, number: &str) -> Diagnostic {
    finding
        .help(format!(
            "amounts are written `${number}`: a policy knows no currencies"
        ))
        .help("to test the currency of a call, compare its own argument: `currency == \"EUR\"`")
}

/// Exactly `mantissa × factor`, as decimal text.
fn scale(mantissa: &str, factor: u128) -> Option<String> {
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() + fraction.len() > UNIT_DIGITS_MAX {
        return None;
    }
    let product = format!("{whole}{fraction}")
        .parse::<u128>()
        .ok()?
        .checked_mul(factor)?;
    let digits = format!("{product:0>width$}", width = fraction.len() + 1);
    let (whole, fraction) = digits.split_at(digits.len() - fraction.len());
    let fraction = fraction.trim_end_matches('0');
    // What comes out can be written again in its base unit.
    if whole.len() + fraction.len() > UNIT_DIGITS_MAX {
        return None;
    }
    Some(if fraction.is_empty() {
        whole.to_string()
    } else {
        format!("{whole}.{fraction}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(shown: &str) -> Option<(String, Unit)> {
        parse(shown, Span::default())
            .ok()
            .map(|quantity| (quantity.value, quantity.unit))
    }

    #[test]
    fn units_multiply_exactly() {
        let of = |text: &str, unit| Some((text.to_string(), unit));
        assert_eq!(value("15m"), of("900", Unit::Duration));
        assert_eq!(value("1.5h"), of("5400", Unit::Duration));
        assert_eq!(value("0.001s"), of("0.001", Unit::Duration));
        assert_eq!(value("10mb"), of("10000000", Unit::Size));
        assert_eq!(value("$500.10"), of("500.10", Unit::Money));
        assert_eq!(value("1e3"), of("1e3", Unit::None));
    }

    #[test]
    fn what_is_not_quite_a_number_is_refused() {
        for shown in [
            "$",
            "007",
            "1_000",
            "15x",
            "$5k",
            "15min",
            "10MB",
            "1e3m",
            "99999999999999999999999d",
            "0x10",
        ] {
            assert_eq!(value(shown), None, "{shown}");
        }
    }

    #[test]
    fn milliseconds_are_exact_or_refused() {
        let of = |shown: &str| milliseconds(&parse(shown, Span::default()).unwrap());
        assert_eq!(of("30s"), Some(30_000));
        assert_eq!(of("0.5s"), Some(500));
        assert_eq!(of("0.0001s"), None);
    }
}
