//! What the kernel says of the process at the other end of a socket.
//!
//! Invariants:
//! - A process is held by a pidfd while files below `/proc/PID` are read, and only believed if it is still alive after
//!   the last read: until it is reaped its number names no other process, so that what was read is its own.
//! - Nothing here trusts a word of the peer. Whatever cannot be read is an error, and an error is "unverified".
//! - What a kernel shows is parsed strictly: a line of another shape is an error and not a guess.
//!
//! Limit: on kernels before 6.5 there is no SO_PEERPIDFD. The pidfd is then opened by number, and a peer that died
//! between its connect and our accept could have its number taken by another process of the same user (the user is
//! compared). SECURITY.md names it.
#![forbid(unsafe_code)]

use nix::sys::socket::{getsockopt, sockopt};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Ancestors looked at before giving up: deeper trees than this are not ours.
const ANCESTORS_MAX: usize = 4_096;
/// Largest file read below /proc, bytes: `status` is under 4 KiB, `cgroup.procs` of a new session under 100 bytes.
const PROC_FILE_BYTES_MAX: u64 = 256 * 1024;

/// A process at the other end, held alive-or-zombie by its pidfd.
#[derive(Debug)]
pub struct Peer {
    /// Its user when it connected.
    pub uid: u32,
    /// Its number, in our pid namespace.
    pub process: Process,
    pidfd: OwnedFd,
}

/// A process's identity for as long as one boot lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its number, in our pid namespace.
    pub pid: u32,
    /// Field 22 of /proc/PID/stat, clock ticks since boot.
    pub start_ticks: u64,
}

/// Why nothing is known of a peer.
#[derive(Debug, thiserror::Error)]
pub enum Unverified {
    /// The peer lives in a pid namespace that is not ours: the kernel has no number for it here.
    #[error("the peer is in a foreign pid namespace")]
    ForeignPidNamespace,
    /// It died before it could be looked at.
    #[error("the peer is gone")]
    Gone,
    /// The socket does not say.
    #[error("the socket has no peer credentials: {0}")]
    NoCredentials(#[source] std::io::Error),
    /// /proc does not say.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// /proc says something unknown.
    #[error("cannot make sense of `{}`", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// The user of the process is not the one that connected.
    #[error("the process runs as uid {now}, uid {then} connected")]
    UserChanged {
        /// At connect.
        then: u32,
        /// Now.
        now: u32,
    },
}

impl Peer {
    /// Looks at the peer of a connected Unix socket.
    ///
    /// # Errors
    /// [`Unverified`] where the kernel does not vouch for it.
    pub fn of(socket: &impl AsFd) -> Result<Peer, Unverified> {
        let credentials = getsockopt(&socket, sockopt::PeerCredentials)
            .map_err(|errno| Unverified::NoCredentials(errno.into()))?;
        let pid = u32::try_from(credentials.pid())
            .ok()
            .filter(|pid| *pid != 0)
            .ok_or(Unverified::ForeignPidNamespace)?;
        let pidfd = match getsockopt(&socket, sockopt::PeerPidfd) {
            Ok(pidfd) => pidfd,
            Err(nix::errno::Errno::ENOPROTOOPT) => open_by_number(pid)?,
            Err(_) => return Err(Unverified::Gone),
        };
        let peer = Peer {
            uid: credentials.uid(),
            process: Process {
                pid,
                start_ticks: stat(pid)?.start_ticks,
            },
            pidfd,
        };
        // SO_PEERCRED has the effective user, the second of the four.
        let [_, now, _, _] = status(pid)?.uids;
        peer.still_there()?;
        if now != peer.uid {
            return Err(Unverified::UserChanged {
                then: peer.uid,
                now,
            });
        }
        Ok(peer)
    }

    /// Its cgroup (v2), as in /proc/PID/cgroup, or `None` on a host without.
    ///
    /// # Errors
    /// [`Unverified`] where it cannot be read or the process ended meanwhile.
    pub fn cgroup(&self) -> Result<Option<String>, Unverified> {
        let cgroup = cgroup_of(self.process.pid)?;
        self.still_there()?;
        Ok(cgroup)
    }

    /// Itself and its ancestors, the nearest first, as things stand.
    ///
    /// # Errors
    /// [`Unverified`] where the chain cannot be followed or the process ended meanwhile.
    pub fn lineage(&self) -> Result<Vec<Process>, Unverified> {
        let lineage = lineage(self.process.pid)?;
        self.still_there()?;
        Ok(lineage)
    }

    /// Whether it has exactly one thread.
    ///
    /// # Errors
    /// [`Unverified`] where that cannot be read or the process ended meanwhile.
    pub fn is_single_threaded(&self) -> Result<bool, Unverified> {
        let single = threads(self.process.pid)? == 1;
        self.still_there()?;
        Ok(single)
    }

    /// Fails once the process has ended: after that its number may name another.
    ///
    /// # Errors
    /// [`Unverified::Gone`].
    pub fn still_there(&self) -> Result<(), Unverified> {
        still_there(&self.pidfd)
    }
}

/// Holds a process that is known by number only, such as the confined child that a shim names.
///
/// # Errors
/// [`Unverified::Gone`] where there is none.
pub fn open_by_number(pid: u32) -> Result<OwnedFd, Unverified> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(Unverified::Gone)?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(|_| Unverified::Gone)
}

/// Fails once the process behind `pidfd` has ended.
///
/// # Errors
/// [`Unverified::Gone`].
pub fn still_there(pidfd: &OwnedFd) -> Result<(), Unverified> {
    // A pidfd polls readable from the moment the process is a zombie (pidfd_open(2)).
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(0) => Ok(()),
        _ => Err(Unverified::Gone),
    }
}

/// What /proc/PID/status says of a process's rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Real, effective, saved, file system.
    pub uids: [u32; 4],
    /// The same.
    pub gids: [u32; 4],
    /// Supplementary.
    pub groups: Vec<u32>,
    /// Inheritable, permitted, effective, bounding, ambient.
    pub capabilities: [u64; 5],
    /// `no_new_privs`.
    pub no_new_privs: bool,
    /// 0 none, 1 strict, 2 filter.
    pub seccomp: u32,
    /// Threads.
    pub threads: u32,
}

/// Reads /proc/PID/status.
///
/// # Errors
/// [`Unverified`] where it cannot be read or lacks a line.
pub fn status(pid: u32) -> Result<Status, Unverified> {
    let path = proc_path(pid, "status");
    let text = read(&path)?;
    parse_status(&text).ok_or(Unverified::Malformed { path })
}

/// What /proc/PID/stat says of a process's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The parent's number.
    pub ppid: u32,
    /// Clock ticks since boot.
    pub start_ticks: u64,
}

/// Reads /proc/PID/stat.
///
/// # Errors
/// [`Unverified`] where it cannot be read or is malformed.
pub fn stat(pid: u32) -> Result<Stat, Unverified> {
    let path = proc_path(pid, "stat");
    let text = read(&path)?;
    parse_stat(&text).ok_or(Unverified::Malformed { path })
}

/// A process's cgroup (v2), or `None` on a host without.
///
/// # Errors
/// [`Unverified`] where it cannot be read.
pub fn cgroup_of(pid: u32) -> Result<Option<String>, Unverified> {
    Ok(parse_cgroup(&read(&proc_path(pid, "cgroup"))?))
}

/// Number of threads, counted where the kernel lists them.
///
/// # Errors
/// [`Unverified`] where the list cannot be read.
pub fn threads(pid: u32) -> Result<usize, Unverified> {
    let path = proc_path(pid, "task");
    std::fs::read_dir(&path)
        .map(Iterator::count)
        .map_err(|source| Unverified::Unreadable { path, source })
}

/// A process and its ancestors, the nearest first.
///
/// A parent that dies while we climb hands its children to its sub-reaper, so a climb that fails on a vanished
/// parent is an error and not an end.
///
/// # Errors
/// [`Unverified`] where the chain cannot be followed, or is longer than any tree of ours.
pub fn lineage(pid: u32) -> Result<Vec<Process>, Unverified> {
    let mut lineage: Vec<Process> = Vec::new();
    let mut pid = pid;
    while lineage.len() < ANCESTORS_MAX {
        let seen = stat(pid)?;
        lineage.push(Process {
            pid,
            start_ticks: seen.start_ticks,
        });
        if seen.ppid == 0 {
            return Ok(lineage);
        }
        pid = seen.ppid;
    }
    Err(Unverified::Malformed {
        path: proc_path(pid, "stat"),
    })
}

/// Where the host mounts the v2 hierarchy, if it does.
#[must_use]
pub fn cgroup2_mount() -> Option<PathBuf> {
    parse_cgroup2_mount(&std::fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// The processes in a cgroup (not below it). `cgroup` is as in /proc/PID/cgroup.
///
/// # Errors
/// [`Unverified`] where it does not exist or cannot be read.
pub fn cgroup_members(mount: &Path, cgroup: &str) -> Result<Vec<u32>, Unverified> {
    let path = mount
        .join(cgroup.trim_start_matches('/'))
        .join("cgroup.procs");
    let text = read(&path)?;
    text.lines()
        .map(|line| line.parse().ok())
        .collect::<Option<Vec<u32>>>()
        .ok_or(Unverified::Malformed { path })
}

/// /proc/sys/kernel/random/boot_id, or empty where the host hides it.
#[must_use]
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

fn proc_path(pid: u32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{file}"))
}

fn read(path: &Path) -> Result<String, Unverified> {
    use std::io::Read;
    let unreadable = |source: std::io::Error| match source.raw_os_error() {
        Some(libc::ESRCH) => Unverified::Gone,
        _ => Unverified::Unreadable {
            path: path.to_path_buf(),
            source,
        },
    };
    let mut text = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(PROC_FILE_BYTES_MAX).read_to_end(&mut text))
        .map_err(unreadable)?;
    // A process's name in `stat` and `status` is its own choice and need not be UTF-8; no other line is.
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn parse_status(text: &str) -> Option<Status> {
    // `Name:` is the process's own choice, but the kernel escapes its newlines: it cannot forge another line.
    let line = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
    };
    let four = |key: &str| -> Option<[u32; 4]> {
        let numbers: Option<Vec<u32>> = line(key)?
            .split_whitespace()
            .map(|number| number.parse().ok())
            .collect();
        numbers?.try_into().ok()
    };
    let mask = |key: &str| u64::from_str_radix(line(key)?.trim(), 16).ok();
    Some(Status {
        uids: four("Uid")?,
        gids: four("Gid")?,
        groups: line("Groups")?
            .split_whitespace()
            .map(|group| group.parse().ok())
            .collect::<Option<_>>()?,
        capabilities: [
            mask("CapInh")?,
            mask("CapPrm")?,
            mask("CapEff")?,
            mask("CapBnd")?,
            mask("CapAmb")?,
        ],
        no_new_privs: line("NoNewPrivs")?.trim() == "1",
        seccomp: line("Seccomp")?.trim().parse().ok()?,
        threads: line("Threads")?.trim().parse().ok()?,
    })
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The second field is the process's own name in parentheses and may hold anything, parentheses too: start after
    // the last one. The next field is the third (proc_pid_stat(5)).
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split_ascii_whitespace();
    let ppid = fields.nth(1)?.parse().ok()?;
    let start_ticks = fields.nth(22 - 5)?.parse().ok()?;
    Some(Stat { ppid, start_ticks })
}

fn parse_cgroup(text: &str) -> Option<String> {
    text.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(str::to_owned)
}

fn parse_cgroup2_mount(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        (right.split(' ').next() == Some("cgroup2")).then_some(())?;
        left.split(' ').nth(4).map(PathBuf::from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    const STATUS: &str = "Name:\tuid: 0\nUmask:\t0022\nTgid:\t7\nUid:\t1000\t1001\t1002\t1003\nGid:\t5\t5\t5\t5\nGroups:\t4 24 \n\
        Threads:\t1\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000001\nCapEff:\t0000000000000002\nCapBnd:\t000001ffffffffff\n\
        CapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n";

    #[test]
    fn a_status_is_read_by_whole_keys() {
        let status = parse_status(STATUS).unwrap();
        assert_eq!(status.uids, [1000, 1001, 1002, 1003]);
        assert_eq!(status.groups, [4, 24]);
        assert_eq!(status.capabilities, [0, 1, 2, 0x1ff_ffff_ffff, 0]);
        assert_eq!(
            (status.no_new_privs, status.seccomp, status.threads),
            (true, 2, 1)
        );
    }

    #[test]
    fn a_status_that_lacks_a_line_is_no_status() {
        for key in [
            "Uid",
            "Groups",
            "CapBnd",
            "NoNewPrivs",
            "Seccomp",
            "Threads",
        ] {
            let text = STATUS.replace(&format!("\n{key}:"), "\nOther:");
            assert_eq!(parse_status(&text), None, "without {key}");
        }
    }

    #[test]
    fn a_process_cannot_forge_its_parent_by_its_name() {
        let tail = (4..=22)
            .map(|field| field.to_string())
            .collect::<Vec<_>>()
            .join(" ");
        let text = format!("77 (evil) S 1 (x)) S {tail}");
        assert_eq!(
            parse_stat(&text),
            Some(Stat {
                ppid: 4,
                start_ticks: 22
            })
        );
    }

    #[test]
    fn the_cgroup_is_the_unified_one() {
        assert_eq!(
            parse_cgroup("9:name=systemd:/a\n0::/faramesh/s1\n"),
            Some("/faramesh/s1".to_owned())
        );
        assert_eq!(parse_cgroup("9:name=systemd:/a\n"), None);
    }

    #[test]
    fn the_cgroup2_mount_is_found_wherever_it_is() {
        let info = "30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n31 24 0:27 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(
            parse_cgroup2_mount(info),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
    }

    #[test]
    fn the_peer_of_a_socket_of_our_own_is_us() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Peer::of(&ours).unwrap();
        assert_eq!(peer.process.pid, std::process::id());
        let lineage = peer.lineage().unwrap();
        assert_eq!(lineage[0], peer.process);
        assert_eq!(lineage[1].pid, std::os::unix::process::parent_id());
    }

    #[test]
    fn a_process_that_ended_is_gone_even_before_it_is_reaped() {
        let mut child = std::process::Command::new("/bin/cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pidfd = open_by_number(child.id()).unwrap();
        still_there(&pidfd).unwrap();
        drop(child.stdin.take());
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
        assert!(matches!(still_there(&pidfd), Err(Unverified::Gone)));
        child.wait().unwrap();
        assert!(open_by_number(child.id()).is_err());
    }
}
