/* SPDX-License-Identifier: Apache-2.0 */
/* Every deadline: it strikes when it should, not before, and leaves nothing behind. */
#include "test.h"

#include "sim.h"
#include "worker.h"

#define MS NSEC_PER_MSEC
#define YAML                                                                                                         \
    "version: 1\n"                                                                                                   \
    "listen: [{at: \"127.0.0.1:8080\", header_timeout: 1s, body_timeout: 2s, min_rate: 0B, keepalive_timeout: 4s}]\n"\
    "upstreams:\n"                                                                                                   \
    "  api: {endpoints: [\"http://127.0.0.1:81\"], pool: {idle: 3s},\n"                                              \
    "        timeouts: {connect: 500ms, first_byte: 5s, idle: 6s, tunnel: 7s}}\n"                                    \
    "routes: [{match: /, upstream: api, timeout: 20s}, {match: /short, upstream: api, timeout: 1s}]\n"
#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

/* Nothing happens to `conn` before `ns` are over; then something does. */
static void strikes_after(struct sim *s, struct sim_conn *conn, uint64_t ns)
{
    size_t before = sim_text(conn).len;
    sim_advance(s, ns - 1);
    EXPECT_EQ(sim_text(conn).len, before);
    EXPECT(!sim_ended(conn));
    sim_advance(s, 1);
}

TEST(a_client_that_says_nothing)
{
    struct sim *s = sim_new(YAML);
    struct sim_conn *c = sim_client(s);
    strikes_after(s, c, 1000 * MS);
    EXPECT_GOT(c, "");
    EXPECT(sim_closed(c));
    EXPECT_NOTHING_LEFT(s);
    SIM_END(s);
}

TEST(the_first_head_that_is_never_whole)
{
    struct sim *s = sim_new(YAML);
    struct sim_conn *c = sim_client(s);
    sim_advance(s, 400 * MS);
    sim_say(c, "GET / HT");
    sim_advance(s, 300 * MS);
    sim_say(c, "TP/1.1\r\nHo");              /* does not buy more time */
    strikes_after(s, c, 300 * MS);
    EXPECT_HAS(c, "HTTP/1.1 408 Request Timeout\r\n");
    EXPECT_HAS(c, "Connection: close\r\n");
    EXPECT(sim_ended(c));
    EXPECT_EQ(sim_reasons(s, REASON_client_timeout), 1);
    sim_advance(s, 1000 * MS);               /* lingers */
    EXPECT(sim_closed(c));
    EXPECT_NOTHING_LEFT(s);
    SIM_END(s);
}

/* One turn does not serve them all: others, who have just asked, would wait for it. */
TEST(many_heads_that_are_never_whole)
{
    enum { N = 3 * TIMERS_RUN_MAX };
    struct sim *s = sim_new(YAML);
    struct worker *w = sim_worker(s, 0);
    for (int i = 0; i < N; i++)
        sim_send(sim_client(s), "GET / HT");
    sim_run(s);
    clock_advance(&s->clock, 1000 * MS);
    for (unsigned turn = 1; turn <= 3; turn++) {
        (void)worker_turn(w);
        EXPECT_EQ(worker_next(w) <= clock_mono(&s->clock), turn < 3);
        EXPECT_EQ(sim_reasons(s, REASON_client_timeout), turn * TIMERS_RUN_MAX);
    }
    sim_advance(s, 2000 * MS);
    EXPECT_EQ(sim_metric(s, METRIC_client_connections), 0);
    EXPECT_NOTHING_LEFT(s);
    SIM_END(s);
}

TEST(a_later_head_has_its_own_time)
{
    struct sim *s = sim_new(YAML);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    sim_say(sim_next(s), OK);
    sim_clear(c);
    sim_advance(s, 3999 * MS);
    sim_say(c, "G");
    strikes_after(s, c, 1000 * MS);
    EXPECT_HAS(c, "HTTP/1.1 408 Request Timeout\r\n");
    EXPECT(sim_ended(c));
    SIM_END(s);
}

TEST(an_idle_client_is_closed_without_a_word)
{
    struct sim *s = sim_new(YAML);
    struct sim_conn *c = sim_client(s);
    for (int i = 0; i < 3; i++) {
        sim_say(c, GET);
        sim_say(sim_next(s), OK);
        sim_clear(c);
        if (i < 2)
            sim_advance(s, 3999 * MS);
    }
    strikes_after(s, c, 4000 * MS);
    EXPECT_GOT(c, "");
    EXPECT(sim_closed(c) && !sim_cut(c));
    EXPECT_EQ(sim_reasons(s, REASON_client_timeout), 0);
    SIM_END(s);
}

TEST(a_pooled_connection_is_closed_after_its_time)
{
    struct sim *s = sim_new(YAML);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    sim_say(u, OK);
    strikes_after(s, u, 3000 * MS);
    EXPECT(sim_closed(u));
    EXPECT(!sim_closed(c));
    EXPECT_EQ(sim_metric(s, METRIC_upstream_connections), 0);
    EXPECT_EQ(sim_metric(s, METRIC_upstream_connections_idle), 0);
    SIM_END(s);
}

TEST(a_body_that_stops_coming)
{
    struct sim *s = sim_new(YAML);
    struct sim_conn *c = sim_client(s);
    sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    for (int i = 0; i < 5; i++) {
        sim_advance(s, 1999 * MS);
        sim_say(c, "x");
    }
    strikes_after(s, c, 2000 * MS);
    EXPECT_HAS(c, "HTTP/1.1 408 Request Timeout\r\n");
    EXPECT_HAS(c, "Connection: close\r\n");
    EXPECT(sim_closed(u) && sim_ended(c));
    EXPECT_EQ(sim_reasons(s, REASON_client_timeout), 1);
    SIM_END(s);
}

TEST(an_endpoint_that_does_not_accept)
{
    struct sim *s = sim_new(YAML);
    s->connect = SIM_HANG;
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    strikes_after(s, c, 500 * MS);
    EXPECT_HAS(c, "HTTP/1.1 504 Gateway Timeout\r\n");
    EXPECT_HAS(c, "\"reason\":\"connect_timeout\"");
    EXPECT(sim_closed(u) && !sim_closed(c));
    SIM_END(s);
}

TEST(an_endpoint_that_accepts_late)
{
    struct sim *s = sim_new(YAML);
    s->connect = SIM_HANG;
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    EXPECT_GOT(u, "");
    sim_advance(s, 499 * MS);
    sim_accept(u);
    sim_run(s);
    EXPECT_HAS(u, "GET / HTTP/1.1\r\n");
    strikes_after(s, c, 5000 * MS);          /* from the request's last byte */
    EXPECT_HAS(c, "\"reason\":\"first_byte_timeout\"");
    EXPECT(sim_closed(u));
    SIM_END(s);
}

TEST(an_endpoint_that_does_not_answer)
{
    struct sim *s = sim_new(YAML);
    struct sim_conn *c = sim_client(s);
    for (int i = 0; i < 2; i++) {            /* the second one on a new connection */
        sim_say(c, GET);
        struct sim_conn *u = sim_next(s);
        strikes_after(s, c, 5000 * MS);
        EXPECT_HAS(c, "HTTP/1.1 504 Gateway Timeout\r\n");
        EXPECT_HAS(c, "\"reason\":\"first_byte_timeout\"");
        sim_clear(c);
        EXPECT(sim_closed(u) && !sim_closed(c));
    }
    EXPECT_EQ(sim_reasons(s, REASON_first_byte_timeout), 2);
    SIM_END(s);
}

/* Time does not run against the endpoint while the request is still on its way to it. */
TEST(the_first_byte_is_waited_for_from_the_last_of_the_request)
{
    struct sim *s = sim_new(YAML);
    struct sim_conn *c = sim_client(s);
    sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    for (int i = 0; i < 5; i++) {
        sim_advance(s, 1500 * MS);
        sim_say(c, "x");
    }
    EXPECT_HAS(u, "xxxxx");
    strikes_after(s, c, 5000 * MS);
    EXPECT_HAS(c, "\"reason\":\"first_byte_timeout\"");
    SIM_END(s);
}

TEST(a_head_in_pieces_does_not_buy_time)
{
    struct sim *s = sim_new(YAML);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    sim_advance(s, 4000 * MS);
    sim_say(u, "HTTP/1.1 200 O");
    strikes_after(s, c, 1000 * MS);
    EXPECT_HAS(c, "HTTP/1.1 504 Gateway Timeout\r\n");
    EXPECT(sim_closed(u));
    SIM_END(s);
}

TEST(while_a_body_waits_for_100)
{
    struct sim *s = sim_new(YAML);
    struct sim_conn *c = sim_client(s);
    sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    sim_advance(s, 1999 * MS);
    EXPECT_GOT(c, "");
    sim_advance(s, 3001 * MS);
    EXPECT_HAS(c, "HTTP/1.1 504 Gateway Timeout\r\n");
    EXPECT_HAS(c, "\"reason\":\"first_byte_timeout\"");
    EXPECT(sim_closed(u) && sim_ended(c));
    SIM_END(s);
}

TEST(an_answer_that_stands_still)
{
    static const struct { const char *answer; bool cut; } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab", false},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", false},
        {"HTTP/1.1 200 OK\r\n\r\nab", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(YAML);
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        struct sim_conn *u = sim_next(s);
        sim_advance(s, 4999 * MS);
        sim_say(u, rows[i].answer);
        EXPECT_HAS(c, "ab");
        strikes_after(s, c, 6000 * MS);
        EXPECT_HASNT(c, "504");
        EXPECT(sim_closed(c) && sim_closed(u));
        EXPECT_EQ(sim_reasons(s, REASON_idle_timeout), 1);
        EXPECT_NOTHING_LEFT(s);
        SIM_END(s);
    }
}

/* An answer that goes on for longer than any deadline is left alone. */
TEST(a_stream_that_keeps_moving)
{
    struct sim *s = sim_new(YAML);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    for (int i = 0; i < 50; i++) {
        sim_clear(c);
        sim_say(u, "x");
        EXPECT_GOT(c, "1\r\nx\r\n");
        sim_advance(s, 5999 * MS);
    }
    EXPECT(!sim_closed(c) && !sim_closed(u));
    SIM_END(s);
}

TEST(the_deadline_of_the_request)
{
    static const struct { const char *request; enum sim_connect connect; const char *sends; uint64_t step_ms; } rows[] = {
        {"GET /short HTTP/1.1\r\nHost: h\r\n\r\n", SIM_ACCEPT, "", 1000},
        {"GET /short HTTP/1.1\r\nHost: h\r\n\r\n", SIM_ACCEPT, "HTTP/1.1 103 Early Hints\r\n\r\n", 400},
        {"POST /short HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n", SIM_ACCEPT, "", 1000},
        {"POST /short HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n", SIM_ACCEPT, "", 1000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(YAML);
        struct sim_conn *c = sim_client(s);
        sim_say(c, rows[i].request);
        struct sim_conn *u = sim_next(s);
        for (uint64_t t = rows[i].step_ms; t < 1000; t += rows[i].step_ms) {
            sim_advance(s, rows[i].step_ms * MS);
            sim_say(u, rows[i].sends);
            sim_clear(c);
        }
        sim_advance(s, (1000 % rows[i].step_ms ? 1000 % rows[i].step_ms : rows[i].step_ms) * MS - 1);
        EXPECT_GOT(c, "");
        sim_advance(s, 1);
        EXPECT_HAS(c, "HTTP/1.1 504 Gateway Timeout\r\n");
        EXPECT_HAS(c, "\"reason\":\"total_timeout\"");
        EXPECT(sim_closed(u));
        SIM_END(s);
    }
}

TEST(the_deadline_while_connecting)
{
    struct sim *s = sim_new(SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"]}}\n"
                            "routes: [{match: /, upstream: api, timeout: 300ms}]\n");
    s->connect = SIM_HANG;
    struct sim_conn *c = sim_client(s);
    sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" GET);
    struct sim_conn *u = sim_next(s);
    strikes_after(s, c, 300 * MS);
    EXPECT_HAS(c, "\"reason\":\"total_timeout\"");
    EXPECT(sim_closed(u) && !sim_ended(c));
    EXPECT(sim_next(s) != NULL);             /* the next request has a try of its own */
    SIM_END(s);
}

TEST(the_deadline_ends_with_the_answers_head)
{
    struct sim *s = sim_new(YAML);
    struct sim_conn *c = sim_client(s);
    sim_say(c, "GET /short HTTP/1.1\r\nHost: h\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    sim_advance(s, 999 * MS);
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
    sim_advance(s, 5000 * MS);
    sim_say(u, "k");
    EXPECT_GOT(c, OK);
    EXPECT(!sim_closed(u));
    SIM_END(s);
}

/* A client that takes nothing of its answer. */
TEST(a_client_that_does_not_read)
{
    struct sim *s = sim_new(YAML);
    s->client_window = 10;
    struct sim_conn *c = sim_client(s);
    c->stalled = true;
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    sim_say(u, "some");
    sim_advance(s, 1999 * MS);
    EXPECT(!sim_closed(c));
    sim_advance(s, 1 * MS);
    EXPECT(sim_closed(c) && sim_closed(u));
    EXPECT_EQ(sim_reasons(s, REASON_client_slow), 1);
    EXPECT_NOTHING_LEFT(s);
    SIM_END(s);
}

/* ... takes some of it, slowly: it may. */
TEST(a_client_that_reads_slowly)
{
    struct sim *s = sim_new(YAML);
    s->client_window = 10;
    struct sim_conn *c = sim_client(s);
    c->stalled = true;
    sim_say(c, GET);
    sim_say(sim_next(s), OK);
    for (int i = 0; i < 32; i++) {
        sim_advance(s, 1900 * MS);
        sim_drink(c, 1);
        EXPECT(!sim_closed(c));
    }
    c->stalled = false;
    sim_run(s);
    EXPECT_GOT(c, OK);
    EXPECT(!sim_closed(c));
    SIM_END(s);
}

TEST(a_client_that_does_not_take_the_end)
{
    struct sim *s = sim_new(YAML);
    s->client_window = 10;
    struct sim_conn *c = sim_client(s);
    c->stalled = true;
    sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    sim_say(sim_next(s), OK);
    EXPECT_EQ(sim_metric(s, METRIC_requests_in_flight), 0);
    sim_advance(s, 2000 * MS);
    EXPECT(sim_closed(c));
    SIM_END(s);
}

TEST(a_tunnel_outlives_the_deadline_of_its_request)
{
    struct sim *s = sim_new(YAML);
    struct sim_conn *c = sim_client(s);
    sim_say(c, "GET /short HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    strikes_after(s, c, 7000 * MS);
    EXPECT(sim_closed(c) && sim_closed(u));
    SIM_END(s);
}

TEST(a_tunnel_that_stands_still)
{
    struct sim *s = sim_new(YAML);
    struct sim_conn *c = sim_client(s);
    sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    sim_advance(s, 6999 * MS);
    for (int i = 0; i < 5; i++) {
        sim_say(i & 1 ? c : u, "x");
        sim_advance(s, 6999 * MS);
    }
    sim_say(c, "x");
    sim_clear(c), sim_clear(u);
    strikes_after(s, c, 7000 * MS);
    EXPECT(sim_closed(c) && sim_closed(u));
    EXPECT_EQ(sim_reasons(s, REASON_idle_timeout), 1);
    EXPECT_NOTHING_LEFT(s);
    SIM_END(s);
}
