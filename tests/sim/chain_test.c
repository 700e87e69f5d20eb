/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks: their order, what each verdict leads to, and that whatever was entered is ended once. */
#include "actor.h"

#include "client.h"

static const char *const gives[] = {"consumer", NULL};
static const struct filter actor = ACTOR("actor");
static const struct filter giver = ACTOR("giver", .provides = gives);
static const struct filter *const filters[] = {&actor, &giver, NULL};

#define FILTERED(OPTIONS)                                                                                            \
    "version: 1\n"                                                                                                   \
    "listen: [{at: \"127.0.0.1:8080\", filters: [{actor: {id: l}}]}]\n"                                              \
    "upstreams:\n"                                                                                                   \
    "  api: {endpoints: [\"http://127.0.0.1:81\"], filters: [{actor: {id: t}}, {giver: {id: u}}]}\n"                 \
    "routes:\n"                                                                                                      \
    "  - {match: /, upstream: api, timeout: 20s, filters: [{actor: {id: r" OPTIONS "}}, {giver: {id: s}}]}\n"        \
    "  - {match: /here, respond: {status: 201, body: here}, filters: [{actor: {id: r}}]}\n"

#define FORWARD "l.request r.request s.request t.request u.request t.attempt u.attempt t.endpoint0 u.endpoint0 "
#define HEADS "u.head t.head u.response t.response s.response r.response l.response "
#define ENDS "u.attempt_end t.attempt_end u.end t.end s.end r.end l.end "
#define DOWN(SLICE) "u.down" SLICE " t.down" SLICE " s.down" SLICE " r.down" SLICE " l.down" SLICE " "
#define UP(SLICE) "l.up" SLICE " r.up" SLICE " s.up" SLICE " t.up" SLICE " u.up" SLICE " "

static struct sim *start(const char *yaml)
{
    return sim_new_with(&(struct sim_conf){.yaml = yaml, .filters = filters});
}

TEST(forward_for_requests_in_reverse_for_answers_and_ends)
{
    PLAY_NOTHING();
    struct sim *s = start(FILTERED(""));
    struct sim_conn *c = sim_client(s);
    sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
    EXPECT_NOTED(FORWARD UP("[hello]$"));
    sim_say(sim_next(s), OK);
    EXPECT_NOTED(HEADS DOWN("[ok]") DOWN("[]$") ENDS);
    EXPECT_GOT(c, OK);
    EXPECT_OUTCOMES("u.attempt_end: by upstream, none, 200, sent, committed, complete, in 2, out 5\n"
                    "t.attempt_end: by upstream, none, 200, sent, committed, complete, in 2, out 5\n"
                    "u.end: by upstream, none, 200, sent, committed, complete, in 2, out 5\n"
                    "t.end: by upstream, none, 200, sent, committed, complete, in 2, out 5\n"
                    "s.end: by upstream, none, 200, sent, committed, complete, in 2, out 5\n"
                    "r.end: by upstream, none, 200, sent, committed, complete, in 2, out 5\n"
                    "l.end: by upstream, none, 200, sent, committed, complete, in 2, out 5\n");
    PLAY_END(s);
}

TEST(a_route_that_answers_by_itself)
{
    PLAY_NOTHING();
    struct sim *s = start(FILTERED(""));
    struct sim_conn *c = sim_client(s);
    sim_say(c, "GET /here HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_HAS(c, "HTTP/1.1 201 Created\r\n");
    EXPECT_NOTED("l.request r.request r.response l.response r.down[here] l.down[here] r.down[]$ l.down[]$ r.end l.end ");
    EXPECT_OUTCOMES("r.end: by us, replied, 0, committed, in 0, out 0\nl.end: by us, replied, 0, committed, in 0, out 0\n");
    PLAY_END(s);
}

/* What is noted of an answer made here: `forward`, then who entered an attempt ends it, who entered sees the answer, ends. */
static void expect_answered(struct sim_conn *c, const char *forward, const char *entered, const char *attempted)
{
    char wanted[3000], slice[60];
    size_t n = (size_t)snprintf(wanted, sizeof wanted, "%s", forward), body = sim_body(c).len;
    if (body > 40)
        snprintf(slice, sizeof slice, "[%zu]", body);
    else
        snprintf(slice, sizeof slice, "[%.*s]", (int)body, sim_body(c).at);
    const char *const hooks[] = {"attempt_end", "response", "down", "down[]$", "end"};
    for (size_t h = 0; h < array_len(hooks); h++) {
        const char *who = h == 0 ? attempted : entered;
        for (size_t i = strlen(who); i-- > 0;)
            n += (size_t)snprintf(wanted + n, sizeof wanted - n, "%c.%s%s ", who[i], hooks[h], h == 2 ? slice : "");
    }
    EXPECT_NOTED(wanted);
}

TEST(replies_and_failures_on_the_way_up)
{
    static const struct { const char *who, *hook, *forward, *entered, *attempted; } rows[] = {
        {"l", "request", "l.request ", "l", ""},
        {"r", "request", "l.request r.request ", "lr", ""},
        {"s", "request", "l.request r.request s.request ", "lrs", ""},
        {"t", "request", "l.request r.request s.request t.request ", "lrst", ""},
        {"t", "attempt", "l.request r.request s.request t.request u.request t.attempt ", "lrstu", "t"},
        {"u", "attempt", "l.request r.request s.request t.request u.request t.attempt u.attempt ", "lrstu", "tu"},
    };
    for (size_t i = 0; i < array_len(rows) * 2; i++) {
        bool fail = i % 2;
        test_row("%s.%s %s", rows[i / 2].who, rows[i / 2].hook, fail ? "FAIL" : "REPLY");
        PLAY(ACT(rows[i / 2].who, rows[i / 2].hook, fail ? FILTER_FAIL : FILTER_REPLY, .reason = REASON_denied));
        struct sim *s = start(FILTERED(""));
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        EXPECT(sim_next(s) == NULL);
        EXPECT(sim_has(c, fail ? "HTTP/1.1 403 Forbidden\r\n" : "HTTP/1.1 418 \r\n"));
        EXPECT(sim_has(c, fail ? "\"reason\":\"denied\"" : "\r\n\r\ntea"));
        EXPECT_HASNT(c, "Retry-After");
        EXPECT_EQ(sim_reasons(s, fail ? REASON_denied : REASON_replied), 1);
        expect_answered(c, rows[i / 2].forward, rows[i / 2].entered, rows[i / 2].attempted);
        sim_say(c, "GET /here HTTP/1.1\r\nHost: h\r\n\r\n");
        EXPECT_HAS(c, "here");                   /* the connection lives on */
        PLAY_END(s);
    }
}

TEST(replies_and_failures_instead_of_the_upstreams_answer)
{
    static const struct { const char *who, *hook, *before, *rest; } rows[] = {
        {"u", "head", "u.head ", "utsrl"},
        {"t", "head", "u.head t.head ", "utsrl"},
        {"u", "response", "u.head t.head u.response ", "tsrl"},
        {"s", "response", "u.head t.head u.response t.response s.response ", "rl"},
        {"l", "response", "u.head t.head u.response t.response s.response r.response l.response ", ""},
    };
    for (size_t i = 0; i < array_len(rows) * 2; i++) {
        bool fail = i % 2;
        char wanted[500];
        test_row("%s.%s %s", rows[i / 2].who, rows[i / 2].hook, fail ? "FAIL" : "REPLY");
        PLAY(ACT(rows[i / 2].who, rows[i / 2].hook, fail ? FILTER_FAIL : FILTER_REPLY, .reason = REASON_denied));
        struct sim *s = start(FILTERED(""));
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        struct sim_conn *u = sim_next(s);
        sim_say(u, OK);
        EXPECT(sim_has(c, fail ? "HTTP/1.1 403 Forbidden\r\n" : "HTTP/1.1 418 \r\n"));
        EXPECT(sim_has(c, fail ? "\"reason\":\"denied\"" : "\r\n\r\ntea"));
        EXPECT_HASNT(c, "ok");
        EXPECT(sim_closed(u));
        /* The hooks behind the one that answered see the answer; those before it have seen the upstream's. */
        size_t n = (size_t)snprintf(wanted, sizeof wanted, FORWARD "%su.attempt_end t.attempt_end ", rows[i / 2].before);
        for (const char *w = rows[i / 2].rest; *w; w++)
            n += (size_t)snprintf(wanted + n, sizeof wanted - n, "%c.response ", *w);
        char *down = strstr(actor_noted, "u.down");
        if (EXPECT(down != NULL))
            *down = '\0';
        EXPECT_NOTED(wanted);
        EXPECT(strstr(actor_outcomes, fail ? "t.attempt_end: by us, denied, 200, sent, in 0"
                                           : "t.attempt_end: by us, replied, 200, sent, in 0"));
        EXPECT(strstr(actor_outcomes, fail ? "l.end: by us, denied, 200, sent, committed, in 0"
                                           : "l.end: by us, replied, 200, sent, committed, in 0"));
        PLAY_END(s);
    }
}

/* While an answer of ours goes out it can be replaced by another, but not be failed. */
TEST(a_reply_upon_a_reply)
{
    PLAY(ACT("s", "request", FILTER_FAIL, .reason = REASON_rate_limited), ACT("r", "response", FILTER_REPLY, .status = 404),
         ACT("l", "response", FILTER_FAIL, .reason = REASON_denied));
    struct sim *s = start(FILTERED(""));
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    EXPECT_HAS(c, "HTTP/1.1 404 Not Found\r\n");
    EXPECT_HAS(c, "Content-Length: 3\r\n\r\ntea");
    EXPECT_HASNT(c, "problem");
    PLAY_END(s);
}

TEST(a_wait_is_over_in_time_and_the_same_hook_is_asked_again)
{
    static const struct { const char *who, *hook; } rows[] = {
        {"l", "request"}, {"s", "request"}, {"t", "request"}, {"t", "attempt"}, {"u", "attempt"}, {"t", "head"},
        {"u", "head"}, {"u", "response"}, {"l", "response"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        char noted[40];
        test_row("%s.%s", rows[i].who, rows[i].hook);
        PLAY(ACT(rows[i].who, rows[i].hook, FILTER_WAIT, .after = 3 * NSEC_PER_SEC));
        struct sim *s = start(FILTERED(""));
        struct sim_conn *c = sim_client(s);
        sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
        bool answering = !strcmp(rows[i].hook, "head") || !strcmp(rows[i].hook, "response");
        if (answering)
            sim_say(sim_next(s), OK);
        sim_advance(s, 3 * NSEC_PER_SEC - 1);
        snprintf(noted, sizeof noted, "%s.%s ", rows[i].who, rows[i].hook);
        size_t n = strlen(actor_noted), k = strlen(noted);
        EXPECT(n >= k && !strcmp(actor_noted + n - k, noted));
        EXPECT_GOT(c, "");
        sim_advance(s, 1);
        snprintf(noted, sizeof noted, "%s.%s %s.%s/timer ", rows[i].who, rows[i].hook, rows[i].who, rows[i].hook);
        EXPECT(strstr(actor_noted, noted) != NULL);
        EXPECT(strstr(strstr(actor_noted, "/timer") + 1, "/timer") == NULL);
        if (!answering)
            sim_say(sim_next(s), OK);
        EXPECT_GOT(c, OK);
        n = strlen(actor_noted);
        EXPECT(n > strlen(ENDS) && !strcmp(actor_noted + n - strlen(ENDS), ENDS));
        PLAY_END(s);
    }
}

TEST(a_wait_past_the_deadline)
{
    static const struct { const char *who, *hook, *ends; } rows[] = {
        {"l", "request", "l.end: by deadline, total_timeout, 0, committed, in 0, out 0\n"},
        {"t", "request", "t.end: by deadline, total_timeout, 0, in 0, out 0\n"},
        {"u", "attempt", "u.attempt_end: by deadline, total_timeout, 0, in 0, out 0\n"},
        {"t", "head", "u.attempt_end: by deadline, total_timeout, 200, sent, in 0, out 0\n"},
        {"s", "response", "u.attempt_end: by deadline, total_timeout, 200, sent, in 0, out 0\n"},
    };
    for (size_t i = 0; i < array_len(rows) * 2; i++) {
        bool timed = i % 2;                      /* or waits for somebody who does not come */
        test_row("%s.%s %d", rows[i / 2].who, rows[i / 2].hook, timed);
        PLAY(ACT(rows[i / 2].who, rows[i / 2].hook, FILTER_WAIT, .after = timed ? 100 * NSEC_PER_SEC : 0));
        struct sim *s = start(FILTERED(""));
        struct sim_conn *c = sim_client(s), *u;
        sim_say(c, GET);
        if ((u = sim_next(s)) != NULL)
            sim_say(u, OK);
        sim_advance(s, 20 * NSEC_PER_SEC - 1);
        EXPECT_GOT(c, "");
        sim_advance(s, 1);
        EXPECT_HAS(c, "HTTP/1.1 504 Gateway Timeout\r\n");
        EXPECT(strstr(actor_noted, "/timer") == NULL);
        if (!strstr(actor_outcomes, rows[i / 2].ends))
            EXPECT_CSTR(actor_outcomes, rows[i / 2].ends);
        sim_clear(c);
        sim_say(c, "GET /here HTTP/1.1\r\nHost: h\r\n\r\n");
        EXPECT_HAS(c, "here");
        PLAY_END(s);
    }
}

/* An answer of ours is sent when the deadline comes, whoever waits over it; after the deadline nobody may wait at all. */
TEST(an_answer_of_ours_does_not_wait_for_ever)
{
    PLAY(ACT("r", "request", FILTER_REPLY), ACT("l", "response", FILTER_WAIT));
    struct sim *s = start(FILTERED(""));
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    EXPECT_GOT(c, "");
    sim_advance(s, 20 * NSEC_PER_SEC);
    EXPECT_HAS(c, "HTTP/1.1 418 \r\n");
    PLAY_END(s);

    PLAY(ACT("r", "request", FILTER_WAIT), ACT("l", "response", FILTER_WAIT, .after = NSEC_PER_SEC));
    s = start(FILTERED(""));
    c = sim_client(s);
    sim_say(c, GET);
    sim_advance(s, 20 * NSEC_PER_SEC);
    EXPECT_HAS(c, "HTTP/1.1 504 Gateway Timeout\r\n");
    PLAY_END(s);
}

TEST(the_client_goes_while_a_hook_waits)
{
    static const struct { const char *who, *hook, *ends; } rows[] = {
        {"l", "request", "l.end "},
        {"s", "request", "s.end r.end l.end "},
        {"t", "request", "t.end s.end r.end l.end "},
        {"t", "attempt", "t.attempt_end u.end t.end s.end r.end l.end "},
        {"u", "attempt", ENDS}, {"u", "head", ENDS}, {"t", "head", ENDS}, {"u", "response", ENDS}, {"l", "response", ENDS},
    };
    for (size_t i = 0; i < array_len(rows) * 2; i++) {
        test_row("%s.%s %s", rows[i / 2].who, rows[i / 2].hook, i % 2 ? "reset" : "fin");
        PLAY(ACT(rows[i / 2].who, rows[i / 2].hook, FILTER_WAIT, .after = 3 * NSEC_PER_SEC));
        struct sim *s = start(FILTERED(""));
        struct sim_conn *c = sim_client(s), *u;
        sim_say(c, GET);
        if ((u = sim_next(s)) != NULL)
            sim_say(u, OK);
        if (i % 2)
            sim_reset(c);
        else
            sim_fin(c);
        actor_clear();
        sim_run(s);
        EXPECT_NOTED(rows[i / 2].ends);
        EXPECT(strstr(actor_outcomes, "l.end: by client, client_gone, ") != NULL);
        EXPECT_EQ(sim_reasons(s, REASON_client_gone), 1);
        EXPECT_NOTHING_LEFT(s);
        PLAY_END(s);
    }
}

/* The other ways in which an exchange ends; every scope that was entered ends once, with what was seen. */
TEST(outcomes)
{
    static const struct { const char *name, *answer; bool gone; uint64_t later; const char *attempt, *end; } rows[] = {
        {"reset before the head", NULL, true, 0, "by upstream, upstream_reset, 0, sent, in 0, out 0",
         "by upstream, upstream_reset, 0, sent, committed, in 0, out 0"},
        {"cut in the head", "HTTP/1.1 200", true, 0, "by upstream, upstream_cut, 0, sent, in 0, out 0",
         "by upstream, upstream_cut, 0, sent, committed, in 0, out 0"},
        {"cut in the body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", true, 0,
         "by upstream, upstream_cut, 200, sent, committed, in 2, out 0",
         "by upstream, upstream_cut, 200, sent, committed, in 2, out 0"},
        {"not HTTP", "HTTP/1.1 2x0 OK\r\n\r\n", false, 0, "by upstream, upstream_bad, 0, sent, in 0, out 0",
         "by upstream, upstream_bad, 0, sent, committed, in 0, out 0"},
        {"no answer", NULL, false, 30, "by deadline, total_timeout, 0, sent, in 0, out 0",
         "by deadline, total_timeout, 0, sent, committed, in 0, out 0"},
        {"an answer that stops", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", false, 60,
         "by deadline, idle_timeout, 200, sent, committed, in 2, out 0",
         "by deadline, idle_timeout, 200, sent, committed, in 2, out 0"},
        {"an error of theirs", "HTTP/1.1 500 Oh\r\nContent-Length: 1\r\n\r\n!", false, 0,
         "by upstream, none, 500, sent, committed, complete, in 1, out 0",
         "by upstream, none, 500, sent, committed, complete, in 1, out 0"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        char wanted[1200];
        test_row("%s", rows[i].name);
        PLAY_NOTHING();
        struct sim *s = start(FILTERED(""));
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        struct sim_conn *u = sim_next(s);
        if (rows[i].answer)
            sim_send(u, rows[i].answer);
        if (rows[i].gone)
            sim_fin(u);
        sim_run(s);
        sim_advance(s, rows[i].later * NSEC_PER_SEC);
        const char *a = rows[i].attempt, *e = rows[i].end;
        snprintf(wanted, sizeof wanted, "u.attempt_end: %s\nt.attempt_end: %s\nu.end: %s\nt.end: %s\ns.end: %s\n"
                 "r.end: %s\nl.end: %s\n", a, a, a, a, e, e, e);
        EXPECT_OUTCOMES(wanted);
        PLAY_END(s);
    }
}

TEST(the_client_goes_in_the_middle_of_the_answer)
{
    PLAY_NOTHING();
    struct sim *s = start(FILTERED(""));
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    sim_say(sim_next(s), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe");
    sim_reset(c);
    actor_clear();
    sim_run(s);
    EXPECT_NOTED(ENDS);
    EXPECT(strstr(actor_outcomes, "t.attempt_end: by client, client_gone, 200, sent, committed, in 2, out 0\n") != NULL);
    EXPECT_NOTHING_LEFT(s);
    PLAY_END(s);
}

TEST(refusals_before_a_route_is_found_enter_no_filter)
{
    PLAY_NOTHING();
    struct sim *s = start(SIM_HEAD "routes: [{match: /a/, respond: {status: 200}, filters: [{actor: {id: r}}]}]\n");
    struct sim_conn *c = sim_client(s);
    sim_say(c, "GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_HAS(c, "HTTP/1.1 404 Not Found\r\n");
    sim_say(c, "GET nonsense HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_HAS(c, "HTTP/1.1 400 Bad Request\r\n");
    EXPECT_NOTED("");
    PLAY_END(s);
}

TEST(a_drain_lets_the_exchange_end)
{
    PLAY(ACT("s", "request", FILTER_WAIT, .after = NSEC_PER_SEC));
    struct sim *s = start(FILTERED(""));
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    sim_worker(s, 0)->draining = true;
    client_drain(c->client);
    sim_advance(s, NSEC_PER_SEC);
    sim_say(sim_next(s), OK);
    EXPECT_HAS(c, "HTTP/1.1 200 OK\r\n");
    EXPECT_HAS(c, "Connection: close\r\n");
    EXPECT(sim_ended(c));
    size_t n = strlen(actor_noted);
    EXPECT(!strcmp(actor_noted + n - strlen(ENDS), ENDS));
    PLAY_END(s);
}

static char trailer_seen[40];

static void see_trailers(struct call *call)
{
    struct str v = http_head_get(response_trailers(call->req), STR("x-sum"));
    snprintf(trailer_seen, sizeof trailer_seen, STR_FMT, STR_ARG(v));
}

TEST(trailers_are_shown)
{
    PLAY(ACT("s", "trailers", FILTER_NEXT, .run = see_trailers));
    struct sim *s = start(FILTERED(""));
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    actor_clear();
    sim_say(sim_next(s), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 17\r\n\r\n");
    EXPECT_NOTED(HEADS DOWN("[ok]") "u.trailers t.trailers s.trailers r.trailers l.trailers " DOWN("[]$") ENDS);
    EXPECT_CSTR(trailer_seen, "17");
    EXPECT_HAS(c, "0\r\nX-Sum: 17\r\n\r\n");
    PLAY_END(s);
}

static unsigned consumer_at;
static char consumer_seen[2][20];

static void set_consumer(struct call *call)
{
    char name[] = "alice";
    EXPECT(request_attribute(call->req, consumer_at).at == NULL);
    request_set_attribute(call->req, consumer_at, str_c(name));
    memset(name, 'x', sizeof name);              /* it was copied */
}

static void get_consumer(struct call *call)
{
    static unsigned n;
    struct str v = request_attribute(call->req, consumer_at);
    snprintf(consumer_seen[n++ % 2], sizeof consumer_seen[0], STR_FMT, STR_ARG(v));
}

TEST(attributes_pass_from_filter_to_filter)
{
    PLAY(ACT("s", "request", FILTER_NEXT, .run = set_consumer), ACT("t", "request", FILTER_NEXT, .run = get_consumer),
         ACT("l", "end", FILTER_NEXT, .run = get_consumer));
    struct sim *s = start(FILTERED(""));
    EXPECT_EQ(s->snap->attributes.n, 1);
    EXPECT_STR(s->snap->attributes.v[0], "consumer");
    consumer_at = 0;
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    sim_say(sim_next(s), OK);
    EXPECT_CSTR(consumer_seen[0], "alice");
    EXPECT_CSTR(consumer_seen[1], "alice");
    PLAY_END(s);
}

static void fill_reply(struct call *call)
{
    reply_reason(call->req, call->reply, REASON_rate_limited, (struct str){NULL, 0});
    call->reply->retry_after = 7 * NSEC_PER_SEC;
    reply_header(call->req, call->reply, STR("X-Shadow"), STR("yes"));
}

/* In shadow mode each verdict is taken, and nothing of it is seen: no answer, no wait, no timer left, no byte. */
TEST(shadow)
{
    static const struct { const char *hook; enum verdict v; const char *emit; } rows[] = {
        {"request", FILTER_REPLY, NULL}, {"request", FILTER_FAIL, NULL}, {"request", FILTER_WAIT, NULL},
        {"up", FILTER_FAIL, NULL}, {"up", FILTER_HOLD, NULL}, {"up", FILTER_DROP, NULL}, {"up", FILTER_NEXT, "extra"},
        {"response", FILTER_REPLY, NULL}, {"response", FILTER_FAIL, NULL}, {"response", FILTER_HOLD, NULL},
        {"down", FILTER_FAIL, NULL}, {"down", FILTER_HOLD, NULL}, {"down", FILTER_DROP, NULL},
        {"down", FILTER_NEXT, "extra"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%s %d", rows[i].hook, rows[i].v);
        PLAY(ACT("r", rows[i].hook, rows[i].v, .reason = REASON_denied, .after = NSEC_PER_SEC, .emit = rows[i].emit,
              .run = fill_reply));
        struct sim *s = start(FILTERED(", mode: shadow"));
        struct sim_conn *c = sim_client(s);
        sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
        struct sim_conn *u = sim_next(s);
        sim_advance(s, 2 * NSEC_PER_SEC);
        EXPECT_HAS(u, "\r\n\r\nhello");
        EXPECT_HASNT(u, "extra");
        sim_say(u, OK);
        EXPECT_GOT(c, OK);
        EXPECT(strstr(actor_noted, "/timer") == NULL);
        PLAY_END(s);
    }
}

/* What a filter in shadow mode would have answered is in nobody else's answer. */
TEST(a_reply_in_shadow_mode_leaves_no_trace)
{
    PLAY(ACT("r", "request", FILTER_REPLY, .run = fill_reply), ACT("s", "request", FILTER_REPLY),
         ACT("r", "response", FILTER_REPLY, .run = fill_reply));
    struct sim *s = start(FILTERED(", mode: shadow"));
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    EXPECT_HAS(c, "HTTP/1.1 418 \r\n");
    EXPECT_HAS(c, "\r\n\r\ntea");
    EXPECT_HASNT(c, "Retry-After");
    EXPECT_HASNT(c, "X-Shadow");
    PLAY_END(s);
}

/* A wait that a filter in shadow mode asked for, or one that did not wait after all, does not wake the next. */
TEST(only_the_filter_that_waits_is_woken)
{
    for (int shadow = 0; shadow < 2; shadow++) {
        PLAY(ACT("r", "request", shadow ? FILTER_WAIT : FILTER_NEXT, .after = NSEC_PER_SEC),
             ACT("s", "request", FILTER_WAIT));
        struct sim *s = start(shadow ? FILTERED(", mode: shadow") : FILTERED(""));
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        sim_advance(s, 10 * NSEC_PER_SEC);
        EXPECT_NOTED("l.request r.request s.request ");
        sim_advance(s, 10 * NSEC_PER_SEC);
        EXPECT_HAS(c, "HTTP/1.1 504");
        PLAY_END(s);
    }
}

static struct wake_handle handle_taken;

static void take_handle(struct call *call) { handle_taken = wake_handle(call); }

TEST(a_handle_of_a_filter_that_did_not_wait_wakes_nobody)
{
    for (int shadow = 0; shadow < 2; shadow++) {
        actor_refused = 0;
        PLAY(ACT("r", "request", shadow ? FILTER_WAIT : FILTER_NEXT, .run = take_handle), ACT("s", "request", FILTER_WAIT));
        struct sim *s = start(shadow ? FILTERED(", mode: shadow") : FILTERED(""));
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        actor_grant(handle_taken);
        sim_run(s);
        EXPECT_NOTED("l.request r.request s.request ");
        EXPECT_EQ(actor_refused, 1);
        PLAY_END(s);
    }
}

