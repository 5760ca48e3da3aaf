//! What a policy asks of a daemon, in the words of the policy: `budget` in agent `x`, not `agent.budget`.
//!
//! Invariant: every capability that an artifact requires has at least one sentence, so that whatever is refused is
//! named. Pure.
#![forbid(unsafe_code)]

use faramesh_core::policy::artifact::{
    AgentPolicy, Artifact, Ask, Field, Op, Rule, Runtime, SessionPart, capabilities,
};
use faramesh_policy_compiler::syntax::{Item, ValueKind};
use faramesh_policy_compiler::{SourceFile, SourceMap, parse};
use std::collections::BTreeMap;

/// What a daemon of this version enforces.
pub use faramesh_daemon::store::CAPABILITIES as OF_THIS_VERSION;

/// Where a policy's constructs stand in its file; empty for a policy that came from elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    file: String,
    /// By agent (or `runtime`; empty: the stack) and the word that it starts with, the first line.
    lines: BTreeMap<(String, String), usize>,
    /// By agent, the line of each of its rules.
    rules: BTreeMap<String, Vec<u32>>,
}

impl Places {
    /// Of a file that compiled. What an import brought in stands nowhere in it.
    pub fn of(source: &SourceFile, map: &SourceMap) -> Places {
        let mut places = Places {
            file: source.name.clone(),
            lines: BTreeMap::new(),
            rules: map.agents.clone(),
        };
        places.walk(source, "", &parse(source).0.items);
        places
    }

    fn walk(&mut self, source: &SourceFile, holder: &str, items: &[Item]) {
        for item in items {
            let before = source.text.get(..item.span().start).unwrap_or_default();
            let line = 1 + before.matches('\n').count();
            let mut note = |word: &str| {
                let key = (holder.to_owned(), word.to_owned());
                self.lines.entry(key).or_insert(line);
            };
            note(&item.word().text);
            match item {
                Item::Rule(rule) => rule
                    .clauses
                    .iter()
                    .for_each(|clause| note(&clause.keyword.text)),
                Item::Block(block) if block.keyword.text == "runtime" => {
                    self.walk(source, "runtime", &block.items);
                }
                Item::Block(block) if block.keyword.text == "agent" => {
                    let name = block.labels.first().and_then(|label| match &label.kind {
                        ValueKind::Bare(name) | ValueKind::Text(name) => Some(name.as_str()),
                        _ => None,
                    });
                    self.walk(source, name.unwrap_or_default(), &block.items);
                }
                _ => {}
            }
        }
    }

    /// What stands in no agent belongs to every one.
    fn word(&self, holder: &str, word: &str) -> Option<String> {
        let line = |holder: &str| self.lines.get(&(holder.to_owned(), word.to_owned()));
        let line = line(holder).or_else(|| line(""))?;
        Some(format!("{}:{line}", self.file))
    }

    fn rule(&self, agent: &str, index: usize) -> Option<String> {
        let line = self.rules.get(agent)?.get(index)?;
        Some(format!("{}:{line}", self.file))
    }
}

/// A construct that asks for more than there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// What it is, in the words of the policy.
    pub what: String,
    /// `governance.fms:27`, where it is known.
    pub place: Option<String>,
}

impl Lacking {
    /// ``governance.fms:27: `budget` in agent `x` is not enforced by this daemon``.
    pub fn sentence(&self) -> String {
        let place = self.place.as_ref().map(|place| format!("{place}: "));
        format!(
            "{}{} is not enforced by this daemon",
            place.unwrap_or_default(),
            self.what
        )
    }

    /// ``  `budget` in agent `x` (governance.fms:27)``.
    pub fn placed(&self) -> String {
        match &self.place {
            Some(place) => format!("{} ({place})", self.what),
            None => self.what.clone(),
        }
    }
}

/// Each construct that needs a capability which is not there; empty: all is enforced.
pub fn lacking<S: AsRef<str>>(artifact: &Artifact, has: &[S], places: &Places) -> Vec<Lacking> {
    let mut found = Vec::new();
    for capability in &artifact.requires {
        if has.iter().any(|own| own.as_ref() == capability) {
            continue;
        }
        let agents: Vec<&AgentPolicy> = artifact
            .agents
            .iter()
            .filter(|agent| asks(agent).contains(capability))
            .collect();
        if agents.is_empty() {
            found.push(of_stack(capability, places));
        }
        for agent in agents {
            found.push(of_agent(capability, agent, places));
        }
    }
    found
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

fn of_stack(capability: &str, places: &Places) -> Lacking {
    let (what, place) = match capability {
        capabilities::RULES => ("any rule".to_owned(), None),
        capabilities::MODE_SHADOW => (
            "`mode \"shadow\"` in `runtime`".to_owned(),
            places.word("runtime", "mode"),
        ),
        capabilities::ANCHOR => (
            "witnesses in `runtime`".to_owned(),
            ["anchor_quorum", "anchor_max_lag", "anchor_on_lag"]
                .into_iter()
                .find_map(|word| places.word("runtime", word)),
        ),
        capabilities::PROFILE_MINIMAL => (
            "`agent_enforce_profile \"minimal\"` in `runtime`".to_owned(),
            places.word("runtime", "agent_enforce_profile"),
        ),
        _ => match capability.split_once('.') {
            Some(("runtime", key)) => {
                (format!("`{key}` in `runtime`"), places.word("runtime", key))
            }
            Some(("stack", keyword)) => (format!("`{keyword}`"), places.word("", keyword)),
            _ => (format!("`{capability}`"), None),
        },
    };
    Lacking { what, place }
}

fn of_agent(capability: &str, agent: &AgentPolicy, places: &Places) -> Lacking {
    let inside = match agent.name.as_str() {
        "" => String::new(),
        name => format!(" in agent `{name}`"),
    };
    let word = match capability {
        capabilities::NOTIFY_RECORDED => "notify",
        capabilities::REEVAL => "reeval",
        capabilities::REQUIRE_ENFORCEMENT => "require enforcement",
        _ => match capability.strip_prefix("agent.") {
            Some(keyword) => keyword,
            None => {
                return Lacking {
                    what: format!("a condition over {}{inside}", fields(capability, agent)),
                    place: agent
                        .rules
                        .iter()
                        .position(|rule| tests(rule, capability, agent))
                        .and_then(|index| places.rule(&agent.name, index)),
                };
            }
        },
    };
    let first = word.split(' ').next().unwrap_or(word);
    Lacking {
        what: format!("`{word}`{inside}"),
        place: places.word(&agent.name, first),
    }
}

/// Whether a rule's condition reads a field that needs the capability.
fn tests(rule: &Rule, capability: &str, agent: &AgentPolicy) -> bool {
    let reads = |field: u32| {
        let field = agent.fields.get(field as usize);
        field.and_then(needs) == Some(capability)
    };
    rule.condition.iter().any(|op| {
        let Op::Test(test) = op else { return false };
        agent
            .tests
            .get(*test as usize)
            .is_some_and(|test| match test.ask {
                Ask::CompareField(_, other) => reads(test.field) || reads(other),
                _ => reads(test.field),
            })
    })
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
        let sentences: Vec<String> = lacking(&policy(), &[capabilities::RULES], &Places::default())
            .iter()
            .map(Lacking::sentence)
            .collect();
        assert_eq!(
            sentences,
            [
                "`budget` in agent `x` is not enforced by this daemon",
                "`budget` in agent `y` is not enforced by this daemon",
                "a condition over `time.hour` in agent `x` is not enforced by this daemon",
                "`provider` is not enforced by this daemon",
            ]
        );
    }

    #[test]
    fn nothing_that_is_required_goes_unnamed() {
        let policy = policy();
        let none: &[&str] = &[];
        let found = lacking(&policy, none, &Places::default());
        assert!(found.len() >= policy.requires.len(), "{found:?}");
        assert!(lacking(&policy, &policy.requires, &Places::default()).is_empty());
    }
}
