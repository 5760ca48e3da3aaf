//! The journal's files, read in pieces of bounded size while the daemon appends to them.
//!
//! Invariants: nothing is written and no lock is taken; a piece is at most [`WINDOW_BYTES`] long, which is more than any
//! frame, so that what is no frame in a whole piece is none at all.

use faramesh_core::frame::{self, Damage, HEADER_LEN, Item, PAYLOAD_MAX};
use faramesh_core::state::{SNAPSHOT_BYTES_MAX, Snapshot};
use faramesh_core::tree::tiles::{Tile, TileId, Tiles};
use faramesh_core::tree::{self, Frontier, Hash};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How much of a segment is in memory at a time: the longest frame twice over.
pub const WINDOW_BYTES: usize = 2 * (PAYLOAD_MAX + HEADER_LEN);

/// A hash tile has 256 hashes.
const TILE_BYTES_MAX: u64 = 256 * 32;

/// A directory of segments.
#[derive(Debug, Clone)]
pub struct Journal {
    dir: PathBuf,
}

/// A place in a journal: a frame begins there, or will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The segment's first record, as its name says.
    pub segment: u64,
    /// Byte offset in it.
    pub offset: u64,
}

/// What stands at a place.
#[derive(Debug)]
pub enum Found<'a> {
    /// A frame.
    Frame {
        /// Its content.
        frame: frame::Frame<'a>,
        /// Where the next one begins.
        next: Place,
    },
    /// Nothing yet.
    End,
    /// Damage, or a frame that is being written.
    Bad(Damage),
}

impl Journal {
    /// The journal in a directory.
    pub fn new(dir: &Path) -> Journal {
        Journal {
            dir: dir.to_owned(),
        }
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The first records of all segments, in order.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn segments(&self) -> io::Result<Vec<u64>> {
        let mut firsts = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let first: Option<u64> = name
                .to_str()
                .and_then(|name| name.strip_suffix(".seg"))
                .filter(|digits| digits.len() == 20)
                .and_then(|digits| digits.parse().ok());
            firsts.extend(first);
        }
        firsts.sort_unstable();
        Ok(firsts)
    }

    /// Where a record's frame begins, and what follows it up to and with the next note, found by walking its segment:
    /// an erasure writes a segment anew, and then nothing in it stands where it stood.
    ///
    /// # Errors
    /// The segment cannot be read. `None`: it has no such record.
    pub fn find(&self, segment: u64, number: u64) -> io::Result<Option<Moved>> {
        let mut reader = Reader::new(self);
        let mut at = Place { segment, offset: 0 };
        let (mut next_number, mut found) = (segment, None);
        loop {
            match reader.read(at)? {
                Found::Frame { frame, next } => {
                    match (frame, found) {
                        (frame::Frame::Record(stored), None) => {
                            if next_number == number {
                                found = Some((at, tree::leaf_hash(stored.record)));
                            }
                            next_number += 1;
                        }
                        (frame::Frame::Note(_), Some((place, leaf))) => {
                            return Ok(Some(Moved { place, leaf, next }));
                        }
                        _ => {}
                    }
                    at = next;
                }
                Found::End | Found::Bad(_) => return Ok(None),
            }
        }
    }

    /// What a segment's file is: another one under the same name was written anew.
    pub fn identity(&self, first: u64) -> Option<(u64, u64)> {
        use std::os::unix::fs::MetadataExt;
        let meta = std::fs::metadata(self.path(first)).ok()?;
        Some((meta.dev(), meta.ino()))
    }

    /// Calls back with the number and place of every record of a segment, as far as it is whole.
    ///
    /// # Errors
    /// It cannot be read, or the callback's.
    pub fn places<E: From<io::Error>>(
        &self,
        segment: u64,
        mut each: impl FnMut(u64, Place, Hash) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut reader = Reader::new(self);
        let (mut at, mut number) = (Place { segment, offset: 0 }, segment);
        while let Found::Frame { frame, next } = reader.read(at)? {
            if let frame::Frame::Record(stored) = frame {
                let leaf = tree::leaf_hash(stored.record);
                each(number, at, leaf)?;
                number += 1;
            }
            at = next;
        }
        Ok(())
    }

    /// The tree over the records before a segment that are removed: from the hash tiles that stay, or from the snapshot
    /// that was taken there. Nothing is proven by it: the next note has to sign what comes of it.
    pub fn removed(&self, first: u64) -> Option<Frontier> {
        let tile = |id: TileId| {
            let bytes = read_limited(&self.dir.join(id.path()), TILE_BYTES_MAX)?;
            Tile::from_bytes(&bytes)
        };
        Tiles::new(tile).frontier(first).or_else(|| {
            let path = self.dir.join(format!("snapshots/{first:020}.snap"));
            let bytes = read_limited(&path, SNAPSHOT_BYTES_MAX as u64)?;
            let frontier = Snapshot::decode(&bytes).ok()?.point.frontier;
            (frontier.size() == first).then_some(frontier)
        })
    }

    /// All bytes of all segments: what a progress bar measures against.
    pub fn bytes(&self) -> u64 {
        let segments = self.segments().unwrap_or_default();
        segments
            .iter()
            .filter_map(|first| std::fs::metadata(self.path(*first)).ok())
            .map(|meta| meta.len())
            .sum()
    }

    /// A segment's file.
    pub fn path(&self, first: u64) -> PathBuf {
        self.dir.join(format!("{first:020}.seg"))
    }
}

/// A record that stands elsewhere now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Where its frame begins.
    pub place: Place,
    /// Its leaf hash.
    pub leaf: Hash,
    /// Behind the next note.
    pub next: Place,
}

/// A file's bytes, where it is there and not longer.
fn read_limited(path: &Path, bytes_max: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(bytes_max + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= bytes_max).then_some(bytes)
}

/// Reads frames of one journal one after the other, a window at a time.
#[derive(Debug)]
pub struct Reader<'j> {
    journal: &'j Journal,
    /// The open segment and its first record.
    open: Option<(u64, File)>,
    window: Vec<u8>,
    /// Where the window begins.
    at: Place,
}

impl<'j> Reader<'j> {
    /// A reader that has read nothing.
    pub fn new(journal: &'j Journal) -> Reader<'j> {
        Reader {
            journal,
            open: None,
            window: Vec::new(),
            at: Place {
                segment: 0,
                offset: 0,
            },
        }
    }

    /// What stands at a place. What was read before may be answered again: see [`Reader::forget`].
    ///
    /// # Errors
    /// The segment is not there, or cannot be read.
    pub fn read(&mut self, place: Place) -> io::Result<Found<'_>> {
        let holds = |at: Place, window: &[u8]| {
            let within = place.offset.checked_sub(at.offset)?;
            let within = usize::try_from(within).ok()?;
            (at.segment == place.segment && within < window.len()).then_some(within)
        };
        let mut offset = match holds(self.at, &self.window) {
            Some(offset) => offset,
            None => self.fill(place)?,
        };
        // A frame that begins near the window's end may go on behind it.
        if offset > 0
            && self.window.len() == WINDOW_BYTES
            && !matches!(frame::read(&self.window, offset), Item::Frame { .. })
        {
            offset = self.fill(place)?;
        }
        Ok(match frame::read(&self.window, offset) {
            Item::Frame { at, frame } => Found::Frame {
                frame,
                next: Place {
                    segment: place.segment,
                    offset: place.offset + (at.end - at.start) as u64,
                },
            },
            Item::End { .. } => Found::End,
            Item::Bad { why, .. } => Found::Bad(why),
        })
    }

    /// Reads anew what may have been written since.
    pub fn forget(&mut self) {
        self.window.clear();
        self.open = None;
    }

    /// Fills the window from a place; the place's index in it.
    fn fill(&mut self, place: Place) -> io::Result<usize> {
        if self
            .open
            .as_ref()
            .is_none_or(|(first, _)| *first != place.segment)
        {
            let file = File::open(self.journal.path(place.segment))?;
            self.open = Some((place.segment, file));
        }
        self.window.resize(WINDOW_BYTES, 0);
        self.at = place;
        let mut filled = 0;
        if let Some((_, file)) = &self.open {
            while let Some(rest) = self
                .window
                .get_mut(filled..)
                .filter(|rest| !rest.is_empty())
            {
                match file.read_at(rest, place.offset + filled as u64) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        self.window.clear();
                        return Err(error);
                    }
                }
            }
        }
        self.window.truncate(filled);
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use faramesh_core::frame::Frame;

    #[test]
    fn frames_that_cross_a_windows_end_are_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path());
        let mut bytes = Vec::new();
        let mut places = Vec::new();
        // Longer than a window in all, and no boundary of a frame is one of a window.
        while bytes.len() < WINDOW_BYTES * 2 + 1 {
            places.push(bytes.len() as u64);
            let note = "x".repeat(1_000_003 + places.len());
            frame::write_note(&mut bytes, &note).unwrap();
        }
        bytes.extend_from_slice(&[0; 100]);
        std::fs::write(journal.path(0), &bytes).unwrap();
        let mut reader = Reader::new(&journal);
        let mut place = Place {
            segment: 0,
            offset: 0,
        };
        let mut seen = Vec::new();
        loop {
            seen.push(place.offset);
            match reader.read(place).unwrap() {
                Found::Frame { frame, next } => {
                    assert!(
                        matches!(frame, Frame::Note(note) if note.len() == 1_000_003 + seen.len())
                    );
                    place = next;
                }
                Found::End => break,
                Found::Bad(why) => panic!("{why} at {place:?}"),
            }
        }
        seen.pop();
        assert_eq!(seen, places);
    }

    #[test]
    fn only_segments_are_taken_for_segments() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "00000000000000000007.seg",
            "00000000000000000000.seg",
            "7.seg",
            "x",
            "tile",
        ] {
            std::fs::write(dir.path().join(name), b"").unwrap();
        }
        assert_eq!(Journal::new(dir.path()).segments().unwrap(), [0, 7]);
    }
}
