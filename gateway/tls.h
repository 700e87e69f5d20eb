/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TLS_H
#define TLS_H

#include <openssl/types.h>
#include <stdbool.h>
#include "lib/str.h"

/*
 * TLS over a stream. Whoever owns the stream sees one that is quiet until hands are shaken, and plain bytes from then on. The
 * owning worker only.
 */
struct stream;
struct ssl_session_st;
struct tls_client;
struct tls_server;
struct tls_session;
struct tls_worker;

/* What is known of the other side once hands are shaken. */
struct tls_peer {
    const char *version;             /* "TLSv1.3" */
    bool resumed;
    struct str asked;                /* the name that it asked for (SNI), as it came; absent: none */
    struct str subject;              /* of its certificate, checked, RFC 4514; absent: none, or nobody wants to know it */
};

/* Why a handshake with an endpoint, or what came behind it, failed. */
struct tls_failure {
    const char *text;                /* static; NULL: it did not, or not for a reason of TLS */
    bool refused;                    /* one side did not like what the other one is or asked for */
};

/*
 * An open stream (tcp or mem) on which nothing was read becomes the server's end of TLS, under the caller's time limit: nothing but
 * time ends a handshake that goes on. `who` is the other side in the log; it must live as long as the stream. Reads give
 * IO_PLAIN once if HTTP is spoken instead.
 */
void tls_accept(struct stream *, struct tls_server *, const char *who);

/*
 * A connected stream on which nothing was read becomes the client's end of TLS, to whoever has a certificate of that name; under
 * the caller's time limit. What was put before goes in front of it. A session is resumed from the slot, and kept in it, which must
 * live as long as the stream.
 */
void tls_connect(struct stream *, const struct tls_client *, struct str name, struct tls_session *);
enum tls_shake { TLS_SHAKING, TLS_SHAKEN, TLS_FAILED };
/* Says hello, and goes on when an event has come: the endpoint may have said something already. Nothing may be read or put before
 * hands are shaken. */
enum tls_shake tls_shake(struct stream *);
/* Why it failed, or why reading gave IO_ERR; of a client's end. */
struct tls_failure tls_failure(const struct stream *);
/* Does a client's end serve requests for that name, by what is believed and shown now? */
bool tls_suits(const struct stream *, struct str name);
/* ... whatever the name? */
bool tls_is_current(const struct stream *);
/* For OpenSSL: there is a session. */
int tls_session_came(SSL *, struct ssl_session_st *);

/* NULL: it is no tls stream, or hands are not shaken yet. Valid until the stream closes. */
const struct tls_peer *tls_peer(const struct stream *);

void tls_worker_free(struct tls_worker **);

#endif
