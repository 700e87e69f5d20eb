/* SPDX-License-Identifier: Apache-2.0 */
/* Requests one after another on kept connections: what goes up, what comes down, and which connection it takes. */
#include "test.h"

#include "sim.h"

#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define UP_GET "GET / HTTP/1.1\r\nHost: h\r\n" SIM_FORWARD "\r\n"
#define OK_HI "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

TEST(requests_share_both_connections)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s), *u = NULL;
    for (int i = 0; i < 3; i++) {
        sim_say(c, GET);
        if (i == 0)
            u = sim_next(s);
        EXPECT_GOT(u, UP_GET);
        sim_say(u, OK_HI);
        EXPECT_GOT(c, OK_HI);
        EXPECT_EQ(sim_metric(s, METRIC_upstream_connections_idle), 1);
        EXPECT_EQ(sim_metric(s, METRIC_requests_in_flight), 0);
    }
    EXPECT(sim_next(s) == NULL);
    EXPECT_EQ(sim_metric(s, METRIC_upstream_reuses_total), 2);
    EXPECT_EQ(sim_reasons(s, REASON_none), 3);
    EXPECT(!sim_closed(c));
    SIM_END(s);
}

TEST(two_at_a_time_take_two_connections_and_the_last_used_is_used_next)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *a = sim_client(s), *b = sim_client(s);
    sim_say(a, GET);
    sim_say(b, GET);
    struct sim_conn *ua = sim_next(s), *ub = sim_next(s);
    EXPECT(ua && ub && sim_next(s) == NULL);
    sim_say(ub, OK_HI);
    sim_say(ua, OK_HI);
    sim_clear(ua), sim_clear(ub);
    sim_say(a, GET);
    EXPECT_GOT(ua, UP_GET);
    EXPECT_GOT(ub, "");
    sim_say(ua, OK_HI);
    SIM_END(s);
}

TEST(answers_without_a_body_keep_the_connections)
{
    static const struct { const char *request, *answer, *got; } rows[] = {
        {"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
         "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"},
        {"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
         "HTTP/1.1 200 OK\r\n\r\n"},
        {"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"},
        {GET, "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"},
        {GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: \"x\"\r\n\r\n",
         "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: \"x\"\r\n\r\n"},
        {GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
        {GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {GET, "HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\nx", "HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\nx"},
    };
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s), *u = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%zu", i);
        sim_say(c, rows[i].request);
        if (i == 0)
            u = sim_next(s);
        EXPECT(sim_next(s) == NULL);
        sim_say(u, rows[i].answer);
        EXPECT_GOT(c, rows[i].got);
        EXPECT(!sim_closed(c) && !sim_closed(u));
    }
    SIM_END(s);
}

/* The client's version and Connection, and what the answer says and does with it. */
TEST(connection_close_and_http_1_0)
{
    static const struct { const char *request, *got; bool closed; } rows[] = {
        {"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
         "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", true},
        {"GET / HTTP/1.0\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", true},
        {"GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
         "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi", false},
        {"GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", OK_HI, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_PLAIN);
        struct sim_conn *c = sim_client(s);
        sim_say(c, rows[i].request);
        struct sim_conn *u = sim_next(s);
        EXPECT_HAS(u, "GET / HTTP/1.1\r\nHost: h\r\nVia: 1.");
        EXPECT_HASNT(u, "Connection");
        sim_say(u, OK_HI);
        EXPECT_GOT(c, rows[i].got);
        EXPECT_EQ(sim_ended(c), rows[i].closed);
        EXPECT(!sim_cut(c));
        EXPECT(!sim_closed(u));
        SIM_END(s);
    }
}

TEST(a_1_0_client_without_host_gets_the_endpoints)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, "GET / HTTP/1.0\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    EXPECT_HAS(u, "GET / HTTP/1.1\r\n");
    EXPECT_HAS(u, "\r\nHost: 127.0.0.1:81\r\n");
    EXPECT_HASNT(u, "Forwarded-Host");
    sim_say(u, OK_HI);
    SIM_END(s);
}

TEST(an_endpoint_that_closes_is_not_kept_and_the_client_does_not_notice)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    };
    for (size_t i = 0; i < 2; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_PLAIN);
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        struct sim_conn *u = sim_next(s);
        sim_say(u, answers[i]);
        EXPECT_GOT(c, OK_HI);
        EXPECT(sim_closed(u) && !sim_closed(c));
        sim_say(c, GET);
        u = sim_next(s);
        EXPECT(u != NULL);
        sim_say(u, OK_HI);
        EXPECT_GOT(c, OK_HI);
        SIM_END(s);
    }
}

TEST(a_1_0_endpoint_that_keeps_alive_is_kept)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi");
    EXPECT_GOT(c, OK_HI);
    EXPECT(!sim_closed(u));
    SIM_END(s);
}

/* An answer that ends with its connection. */
TEST(close_delimited_answers)
{
    static const struct { const char *request, *got; bool closed; } rows[] = {
        {GET, "HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nX: y\r\nConnection: close\r\n\r\nonetwo", true},
        {"GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
         "HTTP/1.1 200 OK\r\nX: y\r\nConnection: close\r\n\r\nonetwo", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int version = 0; version < 2; version++) {
            test_row("%zu, HTTP/1.%d", i, version);
            struct sim *s = sim_new(SIM_PLAIN);
            struct sim_conn *c = sim_client(s);
            sim_say(c, rows[i].request);
            struct sim_conn *u = sim_next(s);
            sim_say(u, version ? "HTTP/1.1 200 OK\r\nX: y\r\n\r\none" : "HTTP/1.0 200 OK\r\nX: y\r\n\r\none");
            EXPECT(!sim_ended(c));
            sim_say(u, "two");
            sim_fin(u);
            sim_run(s);
            EXPECT_GOT(c, rows[i].got);
            EXPECT_EQ(sim_ended(c), rows[i].closed);
            EXPECT(!sim_cut(c));
            EXPECT(sim_closed(u));
            EXPECT_EQ(sim_reasons(s, REASON_none), 1);
            SIM_END(s);
        }
    }
}

/* A reset is no end: the client must be able to tell. */
TEST(a_reset_close_delimited_answer_is_cut)
{
    static const char *const requests[] = {GET, "GET / HTTP/1.0\r\nHost: h\r\n\r\n"};
    for (size_t i = 0; i < 2; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_PLAIN);
        struct sim_conn *c = sim_client(s);
        sim_say(c, requests[i]);
        struct sim_conn *u = sim_next(s);
        sim_say(u, "HTTP/1.1 200 OK\r\n\r\none");
        sim_reset(u);
        sim_run(s);
        EXPECT_HAS(c, "one");
        EXPECT_HASNT(c, "0\r\n\r\n");
        EXPECT(sim_closed(c));
        EXPECT(i == 0 || sim_cut(c));
        EXPECT_EQ(sim_reasons(s, REASON_upstream_cut), 1);
        EXPECT_NOTHING_LEFT(s);
        SIM_END(s);
    }
}

TEST(every_cut_of_the_bytes_gives_the_same)
{
    for (size_t max_up = 0; max_up < 4; max_up++) {
        for (size_t max_client = 0; max_client < 4; max_client++) {
            test_row("%zu, %zu", max_client, max_up);
            struct sim *s = sim_new(SIM_PLAIN);
            s->client_read_max = max_client;
            s->up_read_max = max_up;
            s->client_window = max_up;
            s->up_window = max_client;
            struct sim_conn *c = sim_client(s), *u = NULL;
            for (int i = 0; i < 2; i++) {
                sim_say(c, GET);
                u = u ? u : sim_next(s);
                EXPECT_GOT(u, UP_GET);
                sim_say(u, OK_HI);
                EXPECT_GOT(c, OK_HI);
            }
            SIM_END(s);
        }
    }
}
