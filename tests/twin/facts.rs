//! What a name in a condition means, and what it is worth for one call.

use crate::json::Json;
use crate::number::Number;
use crate::schemas;
use crate::time;
use crate::tree::{Agent, Expr};
use crate::windows::Session;
use std::collections::BTreeMap;

/// One call with everything that a decision may rest on. The door is `govern`: nobody sees a request, a model or a
/// person there.
#[derive(Debug, Clone)]
pub(crate) struct Question<'a> {
    pub(crate) agent: &'a str,
    pub(crate) tool: &'a str,
    pub(crate) args: &'a Json,
    /// What is known of the caller: its session, or everybody outside any.
    pub(crate) session: &'a Session,
    pub(crate) now: Moment,
    /// Facts in place of the live ones, by name.
    pub(crate) supposed: &'a BTreeMap<String, Json>,
}

impl Question<'_> {
    /// Whether a layer was measured as holding.
    pub(crate) fn holds(&self, layer: &str) -> Option<bool> {
        match self.supposed.get(&format!("enforcement.{layer}")) {
            Some(supposed) => Some(*supposed == Json::Bool(true)),
            None => self.session.holds(layer),
        }
    }

    /// The names of the workspace's path, where relative paths start.
    pub(crate) fn workspace(&self) -> Option<Vec<String>> {
        crate::paths::absolute_names(self.session.workspace.as_ref()?)
    }
}

/// Both clocks, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) wall_ms: u64,
    pub(crate) boot_ms: u64,
}

/// The policy that is asked, as far as names go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<'a> {
    pub(crate) agent: &'a Agent,
    pub(crate) zone: &'a str,
}

/// What a side of a test is worth.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    /// The fields that stand there; none, where it is a constant.
    pub(crate) fields: Vec<String>,
    pub(crate) value: Option<Json>,
    /// Those of the fields because of which there is no value.
    pub(crate) at_fault: Vec<String>,
    /// It rests on an argument that a closed schema does not have.
    pub(crate) undeclared: bool,
}

impl Reading {
    pub(crate) fn constant(value: Json) -> Reading {
        Reading {
            fields: Vec::new(),
            value: Some(value),
            at_fault: Vec::new(),
            undeclared: false,
        }
    }

    /// What is supposed of a field wins; `null` is absent.
    fn field(question: &Question<'_>, name: String, live: Option<Json>) -> Reading {
        let value = match question.supposed.get(&name) {
            Some(Json::Null) => None,
            Some(value) => Some(value.clone()),
            None => live,
        };
        Reading {
            at_fault: value.is_none().then(|| name.clone()).into_iter().collect(),
            fields: vec![name],
            value,
            undeclared: false,
        }
    }
}

/// Reads a name.
pub(crate) fn name(parts: &[String], words: Words<'_>, question: &Question<'_>) -> Reading {
    let dotted = parts.join(".");
    let rest = &parts[1..];
    let text = |value: &str| Reading::field(question, dotted.clone(), Some(Json::text(value)));
    match (parts[0].as_str(), rest.len()) {
        ("tool", 0) => text(question.tool),
        ("agent", 0) => text(question.agent),
        ("action", 0) => text(question.tool.rsplit('/').next().unwrap()),
        ("door", 0) => text("govern"),
        // No door of this version knows them.
        ("model", 0) => Reading::field(question, dotted, None),
        ("principal", 0) => Reading::field(question, "principal.id".to_owned(), None),
        ("principal" | "query" | "headers" | "delegation" | "selectors", _) => {
            Reading::field(question, path_name(parts), None)
        }
        ("args", _) => argument(rest, words, question),
        ("time", 1) => {
            let value = time::part(&rest[0], question.now.wall_ms, words.zone);
            Reading::field(question, dotted, Some(Json::Number(Number::whole(value))))
        }
        ("session", 1) => {
            let value = question.session.part(&rest[0], question.now);
            Reading::field(question, dotted, value)
        }
        ("enforcement", _) => {
            let value = question.session.holds(&rest.join(".")).map(Json::Bool);
            Reading::field(question, dotted, value)
        }
        _ => bare(parts, words, question),
    }
}

/// A name without a root: a variable of the policy, a selector, or else an argument.
fn bare(parts: &[String], words: Words<'_>, question: &Question<'_>) -> Reading {
    if let [only] = parts
        && let Some((_, value)) = words.agent.vars.iter().find(|(name, _)| name == only)
    {
        return Reading::constant(constant(value).unwrap());
    }
    if words.agent.selectors.contains(&parts[0]) {
        let mut full = vec!["selectors".to_owned()];
        full.extend_from_slice(parts);
        return Reading::field(question, path_name(&full), None);
    }
    argument(parts, words, question)
}

/// `args.a.b`; absent by a closed schema is another thing than absent.
pub(crate) fn argument(path: &[String], words: Words<'_>, question: &Question<'_>) -> Reading {
    let mut full = vec!["args".to_owned()];
    full.extend_from_slice(path);
    Reading {
        undeclared: schemas::undeclared(words.agent, question.tool, path),
        ..Reading::field(question, path_name(&full), question.args.at(path).cloned())
    }
}

/// `purpose`: what the caller says that the call is for.
pub(crate) fn purpose(words: Words<'_>, question: &Question<'_>) -> Reading {
    let said = argument(&["purpose".to_owned()], words, question);
    Reading {
        undeclared: said.undeclared,
        ..Reading::field(question, "purpose".to_owned(), said.value)
    }
}

/// `len(args.a)`: elements of a list, characters of a text, members of an object.
pub(crate) fn length(path: &[String], words: Words<'_>, question: &Question<'_>) -> Reading {
    let inner = argument(path, words, question);
    let count = match &inner.value {
        Some(Json::List(items)) => Some(items.len()),
        Some(Json::Text(text)) => Some(text.chars().count()),
        Some(Json::Map(members)) => Some(members.len()),
        _ => None,
    };
    let value = count.map(|count| Json::Number(Number::whole(count as i64)));
    Reading {
        undeclared: inner.undeclared,
        ..Reading::field(question, format!("len({})", inner.fields[0]), value)
    }
}

/// A field that the session remembers: a sum, a count.
pub(crate) fn remembered(question: &Question<'_>, name: String, value: Option<Number>) -> Reading {
    Reading::field(question, name, value.map(Json::Number))
}

/// The value of a constant expression.
pub(crate) fn constant(expr: &Expr) -> Option<Json> {
    match expr {
        Expr::Bool(value) => Some(Json::Bool(*value)),
        Expr::Number(number, _) => Some(Json::Number(number.clone())),
        Expr::Text(text) => Some(Json::text(text)),
        Expr::List(items) => items
            .iter()
            .map(constant)
            .collect::<Option<_>>()
            .map(Json::List),
        _ => None,
    }
}

/// A dotted name; parts that are no plain words stand in quotes.
fn path_name(parts: &[String]) -> String {
    let plain = |part: &String| {
        let mut characters = part.chars();
        characters
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && characters.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    let shown: Vec<String> = parts
        .iter()
        .map(|part| {
            if plain(part) {
                part.clone()
            } else {
                crate::json::quoted(part)
            }
        })
        .collect();
    shown.join(".")
}
