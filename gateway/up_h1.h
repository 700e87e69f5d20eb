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

/* SHAKING: connected, and TLS is being agreed on. */
enum upconn_state { UPCONN_CONNECTING, UPCONN_SHAKING, UPCONN_BUSY, UPCONN_TUNNEL, UPCONN_IDLE, UPCONN_CLOSED, UPCONN_STATES };

/* The PROXY header that a connection begins with. */
struct upconn_proxy {
    unsigned version;                /* 0: none */
    struct proxy_ends ends;
};

/* What a connection for an attempt must be like. */
struct upconn_need {
    struct upconn_proxy proxy;
    struct str name;                 /* whose certificate the endpoint must show; {NULL, 0}: TLS is not spoken */
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

/* As the attempt's upstream and its caller are. The name lives as long as the request, or the configuration. */
void upconn_need_of(const struct endpoint *, const struct attempt *, struct upconn_need *);
/* Is it such a one? Has it begun with that header, for the other side takes all that it brings for the caller's whom the header
 * names; and was the endpoint's certificate checked for that name, by what counts now? */
bool upconn_suits(const struct upconn *, const struct upconn_need *);
/* Was it made by what is believed and shown now? */
bool upconn_is_current(const struct upconn *);
/* A new connection. NULL: it failed at once (errno). */
struct upconn *upconn_open(struct endpoint *, const struct address *, struct attempt *, const struct upconn_need *);
/* A pooled one, taken out of the pool, begins an exchange. */
void upconn_begin(struct upconn *, struct attempt *);
void upconn_close_idle(struct endpoint *);
void upconn_close(struct upconn *);

#endif
