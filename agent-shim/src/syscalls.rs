//! The system calls of an agent, as data. Three lists: what ordinary programs use; what is refused by name with EPERM,
//! so that a program learns that it *may* not; and arguments that are refused. Every other number answers ENOSYS, as
//! if the kernel were older, so that libraries fall back.
//!
//! Written for glibc, musl, Python, Node, Go, Rust, the JVM, git, compilers and shells. To add a number: put it in the
//! group of its purpose, and ask first whom it reaches outside the session.
#![forbid(unsafe_code)]

use libc::c_long;

/// Allowed, whatever the arguments (unless [`refused_arguments`] says otherwise).
pub(crate) const ALLOWED: &[&[c_long]] = &[
    READ_WRITE,
    FILES,
    ATTRIBUTES,
    DIRECTORIES,
    MEMORY,
    PROCESSES,
    IDENTITY,
    SIGNALS,
    TIME,
    WAITING,
    LOCAL_SOCKETS,
    LIMITS,
    CONFINEMENT,
    INFORMATION,
    LEGACY,
];

/// Open files: their bytes.
const READ_WRITE: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_sendfile,
    libc::SYS_copy_file_range,
    libc::SYS_splice,
    libc::SYS_tee,
    libc::SYS_vmsplice,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_readahead,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
];

/// Opening, closing and copying descriptors; `fcntl` and `ioctl` have refused arguments.
const FILES: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_flock,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_memfd_create,
    libc::SYS_name_to_handle_at,
];

/// What is known about a file, and changes of it: the owner's business, within what Landlock and modes leave.
const ATTRIBUTES: &[c_long] = &[
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    452, // fchmodat2
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_truncate,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    451, // cachestat
];

/// Names in directories, and watching them.
const DIRECTORIES: &[c_long] = &[
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_getdents64,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_readlinkat,
    libc::SYS_mknodat,
    libc::SYS_umask,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
];

/// The process's own memory.
const MEMORY: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_msync,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_munlock,
    libc::SYS_mlockall,
    libc::SYS_munlockall,
    libc::SYS_membarrier,
    libc::SYS_mbind,
    libc::SYS_get_mempolicy,
    libc::SYS_set_mempolicy,
    libc::SYS_pkey_alloc,
    libc::SYS_pkey_free,
    libc::SYS_pkey_mprotect,
    453,
    462, // map_shadow_stack, mseal
];

/// Making, becoming, ending and awaiting processes; `clone` has refused flags, `clone3` hides its flags and is not here.
const PROCESSES: &[c_long] = &[
    libc::SYS_clone,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_pidfd_open,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getpgid,
    libc::SYS_setpgid,
    libc::SYS_getsid,
    libc::SYS_setsid,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_prctl,
    libc::SYS_personality,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_setparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_getattr,
    libc::SYS_sched_setattr,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_rr_get_interval,
    libc::SYS_getpriority,
    libc::SYS_setpriority,
    libc::SYS_ioprio_get,
    libc::SYS_ioprio_set,
    libc::SYS_getcpu,
];

/// Users, groups and capabilities: there is nothing to gain any more, and programs ask.
const IDENTITY: &[c_long] = &[
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_capget,
    libc::SYS_capset,
];

/// Signals. Whom one reaches is decided by uid and by Landlock's scope: seccomp cannot see whom a pid names.
const SIGNALS: &[c_long] = &[
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_pidfd_send_signal,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    libc::SYS_restart_syscall,
];

/// Reading clocks, and timers.
const TIME: &[c_long] = &[
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_gettime,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_delete,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_getitimer,
    libc::SYS_setitimer,
    libc::SYS_times,
];

/// Waiting for descriptors and for other threads.
const WAITING: &[c_long] = &[
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    454,
    455,
    456, // futex_wake, futex_wait, futex_requeue
];

/// Sockets; `socket` and `socketpair` have refused families, sending has a refused flag.
const LOCAL_SOCKETS: &[c_long] = &[
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
];

/// One's own limits; another process's are refused by argument.
const LIMITS: &[c_long] = &[libc::SYS_getrusage, libc::SYS_prlimit64];

/// Confining oneself further: every filter and domain only adds to this one.
const CONFINEMENT: &[c_long] = &[
    libc::SYS_seccomp,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
];

/// About the machine.
const INFORMATION: &[c_long] = &[libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getrandom];

/// Older forms of the above, which only x86_64 still has.
#[cfg(target_arch = "x86_64")]
const LEGACY: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_pipe,
    libc::SYS_dup2,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_link,
    libc::SYS_unlink,
    libc::SYS_symlink,
    libc::SYS_readlink,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_mknod,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_getdents,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_inotify_init,
    libc::SYS_eventfd,
    libc::SYS_signalfd,
    libc::SYS_alarm,
    libc::SYS_pause,
    libc::SYS_time,
    libc::SYS_getrlimit,
    libc::SYS_setrlimit,
    libc::SYS_getpgrp,
    libc::SYS_arch_prctl,
];
/// Older forms of the above that aarch64 has.
#[cfg(target_arch = "aarch64")]
const LEGACY: &[c_long] = &[libc::SYS_renameat, libc::SYS_getrlimit, libc::SYS_setrlimit];

/// Refused by name: each reaches another process, the kernel, the machine, or a way around the other layers.
pub(crate) const REFUSED: &[&[c_long]] = &[
    OTHER_PROCESSES,
    KERNEL,
    NAMESPACES,
    AROUND_FILES,
    MACHINE,
    REFUSED_LEGACY,
];

/// Other processes' memory and descriptors.
const OTHER_PROCESSES: &[c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
];

/// Large or unfiltered entries into the kernel: io_uring makes calls that no filter sees.
const KERNEL: &[c_long] = &[
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    KEXEC_FILE_LOAD,
];

#[cfg(target_arch = "x86_64")]
const KEXEC_FILE_LOAD: c_long = libc::SYS_kexec_file_load;
/// By number: libc has no name for it on this processor.
#[cfg(target_arch = "aarch64")]
const KEXEC_FILE_LOAD: c_long = 294;

/// Namespaces and mounts: a new user namespace gives capabilities in it, and with them most of the kernel's old bugs.
const NAMESPACES: &[c_long] = &[
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
];

/// Files by handle, past every path rule.
const AROUND_FILES: &[c_long] = &[
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
];

/// The machine as a whole.
const MACHINE: &[c_long] = &[
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_vhangup,
];

/// Ports and segments of the processor.
#[cfg(target_arch = "x86_64")]
const REFUSED_LEGACY: &[c_long] = &[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt];
/// None here.
#[cfg(target_arch = "aarch64")]
const REFUSED_LEGACY: &[c_long] = &[];

/// How an argument is compared. All comparisons are of the lower 32 bits: the kernel ignores the rest of these.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Test {
    /// Refused when it is this.
    Is(u32),
    /// Refused when it is none of these.
    IsNot(&'static [u32]),
    /// Refused when this bit is set.
    Has(u32),
}

/// `number`, index of the argument, test: refused with EPERM when any row matches.
pub(crate) const REFUSED_ARGUMENTS: &[(c_long, u8, Test)] = &[
    // New namespaces by fork; the same flags as unshare's.
    (libc::SYS_clone, 0, Test::Has(libc::CLONE_NEWUSER as u32)),
    (libc::SYS_clone, 0, Test::Has(libc::CLONE_NEWNS as u32)),
    (libc::SYS_clone, 0, Test::Has(libc::CLONE_NEWPID as u32)),
    (libc::SYS_clone, 0, Test::Has(libc::CLONE_NEWNET as u32)),
    (libc::SYS_clone, 0, Test::Has(libc::CLONE_NEWIPC as u32)),
    (libc::SYS_clone, 0, Test::Has(libc::CLONE_NEWUTS as u32)),
    (libc::SYS_clone, 0, Test::Has(libc::CLONE_NEWCGROUP as u32)),
    // Typing into the terminal that the operator uses, and pasting into a console.
    (libc::SYS_ioctl, 1, Test::Is(libc::TIOCSTI as u32)),
    (libc::SYS_ioctl, 1, Test::Is(libc::TIOCLINUX as u32)),
    (libc::SYS_ioctl, 1, Test::Is(libc::TIOCCONS as u32)),
    // Signals to others, sent by the kernel in our name: F_SETOWN, F_SETSIG, F_SETOWN_EX, FIOSETOWN, SIOCSPGRP.
    (libc::SYS_fcntl, 1, Test::Is(8)),
    (libc::SYS_fcntl, 1, Test::Is(10)),
    (libc::SYS_fcntl, 1, Test::Is(15)),
    (libc::SYS_ioctl, 1, Test::Is(0x8901)),
    (libc::SYS_ioctl, 1, Test::Is(0x8902)),
    // Everybody at once.
    (libc::SYS_kill, 0, Test::Is(u32::MAX)),
    // Only local sockets: no address family of a network, and none of the kernel's own.
    (libc::SYS_socket, 0, Test::IsNot(&[libc::AF_UNIX as u32])),
    (
        libc::SYS_socketpair,
        0,
        Test::IsNot(&[libc::AF_UNIX as u32]),
    ),
    // TCP fast open connects without connect(): Landlock's rule does not see it before Linux 7.2.
    (libc::SYS_sendto, 3, Test::Has(0x2000_0000)),
    (libc::SYS_sendmsg, 2, Test::Has(0x2000_0000)),
    (libc::SYS_sendmmsg, 3, Test::Has(0x2000_0000)),
    // Another process's limits.
    (libc::SYS_prlimit64, 0, Test::IsNot(&[0])),
    // Other execution domains: the default, and the question which it is.
    (libc::SYS_personality, 0, Test::IsNot(&[0, u32::MAX])),
];

/// Every number that [`ALLOWED`] names.
pub(crate) fn allowed() -> impl Iterator<Item = c_long> {
    ALLOWED.iter().flat_map(|group| group.iter().copied())
}

/// Every number that [`REFUSED`] names.
pub(crate) fn refused() -> impl Iterator<Item = c_long> {
    REFUSED.iter().flat_map(|group| group.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_number_is_both_allowed_and_refused_and_none_is_listed_twice() {
        let mut seen = BTreeSet::new();
        for number in allowed().chain(refused()) {
            assert!(seen.insert(number), "{number} is listed twice");
        }
    }

    #[test]
    fn clone3_is_on_no_list_because_its_flags_are_in_memory() {
        assert!(
            !allowed()
                .chain(refused())
                .any(|number| number == libc::SYS_clone3)
        );
    }

    #[test]
    fn every_refused_argument_belongs_to_an_allowed_number() {
        for (number, ..) in REFUSED_ARGUMENTS {
            assert!(allowed().any(|allowed| allowed == *number), "{number}");
        }
    }
}
