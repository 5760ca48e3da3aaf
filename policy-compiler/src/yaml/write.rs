//! A syntax tree as a document: what [`super::transcribe`] reads, written. Reading it again gives the same policy.

use super::events::is_plain;
use super::json::is_number;
use super::rows::{self, Part, Row};
use super::{block_place, shape};
use crate::render;
use crate::syntax::{
    Block, Clause, ClauseBody, Example, File, Item, Member, Quantity, Rule, Setting, Unit, Value,
    ValueKind, Word,
};
use crate::vocabulary::{Place, Shape};
use crate::{Artifact, SourceFile};

/// A compiled policy as YAML: the artifact's rendering ([`crate::render_policy`]) in the other form.
pub fn yaml(artifact: &Artifact) -> String {
    tree_as_yaml(&tree(artifact))
}

/// A compiled policy as JSON.
pub fn json(artifact: &Artifact) -> String {
    tree_as_json(&tree(artifact))
}

fn tree(artifact: &Artifact) -> File {
    let source = SourceFile::new("rendered", render::policy(artifact));
    crate::parse(&source).0
}

/// A syntax tree without faults as YAML. Comments are not in a tree, and so not in this.
pub fn tree_as_yaml(file: &File) -> String {
    let mut out = String::new();
    match document(file) {
        Datum::Map(members) if !members.is_empty() => yaml_map(&members, 0, &mut out),
        other => {
            json_value(&other, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

/// A syntax tree without faults as JSON.
pub fn tree_as_json(file: &File) -> String {
    let mut out = String::new();
    json_value(&document(file), 0, &mut out);
    out.push('\n');
    out
}

/// What is written.
enum Datum {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Datum>),
    Map(Members),
}

type Members = Vec<(String, Datum)>;

fn document(file: &File) -> Datum {
    Datum::Map(items(Place::Top, &file.items))
}

/// What stands under one key while the items of a block are gathered.
enum Gathered {
    One(Datum),
    List(Vec<Datum>),
}

#[derive(Default)]
struct Gathering(Vec<(String, Gathered)>);

impl Gathering {
    fn list(&mut self, key: &str, datum: Datum) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, Gathered::List(data))) => data.push(datum),
            Some((_, one @ Gathered::One(_))) => {
                if let Gathered::One(first) = std::mem::replace(one, Gathered::List(Vec::new())) {
                    *one = Gathered::List(vec![first, datum]);
                }
            }
            None => self.0.push((key.to_string(), Gathered::List(vec![datum]))),
        }
    }

    /// One, and a list where there are several.
    fn one(&mut self, key: &str, datum: Datum) {
        if self.0.iter().any(|(name, _)| name == key) {
            self.list(key, datum);
        } else {
            self.0.push((key.to_string(), Gathered::One(datum)));
        }
    }

    fn members(self) -> Members {
        self.0
            .into_iter()
            .map(|(key, gathered)| match gathered {
                Gathered::One(datum) => (key, datum),
                Gathered::List(data) => (key, Datum::List(data)),
            })
            .collect()
    }
}

fn items(place: Place, items: &[Item]) -> Members {
    let mut gathering = Gathering::default();
    for item in items {
        match item {
            Item::Rule(one) => gathering.list("rules", Datum::Map(rule(one))),
            Item::Example(one) => gathering.list("examples", Datum::Map(example(one))),
            Item::Setting(one) => setting(place, one, &mut gathering),
            Item::Block(one) => block(place, one, &mut gathering),
        }
    }
    gathering.members()
}

fn block(place: Place, block: &Block, gathering: &mut Gathering) {
    let word = block.keyword.text.as_str();
    let inner = block_place(place, word);
    if matches!(inner, Place::Rules | Place::Examples) {
        for item in &block.items {
            match item {
                Item::Rule(one) => gathering.list(word, Datum::Map(rule(one))),
                Item::Example(one) => gathering.list(word, Datum::Map(example(one))),
                Item::Setting(_) | Item::Block(_) => {}
            }
        }
        if block.items.is_empty() && !gathering.0.iter().any(|(name, _)| name == word) {
            gathering
                .0
                .push((word.to_string(), Gathered::List(Vec::new())));
        }
        return;
    }
    let mut members = Members::new();
    match block.labels.as_slice() {
        [] => {}
        [label] => members.push((String::from("id"), value(label))),
        several => members.push((
            String::from("id"),
            Datum::List(several.iter().map(value).collect()),
        )),
    }
    members.extend(items(inner, &block.items));
    let known = shape(place, word).is_some();
    match (word, block.labels.is_empty()) {
        ("agent", _) => gathering.list("agent", Datum::Map(members)),
        (_, false) if known => gathering.list(&rows::plural(word), Datum::Map(members)),
        _ => gathering.one(word, Datum::Map(members)),
    }
}

fn setting(place: Place, setting: &Setting, gathering: &mut Gathering) {
    let word = setting.key.text.as_str();
    let line = shape(place, word) == Some(Shape::Line);
    match (setting.values.as_slice(), rows::of(word)) {
        ([], _) => gathering.one(word, Datum::Bool(true)),
        (values, Some(row)) if line => {
            let datum = of_row(row, values).map_or_else(
                || Datum::List(values.iter().map(value).collect()),
                Datum::Map,
            );
            gathering.list(&rows::plural(word), datum);
        }
        ([one], None) => gathering.one(word, value(one)),
        ([one], Some(_)) => gathering.one(word, value(one)),
        (values, _) if line => {
            gathering.one(word, Datum::List(values.iter().map(value).collect()));
        }
        (values, _) => gathering.one(word, Datum::List(values.iter().map(value).collect())),
    }
}

/// A line by the table; `None`: it is written in another way, and stays a list of its words.
fn of_row(row: &'static Row, values: &[Value]) -> Option<Members> {
    let mut rest = values;
    let mut members = Members::new();
    let is = |value: Option<&Value>, word: &str| matches!(value, Some(Value { kind: ValueKind::Bare(text) | ValueKind::Text(text), .. }) if text == word);
    for part in row.parts {
        let name = part.name().to_string();
        match part {
            Part::Value(_) => {
                let (first, behind) = rest.split_first()?;
                members.push((name, value(first)));
                rest = behind;
            }
            Part::Flag(word) => {
                if is(rest.first(), word) {
                    members.push((name, Datum::Bool(true)));
                    rest = rest.get(1..)?;
                }
            }
            Part::Pair(word, _) | Part::Listed(word, _) => {
                if is(rest.first(), word) {
                    let second = rest.get(1)?;
                    let listed = matches!(part, Part::Listed(..));
                    if listed && !matches!(second.kind, ValueKind::List(_)) {
                        return None;
                    }
                    members.push((name, value(second)));
                    rest = rest.get(2..)?;
                }
            }
        }
    }
    rest.is_empty().then_some(members)
}

fn value(value: &Value) -> Datum {
    match &value.kind {
        ValueKind::Bare(text) if text == "true" => Datum::Bool(true),
        ValueKind::Bare(text) if text == "false" => Datum::Bool(false),
        ValueKind::Bare(text) | ValueKind::Text(text) => Datum::Text(text.clone()),
        ValueKind::Number(quantity) => number(quantity),
        ValueKind::List(values) => Datum::List(values.iter().map(self::value).collect()),
        ValueKind::Object(members) => Datum::Map(object(members)),
        ValueKind::Env(name) => Datum::Text(format!("env(\"{name}\")")),
        ValueKind::Bad => Datum::Null,
    }
}

fn number(quantity: &Quantity) -> Datum {
    if quantity.unit != Unit::None {
        Datum::Text(quantity.shown.clone())
    } else if is_number(&quantity.shown) {
        Datum::Number(quantity.shown.clone())
    } else {
        Datum::Number(quantity.value.clone())
    }
}

/// As in a call: a number is its value, and text is text.
fn data(value: &Value) -> Datum {
    match &value.kind {
        ValueKind::Bare(text) if text == "null" => Datum::Null,
        ValueKind::Number(quantity) => Datum::Number(quantity.value.clone()),
        ValueKind::List(values) => Datum::List(values.iter().map(data).collect()),
        _ => self::value(value),
    }
}

/// Members by their names; `to.domain` is a member of `to`.
fn object(members: &[Member]) -> Members {
    let mut out = Members::new();
    for member in members {
        let names: Vec<&str> = member.key.iter().map(|word| word.text.as_str()).collect();
        put(&mut out, &names, data(&member.value));
    }
    out
}

fn put(members: &mut Members, names: &[&str], datum: Datum) {
    let Some((first, rest)) = names.split_first() else {
        return;
    };
    if rest.is_empty() {
        members.push(((*first).to_string(), datum));
        return;
    }
    let at = members.iter().position(|(name, _)| name == first);
    let at = at.unwrap_or_else(|| {
        members.push(((*first).to_string(), Datum::Map(Members::new())));
        members.len() - 1
    });
    if let Some((_, Datum::Map(inner))) = members.get_mut(at) {
        put(inner, rest, datum);
    }
}

fn text(word: &Word) -> Datum {
    Datum::Text(word.text.clone())
}

fn rule(rule: &Rule) -> Members {
    let mut gathering = Gathering::default();
    let effect = render::effect(&rule.effect.text).to_string();
    gathering.one("effect", Datum::Text(effect));
    if let Some(tool) = &rule.tool {
        gathering.one("tool", text(tool));
    }
    let mut clauses: Vec<&Clause> = rule.clauses.iter().collect();
    clauses.sort_by_key(|clause| render::rank(clause));
    for clause in clauses {
        match &clause.body {
            ClauseBody::Condition(condition) => {
                gathering.one("condition", Datum::Text(render::condition(condition)));
            }
            ClauseBody::Value(one) => gathering.one(&clause.keyword.text, clause_value(one)),
            ClauseBody::Pair { .. } => {}
        }
    }
    for word in ["query", "header"] {
        let pairs: Vec<&Clause> = rule
            .clauses
            .iter()
            .filter(|clause| render::singular(&clause.keyword.text) == word)
            .collect();
        if !pairs.is_empty() {
            gathering.one(word, of_pairs(&pairs));
        }
    }
    gathering.members()
}

/// A mapping, or a list of `k=v` where a key stands twice.
fn of_pairs(clauses: &[&Clause]) -> Datum {
    let mut members = Members::new();
    let mut twice = false;
    for clause in clauses {
        if let ClauseBody::Pair { key, value } = &clause.body {
            twice |= members.iter().any(|(name, _)| *name == key.text);
            members.push((key.text.clone(), clause_value(value)));
        }
    }
    if !twice {
        return Datum::Map(members);
    }
    let shown = |datum: Datum| match datum {
        Datum::Text(text) | Datum::Number(text) => text,
        Datum::Bool(value) => value.to_string(),
        _ => String::new(),
    };
    Datum::List(
        members
            .into_iter()
            .map(|(key, datum)| Datum::Text(format!("{key}={}", shown(datum))))
            .collect(),
    )
}

fn clause_value(one: &Value) -> Datum {
    value(one)
}

fn example(example: &Example) -> Members {
    let mut members = Members::new();
    let effect = render::effect(&example.effect.text).to_string();
    members.push((String::from("effect"), Datum::Text(effect)));
    if let Some(tool) = &example.tool {
        members.push((String::from("tool"), text(tool)));
    }
    if !example.arguments.is_empty() {
        members.push((String::from("args"), Datum::Map(object(&example.arguments))));
    }
    if let Some(code) = &example.code {
        members.push((String::from("code"), text(code)));
    }
    if !example.given.is_empty() {
        let given = example
            .given
            .iter()
            .map(|member| {
                let names: Vec<&str> = member.key.iter().map(|word| word.text.as_str()).collect();
                (names.join("."), data(&member.value))
            })
            .collect();
        members.push((String::from("given"), Datum::Map(given)));
    }
    members
}

// YAML.

fn indent(depth: usize, out: &mut String) {
    for _ in 0..depth {
        out.push_str("  ");
    }
}

fn yaml_map(members: &Members, depth: usize, out: &mut String) {
    for (index, (key, datum)) in members.iter().enumerate() {
        if index > 0 || !out.ends_with("- ") {
            indent(depth, out);
        }
        scalar(key, out);
        out.push(':');
        yaml_value(datum, depth, out);
    }
}

fn yaml_value(datum: &Datum, depth: usize, out: &mut String) {
    match datum {
        Datum::Map(members) if !members.is_empty() => {
            out.push('\n');
            yaml_map(members, depth + 1, out);
        }
        Datum::List(data) if data.iter().any(|one| matches!(one, Datum::Map(_))) => {
            out.push('\n');
            for one in data {
                indent(depth + 1, out);
                out.push_str("- ");
                match one {
                    Datum::Map(members) if !members.is_empty() => {
                        yaml_map(members, depth + 2, out);
                    }
                    other => {
                        flow(other, out);
                        out.push('\n');
                    }
                }
            }
        }
        other => {
            out.push(' ');
            flow(other, out);
            out.push('\n');
        }
    }
}

/// On one line.
fn flow(datum: &Datum, out: &mut String) {
    match datum {
        Datum::Text(text) => scalar(text, out),
        Datum::List(data) => {
            out.push('[');
            for (index, one) in data.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                flow(one, out);
            }
            out.push(']');
        }
        Datum::Map(members) => {
            out.push('{');
            for (index, (key, one)) in members.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                scalar(key, out);
                out.push_str(": ");
                flow(one, out);
            }
            out.push('}');
        }
        other => json_value(other, 0, out),
    }
}

/// Without quotes where every reader of YAML sees the same text, else in the quotes that need fewer escapes.
fn scalar(text: &str, out: &mut String) {
    let safe = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte));
    if safe && is_plain(text) {
        out.push_str(text);
    } else if text.contains('"')
        && !text.contains(['\'', '\n'])
        && !text.chars().any(char::is_control)
    {
        out.push('\'');
        out.push_str(text);
        out.push('\'');
    } else {
        quoted(text, out);
    }
}

// JSON.

fn json_value(datum: &Datum, depth: usize, out: &mut String) {
    let line = |depth: usize, out: &mut String| {
        out.push('\n');
        indent(depth, out);
    };
    match datum {
        Datum::Null => out.push_str("null"),
        Datum::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Datum::Number(number) => out.push_str(number),
        Datum::Text(text) => quoted(text, out),
        Datum::List(data) if data.is_empty() => out.push_str("[]"),
        Datum::List(data) => {
            out.push('[');
            for (index, one) in data.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                line(depth + 1, out);
                json_value(one, depth + 1, out);
            }
            line(depth, out);
            out.push(']');
        }
        Datum::Map(members) if members.is_empty() => out.push_str("{}"),
        Datum::Map(members) => {
            out.push('{');
            for (index, (key, one)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                line(depth + 1, out);
                quoted(key, out);
                out.push_str(": ");
                json_value(one, depth + 1, out);
            }
            line(depth, out);
            out.push('}');
        }
    }
}

/// As JSON, which YAML reads alike.
fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if character.is_control() => {
                out.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}
