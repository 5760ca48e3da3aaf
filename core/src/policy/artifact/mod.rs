//! The artifact: a compiled policy in canonical bytes.
//!
//! Invariant: `decode` accepts exactly the bytes that `encode` makes (it encodes again and compares), so that a digest
//! names one policy and one policy has one digest. Everything in it has a limit, checked here and not by the compiler,
//! because the compiler is outside the trusted core.

pub mod capabilities;
mod check;
mod expression;
mod model;

pub use expression::{Expression, ExpressionInvalid};
pub use model::*;

use crate::call::NameInvalid;
use crate::json;
use crate::policy::pattern::PatternInvalid;
use sha2::{Digest, Sha256};
use std::fmt;

/// First bytes of every artifact; the digit is the format's version.
pub const ARTIFACT_MAGIC: &[u8] = b"faramesh artifact 3\n";
/// An artifact's size, bytes: 10,000 rules of the corpus take under 3 MiB.
pub const ARTIFACT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Rules in one agent.
pub const RULES_MAX: usize = 100_000;
/// Tests in one rule's condition: bounds the cost of a decision.
pub const TESTS_PER_RULE_MAX: usize = 1_024;
/// Steps of one condition: its tests, an operator for each, and room for negations.
pub const OPS_PER_RULE_MAX: usize = 4 * TESTS_PER_RULE_MAX;
/// Steps of all conditions of one agent: twenty for each of the most rules. A decision may take them all, at some
/// nanoseconds each.
pub const OPS_MAX: usize = 20 * RULES_MAX;
/// Tests of one agent.
pub const TESTS_MAX: usize = 2 * RULES_MAX;
/// Those tests of one agent that walk through a value, which may have a mebibyte: `contains`, globs, comparisons of two
/// fields, and whatever is asked of a length, a calculation or a sum.
pub const WALKS_MAX: usize = 10_000;
/// Values that a condition keeps waiting at once: a chain of one operator needs two, nesting one more a level.
pub const CONDITION_DEPTH_MAX: usize = 64;
/// Numbers that a calculation keeps waiting at once.
pub const CALCULATION_DEPTH_MAX: usize = 16;
/// Steps of one calculation: what a person writes on a line, and a bound on the work with numbers of many digits.
pub const CALCULATION_STEPS_MAX: usize = 64;
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
/// Bytes of a compiled regular expression's automaton: some ten classes of letters of every script.
pub const EXPRESSION_COMPILED_BYTES_MAX: usize = 256 * 1024;
/// Bytes of the table that a small expression is worked out to, in which a byte of text is one step: some hundred states.
/// One that would need a larger table, or more memory than this while it is made, is searched state by state.
pub const EXPRESSION_TABLE_BYTES_MAX: usize = 32 * 1024;
/// Longest text that `matches` searches, bytes; of a longer one the answer is *maybe*.
pub const SEARCHED_BYTES_MAX: usize = 32 * 1024;
/// Weights of one agent's expressions together: bounds their memory and the time of loading them.
pub const EXPRESSION_WEIGHT_MAX: usize = 4_096;
/// Fields of one agent: each decision has a place for each.
pub const FIELDS_MAX: usize = 100_000;
/// Different sums and counts in one artifact: each caller holds each of them.
pub const WINDOWS_MAX: usize = 256;
/// Bytes of a sum's or count's name: records hold it whole.
pub const WINDOW_BYTES_MAX: usize = 512;
/// Longest window, milliseconds: a leap year. A session ends before it.
pub const WINDOW_MS_MAX: u64 = 366 * 24 * 3_600_000;
/// Schemas and redactions of one agent: some for each tool that it has.
pub const SCHEMAS_MAX: usize = 4_096;
/// Arguments of one schema or redaction.
pub const ARGUMENTS_MAX: usize = 256;
/// Globs of one list in `paths`: bounds the work for a path in a call.
pub const PATH_GLOBS_MAX: usize = 128;
/// Examples of one agent: the compiler runs each.
pub const EXAMPLES_MAX: usize = 10_000;
/// Blocks within one block, or in one agent.
pub const DECLARATIONS_MAX: usize = 4_096;
/// Levels of blocks within blocks, and of lists within lists: bounds recursion.
pub const DECLARATION_DEPTH_MAX: usize = 8;
/// Transitions of a time zone: some two centuries with two a year, and the odd ones of a century before.
pub const TRANSITIONS_MAX: usize = 1_024;
/// Seconds that a zone lies from UTC at most: more than a day lies between none.
pub const ZONE_OFFSET_SECONDS_MAX: u32 = 26 * 3_600;
/// Bytes of a Unix socket's path: the kernel's limit without the final zero.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Bytes of a user's name, as `useradd` allows.
pub const USER_BYTES_MAX: usize = 32;
/// Longest cold start, milliseconds: an hour.
pub const COLD_START_MS_MAX: u64 = 3_600_000;
/// Witnesses that can be asked for: as many as can be pinned.
pub const ANCHOR_QUORUM_MAX: u32 = 14;
const _: () = assert!(ANCHOR_QUORUM_MAX as usize == crate::cosign::WITNESSES_MAX);
/// Shortest and longest lag behind the witnesses, milliseconds: an anchor looks every few seconds; a week is no lag but a
/// habit.
pub const ANCHOR_LAG_MS: (u64, u64) = (10_000, 7 * 24 * 3_600_000);

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
    #[error("not an artifact of version 3")]
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
    /// Not in order, where the same may stand twice.
    #[error("{0} are not sorted")]
    Unsorted(&'static str),
    /// A glob over paths that is none.
    #[error("glob `{glob}` {why}")]
    Glob {
        /// As written.
        glob: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The journal would not hold what the sum is made of.
    #[error("`{0}` sums an argument that is redacted")]
    SumOfRedacted(String),
    /// The same thing again, where order has a meaning and cannot show it.
    #[error("a {0} stands there twice")]
    Twice(&'static str),
    /// An index that leads nowhere.
    #[error("{0} that does not exist")]
    NoSuch(&'static str),
    /// A condition whose operators and operands do not balance.
    #[error("condition is not balanced")]
    Unbalanced,
    /// A calculation whose operators and numbers do not balance.
    #[error("calculation is not balanced")]
    Calculation,
    /// `in` with values of several types.
    #[error("`in` list has values of several types")]
    MixedTypes,
    /// What it demands of a daemon is not what it uses.
    #[error("what it requires is not what it uses")]
    Demands,
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
        /// Why.
        source: ExpressionInvalid,
    },
}

/// The bytes of a policy.
///
/// # Errors
/// What no daemon would load: the same checks as [`decode`], so that a compiler cannot emit it.
pub fn encode(artifact: &Artifact) -> Result<Vec<u8>, ArtifactInvalid> {
    check::all(artifact)?;
    for agent in &artifact.agents {
        compile_expressions(agent)?;
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
    check::all(&artifact)?;
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
pub fn compile_expression(agent: &str, source: &str) -> Result<Expression, ArtifactInvalid> {
    Expression::new(source).map_err(|fault| ArtifactInvalid::Content {
        place: place_of(agent),
        fault: Fault::Expression {
            expression: source.to_owned(),
            source: fault,
        },
    })
}

/// Compiles the expressions of an agent's tests; none for a test without one.
pub(crate) fn compile_expressions(
    agent: &AgentPolicy,
) -> Result<Vec<Option<Expression>>, ArtifactInvalid> {
    let mut weight = 0;
    let compile = |test: &Test| {
        let Ask::Matches(source) = &test.ask else {
            return Ok(None);
        };
        let expression = compile_expression(&agent.name, source)?;
        weight += expression.weight();
        if weight > EXPRESSION_WEIGHT_MAX {
            let fault = Fault::TooMany {
                what: "regular expressions, the larger ones counted four times",
                max: EXPRESSION_WEIGHT_MAX,
            };
            return Err(ArtifactInvalid::Content {
                place: place_of(&agent.name),
                fault,
            });
        }
        Ok(Some(expression))
    };
    agent.tests.iter().map(compile).collect()
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

impl fmt::Display for Field {
    /// As a person reads it: `args.to.domain`; a name that is no plain word stands in quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Args(path) => write_path("args", path, f),
            Field::Tool => f.write_str("tool"),
            Field::Action => f.write_str("action"),
            Field::Agent => f.write_str("agent"),
            Field::Model => f.write_str("model"),
            Field::Purpose => f.write_str("purpose"),
            Field::Door => f.write_str("door"),
            Field::Host => f.write_str("host"),
            Field::Port => f.write_str("port"),
            Field::Method => f.write_str("method"),
            Field::Path => f.write_str("path"),
            Field::Query(name) => write_path("query", std::slice::from_ref(name), f),
            Field::Header(name) => write_path("headers", std::slice::from_ref(name), f),
            Field::Principal(name) => write_path("principal", std::slice::from_ref(name), f),
            Field::Time(part) => write!(f, "time.{}", part.as_str()),
            Field::Session(part) => write!(f, "session.{}", part.as_str()),
            Field::Selector(name, path) => {
                write_path("selectors", std::slice::from_ref(name), f)?;
                write_path("", path, f)
            }
            Field::Delegation(name) => write_path("delegation", std::slice::from_ref(name), f),
            Field::Enforcement(name) => write_path("enforcement", std::slice::from_ref(name), f),
            Field::Length(path) => {
                write_path("len(args", path, f)?;
                f.write_str(")")
            }
            Field::Sum {
                pattern,
                path,
                window_ms,
            } => {
                write_path(&format!("session.sum({pattern}"), path, f)?;
                write_window(", ", *window_ms, f)
            }
            Field::Count { pattern, window_ms } => {
                write!(f, "session.count({pattern}")?;
                write_window(", ", *window_ms, f)
            }
            Field::Denials { window_ms } => {
                f.write_str("session.denials(")?;
                write_window("", *window_ms, f)
            }
            Field::Calculated(steps) => {
                f.write_str("calculated(")?;
                for (index, step) in steps.iter().enumerate() {
                    f.write_str(if index > 0 { " " } else { "" })?;
                    match step {
                        Step::Field(field) => write!(f, "#{field}")?,
                        Step::Number(number) => write!(f, "{number}")?,
                        Step::Add => f.write_str("+")?,
                        Step::Subtract => f.write_str("-")?,
                        Step::Multiply => f.write_str("*")?,
                    }
                }
                f.write_str(")")
            }
        }
    }
}

/// `before` stands before a window that there is.
fn write_window(before: &str, window_ms: Option<u64>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match window_ms {
        Some(milliseconds) => {
            f.write_str(before)?;
            f.write_str("window=")?;
            write_duration(milliseconds, f)?;
            f.write_str(")")
        }
        None => f.write_str(")"),
    }
}

/// As a policy writes it, in the largest unit that it is a whole number of: `1h`, `90m`, `1.500s`.
fn write_duration(milliseconds: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let units = [
        (86_400_000, 'd'),
        (3_600_000, 'h'),
        (60_000, 'm'),
        (1_000, 's'),
    ];
    let whole = units
        .iter()
        .find(|(unit, _)| milliseconds.is_multiple_of(*unit));
    match whole {
        Some((unit, letter)) if milliseconds > 0 => write!(f, "{}{letter}", milliseconds / unit),
        _ => write!(f, "{}.{:03}s", milliseconds / 1_000, milliseconds % 1_000),
    }
}

fn write_path(root: &str, path: &[String], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(root)?;
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

impl TimePart {
    /// Each, with its name.
    pub const ALL: [TimePart; 7] = [
        TimePart::Hour,
        TimePart::Minute,
        TimePart::Weekday,
        TimePart::Day,
        TimePart::Month,
        TimePart::Year,
        TimePart::Now,
    ];

    /// The name behind `time.`.
    pub const fn as_str(self) -> &'static str {
        match self {
            TimePart::Hour => "hour",
            TimePart::Minute => "minute",
            TimePart::Weekday => "weekday",
            TimePart::Day => "day",
            TimePart::Month => "month",
            TimePart::Year => "year",
            TimePart::Now => "now",
        }
    }
}

impl SessionPart {
    /// Each, with its name.
    pub const ALL: [SessionPart; 3] = [
        SessionPart::CallCount,
        SessionPart::Duration,
        SessionPart::CostUsd,
    ];

    /// The name behind `session.`.
    pub const fn as_str(self) -> &'static str {
        match self {
            SessionPart::CallCount => "call_count",
            SessionPart::Duration => "duration",
            SessionPart::CostUsd => "cost_usd",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decimal::Decimal;
    use crate::decision::Effect;
    use crate::policy::Policy;

    fn sound() -> Artifact {
        let rule = Rule {
            effect: RuleEffect::Permit,
            pattern: "stripe/refund".to_owned(),
            condition: vec![Op::Test(0), Op::Test(1), Op::And, Op::Not],
            reason: Some("small".to_owned()),
            notify: vec!["ops".to_owned(), "pay".to_owned()],
            reeval: false,
            text: "permit stripe/refund".to_owned(),
        };
        Artifact {
            requires: [
                "agent.run_as",
                "notify.recorded",
                "rules",
                "runtime.allowed_sockets",
                "runtime.anchor",
                "runtime.keep_env",
            ]
            .map(str::to_owned)
            .to_vec(),
            runtime: Runtime {
                mode: Mode::Enforce,
                cold_start_deny_window_ms: 30_000,
                reveal_rule: None,
                keep_env: vec!["OPENAI_BASE_URL".to_owned()],
                profile: Profile::Full,
                allowed_sockets: vec!["/run/desk.sock".to_owned()],
                anchor: Some(Anchor {
                    quorum: 2,
                    ..Anchor::default()
                }),
                ..Runtime::default()
            },
            declarations: Vec::new(),
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
                ..AgentPolicy::default()
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
        // The list of demands has six entries: its length as a varint of two bytes.
        let bytes = encode(&sound()).unwrap();
        let mut longer = ARTIFACT_MAGIC.to_vec();
        longer.extend([0x86, 0x00]);
        longer.extend(&bytes[ARTIFACT_MAGIC.len() + 1..]);
        assert!(matches!(
            decode(&longer),
            Err(ArtifactInvalid::NotCanonical)
        ));
    }

    #[test]
    fn other_files_and_other_versions_are_refused() {
        for bytes in [&b""[..], b"\x7fELF", b"faramesh artifact 1\n"] {
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
            "agent `bot`, rule 1: condition has a test that does not exist"
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
    fn a_calculation_balances_and_rests_on_fields_that_are_not_calculated() {
        use Step::{Add, Multiply, Number};
        let number = || Number(Decimal::from(2));
        let encodes = |steps: Vec<Step>| {
            let mut artifact = sound();
            agent(&mut artifact).fields.push(Field::Calculated(steps));
            encode(&artifact).is_ok()
        };
        assert!(encodes(vec![Step::Field(0), number(), Multiply]));
        let chain = |numbers: usize| {
            let mut steps = vec![number(); numbers];
            steps.extend(vec![Add; numbers - 1]);
            steps
        };
        assert!(encodes(chain(CALCULATION_DEPTH_MAX)));
        for steps in [
            vec![],
            vec![Add],
            vec![number(), number()],
            vec![number(), Add, number()],
            vec![Step::Field(2), number(), Add],
            vec![Step::Field(7), number(), Add],
            chain(CALCULATION_DEPTH_MAX + 1),
        ] {
            assert!(!encodes(steps.clone()), "{steps:?}");
        }
        let long = std::iter::once(number())
            .chain(std::iter::repeat_n([number(), Add], CALCULATION_STEPS_MAX / 2).flatten());
        assert!(!encodes(long.collect()));
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
    fn the_tests_of_an_agent_that_walk_through_a_value_are_few() {
        let encodes = |walks: usize| {
            let mut artifact = sound();
            let asks = (0..walks).map(|n| Ask::Contains(Literal::String(n.to_string())));
            let tests = asks.map(|ask| Test { field: 0, ask });
            agent(&mut artifact).tests.extend(tests);
            encode(&artifact).is_ok()
        };
        assert!(encodes(WALKS_MAX) && !encodes(WALKS_MAX + 1));
    }

    #[test]
    fn the_steps_of_all_conditions_of_an_agent_are_bounded() {
        let encodes = |rules: usize| {
            let mut artifact = sound();
            let condition = [vec![Op::Test(0)], vec![Op::Not; 3_999]].concat();
            rule(&mut artifact).condition = condition;
            let one = rule(&mut artifact).clone();
            agent(&mut artifact).rules = vec![one; rules];
            encode(&artifact).is_ok()
        };
        assert!(encodes(OPS_MAX / 4_000) && !encodes(OPS_MAX / 4_000 + 1));
    }

    #[test]
    fn a_small_expression_costs_a_step_for_each_byte_and_others_as_many_as_they_have_places() {
        let of = |source: &str| {
            let expression = compile_expression("", source).unwrap();
            (expression.steps("").unwrap(), expression.weight())
        };
        assert_eq!(of("^(USD|EUR)$"), (1, 1));
        assert_eq!(of(r"(?i)rm\s+-rf"), (1, 1));
        // A hundred rows of three classes, and a thousand, which are too many.
        assert_eq!(of("[ab]*a[ab]{6}c").0, 1);
        assert_eq!(of("[ab]*a[ab]{9}c").0, (2 + 1 + 9 * 2 + 1) * 16);
        // Words of any script have no table: two letters, and each of them and of the boundaries is a place.
        assert_eq!(of(r"\brm\b"), (4 * 16, 1));
        assert_eq!(of(r"^\w+$"), ((1 + 4 + 1 + 1) * 16, 4));
        assert_eq!(of("[ab]*a[ab]{20}c"), ((2 + 1 + 20 * 2 + 1) * 16, 1));
        assert_eq!(of("[ab]*a[ab]{900}c"), ((2 + 1 + 900 * 2 + 1) * 16, 4));
        assert_eq!(of(r"(?:a|\b){100}"), (100 * (1 + 1 + 1 + 1 + 1) * 16, 1));
        let long = "x".repeat(SEARCHED_BYTES_MAX + 1);
        let expression = compile_expression("", "^y").unwrap();
        assert_eq!(
            (expression.steps(&long), expression.is_match(&long)),
            (None, None)
        );
    }

    #[test]
    fn the_expressions_of_an_agent_weigh_together_no_more_than_their_limit() {
        assert!(compile_expression("", &r"\w+-".repeat(20)).is_err());
        let encodes = |expressions: usize| {
            let mut artifact = sound();
            let asks = (0..expressions).map(|n| Ask::Matches(format!("(?:abcdefghij{n}){{44}}")));
            agent(&mut artifact).tests = asks.map(|ask| Test { field: 0, ask }).collect();
            rule(&mut artifact).condition.clear();
            encode(&artifact)
        };
        let one = compile_expression("", "(?:abcdefghij1){44}");
        assert_eq!(one.unwrap().weight(), 4);
        assert!(encodes(EXPRESSION_WEIGHT_MAX / 4 - 20).is_ok());
        assert!(encodes(EXPRESSION_WEIGHT_MAX / 4 + 1).is_err());
    }

    /// Every engine finds what the plain one does, also in letters of several bytes and between them.
    #[test]
    fn tables_and_states_find_what_the_regex_crate_finds() {
        let sources = [
            "",
            "^",
            "$",
            "^$",
            "a",
            "ä",
            "^a|b$",
            r"\b",
            r"\Bä",
            r"(?i)Ä",
            r"^\w+$",
            r"\d{2}",
            "[^ä]",
            ".",
            r"(?s).$",
            r"(?m)^b$",
            r"\s",
            "(?:a|b)*a(?:a|b){8}",
            "[ab]*a[ab]{20}c",
            r"\brm\b",
            "a{0}",
            "(?-u:\\B)ä",
            "[[:alpha:]]+ä$",
        ];
        let texts = [
            "", "a", "b", "ä", "Ä", "ab", "aä", "ä a", "rm -rf", "a\nb\n", "12", "१२", " ",
            "\u{a0}", "語", "abab", "a\n",
        ];
        for source in sources {
            let ours = compile_expression("", source).unwrap();
            let plain = regex::Regex::new(source).unwrap();
            for text in texts {
                assert_eq!(
                    ours.is_match(text),
                    Some(plain.is_match(text)),
                    "{source:?} in {text:?}"
                );
            }
        }
    }

    #[test]
    fn lists_out_of_order_or_with_a_thing_twice_are_refused() {
        refused(|a| rule(a).notify.reverse());
        refused(|a| rule(a).notify = vec!["ops".to_owned(); 2]);
        refused(|a| a.requires.push("rules".to_owned()));
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
        refused(|a| agent(a).fields = vec![Field::Args(vec![]), Field::Tool]);
    }

    fn argument(path: &str) -> Argument {
        Argument {
            path: vec![path.to_owned()],
            kind: Kind::Any,
            required: false,
        }
    }

    fn schema(pattern: &str, arguments: Vec<Argument>) -> ToolSchema {
        ToolSchema {
            pattern: pattern.to_owned(),
            arguments,
            closed: false,
        }
    }

    fn redaction(pattern: &str, paths: &[&str]) -> Redaction {
        Redaction {
            pattern: pattern.to_owned(),
            paths: paths.iter().map(|path| vec![(*path).to_owned()]).collect(),
        }
    }

    fn needs(artifact: &mut Artifact) {
        artifact.requires = capabilities::of(artifact);
    }

    /// As [`refused`], where the change also needs more of a daemon.
    fn faulty(change: fn(&mut Artifact)) -> String {
        let mut artifact = sound();
        change(&mut artifact);
        needs(&mut artifact);
        let loaded = Policy::load(&to_bytes(&artifact).unwrap()).unwrap_err();
        assert_eq!(
            encode(&artifact).unwrap_err().to_string(),
            loaded.to_string()
        );
        loaded.to_string()
    }

    #[test]
    fn schemas_redactions_and_layers_are_sorted_and_well_formed() {
        for change in [
            (|a| agent(a).schemas = vec![schema("a/**", vec![])]) as fn(&mut Artifact),
            |a| agent(a).schemas = vec![schema("b", vec![]), schema("a", vec![])],
            |a| agent(a).schemas = vec![schema("a", vec![argument("x"), argument("x")])],
            |a| {
                let arguments = (0..=ARGUMENTS_MAX).map(|n| argument(&format!("{n:04}")));
                agent(a).schemas = vec![schema("a", arguments.collect())];
            },
            |a| agent(a).redactions = vec![redaction("a", &[])],
            |a| agent(a).redactions = vec![redaction("a", &["y", "x"])],
            |a| agent(a).redactions = vec![redaction("a", &["x"]); 2],
            |a| agent(a).demands = vec!["seccomp".to_owned(), "landlock".to_owned()],
            |a| agent(a).demands = vec![String::new()],
        ] {
            faulty(change);
        }
    }

    #[test]
    fn a_glob_over_paths_that_is_none_is_refused_by_its_reason() {
        for glob in [
            "", "a//b", "/", "../x", "a/./b", "a\\b", "a?", "[a]", "{a,b}", "~/x", "a**", "a\0",
        ] {
            let mut artifact = sound();
            agent(&mut artifact).paths = Some(PathRules {
                read_exclude: vec![glob.to_owned()],
                edit_deny: Vec::new(),
                edit_protected: Vec::new(),
                edit_allow: Vec::new(),
            });
            needs(&mut artifact);
            let refused = encode(&artifact).unwrap_err().to_string();
            assert!(refused.contains("glob `"), "{glob}: {refused}");
        }
    }

    #[test]
    fn fields_that_no_call_could_have_are_refused() {
        for change in [
            (|a| agent(a).fields.push(Field::Header("X-Id".to_owned()))) as fn(&mut Artifact),
            |a| {
                agent(a).fields.push(Field::Count {
                    pattern: "*".to_owned(),
                    window_ms: Some(0),
                });
            },
            |a| {
                agent(a).fields.push(Field::Count {
                    pattern: "*".to_owned(),
                    window_ms: Some(WINDOW_MS_MAX + 1),
                });
            },
            |a| {
                agent(a)
                    .fields
                    .push(Field::Calculated(vec![Step::Field(0), Step::Add]))
            },
            |a| {
                agent(a)
                    .fields
                    .push(Field::Calculated(vec![Step::Field(9)]))
            },
            |a| {
                agent(a)
                    .fields
                    .push(Field::Calculated(vec![Step::Field(2)]))
            },
            |a| {
                let deep = vec![Step::Field(0); CALCULATION_DEPTH_MAX + 1];
                let sums = vec![Step::Add; CALCULATION_DEPTH_MAX];
                agent(a)
                    .fields
                    .push(Field::Calculated([deep, sums].concat()));
            },
            |a| {
                let names = (0..=WINDOWS_MAX).map(|n| Field::Count {
                    pattern: format!("t{n:04}"),
                    window_ms: None,
                });
                agent(a).fields = names.collect();
                agent(a).tests.clear();
                rule(a).condition.clear();
            },
        ] {
            faulty(change);
        }
    }

    #[test]
    fn what_is_summed_is_not_redacted() {
        let refused = |pattern: &str, path: &str| {
            let mut artifact = sound();
            agent(&mut artifact).fields.push(Field::Sum {
                pattern: "stripe/*".to_owned(),
                path: vec!["a".to_owned(), "b".to_owned()],
                window_ms: None,
            });
            agent(&mut artifact).redactions = vec![redaction(pattern, &[path])];
            needs(&mut artifact);
            encode(&artifact).is_err()
        };
        assert!(refused("*", "a") && refused("stripe/refund", "A"));
        assert!(!refused("db/*", "a") && !refused("*", "b"));
    }

    #[test]
    fn examples_phases_blocks_and_zones_are_bounded_and_canonical() {
        let example = |tool: &str, arguments: &str, code: Option<&str>| Example {
            effect: Effect::Deny,
            code: code.map(str::to_owned),
            tool: tool.to_owned(),
            arguments: arguments.to_owned(),
            given: Vec::new(),
        };
        for bad in [
            example("a b", "{}", None),
            example("a", "{ }", None),
            example("a", "[]", None),
            example("a", "{}", Some("NONE_SUCH")),
        ] {
            let mut artifact = sound();
            agent(&mut artifact).examples = vec![bad];
            assert!(encode(&artifact).is_err());
        }
        for change in [
            (|a| {
                let phase = Phase {
                    name: "x".to_owned(),
                    settings: Vec::new(),
                    rules: Vec::new(),
                };
                agent(a).phases = vec![phase; 2];
            }) as fn(&mut Artifact),
            |a| {
                let rules = vec![Rule {
                    condition: vec![Op::Test(7)],
                    ..rule(a).clone()
                }];
                agent(a).phases = vec![Phase {
                    name: "x".to_owned(),
                    settings: Vec::new(),
                    rules,
                }];
            },
            |a| {
                let block = |inner| Declaration {
                    keyword: "x".to_owned(),
                    labels: Vec::new(),
                    settings: Vec::new(),
                    inner,
                };
                let nested =
                    (0..=DECLARATION_DEPTH_MAX).fold(vec![], |inner, _| vec![block(inner)]);
                a.declarations = nested;
            },
            |a| {
                let nested = (0..=DECLARATION_DEPTH_MAX)
                    .fold(Datum::Bool(true), |inner, _| Datum::List(vec![inner]));
                a.runtime.declared = vec![Setting {
                    key: "x".to_owned(),
                    values: vec![nested],
                }];
            },
            |a| a.runtime.zone.transitions = vec![(5, 0), (5, 3_600)],
            |a| a.runtime.zone.offset = 100_000,
        ] {
            faulty(change);
        }
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
