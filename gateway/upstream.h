/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPSTREAM_H
#define UPSTREAM_H

#include <stdbool.h>
#include <stdint.h>
#include "balance.h"
#include "conf/snapshot.h"
#include "endpoint.h"
#include "health.h"
#include "reason.h"

/* An upstream as a worker's view of one configuration has it. The owning worker only. */
struct arena;
struct worker;

struct upstream {
    const struct upstream_conf *conf;
    struct worker *worker;
    struct health *health;           /* owned */
    struct endpoint **endpoints;     /* conf->n, each held */
    struct balance_state balance;
    struct balance_node *nodes;      /* scratch for a pick: conf->n of them */
};

void upstream_init(struct upstream *, struct worker *, const struct upstream_conf *, struct shared_set *);
void upstream_fini(struct upstream *);       /* no attempts of this view may be left */
/* Another view is the current one: endpoints that it does not have keep no connections. */
void upstream_outdated(struct upstream *);

#define ENDPOINT_NONE SIZE_MAX

/* Some of an upstream's endpoints, by number. Zeroed: none. */
struct endpoint_set {
    uint64_t few;                    /* of the first 64 */
    uint64_t *more;                  /* of the others; NULL: none of them */
};

static inline bool endpoint_set_has(const struct endpoint_set *s, size_t i)
{
    return i < 64 ? s->few >> i & 1 : s->more && s->more[i / 64 - 1] >> i % 64 & 1;
}

static inline bool endpoint_set_any(const struct endpoint_set *s) { return s->few || s->more; }
/* `n`: how many endpoints there are. Memory is the arena's. */
void endpoint_set_add(struct endpoint_set *, size_t i, size_t n, struct arena *);
struct endpoint_set endpoint_set_copy(const struct endpoint_set *, size_t n, struct arena *);

/* The endpoint for a try: one that is in use and not of `out`. ENDPOINT_NONE: *why says unresolved or no_endpoint. */
size_t upstream_pick(struct upstream *, const struct endpoint_set *out, uint64_t hash, enum reason *why);

/* How long until one that is out may be in again, ns, > 0: the end of the first ejection, or the next check or look-up. */
uint64_t upstream_wait(const struct upstream *);

/* The first, from number `from` on, that upstream_pick() could give; ENDPOINT_NONE: there is none. */
size_t upstream_next(const struct upstream *, const struct endpoint_set *out, size_t from);

#endif
