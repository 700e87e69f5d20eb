/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams without sockets. They behave as an edge-triggered socket does: an event for what is new, bytes until they are
 * read, EAGAIN, FIN, reset. Limits on a read and on unread output make short reads and full sockets happen at will.
 */
#include "stream_mem.h"

#include <string.h>
#include "lib/check.h"
#include "lib/mem.h"

static void append(char **at, size_t *len, size_t *cap, const void *more, size_t n)
{
    if (*len + n > *cap) {
        *cap = (*len + n) * 2;
        *at = mem_realloc(*at, *cap);
    }
    if (n > 0)
        memcpy(*at + *len, more, n);
    *len += n;
}

static enum io mem_peek(struct stream *s, void *at, size_t cap, size_t *n)
{
    struct mem_end *e = s->mem;
    *n = 0;
    if (e->reset_in && !(e->reset_last && e->in_len > 0))
        return IO_ERR;
    if (e->in_len == 0)
        return e->fin_in ? IO_EOF : IO_AGAIN;
    *n = e->in_len < cap ? e->in_len : cap;
    memcpy(at, e->in + e->in_at, *n);
    return IO_OK;
}

static enum io mem_read(struct stream *s, void *at, size_t cap, size_t *n)
{
    struct mem_end *e = s->mem;
    enum io io = mem_peek(s, at, e->read_max && e->read_max < cap ? e->read_max : cap, n);
    size_t take = *n;
    if (io != IO_OK)
        return io;
    e->in_at += take;
    e->in_len -= take;
    if (e->in_len > 0 && take < cap)
        e->events |= STREAM_READ;    /* a short read would else lose the rest: a new edge, as from a new packet */
    return IO_OK;
}

static enum io mem_writev(struct stream *s, const struct iovec *v, int n, size_t *done)
{
    struct mem_end *e = s->mem;
    *done = 0;
    if (e->reset_in || e->fin_out)
        return IO_ERR;
    for (int i = 0; i < n; i++) {
        size_t room = e->window > e->out_len ? e->window - e->out_len : 0;
        size_t take = v[i].iov_len < room ? v[i].iov_len : room;
        append(&e->out, &e->out_len, &e->out_cap, v[i].iov_base, take);
        *done += take;
        if (take < v[i].iov_len) {
            e->blocked = true;
            return IO_AGAIN;
        }
    }
    return IO_OK;
}

static size_t mem_held(struct stream *s) { return ((struct mem_end *)s->mem)->out_len; }
static size_t mem_room(struct stream *s)
{
    const struct mem_end *e = s->mem;
    return e->window > e->out_len ? e->window - e->out_len : 0;
}

static bool mem_broken(struct stream *s) { return ((struct mem_end *)s->mem)->reset_in; }
static void mem_shutdown(struct stream *s) { ((struct mem_end *)s->mem)->fin_out = true; }

static void mem_close(struct stream *s, bool reset)
{
    struct mem_end *e = s->mem;
    e->fin_out = e->closed_out = true;
    e->reset_out = reset;
    e->stream = NULL;
    e->events = 0;
}

static const struct stream_ops mem_ops = {
    .read = mem_read, .peek = mem_peek, .writev = mem_writev, .held = mem_held, .room = mem_room, .broken = mem_broken,
    .shutdown = mem_shutdown, .close = mem_close,
};

void mem_end_init(struct mem_end *e, struct stream *s, struct worker *w, bool connecting,
                  void (*on_event)(struct stream *, unsigned what))
{
    memset(e, 0, sizeof *e);
    list_init(&e->link);
    e->stream = s;
    e->window = SIZE_MAX;
    stream_init(s, &mem_ops, w, on_event);
    s->mem = e;
    s->connecting = connecting;
}

void mem_end_fini(struct mem_end *e)
{
    check(e->stream == NULL);
    list_remove(&e->link);
    mem_free(e->in);
    mem_free(e->out);
}

void mem_send(struct mem_end *e, const void *at, size_t len)
{
    if (e->in_at > 0 && e->in_len > 0)
        memmove(e->in, e->in + e->in_at, e->in_len);
    e->in_at = 0;
    append(&e->in, &e->in_len, &e->in_cap, at, len);
    e->events |= STREAM_READ;
}

void mem_fin(struct mem_end *e)
{
    e->fin_in = true;
    e->events |= STREAM_READ | STREAM_CLOSED;
}

void mem_reset(struct mem_end *e)
{
    e->reset_in = true;
    e->events |= STREAM_READ | STREAM_WRITE;         /* as epoll reports EPOLLERR through libevent */
}

void mem_accept(struct mem_end *e) { e->events |= STREAM_WRITE; }

void mem_take(struct mem_end *e, size_t len)
{
    check(len <= e->out_len);
    memmove(e->out, e->out + len, e->out_len - len);
    e->out_len -= len;
    if (e->blocked && e->out_len < e->window && (e->wake == 0 || e->out_len <= e->wake)) {
        e->blocked = false;
        e->events |= STREAM_WRITE | (e->fin_in ? STREAM_READ | STREAM_CLOSED : 0);     /* epoll says all that is so */
    }
}

bool mem_pump(struct mem_end *e)
{
    unsigned what = e->events;
    if (what == 0 || !e->stream)
        return false;
    e->events = 0;
    stream_deliver(e->stream, what);
    return true;
}
