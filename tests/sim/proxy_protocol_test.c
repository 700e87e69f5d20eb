/* SPDX-License-Identifier: Apache-2.0 */
/* PROXY headers in front of clients' connections and of those to endpoints: who is believed, and who shares what. */
#include "test.h"

#include "client.h"
#include "sim.h"

#define SEC NSEC_PER_SEC
#define LISTEN(proxy) "version: 1\nlisten: {at: \"127.0.0.1:8080\", header_timeout: 5s, proxy_protocol: {" proxy "}}\n"
#define API "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"]}}\nroutes: [{match: /, upstream: api}]\n"
#define IN LISTEN("trusted: 10.0.0.0/8") API
#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define LINE "PROXY TCP4 203.0.113.7 198.51.100.2 4000 443\r\n"
#define SIG "\r\n\r\n\0\r\nQUIT\n"

static struct sim_conn *from(struct sim *s, const char *ip) { return sim_client_at(s, 0, 0, str_c(ip)); }

static void expect_forwarded(struct sim *s, const char *line)
{
    struct sim_conn *u = sim_next(s);
    if (EXPECT(u != NULL))
        EXPECT_HAS(u, line);
}

static void refused(struct sim *s, struct sim_conn *c, unsigned times)
{
    EXPECT(sim_closed(c) && !sim_next(s));
    EXPECT_GOT(c, "");
    EXPECT_EQ(sim_metric(s, METRIC_proxy_protocol_refused_total), times);
}

TEST(the_caller_is_whom_the_header_names)
{
    static const struct { const char *what; struct str header; const char *caller; } rows[] = {
        {"a line", {LINE, sizeof LINE - 1}, "X-Forwarded-For: 203.0.113.7\r\n"},
        {"bytes", {SIG "\x21\x11\0\x0c\xcb\0\x71\x07\xc6\x33\x64\x02\x0f\xa0\x01\xbb", 28}, "X-Forwarded-For: 203.0.113.7\r\n"},
        {"IPv6", {"PROXY TCP6 2001:db8::7 ::1 1 2\r\n", 32}, "X-Forwarded-For: 2001:db8::7\r\n"},
        {"UNKNOWN", {"PROXY UNKNOWN\r\n", 15}, "X-Forwarded-For: 10.1.1.1\r\n"},
        {"LOCAL", {SIG "\x20\0\0\0", 16}, "X-Forwarded-For: 10.1.1.1\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int how = 0; how < 4; how++) {
            test_row("%s %d", rows[i].what, how);
            struct sim *s = sim_new(IN);
            s->client_read_max = how == 2 ? 3 : 0;
            struct sim_conn *c = from(s, "10.1.1.1");
            if (how == 1) {
                sim_drip(c, rows[i].header);         /* byte by byte, */
                sim_drip(c, STR(GET));
            } else if (how == 3) {
                sim_send_str(c, rows[i].header);     /* or the header alone, and after a while a request */
                sim_run(s);
                EXPECT(!sim_closed(c));
                sim_say(c, GET);
            } else {
                sim_send_str(c, rows[i].header);     /* or all at once */
                sim_say(c, GET);
            }
            struct sim_conn *u = sim_next(s);
            if (EXPECT(u != NULL)) {
                EXPECT_HAS(u, rows[i].caller);
                EXPECT_HASNT(u, "PROXY");
                sim_say(u, OK);
            }
            EXPECT_GOT(c, OK);
            sim_clear(u);
            sim_say(c, GET);                         /* and so for every request of the connection */
            EXPECT_HAS(u, rows[i].caller);
            sim_say(u, OK);
            EXPECT_EQ(sim_metric(s, METRIC_proxy_protocol_refused_total), 0);
            SIM_END(s);
        }
    }
}

/* Limits know the caller, and not the proxy. */
TEST(limits_are_the_callers)
{
    struct sim *s = sim_new(LISTEN("trusted: 10.0.0.0/8") "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], pool: {max: 0}}}\n"
                            "routes: [{match: /, upstream: api, filters: [{token_bucket: {rate: 1/h, burst: 1}}]}]\n");
    for (int i = 0; i < 3; i++) {
        struct sim_conn *c = from(s, "10.1.1.1");
        sim_send(c, i == 1 ? "PROXY TCP4 203.0.113.8 10.0.0.1 4000 443\r\n" : LINE);
        sim_say(c, GET);
        struct sim_conn *u = sim_next(s);
        EXPECT_EQ(u != NULL, i < 2);
        if (u)
            sim_say(u, OK);
        EXPECT_HAS(c, i < 2 ? "HTTP/1.1 200 OK" : "HTTP/1.1 429 Too Many Requests");
        sim_fin(c);
    }
    SIM_END(s);
}

/* What the named caller says of others counts only if it is a trusted proxy of HTTP too; the proxy in front does not vouch for it. */
TEST(the_named_callers_own_words)
{
    struct sim *s = sim_new("trusted_proxies: 10.0.0.0/8\n" IN);
    struct sim_conn *c = from(s, "10.1.1.1");
    sim_send(c, LINE);
    sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.99\r\n\r\n");
    expect_forwarded(s, "X-Forwarded-For: 203.0.113.7\r\n");
    c = from(s, "10.1.1.1");
    sim_send(c, "PROXY TCP4 10.7.7.7 198.51.100.2 4000 443\r\n");
    sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.99\r\n\r\n");
    expect_forwarded(s, "X-Forwarded-For: 192.0.2.99, 10.7.7.7\r\n");
    SIM_END(s);
}

TEST(a_trusted_proxy_must_send_one)
{
    static const char *const rows[] = {
        GET, "\r\n" GET, "PROXY\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n" GET, "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n" GET, "\x16\x03\x01",
        "PROXY UNKNOWN" "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i]);
        struct sim *s = sim_new(IN);
        struct sim_conn *c = from(s, "10.1.1.1");
        sim_say(c, rows[i]);
        refused(s, c, 1);
        EXPECT_NOTHING_LEFT(s);
        SIM_END(s);
    }
}

/* One header is all: a second one is no HTTP. */
TEST(a_second_header)
{
    struct sim *s = sim_new(IN);
    struct sim_conn *c = from(s, "10.1.1.1");
    sim_send(c, LINE);
    sim_say(c, "PROXY TCP4 192.0.2.55 198.51.100.2 4000 443\r\n" GET);
    EXPECT_HAS(c, "HTTP/1.1 400 Bad Request");
    EXPECT(!sim_next(s));
    SIM_END(s);
}

/* From an address that is served for itself a header is what it looks like: no HTTP. */
TEST(others_are_served)
{
    struct sim *s = sim_new(LISTEN("trusted: 10.0.0.0/8, others: serve") API);
    struct sim_conn *c = from(s, "192.0.2.1");
    sim_say(c, LINE GET);
    EXPECT_HAS(c, "HTTP/1.1 400 Bad Request");
    EXPECT(!sim_next(s));
    c = from(s, "192.0.2.1");
    sim_say(c, GET);
    expect_forwarded(s, "X-Forwarded-For: 192.0.2.1\r\n");
    c = from(s, "10.1.1.1");                                 /* the proxy may not leave it out for that */
    sim_say(c, GET);
    refused(s, c, 1);
    SIM_END(s);
}

/* The header and the head share the time for the head. */
TEST(a_header_that_does_not_come)
{
    static const char *const parts[] = {"", "PROXY TCP4 203.0.113.7", LINE, LINE "GET / HT"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        test_row("%s", parts[i]);
        struct sim *s = sim_new(IN);
        struct sim_conn *c = from(s, "10.1.1.1");
        sim_run(s);
        sim_advance(s, 3 * SEC);
        sim_say(c, parts[i]);
        sim_advance(s, 2 * SEC - 1);
        EXPECT(!sim_closed(c));
        sim_advance(s, 1);
        EXPECT(sim_ended(c));
        EXPECT_EQ(sim_metric(s, METRIC_proxy_protocol_refused_total), i < 2);
        if (i == 3)
            EXPECT_HAS(c, "HTTP/1.1 408 Request Timeout");
        else
            EXPECT_GOT(c, "");
        SIM_END(s);
    }
}

/* Checks that only connect are no news; a header that is cut is. */
TEST(ends_before_the_first_request)
{
    static const struct { const char *part; unsigned refused; } rows[] = {{"", 0}, {"PROXY TC", 1}, {"\r\n\r\n", 1}, {LINE, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int how = 0; how < 2; how++) {
            test_row("%zu %d", i, how);
            struct sim *s = sim_new(IN);
            struct sim_conn *c = from(s, "10.1.1.1");
            sim_send(c, rows[i].part);
            if (how == 0)
                sim_run(s);
            sim_fin(c);
            sim_run(s);
            EXPECT(sim_closed(c));
            EXPECT_EQ(sim_metric(s, METRIC_proxy_protocol_refused_total), rows[i].refused);
            EXPECT_NOTHING_LEFT(s);
            c = from(s, "10.1.1.1");
            sim_send(c, rows[i].part);
            sim_reset(c);
            sim_run(s);
            EXPECT(sim_closed(c));
            EXPECT_NOTHING_LEFT(s);
            SIM_END(s);
        }
    }
}

/* One that waits for its header when weir stops is let go like one that waits for its first request. */
TEST(draining)
{
    struct sim *s = sim_new(IN);
    struct sim_conn *idle = from(s, "10.1.1.1"), *late = from(s, "10.1.1.1");
    sim_run(s);
    sim_worker(s, 0)->draining = true;
    client_drain(idle->client);
    client_drain(late->client);
    sim_advance(s, SEC / 4);
    sim_say(late, LINE GET);
    expect_forwarded(s, "X-Forwarded-For: 203.0.113.7\r\n");
    sim_advance(s, SEC / 4);
    EXPECT(sim_closed(idle) && !sim_closed(late));
    EXPECT_EQ(sim_metric(s, METRIC_proxy_protocol_refused_total), 0);
    SIM_END(s);
}

/* ---- towards endpoints ---- */

#define UP(more) "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], " more "}}\nroutes: [{match: /, upstream: api}]\n"
#define OUT(more) SIM_HEAD UP(more)
#define HEADER_OF(ip) "PROXY TCP4 " ip " 0.0.0.0 0 0\r\n"

static bool begins(const struct sim_conn *u, struct str with) { return u && str_starts(sim_text(u), with); }

/* A request on it, and the new connection that it makes; NULL: it went on an old one, which is answered. */
static struct sim_conn *asks(struct sim *s, struct sim_conn *c, struct sim_conn *old)
{
    sim_clear(c);
    if (old)
        sim_clear(old);
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s), *to = u ? u : old;
    if (EXPECT(to != NULL))
        sim_say(to, OK);
    EXPECT_GOT(c, OK);
    return u;
}

TEST(what_an_endpoint_is_told)
{
    static const struct { const char *yaml; const char *before; struct str told; } rows[] = {
        {OUT("proxy_protocol: v1"), "", {HEADER_OF("10.1.1.1"), sizeof HEADER_OF("10.1.1.1") - 1}},
        {OUT("proxy_protocol: v2"), "", {SIG "\x21\x11\0\x0c\x0a\x01\x01\x01\0\0\0\0\0\0\0\0", 28}},
        {LISTEN("trusted: 10.0.0.0/8") UP("proxy_protocol: v1"), LINE, {LINE, sizeof LINE - 1}},
        {LISTEN("trusted: 10.0.0.0/8") UP("proxy_protocol: v2"), LINE,
         {SIG "\x21\x11\0\x0c\xcb\0\x71\x07\xc6\x33\x64\x02\x0f\xa0\x01\xbb", 28}},
        {LISTEN("trusted: 10.0.0.0/8") UP("proxy_protocol: v1"), "PROXY TCP6 2001:db8::7 ::1 7 8\r\n",
         {"PROXY TCP6 2001:db8::7 ::1 7 8\r\n", 32}},
        {LISTEN("trusted: 10.0.0.0/8") UP("proxy_protocol: v1"), "PROXY UNKNOWN\r\n", {HEADER_OF("10.1.1.1"), sizeof HEADER_OF("10.1.1.1") - 1}},
        {OUT("proxy_protocol: none"), "", {"GET / HTTP/1.1\r\n", 16}},
        {OUT("pool: {max: 1}"), "", {"GET / HTTP/1.1\r\n", 16}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(rows[i].yaml);
        struct sim_conn *c = from(s, "10.1.1.1");
        sim_send(c, rows[i].before);
        sim_say(c, GET);
        struct sim_conn *u = sim_next(s);
        EXPECT(begins(u, rows[i].told));
        EXPECT(u && str_starts(str_of(sim_text(u).at + (i < 6 ? rows[i].told.len : 0), 16), STR("GET / HTTP/1.1\r\n")));
        SIM_END(s);
    }
}

/* Its own connection is used again, and nobody else's. */
TEST(a_connection_serves_one_caller)
{
    struct sim *s = sim_new(OUT("proxy_protocol: v1"));
    struct sim_conn *a = from(s, "192.0.2.1"), *b = from(s, "192.0.2.2");
    struct sim_conn *ua = asks(s, a, NULL), *ub = asks(s, b, NULL);
    EXPECT(begins(ua, STR(HEADER_OF("192.0.2.1"))) && begins(ub, STR(HEADER_OF("192.0.2.2"))));
    for (int i = 0; i < 3; i++) {
        EXPECT(!asks(s, a, ua) && begins(ua, STR("GET / ")));
        EXPECT(!asks(s, b, ub) && begins(ub, STR("GET / ")));
    }
    EXPECT_EQ(sim_metric(s, METRIC_upstream_connections_total), 2);
    SIM_END(s);
}

/* Several callers behind one proxy of HTTP, on one connection of its. */
TEST(callers_that_forwarding_fields_name)
{
    struct sim *s = sim_new("trusted_proxies: 10.0.0.0/8\n" OUT("proxy_protocol: v1"));
    struct sim_conn *c = from(s, "10.1.1.1"), *u;
    for (int i = 0; i < 2; i++) {
        sim_say(c, i == 0 ? "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.1\r\n\r\n"
                          : "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.2\r\n\r\n");
        u = sim_next(s);
        EXPECT(begins(u, i == 0 ? STR(HEADER_OF("203.0.113.1")) : STR(HEADER_OF("203.0.113.2"))));
        sim_say(u, OK);
    }
    SIM_END(s);
}

/* Such a field says no port, and the one of the proxy that wrote it is not the caller's. */
TEST(the_port_of_a_caller_that_a_field_names)
{
    struct sim *s = sim_new("trusted_proxies: 10.0.0.0/8\n" LISTEN("trusted: 10.0.0.0/8") UP("proxy_protocol: v1"));
    struct sim_conn *c = from(s, "10.1.1.1");
    sim_send(c, "PROXY TCP4 10.7.7.7 198.51.100.2 4000 443\r\n");
    sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.1\r\n\r\n");
    EXPECT(begins(sim_next(s), STR("PROXY TCP4 203.0.113.1 198.51.100.2 0 443\r\n")));
    SIM_END(s);
}

/* The version, the port and where to are part of it. */
TEST(what_makes_two_the_same)
{
    static const struct { const char *line; bool shared; } rows[] = {
        {LINE, true},
        {"PROXY TCP4 203.0.113.7 198.51.100.2 4001 443\r\n", false},
        {"PROXY TCP4 203.0.113.7 198.51.100.3 4000 443\r\n", false},
        {"PROXY TCP4 203.0.113.7 198.51.100.2 4000 444\r\n", false},
        {"PROXY TCP4 203.0.113.8 198.51.100.2 4000 443\r\n", false},
        {"PROXY UNKNOWN\r\n", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].line);
        struct sim *s = sim_new(LISTEN("trusted: 10.0.0.0/8") UP("proxy_protocol: v2"));
        struct sim_conn *a = from(s, "10.1.1.1"), *b = from(s, "10.1.1.1");
        sim_send(a, LINE);
        struct sim_conn *u = asks(s, a, NULL);
        sim_send(b, rows[i].line);
        EXPECT_EQ(asks(s, b, u) == NULL, rows[i].shared);
        SIM_END(s);
    }
}

/* What stands in the pool began otherwise. */
TEST(a_reload_that_changes_it)
{
    static const char *const yamls[] = {OUT("balance: round_robin"), OUT("proxy_protocol: v1"), OUT("proxy_protocol: v2")};
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < 3; k++) {
            test_row("%zu %zu", i, k);
            struct sim *s = sim_new(yamls[i]);
            struct sim_conn *c = from(s, "192.0.2.1"), *u = asks(s, c, NULL);
            sim_reload(s, yamls[k]);
            struct sim_conn *v = asks(s, c, u);
            EXPECT_EQ(v == NULL, i == k);
            EXPECT(!v || begins(v, k == 0 ? STR("GET / ") : k == 1 ? STR(HEADER_OF("192.0.2.1")) : STR("\r\n\r\n")));
            SIM_END(s);
        }
    }
}

/* A pool full of those who have left has room for those who are there. */
TEST(the_oldest_makes_room)
{
    struct sim *s = sim_new(OUT("proxy_protocol: v1, pool: {max: 2}"));
    struct sim_conn *c[4], *u[4];
    static const char *const ips[] = {"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"};
    for (int i = 0; i < 4; i++)
        u[i] = asks(s, c[i] = from(s, ips[i]), NULL);
    EXPECT(sim_closed(u[0]) && sim_closed(u[1]) && !sim_closed(u[2]) && !sim_closed(u[3]));
    EXPECT_EQ(sim_metric(s, METRIC_upstream_connections_idle), 2);
    EXPECT(!asks(s, c[2], u[2]) && !asks(s, c[3], u[3]));
    EXPECT(asks(s, c[0], NULL) != NULL);
    SIM_END(s);
    s = sim_new(OUT("proxy_protocol: v1, pool: {max: 0}"));
    EXPECT(sim_closed(asks(s, from(s, "192.0.2.1"), NULL)));
    SIM_END(s);
}

/* A connection that was lost in the pool is replaced by one that says the same. */
TEST(a_stale_connection)
{
    struct sim *s = sim_new(OUT("proxy_protocol: v1"));
    struct sim_conn *c = from(s, "192.0.2.1"), *u = asks(s, c, NULL);
    sim_clear(c);
    sim_send(c, GET);
    sim_run(s);
    sim_fin(u);
    sim_run(s);
    u = sim_next(s);
    EXPECT(begins(u, STR(HEADER_OF("192.0.2.1") "GET / ")));
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    EXPECT_EQ(sim_metric(s, METRIC_upstream_replays_total), 1);
    SIM_END(s);
}

/* Another try is for the same caller. */
TEST(retries)
{
    struct sim *s = sim_new(OUT("proxy_protocol: v1, filters: [{retry: {max: 1, backoff: 1ms..1ms}}]"));
    struct sim_conn *c = from(s, "192.0.2.1"), *u;
    sim_say(c, GET);
    EXPECT((u = sim_next(s)) && begins(u, STR(HEADER_OF("192.0.2.1") "GET / ")));
    sim_reset(u);
    sim_advance(s, SEC);
    EXPECT((u = sim_next(s)) && begins(u, STR(HEADER_OF("192.0.2.1") "GET / ")));
    sim_say(u, OK);
    EXPECT_HAS(c, "HTTP/1.1 200 OK");
    EXPECT_EQ(sim_metric(s, METRIC_upstream_connections_total), 2);
    SIM_END(s);
}
