//! What a journal is worth after a crash: what to keep, what to cut, when to stop and touch nothing.
//!
//! The daemon asks the signer for its head and shows [`Walk`] the segments, one after the other, before it writes a byte.
//! The answer rests on four facts:
//! - A reply leaves after the fdatasync that covers its record *and* its note. So what lies after the last valid note
//!   was answered to nobody and may be cut.
//! - The signer confirms a head only after that fdatasync. So a file that lacks the signer's head has lost something.
//! - The signer's confirmed head may be up to a second behind. So a valid note above it is kept, and the signer adopts it.
//! - A torn write leaves a bad frame, and nothing valid and signed after it. So damage with a valid note after it, or at
//!   or below the head, is not a torn write: nothing is changed and a person decides.
//!
//! A walk begins at a [`Point`]: the journal's beginning, or what a snapshot says of a segment's. A snapshot is believed
//! only where the walk ended well *and* a record that it kept holds the snapshot's digest: the signed tree of the records
//! behind the point has the point's own tree below it, so nothing but the true one leads there, and the record vouches for
//! the fold. What is wrong until then may be the point's own fault
//! ([`Walk::may_be_the_points_fault`]).
//!
//! Invariant: [`Recovery`] never keeps less than the signer's head, never cuts a valid note, and its state is the fold over
//! exactly what is kept.

use crate::checkpoint::{self, Checkpoint, EpochKeys, LogKey};
use crate::frame::{self, Damage, Frame, Frames, Item, StoredRecord};
use crate::record::{self, BodyView, LogEvent, Time};
use crate::state::{Beside, OutOfOrder, Point};
use crate::tree::{self, Frontier, Hash, Head};
use std::collections::BTreeMap;

/// One segment file.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// For messages.
    pub name: &'a str,
    /// The leaf index that its name says.
    pub first: u64,
    /// All of it, the zeros at its end too.
    pub bytes: &'a [u8],
}

/// A place in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// Index among the segments that were walked.
    pub segment: usize,
    /// Byte offset in it.
    pub offset: usize,
}

/// What to keep, and what the daemon goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Keep everything before this place: it is the end of the last valid note. `None`: keep nothing of what was walked.
    /// What lies after it has to become zeros, durably, before anything is written.
    pub keep: Option<Position>,
    /// What everything that is kept comes to.
    pub point: Point,
    /// The last valid note.
    pub note: Option<String>,
    /// The keys that are due at the end of what is kept.
    pub keys: EpochKeys,
    /// What the signer has to be told, where the file is ahead of its head.
    pub adopt: Option<Adopt>,
    /// How much that is not zero lies after `keep`, in bytes from it: a torn tail, and records never answered.
    pub cut_bytes: u64,
    /// Of each walked segment, where its last byte that is not zero ends.
    pub written: Vec<usize>,
    /// Where the torn frame begins, and what is wrong with it, where there is one.
    pub torn: Option<(Position, Damage)>,
    /// What the last walked segment begins with, where that is kept and is not where the walk began.
    pub last_beginning: Option<Point>,
    /// What kept `snapshot` records say: sizes and digests.
    pub snapshots: BTreeMap<u64, Hash>,
}

/// A note of the signer's own that is ahead of its confirmed head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopt {
    /// The note.
    pub note: String,
    /// The signer's head.
    pub from_size: u64,
    /// The leaves from there to the note.
    pub leaf_hashes: Vec<Hash>,
}

/// Where something is wrong, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The segment's name.
    pub segment: String,
    /// Byte offset in it.
    pub offset: usize,
    /// Records before it.
    pub seq: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "`{}` at byte {}, before record {}",
            self.segment, self.offset, self.seq
        )
    }
}

/// Why the daemon must not go on. Nothing may be changed on disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The journal holds nothing and the signer has signed something.
    #[error(
        "the journal is empty, and the signer has confirmed {head} records: a new journal beside an existing signer \
         state is refused; restore the journal, or give the stack a new signer state together with the new journal"
    )]
    NewJournal {
        /// The signer's size.
        head: u64,
    },
    /// The journal ends before the signer's head.
    #[error(
        "the journal lacks the signer's head: it holds {signed} signed records, the signer has confirmed {head}; \
         restore the missing part of the journal"
    )]
    LacksHead {
        /// Size of the last valid note.
        signed: u64,
        /// The signer's size.
        head: u64,
    },
    /// The journal has another tree at the signer's size.
    #[error(
        "the journal's first {head} records are not those that the signer has confirmed; \
         this is another journal, or a rewritten one: restore the right one"
    )]
    OtherTree {
        /// The signer's size.
        head: u64,
    },
    /// A bad frame at or below the signer's head.
    #[error(
        "the journal is damaged at or below the signer's head of {head} records: {why}, {place}; restore it"
    )]
    DamageBelowHead {
        /// The signer's size.
        head: u64,
        /// What is wrong.
        why: Damage,
        /// Where.
        place: Place,
    },
    /// A bad frame with a valid note after it.
    #[error(
        "the journal is damaged before the signed head of {note} records: {why}, {place}; \
         a torn write does not look like this: restore it"
    )]
    DamageBeforeNote {
        /// Size of a valid note after the damage.
        note: u64,
        /// What is wrong.
        why: Damage,
        /// Where.
        place: Place,
    },
    /// A whole frame that does not continue the chain. No crash does that.
    #[error(
        "the journal does not fit together: {why}, {place}; do not start on it: run `faramesh audit verify`"
    )]
    Inconsistent {
        /// What is wrong.
        why: String,
        /// Where.
        place: Place,
    },
    /// A record that the state before it does not allow, and that is signed.
    #[error(
        "the journal does not fit together: {why}, {place}; do not start on it: run `faramesh audit verify`"
    )]
    NoState {
        /// What is wrong.
        why: OutOfOrder,
        /// Where.
        place: Place,
    },
    /// The walk was to begin in an epoch that this log does not have.
    #[error("the point to begin at is of no epoch of this log: {why}")]
    PointsEpoch {
        /// What is wrong.
        why: checkpoint::Error,
    },
    /// A whole note that is not the signer's.
    #[error(
        "the journal holds a note that this signer did not sign: {why}, {place}; \
         the journal belongs to another signer state: bring the two together again"
    )]
    ForeignNote {
        /// What is wrong.
        why: checkpoint::Error,
        /// Where.
        place: Place,
    },
}

/// Judges the segments, given in order from the journal's beginning, against the signer's confirmed head and the log's
/// pinned keys.
///
/// # Errors
/// [`Halt`]: nothing may be changed on disk.
pub fn recover(segments: &[Segment<'_>], head: &Head, key: &LogKey) -> Result<Recovery, Halt> {
    let mut walk = Walk::from(Point::default(), *head, key)?;
    for segment in segments {
        walk.segment(segment)?;
    }
    walk.finish()
}

/// A walk over the segments from a point on. It holds none of them: a journal of any length is walked in the memory of
/// its state and one batch.
pub struct Walk {
    head: Head,
    /// What a note has to be signed by, which follows the records.
    keys: EpochKeys,
    frontier: Frontier,
    last_leaf: Hash,
    /// Leaf hashes above the signer's head.
    above: Vec<Hash>,
    good: Good,
    /// Records since the last valid note: they are part of the state when one covers them.
    unsigned: Vec<Unsigned>,
    names: Vec<String>,
    written: Vec<usize>,
    torn: Option<(Position, Damage)>,
    last_beginning: Option<Point>,
    /// The largest head that a valid note behind the first damage signs, where nothing is judged.
    later: Option<Option<Head>>,
}

/// What is left of a journal whose end is lost or damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvage {
    /// It ends here: behind the last valid note before the first place that cannot be read.
    pub keep: Option<Position>,
    /// What is left comes to this.
    pub point: Point,
    /// The last valid note.
    pub note: Option<String>,
    /// Of each walked segment, where its last byte that is not zero ends.
    pub written: Vec<usize>,
    /// Where it cannot be read on, and why.
    pub ended: Option<(Place, Damage)>,
    /// The largest head that was signed behind that place.
    pub later: Option<Head>,
}

/// What is known at the last valid note, or where the walk began.
struct Good {
    /// `None` where the walk began.
    signed: Option<(Position, String)>,
    point: Point,
    /// How many of the leaves above the head it covers.
    above: usize,
    snapshots: BTreeMap<u64, Hash>,
}

/// A record that no note covers yet, and what its effects are made of.
struct Unsigned {
    at: Position,
    time: Time,
    body: BodyView,
    detail: Vec<u8>,
    detail_salt: [u8; 16],
}

impl Walk {
    /// A walk that begins with the segment that begins at `point`.
    ///
    /// # Errors
    /// The signer's head cannot be of a journal that has this point, or the point's epoch is none of this log's.
    pub fn from(point: Point, head: Head, key: &LogKey) -> Result<Walk, Halt> {
        let size = point.frontier.size();
        if head.size == size && head.root != point.frontier.root() {
            return Err(Halt::OtherTree { head: size });
        }
        let keys = EpochKeys::after(key, point.state.epoch_record())
            .map_err(|why| Halt::PointsEpoch { why })?;
        Ok(Walk {
            head,
            keys,
            frontier: point.frontier.clone(),
            last_leaf: point.last_leaf,
            above: Vec::new(),
            good: Good {
                signed: None,
                point,
                above: 0,
                snapshots: BTreeMap::new(),
            },
            unsigned: Vec::new(),
            names: Vec::new(),
            written: Vec::new(),
            torn: None,
            last_beginning: None,
            later: None,
        })
    }

    /// The same for an operator who gives up what cannot be read: damage and missing segments end the walk wherever they
    /// lie, and are no halt. What was changed still is one: that is not lost.
    ///
    /// # Errors
    /// As [`Walk::from`].
    pub fn to_salvage(point: Point, key: &LogKey) -> Result<Walk, Halt> {
        let head = Head {
            size: 0,
            root: tree::empty_root(),
        };
        let mut walk = Walk::from(point, head, key)?;
        walk.later = Some(None);
        Ok(walk)
    }

    /// What is left, when the last segment was walked.
    #[must_use]
    pub fn salvaged(self) -> Salvage {
        let ended = self.torn.map(|(at, why)| (self.place(at), why));
        let (keep, note) = self.good.signed.unzip();
        Salvage {
            keep,
            point: self.good.point,
            note,
            written: self.written,
            ended,
            later: self.later.flatten(),
        }
    }

    /// Whether this may be the fault of the point that the walk began at, and of nothing in the journal: what is wrong
    /// with the tree or a note's keys, until a note of the signer's has fitted it, and what is wrong with the state.
    #[must_use]
    pub const fn may_be_the_points_fault(&self, halt: &Halt) -> bool {
        match halt {
            Halt::NoState { .. } | Halt::PointsEpoch { .. } => true,
            Halt::OtherTree { .. } | Halt::Inconsistent { .. } | Halt::ForeignNote { .. } => {
                self.good.signed.is_none()
            }
            Halt::NewJournal { .. }
            | Halt::LacksHead { .. }
            | Halt::DamageBelowHead { .. }
            | Halt::DamageBeforeNote { .. } => false,
        }
    }

    /// Walks over the next segment, as far as the journal is whole.
    ///
    /// # Errors
    /// [`Halt`]: the walk has ended.
    pub fn segment(&mut self, segment: &Segment<'_>) -> Result<(), Halt> {
        let index = self.names.len();
        self.names.push(segment.name.to_owned());
        let written = frame::written_len(segment.bytes);
        self.written.push(written);
        if let Some((position, why)) = self.torn {
            return self.judge_after_damage(segment.bytes, Some(0), position, why);
        }
        let at = |offset| Position {
            segment: index,
            offset,
        };
        if segment.first != self.frontier.size() {
            if written == 0 {
                return Ok(());
            }
            if self.later.is_some() {
                self.torn = Some((at(0), Damage::Magic));
                return self.judge_after_damage(segment.bytes, Some(0), at(0), Damage::Magic);
            }
            let why = format!(
                "the segment's name says that it begins with record {}",
                segment.first
            );
            return Err(self.inconsistent(why, at(0)));
        }
        if index > 0 && self.unsigned.is_empty() {
            self.last_beginning = Some(self.good.point.clone());
        }
        for item in Frames::new(segment.bytes) {
            match item {
                Item::Frame {
                    at: range,
                    frame: Frame::Record(stored),
                } => self.record(&stored, at(range.start))?,
                Item::Frame {
                    at: range,
                    frame: Frame::Note(note),
                } => self.note(note, at(range.start), at(range.end))?,
                Item::End { .. } => {}
                Item::Bad { offset, why } => {
                    self.torn = Some((at(offset), why));
                    if self.signed_size() < self.head.size {
                        return Err(Halt::DamageBelowHead {
                            head: self.head.size,
                            why,
                            place: self.place(at(offset)),
                        });
                    }
                    let next = frame::resync(segment.bytes, offset);
                    self.judge_after_damage(segment.bytes, next, at(offset), why)?;
                }
            }
        }
        Ok(())
    }

    /// What is kept, when the last segment was walked.
    ///
    /// # Errors
    /// [`Halt`]: nothing may be changed on disk.
    pub fn finish(self) -> Result<Recovery, Halt> {
        let (signed, head) = (self.signed_size(), self.head.size);
        if self.frontier.size() == 0 && self.torn.is_none() && head > 0 {
            return Err(Halt::NewJournal { head });
        }
        if signed < head {
            return Err(Halt::LacksHead { signed, head });
        }
        let Good {
            signed: last_note,
            point,
            above,
            snapshots,
        } = self.good;
        let (keep, note) = last_note.unzip();
        let mut leaf_hashes = self.above;
        leaf_hashes.truncate(above);
        let adopt = note.clone().filter(|_| signed > head).map(|note| Adopt {
            note,
            from_size: head,
            leaf_hashes,
        });
        let from = keep.unwrap_or_default();
        let after = self.written.iter().enumerate().skip(from.segment);
        let cut_bytes = after
            .map(|(index, written)| {
                let offset = if index == from.segment {
                    from.offset
                } else {
                    0
                };
                written.saturating_sub(offset) as u64
            })
            .sum();
        Ok(Recovery {
            keep,
            point,
            note,
            keys: self.keys.at_last_note(),
            adopt,
            cut_bytes,
            written: self.written,
            torn: self.torn,
            last_beginning: self.last_beginning,
            snapshots,
        })
    }

    fn record(&mut self, stored: &StoredRecord<'_>, at: Position) -> Result<(), Halt> {
        let bytes = stored.record;
        let seq = self.frontier.size();
        let view = record::decode(bytes).map_err(|why| self.inconsistent(why.to_string(), at))?;
        if view.header.seq != seq {
            return Err(self.inconsistent(
                format!("a record says that it is number {}", view.header.seq),
                at,
            ));
        }
        if view.header.prev != self.last_leaf {
            return Err(self.inconsistent("a record does not name the one before it".into(), at));
        }
        if self
            .keys
            .origin()
            .name()
            .stack()
            .is_some_and(|stack| stack != view.header.stack)
        {
            return Err(self.inconsistent("a record is another stack's".into(), at));
        }
        self.keys
            .record(&view.body)
            .map_err(|why| self.inconsistent(why.to_string(), at))?;
        let leaf = tree::leaf_hash(bytes);
        self.frontier
            .push(leaf)
            .map_err(|why| self.inconsistent(why.to_string(), at))?;
        self.last_leaf = leaf;
        if seq >= self.head.size {
            self.above.push(leaf);
        } else if seq + 1 == self.head.size && self.frontier.root() != self.head.root {
            return Err(Halt::OtherTree {
                head: self.head.size,
            });
        }
        self.unsigned.push(Unsigned {
            at,
            time: view.header.time,
            body: view.body,
            detail: stored.detail.to_vec(),
            detail_salt: *stored.detail_salt,
        });
        Ok(())
    }

    fn note(&mut self, note: &[u8], at: Position, end: Position) -> Result<(), Halt> {
        let checkpoint = match self.keys.note(note) {
            Ok(checkpoint) => checkpoint,
            Err(why) => {
                let place = self.place(at);
                return Err(Halt::ForeignNote { why, place });
            }
        };
        let found = Head {
            size: self.frontier.size(),
            root: self.frontier.root(),
        };
        if checkpoint.head != found {
            let why = format!(
                "a note signs another tree, of {} records",
                checkpoint.head.size
            );
            return Err(self.inconsistent(why, at));
        }
        self.fold()?;
        // It opened, so it is UTF-8.
        let note = String::from_utf8_lossy(note).into_owned();
        self.good.signed = Some((end, note));
        self.good.point.frontier = self.frontier.clone();
        self.good.point.last_leaf = self.last_leaf;
        self.good.above = self.above.len();
        Ok(())
    }

    /// Takes what the note covers into the state.
    fn fold(&mut self) -> Result<(), Halt> {
        for unsigned in std::mem::take(&mut self.unsigned) {
            let Unsigned {
                at,
                time,
                body,
                detail,
                detail_salt,
            } = unsigned;
            let point = &mut self.good.point;
            let beside = Beside {
                detail: &detail,
                salt: &detail_salt,
            };
            let seq = point.state.next_seq();
            let taken = point.state.apply_view(seq, time, &body, beside);
            if let Err(why) = taken {
                let place = Place {
                    seq,
                    ..self.place(at)
                };
                return Err(Halt::NoState { why, place });
            }
            if let BodyView::Log(LogEvent::Snapshot(snapshot)) = &body {
                self.good.snapshots.insert(snapshot.size, snapshot.digest);
            }
            let boot_id = match body {
                BodyView::Start(start) => start.boot_id,
                _ => point.last.take().map_or_else(String::new, |(_, id)| id),
            };
            point.last = Some((time, boot_id));
        }
        Ok(())
    }

    /// Whether damage may be cut as a torn tail: not where a valid note lies anywhere behind it. `from` is where a frame
    /// may begin in `bytes`.
    fn judge_after_damage(
        &mut self,
        bytes: &[u8],
        mut from: Option<usize>,
        at: Position,
        why: Damage,
    ) -> Result<(), Halt> {
        while let Some(offset) = from {
            let mut next = None;
            for item in Frames::from(bytes, offset) {
                match item {
                    Item::Frame {
                        frame: Frame::Note(note),
                        ..
                    } => {
                        // Which epoch it lies in cannot be told behind damage: the origin's signature is enough to
                        // touch nothing.
                        let Ok(checkpoint) = self.keys.origin().open::<Checkpoint>(note) else {
                            continue;
                        };
                        if let Some(later) = &mut self.later {
                            let head = checkpoint.into_inner().head;
                            if later.is_none_or(|known| known.size < head.size) {
                                *later = Some(head);
                            }
                        } else {
                            return Err(Halt::DamageBeforeNote {
                                note: checkpoint.head.size,
                                why,
                                place: self.place(at),
                            });
                        }
                    }
                    Item::Bad { offset, .. } => next = frame::resync(bytes, offset),
                    _ => {}
                }
            }
            from = next;
        }
        Ok(())
    }

    fn signed_size(&self) -> u64 {
        self.good.point.frontier.size()
    }

    fn inconsistent(&self, why: String, at: Position) -> Halt {
        Halt::Inconsistent {
            why,
            place: self.place(at),
        }
    }

    fn place(&self, at: Position) -> Place {
        Place {
            segment: self.names.get(at.segment).cloned().unwrap_or_default(),
            offset: at.offset,
            seq: self.frontier.size(),
        }
    }
}
