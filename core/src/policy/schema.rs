//! `tool "x" { arg amount: money required  closed }`: what a call of a tool looks like.
//!
//! Checked before any rule. No money, size or duration is below zero: rules give these an upper bound, and what falls below
//! every bound would pass it. Every schema whose pattern matches the tool holds, and where one of them is closed, there are
//! no arguments but those that it declares. `null` is absent, as everywhere.

use crate::json::{Object, Value};
use crate::policy::artifact::{Argument, Field, Kind, ToolSchema};
use crate::policy::pattern;
use std::collections::BTreeMap;

/// Characters of an argument's name that a message shows: the name may be the caller's.
const NAME_CHARS_MAX: usize = 80;

/// What is wrong with a call, in words for its sender; `None`: it is as the schemas say.
pub fn broken(schemas: &[ToolSchema], tool: &str, arguments: &Object) -> Option<String> {
    matching(schemas, tool).find_map(|schema| {
        let wrong = schema
            .arguments
            .iter()
            .find_map(|argument| check(argument, arguments));
        wrong.or_else(|| {
            let declared: Vec<&Argument> = schema.arguments.iter().collect();
            let mut path = Vec::new();
            (schema.closed && undeclared(arguments, &declared, &mut path))
                .then(|| format!("{} is no argument of `{tool}`", shown(&path)))
        })
    })
}

/// What a tool's schemas say of each argument that they declare: its kinds.
pub(crate) type Declared<'s> = BTreeMap<&'s [String], Vec<Kind>>;

/// The arguments that a tool's schemas declare: gathered once, since a call may have very many.
pub(crate) fn declared<'s>(schemas: &'s [ToolSchema], tool: &str) -> Declared<'s> {
    let mut declared = Declared::new();
    for argument in matching(schemas, tool).flat_map(|schema| &schema.arguments) {
        let kinds = declared.entry(argument.path.as_slice()).or_default();
        if !kinds.contains(&argument.kind) {
            kinds.push(argument.kind);
        }
    }
    declared
}

pub(crate) fn matching<'s>(
    schemas: &'s [ToolSchema],
    tool: &str,
) -> impl Iterator<Item = &'s ToolSchema> {
    schemas
        .iter()
        .filter(move |schema| pattern::matches(&schema.pattern, tool))
}

/// One argument, where it should be. Below what is no object there is nothing.
fn check(argument: &Argument, arguments: &Object) -> Option<String> {
    let path: Vec<&str> = argument.path.iter().map(String::as_str).collect();
    match at(arguments, &argument.path) {
        None | Some(Value::Null) => argument
            .required
            .then(|| format!("{} is required and absent", shown(&path))),
        Some(Value::Number(number)) if !argument.kind.may_be_negative() && number.is_negative() => {
            Some(format!("{} is below zero", shown(&path)))
        }
        Some(value) if is_of(argument.kind, value) => None,
        Some(value) => Some(wrong(&path, value, wanted(argument.kind))),
    }
}

fn at<'a>(arguments: &'a Object, path: &[String]) -> Option<&'a Value> {
    let (last, above) = path.split_last()?;
    let mut object = arguments;
    for name in above {
        match object.get(name)? {
            Value::Object(inner) => object = inner,
            _ => return None,
        }
    }
    object.get(last)
}

fn wrong(path: &[&str], found: &Value, wanted: &str) -> String {
    let found = match found {
        Value::Null => "absent",
        Value::Bool(_) => "a bool",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    format!("{} is {found}, where {wanted} is due", shown(path))
}

const fn is_of(kind: Kind, value: &Value) -> bool {
    match kind {
        Kind::Any => true,
        Kind::Bool => matches!(value, Value::Bool(_)),
        Kind::Number | Kind::Money | Kind::Duration | Kind::Size => {
            matches!(value, Value::Number(_))
        }
        Kind::Text | Kind::Path(_) => matches!(value, Value::String(_)),
        Kind::List => matches!(value, Value::Array(_)),
        Kind::Object => matches!(value, Value::Object(_)),
    }
}

const fn wanted(kind: Kind) -> &'static str {
    match kind {
        Kind::Any => "a value",
        Kind::Bool => "a bool",
        Kind::Number => "a number",
        Kind::Money => "a number (money)",
        Kind::Duration => "a number (seconds)",
        Kind::Size => "a number (bytes)",
        Kind::Text => "text",
        Kind::List => "a list",
        Kind::Object => "an object",
        Kind::Path(_) => "text (a path)",
    }
}

/// The path of the first argument that nothing declares, in `path`.
fn undeclared<'a>(object: &'a Object, declared: &[&Argument], path: &mut Vec<&'a str>) -> bool {
    for (name, value) in object.iter() {
        if matches!(value, Value::Null) {
            continue;
        }
        path.push(name);
        let here = |argument: &&&Argument| {
            let mut names = argument.path.iter().map(String::as_str).zip(path.iter());
            names.all(|(declared, found)| declared == *found)
        };
        let on_the_way: Vec<&Argument> = declared.iter().filter(here).copied().collect();
        let is_declared = on_the_way
            .iter()
            .any(|argument| argument.path.len() == path.len());
        let is_undeclared = match value {
            _ if is_declared => false,
            Value::Object(inner) if !on_the_way.is_empty() => undeclared(inner, &on_the_way, path),
            _ => true,
        };
        if is_undeclared {
            return true;
        }
        path.pop();
    }
    false
}

/// As a policy writes it, cut where it is long.
fn shown(path: &[&str]) -> String {
    let path = path.iter().map(|name| (*name).to_owned()).collect();
    let name = Field::Args(path).to_string();
    match name.char_indices().nth(NAME_CHARS_MAX) {
        Some((end, _)) => format!("`{}…`", name.get(..end).unwrap_or_default()),
        None => format!("`{name}`"),
    }
}
