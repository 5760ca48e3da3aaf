/*
 * Loaded into farameshd before the C library by preload.rs: makes one file operation of the journal fail, or the process
 * end at it, at the nth time.
 *
 * FARAMESH_TEST_FAULTS is a list of faults, "call:suffix:nth:how" with commas between: a call of the C library, what the
 * path of its file ends with, which time, and what happens then. The first fault is for the first process, the next one
 * for the process after the one that met it, and so on: FARAMESH_TEST_FAULTS_LOG is a file that says which were met, and
 * that lists the calls since, so that a test can see that nothing was tried again.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum how { NOTHING, FAIL, FAIL_DONE, FAIL_PART, END_BEFORE, END_AFTER, END_PART };

static char call[32], suffix[64], how_word[32];
static long nth;
static int log_fd = -1;
static atomic_long seen;
static atomic_int met;

static enum how how_of(const char *word) {
    static const char *const words[] = {"", "eio", "eio-done", "eio-part", "end-before", "end-after", "end-part"};
    for (int i = FAIL; i <= END_PART; i++)
        if (strcmp(word, words[i]) == 0) return i;
    abort();
}

/* Before main, and so before the daemon gives up the right to open files. */
__attribute__((constructor)) static void read_plan(void) {
    const char *plan = getenv("FARAMESH_TEST_FAULTS"), *path = getenv("FARAMESH_TEST_FAULTS_LOG");
    if (!plan || !path) return;
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 200);
    close(fd);
    static char said[1 << 20];
    ssize_t length = pread(log_fd, said, sizeof said - 1, 0);
    if (log_fd < 0 || length < 0) abort();
    for (const char *at = said; (at = strstr(at, "met ")) != NULL; at++) {
        plan = strchr(plan, ',');
        if (!plan) return;
        plan++;
    }
    if (sscanf(plan, "%31[^:]:%63[^:]:%ld:%31[^,]", call, suffix, &nth, how_word) != 4) abort();
    how_of(how_word);
}

static int ends_with(const char *path, const char *end) {
    size_t length = strlen(path), tail = strlen(end);
    return length >= tail && strcmp(path + length - tail, end) == 0;
}

static void path_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    path[length < 0 ? 0 : length] = 0;
}

static enum how what(const char *name, const char *path) {
    if (log_fd < 0) return NOTHING;
    int mine = strcmp(name, call) == 0 && ends_with(path, suffix);
    int now = mine && atomic_fetch_add(&seen, 1) + 1 == nth && !atomic_exchange(&met, 1);
    const char *file = strrchr(path, '/');
    if (file) dprintf(log_fd, "%s%s %s\n", now ? "met " : "", name, file + 1);
    return now ? how_of(how_word) : NOTHING;
}

/* Ends as kill -9 does: nothing is cleaned up. (The daemon's own filter lets it send no signals.) */
static void end(void) { syscall(SYS_exit_group, 137); }

static int fail(void) {
    errno = EIO;
    return -1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Does `doing`, before or after which the process ends, or which fails; `part` is a part of it. */
#define TAKE(name, path, doing, part)                                                                                  \
    switch (what(#name, path)) {                                                                                       \
    case NOTHING: return doing;                                                                                        \
    case FAIL: return fail();                                                                                          \
    case FAIL_DONE: (void)!doing; return fail();                                                                       \
    case FAIL_PART: (void)!part; return fail();                                                                        \
    case END_BEFORE: end();                                                                                            \
    case END_AFTER: (void)!doing; end();                                                                               \
    case END_PART: (void)!part; end();                                                                                 \
    }                                                                                                                  \
    return fail();

int fdatasync(int fd) {
    char path[4096];
    path_of(fd, path, sizeof path);
    TAKE(fdatasync, path, REAL(fdatasync)(fd), 0)
}

int fsync(int fd) {
    char path[4096];
    path_of(fd, path, sizeof path);
    TAKE(fsync, path, REAL(fsync)(fd), 0)
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    char path[4096];
    path_of(fd, path, sizeof path);
    TAKE(pwrite64, path, REAL(pwrite64)(fd, bytes, count, at), REAL(pwrite64)(fd, bytes, count / 2, at))
}

int rename(const char *from, const char *to) { TAKE(rename, to, REAL(rename)(from, to), 0) }
