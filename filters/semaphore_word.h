/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SEMAPHORE_WORD_H
#define SEMAPHORE_WORD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "lib/check.h"

/*
 * The state of a semaphore in 64 bits: how many slots are out (low half), and how many wait for one (high half). A part
 * of semaphore.c, which alone includes this.
 *
 * Every change is one atomic read-modify-write of the whole. Without the lock a slot may be taken and given back while
 * nobody waits; such an exchange fails if a waiter came, or the count moved, since it was looked at. That the word may
 * have moved away and back does no harm: it was decided upon nothing else.
 */
#define WORD_SLOT  ((uint64_t)1)
#define WORD_PLACE ((uint64_t)1 << 32)

static inline uint32_t word_slots(uint64_t word) { return (uint32_t)word; }
static inline uint32_t word_places(uint64_t word) { return (uint32_t)(word >> 32); }

static inline uint64_t word_load(const _Atomic uint64_t *at) { return atomic_load_explicit(at, memory_order_acquire); }

/* To `next` if it is still *word; else *word is what it is. */
static inline bool word_exchange(_Atomic uint64_t *at, uint64_t *word, uint64_t next)
{
    return atomic_compare_exchange_weak_explicit(at, word, next, memory_order_acq_rel, memory_order_relaxed);
}

/* Anywhere. False: there is no slot for who may use `cap`, or somebody waits. */
static inline bool word_take_slot(_Atomic uint64_t *at, uint32_t cap)
{
    uint64_t word = atomic_load_explicit(at, memory_order_relaxed);
    do {
        if (word >= cap)             /* a waiter counts more than any cap */
            return false;
    } while (!word_exchange(at, &word, word + WORD_SLOT));
    return true;
}

/* Anywhere. False: somebody waits for it, nothing was done. */
static inline bool word_drop_slot(_Atomic uint64_t *at)
{
    uint64_t word = atomic_load_explicit(at, memory_order_relaxed);
    do {
        check(word_slots(word) > 0);
        if (word_places(word) > 0)
            return false;
    } while (!word_exchange(at, &word, word - WORD_SLOT));
    return true;
}

/* All that follow: with the lock. */

/* Past those who wait, who may not use it. False: there is no slot for who may use `cap`. */
static inline bool word_pass(_Atomic uint64_t *at, uint32_t cap)
{
    uint64_t word = atomic_load_explicit(at, memory_order_relaxed);
    do {
        if (word_slots(word) >= cap)
            return false;
    } while (!word_exchange(at, &word, word + WORD_SLOT));
    return true;
}

/* False: there is a slot, nothing was done. */
static inline bool word_take_place(_Atomic uint64_t *at, uint32_t cap)
{
    uint64_t word = atomic_load_explicit(at, memory_order_relaxed);
    do {
        if (word_slots(word) < cap)
            return false;
    } while (!word_exchange(at, &word, word + WORD_PLACE));
    return true;
}

static inline void word_drop_place(_Atomic uint64_t *at)
{
    uint64_t word = atomic_fetch_sub_explicit(at, WORD_PLACE, memory_order_acq_rel);
    check(word_places(word) > 0);
}

/* The slot is for whom the caller grants it to, if somebody waits. */
static inline void word_return_slot(_Atomic uint64_t *at)
{
    uint64_t word = atomic_fetch_sub_explicit(at, WORD_SLOT, memory_order_acq_rel);
    check(word_slots(word) > 0);
}

/* A place becomes a slot. */
static inline void word_grant(_Atomic uint64_t *at)
{
    uint64_t word = atomic_fetch_add_explicit(at, WORD_SLOT - WORD_PLACE, memory_order_acq_rel);
    check(word_places(word) > 0);
}

#endif
