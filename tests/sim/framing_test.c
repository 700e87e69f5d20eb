/* SPDX-License-Identifier: Apache-2.0 */
/* Heads: what travels on, what does not, and what is refused. */
#include "test.h"

#include "sim.h"

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

TEST(requests_as_the_endpoint_sees_them)
{
    static const struct { const char *request, *up; } rows[] = {
        {"GET http://h/a?b HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n", "GET /a?b HTTP/1.1\r\nA: b\r\nHost: h\r\n" SIM_FORWARD "\r\n"},
        {"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n" SIM_FORWARD "\r\n"},
        {"GET http://h?q HTTP/1.1\r\nHost: h\r\n\r\n", "GET /?q HTTP/1.1\r\nHost: h\r\n" SIM_FORWARD "\r\n"},
        {"GET /a/../b//c/./%7ed?x=/../y HTTP/1.1\r\nHost: h\r\n\r\n",
         "GET /b/c/~d?x=/../y HTTP/1.1\r\nHost: h\r\n" SIM_FORWARD "\r\n"},
        {"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n" SIM_FORWARD "\r\n"},
        {"GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, x-one, X-Two\r\nX-One: 1\r\nKeep-Alive: 5\r\nx-two: 2\r\n"
         "X-Three: 3\r\nProxy-Connection: keep-alive\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nX-Three: 3\r\n" SIM_FORWARD "\r\n"},
        {"GET / HTTP/1.1\r\nA: 1\r\nConnection: close, Host\r\nHost: h\r\nB: 2\r\n\r\n",
         "GET / HTTP/1.1\r\nA: 1\r\nHost: h\r\nB: 2\r\n" SIM_FORWARD "\r\n"},
        {"GET / HTTP/1.1\r\nHost: h\r\nTE: trailers, gzip\r\nConnection: TE\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\n" SIM_FORWARD "TE: trailers\r\nConnection: TE\r\n\r\n"},
        {"GET / HTTP/1.1\r\nHost: h\r\nTE: gzip\r\nConnection: TE\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n" SIM_FORWARD "\r\n"},
        {"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\n" SIM_FORWARD "\r\n"},
        {"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\n" SIM_FORWARD "\r\n"},
        {"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\n" SIM_FORWARD "\r\n"},
        {"GET / HTTP/1.1\r\nHost: h\r\nX: \r\nY:  \t z \t\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\nX: \r\nY:  \t z \t\r\n" SIM_FORWARD "\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t max = 0; max < 2; max++) {
            test_row("%zu %zu", i, max);
            struct sim *s = sim_new(SIM_PLAIN);
            s->client_read_max = max;
            struct sim_conn *c = sim_client(s);
            sim_say(c, rows[i].request);
            struct sim_conn *u = sim_next(s);
            if (EXPECT(u != NULL)) {
                EXPECT_GOT(u, rows[i].up);
                sim_say(u, OK);
                EXPECT_HAS(c, "HTTP/1.1 200 OK\r\n");
            }
            SIM_END(s);
        }
    }
}

TEST(answers_as_the_client_sees_them)
{
    static const struct { const char *answer, *got; } rows[] = {
        {"HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nA: b\r\nContent-Length: 0\r\n\r\n",
         "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 0\r\n\r\n"},
        {"HTTP/1.1 299 Whatever it is\r\nContent-Length: 0\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
         "HTTP/1.1 299 Whatever it is\r\nContent-Length: 0\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n"},
        {"HTTP/1.0 200 Fine\r\nA: b\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 Fine\r\nA: b\r\nContent-Length: 0\r\n\r\n"},
        {"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n",
         "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t max = 0; max < 2; max++) {
            test_row("%zu %zu", i, max);
            struct sim *s = sim_new(SIM_PLAIN);
            s->up_read_max = max;
            struct sim_conn *c = sim_client(s);
            sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
            sim_say(sim_next(s), rows[i].answer);
            EXPECT_GOT(c, rows[i].got);
            SIM_END(s);
        }
    }
}

/* Refused heads get an answer that says why, and the end of the connection; nothing goes up. */
TEST(requests_that_are_refused)
{
    static const struct { const char *request, *status, *reason; } rows[] = {
        {"GET / HTTP/1.1\r\n\r\n", "400 Bad Request", "bad_request"},
        {"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400 Bad Request", "bad_request"},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "400 Bad Request", "bad_request"},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", "501 Not Implemented", "not_implemented"},
        {"GET / HTTP/2.0\r\nHost: h\r\n\r\n", "505 HTTP Version Not Supported", "version"},
        {"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", "501 Not Implemented", "not_implemented"},
        {"GET /..%2f HTTP/1.1\r\nHost: h\r\n\r\n", "400 Bad Request", "bad_path"},
        {"GET /../x HTTP/1.1\r\nHost: h\r\n\r\n", "400 Bad Request", "bad_path"},
        {"\x16\x03\x01", "400 Bad Request", "bad_request"},
        {"POST /..%2f HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab", "400 Bad Request", "bad_path"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t max = 0; max < 2; max++) {
            char text[100];
            test_row("%zu %zu", i, max);
            struct sim *s = sim_new(SIM_PLAIN);
            s->client_read_max = max;
            struct sim_conn *c = sim_client(s);
            sim_say(c, rows[i].request);
            snprintf(text, sizeof text, "HTTP/1.1 %s\r\n", rows[i].status);
            EXPECT(sim_has(c, text));
            snprintf(text, sizeof text, "\"reason\":\"%s\"", rows[i].reason);
            EXPECT(sim_has(c, text));
            EXPECT_HAS(c, "Content-Type: application/problem+json\r\n");
            if (rows[i].reason[4] != 'p' || max > 1) {       /* a bad path's message is understood */
                EXPECT_HAS(c, "Connection: close\r\n");
                EXPECT(sim_ended(c));
            }
            EXPECT(sim_next(s) == NULL);
            SIM_END(s);
        }
    }
}

TEST(answers_that_are_refused)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/2 200 OK\r\n\r\n", "SSH-2.0-x\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "\x15\x03\x01\x00\x02\x02\x46",
        "HTTP/1.1 103 Early\r\nBad Field\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        for (size_t max = 0; max < 2; max++) {
            test_row("%zu %zu", i, max);
            struct sim *s = sim_new(SIM_PLAIN);
            s->up_read_max = max;
            struct sim_conn *c = sim_client(s);
            sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
            struct sim_conn *u = sim_next(s);
            sim_say(u, answers[i]);
            EXPECT_HAS(c, "HTTP/1.1 502 Bad Gateway\r\n");
            EXPECT_HAS(c, "\"reason\":\"upstream_bad\"");
            EXPECT(sim_closed(u) && !sim_closed(c));
            SIM_END(s);
        }
    }
}

TEST(host_modes)
{
    static const struct { const char *mode, *up; } rows[] = {
        {"client", "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n"},
        {"endpoint", "GET / HTTP/1.1\r\nA: b\r\nHost: 127.0.0.1:81\r\n"},
        {"other.example", "GET / HTTP/1.1\r\nA: b\r\nHost: other.example\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char yaml[500], want[500];
        test_row("%s", rows[i].mode);
        snprintf(yaml, sizeof yaml, SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], host: %s}}\n"
                 "routes: [{match: /, upstream: api}]\n", rows[i].mode);
        snprintf(want, sizeof want, "%s" SIM_FORWARD "\r\n", rows[i].up);
        struct sim *s = sim_new(yaml);
        struct sim_conn *c = sim_client(s);
        sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n");
        struct sim_conn *u = sim_next(s);
        EXPECT_GOT(u, want);
        sim_say(u, OK);
        SIM_END(s);
    }
}

TEST(rewrites_and_answers_of_the_routes)
{
    struct sim *s = sim_new(SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"]}}\n"
        "routes:\n"
        "  - {match: /v1/, upstream: api, rewrite: {prefix: /api/}}\n"
        "  - {match: /u/:id, upstream: api, rewrite: \"/users/:id/x\"}\n"
        "  - {match: {path: /ping, method: [GET]}, respond: {status: 201, headers: {x-a: b}, body: pong}}\n");
    struct sim_conn *c = sim_client(s);
    sim_say(c, "GET /v1/a?b HTTP/1.1\r\nHost: h\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    EXPECT_GOT(u, "GET /api/a?b HTTP/1.1\r\nHost: h\r\n" SIM_FORWARD "\r\n");
    sim_say(u, OK);
    sim_say(c, "GET /u/7 HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_GOT(u, "GET /users/7/x HTTP/1.1\r\nHost: h\r\n" SIM_FORWARD "\r\n");
    sim_say(u, OK);
    sim_clear(c);
    sim_say(c, "GET /ping HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_GOT(c, "HTTP/1.1 201 Created\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nx-a: b\r\nContent-Length: 4\r\n\r\npong");
    sim_say(c, "HEAD /ping HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_HAS(c, "HTTP/1.1 405 Method Not Allowed\r\n");
    EXPECT_HAS(c, "\r\nAllow: GET\r\n");
    sim_clear(c);
    sim_say(c, "POST /ping HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx");
    EXPECT_HAS(c, "HTTP/1.1 405 Method Not Allowed\r\n");
    sim_clear(c);
    struct sim_conn *d = sim_client(s);
    sim_say(d, "GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_HAS(d, "HTTP/1.1 404 Not Found\r\n");
    EXPECT_HAS(d, "\"reason\":\"no_route\"");
    EXPECT(!sim_closed(d));
    SIM_END(s);
}
