/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TLS_FILES_H
#define TLS_FILES_H

#include <openssl/x509.h>
#include "conf/diag.h"
#include "conf/snapshot.h"

/*
 * Certificates, keys and CAs in files: read, and checked as far as that can be done before anybody calls. Whatever is wrong goes
 * to the list, at the key of the configuration that names the file, with the file and OpenSSL's reason. Control thread.
 */
/* The last of OpenSSL's errors in words, and forgets them all. */
struct tls_reason { char text[160]; };
struct tls_reason tls_reason(void);

enum { TLS_ENDS_SOON = 7 * 24 * 3600 };      /* s; from then on it is warned of */

struct tls_files {
    struct snapshot *snap;           /* its sources get the digests of what was read, `shown` the certificates */
    const struct snapshot *running;  /* in force; NULL: nothing is */
    struct diags *diags;
};

/* A certificate with its key. */
struct tls_identity {
    X509 *certificate;
    STACK_OF(X509) *chain;           /* what stands behind it; NULL: nothing */
    EVP_PKEY *key;
    struct texts names;              /* DNS names in it, lower case, sorted; in the arena given */
    struct str ocsp;                 /* a response about it, in DER, in that arena; absent: none that is any good */
    uint64_t ocsp_until;             /* wall, s */
};

/* Those that certificates of others are checked with. */
struct tls_authorities {
    X509_STORE *store;               /* NULL: none */
    STACK_OF(X509_NAME) *names;
    unsigned char digest[32];        /* of the file */
};

int tls_files_identity(const struct tls_files *, const struct tls_pair *, struct arena *, struct tls_identity *) must_check;
void tls_identity_fini(struct tls_identity *);
/* tls_reason(), of a context that did not take it. */
struct tls_reason tls_identity_reason(const struct tls_identity *);

/* The certificate in force that was read from that path; NULL: none was. */
const struct tls_shown *tls_shown_find(const struct snapshot *, struct str path);

/* `node` holds the keys of which `path` came, for the place of errors. */
int tls_files_authorities(const struct tls_files *, const struct yaml_node *node, struct str path,
                          struct tls_authorities *) must_check;
/* Those of the system: the file that OpenSSL was built for, or $SSL_CERT_FILE names, or where one usually is. */
int tls_files_system(const struct tls_files *, const struct yaml_node *node, struct tls_authorities *) must_check;
void tls_authorities_fini(struct tls_authorities *);

/* The warning about a file that the node's key names. */
void tls_files_warn(const struct tls_files *, const struct yaml_node *, const char *key, enum diag_code, struct str path,
                    const char *why);
/* The error about a file that the node's key names; always -1. */
int tls_files_wrong(const struct tls_files *, const struct yaml_node *, const char *key, enum diag_code, struct str path,
                    const char *why);

#endif
