/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BALANCE_H
#define BALANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "conf/snapshot.h"
#include "lib/rng.h"

/*
 * Which endpoint an attempt goes to. Only arithmetic: the caller says how each endpoint stands, and what it says may
 * differ from one pick to the next in everything but the order of the endpoints. One thread a state.
 *
 *   round robin     each usable endpoint in turn, from a random start.
 *   least requests  the endpoint with the fewest requests; equal ones in turn. Among more than BALANCE_SCAN_MAX, the
 *                   better of two random ones.
 *   hash            rendezvous: the same key goes to the same endpoint as long as that is usable; when one goes away,
 *                   only its own keys move, and they spread over all others.
 *
 * A node with a share below BALANCE_FULL takes part in that part of the picks only, and its requests weigh so much more:
 * in turns it gets that part of what another gets, and under load it has that part of another's requests. When no other is
 * usable it takes all. Keys stay where they are, whatever the share.
 */
#define BALANCE_NONE SIZE_MAX
#define BALANCE_SCAN_MAX 16
#define BALANCE_FULL 1000

struct balance_node {
    uint64_t id_hash;            /* of what the endpoint is called, not of its place in the list */
    uint32_t in_flight;          /* requests */
    uint16_t share;              /* 1 to BALANCE_FULL: of what it would get */
    bool usable;                 /* may be picked now: has an address, is not out, not tried before, not refused */
};

struct balance_state {
    uint64_t cursor;             /* where turns go on */
};

void balance_init(struct balance_state *, struct rng *);

/* The index of the endpoint, or BALANCE_NONE when none is usable. `key` counts for BALANCE_HASH only. */
size_t balance_pick(enum balance, struct balance_state *, const struct balance_node *, size_t n, uint64_t key,
                    struct rng *);

#endif
