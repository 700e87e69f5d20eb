/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An open-addressed table that only grows, of pointers: a place that is taken stays what it is. So a reader needs no
 * lock, and who finds none looks again with the lock before it makes one.
 *
 * Half of the places stay empty: each search ends.
 */
#include "filters/breaker_endpoints.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include "lib/check.h"
#include "lib/hash.h"
#include "lib/mem.h"

enum { PLACES = 2 * BREAKER_ENDPOINTS_MAX };

struct breaker_endpoints {
    pthread_mutex_t lock;
    enum breaker_hold hold;              /* of those to come; with the lock */
    _Atomic unsigned n;
    _Atomic(struct breaker_endpoint *) table[PLACES];
};

struct breaker_endpoints *breaker_endpoints_new(enum breaker_hold hold)
{
    struct breaker_endpoints *e = mem_zalloc(sizeof *e);
    check(pthread_mutex_init(&e->lock, NULL) == 0);
    e->hold = hold;
    return e;
}

void breaker_endpoints_free(struct breaker_endpoints *e)
{
    if (!e)
        return;
    for (size_t i = 0; i < PLACES; i++) {
        struct breaker_endpoint *one = atomic_load_explicit(&e->table[i], memory_order_relaxed);
        if (!one)
            continue;
        breaker_state_fini(&one->state);
        mem_free(one);
    }
    check(pthread_mutex_destroy(&e->lock) == 0);
    mem_free(e);
}

/* Names come from the configuration's author: the key need not be secret. */
static size_t place_of(const struct breaker_endpoints *e, struct str url)
{
    static const struct hash_key key = {0x627265616b, 0x65722e2e};
    size_t i = hash_str(&key, url) % PLACES;
    for (;; i = (i + 1) % PLACES) {
        const struct breaker_endpoint *one = atomic_load_explicit(&e->table[i], memory_order_acquire);
        if (!one || str_eq(one->url, url))
            return i;
    }
}

struct breaker_endpoint *breaker_endpoints_find(const struct breaker_endpoints *e, struct str url)
{
    return atomic_load_explicit(&e->table[place_of(e, url)], memory_order_acquire);
}

static struct breaker_endpoint *endpoint_new(struct str url, enum breaker_hold hold)
{
    struct breaker_endpoint *one = mem_zalloc(sizeof *one + url.len + 1);
    char *copy = (char *)(one + 1);
    memcpy(copy, url.at, url.len);
    one->url = str_of(copy, url.len);
    breaker_state_init(&one->state, hold);
    return one;
}

struct breaker_endpoint *breaker_endpoints_get(struct breaker_endpoints *e, struct str url)
{
    struct breaker_endpoint *one = breaker_endpoints_find(e, url);
    if (one || atomic_load_explicit(&e->n, memory_order_relaxed) == BREAKER_ENDPOINTS_MAX)
        return one;
    check(pthread_mutex_lock(&e->lock) == 0);
    size_t at = place_of(e, url);
    unsigned n = atomic_load_explicit(&e->n, memory_order_relaxed);
    one = atomic_load_explicit(&e->table[at], memory_order_relaxed);
    if (!one && n < BREAKER_ENDPOINTS_MAX) {
        one = endpoint_new(url, e->hold);
        atomic_store_explicit(&e->table[at], one, memory_order_release);
        atomic_store_explicit(&e->n, n + 1, memory_order_relaxed);
    }
    check(pthread_mutex_unlock(&e->lock) == 0);
    return one;
}

/* One that is made meanwhile has the word from its birth, or is met here. */
void breaker_endpoints_hold(struct breaker_endpoints *e, enum breaker_hold hold, uint64_t now)
{
    check(pthread_mutex_lock(&e->lock) == 0);
    e->hold = hold;
    check(pthread_mutex_unlock(&e->lock) == 0);
    for (size_t i = 0; i < PLACES; i++) {
        struct breaker_endpoint *one = atomic_load_explicit(&e->table[i], memory_order_acquire);
        struct breaker_change ignored;
        if (one)
            breaker_state_hold(&one->state, hold, now, &ignored);
    }
}

const struct breaker_endpoint *breaker_endpoints_next(const struct breaker_endpoints *e, size_t *at)
{
    while (*at < PLACES) {
        const struct breaker_endpoint *one = atomic_load_explicit(&e->table[(*at)++], memory_order_acquire);
        if (one)
            return one;
    }
    return NULL;
}
