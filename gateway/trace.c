/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the ring of steps. Runs while the process dies: no allocation, nothing but stderr. */
#include "trace.h"

#include <stdio.h>
#include "lib/check.h"

/* Rule zero: a failed check has no argument to find its worker by. Each thread has its own. */
static _Thread_local const struct trace *dying;
static _Thread_local unsigned dying_worker;

void trace_print(const struct trace *t, unsigned worker)
{
    uint32_t first = t->n > TRACE_SIZE ? t->n - TRACE_SIZE : 0;
    for (uint32_t i = first; i < t->n; i++) {
        const struct trace_entry *e = &t->v[i % TRACE_SIZE];
        fprintf(stderr, "trace worker=%u at=%llu %c%llu %u -> %u\n", worker, (unsigned long long)e->now,
                (char)(e->what >> 16), (unsigned long long)(e->what >> 24), (unsigned)(e->what >> 8 & 0xff),
                (unsigned)(e->what & 0xff));
    }
}

static void on_failure(void)
{
    if (dying)
        trace_print(dying, dying_worker);
}

void trace_on_failure(const struct trace *t, unsigned worker)
{
    dying = t;
    dying_worker = worker;
    check_set_hook(on_failure);
}
