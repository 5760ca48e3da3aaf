//! The anchor file: every note that witnesses cosigned, one after the other, only ever appended to.
//!
//! An entry is the note and an empty line. The file is opened for appending alone, and synced before anything else goes
//! on. Where the file system has the attribute and this user may, it is made append-only (`chattr +a`), so that not even
//! its owner can take an entry back without first removing that; whether it is so is said.
#![forbid(unsafe_code)]

use crate::failure::Failure;
use faramesh_core::checkpoint::PublicKey;
use faramesh_core::cosign::{Cosigned, Witnesses};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file's end that is read for the last entry: some notes of the largest size.
const TAIL_BYTES: u64 = 64 << 10;
/// How an entry's signatures begin.
const SIGNATURE: &str = "\u{2014} ";

/// Ends what a crash left of an entry, so that it cannot be taken for a note: no base64 has this character.
const TORN: &str = "?\n\n";

/// Whether entries can be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protection {
    /// The file system refuses everything but appending.
    AppendOnly,
    /// It does not, and why.
    None(String),
}

/// An open anchor file.
pub struct AnchorFile {
    path: PathBuf,
    file: File,
    /// Whether it ends where an entry ends: a crash may have left a part.
    clean: bool,
}

impl AnchorFile {
    /// Opens or makes it.
    ///
    /// # Errors
    /// It cannot be opened for appending, or be made durable.
    pub fn open(path: &Path) -> Result<(AnchorFile, Protection), Failure> {
        let failed = |e: io::Error| Failure::io("append to", path, &e);
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(path)
            .map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|e| Failure::io("sync", dir, &e))?;
        let protection = protect(&file);
        let text = tail(path)?;
        let file = AnchorFile {
            path: path.to_owned(),
            file,
            clean: text.is_empty() || text.ends_with("\n\n"),
        };
        Ok((file, protection))
    }

    /// Appends a note and makes it durable.
    ///
    /// # Errors
    /// It is not known to be durable.
    pub fn append(&mut self, note: &str) -> Result<(), Failure> {
        let failed = |e: io::Error| Failure::io("append to", &self.path, &e);
        let before = if self.clean { "" } else { TORN };
        self.clean = false;
        self.file
            .write_all(format!("{before}{note}\n").as_bytes())
            .map_err(failed)?;
        self.file.sync_all().map_err(failed)?;
        self.clean = true;
        Ok(())
    }
}

fn protect(file: &File) -> Protection {
    let Ok(flags) = ioctl_getflags(file) else {
        return Protection::None("this file system has no such attribute".to_owned());
    };
    if flags.contains(IFlags::APPEND) {
        return Protection::AppendOnly;
    }
    match ioctl_setflags(file, flags | IFlags::APPEND) {
        Ok(()) => Protection::AppendOnly,
        Err(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => {
            Protection::None("only root may set it: `chattr +a FILE`".to_owned())
        }
        Err(e) => Protection::None(format!("the file system refuses it: {e}")),
    }
}

/// The last entry that the log and at least one pinned witness signed.
///
/// # Errors
/// The file is there and cannot be read.
pub fn last(path: &Path, log: &PublicKey, pinned: &Witnesses) -> Result<Option<Cosigned>, Failure> {
    let text = tail(path)?;
    let entries = entries(&text).into_iter().rev();
    let mut opened = entries.filter_map(|note| pinned.open(note.as_bytes(), log).ok());
    Ok(opened.find(|cosigned| cosigned.reaches(1)))
}

/// The notes in an anchor file's text, in order; parts that a crash left are passed over, or are no notes.
pub fn entries(text: &str) -> Vec<String> {
    let blocks: Vec<&str> = text.split("\n\n").collect();
    let note = |pair: &[&str]| match pair {
        [head, signatures] if signatures.starts_with(SIGNATURE) => Some(format!(
            "{}\n\n{}\n",
            head.trim_start_matches('\n'),
            signatures.trim_end_matches('\n')
        )),
        _ => None,
    };
    blocks.windows(2).filter_map(note).collect()
}

fn tail(path: &Path) -> Result<String, Failure> {
    let failed = |e: io::Error| Failure::io("read", path, &e);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(e) => return Err(failed(e)),
    };
    let length = file.metadata().map_err(failed)?.len();
    let from = length.saturating_sub(TAIL_BYTES);
    let mut bytes = vec![0; usize::try_from(length - from).unwrap_or(0)];
    file.read_exact_at(&mut bytes, from).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
