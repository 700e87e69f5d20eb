/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TLS_CONTEXT_H
#define TLS_CONTEXT_H

#include <openssl/ssl.h>
#include "conf/snapshot.h"
#include "lib/check.h"

/*
 * What weir needs to speak TLS under a configuration: certificates, keys and CAs, read and checked when it is loaded, on the
 * control thread. Workers make connections of it; it lives as long as the last of them, or the snapshot.
 */
struct diags;
struct tls_server;

/* Reads what the snapshot's listeners name and makes their `server`, freed with the snapshot, and the same for its upstreams
 * (tls_client.h). -1: the list says what is wrong, with OpenSSL's reason. Of a snapshot that may open no files (sources.sealed)
 * nothing is made. A certificate that has expired is wrong, unless `running` (NULL: nothing does) shows the same from that file. */
int tls_compile(struct snapshot *, const struct snapshot *running, struct diags *) must_check;

/* A connection's end of it, bound to nothing yet. Its app data must be the struct stream by the time that it is used, and the
 * stream's worker must have `tickets`. The caller frees it, and keeps a reference to the server until then. */
SSL *tls_server_ssl(struct tls_server *);
/* Has it a header to tell, so that the subject is worth keeping? */
bool tls_server_tells(const struct tls_server *);
/* The listener's address, for the log. As long as the server lives. */
struct str tls_server_at(const struct tls_server *);

/* Is who got in under the one let in by the other too, and known as well? NULL: plain. */
bool tls_asks_alike(const struct tls_conf *, const struct tls_conf *);

void tls_server_ref(struct tls_server *);            /* any thread */
void tls_server_unref(struct tls_server **);         /* any thread; the last one frees */

/* For the certificate that a caller gets: the context of that name (SNI, any case, a dot at its end or not), or the first; NULL:
 * strict_sni has none for it. */
SSL_CTX *tls_server_find(const struct tls_server *, struct str name);

#endif
