//! The journal's files, for readers: segments in order, frames in them. Nothing here proves anything; `audit verify` does.
//!
//! Invariants: nothing is written and no lock is taken, because the daemon appends meanwhile: a frame that is not whole
//! yet ends the reading, and what came before it stands. A segment is read into memory once and at most up to the limit
//! that the daemon's configuration has for one.
#![forbid(unsafe_code)]

use crate::failure::Failure;
use crate::files;
use faramesh_core::frame::{self, Frame, Item, StoredRecord};
use faramesh_core::record::{self, BodyView};
use faramesh_daemon::config::SEGMENT_BYTES;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A segment's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFile {
    /// The index of its first leaf, as its name says.
    pub first: u64,
    /// Where it lies.
    pub path: PathBuf,
}

/// A longer journal is not searched for activations: that would take longer than a person who wants a list waits.
const SEARCHED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A journal's segments in order.
///
/// # Errors
/// The directory cannot be read.
pub fn segments(dir: &Path) -> Result<Vec<SegmentFile>, Failure> {
    let unreadable = |e: std::io::Error| {
        let failure = Failure::io("read the journal", dir, &e);
        match e.kind() {
            std::io::ErrorKind::PermissionDenied => failure
                .next("run the command as root, or as a member of the group `faramesh-audit`"),
            _ => failure,
        }
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let first = name
            .strip_suffix(".seg")
            .filter(|digits| digits.len() == 20)
            .and_then(|digits| digits.parse().ok());
        if let Some(first) = first {
            found.push(SegmentFile { first, path });
        }
    }
    found.sort_by_key(|segment| segment.first);
    Ok(found)
}

/// A segment's bytes.
///
/// # Errors
/// It cannot be read, or is larger than one can be.
pub fn read(segment: &SegmentFile) -> Result<Vec<u8>, Failure> {
    files::read_limited(&segment.path, SEGMENT_BYTES.1)?
        .ok_or_else(|| Failure::data(format!("`{}` is gone", segment.path.display())))
}

/// Why a segment could not be read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Byte offset in the segment.
    pub offset: usize,
    /// What stands there.
    pub why: frame::Damage,
}

/// Calls back for every record of a segment with its index, until the callback says to stop.
///
/// # Errors
/// Damage, and where. A frame that the daemon is writing at this moment looks the same.
pub fn records<'a>(
    first: u64,
    bytes: &'a [u8],
    mut each: impl FnMut(u64, StoredRecord<'a>) -> std::ops::ControlFlow<()>,
) -> Result<u64, Stopped> {
    let mut seq = first;
    let mut offset = 0;
    loop {
        match frame::read(bytes, offset) {
            Item::Frame { at, frame } => {
                offset = at.end;
                if let Frame::Record(record) = frame {
                    if each(seq, record).is_break() {
                        return Ok(seq);
                    }
                    seq += 1;
                }
            }
            Item::End { .. } => return Ok(seq),
            Item::Bad { offset, why } => return Err(Stopped { offset, why }),
        }
    }
}

/// One record, copied out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its index.
    pub seq: u64,
    /// Canonical bytes.
    pub record: Vec<u8>,
    /// Canonical detail, or empty.
    pub detail: Vec<u8>,
    /// The salt of the arguments.
    pub args_salt: [u8; 16],
    /// The salt of the detail.
    pub detail_salt: [u8; 16],
}

impl Entry {
    /// Copies a record out of a segment.
    pub fn of(seq: u64, stored: StoredRecord<'_>) -> Entry {
        Entry {
            seq,
            record: stored.record.to_vec(),
            detail: stored.detail.to_vec(),
            args_salt: *stored.args_salt,
            detail_salt: *stored.detail_salt,
        }
    }
}

/// The last records of a journal, oldest first, at most so many.
///
/// # Errors
/// The journal cannot be read. Damage only ends the reading.
pub fn last(dir: &Path, count: u64) -> Result<Vec<Entry>, Failure> {
    let mut kept: std::collections::VecDeque<Entry> = std::collections::VecDeque::new();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut blocks = Vec::new();
    // From the newest segment backwards, until there are enough.
    for segment in segments(dir)?.iter().rev() {
        let bytes = read(segment)?;
        kept.clear();
        let _ = records(segment.first, &bytes, |seq, stored| {
            kept.push_back(Entry::of(seq, stored));
            if kept.len() > count {
                kept.pop_front();
            }
            std::ops::ControlFlow::Continue(())
        });
        blocks.push(Vec::from(std::mem::take(&mut kept)));
        if blocks.iter().map(Vec::len).sum::<usize>() >= count {
            break;
        }
    }
    let mut all: Vec<Entry> = blocks.into_iter().rev().flatten().collect();
    Ok(all.split_off(all.len().saturating_sub(count)))
}

/// The numbers of every policy that came into force, as far as the journal says; `None` where it cannot be read, is
/// damaged or is too long to be searched. Without a journal no daemon ran, and nothing came into force.
pub fn activated(dir: &Path) -> Option<BTreeSet<u64>> {
    if !dir.exists() {
        return Some(BTreeSet::new());
    }
    let segments = segments(dir).ok()?;
    let bytes: u64 = segments
        .iter()
        .map(|segment| std::fs::metadata(&segment.path).map_or(u64::MAX, |found| found.len()))
        .fold(0, u64::saturating_add);
    if bytes > SEARCHED_BYTES_MAX {
        return None;
    }
    let mut numbers = BTreeSet::new();
    for segment in &segments {
        let bytes = read(segment).ok()?;
        // A frame that is not whole ends the last segment while the daemon writes; what came before it counts.
        let _ = records(segment.first, &bytes, |_, stored| {
            let word = b"\"activation\"";
            if stored.record.windows(word.len()).any(|at| at == word)
                && let Ok(view) = record::decode(stored.record)
                && let BodyView::Activation(activation) = view.body
            {
                numbers.insert(activation.number);
            }
            std::ops::ControlFlow::Continue(())
        });
    }
    Some(numbers)
}

/// One record by its index.
///
/// # Errors
/// The journal cannot be read, does not hold it, or is damaged before it.
pub fn one(dir: &Path, wanted: u64) -> Result<Entry, Failure> {
    let all = segments(dir)?;
    let missing = || {
        Failure::data(format!("the journal has no record {wanted}"))
            .next("`faramesh audit tail` shows the last ones")
    };
    let segment = all
        .iter()
        .rev()
        .find(|segment| segment.first <= wanted)
        .ok_or_else(missing)?;
    let bytes = read(segment)?;
    let mut found = None;
    let read = records(segment.first, &bytes, |seq, stored| {
        if seq < wanted {
            return std::ops::ControlFlow::Continue(());
        }
        found = Some(Entry::of(seq, stored));
        std::ops::ControlFlow::Break(())
    });
    match (found, read) {
        (Some(entry), _) => Ok(entry),
        (None, Err(stopped)) => Err(Failure::data(format!(
            "record {wanted} cannot be reached: {} at byte {} of `{}`",
            stopped.why,
            stopped.offset,
            segment.path.display()
        ))
        .next("run `faramesh audit verify`")),
        (None, Ok(_)) => Err(missing()),
    }
}
