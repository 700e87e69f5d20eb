/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte streams: the part that all kinds share, and tcp.
 *
 * An event is registered once for its socket's life, edge-triggered and in both directions, so that keep-alive traffic
 * needs no epoll_ctl. EPOLLOUT is reported with every edge; it means something only while a connect or a backlog waits.
 *
 * Invariants:
 *   - bytes leave in the order of stream_put(): while `out` holds some, later ones go behind them;
 *   - the gather belongs to one stream at a time and is empty between callbacks;
 *   - a closed stream gets no callback: stream_close() takes the event out of libevent's queues too.
 */
#include "stream.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "lib/check.h"
#include "worker.h"

static void out_append(struct stream *s, const void *at, size_t len)
{
    buf_append(&s->out, &s->worker->buf_blocks, at, len);
    metric_add(&s->worker->metrics, METRIC_buffered_bytes, len);
}

static void out_consume(struct stream *s, size_t len)
{
    buf_consume(&s->out, &s->worker->buf_blocks, len);
    metric_sub(&s->worker->metrics, METRIC_buffered_bytes, len);
}

static void out_clear(struct stream *s)
{
    metric_sub(&s->worker->metrics, METRIC_buffered_bytes, s->out.len);
    buf_clear(&s->out, &s->worker->buf_blocks);
}

void stream_make_ready(struct stream *s)
{
    if (s->open && list_empty(&s->ready))
        list_append(&s->worker->ready, &s->ready);
}

static void stream_fail(struct stream *s)
{
    s->failed = true;
    out_clear(s);
    stream_make_ready(s);
}

static void shutdown_if_done(struct stream *s)
{
    if (s->fin && s->out.len == 0 && !s->connecting && !s->failed) {
        s->fin = false;
        s->ops->shutdown(s);
    }
}

/* What the socket does not take of `v` from byte `done` on is kept. */
static void keep_rest(struct stream *s, const struct iovec *v, int n, size_t done)
{
    for (int i = 0; i < n; i++) {
        if (done >= v[i].iov_len) {
            done -= v[i].iov_len;
            continue;
        }
        out_append(s, (const char *)v[i].iov_base + done, v[i].iov_len - done);
        done = 0;
    }
}

void stream_send(struct stream *s, const struct iovec *v, int n)
{
    size_t done = 0;
    if (s->failed)
        return;
    enum io io = s->connecting || s->out.len > 0 ? IO_AGAIN : s->ops->writev(s, v, n, &done);
    s->written += done;
    if (io == IO_ERR)
        stream_fail(s);
    else if (io == IO_AGAIN)
        keep_rest(s, v, n, done);
}

void gather_write(struct worker *w)
{
    struct gather *g = &w->gather;
    struct stream *s = g->owner;
    g->owner = NULL;
    if (s->open && !s->failed) {
        if (!s->ops->seal)
            stream_send(s, g->v, g->n);
        else if (!s->ops->seal(s, g->v, g->n))
            stream_fail(s);
        shutdown_if_done(s);
    }
    g->n = 0;
    g->small_used = 0;
}

/* Behind a backlog bytes are only kept; unless they are to be sealed, which takes many of them at once. */
static bool is_gathered(const struct stream *s) { return s->out.len == 0 || s->ops->seal; }

/* The first run of a gather, one more than it holds, or bytes behind a backlog. Making room may write this stream's own
 * bytes, and leave some: so the backlog is looked at after it. */
void stream_put_slow(struct stream *s, const void *at, size_t len)
{
    struct gather *g = &s->worker->gather;
    if (len == 0 || s->failed || !s->open)
        return;
    if (is_gathered(s) && (g->owner != s || g->n == GATHER_MAX))
        worker_flush(s->worker);
    if (s->failed)
        return;
    if (!is_gathered(s)) {
        out_append(s, at, len);
        return;
    }
    g->owner = s;
    g->v[g->n++] = (struct iovec){.iov_base = (void *)(uintptr_t)at, .iov_len = len};
}

bool stream_has_short(const struct stream *s, size_t len)
{
    const struct gather *g = &s->worker->gather;
    return g->owner != s || g->small_used + len <= GATHER_SMALL;
}

char *stream_room_short(struct stream *s, size_t len)
{
    struct gather *g = &s->worker->gather;
    check(len <= GATHER_SMALL);
    if (g->owner != s || g->n == GATHER_MAX || !stream_has_short(s, len))
        worker_flush(s->worker);     /* which empties the small bytes */
    return g->small + g->small_used;
}

void stream_put_short(struct stream *s, const char *at, size_t len)
{
    struct gather *g = &s->worker->gather;
    check(at == g->small + g->small_used);
    if (s->failed || !s->open)
        return;                      /* nothing would be gathered, so no flush would ever empty them again */
    if (is_gathered(s))
        g->small_used += len;
    stream_put(s, at, len);
}

void stream_put_copy(struct stream *s, const void *at, size_t len)
{
    char *copy = stream_room_short(s, len);
    memcpy(copy, at, len);
    stream_put_short(s, copy, len);
}

size_t stream_flush(struct stream *s)
{
    if (s->worker->gather.owner == s)
        worker_flush(s->worker);
    return s->out.len;
}

size_t stream_backlog(const struct stream *s) { return s->out.len; }

size_t stream_room(struct stream *s) { return s->out.len > 0 || s->connecting || s->failed ? 0 : s->ops->room(s); }
uint64_t stream_taken(struct stream *s) { return s->written - stream_held(s); }

void stream_finish(struct stream *s)
{
    s->fin = true;
    if (s->worker->gather.owner == s)
        worker_flush(s->worker);
    else
        shutdown_if_done(s);
}

static void stream_drop(struct stream *s, bool reset)
{
    if (!s->open)
        return;
    if (s->worker->gather.owner == s)
        worker_flush(s->worker);
    s->open = false;
    list_remove(&s->ready);
    if (s->out.len > 0)
        s->failed = true;            /* what was begun is not ended: nothing may be said behind it */
    out_clear(s);
    s->ops->close(s, reset);
}

void stream_close(struct stream *s) { stream_drop(s, false); }
void stream_reset(struct stream *s) { stream_drop(s, true); }

enum io stream_read(struct stream *s, void *at, size_t cap, size_t *n)
{
    worker_flush(s->worker);
    enum io io = s->ops->read(s, at, cap, n);
    if (io == IO_AGAIN || io == IO_EOF || io == IO_ERR || (*n < cap && !s->hangup))
        s->readable = false;
    return io;
}

enum io stream_peek(struct stream *s, void *at, size_t cap, size_t *n)
{
    worker_flush(s->worker);
    enum io io = s->ops->peek(s, at, cap, n);
    if (io != IO_OK)
        s->readable = false;
    return io;
}

/* Writes what waits; returns what came of it. */
static unsigned out_drain(struct stream *s)
{
    size_t before = s->out.len;
    while (s->out.len > 0) {
        struct iovec v[16];
        size_t done = 0;
        int n = buf_peek(&s->out, v, 16);
        enum io io = s->ops->writev(s, v, n, &done);
        if (io == IO_ERR) {
            stream_fail(s);
            return 0;
        }
        s->written += done;
        out_consume(s, done);
        if (io == IO_AGAIN)
            break;
    }
    shutdown_if_done(s);
    if (before == s->out.len)
        return 0;
    return s->out.len == 0 ? STREAM_TAKEN | STREAM_DRAINED : STREAM_TAKEN;
}

void stream_deliver(struct stream *s, unsigned what)
{
    struct worker *w = s->worker;
    if (!s->open)
        return;
    if (what & (STREAM_READ | STREAM_CLOSED))
        s->readable = true;
    if (what & STREAM_CLOSED)
        s->hangup = true;
    if ((what & STREAM_WRITE) && s->connecting) {
        s->connecting = false;
        if (s->ops->broken(s))
            stream_fail(s);
    }
    if ((what & STREAM_WRITE) && s->out.len > 0)
        what |= out_drain(s);
    if (s->failed)
        what |= STREAM_FAILED;
    s->on_event(s, what);
    worker_flush(w);
}

void stream_init(struct stream *s, const struct stream_ops *ops, struct worker *w,
                 void (*on_event)(struct stream *, unsigned what))
{
    memset(s, 0, sizeof *s);
    s->ops = ops;
    s->worker = w;
    s->on_event = on_event;
    s->open = true;
    s->fd = -1;
    list_init(&s->ready);
}

/* ---- tcp and unix sockets ---- */

static enum io io_of_errno(void) { return errno == EAGAIN || errno == EINTR ? IO_AGAIN : IO_ERR; }

/*
 * The C library's recv() and writev() are points where a thread may be cancelled, and pay for it with two atomic
 * exchanges each. No thread of ours is ever cancelled: these go to the kernel directly.
 */
static enum io tcp_recv(struct stream *s, void *at, size_t cap, size_t *n, int flags)
{
    ssize_t got = syscall(SYS_recvfrom, s->fd, at, cap, flags, NULL, NULL);
    *n = got > 0 ? (size_t)got : 0;
    if (got > 0)
        return IO_OK;
    return got == 0 ? IO_EOF : io_of_errno();
}

static enum io tcp_read(struct stream *s, void *at, size_t cap, size_t *n) { return tcp_recv(s, at, cap, n, 0); }
static enum io tcp_peek(struct stream *s, void *at, size_t cap, size_t *n) { return tcp_recv(s, at, cap, n, MSG_PEEK); }

static enum io tcp_writev(struct stream *s, const struct iovec *v, int n, size_t *done)
{
    size_t want = 0;
    for (int i = 0; i < n; i++)
        want += v[i].iov_len;
    /* For a single run send() is cheaper by a tenth: the kernel takes the short way to the socket. */
    ssize_t put = n == 1 ? syscall(SYS_sendto, s->fd, v[0].iov_base, v[0].iov_len, MSG_NOSIGNAL, NULL, 0)
                         : syscall(SYS_writev, s->fd, v, n);
    *done = put > 0 ? (size_t)put : 0;
    if (put < 0)
        return io_of_errno();
    return *done == want ? IO_OK : IO_AGAIN;
}

/* Of TCP: what is not acknowledged. */
static size_t tcp_held(struct stream *s)
{
    int held = 0;
    return ioctl(s->fd, SIOCOUTQ, &held) == 0 && held > 0 ? (size_t)held : 0;
}

/* The kernel counts its buffers with all that they are made of, several times the bytes in them when a small window makes small
 * ones. How many times is seen from those that are full; when none is, it may be four. */
static size_t tcp_room(struct stream *s)
{
    uint32_t of[SK_MEMINFO_VARS] = {0};
    socklen_t len = sizeof of;
    if (getsockopt(s->fd, SOL_SOCKET, SO_MEMINFO, of, &len) != 0)
        return 0;
    uint64_t used = of[SK_MEMINFO_WMEM_QUEUED] > of[SK_MEMINFO_WMEM_ALLOC] ? of[SK_MEMINFO_WMEM_QUEUED] : of[SK_MEMINFO_WMEM_ALLOC];
    uint64_t room = of[SK_MEMINFO_SNDBUF] > used ? of[SK_MEMINFO_SNDBUF] - used : 0, held = room ? tcp_held(s) : 0;
    if (held < used)
        room = held ? room * held / used : room / 4;
    return (size_t)(room - room / 16);
}

static bool tcp_broken(struct stream *s)
{
    int error = 0;
    socklen_t len = sizeof error;
    return getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0;
}

static void tcp_shutdown(struct stream *s) { shutdown(s->fd, SHUT_WR); }

static void tcp_close(struct stream *s, bool reset)
{
    event_del(&s->ev);
    if (reset) {
        struct linger at_once = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    close(s->fd);
    s->fd = -1;
}

static const struct stream_ops tcp_ops = {
    .read = tcp_read, .peek = tcp_peek, .writev = tcp_writev, .held = tcp_held, .room = tcp_room, .broken = tcp_broken,
    .shutdown = tcp_shutdown, .close = tcp_close,
};

static void tcp_event(evutil_socket_t fd, short what, void *arg)
{
    struct stream *s = arg;
    (void)fd;
    (void)worker_now(s->worker);     /* a turn is measured from its first event on */
    stream_deliver(s, (what & EV_READ ? STREAM_READ : 0u) | (what & EV_WRITE ? STREAM_WRITE : 0u)
                        | (what & EV_CLOSED ? STREAM_CLOSED : 0u));
}

void stream_open_tcp(struct stream *s, struct worker *w, int fd, bool connecting,
                     void (*on_event)(struct stream *, unsigned what))
{
    stream_init(s, &tcp_ops, w, on_event);
    s->fd = fd;
    s->connecting = connecting;
    check(event_assign(&s->ev, w->base, fd, EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, tcp_event, s) == 0);
    check(event_add(&s->ev, NULL) == 0);
}
