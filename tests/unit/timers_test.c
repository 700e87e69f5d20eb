/* SPDX-License-Identifier: Apache-2.0 */
#include "timers.h"

#include "lib/mem.h"
#include "lib/rng.h"
#include "test.h"

static char fired_text[64];
static struct timers *running;

struct named {
    struct timer timer;
    char name;
    struct named *other;
    uint64_t set_to;                 /* a callback's doing */
};

static void note(struct timer *t, uint64_t now)
{
    size_t n = strlen(fired_text);
    (void)now;
    EXPECT(!timer_is_set(t));
    if (n < sizeof(fired_text) - 1)
        fired_text[n] = container_of(t, struct named, timer)->name;
}

static const char *run(struct timers *ts, uint64_t now)
{
    memset(fired_text, 0, sizeof(fired_text));
    running = ts;
    unsigned n = timers_run(ts, now);
    EXPECT_EQ(n, strlen(fired_text));
    return fired_text;
}

TEST(fires_in_order_and_once)
{
    struct timers ts;
    struct named a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'};
    timers_init(&ts);
    timer_init(&a.timer, note);
    timer_init(&b.timer, note);
    timer_init(&c.timer, note);
    EXPECT(!timer_is_set(&a.timer));
    EXPECT_EQ(timers_next(&ts), TIME_NEVER);
    EXPECT_CSTR(run(&ts, 1000), "");
    timer_set(&ts, &c.timer, 30);
    timer_set(&ts, &a.timer, 10);
    timer_set(&ts, &b.timer, 20);
    EXPECT(timer_is_set(&a.timer));
    EXPECT_EQ(timers_next(&ts), 10);
    EXPECT_CSTR(run(&ts, 9), "");
    EXPECT_CSTR(run(&ts, 10), "a");
    EXPECT_EQ(timers_next(&ts), 20);
    EXPECT_CSTR(run(&ts, 100), "bc");
    EXPECT_CSTR(run(&ts, 100), "");
    EXPECT_EQ(timers_next(&ts), TIME_NEVER);
    timers_fini(&ts);
}

TEST(later_is_lazy_earlier_is_at_once)
{
    struct timers ts;
    struct named a = {.name = 'a'}, b = {.name = 'b'};
    timers_init(&ts);
    timer_init(&a.timer, note);
    timer_init(&b.timer, note);
    timer_set(&ts, &a.timer, 10);
    timer_set(&ts, &b.timer, 30);
    timer_set(&ts, &a.timer, 40);
    EXPECT_EQ(timers_next(&ts), 10);
    EXPECT_CSTR(run(&ts, 10), "");
    EXPECT_EQ(timers_next(&ts), 30);
    timer_set(&ts, &a.timer, 20);
    EXPECT_EQ(timers_next(&ts), 20);
    timer_set(&ts, &a.timer, 35);
    EXPECT_CSTR(run(&ts, 50), "ba");
    timers_fini(&ts);
}

TEST(cleared_does_not_fire)
{
    struct timers ts;
    struct named a = {.name = 'a'}, b = {.name = 'b'};
    timers_init(&ts);
    timer_init(&a.timer, note);
    timer_init(&b.timer, note);
    timer_set(&ts, &a.timer, 10);
    timer_set(&ts, &b.timer, 10);
    timer_clear(&a.timer);
    EXPECT(!timer_is_set(&a.timer));
    EXPECT_CSTR(run(&ts, 10), "b");
    timer_set(&ts, &a.timer, 20);
    timer_clear(&a.timer);
    timer_set(&ts, &a.timer, 15);
    EXPECT_CSTR(run(&ts, 15), "a");
    timer_set(&ts, &a.timer, TIME_NEVER);
    EXPECT_EQ(ts.n, 0);
    timer_set(&ts, &a.timer, 20);
    timer_fini(&ts, &a.timer);
    timer_fini(&ts, &a.timer);
    EXPECT_EQ(ts.n, 0);
    EXPECT_CSTR(run(&ts, 100), "");
    timers_fini(&ts);
}

static void note_and_set_other(struct timer *t, uint64_t now)
{
    struct named *n = container_of(t, struct named, timer);
    note(t, now);
    timer_set(running, &n->other->timer, n->set_to);
}

TEST(set_to_the_past_by_a_callback_fires_in_the_next_run)
{
    struct timers ts;
    struct named a = {.name = 'a'}, b = {.name = 'b'};
    timers_init(&ts);
    timer_init(&a.timer, note_and_set_other);
    timer_init(&b.timer, note);

    a.other = &a;
    a.set_to = 0;
    timer_set(&ts, &a.timer, 10);
    for (int i = 0; i < 3; i++) {
        EXPECT_CSTR(run(&ts, 10), "a");
        EXPECT_EQ(timers_next(&ts), 0);
    }
    timer_clear(&a.timer);
    EXPECT_CSTR(run(&ts, 10), "");

    /* The other one: in no heap, waiting for later, and due itself. */
    static const uint64_t waiting[] = {TIME_NEVER, 500, 20};
    for (size_t i = 0; i < 3; i++) {
        test_row("%zu", i);
        a.other = &b;
        a.set_to = 12;
        timer_set(&ts, &a.timer, 15);
        timer_set(&ts, &b.timer, waiting[i]);
        EXPECT_CSTR(run(&ts, 20), "a");
        EXPECT_EQ(timers_next(&ts), 12);
        EXPECT_CSTR(run(&ts, 20), "b");
    }
    timers_fini(&ts);
}

static void note_and_end_other(struct timer *t, uint64_t now)
{
    struct named *n = container_of(t, struct named, timer);
    note(t, now);
    timer_fini(running, &n->other->timer);
    memset(&n->other->timer, 0xee, sizeof(n->other->timer));
}

static void note_and_clear_other(struct timer *t, uint64_t now)
{
    note(t, now);
    timer_clear(&container_of(t, struct named, timer)->other->timer);
}

TEST(ended_or_cleared_by_a_callback_does_not_fire)
{
    for (int end = 0; end < 2; end++) {
        struct timers ts;
        struct named a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'};
        test_row("%d", end);
        timers_init(&ts);
        timer_init(&a.timer, end ? note_and_end_other : note_and_clear_other);
        timer_init(&b.timer, note);
        timer_init(&c.timer, note);
        a.other = &b;
        timer_set(&ts, &a.timer, 10);
        timer_set(&ts, &b.timer, 11);
        timer_set(&ts, &c.timer, 12);
        EXPECT_CSTR(run(&ts, 20), "ac");
        EXPECT_EQ(timers_next(&ts), TIME_NEVER);
        timers_fini(&ts);
    }
}

static void free_itself(struct timer *t, uint64_t now)
{
    struct named *n = container_of(t, struct named, timer);
    note(t, now);
    timer_fini(running, t);
    mem_free(n);
}

TEST(freed_by_its_own_callback)
{
    struct timers ts;
    timers_init(&ts);
    for (unsigned i = 0; i < 10; i++) {
        struct named *n = mem_zalloc(sizeof(*n));
        n->name = (char)('0' + i);
        timer_init(&n->timer, free_itself);
        timer_set(&ts, &n->timer, 100 - i);
    }
    EXPECT_CSTR(run(&ts, 100), "9876543210");
    timers_fini(&ts);
}

/* Random steps, callbacks' too, against a table of what is to happen. */
enum { TIMERS = 60 };

struct model {
    struct timers ts;
    struct timer timers[TIMERS];
    uint64_t when[TIMERS];           /* what each is set to */
    uint64_t due[TIMERS];            /* what it was set to at the start of the run, if due; else TIME_NEVER */
    bool moved[TIMERS];              /* while due: set by a callback; if to the same time again, it may fire or wait */
    uint64_t now, last_fired;
    unsigned fired;
    struct rng rng;
};

static struct model model;

static void model_step(struct model *m)
{
    uint64_t i = rng_below(&m->rng, TIMERS);
    struct timer *t = &m->timers[i];
    switch (rng_below(&m->rng, 6)) {
    case 0:
        timer_clear(t);
        m->when[i] = TIME_NEVER;
        break;
    case 1:
        timer_fini(&m->ts, t);
        m->when[i] = m->due[i] = TIME_NEVER;
        break;
    default:
        m->when[i] = m->now + rng_below(&m->rng, 60) - (m->now > 20 ? 20 : 0);
        timer_set(&m->ts, t, m->when[i]);
        m->moved[i] = true;
    }
}

static void model_fire(struct timer *t, uint64_t now)
{
    struct model *m = &model;
    size_t i = (size_t)(t - m->timers);
    EXPECT_EQ(now, m->now);
    EXPECT(!timer_is_set(t));
    EXPECT(m->due[i] != TIME_NEVER);
    EXPECT_EQ(m->when[i], m->due[i]);
    EXPECT(m->when[i] >= m->last_fired);
    m->last_fired = m->when[i];
    m->when[i] = m->due[i] = TIME_NEVER;
    m->fired++;
    for (uint64_t n = rng_below(&m->rng, 3); n-- > 0;)
        model_step(m);
}

static void model_run(struct model *m)
{
    uint64_t first = TIME_NEVER;
    for (size_t i = 0; i < TIMERS; i++) {
        m->moved[i] = false;
        m->due[i] = m->when[i] <= m->now ? m->when[i] : TIME_NEVER;
        first = m->when[i] < first ? m->when[i] : first;
    }
    EXPECT(timers_next(&m->ts) <= first);
    m->fired = 0;
    m->last_fired = 0;
    unsigned fired = timers_run(&m->ts, m->now);
    EXPECT_EQ(fired, m->fired);
    for (size_t i = 0; i < TIMERS; i++) {
        EXPECT(m->due[i] == TIME_NEVER || m->moved[i] || m->when[i] != m->due[i]);
        EXPECT_EQ(m->timers[i].when, m->when[i]);
    }
}

TEST(random_steps_against_a_model)
{
    struct model *m = &model;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        *m = (struct model){.now = 0};
        rng_seed(&m->rng, seed);
        timers_init(&m->ts);
        for (size_t i = 0; i < TIMERS; i++) {
            timer_init(&m->timers[i], model_fire);
            m->when[i] = m->due[i] = TIME_NEVER;
        }
        for (int step = 0; step < 2000; step++) {
            test_row("seed %d, step %d", (int)seed, step);
            for (uint64_t n = rng_below(&m->rng, 10); n-- > 0;)
                model_step(m);
            m->now += rng_below(&m->rng, 12);
            model_run(m);
            if (test_failures)
                return;
        }
        for (size_t i = 0; i < TIMERS; i++)
            timer_fini(&m->ts, &m->timers[i]);
        timers_fini(&m->ts);
    }
}

/* A connection whose deadline moves with every read: the heap stays as it is. */
TEST(moving_later_costs_no_heap_work)
{
    struct timers ts;
    struct named a = {.name = 'a'};
    timers_init(&ts);
    timer_init(&a.timer, note);
    timer_set(&ts, &a.timer, 1000);
    for (uint64_t t = 1; t < 500; t++)
        timer_set(&ts, &a.timer, 1000 + t);
    EXPECT_EQ(ts.n, 1);
    EXPECT_EQ(a.timer.placed, 1000);
    EXPECT_CSTR(run(&ts, 1498), "");
    EXPECT_CSTR(run(&ts, 1499), "a");
    timers_fini(&ts);
}

struct counted {
    struct timer timer;
    unsigned *count;
};

static void count_up(struct timer *t, uint64_t now)
{
    (void)now;
    ++*container_of(t, struct counted, timer)->count;
}

/* Many that are due together do not keep others waiting for the last of them, and none is lost. */
TEST(a_run_is_bounded)
{
    static struct counted many[2 * TIMERS_RUN_MAX + 10];
    struct timers ts;
    unsigned count = 0;
    timers_init(&ts);
    for (size_t i = 0; i < array_len(many); i++) {
        many[i].count = &count;
        timer_init(&many[i].timer, count_up);
        timer_set(&ts, &many[i].timer, 1000 + i);
    }
    EXPECT_EQ(timers_run(&ts, 5000), TIMERS_RUN_MAX);
    EXPECT_EQ(count, TIMERS_RUN_MAX);
    EXPECT(!timer_is_set(&many[TIMERS_RUN_MAX - 1].timer) && timer_is_set(&many[TIMERS_RUN_MAX].timer));
    EXPECT_EQ(timers_next(&ts), 1000 + TIMERS_RUN_MAX);
    timer_clear(&many[TIMERS_RUN_MAX].timer);
    timer_set(&ts, &many[0].timer, 2000);
    EXPECT_EQ(timers_run(&ts, 5000), TIMERS_RUN_MAX);
    EXPECT_EQ(timers_run(&ts, 5000), 10);
    EXPECT_EQ(timers_next(&ts), TIME_NEVER);
    EXPECT_EQ(count, array_len(many));
    timers_fini(&ts);
}

static void fini_with_a_timer(void)
{
    struct timers ts;
    struct timer t;
    timers_init(&ts);
    timer_init(&t, note);
    timer_set(&ts, &t, 1);
    timers_fini(&ts);
}

TEST(a_timer_left_behind_is_a_bug) { EXPECT_DIES(fini_with_a_timer, "ts->n == 0"); }
