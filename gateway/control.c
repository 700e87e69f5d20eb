/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start, run, drain.
 *
 * Nothing is accepted before every name had its first look-up, or two seconds: a client of the first moment
 * is not told that nothing resolves. The end is POLICY.md's drain: say so, let in who stands at the door, finish what is in
 * flight, cut what will not finish. A second signal ends at once.
 */
#include "control_impl.h"

#include <event2/event.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include "access_log.h"
#include "admin.h"
#include "certificates.h"
#include "change.h"
#include "client.h"
#include "conf/diag.h"
#include "conf/shared.h"
#include "conf_watch.h"
#include "crowd.h"
#include "filter.h"
#include "lib/check.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "listener.h"
#include "memory.h"
#include "names.h"
#include "privileges.h"
#include "probe.h"
#include "reload.h"
#include "resolve.h"
#include "route.h"
#include "tls_context.h"
#include "tls_tickets.h"
#include "watchdog.h"

enum { FDS_RESERVED = 100, FIRST_LOOKUPS_MS = 2000, DRAIN_POLL_MS = 20, CROWD_MOST = 1 << 19 };

/* ---- orders to workers ---- */

struct order {
    struct mail mail;
    void (*run)(struct worker *, struct control *);
    struct control *control;
};

static void order_deliver(struct mail *mail, void *owner)
{
    struct order *o = container_of(mail, struct order, mail);
    o->run(owner, o->control);
    mem_free(o);
}

static void order_all(struct control *c, void (*run)(struct worker *, struct control *))
{
    for (unsigned i = 0; i < c->n; i++) {
        struct order *o = mem_zalloc(sizeof *o);
        *o = (struct order){.mail = {.deliver = order_deliver}, .run = run, .control = c};
        mailbox_post(&c->workers[i].mailbox, &o->mail);
    }
}

static void order_accept(struct worker *w, struct control *c)
{
    (void)c;
    w->accepting = true;
    for (struct list *n = w->listeners.next; n != &w->listeners; n = n->next)
        listener_start(container_of(n, struct listener, link));
}

static void order_say_close(struct worker *w, struct control *c)
{
    (void)c;
    w->draining = true;
    for (struct list *n = w->listeners.next; n != &w->listeners; n = n->next)
        listener_last_call(container_of(n, struct listener, link));
}

static void order_drain(struct worker *w, struct control *c)
{
    w->draining = true;
    w->accepting = false;
    for (struct list *n = w->listeners.next; n != &w->listeners; n = n->next)
        listener_stop(container_of(n, struct listener, link));
    for (struct list *n = w->all_clients.next, *next; n != &w->all_clients; n = next) {
        next = n->next;
        client_drain(container_of(n, struct client, link));
    }
    atomic_fetch_add(&c->drained, 1);
}

static void order_cut(struct worker *w, struct control *c)
{
    while (!list_empty(&w->all_clients)) {
        struct client *client = container_of(w->all_clients.next, struct client, link);
        if (client->down.req) {
            log_warn("drain", "connection %llu cut: its request did not end in time",
                     (unsigned long long)client->id);
            atomic_fetch_add(&c->cut, 1);
        }
        client_close(client, REASON_draining);
        if (client->state != CLIENT_CLOSED)          /* it was answered 503 and would linger: no time for that */
            client_close(client, REASON_draining);
    }
}

static void order_stop(struct worker *w, struct control *c)
{
    order_drain(w, c);
    order_cut(w, c);
    w->stopping = true;
}

/* ---- phases ---- */

static void phase_set(struct control *c, enum phase phase)
{
    c->phase = phase;
    c->since = clock_mono(&clock_real);
    if (phase >= PHASE_DELAY)
        conf_watch_set(c->watch, false, 0);
    reload_phase(c->reload);
}

static uint64_t gauge(const struct control *c, enum metric id)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < c->n; i++)
        sum += atomic_load_explicit(&c->workers[i].metrics.v[id], memory_order_relaxed);
    return sum;
}

static void tick_arm(struct control *c)
{
    struct timeval tv = {.tv_usec = DRAIN_POLL_MS * 1000};
    check(evtimer_add(c->tick, &tv) == 0);
}

static void tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct control *c = arg;
    uint64_t past = clock_mono(&clock_real) - c->since;
    if (c->phase == PHASE_STARTING && (names_unanswered(c->names) == 0 || past >= FIRST_LOOKUPS_MS * NSEC_PER_MSEC)) {
        order_all(c, order_accept);
        phase_set(c, PHASE_SERVING);
        log_info("control", "serving: %u worker%s, %zu route%s", c->n, c->n == 1 ? "" : "s", c->snap->n_routes,
                 c->snap->n_routes == 1 ? "" : "s");
        return;
    }
    if (c->phase == PHASE_DELAY && past >= c->snap->drain_delay) {
        order_all(c, order_drain);
        phase_set(c, PHASE_DRAINING);
    } else if (c->phase == PHASE_DRAINING) {
        bool late = past >= c->snap->drain_timeout;
        /* Until all workers have emptied their accept queues, no connection says nothing. */
        bool empty = atomic_load(&c->drained) >= c->n && gauge(c, METRIC_client_connections) == 0;
        if (late || empty) {
            event_base_loopbreak(c->base);
            return;
        }
    }
    tick_arm(c);
}

static void signal_came(evutil_socket_t sig, short what, void *arg)
{
    (void)what;
    struct control *c = arg;
    if (sig == SIGUSR1) {
        if (c->log)
            access_log_reopen(c->log);
        return;
    }
    if (sig == SIGHUP) {
        control_reload(c, "SIGHUP", NULL, NULL);
        return;
    }
    if (c->phase >= PHASE_DELAY) {
        log_warn("control", "second signal: ending at once");
        c->twice = true;
        event_base_loopbreak(c->base);
        return;
    }
    log_info("control", "signal %d: draining", (int)sig);
    order_all(c, order_say_close);
    phase_set(c, PHASE_DELAY);
    tick_arm(c);
}

static void signals_watch(struct control *c)
{
    static const int wanted[CONTROL_SIGNALS] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    (void)signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < CONTROL_SIGNALS; i++) {
        c->signals[i] = evsignal_new(c->base, wanted[i], signal_came, c);
        check(c->signals[i] && evsignal_add(c->signals[i], NULL) == 0);
    }
    c->tick = evtimer_new(c->base, tick, c);
    check(c->tick != NULL);
}

/* ---- start and end ---- */

static int load_end(int res, const struct snapshot *running, struct diags *diags, struct snapshot **out)
{
    if (res == 0) {
        res = route_compile(*out, diags);
        if (tls_compile(*out, running, diags) != 0)
            res = -1;
        if (res != 0)
            snapshot_unref(out);
    }
    return res;
}

int control_load(const char *path, const struct snapshot *running, struct diags *diags, struct snapshot **out)
{
    return load_end(snapshot_load(path, filters_all, diags, out), running, diags, out);
}

int control_load_text(struct str text, const char *name, const struct snapshot *running, struct diags *diags,
                      struct snapshot **out)
{
    return load_end(snapshot_load_text(text, name, filters_all, diags, out), running, diags, out);
}

unsigned control_workers(const struct snapshot *snap)
{
    cpu_set_t set;
    if (snap->workers)
        return (unsigned)snap->workers;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n > WORKERS_MAX ? WORKERS_MAX : (unsigned)n;
}

static uint64_t files_raise(void)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) != 0)
        return 1024;
    rlim_t before = lim.rlim_cur;
    lim.rlim_cur = lim.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &lim) != 0)
        lim.rlim_cur = before;
    if (lim.rlim_cur == before)
        log_info("control", "open files: %llu", (unsigned long long)before);
    else
        log_info("control", "open files: %llu (was %llu)", (unsigned long long)lim.rlim_cur, (unsigned long long)before);
    return lim.rlim_cur;
}

static uint64_t connections_fit(const struct control *c)
{
    return c->files > 2 * FDS_RESERVED ? (c->files - FDS_RESERVED) / 2 : 1;
}

uint64_t control_connections(const struct control *c, const struct snapshot *snap)
{
    return snap->max_connections ? snap->max_connections : connections_fit(c);
}

void control_connections_look(const struct control *c, const struct snapshot *snap)
{
    if (snap->max_connections > connections_fit(c))
        log_warn("control", "max_connections %llu is above what %llu open files allow when each needs an upstream "
                 "connection: %llu", (unsigned long long)snap->max_connections, (unsigned long long)c->files,
                 (unsigned long long)connections_fit(c));
}

static void workers_make(struct control *c, const struct snapshot *snap)
{
    c->n = control_workers(snap);
    c->workers = mem_array(c->n, sizeof *c->workers);
    c->threads = mem_array(c->n, sizeof *c->threads);
    for (unsigned i = 0; i < c->n; i++) {
        struct worker *w = &c->workers[i];
        uint64_t seed;
        rng_entropy(&seed, sizeof seed);
        worker_init(w, i, &clock_real, seed, true);
        w->open_connections = &c->open_connections;
        w->crowd = c->crowd;
        w->kept_bytes = &c->kept_bytes;
        w->tickets = c->tickets;
    }
}

static void *worker_thread(void *arg)
{
    struct worker *w = arg;
    trace_on_failure(&w->trace, w->id);
    worker_run(w);
    return NULL;
}

/* Signals are the control thread's: the workers are born with all of them blocked, but the one that the watchdog asks for
 * their stacks with. */
static int workers_start(struct control *c, struct err *err)
{
    sigset_t all, before;
    int failed = 0;
    sigfillset(&all);
    sigdelset(&all, SIGUSR2);                        /* watchdog.c's: of one that is stuck */
    sigdelset(&all, SIGSYS);                         /* sandbox.c's: of the thread that called */
    pthread_sigmask(SIG_BLOCK, &all, &before);
    for (unsigned i = 0; i < c->n && !failed; i++) {
        failed = pthread_create(&c->threads[i], NULL, worker_thread, &c->workers[i]);
        c->started += !failed;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    watchdog_begin(c->watchdog, c->workers, c->threads, c->started);
    memory_begin(c->memory, c->workers, c->started);
    return failed ? err_set(err, "cannot start worker %u of %u: %s", c->started + 1, c->n, strerror(failed)) : 0;
}

static void addresses_came(void *ctx, struct str host, const struct address *v, size_t n)
{
    struct control *c = ctx;
    for (unsigned i = 0; i < c->n; i++)
        endpoints_post_addresses(&c->workers[i], host, v, n);
    probes_addresses(c->checks, host, v, n);
}

static void files_changed(void *ctx, const char *cause) { control_reload(ctx, cause, NULL, NULL); }

static void mail_came(evutil_socket_t fd, short what, void *arg)
{
    struct control *c = arg;
    (void)fd, (void)what;
    mailbox_woken(&c->mail, c);
}

/* What outlives configurations. */
static void parts_make(struct control *c)
{
    struct hash_key secret;
    uint64_t seed;
    rng_entropy(&seed, sizeof seed);
    c->tickets = tls_tickets_new();
    rng_entropy(&secret, sizeof secret);
    c->crowd = crowd_new(&secret, CROWD_MOST);
    c->reload = reload_new(c);
    c->watchdog = watchdog_new(c->base);
    c->memory = memory_new(c->base);
    c->certificates = certificates_new(c->base, &c->snap);
    c->watch = conf_watch_new(c->base, &clock_real, files_changed, c);
    c->resolver = resolver_new(c->base, &clock_real);
    c->names = names_new(c->resolver, addresses_came, c);
    c->checks = probes_new(c->base, &clock_real, &c->healths, seed);
    mailbox_init(&c->mail, true);
    c->mail_event = event_new(c->base, c->mail.fd, EV_READ | EV_PERSIST, mail_came, c);
    check(c->mail_event && event_add(c->mail_event, NULL) == 0);
}

/* What was found in the file, for whoever starts it. */
static void diags_say(struct diags *diags)
{
    struct page text = {0};
    diags_print(diags, &text);
    if (text.len)
        fputs(text.at, stderr);
    page_free(&text);
    diags_fini(diags);
}

static int control_start(struct control *c, struct err *err)
{
    struct diags diags = {0};
    struct snapshot *snap = NULL;
    struct change change;
    int res = control_load(c->path, NULL, &diags, &snap);
    if (res == 0) {
        signals_watch(c);            /* what comes from now on is seen once everything runs, and cleans up after itself */
        c->files = files_raise();
        workers_make(c, snap);
        res = change_prepare(&change, c, snap, &diags);
    }
    diags_say(&diags);
    if (res != 0)
        return err_set(err, "%s: not started", c->path);
    names_hold(c->names, snap);
    change_commit(&change, NULL);
    conf_watch_loaded(c->watch, &snap->sources);
    conf_watch_dropped(c->watch);
    conf_watch_set(c->watch, snap->watch, snap->watch_poll);
    if (workers_start(c, err) != 0)
        return -1;
    res = privileges_seal(snap, &diags);
    diags_say(&diags);
    return res == 0 ? 0 : err_set(err, "%s: not started", c->path);
}

static void workers_end(struct control *c)
{
    watchdog_end(c->watchdog);
    memory_end(c->memory);
    if (c->started > 0)
        order_all(c, order_stop);
    for (unsigned i = 0; i < c->started; i++)
        pthread_join(c->threads[i], NULL);
    for (unsigned i = 0; i < c->n; i++) {
        struct worker *w = &c->workers[i];
        while (!list_empty(&w->listeners))
            listener_free(container_of(w->listeners.next, struct listener, link));
        worker_fini(w);
    }
}

static void control_fini(struct control *c)
{
    workers_end(c);
    mailbox_drain(&c->mail, c);      /* a change that the workers made while they ended */
    reload_free(&c->reload);
    conf_watch_free(&c->watch);
    names_free(&c->names);
    resolver_free(c->resolver);
    probes_free(&c->checks);
    healths_close(&c->healths);
    access_log_close(&c->log);
    admin_close(&c->admin);
    admin_close(&c->probes);
    for (int i = 0; i < CONTROL_SIGNALS; i++)
        if (c->signals[i])
            event_free(c->signals[i]);
    if (c->tick)
        event_free(c->tick);
    event_free(c->mail_event);
    memory_free(&c->memory);
    certificates_free(&c->certificates);
    mailbox_fini(&c->mail);
    snapshot_unref(&c->snap);
    shared_set_free(c->shared);
    event_base_free(c->base);
    tls_tickets_free(&c->tickets);
    crowd_free(&c->crowd);
    watchdog_free(&c->watchdog);
    mem_free(c->workers);
    mem_free(c->threads);
}

int control_run(const char *path)
{
    struct control c = {.base = event_base_new(), .path = path, .shared = shared_set_new()};
    struct err err = {0};
    int status = EXIT_CONFIG;
    check(c.base != NULL);
    privileges_begin();
    parts_make(&c);
    phase_set(&c, PHASE_STARTING);
    if (control_start(&c, &err) == 0) {
        tick(-1, 0, &c);
        check(event_base_dispatch(c.base) >= 0);
        status = EXIT_FINE;
    } else {
        char text[1024];
        log_error("control", "%s", err_format(&err, text, sizeof text));
    }
    control_fini(&c);
    if (status == EXIT_FINE && c.cut > 0) {
        log_warn("control", "stopped; requests cut: %u", c.cut);
        status = EXIT_CUT;
    } else if (status == EXIT_FINE) {
        log_info("control", "stopped; nothing was cut");
    }
    return status;
}
