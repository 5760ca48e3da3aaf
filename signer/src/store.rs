//! The state directory: `log.key` and `head`.
//!
//! `log.key` is the 32-byte seed of the Ed25519 key. `head` is text: a first line with the format, the origin, the size,
//! the frontier's nodes as hex, the largest subtree first, and after an empty line the note that signs the head.
//!
//! Invariants:
//! - `head` is written before `log.key`, so that a key without a head is never the remains of an interrupted `init`
//!   but a loss, and refused.
//! - `head` changes by write, fsync, rename, fsync of the directory: after a crash it is the old one or the new one.
//! - `head` is never ahead of a confirmed head, and its own note vouches for its tree.
//! - One process at a time: the key's file is locked while the state is open.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use faramesh_core::checkpoint::{self, Checkpoint, KeyName, PublicKey, hex, unhex};
use faramesh_core::tree::{Frontier, Head};
use rustix::fs::{
    FlockOperation, Mode, OFlags, fchown, flock, fstat, mkdir, open, openat, renameat, unlinkat,
};
use zeroize::Zeroizing;

use crate::log::{Log, Signed};

const KEY: &str = "log.key";
const HEAD: &str = "head";
const HEAD_NEW: &str = "head.new";
const FORMAT: &str = "faramesh signer head v1";

/// 64 nodes of 65 bytes, the note and the lines around them.
const HEAD_BYTES_MAX: u64 = 4 * 1024 + checkpoint::NOTE_BYTES_MAX as u64;

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

/// An open state directory.
#[derive(Debug)]
pub struct Store {
    dir: OwnedFd,
    path: PathBuf,
    /// Its lock is what keeps a second signer out; it ends with the process.
    _key: File,
}

/// Makes directory, head and key where there are none. Returns the key's public half.
///
/// Root may run this for another user: the files then belong to the directory's owner.
///
/// # Errors
/// See [`Error`]; a state that is there and whole is left as it is.
pub fn init(path: &Path, stack: &str) -> Result<PublicKey, Error> {
    checkpoint::check_stack_name(stack)?;
    match mkdir(path, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(io_error("make", path, errno)),
    }
    let dir = open_dir(path)?;
    let key_file = openat(
        &dir,
        KEY,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    );
    match key_file {
        Ok(file) => {
            let key = read_key(path, &File::from(file))?;
            let public = public_of(&key, stack)?;
            read_head(&dir, path, &public)?;
            Ok(public)
        }
        Err(rustix::io::Errno::NOENT) => make(&dir, path, stack),
        Err(errno) => Err(io_error("open", &path.join(KEY), errno)),
    }
}

fn make(dir: &OwnedFd, path: &Path, stack: &str) -> Result<PublicKey, Error> {
    // A head without a key is the remains of an interrupted init where nothing was signed; else the key is lost.
    if let Some(text) = read_text(dir, path)?
        && text.lines().nth(2) != Some("0")
    {
        return Err(Error::Damaged {
            path: path.to_owned(),
            why: format!("`{HEAD}` is there and `{KEY}` is not"),
        });
    }
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(|error| Error::Io {
        what: "draw randomness for",
        path: path.join(KEY),
        source: io::Error::other(error.to_string()),
    })?;
    let public = public_of(&SigningKey::from_bytes(&seed), stack)?;
    write_head(
        dir,
        path,
        &public,
        &Signed {
            frontier: Frontier::new(),
            note: None,
        },
    )?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let at = path.join(KEY);
    let file = openat(dir, KEY, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|errno| io_error("make", &at, errno))?;
    give_to_owner(dir, &file).map_err(|errno| io_error("give away", &at, errno))?;
    let mut file = File::from(file);
    let io = |what| {
        let at = at.clone();
        move |source| Error::Io {
            what,
            path: at,
            source,
        }
    };
    file.write_all(seed.as_slice()).map_err(io("write"))?;
    file.sync_all().map_err(io("sync"))?;
    sync_dir(dir, path)?;
    Ok(public)
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
    /// Opens an existing state, locks it and reads it. The directory has to be ours and closed to everybody else.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open(path: &Path, stack: &str) -> Result<(Store, Log), Error> {
        let dir = open_dir(path)?;
        check_private(&dir, path)?;
        let at = path.join(KEY);
        let file = match openat(
            &dir,
            KEY,
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT)
                if read_text(&dir, path)?.is_none_or(|text| text.lines().nth(2) == Some("0")) =>
            {
                return Err(Error::NoKey(path.to_owned()));
            }
            Err(rustix::io::Errno::NOENT) => {
                return Err(Error::Damaged {
                    path: path.to_owned(),
                    why: format!("`{KEY}` is missing"),
                });
            }
            Err(errno) => return Err(io_error("open", &at, errno)),
        };
        check_private(&file, &at)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::InUse(path.to_owned())),
            Err(errno) => return Err(io_error("lock", &at, errno)),
        }
        let key = Box::new(read_key(path, &file)?);
        let public = public_of(&key, stack)?;
        let confirmed = read_head(&dir, path, &public)?;
        let log = Log::new(key, public, confirmed);
        Ok((
            Store {
                dir,
                path: path.to_owned(),
                _key: file,
            },
            log,
        ))
    }

    /// Persists the confirmed head.
    ///
    /// # Errors
    /// [`Error::Io`]; the head on disk is the old one or the new one.
    pub fn persist(&self, log: &Log) -> Result<(), Error> {
        write_head(&self.dir, &self.path, log.public(), log.confirmed())
    }
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

fn read_key(path: &Path, mut file: &File) -> Result<SigningKey, Error> {
    let damaged = || Error::Damaged {
        path: path.to_owned(),
        why: format!("`{KEY}` has not exactly 32 bytes"),
    };
    let length = file
        .metadata()
        .map_err(|source| Error::Io {
            what: "look at",
            path: path.join(KEY),
            source,
        })?
        .len();
    if length != 32 {
        return Err(damaged());
    }
    let mut seed = Zeroizing::new([0; 32]);
    file.read_exact(seed.as_mut_slice())
        .map_err(|_| damaged())?;
    Ok(SigningKey::from_bytes(&seed))
}

fn public_of(key: &SigningKey, stack: &str) -> Result<PublicKey, Error> {
    let bytes = key.verifying_key().to_bytes();
    Ok(PublicKey::new(KeyName::origin(stack, &bytes)?, &bytes)?)
}

fn read_text(dir: &OwnedFd, path: &Path) -> Result<Option<String>, Error> {
    let at = path.join(HEAD);
    let file = match openat(
        dir,
        HEAD,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(io_error("open", &at, errno)),
    };
    let mut bytes = Vec::new();
    file.take(HEAD_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Io {
            what: "read",
            path: at,
            source,
        })?;
    // Bytes that are no text make a head that does not parse, which is the message to give.
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn read_head(dir: &OwnedFd, path: &Path, public: &PublicKey) -> Result<Signed, Error> {
    let damaged = |why: &str| Error::Damaged {
        path: path.to_owned(),
        why: format!("`{HEAD}` {why}"),
    };
    let text = read_text(dir, path)?.ok_or_else(|| damaged("is missing"))?;
    parse_head(&text, public).map_err(damaged)
}

/// What [`head_text`] writes; the note must sign the frontier.
fn parse_head(text: &str, public: &PublicKey) -> Result<Signed, &'static str> {
    let (head, note) = text.split_once("\n\n").ok_or("is incomplete")?;
    let mut lines = head.lines();
    if lines.next() != Some(FORMAT) {
        return Err("is not of this format");
    }
    if lines.next() != Some(public.name().as_str()) {
        return Err("belongs to another key or stack");
    }
    let size = lines
        .next()
        .and_then(|size| size.parse().ok())
        .ok_or("has no size")?;
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
    if head_text(public, &signed) == text {
        Ok(signed)
    } else {
        Err("is not in its canonical form")
    }
}

fn head_text(public: &PublicKey, signed: &Signed) -> String {
    let nodes: String = signed
        .frontier
        .nodes()
        .iter()
        .map(|node| format!("{}\n", hex(node)))
        .collect();
    let note = signed.note.as_deref().unwrap_or_default();
    format!(
        "{FORMAT}\n{}\n{}\n{nodes}\n{note}",
        public.name(),
        signed.frontier.size()
    )
}

fn write_head(
    dir: &OwnedFd,
    path: &Path,
    public: &PublicKey,
    signed: &Signed,
) -> Result<(), Error> {
    let at = path.join(HEAD_NEW);
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(dir, HEAD_NEW, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|errno| io_error("make", &at, errno))?;
    give_to_owner(dir, &file).map_err(|errno| io_error("give away", &at, errno))?;
    let mut file = File::from(file);
    let written = file
        .write_all(head_text(public, signed).as_bytes())
        .and_then(|()| file.sync_all());
    if let Err(source) = written {
        // What is half written is never read; leaving it would only puzzle.
        unlinkat(dir, HEAD_NEW, rustix::fs::AtFlags::empty()).unwrap_or_default();
        return Err(Error::Io {
            what: "write",
            path: at,
            source,
        });
    }
    renameat(dir, HEAD_NEW, dir, HEAD).map_err(|errno| io_error("rename", &at, errno))?;
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
