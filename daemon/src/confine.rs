//! The daemon gives up what it does not need, before it listens and while it has one thread.
//!
//! Invariants:
//! - [`enter`] is called before any thread or runtime exists: both filters hold for the calling thread and for all
//!   that it makes, and for nothing else. It refuses to run with two threads.
//! - What is claimed was tried: after the filters are in place an inet socket and a read of `/` must be refused.
//! - There is no way back, and nothing after this can load a program: `execve` is not in the list.
#![forbid(unsafe_code)]

use crate::config::Config;
use crate::peers;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
};
use rustix::process::DumpableBehavior;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The Landlock version whose rights are all handled; on an older kernel those that it has. 6: TCP, signals, abstract sockets.
const LANDLOCK_ABI: ABI = ABI::V6;

/// Why the daemon could not be confined.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// Filters would miss the other threads.
    #[error("cannot confine a process of {0} threads")]
    Threads(usize),
    /// A process attribute.
    #[error("cannot set {what}: {source}")]
    Attribute {
        /// Which.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The file system and network rules.
    #[error("cannot enter the Landlock domain: {0}")]
    Landlock(String),
    /// The kernel has no Landlock, or less than files.
    #[error(
        "this kernel does not enforce Landlock: enable it (`lsm=landlock,…` on the kernel's command line)"
    )]
    NoLandlock,
    /// The system-call filter.
    #[error("cannot install the system-call filter: {0}")]
    Seccomp(String),
    /// It seemed to work and does not hold.
    #[error("confined, and yet {0} was not refused")]
    DoesNotHold(&'static str),
}

/// Confines the process.
///
/// # Errors
/// [`ConfineError`]; some of it may be in place then, and none of it can be undone.
pub fn enter(config: &Config) -> Result<(), ConfineError> {
    match peers::threads(std::process::id()) {
        Ok(1) => {}
        Ok(threads) => return Err(ConfineError::Threads(threads)),
        Err(_) => return Err(ConfineError::Threads(0)),
    }
    attributes()?;
    landlock(config)?;
    seccomp()?;
    prove()
}

fn attributes() -> Result<(), ConfineError> {
    let attribute = |what| {
        move |errno: rustix::io::Errno| ConfineError::Attribute {
            what,
            source: errno.into(),
        }
    };
    rustix::thread::set_no_new_privs(true).map_err(attribute("no_new_privs"))?;
    // Not dumpable: no core holds arguments of calls, and nobody of our own user may trace us or read our memory.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(attribute("not dumpable"))?;
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )
    .map_err(attribute("the core limit"))?;
    // As many descriptors as the host lets us have: one is a connection.
    let files = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: files.maximum,
            maximum: files.maximum,
        },
    )
    .map_err(attribute("the descriptor limit"))
}

/// Files: the journal and the run directory to write, policy and keys and what identity is made of to read.
/// Network: none. Signals and abstract sockets: none beyond our own threads.
fn landlock(config: &Config) -> Result<(), ConfineError> {
    let refused = |error: &dyn std::fmt::Display| ConfineError::Landlock(error.to_string());
    let all = AccessFs::from_all(LANDLOCK_ABI);
    let write = (all
        & !AccessFs::Execute
        & !AccessFs::MakeBlock
        & !AccessFs::MakeChar
        & !AccessFs::IoctlDev)
        & !AccessFs::MakeSym;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let written = [config.journal_dir.clone(), config.run_dir.clone()];
    let mut read_only = vec![
        config.policy_dir.clone(),
        config.policy_pub.clone(),
        config.log_pub.clone(),
        config.witnesses_pub(),
        PathBuf::from("/proc"),
    ];
    read_only.extend(peers::cgroup2_mount());
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(LANDLOCK_ABI)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(LANDLOCK_ABI)))
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(written, write)))
        .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(read_only, read)))
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(|error| refused(&error))?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err(ConfineError::NoLandlock),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
    }
}

/// Two filters, because one has one answer: `clone3` is unknown (its flags are behind a pointer; the C library then
/// takes `clone`), and what is not in [`ALLOWED`] is forbidden.
fn seccomp() -> Result<(), ConfineError> {
    let enosys = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let eperm = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let no_clone3 = program(
        BTreeMap::from([(libc::SYS_clone3, vec![])]),
        SeccompAction::Allow,
        enosys,
    )?;
    let listed = program(rules()?, eperm, SeccompAction::Allow)?;
    for filter in [&no_clone3, &listed] {
        seccompiler::apply_filter(filter)
            .map_err(|error| ConfineError::Seccomp(error.to_string()))?;
    }
    Ok(())
}

fn program(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, ConfineError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)
        .map_err(|error| ConfineError::Seccomp(error.to_string()))?;
    SeccompFilter::new(rules, otherwise, matched, arch)
        .and_then(BpfProgram::try_from)
        .map_err(|error| ConfineError::Seccomp(error.to_string()))
}

/// [`ALLOWED`] by number alone, and the few whose arguments are looked at.
fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, ConfineError> {
    use SeccompCmpOp::{Eq, MaskedEq};
    let when = |argument: u8, op: SeccompCmpOp, value: u64| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
            .and_then(|condition| SeccompRule::new(vec![condition]))
            .map_err(|error| ConfineError::Seccomp(error.to_string()))
    };
    let number = |value: i32| u64::from(value.unsigned_abs());
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, vec![])).collect();
    let unix = vec![when(0, Eq, number(libc::AF_UNIX))?];
    rules.insert(libc::SYS_socket, unix.clone());
    rules.insert(libc::SYS_socketpair, unix);
    // A thread and never a process: without CLONE_THREAD there is no clone.
    rules.insert(
        libc::SYS_clone,
        vec![when(
            0,
            MaskedEq(number(libc::CLONE_THREAD)),
            number(libc::CLONE_THREAD),
        )?],
    );
    // No page becomes code.
    let no_code = vec![when(2, MaskedEq(number(libc::PROT_EXEC)), 0)?];
    rules.insert(libc::SYS_mmap, no_code.clone());
    rules.insert(libc::SYS_mprotect, no_code);
    // Names of threads. Everything else that prctl does is done.
    rules.insert(
        libc::SYS_prctl,
        vec![when(0, Eq, number(libc::PR_SET_NAME))?],
    );
    // abort() signals its own thread.
    rules.insert(
        libc::SYS_tgkill,
        vec![when(0, Eq, std::process::id().into())?],
    );
    // Our own limits, read.
    rules.insert(libc::SYS_prlimit64, vec![when(0, Eq, 0)?]);
    rules.insert(
        libc::SYS_ioctl,
        vec![
            when(1, Eq, libc::FIONBIO)?,
            when(1, Eq, libc::TCGETS)?,
            when(1, Eq, libc::FIOCLEX)?,
        ],
    );
    Ok(rules)
}

/// What the daemon calls, and who calls it. Anything else answers EPERM.
#[rustfmt::skip]
const ALLOWED: &[i64] = &[
    // allocator
    libc::SYS_brk, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise,
    // answered by the other filter: of two errors the kernel would take this one's, which was installed last
    libc::SYS_clone3,
    // threads and their end (journal, runtime, watch)
    libc::SYS_futex, libc::SYS_set_robust_list, libc::SYS_rseq, libc::SYS_sched_yield, libc::SYS_sched_getaffinity,
    libc::SYS_gettid, libc::SYS_getpid, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_restart_syscall,
    libc::SYS_membarrier,
    // signals: tokio's handler, stacks of threads
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_sigaltstack,
    // clocks, and randomness for salts and session names
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_clock_nanosleep, libc::SYS_nanosleep,
    libc::SYS_gettimeofday, libc::SYS_getrandom,
    // runtime: readiness
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_ppoll,
    libc::SYS_eventfd2, libc::SYS_pipe2,
    // doors and signer: Unix sockets
    libc::SYS_bind, libc::SYS_listen, libc::SYS_accept4, libc::SYS_connect, libc::SYS_getsockname,
    libc::SYS_getpeername, libc::SYS_getsockopt, libc::SYS_setsockopt, libc::SYS_sendto, libc::SYS_sendmsg,
    libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_shutdown,
    // peers: identity
    libc::SYS_pidfd_open, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getppid,
    // journal, policy, sockets' paths, /proc
    libc::SYS_openat, libc::SYS_close, libc::SYS_close_range, libc::SYS_dup, libc::SYS_dup3, libc::SYS_fcntl,
    libc::SYS_read, libc::SYS_readv, libc::SYS_pread64, libc::SYS_preadv,
    libc::SYS_write, libc::SYS_writev, libc::SYS_pwrite64, libc::SYS_pwritev, libc::SYS_pwritev2,
    libc::SYS_lseek, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_statfs, libc::SYS_fstatfs,
    libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_getdents64, libc::SYS_readlinkat, libc::SYS_getcwd,
    libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync_file_range, libc::SYS_fallocate, libc::SYS_ftruncate,
    libc::SYS_fadvise64, libc::SYS_flock, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_unlinkat,
    libc::SYS_mkdirat, libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_fchown, libc::SYS_fchownat, libc::SYS_umask,
    libc::SYS_uname, libc::SYS_sysinfo,
    // the C library's older names for the same
    #[cfg(target_arch = "x86_64")] libc::SYS_open,
    #[cfg(target_arch = "x86_64")] libc::SYS_stat,
    #[cfg(target_arch = "x86_64")] libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")] libc::SYS_access,
    #[cfg(target_arch = "x86_64")] libc::SYS_poll,
    #[cfg(target_arch = "x86_64")] libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")] libc::SYS_rename,
    #[cfg(target_arch = "x86_64")] libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")] libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")] libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")] libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")] libc::SYS_chown,
    #[cfg(target_arch = "x86_64")] libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")] libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")] libc::SYS_getrlimit,
    #[cfg(target_arch = "x86_64")] libc::SYS_time,
];

/// Tries what must not work. A filter that is in place and holds nothing is worse than none.
fn prove() -> Result<(), ConfineError> {
    if std::net::UdpSocket::bind(("127.0.0.1", 0)).is_ok() {
        return Err(ConfineError::DoesNotHold("an inet socket"));
    }
    if std::fs::read_dir("/").is_ok() {
        return Err(ConfineError::DoesNotHold("a read of `/`"));
    }
    if std::process::Command::new("/proc/self/exe")
        .arg("--version")
        .status()
        .is_ok()
    {
        return Err(ConfineError::DoesNotHold("starting a program"));
    }
    Ok(())
}
