//! The one place with unsafe code: what a child does between fork and exec.
#![expect(
    unsafe_code,
    reason = "Command::pre_exec is unsafe, and so are the calls that only it can make"
)]

use nix::libc;
use nix::unistd::{Gid, Uid};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The descriptor under which a service finds its listening socket: sd_listen_fds(3).
const LISTEN_FD: RawFd = 3;

/// Who a child shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Its user.
    pub uid: Uid,
    /// Its group.
    pub gid: Gid,
    /// Its other groups, and no others.
    pub groups: Vec<Gid>,
}

/// What a child gets besides its arguments.
#[derive(Debug, Default)]
pub(crate) struct Birth {
    /// Another user; `None`: ours.
    pub identity: Option<Identity>,
    /// A listening socket as descriptor 3.
    pub listener: Option<OwnedFd>,
    /// Die by SIGTERM when we die.
    pub dies_with_us: bool,
}

/// Arranges a child's birth. The caller keeps descriptor 3 of its own occupied, see `supervise`.
pub(crate) fn arrange(command: &mut Command, birth: Birth) {
    let parent = std::process::id();
    let groups: Option<Vec<libc::gid_t>> = birth
        .identity
        .as_ref()
        .map(|who| who.groups.iter().map(|gid| gid.as_raw()).collect());
    let become_other = move || -> io::Result<()> {
        if let (Some(who), Some(groups)) = (&birth.identity, &groups) {
            // SAFETY: the pointer and the length are those of one live vector; setgroups reads no further.
            check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })?;
            let (uid, gid) = (who.uid.as_raw(), who.gid.as_raw());
            // SAFETY: takes numbers only.
            check(unsafe { libc::setresgid(gid, gid, gid) })?;
            // SAFETY: takes numbers only. Last, because it gives up the right to do the others.
            check(unsafe { libc::setresuid(uid, uid, uid) })?;
        }
        if let Some(listener) = &birth.listener {
            let from = listener.as_raw_fd();
            if from == LISTEN_FD {
                // SAFETY: the descriptor is open, owned by the closure; F_SETFD takes a number.
                check(unsafe { libc::fcntl(from, libc::F_SETFD, 0) })?;
            } else {
                // SAFETY: `from` is open, owned by the closure; what 3 was is a close-on-exec descriptor of ours, which
                // the exec would close anyway. The copy is not close-on-exec.
                check(unsafe { libc::dup2(from, LISTEN_FD) })?;
            }
        }
        if birth.dies_with_us {
            // After the change of user, which clears it: prctl(2).
            // SAFETY: PR_SET_PDEATHSIG takes a signal number.
            check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) })?;
            // SAFETY: no arguments.
            if u32::try_from(unsafe { libc::getppid() }) != Ok(parent) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are made: the bare system calls above. Nothing
    // allocates (the vector was made before the fork; errors carry a number) and no lock is taken. glibc's
    // setgroups, setresgid and setresuid signal other threads, of which the child has none.
    unsafe {
        command.pre_exec(become_other);
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
