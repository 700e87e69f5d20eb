/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects of one size, in chunks from the heap.
 *
 * A chunk is a link to the chunk before it and then its objects. Those never handed out are not on the free list: so
 * memory nobody asked for is never touched, and costs no page. Freed objects are reused last in, first out, while they
 * are still in the cache. A count of objects out catches most of what is freed twice; AddressSanitizer, where every
 * object is a heap block, catches the rest.
 */
#include "lib/slab.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "lib/mem.h"

struct chunk {
    _Alignas(16) struct chunk *next;
};

void slab_init(struct slab *s, size_t size, size_t batch)
{
    check(size > 0 && batch > 0);
    *s = (struct slab){.size = (size + 15) & ~(size_t)15, .batch = batch};
}

void slab_fini(struct slab *s)
{
    check(s->used == 0);
    for (struct chunk *c = s->chunks, *next; c; c = next) {
        next = c->next;
        mem_free(c);
    }
    *s = (struct slab){.size = s->size, .batch = s->batch};
}

static int chunk_order(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)*(struct chunk *const *)a, y = (uintptr_t)*(struct chunk *const *)b;
    return x < y ? -1 : x > y;
}

/* The chunk that the object is of: the last one that begins before it. */
static size_t chunk_of(struct chunk *const *v, size_t n, const void *object)
{
    size_t low = 0, high = n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        *((uintptr_t)v[middle] < (uintptr_t)object ? &low : &high) = middle;
    }
    return low;
}

static void drop_free_of(struct slab *s, struct chunk *const *v, size_t n, const size_t *idle)
{
    void **at = &s->free;
    while (*at) {
        if (idle[chunk_of(v, n, *at)] == s->batch)
            *at = *(void **)*at;
        else
            at = (void **)*at;
    }
}

/* Of the newest chunk some were never out: they count as free, and go with it. */
void slab_trim(struct slab *s)
{
    size_t n = 0, i = 0, newest;
    if (SLAB_HEAP || !s->chunks)
        return;
    for (struct chunk *c = s->chunks; c; c = c->next)
        n++;
    struct chunk **v = mem_array(n, sizeof(*v));
    size_t *idle = mem_array(n, sizeof(*idle));
    for (struct chunk *c = s->chunks; c; c = c->next)
        v[i++] = c;
    qsort(v, n, sizeof(*v), chunk_order);
    for (void *o = s->free; o; o = *(void **)o)
        idle[chunk_of(v, n, o)]++;
    newest = chunk_of(v, n, (struct chunk *)s->chunks + 1);
    idle[newest] += s->fresh_left;
    drop_free_of(s, v, n, idle);
    if (idle[newest] == s->batch) {
        s->fresh = NULL;
        s->fresh_left = 0;
    }
    for (void **at = &s->chunks; *at;) {
        struct chunk *c = *at;
        if (idle[chunk_of(v, n, c + 1)] == s->batch) {
            *at = c->next;
            s->total -= s->batch;
            mem_free(c);
        } else {
            at = (void **)&c->next;
        }
    }
    mem_free(v);
    mem_free(idle);
}

static void chunk_add(struct slab *s)
{
    struct chunk *c = mem_alloc(sizeof(*c) + s->batch * s->size);
    c->next = s->chunks;
    s->chunks = c;
    s->fresh = (char *)(c + 1);
    s->fresh_left = s->batch;
    s->total += s->batch;
}

void *slab_alloc_slow(struct slab *s)
{
    s->used++;
    if (SLAB_HEAP) {
        s->total++;
        return mem_alloc(s->size);
    }
    if (s->fresh_left == 0)
        chunk_add(s);
    void *object = s->fresh;
    s->fresh += s->size;
    s->fresh_left--;
    return object;
}

void slab_free_slow(struct slab *s, void *object)
{
    s->total--;
    mem_free(object);
}

void *slab_zalloc(struct slab *s) { return memset(slab_alloc(s), 0, s->size); }
