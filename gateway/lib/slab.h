/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SLAB_H
#define SLAB_H

#include <stddef.h>
#include "check.h"

/*
 * Objects of one size, handed out and taken back without the heap. One thread. Memory goes back to the heap only in
 * slab_trim() and slab_fini(), which checks that everything came back. Under AddressSanitizer each object is its own heap block.
 * Objects are aligned to 16 bytes.
 */
struct slab {
    size_t size;             /* of an object, bytes; rounded up to a multiple of 16 */
    size_t batch;            /* objects a chunk */
    void *free;
    void *chunks;
    char *fresh;             /* objects of the newest chunk that were never handed out */
    size_t fresh_left;
    size_t used, total;      /* objects handed out; objects there are */
};

#if defined(__SANITIZE_ADDRESS__)
#define SLAB_HEAP 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLAB_HEAP 1
#endif
#endif
#ifndef SLAB_HEAP
#define SLAB_HEAP 0
#endif

void slab_init(struct slab *, size_t size, size_t batch);
void slab_fini(struct slab *);
/* Gives chunks back to the heap of which no object is out. Takes time: for when memory is short. */
void slab_trim(struct slab *);
void *slab_zalloc(struct slab *);
void *slab_alloc_slow(struct slab *);           /* of slab_alloc(): nothing on the free list */
void slab_free_slow(struct slab *, void *);     /* of slab_free(): to the heap */

/* Not zeroed; never NULL. */
static inline void *slab_alloc(struct slab *s)
{
    void *object = s->free;
    if (__builtin_expect(!object, 0))
        return slab_alloc_slow(s);
    s->free = *(void **)object;
    s->used++;
    return object;
}

/* NULL is legal. */
static inline void slab_free(struct slab *s, void *object)
{
    if (!object)
        return;
    check(s->used > 0);
    s->used--;
    if (SLAB_HEAP) {
        slab_free_slow(s, object);
        return;
    }
    *(void **)object = s->free;
    s->free = object;
}

#endif
