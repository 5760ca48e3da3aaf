//! The leaf hashes of sealed segments, read a block at a time.
#![forbid(unsafe_code)]

use super::Failed;
use crate::journal::segment::segment_path;
use faramesh_core::frame::{self, Frame, Item};
use faramesh_core::tree::{Hash, leaf_hash};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Read at once, bytes: hundreds of records. A longer frame is read in one piece.
const BLOCK_BYTES: usize = 1024 * 1024;

/// A sealed segment from its first record on.
pub(crate) struct Segment {
    path: PathBuf,
    file: File,
    /// What is in memory, where that begins in the file, and where the next frame stands in it.
    block: Vec<u8>,
    block_offset: u64,
    at: usize,
    /// The index of the next record.
    next: u64,
}

/// What stands in a segment, as far as the tree is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A record: its index and leaf hash.
    Leaf(u64, Hash),
    /// A note over all records so far, as its text is.
    Note(Vec<u8>),
}

impl Segment {
    /// Opens the segment that begins with record `first`.
    pub(crate) fn open(dir: &Path, first: u64) -> Result<Segment, Failed> {
        Segment::open_file(&segment_path(dir, first), first)
    }

    /// Opens a file that holds the records from `first` on, whatever its name.
    pub(crate) fn open_file(path: &Path, first: u64) -> Result<Segment, Failed> {
        Ok(Segment {
            file: File::open(path).map_err(Failed::at(path))?,
            path: path.to_path_buf(),
            block: Vec::new(),
            block_offset: 0,
            at: 0,
            next: first,
        })
    }

    /// The next entry; `None` at the end of what was written.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, Failed> {
        Ok(self.next_frame()?.map(|(index, frame)| match frame {
            Frame::Record(stored) => Entry::Leaf(index, leaf_hash(stored.record)),
            Frame::Note(note) => Entry::Note(note.to_vec()),
        }))
    }

    /// The next frame, with the index of its record, or of the next one; `None` at the end of what was written. More may
    /// have been written when it is asked again.
    pub(crate) fn next_frame(&mut self) -> Result<Option<(u64, Frame<'_>)>, Failed> {
        let Some(at) = self.find()? else {
            return Ok(None);
        };
        // Once more, because what was found cannot be lent from within a loop that may read.
        let Item::Frame { frame, .. } = frame::read(&self.block, at) else {
            return Ok(None);
        };
        let index = self.next;
        if let Frame::Record(_) = frame {
            self.next += 1;
        }
        Ok(Some((index, frame)))
    }

    /// Where the next frame stands in the block, whole; what is behind it is next.
    fn find(&mut self) -> Result<Option<usize>, Failed> {
        let mut wanted = BLOCK_BYTES;
        loop {
            // A block's end looks like damage or like the segment's end: only a frame is believed before the file's end.
            if let Item::Frame { at, .. } = frame::read(&self.block, self.at) {
                self.at = at.end;
                return Ok(Some(at.start));
            }
            let last = !self.read(wanted)?;
            match frame::read(&self.block, self.at) {
                Item::Frame { .. } => {}
                Item::End { .. } => return Ok(None),
                Item::Bad { offset, why } if last || wanted > frame::PAYLOAD_MAX => {
                    return Err(Failed::Data(format!(
                        "{why} at byte {} of `{}`: run `faramesh audit verify`",
                        self.block_offset + offset as u64,
                        self.path.display()
                    )));
                }
                Item::Bad { .. } => wanted = frame::HEADER_LEN + frame::PAYLOAD_MAX,
            }
        }
    }

    /// Reads a block that begins with the next frame; whether more of the file follows it.
    fn read(&mut self, wanted: usize) -> Result<bool, Failed> {
        self.block_offset += self.at as u64;
        self.at = 0;
        self.block.resize(wanted, 0);
        let mut read = 0;
        while let Some(rest) = self.block.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, self.block_offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failed::at(&self.path)(error)),
            }
        }
        self.block.truncate(read);
        Ok(read == wanted)
    }
}
