//! Files that are whole or not there: written under a temporary name, made durable, then named.
//!
//! A group of files is made durable together: on most file systems the first fsync carries the rest.
#![forbid(unsafe_code)]

use super::Failed;
use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The auditors' group reads what is made of the journal as it reads the journal.
const FILE_MODE: u32 = 0o640;
const DIR_MODE: u32 = 0o750;
/// Set-group-id: what is made in a directory gets its group.
const SETGID: u32 = 0o2000;
/// A name ends with it until its file is whole.
const TEMPORARY: &str = ".tmp";

/// Files of a group: each is an open descriptor until the group is durable.
const GROUP_FILES: usize = 64;
/// Bytes of a group: they wait in the page cache for the fsync.
const GROUP_BYTES: usize = 16 * 1024 * 1024;

/// Writes files below one directory. What was not [`Files::finish`]ed is gone when it is dropped.
pub(crate) struct Files<'a> {
    root: &'a Path,
    open: Vec<(File, PathBuf)>,
    bytes: usize,
    /// Directories that are known to be there.
    known: BTreeSet<PathBuf>,
}

impl<'a> Files<'a> {
    /// Below `root`, which exists.
    pub(crate) fn new(root: &'a Path) -> Files<'a> {
        Files {
            root,
            open: Vec::new(),
            bytes: 0,
            known: BTreeSet::new(),
        }
    }

    /// Writes a file; the directories on its way are made. One that has the name already is replaced. Nothing has its
    /// name before [`Files::finish`].
    pub(crate) fn write(&mut self, name: &str, content: &[u8]) -> Result<(), Failed> {
        let path = self.root.join(name);
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        let temporary = temporary(&path);
        let mut file = open(&temporary).map_err(Failed::at(&temporary))?;
        let written = file.write_all(content);
        self.open.push((file, path));
        self.bytes += content.len();
        written.map_err(Failed::at(&temporary))
    }

    /// Whether it is time for [`Files::finish`]: each file is an open descriptor, and its bytes wait in memory.
    pub(crate) fn is_full(&self) -> bool {
        self.open.len() >= GROUP_FILES || self.bytes >= GROUP_BYTES
    }

    /// Everything that was written is durable and has its name when it returns.
    pub(crate) fn finish(&mut self) -> Result<(), Failed> {
        for (file, path) in &self.open {
            file.sync_all().map_err(Failed::at(path))?;
        }
        let mut parents = BTreeSet::new();
        for (_, path) in &self.open {
            std::fs::rename(temporary(path), path).map_err(Failed::at(path))?;
            parents.extend(path.parent().map(Path::to_path_buf));
        }
        self.open.clear();
        self.bytes = 0;
        for parent in parents {
            sync_directory(&parent).map_err(Failed::at(&parent))?;
        }
        Ok(())
    }

    /// Makes a directory and those above it, with the group and the rights of the root.
    fn directory(&mut self, path: &Path) -> Result<(), Failed> {
        if path == self.root || self.known.contains(path) {
            return Ok(());
        }
        let Some(parent) = path.parent() else {
            return Ok(());
        };
        self.directory(parent)?;
        let made = match DirBuilder::new().mode(DIR_MODE).create(path) {
            Ok(()) => open_to_group(path, parent).and_then(|()| sync_directory(parent)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        };
        made.map_err(Failed::at(path))?;
        self.known.insert(path.to_path_buf());
        Ok(())
    }
}

impl Drop for Files<'_> {
    /// Half a group would hold space that the rest of the host may need; a failure to remove it changes nothing.
    fn drop(&mut self) {
        for (_, path) in &self.open {
            drop(std::fs::remove_file(temporary(path)));
        }
    }
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    name.into()
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    // The process's umask takes the group's right away.
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    Ok(file)
}

/// The umask took the group's rights; set-group-id is what the parent has.
fn open_to_group(path: &Path, parent: &Path) -> io::Result<()> {
    let handed_on = std::fs::metadata(parent)?.mode() & SETGID;
    std::fs::set_permissions(path, Permissions::from_mode(DIR_MODE | handed_on))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_no_name_before_it_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files::new(dir.path());
        files.write("a/b/c", b"whole").unwrap();
        assert!(!dir.path().join("a/b/c").exists());
        files.finish().unwrap();
        assert_eq!(std::fs::read(dir.path().join("a/b/c")).unwrap(), b"whole");
        let names: Vec<_> = std::fs::read_dir(dir.path().join("a/b")).unwrap().collect();
        assert_eq!(names.len(), 1, "no temporary name is left");
    }

    #[test]
    fn a_group_that_is_not_finished_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files::new(dir.path());
        for n in 0..GROUP_FILES {
            assert!(!files.is_full());
            files.write(&format!("x/{n:03}"), b"x").unwrap();
        }
        assert!(files.is_full());
        drop(files);
        let left = std::fs::read_dir(dir.path().join("x")).unwrap();
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn what_a_run_that_died_left_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.tmp"), b"half of something longer").unwrap();
        std::fs::write(dir.path().join("b"), b"old").unwrap();
        let mut files = Files::new(dir.path());
        files.write("a", b"new").unwrap();
        files.write("b", b"new").unwrap();
        files.finish().unwrap();
        for name in ["a", "b"] {
            assert_eq!(std::fs::read(dir.path().join(name)).unwrap(), b"new");
        }
        assert!(!dir.path().join("a.tmp").exists());
    }

    #[test]
    fn files_and_directories_are_the_groups_to_read_whatever_the_umask() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o2750)).unwrap();
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        let mut files = Files::new(dir.path());
        files.write("tile/0/000", b"x").unwrap();
        files.finish().unwrap();
        rustix::process::umask(before);
        let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().mode() & 0o7777;
        assert_eq!(mode("tile"), 0o2750);
        assert_eq!(mode("tile/0"), 0o2750);
        assert_eq!(mode("tile/0/000"), 0o640);
    }
}
