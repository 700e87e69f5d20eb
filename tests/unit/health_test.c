/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints under a clock that only the test moves: reports go in, states, shares, pages and log lines come out. */
#include "health.h"
#include "diag_fixture.h"

#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include "conf/shared.h"
#include "lib/log.h"
#include "lib/page.h"

#define SEC NSEC_PER_SEC
#define START (1000 * SEC)

static struct shared_set *set;
static uint64_t now;

struct world {
    struct snapshot *snap;
    struct health *h;
};

static const struct filter *const no_filters[] = {NULL};

static struct snapshot *snap_of(unsigned n, const char *more)
{
    static const char *const urls = "\"http://10.0.0.1\", \"http://10.0.0.2\", \"http://10.0.0.3\", \"http://10.0.0.4\", "
                                    "\"http://10.0.0.5\", \"http://10.0.0.6\"";
    struct err err;
    char text[1000];
    snprintf(text, sizeof text, "version: 1\nlisten: 127.0.0.1:80\nupstreams: {api: {endpoints: [%.*s]%s}}\n"
             "routes: [{match: /, upstream: api}]\n", (int)(n * 19 - 2), urls, more);
    struct snapshot *snap = snapshot_from(text, "t", no_filters, set, now, &err);
    EXPECT_CSTR(err.text, "");
    return snap;
}

/* `more`: further keys of the upstream. The first world of a test; further ones share its state. */
static void world_again(struct world *w, unsigned n, const char *more)
{
    w->snap = snap_of(n, more);
    w->h = health_open(set, &w->snap->upstreams[0], now);
}

static void world_init(struct world *w, unsigned n, const char *more)
{
    log_set_level(LOG_ERROR);
    set = shared_set_new();
    now = START;
    world_again(w, n, more);
}

static void world_close(struct world *w)
{
    health_close(&w->h);
    snapshot_unref(&w->snap);
}

static void world_fini(struct world *w)
{
    world_close(w);
    shared_set_free(set);
}

static void report_of(struct health *h, size_t at, unsigned worker, struct outcome out)
{
    out.started = out.started ? out.started : now;
    out.ended = now;
    health_report(h, at, worker, &out);
}

static void good(struct health *h, size_t at) { report_of(h, at, 0, (struct outcome){.by = BY_UPSTREAM, .status = 200}); }
static void bad(struct health *h, size_t at) { report_of(h, at, 0, (struct outcome){.by = BY_UPSTREAM, .status = 503}); }

static void bads(struct health *h, size_t at, unsigned n)
{
    while (n-- > 0)
        bad(h, at);
}

static const char *state_of(struct health *h, size_t at)
{
    struct health_seen seen;
    health_look(h, at, now, &seen);
    return health_state_name(seen.state);
}

static unsigned share(struct health *h, size_t at) { return health_well(h, at) ? BALANCE_FULL : health_share(h, at, now); }

static size_t count_out(struct health *h)
{
    size_t n = 0;
    for (size_t i = 0; i < h->conf->n; i++)
        n += share(h, i) == 0;
    return n;
}

TEST(defaults)
{
    struct world w;
    world_init(&w, 1, "");
    const struct upstream_conf *u = w.h->conf;
    EXPECT_EQ(u->eject.failures, 5);
    EXPECT_EQ(u->eject.ratio, 5000);
    EXPECT_EQ(u->eject.min_requests, 20);
    EXPECT_EQ(u->eject.window, 10 * SEC);
    EXPECT_EQ(u->eject.base, 30 * SEC);
    EXPECT_EQ(u->eject.max, 300 * SEC);
    EXPECT_EQ(u->eject.share, 5000);
    EXPECT_EQ(u->slow_start, 10 * SEC);
    EXPECT_EQ(u->check.path.len, 0);                 /* no checks */
    world_fini(&w);
    world_init(&w, 1, ", health: {path: /x}");
    u = w.h->conf;
    EXPECT_STR(u->check.path, "/x");
    EXPECT_EQ(u->check.every, 5 * SEC);
    EXPECT_EQ(u->check.timeout, 2 * SEC);
    EXPECT_EQ(u->check.rise, 2);
    EXPECT_EQ(u->check.fall, 3);
    EXPECT_EQ(u->check.n_status, 1);
    EXPECT_EQ(u->check.status[0].from, 200);
    EXPECT_EQ(u->check.status[0].to, 399);
    world_fini(&w);
    world_init(&w, 1, ", health: {path: /x, every: 1s}");
    EXPECT_EQ(w.h->conf->check.timeout, SEC);        /* not longer than the interval */
    world_fini(&w);
}

/* ---- what counts ---- */

TEST(what_an_attempts_end_says)
{
    static const struct { struct outcome out; enum health_mark mark; } rows[] = {
        {{.by = BY_UPSTREAM, .status = 200}, HEALTH_GOOD},
        {{.by = BY_UPSTREAM, .status = 101}, HEALTH_GOOD},
        {{.by = BY_UPSTREAM, .status = 304}, HEALTH_GOOD},
        {{.by = BY_UPSTREAM, .status = 501}, HEALTH_GOOD},
        {{.by = BY_UPSTREAM, .status = 505}, HEALTH_GOOD},
        {{.by = BY_UPSTREAM, .status = 400}, HEALTH_NEUTRAL},
        {{.by = BY_UPSTREAM, .status = 404}, HEALTH_NEUTRAL},
        {{.by = BY_UPSTREAM, .status = 429}, HEALTH_NEUTRAL},
        {{.by = BY_UPSTREAM, .status = 499}, HEALTH_NEUTRAL},
        {{.by = BY_UPSTREAM, .status = 500}, HEALTH_BAD},
        {{.by = BY_UPSTREAM, .status = 502}, HEALTH_BAD},
        {{.by = BY_UPSTREAM, .status = 503}, HEALTH_BAD},
        {{.by = BY_UPSTREAM, .status = 504}, HEALTH_BAD},
        {{.by = BY_UPSTREAM, .status = 529}, HEALTH_BAD},
        {{.by = BY_UPSTREAM, .reason = REASON_connect_failed}, HEALTH_BAD},
        {{.by = BY_DEADLINE, .reason = REASON_connect_timeout}, HEALTH_BAD},
        {{.by = BY_DEADLINE, .reason = REASON_first_byte_timeout}, HEALTH_BAD},
        {{.by = BY_UPSTREAM, .reason = REASON_upstream_reset}, HEALTH_BAD},
        {{.by = BY_UPSTREAM, .reason = REASON_upstream_bad}, HEALTH_BAD},
        {{.by = BY_UPSTREAM, .reason = REASON_upstream_cut, .status = 200, .first_byte = 5}, HEALTH_BAD},
        {{.by = BY_UPSTREAM, .reason = REASON_upstream_cut, .status = 101, .first_byte = 5}, HEALTH_BAD},
        {{.by = BY_DEADLINE, .reason = REASON_idle_timeout, .status = 200, .first_byte = 5}, HEALTH_BAD},
        {{.by = BY_DEADLINE, .reason = REASON_idle_timeout}, HEALTH_BAD},                     /* it takes no more */
        {{.by = BY_DEADLINE, .reason = REASON_idle_timeout, .status = 101, .first_byte = 5}, HEALTH_NEUTRAL},
        {{.by = BY_DEADLINE, .reason = REASON_total_timeout}, HEALTH_BAD},
        {{.by = BY_DEADLINE, .reason = REASON_total_timeout, .status = 200, .first_byte = 5}, HEALTH_NEUTRAL},
        {{.by = BY_DEADLINE, .reason = REASON_total_timeout, .status = 503, .first_byte = 5}, HEALTH_BAD},
        {{.by = BY_CLIENT, .reason = REASON_total_timeout}, HEALTH_NEUTRAL},                  /* the caller's own deadline */
        {{.by = BY_CLIENT, .reason = REASON_client_gone}, HEALTH_NEUTRAL},
        {{.by = BY_CLIENT, .reason = REASON_client_gone, .status = 200}, HEALTH_NEUTRAL},
        {{.by = BY_CLIENT, .reason = REASON_client_gone, .status = 503}, HEALTH_BAD},         /* that was said already */
        {{.by = BY_CLIENT, .status = 101}, HEALTH_GOOD},                                      /* it ended a tunnel */
        {{.by = BY_US, .status = 503}, HEALTH_BAD},                                           /* tried again elsewhere */
        {{.by = BY_US, .status = 200}, HEALTH_GOOD},                                          /* replaced */
        {{.by = BY_US, .reason = REASON_replied, .status = 200}, HEALTH_GOOD},
        {{.by = BY_US, .reason = REASON_replied, .status = 502}, HEALTH_BAD},
        {{.by = BY_US, .reason = REASON_filter_failed, .status = 200}, HEALTH_NEUTRAL},
        {{.by = BY_US, .reason = REASON_denied}, HEALTH_NEUTRAL},
        {{.by = BY_US, .reason = REASON_draining}, HEALTH_NEUTRAL},
        {{.by = BY_US, .reason = REASON_hold_limit, .status = 200}, HEALTH_NEUTRAL},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu: %s %d", i, reason_name(rows[i].out.reason), rows[i].out.status);
        EXPECT_EQ(health_mark(&rows[i].out), rows[i].mark);
    }
}

/* ---- five in a row ---- */

TEST(five_failures_in_a_row_eject)
{
    struct world w;
    world_init(&w, 2, "");
    bads(w.h, 0, 4);
    EXPECT_EQ(share(w.h, 0), BALANCE_FULL);
    EXPECT(health_well(w.h, 0));
    bad(w.h, 0);
    EXPECT_EQ(share(w.h, 0), 0);
    EXPECT_CSTR(state_of(w.h, 0), "ejected");
    EXPECT_CSTR(state_of(w.h, 1), "up");
    world_fini(&w);
}

TEST(a_good_answer_breaks_the_row_and_a_neutral_one_does_not)
{
    struct world w;
    world_init(&w, 2, "");
    for (unsigned i = 0; i < 3; i++) {               /* 12 of 15: too few for the ratio */
        bads(w.h, 0, 4);
        good(w.h, 0);
    }
    EXPECT_CSTR(state_of(w.h, 0), "up");
    bads(w.h, 0, 4);
    report_of(w.h, 0, 0, (struct outcome){.by = BY_UPSTREAM, .status = 429});
    report_of(w.h, 0, 0, (struct outcome){.by = BY_CLIENT, .reason = REASON_client_gone});
    report_of(w.h, 0, 0, (struct outcome){.by = BY_UPSTREAM, .status = 404});
    EXPECT_CSTR(state_of(w.h, 0), "up");
    report_of(w.h, 0, 0, (struct outcome){.by = BY_UPSTREAM, .reason = REASON_connect_failed});
    EXPECT_CSTR(state_of(w.h, 0), "ejected");
    world_fini(&w);
}

TEST(a_row_has_no_time)
{
    struct world w;
    world_init(&w, 2, "");
    for (unsigned i = 0; i < 5; i++) {
        now += 3600 * SEC;
        EXPECT_CSTR(state_of(w.h, 0), "up");
        bad(w.h, 0);
    }
    EXPECT_CSTR(state_of(w.h, 0), "ejected");
    world_fini(&w);
}

/* ---- half of twenty ---- */

/* `n` results of which `fails` are bad, spread so that no five bad ones follow each other; a bad one is last. */
static void mixed(struct health *h, unsigned n, unsigned fails)
{
    unsigned done = 0;
    for (unsigned i = 1; i <= n; i++) {
        bool fail = (i * fails) / n > done;
        done += fail;
        report_of(h, 0, i, (struct outcome){.by = BY_UPSTREAM, .status = fail ? 500 : 200});
    }
}

TEST(half_of_twenty_eject)
{
    static const struct { const char *conf; unsigned n, fails; bool out; } rows[] = {
        {"", 20, 10, true}, {"", 19, 10, false}, {"", 20, 9, false}, {"", 21, 10, false}, {"", 22, 11, true},
        {"", 1000, 500, true}, {"", 1001, 500, false},
        {", eject: {ratio: 25%, min_requests: 4}", 4, 1, true}, {", eject: {ratio: 25%, min_requests: 4}", 5, 1, false},
        {", eject: {ratio: 0%}", 100, 70, false}, {", eject: {ratio: 0%, failures: 0}", 100, 100, false},
        {", eject: {failures: 0}", 19, 19, false}, {", eject: {failures: 0}", 20, 20, true},
        {", eject: {share: 0%}", 100, 100, false}, {", eject: {failures: 2}", 2, 2, true},
        {", eject: {failures: 0, ratio: 100%}", 100, 99, false}, {", eject: {failures: 0, ratio: 100%}", 20, 20, true},
        {", eject: {failures: 0, ratio: 2.5%, min_requests: 40}", 40, 1, true},
        {", eject: {failures: 0, ratio: 2.6%, min_requests: 40}", 40, 1, false},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct world w;
        test_row("%s: %u of %u", rows[i].conf, rows[i].fails, rows[i].n);
        world_init(&w, 2, rows[i].conf);
        mixed(w.h, rows[i].n, rows[i].fails);
        EXPECT_EQ(share(w.h, 0), rows[i].out ? 0 : BALANCE_FULL);
        world_fini(&w);
    }
}

/* Ten slots of a second: what is ten slots old is forgotten, what is nine is not. */
TEST(the_window_rolls)
{
    static const struct { uint64_t after; bool out; } rows[] = {
        {0, true}, {9 * SEC, true}, {10 * SEC - 1, true}, {10 * SEC, false}, {11 * SEC, false}, {3600 * SEC, false},
        {(UINT64_C(1) << 28) * SEC + 10 * SEC, false},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct world w;
        test_row("%zu", i);
        world_init(&w, 2, ", eject: {failures: 0}");
        bads(w.h, 0, 19);                            /* in the slot that begins now */
        now += rows[i].after;
        bad(w.h, 0);
        EXPECT_EQ(share(w.h, 0), rows[i].out ? 0 : BALANCE_FULL);
        world_fini(&w);
    }
}

/* Counts at the end of their range keep their ratio. */
TEST(very_many_requests)
{
    static const struct { unsigned every; bool out; } rows[] = {{2, true}, {3, false}};
    for (size_t k = 0; k < array_len(rows); k++) {
        struct world w;
        world_init(&w, 2, ", eject: {failures: 0, min_requests: 300000}");
        for (unsigned i = 1; i <= 600000; i++)
            report_of(w.h, 0, 0, (struct outcome){.by = BY_UPSTREAM, .status = i % rows[k].every ? 200 : 500});
        EXPECT_CSTR(state_of(w.h, 0), "up");         /* a stripe holds 262143 */
        for (unsigned i = 1; i <= 200000; i++)
            report_of(w.h, 0, 1, (struct outcome){.by = BY_UPSTREAM, .status = i % rows[k].every ? 200 : 500});
        test_row("every %u.", rows[k].every);
        EXPECT_EQ(share(w.h, 0), rows[k].out ? 0 : BALANCE_FULL);
        world_fini(&w);
    }
}

TEST(workers_count_together)
{
    struct world w;
    world_init(&w, 2, "");
    for (unsigned i = 0; i < 20; i++) {
        EXPECT_CSTR(state_of(w.h, 0), "up");
        report_of(w.h, 0, i, (struct outcome){.by = BY_UPSTREAM, .status = i % 2 ? 500 : 200});
    }
    EXPECT_CSTR(state_of(w.h, 0), "ejected");
    world_fini(&w);
}

/* ---- how long, and back again ---- */

TEST(thirty_seconds_to_the_nanosecond_then_a_ramp)
{
    static const struct { uint64_t at; unsigned share; const char *state; uint64_t since; } rows[] = {
        {0, 0, "ejected", 0}, {30 * SEC - 1, 0, "ejected", 0}, {30 * SEC, 100, "ramping", 30 * SEC},
        {31 * SEC, 190, "ramping", 30 * SEC}, {35 * SEC, 550, "ramping", 30 * SEC},
        {40 * SEC - 1, 999, "ramping", 30 * SEC}, {40 * SEC, 1000, "up", 40 * SEC}, {100 * SEC, 1000, "up", 40 * SEC},
    };
    struct world w;
    world_init(&w, 2, "");
    now += 7;
    bads(w.h, 0, 5);
    uint64_t began = now;
    for (size_t i = 0; i < array_len(rows); i++) {
        struct health_seen seen;
        test_row("%zu", i);
        now = began + rows[i].at;
        EXPECT_EQ(share(w.h, 0), rows[i].share);
        health_look(w.h, 0, now, &seen);
        EXPECT_CSTR(health_state_name(seen.state), rows[i].state);
        EXPECT_EQ(seen.since, began + rows[i].since);
        EXPECT_EQ(seen.back_in, rows[i].at < 30 * SEC ? 30 * SEC - rows[i].at : 0);
        EXPECT_EQ(seen.ejections, 1);
        EXPECT_EQ(health_well(w.h, 0), rows[i].at >= 40 * SEC);
    }
    world_fini(&w);
}

TEST(slow_start_can_be_none_and_is_not_done_at_the_start)
{
    struct world w;
    world_init(&w, 2, ", slow_start: 0s");
    EXPECT_EQ(share(w.h, 0), BALANCE_FULL);
    bads(w.h, 0, 5);
    now += 30 * SEC - 1;
    EXPECT_EQ(share(w.h, 0), 0);
    now += 1;
    EXPECT_EQ(share(w.h, 0), BALANCE_FULL);
    world_fini(&w);
}

/* n times in a row: n times as long, up to the longest. */
TEST(a_flapping_endpoint_is_out_for_longer_each_time)
{
    struct world w;
    world_init(&w, 2, "");
    for (unsigned i = 1; i <= 14; i++) {
        struct health_seen seen;
        test_row("time %u", i);
        now += SEC;
        bads(w.h, 0, 5);
        health_look(w.h, 0, now, &seen);
        EXPECT_EQ(seen.back_in, (i < 10 ? 30 * i : 300) * SEC);
        EXPECT_EQ(seen.ejections, i);
        now += seen.back_in;
        EXPECT_CSTR(state_of(w.h, 0), "ramping");
    }
    world_fini(&w);
}

/* In a row: again before it was in for as long as it had been out. */
TEST(what_is_in_a_row)
{
    static const struct { uint64_t in; uint64_t next; } rows[] = {
        {0, 60}, {30 * SEC - 1, 60}, {30 * SEC, 30}, {3600 * SEC, 30},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct world w;
        struct health_seen seen;
        test_row("%zu", i);
        world_init(&w, 2, "");
        bads(w.h, 0, 5);
        now += 30 * SEC + rows[i].in;
        bads(w.h, 0, 5);
        health_look(w.h, 0, now, &seen);
        EXPECT_EQ(seen.back_in, rows[i].next * SEC);
        world_fini(&w);
    }
}

TEST(the_longest_ejection)
{
    static const struct { const char *conf; uint64_t ms[4]; } rows[] = {
        {", eject: {base: 100ms, max: 250ms}", {100, 200, 250, 250}},
        {", eject: {base: 100ms, max: 200ms}", {100, 200, 200, 200}},
        {", eject: {base: 1s, max: 1s}", {1000, 1000, 1000, 1000}},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct world w;
        world_init(&w, 2, rows[i].conf);
        for (unsigned k = 0; k < 4; k++) {
            struct health_seen seen;
            test_row("%s, time %u", rows[i].conf, k + 1);
            bads(w.h, 0, 5);
            health_look(w.h, 0, now, &seen);
            EXPECT_EQ(seen.back_in, rows[i].ms[k] * NSEC_PER_MSEC);
            now += seen.back_in;
        }
        world_fini(&w);
    }
}

/* What began before it went out, and what ends while it is out, says nothing of the life after. */
TEST(attempts_of_an_earlier_life_do_not_count)
{
    struct world w;
    world_init(&w, 2, "");
    uint64_t before = now;
    bads(w.h, 0, 5);
    now += SEC;
    bads(w.h, 0, 30);
    now = before + 30 * SEC;
    for (unsigned i = 0; i < 30; i++)
        report_of(w.h, 0, 0, (struct outcome){.by = BY_UPSTREAM, .reason = REASON_upstream_cut, .started = now - 1});
    bads(w.h, 0, 4);
    EXPECT_CSTR(state_of(w.h, 0), "ramping");
    bad(w.h, 0);
    EXPECT_CSTR(state_of(w.h, 0), "ejected");
    world_fini(&w);
}

/* Nor does the window of before, although it is longer than the ejection. */
TEST(the_window_is_empty_after_a_return)
{
    struct world w;
    world_init(&w, 2, ", eject: {failures: 0, base: 1s}");
    bads(w.h, 0, 20);
    now += SEC;
    bads(w.h, 0, 19);
    EXPECT_CSTR(state_of(w.h, 0), "ramping");
    bad(w.h, 0);
    EXPECT_CSTR(state_of(w.h, 0), "ejected");
    world_fini(&w);
}

/* ---- at most half ---- */

TEST(at_most_half_are_ejected)
{
    static const struct { unsigned n; const char *conf; size_t out; } rows[] = {
        {1, "", 0}, {2, "", 1}, {3, "", 1}, {4, "", 2}, {5, "", 2}, {6, "", 3},
        {1, ", eject: {share: 100%}", 1}, {3, ", eject: {share: 100%}", 3}, {4, ", eject: {share: 0%}", 0},
        {3, ", eject: {share: 66.66%}", 1}, {3, ", eject: {share: 66.67%}", 2}, {4, ", eject: {share: 24.99%}", 0},
        {4, ", eject: {share: 25%}", 1},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct world w;
        test_row("%u%s", rows[i].n, rows[i].conf);
        world_init(&w, rows[i].n, rows[i].conf);
        for (unsigned k = 0; k < 100; k++) {
            for (size_t at = 0; at < rows[i].n; at++)
                bad(w.h, at);
            now += 1000;
        }
        EXPECT_EQ(count_out(w.h), rows[i].out);
        world_fini(&w);
    }
}

/* One that failed all the while goes with its next failure, once there is room. */
TEST(the_next_one_goes_when_another_is_back)
{
    struct world w;
    world_init(&w, 3, "");
    bads(w.h, 0, 5);
    now += SEC;
    bads(w.h, 1, 50);
    EXPECT_EQ(count_out(w.h), 1);
    now += 29 * SEC;
    EXPECT_EQ(count_out(w.h), 0);
    bad(w.h, 1);
    EXPECT_CSTR(state_of(w.h, 0), "ramping");
    EXPECT_CSTR(state_of(w.h, 1), "ejected");
    world_fini(&w);
}

/* What is out for another reason counts, but has no such limit itself. */
TEST(down_and_unresolved_have_no_floor_but_count)
{
    struct world w;
    world_init(&w, 4, ", health: {path: /}");
    for (unsigned i = 0; i < 3; i++)
        health_checked(w.h, 0, REASON_connect_failed, 0, now);
    health_addresses(w.h->v[1], 0);
    EXPECT_CSTR(state_of(w.h, 0), "down");
    EXPECT_CSTR(state_of(w.h, 1), "unresolved");
    bads(w.h, 2, 50);
    EXPECT_CSTR(state_of(w.h, 2), "up");
    health_addresses(w.h->v[1], 3);
    bad(w.h, 2);
    EXPECT_CSTR(state_of(w.h, 2), "ejected");
    for (size_t at = 0; at < 4; at++)
        for (unsigned i = 0; i < 3; i++)
            health_checked(w.h, at, REASON_none, 500, now);
    EXPECT_EQ(count_out(w.h), 4);
    world_fini(&w);
}

/* ---- checks ---- */

TEST(which_answers_are_good)
{
    static const struct { const char *status; int got; bool ok; } rows[] = {
        {"", 200, true}, {"", 399, true}, {"", 204, true}, {"", 400, false}, {"", 503, false}, {"", 101, false},
        {", status: 204", 204, true}, {", status: 204", 200, false},
        {", status: [200, 401..403]", 200, true}, {", status: [200, 401..403]", 401, true},
        {", status: [200, 401..403]", 403, true}, {", status: [200, 401..403]", 404, false},
        {", status: [200, 401..403]", 201, false},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct world w;
        char conf[100];
        snprintf(conf, sizeof conf, ", health: {path: /, fall: 1%s}", rows[i].status);
        test_row("%s: %d", rows[i].status, rows[i].got);
        world_init(&w, 1, conf);
        health_checked(w.h, 0, REASON_none, rows[i].got, now);
        EXPECT_CSTR(state_of(w.h, 0), rows[i].ok ? "up" : "down");
        world_fini(&w);
    }
}

/* A 429 breaks no row and makes none, unless it is asked for. */
TEST(a_check_that_is_told_to_come_less_often)
{
    static const struct { const char *status; int first, then; unsigned n, counted; const char *state; } rows[] = {
        {"", 0, 429, 10, 0, "up"}, {", status: [200, 429]", 0, 429, 10, 10, "up"}, {", status: [200, 429]", 500, 429, 2, 5, "ramping"},
        {"", 500, 429, 10, 3, "down"}, {", status: 204", 0, 429, 10, 0, "up"}, {"", 0, 404, 3, 3, "down"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct world w;
        struct health_seen seen;
        char conf[100];
        snprintf(conf, sizeof conf, ", health: {path: /%s}", rows[i].status);
        test_row("%zu", i);
        world_init(&w, 1, conf);
        for (unsigned k = 0; rows[i].first && k < 3; k++)
            health_checked(w.h, 0, REASON_none, rows[i].first, now);
        for (unsigned k = 0; k < rows[i].n; k++)
            health_checked(w.h, 0, REASON_none, rows[i].then, now);
        EXPECT_CSTR(state_of(w.h, 0), rows[i].state);
        health_look(w.h, 0, now, &seen);
        EXPECT_EQ(seen.checks_ok + seen.checks_failed, rows[i].counted);
        if (rows[i].first == 500 && rows[i].n == 10) {           /* the row of failures stands as it was */
            health_checked(w.h, 0, REASON_none, 200, now);
            health_checked(w.h, 0, REASON_none, 429, now);
            health_checked(w.h, 0, REASON_none, 200, now);
            EXPECT_CSTR(state_of(w.h, 0), "ramping");
        }
        world_fini(&w);
    }
}

static void checks(struct health *h, const char *results)
{
    for (; *results; results++) {
        now += SEC;
        health_checked(h, 0, REASON_none, *results == '+' ? 200 : 500, now);
    }
}

TEST(rise_and_fall)
{
    static const struct { const char *conf, *results, *state; } rows[] = {
        {"", "--", "up"}, {"", "---", "down"}, {"", "--+--", "up"}, {"", "--+---", "down"}, {"", "---+", "down"},
        {"", "---++", "ramping"}, {"", "---+-+", "down"}, {"", "---+-++", "ramping"}, {"", "---------++--", "ramping"},
        {"", "---++---", "down"}, {"", "++++++---", "down"},
        {", rise: 1, fall: 1", "-", "down"}, {", rise: 1, fall: 1", "-+", "ramping"}, {", rise: 3", "---++", "down"},
        {", rise: 3", "---+++", "ramping"}, {", fall: 5", "----", "up"}, {", fall: 5", "-----", "down"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct world w;
        struct health_seen seen;
        char conf[100];
        size_t passed = 0;
        snprintf(conf, sizeof conf, ", health: {path: /%s}", rows[i].conf);
        test_row("%s %s", rows[i].conf, rows[i].results);
        world_init(&w, 1, conf);
        checks(w.h, rows[i].results);
        EXPECT_CSTR(state_of(w.h, 0), rows[i].state);
        EXPECT_EQ(share(w.h, 0), !strcmp(rows[i].state, "down") ? 0 : !strcmp(rows[i].state, "up") ? 1000 :
                                 rows[i].results[strlen(rows[i].results) - 1] == '+' ? 100 : 280);
        health_look(w.h, 0, now, &seen);
        for (const char *c = rows[i].results; *c; c++)
            passed += *c == '+';
        EXPECT_EQ(seen.checks_ok, passed);
        EXPECT_EQ(seen.checks_failed, strlen(rows[i].results) - passed);
        EXPECT_EQ(seen.ejections, 0);
        world_fini(&w);
    }
}

/* A check does not end an ejection, and an ejection no state of being down. */
TEST(both_at_once)
{
    struct world w;
    world_init(&w, 2, ", health: {path: /}");
    bads(w.h, 0, 5);
    checks(w.h, "++++");                             /* 4 s later */
    EXPECT_CSTR(state_of(w.h, 0), "ejected");
    checks(w.h, "---");
    EXPECT_CSTR(state_of(w.h, 0), "down");
    checks(w.h, "++");                               /* 9 s later */
    EXPECT_CSTR(state_of(w.h, 0), "ejected");
    now += 21 * SEC - 1;
    EXPECT_EQ(share(w.h, 0), 0);
    now += 1;
    EXPECT_EQ(share(w.h, 0), 100);
    EXPECT_CSTR(state_of(w.h, 0), "ramping");
    checks(w.h, "---");
    now += 3600 * SEC;
    EXPECT_CSTR(state_of(w.h, 0), "down");
    EXPECT_EQ(share(w.h, 0), 0);
    checks(w.h, "++");
    EXPECT_EQ(share(w.h, 0), 100);
    world_fini(&w);
}

/* ---- reload ---- */

TEST(a_reload_keeps_the_state)
{
    struct world a, b;
    world_init(&a, 2, "");
    bads(a.h, 0, 5);
    bads(a.h, 1, 4);
    now += SEC;
    world_again(&b, 3, ", eject: {base: 1s}");           /* one endpoint more */
    EXPECT_CSTR(state_of(b.h, 0), "ejected");
    EXPECT_CSTR(state_of(b.h, 2), "up");
    world_close(&a);
    EXPECT_CSTR(state_of(b.h, 0), "ejected");
    now += 29 * SEC - 1;
    EXPECT_CSTR(state_of(b.h, 0), "ejected");            /* for as long as was said then */
    now += 1;
    EXPECT_CSTR(state_of(b.h, 0), "ramping");
    bad(b.h, 1);
    EXPECT_CSTR(state_of(b.h, 1), "ejected");            /* the fifth */
    now += SEC;
    EXPECT_CSTR(state_of(b.h, 1), "ramping");
    world_fini(&b);
}

TEST(what_nobody_names_any_more_is_forgotten)
{
    struct world a, b;
    world_init(&a, 2, "");
    bads(a.h, 1, 5);
    world_again(&b, 1, "");
    world_close(&a);
    world_again(&a, 2, "");
    EXPECT_CSTR(state_of(a.h, 1), "up");
    world_close(&a);
    world_fini(&b);
}

/* Nobody would bring them back. */
TEST(a_reload_without_checks_or_ejection_brings_back)
{
    struct world a, b;
    world_init(&a, 3, ", health: {path: /}");
    checks(a.h, "---");
    bads(a.h, 1, 5);
    world_again(&b, 3, ", health: {path: /other}");
    EXPECT_CSTR(state_of(b.h, 0), "down");
    world_close(&b);
    world_again(&b, 3, "");
    EXPECT_CSTR(state_of(b.h, 0), "ramping");
    EXPECT_EQ(share(b.h, 0), 100);
    bads(b.h, 1, 5);
    EXPECT_CSTR(state_of(b.h, 1), "ejected");
    world_close(&a);
    world_again(&a, 3, ", eject: {share: 0%}");
    EXPECT_CSTR(state_of(a.h, 1), "ramping");
    world_close(&a);
    world_fini(&b);
}

/* ---- what is said ---- */

struct capture { int old, fd; char line[2000]; };

static void capture_begin(struct capture *c)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds))
        abort();
    log_set_level(LOG_INFO);
    c->old = dup(STDERR_FILENO);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    c->fd = fds[0];
}

static const char *capture_next(struct capture *c)
{
    ssize_t n = recv(c->fd, c->line, sizeof c->line - 1, MSG_DONTWAIT);
    if (n <= 0)
        return "";
    c->line[n - 1] = '\0';
    return c->line + 28;
}

static void capture_end(struct capture *c)
{
    EXPECT_CSTR(capture_next(c), "");
    dup2(c->old, STDERR_FILENO);
    close(c->old);
    close(c->fd);
}

TEST(one_line_for_each_transition_with_its_cause)
{
    struct world w;
    struct capture c;
    world_init(&w, 4, ", health: {path: /}");
    capture_begin(&c);
    bads(w.h, 0, 4);
    report_of(w.h, 0, 0, (struct outcome){.by = BY_DEADLINE, .reason = REASON_connect_timeout});
    EXPECT_CSTR(capture_next(&c), "warn health: api: http://10.0.0.1: ejected for 30.000 s, time 1 in a row: 5 failures in a "
                "row, the last: connect_timeout");
    bads(w.h, 0, 4);
    now += 30 * SEC;
    for (unsigned i = 0; i < 3; i++)
        share(w.h, 0);
    EXPECT_CSTR(capture_next(&c), "info health: api: http://10.0.0.1: back from its ejection, whole again in 10.000 s");
    mixed(w.h, 20, 10);
    EXPECT_CSTR(capture_next(&c), "warn health: api: http://10.0.0.1: ejected for 60.000 s, time 2 in a row: 10 of 20 requests "
                "failed, the last: 500");
    checks(w.h, "----");
    EXPECT_CSTR(capture_next(&c), "warn health: api: http://10.0.0.1: down: 3 checks in a row failed, the last: 500");
    checks(w.h, "+++");
    EXPECT_CSTR(capture_next(&c), "info health: api: http://10.0.0.1: up: 2 checks in a row passed, whole again in 64.000 s");
    now += 100 * SEC;
    share(w.h, 0);
    EXPECT_CSTR(capture_next(&c), "info health: api: http://10.0.0.1: back from its ejection, whole again in 10.000 s");
    for (unsigned i = 0; i < 3; i++)
        health_checked(w.h, 0, REASON_first_byte_timeout, 0, now);
    EXPECT_CSTR(capture_next(&c), "warn health: api: http://10.0.0.1: down: 3 checks in a row failed, the last: "
                "first_byte_timeout");
    checks(w.h, "++");
    EXPECT_CSTR(capture_next(&c), "info health: api: http://10.0.0.1: up: 2 checks in a row passed, whole again in 10.000 s");
    share(w.h, 0);
    capture_end(&c);
    world_fini(&w);
}

static const char *page_text(struct page *p) { return p->at ? p->at : ""; }

TEST(the_page)
{
    struct world w;
    struct healths all;
    struct page p = {0};
    world_init(&w, 4, ", health: {path: /}, balance: round_robin");
    healths_open(&all, w.snap, now);
    bads(w.h, 1, 5);
    now += 1500 * NSEC_PER_MSEC + 1;
    checks(w.h, "+---");
    health_in_flight(w.h->v[2], 0, 1);
    health_in_flight(w.h->v[2], 9, 1);
    health_in_flight(w.h->v[2], 3, 1);
    health_in_flight(w.h->v[2], 4, -1);
    health_addresses(w.h->v[3], 0);
    healths_json(&all, now, &p);
    EXPECT_CSTR(page_text(&p),
        "{\"upstreams\":[\n{\"name\":\"api\",\"balance\":\"round_robin\",\"endpoints\":[\n"
        "  {\"url\":\"http://10.0.0.1\",\"addresses\":1,\"state\":\"down\",\"share\":0.000,\"in_flight\":0,\"ejections\":0,"
        "\"since_ms\":0,\"back_in_ms\":null,\"last_failure\":\"500\",\"checks\":{\"ok\":1,\"failed\":3}},\n"
        "  {\"url\":\"http://10.0.0.2\",\"addresses\":1,\"state\":\"ejected\",\"share\":0.000,\"in_flight\":0,\"ejections\":1,"
        "\"since_ms\":5500,\"back_in_ms\":24500,\"last_failure\":\"503\",\"checks\":{\"ok\":0,\"failed\":0}},\n"
        "  {\"url\":\"http://10.0.0.3\",\"addresses\":1,\"state\":\"up\",\"share\":1.000,\"in_flight\":2,\"ejections\":0,"
        "\"since_ms\":5500,\"back_in_ms\":null,\"last_failure\":null,\"checks\":{\"ok\":0,\"failed\":0}},\n"
        "  {\"url\":\"http://10.0.0.4\",\"addresses\":0,\"state\":\"unresolved\",\"share\":0.000,\"in_flight\":0,\"ejections\":0,"
        "\"since_ms\":5500,\"back_in_ms\":null,\"last_failure\":null,\"checks\":{\"ok\":0,\"failed\":0}}\n]}\n]}\n");
    page_free(&p);
    now += 26 * SEC;
    healths_metrics(&all, now, &p);
    EXPECT_CSTR(page_text(&p),
        "# HELP weir_upstream_endpoints Endpoints of an upstream, by state.\n# TYPE weir_upstream_endpoints gauge\n"
        "weir_upstream_endpoints{upstream=\"api\",state=\"up\"} 1\n"
        "weir_upstream_endpoints{upstream=\"api\",state=\"ramping\"} 1\n"
        "weir_upstream_endpoints{upstream=\"api\",state=\"ejected\"} 0\n"
        "weir_upstream_endpoints{upstream=\"api\",state=\"down\"} 1\n"
        "weir_upstream_endpoints{upstream=\"api\",state=\"unresolved\"} 1\n"
        "# HELP weir_upstream_ejections_total Times that an endpoint was ejected because requests failed.\n"
        "# TYPE weir_upstream_ejections_total counter\nweir_upstream_ejections_total{upstream=\"api\"} 1\n"
        "# HELP weir_upstream_checks_total Checks of endpoints, by result.\n# TYPE weir_upstream_checks_total counter\n"
        "weir_upstream_checks_total{upstream=\"api\",result=\"ok\"} 1\n"
        "weir_upstream_checks_total{upstream=\"api\",result=\"failed\"} 3\n"
        "# HELP weir_upstream_tls_unverified Whether certificates of https endpoints are taken unseen.\n"
        "# TYPE weir_upstream_tls_unverified gauge\n");
    page_free(&p);
    healths_close(&all);
    world_fini(&w);
}

TEST(the_page_of_nothing_and_without_checks)
{
    struct world w;
    struct healths all = {NULL, 0};
    struct page p = {0};
    world_init(&w, 1, "");
    healths_json(&all, now, &p);
    EXPECT_CSTR(page_text(&p), "{\"upstreams\":[]}\n");
    page_free(&p);
    healths_open(&all, w.snap, now);
    now += SEC;
    bad(w.h, 0);                                     /* never ejected, and yet seen */
    healths_json(&all, now, &p);
    EXPECT_CSTR(page_text(&p),
        "{\"upstreams\":[\n{\"name\":\"api\",\"balance\":\"least_requests\",\"endpoints\":[\n"
        "  {\"url\":\"http://10.0.0.1\",\"addresses\":1,\"state\":\"up\",\"share\":1.000,\"in_flight\":0,\"ejections\":0,"
        "\"since_ms\":1000,\"back_in_ms\":null,\"last_failure\":\"503\",\"checks\":null}\n]}\n]}\n");
    page_free(&p);
    healths_close(&all);
    world_fini(&w);
}

/* ---- threads ---- */

enum { THREADS = 2, ROUNDS = 20000 };

struct racer {
    struct health *h;
    unsigned worker;
    size_t most;
    _Atomic unsigned *arrived;
};

/* All go on at the same moment, as near as can be: a barrier that sleeps would let them go one by one. */
static void meet(_Atomic unsigned *arrived, unsigned round)
{
    atomic_fetch_add(arrived, 1);
    for (unsigned i = 0; atomic_load(arrived) < round * THREADS; i++)
        if (i > 1000)
            sched_yield();
}

/* In each round two endpoints of three fail for the fifth time at once. An ejection is over when the next round begins. */
static void *race(void *arg)
{
    struct racer *r = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t at = START + (uint64_t)i * SEC;
        struct outcome out = {.by = BY_UPSTREAM, .status = 503, .started = at, .ended = at};
        size_t mine = (i + r->worker) % 3, seen = 0;
        health_in_flight(r->h->v[mine], r->worker, 1);
        for (unsigned k = 0; k < 4; k++)
            health_report(r->h, mine, r->worker, &out);
        meet(r->arrived, 2 * i + 1);
        health_report(r->h, mine, r->worker, &out);
        for (size_t k = 0; k < 3; k++)
            seen += health_share(r->h, k, at) == 0;
        r->most = seen > r->most ? seen : r->most;
        health_in_flight(r->h->v[mine], (r->worker + 1) % THREADS, -1);
        meet(r->arrived, 2 * i + 2);
    }
    return NULL;
}

TEST(threads_never_eject_more_than_half)
{
    struct world w;
    pthread_t threads[THREADS];
    struct racer racers[THREADS];
    _Atomic unsigned arrived = 0;
    uint64_t in_flight = 0, ejections = 0;
    world_init(&w, 3, ", eject: {ratio: 0%, base: 1s, max: 1s}");
    for (unsigned i = 0; i < THREADS; i++) {
        racers[i] = (struct racer){health_open(set, w.h->conf, now), i, 0, &arrived};
        pthread_create(&threads[i], NULL, race, &racers[i]);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        EXPECT(racers[i].most <= 1);
        health_close(&racers[i].h);
    }
    now = START + ROUNDS * SEC;
    for (size_t i = 0; i < 3; i++) {
        struct health_seen seen;
        health_look(w.h, i, now, &seen);
        in_flight += seen.in_flight;
        ejections += seen.ejections;
    }
    EXPECT_EQ(in_flight, 0);
    EXPECT(ejections > ROUNDS / 4 && ejections <= ROUNDS);
    world_fini(&w);
}

/* One goes down and comes up by checks while others eject: in the end nobody is lost. */
static void *fail_on(void *arg)
{
    struct racer *r = arg;
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t at = START + (uint64_t)i * 10 * NSEC_PER_MSEC;
        struct outcome out = {.by = BY_UPSTREAM, .status = i % 64 ? 503 : 200, .started = at, .ended = at};
        health_report(r->h, i / 8 % 2, r->worker, &out);
        health_share(r->h, i % 2, at);
    }
    return NULL;
}

TEST(checks_and_ejections_at_once)
{
    struct world w;
    pthread_t threads[2];
    struct racer racers[2];
    world_init(&w, 2, ", eject: {base: 20ms, max: 20ms}, health: {path: /}, slow_start: 10ms");
    for (unsigned i = 0; i < 2; i++) {
        racers[i] = (struct racer){health_open(set, w.h->conf, now), i, 0, NULL};
        pthread_create(&threads[i], NULL, fail_on, &racers[i]);
    }
    for (unsigned i = 0; i < 300; i++) {
        now = START + i * 100 * NSEC_PER_MSEC;
        for (const char *c = "---++"; *c; c++)
            health_checked(w.h, 0, REASON_none, *c == '+' ? 200 : 500, now);
    }
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        health_close(&racers[i].h);
    }
    now = START + 3600 * SEC;
    EXPECT_CSTR(state_of(w.h, 0), "up");
    EXPECT_CSTR(state_of(w.h, 1), "up");
    world_fini(&w);
}
