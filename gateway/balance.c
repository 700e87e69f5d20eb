/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Balancing; balance.h says what each kind means.
 *
 * The cursor is one past the last pick, not a count of picks: with a count, an endpoint that is out would give its
 * turns to its neighbour alone. It starts at random, and so do the cursors of other workers, or all of them would begin
 * with the first endpoint.
 *
 * Least requests goes around from the cursor as well, for otherwise a gateway with little to do, whose endpoints all
 * stand at 0, would send everything to the first. Beyond BALANCE_SCAN_MAX it looks at two only: counts of other workers
 * are a little late, and when all of them run to the one best endpoint it is soon the worst (Mitzenmacher 2001).
 *
 * A share is kept to by chance and not by the weight of requests alone: where there is little to do, all stand at 0
 * requests, and whatever 0 is weighed with, the endpoint that just came back would have its whole turn.
 */
#include "balance.h"

#define DRAWS 16             /* random tries before a full look */

void balance_init(struct balance_state *s, struct rng *rng) { s->cursor = rng_next(rng) >> 1; }

/* Does it take part in this pick? One with less than its whole share does so as often as that says. */
static bool takes_part(const struct balance_node *v, struct rng *rng)
{
    return v->usable && (v->share >= BALANCE_FULL || rng_below(rng, BALANCE_FULL) < v->share);
}

static size_t next_usable(struct balance_state *s, const struct balance_node *v, size_t n)
{
    size_t at = s->cursor % n;

    for (size_t seen = 0; seen < n; seen++) {
        if (v[at].usable) {
            s->cursor = at + 1;
            return at;
        }
        at = at + 1 < n ? at + 1 : 0;
    }
    return BALANCE_NONE;
}

static size_t round_robin(struct balance_state *s, const struct balance_node *v, size_t n, struct rng *rng)
{
    size_t at = s->cursor % n;

    for (size_t seen = 0; seen < n; seen++) {
        if (takes_part(&v[at], rng)) {
            s->cursor = at + 1;
            return at;
        }
        at = at + 1 < n ? at + 1 : 0;
    }
    return next_usable(s, v, n);
}

/* Has `a` less to do than `b`, each for its share? */
static bool lighter(const struct balance_node *a, const struct balance_node *b)
{
    return (uint64_t)a->in_flight * b->share < (uint64_t)b->in_flight * a->share;
}

static size_t fewest_of_all(struct balance_state *s, const struct balance_node *v, size_t n, struct rng *rng)
{
    size_t at = s->cursor % n, best = BALANCE_NONE;

    for (size_t seen = 0; seen < n; seen++) {
        if (takes_part(&v[at], rng) && (best == BALANCE_NONE || lighter(&v[at], &v[best])))
            best = at;
        at = at + 1 < n ? at + 1 : 0;
    }
    if (best == BALANCE_NONE)
        return next_usable(s, v, n);
    s->cursor = best + 1;
    return best;
}

static size_t fewer_of_two(struct balance_state *s, const struct balance_node *v, size_t n, struct rng *rng)
{
    size_t first = BALANCE_NONE;

    for (unsigned i = 0; i < DRAWS; i++) {
        size_t at = rng_below(rng, n);
        if (at == first || !takes_part(&v[at], rng))
            continue;
        if (first != BALANCE_NONE)
            return lighter(&v[at], &v[first]) ? at : first;
        first = at;
    }
    /* Hardly any is usable, so that looking at all of them makes no herd. */
    return fewest_of_all(s, v, n, rng);
}

/* The finaliser of splitmix64: every bit of the sum decides about every bit of the score. */
static uint64_t score(uint64_t key, uint64_t id_hash)
{
    uint64_t x = key * UINT64_C(0x9e3779b97f4a7c15) + id_hash;

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static size_t rendezvous(const struct balance_node *v, size_t n, uint64_t key)
{
    size_t best = BALANCE_NONE;
    uint64_t best_score = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t its = score(key, v[i].id_hash);
        if (v[i].usable && (best == BALANCE_NONE || its > best_score)) {
            best = i;
            best_score = its;
        }
    }
    return best;
}

size_t balance_pick(enum balance how, struct balance_state *s, const struct balance_node *v, size_t n, uint64_t key,
                    struct rng *rng)
{
    if (n <= 1)
        return n == 1 && v[0].usable ? 0 : BALANCE_NONE;
    if (how == BALANCE_HASH)
        return rendezvous(v, n, key);
    if (how == BALANCE_ROUND_ROBIN)
        return round_robin(s, v, n, rng);
    return n <= BALANCE_SCAN_MAX ? fewest_of_all(s, v, n, rng) : fewer_of_two(s, v, n, rng);
}
