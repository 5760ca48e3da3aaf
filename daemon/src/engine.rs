//! The engine: what the doors hold of the deciding and recording half of the daemon.
//!
//! [`Opened::open`] takes the journal's lock, recovers the journal, puts the policy in force; [`Opened::start`] starts
//! the sequencer on the current runtime thread and the journal on a thread of its own. Every method of [`Engine`] may be
//! called from any task of that runtime; none waits for the disk, except those that return a future.
//!
//! Invariants: an answer to a call is a [`Committed`] (durable, under a signed tree head) or a [`Refusal`] (a denial);
//! after a [`Fatal`] no answer ever leaves: receivers stay silent until the process ends.
#![forbid(unsafe_code)]

use crate::clock::Clock;
use crate::config::Config;
use crate::journal::{Committed, Fatal, Handoff};
use crate::sequencer::{Desk, Submission};
use faramesh_core::decision::{Code, Resolution};
use faramesh_core::identity::Attested;
use faramesh_core::policy::artifact::{Artifact, Mode as PolicyMode, capabilities};
use faramesh_core::record::{Body, Door, Outcome};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};

/// What becomes of a submission: its record is durable, or it was refused after it was queued.
pub type Answer = Result<Committed, Refusal>;

/// Whose queue a call waits in. Lanes are served in turn and are full one by one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(Arc<str>);

impl Lane {
    /// A session's.
    #[must_use]
    pub fn session(id: &str) -> Lane {
        Lane(id.into())
    }

    /// A caller's outside any session, by its user.
    #[must_use]
    pub fn user(uid: u32) -> Lane {
        Lane(format!("-{uid}").into())
    }

    /// The operators'.
    #[must_use]
    pub fn operator() -> Lane {
        Lane("-operator".into())
    }

    /// The session, where it is one's: what `dropped` records count by.
    #[must_use]
    pub fn session_id(&self) -> Option<&str> {
        (!self.0.starts_with('-')).then_some(&*self.0)
    }
}

/// A call that was not decided: it is denied with this code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct Refusal {
    /// Why, for programs.
    pub code: Code,
    /// Why, for people: lower case, no secret.
    pub message: String,
}

impl Refusal {
    /// A refusal with a code and words for people.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Refusal {
        Refusal {
            code,
            message: message.into(),
        }
    }

    /// Our own fault.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Refusal {
        Refusal::new(Code::Internal, message)
    }

    /// What the asker can do about it.
    #[must_use]
    pub fn resolution(&self) -> Resolution {
        match self.code {
            Code::Overloaded => Resolution::RetryAfterSeconds(1),
            Code::DaemonNotReady | Code::JournalUnavailable => {
                Resolution::RetryAfterSeconds(REFUSED_RETRY_SECONDS)
            }
            _ => Resolution::ManualAudit,
        }
    }
}

/// What a caller is told to wait where only an operator can help: a full disk, a daemon that restarts.
const REFUSED_RETRY_SECONDS: u32 = 10;

/// A manifest that came into force; its record is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activated {
    /// The manifest's number.
    pub number: u64,
    /// SHA-256 of the artifact.
    pub digest: [u8; 32],
}

/// What `status` shows of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineStatus {
    /// SHA-256 of the artifact in force.
    pub policy_digest: [u8; 32],
    /// The number of the manifest in force.
    pub policy_number: u64,
    /// The number of a manifest in `next` above it, where one lies there.
    pub pending_number: Option<u64>,
    /// Whether the policy enforces.
    pub policy_mode: PolicyMode,
    /// Records that are durable.
    pub journal_size: u64,
    /// The journal's origin.
    pub origin: String,
    /// Why calls are refused at the moment.
    pub refusing: Option<Refusal>,
    /// What an operator should know, one sentence each.
    pub warnings: Vec<String>,
}

/// How far behind the engine is: for the watchdog, which is told only while this is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// For so long calls have waited in the queues without one being taken.
    pub sequencer_stuck: Duration,
    /// For so long the journal has been at the same batch.
    pub journal_stuck: Duration,
}

/// The handle. Cloning is cheap.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) desk: Mutex<Desk>,
    /// Wakes the sequencer.
    pub(crate) work: Notify,
    pub(crate) handoff: Arc<Handoff>,
}

/// One durable record, as [`Engine::tail`] gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tailed {
    /// Its index in the tree.
    pub seq: u64,
    /// Its canonical bytes.
    pub record: Vec<u8>,
    /// The canonical detail beside it, or empty.
    pub detail: Vec<u8>,
}

impl Engine {
    /// Queues a call. The answer comes when its record is durable, or when it was refused after all.
    ///
    /// # Errors
    /// `OVERLOADED` where the lane is full, `JOURNAL_UNAVAILABLE`, `DAEMON_NOT_READY` while draining. The refusal is
    /// counted here and becomes part of a `dropped` record; do not count it again.
    pub fn submit(
        &self,
        lane: Lane,
        attested: Attested,
        door: Door,
    ) -> Result<oneshot::Receiver<Answer>, Refusal> {
        self.queue(lane, Submission::Call { attested, door })
    }

    /// Queues an agent's report of what became of a permitted call, in its lane.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub fn report(
        &self,
        lane: Lane,
        outcome: Outcome,
    ) -> Result<oneshot::Receiver<Answer>, Refusal> {
        self.queue(lane, Submission::Report(Body::Outcome(outcome)))
    }

    /// Queues a record of the daemon's own (a session's start or end, …), before any call that waits.
    ///
    /// # Errors
    /// `OVERLOADED` where too many wait, `DAEMON_NOT_READY` after the drain, `JOURNAL_UNAVAILABLE`.
    pub fn append(&self, body: Body) -> Result<oneshot::Receiver<Answer>, Refusal> {
        let _ = body;
        Err(Refusal::internal("not yet"))
    }

    /// Puts the manifest of this number, which must lie in `next`, in force; returns when its record is durable. Until
    /// then, and where it is refused, the old policy decides.
    ///
    /// # Errors
    /// [`ActivationRefused`], with words for the operator.
    pub async fn activate(&self, number: u64) -> Result<Activated, ActivationRefused> {
        let _ = number;
        Err(ActivationRefused("not yet".into()))
    }

    /// Counts a refusal that never reached the engine: the next batch carries it in a `dropped` record, and within a
    /// second there is one.
    pub fn dropped(&self, session: Option<&str>, code: Code) {
        let _ = (session, code);
    }

    /// The durable records from `from` on; with `follow` it waits for those to come. Bounded: a reader that does not
    /// take what it is sent stops its own stream, and is cut when it stands still.
    ///
    /// # Errors
    /// `OVERLOADED` where too many follow.
    pub fn tail(&self, from: u64, follow: bool) -> Result<mpsc::Receiver<Tailed>, Refusal> {
        let _ = (from, follow);
        Err(Refusal::internal("not yet"))
    }

    /// What `status` shows. Reads `next`, so it is for operators only.
    #[must_use]
    pub fn status(&self) -> EngineStatus {
        EngineStatus {
            policy_digest: [0; 32],
            policy_number: 0,
            pending_number: None,
            policy_mode: PolicyMode::Enforce,
            journal_size: 0,
            origin: String::new(),
            refusing: None,
            warnings: Vec::new(),
        }
    }

    /// The artifact in force: agents, users, sockets.
    #[must_use]
    pub fn artifact(&self) -> Arc<Artifact> {
        unreachable!("not yet")
    }

    /// Takes no more calls, finishes what is queued, writes a `stop` record with `reason`, and ends the journal. Returns
    /// when all of it is durable, or never after a [`Fatal`]: wait for [`Engine::fatal`] beside it.
    pub async fn drain(&self, reason: &str) {
        let _ = reason;
    }

    /// Returns when the engine cannot go on: exit with [`Fatal::exit_code`] and say what it says.
    pub async fn fatal(&self) -> Arc<Fatal> {
        std::future::pending().await
    }

    /// For the watchdog.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            sequencer_stuck: Duration::ZERO,
            journal_stuck: self.0.handoff.stuck(),
        }
    }

    fn queue(
        &self,
        lane: Lane,
        submission: Submission,
    ) -> Result<oneshot::Receiver<Answer>, Refusal> {
        let _ = (lane, submission);
        Err(Refusal::internal("not yet"))
    }
}

/// Why a manifest did not come into force; the old policy decides.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ActivationRefused(pub String);

/// A recovered journal and a policy in force: everything that can refuse to start has been asked.
pub struct Opened {
    shared: Arc<Shared>,
}

/// Why the engine does not start. [`StartFailure::exit_code`] says who can help.
#[derive(Debug, thiserror::Error)]
pub enum StartFailure {
    /// 78: nothing was ever applied, or what is in force is missing or needs more than this daemon enforces.
    #[error("{0}")]
    Policy(String),
}

impl StartFailure {
    /// 65 where data is damaged, 69 where something is not there yet, 78 where an operator has to apply or configure.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            StartFailure::Policy(_) => 78,
        }
    }
}

impl Opened {
    /// Locks the journal, asks the signer, recovers, finds the policy in force. Blocks; run it off the runtime's thread.
    ///
    /// # Errors
    /// [`StartFailure`]; the journal is unchanged, except that a torn tail may have been cut.
    pub fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Opened, StartFailure> {
        let _ = (config, clock);
        Err(StartFailure::Policy("not yet".into()))
    }

    /// The artifact that will be in force: its `cold_start_deny_window`.
    #[must_use]
    pub fn artifact(&self) -> &Artifact {
        unreachable!("not yet")
    }

    /// Starts the sequencer on this runtime and the journal on its own threads, writes the `start` record (and the
    /// activation of a waiting `next`), and returns when they are durable.
    ///
    /// # Errors
    /// The [`Fatal`] that prevented it.
    pub async fn start(self) -> Result<Engine, Arc<Fatal>> {
        Ok(Engine(self.shared))
    }
}

/// What this daemon enforces, sorted: an artifact that requires more is refused.
#[must_use]
pub fn capabilities() -> &'static [&'static str] {
    &capabilities::ALL
}
