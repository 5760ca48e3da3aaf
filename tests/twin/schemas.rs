//! `tool "x" { … }`: what a call of these tools looks like.

use crate::json::Json;
use crate::patterns;
use crate::tree::{Agent, Argument, Schema};

fn of<'a>(agent: &'a Agent, tool: &str) -> impl Iterator<Item = &'a Schema> {
    let tool = tool.to_owned();
    agent
        .schemas
        .iter()
        .filter(move |schema| patterns::tool(&schema.tool, &tool))
}

/// Whether some closed schema of the tool has no such argument: neither it, nor something around it, nor something in it.
pub(crate) fn undeclared(agent: &Agent, tool: &str, path: &[String]) -> bool {
    of(agent, tool).any(|schema| {
        schema.closed
            && !schema
                .arguments
                .iter()
                .any(|argument| argument.path.starts_with(path) || path.starts_with(&argument.path))
    })
}

/// Whether the call looks as every schema of its tool says.
pub(crate) fn fits(agent: &Agent, tool: &str, args: &Json) -> bool {
    of(agent, tool).all(|schema| {
        let declared = schema
            .arguments
            .iter()
            .all(|argument| argument_fits(argument, args));
        declared && (!schema.closed || only_declared(schema, &mut Vec::new(), args))
    })
}

fn argument_fits(argument: &Argument, args: &Json) -> bool {
    match args.at(&argument.path) {
        None => !argument.required,
        Some(value) => is_a(&argument.kind, value),
    }
}

/// Amounts, durations and sizes are numbers in a call, of zero or more; a path is a text.
fn is_a(kind: &str, value: &Json) -> bool {
    match kind {
        "any" => true,
        "bool" => matches!(value, Json::Bool(_)),
        "number" => matches!(value, Json::Number(_)),
        "money" | "duration" | "size" => {
            matches!(value, Json::Number(number) if !number.text().starts_with('-'))
        }
        "text" | "path" | "path.read" | "path.edit" => matches!(value, Json::Text(_)),
        "list" => matches!(value, Json::List(_)),
        "object" => matches!(value, Json::Map(_)),
        other => unreachable!("kind {other}"),
    }
}

/// Every argument of the call is declared, or lies in one that is, or is an object around such.
fn only_declared(schema: &Schema, at: &mut Vec<String>, value: &Json) -> bool {
    let arguments = || schema.arguments.iter();
    if !at.is_empty() && arguments().any(|argument| at.starts_with(&argument.path)) {
        return true;
    }
    let around = at.is_empty() || arguments().any(|argument| argument.path.starts_with(at));
    match value {
        Json::Null => true,
        Json::Map(members) if around => members.iter().all(|(key, value)| {
            at.push(key.clone());
            let fine = only_declared(schema, at, value);
            at.pop();
            fine
        }),
        _ => false,
    }
}

/// What the tool's schemas say that the argument exactly there is.
pub(crate) fn kinds(agent: &Agent, tool: &str, path: &[String]) -> Vec<String> {
    of(agent, tool)
        .flat_map(|schema| &schema.arguments)
        .filter(|argument| argument.path == path)
        .map(|argument| argument.kind.clone())
        .collect()
}
