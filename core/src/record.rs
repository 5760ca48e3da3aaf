//! Records: what happened, in canonical JSON that thirty lines of any language can check.
//!
//! Canonical means RFC 8785 with integers below 2^53 only; exact decimals and arguments are strings. The field names
//! and their meaning are documented for other languages in `docs/journal-format.md`; `encode` and `decode` are the only
//! code that knows them here.

use crate::decision::Decision;

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

/// Both clocks, read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// Canonical text of the arguments, unredacted: committed to in the record, redacted in the detail.
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
