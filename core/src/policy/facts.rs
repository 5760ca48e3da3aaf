//! The values of fields, for one question.
//!
//! Invariant: what a decision reads, it reads here. A fact that is supposed wins over the live one, and what no door
//! supplies is absent.

use crate::json::{Object, Value};
use crate::pipeline::Question;
use crate::policy::Rules;
use crate::policy::artifact::Field;
use crate::policy::conditions::Operand;
use std::collections::BTreeMap;

/// Facts that are put in place of the live ones: by examples, fixtures, `explain` and `plan`. The daemon supposes
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Supposed(BTreeMap<Field, Value>);

impl Supposed {
    /// Nothing is supposed.
    pub const fn nothing() -> Supposed {
        Supposed(BTreeMap::new())
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

impl FromIterator<(Field, Value)> for Supposed {
    fn from_iter<I: IntoIterator<Item = (Field, Value)>>(facts: I) -> Supposed {
        Supposed(facts.into_iter().collect())
    }
}

impl<'q> Rules<'q> {
    /// The value of a field for a call; `None` where it is absent or `null`.
    pub(crate) fn value(self, field: u32, question: &Question<'q>) -> Option<Operand<'q>> {
        let field = self.policy.fields.get(field as usize)?;
        if let Some(supposed) = question.supposed.get(field) {
            return Operand::of(supposed);
        }
        let attested = question.attested;
        match field {
            Field::Args(path) => argument(attested.call().arguments(), path),
            Field::Tool => Some(Operand::String(attested.call().tool())),
            Field::Agent => Some(Operand::String(attested.agent())),
            _ => None,
        }
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
