/* SPDX-License-Identifier: Apache-2.0 */
/* An upstream's endpoints as one configuration has them, and the choice between them. What lives on is endpoint.c's. */
#include "upstream.h"

#include <string.h>
#include "lib/arena.h"
#include "lib/check.h"
#include "lib/hash.h"
#include "lib/mem.h"
#include "worker.h"

void upstream_init(struct upstream *u, struct worker *w, const struct upstream_conf *conf, struct shared_set *shared)
{
    static const struct hash_key identity = {0x77656972, 0x656e6470};    /* the same in all workers and runs */
    memset(u, 0, sizeof *u);
    u->conf = conf;
    u->worker = w;
    u->health = health_open(shared, conf, clock_mono(w->clock));
    u->endpoints = mem_array(conf->n, sizeof *u->endpoints);
    u->nodes = mem_array(conf->n, sizeof *u->nodes);
    balance_init(&u->balance, &w->rng);
    for (size_t i = 0; i < conf->n; i++) {
        u->endpoints[i] = endpoint_hold(w, conf, i, u->health);
        u->nodes[i].id_hash = hash_str(&identity, conf->endpoints[i].url);
    }
}

void upstream_outdated(struct upstream *u)
{
    for (size_t i = 0; i < u->conf->n; i++)
        endpoint_outdated(u->endpoints[i]);
}

void upstream_fini(struct upstream *u)
{
    for (size_t i = 0; i < u->conf->n; i++)
        endpoint_drop(u->endpoints[i]);
    health_close(&u->health);
    mem_free(u->endpoints);
    mem_free(u->nodes);
}

/* 0: it is out. */
static unsigned share_of(const struct upstream *u, size_t i)
{
    return health_well(u->health, i) ? BALANCE_FULL : health_share(u->health, i, worker_now(u->worker));
}

/* Words of the set behind its first. */
static size_t words_more(size_t n) { return (n - 1) / 64; }

void endpoint_set_add(struct endpoint_set *s, size_t i, size_t n, struct arena *arena)
{
    check(i < n);
    if (i < 64) {
        s->few |= UINT64_C(1) << i;
        return;
    }
    if (!s->more)
        s->more = arena_zalloc(arena, words_more(n) * sizeof *s->more);
    s->more[i / 64 - 1] |= UINT64_C(1) << i % 64;
}

struct endpoint_set endpoint_set_copy(const struct endpoint_set *s, size_t n, struct arena *arena)
{
    struct endpoint_set copy = *s;
    if (s->more) {
        copy.more = arena_alloc(arena, words_more(n) * sizeof *s->more);
        memcpy(copy.more, s->more, words_more(n) * sizeof *s->more);
    }
    return copy;
}

static bool usable(const struct upstream *u, size_t i, const struct endpoint_set *out, unsigned share)
{
    return u->endpoints[i]->n_addresses > 0 && share > 0 && !endpoint_set_has(out, i);
}

size_t upstream_next(const struct upstream *u, const struct endpoint_set *out, size_t from)
{
    for (size_t i = from; i < u->conf->n; i++)
        if (usable(u, i, out, share_of(u, i)))
            return i;
    return ENDPOINT_NONE;
}

uint64_t upstream_wait(const struct upstream *u)
{
    uint64_t now = worker_now(u->worker), wait = u->conf->check.path.len ? u->conf->check.every : TIME_NEVER;
    for (size_t i = 0; i < u->conf->n; i++) {
        uint64_t back = atomic_load_explicit(&u->health->v[i]->back, memory_order_relaxed);
        uint64_t its = u->endpoints[i]->n_addresses == 0 ? NSEC_PER_SEC : back > now ? back - now : TIME_NEVER;
        if (its < wait)
            wait = its;
    }
    return wait == TIME_NEVER ? NSEC_PER_SEC : wait;
}

size_t upstream_pick(struct upstream *u, const struct endpoint_set *out, uint64_t hash, enum reason *why)
{
    bool resolved = false;
    for (size_t i = 0; i < u->conf->n; i++) {
        const struct endpoint *e = u->endpoints[i];
        struct balance_node *node = &u->nodes[i];
        unsigned share = share_of(u, i);
        resolved |= e->n_addresses > 0;
        node->usable = usable(u, i, out, share);
        node->share = (uint16_t)share;
        node->in_flight = e->in_flight;
    }
    size_t at = balance_pick(u->conf->balance, &u->balance, u->nodes, u->conf->n, hash, &u->worker->rng);
    *why = resolved ? REASON_no_endpoint : REASON_unresolved;
    return at == BALANCE_NONE ? ENDPOINT_NONE : at;
}
