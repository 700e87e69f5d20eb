/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list of system calls (seccomp), of three parts.
 *
 * What a running gateway needs is let through: its loop, sockets, names, reloads, the log, threads, memory. Where an argument
 * tells use from misuse it is looked at, but never for calls that each request makes: those the kernel passes by a
 * bitmap, without running the filter.
 *
 * What no library of a gateway has reason to call, and what an intruder calls first (to execute, to fork, to trace, to make memory
 * executable, to become somebody), ends the process, behind one line that says which call it was. From there on nothing that the
 * process does can be trusted.
 *
 * All the rest is answered ENOSYS, as by a kernel that is too old for it. Not by a death: a C library that begins to use a newer
 * call in its next release is no attack, and copes with old kernels anyway. With EPERM it would not.
 *
 * Invariant: the handler of SIGSYS calls nothing but write, getpid, gettid and tgkill.
 * Not here: which files may be opened. A filter sees numbers, not what pointers point to; that is the user's rights.
 */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "lib/err.h"

/* Kernels since 5.11 know from the list alone that these pass. */
static const int let_through[] = {
    /* the loop, and bytes */
    SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_create1),
    SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(eventfd2), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime), SCMP_SYS(pipe2),
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64), SCMP_SYS(preadv),
    SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(recvmmsg), SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(sendmmsg),
    /* sockets */
    SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(bind), SCMP_SYS(listen), SCMP_SYS(connect), SCMP_SYS(shutdown),
    SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt),
    SCMP_SYS(close), SCMP_SYS(dup), SCMP_SYS(fcntl), SCMP_SYS(fcntl64),
    /* files: the configuration, secrets, the system's own; sockets of the file system are unmade */
    SCMP_SYS(fstat), SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(fstatfs), SCMP_SYS(statfs),
    SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(readlink), SCMP_SYS(readlinkat),
    SCMP_SYS(getdents64), SCMP_SYS(getcwd), SCMP_SYS(lseek), SCMP_SYS(_llseek), SCMP_SYS(unlink), SCMP_SYS(unlinkat),
    SCMP_SYS(inotify_init1), SCMP_SYS(inotify_add_watch), SCMP_SYS(inotify_rm_watch),
    /* memory and threads */
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(futex), SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq), SCMP_SYS(membarrier), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(getcpu),
    SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(restart_syscall),
    /* signals, time, chance, who I am */
    SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigreturn), SCMP_SYS(sigaltstack),
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday),
    SCMP_SYS(time), SCMP_SYS(getrandom), SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(gettid), SCMP_SYS(getuid), SCMP_SYS(geteuid),
    SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(getrlimit), SCMP_SYS(getrusage), SCMP_SYS(uname), SCMP_SYS(sysinfo),
};

struct fatal {
    int number;
    const char *name;
};

#define FATAL(NAME) {SCMP_SYS(NAME), #NAME}

static const struct fatal fatal[] = {
    FATAL(execve), FATAL(execveat), FATAL(fork), FATAL(vfork), FATAL(ptrace), FATAL(process_vm_readv), FATAL(process_vm_writev),
    FATAL(pidfd_open), FATAL(pidfd_getfd), FATAL(pidfd_send_signal), FATAL(kcmp), FATAL(memfd_create), FATAL(pkey_mprotect),
    FATAL(setuid), FATAL(setgid), FATAL(setreuid), FATAL(setregid), FATAL(setresuid), FATAL(setresgid), FATAL(setgroups),
    FATAL(setfsuid), FATAL(setfsgid), FATAL(capset), FATAL(personality), FATAL(unshare), FATAL(setns), FATAL(chroot),
    FATAL(pivot_root), FATAL(mount), FATAL(umount2), FATAL(move_mount), FATAL(open_tree), FATAL(fsopen), FATAL(bpf),
    FATAL(perf_event_open), FATAL(userfaultfd), FATAL(io_uring_setup), FATAL(io_uring_enter), FATAL(io_uring_register),
    FATAL(keyctl), FATAL(add_key), FATAL(request_key), FATAL(init_module), FATAL(finit_module), FATAL(delete_module),
    FATAL(kexec_load), FATAL(kexec_file_load), FATAL(reboot), FATAL(swapon), FATAL(open_by_handle_at), FATAL(seccomp),
};

/* Those of which some uses are let through, and the others are fatal. */
static const struct fatal fatal_misused[] = {
    FATAL(mmap), FATAL(mmap2), FATAL(mprotect), FATAL(clone), FATAL(rt_sigaction),
};

/* ---- the end ---- */

static const char *fatal_name(int number)
{
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        if (fatal[i].number == number)
            return fatal[i].name;
    for (size_t i = 0; i < sizeof fatal_misused / sizeof *fatal_misused; i++)
        if (fatal_misused[i].number == number)
            return fatal_misused[i].name;
    return "system call";
}

/* On the thread that called, whatever it holds. The signal comes for fatal calls alone; the second one ends the process. */
static void refused(int sig, siginfo_t *info, void *context)
{
    const char *const parts[] = {"error sandbox: ", fatal_name(info->si_syscall),
                                 " is not for weir to call, so something else is at work in it: ending\n"};
    char line[160];
    size_t len = 0;
    (void)context;
    for (size_t i = 0; i < 3; i++)
        for (const char *p = parts[i]; *p && len < sizeof line; p++)
            line[len++] = *p;
    ssize_t n = write(STDERR_FILENO, line, len);
    (void)n;
    raise(sig);
}

static int handler_set(void)
{
    struct sigaction act = {.sa_sigaction = refused, .sa_flags = (int)(SA_SIGINFO | SA_RESETHAND | SA_NODEFER)};
    sigset_t mine;
    sigemptyset(&act.sa_mask);
    sigemptyset(&mine);
    sigaddset(&mine, SIGSYS);
    return sigaction(SIGSYS, &act, NULL) == 0 ? pthread_sigmask(SIG_UNBLOCK, &mine, NULL) : errno;
}

/* ---- the list; what fails is what failed last: the library's calls give -errno ---- */

static int lists_add(scmp_filter_ctx f)
{
    int res = 0;
    for (size_t i = 0; res == 0 && i < sizeof let_through / sizeof *let_through; i++)
        res = seccomp_rule_add(f, SCMP_ACT_ALLOW, let_through[i], 0);
    for (size_t i = 0; res == 0 && i < sizeof fatal / sizeof *fatal; i++)
        res = seccomp_rule_add(f, SCMP_ACT_TRAP, fatal[i].number, 0);
    return res;
}

/* Does argument `arg` & `mask` equal `value`? Then. */
static int when(scmp_filter_ctx f, uint32_t then, int number, unsigned arg, uint64_t mask, uint64_t value)
{
    return seccomp_rule_add(f, then, number, 1, SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, mask, value));
}

/* Memory that is executable was executable from the start. */
static int memory_add(scmp_filter_ctx f)
{
    static const int numbers[] = {SCMP_SYS(mmap), SCMP_SYS(mmap2), SCMP_SYS(mprotect)};
    int res = 0;
    for (size_t i = 0; res == 0 && i < sizeof numbers / sizeof *numbers; i++) {
        res = when(f, SCMP_ACT_ALLOW, numbers[i], 2, PROT_EXEC, 0);
        if (res == 0)
            res = when(f, SCMP_ACT_TRAP, numbers[i], 2, PROT_EXEC, PROT_EXEC);
    }
    return res;
}

/* clone3() hides its flags behind a pointer; the C library does without when it does not exist. */
static int threads_add(scmp_filter_ctx f)
{
    int res = when(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 0, CLONE_THREAD, CLONE_THREAD);
    if (res == 0)
        res = when(f, SCMP_ACT_TRAP, SCMP_SYS(clone), 0, CLONE_THREAD, 0);
    if (res == 0)
        res = when(f, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 0, UINT32_MAX, (uint32_t)getpid());
    if (res == 0)
        res = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(rt_sigaction), 1, SCMP_A0(SCMP_CMP_NE, SIGSYS, 0));
    if (res == 0)
        res = seccomp_rule_add(f, SCMP_ACT_TRAP, SCMP_SYS(rt_sigaction), 1, SCMP_A0(SCMP_CMP_EQ, SIGSYS, 0));
    if (res == 0)
        res = when(f, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 0, UINT32_MAX, PR_SET_NAME);
    if (res == 0)
        res = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A2(SCMP_CMP_EQ, 0, 0));
    return res;
}

static int files_add(scmp_filter_ctx f, enum sandbox_log log)
{
    const uint64_t writing = O_ACCMODE | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY);
    const uint64_t as_log = O_WRONLY | O_CREAT | O_APPEND;
    int res = when(f, SCMP_ACT_ALLOW, SCMP_SYS(openat), 2, writing, O_RDONLY);
    if (res == 0)
        res = when(f, SCMP_ACT_ALLOW, SCMP_SYS(open), 1, writing, O_RDONLY);
    if (res == 0 && log == SANDBOX_LOG_FILE)
        res = when(f, SCMP_ACT_ALLOW, SCMP_SYS(openat), 2, writing | O_APPEND, as_log);
    if (res == 0 && log == SANDBOX_LOG_FILE)
        res = when(f, SCMP_ACT_ALLOW, SCMP_SYS(open), 1, writing | O_APPEND, as_log);
    /* The mode of an admin socket. */
    if (res == 0)
        res = when(f, SCMP_ACT_ALLOW, SCMP_SYS(chmod), 1, UINT32_MAX, S_IRUSR | S_IWUSR);
    if (res == 0)
        res = when(f, SCMP_ACT_ALLOW, SCMP_SYS(fchmodat), 2, UINT32_MAX, S_IRUSR | S_IWUSR);
    return res;
}

static int sockets_add(scmp_filter_ctx f)
{
    static const int families[] = {AF_INET, AF_INET6, AF_UNIX};
    static const unsigned long asked[] = {FIONREAD, SIOCOUTQ, FIONBIO, TCGETS};
    int res = 0;
    for (size_t i = 0; res == 0 && i < sizeof families / sizeof *families; i++)
        res = when(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 0, UINT32_MAX, (uint64_t)families[i]);
    if (res == 0)
        res = when(f, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 0, UINT32_MAX, AF_UNIX);
    for (size_t i = 0; res == 0 && i < sizeof asked / sizeof *asked; i++)
        res = when(f, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, UINT32_MAX, asked[i]);
    return res;
}

/* The guard against speculation is for processes that run others' code; it would cost each branch of this one. What is refused
 * stands in the kernel's log, too. */
static int attributes_set(scmp_filter_ctx f)
{
    int res = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
    if (res == 0)
        res = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (res == 0)
        res = seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (res == 0) {
        (void)seccomp_attr_set(f, SCMP_FLTATR_CTL_SSB, 1);
        (void)seccomp_attr_set(f, SCMP_FLTATR_CTL_LOG, 1);
    }
    return res;
}

int sandbox_enter(enum sandbox_log log, struct err *err)
{
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    int res = f ? attributes_set(f) : -ENOMEM;
    if (res == 0)
        res = lists_add(f);
    if (res == 0)
        res = memory_add(f);
    if (res == 0)
        res = threads_add(f);
    if (res == 0)
        res = files_add(f, log);
    if (res == 0)
        res = sockets_add(f);
    if (res == 0)
        res = -handler_set();
    if (res == 0)
        res = seccomp_load(f);
    seccomp_release(f);
    return res == 0 ? 0 : err_set(err, "the kernel does not take the list of system calls: %s", strerror(-res));
}
