//! Between the sequencer and the journal: the open batch, and the space that it may still take.
//!
//! One lock, held for copying a frame (and for taking its record into the state) and never across I/O. The sequencer fills the open batch; the journal takes the
//! whole of it as soon as it is free (natural group commit, no linger). The sequencer plans the space: a batch never
//! spans segments, and what is pushed has its place on a disk that cannot be full.
//!
//! `space_left` is what the segment of the open batch has left after everything that was pushed, each batch with
//! [`NOTE_FRAME_BYTES_MAX`] for its note; the journal gives back what the note did not take.
#![forbid(unsafe_code)]

use super::NOTE_FRAME_BYTES_MAX;
use super::commit::{Decided, Fatal};
use super::segment::Disk;
use crate::engine::{Answer, Refusal};
use faramesh_core::frame;
use faramesh_core::record::{Encoded, Epoch, Time};
use faramesh_core::state::State;
use faramesh_core::tree::Hash;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot, watch};

/// Records in one batch: 32 bytes each for the signer, whose message holds 131,071; a batch of 4,096 takes the journal
/// 10 ms to hash, and waiting longer helps nobody.
const BATCH_RECORDS_MAX: usize = 4_096;
/// Frames in one batch, bytes. One frame may exceed it (a frame is at most 4 MiB), never two.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How often a segment that could not be prepared is tried again.
const PREPARE_AGAIN: Duration = Duration::from_millis(500);

/// What the journal made durable last, or why it never will again.
#[derive(Debug, Clone)]
pub(crate) enum Durable {
    /// So many records are durable.
    Size(u64),
    /// The journal stopped, as asked.
    Closed(u64),
    /// The journal stopped for good.
    Fatal(Arc<Fatal>),
}

/// For what room is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// For a call: none where the next segment cannot be prepared.
    Call,
    /// For a record of the daemon's own, which may use up the segment that is there.
    Own,
}

/// Why a frame cannot be pushed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Room {
    /// Not before the journal takes the open batch, or the next segment is prepared: `taken` tells.
    Later,
    /// Not before the disk has space again.
    Full(String),
    /// Never: no segment of this journal can hold it.
    TooLarge,
    /// Never: the journal stopped.
    Stopped,
}

/// A record with its number, to be made durable.
pub(crate) struct Draft {
    pub(crate) seq: u64,
    pub(crate) encoded: Encoded,
    pub(crate) leaf: Hash,
    pub(crate) decided: Option<Box<Decided>>,
    /// What the record is, where it begins an epoch: the journal switches the signer behind it.
    pub(crate) epoch: Option<Epoch>,
    /// Nobody waits for the daemon's own records.
    pub(crate) answer: Option<oneshot::Sender<Answer>>,
}

impl Draft {
    fn into_waiter(self) -> Option<Waiter> {
        Some(Waiter {
            seq: self.seq,
            record: self.encoded.record,
            decided: self.decided,
            answer: self.answer?,
        })
    }
}

/// One who waits for a record to be durable.
pub(crate) struct Waiter {
    pub(crate) seq: u64,
    pub(crate) record: Vec<u8>,
    pub(crate) decided: Option<Box<Decided>>,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// Records that become durable together.
#[derive(Default)]
pub(crate) struct Batch {
    /// Index of its first leaf.
    pub(crate) first: u64,
    pub(crate) frames: Vec<u8>,
    pub(crate) leaves: Vec<Hash>,
    pub(crate) waiters: Vec<Waiter>,
    /// Epochs that its records begin: one at most, or the journal stops.
    pub(crate) epochs: Vec<Epoch>,
    /// It begins a segment.
    pub(crate) rotates: bool,
    /// Where it does: what the records before it come to, but for their tree, which the journal has.
    pub(crate) before: Option<Box<Before>>,
}

/// What the records before a segment come to. The journal makes it a [`Point`] with the tree of those records.
///
/// [`Point`]: faramesh_core::state::Point
pub(crate) struct Before {
    pub(crate) state: State,
    pub(crate) last_leaf: Hash,
    pub(crate) last: Option<(Time, String)>,
}

/// What the journal thread finds.
pub(crate) enum Taken {
    Batch(Batch),
    /// Somebody wants to know the next epoch's key.
    NextEpoch(oneshot::Sender<Epoch>),
    Idle,
    Closing,
}

/// The next segment.
enum Next {
    /// The preparing thread is at it, or about to be.
    Wanted,
    Ready,
    /// The open batch, or the one that is being committed, begins it: it still lies under its preparation's name.
    Claimed,
    /// It could not be made, and is tried again.
    Failed(String),
}

struct Open {
    batch: Batch,
    space_left: u64,
    next: Next,
    /// Since when the journal has been at a batch.
    committing_since: Option<Instant>,
    /// Who wants to know the next epoch's key.
    asking: Vec<oneshot::Sender<Epoch>>,
    closing: bool,
    stopped: bool,
    /// Records that are durable.
    size: u64,
    /// Answers that must never leave.
    kept: Vec<Waiter>,
    /// A buffer of the last batch, to be filled again.
    spare: Vec<u8>,
}

pub(crate) struct Handoff {
    open: Mutex<Open>,
    /// The journal waits here for a batch.
    filled: Condvar,
    /// The preparing thread waits here.
    wanted: Condvar,
    /// The sequencer waits here for room.
    pub(crate) taken: Notify,
    durable: watch::Sender<Durable>,
    segment_bytes: u64,
}

impl Handoff {
    /// For a journal of `size` records whose last segment has `space_left` bytes.
    pub(crate) fn new(size: u64, space_left: u64, segment_bytes: u64) -> Handoff {
        Handoff {
            open: Mutex::new(Open {
                batch: Batch::default(),
                space_left,
                next: Next::Wanted,
                committing_since: None,
                asking: Vec::new(),
                closing: false,
                stopped: false,
                size,
                kept: Vec::new(),
                spare: Vec::new(),
            }),
            filled: Condvar::new(),
            wanted: Condvar::new(),
            taken: Notify::new(),
            durable: watch::Sender::new(Durable::Size(size)),
            segment_bytes,
        }
    }

    /// Room for this frame, for as long as the answer is held: nobody can take the open batch in between, which would
    /// leave a frame that had its place beside others without one of its own.
    pub(crate) fn room(&self, encoded: &Encoded, need: Need) -> Result<Reserved<'_>, Room> {
        let open = self.lock();
        if let (Need::Call, Next::Failed(why)) = (need, &open.next) {
            return Err(Room::Full(why.clone()));
        }
        let length = frame::record_frame_len(encoded);
        let rotates = open.room(length, self.segment_bytes)?;
        Ok(Reserved {
            handoff: self,
            open,
            length,
            rotates,
        })
    }

    /// Asks the signer, through the journal, for the next epoch: number and key line. Nothing comes where the journal ends.
    pub(crate) fn next_epoch(&self) -> oneshot::Receiver<Epoch> {
        let (asking, answer) = oneshot::channel();
        let mut open = self.lock();
        if !open.stopped && !open.closing {
            open.asking.push(asking);
        }
        drop(open);
        self.filled.notify_one();
        answer
    }

    /// Journal: the segment that was prepared has its name; only now may another be prepared.
    pub(crate) fn installed(&self) {
        self.lock().next = Next::Wanted;
        self.wanted.notify_one();
    }

    /// Why calls are refused at the moment: the next segment cannot be prepared, or the journal ended.
    pub(crate) fn refusing(&self) -> Option<Refusal> {
        let open = self.lock();
        match &open.next {
            _ if open.stopped => Some(Refusal::journal_unavailable("the journal has stopped")),
            Next::Failed(why) => Some(Refusal::journal_unavailable(why)),
            Next::Wanted | Next::Ready | Next::Claimed => None,
        }
    }

    /// Records that are durable.
    pub(crate) fn durable_size(&self) -> u64 {
        match *self.durable.borrow() {
            Durable::Size(size) | Durable::Closed(size) => size,
            Durable::Fatal(_) => self.lock().size,
        }
    }

    /// For so long the journal has been at the same batch.
    pub(crate) fn stuck(&self) -> Duration {
        let since = self.lock().committing_since;
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Follows what is durable.
    pub(crate) fn watch(&self) -> watch::Receiver<Durable> {
        self.durable.subscribe()
    }

    /// After what is open, the journal ends.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.filled.notify_one();
        self.wanted.notify_one();
    }

    /// Journal: a question about the next epoch; the whole open batch, as soon as there is one; or `Idle` after `patience`.
    pub(crate) fn take(&self, patience: Duration) -> Taken {
        let mut open = self.lock();
        open.committing_since = None;
        if open.batch.leaves.is_empty() && open.asking.is_empty() && !open.closing {
            open = self
                .filled
                .wait_timeout(open, patience)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        if let Some(asking) = open.asking.pop() {
            return Taken::NextEpoch(asking);
        }
        if open.batch.leaves.is_empty() {
            return if open.closing {
                Taken::Closing
            } else {
                Taken::Idle
            };
        }
        open.committing_since = Some(Instant::now());
        let frames = std::mem::take(&mut open.spare);
        let empty = Batch {
            frames,
            ..Batch::default()
        };
        let batch = std::mem::replace(&mut open.batch, empty);
        drop(open);
        self.taken.notify_one();
        Taken::Batch(batch)
    }

    /// Journal: so many records are durable; the batch's note left `surplus` bytes of its reserve.
    pub(crate) fn durable(&self, size: u64, surplus: u64, mut frames: Vec<u8>) {
        frames.clear();
        let mut open = self.lock();
        if frames.capacity() <= BATCH_BYTES_MAX {
            open.spare = frames;
        }
        // Where the open batch begins a segment, `space_left` speaks of that one.
        if !open.batch.rotates {
            open.space_left += surplus;
        }
        open.size = size;
        drop(open);
        self.durable.send_replace(Durable::Size(size));
    }

    /// Journal: these answers must never leave.
    pub(crate) fn keep(&self, waiters: Vec<Waiter>) {
        self.lock().kept.extend(waiters);
    }

    /// Journal: it ended for good. What is open is kept too.
    pub(crate) fn fail(&self, fatal: Fatal) {
        let mut open = self.lock();
        open.stopped = true;
        let waiters = std::mem::take(&mut open.batch.waiters);
        open.kept.extend(waiters);
        open.asking.clear();
        drop(open);
        self.durable.send_replace(Durable::Fatal(Arc::new(fatal)));
        self.taken.notify_one();
        self.wanted.notify_one();
    }

    /// Journal: it ended as asked.
    pub(crate) fn closed(&self) {
        let mut open = self.lock();
        open.stopped = true;
        open.asking.clear();
        drop(open);
        self.durable.send_modify(|durable| {
            if let Durable::Size(size) = *durable {
                *durable = Durable::Closed(size);
            }
        });
        self.wanted.notify_one();
    }

    /// The preparing thread: makes the next segment whenever one is wanted, until the journal ends.
    pub(crate) fn prepare_segments(&self, disk: &dyn Disk) {
        loop {
            let mut open = self.lock();
            while matches!(open.next, Next::Ready | Next::Claimed) && !open.stopped && !open.closing
            {
                open = self
                    .wanted
                    .wait(open)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if open.stopped || open.closing {
                return;
            }
            drop(open);
            if !self.prepare(disk) {
                let open = self.lock();
                drop(
                    self.wanted
                        .wait_timeout(open, PREPARE_AGAIN)
                        .unwrap_or_else(PoisonError::into_inner),
                );
            }
        }
    }

    /// Makes the next segment, which must be wanted. False where it could not be made, and the sequencer knows it.
    fn prepare(&self, disk: &dyn Disk) -> bool {
        let made = disk.prepare(self.segment_bytes);
        let ready = made.is_ok();
        self.lock().next = match made {
            Ok(()) => Next::Ready,
            Err(error) => Next::Failed(error.to_string()),
        };
        self.taken.notify_one();
        ready
    }

    /// What [`Handoff::prepare_segments`] does once, without waiting: for the simulation, which has one thread.
    #[cfg(test)]
    pub(crate) fn prepare_if_wanted(&self, disk: &dyn Disk) -> bool {
        let open = self.lock();
        let wanted = matches!(open.next, Next::Wanted | Next::Failed(_));
        let ended = open.stopped || open.closing;
        drop(open);
        wanted && !ended && self.prepare(disk)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // A poisoned lock means that a thread panicked, and the panic hook ends the process.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for one frame. The journal's thread waits while it is held.
pub(crate) struct Reserved<'h> {
    handoff: &'h Handoff,
    open: MutexGuard<'h, Open>,
    length: usize,
    rotates: bool,
}

impl Reserved<'_> {
    /// Whether the frame begins a segment.
    pub(crate) fn rotates(&self) -> bool {
        self.rotates
    }

    /// What the frame takes of the journal.
    pub(crate) fn bytes(&self) -> u64 {
        self.length as u64
    }

    /// Pushes the record that the room was asked for; `before` goes with one that begins a segment.
    pub(crate) fn push(mut self, mut draft: Draft, before: Option<Box<Before>>) {
        let Open { batch, .. } = &mut *self.open;
        let begins = batch.leaves.is_empty();
        if frame::write_record(&mut batch.frames, &draft.encoded).is_err() {
            // `room` has refused longer ones; without the frame the journal would refuse the batch and stop.
            self.open.kept.extend(draft.into_waiter());
            return;
        }
        if begins {
            batch.first = draft.seq;
            batch.rotates = self.rotates;
            batch.before = before;
        }
        batch.leaves.push(draft.leaf);
        batch.epochs.extend(draft.epoch.take());
        batch.waiters.extend(draft.into_waiter());
        let segment_bytes = self.handoff.segment_bytes;
        self.open
            .take_space(self.length as u64, begins, self.rotates, segment_bytes);
        drop(self.open);
        if begins {
            self.handoff.filled.notify_one();
        }
    }
}

impl Open {
    /// Whether a frame of `length` fits: and then, whether its batch begins a segment.
    fn room(&self, length: usize, segment_bytes: u64) -> Result<bool, Room> {
        if self.stopped || self.closing {
            return Err(Room::Stopped);
        }
        if length > frame::HEADER_LEN + frame::PAYLOAD_MAX {
            return Err(Room::TooLarge);
        }
        let empty = self.batch.leaves.is_empty();
        let full = self.batch.leaves.len() >= BATCH_RECORDS_MAX
            || self.batch.frames.len() + length > BATCH_BYTES_MAX;
        if !empty && full {
            return Err(Room::Later);
        }
        let length = length as u64;
        let need = length + if empty { NOTE_FRAME_BYTES_MAX } else { 0 };
        if need <= self.space_left {
            return Ok(false);
        }
        if length + NOTE_FRAME_BYTES_MAX > segment_bytes {
            return Err(Room::TooLarge);
        }
        match &self.next {
            Next::Ready if empty => Ok(true),
            Next::Ready | Next::Wanted | Next::Claimed => Err(Room::Later),
            Next::Failed(why) => Err(Room::Full(why.clone())),
        }
    }

    fn take_space(&mut self, length: u64, begins: bool, rotates: bool, segment_bytes: u64) {
        if rotates {
            self.space_left = segment_bytes;
            self.next = Next::Claimed;
        }
        let note = if begins { NOTE_FRAME_BYTES_MAX } else { 0 };
        self.space_left = self.space_left.saturating_sub(length + note);
    }
}
