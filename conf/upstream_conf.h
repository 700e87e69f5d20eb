/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPSTREAM_CONF_H
#define UPSTREAM_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "conf/address.h"
#include "conf/instance.h"
#include "conf/tls_conf.h"

/* What is configured of an upstream and its endpoints. Part of a snapshot. */
struct yaml_node;

enum balance { BALANCE_ROUND_ROBIN, BALANCE_LEAST_REQUESTS, BALANCE_HASH };
enum host_mode { HOST_CLIENT, HOST_ENDPOINT, HOST_NAME };
enum hash_by { HASH_CLIENT_IP, HASH_HEADER, HASH_COOKIE, HASH_QUERY, HASH_PATH };

struct endpoint_conf {
    struct str url;                  /* as written: "http://api1:8000", "http://[::1]:80", "unix:/run/api.sock" */
    struct str host;                 /* name or number, no brackets; of a unix socket: "" */
    struct str authority;            /* what Host says with `host: endpoint`: "api1:8000", "localhost" for unix */
    uint16_t port;
    bool tls;                        /* https */
    struct address address;          /* .len 0: resolve `host` */
};

/* When an endpoint that fails is left out. */
struct eject_conf {
    uint64_t failures;               /* in a row: 5; 0: no such rule */
    uint32_t ratio;                  /* of the requests in the window, in 1/100 %: 50%; 0: no such rule */
    uint64_t min_requests, window;   /* 20, 10s */
    uint64_t base, max;              /* for base * n, at most max: 30s, 300s */
    uint32_t share;                  /* of the endpoints that may be out, in 1/100 %: 50%; 0: nobody is ejected */
};

/* How endpoints are asked whether they are well. */
struct check_conf {
    struct str path;                 /* "": not at all */
    uint64_t every, timeout;         /* 5s, 2s */
    uint64_t rise, fall;             /* good ones in a row that bring it back: 2; bad ones that take it out: 3 */
    struct status_range { uint16_t from, to; } *status;      /* good answers: 200..399 */
    size_t n_status;
};

struct upstream_conf {
    struct str name;
    unsigned index;                  /* in the snapshot */
    struct endpoint_conf *endpoints;
    size_t n;
    enum host_mode host_mode;
    struct str host_name;            /* of HOST_NAME */
    enum balance balance;
    enum hash_by hash_by;
    struct str hash_name;            /* of the header, cookie or query parameter */
    uint64_t connect_timeout;        /* 2s */
    uint64_t first_byte_timeout;     /* 30s */
    uint64_t idle_timeout;           /* 30s between bytes */
    uint64_t tunnel_timeout;         /* idle of an upgraded connection: 1h */
    uint64_t pool_idle;              /* 4s */
    uint64_t pool_max;               /* idle connections kept for an endpoint by a worker: 256 */
    struct tls_out_conf tls;
    int proxy_protocol;              /* version of the header that its connections begin with; 0: none */
    struct eject_conf eject;
    struct check_conf check;
    uint64_t slow_start;             /* until an endpoint that came back has its whole share: 10s */
    struct chain_conf filters;
    const struct yaml_node *node;    /* as written */
};

#endif
