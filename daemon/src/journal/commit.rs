//! The journal thread: makes a batch durable, then releases its answers.
//!
//! The order of a batch, and what is on disk if we die between two steps:
//!
//! 1. the signer is asked to advance, and the frames are written: bytes above the head, cut at the next start;
//! 2. the signer's note is read and must name our own root: the same;
//! 3. the note is written as the batch's last frame: the same, or (the page cache survived us) a note that the signer
//!    adopts at the next start: records of calls that nobody was answered, which is allowed;
//! 4. one fdatasync: from here the batch is in the journal for good;
//! 5. the answers leave;
//! 6. the signer is told `durable`; if it never hears it, it adopts the note at the next start;
//! 7. where one of the batch's records begins an epoch, the signer is told to switch: it erases the key that signed this
//!    batch. If it never hears it, it is told at the next start, by what the journal says.
//!
//! So exactly the notes behind the one that covers the `epoch` record are by the new key: the next `Advance` comes after 7,
//! and [`EpochKeys`] checks every note with the keys that the records before it say.
//!
//! At most one head is unconfirmed: step 1 of the next batch comes after step 6, on one connection, in order.
//! After a [`Fatal`] nothing is released, now or later: the open batch's answers are kept until the process ends.
#![forbid(unsafe_code)]

use super::handoff::{Batch, Before, Handoff, Taken, Waiter};
use super::segment::{Disk, SegmentFile};
use super::signer_client::{EpochKey, SignerClient, SignerFault};
use super::snapshots;
use crate::attest::Heads;
use crate::engine::{Answer, Refusal};
use crate::upkeep::Board;
use faramesh_core::checkpoint::{Checkpoint, EpochKeys, KeyName, PublicKey, Statement};
use faramesh_core::decision::{Code, Effect, Resolution};
use faramesh_core::frame;
use faramesh_core::record::Epoch;
use faramesh_core::state::{Point, SealedSegment, Snapshot};
use faramesh_core::tree::{self, Frontier, Head};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How often an idle journal looks whether its signer is still there.
const IDLE_LOOK: Duration = Duration::from_millis(500);

/// Why the daemon stops rather than guesses. Each names what an operator does next.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The disk could not say that a batch is durable. Trying again may be answered with a lie (the kernel forgets the
    /// pages that it failed to write), so nothing is tried.
    #[error(
        "the disk did not make records {first}.. durable: {cause}; no answer left; \
         look at the disk (`dmesg`), run `faramesh audit verify`, then start again"
    )]
    Sync {
        /// First record of the batch.
        first: u64,
        /// As fdatasync said.
        cause: io::Error,
    },
    /// Frames could not be written into a segment that has its full size on disk.
    #[error(
        "cannot write records {first}.. into their segment: {cause}; no answer left; a restart cuts what is torn"
    )]
    Write {
        /// First record of the batch.
        first: u64,
        /// As pwrite said.
        cause: io::Error,
    },
    /// A prepared segment could not be given its name.
    #[error(
        "cannot begin segment {first}: {cause}; no answer left; \
         look at the journal's directory, run `faramesh audit verify`, then start again"
    )]
    Install {
        /// First leaf of the segment.
        first: u64,
        /// As rename or fsync of the directory said.
        cause: io::Error,
    },
    /// The signer is no longer there.
    #[error(
        "{0}; no answer of the open batch left; the daemon ends to be started again beside a signer"
    )]
    SignerGone(SignerFault),
    /// The signer says no, or something that was not asked.
    #[error(
        "{0}; no answer of the open batch left; do not delete anything: \
         compare `faramesh audit verify` with the signer's state, then start again"
    )]
    SignerRefuses(SignerFault),
    /// What we hold in memory does not fit together.
    #[error(
        "internal: {0}; no answer of the open batch left; run `faramesh audit verify`, then start again"
    )]
    Inconsistent(String),
}

impl Fatal {
    /// The process's exit status: 65 is not restarted by systemd, 69 is.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Fatal::SignerGone(_) | Fatal::Write { .. } => 69,
            Fatal::Sync { .. } | Fatal::Install { .. } | Fatal::SignerRefuses(_) => 65,
            Fatal::Inconsistent(_) => 70,
        }
    }
}

impl From<SignerFault> for Fatal {
    fn from(fault: SignerFault) -> Fatal {
        match fault {
            SignerFault::Gone(_) => Fatal::SignerGone(fault),
            SignerFault::Refused(_) | SignerFault::Nonsense(_) => Fatal::SignerRefuses(fault),
        }
    }
}

/// A record that is durable and under a signed tree head. Only [`Committer::release`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed(CommittedParts);

/// What a [`Committed`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedParts {
    /// The record's index in the tree.
    pub seq: u64,
    /// Its canonical bytes: the leaf.
    pub record: Vec<u8>,
    /// RFC 6962 inclusion path, leaf to root.
    pub path: Vec<tree::Hash>,
    /// The batch's checkpoint, a signed note.
    pub note: Arc<str>,
    /// What was decided, where the record is a decision.
    pub decided: Option<Box<Decided>>,
}

/// The facts of a decision that a reply carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// What is answered.
    pub effect: Effect,
    /// Shadow mode: what enforcing would have answered.
    pub would: Option<Effect>,
    /// Why, for programs; absent on a plain permit.
    pub code: Option<Code>,
    /// Why, for people.
    pub message: String,
    /// What to do next.
    pub resolution: Resolution,
    /// The agent's own `args.*` fields that were missing or of the wrong type.
    pub missing: Vec<String>,
    /// The rule that decided; `None`: the default did.
    pub rule: Option<RuleShown>,
    /// The salt of the arguments' commitment.
    pub args_salt: [u8; 16],
}

/// A rule as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleShown {
    /// 1-based, in its agent's list.
    pub number: u32,
    /// The rule's own text.
    pub text: Arc<str>,
    /// Whether policy reveals it to agents.
    pub revealed: bool,
}

impl Committed {
    /// The record's index in the tree.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.0.seq
    }

    /// Everything. What is taken apart cannot be put together again.
    #[must_use]
    pub fn into_parts(self) -> CommittedParts {
        self.0
    }
}

/// The journal's thread: it alone writes segments and speaks with the signer.
pub(crate) struct Committer {
    pub(crate) handoff: Arc<Handoff>,
    pub(crate) disk: Arc<dyn Disk>,
    /// The segment that is written, and where its next frame goes.
    pub(crate) segment: Box<dyn SegmentFile>,
    pub(crate) offset: u64,
    /// The tree up to the last durable head.
    pub(crate) frontier: Frontier,
    /// Every segment up to the one that is written, in order.
    pub(crate) segments: Vec<SealedSegment>,
    pub(crate) signer: SignerClient,
    /// The keys that each note must be by: they follow the records.
    pub(crate) keys: EpochKeys,
    /// Told when a segment is sealed, and of the snapshot that can be written then.
    pub(crate) upkeep: Arc<Board>,
    /// What witnesses may have cosigned is held against these.
    pub(crate) heads: Arc<Heads>,
}

impl Committer {
    /// Runs until the engine drains or a [`Fatal`].
    pub(crate) fn run(mut self) {
        let _abort = AbortOnPanic;
        while self.step(IDLE_LOOK) {}
    }

    /// One batch, or a look at the signer where none comes within `patience`. False when it was the last.
    pub(crate) fn step(&mut self, patience: Duration) -> bool {
        let done = match self.handoff.take(patience) {
            Taken::Batch(batch) => self.commit(batch),
            Taken::NextEpoch(asking) => self.next_epoch(asking),
            Taken::Idle if self.signer.is_gone() => {
                Err(SignerFault::Gone("it closed the connection".into()).into())
            }
            Taken::Idle => Ok(()),
            Taken::Closing => {
                // The head is on disk whatever the signer says now; a signer that is gone adopts it next time.
                drop(self.signer.settle());
                self.handoff.closed();
                return false;
            }
        };
        if let Err(fatal) = done {
            self.handoff.fail(fatal);
            return false;
        }
        true
    }

    fn commit(&mut self, mut batch: Batch) -> Result<(), Fatal> {
        let signed = match self.make_durable(&mut batch) {
            Ok(signed) => signed,
            Err(fatal) => {
                // Dropping a sender would tell its receiver that something ended. Nothing leaves, not even that.
                self.handoff.keep(batch.waiters);
                return Err(fatal);
            }
        };
        let surplus = super::NOTE_FRAME_BYTES_MAX.saturating_sub(signed.note_bytes);
        let frames = std::mem::take(&mut batch.frames);
        let size = self.frontier.size();
        // Before anybody hears of it: who reads the note from the file may be back at once.
        let root = signed.tree.root();
        self.heads.push(Head { size, root });
        self.handoff.durable(size, surplus, frames);
        Self::release(batch.waiters, &signed);
        self.signer.tell_durable(size)?;
        let before = self.keys.number();
        self.check_signature(&signed.note)?;
        self.switch_epoch(before)
    }

    /// Where an epoch began behind the batch's note, the signer follows before it is asked for another.
    fn switch_epoch(&mut self, before: u64) -> Result<(), Fatal> {
        if self.keys.number() == before {
            return Ok(());
        }
        let key = EpochKey {
            number: self.keys.number(),
            public_key: *self.keys.current().as_bytes(),
        };
        Ok(self.signer.switch_epoch(&key)?)
    }

    /// Asks the signer which epoch comes next. Until the record of one is pushed, it is always the same.
    fn next_epoch(&mut self, asking: oneshot::Sender<Epoch>) -> Result<(), Fatal> {
        let EpochKey { number, public_key } = self.signer.next_epoch()?;
        let key = KeyName::epoch(self.keys.origin().name(), number)
            .and_then(|name| PublicKey::new(name, &public_key))
            .map_err(|error| nonsense(format!("an epoch's key that is none: {error}")))?
            .vkey();
        // Whoever asked may have gone; the key waits for the next one who does.
        drop(asking.send(Epoch { number, key }));
        Ok(())
    }

    fn make_durable(&mut self, batch: &mut Batch) -> Result<Signed, Fatal> {
        let first = batch.first;
        if first != self.frontier.size() {
            return Err(Fatal::Inconsistent(format!(
                "batch {first} after head {}",
                self.frontier.size()
            )));
        }
        for epoch in &batch.epochs {
            self.keys
                .announce(epoch)
                .map_err(|error| Fatal::Inconsistent(error.to_string()))?;
        }
        let due = match batch.rotates {
            true => self.rotate(first, batch.before.take())?,
            false => None,
        };
        self.signer.ask_advance(first, &batch.leaves)?;
        self.segment
            .write_at(&batch.frames, self.offset)
            .map_err(|cause| Fatal::Write { first, cause })?;
        let tree = tree::Batch::append(&self.frontier, &batch.leaves)
            .map_err(|error| Fatal::Inconsistent(error.to_string()))?;
        let note = self.signer.note()?;
        self.check_text(&note, &tree)?;
        let frames = batch.frames.len() as u64;
        let mut note_frame = Vec::with_capacity(note.len() + 64);
        frame::write_note(&mut note_frame, &note)
            .map_err(|error| Fatal::Inconsistent(error.to_string()))?;
        self.segment
            .write_at(&note_frame, self.offset + frames)
            .map_err(|cause| Fatal::Write { first, cause })?;
        self.segment
            .sync()
            .map_err(|cause| Fatal::Sync { first, cause })?;
        self.offset += frames + note_frame.len() as u64;
        self.frontier = tree.frontier().clone();
        if let Some(due) = due {
            self.upkeep.due.put(due);
            self.upkeep.ring();
        }
        Ok(Signed {
            tree,
            note: note.into(),
            note_bytes: note_frame.len() as u64,
        })
    }

    /// Begins the segment of the batch with leaf `first`. Returns what is a snapshot once the batch is durable.
    fn rotate(
        &mut self,
        first: u64,
        before: Option<Box<Before>>,
    ) -> Result<Option<Snapshot>, Fatal> {
        let installed = self.disk.install(first).and_then(|segment| {
            let bytes = segment.size()?;
            Ok((segment, SealedSegment { first, bytes }))
        });
        let (segment, name) = installed.map_err(|cause| Fatal::Install { first, cause })?;
        self.segment = segment;
        self.offset = 0;
        self.handoff.installed();
        self.upkeep.ring();
        let due = before.map(|before| {
            let Before {
                state,
                last_leaf,
                last,
            } = *before;
            let point = Point {
                frontier: self.frontier.clone(),
                last_leaf,
                state,
                last,
            };
            snapshots::of(self.keys.origin().name().as_str(), point, &self.segments)
        });
        self.segments.push(name);
        Ok(due)
    }

    /// The note must begin with exactly the text of the tree that we computed: a signer that signs another tree is
    /// refused before anything of it is durable.
    fn check_text(&self, note: &str, tree: &tree::Batch) -> Result<(), Fatal> {
        let ours = Checkpoint {
            origin: self.keys.origin().name().clone(),
            head: Head {
                size: tree.frontier().size(),
                root: tree.root(),
            },
        };
        match note.strip_prefix(&ours.text()) {
            Some(signatures) if signatures.starts_with('\n') => Ok(()),
            _ => Err(nonsense(format!(
                "a note that is not for our tree of {} records",
                ours.head.size
            ))),
        }
    }

    /// Checking the signatures costs a tenth of a lone call, so it is done when the answers have left and before the next
    /// batch: a signer whose signatures went bad is found after one batch, whose records are durable and chained.
    fn check_signature(&mut self, note: &str) -> Result<(), Fatal> {
        match self.keys.note(note.as_bytes()) {
            Ok(_) => Ok(()),
            Err(error) => Err(nonsense(format!("a note that does not verify: {error}"))),
        }
    }

    fn release(waiters: Vec<Waiter>, signed: &Signed) {
        for waiter in waiters {
            let Waiter {
                seq,
                record,
                decided,
                answer,
            } = waiter;
            let answered: Answer = match signed.tree.path(seq) {
                Some(path) => Ok(Committed(CommittedParts {
                    seq,
                    record,
                    path,
                    note: Arc::clone(&signed.note),
                    decided,
                })),
                None => Err(Refusal::internal("no path to the record")),
            };
            // A caller that went away has its record all the same.
            drop(answer.send(answered));
        }
    }
}

fn nonsense(what: String) -> Fatal {
    Fatal::SignerRefuses(SignerFault::Nonsense(what))
}

/// A batch's end.
struct Signed {
    tree: tree::Batch,
    note: Arc<str>,
    note_bytes: u64,
}

/// A journal thread that unwinds must not leave a daemon behind that looks alive.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
