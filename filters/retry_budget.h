/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RETRY_BUDGET_H
#define RETRY_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "lib/check.h"

/*
 * How many retries an upstream may be asked for, by all who ask: each first attempt pays a share of one in, a second of time
 * pays in one, a retry takes one out. The balance is at most RETRY_BUDGET_LEAST, or what the first attempts of one second
 * paid in if that is more. So in any interval of t seconds
 *
 *     retries <= max(RETRY_BUDGET_LEAST, one second's deposits) + share * first attempts + t
 *
 * whatever the order of threads. One second is of whole seconds of the clock, the present or the one before. Nothing is
 * rounded: a ten-thousandth of a retry is 100,000 ns of time exactly, and only whole retries are taken.
 *
 * Lock-free; any thread. `now`: monotonic ns. Threads' clocks may differ: a late one sees less in it, never more; a clock
 * that runs back mints nothing. `share` is in ten-thousandths, at most RETRY_BUDGET_ONE, and may change from call to call: what
 * was paid in stays.
 */
#define RETRY_BUDGET_ONE   10000u
#define RETRY_BUDGET_LEAST 10u       /* retries */

struct retry_budget {
    _Atomic uint64_t empty;          /* the time at which the balance was, or will be, none: it grows by one a second */
    _Atomic uint64_t seen;           /* first attempts: second << 32 | in it << 16 | in the one before */
};

void retry_budget_init(struct retry_budget *, uint64_t now);                     /* RETRY_BUDGET_LEAST are in it */
void retry_budget_deposit(struct retry_budget *, uint32_t share, uint64_t now);  /* a first attempt */
bool retry_budget_take(struct retry_budget *, uint32_t share, uint64_t now) must_check;   /* false: less than one is left */
void retry_budget_give_back(struct retry_budget *, uint32_t share, uint64_t now);         /* of one that was not made */
uint64_t retry_budget_left(const struct retry_budget *, uint32_t share, uint64_t now);    /* whole retries */

#endif
