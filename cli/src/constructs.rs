//! What a policy asks of a daemon, in the words of the policy: `budget` in agent `x`, not `agent.budget`.
//!
//! Invariant: every capability that an artifact requires has at least one sentence, so that whatever is refused is
//! named. Pure.
#![forbid(unsafe_code)]

use faramesh_core::policy::artifact::{
    AgentPolicy, Artifact, Field, Runtime, SessionPart, capabilities,
};

/// A sentence for each construct that needs a capability which is not there; empty: all is enforced.
pub fn lacking(artifact: &Artifact, has: &[String]) -> Vec<String> {
    let mut sentences = Vec::new();
    for capability in &artifact.requires {
        if has.contains(capability) {
            continue;
        }
        let agents: Vec<&AgentPolicy> = artifact
            .agents
            .iter()
            .filter(|agent| asks(agent).contains(capability))
            .collect();
        if agents.is_empty() {
            sentences.push(format!("{} is not enforced", of_stack(capability)));
        }
        for agent in agents {
            sentences.push(format!("{} is not enforced", of_agent(capability, agent)));
        }
    }
    sentences
}

/// What one agent alone asks for.
fn asks(agent: &AgentPolicy) -> Vec<String> {
    let mut alone = capabilities::of(&Artifact {
        requires: Vec::new(),
        runtime: Runtime::default(),
        agents: vec![agent.clone()],
        declarations: Vec::new(),
    });
    alone.retain(|capability| capability != capabilities::RULES);
    alone
}

fn of_stack(capability: &str) -> String {
    match capability {
        capabilities::RULES => "any rule".to_owned(),
        capabilities::MODE_SHADOW => "`mode \"shadow\"` in `runtime`".to_owned(),
        capabilities::PROFILE_MINIMAL => {
            "`agent_enforce_profile \"minimal\"` in `runtime`".to_owned()
        }
        _ => match capability.split_once('.') {
            Some(("runtime", key)) => format!("`{key}` in `runtime`"),
            Some(("stack", keyword)) => format!("`{keyword}`"),
            _ => format!("`{capability}`"),
        },
    }
}

fn of_agent(capability: &str, agent: &AgentPolicy) -> String {
    let place = match agent.name.as_str() {
        "" => String::new(),
        name => format!(" in agent `{name}`"),
    };
    let word = match capability {
        capabilities::NOTIFY_RECORDED => "`notify`",
        capabilities::REEVAL => "`reeval`",
        capabilities::REQUIRE_ENFORCEMENT => "`require enforcement`",
        _ => {
            return match capability.strip_prefix("agent.") {
                Some(keyword) => format!("`{keyword}`{place}"),
                None => format!("a condition over {}{place}", fields(capability, agent)),
            };
        }
    };
    format!("{word}{place}")
}

/// The fields of an agent that need a capability, as the policy writes them.
fn fields(capability: &str, agent: &AgentPolicy) -> String {
    let names: Vec<String> = agent
        .fields
        .iter()
        .filter(|field| needs(field) == Some(capability))
        .map(|field| format!("`{field}`"))
        .collect();
    match names.is_empty() {
        true => format!("`{capability}`"),
        false => names.join(", "),
    }
}

/// The capability of a field, for words alone: what counts is [`capabilities::of`].
const fn needs(field: &Field) -> Option<&'static str> {
    match field {
        Field::Time(_) => Some(capabilities::CONDITIONS_TIME),
        Field::Session(SessionPart::CostUsd) => Some(capabilities::CONDITIONS_COST),
        Field::Session(_) | Field::Sum { .. } | Field::Count { .. } | Field::Denials { .. } => {
            Some(capabilities::CONDITIONS_SESSION)
        }
        Field::Enforcement(_) => Some(capabilities::CONDITIONS_ENFORCEMENT),
        Field::Host
        | Field::Port
        | Field::Method
        | Field::Path
        | Field::Query(_)
        | Field::Header(_) => Some(capabilities::CONDITIONS_REQUEST),
        Field::Model => Some(capabilities::CONDITIONS_MODEL),
        Field::Principal(_) => Some(capabilities::CONDITIONS_PRINCIPAL),
        Field::Selector(..) => Some(capabilities::CONDITIONS_SELECTORS),
        Field::Delegation(_) => Some(capabilities::CONDITIONS_DELEGATION),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use faramesh_core::policy::artifact::{Declaration, TimePart};

    fn policy() -> Artifact {
        let declared = |keyword: &str| Declaration {
            keyword: keyword.to_owned(),
            labels: Vec::new(),
            settings: Vec::new(),
            inner: Vec::new(),
        };
        let mut artifact = Artifact {
            requires: Vec::new(),
            runtime: Runtime::default(),
            agents: vec![
                AgentPolicy {
                    name: "x".to_owned(),
                    declarations: vec![declared("budget")],
                    fields: vec![Field::Time(TimePart::Hour)],
                    ..AgentPolicy::default()
                },
                AgentPolicy {
                    name: "y".to_owned(),
                    declarations: vec![declared("budget")],
                    ..AgentPolicy::default()
                },
            ],
            declarations: vec![declared("provider")],
        };
        artifact.requires = capabilities::of(&artifact);
        artifact
    }

    #[test]
    fn each_construct_that_is_not_enforced_is_named_as_the_policy_writes_it() {
        let has = vec![capabilities::RULES.to_owned()];
        assert_eq!(
            lacking(&policy(), &has),
            [
                "`budget` in agent `x` is not enforced",
                "`budget` in agent `y` is not enforced",
                "a condition over `time.hour` in agent `x` is not enforced",
                "`provider` is not enforced",
            ]
        );
    }

    #[test]
    fn nothing_that_is_required_goes_unnamed() {
        let policy = policy();
        let sentences = lacking(&policy, &[]);
        assert!(sentences.len() >= policy.requires.len(), "{sentences:?}");
        assert!(lacking(&policy, &policy.requires).is_empty());
    }
}
