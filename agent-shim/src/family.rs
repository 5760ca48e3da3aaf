//! The staying processes. The shim holds the connection to the daemon and the agent's status; the keeper is the parent
//! of the agent's tree. Each watches the other through a pidfd, both are sub-reapers, and both can end the tree, so
//! that only somebody who kills both at once (root, or their own user) leaves an agent behind.
//!
//! Enforced, both run as a user of their own with CAP_KILL alone, which forwarding a signal to another user needs.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use faramesh_proto::frame::{self, ATTACH_BYTES_MAX, Broken};
use faramesh_proto::v1::AttachMessage;
use faramesh_proto::v1::attach_message::Kind;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid, getpid, getppid, setgroups, setresgid, setresuid};
use rustix::process::{PidfdFlags, pidfd_open};
use rustix::thread::CapabilitySet;

use crate::cgroup::Cgroup;
use crate::confine::{self, Plan};
use crate::{Failure, attach, say, sys};

/// Signals that are meant for the agent when somebody sends them to the shim.
const FORWARDED: [Signal; 8] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGALRM,
];

/// `si_code` of a signal that the terminal made: the agent is in its foreground group and has it already.
const SI_KERNEL: i32 = 0x80;

/// How long the agent's process may take to confine itself and try everything.
const CONFINE_TIMEOUT: Duration = Duration::from_secs(60);

/// Between two looks at a tree that is being ended.
const REAP_INTERVAL: Duration = Duration::from_millis(2);

/// What shells add to a signal's number.
const SIGNALLED: i32 = 128;

/// Who started the shim.
#[derive(Debug, Clone, Copy)]
pub struct Starter {
    /// The effective user.
    pub uid: Uid,
}

impl Starter {
    /// Asks the kernel.
    pub fn current() -> Self {
        Self {
            uid: Uid::effective(),
        }
    }

    /// Whether users can be changed and cgroups made.
    pub fn is_root(self) -> bool {
        self.uid.is_root()
    }

    /// Whether the agent gets a user of its own: the enforced set-up.
    pub fn changes_to(self, agent: Uid) -> bool {
        self.is_root() && !agent.is_root()
    }
}

/// The shim's side of a session.
#[derive(Debug)]
pub struct Family {
    plan: Plan,
    daemon: UnixStream,
    /// To and from the agent's process until its exec.
    agent: UnixStream,
    keeper: Pid,
    /// One byte: the agent's exit status. Closed without it where the keeper died.
    status: PipeReader,
    signals: SignalFd,
}

/// A sealed session: the agent runs.
#[derive(Debug)]
pub struct Running {
    family: Family,
    agent: Pid,
}

impl Family {
    /// Forks the keeper, which forks the agent's process. Returns in the shim.
    ///
    /// # Errors
    /// 70 where the kernel refuses a step; nothing is left running.
    pub fn fork(plan: Plan, daemon: UnixStream) -> Result<Self, Failure> {
        let internal = |what: &str, cause: &dyn std::fmt::Display| {
            Failure::new(Failure::INTERNAL, format!("cannot {what}: {cause}"))
        };
        if let Some((keeper, _)) = plan.keeper {
            plan.cgroup
                .hand_over(keeper.as_raw())
                .map_err(|cause| internal("hand over the cgroup", &cause))?;
        }
        nix::sys::prctl::set_child_subreaper(true)
            .map_err(|cause| internal("adopt orphans", &cause))?;
        let mut mask: SigSet = FORWARDED.into_iter().collect();
        mask.add(Signal::SIGCHLD);
        mask.thread_block()
            .map_err(|cause| internal("block signals", &cause))?;
        let (ours, theirs) =
            UnixStream::pair().map_err(|cause| internal("make a socket pair", &cause))?;
        let (status, status_writer) =
            io::pipe().map_err(|cause| internal("make a pipe", &cause))?;
        let shim = getpid();
        let Some(keeper) = sys::fork().map_err(|cause| internal("fork", &cause))? else {
            // The keeper must not hold the daemon's connection: its end tells the daemon that the shim is gone.
            drop((daemon, ours, status));
            keep(&plan, shim, theirs, status_writer)
        };
        drop((theirs, status_writer));
        let signals = watch(&FORWARDED).map_err(|cause| internal("watch signals", &cause));
        let family = signals.map(|signals| Self {
            plan,
            daemon,
            agent: ours,
            keeper,
            status,
            signals,
        })?;
        match stay_small(&family.plan) {
            Ok(()) => Ok(family),
            Err(failure) => Err(family.give_up(failure)),
        }
    }

    /// Carries the rows to the daemon and its word to the agent's process, and sees the exec happen.
    ///
    /// # Errors
    /// What the daemon, the agent's process or the kernel refused; the tree is ended.
    pub fn seal(mut self) -> Result<Running, Failure> {
        match self.carry() {
            Ok(agent) => Ok(Running {
                family: self,
                agent,
            }),
            Err(failure) => Err(self.give_up(failure)),
        }
    }

    fn carry(&mut self) -> Result<Pid, Failure> {
        let timed = self.agent.set_read_timeout(Some(CONFINE_TIMEOUT));
        timed.map_err(|cause| {
            Failure::new(Failure::INTERNAL, format!("cannot set a timeout: {cause}"))
        })?;
        let probes = match from_agent(&mut self.agent)? {
            Some(Kind::Probes(probes)) => probes,
            Some(other) => return Err(attach::unexpected(&other)),
            None => {
                return Err(Failure::new(
                    Failure::INTERNAL,
                    "the agent's process died while it confined itself",
                ));
            }
        };
        let agent = i32::try_from(probes.pid)
            .map(Pid::from_raw)
            .unwrap_or(self.keeper);
        attach::send(&mut self.daemon, Kind::Probes(probes))?;
        let word = attach::receive(&mut self.daemon)?;
        if !matches!(word, Kind::Sealed(_)) {
            return Err(attach::unexpected(&word));
        }
        attach::send(&mut self.agent, word)?;
        match from_agent(&mut self.agent)? {
            None => Ok(agent), // closed by the exec
            Some(other) => Err(attach::unexpected(&other)),
        }
    }

    fn give_up(&self, failure: Failure) -> Failure {
        end_tree(&self.plan.cgroup, Some(self.keeper));
        self.plan.cgroup.remove();
        failure
    }
}

/// One message of the agent's process; none where it has closed. A refusal of its own ends the session.
fn from_agent(agent: &mut UnixStream) -> Result<Option<Kind>, Failure> {
    match frame::read::<AttachMessage>(agent, ATTACH_BYTES_MAX) {
        Ok(AttachMessage {
            kind: Some(Kind::Refused(refused)),
        }) => Err(Failure::new(
            refused.code.parse().unwrap_or(Failure::INTERNAL),
            refused.message,
        )),
        Ok(AttachMessage { kind }) => Ok(kind),
        Err(Broken::Closed) => Ok(None),
        Err(broken) => Err(Failure::new(
            Failure::INTERNAL,
            format!("the agent's process: {broken}"),
        )),
    }
}

/// What the shim waits for.
enum Event {
    Signal,
    Daemon,
    Status,
}

impl Running {
    /// Stays until the agent, the keeper or the daemon is gone. Returns the agent's exit status.
    ///
    /// # Errors
    /// 69 where the daemon went away, 77 where it ended the session, 70 where the keeper was killed.
    pub fn stay(mut self) -> Result<u8, Failure> {
        loop {
            match self.next() {
                Event::Signal => self.forward(),
                Event::Daemon => {
                    let why = self.last_words();
                    return Err(self.family.give_up(why));
                }
                Event::Status => {
                    let mut status = [0];
                    let reported = self.family.status.read_exact(&mut status);
                    end_tree(&self.family.plan.cgroup, Some(self.family.keeper));
                    self.family.plan.cgroup.remove();
                    let [status] = status;
                    return reported.map(|()| status).map_err(|_| {
                        Failure::new(
                            Failure::INTERNAL,
                            "the keeper was killed; the agent is ended",
                        )
                    });
                }
            }
        }
    }

    fn next(&self) -> Event {
        let mut watched = [
            PollFd::new(self.family.status.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.family.daemon.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.family.signals.as_fd(), PollFlags::POLLIN),
        ];
        loop {
            let _ = poll(&mut watched, PollTimeout::NONE);
            let ready = |watched: &PollFd<'_>| watched.any().unwrap_or(true);
            let [status, daemon, signals] = &watched;
            if ready(status) {
                return Event::Status;
            }
            if ready(daemon) {
                return Event::Daemon;
            }
            if ready(signals) {
                return Event::Signal;
            }
        }
    }

    fn forward(&self) {
        while let Ok(Some(info)) = self.family.signals.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            if let (Ok(signal), false) = (Signal::try_from(number), info.ssi_code == SI_KERNEL) {
                let _ = kill(self.agent, signal);
            }
        }
    }

    /// After SEALED the daemon says nothing unless it ends the session.
    fn last_words(&mut self) -> Failure {
        match attach::receive(&mut self.family.daemon) {
            Err(refused) if refused.status == Failure::REFUSED => refused,
            Err(_) => Failure::new(
                Failure::UNAVAILABLE,
                "the daemon closed the session; the agent is ended",
            ),
            Ok(other) => attach::unexpected(&other),
        }
    }
}

/// The keeper's whole life.
fn keep(plan: &Plan, shim: Pid, agent: UnixStream, status: PipeWriter) -> ! {
    let me = getpid();
    let forked = nix::sys::prctl::set_child_subreaper(true).and_then(|()| sys::fork());
    let child = match forked {
        Ok(None) => {
            drop(status);
            confine::become_agent(plan, agent, me)
        }
        Ok(Some(child)) => child,
        Err(cause) => {
            say(&format!("cannot fork the agent's process: {cause}"));
            sys::exit(Failure::INTERNAL.into())
        }
    };
    drop(agent);
    // The shim may have died before its pidfd was opened, and its number may be another's now.
    let watched = stay_small(plan)
        .ok()
        .and_then(|()| Some((watch(&[Signal::SIGCHLD]).ok()?, open_pidfd(shim)?)));
    let outcome = match watched {
        Some((signals, shim_fd)) if getppid() == shim => watch_over(child, &signals, &shim_fd),
        _ => None,
    };
    end_tree(&plan.cgroup, None);
    match outcome {
        Some(outcome) => {
            let _ = (&status).write_all(&[outcome]);
        }
        None => plan.cgroup.remove(),
    }
    sys::exit(0)
}

/// Reaps until the agent ends (its status) or the shim does (none).
fn watch_over(agent: Pid, signals: &SignalFd, shim: &OwnedFd) -> Option<u8> {
    loop {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            match status {
                WaitStatus::Exited(pid, code) if pid == agent => {
                    return u8::try_from(code & 0xff).ok();
                }
                WaitStatus::Signaled(pid, signal, _) if pid == agent => {
                    return u8::try_from(SIGNALLED + signal as i32).ok();
                }
                WaitStatus::StillAlive => break,
                _ => {}
            }
        }
        let mut watched = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(shim.as_fd(), PollFlags::POLLIN),
        ];
        let _ = poll(&mut watched, PollTimeout::NONE);
        let [children, shim] = &watched;
        if children.any().unwrap_or(true) {
            while let Ok(Some(_)) = signals.read_signal() {}
        }
        if shim.any().unwrap_or(true) {
            return None;
        }
    }
}

/// Ends every process of the session and reaps what became our child, until none is left. The shim passes the
/// keeper's pid: while that one lives it reaps and then exits by itself; where it is dead its children are ours.
fn end_tree(cgroup: &Cgroup, keeper: Option<Pid>) {
    loop {
        // Both, because a process that has not joined the cgroup yet is only found by descent.
        cgroup.kill();
        for pid in descendants(getpid())
            .into_iter()
            .filter(|pid| Some(*pid) != keeper)
        {
            let _ = kill(pid, Signal::SIGKILL);
        }
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return,
            Ok(WaitStatus::StillAlive) => std::thread::sleep(REAP_INTERVAL),
            _ => {}
        }
    }
}

/// Everything below `root`, by /proc/PID/stat. A process that is born meanwhile is found in the next round.
fn descendants(root: Pid) -> Vec<Pid> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![root.as_raw()];
    while let Some(pid) = open.pop() {
        let below = children.remove(&pid).unwrap_or_default();
        found.extend(below.iter().copied().map(Pid::from_raw));
        open.extend(below);
    }
    found
}

/// The fourth field of /proc/PID/stat; the second is in parentheses and may contain any character.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    after.split_whitespace().nth(1)?.parse().ok()
}

/// Gives up everything that staying does not need.
fn stay_small(plan: &Plan) -> Result<(), Failure> {
    let failed = |what: &str, cause: Errno| {
        Failure::new(Failure::INTERNAL, format!("cannot {what}: {cause}"))
    };
    nix::sys::prctl::set_dumpable(false)
        .map_err(|cause| failed("hide the staying process", cause))?;
    if let Some(keeper) = plan.keeper {
        become_keeper(keeper)?;
    } else if plan.starter.is_root() {
        confine::set_capabilities(CapabilitySet::empty())?;
    }
    nix::sys::prctl::set_no_new_privs().map_err(|cause| failed("set no_new_privs", cause))
}

fn become_keeper((uid, gid): (Uid, Gid)) -> Result<(), Failure> {
    let failed = |what: &str, cause: Errno| {
        Failure::new(Failure::INTERNAL, format!("cannot {what}: {cause}"))
    };
    sys::drop_bounding_set().map_err(|cause| failed("empty the capability bounding set", cause))?;
    setgroups(&[]).map_err(|cause| failed("drop the supplementary groups", cause))?;
    setresgid(gid, gid, gid).map_err(|cause| failed("take the keeper's group", cause))?;
    nix::sys::prctl::set_keepcaps(true).map_err(|cause| failed("keep CAP_KILL", cause))?;
    setresuid(uid, uid, uid).map_err(|cause| failed("take the keeper's user", cause))?;
    confine::set_capabilities(CapabilitySet::KILL)?;
    // Changing the user makes a process undumpable only by the host's setting; say it again.
    nix::sys::prctl::set_dumpable(false).map_err(|cause| failed("hide the staying process", cause))
}

fn watch(signals: &[Signal]) -> Result<SignalFd, Errno> {
    let mask: SigSet = signals.iter().copied().collect();
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

fn open_pidfd(pid: Pid) -> Option<OwnedFd> {
    pidfd_open(
        rustix::process::Pid::from_raw(pid.as_raw())?,
        PidfdFlags::empty(),
    )
    .ok()
}
