//! The artifact: a compiled policy in canonical bytes.
//!
//! Invariant: `decode` accepts exactly the bytes that `encode` makes (it encodes again and compares), so that a digest
//! names one policy and one policy has one digest. Everything in it has a limit, checked here and not by the compiler,
//! because the compiler is outside the trusted core.

use crate::call::{self, NameInvalid};
use crate::decimal::Decimal;
use crate::decision::Effect;
use crate::json;
use crate::policy::pattern::{self, PatternInvalid};
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fmt;

/// First bytes of every artifact; the digit is the format's version.
pub const ARTIFACT_MAGIC: &[u8] = b"faramesh artifact 1\n";
/// An artifact's size, bytes: 10,000 rules of the corpus take under 3 MiB.
pub const ARTIFACT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Rules in one agent.
pub const RULES_MAX: usize = 100_000;
/// Tests in one rule's condition: bounds the cost of a decision.
pub const TESTS_PER_RULE_MAX: usize = 1_024;
/// Steps of one condition: its tests, an operator for each, and room for negations.
pub const OPS_PER_RULE_MAX: usize = 4 * TESTS_PER_RULE_MAX;
/// Values that a condition keeps waiting at once: a chain of one operator needs two, nesting one more a level.
pub const CONDITION_DEPTH_MAX: usize = 64;
/// Agents in one artifact.
pub const AGENTS_MAX: usize = 1_000;
/// Entries of any small list: demands, metadata, teams to notify, sockets, variables.
pub const LIST_MAX: usize = 256;
/// Literals of one `in`.
pub const IN_MAX: usize = 10_000;
/// Bytes of a short text: a reason, a team, a path, a piece of metadata.
pub const TEXT_BYTES_MAX: usize = 4_096;
/// Bytes of a rule's rendering or of one literal: an `in` with many values is long.
pub const LONG_TEXT_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a regular expression's source.
pub const EXPRESSION_BYTES_MAX: usize = 4_096;
/// Bytes of a compiled regular expression: bounds memory and the time of one search a byte.
pub const EXPRESSION_COMPILED_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a Unix socket's path: the kernel's limit without the final zero.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Bytes of a user's name, as `useradd` allows.
pub const USER_BYTES_MAX: usize = 32;
/// Longest cold start, milliseconds: an hour.
pub const COLD_START_MS_MAX: u64 = 3_600_000;

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

/// Why bytes, or a policy, are no artifact.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactInvalid {
    /// Beyond [`ARTIFACT_BYTES_MAX`].
    #[error("artifact has {bytes} bytes, more than {ARTIFACT_BYTES_MAX}")]
    TooLarge {
        /// How many.
        bytes: usize,
    },
    /// Another file, or an artifact of another version.
    #[error("not an artifact of version 1")]
    Magic,
    /// The bytes behind the magic make no policy.
    #[error("artifact does not decode: {0}")]
    Encoding(#[source] postcard::Error),
    /// The same policy is written in another way.
    #[error("artifact is not in its canonical form")]
    NotCanonical,
    /// What it says is out of bounds.
    #[error("{place}: {fault}")]
    Content {
        /// Where: `agent x, rule at line 7`.
        place: String,
        /// What.
        #[source]
        fault: Fault,
    },
}

/// What is wrong with a part of an artifact.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A limit is passed.
    #[error("more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many may be there.
        max: usize,
    },
    /// Empty where something must be.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// Not in order, or twice the same.
    #[error("{0} are not sorted, each once")]
    NotSorted(&'static str),
    /// The same thing again, where order has a meaning and cannot show it.
    #[error("a {0} stands there twice")]
    Twice(&'static str),
    /// An index that leads nowhere.
    #[error("{0} that does not exist")]
    NoSuch(&'static str),
    /// A condition whose operators and operands do not balance.
    #[error("condition is not balanced")]
    Unbalanced,
    /// `in` with values of several types.
    #[error("`in` list has values of several types")]
    MixedTypes,
    /// A file of flat rules has no other agents.
    #[error("an agent without a name stands beside others")]
    AnonymousBesideOthers,
    /// A value that cannot be.
    #[error("{0} is out of range")]
    OutOfRange(&'static str),
    /// A bad name.
    #[error("{what}: {source}")]
    Name {
        /// Whose.
        what: &'static str,
        /// Why.
        source: NameInvalid,
    },
    /// A bad pattern.
    #[error(transparent)]
    Pattern(#[from] PatternInvalid),
    /// A regular expression that does not compile, or becomes too large.
    #[error("regular expression `{expression}`: {source}")]
    Expression {
        /// As written.
        expression: String,
        /// Why; the engine's words.
        source: Box<regex::Error>,
    },
}

/// The bytes of a policy.
///
/// # Errors
/// What no daemon would load: the same checks as [`decode`], so that a compiler cannot emit it.
pub fn encode(artifact: &Artifact) -> Result<Vec<u8>, ArtifactInvalid> {
    check(artifact)?;
    for agent in &artifact.agents {
        for test in &agent.tests {
            if let Ask::Matches(source) = &test.ask {
                compile_expression(&agent.name, source)?;
            }
        }
    }
    let bytes = to_bytes(artifact)?;
    bounded(&bytes)?;
    Ok(bytes)
}

/// The policy that bytes hold. Regular expressions are compiled, and so proven, by [`crate::policy::Policy::load`].
///
/// # Errors
/// Everything but exactly the bytes that [`encode`] makes.
pub fn decode(bytes: &[u8]) -> Result<Artifact, ArtifactInvalid> {
    bounded(bytes)?;
    let body = bytes
        .strip_prefix(ARTIFACT_MAGIC)
        .ok_or(ArtifactInvalid::Magic)?;
    let artifact: Artifact = postcard::from_bytes(body).map_err(ArtifactInvalid::Encoding)?;
    if to_bytes(&artifact)? != bytes {
        return Err(ArtifactInvalid::NotCanonical);
    }
    check(&artifact)?;
    Ok(artifact)
}

/// What names an artifact: SHA-256 of its bytes.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Compiles an expression of an agent's test, within the limits that every artifact keeps.
///
/// # Errors
/// It does not compile, or becomes too large.
pub fn compile_expression(agent: &str, source: &str) -> Result<Regex, ArtifactInvalid> {
    RegexBuilder::new(source)
        .size_limit(EXPRESSION_COMPILED_BYTES_MAX)
        .build()
        .map_err(|error| {
            let fault = Fault::Expression {
                expression: source.to_owned(),
                source: Box::new(error),
            };
            ArtifactInvalid::Content {
                place: place_of(agent),
                fault,
            }
        })
}

fn bounded(bytes: &[u8]) -> Result<(), ArtifactInvalid> {
    if bytes.len() > ARTIFACT_BYTES_MAX {
        return Err(ArtifactInvalid::TooLarge { bytes: bytes.len() });
    }
    Ok(())
}

fn to_bytes(artifact: &Artifact) -> Result<Vec<u8>, ArtifactInvalid> {
    postcard::to_extend(artifact, ARTIFACT_MAGIC.to_vec()).map_err(ArtifactInvalid::Encoding)
}

fn place_of(agent: &str) -> String {
    if agent.is_empty() {
        "agent without a name".to_owned()
    } else {
        format!("agent `{agent}`")
    }
}

/// Every limit and every order, except that expressions compile.
fn check(artifact: &Artifact) -> Result<(), ArtifactInvalid> {
    let at = |place: &str| {
        let place = place.to_owned();
        move |fault| ArtifactInvalid::Content { place, fault }
    };
    check_list("demands", &artifact.requires).map_err(at("artifact"))?;
    check_runtime(&artifact.runtime).map_err(at("runtime"))?;
    check_agents(&artifact.agents).map_err(at("agents"))?;
    for agent in &artifact.agents {
        check_agent(agent).map_err(at(&place_of(&agent.name)))?;
        for rule in &agent.rules {
            let place = || format!("{}, rule at line {}", place_of(&agent.name), rule.line);
            check_rule(rule, agent.tests.len()).map_err(|fault| ArtifactInvalid::Content {
                place: place(),
                fault,
            })?;
        }
    }
    Ok(())
}

fn check_runtime(runtime: &Runtime) -> Result<(), Fault> {
    check_list("kept variables", &runtime.keep_env)?;
    if runtime
        .keep_env
        .iter()
        .any(|name| name.contains(['=', '\0']))
    {
        return Err(Fault::OutOfRange("name of a kept variable"));
    }
    check_list("allowed sockets", &runtime.allowed_sockets)?;
    let is_path = |path: &String| {
        path.starts_with('/') && path.len() <= SOCKET_PATH_BYTES_MAX && !path.contains('\0')
    };
    if !runtime.allowed_sockets.iter().all(is_path) {
        return Err(Fault::OutOfRange("path of an allowed socket"));
    }
    if runtime.cold_start_deny_window_ms == 0
        || runtime.cold_start_deny_window_ms > COLD_START_MS_MAX
    {
        return Err(Fault::OutOfRange("cold start deny window"));
    }
    Ok(())
}

fn check_agents(agents: &[AgentPolicy]) -> Result<(), Fault> {
    at_most("agents", agents.len(), AGENTS_MAX)?;
    ascending("agents", agents.iter().map(|agent| &agent.name))?;
    match agents {
        [] => Err(Fault::Empty("list of agents")),
        [only] if only.name.is_empty() => Ok(()),
        [first, ..] if first.name.is_empty() => Err(Fault::AnonymousBesideOthers),
        all => all.iter().try_for_each(|agent| {
            call::check_agent_name(&agent.name).map_err(|source| Fault::Name {
                what: "agent",
                source,
            })
        }),
    }
}

fn check_agent(agent: &AgentPolicy) -> Result<(), Fault> {
    if let Some(user) = &agent.run_as {
        let named = |source| Fault::Name {
            what: "user of `run_as`",
            source,
        };
        call::check_name(user, USER_BYTES_MAX, "_-.").map_err(named)?;
    }
    at_most("pieces of metadata", agent.metadata.len(), LIST_MAX)?;
    ascending("metadata", agent.metadata.iter().map(|(key, _)| key))?;
    for (key, value) in &agent.metadata {
        check_text("key of metadata", key)?;
        at_most("bytes of metadata", value.len(), TEXT_BYTES_MAX)?;
    }
    at_most("rules", agent.rules.len(), RULES_MAX)?;
    ascending("fields", agent.fields.iter())?;
    agent.fields.iter().try_for_each(check_field)?;
    let distinct: HashSet<&Test> = agent.tests.iter().collect();
    if distinct.len() != agent.tests.len() {
        return Err(Fault::Twice("test"));
    }
    agent
        .tests
        .iter()
        .try_for_each(|test| check_test(test, agent.fields.len()))
}

fn check_field(field: &Field) -> Result<(), Fault> {
    let Field::Args(path) = field else {
        return Ok(());
    };
    if path.is_empty() {
        return Err(Fault::Empty("path of an argument"));
    }
    at_most("levels of an argument", path.len(), json::DEPTH_MAX)?;
    path.iter()
        .try_for_each(|name| check_text("name of an argument", name))
}

fn check_test(test: &Test, fields: usize) -> Result<(), Fault> {
    let exists = |field: u32| {
        ((field as usize) < fields)
            .then_some(())
            .ok_or(Fault::NoSuch("test of a field"))
    };
    exists(test.field)?;
    match &test.ask {
        Ask::Equals(literal) | Ask::Contains(literal) => check_literal(literal),
        Ask::CompareField(_, other) => exists(*other),
        Ask::In(list) => {
            let first = list.first().ok_or(Fault::Empty("`in` list"))?;
            at_most("values of an `in` list", list.len(), IN_MAX)?;
            if list
                .iter()
                .any(|item| std::mem::discriminant(item) != std::mem::discriminant(first))
            {
                return Err(Fault::MixedTypes);
            }
            ascending("values of an `in` list", list.iter())?;
            list.iter().try_for_each(check_literal)
        }
        Ask::Matches(source) => at_most(
            "bytes of a regular expression",
            source.len(),
            EXPRESSION_BYTES_MAX,
        ),
        Ask::Compare(..) | Ask::Has | Ask::IsTrue => Ok(()),
    }
}

fn check_literal(literal: &Literal) -> Result<(), Fault> {
    match literal {
        Literal::String(text) => at_most("bytes of a string", text.len(), LONG_TEXT_BYTES_MAX),
        Literal::Bool(_) | Literal::Number(_) => Ok(()),
    }
}

fn check_rule(rule: &Rule, tests: usize) -> Result<(), Fault> {
    pattern::check(&rule.pattern)?;
    check_condition(&rule.condition, tests)?;
    at_most(
        "bytes of a reason",
        rule.reason.as_ref().map_or(0, String::len),
        TEXT_BYTES_MAX,
    )?;
    check_list("teams to notify", &rule.notify)?;
    at_most("bytes of a rule", rule.text.len(), LONG_TEXT_BYTES_MAX)?;
    if rule.line == 0 {
        Err(Fault::OutOfRange("line"))
    } else {
        Ok(())
    }
}

/// Runs the stack without values: it never underflows, never passes its limit, and ends with one.
fn check_condition(condition: &[Op], tests: usize) -> Result<(), Fault> {
    if condition.is_empty() {
        return Ok(());
    }
    at_most("steps of a condition", condition.len(), OPS_PER_RULE_MAX)?;
    let asked = condition
        .iter()
        .filter(|op| matches!(op, Op::Test(_)))
        .count();
    at_most("tests in a condition", asked, TESTS_PER_RULE_MAX)?;
    let mut waiting = 0_usize;
    for op in condition {
        waiting = match op {
            Op::Test(test) if (*test as usize) >= tests => {
                return Err(Fault::NoSuch("condition has a test"));
            }
            Op::Test(_) | Op::Const(_) => waiting + 1,
            Op::And | Op::Or if waiting < 2 => return Err(Fault::Unbalanced),
            Op::And | Op::Or => waiting - 1,
            Op::Not if waiting < 1 => return Err(Fault::Unbalanced),
            Op::Not => waiting,
        };
        at_most("levels of a condition", waiting, CONDITION_DEPTH_MAX)?;
    }
    if waiting == 1 {
        Ok(())
    } else {
        Err(Fault::Unbalanced)
    }
}

/// A short list of short texts, sorted, each once, none empty.
fn check_list(what: &'static str, list: &[String]) -> Result<(), Fault> {
    at_most(what, list.len(), LIST_MAX)?;
    ascending(what, list.iter())?;
    list.iter().try_for_each(|text| check_text(what, text))
}

fn check_text(what: &'static str, text: &str) -> Result<(), Fault> {
    if text.is_empty() {
        return Err(Fault::Empty(what));
    }
    at_most("bytes of a text", text.len(), TEXT_BYTES_MAX)
}

const fn at_most(what: &'static str, count: usize, max: usize) -> Result<(), Fault> {
    if count > max {
        Err(Fault::TooMany { what, max })
    } else {
        Ok(())
    }
}

fn ascending<T: Ord>(
    what: &'static str,
    items: impl Iterator<Item = T> + Clone,
) -> Result<(), Fault> {
    let next = items.clone().skip(1);
    if items.zip(next).all(|(a, b)| a < b) {
        Ok(())
    } else {
        Err(Fault::NotSorted(what))
    }
}

impl fmt::Display for Field {
    /// As a person reads it: `args.to.domain`; a name that is no plain word stands in quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match self {
            Field::Tool => return f.write_str("tool"),
            Field::Agent => return f.write_str("agent"),
            Field::Args(path) => path,
        };
        f.write_str("args")?;
        for name in path {
            if name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
            {
                write!(f, ".{name}")?;
            } else {
                let mut quoted = String::new();
                json::write_string(name, &mut quoted);
                write!(f, ".{quoted}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    fn sound() -> Artifact {
        let rule = Rule {
            effect: RuleEffect::Permit,
            pattern: "stripe/refund".to_owned(),
            condition: vec![Op::Test(0), Op::Test(1), Op::And, Op::Not],
            reason: Some("small".to_owned()),
            notify: vec!["ops".to_owned(), "pay".to_owned()],
            line: 7,
            text: "permit stripe/refund".to_owned(),
        };
        Artifact {
            requires: vec!["rules".to_owned()],
            runtime: Runtime {
                mode: Mode::Enforce,
                cold_start_deny_window_ms: 30_000,
                reveal_rule: None,
                keep_env: vec!["OPENAI_BASE_URL".to_owned()],
                profile: Profile::Full,
                allowed_sockets: vec!["/run/desk.sock".to_owned()],
            },
            agents: vec![AgentPolicy {
                name: "bot".to_owned(),
                run_as: Some("agent-1".to_owned()),
                default: Effect::Deny,
                metadata: vec![("model".to_owned(), "x".to_owned())],
                rules: vec![rule],
                fields: vec![Field::Args(vec!["amount".to_owned()]), Field::Tool],
                tests: vec![
                    Test {
                        field: 0,
                        ask: Ask::Compare(Order::Less, Decimal::from(500)),
                    },
                    Test {
                        field: 1,
                        ask: Ask::Matches("^stripe/".to_owned()),
                    },
                ],
            }],
        }
    }

    fn agent(artifact: &mut Artifact) -> &mut AgentPolicy {
        artifact.agents.first_mut().unwrap()
    }

    fn rule(artifact: &mut Artifact) -> &mut Rule {
        agent(artifact).rules.first_mut().unwrap()
    }

    fn ask(artifact: &mut Artifact) -> &mut Ask {
        &mut agent(artifact).tests.first_mut().unwrap().ask
    }

    /// Neither end lets it pass: not the compiler's, and not the daemon's.
    fn refused(change: fn(&mut Artifact)) -> String {
        let mut artifact = sound();
        change(&mut artifact);
        let loaded = Policy::load(&to_bytes(&artifact).unwrap()).unwrap_err();
        assert_eq!(
            encode(&artifact).unwrap_err().to_string(),
            loaded.to_string()
        );
        loaded.to_string()
    }

    #[test]
    fn an_artifact_comes_back_as_it_was_and_its_digest_is_that_of_its_bytes() {
        let bytes = encode(&sound()).unwrap();
        assert_eq!(decode(&bytes).unwrap(), sound());
        assert_eq!(encode(&decode(&bytes).unwrap()).unwrap(), bytes);
        assert_eq!(*Policy::load(&bytes).unwrap().digest(), digest(&bytes));
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_refused_or_another_policy() {
        let bytes = encode(&sound()).unwrap();
        for at in 0..bytes.len() {
            assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                if let Ok(artifact) = decode(&changed) {
                    assert_ne!(artifact, sound(), "byte {at} bit {bit}");
                }
            }
        }
        let longer = [bytes.as_slice(), b"\0"].concat();
        assert!(matches!(
            decode(&longer),
            Err(ArtifactInvalid::NotCanonical)
        ));
    }

    #[test]
    fn a_number_written_in_more_bytes_than_it_needs_is_refused() {
        // The list of demands has one entry: its length 1 as a varint of two bytes.
        let bytes = encode(&sound()).unwrap();
        let mut longer = ARTIFACT_MAGIC.to_vec();
        longer.extend([0x81, 0x00]);
        longer.extend(&bytes[ARTIFACT_MAGIC.len() + 1..]);
        assert!(matches!(
            decode(&longer),
            Err(ArtifactInvalid::NotCanonical)
        ));
    }

    #[test]
    fn other_files_and_other_versions_are_refused() {
        for bytes in [&b""[..], b"\x7fELF", b"faramesh artifact 2\n"] {
            assert!(matches!(decode(bytes), Err(ArtifactInvalid::Magic)));
        }
        let large = vec![0; ARTIFACT_BYTES_MAX + 1];
        assert!(matches!(
            decode(&large),
            Err(ArtifactInvalid::TooLarge { .. })
        ));
    }

    #[test]
    fn a_length_that_the_bytes_do_not_hold_is_refused_without_reserving_it() {
        let mut bytes = ARTIFACT_MAGIC.to_vec();
        bytes.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
        assert!(matches!(decode(&bytes), Err(ArtifactInvalid::Encoding(_))));
    }

    #[test]
    fn an_index_that_leads_nowhere_is_refused() {
        assert_eq!(
            refused(|a| rule(a).condition = vec![Op::Test(2)]),
            "agent `bot`, rule at line 7: condition has a test that does not exist"
        );
        assert_eq!(
            refused(|a| agent(a).tests.last_mut().unwrap().field = 2),
            "agent `bot`: test of a field that does not exist"
        );
        refused(|a| *ask(a) = Ask::CompareField(Relation::Equal, 2));
    }

    #[test]
    fn a_condition_that_does_not_balance_is_refused() {
        for condition in [
            vec![Op::And],
            vec![Op::Not],
            vec![Op::Test(0), Op::Or],
            vec![Op::Test(0), Op::Test(1)],
            vec![Op::Test(0), Op::Not, Op::And, Op::Test(0)],
        ] {
            let mut artifact = sound();
            rule(&mut artifact).condition = condition;
            assert!(
                encode(&artifact)
                    .unwrap_err()
                    .to_string()
                    .ends_with("condition is not balanced")
            );
        }
    }

    #[test]
    fn the_limits_of_a_condition_hold() {
        let chain = |tests: usize| {
            let more = std::iter::repeat_n([Op::Test(1), Op::Or], tests - 1).flatten();
            std::iter::once(Op::Test(0)).chain(more).collect::<Vec<_>>()
        };
        let nested = |levels: usize| {
            let mut ops = vec![Op::Test(0); levels];
            ops.extend(vec![Op::And; levels - 1]);
            ops
        };
        let encodes = |condition: Vec<Op>| {
            let mut artifact = sound();
            rule(&mut artifact).condition = condition;
            encode(&artifact).is_ok()
        };
        assert!(encodes(chain(TESTS_PER_RULE_MAX)) && !encodes(chain(TESTS_PER_RULE_MAX + 1)));
        assert!(encodes(nested(CONDITION_DEPTH_MAX)) && !encodes(nested(CONDITION_DEPTH_MAX + 1)));
        let negations = |count: usize| [vec![Op::Test(0)], vec![Op::Not; count]].concat();
        assert!(encodes(negations(OPS_PER_RULE_MAX - 1)) && !encodes(negations(OPS_PER_RULE_MAX)));
    }

    #[test]
    fn lists_out_of_order_or_with_a_thing_twice_are_refused() {
        refused(|a| rule(a).notify.reverse());
        refused(|a| rule(a).notify = vec!["ops".to_owned(); 2]);
        refused(|a| a.requires = vec!["rules".to_owned(); 2]);
        refused(|a| agent(a).fields.reverse());
        refused(|a| {
            agent(a).tests = vec![
                Test {
                    field: 0,
                    ask: Ask::Has
                };
                2
            ]
        });
        refused(|a| a.agents.push(a.agents.first().unwrap().clone()));
        refused(|a| agent(a).metadata.push(("model".to_owned(), "y".to_owned())));
    }

    #[test]
    fn an_in_list_is_sorted_of_one_type_and_not_empty() {
        refused(|a| *ask(a) = Ask::In(vec![]));
        refused(|a| *ask(a) = Ask::In(vec![Literal::Bool(true), Literal::String("x".to_owned())]));
        refused(|a| *ask(a) = Ask::In([10, 9].map(|n| Literal::Number(Decimal::from(n))).to_vec()));
        let mut artifact = sound();
        // By value, not by text.
        *ask(&mut artifact) = Ask::In([9, 10].map(|n| Literal::Number(Decimal::from(n))).to_vec());
        assert!(encode(&artifact).is_ok());
    }

    #[test]
    fn a_pattern_or_an_expression_that_is_none_is_refused() {
        refused(|a| rule(a).pattern = "a/**".to_owned());
        refused(|a| rule(a).pattern = String::new());
        let message = refused(|a| *ask(a) = Ask::Matches("(".to_owned()));
        assert!(
            message.starts_with("agent `bot`: regular expression `(`: "),
            "{message}"
        );
        // Small as a text, large when compiled.
        refused(|a| *ask(a) = Ask::Matches("(?:(?:\\w{100}){100}){100}".to_owned()));
        refused(|a| *ask(a) = Ask::Matches("x".repeat(EXPRESSION_BYTES_MAX + 1)));
    }

    #[test]
    fn agents_have_names_and_one_without_stands_alone() {
        refused(|a| a.agents.clear());
        refused(|a| agent(a).name = "a b".to_owned());
        refused(|a| agent(a).run_as = Some("root user".to_owned()));
        refused(|a| {
            a.agents.insert(
                0,
                AgentPolicy {
                    name: String::new(),
                    ..a.agents.first().unwrap().clone()
                },
            )
        });
        let mut alone = sound();
        agent(&mut alone).name = String::new();
        assert!(Policy::of(&alone).unwrap().agent("anyone").is_some());
        assert!(Policy::of(&sound()).unwrap().agent("anyone").is_none());
    }

    #[test]
    fn the_runtime_has_no_impossible_values() {
        refused(|a| a.runtime.cold_start_deny_window_ms = 0);
        refused(|a| a.runtime.allowed_sockets = vec!["run/x.sock".to_owned()]);
        refused(|a| {
            a.runtime.allowed_sockets = vec![format!("/{}", "x".repeat(SOCKET_PATH_BYTES_MAX))]
        });
        refused(|a| a.runtime.keep_env = vec!["A=B".to_owned()]);
        refused(|a| rule(a).line = 0);
        refused(|a| agent(a).fields = vec![Field::Args(vec![]), Field::Tool]);
    }

    #[test]
    fn a_field_is_shown_as_it_is_written() {
        let field = |path: &[&str]| {
            Field::Args(path.iter().map(|name| (*name).to_owned()).collect()).to_string()
        };
        assert_eq!(field(&["to", "domain"]), "args.to.domain");
        assert_eq!(field(&["a.b", "c d"]), r#"args."a.b"."c d""#);
    }
}
