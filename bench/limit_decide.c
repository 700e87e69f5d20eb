/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limit_decide - what one decision of a keyed token bucket costs, in time and in memory.
 *
 *   gcc -std=gnu11 -O2 -flto=auto -D_GNU_SOURCE -mcx16 -pthread -fno-strict-aliasing -Igateway -I. -o limit_decide \
 *       bench/limit_decide.c filters/limit_store.c filters/limit_algo.c gateway/lib/mem.c gateway/lib/check.c
 *   ./limit_decide [KEYS [THREADS]]        1000000 keys, 2 threads
 *
 * It fills a table of KEYS with as many keys in debt, one call at a time, and then decides for random ones. What the
 * kernel interrupted takes long by the wall clock and not by the thread's own time: both are shown.
 *
 * It reads the clock itself, for it measures; the table is told a time of its own, a month after its rule began, so
 * that the arithmetic is not that of a fresh start.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "filters/limit_store.h"
#include "lib/mem.h"

#define SEC   ((uint64_t)1000000000)
#define NOW   (30 * 86400 * SEC)
#define BURST (1000000 * LIMIT_UNIT)

enum { ROUNDS = 4000000 };

enum what { ADMIT, REFUSE, PEEK, CHARGE_AND_REFUND, WHATS };
static const char *const what_names[] = {"admit", "refuse", "peek", "admit and refund"};

struct run {
    struct limit_store *store;
    uint64_t keys, seed, answers;
    enum what what;
    double ns, own_ns;
};

static uint64_t clock_of(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * SEC + (uint64_t)t.tv_nsec;
}

/* The hash of the key of this number (splitmix64). */
static uint64_t key_of(uint64_t n)
{
    uint64_t x = (n + 1) * 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static uint64_t resident(void)
{
    unsigned long size = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lu %lu", &size, &pages) != 2)
        pages = 0;
    if (f)
        fclose(f);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int by_size(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void print_times(const char *name, uint64_t *v, uint64_t n)
{
    qsort(v, n, sizeof(*v), by_size);
    printf("  %-10s median %6" PRIu64 "  p99 %6" PRIu64 "  p99.99 %6" PRIu64 "  longest %7" PRIu64 " ns\n", name,
           v[n / 2], v[n - 1 - n / 100], v[n - 1 - n / 10000], v[n - 1]);
}

/* Both clocks are read for each call; what reading them takes is in the figures. */
static void add_keys(struct limit_store *store, uint64_t keys)
{
    uint64_t *wall = mem_array(keys, sizeof(*wall)), *own = mem_array(keys, sizeof(*own));

    for (uint64_t i = 0; i < keys; i++)
        wall[i] = own[i] = 1;                               /* touched, so that only the table grows from here on */
    const uint64_t before = resident();
    for (uint64_t i = 0; i < keys; i++) {
        const uint64_t own_began = clock_of(CLOCK_THREAD_CPUTIME_ID), began = clock_of(CLOCK_MONOTONIC);
        limit_store_take(store, key_of(i), LIMIT_UNIT, 0, NOW);
        wall[i] = clock_of(CLOCK_MONOTONIC) - began;
        own[i] = clock_of(CLOCK_THREAD_CPUTIME_ID) - own_began;
    }
    const uint64_t after = resident();
    struct limit_store_stats st;
    limit_store_stats(store, &st);
    printf("adding %" PRIu64 " keys\n", keys);
    print_times("wall clock", wall, keys);
    print_times("own time", own, keys);
    const double live = (double)(keys - st.evicted_in_debt);
    printf("memory a live key: %.2f bytes by count, %.2f by resident size\n", (double)st.bytes / live,
           (double)(after - before) / live);
    printf("slots %" PRIu64 " of %" PRIu64 ", used %" PRIu64 ", evicted in debt %" PRIu64 "\n", st.slots, st.slots_max,
           st.used, st.evicted_in_debt);
    mem_free(wall);
    mem_free(own);
}

/* The floor: to read one word after another at random out of as much memory. */
static void read_bare(uint64_t bytes)
{
    const uint64_t n = bytes / sizeof(uint64_t);
    uint64_t *v = mem_array(n, sizeof(*v)), x = 1;

    for (uint64_t i = 0; i < n; i++)
        v[i] = i;
    const uint64_t began = clock_of(CLOCK_THREAD_CPUTIME_ID);
    for (int i = 0; i < ROUNDS; i++)
        x = key_of(x ^ v[(uint64_t)((unsigned __int128)x * n >> 64)]);
    printf("  one read of memory, random        %6.1f ns own time%s\n",
           (double)(clock_of(CLOCK_THREAD_CPUTIME_ID) - began) / ROUNDS,
           x == 0 ? "." : "");
    mem_free(v);
}

static void *decide(void *arg)
{
    struct run *r = arg;
    const uint64_t cost = r->what == REFUSE ? BURST : LIMIT_UNIT;
    uint64_t x = r->seed;
    const uint64_t began = clock_of(CLOCK_MONOTONIC), own_began = clock_of(CLOCK_THREAD_CPUTIME_ID);

    for (int i = 0; i < ROUNDS; i++) {
        x = x * 6364136223846793005 + 1442695040888963407;
        const uint64_t n = (uint64_t)((unsigned __int128)x * r->keys >> 64);
        const uint64_t key = key_of(n);
        struct limit_result res;
        if (r->what == PEEK)
            res = limit_store_peek(r->store, key, cost, NOW);
        else
            res = limit_store_take(r->store, key, cost, 0, NOW);
        if (r->what == CHARGE_AND_REFUND)
            limit_store_refund(r->store, key, cost, res.from, NOW);
        r->answers += res.ok;
    }
    r->own_ns = (double)(clock_of(CLOCK_THREAD_CPUTIME_ID) - own_began) / ROUNDS;
    r->ns = (double)(clock_of(CLOCK_MONOTONIC) - began) / ROUNDS;
    return NULL;
}

static void decide_by(struct limit_store *store, uint64_t keys, unsigned threads, enum what what)
{
    struct run *runs = mem_array(threads, sizeof(*runs));
    pthread_t *ids = mem_array(threads, sizeof(*ids));
    double sum = 0, own = 0;
    uint64_t answers = 0;

    for (unsigned i = 0; i < threads; i++) {
        runs[i] = (struct run){.store = store, .keys = keys, .seed = 0x1234567 + i, .what = what};
        if (pthread_create(&ids[i], NULL, decide, &runs[i]))
            abort();
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        sum += runs[i].ns;
        own += runs[i].own_ns;
        answers += runs[i].answers;
    }
    printf("  %u thread%s  %-20s %6.1f ns own time, %6.1f by the wall clock (%.0f%% said yes)\n", threads,
           threads == 1 ? ": " : "s:", what_names[what], own / threads, sum / threads,
           100.0 * (double)answers / threads / ROUNDS);
    mem_free(runs);
    mem_free(ids);
}

int main(int argc, char **argv)
{
    const uint64_t keys = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    const unsigned threads = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 2;
    /* 10 an hour: whoever was charged once is in debt for the whole run. */
    const struct limit_rule rule = {.v0 = 0, .t0 = 0, .tokens = 10, .period = 3600 * SEC, .burst = BURST};

    if (keys == 0 || threads == 0)
        return fprintf(stderr, "usage: limit_decide [KEYS [THREADS]]\n"), 2;
    struct limit_store *store = limit_store_new(keys, &rule);
    add_keys(store, keys);
    printf("one decision, random keys\n");
    struct limit_store_stats st;
    limit_store_stats(store, &st);
    read_bare(st.bytes);
    for (unsigned n = 1; n <= threads; n += threads > 1 ? threads - 1 : 1) {
        for (int what = 0; what < WHATS; what++)
            decide_by(store, keys, n, (enum what)what);
    }
    limit_store_free(store);
    return 0;
}
