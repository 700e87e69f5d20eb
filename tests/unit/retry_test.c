/* SPDX-License-Identifier: Apache-2.0 */
/* The filter by itself, with a stand-in for the request; in a whole gateway it is seen in tests/sim/retry_filter_test.c. */
#include "diag_fixture.h"

#include "conf/field.h"
#include "conf/load.h"
#include "conf/snapshot.h"
#include "figure.h"
#include "filter.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/rng.h"
#include "request.h"

extern const struct filter filter_retry;

static const struct filter *const type = &filter_retry;

#define SEC   NSEC_PER_SEC
#define MSEC  NSEC_PER_MSEC
#define START (1000 * SEC)

/* ---- what the core would do ---- */

struct request {
    struct arena arena;
    struct http_head head, *resp;
    uint64_t deadline;
    unsigned attempts;
    bool safe, kept, endpoint_left, picked;
    enum reason note;
    struct lease *lease;
};

struct lease { struct request *req; void (*give_back)(void *, uint64_t); void *thing; };

struct arena *request_arena(struct request *r) { return &r->arena; }
struct http_head *request_head(struct request *r) { return &r->head; }
struct http_head *response_head(struct request *r) { return r->resp; }
uint64_t request_deadline(const struct request *r) { return r->deadline; }
uint64_t request_wall(const struct request *r) { return (void)r, 0; }
unsigned request_attempts(const struct request *r) { return r->attempts; }
bool request_safe_to_repeat(const struct request *r) { return r->safe; }
bool request_body_kept(const struct request *r) { return r->kept; }
bool request_endpoint_left(const struct request *r) { return r->endpoint_left; }
bool request_endpoint_picked(const struct request *r) { return r->picked; }
void request_note(struct request *r, enum reason note) { r->note = note; }
struct str request_endpoint(const struct request *r, size_t e) { return (void)r, (void)e, STR("http://a:1"); }

struct lease *lease_take(struct call *call, enum scope scope, void (*give_back)(void *, uint64_t), void *thing)
{
    struct lease *l = arena_alloc(&call->req->arena, sizeof *l);
    EXPECT(scope == SCOPE_LEG && !call->req->lease);
    *l = (struct lease){call->req, give_back, thing};
    return call->req->lease = l;
}

void lease_forget(struct lease **l)
{
    (*l)->req->lease = NULL;
    *l = NULL;
}

void lease_end(struct lease **at, uint64_t now)
{
    struct lease *l = *at;
    lease_forget(at);
    l->give_back(l->thing, now);
}

/* ---- an instance, and a leg that passes it ---- */

struct instance_of {
    struct arena arena;
    void *options, *shared;
    struct rng rng;
};

static int options_read(struct instance_of *t, const char *yaml, struct err *err)
{
    struct snapshot snap = {.refs = 0};
    struct load load = {.arena = &t->arena, .snap = &snap, .name = STR("r")};

    t->options = arena_zalloc(&t->arena, type->options_size);
    return options_from(type, yaml, t->options, &load, err);
}

static void begin(struct instance_of *t, const char *yaml)
{
    struct err err = {.text = ""};
    arena_init(&t->arena, NULL);
    rng_seed(&t->rng, 1);
    if (!EXPECT_EQ(options_read(t, yaml, &err), 0))
        printf("%s\n", err.text);
    t->shared = mem_zalloc(type->shared_size);
    type->shared_adopt(t->shared, t->options, true, START);
}

static void end(struct instance_of *t)
{
    mem_free(t->shared);
    arena_fini(&t->arena);
}

static uint64_t figure(const struct instance_of *t, const char *name, const char *value, uint64_t now)
{
    union figure_value v[20];
    type->figures_read(t->shared, t->options, now, v);
    for (size_t i = 0; type->figures[i].name; i++)
        if (!strcmp(type->figures[i].name, name) && (!value || !strcmp(type->figures[i].value, value)))
            return v[i].n;
    EXPECT_CSTR(name, "a figure");
    return 0;
}

struct leg {
    struct request req;
    struct call call;
    struct http_head resp;
};

static void leg_begin(struct leg *l, struct instance_of *t)
{
    *l = (struct leg){.req = {.deadline = START + 60 * SEC, .safe = true, .kept = true}};
    arena_init(&l->req.arena, NULL);
    l->call = (struct call){.req = &l->req, .name = STR("r"), .options = t->options, .shared = t->shared, .now = START,
                            .rng = &t->rng, .state = arena_zalloc(&l->req.arena, type->state_size)};
}

/* The next attempt is judged. */
static enum verdict judged(struct leg *l, enum reason reason, int status, bool sent)
{
    l->req.attempts++;
    l->resp = (struct http_head){.status = (uint16_t)status};
    l->req.resp = status ? &l->resp : NULL;
    return type->on_head(&l->call, &(struct outcome){.reason = reason, .status = status, .sent = sent, .endpoint = 0});
}

static void leg_end(struct leg *l)
{
    struct lease *left = l->req.lease;
    if (left)
        lease_end(&left, l->call.now);
    arena_fini(&l->req.arena);
}

static uint64_t waited(const struct leg *l) { return l->call.not_before - l->call.now; }

/* ---- options ---- */

TEST(what_may_not)
{
    static const struct { const char *yaml; unsigned col; const char *error; } rows[] = {
        {"{max: 11}", 7, "max: 11 is too large; at most 10"},
        {"{max: -1}", 7, "max: \"-1\" is not a whole number"},
        {"{backoff: 100ms}", 11, "backoff: \"100ms\" is not a range of durations; write it like 100ms..2s"},
        {"{backoff: 2s..100ms}", 11, "backoff: \"2s..100ms\" goes down; the smaller duration comes first"},
        {"{backoff: 0ms..2s}", 11, "backoff: 0ms..2s is out of bounds; 1ms to 1h"},
        {"{backoff: 1s..2h}", 11, "backoff: 1s..2h is out of bounds; 1ms to 1h"},
        {"{jitter: some}", 10, "jitter: \"some\" is not one of full, none"},
        {"{budget: 101%}", 10, "budget: 101% is too large; at most 100%"},
        {"{budget: 10}", 10, "budget: \"10\" has no unit; write it like 10% or 2.5%"},
        {"{when: [connect, 500]}", 18, "when: \"500\" is not one of connect, reset, timeout, 502, 503, 504, 529, 429"},
        {"{when: 5xx}", 8, "when: \"5xx\" is not one of connect, reset, timeout, 502, 503, 504, 529, 429"},
        {"{when: []}", 8, "when: is empty; to switch retries off say max: 0"},
        {"{when: {connect: true}}", 8, "when: must be a list of words, not a mapping"},
        {"{when: [[connect]]}", 9, "when: must be a list of words"},
        {"{body: 65MiB}", 8, "body: 65MiB is too large; at most 64MiB"},
        {"{retries: 2}", 2, "unknown key \"retries\""},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct err err = {.text = ""};
        struct instance_of t;
        test_row("%s", rows[i].yaml);
        arena_init(&t.arena, NULL);
        EXPECT_EQ(options_read(&t, rows[i].yaml, &err), -1);
        EXPECT_CSTR(err.text, rows[i].error);
        EXPECT_EQ(err.col, rows[i].col);
        arena_fini(&t.arena);
    }
}

TEST(how_much_of_a_body_is_kept)
{
    static const struct { const char *yaml; size_t body; } rows[] = {
        {"{}", 256 * 1024}, {"{body: 1MiB}", 1024 * 1024}, {"{body: 0B}", 0}, {"{max: 0}", 0},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct instance_of t;
        test_row("%s", rows[i].yaml);
        begin(&t, rows[i].yaml);
        EXPECT_EQ(type->keep_body_of(t.options), rows[i].body);
        end(&t);
    }
}

TEST(what_loading_warns_of)
{
    static const struct { const char *yaml, *said; } rows[] = {
        {"{}", NULL},
        {"{max: 3, backoff: 1s..59s}", NULL},
        {"{max: 4}", "1:7: max: 4 makes up to 5 tries of a request; with the 3 that client libraries "
                     "make by themselves one call becomes up to 15\n"},
        {"{backoff: 1s..60s}", "1:11: backoff: up to 60s is no less than the 60s that a request has "
                               "in all by default: retries after it are not made\n"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct instance_of t;
        test_row("%s", rows[i].yaml);
        begin(&t, rows[i].yaml);
        EXPECT_CSTR(diags_warned, rows[i].said ? rows[i].said : "");
        end(&t);
    }
}

/* ---- what is tried again ---- */

#define DEFAULT "{}"

TEST(which_failures)
{
    static const struct { const char *yaml; enum reason reason; int status; bool again; const char *cause; } rows[] = {
        {DEFAULT, REASON_connect_failed, 0, true, "connect"},
        {DEFAULT, REASON_connect_timeout, 0, true, "connect"},
        {DEFAULT, REASON_upstream_reset, 0, true, "reset"},
        {DEFAULT, REASON_upstream_cut, 0, true, "reset"},
        {DEFAULT, REASON_upstream_bad, 0, true, "status_5xx"},
        {DEFAULT, REASON_first_byte_timeout, 0, true, "timeout"},
        {DEFAULT, REASON_idle_timeout, 0, true, "timeout"},
        {DEFAULT, REASON_total_timeout, 0, false, NULL},
        {DEFAULT, REASON_no_endpoint, 0, false, NULL},
        {DEFAULT, REASON_unresolved, 0, false, NULL},
        {DEFAULT, REASON_none, 502, true, "status_5xx"},
        {DEFAULT, REASON_none, 503, true, "status_5xx"},
        {DEFAULT, REASON_none, 504, true, "status_5xx"},
        {DEFAULT, REASON_none, 529, true, "status_5xx"},
        {DEFAULT, REASON_none, 429, false, NULL},            /* it does not say when */
        {DEFAULT, REASON_none, 200, false, NULL},
        {DEFAULT, REASON_none, 404, false, NULL},
        {DEFAULT, REASON_none, 500, false, NULL},
        {DEFAULT, REASON_none, 501, false, NULL},
        {DEFAULT, REASON_none, 999, false, NULL},
        {"{when: connect}", REASON_connect_failed, 0, true, "connect"},
        {"{when: connect}", REASON_upstream_reset, 0, false, NULL},
        {"{when: connect}", REASON_none, 503, false, NULL},
        {"{when: [reset]}", REASON_upstream_reset, 0, true, "reset"},
        {"{when: [reset]}", REASON_connect_failed, 0, false, NULL},
        {"{when: [timeout]}", REASON_first_byte_timeout, 0, true, "timeout"},
        {"{when: [timeout]}", REASON_none, 504, false, NULL},
        {"{when: [504]}", REASON_first_byte_timeout, 0, true, "timeout"},
        {"{when: [504]}", REASON_none, 504, true, "status_5xx"},
        {"{when: [502]}", REASON_upstream_bad, 0, true, "status_5xx"},
        {"{when: [502]}", REASON_none, 503, false, NULL},
        {"{when: [503, 529]}", REASON_none, 529, true, "status_5xx"},
        {"{when: [503, 529]}", REASON_first_byte_timeout, 0, false, NULL},
        {"{max: 0}", REASON_none, 503, false, NULL},
    };
    static const char *const causes[] = {"connect", "reset", "timeout", "status_5xx", "status_429"};
    for (size_t i = 0; i < array_len(rows); i++) {
        struct instance_of t;
        struct leg l;
        test_row("%s: %s %d", rows[i].yaml, reason_name(rows[i].reason), rows[i].status);
        begin(&t, rows[i].yaml);
        leg_begin(&l, &t);
        EXPECT_EQ(judged(&l, rows[i].reason, rows[i].status, true) == FILTER_RETRY, rows[i].again);
        EXPECT_EQ(judged(&l, REASON_none, 200, true), FILTER_NEXT);
        leg_end(&l);
        for (size_t k = 0; k < array_len(causes); k++)
            EXPECT_EQ(figure(&t, "retry_attempts_total", causes[k], START), rows[i].again && !strcmp(causes[k], rows[i].cause));
        end(&t);
    }
}

/* ---- the spread of waits ---- */

enum { DRAWS = 10000 };

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The wait before the nth retry, many times; sorted. */
static void draw_waits(struct instance_of *t, unsigned nth, uint64_t *v, const char *fields)
{
    for (unsigned i = 0; i < DRAWS; i++) {
        struct leg l;
        leg_begin(&l, t);
        type->shared_adopt(t->shared, t->options, true, START);      /* its budget is full again */
        for (unsigned k = 0; k < nth; k++) {
            l.req.attempts++;
            l.resp = (struct http_head){.status = 503};
            l.req.resp = &l.resp;
            if (fields)
                http_head_add(&l.resp, &l.req.arena, STR("retry-after"), str_c(fields));
            EXPECT_EQ(type->on_head(&l.call, &(struct outcome){.status = 503, .sent = true}), FILTER_RETRY);
        }
        v[i] = waited(&l);
        leg_end(&l);
    }
    qsort(v, DRAWS, sizeof *v, by_size);
}

/* Uniform on [low, high]: ends, quartiles and mean, within five standard errors of so many draws. */
static void expect_uniform(const uint64_t *v, double low, double high)
{
    double span = high - low, sum = 0;
    for (unsigned i = 0; i < DRAWS; i++)
        sum += (double)v[i];
    EXPECT((double)v[0] >= low && (double)v[0] < low + span * 0.002);
    EXPECT((double)v[DRAWS - 1] <= high && (double)v[DRAWS - 1] > high - span * 0.002);
    for (unsigned q = 1; q <= 3; q++) {
        double want = low + span * q / 4, got = (double)v[DRAWS * q / 4];
        if (!EXPECT(got > want - span * 0.022 && got < want + span * 0.022))
            printf("quartile %u is %.0f, wanted %.0f\n", q, got, want);
    }
    EXPECT(sum / DRAWS > low + span * 0.485 && sum / DRAWS < low + span * 0.515);
}

TEST(full_jitter_is_uniform_below_a_doubling_limit)
{
    static const struct { unsigned nth; double high; } rows[] = {{1, 100e6}, {2, 200e6}, {3, 400e6}, {5, 1600e6}, {6, 2e9},
                                                               {7, 2e9}};
    static uint64_t v[DRAWS];
    struct instance_of t;
    log_set_level(LOG_ERROR);
    begin(&t, "{max: 10}");
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("retry %u", rows[i].nth);
        draw_waits(&t, rows[i].nth, v, NULL);
        expect_uniform(v, 0, rows[i].high);
    }
    end(&t);
}

TEST(what_was_asked_for_and_up_to_a_tenth)
{
    static uint64_t v[DRAWS];
    struct instance_of t;
    begin(&t, "{}");
    draw_waits(&t, 1, v, "10");
    expect_uniform(v, 10e9, 11e9);
    draw_waits(&t, 1, v, "0");           /* at once, but not all of them: the usual jitter */
    expect_uniform(v, 0, 100e6);
    draw_waits(&t, 2, v, "0");
    expect_uniform(v, 0, 200e6);
    draw_waits(&t, 1, v, "59");          /* the deadline is at 60 s: of 5.9 s only 1 s is left to draw from */
    expect_uniform(v, 59e9, 60e9 - 1);
    draw_waits(&t, 1, v, "soon");        /* garbage is not there */
    expect_uniform(v, 0, 100e6);
    end(&t);
}

TEST(without_jitter_each_wait_is_twice_the_one_before)
{
    static const uint64_t want[] = {100, 200, 400, 800, 1600, 2000, 2000};
    struct instance_of t;
    struct leg l;
    begin(&t, "{max: 10, jitter: none}");
    leg_begin(&l, &t);
    for (size_t i = 0; i < array_len(want); i++) {
        EXPECT_EQ(judged(&l, REASON_none, 503, true), FILTER_RETRY);
        EXPECT_EQ(waited(&l), want[i] * MSEC);
    }
    leg_end(&l);
    end(&t);
}

/* ---- when it would be too late ---- */

TEST(the_deadline)
{
    static const struct { const char *after; uint64_t left; bool again; } rows[] = {
        {NULL, 100 * MSEC, false}, {NULL, 100 * MSEC + 1, true}, {"0", 1, true}, {"0", 0, false},
        {"5", 5 * SEC, false}, {"5", 5 * SEC + 1, true}, {"99999999", 60 * SEC, false},
        {"99999999999999999999999", TIME_NEVER, false}, {"59", TIME_NEVER, true}, {"60", TIME_NEVER, false},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct instance_of t;
        struct leg l;
        test_row("%s in %llu", rows[i].after, (unsigned long long)rows[i].left);
        begin(&t, "{jitter: none}");
        leg_begin(&l, &t);
        l.req.deadline = time_after(START, rows[i].left);
        l.req.attempts++;
        l.resp = (struct http_head){.status = 503};
        l.req.resp = &l.resp;
        if (rows[i].after)
            http_head_add(&l.resp, &l.req.arena, STR("Retry-After"), str_c(rows[i].after));
        EXPECT_EQ(type->on_head(&l.call, &(struct outcome){.status = 503, .sent = true}),
                  rows[i].again ? FILTER_RETRY : FILTER_FAILOVER);
        EXPECT(!rows[i].again || l.call.not_before < l.req.deadline);
        EXPECT_EQ(figure(&t, "retry_not_done_total", "deadline", START), !rows[i].again);
        leg_end(&l);
        EXPECT_EQ(figure(&t, "retry_budget_balance", NULL, START), 10);
        end(&t);
    }
}

/* ---- what becomes of a retry that was taken out of the budget ---- */

TEST(a_retry_that_never_began_is_given_back)
{
    static const struct { const char *name; bool begun, picked, judged; size_t endpoint; bool made, answered; } rows[] = {
        {"the client went while it waited", false, true, false, 0, false, false},
        {"the client went while it stood in a queue", true, false, false, 0, false, false},
        {"the client went while it was under way", true, true, false, 0, true, false},
        {"the core would not", false, true, false, 0, false, true},
        {"the queue would not", true, false, false, 0, false, true},
        {"it found no endpoint", true, false, true, SIZE_MAX, false, false},
        {"it was answered", true, true, true, 0, true, true},
        {"another filter answered for it", true, true, false, 0, true, true},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct instance_of t;
        struct leg l;
        test_row("%s", rows[i].name);
        begin(&t, "{budget: 0%}");
        leg_begin(&l, &t);
        EXPECT_EQ(judged(&l, REASON_none, 503, true), FILTER_RETRY);
        EXPECT_EQ(figure(&t, "retry_budget_balance", NULL, START), 9);
        l.req.attempts += rows[i].begun;
        l.req.picked = rows[i].picked;
        if (rows[i].judged)
            EXPECT_EQ(type->on_head(&l.call, &(struct outcome){.reason = REASON_no_endpoint, .endpoint = rows[i].endpoint}),
                      FILTER_NEXT);
        if (rows[i].answered)
            EXPECT_EQ(type->on_response(&l.call), FILTER_NEXT);
        else
            leg_end(&l);
        EXPECT_EQ(figure(&t, "retry_budget_balance", NULL, START), rows[i].made ? 9 : 10);
        EXPECT_EQ(figure(&t, "retry_attempts_total", "status_5xx", START), rows[i].made);
        EXPECT_EQ(figure(&t, "retry_not_done_total", "refused", START), rows[i].answered && !rows[i].made);
        if (rows[i].answered)
            leg_end(&l);
        end(&t);
    }
}

/* A head that is judged twice, because it was held in between, is not paid for twice. */
TEST(the_same_attempt_again)
{
    struct instance_of t;
    struct leg l;
    begin(&t, "{budget: 0%}");
    leg_begin(&l, &t);
    EXPECT_EQ(judged(&l, REASON_none, 503, true), FILTER_RETRY);
    EXPECT_EQ(type->on_head(&l.call, &(struct outcome){.reason = REASON_upstream_reset, .sent = true}), FILTER_NEXT);
    EXPECT_EQ(figure(&t, "retry_budget_balance", NULL, START), 9);
    EXPECT_EQ(type->on_response(&l.call), FILTER_NEXT);      /* the core would not */
    leg_end(&l);
    EXPECT_EQ(figure(&t, "retry_budget_balance", NULL, START), 10);
    EXPECT_EQ(figure(&t, "retry_not_done_total", "refused", START), 1);
    end(&t);
}

TEST(a_reload_keeps_the_budget)
{
    struct instance_of t;
    struct leg l;
    struct err err = {.text = ""};
    begin(&t, "{budget: 0%, max: 1}");
    for (int i = 0; i < 12; i++) {
        leg_begin(&l, &t);
        EXPECT_EQ(judged(&l, REASON_none, 503, true), i < 10 ? FILTER_RETRY : FILTER_FAILOVER);
        EXPECT_EQ(l.req.note, i < 10 ? REASON_none : REASON_retry_budget);
        l.req.attempts++;                            /* it began */
        l.req.picked = true;
        leg_end(&l);
    }
    EXPECT_EQ(figure(&t, "retry_not_done_total", "budget", START), 2);
    EXPECT_EQ(options_read(&t, "{budget: 50%, max: 2}", &err), 0);
    type->shared_adopt(t.shared, t.options, false, START);
    EXPECT_EQ(figure(&t, "retry_budget_balance", NULL, START), 0);
    for (int i = 0; i < 2; i++) {
        leg_begin(&l, &t);
        EXPECT_EQ(judged(&l, REASON_none, 503, true), i == 0 ? FILTER_FAILOVER : FILTER_RETRY);     /* two halves */
        leg_end(&l);
    }
    end(&t);
}

/* It only counts: nothing is taken, noted or asked for. */
TEST(shadow)
{
    struct instance_of t;
    struct leg l;
    begin(&t, "{budget: 0%, max: 1}");
    for (int i = 0; i < 20; i++) {
        leg_begin(&l, &t);
        l.call.shadow = true;
        EXPECT_EQ(judged(&l, REASON_none, 503, true), FILTER_RETRY);
        EXPECT(l.req.lease == NULL);
        EXPECT_EQ(judged(&l, REASON_none, 503, true), FILTER_NEXT);      /* its tries ran out: no fallback either */
        leg_end(&l);
    }
    EXPECT_EQ(figure(&t, "retry_attempts_total", "status_5xx", START), 20);
    EXPECT_EQ(figure(&t, "retry_exhausted_total", NULL, START), 20);
    EXPECT_EQ(figure(&t, "retry_budget_balance", NULL, START), 10);
    for (int i = 0; i < 10; i++) {
        leg_begin(&l, &t);
        EXPECT_EQ(judged(&l, REASON_none, 503, true), FILTER_RETRY);
        l.req.attempts++;
        l.req.picked = true;
        leg_end(&l);
    }
    leg_begin(&l, &t);
    l.call.shadow = true;
    EXPECT_EQ(judged(&l, REASON_none, 503, true), FILTER_NEXT);
    EXPECT_EQ(l.req.note, REASON_none);
    EXPECT_EQ(figure(&t, "retry_not_done_total", "budget", START), 1);
    leg_end(&l);
    end(&t);
}

TEST(clients_that_try_again_by_themselves)
{
    static const struct { const char *value; bool counts; } rows[] = {
        {NULL, false}, {"0", false}, {"1", true}, {"2", true}, {"12", true}, {"", false}, {"-1", false}, {"x", false},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct instance_of t;
        struct leg l;
        test_row("%s", rows[i].value);
        begin(&t, "{}");
        leg_begin(&l, &t);
        if (rows[i].value)
            http_head_add(&l.req.head, &l.req.arena, STR("X-Stainless-Retry-Count"), str_c(rows[i].value));
        judged(&l, REASON_none, 503, true);
        judged(&l, REASON_none, 200, true);
        leg_end(&l);
        EXPECT_EQ(figure(&t, "retry_client_retries_total", NULL, START), rows[i].counts);
        end(&t);
    }
}
