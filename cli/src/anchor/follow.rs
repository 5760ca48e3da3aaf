//! The journal's newest checkpoint, and the proof that it extends an older one: read from the files, behind the writer.
//!
//! Invariants: nothing is written and no lock is taken. A note counts only if the log's pinned key signed it; a proof is
//! checked here before it leaves, against a root that the same leaves gave.
#![forbid(unsafe_code)]

use crate::failure::Failure;
use crate::journal::{self, SegmentFile};
use crate::output::Output;
use crate::proofs::Log;
use faramesh_core::checkpoint::{Checkpoint, PublicKey, Verified};
use faramesh_core::frame::{self, Frame, Item};
use faramesh_core::tree::tiles::Plan;
use faramesh_core::tree::{self, Frontier, Hash, Head, empty_root, verify_consistency};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Read at once, bytes: some hundred batches.
const BLOCK_BYTES: usize = 1 << 20;
/// Stands in every attestation's record and, because quotes are escaped in texts, in no other.
const ATTESTATION: &[u8] = b"\"kind\":\"attestation\"";

/// A checkpoint of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// What the log signed.
    pub checkpoint: Verified<Checkpoint>,
    /// Its note, as it lies in the journal.
    pub note: Vec<u8>,
    /// Behind the last record that is no attestation: where witnesses know as many, nothing is to be done.
    pub worth: u64,
}

impl Newest {
    /// Size and root.
    pub fn head(&self) -> Head {
        self.checkpoint.head
    }
}

/// A place in a journal that grows.
pub struct Follower {
    dir: PathBuf,
    key: PublicKey,
    at: Option<Place>,
    /// The last note, not verified yet, and `worth` there.
    last: Option<(Vec<u8>, u64)>,
    worth: u64,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    /// The segment, by its first record.
    segment: u64,
    /// Where its next frame begins.
    offset: u64,
    /// The number of the next record.
    seq: u64,
}

impl Place {
    const fn begin(segment: u64) -> Place {
        Place {
            segment,
            offset: 0,
            seq: segment,
        }
    }
}

impl Follower {
    /// Of the journal in `dir`, whose pinned origin key is `key`.
    pub fn new(dir: &Path, key: PublicKey) -> Follower {
        Follower {
            dir: dir.to_owned(),
            key,
            at: None,
            last: None,
            worth: 0,
        }
    }

    /// The journal's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The pinned key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The newest checkpoint; `None` where there is none yet.
    ///
    /// # Errors
    /// The journal cannot be read, or the checkpoint is not the log's.
    pub fn newest(&mut self) -> Result<Option<Newest>, Failure> {
        self.catch_up()?;
        let Some((note, worth)) = &self.last else {
            return Ok(None);
        };
        let checkpoint = self.key.open::<Checkpoint>(note).map_err(|e| {
            Failure::data(format!(
                "the newest checkpoint in `{}` is not of the pinned log key: {e}",
                self.dir.display()
            ))
            .next("run `faramesh audit verify`")
        })?;
        Ok(Some(Newest {
            checkpoint,
            note: note.clone(),
            worth: *worth,
        }))
    }

    fn catch_up(&mut self) -> Result<(), Failure> {
        let segments = journal::segments(&self.dir)?;
        let find = |first: u64| segments.iter().find(|segment| segment.first == first);
        if self.at.is_none_or(|at| find(at.segment).is_none()) {
            self.begin(&segments)?;
        }
        while let Some(at) = self.at
            && let Some(segment) = find(at.segment)
        {
            let at = self.read(segment, at)?;
            self.at = Some(at);
            // The next segment begins with the record that is due here.
            if at.seq == at.segment || find(at.seq).is_none() {
                break;
            }
            self.at = Some(Place::begin(at.seq));
        }
        Ok(())
    }

    /// From the last segment that has a note: what lies before it is older.
    fn begin(&mut self, segments: &[SegmentFile]) -> Result<(), Failure> {
        self.at = None;
        self.last = None;
        for segment in segments.iter().rev() {
            self.worth = segment.first;
            let at = self.read(segment, Place::begin(segment.first))?;
            self.at = Some(at);
            if self.last.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Reads the frames of a segment from a place on; tells where it stopped.
    fn read(&mut self, segment: &SegmentFile, mut place: Place) -> Result<Place, Failure> {
        let unreadable = |e: io::Error| Failure::io("read", &segment.path, &e);
        let file = File::open(&segment.path).map_err(unreadable)?;
        let mut wanted = BLOCK_BYTES;
        loop {
            let mut block = vec![0; wanted];
            let read = read_at(&file, &mut block, place.offset).map_err(unreadable)?;
            block.truncate(read);
            let mut at = 0;
            while let Item::Frame { at: range, frame } = frame::read(&block, at) {
                match frame {
                    Frame::Record(stored) => {
                        if !is_attestation(stored.record) {
                            self.worth = place.seq + 1;
                        }
                        place.seq += 1;
                    }
                    Frame::Note(note) => self.last = Some((note.to_vec(), self.worth)),
                }
                at = range.end;
            }
            place.offset += at as u64;
            let longest = frame::HEADER_LEN + frame::PAYLOAD_MAX;
            match at {
                // A frame that is longer than the block; or the end, or a frame that is being written.
                0 if read == wanted && wanted < longest => wanted = longest,
                0 => return Ok(place),
                _ => wanted = BLOCK_BYTES,
            }
        }
    }
}

fn is_attestation(record: &[u8]) -> bool {
    record
        .windows(ATTESTATION.len())
        .any(|window| window == ATTESTATION)
}

fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// What the journal's first `old` records hash to, and the proof that `new` extends them: from hash tiles, and where there
/// are none from the records.
///
/// # Errors
/// The journal cannot be read, or does not lead to `new`.
pub fn consistency(
    dir: &Path,
    old: u64,
    new: &Head,
    output: &Output,
) -> Result<(Head, Vec<Hash>), Failure> {
    if old == new.size {
        return Ok((*new, Vec::new()));
    }
    if old == 0 {
        let empty = Head {
            size: 0,
            root: empty_root(),
        };
        return Ok((empty, Vec::new()));
    }
    let impossible = |e: tree::Error| Failure::internal(format!("no proof from {old}: {e}"));
    let log = Log::open(dir)?;
    let plan = Plan::frontier(old).map_err(impossible)?;
    // Not proven yet: a wrong frontier makes a root from which the proof below does not hold.
    let nodes = log.prove(&plan, new, |_| true, output)?.hashes;
    let frontier = Frontier::from_parts(old, nodes).map_err(impossible)?;
    let before = Head {
        size: old,
        root: frontier.root(),
    };
    let plan = Plan::consistency(old, new.size).map_err(impossible)?;
    let holds = |proof: &[Hash]| verify_consistency(&before, new, proof).is_ok();
    let proof = log.prove(&plan, new, holds, output)?;
    Ok((before, proof.hashes))
}
