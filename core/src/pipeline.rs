//! One page: how a call becomes a decision.
//!
//! Pure and total: no clock of its own, no error, no panic, and the same arguments always make the same decision. The
//! order of the stages is part of a policy's meaning (`docs/semantics.md`): the first refusal ends it.

use crate::decision::{Code, Decision, Effect, Input, Resolution};
use crate::identity::{Attested, Caller};
use crate::policy::artifact::{Field, Mode, Rule, RuleEffect};
use crate::policy::conditions::{self, Operand, Seen, Truth};
use crate::policy::{Policy, Rules, Supposed};
use crate::record::{Door, Time};
use crate::state::State;
use std::fmt::Write as _;

/// Fields that a message names, so that it stays readable; `missing` has them all.
const NAMED_FIELDS_MAX: usize = 5;

/// A call as it is put to a policy.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// The call and its caller.
    pub attested: &'q Attested,
    /// The way in.
    pub door: Door,
    /// When.
    pub now: Time,
    /// Facts in place of the live ones; nothing in the daemon.
    pub supposed: &'q Supposed,
}

/// Decides a call. `state` is that of the call's sequence number.
pub fn decide(question: &Question<'_>, policy: &Policy, state: &State) -> Decision {
    let attested = question.attested;
    if let Some(refusal) = check_session(attested, state) {
        return refusal;
    }
    let Some(rules) = policy.rules(attested.agent()) else {
        return unknown_agent(attested);
    };
    let verdict = judge(question, rules);
    let decision = write_up(&verdict, question, rules);
    match policy.artifact().runtime.mode {
        Mode::Enforce => decision,
        Mode::Shadow if verdict.hard => decision,
        Mode::Shadow => shadowed(decision),
    }
}

/// The kernel's facts and the journal must agree: the session is alive, and is the agent that the caller is.
fn check_session(attested: &Attested, state: &State) -> Option<Decision> {
    let Caller::Session { session, agent, .. } = attested.caller() else {
        return None;
    };
    match state.session(session) {
        Some(known) if known.agent == **agent => None,
        Some(_) => Some(Decision::refused(
            Code::IdentityUnverified,
            "the session belongs to another agent",
        )),
        None => Some(Decision::refused(
            Code::IdentityUnverified,
            "the session is not alive",
        )),
    }
}

fn unknown_agent(attested: &Attested) -> Decision {
    let message = match attested.agent() {
        "" => "the call names no agent".to_owned(),
        agent => format!("the policy has no agent `{agent}`"),
    };
    Decision::refused(Code::IdentityUnverified, message)
}

/// What the rules say.
struct Verdict<'p> {
    effect: Effect,
    /// The deciding rule and its place; `None`: the default.
    rule: Option<(u32, &'p Rule)>,
    /// The deciding rule only may apply.
    indeterminate: bool,
    /// Some `deny!` applies or may: never shadowed.
    hard: bool,
    /// Every rule that applies or may, down to the first that applies.
    possible: Vec<&'p Rule>,
    seen: Seen,
}

/// First match, three-valued: the first rule that surely applies is the base, and a rule before it that only may apply
/// takes its place where it is stricter. So a fact that is absent never helps a caller.
fn judge<'p>(question: &Question<'p>, rules: Rules<'p>) -> Verdict<'p> {
    let mut best: Option<(u32, &Rule)> = None;
    let mut base = None;
    let mut seen = Seen::default();
    let mut possible = Vec::new();
    for (number, rule) in rules.candidates(question.attested.call().tool()) {
        let truth = conditions::eval(&rule.condition, rules, question, &mut seen);
        if truth == Truth::No {
            continue;
        }
        possible.push(rule);
        if truth == Truth::Yes {
            base = Some((number, rule));
            break;
        }
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
        hard: possible
            .iter()
            .any(|rule| rule.effect == RuleEffect::DenyHard),
        possible,
        seen,
    }
}

/// Everything that the record keeps of a verdict.
fn write_up<'p>(verdict: &Verdict<'_>, question: &Question<'p>, rules: Rules<'p>) -> Decision {
    let missing = names(&verdict.seen.missing, rules);
    Decision {
        effect: verdict.effect,
        would: None,
        code: match verdict.effect {
            _ if verdict.indeterminate => Some(Code::Indeterminate),
            Effect::Permit => None,
            Effect::Defer => Some(Code::PolicyDefer),
            Effect::Deny => Some(Code::PolicyDeny),
        },
        rule: verdict.rule.map(|(number, _)| number),
        message: message(verdict, &missing, question.attested),
        resolution: match verdict.effect {
            Effect::Permit => Resolution::None,
            Effect::Defer => Resolution::ManualAudit,
            Effect::Deny => Resolution::RuleBlock,
        },
        missing,
        notify: notify(verdict),
        inputs: inputs(&verdict.seen.read, question, rules),
    }
}

/// The rule's own reason, or our words. It shows the agent nothing of the rule but that, and names of its own arguments.
fn message(verdict: &Verdict<'_>, missing: &[String], attested: &Attested) -> String {
    let reason = verdict.rule.and_then(|(_, rule)| rule.reason.as_deref());
    if verdict.indeterminate {
        let mut text = String::from("cannot tell whether a rule applies: ");
        for (index, field) in missing.iter().take(NAMED_FIELDS_MAX).enumerate() {
            let _ = write!(text, "{}`{field}`", if index > 0 { ", " } else { "" });
        }
        text.push_str(" absent or of another type");
        if let Some(reason) = reason {
            let _ = write!(text, " ({reason})");
        }
        return text;
    }
    if let Some(reason) = reason {
        return reason.to_owned();
    }
    let tool = attested.call().tool();
    match (verdict.rule, verdict.effect) {
        (Some(_), Effect::Permit) => format!("a rule permits `{tool}`"),
        (Some(_), Effect::Defer) => format!("a rule defers `{tool}` to a person"),
        (Some(_), Effect::Deny) => format!("a rule denies `{tool}`"),
        (None, Effect::Permit) => format!("no rule decides `{tool}`, and the default is permit"),
        (None, Effect::Defer) => format!("no rule decides `{tool}`, and the default is defer"),
        (None, Effect::Deny) => format!("no rule decides `{tool}`, and the default is deny"),
    }
}

/// Obligations combine over every rule of the winning effect that was possible.
fn notify(verdict: &Verdict<'_>) -> Vec<String> {
    let winning = verdict
        .possible
        .iter()
        .filter(|rule| rule.effect.effect() == verdict.effect);
    let mut teams: Vec<&String> = winning.flat_map(|rule| &rule.notify).collect();
    teams.sort_unstable();
    teams.dedup();
    teams.into_iter().cloned().collect()
}

/// Names of fields, sorted, each once.
fn names(fields: &[u32], rules: Rules<'_>) -> Vec<String> {
    by_name(fields, rules)
        .into_iter()
        .map(|field| rules.field_name(field).to_owned())
        .collect()
}

/// Fields with their values, sorted by name, each once.
fn inputs<'p>(read: &[u32], question: &Question<'p>, rules: Rules<'p>) -> Vec<Input> {
    let input = |field: u32| Input {
        field: rules.field_name(field).to_owned(),
        source: source(field, question.attested, rules),
        value: rules.value(field, question).map(Operand::canonical),
    };
    by_name(read, rules).into_iter().map(input).collect()
}

fn by_name(fields: &[u32], rules: Rules<'_>) -> Vec<u32> {
    let mut fields = fields.to_vec();
    fields.sort_unstable_by_key(|field| rules.field_rank(*field));
    fields.dedup();
    fields
}

/// Who vouches for a field's value. Outside a session the caller names its agent itself.
fn source(field: u32, attested: &Attested, rules: Rules<'_>) -> &'static str {
    match rules.policy.fields.get(field as usize) {
        Some(Field::Agent) if attested.is_attested() => "daemon",
        _ => "claimed",
    }
}

/// The call proceeds, and the record says what enforcing would have answered.
fn shadowed(decision: Decision) -> Decision {
    if decision.effect == Effect::Permit {
        return decision;
    }
    Decision {
        effect: Effect::Permit,
        would: Some(decision.effect),
        resolution: Resolution::None,
        message: format!(
            "shadow mode: would {}: {}",
            decision.effect.as_str(),
            decision.message
        ),
        ..decision
    }
}
