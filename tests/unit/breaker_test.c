/* SPDX-License-Identifier: Apache-2.0 */
/* The filter with a stand-in for the request: its options, what it logs and counts, and the table of endpoints. Ends of
 * real attempts are seen in tests/sim/breaker_test.c. */
#include "diag_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include "conf/load.h"
#include "conf/field.h"
#include "figure.h"
#include "filter.h"
#include "filters/breaker_endpoints.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/page.h"
#include "lib/rng.h"
#include "reply.h"
#include "request.h"

extern const struct filter filter_breaker;

static const struct filter *const type = &filter_breaker;

#define SEC NSEC_PER_SEC
#define MSEC NSEC_PER_MSEC
#define T0 (1000 * SEC)

/* ---- what the core would do ---- */

struct lease { void (*give_back)(void *, uint64_t); void *thing; };
struct request { struct str url; struct lease lease; };

uint64_t request_deadline(const struct request *r) { return (void)r, TIME_NEVER; }
struct str request_endpoint(const struct request *r, size_t at) { return (void)at, r->url; }
size_t request_endpoint_in_use(const struct request *r, size_t from) { return (void)r, from == 0 ? 0 : SIZE_MAX; }

void reply_reason(struct request *r, struct reply *reply, enum reason reason, struct str detail)
{
    (void)r;
    *reply = (struct reply){.status = reason_status(reason), .reason = reason, .detail = detail, .problem = true};
}

struct lease *lease_take(struct call *c, enum scope scope, void (*give_back)(void *thing, uint64_t now), void *thing)
{
    EXPECT_EQ(scope, SCOPE_ATTEMPT);
    EXPECT(c->req->lease.give_back == NULL);
    c->req->lease = (struct lease){give_back, thing};
    return &c->req->lease;
}

void lease_end(struct lease **l, uint64_t now)
{
    (*l)->give_back((*l)->thing, now);
    (*l)->give_back = NULL;
    *l = NULL;
}

/* ---- an instance ---- */

struct instance_of {
    struct arena arena;
    void *options, *shared;
    uint64_t now;
    struct rng rng;
    struct str url;
    bool shadow;
    uint64_t retry_after;                /* of the last refusal; 0: it was let in */
};

static int options_read(struct arena *arena, const char *yaml, void **options, struct err *err)
{
    struct load load = {.arena = arena, .name = STR("guard")};

    *options = arena_zalloc(arena, type->options_size);
    return options_from(type, yaml, *options, &load, err);
}

static void adopt(struct instance_of *b, const char *yaml, bool fresh)
{
    struct err err;
    if (!EXPECT_EQ(options_read(&b->arena, yaml, &b->options, &err), 0))
        printf("%s\n", err.text);
    type->shared_adopt(b->shared, b->options, fresh, b->now);
}

static void begin(struct instance_of *b, const char *yaml)
{
    *b = (struct instance_of){.now = T0, .url = STR("http://a:80"), .shared = mem_zalloc(type->shared_size)};
    arena_init(&b->arena, NULL);
    rng_seed(&b->rng, 1);
    adopt(b, yaml, true);
}

static void end(struct instance_of *b)
{
    type->shared_fini(b->shared);
    mem_free(b->shared);
    arena_fini(&b->arena);
}

/* One attempt that ends like that. */
static void attempt(struct instance_of *b, int status, enum reason reason, uint64_t takes)
{
    struct request r = {.url = b->url};
    struct reply reply = {.status = 0};
    char leg[64] = {0}, state[200] = {0};
    struct call call = {.req = &r, .name = STR("guard"), .options = b->options, .shared = b->shared, .state = leg,
                        .attempt_state = state, .now = b->now, .rng = &b->rng, .shadow = b->shadow, .reply = &reply};
    struct outcome out = {.by = BY_UPSTREAM, .reason = reason, .status = status, .endpoint = SIZE_MAX};
    check(type->state_size <= sizeof leg && type->attempt_size <= sizeof state);
    b->retry_after = 0;
    if (type->on_attempt(&call) == FILTER_REPLY) {
        EXPECT_EQ(reply.reason, REASON_breaker_open);
        b->retry_after = reply.retry_after;
        out.by = BY_US;
        out.reason = REASON_breaker_open;
        out.status = 0;
    } else if (type->on_endpoint(&call, 3) == FILTER_FAIL) {
        EXPECT_EQ(call.reason, REASON_breaker_open);
        b->retry_after = 1;
        out.reason = REASON_no_endpoint;
        out.status = 0;
    } else {
        out.endpoint = 3;
        b->now = call.now += takes;
        out.first_byte = status ? b->now : 0;
    }
    if (r.lease.give_back)
        r.lease.give_back(r.lease.thing, b->now);
    type->on_attempt_end(&call, &out);
}

static void attempts(struct instance_of *b, unsigned n, int status)
{
    while (n-- > 0)
        attempt(b, status, REASON_none, 0);
}

static uint64_t figure(const struct instance_of *b, const char *name, const char *label)
{
    union figure_value v[32];
    type->figures_read(b->shared, b->options, b->now, v);
    for (size_t i = 0; type->figures[i].name; i++)
        if (!strcmp(type->figures[i].name, name) && (!label || !strcmp(type->figures[i].value, label)))
            return v[i].n;
    check(false);
}

/* ---- options ---- */

TEST(what_may_be_written)
{
    static const char *const rows[] = {
        "{}", "{window: 1s, open: 200ms..500ms, ramp: 500ms}", "{errors: 0.01%, min_requests: 1, window: 100ms}",
        "{errors: 100%, min_requests: 1000000, window: 1h, open: 1h..1h, ramp: 1h}", "{ramp: 0s}", "{scope: upstream}",
        "{scope: endpoint, slow: {over: 10s, ratio: 80%}}", "{open: 5s..5s}", "{slow: {over: 1ms, ratio: 100%}}",
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct arena arena;
        struct err err;
        void *options;
        test_row("%s", rows[i]);
        arena_init(&arena, NULL);
        if (!EXPECT_EQ(options_read(&arena, rows[i], &options, &err), 0))
            printf("%s\n", err.text);
        arena_fini(&arena);
    }
}

TEST(what_may_not)
{
    static const struct { const char *yaml, *error; } rows[] = {
        {"{errors: 0%}", "errors: 0% is out of bounds; 0.01% to 100%"},
        {"{errors: 101%}", "errors: 101% is out of bounds; 0.01% to 100%"},
        {"{errors: 50}", "errors: \"50\" has no unit"},
        {"{min_requests: 0}", "min_requests: 0 is out of bounds; 1 to 1000000"},
        {"{min_requests: 1000001}", "min_requests: 1000001 is out of bounds"},
        {"{window: 99ms}", "window: 99ms is out of bounds; 100ms to 1h"},
        {"{window: 0s}", "window: 0s is out of bounds"},
        {"{window: 61m}", "window: 61m is out of bounds"},
        {"{window: 10}", "has no unit"},
        {"{open: 5s}", "open: \"5s\""},
        {"{open: 60s..5s}", "open: \"60s..5s\""},
        {"{open: 0s..5s}", "open: 0s..5s is out of bounds; 1ms to 1h"},
        {"{open: 5s..61m}", "open: 5s..61m is out of bounds"},
        {"{ramp: 61m}", "ramp: 61m is too large; at most 1h"},
        {"{slow: {over: 1s}}", "ratio is missing"},
        {"{slow: {ratio: 50%}}", "over is missing"},
        {"{slow: {}}", "over is missing"},
        {"{slow: 1s}", "slow: must be a mapping"},
        {"{slow: {over: 0s, ratio: 50%}}", "over: 0s is out of bounds; 1ms to 1h"},
        {"{slow: {over: 1s, ratio: 0%}}", "ratio: 0% is out of bounds; 0.01% to 100%"},
        {"{scope: route}", "scope: \"route\" is not one of upstream, endpoint"},
        {"{error: 50%}", "unknown key \"error\"; did you mean \"errors\"?"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct arena arena;
        struct err err;
        void *options;
        test_row("%s", rows[i].yaml);
        arena_init(&arena, NULL);
        EXPECT_EQ(options_read(&arena, rows[i].yaml, &options, &err), -1);
        if (!EXPECT(strstr(err.text, rows[i].error) != NULL))
            printf("%s\n", err.text);
        arena_fini(&arena);
    }
}

/* POLICY: 50 % of at least 20 in 10 s; open for 5 s; a ramp of 10 s; nothing is slow. */
TEST(the_defaults)
{
    struct instance_of b;
    begin(&b, "{}");
    attempts(&b, 10, 200);
    attempts(&b, 9, 500);
    EXPECT_EQ(figure(&b, "breaker_state", NULL), BREAKER_CLOSED);
    attempts(&b, 1, 500);
    EXPECT_EQ(figure(&b, "breaker_state", NULL), BREAKER_OPEN);
    attempts(&b, 1, 200);
    EXPECT(b.retry_after >= 4 * SEC && b.retry_after <= 6 * SEC);
    b.now += 6 * SEC;
    attempts(&b, 5, 200);
    EXPECT_EQ(figure(&b, "breaker_state", NULL), BREAKER_RAMPING);
    b.now += 10 * SEC - 1;
    EXPECT_EQ(figure(&b, "breaker_state", NULL), BREAKER_RAMPING);
    b.now += 1;
    EXPECT_EQ(figure(&b, "breaker_state", NULL), BREAKER_CLOSED);
    EXPECT_EQ(figure(&b, "breaker_outcomes_total", "slow"), 0);
    end(&b);
}

/* ---- the log ---- */

/* What was said on stderr since hear(), without the times before each line. */
static int heard_before;
static FILE *heard_file;

static void hear(void)
{
    heard_file = tmpfile();
    heard_before = dup(STDERR_FILENO);
    fflush(stderr);
    dup2(fileno(heard_file), STDERR_FILENO);
}

static void heard(char *out, size_t cap)
{
    char line[500];
    size_t n = 0;
    dup2(heard_before, STDERR_FILENO);
    close(heard_before);
    rewind(heard_file);
    out[0] = '\0';
    while (fgets(line, (int)sizeof line, heard_file) && n < cap)
        n += (size_t)snprintf(out + n, cap - n, "%s", strchr(line, ' ') + 1);
    fclose(heard_file);
}

#define HEARD(text)                        \
    do {                                   \
        char heard_[2000];                 \
        heard(heard_, sizeof heard_);      \
        EXPECT_CSTR(heard_, text);         \
    } while (0)

TEST(one_line_a_transition)
{
    struct instance_of b;
    begin(&b, "{min_requests: 4, open: 5ms..8ms, ramp: 2s}");
    hear();
    attempts(&b, 2, 200);
    attempt(&b, 503, REASON_none, 0);
    attempt(&b, 0, REASON_connect_failed, 0);
    attempts(&b, 20, 200);
    HEARD("warn breaker: guard: open for 6 ms: of 4 attempts 2 failed (connect_failed, 503)\n");
    hear();
    b.now += 6 * MSEC;
    attempt(&b, 200, REASON_upstream_cut, 0);
    HEARD("info breaker: guard: half open: probes are let in\n"
          "warn breaker: guard: open for 9 ms: of 1 probes 1 failed (upstream_cut, connect_failed, 503)\n");
    hear();
    b.now += 10 * MSEC;
    attempts(&b, 5, 200);
    HEARD("info breaker: guard: half open: probes are let in\n"
          "info breaker: guard: closed: 5 probes were answered; all are let in again within 2000 ms\n");
    end(&b);
}

TEST(lines_of_slow_ones_of_endpoints_and_of_shadow)
{
    struct instance_of b;
    begin(&b, "{min_requests: 4, open: 5ms..5ms, ramp: 0s, scope: endpoint, slow: {over: 1s, ratio: 50%}}");
    b.shadow = true;
    hear();
    attempts(&b, 2, 200);
    attempt(&b, 200, REASON_none, SEC + 1);
    attempt(&b, 204, REASON_none, 2 * SEC);
    b.now += 6 * MSEC;
    attempts(&b, 5, 200);
    HEARD("warn breaker: guard: http://a:80: open for 6 ms: of 4 attempts 0 failed, 2 were slow (204, 200) (mode: shadow)\n"
          "info breaker: guard: http://a:80: half open: probes are let in (mode: shadow)\n"
          "info breaker: guard: http://a:80: closed: 5 probes were answered, 0 of them slowly; all are let in again "
          "within 0 ms (mode: shadow)\n");
    EXPECT_EQ(figure(&b, "breaker_outcomes_total", "slow"), 2);
    end(&b);
}

TEST(lines_of_an_operator)
{
    struct instance_of b;
    begin(&b, "{}");
    hear();
    EXPECT(type->command(b.shared, b.options, STR("open"), b.now));
    EXPECT(type->command(b.shared, b.options, STR("closed"), b.now));
    EXPECT(type->command(b.shared, b.options, STR("auto"), b.now));
    EXPECT(!type->command(b.shared, b.options, STR("Open"), b.now));
    EXPECT(!type->command(b.shared, b.options, STR("openx"), b.now));
    EXPECT(!type->command(b.shared, b.options, STR(""), b.now));
    HEARD("info breaker: guard: held open by an operator\n"
          "info breaker: guard: held closed by an operator\n"
          "info breaker: guard: no longer held by an operator\n");
    EXPECT_EQ(figure(&b, "breaker_transitions_total", "open"), 1);
    EXPECT_EQ(figure(&b, "breaker_transitions_total", "closed"), 1);
    EXPECT_EQ(figure(&b, "breaker_transitions_total", "half_open"), 0);
    end(&b);
}

/* ---- figures and keys ---- */

TEST(rows_and_values_of_its_figures)
{
    static const char *const names[] = {
        "breaker_state", "breaker_forced", "breaker_not_closed", "breaker_probes", "breaker_transitions_total",
        "breaker_transitions_total", "breaker_transitions_total", "breaker_refused_total", "breaker_outcomes_total",
        "breaker_outcomes_total", "breaker_outcomes_total", "breaker_outcomes_total", "breaker_outcomes_total",
        "breaker_unguarded_total",
    };
    struct instance_of b;
    union figure_value v[array_len(names)];
    begin(&b, "{}");
    log_set_level(LOG_ERROR);
    attempts(&b, 3, 200);
    attempts(&b, 2, 404);
    attempts(&b, 1, 429);
    attempts(&b, 17, 500);
    attempts(&b, 5, 200);
    type->figures_read(b.shared, b.options, b.now, v);
    static const uint64_t values[array_len(names)] = {2, 0, 1, 0, 1, 0, 0, 5, 3, 17, 0, 2, 1, 0};
    for (size_t i = 0; i < array_len(names); i++) {
        test_row("%zu", i);
        EXPECT_CSTR(type->figures[i].name, names[i]);
        EXPECT_EQ(v[i].n, values[i]);
    }
    EXPECT(type->figures[array_len(names)].name == NULL);
    log_set_level(LOG_INFO);
    end(&b);
}

static void key_is(struct instance_of *b, const char *url, const char *text)
{
    struct page page = {0};
    struct str values[] = {str_c(url), STR("x")};
    bool known = type->key_print(b->shared, b->options, values, 1, b->now, &page);
    EXPECT_CSTR(known ? page.at : "", text);
    page.len = 0;
    EXPECT(!type->key_print(b->shared, b->options, values, 2, b->now, &page));
    EXPECT(!type->key_print(b->shared, b->options, values, 0, b->now, &page));
    EXPECT_EQ(page.len, 0);
    page_free(&page);
}

TEST(the_key_is_an_endpoint)
{
    struct instance_of b;
    begin(&b, "{}");
    log_set_level(LOG_ERROR);
    attempts(&b, 1, 200);
    key_is(&b, "http://a:80", "");
    adopt(&b, "{scope: endpoint, min_requests: 3, open: 1s..1s}", false);
    attempts(&b, 1, 200);
    attempts(&b, 1, 500);
    key_is(&b, "http://a:80", ",\"key\":[{\"by\":\"endpoint\",\"state\":\"closed\",\"forced\":\"auto\",\"requests\":2,"
           "\"failures\":1,\"slow\":0,\"probes\":0,\"wait_ms\":0}]");
    key_is(&b, "http://b:80", "");
    EXPECT(type->command(b.shared, b.options, STR("open"), b.now));
    key_is(&b, "http://a:80", ",\"key\":[{\"by\":\"endpoint\",\"state\":\"open\",\"forced\":\"open\",\"requests\":2,"
           "\"failures\":1,\"slow\":0,\"probes\":0,\"wait_ms\":1000}]");
    attempts(&b, 1, 200);
    EXPECT_EQ(b.retry_after, SEC);
    log_set_level(LOG_INFO);
    end(&b);
}

TEST(endpoints_beyond_the_table_are_not_guarded)
{
    struct instance_of b;
    char url[40];
    begin(&b, "{scope: endpoint, min_requests: 1}");
    log_set_level(LOG_ERROR);
    for (unsigned i = 0; i < BREAKER_ENDPOINTS_MAX + 3; i++) {
        snprintf(url, sizeof url, "http://e%u:80", i);
        b.url = str_c(url);
        attempts(&b, 2, 500);
        EXPECT_EQ(b.retry_after != 0, i < BREAKER_ENDPOINTS_MAX);
    }
    EXPECT_EQ(figure(&b, "breaker_unguarded_total", NULL), 6);
    EXPECT_EQ(figure(&b, "breaker_not_closed", NULL), BREAKER_ENDPOINTS_MAX);
    EXPECT_EQ(figure(&b, "breaker_transitions_total", "open"), BREAKER_ENDPOINTS_MAX);
    EXPECT_EQ(figure(&b, "breaker_outcomes_total", "failure"), BREAKER_ENDPOINTS_MAX + 6);
    log_set_level(LOG_INFO);
    end(&b);
}

/* ---- the table ---- */

TEST(each_endpoint_has_its_own_and_keeps_it)
{
    enum { N = 300 };
    struct breaker_endpoint *all[N];
    struct breaker_endpoints *e = breaker_endpoints_new(BREAKER_AUTO);
    char url[40];
    for (unsigned i = 0; i < N; i++) {
        struct str s = str_of(url, (size_t)snprintf(url, sizeof url, "http://10.0.0.%u:80", i));
        EXPECT(breaker_endpoints_find(e, s) == NULL);
        all[i] = breaker_endpoints_get(e, s);
        EXPECT_STR(all[i]->url, url);
    }
    for (unsigned i = 0; i < N; i++) {
        struct str s = str_of(url, (size_t)snprintf(url, sizeof url, "http://10.0.0.%u:80", i));
        EXPECT(breaker_endpoints_get(e, s) == all[i]);
        EXPECT(breaker_endpoints_find(e, s) == all[i]);
        s.len--;
        EXPECT(breaker_endpoints_find(e, s) == NULL);
    }
    size_t at = 0, n = 0;
    while (breaker_endpoints_next(e, &at))
        n++;
    EXPECT_EQ(n, N);
    breaker_endpoints_free(e);
    breaker_endpoints_free(NULL);
}

static enum breaker_hold hold_of(const struct breaker_endpoint *e)
{
    static const struct breaker_rule rule = {.window = SEC, .open_min = 1, .open_max = 1};
    struct breaker_view v;
    breaker_state_view(&e->state, &rule, T0, &v);
    return v.hold;
}

TEST(held_are_those_that_are_and_those_to_come)
{
    struct breaker_endpoints *e = breaker_endpoints_new(BREAKER_HELD_CLOSED);
    EXPECT_EQ(hold_of(breaker_endpoints_get(e, STR("a"))), BREAKER_HELD_CLOSED);
    breaker_endpoints_hold(e, BREAKER_HELD_OPEN, T0);
    EXPECT_EQ(hold_of(breaker_endpoints_get(e, STR("a"))), BREAKER_HELD_OPEN);
    EXPECT_EQ(hold_of(breaker_endpoints_get(e, STR("b"))), BREAKER_HELD_OPEN);
    breaker_endpoints_hold(e, BREAKER_AUTO, T0);
    EXPECT_EQ(hold_of(breaker_endpoints_get(e, STR("b"))), BREAKER_AUTO);
    EXPECT_EQ(hold_of(breaker_endpoints_get(e, STR("c"))), BREAKER_AUTO);
    breaker_endpoints_free(e);
}

enum { THREADS = 4, URLS = 100, TABLES = 30 };

struct seeker {
    struct breaker_endpoints *e;
    _Atomic unsigned *ready;
    struct breaker_endpoint *found[URLS];
};

/* All of them look for the same one at the same time. */
static void *seeker_works(void *arg)
{
    struct seeker *s = arg;
    char url[40];
    atomic_fetch_add(s->ready, 1);
    while (atomic_load(s->ready) < THREADS) {
    }
    for (unsigned k = 0; k < 2 * URLS; k++) {
        unsigned i = k % URLS;
        struct str name = str_of(url, (size_t)snprintf(url, sizeof url, "http://%u", i));
        struct breaker_endpoint *e = breaker_endpoints_get(s->e, name);
        EXPECT(!s->found[i] || s->found[i] == e);
        s->found[i] = e;
    }
    return NULL;
}

static void seek(struct seeker seekers[THREADS])
{
    struct breaker_endpoints *e = breaker_endpoints_new(BREAKER_AUTO);
    pthread_t threads[THREADS];
    _Atomic unsigned ready = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        seekers[i] = (struct seeker){.e = e, .ready = &ready};
        pthread_create(&threads[i], NULL, seeker_works, &seekers[i]);
    }
    for (unsigned i = 0; i < 20; i++)
        breaker_endpoints_hold(e, i % 2 ? BREAKER_AUTO : BREAKER_HELD_OPEN, T0);
    breaker_endpoints_hold(e, BREAKER_HELD_CLOSED, T0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < URLS; i++) {
        for (unsigned k = 1; k < THREADS; k++)
            EXPECT(seekers[k].found[i] == seekers[0].found[i]);
        EXPECT_EQ(hold_of(seekers[0].found[i]), BREAKER_HELD_CLOSED);
    }
    breaker_endpoints_free(e);
}

TEST(threads_find_the_same_ones)
{
    struct seeker *seekers = mem_array(THREADS, sizeof *seekers);
    for (unsigned i = 0; i < TABLES; i++)
        seek(seekers);
    mem_free(seekers);
}
