/* SPDX-License-Identifier: Apache-2.0 */
/* Shares that come out of many picks: a user sees those, not the cursor. */
#include "balance.h"
#include "test.h"

#define N_MAX 40

struct world {
    struct balance_state state;
    struct rng rng;
    struct balance_node v[N_MAX];
    size_t n;
    unsigned picks[N_MAX];
};

static void world_init(struct world *w, size_t n, uint64_t seed)
{
    memset(w, 0, sizeof(*w));
    rng_seed(&w->rng, seed);
    balance_init(&w->state, &w->rng);
    w->n = n;
    for (size_t i = 0; i < n; i++)
        w->v[i] = (struct balance_node){.id_hash = rng_next(&w->rng), .share = BALANCE_FULL, .usable = true};
}

static size_t pick(struct world *w, enum balance how, uint64_t key)
{
    size_t at = balance_pick(how, &w->state, w->v, w->n, key, &w->rng);

    if (at != BALANCE_NONE)
        w->picks[at]++;
    return at;
}

static const enum balance kinds[] = {BALANCE_ROUND_ROBIN, BALANCE_LEAST_REQUESTS, BALANCE_HASH};

TEST(nothing_usable_is_none)
{
    for (size_t k = 0; k < 3; k++) {
        for (size_t n = 0; n <= N_MAX; n++) {
            struct world w;
            world_init(&w, n, 1);
            for (size_t i = 0; i < n; i++)
                w.v[i].usable = false;
            test_row("kind %zu n %zu", k, n);
            EXPECT(pick(&w, kinds[k], 7) == BALANCE_NONE);
        }
    }
}

TEST(the_only_usable_one_is_always_found)
{
    for (size_t k = 0; k < 3; k++) {
        for (size_t n = 1; n <= N_MAX; n++) {
            struct world w;
            world_init(&w, n, n);
            for (size_t i = 0; i < n; i++)
                w.v[i].usable = i == n / 2;
            w.v[n / 2].in_flight = 1000;
            test_row("kind %zu n %zu", k, n);
            for (unsigned i = 0; i < 20; i++)
                EXPECT_EQ(pick(&w, kinds[k], i), n / 2);
        }
    }
}

TEST(one_that_is_not_usable_is_never_picked)
{
    for (size_t k = 0; k < 3; k++) {
        struct world w;
        world_init(&w, N_MAX, 3);
        for (unsigned i = 0; i < 5000; i++) {
            for (size_t e = 0; e < w.n; e++)
                w.v[e].usable = rng_below(&w.rng, 3) == 0;
            size_t at = pick(&w, kinds[k], i);
            EXPECT(at == BALANCE_NONE || w.v[at].usable);
        }
    }
}

TEST(round_robin_takes_turns)
{
    struct world w;
    world_init(&w, 5, 1);
    size_t last = pick(&w, BALANCE_ROUND_ROBIN, 0);
    for (unsigned i = 1; i < 50; i++) {
        size_t at = pick(&w, BALANCE_ROUND_ROBIN, 0);
        EXPECT_EQ(at, (last + 1) % 5);
        last = at;
    }
    for (size_t i = 0; i < 5; i++)
        EXPECT_EQ(w.picks[i], 10);
}

TEST(round_robin_gives_no_double_share_to_the_neighbour_of_one_that_is_out)
{
    struct world w;
    world_init(&w, 5, 1);
    w.v[1].usable = false;
    for (unsigned i = 0; i < 400; i++)
        pick(&w, BALANCE_ROUND_ROBIN, 0);
    for (size_t i = 0; i < 5; i++)
        EXPECT_EQ(w.picks[i], i == 1 ? 0 : 100);
}

TEST(round_robin_shares_evenly_though_one_fails_and_is_retried_elsewhere)
{
    struct world w;
    world_init(&w, 3, 1);
    for (unsigned i = 0; i < 900; i++) {
        if (pick(&w, BALANCE_ROUND_ROBIN, 0) != 0)
            continue;
        w.v[0].usable = false;
        pick(&w, BALANCE_ROUND_ROBIN, 0);
        w.v[0].usable = true;
    }
    EXPECT(w.picks[1] >= 440 && w.picks[1] <= 460);
    EXPECT(w.picks[2] >= 440 && w.picks[2] <= 460);
}

TEST(workers_start_at_different_endpoints)
{
    static const enum balance turns[] = {BALANCE_ROUND_ROBIN, BALANCE_LEAST_REQUESTS};
    for (size_t k = 0; k < 2; k++) {
        unsigned first[4] = {0};
        for (uint64_t seed = 0; seed < 400; seed++) {
            struct world w;
            world_init(&w, 4, seed);
            first[pick(&w, turns[k], 0)]++;
        }
        for (size_t i = 0; i < 4; i++)
            EXPECT(first[i] > 60 && first[i] < 140);
    }
}

TEST(least_requests_takes_the_fewest)
{
    struct world w;
    world_init(&w, BALANCE_SCAN_MAX, 1);
    for (size_t low = 0; low < w.n; low++) {
        for (size_t i = 0; i < w.n; i++)
            w.v[i].in_flight = i == low ? 3 : 4;
        for (unsigned i = 0; i < 5; i++)
            EXPECT_EQ(pick(&w, BALANCE_LEAST_REQUESTS, 0), low);
    }
}

TEST(idle_endpoints_share)
{
    struct world w;
    world_init(&w, 4, 1);
    w.v[3].in_flight = 1;
    for (unsigned i = 0; i < 300; i++)
        pick(&w, BALANCE_LEAST_REQUESTS, 0);
    EXPECT_EQ(w.picks[0], 100);
    EXPECT_EQ(w.picks[1], 100);
    EXPECT_EQ(w.picks[2], 100);
    EXPECT_EQ(w.picks[3], 0);
}

TEST(two_choices_avoid_the_busy_and_make_no_herd)
{
    struct world w;
    world_init(&w, N_MAX, 1);
    for (size_t i = 0; i < w.n; i++)
        w.v[i].in_flight = i < 20 ? 10 : 0;
    w.v[0].in_flight = 100;
    for (unsigned i = 0; i < 20000; i++)
        pick(&w, BALANCE_LEAST_REQUESTS, 0);
    unsigned idle = 0;
    for (size_t i = 20; i < 40; i++)
        idle += w.picks[i];
    EXPECT(idle > 20000 * 70 / 100 && idle < 20000 * 80 / 100);     /* 1 - (20/40 * 19/39) = 76 % */
    EXPECT_EQ(w.picks[0], 0);                                       /* the worst of all loses to whoever is drawn too */
    for (size_t i = 20; i < 40; i++)
        EXPECT(w.picks[i] > 500 && w.picks[i] < 1100);
}

TEST(many_endpoints_with_few_usable_ones_still_take_the_fewest_of_those)
{
    struct world w;
    world_init(&w, N_MAX, 1);
    for (size_t i = 0; i < w.n; i++)
        w.v[i].usable = i == 11 || i == 31;
    w.v[31].in_flight = 1;
    for (unsigned i = 0; i < 200; i++)
        EXPECT_EQ(pick(&w, BALANCE_LEAST_REQUESTS, 0), 11);
}

TEST(a_key_stays_with_its_endpoint)
{
    struct world a, b;
    world_init(&a, 7, 1);
    world_init(&b, 7, 1);
    rng_seed(&b.rng, 99);
    for (uint64_t key = 0; key < 500; key++)
        EXPECT_EQ(pick(&a, BALANCE_HASH, key), pick(&b, BALANCE_HASH, key));
}

TEST(keys_that_count_up_spread_evenly)
{
    struct world w;
    world_init(&w, 8, 5);
    for (size_t i = 0; i < 8; i++)
        w.v[i].id_hash = i;                      /* not even hashes */
    for (uint64_t key = 0; key < 8000; key++)
        pick(&w, BALANCE_HASH, key);
    for (size_t i = 0; i < 8; i++)
        EXPECT(w.picks[i] > 850 && w.picks[i] < 1150);
}

TEST(when_an_endpoint_goes_only_its_keys_move_and_they_spread)
{
    struct world w;
    world_init(&w, 6, 1);
    unsigned moved[6] = {0};
    for (uint64_t key = 0; key < 12000; key++) {
        w.v[2].usable = true;
        size_t before = pick(&w, BALANCE_HASH, key);
        w.v[2].usable = false;
        size_t after = pick(&w, BALANCE_HASH, key);
        if (before != 2)
            EXPECT_EQ(after, before);
        else
            moved[after]++;
    }
    for (size_t i = 0; i < 6; i++)
        EXPECT(i == 2 ? moved[i] == 0 : moved[i] > 300 && moved[i] < 500);
}

TEST(the_place_in_the_list_makes_no_difference_to_a_hash)
{
    struct world a, b;
    world_init(&a, 6, 1);
    b = a;
    for (size_t i = 0; i < 6; i++)
        b.v[i] = a.v[5 - i];
    for (uint64_t key = 0; key < 500; key++)
        EXPECT_EQ(pick(&a, BALANCE_HASH, key), 5 - pick(&b, BALANCE_HASH, key));
}

TEST(a_hash_goes_on_to_the_next_when_one_was_tried)
{
    struct world w;
    world_init(&w, 5, 1);
    for (uint64_t key = 0; key < 50; key++) {
        unsigned seen = 0;
        for (unsigned i = 0; i < 5; i++) {
            size_t at = pick(&w, BALANCE_HASH, key);
            EXPECT(!(seen & 1u << at));
            seen |= 1u << at;
            w.v[at].usable = false;
        }
        EXPECT(pick(&w, BALANCE_HASH, key) == BALANCE_NONE);
        for (size_t i = 0; i < 5; i++)
            w.v[i].usable = true;
    }
}

/* ---- shares of one that came back ---- */

enum { MANY = 40000 };

/* `share` of what another got, within 3 %, and what chance does to so few. */
static bool about(unsigned its, unsigned others, unsigned share)
{
    double wanted = (double)others * share / BALANCE_FULL, off = its - wanted;
    return off * off < 16 * wanted + 9e-4 * wanted * wanted;
}

/* Nothing to do otherwise: in turns. */
TEST(a_ramping_endpoint_gets_its_part_of_the_turns)
{
    static const unsigned shares[] = {100, 250, 550, 900, BALANCE_FULL};
    static const size_t sizes[] = {2, 3, 8, N_MAX};
    for (size_t k = 0; k < 2; k++) {
        for (size_t s = 0; s < 5 * 4; s++) {
            struct world w;
            size_t n = sizes[s / 5];
            unsigned sum = 0;
            test_row("%s, %zu endpoints, %u", k ? "least requests" : "round robin", n, shares[s % 5]);
            world_init(&w, n, 1 + s);
            w.v[1].share = (uint16_t)shares[s % 5];
            for (unsigned i = 0; i < MANY; i++)
                pick(&w, kinds[k], 0);
            for (size_t i = 0; i < n; i++)
                sum += w.picks[i];
            EXPECT_EQ(sum, MANY);
            EXPECT(about(w.picks[1], (MANY - w.picks[1]) / (unsigned)(n - 1), shares[s % 5]));
            EXPECT(n > BALANCE_SCAN_MAX || about(w.picks[0], (MANY - w.picks[1]) / (unsigned)(n - 1), BALANCE_FULL));
        }
    }
}

/* Requests that stay: it has its part of them, although it began with none. */
TEST(under_load_a_ramping_endpoint_has_its_part_of_the_requests)
{
    static const unsigned shares[] = {100, 300, 700};
    static const size_t sizes[] = {2, 5, N_MAX};
    for (size_t s = 0; s < 3 * 3; s++) {
        struct world w;
        size_t n = sizes[s / 3], held[4000];
        unsigned under_way = (unsigned)n * 40;
        double its = 0, all = 0;
        test_row("%zu endpoints, %u", n, shares[s % 3]);
        world_init(&w, n, 7 + s);
        w.v[1].share = (uint16_t)shares[s % 3];
        for (unsigned i = 0; i < MANY; i++) {            /* a random one ends, another begins */
            unsigned at = i < under_way ? i : (unsigned)rng_below(&w.rng, under_way);
            if (i >= under_way)
                w.v[held[at]].in_flight--;
            held[at] = pick(&w, BALANCE_LEAST_REQUESTS, 0);
            w.v[held[at]].in_flight++;
            if (i > MANY / 2) {
                its += w.v[1].in_flight;
                all += under_way;
            }
        }
        double ratio = its / ((all - its) / (double)(n - 1));
        EXPECT(ratio > shares[s % 3] * 0.8e-3 - 0.02 && ratio < shares[s % 3] * 1.2e-3 + 0.04);
    }
}

TEST(those_that_ramp_take_all_when_no_other_is_left)
{
    for (size_t k = 0; k < 3; k++) {
        for (size_t n = 1; n <= N_MAX; n += 3) {
            struct world w;
            test_row("kind %zu n %zu", k, n);
            world_init(&w, n, 1);
            for (size_t i = 0; i < n; i++)
                w.v[i].share = 100;
            for (unsigned i = 0; i < 500; i++)
                EXPECT(pick(&w, kinds[k], i) != BALANCE_NONE);
            for (size_t i = 0; i < n; i++)
                w.v[i].usable = i == n - 1;
            for (unsigned i = 0; i < 50; i++)
                EXPECT_EQ(pick(&w, kinds[k], i), n - 1);
        }
    }
}

TEST(keys_stay_with_an_endpoint_that_ramps)
{
    struct world w;
    world_init(&w, 5, 1);
    for (uint64_t key = 0; key < 2000; key++) {
        w.v[3].share = BALANCE_FULL;
        size_t before = pick(&w, BALANCE_HASH, key);
        w.v[3].share = 100;
        EXPECT_EQ(pick(&w, BALANCE_HASH, key), before);
    }
}
