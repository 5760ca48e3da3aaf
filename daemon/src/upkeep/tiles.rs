//! Hash tiles of what is sealed, so that a proof costs a few reads however long the journal is.
//!
//! Invariants:
//! - Tiles get their names only where the tree over them has the root of the segment's last note: what is wrong on disk
//!   is found here, and not by whoever needs a proof years later.
//! - A tile that is there and as long as one is stays; one that is missing is made again while its records are there.
#![forbid(unsafe_code)]

use super::files::Files;
use super::leaves::{Entry, Segment};
use super::{Context, Failed};
use faramesh_core::checkpoint::{self, Checkpoint, Statement};
use faramesh_core::tree::tiles::{Builder, TILE_BYTES, Tile, TileId, Tiles, WIDTH};
use faramesh_core::tree::{self, Frontier, Hash};
use std::cmp::Ordering;
use std::path::Path;

/// How far this run is: the tree up to the last sealed segment's end. Nothing where it has not begun, or where a round
/// failed: then the disk is asked.
#[derive(Default)]
pub(super) struct Memory(Option<Builder>);

/// Makes what is missing.
pub(super) fn make(context: &Context<'_>, memory: &mut Memory) -> Result<(), Failed> {
    let begun = memory
        .0
        .take()
        .filter(|done| done.size() <= context.sealed());
    let mut builder = match begun {
        Some(done) => done,
        None => resume(context)?,
    };
    if builder.size() < context.sealed() {
        let from = builder.size();
        let extended = extend(context, &mut builder);
        builder = match extended {
            Ok(()) => builder,
            // What was there before is wrong: while every record is here, it is made again.
            Err(Wrong::Root(_)) if from > 0 && context.segments.first() == Some(&0) => {
                tracing::warn!(
                    "the hash tiles of the first {from} records were wrong and are made again"
                );
                let mut anew = Builder::new();
                extend(context, &mut anew)?;
                anew
            }
            Err(wrong) => return Err(wrong.into()),
        };
    }
    memory.0 = Some(builder);
    Ok(())
}

/// So many of the first records have all their hashes in tiles, durably: only those can lose their bodies.
#[must_use]
pub(crate) fn stored(dir: &Path, sealed: u64) -> u64 {
    let full = sealed - sealed % WIDTH as u64;
    let mut size = 0;
    while size < full && TileId::completed_by(size + WIDTH as u64).all(|id| is_there(dir, id)) {
        size += WIDTH as u64;
    }
    size
}

/// One look at each file's length: a length that is right was durable before the name was.
fn is_there(dir: &Path, id: TileId) -> bool {
    std::fs::symlink_metadata(dir.join(id.path()))
        .is_ok_and(|found| found.is_file() && found.len() == TILE_BYTES as u64)
}

/// A tile of this journal, as it lies there; nothing is proved of it.
fn read(dir: &Path, id: TileId) -> Option<Tile> {
    Tile::from_bytes(&std::fs::read(dir.join(id.path())).ok()?)
}

/// From what lies on disk.
fn resume(context: &Context<'_>) -> Result<Builder, Failed> {
    let stored = stored(context.dir, context.sealed());
    let mut tiles = Tiles::new(|id| read(context.dir, id));
    let builder = Builder::resume(stored, &mut tiles).unwrap_or_default();
    match context.segments.first() {
        Some(first) if builder.size() < *first => Err(Failed::Data(format!(
            "the bodies of the first {first} records are removed, and from {} on their tiles are missing: \
             put the directory `tile` back from a backup",
            builder.size()
        ))),
        _ => Ok(builder),
    }
}

/// Why tiles were not made.
enum Wrong {
    /// The tree does not have the root of the note over so many records.
    Root(u64),
    Failed(Failed),
}

impl From<Failed> for Wrong {
    fn from(failed: Failed) -> Wrong {
        Wrong::Failed(failed)
    }
}

impl From<Wrong> for Failed {
    fn from(wrong: Wrong) -> Failed {
        match wrong {
            Wrong::Failed(failed) => failed,
            Wrong::Root(size) => Failed::Data(format!(
                "the records do not lead to the root of the note over {size} of them: run `faramesh audit verify`"
            )),
        }
    }
}

/// Goes on to the end of the last sealed segment.
fn extend(context: &Context<'_>, builder: &mut Builder) -> Result<(), Wrong> {
    let Some((_, sealed)) = context.segments.split_last() else {
        return Ok(());
    };
    let holds = sealed.iter().rposition(|first| *first <= builder.size());
    let mut files = Files::new(context.dir);
    let mut tree = Tree {
        frontier: builder.frontier().map_err(impossible)?,
        builder,
    };
    for first in sealed.iter().skip(holds.unwrap_or(0)) {
        let mut segment = Segment::open(context.dir, *first)?;
        let mut noted = *first;
        while let Some(entry) = segment.next()? {
            match entry {
                Entry::Leaf(index, leaf) => tree.push(index, leaf, &mut files)?,
                Entry::Note(note) => {
                    context.go_on()?;
                    noted = tree.note(&note, &mut files)?;
                }
            }
        }
        if noted != tree.builder.size() {
            return Err(Wrong::Root(tree.builder.size()));
        }
    }
    Ok(files.finish()?)
}

/// The tree twice: as tiles, and as the frontier that has a root at every moment.
struct Tree<'a> {
    builder: &'a mut Builder,
    frontier: Frontier,
}

impl Tree<'_> {
    fn push(&mut self, index: u64, leaf: Hash, files: &mut Files<'_>) -> Result<(), Wrong> {
        match index.cmp(&self.builder.size()) {
            // Before the place where we go on.
            Ordering::Less => return Ok(()),
            Ordering::Equal => {}
            Ordering::Greater => return Err(Wrong::Root(index)),
        }
        let mut full = Vec::new();
        self.builder
            .push(leaf, |id, tile| full.push((id, tile)))
            .and_then(|()| self.frontier.push(leaf))
            .map_err(impossible)?;
        for (id, tile) in full {
            files.write(&id.path(), &tile.to_bytes())?;
        }
        Ok(())
    }

    /// A note over everything so far vouches for the tiles that were written: they may have their names. The size.
    fn note(&self, note: &[u8], files: &mut Files<'_>) -> Result<u64, Wrong> {
        let head = checkpoint::unverified_text(note)
            .ok()
            .and_then(|text| Checkpoint::parse(text).ok())
            .map(|checkpoint| checkpoint.head)
            .ok_or(Wrong::Root(self.frontier.size()))?;
        if head.size == self.frontier.size() {
            if head.root != self.frontier.root() {
                return Err(Wrong::Root(head.size));
            }
            if files.is_full() {
                files.finish()?;
            }
        }
        Ok(head.size)
    }
}

fn impossible(error: tree::Error) -> Wrong {
    Wrong::Failed(Failed::Data(error.to_string()))
}
