/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STREAM_H
#define STREAM_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "lib/buf.h"
#include "lib/list.h"
#include "worker.h"

/*
 * A byte stream in both directions behind a vtable: tcp (also unix sockets), mem (tests/sim), and tls over either (tls.h). The
 * owning worker only.
 *
 * Reading. An event latches `readable`; it is edge-triggered, so whoever stops reading before IO_AGAIN leaves the latch set
 * and reads again without an event (stream_make_ready). A short read means drained, unless the peer's FIN was seen.
 *
 * Writing. stream_put() only notes where the bytes are; the worker's gather hands them to one writev at the end of the
 * callback, or when another stream writes. What the socket does not take is copied to `out` and goes when it is writable.
 * Bytes put by reference must stay until the callback ends: true for the scratch buffer, arenas and constants.
 *
 * Errors of writing are not returned: the stream is marked `failed` and its owner called from the ready list, so that no
 * caller loses the ground under its feet.
 */
struct stream;
struct tls;

enum io { IO_OK, IO_AGAIN, IO_EOF, IO_ERR,
          IO_PLAIN };     /* of tls: HTTP was spoken instead. It is a plain stream from here on, and may be answered */

enum { STREAM_READ = 1, STREAM_WRITE = 2, STREAM_CLOSED = 4, STREAM_FAILED = 8, STREAM_AGAIN = 16, STREAM_DRAINED = 32,
       STREAM_TAKEN = 64 };       /* DRAINED: nothing of the backlog is left; TAKEN: some of it went */

struct stream_ops {
    enum io (*read)(struct stream *, void *at, size_t cap, size_t *n);
    enum io (*peek)(struct stream *, void *at, size_t cap, size_t *n);    /* a read that takes nothing out */
    enum io (*writev)(struct stream *, const struct iovec *, int n, size_t *done);
    /* NULL: bytes go as they are. Else what is gathered comes here and goes on by stream_send(); `out` then holds bytes as they
     * go to the wire. false: it failed. */
    bool (*seal)(struct stream *, const struct iovec *, int n);
    size_t (*held)(struct stream *);            /* bytes it took that the peer has not, as far as can be told */
    size_t (*room)(struct stream *);            /* bytes it would take now, as far as can be told */
    bool (*broken)(struct stream *);            /* has it failed, as far as can be told without taking bytes out? */
    void (*shutdown)(struct stream *);          /* no more bytes from us */
    void (*close)(struct stream *, bool reset); /* at once; unregisters; reset: the peer is told that it was cut */
};

struct stream {
    const struct stream_ops *ops;
    struct worker *worker;
    void (*on_event)(struct stream *, unsigned what);       /* STREAM_* */
    struct buf out;                  /* bytes not yet taken */
    uint64_t written;                /* bytes that the socket took */
    struct list ready;               /* in worker->ready while it has work left over */
    int fd;
    bool readable;                   /* there may be something to read */
    bool hangup;                     /* the peer's FIN was seen: read to IO_EOF */
    bool connecting;                 /* nothing is written before it is connected */
    bool failed;                     /* writing failed: nothing is written any more */
    bool fin;                        /* shut down when `out` is empty */
    bool open;
    uint32_t room;                   /* bytes read from it that go on at once, as far as is known (inbox.h) */
    union {
        struct event ev;             /* of tcp */
        void *mem;                   /* of mem: its other end */
    };
    struct tls *tls;                 /* of tls, over tcp or mem */
};

/*
 * libevent reports an error as readiness alone, without EV_CLOSED. One that came together with bytes is not seen when they
 * are read short, and there is no second event. So whoever awaits more of a message reads once more when it has been silent
 * for this long. (Where that is rare, as in the middle of a head, it reads again at once.)
 */
#define STREAM_LOOK_NS 1000000000ull

/* Takes the connected (or, with `connecting`, connecting) socket over and registers it for its life. */
void stream_open_tcp(struct stream *, struct worker *, int fd, bool connecting,
                     void (*on_event)(struct stream *, unsigned what));
/* What `stream_open_tcp` sets, for other kinds. */
void stream_init(struct stream *, const struct stream_ops *, struct worker *,
                 void (*on_event)(struct stream *, unsigned what));

/* Keeps to the short-read rule and the latch. IO_OK: *n > 0. Whatever is gathered is flushed first: `at` may be the
 * scratch buffer that it points into. */
enum io stream_read(struct stream *, void *at, size_t cap, size_t *n);

/* What a read would give, all of it left where it is. IO_AGAIN clears the latch, and so does who will wait for more: only
 * then is there another event. */
enum io stream_peek(struct stream *, void *at, size_t cap, size_t *n);

void stream_put_copy(struct stream *, const void *at, size_t len);     /* for bytes on the stack; small ones */
/* The same for bytes that are made in place: where `len` of them, GATHER_SMALL at the most, may be written, and then put. Nothing
 * else of the stream is called between the two. */
char *stream_room_short(struct stream *, size_t len);
void stream_put_short(struct stream *, const char *at, size_t len);
/* Is there such room behind what is gathered of it? If not, all that is written first. */
bool stream_has_short(const struct stream *, size_t len);
/* Writes what is gathered for it; returns the bytes that are still to go. */
size_t stream_flush(struct stream *);
size_t stream_backlog(const struct stream *);       /* without what is gathered */
/* Bytes that the socket took and the peer has not. A system call. */
static inline size_t stream_held(struct stream *s) { return s->ops->held(s); }
/* Bytes that a write would take now; 0 behind a backlog. A system call. */
size_t stream_room(struct stream *);
/* Bytes that the peer has taken so far; only differences mean something. A system call. */
uint64_t stream_taken(struct stream *);
void stream_finish(struct stream *);                /* FIN behind all that was put */
void stream_close(struct stream *);                 /* at once; drops what is not written; legal twice */
void stream_reset(struct stream *);                 /* the same, and the peer sees an error, not an end */
/* Calls on_event(STREAM_AGAIN) later in this turn. */
void stream_make_ready(struct stream *);

/* A run so short is worth a copy if that joins it to the bytes before it. */
enum { STREAM_SHORT = 1024 };

/* Were the last bytes that were put copied, so that further ones that are copied join them? */
static inline bool stream_ends_copied(const struct stream *s)
{
    const struct gather *g = &s->worker->gather;
    if (g->owner != s || g->n == 0)
        return false;
    const struct iovec *last = &g->v[g->n - 1];
    return (const char *)last->iov_base + last->iov_len == g->small + g->small_used;
}

void stream_put_slow(struct stream *, const void *at, size_t len);

/* The bytes go behind all that were put before. A run that goes on where the last one ended is joined to it. */
static inline void stream_put(struct stream *s, const void *at, size_t len)
{
    struct gather *g = &s->worker->gather;
    if (g->owner != s || s->out.len > 0 || g->n == GATHER_MAX || len == 0) {
        stream_put_slow(s, at, len);
        return;
    }
    struct iovec *last = &g->v[g->n - 1];
    if ((const char *)last->iov_base + last->iov_len == at)
        last->iov_len += len;
    else
        g->v[g->n++] = (struct iovec){.iov_base = (void *)(uintptr_t)at, .iov_len = len};
}

/* For kinds that seal: bytes as they go to the wire, behind all that went before. What is not taken now is kept. */
void stream_send(struct stream *, const struct iovec *, int n);
/* For the kinds: an event has come. */
void stream_deliver(struct stream *, unsigned what);

#endif
