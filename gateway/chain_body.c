/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Body bytes through filters, slice by slice, in both directions.
 *
 * A slice goes from filter to filter until one keeps it (HOLD) or drops it, or it reaches the sink. What a filter holds is
 * released in front of the next slice that it lets pass, or thrown away with the next that it drops. When the hold is full
 * or its time is up the hook is asked once more, with why = WHY_TIMER and an empty slice; a second HOLD then counts
 * as NEXT: a filter that must not let things pass says FAIL.
 */
#include "core.h"
#include "lib/check.h"

struct held {
    struct request *req;
    struct use *use;
    struct buf bytes;
    bool last;                       /* the end of the body is held as well */
    bool up;
    size_t at;                       /* the use's place in its direction */
    struct timer timer;
};

/* One direction of a request. */
struct pass {
    struct request *req;
    bool up;
};

/* What body_emit() needs of the hook that is running. */
struct emit {
    struct use *use;
    bool up;
    size_t at;
};

static void pass_from(const struct pass *, size_t k, struct slice);

/* Has the request ended, or an answer taken the place of its body's further way, since the last look? */
static bool stopped(const struct pass *p) { return p->req->over || (p->up && p->req->step == STEP_REPLY); }

static struct use *pass_use(const struct pass *p, size_t k)
{
    return p->up ? chain_up_use(p->req, k) : chain_down_use(p->req, k);
}

static void sink(const struct pass *p, struct slice s)
{
    if (p->up)
        body_to_up(p->req, s);
    else
        respond_sink(p->req, s);
}

static void held_release(struct held *h, const struct pass *p)
{
    struct worker *w = p->req->worker;
    timer_clear(&h->timer);
    struct buf bytes = h->bytes;     /* the request may end on the way, and what it holds with it */
    h->bytes = (struct buf){0};
    while (bytes.len > 0 && !stopped(p)) {
        struct iovec v;
        buf_peek(&bytes, &v, 1);
        pass_from(p, h->at + 1, (struct slice){v.iov_base, v.iov_len, false});
        worker_flush(w);             /* before the bytes go */
        buf_consume(&bytes, &w->buf_blocks, v.iov_len);
    }
    buf_clear(&bytes, &w->buf_blocks);
}

static void held_drop(struct held *h, struct worker *w)
{
    timer_clear(&h->timer);
    buf_clear(&h->bytes, &w->buf_blocks);
}

static bool resizes(const struct use *u, bool up)
{
    return up ? u->inst->type->resizes_request_body : u->inst->type->resizes_body;
}

static enum verdict ask(const struct pass *p, struct use *u, size_t k, enum why why, struct slice s)
{
    struct call call;
    struct emit emit = {u, p->up, k};
    call_init(&call, p->req, u);
    call.why = why;
    call.core = &emit;
    enum verdict v = p->up ? u->inst->type->on_request_body(&call, s) : u->inst->type->on_response_body(&call, s);
    if (u->inst->shadow)
        return chain_enforced(p->req, u, v);
    if (v == FILTER_DROP && !resizes(u, p->up))
        v = FILTER_FAIL;             /* the length that was promised would not come */
    if (v == FILTER_FAIL && !stopped(p)) {
        p->req->body_spoilt |= p->up;            /* this slice is lost: no other upstream can have the body */
        p->req->policy = u->inst->name;
        request_fail(p->req, call.reason ? call.reason : REASON_filter_failed, BY_US, u->inst->type->name);
    }
    return v;
}

/* The verdict on what is held, and on `s` behind it. */
static void follow(const struct pass *p, struct use *u, size_t k, enum verdict v, struct slice s)
{
    struct held *h = p->up ? u->req_held : u->resp_held;
    bool last = s.last || (h && h->last);
    if (stopped(p) || v == FILTER_FAIL)
        return;
    if (v == FILTER_DROP) {
        if (h)
            held_drop(h, p->req->worker);
        s = (struct slice){(const uint8_t *)"", 0, false};
    } else if (h) {
        held_release(h, p);
    }
    if (h)
        h->last = false;
    s.last = last;
    if (!stopped(p) && (s.len > 0 || s.last))
        pass_from(p, k + 1, s);
}

/* The hold is full, or its time is up. */
static void ask_again(const struct pass *p, struct use *u, size_t k)
{
    struct slice none = {(const uint8_t *)"", 0, false};
    enum verdict v = ask(p, u, k, WHY_TIMER, none);
    follow(p, u, k, v == FILTER_HOLD ? FILTER_NEXT : v, none);
}

static void held_timeout(struct timer *t, uint64_t now)
{
    (void)now;
    struct held *h = container_of(t, struct held, timer);
    struct pass p = {h->req, h->up};
    struct request *r = h->req;
    ask_again(&p, h->use, h->at);
    respond_check_end(r);
    request_batch_end(r);
    worker_flush(r->worker);
}

static void hold(const struct pass *p, struct use *u, size_t k, struct slice s)
{
    struct request *r = p->req;
    struct worker *w = r->worker;
    const struct filter *type = u->inst->type;
    struct held **at = p->up ? &u->req_held : &u->resp_held;
    if (!*at) {
        *at = arena_zalloc(&r->arena, sizeof **at);
        (*at)->req = r;
        (*at)->use = u;
        (*at)->up = p->up;
        (*at)->at = k;
        timer_init(&(*at)->timer, held_timeout);
    }
    struct held *h = *at;
    if (h->bytes.len == 0 && type->hold_time)
        timer_set(&w->timers, &h->timer, time_after(worker_now(w), type->hold_time));
    buf_append(&h->bytes, &w->buf_blocks, s.at, s.len);
    h->last |= s.last;
    if (h->bytes.len >= type->hold_max || (h->last && !type->hold_time))
        ask_again(p, u, k);
}

static void pass_from(const struct pass *p, size_t k, struct slice s)
{
    struct use *u;
    for (; (u = pass_use(p, k)) != NULL; k++) {
        const struct filter *type = u->inst->type;
        if (!u->entered || !(p->up ? type->on_request_body : type->on_response_body))
            continue;
        enum verdict v = ask(p, u, k, WHY_FIRST, s);
        if (stopped(p) || v == FILTER_FAIL)
            return;
        if (v == FILTER_HOLD) {
            hold(p, u, k, s);
            return;
        }
        struct held *h = p->up ? u->req_held : u->resp_held;
        if (v == FILTER_NEXT && (!h || h->bytes.len == 0))
            continue;
        follow(p, u, k, v, s);
        return;
    }
    sink(p, s);
}

void body_emit(struct call *call, const void *at, size_t len)
{
    const struct emit *e = call->core;
    struct pass p = {call->req, e->up};
    if (e->use->inst->shadow || stopped(&p))
        return;
    check(resizes(e->use, e->up));
    pass_from(&p, e->at + 1, (struct slice){at, len, false});
    worker_flush(call->req->worker);     /* the caller's bytes need not stay */
}

void chain_body_up(struct request *r, struct slice s)
{
    if (!r->hooks_up) {
        body_to_up(r, s);
        return;
    }
    struct pass p = {r, true};
    pass_from(&p, 0, s);
}

void chain_body_down(struct request *r, struct slice s)
{
    if (!r->hooks_down) {
        respond_sink(r, s);
        return;
    }
    struct pass p = {r, false};
    pass_from(&p, 0, s);
}

bool chain_body_holds(const struct use *uses, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (uses[i].req_held && (uses[i].req_held->bytes.len > 0 || uses[i].req_held->last))
            return true;
    }
    return false;
}

void chain_body_fini(struct request *r, struct use *uses, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct held *both[] = {uses[i].req_held, uses[i].resp_held};
        for (size_t k = 0; k < array_len(both); k++) {
            if (!both[k])
                continue;
            held_drop(both[k], r->worker);
            timer_fini(&r->worker->timers, &both[k]->timer);
        }
        uses[i].req_held = uses[i].resp_held = NULL;
    }
}
