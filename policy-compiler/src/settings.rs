//! What settings take: one function a setting, each with its own words for what it expects.
//!
//! Invariant: a value that is not understood whole is a finding; nothing is rounded, trimmed or defaulted.

pub(crate) mod typed;

use crate::diagnostic::{Diagnostic, alternatives, quoted};
use crate::number::Number;
use crate::quantity;
use crate::source::Span;
use crate::syntax::{Setting, Unit, Value, ValueKind};
use crate::vocabulary::{self, nearest};
use crate::zone;
use faramesh_core::call::check_agent_name;
use faramesh_core::decision::Effect;
use faramesh_core::policy::artifact::{
    ANCHOR_LAG_MS, ANCHOR_QUORUM_MAX, COLD_START_MS_MAX, LIST_MAX, Mode, OnLag, Profile,
    RETENTION_MS, RuleEffect, SOCKET_PATH_BYTES_MAX, TEXT_BYTES_MAX, USER_BYTES_MAX, Zone,
};
use std::ops::RangeInclusive;

/// The result of reading a value: a finding is boxed, it is large and rare.
pub(crate) type Read<T> = Result<T, Box<Diagnostic>>;

/// Users that hold what is kept from agents.
const OWN_USERS_PREFIX: &str = "faramesh";

pub(crate) fn wrong<T>(setting: &Setting, span: Span, expected: &str) -> Read<T> {
    Err(Box::new(
        Diagnostic::new(
            Number::BadValue,
            format!("{} does not take this value", quoted(&setting.key.text)),
        )
        .at(span, format!("expected {expected}")),
    ))
}

fn only(setting: &Setting) -> Option<&Value> {
    match setting.values.as_slice() {
        [value] => Some(value),
        _ => None,
    }
}

/// A word, bare or in quotes.
fn word<'s>(setting: &'s Setting, expected: &str) -> Read<(&'s str, Span)> {
    match only(setting) {
        Some(Value {
            kind: ValueKind::Bare(text) | ValueKind::Text(text),
            span,
        }) => Ok((text, *span)),
        Some(value) => wrong(setting, value.span, expected),
        None => wrong(setting, setting.span, expected),
    }
}

fn one_of<T: Copy>(setting: &Setting, choices: &'static [(&'static str, T)]) -> Read<T> {
    let words = || choices.iter().map(|(name, _)| *name);
    let (text, span) = word(setting, &alternatives(words()))?;
    match choices.iter().find(|(name, _)| *name == text) {
        Some((_, choice)) => Ok(*choice),
        None => Err(Box::new(
            Diagnostic::new(
                Number::BadValue,
                format!("{} is no {}", quoted(text), quoted(&setting.key.text)),
            )
            .at(span, format!("expected {}", alternatives(words())))
            .suggest(nearest(text, words())),
        )),
    }
}

/// `default permit`.
pub(crate) fn default(setting: &Setting) -> Read<Effect> {
    let (text, span) = word(setting, "an effect")?;
    let named = vocabulary::effect(text).filter(|effect| *effect != RuleEffect::DenyHard);
    named.map(RuleEffect::effect).ok_or_else(|| {
        let choices = [
            "permit", "defer", "deny", "allow", "approve", "block", "reject",
        ];
        Box::new(
            Diagnostic::new(
                Number::BadValue,
                format!("{} is no effect that can be a default", quoted(text)),
            )
            .at(
                span,
                format!("expected {}", alternatives(["permit", "defer", "deny"])),
            )
            .suggest(nearest(text, choices.into_iter())),
        )
    })
}

/// `run_as support`: an ordinary user who is not one of ours.
pub(crate) fn run_as(setting: &Setting) -> Read<String> {
    let refuse = |text: &str, span: Span, why: &str| {
        let message = format!("an agent cannot run as {}", quoted(text));
        Err(Box::new(
            Diagnostic::new(Number::BadUser, message)
                .at(span, why)
                .help("name an ordinary user that is the agent's alone"),
        ))
    };
    let (text, span) = match only(setting) {
        Some(Value {
            kind: ValueKind::Number(quantity),
            span,
        }) => (quantity.shown.as_str(), *span),
        _ => word(setting, "the name of a user")?,
    };
    if text == "root" || text == "0" {
        return refuse(
            text,
            span,
            "root governs the daemon, so nothing would hold it",
        );
    }
    if text.starts_with(OWN_USERS_PREFIX) {
        return refuse(text, span, "this user holds what is kept from agents");
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return refuse(text, span, "write the user's name, not its number");
    }
    let sane = text.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte)
        })
        && text.len() <= USER_BYTES_MAX;
    if !sane {
        return refuse(
            text,
            span,
            "user names are lower-case letters, digits, `_` and `-`",
        );
    }
    Ok(text.to_string())
}

/// `model "x"`, `version 1.0.0`.
pub(crate) fn description(setting: &Setting) -> Read<String> {
    let text = match only(setting) {
        Some(Value {
            kind: ValueKind::Number(quantity),
            ..
        }) => &quantity.shown,
        _ => word(setting, "text")?.0,
    };
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return wrong(
            setting,
            setting.span,
            &format!("1 to {TEXT_BYTES_MAX} bytes"),
        );
    }
    Ok(text.to_string())
}

pub(crate) fn mode(setting: &Setting) -> Read<Mode> {
    const CHOICES: &[(&str, Mode)] = &[
        ("enforce", Mode::Enforce),
        ("shadow", Mode::Shadow),
        ("audit", Mode::Shadow),
    ];
    one_of(setting, CHOICES)
}

pub(crate) fn reveal(setting: &Setting) -> Read<bool> {
    one_of(setting, &[("rule", true), ("nothing", false)])
}

/// `None` for `off`: nothing would hold the agent, which is a declaration that no daemon enforces.
pub(crate) fn profile(setting: &Setting) -> Read<Option<Profile>> {
    one_of(
        setting,
        &[
            ("full", Some(Profile::Full)),
            ("minimal", Some(Profile::Minimal)),
            ("off", None),
        ],
    )
}

/// `timezone "Europe/Berlin"`.
pub(crate) fn timezone(setting: &Setting) -> Read<Zone> {
    let (text, span) = word(
        setting,
        "the name of a time zone, such as `\"Europe/Berlin\"`",
    )?;
    zone::of(text).ok_or_else(|| {
        let finding = Diagnostic::new(
            Number::UnknownZone,
            format!("unknown time zone {}", quoted(text)),
        )
        .at(span, "expected a name of the IANA database");
        Box::new(match zone::near(text) {
            Some(near) => finding.help(format!("did you mean `{near}`?")),
            None => finding,
        })
    })
}

/// `cold_start_deny_window 30s`, milliseconds.
pub(crate) fn cold_start(setting: &Setting) -> Read<u64> {
    let expected = "a duration with its unit, from 1s to 1h, such as `30s`";
    duration(setting, expected, 1_000..=COLD_START_MS_MAX)
}

/// `anchor_max_lag 10m`, milliseconds.
pub(crate) fn anchor_max_lag(setting: &Setting) -> Read<u64> {
    let expected = "a duration with its unit, from 10s to 7d, such as `10m`";
    duration(setting, expected, ANCHOR_LAG_MS.0..=ANCHOR_LAG_MS.1)
}

/// `anchor_quorum 2`.
pub(crate) fn anchor_quorum(setting: &Setting) -> Read<u32> {
    let expected = format!("how many witnesses, from 1 to {ANCHOR_QUORUM_MAX}");
    let Some(value) = only(setting) else {
        return wrong(setting, setting.span, &expected);
    };
    let quorum = match &value.kind {
        ValueKind::Number(quantity) if quantity.unit == Unit::None => quantity.value.parse().ok(),
        ValueKind::Text(text) => text.parse().ok(),
        _ => None,
    };
    match quorum {
        Some(quorum) if (1..=ANCHOR_QUORUM_MAX).contains(&quorum) => Ok(quorum),
        _ => wrong(setting, value.span, &expected),
    }
}

pub(crate) fn anchor_on_lag(setting: &Setting) -> Read<OnLag> {
    one_of(
        setting,
        &[
            ("deny", OnLag::Deny),
            ("defer", OnLag::Defer),
            ("warn", OnLag::Warn),
        ],
    )
}

fn duration(setting: &Setting, expected: &str, within: RangeInclusive<u64>) -> Read<u64> {
    let Some(value) = only(setting) else {
        return wrong(setting, setting.span, expected);
    };
    let quantity = match &value.kind {
        ValueKind::Number(quantity) => quantity.clone(),
        ValueKind::Text(text) => quantity::parse(text, value.span)?,
        _ => return wrong(setting, value.span, expected),
    };
    match (quantity.unit, quantity::milliseconds(&quantity)) {
        (Unit::Duration, Some(milliseconds)) if within.contains(&milliseconds) => Ok(milliseconds),
        _ => wrong(setting, value.span, expected),
    }
}

/// `wal_retention 180d`: whole seconds within what a daemon keeps to.
pub(crate) fn retention(setting: &Setting) -> Read<()> {
    const EXPECTED: &str = "a duration with its unit, from 1d to 36500d, such as `180d`";
    let Some(value) = only(setting) else {
        return wrong(setting, setting.span, EXPECTED);
    };
    let quantity = match &value.kind {
        ValueKind::Number(quantity) => quantity.clone(),
        ValueKind::Text(text) if text.starts_with(|c: char| c.is_ascii_digit()) => {
            quantity::parse(text, value.span)?
        }
        _ => return wrong(setting, value.span, EXPECTED),
    };
    let (least, most) = RETENTION_MS;
    match (quantity.unit, quantity::milliseconds(&quantity)) {
        (Unit::Duration, Some(ms)) if (least..=most).contains(&ms) && ms % 1_000 == 0 => Ok(()),
        _ => wrong(setting, value.span, EXPECTED),
    }
}

/// A list of strings, sorted; the same one twice is a finding.
fn strings(setting: &Setting, expected: &str, sane: impl Fn(&str) -> bool) -> Read<Vec<String>> {
    let list = match only(setting) {
        Some(Value {
            kind: ValueKind::List(list),
            ..
        }) => list.as_slice(),
        Some(
            value @ Value {
                kind: ValueKind::Text(_),
                ..
            },
        ) => std::slice::from_ref(value),
        Some(value) => return wrong(setting, value.span, &format!("a list of {expected}")),
        None => return wrong(setting, setting.span, &format!("a list of {expected}")),
    };
    if list.len() > LIST_MAX {
        return wrong(
            setting,
            setting.span,
            &format!("at most {LIST_MAX} entries"),
        );
    }
    let mut strings: Vec<String> = Vec::new();
    for value in list {
        let (ValueKind::Text(text) | ValueKind::Bare(text)) = &value.kind else {
            return wrong(setting, value.span, expected);
        };
        if !sane(text) {
            return wrong(setting, value.span, expected);
        }
        if strings.contains(text) {
            return wrong(setting, value.span, "each entry once");
        }
        strings.push(text.clone());
    }
    strings.sort();
    Ok(strings)
}

pub(crate) fn keep_env(setting: &Setting) -> Read<Vec<String>> {
    let sane = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.len() <= TEXT_BYTES_MAX
    };
    strings(setting, "names of environment variables", sane)
}

pub(crate) fn allowed_sockets(setting: &Setting) -> Read<Vec<String>> {
    let sane = |path: &str| {
        path.starts_with('/')
            && path.len() > 1
            && path.len() <= SOCKET_PATH_BYTES_MAX
            && path
                .split('/')
                .skip(1)
                .all(|part| !matches!(part, "" | "." | ".."))
    };
    strings(
        setting,
        "absolute paths of Unix sockets, at most 107 bytes, without `.` and `..`",
        sane,
    )
}

/// `agent "x"`, `agent x`.
pub(crate) fn agent_name(labels: &[Value], head: Span) -> Read<(String, Span)> {
    let (text, span) = match labels {
        [
            Value {
                kind: ValueKind::Bare(text) | ValueKind::Text(text),
                span,
            },
        ] => (text, *span),
        [] => {
            let finding = Diagnostic::new(Number::BadName, "an agent has a name")
                .at(head, "expected `agent \"name\" {`");
            return Err(Box::new(finding));
        }
        _ => {
            let finding = Diagnostic::new(Number::BadName, "an agent has one name").at(head, "");
            return Err(Box::new(
                finding.help("put a name of several words into quotes, joined by `-`"),
            ));
        }
    };
    check_agent_name(text).map_err(|why| {
        Box::new(
            Diagnostic::new(
                Number::BadName,
                format!("{} is no name for an agent", quoted(text)),
            )
            .at(span, why.to_string()),
        )
    })?;
    Ok((text.clone(), span))
}
