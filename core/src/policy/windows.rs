//! What a policy asks to be counted, and what a decision adds to it.
//!
//! Invariant: every decision adds to every window of the whole artifact that its tool feeds, whichever agent's rules ask
//! for it; so a window that an agent's new policy asks for is complete where some agent's old one asked for it.

use crate::decimal::Decimal;
use crate::decision::{Decision, Effect};
use crate::identity::Attested;
use crate::json::{Object, Value};
use crate::policy::artifact::{Artifact, Field};
use crate::policy::pattern;
use crate::record::Door;
use crate::state::Effects;
use std::collections::BTreeMap;

/// Digits and all of a number that can be summed, in its plain form: no amount needs more, and no sum of such numbers
/// leaves the limits of a number. Any other is as good as absent: the sum is then *maybe*.
pub const SUMMAND_BYTES_MAX: usize = 64;

/// The counter of a session's decisions, which every policy has; `status` shows it, and no rule reads it from here.
const SESSION_CALLS: &str = "session.calls";

/// What one window counts.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Counted {
    /// An argument of the permitted calls of these tools.
    Sum(String, Vec<String>),
    /// The permitted calls of these tools.
    Count(String),
    /// Denials.
    Denials,
}

/// Every window that an artifact asks for, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Windows(BTreeMap<String, Counted>);

/// The name of the window that a field reads, as records have it: `sum stripe/refund amount`, `count stripe/*`,
/// `denials`. How far back it looks is no part of it: one window serves all.
pub fn name_of(field: &Field) -> Option<String> {
    counted(field).map(|counted| name(&counted))
}

fn counted(field: &Field) -> Option<Counted> {
    match field {
        Field::Sum { pattern, path, .. } => Some(Counted::Sum(pattern.clone(), path.clone())),
        Field::Count { pattern, .. } => Some(Counted::Count(pattern.clone())),
        Field::Denials { .. } => Some(Counted::Denials),
        _ => None,
    }
}

fn name(counted: &Counted) -> String {
    match counted {
        Counted::Sum(pattern, path) => {
            let path = Field::Args(path.clone()).to_string();
            let path = path.strip_prefix("args.").unwrap_or(&path);
            format!("sum {pattern} {path}")
        }
        Counted::Count(pattern) => format!("count {pattern}"),
        Counted::Denials => "denials".to_owned(),
    }
}

impl Windows {
    /// Those of every agent.
    pub fn of(artifact: &Artifact) -> Windows {
        let fields = artifact.agents.iter().flat_map(|agent| &agent.fields);
        Windows(
            fields
                .filter_map(counted)
                .map(|counted| (name(&counted), counted))
                .collect(),
        )
    }

    /// Their names, sorted, each once: what an activation record says of them.
    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// What a decision adds, by name: a permit that was given at the door where things are done, or a denial there. In
    /// shadow mode what proceeded counts.
    pub fn effects(&self, attested: &Attested, door: Door, decision: &Decision) -> Effects {
        let mut effects = Effects::new();
        if door == Door::Govern {
            let adds = |(name, counted): (&String, &Counted)| {
                let add = added(counted, attested, decision.effect)?;
                Some((name.clone(), add))
            };
            effects.extend(self.0.iter().filter_map(adds));
        }
        if attested.session().is_some() {
            effects.push((SESSION_CALLS.to_owned(), Some(Decimal::from(1))));
        }
        effects.sort_by(|(a, _), (b, _)| a.cmp(b));
        effects
    }
}

/// What a call adds to a window; `None`: it does not feed it.
fn added(counted: &Counted, attested: &Attested, effect: Effect) -> Option<Option<Decimal>> {
    let tool = attested.call().tool();
    match (counted, effect) {
        (Counted::Sum(pattern, path), Effect::Permit) if pattern::matches(pattern, tool) => {
            Some(summand(attested.call().arguments(), path))
        }
        (Counted::Count(pattern), Effect::Permit) if pattern::matches(pattern, tool) => {
            Some(Some(Decimal::from(1)))
        }
        (Counted::Denials, Effect::Deny) => Some(Some(Decimal::from(1))),
        _ => None,
    }
}

/// The number there, where it is one that can be summed. One below zero is none: it would make room in a sum that a rule
/// bounds from above.
fn summand(arguments: &Object, path: &[String]) -> Option<Decimal> {
    let (last, above) = path.split_last()?;
    let object = above
        .iter()
        .try_fold(arguments, |object, name| match object.get(name)? {
            Value::Object(inner) => Some(inner),
            _ => None,
        })?;
    let Value::Number(number) = object.get(last)? else {
        return None;
    };
    let text = number.to_string();
    let summed = text.len() <= SUMMAND_BYTES_MAX && !text.contains('e') && !number.is_negative();
    summed.then(|| number.clone())
}
