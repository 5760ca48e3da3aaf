//! What the auditor remembers of a journal: the last verification that held, so that the next reads only what is new and the
//! journal must extend it.
//!
//! Invariants: it lies in the auditor's own directory (0700, files 0600), never in the journal. It is written only after a
//! verification that holds, by rename. It is used only where the journal still has the remembered checkpoint at the
//! remembered place; where it has not, everything is read, and the remembered head is what the journal must extend.
#![forbid(unsafe_code)]

use crate::args::VerifyArgs;
use crate::failure::Failure;
use crate::files;
use faramesh_core::checkpoint::{PublicKey, hex};
use faramesh_core::verify::Continuation;
use sha2::{Digest, Sha256};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// A thousand findings and spans, some thousand heads and the open erasures: a few megabytes.
const BYTES_MAX: u64 = 64 << 20;

const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Where one journal's is kept.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    /// Of the witnesses and their quorum: with others, what was read has to be judged again.
    asked: String,
}

/// What was kept.
#[derive(Debug)]
pub(super) struct Remembered {
    /// When the verification ended: RFC 3339 in UTC.
    pub(super) time: String,
    /// Whether the same was asked of it.
    pub(super) same_question: bool,
    pub(super) continuation: Continuation,
}

impl Memory {
    /// `None` where there is no home to keep it in.
    pub(super) fn of(args: &VerifyArgs, key: &PublicKey, witnesses: &[u8]) -> Option<Memory> {
        let dir = args.memory.clone().or_else(default_dir)?;
        // A key's name has slashes and no `+`.
        let name = key.name().as_str().replace('/', "+");
        let mut hasher = Sha256::new();
        hasher.update(args.quorum.to_be_bytes());
        hasher.update(witnesses);
        Some(Memory {
            path: dir.join(name),
            asked: hex(&hasher.finalize()),
        })
    }

    /// What is remembered, if anything.
    ///
    /// # Errors
    /// It cannot be read, or is not what was written.
    pub(super) fn recall(&self) -> Result<Option<Remembered>, Failure> {
        let Some(bytes) = files::read_limited(&self.path, BYTES_MAX)? else {
            return Ok(None);
        };
        let not_one = |why: String| {
            Failure::data(format!(
                "what was remembered in `{}` cannot be used: {why}",
                self.path.display()
            ))
            .next("find out who changed it; then remove it, and the next verification reads everything")
        };
        let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
        let mut line = || {
            let line = lines.next().and_then(|line| str::from_utf8(line).ok());
            line.map(str::to_owned)
                .ok_or_else(|| not_one("it is malformed".into()))
        };
        let (time, asked) = (line()?, line()?);
        let body = lines.next().unwrap_or_default();
        let continuation = Continuation::from_bytes(body).map_err(|e| not_one(e.to_string()))?;
        Ok(Some(Remembered {
            time,
            same_question: asked == self.asked,
            continuation,
        }))
    }

    /// Remembers a verification that held.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn keep(&self, continuation: &Continuation) -> Result<(), Failure> {
        if let Some(dir) = self.path.parent()
            && !dir.is_dir()
        {
            DirBuilder::new()
                .recursive(true)
                .mode(DIR_MODE)
                .create(dir)
                .map_err(|e| Failure::io("make the directory", dir, &e))?;
        }
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        let mut bytes = format!("{now}\n{}\n", self.asked).into_bytes();
        bytes.extend(continuation.to_bytes());
        files::write_durably(&self.path, &bytes, FILE_MODE, None)
    }
}

/// `$XDG_STATE_HOME/faramesh/verified`, or the same below the home directory.
fn default_dir() -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("faramesh/verified"))
}
