/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VIEW_H
#define VIEW_H

#include "conf/snapshot.h"
#include "names.h"
#include "upstream.h"

/*
 * A worker's side of a snapshot: its reference, its filters' local state, its upstreams. Plain counts, for one thread uses it.
 * It lives as long as it is current, a listener has it, or a request that began under it goes on. Listeners give it to
 * requests: a request has one configuration from its first byte to its last.
 */
struct worker;

struct view {
    struct snapshot *snap;           /* one reference */
    struct worker *worker;
    unsigned users;                  /* requests, listeners, and 1 while it is current */
    void **locals;                   /* by instance slot */
    struct upstream *upstreams;      /* by upstream_conf.index */
};

/* A change to another snapshot. The caller's: it stands for the time of the call. */
struct view_change {
    struct snapshot *snap;                   /* the view takes a reference of its own */
    const int *sockets;                      /* by index of snap->listens: the socket of a listener that is new, taken over; -1:
                                                it has none; NULL: none is new */
    const struct name_known *known;          /* names_known() of it; NULL: nothing is known */
};

static inline void view_use(struct view *v) { v->users++; }
void view_drop(struct view *);               /* the last one frees: endpoints dropped, locals ended, snapshot released */
void view_retire(struct worker *);           /* the current one is no longer current */

/*
 * In one go: the snapshot becomes the worker's current one; listeners whose address it has too go on under it, with
 * their sockets and connections; those that it has not leave (listener.h); new ones are made, and started if the worker accepts.
 * The owning worker, or whoever made one that does not run yet.
 */
void view_change(struct worker *, const struct view_change *);

#endif
