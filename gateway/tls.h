/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TLS_H
#define TLS_H

#include <stdbool.h>
#include "lib/str.h"

/*
 * TLS over a stream. Whoever owns the stream sees one that is quiet until hands are shaken, and plain bytes from then on. The
 * owning worker only.
 */
struct stream;
struct tls_server;
struct tls_worker;

/* What is known of the other side once hands are shaken. */
struct tls_peer {
    const char *version;             /* "TLSv1.3" */
    bool resumed;
    struct str subject;              /* of its certificate, checked, RFC 4514; absent: none, or nobody wants to know it */
};

/*
 * An open stream (tcp or mem) on which nothing was read becomes the server's end of TLS, under the caller's time limit: nothing but
 * time ends a handshake that goes on. `who` is the other side in the log; it must live as long as the stream. Reads give
 * IO_PLAIN once if HTTP is spoken instead.
 */
void tls_accept(struct stream *, struct tls_server *, const char *who);
/* NULL: it is no tls stream, or hands are not shaken yet. Valid until the stream closes. */
const struct tls_peer *tls_peer(const struct stream *);

void tls_worker_free(struct tls_worker **);

#endif
