/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start, run, drain.
 *
 * Nothing is accepted before every name had its first look-up, or two seconds: a client of the first moment
 * is not told that nothing resolves. The end is POLICY.md's drain: say so, let in who stands at the door, finish what is in
 * flight, cut what will not finish. A second signal ends at once.
 */
#include "control.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "access_log.h"
#include "admin.h"
#include "client.h"
#include "conf/diag.h"
#include "conf/shared.h"
#include "config_page.h"
#include "figures.h"
#include "filter.h"
#include "health.h"
#include "lib/check.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "listener.h"
#include "probe.h"
#include "resolve.h"
#include "route.h"
#include "view.h"
#include "worker.h"

enum { FDS_RESERVED = 100, FIRST_LOOKUPS_MS = 2000, DRAIN_POLL_MS = 20, SIGNALS = 4 };

enum phase { PHASE_STARTING, PHASE_SERVING, PHASE_DELAY, PHASE_DRAINING, PHASE_ENDED };

struct control {
    struct event_base *base;
    struct shared_set *shared;
    struct snapshot *snap;
    uint64_t loaded;                 /* when, wall ns */
    struct healths healths;          /* of its upstreams */
    struct probes *checks;
    struct worker *workers;
    pthread_t *threads;
    unsigned n, started;             /* workers; those of them that have a thread */
    _Atomic uint64_t open_connections, kept_bytes;
    struct access_log *log;
    struct resolver *resolver;
    struct watch *watches;
    size_t n_watches;
    size_t unanswered, unresolved;   /* of the watches: without a first answer, without an address */
    struct admin *admin, *probes;
    struct event *signals[SIGNALS], *tick;
    enum phase phase;
    uint64_t since;                  /* when the phase began */
    _Atomic unsigned drained;        /* workers that accept no more and counted whom they have */
    _Atomic unsigned cut;            /* requests that the drain did not wait for */
    bool twice;                      /* a second signal came */
};

/* A name of an endpoint that is looked up. */
struct watch {
    struct control *control;
    const struct endpoint_conf *conf;
    size_t upstream, endpoint;
    struct resolve_watch *handle;
    bool answered, resolved;
};

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

/* ---- names ---- */

static void names_came(void *ctx, const struct resolved *res)
{
    struct watch *watch = ctx;
    struct control *c = watch->control;
    if (res->n == 0)
        log_warn("resolve", "%s: %s", watch->conf->url.at, res->error ? res->error : "no address");
    for (size_t i = 0; i < res->n; i++) {
        if (res->v[i].sa.sa_family == AF_INET)
            res->v[i].in.sin_port = htons(watch->conf->port);
        else
            res->v[i].in6.sin6_port = htons(watch->conf->port);
    }
    for (unsigned i = 0; i < c->n; i++)
        view_post_addresses(&c->workers[i], c->snap, watch->upstream, watch->endpoint, res->v, res->n);
    if (res->n > 0)
        probes_addresses(c->checks, watch->upstream, watch->endpoint, res->v, res->n);
    if (!watch->answered) {
        watch->answered = true;
        c->unanswered--;
    }
    if (res->n > 0 && !watch->resolved) {
        watch->resolved = true;
        c->unresolved--;
    }
}

static void names_watch(struct control *c)
{
    c->resolver = resolver_new(c->base, &clock_real);
    for (size_t u = 0; u < c->snap->n_upstreams; u++)
        for (size_t e = 0; e < c->snap->upstreams[u].n; e++)
            c->n_watches += c->snap->upstreams[u].endpoints[e].address.len == 0;
    c->watches = mem_array(c->n_watches, sizeof *c->watches);
    c->unanswered = c->unresolved = c->n_watches;
    struct watch *watch = c->watches;
    for (size_t u = 0; u < c->snap->n_upstreams; u++) {
        for (size_t e = 0; e < c->snap->upstreams[u].n; e++) {
            const struct endpoint_conf *conf = &c->snap->upstreams[u].endpoints[e];
            if (conf->address.len)
                continue;
            *watch = (struct watch){.control = c, .conf = conf, .upstream = u, .endpoint = e};
            watch->handle = resolver_watch(c->resolver, conf->host, names_came, watch);
            watch++;
        }
    }
}

/* ---- admin pages ---- */

static void page_metrics(void *ctx, struct page *page)
{
    struct control *c = ctx;
    struct metrics *v[WORKERS_MAX];
    for (unsigned i = 0; i < c->n; i++)
        v[i] = &c->workers[i].metrics;
    metrics_print(v, c->n, page);
    figures_metrics(c->snap, clock_mono(&clock_real), page);
    healths_metrics(&c->healths, clock_mono(&clock_real), page);
    page_printf(page, "# HELP weir_access_log_dropped_total Access log lines lost because the writer was behind.\n"
                      "# TYPE weir_access_log_dropped_total counter\nweir_access_log_dropped_total %llu\n",
                (unsigned long long)access_log_dropped(c->log));
    page_printf(page, "# HELP weir_names_unresolved Endpoint names that no address is known for.\n"
                      "# TYPE weir_names_unresolved gauge\nweir_names_unresolved %zu\n", c->unresolved);
}

static int page_limits(void *ctx, struct str query, struct page *page)
{
    const struct control *c = ctx;
    return figures_limits(c->snap, query, clock_mono(&clock_real), page);
}

static int page_upstreams(void *ctx, struct str query, struct page *page)
{
    struct control *c = ctx;
    (void)query;
    healths_json(&c->healths, clock_mono(&clock_real), page);
    return 200;
}

static int page_command(void *ctx, struct str query, struct page *page)
{
    const struct control *c = ctx;
    return figures_command(c->snap, query, clock_mono(&clock_real), page);
}

static int page_config(void *ctx, struct str query, struct page *page)
{
    const struct control *c = ctx;
    (void)query;
    return config_page(c->snap, c->loaded, page);
}

static void page_plan(void *ctx, const struct admin_request *request, struct admin_answer *answer)
{
    const struct control *c = ctx;
    config_plan(c->snap, request, answer);
}

static bool page_ready(void *ctx, struct page *why)
{
    struct control *c = ctx;
    if (c->phase == PHASE_SERVING)
        return true;
    page_printf(why, c->phase == PHASE_STARTING ? "starting\n" : "draining\n");
    return false;
}

/* ---- phases ---- */

static void phase_set(struct control *c, enum phase phase)
{
    c->phase = phase;
    c->since = clock_mono(&clock_real);
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
    if (c->phase == PHASE_STARTING && (c->unanswered == 0 || past >= FIRST_LOOKUPS_MS * NSEC_PER_MSEC)) {
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
        log_warn("control", "SIGHUP: this version does not reload; restart it to use a changed configuration");
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
    static const int wanted[SIGNALS] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < SIGNALS; i++) {
        c->signals[i] = evsignal_new(c->base, wanted[i], signal_came, c);
        check(c->signals[i] && evsignal_add(c->signals[i], NULL) == 0);
    }
    c->tick = evtimer_new(c->base, tick, c);
    check(c->tick != NULL);
}

/* ---- start and end ---- */

static int load_end(int res, struct diags *diags, struct snapshot **out)
{
    if (res == 0 && route_compile(*out, diags) != 0) {
        snapshot_unref(out);
        res = -1;
    }
    return res;
}

int control_load(const char *path, struct diags *diags, struct snapshot **out)
{
    return load_end(snapshot_load(path, filters_all, diags, out), diags, out);
}

int control_load_text(struct str text, const char *name, struct diags *diags, struct snapshot **out)
{
    return load_end(snapshot_load_text(text, name, filters_all, diags, out), diags, out);
}

static unsigned workers_wanted(const struct snapshot *snap)
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
    log_info("control", "open files: %llu (was %llu)", (unsigned long long)lim.rlim_cur, (unsigned long long)before);
    return lim.rlim_cur;
}

static int listeners_open(struct control *c, struct err *err)
{
    for (size_t l = 0; l < c->snap->n_listens; l++) {
        const struct listen_conf *conf = &c->snap->listens[l];
        int first = -1;
        for (unsigned i = 0; i < c->n; i++) {
            int fd = -1;
            if (i > 0 && conf->address.sa.sa_family == AF_UNIX) {
                if ((fd = dup(first)) < 0)
                    return err_set(err, "listen %s: %s", conf->at.at, strerror(errno));
            } else if (listener_socket(conf, i == 0, &fd, err) != 0) {
                return -1;
            }
            if (i == 0)
                first = fd;
            listener_new(&c->workers[i], conf, fd);
        }
        log_info("control", "listening on %s", conf->at.at);
    }
    return 0;
}

static void workers_make(struct control *c, uint64_t files)
{
    uint64_t fit = files > 2 * FDS_RESERVED ? (files - FDS_RESERVED) / 2 : 1, cap = c->snap->max_connections;
    if (cap > fit)
        log_warn("control", "max_connections %llu is above what %llu open files allow when each needs an upstream "
                 "connection: %llu", (unsigned long long)cap, (unsigned long long)files, (unsigned long long)fit);
    c->n = workers_wanted(c->snap);
    c->workers = mem_array(c->n, sizeof *c->workers);
    c->threads = mem_array(c->n, sizeof *c->threads);
    for (unsigned i = 0; i < c->n; i++) {
        struct worker *w = &c->workers[i];
        uint64_t seed;
        rng_entropy(&seed, sizeof seed);
        worker_init(w, i, &clock_real, seed, true);
        w->open_connections = &c->open_connections;
        w->kept_bytes = &c->kept_bytes;
        w->max_connections = cap ? cap : fit;
        worker_view_set(w, c->snap);
    }
}

static void *worker_thread(void *arg)
{
    struct worker *w = arg;
    trace_on_failure(&w->trace, w->id);
    worker_run(w);
    return NULL;
}

/* Signals are the control thread's: the workers are born with all of them blocked. */
static int workers_start(struct control *c, struct err *err)
{
    sigset_t all, before;
    int failed = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    for (unsigned i = 0; i < c->n && !failed; i++) {
        c->workers[i].log = access_log_ring(c->log, i);
        failed = pthread_create(&c->threads[i], NULL, worker_thread, &c->workers[i]);
        c->started += !failed;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed ? err_set(err, "cannot start worker %u of %u: %s", c->started + 1, c->n, strerror(failed)) : 0;
}

static int admin_start(struct control *c, struct err *err)
{
    struct admin_source source = {.metrics = page_metrics, .ready = page_ready, .limits = page_limits,
                                   .upstreams = page_upstreams, .config = page_config, .command = page_command,
                                   .plan = page_plan, .ctx = c};
    if (c->snap->admin.at.len && admin_open(c->base, &c->snap->admin, false, &source, &c->admin, err) != 0)
        return -1;
    if (c->snap->probes.at.len && admin_open(c->base, &c->snap->probes, true, &source, &c->probes, err) != 0)
        return -1;
    return 0;
}

static void checks_start(struct control *c)
{
    uint64_t seed;
    rng_entropy(&seed, sizeof seed);
    c->checks = probes_new(c->base, &clock_real, &c->healths, seed);
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

static int control_start(struct control *c, const char *path, struct err *err)
{
    struct diags diags = {0};
    int res = control_load(path, &diags, &c->snap);
    diags_say(&diags);
    if (res != 0)
        return err_set(err, "%s: not started", path);
    snapshot_open(c->snap, c->shared, clock_mono(&clock_real));
    c->loaded = clock_wall(&clock_real);
    signals_watch(c);                /* what comes from now on is seen once everything runs, and cleans up after itself */
    healths_open(&c->healths, c->snap, clock_mono(&clock_real));
    workers_make(c, files_raise());
    if (listeners_open(c, err) != 0 || admin_start(c, err) != 0
        || access_log_open(c->snap->log_to, c->snap->log_path, c->n, &c->log, err) != 0)
        return -1;
    checks_start(c);
    names_watch(c);
    return workers_start(c, err);
}

static void workers_end(struct control *c)
{
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
    for (size_t i = 0; i < c->n_watches; i++)
        resolver_unwatch(&c->watches[i].handle);
    if (c->resolver)
        resolver_free(c->resolver);
    probes_free(&c->checks);
    healths_close(&c->healths);
    if (c->log)
        access_log_close(&c->log);
    if (c->admin)
        admin_close(&c->admin);
    if (c->probes)
        admin_close(&c->probes);
    for (int i = 0; i < SIGNALS; i++)
        if (c->signals[i])
            event_free(c->signals[i]);
    if (c->tick)
        event_free(c->tick);
    if (c->snap)
        snapshot_unref(&c->snap);
    shared_set_free(c->shared);
    event_base_free(c->base);
    mem_free(c->watches);
    mem_free(c->workers);
    mem_free(c->threads);
}

int control_run(const char *path)
{
    struct control c = {.base = event_base_new(), .shared = shared_set_new()};
    struct err err = {0};
    int status = EXIT_CONFIG;
    check(c.base != NULL);
    phase_set(&c, PHASE_STARTING);
    if (control_start(&c, path, &err) == 0) {
        tick(-1, 0, &c);
        check(event_base_dispatch(c.base) >= 0);
        status = EXIT_FINE;
    } else {
        char text[1024];
        log_error("control", "%s", err_format(&err, text, sizeof text));
    }
    control_fini(&c);
    if (status == EXIT_FINE && c.cut > 0)
        status = EXIT_CUT;
    return status;
}
