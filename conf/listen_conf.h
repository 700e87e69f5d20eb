/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LISTEN_CONF_H
#define LISTEN_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "conf/address.h"
#include "conf/field.h"
#include "conf/instance.h"
#include "conf/tls_conf.h"
#include "lib/ip.h"

/* What is configured of a listening address. Part of a snapshot. */
struct yaml_node;

/* What a listener makes of connections from addresses that its `proxy_protocol` does not trust. */
enum proxy_others { PROXY_OTHERS_REFUSE, PROXY_OTHERS_SERVE };

struct listen_proxy_conf {
    bool on;                         /* `proxy_protocol` is set */
    struct cidrs trusted;            /* from there a header comes first; of a unix socket: none, and all do */
    int others;                      /* enum proxy_others */
};

/* What one client address may have at a listener; of IPv6 its first 64 bits are the address. */
struct per_address_conf {
    uint64_t connections;            /* open at once; 0: no bound */
    struct rate rate;                /* new ones; .tokens 0: no bound */
};

struct listen_conf {
    struct str at;                   /* as written: "0.0.0.0:8080", "[::]:8080", "unix:/run/weir.sock" */
    struct address address;
    uint64_t header_timeout;         /* ns; POLICY.md timeout.client_header: 10s */
    uint64_t body_timeout;           /* between bytes of a request's body, and of an answer not taken: 30s */
    uint64_t min_rate;               /* bytes a second of a body, and of an answer being taken: 500; 0: any */
    uint64_t keepalive_timeout;      /* 75s */
    bool half_close_keep;            /* half_close: keep */
    struct tls_conf *tls;            /* NULL: plain */
    struct listen_proxy_conf proxy;
    struct per_address_conf per_address;
    struct chain_conf filters;
    struct str token;                /* of `admin` alone: what must be known to ask; {NULL, 0}: nothing */
    const struct yaml_node *node;    /* as written, in its long form */
};

enum { ADMIN_TOKEN_MIN = 16, ADMIN_TOKEN_MAX = 512 };        /* bytes */
/* What is wrong with a token, in a few words; NULL: nothing. */
const char *admin_token_fault(struct str);

#endif
