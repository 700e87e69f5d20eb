/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configurations that change while requests are at each step of their way: each goes on under the one that it began under, and
 * what it uses meanwhile is the next one's as far as both have it. Nothing is left of the old one when its last request ends.
 */
#include "test.h"

#include "listener.h"
#include "sim.h"
#include "view.h"

#define SEC NSEC_PER_SEC
#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define CONF(port, more) SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:" port "\"]" more "}}\n" \
                         "routes: [{match: /, upstream: api}]\n"
#define RESPOND SIM_HEAD "routes: [{match: /, respond: {status: 200, body: new}}]\n"

static unsigned port_of(const struct sim_conn *c) { return c ? ntohs(c->address.in.sin_port) : 0; }

/* A new connection is served by the new configuration, which answers by itself. */
static void expect_new(struct sim *s)
{
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    EXPECT_HAS(c, "\r\n\r\nnew");
}

/* ---- at each step ---- */

TEST(while_it_connects)
{
    struct sim *s = sim_new(CONF("81", ""));
    s->connect = SIM_HANG;
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    sim_reload(s, RESPOND);
    expect_new(s);
    sim_accept(u);
    sim_run(s);
    EXPECT_HAS(u, "GET / HTTP/1.1\r\n");
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    EXPECT(sim_closed(u));                                   /* nobody could use it any more */
    sim_say(c, GET);                                         /* the same connection, the next request */
    EXPECT_HAS(c, "\r\n\r\nnew");
    EXPECT_EQ(sim_metric(s, METRIC_upstream_connections), 0);
    SIM_END(s);
}

TEST(while_it_waits_for_a_slot)
{
    struct sim *s = sim_new(CONF("81", ", filters: [{concurrency: {max: 1}}]"));
    struct sim_conn *a = sim_client(s), *b = sim_client(s), *d = sim_client(s);
    sim_say(a, GET);
    sim_say(b, GET);
    struct sim_conn *u = sim_next(s);
    EXPECT(u && !sim_next(s));
    sim_reload(s, CONF("82", ", filters: [{concurrency: {max: 1}}]"));
    sim_say(d, GET);
    EXPECT(!sim_next(s));                                    /* slots of old requests count, and the queue is one */
    sim_say(u, OK);
    EXPECT_GOT(a, OK);
    struct sim_conn *v = sim_next(s);
    EXPECT_EQ(port_of(v), 81);                               /* b goes where it was to go when it came */
    sim_say(v, OK);
    EXPECT_GOT(b, OK);
    v = sim_next(s);
    EXPECT_EQ(port_of(v), 82);
    sim_say(v, OK);
    EXPECT_GOT(d, OK);
    SIM_END(s);
}

TEST(while_its_body_comes)
{
    struct sim *s = sim_new(CONF("81", ""));
    struct sim_conn *c = sim_client(s);
    sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc");
    struct sim_conn *u = sim_next(s);
    sim_reload(s, RESPOND);
    expect_new(s);
    sim_say(c, "def");
    EXPECT_HAS(u, "\r\n\r\nabcdef");
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    SIM_END(s);
}

TEST(while_it_streams)
{
    struct sim *s = sim_new(CONF("81", ""));
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    for (unsigned i = 0; i < 5; i++) {
        sim_reload(s, i % 2 ? RESPOND : CONF("82", ""));
        sim_say(u, "3\r\ntwo\r\n");
    }
    sim_say(u, "0\r\n\r\n");
    EXPECT_GOT(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n3\r\ntwo\r\n3\r\ntwo\r\n"
                  "3\r\ntwo\r\n3\r\ntwo\r\n0\r\n\r\n");
    SIM_END(s);
}

/* Whoever ended its side of the connection under a rule that allows it gets the answer. */
TEST(while_a_half_closed_client_waits)
{
    struct sim *s = sim_new("version: 1\nlisten: [{at: \"127.0.0.1:8080\", half_close: keep}]\n"
                            "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"]}}\nroutes: [{match: /, upstream: api}]\n");
    s->client_window = 10;
    struct sim_conn *c = sim_client(s);
    c->stalled = true;
    sim_send(c, GET);
    sim_fin(c);
    sim_run(s);
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
    sim_reload(s, RESPOND);
    sim_drink(c, 3);
    EXPECT(!sim_closed(c));
    sim_say(u, "k");
    while (c->end.out_len > 0)
        sim_drink(c, 3);
    EXPECT_GOT(c, OK);
    EXPECT(sim_closed(c) && !sim_cut(c));
    SIM_END(s);
}

TEST(while_it_waits_to_try_again)
{
    struct sim *s = sim_new(CONF("81", ", filters: [{retry: {backoff: 1s..2s, jitter: none}}]"));
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    sim_say(sim_next(s), "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    EXPECT(!sim_next(s));
    sim_reload(s, RESPOND);
    expect_new(s);
    sim_advance(s, 3 * SEC);
    struct sim_conn *u = sim_next(s);
    EXPECT_EQ(port_of(u), 81);
    sim_say(u, OK);
    EXPECT_HAS(c, "HTTP/1.1 200 OK\r\n");
    SIM_END(s);
}

TEST(while_it_is_a_tunnel)
{
    struct sim *s = sim_new(CONF("81", ""));
    struct sim_conn *c = sim_client(s);
    sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n");
    sim_clear(u);
    sim_clear(c);
    sim_reload(s, RESPOND);
    expect_new(s);
    sim_advance(s, 600 * SEC);                               /* its idle limit is the old configuration's */
    sim_say(c, "hello");
    EXPECT_GOT(u, "hello");
    sim_say(u, "there");
    EXPECT_GOT(c, "there");
    sim_fin(c);
    sim_fin(u);
    sim_run(s);
    EXPECT_EQ(sim_metric(s, METRIC_tunnels), 0);
    SIM_END(s);
}

TEST(between_two_bytes_of_a_head)
{
    struct sim *s = sim_new(CONF("81", ""));
    struct sim_conn *c = sim_client(s);
    sim_say(c, "GET / HT");
    sim_reload(s, RESPOND);
    sim_say(c, "TP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_HAS(c, "\r\n\r\nnew");                            /* it began after the change */
    SIM_END(s);
}

/* Many requests at all steps, many configurations, in a random order: all are answered. */
TEST(at_any_step)
{
    static const char *const confs[] = {CONF("81", ", filters: [{concurrency: {max: 3, queue: 50, max_wait: 100s}}, retry]"),
        CONF("82", ", filters: [{concurrency: {max: 2, queue: 50, max_wait: 100s}}]"),
        SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\", \"http://127.0.0.1:83\"], filters: [retry, breaker]}}\n"
        "routes: [{match: /, upstream: api}]\n"};
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct sim *s = sim_new_with(&(struct sim_conf){.yaml = confs[0], .workers = 2, .seed = seed});
        struct sim_conn *clients[20];
        for (unsigned i = 0; i < 20; i++) {
            clients[i] = sim_client_at(s, i % 2, 0, STR("192.0.2.1"));
            sim_send(clients[i], GET);
        }
        for (unsigned step = 0; step < 300; step++) {
            if (rng_below(&s->rng, 3) == 0) {
                sim_load(s, confs[rng_below(&s->rng, 3)]);
                for (unsigned i = 0; i < 2; i++) {
                    sim_reload_one(s, i);                    /* requests go on between them */
                    if (rng_below(&s->rng, 2))
                        sim_run(s);
                }
            }
            sim_advance(s, rng_below(&s->rng, SEC / 20));
            for (struct sim_conn *c = s->all; c; c = c->next) {
                if (c->client || sim_closed(c) || !sim_has(c, "\r\n\r\n") || rng_below(&s->rng, 2))
                    continue;
                sim_clear(c);
                sim_say(c, OK);
            }
        }
        for (unsigned i = 0; i < 20; i++)
            EXPECT_GOT(clients[i], OK);
        EXPECT_EQ(sim_metric(s, METRIC_requests_in_flight), 0);
        SIM_END(s);
    }
}

/* ---- what goes on ---- */

TEST(a_pool_is_the_next_ones_too)
{
    struct sim *s = sim_new(CONF("81", ", pool: {idle: 100s}"));
    struct sim_conn *c = sim_client(s), *slow = sim_client(s);
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    sim_say(u, OK);
    sim_say(slow, GET);                                      /* on the pooled connection */
    EXPECT(!sim_next(s));
    sim_reload(s, CONF("81", ", pool: {idle: 50s}"));
    sim_say(u, OK);                                          /* given back by a request of the old one */
    sim_clear(u);
    sim_say(c, GET);
    EXPECT(!sim_next(s));
    EXPECT_HAS(u, "GET / HTTP/1.1\r\n");
    sim_say(u, OK);
    sim_reload(s, CONF("81", ", pool: {idle: 50s}"));
    EXPECT_EQ(sim_metric(s, METRIC_upstream_connections_idle), 1);
    sim_advance(s, 49 * SEC);
    EXPECT(!sim_closed(u));
    sim_advance(s, 2 * SEC);
    EXPECT(sim_closed(u));
    SIM_END(s);
}

TEST(a_smaller_pool)
{
    struct sim *s = sim_new(CONF("81", ", pool: {idle: 100s}"));
    struct sim_conn *c[4], *u[4];
    for (unsigned i = 0; i < 4; i++) {
        c[i] = sim_client(s);
        sim_say(c[i], GET);
        u[i] = sim_next(s);
    }
    for (unsigned i = 0; i < 3; i++)
        sim_say(u[i], OK);
    EXPECT_EQ(sim_metric(s, METRIC_upstream_connections_idle), 3);
    sim_reload(s, CONF("81", ", pool: {idle: 100s, max: 1}"));
    EXPECT_EQ(sim_metric(s, METRIC_upstream_connections_idle), 1);
    EXPECT(sim_closed(u[0]) && sim_closed(u[1]) && !sim_closed(u[2]));       /* the newest one stays */
    sim_say(u[3], OK);                                       /* its request began when there was room */
    EXPECT(sim_closed(u[3]));
    SIM_END(s);
}

TEST(an_endpoint_that_is_gone)
{
    struct sim *s = sim_new(CONF("81", ", pool: {idle: 100s}"));
    struct sim_conn *a = sim_client(s), *b = sim_client(s);
    sim_say(a, GET);
    struct sim_conn *idle = sim_next(s);
    sim_say(b, GET);
    struct sim_conn *busy = sim_next(s);
    sim_say(idle, OK);
    sim_reload(s, CONF("82", ""));
    EXPECT(sim_closed(idle) && !sim_closed(busy));
    sim_reload(s, CONF("81", ", pool: {idle: 100s}"));       /* back before its last request has ended */
    sim_say(busy, OK);
    EXPECT(!sim_closed(busy));
    sim_clear(busy);
    sim_say(a, GET);
    EXPECT_HAS(busy, "GET / HTTP/1.1\r\n");
    sim_say(busy, OK);
    SIM_END(s);
}

/* Requests of the old configuration weigh when the new one picks. */
TEST(what_is_in_flight_counts)
{
    const char *two = SIM_HEAD "upstreams: {api: {balance: least_requests, endpoints: [\"http://127.0.0.1:81\","
                      " \"http://127.0.0.1:82\"]}}\nroutes: [{match: /, upstream: api}]\n";
    struct sim *s = sim_new(CONF("81", ""));
    for (unsigned i = 0; i < 3; i++) {
        sim_say(sim_client(s), GET);
        EXPECT_EQ(port_of(sim_next(s)), 81);
    }
    sim_reload(s, two);
    for (unsigned i = 0; i < 3; i++) {
        sim_say(sim_client(s), GET);
        EXPECT_EQ(port_of(sim_next(s)), 82);
    }
    SIM_END(s);
}

TEST(addresses_of_a_name_stay)
{
    const char *conf = SIM_HEAD "upstreams: {%s: {endpoints: [\"http://api.example:81\"]}}\nroutes: [{match: /, upstream: %s}]\n";
    char yaml[400];
    struct address v = {.len = sizeof v.in, .in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
    snprintf(yaml, sizeof yaml, conf, "a", "a");
    struct sim *s = sim_new(yaml);
    endpoints_post_addresses(sim_worker(s, 0), STR("api.example"), &v, 1);
    sim_run(s);
    sim_reload(s, yaml);
    struct sim_conn *c = sim_client(s), *u;
    sim_say(c, GET);
    EXPECT((u = sim_next(s)) && port_of(u) == 81);           /* the port is the endpoint's */
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    SIM_END(s);
}

/* What was known of a name when the configuration came is known from its first request on. */
TEST(addresses_that_come_with_the_configuration)
{
    struct sim *s = sim_new(CONF("81", ""));
    struct address v = {.len = sizeof v.in, .in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
    const struct name_known known[] = {{NULL, 0}, {&v, 1}};
    sim_load(s, SIM_HEAD "upstreams: {api: {endpoints: [\"http://nobody.example:1\", \"http://api.example:84\"]}}\n"
                "routes: [{match: /, upstream: api}]\n");
    view_change(sim_worker(s, 0), &(struct view_change){.snap = s->snap, .known = known});
    struct sim_conn *c = sim_client(s), *u;
    sim_say(c, GET);
    EXPECT((u = sim_next(s)) && port_of(u) == 84);
    sim_say(u, OK);
    SIM_END(s);
}

/* ---- listeners ---- */

#define TWO(body) "version: 1\nlisten: [127.0.0.1:8080, {at: 127.0.0.1:8081, keepalive_timeout: 20s}]\n" \
                  "routes: [{match: /, respond: {status: 200, body: " body "}}]\n"
#define ONE(body) "version: 1\nlisten: 127.0.0.1:8080\nroutes: [{match: /, respond: {status: 200, body: " body "}}]\n"

static size_t listeners(struct sim *s)
{
    size_t n = 0;
    const struct list *all = &sim_worker(s, 0)->listeners;
    for (const struct list *l = all->next; l != all; l = l->next)
        n++;
    return n;
}

TEST(a_listener_that_leaves)
{
    struct sim *s = sim_new(TWO("old"));
    struct sim_conn *kept = sim_client(s), *leaves = sim_client_at(s, 0, 1, STR("192.0.2.1")),
                    *silent = sim_client_at(s, 0, 1, STR("192.0.2.1"));
    sim_say(kept, GET);
    sim_say(leaves, GET);
    sim_say(silent, GET);
    sim_clear(kept);
    sim_clear(leaves);
    sim_reload(s, ONE("new"));
    sim_say(kept, GET);
    EXPECT_HAS(kept, "\r\n\r\nnew");
    EXPECT_HASNT(kept, "Connection");
    sim_advance(s, SEC);
    EXPECT(!sim_closed(leaves) && !sim_closed(silent));
    sim_say(leaves, GET);
    EXPECT_HAS(leaves, "\r\n\r\nold");                       /* the configuration of its listener */
    EXPECT_HAS(leaves, "Connection: close\r\n");
    EXPECT(sim_closed(leaves));
    EXPECT_EQ(listeners(s), 2);
    sim_reload(s, TWO("newer"));                             /* the address is back: another listener */
    EXPECT_EQ(listeners(s), 3);
    struct sim_conn *back = sim_client_at(s, 0, 1, STR("192.0.2.1"));
    sim_say(back, GET);
    EXPECT_HAS(back, "\r\n\r\nnewer");
    EXPECT_HASNT(back, "Connection");
    sim_advance(s, 21 * SEC);
    EXPECT(sim_closed(silent));                              /* idle for too long: the last of the old one */
    EXPECT_EQ(listeners(s), 2);
    SIM_END(s);
}

TEST(a_listener_that_nobody_uses_leaves)
{
    struct sim *s = sim_new(TWO("old"));
    sim_reload(s, ONE("new"));
    EXPECT_EQ(listeners(s), 2);                              /* for a moment it takes whoever stands at the door */
    sim_advance(s, SEC);
    EXPECT_EQ(listeners(s), 1);
    SIM_END(s);
}
