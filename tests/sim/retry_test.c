/* SPDX-License-Identifier: Apache-2.0 */
/* Further attempts and further legs: when they are made, with what body, and when the answer is passed on instead. */
#include "actor.h"

#define SEC NSEC_PER_SEC

static const struct filter plain = ACTOR("plain", .attempt_size = 16);
static const struct filter judge = ACTOR("judge");
static const struct filter keeper = ACTOR("keeper", .keep_body = 20, .hold_max = 10, .hold_time = 5 * SEC);
static const struct filter reader = ACTOR("reader", .needs_body = 4);
static const struct filter *const filters[] = {&plain, &judge, &keeper, &reader, NULL};

/* x, then y at the upstream; z at another. */
#define CONF(TYPE, TYPE2)                                                                                            \
    SIM_HEAD "upstreams:\n"                                                                                          \
    "  api: {endpoints: [\"http://127.0.0.1:81\", \"http://127.0.0.1:82\"], balance: round_robin,\n"                 \
    "        timeouts: {connect: 1s, first_byte: 3s}, filters: [{plain: {id: x}}, {" TYPE ": {id: y}}]}\n"           \
    "  other: {endpoints: [\"http://127.0.0.1:83\"], filters: [{" TYPE2 ": {id: z}}]}\n"                             \
    "routes: [{match: /, upstream: api, timeout: 20s, filters: [{plain: {id: r}}]}]\n"
#define PLAIN CONF("judge", "plain")
#define KEEP CONF("keeper", "plain")

#define BUSY "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
#define POST "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
#define CHUNKED_POST "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

static struct sim *start(const char *yaml)
{
    return sim_new_with(&(struct sim_conf){.yaml = yaml, .filters = filters});
}

static unsigned port_of(const struct sim_conn *u) { return u ? ntohs(u->address.in.sin_port) : 0; }

TEST(another_attempt_after_a_503)
{
    PLAY(ACT("y", "head", FILTER_RETRY));
    struct sim *s = start(PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s), *v;
    unsigned first = port_of(u);
    actor_clear();
    sim_say(u, BUSY);
    EXPECT(sim_closed(u));
    EXPECT_GOT(c, "");
    v = sim_next(s);
    EXPECT_EQ(port_of(v), first == 81 ? 82 : 81);        /* what was tried is not tried again */
    char noted[300];
    snprintf(noted, sizeof noted, "y.head y.attempt_end x.attempt_end x.attempt y.attempt x.endpoint%d y.endpoint%d ",
             first == 81, first == 81);
    EXPECT_NOTED(noted);
    EXPECT_OUTCOMES("y.attempt_end: by us, none, 503, sent, in 0, out 0\nx.attempt_end: by us, none, 503, sent, in 0, out 0\n");
    EXPECT_HAS(v, "GET / HTTP/1.1\r\n");
    sim_say(v, OK);
    EXPECT_GOT(c, OK);
    EXPECT_NOTED("y.head x.head y.response x.response r.response y.down[ok] x.down[ok] r.down[ok] y.down[]$ x.down[]$ "
                 "r.down[]$ y.attempt_end x.attempt_end y.end x.end r.end ");
    EXPECT_EQ(sim_metric(s, METRIC_attempts_total), 2);
    PLAY_END(s);
}

/* All endpoints were tried: it begins again with the first. */
TEST(more_attempts_than_endpoints)
{
    PLAY(ACT("y", "head", FILTER_RETRY), ACT("y", "head", FILTER_RETRY), ACT("y", "head", FILTER_RETRY));
    struct sim *s = start(PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    for (int i = 0; i < 3; i++)
        sim_say(sim_next(s), BUSY);
    sim_say(sim_next(s), OK);
    EXPECT_GOT(c, OK);
    EXPECT_EQ(sim_metric(s, METRIC_attempts_total), 4);
    PLAY_END(s);
}

TEST(not_before)
{
    PLAY(ACT("y", "head", FILTER_RETRY, .not_before = 2 * SEC));
    struct sim *s = start(PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    sim_say(u, BUSY);
    EXPECT(sim_closed(u));
    sim_advance(s, 2 * SEC - 1);
    EXPECT(sim_next(s) == NULL);
    sim_advance(s, 1);
    u = sim_next(s);
    EXPECT(u != NULL);
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    PLAY_END(s);
}

TEST(an_attempt_that_would_be_too_late_is_not_made)
{
    PLAY(ACT("y", "head", FILTER_RETRY, .not_before = 20 * SEC));
    struct sim *s = start(PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    sim_say(sim_next(s), BUSY);
    EXPECT_GOT(c, BUSY);
    EXPECT(strstr(actor_noted, "y.head x.head ") != NULL);   /* the other is asked, as after NEXT */
    PLAY_END(s);
}

/* A filter that tries for ever is stopped by the deadline. */
TEST(the_deadline_ends_all_attempts)
{
    PLAY(ACT("y", "head", FILTER_RETRY, .always = true));
    struct sim *s = start(PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    sim_advance(s, 20 * SEC - 1);
    EXPECT_GOT(c, "");
    sim_advance(s, 1);
    EXPECT_HAS(c, "HTTP/1.1 504 Gateway Timeout\r\n");
    EXPECT_HAS(c, "total_timeout");
    EXPECT_EQ(sim_metric(s, METRIC_attempts_total), 7);      /* 6 of 3 s, and a part */
    PLAY_END(s);
}

/* ... or, where no time passes, by their number. */
TEST(attempts_without_an_end)
{
    static const struct { enum verdict verdict; const char *failover[2]; } rows[] = {
        {FILTER_RETRY, {NULL, NULL}}, {FILTER_FAILOVER, {"other", "api"}},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        PLAY(ACT("y", "head", rows[i].verdict, .failover = rows[i].failover[0], .always = true),
             ACT("z", "head", rows[i].verdict, .failover = rows[i].failover[1], .always = true));
        struct sim *s = start(PLAIN);
        struct sim_conn *c = sim_client(s);
        s->connect = SIM_REFUSE_NOW;
        sim_say(c, GET);
        EXPECT_HAS(c, "HTTP/1.1 502 Bad Gateway\r\n");
        EXPECT_EQ(sim_metric(s, METRIC_attempts_total), 64);
        PLAY_END(s);
    }
}

TEST(the_client_goes_between_two_attempts)
{
    PLAY(ACT("y", "head", FILTER_RETRY, .not_before = 2 * SEC));
    struct sim *s = start(PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    sim_say(sim_next(s), BUSY);
    actor_clear();
    sim_fin(c);
    sim_run(s);
    EXPECT_NOTED("y.end x.end r.end ");
    EXPECT_NOTHING_LEFT(s);
    PLAY_END(s);
}

TEST(after_failures)
{
    static const struct { const char *name; enum sim_connect connect; const char *say; bool fin; uint64_t later;
                          const char *outcome; } rows[] = {
        {"refused", SIM_REFUSE, NULL, false, 0, "y.attempt_end: by upstream, connect_failed, 0, in 0, out 0\n"},
        {"refused at once", SIM_REFUSE_NOW, NULL, false, 0, "y.attempt_end: by upstream, connect_failed, 0, in 0, out 0\n"},
        {"connect timeout", SIM_HANG, NULL, false, 1, "y.attempt_end: by deadline, connect_timeout, 0, in 0, out 0\n"},
        {"reset", SIM_ACCEPT, NULL, true, 0, "y.attempt_end: by upstream, upstream_reset, 0, sent, in 0, out 0\n"},
        {"bad", SIM_ACCEPT, "nonsense\r\n\r\n", false, 0, "y.attempt_end: by upstream, upstream_bad, 0, sent, in 0, out 0\n"},
        {"late", SIM_ACCEPT, NULL, false, 3, "y.attempt_end: by deadline, first_byte_timeout, 0, sent, in 0, out 0\n"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%s", rows[i].name);
        PLAY(ACT("y", "head", FILTER_RETRY, .not_before = SEC));
        struct sim *s = start(PLAIN);
        struct sim_conn *c = sim_client(s), *u = NULL;
        s->connect = rows[i].connect;
        sim_say(c, GET);
        if (rows[i].connect == SIM_ACCEPT || rows[i].connect == SIM_HANG || rows[i].connect == SIM_REFUSE)
            u = sim_next(s);
        if (rows[i].say)
            sim_send(u, rows[i].say);
        if (rows[i].fin)
            sim_fin(u);
        sim_run(s);
        s->connect = SIM_ACCEPT;
        sim_advance(s, rows[i].later * SEC);
        EXPECT(strstr(actor_outcomes, rows[i].outcome) == actor_outcomes);
        EXPECT_GOT(c, "");
        sim_advance(s, SEC);
        u = sim_next(s);
        if (EXPECT(u != NULL))
            sim_say(u, OK);
        EXPECT_GOT(c, OK);
        PLAY_END(s);
    }
}

/* An attempt has its own state, zeroed; the leg's goes on. */
static void count_attempts(struct call *call)
{
    struct actor_state *leg = call->state;
    unsigned *n = call->attempt_state;
    EXPECT(n && *n == 0);
    *n = 5;
    EXPECT(leg->calls > 0);
}

static void see_count(struct call *call) { EXPECT_EQ(*(unsigned *)call->attempt_state, 5); }
static void no_count(struct call *call) { EXPECT(call->attempt_state == NULL); }

TEST(an_attempts_state_is_its_own)
{
    PLAY(ACT("x", "request", FILTER_NEXT, .run = no_count), ACT("x", "attempt", FILTER_NEXT, .run = count_attempts),
         ACT("x", "attempt", FILTER_NEXT, .run = count_attempts), ACT("x", "attempt_end", FILTER_NEXT, .run = see_count),
         ACT("x", "attempt_end", FILTER_NEXT, .run = see_count), ACT("x", "end", FILTER_NEXT, .run = no_count),
         ACT("y", "head", FILTER_RETRY));
    struct sim *s = start(PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    sim_say(sim_next(s), BUSY);
    sim_say(sim_next(s), OK);
    EXPECT_GOT(c, OK);
    PLAY_END(s);
}

TEST(an_endpoint_is_refused)
{
    PLAY(ACT("x", "endpoint0", FILTER_FAIL, .always = true));
    struct sim *s = start(PLAIN);
    for (int i = 0; i < 4; i++) {
        struct sim_conn *c = sim_client(s), *u;
        sim_say(c, GET);
        u = sim_next(s);
        EXPECT_EQ(port_of(u), 82);
        sim_say(u, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        EXPECT_HAS(c, "HTTP/1.1 200 OK\r\n");
    }
    PLAY_END(s);

    PLAY(ACT("x", "endpoint0", FILTER_FAIL, .always = true), ACT("y", "endpoint1", FILTER_FAIL, .always = true));
    s = start(PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    EXPECT(sim_next(s) == NULL);
    EXPECT_HAS(c, "HTTP/1.1 503 Service Unavailable\r\n");
    EXPECT_HAS(c, "no_endpoint");
    EXPECT(strstr(actor_noted, "y.head x.head y.attempt_end x.attempt_end ") != NULL);
    PLAY_END(s);
}

/* Which endpoints a pick may still use is known of all of them, however many there are. */
enum { MANY = 130, FIRST_PORT = 1000 };

static size_t wanted;
static enum verdict picky_endpoint(struct call *c, size_t endpoint)
{
    return (void)c, endpoint == wanted || wanted == SIZE_MAX ? FILTER_NEXT : FILTER_FAIL;
}
static const struct filter picky = {.name = "picky", .places = PLACE_ANY, .on_endpoint = picky_endpoint};

static struct sim *start_many(const char *balance)
{
    static const struct filter *const with_picky[] = {&plain, &picky, NULL};
    char yaml[8000];
    int n = snprintf(yaml, sizeof yaml, SIM_HEAD "upstreams: {api: {balance: %s, filters: [picky, {plain: {id: x}}], endpoints: [",
                     balance);
    for (unsigned i = 0; i < MANY; i++)
        n += snprintf(yaml + n, sizeof yaml - (size_t)n, "%s\"http://127.0.0.1:%u\"", i ? ", " : "", FIRST_PORT + i);
    snprintf(yaml + n, sizeof yaml - (size_t)n, "]}}\nroutes: [{match: /, upstream: api}]\n");
    return sim_new_with(&(struct sim_conf){.yaml = yaml, .filters = with_picky});
}

TEST(all_but_one_of_many_are_refused)
{
    static const char *const balances[] = {"round_robin", "least_requests", "{hash: path}"};
    static const size_t which[] = {0, 63, 64, 100, MANY - 1};
    for (size_t i = 0; i < array_len(balances) * array_len(which); i++) {
        test_row("%s, %zu", balances[i / 5], which[i % 5]);
        PLAY_NOTHING();
        wanted = which[i % 5];
        struct sim *s = start_many(balances[i / 5]);
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        struct sim_conn *u = sim_next(s);
        EXPECT_EQ(port_of(u), FIRST_PORT + wanted);
        if (u)
            sim_say(u, OK);
        EXPECT_GOT(c, OK);
        SIM_END(s);
    }
}

TEST(of_many_another_one_comes_first)
{
    unsigned seen = 0;
    for (unsigned path = 0; path < 20; path++) {
        char request[60];
        test_row("%u", path);
        PLAY(ACT("x", "head", FILTER_RETRY), ACT("x", "head", FILTER_RETRY));
        wanted = SIZE_MAX;
        struct sim *s = start_many("{hash: path}");
        struct sim_conn *c = sim_client(s);
        snprintf(request, sizeof request, "GET /%u HTTP/1.1\r\nHost: h\r\n\r\n", path);
        sim_say(c, request);
        unsigned ports[3] = {0};
        for (unsigned n = 0; n < 3; n++) {
            struct sim_conn *u = sim_next(s);
            ports[n] = port_of(u);
            seen += ports[n] >= FIRST_PORT + 64;
            if (EXPECT(u != NULL))
                sim_say(u, n < 2 ? BUSY : OK);
        }
        EXPECT(ports[0] != ports[1] && ports[1] != ports[2] && ports[0] != ports[2]);
        EXPECT_GOT(c, OK);
        PLAY_END(s);
    }
    EXPECT(seen > 10);
}

/* ---- bodies ---- */

TEST(a_kept_body_goes_up_again)
{
    PLAY(ACT("y", "head", FILTER_RETRY));
    struct sim *s = start(KEEP);
    struct sim_conn *c = sim_client(s);
    sim_say(c, POST);
    struct sim_conn *u = sim_next(s);
    EXPECT_HAS(u, "\r\n\r\nhello");
    actor_clear();
    sim_say(u, BUSY);
    u = sim_next(s);
    EXPECT_HAS(u, "Content-Length: 5\r\n");
    EXPECT_HAS(u, "\r\n\r\nhello");
    EXPECT(strstr(actor_noted, "up[") == NULL);              /* hooks have seen it */
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    EXPECT(strstr(actor_outcomes, "y.attempt_end: by us, none, 503, sent, in 0, out 5\n"));
    EXPECT(strstr(actor_outcomes, "y.attempt_end: by upstream, none, 200, sent, committed, complete, in 2, out 5\n"));
    PLAY_END(s);
}

TEST(a_body_that_still_comes_is_kept_and_goes_on)
{
    PLAY(ACT("y", "head", FILTER_RETRY, .not_before = SEC));
    struct sim *s = start(KEEP);
    struct sim_conn *c = sim_client(s);
    sim_say(c, CHUNKED_POST "2\r\nab\r\n");
    sim_say(sim_next(s), BUSY);
    sim_say(c, "2\r\ncd\r\n");                               /* waits in the socket: there is no place for it */
    sim_advance(s, SEC);
    struct sim_conn *u = sim_next(s);
    EXPECT_HAS(u, "2\r\nab\r\n2\r\ncd\r\n");
    sim_say(c, "2\r\nef\r\n0\r\n\r\n");
    EXPECT_HAS(u, "2\r\nab\r\n2\r\ncd\r\n2\r\nef\r\n0\r\n\r\n");
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    PLAY_END(s);
}

TEST(a_body_that_was_not_kept_is_not_sent_again)
{
    static const struct { const char *name, *yaml, *request; bool again; } rows[] = {
        {"fits", KEEP, CHUNKED_POST "14\r\n01234567890123456789\r\n0\r\n\r\n", true},
        {"too long", KEEP, CHUNKED_POST "15\r\n012345678901234567890\r\n0\r\n\r\n", false},
        {"too long in all", KEEP, CHUNKED_POST "14\r\n01234567890123456789\r\n1\r\n0\r\n0\r\n\r\n", false},
        {"nobody asked for it", PLAIN, POST, false},
        {"nothing was sent yet", PLAIN, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n", true},
    };
    for (size_t i = 0; i < array_len(rows) * 2; i++) {
        bool over = i % 2;
        test_row("%s, %s", rows[i / 2].name, over ? "FAILOVER" : "RETRY");
        PLAY(ACT("y", "head", over ? FILTER_FAILOVER : FILTER_RETRY, .failover = "other"));
        struct sim *s = start(rows[i / 2].yaml);
        struct sim_conn *c = sim_client(s), *u;
        sim_say(c, rows[i / 2].request);
        sim_say(sim_next(s), BUSY);
        u = sim_next(s);
        EXPECT_EQ(u != NULL, rows[i / 2].again);
        if (!rows[i / 2].again)
            EXPECT_HAS(c, "HTTP/1.1 503 Busy\r\n");
        else
            EXPECT_GOT(c, "");
        PLAY_END(s);
    }
}

/* ---- failover ---- */

TEST(failover)
{
    PLAY(ACT("y", "head", FILTER_FAILOVER, .failover = "other"));
    struct sim *s = start(KEEP);
    struct sim_conn *c = sim_client(s);
    sim_say(c, POST);
    struct sim_conn *u = sim_next(s);
    actor_clear();
    sim_say(u, BUSY);
    EXPECT(sim_closed(u));
    EXPECT_NOTED("y.head y.attempt_end x.attempt_end y.end x.end z.request z.attempt z.endpoint0 ");
    EXPECT_OUTCOMES("y.attempt_end: by us, none, 503, sent, in 0, out 5\nx.attempt_end: by us, none, 503, sent, in 0, out 5\n"
                    "y.end: by us, none, 503, sent, in 0, out 5\nx.end: by us, none, 503, sent, in 0, out 5\n");
    u = sim_next(s);
    EXPECT_EQ(port_of(u), 83);
    EXPECT_HAS(u, "\r\n\r\nhello");
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    EXPECT_NOTED("z.head z.response r.response z.down[ok] r.down[ok] z.down[]$ r.down[]$ z.attempt_end z.end r.end ");
    PLAY_END(s);
}

/* A leg that comes to nothing says so of itself, not of the one before. */
TEST(a_second_leg_that_fails_before_its_attempt)
{
    PLAY(ACT("y", "head", FILTER_FAILOVER, .failover = "other"), ACT("z", "request", FILTER_FAIL, .reason = REASON_denied));
    struct sim *s = start(PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    sim_say(sim_next(s), BUSY);
    EXPECT_HAS(c, "HTTP/1.1 403 Forbidden\r\n");
    EXPECT(strstr(actor_outcomes, "z.end: by us, denied, 0, in 0, out 0\n"));
    PLAY_END(s);
}

TEST(failover_to_nowhere)
{
    static const char *const names[] = {"nowhere", NULL};
    for (size_t i = 0; i < array_len(names); i++) {
        PLAY(ACT("y", "head", FILTER_FAILOVER, .failover = names[i]));
        struct sim *s = start(PLAIN);
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        sim_say(sim_next(s), BUSY);
        EXPECT_GOT(c, BUSY);
        PLAY_END(s);
    }
}

TEST(failover_after_a_failed_connect_and_back_again)
{
    PLAY(ACT("x", "head", FILTER_FAILOVER, .failover = "other"), ACT("z", "head", FILTER_FAILOVER, .failover = "api"));
    struct sim *s = start(KEEP);
    struct sim_conn *c = sim_client(s);
    s->connect = SIM_REFUSE;
    s->refused_port = 0;
    sim_send(c, POST);
    mem_pump(&c->end);
    s->connect = SIM_ACCEPT;
    sim_run(s);
    (void)sim_next(s);                                       /* the refused one */
    struct sim_conn *u = sim_next(s);
    EXPECT_EQ(port_of(u), 83);
    sim_say(u, BUSY);
    u = sim_next(s);
    EXPECT(port_of(u) == 81 || port_of(u) == 82);
    EXPECT_HAS(u, "\r\n\r\nhello");
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    PLAY_END(s);
}

/* Bytes that a filter of the leg holds would be lost with it. */
TEST(no_failover_while_the_leg_holds_of_the_body)
{
    PLAY(ACT("y", "up", FILTER_HOLD), ACT("x", "head", FILTER_FAILOVER, .failover = "other"));
    struct sim *s = start(KEEP);
    struct sim_conn *c = sim_client(s);
    sim_say(c, CHUNKED_POST "2\r\nab\r\n");
    struct sim_conn *u = sim_next(s);
    EXPECT_HASNT(u, "ab\r\n");
    sim_say(u, BUSY);
    EXPECT(sim_next(s) == NULL);
    EXPECT_HAS(c, "HTTP/1.1 503 Busy\r\n");
    PLAY_END(s);
}

/* ... but not with the attempt. */
TEST(what_a_filter_holds_goes_up_with_the_next_attempt)
{
    PLAY(ACT("y", "up", FILTER_NEXT), ACT("y", "up", FILTER_HOLD), ACT("x", "head", FILTER_RETRY));
    struct sim *s = start(KEEP);
    struct sim_conn *c = sim_client(s), *u;
    sim_say(c, CHUNKED_POST "2\r\nab\r\n");
    sim_say(c, "2\r\ncd\r\n");
    sim_say(sim_next(s), BUSY);
    u = sim_next(s);
    EXPECT_HAS(u, "\r\n\r\n2\r\nab\r\n");
    EXPECT_HASNT(u, "cd");
    sim_advance(s, 5 * SEC);
    EXPECT_HAS(u, "2\r\nab\r\n2\r\ncd\r\n");
    sim_say(c, "0\r\n\r\n");
    EXPECT_HAS(u, "2\r\ncd\r\n0\r\n\r\n");
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    PLAY_END(s);
}

/* A filter of the second leg that needs the body sees what the first has sent, and waits for the rest. */
static char body_seen[40];

static void see_body(struct call *call)
{
    bool whole;
    struct str b = request_body_seen(call->req, &whole);
    snprintf(body_seen, sizeof body_seen, STR_FMT "%s", STR_ARG(b), whole ? "$" : "");
}

TEST(a_second_leg_that_needs_the_body)
{
    PLAY(ACT("y", "head", FILTER_FAILOVER, .failover = "other"), ACT("z", "request", FILTER_NEXT, .run = see_body));
    struct sim *s = start(CONF("keeper", "reader"));
    struct sim_conn *c = sim_client(s), *u;
    sim_say(c, CHUNKED_POST "2\r\nab\r\n");
    sim_say(sim_next(s), BUSY);
    EXPECT(sim_next(s) == NULL);
    sim_say(c, "1\r\nc\r\n0\r\n\r\n");
    EXPECT_CSTR(body_seen, "abc$");
    u = sim_next(s);
    EXPECT_HAS(u, "\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n");
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    PLAY_END(s);

    /* Enough of it was sent already. */
    PLAY(ACT("y", "head", FILTER_FAILOVER, .failover = "other"), ACT("z", "request", FILTER_NEXT, .run = see_body));
    s = start(CONF("keeper", "reader"));
    c = sim_client(s);
    sim_say(c, CHUNKED_POST "4\r\nabcd\r\n");
    sim_say(sim_next(s), BUSY);
    EXPECT_CSTR(body_seen, "abcd");
    EXPECT((u = sim_next(s)) != NULL);
    sim_say(c, "0\r\n\r\n");
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    PLAY_END(s);
}

/* ---- out of a hold, and out of a wait ---- */

TEST(a_look_at_the_body_decides)
{
    static const struct { enum verdict v; unsigned port; } rows[] = {{FILTER_RETRY, 0}, {FILTER_FAILOVER, 83}};
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%d", rows[i].v);
        PLAY(ACT("y", "head", FILTER_HOLD), ACT("y", "head", rows[i].v, .failover = "other"));
        struct sim *s = start(KEEP);
        struct sim_conn *c = sim_client(s), *u;
        sim_say(c, POST);
        sim_say(sim_next(s), "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nerror");
        u = sim_next(s);
        if (EXPECT(u != NULL) && rows[i].port)
            EXPECT_EQ(port_of(u), rows[i].port);
        EXPECT_HAS(u, "\r\n\r\nhello");
        sim_say(u, OK);
        EXPECT_GOT(c, OK);
        PLAY_END(s);
    }
}

TEST(a_wait_before_another_attempt)
{
    PLAY(ACT("y", "head", FILTER_WAIT, .after = SEC), ACT("y", "head", FILTER_RETRY));
    struct sim *s = start(KEEP);
    struct sim_conn *c = sim_client(s), *u = NULL;
    sim_say(c, POST);
    sim_say(sim_next(s), BUSY);
    EXPECT(sim_next(s) == NULL);
    sim_advance(s, SEC);
    u = sim_next(s);
    EXPECT_HAS(u, "\r\n\r\nhello");
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    PLAY_END(s);
}

/* The endpoint breaks off behind a head that is held, and the failure is judged anew by all. */
TEST(another_attempt_when_it_is_cut_behind_a_held_head)
{
    PLAY(ACT("y", "head", FILTER_NEXT), ACT("x", "head", FILTER_HOLD), ACT("y", "head", FILTER_RETRY));
    struct sim *s = start(CONF("keeper", "plain"));
    struct sim_conn *c = sim_client(s), *u;
    sim_say(c, POST);
    u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    sim_fin(u);
    sim_run(s);
    u = sim_next(s);
    if (EXPECT(u != NULL)) {
        EXPECT_HAS(u, "\r\n\r\nhello");
        sim_say(u, OK);
    }
    EXPECT_GOT(c, OK);
    PLAY_END(s);
}

/* on_response has begun: it is too late, and the order of steps is kept. */
TEST(no_attempt_when_it_is_cut_behind_the_judgement)
{
    static const struct filter holder = ACTOR("keeper", .hold_max = 10);
    static const struct filter *const some[] = {&plain, &holder, NULL};
    PLAY(ACT("y", "head", FILTER_NEXT), ACT("y", "response", FILTER_HOLD));
    struct sim *s = sim_new_with(&(struct sim_conf){.yaml = KEEP, .filters = some});
    struct sim_conn *c = sim_client(s), *u;
    sim_say(c, GET);
    u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    PLAY(ACT("y", "head", FILTER_RETRY, .always = true));
    sim_fin(u);
    sim_run(s);
    EXPECT_HAS(c, "HTTP/1.1 502 Bad Gateway\r\n");
    EXPECT(sim_next(s) == NULL);
    EXPECT(strstr(actor_noted, "head") == NULL);
    PLAY_END(s);
}

TEST(retry_is_next_once_the_answer_is_on_its_way)
{
    PLAY(ACT("y", "response", FILTER_RETRY), ACT("r", "response", FILTER_FAILOVER, .failover = "other"));
    struct sim *s = start(PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    sim_say(sim_next(s), BUSY);
    EXPECT_GOT(c, BUSY);
    PLAY_END(s);
}

/* A pooled connection that was closed meanwhile is replaced within the attempt; filters see one. */
TEST(a_stale_connection_is_no_attempt)
{
    PLAY_NOTHING();
    struct sim *s = start(PLAIN);
    struct sim_conn *c = sim_client(s), *u;
    for (int i = 0; i < 2; i++) {
        sim_say(c, GET);
        sim_say(sim_next(s), OK);
    }
    sim_clear(c);
    sim_say(c, GET);
    EXPECT(sim_next(s) == NULL);
    actor_clear();
    for (u = s->all; u; u = u->next) {
        if (!u->client && !sim_closed(u) && u->end.stream)
            sim_fin(u);
    }
    sim_run(s);
    EXPECT_NOTED("");
    u = sim_next(s);
    if (EXPECT(u != NULL))
        sim_say(u, OK);
    EXPECT_GOT(c, OK);
    EXPECT_EQ(sim_metric(s, METRIC_attempts_total), 3);
    EXPECT_EQ(sim_metric(s, METRIC_upstream_replays_total), 1);
    PLAY_END(s);
}
