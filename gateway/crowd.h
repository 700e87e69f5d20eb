/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CROWD_H
#define CROWD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "conf/snapshot.h"
#include "lib/hash.h"
#include "lib/ip.h"
#include "lib/page.h"

/*
 * How many connections each client address has open at each listening address, and how fast it opens new ones: one table
 * of all workers, exact. IPv6 addresses count by their first 64 bits: whoever has one address there has all of them.
 *
 * The table holds who has connections, and who had some so lately that it still counts. It grows up to a bound; there it
 * forgets who has none open, soonest free first among a few, and lets in uncounted whom it has no room for: the cap on
 * all connections holds for those too. All functions but the first two: any thread. Times are monotonic ns.
 */
struct crowd;

enum crowd_verdict {
    CROWD_IN,            /* counted, if there was room */
    CROWD_FULL,          /* it has as many open as it may */
    CROWD_FAST,          /* it opens them too fast */
};

struct crowd_stats {
    uint64_t cells;              /* addresses that the table holds at this moment */
    uint64_t forgotten;          /* addresses whose rate was forgotten, for want of room */
    uint64_t uncounted;          /* connections let in uncounted, for want of room */
};

/* `most`: addresses that the table may hold, about; rounded up. Control thread. */
struct crowd *crowd_new(const struct hash_key *, size_t most);
void crowd_free(struct crowd **);                /* nobody is in it; NULL is legal */

/* What a listening address is told apart by, and a client at one. */
uint64_t crowd_door(const struct crowd *, const struct address *);
uint64_t crowd_key(const struct crowd *, uint64_t door, const struct ip *);      /* never 0 */

/* One more connection: may it be? CROWD_IN with *counted: it is followed by one crowd_leave(). CROWD_FAST: *wait is the time
 * until one more would not be too fast. A refused one costs the address nothing. */
enum crowd_verdict crowd_enter(struct crowd *, uint64_t key, const struct per_address_conf *, uint64_t now, bool *counted,
                               uint64_t *wait) must_check;
void crowd_leave(struct crowd *, uint64_t key, uint64_t now);

void crowd_stats(struct crowd *, struct crowd_stats *);
/* The same as Prometheus text. */
void crowd_metrics(struct crowd *, struct page *);

#endif
