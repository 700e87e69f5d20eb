/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks of endpoints; probe.h says when.
 *
 * A small client of its own, for what libevent's can do is less than what is asked for: unix sockets, one exact deadline over
 * connecting and answering, and an answer judged by the parser that judges answers to requests. An endpoint that speaks so that
 * requests to it would fail is not well.
 *
 * A probe has one timer, which is either the next check or the deadline of the one that runs, and a socket while one runs. The
 * head's status is all that counts: nothing behind it is read. A check ends in one place, check_end(), which reports, closes
 * and sets the timer to the next step of the interval.
 */
#include "probe.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "http/parse.h"
#include "http/proxy_protocol.h"
#include "lib/check.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/page.h"
#include "lib/rng.h"
#include "tls_client.h"
#include "tls_socket.h"

enum { ANSWER_MAX = 16 * 1024, LATE_NS = 5 * 1000000 };

static const struct http_limits limits = {.head = ANSWER_MAX, .target = 1, .fields = HTTP_FIELDS_MAX};

enum probe_state { PROBE_WAITING, PROBE_CONNECTING, PROBE_SHAKING, PROBE_SENDING, PROBE_READING };

struct probe {
    struct probes *probes;
    struct health *health;
    size_t endpoint;
    struct address *v;               /* owned */
    size_t n, next;                  /* addresses; which one comes next */
    size_t tried;                    /* addresses, by the check that runs */
    struct page request;
    size_t clear;                    /* bytes of it that go in front of TLS: a header of the PROXY protocol */
    enum reason why;                 /* what the last address failed of */
    uint64_t due;                    /* when the next check begins */
    uint64_t deadline;               /* of the one that runs */
    bool spared;                     /* it was given the time that the loop missed */
    enum probe_state state;
    struct event timer, io;
    int fd;                          /* -1: none */
    struct tls_socket *tls;          /* on it; NULL: plain */
    bool short_of;                   /* weir itself had no descriptor or memory for it: that says nothing of the endpoint */
    struct log_limit limit;
    size_t sent, len;
    char *in;                        /* ANSWER_MAX bytes while an answer is read */
    struct http_parser parser;
};

struct probes {
    struct event_base *base;
    const struct clock *clock;
    struct rng rng;                  /* of the first moments */
    struct probe **v;
    size_t n;
};

static void timer_set(struct probe *p, uint64_t at)
{
    uint64_t now = clock_mono(p->probes->clock), us = at > now ? (at - now + 999) / 1000 : 0;
    struct timeval tv = {(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};
    check(evtimer_add(&p->timer, &tv) == 0);
}

static void socket_close(struct probe *p)
{
    if (p->fd < 0)
        return;
    tls_socket_free(&p->tls);
    event_del(&p->io);
    close(p->fd);
    p->fd = -1;
}

/* In step with the first one, however long a check or the loop took. */
static void next_set(struct probe *p, uint64_t now)
{
    uint64_t every = p->health->conf->check.every;
    p->due = time_after(p->due, every);
    if (p->due <= now)
        p->due = time_after(p->due, (now - p->due) / every * every + every);
    timer_set(p, p->due);
}

static void check_break_off(struct probe *p)
{
    socket_close(p);
    mem_free(p->in);
    p->in = NULL;
    p->state = PROBE_WAITING;
}

static void check_end(struct probe *p, enum reason reason, int status)
{
    uint64_t now = clock_mono(p->probes->clock);
    check_break_off(p);
    health_checked(p->health, p->endpoint, reason, status, now);
    next_set(p, now);
}

static void on_io(evutil_socket_t fd, short what, void *arg);

static void await(struct probe *p, enum probe_state state, short what)
{
    if (p->state != PROBE_WAITING)
        event_del(&p->io);
    p->state = state;
    check(event_assign(&p->io, p->probes->base, p->fd, (short)(what | EV_PERSIST), on_io, p) == 0);
    check(event_add(&p->io, NULL) == 0);
}

/* False: it failed at once. */
static bool address_connect(struct probe *p, const struct address *a)
{
    p->fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    p->short_of = p->fd < 0;
    if (p->fd < 0)
        return false;
    if (connect(p->fd, &a->sa, a->len) != 0 && errno != EINPROGRESS) {
        close(p->fd);
        p->fd = -1;
        return false;
    }
    p->sent = p->len = 0;
    p->state = PROBE_WAITING;
    await(p, PROBE_CONNECTING, EV_WRITE);
    return true;
}

static void connect_next(struct probe *p)
{
    while (p->tried < p->n) {
        const struct address *a = &p->v[p->next];
        p->next = (p->next + 1) % p->n;
        p->tried++;
        if (address_connect(p, a))
            return;
    }
    if (p->short_of) {
        log_limited(&p->limit, LOG_ERROR, "health", "cannot check: %s", strerror(errno));
        check_break_off(p);
        next_set(p, clock_mono(p->probes->clock));
        return;
    }
    check_end(p, p->why, 0);
}

static void check_begin(struct probe *p)
{
    if (p->n == 0) {
        next_set(p, clock_mono(p->probes->clock));
        return;
    }
    p->tried = 0;
    p->why = REASON_connect_failed;
    p->spared = false;
    p->deadline = time_after(clock_mono(p->probes->clock), p->health->conf->check.timeout);
    timer_set(p, p->deadline);
    connect_next(p);
}

/* While the loop stood still, which it does while a large configuration is read, nobody looked whether there was an answer: that
 * time comes on top, once. */
static bool spare(struct probe *p)
{
    uint64_t now = clock_mono(p->probes->clock), late = now > p->deadline ? now - p->deadline : 0;
    if (p->spared || late < LATE_NS)
        return false;
    p->spared = true;
    p->deadline = time_after(now, late);
    timer_set(p, p->deadline);
    return true;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct probe *p = arg;
    (void)fd, (void)what;
    if (p->state == PROBE_WAITING)
        check_begin(p);
    else if (!spare(p))
        check_end(p, p->state <= PROBE_SHAKING ? REASON_connect_timeout : REASON_first_byte_timeout, 0);
}

static void next_try(struct probe *p, enum reason why)
{
    p->why = why;
    socket_close(p);
    connect_next(p);
}

/* With `host: client` there is no client to ask: the endpoint's own. */
static struct str name_of(const struct probe *p)
{
    const struct upstream_conf *u = p->health->conf;
    return u->host_mode == HOST_NAME ? u->tls.name : u->endpoints[p->endpoint].host;
}

static void tls_tell(struct probe *p)
{
    log_limited(&p->limit, LOG_WARN, "health", STR_FMT ": %s: check: %s: %s (name " STR_FMT ")", STR_ARG(p->health->conf->name),
                p->health->conf->endpoints[p->endpoint].url.at, reason_name(REASON_tls_failed), tls_socket_why(p->tls),
                STR_ARG(name_of(p)));
}

static void shake(struct probe *p)
{
    switch (tls_socket_shake(p->tls)) {
    case TLS_IO_DONE:
        await(p, PROBE_SENDING, EV_WRITE);
        return;
    case TLS_IO_WANT_READ:
        await(p, PROBE_SHAKING, EV_READ);
        return;
    case TLS_IO_WANT_WRITE:
        await(p, PROBE_SHAKING, EV_WRITE);
        return;
    case TLS_IO_END:
    case TLS_IO_FAILED:
        break;
    }
    tls_tell(p);
    next_try(p, REASON_tls_failed);
}

/* So few bytes go into a new socket whole. */
static bool clear_send(struct probe *p)
{
    ssize_t n = p->clear ? send(p->fd, p->request.at, p->clear, MSG_NOSIGNAL) : 0;
    p->sent = p->clear;
    return n >= 0 && (size_t)n == p->clear;
}

static void on_connected(struct probe *p)
{
    int error = 0;
    socklen_t len = sizeof error;
    const struct upstream_conf *u = p->health->conf;
    bool tls = u->endpoints[p->endpoint].tls;
    if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0 || (tls && !clear_send(p))) {
        next_try(p, REASON_connect_failed);
        return;
    }
    if (!tls) {
        await(p, PROBE_SENDING, EV_WRITE);
        return;
    }
    p->tls = tls_socket_new(u->tls.client, p->fd, name_of(p));
    shake(p);
}

/* As send() and recv() have it. */
static ssize_t wire(enum tls_io io, size_t n)
{
    if (io == TLS_IO_DONE)
        return (ssize_t)n;
    errno = io == TLS_IO_FAILED ? ECONNRESET : EAGAIN;
    return io == TLS_IO_END ? 0 : -1;
}

static ssize_t wire_write(struct probe *p, const void *at, size_t len)
{
    size_t n;
    if (!p->tls)
        return send(p->fd, at, len, MSG_NOSIGNAL);
    enum tls_io io = tls_socket_write(p->tls, at, len, &n);
    return wire(io, n);
}

static ssize_t wire_read(struct probe *p, void *at, size_t cap)
{
    size_t n;
    if (!p->tls)
        return recv(p->fd, at, cap, 0);
    enum tls_io io = tls_socket_read(p->tls, at, cap, &n);
    return wire(io, n);
}

static void answer_await(struct probe *p)
{
    p->in = mem_alloc(ANSWER_MAX);
    http_parser_init(&p->parser, PARSE_RESPONSE, &limits);
    await(p, PROBE_READING, EV_READ);
}

static void request_send(struct probe *p)
{
    while (p->sent < p->request.len) {
        ssize_t n = wire_write(p, p->request.at + p->sent, p->request.len - p->sent);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            answer_await(p);         /* it may have answered before it closed */
            return;
        }
        p->sent += (size_t)n;
    }
    answer_await(p);
}

/* Interim answers are taken off until the final one is there. */
static void answer_parse(struct probe *p)
{
    for (;;) {
        enum parse result = http_parse(&p->parser, p->in, p->len);
        if (result == PARSE_MORE && p->len < ANSWER_MAX)
            return;
        if (result != PARSE_OK) {
            check_end(p, REASON_upstream_bad, 0);
            return;
        }
        if (p->parser.status >= 200 || p->parser.status == 101) {
            check_end(p, REASON_none, p->parser.status);
            return;
        }
        p->len -= p->parser.head_len;
        memmove(p->in, p->in + p->parser.head_len, p->len);
        http_parser_init(&p->parser, PARSE_RESPONSE, &limits);
    }
}

/* To the end of what there is: OpenSSL may have bytes that no event tells of. */
static void answer_read(struct probe *p)
{
    while (p->state == PROBE_READING) {
        ssize_t n = wire_read(p, p->in + p->len, ANSWER_MAX - p->len);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0 && p->tls)
            tls_tell(p);
        if (n <= 0) {
            check_end(p, n < 0 && p->tls ? REASON_tls_failed : REASON_upstream_reset, 0);
            return;
        }
        p->len += (size_t)n;
        answer_parse(p);
    }
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
    struct probe *p = arg;
    (void)fd, (void)what;
    switch (p->state) {
    case PROBE_CONNECTING:
        on_connected(p);
        return;
    case PROBE_SHAKING:
        shake(p);
        return;
    case PROBE_SENDING:
        request_send(p);
        return;
    case PROBE_READING:
        answer_read(p);
        return;
    case PROBE_WAITING:
        break;
    }
    unreachable();
}

/* With `host: client` there is no client to ask: the endpoint's own. Returns how many of the bytes are the PROXY header. */
static size_t request_make(const struct health *h, size_t endpoint, struct page *request)
{
    const struct upstream_conf *u = h->conf;
    struct str host = u->host_mode == HOST_NAME ? u->host_name : u->endpoints[endpoint].authority;
    char header[PROXY_WRITE_MAX];
    size_t len = u->proxy_protocol ? proxy_protocol_write((unsigned)u->proxy_protocol, NULL, header) : 0;
    for (size_t i = 0; i < len; i++)
        page_printf(request, "%c", header[i]);       /* a check stands for nobody */
    page_printf(request, "GET " STR_FMT " HTTP/1.1\r\nHost: " STR_FMT "\r\nUser-Agent: weir-health\r\nAccept: */*\r\n"
                         "Connection: close\r\n\r\n", STR_ARG(u->check.path), STR_ARG(host));
    return len;
}

static void addresses_set(struct probe *p, const struct address *v, size_t n)
{
    uint16_t port = htons(p->health->conf->endpoints[p->endpoint].port);
    mem_free(p->v);
    p->v = mem_array(n, sizeof *v);
    memcpy(p->v, v, n * sizeof *v);
    for (size_t i = 0; i < n; i++) {
        if (v[i].sa.sa_family == AF_INET && v[i].in.sin_port == 0)
            p->v[i].in.sin_port = port;
        else if (v[i].sa.sa_family == AF_INET6 && v[i].in6.sin6_port == 0)
            p->v[i].in6.sin6_port = port;
    }
    p->n = n;
    p->next = 0;
}

static uint64_t first_moment(struct probes *all, const struct health *h)
{
    return time_after(clock_mono(all->clock), rng_below(&all->rng, h->conf->check.every));
}

static struct probe *probe_new(struct probes *all, struct health *h, size_t endpoint)
{
    struct probe *p = mem_zalloc(sizeof *p);
    const struct address *a = &h->conf->endpoints[endpoint].address;
    *p = (struct probe){.probes = all, .health = h, .endpoint = endpoint, .fd = -1, .due = first_moment(all, h)};
    if (a->len)
        addresses_set(p, a, 1);
    p->clear = request_make(h, endpoint, &p->request);
    check(evtimer_assign(&p->timer, all->base, on_timer, p) == 0);
    timer_set(p, p->due);
    return p;
}

static void probe_free(struct probe *p)
{
    check_break_off(p);
    event_del(&p->timer);
    mem_free(p->v);
    page_free(&p->request);
    mem_free(p);
}

/* The same endpoint in another configuration. A check that would now be another one is broken off, and the next one comes at
 * its time; one that would come too late for a shorter interval comes within that. */
static void probe_go_on(struct probe *p, struct health *h, size_t endpoint)
{
    struct page request = {0};
    const struct tls_client *before = p->health->conf->tls.client;
    p->health = h;
    p->endpoint = endpoint;
    p->clear = request_make(h, endpoint, &request);
    bool same = tls_client_same(before, h->conf->tls.client)
                && str_eq(str_of(request.at, request.len), str_of(p->request.at, p->request.len));
    if (p->state != PROBE_WAITING && !same) {
        check_break_off(p);
        next_set(p, clock_mono(p->probes->clock));
    }
    page_free(&p->request);
    p->request = request;
    if (p->state != PROBE_WAITING || p->due <= time_after(clock_mono(p->probes->clock), h->conf->check.every))
        return;
    p->due = first_moment(p->probes, h);
    timer_set(p, p->due);
}

/* What an endpoint is found by again: its state is one, whoever opened it. */
static const void *state_of(const struct probe *p) { return p->health->v[p->endpoint]; }

static int by_state(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)state_of(*(struct probe *const *)a), y = (uintptr_t)state_of(*(struct probe *const *)b);
    return x < y ? -1 : x > y;
}

/* Its place in `old`, which is sorted by state; NULL: it was not checked. */
static struct probe **probe_find(struct probe **old, size_t n, struct health *h, size_t endpoint)
{
    const struct probe key = {.health = h, .endpoint = endpoint};
    const struct probe *at = &key;
    return n > 0 ? bsearch(&at, old, n, sizeof *old, by_state) : NULL;
}

static size_t count_of(const struct healths *healths)
{
    size_t n = 0;
    for (size_t u = 0; u < healths->n; u++)
        n += healths->v[u]->conf->check.path.len ? healths->v[u]->conf->n : 0;
    return n;
}

void probes_change(struct probes *all, const struct healths *healths, const struct name_known *known)
{
    struct probe **old = all->v;
    size_t n_old = all->n, number = 0;
    bool *stays = mem_array(n_old, sizeof *stays);
    all->v = mem_array(count_of(healths), sizeof(struct probe *));
    all->n = 0;
    if (n_old > 0)
        qsort(old, n_old, sizeof *old, by_state);
    for (size_t u = 0; u < healths->n; u++) {
        struct health *h = healths->v[u];
        for (size_t e = 0; e < h->conf->n; e++, number++) {
            if (!h->conf->check.path.len)
                continue;
            struct probe **at = probe_find(old, n_old, h, e), *p = at ? *at : probe_new(all, h, e);
            if (at) {
                stays[at - old] = true;
                probe_go_on(p, h, e);                /* its state is the same one: the order of `old` holds */
            }
            all->v[all->n++] = p;
            if (known && known[number].n > 0)
                addresses_set(p, known[number].v, known[number].n);
        }
    }
    for (size_t i = 0; i < n_old; i++)
        if (!stays[i])
            probe_free(old[i]);
    mem_free(stays);
    mem_free(old);
}

struct probes *probes_new(struct event_base *base, const struct clock *clock, const struct healths *healths, uint64_t seed)
{
    struct probes *all = mem_zalloc(sizeof *all);
    rng_seed(&all->rng, seed);
    all->base = base;
    all->clock = clock;
    probes_change(all, healths, NULL);
    return all;
}

void probes_free(struct probes **at)
{
    struct probes *all = *at;
    *at = NULL;
    if (!all)
        return;
    for (size_t i = 0; i < all->n; i++)
        probe_free(all->v[i]);
    mem_free(all->v);
    mem_free(all);
}

void probes_addresses(struct probes *all, struct str host, const struct address *v, size_t n)
{
    for (size_t i = 0; i < all->n; i++) {
        const struct endpoint_conf *conf = &all->v[i]->health->conf->endpoints[all->v[i]->endpoint];
        if (conf->address.len == 0 && str_eq(conf->host, host))
            addresses_set(all->v[i], v, n);
    }
}
