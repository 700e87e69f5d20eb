/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All deadlines of a worker.
 *
 * A binary heap by `placed`. For whatever is in it placed <= when, so the root is never later than the first deadline;
 * what was moved to a later time, or cleared, is found out when it comes up to the root.
 *
 * A run goes in three steps: what is due is taken out of the heap and set aside, in order; its callbacks are
 * called; and what they set anew, of what was set aside, goes back into the heap. The heap is not looked at while
 * callbacks run: so a run ends even if each of them sets its timer to now, and no timer fires twice in it. An entry
 * that was set aside is due as long as `when` is still what it was placed by; a callback of another timer may change
 * that, or take it out.
 *
 * A run is bounded, for thousands who came together are late together, and each costs some system calls: events are not to
 * wait for the last of them.
 */
#include "timers.h"

#include <stddef.h>
#include "lib/mem.h"

void timers_init(struct timers *ts) { *ts = (struct timers){.heap = NULL}; }

void timers_fini(struct timers *ts)
{
    check(ts->n == 0 && !ts->running);
    mem_free(ts->heap);
    *ts = (struct timers){.heap = NULL};
}

void timer_init(struct timer *t, void (*fire)(struct timer *, uint64_t now))
{
    *t = (struct timer){.when = TIME_NEVER, .fire = fire};
}

uint64_t timers_next(const struct timers *ts) { return ts->n ? ts->heap[0]->placed : TIME_NEVER; }

static void grow(struct timers *ts)
{
    check(ts->cap < TIMER_ASIDE / 2);
    ts->cap = ts->cap ? ts->cap * 2 : 64;
    ts->heap = mem_realloc(ts->heap, ts->cap * sizeof(*ts->heap));
}

static void put(struct timers *ts, uint32_t at, struct timer *t)
{
    ts->heap[at] = t;
    t->index = at + 1;
}

static void sift_up(struct timers *ts, uint32_t at, struct timer *t)
{
    while (at > 0) {
        uint32_t parent = (at - 1) / 2;
        if (ts->heap[parent]->placed <= t->placed)
            break;
        put(ts, at, ts->heap[parent]);
        at = parent;
    }
    put(ts, at, t);
}

static void sift_down(struct timers *ts, uint32_t at, struct timer *t)
{
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= ts->n)
            break;
        if (child + 1 < ts->n && ts->heap[child + 1]->placed < ts->heap[child]->placed)
            child++;
        if (ts->heap[child]->placed >= t->placed)
            break;
        put(ts, at, ts->heap[child]);
        at = child;
    }
    put(ts, at, t);
}

static void heap_add(struct timers *ts, struct timer *t)
{
    if (ts->n == ts->cap)
        grow(ts);
    t->placed = t->when;
    sift_up(ts, ts->n++, t);
}

static void heap_remove(struct timers *ts, struct timer *t)
{
    uint32_t at = t->index - 1;
    check(at < ts->n && ts->heap[at] == t);
    struct timer *last = ts->heap[--ts->n];
    t->index = 0;
    if (last == t)
        return;
    if (at > 0 && last->placed < ts->heap[(at - 1) / 2]->placed)
        sift_up(ts, at, last);
    else
        sift_down(ts, at, last);
}

static void aside_add(struct timers *ts, struct timer *t)
{
    t->index = TIMER_ASIDE | ts->aside_n;
    ts->aside[ts->aside_n++] = t;
}

static void aside_remove(struct timers *ts, struct timer *t)
{
    uint32_t at = t->index & ~TIMER_ASIDE;
    check(at < ts->aside_n && ts->aside[at] == t);
    ts->aside[at] = NULL;
    t->index = 0;
}

void timer_place(struct timers *ts, struct timer *t)
{
    if (t->index & TIMER_ASIDE)
        return;
    if (t->index) {
        t->placed = t->when;
        sift_up(ts, t->index - 1, t);
    } else if (t->when != TIME_NEVER) {
        heap_add(ts, t);
    }
}

void timer_fini(struct timers *ts, struct timer *t)
{
    t->when = TIME_NEVER;
    if (t->index & TIMER_ASIDE)
        aside_remove(ts, t);
    else if (t->index)
        heap_remove(ts, t);
}

static void take_due(struct timers *ts, uint64_t now)
{
    while (ts->n && timers_next(ts) <= now && ts->aside_n < TIMERS_RUN_MAX) {
        struct timer *t = ts->heap[0];
        if (t->when == t->placed) {
            heap_remove(ts, t);
            aside_add(ts, t);
        } else if (t->when == TIME_NEVER) {
            heap_remove(ts, t);
        } else {
            t->placed = t->when;
            sift_down(ts, 0, t);
        }
    }
}

static unsigned fire_due(struct timers *ts, uint64_t now)
{
    unsigned fired = 0;
    for (uint32_t i = 0; i < ts->aside_n; i++) {
        struct timer *t = ts->aside[i];
        if (!t || t->when != t->placed)
            continue;
        aside_remove(ts, t);
        t->when = TIME_NEVER;
        t->fire(t, now);
        fired++;
    }
    return fired;
}

static void put_back(struct timers *ts)
{
    for (uint32_t i = 0; i < ts->aside_n; i++) {
        struct timer *t = ts->aside[i];
        if (!t)
            continue;
        t->index = 0;
        if (t->when != TIME_NEVER)
            heap_add(ts, t);
    }
    ts->aside_n = 0;
}

unsigned timers_run(struct timers *ts, uint64_t now)
{
    check(!ts->running);
    if (timers_next(ts) > now)
        return 0;
    ts->running = true;
    take_due(ts, now);
    unsigned fired = fire_due(ts, now);
    put_back(ts);
    ts->running = false;
    return fired;
}
