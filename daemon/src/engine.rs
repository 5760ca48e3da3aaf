//! The engine: what the doors hold of the deciding and recording half of the daemon.
//!
//! [`Opened::open`] takes the journal's lock, recovers the journal, puts the policy in force; [`Opened::start`] starts
//! the sequencer on the current runtime thread and the journal on a thread of its own. Every method of [`Engine`] may be
//! called from any task of that runtime; none waits for the disk, except those that return a future.
//!
//! Invariants: an answer to a call is a [`Committed`] (durable, under a signed tree head) or a [`Refusal`] (a denial);
//! after a [`Fatal`] no answer ever leaves: receivers stay silent until the process ends.
#![forbid(unsafe_code)]

use crate::attest::{Heads, NotAttested, Recorded, Witnessed};
use crate::clock::{Clock, StepWatch, SystemClock};
use crate::config::{Config, Mode};
use crate::journal::abandoned;
use crate::journal::recover::{self, Lock, NotRecovered, Recovered};
use crate::journal::segment::{Disk, JournalDir};
use crate::journal::signer_client::{SignerClient, SignerFault};
use crate::journal::snapshots::Due;
use crate::journal::{Committed, Committer, Durable, Fatal, Handoff, tail};
use crate::sequencer::{Budget, Desk, Event, Salts, Sequencer, Submission};
use crate::store::{CAPABILITIES, Candidate, NotAccepted, PolicyStore};
use crate::upkeep::{self, Board, Upkeep};
use faramesh_core::checkpoint::{self, LogKey, PublicKey};
use faramesh_core::cosign::Witnesses;
use faramesh_core::decision::{Code, RETRY_AFTER_SECONDS, Resolution};
use faramesh_core::identity::Attested;
use faramesh_core::pipeline;
use faramesh_core::policy::Policy;
use faramesh_core::policy::artifact::{Artifact, Mode as PolicyMode};
use faramesh_core::record::{
    Body, Door, Epoch, Erasure, Gap, LogEvent, Outcome, RunMode, Start, Time,
};
use faramesh_core::state::State;
use faramesh_core::tree::Head;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

pub use crate::journal::tail::Tailed;

/// Readers that follow the journal at once: each holds a block of a segment, and operators are few.
const TAILS_MAX: usize = 16;

/// The operators' lane.
const OPERATOR_LANE: &str = "-operator";

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
        Lane(OPERATOR_LANE.into())
    }

    /// Whether it is the operators'.
    pub(crate) fn is_operators(&self) -> bool {
        &*self.0 == OPERATOR_LANE
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
    /// When it is worth asking again, seconds, where that is known.
    again_after: Option<u32>,
}

impl Refusal {
    /// A refusal with a code and words for people.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Refusal {
        Refusal {
            code,
            message: message.into(),
            again_after: None,
        }
    }

    /// The same, where it is known when asking again is worth it.
    #[must_use]
    pub fn again_after(mut self, seconds: u32) -> Refusal {
        self.again_after = Some(seconds);
        self
    }

    /// Our own fault.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Refusal {
        Refusal::new(Code::Internal, message)
    }

    /// No call can be made durable at the moment.
    #[must_use]
    pub fn journal_unavailable(why: &str) -> Refusal {
        Refusal::new(
            Code::JournalUnavailable,
            format!("no decision can be made durable: {why}"),
        )
    }

    /// What the asker can do about it.
    #[must_use]
    pub fn resolution(&self) -> Resolution {
        match self.code {
            Code::Overloaded | Code::DaemonNotReady | Code::JournalUnavailable => {
                Resolution::RetryAfterSeconds(self.again_after.unwrap_or(RETRY_AFTER_SECONDS))
            }
            _ => Resolution::ManualAudit,
        }
    }
}

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

/// A handle that keeps nothing alive.
pub(crate) struct WeakEngine(Weak<Shared>);

impl WeakEngine {
    /// `None` where everybody else dropped the engine.
    pub(crate) fn upgrade(&self) -> Option<Engine> {
        self.0.upgrade().map(Engine)
    }
}

/// What the handle, the sequencer and the lifecycle share.
pub(crate) struct Shared {
    desk: Mutex<Desk>,
    /// Wakes the sequencer.
    pub(crate) work: Notify,
    pub(crate) handoff: Arc<Handoff>,
    in_force: Mutex<Arc<InForce>>,
    store: PolicyStore,
    journal_dir: PathBuf,
    origin: String,
    warnings: Vec<String>,
    left_over: BTreeMap<String, u64>,
    tails: Arc<Semaphore>,
    removed_at_start: u64,
    upkeep: Arc<Board>,
    pub(crate) witnessed: Witnessed,
    clock: Arc<dyn Clock>,
    /// Held until the last handle and the sequencer are gone.
    _lock: Lock,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.upkeep.stop();
    }
}

impl Shared {
    /// The queues. The lock is only ever taken on the runtime's thread, for a moment, and never across an await.
    pub(crate) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_in_force(&self, in_force: Arc<InForce>) {
        *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) = in_force;
    }

    fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The policy that decides, and the number of the manifest that put it in force.
#[derive(Debug)]
pub(crate) struct InForce {
    pub(crate) number: u64,
    pub(crate) policy: Arc<Policy>,
}

/// The artifact that was in force when it was asked for; it stays what it is when another comes into force.
#[derive(Debug, Clone)]
pub struct ArtifactInForce(Arc<InForce>);

impl Deref for ArtifactInForce {
    type Target = Artifact;

    fn deref(&self) -> &Artifact {
        self.0.policy.artifact()
    }
}

impl Engine {
    /// A handle whose sequencer and journal are stepped by whoever holds them.
    #[cfg(test)]
    pub(crate) fn in_one_thread(shared: Arc<Shared>) -> Engine {
        Engine(shared)
    }

    /// Queues a call. The answer comes when its record is durable, or when it was refused after all.
    ///
    /// # Errors
    /// `OVERLOADED` where the lane is full, `JOURNAL_UNAVAILABLE`, `DAEMON_NOT_READY` while draining. Every refusal of a
    /// call by the engine, here or in the answer, is counted and becomes part of a `dropped` record; do not count it
    /// again.
    pub fn submit(
        &self,
        lane: Lane,
        attested: Attested,
        door: Door,
    ) -> Result<oneshot::Receiver<Answer>, Refusal> {
        self.queue(&lane, Submission::Call { attested, door })
    }

    /// Queues an agent's report of what became of a permitted call, in its lane. Where it is about anything but a permit
    /// of the same caller that has no outcome yet, the answer is `CALL_INVALID`.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub fn report(
        &self,
        lane: Lane,
        outcome: Outcome,
    ) -> Result<oneshot::Receiver<Answer>, Refusal> {
        self.queue(&lane, Submission::Report(outcome))
    }

    /// Queues a record of the daemon's own (a session's start or end, something about the log: `Body::Log`), before any
    /// call that waits. The answer comes when it is durable: whoever takes something away does it then and not before. The
    /// state takes it when it is queued, so one that cannot follow is refused in the answer (`INTERNAL`, with
    /// [`faramesh_core::state::OutOfOrder`]'s words) and changes nothing. It is accepted while draining; where the disk is full it may use up the segment that is there, and then it is refused in the
    /// answer: `JOURNAL_UNAVAILABLE`.
    ///
    /// # Errors
    /// `OVERLOADED` where too many wait, `DAEMON_NOT_READY` after the drain.
    pub fn append(&self, body: Body) -> Result<oneshot::Receiver<Answer>, Refusal> {
        let queued = self.0.desk().event(Event::Append(body));
        self.0.work.notify_one();
        queued
    }

    /// Puts the manifest of this number, which must lie in `next`, in force; returns when its record is durable. Until
    /// then, and where it is refused, the old policy decides. Everything slow is done off the deciding thread.
    ///
    /// # Errors
    /// [`ActivationRefused`], with words for the operator.
    pub async fn activate(&self, number: u64) -> Result<Activated, ActivationRefused> {
        let store = self.0.store.clone();
        let in_force = self.0.in_force().number;
        let read = move || store.next_candidate(number, Some(in_force));
        let candidate = tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| Refusal::internal(error.to_string()))??;
        let digest = *candidate.policy.digest();
        let queued = self.0.desk().event(Event::Activate(candidate))?;
        self.0.work.notify_one();
        queued.await.map_err(|_| ended())??;
        Ok(Activated { number, digest })
    }

    /// Begins another epoch of the log's key: the signer makes the next key, a record names it, and from the checkpoint
    /// behind that record's on it signs instead of the one before, which is erased. Returns when the record is durable.
    ///
    /// # Errors
    /// Where the record was not taken: one of the same epoch came before, the disk is full, or the daemon stops.
    pub async fn new_epoch(&self) -> Result<(Epoch, Committed), Refusal> {
        let epoch = self.0.handoff.next_epoch().await.map_err(|_| ended())?;
        let body = Body::Log(LogEvent::Epoch(epoch.clone()));
        let committed = self.append(body)?.await.map_err(|_| ended())??;
        Ok((epoch, committed))
    }

    /// Counts a refusal that never reached the engine: the next batch carries it in a `dropped` record, and within a
    /// second there is one.
    pub fn dropped(&self, session: Option<&str>, code: Code) {
        self.0.desk().count_dropped(session, code);
        self.0.work.notify_one();
    }

    /// The durable records from `from` on; with `follow` it waits for those to come. Bounded: a reader that does not
    /// take what it is sent stops only its own stream, and is cut when it stands still. The stream ends when the
    /// journal does.
    ///
    /// # Errors
    /// `OVERLOADED` where too many read already.
    pub fn tail(&self, from: u64, follow: bool) -> Result<mpsc::Receiver<Tailed>, Refusal> {
        let Ok(permit) = Arc::clone(&self.0.tails).try_acquire_owned() else {
            return Err(Refusal::new(
                Code::Overloaded,
                format!("{TAILS_MAX} readers follow the journal already"),
            ));
        };
        let (sender, receiver) = mpsc::channel(tail::WAITING_MAX);
        let dir = self.0.journal_dir.clone();
        let durable = self.0.handoff.watch();
        tokio::spawn(async move {
            tail::send(dir, from, follow, durable, sender).await;
            drop(permit);
        });
        Ok(receiver)
    }

    /// What `status` shows. Reads `next`, so it is for operators only.
    #[must_use]
    pub fn status(&self) -> EngineStatus {
        let in_force = self.0.in_force();
        let mut warnings = self.0.warnings.clone();
        warnings.extend(self.lag());
        warnings.extend(self.0.upkeep.warnings());
        let pending_number = match self.0.store.next_number() {
            Ok(number) => number.filter(|number| *number > in_force.number),
            Err(error) => {
                warnings.push(format!("what lies in `next` does not count: {error}"));
                None
            }
        };
        EngineStatus {
            policy_digest: *in_force.policy.digest(),
            policy_number: in_force.number,
            pending_number,
            policy_mode: in_force.policy.artifact().runtime.mode,
            journal_size: self.0.handoff.durable_size(),
            origin: self.0.origin.clone(),
            refusing: self.0.handoff.refusing(),
            warnings,
        }
    }

    /// Records that pinned witnesses cosigned a checkpoint, and returns when the record is durable. The checkpoint is one
    /// that this run made durable, or the one that it began with.
    ///
    /// # Errors
    /// [`NotAttested`], with words for the operator.
    pub async fn attest(&self, note: &str) -> Result<Recorded, NotAttested> {
        let attestation = self.0.witnessed.check(note, self.quorum())?;
        let recorded = |seq| Recorded {
            seq,
            size: attestation.size,
            witnesses: attestation.witnesses.clone(),
        };
        let body = Body::Log(LogEvent::Attestation(attestation.clone()));
        let committed = self.append(body)?.await.map_err(|_| ended())??;
        self.0.witnessed.recorded(attestation.size);
        Ok(recorded(committed.seq()))
    }

    /// Records that pinned witnesses have attested.
    #[must_use]
    pub fn attested_size(&self) -> u64 {
        self.0.witnessed.size()
    }

    /// How many witnesses the policy in force wants.
    fn quorum(&self) -> usize {
        let in_force = self.0.in_force();
        let anchor = in_force.policy.artifact().runtime.anchor.as_ref();
        let quorum = anchor.map_or(1, |anchor| anchor.quorum);
        usize::try_from(quorum).unwrap_or(usize::MAX)
    }

    /// What `status` says where records wait for witnesses longer than the policy allows, whatever it answers then.
    fn lag(&self) -> Option<String> {
        let in_force = self.0.in_force();
        let anchor = in_force.policy.artifact().runtime.anchor.as_ref()?;
        let since_ms = self.0.witnessed.waits_since_ms()?;
        let lag_ms = self.0.clock.now().boot_ms.saturating_sub(since_ms);
        (lag_ms > anchor.max_lag_ms).then(|| pipeline::unattested(lag_ms, anchor.max_lag_ms))
    }

    /// Below this number bodies were removed when this run began.
    pub(crate) fn removed_at_start(&self) -> u64 {
        self.0.removed_at_start
    }

    /// Both clocks.
    pub(crate) fn now(&self) -> Time {
        self.0.clock.now()
    }

    /// Records that are durable.
    pub(crate) fn durable(&self) -> u64 {
        self.0.handoff.durable_size()
    }

    /// Orders that what lies beside these records (first, last, both inclusive) goes, and returns the number of the order's
    /// own record when it is durable. The upkeep carries it out: at once in sealed segments, in the one that is being
    /// written when it is sealed; a crash only delays it.
    ///
    /// # Errors
    /// The record was not taken: nothing is erased.
    pub async fn erase(&self, erasure: Erasure) -> Result<u64, Refusal> {
        let queued = self.append(Body::Log(LogEvent::Erasure(erasure)))?;
        let committed = queued.await.map_err(|_| ended())??;
        self.0.upkeep.ring();
        Ok(committed.seq())
    }

    /// The artifact in force: agents, users, sockets.
    #[must_use]
    pub fn artifact(&self) -> ArtifactInForce {
        ArtifactInForce(self.0.in_force())
    }

    /// Sessions that an earlier run left alive in the journal, by id, with the decisions that each was given. Their end
    /// is recorded by whoever calls this, once.
    #[must_use]
    pub fn left_over(&self) -> &BTreeMap<String, u64> {
        &self.0.left_over
    }

    /// Takes no more calls, finishes what is queued, writes a `stop` record with `reason`, and ends the journal. Returns
    /// when all of it is durable and the upkeep has ended or was given its time, or never after a [`Fatal`]: wait for
    /// [`Engine::fatal`] beside it.
    pub async fn drain(&self, reason: &str) {
        self.0.upkeep.stop();
        let mut durable = self.0.handoff.watch();
        self.0.desk().drain(reason);
        self.0.work.notify_one();
        let closed = durable.wait_for(|durable| matches!(durable, Durable::Closed(_)));
        if closed.await.is_err() {
            std::future::pending().await
        }
        // What it is at in the middle is begun again by the next start.
        drop(tokio::time::timeout(upkeep::GOODBYE, self.0.upkeep.ended()).await);
    }

    /// Has the upkeep look again now, and returns when it has tried everything: hash tiles of all sealed segments and
    /// whatever else is made behind the journal's back. What failed is a warning in [`Engine::status`].
    pub async fn keep_up_now(&self) {
        self.0.upkeep.ring();
        self.0.upkeep.settled().await;
    }

    /// Returns when the engine cannot go on: exit with [`Fatal::exit_code`] and say what it says.
    pub async fn fatal(&self) -> Arc<Fatal> {
        fatal(&self.0.handoff).await
    }

    /// For the watchdog.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            sequencer_stuck: self.0.desk().stuck(),
            journal_stuck: self.0.handoff.stuck(),
        }
    }

    /// Starts the upkeep: a thread beside everything, which begins when the start is durable.
    fn keep_up(&self) -> Result<(), Fatal> {
        let board = Arc::clone(&self.0.upkeep);
        let weak = WeakEngine(Arc::downgrade(&self.0));
        let runtime = tokio::runtime::Handle::current();
        let upkeep = Upkeep::new(board, &self.0.journal_dir, weak, runtime);
        let spawned = std::thread::Builder::new()
            .name("upkeep".into())
            .spawn(move || upkeep.run());
        match spawned {
            Ok(_) => Ok(()),
            Err(error) => Err(Fatal::Inconsistent(format!("thread `upkeep`: {error}"))),
        }
    }

    fn queue(
        &self,
        lane: &Lane,
        submission: Submission,
    ) -> Result<oneshot::Receiver<Answer>, Refusal> {
        let mut desk = self.0.desk();
        let queued = match self.0.handoff.refusing() {
            Some(refusal) => Err(refusal),
            None => desk.submit(lane, submission),
        };
        if let Err(refusal) = &queued {
            desk.count_dropped(lane.session_id(), refusal.code);
        }
        drop(desk);
        self.0.work.notify_one();
        queued
    }
}

async fn fatal(handoff: &Handoff) -> Arc<Fatal> {
    let mut durable = handoff.watch();
    let ended = durable.wait_for(|durable| matches!(durable, Durable::Fatal(_)));
    match ended.await.as_deref() {
        Ok(Durable::Fatal(fatal)) => Arc::clone(fatal),
        _ => std::future::pending().await,
    }
}

fn ended() -> Refusal {
    Refusal::new(Code::DaemonNotReady, "the daemon is stopping")
}

/// Why a manifest did not come into force; the old policy decides.
#[derive(Debug, thiserror::Error)]
pub enum ActivationRefused {
    /// What lies in the policy directory does not count.
    #[error(transparent)]
    NotAccepted(#[from] NotAccepted),
    /// The sequencer did not take it.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A recovered journal and a policy to put in force: everything that can refuse to start has been asked.
pub struct Opened {
    pub(crate) sequencer: Sequencer,
    pub(crate) committer: Committer,
    disk: Arc<dyn Disk>,
    /// What was given up and is not recorded yet.
    pub(crate) gap: Option<Gap>,
    pub(crate) start: Start,
    pub(crate) candidate: Option<Candidate>,
}

/// Why the engine does not start. [`StartFailure::exit_code`] says who can help.
#[derive(Debug, thiserror::Error)]
pub enum StartFailure {
    /// A pinned key is unreadable or not one.
    #[error("pinned key `{}`: {why}", path.display())]
    PinnedKey {
        /// Its file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The configuration and the pinned key name different journals.
    #[error("`origin` is `{configured}`, `log.pub` is the key of `{pinned}`: apply again")]
    Origin {
        /// In daemon.toml.
        configured: String,
        /// In log.pub.
        pinned: String,
    },
    /// The journal cannot be gone on with.
    #[error(transparent)]
    Journal(#[from] NotRecovered),
    /// Nothing was ever applied.
    #[error("no policy is in force: run `faramesh apply` first")]
    NothingApplied,
    /// Nothing is in force, and what lies in `next` does not count.
    #[error("no policy is in force, and `next` does not count: {0}; run `faramesh apply`")]
    FirstRefused(#[source] NotAccepted),
    /// A waiting manifest demands what this daemon does not enforce.
    #[error("manifest in `next`: {0}")]
    NextRequires(#[source] NotAccepted),
    /// The artifact of the last activation record cannot be used.
    #[error(
        "the policy in force cannot be used: {0}; put its artifact back, or run `faramesh apply`"
    )]
    InForce(#[source] NotAccepted),
    /// What an operator gave up cannot be read, so it cannot be recorded.
    #[error("what was given up by `faramesh audit abandon` cannot be read: {0}")]
    Abandoned(String),
    /// The policy directory and its key do not belong to this stack.
    #[error(transparent)]
    Store(NotAccepted),
}

impl StartFailure {
    /// 65 where data is damaged, 69 where something is not there yet, 78 where an operator has to apply or configure.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            StartFailure::Journal(not_recovered) => not_recovered.exit_code(),
            _ => 78,
        }
    }
}

/// Where the engine touches the world, besides the signer's socket.
pub struct Ports {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes segments in the journal's directory.
    pub disk: Arc<dyn Disk>,
}

impl Ports {
    /// The machine's.
    #[must_use]
    pub fn real(config: &Config) -> Ports {
        Ports {
            clock: Arc::new(SystemClock),
            disk: Arc::new(JournalDir::new(&config.journal_dir)),
        }
    }
}

impl Opened {
    /// Locks the journal, asks the signer, recovers, finds the policy to put in force. Blocks; run it off the runtime's
    /// thread.
    ///
    /// # Errors
    /// [`StartFailure`]; the journal is unchanged, except that a torn tail may have been cut.
    pub fn open(config: &Config, ports: Ports) -> Result<Opened, StartFailure> {
        let signer = || SignerClient::connect(&config.signer_socket, config.signer_uid);
        Opened::open_with(config, ports, signer)
    }

    /// The same with a signer that is reached in another way; it is asked when the journal is locked.
    pub(crate) fn open_with(
        config: &Config,
        ports: Ports,
        signer: impl FnOnce() -> Result<SignerClient, SignerFault>,
    ) -> Result<Opened, StartFailure> {
        let log_key = pinned(&config.log_pub, LogKey::parse)?;
        if log_key.name().as_str() != config.origin {
            return Err(StartFailure::Origin {
                configured: config.origin.clone(),
                pinned: log_key.name().to_string(),
            });
        }
        let policy_key = pinned(&config.policy_pub, PublicKey::parse_vkey)?;
        let store = PolicyStore::new(&config.policy_dir, policy_key, &config.stack)
            .map_err(StartFailure::Store)?;
        let witnesses = witnesses(&config.witnesses_pub())?;
        let lock = Lock::take(&config.journal_dir)?;
        let signer = signer().map_err(NotRecovered::Signer)?;
        let recovered = recover::recover(
            &config.journal_dir,
            &*ports.disk,
            config.segment_bytes,
            &log_key,
            signer,
        )?;
        let mut warnings = config.warnings.clone();
        warnings.extend(recovered.warnings.iter().cloned());
        let chosen = choose(&store, &recovered.point.state, &mut warnings)?;
        let gap = given_up(config, &recovered.point.state, &mut warnings)?;
        Ok(Opened::assemble(
            config,
            ports,
            log_key.origin().clone(),
            witnesses,
            store,
            lock,
            recovered,
            warnings,
            gap,
            chosen,
        ))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one caller; each argument is one thing that `open` has found out"
    )]
    fn assemble(
        config: &Config,
        ports: Ports,
        origin: PublicKey,
        witnesses: Witnesses,
        store: PolicyStore,
        lock: Lock,
        recovered: Recovered,
        warnings: Vec<String>,
        gap: Option<Gap>,
        (in_force, candidate): (InForce, Option<Candidate>),
    ) -> Opened {
        let space_left = recovered.segment_bytes.saturating_sub(recovered.offset);
        let handoff = Arc::new(Handoff::new(
            recovered.point.frontier.size(),
            space_left,
            config.segment_bytes,
        ));
        let heads = Arc::new(Heads::new(Head {
            size: recovered.point.frontier.size(),
            root: recovered.point.frontier.root(),
        }));
        let attested = recovered
            .point
            .state
            .attested()
            .map_or(0, |known| known.size);
        let in_force = Arc::new(in_force);
        let due = Due::new(recovered.due, recovered.bad_snapshots);
        let upkeep = Arc::new(Board::new(due));
        let boot_id = boot_id();
        let shared = Arc::new(Shared {
            desk: Mutex::new(Desk::new(
                usize::try_from(config.limits.queue_per_session_max).unwrap_or(usize::MAX),
            )),
            work: Notify::new(),
            handoff: Arc::clone(&handoff),
            in_force: Mutex::new(Arc::clone(&in_force)),
            store,
            journal_dir: config.journal_dir.clone(),
            origin: config.origin.clone(),
            warnings: warnings.clone(),
            left_over: recovered
                .point
                .state
                .sessions()
                .map(|(id, session)| (id.to_owned(), session.calls()))
                .collect(),
            tails: Arc::new(Semaphore::new(TAILS_MAX)),
            removed_at_start: recovered.point.state.removed(),
            upkeep: Arc::clone(&upkeep),
            clock: Arc::clone(&ports.clock),
            witnessed: Witnessed::new(origin, witnesses, Arc::clone(&heads), attested),
            _lock: lock,
        });
        // Within one boot the last record says how the clocks stood: a step while nobody ran is a record too.
        let reference = recovered
            .point
            .last
            .as_ref()
            .filter(|(_, boot)| *boot == boot_id)
            .map_or_else(|| ports.clock.now(), |(time, _)| *time);

        Opened {
            sequencer: Sequencer {
                shared,
                clock: ports.clock,
                steps: StepWatch::from(reference),
                heartbeat_ms: config.limits.heartbeat_seconds.saturating_mul(1_000),
                heartbeat_tried_ms: 0,
                budget: Budget::new(config.limits.session_journal_bytes_per_hour),
                pushed_bytes: 0,
                state: recovered.point.state,
                in_force,
                prev: recovered.point.last_leaf,
                last: recovered.point.last,
                stack: config.stack.clone(),
                mode: match config.mode {
                    Mode::Enforced => RunMode::Enforced,
                    Mode::Development => RunMode::Development,
                },
                salts: Salts::new(),
                scratch: faramesh_core::policy::Scratch::default(),
            },
            committer: Committer {
                handoff,
                disk: Arc::clone(&ports.disk),
                segment: recovered.segment,
                offset: recovered.offset,
                frontier: recovered.point.frontier,
                segments: recovered.segments,
                signer: recovered.signer,
                keys: recovered.keys,
                upkeep,
                heads,
            },
            disk: ports.disk,
            start: Start {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                boot_id,
                uid: rustix::process::getuid().as_raw(),
                pid: rustix::process::getpid().as_raw_pid().unsigned_abs(),
                cut_bytes: recovered.cut_bytes,
                warnings,
            },
            gap,
            candidate,
        }
    }

    /// The artifact that will decide: its `cold_start_deny_window`.
    #[must_use]
    pub fn artifact(&self) -> &Artifact {
        self.sequencer.in_force.policy.artifact()
    }

    /// Starts the sequencer on this runtime and the journal on its own threads, writes the `start` record (and the
    /// activation of a waiting `next`), and returns when they are durable.
    ///
    /// # Errors
    /// The [`Fatal`] that prevented it.
    pub async fn start(self) -> Result<Engine, Arc<Fatal>> {
        let Opened {
            sequencer,
            committer,
            disk,
            gap,
            start,
            candidate,
        } = self;
        let engine = Engine(Arc::clone(&sequencer.shared));
        let handoff = Arc::clone(&engine.0.handoff);
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let spawned = std::thread::Builder::new().name(name.into()).spawn(run);
            spawned
                .map_err(|error| Arc::new(Fatal::Inconsistent(format!("thread `{name}`: {error}"))))
        };
        spawn("journal", Box::new(move || committer.run()))?;
        let preparing = Arc::clone(&handoff);
        spawn(
            "segments",
            Box::new(move || preparing.prepare_segments(&*disk)),
        )?;
        let gap = gap.map(|gap| engine.append(Body::Log(LogEvent::Gap(gap))));
        let first = engine.append(Body::Start(start));
        let activation =
            candidate.map(|candidate| engine.0.desk().event(Event::Activate(candidate)));
        tokio::spawn(sequencer.run());
        for queued in gap.into_iter().chain([first]).chain(activation) {
            let inconsistent =
                |refusal: Refusal| Arc::new(Fatal::Inconsistent(refusal.to_string()));
            let queued = queued.map_err(inconsistent)?;
            tokio::select! {
                answer = queued => match answer {
                    Ok(Ok(_)) => {}
                    Ok(Err(refusal)) => return Err(inconsistent(refusal)),
                    Err(_) => return Err(fatal(&handoff).await),
                },
                fatal = engine.fatal() => return Err(fatal),
            }
        }
        engine.keep_up().map_err(Arc::new)?;
        Ok(engine)
    }
}

/// What an operator gave up and no record says yet. It is told at the very place where the journal goes on.
fn given_up(
    config: &Config,
    state: &State,
    warnings: &mut Vec<String>,
) -> Result<Option<Gap>, StartFailure> {
    let gap = abandoned::read(&config.policy_dir).map_err(StartFailure::Abandoned)?;
    let gap = gap.filter(|gap| !state.has_given_up(gap));
    if let Some(Gap { kept, .. }) = gap
        && kept != state.next_seq()
    {
        // Whoever brought back what was given up did better than that.
        warnings.push(format!(
            "records from {kept} on were given up, and the journal holds {}: no gap is recorded",
            state.next_seq()
        ));
        return Ok(None);
    }
    Ok(gap)
}

/// What decides from the start: a waiting manifest that counts, else the last activation's artifact. A `next` that does
/// not count is a warning where a policy is in force: whoever can write there must not be able to stop the daemon.
fn choose(
    store: &PolicyStore,
    state: &State,
    warnings: &mut Vec<String>,
) -> Result<(InForce, Option<Candidate>), StartFailure> {
    let recorded = state.in_force();
    match waiting(store, recorded.map(|policy| policy.number)) {
        Ok(Some(candidate)) => {
            let in_force = InForce {
                number: candidate.number,
                policy: Arc::clone(&candidate.policy),
            };
            return Ok((in_force, Some(candidate)));
        }
        Ok(None) => {}
        Err(refused @ NotAccepted::Requires { .. }) => {
            return Err(StartFailure::NextRequires(refused));
        }
        Err(refused) if recorded.is_none() => return Err(StartFailure::FirstRefused(refused)),
        Err(refused) => warnings.push(format!("what lies in `next` does not count: {refused}")),
    }
    let recorded = recorded.ok_or(StartFailure::NothingApplied)?;
    let policy = store
        .policy(&recorded.digest)
        .map_err(StartFailure::InForce)?;
    let in_force = InForce {
        number: recorded.number,
        policy: Arc::new(policy),
    };
    Ok((in_force, None))
}

/// The manifest in `next`, where it is newer than what is in force.
fn waiting(store: &PolicyStore, in_force: Option<u64>) -> Result<Option<Candidate>, NotAccepted> {
    match store.next_number()? {
        Some(number) if in_force.is_none_or(|in_force| number > in_force) => {
            store.next_candidate(number, in_force).map(Some)
        }
        _ => Ok(None),
    }
}

fn pinned<K>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<K, checkpoint::Error>,
) -> Result<K, StartFailure> {
    let failed = |why: String| StartFailure::PinnedKey {
        path: path.to_path_buf(),
        why,
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    parse(&text).map_err(|error| failed(error.to_string()))
}

/// The witnesses that were pinned; without a file nobody was.
fn witnesses(path: &Path) -> Result<Witnesses, StartFailure> {
    let failed = |why: String| StartFailure::PinnedKey {
        path: path.to_path_buf(),
        why,
    };
    match std::fs::read_to_string(path) {
        Ok(text) => Witnesses::parse(&text).map_err(|error| failed(error.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Witnesses::default()),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Which boot this is. Where the kernel does not say, no two runs are taken for one boot.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim_end().to_owned())
        .unwrap_or_default()
}

/// What this daemon enforces, sorted: an artifact that requires more is refused.
#[must_use]
pub fn capabilities() -> &'static [&'static str] {
    CAPABILITIES
}
