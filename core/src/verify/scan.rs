//! What one segment's bytes say, before anything is known of the journal around them.
//!
//! Here is nearly all of the work: checksums, the canonical form, hashes, commitments, signatures. It is a function of the
//! bytes and of what is pinned, so segments can be scanned in any order and at once.
//!
//! Invariant: what is kept of a record is small and does not point into the bytes; what is not kept is judged here.

use std::ops::Range;

use crate::checkpoint::{self, Checkpoint, PublicKey, Statement as _};
use crate::frame::{self, Frame, Frames, Item, StoredRecord};
use crate::record::{
    self, Activation, BodyView, LogEvent, Malformed, RunMode, Skimmed, SkimmedRecord, Time,
};
use crate::tree::{self, Hash};

use super::{Options, Signatures};

/// What a segment, or the end of one, holds.
#[derive(Debug, Default)]
pub struct Scanned {
    pub(super) items: Vec<At>,
    /// The stacks and policies that records name: nearly always one of each.
    pub(super) stacks: Vec<String>,
    pub(super) policies: Vec<Hash>,
    /// The index in `items` of the last note.
    pub(super) last_note: Option<usize>,
}

/// Something at a byte of the scanned piece.
#[derive(Debug)]
pub(super) struct At {
    pub(super) offset: usize,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Record {
        leaf: Hash,
        said: Result<Said, Malformed>,
    },
    Note(Note),
    Bad(frame::Damage),
}

/// What a record says, as far as those before it judge it.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) seq: u64,
    pub(super) prev: Hash,
    /// Index in [`Scanned::stacks`].
    pub(super) stack: usize,
    pub(super) mode: RunMode,
    pub(super) time: Time,
    pub(super) beside: Beside,
    pub(super) told: Told,
}

/// What lies beside a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// What the record commits to.
    Committed,
    /// Nothing, where it commits to something.
    Erased,
    /// Something else.
    Other(&'static str),
}

/// What happened. The rare kinds are boxed: a segment holds a hundred thousand of these.
#[derive(Debug)]
pub(super) enum Told {
    Start(Box<(String, u64)>),
    Stop,
    Activation(Box<Activation>),
    /// Index in [`Scanned::policies`].
    Decision(usize),
    Outcome {
        of: u64,
    },
    SessionStart,
    SessionEnd,
    Dropped(u64),
    ClockStep(i64),
    Log(Box<LogEvent>),
}

#[derive(Debug)]
pub(super) struct Note {
    /// Its bytes in the piece that was scanned.
    pub(super) at: Range<usize>,
    /// What it says; or why it is none, or not the pinned key's.
    pub(super) said: Result<Checkpoint, String>,
    /// Whether the origin's signature was checked. Without a pinned key none can be. The epoch's is, where this one is, by
    /// whoever knows which epoch it is.
    pub(super) checked: bool,
}

/// Reads `bytes`, which begin where a frame does and end where the segment does.
pub fn scan(bytes: &[u8], options: &Options) -> Scanned {
    let mut scanned = Scanned::default();
    let mut from = Some(0);
    while let Some(offset) = from.take() {
        for item in Frames::from(bytes, offset) {
            match item {
                Item::Frame { at, frame } => {
                    let what = match frame {
                        Frame::Record(stored) => scanned.record(&stored),
                        Frame::Note(note) => {
                            scanned.last_note = Some(scanned.items.len());
                            What::Note(text_of(note, at.end - note.len()..at.end, options))
                        }
                    };
                    scanned.push(at.start, what);
                }
                Item::End { .. } => {}
                Item::Bad { offset, why } => {
                    scanned.push(offset, What::Bad(why));
                    from = frame::resync(bytes, offset);
                }
            }
        }
    }
    if let Some(key) = &options.key {
        scanned.check_signatures(bytes, key.origin(), options.signatures);
    }
    scanned
}

impl Scanned {
    /// Whether the piece holds anything at all.
    pub(super) const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn push(&mut self, offset: usize, what: What) {
        self.items.push(At { offset, what });
    }

    fn record(&mut self, stored: &StoredRecord<'_>) -> What {
        What::Record {
            leaf: tree::leaf_hash(stored.record),
            said: record::skim(stored.record).map(|skimmed| self.said(skimmed, stored)),
        }
    }

    fn said(&mut self, skimmed: SkimmedRecord<'_>, stored: &StoredRecord<'_>) -> Said {
        let header = skimmed.header;
        let beside = beside(&skimmed.body, stored);
        Said {
            seq: header.seq,
            prev: header.prev,
            stack: index_of(&mut self.stacks, header.stack.as_ref(), str::to_owned),
            mode: header.mode,
            time: header.time,
            beside,
            told: match skimmed.body {
                Skimmed::Decision(decision) => {
                    Told::Decision(index_of(&mut self.policies, &decision.policy, |policy| {
                        *policy
                    }))
                }
                Skimmed::Other(body) => told(body),
            },
        }
    }

    /// The signatures that make the roots of this piece evidence: see [`Signatures`].
    fn check_signatures(&mut self, bytes: &[u8], key: &PublicKey, which: Signatures) {
        let mut ends_epoch = false;
        for item in &mut self.items {
            match &mut item.what {
                What::Note(note) => {
                    if ends_epoch || which == Signatures::Every {
                        note.check(bytes, key);
                    }
                    ends_epoch = false;
                }
                What::Record { said: Ok(said), .. } => {
                    ends_epoch |= matches!(&said.told, Told::Log(event) if matches!(**event, LogEvent::Epoch(_)));
                }
                What::Record { .. } | What::Bad(_) => {}
            }
        }
        for item in self.items.iter_mut().rev() {
            if let What::Note(note) = &mut item.what {
                note.check(bytes, key);
                if note.said.is_ok() {
                    break;
                }
            }
        }
    }
}

impl Note {
    /// Checks the signature, once.
    pub(super) fn check(&mut self, bytes: &[u8], key: &PublicKey) {
        if std::mem::replace(&mut self.checked, true) {
            return;
        }
        let note = bytes.get(self.at.clone()).unwrap_or_default();
        self.said = match key.open::<Checkpoint>(note) {
            Ok(checkpoint) => Ok(checkpoint.into_inner()),
            Err(why) => Err(format!("a checkpoint is not the pinned key's: {why}")),
        };
    }
}

/// What a note says, without its signature: canonical, and with a pinned key that key's.
fn text_of(note: &[u8], at: Range<usize>, options: &Options) -> Note {
    let said = checkpoint::unverified_text(note)
        .map_err(|why| why.to_string())
        .and_then(|text| {
            let checkpoint =
                Checkpoint::parse(text).map_err(|why| format!("not a checkpoint: {why}"))?;
            let name = options.key.as_ref().map(|key| key.origin().name());
            if checkpoint.text() != text {
                Err("not a checkpoint: the text is not in its canonical form".into())
            } else if name.is_some_and(|name| !checkpoint.belongs_to(name)) {
                Err(format!(
                    "a checkpoint is not the pinned key's: it is of `{}`",
                    checkpoint.origin
                ))
            } else {
                Ok(checkpoint)
            }
        });
    Note {
        at,
        said,
        checked: false,
    }
}

/// How far back a name is looked for: what is forged to have many of them must not make the search long.
const LOOK_BACK: usize = 4;

/// The place of `value` in a list that is nearly always of one.
fn index_of<T, B>(list: &mut Vec<T>, value: &B, own: impl FnOnce(&B) -> T) -> usize
where
    T: std::borrow::Borrow<B>,
    B: PartialEq + ?Sized,
{
    let known = list.iter().enumerate().rev().take(LOOK_BACK);
    for (index, known) in known {
        if known.borrow() == value {
            return index;
        }
    }
    list.push(own(value));
    list.len() - 1
}

fn told(body: BodyView) -> Told {
    match body {
        BodyView::Start(start) => Told::Start(Box::new((start.boot_id, start.cut_bytes))),
        BodyView::Stop { .. } => Told::Stop,
        BodyView::Activation(activation) => Told::Activation(Box::new(activation)),
        BodyView::Outcome(outcome) => Told::Outcome { of: outcome.of },
        // A decision is never decoded in full here.
        BodyView::SessionStart(_) | BodyView::Decision(_) => Told::SessionStart,
        BodyView::SessionEnd { .. } => Told::SessionEnd,
        BodyView::Dropped { counts } => Told::Dropped(
            counts
                .iter()
                .fold(0, |sum, (_, _, count)| sum.saturating_add(*count)),
        ),
        BodyView::ClockStep { step_ms } => Told::ClockStep(step_ms),
        BodyView::Log(event) => Told::Log(Box::new(event)),
    }
}

/// Whether what lies beside a record is what it commits to.
fn beside(body: &Skimmed<'_>, stored: &StoredRecord<'_>) -> Beside {
    let no_salts = *stored.args_salt == [0; 16] && *stored.detail_salt == [0; 16];
    let Skimmed::Decision(decision) = body else {
        return if no_salts && stored.detail.is_empty() {
            Beside::Committed
        } else {
            Beside::Other("something lies beside a record that has no detail")
        };
    };
    // What an erasure leaves.
    if no_salts && stored.detail.is_empty() {
        return Beside::Erased;
    }
    if record::commitment(stored.detail_salt, stored.detail) != decision.detail {
        return Beside::Other("a decision's detail is not the one that was recorded");
    }
    match record::detail_arguments(stored.detail) {
        Some(arguments)
            if record::commitment(stored.args_salt, arguments.as_bytes()) != decision.args =>
        {
            Beside::Other("a decision's arguments or their salt are not those that were recorded")
        }
        _ => Beside::Committed,
    }
}
