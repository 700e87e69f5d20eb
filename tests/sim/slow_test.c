/* SPDX-License-Identifier: Apache-2.0 */
/* Clients that move too few bytes are let go; those that move enough, however it looks from here, are not. */
#include "test.h"

#include "sim.h"

#define SEC NSEC_PER_SEC
#define YAML(rate)                                                                                                         \
    "version: 1\nlisten: [{at: \"127.0.0.1:8080\", body_timeout: 20s" rate "}]\n"                                           \
    "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], timeouts: {first_byte: 1h, idle: 1h, tunnel: 1h}}}\n"         \
    "routes: [{match: /, upstream: api, timeout: 1h}]\n"
#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"

enum { MIB = 1024 * 1024 };
static char block[MIB];

/* A client whose system holds a MiB for it and tells of room when two thirds are gone, with an answer of 2 MiB begun. */
static struct sim_conn *far_reader(struct sim *s)
{
    s->client_window = MIB;
    struct sim_conn *c = sim_client(s);
    c->end.wake = MIB / 3;
    c->stalled = c->forgetful = true;
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 2097152\r\n\r\n");
    for (int i = 0; i < 2; i++) {
        sim_fill(block, MIB, (uint64_t)i * MIB);
        sim_send_str(u, str_of(block, MIB));
    }
    sim_run(s);
    return c;
}

/* Seconds until it is closed, while it takes `sip` bytes every `every` seconds. */
static unsigned lasts(struct sim *s, struct sim_conn *c, size_t sip, unsigned every, unsigned seconds)
{
    for (unsigned t = 1; t <= seconds; t++) {
        sim_advance(s, SEC);
        if (sim_closed(c))
            return t;
        if (t % every == 0)
            sim_drink(c, sip);
    }
    return 0;
}

TEST(a_steady_reader_behind_a_large_send_buffer)
{
    struct sim *s = sim_new(YAML(""));
    struct sim_conn *c = far_reader(s);
    EXPECT_EQ(lasts(s, c, 10000, 1, 212), 0);
    EXPECT(c->total > 2 * MIB);
    EXPECT_EQ(sim_reasons(s, REASON_none), 1);
    EXPECT_EQ(sim_reasons(s, REASON_client_slow), 0);
    SIM_END(s);
}

/* The kernel has all of it, so weir has nothing to do: yet the connection is not idle. */
static struct sim_conn *kernel_has_all(struct sim *s)
{
    struct sim_conn *c = sim_client(s);
    c->stalled = true;
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n");
    sim_fill(block, MIB, 0);
    sim_send_str(u, str_of(block, MIB));
    sim_run(s);
    EXPECT_EQ(sim_metric(s, METRIC_buffered_bytes), 0);
    EXPECT_EQ(sim_metric(s, METRIC_requests_in_flight), 0);
    return c;
}

TEST(a_steady_reader_of_what_the_kernel_has)
{
    struct sim *s = sim_new(YAML(", keepalive_timeout: 5s"));
    struct sim_conn *c = kernel_has_all(s);
    EXPECT_EQ(lasts(s, c, 10000, 1, 105), 0);
    EXPECT(c->total > MIB && !sim_cut(c));
    EXPECT(lasts(s, c, 0, 1, 26) > 5);       /* idle since, at the latest when it is looked at */
    EXPECT(!sim_cut(c));
    EXPECT_EQ(sim_metric(s, METRIC_slow_readers_total), 0);
    SIM_END(s);
}

TEST(who_does_not_take_what_the_kernel_has)
{
    static const size_t sips[] = {0, 100};
    for (size_t i = 0; i < sizeof sips / sizeof *sips; i++) {
        test_row("%zu a second", sips[i]);
        struct sim *s = sim_new(YAML(", keepalive_timeout: 5s"));
        struct sim_conn *c = kernel_has_all(s);
        unsigned t = lasts(s, c, sips[i], 1, 60);
        EXPECT(t >= 25 && t <= 26);
        EXPECT(sim_cut(c));
        EXPECT_EQ(sim_metric(s, METRIC_slow_readers_total), 1);
        EXPECT_NOTHING_LEFT(s);
        SIM_END(s);
    }
}

TEST(readers_by_their_rate)
{
    static const struct { const char *rule; size_t sip; unsigned every, from, to; } rows[] = {
        {"", 100, 1, 21, 22}, {"", 0, 1, 20, 20}, {"", 510, 1, 0, 0}, {"", 9999, 19, 21, 22}, {"", 10100, 19, 0, 0},
        {", min_rate: 0B", 1, 19, 0, 0}, {", min_rate: 0B", 0, 1, 20, 20}, {", min_rate: 50B", 100, 1, 0, 0},
        {", min_rate: 1MiB", 60000, 1, 21, 22},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%zu", i);
        char yaml[600];
        snprintf(yaml, sizeof yaml, YAML("%s"), rows[i].rule);
        struct sim *s = sim_new(yaml);
        struct sim_conn *c = far_reader(s);
        unsigned t = lasts(s, c, rows[i].sip, rows[i].every, 120);
        EXPECT(t >= rows[i].from && t <= rows[i].to);
        EXPECT_EQ(sim_cut(c), t > 0);
        EXPECT_EQ(sim_metric(s, METRIC_slow_readers_total), t > 0);
        EXPECT_EQ(sim_reasons(s, REASON_client_slow), t > 0);
        if (t > 0)
            EXPECT_NOTHING_LEFT(s);
        SIM_END(s);
    }
}

/* Each event of the socket is a sign of life, but too few bytes are too few. */
TEST(a_reader_whose_events_put_off_the_look)
{
    struct sim *s = sim_new(YAML(""));
    s->client_window = 1000;
    struct sim_conn *c = sim_client(s);
    c->stalled = true;
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n");
    sim_fill(block, MIB, 0);
    sim_send_str(u, str_of(block, MIB));
    unsigned t = 0;
    for (; t < 300 && !sim_closed(c); t++) {
        sim_advance(s, SEC / 10);
        sim_drink(c, 10);
    }
    EXPECT(t >= 210 && t <= 220);
    EXPECT(sim_cut(c) && sim_closed(u));
    SIM_END(s);
}

/* All that it was given is taken now and then, and then it is its turn to send: that gives it no new window to be slow in. */
TEST(a_reader_that_could_send_as_well)
{
    static const struct { const char *rule, *request, *answer; size_t sip; } rows[] = {
        {", min_rate: 5KiB", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc",
         "HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n", 4000},
        {", min_rate: 5KiB", "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
         "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", 4000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%zu", i);
        char yaml[600];
        snprintf(yaml, sizeof yaml, YAML("%s"), rows[i].rule);
        struct sim *s = sim_new(yaml);
        s->client_window = 4096;
        struct sim_conn *c = sim_client(s);
        sim_say(c, rows[i].request);
        struct sim_conn *u = sim_next(s);
        sim_say(u, rows[i].answer);
        c->stalled = c->forgetful = true;
        for (int n = 0; n < 8; n++) {
            sim_fill(block, MIB, (uint64_t)n * MIB);
            sim_send_str(u, str_of(block, MIB));
        }
        sim_run(s);
        for (int n = 0; n < 100; n++)
            sim_drink(c, 2000);
        unsigned t = lasts(s, c, rows[i].sip, 1, 300);
        EXPECT(t >= 20 && t <= 60);
        EXPECT(sim_cut(c));
        EXPECT_EQ(sim_metric(s, METRIC_slow_readers_total), 1);
        EXPECT_NOTHING_LEFT(s);
        SIM_END(s);
    }
}

#define POST "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n"

static void pour(struct sim_conn *c, size_t len)
{
    sim_send_str(c, str_of(block, len));
    sim_run(c->sim);
}

/* Seconds until something is said to it. */
static unsigned pours(struct sim *s, struct sim_conn *c, size_t sip, unsigned every, unsigned seconds)
{
    for (unsigned t = 1; t <= seconds; t++) {
        sim_advance(s, SEC);
        if (sim_text(c).len > 0 || sim_closed(c))
            return t;
        if (t % every == 0)
            pour(c, sip);
    }
    return 0;
}

TEST(bodies_by_their_rate)
{
    static const struct { const char *rule; size_t sip; unsigned every, until; } rows[] = {
        {"", 100, 1, 20}, {"", 499, 1, 20}, {"", 530, 1, 0}, {"", 11000, 19, 0}, {", min_rate: 0B", 1, 19, 0},
        {", min_rate: 1MiB", 5000, 1, 20},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%zu", i);
        char yaml[600];
        snprintf(yaml, sizeof yaml, YAML("%s"), rows[i].rule);
        struct sim *s = sim_new(yaml);
        struct sim_conn *c = sim_client(s);
        sim_say(c, POST);
        struct sim_conn *u = sim_next(s);
        EXPECT_EQ(pours(s, c, rows[i].sip, rows[i].every, 150), rows[i].until);
        if (rows[i].until) {
            EXPECT_HAS(c, "HTTP/1.1 408 Request Timeout\r\n");
            EXPECT_HAS(c, "\"reason\":\"client_slow_body\"");
            EXPECT_HAS(c, "Connection: close\r\n");
            EXPECT(sim_ended(c) && sim_closed(u));
        }
        EXPECT_EQ(sim_metric(s, METRIC_slow_bodies_total), rows[i].until > 0);
        EXPECT_EQ(sim_reasons(s, REASON_client_slow_body), rows[i].until > 0);
        SIM_END(s);
    }
}

/* A burst buys the window it is in, not the silence behind it. */
TEST(silence_is_judged_besides)
{
    struct sim *s = sim_new(YAML(""));
    struct sim_conn *c = sim_client(s);
    sim_say(c, POST);
    sim_advance(s, 15 * SEC);
    pour(c, 50000);
    EXPECT_EQ(pours(s, c, 0, 1, 100), 20);
    EXPECT_HAS(c, "\"reason\":\"client_timeout\"");
    SIM_END(s);
}

/* Time in which weir did not read is not the client's. */
TEST(a_body_that_its_endpoint_does_not_take)
{
    struct sim *s = sim_new(YAML(""));
    s->up_window = 1000;
    struct sim_conn *c = sim_client(s);
    sim_say(c, POST);
    struct sim_conn *u = sim_next(s);
    u->stalled = true;
    pour(c, 500000);
    sim_advance(s, 1800 * SEC);
    u->stalled = false;
    sim_run(s);
    EXPECT_EQ(pours(s, c, 500000, 19, 19), 0);
    sim_say(u, "HTTP/1.1 204 No Content\r\n\r\n");
    EXPECT_GOT(c, "HTTP/1.1 204 No Content\r\n\r\n");
    SIM_END(s);
}

/* ... and taking it in small sips does not make the client look slow: it has sent what there was room for. */
TEST(a_body_that_its_endpoint_takes_slowly)
{
    struct sim *s = sim_new(YAML(""));
    s->up_window = 1000;
    struct sim_conn *c = sim_client(s);
    sim_say(c, POST);
    struct sim_conn *u = sim_next(s);
    u->stalled = true;
    pour(c, 1000000);
    for (int t = 0; t < 1500; t++) {
        sim_advance(s, SEC);
        sim_drink(u, 50);
    }
    EXPECT_GOT(c, "");
    EXPECT(!sim_closed(c));
    SIM_END(s);
}

TEST(a_client_that_waits_for_100)
{
    struct sim *s = sim_new(YAML(""));
    struct sim_conn *c = sim_client(s);
    sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 20\r\nExpect: 100-continue\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    sim_advance(s, 1800 * SEC);
    EXPECT_GOT(c, "");
    sim_say(u, "HTTP/1.1 100 Continue\r\n\r\n");
    sim_clear(c);
    EXPECT_EQ(pours(s, c, 1, 1, 100), 20);   /* from there on it is its time */
    SIM_END(s);
}

TEST(events_long_polls_and_tunnels)
{
    struct sim *s = sim_new(YAML(""));
    struct sim_conn *events = sim_client(s), *poll, *tunnel;
    sim_say(events, GET);
    struct sim_conn *u = sim_next(s), *v, *w;
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    poll = sim_client(s);
    sim_say(poll, GET);
    v = sim_next(s);
    tunnel = sim_client(s);
    sim_say(tunnel, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    w = sim_next(s);
    sim_say(w, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    for (int t = 0; t < 3000; t += 60) {
        sim_advance(s, 60 * SEC);
        sim_say(u, "data: x\n\n");
        sim_say(t % 120 ? w : tunnel, "x");
    }
    EXPECT(!sim_closed(events) && !sim_closed(poll) && !sim_closed(tunnel));
    sim_say(v, "HTTP/1.1 204 No Content\r\n\r\n");
    EXPECT_HAS(poll, "HTTP/1.1 204 No Content\r\n");
    SIM_END(s);
}

/* When the answer has begun, both may be talking: only silence counts. */
TEST(a_conversation)
{
    struct sim *s = sim_new(YAML(""));
    struct sim_conn *c = sim_client(s);
    sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 100; i++) {
        sim_advance(s, 19 * SEC);
        sim_say(c, "1\r\nx\r\n");
        sim_say(u, "1\r\ny\r\n");
    }
    EXPECT(!sim_closed(c));
    sim_advance(s, 20 * SEC);
    EXPECT(sim_closed(c) && sim_closed(u));
    EXPECT_EQ(sim_reasons(s, REASON_client_timeout), 1);
    SIM_END(s);
}

/* A body on its own packet, again and again: each has its own time. */
TEST(many_small_bodies)
{
    struct sim *s = sim_new(YAML(""));
    struct sim_conn *c = sim_client(s), *u = NULL;
    for (int i = 0; i < 300; i++) {
        sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n");
        sim_advance(s, SEC / 5);
        sim_say(c, "0123456789");
        u = u ? u : sim_next(s);
        sim_say(u, "HTTP/1.1 204 No Content\r\n\r\n");
        EXPECT_GOT(c, "HTTP/1.1 204 No Content\r\n\r\n");
    }
    SIM_END(s);
}

TEST(the_rest_of_a_body_that_nobody_wants)
{
    struct sim *s = sim_new("version: 1\nlisten: [{at: \"127.0.0.1:8080\", body_timeout: 20s}]\n"
                            "routes: [{match: /, respond: {status: 200}}]\n");
    struct sim_conn *c = sim_client(s);
    sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n");
    EXPECT_HAS(c, "HTTP/1.1 200 OK\r\n");
    sim_clear(c);
    unsigned t = pours(s, c, 10, 1, 100);
    EXPECT_EQ(t, 20);
    EXPECT(sim_closed(c));
    EXPECT_EQ(sim_metric(s, METRIC_slow_bodies_total), 1);
    SIM_END(s);
}

/* A tunnel of bursts that are taken fast, words in between, and long silences: no window is left from one to the next. */
TEST(a_tunnel_with_silences)
{
    struct sim *s = sim_new(YAML(", min_rate: 5KiB"));
    s->client_window = 4096;
    struct sim_conn *c = sim_client(s);
    sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    c->stalled = c->forgetful = true;
    for (int n = 0; n < 200 && !sim_closed(c); n++) {
        sim_fill(block, 20000, 0);
        sim_send_str(u, str_of(block, 20000));
        sim_run(s);
        for (int i = 0; i < 12; i++) {
            sim_advance(s, SEC / 5);
            sim_drink(c, 2000);
        }
        sim_say(c, "hello");
        sim_advance(s, 300 * SEC);
    }
    EXPECT(!sim_closed(c));
    SIM_END(s);
}

/* While an answer runs the body may be as slow as it likes; once nobody wants the rest, that is not held against it. */
TEST(the_rest_of_a_body_whose_answer_came_early)
{
    for (int backlog = 0; backlog < 2; backlog++) {
        test_row("%d", backlog);
        struct sim *s = sim_new(YAML(", min_rate: 1KiB"));
        s->client_window = 4096;
        struct sim_conn *c = sim_client(s);
        sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\nabcde");
        struct sim_conn *u = sim_next(s);
        sim_advance(s, SEC / 10);
        sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 20010\r\n\r\n");
        c->stalled = c->forgetful = true;
        sim_fill(block, 20000, 0);
        for (int i = 0; i < 10; i++) {
            sim_send_str(u, str_of(block, backlog ? (i == 0 ? 20000 : 0) : 2000));
            sim_run(s);
            sim_drink(c, 3000);
        }
        sim_advance(s, 9 * SEC);
        sim_say(c, "x");
        sim_advance(s, 9 * SEC);
        sim_say(u, "0123456789");
        sim_drink(c, 4000);
        for (int i = 0; i < 8 && !sim_closed(c); i++) {
            sim_send_str(c, str_of(block, 3000));
            sim_run(s);
            sim_advance(s, SEC);
        }
        EXPECT(!sim_closed(c));
        SIM_END(s);
    }
}
