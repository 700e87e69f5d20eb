/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoints of a worker and their pools. Connections themselves are up_h1.c's.
 *
 * An endpoint with several addresses takes them in turn: the next connection goes to the next address, so that one dead
 * address does not hold the name down.
 */
#include "upstream.h"

#include <string.h>
#include "exchange.h"
#include "lib/arena.h"
#include "lib/check.h"
#include "lib/hash.h"
#include "lib/mem.h"
#include "up_h1.h"
#include "worker.h"

static void endpoint_init(struct endpoint *e, struct upstream *u, const struct endpoint_conf *conf)
{
    memset(e, 0, sizeof *e);
    e->conf = conf;
    e->upstream = u;
    list_init(&e->idle);
    if (conf->address.len)
        endpoint_set_addresses(e, &conf->address, 1);
}

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
        endpoint_init(&u->endpoints[i], u, &conf->endpoints[i]);
        u->nodes[i].id_hash = hash_str(&identity, conf->endpoints[i].url);
    }
}

void upstream_fini(struct upstream *u)
{
    for (size_t i = 0; i < u->conf->n; i++) {
        struct endpoint *e = &u->endpoints[i];
        check(e->in_flight == 0);
        upconn_close_idle(e);
        mem_free(e->addresses);
    }
    health_close(&u->health);
    mem_free(u->endpoints);
    mem_free(u->nodes);
}

static size_t number_of(const struct endpoint *e) { return (size_t)(e - e->upstream->endpoints); }

void endpoint_set_addresses(struct endpoint *e, const struct address *v, size_t n)
{
    e->answered = true;
    if (n == 0)
        return;
    mem_free(e->addresses);
    e->addresses = mem_array(n, sizeof *v);
    memcpy(e->addresses, v, n * sizeof *v);
    e->n_addresses = n;
    e->next_address = 0;
    health_addresses(e->upstream->health, number_of(e), n);
}

void endpoint_begin(struct endpoint *e)
{
    e->in_flight++;
    health_in_flight(e->upstream->health, number_of(e), e->upstream->worker->id, 1);
}

void endpoint_end(struct endpoint *e)
{
    e->in_flight--;
    health_in_flight(e->upstream->health, number_of(e), e->upstream->worker->id, -1);
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
    return u->endpoints[i].n_addresses > 0 && share > 0 && !endpoint_set_has(out, i);
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
        uint64_t its = u->endpoints[i].n_addresses == 0 ? NSEC_PER_SEC : back > now ? back - now : TIME_NEVER;
        if (its < wait)
            wait = its;
    }
    return wait == TIME_NEVER ? NSEC_PER_SEC : wait;
}

size_t upstream_pick(struct upstream *u, const struct endpoint_set *out, uint64_t hash, enum reason *why)
{
    bool resolved = false;
    for (size_t i = 0; i < u->conf->n; i++) {
        const struct endpoint *e = &u->endpoints[i];
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

struct up *endpoint_connect(struct endpoint *e, struct attempt *att, bool fresh, bool *reused)
{
    struct worker *w = e->upstream->worker;
    struct upconn *c = NULL;
    *reused = false;
    if (!fresh && !list_empty(&e->idle)) {
        c = container_of(e->idle.next, struct upconn, link);
        endpoint_unpool(e, c);
        *reused = true;
        metric_add(&w->metrics, METRIC_upstream_reuses_total, 1);
        upconn_begin(c, att);
        return &c->up;
    }
    const struct address *a = &e->addresses[e->next_address];
    e->next_address = (e->next_address + 1) % e->n_addresses;
    c = upconn_open(e, a, att);
    return c ? &c->up : NULL;
}

bool endpoint_pool(struct endpoint *e, struct upconn *c)
{
    if (e->n_idle >= e->upstream->conf->pool_max)
        return false;
    list_push(&e->idle, &c->link);
    e->n_idle++;
    metric_add(&e->upstream->worker->metrics, METRIC_upstream_connections_idle, 1);
    return true;
}

void endpoint_unpool(struct endpoint *e, struct upconn *c)
{
    list_remove(&c->link);
    e->n_idle--;
    metric_sub(&e->upstream->worker->metrics, METRIC_upstream_connections_idle, 1);
}
