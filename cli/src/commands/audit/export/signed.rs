//! Which records a checkpoint of the pinned key covers, segment by segment.
//!
//! Every segment ends with a checkpoint that covers it from the journal's beginning, so one signature and one root a
//! segment are enough: what [`Walker::segment`] calls signed has been hashed into the tree whose root is signed.
#![forbid(unsafe_code)]

use crate::failure::Failure;
use crate::files;
use crate::journal::{self, SegmentFile};
use faramesh_core::checkpoint::{Checkpoint, PublicKey};
use faramesh_core::frame::{self, Frame, Item, StoredRecord};
use faramesh_core::tree::tiles::{TILE_BYTES, Tile, TileId, Tiles};
use faramesh_core::tree::{self, Frontier, Hash, Head};
use std::path::Path;

/// The last checkpoint of the pinned key: what an export is held against.
pub(super) struct Covering {
    /// The journal's name.
    pub(super) origin: String,
    /// Its size and root.
    pub(super) head: Head,
    /// As it was signed.
    pub(super) note: String,
}

/// The last whole checkpoint of a journal, if the pinned key signed it. The daemon may be writing behind it.
///
/// # Errors
/// The journal cannot be read, or there is none.
pub(super) fn head(dir: &Path, key: Option<&PublicKey>) -> Result<Option<Covering>, Failure> {
    let segments = journal::segments(dir)?;
    if segments.is_empty() {
        return Err(
            Failure::data(format!("there is no journal in `{}`", dir.display()))
                .next("name its directory, or start the daemon once"),
        );
    }
    let Some(key) = key else { return Ok(None) };
    for segment in segments.iter().rev() {
        let bytes = journal::read(segment)?;
        let last = notes(&bytes).last();
        if let Some(note) = last {
            let opened = key.open::<Checkpoint>(note).ok();
            return Ok(opened.map(|checkpoint| Covering {
                origin: key.name().to_string(),
                head: checkpoint.into_inner().head,
                note: String::from_utf8_lossy(note).into_owned(),
            }));
        }
    }
    Ok(None)
}

fn tile(dir: &Path, id: TileId) -> Option<Tile> {
    let bytes = files::read_limited(&dir.join(id.path()), TILE_BYTES as u64).ok()??;
    Tile::from_bytes(&bytes)
}

fn notes(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    frame::Frames::new(bytes).filter_map(|item| match item {
        Item::Frame {
            frame: Frame::Note(note),
            ..
        } => Some(note),
        _ => None,
    })
}

/// Goes through the segments in order.
pub(super) struct Walker<'a> {
    key: Option<&'a PublicKey>,
    head: Option<&'a Covering>,
    frontier: Frontier,
    next: u64,
}

/// What one segment holds.
pub(super) struct Block<'a> {
    first: u64,
    bytes: &'a [u8],
    leaves: Vec<Hash>,
    /// Records below this number are under a checkpoint of the pinned key.
    pub(super) signed_to: u64,
    /// The checkpoint that the export is held against lies here: what follows is not looked at.
    pub(super) is_last: bool,
    /// The journal cannot be gone on with behind these records.
    pub(super) stopped: Option<Failure>,
}

impl<'a> Walker<'a> {
    /// From the first record that the journal still has.
    ///
    /// # Errors
    /// What was removed before it left no hashes that lead to the checkpoint.
    pub(super) fn new(
        dir: &Path,
        key: Option<&'a PublicKey>,
        head: Option<&'a Covering>,
        first: Option<u64>,
    ) -> Result<Walker<'a>, Failure> {
        let next = first.unwrap_or(0);
        let frontier = match key {
            // Bodies before it were removed; their hashes stay in tiles. A wrong one shows at the first checkpoint.
            Some(_) if next > 0 => Tiles::new(|id| tile(dir, id)).frontier(next).ok_or_else(|| {
                Failure::data(format!(
                    "the journal begins with record {next}, and the hash tiles of what was before are missing"
                ))
                .next("put the directory `tile` back from a copy; --unsigned without a key exports what nobody vouches for")
            })?,
            _ => Frontier::new(),
        };
        Ok(Walker {
            key,
            head,
            frontier,
            next,
        })
    }

    /// Hashes a segment and checks its last checkpoint.
    ///
    /// # Errors
    /// It does not follow the one before, or its checkpoint does not cover it.
    pub(super) fn segment<'b>(
        &mut self,
        segment: &SegmentFile,
        bytes: &'b [u8],
    ) -> Result<Block<'b>, Failure> {
        let broken = |record: u64, why: &str| {
            Failure::data(format!(
                "record {record}, in `{}`: {why}; nothing from there on was exported",
                segment.path.display()
            ))
            .next("run `faramesh audit verify`")
        };
        let mut block = Block {
            first: segment.first,
            bytes,
            leaves: Vec::new(),
            signed_to: 0,
            is_last: false,
            stopped: None,
        };
        let limit = self.head.map(|covering| covering.head.size);
        let mut last_note = None;
        let mut offset = 0;
        loop {
            match frame::read(bytes, offset) {
                Item::Frame { at, frame } => {
                    offset = at.end;
                    match frame {
                        Frame::Record(stored) => {
                            if block.leaves.is_empty() && segment.first != self.next {
                                return Err(broken(self.next, "it is missing"));
                            }
                            let leaf = tree::leaf_hash(stored.record);
                            self.frontier
                                .push(leaf)
                                .map_err(|e| broken(self.next, &e.to_string()))?;
                            block.leaves.push(leaf);
                            self.next += 1;
                        }
                        // The daemon goes on meanwhile; what follows the head is another export's.
                        Frame::Note(note) if limit.is_none_or(|limit| self.next <= limit) => {
                            last_note = Some((note, self.next, self.frontier.clone()));
                        }
                        Frame::Note(_) => {}
                    }
                }
                Item::End { .. } => break,
                // A write under way looks the same; what stands before it is covered or not.
                Item::Bad { offset, why } => {
                    if frame::resync(bytes, offset).is_some() {
                        block.stopped = Some(broken(self.next, &why.to_string()));
                    }
                    break;
                }
            }
        }
        block.is_last = limit.is_some_and(|limit| self.next >= limit);
        let (Some(key), Some((note, size, frontier))) = (self.key, last_note) else {
            return Ok(block);
        };
        let checkpoint = key
            .open::<Checkpoint>(note)
            .map_err(|e| {
                broken(
                    segment.first,
                    &format!("its checkpoint is not the pinned key's: {e}"),
                )
            })?
            .into_inner();
        let signs = Head {
            size,
            root: frontier.root(),
        };
        if checkpoint.head != signs {
            return Err(broken(
                segment.first,
                "these records are not those that its checkpoint signs",
            ));
        }
        block.signed_to = size;
        Ok(block)
    }
}

impl<'a> Block<'a> {
    /// Its records with their numbers and leaf hashes.
    pub(super) fn records(
        &self,
    ) -> impl Iterator<Item = (u64, Hash, StoredRecord<'a>)> + use<'_, 'a> {
        let stored = frame::Frames::new(self.bytes).filter_map(|item| match item {
            Item::Frame {
                frame: Frame::Record(stored),
                ..
            } => Some(stored),
            _ => None,
        });
        (self.first..)
            .zip(&self.leaves)
            .zip(stored)
            .map(|((seq, leaf), stored)| (seq, *leaf, stored))
    }
}
