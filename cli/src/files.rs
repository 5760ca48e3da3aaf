//! Files that are written so that a crash leaves the old one or the new one, and read with a limit.
//!
//! Invariant of [`write_durably`]: when it returns, the bytes, the name and the owner are on disk; when the machine dies
//! before, the path still holds what it held. A left-over temporary file is named `.NAME.new` and is overwritten.
#![forbid(unsafe_code)]

use crate::accounts;
use crate::failure::Failure;
use crate::layout::Place;
use nix::unistd::{Gid, Uid};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Who a file belongs to; `None` leaves it to whoever runs the command (development).
pub type Owner = Option<(Uid, Gid)>;

/// Writes a file by way of a temporary one, and makes it and its name durable.
///
/// # Errors
/// Any step failed; the file is what it was.
pub fn write_durably(path: &Path, bytes: &[u8], mode: u32, owner: Owner) -> Result<(), Failure> {
    let fresh = temporary(path);
    let written = write_new(&fresh, bytes, mode, owner).and_then(|()| fs::rename(&fresh, path));
    written.map_err(|e| Failure::io("write", path, &e))?;
    sync_parent(path)
}

fn write_new(fresh: &Path, bytes: &[u8], mode: u32, owner: Owner) -> std::io::Result<()> {
    match fs::remove_file(fresh) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    // Private until it belongs to whom it should: a secret is never readable in between.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(fresh)?;
    file.write_all(bytes)?;
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::fchown(&file, Some(uid.as_raw()), Some(gid.as_raw()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

fn temporary(path: &Path) -> PathBuf {
    let name = path
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    path.with_file_name(format!(".{name}.new"))
}

/// Removes a file if it is there, and makes that durable.
///
/// # Errors
/// It is still there, or might come back.
pub fn remove_durably(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Ok(()) => sync_parent(path),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Failure::io("remove", path, &e)),
    }
}

fn sync_parent(path: &Path) -> Result<(), Failure> {
    let dir = match path.parent() {
        // A bare name lies in the working directory.
        Some(dir) if dir.as_os_str().is_empty() => Path::new("."),
        Some(dir) => dir,
        None => Path::new("/"),
    };
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| Failure::io("sync", dir, &e))
}

/// Reads a file of at most `bytes_max`; `None` where there is none.
///
/// # Errors
/// It cannot be read, is no regular file, or is larger.
pub fn read_limited(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, Failure> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Failure::io("read", path, &e)),
    };
    let meta = file
        .metadata()
        .map_err(|e| Failure::io("look at", path, &e))?;
    if !meta.is_file() {
        return Err(Failure::data(format!(
            "`{}` is not a regular file",
            path.display()
        )));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::io("read", path, &e))?;
    if bytes.len() as u64 > bytes_max {
        return Err(Failure::data(format!(
            "`{}` is larger than {bytes_max} bytes",
            path.display()
        )));
    }
    Ok(Some(bytes))
}

/// The same for text.
///
/// # Errors
/// As [`read_limited`], or it is not UTF-8.
pub fn read_text(path: &Path, bytes_max: u64) -> Result<Option<String>, Failure> {
    let Some(bytes) = read_limited(path, bytes_max)? else {
        return Ok(None);
    };
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|e| Failure::data(format!("`{}` is not UTF-8: {e}", path.display())))
}

/// Makes a directory with its owner and mode, or gives an existing one what it should have.
///
/// # Errors
/// It cannot be made, or something that is no directory stands there.
pub fn ensure_place(place: &Place, enforced: bool) -> Result<(), Failure> {
    let owner = match enforced {
        true => Some(owner(place.user, place.group)?),
        false => None,
    };
    ensure_dir(&place.path, place.mode, owner)
}

/// The numbers of a user and a group that must exist.
///
/// # Errors
/// One of them does not.
pub fn owner(user: &str, group: &str) -> Result<(Uid, Gid), Failure> {
    let uid = if user == "root" {
        Uid::from_raw(0)
    } else {
        accounts::existing_user(user)?.uid
    };
    let gid = if group == "root" {
        Gid::from_raw(0)
    } else {
        accounts::existing_group(group)?
    };
    Ok((uid, gid))
}

/// See [`ensure_place`].
///
/// # Errors
/// The same.
pub fn ensure_dir(path: &Path, mode: u32, owner: Owner) -> Result<(), Failure> {
    let failed = |what: &str, e: rustix::io::Errno| Failure::io(what, path, &e.into());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Failure::configuration(format!(
            "`{}` names no directory",
            path.display()
        )));
    };
    // Descriptors from here on, and no symbolic link on the way: another user may own the parent, and whoever could put
    // a link there between two looks would choose what gets our owner and mode.
    let on_the_way = match owner {
        Some(_) => ResolveFlags::NO_SYMLINKS,
        None => ResolveFlags::empty(),
    };
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let parent = rustix::fs::openat2(CWD, parent, flags, Mode::empty(), on_the_way)
        .map_err(|e| failed("open the directory above", e))?;
    match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
        Ok(()) => rustix::fs::fsync(&parent).map_err(|e| failed("make durable", e))?,
        Err(rustix::io::Errno::EXIST) => {}
        Err(e) => return Err(failed("make the directory", e)),
    }
    let dir = match rustix::fs::openat(&parent, name, flags, Mode::empty()) {
        Ok(dir) => File::from(dir),
        Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
            return Err(
                Failure::configuration(format!("`{}` is not a directory", path.display())).next(
                    "move it away: something else stands where a directory of Faramesh belongs",
                ),
            );
        }
        Err(e) => return Err(failed("open", e)),
    };
    let meta = dir
        .metadata()
        .map_err(|e| Failure::io("look at", path, &e))?;
    if let Some((uid, gid)) = owner
        && (meta.uid(), meta.gid()) != (uid.as_raw(), gid.as_raw())
    {
        std::os::unix::fs::fchown(&dir, Some(uid.as_raw()), Some(gid.as_raw()))
            .map_err(|e| Failure::io("change the owner of", path, &e))?;
    }
    if meta.mode() & 0o7777 != mode || owner.is_some() {
        dir.set_permissions(fs::Permissions::from_mode(mode))
            .map_err(|e| Failure::io("change the mode of", path, &e))?;
    }
    Ok(())
}

/// Makes a directory of a stack's own (`.faramesh`, `workspace`) and its parents, for whoever runs the command.
///
/// # Errors
/// It cannot be made.
pub fn ensure_plain_dir(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|e| Failure::io("make the directory", path, &e))
}

/// Whether a daemon alive, or whoever mends the journal, holds the lock of the journal in `dir`.
pub fn journal_is_held(dir: &Path) -> bool {
    is_locked(&dir.join(faramesh_daemon::journal::recover::LOCK))
}

/// Whether somebody alive holds a lock on a file. The kernel's list is read: the file may be closed to us, as a journal's
/// lock is to its readers, and a try at the wrong moment would keep a daemon from starting. What another pid namespace
/// holds is not in that list and counts as no.
pub fn is_locked(path: &Path) -> bool {
    let Ok(meta) = fs::metadata(path) else {
        return false;
    };
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    locks
        .lines()
        .any(|line| is_flock_on(line, meta.dev(), meta.ino()))
}

/// A line is `1: FLOCK  ADVISORY  WRITE 123 fe:01:4567 0 EOF`: the device's numbers in hex, the inode's decimal; one
/// that waits has an arrow behind the number. proc_locks(5).
fn is_flock_on(line: &str, dev: u64, ino: u64) -> bool {
    let mut words = line.split_whitespace().skip(1);
    if words.next() != Some("FLOCK") {
        return false;
    }
    let Some(place) = words.nth(3) else {
        return false;
    };
    let mut parts = place.split(':');
    let major = parts
        .next()
        .and_then(|part| u32::from_str_radix(part, 16).ok());
    let minor = parts
        .next()
        .and_then(|part| u32::from_str_radix(part, 16).ok());
    let inode = parts.next().and_then(|part| part.parse().ok());
    major == Some(rustix::fs::major(dev))
        && minor == Some(rustix::fs::minor(dev))
        && inode == Some(ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_has_its_mode_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("next");
        fs::write(temporary(&path), b"left over").unwrap();
        write_durably(&path, b"one", 0o640, None).unwrap();
        write_durably(&path, b"two", 0o640, None).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        fs::write(&path, [0; 11]).unwrap();
        assert!(
            read_limited(&path, 10)
                .unwrap_err()
                .message
                .contains("larger than 10 bytes")
        );
        assert_eq!(read_limited(&path, 11).unwrap().unwrap().len(), 11);
        assert_eq!(read_limited(&dir.path().join("none"), 1).unwrap(), None);
    }

    #[test]
    fn a_symbolic_link_is_not_taken_for_a_directory_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("victim")).unwrap();
        let link = dir.path().join("policy");
        std::os::unix::fs::symlink(dir.path().join("victim"), &link).unwrap();
        assert_eq!(ensure_dir(&link, 0o777, None).unwrap_err().exit, 78);
    }

    #[test]
    fn where_an_owner_is_given_no_link_on_the_way_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("victim")).unwrap();
        let link = dir.path().join("agents");
        std::os::unix::fs::symlink(dir.path().join("victim"), &link).unwrap();
        let owner = Some((Uid::effective(), Gid::effective()));
        assert!(ensure_dir(&link.join("7"), 0o755, owner).is_err());
        assert_eq!(fs::read_dir(dir.path().join("victim")).unwrap().count(), 0);
    }

    #[test]
    fn the_journals_lock_is_seen_while_it_is_held_and_the_directorys_is_nobodys() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!journal_is_held(dir.path()));
        let file = File::open(dir.path()).unwrap();
        let readers =
            nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock).unwrap();
        assert!(!journal_is_held(dir.path()));
        let held = faramesh_daemon::journal::recover::Lock::take(dir.path()).unwrap();
        assert!(journal_is_held(dir.path()));
        drop((held, readers));
        assert!(!journal_is_held(dir.path()));
    }

    #[test]
    fn a_waiting_lock_is_not_a_held_one() {
        assert!(is_flock_on(
            "1: FLOCK  ADVISORY  WRITE 1 fe:01:45 0 EOF",
            rustix::fs::makedev(0xfe, 1),
            45
        ));
        assert!(!is_flock_on(
            "1: -> FLOCK  ADVISORY  WRITE 1 fe:01:45 0 EOF",
            rustix::fs::makedev(0xfe, 1),
            45
        ));
        assert!(!is_flock_on(
            "1: POSIX  ADVISORY  WRITE 1 fe:01:45 0 EOF",
            rustix::fs::makedev(0xfe, 1),
            45
        ));
    }
}
