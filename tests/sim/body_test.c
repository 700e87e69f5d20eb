/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies both ways: framing made anew, trailers, and bytes that come in any pieces. */
#include "test.h"

#include "sim.h"

#define LEN_HEAD "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n"
#define CHUNK_HEAD "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
#define UP_CHUNK_HEAD "POST / HTTP/1.1\r\nHost: h\r\n" SIM_FORWARD "Transfer-Encoding: chunked\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

/* Without the framing of chunks: the head as it is, then data, "|", and the trailer section. */
static void unchunk(struct str in, char *out, size_t cap)
{
    const char *at = memmem(in.at, in.len, "\r\n\r\n", 4), *end = in.at + in.len;
    size_t n = 0;
    out[0] = '\0';
    if (!at)
        return;
    at += 4;
    n = (size_t)(at - in.at);
    memcpy(out, in.at, n);
    while (at < end) {
        char *after;
        unsigned long len = strtoul(at, &after, 16);
        at = after + 2;
        if (len == 0) {
            n += (size_t)snprintf(out + n, cap - n, "|%.*s", (int)(end - at), at);
            return;
        }
        if (at + len + 2 > end || at[len] != '\r')
            break;
        memcpy(out + n, at, len);
        n += len;
        at += len + 2;
    }
    snprintf(out + n, cap - n, "?");
}

/* Everything is tried with these: bounds of a read at the client's side and the endpoint's, and of a write. */
static const struct { size_t client, up, client_window, up_window; } cuts[] = {
    {0, 0, 0, 0}, {1, 0, 0, 0}, {0, 1, 0, 0}, {1, 1, 0, 0}, {3, 7, 0, 0}, {0, 0, 1, 1}, {1, 1, 1, 1}, {7, 3, 5, 2},
};

static struct sim *cut_sim(const char *yaml, size_t i)
{
    struct sim *s = sim_new(yaml);
    s->client_read_max = cuts[i].client;
    s->up_read_max = cuts[i].up;
    s->client_window = cuts[i].client_window;
    s->up_window = cuts[i].up_window;
    return s;
}

TEST(requests)
{
    static const struct { const char *request, *up; } rows[] = {
        {LEN_HEAD "\r\n0123456789", LEN_HEAD SIM_FORWARD "\r\n0123456789"},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
         "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n" SIM_FORWARD "\r\n"},
        {CHUNK_HEAD "\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n", UP_CHUNK_HEAD "0123456789|\r\n"},
        {CHUNK_HEAD "\r\n0\r\n\r\n", UP_CHUNK_HEAD "|\r\n"},
        {CHUNK_HEAD "\r\nA;x=y;z=\"q;\"\r\n0123456789\r\n000;last\r\n\r\n", UP_CHUNK_HEAD "0123456789|\r\n"},
        {CHUNK_HEAD "Trailer: x-sum\r\n\r\n1\r\n0\r\n0\r\nX-Sum: 7\r\nContent-Length: 3\r\nX-Other: 8\r\n\r\n",
         UP_CHUNK_HEAD "0|X-Sum: 7\r\nX-Other: 8\r\n\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t k = 0; k < sizeof cuts / sizeof *cuts; k++) {
            test_row("%zu, cut %zu", i, k);
            struct sim *s = cut_sim(SIM_PLAIN, k);
            struct sim_conn *c = sim_client(s), *u = NULL;
            for (int again = 0; again < 2; again++) {
                char text[2000];
                sim_say(c, rows[i].request);
                u = u ? u : sim_next(s);
                snprintf(text, sizeof text, "%.*s", STR_ARG(sim_text(u)));
                if (strchr(rows[i].up, '|'))
                    unchunk(sim_text(u), text, sizeof text);
                EXPECT_CSTR(text, rows[i].up);
                sim_clear(u);
                sim_say(u, OK);
                EXPECT_GOT(c, OK);
            }
            EXPECT(sim_next(s) == NULL);
            SIM_END(s);
        }
    }
}

#define CHUNKED "Transfer-Encoding: chunked\r\n\r\n"

TEST(answers)
{
    static const struct { const char *answer, *got; } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
         "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"},
        {"HTTP/1.1 200 OK\r\n" CHUNKED "5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n",
         "HTTP/1.1 200 OK\r\n" CHUNKED "0123456789|\r\n"},
        {"HTTP/1.1 200 OK\r\n" CHUNKED "A;x=y\r\n0123456789\r\n0;z\r\n\r\n",
         "HTTP/1.1 200 OK\r\n" CHUNKED "0123456789|\r\n"},
        {"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\n" CHUNKED "1\r\n0\r\n0\r\nX-Sum: 7\r\nTransfer-Encoding: gzip\r\n\r\n",
         "HTTP/1.1 200 OK\r\n" CHUNKED "0|X-Sum: 7\r\n\r\n"},
        {"HTTP/1.1 200 OK\r\n" CHUNKED "0\r\n\r\n", "HTTP/1.1 200 OK\r\n" CHUNKED "|\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t k = 0; k < sizeof cuts / sizeof *cuts; k++) {
            test_row("%zu, cut %zu", i, k);
            struct sim *s = cut_sim(SIM_PLAIN, k);
            struct sim_conn *c = sim_client(s), *u = NULL;
            for (int again = 0; again < 2; again++) {
                char text[2000];
                sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
                u = u ? u : sim_next(s);
                sim_say(u, rows[i].answer);
                snprintf(text, sizeof text, "%.*s", STR_ARG(sim_text(c)));
                if (strchr(rows[i].got, '|'))
                    unchunk(sim_text(c), text, sizeof text);
                EXPECT_CSTR(text, rows[i].got);
                sim_clear(c);
            }
            EXPECT(sim_next(s) == NULL);
            SIM_END(s);
        }
    }
}

/* To a client of HTTP/1.0 there are no chunks: the end of the connection ends the answer. */
TEST(a_chunked_answer_to_a_1_0_client)
{
    for (size_t k = 0; k < sizeof cuts / sizeof *cuts; k++) {
        test_row("cut %zu", k);
        struct sim *s = cut_sim(SIM_PLAIN, k);
        struct sim_conn *c = sim_client(s);
        sim_say(c, "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n");
        struct sim_conn *u = sim_next(s);
        sim_say(u, "HTTP/1.1 200 OK\r\n" CHUNKED "5\r\n01234\r\n5\r\n56789\r\n0\r\nX-Sum: 1\r\n\r\n");
        EXPECT_GOT(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n0123456789");
        EXPECT(sim_ended(c) && !sim_cut(c));
        EXPECT(!sim_closed(u));
        SIM_END(s);
    }
}

/* Each byte of a body goes on when it comes: nothing waits for more. */
TEST(nothing_is_held_back)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, CHUNK_HEAD "\r\n1\r\na");
    struct sim_conn *u = sim_next(s);
    EXPECT_GOT(u, UP_CHUNK_HEAD "1\r\na\r\n");
    sim_say(c, "\r\n2\r\nb");
    EXPECT_GOT(u, "1\r\nb\r\n");
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
    EXPECT_HAS(c, "200 OK");
    sim_clear(c);
    sim_say(u, "x");
    EXPECT_GOT(c, "x");
    sim_say(c, "c");
    EXPECT_GOT(u, "1\r\nc\r\n");
    sim_say(u, "y");
    EXPECT_GOT(c, "y");
    sim_say(c, "\r\n0\r\n\r\n");
    EXPECT_GOT(u, "0\r\n\r\n");
    sim_say(u, "z");
    EXPECT_GOT(c, "z");
    SIM_END(s);
}

#define NO "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"

/* An answer before the request's body is whole: it goes down, and neither connection is used again. */
TEST(early_answers)
{
    static const char *const requests[] = {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n01234",
                                           CHUNK_HEAD "\r\n5\r\n01234\r\n"};
    for (size_t i = 0; i < 2; i++) {
        for (size_t max = 0; max < 2; max++) {
            test_row("%zu %zu", i, max);
            struct sim *s = sim_new(SIM_PLAIN);
            s->client_read_max = s->up_read_max = max;
            struct sim_conn *c = sim_client(s);
            sim_say(c, requests[i]);
            struct sim_conn *u = sim_next(s);
            sim_say(u, NO);
            EXPECT_GOT(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
            EXPECT(sim_ended(c) && !sim_cut(c));
            EXPECT(sim_closed(u));
            EXPECT(sim_next(s) == NULL);
            SIM_END(s);
        }
    }
}

/* ... and a client that goes on sending until it has read the answer is not reset. */
TEST(what_comes_behind_an_early_answer_is_dropped)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, CHUNK_HEAD "\r\n5\r\n01234\r\n");
    struct sim_conn *u = sim_next(s);
    sim_say(u, NO);
    EXPECT(sim_ended(c) && !sim_closed(c));
    sim_say(c, "3\r\n567\r\n");
    sim_say(c, "0\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT(!sim_closed(c));
    sim_fin(c);
    sim_run(s);
    EXPECT(sim_closed(c) && !sim_cut(c));
    EXPECT(sim_next(s) == NULL);
    EXPECT_NOTHING_LEFT(s);
    SIM_END(s);
}

/* A little rest of known length is waited for, and the client's connection goes on behind it. */
TEST(a_short_rest_is_dropped_and_the_client_stays)
{
    for (size_t max = 0; max < 2; max++) {
        for (int cut = 0; cut <= 5; cut++) {
            test_row("%zu %d", max, cut);
            struct sim *s = sim_new(SIM_PLAIN);
            s->client_read_max = s->up_read_max = max;
            struct sim_conn *c = sim_client(s);
            sim_say(c, LEN_HEAD "\r\n01234");
            struct sim_conn *u = sim_next(s);
            sim_say(u, NO);
            EXPECT_GOT(c, NO);
            EXPECT(sim_closed(u) && !sim_ended(c));
            sim_send_str(c, str_of("56789", (size_t)cut));
            sim_run(s);
            EXPECT_EQ(sim_metric(s, METRIC_requests_in_flight), 0);
            sim_send(c, &"56789"[cut]);
            sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
            u = sim_next(s);
            EXPECT_GOT(u, "GET / HTTP/1.1\r\nHost: h\r\n" SIM_FORWARD "\r\n");
            sim_say(u, OK);
            EXPECT_GOT(c, OK);
            SIM_END(s);
        }
    }
}

TEST(a_short_rest_that_does_not_come)
{
    struct sim *s = sim_new("version: 1\nlisten: [{at: \"127.0.0.1:8080\", min_rate: 0B}]\n"
                            "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"]}}\nroutes: [{match: /, upstream: api}]\n");
    struct sim_conn *c = sim_client(s);
    sim_say(c, LEN_HEAD "\r\n01234");
    sim_say(sim_next(s), NO);
    sim_advance(s, 29 * NSEC_PER_SEC);
    sim_say(c, "5");
    sim_advance(s, 30 * NSEC_PER_SEC - 1);
    EXPECT(!sim_ended(c));
    sim_advance(s, 1);
    EXPECT(sim_closed(c));
    EXPECT_NOTHING_LEFT(s);
    SIM_END(s);
}

/* The head of the answer comes early, its body after the rest of the request: both are whole. */
TEST(an_early_head_with_a_late_end)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, LEN_HEAD "\r\n01234");
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
    sim_say(c, "56789");
    EXPECT_HAS(u, "0123456789");
    sim_say(u, "k");
    EXPECT_GOT(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    EXPECT(!sim_closed(u) && !sim_ended(c));
    SIM_END(s);
}

TEST(broken_chunks_from_a_client)
{
    static const char *const bodies[] = {"x\r\n", "5\r\n01234xx", "5 \r\n", "1\r\n0\n", "fffffffffffffffff\r\n",
                                         "0\r\nbad trailer\r\n\r\n", "-1\r\n", "1\r\n0\r\n0\r\n: x\r\n\r\n"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        for (size_t max = 0; max < 2; max++) {
            test_row("%zu %zu", i, max);
            struct sim *s = sim_new(SIM_PLAIN);
            s->client_read_max = max;
            struct sim_conn *c = sim_client(s);
            sim_say(c, CHUNK_HEAD "\r\n");
            struct sim_conn *u = sim_next(s);
            sim_say(c, bodies[i]);
            EXPECT_HAS(c, "HTTP/1.1 400 Bad Request\r\n");
            EXPECT_HAS(c, "Connection: close\r\n");
            EXPECT_HASNT(u, "0\r\n\r\n");
            EXPECT(sim_closed(u) && sim_ended(c));
            EXPECT_EQ(sim_reasons(s, REASON_bad_request), 1);
            SIM_END(s);
        }
    }
}

TEST(broken_chunks_from_an_endpoint)
{
    static const char *const bodies[] = {"x\r\n", "5\r\nabcdexx", "0\r\nbad trailer\r\n\r\n"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        for (size_t max = 0; max < 2; max++) {
            test_row("%zu %zu", i, max);
            struct sim *s = sim_new(SIM_PLAIN);
            s->up_read_max = max;
            struct sim_conn *c = sim_client(s);
            sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
            struct sim_conn *u = sim_next(s);
            sim_say(u, "HTTP/1.1 200 OK\r\n" CHUNKED);
            sim_say(u, bodies[i]);
            EXPECT_HASNT(c, "\r\n0\r\n");
            EXPECT(sim_closed(u) && sim_closed(c));
            EXPECT_EQ(sim_reasons(s, REASON_upstream_bad), 1);
            EXPECT_NOTHING_LEFT(s);
            SIM_END(s);
        }
    }
}
