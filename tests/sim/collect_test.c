/* SPDX-License-Identifier: Apache-2.0 */
/* A filter that needs the request's body: it is collected before the filter is asked, within bounds. */
#include "actor.h"

static const struct filter actor = ACTOR("actor");
static const struct filter reader = ACTOR("reader", .needs_body = 10);
static const struct filter whole = ACTOR("whole", .needs_body = 10, .needs_body_whole = true);
static const struct filter *const filters[] = {&actor, &reader, &whole, NULL};

static struct sim *start(const char *yaml)
{
    return sim_new_with(&(struct sim_conf){.yaml = yaml, .filters = filters});
}

static char body_seen[60];
static bool body_was_whole;

static void see_body(struct call *call)
{
    struct str b = request_body_seen(call->req, &body_was_whole);
    snprintf(body_seen, sizeof body_seen, STR_FMT, STR_ARG(b));
}

#define NEEDS(TYPE)                                                                                                  \
    SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"]}}\n"                                            \
    "routes: [{match: /, upstream: api, timeout: 20s, filters: [{actor: {id: a}}, {" TYPE ": {id: b}}]}]\n"
#define POST "POST / HTTP/1.1\r\nHost: h\r\n"
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"
#define LENGTH(N) POST "Content-Length: " N "\r\n\r\n"

TEST(the_body_is_there_before_the_filter_that_needs_it)
{
    static const struct {
        const char *name, *yaml, *first, *rest, *seen;
        bool entered_at_once, whole, refused;
    } rows[] = {
        {"first part, by length", NEEDS("reader"), LENGTH("5") "he", "llo", "hello", false, true, false},
        {"first part, more comes", NEEDS("reader"), LENGTH("12") "0123456789", "ab", "0123456789", true, false, false},
        {"first part, more is there", NEEDS("reader"), LENGTH("12") "0123456789ab", "", "0123456789ab", true, true, false},
        {"first part, chunked", NEEDS("reader"), CHUNKED "2\r\nhe\r\n", "3\r\nllo\r\n0\r\n\r\n", "hello", false, true, false},
        {"none", NEEDS("reader"), POST "\r\n", "", "", true, true, false},
        {"whole, by length", NEEDS("whole"), LENGTH("10") "01234567", "89", "0123456789", false, true, false},
        {"whole, chunked, just fits", NEEDS("whole"), CHUNKED "a\r\n0123456789\r\n", "0\r\n\r\n", "0123456789", false, true,
         false},
        {"whole, too long", NEEDS("whole"), LENGTH("11"), "", "", false, false, true},
        {"whole, too long, at once", NEEDS("whole"), LENGTH("11") "0123456789a", "", "", false, false, true},
        {"whole, chunks too long", NEEDS("whole"), CHUNKED "a\r\n0123456789\r\n", "1\r\na\r\n0\r\n\r\n", "", false, false,
         true},
        {"whole, one chunk too long", NEEDS("whole"), CHUNKED "b\r\n0123456789a\r\n0\r\n\r\n", "", "", false, false, true},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%s", rows[i].name);
        body_seen[0] = '\0';
        if (rows[i].refused)
            PLAY_NOTHING();
        else
            PLAY(ACT("b", "request", FILTER_NEXT, .run = see_body));
        struct sim *s = start(rows[i].yaml);
        struct sim_conn *c = sim_client(s);
        sim_say(c, rows[i].first);
        EXPECT_EQ(strstr(actor_noted, "b.request") != NULL, rows[i].entered_at_once);
        sim_say(c, rows[i].rest);
        struct sim_conn *u = sim_next(s);
        EXPECT_CSTR(body_seen, rows[i].seen);
        if (rows[i].refused) {
            EXPECT(u == NULL);
            EXPECT_HAS(c, "HTTP/1.1 413 Content Too Large\r\n");
            EXPECT(strstr(actor_noted, "b.") == NULL);
        } else if (EXPECT(u != NULL)) {
            EXPECT_EQ(body_was_whole, rows[i].whole);
            sim_say(u, OK);
            EXPECT_GOT(c, OK);
        }
        PLAY_END(s);
    }
}

TEST(the_hooks_see_what_was_collected_and_the_rest_in_order)
{
    PLAY_NOTHING();
    struct sim *s = start(NEEDS("reader"));
    struct sim_conn *c = sim_client(s);
    sim_say(c, CHUNKED "6\r\n012345\r\n");
    sim_say(c, "6\r\n6789ab\r\n");
    EXPECT_NOTED("a.request b.request a.up[0123456789ab] b.up[0123456789ab] ");
    sim_say(c, "1\r\nc\r\n0\r\n\r\n");
    EXPECT_NOTED("a.up[c] b.up[c] a.up[]$ b.up[]$ ");
    struct sim_conn *u = sim_next(s);
    EXPECT_HAS(u, "\r\n\r\nc\r\n0123456789ab\r\n1\r\nc\r\n0\r\n\r\n");
    sim_say(u, OK);
    PLAY_END(s);
}

TEST(a_body_that_does_not_come_is_not_waited_for_past_the_deadline)
{
    PLAY_NOTHING();
    struct sim *s = start(NEEDS("reader"));
    struct sim_conn *c = sim_client(s);
    sim_say(c, LENGTH("9") "0");
    for (int i = 0; i < 19; i++) {
        sim_advance(s, NSEC_PER_SEC);
        if (i % 5 == 0)
            sim_say(c, "x");
    }
    EXPECT_GOT(c, "");
    sim_advance(s, NSEC_PER_SEC);
    EXPECT_HAS(c, "HTTP/1.1 504 Gateway Timeout\r\n");
    EXPECT(strstr(actor_outcomes, "a.end: by deadline, total_timeout, 0, committed, in 0, out 0\n") != NULL);
    EXPECT(strstr(actor_noted, "b.") == NULL);
    PLAY_END(s);
}

/* 100 is said here, for nobody else does; but not for a body that will be refused. */
TEST(expect_100_continue_of_a_body_that_a_filter_needs)
{
    PLAY_NOTHING();
    struct sim *s = start(NEEDS("whole"));
    struct sim_conn *c = sim_client(s);
    sim_say(c, POST "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    EXPECT_GOT(c, "HTTP/1.1 100 Continue\r\n\r\n");
    sim_say(c, "body");
    struct sim_conn *u = sim_next(s);
    EXPECT_HASNT(u, "Expect");
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    sim_say(c, POST "Expect: 100-continue\r\nContent-Length: 40\r\n\r\n");
    EXPECT_HASNT(c, "100 Continue");
    EXPECT_HAS(c, "HTTP/1.1 413 Content Too Large\r\n");
    PLAY_END(s);
}

TEST(the_client_goes_while_its_body_is_collected)
{
    PLAY_NOTHING();
    struct sim *s = start(NEEDS("reader"));
    struct sim_conn *c = sim_client(s);
    sim_say(c, LENGTH("9") "0");
    sim_fin(c);
    sim_run(s);
    EXPECT_NOTED("a.request a.end ");
    EXPECT_NOTHING_LEFT(s);
    PLAY_END(s);
}
