/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLIENT_H
#define CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include "exchange.h"
#include "forward.h"
#include "http/proxy_protocol.h"
#include "inbox.h"
#include "lib/ip.h"
#include "pace.h"
#include "stream.h"
#include "timers.h"
#include "worker.h"

/*
 * One client's HTTP/1.1 connection: the `struct down` of one request at a time. Pipelined requests wait, unread, until the
 * one before is answered. From the worker's slab; dies through its graveyard. Small, for most of them are idle: what an
 * exchange needs lives in the request's arena. The owning worker only.
 */
struct listener;

enum client_state {
    CLIENT_PROXY,        /* a PROXY header is to come first */
    CLIENT_IDLE,         /* between requests, or before the first */
    CLIENT_HEAD,         /* a head is coming in pieces */
    CLIENT_BODY,         /* a request is under way and its body is still coming */
    CLIENT_BUSY,         /* a request is under way and is whole */
    CLIENT_TUNNEL,
    CLIENT_CLOSING,      /* the last answer is not taken yet; then it closes */
    CLIENT_LINGER,       /* our side is shut down; what still comes is dropped, so that no reset destroys the answer */
    CLIENT_CLOSED,
    CLIENT_STATES
};

struct client {
    struct down down;
    struct stream s;
    struct timer timer;
    struct pace pace;                /* of what it sends, or takes; while that is awaited the timer is its */
    union {
        struct list link;            /* in worker->all_clients */
        struct grave grave;          /* once it is closed, and in no list */
    };
    struct inbox in;
    struct listener *listener;
    struct client_exchange *x;       /* of the request under way; in its arena */
    uint64_t id;
    struct ip peer;                  /* who holds the connection, or whom a trusted PROXY header names */
    struct forward_peer peer_text;
    uint8_t state;                   /* enum client_state; these fill up what the texts leave: a connection is 448 bytes */
    bool paused;                     /* nobody wants the request's body now */
    bool counted;                    /* in the worker's crowd: it leaves it when it dies */
    bool fresh;                      /* no request yet */
    bool half_close_keep;            /* as the last request's configuration has it, until its answer is taken */
    uint16_t asked;                  /* the listener's when it came */
    uint32_t discard;                /* bytes of the last request's body that are still to be dropped */
    struct proxy_ends *proxied;      /* what that header said; NULL: there was none */
};

/* How a connection from there begins. */
enum client_start { CLIENT_STARTS_PLAIN, CLIENT_STARTS_PROXY, CLIENT_REFUSED };
enum client_start client_start_of(const struct listen_conf *, const struct ip *peer);

/* Takes the connected socket over. `peer` is none that is refused; `counted`: listener_admit() said so. */
void client_accept(struct worker *, struct listener *, int fd, const struct ip *peer, bool counted);
/* For streams made elsewhere (tests/sim): a client whose stream is opened by `open`. */
struct client *client_new(struct worker *, struct listener *, const struct ip *peer);
void client_event(struct stream *, unsigned what);
void client_close(struct client *, enum reason);
/* No further request: one that is idle closes at once, a new one after its first request, for which it has half a second:
 * its client has just been let in and is about to ask. Others close after their answer. */
void client_drain(struct client *);

#endif
