/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TLS_CONF_H
#define TLS_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/str.h"

/* What a configuration says of TLS; parts of struct listen_conf and struct upstream_conf. */
struct tls_client;
struct tls_server;
struct yaml_node;

enum tls_profile { TLS_INTERMEDIATE, TLS_MODERN };     /* 1.2 and 1.3; 1.3 alone */

/* A certificate with its key: paths of files in PEM. */
struct tls_pair {
    struct str certificate, key;
    struct str ocsp;                 /* of an OCSP response in DER; "": none */
    const struct yaml_node *node;
};

/* A certificate that is shown: to callers by a listener, or by an upstream to endpoints that ask. */
struct tls_shown {
    struct tls_shown *next;
    struct str path;                 /* of its file, as the configuration has it */
    struct str subject;              /* as in RFC 4514 */
    struct str serial;               /* hexadecimal digits */
    uint64_t until;                  /* its end; wall, s */
    unsigned char print[32];         /* SHA-256 of it */
};

/* A file that certificates of others are checked with: CAs, or lists of what those have revoked. */
struct tls_trusted {
    struct tls_trusted *next;
    struct str path;                 /* as the configuration has it */
    bool lists;                      /* they are lists */
    uint64_t until;                  /* when the first of the lists ends that no later one follows; wall, s; UINT64_MAX: never */
    unsigned char print[32];         /* SHA-256 of the file */
};

/* What a listener speaks TLS with. */
struct tls_conf {
    struct tls_pair *pairs;          /* the first is for callers that name none of the others' names */
    size_t n;
    int profile;                     /* enum tls_profile */
    bool tickets;
    bool strict_sni;                 /* whoever names none of their names is refused */
    struct {                         /* certificates of callers */
        struct str ca;               /* a file in PEM; "": none are asked for */
        struct str crl;              /* a file in PEM with their lists of revoked certificates; "": none are looked at */
        bool optional;
        struct str header;           /* tells upstreams the subject; "": none does */
    } clients;
    const struct yaml_node *node;
    struct tls_server *server;       /* tls_compile() puts it here; freed with the snapshot */
};

/* What an upstream's https endpoints are spoken to with. */
struct tls_out_conf {
    struct str ca;                   /* a file in PEM; "": the system's */
    struct str crl;                  /* a file in PEM with the lists of what `ca` revoked; "": none are looked at */
    struct tls_pair pair;            /* what endpoints are shown that ask who weir is; certificate "": nothing */
    bool verify;                     /* theirs are checked: true */
    int profile;                     /* enum tls_profile */
    struct str name;                 /* whose certificate it must be, of HOST_NAME: host_name without its port */
    const struct yaml_node *node;    /* as written; NULL: nothing is */
    struct tls_client *client;       /* tls_compile() puts it here if some endpoint is https; freed with the snapshot */
};

#endif
