/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROBE_H
#define PROBE_H

#include <stddef.h>
#include <stdint.h>
#include "conf/snapshot.h"
#include "health.h"
#include "lib/clock.h"

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

/* One for each endpoint of a handle whose configuration has checks; the handles outlive it. `seed`: of the first moments. */
struct probes *probes_new(struct event_base *, const struct clock *, const struct healths *, uint64_t seed);
void probes_free(struct probes **);                  /* breaks off what runs, without a result. NULL is legal */

/* What its name resolves to now, ports included. Copied. */
void probes_addresses(struct probes *, size_t upstream, size_t endpoint, const struct address *, size_t n);

#endif
