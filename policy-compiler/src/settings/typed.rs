//! Values of declared settings, by their type in the table, in the one form that an artifact keeps: numbers in base units,
//! words and texts alike, lists sorted. Two dialects that say the same give the same data.

use super::{Read, wrong};
use crate::diagnostic::{Diagnostic, alternatives, quoted};
use crate::number::Number;
use crate::quantity;
use crate::source::Span;
use crate::syntax::{self, Quantity, Setting, Value, ValueKind};
use crate::vocabulary::blocks::{Key, NOTIFY_SCHEMES, REQUIREMENTS, Type};
use crate::vocabulary::{self, nearest};
use faramesh_core::decimal::Decimal;
use faramesh_core::policy::artifact::{Datum, LIST_MAX, TEXT_BYTES_MAX, Unit};
use faramesh_core::policy::pattern;

/// The data of a setting.
pub(crate) fn data(key: &Key, setting: &Setting) -> Read<Vec<Datum>> {
    let one = || match setting.values.as_slice() {
        [value] => Ok(value),
        _ => wrong(setting, setting.span, &key.of.noun()),
    };
    match key.of {
        Type::Line => line(key, setting).map(|words| vec![words]),
        Type::Texts | Type::Hosts | Type::Patterns | Type::Variables | Type::Words(_) => {
            list(key.of, setting, one()?).map(|list| vec![list])
        }
        Type::Requirements => requirements(setting, one()?),
        _ => scalar(key.of, setting, one()?).map(|datum| vec![datum]),
    }
}

fn scalar(of: Type, setting: &Setting, value: &Value) -> Read<Datum> {
    match of {
        Type::Text | Type::Secret => text_or_reference(of, setting, value, |_| true),
        Type::Url => text_or_reference(of, setting, value, |text| text.contains("://")),
        Type::Notify => text_or_reference(of, setting, value, is_notify),
        Type::Scope => text_or_reference(of, setting, value, |text| text.contains(':')),
        Type::OneOf(choices) => word(choices, setting, value),
        Type::Bool => match text_of(value) {
            Some("true") => Ok(Datum::Bool(true)),
            Some("false") => Ok(Datum::Bool(false)),
            _ => wrong(setting, value.span, &of.noun()),
        },
        _ => number(of, setting, value),
    }
}

/// A text of a sane length. `env("X")` stands for one that is looked up later.
fn text_or_reference(
    of: Type,
    setting: &Setting,
    value: &Value,
    sane: impl Fn(&str) -> bool,
) -> Read<Datum> {
    if let ValueKind::Env(name) = &value.kind {
        return Ok(Datum::Env(name.clone()));
    }
    match text_of(value) {
        Some(text) if text.len() > TEXT_BYTES_MAX => wrong(
            setting,
            value.span,
            &format!("at most {TEXT_BYTES_MAX} bytes"),
        ),
        Some(text) if !text.trim().is_empty() && sane(text) => Ok(Datum::Text(text.to_string())),
        _ => wrong(setting, value.span, &of.noun()),
    }
}

/// The text of a word, a text, or a number as it is written: `version 1.0`.
pub(crate) fn text_of(value: &Value) -> Option<&str> {
    match &value.kind {
        ValueKind::Bare(text) | ValueKind::Text(text) => Some(text),
        ValueKind::Number(quantity) => Some(&quantity.shown),
        _ => None,
    }
}

fn is_notify(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, rest)| {
        NOTIFY_SCHEMES.contains(&scheme) && !rest.trim_start_matches('/').is_empty()
    })
}

fn word(choices: &'static [&'static str], setting: &Setting, value: &Value) -> Read<Datum> {
    match text_of(value) {
        Some(text) if choices.contains(&text) => Ok(Datum::Text(text.to_string())),
        Some(text) => Err(Box::new(
            Diagnostic::new(
                Number::BadValue,
                format!("{} is no {}", quoted(text), quoted(&setting.key.text)),
            )
            .at(
                value.span,
                format!("expected {}", alternatives(choices.iter().copied())),
            )
            .suggest(nearest(text, choices.iter().copied())),
        )),
        None => wrong(setting, value.span, &Type::OneOf(choices).noun()),
    }
}

/// A number, in quotes or not, of the unit that the type wants.
fn number(of: Type, setting: &Setting, value: &Value) -> Read<Datum> {
    let refused = || wrong(setting, value.span, &of.noun());
    let quantity = match &value.kind {
        ValueKind::Number(quantity) => quantity.clone(),
        ValueKind::Text(text) if text.starts_with(|c: char| c.is_ascii_digit() || c == '$') => {
            quantity::parse(text, value.span)?
        }
        _ => return refused(),
    };
    let Ok(number) = Decimal::parse(&quantity.value) else {
        return refused();
    };
    let whole = number.to_i64();
    let unit = unit_of(of, &quantity);
    let fits = match of {
        Type::Count => whole.is_some_and(|count| count >= 0),
        Type::Port => whole.is_some_and(|port| (1..=65_535).contains(&port)),
        Type::Ratio => number >= Decimal::ZERO && number <= Decimal::from(1),
        _ => number >= Decimal::ZERO,
    };
    match unit {
        Some(unit) if fits => Ok(Datum::Number(number, unit)),
        _ => refused(),
    }
}

/// The unit that is kept, where the one that was written is one that the type takes.
fn unit_of(of: Type, quantity: &Quantity) -> Option<Unit> {
    match (of, quantity.unit) {
        (Type::Count | Type::Port | Type::Ratio | Type::Quantity, syntax::Unit::None) => {
            Some(Unit::None)
        }
        (Type::Money, syntax::Unit::None | syntax::Unit::Money)
        | (Type::Quantity, syntax::Unit::Money) => Some(Unit::Money),
        (Type::Duration | Type::Quantity, syntax::Unit::Duration) => Some(Unit::Seconds),
        (Type::Size, syntax::Unit::None | syntax::Unit::Size)
        | (Type::Quantity, syntax::Unit::Size) => Some(Unit::Bytes),
        _ => None,
    }
}

/// A list, sorted; the same entry twice is a finding.
fn list(of: Type, setting: &Setting, value: &Value) -> Read<Datum> {
    let parts = match &value.kind {
        ValueKind::List(parts) => parts.as_slice(),
        ValueKind::Text(_) | ValueKind::Bare(_) => std::slice::from_ref(value),
        _ => return wrong(setting, value.span, &of.noun()),
    };
    let mut texts = Vec::with_capacity(parts.len());
    for part in parts {
        if let Type::Words(choices) = of {
            word(choices, setting, part)?;
        }
        match text_of(part) {
            Some(text) => {
                if let Err(why) = entry(of, text) {
                    return wrong(setting, part.span, &why);
                }
                texts.push((text, part.span));
            }
            None => return wrong(setting, part.span, &of.noun()),
        }
    }
    sorted(setting, value.span, texts)
}

fn sorted(setting: &Setting, span: Span, mut texts: Vec<(&str, Span)>) -> Read<Datum> {
    if texts.len() > LIST_MAX {
        return wrong(setting, span, &format!("at most {LIST_MAX} entries"));
    }
    texts.sort_unstable();
    for pair in texts.windows(2) {
        if let [(first, _), (second, again)] = pair
            && first == second
        {
            return wrong(setting, *again, "each entry once");
        }
    }
    Ok(Datum::List(
        texts
            .into_iter()
            .map(|(text, _)| Datum::Text(text.to_string()))
            .collect(),
    ))
}

/// Whether a text may stand in a list of this type; otherwise what belongs there.
fn entry(of: Type, text: &str) -> Result<(), String> {
    if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX {
        return Err(format!("texts of 1 to {TEXT_BYTES_MAX} bytes"));
    }
    let sane = match of {
        Type::Hosts => is_host(text),
        Type::Patterns => pattern::check(text).is_ok(),
        Type::Variables => {
            text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        }
        _ => true,
    };
    if sane {
        return Ok(());
    }
    Err(match of {
        Type::Hosts if text.contains("://") || text.contains('/') => {
            String::from("a host without scheme and path, such as `api.example.com`")
        }
        _ => of.noun(),
    })
}

/// `api.example.com`, `*.example.com`, `*`, `10.0.0.1`, `[::1]`, each perhaps with a port.
pub(crate) fn is_host(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    if let Some(rest) = text.strip_prefix('[') {
        let inside = |address: &str| {
            !address.is_empty()
                && address
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        };
        return rest
            .split_once(']')
            .is_some_and(|(address, port)| inside(address) && is_port(port));
    }
    let (name, port) = match text.find(':') {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let name = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'*'))
    };
    name.len() <= 253 && name.split('.').all(label) && is_port(port)
}

fn is_port(text: &str) -> bool {
    text.is_empty()
        || text
            .strip_prefix(':')
            .is_some_and(|port| port == "*" || port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Words up to the line's end, or a list, or one text in which they stand apart.
fn line(key: &Key, setting: &Setting) -> Read<Datum> {
    let mut words = Vec::new();
    for value in &setting.values {
        match &value.kind {
            ValueKind::List(parts) => {
                for part in parts {
                    match text_of(part) {
                        Some(text) => words.push((text, part.span)),
                        None => return wrong(setting, part.span, &key.of.noun()),
                    }
                }
            }
            ValueKind::Text(text) => {
                words.extend(text.split_whitespace().map(|word| (word, value.span)));
            }
            _ => match text_of(value) {
                Some(text) => words.push((text, value.span)),
                None => return wrong(setting, value.span, &key.of.noun()),
            },
        }
    }
    if words.is_empty() {
        return wrong(setting, setting.span, &key.of.noun());
    }
    for (text, span) in &words {
        if let Err(why) = entry(key.of, text) {
            return wrong(setting, *span, &why);
        }
    }
    sorted(setting, setting.span, words)
}

fn requirements(setting: &Setting, value: &Value) -> Read<Vec<Datum>> {
    let parts = match &value.kind {
        ValueKind::List(parts) => parts.as_slice(),
        _ => std::slice::from_ref(value),
    };
    let read = |part: &Value| {
        let Some(text) = text_of(part) else {
            return wrong(setting, part.span, &Type::Requirements.noun());
        };
        requirement(setting, text, part.span)?;
        Ok(Datum::Text(text.to_string()))
    };
    parts.iter().map(read).collect()
}

fn requirement(setting: &Setting, text: &str, span: Span) -> Read<()> {
    if REQUIREMENTS.contains(&text) {
        return Ok(());
    }
    if let Some(count) = text.strip_prefix("min_records:") {
        return match count.parse::<u32>() {
            Ok(_) => Ok(()),
            Err(_) => wrong(setting, span, "a number behind `min_records:`"),
        };
    }
    if let Some(effect) = text.strip_prefix("effect:") {
        return match vocabulary::effect(effect) {
            Some(_) => Ok(()),
            None => wrong(setting, span, "an effect behind `effect:`"),
        };
    }
    let near = nearest(text, REQUIREMENTS.iter().copied());
    if near.is_none() && pattern::check(text).is_ok() {
        return Ok(());
    }
    Err(Box::new(
        Diagnostic::new(
            Number::BadValue,
            format!("{} is no requirement", quoted(text)),
        )
        .at(span, "expected a requirement or a tool")
        .suggest(near)
        .note(format!(
            "requirements are {}, `effect:EFFECT`, `min_records:N` and tools",
            alternatives(REQUIREMENTS.iter().copied()).replace(" or ", ", ")
        )),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_labels_and_perhaps_a_port() {
        for host in [
            "*",
            "api.example.com",
            "*.example.com",
            "api.example.com:443",
            "10.0.0.1",
            "[::1]:80",
            "localhost",
            "api-*.example.com",
        ] {
            assert!(is_host(host), "{host}");
        }
        for text in [
            "https://api.example.com",
            "api.example.com/x",
            "a..b",
            "",
            "a b",
            "x:0",
            "x:99999",
            "[::1",
            "é.example",
        ] {
            assert!(!is_host(text), "{text}");
        }
    }
}
