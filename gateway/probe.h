/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROBE_H
#define PROBE_H

#include <stddef.h>
#include <stdint.h>
#include "conf/snapshot.h"
#include "health.h"
#include "lib/clock.h"
#include "names.h"

/*
 * Active checks: each endpoint of an upstream with `health` is asked for its path every so often, and health.h is told what came
 * of it. On the control thread's loop, apart from the data path. The first check of an endpoint comes at a random moment of
 * the first interval, the others follow in step.
 *
 * A check goes the way of a request: to the next of the endpoint's addresses, and to the others in turn while they cannot be
 * connected to. An endpoint that does not resolve (yet) is not checked.
 */
struct event_base;
struct probes;

/* One for each endpoint of a handle whose configuration has checks; the handles outlive it, or until the next
 * probes_change(). `seed`: of the first moments. */
struct probes *probes_new(struct event_base *, const struct clock *, const struct healths *, uint64_t seed);
/* Another configuration's handles instead; those of before are still open. An endpoint that was checked before keeps its step and
 * the check that runs. `known`: as names_known() has it; NULL: nothing. */
void probes_change(struct probes *, const struct healths *, const struct name_known *known);
void probes_free(struct probes **);                  /* breaks off what runs, without a result. NULL is legal */

/* What a name resolves to now, n > 0. Copied; a port of 0 becomes the endpoint's. */
void probes_addresses(struct probes *, struct str host, const struct address *, size_t n);

#endif
