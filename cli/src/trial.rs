//! A call that is put to a policy without a daemon: for fixtures and for `explain call`.
//!
//! Invariant: it is decided by the core, as the daemon does it, with facts that were supposed in place of live ones.
//! Nothing is counted, recorded or performed: it is the first call of a session, and what else is neither supposed nor in
//! the call is absent.
#![forbid(unsafe_code)]

use crate::names;
use faramesh_core::call::accept;
use faramesh_core::decision::{Code, Decision};
use faramesh_core::identity::{Attested, Caller, attest};
use faramesh_core::json::{self, Value};
use faramesh_core::pipeline::{Question, decide};
use faramesh_core::policy::artifact::{AgentPolicy, Field, TimePart};
use faramesh_core::policy::trace::{TracedRule, trace};
use faramesh_core::policy::{Policy, Supposed};
use faramesh_core::record::{Door, Time};
use faramesh_core::state::State;

/// Names of facts that an error lists.
const NAMES_SHOWN_MAX: usize = 12;
/// A name farther away than this is not meant.
const NEAR_MAX: usize = 2;

/// What `time.*` is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The host's, now.
    Live,
    /// None: what is not supposed is absent, so that the answer is the same tomorrow.
    Stopped,
}

/// A call with what is supposed around it.
#[derive(Debug)]
pub struct Trial {
    /// `Err`: it is no call, and why.
    call: Result<Attested, String>,
    supposed: Supposed,
    now: Time,
    state: State,
}

/// Something that is supposed: a fact's name, and its value as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supposition {
    /// `time.hour`, as `explain` and `missing` name it.
    pub name: String,
    /// Canonical or not.
    pub value: String,
}

impl Trial {
    /// A call of an agent of this policy.
    ///
    /// # Errors
    /// Something supposed is no fact that this policy reads. What is no call is decided as such.
    pub fn new(
        policy: &Policy,
        agent: &str,
        tool: &str,
        arguments: &[u8],
        suppositions: &[Supposition],
        clock: Clock,
    ) -> Result<Trial, String> {
        let call = accept(tool, agent, arguments)
            .map_err(|e| e.to_string())
            .and_then(|call| {
                // Whoever asks here is nobody's process: the call names its agent itself.
                attest(call, Caller::Unattested { uid: 0 }).map_err(|e| e.to_string())
            });
        let mut trial = Trial {
            call,
            supposed: policy
                .agent(agent)
                .map_or(Supposed::nothing(), Supposed::first_call),
            now: now(),
            state: State::new(),
        };
        trial.suppose(policy.agent(agent), suppositions, clock)?;
        Ok(trial)
    }

    fn suppose(
        &mut self,
        agent: Option<&AgentPolicy>,
        suppositions: &[Supposition],
        clock: Clock,
    ) -> Result<(), String> {
        let fields = agent.map_or(&[][..], |agent| &agent.fields);
        let moment = suppositions
            .iter()
            .find(|one| one.name == Field::Time(TimePart::Now).to_string());
        if let Some(moment) = moment {
            self.now.wall_ms = wall_ms(&moment.value)?;
        } else if clock == Clock::Stopped {
            let times = fields
                .iter()
                .filter(|field| matches!(field, Field::Time(_)));
            times.for_each(|field| self.supposed.suppose(field.clone(), Value::Null));
        }
        for one in suppositions {
            if moment.is_some_and(|moment| moment == one) {
                continue;
            }
            let value = json::parse(one.value.as_bytes())
                .map_err(|e| format!("the value of `{}` is not JSON: {e}", one.name))?;
            let field = field(&one.name, fields)?;
            if let Some(why) = names::impossible(&field, &value) {
                return Err(format!("{why}, not `{}`", one.value));
            }
            self.supposed.suppose(field, value);
        }
        Ok(())
    }

    /// Decides it.
    pub fn decide(&self, policy: &Policy) -> Decision {
        match &self.call {
            Ok(attested) => decide(&self.question(attested), policy, &self.state),
            Err(why) => Decision::refused(Code::CallInvalid, why.as_str()),
        }
    }

    /// Every rule as the call met it, in the order of evaluation; nothing where it is no call or no agent's.
    pub fn trace<'t>(&'t self, policy: &'t Policy) -> Vec<TracedRule<'t>> {
        let Ok(attested) = &self.call else {
            return Vec::new();
        };
        trace(&self.question(attested), policy, &self.state).unwrap_or_default()
    }

    /// Canonical text of the arguments; `None` where it is no call.
    pub fn arguments(&self) -> Option<&str> {
        self.call
            .as_ref()
            .ok()
            .map(|attested| attested.call().arguments_text())
    }

    fn question<'t>(&'t self, attested: &'t Attested) -> Question<'t> {
        Question {
            attested,
            door: Door::Govern,
            now: self.now,
            supposed: &self.supposed,
        }
    }
}

/// The field of a name: one that the policy reads, or a layer of enforcement, which it may require without reading it.
fn field(name: &str, fields: &[Field]) -> Result<Field, String> {
    if let Some(field) = fields.iter().find(|field| field.to_string() == name) {
        return Ok(field.clone());
    }
    // The same fact in other letters: `window=60m`, another order of blanks.
    let meant = faramesh_policy_compiler::fact(name);
    if let Some(field) = meant.filter(|meant| fields.contains(meant)) {
        return Ok(field);
    }
    if let Some(layer) = name.strip_prefix("enforcement.") {
        return Ok(Field::Enforcement(layer.to_owned()));
    }
    let mut names: Vec<String> = fields
        .iter()
        .filter(|field| !matches!(field, Field::Calculated(_)))
        .map(|field| format!("`{field}`"))
        .collect();
    let quoted = format!("`{name}`");
    let near = names
        .iter()
        .find(|known| strsim::osa_distance(known, &quoted) <= NEAR_MAX);
    if let Some(near) = near {
        return Err(format!(
            "this policy does not read {quoted}: did you mean {near}?"
        ));
    }
    let all = names.len();
    names.truncate(NAMES_SHOWN_MAX);
    Err(match all {
        0 => format!("this policy does not read {quoted}, nor any other fact"),
        _ if all > names.len() => format!(
            "this policy does not read {quoted}; it reads {} and {} more",
            names.join(", "),
            all - names.len()
        ),
        _ => format!(
            "this policy does not read {quoted}; it reads {}",
            names.join(", ")
        ),
    })
}

/// `1700000000`, seconds, or `"2026-11-20T03:00:00Z"`.
fn wall_ms(value: &str) -> Result<u64, String> {
    let not_one = || {
        format!(
            "`time.now` is seconds since 1970 or a time such as `2026-11-20T03:00:00Z`, not `{value}`"
        )
    };
    if let Ok(seconds) = value.parse::<u64>() {
        return seconds.checked_mul(1000).ok_or_else(not_one);
    }
    let moment: jiff::Timestamp = value.trim_matches('"').parse().map_err(|_| not_one())?;
    u64::try_from(moment.as_millisecond()).map_err(|_| not_one())
}

fn now() -> Time {
    let wall_ms = jiff::Timestamp::now().as_millisecond();
    Time {
        wall_ms: u64::try_from(wall_ms).unwrap_or_default(),
        boot_ms: 0,
    }
}
