/* SPDX-License-Identifier: Apache-2.0 */
/* What is too large. */
#include "test.h"

#include "sim.h"

#define YAML SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"]}}\n" \
                      "routes: [{match: /, upstream: api, max_body: 10B}]\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

TEST(max_body)
{
    static const struct { const char *request; bool refused, seen; } rows[] = {
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789", false, true},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n0123456789x", true, false},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n", true, false},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n", false, true},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n0123456789x\r\n0\r\n\r\n", true, true},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n1\r\nx\r\n", true, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t max = 0; max < 2; max++) {
            test_row("%zu %zu", i, max);
            struct sim *s = sim_new(YAML);
            s->client_read_max = max;
            struct sim_conn *c = sim_client(s);
            sim_say(c, rows[i].request);
            struct sim_conn *u = sim_next(s);
            EXPECT_EQ(u != NULL, rows[i].seen);
            if (rows[i].refused) {
                EXPECT_HAS(c, "HTTP/1.1 413 Content Too Large\r\n");
                EXPECT_HAS(c, "\"reason\":\"body_too_large\"");
                EXPECT(!u || sim_closed(u));
                EXPECT_EQ(sim_reasons(s, REASON_body_too_large), 1);
            } else {
                sim_say(u, OK);
                EXPECT_GOT(c, OK);
            }
            SIM_END(s);
        }
    }
}

static void fields(struct sim_conn *c, int n)
{
    sim_send(c, "GET / HTTP/1.1\r\nHost: h\r\n");
    for (int i = 1; i < n; i++) {
        char line[40];
        snprintf(line, sizeof line, "X-%d: %d\r\n", i, i);
        sim_send(c, line);
    }
    sim_say(c, "\r\n");
}

TEST(fields_in_a_head)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    fields(c, 100);
    struct sim_conn *u = sim_next(s);
    EXPECT_HAS(u, "X-99: 99\r\n");
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    fields(c, 101);
    EXPECT_HAS(c, "HTTP/1.1 431 Request Header Fields Too Large\r\n");
    EXPECT_HAS(c, "\"reason\":\"head_too_large\"");
    EXPECT(sim_ended(c));
    SIM_END(s);
}

TEST(length_of_a_head_and_of_a_target)
{
    static char text[40000];
    for (size_t max = 0; max < 1000; max += 999) {
        test_row("%zu", max);
        struct sim *s = sim_new(SIM_PLAIN);
        s->client_read_max = max;
        struct sim_conn *c = sim_client(s);
        memset(text, 'x', sizeof text);
        sim_send(c, "GET / HTTP/1.1\r\nHost: h\r\nX: ");
        sim_send_str(c, str_of(text, 31000));
        sim_say(c, "\r\n\r\n");
        struct sim_conn *u = sim_next(s);
        EXPECT(sim_text(u).len > 31000);
        sim_say(u, OK);
        EXPECT_GOT(c, OK);
        sim_send(c, "GET / HTTP/1.1\r\nHost: h\r\nX: ");
        sim_send_str(c, str_of(text, sizeof text));
        sim_run(s);
        EXPECT_HAS(c, "HTTP/1.1 431 Request Header Fields Too Large\r\n");
        EXPECT(sim_ended(c));

        c = sim_client(s);
        sim_send(c, "GET /");
        sim_send_str(c, str_of(text, 9000));
        sim_run(s);
        EXPECT_HAS(c, "HTTP/1.1 414 URI Too Long\r\n");
        EXPECT(sim_ended(c));
        SIM_END(s);
    }
}

TEST(the_head_of_an_answer)
{
    static char text[40000];
    memset(text, 'x', sizeof text);
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nX: ");
    sim_send_str(u, str_of(text, sizeof text));
    sim_run(s);
    EXPECT_HAS(c, "HTTP/1.1 502 Bad Gateway\r\n");
    EXPECT(sim_closed(u) && !sim_closed(c));
    SIM_END(s);
}

/* Trailers are bounded as heads are. */
TEST(trailers)
{
    static char text[40000];
    memset(text, 'x', sizeof text);
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ");
    struct sim_conn *u = sim_next(s);
    sim_send_str(c, str_of(text, sizeof text));
    sim_run(s);
    EXPECT_HAS(c, "HTTP/1.1 4");
    EXPECT(sim_closed(u) && sim_ended(c));
    SIM_END(s);
}
