/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SEMAPHORE_IMPL_H
#define SEMAPHORE_IMPL_H

#include <pthread.h>
#include "filters/semaphore.h"
#include "filters/semaphore_keys.h"

/*
 * Private to the semaphores: semaphore.c decides, semaphore_stats.c counts what stands. How a semaphore works stands at the
 * top of semaphore.c.
 */
enum { SHARD_BITS = 6 };

struct shard {
    pthread_mutex_t lock;
    _Atomic uint32_t cap[FAIR_CLASSES];      /* written under the lock */
    uint32_t queue;
    uint64_t max_wait;
    struct semaphore_keys keys;
    uint64_t in_flight, waiting;             /* of all keys */
};

struct semaphores {
    bool keyed;
    size_t n;                        /* shards; one without keys */
    _Atomic uint64_t service;        /* ns, of all keys; 0: not known yet */
    _Atomic uint64_t service_max;    /* ns, of a sample */
    struct semaphore one;            /* without keys */
    struct shard shards[];
};

/* A bijection, so that two keys have two hashes (the end of MurmurHash3). */
static inline uint64_t semaphore_hash(uint64_t key)
{
    key = (key ^ key >> 33) * 0xff51afd7ed558ccdu;
    key = (key ^ key >> 33) * 0xc4ceb9fe1a85ec53u;
    return key ^ key >> 33;
}

static inline struct shard *semaphore_shard(struct semaphores *all, uint64_t hash)
{
    return &all->shards[all->keyed ? hash >> (64 - SHARD_BITS) : 0];
}

/* By key it is the key's own, for one caller's slow requests must not empty another's queue: 0 until one of them has ended. */
static inline uint64_t semaphore_service(const struct semaphores *all, const struct semaphore *s)
{
    return atomic_load_explicit(all->keyed ? &s->service : &all->service, memory_order_relaxed);
}

#endif
