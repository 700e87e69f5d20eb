/* SPDX-License-Identifier: Apache-2.0 */
/* Upgraded connections: bytes both ways, and ends. */
#include "test.h"

#include "sim.h"

#define ASK "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n"
#define UP_ASK "GET /ws HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Key: k\r\n" SIM_FORWARD \
               "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
#define YES "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: a\r\n\r\n"
#define GOT_YES "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"

TEST(bytes_go_both_ways)
{
    for (size_t max = 0; max < 3; max++) {
        for (size_t window = 0; window < 3; window++) {
            test_row("%zu %zu", max, window);
            struct sim *s = sim_new(SIM_PLAIN);
            s->client_read_max = s->up_read_max = max;
            s->client_window = s->up_window = window;
            struct sim_conn *c = sim_client(s);
            sim_say(c, ASK);
            struct sim_conn *u = sim_next(s);
            EXPECT_GOT(u, UP_ASK);
            sim_say(u, YES "first");
            EXPECT_GOT(c, GOT_YES "first");
            EXPECT_EQ(sim_metric(s, METRIC_tunnels), 1);
            sim_say(c, "GET / HTTP/1.1\r\n\r\n");
            EXPECT_GOT(u, "GET / HTTP/1.1\r\n\r\n");
            sim_send(u, "ping");
            sim_say(c, "pong");
            EXPECT_GOT(c, "ping");
            EXPECT_GOT(u, "pong");
            SIM_END(s);
        }
    }
}

/* Bytes that a client sends behind its request, before the answer, are the tunnel's. */
TEST(a_hasty_client)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, ASK "early");
    struct sim_conn *u = sim_next(s);
    EXPECT_GOT(u, UP_ASK);
    sim_say(c, " bird");
    EXPECT_GOT(u, "");
    sim_say(u, YES);
    EXPECT_GOT(u, "early bird");
    EXPECT_GOT(c, GOT_YES);
    SIM_END(s);
}

TEST(a_fin_goes_through_and_the_other_way_stays_open)
{
    for (int first = 0; first < 2; first++) {
        for (size_t max = 0; max < 2; max++) {
            test_row("%d %zu", first, max);
            struct sim *s = sim_new(SIM_PLAIN);
            s->client_read_max = s->up_read_max = max;
            struct sim_conn *c = sim_client(s);
            sim_say(c, ASK);
            struct sim_conn *u = sim_next(s);
            sim_say(u, YES);
            sim_clear(u), sim_clear(c);
            struct sim_conn *one = first ? u : c, *two = first ? c : u;
            sim_send(one, "last words");
            sim_fin(one);
            sim_run(s);
            EXPECT_GOT(two, "last words");
            EXPECT(sim_ended(two) && !sim_closed(two) && !sim_ended(one));
            sim_say(two, "still here");
            EXPECT_GOT(one, "still here");
            sim_send(two, ".");
            sim_fin(two);
            sim_run(s);
            EXPECT_GOT(one, ".");
            EXPECT(sim_ended(one) && !sim_cut(one));
            EXPECT(sim_closed(one) && sim_closed(two));
            EXPECT_EQ(sim_reasons(s, REASON_none), 1);
            EXPECT_NOTHING_LEFT(s);
            SIM_END(s);
        }
    }
}

TEST(a_reset_ends_both)
{
    for (int first = 0; first < 2; first++) {
        test_row("%d", first);
        struct sim *s = sim_new(SIM_PLAIN);
        struct sim_conn *c = sim_client(s);
        sim_say(c, ASK);
        struct sim_conn *u = sim_next(s);
        sim_say(u, YES);
        sim_reset(first ? u : c);
        sim_run(s);
        EXPECT(sim_closed(c) && sim_closed(u));
        EXPECT_NOTHING_LEFT(s);
        SIM_END(s);
    }
}

TEST(refused_by_an_answer_like_any_other)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, ASK);
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno");
    EXPECT_GOT(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno");
    EXPECT(!sim_closed(c) && !sim_closed(u));
    sim_clear(u);
    sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_GOT(u, "GET / HTTP/1.1\r\nHost: h\r\n" SIM_FORWARD "\r\n");
    sim_say(u, "HTTP/1.1 204 No Content\r\n\r\n");
    SIM_END(s);
}

TEST(a_101_that_nobody_asked_for)
{
    static const char *const asks[] = {"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\nx"};
    for (size_t i = 0; i < 2; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_PLAIN);
        struct sim_conn *c = sim_client(s);
        sim_say(c, asks[i]);
        struct sim_conn *u = sim_next(s);
        EXPECT_HASNT(u, "Upgrade");
        sim_say(u, YES "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
        EXPECT_HAS(c, "HTTP/1.1 502 Bad Gateway\r\n");
        EXPECT_HAS(c, "\"reason\":\"upstream_bad\"");
        EXPECT_HASNT(c, "200 OK");
        EXPECT(sim_closed(u));
        SIM_END(s);
    }
}

/* Both have said all; what one has not taken yet is still delivered. */
TEST(the_last_bytes_are_delivered)
{
    static char block[50000];
    for (int first = 0; first < 2; first++) {
        for (int order = 0; order < 2; order++) {
            test_row("%d %d", first, order);
            struct sim *s = sim_new(SIM_PLAIN);
            s->client_window = s->up_window = 1000;
            struct sim_conn *c = sim_client(s);
            sim_say(c, ASK);
            struct sim_conn *u = sim_next(s);
            sim_say(u, YES);
            sim_clear(c), sim_clear(u);
            struct sim_conn *from = first ? u : c, *to = first ? c : u;
            sim_fill(block, sizeof block, 0);
            to->stalled = true;
            if (order) {
                sim_fin(to);
                sim_run(s);
            }
            sim_send_str(from, str_of(block, sizeof block));
            sim_fin(from);
            sim_run(s);
            if (!order) {
                sim_fin(to);
                sim_run(s);
            }
            EXPECT(!sim_closed(to));
            for (int i = 0; i < 100; i++)
                sim_drink(to, 700);
            EXPECT_STR_EQ(sim_text(to), str_of(block, sizeof block));
            EXPECT(sim_ended(to) && !sim_cut(to));
            EXPECT(sim_closed(from) && sim_closed(to));
            EXPECT_EQ(sim_reasons(s, REASON_none), 1);
            EXPECT_NOTHING_LEFT(s);
            SIM_END(s);
        }
    }
}

/* A tunnel with a slow reader does not fill the memory. */
TEST(back_pressure)
{
    static char block[65536];
    for (int first = 0; first < 2; first++) {
        test_row("%d", first);
        struct sim *s = sim_new(SIM_PLAIN);
        s->client_window = s->up_window = 5000;
        struct sim_conn *c = sim_client(s);
        sim_say(c, ASK);
        struct sim_conn *u = sim_next(s);
        sim_say(u, YES);
        struct sim_conn *from = first ? u : c, *to = first ? c : u;
        uint64_t sum = 0;
        sim_clear(c), sim_clear(u);
        to->sum = to->total = 0;
        to->stalled = to->forgetful = true;
        for (uint64_t sent = 0; sent < 32 * sizeof block; sent += sizeof block) {
            sim_fill(block, sizeof block, sent);
            sum = sim_sum(sum, block, sizeof block);
            sim_send_str(from, str_of(block, sizeof block));
            sim_run(s);
            sim_drink(to, 5000);
        }
        sim_fin(from);
        to->stalled = false;
        sim_run(s);
        EXPECT_EQ(to->total, 32 * sizeof block);
        EXPECT_EQ(to->sum, sum);
        EXPECT(sim_ended(to));
        EXPECT(s->buffered_peak < 192 * 1024);
        EXPECT(sim_metric(s, METRIC_pauses_total) > 0);
        SIM_END(s);
    }
}
