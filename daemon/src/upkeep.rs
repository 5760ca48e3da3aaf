//! Upkeep: what is made of the journal behind its back, on one thread of its own.
//!
//! The thread is told when a segment was sealed, looks at once when the daemon starts, and then does its jobs one after
//! the other. Everything that it makes can be made again from the segments.
//!
//! Invariants:
//! - No call waits for it: it reads what is sealed, and holds no lock that a decision needs for longer than a moment.
//! - What fails is a warning in `status` until it works again; it is tried at the next seal, and at the latest after
//!   [`AGAIN`]. It is never a reason to refuse a call.
//! - A file has its name only when it is whole and durable ([`Files`]): a kill in the middle leaves temporary names,
//!   which nobody reads and the next run replaces.
//! - It ends with the engine: a job looks at [`Context::stopping`] between pieces of work, and the drain waits for the
//!   thread for [`GOODBYE`] at most.
#![forbid(unsafe_code)]

use crate::engine::{Engine, Refusal, WeakEngine};
use crate::journal::segment;
use crate::journal::snapshots::Due;
use faramesh_core::record::Body;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What `erasure` records order.
mod erasure;
/// Files that are whole or not there.
pub(crate) mod files;
/// Leaves of sealed segments, read behind the writer.
pub(crate) mod leaves;
/// Old bodies go, by the policy's `wal_retention`.
mod retention;
/// The state at a segment's beginning.
mod snapshots;
/// Hash tiles.
mod tiles;

/// How long what failed waits until it is tried again without a new segment.
const AGAIN: Duration = Duration::from_secs(60);

/// How long until it looks again where nothing failed and nothing was sealed: records grow old by themselves.
const LOOK: Duration = Duration::from_secs(3_600);

/// How long the drain waits for the thread. What it leaves undone the next start does.
pub(crate) const GOODBYE: Duration = Duration::from_secs(2);

/// A job, in the order in which they are done: later ones may count on what earlier ones made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Job {
    /// Hash tiles of what is sealed.
    Tiles,
    /// The state at the beginning of the newest segment.
    Snapshots,
    /// What lies beside records goes, where an `erasure` record says so.
    Erasure,
    /// Old bodies go.
    Retention,
}

impl Job {
    const ALL: &[Job] = &[Job::Tiles, Job::Snapshots, Job::Erasure, Job::Retention];

    /// For people.
    const fn name(self) -> &'static str {
        match self {
            Job::Tiles => "hash tiles",
            Job::Snapshots => "snapshots",
            Job::Erasure => "erasure",
            Job::Retention => "retention",
        }
    }
}

/// Why a job did not do its work: lower case, with what was tried. It will be tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// The file system says no.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The journal did not take a record.
    #[error("the journal did not take its record: {0}")]
    Record(Refusal),
    /// What was read does not fit together.
    #[error("{0}")]
    Data(String),
    /// The daemon stops; this is no failure.
    #[error("the daemon is stopping")]
    Stopping,
}

impl Failed {
    /// For `map_err`.
    pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> Failed {
        let path = path.to_path_buf();
        move |source| Failed::Io {
            path: path.clone(),
            source,
        }
    }
}

/// What the thread is told, and what it says of itself. Shared with the journal's thread and `status`.
#[derive(Debug)]
pub(crate) struct Board {
    told: Mutex<Told>,
    changed: Condvar,
    warnings: Mutex<BTreeMap<Job, String>>,
    /// Up to which ring everything was tried; [`ENDED`] where no thread runs.
    tried: watch::Sender<u64>,
    /// The snapshot that can be written.
    pub(crate) due: Due,
}

#[derive(Debug, Default)]
struct Told {
    /// How often something was sealed, or somebody asked.
    rings: u64,
    stop: bool,
}

const ENDED: u64 = u64::MAX;

impl Board {
    pub(crate) fn new(due: Due) -> Board {
        Board {
            told: Mutex::default(),
            changed: Condvar::new(),
            warnings: Mutex::default(),
            tried: watch::Sender::new(ENDED),
            due,
        }
    }

    /// There is work: a segment was sealed. Costs the journal's thread a lock that is held for a moment.
    pub(crate) fn ring(&self) {
        self.told().rings += 1;
        self.changed.notify_one();
    }

    /// No more work is begun.
    pub(crate) fn stop(&self) {
        self.told().stop = true;
        self.changed.notify_one();
    }

    fn stopping(&self) -> bool {
        self.told().stop
    }

    /// Returns when no thread runs.
    pub(crate) async fn ended(&self) {
        self.reached(ENDED).await;
    }

    /// Returns when everything that was asked for until now was tried.
    pub(crate) async fn settled(&self) {
        let rings = self.told().rings;
        self.reached(rings).await;
    }

    async fn reached(&self, wanted: u64) {
        let mut tried = self.tried.subscribe();
        // The sender is ours: there is no error.
        drop(tried.wait_for(|tried| *tried >= wanted).await);
    }

    /// What failed the last time that it was tried, one sentence each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.values().cloned().collect()
    }

    fn note(&self, job: Job, outcome: &Result<(), Failed>) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) => drop(warnings.remove(&job)),
            Err(Failed::Stopping) => {}
            Err(failed) => {
                let text = format!("upkeep: {}: {failed}", job.name());
                tracing::warn!("{text}");
                warnings.insert(job, text);
            }
        }
    }

    /// Waits until there is work after the ring `seen`, or `patience` is over: the last ring. `None` at the end.
    fn wait(&self, seen: u64, patience: Option<Duration>) -> Option<u64> {
        let told = self.told();
        let idle = |told: &mut Told| told.rings == seen && !told.stop;
        let told = match patience {
            None => self.changed.wait_while(told, idle),
            Some(patience) => {
                let waited = self.changed.wait_timeout_while(told, patience, idle);
                return match waited.unwrap_or_else(PoisonError::into_inner).0 {
                    told if told.stop => None,
                    told => Some(told.rings),
                };
            }
        };
        let told = told.unwrap_or_else(PoisonError::into_inner);
        (!told.stop).then_some(told.rings)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // A poisoned lock means that a thread panicked, and the panic hook ends the process.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a job works with.
pub(crate) struct Context<'a> {
    /// The journal's directory.
    pub(crate) dir: &'a Path,
    /// The first records of all segments, in order. All but the last are sealed: their records are durable, and a note
    /// of exactly so many records as the next one begins with is the last frame of each.
    pub(crate) segments: Vec<u64>,
    durable: u64,
    upkeep: &'a Upkeep,
}

impl Context<'_> {
    /// Records in sealed segments: all below this number.
    pub(crate) fn sealed(&self) -> u64 {
        self.segments.last().copied().unwrap_or(0)
    }

    /// Records that are durable, all of them in these segments: no reader goes beyond, where the journal writes.
    pub(crate) const fn durable(&self) -> u64 {
        self.durable
    }

    /// The engine, for a moment: held for longer it would outlive everybody else.
    pub(crate) fn engine(&self) -> Result<Engine, Failed> {
        self.upkeep.engine.upgrade().ok_or(Failed::Stopping)
    }

    /// Whether to leave the rest for the next start.
    pub(crate) fn stopping(&self) -> bool {
        self.upkeep.board.stopping()
    }

    /// [`Failed::Stopping`] where the rest is left for the next start: for `?` between pieces of work.
    pub(crate) fn go_on(&self) -> Result<(), Failed> {
        match self.stopping() {
            true => Err(Failed::Stopping),
            false => Ok(()),
        }
    }

    /// Writes a record and waits until it is durable; its number.
    pub(crate) fn append(&self, body: Body) -> Result<u64, Failed> {
        let engine = self.engine()?;
        // The queues belong to the runtime's thread.
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.upkeep.runtime.spawn(async move {
            let answer = match engine.append(body) {
                Ok(queued) => queued.await.ok(),
                Err(refusal) => Some(Err(refusal)),
            };
            drop(sender.send(answer));
        });
        match receiver.blocking_recv() {
            Ok(Some(Ok(committed))) => Ok(committed.seq()),
            Ok(Some(Err(refusal))) => Err(Failed::Record(refusal)),
            Ok(None) | Err(_) => Err(Failed::Stopping),
        }
    }
}

/// The thread's own.
pub(crate) struct Upkeep {
    board: Arc<Board>,
    dir: PathBuf,
    /// For records. An engine that everybody else dropped is not kept alive by its upkeep.
    engine: WeakEngine,
    runtime: tokio::runtime::Handle,
}

/// What jobs remember from one round to the next.
#[derive(Default)]
struct Memory {
    tiles: tiles::Memory,
    erasure: erasure::Memory,
    retention: retention::Memory,
}

impl Upkeep {
    pub(crate) fn new(
        board: Arc<Board>,
        dir: &Path,
        engine: WeakEngine,
        runtime: tokio::runtime::Handle,
    ) -> Upkeep {
        board.tried.send_replace(0);
        // The first round is for what an earlier run left undone.
        board.ring();
        Upkeep {
            board,
            dir: dir.to_path_buf(),
            engine,
            runtime,
        }
    }

    /// Runs until the board says stop.
    pub(crate) fn run(self) {
        let mut memory = Memory::default();
        let mut patience = None;
        let mut tried = 0;
        while let Some(rings) = self.board.wait(tried, patience) {
            let all_well = self.round(&mut memory);
            patience = Some(if all_well { LOOK } else { AGAIN });
            tried = rings;
            self.board.tried.send_replace(tried);
        }
        self.board.tried.send_replace(ENDED);
    }

    /// Every job once; whether all of them did their work.
    fn round(&self, memory: &mut Memory) -> bool {
        let mut all_well = true;
        for job in Job::ALL {
            if self.board.stopping() {
                break;
            }
            let outcome = self.context().and_then(|context| match job {
                Job::Tiles => tiles::make(&context, &mut memory.tiles),
                Job::Snapshots => snapshots::make(&context, &self.board.due),
                Job::Erasure => erasure::make(&context, &mut memory.erasure),
                Job::Retention => retention::make(&context, &mut memory.retention),
            });
            self.board.note(*job, &outcome);
            all_well &= outcome.is_ok();
        }
        all_well
    }

    fn context(&self) -> Result<Context<'_>, Failed> {
        // Asked before the names: so what is durable lies in them.
        let durable = self.engine.upgrade().ok_or(Failed::Stopping)?.durable();
        Ok(Context {
            dir: &self.dir,
            segments: segment::list(&self.dir).map_err(Failed::at(&self.dir))?,
            durable,
            upkeep: self,
        })
    }
}
