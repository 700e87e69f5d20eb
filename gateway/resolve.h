/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RESOLVE_H
#define RESOLVE_H

#include <stdint.h>
#include "conf/snapshot.h"
#include "lib/clock.h"
#include "lib/str.h"

/*
 * Names to addresses, in the background, with c-ares on the control thread's event base. A watched name is looked up at
 * once and again when its TTL has run out (at least 1 s, at most 5 min; after a failure with backoff 1 s .. 30 s). The
 * last good answer stands while later look-ups fail. /etc/hosts comes before DNS, as nsswitch.conf says; resolv.conf is
 * read once.
 */
#define RESOLVE_MAX 64

struct event_base;
struct resolver;
struct resolve_watch;

struct resolved {
    struct address *v;           /* ports not set (0); IPv4 and IPv6, in the order of RFC 6724; at most RESOLVE_MAX. The
                                    callee's own for the time of the call: it may write the ports in */
    size_t n;                    /* 0: the name does not resolve; error says why */
    const char *error;
};

/*
 * Called on the control thread whenever the set of addresses changed (another order is no change), and once after the
 * first look-up, failed or not; never from within resolver_watch(). It may watch and unwatch, also itself.
 */
typedef void resolve_fn(void *ctx, const struct resolved *);

struct resolver *resolver_new(struct event_base *, const struct clock *);
/* For tests: asks "127.0.0.1:5353" (a list, with commas) instead of the system's servers, twice, and knows no search
 * domains. */
struct resolver *resolver_new_with_servers(struct event_base *, const struct clock *, const char *servers,
                                           unsigned timeout_ms);
/* All watches must be gone. Not from within a callback. */
void resolver_free(struct resolver *);

/* `name` is copied. */
struct resolve_watch *resolver_watch(struct resolver *, struct str name, resolve_fn *, void *ctx);
/* No callback comes after it. NULL is legal. */
void resolver_unwatch(struct resolve_watch **);

/* How long an answer with that TTL (in s) stands, and how long to wait after the n-th failure in a row (n > 0): ns. */
uint64_t resolve_wait_good(uint32_t ttl);
uint64_t resolve_wait_failed(unsigned failures);

#endif
