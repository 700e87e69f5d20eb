/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TLS_PROFILE_H
#define TLS_PROFILE_H

#include <openssl/ssl.h>
#include "conf/snapshot.h"
#include "lib/check.h"

enum { TLS_SECURITY_LEVEL = 2 };     /* 112 bits and no SHA-1, whatever the system's openssl.cnf says */

/* What weir speaks, to either side: versions, and ciphers and groups of ephemeral keys and authenticated encryption alone. */
static inline void tls_profile_set(SSL_CTX *ctx, int profile)
{
    SSL_CTX_set_security_level(ctx, TLS_SECURITY_LEVEL);
    check(SSL_CTX_set_min_proto_version(ctx, profile == TLS_MODERN ? TLS1_3_VERSION : TLS1_2_VERSION) == 1);
    check(SSL_CTX_set_cipher_list(ctx, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                                       "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                                       "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305") == 1);
    check(SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") == 1);
    check(SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384") == 1);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1);
}

#endif
