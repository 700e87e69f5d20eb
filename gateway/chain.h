/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CHAIN_H
#define CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include "filter.h"

/*
 * How the core runs a request's filters: forward for what goes up, in reverse for what comes down and for ends of scope.
 * Part of core.h, which includes it. The owning worker only.
 */
struct request;
struct use;
struct chain_conf;

/* chain.c */
enum chain { CHAIN_NEXT, CHAIN_PARKED, CHAIN_REPLY, CHAIN_FAIL, CHAIN_BODY, CHAIN_HOLD, CHAIN_RETRY, CHAIN_FAILOVER };
/* Uses of two chains behind each other, n > 0 in all; the second may be NULL if the first has all of them. */
struct use *chain_uses_make(struct request *, const struct chain_conf *, const struct chain_conf *, size_t n);
enum chain chain_request(struct request *);                  /* from the cursor on; CHAIN_FAIL: r->reason */
enum chain chain_leg(struct request *);
enum chain chain_attempt(struct request *);
bool chain_may_attempt(struct request *, uint64_t when);     /* would every filter of the leg let a further attempt begin? */
bool chain_endpoint(struct request *, size_t endpoint);      /* false: not this one */
enum chain chain_head(struct request *, struct call *);      /* call: the last hook's, for what it asks */
enum chain chain_response(struct request *);
void chain_trailers(struct request *);
void chain_attempt_end(struct request *);
void chain_leg_end(struct request *);
void chain_request_end(struct request *, const struct outcome *);
void call_init(struct call *, struct request *, struct use *);
void chain_cursor_next(struct request *);                    /* on to the next filter: what the last one awaited is off */
enum verdict chain_enforced(struct request *, const struct use *, enum verdict);     /* nothing of it in shadow mode */
/* The k-th filter that an answer meets on its way down: the leg's last first; NULL: no more. */
struct use *chain_down_use(struct request *, size_t k);
struct use *chain_up_use(struct request *, size_t k);

/* chain_body.c */
void chain_body_up(struct request *, struct slice);          /* through on_request_body to body_to_up() */
void chain_body_down(struct request *, struct slice);        /* through on_response_body to respond_sink() */
void chain_body_fini(struct request *, struct use *, size_t n);
bool chain_body_holds(const struct use *, size_t n);         /* some of them holds of the request's body */
void respond_sink(struct request *, struct slice);

#endif
