/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/field.h"
#include "conf/load.h"
#include "filter.h"
#include "filters/token_bucket.h"
#include "lib/clock.h"
#include "lib/mem.h"

#include <pthread.h>
#include "reply.h"
#include <sched.h>
#include "test.h"

extern const struct filter filter_token_bucket;

static const struct filter *const type = &filter_token_bucket;

/* An instance as a configuration makes it. */
struct bucket {
    struct arena arena;
    void *options, *shared;
};

static int options_read(struct bucket *b, const char *yaml, struct err *err)
{
    struct yaml_node *node;
    struct load load = {.file = "test.yaml", .arena = &b->arena};

    b->options = arena_zalloc(&b->arena, type->options_size);
    if (yaml_parse(&b->arena, "test.yaml", str_c(yaml), &yaml_limits_default, &node, err))
        return -1;
    load.node = node;
    if (fields_read(type->fields, node, b->options, &load, err))
        return -1;
    return type->options_check(b->options, &load, err);
}

static void options_must_read(struct bucket *b, const char *yaml)
{
    struct err err = {.text = ""};
    if (!EXPECT_EQ(options_read(b, yaml, &err), 0))
        printf("%s\n", err.text);
}

static void begin(struct bucket *b, const char *yaml, uint64_t now)
{
    arena_init(&b->arena, NULL);
    options_must_read(b, yaml);
    b->shared = mem_zalloc(type->shared_size);
    type->shared_adopt(b->shared, b->options, true, now);
}

static void reload(struct bucket *b, const char *yaml, uint64_t now)
{
    options_must_read(b, yaml);
    type->shared_adopt(b->shared, b->options, false, now);
}

static void end(struct bucket *b)
{
    mem_free(b->shared);
    arena_fini(&b->arena);
}

static enum verdict peek(const struct bucket *b, uint64_t now, uint64_t *wait)
{
    struct reply reply = {0};
    struct call call = {.options = b->options, .shared = b->shared, .now = now, .reply = &reply};
    enum verdict v = type->peek(&call);
    *wait = reply.retry_after;
    return v;
}

/* How many pass at `now`. A refusal needs a request to answer, so each is asked for with a peek first. */
static unsigned pass(const struct bucket *b, uint64_t now, unsigned most)
{
    struct reply reply = {0};
    struct call call = {.options = b->options, .shared = b->shared, .now = now, .reply = &reply};
    unsigned n = 0;
    while (n < most && type->peek(&call) == FILTER_NEXT) {
        EXPECT_EQ(reply.retry_after, 0);
        EXPECT_EQ(type->on_request(&call), FILTER_NEXT);
        n++;
    }
    return n;
}

TEST(what_may_be_written)
{
    static const struct { const char *yaml, *error; unsigned burst; } rows[] = {
        {"{rate: 100/s}", NULL, 50},
        {"{rate: 100/s, burst: 7}", NULL, 7},
        {"{rate: 1/s}", NULL, 1},
        {"{rate: 3/s}", NULL, 1},
        {"{rate: 4/s}", NULL, 2},
        {"{rate: 10/h}", NULL, 1},
        {"{rate: 6000/min}", NULL, 50},
        {"{rate: 1000/s, burst: 1}", NULL, 1},
        {"{burst: 10}", "rate", 0},
        {"{}", "rate", 0},
        {"{rate: 0/s}", "rate", 0},
        {"{rate: 100}", "rate", 0},
        {"{rate: 1000001/s}", "rate", 0},
        {"{rate: 99000000/min}", "rate", 0},
        {"{rate: 10/s, burst: 0}", "burst", 0},
        {"{rate: 10/s, burst: 1000000001}", "burst", 0},
        {"{rate: 10/s, bursts: 1}", "burst", 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err err = {.text = ""};
        struct bucket b;
        test_row("%s", rows[i].yaml);
        if (!rows[i].error) {
            begin(&b, rows[i].yaml, NSEC_PER_SEC);
            EXPECT_EQ(pass(&b, NSEC_PER_SEC, 1000), rows[i].burst);
            end(&b);
            continue;
        }
        arena_init(&b.arena, NULL);
        EXPECT_EQ(options_read(&b, rows[i].yaml, &err), -1);
        if (!EXPECT(strstr(err.text, rows[i].error) != NULL))
            printf("%s\n", err.text);
        arena_fini(&b.arena);
    }
}

TEST(a_burst_then_the_rate)
{
    struct bucket b;
    uint64_t now = 1000 * NSEC_PER_SEC, wait;
    begin(&b, "{rate: 100/s, burst: 50}", now);
    EXPECT_EQ(pass(&b, now, 1000), 50);
    EXPECT_EQ(peek(&b, now, &wait), FILTER_REPLY);
    EXPECT_EQ(wait, NSEC_PER_SEC / 100);
    EXPECT_EQ(peek(&b, now + wait - 1, &wait), FILTER_REPLY);
    EXPECT_EQ(wait, 1);
    EXPECT_EQ(pass(&b, now + NSEC_PER_SEC / 100, 1000), 1);
    EXPECT_EQ(pass(&b, now + NSEC_PER_SEC / 2, 1000), 49);
    EXPECT_EQ(pass(&b, now + 60 * NSEC_PER_SEC, 1000), 50);
    EXPECT_EQ(pass(&b, now, 1000), 0);
    end(&b);
}

TEST(a_peek_charges_nothing)
{
    struct bucket b;
    uint64_t wait;
    begin(&b, "{rate: 10/s, burst: 3}", 0);
    for (int i = 0; i < 100; i++)
        EXPECT_EQ(peek(&b, 0, &wait), FILTER_NEXT);
    EXPECT_EQ(pass(&b, 0, 100), 3);
    end(&b);
}

TEST(a_reload_keeps_what_is_owed_and_mints_nothing)
{
    struct bucket b;
    uint64_t now = 5 * NSEC_PER_SEC, wait;
    begin(&b, "{rate: 10/s, burst: 10}", now);
    EXPECT_EQ(pass(&b, now, 8), 8);

    reload(&b, "{rate: 10/s, burst: 10}", now + NSEC_PER_SEC / 10);         /* nothing changed: nor does the bucket */
    EXPECT_EQ(pass(&b, now + NSEC_PER_SEC / 10, 100), 3);

    now += NSEC_PER_SEC / 10;
    for (int i = 0; i < 20; i++) {
        reload(&b, "{rate: 1/h, burst: 1}", now);
        reload(&b, "{rate: 10/s, burst: 10}", now);
    }
    EXPECT_EQ(pass(&b, now, 100), 0);
    EXPECT_EQ(peek(&b, now, &wait), FILTER_REPLY);
    EXPECT_EQ(wait, NSEC_PER_SEC / 10);

    reload(&b, "{rate: 1000/s, burst: 10}", now);                           /* the debt of 10 is paid back faster */
    EXPECT_EQ(peek(&b, now, &wait), FILTER_REPLY);
    EXPECT_EQ(wait, NSEC_PER_SEC / 1000);
    EXPECT_EQ(pass(&b, now + 5 * NSEC_PER_SEC / 1000, 100), 5);
    end(&b);
}

enum { THREADS = 4, ROUNDS = 300, BURST = 1000, TOKENS_A_ROUND = 50 };

struct hammer {
    pthread_barrier_t barrier;
    struct bucket bucket;
    _Atomic unsigned admitted;
    _Atomic uint64_t now;
    _Atomic bool over;
};

/* All ask at the same instant until each is refused, then the clock goes on. */
static void *hammer_in_step(void *arg)
{
    struct hammer *h = arg;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&h->barrier);
        while (token_bucket_take(h->bucket.shared, h->now).ok)
            h->admitted++;
        pthread_barrier_wait(&h->barrier);
    }
    return NULL;
}

TEST(four_workers_at_once_get_exactly_what_one_would)
{
    struct hammer h = {.now = NSEC_PER_SEC};
    pthread_t threads[THREADS];

    begin(&h.bucket, "{rate: 1000/s, burst: 1000}", h.now);
    pthread_barrier_init(&h.barrier, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, hammer_in_step, &h), 0);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&h.barrier);
        pthread_barrier_wait(&h.barrier);
        EXPECT_EQ(h.admitted, BURST + round * TOKENS_A_ROUND);
        h.now += TOKENS_A_ROUND * NSEC_PER_SEC / 1000;
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&h.barrier);
    end(&h.bucket);
}

static void *hammer_free(void *arg)
{
    struct hammer *h = arg;
    while (!h->over)
        if (token_bucket_take(h->bucket.shared, h->now).ok)
            h->admitted++;
    return NULL;
}

/*
 * While the rule is changed, nobody decides by half a rule. The rules are such that a torn one shows: neither is faster
 * than 1/s, but the tokens of the first in the period of the second are 1000/s. The workers stand ten seconds after the
 * changes: ten tokens by a true rule, ten thousand by a torn one, and the cell would stand as far ahead.
 */
TEST(a_reload_under_load_mints_nothing)
{
    struct hammer h = {.now = 3610 * NSEC_PER_SEC};
    pthread_t threads[THREADS];
    void *rules[2];

    begin(&h.bucket, "{rate: 1000/h, burst: 5}", 3600 * NSEC_PER_SEC);
    rules[0] = h.bucket.options;
    options_must_read(&h.bucket, "{rate: 1/s, burst: 5}");
    rules[1] = h.bucket.options;
    for (int i = 0; i < THREADS; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, hammer_free, &h), 0);
    while (h.admitted == 0)
        sched_yield();
    for (int i = 1; i <= 300000; i++)
        type->shared_adopt(h.bucket.shared, rules[i % 2], false, 3600 * NSEC_PER_SEC);
    h.over = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    EXPECT(h.admitted >= 5);
    EXPECT(h.admitted <= 15);
    uint64_t wait;
    peek(&h.bucket, h.now, &wait);
    EXPECT(wait <= 60 * NSEC_PER_SEC);
    end(&h.bucket);
}
