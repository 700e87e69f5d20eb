/* SPDX-License-Identifier: Apache-2.0 */
#include "crowd.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include "conf/schema.h"
#include "lib/clock.h"
#include "lib/rng.h"
#include "test.h"

#define SEC NSEC_PER_SEC
#define NOW (1000 * SEC)

static const struct hash_key secret = {1, 2};

static struct ip ip_of(const char *text)
{
    struct ip ip;
    EXPECT(ip_parse(str_c(text), &ip));
    return ip;
}

static uint64_t key_of(const struct crowd *c, const char *text)
{
    struct ip ip = ip_of(text);
    return crowd_key(c, 7, &ip);
}

static enum crowd_verdict enter(struct crowd *c, uint64_t key, const struct per_address_conf *conf, uint64_t now)
{
    bool counted;
    uint64_t wait;
    return crowd_enter(c, key, conf, now, &counted, &wait);
}

static struct crowd_stats stats_of(struct crowd *c)
{
    struct crowd_stats s;
    crowd_stats(c, &s);
    return s;
}

TEST(no_address_has_more_than_its_share)
{
    const struct per_address_conf three = {.connections = 3};
    struct crowd *c = crowd_new(&secret, 1000);
    uint64_t a = key_of(c, "192.0.2.1"), b = key_of(c, "192.0.2.2");
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(enter(c, a, &three, NOW), CROWD_IN);
    EXPECT_EQ(enter(c, a, &three, NOW), CROWD_FULL);
    EXPECT_EQ(enter(c, a, &three, NOW + 3600 * SEC), CROWD_FULL);    /* time alone frees none */
    EXPECT_EQ(enter(c, b, &three, NOW), CROWD_IN);
    crowd_leave(c, a, NOW);
    EXPECT_EQ(enter(c, a, &three, NOW), CROWD_IN);
    EXPECT_EQ(enter(c, a, &three, NOW), CROWD_FULL);
    for (int i = 0; i < 3; i++)
        crowd_leave(c, a, NOW);
    EXPECT_EQ(stats_of(c).cells, 1);
    crowd_leave(c, b, NOW);
    EXPECT_EQ(stats_of(c).cells, 0);
    crowd_free(&c);
    EXPECT(c == NULL);
}

TEST(a_burst_then_one_at_a_time)
{
    const struct per_address_conf ten = {.rate = {10, 60 * SEC}};
    struct crowd *c = crowd_new(&secret, 1000);
    uint64_t a = key_of(c, "192.0.2.1"), wait = 0;
    bool counted = false;
    for (int i = 0; i < 10; i++) {
        EXPECT_EQ(crowd_enter(c, a, &ten, NOW, &counted, &wait), CROWD_IN);
        EXPECT(counted);
        crowd_leave(c, a, NOW);              /* that it is gone gives it no other one */
    }
    EXPECT_EQ(crowd_enter(c, a, &ten, NOW, &counted, &wait), CROWD_FAST);
    EXPECT(!counted);
    EXPECT_EQ(wait, 6 * SEC);
    EXPECT_EQ(crowd_enter(c, a, &ten, NOW + 6 * SEC - 1, &counted, &wait), CROWD_FAST);
    EXPECT_EQ(wait, 1);
    EXPECT_EQ(crowd_enter(c, a, &ten, NOW + 6 * SEC, &counted, &wait), CROWD_IN);
    EXPECT_EQ(crowd_enter(c, a, &ten, NOW + 6 * SEC, &counted, &wait), CROWD_FAST);
    crowd_leave(c, a, NOW + 6 * SEC);
    for (int i = 0; i < 10; i++)             /* much later it has the burst again, and no more */
        EXPECT_EQ(enter(c, a, &ten, NOW + 7200 * SEC), CROWD_IN);
    EXPECT_EQ(enter(c, a, &ten, NOW + 7200 * SEC), CROWD_FAST);
    for (int i = 0; i < 10; i++)
        crowd_leave(c, a, NOW + 7200 * SEC);
    EXPECT_EQ(stats_of(c).cells, 1);         /* it still owes time */
    crowd_free(&c);
}

TEST(who_is_refused_for_his_number_pays_no_rate)
{
    const struct per_address_conf both = {.connections = 1, .rate = {2, SEC}};
    struct crowd *c = crowd_new(&secret, 1000);
    uint64_t a = key_of(c, "192.0.2.1");
    EXPECT_EQ(enter(c, a, &both, NOW), CROWD_IN);
    for (int i = 0; i < 100; i++)
        EXPECT_EQ(enter(c, a, &both, NOW), CROWD_FULL);
    crowd_leave(c, a, NOW);
    EXPECT_EQ(enter(c, a, &both, NOW), CROWD_IN);
    crowd_leave(c, a, NOW);
    EXPECT_EQ(enter(c, a, &both, NOW), CROWD_FAST);
    crowd_free(&c);
}

TEST(who_is_one_address)
{
    struct address one, other;
    struct err err = {0};
    struct crowd *c = crowd_new(&secret, 1000);
    EXPECT(address_parse(STR("127.0.0.1:80"), &one, &err) == 0 && address_parse(STR("127.0.0.1:81"), &other, &err) == 0);
    EXPECT(crowd_door(c, &one) != crowd_door(c, &other));
    struct ip ip = ip_of("192.0.2.1");
    EXPECT(crowd_key(c, crowd_door(c, &one), &ip) != crowd_key(c, crowd_door(c, &other), &ip));
    EXPECT(key_of(c, "192.0.2.1") != key_of(c, "192.0.2.2"));
    EXPECT_EQ(key_of(c, "2001:db8:1:2::1"), key_of(c, "2001:db8:1:2:ffff::2"));      /* a household has a /64 */
    EXPECT(key_of(c, "2001:db8:1:2::1") != key_of(c, "2001:db8:1:3::1"));
    EXPECT_EQ(key_of(c, "::ffff:192.0.2.1"), key_of(c, "192.0.2.1"));
    EXPECT(key_of(c, "c000:201::") != key_of(c, "192.0.2.1"));
    crowd_free(&c);
}

/* Against a plain array, with keys that fall close together, so that holes are closed in all ways. */
TEST(like_a_plain_count)
{
    enum { KEYS = 300, STEPS = 60000 };
    static unsigned open[KEYS];
    const struct per_address_conf four = {.connections = 4};
    struct crowd *c = crowd_new(&secret, 100000);
    struct rng rng;
    rng_seed(&rng, 5);
    for (int i = 0; i < STEPS; i++) {
        unsigned k = (unsigned)rng_below(&rng, KEYS);
        uint64_t key = ((uint64_t)(k % 40) << 6 | (k % 2)) + ((uint64_t)(k + 1) << 40);
        if (rng_below(&rng, 2)) {
            EXPECT_EQ(enter(c, key, &four, NOW), open[k] < 4 ? CROWD_IN : CROWD_FULL);
            open[k] += open[k] < 4;
        } else if (open[k] > 0) {
            crowd_leave(c, key, NOW);
            open[k]--;
        }
    }
    size_t there = 0;
    for (unsigned k = 0; k < KEYS; k++) {
        there += open[k] > 0;
        for (; open[k] > 0; open[k]--)
            crowd_leave(c, ((uint64_t)(k % 40) << 6 | (k % 2)) + ((uint64_t)(k + 1) << 40), NOW);
    }
    EXPECT(there > 0);
    EXPECT_EQ(stats_of(c).cells, 0);
    crowd_free(&c);
}

/* A flood from more addresses than the table holds: those that stay are found again, nothing grows without end. */
TEST(the_table_is_bounded)
{
    enum { MOST = 1000, FLOOD = 200000, STAY = 100 };
    const struct per_address_conf conf = {.connections = 1, .rate = {1, 3600 * SEC}};
    struct crowd *c = crowd_new(&secret, MOST);
    uint64_t wait;
    bool counted;
    for (uint64_t k = 1; k <= STAY; k++) {
        EXPECT_EQ(crowd_enter(c, k * 0x9e3779b97f4a7c15u, &conf, NOW, &counted, &wait), CROWD_IN);
        EXPECT(counted);
    }
    for (uint64_t k = STAY + 1; k <= FLOOD; k++) {
        EXPECT_EQ(crowd_enter(c, k * 0x9e3779b97f4a7c15u, &conf, NOW + k, &counted, &wait), CROWD_IN);
        if (counted)
            crowd_leave(c, k * 0x9e3779b97f4a7c15u, NOW + k);
    }
    EXPECT(stats_of(c).cells <= 2 * MOST);
    EXPECT(stats_of(c).forgotten > FLOOD - 3 * MOST - stats_of(c).uncounted);
    for (uint64_t k = 1; k <= STAY; k++) {
        EXPECT_EQ(enter(c, k * 0x9e3779b97f4a7c15u, &conf, NOW), CROWD_FULL);
        crowd_leave(c, k * 0x9e3779b97f4a7c15u, NOW);
    }
    crowd_free(&c);
}

TEST(full_of_those_who_stay)
{
    enum { MOST = 1000, MANY = 5000 };
    const struct per_address_conf conf = {.connections = 1};
    struct crowd *c = crowd_new(&secret, MOST);
    static bool counted[MANY];
    uint64_t wait, in = 0;
    for (uint64_t k = 0; k < MANY; k++) {
        EXPECT_EQ(crowd_enter(c, (k + 1) * 0x9e3779b97f4a7c15u, &conf, NOW, &counted[k], &wait), CROWD_IN);
        in += counted[k];
    }
    EXPECT(in >= MOST && in < MANY);
    EXPECT_EQ(stats_of(c).uncounted, MANY - in);
    EXPECT_EQ(stats_of(c).cells, in);
    for (uint64_t k = 0; k < MANY; k++)
        if (counted[k])
            crowd_leave(c, (k + 1) * 0x9e3779b97f4a7c15u, NOW);
    EXPECT_EQ(stats_of(c).cells, 0);
    crowd_free(&c);
}

struct visitor {
    struct crowd *crowd;
    _Atomic int *inside;
    unsigned seed;
};

static void *visit(void *arg)
{
    enum { VISITS = 20000 };
    const struct per_address_conf five = {.connections = 5};
    struct visitor *v = arg;
    struct rng rng;
    rng_seed(&rng, v->seed);
    for (int i = 0; i < VISITS; i++) {
        uint64_t k = rng_below(&rng, 3);
        if (enter(v->crowd, k + 1, &five, NOW) != CROWD_IN)
            continue;
        EXPECT(atomic_fetch_add(&v->inside[k], 1) < 5);
        atomic_fetch_sub(&v->inside[k], 1);
        crowd_leave(v->crowd, k + 1, NOW);
    }
    return NULL;
}

TEST(exact_among_threads)
{
    enum { THREADS = 8 };
    static _Atomic int inside[3];
    struct crowd *c = crowd_new(&secret, 1000);
    struct visitor v[THREADS];
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        v[i] = (struct visitor){c, inside, i};
        EXPECT(pthread_create(&threads[i], NULL, visit, &v[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    EXPECT_EQ(stats_of(c).cells, 0);
    crowd_free(&c);
}

TEST(what_it_says_of_itself)
{
    const struct per_address_conf three = {.connections = 3};
    struct crowd *c = crowd_new(&secret, 1000);
    struct page page = {0};
    EXPECT_EQ(enter(c, 1, &three, NOW), CROWD_IN);
    crowd_metrics(c, &page);
    EXPECT(strstr(page.at, "\nweir_addresses 1\n") != NULL);
    EXPECT(strstr(page.at, "\nweir_addresses_forgotten_total 0\n") != NULL);
    EXPECT(strstr(page.at, "\nweir_addresses_uncounted_total 0\n") != NULL);
    page_free(&page);
    crowd_leave(c, 1, NOW);
    crowd_free(&c);
}
