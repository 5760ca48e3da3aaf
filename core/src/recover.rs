//! What a journal is worth after a crash: what to keep, what to cut, when to stop and touch nothing.
//!
//! The daemon asks the signer for its head, maps the segments and calls [`recover`] before it writes a byte. The answer
//! rests on four facts:
//! - A reply leaves after the fdatasync that covers its record *and* its note. So what lies after the last valid note
//!   was answered to nobody and may be cut.
//! - The signer confirms a head only after that fdatasync. So a file that lacks the signer's head has lost something.
//! - The signer's confirmed head may be up to a second behind. So a valid note above it is kept, and the signer adopts it.
//! - A torn write leaves a bad frame, and nothing valid and signed after it. So damage with a valid note after it, or at
//!   or below the head, is not a torn write: nothing is changed and a person decides.
//!
//! Invariant: [`Recovery`] never keeps less than the signer's head, and never cuts a valid note.

use crate::checkpoint::{self, Checkpoint, PublicKey};
use crate::frame::{self, Damage, Frame, Frames, Item, StoredRecord};
use crate::record;
use crate::tree::{self, Frontier, Hash, Head};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Index in the list of segments that was given.
    pub segment: usize,
    /// Byte offset in it.
    pub offset: usize,
}

/// What to keep, and what the daemon goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Keep everything before this place: it is the end of the last valid note. `None`: keep nothing. What lies after
    /// it has to become zeros, durably, before anything is written.
    pub keep: Option<Position>,
    /// The tree over what is kept.
    pub frontier: Frontier,
    /// The last leaf hash, the next record's `prev`; zeros in an empty journal.
    pub last_leaf: Hash,
    /// The last valid note.
    pub note: Option<String>,
    /// What the signer has to be told, where the file is ahead of its head.
    pub adopt: Option<Adopt>,
    /// How much that is not zero lies after `keep`, in bytes from it: a torn tail, and records never answered.
    pub cut_bytes: u64,
    /// Where the torn frame begins, and what is wrong with it, where there is one.
    pub torn: Option<(Position, Damage)>,
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

/// Judges the segments, given in order, against the signer's confirmed head and its public key.
///
/// # Errors
/// [`Halt`]: nothing may be changed on disk.
pub fn recover(segments: &[Segment<'_>], head: &Head, key: &PublicKey) -> Result<Recovery, Halt> {
    if head.size == 0 && head.root != tree::empty_root() {
        return Err(Halt::OtherTree { head: 0 });
    }
    let mut walk = Walk {
        segments,
        head,
        key,
        frontier: Frontier::new(),
        last_leaf: [0; 32],
        above: Vec::new(),
        good: None,
    };
    let torn = walk.run()?;
    if let Some((position, why)) = torn {
        walk.judge_damage(position, why)?;
    }
    walk.conclude(torn)
}

/// The records before `keep`, in order.
pub fn kept_records<'a>(
    segments: &[Segment<'a>],
    keep: Option<Position>,
) -> impl Iterator<Item = StoredRecord<'a>> {
    let until = keep.unwrap_or(Position {
        segment: 0,
        offset: 0,
    });
    let parts: Vec<&'a [u8]> = segments
        .iter()
        .enumerate()
        .filter(|(index, _)| *index <= until.segment)
        .map(|(index, segment)| {
            let end = if index == until.segment {
                until.offset
            } else {
                segment.bytes.len()
            };
            segment.bytes.get(..end).unwrap_or(segment.bytes)
        })
        .collect();
    parts
        .into_iter()
        .flat_map(Frames::new)
        .filter_map(|item| match item {
            Item::Frame {
                frame: Frame::Record(stored),
                ..
            } => Some(stored),
            _ => None,
        })
}

/// The walk from the first frame to the first that is none.
struct Walk<'w, 'a> {
    segments: &'w [Segment<'a>],
    head: &'w Head,
    key: &'w PublicKey,
    frontier: Frontier,
    last_leaf: Hash,
    /// Leaf hashes above the signer's head.
    above: Vec<Hash>,
    good: Option<Good>,
}

/// The state at the last valid note.
struct Good {
    end: Position,
    note: String,
    frontier: Frontier,
    last_leaf: Hash,
    /// How many of the leaves above the head it covers.
    above: usize,
}

impl Walk<'_, '_> {
    /// Walks as far as the journal is whole. Returns the first damage, if that is what ended it.
    fn run(&mut self) -> Result<Option<(Position, Damage)>, Halt> {
        for (index, segment) in self.segments.iter().enumerate() {
            let at = |offset| Position {
                segment: index,
                offset,
            };
            if segment.first != self.frontier.size() {
                if frame::written_len(segment.bytes) == 0 {
                    continue;
                }
                let why = format!(
                    "the segment's name says that it begins with record {}",
                    segment.first
                );
                return Err(self.inconsistent(why, at(0)));
            }
            for item in Frames::new(segment.bytes) {
                match item {
                    Item::Frame {
                        at: range,
                        frame: Frame::Record(stored),
                    } => {
                        self.record(stored.record, at(range.start))?;
                    }
                    Item::Frame {
                        at: range,
                        frame: Frame::Note(note),
                    } => self.note(note, at(range.start), at(range.end))?,
                    Item::End { .. } => {}
                    Item::Bad { offset, why } => return Ok(Some((at(offset), why))),
                }
            }
        }
        Ok(None)
    }

    fn record(&mut self, bytes: &[u8], at: Position) -> Result<(), Halt> {
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
            .key
            .name()
            .stack()
            .is_some_and(|stack| stack != view.header.stack)
        {
            return Err(self.inconsistent("a record is another stack's".into(), at));
        }
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
        Ok(())
    }

    fn note(&mut self, note: &[u8], at: Position, end: Position) -> Result<(), Halt> {
        let checkpoint = self
            .key
            .open::<Checkpoint>(note)
            .map_err(|why| Halt::ForeignNote {
                why,
                place: self.place(at),
            })?;
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
        self.good = Some(Good {
            end,
            // It opened, so it is UTF-8.
            note: String::from_utf8_lossy(note).into_owned(),
            frontier: self.frontier.clone(),
            last_leaf: self.last_leaf,
            above: self.above.len(),
        });
        Ok(())
    }

    /// Whether damage may be cut as a torn tail.
    fn judge_damage(&self, at: Position, why: Damage) -> Result<(), Halt> {
        if self.signed_size() < self.head.size {
            return Err(Halt::DamageBelowHead {
                head: self.head.size,
                why,
                place: self.place(at),
            });
        }
        match self.valid_note_after(at) {
            Some(note) => Err(Halt::DamageBeforeNote {
                note,
                why,
                place: self.place(at),
            }),
            None => Ok(()),
        }
    }

    /// The size of a valid note that lies anywhere after a bad frame.
    fn valid_note_after(&self, bad: Position) -> Option<u64> {
        self.segments
            .iter()
            .enumerate()
            .skip(bad.segment)
            .find_map(|(index, segment)| {
                let mut from = if index == bad.segment {
                    frame::resync(segment.bytes, bad.offset)
                } else {
                    Some(0)
                };
                while let Some(offset) = from {
                    let mut next = None;
                    for item in Frames::from(segment.bytes, offset) {
                        match item {
                            Item::Frame {
                                frame: Frame::Note(note),
                                ..
                            } => {
                                if let Ok(checkpoint) = self.key.open::<Checkpoint>(note) {
                                    return Some(checkpoint.head.size);
                                }
                            }
                            Item::Bad { offset, .. } => next = frame::resync(segment.bytes, offset),
                            _ => {}
                        }
                    }
                    from = next;
                }
                None
            })
    }

    fn conclude(mut self, torn: Option<(Position, Damage)>) -> Result<Recovery, Halt> {
        let (signed, head) = (self.signed_size(), self.head.size);
        if self.frontier.size() == 0 && torn.is_none() && head > 0 {
            return Err(Halt::NewJournal { head });
        }
        if signed < head {
            return Err(Halt::LacksHead { signed, head });
        }
        let keep = self.good.as_ref().map(|good| good.end);
        let cut_bytes = self.bytes_after(keep);
        let Some(good) = self.good else {
            let (frontier, last_leaf) = (Frontier::new(), [0; 32]);
            return Ok(Recovery {
                keep,
                frontier,
                last_leaf,
                note: None,
                adopt: None,
                cut_bytes,
                torn,
            });
        };
        self.above.truncate(good.above);
        let adopt = (signed > head).then(|| Adopt {
            note: good.note.clone(),
            from_size: head,
            leaf_hashes: self.above,
        });
        Ok(Recovery {
            keep,
            frontier: good.frontier,
            last_leaf: good.last_leaf,
            note: Some(good.note),
            adopt,
            cut_bytes,
            torn,
        })
    }

    fn signed_size(&self) -> u64 {
        self.good.as_ref().map_or(0, |good| good.frontier.size())
    }

    fn bytes_after(&self, keep: Option<Position>) -> u64 {
        let from = keep.unwrap_or(Position {
            segment: 0,
            offset: 0,
        });
        let after = self
            .segments
            .iter()
            .enumerate()
            .skip(from.segment)
            .map(|(index, segment)| {
                let offset = if index == from.segment {
                    from.offset
                } else {
                    0
                };
                frame::written_len(segment.bytes).saturating_sub(offset) as u64
            });
        after.sum()
    }

    fn inconsistent(&self, why: String, at: Position) -> Halt {
        Halt::Inconsistent {
            why,
            place: self.place(at),
        }
    }

    fn place(&self, at: Position) -> Place {
        let segment = self
            .segments
            .get(at.segment)
            .map_or_else(String::new, |segment| segment.name.to_owned());
        Place {
            segment,
            offset: at.offset,
            seq: self.frontier.size(),
        }
    }
}
