/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REQUEST_H
#define REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include "http/headers.h"
#include "lib/arena.h"
#include "lib/ip.h"
#include "lib/str.h"
#include "reason.h"

/*
 * What a filter may know of a request and change in it. All strings live as long as the request. The owning worker only.
 */
struct request;

struct str request_method(const struct request *);
struct str request_path(const struct request *);             /* normalised: what was matched and is sent */
struct str request_query(const struct request *);            /* as it came, without "?"; {NULL, 0}: none */
struct str request_host(const struct request *);             /* without port; lower or upper case as it came */
struct str request_route(const struct request *);            /* the route's name */
struct str request_param(const struct request *, struct str name);      /* of `:name` in the route's path */
/* The value of the first cookie of that name, as it came; {NULL, 0}: none. *repeated (may be NULL): there is another. */
struct str request_cookie(const struct request *, struct str name, bool *repeated);
const struct ip *request_client(const struct request *);     /* the caller: the peer, or whom trusted proxies name */
const struct ip *request_peer(const struct request *);       /* who holds the connection */
/* Did the caller speak TLS, with weir or, as a trusted proxy says, on the way to it? */
bool request_is_https(const struct request *);
struct str request_id(const struct request *);               /* {NULL, 0} until a filter set it */
void request_set_id(struct request *, struct str id);        /* copied */
uint64_t request_arrived(const struct request *);            /* monotonic ns of the head's arrival */
uint64_t request_wall(const struct request *);               /* ns since 1970, now: for dates in messages, not to decide by */
uint64_t request_deadline(const struct request *);           /* monotonic ns; TIME_NEVER: none */
/* Brings the deadline forward, never back: of all that are set the first one counts. Before wait_until(), if both are called.
 * `absolute`: it holds for the answer's body as well, not only until its head, and from the first such one on the route's own
 * `timeout` holds no longer, even if it would have been sooner. */
void request_set_deadline(struct request *, uint64_t at, bool absolute);
/* The same, not absolute, because the caller asked for it: if it strikes, outcomes say BY_CLIENT, for it is no failure of
 * anybody's that he would not wait. */
void request_set_caller_deadline(struct request *, uint64_t at);
/* Tells each endpoint in a field of that name how many ms there are until the deadline when it gets the request: rounded
 * down, at least 1; without a deadline there is no such field. What the caller sent under the name goes no further. The name
 * must live as long as the request. */
void request_tell_left(struct request *, struct str field);

/* How long each part of an exchange may take, in ns; 0: as its owner (listener, upstream) says. Set in on_request and in
 * on_attempt. Of a listener's, a route's and an upstream's filters the last word counts; an upstream's is forgotten when
 * another upstream is entered. */
struct request_times {
    uint64_t connect;                /* to an endpoint */
    uint64_t tls;                    /* the handshake with it */
    uint64_t first_byte;             /* from the request's last byte to the answer's first */
    uint64_t idle;                   /* between bytes, of an answer or of a request on its way up */
    uint64_t client_body;            /* between bytes of the request's body */
};
struct request_times *request_times(struct request *);

/* May it be sent once more although an endpoint may have acted on it: an idempotent method, or an Idempotency-Key? */
bool request_safe_to_repeat(const struct request *);
/* Can its body be sent again: is all of it that went up still there? */
bool request_body_kept(const struct request *);
unsigned request_attempts(const struct request *);           /* begun so far */
bool request_endpoint_picked(const struct request *);        /* did the last one of them come to an endpoint? */
/* Has the upstream that is entered an endpoint in use that the attempts of this leg have not tried? */
bool request_endpoint_left(const struct request *);
/* The endpoints of the upstream that is entered that are in use: the first from number `from` on; SIZE_MAX: no more. */
size_t request_endpoint_in_use(const struct request *, size_t from);
/* The endpoint's URL as configured, of the upstream that is entered; {NULL, 0} for SIZE_MAX. */
struct str request_endpoint(const struct request *, size_t endpoint);
/* Says why something was not done for the request, such as a retry; the log line shows the last one. */
void request_note(struct request *, enum reason);
bool request_committed(const struct request *);              /* a byte of the final answer went out */
struct arena *request_arena(struct request *);

/* What goes to the upstream: edit in on_request (and in on_attempt: the edit stays for later attempts). What an upstream's filters
 * edit is forgotten when another upstream is entered. */
struct http_head *request_head(struct request *);

/* The head that came or will be sent: legal in on_head (NULL when none came) and on_response. */
struct http_head *response_head(struct request *);
int response_status(const struct request *);
/* Trailers of the response: legal in on_trailers; NULL: none. */
struct http_head *response_trailers(struct request *);

/* In on_head, after a HOLD: the body bytes held so far; *whole: there are no more. */
struct str response_held(struct request *, bool *whole);

/* The collected request body: legal in on_request of a filter with needs_body. */
struct str request_body_seen(struct request *, bool *whole);

/* Attributes: declared at load by `provides`, found there by load_attribute(); {NULL, 0}: not set. */
struct str request_attribute(const struct request *, unsigned index);
void request_set_attribute(struct request *, unsigned index, struct str value);       /* copied */

#endif
