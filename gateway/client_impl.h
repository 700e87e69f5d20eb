/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLIENT_IMPL_H
#define CLIENT_IMPL_H

#include "client.h"
#include "http/chunked.h"
#include "http/parse.h"

/* Shared between client.c, client_read.c, client_write.c and client_proxy.c, and by nobody else. */

struct client_exchange {
    enum body_kind body;             /* of the request */
    uint64_t left;                   /* of BODY_LENGTH */
    struct chunked chunked;
    uint8_t minor;                   /* the client's HTTP/1.minor */
    bool in_trailers;
    bool body_done;
    bool keep_alive;                 /* what the client wants */
    bool head_request;
    bool expects;                    /* it waits for a 100 before it sends its body */
    bool close;                      /* the answer says, or means, that we close */
    bool head_put, chunked_out, no_body, until_close;
    bool ended;                      /* the answer is whole */
    bool reset;                      /* what it has not taken is not worth a byte of memory more */
    struct pace other;               /* of the direction that is not awaited now; its clock stands */
};

/* A body that nobody wants any more is read and dropped up to this size, so that a refusal does not cost the caller his
 * connection; a larger one does. */
#define CLIENT_DISCARD_MAX (64 * 1024)

extern const struct down_ops client_ops;

void client_set_state(struct client *, enum client_state);
void client_arm(struct client *, uint64_t ns);
void client_arm_state(struct client *);          /* the deadline that fits the state */
bool client_is_last(const struct client *);      /* no other request is taken from it */
void client_read(struct client *);
void client_done(struct down *, enum reason);
void client_begin(struct client *);               /* what its listener speaks begins: whom it is for is known */
bool client_proxy_read(struct client *);         /* true: the header is in, and what comes next may be read */
void client_proxy_refuse(struct client *, const char *why);
void client_ends(struct down *, struct proxy_ends *);
struct request *client_refused_request(struct client *);     /* for a head that is refused: request_refuse() it */
void client_finish(struct client *);             /* no more requests: flush, then close or linger */

#endif
