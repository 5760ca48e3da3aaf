//! `examples { permit stripe/refund { amount: 80 } … }`: calls and what must come out. They are run on the compiled policy
//! by [`crate::trials`].

use super::{Draft, Lowering};
use crate::conditions::{self, Scope, Type};
use crate::diagnostic::{Diagnostic, Findings, quoted};
use crate::number::Number;
use crate::source::Span;
use crate::syntax::{
    Block, Example as ExampleSyntax, Expr, ExprKind, Item, Member, Unit, Value, ValueKind, Word,
};
use crate::vocabulary::{self, Place, nearest};
use faramesh_core::call;
use faramesh_core::decision::{Code, Effect};
use faramesh_core::json;
use faramesh_core::policy::artifact::{Example, Field, RuleEffect, TimePart};
use std::collections::BTreeMap;

/// Examples of one agent: each is a decision at every compilation.
const EXAMPLES_MAX: usize = 1_000;

/// An object that is put together member by member.
enum Node {
    /// JSON text.
    Leaf(String),
    Object(BTreeMap<String, Node>),
}

impl Node {
    fn write(&self, out: &mut String) {
        match self {
            Node::Leaf(text) => out.push_str(text),
            Node::Object(members) => {
                out.push('{');
                for (index, (key, node)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    json::write_string(key, out);
                    out.push(':');
                    node.write(out);
                }
                out.push('}');
            }
        }
    }
}

impl Lowering<'_> {
    pub(super) fn examples(&mut self, block: &Block, draft: &mut Draft) {
        if let Some(label) = block.labels.first() {
            self.report(
                Diagnostic::new(Number::BadName, "`examples` has no name")
                    .at(label.span, "remove this"),
            );
        }
        for item in &block.items {
            let Item::Example(syntax) = item else {
                self.unknown_word(item.word(), Place::Examples);
                continue;
            };
            let Some(example) = self.example(syntax, draft) else {
                continue;
            };
            if draft.examples.len() == EXAMPLES_MAX {
                let message = format!("an agent with more than {EXAMPLES_MAX} examples");
                self.report(Diagnostic::new(Number::BadExample, message).at(syntax.span, ""));
            }
            draft.examples.push((syntax.span, example));
        }
    }

    fn example(&mut self, syntax: &ExampleSyntax, draft: &mut Draft) -> Option<Example> {
        let effect = self.example_effect(&syntax.effect);
        let tool = syntax
            .tool
            .as_ref()
            .and_then(|tool| self.example_tool(tool));
        let arguments = self.example_arguments(&syntax.arguments);
        let code = match &syntax.code {
            Some(word) => self.example_code(word).map(Some),
            None => Some(None),
        };
        let given = self.given(&syntax.given, draft);
        let example = Example {
            effect: effect?,
            code: code?,
            tool: tool?,
            arguments: arguments?,
            given: given?,
        };
        if let Err(why) = call::accept(&example.tool, "", example.arguments.as_bytes()) {
            return self.bad_example(syntax.span, &why.to_string());
        }
        Some(example)
    }

    fn bad_example<T>(&mut self, span: Span, why: &str) -> Option<T> {
        self.report(
            Diagnostic::new(
                Number::BadExample,
                "an example is a call and what comes out",
            )
            .at(span, why)
            .help("it is written `permit stripe/refund { amount: 80 }`"),
        );
        None
    }

    fn example_effect(&mut self, word: &Word) -> Option<Effect> {
        match vocabulary::effect(&word.text) {
            Some(RuleEffect::DenyHard) => {
                self.bad_example(word.span, "what comes out is `deny`, whichever rule denies")
            }
            Some(effect) => Some(effect.effect()),
            None => {
                let near = nearest(&word.text, ["permit", "defer", "deny"].into_iter());
                self.report(
                    Diagnostic::new(
                        Number::UnknownEffect,
                        format!("unknown effect {}", quoted(&word.text)),
                    )
                    .at(word.span, "")
                    .suggest(near),
                );
                None
            }
        }
    }

    fn example_tool(&mut self, word: &Word) -> Option<String> {
        if word.text.contains('*') {
            return self.bad_example(word.span, "a call names one tool, not a pattern");
        }
        match call::check_tool_name(&word.text) {
            Ok(()) => Some(word.text.clone()),
            Err(why) => self.bad_example(word.span, &why.to_string()),
        }
    }

    fn example_code(&mut self, word: &Word) -> Option<String> {
        let known = || Code::ALL.iter().map(|code| code.as_str());
        if known().any(|code| code == word.text) {
            return Some(word.text.clone());
        }
        let upper = word.text.to_ascii_uppercase();
        let near = known()
            .map(|code| (strsim::osa_distance(&upper, code), code))
            .filter(|(distance, _)| *distance <= 3)
            .min();
        self.report(
            Diagnostic::new(
                Number::BadExample,
                format!("unknown code {}", quoted(&word.text)),
            )
            .at(word.span, "no decision has it")
            .suggest(near.map(|(_, code)| code)),
        );
        None
    }

    /// Canonical text of the arguments.
    fn example_arguments(&mut self, members: &[Member]) -> Option<String> {
        let object = self.object(members)?;
        let mut text = String::new();
        Node::Object(object).write(&mut text);
        match json::parse(text.as_bytes()) {
            Ok(value) => Some(value.canonical()),
            Err(why) => {
                let span = members.first().map_or(Span::default(), |member| {
                    member.key.first().map_or(member.value.span, |key| key.span)
                });
                self.bad_example(span, &why.to_string())
            }
        }
    }

    fn object(&mut self, members: &[Member]) -> Option<BTreeMap<String, Node>> {
        let mut object = BTreeMap::new();
        let mut sound = Some(());
        for member in members {
            let path: Vec<&str> = member.key.iter().map(|part| part.text.as_str()).collect();
            let Some(node) = self.node(&member.value) else {
                sound = None;
                continue;
            };
            if !insert(&mut object, &path, node) {
                let span = member.key.first().map_or(member.value.span, |first| {
                    first
                        .span
                        .to(member.key.last().map_or(first.span, |last| last.span))
                });
                let message = format!("{} is given twice", quoted(&path.join(".")));
                self.report(
                    Diagnostic::new(Number::DuplicateSetting, message)
                        .at(span, "again here")
                        .help("remove one"),
                );
                sound = None;
            }
        }
        sound.map(|()| object)
    }

    fn node(&mut self, value: &Value) -> Option<Node> {
        Some(match &value.kind {
            ValueKind::Object(members) => Node::Object(self.object(members)?),
            ValueKind::List(values) => {
                let mut text = String::from("[");
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    self.node(value)?.write(&mut text);
                }
                text.push(']');
                Node::Leaf(text)
            }
            ValueKind::Text(text) => {
                let mut quoted = String::new();
                json::write_string(text, &mut quoted);
                Node::Leaf(quoted)
            }
            ValueKind::Number(quantity) => Node::Leaf(quantity.value.clone()),
            ValueKind::Bare(word) if matches!(word.as_str(), "true" | "false" | "null") => {
                Node::Leaf(word.clone())
            }
            ValueKind::Bare(word) => {
                let help = format!("write it in quotes: `\"{word}\"`");
                self.report(
                    Diagnostic::new(
                        Number::BadExample,
                        format!("{} is no value of an argument", quoted(word)),
                    )
                    .at(
                        value.span,
                        "expected a number, text, true, false, null, `[…]` or `{…}`",
                    )
                    .help(help),
                );
                return None;
            }
            ValueKind::Env(_) => {
                return self.bad_example(value.span, "a call has no `env(…)`");
            }
            ValueKind::Bad => return None,
        })
    }

    /// What is supposed beside the arguments, sorted by field.
    fn given(&mut self, members: &[Member], draft: &mut Draft) -> Option<Vec<(Field, String)>> {
        let mut given: BTreeMap<Field, String> = BTreeMap::new();
        let mut sound = Some(());
        for member in members {
            let span = member.key.first().map_or(member.value.span, |first| {
                first
                    .span
                    .to(member.key.last().map_or(first.span, |last| last.span))
            });
            let fact = self
                .fact(&member.key, span, draft)
                .and_then(|(field, kind)| {
                    Some((self.supposed(&field, kind, &member.value)?, field))
                });
            match fact {
                None => sound = None,
                Some((text, field)) => {
                    let name = field.to_string();
                    if given.insert(field, text).is_some() {
                        let message = format!("{} is given twice", quoted(&name));
                        self.report(
                            Diagnostic::new(Number::DuplicateSetting, message)
                                .at(span, "again here")
                                .help("remove one"),
                        );
                        sound = None;
                    }
                }
            }
        }
        sound.map(|()| given.into_iter().collect())
    }

    /// The field that a name in `given` means. Beside the arguments, `host` and the like are facts of the request.
    fn fact(&mut self, key: &[Word], span: Span, draft: &mut Draft) -> Option<(Field, Type)> {
        if let [only] = key {
            let fact = match only.text.as_str() {
                "door" => Some((Field::Door, Type::Text)),
                "host" => Some((Field::Host, Type::Text)),
                "method" => Some((Field::Method, Type::Text)),
                "path" => Some((Field::Path, Type::Text)),
                "port" => Some((Field::Port, Type::Number(Unit::None))),
                _ => None,
            };
            if fact.is_some() {
                return fact;
            }
        }
        let scope = Scope {
            declared: &draft.declared,
            pattern: "*",
        };
        let expr = self.fact_written(key, span)?;
        let known = conditions::fact(&expr, scope, &mut draft.tables, self.diagnostics)?;
        match known.0 {
            Field::Args(_) | Field::Length(_) | Field::Tool | Field::Agent | Field::Action => self
                .bad_example(
                    span,
                    "what a call brings itself stands before `given`, in its arguments",
                ),
            _ => Some(known),
        }
    }

    /// What a key names: bare names are a variable; a text is read as a condition reads it.
    fn fact_written(&mut self, key: &[Word], span: Span) -> Option<Expr> {
        let plain = |word: &Word| {
            let letters = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
            !word.text.is_empty() && word.text.chars().all(letters)
        };
        let [only] = key else {
            let kind = ExprKind::Name(key.to_vec());
            return Some(Expr { kind, span });
        };
        if plain(only) {
            let kind = ExprKind::Name(key.to_vec());
            return Some(Expr { kind, span });
        }
        let mut found = Findings::default();
        let mut expr = crate::condition(&only.text, &mut found);
        let faulty = found.has_errors();
        self.diagnostics.append(found, |_| span);
        if faulty {
            return None;
        }
        crate::yaml::places::of_expr(&mut expr, &mut |_| span);
        Some(expr)
    }

    /// Canonical JSON of a supposed value; a name of a day or a month is its number.
    fn supposed(&mut self, field: &Field, kind: Type, value: &Value) -> Option<String> {
        if let (Field::Time(part), ValueKind::Text(text)) = (field, &value.kind) {
            return self.supposed_time(*part, text, value.span);
        }
        let found = match &value.kind {
            ValueKind::Number(quantity) => Type::Number(quantity.unit),
            ValueKind::Text(_) => Type::Text,
            ValueKind::List(_) => Type::List,
            ValueKind::Object(_) => Type::Object,
            ValueKind::Bare(word) if word == "null" => Type::Any,
            ValueKind::Bare(word) if word == "true" || word == "false" => Type::Bool,
            _ => Type::Any,
        };
        if !kind.meets(found) {
            let message = format!(
                "{} is {}, and never {}",
                quoted(&field.to_string()),
                kind.noun(),
                found.noun()
            );
            self.report(Diagnostic::new(Number::TypeMismatch, message).at(value.span, ""));
            return None;
        }
        let mut text = String::new();
        self.node(value)?.write(&mut text);
        match json::parse(text.as_bytes()) {
            Ok(value) => Some(value.canonical()),
            Err(why) => self.bad_example(value.span, &why.to_string()),
        }
    }

    fn supposed_time(&mut self, part: TimePart, text: &str, span: Span) -> Option<String> {
        match conditions::time_literal(part, text) {
            Ok(number) => Some(number.to_string()),
            Err(near) => {
                let message = format!("{} is no value of `time.{}`", quoted(text), part.as_str());
                self.report(
                    Diagnostic::new(Number::BadTime, message)
                        .at(span, conditions::time_expected(part))
                        .suggest(near),
                );
                None
            }
        }
    }
}

/// Puts a value at its path; `false` where something stands there already.
fn insert(object: &mut BTreeMap<String, Node>, path: &[&str], node: Node) -> bool {
    match path {
        [] => false,
        [last] => {
            let free = !object.contains_key(*last);
            if free {
                object.insert((*last).to_string(), node);
            }
            free
        }
        [first, rest @ ..] => {
            let inner = object
                .entry((*first).to_string())
                .or_insert_with(|| Node::Object(BTreeMap::new()));
            match inner {
                Node::Object(inner) => insert(inner, rest, node),
                Node::Leaf(_) => false,
            }
        }
    }
}
