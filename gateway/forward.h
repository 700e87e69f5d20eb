/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORWARD_H
#define FORWARD_H

#include <stdbool.h>
#include "conf/field.h"
#include "http/headers.h"
#include "lib/arena.h"
#include "lib/ip.h"
#include "lib/str.h"

/*
 * Who asked, through whom, and under which name: what weir believes of a request's forwarding fields, and what it says
 * of itself to the next one (RFC 9110 7.6.3, RFC 7239, and the X-Forwarded-* that came before it). The owning worker.
 */

/* Is it the address of a proxy whose word about the caller counts? Never of family 0. */
bool forward_trusts(const struct cidrs *trusted, const struct ip *);

/*
 * The caller: `peer`, or, while a hop is trusted, whom it names: the hops of X-Forwarded-For, or of Forwarded if there
 * is none, from the right. The first one that is not trusted is the caller; what it says of others is not looked at.
 * Stops at the last address it could read when an entry is none, and after 32 hops. To be called before anything edits
 * the head.
 * A trusted proxy must write X-Forwarded-For itself or take it away: with both fields there, Forwarded is not read.
 */
void forward_client_ip(const struct http_head *, const struct ip *peer, const struct cidrs *trusted, struct ip *client);

/* Did the caller, or somebody on the way, speak TLS, by X-Forwarded-Proto or Forwarded? Of a trusted peer's head, before anything
 * edits it. One word for it is enough: who forges it deceives nobody but himself, and who is sent to TLS although he came by it
 * is sent for ever. */
bool forward_says_https(const struct http_head *);

/* A connection's peer, written once for all of its requests (and its log lines). */
struct forward_peer {
    uint8_t family;              /* of struct ip */
    uint8_t len;
    char text[IP_TEXT];          /* ip_format() */
};

void forward_peer_init(struct forward_peer *, const struct ip *);

struct forward_args {
    const struct forward_peer *peer;
    bool trusted;                /* forward_trusts() of it */
    bool tls;                    /* it came over TLS */
    struct str host;             /* what the client sent, uri_is_authority(); empty or {NULL, 0}: none */
};

/*
 * The lines that weir adds to a request, ready to be written behind those that came: Via (an earlier one stays), and
 * X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Forwarded. In the arena; {NULL, 0} never.
 *
 *   peer not trusted   all that came of these, X-Real-IP and every other X-Forwarded-* are dropped, ours stand for them
 *   peer trusted       X-Forwarded-For and Forwarded that came go on with the peer behind them, in one line each; a
 *                      well-formed X-Forwarded-Proto and -Host stays. Who speaks only one of the two dialects is
 *                      continued in that one alone, for in the other the peer would look like the first hop.
 *
 * A field that a filter added to the head stands in place of ours. May be called again for another attempt, after more
 * edits: it does not count what it dropped itself as gone. Aliases (X_Forwarded_For) were dropped by the parser.
 */
struct str forward_request(struct http_head *, struct arena *, const struct forward_args *);

/* The Via line of a response that came as HTTP/1.`minor`. */
struct str forward_via(unsigned minor);

#endif
