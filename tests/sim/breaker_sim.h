/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BREAKER_SIM_H
#define BREAKER_SIM_H

/*
 * A breaker, and the endpoints behind it, as they look from outside. A connection to an endpoint is busy from the
 * request's first line until the test answers. The filters are the breaker, a limit and the actor.
 */
#include "actor.h"

#include <arpa/inet.h>
#include "conf/shared.h"
#include "figure.h"
#include "lib/page.h"
#include "listener.h"
#include "route.h"
#include "worker.h"

#define SEC NSEC_PER_SEC
#define MSEC NSEC_PER_MSEC

extern const struct filter filter_breaker, filter_concurrency;
static const struct filter actor = ACTOR("actor", .hold_max = 64 * 1024);
static const struct filter *const filters[] = {&filter_breaker, &filter_concurrency, &actor, NULL};

#define UPSTREAM(FILTERS) \
    SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], filters: [" FILTERS "]}}\n"
#define GUARDED(FILTERS) UPSTREAM(FILTERS) "routes: [{match: /, upstream: api, timeout: 20s}]\n"

/* As the numbers of the tests assume it: opens at 4 with half of them failed, for 8 to 12 s. */
#define SMALL "min_requests: 4, window: 10s, open: 10s..40s, ramp: 0s"
#define PLAIN GUARDED("{breaker: {" SMALL "}}")

#define BAD "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
#define HEAD_OF_BIG "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"

enum { CLOSED, HALF_OPEN, OPEN, RAMPING };

static inline struct sim *start(const char *yaml, unsigned workers)
{
    actor_clear();
    return sim_new_with(&(struct sim_conf){.yaml = yaml, .filters = filters, .workers = workers, .seed = workers});
}

static inline const struct instance *breaker_of(const struct sim *s)
{
    for (size_t i = 0; i < s->snap->n_instances; i++)
        if (s->snap->instances[i]->type == &filter_breaker)
            return s->snap->instances[i];
    check(false);
}

/* `label`: the value of its label, NULL: it has none. */
static inline uint64_t figure(const struct sim *s, const char *name, const char *label)
{
    const struct instance *in = breaker_of(s);
    const struct figure *f = in->type->figures;
    union figure_value v[32];
    in->type->figures_read(in->shared, in->options, clock_mono(&s->clock), v);
    for (size_t i = 0; f[i].name; i++)
        if (!strcmp(f[i].name, name) && (!label || (f[i].value && !strcmp(f[i].value, label))))
            return v[i].n;
    check(false);
}

static inline uint64_t state(const struct sim *s) { return figure(s, "breaker_state", NULL); }
static inline uint64_t probes(const struct sim *s) { return figure(s, "breaker_probes", NULL); }
static inline uint64_t refused(const struct sim *s) { return figure(s, "breaker_refused_total", NULL); }

static inline uint64_t outcome(const struct sim *s, const char *what)
{
    return figure(s, "breaker_outcomes_total", what);
}

static inline uint64_t to(const struct sim *s, const char *what)
{
    return figure(s, "breaker_transitions_total", what);
}

static inline bool command(const struct sim *s, const char *word)
{
    const struct instance *in = breaker_of(s);
    return in->type->command(in->shared, in->options, str_c(word), clock_mono(&s->clock));
}

/* ---- endpoints ---- */

static inline bool is_busy(const struct sim_conn *c)
{
    return !c->client && !sim_closed(c) && sim_has(c, " HTTP/1.1\r\n");
}

/* The busy connection that was opened first, to that port; port 0: any; NULL: none. */
static inline struct sim_conn *busy_at(const struct sim *s, unsigned port)
{
    struct sim_conn *oldest = NULL;
    for (struct sim_conn *c = s->all; c; c = c->next)
        if (is_busy(c) && (!port || ntohs(c->address.in.sin_port) == port))
            oldest = c;
    return oldest;
}

static inline struct sim_conn *busy_one(const struct sim *s) { return busy_at(s, 0); }

static inline unsigned busy(const struct sim *s)
{
    unsigned n = 0;
    for (const struct sim_conn *c = s->all; c; c = c->next)
        n += is_busy(c);
    return n;
}

static inline void answer(struct sim_conn *u, const char *text)
{
    if (!EXPECT(u != NULL))
        return;
    sim_clear(u);
    sim_say(u, text);
}

/* ---- clients ---- */

static inline struct sim_conn *ask_for(struct sim *s, unsigned worker, const char *path)
{
    char text[200];
    struct sim_conn *c = sim_client_at(s, worker % s->n_workers, 0, STR("192.0.2.1"));
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path);
    sim_say(c, text);
    return c;
}

static inline struct sim_conn *ask(struct sim *s, unsigned worker) { return ask_for(s, worker, "/"); }

static inline bool is_served(const struct sim_conn *c) { return sim_has(c, "HTTP/1.1 200 OK\r\n"); }

/* A request that is answered at once. */
static inline void exchange(struct sim *s, unsigned worker, const char *text)
{
    struct sim_conn *c = ask(s, worker);
    answer(busy_one(s), text);
    EXPECT(sim_has(c, "HTTP/1.1 "));
    sim_reset(c);
    sim_run(s);
}

/* What a refused one is told to wait; 0: nothing. */
static inline unsigned long long told_ms(const struct sim_conn *c)
{
    const char *at = c->got ? strstr(c->got, "retry-after-ms: ") : NULL;
    return at ? strtoull(at + 16, NULL, 10) : 0;
}

static inline void expect_refused(const struct sim_conn *c)
{
    EXPECT_HAS(c, "HTTP/1.1 503 ");
    EXPECT_HAS(c, "\"reason\":\"breaker_open\"");
    EXPECT_HAS(c, "Retry-After: ");
    EXPECT(told_ms(c) > 0);
}

/* Failures until it opens, from there to where it may be tried. */
static inline void make_open(struct sim *s)
{
    for (unsigned i = 0; i < 4; i++)
        exchange(s, i, BAD);
    EXPECT_EQ(state(s), OPEN);
}

static inline void make_ready(struct sim *s)
{
    make_open(s);
    sim_advance(s, 12 * SEC);
}

/* Nothing is held, and it can still be closed: five good ones, one after the other. */
static inline void expect_it_closes(struct sim *s)
{
    s->connect = SIM_ACCEPT;
    EXPECT_EQ(probes(s), 0);
    EXPECT_EQ(state(s), HALF_OPEN);
    for (struct sim_conn *u = s->all; u; u = u->next)
        sim_clear(u);
    for (unsigned i = 0; i < 5; i++) {
        EXPECT_EQ(state(s), HALF_OPEN);
        exchange(s, i, OK);
    }
    EXPECT_EQ(state(s), CLOSED);
    EXPECT_EQ(probes(s), 0);
}

#endif
