/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that a client sends before it has the answers to those before. */
#include "test.h"

#include "sim.h"

#define REQ(path) "GET /" path " HTTP/1.1\r\nHost: h\r\n\r\n"
#define UP(path) "GET /" path " HTTP/1.1\r\nHost: h\r\n" SIM_FORWARD "\r\n"
#define ANSWER(body) "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" body

TEST(each_goes_up_when_the_one_before_is_answered)
{
    for (size_t max = 0; max < 3; max++) {
        test_row("%zu", max);
        struct sim *s = sim_new(SIM_PLAIN);
        s->client_read_max = max;
        struct sim_conn *c = sim_client(s);
        sim_say(c, REQ("1") REQ("2") REQ("3"));
        struct sim_conn *u = sim_next(s);
        EXPECT_GOT(u, UP("1"));
        EXPECT_EQ(sim_metric(s, METRIC_requests_in_flight), 1);
        sim_say(u, ANSWER("a"));
        EXPECT_GOT(c, ANSWER("a"));
        EXPECT_GOT(u, UP("2"));
        sim_say(u, ANSWER("b"));
        EXPECT_GOT(c, ANSWER("b"));
        EXPECT_GOT(u, UP("3"));
        sim_say(u, ANSWER("c"));
        EXPECT_GOT(c, ANSWER("c"));
        EXPECT(sim_next(s) == NULL);
        SIM_END(s);
    }
}

TEST(with_bodies_between_them)
{
    for (size_t max = 0; max < 3; max++) {
        test_row("%zu", max);
        struct sim *s = sim_new(SIM_PLAIN);
        s->client_read_max = max;
        struct sim_conn *c = sim_client(s);
        sim_say(c, "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\none"
                   "POST /2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n"
                   "\r\n" REQ("3"));
        struct sim_conn *u = sim_next(s);
        EXPECT_GOT(u, "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n" SIM_FORWARD "\r\none");
        sim_say(u, ANSWER("a"));
        EXPECT_HAS(u, "POST /2 HTTP/1.1\r\n");
        EXPECT_HAS(u, "0\r\n\r\n");
        EXPECT_HASNT(u, "/3");
        sim_clear(u);
        sim_say(u, ANSWER("b"));
        EXPECT_GOT(u, UP("3"));
        sim_say(u, ANSWER("c"));
        EXPECT_GOT(c, ANSWER("a") ANSWER("b") ANSWER("c"));
        SIM_END(s);
    }
}

/* Answers made at once, without anything to wait for, must not be lost in their own bytes. */
TEST(many_that_are_answered_here)
{
    struct sim *s = sim_new(SIM_HEAD "routes: [{match: /, respond: {body: \"x\"}}]\n");
    for (size_t max = 0; max < 3; max++) {
        test_row("%zu", max);
        s->client_read_max = max;
        struct sim_conn *c = sim_client(s);
        for (int i = 0; i < 500; i++)
            sim_send(c, REQ("1"));
        sim_run(s);
        size_t n = 0;
        for (const char *at = c->got; at && (at = strstr(at, "HTTP/1.1 200 OK\r\n")) != NULL; at++)
            n++;
        EXPECT_EQ(n, 500);
        EXPECT(!sim_closed(c));
        EXPECT(sim_text(c).len > 0 && c->got[c->got_len - 1] == 'x');
    }
    SIM_END(s);
}

/* A client that asks without end and takes no answers gets only so much memory. */
TEST(more_than_is_taken)
{
    struct sim *s = sim_new(SIM_HEAD "routes: [{match: /, respond: {body: \"x\"}}]\n");
    s->client_window = 10000;
    struct sim_conn *c = sim_client(s);
    c->stalled = true;
    for (int i = 0; i < 20000; i++)
        sim_send(c, REQ("1"));
    sim_run(s);
    EXPECT(s->buffered_peak > 0 && s->buffered_peak < 16 * 1024);
    EXPECT(sim_worker(s, 0)->arena_blocks.total < 200);
    EXPECT(c->end.in_len > 20000);
    c->stalled = false;
    sim_run(s);
    EXPECT_EQ(sim_reasons(s, REASON_replied), 20000);
    EXPECT(!sim_closed(c));
    EXPECT_EQ(sim_metric(s, METRIC_buffered_bytes), 0);
    SIM_END(s);
}

TEST(nothing_behind_connection_close_is_looked_at)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, "GET /1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" REQ("2"));
    struct sim_conn *u = sim_next(s);
    sim_clear(u);
    sim_say(u, ANSWER("a"));
    EXPECT_GOT(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na");
    EXPECT_GOT(u, "");
    EXPECT(sim_ended(c) && !sim_cut(c));
    SIM_END(s);
}

TEST(a_bad_one_behind_a_good_one_is_answered_in_its_turn)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, REQ("1") "GET /2 HTTP/1.1\r\n\r\n" REQ("3"));
    struct sim_conn *u = sim_next(s);
    EXPECT_GOT(u, UP("1"));
    EXPECT_GOT(c, "");
    sim_say(u, ANSWER("a"));
    EXPECT_HAS(c, ANSWER("a") "HTTP/1.1 400 Bad Request\r\n");
    EXPECT_HAS(c, "Connection: close\r\n");
    EXPECT_GOT(u, "");
    EXPECT(sim_ended(c));
    EXPECT(sim_next(s) == NULL);
    SIM_END(s);
}

/* The client ends its sending behind the last request: it went away, unless the listener says that it still reads. */
TEST(a_half_closed_client_takes_its_last_answer_slowly)
{
    struct sim *s = sim_new("version: 1\nlisten: [{at: \"127.0.0.1:8080\", half_close: keep}]\n"
                            "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"]}}\nroutes: [{match: /, upstream: api}]\n");
    s->client_window = 10;
    struct sim_conn *c = sim_client(s);
    c->stalled = true;
    sim_send(c, REQ("1"));
    sim_fin(c);
    sim_run(s);
    sim_say(sim_next(s), ANSWER("a"));
    EXPECT(!sim_closed(c));
    while (c->end.out_len > 0)
        sim_drink(c, 3);
    EXPECT_GOT(c, ANSWER("a"));
    EXPECT(sim_closed(c) && !sim_cut(c));
    SIM_END(s);
}

TEST(half_close)
{
    static const struct { const char *yaml; bool kept; } rows[] = {
        {SIM_PLAIN, false},
        {"version: 1\nlisten: [{at: \"127.0.0.1:8080\", half_close: keep}]\n"
         "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"]}}\nroutes: [{match: /, upstream: api}]\n", true},
    };
    for (size_t i = 0; i < 2; i++) {
        for (size_t max = 0; max < 2; max++) {
            for (int late = 0; late < 2; late++) {
                test_row("%zu %zu %d", i, max, late);
                struct sim *s = sim_new(rows[i].yaml);
                s->client_read_max = max;
                struct sim_conn *c = sim_client(s);
                sim_send(c, REQ("1") REQ("2"));
                if (late)
                    sim_run(s);
                sim_fin(c);
                sim_run(s);
                struct sim_conn *u = sim_next(s);
                if (rows[i].kept) {
                    sim_say(u, ANSWER("a"));
                    EXPECT_GOT(u, UP("1") UP("2"));
                    sim_say(u, ANSWER("b"));
                    EXPECT_GOT(c, ANSWER("a") ANSWER("b"));
                } else {
                    EXPECT(!u || sim_closed(u));
                    EXPECT_GOT(c, "");
                    EXPECT_EQ(sim_reasons(s, REASON_client_gone), 1);
                }
                EXPECT(sim_closed(c));
                SIM_END(s);
            }
        }
    }
}
