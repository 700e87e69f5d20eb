/* SPDX-License-Identifier: Apache-2.0 */
/* Wake-ups from elsewhere: they resume the one wait that they were made for, or are refused, once. */
#include "actor.h"

static const struct filter actor = ACTOR("actor", .resizes_body = false);
static const struct filter *const filters[] = {&actor, NULL};

#define WAKING                                                                                                       \
    SIM_HEAD                                                                                                         \
    "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], filters: [{actor: {id: u}}]}}\n"                        \
    "routes:\n"                                                                                                      \
    "  - {match: /, upstream: api, timeout: 20s, filters: [{actor: {id: a}}]}\n"                                     \
    "  - {match: /other, respond: {status: 201}, filters: [{actor: {id: b}}]}\n"
#define OTHER "GET /other HTTP/1.1\r\nHost: h\r\n\r\n"

/* Waits for somebody who has the handle; nothing else wakes it but the deadline. */
#define WAIT_FOR(WHO, HOOK) ACT(WHO, HOOK, FILTER_WAIT, .run = keep_handle)

enum { HANDLES = 200 };
static struct wake_handle handles[HANDLES];
static unsigned n_handles;

static void keep_handle(struct call *call)
{
    check(n_handles < HANDLES);
    handles[n_handles++] = wake_handle(call);
}

static void grant(unsigned i) { actor_grant(handles[i]); }

static void grant_first(struct call *call)
{
    (void)call;
    grant(0);
}

static struct sim *start(void)
{
    n_handles = actor_refused = 0;
    return sim_new_with(&(struct sim_conf){.yaml = WAKING, .filters = filters, .workers = 2});
}

static void answer(struct sim *s, struct sim_conn *c)
{
    struct sim_conn *u = sim_next(s);
    if (EXPECT(u != NULL))
        sim_say(u, OK);
    EXPECT_GOT(c, OK);
}

TEST(a_waiting_hook_runs_again_and_the_request_goes_on)
{
    PLAY(WAIT_FOR("a", "request"));
    struct sim *s = start();
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    sim_advance(s, 10 * NSEC_PER_SEC);
    EXPECT_NOTED("a.request ");
    EXPECT(sim_next(s) == NULL);
    grant(0);
    EXPECT_NOTED("");                            /* not before the owner reads its mail */
    sim_run(s);
    EXPECT_NOTED("a.request/granted u.request u.attempt u.endpoint0 ");
    answer(s, c);
    PLAY_END(s);
    EXPECT_EQ(actor_refused, 0);
}

TEST(any_hook_that_waits)
{
    static const struct { const char *who, *hook; } rows[] = {
        {"u", "request"}, {"u", "attempt"}, {"u", "head"}, {"u", "response"}, {"a", "response"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        char noted[60];
        test_row("%s.%s", rows[i].who, rows[i].hook);
        PLAY(WAIT_FOR(rows[i].who, rows[i].hook));
        struct sim *s = start();
        struct sim_conn *c = sim_client(s), *u;
        sim_say(c, GET);
        if ((u = sim_next(s)) != NULL)
            sim_say(u, OK);
        EXPECT_GOT(c, "");
        EXPECT_EQ(n_handles, 1);
        grant(0);
        sim_run(s);
        snprintf(noted, sizeof noted, "%s.%s %s.%s/granted ", rows[i].who, rows[i].hook, rows[i].who, rows[i].hook);
        EXPECT(strstr(actor_noted, noted) != NULL);
        if (u)
            EXPECT_GOT(c, OK);
        else
            answer(s, c);
        EXPECT_EQ(actor_refused, 0);
        PLAY_END(s);
    }
}

TEST(a_request_of_another_worker_wakes_it)
{
    PLAY(WAIT_FOR("a", "request"), ACT("b", "request", FILTER_NEXT, .run = grant_first));
    struct sim *s = start();
    struct sim_conn *c = sim_client(s), *d = sim_client_at(s, 1, 0, STR("192.0.2.1"));
    sim_say(c, GET);
    EXPECT_NOTED("a.request ");
    EXPECT(handles[0].mailbox == &sim_worker(s, 0)->mailbox);
    sim_say(d, OTHER);
    EXPECT_HAS(d, "HTTP/1.1 201 Created\r\n");
    EXPECT(strstr(actor_noted, "a.request/granted u.request ") != NULL);
    answer(s, c);
    EXPECT_EQ(actor_refused, 0);
    PLAY_END(s);
}

/* Both ways at once: equal slots of two workers are not mistaken for each other. */
TEST(workers_have_slots_of_their_own)
{
    PLAY(WAIT_FOR("a", "request"), WAIT_FOR("b", "request"));
    struct sim *s = start();
    struct sim_conn *c = sim_client(s), *d = sim_client_at(s, 1, 0, STR("192.0.2.1"));
    sim_say(c, GET);
    sim_say(d, OTHER);
    EXPECT_EQ(handles[0].slot, handles[1].slot);
    actor_clear();
    grant(1);
    sim_run(s);
    EXPECT(strstr(actor_noted, "b.request/granted ") == actor_noted);
    EXPECT(strstr(actor_noted, "a.") == NULL);
    EXPECT_HAS(d, "HTTP/1.1 201 Created\r\n");
    EXPECT_GOT(c, "");
    grant(0);
    sim_run(s);
    answer(s, c);
    EXPECT_EQ(actor_refused, 0);
    PLAY_END(s);
}

TEST(a_wake_for_what_is_gone_is_refused)
{
    static const char *const how[] = {"client closed", "client reset", "deadline"};
    for (size_t i = 0; i < array_len(how); i++) {
        test_row("%s", how[i]);
        PLAY(WAIT_FOR("a", "request"));
        struct sim *s = start();
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        if (i == 0)
            sim_fin(c);
        else if (i == 1)
            sim_reset(c);
        else
            sim_advance(s, 20 * NSEC_PER_SEC);
        sim_run(s);
        EXPECT(strstr(actor_noted, "a.end ") != NULL);
        actor_clear();
        grant(0);
        EXPECT_EQ(actor_refused, 0);
        sim_run(s);
        EXPECT_NOTED("");
        PLAY_END(s);
        EXPECT_EQ(actor_refused, 1);
    }
}

TEST(another_request_in_the_same_slot_is_not_woken)
{
    PLAY(WAIT_FOR("a", "request"), WAIT_FOR("a", "request"));
    struct sim *s = start();
    struct sim_conn *c = sim_client(s), *d = sim_client(s);
    sim_say(c, GET);
    sim_reset(c);
    sim_run(s);
    sim_say(d, GET);
    EXPECT_EQ(handles[0].slot, handles[1].slot);
    actor_clear();
    grant(0);
    sim_run(s);
    EXPECT_NOTED("");
    EXPECT_EQ(actor_refused, 1);
    grant(1);
    sim_run(s);
    answer(s, d);
    EXPECT_EQ(actor_refused, 1);
    PLAY_END(s);
}

TEST(the_second_wake_is_refused)
{
    for (int at_once = 0; at_once < 2; at_once++) {
        test_row("%d", at_once);
        PLAY(WAIT_FOR("a", "request"));
        struct sim *s = start();
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        actor_clear();
        grant(0);
        if (!at_once)
            sim_run(s);
        grant(0);
        sim_run(s);
        EXPECT_NOTED("a.request/granted u.request u.attempt u.endpoint0 ");
        EXPECT_EQ(actor_refused, 1);
        answer(s, c);
        PLAY_END(s);
        EXPECT_EQ(actor_refused, 1);
    }
}

/* The woken hook waits again: what was made for its first wait does not end the second. */
TEST(an_old_handle_does_not_end_a_new_wait)
{
    PLAY(WAIT_FOR("a", "request"), WAIT_FOR("a", "request"));
    struct sim *s = start();
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    grant(0);
    grant(0);
    sim_run(s);
    EXPECT_NOTED("a.request a.request/granted ");
    EXPECT_EQ(actor_refused, 1);
    grant(1);
    sim_run(s);
    EXPECT_NOTED("a.request/granted u.request u.attempt u.endpoint0 ");
    EXPECT_EQ(actor_refused, 1);
    answer(s, c);
    PLAY_END(s);
}

TEST(a_wake_and_a_timer)
{
    for (int timer_first = 0; timer_first < 2; timer_first++) {
        test_row("%d", timer_first);
        PLAY(ACT("a", "request", FILTER_WAIT, .after = 3 * NSEC_PER_SEC, .run = keep_handle));
        struct sim *s = start();
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        sim_advance(s, 3 * NSEC_PER_SEC - !timer_first);
        grant(0);
        sim_run(s);
        sim_advance(s, 3 * NSEC_PER_SEC);
        EXPECT_NOTED(timer_first ? "a.request a.request/timer u.request u.attempt u.endpoint0 "
                                 : "a.request a.request/granted u.request u.attempt u.endpoint0 ");
        EXPECT_EQ(actor_refused, timer_first);
        answer(s, c);
        PLAY_END(s);
    }
}

static void keep_handle_and_grant(struct call *call)
{
    keep_handle(call);
    grant(0);
}

/* Mail is read later: a wake sent before the hook has returned finds it waiting, or gone on. */
TEST(a_wake_from_inside_the_hook)
{
    for (int waits = 0; waits < 2; waits++) {
        test_row("%d", waits);
        PLAY(ACT("a", "request", waits ? FILTER_WAIT : FILTER_NEXT, .run = keep_handle_and_grant));
        struct sim *s = start();
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        EXPECT_EQ(strstr(actor_noted, "a.request a.request/granted ") != NULL, waits);
        EXPECT_EQ(actor_refused, !waits);
        answer(s, c);
        PLAY_END(s);
    }
}

/* More than a worker has slots for at first; woken in another order than they came. */
TEST(many_wait)
{
    PLAY(ACT("b", "request", FILTER_WAIT, .run = keep_handle, .always = true));
    struct sim *s = start();
    struct sim_conn *c[HANDLES / 2];
    for (unsigned i = 0; i < array_len(c); i++) {
        c[i] = sim_client(s);
        sim_say(c[i], OTHER);
    }
    EXPECT_EQ(n_handles, array_len(c));
    PLAY_NOTHING();                              /* the woken go on */
    for (unsigned i = 0; i < array_len(c); i++) {
        unsigned k = i * 37 % (unsigned)array_len(c);
        actor_clear();
        EXPECT_GOT(c[k], "");
        grant(k);
        sim_run(s);
        EXPECT_HAS(c[k], "HTTP/1.1 201 Created\r\n");
    }
    EXPECT_EQ(actor_refused, 0);
    PLAY_END(s);
}
