//! Records: what happened, in canonical JSON that thirty lines of any language can check.
//!
//! Canonical means RFC 8785 with integers below 2^53 only; exact decimals and arguments are strings. The field names
//! and their meaning are documented for other languages in `docs/journal-format.md`; `encode` and `decode` are the only
//! code that knows them here.

mod canon;
mod events;

use memchr::memmem;
use sha2::{Digest, Sha256};
use std::borrow::Cow;

use crate::call::{AGENT_BYTES_MAX, TOOL_BYTES_MAX};
use crate::checkpoint::STACK_NAME_BYTES_MAX;
use crate::decimal::Decimal;
use crate::decision::{Code, Decision, Effect, Input};
use crate::state::Effects;
use crate::tree::Hash;
use canon::{HeaderRef, Reader, Writer};

pub use events::{Attestation, ERASED_SPANS_MAX, Epoch, Erasure, Gap, LogEvent, Removal, Snapshot};

/// The format's version: the `v` of every record.
pub const VERSION: u64 = 1;

/// A record without the detail: names, hashes and, at a session's start, paths, a command and names of variables.
pub const RECORD_BYTES_MAX: usize = 256 << 10;

/// The arguments are at most 1 MiB and at most double when they are quoted; the inputs are bounded below. Together
/// with the record it stays under a frame's limit.
pub const DETAIL_BYTES_MAX: usize = (4 << 20) - RECORD_BYTES_MAX - 1024;

/// What a launch measures from inside the sandbox, sorted: the names of the rows in a session's start record.
pub const LAYERS: &[&str] = &[
    "apparmor",
    "base.capabilities.ambient",
    "base.capabilities.bounding",
    "base.capabilities.inheritable",
    "base.capabilities.permitted",
    "base.descriptors",
    "base.gid",
    "base.groups",
    "base.no_new_privs",
    "base.one_thread",
    "base.uid",
    "bpf_lsm",
    "cgroup.membership",
    "cgroup.memory",
    "cgroup.pids",
    "cgroup_bpf",
    "egress",
    "landlock",
    "landlock.fs.ioctl_dev",
    "landlock.fs.read",
    "landlock.fs.refer",
    "landlock.fs.truncate",
    "landlock.fs.write",
    "landlock.net.bind",
    "landlock.net.connect",
    "landlock.scope.abstract_unix",
    "landlock.scope.signal",
    "landlock.unix.path",
    "listener",
    "namespaces",
    "seccomp.add_key",
    "seccomp.bpf",
    "seccomp.chroot",
    "seccomp.clone3",
    "seccomp.clone_namespace",
    "seccomp.f_setown",
    "seccomp.f_setsig",
    "seccomp.fast_open",
    "seccomp.i386",
    "seccomp.io_uring",
    "seccomp.kexec",
    "seccomp.keyctl",
    "seccomp.kill_all",
    "seccomp.mode",
    "seccomp.mount",
    "seccomp.open_by_handle_at",
    "seccomp.perf_event_open",
    "seccomp.pidfd_getfd",
    "seccomp.prlimit_other",
    "seccomp.process_vm_readv",
    "seccomp.process_vm_writev",
    "seccomp.ptrace",
    "seccomp.request_key",
    "seccomp.setns",
    "seccomp.socket_inet",
    "seccomp.socket_inet6",
    "seccomp.socket_mptcp",
    "seccomp.socket_netlink",
    "seccomp.socket_packet",
    "seccomp.socket_vsock",
    "seccomp.tioclinux",
    "seccomp.tiocsti",
    "seccomp.umount",
    "seccomp.unlisted",
    "seccomp.unshare",
    "seccomp.userfaultfd",
    "seccomp.x32",
    "signal.daemon",
    "sockets.hidden",
];

/// Whether a policy may require a layer (`require enforcement landlock`) or ask for it (`enforcement.seccomp.mount`): it
/// is measured, or some of which it is the first words are.
pub fn is_layer(name: &str) -> bool {
    LAYERS.iter().any(|layer| {
        layer
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// A session's id.
const SESSION_BYTES_MAX: usize = 128;
/// A sentence for people: a reason, a warning, what was measured.
const SENTENCE_BYTES_MAX: usize = 512;
/// A version, a boot id, a status, a code.
const WORD_BYTES_MAX: usize = 64;
/// A path, as Linux bounds it. A cgroup's path is one.
const PATH_BYTES_MAX: usize = 4096;
/// A rule's reason is the longest message that there is.
const MESSAGE_BYTES_MAX: usize = 4096;
/// An outcome's own words.
const OUTCOME_BYTES_MAX: usize = 256;
/// Words of a command line; the attach protocol bounds all of them to 4 KiB.
const COMMAND_WORDS_MAX: usize = 256;
/// Variables that a launch removed: a crowded environment has about a hundred in all.
const STRIPPED_MAX: usize = 512;
/// Layers that are probed.
const PROBES_MAX: usize = 128;
/// Sentences in a start record.
const WARNINGS_MAX: usize = 32;
/// Pairs of session and code in one dropped record; the rest is summed up under `-`.
const DROPPED_MAX: usize = 256;
/// Names in a decision's `missing`, `notify` and `effects`.
const NAMES_MAX: usize = 1024;
/// A value that a rule read is kept up to here; of a longer one, its digest. The whole is in the arguments.
const INPUT_VALUE_BYTES_MAX: usize = 1024;

/// The chain's and the clock's part of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Index of the leaf in the tree, counted from 0.
    pub seq: u64,
    /// Leaf hash of the record before; 32 zero bytes for the first.
    pub prev: [u8; 32],
    /// The stack's name.
    pub stack: String,
    /// How the daemon runs: a development record is never taken for an enforced one.
    pub mode: RunMode,
    /// Now.
    pub time: Time,
}

/// How the daemon runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunMode {
    /// Separate users hold.
    Enforced,
    /// One user: any process of it can be any agent.
    Development,
}

impl RunMode {
    /// The word in records and in `status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            RunMode::Enforced => "enforced",
            RunMode::Development => "development",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [RunMode::Enforced, RunMode::Development]
            .into_iter()
            .find(|mode| mode.as_str() == word)
    }
}

/// Both clocks, read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Time {
    /// Milliseconds since the Unix epoch, as the host's wall clock had it.
    pub wall_ms: u64,
    /// Milliseconds on the boot clock (CLOCK_BOOTTIME).
    pub boot_ms: u64,
}

/// What happened. One variant a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The daemon is about to become READY.
    Start(Start),
    /// The daemon drained and stops.
    Stop {
        /// `drain`, `signal`, …
        reason: String,
    },
    /// A manifest came into force.
    Activation(Activation),
    /// A call was decided.
    Decision(Box<DecisionRecord>),
    /// A session reported what became of a permitted call.
    Outcome(Outcome),
    /// An agent's process tree was sealed, with what was measured from inside.
    SessionStart(Box<SessionStart>),
    /// A session ended; its connections are closed.
    SessionEnd {
        /// Which.
        session: String,
        /// `exit`, `attach connection closed`, `daemon restart`, …
        reason: String,
        /// Decisions that it was given.
        calls: u64,
    },
    /// Refusals before the sequencer since the record before.
    Dropped {
        /// (session or `-`, code, how many), sorted.
        counts: Vec<(String, String, u64)>,
    },
    /// The wall clock moved by more than five seconds against the boot clock.
    ClockStep {
        /// Signed milliseconds that the wall clock gained.
        step_ms: i64,
    },
    /// Something about the log itself.
    Log(LogEvent),
}

/// See [`Body::Start`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The daemon's version.
    pub version: String,
    /// /proc/sys/kernel/random/boot_id.
    pub boot_id: String,
    /// The daemon's user and process.
    pub uid: u32,
    /// As the daemon sees itself.
    pub pid: u32,
    /// Bytes of a torn tail that recovery cut, 0 for none.
    pub cut_bytes: u64,
    /// What an operator should know, one sentence each.
    pub warnings: Vec<String>,
}

/// See [`Body::Activation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// The manifest's rising number.
    pub number: u64,
    /// SHA-256 of the artifact in force from here.
    pub digest: [u8; 32],
    /// SHA-256 of the manifest's bytes.
    pub manifest: [u8; 32],
    /// Whether the policy enforces (`enforce`) or only says what it would do (`shadow`).
    pub policy_mode: String,
    /// What it asks to be counted of every caller: names of [`crate::policy::windows`], sorted, each once.
    pub windows: Vec<String>,
}

/// See [`Body::Decision`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRecord {
    /// The session, or `None` for a caller outside any (an operator's probe, a development caller).
    pub session: Option<String>,
    /// The agent that the call is decided for.
    pub agent: String,
    /// Whether the kernel says so.
    pub attested: bool,
    /// The peer's user.
    pub uid: u32,
    /// The way in.
    pub door: Door,
    /// The tool, as claimed.
    pub tool: String,
    /// Artifact in force.
    pub policy: [u8; 32],
    /// The verdict. Its effect, `would` and code go into the record; the rest into the detail beside it.
    pub decision: Decision,
    /// Exact state deltas: (counter, what was added), sorted by counter.
    pub effects: Effects,
    /// Canonical text of the arguments, unredacted: committed to in the record. The detail holds the decision's redacted
    /// text in its place, where there is one.
    pub arguments: String,
    /// Fresh randomness for the two commitments.
    pub args_salt: [u8; 16],
    /// The same for the detail.
    pub detail_salt: [u8; 16],
}

/// The way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// `Govern` on the agent's socket.
    Govern,
    /// A question without an act: `Can`, or an operator's `DryRun`.
    Probe,
}

impl Door {
    /// The word in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Door::Govern => "govern",
            Door::Probe => "probe",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Door::Govern, Door::Probe]
            .into_iter()
            .find(|door| door.as_str() == word)
    }
}

/// See [`Body::Outcome`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Who reports.
    pub session: Option<String>,
    /// The decision that it is about.
    pub of: u64,
    /// `succeeded`, `failed`, `unknown`.
    pub status: String,
    /// SHA-256 of the result, where given.
    pub result_digest: Option<[u8; 32]>,
    /// Untrusted text, at most 256 bytes.
    pub detail: String,
}

/// See [`Body::SessionStart`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionStart {
    /// Its id.
    pub session: String,
    /// The agent that it is.
    pub agent: String,
    /// The user that its processes run under.
    pub uid: u32,
    /// The confined process, in the daemon's pid namespace.
    pub pid: u32,
    /// Its start time: field 22 of /proc/PID/stat, clock ticks since boot.
    pub start_ticks: u64,
    /// Its boot.
    pub boot_id: String,
    /// What it may write.
    pub workspace: String,
    /// Its cgroup, or empty.
    pub cgroup: String,
    /// The command line as asked, untrusted.
    pub command: Vec<String>,
    /// Names of environment variables that were removed.
    pub stripped_env: Vec<String>,
    /// (layer, enforced, measured), sorted by layer.
    pub probes: Vec<(String, bool, String)>,
}

/// A record as it is written: the leaf, and what lies beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Canonical bytes: the Merkle leaf.
    pub record: Vec<u8>,
    /// Canonical detail bytes, committed to by the record's `detail`; empty where the kind has none.
    pub detail: Vec<u8>,
    /// The salts of a decision, args then detail; zero where the kind has none.
    pub salts: [[u8; 16]; 2],
}

/// Why a body cannot become a record. All of these are faults of ours: what comes from outside is bounded at the door.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A name that must not be cut.
    #[error("`{field}` has {found} bytes, where {max} is the limit")]
    NameTooLong {
        /// Its key.
        field: &'static str,
        /// Its length in bytes.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A list that must not be cut.
    #[error("`{field}` has {found} entries, where {max} is the limit")]
    TooMany {
        /// Its key.
        field: &'static str,
        /// Its length.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// An integer that is not exact in every language.
    #[error("`{field}` is not below 2^53")]
    NumberTooBig {
        /// Its key.
        field: &'static str,
    },
    /// Record or detail beyond its limit.
    #[error("the {what} has {found} bytes, where {max} is the limit")]
    TooLong {
        /// `record` or `detail`.
        what: &'static str,
        /// Its length in bytes.
        found: usize,
        /// The limit.
        max: usize,
    },
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a canonical record: {why}, at byte {at}")]
pub struct Malformed {
    /// Offset in the record.
    pub at: usize,
    /// In a few words.
    pub why: &'static str,
}

/// `SHA-256(salt ‖ text)`: shows nothing of a text that could be guessed, to one who lacks the salt.
pub fn commitment(salt: &[u8; 16], text: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(salt);
    hasher.update(text);
    hasher.finalize().into()
}

/// Writes a record down: the same header and body always give the same bytes.
///
/// Texts for people are cut at their limit, at a character, and end in `…` then; names are never cut.
///
/// # Errors
/// See [`Error`].
pub fn encode(header: &Header, body: &Body) -> Result<Encoded, Error> {
    name("stack", &header.stack, STACK_NAME_BYTES_MAX)?;
    if let Body::Decision(decision) = body {
        return encode_decision(header, decision);
    }
    let mut w = Writer::record(header, kind_of(body));
    match body {
        Body::Decision(_) => {}
        Body::Start(start) => encode_start(&mut w, start),
        Body::Stop { reason } => w.str("reason", &cut(reason, SENTENCE_BYTES_MAX)),
        Body::Activation(activation) => encode_activation(&mut w, activation)?,
        Body::Outcome(outcome) => encode_outcome(&mut w, outcome)?,
        Body::SessionStart(session) => encode_session_start(&mut w, session)?,
        Body::SessionEnd {
            session,
            reason,
            calls,
        } => {
            name("session", session, SESSION_BYTES_MAX)?;
            w.uint("calls", *calls);
            w.str("reason", &cut(reason, SENTENCE_BYTES_MAX));
            w.str("session", session);
        }
        Body::Dropped { counts } => encode_dropped(&mut w, counts),
        Body::ClockStep { step_ms } => w.int("step_ms", *step_ms),
        Body::Log(event) => events::encode(&mut w, event)?,
    }
    let record = bounded("record", w.finish()?, RECORD_BYTES_MAX)?;
    Ok(Encoded {
        record,
        detail: Vec::new(),
        salts: [[0; 16]; 2],
    })
}

/// The word in a record's `kind`.
pub const fn kind_of(body: &Body) -> &'static str {
    match body {
        Body::Start(_) => "start",
        Body::Stop { .. } => "stop",
        Body::Activation(_) => "activation",
        Body::Decision(_) => "decision",
        Body::Outcome(_) => "outcome",
        Body::SessionStart(_) => "session_start",
        Body::SessionEnd { .. } => "session_end",
        Body::Dropped { .. } => "dropped",
        Body::ClockStep { .. } => "clock_step",
        Body::Log(event) => event.kind(),
    }
}

fn encode_decision(header: &Header, d: &DecisionRecord) -> Result<Encoded, Error> {
    name("agent", &d.agent, AGENT_BYTES_MAX)?;
    name("tool", &d.tool, TOOL_BYTES_MAX)?;
    name(
        "session",
        d.session.as_deref().unwrap_or_default(),
        SESSION_BYTES_MAX,
    )?;
    let detail = bounded("detail", encode_detail(d)?, DETAIL_BYTES_MAX)?;
    let mut w = Writer::record(header, "decision");
    w.str("agent", &d.agent);
    w.hash("args", &commitment(&d.args_salt, d.arguments.as_bytes()));
    w.bool("attested", d.attested);
    w.optional_str("code", d.decision.code.map(Code::as_str));
    w.hash("detail", &commitment(&d.detail_salt, &detail));
    w.str("door", d.door.as_str());
    w.str("effect", d.decision.effect.as_str());
    w.digest("policy", &d.policy);
    w.optional_str("session", d.session.as_deref());
    w.str("tool", &d.tool);
    w.uint("uid", d.uid.into());
    w.optional_str("would", d.decision.would.map(Effect::as_str));
    let record = bounded("record", w.finish()?, RECORD_BYTES_MAX)?;
    Ok(Encoded {
        record,
        detail,
        salts: [d.args_salt, d.detail_salt],
    })
}

/// What the record only commits to: how the decision came about, and the arguments.
fn encode_detail(d: &DecisionRecord) -> Result<Vec<u8>, Error> {
    let decision = &d.decision;
    let redacted = decision.redacted.as_deref();
    let arguments = redacted.map_or(&d.arguments, |redacted| &redacted.arguments);
    let mut w = Writer::object(512 + arguments.len());
    w.str("args", arguments);
    // None is cut: the state is made of them again.
    at_most("effects", d.effects.len(), NAMES_MAX)?;
    for (counter, _) in &d.effects {
        name("counter", counter, SENTENCE_BYTES_MAX)?;
    }
    w.objects("effects", &d.effects, |w, (counter, add)| {
        w.optional_str("add", add.as_ref().map(Decimal::to_string).as_deref());
        w.str("counter", counter);
    });
    w.objects(
        "inputs",
        decision.inputs.iter().take(NAMES_MAX),
        encode_input,
    );
    w.str("message", &cut(&decision.message, MESSAGE_BYTES_MAX));
    w.strings(
        "missing",
        bounded_list(&decision.missing, NAMES_MAX, SENTENCE_BYTES_MAX),
    );
    w.strings(
        "notify",
        bounded_list(&decision.notify, NAMES_MAX, SENTENCE_BYTES_MAX),
    );
    let redacted = redacted.map_or(&[][..], |redacted| &redacted.names);
    w.strings(
        "redacted",
        bounded_list(redacted, NAMES_MAX, SENTENCE_BYTES_MAX),
    );
    let number = decision.rule.map(|index| u64::from(index) + 1);
    w.optional_uint("rule", number);
    w.finish()
}

/// A value too long to keep is named by its digest, and one that is hidden by a word; no canonical JSON text looks like
/// either.
fn encode_input(w: &mut Writer<'_>, input: &Input) {
    w.str("field", &cut(&input.field, SENTENCE_BYTES_MAX));
    if !input.results.is_empty() {
        let results = input.results.iter().take(NAMES_MAX);
        w.objects("results", results, |w, (test, result)| {
            w.str("result", result.as_str());
            w.uint("test", (*test).into());
        });
    }
    w.str("source", input.source);
    match &input.value {
        Some(value) if value.len() > INPUT_VALUE_BYTES_MAX => {
            w.digest("value", &Sha256::digest(value).into())
        }
        value => w.optional_str("value", value.as_deref()),
    }
}

fn encode_start(w: &mut Writer<'_>, start: &Start) {
    w.str("boot_id", &cut(&start.boot_id, WORD_BYTES_MAX));
    w.uint("cut_bytes", start.cut_bytes);
    w.uint("pid", start.pid.into());
    w.uint("uid", start.uid.into());
    w.str("version", &cut(&start.version, WORD_BYTES_MAX));
    w.strings(
        "warnings",
        bounded_list(&start.warnings, WARNINGS_MAX, SENTENCE_BYTES_MAX),
    );
}

fn encode_activation(w: &mut Writer<'_>, activation: &Activation) -> Result<(), Error> {
    at_most("windows", activation.windows.len(), NAMES_MAX)?;
    for window in &activation.windows {
        name("windows", window, SENTENCE_BYTES_MAX)?;
    }
    w.digest("manifest", &activation.manifest);
    w.uint("number", activation.number);
    w.digest("policy", &activation.digest);
    w.str("policy_mode", &cut(&activation.policy_mode, WORD_BYTES_MAX));
    // Left out where there is none, as before policies could ask for any.
    if !activation.windows.is_empty() {
        w.strings("windows", &activation.windows);
    }
    Ok(())
}

fn encode_outcome(w: &mut Writer<'_>, outcome: &Outcome) -> Result<(), Error> {
    name(
        "session",
        outcome.session.as_deref().unwrap_or_default(),
        SESSION_BYTES_MAX,
    )?;
    w.uint("of", outcome.of);
    w.optional_hash("result", outcome.result_digest.as_ref());
    w.optional_str("session", outcome.session.as_deref());
    w.str("status", &cut(&outcome.status, WORD_BYTES_MAX));
    w.str("text", &cut(&outcome.detail, OUTCOME_BYTES_MAX));
    Ok(())
}

fn encode_session_start(w: &mut Writer<'_>, session: &SessionStart) -> Result<(), Error> {
    name("agent", &session.agent, AGENT_BYTES_MAX)?;
    name("boot_id", &session.boot_id, WORD_BYTES_MAX)?;
    name("cgroup", &session.cgroup, PATH_BYTES_MAX)?;
    name("session", &session.session, SESSION_BYTES_MAX)?;
    name("workspace", &session.workspace, PATH_BYTES_MAX)?;
    w.str("agent", &session.agent);
    w.str("boot_id", &session.boot_id);
    w.str("cgroup", &session.cgroup);
    w.strings(
        "command",
        bounded_list(&session.command, COMMAND_WORDS_MAX, PATH_BYTES_MAX),
    );
    w.uint("pid", session.pid.into());
    w.objects(
        "probes",
        session.probes.iter().take(PROBES_MAX),
        |w, (layer, enforced, measured)| {
            w.bool("enforced", *enforced);
            w.str("layer", &cut(layer, WORD_BYTES_MAX));
            w.str("measured", &cut(measured, SENTENCE_BYTES_MAX));
        },
    );
    w.str("session", &session.session);
    w.uint("start_ticks", session.start_ticks);
    w.strings(
        "stripped_env",
        bounded_list(&session.stripped_env, STRIPPED_MAX, WORD_BYTES_MAX * 2),
    );
    w.uint("uid", session.uid.into());
    w.str("workspace", &session.workspace);
    Ok(())
}

/// Counts are never lost: what does not fit is summed up under session `-` and code `-`.
fn encode_dropped(w: &mut Writer<'_>, counts: &[(String, String, u64)]) {
    let (named, rest) = counts
        .split_at_checked(DROPPED_MAX)
        .unwrap_or((counts, &[]));
    let rest = rest.iter().map(|(_, _, count)| count).sum::<u64>();
    let rest = Some(("-", "-", rest)).filter(|(_, _, count)| *count > 0);
    let named = named
        .iter()
        .map(|(session, code, count)| (session.as_str(), code.as_str(), *count));
    w.objects("counts", named.chain(rest), |w, (session, code, count)| {
        w.str("code", &cut(code, WORD_BYTES_MAX));
        w.uint("count", count);
        w.str("session", &cut(session, SESSION_BYTES_MAX));
    });
}

fn name(field: &'static str, value: &str, max: usize) -> Result<(), Error> {
    if value.len() <= max {
        Ok(())
    } else {
        Err(Error::NameTooLong {
            field,
            found: value.len(),
            max,
        })
    }
}

const fn at_most(field: &'static str, found: usize, max: usize) -> Result<(), Error> {
    if found <= max {
        Ok(())
    } else {
        Err(Error::TooMany { field, found, max })
    }
}

fn bounded(what: &'static str, bytes: Vec<u8>, max: usize) -> Result<Vec<u8>, Error> {
    if bytes.len() <= max {
        Ok(bytes)
    } else {
        Err(Error::TooLong {
            what,
            found: bytes.len(),
            max,
        })
    }
}

/// At most `max` bytes, cut at a character and marked.
fn cut(text: &str, max: usize) -> Cow<'_, str> {
    const MARK: &str = "…";
    if text.len() <= max {
        return text.into();
    }
    let end = (0..=max.saturating_sub(MARK.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}{MARK}", text.get(..end).unwrap_or_default()).into()
}

/// At most `count` texts of at most `max` bytes; a longer list ends in one that says how many are missing.
fn bounded_list(texts: &[String], count: usize, max: usize) -> impl Iterator<Item = Cow<'_, str>> {
    let kept = if texts.len() <= count {
        texts.len()
    } else {
        count.saturating_sub(1)
    };
    let more = (kept < texts.len()).then(|| format!("… and {} more", texts.len() - kept).into());
    texts
        .iter()
        .take(kept)
        .map(move |text| cut(text, max))
        .chain(more)
}

/// A record as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordView {
    /// The chain's and the clock's part.
    pub header: Header,
    /// What happened.
    pub body: BodyView,
}

/// What happened, as far as the record itself says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyView {
    /// See [`Body::Start`].
    Start(Start),
    /// See [`Body::Stop`].
    Stop {
        /// Why.
        reason: String,
    },
    /// See [`Body::Activation`].
    Activation(Activation),
    /// See [`Body::Decision`].
    Decision(Box<DecisionView>),
    /// See [`Body::Outcome`].
    Outcome(Outcome),
    /// See [`Body::SessionStart`].
    SessionStart(Box<SessionStart>),
    /// See [`Body::SessionEnd`].
    SessionEnd {
        /// Which.
        session: String,
        /// Why.
        reason: String,
        /// Decisions that it was given.
        calls: u64,
    },
    /// See [`Body::Dropped`].
    Dropped {
        /// (session or `-`, code, how many).
        counts: Vec<(String, String, u64)>,
    },
    /// See [`Body::ClockStep`].
    ClockStep {
        /// Signed milliseconds that the wall clock gained.
        step_ms: i64,
    },
    /// See [`Body::Log`].
    Log(LogEvent),
}

/// A decision's record: the verdict, and commitments to the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionView {
    /// The session, if any.
    pub session: Option<String>,
    /// The agent that the call was decided for.
    pub agent: String,
    /// Whether the kernel said so.
    pub attested: bool,
    /// The peer's user.
    pub uid: u32,
    /// The way in.
    pub door: Door,
    /// The tool, as claimed.
    pub tool: String,
    /// What was answered.
    pub effect: Effect,
    /// In shadow mode: what enforcing would have answered.
    pub would: Option<Effect>,
    /// Absent on a plain permit.
    pub code: Option<Code>,
    /// Artifact in force.
    pub policy: Hash,
    /// `SHA-256(salt ‖ canonical arguments)`.
    pub args: Hash,
    /// `SHA-256(salt ‖ detail)`.
    pub detail: Hash,
}

/// Reads a record. What is accepted is exactly what [`encode`] can write, in its canonical bytes.
///
/// # Errors
/// Where the bytes are anything else.
pub fn decode(record: &[u8]) -> Result<RecordView, Malformed> {
    let skimmed = skim(record)?;
    let body = match skimmed.body {
        Skimmed::Decision(decision) => BodyView::Decision(Box::new(decision.into_owned())),
        Skimmed::Other(body) => body,
    };
    Ok(RecordView {
        header: skimmed.header.into_owned(),
        body,
    })
}

/// A record as [`decode`] reads it, without copying what decisions say: they are nearly all that a journal holds.
pub(crate) struct SkimmedRecord<'a> {
    /// The chain's and the clock's part.
    pub(crate) header: HeaderRef<'a>,
    /// What happened.
    pub(crate) body: Skimmed<'a>,
}

/// See [`SkimmedRecord`].
pub(crate) enum Skimmed<'a> {
    Decision(DecisionRef<'a>),
    Other(BodyView),
}

/// Reads a record as [`decode`] does, and accepts exactly the same.
///
/// # Errors
/// Where the bytes are anything else than [`encode`] writes.
pub(crate) fn skim(record: &[u8]) -> Result<SkimmedRecord<'_>, Malformed> {
    if record.len() > RECORD_BYTES_MAX {
        return Err(Malformed {
            at: 0,
            why: "too long",
        });
    }
    let text = str::from_utf8(record).map_err(|e| Malformed {
        at: e.valid_up_to(),
        why: "not UTF-8",
    })?;
    let kind = find_kind(text)?;
    let mut r = Reader::record(text, kind);
    let body = match kind {
        "decision" => Skimmed::Decision(decode_decision(&mut r)?),
        kind => Skimmed::Other(decode_other(kind, &mut r)?),
    };
    Ok(SkimmedRecord {
        header: r.finish()?,
        body,
    })
}

fn decode_other(kind: &str, r: &mut Reader<'_>) -> Result<BodyView, Malformed> {
    let body = match kind {
        "start" => BodyView::Start(decode_start(r)?),
        "stop" => BodyView::Stop {
            reason: r.string_of("reason")?,
        },
        "activation" => BodyView::Activation(decode_activation(r)?),
        "outcome" => BodyView::Outcome(decode_outcome(r)?),
        "session_start" => BodyView::SessionStart(Box::new(decode_session_start(r)?)),
        "session_end" => {
            let calls = r.uint("calls")?;
            let reason = r.string_of("reason")?;
            BodyView::SessionEnd {
                session: r.string_of("session")?,
                reason,
                calls,
            }
        }
        "dropped" => BodyView::Dropped {
            counts: r.objects("counts", |r| {
                let (code, count) = (r.string_of("code")?, r.uint("count")?);
                Ok((r.string_of("session")?, code, count))
            })?,
        },
        "clock_step" => BodyView::ClockStep {
            step_ms: r.int("step_ms")?,
        },
        kind => match events::decode(kind, r) {
            Some(event) => BodyView::Log(event?),
            None => return Err(r.malformed("unknown kind")),
        },
    };
    Ok(body)
}

/// The value of the key `kind`, so that the reader knows which keys to expect. In canonical JSON every quote within a
/// string is escaped, so this sequence of bytes can only be the key; the reader checks its place.
fn find_kind(text: &str) -> Result<&str, Malformed> {
    const KEY: &[u8] = b"\"kind\":\"";
    let at = memmem::find(text.as_bytes(), KEY).ok_or(Malformed {
        at: 0,
        why: "no kind",
    })?;
    let rest = text.get(at + KEY.len()..).unwrap_or_default();
    rest.split_once('"')
        .map(|(kind, _)| kind)
        .ok_or(Malformed { at, why: "no kind" })
}

/// A decision's record, borrowed from its text. See [`DecisionView`].
pub(crate) struct DecisionRef<'a> {
    session: Option<Cow<'a, str>>,
    agent: Cow<'a, str>,
    attested: bool,
    uid: u32,
    door: Door,
    tool: Cow<'a, str>,
    effect: Effect,
    would: Option<Effect>,
    code: Option<Code>,
    pub(crate) policy: Hash,
    pub(crate) args: Hash,
    pub(crate) detail: Hash,
}

impl DecisionRef<'_> {
    fn into_owned(self) -> DecisionView {
        DecisionView {
            session: self.session.map(Into::into),
            agent: self.agent.into_owned(),
            attested: self.attested,
            uid: self.uid,
            door: self.door,
            tool: self.tool.into_owned(),
            effect: self.effect,
            would: self.would,
            code: self.code,
            policy: self.policy,
            args: self.args,
            detail: self.detail,
        }
    }
}

fn decode_decision<'a>(r: &mut Reader<'a>) -> Result<DecisionRef<'a>, Malformed> {
    let agent = r.str("agent")?;
    let args = r.hash("args")?;
    let attested = r.bool("attested")?;
    let code = r.optional_str("code")?;
    let code = known(r, code, |word| {
        Code::ALL.into_iter().find(|code| code.as_str() == word)
    })?;
    let detail = r.hash("detail")?;
    let door = r.str("door")?;
    let door = Door::parse(&door).ok_or(r.malformed("unknown door"))?;
    let effect = r.str("effect")?;
    let effect = parse_effect(&effect).ok_or(r.malformed("unknown effect"))?;
    let policy = r.digest("policy")?;
    let session = r.optional_str("session")?;
    let tool = r.str("tool")?;
    let uid = r.u32("uid")?;
    let would = r.optional_str("would")?;
    let would = known(r, would, parse_effect)?;
    Ok(DecisionRef {
        session,
        agent,
        attested,
        uid,
        door,
        tool,
        effect,
        would,
        code,
        policy,
        args,
        detail,
    })
}

/// `None` for `null`; an unknown word is an error.
fn known<T>(
    r: &Reader<'_>,
    word: Option<Cow<'_, str>>,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Malformed> {
    word.map(|word| parse(&word).ok_or(r.malformed("unknown word")))
        .transpose()
}

fn parse_effect(word: &str) -> Option<Effect> {
    [Effect::Permit, Effect::Defer, Effect::Deny]
        .into_iter()
        .find(|effect| effect.as_str() == word)
}

fn decode_start(r: &mut Reader<'_>) -> Result<Start, Malformed> {
    Ok(Start {
        boot_id: r.string_of("boot_id")?,
        cut_bytes: r.uint("cut_bytes")?,
        pid: r.u32("pid")?,
        uid: r.u32("uid")?,
        version: r.string_of("version")?,
        warnings: r.strings("warnings")?,
    })
}

fn decode_activation(r: &mut Reader<'_>) -> Result<Activation, Malformed> {
    Ok(Activation {
        manifest: r.digest("manifest")?,
        number: r.uint("number")?,
        digest: r.digest("policy")?,
        policy_mode: r.string_of("policy_mode")?,
        windows: r.strings_if_any("windows")?,
    })
}

fn decode_outcome(r: &mut Reader<'_>) -> Result<Outcome, Malformed> {
    Ok(Outcome {
        of: r.uint("of")?,
        result_digest: r.optional_hash("result")?,
        session: r.optional_str("session")?.map(Into::into),
        status: r.string_of("status")?,
        detail: r.string_of("text")?,
    })
}

fn decode_session_start(r: &mut Reader<'_>) -> Result<SessionStart, Malformed> {
    Ok(SessionStart {
        agent: r.string_of("agent")?,
        boot_id: r.string_of("boot_id")?,
        cgroup: r.string_of("cgroup")?,
        command: r.strings("command")?,
        pid: r.u32("pid")?,
        probes: r.objects("probes", |r| {
            let enforced = r.bool("enforced")?;
            let layer = r.string_of("layer")?;
            Ok((layer, enforced, r.string_of("measured")?))
        })?,
        session: r.string_of("session")?,
        start_ticks: r.uint("start_ticks")?,
        stripped_env: r.strings("stripped_env")?,
        uid: r.u32("uid")?,
        workspace: r.string_of("workspace")?,
    })
}

/// The whole arguments, from a detail; `None` where some were redacted, or the detail is not one.
pub fn detail_arguments(detail: &[u8]) -> Option<String> {
    // The list of what was redacted is the last key but one, and a key's quotes never stand inside a string.
    let text = str::from_utf8(detail).ok()?;
    let whole = memmem::find(text.as_bytes(), b",\"redacted\":[],\"rule\":").is_some();
    let arguments = Reader::object(text).string_of("args").ok()?;
    whole.then_some(arguments)
}

/// What a decision added to the state, from its detail; `None` where it is not one.
pub(crate) fn detail_effects(detail: &[u8]) -> Option<Effects> {
    let mut reader = Reader::object(str::from_utf8(detail).ok()?);
    reader.string_of("args").ok()?;
    let effects = reader.objects("effects", |r| {
        let add = r.optional_str("add")?;
        let number = |text: Cow<'_, str>| {
            Decimal::parse_canonical(&text).map_err(|_| r.malformed("not a canonical number"))
        };
        let add = add.map(number).transpose()?;
        Ok((r.string_of("counter")?, add))
    });
    effects.ok()
}

#[cfg(test)]
mod tests;
