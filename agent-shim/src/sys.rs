//! All `unsafe` of this crate: calls that no safe wrapper offers.
//!
//! Invariant: every process that calls in here has one thread, so that a forked child may go on as an ordinary one.
#![expect(
    unsafe_code,
    reason = "fork, prctl and system calls that are made to be refused have no safe wrapper"
)]

use std::os::fd::RawFd;

use libc::{c_int, c_long, c_ulong};
use nix::errno::Errno;
#[cfg(target_arch = "x86_64")]
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};

/// Forks. The child must end in [`exit`] or an exec, never by returning from `main`.
///
/// # Errors
/// The kernel's.
pub(crate) fn fork() -> Result<Option<Pid>, Errno> {
    // SAFETY: fork is safe in a process with one thread (the module's invariant): no lock can be held by a thread
    // that the child lacks, so the child may allocate and use the standard library.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Ends this process without running anything that the parent also has (buffers, destructors).
pub(crate) fn exit(status: c_int) -> ! {
    // SAFETY: _exit has no precondition.
    unsafe { libc::_exit(status) }
}

/// Closes every descriptor from 3 up except `kept`.
///
/// # Errors
/// Where the kernel is older than 5.9.
pub(crate) fn close_all_but(kept: RawFd) -> Result<(), Errno> {
    let Ok(kept) = u32::try_from(kept) else {
        return Err(Errno::EBADF);
    };
    let close = |first: u32, last: u32| {
        if first > last {
            return Ok(());
        }
        // SAFETY: close_range takes no pointer. The descriptors that it closes are owned by values of the forked
        // parent's program, which this process (about to exec or exit) never uses or drops again.
        Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
    };
    close(3, kept.saturating_sub(1).max(2))?;
    close(kept.max(2) + 1, u32::MAX)
}

/// Empties the bounding set, so that no exec gives a capability back.
///
/// # Errors
/// Where CAP_SETPCAP is missing: an ordinary user keeps the set, and `no_new_privs` makes it moot.
pub(crate) fn drop_bounding_set() -> Result<(), Errno> {
    for capability in 0..64 as c_ulong {
        // SAFETY: PR_CAPBSET_DROP takes a number and no pointer.
        match Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }) {
            Ok(_) => {}
            Err(Errno::EINVAL) => return Ok(()), // beyond this kernel's last capability
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The kernel's Landlock ABI; 0 where it has none.
pub(crate) fn landlock_abi() -> i32 {
    const VERSION: c_ulong = 1; // LANDLOCK_CREATE_RULESET_VERSION
    // SAFETY: with this flag, a null attribute and size 0 the call reads no memory and creates nothing.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0usize,
            VERSION,
        )
    };
    i32::try_from(abi).unwrap_or(0).max(0)
}

/// A system call that does nothing where it is *not* refused: wrong arguments, null pointers, descriptor -1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Harmless {
    /// What the probe is called.
    pub(crate) layer: &'static str,
    /// What a filter should answer.
    pub(crate) expected: Errno,
    number: c_long,
    arguments: [c_long; 6],
    returns_descriptor: bool,
}

const fn harmless(layer: &'static str, number: c_long, arguments: [c_long; 6]) -> Harmless {
    Harmless {
        layer,
        expected: Errno::EPERM,
        number,
        arguments,
        returns_descriptor: false,
    }
}

const fn socket(layer: &'static str, family: c_int, kind: c_int, protocol: c_int) -> Harmless {
    let arguments = [
        family as c_long,
        kind as c_long,
        protocol as c_long,
        0,
        0,
        0,
    ];
    Harmless {
        layer,
        expected: Errno::EPERM,
        number: libc::SYS_socket,
        arguments,
        returns_descriptor: true,
    }
}

const fn unlisted(layer: &'static str, number: c_long, arguments: [c_long; 6]) -> Harmless {
    Harmless {
        layer,
        expected: Errno::ENOSYS,
        number,
        arguments,
        returns_descriptor: false,
    }
}

const NONE: c_long = -1;
/// A command, request or flag word that no kernel knows.
const ODD: c_long = 0x7fff_ffff;

/// What is tried. Beside each: what happens where nothing refuses it.
pub(crate) const HARMLESS: &[Harmless] = &[
    harmless("seccomp.ptrace", libc::SYS_ptrace, [ODD, 0, 0, 0, 0, 0]), // ESRCH: no process 0
    harmless(
        "seccomp.process_vm_readv",
        libc::SYS_process_vm_readv,
        [1, 0, 0, 0, 0, 1],
    ), // EINVAL: no flags exist
    harmless(
        "seccomp.process_vm_writev",
        libc::SYS_process_vm_writev,
        [1, 0, 0, 0, 0, 1],
    ), // the same
    harmless("seccomp.bpf", libc::SYS_bpf, [ODD, 0, 1 << 20, 0, 0, 0]), // E2BIG or EINVAL
    harmless("seccomp.mount", libc::SYS_mount, [0, 0, 0, 0, 0, 0]),     // EFAULT: no target
    harmless("seccomp.umount", libc::SYS_umount2, [0, ODD, 0, 0, 0, 0]), // EINVAL: flags
    harmless("seccomp.chroot", libc::SYS_chroot, [0, 0, 0, 0, 0, 0]),   // EFAULT
    harmless("seccomp.unshare", libc::SYS_unshare, [0, 0, 0, 0, 0, 0]), // success, and nothing is unshared
    harmless("seccomp.setns", libc::SYS_setns, [NONE, 0, 0, 0, 0, 0]),  // EBADF
    harmless(
        "seccomp.clone_namespace",
        libc::SYS_clone,
        [
            (libc::CLONE_NEWUSER | libc::CLONE_FS) as c_long,
            0,
            0,
            0,
            0,
            0,
        ], // EINVAL: the two exclude each other
    ),
    harmless(
        "seccomp.io_uring",
        libc::SYS_io_uring_setup,
        [0, 0, 0, 0, 0, 0],
    ), // EFAULT
    harmless(
        "seccomp.kexec",
        libc::SYS_kexec_load,
        [0, ODD, 0, ODD, 0, 0],
    ), // EPERM, or EINVAL for root
    harmless("seccomp.keyctl", libc::SYS_keyctl, [ODD, 0, 0, 0, 0, 0]), // EOPNOTSUPP
    harmless("seccomp.add_key", libc::SYS_add_key, [0, 0, 0, 0, 0, 0]), // EFAULT
    harmless(
        "seccomp.request_key",
        libc::SYS_request_key,
        [0, 0, 0, 0, 0, 0],
    ), // EFAULT
    harmless(
        "seccomp.userfaultfd",
        libc::SYS_userfaultfd,
        [ODD, 0, 0, 0, 0, 0],
    ), // EINVAL: flags
    harmless(
        "seccomp.perf_event_open",
        libc::SYS_perf_event_open,
        [0, 0, NONE, NONE, ODD, 0],
    ), // EINVAL: flags
    harmless(
        "seccomp.pidfd_getfd",
        libc::SYS_pidfd_getfd,
        [NONE, NONE, 1, 0, 0, 0],
    ), // EINVAL: flags
    harmless(
        "seccomp.open_by_handle_at",
        libc::SYS_open_by_handle_at,
        [NONE, 0, 0, 0, 0, 0],
    ), // EFAULT or EPERM
    harmless(
        "seccomp.tiocsti",
        libc::SYS_ioctl,
        [NONE, libc::TIOCSTI as c_long, 0, 0, 0, 0],
    ), // EBADF
    harmless(
        "seccomp.tioclinux",
        libc::SYS_ioctl,
        [NONE, libc::TIOCLINUX as c_long, 0, 0, 0, 0],
    ), // EBADF
    harmless(
        "seccomp.f_setown",
        libc::SYS_fcntl,
        [NONE, libc::F_SETOWN as c_long, 0, 0, 0, 0],
    ), // EBADF
    harmless("seccomp.f_setsig", libc::SYS_fcntl, [NONE, 10, 0, 0, 0, 0]), // EBADF
    harmless("seccomp.kill_all", libc::SYS_kill, [NONE, 0, 0, 0, 0, 0]), // signal 0 is never delivered
    harmless(
        "seccomp.prlimit_other",
        libc::SYS_prlimit64,
        [1, ODD, 0, 0, 0, 0],
    ), // EINVAL: no such limit
    harmless(
        "seccomp.fast_open",
        libc::SYS_sendto,
        [NONE, 0, 0, 0x2000_0000, 0, 0],
    ), // EBADF
    socket("seccomp.socket_inet", libc::AF_INET, libc::SOCK_STREAM, 0),  // a socket, closed at once
    socket("seccomp.socket_inet6", libc::AF_INET6, libc::SOCK_DGRAM, 0), // the same
    socket(
        "seccomp.socket_mptcp",
        libc::AF_INET,
        libc::SOCK_STREAM,
        262,
    ), // the same
    socket(
        "seccomp.socket_netlink",
        libc::AF_NETLINK,
        libc::SOCK_RAW,
        0,
    ), // the same
    socket("seccomp.socket_packet", libc::AF_PACKET, libc::SOCK_RAW, 0), // EPERM without CAP_NET_RAW
    socket("seccomp.socket_vsock", libc::AF_VSOCK, libc::SOCK_STREAM, 0), // a socket, closed at once
    unlisted("seccomp.clone3", libc::SYS_clone3, [0, 0, 0, 0, 0, 0]),     // EINVAL: size 0
    unlisted("seccomp.unlisted", libc::SYS_quotactl, [ODD, 0, 0, 0, 0, 0]), // EINVAL: no such command
];

impl Harmless {
    /// Makes the call.
    ///
    /// # Errors
    /// What the kernel or a filter answered.
    pub(crate) fn attempt(&self) -> Result<(), Errno> {
        let [a, b, c, d, e, f] = self.arguments;
        // SAFETY: only the table above makes these values. Each row's pointers are null, so the kernel can neither
        // read nor write our memory, and no row creates a process, changes this one, or delivers a signal.
        let answer = Errno::result(unsafe { libc::syscall(self.number, a, b, c, d, e, f) })?;
        if self.returns_descriptor {
            // SAFETY: the kernel has just returned this descriptor, and nothing else knows it.
            let _ = unsafe { libc::close(answer as c_int) };
        }
        Ok(())
    }
}

/// What became of a call through an entry that the filter kills for. Only x86_64 lets a 64-bit program make one.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// The process that made it was killed by SIGSYS.
    Killed,
    /// It was not, whatever else became of it.
    Survived,
    /// The kernel is built without this entry: the processor faulted.
    NoEntry,
}

/// Makes `getpid` as an x32 call in a child.
///
/// # Errors
/// Where there is no child.
#[cfg(target_arch = "x86_64")]
pub(crate) fn call_x32() -> Result<Foreign, Errno> {
    const X32_BIT: c_long = 0x4000_0000;
    in_child(|| {
        // SAFETY: getpid takes nothing and changes nothing, in either ABI.
        let _ = unsafe { libc::syscall(X32_BIT | libc::SYS_getpid) };
    })
}

/// Makes `getpid` through the entry of 32-bit programs in a child.
///
/// # Errors
/// Where there is no child.
#[cfg(target_arch = "x86_64")]
pub(crate) fn call_i386() -> Result<Foreign, Errno> {
    in_child(|| {
        // SAFETY: number 20 is i386's getpid: it takes nothing. The entry may clobber r8 to r11, and rax has the
        // answer. Where the kernel has no such entry the processor faults, and this child is all that dies.
        unsafe {
            std::arch::asm!("int 0x80", inlateout("eax") 20 => _, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
        }
    })
}

#[cfg(target_arch = "x86_64")]
fn in_child(call: impl FnOnce()) -> Result<Foreign, Errno> {
    use nix::sys::signal::Signal;
    let Some(child) = fork()? else {
        call();
        exit(0)
    };
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Signaled(_, Signal::SIGSYS, _)) => return Ok(Foreign::Killed),
            Ok(WaitStatus::Signaled(_, Signal::SIGSEGV, _)) => return Ok(Foreign::NoEntry),
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => return Ok(Foreign::Survived),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
