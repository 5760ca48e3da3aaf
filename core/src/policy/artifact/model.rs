//! What a policy is once it is compiled: plain data, and nothing that depends on how its source was laid out.
//!
//! Invariant: two sources that mean the same make the same value here. Lines, comments and spelling stay outside, in the
//! compiler's source map.

use crate::decimal::Decimal;
use crate::decision::Effect;
use serde::{Deserialize, Serialize};

/// A compiled `governance.fms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// What a daemon must announce to be allowed to run it: exactly [`super::capabilities::of`] the rest.
    pub requires: Vec<String>,
    /// The stack-wide settings.
    pub runtime: Runtime,
    /// Sorted by name, names unique, at least one.
    pub agents: Vec<AgentPolicy>,
    /// Blocks of the whole stack that nothing here decides by: `provider`, `identity`, … Sorted.
    pub declarations: Vec<Declaration>,
}

/// The setting that [`Runtime::wal_retention_ms`] reads.
pub const WAL_RETENTION: &str = "wal_retention";
/// The shortest and the longest retention, milliseconds: a day, because a removal is never urgent; a hundred years.
pub const RETENTION_MS: (u64, u64) = (86_400_000, 36_500 * 86_400_000);
/// Where a policy says nothing: 180 days.
pub const RETENTION_DEFAULT_MS: u64 = 180 * 86_400_000;

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
    /// The zone that `time.*` is read in.
    pub zone: Zone,
    /// Settings that nothing here decides by, sorted by key, keys unique.
    pub declared: Vec<Setting>,
    /// What witnesses have to have seen; `None`: calls do not wait for witnesses.
    pub anchor: Option<Anchor>,
}

/// `runtime { anchor_quorum, anchor_max_lag, anchor_on_lag }`: whoever writes one of them asks for all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Different pinned witnesses that have to cosign a checkpoint before it counts as attested.
    pub quorum: u32,
    /// For so long at most may a record lie in the journal without being attested, milliseconds.
    pub max_lag_ms: u64,
    /// What is answered then.
    pub on_lag: OnLag,
}

impl Default for Anchor {
    /// What holds of it without being written: one witness, ten minutes, and no call after that. Ten minutes are a restart
    /// of the host that the witness is on.
    fn default() -> Anchor {
        Anchor {
            quorum: 1,
            max_lag_ms: 600_000,
            on_lag: OnLag::Deny,
        }
    }
}

/// `runtime { anchor_on_lag }`, milder first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OnLag {
    /// Status says so; calls proceed.
    Warn,
    /// What would be permitted is deferred to a person.
    Defer,
    /// Every call is refused.
    Deny,
}

impl OnLag {
    /// The word in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            OnLag::Warn => "warn",
            OnLag::Defer => "defer",
            OnLag::Deny => "deny",
        }
    }
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

/// A time zone as a table, so that a decision needs no database of zones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// Its IANA name, `UTC` where none is given.
    pub name: String,
    /// Seconds east of UTC before the first transition.
    pub offset: i32,
    /// (seconds since the Unix epoch, seconds east of UTC from then on), rising.
    pub transitions: Vec<(i64, i32)>,
}

impl Zone {
    /// Coordinated universal time.
    pub fn utc() -> Zone {
        Zone {
            name: "UTC".to_owned(),
            offset: 0,
            transitions: Vec::new(),
        }
    }
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
    /// Fields that tests read, sorted, each once; tests name them by index. Calculated ones come last.
    pub fields: Vec<Field>,
    /// Tests, each once; condition programs name them by index.
    pub tests: Vec<Test>,
    /// `require enforcement LAYER`: layers that must have been measured as holding, sorted, each once.
    pub demands: Vec<String>,
    /// `tool "x" { … }`, sorted by pattern, each pattern once.
    pub schemas: Vec<ToolSchema>,
    /// `paths { … }`.
    pub paths: Option<PathRules>,
    /// `redact TOOL args: […]`, sorted, each pattern once.
    pub redactions: Vec<Redaction>,
    /// `examples { … }`, in file order. The compiler ran them.
    pub examples: Vec<Example>,
    /// `phase x { … }`, in file order. Nothing here decides by them.
    pub phases: Vec<Phase>,
    /// Blocks that nothing here decides by: `budget`, `egress`, … Sorted.
    pub declarations: Vec<Declaration>,
}

impl Runtime {
    /// `wal_retention`: for so long bodies of records are kept at least, milliseconds. Settings out of [`RETENTION_MS`] are
    /// refused by the compiler, and read as the nearest end here: nothing is removed earlier than a day after it was written.
    pub fn wal_retention_ms(&self) -> u64 {
        let given = self.declared.iter().find(|one| one.key == WAL_RETENTION);
        match given.map(|one| one.values.as_slice()) {
            Some([Datum::Number(seconds, Unit::Seconds)]) => {
                let (least, most) = RETENTION_MS;
                let seconds = seconds.to_i64().and_then(|whole| u64::try_from(whole).ok());
                seconds.map_or(most, |seconds| {
                    seconds.saturating_mul(1_000).clamp(least, most)
                })
            }
            _ => RETENTION_DEFAULT_MS,
        }
    }
}

impl Default for Runtime {
    /// What holds without a `runtime` block. The cold start window: a journal of ten million records opens in a second.
    fn default() -> Runtime {
        Runtime {
            mode: Mode::Enforce,
            cold_start_deny_window_ms: 30_000,
            reveal_rule: None,
            keep_env: Vec::new(),
            profile: Profile::Full,
            allowed_sockets: Vec::new(),
            zone: Zone::utc(),
            declared: Vec::new(),
            anchor: None,
        }
    }
}

impl Default for AgentPolicy {
    /// The agent without a name that may do nothing.
    fn default() -> AgentPolicy {
        AgentPolicy {
            name: String::new(),
            run_as: None,
            default: Effect::Deny,
            metadata: Vec::new(),
            rules: Vec::new(),
            fields: Vec::new(),
            tests: Vec::new(),
            demands: Vec::new(),
            schemas: Vec::new(),
            paths: None,
            redactions: Vec::new(),
            examples: Vec::new(),
            phases: Vec::new(),
            declarations: Vec::new(),
        }
    }
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
    /// Its clauses `method`, `host`, `door`, … and its condition, in postfix form over the agent's tests; empty:
    /// always yes.
    pub condition: Vec<Op>,
    /// `reason "…"`.
    pub reason: Option<String>,
    /// `notify "…"`, sorted, each once.
    pub notify: Vec<String>,
    /// `reeval: true`: what a person approved is decided once more.
    pub reeval: bool,
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

/// Something that a test can ask about. Where each comes from is [`Field::source`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Field {
    /// `args.a.b`.
    Args(Vec<String>),
    /// `tool`: the tool's name, exact for the decision.
    Tool,
    /// `action`: the last part of the tool's name.
    Action,
    /// `agent`: as attested.
    Agent,
    /// `model`: the model that is really asked.
    Model,
    /// What `purpose("…")` is compared with.
    Purpose,
    /// `door`: the way in, `govern`, `egress`, …
    Door,
    /// `host HOST`: of the request that is really sent.
    Host,
    /// `port N`.
    Port,
    /// `method GET`, upper case.
    Method,
    /// `path /v1/*`.
    Path,
    /// `query k=v`, `query.k`.
    Query(String),
    /// `header k=v`, `headers.k`; the name in lower case.
    Header(String),
    /// `principal.email`; `principal` alone is `id`.
    Principal(String),
    /// `time.hour`, in the stack's zone.
    Time(TimePart),
    /// `session.call_count`.
    Session(SessionPart),
    /// `selectors.NAME.a.b`.
    Selector(String, Vec<String>),
    /// `delegation.depth`.
    Delegation(String),
    /// `enforcement.LAYER`: whether it was measured as holding.
    Enforcement(String),
    /// `len(args.a)`: elements of a list, characters of a text, members of an object.
    Length(Vec<String>),
    /// `session.sum(tool.field, window=…)`: over committed permits of this session, without this call.
    Sum {
        /// Which tools' calls.
        pattern: String,
        /// Which of their arguments.
        path: Vec<String>,
        /// How far back, milliseconds; `None`: since the session began.
        window_ms: Option<u64>,
    },
    /// `session.count(tool, window=…)` and `history.within(tool, …)`: committed permits of this session.
    Count {
        /// Which tools' calls.
        pattern: String,
        /// How far back, milliseconds; `None`: since the session began.
        window_ms: Option<u64>,
    },
    /// `session.denials(window=…)`: denials that this session was given.
    Denials {
        /// How far back, milliseconds; `None`: since the session began.
        window_ms: Option<u64>,
    },
    /// Arithmetic over other fields, in postfix form; none of them is calculated.
    Calculated(Vec<Step>),
}

/// A step of a calculation over exact decimals. What is beyond their limits makes the test *maybe*.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Step {
    /// Push the number in the field of this index.
    Field(u32),
    /// Push a constant.
    Number(Decimal),
    /// Replace the top two by their sum.
    Add,
    /// Replace the top two by the lower one less the top.
    Subtract,
    /// Replace the top two by their product.
    Multiply,
}

/// A part of the wall time in the stack's zone; each is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TimePart {
    /// 0–23.
    Hour,
    /// 0–59.
    Minute,
    /// 1 (Monday) to 7, as ISO 8601 counts.
    Weekday,
    /// 1–31.
    Day,
    /// 1–12.
    Month,
    /// 2026.
    Year,
    /// Seconds since the Unix epoch, in any zone.
    Now,
}

/// What is known of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SessionPart {
    /// Decisions that it was given before this one.
    CallCount,
    /// Seconds since it began.
    Duration,
    /// What its calls cost, as reported.
    CostUsd,
}

/// Who vouches for a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are those of docs/semantics.md")]
pub enum Source {
    Kernel,
    Daemon,
    Broker,
    Claimed,
}

impl Source {
    /// The word in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Source::Kernel => "kernel",
            Source::Daemon => "daemon",
            Source::Broker => "broker",
            Source::Claimed => "claimed",
        }
    }
}

impl Field {
    /// Who vouches for its value, at the best door. A calculated field is worth its weakest part: asked of its parts.
    pub const fn source(&self) -> Source {
        match self {
            Field::Args(_)
            | Field::Tool
            | Field::Action
            | Field::Purpose
            | Field::Length(_)
            | Field::Calculated(_) => Source::Claimed,
            Field::Agent
            | Field::Door
            | Field::Principal(_)
            | Field::Time(_)
            | Field::Session(_)
            | Field::Selector(..)
            | Field::Delegation(_)
            | Field::Sum { .. }
            | Field::Count { .. }
            | Field::Denials { .. } => Source::Daemon,
            Field::Enforcement(_) => Source::Kernel,
            Field::Model
            | Field::Host
            | Field::Port
            | Field::Method
            | Field::Path
            | Field::Query(_)
            | Field::Header(_) => Source::Broker,
        }
    }
}

/// A question about one field. Operands of another type make it *maybe*, and so does absence.
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
    /// A relation to another field.
    CompareField(Relation, u32),
    /// `in [..]`, sorted, each once, all of one type.
    In(Vec<Literal>),
    /// `matches "re"`: a search in a string, not anchored.
    Matches(String),
    /// `contains`: of a list, an equal element; of a string, a substring.
    Contains(Literal),
    /// `starts_with`, of a string.
    StartsWith(String),
    /// `ends_with`, of a string.
    EndsWith(String),
    /// A string against a glob.
    Glob(Glob, String),
    /// Some element of a list against a glob of text.
    AnyGlob(String),
    /// `has`: present and not null. Yes or no, never maybe.
    Has,
    /// A bare field as a condition: its own boolean.
    IsTrue,
}

/// How `*` is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Glob {
    /// `*.example.com`: a leading `*.` is one or more labels; letters of either case are the same. A lone `*`: any.
    Host,
    /// As in a tool's pattern: within a segment, or everything below at the end.
    Path,
    /// Any characters, none too.
    Text,
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

/// A relation between two fields, the test's own on the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the operators")]
pub enum Relation {
    Equal,
    Order(Order),
    Contains,
    StartsWith,
    EndsWith,
}

/// A constant in a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the JSON types")]
pub enum Literal {
    Bool(bool),
    Number(Decimal),
    String(String),
}

/// `tool "x" { arg amount: money required  closed }`: what a call of these tools looks like. One that does not is no
/// call (`CALL_INVALID`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolSchema {
    /// Which tools.
    pub pattern: String,
    /// Sorted by path, each once.
    pub arguments: Vec<Argument>,
    /// There are no other arguments; a test of one is *no*.
    pub closed: bool,
}

/// One argument of a schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Argument {
    /// `a.b`.
    pub path: Vec<String>,
    /// What it holds.
    pub kind: Kind,
    /// A call without it is no call.
    pub required: bool,
}

/// What an argument holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the names are the types; money, durations and sizes are numbers in a call"
)]
pub enum Kind {
    Any,
    Bool,
    Number,
    Money,
    Duration,
    Size,
    Text,
    List,
    Object,
    /// A path in a file system, and what the tool does with it.
    Path(Access),
}

impl Kind {
    /// Whether a number of this kind may be below zero: amounts, durations and sizes may not.
    pub const fn may_be_negative(self) -> bool {
        !matches!(self, Kind::Money | Kind::Duration | Kind::Size)
    }
}

/// What a tool does with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Access {
    /// Reads only.
    Read,
    /// Reads and changes.
    Edit,
}

/// `paths { … }`: globs over normalised paths, each list sorted, each once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRules {
    /// Neither read nor changed.
    pub read_exclude: Vec<String>,
    /// Not changed.
    pub edit_deny: Vec<String>,
    /// A change is deferred to a person.
    pub edit_protected: Vec<String>,
    /// Where given, changes happen here and nowhere else.
    pub edit_allow: Vec<String>,
}

/// `redact TOOL args: ["a", "b.c"]`: what records do not keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redaction {
    /// Which tools.
    pub pattern: String,
    /// Which arguments, sorted, each once.
    pub paths: Vec<Vec<String>>,
}

/// One line of `examples { … }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// What must come out.
    pub effect: Effect,
    /// The code that must come with it, where one is given.
    pub code: Option<String>,
    /// The tool.
    pub tool: String,
    /// Canonical text of the arguments.
    pub arguments: String,
    /// `given { time.hour: 3 }`: what is supposed beside the arguments; canonical JSON, sorted by field.
    pub given: Vec<(Field, String)>,
}

/// `phase x { … }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// `duration`, `next`, `tools`, sorted by key.
    pub settings: Vec<Setting>,
    /// In file order; their conditions are over the agent's tests.
    pub rules: Vec<Rule>,
}

/// A block that was read and checked and that nothing here decides by. What it asks for is in
/// [`Artifact::requires`], so that no daemon runs it that does not enforce it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Declaration {
    /// `budget`, `credential`, `provider`, …
    pub keyword: String,
    /// What stands between the keyword and the brace.
    pub labels: Vec<Datum>,
    /// Sorted by key.
    pub settings: Vec<Setting>,
    /// Blocks in it, sorted.
    pub inner: Vec<Declaration>,
}

/// `key value…` of a declaration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// One value, or several on one line.
    pub values: Vec<Datum>,
}

/// A value in a declaration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Datum {
    /// `true`, `false`.
    Bool(bool),
    /// In base units: seconds, bytes.
    Number(Decimal, Unit),
    /// A word or a string.
    Text(String),
    /// `[…]`.
    List(Vec<Datum>),
    /// `env("NAME")`: the name, never the value. The process that needs it looks it up.
    Env(String),
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the units")]
pub enum Unit {
    None,
    Money,
    Seconds,
    Bytes,
}
