//! One page: how a call becomes a decision.
//!
//! Pure and total: no clock of its own, no error, no panic, and the same arguments always make the same decision. The
//! order of the stages is part of a policy's meaning (`docs/semantics.md`): the first refusal ends it.

use crate::decision::{Code, Decision, Effect, Input, RETRY_AFTER_SECONDS, Resolution};
use crate::identity::{Attested, Caller};
use crate::json::{self, Value};
use crate::policy::artifact::{Field, Mode, OnLag, Source};
use crate::policy::{Policy, Read, Rules, Scratch, Supposed, Verdict, paths, redact, schema};
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
    decide_in(&mut Scratch::default(), question, policy, state)
}

/// The same in memory that is used again: for who decides many calls.
pub fn decide_in(
    scratch: &mut Scratch,
    question: &Question<'_>,
    policy: &Policy,
    state: &State,
) -> Decision {
    let decision = stages(scratch, question, policy, state);
    redact::arguments(decision, question, policy)
}

/// The stages in their order; the first refusal ends it.
fn stages(
    scratch: &mut Scratch,
    question: &Question<'_>,
    policy: &Policy,
    state: &State,
) -> Decision {
    let attested = question.attested;
    let rules = policy.rules(attested.agent());
    if let Some(refusal) = rules.and_then(|rules| check_call(attested, rules)) {
        return refusal;
    }
    if let Some(refusal) = check_session(attested, state) {
        return refusal;
    }
    let Some(rules) = rules else {
        return unknown_agent(attested);
    };
    if let Some(refusal) = check_layers(question, rules, state) {
        return refusal;
    }
    let late = late(question, policy, state);
    if let Some((OnLag::Deny, message)) = late {
        return Decision::refused(Code::JournalUnavailable, message);
    }
    let Some(verdict) = policy.judge(question, state, scratch) else {
        return unknown_agent(attested);
    };
    let decision = write_up(&verdict, attested);
    let decision = check_paths(decision, attested, rules, state);
    let decision = match late {
        Some((OnLag::Defer, message)) => deferred(decision, message),
        _ => decision,
    };
    let decision = redact::inputs(decision, &verdict);
    match policy.artifact().runtime.mode {
        Mode::Enforce => decision,
        Mode::Shadow if verdict.hard => decision,
        Mode::Shadow => shadowed(decision),
    }
}

/// The call is what the policy's schemas say that calls of its tool are.
fn check_call(attested: &Attested, rules: Rules<'_>) -> Option<Decision> {
    let call = attested.call();
    let broken = schema::broken(&rules.policy.schemas, call.tool(), call.arguments())?;
    Some(Decision::refused(
        Code::CallInvalid,
        format!("arguments: {broken}"),
    ))
}

/// Each layer that the policy requires was measured as holding in the caller's session. Outside any session none was.
fn check_layers(question: &Question<'_>, rules: Rules<'_>, state: &State) -> Option<Decision> {
    let session = question
        .attested
        .session()
        .and_then(|session| state.session(session));
    let holds = |layer: &String| {
        let supposed = question.supposed.get(&Field::Enforcement(layer.clone()));
        match supposed {
            Some(value) => *value == Value::Bool(true),
            None => session.and_then(|session| session.holds(layer)) == Some(true),
        }
    };
    let missing = rules.policy.demands.iter().filter(|layer| !holds(layer));
    // Operators read in `missing` which they are; an agent is not told where its sandbox is thin.
    let missing: Vec<String> = missing
        .map(|layer| Field::Enforcement(layer.clone()).to_string())
        .collect();
    if missing.is_empty() {
        return None;
    }
    let message = if session.is_none() && !question.attested.is_attested() {
        "the policy requires layers of the sandbox, and outside any session none is enforced"
    } else {
        "the policy requires a layer of the sandbox that is not enforced in this session"
    };
    Some(Decision {
        missing,
        ..Decision::refused(Code::EnforcementMissing, message)
    })
}

/// What the policy answers where the journal has run too far ahead of its witnesses, and in which words.
fn late(question: &Question<'_>, policy: &Policy, state: &State) -> Option<(OnLag, String)> {
    let anchor = policy.artifact().runtime.anchor.as_ref()?;
    let lag_ms = state.unattested_ms(question.now)?;
    let is_late = lag_ms > anchor.max_lag_ms && anchor.on_lag != OnLag::Warn;
    is_late.then(|| (anchor.on_lag, unattested(lag_ms, anchor.max_lag_ms)))
}

/// That no witness has seen something for too long, for people.
pub fn unattested(lag_ms: u64, max_lag_ms: u64) -> String {
    let minutes = |ms: u64| match ms / 1_000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    };
    format!(
        "no witness has attested the journal for {}, and the policy allows {}: an operator has to look at \
         `faramesh anchor` and the witnesses it asks",
        minutes(lag_ms),
        minutes(max_lag_ms)
    )
}

/// A permit waits; what is refused or deferred stays so.
fn deferred(decision: Decision, message: String) -> Decision {
    if decision.effect != Effect::Permit {
        return decision;
    }
    Decision {
        effect: Effect::Defer,
        code: Some(Code::JournalUnavailable),
        rule: None,
        message,
        resolution: Resolution::RetryAfterSeconds(RETRY_AFTER_SECONDS),
        notify: Vec::new(),
        ..decision
    }
}

/// What the rules let pass, or left to a person, may still name a path that no call may touch.
fn check_paths(
    decision: Decision,
    attested: &Attested,
    rules: Rules<'_>,
    state: &State,
) -> Decision {
    let Some(path_rules) = rules.policy.paths.as_ref() else {
        return decision;
    };
    if decision.effect == Effect::Deny {
        return decision;
    }
    let call = attested.call();
    let session = attested.session().and_then(|id| state.session(id));
    let workspace = session.map(|session| session.workspace.as_str());
    let (inputs, refused) = match paths::named(&rules.policy.schemas, call.tool(), call.arguments())
    {
        Ok(named) => (
            named.iter().map(named_input).collect(),
            paths::refused(path_rules, &named, workspace),
        ),
        Err(refused) => (Vec::new(), Some(refused)),
    };
    let decision = with_inputs(decision, inputs);
    match refused {
        Some(refused) if !refused.defer => refused_path(decision, Effect::Deny, refused.message),
        Some(refused) if decision.effect == Effect::Permit => {
            refused_path(decision, Effect::Defer, refused.message)
        }
        _ => decision,
    }
}

fn named_input(named: &paths::Named<'_>) -> Input {
    let mut text = String::new();
    json::write_string(named.text, &mut text);
    Input {
        field: Field::Args(named.argument.clone()).to_string(),
        source: Source::Claimed.as_str(),
        value: Some(text),
        results: Vec::new(),
    }
}

/// A path that a rule read already is there already; several under one argument each count.
fn with_inputs(mut decision: Decision, more: Vec<Input>) -> Decision {
    decision.inputs.extend(more);
    decision
        .inputs
        .sort_by(|a, b| (&a.field, &a.value).cmp(&(&b.field, &b.value)));
    decision
        .inputs
        .dedup_by(|a, b| a.field == b.field && a.value == b.value);
    decision
}

/// The verdict of `paths` in the place of the rules'.
fn refused_path(decision: Decision, effect: Effect, message: String) -> Decision {
    Decision {
        effect,
        code: Some(Code::PathDenied),
        rule: None,
        message,
        resolution: match effect {
            Effect::Deny => Resolution::RuleBlock,
            _ => Resolution::ManualAudit,
        },
        notify: Vec::new(),
        ..decision
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

/// Everything that the record keeps of a verdict.
fn write_up(verdict: &Verdict<'_, '_>, attested: &Attested) -> Decision {
    let missing = verdict.missing();
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
        message: message(verdict, &missing, attested),
        resolution: match verdict.effect {
            Effect::Permit => Resolution::None,
            Effect::Defer => Resolution::ManualAudit,
            Effect::Deny => Resolution::RuleBlock,
        },
        missing,
        notify: notify(verdict),
        inputs: inputs(verdict),
        redacted: None,
    }
}

/// The rule's own reason, or our words. It shows the agent nothing of the rule but that, and names of its own arguments.
fn message(verdict: &Verdict<'_, '_>, missing: &[String], attested: &Attested) -> String {
    let reason = verdict.rule.and_then(|(_, rule)| rule.reason.as_deref());
    if verdict.indeterminate {
        let fields = named_fields(missing);
        let mut text =
            format!("cannot tell whether a rule applies: {fields} absent or of another type");
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

/// How a message names the fields that are missing.
fn named_fields(missing: &[String]) -> String {
    if missing.is_empty() {
        return "a fact that is no argument of the call is".to_owned();
    }
    let named = missing.iter().take(NAMED_FIELDS_MAX);
    let named: Vec<String> = named.map(|field| format!("`{field}`")).collect();
    named.join(", ")
}

/// What an agent is told of a decision: the message and the missing fields, of which it sees those that are arguments of
/// its own call. What else a policy looks at is shown to operators.
pub fn shown_to_agent(message: &str, missing: &[String]) -> (String, Vec<String>) {
    let is_own = |field: &&String| field.starts_with("args.");
    let own: Vec<String> = missing.iter().filter(is_own).cloned().collect();
    if own.len() == missing.len() {
        return (message.to_owned(), own);
    }
    let message = message.replacen(&named_fields(missing), &named_fields(&own), 1);
    (message, own)
}

/// Obligations combine over every rule of the winning effect that was possible.
fn notify(verdict: &Verdict<'_, '_>) -> Vec<String> {
    let winning = verdict
        .possible()
        .filter(|rule| rule.effect.effect() == verdict.effect);
    let mut teams: Vec<&String> = winning.flat_map(|rule| &rule.notify).collect();
    teams.sort_unstable();
    teams.dedup();
    teams.into_iter().cloned().collect()
}

/// Fields with their values, sorted by name, each once.
fn inputs(verdict: &Verdict<'_, '_>) -> Vec<Input> {
    let facts = verdict.facts();
    let input = |read: Read<'_>| Input {
        field: read.name.to_owned(),
        source: facts.source(read.field).as_str(),
        value: facts.value(read.field).map(|value| value.canonical()),
        results: Vec::new(),
    };
    verdict.read().map(input).collect()
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
