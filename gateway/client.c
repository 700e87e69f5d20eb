/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's connection: states, events and time. What it reads is client_read.c's, what it writes client_write.c's,
 * and what may stand before its first request client_proxy.c's.
 *
 * While a request is under way and whole, nothing is read: a pipelined request stays in the socket. A FIN or a reset is
 * still seen, by the event alone, and ends the exchange at once (POLICY.md, HTTP).
 */
#include "client.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include "client_impl.h"
#include "crowd.h"
#include "lib/check.h"
#include "lib/mem.h"
#include "listener.h"
#include "tls.h"

enum { LINGER_NS = 1000000000, DRAIN_FRESH_NS = 500000000 };

static const bool client_edges[CLIENT_STATES][CLIENT_STATES] = {
    [CLIENT_PROXY] = {[CLIENT_IDLE] = true, [CLIENT_CLOSED] = true},
    [CLIENT_IDLE] = {[CLIENT_HEAD] = true, [CLIENT_BODY] = true, [CLIENT_BUSY] = true, [CLIENT_CLOSING] = true,
                     [CLIENT_LINGER] = true, [CLIENT_CLOSED] = true},
    [CLIENT_HEAD] = {[CLIENT_BODY] = true, [CLIENT_BUSY] = true, [CLIENT_CLOSED] = true},
    [CLIENT_BODY] = {[CLIENT_BUSY] = true, [CLIENT_IDLE] = true, [CLIENT_TUNNEL] = true, [CLIENT_CLOSING] = true,
                     [CLIENT_LINGER] = true, [CLIENT_CLOSED] = true},
    [CLIENT_BUSY] = {[CLIENT_IDLE] = true, [CLIENT_TUNNEL] = true, [CLIENT_CLOSING] = true, [CLIENT_LINGER] = true,
                     [CLIENT_CLOSED] = true},
    [CLIENT_TUNNEL] = {[CLIENT_CLOSING] = true, [CLIENT_LINGER] = true, [CLIENT_CLOSED] = true},
    [CLIENT_CLOSING] = {[CLIENT_LINGER] = true, [CLIENT_CLOSED] = true},
    [CLIENT_LINGER] = {[CLIENT_CLOSED] = true},
};

void client_set_state(struct client *c, enum client_state to)
{
    struct worker *w = c->s.worker;
    check(client_edges[c->state][to]);
    trace_step(&w->trace, w->now, 'c', c->id, c->state, to);
    c->state = (uint8_t)to;
}

static void client_bury(struct worker *w, struct grave *g)
{
    struct client *c = container_of(g, struct client, grave);
    listener_release(c->listener);
    mem_free(c->proxied);
    slab_free(&w->clients, c);
}

/* The stream is closed or reset by the caller. */
static void client_die(struct client *c)
{
    struct worker *w = c->s.worker;
    client_set_state(c, CLIENT_CLOSED);
    timer_fini(&w->timers, &c->timer);
    inbox_clear(&c->in, &c->s);
    list_remove(&c->link);
    atomic_fetch_sub_explicit(w->open_connections, 1, memory_order_relaxed);
    if (c->counted)
        crowd_leave(w->crowd, crowd_key(w->crowd, c->listener->door, &c->peer), worker_now(w));
    metric_sub(&w->metrics, METRIC_client_connections, 1);
    worker_bury(w, &c->grave, client_bury);
}

/* `reason`: why, for the request that is cut by it; an idle connection has none. */
void client_close(struct client *c, enum reason reason)
{
    if (c->state == CLIENT_CLOSED)
        return;
    if (c->down.req)
        request_abort(c->down.req, reason);      /* comes back through down.done */
    if (c->down.req)                             /* the answer to that waits for a filter, and has lost its time */
        request_abort(c->down.req, REASON_client_gone);
    if (c->state == CLIENT_CLOSED)
        return;
    stream_close(&c->s);
    client_die(c);
}

/* Cuts the connection: the client must not take what it has for whole. */
static void client_cut(struct client *c)
{
    if (c->x && (c->x->until_close || c->x->reset))
        stream_reset(&c->s);
    else
        stream_close(&c->s);
    client_die(c);
}

bool client_is_last(const struct client *c)
{
    const struct worker *w = c->s.worker;
    return w->draining || c->listener->leaving || c->asked != c->listener->asked || w->memory >= MEMORY_REQUESTS;
}

void client_arm(struct client *c, uint64_t ns)
{
    struct worker *w = c->s.worker;
    pace_stop(&c->pace, worker_now(w));
    timer_set(&w->timers, &c->timer, time_after(worker_now(w), ns));
}

static void client_disarm(struct client *c)
{
    if (c->pace.running)
        pace_stop(&c->pace, worker_now(c->s.worker));
    timer_clear(&c->timer);
}

/* A body's rate is judged until the answer begins: from then on it may be a conversation, and there is no 408 any more. A
 * tunnel has no deadline here, its endpoint's counts. */
static struct pace_rule pace_rule_of(const struct client *c, enum pace_of of)
{
    const struct listen_conf *conf = c->listener->conf;
    if (of == PACE_TAKES || !c->down.req)
        return (struct pace_rule){conf->min_rate, conf->body_timeout};
    if (c->state == CLIENT_TUNNEL)
        return (struct pace_rule){0, TIME_NEVER};
    return (struct pace_rule){c->x->head_put ? 0 : conf->min_rate, request_body_timeout(c->down.req, conf->body_timeout)};
}

/* It is to send, or to take, from now on; or just did. */
static void client_watch(struct client *c, enum pace_of of)
{
    struct worker *w = c->s.worker;
    struct pace_rule rule = pace_rule_of(c, of);
    if (c->x && c->pace.of != PACE_NONE && c->pace.of != of) {       /* or who is slow had a new window for each turn */
        struct pace other = c->x->other;
        pace_stop(&c->pace, worker_now(w));
        c->x->other = c->pace;
        c->pace = other;
    }
    pace_run(&c->pace, of, &rule, worker_now(w));
    timer_set(&w->timers, &c->timer, pace_next(&c->pace));
}

/* It does not take its answer: nothing of it is kept, here or in the kernel. */
static void client_reset(struct client *c)
{
    metric_add(&c->s.worker->metrics, METRIC_slow_readers_total, 1);
    if (c->down.req) {
        c->x->reset = true;
        c->x->keep_alive = false;
        request_abort(c->down.req, REASON_client_slow);
        return;
    }
    stream_reset(&c->s);
    client_die(c);
}

/* It does not send what it has begun. */
static void client_give_up(struct client *c, bool slow)
{
    if (slow)
        metric_add(&c->s.worker->metrics, METRIC_slow_bodies_total, 1);
    if (!c->down.req) {
        client_close(c, REASON_client_timeout);
        return;
    }
    c->x->keep_alive = false;
    request_abort(c->down.req, slow ? REASON_client_slow_body : REASON_client_timeout);
}

static void client_judge(struct client *c, uint64_t now)
{
    struct worker *w = c->s.worker;
    enum pace_of of = (enum pace_of)c->pace.of;
    struct pace_rule rule = pace_rule_of(c, of);
    uint64_t count = of == PACE_TAKES ? stream_taken(&c->s) : c->pace.seen;
    enum pace_verdict verdict = pace_judge(&c->pace, &rule, count, now);
    if (verdict == PACE_WELL || verdict == PACE_LOOK) {
        if (c->state == CLIENT_IDLE && of == PACE_TAKES && stream_backlog(&c->s) + stream_held(&c->s) == 0) {
            client_arm_state(c);             /* it has all: now it is idle */
            return;
        }
        timer_set(&w->timers, &c->timer, pace_next(&c->pace));
        if (verdict == PACE_LOOK && of == PACE_SENDS) {      /* is it still there? */
            c->s.readable = true;
            client_read(c);
        }
        return;
    }
    pace_stop(&c->pace, now);
    if (of == PACE_TAKES)
        client_reset(c);
    else
        client_give_up(c, verdict == PACE_SLOW);
}

void client_arm_state(struct client *c)
{
    const struct listen_conf *conf = c->listener->conf;
    switch ((enum client_state)c->state) {
    case CLIENT_IDLE:
        if (stream_backlog(&c->s) > 0)
            client_watch(c, PACE_TAKES);
        else if (c->discard > 0)
            client_watch(c, PACE_SENDS);
        else
            client_arm(c, conf->keepalive_timeout);
        break;
    case CLIENT_HEAD:
        client_arm(c, conf->header_timeout);
        break;
    case CLIENT_BODY:
    case CLIENT_BUSY:
    case CLIENT_TUNNEL:
        if (stream_backlog(&c->s) > 0)
            client_watch(c, PACE_TAKES);
        else if (c->state != CLIENT_BUSY && !c->paused && !c->x->expects && !c->x->ended)
            client_watch(c, PACE_SENDS);
        else
            client_disarm(c);
        break;
    case CLIENT_CLOSING:
        client_watch(c, PACE_TAKES);
        break;
    case CLIENT_LINGER:
        client_arm(c, LINGER_NS);
        break;
    default:
        unreachable();
    }
}

static void client_timeout(struct timer *t, uint64_t now)
{
    struct client *c = container_of(t, struct client, timer);
    if (c->pace.running)
        client_judge(c, now);
    else if (c->state == CLIENT_PROXY && client_is_last(c))
        client_close(c, REASON_draining);
    else if (c->state == CLIENT_PROXY)
        client_proxy_refuse(c, "the header did not come in time");
    else if (c->state == CLIENT_HEAD)
        request_refuse(client_refused_request(c), REASON_client_timeout, STR("head_timeout"));
    else if (c->state == CLIENT_IDLE && !c->fresh && stream_held(&c->s) > 0)
        client_watch(c, PACE_TAKES);     /* not idle: it is still taking what the kernel has of its answer */
    else
        client_close(c, REASON_client_timeout);
}

void client_finish(struct client *c)
{
    size_t backlog = stream_flush(&c->s);
    bool unread = c->s.readable || c->in.rest || !c->x || !c->x->body_done;
    if (c->s.failed) {
        stream_close(&c->s);
        client_die(c);
    } else if (backlog > 0) {
        client_set_state(c, CLIENT_CLOSING);
        client_arm_state(c);
    } else if (!unread) {
        stream_close(&c->s);
        client_die(c);
    } else {
        client_set_state(c, CLIENT_LINGER);
        stream_finish(&c->s);
        client_arm_state(c);
        if (c->s.readable || c->in.rest)
            stream_make_ready(&c->s);
    }
}

/* The request is over (down.done). An outward call: whatever is next comes from the ready list or the caller's loop. */
void client_done(struct down *d, enum reason reason)
{
    struct client *c = container_of(d, struct client, down);
    struct client_exchange *x = c->x;
    bool whole = x->ended;
    (void)reason;
    d->req = NULL;
    c->paused = false;
    if (!whole) {
        client_cut(c);
    } else if (x->close || client_is_last(c) || c->state == CLIENT_TUNNEL) {
        client_finish(c);
    }
    c->x = NULL;                     /* it goes with the request */
    inbox_begin(&c->s);
    if (c->state != CLIENT_BUSY && c->state != CLIENT_BODY)
        return;
    c->discard = x->body_done ? 0 : (uint32_t)x->left;
    if (c->pace.of == PACE_SENDS)
        c->pace.of = PACE_NONE;      /* its window is the body's, in which it need not hurry once the answer had begun */
    if (c->discard > 0)
        c->s.readable = true;        /* STREAM_LOOK_NS */
    client_set_state(c, CLIENT_IDLE);
    client_arm_state(c);
    if (c->s.readable || c->in.rest || c->s.hangup)
        stream_make_ready(&c->s);
}

/* Of a connection that has a request under way and is not read now: is the client still there? */
static bool client_gone(struct client *c, unsigned what)
{
    if (c->s.hangup && c->state != CLIENT_TUNNEL && !c->half_close_keep)
        return true;
    return (what & STREAM_READ) && c->s.ops->broken(&c->s);
}

void client_event(struct stream *s, unsigned what)
{
    struct client *c = container_of(s, struct client, s);
    if (what & STREAM_FAILED) {
        client_close(c, REASON_client_gone);
        return;
    }
    if (what & STREAM_WRITE) {
        if (c->down.req && (what & STREAM_DRAINED))
            request_drained(c->down.req);
        if (c->state == CLIENT_CLOSING && stream_backlog(s) == 0) {
            client_set_state(c, CLIENT_LINGER);
            stream_finish(s);
            client_arm_state(c);
        } else if ((what & STREAM_TAKEN) && !c->fresh && c->state != CLIENT_HEAD && c->state < CLIENT_LINGER) {
            client_arm_state(c);     /* it takes its answer (and not a handshake's): slowly, but it does */
        }
    }
    switch ((enum client_state)c->state) {
    case CLIENT_PROXY:
        if (client_proxy_read(c))
            client_read(c);
        break;
    case CLIENT_BUSY:
        if (client_gone(c, what))
            client_close(c, REASON_client_gone);
        break;
    case CLIENT_CLOSING:
        if ((what & STREAM_READ) && s->ops->broken(s))
            client_close(c, REASON_client_gone);
        break;
    case CLIENT_BODY:
    case CLIENT_TUNNEL:
        if (c->paused) {
            if (client_gone(c, what))
                client_close(c, REASON_client_gone);
            break;
        }
        client_read(c);
        break;
    case CLIENT_CLOSED:
        break;
    case CLIENT_IDLE:
    case CLIENT_HEAD:
        if (stream_backlog(s) > 0 && client_gone(c, what)) {         /* it is not read while it has not taken its answer */
            client_close(c, REASON_client_gone);
            break;
        }
        client_read(c);
        break;
    default:
        client_read(c);
    }
}

struct client *client_new(struct worker *w, struct listener *l, const struct ip *peer)
{
    struct client *c = slab_zalloc(&w->clients);
    c->down.ops = &client_ops;
    c->listener = l;
    l->clients++;
    c->asked = l->asked;
    c->peer = *peer;
    forward_peer_init(&c->peer_text, peer);
    c->id = ++w->connections * WORKERS_MAX + w->id;      /* unlike any other worker's */
    c->state = client_start_of(l->conf, peer) == CLIENT_STARTS_PROXY ? CLIENT_PROXY : CLIENT_IDLE;
    c->fresh = true;
    timer_init(&c->timer, client_timeout);
    list_append(&w->all_clients, &c->link);
    metric_add(&w->metrics, METRIC_client_connections_total, 1);
    metric_add(&w->metrics, METRIC_client_connections, 1);
    timer_set(&w->timers, &c->timer, time_after(worker_now(w), l->conf->header_timeout));
    return c;
}

void client_begin(struct client *c)
{
    if (c->listener->conf->tls)
        tls_accept(&c->s, c->listener->conf->tls->server, c->peer_text.text);
}

void client_accept(struct worker *w, struct listener *l, int fd, const struct ip *peer, bool counted)
{
    struct client *c = client_new(w, l, peer);
    c->counted = counted;
    stream_open_tcp(&c->s, w, fd, false, client_event);
    if (c->state != CLIENT_PROXY)
        client_begin(c);
    stream_deliver(&c->s, STREAM_READ);      /* its first bytes are there (listener.c): no need to wait for the event */
}

void client_drain(struct client *c)
{
    if ((c->state != CLIENT_IDLE && c->state != CLIENT_PROXY) || c->s.readable || c->in.rest)
        return;
    if (c->fresh) {
        uint64_t time = c->listener->conf->header_timeout;
        client_arm(c, time < DRAIN_FRESH_NS ? time : DRAIN_FRESH_NS);
        return;
    }
    if (stream_backlog(&c->s) > 0 || c->discard > 0)
        client_finish(c);            /* the last answer is not taken yet */
    else
        client_close(c, REASON_draining);
}
