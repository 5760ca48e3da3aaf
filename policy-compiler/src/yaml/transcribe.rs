//! A document in the words of the language, each piece with the place that it came from.
//!
//! Invariants: text of the document stands in quotes here, or is a word or a number by its letters, so that it cannot end
//! the place that it stands in; conditions do not stand here at all, but are parsed one by one and put where their names
//! stand; every member of a mapping is written or becomes a finding.

use super::rows::{self, Part, Row};
use super::{Key, Node, NodeKind, shape, words};
use crate::diagnostic::{Diagnostic, Findings, quoted};
use crate::number::Number;
use crate::source::Span;
use crate::syntax::{Expr, ExprKind, Unit};
use crate::vocabulary::{self, CLAUSES, EFFECTS, Place, Shape, nearest};
use crate::{lex, parse, quantity};

/// A condition's name where it will stand; no document can write one there.
const CONDITION: &str = "_condition_";
/// What a rule calls its condition.
const CONDITIONS: &[&str] = &["condition", "if", "when"];
/// What a block calls what stands between its keyword and its brace.
const LABELS: &[&str] = &["id", "name"];

/// Writes a document down; what cannot be written is reported.
pub(super) fn transcribe(source: &str, document: &Node, diagnostics: &mut Findings) -> Transcript {
    let mut writer = Writer {
        source,
        out: Transcript::default(),
        diagnostics,
    };
    match &document.kind {
        NodeKind::Map(members) => writer.items(Place::Top, members),
        NodeKind::Bad => {}
        other => {
            let finding = Diagnostic::new(
                Number::WrongShape,
                format!("the document is {}", other.noun()),
            )
            .at(
                head(source, document.span),
                "expected a mapping: `runtime`, `agent`, …",
            );
            writer.diagnostics.push(finding);
        }
    }
    writer.out
}

/// What was written, and where it came from.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    text: String,
    pieces: Vec<Piece>,
    conditions: Vec<Expr>,
}

#[derive(Debug)]
struct Piece {
    start: usize,
    end: usize,
    origin: Span,
}

impl Transcript {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The place in the document.
    pub(super) fn origin(&self, span: Span) -> Span {
        let after = self.pieces.partition_point(|piece| piece.end <= span.start);
        let before = self.pieces.partition_point(|piece| piece.start < span.end);
        let first = self.pieces.get(after).or(self.pieces.last());
        let last = before.checked_sub(1).and_then(|at| self.pieces.get(at));
        match (first, last) {
            (Some(first), Some(last)) if last.start >= first.start => first.origin.to(last.origin),
            (Some(first), _) => Span::new(first.origin.start, first.origin.start),
            (None, _) => Span::default(),
        }
    }

    /// The condition that this name stands for.
    pub(super) fn condition(&mut self, name: &Expr) -> Option<Expr> {
        let ExprKind::Name(parts) = &name.kind else {
            return None;
        };
        let index: usize = parts.first()?.text.strip_prefix(CONDITION)?.parse().ok()?;
        let place = self.conditions.get_mut(index)?;
        let none = Expr {
            kind: ExprKind::Bad,
            span: place.span,
        };
        Some(std::mem::replace(place, none))
    }
}

struct Writer<'a> {
    source: &'a str,
    out: Transcript,
    diagnostics: &'a mut Findings,
}

// Letters.
impl Writer<'_> {
    fn put(&mut self, text: &str) {
        self.out.text.push_str(text);
    }

    fn piece(&mut self, text: &str, origin: Span) {
        let start = self.out.text.len();
        self.out.text.push_str(text);
        self.out.pieces.push(Piece {
            start,
            end: self.out.text.len(),
            origin,
        });
    }

    fn text(&mut self, value: &str, origin: Span) {
        let mut out = String::with_capacity(value.len() + 2);
        crate::render::text(value, &mut out);
        self.piece(&out, origin);
    }

    /// Bare where it is a word that ends nothing, else in quotes.
    fn word(&mut self, place: Place, value: &str, origin: Span) {
        if is_path(value) && shape(place, value).is_none() && !is_reserved(value) {
            self.piece(value, origin);
        } else {
            self.text(value, origin);
        }
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn wrong(&mut self, key: &Key, node: &Node, expected: &str) {
        if matches!(node.kind, NodeKind::Bad) {
            return;
        }
        let message = format!("{} holds {}", quoted(&key.text), node.kind.noun());
        let span = if node.span.start == node.span.end {
            key.span
        } else {
            head(self.source, node.span)
        };
        self.report(
            Diagnostic::new(Number::WrongShape, message).at(span, format!("expected {expected}")),
        );
    }

    fn unknown(&mut self, key: &Key, what: &str, known: &[&'static str]) {
        if key.text.starts_with('\u{0}') {
            return;
        }
        let near = match self.diagnostics.is_full() {
            true => None,
            false => nearest(&key.text, known.iter().copied()),
        };
        self.report(
            Diagnostic::new(
                Number::UnknownKey,
                format!("unknown key {} in {what}", quoted(&key.text)),
            )
            .at(key.span, "")
            .suggest(near),
        );
    }
}

// Items.
impl Writer<'_> {
    fn items(&mut self, place: Place, members: &[(Key, Node)]) {
        for (key, node) in members {
            self.item(place, key, node);
        }
    }

    fn item(&mut self, place: Place, key: &Key, node: &Node) {
        let Some((word, shape)) = entry(place, &key.text) else {
            self.free(place, key, node);
            return;
        };
        let word = Key {
            text: word.to_string(),
            span: key.span,
        };
        if matches!(node.kind, NodeKind::Null) {
            self.wrong(key, node, "a value");
            return;
        }
        match shape {
            Shape::Block(Place::Rules) => self.block_of(&word, node, Self::rule),
            Shape::Block(Place::Examples) => self.block_of(&word, node, Self::example),
            Shape::Block(inner) | Shape::MaybeBlock(inner) => self.blocks(inner, &word, node),
            Shape::Line => self.lines(place, &word, node),
            Shape::Value => match rows::of(&word.text) {
                // Given once for each: `require "x"`.
                Some(_) if matches!(node.kind, NodeKind::List(_)) => {
                    for one in several(node) {
                        self.setting(&word, one);
                    }
                }
                _ => self.setting(&word, node),
            },
        }
    }

    /// A key that is not in the list of its place: a setting of a block without a list, or unknown.
    fn free(&mut self, place: Place, key: &Key, node: &Node) {
        if place.holds_rules() || place == Place::Tool || !is_word(&key.text) {
            let mut known: Vec<&'static str> = words(place).collect();
            if place == Place::Agent || place == Place::Top {
                known.extend(["rate_limits", "redactions", "budgets", "phases", "tools"]);
            }
            self.unknown(key, &place.noun(), &known);
        } else if matches!(node.kind, NodeKind::Map(_)) && !is_reference(node) {
            self.blocks(Place::Settings(""), key, node);
        } else {
            self.setting(key, node);
        }
    }

    fn setting(&mut self, key: &Key, node: &Node) {
        if matches!(node.kind, NodeKind::Bad) {
            return;
        }
        if matches!(node.kind, NodeKind::Null) {
            self.wrong(key, node, "a value");
            return;
        }
        self.piece(&key.text, key.span);
        self.put(" = ");
        self.value(node);
        self.put("\n");
    }

    /// `keyword { one one … }`.
    fn block_of(&mut self, key: &Key, node: &Node, one: fn(&mut Self, &Key, &Node)) {
        self.piece(&key.text, key.span);
        self.put(" {\n");
        match &node.kind {
            NodeKind::List(nodes) => {
                for node in nodes {
                    one(self, key, node);
                }
            }
            _ => self.wrong(key, node, "a list of mappings"),
        }
        self.put("}\n");
    }

    fn blocks(&mut self, place: Place, key: &Key, node: &Node) {
        for one in several(node) {
            let NodeKind::Map(members) = &one.kind else {
                self.wrong(key, one, "a mapping, or a list of mappings");
                continue;
            };
            self.piece(&key.text, key.span);
            let label = members.iter().position(|(key, _)| {
                LABELS.contains(&key.text.as_str()) && entry(place, &key.text).is_none()
            });
            if let Some((_, label)) = label.and_then(|at| members.get(at)) {
                self.put(" ");
                match &label.kind {
                    NodeKind::Text(text) => self.text(text, label.span),
                    NodeKind::Number(number) => self.text(number, label.span),
                    NodeKind::List(labels) => {
                        for label in labels {
                            self.put(" ");
                            self.value(label);
                        }
                    }
                    // Was reported: some name, so that its lack is not.
                    NodeKind::Bad => self.text("_", label.span),
                    _ => self.wrong(key, label, "a name"),
                }
            }
            self.put(" {\n");
            for (at, (key, node)) in members.iter().enumerate() {
                if Some(at) != label {
                    self.item(place, key, node);
                }
            }
            self.put("}\n");
        }
    }
}

// Lines.
impl Writer<'_> {
    fn lines(&mut self, place: Place, key: &Key, node: &Node) {
        let row = rows::of(&key.text);
        match (&node.kind, row) {
            (NodeKind::Bool(true), _) => {
                self.piece(&key.text, key.span);
                self.put("\n");
            }
            (NodeKind::Bool(false), None) => {}
            (NodeKind::Map(members), Some(row)) if row.keyed && !is_row(row, members) => {
                for (name, node) in members {
                    self.keyed(place, key, row, name, node);
                }
            }
            (NodeKind::List(nodes), Some(_)) => {
                for one in nodes {
                    self.line(place, key, one, row);
                }
            }
            (NodeKind::List(nodes), None)
                if !nodes.is_empty()
                    && nodes
                        .iter()
                        .all(|one| matches!(one.kind, NodeKind::List(_))) =>
            {
                for one in nodes {
                    self.line(place, key, one, None);
                }
            }
            _ => self.line(place, key, node, row),
        }
    }

    fn line(&mut self, place: Place, key: &Key, node: &Node, row: Option<&'static Row>) {
        match (&node.kind, row) {
            (NodeKind::Map(members), Some(row)) => {
                self.piece(&key.text, key.span);
                self.row(place, key, row, members);
            }
            (NodeKind::List(nodes), _) => {
                self.piece(&key.text, key.span);
                for node in nodes {
                    self.put(" ");
                    self.in_line(place, node);
                }
            }
            (NodeKind::Map(_) | NodeKind::Null | NodeKind::Bad, _) => {
                self.wrong(key, node, "text, or a list of words");
                return;
            }
            _ => {
                self.piece(&key.text, key.span);
                self.put(" ");
                self.in_line(place, node);
            }
        }
        self.put("\n");
    }

    /// `{amount: money}`: the key is the first value.
    fn keyed(&mut self, place: Place, key: &Key, row: &'static Row, name: &Key, node: &Node) {
        self.piece(&key.text, key.span);
        self.put(" ");
        self.word(place, &name.text, name.span);
        self.put(" ");
        match &node.kind {
            NodeKind::Map(members) if !is_reference(node) => {
                let rest = row.parts.get(1..).unwrap_or_default();
                self.parts(place, name, rest, members);
            }
            NodeKind::Null => self.wrong(name, node, "a value"),
            _ => self.in_line(place, node),
        }
        self.put("\n");
    }

    fn row(&mut self, place: Place, key: &Key, row: &'static Row, members: &[(Key, Node)]) {
        self.put(" ");
        self.parts(place, key, row.parts, members);
    }

    fn parts(&mut self, place: Place, key: &Key, parts: &[Part], members: &[(Key, Node)]) {
        for part in parts {
            let Some((name, node)) = members.iter().find(|(key, _)| part.is_called(&key.text))
            else {
                if let Part::Value(names) = part {
                    let name = names.first().copied().unwrap_or("");
                    self.report(
                        Diagnostic::new(
                            Number::WrongShape,
                            format!("{} without {}", quoted(&key.text), quoted(name)),
                        )
                        .at(
                            members.first().map_or(key.span, |(first, _)| first.span),
                            format!("expected `{name}` beside this"),
                        ),
                    );
                }
                continue;
            };
            match (part, &node.kind) {
                (_, NodeKind::Null) => self.wrong(name, node, "a value"),
                (Part::Flag(word), NodeKind::Bool(true)) => self.piece(word, name.span),
                (Part::Flag(_), NodeKind::Bool(false)) => {}
                (Part::Flag(_), _) => self.wrong(name, node, "`true` or `false`"),
                (Part::Pair(word, _), _) => {
                    self.piece(word, name.span);
                    self.put(" ");
                    self.in_line(place, node);
                }
                (Part::Listed(word, _), NodeKind::List(_)) => {
                    self.piece(word, name.span);
                    self.put(": ");
                    self.value(node);
                }
                (Part::Listed(..), _) => self.wrong(name, node, "a list"),
                (Part::Value(_), _) => self.in_line(place, node),
            }
            self.put(" ");
        }
        let known: Vec<&'static str> = parts.iter().map(|part| part.name()).collect();
        for (at, (name, _)) in members.iter().enumerate() {
            let part = parts.iter().find(|part| part.is_called(&name.text));
            let again = part.is_some_and(|part| {
                members
                    .get(..at)
                    .unwrap_or_default()
                    .iter()
                    .any(|(other, _)| part.is_called(&other.text))
            });
            if part.is_none() || again {
                self.unknown(name, &quoted(&key.text), &known);
            }
        }
    }

    /// A value in a line: words are bare there.
    fn in_line(&mut self, place: Place, node: &Node) {
        match &node.kind {
            NodeKind::Text(text) if !is_quantity(text) && environment(text).is_none() => {
                self.word(place, text, node.span);
            }
            _ => self.value(node),
        }
    }
}

// Values.
impl Writer<'_> {
    fn value(&mut self, node: &Node) {
        match &node.kind {
            NodeKind::Text(text) => match environment(text) {
                Some(name) => self.environment(name, node.span),
                None if is_quantity(text) => self.piece(text, node.span),
                None => self.text(text, node.span),
            },
            NodeKind::List(nodes) => {
                self.put("[");
                for (index, node) in nodes.iter().enumerate() {
                    if index > 0 {
                        self.put(", ");
                    }
                    match &node.kind {
                        NodeKind::Text(text) => self.text(text, node.span),
                        _ => self.value(node),
                    }
                }
                self.put("]");
            }
            NodeKind::Map(members) => match members.as_slice() {
                [(key, node)] if key.text == "env" => match &node.kind {
                    NodeKind::Text(name) => self.environment(name, node.span),
                    _ => self.wrong(key, node, "the name of a variable"),
                },
                [(key, node)] if key.text == "var" => match &node.kind {
                    NodeKind::Text(name) if is_word(name) => self.piece(name, node.span),
                    _ => self.wrong(key, node, "the name of a `var`"),
                },
                _ => self.object(members),
            },
            _ => self.datum(node),
        }
    }

    fn environment(&mut self, name: &str, origin: Span) {
        let mut text = String::from("env(");
        crate::render::text(name, &mut text);
        text.push(')');
        self.piece(&text, origin);
    }

    /// Data as it is: text stays text, whatever it looks like.
    fn datum(&mut self, node: &Node) {
        match &node.kind {
            NodeKind::Null => self.piece("null", node.span),
            NodeKind::Bool(value) => self.piece(if *value { "true" } else { "false" }, node.span),
            NodeKind::Number(number) => self.piece(number, node.span),
            NodeKind::Text(text) => self.text(text, node.span),
            NodeKind::List(nodes) => {
                self.put("[");
                for (index, node) in nodes.iter().enumerate() {
                    if index > 0 {
                        self.put(", ");
                    }
                    self.datum(node);
                }
                self.put("]");
            }
            NodeKind::Map(members) => self.object(members),
            NodeKind::Bad => self.piece("null", node.span),
        }
    }

    fn object(&mut self, members: &[(Key, Node)]) {
        self.put("{ ");
        for (index, (key, node)) in members.iter().enumerate() {
            if index > 0 {
                self.put(", ");
            }
            self.text(&key.text, key.span);
            self.put(": ");
            self.datum(node);
        }
        self.put(" }");
    }
}

// Rules.
impl Writer<'_> {
    fn rule(&mut self, list: &Key, node: &Node) {
        let NodeKind::Map(members) = &node.kind else {
            self.wrong(list, node, "a mapping with `effect` and `tool`");
            return;
        };
        if !self.call(node, members, "a rule") {
            return;
        }
        for (key, node) in members {
            match key.text.as_str() {
                "effect" | "tool" => {}
                word if CONDITIONS.contains(&word) => {
                    self.condition(key, node);
                }
                word if vocabulary::clause(word).is_some() => self.clause(key, node),
                _ => {
                    let mut known: Vec<&'static str> = CLAUSES.to_vec();
                    known.extend(["effect", "tool", "condition"]);
                    self.unknown(key, "a rule", &known);
                }
            }
        }
        self.put("\n");
    }

    /// `EFFECT TOOL`; `false`: one of them is missing, which was said.
    fn call(&mut self, node: &Node, members: &[(Key, Node)], what: &str) -> bool {
        let member = |name: &str| members.iter().find(|(key, _)| key.text == name);
        let missing = |name: &str| {
            Diagnostic::new(
                Number::WrongShape,
                format!("{what} without {}", quoted(name)),
            )
            .at(
                members.first().map_or(node.span, |(key, _)| key.span),
                format!("expected `{name}` beside this"),
            )
        };
        let Some((key, effect)) = member("effect") else {
            self.report(missing("effect"));
            return false;
        };
        let NodeKind::Text(word) = &effect.kind else {
            self.wrong(key, effect, "an effect");
            return false;
        };
        if vocabulary::effect(word).is_none() {
            let near = nearest(word, EFFECTS.iter().map(|(name, _)| *name));
            self.report(
                Diagnostic::new(
                    Number::UnknownEffect,
                    format!("unknown effect {}", quoted(word)),
                )
                .at(effect.span, "")
                .suggest(near)
                .note("effects are `permit`, `defer`, `deny` or `deny!`"),
            );
            return false;
        }
        let Some((key, tool)) = member("tool") else {
            self.report(missing("tool"));
            return false;
        };
        let NodeKind::Text(pattern) = &tool.kind else {
            self.wrong(
                key,
                tool,
                "a tool, such as `stripe/*`, in quotes where it starts with `*`",
            );
            return false;
        };
        self.piece(word, effect.span);
        self.put(" ");
        self.text(pattern, tool.span);
        true
    }

    fn condition(&mut self, key: &Key, node: &Node) {
        let text = match &node.kind {
            NodeKind::Text(text) => text.as_str(),
            NodeKind::Bool(true) => "true",
            NodeKind::Bool(false) => "false",
            _ => return self.wrong(key, node, "a condition as text"),
        };
        let origins = Origins::new(self.source, node.span, text);
        let mut found = Findings::default();
        let tokens = lex::lex(text, &mut found);
        let mut expr = parse::condition(text, &tokens, &mut found);
        self.diagnostics.append(found, |span| origins.origin(span));
        super::places::of_expr(&mut expr, &mut |span| origins.origin(span));
        self.put(" if ");
        let name = format!("{CONDITION}{}", self.out.conditions.len());
        self.piece(&name, node.span);
        self.out.conditions.push(expr);
    }

    fn clause(&mut self, key: &Key, node: &Node) {
        match (key.text.as_str(), &node.kind) {
            (_, NodeKind::Null) => self.wrong(key, node, "a value"),
            ("query" | "header" | "headers", NodeKind::Map(members)) => {
                for (name, node) in members {
                    self.put(" ");
                    self.piece(&key.text, key.span);
                    self.put(" ");
                    self.text(&name.text, name.span);
                    self.put(" = ");
                    self.datum(node);
                }
            }
            ("notify" | "query" | "header" | "headers", NodeKind::List(nodes)) => {
                for node in nodes {
                    self.clause_value(key, node);
                }
            }
            _ => self.clause_value(key, node),
        }
    }

    fn clause_value(&mut self, key: &Key, node: &Node) {
        self.put(" ");
        self.piece(&key.text, key.span);
        self.put(" ");
        match &node.kind {
            NodeKind::Text(text) => self.text(text, node.span),
            _ => self.value(node),
        }
    }

    fn example(&mut self, list: &Key, node: &Node) {
        const KNOWN: &[&str] = &["effect", "tool", "args", "arguments", "code", "given"];
        let NodeKind::Map(members) = &node.kind else {
            self.wrong(list, node, "a mapping with `effect`, `tool` and `args`");
            return;
        };
        if !self.call(node, members, "an example") {
            return;
        }
        let member = |names: [&str; 2]| {
            members
                .iter()
                .find(|(key, _)| names.contains(&key.text.as_str()))
        };
        if let Some((key, node)) = member(["args", "arguments"]) {
            self.put(" ");
            match &node.kind {
                NodeKind::Map(members) => self.object(members),
                _ => self.wrong(key, node, "a mapping of arguments"),
            }
        }
        if let Some((key, node)) = member(["code", "code"]) {
            match &node.kind {
                NodeKind::Text(code) if is_word(code) => {
                    self.put(" code ");
                    self.piece(code, node.span);
                }
                _ => self.wrong(key, node, "a code, such as `INDETERMINATE`"),
            }
        }
        if let Some((key, node)) = member(["given", "given"]) {
            match &node.kind {
                NodeKind::Map(members) => self.given(members),
                _ => self.wrong(key, node, "a mapping, such as `time.hour: 3`"),
            }
        }
        for (key, _) in members {
            if !KNOWN.contains(&key.text.as_str()) {
                self.unknown(key, "an example", KNOWN);
            }
        }
        self.put("\n");
    }

    fn given(&mut self, members: &[(Key, Node)]) {
        self.put(" given { ");
        for (index, (key, node)) in members.iter().enumerate() {
            if index > 0 {
                self.put(", ");
            }
            if key.text.split('.').all(is_word) {
                self.piece(&key.text, key.span);
            } else {
                self.text(&key.text, key.span);
            }
            self.put(": ");
            self.datum(node);
        }
        self.put(" }");
    }
}

/// Data in the words of the language.
pub(super) fn data(node: &Node, out: &mut String) {
    let mut writer = Writer {
        source: "",
        out: Transcript::default(),
        diagnostics: &mut Findings::default(),
    };
    writer.datum(node);
    out.push_str(writer.out.text());
}

/// The word's entry, by itself or by its plural.
fn entry(place: Place, key: &str) -> Option<(&'static str, Shape)> {
    let mut found = words(place).filter(|word| *word == key);
    let word = found
        .next()
        .or_else(|| words(place).find(|word| rows::plural(word) == key))?;
    shape(place, word).map(|shape| (word, shape))
}

/// A list's elements, or the one that stands for a list of one.
fn several(node: &Node) -> &[Node] {
    match &node.kind {
        NodeKind::List(nodes) => nodes,
        _ => std::slice::from_ref(node),
    }
}

/// As much of a value's place as shows where it stands: its first line.
fn head(source: &str, span: Span) -> Span {
    let line = source.get(span.range()).and_then(|text| text.find('\n'));
    Span::new(span.start, line.map_or(span.end, |end| span.start + end))
}

fn is_row(row: &Row, members: &[(Key, Node)]) -> bool {
    row.parts.iter().all(|part| match part {
        Part::Value(_) => members.iter().any(|(key, _)| part.is_called(&key.text)),
        _ => true,
    })
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Words joined by points: what the parser reads as one bare word.
fn is_path(text: &str) -> bool {
    text.split('.').all(is_word)
}

/// Words that mean something wherever they stand.
fn is_reserved(text: &str) -> bool {
    vocabulary::effect(text).is_some() || matches!(text, "true" | "false" | "null" | "env")
}

/// An amount, a duration or a size, by its letters alone.
fn is_quantity(text: &str) -> bool {
    let body = text.strip_prefix('$').unwrap_or(text);
    let letters =
        body.trim_start_matches(|character: char| character.is_ascii_digit() || character == '.');
    let sane = body.starts_with(|first: char| first.is_ascii_digit())
        && letters.bytes().all(|byte| byte.is_ascii_lowercase());
    sane && quantity::parse(text, Span::default()).is_ok_and(|quantity| quantity.unit != Unit::None)
}

/// The name in `env("NAME")` or `env(NAME)`.
fn environment(text: &str) -> Option<&str> {
    let inside = text.trim().strip_prefix("env(")?.strip_suffix(')')?.trim();
    let bare = inside
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    Some(bare.unwrap_or(inside))
}

/// `{env: NAME}`, `{var: name}`: no mapping of settings.
fn is_reference(node: &Node) -> bool {
    matches!(&node.kind, NodeKind::Map(members) if matches!(members.as_slice(), [(key, _)] if matches!(key.text.as_str(), "env" | "var")))
}

/// Where each byte of a scalar's value stands in the document.
struct Origins {
    /// By byte of the value, and one for its end.
    starts: Vec<usize>,
    whole: Span,
}

impl Origins {
    /// Runs along the scalar as it is written. Where value and writing cannot be brought together, all of it is the
    /// place of each part.
    fn new(source: &str, whole: Span, value: &str) -> Origins {
        let raw = source.get(whole.range()).unwrap_or("");
        let mut origins = Origins {
            starts: Vec::with_capacity(value.len() + 1),
            whole,
        };
        let double = raw.starts_with('"');
        let single = raw.starts_with('\'');
        let mut at = usize::from(double || single);
        if raw.starts_with(['|', '>']) {
            at = raw.find('\n').map_or(raw.len(), |end| end + 1);
        }
        for character in value.chars() {
            let Some((start, end)) = step(raw, at, character, double, single) else {
                origins.starts.clear();
                return origins;
            };
            for _ in 0..character.len_utf8() {
                origins.starts.push(whole.start + start);
            }
            at = end;
        }
        origins.starts.push(whole.start + at);
        origins
    }

    fn origin(&self, span: Span) -> Span {
        match (self.starts.get(span.start), self.starts.get(span.end)) {
            (Some(start), Some(end)) => Span::new(*start, (*end).max(*start)),
            _ => self.whole,
        }
    }
}

/// Where the next character of a value stands in the scalar as written, from `at` on: its first byte and the one behind.
fn step(
    raw: &str,
    at: usize,
    character: char,
    double: bool,
    single: bool,
) -> Option<(usize, usize)> {
    let rest = raw.get(at..)?;
    let first = rest.chars().next()?;
    if double && first == '\\' {
        let digits = match rest.as_bytes().get(1)? {
            b'x' => 2,
            b'u' => 4,
            b'U' => 8,
            // A line that is continued: nothing of it is in the value.
            b'\n' | b'\r' => {
                let skipped = rest.len() - rest.get(1..)?.trim_start().len();
                return step(raw, at + skipped, character, double, single);
            }
            _ => 0,
        };
        let mut end = at + 2 + digits;
        if character.len_utf8() == 4 && digits == 4 {
            end += 6;
        }
        return raw.get(at..end).map(|_| (at, end));
    }
    if single && first == '\'' && character == '\'' {
        return rest.starts_with("''").then_some((at, at + 2));
    }
    if first == character {
        return Some((at, at + first.len_utf8()));
    }
    if !first.is_whitespace() {
        return None;
    }
    let spaces = rest.len() - rest.trim_start().len();
    if character == ' ' || character == '\n' {
        // Folded: a line break and what indents the next line stand for one character.
        return Some((at, at + spaces));
    }
    step(raw, at + spaces, character, double, single)
}
