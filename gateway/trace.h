/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_H
#define TRACE_H

#include <stdint.h>

/*
 * The last steps that a worker's clients and requests took, for a post-mortem: a ring that costs a few stores a step and
 * is printed when a check fails. The owning worker writes.
 */
#define TRACE_SIZE 256               /* a power of two */

struct trace {
    uint32_t n;
    struct trace_entry {
        uint64_t now;                /* of the turn; 0: not read yet in it */
        uint64_t what;               /* id << 24 | kind << 16 | from << 8 | to; kind: 'c' client, 'r' request, 'u' upstream */
    } v[TRACE_SIZE];
};

static inline void trace_step(struct trace *t, uint64_t now, char kind, uint64_t id, unsigned from, unsigned to)
{
    struct trace_entry *e = &t->v[t->n++ % TRACE_SIZE];
    e->now = now;
    e->what = id << 24 | (uint64_t)kind << 16 | from << 8 | to;
}

/* To stderr, oldest first. */
void trace_print(const struct trace *, unsigned worker);

/* From now on a failed check of this thread prints that trace first. The trace must outlive the thread. */
void trace_on_failure(const struct trace *, unsigned worker);

#endif
