/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chained hash table that keeps the memory of what leaves it.
 *
 * A key comes with its first request and goes with its last, which may be a hundred thousand times a second: so
 * semaphores come from a slab, and neither they nor the table go back to the heap. Both are bounded by the most keys
 * that were in use at once, which the connections bound. What a queue took goes back, for few keys ever have one.
 */
#include "filters/semaphore_keys.h"

#include "lib/check.h"
#include "lib/mem.h"

enum { TABLE_FIRST = 16, SLAB_BATCH = 16 };

void semaphore_keys_init(struct semaphore_keys *k)
{
    *k = (struct semaphore_keys){.size = TABLE_FIRST, .table = mem_array(TABLE_FIRST, sizeof(struct semaphore *))};
    slab_init(&k->slab, sizeof(struct semaphore), SLAB_BATCH);
}

void semaphore_keys_fini(struct semaphore_keys *k)
{
    check(k->n == 0);
    slab_fini(&k->slab);
    mem_free(k->table);
}

static struct semaphore **bucket(const struct semaphore_keys *k, uint64_t hash)
{
    return &k->table[hash & (k->size - 1)];
}

struct semaphore *semaphore_keys_find(const struct semaphore_keys *k, uint64_t hash)
{
    struct semaphore *s = *bucket(k, hash);
    while (s && s->hash != hash)
        s = s->chain;
    return s;
}

static void link_in(struct semaphore_keys *k, struct semaphore *s)
{
    struct semaphore **at = bucket(k, s->hash);
    s->chain = *at;
    *at = s;
}

static void grow(struct semaphore_keys *k)
{
    struct semaphore **old = k->table;
    uint32_t n = k->size;
    k->size = n * 2;
    k->table = mem_array(k->size, sizeof(struct semaphore *));
    for (uint32_t i = 0; i < n; i++)
        for (struct semaphore *s = old[i], *next; s; s = next) {
            next = s->chain;
            link_in(k, s);
        }
    mem_free(old);
}

struct semaphore *semaphore_keys_add(struct semaphore_keys *k, uint64_t hash)
{
    struct semaphore *s = slab_zalloc(&k->slab);
    s->hash = hash;
    if (k->n == k->size)
        grow(k);
    link_in(k, s);
    k->n++;
    return s;
}

void semaphore_keys_drop(struct semaphore_keys *k, struct semaphore *s)
{
    struct semaphore **at = bucket(k, s->hash);
    while (*at != s)
        at = &(*at)->chain;
    *at = s->chain;
    k->n--;
    fair_queue_fini(&s->queue);
    slab_free(&k->slab, s);
}
