/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TLS_CLIENT_H
#define TLS_CLIENT_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include "conf/snapshot.h"
#include "lib/check.h"

/*
 * What weir needs to speak TLS to endpoints: whom to believe and what to show, read and checked when a configuration is loaded, on
 * the control thread. Shared by upstreams that say the same, and by all workers.
 */
struct diags;
struct tls_client;
struct tls_failure;

/* Reads what the snapshot's upstreams name and makes their `tls.client`, freed with the snapshot. -1: the list says what is
 * wrong. */
int tls_client_compile(struct snapshot *, const struct snapshot *running, struct diags *) must_check;

void tls_client_ref(struct tls_client *);            /* any thread */
void tls_client_unref(struct tls_client **);         /* any thread; the last one frees. NULL in it is legal */

/* Do they believe the same and show the same, so that a connection made by one may serve who has the other? NULL is like NULL. */
bool tls_client_same(const struct tls_client *, const struct tls_client *);

/*
 * A connection's end of it, bound to nothing yet: it will ask for that name, or address by number, and must be shown a certificate
 * of it. The name is one that an authority may have, without a dot at its end. The caller frees it; it does not need the client any
 * more. Its app data, if any, is the struct stream, which sessions are then kept for.
 */
SSL *tls_client_ssl(const struct tls_client *, struct str name);

/* What OpenSSL has to say of a failure, and forgets it; text NULL: nothing. tls.h */
struct tls_failure tls_client_failure(const SSL *);

#endif
