/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop of a worker and what hangs on it.
 *
 * Time is read once a turn, at its first event or use, and forgotten at the end; from that moment on until it sleeps the
 * worker also looks into its mailbox by itself, so that nobody needs to write to its eventfd. One libevent timer stands
 * for the whole heap of timers.c and is moved only when the earliest deadline came nearer. A simulation has no event base:
 * it delivers events itself and calls worker_turn().
 */
#include "worker.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "client.h"
#include "lib/check.h"
#include "lib/mem.h"
#include "stream.h"
#include "tls.h"
#include "up_h1.h"
#include "view.h"

static int tcp_connect(struct worker *w, struct stream *s, const struct address *a,
                       void (*on_event)(struct stream *, unsigned))
{
    int one = 1, fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (a->sa.sa_family != AF_UNIX)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, &a->sa, a->len) != 0 && errno != EINPROGRESS) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    stream_open_tcp(s, w, fd, true, on_event);
    return 0;
}

static void mail_came(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct worker *w = arg;
    (void)worker_now(w);             /* the turn begins */
    mailbox_woken(&w->mailbox, w);
    worker_flush(w);
}

static void timer_came(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    ((struct worker *)arg)->timer_at = TIME_NEVER;       /* worker_turn() runs the timers */
}

static void base_init(struct worker *w)
{
    struct event_config *config = event_config_new();
    check(config != NULL);
    check(event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0);
    w->base = event_base_new_with_config(config);
    event_config_free(config);
    check(w->base != NULL);
    w->timer_event = evtimer_new(w->base, timer_came, w);
    w->mail_event = event_new(w->base, w->mailbox.fd, EV_READ | EV_PERSIST, mail_came, w);
    check(w->timer_event && w->mail_event && event_add(w->mail_event, NULL) == 0);
}

void worker_init(struct worker *w, unsigned id, const struct clock *clock, uint64_t seed, bool with_base)
{
    memset(w, 0, sizeof *w);
    w->id = id;
    w->clock = clock;
    w->timer_at = TIME_NEVER;
    w->connect = tcp_connect;
    timers_init(&w->timers);
    mailbox_init(&w->mailbox, with_base);
    rng_seed(&w->rng, seed);
    slab_init(&w->arena_blocks, ARENA_BLOCK, 16);
    slab_init(&w->buf_blocks, BUF_BLOCK, 4);
    slab_init(&w->clients, sizeof(struct client), 128);
    slab_init(&w->upconns, sizeof(struct upconn), 32);
    w->scratch = mem_alloc(WORKER_SCRATCH);
    list_init(&w->ready);
    list_init(&w->listeners);
    list_init(&w->all_clients);
    endpoints_init(&w->endpoints);
    if (with_base)
        base_init(w);
}

static void graves_empty(struct worker *w)
{
    while (w->graves) {
        struct grave *g = w->graves;
        w->graves = g->next;
        g->bury(w, g);
    }
}

void worker_fini(struct worker *w)
{
    if (w->view)
        view_retire(w);
    graves_empty(w);
    mailbox_drain(&w->mailbox, w);
    if (w->base) {
        event_free(w->timer_event);
        event_free(w->mail_event);
        event_base_free(w->base);
    }
    endpoints_fini(&w->endpoints);
    timers_fini(&w->timers);
    mailbox_fini(&w->mailbox);
    tls_worker_free(&w->tls);
    slab_fini(&w->clients);
    slab_fini(&w->upconns);
    slab_fini(&w->buf_blocks);
    slab_fini(&w->arena_blocks);
    mem_free(w->scratch);
    mem_free(w->wakes);
}

void worker_bury(struct worker *w, struct grave *g, void (*bury)(struct worker *, struct grave *))
{
    g->bury = bury;
    g->next = w->graves;
    w->graves = g;
}

uint64_t worker_next(const struct worker *w) { return timers_next(&w->timers); }

/* Streams that were left with work. Those that they leave in turn wait for the next turn, so that sockets get theirs. */
static void ready_run(struct worker *w)
{
    struct list now;
    list_init(&now);
    struct list *n;
    while ((n = list_pop(&w->ready)) != NULL)
        list_append(&now, n);
    while ((n = list_pop(&now)) != NULL)
        stream_deliver(container_of(n, struct stream, ready), STREAM_AGAIN);
}

/* The clock that is read for it is the cheap one: a turn has to be long for the difference to show, and then it is
 * measured. So a turn of less than CLOCK_COARSE_NS may be seen or not, and is not counted. */
static void turn_measure(struct worker *w)
{
    if (clock_coarse(w->clock) <= w->now)
        return;
    uint64_t took = clock_mono(w->clock) - w->now;
    if (took < CLOCK_COARSE_NS)
        return;
    metric_add(&w->metrics, METRIC_slow_turns_total, 1);
    if (took > atomic_load_explicit(&w->longest_turn, memory_order_relaxed))
        atomic_store_explicit(&w->longest_turn, took, memory_order_relaxed);
}

bool worker_turn(struct worker *w)
{
    bool more_due = false;
    (void)worker_now(w);
    if (mailbox_has(&w->mailbox)) {
        mailbox_drain(&w->mailbox, w);
        worker_flush(w);
    }
    if (!list_empty(&w->ready))
        ready_run(w);
    if (timers_next(&w->timers) <= worker_now(w)) {
        timers_run(&w->timers, worker_now(w));
        worker_flush(w);
        more_due = timers_next(&w->timers) <= worker_now(w);
    }
    if (w->graves)
        graves_empty(w);
    atomic_store_explicit(&w->metrics.v[METRIC_timers], w->timers.n, memory_order_relaxed);
    turn_measure(w);
    w->now = 0;
    return more_due || !list_empty(&w->ready);
}

/* Moves the one libevent timer if the earliest deadline is nearer than what it is set to. */
static void timer_arm(struct worker *w)
{
    uint64_t next = worker_next(w);
    if (next >= w->timer_at)
        return;
    uint64_t now = worker_now(w), ns = next > now ? next - now : 0;
    uint64_t us = (ns + 999) / 1000;
    struct timeval tv = {.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};
    if (tv.tv_sec > 86400)
        tv.tv_sec = 86400;           /* it comes up early, and is armed again */
    check(evtimer_add(w->timer_event, &tv) == 0);
    w->timer_at = next;
    w->now = 0;
}

void worker_run(struct worker *w)
{
    bool more = false;
    while (!w->stopping) {
        timer_arm(w);
        bool sleep = mailbox_may_sleep(&w->mailbox) && !more;
        check(event_base_loop(w->base, sleep ? EVLOOP_ONCE : EVLOOP_ONCE | EVLOOP_NONBLOCK) >= 0);
        more = worker_turn(w);
    }
}

struct str worker_date(struct worker *w)
{
    uint64_t wall = clock_wall(w->clock);
    if (wall / NSEC_PER_SEC != w->date_second) {
        w->date_second = wall / NSEC_PER_SEC;
        clock_http_date(wall, w->date);
    }
    return str_of(w->date, sizeof w->date - 1);
}
