//! From where the index is to where the journal is: one signed batch of records after the other.
//!
//! Invariants: a record is handed out only when a note of the pinned key covers it, with the root of exactly the leaves
//! before it; what was handed out before is looked at again before anything is added to it, so that a journal that was
//! replaced is found out; memory is bounded by [`BATCH_BYTES`] and what may lie between two notes.

use crate::entry::{self, Entry};
use crate::journal::{Found, Journal, Place, Reader};
use faramesh_core::checkpoint::{Checkpoint, PublicKey};
use faramesh_core::frame::Frame;
use faramesh_core::record;
use faramesh_core::tree::{self, Frontier, Hash};
use std::io;

/// After so many bytes of frames the next note ends what is handed out at once: enough that one write and one signature
/// serve thousands of records, little enough that it fits in memory many times.
const BATCH_BYTES: u64 = 4 << 20;
/// What is kept of records that no note covers yet. The daemon's batches are far smaller; what is larger is none.
const PENDING_BYTES_MAX: usize = 256 << 20;

/// How far a journal was read, and what proves that it is this journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The tree over all records up to here.
    pub frontier: Frontier,
    /// The last record; none where nothing was read.
    pub last: Option<Last>,
    /// Where reading goes on; none where there was no segment yet.
    pub next: Option<Place>,
    /// Records below this one are removed.
    pub removed: u64,
}

/// A record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// Where its frame begins.
    pub place: Place,
    /// Its leaf hash, which through the records' links stands for all before it.
    pub leaf: Hash,
}

impl Position {
    /// Of a journal of which nothing was read.
    pub const fn start() -> Position {
        Position {
            frontier: Frontier::new(),
            last: None,
            next: None,
            removed: 0,
        }
    }

    /// How many records were read or are removed.
    pub const fn size(&self) -> u64 {
        self.frontier.size()
    }
}

/// Records that a note covers.
#[derive(Debug)]
pub struct Batch {
    /// Number of the first.
    pub first: u64,
    /// In order.
    pub entries: Vec<Entry>,
    /// Where the journal was read to with them.
    pub after: Position,
    /// Bytes of the journal that this was.
    pub bytes: u64,
}

/// What the next step forward is.
#[derive(Debug)]
pub enum Step {
    /// More records.
    Batch(Batch),
    /// No more now. What stands behind the last note, where something does: a batch that is being written, or damage.
    Nothing(Option<String>),
    /// The last record stands elsewhere now, and nothing else is new.
    Moved(Position),
    /// The journal is not the one that was read before: why.
    Foreign(String),
}

/// Goes forward in one journal.
#[derive(Debug)]
pub struct Follower {
    journal: Journal,
    key: PublicKey,
}

impl Follower {
    /// Follows a journal whose notes this key signs.
    pub fn new(journal: Journal, key: PublicKey) -> Follower {
        Follower { journal, key }
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The next records, from a position on.
    ///
    /// # Errors
    /// The journal cannot be read. It may be that the daemon is only now making it.
    pub fn step(&self, position: &Position) -> io::Result<Step> {
        let Some(next) = position.next else {
            return self.begin(position);
        };
        if let Some(other) = self.other(position)? {
            return Ok(other);
        }
        let mut reader = Reader::new(&self.journal);
        let walk = self.walk(&mut reader, position, next, BATCH_BYTES)?;
        match self.judge(walk) {
            // The last of several notes does not hold: perhaps the one before does.
            Err(_) => {
                reader.forget();
                let walk = self.walk(&mut reader, position, next, 0)?;
                Ok(self
                    .judge(walk)
                    .unwrap_or_else(|why| Step::Nothing(Some(why))))
            }
            Ok(step) => Ok(step),
        }
    }

    /// The first step: at the first segment.
    fn begin(&self, position: &Position) -> io::Result<Step> {
        let Some(first) = self.journal.segments()?.first().copied() else {
            return Ok(Step::Nothing(None));
        };
        let Some(frontier) = (match first {
            0 => Some(Frontier::new()),
            first => self.journal.removed(first),
        }) else {
            return Ok(Step::Nothing(Some(format!(
                "the journal begins with record {first}, and what leads up to it cannot be read"
            ))));
        };
        let next = Place {
            segment: first,
            offset: 0,
        };
        let begun = Position {
            frontier,
            last: None,
            next: Some(next),
            removed: position.removed.max(first),
        };
        self.step(&begun)
    }

    /// Where the position is not in this journal any more, or not there: what is to be done.
    fn other(&self, position: &Position) -> io::Result<Option<Step>> {
        let Some(last) = position.last else {
            return Ok(None);
        };
        let mut reader = Reader::new(&self.journal);
        let leaf = match if_there(reader.read(last.place))? {
            Some(Found::Frame {
                frame: Frame::Record(stored),
                ..
            }) => Some(tree::leaf_hash(stored.record)),
            _ => None,
        };
        if leaf == Some(last.leaf) {
            return Ok(None);
        }
        let number = position.size().saturating_sub(1);
        let moved = if_there(self.journal.find(last.place.segment, number))?;
        Ok(Some(match moved.flatten() {
            Some(moved) if moved.leaf == last.leaf => Step::Moved(Position {
                last: Some(Last {
                    place: moved.place,
                    leaf: moved.leaf,
                }),
                next: Some(moved.next),
                ..position.clone()
            }),
            _ => Step::Foreign(format!("record {number} is not the one that was indexed")),
        }))
    }

    /// From the position to the first note after so many bytes, or as far as there are frames.
    fn walk(
        &self,
        reader: &mut Reader<'_>,
        position: &Position,
        from: Place,
        enough: u64,
    ) -> io::Result<Walk> {
        let mut walk = Walk {
            first: position.size(),
            now: position.clone(),
            entries: Vec::new(),
            bytes: 0,
            noted: None,
            behind: None,
        };
        let (mut at, mut held) = (from, 0);
        loop {
            match reader.read(at)? {
                Found::Frame { frame, next } => {
                    walk.bytes += next.offset - at.offset;
                    match frame {
                        Frame::Record(stored) => match self.record(&mut walk, stored.record, at) {
                            Ok(bytes) => held += bytes,
                            Err(why) => {
                                walk.behind = Some(format!("{why}, {}", spot(at)));
                                return Ok(walk);
                            }
                        },
                        Frame::Note(note) => {
                            walk.noted(note, at, next);
                            if walk.bytes >= enough {
                                return Ok(walk);
                            }
                        }
                    }
                    at = next;
                }
                Found::End => {
                    let following = Place {
                        segment: walk.now.size(),
                        offset: 0,
                    };
                    let there = self.journal.path(following.segment).exists();
                    if following.segment == at.segment || !there {
                        return Ok(walk);
                    }
                    at = following;
                }
                Found::Bad(why) => {
                    walk.behind = Some(format!("{why}, {}", spot(at)));
                    return Ok(walk);
                }
            }
            if held > PENDING_BYTES_MAX {
                walk.behind = Some(format!("too many records without a note, {}", spot(at)));
                return Ok(walk);
            }
        }
    }

    /// Takes one record; how much memory it holds.
    fn record(&self, walk: &mut Walk, bytes: &[u8], at: Place) -> Result<usize, String> {
        let view = record::decode(bytes).map_err(|why| why.to_string())?;
        let number = walk.now.size();
        if view.header.seq != number {
            return Err(format!(
                "a record says that it is number {}, and {number} should come",
                view.header.seq
            ));
        }
        if self.key.name().stack() != Some(&view.header.stack) {
            return Err(format!("record {number} is another stack's"));
        }
        let leaf = tree::leaf_hash(bytes);
        walk.now
            .frontier
            .push(leaf)
            .map_err(|why| why.to_string())?;
        walk.now.last = Some(Last { place: at, leaf });
        if let Some(to) = entry::removed_to(&view.body) {
            walk.now.removed = walk.now.removed.max(to.min(number));
        }
        let entry = Entry::of(&view, leaf, at);
        let held = entry.held_bytes();
        walk.entries.push(entry);
        Ok(held)
    }

    /// What a walk's last note proves.
    fn judge(&self, mut walk: Walk) -> Result<Step, String> {
        let Some(noted) = walk.noted.take() else {
            return Ok(Step::Nothing(walk.behind));
        };
        let found = self.key.open::<Checkpoint>(&noted.note);
        let wrong = |why: &dyn std::fmt::Display| format!("{why}, {}", spot(noted.at));
        let head = &found.as_ref().map_err(|why| wrong(why))?.head;
        if head.size != noted.position.size() || head.root != noted.position.frontier.root() {
            return Err(wrong(&"a note does not sign the records before it"));
        }
        walk.entries.truncate(noted.entries);
        Ok(Step::Batch(Batch {
            first: walk.first,
            entries: walk.entries,
            after: noted.position,
            bytes: noted.bytes,
        }))
    }
}

/// What was read in one go.
struct Walk {
    first: u64,
    now: Position,
    entries: Vec<Entry>,
    bytes: u64,
    /// The last note.
    noted: Option<Noted>,
    /// What ended it, where it was not the end.
    behind: Option<String>,
}

/// A note, and what was read until there.
struct Noted {
    note: Vec<u8>,
    at: Place,
    position: Position,
    entries: usize,
    bytes: u64,
}

impl Walk {
    fn noted(&mut self, note: &[u8], at: Place, next: Place) {
        self.noted = Some(Noted {
            note: note.to_vec(),
            at,
            position: Position {
                next: Some(next),
                ..self.now.clone()
            },
            entries: self.entries.len(),
            bytes: self.bytes,
        });
    }
}

fn spot(at: Place) -> String {
    format!("`{:020}.seg` at byte {}", at.segment, at.offset)
}

/// `None` where the file is not there.
fn if_there<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
