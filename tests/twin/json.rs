//! What a call carries, as the twin sees it.

use crate::number::Number;
use std::collections::BTreeMap;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Json>),
    Map(BTreeMap<String, Json>),
}

impl Json {
    pub(crate) fn text(text: &str) -> Json {
        Json::Text(text.to_owned())
    }

    pub(crate) fn empty() -> Json {
        Json::Map(BTreeMap::new())
    }

    /// The value at a path; absent where it is not there, is `null`, or where the path leads through something that is
    /// not an object.
    pub(crate) fn at(&self, path: &[String]) -> Option<&Json> {
        let mut value = self;
        for name in path {
            let Json::Map(members) = value else {
                return None;
            };
            value = members.get(name)?;
        }
        if *value == Json::Null {
            None
        } else {
            Some(value)
        }
    }

    /// Puts a value at a path; what stands in its way and is no object is replaced.
    pub(crate) fn put(&mut self, path: &[String], value: Json) {
        let [first, rest @ ..] = path else {
            *self = value;
            return;
        };
        if !matches!(self, Json::Map(_)) {
            *self = Json::empty();
        }
        if let Json::Map(members) = self {
            members
                .entry(first.clone())
                .or_insert(Json::Null)
                .put(rest, value);
        }
    }

    /// As JSON text.
    pub(crate) fn written(&self) -> String {
        match self {
            Json::Null => "null".to_owned(),
            Json::Bool(value) => value.to_string(),
            Json::Number(number) => number.text(),
            Json::Text(text) => quoted(text),
            Json::List(items) => {
                let items: Vec<String> = items.iter().map(Json::written).collect();
                format!("[{}]", items.join(","))
            }
            Json::Map(members) => {
                let members: Vec<String> = members
                    .iter()
                    .map(|(key, value)| format!("{}:{}", quoted(key), value.written()))
                    .collect();
                format!("{{{}}}", members.join(","))
            }
        }
    }
}

/// A JSON string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\u{0}'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", character as u32)),
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}
