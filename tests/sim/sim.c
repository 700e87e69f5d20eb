/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated world: makes workers without event bases, carries bytes between them and the script, and moves time.
 *
 * A round delivers each connection's pending event once, then lets every worker do its turn, as epoll would. Rounds go on
 * until one brings nothing. What a peer receives is taken off the stream after each round, unless it is stalled, so that a
 * small window makes short writes and not a standstill.
 */
#include "sim.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "client.h"
#include "conf/diag.h"
#include "conf/shared.h"
#include "filter.h"
#include "lib/check.h"
#include "lib/ip.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "listener.h"
#include "route.h"
#include "tls.h"
#include "tls_context.h"
#include "tls_tickets.h"
#include "up_h1.h"
#include "view.h"

enum { ROUNDS_MAX = 20000000 };
#define START_MONO (1000 * NSEC_PER_SEC)
#define START_WALL (784111777 * NSEC_PER_SEC)        /* Sun, 06 Nov 1994 08:49:37 GMT */

/* ---- connections ---- */

static struct sim_conn *conn_new(struct sim *s, struct worker *w)
{
    struct sim_conn *c = mem_zalloc(sizeof *c);
    c->sim = s;
    c->worker = w;
    c->next = s->all;
    s->all = c;
    return c;
}

static void conn_open(struct sim_conn *c, struct stream *st, bool connecting, void (*on_event)(struct stream *, unsigned),
                      size_t read_max, size_t window)
{
    mem_end_init(&c->end, st, c->worker, connecting, on_event);
    c->end.read_max = read_max;
    if (window)
        c->end.window = window;
    list_append(&c->sim->live, &c->end.link);
}

static int conn_connect(struct worker *w, struct stream *st, const struct address *a,
                        void (*on_event)(struct stream *, unsigned))
{
    struct sim *s = w->sim;
    bool refused = s->refused_port && a->sa.sa_family == AF_INET && ntohs(a->in.sin_port) == s->refused_port;
    enum sim_connect what = refused ? SIM_REFUSE : s->connect;
    if (what == SIM_REFUSE_NOW) {
        errno = ECONNREFUSED;
        return -1;
    }
    struct sim_conn *c = conn_new(s, w);
    c->address = *a;
    conn_open(c, st, true, on_event, s->up_read_max, s->up_window);
    if (what == SIM_ACCEPT)
        mem_accept(&c->end);
    else if (what == SIM_REFUSE)
        mem_reset(&c->end);
    return 0;
}

static struct listener *listener_of(struct sim *s, unsigned worker, size_t index)
{
    struct list *all = &s->workers[worker].listeners;
    for (struct list *n = all->next; n != all; n = n->next) {
        struct listener *l = container_of(n, struct listener, link);
        if (!l->leaving && l->conf == &s->snap->listens[index])
            return l;
    }
    return NULL;
}

struct sim_conn *sim_client_at(struct sim *s, unsigned worker, size_t listener, struct str ip)
{
    struct worker *w = &s->workers[worker];
    struct ip peer;
    check(ip_parse(ip, &peer));
    struct sim_conn *c = conn_new(s, w);
    atomic_fetch_add(&s->open_connections, 1);
    c->client = client_new(w, listener_of(s, worker, listener), &peer);
    conn_open(c, &c->client->s, false, client_event, s->client_read_max, s->client_window);
    if (c->client->listener->conf->tls)
        tls_accept(&c->client->s, c->client->listener->conf->tls->server, c->client->peer_text.text);
    return c;
}

struct sim_conn *sim_client(struct sim *s) { return sim_client_at(s, 0, 0, STR("192.0.2.1")); }

struct sim_conn *sim_next(struct sim *s)
{
    struct sim_conn *oldest = NULL;
    for (struct sim_conn *c = s->all; c; c = c->next) {
        if (!c->client && !c->handed)
            oldest = c;
    }
    if (oldest)
        oldest->handed = true;
    return oldest;
}

void sim_accept(struct sim_conn *c) { mem_accept(&c->end); }
void sim_send_str(struct sim_conn *c, struct str s) { mem_send(&c->end, s.at, s.len); }
void sim_send(struct sim_conn *c, const char *text) { sim_send_str(c, str_c(text)); }
void sim_fin(struct sim_conn *c) { mem_fin(&c->end); }
void sim_reset(struct sim_conn *c) { mem_reset(&c->end); }

void sim_say(struct sim_conn *c, const char *text)
{
    sim_send(c, text);
    sim_run(c->sim);
}

void sim_drip(struct sim_conn *c, struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        sim_send_str(c, str_of(s.at + i, 1));
        sim_run(c->sim);
    }
}

static void conn_take(struct sim_conn *c, size_t len)
{
    struct mem_end *e = &c->end;
    c->total += len;
    c->sum = sim_sum(c->sum, e->out, len);
    if (!c->forgetful) {
        if (c->got_len + len + 1 > c->got_cap) {
            c->got_cap = (c->got_len + len + 1) * 2;
            c->got = mem_realloc(c->got, c->got_cap);
        }
        memcpy(c->got + c->got_len, e->out, len);
        c->got_len += len;
        c->got[c->got_len] = '\0';
    }
    mem_take(e, len);
}

void sim_drink(struct sim_conn *c, size_t len)
{
    size_t there = c->end.out_len;
    if (there > 0)
        conn_take(c, there < len ? there : len);
    sim_run(c->sim);
}

struct str sim_text(const struct sim_conn *c) { return c->got ? str_of(c->got, c->got_len) : STR(""); }

void sim_clear(struct sim_conn *c)
{
    c->got_len = 0;
    if (c->got)
        c->got[0] = '\0';
}

bool sim_has(const struct sim_conn *c, const char *part)
{
    return c->got && memmem(c->got, c->got_len, part, strlen(part)) != NULL;
}

bool sim_closed(const struct sim_conn *c) { return c->end.closed_out; }
bool sim_cut(const struct sim_conn *c) { return c->end.reset_out; }
bool sim_ended(const struct sim_conn *c) { return c->end.fin_out; }

struct str sim_body(const struct sim_conn *c)
{
    const char *at = c->got ? memmem(c->got, c->got_len, "\r\n\r\n", 4) : NULL;
    return at ? str_of(at + 4, c->got_len - (size_t)(at + 4 - c->got)) : (struct str){NULL, 0};
}

uint64_t sim_sum(uint64_t sum, const void *at, size_t len)
{
    const unsigned char *p = at;
    for (size_t i = 0; i < len; i++)
        sum = sum * 0x100000001b3u + p[i] + 1;
    return sum;
}

void sim_fill(char *out, size_t len, uint64_t offset)
{
    for (size_t i = 0; i < len; i++) {
        uint64_t x = (offset + i) * 0x9e3779b97f4a7c15u;
        out[i] = (char)('!' + (x >> 40) % 94);
    }
}

/* ---- time and turns ---- */

struct worker *sim_worker(struct sim *s, unsigned i) { return &s->workers[i]; }

uint64_t sim_metric(struct sim *s, enum metric id)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < s->n_workers; i++)
        sum += atomic_load(&s->workers[i].metrics.v[id]);
    return sum;
}

uint64_t sim_reasons(struct sim *s, enum reason reason)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < s->n_workers; i++)
        sum += atomic_load(&s->workers[i].metrics.by_reason[reason]);
    return sum;
}

static void note_peak(struct sim *s)
{
    uint64_t now = sim_metric(s, METRIC_buffered_bytes);
    if (now > s->buffered_peak)
        s->buffered_peak = now;
}

/* Each live connection's event once. A closed one leaves the list when its last bytes were taken. */
static bool deliver(struct sim *s)
{
    bool any = false, backwards = s->shuffle && rng_below(&s->rng, 2);
    struct list *next;
    for (struct list *n = backwards ? s->live.prev : s->live.next; n != &s->live; n = next) {
        struct sim_conn *c = container_of(n, struct sim_conn, end.link);
        if (!s->shuffle || rng_below(&s->rng, 4))
            any |= mem_pump(&c->end);
        else
            any |= c->end.stream && c->end.events;           /* later, in another round */
        next = backwards ? n->prev : n->next;
        note_peak(s);
    }
    return any;
}

static bool collect(struct sim *s)
{
    bool any = false;
    struct list *next;
    for (struct list *n = s->live.next; n != &s->live; n = next) {
        struct sim_conn *c = container_of(n, struct sim_conn, end.link);
        next = n->next;
        if (c->end.out_len > 0 && !c->stalled) {
            conn_take(c, c->end.out_len);
            any = true;
        }
        if (!c->end.stream && c->end.out_len == 0)
            list_remove(n);
    }
    return any;
}

void sim_run(struct sim *s)
{
    bool more = true;
    for (unsigned rounds = 0; more; rounds++) {
        check(rounds < ROUNDS_MAX);
        more = deliver(s);
        for (unsigned i = 0; i < s->n_workers; i++) {
            struct worker *w = &s->workers[i];
            more |= mailbox_drain(&w->mailbox, w) > 0;
            worker_flush(w);
            more |= worker_next(w) <= clock_mono(&s->clock);     /* what a timer does may bring events and mail */
            more |= worker_turn(w);
            check(w->gather.owner == NULL);
        }
        note_peak(s);
        more |= collect(s);
    }
}

void sim_advance(struct sim *s, uint64_t ns)
{
    uint64_t end = time_after(clock_mono(&s->clock), ns);
    sim_run(s);
    for (;;) {
        uint64_t next = TIME_NEVER, now = clock_mono(&s->clock);
        for (unsigned i = 0; i < s->n_workers; i++) {
            uint64_t when = worker_next(&s->workers[i]);
            next = when < next ? when : next;
        }
        if (next > end)
            break;
        clock_advance(&s->clock, next > now ? next - now : 0);
        sim_run(s);
    }
    clock_advance(&s->clock, end - clock_mono(&s->clock));
    sim_run(s);
}

/* ---- the beginning and the end ---- */

static struct snapshot *snap_load(struct sim *s, const char *yaml)
{
    struct snapshot *snap = NULL;
    struct diags diags = {.n = 0};
    struct page page = {0};
    int res = snapshot_load_text(str_c(yaml), "sim.yaml", s->filters, &diags, &snap);
    if (res == 0)
        res = route_compile(snap, &diags);
    if (res == 0)
        res = tls_compile(snap, NULL, &diags);
    diags_print(&diags, &page);
    if (res != 0)
        fputs(page.at, stderr);
    check(res == 0);
    page_free(&page);
    diags_fini(&diags);
    snapshot_open(snap, s->shared, clock_mono(&s->clock));
    return snap;
}

static void snap_give(struct sim *s, unsigned i)
{
    struct worker *w = &s->workers[i];
    view_change(w, &(struct view_change){.snap = s->snap});
    for (size_t l = 0; l < s->snap->n_listens; l++)
        if (!listener_of(s, i, l))
            listener_new(w, w->view, &s->snap->listens[l], -1);
}

void sim_reload_one(struct sim *s, unsigned worker) { snap_give(s, worker); }

void sim_load(struct sim *s, const char *yaml)
{
    struct snapshot *snap = snap_load(s, yaml);
    snapshot_unref(&s->snap);
    s->snap = snap;
}

void sim_reload(struct sim *s, const char *yaml)
{
    sim_load(s, yaml);
    for (unsigned i = 0; i < s->n_workers; i++)
        sim_reload_one(s, i);
    sim_run(s);
}

static void start_worker(struct sim *s, unsigned i, uint64_t seed)
{
    struct worker *w = &s->workers[i];
    worker_init(w, i, &s->clock, seed * 1000 + i, false);
    w->connect = conn_connect;
    w->sim = s;
    w->open_connections = &s->open_connections;
    w->kept_bytes = &s->kept_bytes;
    w->tickets = s->tickets;
    w->max_connections = 1000000;
    snap_give(s, i);
}

struct sim *sim_new_with(const struct sim_conf *conf)
{
    struct sim *s = mem_zalloc(sizeof *s);
    log_set_level(LOG_ERROR);
    clock_manual(&s->clock, START_MONO, START_WALL);
    rng_seed(&s->rng, conf->seed);
    list_init(&s->live);
    s->shared = shared_set_new();
    s->tickets = tls_tickets_new();
    s->filters = conf->filters ? conf->filters : filters_all;
    s->snap = snap_load(s, conf->yaml);
    s->n_workers = conf->workers ? conf->workers : 1;
    s->workers = mem_array(s->n_workers, sizeof *s->workers);
    for (unsigned i = 0; i < s->n_workers; i++)
        start_worker(s, i, conf->seed);
    return s;
}

struct sim *sim_new(const char *yaml) { return sim_new_with(&(struct sim_conf){.yaml = yaml}); }

static void say(char *left, size_t cap, const char *what, unsigned long long n)
{
    size_t len = strlen(left);
    if (n > 0)
        snprintf(left + len, cap - len, "%s%s %llu", len ? ", " : "", what, n);
}

static void left_of_worker(struct worker *w, char *left, size_t cap)
{
    static const enum metric gauges[] = {METRIC_client_connections, METRIC_upstream_connections,
        METRIC_upstream_connections_idle, METRIC_requests_in_flight, METRIC_tunnels, METRIC_buffered_bytes};
    static const char *const names[] = {"clients", "upstream connections", "of them idle", "requests", "tunnels",
                                        "buffered bytes"};
    for (size_t i = 0; i < array_len(gauges); i++)
        say(left, cap, names[i], atomic_load(&w->metrics.v[gauges[i]]));
    say(left, cap, "graves", w->graves != NULL);
    say(left, cap, "ready streams", !list_empty(&w->ready));
    say(left, cap, "arena blocks", w->arena_blocks.used);
    say(left, cap, "buffer blocks", w->buf_blocks.used);
    say(left, cap, "client slots", w->clients.used);
    say(left, cap, "upstream slots", w->upconns.used);
    unsigned users = w->view->users - 1;
    for (struct list *n = w->listeners.next; n != &w->listeners; n = n->next) {
        const struct listener *l = container_of(n, struct listener, link);
        say(left, cap, "clients of a listener", l->clients);
        say(left, cap, "listeners that leave", l->leaving);
        users -= l->view == w->view;
    }
    say(left, cap, "users of the view", users);
    for (uint32_t i = 0; i < w->n_wakes; i++)
        say(left, cap, "wake-ups", w->wakes[i].req != NULL);
}

void sim_left(struct sim *s, char *left, size_t cap)
{
    left[0] = '\0';
    for (unsigned i = 0; i < s->n_workers; i++)
        left_of_worker(&s->workers[i], left, cap);
    say(left, cap, "open connections", atomic_load(&s->open_connections));
    say(left, cap, "bytes kept of bodies", atomic_load(&s->kept_bytes));
    size_t holders = 1;                                      /* a view that is not the current one has a snapshot too */
    for (unsigned i = 0; i < s->n_workers; i++)
        holders += s->workers[i].view->snap == s->snap;
    say(left, cap, "holders of the snapshot", atomic_load(&s->snap->refs) - holders);
}

static void let_go(struct sim *s)
{
    for (struct sim_conn *c = s->all; c; c = c->next) {
        c->stalled = false;
        c->forgetful = true;
        if (c->end.stream && c->client)
            mem_reset(&c->end);
    }
    sim_run(s);
    sim_advance(s, 3600 * NSEC_PER_SEC);
}

static void conns_free(struct sim *s)
{
    for (struct sim_conn *c = s->all, *next; c; c = next) {
        next = c->next;
        mem_end_fini(&c->end);
        mem_free(c->got);
        mem_free(c);
    }
}

void sim_end(struct sim *s, char *left, size_t cap)
{
    let_go(s);
    sim_left(s, left, cap);
    for (unsigned i = 0; i < s->n_workers; i++)
        say(left, cap, "timers", s->workers[i].timers.n);
    if (left[0])
        return;                      /* taking it down would only hide what was found */
    for (unsigned i = 0; i < s->n_workers; i++) {
        struct list *l = &s->workers[i].listeners;
        while (!list_empty(l))
            listener_free(container_of(l->next, struct listener, link));
        worker_fini(&s->workers[i]);
    }
    conns_free(s);
    snapshot_unref(&s->snap);
    shared_set_free(s->shared);
    tls_tickets_free(&s->tickets);
    mem_free(s->workers);
    mem_free(s);
}
