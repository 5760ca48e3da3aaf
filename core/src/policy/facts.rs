//! The values of fields, for one question.
//!
//! Invariant: what a decision reads, it reads here. A fact that is supposed wins over the live one, and what no door
//! supplies is absent.

use crate::decimal::Decimal;
use crate::json::{Object, Value};
use crate::pipeline::Question;
use crate::policy::artifact::{AgentPolicy, Field, SessionPart, Source, ToolSchema};
use crate::policy::{Rules, clock, windows};
use crate::state::State;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What `door` is where the agent asks before it acts. A probe asks what that door would say.
const DOOR_GOVERN: &str = "govern";
/// The argument that `purpose("…")` reads.
const PURPOSE: &str = "purpose";

/// Facts that are put in place of the live ones: by examples, fixtures, `explain` and `plan`. The daemon supposes
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Supposed(BTreeMap<Field, Value>);

impl Supposed {
    /// Nothing is supposed.
    pub const fn nothing() -> Supposed {
        Supposed(BTreeMap::new())
    }

    /// The first call of a session, for an agent of a policy: every sum, count and duration that its rules read is 0. What
    /// a policy is tried with, where there is no journal: in examples, fixtures, `explain call` and `plan`.
    pub fn first_call(agent: &AgentPolicy) -> Supposed {
        let counted = |field: &&Field| {
            matches!(
                field,
                Field::Sum { .. }
                    | Field::Count { .. }
                    | Field::Denials { .. }
                    | Field::Session(SessionPart::CallCount | SessionPart::Duration)
            )
        };
        let fields = agent.fields.iter().filter(counted);
        fields
            .map(|field| (field.clone(), Value::Number(Decimal::from(0))))
            .collect()
    }

    /// From here on the field has that value; `null`: it is absent.
    pub fn suppose(&mut self, field: Field, value: Value) {
        self.0.insert(field, value);
    }

    /// What is supposed of a field, if anything is.
    pub fn get(&self, field: &Field) -> Option<&Value> {
        self.0.get(field)
    }
}

impl Extend<(Field, Value)> for Supposed {
    fn extend<I: IntoIterator<Item = (Field, Value)>>(&mut self, facts: I) {
        self.0.extend(facts);
    }
}

impl FromIterator<(Field, Value)> for Supposed {
    fn from_iter<I: IntoIterator<Item = (Field, Value)>>(facts: I) -> Supposed {
        Supposed(facts.into_iter().collect())
    }
}

/// A field's value; `null` does not get this far.
#[derive(Debug, Clone)]
pub(crate) enum Operand<'a> {
    Bool(bool),
    Number(Cow<'a, Decimal>),
    String(&'a str),
    Array(&'a [Value]),
    Object(&'a Object),
}

/// Everything that one decision rests on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'q> {
    pub(crate) rules: Rules<'q>,
    pub(crate) question: Question<'q>,
    pub(crate) state: &'q State,
}

impl<'q> Facts<'q> {
    /// The value of a field that is not calculated; `None` where it is absent or `null`.
    pub(crate) fn value(&self, field: &'q Field) -> Option<Operand<'q>> {
        let question = &self.question;
        if let Some(supposed) = question.supposed.get(field) {
            return Operand::of(supposed);
        }
        let call = question.attested.call();
        let session = question.attested.session();
        match field {
            Field::Args(path) => argument(call.arguments(), path),
            Field::Purpose => call.arguments().get(PURPOSE).and_then(Operand::of),
            Field::Length(path) => argument(call.arguments(), path)?.length(),
            Field::Tool => Some(Operand::String(call.tool())),
            Field::Action => call.tool().rsplit('/').next().map(Operand::String),
            Field::Agent => Some(Operand::String(question.attested.agent())),
            Field::Door => Some(Operand::String(DOOR_GOVERN)),
            Field::Time(part) => {
                let zone = &self.rules.runtime.zone;
                Some(Operand::count(clock::part(
                    *part,
                    question.now.wall_ms,
                    zone,
                )))
            }
            Field::Session(SessionPart::CallCount) => {
                let count = self.state.call_count(session)?;
                Some(Operand::count(i64::try_from(count).ok()?))
            }
            Field::Session(SessionPart::Duration) => {
                let milliseconds = self.state.duration_ms(session, question.now)?;
                Some(Operand::count(i64::try_from(milliseconds / 1_000).ok()?))
            }
            Field::Sum { window_ms, .. }
            | Field::Count { window_ms, .. }
            | Field::Denials { window_ms } => {
                let name = windows::name_of(field)?;
                let counted = self
                    .state
                    .counted(session, &name, *window_ms, question.now)?;
                Some(Operand::Number(Cow::Owned(counted)))
            }
            Field::Enforcement(layer) => {
                let holds = self.state.session(session?)?.holds(layer)?;
                Some(Operand::Bool(holds))
            }
            // Facts of a request that is really sent, of a person, of the model, of a delegation: nobody knows them here.
            Field::Session(SessionPart::CostUsd)
            | Field::Model
            | Field::Host
            | Field::Port
            | Field::Method
            | Field::Path
            | Field::Query(_)
            | Field::Header(_)
            | Field::Principal(_)
            | Field::Selector(..)
            | Field::Delegation(_)
            | Field::Calculated(_) => None,
        }
    }

    /// Who vouches for a field's value. Outside a session the caller names its agent itself.
    pub(crate) fn source(&self, field: &Field) -> Source {
        match field {
            Field::Agent if !self.question.attested.is_attested() => Source::Claimed,
            _ => field.source(),
        }
    }

    /// The text whose characters a field counts, if it counts those of one.
    pub(crate) fn measured(&self, field: &Field) -> Option<&'q str> {
        let Field::Length(path) = field else {
            return None;
        };
        match argument(self.question.attested.call().arguments(), path)? {
            Operand::String(text) => Some(text),
            _ => None,
        }
    }
}

/// Whether this schema, which is closed, has no such argument: then it is not there, and no door could have supplied it.
pub(crate) fn is_undeclared(field: &Field, schema: &ToolSchema) -> bool {
    match field {
        Field::Args(path) | Field::Length(path) => !schema.declares(path),
        Field::Purpose => {
            let mut arguments = schema.arguments.iter();
            !arguments.any(|known| known.path.first().is_some_and(|name| name == PURPOSE))
        }
        _ => false,
    }
}

impl ToolSchema {
    /// Whether it knows of an argument: by that name, or as something around it, or as something in it.
    pub(crate) fn declares(&self, path: &[String]) -> bool {
        let related = |known: &[String]| known.starts_with(path) || path.starts_with(known);
        self.arguments
            .iter()
            .any(|argument| related(&argument.path))
    }
}

/// Walks down by the path's names; anything on the way that is not an object has nothing below it.
fn argument<'a>(arguments: &'a Object, path: &[String]) -> Option<Operand<'a>> {
    let (first, rest) = path.split_first()?;
    let mut value = arguments.get(first)?;
    for name in rest {
        let Value::Object(object) = value else {
            return None;
        };
        value = object.get(name)?;
    }
    Operand::of(value)
}

impl<'a> Operand<'a> {
    pub(crate) fn of(value: &'a Value) -> Option<Operand<'a>> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(value) => Operand::Bool(*value),
            Value::Number(number) => Operand::Number(Cow::Borrowed(number)),
            Value::String(text) => Operand::String(text),
            Value::Array(items) => Operand::Array(items),
            Value::Object(object) => Operand::Object(object),
        })
    }

    pub(crate) fn count(count: i64) -> Operand<'a> {
        Operand::Number(Cow::Owned(Decimal::from(count)))
    }

    /// Elements of a list, characters of a text, members of an object; nothing else has a length.
    fn length(&self) -> Option<Operand<'a>> {
        let length = match self {
            Operand::Array(items) => items.len(),
            Operand::String(text) => text.chars().count(),
            Operand::Object(object) => object.len(),
            Operand::Bool(_) | Operand::Number(_) => return None,
        };
        Some(Operand::count(i64::try_from(length).ok()?))
    }

    /// Canonical JSON text.
    pub(crate) fn canonical(&self) -> String {
        let mut out = String::new();
        match self {
            Operand::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Operand::Number(number) => number.write_to(&mut out),
            Operand::String(text) => crate::json::write_string(text, &mut out),
            Operand::Array(items) => crate::json::write_array(items, &mut out),
            Operand::Object(object) => object.write_canonical(&mut out),
        }
        out
    }
}
