/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each case is a child that enters the sandbox and does one thing: with the kernel's own list, not with a model of it. Numbers
 * that are returned are 0 or errno.
 */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include "lib/err.h"
#include "test.h"

static int said(long res) { return res == -1 ? errno : 0; }

/* ---- what an intruder would try ---- */

static int try_execve(void)
{
    char *const argv[] = {(char[]){"/bin/true"}, NULL};
    return said(execve("/bin/true", argv, argv + 1));
}
static int try_execveat(void) { return said(syscall(SYS_execveat, AT_FDCWD, "/bin/true", NULL, NULL, 0)); }
static int try_fork(void) { return said(fork()); }
static int try_clone(void) { return said(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL)); }
static int try_ptrace(void) { return said(ptrace(PTRACE_TRACEME, 0, NULL, NULL)); }
static int try_setuid(void) { return said(syscall(SYS_setuid, 0)); }
static int try_bpf(void) { return said(syscall(SYS_bpf, 0, NULL, 0)); }
static int try_uring(void) { return said(syscall(SYS_io_uring_setup, 1, NULL)); }
static int try_unshare(void) { return said(unshare(CLONE_NEWUSER)); }
static int try_memfd(void) { return said(syscall(SYS_memfd_create, "x", 0)); }
static int try_mmap_exec(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0;
}
static int try_mprotect_exec(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? 200 : said(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}
static int try_own_handler(void)     /* asked of the kernel itself: sanitizers answer for the C library */
{
    unsigned long ignored[8] = {(unsigned long)SIG_IGN};
    return said(syscall(SYS_rt_sigaction, SIGSYS, ignored, NULL, 8));
}

/* ---- what is answered as by an old kernel ---- */

static int open_with(const char *path, int flags)
{
    int fd = open(path, flags, 0600);
    return fd < 0 ? errno : 0;
}
static int try_write(void) { return open_with("/dev/null", O_WRONLY); }
static int try_both(void) { return open_with("/dev/null", O_RDWR); }
static int try_truncate(void) { return open_with("/dev/null", O_WRONLY | O_CREAT | O_APPEND | O_TRUNC); }
static int try_tmpfile(void) { return open_with("/tmp", O_TMPFILE | O_RDONLY); }
static int try_append(void) { return open_with("/dev/null", O_WRONLY | O_CREAT | O_APPEND); }
static int try_kill(void) { return said(kill(getppid(), 0)); }
static int try_tgkill_other(void) { return said(syscall(SYS_tgkill, getppid(), getppid(), 0)); }
static int try_chmod(void) { return said(chmod("/dev/null", 0666)); }
static int try_rename(void) { return said(rename("/nonexistent/a", "/nonexistent/b")); }
static int try_packet(void) { return said(socket(AF_PACKET, SOCK_RAW, 0)); }
static int try_dumpable(void) { return said(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)); }
static int try_tiocsti(void) { return said(syscall(SYS_ioctl, 0, 0x5412, "x")); }
static int try_clone3(void) { return said(syscall(SYS_clone3, NULL, 0)); }
static int try_unknown(void) { return said(syscall(100000)); }

/* ---- what a gateway does ---- */

static int try_read_file(void) { return open_with("/etc/hostname", O_RDONLY | O_CLOEXEC); }
static int try_sockets(void)
{
    int tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET6, SOCK_DGRAM, 0), un = socket(AF_UNIX, SOCK_STREAM, 0);
    return tcp < 0 || (udp < 0 && errno != EAFNOSUPPORT) || un < 0 ? errno : 0;
}
static void *nothing(void *arg) { return arg; }
static int try_thread(void)
{
    pthread_t t;
    int failed = pthread_create(&t, NULL, nothing, NULL);
    return failed ? failed : pthread_join(t, NULL);
}
static void ignore(int sig) { (void)sig; }
static int try_own_signal(void)
{
    return signal(SIGUSR2, ignore) == SIG_ERR ? errno : pthread_kill(pthread_self(), SIGUSR2);
}
static int try_stat(void)
{
    struct stat st;
    return said(stat("/", &st));
}
static int try_name(void) { return said(prctl(PR_SET_NAME, "x", 0, 0, 0)); }

/* Runs it behind the list, and gives the child's status; what it said in `text`. */
static int outcome(int (*what)(void), enum sandbox_log log, char *text, size_t cap)
{
    int pipes[2], status = -1;
    size_t len = 0;
    ssize_t n;
    EXPECT_EQ(pipe(pipes), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct err err = {0};
        dup2(pipes[1], STDERR_FILENO);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || sandbox_enter(log, &err) != 0)
            _exit(254);
        _exit(what());
    }
    close(pipes[1]);
    while (len < cap - 1 && (n = read(pipes[0], text + len, cap - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = '\0';
    close(pipes[0]);
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return status;
}

struct row {
    const char *name;
    int (*what)(void);
};

#define ROW(NAME) {#NAME, try_##NAME}

TEST(what_an_intruder_does_ends_the_process_and_is_named)
{
    static const struct { struct row row; const char *call; } rows[] = {
        {ROW(execve), "execve"}, {ROW(execveat), "execveat"}, {ROW(fork), "clone"}, {ROW(clone), "clone"}, {ROW(ptrace), "ptrace"},
        {ROW(setuid), "setuid"}, {ROW(bpf), "bpf"}, {ROW(uring), "io_uring_setup"}, {ROW(unshare), "unshare"},
        {ROW(memfd), "memfd_create"}, {ROW(mmap_exec), "mmap"}, {ROW(mprotect_exec), "mprotect"}, {ROW(own_handler), "rt_sigaction"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[400], wanted[80];
        test_row("%s", rows[i].row.name);
        int status = outcome(rows[i].row.what, SANDBOX_LOG_FILE, text, sizeof text);
        EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
        snprintf(wanted, sizeof wanted, "error sandbox: %s is not for weir to call", rows[i].call);
        EXPECT(strncmp(text, wanted, strlen(wanted)) == 0);
        EXPECT(strchr(text, '\n') == text + strlen(text) - 1);
    }
}

TEST(what_is_not_needed_is_not_there)
{
    static const struct row rows[] = {
        ROW(write), ROW(both), ROW(truncate), ROW(tmpfile), ROW(append), ROW(kill), ROW(tgkill_other), ROW(chmod), ROW(rename),
        ROW(packet), ROW(dumpable), ROW(tiocsti), ROW(clone3), ROW(unknown),
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[400];
        test_row("%s", rows[i].name);
        int status = outcome(rows[i].what, SANDBOX_NO_LOG_FILE, text, sizeof text);
        EXPECT(WIFEXITED(status));
        EXPECT_EQ(WEXITSTATUS(status), ENOSYS);
        EXPECT_CSTR(text, "");
    }
}

TEST(what_a_gateway_does_goes_on)
{
    static const struct row rows[] = {
        ROW(read_file), ROW(append), ROW(sockets), ROW(thread), ROW(own_signal), ROW(stat), ROW(name),
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[400];
        test_row("%s", rows[i].name);
        int status = outcome(rows[i].what, SANDBOX_LOG_FILE, text, sizeof text);
        EXPECT(WIFEXITED(status));
        EXPECT_EQ(WEXITSTATUS(status), 0);
    }
}

TEST(a_log_file_is_no_leave_to_write)
{
    static const struct row rows[] = {ROW(write), ROW(both), ROW(truncate), ROW(tmpfile)};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[400];
        test_row("%s", rows[i].name);
        int status = outcome(rows[i].what, SANDBOX_LOG_FILE, text, sizeof text);
        EXPECT(WIFEXITED(status));
        EXPECT_EQ(WEXITSTATUS(status), ENOSYS);
    }
}

/* The thread was there before the list. */
static _Atomic int go;
static void *call_later(void *arg)
{
    while (!atomic_load(&go))
        sched_yield();
    (void)arg;
    _exit(try_execve());
}
static int try_older_thread(void)
{
    struct err err = {0};
    pthread_t t;
    if (pthread_create(&t, NULL, call_later, NULL) != 0 || sandbox_enter(SANDBOX_NO_LOG_FILE, &err) != 0)
        return 253;
    atomic_store(&go, 1);
    pthread_join(t, NULL);
    return 252;
}

TEST(threads_that_run_already_are_bound_too)
{
    fflush(NULL);
    pid_t child = fork();
    int status = -1;
    if (child == 0) {
        close(STDERR_FILENO);
        _exit(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? try_older_thread() : 251);
    }
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}
