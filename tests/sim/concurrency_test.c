/* SPDX-License-Identifier: Apache-2.0 */
/* A limit of concurrent requests, as callers and the endpoint see it: who enters, who waits, what the refused are told. */
#include "concurrency_sim.h"

#include "lib/histogram.h"

#define TWO LIMITED("{concurrency: {max: 2, queue: 3, max_wait: 5s}}")
#define CLOSED "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"

/* Of a refusal: what the client is told to wait; 0: nothing. */
static unsigned long long told_ms(const struct sim_conn *c)
{
    const char *at = c->got ? strstr(c->got, "retry-after-ms: ") : NULL;
    return at ? strtoull(at + 16, NULL, 10) : 0;
}

static void expect_refused(const struct sim_conn *c, int status, const char *reason)
{
    char line[80];
    snprintf(line, sizeof line, "HTTP/1.1 %d ", status);
    if (!sim_has(c, line))
        EXPECT_STR(sim_text(c), line);
    snprintf(line, sizeof line, "\"reason\":\"%s\"", reason);
    if (!sim_has(c, line))
        EXPECT_STR(sim_text(c), line);
    EXPECT_HAS(c, "Retry-After: ");
    EXPECT(told_ms(c) > 0);
}

TEST(as_many_as_may_be_are_at_the_upstream)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        test_row("%u workers", workers);
        struct sim *s = start(TWO, workers);
        struct sim_conn *c[6];
        for (unsigned i = 0; i < 6; i++)
            c[i] = ask(s, i);
        EXPECT_EQ(busy(s), 2);
        EXPECT_EQ(in_flight(s), 2);
        EXPECT_EQ(waiting(s), 3);
        expect_refused(c[5], 503, "queue_full");
        EXPECT_HAS(c[5], "\"policy\":\"upstream api concurrency\"");
        for (unsigned i = 0; i < 5; i++) {
            EXPECT_EQ(busy(s), i < 4 ? 2 : 1);
            answer(busy_one(s));
        }
        for (unsigned i = 0; i < 5; i++)
            EXPECT(is_served(c[i]));
        EXPECT_EQ(figure(s, "concurrency_entered_total", NULL), 5);
        EXPECT_EQ(figure(s, "concurrency_queued_total", NULL), 3);
        EXPECT_EQ(refused(s, "queue_full"), 1);
        EXPECT_EQ(figure(s, "concurrency_max", NULL), 2);
        EXPECT_EQ(figure(s, "concurrency_keys", NULL), 1);
        expect_all_slots(s, 2);
        SIM_END(s);
    }
}

TEST(first_come_first_served_whatever_the_worker)
{
    struct sim *s = start(LIMITED("{concurrency: {max: 1, queue: 8}}"), 3);
    for (unsigned i = 0; i < 8; i++) {
        char path[8];
        snprintf(path, sizeof path, "/%u", i);
        ask_with(s, i * 2, path, "");
    }
    for (unsigned i = 0; i < 8; i++) {
        char path[8];
        snprintf(path, sizeof path, "/%u", i);
        answer(busy_with(s, path));
    }
    SIM_END(s);
}

TEST(without_a_queue_the_refusal_comes_at_once)
{
    struct sim *s = start(LIMITED("{concurrency: {max: 1, queue: 0}}"), 2);
    struct sim_conn *c = ask(s, 0), *d = ask(s, 1);
    expect_refused(d, 503, "queue_full");
    EXPECT_EQ(figure(s, "concurrency_queued_total", NULL), 0);
    answer(busy_one(s));
    EXPECT(is_served(c));
    sim_say(d, GET);
    answer(busy_one(s));
    EXPECT(is_served(d));
    SIM_END(s);
}

TEST(max_wait_is_kept_to_the_nanosecond)
{
    for (unsigned workers = 1; workers <= 2; workers++) {
        struct sim *s = start(LIMITED("{concurrency: {max: 1, max_wait: 1500ms}}"), workers);
        ask(s, 0);
        sim_advance(s, 7);
        struct sim_conn *c = ask(s, 1);
        sim_advance(s, 1500 * MSEC - 1);
        EXPECT(!is_answered(c));
        EXPECT_EQ(waiting(s), 1);
        sim_advance(s, 1);
        expect_refused(c, 503, "queue_timeout");
        EXPECT_EQ(waiting(s), 0);
        EXPECT_EQ(refused(s, "queue_timeout"), 1);
        SIM_END(s);
    }
}

TEST(the_slot_that_comes_at_the_last_moment_is_taken)
{
    struct sim *s = start(LIMITED("{concurrency: {max: 1, max_wait: 1500ms}}"), 2);
    ask(s, 0);
    struct sim_conn *c = ask(s, 1), *u = busy_one(s);
    sim_advance(s, 1500 * MSEC - 1);
    clock_advance(&s->clock, 1);
    sim_clear(u);
    sim_say(u, OK);                              /* the same turn as the end of its patience */
    answer(busy_one(s));
    EXPECT(is_served(c));
    EXPECT_EQ(refused(s, "queue_timeout"), 0);
    SIM_END(s);
}

TEST(the_deadline_ends_the_wait_too)
{
    struct sim *s = start(UPSTREAM("{concurrency: {max: 1, max_wait: 30s}}")
                          "routes: [{match: /, upstream: api, timeout: 50s}, {match: /soon, upstream: api, timeout: 3s}]\n", 2);
    struct sim_conn *first = ask(s, 0), *c = ask_with(s, 1, "/soon", "");
    sim_advance(s, 3 * SEC - 1);
    EXPECT_EQ(waiting(s), 1);
    sim_advance(s, 1);
    EXPECT_HAS(c, "HTTP/1.1 504 ");
    EXPECT_HAS(c, "\"reason\":\"total_timeout\"");
    EXPECT_EQ(waiting(s), 0);
    answer(busy_one(s));
    EXPECT(is_served(first));
    SIM_END(s);
}

/* Who had to wait is in one row: got a slot, or the reason why not. */
TEST(each_who_waited_is_counted_once)
{
    struct sim *s = start(UPSTREAM("{concurrency: {max: 1, queue: 4, max_wait: 4s}}")
                          "routes: [{match: /, upstream: api, timeout: 50s}, {match: /soon, upstream: api, timeout: 3s}]\n", 2);
    ask(s, 0);
    struct sim_conn *gone = ask(s, 1), *cut = ask(s, 1);
    ask_with(s, 1, "/soon", "");
    struct sim_conn *served = ask(s, 0);
    EXPECT_EQ(waiting(s), 4);
    sim_fin(gone);
    sim_reset(cut);
    sim_run(s);
    EXPECT_EQ(refused(s, "left"), 2);
    sim_advance(s, 3 * SEC);
    EXPECT_EQ(refused(s, "total_timeout"), 1);
    answer(busy_one(s));
    struct sim_conn *late = ask(s, 0);
    EXPECT_EQ(waiting(s), 1);
    sim_advance(s, 4 * SEC);
    expect_refused(late, 503, "queue_timeout");
    answer(busy_one(s));
    EXPECT(is_served(served));
    EXPECT_EQ(refused(s, "queue_timeout"), 1);
    EXPECT_EQ(refused(s, "left"), 2);
    EXPECT_EQ(refused(s, "total_timeout"), 1);
    EXPECT_EQ(figure(s, "concurrency_queued_total", NULL), 5);
    EXPECT_EQ(figure(s, "concurrency_entered_total", NULL), 2);
    SIM_END(s);
}

/* The slot is there and so is the wake-up, but the request's time is over: nothing is sent for nobody. */
TEST(the_deadline_is_looked_at_again_on_leaving_the_queue)
{
    struct sim *s = start(UPSTREAM("{concurrency: {max: 1, max_wait: 30s}}")
                          "routes: [{match: /, upstream: api, timeout: 50s}, {match: /soon, upstream: api, timeout: 3s}]\n", 2);
    ask(s, 0);
    struct sim_conn *c = ask_with(s, 1, "/soon", ""), *u = busy_one(s);
    sim_advance(s, 3 * SEC - 1);
    clock_advance(&s->clock, 1);
    sim_clear(u);
    sim_say(u, OK);
    EXPECT_HAS(c, "HTTP/1.1 504 ");
    EXPECT_HAS(c, "\"reason\":\"total_timeout\"");
    EXPECT_EQ(busy(s), 0);
    EXPECT_EQ(in_flight(s), 0);
    EXPECT_EQ(refused(s, "total_timeout"), 1);
    EXPECT_EQ(refused(s, "queue_timeout"), 0);
    SIM_END(s);
}

/* Of those who waited and got a slot: not of those who need not wait, nor of those who waited in vain. */
TEST(how_long_they_waited)
{
    struct sim *s = start(LIMITED("{concurrency: {max: 1, max_wait: 5s}}"), 2);
    const struct instance *in = limiter_of(s, NULL);
    union figure_value v[32];
    unsigned n = 0;
    ask(s, 0);
    ask(s, 1);
    sim_advance(s, 30 * MSEC);
    answer(busy_one(s));
    ask(s, 0);
    sim_advance(s, 5 * SEC);
    answer(busy_one(s));
    EXPECT_EQ(refused(s, "queue_timeout"), 1);
    in->type->figures_read(in->shared, in->options, clock_mono(&s->clock), v);
    while (strcmp(in->type->figures[n].name, "concurrency_wait_seconds") != 0)
        n++;
    EXPECT_EQ(v[n].histogram->sum, 30 * MSEC);
    for (unsigned i = 0; i <= HISTOGRAM_BUCKETS; i++)
        EXPECT_EQ(v[n].histogram->n[i], i == histogram_bucket(30 * MSEC));
    SIM_END(s);
}

/* ---- what holds a slot, and for how long ---- */

TEST(a_slow_client_holds_no_slot_once_the_upstream_is_done)
{
    struct sim *s = start(LIMITED("{concurrency: {max: 1}}"), 1);
    s->client_window = 10;
    struct sim_conn *c = sim_client(s);
    c->stalled = true;
    sim_say(c, GET);
    struct sim_conn *u = busy_one(s);
    sim_clear(u);
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
    EXPECT_EQ(in_flight(s), 1);
    sim_say(u, "k");
    EXPECT_EQ(in_flight(s), 0);
    struct sim_conn *d = ask(s, 0);
    answer(busy_one(s));
    EXPECT(is_served(d));
    c->stalled = false;
    sim_run(s);
    EXPECT_GOT(c, OK);
    SIM_END(s);
}

TEST(a_stream_holds_it_to_its_last_byte)
{
    struct sim *s = start(LIMITED("{concurrency: {max: 1, max_wait: 100s}}"), 2);
    struct sim_conn *c = ask(s, 0), *u = busy_one(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 20; i++) {
        sim_advance(s, 20 * SEC);
        sim_say(u, "1\r\nx\r\n");
        EXPECT_EQ(in_flight(s), 1);
    }
    EXPECT_EQ(busy(s), 1);
    sim_say(u, "0\r\n\r\n");
    EXPECT_EQ(in_flight(s), 0);
    EXPECT_HAS(c, "\r\n0\r\n\r\n");
    SIM_END(s);
}

TEST(a_slot_is_free_during_the_pause_before_another_attempt)
{
    PLAY(ACT("u", "head", FILTER_RETRY, .not_before = 4 * SEC));
    struct sim *s = sim_new_with(&(struct sim_conf){.filters = filters, .workers = 2,
        .yaml = LIMITED("{concurrency: {max: 1, max_wait: 5s}}, {actor: {id: u}}")});
    struct sim_conn *c = ask_with(s, 0, "/again", "");
    sim_say(busy_one(s), CLOSED);
    EXPECT(!is_answered(c));
    EXPECT_EQ(in_flight(s), 0);
    sim_advance(s, 2 * SEC);
    struct sim_conn *d = ask_with(s, 1, "/other", "");
    EXPECT(busy_with(s, "/other") != NULL);
    EXPECT_EQ(in_flight(s), 1);
    sim_advance(s, 2 * SEC);                     /* the second attempt finds it taken, and waits like any other */
    EXPECT_EQ(waiting(s), 1);
    EXPECT_EQ(busy(s), 1);
    answer(busy_with(s, "/other"));
    EXPECT(is_served(d));
    answer(busy_with(s, "/again"));
    EXPECT(is_served(c));
    EXPECT_EQ(figure(s, "concurrency_entered_total", NULL), 3);
    PLAY_END(s);
}

/* An answer in hand is not given up for a refusal: what the filters' own words say of another attempt. */
TEST(a_retry_that_would_be_refused_is_not_begun)
{
    static const struct { const char *name, *options; uint64_t pause; unsigned waiting; bool again; } rows[] = {
        {"nobody waits", "max: 1, queue: 1", SEC, 0, true},
        {"nobody may wait, and the slot is its own", "max: 1, queue: 0", SEC, 0, true},
        {"a place is left", "max: 1, queue: 2", SEC, 1, true},
        {"no place is left", "max: 1, queue: 1", SEC, 1, false},
        {"its own slot makes room, and it comes at once", "max: 1, queue: 1", 0, 1, true},
        {"it would wait too long", "max: 1, queue: 9, max_wait: 2s", SEC, 3, false},
        {"it would wait as long as it may", "max: 1, queue: 9, max_wait: 2s", SEC, 2, true},
        {"its own slot serves one, and it comes at once", "max: 1, queue: 9, max_wait: 2s", 0, 3, true},
        {"the deadline is before the end of the wait", "max: 1, queue: 9, max_wait: 9s", 18500 * MSEC, 2, false},
        {"each key for itself", "max: 1, queue: 1, key: client_ip", SEC, 1, false},
        {"two slots for a caller, one is free", "max: 2, queue: 0, key: client_ip", SEC, 0, true},
        {"in shadow it refuses nobody", "max: 1, queue: 0, mode: shadow", SEC, 0, true},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        char yaml[600];
        struct sim_conn *others[4];
        test_row("%s", rows[i].name);
        PLAY_NOTHING();
        snprintf(yaml, sizeof yaml, LIMITED("{concurrency: {%s}}, {actor: {id: u}}"), rows[i].options);
        struct sim *s = start(yaml, 1);
        struct sim_conn *c = ask_with(s, 0, "/first", "");
        sim_advance(s, SEC);
        answer(busy_one(s));                     /* so long a slot is held */
        sim_clear(c);
        PLAY(ACT("u", "head", FILTER_RETRY, .not_before = rows[i].pause));
        sim_say(c, "GET /again HTTP/1.1\r\nHost: h\r\n\r\n");
        for (unsigned k = 0; k < rows[i].waiting; k++)
            others[k] = ask_with(s, 0, "/other", "");
        sim_say(busy_with(s, "/again"), CLOSED);
        sim_run(s);
        EXPECT_EQ(is_answered(c), !rows[i].again);
        if (!rows[i].again)
            EXPECT_HAS(c, "HTTP/1.1 503 Busy");
        EXPECT_EQ(figure(s, "concurrency_queued_total", NULL), rows[i].waiting + (rows[i].again && rows[i].pause == 0));
        for (unsigned k = 0; k < rows[i].waiting; k++)
            sim_reset(others[k]);
        PLAY_NOTHING();
        SIM_END(s);
    }
}

TEST(another_leg_holds_no_slot_of_the_first)
{
    PLAY(ACT("u", "head", FILTER_FAILOVER, .failover = "spare"));
    struct sim *s = sim_new_with(&(struct sim_conf){.filters = filters, .yaml =
        SIM_HEAD "upstreams:\n"
        "  api: {endpoints: [\"http://127.0.0.1:81\"], filters: [{concurrency: {max: 1}}, {actor: {id: u}}]}\n"
        "  spare: {endpoints: [\"http://127.0.0.1:82\"]}\n"
        "routes: [{match: /, upstream: api}]\n"});
    struct sim_conn *c = ask(s, 0);
    sim_say(busy_one(s), CLOSED);
    EXPECT_EQ(in_flight(s), 0);
    EXPECT_EQ(busy(s), 1);
    answer(busy_one(s));
    EXPECT(is_served(c));
    PLAY_END(s);
}

static void remove_key(struct call *c) { http_head_remove(request_head(c->req), STR("x-key")); }

/* The fallback's queue is asked before its upstream is entered, for the caller that it will see. */
TEST(a_fallback_that_is_full_is_not_taken)
{
    struct sim *s = start(SIM_HEAD "upstreams:\n"
        "  api: {endpoints: [\"http://127.0.0.1:81\"], filters: [{actor: {id: u}}]}\n"
        "  spare: {endpoints: [\"http://127.0.0.1:82\"], filters: [{concurrency: {max: 1, queue: 0, key: \"header:x-key\"}}]}\n"
        "routes: [{match: /, upstream: api, fallback: spare}, {match: /spare, upstream: spare}]\n", 1);
    PLAY(ACT("u", "request", FILTER_NEXT, .run = remove_key, .always = true), ACT("u", "head", FILTER_FAILOVER, .always = true));
    ask_with(s, 0, "/spare", "x-key: a\r\n");
    struct sim_conn *a = ask_with(s, 0, "/a", "x-key: a\r\n"), *b = ask_with(s, 0, "/b", "x-key: b\r\n");
    EXPECT_HASNT(busy_with(s, "/a"), "x-key");
    sim_say(busy_with(s, "/a"), CLOSED);
    EXPECT_HAS(a, "HTTP/1.1 503 Busy\r\n");
    sim_say(busy_with(s, "/b"), CLOSED);
    EXPECT(!is_answered(b));
    EXPECT_HAS(busy_with(s, "/b"), "x-key: b\r\n");
    answer(busy_with(s, "/b"));
    EXPECT(is_served(b));
    PLAY_NOTHING();
    SIM_END(s);
}

TEST(two_upstreams_that_name_one_instance_share_its_slots)
{
    struct sim *s = start(SIM_HEAD
        "define: {both: {concurrency: {max: 2}}}\n"
        "upstreams:\n"
        "  a: {endpoints: [\"http://127.0.0.1:81\"], filters: [both]}\n"
        "  b: {endpoints: [\"http://127.0.0.1:82\"], filters: [both]}\n"
        "routes: [{match: /a, upstream: a}, {match: /b, upstream: b}]\n", 2);
    for (unsigned i = 0; i < 6; i++)
        ask_with(s, i / 2, i % 2 ? "/a" : "/b", "");
    EXPECT_EQ(busy(s), 2);
    EXPECT_EQ(waiting(s), 4);
    EXPECT_EQ(answer_all(s), 6);
    SIM_END(s);
}

/* ---- a limit for each key ---- */

#define KEYED LIMITED("{concurrency: {max: 2, queue: 1, max_wait: 5s, key: \"header:x-api-key\"}}")
#define KEY_A "X-Api-Key: a\r\n"
#define KEY_B "X-Api-Key: b\r\n"

TEST(each_key_has_its_own_slots_and_queue)
{
    struct sim *s = start(KEYED, 2);
    struct sim_conn *a[4], *b[2], *none;
    for (unsigned i = 0; i < 4; i++)
        a[i] = ask_with(s, i, "/a", KEY_A);
    expect_refused(a[3], 429, "concurrency_limited");
    EXPECT_HAS(a[3], "as many requests under way and waiting as it may");
    for (unsigned i = 0; i < 2; i++)
        b[i] = ask_with(s, i, "/b", KEY_B);
    none = ask(s, 0);                            /* who has no key is known by his address */
    EXPECT_EQ(busy(s), 5);
    EXPECT_EQ(in_flight(s), 5);
    EXPECT_EQ(waiting(s), 1);
    EXPECT_EQ(figure(s, "concurrency_keys", NULL), 3);
    sim_advance(s, 5 * SEC);
    expect_refused(a[2], 429, "concurrency_limited");
    EXPECT_HAS(a[2], "took longer than this one could wait");
    answer_all(s);
    EXPECT(is_served(a[0]) && is_served(a[1]) && is_served(b[0]) && is_served(b[1]) && is_served(none));
    EXPECT_EQ(figure(s, "concurrency_keys", NULL), 0);
    EXPECT_EQ(in_flight(s), 0);
    SIM_END(s);
}

TEST(a_key_that_cannot_be_read_in_one_way)
{
    static const char *const rows[] = {
        KEYED, LIMITED("{concurrency: {max: 2, fair_by: \"header:x-api-key\"}}"),
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct sim *s = start(rows[i], 1);
        struct sim_conn *c = ask_with(s, 0, "/", KEY_A KEY_B);
        EXPECT_HAS(c, "HTTP/1.1 400 ");
        EXPECT_HAS(c, "\"reason\":\"ambiguous_key\"");
        EXPECT_EQ(busy(s), 0);
        EXPECT_EQ(in_flight(s), 0);
        EXPECT_EQ(refused(s, "ambiguous_key"), 1);
        SIM_END(s);
    }
}

static bool printed(struct sim *s, const struct str *values, size_t n, char *out, size_t cap)
{
    const struct instance *in = limiter_of(s, NULL);
    struct page page = {0};
    bool some = in->type->key_print(in->shared, in->options, values, n, clock_mono(&s->clock), &page);
    snprintf(out, cap, "%s", page.at ? page.at : "");
    page_free(&page);
    return some;
}

TEST(what_is_under_way_for_one_key)
{
    struct sim *s = start(LIMITED("{concurrency: {max: 2, key: [\"header:x-a + header:x-b\", \"header:x-a\"]}}"), 2);
    const struct str two[] = {STR("1"), STR("2")}, ip[] = {STR("192.0.2.1")}, one[] = {STR("1")};
    char got[400];
    for (unsigned i = 0; i < 3; i++)
        ask_with(s, i, "/", "X-A: 1\r\nX-B: 2\r\n");
    ask_with(s, 1, "/", "X-A: 1\r\n");
    ask(s, 0);
    EXPECT(printed(s, two, 2, got, sizeof got));
    EXPECT_CSTR(got, ",\"key\":[{\"by\":\"header:x-a + header:x-b\",\"in_flight\":2,\"waiting\":1,\"max\":2}]");
    EXPECT(printed(s, one, 1, got, sizeof got));
    EXPECT_CSTR(got, ",\"key\":[{\"by\":\"header:x-a\",\"in_flight\":1,\"waiting\":0,\"max\":2}]");
    EXPECT(printed(s, ip, 1, got, sizeof got));
    EXPECT_CSTR(got, ",\"key\":[{\"by\":\"header:x-a\",\"in_flight\":0,\"waiting\":0,\"max\":2},"
                "{\"by\":\"client_ip\",\"in_flight\":1,\"waiting\":0,\"max\":2}]");
    EXPECT(!printed(s, two, 0, got, sizeof got));
    EXPECT_CSTR(got, "");
    answer_all(s);
    SIM_END(s);
    s = start(LIMITED("{concurrency: {max: 2, key: client_ip}}"), 1);
    ask(s, 0);
    EXPECT(printed(s, ip, 1, got, sizeof got));
    EXPECT_CSTR(got, ",\"key\":[{\"by\":\"client_ip\",\"in_flight\":1,\"waiting\":0,\"max\":2}]");
    SIM_END(s);
    s = start(TWO, 1);
    EXPECT(!printed(s, ip, 1, got, sizeof got));
    EXPECT(!printed(s, ip, 0, got, sizeof got));
    SIM_END(s);
}

/* ---- shadow ---- */

TEST(in_shadow_nobody_waits_and_nobody_is_refused)
{
    static const struct { const char *yaml; unsigned queued, full, ambiguous; } rows[] = {
        {LIMITED("{concurrency: {max: 2, mode: shadow}}"), 3, 0, 0},
        {LIMITED("{concurrency: {max: 2, queue: 0, mode: shadow}}"), 0, 3, 0},
        {LIMITED("{concurrency: {max: 2, fair_by: \"header:x-api-key\", mode: shadow}}"), 0, 0, 5},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        struct sim *s = start(rows[i].yaml, 2);
        for (unsigned k = 0; k < 5; k++)
            ask_with(s, k, "/", KEY_A KEY_B);
        EXPECT_EQ(busy(s), 5);
        EXPECT_EQ(in_flight(s), rows[i].ambiguous ? 0 : 2);
        EXPECT_EQ(waiting(s), 0);
        EXPECT_EQ(figure(s, "concurrency_entered_total", NULL), rows[i].ambiguous ? 0 : 2);
        EXPECT_EQ(figure(s, "concurrency_queued_total", NULL), rows[i].queued);
        EXPECT_EQ(refused(s, "queue_full"), rows[i].full);
        EXPECT_EQ(refused(s, "ambiguous_key"), rows[i].ambiguous);
        EXPECT_EQ(answer_all(s), 5);
        EXPECT_EQ(in_flight(s), 0);
        SIM_END(s);
    }
}

/* ---- reload ---- */

#define MAX(N, MORE) LIMITED("{concurrency: {max: " #N ", max_wait: 15s" MORE "}}")

TEST(a_lower_max_cuts_nobody)
{
    struct sim *s = start(MAX(4, ""), 2);
    struct sim_conn *c[6];
    for (unsigned i = 0; i < 6; i++)
        c[i] = ask(s, i);
    EXPECT_EQ(busy(s), 4);
    sim_reload(s, MAX(2, ""));
    EXPECT_EQ(busy(s), 4);
    EXPECT_EQ(figure(s, "concurrency_max", NULL), 2);
    for (unsigned left = 4; left > 2; left--) {
        EXPECT_EQ(in_flight(s), left);
        answer(busy_one(s));
        EXPECT_EQ(waiting(s), 2);
    }
    answer(busy_one(s));
    EXPECT_EQ(waiting(s), 1);
    EXPECT_EQ(busy(s), 2);
    answer_all(s);
    for (unsigned i = 0; i < 6; i++)
        EXPECT(is_served(c[i]));
    expect_all_slots(s, 2);
    SIM_END(s);
}

TEST(a_higher_max_lets_in_who_waits)
{
    struct sim *s = start(MAX(1, ""), 3);
    for (unsigned i = 0; i < 6; i++)
        ask(s, i);
    EXPECT_EQ(waiting(s), 5);
    sim_reload(s, MAX(4, ""));
    EXPECT_EQ(busy(s), 4);
    EXPECT_EQ(waiting(s), 2);
    EXPECT_EQ(answer_all(s), 6);
    expect_all_slots(s, 4);
    SIM_END(s);
}

TEST(each_key_follows_the_new_rule)
{
    struct sim *s = start(MAX(1, ", key: \"header:x-api-key\""), 3);
    for (unsigned i = 0; i < 8; i++)
        ask_with(s, i, "/", i % 2 ? KEY_A : KEY_B);
    EXPECT_EQ(busy(s), 2);
    sim_reload(s, MAX(3, ", key: \"header:x-api-key\""));
    EXPECT_EQ(busy(s), 6);
    EXPECT_EQ(waiting(s), 2);
    EXPECT_EQ(answer_all(s), 8);
    expect_all_slots(s, 3);
    SIM_END(s);
}

/* A max for all and one for each key are two things: who waits for the one that is gone does so by its own. */
TEST(what_drains_keeps_its_rule)
{
    static const struct { const char *from, *to; unsigned in; } rows[] = {
        {MAX(4, ""), MAX(1, ", key: \"header:x-api-key\""), 4},
        {MAX(2, ", key: \"header:x-api-key\""), MAX(100, ""), 2},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%s", rows[i].to);
        struct sim *s = start(rows[i].from, 2);
        struct sim_conn *c[8];
        for (unsigned k = 0; k < 8; k++)
            c[k] = ask_with(s, k, "/", KEY_A);
        EXPECT_EQ(busy(s), rows[i].in);
        sim_reload(s, rows[i].to);
        for (unsigned left = 8; left > rows[i].in; left--) {
            EXPECT_EQ(busy(s), rows[i].in);
            EXPECT_EQ(waiting(s), left - rows[i].in);
            answer(busy_one(s));
        }
        answer_all(s);
        for (unsigned k = 0; k < 8; k++)
            EXPECT(is_served(c[k]));
        SIM_END(s);
    }
}

TEST(a_shorter_queue_puts_nobody_out)
{
    struct sim *s = start(MAX(1, ", queue: 4"), 2);
    struct sim_conn *c[5];
    for (unsigned i = 0; i < 5; i++)
        c[i] = ask(s, i);
    sim_reload(s, MAX(1, ", queue: 2"));
    EXPECT_EQ(waiting(s), 4);
    expect_refused(ask(s, 0), 503, "queue_full");
    answer_all(s);
    for (unsigned i = 0; i < 5; i++)
        EXPECT(is_served(c[i]));
    expect_all_slots(s, 1);
    SIM_END(s);
}

/* Callers are told apart anew; whoever was let in or waits by the old rule goes on, and gives back what he holds. */
TEST(a_key_comes_and_goes)
{
    static const char *const keyed = MAX(2, ", key: \"header:x-api-key\"");
    static const char *const plain = MAX(2, "");
    for (unsigned first = 0; first < 2; first++) {
        struct sim *s = start(first ? keyed : plain, 2);
        struct sim_conn *c[10];
        for (unsigned i = 0; i < 3; i++)
            c[i] = ask_with(s, i, "/", KEY_A);
        sim_reload(s, first ? plain : keyed);
        EXPECT_EQ(in_flight(s), 2);
        EXPECT_EQ(waiting(s), 1);
        for (unsigned i = 3; i < 6; i++)
            c[i] = ask_with(s, i, "/", KEY_A);
        EXPECT_EQ(in_flight(s), 4);
        EXPECT_EQ(waiting(s), 2);
        sim_reload(s, first ? keyed : plain);
        answer_all(s);
        for (unsigned i = 0; i < 6; i++)
            EXPECT(is_served(c[i]));
        expect_all_slots(s, 2);
        SIM_END(s);
    }
}

TEST(a_reload_that_changes_what_is_fair)
{
    struct sim *s = start(MAX(1, ", fair_by: \"header:x-api-key\""), 2);
    for (unsigned i = 0; i < 4; i++)
        ask_with(s, i, "/", i % 2 ? KEY_A : KEY_B);
    sim_reload(s, MAX(1, ", fair_by: client_ip"));
    ask_with(s, 0, "/", KEY_A);
    sim_reload(s, MAX(1, ""));
    ask_with(s, 0, "/", KEY_A);
    EXPECT_EQ(answer_all(s), 6);
    expect_all_slots(s, 1);
    SIM_END(s);
}

TEST(the_filter_itself_goes_while_some_wait)
{
    struct sim *s = start(MAX(1, ""), 2);
    struct sim_conn *c[3];
    for (unsigned i = 0; i < 3; i++)
        c[i] = ask(s, i);
    sim_reload(s, SIM_PLAIN);
    EXPECT_EQ(busy(s), 1);
    EXPECT_EQ(answer_all(s), 3);
    for (unsigned i = 0; i < 3; i++)
        EXPECT(is_served(c[i]));
    SIM_END(s);
}
