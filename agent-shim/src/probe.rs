//! What is tried from inside, and how the answers are read.
//!
//! Everything is tried twice, before and after the confinement, by the same process: the first answer tells who it is
//! that refuses. All attempts are harmless where they succeed. An attempt that succeeds is never reported as enforced.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use faramesh_proto::v1::Probe;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use crate::landlock_rules::Rights;
use crate::sys;

/// Files and directories outside every grant, tried besides those that the daemon names.
const OUTSIDE_READ: [&str; 2] = ["/", "/dev"];
/// Directories that are writable on most hosts, tried besides those that the daemon names.
const OUTSIDE_WRITE: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// A port of nobody's, on the loopback.
const NOBODYS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);

/// One row for the record.
pub(crate) fn row(layer: &str, enforced: bool, measured: impl Into<String>) -> Probe {
    Probe {
        layer: layer.to_owned(),
        enforced,
        measured: measured.into(),
    }
}

/// A layer that is not there, and why.
pub(crate) fn absent(layer: &str, why: impl Display) -> Probe {
    row(layer, false, format!("absent: {why}"))
}

/// `EPERM` and its like; an error without a number by its text.
pub(crate) fn errno_name(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{:?}", Errno::from_raw(number)),
        None => error.to_string(),
    }
}

type Answer = Result<(), Errno>;

/// Both answers of one attempt, as a row.
fn compared(layer: &str, before: Answer, after: Answer, refusal: &[Errno]) -> Probe {
    let measured = match (before, after) {
        (_, Ok(())) => "allowed".to_owned(),
        (Err(before), Err(after)) if before == after => format!("{after:?}, as without this layer"),
        (Ok(()), Err(after)) => format!("{after:?}, allowed without this layer"),
        (Err(before), Err(after)) => format!("{after:?}, {before:?} without this layer"),
    };
    row(
        layer,
        after.is_err_and(|errno| refusal.contains(&errno)),
        measured,
    )
}

/// Everything that is tried, with what it needs.
#[derive(Debug)]
pub(crate) struct Attempts {
    rights: Rights,
    hidden: Vec<PathBuf>,
    daemon: Option<Pid>,
    /// A process of the same user outside the confinement.
    outsider: Pid,
    /// Held open for the abstract-socket attempt; created outside, so it stays outside.
    _listener: Option<UnixListener>,
    abstract_address: Option<SocketAddr>,
    /// Made before the filter: the filter would refuse the socket before Landlock could refuse the connection.
    tcp: Option<OwnedFd>,
}

/// The answers at one moment.
#[derive(Debug)]
pub(crate) struct Answers {
    calls: Vec<Answer>,
    files: FileAnswers,
}

/// What Landlock is asked, at one moment.
#[derive(Debug)]
pub(crate) struct FileAnswers {
    read: Vec<(PathBuf, Answer)>,
    write: Vec<(PathBuf, Answer)>,
    sockets: Vec<(PathBuf, Answer)>,
    signal_outsider: Answer,
    signal_daemon: Option<Answer>,
    abstract_unix: Option<Answer>,
    tcp_connect: Option<Answer>,
    tcp_bind: Option<Answer>,
}

impl Attempts {
    /// Prepares them, outside the confinement.
    pub(crate) fn prepare(
        rights: Rights,
        hidden: &[PathBuf],
        daemon_pid: u32,
        outsider: Pid,
    ) -> Self {
        let daemon = i32::try_from(daemon_pid)
            .ok()
            .filter(|pid| *pid > 1)
            .map(Pid::from_raw);
        let abstract_address =
            SocketAddr::from_abstract_name(format!("faramesh-probe-{}", std::process::id())).ok();
        let listener = abstract_address
            .as_ref()
            .and_then(|address| UnixListener::bind_addr(address).ok());
        let tcp = socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .ok();
        Self {
            rights,
            hidden: hidden.to_vec(),
            daemon,
            outsider,
            _listener: listener,
            abstract_address,
            tcp,
        }
    }

    /// Tries everything once: before the confinement.
    pub(crate) fn try_all(&self) -> Answers {
        Answers {
            calls: self.try_calls(),
            files: self.try_files(),
        }
    }

    /// Tries what Landlock should refuse: after it, and before seccomp, which would answer first.
    pub(crate) fn try_files(&self) -> FileAnswers {
        let hidden = || self.hidden.iter().cloned();
        let read = hidden().chain(OUTSIDE_READ.map(PathBuf::from));
        let write = hidden().chain(OUTSIDE_WRITE.map(PathBuf::from));
        let sockets = self.hidden.iter().filter(|path| is_socket(path)).cloned();
        FileAnswers {
            read: read
                .map(|path| (path.clone(), open_to_read(&path)))
                .collect(),
            write: write
                .map(|path| (path.clone(), open_to_write(&path)))
                .collect(),
            sockets: sockets
                .map(|path| (path.clone(), answer(UnixStream::connect(&path))))
                .collect(),
            signal_outsider: kill(self.outsider, None::<Signal>),
            signal_daemon: self.daemon.map(|daemon| kill(daemon, None::<Signal>)),
            abstract_unix: self
                .abstract_address
                .as_ref()
                .map(|address| answer(UnixStream::connect_addr(address))),
            tcp_connect: self
                .tcp
                .as_ref()
                .map(|tcp| answer(connect(tcp, &NOBODYS).map_err(io::Error::from))),
            tcp_bind: self
                .tcp
                .as_ref()
                .map(|_| answer(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))),
        }
    }

    /// Tries what seccomp should refuse.
    pub(crate) fn try_calls(&self) -> Vec<Answer> {
        sys::HARMLESS.iter().map(sys::Harmless::attempt).collect()
    }

    /// The rows for the record.
    pub(crate) fn compare(
        &self,
        before: &Answers,
        files: Option<&FileAnswers>,
        calls: &[Answer],
    ) -> Vec<Probe> {
        let mut rows = match files {
            Some(files) => self.landlock_rows(&before.files, files),
            None => vec![absent(
                "landlock",
                "the kernel has no Landlock, and the profile is `minimal`",
            )],
        };
        let now = files.unwrap_or(&before.files);
        rows.extend(now.signal_daemon.map(|answer| {
            let measured =
                answer.map_or_else(|errno| format!("{errno:?}"), |()| "allowed".to_owned());
            row("signal.daemon", answer == Err(Errno::EPERM), measured)
        }));
        for (harmless, (before, after)) in sys::HARMLESS.iter().zip(before.calls.iter().zip(calls))
        {
            rows.push(compared(
                harmless.layer,
                *before,
                *after,
                &[harmless.expected],
            ));
        }
        rows.extend(foreign_rows());
        rows
    }

    fn landlock_rows(&self, before: &FileAnswers, after: &FileAnswers) -> Vec<Probe> {
        let abi = self.rights.abi;
        let lacks = |what: &str| format!("Landlock ABI {abi} lacks {what}");
        let mut rows = vec![
            paths("landlock.fs.read", &before.read, &after.read),
            paths("landlock.fs.write", &before.write, &after.write),
        ];
        for (layer, since) in Rights::LATER_FILE_RIGHTS {
            rows.push(if abi >= since {
                row(layer, true, format!("the kernel took the rule (ABI {abi})"))
            } else {
                absent(layer, lacks("it"))
            });
        }
        rows.push(if self.rights.scopes() {
            compared(
                "landlock.scope.signal",
                before.signal_outsider,
                after.signal_outsider,
                &[Errno::EPERM],
            )
        } else {
            absent("landlock.scope.signal", lacks("signal scopes"))
        });
        let optional = |layer: &str,
                        has: bool,
                        what: &str,
                        before: Option<Answer>,
                        after: Option<Answer>,
                        refusal| {
            match (has, before, after) {
                (false, ..) => absent(layer, lacks(what)),
                (true, Some(before), Some(after)) => compared(layer, before, after, &[refusal]),
                (true, ..) => row(
                    layer,
                    false,
                    "not measured: the host gives no such socket to try with",
                ),
            }
        };
        let (scopes, tcp) = (self.rights.scopes(), self.rights.tcp());
        rows.push(optional(
            "landlock.scope.abstract_unix",
            scopes,
            "socket scopes",
            before.abstract_unix,
            after.abstract_unix,
            Errno::EPERM,
        ));
        rows.push(optional(
            "landlock.net.connect",
            tcp,
            "TCP rules",
            before.tcp_connect,
            after.tcp_connect,
            Errno::EACCES,
        ));
        rows.push(optional(
            "landlock.net.bind",
            tcp,
            "TCP rules",
            before.tcp_bind,
            after.tcp_bind,
            Errno::EACCES,
        ));
        rows.push(if self.rights.unix() {
            row(
                "landlock.unix.path",
                true,
                format!("the kernel took the rule (ABI {abi})"),
            )
        } else {
            absent("landlock.unix.path", lacks("rules for path sockets"))
        });
        if !after.sockets.is_empty() {
            rows.push(paths("sockets.hidden", &before.sockets, &after.sockets));
        }
        rows
    }
}

/// Several paths in one row: the worst answer counts.
fn paths(layer: &str, before: &[(PathBuf, Answer)], after: &[(PathBuf, Answer)]) -> Probe {
    if let Some((path, _)) = after.iter().find(|(_, answer)| answer.is_ok()) {
        return row(layer, false, format!("allowed: {}", path.display()));
    }
    let refused = |answer: &Answer| matches!(answer, Err(Errno::EACCES | Errno::EPERM));
    let count = after.iter().filter(|(_, answer)| refused(answer)).count();
    let already = before.iter().filter(|(_, answer)| refused(answer)).count();
    let others: Vec<String> = after
        .iter()
        .filter(|(_, answer)| !refused(answer))
        .filter_map(|(path, answer)| {
            answer
                .err()
                .map(|errno| format!("{errno:?}: {}", path.display()))
        })
        .collect();
    let mut measured = format!(
        "EACCES on {count} of {} paths, on {already} without this layer",
        after.len()
    );
    if !others.is_empty() {
        measured = format!("{measured}; {}", others.join(", "));
    }
    // A path that is not there proves nothing and leaks nothing; one refusal at least must have been seen.
    let unknown = after.iter().any(|(_, answer)| {
        !refused(answer) && !matches!(answer, Err(Errno::ENOENT | Errno::ENXIO))
    });
    row(layer, count > 0 && !unknown, measured)
}

/// Calls of foreign ABIs, each made by a child that is expected to die of it.
#[cfg(target_arch = "x86_64")]
fn foreign_rows() -> Vec<Probe> {
    use crate::sys::Foreign;
    [
        ("seccomp.x32", sys::call_x32()),
        ("seccomp.i386", sys::call_i386()),
    ]
    .into_iter()
    .map(|(layer, outcome)| match outcome {
        Ok(Foreign::Killed) => row(layer, true, "killed by SIGSYS"),
        Ok(Foreign::NoEntry) => row(layer, true, "this kernel has no such entry"),
        Ok(Foreign::Survived) => row(layer, false, "not killed"),
        Err(errno) => row(layer, false, format!("not measured: {errno:?}")),
    })
    .collect()
}

/// The filter kills foreign architectures here too, but a 64-bit program has no way to try it.
#[cfg(not(target_arch = "x86_64"))]
fn foreign_rows() -> Vec<Probe> {
    vec![absent(
        "foreign_abi",
        "filtered, but not measurable on this processor",
    )]
}

fn open_to_read(path: &Path) -> Answer {
    answer(
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path),
    )
}

/// Opens a file without creating or cutting it; in a directory, a file that never gets a name.
fn open_to_write(path: &Path) -> Answer {
    let directory = fs::metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let flags = if directory {
        libc::O_TMPFILE
    } else {
        libc::O_NONBLOCK | libc::O_NOCTTY
    };
    answer(
        OpenOptions::new()
            .write(true)
            .custom_flags(flags)
            .open(path),
    )
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn answer<T>(result: io::Result<T>) -> Answer {
    result
        .map(drop)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

/// What /proc/self/status must show of a confined process, and what it shows.
pub(crate) fn status_rows(uid: u32, gid: u32) -> Vec<Probe> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let shown = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let four = |id: u32| format!("{id} {id} {id} {id}");
    let mut rows: Vec<Probe> = [
        ("base.uid", "Uid", four(uid)),
        ("base.gid", "Gid", four(gid)),
        ("base.no_new_privs", "NoNewPrivs", "1".to_owned()),
        (
            "base.capabilities.permitted",
            "CapPrm",
            "0000000000000000".to_owned(),
        ),
        (
            "base.capabilities.inheritable",
            "CapInh",
            "0000000000000000".to_owned(),
        ),
        (
            "base.capabilities.ambient",
            "CapAmb",
            "0000000000000000".to_owned(),
        ),
        (
            "base.capabilities.bounding",
            "CapBnd",
            "0000000000000000".to_owned(),
        ),
        ("base.one_thread", "Threads", "1".to_owned()),
        ("seccomp.mode", "Seccomp", "2".to_owned()),
    ]
    .into_iter()
    .map(|(layer, name, wanted)| match shown(name) {
        Some(value) => row(layer, value == wanted, format!("{name} {value}")),
        None => row(layer, false, format!("/proc/self/status shows no {name}")),
    })
    .collect();
    let groups = shown("Groups").unwrap_or_default();
    let foreign = groups
        .split_whitespace()
        .any(|group| group != gid.to_string());
    rows.push(row(
        "base.groups",
        !foreign,
        if groups.is_empty() {
            "none".to_owned()
        } else {
            groups
        },
    ));
    rows
}

/// Descriptors that an exec would pass on.
pub(crate) fn descriptor_row() -> Probe {
    let inherited: Vec<String> = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            name.parse::<i32>()
                .is_ok_and(|fd| fd > 2 && !closes_on_exec(fd))
        })
        .collect();
    if inherited.is_empty() {
        return row("base.descriptors", true, "none above 2 survives exec");
    }
    row(
        "base.descriptors",
        false,
        format!("{} would survive exec", inherited.join(" ")),
    )
}

fn closes_on_exec(fd: i32) -> bool {
    const O_CLOEXEC_BIT: u32 = libc::O_CLOEXEC as u32;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    // The listing's own descriptor is closed by now and has no entry.
    flags.is_none_or(|flags| {
        u32::from_str_radix(flags.trim(), 8).is_ok_and(|flags| flags & O_CLOEXEC_BIT != 0)
    })
}

/// Layers that no version of this program has yet.
pub(crate) fn absent_rows() -> Vec<Probe> {
    [
        "namespaces",
        "egress",
        "listener",
        "apparmor",
        "cgroup_bpf",
        "bpf_lsm",
    ]
    .into_iter()
    .map(|layer| absent(layer, "not built yet"))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// A policy that requires what nothing measures would refuse every call; one must not be able to.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn what_a_policy_may_require_is_what_a_launch_measures() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let attempts = Attempts::prepare(
            Rights::of_this_host(),
            &[socket],
            std::process::id(),
            Pid::this(),
        );
        let answers = attempts.try_all();
        let mut rows = attempts.compare(&answers, Some(&answers.files), &answers.calls);
        rows.extend(attempts.compare(&answers, None, &answers.calls));
        rows.extend(status_rows(0, 0));
        rows.push(descriptor_row());
        rows.extend(absent_rows());
        rows.extend(crate::cgroup::absent_rows("no cgroup"));
        let measured: BTreeSet<&str> = rows.iter().map(|row| row.layer.as_str()).collect();
        let required: BTreeSet<&str> = faramesh_core::record::LAYERS.iter().copied().collect();
        assert_eq!(measured, required);
        assert!(faramesh_core::record::LAYERS.is_sorted());
    }
}
