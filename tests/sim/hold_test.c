/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies that a filter holds back, drops, adds to or cuts, in both directions. Heads: hold_head_test.c. */
#include "actor.h"

#define SEC NSEC_PER_SEC

static const struct filter plain = ACTOR("plain");
static const struct filter holder = ACTOR("holder", .hold_max = 10, .hold_time = 5 * SEC);
static const struct filter patient = ACTOR("patient", .hold_max = 10);       /* no hold_time */
static const struct filter editor = ACTOR("editor", .hold_max = 100, .hold_time = 5 * SEC, .resizes_body = true,
                                          .resizes_request_body = true);
static const struct filter *const filters[] = {&plain, &holder, &patient, &editor, NULL};

/* a before h on the way up: h, of the given type, stands next to the upstream; c is one of the upstream's. */
#define CONF(TYPE)                                                                                                   \
    SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], filters: [{plain: {id: c}}]}}\n"               \
    "routes: [{match: /, upstream: api, timeout: 20s, filters: [{plain: {id: a}}, {" TYPE ": {id: h}}]}]\n"

#define CHUNKED "Transfer-Encoding: chunked\r\n\r\n"
#define POST "POST / HTTP/1.1\r\nHost: h\r\n" CHUNKED

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

TEST(a_request_body_is_held_and_let_go)
{
    PLAY(ACT("h", "up", FILTER_HOLD), ACT("h", "up", FILTER_HOLD));
    struct sim *s = start(CONF("holder"));
    struct sim_conn *c, *u = begin(s, &c, POST);
    sim_say(c, "2\r\nab\r\n");
    sim_say(c, "2\r\ncd\r\n");
    EXPECT_GOT(u, "");
    EXPECT_NOTED("a.up[ab] h.up[ab] a.up[cd] h.up[cd] ");
    sim_say(c, "2\r\nef\r\n0\r\n\r\n");
    EXPECT_NOTED("a.up[ef] h.up[ef] c.up[abcd] c.up[ef] a.up[]$ h.up[]$ c.up[]$ ");
    EXPECT_GOT(u, "4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n");
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    PLAY_END(s);
}

TEST(an_answers_body_is_held_and_let_go)
{
    PLAY(ACT("h", "down", FILTER_HOLD), ACT("h", "down", FILTER_HOLD));
    struct sim *s = start(CONF("holder"));
    struct sim_conn *c, *u = begin(s, &c, GET);
    sim_say(u, "HTTP/1.1 200 OK\r\n" CHUNKED "2\r\nab\r\n");
    sim_say(u, "2\r\ncd\r\n");
    EXPECT_GOT(c, "HTTP/1.1 200 OK\r\n" CHUNKED);
    actor_clear();
    sim_say(u, "2\r\nef\r\n");
    EXPECT_NOTED("c.down[ef] h.down[ef] a.down[abcd] a.down[ef] ");
    EXPECT_GOT(c, "4\r\nabcd\r\n2\r\nef\r\n");
    sim_say(u, "0\r\n\r\n");
    EXPECT_GOT(c, "0\r\n\r\n");
    PLAY_END(s);
}

/* When the hold is full, or its time is up, the hook is asked once more, and to hold again is to let go. */
TEST(bounds_of_a_hold)
{
    static const struct { const char *name, *type, *first; uint64_t later; bool over; } rows[] = {
        {"not full", "holder", "9\r\n012345678\r\n", 0, false},
        {"full", "holder", "a\r\n0123456789\r\n", 0, true},
        {"more than full", "holder", "d\r\n0123456789abc\r\n", 0, true},
        {"not late", "holder", "2\r\nab\r\n", 5 * SEC - 1, false},
        {"late", "holder", "2\r\nab\r\n", 5 * SEC, true},
        {"no time", "patient", "2\r\nab\r\n", 19 * SEC, false},
    };
    static const struct { enum verdict again; const char *what; } last[] = {
        {FILTER_HOLD, "HOLD"}, {FILTER_NEXT, "NEXT"}, {FILTER_FAIL, "FAIL"},
    };
    for (size_t i = 0; i < array_len(rows) * 6; i++) {
        bool up = i % 2;
        size_t row = i / 6, k = i / 2 % 3;
        test_row("%s, %s, %s", rows[row].name, last[k].what, up ? "up" : "down");
        if (rows[row].over)
            PLAY(ACT("h", up ? "up" : "down", FILTER_HOLD), ACT("h", up ? "up" : "down", last[k].again));
        else
            PLAY(ACT("h", up ? "up" : "down", FILTER_HOLD));
        bool patient_one = !strcmp(rows[row].type, "patient");
        struct sim *s = start(patient_one ? CONF("patient") : CONF("holder"));
        struct sim_conn *c, *u = begin(s, &c, up ? POST : GET), *to = up ? u : c;
        if (!up)
            sim_say(u, "HTTP/1.1 200 OK\r\n" CHUNKED);
        sim_clear(c);
        actor_clear();
        sim_say(up ? c : u, rows[row].first);
        sim_advance(s, rows[row].later);
        EXPECT_EQ(strstr(actor_noted, up ? "h.up/timer[] " : "h.down/timer[] ") != NULL, rows[row].over);
        if (!rows[row].over) {
            EXPECT_GOT(to, "");
        } else if (last[k].again != FILTER_FAIL) {
            EXPECT_GOT(to, rows[row].first);
        } else if (up) {
            EXPECT_HAS(c, "HTTP/1.1 502 Bad Gateway\r\n");
            EXPECT(sim_closed(u));
            EXPECT_GOT(u, "");
        } else {
            EXPECT_GOT(c, "");
            EXPECT(sim_closed(c));
        }
        PLAY_END(s);
    }
}

/* The end of a body is no more than another slice: held, released in time, with the attempt over meanwhile. */
TEST(the_end_is_held)
{
    PLAY(ACT("h", "down", FILTER_HOLD), ACT("h", "down", FILTER_HOLD));
    struct sim *s = start(CONF("holder"));
    struct sim_conn *c, *u = begin(s, &c, GET);
    sim_say(u, OK);
    EXPECT_GOT(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    EXPECT_EQ(sim_metric(s, METRIC_upstream_connections_idle), 1);       /* the endpoint need not wait */
    EXPECT(strstr(actor_noted, "c.attempt_end ") != NULL);
    EXPECT(strstr(actor_outcomes, "c.attempt_end: by upstream, none, 200, sent, committed, complete, in 2, out 0\n"));
    actor_clear();
    sim_advance(s, 5 * SEC);
    EXPECT_GOT(c, "ok");
    EXPECT_NOTED("h.down/timer[] a.down[ok] a.down[]$ c.end h.end a.end ");
    EXPECT(!sim_closed(c));
    sim_say(c, GET);
    PLAY_END(s);
}

TEST(the_end_of_a_request_is_held)
{
    PLAY(ACT("h", "up", FILTER_HOLD));
    struct sim *s = start(CONF("holder"));
    struct sim_conn *c, *u = begin(s, &c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n");
    sim_say(c, "hi");
    EXPECT_GOT(u, "");
    sim_advance(s, 5 * SEC);
    EXPECT_GOT(u, "hi");
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    EXPECT_EQ(sim_metric(s, METRIC_upstream_connections_idle), 1);
    PLAY_END(s);
}

/* Nobody will ask a filter without a hold_time again: the end of the body is its last word. */
TEST(the_end_cannot_be_held_for_ever)
{
    PLAY(ACT("h", "down", FILTER_HOLD, .always = true));
    struct sim *s = start(CONF("patient"));
    struct sim_conn *c, *u = begin(s, &c, GET);
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    PLAY_END(s);
}

TEST(two_filters_hold_one_behind_the_other)
{
    PLAY(ACT("c", "down", FILTER_HOLD), ACT("h", "down", FILTER_HOLD));
    static const struct filter *const two[] = {&plain, &holder, NULL};
    struct sim *s = sim_new_with(&(struct sim_conf){.filters = two, .yaml = SIM_HEAD
        "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], filters: [{holder: {id: c}}]}}\n"
        "routes: [{match: /, upstream: api, filters: [{holder: {id: h}}]}]\n"});
    struct sim_conn *c, *u = begin(s, &c, GET);
    sim_say(u, "HTTP/1.1 200 OK\r\n" CHUNKED "2\r\nab\r\n");
    actor_clear();
    sim_advance(s, 3 * SEC);
    sim_say(u, "2\r\ncd\r\n");
    EXPECT_NOTED("c.down[cd] h.down[ab] h.down[cd] ");
    EXPECT_GOT(c, "HTTP/1.1 200 OK\r\n" CHUNKED "2\r\nab\r\n2\r\ncd\r\n");
    sim_say(u, "0\r\n\r\n");
    PLAY_END(s);
}

/* What one filter lets go, another behind it cuts: the held bytes go, and go once. */
TEST(a_failure_behind_a_release)
{
    static char many[6 * 16384 + 1];
    for (int row = 0; row < 3; row++) {
        bool up = row == 1;
        test_row("%d", row);
        if (row == 2)                            /* the failure comes after some of it has passed */
            PLAY(ACT("h", "down", FILTER_HOLD), ACT("a", "down", FILTER_NEXT), ACT("a", "down", FILTER_NEXT),
                 ACT("a", "down", FILTER_FAIL, .reason = REASON_denied));
        else if (up)
            PLAY(ACT("h", "up", FILTER_HOLD), ACT("c", "up", FILTER_FAIL, .reason = REASON_denied));
        else
            PLAY(ACT("h", "down", FILTER_HOLD), ACT("a", "down", FILTER_FAIL, .reason = REASON_denied));
        static const struct filter big = ACTOR("big", .hold_max = 1 << 20, .hold_time = 5 * SEC);
        static const struct filter *const with_big[] = {&plain, &big, NULL};
        struct sim *s = sim_new_with(&(struct sim_conf){.filters = with_big, .yaml = CONF("big")});
        struct sim_conn *c, *u = begin(s, &c, up ? POST : GET), *from = up ? c : u;
        if (!up)
            sim_say(u, "HTTP/1.1 200 OK\r\n" CHUNKED);
        sim_fill(many, sizeof many - 1, 0);
        sim_send(from, "18000\r\n");
        sim_say(from, many);                     /* comes in several slices: the first is held */
        sim_advance(s, 5 * SEC);
        if (up)
            EXPECT_HAS(c, "HTTP/1.1 403 Forbidden\r\n");
        else
            EXPECT(sim_closed(c));
        EXPECT(sim_closed(u));
        EXPECT(strstr(actor_outcomes, "a.end: by us, denied, "));
        PLAY_END(s);
    }
}

TEST(a_slice_is_dropped)
{
    for (int up = 0; up < 2; up++) {
        const char *hook = up ? "up" : "down";
        test_row("%s", hook);
        PLAY(ACT("h", hook, FILTER_NEXT), ACT("h", hook, FILTER_HOLD), ACT("h", hook, FILTER_DROP),
             ACT("h", hook, FILTER_NEXT), ACT("h", hook, FILTER_DROP));
        struct sim *s = start(CONF("editor"));
        struct sim_conn *c, *u = begin(s, &c, up ? POST : GET), *from = up ? c : u, *to = up ? u : c;
        if (!up)
            sim_say(u, "HTTP/1.1 200 OK\r\n" CHUNKED);
        sim_clear(to);
        for (const char *slice = "abcd"; *slice; slice++) {
            char chunk[20];
            snprintf(chunk, sizeof chunk, "1\r\n%c\r\n", *slice);
            sim_say(from, chunk);
        }
        EXPECT_GOT(to, "1\r\na\r\n1\r\nd\r\n");
        sim_say(from, "0\r\n\r\n");              /* the end is not dropped: only its bytes would be */
        EXPECT_GOT(to, "0\r\n\r\n");
        if (up)
            sim_say(u, OK);
        PLAY_END(s);
    }
}

/* A filter that promised to leave the length alone must not shorten the body: better none than a wrong one. */
TEST(a_drop_without_leave_is_a_failure)
{
    PLAY(ACT("h", "down", FILTER_DROP));
    struct sim *s = start(CONF("holder"));
    struct sim_conn *c, *u = begin(s, &c, GET);
    sim_say(u, OK);
    EXPECT_GOT(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    EXPECT(sim_closed(c));
    EXPECT_EQ(sim_reasons(s, REASON_filter_failed), 1);
    PLAY_END(s);
}

TEST(bytes_are_added_and_the_length_goes)
{
    PLAY(ACT("h", "up", FILTER_NEXT, .emit = "before "), ACT("h", "down", FILTER_NEXT, .emit = "< "),
         ACT("h", "down", FILTER_NEXT, .emit = " >"));
    struct sim *s = start(CONF("editor"));
    struct sim_conn *c = sim_client(s);
    sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
    struct sim_conn *u = sim_next(s);
    EXPECT_HASNT(u, "Content-Length");
    EXPECT_HAS(u, "\r\n" CHUNKED "7\r\nbefore \r\n5\r\nhello\r\n0\r\n\r\n");
    actor_clear();
    sim_say(u, OK);
    EXPECT_GOT(c, "HTTP/1.1 200 OK\r\n" CHUNKED "2\r\n< \r\n2\r\nok\r\n2\r\n >\r\n0\r\n\r\n");
    EXPECT(strstr(actor_noted, "h.down[ok] a.down[< ] a.down[ok] c.down[]$ h.down[]$ a.down[ >] a.down[]$ ") != NULL);
    EXPECT(strstr(actor_outcomes, "c.attempt_end: by upstream, none, 200, sent, committed, complete, in 2, out 12\n"));
    PLAY_END(s);
}

TEST(bytes_added_to_an_answer_of_ours_and_to_a_1_0_client)
{
    PLAY(ACT("a", "request", FILTER_REPLY), ACT("h", "down", FILTER_NEXT, .emit = "x"));
    struct sim *s = start(SIM_HEAD "routes: [{match: /, respond: {}, filters: [{editor: {id: h}}, {plain: {id: a}}]}]\n");
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    EXPECT_HAS(c, CHUNKED "1\r\nx\r\n3\r\ntea\r\n0\r\n\r\n");
    PLAY_END(s);

    PLAY(ACT("h", "down", FILTER_NEXT, .emit = "x"));
    s = start(CONF("editor"));
    c = sim_client(s);
    sim_say(c, "GET / HTTP/1.0\r\n\r\n");
    sim_say(sim_next(s), OK);
    EXPECT_GOT(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nxok");
    EXPECT(sim_ended(c));
    PLAY_END(s);
}

static void emits(struct call *call) { body_emit(call, "x", 1); }

static void emit_without_leave(void)
{
    PLAY(ACT("h", "down", FILTER_NEXT, .run = emits));
    struct sim *s = start(CONF("holder"));
    struct sim_conn *c, *u = begin(s, &c, GET);
    sim_say(u, OK);
}

TEST(adding_bytes_without_leave_is_a_bug) { EXPECT_DIES(emit_without_leave, "resizes"); }

TEST(a_failure_in_the_middle_of_a_body)
{
    static const struct { const char *who, *hook; } rows[] = {{"c", "down"}, {"h", "down"}, {"a", "down"}};
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%s", rows[i].who);
        PLAY(ACT(rows[i].who, "down", FILTER_NEXT), ACT(rows[i].who, "down", FILTER_FAIL, .reason = REASON_hold_limit));
        struct sim *s = start(CONF("holder"));
        struct sim_conn *c, *u = begin(s, &c, GET);
        sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhel");
        sim_say(u, "lo!");
        EXPECT_GOT(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhel");
        EXPECT(sim_closed(c));
        EXPECT(sim_closed(u));
        EXPECT(strstr(actor_outcomes, "c.attempt_end: by us, hold_limit, 200, sent, committed, in 6, out 0\n"));
        EXPECT_EQ(sim_reasons(s, REASON_hold_limit), 1);
        PLAY_END(s);
    }
}

TEST(nothing_is_asked_behind_a_failure_whose_answer_waits)
{
    PLAY(ACT("h", "up", FILTER_HOLD), ACT("c", "up", FILTER_FAIL, .reason = REASON_denied),
         ACT("a", "response", FILTER_WAIT, .after = SEC));
    struct sim *s = start(CONF("holder"));
    struct sim_conn *c, *u = begin(s, &c, POST);
    sim_say(c, "2\r\nab\r\n");
    actor_clear();
    sim_say(c, "2\r\ncd\r\n2\r\nef\r\n");
    EXPECT_NOTED("a.up[cd] h.up[cd] c.up[ab] c.attempt_end c.response h.response a.response ");
    EXPECT(sim_closed(u));
    sim_advance(s, SEC);
    EXPECT_HAS(c, "HTTP/1.1 403 Forbidden\r\n");
    PLAY_END(s);
}

/* The answer has come whole, and its end is held: the rest of the request is read and goes nowhere. */
TEST(an_upload_behind_an_answer_that_is_held)
{
    static char many[10000 + 1];
    static const struct filter keeps = ACTOR("keeps", .keep_body = 100, .hold_max = 10, .hold_time = 5 * SEC);
    static const struct filter *const with_keeps[] = {&plain, &keeps, NULL};
    PLAY(ACT("h", "down", FILTER_HOLD), ACT("h", "down", FILTER_HOLD));
    struct sim *s = sim_new_with(&(struct sim_conf){.yaml = CONF("keeps"), .filters = with_keeps});
    struct sim_conn *c, *u = begin(s, &c, POST);
    sim_say(u, OK);
    EXPECT_GOT(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n");
    EXPECT(sim_closed(u));
    size_t before = sim_worker(s, 0)->buf_blocks.used;
    sim_fill(many, sizeof many - 1, 0);
    for (int i = 0; i < 20; i++) {
        sim_send(c, "2710\r\n");
        sim_send(c, many);
        sim_say(c, "\r\n");
    }
    EXPECT_EQ(sim_worker(s, 0)->buf_blocks.used, before);
    sim_advance(s, 5 * SEC);
    EXPECT_GOT(c, "ok");
    PLAY_END(s);
}

static void emit_then_count(struct call *call)
{
    unsigned *mine = call->local;
    body_emit(call, "x", 1);
    ++*mine;
}

/* The hook that cuts the request returns into another's, which still has its configuration and its worker's part of it. */
TEST(a_failure_below_a_hook_whose_configuration_is_old)
{
    static const struct filter local = ACTOR("local", .local_size = sizeof(unsigned), .resizes_body = true);
    static const struct filter *const with_local[] = {&plain, &local, NULL};
    PLAY(ACT("h", "down", FILTER_NEXT, .run = emit_then_count), ACT("a", "down", FILTER_FAIL, .reason = REASON_denied));
    struct sim *s = sim_new_with(&(struct sim_conf){.yaml = CONF("local"), .filters = with_local});
    struct sim_conn *c, *u = begin(s, &c, GET);
    sim_reload_one(s, 0);                                    /* a reload: the request is the old view's last user */
    sim_say(u, "HTTP/1.1 200 OK\r\n" CHUNKED "2\r\nab\r\n");
    EXPECT(sim_closed(c));
    EXPECT_EQ(sim_reasons(s, REASON_denied), 1);
    PLAY_END(s);
}

/* Before anything went down there is an answer to a request whose body is refused; while it waits, no more is read. */
TEST(a_failure_in_the_middle_of_a_requests_body)
{
    PLAY(ACT("h", "up", FILTER_NEXT), ACT("h", "up", FILTER_FAIL, .reason = REASON_body_too_large),
         ACT("a", "response", FILTER_WAIT, .after = SEC));
    struct sim *s = start(CONF("holder"));
    struct sim_conn *c, *u = begin(s, &c, POST);
    sim_say(c, "2\r\nab\r\n");
    sim_say(c, "2\r\ncd\r\n");
    EXPECT_GOT(u, "2\r\nab\r\n");
    EXPECT(sim_closed(u));
    EXPECT_GOT(c, "");
    actor_clear();
    sim_say(c, "2\r\nef\r\n");
    EXPECT_NOTED("");
    sim_advance(s, SEC);
    EXPECT_HAS(c, "HTTP/1.1 413 Content Too Large\r\n");
    EXPECT(sim_ended(c));
    PLAY_END(s);
}

TEST(the_client_goes_while_something_is_held)
{
    for (int up = 0; up < 2; up++) {
        PLAY(ACT("h", up ? "up" : "down", FILTER_HOLD));
        struct sim *s = start(CONF("holder"));
        struct sim_conn *c, *u = begin(s, &c, up ? POST : GET);
        if (up)
            sim_say(c, "2\r\nab\r\n");
        else
            sim_say(u, "HTTP/1.1 200 OK\r\n" CHUNKED "2\r\nab\r\n");
        sim_reset(c);
        sim_run(s);
        EXPECT(sim_closed(u));
        EXPECT_NOTHING_LEFT(s);
        PLAY_END(s);
    }
}

TEST(the_upstream_goes_while_something_is_held)
{
    for (int up = 0; up < 2; up++) {
        PLAY(ACT("h", up ? "up" : "down", FILTER_HOLD));
        struct sim *s = start(CONF("holder"));
        struct sim_conn *c, *u = begin(s, &c, up ? POST : GET);
        if (up)
            sim_say(c, "2\r\nab\r\n");
        else
            sim_say(u, "HTTP/1.1 200 OK\r\n" CHUNKED "2\r\nab\r\n");
        sim_reset(u);
        sim_run(s);
        EXPECT_EQ(sim_has(c, "HTTP/1.1 502"), up);
        EXPECT_EQ(sim_closed(c), !up);
        EXPECT_HASNT(c, "ab\r\n");
        PLAY_END(s);
    }
}
