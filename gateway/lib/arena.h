/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ARENA_H
#define ARENA_H

#include <stddef.h>
#include "slab.h"
#include "str.h"

/*
 * Memory that is all given back at once: of a request (blocks from a worker's slab), or of a snapshot (blocks from the
 * heap). An allocation larger than a block gets a heap block of its own. One thread at a time.
 * Under AddressSanitizer every allocation gets one, so that it sees a step over the end.
 */
struct arena_block;
struct arena {
    struct slab *blocks;             /* where blocks come from; NULL: the heap */
    struct arena_block *last;        /* all of them, linked, newest first */
    char *at, *end;                  /* what is left of the newest shared block */
};

#define ARENA_BLOCK 4096             /* bytes; the size a slab for arenas must have */

void arena_init(struct arena *, struct slab *blocks);
void arena_fini(struct arena *);                             /* gives everything back; the arena may be init'ed again */
void *arena_zalloc(struct arena *, size_t size);
struct str arena_copy(struct arena *, struct str);           /* also NUL-terminated; absent stays absent */
char *arena_strdup(struct arena *, struct str);              /* "" for absent */
struct str arena_u64(struct arena *, uint64_t);              /* decimal digits */
struct str arena_printf(struct arena *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void *arena_alloc_slow(struct arena *, size_t size);         /* of arena_alloc(): does not fit what is left */

/* 16-byte aligned, not zeroed, never NULL. */
static inline void *arena_alloc(struct arena *a, size_t size)
{
    size_t rounded = (size + 15) & ~(size_t)15;
    /* 0, asked for or by overflow, becomes the greatest number here and goes the slow way. */
    if (__builtin_expect(SLAB_HEAP || rounded - 1 >= (size_t)(a->end - a->at), 0))
        return arena_alloc_slow(a, size);
    void *p = a->at;
    a->at += rounded;
    return p;
}

#endif
