/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPSTREAM_H
#define UPSTREAM_H

#include <stdbool.h>
#include <stdint.h>
#include "balance.h"
#include "conf/snapshot.h"
#include "health.h"
#include "lib/list.h"
#include "reason.h"

/*
 * A worker's endpoints: their addresses, how busy they are, and the idle connections to them. Last in, first out: the
 * connection used last is the one that the other side has least reason to have closed. The owning worker only.
 */
struct arena;
struct worker;
struct attempt;
struct up;
struct upconn;

struct endpoint {
    const struct endpoint_conf *conf;
    struct upstream *upstream;
    struct address *addresses;       /* owned; of the conf, or resolved */
    size_t n_addresses, next_address;
    bool answered;                   /* the first look-up is over */
    struct list idle;                /* of struct upconn, newest first */
    unsigned n_idle;
    unsigned in_flight;              /* attempts */
    bool http10;                     /* it answered as HTTP/1.0 last */
};

struct upstream {
    const struct upstream_conf *conf;
    struct worker *worker;
    struct health *health;           /* owned */
    struct endpoint *endpoints;
    struct balance_state balance;
    struct balance_node *nodes;      /* scratch for a pick: conf->n of them */
};

void upstream_init(struct upstream *, struct worker *, const struct upstream_conf *, struct shared_set *);
void upstream_fini(struct upstream *);       /* closes idle connections; no attempts may be left */

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

/* A connection for the attempt: from the pool unless `fresh`, else a new one, which reports attempt_connected() or
 * attempt_fail() later. NULL: it could not even be begun (errno). A pooled one is connected; *reused says so. */
struct up *endpoint_connect(struct endpoint *, struct attempt *, bool fresh, bool *reused);

/* For up_h1.c: puts a connection with nothing owed on it into the pool; false: it is full, close it. */
bool endpoint_pool(struct endpoint *, struct upconn *);
void endpoint_unpool(struct endpoint *, struct upconn *);

/* For up_h1.c: a connection begins or ends to serve an attempt. */
void endpoint_begin(struct endpoint *);
void endpoint_end(struct endpoint *);

void endpoint_set_addresses(struct endpoint *, const struct address *, size_t n);

#endif
