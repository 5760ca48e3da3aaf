//! The state directory: `log.pub`, `log.key`, `epoch-N.key` and `head`.
//!
//! A key file is the 32-byte seed of an Ed25519 key: `log.key` the origin's, `epoch-N.key` that of epoch N; beside the
//! current epoch's there may be the next one's. `log.pub` is what others pin, two lines. `head` is text: a first line with
//! the format, a checksum, the origin, the size, the current epoch, the frontier's nodes as hex, the largest subtree first, and after an
//! empty line the note that signs the head.
//!
//! Invariants:
//! - `log.pub` is written last by `init`: without it, what is there is the remains of an interrupted one, under which nothing
//!   was signed. With it, a key or a head that is missing is a loss, and refused.
//! - What changes, changes by write, fsync, rename, fsync of the directory: after a crash it is the old or the new one.
//! - `head` is never ahead of a confirmed head, and its own note vouches for its tree. Its epoch decides: a key of an epoch
//!   before it is the remains of an interrupted switch and is erased; one beyond the next is damage.
//! - The key of an ended epoch is erased after the head that names the next one is on disk. Erasing is unlinking and an fsync
//!   of the directory: the name is gone for good. Overwriting first would promise more than it does: on a journaling or
//!   copying file system and on flash the old blocks lie elsewhere. Who needs the bytes gone puts the keys in a token, or
//!   the directory on an encrypted volume.
//! - One process at a time: the directory is locked while the state is open.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use faramesh_core::checkpoint::{
    self, Checkpoint, FIRST_EPOCH, KeyName, LogKey, PublicKey, hex, unhex,
};
use faramesh_core::tree::{self, Frontier, Head};
use rustix::fs::{
    AtFlags, Dir, FlockOperation, Mode, OFlags, fchown, flock, fstat, mkdir, open, openat,
    renameat, unlinkat,
};
use zeroize::Zeroizing;

use crate::keys::{self, Pair};
use crate::log::{Keys, Log, Signed};

const PUB: &str = "log.pub";
const KEY: &str = "log.key";
const HEAD: &str = "head";
/// Ends the name of what is being written; nobody reads such a file.
const NEW: &str = ".new";
const FORMAT: &str = "faramesh signer head v2";
/// Before the leaf hash of all lines behind it: of the note's lines only the origin's signature can be checked here.
const CHECK: &str = "check ";
/// Without epochs.
const OLD_FORMAT: &str = "faramesh signer head v1";

/// 64 nodes of 65 bytes, the note and the lines around them.
const HEAD_BYTES_MAX: u64 = 4 * 1024 + checkpoint::NOTE_BYTES_MAX as u64;
/// Two lines of a name, an id and a key.
const PUB_BYTES_MAX: u64 = 1024;

/// What is wrong with the state, by what an operator does about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not what it should be: nothing is guessed.
    #[error(
        "the signer's state in `{path}` is damaged: {why}; restore it from a copy, and never start over beside an existing journal"
    )]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// No key yet.
    #[error("`{0}` holds no log key: run `faramesh-signer init` for this stack first")]
    NoKey(PathBuf),
    /// Made by a version that knew no epochs.
    #[error(
        "the signer's state in `{0}` was made before the log's key had epochs, and there is no way from there: \
         keep the old journal with its log.pub, and init anew with an empty journal, an empty signer directory and no log.pub"
    )]
    Old(PathBuf),
    /// Owner or mode.
    #[error("`{path}` {why}")]
    Unsafe {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A second signer.
    #[error("the signer's state in `{0}` is in use by another process")]
    InUse(PathBuf),
    /// The stack's name.
    #[error(transparent)]
    Stack(#[from] checkpoint::Error),
    /// What is to be given up cannot be.
    #[error(transparent)]
    NotAbandoned(#[from] crate::log::Refusal),
    /// The operating system.
    #[error("cannot {what} `{path}`: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// What the signer needs of its disk while it serves. Each is durable when it returns; after an error nothing is known, and
/// the process has to end.
pub trait Keep {
    /// Persists the confirmed head and the current epoch's number.
    ///
    /// # Errors
    /// What is on disk is the old head or the new one.
    fn persist(&self, log: &Log) -> Result<(), Error>;

    /// Makes the key of the epoch after the log's.
    ///
    /// # Errors
    /// It may be there or not.
    fn make_next(&self, log: &Log) -> Result<Pair, Error>;

    /// Erases the key of an epoch that has ended.
    ///
    /// # Errors
    /// It may still be there; the next start erases it.
    fn erase(&self, epoch: u64) -> Result<(), Error>;
}

/// An open state directory.
#[derive(Debug)]
pub struct Store {
    /// Its lock is what keeps a second signer out; it ends with the process.
    dir: OwnedFd,
    path: PathBuf,
}

/// Makes directory, head and keys where there are none. Returns the keys' public halves.
///
/// Root may run this for another user: the files then belong to the directory's owner.
///
/// # Errors
/// See [`Error`]; a state that is there and whole is left as it is.
pub fn init(path: &Path, stack: &str) -> Result<LogKey, Error> {
    checkpoint::check_stack_name(stack)?;
    match mkdir(path, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(io_error("make", path, errno)),
    }
    let dir = open_dir(path)?;
    match pinned(&dir, path, stack)? {
        Some(pinned) => {
            // A signer may be running on it, and switching epochs: what never changes is looked at.
            read_origin(&dir, path, &pinned)?;
            read_head(&dir, path, pinned.origin())?;
            Ok(pinned)
        }
        None => make(&dir, path, stack),
    }
}

/// Nothing was signed under what an interrupted init has left: it is made anew.
fn make(dir: &OwnedFd, path: &Path, stack: &str) -> Result<LogKey, Error> {
    for name in names(dir, path)? {
        if name == KEY || epoch_of(&name).is_some() || name.ends_with(NEW) {
            unlinkat(dir, &name, AtFlags::empty())
                .map_err(|errno| io_error("remove", &path.join(&name), errno))?;
        }
    }
    let (origin, seed) = new_pair(path, |key| KeyName::origin(stack, key))?;
    let name = origin.public().name();
    let (genesis, epoch_seed) = new_pair(path, |_| KeyName::epoch(name, FIRST_EPOCH))?;
    let pinned = LogKey::new(origin.public().clone(), genesis.public().clone())?;
    let nothing = Signed {
        frontier: Frontier::new(),
        note: None,
    };
    let head = head_text(origin.public(), FIRST_EPOCH, &nothing);
    write(dir, path, HEAD, head.as_bytes())?;
    write(dir, path, KEY, seed.as_slice())?;
    write(dir, path, &epoch_file(FIRST_EPOCH), epoch_seed.as_slice())?;
    write(dir, path, PUB, pinned.to_string().as_bytes())?;
    Ok(pinned)
}

fn new_pair(
    path: &Path,
    name: impl FnOnce(&[u8; 32]) -> Result<KeyName, checkpoint::Error>,
) -> Result<(Pair, Zeroizing<[u8; 32]>), Error> {
    let seed = keys::new_seed().map_err(|source| Error::Io {
        what: "draw randomness for",
        path: path.to_owned(),
        source,
    })?;
    Ok((Pair::of_seed(&seed, name)?, seed))
}

/// The confirmed head, and where `back` is given, the head that it is moved back to first: the frontier and the note of
/// a checkpoint, and the epoch that is due behind it. For an operator; the signer must not be running.
///
/// # Errors
/// See [`Error`]; the head on disk is the old one or the new one.
pub fn abandon(
    path: &Path,
    stack: &str,
    back: Option<(Frontier, &str, u64)>,
) -> Result<Head, Error> {
    let (store, mut log) = Store::open(path, stack)?;
    if let Some((frontier, note, epoch)) = back {
        log.go_back(frontier, note, epoch)?;
        store.persist(&log)?;
    }
    Ok(log.head())
}

impl Store {
    /// Opens an existing state, locks it and reads it. The directory has to be ours and closed to everybody else. What an
    /// interrupted switch of epochs has left is erased.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open(path: &Path, stack: &str) -> Result<(Store, Log), Error> {
        let dir = open_dir(path)?;
        check_private(&dir, path)?;
        match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::InUse(path.to_owned())),
            Err(errno) => return Err(io_error("lock", path, errno)),
        }
        let pinned = pinned(&dir, path, stack)?.ok_or_else(|| Error::NoKey(path.to_owned()))?;
        let origin = read_origin(&dir, path, &pinned)?;
        let (number, confirmed) = read_head(&dir, path, pinned.origin())?;
        let store = Store {
            dir,
            path: path.to_owned(),
        };
        let keys = Keys {
            epoch: (number, store.epoch_key(&pinned, number)?),
            next: store.settle_epochs(&pinned, number)?,
            pinned,
            origin,
        };
        Ok((store, Log::new(keys, confirmed)))
    }

    fn epoch_key(&self, pinned: &LogKey, number: u64) -> Result<Pair, Error> {
        let name = KeyName::epoch(pinned.name(), number)?;
        let pair = read_key(&self.dir, &self.path, &epoch_file(number), |_| Ok(name))?;
        if number == FIRST_EPOCH && pair.public() != pinned.genesis() {
            return Err(self.damaged(format!("`{}` is not the key in `{PUB}`", epoch_file(1))));
        }
        Ok(pair)
    }

    /// Erases the keys of epochs that have ended, and finds the next one's.
    fn settle_epochs(&self, pinned: &LogKey, current: u64) -> Result<Option<Pair>, Error> {
        let mut next = None;
        for name in names(&self.dir, &self.path)? {
            if name.ends_with(NEW) {
                self.unlink(&name)?;
                continue;
            }
            match epoch_of(&name) {
                Some(number) if number < current => {
                    tracing::warn!("`{name}` was left by an interrupted switch, and is erased");
                    self.erase(number)?;
                }
                Some(number) if number == current.saturating_add(1) => {
                    next = Some(self.epoch_key(pinned, number)?);
                }
                Some(number) if number > current => {
                    let why = format!("`{HEAD}` is in epoch {current}, and `{name}` is there");
                    return Err(self.damaged(why));
                }
                _ => {}
            }
        }
        Ok(next)
    }

    fn unlink(&self, name: &str) -> Result<(), Error> {
        match unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => sync_dir(&self.dir, &self.path),
            Err(errno) => Err(io_error("remove", &self.path.join(name), errno)),
        }
    }

    fn damaged(&self, why: String) -> Error {
        let path = self.path.clone();
        Error::Damaged { path, why }
    }
}

impl Keep for Store {
    fn persist(&self, log: &Log) -> Result<(), Error> {
        let text = head_text(log.public(), log.epoch().0, log.confirmed());
        write(&self.dir, &self.path, HEAD, text.as_bytes())
    }

    fn make_next(&self, log: &Log) -> Result<Pair, Error> {
        let number = log.epoch().0.saturating_add(1);
        let origin = log.public().name();
        let (pair, seed) = new_pair(&self.path, |_| KeyName::epoch(origin, number))?;
        write(&self.dir, &self.path, &epoch_file(number), seed.as_slice())?;
        Ok(pair)
    }

    fn erase(&self, epoch: u64) -> Result<(), Error> {
        self.unlink(&epoch_file(epoch))
    }
}

fn epoch_file(number: u64) -> String {
    format!("epoch-{number}.key")
}

/// The epoch whose key file has this name.
fn epoch_of(name: &str) -> Option<u64> {
    let number = name.strip_prefix("epoch-")?.strip_suffix(".key")?;
    number.parse().ok().filter(|n| epoch_file(*n) == name)
}

fn names(dir: &OwnedFd, path: &Path) -> Result<Vec<String>, Error> {
    let listed = Dir::read_from(dir).and_then(|entries| {
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    });
    listed.map_err(|errno| io_error("list", path, errno))
}

/// What `init` printed; `None` where it never came so far.
fn pinned(dir: &OwnedFd, path: &Path, stack: &str) -> Result<Option<LogKey>, Error> {
    let damaged = |why: String| Error::Damaged {
        path: path.to_owned(),
        why,
    };
    let Some(text) = read_text(dir, path, PUB, PUB_BYTES_MAX)? else {
        let head = read_text(dir, path, HEAD, HEAD_BYTES_MAX)?.unwrap_or_default();
        let mut lines = head.lines();
        return match (lines.next(), lines.nth(2)) {
            (Some(OLD_FORMAT), _) => Err(Error::Old(path.to_owned())),
            (None, _) | (Some(FORMAT), Some("0")) => Ok(None),
            _ => Err(damaged(format!("`{HEAD}` is there and `{PUB}` is not"))),
        };
    };
    let pinned = LogKey::parse(&text).map_err(|why| damaged(format!("`{PUB}`: {why}")))?;
    if pinned.to_string() != text {
        return Err(damaged(format!("`{PUB}` is not in its canonical form")));
    }
    if pinned.name().stack() != Some(stack) {
        return Err(damaged(format!("`{PUB}` belongs to another stack")));
    }
    Ok(Some(pinned))
}

fn read_origin(dir: &OwnedFd, path: &Path, pinned: &LogKey) -> Result<Pair, Error> {
    let origin = read_key(dir, path, KEY, |_| Ok(pinned.name().clone()))?;
    if origin.public() == pinned.origin() {
        return Ok(origin);
    }
    Err(Error::Damaged {
        path: path.to_owned(),
        why: format!("`{KEY}` is not the key in `{PUB}`"),
    })
}

fn open_dir(path: &Path) -> Result<OwnedFd, Error> {
    open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| io_error("open", path, errno))
}

/// Ours, and nobody else's to read or write.
fn check_private(file: impl std::os::fd::AsFd, path: &Path) -> Result<(), Error> {
    let stat = fstat(file).map_err(|errno| io_error("look at", path, errno))?;
    let us = rustix::process::geteuid().as_raw();
    let why = if stat.st_uid != us {
        format!("belongs to uid {}, and this is uid {us}", stat.st_uid)
    } else if stat.st_mode & 0o077 != 0 {
        format!(
            "is open to others (mode {:o}): `chmod go= ` it",
            stat.st_mode & 0o7777
        )
    } else {
        return Ok(());
    };
    Err(Error::Unsafe {
        path: path.to_owned(),
        why,
    })
}

/// Only its owner may read a key; the owner is the directory's, whom root may stand in for.
fn check_key_file(dir: &OwnedFd, file: &File, path: &Path) -> Result<(), Error> {
    if rustix::process::geteuid().is_root() {
        let owner = fstat(dir).map_err(|errno| io_error("look at", path, errno))?;
        let ours = fstat(file).map_err(|errno| io_error("look at", path, errno))?;
        if ours.st_uid == owner.st_uid && ours.st_mode & 0o077 == 0 {
            return Ok(());
        }
    }
    check_private(file, path)
}

fn read_key(
    dir: &OwnedFd,
    path: &Path,
    name: &str,
    key_name: impl FnOnce(&[u8; 32]) -> Result<KeyName, checkpoint::Error>,
) -> Result<Pair, Error> {
    let damaged = |why: String| Error::Damaged {
        path: path.to_owned(),
        why,
    };
    let at = path.join(name);
    let mut file = match openat(
        dir,
        name,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Err(damaged(format!("`{name}` is missing"))),
        Err(errno) => return Err(io_error("open", &at, errno)),
    };
    check_key_file(dir, &file, &at)?;
    let short = || damaged(format!("`{name}` has not exactly 32 bytes"));
    let length = file.metadata().map_err(|source| Error::Io {
        what: "look at",
        path: at,
        source,
    })?;
    if length.len() != 32 {
        return Err(short());
    }
    let mut seed = Zeroizing::new([0; 32]);
    file.read_exact(seed.as_mut_slice()).map_err(|_| short())?;
    Ok(Pair::of_seed(&seed, key_name)?)
}

fn read_text(dir: &OwnedFd, path: &Path, name: &str, max: u64) -> Result<Option<String>, Error> {
    let at = path.join(name);
    let file = match openat(
        dir,
        name,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(io_error("open", &at, errno)),
    };
    let mut bytes = Vec::new();
    file.take(max)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Io {
            what: "read",
            path: at,
            source,
        })?;
    // Bytes that are no text make something that does not parse, which is the message to give.
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn read_head(dir: &OwnedFd, path: &Path, public: &PublicKey) -> Result<(u64, Signed), Error> {
    let damaged = |why: &str| Error::Damaged {
        path: path.to_owned(),
        why: format!("`{HEAD}` {why}"),
    };
    let text = read_text(dir, path, HEAD, HEAD_BYTES_MAX)?.ok_or_else(|| damaged("is missing"))?;
    parse_head(&text, public).map_err(damaged)
}

/// What [`head_text`] writes: the current epoch, and the head. The origin key must have signed the note; the key beside it
/// may be that of the epoch before, which is gone.
fn parse_head(text: &str, public: &PublicKey) -> Result<(u64, Signed), &'static str> {
    let (head, note) = text.split_once("\n\n").ok_or("is incomplete")?;
    let mut lines = head.lines();
    if lines.next() != Some(FORMAT) {
        return Err("is not of this format");
    }
    // What the checksum says is compared with the whole, below.
    if lines.next().is_none_or(|line| !line.starts_with(CHECK)) {
        return Err("has no checksum");
    }
    if lines.next() != Some(public.name().as_str()) {
        return Err("belongs to another key or stack");
    }
    let size = lines
        .next()
        .and_then(|size| size.parse().ok())
        .ok_or("has no size")?;
    let epoch = lines
        .next()
        .and_then(|epoch| epoch.strip_prefix("epoch ")?.parse().ok())
        .filter(|epoch| *epoch >= FIRST_EPOCH)
        .ok_or("has no epoch")?;
    let nodes = lines
        .map(unhex)
        .collect::<Option<Vec<_>>>()
        .ok_or("has a malformed node")?;
    let frontier =
        Frontier::from_parts(size, nodes).map_err(|_| "has the wrong number of nodes")?;
    let note = if frontier.size() == 0 {
        None
    } else {
        let checkpoint = public
            .open::<Checkpoint>(note.as_bytes())
            .map_err(|_| "has a note that this key did not sign")?;
        if checkpoint.head
            != (Head {
                size,
                root: frontier.root(),
            })
        {
            return Err("has a note for another tree");
        }
        Some(note.to_owned())
    };
    let signed = Signed { frontier, note };
    if head_text(public, epoch, &signed) == text {
        Ok((epoch, signed))
    } else {
        Err("is not in its canonical form")
    }
}

fn head_text(public: &PublicKey, epoch: u64, signed: &Signed) -> String {
    let nodes: String = signed
        .frontier
        .nodes()
        .iter()
        .map(|node| format!("{}\n", hex(node)))
        .collect();
    let note = signed.note.as_deref().unwrap_or_default();
    let body = format!(
        "{}\n{}\nepoch {epoch}\n{nodes}\n{note}",
        public.name(),
        signed.frontier.size()
    );
    let check = hex(&tree::leaf_hash(body.as_bytes()));
    format!("{FORMAT}\n{CHECK}{check}\n{body}")
}

/// Gives a file this content, durably: after a crash it has the old one or this one.
fn write(dir: &OwnedFd, path: &Path, name: &str, content: &[u8]) -> Result<(), Error> {
    let new = format!("{name}{NEW}");
    let at = path.join(&new);
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(dir, &new, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|errno| io_error("make", &at, errno))?;
    give_to_owner(dir, &file).map_err(|errno| io_error("give away", &at, errno))?;
    let mut file = File::from(file);
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if let Err(source) = written {
        // What is half written is never read; leaving it would only puzzle.
        unlinkat(dir, &new, AtFlags::empty()).unwrap_or_default();
        return Err(Error::Io {
            what: "write",
            path: at,
            source,
        });
    }
    renameat(dir, &new, dir, name).map_err(|errno| io_error("rename", &at, errno))?;
    sync_dir(dir, path)
}

/// Where root makes the state of another user, that user has to own it.
fn give_to_owner(dir: &OwnedFd, file: &OwnedFd) -> rustix::io::Result<()> {
    let (owner, ours) = (fstat(dir)?, fstat(file)?);
    if (owner.st_uid, owner.st_gid) == (ours.st_uid, ours.st_gid)
        || !rustix::process::geteuid().is_root()
    {
        return Ok(());
    }
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(owner.st_uid),
        rustix::fs::Gid::from_raw(owner.st_gid),
    );
    fchown(file, Some(uid), Some(gid))
}

fn sync_dir(dir: &OwnedFd, path: &Path) -> Result<(), Error> {
    rustix::fs::fsync(dir).map_err(|errno| io_error("sync", path, errno))
}

fn io_error(what: &'static str, path: &Path, errno: rustix::io::Errno) -> Error {
    Error::Io {
        what,
        path: path.to_owned(),
        source: errno.into(),
    }
}
