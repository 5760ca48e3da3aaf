//! What a policy is once it is compiled, and how a call is put to it. Its meaning is defined in `docs/semantics.md`.

pub mod artifact;
mod clock;
mod conditions;
pub(crate) mod facts;
mod globs;
mod index;
mod judge;
mod keys;
mod letters;
pub mod paths;
pub mod pattern;
pub mod redact;
pub mod schema;
mod scratch;
pub mod trace;
pub mod windows;

pub use conditions::Truth;
pub use facts::Supposed;
pub(crate) use judge::Read;
pub use judge::Verdict;
pub use scratch::{SEARCH_STEPS_MAX, Scratch};

use crate::policy::artifact::{
    AgentPolicy, Artifact, ArtifactInvalid, Expression, Field, Op, Runtime,
};
use crate::policy::index::Index;
use crate::policy::windows::Windows;

/// A policy that is ready to decide: checked, with its expressions compiled and its rules indexed by tool.
///
/// Only [`Policy::load`] makes it, so a policy that decides has passed every check of the artifact.
#[derive(Debug)]
pub struct Policy {
    artifact: Artifact,
    digest: [u8; 32],
    agents: Vec<Loaded>,
    windows: Windows,
}

/// What an agent's part becomes at load; stands at the same place as the agent in the artifact.
#[derive(Debug)]
struct Loaded {
    index: Index,
    /// Of each rule where its table of skips begins in `skips`; as long as its condition, or empty for a lone test.
    skips_from: Vec<u32>,
    skips: Vec<u16>,
    /// Places of the schemas that are closed.
    closed: Vec<u32>,
    /// One for each test, for those that match an expression.
    expressions: Vec<Option<Expression>>,
    /// Each field as a person reads it, `args.a.b`.
    field_names: Vec<String>,
    /// Each field's place among all, by that name.
    field_ranks: Vec<u32>,
}

/// One agent's rules, as a decision uses them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'p> {
    pub(crate) runtime: &'p Runtime,
    pub(crate) policy: &'p AgentPolicy,
    loaded: &'p Loaded,
}

impl Policy {
    /// Makes a policy of an artifact's bytes.
    ///
    /// # Errors
    /// The bytes are not exactly an artifact within every limit.
    pub fn load(bytes: &[u8]) -> Result<Policy, ArtifactInvalid> {
        let artifact = artifact::decode(bytes)?;
        let agents = artifact
            .agents
            .iter()
            .map(Loaded::new)
            .collect::<Result<_, _>>()?;
        Ok(Policy {
            windows: Windows::of(&artifact),
            artifact,
            digest: artifact::digest(bytes),
            agents,
        })
    }

    /// Makes a policy of an artifact that was not encoded yet: for `check` and its examples.
    ///
    /// # Errors
    /// As [`Policy::load`].
    pub fn of(artifact: &Artifact) -> Result<Policy, ArtifactInvalid> {
        Policy::load(&artifact::encode(artifact)?)
    }

    /// SHA-256 of the artifact's bytes.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The artifact.
    pub const fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// What it asks to be counted.
    pub const fn windows(&self) -> &Windows {
        &self.windows
    }

    /// The part that holds for an agent: its own, or the anonymous one of a file of flat rules, which holds for all.
    pub fn agent(&self, name: &str) -> Option<&AgentPolicy> {
        self.rules(name).map(|rules| rules.policy)
    }

    pub(crate) fn rules(&self, name: &str) -> Option<Rules<'_>> {
        let agents = &self.artifact.agents;
        let find = |name: &str| {
            agents
                .binary_search_by(|agent| agent.name.as_str().cmp(name))
                .ok()
        };
        let at = find(name).or_else(|| find(""))?;
        Some(Rules {
            runtime: &self.artifact.runtime,
            policy: agents.get(at)?,
            loaded: self.agents.get(at)?,
        })
    }
}

impl Loaded {
    fn new(agent: &AgentPolicy) -> Result<Loaded, ArtifactInvalid> {
        let field_names: Vec<String> = agent.fields.iter().map(Field::to_string).collect();
        let mut by_name: Vec<(&String, usize)> = field_names.iter().zip(0..).collect();
        by_name.sort_unstable();
        let mut field_ranks = vec![0; field_names.len()];
        for (rank, (_, field)) in (0..).zip(by_name) {
            if let Some(slot) = field_ranks.get_mut(field) {
                *slot = rank;
            }
        }
        let mut skips = Vec::new();
        let mut skips_from = Vec::with_capacity(agent.rules.len());
        for rule in &agent.rules {
            skips_from.push(u32::try_from(skips.len()).unwrap_or(u32::MAX));
            if rule.condition.len() > 1 {
                skips.extend(conditions::skips(&rule.condition));
            }
        }
        let closed = (0..)
            .zip(&agent.schemas)
            .filter(|(_, schema)| schema.closed);
        Ok(Loaded {
            index: Index::new(agent),
            skips_from,
            skips,
            closed: closed.map(|(place, _)| place).collect(),
            expressions: artifact::compile_expressions(agent)?,
            field_names,
            field_ranks,
        })
    }
}

impl<'p> Rules<'p> {
    pub(crate) const fn index(self) -> &'p Index {
        &self.loaded.index
    }

    /// How a rule's condition is cut short; see [`conditions::skips`].
    pub(crate) fn skips(self, number: u32, condition: &[Op]) -> &'p [u16] {
        if condition.len() <= 1 {
            return &[];
        }
        let from = self.loaded.skips_from.get(number as usize);
        let skips = from.and_then(|from| {
            let from = *from as usize;
            self.loaded.skips.get(from..from + condition.len())
        });
        skips.unwrap_or_default()
    }

    /// Fills in which closed schemas speak of a tool.
    pub(crate) fn closed_schemas(self, tool: &str, into: &mut Vec<u32>) {
        let speaks = |place: &&u32| {
            let schema = self.policy.schemas.get(**place as usize);
            schema.is_some_and(|schema| pattern::matches(&schema.pattern, tool))
        };
        into.extend(self.loaded.closed.iter().filter(speaks));
    }

    pub(crate) fn expression(self, test: u32) -> Option<&'p Expression> {
        self.loaded.expressions.get(test as usize)?.as_ref()
    }

    pub(crate) fn field_name(self, field: u32) -> &'p str {
        self.loaded
            .field_names
            .get(field as usize)
            .map_or("", String::as_str)
    }

    /// Orders fields by name.
    pub(crate) fn field_rank(self, field: u32) -> u32 {
        self.loaded
            .field_ranks
            .get(field as usize)
            .copied()
            .unwrap_or(u32::MAX)
    }
}
