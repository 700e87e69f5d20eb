/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs filters: forward for what goes up, in reverse for what comes down and for ends of scope.
 *
 * A hook that waits leaves the cursor where it is; the same hook runs again when it is woken. What a filter entered is
 * noted before its hook runs, so that its end hook is owed even if the hook itself ended the request.
 */
#include "core.h"
#include "lib/check.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "view.h"

struct use *chain_uses_make(struct request *r, const struct chain_conf *a, const struct chain_conf *b, size_t n)
{
    struct use *uses = arena_zalloc(&r->arena, n * sizeof *uses);
    for (size_t i = 0; i < n; i++) {
        struct use *u = &uses[i];
        u->inst = i < a->n ? a->v[i] : b->v[i - a->n];
        if (u->inst->type->state_size)
            u->state = arena_zalloc(&r->arena, u->inst->type->state_size);
    }
    return uses;
}

static struct reply *reply_spare(struct request *r)
{
    if (!r->spare_reply)
        r->spare_reply = arena_alloc(&r->arena, sizeof *r->spare_reply);
    mem_zero(r->spare_reply, sizeof *r->spare_reply);
    return r->spare_reply;
}

/* Apart from the reply that may be going out. */
static __attribute__((noinline)) void call_spare(struct call *call) { call->reply = reply_spare(call->req); }

/* Each field by itself, in their order: a zeroed whole first would cost as much again, at each hook. Nothing is called before the
 * end, which would have registers saved. */
static void call_fill(struct call *call, struct request *r, struct use *u)
{
    const struct instance *in = u->inst;
    call->req = r;
    call->name = in->name;
    call->options = in->options;
    call->shared = in->shared;
    call->local = r->view->locals[in->slot];
    call->state = u->state;
    call->attempt_state = u->in_attempt ? u->attempt_state : NULL;
    call->now = r->worker->now;
    call->rng = &r->worker->rng;
    call->worker = r->worker->id;
    call->shadow = in->shadow;
    call->why = r->cursor.why;
    call->reason = REASON_none;
    call->not_before = 0;
    call->failover = (struct str){NULL, 0};
    call->reply = &r->reply;
    call->core = u;
    if (in->shadow || r->step == STEP_REPLY)
        call_spare(call);
}

static __attribute__((noinline)) void call_first(struct call *call, struct request *r, struct use *u)
{
    (void)worker_now(r->worker);
    call_fill(call, r, u);
}

void call_init(struct call *call, struct request *r, struct use *u)
{
    if (r->worker->now == 0)
        call_first(call, r, u);      /* of its turn */
    else
        call_fill(call, r, u);
}

void wait_until(struct call *call, uint64_t when)
{
    struct request *r = call->req;
    timer_set(&r->worker->timers, &r->wait, when < r->deadline ? when : r->deadline);
}

/* Whatever the last hook awaited is awaited no longer. */
static void await_nothing(struct request *r)
{
    timer_clear(&r->wait);
    if (r->wake_slot)
        wake_forget(r);
}

void chain_cursor_next(struct request *r)
{
    r->cursor = (struct cursor){.at = r->cursor.at + 1, .why = WHY_FIRST};
    await_nothing(r);
}

static void cursor_reset(struct request *r)
{
    r->cursor = (struct cursor){.why = WHY_FIRST};
    await_nothing(r);
}

/* In shadow mode a filter decides, and nothing comes of it. */
enum verdict chain_enforced(struct request *r, const struct use *u, enum verdict v)
{
    static struct log_limit limit;
    if (v == FILTER_NEXT || !u->inst->shadow)
        return v;
    if (!r->shadow.at)
        r->shadow = u->inst->name;
    log_limited(&limit, LOG_INFO, "filter", "%s: " STR_FMT ": would not have let a request pass (mode: shadow)",
                u->inst->type->name, STR_ARG(u->inst->name));
    return FILTER_NEXT;
}

/* Who answers instead of the upstream, for the log and for the caller. */
static void decided_by(struct request *r, const struct use *u, struct reply *reply)
{
    r->policy = u->inst->name;
    if (reply && reply->reason != REASON_replied && !reply->policy.at)
        reply->policy = u->inst->name;
}

/* What a verdict of a forward hook other than NEXT means. */
static enum chain settle(struct request *r, const struct call *call, enum verdict v)
{
    switch (v) {
    case FILTER_WAIT:
        r->cursor.waiting = true;
        r->wait_began = call->now;
        request_wait(r);
        return CHAIN_PARKED;
    case FILTER_REPLY:
        decided_by(r, call->core, &r->reply);
        cursor_reset(r);
        return CHAIN_REPLY;
    case FILTER_FAIL:
        decided_by(r, call->core, NULL);
        r->reason = call->reason ? call->reason : REASON_filter_failed;
        cursor_reset(r);
        return CHAIN_FAIL;
    default:
        unreachable();
    }
}

/* Has the filter what it wants of the body? If not, the request collects it first. */
static enum chain body_ready(struct request *r, const struct filter *type)
{
    size_t have = r->kept.len + r->collected.len;
    if (type->needs_body == 0 || r->body.kind == FRAME_NONE)
        return CHAIN_NEXT;
    if (type->needs_body_whole) {
        if (have > type->needs_body || (r->body.kind == FRAME_LENGTH && r->body.length > type->needs_body)) {
            r->reason = REASON_body_too_large;
            return CHAIN_FAIL;
        }
    } else if (have >= type->needs_body) {
        return CHAIN_NEXT;
    }
    r->collect_max = type->needs_body + type->needs_body_whole;
    return r->body_whole ? CHAIN_NEXT : CHAIN_BODY;
}

/* A limit that can never let it pass says no wait. */
static uint64_t wait_of(const struct reply *reply) { return reply->retry_after ? reply->retry_after : TIME_NEVER; }

/* Several limits may refuse: the caller is told of the one that keeps him waiting longest (POLICY.md, token_bucket). Asking
 * the others charges nothing. */
static void reply_longest(struct request *r, struct use *uses, size_t n)
{
    for (size_t i = r->cursor.at + 1; i < n; i++) {
        struct use *u = &uses[i];
        if (!u->inst->type->peek || u->inst->shadow)
            continue;
        struct call call;
        call_init(&call, r, u);
        call.reply = reply_spare(r);
        if (u->inst->type->peek(&call) != FILTER_REPLY || wait_of(call.reply) <= wait_of(&r->reply))
            continue;
        r->reply = *call.reply;
        decided_by(r, u, &r->reply);
    }
}

static enum chain run_entry(struct request *r, struct use *uses, size_t n)
{
    while (r->cursor.at < n) {
        struct use *u = &uses[r->cursor.at];
        const struct filter *type = u->inst->type;
        enum chain next = body_ready(r, type);
        if (next != CHAIN_NEXT)
            return next;
        u->entered = true;
        if (!type->on_request) {
            r->cursor.at++;
            continue;
        }
        struct call call;
        call_init(&call, r, u);
        enum verdict v = chain_enforced(r, u, type->on_request(&call));
        if (v == FILTER_REPLY && r->reply.status == 429) {
            decided_by(r, u, &r->reply);
            reply_longest(r, uses, n);
            cursor_reset(r);
            return CHAIN_REPLY;
        }
        if (v != FILTER_NEXT)
            return settle(r, &call, v);
        chain_cursor_next(r);
    }
    cursor_reset(r);
    return CHAIN_NEXT;
}

enum chain chain_request(struct request *r) { return run_entry(r, r->uses, r->n_uses); }
enum chain chain_leg(struct request *r) { return run_entry(r, r->leg.uses, r->leg.n_uses); }

enum chain chain_attempt(struct request *r)
{
    while (r->cursor.at < r->leg.n_uses) {
        struct use *u = &r->leg.uses[r->cursor.at];
        const struct filter *type = u->inst->type;
        if (!u->in_attempt) {
            u->in_attempt = true;
            u->attempt_state = type->attempt_size ? arena_zalloc(&r->arena, type->attempt_size) : NULL;
        }
        if (!type->on_attempt) {
            r->cursor.at++;
            continue;
        }
        struct call call;
        call_init(&call, r, u);
        enum verdict v = chain_enforced(r, u, type->on_attempt(&call));
        if (v != FILTER_NEXT)
            return settle(r, &call, v);
        chain_cursor_next(r);
    }
    cursor_reset(r);
    return CHAIN_NEXT;
}

bool chain_may_attempt(struct request *r, uint64_t when)
{
    for (size_t i = 0; i < r->leg.n_uses; i++) {
        struct use *u = &r->leg.uses[i];
        struct call call;
        if (!u->inst->type->may_attempt || u->inst->shadow)
            continue;
        call_init(&call, r, u);
        call.not_before = when;
        if (!u->inst->type->may_attempt(&call))
            return false;
    }
    return true;
}

bool chain_endpoint(struct request *r, size_t endpoint)
{
    for (size_t i = 0; i < r->leg.n_uses; i++) {
        struct use *u = &r->leg.uses[i];
        if (!u->inst->type->on_endpoint)
            continue;
        struct call call;
        call_init(&call, r, u);
        if (chain_enforced(r, u, u->inst->type->on_endpoint(&call, endpoint)) != FILTER_FAIL)
            continue;
        r->leg.refused = call.reason;
        if (call.not_before && (r->leg.refused_until == 0 || call.not_before < r->leg.refused_until))
            r->leg.refused_until = call.not_before;
        return false;
    }
    return true;
}

/* What a verdict of on_head or on_response other than NEXT means. */
static enum chain settle_response(struct request *r, const struct call *call, enum verdict v)
{
    switch (v) {
    case FILTER_HOLD:
        return CHAIN_HOLD;
    case FILTER_RETRY:
        return CHAIN_RETRY;
    case FILTER_FAILOVER:
        return CHAIN_FAILOVER;
    case FILTER_REPLY:
    case FILTER_FAIL:
        chain_cursor_next(r);        /* what is answered instead goes on from there */
        if (v == FILTER_FAIL)
            r->reason = call->reason ? call->reason : REASON_filter_failed;
        else if (call->reply != &r->reply)
            r->reply = *call->reply;
        decided_by(r, call->core, v == FILTER_FAIL ? NULL : &r->reply);
        return v == FILTER_FAIL ? CHAIN_FAIL : CHAIN_REPLY;
    default:
        return settle(r, call, v);
    }
}

enum chain chain_head(struct request *r, struct call *call)
{
    while (r->cursor.at < r->leg.n_uses) {
        struct use *u = &r->leg.uses[r->leg.n_uses - 1 - r->cursor.at];
        const struct filter *type = u->inst->type;
        if (!type->on_head || !u->in_attempt) {
            r->cursor.at++;
            continue;
        }
        call_init(call, r, u);
        call->reason = r->att.out.reason;
        enum verdict v = chain_enforced(r, u, type->on_head(call, &r->att.out));
        if (v != FILTER_NEXT)
            return settle_response(r, call, v);
        chain_cursor_next(r);
    }
    cursor_reset(r);
    return CHAIN_NEXT;
}

struct use *chain_down_use(struct request *r, size_t k)
{
    if (k < r->leg.n_uses)
        return &r->leg.uses[r->leg.n_uses - 1 - k];
    k -= r->leg.n_uses;
    return k < r->n_uses ? &r->uses[r->n_uses - 1 - k] : NULL;
}

struct use *chain_up_use(struct request *r, size_t k)
{
    if (k < r->n_uses)
        return &r->uses[k];
    k -= r->n_uses;
    return k < r->leg.n_uses ? &r->leg.uses[k] : NULL;
}

enum chain chain_response(struct request *r)
{
    struct use *u;
    while ((u = chain_down_use(r, r->cursor.at)) != NULL) {
        const struct filter *type = u->inst->type;
        if (!type->on_response || !u->entered) {
            r->cursor.at++;
            continue;
        }
        struct call call;
        call_init(&call, r, u);
        call.reason = r->step == STEP_REPLY ? r->reply.reason : REASON_none;
        enum verdict v = chain_enforced(r, u, type->on_response(&call));
        if (v != FILTER_NEXT)
            return settle_response(r, &call, v);
        chain_cursor_next(r);
    }
    cursor_reset(r);
    return CHAIN_NEXT;
}

void chain_trailers(struct request *r)
{
    struct use *u;
    for (size_t k = 0; (u = chain_down_use(r, k)) != NULL; k++) {
        if (!u->inst->type->on_trailers || !u->entered)
            continue;
        struct call call;
        call_init(&call, r, u);
        u->inst->type->on_trailers(&call);
    }
}

void chain_attempt_end(struct request *r)
{
    cursor_reset(r);
    for (size_t i = r->leg.n_uses; i-- > 0;) {
        struct use *u = &r->leg.uses[i];
        if (u->in_attempt && u->inst->type->on_attempt_end) {
            struct call call;
            call_init(&call, r, u);
            u->inst->type->on_attempt_end(&call, &r->att.out);
        }
        u->in_attempt = false;
    }
}

static void end_hooks(struct request *r, struct use *uses, size_t n, const struct outcome *out)
{
    cursor_reset(r);
    for (size_t i = n; i-- > 0;) {
        struct use *u = &uses[i];
        if (!u->entered)
            continue;
        u->entered = false;
        if (!u->inst->type->on_end)
            continue;
        struct call call;
        call_init(&call, r, u);
        u->inst->type->on_end(&call, out);
    }
    chain_body_fini(r, uses, n);
}

void chain_leg_end(struct request *r) { end_hooks(r, r->leg.uses, r->leg.n_uses, &r->leg.out); }
void chain_request_end(struct request *r, const struct outcome *out) { end_hooks(r, r->uses, r->n_uses, out); }
