/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TLS_TICKETS_H
#define TLS_TICKETS_H

#include <openssl/ssl.h>
#include <stdint.h>

/*
 * The keys that session tickets are sealed with: those of the process, for all workers and whatever configuration, so that a
 * caller can resume with any worker and across reloads. They change every TLS_TICKETS_TURN; a ticket is taken for
 * TLS_TICKETS_LIFE, and a key forgotten after that. Any thread.
 */
#define TLS_TICKETS_TURN (3600 * 1000000000ull)      /* ns */
#define TLS_TICKETS_LIFE (2 * 3600)                  /* s */

struct tls_tickets;

struct tls_tickets *tls_tickets_new(void);
void tls_tickets_free(struct tls_tickets **);        /* wipes the keys */

/* For SSL_CTX_set_tlsext_ticket_key_evp_cb: what that asks for, at the time `now` (monotonic ns). */
int tls_tickets_use(struct tls_tickets *, uint64_t now, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *, EVP_MAC_CTX *,
                    int sealing);

#endif
