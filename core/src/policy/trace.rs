//! Why a call was decided as it was, rule by rule: slow, complete, and with the evaluator's own functions.

use crate::pipeline::Question;
use crate::policy::artifact::{Ask, Field, Op, Rule, RuleEffect, Step, Test};
use crate::policy::conditions::{Asking, Found, Truth};
use crate::policy::facts::Facts;
use crate::policy::scratch::Scratch;
use crate::policy::{Policy, pattern};
use crate::state::State;

/// A rule, as a call met it.
#[derive(Debug, Clone)]
pub struct TracedRule<'p> {
    /// Its place in the file, from 0.
    pub number: u32,
    /// The rule.
    pub rule: &'p Rule,
    /// Its pattern speaks of the tool; only then it has a truth and tests.
    pub speaks: bool,
    /// A rule before it, in the order of evaluation, applies: nobody asked this one.
    pub passed_over: bool,
    /// What its condition comes to.
    pub truth: Option<Truth>,
    /// Its tests, in the order of its condition, each once.
    pub tests: Vec<TracedTest<'p>>,
}

/// A test, as a call met it.
#[derive(Debug, Clone)]
pub struct TracedTest<'p> {
    /// What it asks; of a relation to another field the relation.
    pub ask: &'p Ask,
    /// What it comes to.
    pub truth: Truth,
    /// What it reads: its field, then the other one; of a calculation, its parts.
    pub facts: Vec<TracedFact>,
}

/// A field, as a call has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedFact {
    /// `args.amount`.
    pub field: String,
    /// Who vouches for it: `claimed`, `daemon`, `kernel`, `broker`.
    pub source: &'static str,
    /// Canonical JSON text; `None`: absent.
    pub value: Option<String>,
    /// A closed schema says that there is no such argument.
    pub undeclared: bool,
}

/// Every rule of the agent in the order of evaluation; `None`: the policy has no such agent.
pub fn trace<'p>(
    question: &Question<'p>,
    policy: &'p Policy,
    state: &'p State,
) -> Option<Vec<TracedRule<'p>>> {
    let rules = policy.rules(question.attested.agent())?;
    let facts = Facts {
        rules,
        question: *question,
        state,
    };
    let mut scratch = Scratch::default();
    // The decision itself comes first: its tests keep the truth, and its searches the budget, that they had there.
    let _ = policy.judge(question, state, &mut scratch)?;
    let mut asking = Asking {
        facts,
        seen: &mut scratch,
    };
    let numbered = || (0..).zip(&rules.policy.rules);
    let hard = numbered().filter(|(_, rule)| rule.effect == RuleEffect::DenyHard);
    let others = numbered().filter(|(_, rule)| rule.effect != RuleEffect::DenyHard);
    let mut decided = false;
    let traced = hard.chain(others).map(|(number, rule)| {
        let traced = asking.trace(number, rule, decided);
        decided |= traced.truth == Some(Truth::Yes);
        traced
    });
    Some(traced.collect())
}

impl<'q> Asking<'_, 'q> {
    fn trace(&mut self, number: u32, rule: &'q Rule, passed_over: bool) -> TracedRule<'q> {
        let call = self.facts.question.attested.call();
        let speaks = pattern::matches(&rule.pattern, call.tool());
        let skips = self.facts.rules.skips(number, &rule.condition);
        TracedRule {
            number,
            rule,
            speaks,
            passed_over,
            truth: speaks.then(|| self.condition(&rule.condition, skips)),
            tests: if speaks {
                self.trace_tests(&rule.condition)
            } else {
                Vec::new()
            },
        }
    }

    fn trace_tests(&mut self, condition: &[Op]) -> Vec<TracedTest<'q>> {
        let mut seen = Vec::new();
        let mut traced = Vec::new();
        for op in condition {
            let Op::Test(number) = op else { continue };
            let test = self.facts.rules.policy.tests.get(*number as usize);
            let Some(Test { field, ask }) = test.filter(|_| !seen.contains(number)) else {
                continue;
            };
            seen.push(*number);
            let other = match ask {
                Ask::CompareField(_, other) => Some(*other),
                _ => None,
            };
            traced.push(TracedTest {
                ask,
                truth: self.test(*number),
                facts: [Some(*field), other]
                    .into_iter()
                    .flatten()
                    .flat_map(|field| self.trace_field(field))
                    .collect(),
            });
        }
        traced
    }

    fn trace_field(&mut self, number: u32) -> Vec<TracedFact> {
        let rules = self.facts.rules;
        let Some(field) = rules.policy.fields.get(number as usize) else {
            return Vec::new();
        };
        if let Field::Calculated(steps) = field {
            let parts = steps.iter().filter_map(|step| match step {
                Step::Field(part) if *part != number => Some(*part),
                _ => None,
            });
            let is_plain = |part: &u32| {
                let field = rules.policy.fields.get(*part as usize);
                !matches!(field, Some(Field::Calculated(_)))
            };
            return parts
                .filter(is_plain)
                .flat_map(|part| self.trace_field(part))
                .collect();
        }
        let found = self.find(number);
        vec![TracedFact {
            field: rules.field_name(number).to_owned(),
            source: self.facts.source(field).as_str(),
            undeclared: matches!(found, Found::Undeclared),
            value: match found {
                Found::Present(operand) => Some(operand.canonical()),
                Found::Absent | Found::Undeclared | Found::Beyond => None,
            },
        }]
    }
}
