//! Reading a journal's segments with as many threads as there are cores, and judging them in their order.
//!
//! Invariants: nothing is written. At most one segment more than there are threads is in memory, however long the journal
//! is. What is found does not depend on the number of threads.
#![forbid(unsafe_code)]

use crate::failure::Failure;
use crate::journal::SegmentFile;
use faramesh_core::frame::{self, Frame, Item};
use faramesh_core::verify::{Options, Piece, Scanned, Verifier, scan};
use faramesh_daemon::config::SEGMENT_BYTES;
use indicatif::ProgressBar;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};

/// A segment, or the end of one.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) segment: &'a SegmentFile,
    /// Where in it to begin.
    pub(super) from: u64,
    /// Whether the daemon may be writing it.
    pub(super) live: bool,
}

type Read1 = Result<(Vec<u8>, Scanned), Failure>;

/// Gives every part to the verifier, in order.
///
/// # Errors
/// A segment cannot be read.
pub(super) fn read(
    parts: &[Part<'_>],
    options: &Options,
    verifier: &mut Verifier,
    progress: &ProgressBar,
) -> Result<(), Failure> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let turn = Turn::default();
    std::thread::scope(|scope| {
        let (send, receive) = mpsc::channel::<(usize, Read1)>();
        for _ in 0..threads.min(parts.len()) {
            let send = send.clone();
            scope.spawn(|| {
                let send = send;
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(part) = parts.get(index) else { return };
                    if !turn.wait(index, threads) || send.send((index, one(part, options))).is_err()
                    {
                        return;
                    }
                }
            });
        }
        drop(send);
        let mut early = BTreeMap::new();
        let mut merged = 0;
        for (index, read) in receive {
            early.insert(index, read);
            while let (Some(read), Some(part)) = (early.remove(&merged), parts.get(merged)) {
                let (bytes, scanned) = match read {
                    Ok(read) => read,
                    Err(failure) => {
                        turn.give_up();
                        return Err(failure);
                    }
                };
                let piece = Piece {
                    first: part.segment.first,
                    from: usize::try_from(part.from).unwrap_or(usize::MAX),
                    bytes: &bytes,
                };
                verifier.merge(&piece, scanned);
                progress.inc(bytes.len() as u64);
                merged += 1;
                turn.advance(merged);
            }
        }
        Ok(())
    })
}

fn one(part: &Part<'_>, options: &Options) -> Read1 {
    let mut bytes = bytes_from(&part.segment.path, part.from)?;
    if part.live {
        bytes.truncate(settled_len(&bytes));
    }
    let scanned = scan(&bytes, options);
    Ok((bytes, scanned))
}

/// A file from a byte on.
///
/// # Errors
/// It cannot be read, or is larger than a segment can be.
pub(super) fn bytes_from(path: &Path, from: u64) -> Result<Vec<u8>, Failure> {
    let read = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(SEGMENT_BYTES.1 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|e| Failure::io("read", path, &e))?;
    if bytes.len() as u64 > SEGMENT_BYTES.1 {
        return Err(Failure::data(format!(
            "`{}` is larger than {} bytes",
            path.display(),
            SEGMENT_BYTES.1
        )));
    }
    Ok(bytes)
}

/// How far the judging is: who would run too far ahead waits.
#[derive(Debug, Default)]
struct Turn {
    merged: Mutex<usize>,
    moved: Condvar,
}

impl Turn {
    /// Until the segment with this index may be read; false where nothing more is wanted.
    fn wait(&self, index: usize, threads: usize) -> bool {
        let merged = self.merged.lock().unwrap_or_else(PoisonError::into_inner);
        let merged = self
            .moved
            .wait_while(merged, |merged| index > merged.saturating_add(threads))
            .unwrap_or_else(PoisonError::into_inner);
        *merged != usize::MAX
    }

    fn advance(&self, merged: usize) {
        *self.merged.lock().unwrap_or_else(PoisonError::into_inner) = merged;
        self.moved.notify_all();
    }

    fn give_up(&self) {
        self.advance(usize::MAX);
    }
}

/// How much of a segment that is being written is finished: up to its last note. Where something stands behind
/// damage, that is no write under way, and nothing is left out.
fn settled_len(bytes: &[u8]) -> usize {
    let (mut offset, mut settled) = (0, 0);
    loop {
        match frame::read(bytes, offset) {
            Item::Frame { at, frame } => {
                offset = at.end;
                if let Frame::Note(_) = frame {
                    settled = offset;
                }
            }
            Item::End { .. } => return settled,
            Item::Bad { offset, .. } => {
                return if frame::resync(bytes, offset).is_some() {
                    bytes.len()
                } else {
                    settled
                };
            }
        }
    }
}
