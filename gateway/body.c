/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request's body on its way up: collected for a filter, held back while there is no endpoint, kept for another attempt,
 * passed on as it comes.
 *
 * Hooks see each byte once: what is kept is what came out of them, and goes to a further attempt as it is.
 *
 * Invariant: while the client is not paused there is a place for what it sends: an endpoint, or the collection.
 */
#include "core.h"

#include <string.h>
#include "lib/check.h"
#include "lib/log.h"
#include "stream.h"
#include "view.h"

/* Memory of bodies kept of all requests of all workers, at the most (POLICY.md, retry). */
#define KEPT_MAX (64u << 20)

void body_pause(struct request *r)
{
    r->body_held = false;
    if (r->down_paused)
        return;
    r->down_paused = true;
    r->down->ops->pause(r->down);
}

void body_let_in(struct request *r)
{
    r->body_held = false;
    if (!r->down_paused)
        return;
    r->down_paused = false;
    r->down->ops->resume(r->down);
}

void body_resume(struct request *r)
{
    if (r->worker->memory == MEMORY_FINE || r->body_in > 0 || !r->down_paused) {
        body_let_in(r);
    } else if (!r->body_held) {
        r->body_held = true;
        metric_add(&r->worker->metrics, METRIC_bodies_held_total, 1);
    }
}

/* Bodies are kept in whole blocks. */
static size_t memory_of(size_t len) { return (len + BUF_BLOCK - 1) / BUF_BLOCK * BUF_BLOCK; }

static void kept_clear(struct request *r)
{
    if (r->kept.len == 0)
        return;
    atomic_fetch_sub_explicit(r->worker->kept_bytes, memory_of(r->kept.len), memory_order_relaxed);
    buf_clear(&r->kept, &r->worker->buf_blocks);
}

void body_forget(struct request *r)
{
    r->kept_all = false;
    if (r->kept.len > 0)
        worker_flush(r->worker);     /* they may be on their way */
    kept_clear(r);
}

/* May so many bytes more be kept of all requests together? What has no endpoint yet must be. */
static bool room_to_keep(struct request *r, size_t len)
{
    static struct log_limit limit;
    size_t more = memory_of(r->kept.len + len) - memory_of(r->kept.len);
    if (more == 0)
        return true;
    if (atomic_fetch_add_explicit(r->worker->kept_bytes, more, memory_order_relaxed) + more <= KEPT_MAX || !r->att.connected)
        return true;
    atomic_fetch_sub_explicit(r->worker->kept_bytes, more, memory_order_relaxed);
    request_note(r, REASON_replay_full);
    log_limited(&limit, LOG_WARN, "retry", "%u MiB of request bodies are kept for repeating already: some cannot be repeated",
                KEPT_MAX >> 20);
    return false;
}

static void keep(struct request *r, const struct slice *s)
{
    if (!r->kept_all)
        return;
    if (r->responding || (r->kept.len + s->len > r->keep_max && r->att.connected) || !room_to_keep(r, s->len)) {
        body_forget(r);
        return;
    }
    buf_append(&r->kept, &r->worker->buf_blocks, s->at, s->len);
}

static void end_up(struct request *r)
{
    if (r->att.up && r->att.connected && !r->body_sent) {
        r->body_sent = true;
        r->att.up->ops->end(r->att.up, r->trailers);
    }
}

void body_to_up(struct request *r, struct slice s)
{
    if (s.len > 0) {
        r->body_up += s.len;
        keep(r, &s);
        if (r->att.up && r->att.connected) {
            r->att.out.bytes_out += s.len;
            r->att.up->ops->data(r->att.up, str_of((const char *)s.at, s.len));
        }
    }
    if (s.last) {
        r->body_passed = true;
        end_up(r);
    }
}

bool body_repeatable(const struct request *r) { return !r->body_spoilt && (r->body_up == 0 || r->kept_all); }

/* Gives a buffer's bytes to `to` and takes them out; what they became is written before they go. */
static void drain_collected(struct request *r)
{
    struct worker *w = r->worker;
    struct buf bytes = r->collected;
    r->collected = (struct buf){0};
    while (bytes.len > 0 && !r->over && r->step != STEP_REPLY) {
        struct iovec v;
        buf_peek(&bytes, &v, 1);
        chain_body_up(r, (struct slice){v.iov_base, v.iov_len, false});
        worker_flush(w);
        buf_consume(&bytes, &w->buf_blocks, v.iov_len);
    }
    buf_clear(&bytes, &w->buf_blocks);
}

static void replay_kept(struct request *r)
{
    const struct buf_block *at = NULL;
    struct iovec v;
    while (buf_next(&r->kept, &at, &v))
        r->att.up->ops->data(r->att.up, str_of(v.iov_base, v.iov_len));
    r->att.out.bytes_out += r->kept.len;
    if (r->kept.len > r->keep_max)           /* held for want of an endpoint, not to be kept */
        body_forget(r);
}

void body_begin(struct request *r)
{
    if (r->kept.len > 0)
        replay_kept(r);
    if (r->body_passed) {
        end_up(r);
        return;
    }
    if (r->collected.len > 0)
        drain_collected(r);
    if (r->over || !r->att.up)
        return;
    if (r->body_whole)
        chain_body_up(r, (struct slice){(const uint8_t *)"", 0, true});
    else
        body_resume(r);
}

/* Of the collection: has its filter enough? */
static void collected_more(struct request *r)
{
    if (!r->body_whole && r->kept.len + r->collected.len < r->collect_max)
        return;
    body_pause(r);
    request_set_step(r, r->leg.active ? STEP_LEG : STEP_FILTER);
    timer_clear(&r->wait);
    request_run(r);
}

void request_data(struct request *r, struct slice s)
{
    r->body_in += s.len;
    if (s.last)
        r->body_whole = true;
    if (r->step == STEP_TUNNEL) {
        r->att.out.bytes_out += s.len;
        r->att.up->ops->data(r->att.up, str_of((const char *)s.at, s.len));
        return;
    }
    if (r->hit.route->max_body && r->body_in > r->hit.route->max_body) {
        request_fail(r, REASON_body_too_large, BY_US, NULL);
        return;
    }
    if (r->step == STEP_BODY) {
        buf_append(&r->collected, &r->worker->buf_blocks, s.at, s.len);
        collected_more(r);
        return;
    }
    chain_body_up(r, s);
}

void request_trailers(struct request *r, const struct http_head *trailers)
{
    r->trailers = (struct http_head *)(uintptr_t)trailers;
    for (size_t i = 0; i < r->view->snap->own_headers.n; i++)        /* there are servers that take them for header fields */
        http_head_remove(r->trailers, r->view->snap->own_headers.v[i]);
}

void request_batch_end(struct request *r)
{
    if (r->over || !r->att.up || !r->att.connected)
        return;
    if (r->att.up->ops->flush(r->att.up) > 0 && !r->down_paused) {
        metric_add(&r->worker->metrics, METRIC_pauses_total, 1);
        body_pause(r);
    }
}

size_t request_room(struct request *r)
{
    return r->att.up && r->att.connected ? r->att.up->ops->room(r->att.up) : WORKER_SCRATCH;      /* a filter collects it */
}

void body_fini(struct request *r)
{
    if (r->kept.len + r->collected.len + r->resp_kept.len > 0)
        worker_flush(r->worker);     /* they may be on their way */
    buf_clear(&r->collected, &r->worker->buf_blocks);
    kept_clear(r);
    buf_clear(&r->resp_kept, &r->worker->buf_blocks);
}

static char *copy_out(char *to, const struct buf *b)
{
    const struct buf_block *at = NULL;
    struct iovec v;
    while (buf_next(b, &at, &v)) {
        memcpy(to, v.iov_base, v.iov_len);
        to += v.iov_len;
    }
    return to;
}

struct str body_flatten(struct request *r, const struct buf *b, const struct buf *behind)
{
    size_t len = b->len + (behind ? behind->len : 0);
    char *text = arena_alloc(&r->arena, len + 1), *end = copy_out(text, b);
    if (behind)
        end = copy_out(end, behind);
    *end = '\0';
    return str_of(text, len);
}
