/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Legs and attempts: an upstream entered, an endpoint tried, and how that ended.
 *
 * An attempt is active from before its endpoint is picked until attempt_finish(), which alone gives the connection back, runs
 * the end hooks and returns the leases. A pooled connection that turns out to be closed is replaced inside the
 * attempt, once: nobody but the counters sees it.
 */
#include "core.h"

#include <errno.h>
#include <string.h>
#include "lib/check.h"
#include "lib/hash.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "stream.h"
#include "http/uri.h"
#include "upstream.h"
#include "view.h"

/* Interim answers beyond MAX are dropped; at FLOOD the endpoint has lost its mind. So has at ATTEMPTS_MAX a filter: connects
 * may fail at once, and no time pass in which a deadline could come. */
enum { REPLAY_KEEP = 16 * 1024, INTERIM_MAX = 8, INTERIM_FLOOD = UINT8_MAX, ATTEMPTS_MAX = 64 };

/* What is made of the head for one upstream, credentials and its name, is not for another. */
static void head_for_leg(struct request *r, const struct upstream_conf *conf)
{
    if (r->head_kept) {
        http_head_copy(&r->head, &r->head_before, &r->arena);
        if (r->continued)
            http_head_remove_id(&r->head, HEADER_EXPECT);
    } else if (conf->filters.n > 0 || (r->hit.route->fallback.upstream && conf->host_mode != HOST_CLIENT)) {
        http_head_copy(&r->head_before, &r->head, &r->arena);
        r->head_kept = true;
    }
}

/* Into one that is all zero. */
static void leg_make(struct request *r, const struct upstream_conf *conf, struct leg *leg)
{
    leg->conf = conf;
    leg->upstream = &r->view->upstreams[conf->index];
    leg->active = true;
    leg->times = r->times;
    leg->out.started = worker_now(r->worker);
    leg->n_uses = conf->filters.n;
    if (leg->n_uses > 0)
        leg->uses = chain_uses_make(r, &conf->filters, NULL, leg->n_uses);
}

/* An attempt that was entered is forgotten. */
static void attempt_clear(struct request *r)
{
    if (r->att.out.started)
        r->att = (struct attempt){.req = r, .out.endpoint = ENDPOINT_NONE};
}

/* r->leg was made, and is begun. */
static void leg_begin(struct request *r)
{
    const struct upstream_conf *conf = r->leg.conf;
    head_for_leg(r, conf);
    attempt_clear(r);
    if (r->leg.n_uses > 0)
        mem_zero(&r->reply, sizeof r->reply);
    r->hooks_up |= conf->filters.request_body;
    r->hooks_down |= conf->filters.response_body;
    if (conf->filters.keep_body > r->keep_max)
        r->keep_max = conf->filters.keep_body;
}

void leg_enter(struct request *r, const struct upstream_conf *conf)
{
    check(!r->leg.conf);             /* the request's first: of a new request all is zero */
    leg_make(r, conf, &r->leg);
    leg_begin(r);
}

void leg_end(struct request *r, enum ended_by by, enum reason reason)
{
    struct leg *leg = &r->leg;
    if (!leg->active)
        return;
    attempt_finish(r, by, reason);
    uint64_t started = leg->out.started;
    leg->out = r->att.out;
    leg->out.started = started;
    leg->out.by = by;
    leg->out.reason = reason;
    leg->out.ended = worker_now(r->worker);
    leases_return(r, SCOPE_LEG);
    if (leg->n_uses > 0)
        chain_leg_end(r);
    leases_return(r, SCOPE_LEG);
    leg->active = false;
    leg->n_uses = 0;
}

void attempt_enter(struct request *r)
{
    if (r->att.active)
        return;
    attempt_clear(r);
    r->att.active = true;
    r->att.out.started = worker_now(r->worker);
    r->n_attempts++;
    metric_add(&r->worker->metrics, METRIC_attempts_total, 1);
}

static void give_up_back(struct request *r, bool reuse)
{
    struct up *up = r->att.up;
    if (!up)
        return;
    r->att.up = NULL;
    r->att.connected = false;
    r->body_sent = false;
    up->ops->release(up, reuse);
}

void attempt_finish(struct request *r, enum ended_by by, enum reason reason)
{
    struct attempt *a = &r->att;
    if (!a->active)
        return;
    a->out.by = by;
    a->out.reason = reason;
    a->out.committed = r->committed;
    a->out.complete = a->ended;
    a->out.ended = worker_now(r->worker);
    give_up_back(r, a->ended && r->body_sent && reason == REASON_none);
    if (a->endpoint)
        health_report(r->leg.upstream->health, a->out.endpoint, r->worker->id, &a->out);
    leases_return(r, SCOPE_ATTEMPT);
    if (r->leg.n_uses > 0)
        chain_attempt_end(r);
    leases_return(r, SCOPE_ATTEMPT); /* should an end hook have taken one */
    a->active = false;
    bool told = reason == REASON_none || reason == REASON_tls_failed;        /* of TLS there is a line already */
    if (!told && by != BY_CLIENT && by != BY_US) {
        static struct log_limit limit;
        const char *why = a->fault && strcmp(a->fault, reason_name(reason)) != 0 ? a->fault : NULL;
        log_limited(a->endpoint ? &a->endpoint->failures : &limit, LOG_WARN, "upstream", STR_FMT "%s%s: %s%s%s",
                    STR_ARG(r->leg.conf->name), a->endpoint ? ": " : "", a->endpoint ? a->endpoint->url.at : "",
                    reason_name(reason), why ? ": " : "", why ? why : "");
    }
}

static uint64_t balance_hash(struct request *r)
{
    static const struct hash_key key = {0x62616c61, 0x6e636521};
    const struct upstream_conf *conf = r->leg.conf;
    struct str by = {NULL, 0};
    if (conf->balance != BALANCE_HASH)
        return 0;
    switch (conf->hash_by) {
    case HASH_HEADER:
        by = http_head_get(&r->head, conf->hash_name);
        break;
    case HASH_COOKIE:
        by = request_cookie(r, conf->hash_name, NULL);
        break;
    case HASH_QUERY:
        if (!uri_query_get(r->query, conf->hash_name, &by))
            by = (struct str){NULL, 0};
        break;
    case HASH_PATH:
        by = r->path;
        break;
    case HASH_CLIENT_IP:
        break;
    }
    if (!by.at)                      /* who lacks it falls to his address, never to one bucket for all */
        by = str_of((const char *)&r->client, sizeof r->client);
    return hash_str(&key, by);
}

/* A connection to the endpoint that was picked. errno when it could not be begun. */
static bool attempt_connect(struct request *r, bool fresh)
{
    struct attempt *a = &r->att;
    bool reused;
    a->up = endpoint_connect(a->endpoint, a, fresh, &reused);
    a->out.reused = reused;
    if (!a->up)
        return false;
    if (reused && r->body.kind != FRAME_NONE && r->keep_max < REPLAY_KEEP && request_safe_to_repeat(r))
        r->keep_max = REPLAY_KEEP;
    return true;
}

static bool connect_next_address(struct request *r)
{
    struct attempt *a = &r->att;
    while (++a->addresses_tried < a->endpoint->n_addresses) {
        if (attempt_connect(r, true))
            return true;
    }
    return false;
}

static bool attempt_endpoint(struct request *r)
{
    struct leg *leg = &r->leg;
    enum reason why;
    uint64_t hash = balance_hash(r);
    size_t at, n = leg->conf->n;
    struct endpoint_set out = endpoint_set_copy(&leg->tried, n, &r->arena);
    leg->refused = REASON_none;
    leg->refused_until = 0;
    while ((at = upstream_pick(leg->upstream, &out, hash, &why)) != ENDPOINT_NONE) {
        if (chain_endpoint(r, at)) {
            r->att.endpoint = leg->upstream->endpoints[at];
            r->att.out.endpoint = at;
            r->att.picked = worker_now(r->worker);
            endpoint_set_add(&leg->tried, at, n, &r->arena);
            return true;
        }
        endpoint_set_add(&out, at, n, &r->arena);
    }
    if (endpoint_set_any(&leg->tried)) {             /* all were tried: begin again */
        leg->tried = (struct endpoint_set){0};
        return attempt_endpoint(r);
    }
    r->att.out.reason = leg->refused ? leg->refused : why;
    return false;
}

/* What connecting fails for when it is the gateway that is short of something. */
static bool is_own_want(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM || error == EADDRNOTAVAIL;
}

/* No connection could be begun. */
static void connect_failed(struct attempt *a, int error)
{
    static struct log_limit limit;
    a->out.reason = REASON_connect_failed;
    a->fault = strerror(error);
    if (!is_own_want(error))
        return;
    a->whose = BY_US;
    log_limited(&limit, LOG_ERROR, "upstream", "%s: no connection can be begun: %s", a->endpoint->url.at, a->fault);
}

bool attempt_pick(struct request *r)
{
    struct attempt *a = &r->att;
    if (!attempt_endpoint(r)) {
        attempt_judge(r);
        return false;
    }
    if (!attempt_connect(r, false) && !connect_next_address(r)) {
        connect_failed(a, errno);
        attempt_judge(r);
        return false;
    }
    if (a->out.reused)
        attempt_connected(a);
    return true;
}

void attempt_connected(struct attempt *a)
{
    struct request *r = a->req;
    struct body_frame frame = r->body;
    a->connected = true;
    a->out.sent = r->sent = true;
    if (r->step == STEP_PICK)
        request_set_step(r, STEP_SEND);
    if (frame.kind == FRAME_LENGTH && r->resizes_request) {
        http_head_remove_id(&r->head, HEADER_CONTENT_LENGTH);
        frame = (struct body_frame){FRAME_UNKNOWN, 0};
    }
    request_forward(r);
    a->up->ops->head(a->up, r, frame);
    if (r->body.kind == FRAME_NONE) {
        r->body_sent = true;
        a->up->ops->end(a->up, NULL);
        return;
    }
    if (r->expect_continue && a->endpoint->http10)
        request_continue(r);         /* it would never say so itself */
    body_begin(r);
}

void attempt_interim(struct attempt *a, const struct http_head *head)
{
    struct request *r = a->req;
    if (++a->interims > INTERIM_MAX) {
        metric_add(&r->worker->metrics, METRIC_interim_dropped_total, 1);
        if (a->interims == INTERIM_FLOOD)        /* each costs memory, and puts the timeout off */
            attempt_fail(a, REASON_upstream_bad, "interim_flood");
        return;
    }
    if (head->status == 100 && r->continued)
        return;                      /* the client was told already */
    r->down->ops->interim(r->down, head);
    r->down->ops->flush(r->down);
}

/* What came of an answer is not passed on. */
static void answer_forget(struct request *r)
{
    r->resp = NULL;
    r->resp_held = r->resp_whole = false;
    if (r->resp_kept.len > 0)
        buf_clear(&r->resp_kept, &r->worker->buf_blocks);
}

/* Had its endpoint half of the time that one may have at best? If not, the deadline says nothing about it: queues, pauses and
 * other attempts used up the rest. */
static bool had_its_time(const struct request *r)
{
    uint64_t own = r->leg.times.first_byte ? r->leg.times.first_byte : r->leg.conf->first_byte_timeout;
    uint64_t all = r->deadline > r->arrived ? r->deadline - r->arrived : 0;
    return worker_now(r->worker) - r->att.picked >= (own < all ? own : all) / 2;
}

/* Whose doing a failure is. */
static enum ended_by blame(const struct request *r, enum reason reason)
{
    if (r->att.whose != BY_UPSTREAM)
        return r->att.whose;
    if (reason == REASON_total_timeout) {
        enum ended_by by = request_deadline_of(r);
        return by == BY_DEADLINE && !had_its_time(r) ? BY_US : by;
    }
    return reason_status(reason) == 504 ? BY_DEADLINE : BY_UPSTREAM;
}

/* A pooled connection was closed before it saw the request, or so it looks: the same again on a new one. */
static bool attempt_replay(struct request *r, enum reason reason)
{
    struct attempt *a = &r->att;
    if (reason != REASON_upstream_reset || !a->out.reused || r->replayed || !body_repeatable(r)
        || !request_safe_to_repeat(r))
        return false;
    r->replayed = true;
    body_pause(r);
    give_up_back(r, false);
    request_set_step(r, STEP_PICK);
    metric_add(&r->worker->metrics, METRIC_upstream_replays_total, 1);
    return attempt_connect(r, true);
}

/* Another address may do better. */
static bool is_no_connection(const struct attempt *a, enum reason reason)
{
    return reason == REASON_connect_failed || (reason == REASON_tls_failed && !a->out.sent && a->whose == BY_UPSTREAM);
}

void attempt_fail(struct attempt *a, enum reason reason, const char *fault)
{
    struct request *r = a->req;
    a->fault = fault;
    if (r->responding || r->step == STEP_TUNNEL) {
        a->out.reason = reason;
        request_fail(r, reason, blame(r, reason), fault);
        return;
    }
    if (attempt_replay(r, reason))
        return;
    body_pause(r);                   /* there is no place for it: a filter may wait now */
    give_up_back(r, false);
    if (r->step == STEP_RECV) {      /* on_response has the head: too late to judge it again */
        request_fail(r, reason, blame(r, reason), fault);
        return;
    }
    if (is_no_connection(a, reason) && connect_next_address(r))
        return;
    a->out.reason = worker_now(r->worker) >= r->deadline ? REASON_total_timeout : reason;
    answer_forget(r);
    r->cursor = (struct cursor){0};  /* of the hooks that had the head before them, or its beginning */
    attempt_judge(r);
}

/* Would an attempt of this leg be let in, and find an endpoint? */
static bool attempt_may_begin(struct request *r, uint64_t when)
{
    return request_endpoint_in_use(r, 0) != ENDPOINT_NONE && chain_may_attempt(r, when);
}

/* Another attempt of this leg, if it can be: not before `when`. An answer in hand is not given up for one that would be refused. */
static bool attempt_again(struct request *r, uint64_t when)
{
    uint64_t now = worker_now(r->worker);
    if (when < now)
        when = now;
    if (!body_repeatable(r) || when >= r->deadline || !attempt_may_begin(r, when))
        return false;
    body_pause(r);
    attempt_finish(r, r->resp ? BY_US : blame(r, r->att.out.reason), r->att.out.reason);
    answer_forget(r);
    request_set_step(r, STEP_ATTEMPT);
    if (when > now) {
        timer_set(&r->worker->timers, &r->wait, when);
        return true;
    }
    request_run(r);
    return true;
}

static bool leg_repeatable(const struct request *r)
{
    return body_repeatable(r) && !chain_body_holds(r->leg.uses, r->leg.n_uses) && worker_now(r->worker) < r->deadline;
}

/* Would that upstream let an attempt begin? *next: the leg that was asked, as it is to be entered. What there is of the leg at
 * hand, an answer or the reason for one, is not given up for a refusal of the next one. */
static bool leg_may_begin(struct request *r, const struct upstream_conf *to, struct leg *next)
{
    const struct leg leg = r->leg;
    const struct http_head head = r->head;
    if (!leg_repeatable(r))
        return false;
    if (r->head_kept)
        r->head = r->head_before;    /* what its filters will see */
    r->leg = (struct leg){0};
    leg_make(r, to, &r->leg);
    bool may = attempt_may_begin(r, worker_now(r->worker));
    *next = r->leg;
    r->leg = leg;
    r->head = head;
    return may;
}

/* Ends this leg and enters another. */
static void leg_move(struct request *r, const struct leg *next, enum ended_by by, enum reason reason)
{
    body_pause(r);
    leg_end(r, by, reason);
    answer_forget(r);
    r->policy = (struct str){NULL, 0};
    check(!r->leg.active);
    r->leg = *next;
    leg_begin(r);
    request_set_step(r, STEP_LEG);
    request_run(r);
}

bool leg_fall_back(struct request *r, enum reason reason, enum ended_by by, bool asked)
{
    const struct route_conf *route = r->hit.route;
    if (!r->leg.active || r->fell_back || r->step == STEP_RECV || r->step >= STEP_REPLY)
        return false;                /* in STEP_RECV on_response has an answer already */
    bool safe = asked || !r->sent || request_safe_to_repeat(r);
    struct leg next;
    if (route->fallback.upstream && safe && leg_may_begin(r, route->fallback.upstream, &next)) {
        r->fell_back = true;
        leg_move(r, &next, by, reason);
        return true;
    }
    if (!route->fallback.respond.set)
        return false;
    r->fell_back = true;
    body_pause(r);
    leg_end(r, by, reason);
    answer_forget(r);
    reply_of_conf(r, &route->fallback.respond, reason);
    respond_reply(r);
    return true;
}

/* To the upstream of that name, or, without a name, to the route's fallback. */
static bool attempt_failover(struct request *r, struct str name)
{
    const struct snapshot *snap = r->view->snap;
    enum reason reason = r->att.out.reason;
    enum ended_by by = r->resp ? BY_US : blame(r, reason);
    if (!name.at)
        return leg_fall_back(r, reason, by, true);
    struct leg next;
    for (size_t i = 0; i < snap->n_upstreams; i++) {
        if (!str_eq(snap->upstreams[i].name, name))
            continue;
        if (!leg_may_begin(r, &snap->upstreams[i], &next))
            return false;
        leg_move(r, &next, by, reason);
        return true;
    }
    return false;
}

/* on_head said that it may go on: with the head in hand, or with the failure. */
static void attempt_accept(struct request *r)
{
    if (!r->resp) {
        request_fail(r, r->att.out.reason, blame(r, r->att.out.reason), r->att.fault);
        return;
    }
    r->resp_held = false;
    request_set_step(r, STEP_RECV);
    respond_head(r);
}

void attempt_judge(struct request *r)
{
    struct call call;
    enum chain next = r->leg.n_uses ? chain_head(r, &call) : CHAIN_NEXT;
    switch (next) {
    case CHAIN_NEXT:
        attempt_accept(r);
        return;
    case CHAIN_HOLD:
        if (!r->resp || r->resp_whole || r->att.upgraded || r->cursor.last_ask) {
            chain_cursor_next(r);    /* it was asked for the last time */
            attempt_judge(r);
            return;
        }
        respond_hold(r, r->leg.uses[r->leg.n_uses - 1 - r->cursor.at].inst->type);
        return;
    case CHAIN_PARKED:
        if (r->resp)
            head_persist(r, r->resp);
        if (r->att.up)
            r->att.up->ops->pause(r->att.up);
        return;
    case CHAIN_RETRY:
    case CHAIN_FAILOVER:
        if (r->n_attempts < ATTEMPTS_MAX
            && (next == CHAIN_RETRY ? attempt_again(r, call.not_before) : attempt_failover(r, call.failover)))
            return;
        if (next == CHAIN_RETRY && attempt_failover(r, (struct str){NULL, 0}))
            return;                  /* what may be repeated may also go to the fallback */
        chain_cursor_next(r);        /* it cannot be: the others are asked about what there is */
        attempt_judge(r);
        return;
    case CHAIN_REPLY:
        attempt_finish(r, BY_US, r->reply.reason);
        respond_reply(r);
        return;
    case CHAIN_FAIL:
        request_fail(r, r->reason, BY_US, NULL);
        return;
    case CHAIN_BODY:
        unreachable();
    }
}

void attempt_head(struct attempt *a, struct http_head *head, struct body_frame frame, bool upgraded)
{
    struct request *r = a->req;
    struct str protocol = {NULL, 0};
    if (upgraded)                    /* copied: the bytes that it stands in may go while a filter waits */
        protocol = arena_copy(&r->arena, http_head_get_id(head, HEADER_UPGRADE));
    a->out.first_byte = worker_now(r->worker);
    a->out.status = head->status;
    a->upgraded = upgraded;
    r->resp = head;
    r->resp_body = frame;
    http_head_drop_hop_by_hop(head);
    if (upgraded) {
        http_head_add(head, &r->arena, STR("Connection"), STR("upgrade"));
        http_head_add(head, &r->arena, STR("Upgrade"), protocol);
    }
    attempt_judge(r);
}

void attempt_data(struct attempt *a, struct str data)
{
    a->out.bytes_in += data.len;
    respond_data(a->req, data);
}

void attempt_end(struct attempt *a, struct http_head *trailers)
{
    struct request *r = a->req;
    a->ended = true;
    if (trailers) {
        r->resp_trailers = arena_alloc(&r->arena, sizeof *trailers);
        *r->resp_trailers = *trailers;
        head_persist(r, r->resp_trailers);
    }
    respond_finish(r);
}

void attempt_drained(struct attempt *a)
{
    struct request *r = a->req;
    if (r->step == STEP_SEND || r->step == STEP_RECV || r->step == STEP_TUNNEL)
        body_resume(r);
    if (r->step == STEP_TUNNEL)
        request_check_fins(r, BY_UPSTREAM);
}
