/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIFECYCLE_SPY_H
#define LIFECYCLE_SPY_H

/*
 * A filter that counts what it is owed, and does what the input tells it to: lifecycle_fuzz.c.
 *
 * Checked at every call: no hook of a scope runs before it was entered or after its end; each scope that was entered ends once;
 * what was leased in it is back before that.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "conf/field.h"
#include "filter.h"
#include "lib/check.h"
#include "lib/clock.h"
#include "lib/rng.h"
#include "reply.h"
#include "request.h"

enum spy_hook { SPY_REQUEST, SPY_UP, SPY_ATTEMPT, SPY_ENDPOINT, SPY_HEAD, SPY_RESPONSE, SPY_DOWN, SPY_HOOKS };

/* What the next call of a hook does. */
struct spy_act {
    uint8_t hook, what, arg;
};

enum { SPY_ACTS = 16, SPY_HANDLES = 8 };

static struct spy {
    struct spy_act acts[SPY_ACTS];
    unsigned n_acts, n_handles;
    struct wake_handle handles[SPY_HANDLES];     /* the last ones that hooks waited with: most are stale */
    unsigned scopes, attempts, leases;           /* open now */
    unsigned long bytes;
} spy;

struct spy_scope {
    bool entered, ended, of_leg;
    unsigned leases;
};

struct spy_lease {
    struct spy_scope *owner;
};

static void spy_back(void *thing, uint64_t now)
{
    struct spy_lease *l = thing;
    check(now > 0 && l->owner->leases > 0 && spy.leases > 0);
    l->owner->leases--;
    spy.leases--;
    free(l);
}

/* One that is kept, ended at once, or spent. */
static void spy_lease(struct call *call, enum scope scope, struct spy_scope *owner, unsigned how)
{
    struct spy_lease *thing = malloc(sizeof *thing);
    thing->owner = owner;
    owner->leases++;
    spy.leases++;
    struct lease *lease = lease_take(call, scope, spy_back, thing);
    if (how == 1) {
        lease_end(&lease, call->now);
        check(!lease);
    } else if (how == 2) {
        lease_forget(&lease);
        spy_back(thing, call->now);
    }
}

static void spy_enter(struct spy_scope *s, unsigned *open)
{
    check(!s->ended);
    *open += !s->entered;
    s->entered = true;
}

static void spy_leave(struct spy_scope *s, unsigned *open)
{
    check(s->entered);
    check(!s->ended);
    check(s->leases == 0);
    check(*open > 0);
    s->ended = true;
    --*open;
}

static const struct spy_act *spy_next(enum spy_hook hook)
{
    static struct spy_act act;
    for (unsigned i = 0; i < spy.n_acts; i++) {
        if (spy.acts[i].hook != hook)
            continue;
        act = spy.acts[i];
        memmove(&spy.acts[i], &spy.acts[i + 1], (--spy.n_acts - i) * sizeof act);
        return &act;
    }
    return NULL;
}

static enum verdict spy_wait(struct call *call, unsigned arg, enum verdict v)
{
    wait_until(call, call->now + arg * (uint64_t)37 * NSEC_PER_MSEC);
    if (arg & 1)
        spy.handles[spy.n_handles++ % SPY_HANDLES] = wake_handle(call);
    return v;
}

static enum verdict spy_do(struct call *call, const struct spy_act *act, bool head)
{
    struct spy_scope *scope = call->state, *attempt = call->attempt_state;
    switch (act->what % 10) {
    case 0:
    case 1:
        return spy_wait(call, act->arg, FILTER_WAIT);
    case 2:
        call->reply->status = 418;
        call->reply->reason = REASON_replied;
        call->reply->body = STR("tea");
        return FILTER_REPLY;
    case 3:
        call->reason = act->arg & 1 ? REASON_queue_full : REASON_none;
        return FILTER_FAIL;
    case 4:
        spy_lease(call, attempt ? SCOPE_ATTEMPT : scope->of_leg ? SCOPE_LEG : SCOPE_REQUEST, attempt ? attempt : scope, act->arg % 3);
        return FILTER_NEXT;
    case 5:
        request_set_deadline(call->req, call->now + act->arg * (uint64_t)50 * NSEC_PER_MSEC, act->arg & 1);
        return FILTER_NEXT;
    case 6:
        call->not_before = call->now + act->arg * (uint64_t)20 * NSEC_PER_MSEC;
        return head ? FILTER_RETRY : FILTER_NEXT;
    case 7:
        return head ? FILTER_FAILOVER : FILTER_NEXT;
    case 8:
        request_set_caller_deadline(call->req, call->now + act->arg * (uint64_t)50 * NSEC_PER_MSEC);
        return FILTER_NEXT;
    default:
        return FILTER_NEXT;
    }
}

static enum verdict spy_hook(struct call *call, enum spy_hook hook)
{
    spy_enter(call->state, &spy.scopes);
    const struct spy_act *act = spy_next(hook);
    if (!act)
        return FILTER_NEXT;
    bool answers = hook == SPY_HEAD || hook == SPY_RESPONSE;
    if (answers && act->what % 11 == 10)
        return spy_wait(call, act->arg, FILTER_HOLD);
    return spy_do(call, act, hook == SPY_HEAD && !request_committed(call->req));
}

static enum verdict spy_request(struct call *c) { return spy_hook(c, SPY_REQUEST); }
static enum verdict spy_response(struct call *c) { return spy_hook(c, SPY_RESPONSE); }

static enum verdict spy_leg(struct call *c)
{
    ((struct spy_scope *)c->state)->of_leg = true;
    return spy_hook(c, SPY_REQUEST);
}

static enum verdict spy_attempt(struct call *c)
{
    spy_enter(c->attempt_state, &spy.attempts);
    return spy_hook(c, SPY_ATTEMPT);
}

static enum verdict spy_endpoint(struct call *c, size_t endpoint)
{
    const struct spy_act *act = spy_next(SPY_ENDPOINT);
    check(endpoint != SIZE_MAX && request_endpoint(c->req, endpoint).at);
    spy_enter(c->attempt_state, &spy.attempts);
    if (!act || act->what % 2)
        return FILTER_NEXT;
    c->reason = REASON_breaker_open;
    c->not_before = c->now + act->arg * NSEC_PER_MSEC;
    return FILTER_FAIL;
}

static enum verdict spy_head(struct call *c, const struct outcome *out)
{
    check((response_head(c->req) == NULL) == (out->reason != REASON_none) && c->reason == out->reason);
    spy_enter(c->attempt_state, &spy.attempts);
    return spy_hook(c, SPY_HEAD);
}

static enum verdict spy_body(struct call *c, struct slice s, enum spy_hook hook)
{
    const struct spy_act *act = spy_next(hook);
    spy_enter(c->state, &spy.scopes);
    for (size_t i = 0; i < s.len; i++)           /* all of it is there to be read */
        spy.bytes += s.at[i];
    if (!act)
        return FILTER_NEXT;
    switch (act->what % 5) {
    case 0:
    case 1:
        return FILTER_HOLD;
    case 2:
        return FILTER_DROP;
    case 3:
        body_emit(c, "emitted", act->arg % 8);
        return FILTER_NEXT;
    default:
        return FILTER_FAIL;
    }
}

static enum verdict spy_up(struct call *c, struct slice s) { return spy_body(c, s, SPY_UP); }
static enum verdict spy_down(struct call *c, struct slice s) { return spy_body(c, s, SPY_DOWN); }

static void spy_trailers(struct call *c)
{
    spy_enter(c->state, &spy.scopes);
    check(response_trailers(c->req) != NULL);
}

static void spy_attempt_end(struct call *c, const struct outcome *out)
{
    check(out->started > 0 && out->ended >= out->started);
    spy_enter(c->state, &spy.scopes);
    spy_leave(c->attempt_state, &spy.attempts);
}

static void spy_end(struct call *c, const struct outcome *out)
{
    check(out->started > 0 && out->ended >= out->started);
    spy_leave(c->state, &spy.scopes);
}

static void spy_over(struct wake *w) { free(w); }

static inline void spy_grant(unsigned at)
{
    if (spy.n_handles == 0)
        return;
    unsigned known = spy.n_handles < SPY_HANDLES ? spy.n_handles : SPY_HANDLES;
    struct wake *w = calloc(1, sizeof *w);
    *w = (struct wake){.handle = spy.handles[at % known], .why = at & 16 ? WHY_EXTERNAL : WHY_GRANTED, .over = spy_over};
    wake_post(w);
}

static const struct field spy_fields[] = {{.type = FIELD_END}};

#define SPY(NAME, PLACES, ENTER, ATTEMPT, ...)                                                                              \
    {.name = NAME, .places = PLACES, .fields = spy_fields, .options_size = 8, .state_size = sizeof(struct spy_scope), \
     .attempt_size = ATTEMPT, .on_request = ENTER, .on_request_body = spy_up, .on_response = spy_response,     \
     .on_response_body = spy_down, .on_trailers = spy_trailers, .on_end = spy_end, .resizes_body = true,             \
     .resizes_request_body = true, __VA_ARGS__}

/* In request scope, in leg scope, and one that collects bodies. */
static const struct filter spy_of_request = SPY("spy", PLACE_LISTENER | PLACE_ROUTE, spy_request, 0, .hold_max = 5000,
                                                .hold_time = 2 * NSEC_PER_SEC);
static const struct filter spy_of_leg = SPY("spy_leg", PLACE_UPSTREAM, spy_leg, sizeof(struct spy_scope), .hold_max = 5000,
    .hold_time = 2 * NSEC_PER_SEC, .keep_body = 20000, .on_attempt = spy_attempt, .on_endpoint = spy_endpoint,
    .on_head = spy_head, .on_attempt_end = spy_attempt_end);
static const struct filter spy_of_body = SPY("spy_body", PLACE_ROUTE, spy_request, 0, .needs_body = 3000, .hold_max = 100);

#endif
