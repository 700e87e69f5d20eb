/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SEMAPHORE_KEYS_H
#define SEMAPHORE_KEYS_H

#include <stdatomic.h>
#include <stdint.h>
#include "filters/fair_queue.h"
#include "lib/slab.h"

/*
 * The semaphores of some keys: a part of semaphore.c, which alone changes them. Not locked: the caller does that.
 *
 * A key is found by its hash, 64 bits in which all are as good as random; the table uses the low ones.
 */
struct semaphore {
    _Atomic uint64_t word;           /* semaphore_word.h */
    _Atomic uint64_t service;        /* ns that a slot is held, average; 0: not known yet */
    struct fair_queue queue;
    uint64_t hash;
    struct semaphore *chain;
};

struct semaphore_keys {
    struct semaphore **table;
    uint32_t size, n;                /* buckets; semaphores */
    struct slab slab;
};

void semaphore_keys_init(struct semaphore_keys *);
void semaphore_keys_fini(struct semaphore_keys *);                           /* must be empty */
struct semaphore *semaphore_keys_find(const struct semaphore_keys *, uint64_t hash);
/* Of a hash that has none yet. Nothing is out, nobody waits. */
struct semaphore *semaphore_keys_add(struct semaphore_keys *, uint64_t hash);
void semaphore_keys_drop(struct semaphore_keys *, struct semaphore *);       /* nobody waits */

#endif
