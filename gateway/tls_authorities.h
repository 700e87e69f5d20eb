/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TLS_AUTHORITIES_H
#define TLS_AUTHORITIES_H

#include <openssl/x509.h>
#include "lib/check.h"
#include "lib/str.h"

/*
 * What certificates of others are checked with: CAs, and lists of what those have revoked. Read and checked when a configuration
 * is; what is wrong goes to the list of `files`, at the node's key that names the file. Control thread.
 */
struct snapshot;
struct tls_files;
struct tls_trusted;
struct yaml_node;

struct tls_authorities {
    X509_STORE *store;               /* NULL: none. With lists it has them looked at */
    STACK_OF(X509_NAME) *names;
    unsigned char digest[32];        /* of the files */
};

/* From the files `ca` and `crl` (RFC 5280; "": no lists), which keys of these names in `node` name. */
int tls_authorities_read(const struct tls_files *, const struct yaml_node *node, struct str ca, struct str crl,
                         struct tls_authorities *) must_check;
/* Those of the system: the file that OpenSSL was built for, or $SSL_CERT_FILE names, or where one usually is. */
int tls_authorities_system(const struct tls_files *, const struct yaml_node *node, struct tls_authorities *) must_check;
void tls_authorities_fini(struct tls_authorities *);
/* The file in force of that path; NULL: none was read. */
const struct tls_trusted *tls_trusted_find(const struct snapshot *, struct str path);

#endif
