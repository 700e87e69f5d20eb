/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TLS_SESSION_H
#define TLS_SESSION_H

#include <stdint.h>
#include "lib/str.h"

/*
 * The TLS session that an endpoint's next connection may resume: one, the newest. The owning worker only.
 *
 * A resumed handshake looks at no certificate. So a session is only for the name that its certificate was checked for, and for
 * an hour from when it was: sessions that came of it do not live longer. `epoch` changes when what certificates are checked
 * with does; what began before it keeps nothing here any more.
 */
#define TLS_SESSION_LIFE (3600 * UINT64_C(1000000000))

struct tls_session {
    struct ssl_session_st *session;            /* one reference; NULL: none */
    char *name;                      /* owned; in lower case */
    size_t name_len;
    uint64_t until;                  /* monotonic, ns */
    unsigned epoch;
};

/* The session for a connection to that name; NULL: there is none, or it is too old. The slot's. */
struct ssl_session_st *tls_session_find(struct tls_session *, struct str name, uint64_t now);
/* Takes the reference over, and the place of the one before. */
void tls_session_keep(struct tls_session *, struct str name, struct ssl_session_st *, uint64_t until);
void tls_session_forget(struct tls_session *);       /* also the end of a slot */

#endif
