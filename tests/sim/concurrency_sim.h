/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONCURRENCY_SIM_H
#define CONCURRENCY_SIM_H

/*
 * A limit and the endpoint behind it, as they look from outside: for the tests of filters/concurrency.c.
 *
 * A connection to the endpoint is busy from the request's first line until the test answers: that is what the limit is about.
 * The filters are those that come with weir and the actor.
 */
#include "actor.h"

#include "conf/shared.h"
#include "figure.h"
#include "lib/page.h"
#include "listener.h"
#include "route.h"
#include "worker.h"

#define SEC NSEC_PER_SEC
#define MSEC NSEC_PER_MSEC

extern const struct filter filter_concurrency;
static const struct filter actor = ACTOR("actor", .hold_max = 64 * 1024);
static const struct filter *const filters[] = {&filter_concurrency, &actor, NULL};

/* One upstream with these filters. */
#define UPSTREAM(FILTERS) \
    SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], filters: [" FILTERS "]}}\n"
#define LIMITED(FILTERS) UPSTREAM(FILTERS) "routes: [{match: /, upstream: api, timeout: 20s}]\n"

static inline struct sim *start(const char *yaml, unsigned workers)
{
    actor_clear();
    return sim_new_with(&(struct sim_conf){.yaml = yaml, .filters = filters, .workers = workers, .seed = workers});
}

/* ---- figures ---- */

static inline const struct instance *limiter_of(const struct sim *s, const char *name)
{
    for (size_t i = 0; i < s->snap->n_instances; i++) {
        const struct instance *in = s->snap->instances[i];
        if (in->type == &filter_concurrency && (!name || str_eq(in->name, str_c(name))))
            return in;
    }
    check(false);
}

/* A counter or gauge of the only instance; `reason` is its label, NULL: it has none. */
static inline uint64_t figure(const struct sim *s, const char *name, const char *reason)
{
    const struct instance *in = limiter_of(s, NULL);
    const struct figure *f = in->type->figures;
    union figure_value v[32];
    in->type->figures_read(in->shared, in->options, clock_mono(&s->clock), v);
    for (size_t i = 0; f[i].name; i++)
        if (!strcmp(f[i].name, name) && (!reason || (f[i].value && !strcmp(f[i].value, reason))))
            return v[i].n;
    check(false);
}

static inline uint64_t in_flight(const struct sim *s) { return figure(s, "concurrency_in_flight", NULL); }
static inline uint64_t waiting(const struct sim *s) { return figure(s, "concurrency_waiting", NULL); }
static inline uint64_t refused(const struct sim *s, const char *why) { return figure(s, "concurrency_refused_total", why); }

/* ---- the endpoint ---- */

static inline bool is_busy(const struct sim_conn *c) { return !c->client && !sim_closed(c) && sim_has(c, " HTTP/1.1\r\n"); }

static inline unsigned busy(const struct sim *s)
{
    unsigned n = 0;
    for (const struct sim_conn *c = s->all; c; c = c->next)
        n += is_busy(c);
    return n;
}

/* The busy connection that was opened first; NULL: none. */
static inline struct sim_conn *busy_one(const struct sim *s)
{
    struct sim_conn *oldest = NULL;
    for (struct sim_conn *c = s->all; c; c = c->next)
        if (is_busy(c))
            oldest = c;
    return oldest;
}

/* The one with the request for that path. */
static inline struct sim_conn *busy_with(const struct sim *s, const char *path)
{
    char line[60];
    snprintf(line, sizeof line, "GET %s HTTP/1.1\r\n", path);
    for (struct sim_conn *c = s->all; c; c = c->next)
        if (is_busy(c) && sim_has(c, line))
            return c;
    return NULL;
}

static inline void answer(struct sim_conn *u)
{
    if (!EXPECT(u != NULL))
        return;
    sim_clear(u);
    sim_say(u, OK);
}

static inline unsigned answer_all(struct sim *s)
{
    struct sim_conn *u;
    unsigned n = 0;
    for (; (u = busy_one(s)) != NULL; n++)
        answer(u);
    return n;
}

/* ---- clients ---- */

static inline struct sim_conn *ask_with(struct sim *s, unsigned worker, const char *path, const char *fields)
{
    char text[400];
    struct sim_conn *c = sim_client_at(s, worker % s->n_workers, 0, STR("192.0.2.1"));
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: h\r\n%s\r\n", path, fields);
    sim_say(c, text);
    return c;
}

static inline struct sim_conn *ask(struct sim *s, unsigned worker) { return ask_with(s, worker, "/", ""); }

static inline bool is_served(const struct sim_conn *c) { return sim_has(c, "HTTP/1.1 200 OK\r\n"); }
static inline bool is_answered(const struct sim_conn *c) { return sim_has(c, "HTTP/1.1 "); }

/* ---- nothing has leaked ---- */

/* Requests that take no time, one after the other: after these no wait is hopeless. */
static inline void quick_ones(struct sim *s)
{
    for (unsigned i = 0; i < s->n_workers; i++) {
        struct sim_conn *c = sim_client_at(s, i, 0, STR("192.0.2.1"));
        for (unsigned k = 0; k < 70 / s->n_workers; k++) {
            sim_say(c, GET);
            answer(busy_one(s));
            EXPECT_GOT(c, OK);
        }
        sim_reset(c);
    }
    sim_run(s);
}

/* Nobody holds a slot or waits for one; and there are as many to be had at once as ever. Needs a queue of max + 1. */
static inline void expect_all_slots(struct sim *s, unsigned max)
{
    struct sim_conn *c[80];
    unsigned n = 2 * max + 1, left;
    check(n <= array_len(c));
    EXPECT_EQ(in_flight(s), 0);
    EXPECT_EQ(waiting(s), 0);
    s->connect = SIM_ACCEPT;
    for (struct sim_conn *u = s->all; u; u = u->next)
        sim_clear(u);
    quick_ones(s);
    for (unsigned i = 0; i < n; i++)
        c[i] = ask(s, i);
    EXPECT_EQ(in_flight(s), max);
    EXPECT_EQ(waiting(s), max + 1);
    for (left = n; busy(s) > 0; left--) {
        EXPECT_EQ(busy(s), left < max ? left : max);
        answer(busy_one(s));
    }
    EXPECT_EQ(left, 0);
    for (unsigned i = 0; i < n; i++) {
        EXPECT(is_served(c[i]));
        sim_reset(c[i]);
    }
    sim_run(s);
    EXPECT_EQ(in_flight(s), 0);
    EXPECT_EQ(waiting(s), 0);
}

#endif
