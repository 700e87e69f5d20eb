/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_H
#define RING_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

/*
 * A bounded ring of variable-length records: one producer thread, one consumer thread, no lock. A record that does not
 * fit is dropped and counted: the producer never waits. A record is contiguous, so the end of the buffer may be
 * skipped; one of up to half the size always fits an empty ring, a longer one is always dropped.
 */
struct ring {
    char *bytes;
    size_t size;                    /* a power of two */
    char apart0[64];                /* spacers keep the two threads' words in different cache lines, however the */
    _Atomic size_t head;            /* ring itself is aligned. Written up to here; producer */
    _Atomic size_t wrap;            /* where the bytes of the last lap the producer left end; producer */
    char apart1[64];
    _Atomic size_t tail;            /* read up to here; consumer */
    char apart2[64];
    _Atomic uint64_t dropped;       /* records; producer, read by any thread */
    size_t tail_seen;               /* producer: the tail when it was last looked at */
    size_t place;                   /* producer: where the reserved bytes begin */
    size_t reserved;                /* producer: contiguous bytes handed out by ring_reserve() */
};

void ring_init(struct ring *, size_t size);              /* rounded up to a power of two */
void ring_fini(struct ring *);
/* A contiguous place for a record of up to `len` > 0 bytes, or NULL: full, and counted. Producer. */
char *ring_reserve(struct ring *, size_t len);
/* Publishes the first `len` bytes of the place; 0: nothing, and the place is given up. Producer. */
void ring_commit(struct ring *, size_t len);
/* The next run of whole records to read, contiguous, as many as there are up to the end of the buffer; 0 when empty.
 * Consumer. Give back with ring_release(), all or a part of it. */
size_t ring_peek(struct ring *, const char **at);
void ring_release(struct ring *, size_t len);

#endif
