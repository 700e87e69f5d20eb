/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 towards an endpoint: states, events and time of a connection. What it reads is up_h1_read.c's, what it writes
 * up_h1_write.c's.
 *
 * Nothing is said inward from an outward call: a write that fails marks the stream, and the failure is reported
 * from the ready list. An answer may come before the request is whole, or although writing it failed: so a broken
 * write first reads what the endpoint has said.
 */
#include "up_h1.h"

#include "core.h"
#include "lib/check.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "up_h1_impl.h"

static const bool upconn_edges[UPCONN_STATES][UPCONN_STATES] = {
    [UPCONN_CONNECTING] = {[UPCONN_SHAKING] = true, [UPCONN_BUSY] = true, [UPCONN_CLOSED] = true},
    [UPCONN_SHAKING] = {[UPCONN_BUSY] = true, [UPCONN_CLOSED] = true},
    [UPCONN_BUSY] = {[UPCONN_TUNNEL] = true, [UPCONN_IDLE] = true, [UPCONN_CLOSED] = true},
    [UPCONN_TUNNEL] = {[UPCONN_CLOSED] = true},
    [UPCONN_IDLE] = {[UPCONN_BUSY] = true, [UPCONN_CLOSED] = true},
};

void upconn_set_state(struct upconn *c, enum upconn_state to)
{
    struct worker *w = c->s.worker;
    check(upconn_edges[c->state][to]);
    trace_step(&w->trace, w->now, 'u', c->id, c->state, to);
    c->state = to;
}

static void upconn_bury(struct worker *w, struct grave *g)
{
    struct upconn *c = container_of(g, struct upconn, grave);
    mem_free(c->proxy);
    slab_free(&w->upconns, c);
}

void upconn_close(struct upconn *c)
{
    struct worker *w = c->s.worker;
    upconn_set_state(c, UPCONN_CLOSED);
    timer_fini(&w->timers, &c->timer);
    inbox_clear(&c->in, &c->s);
    stream_close(&c->s);
    metric_sub(&w->metrics, METRIC_upstream_connections, 1);
    worker_bury(w, &c->grave, upconn_bury);
}

void upconn_fail(struct upconn *c, enum reason reason, const char *fault)
{
    struct attempt *att = c->up.att;
    check(att != NULL);
    attempt_fail(att, reason, fault);    /* gives the connection back, which closes it */
}

/* Only an endpoint that said nothing at all may have closed before it saw the request. */
enum reason upconn_lost(const struct upconn *c)
{
    return c->recv == RECV_HEAD && !c->in.rest && !c->spoke ? REASON_upstream_reset : REASON_upstream_cut;
}

/* What the request's filters set, or else the upstream's own. */
static uint64_t limit_of(uint64_t set, uint64_t own) { return set ? set : own; }

uint64_t upconn_idle_limit(const struct upconn *c)
{
    const struct upstream_conf *conf = c->up.att->req->leg.conf;
    return c->state == UPCONN_TUNNEL ? conf->tunnel_timeout : limit_of(c->up.att->req->leg.times.idle, conf->idle_timeout);
}

void upconn_arm(struct upconn *c, uint64_t ns)
{
    struct worker *w = c->s.worker;
    uint64_t when = time_after(worker_now(w), ns);
    c->looks = c->awaits_answer = false;
    if (c->up.att && c->up.att->req->deadline < when)
        when = c->up.att->req->deadline;
    timer_set(&w->timers, &c->timer, when);
}

/* The deadline that fits what is awaited now. Bytes that still go up, or come down, count as life. */
void upconn_arm_exchange(struct upconn *c)
{
    if (c->state == UPCONN_TUNNEL || c->recv != RECV_HEAD) {
        uint64_t limit = upconn_idle_limit(c);
        upconn_arm(c, limit > STREAM_LOOK_NS ? STREAM_LOOK_NS : limit);
        c->looks = limit > STREAM_LOOK_NS;
    } else if ((c->sent_whole && stream_backlog(&c->s) == 0) || c->await_continue) {
        upconn_arm(c, limit_of(c->up.att->req->leg.times.first_byte, c->up.att->req->leg.conf->first_byte_timeout));
        c->awaits_answer = true;
    } else {
        upconn_arm(c, upconn_idle_limit(c));
    }
}

/* It is silent. Is it still there? */
static void upconn_look(struct upconn *c)
{
    upconn_arm(c, upconn_idle_limit(c) - STREAM_LOOK_NS);
    c->s.readable = true;
    upconn_read(c);
}

/* It has all that there is of the request's body: it is the client who is silent, and whose time runs. */
static bool upconn_awaits_client(const struct upconn *c)
{
    return c->state == UPCONN_BUSY && c->recv == RECV_HEAD && !c->sent_whole && !c->await_continue
           && stream_backlog(&c->s) == 0;
}

/* What it was waited for, and the same in a word for the log. */
static enum reason upconn_awaited(const struct upconn *c, const char **word)
{
    if (c->state == UPCONN_CONNECTING) {
        *word = "connect_timeout";
        return REASON_connect_timeout;
    }
    if (c->state == UPCONN_SHAKING) {
        *word = "tls_timeout";
        return REASON_connect_timeout;
    }
    if (c->awaits_answer) {
        *word = c->sent_whole ? "first_byte_timeout" : "continue_timeout";
        return REASON_first_byte_timeout;
    }
    *word = c->state == UPCONN_TUNNEL ? "tunnel_idle" : "idle_timeout";
    return REASON_idle_timeout;
}

/* The timer is set to what comes first: the end of a wait, or the request's deadline. */
static void upconn_timeout(struct timer *t, uint64_t now)
{
    struct upconn *c = container_of(t, struct upconn, timer);
    if (c->state == UPCONN_IDLE) {
        endpoint_unpool(c->endpoint, c);
        upconn_close(c);
        return;
    }
    check(c->up.att != NULL);        /* only an idle one is nobody's */
    bool over = now >= c->up.att->req->deadline;
    if (c->looks && !over) {
        upconn_look(c);
    } else if (upconn_awaits_client(c) && !over) {
        upconn_arm(c, TIME_NEVER);   /* until the deadline; more of the body sets it anew */
    } else {
        const char *word;
        enum reason reason = upconn_awaited(c, &word);
        if (c->state == UPCONN_SHAKING)
            metric_add(&c->s.worker->metrics, METRIC_upstream_tls_handshakes_failed_total, 1);
        if (upconn_awaits_client(c))
            c->up.att->whose = BY_CLIENT;        /* a body that drips to the deadline is no fault of the endpoint's */
        upconn_fail(c, over ? REASON_total_timeout : reason, word);
    }
}

static void proxy_of(struct request *r, struct upconn_proxy *p)
{
    p->version = (unsigned)r->leg.conf->proxy_protocol;
    if (p->version == 0)
        return;
    r->down->ops->ends(r->down, &p->ends);
    if (!ip_eq(&p->ends.source, &r->client)) {
        p->ends.source = r->client;          /* whom a proxy of HTTP in front names; from which port, it does not say */
        p->ends.source_port = 0;
    }
}

/* The name follows Host. */
static struct str name_of(const struct endpoint *e, const struct request *r)
{
    const struct upstream_conf *conf = r->leg.conf;
    if (conf->host_mode == HOST_NAME)
        return conf->tls.name;
    return conf->host_mode == HOST_CLIENT && r->host.len > 0 ? r->host : e->host;
}

void upconn_need_of(const struct endpoint *e, const struct attempt *att, struct upconn_need *need)
{
    proxy_of(att->req, &need->proxy);
    need->name = e->tls ? name_of(e, att->req) : (struct str){NULL, 0};
}

static bool proxy_suits(const struct upconn *c, const struct upconn_proxy *p)
{
    if (!c->proxy || p->version == 0)
        return !c->proxy && p->version == 0;
    return c->proxy->version == p->version && proxy_ends_eq(&c->proxy->ends, &p->ends);
}

bool upconn_suits(const struct upconn *c, const struct upconn_need *need)
{
    return proxy_suits(c, &need->proxy) && (!need->name.at || tls_suits(&c->s, need->name));
}

bool upconn_is_current(const struct upconn *c) { return !c->s.tls || tls_is_current(&c->s); }

/* In front of all that is written, and with it. */
static void upconn_put_proxy(struct upconn *c)
{
    char header[PROXY_WRITE_MAX];
    if (c->proxy)
        stream_put_copy(&c->s, header, proxy_protocol_write(c->proxy->version, &c->proxy->ends, header));
}

/* With `host: client` the name is the caller's to choose. That the endpoint is none of that name says nothing about it. */
static bool is_callers_doing(const struct request *r, struct tls_failure failure)
{
    return failure.refused && r->leg.conf->host_mode == HOST_CLIENT && r->host.len > 0;
}

void upconn_fail_tls(struct upconn *c, struct tls_failure failure)
{
    struct request *r = c->up.att->req;
    struct str name = name_of(c->endpoint, r);
    const char *text = failure.text ? failure.text : "write_failed";
    metric_add(&c->s.worker->metrics, METRIC_upstream_tls_handshakes_failed_total, 1);
    log_limited(&c->endpoint->failures, LOG_WARN, "upstream", STR_FMT ": %s: %s: %s (name " STR_FMT ")",
                STR_ARG(r->leg.conf->name), c->endpoint->url.at, reason_name(REASON_tls_failed), text, STR_ARG(name));
    if (is_callers_doing(r, failure))
        r->att.whose = BY_CLIENT;
    upconn_fail(c, REASON_tls_failed, text);
}

static void upconn_shake(struct upconn *c)
{
    enum tls_shake how = tls_shake(&c->s);
    if (how == TLS_FAILED || c->s.failed) {
        upconn_fail_tls(c, tls_failure(&c->s));
    } else if (how == TLS_SHAKEN) {
        upconn_set_state(c, UPCONN_BUSY);
        attempt_connected(c->up.att);
    }
}

static void upconn_shake_begin(struct upconn *c)
{
    const struct request *r = c->up.att->req;
    upconn_set_state(c, UPCONN_SHAKING);
    if (r->leg.times.tls)
        upconn_arm(c, r->leg.times.tls);
    tls_connect(&c->s, c->endpoint->tls, name_of(c->endpoint, r), &c->endpoint->session);
    upconn_shake(c);
}

static void upconn_connect_event(struct upconn *c)
{
    if (c->s.failed) {
        upconn_fail(c, REASON_connect_failed, "connect_failed");
        return;
    }
    if (c->s.connecting)
        return;
    upconn_put_proxy(c);
    if (c->endpoint->tls) {
        upconn_shake_begin(c);
        return;
    }
    upconn_set_state(c, UPCONN_BUSY);
    attempt_connected(c->up.att);
}

/* Nobody asked it for anything: what it says makes it unfit. But an event may be late, for bytes that were read with those
 * before them. */
static bool upconn_quiet(struct upconn *c)
{
    char byte;
    size_t n;
    return !c->s.failed && !c->s.hangup && (!c->s.readable || stream_read(&c->s, &byte, 1, &n) == IO_AGAIN);
}

static void upconn_event(struct stream *s, unsigned what)
{
    struct upconn *c = container_of(s, struct upconn, s);
    uint64_t x = c->exchange;
    if (c->state == UPCONN_IDLE) {
        if ((what & ~(unsigned)(STREAM_WRITE | STREAM_AGAIN)) && !upconn_quiet(c)) {
            endpoint_unpool(c->endpoint, c);
            upconn_close(c);
        }
        return;
    }
    if (c->state == UPCONN_CONNECTING)
        upconn_connect_event(c);
    else if (c->state == UPCONN_SHAKING)
        upconn_shake(c);
    if (c->exchange != x || c->state == UPCONN_CONNECTING || c->state == UPCONN_SHAKING)
        return;
    if ((what & STREAM_WRITE) && !c->s.failed) {
        if (what & STREAM_DRAINED)
            attempt_drained(c->up.att);
        if (c->exchange == x && c->recv == RECV_HEAD && (what & STREAM_TAKEN))
            upconn_arm_exchange(c);
    }
    if (c->s.failed)
        c->s.readable = true;        /* it may have answered before it closed */
    if (c->exchange == x)
        upconn_read(c);
    if (c->exchange == x && c->s.failed && !c->paused)
        upconn_fail(c, upconn_lost(c), "write_failed");
}

static void upconn_start(struct upconn *c, struct attempt *att)
{
    c->up.att = att;
    inbox_begin(&c->s);
    c->exchange++;
    c->recv = RECV_HEAD;
    c->sent_whole = c->spoke = c->extra = c->paused = c->send_chunked = c->await_continue = false;
    endpoint_begin(c->endpoint);
}

struct upconn *upconn_open(struct endpoint *e, const struct address *a, struct attempt *att, const struct upconn_need *need)
{
    struct worker *w = e->worker;
    struct upconn *c = slab_zalloc(&w->upconns);
    if (w->connect(w, &c->s, a, upconn_event) != 0) {
        slab_free(&w->upconns, c);
        return NULL;
    }
    c->up.ops = &upconn_ops;
    c->endpoint = e;
    if (need->proxy.version) {
        c->proxy = mem_alloc(sizeof *c->proxy);
        *c->proxy = need->proxy;
    }
    c->state = UPCONN_CONNECTING;
    list_init(&c->link);
    timer_init(&c->timer, upconn_timeout);
    metric_add(&w->metrics, METRIC_upstream_connections_total, 1);
    metric_add(&w->metrics, METRIC_upstream_connections, 1);
    c->id = atomic_load_explicit(&w->metrics.v[METRIC_upstream_connections_total], memory_order_relaxed);
    upconn_start(c, att);
    upconn_arm(c, limit_of(att->req->leg.times.connect, att->req->leg.conf->connect_timeout));
    return c;
}

void upconn_begin(struct upconn *c, struct attempt *att)
{
    upconn_set_state(c, UPCONN_BUSY);
    upconn_start(c, att);
}

/* May the connection serve another exchange? */
static bool upconn_reusable(struct upconn *c)
{
    if (c->state != UPCONN_BUSY || c->recv != RECV_DONE || !c->sent_whole || !c->keep_alive || c->extra || c->s.failed
        || stream_flush(&c->s) > 0)
        return false;
    return upconn_quiet(c);          /* if the latch is set: something may stand behind the answer */
}

void upconn_release(struct up *up, bool reuse)
{
    struct upconn *c = container_of(up, struct upconn, up);
    endpoint_end(c->endpoint);
    up->att = NULL;
    c->exchange++;
    if (reuse && upconn_reusable(c) && endpoint_pool(c->endpoint, c)) {
        inbox_clear(&c->in, &c->s);
        upconn_set_state(c, UPCONN_IDLE);
        upconn_arm(c, c->endpoint->idle_time);
        return;
    }
    upconn_close(c);
}

void upconn_close_idle(struct endpoint *e)
{
    while (!list_empty(&e->idle)) {
        struct upconn *c = container_of(e->idle.next, struct upconn, link);
        endpoint_unpool(e, c);
        upconn_close(c);
    }
}
