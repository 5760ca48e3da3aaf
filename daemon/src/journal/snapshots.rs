//! Snapshot files: `snapshots/<size>.snap` in the journal's directory, one a sealed segment, of the place where the next
//! one begins.
//!
//! The order, and what a crash leaves between two steps:
//!
//! 1. the file is written under a temporary name, fsynced, renamed, and the directory is fsynced: nothing, or a temporary
//!    file that nobody reads, or a whole file that no record vouches for and a start passes over;
//! 2. a `snapshot` record with its digest becomes durable: from here a start may use it;
//! 3. older files are removed, all but the newest [`KEPT`].
//!
//! Invariant: a snapshot only saves time. One that is missing, damaged, of another journal or not recorded is passed over,
//! and what a start comes to is the same.
#![forbid(unsafe_code)]

use faramesh_core::recover::Recovery;
use faramesh_core::state::{Point, SNAPSHOT_BYTES_MAX, SealedSegment, Snapshot};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where they lie, below the journal's directory.
pub const DIRECTORY: &str = "snapshots";
/// What a snapshot's name ends with, and one that is being written.
const SUFFIX: &str = ".snap";
const TEMPORARY: &str = ".tmp";
/// Digits of a name, as a segment's.
const NAME_DIGITS: usize = 20;
/// The newest, one that covers for it while it is being replaced, and one more for a disk that loses a block. Whoever
/// removes bodies of records keeps those that one of these begins behind.
pub const KEPT: usize = 3;

/// The snapshot that is to be written next. A newer one takes an older one's place.
#[derive(Debug, Default)]
pub(crate) struct Due {
    next: Mutex<Option<Box<Snapshot>>>,
    /// Files that are no good, by their sizes.
    pub(crate) bad: Vec<u64>,
}

impl Due {
    /// What a start has found.
    pub(crate) fn new(next: Option<Snapshot>, bad: Vec<u64>) -> Due {
        let next = Mutex::new(next.map(Box::new));
        Due { next, bad }
    }

    pub(crate) fn put(&self, snapshot: Snapshot) {
        *self.next() = Some(Box::new(snapshot));
    }

    /// What is due, once.
    pub(crate) fn take(&self) -> Option<Box<Snapshot>> {
        self.next().take()
    }

    /// Undoes [`Due::take`], unless a newer one came meanwhile.
    pub(crate) fn put_back(&self, snapshot: Box<Snapshot>) {
        self.next().get_or_insert(snapshot);
    }

    fn next(&self) -> MutexGuard<'_, Option<Box<Snapshot>>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The snapshot of a place where a segment begins. `segments` are all before it, in order; those whose bodies were removed
/// are not missed by a later start.
pub(crate) fn of(origin: &str, point: Point, segments: &[SealedSegment]) -> Snapshot {
    let (size, removed) = (point.frontier.size(), point.state.removed());
    let ends = segments.iter().skip(1).map(|next| next.first);
    let there = segments.iter().zip(ends.chain([size]));
    let segments = there
        .filter(|(segment, end)| segment.first < size && *end > removed)
        .map(|(segment, _)| *segment)
        .collect();
    Snapshot {
        origin: origin.to_owned(),
        point,
        segments,
    }
}

/// What a start has found of a snapshot that is due: the beginning of the last segment, where it did not begin there.
pub(crate) fn due_after(
    recovery: &Recovery,
    origin: &str,
    segments: &[SealedSegment],
) -> Option<Snapshot> {
    let point = recovery.last_beginning.clone()?;
    let size = point.frontier.size();
    let before: Vec<_> = segments
        .iter()
        .copied()
        .filter(|segment| segment.first < size)
        .collect();
    Some(of(origin, point, &before))
}

/// The name of the snapshot of the first `size` records, below the journal's directory.
#[must_use]
pub fn name(size: u64) -> String {
    format!("{DIRECTORY}/{size:0NAME_DIGITS$}{SUFFIX}")
}

/// Its path.
#[must_use]
pub fn path(journal: &Path, size: u64) -> PathBuf {
    journal.join(name(size))
}

/// The sizes of the snapshots that are there, rising. Other files are passed over.
///
/// # Errors
/// As `readdir`; a directory that is not there is empty.
pub fn list(journal: &Path) -> io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(journal.join(DIRECTORY)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut sizes = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let size = name
            .to_str()
            .and_then(|name| name.strip_suffix(SUFFIX))
            .filter(|digits| digits.len() == NAME_DIGITS)
            .and_then(|digits| digits.parse::<u64>().ok());
        sizes.extend(size);
    }
    sizes.sort_unstable();
    Ok(sizes)
}

/// The bytes of the snapshot of the first `size` records.
///
/// # Errors
/// As `open` and `read`; where it is larger than one can be.
pub fn read(journal: &Path, size: u64) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path(journal, size))?;
    let mut bytes = Vec::new();
    file.take(SNAPSHOT_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)?;
    match bytes.len() > SNAPSHOT_BYTES_MAX {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(bytes),
    }
}

/// Removes all but the newest [`KEPT`] up to `newest`, which is good; what lies above it or is named in `bad` is no good
/// to anybody. One of size `beginning` stays: where the journal's first records were removed, it has the edge of their tree.
///
/// # Errors
/// As `unlink`; the next time does it.
pub fn prune(journal: &Path, newest: u64, bad: &[u64], beginning: u64) -> io::Result<()> {
    let (good, rest): (Vec<u64>, Vec<u64>) = list(journal)?
        .into_iter()
        .partition(|size| *size == newest || (*size < newest && !bad.contains(size)));
    let older = good
        .iter()
        .rev()
        .skip(KEPT)
        .filter(|size| **size != beginning);
    for size in rest.iter().chain(older) {
        std::fs::remove_file(path(journal, *size))?;
    }
    for entry in std::fs::read_dir(journal.join(DIRECTORY))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(TEMPORARY) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use faramesh_core::record::{Body, LogEvent, Removal, Time};

    #[test]
    fn the_newest_good_ones_are_kept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(DIRECTORY)).unwrap();
        for size in [10, 20, 30, 40, 50, 60] {
            std::fs::write(path(dir.path(), size), b"").unwrap();
        }
        std::fs::write(dir.path().join(DIRECTORY).join("70.tmp"), b"torn").unwrap();
        prune(dir.path(), 50, &[30, 50], 10).unwrap();
        assert_eq!(list(dir.path()).unwrap(), [10, 20, 40, 50]);
        prune(dir.path(), 50, &[], 0).unwrap();
        assert_eq!(list(dir.path()).unwrap(), [20, 40, 50]);
        let left = std::fs::read_dir(dir.path().join(DIRECTORY)).unwrap();
        assert_eq!(left.count(), KEPT);
    }

    #[test]
    fn segments_whose_bodies_were_removed_are_not_missed() {
        let mut point = Point::default();
        let time = Time {
            wall_ms: 0,
            boot_ms: 0,
        };
        for seq in 0..30_u8 {
            let body = match seq {
                25 => LogEvent::Removal(Removal {
                    from: 0,
                    to: 10,
                    in_force: None,
                    reason: "retention".into(),
                }),
                _ => LogEvent::Heartbeat,
            };
            let taken = point.state.apply(seq.into(), time, &Body::Log(body));
            assert_eq!(taken, Ok(()));
            point.frontier.push([seq; 32]).unwrap();
        }
        let sealed = |first| SealedSegment { first, bytes: 1 };
        let found = of("x", point, &[sealed(0), sealed(10), sealed(20)]);
        assert_eq!(found.segments, [sealed(10), sealed(20)]);
    }
}
