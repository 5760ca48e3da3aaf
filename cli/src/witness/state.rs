//! A witness's key and its files.
//!
//! ```text
//! witness.key         0600: its name and its secret
//! witness.pub         the public half, to be pinned by whoever relies on it
//! logs/*.pub          the log.pub of each journal that it cosigns
//! heads/<hex>.note    the checkpoint that it cosigned last, by SHA-256 of the origin
//! evidence/           pairs of checkpoints that contradict each other
//! ```
//!
//! Invariants: the directory is this user's alone; one process at a time has it open (a lock), because two that remember
//! different heads could cosign a fork between them. A head's file changes by write, fsync, rename, fsync of the
//! directory.
#![forbid(unsafe_code)]

use super::keeper::{Heads, Sign};
use crate::failure::Failure;
use crate::files;
use crate::sign::VKEY_BYTES_MAX;
use ed25519_dalek::{Signer, SigningKey};
use faramesh_core::checkpoint::{KeyName, NOTE_BYTES_MAX, PublicKey, hex, unhex};
use faramesh_core::cosign::WitnessKey;
use nix::unistd::Uid;
use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const KEY: &str = "witness.key";
const PUBLIC: &str = "witness.pub";
const LOGS: &str = "logs";
const HEADS: &str = "heads";
const EVIDENCE: &str = "evidence";

/// Begins a key file; the digit is the format's version.
const KEY_FILE_PREFIX: &str = "faramesh witness key 1 ";
/// The prefix, a name of at most 256 bytes, 64 hex digits.
const KEY_FILE_BYTES_MAX: u64 = 512;
/// Logs that one witness cosigns: each question looks through them.
const LOGS_MAX: usize = 1_024;
/// A log that forks is known after one pair; whoever holds its key could make any number.
const EVIDENCE_MAX: usize = 64;

/// The witness's secret. It has no `Debug`; it is wiped when it is dropped.
pub struct Secret {
    secret: SigningKey,
    public: WitnessKey,
}

impl Sign for Secret {
    fn public(&self) -> &WitnessKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.secret.sign(message).to_bytes()
    }
}

impl Secret {
    fn new(name: &KeyName, seed: &[u8; 32]) -> Result<Secret, Failure> {
        let secret = SigningKey::from_bytes(seed);
        let public = WitnessKey::new(name.clone(), secret.verifying_key().as_bytes())
            .map_err(|e| Failure::internal(format!("the witness's key cannot be used: {e}")))?;
        Ok(Secret { secret, public })
    }
}

/// Makes a witness's directory and key where there are none, and tells the public half.
///
/// # Errors
/// It is there under another name, or cannot be made.
pub fn init(dir: &Path, name: &str) -> Result<WitnessKey, Failure> {
    let name = KeyName::new(name).map_err(|e| {
        Failure::usage(e.to_string())
            .next("a witness's name is like a host's and a path: `audit.example/shop`")
    })?;
    files::ensure_dir(dir, 0o700, None)?;
    for below in [LOGS, HEADS, EVIDENCE] {
        files::ensure_dir(&dir.join(below), 0o700, None)?;
    }
    let secret = match read_key(dir)? {
        Some(secret) if *secret.public.name() == name => secret,
        Some(secret) => {
            return Err(Failure::configuration(format!(
                "`{}` is the witness `{}` already",
                dir.display(),
                secret.public.name()
            ))
            .next("give another directory: a key has one name for ever"));
        }
        None => make_key(dir, &name)?,
    };
    let line = format!("{}\n", secret.public.vkey());
    files::write_durably(&dir.join(PUBLIC), line.as_bytes(), 0o644, None)?;
    Ok(secret.public.clone())
}

fn make_key(dir: &Path, name: &KeyName) -> Result<Secret, Failure> {
    let heads = fs::read_dir(dir.join(HEADS)).map(Iterator::count);
    if heads.is_ok_and(|heads| heads > 0) {
        return Err(Failure::configuration(format!(
            "`{}` is gone and heads are there",
            dir.join(KEY).display()
        ))
        .next("put the key back from a backup, or begin a new witness in another directory"));
    }
    let mut seed = Zeroizing::new([0u8; 32]);
    getrandom::fill(seed.as_mut()).map_err(|e| Failure::internal(format!("no randomness: {e}")))?;
    let secret = Secret::new(name, &seed)?;
    let line = Zeroizing::new(format!(
        "{KEY_FILE_PREFIX}{name} {}\n",
        Zeroizing::new(hex(seed.as_ref())).as_str()
    ));
    files::write_durably(&dir.join(KEY), line.as_bytes(), 0o600, None)?;
    Ok(secret)
}

fn read_key(dir: &Path) -> Result<Option<Secret>, Failure> {
    let path = dir.join(KEY);
    let Some(bytes) = files::read_limited(&path, KEY_FILE_BYTES_MAX)?.map(Zeroizing::new) else {
        return Ok(None);
    };
    private(&path, 0o077)?;
    let damaged = || {
        Failure::configuration(format!("`{}` is not a witness's key", path.display()))
            .next("put it back from a backup")
    };
    let (name, seed) = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|line| line.strip_prefix(KEY_FILE_PREFIX)?.strip_suffix('\n'))
        .and_then(|line| line.split_once(' '))
        .ok_or_else(damaged)?;
    let name = KeyName::new(name).map_err(|_| damaged())?;
    let seed = unhex(seed).map(Zeroizing::new).ok_or_else(damaged)?;
    Secret::new(&name, &seed).map(Some)
}

fn private(path: &Path, closed: u32) -> Result<(), Failure> {
    let meta = fs::metadata(path).map_err(|e| Failure::io("look at", path, &e))?;
    if meta.mode() & closed == 0 && meta.uid() == Uid::effective().as_raw() {
        return Ok(());
    }
    Err(Failure::permission(format!(
        "`{}` is open to others, or not yours",
        path.display()
    ))
    .next(format!(
        "chmod go= {0} && chown {1} {0}; if others could read the key, begin a new witness",
        path.display(),
        Uid::effective()
    )))
}

/// An open directory; its lock ends with the process.
pub struct State {
    dir: PathBuf,
    _lock: File,
}

impl State {
    /// Opens a directory that `init` made, and reads the key.
    ///
    /// # Errors
    /// It is not one, is open to others, or another process has it.
    pub fn open(dir: &Path) -> Result<(State, Secret), Failure> {
        private(dir, 0o077)?;
        let secret = read_key(dir)?.ok_or_else(|| {
            Failure::configuration(format!("`{}` holds no witness's key", dir.display()))
                .next("make one: `faramesh witness init --state DIR --name NAME`")
        })?;
        let lock =
            File::open(dir.join(KEY)).map_err(|e| Failure::io("open", &dir.join(KEY), &e))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Failure::unavailable(format!(
                    "another process serves the witness in `{}`",
                    dir.display()
                )));
            }
            Err(e) => return Err(Failure::io("lock", &dir.join(KEY), &e.into())),
        }
        let state = State {
            dir: dir.to_owned(),
            _lock: lock,
        };
        Ok((state, secret))
    }

    /// The logs that it cosigns: of each `logs/*.pub` the first key, which is the origin's.
    ///
    /// # Errors
    /// One cannot be read or is no log's key, or there is none, or one twice.
    pub fn logs(&self) -> Result<Vec<PublicKey>, Failure> {
        let dir = self.dir.join(LOGS);
        let entries = fs::read_dir(&dir).map_err(|e| Failure::io("read", &dir, &e))?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(|e| Failure::io("read", &dir, &e))?.path();
            if path.extension().is_some_and(|extension| extension == "pub") {
                paths.push(path);
            }
        }
        paths.sort();
        if paths.len() > LOGS_MAX {
            return Err(Failure::configuration(format!(
                "`{}` has more than {LOGS_MAX} keys",
                dir.display()
            )));
        }
        let mut logs: Vec<PublicKey> = Vec::new();
        for path in &paths {
            let log = log_key(path)?;
            if logs.iter().any(|other| other.name() == log.name()) {
                return Err(Failure::configuration(format!(
                    "`{}` pins `{}` once more",
                    path.display(),
                    log.name()
                )));
            }
            logs.push(log);
        }
        if logs.is_empty() {
            return Err(Failure::configuration(format!(
                "there is no log's key in `{}`",
                dir.display()
            ))
            .next("put the log.pub of each journal there, as NAME.pub"));
        }
        Ok(logs)
    }
}

/// The origin's key: the first line of a `log.pub`.
///
/// # Errors
/// It is none.
pub fn log_key(path: &Path) -> Result<PublicKey, Failure> {
    let text = files::read_text(path, VKEY_BYTES_MAX)?
        .ok_or_else(|| Failure::data(format!("there is no key `{}`", path.display())))?;
    let line = text.lines().next().unwrap_or_default();
    PublicKey::parse_vkey(line).map_err(|e| {
        Failure::configuration(format!("`{}` is not a log's key: {e}", path.display()))
            .next("it begins with the line of the origin's key: name+id+key, as in log.pub")
    })
}

impl Heads for State {
    fn read(&self, origin: &str) -> io::Result<Option<Vec<u8>>> {
        files::read_limited(&self.head(origin), NOTE_BYTES_MAX as u64).map_err(other)
    }

    fn write(&mut self, origin: &str, note: &[u8]) -> io::Result<()> {
        files::write_durably(&self.head(origin), note, 0o600, None).map_err(other)
    }

    fn evidence(&mut self, origin: &str, cosigned: &[u8], contradicts: &[u8]) -> io::Result<()> {
        let dir = self.dir.join(EVIDENCE);
        let pair = [cosigned, b"\n", contradicts].concat();
        let path = dir.join(format!("{}.notes", hex(&Sha256::digest(&pair))));
        if path.exists() {
            return Ok(());
        }
        if fs::read_dir(&dir)?.count() >= EVIDENCE_MAX {
            return Err(io::Error::other(format!(
                "`{}` holds {EVIDENCE_MAX} pairs already, this one is about `{origin}`",
                dir.display()
            )));
        }
        files::write_durably(&path, &pair, 0o600, None).map_err(other)
    }
}

impl State {
    fn head(&self, origin: &str) -> PathBuf {
        let name = hex(&Sha256::digest(origin.as_bytes()));
        self.dir.join(HEADS).join(format!("{name}.note"))
    }
}

fn other(failure: Failure) -> io::Error {
    io::Error::other(failure.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_under_one_name_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        let first = init(&path, "audit.example/shop").unwrap();
        assert_eq!(init(&path, "audit.example/shop").unwrap(), first);
        assert_eq!(init(&path, "audit.example/other").unwrap_err().exit, 78);
        assert_eq!(init(&path, "two words").unwrap_err().exit, 64);
        let mode = |name: &str| fs::metadata(path.join(name)).unwrap().mode() & 0o777;
        assert_eq!((mode(KEY), mode("")), (0o600, 0o700));
        let line = fs::read_to_string(path.join(PUBLIC)).unwrap();
        assert_eq!(WitnessKey::parse_vkey(&line), Ok(first));
    }

    #[test]
    fn a_directory_or_a_key_that_others_may_read_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        init(&path, "audit.example/shop").unwrap();
        let chmod = |name: &str, mode| {
            fs::set_permissions(path.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        chmod("", 0o750);
        assert_eq!(State::open(&path).err().unwrap().exit, 77);
        chmod("", 0o700);
        chmod(KEY, 0o640);
        assert_eq!(State::open(&path).err().unwrap().exit, 77);
        chmod(KEY, 0o600);
        State::open(&path).unwrap();
    }

    #[test]
    fn two_processes_never_serve_one_witness() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        init(&path, "audit.example/shop").unwrap();
        let (first, _) = State::open(&path).unwrap();
        assert_eq!(State::open(&path).err().unwrap().exit, 69);
        drop(first);
        State::open(&path).unwrap();
    }

    #[test]
    fn a_lost_key_beside_heads_is_not_silently_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        init(&path, "audit.example/shop").unwrap();
        let (mut state, _) = State::open(&path).unwrap();
        state.write("faramesh/shop/0a1b2c3d", b"note").unwrap();
        fs::remove_file(path.join(KEY)).unwrap();
        assert_eq!(init(&path, "audit.example/shop").unwrap_err().exit, 78);
    }
}
