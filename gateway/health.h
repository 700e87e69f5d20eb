/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HEALTH_H
#define HEALTH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "balance.h"
#include "conf/snapshot.h"
#include "filter.h"
#include "lib/clock.h"

/*
 * How an upstream's endpoints are: which are out and until when, what was seen of them, and what share one that came back
 * gets. The state of an endpoint is found by its upstream's name and its URL; it is one for all workers and outlives
 * snapshots. Whoever looks at it opens a handle of his own.
 *
 *   passive   the ends of attempts are reported. `failures` in a row, or `ratio` of at least `min_requests` in the window,
 *             eject it for base * n, at most max; n: how often in a row, that is, again before it was in for as long as it
 *             had been out. Never so that more than `share` of the endpoints are out; those that are out for other
 *             reasons count.
 *   active    the results of checks are reported (probe.h): `fall` bad ones in a row take it out, `rise` good ones
 *             bring it back. As many as there are.
 *   return    from either: its share of new requests grows from a tenth to the whole over slow_start.
 *
 * Time is what the caller says. Any thread, but where another is named; no locks: a request reads one word of an endpoint.
 */
struct page;
struct health_upstream;

enum health_state { HEALTH_UP, HEALTH_RAMPING, HEALTH_EJECTED, HEALTH_DOWN, HEALTH_UNRESOLVED, HEALTH_STATES };

/* What an attempt's end says of its endpoint. */
enum health_mark { HEALTH_NEUTRAL, HEALTH_GOOD, HEALTH_BAD };

enum { HEALTH_STRIPES = 8, HEALTH_SLOTS = 10 };

/* What is written for each request, apart for workers, and apart from what is read for each. */
struct health_stripe {
    _Atomic uint64_t slots[HEALTH_SLOTS];    /* of the rolling window: when, bad ones, all */
    _Atomic uint64_t in_flight;              /* attempts begun less attempts ended: only the sum over all stripes counts */
    char apart[64];
};

/* Private to health*.[ch] but for `back`. Zeroed: nothing was ever wrong. */
struct health_endpoint {
    _Atomic uint64_t back;           /* 0: all is well. Else when it came, or will come, back; TIME_NEVER: when checks say so */
    _Atomic uint64_t returned;       /* the last `back`; attempts that began before it tell of an earlier life. 0: never out */
    _Atomic uint32_t streak;         /* failures in a row */
    _Atomic uint32_t last_failure;   /* struct health_cause in a word; 0: none yet */
    char apart[64];
    struct health_stripe stripes[HEALTH_STRIPES];
    /* Of transitions; written by who has the upstream's turn. */
    _Atomic uint64_t seen;           /* since when it is known */
    _Atomic uint64_t out_since;      /* when it was ejected or went down last */
    _Atomic uint64_t ejected_until, ejected_for;     /* of the last ejection */
    _Atomic uint64_t ejections;
    _Atomic uint32_t in_a_row;       /* ejections */
    _Atomic bool untold;             /* its return from an ejection stands in no log yet */
    _Atomic bool down;
    _Atomic uint32_t addresses;      /* known; 0: it does not resolve */
    /* Of checks; written by the control thread. */
    _Atomic uint64_t checks_ok, checks_failed;
    _Atomic uint32_t passes, fails;  /* in a row */
};

struct health {
    const struct upstream_conf *conf;
    struct shared_set *set;
    struct health_upstream *upstream;
    struct health_endpoint **v;      /* conf->n */
    size_t most_out;                 /* endpoints that may be out when one is ejected, it included */
    uint64_t slot_ns;                /* how long a slot of the window is */
};

/* The state of the upstream's endpoints, found or made. An endpoint that is out because of what the configuration no longer asks
 * for (checks, ejection) returns: open it when nobody acts by the old one any more. The conf must outlive the handle. */
struct health *health_open(struct shared_set *, const struct upstream_conf *, uint64_t now);
void health_close(struct health **);

/* Does it get its whole share? What a request asks of each endpoint. */
static inline bool health_well(const struct health *h, size_t endpoint)
{
    return atomic_load_explicit(&h->v[endpoint]->back, memory_order_relaxed) == 0;
}

/* The part of its share that it gets: 0: it is out; else up to BALANCE_FULL. Who asks first after an ejection logs its end. */
unsigned health_share(struct health *, size_t endpoint, uint64_t now);

enum health_mark health_mark(const struct outcome *);
/* An attempt at it ended so, at out->ended. `worker`: the number of who reports. */
void health_report(struct health *, size_t endpoint, unsigned worker, const struct outcome *);
/* A check of it ended: with a status, or with the reason that there is none. A 429 that is not asked for counts neither way.
 * Control thread. */
void health_checked(struct health *, size_t endpoint, enum reason, int status, uint64_t now);
/* So many addresses are known for it. */
static inline void health_addresses(struct health_endpoint *e, size_t n)
{
    atomic_store_explicit(&e->addresses, (uint32_t)n, memory_order_relaxed);
}

/* An attempt begins (1) or ends (-1) to use it. */
static inline void health_in_flight(struct health_endpoint *e, unsigned worker, int by)
{
    atomic_fetch_add_explicit(&e->stripes[worker % HEALTH_STRIPES].in_flight, (uint64_t)(int64_t)by, memory_order_relaxed);
}

/* ---- for people ---- */

struct health_cause { char text[32]; };              /* "connect_failed", "503"; "" */

struct health_seen {
    enum health_state state;
    uint64_t since;                  /* when the state began */
    uint64_t back_in;                /* ns until it comes back from its ejection; 0: it is not ejected */
    unsigned share;                  /* of BALANCE_FULL */
    unsigned addresses;
    uint64_t in_flight, ejections, checks_ok, checks_failed;
    struct health_cause last_failure;
};
void health_look(struct health *, size_t endpoint, uint64_t now, struct health_seen *);
const char *health_state_name(enum health_state);

/* One handle for each upstream of a snapshot, by its index. */
struct healths { struct health **v; size_t n; };
void healths_open(struct healths *, struct snapshot *, uint64_t now);
void healths_close(struct healths *);

void healths_json(struct healths *, uint64_t now, struct page *);       /* GET /upstreams */
void healths_metrics(struct healths *, uint64_t now, struct page *);

/* Private to health*.c: counters that outlive the endpoints that they are of. */
struct health_upstream {
    _Atomic bool turn;               /* somebody is taking an endpoint out, or bringing one back */
    _Atomic uint64_t ejections, checks_ok, checks_failed;
};

#endif
