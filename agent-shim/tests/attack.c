/* attack NAME: makes the one call and prints what the kernel answered: `ok` or the errno's number.
 * Compiled by tests/session.rs; each does as little as it can where nothing refuses it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <stddef.h>
#include <unistd.h>

static void *nothing(void *unused) { return unused; }

static long thread(void) {
    pthread_t made;
    int error = pthread_create(&made, NULL, nothing, NULL);
    if (error) { errno = error; return -1; }
    return pthread_join(made, NULL);
}

static long abstract(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path + 1, name, strlen(name));
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    return connect(s, (void *)&address, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
}

/* Announces itself only when the signal can no longer be missed. */
static int await_term(void) {
    sigset_t set;
    int got;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    puts("ready");
    fflush(stdout);
    sigwait(&set, &got);
    puts("terminated");
    return 5;
}

int main(int count, char **words) {
    const char *name = count > 1 ? words[1] : "";
    long other = count > 2 ? atol(words[2]) : getppid(), answer = -2;
    char byte = 'x';
    long space[64] = {0};
    struct iovec local = {&byte, 1}, remote = {space, 1};
#define IS(text) else if (!strcmp(name, text)) answer =
    errno = 0;
    if (!strcmp(name, "await_term")) return await_term();
    IS("ptrace") ptrace(PTRACE_SEIZE, other, 0, 0);
    IS("process_vm_readv") syscall(SYS_process_vm_readv, getpid(), &local, 1, &remote, 1, 0);
    IS("bpf") syscall(SYS_bpf, 0, space, sizeof space);
    IS("mount") mount("none", ".", "tmpfs", 0, "");
    IS("umount") umount2("/nowhere", 0);
    IS("chroot") chroot(".");
    IS("unshare") unshare(CLONE_NEWUSER);
    IS("clone") syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    IS("clone3") syscall(SYS_clone3, space, 64);
    IS("setns") setns(open("/proc/self/ns/net", O_RDONLY), 0);
    IS("io_uring") syscall(SYS_io_uring_setup, 4, space);
    IS("keyctl") syscall(SYS_keyctl, 0, -3, 0);
    IS("userfaultfd") syscall(SYS_userfaultfd, 1);
    IS("perf") syscall(SYS_perf_event_open, space, 0, -1, -1, 0);
    IS("pidfd_getfd") syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, getpid(), 0), 0, 0);
    IS("tiocsti") ioctl(0, TIOCSTI, &byte);
    IS("tiocsti_high_bits") syscall(SYS_ioctl, 0, 0x100000000UL | TIOCSTI, &byte);
    IS("f_setown") fcntl(0, F_SETOWN, getpid());
    IS("f_setsig") fcntl(0, F_SETSIG, SIGUSR1);
    IS("kill_all") kill(-1, 0);
    IS("inet") socket(AF_INET, SOCK_STREAM, 0);
    IS("inet6") socket(AF_INET6, SOCK_DGRAM, 0);
    IS("netlink") socket(AF_NETLINK, SOCK_RAW, 0);
    IS("packet") socket(AF_PACKET, SOCK_DGRAM, 0);
    IS("socketpair_inet") socketpair(AF_INET, SOCK_STREAM, 0, (int *)space);
    IS("prlimit") prlimit(other, RLIMIT_NOFILE, NULL, (struct rlimit *)space);
    IS("personality") syscall(SYS_personality, 0x0400000 /* READ_IMPLIES_EXEC */);
    IS("unlisted") syscall(SYS_quotactl, 0, 0, 0, 0);
    IS("unknown") syscall(9999);
    IS("thread") thread();
    IS("kill") kill(other, 0);
    IS("abstract") abstract(words[2]);
#ifdef __x86_64__
    IS("x32") syscall(0x40000000L | SYS_getpid);
    IS("x32_high") syscall(0x40000000L | 520, 0, 0, 0); /* x32's own execve */
    else if (!strcmp(name, "i386")) {
        __asm__ volatile("int $0x80" : "=a"(answer) : "a"(20) : "r8", "r9", "r10", "r11", "memory");
    }
#endif
    else return 64;
    if (answer == -1) printf("%d\n", errno);
    else printf("ok\n");
    return 0;
}
