//! Recorded calls put to a policy again.
//!
//! The journal alone is the source: the arguments and the facts that were read lie beside each decision, and what the
//! decisions before it add up to is the fold over their records. Where something that the policy would have to look at is
//! hidden, erased or was never counted, the answer is that the call cannot be decided again, and which field it is.
//!
//! Invariant: nothing here is evidence of what was decided, `audit verify` is; and what is said to be the same was decided
//! by the core, from what the record commits to.
#![forbid(unsafe_code)]

use faramesh_core::call::accept;
use faramesh_core::decision::{Code, Decision, Effect, REDACTED};
use faramesh_core::frame::StoredRecord;
use faramesh_core::identity::{Attested, Caller, attest};
use faramesh_core::json::{self, Value};
use faramesh_core::pipeline::{Question, decide_in};
use faramesh_core::policy::artifact::{AgentPolicy, Field, Step};
use faramesh_core::policy::{Policy, Scratch, Supposed, pattern, redact, windows};
use faramesh_core::record::{self, BodyView, DecisionView, RecordView, Time};
use faramesh_core::state::{Beside, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A value that was too long to be kept begins so; the arguments have it whole.
const DIGEST_PREFIX: &str = "sha256:";

/// What is compared of two decisions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What was answered.
    pub effect: &'static str,
    /// In shadow mode, what enforcing would have answered.
    pub would: Option<&'static str>,
    /// Why, for programs.
    pub code: Option<&'static str>,
    /// The deciding rule's number, from 1.
    pub rule: Option<u64>,
    /// Fields whose tests came out *maybe*.
    pub missing: BTreeSet<String>,
}

/// What became of a recorded call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Again {
    /// The same, in every word that is kept.
    Same,
    /// The same verdict in other words: another version wrote the record.
    OtherWords(String),
    /// Another verdict.
    Changed(Box<Verdict>),
    /// It cannot be decided again, and why: `args.card redacted`.
    NotReplayable(String),
}

/// One recorded decision and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The record's number.
    pub seq: u64,
    /// When it was decided.
    pub time: Time,
    /// The agent that it was decided for.
    pub agent: String,
    /// The tool, as claimed.
    pub tool: String,
    /// As it was recorded; `None` where its detail is gone.
    pub recorded: Option<Verdict>,
    /// Now.
    pub again: Again,
}

/// Why the records cannot be gone through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// Which.
    pub seq: u64,
    /// Why.
    pub why: String,
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Unfit { seq, why } = self;
        write!(f, "record {seq} does not fit those before it: {why}")
    }
}

/// The detail as far as it is looked at.
#[derive(Debug, Deserialize)]
struct Detail {
    args: String,
    inputs: Vec<Input>,
    message: String,
    missing: BTreeSet<String>,
    notify: BTreeSet<String>,
    redacted: Vec<String>,
    rule: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Input {
    field: String,
    value: Option<String>,
}

/// Goes through a journal's records in order.
#[derive(Debug, Default)]
pub struct Replay {
    state: State,
    scratch: Scratch,
}

impl Replay {
    /// From a state on: that of a snapshot, or that before the first record.
    pub fn from(state: State) -> Replay {
        Replay {
            state,
            scratch: Scratch::default(),
        }
    }

    /// The number of the record that comes next.
    pub fn next_seq(&self) -> u64 {
        self.state.next_seq()
    }

    /// Takes in the next record. A decision is put to the policy that `policy` gives for it: `Ok(None)` passes it over,
    /// `Err` says why it cannot be decided again.
    ///
    /// # Errors
    /// The record cannot follow those before it.
    pub fn take(
        &mut self,
        stored: &StoredRecord<'_>,
        policy: impl FnOnce(&RecordView, &DecisionView) -> Result<Option<Arc<Policy>>, String>,
    ) -> Result<Option<Replayed>, Unfit> {
        let seq = self.state.next_seq();
        let unfit = |why: String| Unfit { seq, why };
        let view = record::decode(stored.record).map_err(|why| unfit(why.to_string()))?;
        let replayed = match &view.body {
            BodyView::Decision(decision) => self.again(&view, decision, stored, policy),
            _ => None,
        };
        let beside = Beside {
            detail: stored.detail,
            salt: stored.detail_salt,
        };
        self.state
            .apply_view(seq, view.header.time, &view.body, beside)
            .map_err(|why| unfit(why.to_string()))?;
        Ok(replayed)
    }

    fn again(
        &mut self,
        view: &RecordView,
        decision: &DecisionView,
        stored: &StoredRecord<'_>,
        policy: impl FnOnce(&RecordView, &DecisionView) -> Result<Option<Arc<Policy>>, String>,
    ) -> Option<Replayed> {
        let policy = match policy(view, decision) {
            Ok(None) => return None,
            Ok(Some(policy)) => Ok(policy),
            Err(why) => Err(why),
        };
        let detail = detail(decision, stored);
        let recorded = detail
            .as_ref()
            .ok()
            .map(|detail| Verdict::recorded(decision, detail));
        let again = match (policy, &detail) {
            (Err(why), _) => Again::NotReplayable(why),
            (Ok(_), Err(why)) => Again::NotReplayable(why.clone()),
            (Ok(policy), Ok(detail)) => self
                .decide(view.header.time, decision, detail, &policy)
                .unwrap_or_else(Again::NotReplayable),
        };
        Some(Replayed {
            seq: view.header.seq,
            time: view.header.time,
            agent: decision.agent.clone(),
            tool: decision.tool.clone(),
            recorded,
            again,
        })
    }

    /// `Err`: it cannot be decided again, and why.
    fn decide(
        &mut self,
        now: Time,
        recorded: &DecisionView,
        detail: &Detail,
        policy: &Policy,
    ) -> Result<Again, String> {
        let attested = self.caller(recorded, detail)?;
        let agent = policy.agent(&recorded.agent);
        let supposed = agent.map_or(Ok(Supposed::nothing()), |agent| supposed(agent, detail))?;
        let question = Question {
            attested: &attested,
            door: recorded.door,
            now,
            supposed: &supposed,
        };
        let decision = decide_in(&mut self.scratch, &question, policy, &self.state);
        let is_other = *policy.digest() != recorded.policy;
        if let Some(hidden) = hidden(detail, &decision, agent, &recorded.tool, is_other) {
            return Err(format!("args.{hidden} redacted"));
        }
        if let Some(field) = agent.and_then(|agent| uncounted(agent, &decision, &supposed)) {
            return Err(format!("{field} was not counted then"));
        }
        let (before, after) = (Verdict::recorded(recorded, detail), Verdict::of(&decision));
        Ok(if before != after {
            Again::Changed(Box::new(after))
        } else if is_other {
            // Another policy may say the same in other words: what it does is what was asked.
            Again::Same
        } else {
            wording(detail, &decision)
                .map_or(Again::Same, |word| Again::OtherWords(word.to_owned()))
        })
    }

    fn caller(&self, recorded: &DecisionView, detail: &Detail) -> Result<Attested, String> {
        let caller = match &recorded.session {
            Some(session) if recorded.attested => {
                if self.state.session(session).is_none()
                    && recorded.code != Some(Code::IdentityUnverified)
                {
                    return Err(format!(
                        "the start of session {session} is not in these records"
                    ));
                }
                Caller::Session {
                    session: session.as_str().into(),
                    agent: recorded.agent.as_str().into(),
                    uid: recorded.uid,
                }
            }
            _ => Caller::Unattested { uid: recorded.uid },
        };
        let call = accept(&recorded.tool, &recorded.agent, detail.args.as_bytes())
            .map_err(|why| format!("what is recorded is no call: {why}"))?;
        attest(call, caller).map_err(|why| why.to_string())
    }
}

impl Verdict {
    fn recorded(decision: &DecisionView, detail: &Detail) -> Verdict {
        Verdict {
            effect: decision.effect.as_str(),
            would: decision.would.map(Effect::as_str),
            code: decision.code.map(Code::as_str),
            rule: detail.rule,
            missing: detail.missing.clone(),
        }
    }

    fn of(decision: &Decision) -> Verdict {
        Verdict {
            effect: decision.effect.as_str(),
            would: decision.would.map(Effect::as_str),
            code: decision.code.map(Code::as_str),
            rule: decision.rule.map(|index| u64::from(index) + 1),
            missing: decision.missing.iter().cloned().collect(),
        }
    }
}

/// The detail, if it is the one that the record commits to.
fn detail(decision: &DecisionView, stored: &StoredRecord<'_>) -> Result<Detail, String> {
    if stored.detail.is_empty() {
        return Err("its detail was erased".to_owned());
    }
    if record::commitment(stored.detail_salt, stored.detail) != decision.detail {
        return Err("its detail is not the one that was recorded".to_owned());
    }
    serde_json::from_slice(stored.detail).map_err(|why| format!("its detail cannot be read: {why}"))
}

/// What was read then and is no part of the call itself is supposed. Times follow from when it was.
fn supposed(agent: &AgentPolicy, detail: &Detail) -> Result<Supposed, String> {
    let mut supposed = Supposed::nothing();
    let is_fact = |field: &&Field| {
        matches!(
            field,
            Field::Session(_)
                | Field::Sum { .. }
                | Field::Count { .. }
                | Field::Denials { .. }
                | Field::Enforcement(_)
        )
    };
    for field in agent.fields.iter().filter(is_fact) {
        let name = field.to_string();
        let Some(input) = detail.inputs.iter().find(|input| input.field == name) else {
            continue;
        };
        let value = match input.value.as_deref() {
            None => Value::Null,
            Some(REDACTED) => return Err(format!("{name} redacted")),
            Some(text) if text.starts_with(DIGEST_PREFIX) => {
                return Err(format!("{name} was too long to be kept"));
            }
            Some(text) => json::parse(text.as_bytes())
                .map_err(|why| format!("{name} cannot be read: {why}"))?,
        };
        supposed.suppose(field.clone(), value);
    }
    Ok(supposed)
}

/// The first hidden argument that the decision rests on, or may.
fn hidden<'d>(
    detail: &'d Detail,
    decision: &Decision,
    agent: Option<&AgentPolicy>,
    tool: &str,
    is_other: bool,
) -> Option<&'d String> {
    let declared: Vec<String> = agent
        .iter()
        .flat_map(|agent| &agent.schemas)
        .filter(|schema| pattern::matches(&schema.pattern, tool))
        .flat_map(|schema| &schema.arguments)
        .map(|argument| argument.path.join("."))
        .collect();
    let read: Vec<String> = decision
        .inputs
        .iter()
        .flat_map(|input| arguments_of(&input.field, agent))
        .collect();
    detail.redacted.iter().find(|hidden| {
        let was_read = |name: &str| redact::overlap(name, hidden);
        decision.code == Some(Code::CallInvalid)
            || read.iter().any(|name| was_read(name))
            // What fitted one policy's schema then need not fit another's.
            || (is_other && declared.iter().any(|name| was_read(name)))
    })
}

/// The arguments that a field is read from, by its name; of a calculation those of its parts.
fn arguments_of(name: &str, agent: Option<&AgentPolicy>) -> Vec<String> {
    let fields = agent.map_or(&[][..], |agent| &agent.fields);
    let field = fields.iter().find(|field| field.to_string() == name);
    if let Some(Field::Calculated(steps)) = field {
        let part = |step: &Step| match step {
            Step::Field(part) => fields.get(*part as usize),
            _ => None,
        };
        return steps
            .iter()
            .filter_map(part)
            .map(|part| argument_of(&part.to_string()).to_owned())
            .collect();
    }
    vec![argument_of(name).to_owned()]
}

fn argument_of(name: &str) -> &str {
    let inner = name
        .strip_prefix("len(")
        .and_then(|rest| rest.strip_suffix(')'))
        .unwrap_or(name);
    inner.strip_prefix("args.").unwrap_or(inner)
}

/// A window that the policy asked for and that had no answer, because nobody had counted it when the call was made.
fn uncounted(agent: &AgentPolicy, decision: &Decision, supposed: &Supposed) -> Option<String> {
    let unanswered = |field: &&Field| {
        windows::name_of(field).is_some() && supposed.get(field).is_none() && {
            let name = field.to_string();
            let mut inputs = decision.inputs.iter();
            inputs.any(|input| input.field == name && input.value.is_none())
        }
    };
    agent.fields.iter().find(unanswered).map(Field::to_string)
}

/// What differs of the words beside an equal verdict.
fn wording(detail: &Detail, decision: &Decision) -> Option<&'static str> {
    if detail.message != decision.message {
        return Some("message");
    }
    let notify: BTreeSet<String> = decision.notify.iter().cloned().collect();
    if detail.notify != notify {
        return Some("notify");
    }
    let then: Vec<&str> = detail
        .inputs
        .iter()
        .map(|input| input.field.as_str())
        .collect();
    let now: Vec<&str> = decision
        .inputs
        .iter()
        .map(|input| input.field.as_str())
        .collect();
    (then != now).then_some("inputs")
}
