/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ROUTE_H
#define ROUTE_H

#include <stdbool.h>
#include "conf/snapshot.h"
#include "http/headers.h"
#include "lib/check.h"

/*
 * Which route a request takes. Compiled once a snapshot: hosts in a hash table, paths in a tree of segments, so that a
 * look-up costs the same with ten routes as with ten thousand. Any thread may look up.
 *
 * Of all routes that match, the first by: host (exact, then the longest suffix, then any), path (segment by segment:
 * literal before :param; exact before subtree, longer subtree first), method (named before any), number of headers,
 * file order.
 */
#define ROUTE_PARAMS_MAX 16
#define ROUTE_SEGMENTS_MAX 64        /* of a match's path */
#define ROUTE_STEPS_MAX 256          /* nodes that a path may visit below one host, however its segments overlap */

/*
 * "/v1/" does not match "/v1". An ":id" takes one whole segment that is not empty. A path without a leading "/" (the
 * "*" of OPTIONS) goes to "/" alone. Methods and header values compare exactly, names of headers and hosts without
 * case; of a header that came twice the first line counts. Routes with the same host and path are tried one by one.
 */
struct route_hit {
    const struct route_conf *route;              /* NULL: none */
    bool other_method;                           /* none, but one would have matched with another method */
    size_t prefix_len;                           /* bytes of the path that a subtree match covered, its "/" included */
    unsigned steps;                              /* tree nodes and candidates looked at: what the look-up cost */
    unsigned n_params;
    struct { struct str name, value; } params[ROUTE_PARAMS_MAX];       /* into the route and the path */
};

/*
 * Builds snap->router in the snapshot's arena. Errors, all of which are told: the same match twice (names both), a path that no
 * normalised path can equal, bad or repeated :params, a rewrite that does not fit its match, and paths that overlap so much that
 * one look-up could visit more than ROUTE_STEPS_MAX nodes. Control thread.
 */
int route_compile(struct snapshot *, struct diags *) must_check;

/* `host` without port, any case; `path` normalised. */
void route_find(const struct router *, struct str host, struct str method, struct str path, const struct http_head *,
                struct route_hit *);

/*
 * The path to send for a hit with a rewrite, query not included; without one, `path` itself, and so for "*". A prefix
 * and what follows it are joined by exactly one "/".
 */
struct str route_rewrite(const struct route_hit *, struct str path, struct arena *);

#endif
