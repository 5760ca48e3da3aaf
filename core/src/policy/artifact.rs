//! The artifact: a compiled policy in canonical bytes.
//!
//! Invariant: `decode` accepts exactly the bytes that `encode` makes (it encodes again and compares), so that a digest
//! names one policy and one policy has one digest. Everything in it has a limit, checked here and not by the compiler,
//! because the compiler is outside the trusted core.

use crate::decimal::Decimal;
use crate::decision::Effect;
use serde::{Deserialize, Serialize};

/// First bytes of every artifact; the digit is the format's version.
pub const ARTIFACT_MAGIC: &[u8] = b"faramesh artifact 1\n";
/// An artifact's size, bytes: 10,000 rules of the corpus take under 3 MiB.
pub const ARTIFACT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Rules in one agent.
pub const RULES_MAX: usize = 100_000;
/// Tests in one rule's condition: bounds the cost of a decision.
pub const TESTS_PER_RULE_MAX: usize = 1_024;
/// Operators nested in one condition.
pub const CONDITION_DEPTH_MAX: usize = 64;

/// A compiled `governance.fms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// What a daemon must announce to be allowed to run it, sorted, each once: `rules`, `runtime.mode.shadow`, …
    pub requires: Vec<String>,
    /// The stack-wide settings.
    pub runtime: Runtime,
    /// Sorted by name, names unique, at least one.
    pub agents: Vec<AgentPolicy>,
}

/// The `runtime` block with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Enforce, or decide and let pass.
    pub mode: Mode,
    /// Longest time from start to READY, milliseconds.
    pub cold_start_deny_window_ms: u64,
    /// Whether agents see rules; `None`: the default of the way it runs (development: yes, enforced: no).
    pub reveal_rule: Option<bool>,
    /// Environment variables that the agent keeps although they look like credentials, sorted.
    pub keep_env: Vec<String>,
    /// What a launch demands.
    pub profile: Profile,
    /// Absolute paths of Unix sockets that agents may connect to, sorted.
    pub allowed_sockets: Vec<String>,
}

/// `runtime { mode }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// A denial denies.
    Enforce,
    /// A denial is recorded as `would` and the call proceeds; `deny!` is never shadowed. `audit` is the same.
    Shadow,
}

/// `runtime { agent_enforce_profile }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// Every tier that this host can give is demanded.
    Full,
    /// Landlock may be absent.
    Minimal,
}

/// One agent's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentPolicy {
    /// As in `agent "name"`; empty only for the anonymous agent of a file of flat rules.
    pub name: String,
    /// The user that the agent runs under when enforced.
    pub run_as: Option<String>,
    /// What holds where no rule decides.
    pub default: Effect,
    /// `model`, `framework`, `version`: what the file says of the agent. Nothing rests on it. Sorted, keys unique.
    pub metadata: Vec<(String, String)>,
    /// In file order.
    pub rules: Vec<Rule>,
    /// Fields that tests read, sorted, each once; tests name them by index.
    pub fields: Vec<Field>,
    /// Tests, each once; condition programs name them by index.
    pub tests: Vec<Test>,
}

/// What a rule says. `DenyHard` is `deny!`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleEffect {
    /// `permit`, `allow`, `approve`.
    Permit,
    /// `defer`.
    Defer,
    /// `deny`, `block`, `reject`.
    Deny,
    /// `deny!`: beats everything wherever it stands, and is never shadowed.
    DenyHard,
}

impl RuleEffect {
    /// The verdict that the rule asks for.
    pub const fn effect(self) -> Effect {
        match self {
            RuleEffect::Permit => Effect::Permit,
            RuleEffect::Defer => Effect::Defer,
            RuleEffect::Deny | RuleEffect::DenyHard => Effect::Deny,
        }
    }
}

/// One rule, lowered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What it says.
    pub effect: RuleEffect,
    /// Which tools it speaks of: `*`, `stripe/*`, `db/*_read`, `stripe/refund`.
    pub pattern: String,
    /// Condition in postfix form over the agent's tests; empty: always yes.
    pub condition: Vec<Op>,
    /// `reason "…"`.
    pub reason: Option<String>,
    /// `notify "…"`, sorted, each once.
    pub notify: Vec<String>,
    /// 1-based line in the source.
    pub line: u32,
    /// The rule in the formatter's rendering, one line.
    pub text: String,
}

/// One step of a condition: a stack machine over Kleene's three values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Push the result of the test of this index.
    Test(u32),
    /// Push a constant.
    Const(bool),
    /// Replace the top two by their conjunction.
    And,
    /// Replace the top two by their disjunction.
    Or,
    /// Negate the top.
    Not,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Field {
    /// `args.a.b`: claimed.
    Args(Vec<String>),
    /// The tool's name: claimed by the caller, exact for the decision.
    Tool,
    /// The agent's name as attested: daemon.
    Agent,
}

/// A comparison of one field. Operands of another type make it *maybe*, and so does absence.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Test {
    /// Index into the agent's `fields`.
    pub field: u32,
    /// What is asked of it.
    pub ask: Ask,
}

/// What a test asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ask {
    /// `==` (and `!=` by `Not`).
    Equals(Literal),
    /// `<`, `<=`, `>`, `>=` against a number.
    Compare(Order, Decimal),
    /// The same relations between two fields; both must be numbers, or for `Equal` of one type.
    CompareField(Relation, u32),
    /// `in [..]`, sorted, each once, all of one type.
    In(Vec<Literal>),
    /// `matches "re"`: a search in a string, not anchored.
    Matches(String),
    /// `contains`: of a list, an equal element; of a string, a substring.
    Contains(Literal),
    /// `has`: present and not null. Yes or no, never maybe.
    Has,
    /// A bare field as a condition: its own boolean.
    IsTrue,
}

/// A strict or inclusive order relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the operators")]
pub enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A relation between two fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the operators")]
pub enum Relation {
    Equal,
    Order(Order),
}

/// A constant in a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the JSON types")]
pub enum Literal {
    Bool(bool),
    Number(Decimal),
    String(String),
}

/// What an artifact may demand of a daemon, by name.
///
/// The compiler writes into [`Artifact::requires`] exactly what a policy uses; a daemon announces exactly what it
/// enforces, from the same list. What stands in `requires` and is not announced is refused by `apply` and at start.
pub mod capabilities {
    /// Rules over tools and arguments, three-valued; every artifact needs it.
    pub const RULES: &str = "rules";
    /// `notify`: the names are written into the decision's record. Nobody is called.
    pub const NOTIFY_RECORDED: &str = "notify.recorded";
    /// `run_as`: the agent runs under that user when enforced.
    pub const RUN_AS: &str = "agent.run_as";
    /// `mode shadow` and `mode audit`.
    pub const MODE_SHADOW: &str = "runtime.mode.shadow";
    /// `reveal`: whether agents are shown rules.
    pub const REVEAL: &str = "runtime.reveal";
    /// `keep_env`: variables that a launch does not strip.
    pub const KEEP_ENV: &str = "runtime.keep_env";
    /// `allowed_sockets`: Unix sockets that agents may connect to.
    pub const ALLOWED_SOCKETS: &str = "runtime.allowed_sockets";
    /// `agent_enforce_profile minimal`: a launch without Landlock.
    pub const PROFILE_MINIMAL: &str = "runtime.agent_enforce_profile.minimal";

    /// Every name, sorted.
    pub const ALL: [&str; 8] = [
        RUN_AS,
        NOTIFY_RECORDED,
        RULES,
        PROFILE_MINIMAL,
        ALLOWED_SOCKETS,
        KEEP_ENV,
        MODE_SHADOW,
        REVEAL,
    ];
}
