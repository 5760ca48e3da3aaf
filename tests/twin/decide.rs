//! The page's loop, word for word, and the stages around it.

use crate::conditions::{self, Missing};
use crate::facts::{Question, Words};
use crate::logic::Truth;
use crate::paths;
use crate::schemas;
use crate::tree::{Agent, Policy, Rule, Verb};
use faramesh_core::decision::{Code, Effect};
use std::collections::BTreeSet;

/// What is compared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) effect: Effect,
    /// In shadow, what enforcing would have answered.
    pub(crate) would: Option<Effect>,
    pub(crate) code: Option<Code>,
    /// The deciding rule's place in the file.
    pub(crate) rule: Option<usize>,
    pub(crate) missing: BTreeSet<String>,
    pub(crate) notify: BTreeSet<String>,
}

impl Answer {
    fn refused(code: Code) -> Answer {
        Answer {
            effect: Effect::Deny,
            would: None,
            code: Some(code),
            rule: None,
            missing: BTreeSet::new(),
            notify: BTreeSet::new(),
        }
    }

    /// What the policy itself says, whether or not it is shadowed.
    pub(crate) fn verdict(&self) -> Effect {
        self.would.unwrap_or(self.effect)
    }
}

/// Decides a call: what comes before the rules, the rules, what comes after; the first refusal ends it.
pub(crate) fn decide(policy: &Policy, question: &Question<'_>) -> Answer {
    let by_name = |name: &str| policy.agents.iter().find(|agent| agent.name == name);
    let Some(agent) = by_name(question.agent).or_else(|| by_name("")) else {
        return Answer::refused(Code::IdentityUnverified);
    };
    if !schemas::fits(agent, question.tool, question.args) {
        return Answer::refused(Code::CallInvalid);
    }
    let lacking = agent
        .demands
        .iter()
        .filter(|layer| question.holds(layer) != Some(true));
    let missing: BTreeSet<String> = lacking
        .map(|layer| format!("enforcement.{layer}"))
        .collect();
    if !missing.is_empty() {
        return Answer {
            missing,
            ..Answer::refused(Code::EnforcementMissing)
        };
    }
    let words = Words {
        agent,
        zone: &policy.zone,
    };
    let (mut answer, hard) = rules(agent, words, question);
    paths::judge(agent, question, &mut answer);
    if policy.shadow && !hard && answer.effect != Effect::Permit {
        answer.would = Some(answer.effect);
        answer.effect = Effect::Permit;
    }
    answer
}

/// The rules alone, and whether some `deny!` applies or may.
fn rules(agent: &Agent, words: Words<'_>, question: &Question<'_>) -> (Answer, bool) {
    judge(agent.default, in_order(agent, question.tool), |rule| {
        let mut seen = Missing::new();
        let truth = conditions::clauses(&rule.clauses, words, question, &mut seen);
        (truth, seen)
    })
}

/// The loop over rules whose pattern speaks of the tool, each with its place; `say` is what a rule's clauses say, and
/// the fields that made a test in them maybe.
pub(crate) fn judge<'a>(
    default: Effect,
    rules: impl Iterator<Item = (usize, &'a Rule)>,
    mut say: impl FnMut(&Rule) -> (Truth, Missing),
) -> (Answer, bool) {
    let mut best: Option<(usize, &Rule)> = None;
    let mut base: Option<(usize, &Rule)> = None;
    let mut possible: Vec<&Rule> = Vec::new();
    let mut missing = Missing::new();
    for (number, rule) in rules {
        match say(rule) {
            (Truth::No, _) => {}
            (Truth::Maybe, seen) => {
                missing.extend(seen);
                possible.push(rule);
                if best.is_none_or(|(_, best)| rule.verb.effect() > best.verb.effect()) {
                    best = Some((number, rule));
                }
            }
            (Truth::Yes, _) => {
                possible.push(rule);
                base = Some((number, rule));
                break;
            }
        }
    }
    let base_effect = base.map_or(default, |(_, rule)| rule.verb.effect());
    let best = best.filter(|(_, rule)| rule.verb.effect() > base_effect);
    let effect = best.map_or(base_effect, |(_, rule)| rule.verb.effect());
    let winning = possible.iter().filter(|rule| rule.verb.effect() == effect);
    let answer = Answer {
        effect,
        would: None,
        code: match effect {
            _ if best.is_some() => Some(Code::Indeterminate),
            Effect::Permit => None,
            Effect::Defer => Some(Code::PolicyDefer),
            Effect::Deny => Some(Code::PolicyDeny),
        },
        rule: best.or(base).map(|(number, _)| number),
        missing,
        notify: winning
            .flat_map(|rule| rule.notify.iter().cloned())
            .collect(),
    };
    (
        answer,
        possible.iter().any(|rule| rule.verb == Verb::DenyHard),
    )
}

/// What plain first match says, every maybe read as no.
pub(crate) fn first_match(policy: &Policy, question: &Question<'_>) -> Effect {
    let agent = policy
        .agents
        .iter()
        .find(|agent| agent.name == question.agent || agent.name.is_empty())
        .unwrap();
    let words = Words {
        agent,
        zone: &policy.zone,
    };
    let mut unread = Missing::new();
    in_order(agent, question.tool)
        .find(|(_, rule)| {
            conditions::clauses(&rule.clauses, words, question, &mut unread) == Truth::Yes
        })
        .map_or(agent.default, |(_, rule)| rule.verb.effect())
}

/// The rules that speak of the tool with their places: `deny!` first, then the others, each in file order.
pub(crate) fn in_order<'a>(
    agent: &'a Agent,
    tool: &str,
) -> impl Iterator<Item = (usize, &'a Rule)> {
    let numbered = || agent.rules.iter().enumerate();
    let hard = numbered().filter(|(_, rule)| rule.verb == Verb::DenyHard);
    let others = numbered().filter(|(_, rule)| rule.verb != Verb::DenyHard);
    let tool = tool.to_owned();
    hard.chain(others)
        .filter(move |(_, rule)| crate::patterns::tool(&rule.tool, &tool))
}
