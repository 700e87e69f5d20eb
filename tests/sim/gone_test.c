/* SPDX-License-Identifier: Apache-2.0 */
/* One side goes away, at every byte: the other is told at once, and nothing is left. */
#include "test.h"

#include "sim.h"

#define POST "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define LENGTH "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
#define CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
#define HINTED "HTTP/1.1 103 Early Hints\r\n\r\n" LENGTH
#define UNTIL_CLOSE "HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello"

static void leave(struct sim_conn *c, bool reset)
{
    if (reset)
        sim_reset(c);
    else
        sim_fin(c);
    sim_run(c->sim);
}

static void up_has_gone(struct sim *s)
{
    struct sim_conn *u;
    while ((u = sim_next(s)) != NULL)
        EXPECT(sim_closed(u));
}

TEST(the_client_at_every_byte_of_its_request)
{
    struct sim *s = sim_new(SIM_PLAIN);
    for (int reset = 0; reset < 2; reset++) {
        for (size_t n = 0; n < sizeof POST; n++) {
            test_row("%zu %d", n, reset);
            struct sim_conn *c = sim_client(s);
            sim_send_str(c, str_of(POST, n));
            sim_run(s);
            leave(c, reset);
            EXPECT(sim_closed(c));
            up_has_gone(s);
            EXPECT_NOTHING_LEFT(s);
        }
        for (size_t n = 0; n < sizeof POST; n++) {           /* the bytes and the end are seen together */
            test_row("%zu %d, at once", n, reset);
            struct sim_conn *c = sim_client(s);
            sim_send_str(c, str_of(POST, n));
            leave(c, reset);
            EXPECT(sim_closed(c));
            up_has_gone(s);
            EXPECT_NOTHING_LEFT(s);
        }
    }
    EXPECT(sim_reasons(s, REASON_client_gone) > 40);
    SIM_END(s);
}

TEST(the_client_while_a_connection_is_made)
{
    for (int reset = 0; reset < 2; reset++) {
        test_row("%d", reset);
        struct sim *s = sim_new(SIM_PLAIN);
        s->connect = SIM_HANG;
        struct sim_conn *c = sim_client(s);
        sim_say(c, POST);
        struct sim_conn *u = sim_next(s);
        leave(c, reset);
        EXPECT(sim_closed(c) && sim_closed(u));
        EXPECT_GOT(u, "");
        EXPECT_NOTHING_LEFT(s);
        SIM_END(s);
    }
}

TEST(the_client_at_every_byte_of_its_answer)
{
    static const char *const answers[] = {LENGTH, CHUNKED, HINTED, UNTIL_CLOSE};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct sim *s = sim_new(SIM_PLAIN);
        for (int reset = 0; reset < 2; reset++) {
            for (size_t n = 0; n < strlen(answers[i]); n++) {
                test_row("%zu: %zu %d", i, n, reset);
                struct sim_conn *c = sim_client(s);
                sim_say(c, GET);
                struct sim_conn *u = sim_next(s);
                sim_send_str(u, str_of(answers[i], n));
                sim_run(s);
                leave(c, reset);
                EXPECT(sim_closed(c) && sim_closed(u));
                EXPECT_NOTHING_LEFT(s);
            }
        }
        SIM_END(s);
    }
}

/* The client stops taking, then goes: what waits for it goes too. */
TEST(the_client_with_bytes_on_their_way_to_it)
{
    static char block[200000];
    for (int reset = 0; reset < 2; reset++) {
        for (int kept = 0; kept < 2; kept++) {
            test_row("%d %d", reset, kept);
            struct sim *s = sim_new(SIM_PLAIN);
            s->client_window = 1000;
            struct sim_conn *c = sim_client(s);
            c->stalled = true;
            sim_say(c, GET);
            struct sim_conn *u = sim_next(s);
            sim_say(u, kept ? "HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n" : "HTTP/1.1 200 OK\r\n\r\n");
            sim_send_str(u, str_of(block, kept ? 30000 : sizeof block));
            sim_run(s);
            EXPECT(sim_metric(s, METRIC_buffered_bytes) > 20000);
            EXPECT_EQ(sim_metric(s, METRIC_requests_in_flight), !kept);
            leave(c, reset);
            EXPECT(sim_closed(c));
            EXPECT_EQ(sim_closed(u), !kept);
            EXPECT_EQ(sim_metric(s, METRIC_buffered_bytes), 0);
            SIM_END(s);
        }
    }
}

/* What the endpoint has said of an answer when it goes: 502 before the head is whole, a cut after it. */
TEST(the_endpoint_at_every_byte_of_its_answer)
{
    static const struct { const char *answer; size_t head; bool until_close; } rows[] = {
        {LENGTH, sizeof "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" - 1, false},
        {CHUNKED, sizeof "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" - 1, false},
        {HINTED, sizeof HINTED - 1 - 5, false},
        {UNTIL_CLOSE, sizeof UNTIL_CLOSE - 1 - 5, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sim *s = sim_new(SIM_PLAIN);
        for (int how = 0; how < 4; how++) {                  /* FIN or reset, with the bytes or after them */
            size_t len = strlen(rows[i].answer);
            for (size_t n = 0; n < len + rows[i].until_close; n++) {
                test_row("%zu: %zu %d", i, n, how);
                struct sim_conn *c = sim_client(s);
                sim_say(c, GET);
                struct sim_conn *u = sim_next(s);
                sim_send_str(u, str_of(rows[i].answer, n));
                if (how < 2)
                    sim_run(s);
                leave(u, how & 1);
                EXPECT(sim_closed(u));
                bool lost = how == 3;                        /* a reset takes the bytes with it that nobody has read */
                if (n < rows[i].head || lost) {
                    EXPECT_HAS(c, "HTTP/1.1 502 Bad Gateway\r\n");
                    EXPECT(!sim_closed(c));
                } else if (rows[i].until_close && how != 1) {
                    EXPECT_HAS(c, "\r\n0\r\n\r\n");
                    EXPECT(!sim_closed(c));
                } else {
                    EXPECT_HAS(c, "HTTP/1.1 200 OK\r\n");
                    EXPECT_HASNT(c, "502");
                    EXPECT_HASNT(c, "\r\n0\r\n\r\n");
                    EXPECT(sim_closed(c));
                }
                sim_reset(c);
                sim_run(s);
                EXPECT_NOTHING_LEFT(s);
            }
        }
        SIM_END(s);
    }
}

/* The endpoint goes away in the middle of the request's body. */
TEST(the_endpoint_before_it_has_the_request)
{
    for (int reset = 0; reset < 2; reset++) {
        for (int answer = 0; answer < 2; answer++) {
            test_row("%d %d", reset, answer);
            struct sim *s = sim_new(SIM_PLAIN);
            struct sim_conn *c = sim_client(s);
            sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nhello");
            struct sim_conn *u = sim_next(s);
            if (answer)
                sim_send(u, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
            if (reset && answer)
                sim_run(s);
            leave(u, reset);
            if (answer)
                EXPECT_GOT(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
            else
                EXPECT_HAS(c, "HTTP/1.1 502 Bad Gateway\r\n");
            EXPECT(sim_closed(u) && sim_ended(c) && !sim_cut(c));
            SIM_END(s);
        }
    }
}

/* An endpoint that closes while weir's writes wait for it: what it has said before is still its answer. */
TEST(an_answer_behind_a_write_that_fails)
{
    static char block[50000];
    struct sim *s = sim_new(SIM_PLAIN);
    s->up_window = 1000;
    struct sim_conn *c = sim_client(s);
    sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    u->stalled = true;
    sim_send_str(c, str_of(block, sizeof block));
    sim_run(s);
    sim_send(u, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
    sim_fin(u);
    sim_run(s);
    EXPECT_HAS(c, "HTTP/1.1 413 Content Too Large\r\n");
    EXPECT(sim_closed(u) && sim_ended(c) && !sim_cut(c));
    EXPECT_EQ(sim_metric(s, METRIC_buffered_bytes), 0);
    SIM_END(s);
}

TEST(both_at_once)
{
    static const char *const answers[] = {"", "HTTP/1.1 200", LENGTH, UNTIL_CLOSE};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        for (int how = 0; how < 4; how++) {
            for (uint64_t seed = 0; seed < 8; seed++) {
                test_row("%zu %d %d", i, how, (int)seed);
                struct sim *s = sim_new_with(&(struct sim_conf){.yaml = SIM_PLAIN, .seed = seed});
                s->shuffle = true;
                struct sim_conn *c = sim_client(s);
                sim_say(c, GET);
                struct sim_conn *u = sim_next(s);
                sim_send(u, answers[i]);
                (how & 1 ? sim_reset : sim_fin)(u);
                (how & 2 ? sim_reset : sim_fin)(c);
                sim_run(s);
                EXPECT(sim_closed(c) && sim_closed(u));
                EXPECT_NOTHING_LEFT(s);
                SIM_END(s);
            }
        }
    }
}
