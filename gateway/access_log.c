/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The access log: a ring a worker, one writer thread.
 *
 * A worker copies a record into its ring: the fixed part as it is, the strings behind it. It makes no system call, but for
 * one wake-up each quarter of a ring, so that a burst finds room and the writer may otherwise sleep. The writer looks at
 * all rings every 100 ms or when woken, makes the text, and writes it when it has 64 KiB or nothing more to add.
 *
 * Nothing that the log's reader does may hold a worker: the writer alone waits for it. It never enters a write that could
 * sleep without end either, so that closing stays possible: a pipe is opened anew as non-blocking (which must not be done
 * to the descriptor itself, since others may share it), and where that is not allowed, written in pieces that a pipe
 * which polls as writable always takes. While it waits the rings fill, and what does not fit is dropped and counted.
 *
 * A line is whole or missing: if a write fails within one, the next line written begins on a line of its own.
 * Not done here: rotation (the file is opened again when asked to), sampling, other formats.
 */
#include "access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "lib/check.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"

#define RING_SIZE ((size_t)1 << 20)
#define WAKE_EACH (RING_SIZE / 4)            /* bytes of records */
#define PIECE ((size_t)64 << 10)             /* bytes that are worth a write */
#define OUT_CAP (PIECE + ACCESS_LINE_MAX + 1)
#define LOOK_EVERY 100                       /* ms */
#define CLOSE_WAIT (2 * NSEC_PER_SEC)

enum { STRINGS = 11 };

/* How the output takes bytes without making the thread sleep where nobody can wake it. */
enum sink {
    SINK_FILE,           /* write() as it is: a disk, or a descriptor that does not block */
    SINK_SOCKET,
    SINK_PIECES,         /* a blocking pipe or terminal: PIPE_BUF at a time, when it polls as writable */
};

struct log_ring {
    struct ring ring;
    size_t since;        /* bytes put since the writer was woken; the worker's */
    int wake;            /* the writer's eventfd */
};

struct access_log {
    struct log_ring *rings;
    void *rings_mem;                 /* rings, before they were aligned */
    unsigned workers;
    int fd, wake;
    enum sink sink;
    bool own_fd, quiet;              /* quiet: it is stderr, where a word about a stuck log would be stuck too */
    char *path;                      /* of a file; else NULL */
    pthread_t thread;
    _Atomic bool stop, reopen, ended;
    _Atomic uint64_t lost;           /* records that could not be written */
    /* The writer's own from here. */
    char *out;
    size_t out_len;
    bool torn;                       /* what was written last is a part of a line; out begins with the missing newline */
    uint64_t give_up;                /* while closing: when to stop waiting; 0: not closing */
    uint64_t drops_told;
    struct log_limit failed_limit, drop_limit;
};

static uint64_t now(void) { return clock_mono(&clock_real); }

static void wake(int fd)
{
    /* It fails only when it is already as readable as can be. */
    ssize_t n = write(fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)n;
}

static void clear_wake(int fd)
{
    uint64_t n;
    ssize_t got = read(fd, &n, sizeof(n));
    (void)got;
}

/* The worker's side. */

static void strings_of(struct access_record *r, struct str *of[STRINGS])
{
    of[0] = &r->id;
    of[1] = &r->method;
    of[2] = &r->target;
    of[3] = &r->host;
    of[4] = &r->route;
    of[5] = &r->endpoint;
    of[6] = &r->fault;
    of[7] = &r->policy;
    of[8] = &r->shadow;
    of[9] = &r->sni;
    of[10] = &r->subject;
}

void access_log_put(struct ring *ring, const struct access_record *record)
{
    if (!ring)
        return;
    struct log_ring *lr = container_of(ring, struct log_ring, ring);
    struct access_record r = *record;
    struct str *strings[STRINGS];
    size_t size = sizeof(r);

    strings_of(&r, strings);
    for (unsigned i = 0; i < STRINGS; i++) {
        if (strings[i]->len > ACCESS_STRING_MAX)
            strings[i]->len = ACCESS_STRING_MAX;
        size += strings[i]->len;
    }
    char *at = ring_reserve(ring, size);
    if (!at)
        return;
    memcpy(at, &r, sizeof(r));
    at += sizeof(r);
    for (unsigned i = 0; i < STRINGS; i++) {
        if (strings[i]->len)
            memcpy(at, strings[i]->at, strings[i]->len);
        at += strings[i]->len;
    }
    ring_commit(ring, size);
    lr->since += size;
    if (lr->since >= WAKE_EACH) {
        lr->since = 0;
        wake(lr->wake);
    }
}

/* The writer's side. */

static void open_sink(struct access_log *log)
{
    struct stat st;
    char path[40];
    int flags = fcntl(log->fd, F_GETFL);

    log->sink = SINK_FILE;
    if (fstat(log->fd, &st) || S_ISREG(st.st_mode) || (flags >= 0 && (flags & O_NONBLOCK)))
        return;
    if (S_ISSOCK(st.st_mode)) {
        log->sink = SINK_SOCKET;
        return;
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d", log->fd);
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        log->sink = SINK_PIECES;
        return;
    }
    if (log->own_fd)
        close(log->fd);
    log->fd = fd;
    log->own_fd = true;
}

static ssize_t write_piece(struct access_log *log, const char *at, size_t len)
{
    struct pollfd p = {.fd = log->fd, .events = POLLOUT};
    switch (log->sink) {
    case SINK_FILE:
        return write(log->fd, at, len);
    case SINK_SOCKET:
        return send(log->fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    case SINK_PIECES:
        if (poll(&p, 1, 0) == 1)
            return write(log->fd, at, len < PIPE_BUF ? len : PIPE_BUF);
        errno = EAGAIN;
        return -1;
    }
    unreachable();
}

/* Waits until the output takes more; false: it is closing time, and the reader had its chance. */
static bool wait_writable(struct access_log *log)
{
    for (;;) {
        struct pollfd p[2] = {{.fd = log->fd, .events = POLLOUT}, {.fd = log->wake, .events = POLLIN}};
        bool over = log->give_up && now() >= log->give_up;
        int n = poll(p, 2, over ? 0 : LOOK_EVERY);
        if (n > 0 && p[1].revents)
            clear_wake(log->wake);
        if (n > 0 && p[0].revents)
            return true;
        if (over)
            return false;
        if (!log->give_up && atomic_load_explicit(&log->stop, memory_order_acquire))
            log->give_up = now() + CLOSE_WAIT;
    }
}

static uint64_t count_lines(const char *at, size_t len)
{
    uint64_t n = 0;
    for (const char *end = at + len; (at = memchr(at, '\n', (size_t)(end - at))); at++)
        n++;
    return n;
}

/* `done` bytes of out were written, the rest is given up. */
static void lose(struct access_log *log, size_t done, int why)
{
    uint64_t lines = count_lines(log->out + done, log->out_len - done);
    if (done == 0 && log->torn)
        lines--;
    if (done > 0)
        log->torn = log->out[done - 1] != '\n';
    log->out_len = 0;
    if (log->torn)
        log->out[log->out_len++] = '\n';
    uint64_t lost = atomic_load_explicit(&log->lost, memory_order_relaxed) + lines;
    atomic_store_explicit(&log->lost, lost, memory_order_relaxed);
    if (!log->quiet)
        log_limited(&log->failed_limit, LOG_ERROR, "access log", "cannot write: %s; %llu records lost so far",
                    strerror(why), (unsigned long long)lost);
}

static void flush(struct access_log *log)
{
    size_t done = 0;
    while (done < log->out_len) {
        ssize_t n = write_piece(log, log->out + done, log->out_len - done);
        if (n > 0) {
            done += (size_t)n;
            continue;
        }
        int why = n < 0 ? errno : EAGAIN;
        if (why == EINTR)
            continue;
        if (why == EAGAIN || why == EWOULDBLOCK) {
            if (wait_writable(log))
                continue;
            why = ETIMEDOUT;
        }
        lose(log, done, why);
        return;
    }
    log->out_len = 0;
    log->torn = false;
}

/* Formats the record at `at`; returns its size. */
static size_t take_record(struct access_log *log, const char *at)
{
    struct access_record r;
    struct str *strings[STRINGS];
    size_t size = sizeof(r);

    memcpy(&r, at, sizeof(r));
    strings_of(&r, strings);
    for (unsigned i = 0; i < STRINGS; i++) {
        if (strings[i]->at)
            strings[i]->at = at + size;
        size += strings[i]->len;
    }
    size_t n = access_log_format(&r, log->out + log->out_len, OUT_CAP - log->out_len);
    check(n > 0);
    log->out_len += n;
    if (log->out_len >= PIECE)
        flush(log);
    return size;
}

static void take_all(struct access_log *log)
{
    for (unsigned i = 0; i < log->workers; i++) {
        const char *at;
        size_t run;
        /* Twice: before and behind the place where the ring wraps. What comes meanwhile waits for the next look. */
        for (unsigned part = 0; part < 2 && (run = ring_peek(&log->rings[i].ring, &at)) > 0; part++) {
            for (size_t done = 0; done < run;) {
                size_t size = take_record(log, at + done);
                ring_release(&log->rings[i].ring, size);
                done += size;
            }
        }
    }
    if (log->out_len > log->torn)
        flush(log);
}

static void tell_drops(struct access_log *log)
{
    uint64_t drops = access_log_dropped(log) - atomic_load_explicit(&log->lost, memory_order_relaxed);
    if (drops == log->drops_told || log->quiet)
        return;
    log->drops_told = drops;
    log_limited(&log->drop_limit, LOG_WARN, "access log", "%llu records dropped so far: what takes the log is too slow",
                (unsigned long long)drops);
}

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0640);
}

static void reopen(struct access_log *log)
{
    if (!log->path)
        return;
    int fd = open_file(log->path);
    if (fd < 0) {
        log_error("access log", "%s: %s; going on with the file that is open", log->path, strerror(errno));
        return;
    }
    close(log->fd);
    log->fd = fd;
    /* A line torn by a failed write was torn in the old file. */
    log->torn = false;
    log->out_len = 0;
    open_sink(log);
}

static void *writer(void *arg)
{
    struct access_log *log = arg;
    pthread_setname_np(pthread_self(), "weir-log");
    for (;;) {
        /* Looked at before the rings: what was put before the stop is written. */
        bool stop = atomic_load_explicit(&log->stop, memory_order_acquire);
        if (stop && !log->give_up)
            log->give_up = now() + CLOSE_WAIT;
        if (atomic_exchange_explicit(&log->reopen, false, memory_order_acq_rel))
            reopen(log);
        take_all(log);
        tell_drops(log);
        if (stop) {
            atomic_store_explicit(&log->ended, true, memory_order_release);
            return NULL;
        }
        struct pollfd p = {.fd = log->wake, .events = POLLIN};
        if (poll(&p, 1, LOOK_EVERY) > 0)
            clear_wake(log->wake);
    }
}

/* Signals are the control thread's; a blocked SIGPIPE also makes a closed pipe an EPIPE. */
static int start_thread(struct access_log *log, struct err *err)
{
    sigset_t all, old;
    sigfillset(&all);
    sigdelset(&all, SIGSYS);                         /* sandbox.c's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&log->thread, NULL, writer, log);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed)
        return err_set(err, "access log: cannot start a thread: %s", strerror(failed));
    return 0;
}

static int open_output(struct access_log *log, enum log_to to, struct str path, struct err *err)
{
    log->quiet = to == LOG_TO_STDERR;
    if (to == LOG_TO_FILE) {
        char *name = mem_alloc(path.len + 1);
        memcpy(name, path.at, path.len);
        name[path.len] = '\0';
        log->path = name;
        log->own_fd = true;
        log->fd = open_file(name);
        if (log->fd < 0)
            return err_set(err, "log: cannot open %s: %s", name,
                           errno == ENOSYS ? "sandbox.seccomp forbids it since none was named at the start" : strerror(errno));
    } else {
        log->fd = to == LOG_TO_STDOUT ? STDOUT_FILENO : STDERR_FILENO;
        if (fcntl(log->fd, F_GETFD) < 0)
            return err_set(err, "log: standard %s is closed", to == LOG_TO_STDOUT ? "output" : "error");
    }
    open_sink(log);
    return 0;
}

static void make_rings(struct access_log *log)
{
    /* struct ring wants cache lines of its own; the heap aligns to 16. */
    size_t align = _Alignof(struct log_ring);
    log->rings_mem = mem_array(log->workers + 1, sizeof(struct log_ring));
    log->rings = (void *)(((uintptr_t)log->rings_mem + align - 1) / align * align);
    for (unsigned i = 0; i < log->workers; i++) {
        ring_init(&log->rings[i].ring, RING_SIZE);
        log->rings[i].wake = log->wake;
    }
}

static void dispose(struct access_log *log)
{
    for (unsigned i = 0; log->rings && i < log->workers; i++)
        ring_fini(&log->rings[i].ring);
    if (log->own_fd && log->fd >= 0)
        close(log->fd);
    if (log->wake >= 0)
        close(log->wake);
    mem_free(log->rings_mem);
    mem_free(log->path);
    mem_free(log->out);
    mem_free(log);
}

int access_log_open(enum log_to to, struct str path, unsigned workers, struct access_log **out, struct err *err)
{
    *out = NULL;
    if (to == LOG_TO_NONE)
        return 0;
    struct access_log *log = mem_zalloc(sizeof(*log));
    log->workers = workers;
    log->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    log->out = mem_alloc(OUT_CAP);
    if (log->wake < 0)
        err_set(err, "access log: eventfd: %s", strerror(errno));
    else if (open_output(log, to, path, err) == 0) {
        make_rings(log);
        if (start_thread(log, err) == 0) {
            *out = log;
            return 0;
        }
    }
    dispose(log);
    return -1;
}

void access_log_end(struct access_log *log)
{
    atomic_store_explicit(&log->stop, true, memory_order_release);
    wake(log->wake);
}

bool access_log_ended(const struct access_log *log) { return atomic_load_explicit(&log->ended, memory_order_acquire); }

void access_log_close(struct access_log **at)
{
    struct access_log *log = *at;
    *at = NULL;
    if (!log)
        return;
    access_log_end(log);
    pthread_join(log->thread, NULL);
    dispose(log);
}

void access_log_reopen(struct access_log *log)
{
    if (!log)
        return;
    atomic_store_explicit(&log->reopen, true, memory_order_release);
    wake(log->wake);
}

struct ring *access_log_ring(struct access_log *log, unsigned worker)
{
    if (!log)
        return NULL;
    check(worker < log->workers);
    return &log->rings[worker].ring;
}

uint64_t access_log_dropped(const struct access_log *log)
{
    if (!log)
        return 0;
    uint64_t n = atomic_load_explicit(&log->lost, memory_order_relaxed);
    for (unsigned i = 0; i < log->workers; i++)
        n += atomic_load_explicit(&log->rings[i].ring.dropped, memory_order_relaxed);
    return n;
}
