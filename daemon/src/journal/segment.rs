//! Segments: zero-filled files of one size, made ahead, named by their first leaf.
//!
//! A segment is made as `preparing.tmp`: zeros to its full size and an fsync; then it is `prepared.tmp`; and when it is
//! begun it gets the name `<first leaf>.seg`, with an fsync of the directory. So a file under a segment's name always has its full size on disk: no later write can meet a
//! full disk, and an fdatasync carries no change of size. A crash leaves at most the two temporary names,
//! which nobody reads and the next preparation replaces.
//!
//! [`Disk`] is what the journal asks for; [`JournalDir`] does it in the right order; [`Files`] is what it does it with: the
//! host's file system, or in tests one that fails, tears and forgets at every step.
#![forbid(unsafe_code)]

use rustix::fs::statvfs;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where the next segment is being filled, and where it lies, whole, until it has a name.
const PREPARING: &str = "preparing.tmp";
const PREPARED: &str = "prepared.tmp";
/// What a segment's name ends with.
const SUFFIX: &str = ".seg";
/// Digits of a segment's name: a u64 has at most 20.
const NAME_DIGITS: usize = 20;
/// How much is zero-filled with one write, bytes: large enough that the call costs nothing, small enough to keep.
const FILL_BYTES: usize = 256 * 1024;
/// Segments are read by the auditors' group, written by the daemon alone.
const SEGMENT_MODE: u32 = 0o640;

/// The disk port: where segments are made. One thread prepares while another commits, so it is `Sync`.
pub trait Disk: Send + Sync {
    /// Makes a file of `bytes` zeros that is durable but has no name yet, replacing an earlier one. Slow.
    ///
    /// # Errors
    /// Anything, the disk being full first of all. The journal is untouched then, and it may be tried again.
    fn prepare(&self, bytes: u64) -> io::Result<()>;

    /// Gives the prepared file the name of the segment that begins with leaf `first`; durable when it returns.
    ///
    /// # Errors
    /// After one nothing is known about the directory: fatal.
    fn install(&self, first: u64) -> io::Result<Box<dyn SegmentFile>>;

    /// Opens the segment that begins with leaf `first` for writing.
    ///
    /// # Errors
    /// Where there is none, or it is not ours.
    fn open(&self, first: u64) -> io::Result<Box<dyn SegmentFile>>;

    /// The names in the directory are durable when it returns.
    ///
    /// # Errors
    /// After one nothing is known about the directory.
    fn sync_names(&self) -> io::Result<()>;
}

/// One segment, open for writing.
pub trait SegmentFile: Send {
    /// Writes all of `bytes` at `offset`; not durable.
    ///
    /// # Errors
    /// After one nothing is known about those bytes: fatal.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// One fdatasync: everything written so far is durable when it returns.
    ///
    /// # Errors
    /// After one nothing is known about what is durable, and a second try may lie: fatal.
    fn sync(&self) -> io::Result<()>;

    /// Its size, bytes.
    ///
    /// # Errors
    /// As `fstat`.
    fn size(&self) -> io::Result<u64>;

    /// One fsync: everything written so far, and the file's size, are durable when it returns.
    ///
    /// # Errors
    /// As [`SegmentFile::sync`].
    fn sync_all(&self) -> io::Result<()>;
}

/// The file operations that segments are made with, one call each, so that a test can fail and crash at every one.
pub trait Files: Send + Sync {
    /// Makes a new, empty file, for writing.
    ///
    /// # Errors
    /// As `open`; where there is one already.
    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>>;

    /// Opens a file for writing. A link is not followed.
    ///
    /// # Errors
    /// As `open`.
    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>>;

    /// Gives a file another name; durable only after [`Files::sync_dir`].
    ///
    /// # Errors
    /// As `rename`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name; durable only after [`Files::sync_dir`].
    ///
    /// # Errors
    /// As `unlink`.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// One fsync of a directory: the names in it are durable when it returns.
    ///
    /// # Errors
    /// After one nothing is known about the names.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Space that a file in `dir` may still take, bytes.
    ///
    /// # Errors
    /// As `statvfs`.
    fn available(&self, dir: &Path) -> io::Result<u64>;
}

/// The host's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostFiles;

impl Files for HostFiles {
    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(SEGMENT_MODE);
        let file = options.open(path)?;
        // The process's umask takes the group's right away.
        file.set_permissions(Permissions::from_mode(SEGMENT_MODE))?;
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(libc::O_NOFOLLOW);
        Ok(Box::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn available(&self, dir: &Path) -> io::Result<u64> {
        let space = statvfs(dir)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

/// The journal's directory.
#[derive(Debug)]
pub struct JournalDir<F = HostFiles> {
    path: PathBuf,
    files: F,
}

impl JournalDir {
    /// Names the directory; nothing is touched.
    #[must_use]
    pub fn new(path: &Path) -> JournalDir {
        JournalDir::over(path, HostFiles)
    }
}

impl<F: Files> JournalDir<F> {
    /// The same over other files than the host's.
    #[must_use]
    pub fn over(path: &Path, files: F) -> JournalDir<F> {
        JournalDir {
            path: path.to_path_buf(),
            files,
        }
    }

    fn remove_if_there(&self, path: &Path) -> io::Result<()> {
        match self.files.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn zero_filled(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = self.files.create(path)?;
        let zeros = vec![0; FILL_BYTES];
        let mut at = 0;
        while at < bytes {
            let now = usize::try_from(bytes - at).map_or(FILL_BYTES, |left| left.min(FILL_BYTES));
            file.write_at(zeros.get(..now).unwrap_or(&zeros), at)?;
            at += now as u64;
        }
        file.sync_all()
    }
}

impl<F: Files> Disk for JournalDir<F> {
    fn prepare(&self, bytes: u64) -> io::Result<()> {
        for stale in [PREPARING, PREPARED] {
            self.remove_if_there(&self.path.join(stale))?;
        }
        // Asked first, so that trying again and again never takes the last bytes from the rest of the host.
        if self.files.available(&self.path)? < bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let path = self.path.join(PREPARING);
        let made = self
            .zero_filled(&path, bytes)
            .and_then(|()| self.files.rename(&path, &self.path.join(PREPARED)));
        if made.is_err() {
            // Half a segment would hold space that the rest of the host may need; a failure to remove it changes nothing.
            drop(self.files.remove(&path));
        }
        made
    }

    fn install(&self, first: u64) -> io::Result<Box<dyn SegmentFile>> {
        let path = segment_path(&self.path, first);
        if path.exists() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("`{}` exists already", path.display()),
            ));
        }
        self.files.rename(&self.path.join(PREPARED), &path)?;
        self.sync_names()?;
        self.open(first)
    }

    fn open(&self, first: u64) -> io::Result<Box<dyn SegmentFile>> {
        self.files.open(&segment_path(&self.path, first))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.files.sync_dir(&self.path)
    }
}

impl SegmentFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }
}

/// The path of the segment that begins with leaf `first`.
#[must_use]
pub fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:0NAME_DIGITS$}{SUFFIX}"))
}

/// The segments of a journal by their first leaves, in order. Other files are not the journal's business.
///
/// # Errors
/// As `readdir`.
pub fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let first = name
            .to_str()
            .and_then(|name| name.strip_suffix(SUFFIX))
            .filter(|digits| digits.len() == NAME_DIGITS)
            .and_then(|digits| digits.parse::<u64>().ok());
        firsts.extend(first);
    }
    firsts.sort_unstable();
    Ok(firsts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prepared_segment_has_no_name_until_it_is_installed() {
        let dir = tempfile::tempdir().unwrap();
        let disk = JournalDir::new(dir.path());
        disk.prepare(300_000).unwrap();
        assert_eq!(list(dir.path()).unwrap(), Vec::<u64>::new());
        disk.install(7).unwrap();
        assert_eq!(list(dir.path()).unwrap(), [7]);
        let bytes = std::fs::read(segment_path(dir.path(), 7)).unwrap();
        assert_eq!(bytes, vec![0; 300_000]);
    }

    #[test]
    fn a_segment_that_exists_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let disk = JournalDir::new(dir.path());
        std::fs::write(segment_path(dir.path(), 7), b"answered").unwrap();
        disk.prepare(1_000).unwrap();
        assert!(disk.install(7).is_err());
        assert_eq!(
            std::fs::read(segment_path(dir.path(), 7)).unwrap(),
            b"answered"
        );
    }

    #[test]
    fn a_prepared_file_of_a_run_that_died_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(PREPARED), b"rubbish of another run").unwrap();
        let disk = JournalDir::new(dir.path());
        disk.prepare(10).unwrap();
        disk.install(0).unwrap();
        assert_eq!(std::fs::read(segment_path(dir.path(), 0)).unwrap(), [0; 10]);
    }
}
