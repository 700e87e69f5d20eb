/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BREAKER_ENDPOINTS_H
#define BREAKER_ENDPOINTS_H

#include <stddef.h>
#include <stdint.h>
#include "filters/breaker_state.h"
#include "lib/str.h"

/*
 * The breakers of an upstream's endpoints, by their URLs. One is made when its endpoint is first used and stays as
 * long as the table, so that a pointer to it is good for any attempt, and what is known of an endpoint outlives a
 * reload that drops and brings back its name. At most BREAKER_ENDPOINTS_MAX: those that come later have none.
 *
 * Any thread: found without a lock, made with one.
 */
enum { BREAKER_ENDPOINTS_MAX = 1024 };

struct breaker_endpoint {
    struct breaker_state state;
    struct str url;                      /* its own copy */
};

struct breaker_endpoints;

struct breaker_endpoints *breaker_endpoints_new(enum breaker_hold);      /* of those to come */
void breaker_endpoints_free(struct breaker_endpoints *);                 /* NULL is legal */
/* NULL: there is none. */
struct breaker_endpoint *breaker_endpoints_find(const struct breaker_endpoints *, struct str url);
/* The same, but made if there is none. NULL: there are too many. */
struct breaker_endpoint *breaker_endpoints_get(struct breaker_endpoints *, struct str url);
/* Of all, and of those to come. One thread at a time. */
void breaker_endpoints_hold(struct breaker_endpoints *, enum breaker_hold, uint64_t now);
/* All in turn, from *at = 0 on; NULL: no more. */
const struct breaker_endpoint *breaker_endpoints_next(const struct breaker_endpoints *, size_t *at);

#endif
