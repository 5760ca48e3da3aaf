//! Start: lock, ask the signer, judge, adopt, cut.
//!
//! The judging is the core's ([`faramesh_core::recover`]) and comes before the first write. It reads from the newest
//! snapshot that can be believed: one segment as a rule. One that cannot is passed over with a warning; in the end the
//! journal is read from its beginning. One segment at a time is in memory.
//!
//! Then, in this order, and safe to be repeated after a crash at any point: what was found is made durable
//! ([`super::settle`]); the signer adopts a note of its own that is ahead of its head (so that nothing it covers can be cut
//! afterwards); what lies behind the last note becomes zeros, durably. Nobody else writes meanwhile: the journal is locked
//! for as long as the [`Lock`] lives.
//!
//! Segments before a snapshot are not read, only missed where one is gone or ends too early: what is in them is for
//! `audit verify`.
#![forbid(unsafe_code)]

use super::segment::{self, Disk, SegmentFile};
use super::settle::settle;
use super::signer_client::{EpochKey, SignerClient, SignerFault, SignerHead};
use super::snapshots;
use faramesh_core::checkpoint::{EpochKeys, LogKey};
use faramesh_core::frame;
use faramesh_core::recover::{Halt, Recovery, Segment, Walk};
use faramesh_core::state::{Point, SealedSegment, Snapshot};
use faramesh_core::tree::Head;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Zeros are written in blocks of this size, bytes.
const ZERO_BYTES: usize = 64 * 1024;

/// Why the journal cannot be gone on with. Nothing was changed on disk, except where it says so.
#[derive(Debug, thiserror::Error)]
pub enum NotRecovered {
    /// Another daemon writes it.
    #[error("`{}` is locked: another farameshd runs on this journal", path.display())]
    Locked {
        /// The journal's directory.
        path: PathBuf,
    },
    /// The file system says no.
    #[error("journal `{}`: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The signer is not there, or says no.
    #[error(transparent)]
    Signer(#[from] SignerFault),
    /// The signer holds another key than the one that is pinned.
    #[error(
        "the signer is `{found}` with another key than `log.pub` pins for `{pinned}`: start the signer of this stack, or apply again with the right one"
    )]
    AnotherSigner {
        /// What it says it is.
        found: String,
        /// What is pinned.
        pinned: String,
    },
    /// The signer signs with the key of another epoch than the journal is in.
    #[error(
        "the journal is in epoch {journal} and the signer in epoch {signer}, or with another key of it: \
         their states are not of one time; restore the one that is older"
    )]
    AnotherEpoch {
        /// By the journal's last `epoch` record.
        journal: u64,
        /// By its own word.
        signer: u64,
    },
    /// The journal's bytes do not allow it.
    #[error("{0}")]
    Halt(#[from] Halt),
    /// A segment before the snapshot that the start rests on is gone or shorter than it was.
    #[error(
        "segment `{first:020}.seg` {what}, and no `removal` record accounts for it; restore it from a copy"
    )]
    Segment {
        /// Its first record.
        first: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The first segments are gone, as after a removal, and no snapshot can be believed that begins behind them.
    #[error(
        "the journal begins with record {first} and no snapshot says what was before: {why}; restore `snapshots/` from a copy"
    )]
    NoBeginning {
        /// The first record that is there.
        first: u64,
        /// What became of the snapshots.
        why: String,
    },
}

impl NotRecovered {
    /// As sysexits: 65 for damage, 69 for what may be there later, 78 for what an operator has to configure.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            NotRecovered::Locked { .. }
            | NotRecovered::Io { .. }
            | NotRecovered::Signer(SignerFault::Gone(_)) => 69,
            NotRecovered::AnotherSigner { .. } => 78,
            NotRecovered::Signer(_)
            | NotRecovered::AnotherEpoch { .. }
            | NotRecovered::Halt(_)
            | NotRecovered::Segment { .. }
            | NotRecovered::NoBeginning { .. } => 65,
        }
    }
}

/// The journal's lock, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// The file that is locked, in the journal's directory. Its owner alone can open it: whoever may read the journal must
/// not be able to hold the lock and so keep a daemon from starting.
pub const LOCK: &str = "lock";

impl Lock {
    /// Takes the lock on the journal in `dir`.
    ///
    /// # Errors
    /// [`NotRecovered::Locked`] where somebody has it.
    pub fn take(dir: &Path) -> Result<Lock, NotRecovered> {
        let path = dir.join(LOCK);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(at(&path))?;
        let (meta, owner) = file
            .metadata()
            .and_then(|meta| Ok((meta, std::fs::metadata(dir)?)))
            .map_err(at(&path))?;
        if meta.uid() != owner.uid() && rustix::process::geteuid().is_root() {
            // Root mends a journal for the user that it belongs to, who has to be able to open the lock afterwards.
            std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()))
                .map_err(at(&path))?;
        }
        if !meta.is_file() || meta.mode() & 0o077 != 0 {
            let why = "is open to others: remove it while no daemon runs";
            return Err(at(&path)(io::Error::other(why)));
        }
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(NotRecovered::Locked {
                path: dir.to_path_buf(),
            }),
            Err(error) => Err(at(&path)(error.into())),
        }
    }
}

/// What the engine goes on from.
pub struct Recovered {
    /// What every record comes to.
    pub point: Point,
    /// The segment to write, its size, and where its next frame goes.
    pub segment: Box<dyn SegmentFile>,
    /// Its size, bytes.
    pub segment_bytes: u64,
    /// Where its next frame goes.
    pub offset: u64,
    /// Every segment up to the one to write, in order.
    pub segments: Vec<SealedSegment>,
    /// Bytes of a torn tail that were cut.
    pub cut_bytes: u64,
    /// A snapshot that is to be written: a later start begins there.
    pub due: Option<Snapshot>,
    /// Snapshots that are no good, by their sizes.
    pub bad_snapshots: Vec<u64>,
    /// What an operator should know, one sentence each.
    pub warnings: Vec<String>,
    /// The keys that are due at the end of the journal; the signer has them.
    pub keys: EpochKeys,
    /// The conversation, past its hello.
    pub signer: SignerClient,
}

/// Recovers the journal in `dir`, which the caller has locked.
///
/// # Errors
/// [`NotRecovered`].
pub fn recover(
    dir: &Path,
    disk: &dyn Disk,
    segment_bytes: u64,
    key: &LogKey,
    mut signer: SignerClient,
) -> Result<Recovered, NotRecovered> {
    let greeting = signer.hello()?;
    check_signer(&greeting, key)?;
    let head = Head {
        size: greeting.size,
        root: greeting.root,
    };
    let files = list(dir)?;
    let Judged {
        walked,
        recovery,
        bad_snapshots,
        warnings,
    } = judge(dir, &files, &head, key)?;
    disk.sync_names().map_err(at(dir))?;
    if let Some(adopt) = recovery.adopt.clone() {
        let last = recovery.keep.and_then(|keep| {
            let file = walked.get(keep.segment)?;
            Some((file.sealed.first, keep.offset))
        });
        if let Some((last, end)) = last {
            settle(dir, disk, adopt.from_size, last, end).map_err(at(dir))?;
        }
        signer.adopt(adopt.note, adopt.from_size, &adopt.leaf_hashes)?;
    }
    settle_epoch(&mut signer, greeting.epoch, &recovery.keys)?;
    cut(dir, disk, walked, &recovery)?;
    let (first, offset) = place(dir, walked, &recovery)?;
    let size = recovery.point.frontier.size();
    let segment = match first {
        Some(first) => disk.open(first),
        None => disk
            .prepare(segment_bytes)
            .and_then(|()| disk.install(size)),
    };
    let segment = segment.map_err(at(dir))?;
    let segment_bytes = segment.size().map_err(at(dir))?;
    let first = first.unwrap_or(size);
    let mut segments: Vec<SealedSegment> = files
        .into_iter()
        .map(|file| file.sealed)
        .take_while(|segment| segment.first < first)
        .collect();
    segments.push(SealedSegment {
        first,
        bytes: segment_bytes,
    });
    Ok(Recovered {
        segment_bytes,
        segment,
        offset,
        due: snapshots::due_after(&recovery, key.name().as_str(), &segments),
        segments,
        cut_bytes: recovery.cut_bytes,
        point: recovery.point,
        keys: recovery.keys,
        bad_snapshots,
        warnings,
        signer,
    })
}

/// The journal decides which epoch it is: a signer that was ended between the record and the switch is told now. It has no
/// unconfirmed head, and everything that the journal keeps is its confirmed one.
fn settle_epoch(
    signer: &mut SignerClient,
    theirs: EpochKey,
    ours: &EpochKeys,
) -> Result<(), NotRecovered> {
    let due = EpochKey {
        number: ours.number(),
        public_key: *ours.current().as_bytes(),
    };
    if theirs == due {
        return Ok(());
    }
    if theirs.number.checked_add(1) == Some(due.number) {
        signer.switch_epoch(&due)?;
        return Ok(());
    }
    Err(NotRecovered::AnotherEpoch {
        journal: due.number,
        signer: theirs.number,
    })
}

fn check_signer(head: &SignerHead, key: &LogKey) -> Result<(), NotRecovered> {
    if head.origin == key.name().as_str() && head.public_key == *key.origin().as_bytes() {
        return Ok(());
    }
    Err(NotRecovered::AnotherSigner {
        found: head.origin.clone(),
        pinned: key.name().to_string(),
    })
}

/// A segment's file, not read.
struct SegmentName {
    sealed: SealedSegment,
    name: String,
}

impl SegmentName {
    fn read(&self, dir: &Path) -> Result<Vec<u8>, NotRecovered> {
        let path = dir.join(&self.name);
        std::fs::read(&path).map_err(at(&path))
    }
}

fn list(dir: &Path) -> Result<Vec<SegmentName>, NotRecovered> {
    let mut files = Vec::new();
    for first in segment::list(dir).map_err(at(dir))? {
        let path = segment::segment_path(dir, first);
        let bytes = std::fs::symlink_metadata(&path).map_err(at(&path))?.len();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        files.push(SegmentName {
            sealed: SealedSegment { first, bytes },
            name: name.into_owned(),
        });
    }
    Ok(files)
}

/// What was found before anything was changed.
struct Judged<'f> {
    /// The segments that were walked.
    walked: &'f [SegmentName],
    recovery: Recovery,
    bad_snapshots: Vec<u64>,
    warnings: Vec<String>,
}

fn judge<'f>(
    dir: &Path,
    files: &'f [SegmentName],
    head: &Head,
    key: &LogKey,
) -> Result<Judged<'f>, NotRecovered> {
    let mut warnings = Vec::new();
    let mut bad_snapshots = Vec::new();
    let sizes = snapshots::list(dir).unwrap_or_else(|error| {
        warnings.push(format!("snapshots cannot be read: {error}"));
        Vec::new()
    });
    for size in sizes.into_iter().rev() {
        // The signer may be a second behind, and has to be shown every leaf from its head on: an older one leads there.
        if size > head.size {
            continue;
        }
        match from_snapshot(dir, files, size, head, key) {
            Ok((walked, recovery)) => {
                return Ok(Judged {
                    walked,
                    recovery,
                    bad_snapshots,
                    warnings,
                });
            }
            Err(NotFromSnapshot::PassedOver(why)) => {
                tracing::warn!(size, why, "a snapshot is passed over");
                warnings.push(format!(
                    "the snapshot of {size} records is passed over: {why}"
                ));
                bad_snapshots.push(size);
            }
            Err(NotFromSnapshot::Halt(halt)) => return Err(halt),
        }
    }
    if let Some(first) = files.first().map(|file| file.sealed.first)
        && first > 0
        && head.size > first
    {
        let why = match warnings.is_empty() {
            true => "there is none".to_owned(),
            false => warnings.join("; "),
        };
        return Err(NotRecovered::NoBeginning { first, why });
    }
    let mut walk = Walk::from(Point::default(), *head, key)?;
    for file in files {
        walk_over(&mut walk, dir, file)??;
    }
    Ok(Judged {
        walked: files,
        recovery: walk.finish()?,
        bad_snapshots,
        warnings,
    })
}

/// The next segment, which is in memory for so long only.
fn walk_over(
    walk: &mut Walk,
    dir: &Path,
    file: &SegmentName,
) -> Result<Result<(), Halt>, NotRecovered> {
    let bytes = file.read(dir)?;
    Ok(walk.segment(&Segment {
        name: &file.name,
        first: file.sealed.first,
        bytes: &bytes,
    }))
}

/// Why a start does not begin at a snapshot.
enum NotFromSnapshot {
    /// It is no good; something older may be.
    PassedOver(String),
    /// Whatever the snapshot: the journal cannot be gone on with.
    Halt(NotRecovered),
}

impl<T: Into<NotRecovered>> From<T> for NotFromSnapshot {
    fn from(error: T) -> NotFromSnapshot {
        NotFromSnapshot::Halt(error.into())
    }
}

/// The walk from the snapshot of the first `size` records. It is believed where it ends well and what it kept holds a
/// record with the snapshot's digest: that record lies under the signer's head, so the daemon wrote it, about this file.
fn from_snapshot<'f>(
    dir: &Path,
    files: &'f [SegmentName],
    size: u64,
    head: &Head,
    key: &LogKey,
) -> Result<(&'f [SegmentName], Recovery), NotFromSnapshot> {
    let passed_over = |why: &dyn std::fmt::Display| NotFromSnapshot::PassedOver(why.to_string());
    let begins = files.iter().position(|file| file.sealed.first == size);
    let (older, walked) = begins
        .and_then(|begins| files.split_at_checked(begins))
        .ok_or_else(|| passed_over(&"no segment begins there"))?;
    let bytes = snapshots::read(dir, size).map_err(|error| passed_over(&error))?;
    let snapshot = Snapshot::decode(&bytes).map_err(|error| passed_over(&error))?;
    let digest = Snapshot::digest(&bytes);
    if snapshot.origin != key.name().as_str() {
        return Err(passed_over(&"it is of another journal"));
    }
    if snapshot.point.frontier.size() != size {
        return Err(passed_over(&"it is of another place than its name says"));
    }
    let mut walk = Walk::from(snapshot.point, *head, key).map_err(|halt| passed_over(&halt))?;
    for file in walked {
        if let Err(halt) = walk_over(&mut walk, dir, file)? {
            return Err(match walk.may_be_the_points_fault(&halt) {
                true => passed_over(&halt),
                false => halt.into(),
            });
        }
    }
    let recovery = walk.finish()?;
    match recovery.snapshots.get(&size) {
        None => return Err(passed_over(&"no record behind it names it")),
        Some(recorded) if *recorded != digest => {
            return Err(passed_over(&"it is not the one that was recorded"));
        }
        Some(_) => {}
    }
    check_older(dir, older, &snapshot.segments, &recovery)?;
    Ok((walked, recovery))
}

/// What lies before the place that was begun at is there as it was when the snapshot was taken, or was removed.
fn check_older(
    dir: &Path,
    older: &[SegmentName],
    expected: &[SealedSegment],
    recovery: &Recovery,
) -> Result<(), NotRecovered> {
    let removed = recovery.point.state.removed();
    let wrong = |first, what: &str| NotRecovered::Segment {
        first,
        what: what.to_owned(),
    };
    for (index, segment) in expected.iter().enumerate() {
        let next = expected.get(index + 1).map(|next| next.first);
        // The last one ends where the snapshot begins, and nobody removes that.
        let gone = next.is_some_and(|next| next <= removed);
        let found = older.iter().find(|file| file.sealed.first == segment.first);
        match found {
            Some(file) if file.sealed.bytes < segment.bytes && !gone => {
                return Err(wrong(segment.first, "is shorter than it was"));
            }
            None if !gone => return Err(wrong(segment.first, "is missing")),
            _ => {}
        }
    }
    for file in older {
        let first = file.sealed.first;
        let known = expected.iter().any(|segment| segment.first == first);
        if !known && first >= removed && frame::written_len(&file.read(dir)?) > 0 {
            return Err(wrong(first, "was not there when the snapshot was taken"));
        }
    }
    Ok(())
}

/// Makes everything behind the last note zeros, durably. Frames go from the last byte to the first, so that a crash in
/// between leaves a shorter torn tail and never a hole with something valid behind it.
fn cut(
    dir: &Path,
    disk: &dyn Disk,
    walked: &[SegmentName],
    recovery: &Recovery,
) -> Result<(), NotRecovered> {
    if recovery.cut_bytes == 0 {
        return Ok(());
    }
    let keep = recovery.keep.unwrap_or_default();
    let written = walked.iter().zip(&recovery.written);
    for (index, (file, to)) in written.enumerate().skip(keep.segment).rev() {
        let from = if index == keep.segment {
            keep.offset
        } else {
            0
        };
        if *to <= from {
            continue;
        }
        let path = segment::segment_path(dir, file.sealed.first);
        let open = disk.open(file.sealed.first).map_err(at(&path))?;
        let zeros = vec![0; ZERO_BYTES];
        let mut end = *to;
        while end > from {
            let begin = end.saturating_sub(ZERO_BYTES).max(from);
            let block = zeros.get(..end - begin).unwrap_or(&zeros);
            open.write_at(block, begin as u64).map_err(at(&path))?;
            end = begin;
        }
        open.sync().map_err(at(&path))?;
    }
    Ok(())
}

/// The segment to write (`None`: a first one has to be made) and where. A segment behind the last note that is empty is
/// the one that had just been begun; one under a name that is no longer due holds nothing and is removed.
fn place(
    dir: &Path,
    walked: &[SegmentName],
    recovery: &Recovery,
) -> Result<(Option<u64>, u64), NotRecovered> {
    let size = recovery.point.frontier.size();
    let behind = recovery.keep.map_or(0, |keep| keep.segment + 1);
    let mut begun = None;
    for file in walked.iter().skip(behind) {
        if file.sealed.first == size {
            begun = Some(file.sealed.first);
        } else {
            let path = segment::segment_path(dir, file.sealed.first);
            std::fs::remove_file(&path).map_err(at(&path))?;
        }
    }
    if begun.is_some() {
        return Ok((begun, 0));
    }
    let kept = recovery.keep.and_then(|keep| {
        let file = walked.get(keep.segment)?;
        Some((file.sealed.first, keep.offset as u64))
    });
    Ok(match kept {
        Some((first, offset)) => (Some(first), offset),
        None => (None, 0),
    })
}

fn at(path: &Path) -> impl Fn(io::Error) -> NotRecovered {
    let path = path.to_path_buf();
    move |source| NotRecovered::Io {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_held_once_and_whoever_may_only_read_the_journal_cannot_open_it() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::take(dir.path()).unwrap();
        let again = Lock::take(dir.path());
        assert!(matches!(again, Err(NotRecovered::Locked { .. })));
        let meta = std::fs::metadata(dir.path().join(LOCK)).unwrap();
        assert_eq!(meta.mode() & 0o7777, 0o600);
        drop(held);
        Lock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_lock_that_others_can_open_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOCK);
        std::fs::write(&path, b"").unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o640);
        std::fs::set_permissions(&path, open).unwrap();
        let refused = Lock::take(dir.path()).unwrap_err();
        assert!(refused.to_string().contains("open to others"), "{refused}");
    }
}
