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

/* The endpoint for a try: one that is not out. `tried`: a bit for each of the first 64 endpoints that is not to be used
 * again. ENDPOINT_NONE: *why says unresolved or no_endpoint. */
size_t upstream_pick(struct upstream *, uint64_t tried, uint64_t hash, enum reason *why);

/* How long until one that is out may be in again, ns, > 0: the end of the first ejection, or the next check or look-up. */
uint64_t upstream_wait(const struct upstream *);

/* Is there one that upstream_pick() could give, `tried` as there? */
bool upstream_untried(const struct upstream *, uint64_t tried);

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
