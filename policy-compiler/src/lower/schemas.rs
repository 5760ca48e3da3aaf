//! `tool "x" { arg amount: money required … closed }`: lowered before any rule, because rules are checked by it.

use super::Lowering;
use crate::diagnostic::{Diagnostic, alternatives, quoted};
use crate::number::Number;
use crate::source::Span;
use crate::syntax::{Block, Item, Setting, Value, ValueKind, Word};
use crate::vocabulary::{Place, nearest};
use faramesh_core::json;
use faramesh_core::policy::artifact::{
    Access, Argument, Kind, LIST_MAX, TEXT_BYTES_MAX, ToolSchema,
};
use std::collections::BTreeMap;

const KINDS: &[(&str, Kind)] = &[
    ("any", Kind::Any),
    ("bool", Kind::Bool),
    ("number", Kind::Number),
    ("money", Kind::Money),
    ("duration", Kind::Duration),
    ("size", Kind::Size),
    ("text", Kind::Text),
    ("list", Kind::List),
    ("object", Kind::Object),
    ("path", Kind::Path(Access::Edit)),
    ("path.read", Kind::Path(Access::Read)),
    ("path.edit", Kind::Path(Access::Edit)),
];

/// Other languages' words for kinds.
const ALIASES: &[(&str, &str)] = &[
    ("amount", "money"),
    ("array", "list"),
    ("boolean", "bool"),
    ("float", "number"),
    ("int", "number"),
    ("integer", "number"),
    ("map", "object"),
    ("str", "text"),
    ("string", "text"),
];

impl Lowering<'_> {
    /// All schemas of an agent, sorted by pattern.
    pub(super) fn schemas(&mut self, items: &[Item]) -> Vec<ToolSchema> {
        let mut schemas: BTreeMap<String, (Span, ToolSchema)> = BTreeMap::new();
        for item in items {
            let Item::Block(block) = item else { continue };
            if block.keyword.text != "tool" {
                continue;
            }
            let Some(schema) = self.schema(block) else {
                continue;
            };
            let pattern = schema.pattern.clone();
            if let Some((first, _)) = schemas.get(&pattern) {
                let message = format!("tool {} is described twice", quoted(&pattern));
                self.report(
                    Diagnostic::new(Number::DuplicateSetting, message)
                        .at(block.head, "again here")
                        .at(*first, "first here")
                        .help("join the two blocks"),
                );
                continue;
            }
            schemas.insert(pattern, (block.head, schema));
        }
        if schemas.len() > LIST_MAX {
            let message = format!("an agent with more than {LIST_MAX} `tool` blocks");
            let last = schemas.values().map(|(span, _)| *span).max();
            self.report(
                Diagnostic::new(Number::BadSchema, message).at(last.unwrap_or_default(), ""),
            );
        }
        schemas.into_values().map(|(_, schema)| schema).collect()
    }

    fn schema(&mut self, block: &Block) -> Option<ToolSchema> {
        let pattern = match block.labels.as_slice() {
            [
                Value {
                    kind: ValueKind::Bare(text) | ValueKind::Text(text),
                    span,
                },
            ] => {
                let word = Word {
                    text: text.clone(),
                    span: *span,
                };
                self.pattern(&word)
            }
            _ => {
                self.report(
                    Diagnostic::new(Number::BadSchema, "a `tool` block names one tool")
                        .at(block.head, "expected `tool \"stripe/refund\" {`"),
                );
                None
            }
        };
        let mut arguments: BTreeMap<Vec<String>, (Span, Argument)> = BTreeMap::new();
        let mut closed = None;
        let mut sound = true;
        for item in &block.items {
            match item {
                Item::Setting(setting) if setting.key.text == "closed" => {
                    if let Some(value) = setting.values.first() {
                        self.report(
                            Diagnostic::new(Number::BadSchema, "`closed` takes no value")
                                .at(value.span, "remove this"),
                        );
                        sound = false;
                    }
                    if let Some(first) = closed.replace(setting.key.span) {
                        self.twice_in_schema(setting.key.span, first, "closed");
                        sound = false;
                    }
                }
                Item::Setting(setting) if setting.key.text == "arg" => {
                    let Some(argument) = self.argument(setting) else {
                        sound = false;
                        continue;
                    };
                    let path = argument.path.clone();
                    if let Some((first, _)) = arguments.get(&path) {
                        let first = *first;
                        self.twice_in_schema(setting.span, first, &path.join("."));
                        sound = false;
                        continue;
                    }
                    arguments.insert(path, (setting.span, argument));
                }
                other => {
                    self.unknown_word(other.word(), Place::Tool);
                    sound = false;
                }
            }
        }
        sound &= self.nested_well(&arguments);
        if arguments.is_empty() && closed.is_none() && sound {
            self.report(
                Diagnostic::new(Number::BadSchema, "a `tool` block that says nothing")
                    .at(block.head, "")
                    .help("write `arg amount: money required`, or `closed` for a tool without arguments"),
            );
            sound = false;
        }
        if arguments.len() > LIST_MAX {
            let message = format!("a tool with more than {LIST_MAX} arguments");
            self.report(Diagnostic::new(Number::BadSchema, message).at(block.head, ""));
            sound = false;
        }
        sound.then_some(())?;
        Some(ToolSchema {
            pattern: pattern?,
            arguments: arguments
                .into_values()
                .map(|(_, argument)| argument)
                .collect(),
            closed: closed.is_some(),
        })
    }

    fn twice_in_schema(&mut self, again: Span, first: Span, what: &str) {
        self.report(
            Diagnostic::new(
                Number::DuplicateSetting,
                format!("{} is given twice", quoted(what)),
            )
            .at(again, "again here")
            .at(first, "first here")
            .help("remove one"),
        );
    }

    /// What has arguments below it is an object.
    fn nested_well(&mut self, arguments: &BTreeMap<Vec<String>, (Span, Argument)>) -> bool {
        let mut sound = true;
        for (path, (span, argument)) in arguments {
            if matches!(argument.kind, Kind::Any | Kind::Object) {
                continue;
            }
            let below = arguments
                .iter()
                .find(|(other, _)| other.len() > path.len() && other.starts_with(path));
            if let Some((_, (below, _))) = below {
                self.report(
                    Diagnostic::new(
                        Number::BadSchema,
                        format!("{} has fields and is no object", quoted(&path.join("."))),
                    )
                    .at(*below, "a field of it")
                    .at(*span, "declared as something else")
                    .help("declare it as `object`, or leave its line out"),
                );
                sound = false;
            }
        }
        sound
    }

    /// `arg a.b: KIND`, `arg a.b: KIND required`.
    fn argument(&mut self, setting: &Setting) -> Option<Argument> {
        let mut values = setting.values.iter();
        let (path, name_span) = match values.next() {
            Some(Value {
                kind: ValueKind::Bare(text),
                span,
            }) => (
                text.trim_end_matches(':')
                    .split('.')
                    .map(String::from)
                    .collect::<Vec<_>>(),
                *span,
            ),
            Some(Value {
                kind: ValueKind::Text(text),
                span,
            }) => (vec![text.clone()], *span),
            _ => return self.bad_argument(setting.span, "expected `arg NAME: KIND`"),
        };
        // Published files and people write `args.` before names elsewhere.
        if path.first().is_some_and(|first| first == "args") && path.len() > 1 {
            return self.bad_argument(name_span, "arguments are named without `args.` here");
        }
        if path.len() > json::DEPTH_MAX
            || path
                .iter()
                .any(|part| part.is_empty() || part.len() > TEXT_BYTES_MAX)
        {
            return self.bad_argument(name_span, "no argument is nested or named like this");
        }
        let (kind, required) = match (values.next(), values.next(), values.next()) {
            (Some(kind), None, None) => (self.kind(kind)?, false),
            (Some(kind), Some(word), None) => match &word.kind {
                ValueKind::Bare(text) if text == "required" => (self.kind(kind)?, true),
                ValueKind::Bare(text) if text == "optional" => (self.kind(kind)?, false),
                _ => return self.bad_argument(word.span, "expected `required`, or nothing"),
            },
            (None, ..) => return self.bad_argument(name_span.after(), "expected `: KIND`"),
            (_, _, Some(more)) => {
                return self.bad_argument(more.span, "expected the end of the line");
            }
        };
        Some(Argument {
            path,
            kind,
            required,
        })
    }

    fn bad_argument<T>(&mut self, span: Span, why: &str) -> Option<T> {
        self.report(
            Diagnostic::new(Number::BadSchema, "an argument is declared in another way")
                .at(span, why)
                .help("it is written `arg amount: money required`"),
        );
        None
    }

    fn kind(&mut self, value: &Value) -> Option<Kind> {
        let ValueKind::Bare(text) = &value.kind else {
            return self.bad_argument(value.span, "expected a kind");
        };
        if let Some((_, kind)) = KINDS.iter().find(|(name, _)| name == text) {
            return Some(*kind);
        }
        let names = || KINDS.iter().map(|(name, _)| *name);
        let alias = ALIASES
            .iter()
            .find(|(name, _)| *name == text.to_ascii_lowercase())
            .map(|(_, kind)| *kind);
        let near = alias.or_else(|| nearest(text, names()));
        self.report(
            Diagnostic::new(
                Number::BadSchema,
                format!("unknown kind {} of an argument", quoted(text)),
            )
            .at(value.span, "")
            .suggest(near)
            .note(format!("kinds are {}", alternatives(names()))),
        );
        None
    }
}
