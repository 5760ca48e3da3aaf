//! Users and groups of the enforced set-up: which there are, and how a missing one is made.
#![forbid(unsafe_code)]

use crate::failure::Failure;
use nix::unistd::{Gid, Group, Uid, User};
use std::process::Command;

/// The daemon's user and group.
pub const DAEMON: &str = "faramesh";
/// The signer's user and group.
pub const SIGNER: &str = "faramesh-signer";
/// The user and group under which a session's parent stays behind: not the agent's, not the daemon's.
pub const SHIM: &str = "faramesh-shim";
/// The user and group of what searches the journal.
pub const INDEX: &str = "faramesh-index";
/// Who may use the admin socket.
pub const OPERATORS: &str = "faramesh-operators";
/// Who may read the journal.
pub const AUDIT: &str = "faramesh-audit";

/// Every user of ours: no agent may run as one of them.
pub const OWN_USERS: [&str; 4] = [DAEMON, SIGNER, SHIM, INDEX];
/// Users that `apply` does not make, because not every host has them; no agent may run as one of them either.
pub const OTHER_USERS: [&str; 2] = ["faramesh-anchor", "faramesh-witness"];
/// Every group of ours: no agent may have one of them.
pub const OWN_GROUPS: [&str; 6] = [DAEMON, SIGNER, SHIM, INDEX, OPERATORS, AUDIT];

/// A user that exists, with its primary group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: Uid,
    /// Its primary group.
    pub gid: Gid,
}

/// What [`ensure_user`] and [`ensure_group`] had to make, one sentence each.
pub type Made = Vec<String>;

/// The user of a name, or `None`.
///
/// # Errors
/// The user database cannot be read.
pub fn user(name: &str) -> Result<Option<Account>, Failure> {
    let found = User::from_name(name)
        .map_err(|e| Failure::unavailable(format!("cannot look up the user `{name}`: {e}")))?;
    Ok(found.map(|u| Account {
        name: u.name,
        uid: u.uid,
        gid: u.gid,
    }))
}

/// The user of a name, which must exist.
///
/// # Errors
/// It does not, or the database cannot be read.
pub fn existing_user(name: &str) -> Result<Account, Failure> {
    user(name)?.ok_or_else(|| {
        Failure::configuration(format!("there is no user `{name}`"))
            .next("run `faramesh apply` as root: it makes the users of the enforced set-up")
    })
}

/// The group of a name, or `None`.
///
/// # Errors
/// The group database cannot be read.
pub fn group(name: &str) -> Result<Option<Gid>, Failure> {
    let found = Group::from_name(name)
        .map_err(|e| Failure::unavailable(format!("cannot look up the group `{name}`: {e}")))?;
    Ok(found.map(|g| g.gid))
}

/// The group of a name, which must exist.
///
/// # Errors
/// It does not, or the database cannot be read.
pub fn existing_group(name: &str) -> Result<Gid, Failure> {
    group(name)?.ok_or_else(|| {
        Failure::configuration(format!("there is no group `{name}`"))
            .next("run `faramesh apply` as root: it makes the groups of the enforced set-up")
    })
}

/// Makes the users and groups of Faramesh itself where they are missing. The daemon is a member of the operators'
/// and auditors' groups, because it gives its admin socket to the one and its journal to the other; the index is an
/// auditor.
///
/// # Errors
/// A program that makes them is missing or refuses.
pub fn ensure_own() -> Result<Made, Failure> {
    let mut made = Made::new();
    for name in OWN_GROUPS {
        ensure_group(name, &mut made)?;
    }
    for name in OWN_USERS {
        ensure_user(name, name, &mut made)?;
    }
    for (name, user) in [(OPERATORS, DAEMON), (AUDIT, DAEMON), (AUDIT, INDEX)] {
        if !members(name)?.iter().any(|m| m == user) {
            run("usermod", &["--append", "--groups", name, user])?;
            made.push(format!("put the user `{user}` into the group `{name}`"));
        }
    }
    Ok(made)
}

/// Makes an agent's user where it is missing, with a group of its own, no home, no shell and no password.
///
/// # Errors
/// A program that makes them is missing or refuses.
pub fn ensure_agent(name: &str, made: &mut Made) -> Result<Account, Failure> {
    if let Some(account) = user(name)? {
        return Ok(account);
    }
    ensure_group(name, made)?;
    ensure_user(name, name, made)?;
    existing_user(name)
}

fn ensure_group(name: &str, made: &mut Made) -> Result<(), Failure> {
    if group(name)?.is_some() {
        return Ok(());
    }
    match run("groupadd", &["--system", name]) {
        Ok(()) => made.push(format!("made the group `{name}`")),
        // Another `apply` made it in the meantime.
        Err(failure) if group(name)?.is_none() => return Err(failure),
        Err(_) => {}
    }
    Ok(())
}

fn ensure_user(name: &str, group: &str, made: &mut Made) -> Result<(), Failure> {
    if user(name)?.is_some() {
        return Ok(());
    }
    let args = [
        "--system",
        "--gid",
        group,
        "--no-create-home",
        "--home-dir",
        "/nonexistent",
        "--shell",
        "/usr/sbin/nologin",
        name,
    ];
    match run("useradd", &args) {
        Ok(()) => made.push(format!("made the user `{name}`")),
        Err(failure) if user(name)?.is_none() => return Err(failure),
        Err(_) => {}
    }
    Ok(())
}

fn members(name: &str) -> Result<Vec<String>, Failure> {
    let found = Group::from_name(name)
        .map_err(|e| Failure::unavailable(format!("cannot look up the group `{name}`: {e}")))?;
    Ok(found.map(|g| g.mem).unwrap_or_default())
}

/// Every group of a user: the primary one and those it is a member of.
pub fn groups_of(account: &Account) -> Vec<Gid> {
    let listed = std::ffi::CString::new(account.name.as_str())
        .ok()
        .and_then(|name| nix::unistd::getgrouplist(&name, account.gid).ok());
    listed.unwrap_or_else(|| vec![account.gid])
}

/// Runs one of the system's own account programs by its absolute path: root's PATH is nobody's to choose.
fn run(program: &str, args: &[&str]) -> Result<(), Failure> {
    let path = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
        .iter()
        .map(|dir| std::path::Path::new(dir).join(program))
        .find(|path| path.exists())
        .ok_or_else(|| {
            Failure::unavailable(format!("`{program}` is not installed"))
                .next("install the package `passwd`, or make the users and groups by hand (docs/cli.md lists them)")
        })?;
    let out = Command::new(&path)
        .args(args)
        .env_clear()
        .output()
        .map_err(|e| Failure::unavailable(format!("cannot run `{}`: {e}", path.display())))?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    Err(Failure::unavailable(format!(
        "`{program} {}` failed: {}",
        args.join(" "),
        said.trim()
    )))
}
