/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXCHANGE_H
#define EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>
#include "http/headers.h"
#include "lib/str.h"
#include "reason.h"

/*
 * The two message seams. A `struct down` is one exchange towards a client, a `struct up` one towards an endpoint. Both speak
 * messages: heads, data, trailers, an end; framing belongs to the codec behind. HTTP/1.1 is one implementation of each
 * (client.c; up_h1.c); HTTP/2 and sub-requests are others, and nothing between the seams knows which.
 *
 * Direction. What is called through a vtable goes outward (to the wire). What comes from the wire goes inward by the
 * functions at the end. An outward call never leads to an inward one before it returns: codecs note what happened
 * and report it from the worker's ready list. So the caller's objects stand where they stood.
 *
 * Bytes given outward by reference must live until the end of the callback. The owning worker only.
 */
struct request;
struct attempt;
struct down;
struct up;
struct proxy_ends;

/* How much body follows a head, as the other side of the seam needs to know it. */
struct body_frame {
    enum { FRAME_NONE, FRAME_LENGTH, FRAME_UNKNOWN } kind;
    uint64_t length;                 /* of FRAME_LENGTH */
};

struct down_ops {
    void (*interim)(struct down *, const struct http_head *);                 /* 1xx but 101; dropped for HTTP/1.0 */
    /* The final head. Hop-by-hop fields are dropped already; Content-Length is in it when the frame has a length. */
    void (*head)(struct down *, const struct http_head *, struct body_frame);
    void (*data)(struct down *, struct str);
    void (*end)(struct down *, const struct http_head *trailers);             /* the answer is whole; trailers may be NULL */
    size_t (*flush)(struct down *);                   /* returns the bytes that wait for the client to take some */
    size_t (*room)(struct down *);                    /* bytes that would not have to wait. A system call */
    void (*pause)(struct down *);                     /* no request body for now */
    void (*resume)(struct down *);
    void (*tunnel)(struct down *);                    /* after a head with status 101: bytes from now on, both ways */
    void (*fin)(struct down *);                       /* tunnel: no more bytes from the upstream */
    void (*done)(struct down *, enum reason);         /* the request is over. Not REASON_none or _replied: cut, unless end() came */
    void (*ends)(struct down *, struct proxy_ends *);         /* of the client's connection, as PROXY headers mean them */
};

struct down {
    const struct down_ops *ops;
    struct request *req;             /* NULL between requests */
};

struct up_ops {
    /* The request's head, from req: method, target, fields, and the block of forward.h. */
    void (*head)(struct up *, struct request *, struct body_frame);
    void (*data)(struct up *, struct str);
    void (*end)(struct up *, const struct http_head *trailers);               /* the request is whole */
    size_t (*flush)(struct up *);
    size_t (*room)(struct up *);
    void (*pause)(struct up *);                       /* no response for now */
    void (*resume)(struct up *);                      /* also: the request's deadline has changed */
    void (*fin)(struct up *);                         /* tunnel: no more bytes from the client */
    void (*release)(struct up *, bool reuse);         /* the exchange is over; the `up` is no longer the caller's */
};

struct up {
    const struct up_ops *ops;
    struct attempt *att;             /* NULL while it is in a pool */
};

/* ---- inward, called by a down's codec ---- */

/* What a codec knows of a request when its head is whole. */
struct request_start {
    const struct http_head *head;    /* in the request's arena already */
    struct str host;                 /* the authority to route by; {NULL, 0}: none (HTTP/1.0) */
    struct str target;               /* path and query in origin form, or "*" */
    struct body_frame body;
    struct str upgrade;              /* the protocol asked for; {NULL, 0}: none */
    bool expect_continue, te_trailers;
    bool absolute;                   /* the target came in absolute form: Host is to be made from `host` */
};

/* Makes the request's memory, under the view that the listener has; fill its head in, then request_begin(). */
struct listen_conf;
struct view;
struct ip;
struct forward_peer;
struct request *request_new(struct view *, struct down *, const struct listen_conf *, const struct ip *peer,
                            const struct forward_peer *, uint64_t connection);
void request_begin(struct request *, const struct request_start *);
/* A head that was refused: answered and logged, nothing is sent on. `head` may be NULL. */
void request_refuse(struct request *, enum reason, struct str fault);
void request_data(struct request *, struct slice);            /* payload; after it look whether pause() was called */
void request_trailers(struct request *, const struct http_head *);    /* before the last slice */
void request_batch_end(struct request *);                     /* all that one read brought was given */
void request_drained(struct request *);                       /* the client took what there was */
size_t request_room(struct request *);                        /* bytes of its body that would go on at once. A system call */
uint64_t request_body_timeout(const struct request *, uint64_t own);  /* ns between bytes of its body; own: the listener's */
void request_fin(struct request *);                           /* tunnel: the client's FIN */
void request_abort(struct request *, enum reason);            /* the client is gone, or broke the framing of its body */

/* ---- inward, called by an up's codec ---- */

void attempt_connected(struct attempt *);
/* Any of these may end the exchange (retry, refusal): the codec looks whether it still has one before it goes on. */
void attempt_interim(struct attempt *, const struct http_head *);
void attempt_head(struct attempt *, struct http_head *, struct body_frame, bool upgraded);
void attempt_data(struct attempt *, struct str);
void attempt_end(struct attempt *, struct http_head *trailers);           /* the answer is whole */
void attempt_batch_end(struct attempt *);
void attempt_drained(struct attempt *);                       /* the endpoint took what there was */
size_t attempt_room(struct attempt *);                        /* bytes of the answer that would go on at once. A system call */
void attempt_fin(struct attempt *);                           /* tunnel: the upstream's FIN */
void attempt_fail(struct attempt *, enum reason, const char *fault);

#endif
