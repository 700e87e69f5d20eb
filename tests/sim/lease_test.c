/* SPDX-License-Identifier: Apache-2.0 */
/* Leases: given back once, at the end of their scope and before its end hook, whatever ended it. */
#include "actor.h"

static const struct filter actor = ACTOR("actor", .resizes_body = false);
static const struct filter *const filters[] = {&actor, NULL};

#define LEASED                                                                                                       \
    SIM_HEAD                                                                                                         \
    "upstreams:\n"                                                                                                   \
    "  api: {endpoints: [\"http://127.0.0.1:81\"], filters: [{actor: {id: u}}]}\n"                                   \
    "  spare: {endpoints: [\"http://127.0.0.1:82\"], filters: [{actor: {id: v}}]}\n"                                 \
    "routes: [{match: /, upstream: api, timeout: 20s, filters: [{actor: {id: r}}]}]\n"

/* One of each scope, each taken by a filter that lives there. */
#define TAKE_REQUEST ACT("r", "request", FILTER_NEXT, .lease = 1 + SCOPE_REQUEST)
#define TAKE_LEG ACT("u", "request", FILTER_NEXT, .lease = 1 + SCOPE_LEG)
#define TAKE_ATTEMPT ACT("u", "attempt", FILTER_NEXT, .lease = 1 + SCOPE_ATTEMPT)
#define ENTERED "r.request u.request u.attempt u.endpoint0 "
#define ANSWERED "u.head u.response r.response u.down[ok] r.down[ok] u.down[]$ r.down[]$ "
#define ENDED "u.attempt-back u.attempt_end u.request-back u.end r.request-back r.end "

static struct sim *start(void)
{
    return sim_new_with(&(struct sim_conf){.yaml = LEASED, .filters = filters});
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        n++;
    return n;
}

/* Each scope's lease was given back once, with nothing noted between it and the end hook of the scope. */
static void expect_each_back_once(void)
{
    static const char *const order[] = {"u.attempt-back u.attempt_end ", "u.request-back u.end ",
                                        "r.request-back r.end "};
    for (size_t i = 0; i < array_len(order); i++) {
        if (count(actor_noted, order[i]) != 1)
            EXPECT_CSTR(actor_noted, order[i]);
    }
    EXPECT_EQ(count(actor_noted, "-back "), 3);
}

TEST(an_answer_gives_all_back_from_the_inside_out)
{
    PLAY(TAKE_REQUEST, TAKE_LEG, TAKE_ATTEMPT);
    struct sim *s = start();
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    EXPECT_NOTED(ENTERED);
    struct sim_conn *u = sim_next(s);
    sim_say(u, OK);
    EXPECT_NOTED(ANSWERED ENDED);
    EXPECT_GOT(c, OK);
    sim_say(c, GET);                             /* the next on the connection owes nothing */
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    EXPECT(strstr(actor_noted, "-back") == NULL);
    PLAY_END(s);
    EXPECT(strstr(actor_noted, "-back") == NULL);
}

TEST(whatever_ends_the_upstreams_part)
{
    static const struct {
        const char *name, *answer;
        enum { STAY, FIN, RESET } then;
        uint64_t later;
        int status;
    } rows[] = {
        {"reset before the head", NULL, RESET, 0, 502},
        {"closed before the head", NULL, FIN, 0, 502},
        {"cut in the head", "HTTP/1.1 200", FIN, 0, 502},
        {"cut in the body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", RESET, 0, 200},
        {"not HTTP", "HTTP/1.1 2x0 OK\r\n\r\n", STAY, 0, 502},
        {"the deadline, no answer", NULL, STAY, 20, 504},
        {"an answer that stops", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", STAY, 60, 200},
        {"an error of theirs", "HTTP/1.1 500 Oh\r\nContent-Length: 1\r\n\r\n!", STAY, 0, 500},
        {"an answer up to the end of the connection", "HTTP/1.1 200 OK\r\n\r\nhe", FIN, 0, 200},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        char line[20];
        test_row("%s", rows[i].name);
        PLAY(TAKE_REQUEST, TAKE_LEG, TAKE_ATTEMPT);
        struct sim *s = start();
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        struct sim_conn *u = sim_next(s);
        EXPECT_NOTED(ENTERED);
        if (rows[i].answer)
            sim_send(u, rows[i].answer);
        sim_run(s);
        if (rows[i].then == FIN)
            sim_fin(u);
        else if (rows[i].then == RESET)
            sim_reset(u);
        sim_run(s);
        if (rows[i].later)
            EXPECT(strstr(actor_noted, "-back") == NULL);
        sim_advance(s, rows[i].later * NSEC_PER_SEC);
        expect_each_back_once();
        snprintf(line, sizeof line, "HTTP/1.1 %d ", rows[i].status);
        EXPECT(sim_has(c, line));
        PLAY_END(s);
        expect_each_back_once();
    }
}

TEST(an_endpoint_that_cannot_be_reached)
{
    static const enum sim_connect how[] = {SIM_REFUSE, SIM_REFUSE_NOW, SIM_HANG};
    for (size_t i = 0; i < array_len(how); i++) {
        test_row("%zu", i);
        PLAY(TAKE_REQUEST, TAKE_LEG, TAKE_ATTEMPT);
        struct sim *s = start();
        s->connect = how[i];
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        sim_advance(s, 20 * NSEC_PER_SEC);
        EXPECT_HAS(c, "HTTP/1.1 50");
        expect_each_back_once();
        PLAY_END(s);
        expect_each_back_once();
    }
}

TEST(the_client_goes)
{
    static const char *const answers[] = {NULL, "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"};
    for (size_t i = 0; i < array_len(answers) * 2; i++) {
        test_row("%zu", i);
        PLAY(TAKE_REQUEST, TAKE_LEG, TAKE_ATTEMPT);
        struct sim *s = start();
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        if (answers[i / 2])
            sim_say(sim_next(s), answers[i / 2]);
        if (i % 2 || i / 2 == 2)
            sim_reset(c);
        else
            sim_fin(c);
        actor_clear();
        sim_run(s);
        EXPECT_NOTED(ENDED);
        EXPECT_EQ(sim_reasons(s, REASON_client_gone), 1);
        EXPECT_NOTHING_LEFT(s);
        PLAY_END(s);
        EXPECT_NOTED("");
    }
}

/* What is taken by the very hook that ends it all, or that waits when its time is over, is owed too. */
TEST(the_hook_that_took_it_ends_it)
{
    static const enum verdict verdicts[] = {FILTER_REPLY, FILTER_FAIL, FILTER_WAIT};
    for (size_t i = 0; i < array_len(verdicts); i++) {
        test_row("%d", (int)verdicts[i]);
        PLAY(TAKE_REQUEST, TAKE_LEG,
             ACT("u", "attempt", verdicts[i], .lease = 1 + SCOPE_ATTEMPT, .reason = REASON_denied));
        struct sim *s = start();
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        EXPECT(sim_next(s) == NULL);
        sim_advance(s, 20 * NSEC_PER_SEC);
        EXPECT(sim_has(c, i == 0 ? "HTTP/1.1 418 " : i == 1 ? "HTTP/1.1 403 " : "HTTP/1.1 504 "));
        expect_each_back_once();
        PLAY_END(s);
    }
}

TEST(another_attempt_gives_back_the_first_ones_alone)
{
    PLAY(TAKE_REQUEST, TAKE_LEG, TAKE_ATTEMPT, ACT("u", "head", FILTER_RETRY), TAKE_ATTEMPT);
    struct sim *s = start();
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    sim_say(sim_next(s), "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    EXPECT_NOTED(ENTERED "u.head u.attempt-back u.attempt_end u.attempt u.endpoint0 ");
    struct sim_conn *u = sim_next(s);
    if (EXPECT(u != NULL))
        sim_say(u, OK);
    EXPECT_NOTED(ANSWERED ENDED);
    EXPECT_GOT(c, OK);
    PLAY_END(s);
}

TEST(another_leg_gives_back_the_first_ones)
{
    PLAY(TAKE_REQUEST, TAKE_LEG, TAKE_ATTEMPT, ACT("u", "head", FILTER_FAILOVER, .failover = "spare"),
         ACT("v", "request", FILTER_NEXT, .lease = 1 + SCOPE_LEG));
    struct sim *s = start();
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    sim_say(sim_next(s), "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    EXPECT_NOTED(ENTERED "u.head u.attempt-back u.attempt_end u.request-back u.end v.request v.attempt v.endpoint0 ");
    struct sim_conn *u = sim_next(s);
    if (EXPECT(u != NULL))
        sim_say(u, OK);
    EXPECT_NOTED("v.head v.response r.response v.down[ok] r.down[ok] v.down[]$ r.down[]$ v.attempt_end v.request-back "
                 "v.end r.request-back r.end ");
    EXPECT_GOT(c, OK);
    PLAY_END(s);
}

/* The scope is the lease's own, not the one that its taker lives in. Newest first, where several are owed. */
TEST(a_wider_scope_than_the_hooks_and_several_of_one)
{
    PLAY(TAKE_REQUEST, ACT("u", "request", FILTER_NEXT, .lease = 1 + SCOPE_REQUEST),
         ACT("u", "attempt", FILTER_NEXT, .lease = 1 + SCOPE_LEG),
         ACT("u", "head", FILTER_NEXT, .lease = 1 + SCOPE_LEG));
    struct sim *s = start();
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    actor_clear();
    sim_say(sim_next(s), OK);
    EXPECT_NOTED(ANSWERED "u.attempt_end u.head-back u.attempt-back u.end u.request-back r.request-back r.end ");
    PLAY_END(s);
}

TEST(taken_in_an_end_hook_it_comes_back_behind_it)
{
    PLAY(ACT("u", "attempt_end", FILTER_NEXT, .lease = 1 + SCOPE_ATTEMPT),
         ACT("u", "end", FILTER_NEXT, .lease = 1 + SCOPE_LEG),
         ACT("r", "end", FILTER_NEXT, .lease = 1 + SCOPE_REQUEST));
    struct sim *s = start();
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    actor_clear();
    sim_say(sim_next(s), OK);
    EXPECT_NOTED(ANSWERED "u.attempt_end u.attempt_end-back u.end u.end-back r.end r.end-back ");
    PLAY_END(s);
}

/* ---- ended early, or forgotten ---- */

static struct lease *held;
static uint64_t held_back_at;

static void held_back(void *thing, uint64_t now)
{
    EXPECT(thing == &held);
    held_back_at = now;
    note("back ");
}

static void take_request(struct call *call) { held = lease_take(call, SCOPE_REQUEST, held_back, &held); }
static void take_leg(struct call *call) { held = lease_take(call, SCOPE_LEG, held_back, &held); }
static void take_attempt(struct call *call) { held = lease_take(call, SCOPE_ATTEMPT, held_back, &held); }

static void end_it(struct call *call)
{
    lease_end(&held, call->now);
    EXPECT(held == NULL);
    EXPECT_EQ(held_back_at, call->now);
    note("ended ");
}

static void forget_it(struct call *call)
{
    (void)call;
    lease_forget(&held);
    EXPECT(held == NULL);
}

TEST(ended_early_or_forgotten_nothing_comes_back_later)
{
    static void (*const takes[])(struct call *) = {take_request, take_leg, take_attempt};
    for (size_t i = 0; i < array_len(takes) * 4; i++) {
        bool forget = i % 2, answered = i / 2 % 2;
        test_row("scope %zu, %s, %s", i / 4, forget ? "forgotten" : "ended", answered ? "answered" : "client gone");
        PLAY(ACT("u", "attempt", FILTER_NEXT, .run = takes[i / 4]),
             ACT("u", "endpoint0", FILTER_NEXT, .run = forget ? forget_it : end_it));
        struct sim *s = start();
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        EXPECT_NOTED(forget ? ENTERED : ENTERED "back ended ");
        if (answered)
            sim_say(sim_next(s), OK);
        else
            sim_reset(c);
        sim_run(s);
        EXPECT_NOTED(answered ? ANSWERED "u.attempt_end u.end r.end " : "u.attempt_end u.end r.end ");
        PLAY_END(s);
        EXPECT_NOTED("");
    }
}
