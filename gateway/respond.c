/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer on its way down: through on_response and on_response_body, then to the client. The same for what came from
 * upstream and for what was made here.
 *
 * A head is given to the client when the last filter agreed. Until then it may be held with the body behind it, waited on,
 * or replaced; after that the request is committed, and a failure can only cut the connection.
 */
#include "core.h"

#include <string.h>
#include "lib/check.h"

/* The head's bytes may be the scratch buffer's: copies what is used of them, the empty line behind them included. */
void head_persist(struct request *r, struct http_head *h)
{
    const struct http_field *last = h->n ? &h->fields[h->n - 1] : NULL;
    size_t len = last ? last->at + last->line_len : h->reason.at ? (size_t)(h->reason.at + h->reason.len - h->base) : 0;
    if (!h->base || len == 0)
        return;
    char *copy = arena_alloc(&r->arena, len + 2);
    memcpy(copy, h->base, len + 2);
    if (h->reason.at)
        h->reason.at = copy + (h->reason.at - h->base);
    h->base = copy;
}

void respond_hold(struct request *r, const struct filter *type)
{
    struct worker *w = r->worker;
    if (!r->resp_held) {
        r->resp_held = true;
        head_persist(r, r->resp);
    }
    if (r->cursor.hold_until == 0 && type->hold_time)
        r->cursor.hold_until = time_after(worker_now(w), type->hold_time);
    if (r->cursor.hold_until && r->cursor.hold_until < r->wait.when)
        wait_until(&(struct call){.req = r}, r->cursor.hold_until);
    r->hold_max = type->hold_max;
    if (r->att.up)
        r->att.up->ops->resume(r->att.up);       /* it waited before, perhaps */
}

/* The hook that holds, or waits, is asked again. */
static void ask_again(struct request *r)
{
    if (r->step == STEP_SEND)
        attempt_judge(r);
    else
        respond_head(r);
}

/* A tunnel's bytes are no body: hooks do not see them, here as on the way up. */
static void pass_down(struct request *r, struct slice s)
{
    if (r->step == STEP_TUNNEL)
        respond_sink(r, s);
    else
        chain_body_down(r, s);
}

void respond_data(struct request *r, struct str data)
{
    if (!r->resp_held && !r->cursor.waiting) {
        pass_down(r, (struct slice){(const uint8_t *)data.at, data.len, false});
        return;
    }
    buf_append(&r->resp_kept, &r->worker->buf_blocks, data.at, data.len);
    if (r->cursor.waiting)
        return;                      /* an upstream that was paused had this in flight */
    r->cursor.last_ask = r->resp_kept.len >= r->hold_max;
    r->cursor.why = r->cursor.last_ask ? WHY_TIMER : WHY_FIRST;
    ask_again(r);
}

void respond_sink(struct request *r, struct slice s)
{
    if (s.len > 0) {
        r->body_out += s.len;
        r->down->ops->data(r->down, str_of((const char *)s.at, s.len));
    }
    if (s.last && !r->down_ended) {
        r->down_ended = true;
        r->down->ops->end(r->down, r->resp_trailers);
    }
}

void respond_check_end(struct request *r)
{
    if (r->over || !r->down_ended)
        return;
    if (r->step == STEP_REPLY)
        request_end(r, r->reply.reason, r->by);
    else
        request_end(r, REASON_none, BY_UPSTREAM);
}

static void pass_end(struct request *r)
{
    if (r->resp_trailers)
        chain_trailers(r);
    chain_body_down(r, (struct slice){(const uint8_t *)"", 0, true});
    if (r->over)
        return;
    if (!r->down_ended && r->step != STEP_REPLY) {
        attempt_finish(r, BY_UPSTREAM, REASON_none);         /* a filter holds the end: the endpoint is free */
        request_wait(r);
    }
    respond_check_end(r);
}

void respond_finish(struct request *r)
{
    r->resp_whole = true;
    if (r->responding)
        pass_end(r);
    else if (r->resp_held && !r->cursor.waiting)
        ask_again(r);
}

/* What was kept behind a held head. */
static void pass_kept(struct request *r)
{
    struct worker *w = r->worker;
    while (r->resp_kept.len > 0 && !r->over) {
        struct iovec v;
        buf_peek(&r->resp_kept, &v, 1);
        chain_body_down(r, (struct slice){v.iov_base, v.iov_len, false});
        worker_flush(w);
        if (!r->over)
            buf_consume(&r->resp_kept, &w->buf_blocks, v.iov_len);
    }
}

static bool resizes(const struct request *r)
{
    return r->listen->filters.resizes_body || (r->hit.route && r->hit.route->filters.resizes_body)
           || (r->leg.active && r->leg.conf->filters.resizes_body);
}

static void send_head(struct request *r)
{
    struct body_frame frame = r->resp_body;
    r->resp_held = false;
    r->responding = r->committed = true;
    body_forget(r);
    r->status = r->resp->status;
    r->first_byte = worker_now(r->worker);
    timer_clear(&r->wait);
    if (!r->deadline_absolute || r->step == STEP_REPLY)
        r->deadline = TIME_NEVER;    /* from now on only idle time counts */
    request_wait(r);
    if (r->att.up)
        r->att.up->ops->resume(r->att.up);
    if (frame.kind == FRAME_LENGTH && resizes(r)) {
        http_head_remove_id(r->resp, HEADER_CONTENT_LENGTH);
        frame.kind = FRAME_UNKNOWN;
    }
    r->down->ops->head(r->down, r->resp, frame);
}

static void send_rest(struct request *r)
{
    if (r->att.active && r->att.upgraded) {
        request_set_step(r, STEP_TUNNEL);
        metric_add(&r->worker->metrics, METRIC_tunnels, 1);
        r->down->ops->tunnel(r->down);
        r->down_paused = false;
        return;
    }
    if (r->step == STEP_REPLY) {
        if (r->reply.body.len > 0)
            chain_body_down(r, (struct slice){(const uint8_t *)r->reply.body.at, r->reply.body.len, false});
        if (!r->over)
            pass_end(r);
        return;
    }
    pass_kept(r);
    if (!r->over && r->resp_whole)
        pass_end(r);
}

/* The reply stands in for the answer at hand, from the cursor's filter on. */
static void replace(struct request *r, bool failed)
{
    if (failed && r->step == STEP_REPLY)
        return;                      /* a reply goes out, even if a filter does not like it */
    enum reason reason = failed ? r->reason : r->reply.reason;
    if (failed) {
        reply_reason(r, &r->reply, reason, (struct str){NULL, 0});
        r->reply.policy = r->policy;
    }
    struct cursor cursor = r->cursor;
    body_pause(r);
    attempt_finish(r, BY_US, reason);
    r->cursor = cursor;
    r->resp_held = r->resp_whole = false;
    buf_clear(&r->resp_kept, &r->worker->buf_blocks);
    request_set_step(r, STEP_REPLY);
    reply_head(r);
}

void respond_head(struct request *r)
{
    for (;;) {
        enum chain next = r->n_uses + r->leg.n_uses ? chain_response(r) : CHAIN_NEXT;
        switch (next) {
        case CHAIN_NEXT:
            send_head(r);
            send_rest(r);
            return;
        case CHAIN_PARKED:
            head_persist(r, r->resp);
            if (r->att.up)
                r->att.up->ops->pause(r->att.up);
            return;
        case CHAIN_HOLD:
            if (r->step != STEP_REPLY && !r->resp_whole && !r->att.upgraded && !r->cursor.last_ask) {
                respond_hold(r, chain_down_use(r, r->cursor.at)->inst->type);
                return;
            }
            chain_cursor_next(r);    /* it was asked for the last time */
            break;
        case CHAIN_REPLY:
        case CHAIN_FAIL:
            if (next == CHAIN_FAIL && reason_status(r->reason) == 0) {
                request_end(r, r->reason, BY_US);
                return;
            }
            replace(r, next == CHAIN_FAIL);
            break;
        default:                     /* it is too late for another attempt: the answer goes on */
            chain_cursor_next(r);
        }
    }
}

/* A reply goes out when its time is up, whoever still waits. */
void respond_skip(struct request *r)
{
    chain_cursor_next(r);
    respond_head(r);
}

void respond_reply(struct request *r)
{
    body_pause(r);                   /* nobody wants the rest */
    request_set_step(r, STEP_REPLY);
    r->cursor = (struct cursor){0};
    r->resp_held = r->resp_whole = false;
    buf_clear(&r->resp_kept, &r->worker->buf_blocks);
    reply_head(r);
    respond_head(r);
}

/* Bytes of an answer that wait for a slow client, in its stead. */
enum { ANSWER_KEPT = 64 * 1024 };

/* How much of the answer may wait here: its rest, or what may be all of it, for then the endpoint has done its part and its slot is
 * free. Of one that is longer nothing: that would free nobody, and each slow client would hold as much. */
static size_t keep_of(const struct request *r)
{
    if (r->worker->memory >= MEMORY_BODIES)
        return 0;
    return r->resp_body.kind == FRAME_LENGTH && r->resp_body.length > r->att.out.bytes_in + ANSWER_KEPT ? 0 : ANSWER_KEPT;
}

void attempt_batch_end(struct attempt *a)
{
    struct request *r = a->req;
    if (r->over || !a->up || !r->responding)
        return;
    if (r->down->ops->flush(r->down) > keep_of(r) && !r->up_paused) {
        r->up_paused = true;
        metric_add(&r->worker->metrics, METRIC_pauses_total, 1);
        a->up->ops->pause(a->up);
    }
}

size_t attempt_room(struct attempt *a)
{
    struct request *r = a->req;
    return r->responding ? r->down->ops->room(r->down) : WORKER_SCRATCH;         /* a filter holds it */
}

void request_drained(struct request *r)
{
    if (r->up_paused && r->att.up) {
        r->up_paused = false;
        r->att.up->ops->resume(r->att.up);
    }
}
