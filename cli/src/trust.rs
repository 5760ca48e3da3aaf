//! Whether somebody else could swap a file under us: the check of every directory above it.
//!
//! Invariants: a path is judged by what it really is (symbolic links resolved), from the file up to `/`; whoever owns
//! a directory or may write it can replace what lies in it, unless the directory is sticky and the entry is not
//! theirs. POSIX ACLs are not read: where they grant more than the mode's group bits they show up in those bits.
#![forbid(unsafe_code)]

use crate::accounts::{Account, groups_of};
use crate::failure::Failure;
use nix::unistd::{Gid, Uid};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const STICKY: u32 = 0o1000;
const GROUP_WRITE: u32 = 0o020;
const OTHER_WRITE: u32 = 0o002;

/// A place where a user could put something else in the place of a file that we rely on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weakness {
    /// The file or directory that the user may write.
    pub place: PathBuf,
    /// The user.
    pub user: String,
    /// Why: `owns it`, `its group may write`, `everybody may write`.
    pub how: &'static str,
    /// A command that mends it.
    pub mend: String,
}

impl Weakness {
    /// One sentence for people.
    pub fn sentence(&self) -> String {
        format!(
            "the agent's user `{}` can replace what lies at `{}`: {}",
            self.user,
            self.place.display(),
            self.how
        )
    }
}

/// Every place from `path` up to `/` that one of the users could write.
///
/// # Errors
/// The path does not exist, or a directory above it cannot be looked at.
pub fn weaknesses(path: &Path, users: &[Account]) -> Result<Vec<Weakness>, Failure> {
    let real = fs::canonicalize(path).map_err(|e| Failure::io("resolve", path, &e))?;
    let mut found = Vec::new();
    for user in users {
        let who = Who {
            uid: user.uid,
            gids: groups_of(user),
        };
        let mut entry_owner = None;
        for place in real.ancestors() {
            let meta = fs::metadata(place).map_err(|e| Failure::io("look at", place, &e))?;
            if let Some(how) = writable(&meta, &who, entry_owner) {
                let mend = mend(place, how);
                found.push(Weakness {
                    place: place.to_owned(),
                    user: user.name.clone(),
                    how,
                    mend,
                });
            }
            entry_owner = Some(meta.uid());
        }
    }
    found.sort_by(|a, b| a.place.cmp(&b.place).then_with(|| a.user.cmp(&b.user)));
    Ok(found)
}

/// Refuses to run a program that somebody other than root could have put there.
///
/// # Errors
/// The program, or a directory above it, is writable by somebody other than root.
pub fn root_may_execute(program: &Path) -> Result<(), Failure> {
    let Some(place) = writable_by_others(program)? else {
        return Ok(());
    };
    Err(Failure::permission(format!(
        "root does not execute `{}`: others than root may write `{}`",
        program.display(),
        place.display()
    ))
    .next(format!(
        "install the programs of Faramesh in a directory of root's, or `chown root:root {0} && chmod go-w {0}`",
        place.display()
    )))
}

/// Refuses an enforced stack that somebody other than root could replace: root starts the launcher that lies in it.
///
/// # Errors
/// The directory, or one above it, is writable by somebody other than root.
pub fn only_root_may_write(stack: &Path) -> Result<(), Failure> {
    let Some(place) = writable_by_others(stack)? else {
        return Ok(());
    };
    Err(Failure::configuration(format!(
        "root starts `{}`, and others than root may write `{}`",
        stack.join(".faramesh/bin/agent").display(),
        place.display()
    ))
    .next(format!(
        "`chown root:root {0} && chmod go-w {0}`, or move the stack below a directory of root's, such as /srv",
        place.display()
    )))
}

/// The first place from `path` up to `/` that somebody other than root may write.
fn writable_by_others(path: &Path) -> Result<Option<PathBuf>, Failure> {
    let real = fs::canonicalize(path).map_err(|e| Failure::io("resolve", path, &e))?;
    let mut entry_owner = None;
    for place in real.ancestors() {
        let meta = fs::metadata(place).map_err(|e| Failure::io("look at", place, &e))?;
        let sticky = meta.mode() & STICKY != 0 && entry_owner == Some(0);
        let shared =
            meta.mode() & OTHER_WRITE != 0 || (meta.mode() & GROUP_WRITE != 0 && meta.gid() != 0);
        if meta.uid() != 0 || (shared && !sticky) {
            return Ok(Some(place.to_owned()));
        }
        entry_owner = Some(meta.uid());
    }
    Ok(None)
}

struct Who {
    uid: Uid,
    gids: Vec<Gid>,
}

/// How `who` may write what `meta` describes; `entry_owner` owns the entry below that matters, where it is a directory.
fn writable(meta: &fs::Metadata, who: &Who, entry_owner: Option<u32>) -> Option<&'static str> {
    if meta.uid() == who.uid.as_raw() {
        return Some("owns it");
    }
    // In a sticky directory only the owner of an entry (or of the directory) may move or remove it.
    let guarded =
        meta.mode() & STICKY != 0 && entry_owner.is_some_and(|uid| uid != who.uid.as_raw());
    if guarded {
        return None;
    }
    if meta.mode() & GROUP_WRITE != 0 && who.gids.contains(&Gid::from_raw(meta.gid())) {
        return Some("its group may write");
    }
    (meta.mode() & OTHER_WRITE != 0).then_some("everybody may write")
}

fn mend(place: &Path, how: &str) -> String {
    let place = place.display();
    match how {
        "owns it" => format!("chown root:root {place}"),
        "its group may write" => format!("chmod g-w {place}"),
        _ => format!("chmod o-w {place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn stranger() -> Account {
        Account {
            name: "faramesh-no-such-user".into(),
            uid: Uid::from_raw(54_321),
            gid: Gid::from_raw(54_321),
        }
    }

    fn places(path: &Path) -> Vec<PathBuf> {
        weaknesses(path, &[stranger()])
            .unwrap()
            .into_iter()
            .map(|w| w.place)
            .collect()
    }

    #[test]
    fn a_world_writable_parent_is_found_from_deep_below() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir_all(open.join("a/b")).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(
            places(&open.join("a/b")),
            vec![fs::canonicalize(&open).unwrap()]
        );
    }

    #[test]
    fn a_sticky_directory_guards_the_entries_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir_all(open.join("a")).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(places(&open.join("a")), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_symbolic_link_does_not_hide_the_directory_that_it_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir_all(open.join("a")).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(open.join("a"), &link).unwrap();
        assert_eq!(places(&link), vec![fs::canonicalize(&open).unwrap()]);
    }
}
