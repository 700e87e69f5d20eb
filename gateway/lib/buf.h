/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUF_H
#define BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>
#include "slab.h"

/*
 * A queue of bytes in blocks of a slab: what could not be written on yet, or was read before it was wanted. Empty, it
 * holds no memory. One thread.
 */
#define BUF_BLOCK 16384              /* bytes; the size a slab for buffers must have */

struct buf_block;
struct buf {
    struct buf_block *head, *tail;
    size_t len;                      /* bytes in it */
};

void buf_append(struct buf *, struct slab *blocks, const void *at, size_t len);
/* Up to `max` runs from the front, without taking them out; returns how many. */
int buf_peek(const struct buf *, struct iovec *v, int max);
/* Visits the runs from the front: *at starts NULL; false at the end. */
bool buf_next(const struct buf *, const struct buf_block **at, struct iovec *run);
void buf_consume(struct buf *, struct slab *blocks, size_t len);       /* len <= buf->len */
void buf_clear(struct buf *, struct slab *blocks);

#endif
