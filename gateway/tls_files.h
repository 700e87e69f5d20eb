/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TLS_FILES_H
#define TLS_FILES_H

#include <openssl/x509.h>
#include "conf/diag.h"
#include "conf/snapshot.h"

/*
 * Certificates and keys in files: read, and checked as far as that can be done before anybody calls. Whatever is wrong goes
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

int tls_files_identity(const struct tls_files *, const struct tls_pair *, struct arena *, struct tls_identity *) must_check;
void tls_identity_fini(struct tls_identity *);
/* tls_reason(), of a context that did not take it. */
struct tls_reason tls_identity_reason(const struct tls_identity *);

/* The certificate in force that was read from that path; NULL: none was. */
const struct tls_shown *tls_shown_find(const struct snapshot *, struct str path);

/* A file's bytes while they are looked at; wiped after that, for they may be a key. The node's key names the file. -1: the list
 * says why it cannot be read. */
struct tls_bytes {
    struct arena arena;
    struct str text;
};
int tls_bytes_read(const struct tls_files *, const struct yaml_node *, const char *key, struct str path,
                   struct tls_bytes *) must_check;
void tls_bytes_fini(struct tls_bytes *);
BIO *tls_bytes_bio(const struct tls_bytes *);        /* the caller frees it, before the bytes */

/* Certificates from where the reader stands to the end; NULL when there was an error, which is then OpenSSL's last. */
STACK_OF(X509) *tls_certificates_read(BIO *);
/* Did a reader of PEM stop for there was nothing more? Else its error stays OpenSSL's last. */
bool tls_pem_ended(void);
struct str tls_name_text(const X509_NAME *, struct arena *);         /* as in RFC 4514 */

/* Where the node's key stands. */
struct place tls_files_place(const struct yaml_node *, const char *key);
/* The warning about a file that the node's key names. */
void tls_files_warn(const struct tls_files *, const struct yaml_node *, const char *key, enum diag_code, struct str path,
                    const char *why);
/* The error about a file that the node's key names; always -1. */
int tls_files_wrong(const struct tls_files *, const struct yaml_node *, const char *key, enum diag_code, struct str path,
                    const char *why);

#endif
