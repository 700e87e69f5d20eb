/* SPDX-License-Identifier: Apache-2.0 */
/* A breaker as callers and the endpoints see it: what opens it, what the refused are told, what probes leave behind. */
#include "breaker_sim.h"

#include "client.h"

/* ---- open ---- */

TEST(a_failing_upstream_is_left_alone)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        test_row("%u workers", workers);
        struct sim *s = start(PLAIN, workers);
        for (unsigned i = 0; i < 3; i++)
            exchange(s, i, BAD);
        EXPECT_EQ(state(s), CLOSED);
        exchange(s, 3, BAD);
        EXPECT_EQ(state(s), OPEN);
        EXPECT_EQ(to(s, "open"), 1);
        EXPECT_EQ(outcome(s, "failure"), 4);
        for (unsigned i = 0; i < 6; i++) {
            struct sim_conn *c = ask(s, i);
            expect_refused(c);
            EXPECT_HAS(c, "\"policy\":\"upstream api breaker\"");
        }
        EXPECT_EQ(busy(s), 0);
        EXPECT_EQ(refused(s), 6);
        EXPECT_EQ(outcome(s, "neutral"), 0);
        EXPECT_EQ(sim_reasons(s, REASON_breaker_open), 6);
        SIM_END(s);
    }
}

/* The wait is exact, and stretched by up to a tenth; who keeps to it is let in. */
TEST(the_wait_that_is_told_is_the_right_one)
{
    for (unsigned round = 0; round < 20; round++) {
        struct sim *s = start(PLAIN, 1 + round % 3);
        make_open(s);
        for (unsigned i = 0; i < 30; i++) {
            struct sim_conn *c = ask(s, i);
            unsigned long long told = told_ms(c);
            if (busy(s) > 0) {                       /* it may be tried */
                EXPECT(i > 0);
                break;
            }
            expect_refused(c);
            EXPECT(told <= 13200);
            EXPECT(i > 0 || told >= 8000);
            sim_reset(c);
            sim_advance(s, (i == 3 ? told * MSEC : told * MSEC / 3));
            EXPECT(i != 3 || told > 0);
            if (i == 3) {
                ask(s, 0);
                EXPECT_EQ(busy(s), 1);
                break;
            }
        }
        EXPECT_EQ(state(s), HALF_OPEN);
        EXPECT_EQ(to(s, "half_open"), 1);
        SIM_END(s);
    }
}

TEST(good_answers_hold_it_closed)
{
    struct sim *s = start(PLAIN, 2);
    for (unsigned i = 0; i < 12; i++)
        exchange(s, i, i % 3 == 2 ? BAD : OK);
    EXPECT_EQ(state(s), CLOSED);
    sim_advance(s, 11 * SEC);
    for (unsigned i = 0; i < 4; i++)
        exchange(s, i, i % 2 ? OK : BAD);
    EXPECT_EQ(state(s), OPEN);
    SIM_END(s);
}

/* ---- every end of an attempt, and what it says ---- */

struct scene {
    struct sim *s;
    struct sim_conn *client, *up;        /* up NULL: there is none */
};

static void says(struct scene *x, const char *text) { answer(x->up, text); }

static void s200(struct scene *x) { says(x, OK); }
static void s204(struct scene *x) { says(x, "HTTP/1.1 204 No Content\r\n\r\n"); }
static void s301(struct scene *x) { says(x, "HTTP/1.1 301 There\r\nContent-Length: 0\r\n\r\n"); }
static void s400(struct scene *x) { says(x, "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"); }
static void s404(struct scene *x) { says(x, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"); }
static void s429(struct scene *x) { says(x, "HTTP/1.1 429 Slow\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"); }
static void s499(struct scene *x) { says(x, "HTTP/1.1 499 No\r\nContent-Length: 0\r\n\r\n"); }
static void s500(struct scene *x) { says(x, "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"); }
static void s501(struct scene *x) { says(x, "HTTP/1.1 501 Not\r\nContent-Length: 0\r\n\r\n"); }
static void s502(struct scene *x) { says(x, "HTTP/1.1 502 Oh\r\nContent-Length: 0\r\n\r\n"); }
static void s503(struct scene *x) { says(x, BAD); }
static void s504(struct scene *x) { says(x, "HTTP/1.1 504 Oh\r\nContent-Length: 0\r\n\r\n"); }
static void s505(struct scene *x) { says(x, "HTTP/1.1 505 Not\r\nContent-Length: 0\r\n\r\n"); }
static void s529(struct scene *x) { says(x, "HTTP/1.1 529 Full\r\nContent-Length: 0\r\n\r\n"); }
static void garbage(struct scene *x) { says(x, "garbage\r\n\r\n"); }
static void resets(struct scene *x) { sim_reset(x->up); }
static void ends(struct scene *x) { sim_fin(x->up); }
static void cut_head(struct scene *x) { says(x, "HTTP/1.1 200 OK\r\nContent-Le"), sim_fin(x->up); }
static void cut_body(struct scene *x) { says(x, HEAD_OF_BIG "12345"), sim_fin(x->up); }
static void reset_body(struct scene *x) { says(x, HEAD_OF_BIG "12345"), sim_reset(x->up); }
static void cut_chunked(struct scene *x)
{
    says(x, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n"), sim_fin(x->up);
}
static void to_the_close(struct scene *x) { says(x, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n12345"), sim_fin(x->up); }
static void whole_chunked(struct scene *x)
{
    says(x, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n");
}
static void client_gone(struct scene *x) { sim_reset(x->client); }
static void client_ended(struct scene *x) { sim_fin(x->client); }
static void client_gone_in_body(struct scene *x) { says(x, HEAD_OF_BIG "12345"), sim_reset(x->client); }
static void client_gone_in_503(struct scene *x)
{
    says(x, "HTTP/1.1 503 Busy\r\nContent-Length: 10\r\n\r\n12345"), sim_reset(x->client);
}
static void silence(struct scene *x) { sim_advance(x->s, 20 * SEC); }
static void long_silence(struct scene *x) { sim_advance(x->s, 31 * SEC); }
static void stalls_in_body(struct scene *x) { says(x, HEAD_OF_BIG "12345"), sim_advance(x->s, 31 * SEC); }

static void drained(struct scene *x)
{
    struct worker *w = x->client->worker;
    for (int twice = 0; twice < 2; twice++)
        for (struct list *n = w->all_clients.next, *next; n != &w->all_clients; n = next) {
            struct client *c = container_of(n, struct client, link);
            next = n->next;
            if (c == x->client->client && c->state != CLIENT_CLOSED)
                client_close(c, REASON_draining);
        }
}

static void refused_connection(struct scene *x) { EXPECT(x->up == NULL || sim_closed(x->up)); }
static void nobody_there(struct scene *x) { sim_advance(x->s, 20 * SEC); }
static void gone_while_connecting(struct scene *x) { sim_reset(x->client); }
static void reset_while_connecting(struct scene *x) { mem_reset(&x->up->end); }
static void is_told(struct scene *x) { EXPECT(sim_has(x->client, "HTTP/1.1 ")); }
static void waits_and_goes(struct scene *x) { sim_reset(x->client); }
static void waits_too_long(struct scene *x) { sim_advance(x->s, 20 * SEC); }
static void cut_then_head(struct scene *x) { says(x, HEAD_OF_BIG "12345"); }

#define UPGRADED "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
static void tunnel_ends(struct scene *x) { says(x, UPGRADED "x"), sim_fin(x->up), sim_run(x->s), sim_fin(x->client); }
static void tunnel_breaks(struct scene *x) { says(x, UPGRADED "x"), sim_reset(x->up); }
static void tunnel_left(struct scene *x) { says(x, UPGRADED "x"), sim_reset(x->client); }

#define POST_HALF "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345"
#define UPGRADE "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
#define GET_LONG "GET /long HTTP/1.1\r\nHost: h\r\n\r\n"

static void drips(struct scene *x)
{
    for (unsigned i = 0; i < 5; i++) {
        sim_advance(x->s, 4 * SEC);
        sim_say(x->client, "x");
    }
}
static void streams_on(struct scene *x)
{
    says(x, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (unsigned i = 0; i < 9 && !sim_closed(x->up); i++) {
        sim_say(x->up, "5\r\n12345\r\n");
        sim_advance(x->s, SEC);
    }
    EXPECT(sim_closed(x->up));
}
static void tunnel_stands_still(struct scene *x) { says(x, UPGRADED "x"), sim_advance(x->s, 6 * SEC); }
static void in_all_8s(struct call *call) { request_set_deadline(call->req, call->now + 8 * SEC, true); }

static const struct end {
    const char *name, *outcome;
    void (*end)(struct scene *);
    enum sim_connect connect;
    const char *request;                 /* NULL: GET */
    struct act act;                      /* of the filter behind the breaker */
    const char *probe;                   /* its outcome for a probe; NULL: the same */
} ends_of_attempts[] = {
    {"200", "success", s200}, {"204", "success", s204}, {"301", "success", s301}, {"501", "success", s501},
    {"505", "success", s505}, {"to the close", "success", to_the_close}, {"chunked", "success", whole_chunked},
    {"400", "neutral", s400}, {"404", "neutral", s404}, {"499", "neutral", s499}, {"429", "pressure", s429},
    {"500", "failure", s500}, {"502", "failure", s502}, {"503", "failure", s503}, {"504", "failure", s504},
    {"529", "failure", s529}, {"garbage", "failure", garbage}, {"reset", "failure", resets}, {"end", "failure", ends},
    {"cut in the head", "failure", cut_head}, {"cut in the body", "failure", cut_body},
    {"reset in the body", "failure", reset_body}, {"cut between chunks", "failure", cut_chunked},
    {"client gone", "neutral", client_gone}, {"client ended", "neutral", client_ended},
    {"client gone in the body", "neutral", client_gone_in_body, .probe = "success"}, {"client gone in a 503", "failure", client_gone_in_503},
    {"deadline", "failure", silence}, {"first byte", "failure", long_silence, .request = GET_LONG},
    {"stalls in the body", "failure", stalls_in_body, .request = GET_LONG},
    {"drained", "neutral", drained},
    {"connection refused", "failure", refused_connection, .connect = SIM_REFUSE},
    {"connection refused at once", "failure", refused_connection, .connect = SIM_REFUSE_NOW},
    {"nobody there", "failure", nobody_there, .connect = SIM_HANG},
    {"gone while connecting", "neutral", gone_while_connecting, .connect = SIM_HANG},
    {"reset while connecting", "failure", reset_while_connecting, .connect = SIM_HANG},
    {"client gone in its body", "neutral", client_gone, .request = POST_HALF},
    {"reset in the request's body", "failure", resets, .request = POST_HALF},
    {"tunnel ends", "success", tunnel_ends, .request = UPGRADE},
    {"tunnel breaks", "failure", tunnel_breaks, .request = UPGRADE},
    {"tunnel is left", "neutral", tunnel_left, .probe = "success", .request = UPGRADE},
    {"tunnel stands still", "neutral", tunnel_stands_still, .probe = "success", .request = UPGRADE},
    {"client drips to the deadline", "neutral", drips, .request = POST_HALF},
    {"the deadline in the body", "neutral", streams_on, .probe = "success", .act = ACT("u", "attempt", FILTER_NEXT, .run = in_all_8s)},
    {"the deadline before the head", "failure", silence, .act = ACT("u", "attempt", FILTER_NEXT, .run = in_all_8s)},
    {"a later filter refuses", "neutral", is_told, .act = ACT("u", "attempt", FILTER_REPLY)},
    {"a later filter fails", "neutral", is_told, .act = ACT("u", "attempt", FILTER_FAIL, .reason = REASON_queue_full)},
    {"gone while a later filter waits", "neutral", waits_and_goes, .act = ACT("u", "attempt", FILTER_WAIT)},
    {"deadline while a later filter waits", "neutral", waits_too_long, .act = ACT("u", "attempt", FILTER_WAIT)},
    {"silence after a filter's wait", "failure", silence, .act = ACT("u", "attempt", FILTER_WAIT, .after = 3 * SEC)},
    {"no endpoint suits", "neutral", is_told, .act = ACT("u", "endpoint0", FILTER_FAIL, .always = true)},
    {"a good answer is replaced", "success", cut_then_head, .act = ACT("u", "head", FILTER_REPLY)},
    {"an answer is not wanted", "neutral", cut_then_head, .probe = "success", .act = ACT("u", "head", FILTER_FAIL, .reason = REASON_denied)},
    {"a bad answer is replaced", "failure", s503, .act = ACT("u", "head", FILTER_REPLY)},
    {"a filter fails in the body", "neutral", cut_then_head, .probe = "success",
     .act = ACT("u", "down", FILTER_FAIL, .reason = REASON_filter_failed)},
};

#define TUNNEL_5S SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], timeouts: {tunnel: 5s}, filters: ["
#define ENDS TUNNEL_5S "{breaker: {" SMALL "}}, {actor: {id: u}}]}}\n" \
    "routes: [{match: /, upstream: api, timeout: 20s}, {match: /long, upstream: api, timeout: 100s}]\n"

/* One attempt, to its end. */
static void play_end(struct sim *s, const struct end *e)
{
    struct scene x = {.s = s};
    for (struct sim_conn *u = s->all; u; u = u->next)
        sim_clear(u);
    while (sim_next(s)) {
    }
    actor_play(&e->act, e->act.who != NULL);
    s->connect = e->connect;
    x.client = sim_client_at(s, 0, 0, STR("192.0.2.1"));
    sim_say(x.client, e->request ? e->request : GET);
    x.up = busy_one(s) ? busy_one(s) : sim_next(s);
    e->end(&x);
    sim_run(s);
    s->connect = SIM_ACCEPT;
    PLAY_NOTHING();
    sim_reset(x.client);
    sim_run(s);
}

TEST(each_end_is_judged_once)
{
    static const char *const outcomes[] = {"success", "failure", "slow", "neutral", "pressure"};
    for (size_t i = 0; i < array_len(ends_of_attempts); i++) {
        const struct end *e = &ends_of_attempts[i];
        test_row("%s", e->name);
        struct sim *s = start(ENDS, 1);
        play_end(s, e);
        for (size_t k = 0; k < array_len(outcomes); k++)
            if (outcome(s, outcomes[k]) != !strcmp(outcomes[k], e->outcome))
                EXPECT_CSTR(outcomes[k], e->outcome);
        EXPECT_EQ(state(s), CLOSED);
        SIM_END(s);
    }
}

TEST(four_failures_of_any_kind_open_it)
{
    for (size_t i = 0; i < array_len(ends_of_attempts); i++) {
        const struct end *e = &ends_of_attempts[i];
        bool fails = !strcmp(e->outcome, "failure");
        test_row("%s", e->name);
        const char *yaml = TUNNEL_5S "{breaker: {min_requests: 4, window: 10m, open: 10s..40s, ramp: 0s}}, {actor: {id: u}}]}}\n"
            "routes: [{match: /, upstream: api, timeout: 20s}, {match: /long, upstream: api, timeout: 100s}]\n";
        struct sim *s = start(yaml, 1);
        for (unsigned n = 0; n < 4; n++) {
            EXPECT_EQ(state(s), CLOSED);
            play_end(s, e);
        }
        EXPECT_EQ(state(s), fails ? OPEN : CLOSED);
        SIM_END(s);
    }
}

static int connect_error;
static int connect_fails(struct worker *w, struct stream *st, const struct address *a,
                         void (*on_event)(struct stream *, unsigned))
{
    (void)w, (void)st, (void)a, (void)on_event;
    errno = connect_error;
    return -1;
}

/* Who has no descriptors left cannot say that endpoints are bad. */
TEST(what_the_gateway_is_short_of)
{
    static const struct { int error; const char *outcome; } rows[] = {
        {EMFILE, "neutral"}, {ENFILE, "neutral"}, {ENOBUFS, "neutral"}, {ENOMEM, "neutral"}, {EADDRNOTAVAIL, "neutral"},
        {ECONNREFUSED, "failure"}, {ENETUNREACH, "failure"}, {ENOENT, "failure"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%d", rows[i].error);
        struct sim *s = start(PLAIN, 1);
        sim_worker(s, 0)->connect = connect_fails;
        connect_error = rows[i].error;
        for (unsigned n = 0; n < 4; n++)
            EXPECT_HAS(ask(s, 0), "\"reason\":\"connect_failed\"");
        EXPECT_EQ(outcome(s, rows[i].outcome), 4);
        SIM_END(s);
    }
}

/* Whatever becomes of a probe, its place is free after it. */
TEST(each_end_of_a_probe_gives_its_place_back)
{
    for (size_t i = 0; i < array_len(ends_of_attempts); i++) {
        const struct end *e = &ends_of_attempts[i];
        test_row("%s", e->name);
        struct sim *s = start(ENDS, 1);
        make_ready(s);
        play_end(s, e);
        EXPECT_EQ(to(s, "half_open"), 1);
        EXPECT_EQ(probes(s), 0);
        const char *outcome = e->probe ? e->probe : e->outcome;
        if (!strcmp(outcome, "failure")) {
            EXPECT_EQ(state(s), OPEN);
            EXPECT_EQ(to(s, "open"), 2);
            sim_advance(s, 24 * SEC);                /* twice as long */
            exchange(s, 0, OK);
        } else if (strcmp(outcome, "success") != 0) {
            exchange(s, 0, OK);
        }
        EXPECT_EQ(state(s), HALF_OPEN);
        for (unsigned n = 0; n < 4; n++) {
            EXPECT_EQ(state(s), HALF_OPEN);
            exchange(s, n, OK);
        }
        EXPECT_EQ(state(s), CLOSED);
        EXPECT_EQ(to(s, "closed"), 1);
        SIM_END(s);
    }
}

/* ---- streams ---- */

TEST(a_stream_is_judged_at_its_end)
{
    struct sim *s = start(PLAIN, 2);
    struct sim_conn *u[4];
    for (unsigned i = 0; i < 4; i++) {
        ask(s, i);
        u[i] = busy_one(s);
        answer(u[i], "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        sim_say(u[i], "3\r\nabc\r\n");
    }
    EXPECT_EQ(outcome(s, "success"), 0);
    for (unsigned i = 0; i < 4; i++) {
        EXPECT_EQ(state(s), CLOSED);
        if (i % 2)
            sim_say(u[i], "0\r\n\r\n");
        else
            sim_fin(u[i]);
        sim_run(s);
    }
    EXPECT_EQ(outcome(s, "success"), 2);
    EXPECT_EQ(outcome(s, "failure"), 2);
    EXPECT_EQ(state(s), OPEN);
    SIM_END(s);
}

/* Its head is in time, and then it goes on for ever. */
TEST(a_probe_that_streams_on_holds_its_place_for_a_while)
{
    struct sim *s = start(GUARDED("{breaker: {min_requests: 4, window: 10s, open: 10s..30s, ramp: 0s}}"), 3);
    make_ready(s);
    ask(s, 0);
    struct sim_conn *u = busy_one(s);
    answer(u, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (unsigned i = 0; i < 9; i++) {
        struct sim_conn *c = ask(s, i);
        expect_refused(c);
        sim_reset(c);
        sim_say(u, "1\r\nx\r\n");
        sim_advance(s, SEC);
    }
    EXPECT_EQ(probes(s), 1);
    sim_say(u, "1\r\nx\r\n");
    sim_advance(s, SEC - 1);
    EXPECT_EQ(probes(s), 1);
    sim_advance(s, 1);
    EXPECT_EQ(probes(s), 0);
    for (unsigned i = 0; i < 4; i++)
        exchange(s, i, OK);
    EXPECT_EQ(state(s), HALF_OPEN);
    sim_clear(u);
    sim_say(u, "0\r\n\r\n");                         /* it has its say all the same */
    EXPECT_EQ(state(s), CLOSED);
    SIM_END(s);
}

/* ---- half open ---- */

TEST(one_probe_then_two_then_four_for_all_workers)
{
    static const unsigned allowed[] = {1, 2, 2, 4, 4};
    for (unsigned workers = 1; workers <= 3; workers += 2) {
        struct sim *s = start(PLAIN, workers);
        make_ready(s);
        for (unsigned answered = 0; answered < 5; answered++) {
            test_row("%u workers, %u answered", workers, answered);
            for (unsigned i = 0; i < 6; i++)
                ask(s, i);
            EXPECT_EQ(busy(s), allowed[answered]);
            EXPECT_EQ(probes(s), allowed[answered]);
            EXPECT_EQ(state(s), HALF_OPEN);
            answer(busy_one(s), OK);
        }
        EXPECT_EQ(state(s), CLOSED);
        for (unsigned i = 0; i < 6; i++)
            ask(s, i);
        EXPECT_EQ(busy(s), 9);
        while (busy(s) > 0)
            answer(busy_one(s), OK);
        EXPECT_EQ(to(s, "closed"), 1);
        SIM_END(s);
    }
}

TEST(all_workers_see_it_open_at_once)
{
    struct sim *s = start(PLAIN, 3);
    struct sim_conn *u[9];
    for (unsigned i = 0; i < 9; i++)
        ask(s, i);
    EXPECT_EQ(busy(s), 9);
    for (unsigned i = 0; i < 9; i++) {
        u[i] = busy_one(s);
        sim_clear(u[i]);
    }
    for (unsigned i = 0; i < 4; i++)
        sim_say(u[i], BAD);
    EXPECT_EQ(state(s), OPEN);
    for (unsigned i = 0; i < 3; i++)
        expect_refused(ask(s, i));
    for (unsigned i = 4; i < 9; i++)                 /* of before it opened */
        sim_say(u[i], BAD);
    EXPECT_EQ(to(s, "open"), 1);
    EXPECT_EQ(outcome(s, "failure"), 9);
    SIM_END(s);
}

/* A limit behind it: the probe waits there, and may go away from there. */
TEST(a_probe_that_waits_in_a_queue)
{
    struct sim *s = start(UPSTREAM("{breaker: {" SMALL "}}, {concurrency: {max: 1, max_wait: 30s, name: one}}")
                          "routes: [{match: /, upstream: api, timeout: 20s}, {match: /long, upstream: api, timeout: 100s}]\n", 2);
    ask_for(s, 0, "/long");
    struct sim_conn *old = busy_one(s);
    sim_clear(old);
    struct sim_conn *waits[4];
    for (unsigned i = 0; i < 4; i++)
        waits[i] = ask(s, i);
    for (unsigned i = 0; i < 4; i++) {
        EXPECT_EQ(busy(s), 0);
        sim_reset(waits[i]);
        sim_run(s);
    }
    EXPECT_EQ(outcome(s, "neutral"), 4);
    EXPECT_EQ(state(s), CLOSED);
    sim_say(old, OK);
    sim_advance(s, 11 * SEC);
    make_ready(s);
    ask_for(s, 0, "/long");                          /* the probe, which takes the slot */
    expect_refused(ask(s, 1));
    answer(busy_one(s), OK);
    ask_for(s, 0, "/long");
    struct sim_conn *queued = ask(s, 1);
    EXPECT_EQ(busy(s), 1);
    EXPECT_EQ(probes(s), 2);
    sim_reset(queued);
    sim_run(s);
    EXPECT_EQ(probes(s), 1);
    answer(busy_one(s), OK);
    EXPECT_EQ(probes(s), 0);
    EXPECT_EQ(state(s), HALF_OPEN);
    SIM_END(s);
}

/* A limit before it: who waited is asked about when it leaves the queue. */
/* The deadline blames an endpoint only if that had half of the time that it might have had: the rest went to the queue. */
TEST(a_slot_shortly_before_the_deadline)
{
    static const struct { uint64_t waits, first_byte; const char *what; } rows[] = {
        {9 * SEC, 60, "failure"}, {10 * SEC, 60, "failure"}, {11 * SEC, 60, "neutral"}, {20 * SEC - 1, 60, "neutral"},
        {14 * SEC, 12, "failure"}, {15 * SEC, 12, "neutral"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        char yaml[600];
        test_row("%zu", i);
        snprintf(yaml, sizeof yaml, SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], "
                 "timeouts: {first_byte: %us, idle: 60s}, filters: [{breaker: {" SMALL "}}, {concurrency: {max: 1, max_wait: 30s}}]}}\n"
                 "routes: [{match: /slow, upstream: api, timeout: 60s}, {match: /, upstream: api, timeout: 20s}]\n",
                 (unsigned)rows[i].first_byte);
        struct sim *s = start(yaml, 1);
        ask_for(s, 0, "/slow");
        struct sim_conn *u = busy_one(s), *c = ask(s, 0);
        sim_say(u, HEAD_OF_BIG);
        sim_advance(s, rows[i].waits);
        sim_clear(u);
        sim_say(u, "0123456789");
        EXPECT_EQ(busy(s), 1);
        sim_advance(s, 20 * SEC - rows[i].waits);
        EXPECT_HAS(c, "\"reason\":\"total_timeout\"");
        EXPECT_EQ(outcome(s, "success"), 1);
        EXPECT_EQ(outcome(s, rows[i].what), 1);
        SIM_END(s);
    }
}

TEST(it_opens_while_others_wait_for_a_slot)
{
    struct sim *s = start(GUARDED("{concurrency: {max: 4, queue: 10, max_wait: 10s, name: four}}, {breaker: {" SMALL "}}"), 3);
    struct sim_conn *c[10];
    for (unsigned i = 0; i < 10; i++)
        c[i] = ask(s, i);
    EXPECT_EQ(busy(s), 4);
    for (unsigned i = 0; i < 4; i++)
        answer(busy_one(s), BAD);
    EXPECT_EQ(state(s), OPEN);
    while (busy(s) > 0)                              /* let in before it opened */
        answer(busy_one(s), BAD);
    unsigned n = 0;
    for (unsigned i = 0; i < 10; i++)
        n += sim_has(c[i], "\"reason\":\"breaker_open\"");
    EXPECT_EQ(n + outcome(s, "failure"), 10);
    EXPECT(n >= 3);
    SIM_END(s);
}

/* ---- the ramp ---- */

TEST(after_it_closes_a_rising_share_is_let_in)
{
    struct sim *s = start(GUARDED("{breaker: {min_requests: 4, window: 10s, open: 10s..40s, ramp: 10s}}"), 3);
    unsigned in[2] = {0}, n = 400;
    make_ready(s);
    for (unsigned i = 0; i < 5; i++)
        exchange(s, i, OK);
    EXPECT_EQ(state(s), RAMPING);
    for (unsigned half = 0; half < 2; half++, sim_advance(s, 5 * SEC))
        for (unsigned i = 0; i < n; i++) {
            struct sim_conn *c = ask(s, i);
            in[half] += busy(s);
            if (busy(s) > 0) {
                answer(busy_one(s), OK);
            } else {
                expect_refused(c);
                EXPECT(told_ms(c) <= 11000);
            }
            sim_reset(c);
            sim_run(s);
        }
    EXPECT(in[0] > 15 && in[0] < 70);                /* 10 % of 400, 55 % */
    EXPECT(in[1] > 180 && in[1] < 260);
    EXPECT_EQ(state(s), CLOSED);
    exchange(s, 0, OK);
    SIM_END(s);
}

/* ---- retries and fallbacks ---- */

#define RETRIED UPSTREAM("{breaker: {" SMALL "}}, {actor: {id: u}}") "routes: [{match: /, upstream: api, timeout: 20s}]\n"

TEST(a_retry_does_not_give_up_the_answer_for_a_refusal)
{
    PLAY(ACT("u", "head", FILTER_RETRY, .always = true));
    struct sim *s = sim_new_with(&(struct sim_conf){.yaml = RETRIED, .filters = filters});
    struct sim_conn *c = ask(s, 0);
    for (unsigned i = 0; i < 4; i++) {
        EXPECT(!sim_has(c, "HTTP/1.1 "));
        answer(busy_one(s), BAD);
    }
    EXPECT_HAS(c, "HTTP/1.1 503 Busy\r\n");
    EXPECT_EQ(state(s), OPEN);
    EXPECT_EQ(refused(s), 0);
    sim_advance(s, 12 * SEC);
    c = ask(s, 0);                                   /* a probe that fails */
    answer(busy_one(s), BAD);
    EXPECT_HAS(c, "HTTP/1.1 503 Busy\r\n");
    EXPECT_EQ(state(s), OPEN);
    EXPECT_EQ(probes(s), 0);
    EXPECT_EQ(refused(s), 0);
    PLAY_NOTHING();
    SIM_END(s);
}

TEST(a_retry_in_a_ramp_is_drawn_for_once)
{
    unsigned retried = 0;
    struct sim *s = start(UPSTREAM("{breaker: {min_requests: 100, window: 10s, open: 10s..40s, ramp: 10s}}, {actor: {id: u}}")
                          "routes: [{match: /, upstream: api, timeout: 20s}]\n", 1);
    EXPECT(command(s, "open"));
    EXPECT(command(s, "auto"));
    for (unsigned i = 0; i < 5; i++)
        exchange(s, i, OK);
    EXPECT_EQ(state(s), RAMPING);
    sim_advance(s, 4500 * MSEC);
    for (unsigned i = 0; i < 60; i++) {
        PLAY(ACT("u", "head", FILTER_RETRY));
        struct sim_conn *c = ask(s, 0);
        if (busy(s) > 0) {
            answer(busy_one(s), "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
            EXPECT_HASNT(c, "breaker_open");         /* that answer, or a further attempt */
            retried += busy(s);
            if (busy(s) > 0)
                answer(busy_one(s), "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
            EXPECT_HAS(c, "HTTP/1.1 404 No\r\n");
        }
        sim_reset(c);
        sim_run(s);
    }
    EXPECT(retried > 5);
    PLAY_NOTHING();
    SIM_END(s);
}

#define TWO_UPSTREAMS(FALLBACK) \
    SIM_HEAD "upstreams:\n  api: {endpoints: [\"http://127.0.0.1:81\"], filters: [{breaker: {" SMALL "}}]}\n" \
    "  other: {endpoints: [\"http://127.0.0.1:82\"]}\n" \
    "routes: [{match: /, upstream: api, timeout: 20s, fallback: " FALLBACK "}]\n"

TEST(the_fallback_is_taken_when_it_is_open)
{
    struct sim *s = start(TWO_UPSTREAMS("other"), 2);
    make_open(s);
    for (unsigned i = 0; i < 4; i++) {
        struct sim_conn *c = ask(s, i);
        EXPECT(busy_at(s, 81) == NULL);
        answer(busy_at(s, 82), OK);
        EXPECT(is_served(c));
    }
    EXPECT_EQ(refused(s), 4);
    SIM_END(s);
    s = start(TWO_UPSTREAMS("{respond: {status: 200, body: later}}"), 2);
    make_open(s);
    struct sim_conn *c = ask(s, 0);
    EXPECT_HAS(c, "HTTP/1.1 200 OK\r\n");
    EXPECT_HAS(c, "later");
    SIM_END(s);
}

#define BOTH_GUARDED(RAMP) \
    SIM_HEAD "upstreams:\n  api: {endpoints: [\"http://127.0.0.1:81\"], filters: [{actor: {id: u}}]}\n" \
    "  other: {endpoints: [\"http://127.0.0.1:82\"], filters: [{breaker: {min_requests: 4, open: 10s..40s, ramp: " RAMP "}}]}\n" \
    "routes: [{match: /, upstream: api, timeout: 20s, fallback: other}]\n"

/* What there is, an answer or a reason, is not given up for a refusal of the fallback's breaker. */
TEST(a_fallback_that_would_refuse_is_not_taken)
{
    static const struct { struct act act; const char *answer; } rows[] = {
        {ACT("u", "head", FILTER_FAILOVER, .always = true), "HTTP/1.1 503 Busy\r\n"},
        {ACT("u", "head", FILTER_FAILOVER, .failover = "other", .always = true), "HTTP/1.1 503 Busy\r\n"},
        {ACT("u", "attempt", FILTER_FAIL, .reason = REASON_no_endpoint, .always = true), "\"reason\":\"no_endpoint\""},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        struct sim *s = start(BOTH_GUARDED("0s"), 1);
        actor_play(&rows[i].act, 1);
        EXPECT(command(s, "open"));
        struct sim_conn *c = ask(s, 0);
        if (busy(s) > 0)
            answer(busy_at(s, 81), BAD);
        EXPECT_HAS(c, rows[i].answer);
        EXPECT_HASNT(c, "breaker_open");
        EXPECT_EQ(busy(s), 0);
        EXPECT_EQ(refused(s), 0);
        EXPECT(command(s, "closed"));
        c = ask(s, 0);
        if (busy_at(s, 81))
            answer(busy_at(s, 81), BAD);
        answer(busy_at(s, 82), OK);
        EXPECT(is_served(c));
        PLAY_NOTHING();
        SIM_END(s);
    }
}

TEST(a_fallback_in_a_ramp_is_drawn_for_once)
{
    unsigned taken = 0;
    struct sim *s = start(BOTH_GUARDED("10s"), 1);
    PLAY(ACT("u", "head", FILTER_FAILOVER, .always = true));
    EXPECT(command(s, "open"));
    EXPECT(command(s, "auto"));
    for (unsigned i = 0; i < 60; i++) {
        struct sim_conn *c = ask(s, 0);
        answer(busy_at(s, 81), BAD);
        EXPECT_HASNT(c, "breaker_open");
        taken += busy(s);
        if (busy(s) > 0)
            answer(busy_at(s, 82), OK);
        sim_advance(s, state(s) == RAMPING ? 50 * MSEC : 0);
        sim_reset(c);
        sim_run(s);
    }
    EXPECT(taken > 10 && taken < 50);
    PLAY_NOTHING();
    SIM_END(s);
}

/* ---- shadow ---- */

TEST(in_shadow_it_decides_and_refuses_nobody)
{
    struct sim *s = start(GUARDED("{breaker: {mode: shadow, " SMALL "}}"), 3);
    make_open(s);
    for (unsigned i = 0; i < 6; i++)
        exchange(s, i, BAD);                         /* they pass, and have no say */
    EXPECT_EQ(refused(s), 6);
    EXPECT_EQ(outcome(s, "failure"), 10);
    EXPECT_EQ(to(s, "open"), 1);
    sim_advance(s, 12 * SEC);
    for (unsigned i = 0; i < 6; i++)
        ask(s, i);
    EXPECT_EQ(busy(s), 6);
    EXPECT_EQ(probes(s), 1);
    EXPECT_EQ(state(s), HALF_OPEN);
    while (busy(s) > 0)
        answer(busy_one(s), OK);
    EXPECT_EQ(probes(s), 0);
    EXPECT_EQ(state(s), HALF_OPEN);                  /* one of them was a probe */
    for (unsigned i = 0; i < 4; i++)
        exchange(s, i, OK);
    EXPECT_EQ(state(s), CLOSED);
    SIM_END(s);
}

/* ---- slow ---- */

#define SLOW "min_requests: 4, window: 100s, open: 10s..40s, ramp: 0s, slow: {over: 2s, ratio: 75%}"

TEST(slow_answers_open_it)
{
    struct sim *s = start(GUARDED("{breaker: {" SLOW "}}"), 2);
    for (unsigned i = 0; i < 4; i++) {
        EXPECT_EQ(state(s), CLOSED);
        ask(s, i);
        struct sim_conn *u = busy_one(s);
        sim_advance(s, 2 * SEC + (i != 0));
        answer(u, OK);
    }
    EXPECT_EQ(outcome(s, "success"), 1);             /* to the nanosecond */
    EXPECT_EQ(outcome(s, "slow"), 3);
    EXPECT_EQ(state(s), OPEN);
    SIM_END(s);
}

/* Neither the wait for a slot nor a body that takes long is the endpoint's slowness. */
TEST(waiting_and_streaming_are_not_slow)
{
    struct sim *s = start(UPSTREAM("{concurrency: {max: 1, queue: 20, max_wait: 19s, name: one}}, {breaker: {" SLOW "}}")
                          "routes: [{match: /, upstream: api, timeout: 100s}]\n", 2);
    for (unsigned i = 0; i < 6; i++)
        ask(s, i);
    for (unsigned i = 0; i < 6; i++) {
        struct sim_conn *u = busy_one(s);
        if (!EXPECT(u != NULL))
            break;
        answer(u, HEAD_OF_BIG "12345");
        sim_advance(s, 3 * SEC);
        sim_say(u, "12345");
    }
    EXPECT_EQ(outcome(s, "slow"), 0);
    EXPECT_EQ(outcome(s, "success"), 6);
    SIM_END(s);
}

/* ---- an operator ---- */

TEST(an_operator_opens_and_closes_it)
{
    struct sim *s = start(PLAIN, 3);
    EXPECT(!command(s, "opne"));
    EXPECT(!command(s, ""));
    EXPECT_EQ(figure(s, "breaker_forced", NULL), 0);
    EXPECT(command(s, "open"));
    EXPECT_EQ(figure(s, "breaker_forced", NULL), 1);
    EXPECT_EQ(state(s), OPEN);
    for (unsigned i = 0; i < 3; i++) {
        struct sim_conn *c = ask(s, i);
        expect_refused(c);
        EXPECT(told_ms(c) >= 10000 && told_ms(c) <= 11000);
        sim_advance(s, 100 * SEC);
    }
    EXPECT(command(s, "closed"));
    EXPECT_EQ(figure(s, "breaker_forced", NULL), 2);
    for (unsigned i = 0; i < 10; i++)
        exchange(s, i, BAD);
    EXPECT_EQ(state(s), CLOSED);
    EXPECT(command(s, "auto"));
    EXPECT_EQ(figure(s, "breaker_forced", NULL), 0);
    exchange(s, 0, BAD);
    EXPECT_EQ(state(s), OPEN);
    EXPECT(command(s, "open"));
    EXPECT(command(s, "auto"));
    expect_it_closes(s);
    SIM_END(s);
}

/* ---- reload ---- */

TEST(a_reload_keeps_the_window_and_the_state)
{
    struct sim *s = start(PLAIN, 2);
    for (unsigned i = 0; i < 3; i++)
        exchange(s, i, BAD);
    sim_reload(s, GUARDED("{breaker: {min_requests: 6, window: 10s, open: 20s..40s, ramp: 0s}}"));
    for (unsigned i = 0; i < 2; i++)
        exchange(s, i, BAD);
    EXPECT_EQ(state(s), CLOSED);
    exchange(s, 0, BAD);
    EXPECT_EQ(state(s), OPEN);
    sim_advance(s, 16 * SEC - 1);
    expect_refused(ask(s, 0));
    sim_reload(s, PLAIN);
    EXPECT_EQ(state(s), OPEN);
    expect_refused(ask(s, 1));
    sim_advance(s, 8 * SEC + 1);
    EXPECT_EQ(figure(s, "breaker_outcomes_total", "failure"), 6);
    ask(s, 0);
    EXPECT_EQ(state(s), HALF_OPEN);
    sim_reload(s, GUARDED("{breaker: {min_requests: 4, window: 10s, open: 50ms..60ms, ramp: 0s}}"));
    EXPECT_EQ(probes(s), 1);
    answer(busy_one(s), OK);                         /* of the configuration before */
    EXPECT_EQ(probes(s), 0);
    for (unsigned i = 0; i < 4; i++)
        exchange(s, i, OK);
    EXPECT_EQ(state(s), CLOSED);
    SIM_END(s);
}

/* ---- a breaker for each endpoint ---- */

#define ENDPOINTS(OPTIONS, MORE) \
    SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\", \"http://127.0.0.1:82\"], balance: round_robin, " \
    "eject: {share: 0%}, filters: [{breaker: {scope: endpoint, " OPTIONS "}}" MORE "]}}\n" \
    "routes: [{match: /, upstream: api, timeout: 20s}]\n"

static void key_is(const struct sim *s, const char *url, const char *text)
{
    const struct instance *in = breaker_of(s);
    struct page page = {0};
    struct str value = str_c(url);
    bool known = in->type->key_print(in->shared, in->options, &value, 1, clock_mono(&s->clock), &page);
    EXPECT_EQ(known, text != NULL);
    if (known && text && !strstr(page.at, text))
        EXPECT_CSTR(page.at, text);
    page_free(&page);
}

/* Requests until those to that port failed often enough; the other one answers well. */
static void break_endpoint(struct sim *s, unsigned port, unsigned n)
{
    for (unsigned i = 0; n > 0 && i < 100; i++) {
        ask(s, i);
        struct sim_conn *u = busy_one(s);
        if (!EXPECT(u != NULL))
            return;
        bool it = ntohs(u->address.in.sin_port) == port;
        answer(u, it ? BAD : OK);
        n -= it;
    }
    EXPECT_EQ(n, 0);
}

TEST(the_others_are_used_while_one_endpoint_is_open)
{
    for (unsigned workers = 1; workers <= 3; workers += 2) {
        struct sim *s = start(ENDPOINTS(SMALL, ""), workers);
        key_is(s, "http://127.0.0.1:81", NULL);
        break_endpoint(s, 81, 4);
        EXPECT_EQ(state(s), OPEN);
        EXPECT_EQ(figure(s, "breaker_not_closed", NULL), 1);
        key_is(s, "http://127.0.0.1:81", "\"state\":\"open\"");
        key_is(s, "http://127.0.0.1:82", "\"state\":\"closed\"");
        key_is(s, "http://127.0.0.1:83", NULL);
        for (unsigned i = 0; i < 8; i++) {
            struct sim_conn *c = ask(s, i);
            EXPECT(busy_at(s, 81) == NULL);
            answer(busy_at(s, 82), OK);
            EXPECT(is_served(c));
        }
        EXPECT(refused(s) > 0);
        for (unsigned i = 0; i < 40 && figure(s, "breaker_not_closed", NULL) < 2; i++)
            exchange(s, i, BAD);
        EXPECT_EQ(figure(s, "breaker_not_closed", NULL), 2);
        struct sim_conn *c = ask(s, 0);
        EXPECT_HAS(c, "\"reason\":\"breaker_open\"");
        EXPECT_EQ(busy(s), 0);
        sim_advance(s, 12 * SEC);
        for (unsigned i = 0; i < 6; i++)
            ask(s, i);
        EXPECT_EQ(busy(s), 2);                       /* a probe for each */
        EXPECT_EQ(probes(s), 2);
        EXPECT_EQ(state(s), HALF_OPEN);
        answer(busy_at(s, 81), BAD);
        EXPECT_EQ(state(s), OPEN);
        answer(busy_at(s, 82), OK);
        for (unsigned i = 0; i < 4; i++)
            exchange(s, i, OK);
        EXPECT_EQ(figure(s, "breaker_not_closed", NULL), 1);
        EXPECT_EQ(probes(s), 0);
        SIM_END(s);
    }
}

/* Whether an attempt may begin is asked of the endpoints that are in use, the failure in hand counted with its own. */
TEST(a_retry_that_no_endpoint_would_take_is_not_begun)
{
    for (unsigned open = 0; open < 2; open++) {
        unsigned tries = 0;
        test_row("the other one is %s", open ? "open" : "closed");
        struct sim *s = start(ENDPOINTS(SMALL, ", {actor: {id: u}}"), 1);
        if (open)
            break_endpoint(s, 82, 4);
        sim_advance(s, open ? 5 * SEC : 0);
        EXPECT_EQ(figure(s, "breaker_not_closed", NULL), open);
        uint64_t before = figure(s, "breaker_outcomes_total", "success");
        PLAY(ACT("u", "head", FILTER_RETRY, .always = true));
        struct sim_conn *c = ask(s, 0);
        for (; tries < 40 && busy(s) > 0; tries++)
            answer(busy_one(s), BAD);
        EXPECT_HAS(c, "HTTP/1.1 503 Busy\r\n");
        EXPECT_EQ(figure(s, "breaker_not_closed", NULL), 2);
        EXPECT_EQ(tries, open ? before : 8);         /* each took what it could: half of its attempts, at least 4 */
        PLAY_NOTHING();
        SIM_END(s);
    }
}

/* It was let in at an endpoint that a filter behind it then did not want. */
TEST(a_place_at_an_endpoint_that_was_passed_over_is_given_back)
{
    struct sim *s = start(ENDPOINTS(SMALL, ", {actor: {id: u}}"), 1);
    break_endpoint(s, 81, 4);
    sim_advance(s, 12 * SEC);
    for (unsigned i = 0; i < 10; i++) {
        PLAY(ACT("u", "endpoint0", FILTER_FAIL, .always = true));
        struct sim_conn *c = ask(s, 0);
        PLAY_NOTHING();
        EXPECT(busy_at(s, 81) == NULL);
        EXPECT_EQ(probes(s), 0);
        answer(busy_at(s, 82), OK);
        EXPECT(is_served(c));
    }
    key_is(s, "http://127.0.0.1:81", "\"state\":\"half_open\"");
    PLAY(ACT("u", "endpoint0", FILTER_FAIL, .always = true), ACT("u", "endpoint1", FILTER_FAIL, .always = true));
    struct sim_conn *c = ask(s, 0);
    EXPECT_HAS(c, "\"reason\":\"no_endpoint\"");
    EXPECT_EQ(probes(s), 0);
    PLAY_NOTHING();
    for (unsigned i = 0; i < 20; i++)
        exchange(s, i, OK);
    EXPECT_EQ(state(s), CLOSED);
    SIM_END(s);
}

TEST(each_end_of_a_probe_at_an_endpoint)
{
    for (size_t i = 0; i < array_len(ends_of_attempts); i++) {
        const struct end *e = &ends_of_attempts[i];
        test_row("%s", e->name);
        struct sim *s = start(UPSTREAM("{breaker: {scope: endpoint, " SMALL "}}, {actor: {id: u}}")
            "routes: [{match: /, upstream: api, timeout: 20s}, {match: /long, upstream: api, timeout: 100s}]\n", 1);
        make_ready(s);
        play_end(s, e);
        EXPECT_EQ(probes(s), 0);
        EXPECT_EQ(to(s, "open"), 1 + !strcmp(e->outcome, "failure"));
        sim_advance(s, 24 * SEC);
        for (unsigned n = !strcmp(e->outcome, "success"); n < 5; n++)
            exchange(s, n, OK);
        EXPECT_EQ(state(s), CLOSED);
        SIM_END(s);
    }
}

TEST(an_operator_and_all_endpoints)
{
    struct sim *s = start(ENDPOINTS(SMALL, ""), 2);
    exchange(s, 0, OK);                              /* one of the two is known */
    EXPECT(command(s, "open"));
    for (unsigned i = 0; i < 4; i++)
        expect_refused(ask(s, i));                   /* with a wait */
    EXPECT(command(s, "closed"));
    for (unsigned i = 0; i < 12; i++)
        exchange(s, i, BAD);
    EXPECT_EQ(state(s), CLOSED);
    EXPECT_EQ(figure(s, "breaker_not_closed", NULL), 0);
    EXPECT(command(s, "auto"));
    exchange(s, 0, BAD);
    exchange(s, 0, BAD);
    EXPECT_EQ(figure(s, "breaker_not_closed", NULL), 2);
    SIM_END(s);
}

TEST(in_shadow_an_open_endpoint_is_used)
{
    struct sim *s = start(ENDPOINTS("mode: shadow, " SMALL, ""), 1);
    break_endpoint(s, 81, 10);
    EXPECT_EQ(state(s), OPEN);
    EXPECT_EQ(to(s, "open"), 1);
    EXPECT(refused(s) >= 6);
    EXPECT_EQ(outcome(s, "failure"), 10);
    SIM_END(s);
}

TEST(a_reload_may_change_what_it_stands_for)
{
    struct sim *s = start(PLAIN, 2);
    make_open(s);
    ask(s, 0);
    sim_reload(s, GUARDED("{breaker: {scope: endpoint, " SMALL "}}"));
    EXPECT_EQ(state(s), CLOSED);
    make_open(s);
    struct sim_conn *c = ask(s, 0);
    EXPECT_HAS(c, "\"reason\":\"breaker_open\"");
    sim_reload(s, PLAIN);
    EXPECT_EQ(state(s), OPEN);
    expect_refused(ask(s, 0));
    sim_advance(s, 12 * SEC);
    exchange(s, 0, OK);
    EXPECT_EQ(state(s), HALF_OPEN);
    SIM_END(s);
}
