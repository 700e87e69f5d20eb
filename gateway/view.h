/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VIEW_H
#define VIEW_H

#include "conf/snapshot.h"
#include "upstream.h"

/*
 * A worker's side of a snapshot: its reference, its filters' local state, its upstreams with their pools. Plain counts, for
 * one thread uses it. It lives as long as it is current or a request that began under it does.
 */
struct worker;

struct view {
    struct snapshot *snap;           /* one reference */
    struct worker *worker;
    unsigned users;                  /* requests, and 1 while it is current */
    void **locals;                   /* by instance slot */
    struct upstream *upstreams;      /* by upstream_conf.index */
};

struct view *view_new(struct worker *, struct snapshot *);
static inline void view_use(struct view *v) { v->users++; }
void view_drop(struct view *);               /* the last one frees: pools closed, locals ended, snapshot released */
void view_retire(struct worker *);           /* the current one is no longer current */

/* New addresses of an endpoint's name, by mail. `n` 0: the first look-up failed; what was known stays. Any thread. */
void view_post_addresses(struct worker *, const struct snapshot *, size_t upstream, size_t endpoint,
                         const struct address *, size_t n);

#endif
