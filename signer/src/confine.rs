//! What the process gives up before it answers anybody: new privileges, core dumps, every file but its state, every
//! system call but those below. No inet socket can be made, nothing can be executed.
//!
//! Invariants:
//! - [`enter`] runs while there is one thread, after everything was opened and before the first `accept`.
//! - A layer that cannot be put in place ends the process, but for a kernel without Landlock, where that is said.
//! - What is claimed was tried: afterwards `/` must not be readable and an inet socket must not come to be.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// All rights up to this version are handled; on an older kernel those that it has.
const LANDLOCK_ABI: ABI = ABI::V6;

/// Why the process could not be confined.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A process attribute.
    #[error("cannot give up {what}: {source}")]
    Attribute {
        /// Which.
        what: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Landlock is there and does not do what it is asked.
    #[error("cannot enter the Landlock domain: {0}")]
    Landlock(String),
    /// The system-call filter.
    #[error("cannot install the system-call filter: {0}")]
    Seccomp(String),
    /// It seemed to work and does not hold.
    #[error("confined, and yet {0} was not refused")]
    DoesNotHold(&'static str),
}

/// Confines the process to `state`. Returns whether Landlock holds.
///
/// # Errors
/// See [`Error`]; some of it may be in place then, and none of it can be undone.
pub fn enter(state: &Path) -> Result<bool, Error> {
    attributes()?;
    let landlocked = landlock(state)?;
    seccomp()?;
    prove(landlocked)?;
    Ok(landlocked)
}

fn attributes() -> Result<(), Error> {
    let attribute = |what| {
        move |errno: rustix::io::Errno| Error::Attribute {
            what,
            source: errno.into(),
        }
    };
    rustix::thread::set_no_new_privs(true).map_err(attribute("new privileges"))?;
    // Nobody of our own user may trace us or read our memory, and no core holds the key.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(attribute("being traced"))?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).map_err(attribute("core dumps"))
}

/// Files: the state directory. Network, signals, abstract sockets: none.
fn landlock(state: &Path) -> Result<bool, Error> {
    let refused = |error: &dyn std::fmt::Display| Error::Landlock(error.to_string());
    let state = PathFd::new(state).map_err(|error| refused(&error))?;
    let rights = AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::MakeReg
        | AccessFs::RemoveFile
        | AccessFs::Truncate;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK_ABI))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(LANDLOCK_ABI)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(LANDLOCK_ABI)))
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.add_rule(PathBeneath::new(state, rights)))
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(|error| refused(&error))?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

fn seccomp() -> Result<(), Error> {
    let refused = |error: &dyn std::fmt::Display| Error::Seccomp(error.to_string());
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| refused(&error))?;
    let eperm = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let program: BpfProgram = SeccompFilter::new(rules()?, eperm, SeccompAction::Allow, arch)
        .and_then(BpfProgram::try_from)
        .map_err(|error| refused(&error))?;
    seccompiler::apply_filter(&program).map_err(|error| refused(&error))
}

/// [`ALLOWED`] by number; pages are mapped as long as they do not become code; only our own process can be ended.
fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, Error> {
    let when = |argument: u8, op: SeccompCmpOp, value: u64| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
            .and_then(|condition| SeccompRule::new(vec![condition]))
            .map_err(|error| Error::Seccomp(error.to_string()))
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, vec![])).collect();
    let exec = u64::from(libc::PROT_EXEC.unsigned_abs());
    let no_code = vec![when(2, SeccompCmpOp::MaskedEq(exec), 0)?];
    rules.insert(libc::SYS_mmap, no_code.clone());
    rules.insert(libc::SYS_mprotect, no_code);
    rules.insert(
        libc::SYS_tgkill,
        vec![when(0, SeccompCmpOp::Eq, std::process::id().into())?],
    );
    Ok(rules)
}

/// What the signer calls, and where. Anything else answers EPERM.
#[rustfmt::skip]
const ALLOWED: &[i64] = &[
    // allocator, locks of the standard library, the end
    libc::SYS_brk, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_futex,
    libc::SYS_exit, libc::SYS_exit_group, libc::SYS_restart_syscall, libc::SYS_gettid, libc::SYS_getpid,
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_sigaltstack,
    // loop: readiness, time, the signal descriptor
    libc::SYS_ppoll, libc::SYS_clock_gettime, libc::SYS_read, libc::SYS_write, libc::SYS_writev, libc::SYS_close,
    #[cfg(target_arch = "x86_64")] libc::SYS_poll,
    // socket: the peer and its messages; what systemd is told
    libc::SYS_accept4, libc::SYS_getsockopt, libc::SYS_recvfrom, libc::SYS_sendto, libc::SYS_fcntl, libc::SYS_ioctl,
    // keys of new epochs
    libc::SYS_getrandom, libc::SYS_mlock,
    // store: the head, keys of epochs
    libc::SYS_openat, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_lseek, libc::SYS_fsync,
    libc::SYS_fchown, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_unlinkat, libc::SYS_geteuid,
    #[cfg(target_arch = "x86_64")] libc::SYS_rename,
];

/// Tries what must not work. A filter that is in place and holds nothing is worse than none.
fn prove(landlocked: bool) -> Result<(), Error> {
    if std::net::UdpSocket::bind(("127.0.0.1", 0)).is_ok() {
        return Err(Error::DoesNotHold("an inet socket"));
    }
    if landlocked && std::fs::File::open("/etc/passwd").is_ok() {
        return Err(Error::DoesNotHold("reading `/etc/passwd`"));
    }
    Ok(())
}
