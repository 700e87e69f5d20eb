/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints that fail, go and come back, as clients and endpoints see it. */
#include "test.h"

#include "conf/shared.h"
#include "filter.h"
#include "health.h"
#include "lib/log.h"
#include "reason.h"
#include "route.h"
#include "sim.h"
#include "view.h"

#define SEC NSEC_PER_SEC
#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
#define BUSY "HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

#define NO(STATUS) "HTTP/1.1 " STATUS " No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

/* Endpoints at the ports 81, 82 ... */
#define URLS(N) URLS_##N
#define URLS_1 "\"http://127.0.0.1:81\""
#define URLS_2 URLS_1 ", \"http://127.0.0.1:82\""
#define URLS_3 URLS_2 ", \"http://127.0.0.1:83\""
#define URLS_4 URLS_3 ", \"http://127.0.0.1:84\""
#define CONF(N, MORE) SIM_HEAD "upstreams: {api: {endpoints: [" URLS(N) "]" MORE "}}\n" \
                               "routes: [{match: /, upstream: api}]\n"
#define TURNS ", balance: round_robin"

static struct sim *start(const char *yaml, unsigned workers)
{
    return sim_new_with(&(struct sim_conf){.yaml = yaml, .workers = workers, .seed = 5});
}

static unsigned port_of(const struct sim_conn *u) { return u ? ntohs(u->address.in.sin_port) : 0; }

/* What each port (81 to 84) answers; NULL: OK. */
struct cast { const char *say[4]; unsigned got[4]; };

/* One request through a worker, which the endpoint that gets it answers as the cast says. Returns that endpoint's port,
 * 0: none, and in *c the client. */
static unsigned ask(struct sim *s, unsigned worker, struct cast *cast, struct sim_conn **client)
{
    struct sim_conn *c = sim_client_at(s, worker, 0, STR("192.0.2.1")), *u;
    unsigned port = 0;
    sim_say(c, GET);
    u = sim_next(s);
    if (u) {
        port = port_of(u);
        cast->got[port - 81]++;
        if (!sim_closed(u))
            sim_say(u, cast->say[port - 81] ? cast->say[port - 81] : OK);
    }
    if (client)
        *client = c;
    sim_reset(c);
    sim_run(s);
    return port;
}

static void ask_many(struct sim *s, unsigned n, struct cast *cast)
{
    memset(cast->got, 0, sizeof cast->got);
    while (n-- > 0)
        ask(s, 0, cast, NULL);
}

static struct health *health_of(struct sim *s) { return sim_worker(s, 0)->view->upstreams[0].health; }

static const char *state_of(struct sim *s, size_t at)
{
    struct health_seen seen;
    health_look(health_of(s), at, clock_mono(&s->clock), &seen);
    return health_state_name(seen.state);
}

static void go_down(struct sim *s, size_t at)
{
    for (unsigned i = 0; i < 3; i++)
        health_checked(health_of(s), at, REASON_connect_failed, 0, clock_mono(&s->clock));
}

/* ---- ejection ---- */

TEST(an_endpoint_that_fails_is_left_alone_for_thirty_seconds)
{
    struct sim *s = start(CONF(2, TURNS), 1);
    struct cast cast = {.say = {BUSY}};
    ask_many(s, 10, &cast);
    EXPECT_EQ(cast.got[0], 5);
    EXPECT_CSTR(state_of(s, 0), "ejected");
    ask_many(s, 50, &cast);
    EXPECT_EQ(cast.got[0], 0);
    EXPECT_EQ(cast.got[1], 50);
    sim_advance(s, 30 * SEC - 1);
    ask_many(s, 50, &cast);
    EXPECT_EQ(cast.got[0], 0);
    sim_advance(s, 1);
    cast.say[0] = OK;
    ask_many(s, 100, &cast);
    EXPECT(cast.got[0] > 0 && cast.got[0] < 30);
    SIM_END(s);
}

/* Its share of what the other gets, from a tenth to all of it over ten seconds. */
TEST(the_ramp_of_one_that_returns)
{
    static const char *const kinds[] = {TURNS, ", balance: least_requests"};
    for (size_t k = 0; k < array_len(kinds); k++) {
        static const struct { uint64_t after; double least, most; } rows[] = {
            {0, 0.05, 0.16}, {25, 0.26, 0.40}, {50, 0.45, 0.65}, {75, 0.68, 0.88}, {100, 0.99, 1.01}, {200, 0.99, 1.01},
        };
        struct sim *s = start(k ? CONF(2, ", balance: least_requests") : CONF(2, TURNS), 1);
        struct cast cast = {.say = {BUSY}};
        uint64_t at = 0;
        ask_many(s, 12, &cast);
        cast.say[0] = NULL;
        sim_advance(s, 30 * SEC);
        for (size_t i = 0; i < array_len(rows); i++) {
            sim_advance(s, (rows[i].after - at) * (SEC / 10));
            at = rows[i].after;
            test_row("%s, %llu00 ms", kinds[k] + 11, (unsigned long long)at);
            ask_many(s, 1000, &cast);
            double share = (double)cast.got[0] / cast.got[1];
            EXPECT(share >= rows[i].least && share <= rows[i].most);
        }
        SIM_END(s);
    }
}

TEST(no_slow_start_when_weir_starts)
{
    struct sim *s = start(CONF(4, TURNS), 1);
    struct cast cast = {0};
    ask_many(s, 100, &cast);
    for (unsigned i = 0; i < 4; i++)
        EXPECT_EQ(cast.got[i], 25);
    SIM_END(s);
}

TEST(what_counts_as_a_failure)
{
    static const struct { const char *name, *say; enum sim_connect connect; bool fin, reset, client_goes; uint64_t wait;
                          const char *state; const char *last; } rows[] = {
        {.name = "500", .say = NO("500"), .state = "ejected", .last = "500"},
        {.name = "502", .say = NO("502"), .state = "ejected", .last = "502"},
        {.name = "503", .say = BUSY, .state = "ejected", .last = "503"},
        {.name = "504", .say = NO("504"), .state = "ejected", .last = "504"},
        {.name = "529", .say = NO("529"), .state = "ejected", .last = "529"},
        {.name = "501", .say = NO("501"), .state = "up", .last = ""},
        {.name = "404", .say = NO("404"), .state = "up", .last = ""},
        {.name = "429", .say = NO("429"), .state = "up", .last = ""},
        {.name = "refused", .connect = SIM_REFUSE, .state = "ejected", .last = "connect_failed"},
        {.name = "refused at once", .connect = SIM_REFUSE_NOW, .state = "ejected", .last = "connect_failed"},
        {.name = "no connection", .connect = SIM_HANG, .wait = 2, .state = "ejected", .last = "connect_timeout"},
        {.name = "silence", .wait = 30, .state = "ejected", .last = "first_byte_timeout"},
        {.name = "closed", .fin = true, .state = "ejected", .last = "upstream_reset"},
        {.name = "reset", .reset = true, .state = "ejected", .last = "upstream_reset"},
        {.name = "nonsense", .say = "nonsense\r\n\r\n", .state = "ejected", .last = "upstream_bad"},
        {.name = "cut", .say = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", .fin = true, .state = "ejected",
         .last = "upstream_cut"},
        {.name = "chunks cut", .say = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", .reset = true,
         .state = "ejected", .last = "upstream_cut"},
        {.name = "stalled answer", .say = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", .wait = 30, .state = "ejected",
         .last = "idle_timeout"},
        {.name = "the client goes", .client_goes = true, .state = "up", .last = ""},
        {.name = "the client goes in the middle", .say = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab",
         .client_goes = true, .state = "up", .last = ""},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct sim *s = start(CONF(2, TURNS ", eject: {share: 100%, failures: 3}"), 1);
        struct health_seen seen;
        test_row("%s", rows[i].name);
        s->connect = rows[i].connect;
        for (unsigned k = 0; k < 6; k++) {               /* three for each */
            struct sim_conn *c = sim_client(s), *u;
            sim_say(c, GET);
            u = sim_next(s);
            if (rows[i].say)
                sim_say(u, rows[i].say);
            if (rows[i].fin)
                sim_fin(u);
            if (rows[i].reset)
                sim_reset(u);
            if (rows[i].client_goes)
                sim_reset(c);
            sim_advance(s, rows[i].wait * SEC);
            sim_reset(c);
            sim_run(s);
        }
        health_look(health_of(s), 1, clock_mono(&s->clock), &seen);
        EXPECT_CSTR(health_state_name(seen.state), rows[i].state);
        EXPECT_CSTR(seen.last_failure.text, rows[i].last);
        EXPECT_EQ(seen.in_flight, 0);
        SIM_END(s);
    }
}

/* A caller's own deadline, and an upload that stalls, are no failures of the endpoint; the configuration's deadline is. */
TEST(the_callers_doings_do_not_count)
{
    struct sim *s = start(SIM_HEAD "upstreams: {api: {endpoints: [" URLS_2 "], eject: {failures: 1}}}\n"
                          "routes: [{match: /, upstream: api, filters: [{timeout: {total: 5s}}]},"
                          " {match: /slow, upstream: api}]\n", 1);
    struct sim_conn *c;
    for (unsigned i = 0; i < 4; i++) {
        c = sim_client(s);
        sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\nX-Request-Timeout: 10ms\r\n\r\n");
        sim_advance(s, SEC);
        EXPECT_HAS(c, "total_timeout");
        c = sim_client(s);
        sim_say(c, "POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab");
        sim_advance(s, 60 * SEC);
    }
    EXPECT_CSTR(state_of(s, 0), "up");
    EXPECT_CSTR(state_of(s, 1), "up");
    c = sim_client(s);
    sim_say(c, GET);
    sim_advance(s, 5 * SEC);
    EXPECT_HAS(c, "total_timeout");
    EXPECT(strcmp(state_of(s, 0), state_of(s, 1)));
    SIM_END(s);
}

TEST(an_upload_that_drips_to_the_deadline)
{
    struct sim *s = start(SIM_HEAD "upstreams: {api: {endpoints: [" URLS_2 "], eject: {failures: 1}}}\n"
                          "routes: [{match: /, upstream: api, timeout: 10s}]\n", 1);
    for (unsigned i = 0; i < 4; i++) {
        struct sim_conn *c = sim_client(s);
        sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\nab");
        for (unsigned k = 0; k < 5; k++) {
            sim_advance(s, 2 * SEC);
            sim_say(c, "x");
        }
        EXPECT_HAS(c, "total_timeout");
    }
    EXPECT_CSTR(state_of(s, 0), "up");
    EXPECT_CSTR(state_of(s, 1), "up");
    SIM_END(s);
}

/* An idle tunnel is nobody's failure. */
TEST(a_tunnel_that_falls_silent)
{
    struct sim *s = start(CONF(2, ", eject: {failures: 1}, timeouts: {tunnel: 5s}"), 1);
    for (unsigned i = 0; i < 2; i++) {
        struct sim_conn *c = sim_client(s);
        sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n");
        sim_say(sim_next(s), "HTTP/1.1 101 Switch\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n");
        EXPECT_HAS(c, "HTTP/1.1 101 ");
        sim_advance(s, 6 * SEC);
        EXPECT(sim_closed(c));
    }
    EXPECT_CSTR(state_of(s, 0), "up");
    EXPECT_CSTR(state_of(s, 1), "up");
    SIM_END(s);
}

TEST(a_single_endpoint_is_never_ejected)
{
    struct sim *s = start(CONF(1, ""), 1);
    struct cast cast = {.say = {BUSY}};
    ask_many(s, 60, &cast);
    EXPECT_EQ(cast.got[0], 60);
    EXPECT_CSTR(state_of(s, 0), "up");
    SIM_END(s);
}

/* All fail: half of them go on being asked. */
TEST(half_stay_when_all_fail)
{
    struct sim *s = start(CONF(4, TURNS), 1);
    struct cast cast = {.say = {BUSY, BUSY, BUSY, BUSY}};
    ask_many(s, 100, &cast);
    ask_many(s, 100, &cast);
    unsigned asked = 0;
    for (unsigned i = 0; i < 4; i++) {
        asked += cast.got[i] > 0;
        EXPECT(cast.got[i] == 0 || cast.got[i] == 50);
    }
    EXPECT_EQ(asked, 2);
    SIM_END(s);
}

/* Fails, returns, fails again: longer each time, and a few requests each time find out. */
TEST(a_flapping_endpoint)
{
    struct sim *s = start(CONF(2, TURNS), 1);
    struct cast cast = {.say = {BUSY}};
    ask_many(s, 10, &cast);
    for (unsigned time = 1; time <= 4; time++) {
        test_row("time %u", time);
        EXPECT_CSTR(state_of(s, 0), "ejected");
        sim_advance(s, 30 * time * SEC - 1);
        EXPECT_CSTR(state_of(s, 0), "ejected");
        sim_advance(s, 1);
        EXPECT_CSTR(state_of(s, 0), "ramping");
        for (unsigned i = 0; i < 1000 && strcmp(state_of(s, 0), "ejected"); i++)
            ask(s, 0, &cast, NULL);
    }
    SIM_END(s);
}

TEST(keys_move_while_their_endpoint_is_out_and_come_back)
{
    struct sim *s = start(CONF(3, ", balance: {hash: path}"), 1);
    unsigned before[40];
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 40; i++) {
            char text[100];
            struct sim_conn *c = sim_client(s), *u;
            snprintf(text, sizeof text, "GET /%u HTTP/1.1\r\nHost: h\r\n\r\n", i);
            sim_say(c, text);
            u = sim_next(s);
            unsigned port = port_of(u);
            sim_say(u, OK);
            test_row("round %u key %u", round, i);
            if (round == 0)
                before[i] = port;
            else if (round == 1 && before[i] == 82)
                EXPECT(port != 82);
            else
                EXPECT_EQ(port, before[i]);          /* in the third round also while 82 ramps */
        }
        if (round == 0)
            go_down(s, 1);
        else if (round == 1)
            for (unsigned i = 0; i < 2; i++)
                health_checked(health_of(s), 1, REASON_none, 200, clock_mono(&s->clock));
    }
    EXPECT_CSTR(state_of(s, 1), "ramping");
    SIM_END(s);
}

/* ---- none left ---- */

TEST(nobody_left_is_said_and_nobody_is_asked)
{
    struct sim *s = start(CONF(2, ", health: {path: /healthz}"), 1);
    struct cast cast = {0};
    struct sim_conn *c;
    go_down(s, 0);
    EXPECT_EQ(ask(s, 0, &cast, NULL), 82);
    go_down(s, 1);
    EXPECT_EQ(ask(s, 0, &cast, &c), 0);
    EXPECT_HAS(c, "HTTP/1.1 503 Service Unavailable\r\n");
    EXPECT_HAS(c, "\"reason\":\"no_endpoint\"");
    EXPECT_HAS(c, "\"retry_after_ms\":5");                   /* the next check, and a tenth of it at the most */
    sim_advance(s, 3600 * SEC);                              /* time alone does not bring it back */
    EXPECT_EQ(ask(s, 0, &cast, NULL), 0);
    health_checked(health_of(s), 0, REASON_none, 200, clock_mono(&s->clock));
    EXPECT_EQ(ask(s, 0, &cast, NULL), 0);
    health_checked(health_of(s), 0, REASON_none, 200, clock_mono(&s->clock));
    EXPECT_EQ(ask(s, 0, &cast, NULL), 81);                   /* though it ramps */
    SIM_END(s);
}

/* An answer in hand is not given up for weir's own 503. */
TEST(no_retry_when_nobody_is_left)
{
    for (unsigned down = 0; down < 2; down++) {
        struct sim *s = start(CONF(1, ", health: {path: /healthz}, filters: [retry]"), 1);
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        struct sim_conn *u = sim_next(s);
        if (down)
            go_down(s, 0);
        sim_say(u, BUSY);
        EXPECT_EQ(sim_has(c, "HTTP/1.1 503 Busy\r\n"), down);
        sim_advance(s, SEC);
        EXPECT_EQ((u = sim_next(s)) != NULL, !down);
        if (u)
            sim_say(u, OK);
        SIM_END(s);
    }
}

static void addresses_post(struct sim *s, size_t endpoint, size_t n)
{
    struct address a[2] = {{.len = sizeof a[0].in}, {.len = sizeof a[0].in}};
    for (size_t i = 0; i < 2; i++)
        a[i].in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(81),
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)i)};
    endpoints_post_addresses(sim_worker(s, 0), s->snap->upstreams[0].endpoints[endpoint].host, a, n);
    sim_run(s);
}

TEST(a_name_that_does_not_resolve)
{
    struct sim *s = start(SIM_HEAD "upstreams: {api: {endpoints: [\"http://name.test:81\"]}}\n"
                          "routes: [{match: /, upstream: api}]\n", 1);
    struct cast cast = {0};
    struct sim_conn *c;
    EXPECT_CSTR(state_of(s, 0), "unresolved");
    EXPECT_EQ(ask(s, 0, &cast, &c), 0);
    EXPECT_HAS(c, "HTTP/1.1 503 Service Unavailable\r\n");
    EXPECT_HAS(c, "\"reason\":\"unresolved\"");
    addresses_post(s, 0, 0);                                    /* the first look-up failed */
    EXPECT_EQ(ask(s, 0, &cast, &c), 0);
    EXPECT_HAS(c, "\"reason\":\"unresolved\"");
    addresses_post(s, 0, 1);
    EXPECT_CSTR(state_of(s, 0), "up");
    EXPECT_EQ(ask(s, 0, &cast, NULL), 81);
    addresses_post(s, 0, 0);                                    /* the last good answer stands */
    EXPECT_CSTR(state_of(s, 0), "up");
    EXPECT_EQ(ask(s, 0, &cast, NULL), 81);
    SIM_END(s);
}

/* One resolves, and is down: that is the reason. */
TEST(unresolved_and_down)
{
    struct sim *s = start(SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:82\", \"http://name.test:81\"]}}\n"
                          "routes: [{match: /, upstream: api}]\n", 1);
    struct cast cast = {0};
    struct sim_conn *c;
    EXPECT_CSTR(state_of(s, 0), "up");
    EXPECT_CSTR(state_of(s, 1), "unresolved");
    EXPECT_EQ(ask(s, 0, &cast, NULL), 82);
    go_down(s, 0);
    EXPECT_EQ(ask(s, 0, &cast, &c), 0);
    EXPECT_HAS(c, "\"reason\":\"no_endpoint\"");
    addresses_post(s, 1, 2);
    EXPECT_CSTR(state_of(s, 1), "up");
    EXPECT_EQ(ask(s, 0, &cast, NULL), 81);
    SIM_END(s);
}

/* ---- workers, reload ---- */

TEST(workers_see_the_same)
{
    struct sim *s = start(CONF(2, TURNS), 3);
    struct cast cast = {.say = {BUSY}};
    for (unsigned i = 0; cast.got[0] < 5; i++)
        ask(s, i % 3, &cast, NULL);
    memset(cast.got, 0, sizeof cast.got);
    for (unsigned i = 0; i < 60; i++)
        EXPECT_EQ(ask(s, i % 3, &cast, NULL), 82);
    sim_advance(s, 40 * SEC);
    cast.say[0] = NULL;
    memset(cast.got, 0, sizeof cast.got);
    for (unsigned i = 0; i < 60; i++)
        ask(s, i % 3, &cast, NULL);
    EXPECT_EQ(cast.got[0], 30);
    SIM_END(s);
}

TEST(a_reload_keeps_who_is_out)
{
    struct sim *s = start(CONF(2, TURNS), 2);
    struct cast cast = {.say = {BUSY}};
    ask_many(s, 10, &cast);
    EXPECT_CSTR(state_of(s, 0), "ejected");
    sim_reload(s, CONF(3, TURNS));
    ask_many(s, 60, &cast);
    EXPECT_EQ(cast.got[0], 0);
    EXPECT_EQ(cast.got[1], 30);
    EXPECT_EQ(cast.got[2], 30);
    sim_advance(s, 40 * SEC);
    cast.say[0] = NULL;
    ask_many(s, 60, &cast);
    EXPECT_EQ(cast.got[0], 20);
    SIM_END(s);
}

TEST(requests_in_flight_of_all_workers)
{
    struct sim *s = start(CONF(2, TURNS), 2);
    struct sim_conn *u[6];
    struct health_seen a, b;
    for (unsigned i = 0; i < 6; i++) {
        sim_say(sim_client_at(s, i % 2, 0, STR("192.0.2.1")), GET);
        u[i] = sim_next(s);
    }
    health_look(health_of(s), 0, clock_mono(&s->clock), &a);
    health_look(health_of(s), 1, clock_mono(&s->clock), &b);
    EXPECT_EQ(a.in_flight + b.in_flight, 6);
    EXPECT(a.in_flight >= 2 && a.in_flight <= 4);
    for (unsigned i = 0; i < 6; i++)
        sim_say(u[i], "HTTP/1.1 204 No\r\n\r\n");
    health_look(health_of(s), 0, clock_mono(&s->clock), &a);
    health_look(health_of(s), 1, clock_mono(&s->clock), &b);
    EXPECT_EQ(a.in_flight + b.in_flight, 0);
    SIM_END(s);
}
