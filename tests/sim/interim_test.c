/* SPDX-License-Identifier: Apache-2.0 */
/* 100-continue and other interim answers. */
#include "test.h"

#include "filter.h"
#include "request.h"
#include "sim.h"

#define HEAD "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"

TEST(continue_end_to_end)
{
    for (size_t max = 0; max < 2; max++) {
        test_row("%zu", max);
        struct sim *s = sim_new(SIM_PLAIN);
        s->client_read_max = s->up_read_max = max;
        struct sim_conn *c = sim_client(s), *u = NULL;
        for (int again = 0; again < 2; again++) {
            sim_say(c, HEAD "\r\n");
            u = u ? u : sim_next(s);
            EXPECT_GOT(u, HEAD SIM_FORWARD "\r\n");
            EXPECT_GOT(c, "");               /* never invented */
            sim_say(u, CONTINUE);
            EXPECT_GOT(c, CONTINUE);
            sim_say(c, "body");
            EXPECT_GOT(u, "body");
            sim_say(u, OK);
            EXPECT_GOT(c, OK);
        }
        EXPECT(!sim_closed(c) && !sim_closed(u));
        SIM_END(s);
    }
}

TEST(a_client_that_does_not_wait)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, HEAD "\r\nbody");
    struct sim_conn *u = sim_next(s);
    EXPECT_GOT(u, HEAD SIM_FORWARD "\r\nbody");
    sim_say(u, CONTINUE OK);
    EXPECT_GOT(c, CONTINUE OK);
    EXPECT(!sim_closed(c) && !sim_closed(u));
    SIM_END(s);
}

/* The endpoint does not want the body: what it says goes down, and neither side can be used again. */
TEST(refused_by_the_endpoint)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, HEAD "\r\n");
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
    EXPECT_GOT(c, "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    EXPECT(sim_closed(u) && sim_ended(c));
    SIM_END(s);
}

TEST(expectations_that_nobody_knows)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: miracles\r\n\r\n");
    EXPECT_HAS(c, "HTTP/1.1 417 Expectation Failed\r\n");
    EXPECT_HAS(c, "\"reason\":\"expectation\"");
    EXPECT(sim_next(s) == NULL && sim_ended(c));
    SIM_END(s);
}

TEST(no_continue_without_a_body_or_for_1_0)
{
    static const char *const requests[] = {
        "GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\nbody",
    };
    for (size_t i = 0; i < 2; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_PLAIN);
        struct sim_conn *c = sim_client(s);
        sim_say(c, requests[i]);
        struct sim_conn *u = sim_next(s);
        sim_say(u, CONTINUE OK);
        if (i == 1)
            EXPECT_HASNT(c, "100 Continue");
        EXPECT_HAS(c, "HTTP/1.1 200 OK\r\n");
        SIM_END(s);
    }
}

/* An endpoint that spoke HTTP/1.0 would never say 100: weir does it. */
TEST(said_for_a_1_0_endpoint)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    EXPECT_GOT(c, OK);
    sim_say(c, HEAD "\r\n");
    EXPECT_GOT(c, CONTINUE);
    u = sim_next(s);
    EXPECT_HAS(u, "POST / HTTP/1.1\r\n");
    sim_say(c, "body");
    EXPECT_HAS(u, "\r\n\r\nbody");
    sim_say(u, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    EXPECT_GOT(c, OK);
    SIM_END(s);
}

static enum verdict see_body(struct call *call)
{
    bool whole;
    EXPECT_STR(request_body_seen(call->req, &whole), "body");
    EXPECT(whole);
    return FILTER_NEXT;
}

/* A filter wants the body before there is an endpoint: weir says 100, and the endpoint's own is not passed on. */
TEST(said_when_a_filter_wants_the_body)
{
    static const struct filter reader = {.name = "reader", .places = PLACE_ANY, .needs_body = 100, .on_request = see_body};
    static const struct filter *const filters[] = {&reader, NULL};
    struct sim *s = sim_new_with(&(struct sim_conf){.filters = filters, .yaml =
        SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"]}}\n"
        "routes: [{match: /, upstream: api, filters: [reader]}]\n"});
    struct sim_conn *c = sim_client(s);
    sim_say(c, HEAD "\r\n");
    EXPECT_GOT(c, CONTINUE);
    EXPECT(sim_next(s) == NULL);
    sim_say(c, "body");
    struct sim_conn *u = sim_next(s);
    EXPECT_GOT(u, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n" SIM_FORWARD "\r\nbody");
    sim_say(u, CONTINUE OK);
    EXPECT_GOT(c, OK);
    EXPECT(!sim_closed(c));
    SIM_END(s);
}

#define EARLY "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"

TEST(hints_are_passed_on)
{
    for (size_t max = 0; max < 2; max++) {
        test_row("%zu", max);
        struct sim *s = sim_new(SIM_PLAIN);
        s->up_read_max = max;
        struct sim_conn *c = sim_client(s), *u = NULL;
        for (int again = 0; again < 2; again++) {
            sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
            u = u ? u : sim_next(s);
            sim_say(u, EARLY);
            EXPECT_GOT(c, EARLY);
            sim_say(u, EARLY "HTTP/1.1 102 Processing\r\nConnection: x\r\nX: y\r\n\r\n" OK);
            EXPECT_GOT(c, EARLY "HTTP/1.1 102 Processing\r\n\r\n" OK);
        }
        EXPECT(!sim_closed(u));
        SIM_END(s);
    }
}

TEST(not_more_than_eight)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    for (int i = 0; i < 20; i++)
        sim_say(u, EARLY);
    EXPECT_EQ(sim_text(c).len, 8 * (sizeof EARLY - 1));
    sim_clear(c);
    EXPECT_EQ(sim_metric(s, METRIC_interim_dropped_total), 12);
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    SIM_END(s);
}

TEST(none_to_a_1_0_client)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, "GET / HTTP/1.0\r\nHost: h\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    sim_say(u, EARLY OK);
    EXPECT_GOT(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    SIM_END(s);
}
