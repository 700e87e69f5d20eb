/* SPDX-License-Identifier: Apache-2.0 */
/* Heads that a filter holds until it has seen of the body, in on_head and in on_response; and tunnels, which have none. */
#include "actor.h"

#define SEC NSEC_PER_SEC

static const struct filter plain = ACTOR("plain");
static const struct filter holder = ACTOR("holder", .hold_max = 10, .hold_time = 5 * SEC);
static const struct filter patient = ACTOR("patient", .hold_max = 10);       /* no hold_time */
static const struct filter *const filters[] = {&plain, &holder, &patient, NULL};

#define CONF_UP(TYPE)                                                                                                \
    SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], filters: [{" TYPE ": {id: h}}]}}\n"            \
    "routes: [{match: /, upstream: api, timeout: 20s, filters: [{plain: {id: a}}]}]\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n\r\n"

static struct sim *start(const char *yaml)
{
    return sim_new_with(&(struct sim_conf){.yaml = yaml, .filters = filters});
}

/* The client's request is under way; what was noted of it is forgotten. */
static struct sim_conn *begin(struct sim *s, struct sim_conn **client, const char *request)
{
    *client = sim_client(s);
    sim_say(*client, request);
    struct sim_conn *u = sim_next(s);
    check(u != NULL);
    sim_clear(u);
    actor_clear();
    return u;
}

static char held_seen[4][60];
static unsigned n_held_seen;

static void see_held(struct call *call)
{
    bool whole;
    struct str b = response_held(call->req, &whole);
    snprintf(held_seen[n_held_seen++ % 4], sizeof held_seen[0], STR_FMT "%s", STR_ARG(b), whole ? "$" : "");
}

/* on_head and on_response hold alike: h is the upstream's, and asked in both. */
static const char *const head_hooks[] = {"head", "response"};

TEST(a_head_is_held_until_enough_of_the_body_is_there)
{
    for (size_t i = 0; i < array_len(head_hooks); i++) {
        test_row("%s", head_hooks[i]);
        n_held_seen = 0;
        PLAY(ACT("h", head_hooks[i], FILTER_HOLD, .run = see_held), ACT("h", head_hooks[i], FILTER_HOLD, .run = see_held),
             ACT("h", head_hooks[i], FILTER_NEXT, .run = see_held));
        struct sim *s = start(CONF_UP("holder"));
        struct sim_conn *c, *u = begin(s, &c, GET);
        sim_say(u, "HTTP/1.1 200 OK\r\nX: y\r\n" CHUNKED);
        sim_say(u, "2\r\nab\r\n");
        EXPECT_GOT(c, "");
        sim_say(u, "2\r\ncd\r\n");
        EXPECT_GOT(c, "HTTP/1.1 200 OK\r\nX: y\r\n" CHUNKED "4\r\nabcd\r\n");
        EXPECT_CSTR(held_seen[0], "");
        EXPECT_CSTR(held_seen[1], "ab");
        EXPECT_CSTR(held_seen[2], "abcd");
        sim_say(u, "2\r\nef\r\n0\r\n\r\n");
        EXPECT_GOT(c, "2\r\nef\r\n0\r\n\r\n");
        EXPECT_EQ(strstr(actor_noted, "/timer") != NULL, 0);
        PLAY_END(s);
    }
}

TEST(bounds_of_a_held_head)
{
    static const struct { const char *name, *rest; uint64_t later; const char *out; bool timer; } rows[] = {
        {"full", "a\r\n0123456789\r\n", 0, "a\r\n0123456789\r\n", true},
        {"late", "2\r\nab\r\n", 5 * SEC, "2\r\nab\r\n", true},
        {"late, nothing came", "", 5 * SEC, "", true},
        {"whole", "2\r\nab\r\n0\r\n\r\n", 0, "2\r\nab\r\n0\r\n\r\n", false},
        {"whole and empty", "0\r\n\r\n", 0, "0\r\n\r\n", false},
    };
    for (size_t i = 0; i < array_len(rows) * 2; i++) {
        const char *hook = head_hooks[i % 2];
        test_row("%s, %s", rows[i / 2].name, hook);
        PLAY(ACT("h", hook, FILTER_HOLD, .always = true));
        struct sim *s = start(CONF_UP("holder"));
        struct sim_conn *c, *u = begin(s, &c, GET);
        sim_say(u, "HTTP/1.1 200 OK\r\nX: y\r\n" CHUNKED);
        EXPECT_GOT(c, "");
        sim_say(u, rows[i / 2].rest);
        if (rows[i / 2].later) {
            EXPECT_GOT(c, "");
            sim_advance(s, rows[i / 2].later - 1);
            EXPECT_GOT(c, "");
            sim_advance(s, 1);
        }
        char wanted[200];
        snprintf(wanted, sizeof wanted, "HTTP/1.1 200 OK\r\nX: y\r\n" CHUNKED "%s", rows[i / 2].out);
        EXPECT_GOT(c, wanted);
        EXPECT_EQ(strstr(actor_noted, "/timer") != NULL, rows[i / 2].timer);
        PLAY_END(s);
    }
}

/* Each filter that holds has its own time, whoever held before. */
TEST(holds_of_two_filters_one_after_the_other)
{
    PLAY(ACT("h", "head", FILTER_HOLD, .always = true), ACT("h", "response", FILTER_HOLD, .always = true));
    struct sim *s = start(CONF_UP("holder"));
    struct sim_conn *c, *u = begin(s, &c, GET);
    sim_say(u, "HTTP/1.1 200 OK\r\n" CHUNKED "2\r\nab\r\n");
    sim_advance(s, 10 * SEC - 1);
    EXPECT_GOT(c, "");
    sim_advance(s, 1);
    EXPECT_GOT(c, "HTTP/1.1 200 OK\r\n" CHUNKED "2\r\nab\r\n");
    PLAY_END(s);
}

/* A hook may hold after it waited: what was paused for the wait goes on. And its own time is not the hold's. */
TEST(a_hold_after_a_wait)
{
    for (size_t i = 0; i < array_len(head_hooks); i++) {
        test_row("%s", head_hooks[i]);
        n_held_seen = 0;
        PLAY(ACT("h", head_hooks[i], FILTER_WAIT, .after = SEC), ACT("h", head_hooks[i], FILTER_HOLD),
             ACT("h", head_hooks[i], FILTER_NEXT, .run = see_held));
        struct sim *s = start(CONF_UP("patient"));
        struct sim_conn *c, *u = begin(s, &c, GET);
        sim_say(u, "HTTP/1.1 200 OK\r\nX: y\r\n" CHUNKED "2\r\nab\r\n");
        sim_advance(s, SEC);
        EXPECT_GOT(c, "HTTP/1.1 200 OK\r\nX: y\r\n" CHUNKED "2\r\nab\r\n");
        EXPECT_CSTR(held_seen[0], "ab");
        PLAY_END(s);
    }
}

TEST(a_wait_within_a_hold)
{
    PLAY(ACT("h", "head", FILTER_HOLD), ACT("h", "head", FILTER_WAIT, .after = SEC), ACT("h", "head", FILTER_HOLD),
         ACT("h", "head", FILTER_NEXT));
    struct sim *s = start(CONF_UP("holder"));
    struct sim_conn *c, *u = begin(s, &c, GET);
    sim_say(u, "HTTP/1.1 200 OK\r\nX: y\r\n" CHUNKED "2\r\nab\r\n");
    sim_say(u, "2\r\ncd\r\n");
    EXPECT_GOT(c, "");
    sim_advance(s, SEC);
    EXPECT_GOT(c, "HTTP/1.1 200 OK\r\nX: y\r\n" CHUNKED "4\r\nabcd\r\n");
    PLAY_END(s);
}

TEST(a_held_head_is_replaced)
{
    static const struct { const char *hook; enum verdict v; const char *status; } rows[] = {
        {"head", FILTER_REPLY, "HTTP/1.1 418 \r\n"}, {"head", FILTER_FAIL, "HTTP/1.1 403 Forbidden\r\n"},
        {"response", FILTER_REPLY, "HTTP/1.1 418 \r\n"}, {"response", FILTER_FAIL, "HTTP/1.1 403 Forbidden\r\n"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%s %d", rows[i].hook, rows[i].v);
        PLAY(ACT("h", rows[i].hook, FILTER_HOLD), ACT("h", rows[i].hook, rows[i].v, .reason = REASON_denied));
        struct sim *s = start(CONF_UP("holder"));
        struct sim_conn *c, *u = begin(s, &c, GET);
        sim_say(u, "HTTP/1.1 200 OK\r\nX: y\r\n" CHUNKED "2\r\nab\r\n");
        EXPECT(sim_has(c, rows[i].status));
        EXPECT_HASNT(c, "ab\r\n");
        EXPECT(sim_closed(u));
        PLAY_END(s);
    }
}

/* The upstream breaks off behind a head that is held: on_head is asked about that; on_response has no say any more. */
TEST(the_upstream_goes_while_the_head_is_held)
{
    for (size_t i = 0; i < array_len(head_hooks); i++) {
        test_row("%s", head_hooks[i]);
        PLAY(ACT("h", head_hooks[i], FILTER_HOLD));
        struct sim *s = start(CONF_UP("holder"));
        struct sim_conn *c, *u = begin(s, &c, GET);
        sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        sim_fin(u);
        sim_run(s);
        EXPECT_HAS(c, "HTTP/1.1 502 Bad Gateway\r\n");
        EXPECT_HAS(c, "upstream_cut");
        EXPECT(strstr(actor_outcomes, "h.attempt_end: by upstream, upstream_cut, 200, sent, in 0, out 0\n"));
        PLAY_END(s);
    }
}

TEST(a_held_head_does_not_outlast_the_deadline)
{
    for (size_t i = 0; i < array_len(head_hooks); i++) {
        test_row("%s", head_hooks[i]);
        PLAY(ACT("h", head_hooks[i], FILTER_HOLD));
        struct sim *s = start(CONF_UP("patient"));
        struct sim_conn *c, *u = begin(s, &c, GET);
        sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        sim_advance(s, 20 * SEC - 1);
        EXPECT_GOT(c, "");
        sim_advance(s, 1);
        EXPECT_HAS(c, "HTTP/1.1 504 Gateway Timeout\r\n");
        PLAY_END(s);
    }
}

/* A tunnel has no body to wait for, and its bytes are no filter's. */
TEST(a_tunnel_is_not_held)
{
    PLAY(ACT("h", "head", FILTER_HOLD), ACT("h", "response", FILTER_HOLD));
    struct sim *s = start(CONF_UP("holder"));
    struct sim_conn *c, *u = begin(s, &c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    sim_say(u, "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    EXPECT_HAS(c, "HTTP/1.1 101 Switching\r\n");
    sim_say(u, "hello");
    EXPECT_HAS(c, "\r\n\r\nhello");
    sim_say(c, "hi");
    EXPECT_GOT(u, "hi");
    EXPECT(strstr(actor_noted, "down") == NULL && strstr(actor_noted, "up[") == NULL);
    PLAY_END(s);
}

TEST(a_tunnel_waits)
{
    for (size_t i = 0; i < array_len(head_hooks); i++) {
        PLAY(ACT("h", head_hooks[i], FILTER_WAIT, .after = SEC));
        struct sim *s = start(CONF_UP("holder"));
        struct sim_conn *c, *u = begin(s, &c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        sim_say(u, "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello");
        EXPECT_GOT(c, "");
        sim_advance(s, SEC);
        EXPECT_HAS(c, "\r\n\r\nhello");
        sim_say(u, " again");
        EXPECT_HAS(c, "hello again");
        PLAY_END(s);
    }
}
