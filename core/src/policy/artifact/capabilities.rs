//! What an artifact may demand of a daemon, by name.
//!
//! [`of`] says what a policy uses, and an artifact whose `requires` says anything else is none: no compiler can forget a
//! demand. A daemon announces exactly what it enforces; what stands in `requires` and is not announced is refused by
//! `apply` and at start.

use super::{
    AgentPolicy, Artifact, Ask, Datum, Declaration, Field, Literal, Mode, Profile, Rule, Runtime,
    SessionPart, Setting,
};
use std::collections::BTreeSet;

/// Rules over tools and arguments, three-valued; every artifact needs it.
pub const RULES: &str = "rules";
/// `notify`: the names are written into the decision's record. Nobody is called.
pub const NOTIFY_RECORDED: &str = "notify.recorded";
/// `reeval: true`: what a person approved is decided once more.
pub const REEVAL: &str = "rules.reeval";
/// `run_as`: the agent runs under that user when enforced.
pub const RUN_AS: &str = "agent.run_as";
/// `tool "x" { … }`: calls are checked against it.
pub const SCHEMAS: &str = "agent.tool";
/// `paths { … }`: paths in calls are checked against it.
pub const PATHS: &str = "agent.paths";
/// `redact`: records do not keep these arguments.
pub const REDACT: &str = "agent.redact";
/// `phase`: rules that hold for a time.
pub const PHASES: &str = "agent.phase";
/// `require enforcement`: calls are refused where a layer was not measured as holding.
pub const REQUIRE_ENFORCEMENT: &str = "agent.require.enforcement";
/// `mode shadow` and `mode audit`.
pub const MODE_SHADOW: &str = "runtime.mode.shadow";
/// `reveal`: whether agents are shown rules.
pub const REVEAL: &str = "runtime.reveal";
/// `keep_env`: variables that a launch does not strip.
pub const KEEP_ENV: &str = "runtime.keep_env";
/// `allowed_sockets`: Unix sockets that agents may connect to.
pub const ALLOWED_SOCKETS: &str = "runtime.allowed_sockets";
/// `anchor_quorum`, `anchor_max_lag`, `anchor_on_lag`: calls wait for witnesses.
pub const ANCHOR: &str = "runtime.anchor";
/// `agent_enforce_profile minimal`: a launch without Landlock.
pub const PROFILE_MINIMAL: &str = "runtime.agent_enforce_profile.minimal";
/// `wal_retention`: bodies of records are removed when they are so old.
pub const WAL_RETENTION: &str = "runtime.wal_retention";
/// Conditions over `time.*`.
pub const CONDITIONS_TIME: &str = "conditions.time";
/// Conditions over `session.call_count`, `session.count(…)`, `session.sum(…)`, `history.within(…)`.
pub const CONDITIONS_SESSION: &str = "conditions.session";
/// Conditions over what calls cost.
pub const CONDITIONS_COST: &str = "conditions.session.cost_usd";
/// Conditions over `enforcement.*`.
pub const CONDITIONS_ENFORCEMENT: &str = "conditions.enforcement";
/// Conditions over the request that is really sent: `host`, `method`, `headers`, …
pub const CONDITIONS_REQUEST: &str = "conditions.request";
/// Conditions over the model that is really asked.
pub const CONDITIONS_MODEL: &str = "conditions.model";
/// Conditions over `principal.*`.
pub const CONDITIONS_PRINCIPAL: &str = "conditions.principal";
/// Conditions over `selectors.*`.
pub const CONDITIONS_SELECTORS: &str = "conditions.selectors";
/// Conditions over `delegation.*`.
pub const CONDITIONS_DELEGATION: &str = "conditions.delegation";
/// Rules about calls that come in at the door `govern`; a rule about any other door demands `door.` and that door's name.
pub const DOOR_GOVERN: &str = "door.govern";
/// Rules about questions without an act.
pub const DOOR_PROBE: &str = "door.probe";
/// A test of `door` that no one name answers: a daemon would have to know every door.
const DOOR_ANY: &str = "door.any";

/// What a policy uses, sorted, each once. Declarations count by their keyword: `agent.budget`, `stack.provider`,
/// `runtime.wal_retention`.
pub fn of(artifact: &Artifact) -> Vec<String> {
    let runtime = &artifact.runtime;
    let mut names = BTreeSet::from([RULES.to_owned()]);
    let mut needs = |name: &str, needed: bool| {
        if needed {
            names.insert(name.to_owned());
        }
    };
    needs(MODE_SHADOW, runtime.mode == Mode::Shadow);
    needs(REVEAL, runtime.reveal_rule.is_some());
    needs(KEEP_ENV, !runtime.keep_env.is_empty());
    needs(ALLOWED_SOCKETS, !runtime.allowed_sockets.is_empty());
    needs(ANCHOR, runtime.anchor.is_some());
    needs(PROFILE_MINIMAL, runtime.profile == Profile::Minimal);
    for setting in &runtime.declared {
        needs(
            &format!("runtime.{}", setting.key),
            !always_so(runtime, setting),
        );
    }
    for declaration in &artifact.declarations {
        needs(
            &format!("stack.{}", declaration.keyword),
            !is_compiled(declaration),
        );
    }
    for agent in &artifact.agents {
        of_agent(agent, &mut needs);
    }
    names.into_iter().collect()
}

/// Whether a declared setting asks for what holds without it, so that no daemon need announce it: artifacts are always
/// signed and never the file, and a launch strips what looks like a credential unless the policy keeps some.
pub fn always_so(runtime: &Runtime, setting: &Setting) -> bool {
    let asked = match setting.values.as_slice() {
        [Datum::Bool(asked)] => *asked,
        _ => return false,
    };
    match setting.key.as_str() {
        "signing_warning_acknowledged" => true,
        "immutable_config" | "signing_required" => asked,
        "strip_ambient_credentials" => asked && runtime.keep_env.is_empty(),
        _ => false,
    }
}

/// Whether a declaration had its whole effect when the policy was compiled: keys of `trust` decide which packs are taken
/// in, and no daemon sees a pack.
fn is_compiled(declaration: &Declaration) -> bool {
    declaration.keyword == "trust" && declaration.inner.iter().all(|inner| inner.keyword == "key")
}

fn of_agent(agent: &AgentPolicy, needs: &mut impl FnMut(&str, bool)) {
    needs(RUN_AS, agent.run_as.is_some());
    needs(SCHEMAS, !agent.schemas.is_empty());
    needs(PATHS, agent.paths.is_some());
    needs(REDACT, !agent.redactions.is_empty());
    needs(PHASES, !agent.phases.is_empty());
    needs(REQUIRE_ENFORCEMENT, !agent.demands.is_empty());
    for declaration in &agent.declarations {
        needs(&format!("agent.{}", declaration.keyword), true);
    }
    let in_phases = agent.phases.iter().flat_map(|phase| &phase.rules);
    for rule in agent.rules.iter().chain(in_phases) {
        of_rule(rule, needs);
    }
    for name in agent.fields.iter().filter_map(of_field) {
        needs(name, true);
    }
    for test in &agent.tests {
        let field = usize::try_from(test.field).ok();
        if field.and_then(|index| agent.fields.get(index)) == Some(&Field::Door) {
            of_door(&test.ask, needs);
        }
    }
}

/// Which doors a test of `door` speaks of. One that does not exist would make the rule mean nothing.
fn of_door(ask: &Ask, needs: &mut impl FnMut(&str, bool)) {
    let mut named = |literal: &Literal| match literal {
        Literal::String(door) => needs(&format!("door.{door}"), true),
        _ => needs(DOOR_ANY, true),
    };
    match ask {
        Ask::Equals(literal) => named(literal),
        Ask::In(literals) => literals.iter().for_each(named),
        // Every call has a door.
        Ask::Has => {}
        _ => needs(DOOR_ANY, true),
    }
}

fn of_rule(rule: &Rule, needs: &mut impl FnMut(&str, bool)) {
    needs(NOTIFY_RECORDED, !rule.notify.is_empty());
    needs(REEVAL, rule.reeval);
}

/// What a field needs beside rules.
const fn of_field(field: &Field) -> Option<&'static str> {
    match field {
        Field::Args(_)
        | Field::Tool
        | Field::Action
        | Field::Agent
        | Field::Purpose
        | Field::Door
        | Field::Length(_)
        | Field::Calculated(_) => None,
        Field::Time(_) => Some(CONDITIONS_TIME),
        Field::Session(SessionPart::CostUsd) => Some(CONDITIONS_COST),
        Field::Session(_) | Field::Sum { .. } | Field::Count { .. } | Field::Denials { .. } => {
            Some(CONDITIONS_SESSION)
        }
        Field::Enforcement(_) => Some(CONDITIONS_ENFORCEMENT),
        Field::Host
        | Field::Port
        | Field::Method
        | Field::Path
        | Field::Query(_)
        | Field::Header(_) => Some(CONDITIONS_REQUEST),
        Field::Model => Some(CONDITIONS_MODEL),
        Field::Principal(_) => Some(CONDITIONS_PRINCIPAL),
        Field::Selector(..) => Some(CONDITIONS_SELECTORS),
        Field::Delegation(_) => Some(CONDITIONS_DELEGATION),
    }
}
