/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NAMES_H
#define NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include "conf/snapshot.h"
#include "resolve.h"

/*
 * The names of endpoints and what they resolve to. A name is looked up as long as some configuration that is held has it, once
 * for all endpoints that share it: a reload knows at once what the configuration before it knew. Control thread.
 */
struct names;

/* The addresses of a name, ports 0, whenever they changed; `n` is not 0. Not from within names_hold(). */
typedef void names_fn(void *ctx, struct str host, const struct address *v, size_t n);

/* The resolver outlives it. */
struct names *names_new(struct resolver *, names_fn *, void *ctx);
void names_free(struct names **);                            /* NULL is legal */

/* Every name that an endpoint of the snapshot has; counted, one names_drop() each. The snapshot may go meanwhile. */
void names_hold(struct names *, const struct snapshot *);
void names_drop(struct names *, const struct snapshot *);    /* the same snapshot, or one with the same endpoints */

size_t names_unanswered(const struct names *);               /* names whose first look-up is not over */
size_t names_unresolved(const struct names *);               /* names that no address is known for */

/* What was known at a moment of an endpoint's name; n 0: nothing. Ports are 0. */
struct name_known { const struct address *v; size_t n; };

/* A copy for all endpoints of a snapshot, in the order of its upstreams and of the endpoints in each; nothing for those that
 * have no name. One block: mem_free() it. */
struct name_known *names_known(const struct names *, const struct snapshot *);

#endif
