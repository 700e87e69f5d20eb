/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TLS_HELLO_H
#define TLS_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The first bytes that come where TLS is spoken: is it a hello, and of a length that may be? Looks, and keeps nothing but counts.
 * Any thread.
 */

/* The beginning of the first message, over as many records as it takes. Zeros: nothing has come. */
struct tls_hello {
    uint32_t says;                   /* its type, and the length that it says */
    uint16_t left;                   /* of the record's bytes */
    uint16_t length;                 /* the last two bytes of its head */
    uint8_t head;                    /* bytes seen of that */
    uint8_t seen;                    /* bytes of the message: type, and a length of three */
    bool came;                       /* a byte has come, */
    bool shakes;                     /* and it was that of a handshake */
};

/* Takes the next bytes. Why no more is to be read, in words for the log; NULL: nothing says so yet. What is no hello is left to
 * whoever reads it, unless its bytes would be a length that costs memory. */
const char *tls_hello_fault(struct tls_hello *, const char *at, size_t n);

/* What a connection begins with whose first bytes are these, if that is known and neither TLS nor a request; NULL: it is not. */
const char *tls_hello_stranger(const char *at, size_t n);

#endif
