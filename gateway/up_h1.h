/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UP_H1_H
#define UP_H1_H

#include "conf/snapshot.h"
#include "exchange.h"
#include "http/chunked.h"
#include "http/proxy_protocol.h"
#include "inbox.h"
#include "stream.h"
#include "timers.h"
#include "worker.h"

/*
 * A connection to an endpoint, speaking HTTP/1.1: the `struct up` of one attempt at a time, or idle in the endpoint's pool.
 * From the worker's slab; dies through its graveyard. The owning worker only.
 *
 * It enters the pool only when the request was sent whole, the answer was read whole, nothing came behind it, and both
 * sides want to keep it.
 */
struct endpoint;

enum upconn_state { UPCONN_CONNECTING, UPCONN_BUSY, UPCONN_TUNNEL, UPCONN_IDLE, UPCONN_CLOSED, UPCONN_STATES };

/* The PROXY header that a connection begins with. */
struct upconn_proxy {
    unsigned version;                /* 0: none */
    struct proxy_ends ends;
};

struct upconn {
    struct up up;
    struct stream s;
    struct endpoint *endpoint;
    struct list link;                /* in the endpoint's pool */
    struct timer timer;              /* connect, first byte, idle, pool: by state */
    struct grave grave;
    struct inbox in;
    struct upconn_proxy *proxy;      /* owned; NULL: no header */
    uint64_t id;
    uint64_t exchange;               /* changes with each begin and end: tells whether the one at hand goes on */
    enum upconn_state state;
    enum { RECV_HEAD, RECV_BODY, RECV_TRAILERS, RECV_DONE } recv;
    enum body_kind body;             /* of the answer */
    uint64_t left;                   /* of BODY_LENGTH */
    struct chunked chunked;
    bool head_request;
    bool send_chunked;
    bool sent_whole;                 /* the request's end was put */
    bool await_continue;
    bool keep_alive;
    bool spoke;                      /* an interim answer came: it has seen the request */
    bool extra;                      /* bytes came behind the answer */
    bool paused;
    bool looks;                      /* the timer is to look for an error first: STREAM_LOOK_NS */
    bool awaits_answer;              /* the timer is the answer's first byte's */
};

/* The header that a connection for the attempt must have begun with, as its upstream and its caller are. */
void upconn_proxy_of(const struct attempt *, struct upconn_proxy *);
/* Has the connection begun with that one? Only then may it serve who needs it: the other side takes all that it brings for
 * the caller's whom the header names. */
bool upconn_suits(const struct upconn *, const struct upconn_proxy *);
/* A new connection. NULL: it failed at once (errno). */
struct upconn *upconn_open(struct endpoint *, const struct address *, struct attempt *, const struct upconn_proxy *);
/* A pooled one, taken out of the pool, begins an exchange. */
void upconn_begin(struct upconn *, struct attempt *);
void upconn_close_idle(struct endpoint *);
void upconn_close(struct upconn *);

#endif
