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
        uint64_t now, id;
        uint8_t kind, from, to;      /* kind: 'c' client, 'r' request, 'u' upstream connection */
    } v[TRACE_SIZE];
};

static inline void trace_step(struct trace *t, uint64_t now, char kind, uint64_t id, unsigned from, unsigned to)
{
    t->v[t->n++ % TRACE_SIZE] = (struct trace_entry){now, id, (uint8_t)kind, (uint8_t)from, (uint8_t)to};
}

/* To stderr, oldest first. */
void trace_print(const struct trace *, unsigned worker);

/* From now on a failed check of this thread prints that trace first. The trace must outlive the thread. */
void trace_on_failure(const struct trace *, unsigned worker);

#endif
