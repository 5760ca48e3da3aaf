//! Calls that are drawn at random, near what both policies name: the claim that there is no difference is tested, too.
//!
//! The search reasons about every call; these calls know nothing of its reasons, so that an error there is not made
//! twice. They come from a seed, and the same two policies always get the same ones.

use super::dates;
use super::oracle::Asked;
use super::values::{Key, Variable, asked};
use faramesh_core::json;
use faramesh_core::policy::artifact::{
    AgentPolicy, Ask, Field, Kind, Literal, TimePart, ToolSchema,
};
use faramesh_core::policy::pattern;
use std::collections::{BTreeMap, BTreeSet};

/// Values of one argument or fact that are kept to draw from.
const VALUES_MAX: usize = 400;
/// Longer values are left out, bytes: they take long and say little.
const VALUE_BYTES_MAX: usize = 1_024;
/// Arguments and facts beyond which only some are given a value.
const KEYS_OF_CALL: usize = 12;
const DAY_SECONDS: i64 = 86_400;

/// A source of calls.
#[derive(Debug)]
pub(super) struct Drawn {
    state: u64,
    /// Values by what they are for.
    pools: BTreeMap<Key, Vec<String>>,
    common: Vec<String>,
    schemas: Vec<ToolSchema>,
}

/// A seed from bytes: FNV-1a.
pub(super) fn seed_of<'b>(bytes: impl Iterator<Item = &'b u8>) -> u64 {
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

impl Drawn {
    /// Of what both policies name, and of what the search found worth trying.
    pub(super) fn new<'v>(
        seed: u64,
        parts: [Option<&AgentPolicy>; 2],
        variables: impl Iterator<Item = &'v Variable>,
        texts: &[String],
    ) -> Drawn {
        let mut pools: BTreeMap<Key, BTreeSet<String>> = BTreeMap::new();
        let mut common: BTreeSet<String> = ["true", "7", "\"\"", "[]", "{}", "\"x\""]
            .map(str::to_owned)
            .into();
        common.extend(texts.iter().map(|text| quoted(text)));
        for variable in variables {
            let pool = pools.entry(variable.key.clone()).or_default();
            pool.extend(variable.classes.iter().filter_map(|c| c.value.clone()));
        }
        for agent in parts.into_iter().flatten() {
            for test in &agent.tests {
                let near = near(&test.ask);
                let key = agent.fields.get(test.field as usize).and_then(Key::of);
                match key {
                    Some(key) if is_free(&key) => pools.entry(key).or_default().extend(near),
                    _ => common.extend(near),
                }
            }
            for key in agent.fields.iter().filter_map(Key::of) {
                pools.entry(key).or_default();
            }
            for argument in agent.schemas.iter().flat_map(|schema| &schema.arguments) {
                let key = Key::Argument(argument.path.clone());
                pools.entry(key).or_default().extend(like(argument.kind));
            }
        }
        let has_paths = parts
            .into_iter()
            .flatten()
            .any(|agent| agent.paths.is_some());
        let unnamed: &[&[&str]] = if has_paths {
            &[&["path"], &["files"], &["o", "file"], &["unnamed"]]
        } else {
            &[&["unnamed"]]
        };
        for path in unnamed {
            let path = path.iter().map(|part| (*part).to_owned()).collect();
            pools.entry(Key::Argument(path)).or_default();
        }
        let bounded = |values: BTreeSet<String>| -> Vec<String> {
            let short = |value: &String| value.len() <= VALUE_BYTES_MAX;
            values.into_iter().filter(short).take(VALUES_MAX).collect()
        };
        Drawn {
            state: seed,
            pools: pools
                .into_iter()
                .map(|(key, values)| (key, bounded(values)))
                .collect(),
            common: bounded(common),
            schemas: parts
                .into_iter()
                .flatten()
                .flat_map(|agent| agent.schemas.clone())
                .collect(),
        }
    }

    /// A call of that tool.
    pub(super) fn call(&mut self, tool: &str, agent: &str) -> Asked {
        let keys: Vec<Key> = self.pools.keys().cloned().collect();
        let now = self.now();
        let share = KEYS_OF_CALL * 64 / keys.len().max(KEYS_OF_CALL);
        let mut values: Vec<(Key, Option<String>)> = Vec::new();
        for key in keys {
            if let Key::Fact(Field::Time(part)) = &key {
                let value = now.get(place_of(*part)).map(i64::to_string);
                values.push((key, value));
                continue;
            }
            let kind = self.kind_of(&key, tool);
            let likely = if kind.is_some_and(|(_, required)| required) {
                98
            } else {
                share
            };
            if self.below(100) >= likely {
                if matches!(key, Key::Fact(_)) {
                    values.push((key, None));
                }
                continue;
            }
            let mut value = self.value(&key);
            for _ in 0..4 {
                let fits = |value: &String| kind.is_none_or(|(kind, _)| suits(kind, value));
                if value.as_ref().is_some_and(fits) || self.below(8) == 0 {
                    break;
                }
                value = self.value(&key);
            }
            // Below what is no object there is nothing; the tree is written by its parts.
            values.push((key, value));
        }
        asked(
            tool,
            agent,
            values.iter().map(|(key, value)| (key, value.as_deref())),
        )
    }

    fn value(&mut self, key: &Key) -> Option<String> {
        let own = self.pools.get(key).map_or(0, Vec::len);
        let from_own = own > 0 && (matches!(key, Key::Fact(_)) || self.below(4) > 0);
        if from_own {
            let at = self.below(own);
            return self.pools.get(key)?.get(at).cloned();
        }
        if matches!(key, Key::Fact(_)) {
            return None;
        }
        let at = self.below(self.common.len());
        self.common.get(at).cloned()
    }

    /// Kind of an argument of that tool, and whether it must be there.
    fn kind_of(&self, key: &Key, tool: &str) -> Option<(Kind, bool)> {
        let Key::Argument(path) = key else {
            return None;
        };
        let schemas = self.schemas.iter();
        schemas
            .filter(|schema| pattern::matches(&schema.pattern, tool))
            .flat_map(|schema| &schema.arguments)
            .find(|argument| argument.path == *path)
            .map(|argument| (argument.kind, argument.required))
    }

    /// A moment that there is: year, month, day, weekday, hour, minute, seconds since 1970. The ends of months are drawn
    /// more often than they come.
    fn now(&mut self) -> [i64; 7] {
        let year = 2020 + self.number(28);
        let month = 1 + self.number(12);
        let last = dates::days_of(year, month);
        let day = match self.below(3) {
            0 => last - self.number(3),
            1 => 1 + self.number(3),
            _ => 1 + self.number(last),
        };
        let (hour, minute) = (self.number(24), self.number(60));
        let years: i64 = (1970..year)
            .map(|year| {
                if dates::days_of(year, 2) == 29 {
                    366
                } else {
                    365
                }
            })
            .sum();
        let months: i64 = (1..month).map(|month| dates::days_of(year, month)).sum();
        let seconds = (years + months + day - 1) * DAY_SECONDS + hour * 3_600 + minute * 60;
        let weekday = dates::weekday_of(year, month, day);
        [year, month, day, weekday, hour, minute, seconds]
    }

    fn number(&mut self, below: i64) -> i64 {
        let below = usize::try_from(below).unwrap_or(1);
        i64::try_from(self.below(below)).unwrap_or(0)
    }

    /// The next number: splitmix64.
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let drawn = (z ^ (z >> 31)) % u64::try_from(n.max(1)).unwrap_or(1);
        usize::try_from(drawn).unwrap_or(0)
    }
}

const fn place_of(part: TimePart) -> usize {
    match part {
        TimePart::Year => 0,
        TimePart::Month => 1,
        TimePart::Day => 2,
        TimePart::Weekday => 3,
        TimePart::Hour => 4,
        TimePart::Minute => 5,
        TimePart::Now => 6,
    }
}

/// Whether a value need not be one that the search found: facts mostly have a range, in which they are.
const fn is_free(key: &Key) -> bool {
    match key {
        Key::Argument(_) => true,
        Key::Fact(field) => matches!(
            field,
            Field::Host | Field::Path | Field::Query(_) | Field::Header(_)
        ),
        Key::Open(_) => false,
    }
}

/// Values at and near what is asked for.
fn near(ask: &Ask) -> Vec<String> {
    match ask {
        Ask::Equals(literal) | Ask::Contains(literal) => of_literal(literal),
        Ask::In(list) => list
            .iter()
            .take(VALUES_MAX / 8)
            .flat_map(of_literal)
            .collect(),
        Ask::Compare(_, number) => of_number(&number.to_string()),
        Ask::StartsWith(text) | Ask::EndsWith(text) => of_text(text),
        Ask::Glob(_, glob) | Ask::AnyGlob(glob) => {
            let filled = ["", "x", "x/x", "x.x", "/"].map(|filling| glob.replace('*', filling));
            filled.iter().flat_map(|text| of_text(text)).collect()
        }
        // The source read as a text finds itself where it is nothing but letters.
        Ask::Matches(source) => {
            let plain: String = source
                .chars()
                .filter(|letter| letter.is_alphanumeric() || "-_/ .".contains(*letter))
                .collect();
            of_text(&plain)
        }
        Ask::CompareField(..) | Ask::Has | Ask::IsTrue => Vec::new(),
    }
}

fn of_literal(literal: &Literal) -> Vec<String> {
    match literal {
        Literal::String(text) => of_text(text),
        Literal::Number(number) => of_number(&number.to_string()),
        Literal::Bool(value) => vec![value.to_string()],
    }
}

fn of_number(text: &str) -> Vec<String> {
    let mut near = vec![text.to_owned()];
    if let Ok(number) = text.parse::<i64>() {
        near.extend([number.saturating_sub(1), number.saturating_add(1)].map(|n| n.to_string()));
        near.push(format!("{text}.5"));
    }
    near.push(format!("[{text}]"));
    near
}

fn of_text(text: &str) -> Vec<String> {
    let mut shorter = text.to_owned();
    shorter.pop();
    let texts = [
        text.to_owned(),
        shorter,
        format!("{text}x"),
        format!("{text}/x"),
        format!("x{text}"),
        format!("x/{text}"),
        text.to_uppercase(),
    ];
    let mut near: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    near.push(format!("[{}]", quoted(text)));
    near
}

/// Some values of a kind.
fn like(kind: Kind) -> Vec<String> {
    let values: &[&str] = match kind {
        Kind::Bool => &["true", "false"],
        Kind::Number | Kind::Money | Kind::Duration | Kind::Size => &["0", "1", "-1", "2.5"],
        Kind::Text | Kind::Path(_) => &["\"x\"", "\"src/x\"", "\".env\""],
        Kind::List => &["[]", "[\"x\"]", "[1]", "[{\"path\":\".env\"}]"],
        Kind::Object => &["{}", "{\"x\":1}", "{\"path\":\".env\"}"],
        Kind::Any => &["1", "\"x\"", "{}", "{\"path\":\".env\"}"],
    };
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn suits(kind: Kind, value: &str) -> bool {
    let first = value.bytes().next().unwrap_or(b' ');
    match kind {
        Kind::Any => true,
        Kind::Bool => matches!(first, b't' | b'f'),
        Kind::Number | Kind::Money | Kind::Duration | Kind::Size => {
            first.is_ascii_digit() || first == b'-'
        }
        Kind::Text | Kind::Path(_) => first == b'"',
        Kind::List => first == b'[',
        Kind::Object => first == b'{',
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    json::write_string(text, &mut out);
    out
}
