/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "conf/field.h"
#include "conf/source.h"
#include "lib/arena.h"
#include "lib/err.h"
#include "lib/ip.h"

/*
 * A configuration, read and checked: immutable from snapshot_load() on, shared by all workers, counted. Everything in
 * it lives in its arena.
 */
struct diags;
struct filter;
struct shared_set;
struct tls_server;
struct yaml_node;
struct router;

/* A filter as named in the configuration. */
struct instance {
    const struct filter *type;
    struct str name;                 /* "per_key", or "route /v1/ token_bucket" of an inline one: its identity */
    const void *options;
    void *shared;                    /* of shared_open(); NULL when the type has none */
    unsigned slot;                   /* dense, 0-based: index of a worker's local state */
    bool shadow;                     /* mode: shadow */
    const struct yaml_node *node;    /* its options as written; NULL: none */
};

struct chain_conf {
    const struct instance *const *v;
    size_t n;
    bool request_body;               /* some have on_request_body */
    bool response_body;              /* some have on_response_body */
    bool resizes_body, resizes_request_body;
    size_t keep_body;                /* the largest */
};

/* A socket address: of a listener, or of an endpoint given by number or path. */
struct address {
    socklen_t len;                   /* 0: a name, to be resolved */
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
};

enum tls_profile { TLS_INTERMEDIATE, TLS_MODERN };     /* 1.2 and 1.3; 1.3 alone */

/* A certificate with its key: paths of files in PEM. */
struct tls_pair {
    struct str certificate, key;
    struct str ocsp;                 /* of an OCSP response in DER; "": none */
    const struct yaml_node *node;
};

/* What a listener speaks TLS with. */
struct tls_conf {
    struct tls_pair *pairs;          /* the first is for callers that name none of the others' names */
    size_t n;
    int profile;                     /* enum tls_profile */
    bool tickets;
    struct {                         /* certificates of callers */
        struct str ca;               /* a file in PEM; "": none are asked for */
        bool optional;
        struct str header;           /* tells upstreams the subject; "": none does */
    } clients;
    const struct yaml_node *node;
    struct tls_server *server;       /* tls_compile() puts it here; freed with the snapshot */
};

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
    uint64_t keepalive_timeout;      /* 75s */
    bool half_close_keep;            /* half_close: keep */
    struct tls_conf *tls;            /* NULL: plain */
    struct listen_proxy_conf proxy;
    struct per_address_conf per_address;
    struct chain_conf filters;
    struct str token;                /* of `admin` alone: what must be known to ask; {NULL, 0}: nothing */
    const struct yaml_node *node;    /* as written, in its long form */
};

enum balance { BALANCE_ROUND_ROBIN, BALANCE_LEAST_REQUESTS, BALANCE_HASH };
enum host_mode { HOST_CLIENT, HOST_ENDPOINT, HOST_NAME };
enum hash_by { HASH_CLIENT_IP, HASH_HEADER, HASH_COOKIE, HASH_QUERY, HASH_PATH };

struct endpoint_conf {
    struct str url;                  /* as written: "http://api1:8000", "http://[::1]:80", "unix:/run/api.sock" */
    struct str host;                 /* name or number, no brackets; of a unix socket: "" */
    struct str authority;            /* what Host says with `host: endpoint`: "api1:8000", "localhost" for unix */
    uint16_t port;
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
    int proxy_protocol;              /* version of the header that its connections begin with; 0: none */
    struct eject_conf eject;
    struct check_conf check;
    uint64_t slow_start;             /* until an endpoint that came back has its whole share: 10s */
    struct chain_conf filters;
    const struct yaml_node *node;    /* as written */
};

struct route_match {
    struct str host;                 /* "" any; ".example.com" every subdomain; else exact, lower case */
    struct str path;                 /* as written; trailing "/" a subtree, ":id" one segment */
    struct texts methods;            /* sorted; empty: any */
    struct pairs headers;            /* lower-case name -> exact value; "*" any; sorted */
};

/* An answer that the configuration spells out. */
struct respond_conf {
    bool set;
    uint64_t status;
    struct pairs headers;
    struct str body;
};

/* What a request reads of its route stands first and close together: with thousands of routes each line is a cache miss. */
struct route_conf {
    const struct upstream_conf *upstream;      /* NULL: respond */
    uint64_t max_body;               /* bytes; 0: none */
    uint64_t total_timeout;          /* ns from the head's arrival to the final response head: 60s */
    struct chain_conf filters;
    struct {
        bool set;
        struct str prefix;           /* what replaces the matched subtree's prefix */
        struct str path;             /* or: the whole path, with :params of the match */
    } rewrite;
    struct str name;
    unsigned index;                  /* file order */
    struct route_match match;
    struct respond_conf respond;
    struct {
        const struct upstream_conf *upstream;  /* entered, */
        struct respond_conf respond;           /* or answered, when `upstream` above could not answer; neither: not set */
    } fallback;
};

enum log_to { LOG_TO_NONE, LOG_TO_STDOUT, LOG_TO_STDERR, LOG_TO_FILE };

struct snapshot {
    struct arena arena;
    _Atomic unsigned refs;
    uint64_t generation;                       /* 1, 2, 3 ... of the same shared_set */
    const char *file;
    struct sources sources;                    /* every file and pattern that it was read from, for who watches them */
    uint64_t workers;                          /* 0: auto */
    uint64_t max_connections;                  /* of clients, in all; 0: what RLIMIT_NOFILE allows */
    struct cidrs trusted_proxies;
    struct listen_conf *listens;
    size_t n_listens;
    bool has_admin;
    struct listen_conf admin, probes;          /* at.len 0: none */
    enum log_to log_to;
    struct str log_path;
    uint64_t watchdog;                         /* ns after which a worker is stuck: 5s; 0: nobody looks */
    uint64_t drain_delay, drain_timeout;       /* 0s, 8s */
    bool watch;                                /* the files are looked at for changes, */
    uint64_t watch_poll;                       /* and compared each so many ns: 5s; 0: never without a sign */
    struct texts attributes;                   /* what filters provide: index = attribute's number */
    struct instance **instances;               /* by slot */
    size_t n_instances;
    struct upstream_conf *upstreams;
    size_t n_upstreams;
    struct route_conf *routes;                 /* file order */
    size_t n_routes;
    const struct yaml_node *const *route_nodes;      /* as written; NULL: unknown */
    const struct yaml_node *node;              /* the whole, as written */
    struct texts own_headers;                  /* fields of requests that weir alone sets, whatever the listener */
    struct snapshot_end *ends;
    const struct router *router;               /* route_compile() puts it here, from the arena */
    struct shared_set *shared;
};

/*
 * Reads and checks `path`; touches nothing outside. 0 with one reference in *out, and perhaps warnings in the list; or -1, and
 * the list says why. Blocks on files alone.
 */
int snapshot_load(const char *path, const struct filter *const *filters, struct diags *, struct snapshot **out) must_check;
/* The same, telling `show` what is in force. */
struct show;
int snapshot_load_shown(const char *path, const struct filter *const *filters, struct diags *, struct show *,
                        struct snapshot **out) must_check;
/* The same from text, which is taken for that of the file `name`. */
int snapshot_load_text(struct str text, const char *name, const struct filter *const *filters, struct diags *,
                       struct snapshot **out) must_check;
/* The same from a text that is not trusted: it can open no file and see no variable of the environment. */
int snapshot_load_sealed(struct str text, const char *name, const struct filter *const *filters, struct diags *,
                         struct snapshot **out) must_check;
/* From here on it counts: opens the shared state of every instance by its name, which changes limits for those who already
 * run. Once, before any worker sees it; cannot fail. `now`: monotonic ns. A snapshot that is not opened may be dropped. */
void snapshot_open(struct snapshot *, struct shared_set *, uint64_t now);
void snapshot_ref(struct snapshot *);                  /* any thread */
void snapshot_unref(struct snapshot **);               /* any thread; the last one frees */
/* Calls `run` when it is freed: for what stands in it and is not its arena's. Newest first, on the thread that frees. */
void snapshot_at_end(struct snapshot *, void (*run)(void *), void *arg);

/* "127.0.0.1:80", "[::1]:80", "unix:/path", ":8080" (0.0.0.0). Only numbers and paths; a name is an error. */
int address_parse(struct str text, struct address *, struct err *) must_check;
/* Is it the same place, whatever it was written as? */
bool address_same(const struct address *, const struct address *);
/* Can it be reached from this machine alone? */
bool address_is_local(const struct address *);

enum { ADMIN_TOKEN_MIN = 16, ADMIN_TOKEN_MAX = 512 };        /* bytes */
/* What is wrong with a token, in a few words; NULL: nothing. */
const char *admin_token_fault(struct str);

#endif
