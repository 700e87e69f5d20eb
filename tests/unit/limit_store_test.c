/* SPDX-License-Identifier: Apache-2.0 */
#include "filters/limit_store.h"

#include <pthread.h>
#include <sched.h>
#include "lib/mem.h"
#include "test.h"

#define SEC ((uint64_t)1000000000)
#define T0  (100 * SEC)

enum { THREADS = 4, FILL_EVERY = 4 };

static struct limit_rule rule(uint64_t tokens, uint64_t period, uint64_t burst)
{
    return (struct limit_rule){.v0 = 0, .t0 = 0, .tokens = tokens, .period = period, .burst = burst * LIMIT_UNIT};
}

static struct limit_store *store_of(uint64_t max_keys, uint64_t tokens, uint64_t period, uint64_t burst)
{
    const struct limit_rule r = rule(tokens, period, burst);
    return limit_store_new(max_keys, &r);
}

/* The hash of the key of this number (splitmix64). */
static uint64_t key_of(uint64_t n)
{
    uint64_t x = (n + 1) * 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static uint64_t random_next(uint64_t *seed) { return key_of(++*seed); }

static bool take(struct limit_store *st, uint64_t key, uint64_t tokens, uint64_t now)
{
    return limit_store_take(st, key, tokens * LIMIT_UNIT, 0, now).ok;
}

static uint64_t left(struct limit_store *st, uint64_t key, uint64_t now)
{
    return limit_store_peek(st, key, 0, now).left / LIMIT_UNIT;
}

static struct limit_store_stats stats_of(struct limit_store *st)
{
    struct limit_store_stats s;
    limit_store_stats(st, &s);
    return s;
}

TEST(keys_have_buckets_of_their_own)
{
    struct limit_store *st = store_of(100, 10, SEC, 5);
    for (uint64_t n = 0; n < 20; n++) {
        for (int i = 0; i < 5; i++)
            EXPECT(take(st, key_of(n), 1, T0));
        EXPECT(!take(st, key_of(n), 1, T0));
        EXPECT_EQ(limit_store_peek(st, key_of(n), LIMIT_UNIT, T0).wait, SEC / 10);
        EXPECT_EQ(limit_store_peek(st, key_of(n), LIMIT_UNIT, T0).full, SEC / 2);
    }
    EXPECT_EQ(stats_of(st).used, 20);
    EXPECT_EQ(limit_store_max_keys(st), 100);
    limit_store_free(st);
    limit_store_free(NULL);
}

TEST(a_hash_of_zero_is_a_key_too)
{
    struct limit_store *st = store_of(10, 10, SEC, 5);
    EXPECT(take(st, 0, 5, T0));
    EXPECT(!take(st, 0, 1, T0));
    EXPECT_EQ(left(st, 0, T0 + SEC / 10), 1);
    EXPECT_EQ(left(st, 7, T0), 5);
    limit_store_free(st);
}

TEST(refusals_and_peeks_make_no_cell)
{
    struct limit_store *st = store_of(1000, 10, SEC, 5);
    for (uint64_t n = 0; n < 500; n++) {
        struct limit_result res = limit_store_take(st, key_of(n), 6 * LIMIT_UNIT, 0, T0);
        EXPECT(!res.ok);
        EXPECT_EQ(res.wait, LIMIT_NEVER);
        EXPECT_EQ(res.left, 5 * LIMIT_UNIT);
        EXPECT(limit_store_peek(st, key_of(n), 5 * LIMIT_UNIT, T0).ok);
        EXPECT(take(st, key_of(n), 0, T0));
        limit_store_refund(st, key_of(n), LIMIT_UNIT, res.from, T0);
        limit_store_settle(st, key_of(n), 3, 3, res.from, T0);
    }
    EXPECT_EQ(stats_of(st).used, 0);
    limit_store_free(st);
}

/* Random keys, costs and times: each answer is what a cell of the key's own would give. */
TEST(answers_as_a_cell_for_each_key_does)
{
    enum { KEYS = 3000, STEPS = 150000 };
    static uint64_t cells[KEYS];
    static const uint64_t maxima[] = {3000, 4000, 100000};
    uint64_t seed = 12345;

    for (size_t round = 0; round < sizeof(maxima) / sizeof(maxima[0]); round++) {
        const struct limit_rule first = rule(100, SEC, 50);
        struct limit_rule r = first;
        struct limit_store *st = limit_store_new(maxima[round], &r);
        uint64_t now = T0;
        memset(cells, 0, sizeof(cells));
        for (int i = 0; i < STEPS; i++) {
            uint64_t x = random_next(&seed), n = x % KEYS, cost = (x >> 20) % (20 * LIMIT_UNIT);
            uint64_t wait = x >> 40 & 1 ? SEC / 10 : 0;
            struct limit_mark none = {0, 0};
            struct limit_result is, wanted;
            test_row("at most %" PRIu64 ", step %d", maxima[round], i);
            now += (x >> 41) % 2000000 ? (x >> 41) % 3000 : 2 * SEC;
            switch ((x >> 60) & 7) {
            case 0:
                is = limit_store_peek(st, key_of(n), cost, now);
                wanted = limit_peek(cells[n], &r, cost, now);
                break;
            case 1:
                limit_store_settle(st, key_of(n), cost / 2, cost, none, now);
                limit_settle(&cells[n], &r, cost / 2, cost, none, now);
                continue;
            case 2:
                is = limit_store_take(st, key_of(n), cost, 0, now);
                wanted = limit_take(&cells[n], &r, cost, now);
                if (is.ok && !limit_waits(cells[n], &r, now)) {
                    limit_store_refund(st, key_of(n), cost, is.from, now);
                    limit_refund(&cells[n], &r, cost, wanted.from, now);
                }
                break;
            default:
                is = limit_store_take(st, key_of(n), cost, wait, now);
                wanted = limit_reserve(&cells[n], &r, cost, wait, now);
            }
            if (!EXPECT_EQ(is.ok, wanted.ok) || !EXPECT_EQ(is.wait, wanted.wait) || !EXPECT_EQ(is.left, wanted.left) ||
                !EXPECT_EQ(is.full, wanted.full))
                break;
            if (i % 20000 == 19999) {
                limit_rule_change(&r, 50 + (uint64_t)i % 70, SEC, (40 + (uint64_t)i % 20) * LIMIT_UNIT, now);
                limit_store_set_rule(st, &r);
            }
        }
        EXPECT_EQ(stats_of(st).evicted_in_debt, 0);
        limit_store_free(st);
    }
}

/* Of one key, late refunds included: as the arithmetic with the exact sum of what was given back. */
TEST(gives_back_as_the_arithmetic_does)
{
    enum { CHARGES = 16 };
    struct limit_rule r = rule(100, SEC, 50);
    uint64_t seed = 99, backs = 0;

    for (int round = 0; round < 50; round++) {
        struct limit_store *st = limit_store_new(10, &r);
        struct limit_result marks[CHARGES], wanted[CHARGES];
        uint64_t costs[CHARGES] = {0}, given_then[CHARGES] = {0}, cell = 0, given = 0, now = T0;
        for (int i = 0; i < 1000; i++) {
            uint64_t x = random_next(&seed), slot = x % CHARGES, cost = 1 + (x >> 20) % (10 * LIMIT_UNIT);
            test_row("round %d step %d", round, i);
            now += (x >> 41) % 20000000;
            if (costs[slot] == 0) {
                marks[slot] = limit_store_take(st, 5, cost, 0, now);
                wanted[slot] = limit_take(&cell, &r, cost, now);
                EXPECT_EQ(marks[slot].ok, wanted[slot].ok);
                costs[slot] = wanted[slot].ok ? cost : 0;
                given_then[slot] = given;
                continue;
            }
            uint64_t actual = x >> 63 ? cost % costs[slot] : 0, since = given - given_then[slot];
            struct limit_mark from = wanted[slot].from;
            from.cell = from.cell > since ? from.cell - since : 0;
            if (actual)
                limit_store_settle(st, 5, costs[slot], actual, marks[slot].from, now);
            else
                limit_store_refund(st, 5, costs[slot], marks[slot].from, now);
            uint64_t back = limit_settle(&cell, &r, costs[slot], actual, from, now);
            given += back;
            backs += back > 0;
            costs[slot] = 0;
            if (!EXPECT_EQ(limit_store_peek(st, 5, 0, now).full, limit_peek(cell, &r, 0, now).full))
                break;
        }
        limit_store_free(st);
    }
    EXPECT(backs > 1000);
}

TEST(a_key_that_is_gone_gets_nothing_back_and_pays_what_it_owes)
{
    struct limit_store *st = store_of(10, 10, SEC, 10);
    struct limit_result res = limit_store_take(st, 1, 4 * LIMIT_UNIT, 0, T0);
    for (uint64_t n = 0; n < 100; n++)
        take(st, key_of(n), 1, T0 + 5 * SEC);                   /* full again long since, its slot is another's */
    limit_store_refund(st, 1, 4 * LIMIT_UNIT, res.from, T0 + 5 * SEC);
    EXPECT_EQ(left(st, 1, T0 + 5 * SEC), 10);
    limit_store_settle(st, 1, 4 * LIMIT_UNIT, 7 * LIMIT_UNIT, res.from, T0 + 5 * SEC);
    EXPECT_EQ(left(st, 1, T0 + 5 * SEC), 7);
    limit_store_settle(st, 1, 0, 30 * LIMIT_UNIT, res.from, T0 + 5 * SEC);
    EXPECT_EQ(limit_store_peek(st, 1, LIMIT_UNIT, T0 + 5 * SEC).wait, 24 * SEC / 10);
    limit_store_free(st);
}

/* Two wait for the places after the first one. If his place came back, a newcomer would get it at their time. */
TEST(nothing_is_given_back_while_somebody_waits)
{
    struct limit_store *st = store_of(10, 10, SEC, 10);
    struct limit_result first = limit_store_take(st, 1, 10 * LIMIT_UNIT, 0, T0);
    struct limit_result second = limit_store_take(st, 1, 5 * LIMIT_UNIT, SEC, T0);
    struct limit_result third = limit_store_take(st, 1, 5 * LIMIT_UNIT, SEC, T0);
    EXPECT(first.ok && second.ok && third.ok);
    EXPECT_EQ(second.wait, SEC / 2);
    EXPECT_EQ(third.wait, SEC);
    EXPECT(!limit_store_take(st, 1, LIMIT_UNIT, SEC, T0).ok);
    limit_store_refund(st, 1, 10 * LIMIT_UNIT, first.from, T0);
    limit_store_refund(st, 1, 5 * LIMIT_UNIT, second.from, T0 + SEC / 2);
    EXPECT_EQ(limit_store_peek(st, 1, 0, T0).full, 2 * SEC);
    /* The last one's time has come: what he does not use comes back. */
    limit_store_refund(st, 1, 5 * LIMIT_UNIT, third.from, T0 + SEC);
    EXPECT_EQ(left(st, 1, T0 + SEC), 5);
    limit_store_free(st);
}

/* A table where nobody was ever told to wait: owing more than the burst keeps nobody from getting back what is his. */
TEST(debt_beyond_the_burst_keeps_no_refund_back)
{
    struct limit_store *st = store_of(10, 10, SEC, 10);
    struct limit_result res = limit_store_take(st, 1, 4 * LIMIT_UNIT, 0, T0);
    limit_store_settle(st, 1, 0, 20 * LIMIT_UNIT, res.from, T0);
    limit_store_refund(st, 1, 4 * LIMIT_UNIT, res.from, T0);
    EXPECT_EQ(limit_store_peek(st, 1, 0, T0).full, 2 * SEC);
    limit_store_free(st);
}

/* --- memory, growth, eviction --- */

TEST(a_table_grows_with_its_keys_and_keeps_what_they_owe)
{
    enum { KEYS = 40000 };
    struct limit_store *st = store_of(KEYS, 1, 3600 * SEC, 50);
    struct limit_store_stats s = stats_of(st);
    uint64_t slots = s.slots, steps = 0;
    EXPECT(s.bytes < 10000);
    EXPECT_EQ(s.used, 0);
    for (uint64_t n = 0; n < KEYS; n++) {
        EXPECT(take(st, key_of(n), 1 + n % 50, T0));
        if (n % 100 && n > 100)
            continue;
        s = stats_of(st);
        steps += s.slots > slots;
        EXPECT(s.slots >= slots && s.slots <= s.slots_max && s.used == n + 1);
        EXPECT(n < 10 || s.bytes < 9000 + 64 * n);
        slots = s.slots;
    }
    EXPECT(steps > 20);
    for (uint64_t n = 0; n < KEYS; n++) {
        test_row("key %" PRIu64, n);
        if (!EXPECT_EQ(left(st, key_of(n), T0), 50 - (1 + n % 50)))
            break;
    }
    s = stats_of(st);
    EXPECT_EQ(s.evicted_in_debt, 0);
    EXPECT(s.bytes <= 24 * KEYS);
    EXPECT_EQ(s.slots, s.slots_max);
    limit_store_free(st);
}

/* As many keys in debt as the table is for, for tables of all sizes. */
TEST(a_table_holds_as_many_keys_as_it_says)
{
    static const uint64_t sizes[] = {1, 2, 5, 6, 7, 8, 12, 13, 50, 100, 383, 384, 385, 390, 700, 1000, 3072, 5000,
                                     25000, 100000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct limit_store *st = store_of(sizes[i], 1, 3600 * SEC, 50);
        test_row("%" PRIu64 " keys", sizes[i]);
        for (uint64_t n = 0; n < sizes[i]; n++)
            take(st, key_of(n), 1, T0);
        struct limit_store_stats s = stats_of(st);
        EXPECT_EQ(s.used, sizes[i]);
        EXPECT_EQ(s.evicted_in_debt, 0);
        EXPECT(s.slots_max >= sizes[i] * 4 / 3 && s.slots_max < sizes[i] * 3 + 8);
        EXPECT(sizes[i] < 5000 || s.bytes <= sizes[i] * 24);
        limit_store_free(st);
    }
}

TEST(who_is_full_again_makes_room_without_growth)
{
    struct limit_store *st = store_of(100000, 10, SEC, 10);
    for (uint64_t n = 0; n < 1000; n++)
        take(st, key_of(n), 10, T0);
    uint64_t slots = stats_of(st).slots;
    for (uint64_t round = 1; round < 50; round++) {
        for (uint64_t n = 0; n < 500; n++)
            EXPECT(take(st, key_of(round * 1000 + n), 10, T0 + round * SEC));
    }
    struct limit_store_stats s = stats_of(st);
    EXPECT_EQ(s.slots, slots);
    EXPECT_EQ(s.evicted_in_debt, 0);
    limit_store_free(st);
}

TEST(the_one_closest_to_full_is_forgotten_first)
{
    struct limit_store *st = store_of(6, 1, 3600 * SEC, 100);
    EXPECT_EQ(stats_of(st).slots_max, 8);
    for (uint64_t n = 0; n < 8; n++)
        EXPECT(take(st, key_of(n), n == 5 ? 3 : 10 + n, T0));
    EXPECT(take(st, key_of(8), 50, T0));
    struct limit_store_stats s = stats_of(st);
    EXPECT_EQ(s.evicted_in_debt, 1);
    EXPECT_EQ(s.used, 8);
    for (uint64_t n = 0; n < 8; n++) {
        test_row("key %" PRIu64, n);
        EXPECT_EQ(left(st, key_of(n), T0), n == 5 ? 100 : 90 - n);
    }
    EXPECT_EQ(left(st, key_of(8), T0), 50);

    /* Debt that is charged later evicts as a request does. */
    limit_store_settle(st, key_of(9), 0, 60 * LIMIT_UNIT, (struct limit_mark){0, 0}, T0);
    EXPECT_EQ(stats_of(st).evicted_in_debt, 2);
    EXPECT_EQ(left(st, key_of(0), T0), 100);
    EXPECT_EQ(left(st, key_of(9), T0), 40);
    limit_store_free(st);
}

/* Somebody comes with ever new keys: memory stays at its bound, and who owes most is not forgotten for them. */
TEST(a_flood_of_keys_stays_within_the_bound)
{
    enum { DEEP = 300, FLOOD = 60000 };
    struct limit_store *st = store_of(2000, 1, 3600 * SEC, 50);
    for (uint64_t n = 0; n < DEEP; n++)
        EXPECT(take(st, key_of(n), 50, T0));
    for (uint64_t n = 0; n < FLOOD; n++)
        take(st, key_of(1000000 + n), 1, T0 + n);
    struct limit_store_stats s = stats_of(st);
    EXPECT_EQ(s.slots, s.slots_max);
    EXPECT(s.used <= s.slots_max);
    EXPECT(s.bytes < 2000 * 30);
    EXPECT_EQ(s.evicted_in_debt, DEEP + FLOOD - s.used);
    for (uint64_t n = 0; n < DEEP; n++)
        EXPECT(!take(st, key_of(n), 1, T0 + FLOOD));
    limit_store_free(st);
}

/* A worker whose clock is behind asks for a key that was forgotten by one whose clock is ahead. */
TEST(a_clock_that_is_behind_mints_nothing)
{
    struct limit_store *st = store_of(6, 10, SEC, 10);
    EXPECT(take(st, key_of(0), 10, T0));
    for (uint64_t n = 1; n < 9; n++)
        EXPECT(take(st, key_of(n), 10, T0 + SEC));
    EXPECT_EQ(stats_of(st).used, 8);
    EXPECT_EQ(left(st, key_of(0), T0), 0);
    EXPECT(!take(st, key_of(0), 1, T0));
    EXPECT(take(st, key_of(0), 1, T0 + SEC / 10));
    limit_store_free(st);

    /* Growth forgets as well. */
    st = store_of(12, 10, SEC, 10);
    EXPECT(take(st, key_of(0), 10, T0));
    for (uint64_t n = 1; n < 8; n++)
        EXPECT(take(st, key_of(n), 10, T0 + SEC / 2));
    EXPECT(take(st, key_of(9), 10, T0 + SEC / 2));
    EXPECT_EQ(left(st, key_of(0), T0), 0);
    limit_store_free(st);
}

/* --- threads --- */

struct crowd {
    struct limit_store *store;
    unsigned number;                       /* of this thread */
    uint64_t keys, rounds;
    _Atomic uint64_t *admitted;            /* tokens, of each key */
    _Atomic uint64_t *now;
    _Atomic bool *stop;
    pthread_barrier_t *start;
    uint64_t seen;
};

static void crowd_run(struct crowd *all, unsigned n, struct crowd form, void *(*run)(void *))
{
    pthread_t ids[THREADS];
    pthread_barrier_t start;

    pthread_barrier_init(&start, NULL, n);
    for (unsigned i = 0; i < n; i++) {
        all[i] = form;
        all[i].number = i;
        all[i].start = &start;
        if (pthread_create(&ids[i], NULL, run, &all[i]))
            abort();
    }
    for (unsigned i = 0; i < n; i++)
        pthread_join(ids[i], NULL);
    pthread_barrier_destroy(&start);
}

static void *take_few(void *arg)
{
    struct crowd *c = arg;
    uint64_t seed = c->number;
    pthread_barrier_wait(c->start);
    for (uint64_t i = 0; i < c->rounds; i++) {
        uint64_t x = random_next(&seed), n = x % c->keys;
        if (take(c->store, key_of(n), 1, T0))
            c->admitted[n]++;
        /* And one of the many who make the table grow, new keys for each thread. */
        if (i % FILL_EVERY == 0)
            EXPECT(take(c->store, key_of((c->number + 1) * 1000000 + i), 1, T0));
    }
    return NULL;
}

/* Time stands still: of each key exactly the burst passes, while the table grows under it. */
TEST(threads_admit_exactly_the_burst)
{
    enum { KEYS = 3, BURST = 20000, ROUNDS = 24000, FILLERS = THREADS * ROUNDS / FILL_EVERY };
    _Atomic uint64_t admitted[KEYS] = {0};
    struct limit_store *st = store_of(KEYS + FILLERS, 1, 3600 * SEC, BURST);
    struct crowd all[THREADS];

    crowd_run(all, THREADS, (struct crowd){.store = st, .keys = KEYS, .rounds = ROUNDS, .admitted = admitted},
              take_few);
    for (int i = 0; i < KEYS; i++)
        EXPECT_EQ(admitted[i], BURST);
    EXPECT_EQ(stats_of(st).used, KEYS + FILLERS);
    EXPECT_EQ(stats_of(st).evicted_in_debt, 0);
    limit_store_free(st);
}

static void *take_each_once(void *arg)
{
    struct crowd *c = arg;
    pthread_barrier_wait(c->start);
    for (uint64_t n = 0; n < c->keys; n++)
        c->admitted[n] += take(c->store, key_of(n), 1, T0);
    return NULL;
}

/* All threads bring the same new keys at the same time: one cell each, so that one token each passes. */
TEST(threads_make_one_cell_of_a_key)
{
    enum { KEYS = 15000 };
    _Atomic uint64_t *admitted = mem_array(KEYS, sizeof(*admitted));
    struct limit_store *st = store_of(KEYS, 1, 3600 * SEC, 1);
    struct crowd all[THREADS];
    uint64_t wrong = 0;

    crowd_run(all, THREADS, (struct crowd){.store = st, .keys = KEYS, .admitted = admitted}, take_each_once);
    for (int i = 0; i < KEYS; i++)
        wrong += admitted[i] != 1;
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(stats_of(st).used, KEYS);
    EXPECT_EQ(stats_of(st).evicted_in_debt, 0);
    mem_free(admitted);
    limit_store_free(st);
}

/* Time goes on, each thread's clock is behind by up to a millisecond, half of the charges are taken back, and fillers
 * come and go. */
static void *take_and_give_back(void *arg)
{
    struct crowd *c = arg;
    uint64_t seed = 1000 + c->number;
    pthread_barrier_wait(c->start);
    for (uint64_t i = 0; i < c->rounds; i++) {
        uint64_t x = random_next(&seed), n = x % c->keys;
        uint64_t now = (*c->now += (x >> 8) % 20000) - (x >> 30) % 1000000;
        struct limit_result res = limit_store_take(c->store, key_of(n), LIMIT_UNIT, 0, now);
        take(c->store, key_of(1000 + (x >> 16) % 20000), 1, now);
        if (!res.ok)
            continue;
        if (x >> 50 & 1)
            c->admitted[n]++;
        else
            limit_store_refund(c->store, key_of(n), LIMIT_UNIT, res.from, now);
    }
    return NULL;
}

TEST(threads_admit_no_more_than_the_rule)
{
    enum { KEYS = 10, BURST = 20, ROUNDS = 8000 };
    _Atomic uint64_t admitted[KEYS] = {0}, now = T0;
    struct limit_store *st = store_of(30000, 1000, SEC, BURST);
    struct crowd all[THREADS];

    crowd_run(all, THREADS,
              (struct crowd){.store = st, .keys = KEYS, .rounds = ROUNDS, .admitted = admitted, .now = &now},
              take_and_give_back);
    for (int i = 0; i < KEYS; i++) {
        test_row("key %d", i);
        EXPECT(admitted[i] <= BURST + (now - T0) / 1000000 + 2);
        EXPECT(admitted[i] >= (now - T0) / 1000000 / 2);
    }
    limit_store_free(st);
}

/* Three, for the table keeps two: so each of its copies becomes something else. */
static const struct limit_rule rules[3] = {
    {.v0 = 1000, .t0 = T0, .tokens = 7, .period = SEC, .burst = 30 * LIMIT_UNIT},
    {.v0 = 2000, .t0 = T0 + 1, .tokens = 8, .period = 60 * SEC, .burst = 60 * LIMIT_UNIT},
    {.v0 = 3000, .t0 = T0 + 2, .tokens = 9, .period = 3600 * SEC, .burst = 90 * LIMIT_UNIT},
};

static void *read_rules(void *arg)
{
    struct crowd *c = arg;
    pthread_barrier_wait(c->start);
    do {
        struct limit_rule r;
        limit_store_rule(c->store, &r);
        if (!EXPECT(!memcmp(&r, &rules[(r.tokens - rules[0].tokens) % 3], sizeof(r))))
            break;
        c->seen++;
    } while (!*c->stop);
    return NULL;
}

static void *change_rules(void *arg)
{
    struct crowd *c = arg;
    if (c->number)
        return read_rules(arg);
    pthread_barrier_wait(c->start);
    for (uint64_t i = 0; i < c->rounds; i++) {
        limit_store_set_rule(c->store, &rules[i % 3]);
        if (i % 1000 == 0)
            sched_yield();
    }
    *c->stop = true;
    return NULL;
}

TEST(a_rule_is_changed_as_a_whole)
{
    _Atomic bool stop = false;
    struct limit_store *st = limit_store_new(100, &rules[0]);
    struct crowd all[THREADS];
    struct limit_rule r;

    crowd_run(all, THREADS, (struct crowd){.store = st, .rounds = 200001, .stop = &stop}, change_rules);
    limit_store_rule(st, &r);
    EXPECT_EQ(r.burst, rules[2].burst);
    for (int i = 1; i < THREADS; i++)
        EXPECT(all[i].seen > 0);
    limit_store_free(st);
}

TEST(a_new_rule_keeps_what_is_owed)
{
    struct limit_rule r = rule(10, SEC, 10);
    struct limit_store *st = limit_store_new(100, &r);
    EXPECT(take(st, 1, 8, T0));
    limit_rule_change(&r, 1, SEC, 20 * LIMIT_UNIT, T0);
    limit_store_set_rule(st, &r);
    EXPECT_EQ(left(st, 1, T0), 12);
    EXPECT_EQ(limit_store_peek(st, 1, 0, T0).full, 8 * SEC);
    EXPECT_EQ(left(st, 2, T0), 20);
    limit_store_free(st);
}

TEST(who_owes_how_much)
{
    struct limit_store *st = store_of(100000, 10, SEC, 50);
    struct limit_store_owing o;
    limit_store_owing(st, 0, T0, &o);
    EXPECT(o.owe == 0 && o.over == 0 && o.all);
    for (uint64_t n = 0; n < 3000; n++)
        EXPECT(take(st, key_of(n), n % 3 == 0 ? 40 : 5, T0));
    limit_store_owing(st, 20 * LIMIT_UNIT, T0, &o);
    EXPECT_EQ(o.owe, 3000);
    EXPECT_EQ(o.over, 1000);
    EXPECT(o.all);
    limit_store_owing(st, 40 * LIMIT_UNIT, T0, &o);
    EXPECT_EQ(o.over, 0);
    limit_store_owing(st, 20 * LIMIT_UNIT, T0 + SEC, &o);      /* ten were paid back */
    EXPECT_EQ(o.owe, 1000);
    EXPECT_EQ(o.over, 1000);
    limit_store_owing(st, 20 * LIMIT_UNIT, T0 + 2 * SEC, &o);
    EXPECT_EQ(o.over, 0);
    limit_store_free(st);
}
