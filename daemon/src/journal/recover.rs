//! Start: lock, ask the signer, judge, adopt, cut, fold.
//!
//! The judging is the core's ([`faramesh_core::recover`]) and comes before the first write. Then, in this order, and
//! safe to be repeated after a crash at any point: what was found is made durable ([`super::settle`]); the signer adopts a
//! note of its own that is ahead of its head (so that nothing it covers can be cut afterwards); what lies behind the last
//! note becomes zeros, durably. Nobody else
//! writes meanwhile: the directory is locked for as long as the [`Lock`] lives.
#![forbid(unsafe_code)]

use super::segment::{self, Disk, SegmentFile};
use super::settle::settle;
use super::signer_client::{SignerClient, SignerFault, SignerHead};
use faramesh_core::checkpoint::PublicKey;
use faramesh_core::frame;
use faramesh_core::record::{self, BodyView, Time};
use faramesh_core::recover::{self, Halt, Position, Recovery, Segment};
use faramesh_core::state::{Beside, State};
use faramesh_core::tree::{Frontier, Hash, Head};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io;
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
    /// The journal's bytes do not allow it.
    #[error("{0}")]
    Halt(#[from] Halt),
    /// The records do not make a state.
    #[error(
        "the journal does not fit together at record {seq}: {why}; do not start on it: run `faramesh audit verify`"
    )]
    Fold {
        /// Which record.
        seq: u64,
        /// Why it cannot follow.
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
            NotRecovered::Signer(_) | NotRecovered::Halt(_) | NotRecovered::Fold { .. } => 65,
        }
    }
}

/// The journal's lock, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    _dir: File,
}

impl Lock {
    /// Takes the lock on the journal's directory.
    ///
    /// # Errors
    /// [`NotRecovered::Locked`] where somebody has it.
    pub fn take(dir: &Path) -> Result<Lock, NotRecovered> {
        let file = File::open(dir).map_err(at(dir))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { _dir: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(NotRecovered::Locked {
                path: dir.to_path_buf(),
            }),
            Err(error) => Err(at(dir)(error.into())),
        }
    }
}

/// What the engine goes on from.
pub struct Recovered {
    /// The tree over every record.
    pub frontier: Frontier,
    /// Leaf hash of the last record.
    pub last_leaf: Hash,
    /// The fold over every record.
    pub state: State,
    /// The last record's time and the boot that it belongs to.
    pub last: Option<(Time, String)>,
    /// The segment to write, its size, and where its next frame goes.
    pub segment: Box<dyn SegmentFile>,
    /// Its size, bytes.
    pub segment_bytes: u64,
    /// Where its next frame goes.
    pub offset: u64,
    /// Bytes of a torn tail that were cut.
    pub cut_bytes: u64,
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
    key: &PublicKey,
    mut signer: SignerClient,
) -> Result<Recovered, NotRecovered> {
    let head = signer.hello()?;
    check_signer(&head, key)?;
    let files = read(dir)?;
    let segments: Vec<Segment<'_>> = files.iter().map(SegmentBytes::view).collect();
    let head = Head {
        size: head.size,
        root: head.root,
    };
    let recovery = recover::recover(&segments, &head, key)?;
    let folded = fold(&segments, &recovery)?;
    disk.sync_names().map_err(at(dir))?;
    if let Some(adopt) = recovery.adopt.clone() {
        let last = recovery.keep.and_then(|keep| {
            let file = files.get(keep.segment)?;
            Some((file.first, keep.offset))
        });
        if let Some((last, end)) = last {
            settle(dir, disk, adopt.from_size, last, end).map_err(at(dir))?;
        }
        signer.adopt(adopt.note, adopt.from_size, &adopt.leaf_hashes)?;
    }
    cut(dir, disk, &files, &recovery)?;
    let (first, offset) = place(dir, &files, &recovery)?;
    let segment = match first {
        Some(first) => disk.open(first),
        None => disk
            .prepare(segment_bytes)
            .and_then(|()| disk.install(recovery.frontier.size())),
    };
    let segment = segment.map_err(at(dir))?;
    Ok(Recovered {
        segment_bytes: segment.size().map_err(at(dir))?,
        segment,
        offset,
        cut_bytes: recovery.cut_bytes,
        frontier: recovery.frontier,
        last_leaf: recovery.last_leaf,
        state: folded.state,
        last: folded.last,
        signer,
    })
}

fn check_signer(head: &SignerHead, key: &PublicKey) -> Result<(), NotRecovered> {
    if head.origin == key.name().as_str() && head.public_key == *key.as_bytes() {
        return Ok(());
    }
    Err(NotRecovered::AnotherSigner {
        found: head.origin.clone(),
        pinned: key.name().to_string(),
    })
}

/// A segment in memory.
struct SegmentBytes {
    first: u64,
    name: String,
    bytes: Vec<u8>,
}

impl SegmentBytes {
    fn view(&self) -> Segment<'_> {
        Segment {
            name: &self.name,
            first: self.first,
            bytes: &self.bytes,
        }
    }
}

fn read(dir: &Path) -> Result<Vec<SegmentBytes>, NotRecovered> {
    let mut files = Vec::new();
    for first in segment::list(dir).map_err(at(dir))? {
        let path = segment::segment_path(dir, first);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        files.push(SegmentBytes {
            first,
            name: name.into_owned(),
            bytes: std::fs::read(&path).map_err(at(&path))?,
        });
    }
    Ok(files)
}

/// The fold over what is kept.
struct Folded {
    state: State,
    last: Option<(Time, String)>,
}

fn fold(segments: &[Segment<'_>], recovery: &Recovery) -> Result<Folded, NotRecovered> {
    let mut state = State::new();
    let mut boot_id = String::new();
    let mut last = None;
    for stored in recover::kept_records(segments, recovery.keep) {
        let seq = state.next_seq();
        let broken = |why: String| NotRecovered::Fold { seq, why };
        let view = record::decode(stored.record).map_err(|error| broken(error.to_string()))?;
        state
            .apply_view(
                seq,
                view.header.time,
                &view.body,
                Beside {
                    detail: stored.detail,
                    salt: stored.detail_salt,
                },
            )
            .map_err(|error| broken(error.to_string()))?;
        if let BodyView::Start(start) = view.body {
            boot_id = start.boot_id;
        }
        last = Some(view.header.time);
    }
    Ok(Folded {
        state,
        last: last.map(|time| (time, boot_id)),
    })
}

/// Makes everything behind the last note zeros, durably. Frames go from the last byte to the first, so that a crash in
/// between leaves a shorter torn tail and never a hole with something valid behind it.
fn cut(
    dir: &Path,
    disk: &dyn Disk,
    files: &[SegmentBytes],
    recovery: &Recovery,
) -> Result<(), NotRecovered> {
    if recovery.cut_bytes == 0 {
        return Ok(());
    }
    let keep = recovery.keep.unwrap_or(Position {
        segment: 0,
        offset: 0,
    });
    for (index, file) in files.iter().enumerate().skip(keep.segment).rev() {
        let from = if index == keep.segment {
            keep.offset
        } else {
            0
        };
        let to = frame::written_len(&file.bytes);
        if to <= from {
            continue;
        }
        let path = segment::segment_path(dir, file.first);
        let open = disk.open(file.first).map_err(at(&path))?;
        let zeros = vec![0; ZERO_BYTES];
        let mut end = to;
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
    files: &[SegmentBytes],
    recovery: &Recovery,
) -> Result<(Option<u64>, u64), NotRecovered> {
    let size = recovery.frontier.size();
    let behind = recovery.keep.map_or(0, |keep| keep.segment + 1);
    let mut begun = None;
    for file in files.iter().skip(behind) {
        if file.first == size {
            begun = Some(file.first);
        } else {
            let path = segment::segment_path(dir, file.first);
            std::fs::remove_file(&path).map_err(at(&path))?;
        }
    }
    if begun.is_some() {
        return Ok((begun, 0));
    }
    let kept = recovery.keep.and_then(|keep| {
        let file = files.get(keep.segment)?;
        Some((file.first, keep.offset as u64))
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
