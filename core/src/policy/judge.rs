//! What the rules say of a call.
//!
//! First match, three-valued: the first rule that surely applies is the base, and a rule before it that only may apply
//! takes its place where it is stricter. So a fact that is absent never helps a caller.
//!
//! Invariant: the common path allocates nothing once the scratch has grown; names and texts are made by who writes the
//! decision down.

use crate::decision::{Effect, TestResult};
use crate::pipeline::Question;
use crate::policy::artifact::{AgentPolicy, Field, Rule, RuleEffect, Test};
use crate::policy::conditions::{Asking, Truth};
use crate::policy::facts::Facts;
use crate::policy::scratch::Scratch;
use crate::policy::{Policy, Rules};
use crate::state::State;

/// What the rules say, before any of it is written down.
#[must_use]
#[derive(Debug)]
pub struct Verdict<'s, 'q> {
    /// The strictest that holds.
    pub effect: Effect,
    /// The deciding rule and its place; `None`: the default.
    pub rule: Option<(u32, &'q Rule)>,
    /// The deciding rule only may apply.
    pub indeterminate: bool,
    /// Some `deny!` applies or may: never shadowed.
    pub hard: bool,
    facts: Facts<'q>,
    seen: &'s Scratch,
}

/// A field that was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read<'q> {
    /// Its place among the agent's fields.
    pub(crate) number: u32,
    /// As a person writes it.
    pub(crate) name: &'q str,
    pub(crate) field: &'q Field,
}

impl Policy {
    /// Puts a question to the rules of its agent; `None`: there is no such agent.
    pub fn judge<'s, 'q>(
        &'q self,
        question: &Question<'q>,
        state: &'q State,
        scratch: &'s mut Scratch,
    ) -> Option<Verdict<'s, 'q>> {
        let rules = self.rules(question.attested.agent())?;
        let facts = Facts {
            rules,
            question: *question,
            state,
        };
        Some(judge(facts, scratch))
    }
}

/// Puts the question to the rules that speak of the tool, in order.
fn judge<'s, 'q>(facts: Facts<'q>, scratch: &'s mut Scratch) -> Verdict<'s, 'q> {
    let rules = facts.rules;
    let tool = facts.question.attested.call().tool();
    let mut asking = Asking::begin(facts, scratch);
    let (mut best, mut base, mut hard) = (None::<(u32, &Rule)>, None, false);
    let index = rules.index();
    index.draw(&mut asking, tool);
    while let Some((number, rule)) = index.next(asking.seen, tool, &rules.policy.rules) {
        let truth = asking.condition(&rule.condition, rules.skips(number, &rule.condition));
        if truth == Truth::No {
            continue;
        }
        asking.seen.possible.push(number);
        hard |= rule.effect == RuleEffect::DenyHard;
        if truth == Truth::Yes {
            base = Some((number, rule));
            break;
        }
        asking.note_missing(&rule.condition);
        if best.is_none_or(|(_, best)| rule.effect.effect() > best.effect.effect()) {
            best = Some((number, rule));
        }
    }
    let base_effect = base.map_or(rules.policy.default, |(_, rule)| rule.effect.effect());
    let stricter = best.filter(|(_, rule)| rule.effect.effect() > base_effect);
    Verdict {
        effect: stricter.map_or(base_effect, |(_, rule)| rule.effect.effect()),
        rule: stricter.or(base),
        indeterminate: stricter.is_some(),
        hard,
        facts,
        seen: scratch,
    }
}

impl<'s, 'q> Asking<'s, 'q> {
    /// The scratch is made ready for this question.
    pub(crate) fn begin(facts: Facts<'q>, seen: &'s mut Scratch) -> Asking<'s, 'q> {
        let policy = facts.rules.policy;
        seen.begin(policy.tests.len(), policy.fields.len());
        let tool = facts.question.attested.call().tool();
        facts.rules.closed_schemas(tool, &mut seen.closed);
        Asking { facts, seen }
    }
}

impl<'q> Verdict<'_, 'q> {
    /// Every rule that applies or may, down to the first that applies.
    pub(crate) fn possible(&self) -> impl Iterator<Item = &'q Rule> {
        let rules = &self.facts.rules.policy.rules;
        let places = self.seen.possible.iter();
        places.filter_map(|place| rules.get(*place as usize))
    }

    /// The part of the policy that judged.
    pub(crate) fn agent(&self) -> &'q AgentPolicy {
        self.facts.rules.policy
    }

    /// The tool that was asked for.
    pub(crate) fn tool(&self) -> &'q str {
        self.facts.question.attested.call().tool()
    }

    /// Every test that was put, with its number, and what it came out as.
    pub(crate) fn results(&self) -> impl Iterator<Item = (u32, &'q Test, TestResult)> {
        let tests = (0..).zip(&self.facts.rules.policy.tests);
        tests.filter_map(|(number, test)| {
            let result = match self.seen.truth(number)? {
                Truth::No => TestResult::No,
                Truth::Maybe => TestResult::Maybe,
                Truth::Yes => TestResult::Yes,
            };
            Some((number, test, result))
        })
    }

    /// Names of the fields because of which some rule only may apply, sorted, each once.
    pub(crate) fn missing(&self) -> Vec<String> {
        let rules = self.facts.rules;
        let names = rules.by_name(&self.seen.missing).into_iter();
        names
            .map(|field| rules.field_name(field).to_owned())
            .collect()
    }

    /// What this rests on.
    pub(crate) const fn facts(&self) -> &Facts<'q> {
        &self.facts
    }

    /// Every field that was read, by its name, sorted, each once.
    pub(crate) fn read(&self) -> impl Iterator<Item = Read<'q>> {
        let rules = self.facts.rules;
        rules
            .by_name(&self.seen.read)
            .into_iter()
            .filter_map(move |number| {
                Some(Read {
                    number,
                    name: rules.field_name(number),
                    field: rules.policy.fields.get(number as usize)?,
                })
            })
    }
}

impl Rules<'_> {
    /// The same fields in the order of their names.
    fn by_name(self, fields: &[u32]) -> Vec<u32> {
        let mut fields = fields.to_vec();
        fields.sort_unstable_by_key(|field| self.field_rank(*field));
        fields
    }
}
