/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that is all given back at once.
 *
 * A list of blocks, each with a small head. Only the newest block of the common size is filled; what is left of the
 * one before is lost. That is a quarter of a block at most: what is larger, and does not fit, gets a heap block.
 */
#include "lib/arena.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "lib/mem.h"

struct arena_block {
    _Alignas(16) struct arena_block *next;
    bool heap;                       /* not of the slab */
};

#define ARENA_ROOM (ARENA_BLOCK - sizeof(struct arena_block))

void arena_init(struct arena *a, struct slab *blocks)
{
    check(!blocks || blocks->size == ARENA_BLOCK);
    *a = (struct arena){.blocks = blocks};
}

void arena_fini(struct arena *a)
{
    for (struct arena_block *b = a->last, *next; b; b = next) {
        next = b->next;
        if (b->heap)
            mem_free(b);
        else
            slab_free(a->blocks, b);
    }
    *a = (struct arena){.blocks = a->blocks};
}

static struct arena_block *block_new(struct slab *blocks)
{
    struct arena_block *b = blocks ? slab_alloc(blocks) : mem_alloc(ARENA_BLOCK);
    b->heap = !blocks;
    return b;
}

/* The block being filled goes on being filled: only the list changes. */
static void *alloc_alone(struct arena *a, size_t size)
{
    struct arena_block *b = mem_alloc(size > SIZE_MAX - sizeof(*b) ? SIZE_MAX : sizeof(*b) + size);
    b->heap = true;
    b->next = a->last;
    a->last = b;
    return b + 1;
}

void *arena_alloc_slow(struct arena *a, size_t size)
{
    if (SLAB_HEAP || size > ARENA_ROOM)
        return alloc_alone(a, size);
    size_t rounded = size ? (size + 15) & ~(size_t)15 : 16;
    if (rounded > (size_t)(a->end - a->at)) {
        if (a->at && size > ARENA_ROOM / 4)
            return alloc_alone(a, size);
        struct arena_block *b = block_new(a->blocks);
        b->next = a->last;
        a->last = b;
        a->at = (char *)(b + 1);
        a->end = (char *)b + ARENA_BLOCK;
    }
    void *p = a->at;
    a->at += rounded;
    return p;
}

void *arena_zalloc(struct arena *a, size_t size) { return memset(arena_alloc(a, size), 0, size); }

char *arena_strdup(struct arena *a, struct str s)
{
    check(s.len < SIZE_MAX);
    char *text = arena_alloc(a, s.len + 1);
    if (s.len)
        memcpy(text, s.at, s.len);
    text[s.len] = '\0';
    return text;
}

struct str arena_copy(struct arena *a, struct str s) { return s.at ? str_of(arena_strdup(a, s), s.len) : s; }

struct str arena_u64(struct arena *a, uint64_t v) { return str_of_u64(arena_alloc(a, U64_DIGITS), v); }

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
    char first[256];
    va_list ap, again;

    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(first, sizeof(first), fmt, ap);
    va_end(ap);
    check(n >= 0);
    size_t size = (size_t)n + 1;
    char *text = arena_alloc(a, size);
    if (size <= sizeof(first))
        memcpy(text, first, size);
    else
        vsnprintf(text, size, fmt, again);
    va_end(again);
    return str_of(text, (size_t)n);
}
