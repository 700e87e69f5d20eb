/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TIMERS_H
#define TIMERS_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/check.h"
#include "lib/clock.h"

/*
 * All deadlines of a worker: a binary heap of embedded timers, driven by one libevent timer (worker.c). One thread.
 *
 * Setting a timer to a later time only stores the new time: the heap is put right when the old one comes due. So a
 * connection whose deadline moves with every read costs one store a read.
 */
struct timer {
    uint64_t when;                        /* ns; TIME_NEVER: not set */
    uint64_t placed;                      /* the key it has in the heap; <= when */
    uint32_t index;                       /* its place in the heap + 1; 0: in none; TIMER_ASIDE: set aside in a run */
    void (*fire)(struct timer *, uint64_t now);
};

#define TIMER_ASIDE ((uint32_t)1 << 31)
#define TIMERS_RUN_MAX 128

struct timers {
    struct timer **heap;
    uint32_t n, cap;
    struct timer *aside[TIMERS_RUN_MAX];  /* during a run: what is due, in order */
    uint32_t aside_n;
    bool running;
};

void timers_init(struct timers *);
void timers_fini(struct timers *);                        /* must be empty */
/* When timers_run() is to be called next; TIME_NEVER: no need. May be earlier than any timer's `when`. */
uint64_t timers_next(const struct timers *);
/* Fires what is due at `now`, in order of `when`, TIMERS_RUN_MAX at the most: the rest is the next run's, and timers_next() says
 * that it is due. A fired timer is unset first, and may be set or freed by its callback. Timers set to <= now by a callback
 * fire in the next run; those it clears or ends do not fire. Returns how many fired. Not to be called by a callback. */
unsigned timers_run(struct timers *, uint64_t now);

void timer_init(struct timer *, void (*fire)(struct timer *, uint64_t now));
void timer_place(struct timers *, struct timer *);        /* slow path of timer_set() */
void timer_fini(struct timers *, struct timer *);         /* out of the heap at once; legal when it is in none */

static inline void timer_set(struct timers *ts, struct timer *t, uint64_t when)
{
    t->when = when;
    if (t->index == 0 || when < t->placed)
        timer_place(ts, t);
}

/* Forgets the deadline; the heap drops the entry when it comes up. */
static inline void timer_clear(struct timer *t) { t->when = TIME_NEVER; }
static inline bool timer_is_set(const struct timer *t) { return t->when != TIME_NEVER; }

#endif
