/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a request: a head is there, a route is found, filters are asked, an upstream is entered, an answer goes
 * down; and every way in which that can end early.
 *
 * A step does its part and says whether the next may follow at once. A parked request is moved on by whoever it waits for:
 * a timer, a wake-up, a connection, the client's body. request_end() is the only way out, and runs once.
 */
#include "core.h"

#include <string.h>
#include "access_log.h"
#include "forward.h"
#include "http/uri.h"
#include "lib/check.h"
#include "lib/mem.h"
#include "tls.h"
#include "upstream.h"
#include "view.h"

enum progress { MORE, PARKED };

const uint16_t step_edges[STEP_COUNT] = {
#define TO(step) (uint16_t)(1u << STEP_##step)
    [STEP_HEAD] = TO(ROUTE) | TO(REPLY) | TO(DONE),
    [STEP_ROUTE] = TO(FILTER) | TO(REPLY) | TO(DONE),
    [STEP_BODY] = TO(FILTER) | TO(LEG) | TO(REPLY) | TO(DONE),
    [STEP_FILTER] = TO(BODY) | TO(LEG) | TO(REPLY) | TO(DONE),
    [STEP_LEG] = TO(BODY) | TO(ATTEMPT) | TO(REPLY) | TO(DONE),
    [STEP_ATTEMPT] = TO(PICK) | TO(LEG) | TO(REPLY) | TO(DONE),
    [STEP_PICK] = TO(SEND) | TO(ATTEMPT) | TO(LEG) | TO(RECV) | TO(REPLY) | TO(DONE),
    [STEP_SEND] = TO(PICK) | TO(RECV) | TO(ATTEMPT) | TO(LEG) | TO(REPLY) | TO(DONE),
    [STEP_RECV] = TO(TUNNEL) | TO(REPLY) | TO(DONE),
    [STEP_REPLY] = TO(DONE),
    [STEP_TUNNEL] = TO(DONE),
    [STEP_DONE] = 0,
#undef TO
};

/* ---- waiting ---- */

static void wait_over(struct timer *t, uint64_t now)
{
    struct request *r = container_of(t, struct request, wait);
    if (r->step == STEP_REPLY && now >= r->deadline)
        respond_skip(r);
    else if (now >= r->deadline)
        request_fail(r, REASON_total_timeout, request_deadline_of(r), NULL);
    else if (r->cursor.waiting || r->resp_held)
        request_resume(r, WHY_TIMER);
    else
        request_run(r);              /* the pause before another attempt is over */
    worker_flush(r->worker);
}

void request_wait(struct request *r)
{
    if (!timer_is_set(&r->wait) && r->deadline != TIME_NEVER)
        timer_set(&r->worker->timers, &r->wait, r->deadline);
}

static void waited(struct request *r)
{
    if (r->wait_began)
        r->waited += worker_now(r->worker) - r->wait_began;
    r->wait_began = 0;
}

void request_resume(struct request *r, enum why why)
{
    bool held = r->resp_held;
    if (!r->cursor.waiting && !held)
        return;
    r->cursor.waiting = false;
    waited(r);
    r->cursor.why = why;
    r->cursor.last_ask = r->cursor.hold_until && worker_now(r->worker) >= r->cursor.hold_until;
    wake_forget(r);
    timer_clear(&r->wait);
    if (r->step == STEP_FILTER || r->step == STEP_LEG || r->step == STEP_ATTEMPT)
        request_run(r);
    else if (r->step == STEP_SEND || r->step == STEP_PICK)
        attempt_judge(r);
    else
        respond_head(r);
}

/* ---- steps ---- */

static enum progress chain_stopped(struct request *r, enum chain next)
{
    switch (next) {
    case CHAIN_BODY:
        request_set_step(r, STEP_BODY);
        request_wait(r);
        request_continue(r);
        body_resume(r);
        return PARKED;
    case CHAIN_REPLY:
        if (reason_falls_back(r->reply.reason) && leg_fall_back(r, r->reply.reason, BY_US, false))
            return PARKED;
        attempt_finish(r, BY_US, r->reply.reason);
        respond_reply(r);
        return PARKED;
    case CHAIN_FAIL:
        request_fail(r, r->reason, BY_US, NULL);
        return PARKED;
    default:
        return PARKED;
    }
}

static inline enum progress chain_result(struct request *r, enum chain next)
{
    return next == CHAIN_NEXT ? MORE : chain_stopped(r, next);
}

/* 405 says what would be served (RFC 9110 15.5.6), as far as methods that everybody knows go. */
static void refuse_method(struct request *r)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
    struct str allow = {"", 0};
    for (size_t i = 0; i < array_len(methods); i++) {
        struct route_hit hit;
        route_find(r->view->snap->router, r->host, str_c(methods[i]), r->path, &r->head, &hit);
        if (hit.route)
            allow = arena_printf(&r->arena, STR_FMT "%s%s", STR_ARG(allow), allow.len ? ", " : "", methods[i]);
    }
    reply_reason(r, &r->reply, REASON_method_not_allowed, (struct str){NULL, 0});
    reply_header(r, &r->reply, STR("Allow"), allow);
    respond_reply(r);
}

static enum progress step_route(struct request *r)
{
    const struct route_conf *route;
    if (r->worker->memory >= MEMORY_REQUESTS) {
        request_fail(r, REASON_memory_short, BY_US, NULL);
        return PARKED;
    }
    route_find(r->view->snap->router, r->host, r->head.method, r->path, &r->head, &r->hit);
    route = r->hit.route;
    if (!route) {
        if (r->hit.other_method)
            refuse_method(r);
        else
            request_fail(r, REASON_no_route, BY_US, NULL);
        return PARKED;
    }
    r->deadline = time_after(r->arrived, route->total_timeout);
    if (route->max_body && r->body.kind == FRAME_LENGTH && r->body.length > route->max_body) {
        request_fail(r, REASON_body_too_large, BY_US, NULL);
        return PARKED;
    }
    r->n_uses = r->listen->filters.n + route->filters.n;
    if (r->n_uses > 0) {
        r->uses = chain_uses_make(r, &r->listen->filters, &route->filters, r->n_uses);
        mem_zero(&r->reply, sizeof r->reply);
    }
    r->keep_max = route->filters.keep_body > r->listen->filters.keep_body ? route->filters.keep_body
                                                                           : r->listen->filters.keep_body;
    r->resizes_request = r->listen->filters.resizes_request_body || route->filters.resizes_request_body;
    r->hooks_up = r->listen->filters.request_body || route->filters.request_body;
    r->hooks_down = r->listen->filters.response_body || route->filters.response_body;
    request_set_step(r, STEP_FILTER);
    return MORE;
}

/* What is sent: the normalised path, or what the route rewrites it to, and the query as it came. */
static void target_make(struct request *r)
{
    struct str path = route_rewrite(&r->hit, r->path, &r->arena);
    if (path.at == r->target.at && path.len + (r->query.at ? r->query.len + 1 : 0) == r->target.len)
        return;
    r->target = r->query.at ? arena_printf(&r->arena, STR_FMT "?" STR_FMT, STR_ARG(path), STR_ARG(r->query)) : path;
}

static enum progress step_filter(struct request *r)
{
    enum progress next = chain_result(r, r->n_uses ? chain_request(r) : CHAIN_NEXT);
    if (next != MORE)
        return next;
    if (!r->hit.route->upstream) {
        reply_of_conf(r, &r->hit.route->respond, REASON_replied);
        respond_reply(r);
        return PARKED;
    }
    target_make(r);
    leg_enter(r, r->hit.route->upstream);
    request_set_step(r, STEP_LEG);
    return MORE;
}

static enum progress step_leg(struct request *r)
{
    enum progress next = chain_result(r, r->leg.n_uses ? chain_leg(r) : CHAIN_NEXT);
    if (next != MORE)
        return next;
    r->resizes_request |= r->leg.conf->filters.resizes_request_body;
    request_set_step(r, STEP_ATTEMPT);
    return MORE;
}

static enum progress step_attempt(struct request *r)
{
    attempt_enter(r);
    enum progress next = chain_result(r, r->leg.n_uses ? chain_attempt(r) : CHAIN_NEXT);
    if (next == MORE)
        request_set_step(r, STEP_PICK);
    return next;
}

static enum progress step_pick(struct request *r)
{
    timer_clear(&r->wait);           /* from here on the endpoint's timer keeps the deadline */
    if (worker_now(r->worker) < r->deadline)
        attempt_pick(r);
    else                             /* a filter let it go on too late, or set a deadline that had passed */
        request_fail(r, REASON_total_timeout, request_deadline_of(r), NULL);
    return PARKED;
}

void request_run(struct request *r)
{
    enum progress next = MORE;
    while (next == MORE && !r->over) {
        switch (r->step) {
        case STEP_ROUTE:
            next = step_route(r);
            break;
        case STEP_FILTER:
            next = step_filter(r);
            break;
        case STEP_LEG:
            next = step_leg(r);
            break;
        case STEP_ATTEMPT:
            next = step_attempt(r);
            break;
        case STEP_PICK:
            next = step_pick(r);
            break;
        default:
            return;                  /* whoever it waits for moves it on */
        }
    }
}

/* ---- beginning ---- */

struct request *request_new(struct view *view, struct down *d, const struct listen_conf *listen, const struct ip *peer,
                            const struct forward_peer *peer_text, uint64_t connection)
{
    struct worker *w = view->worker;
    struct arena arena;
    arena_init(&arena, &w->arena_blocks);
    struct request *r = arena_alloc(&arena, sizeof *r);
    mem_zero(r, offsetof(struct request, reply));
    r->reply.headers = NULL;
    r->hit.route = NULL;
    r->hit.n_params = 0;
    r->hit.other_method = false;
    r->arena = arena;
    r->worker = w;
    r->view = view;
    view_use(view);
    r->down = d;
    r->down_paused = true;
    r->kept_all = true;
    r->by = BY_US;
    r->listen = listen;
    r->peer = r->client = *peer;
    r->peer_text = peer_text;
    r->connection = connection;
    r->arrived = worker_now(w);
    r->deadline = r->deadline_asked = r->deadline_caller = TIME_NEVER;
    r->att.req = r;
    r->att.out.endpoint = ENDPOINT_NONE;
    timer_init(&r->wait, wait_over);
    for (int i = 0; i < SCOPE_COUNT; i++)
        list_init(&r->leases[i]);
    metric_add(&w->metrics, METRIC_requests_in_flight, 1);
    return r;
}

/* The host of an authority that the parser found well-formed: without port, brackets and a dot at the end. */
static struct str host_of(struct str a)
{
    size_t n = a.len;
    while (n > 0 && a.at[n - 1] >= '0' && a.at[n - 1] <= '9')
        n--;
    if (n > 0 && a.at[n - 1] == ':')
        a.len = n - 1;               /* an IPv6 address ends with its bracket, so this colon is the port's */
    if (a.len >= 2 && a.at[0] == '[')
        return str_of(a.at + 1, a.len - 2);
    if (a.len > 1 && a.at[a.len - 1] == '.')
        a.len--;
    return a.at ? a : STR("");
}

/* Fields that tell who the caller is by its certificate: nobody else says them. */
static void own_headers_set(struct request *r)
{
    const struct texts *own = &r->view->snap->own_headers;
    const struct tls_conf *tls = r->listen->tls;
    for (size_t i = 0; i < own->n; i++)
        http_head_remove(&r->head, own->v[i]);
    if (r->tls && tls && tls->clients.header.len && r->tls->subject.len)
        http_head_add(&r->head, &r->arena, tls->clients.header, r->tls->subject);
}

void request_begin(struct request *r, const struct request_start *start)
{
    const struct snapshot *snap = r->view->snap;
    r->head = *start->head;
    r->authority = start->host;
    r->target = start->target;
    r->body = start->body;
    r->body_whole = start->body.kind == FRAME_NONE;
    r->upgrade = start->upgrade;
    r->expect_continue = start->expect_continue;
    r->te_trailers = start->te_trailers;
    r->absolute = start->absolute;
    r->has_host = !start->absolute && start->host.at;
    r->head_method = str_eq(r->head.method, STR("HEAD"));
    r->host = host_of(r->authority);
    r->trusted = snap->trusted_proxies.n > 0 && forward_trusts(&snap->trusted_proxies, &r->peer);
    r->https = r->tls || (r->trusted && forward_says_https(&r->head));
    if (r->trusted)
        forward_client_ip(&r->head, &r->peer, &snap->trusted_proxies, &r->client);
    if (uri_normalise(&r->arena, start->target, &r->path, &r->query) == URI_BAD) {
        request_refuse(r, REASON_bad_path, (struct str){NULL, 0});
        return;
    }
    http_head_drop_hop_by_hop(&r->head);
    own_headers_set(r);      /* after that: a caller may not have it dropped by Connection either */
    request_set_step(r, STEP_ROUTE);
    request_run(r);
}

void request_refuse(struct request *r, enum reason reason, struct str fault)
{
    request_fail(r, reason, BY_CLIENT, fault.at);
}

/* ---- ends ---- */

void request_fail(struct request *r, enum reason reason, enum ended_by by, const char *fault)
{
    if (r->over)
        return;
    if (fault)
        r->fault = fault;
    if (reason_falls_back(reason) && leg_fall_back(r, reason, by, false))
        return;
    attempt_finish(r, by, reason);
    if (r->responding || r->step == STEP_REPLY || reason_status(reason) == 0) {
        request_end(r, reason, by);
        return;
    }
    timer_clear(&r->wait);
    r->by = by;
    reply_reason(r, &r->reply, reason, (struct str){NULL, 0});
    r->reply.policy = r->policy;
    if (reason_status(reason) == 503 && r->leg.refused_until > worker_now(r->worker))
        r->reply.retry_after = r->leg.refused_until - worker_now(r->worker);
    else if (reason == REASON_no_endpoint || reason == REASON_unresolved)
        r->reply.retry_after = upstream_wait(r->leg.upstream);
    else if (reason == REASON_memory_short)
        r->reply.retry_after = NSEC_PER_SEC;
    respond_reply(r);
}

void request_abort(struct request *r, enum reason reason)
{
    request_fail(r, reason, BY_CLIENT, NULL);
}

static void request_bury(struct worker *w, struct grave *g)
{
    (void)w;
    struct request *r = container_of(g, struct request, grave);
    struct arena arena = r->arena;
    view_drop(r->view);              /* not before: a hook further up the stack may have its options before it */
    arena_fini(&arena);
}

void request_end(struct request *r, enum reason reason, enum ended_by by)
{
    struct worker *w = r->worker;
    check(!r->over);
    waited(r);
    r->reason = reason;
    if (r->step == STEP_TUNNEL)
        metric_sub(&w->metrics, METRIC_tunnels, 1);
    leg_end(r, by, reason);
    struct outcome out = r->leg.out;
    out.by = by;
    out.reason = reason;
    out.sent = r->sent;
    out.committed = r->committed;
    out.started = r->arrived;
    out.ended = worker_now(w);
    leases_return(r, SCOPE_REQUEST);
    if (r->n_uses > 0)
        chain_request_end(r, &out);
    leases_return(r, SCOPE_REQUEST); /* should an end hook have taken one */
    timer_fini(&w->timers, &r->wait);
    wake_release(r);
    body_fini(r);
    request_set_step(r, STEP_DONE);
    r->over = true;
    request_log(r);
    metric_sub(&w->metrics, METRIC_requests_in_flight, 1);
    r->down->ops->done(r->down, reason);
    r->down = NULL;
    worker_bury(w, &r->grave, request_bury);
}

void request_check_fins(struct request *r, enum ended_by by)
{
    if (!r->client_fin || !r->upstream_fin || r->att.up->ops->flush(r->att.up) > 0)
        return;                      /* what goes down is the down's to deliver; what goes up would be lost */
    r->down->ops->end(r->down, NULL);
    request_end(r, REASON_none, by);
}

void request_fin(struct request *r)
{
    if (r->client_fin)
        return;
    r->client_fin = true;
    r->att.up->ops->fin(r->att.up);
    request_check_fins(r, BY_CLIENT);
}

void attempt_fin(struct attempt *a)
{
    struct request *r = a->req;
    if (r->upstream_fin)
        return;
    r->upstream_fin = true;
    r->down->ops->fin(r->down);
    request_check_fins(r, BY_UPSTREAM);
}
