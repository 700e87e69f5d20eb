/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SEMAPHORE_TIME_H
#define SEMAPHORE_TIME_H

#include <stdatomic.h>
#include <stdint.h>

/*
 * How long a slot is held: a moving average in which each sample counts for an eighth (EWMA). Any thread.
 *
 * Two workers at once may lose a sample: it is an average. A stream of an hour says little of how soon a slot comes free, so a
 * sample counts for eight times the average at the most; a service that has really become slow doubles the average with
 * each sample.
 */
enum { SEMAPHORE_TIME_SHARE = 8 };

/* `average`: ns; 0: nothing was learnt yet. `most`: ns that a sample counts for, whatever the average is. */
static inline void semaphore_time_learn(_Atomic uint64_t *average, uint64_t most, uint64_t held)
{
    uint64_t old = atomic_load_explicit(average, memory_order_relaxed), now;
    if (old != 0 && held / SEMAPHORE_TIME_SHARE > old)
        held = old * SEMAPHORE_TIME_SHARE;
    if (held > most)
        held = most;
    now = old == 0 ? held
        : held > old ? old + (held - old) / SEMAPHORE_TIME_SHARE : old - (old - held) / SEMAPHORE_TIME_SHARE;
    if (now != old)
        atomic_store_explicit(average, now, memory_order_relaxed);
}

/* `most` of a semaphore: twice the time in which one of all slots would come free for the first in the queue. */
static inline uint64_t semaphore_time_most(uint64_t max_wait, uint32_t max)
{
    unsigned __int128 most = (unsigned __int128)max_wait * max * 2;
    return most == 0 || most > UINT64_MAX ? UINT64_MAX : (uint64_t)most;
}

#endif
