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
