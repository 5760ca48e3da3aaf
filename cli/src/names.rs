//! Names that a question about a policy is asked with, and what the answer leaves out.
//!
//! Pure. A misspelt agent is refused by any policy, so that a question about it proves nothing: it is said.
#![forbid(unsafe_code)]

use crate::constructs::{self, Places};
use faramesh_core::json::Value;
use faramesh_core::policy::artifact::{Artifact, Field, TimePart};

/// A name farther away than this is not meant.
const NEAR_MAX: usize = 2;
/// Agents that a sentence lists.
const NAMES_SHOWN_MAX: usize = 8;

/// A sentence where no rules of this policy speak of that agent; with the one that may be meant.
pub fn unknown_agent(artifact: &Artifact, name: &str) -> Option<String> {
    let agents = || artifact.agents.iter().map(|agent| agent.name.as_str());
    // Flat rules are every agent's.
    if agents().any(|known| known == name || known.is_empty()) {
        return None;
    }
    let near = agents()
        .map(|known| (strsim::osa_distance(known, name), known))
        .filter(|(distance, _)| *distance <= NEAR_MAX)
        .min();
    if let Some((_, known)) = near {
        return Some(format!(
            "the policy has no agent `{name}`: did you mean `{known}`?"
        ));
    }
    let shown: Vec<String> = agents()
        .take(NAMES_SHOWN_MAX)
        .map(|known| format!("`{known}`"))
        .collect();
    let more = match artifact.agents.len().saturating_sub(shown.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "the policy has no agent `{name}`; it has {}{more}",
        shown.join(", ")
    ))
}

/// Constructs of the policy that no decision here looks at, because this version does not enforce them.
pub fn not_considered(artifact: &Artifact) -> Vec<String> {
    constructs::lacking(artifact, constructs::OF_THIS_VERSION, &Places::default())
        .into_iter()
        .map(|lacking| lacking.what)
        .collect()
}

/// Why a value cannot be that fact's; nothing where it can. `null` supposes that the fact is absent.
pub fn impossible(field: &Field, value: &Value) -> Option<String> {
    let number = match value {
        Value::Null => return None,
        Value::Number(number) => Some(number),
        _ => None,
    };
    let (least, most) = match field {
        Field::Time(part) => match part {
            TimePart::Hour => (0, 23),
            TimePart::Minute => (0, 59),
            TimePart::Weekday => (1, 7),
            TimePart::Day => (1, 31),
            TimePart::Month => (1, 12),
            TimePart::Year => (1970, 9999),
            TimePart::Now => (0, i64::MAX),
        },
        Field::Count { .. } | Field::Denials { .. } => (0, i64::MAX),
        _ => return None,
    };
    let whole = number.and_then(|number| number.to_i64());
    if whole.is_some_and(|whole| (least..=most).contains(&whole)) {
        return None;
    }
    Some(match most {
        i64::MAX => format!("`{field}` is a whole number from {least}"),
        _ => format!("`{field}` is a whole number from {least} to {most}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use faramesh_core::json;
    use faramesh_core::policy::artifact::AgentPolicy;

    fn policy(agents: &[&str]) -> Artifact {
        Artifact {
            requires: Vec::new(),
            runtime: Default::default(),
            agents: agents
                .iter()
                .map(|name| AgentPolicy {
                    name: (*name).to_owned(),
                    ..AgentPolicy::default()
                })
                .collect(),
            declarations: Vec::new(),
        }
    }

    #[test]
    fn a_misspelt_agent_is_named_with_the_one_that_is_meant() {
        let two = policy(&["support-bot", "other"]);
        assert_eq!(unknown_agent(&two, "other"), None);
        assert_eq!(
            unknown_agent(&two, "suport-bot").unwrap(),
            "the policy has no agent `suport-bot`: did you mean `support-bot`?"
        );
        assert_eq!(
            unknown_agent(&two, "x").unwrap(),
            "the policy has no agent `x`; it has `support-bot`, `other`"
        );
        assert_eq!(unknown_agent(&policy(&[""]), "anybody"), None);
    }

    #[test]
    fn a_fact_takes_only_values_that_it_can_have() {
        let hour = Field::Time(TimePart::Hour);
        let possible = |text: &str| {
            let value = json::parse(text.as_bytes()).unwrap();
            impossible(&hour, &value).is_none()
        };
        assert!(possible("0") && possible("23") && possible("null"));
        for bad in ["24", "25", "-1", "3.5", "\"abc\"", "true", "[3]"] {
            assert!(!possible(bad), "{bad}");
        }
    }
}
