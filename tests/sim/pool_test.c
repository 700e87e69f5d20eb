/* SPDX-License-Identifier: Apache-2.0 */
/* Connections kept for later, their surprises, and which endpoint is tried. */
#include "test.h"

#include "sim.h"
#include "view.h"

#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define PUT "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define TWO SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\", \"http://127.0.0.1:82\"]%s}}\n" \
                     "routes: [{match: /, upstream: api}]\n"

/* A client whose last request left a connection in the pool. */
static struct sim_conn *warm(struct sim *s, struct sim_conn **u)
{
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    *u = sim_next(s);
    sim_say(*u, OK);
    sim_clear(c), sim_clear(*u);
    return c;
}

static unsigned port_of(const struct sim_conn *u) { return u ? ntohs(u->address.in.sin_port) : 0; }

TEST(refused_connects)
{
    static const enum sim_connect how[] = {SIM_REFUSE, SIM_REFUSE_NOW};
    static const char *const requests[] = {GET, PUT, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo"};
    for (size_t i = 0; i < 2; i++) {
        for (size_t k = 0; k < 3; k++) {
            test_row("%zu %zu", i, k);
            struct sim *s = sim_new(SIM_PLAIN);
            s->connect = how[i];
            struct sim_conn *c = sim_client(s);
            sim_say(c, requests[k]);
            EXPECT_HAS(c, "HTTP/1.1 502 Bad Gateway\r\n");
            EXPECT_HAS(c, "\"reason\":\"connect_failed\"");
            EXPECT(!sim_ended(c));
            EXPECT_EQ(sim_metric(s, METRIC_upstream_connections), 0);
            EXPECT_EQ(sim_metric(s, METRIC_attempts_total), 1);
            SIM_END(s);
        }
    }
}

/* The endpoint closed it just before: what is safe to repeat goes to a new one, and nobody sees it. */
TEST(a_stale_connection)
{
    static const struct { const char *request; bool replayed; } rows[] = {
        {GET, true}, {PUT, true}, {"DELETE / HTTP/1.1\r\nHost: h\r\n\r\n", true},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody", false},
        {"PATCH / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody", false},
        {"POST / HTTP/1.1\r\nHost: h\r\nIdempotency-Key: \"7\"\r\nContent-Length: 4\r\n\r\nbody", true},
        {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int how = 0; how < 4; how++) {
            test_row("%zu %d", i, how);
            struct sim *s = sim_new(SIM_PLAIN);
            struct sim_conn *u, *c = warm(s, &u);
            if (how & 2)
                s->client_read_max = c->end.read_max = 1;
            sim_say(c, rows[i].request);
            char was[500];
            snprintf(was, sizeof was, "%.*s", STR_ARG(sim_text(u)));
            (how & 1 ? sim_reset : sim_fin)(u);
            sim_run(s);
            struct sim_conn *again = sim_next(s);
            EXPECT_EQ(again != NULL, rows[i].replayed);
            EXPECT_EQ(sim_metric(s, METRIC_upstream_replays_total), rows[i].replayed);
            EXPECT_EQ(sim_metric(s, METRIC_attempts_total), 2);
            if (again) {
                EXPECT_GOT(c, "");
                if (!(how & 2) || !strstr(rows[i].request, "chunked"))
                    EXPECT_GOT(again, was);
                else
                    EXPECT_HAS(again, "body");
                sim_say(again, OK);
                EXPECT_GOT(c, OK);
                EXPECT(!sim_closed(again));
            } else {
                EXPECT_HAS(c, "HTTP/1.1 502 Bad Gateway\r\n");
                EXPECT_HAS(c, "\"reason\":\"upstream_reset\"");
            }
            EXPECT(!sim_ended(c) && sim_closed(u));
            SIM_END(s);
        }
    }
}

TEST(a_body_that_still_comes_when_its_connection_turns_out_stale)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *u, *c = warm(s, &u);
    sim_say(c, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nhalf");
    EXPECT_HAS(u, "half");
    s->connect = SIM_HANG;
    sim_fin(u);
    sim_run(s);
    struct sim_conn *again = sim_next(s);
    sim_say(c, "rest");
    EXPECT_GOT(again, "");
    sim_accept(again);
    sim_run(s);
    EXPECT_HAS(again, "\r\n\r\nhalfrest");
    sim_say(again, OK);
    EXPECT_GOT(c, OK);
    SIM_END(s);
}

/* More than is kept was sent already: it cannot be repeated. */
TEST(a_large_body_is_not_repeated)
{
    static char block[40000];
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *u, *c = warm(s, &u);
    sim_send(c, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 40000\r\n\r\n");
    sim_send_str(c, str_of(block, sizeof block));
    sim_run(s);
    sim_fin(u);
    sim_run(s);
    EXPECT(sim_next(s) == NULL);
    EXPECT_HAS(c, "HTTP/1.1 502 Bad Gateway\r\n");
    SIM_END(s);
}

TEST(repeated_only_once)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *u, *c = warm(s, &u);
    sim_say(c, GET);
    sim_fin(u);
    sim_run(s);
    struct sim_conn *again = sim_next(s);
    sim_fin(again);
    sim_run(s);
    EXPECT(sim_next(s) == NULL);
    EXPECT_HAS(c, "HTTP/1.1 502 Bad Gateway\r\n");
    EXPECT_HAS(c, "\"reason\":\"upstream_reset\"");
    EXPECT_EQ(sim_metric(s, METRIC_upstream_replays_total), 1);
    SIM_END(s);
}

TEST(repeated_on_a_connection_that_is_refused)
{
    static const enum sim_connect how[] = {SIM_REFUSE, SIM_REFUSE_NOW};
    for (size_t i = 0; i < 2; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_PLAIN);
        struct sim_conn *u, *c = warm(s, &u);
        s->connect = how[i];
        sim_say(c, PUT);
        sim_fin(u);
        sim_run(s);
        EXPECT_HAS(c, "HTTP/1.1 502 Bad Gateway\r\n");
        EXPECT(!sim_closed(c));
        SIM_END(s);
    }
}

/* A new connection, or one that said a byte, is not stale: the endpoint may have acted. */
TEST(not_repeated_when_it_was_not_stale)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    sim_fin(u);
    sim_run(s);
    EXPECT(sim_next(s) == NULL);
    EXPECT_HAS(c, "HTTP/1.1 502 Bad Gateway\r\n");
    c = warm(s, &u);
    sim_say(c, GET);
    sim_send(u, "H");
    sim_fin(u);
    sim_run(s);
    EXPECT(sim_next(s) == NULL);
    EXPECT_HAS(c, "HTTP/1.1 502 Bad Gateway\r\n");
    c = warm(s, &u);
    sim_say(c, GET);
    sim_send(u, "HTTP/1.1 103 Early Hints\r\n\r\n");
    sim_fin(u);
    sim_run(s);
    EXPECT(sim_next(s) == NULL);
    EXPECT_HAS(c, "HTTP/1.1 502 Bad Gateway\r\n");
    SIM_END(s);
}

TEST(an_idle_connection_that_is_closed_leaves_the_pool)
{
    static const char *const how[] = {"fin", "reset", "bytes"};
    for (size_t i = 0; i < 3; i++) {
        test_row("%s", how[i]);
        struct sim *s = sim_new(SIM_PLAIN);
        struct sim_conn *u, *c = warm(s, &u);
        if (i == 0)
            sim_fin(u);
        else if (i == 1)
            sim_reset(u);
        else
            sim_send(u, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
        sim_run(s);
        EXPECT(sim_closed(u));
        EXPECT_EQ(sim_metric(s, METRIC_upstream_connections_idle), 0);
        EXPECT_GOT(c, "");
        sim_say(c, GET);
        sim_say(sim_next(s), OK);
        EXPECT_GOT(c, OK);
        SIM_END(s);
    }
}

/* Bytes that nobody asked for are nobody's answer. */
TEST(bytes_behind_an_answer)
{
    static const char *const answers[] = {
        OK "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\npoison",
        "HTTP/1.1 204 No Content\r\n\r\npoison", "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\npoison",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\npoison",
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        for (size_t max = 0; max < 2; max++) {
            test_row("%zu %zu", i, max);
            struct sim *s = sim_new(SIM_PLAIN);
            s->up_read_max = max;
            struct sim_conn *c = sim_client(s);
            sim_say(c, max ? GET : GET GET);
            struct sim_conn *u = sim_next(s);
            sim_say(u, answers[i]);
            EXPECT_HASNT(c, "poison");
            EXPECT(sim_closed(u));
            if (max)
                sim_say(c, GET);
            u = sim_next(s);
            EXPECT(u != NULL);
            sim_clear(c);
            sim_say(u, OK);
            EXPECT_GOT(c, OK);
            SIM_END(s);
        }
    }
}

/* What a HEAD's answer carries against the rule is not taken for the next one's. */
TEST(a_body_behind_the_answer_to_head)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n");
    sim_say(u, "poison");
    EXPECT(sim_closed(u));
    EXPECT_GOT(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n");
    SIM_END(s);
}

TEST(no_more_than_pool_max)
{
    for (unsigned max = 0; max < 3; max++) {
        char yaml[400];
        test_row("%u", max);
        snprintf(yaml, sizeof yaml, SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], pool: {max: %u}}}\n"
                 "routes: [{match: /, upstream: api}]\n", max);
        struct sim *s = sim_new(yaml);
        struct sim_conn *u[4], *c[4];
        for (int i = 0; i < 4; i++) {
            c[i] = sim_client(s);
            sim_say(c[i], GET);
            u[i] = sim_next(s);
        }
        for (int i = 0; i < 4; i++)
            sim_say(u[i], OK);
        EXPECT_EQ(sim_metric(s, METRIC_upstream_connections_idle), max);
        EXPECT_EQ(sim_metric(s, METRIC_upstream_connections), max);
        EXPECT_GOT(c[3], OK);
        SIM_END(s);
    }
}

TEST(round_robin_takes_turns)
{
    char yaml[400];
    snprintf(yaml, sizeof yaml, TWO, ", balance: round_robin, pool: {max: 0}");
    struct sim *s = sim_new(yaml);
    struct sim_conn *c = sim_client(s);
    unsigned last = 0;
    for (int i = 0; i < 6; i++) {
        sim_say(c, GET);
        struct sim_conn *u = sim_next(s);
        EXPECT(port_of(u) == 81 || port_of(u) == 82);
        EXPECT(port_of(u) != last);
        last = port_of(u);
        sim_say(u, OK);
    }
    SIM_END(s);
}

TEST(least_requests_takes_the_idler_one)
{
    char yaml[400];
    snprintf(yaml, sizeof yaml, TWO, ", balance: least_requests");
    for (uint64_t seed = 0; seed < 5; seed++) {
        test_row("%d", (int)seed);
        struct sim *s = sim_new_with(&(struct sim_conf){.yaml = yaml, .seed = seed});
        struct sim_conn *u[6], *c[6];
        unsigned n[2] = {0};
        for (int i = 0; i < 6; i++) {
            c[i] = sim_client(s);
            sim_say(c[i], GET);
            u[i] = sim_next(s);
            n[port_of(u[i]) == 82]++;
        }
        EXPECT_EQ(n[0], 3);
        EXPECT_EQ(n[1], 3);
        for (int i = 0; i < 6; i++) {
            if (port_of(u[i]) == 81)
                sim_say(u[i], OK);
        }
        for (int i = 0; i < 3; i++) {
            struct sim_conn *d = sim_client(s);
            sim_clear(u[i]);
            sim_say(d, GET);
        }
        EXPECT(sim_next(s) == NULL);                 /* all three on what is pooled for 81 */
        SIM_END(s);
    }
}

/* Names become addresses by mail; an address that refuses is followed by the next one. */
TEST(addresses_of_a_name)
{
    struct sim *s = sim_new_with(&(struct sim_conf){.workers = 2, .yaml =
        SIM_HEAD "upstreams: {api: {endpoints: [\"http://api.example:81\"], pool: {max: 0}}}\n"
        "routes: [{match: /, upstream: api}]\n"});
    struct address v[2] = {0};
    for (unsigned i = 0; i < 2; i++) {
        v[i].len = sizeof v[i].in;
        v[i].in.sin_family = AF_INET;
        v[i].in.sin_port = htons((uint16_t)(81 + i));
    }
    endpoints_post_addresses(sim_worker(s, 1), STR("api.example"), v, 2);
    struct sim_conn *a = sim_client_at(s, 0, 0, STR("192.0.2.1")), *b = sim_client_at(s, 1, 0, STR("192.0.2.1"));
    sim_run(s);
    sim_say(a, GET);
    EXPECT_HAS(a, "HTTP/1.1 503 Service Unavailable\r\n");
    s->refused_port = 81;
    for (int i = 0; i < 3; i++) {
        struct sim_conn *u;
        sim_say(b, GET);
        while ((u = sim_next(s)) != NULL && port_of(u) == 81)
            EXPECT(sim_closed(u));
        EXPECT_EQ(port_of(u), 82);
        sim_say(u, OK);
        EXPECT_GOT(b, OK);
    }
    endpoints_post_addresses(sim_worker(s, 1), STR("api.example"), NULL, 0);   /* a look-up that failed: what is known stays */
    sim_run(s);
    endpoints_post_addresses(sim_worker(s, 1), STR("api.example"), v, 1);      /* only the dead one is left */
    sim_run(s);
    sim_say(b, GET);
    EXPECT_HAS(b, "\"reason\":\"connect_failed\"");
    EXPECT(!sim_closed(b));
    SIM_END(s);
}

TEST(a_name_that_is_not_resolved)
{
    struct sim *s = sim_new(SIM_HEAD "upstreams: {api: {endpoints: [\"http://api.example:81\"]}}\n"
                            "routes: [{match: /, upstream: api}]\n");
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    EXPECT_HAS(c, "HTTP/1.1 503 Service Unavailable\r\n");
    EXPECT_HAS(c, "\"reason\":\"unresolved\"");
    EXPECT(sim_next(s) == NULL && !sim_closed(c));
    sim_clear(c);
    sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody" GET);
    const char *first = strstr(c->got, "\r\n\r\n{");
    EXPECT(first && strstr(first, "HTTP/1.1 503 Service Unavailable\r\n"));
    EXPECT(!sim_ended(c));
    SIM_END(s);
}
