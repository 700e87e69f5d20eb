/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue of bytes in blocks.
 *
 * Invariants: no block of the queue is empty, so an empty queue has none; `len` is the sum of what the blocks hold.
 * Bytes are appended to the last block and taken from the first; nothing is ever moved.
 */
#include "lib/buf.h"

#include <stdint.h>
#include <string.h>
#include "lib/check.h"

struct buf_block {
    struct buf_block *next;
    uint32_t start, end;             /* what is in it: bytes[start..end) */
    char bytes[];
};

#define BUF_ROOM (BUF_BLOCK - sizeof(struct buf_block))

static struct buf_block *block_append(struct buf *b, struct slab *blocks)
{
    check(blocks->size == BUF_BLOCK);
    struct buf_block *block = slab_alloc(blocks);
    *block = (struct buf_block){.next = NULL};
    if (b->tail)
        b->tail->next = block;
    else
        b->head = block;
    b->tail = block;
    return block;
}

static void block_drop_first(struct buf *b, struct slab *blocks)
{
    struct buf_block *first = b->head;
    b->head = first->next;
    if (!b->head)
        b->tail = NULL;
    slab_free(blocks, first);
}

void buf_append(struct buf *b, struct slab *blocks, const void *at, size_t len)
{
    const char *from = at;
    b->len += len;
    while (len) {
        struct buf_block *block = b->tail;
        if (!block || block->end == BUF_ROOM)
            block = block_append(b, blocks);
        size_t n = BUF_ROOM - block->end;
        if (n > len)
            n = len;
        memcpy(block->bytes + block->end, from, n);
        block->end += (uint32_t)n;
        from += n;
        len -= n;
    }
}

int buf_peek(const struct buf *b, struct iovec *v, int max)
{
    int n = 0;
    for (struct buf_block *block = b->head; block && n < max; block = block->next)
        v[n++] = (struct iovec){.iov_base = block->bytes + block->start, .iov_len = block->end - block->start};
    return n;
}

bool buf_next(const struct buf *b, const struct buf_block **at, struct iovec *run)
{
    const struct buf_block *block = *at ? (*at)->next : b->head;
    if (!block)
        return false;
    *at = block;
    *run = (struct iovec){(void *)(uintptr_t)(block->bytes + block->start), block->end - block->start};
    return true;
}

void buf_consume(struct buf *b, struct slab *blocks, size_t len)
{
    check(len <= b->len);
    b->len -= len;
    while (len) {
        struct buf_block *block = b->head;
        size_t here = block->end - block->start;
        if (len < here) {
            block->start += (uint32_t)len;
            return;
        }
        block_drop_first(b, blocks);
        len -= here;
    }
}

void buf_clear(struct buf *b, struct slab *blocks)
{
    while (b->head)
        block_drop_first(b, blocks);
    b->len = 0;
}
