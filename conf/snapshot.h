/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "conf/field.h"
#include "conf/listen_conf.h"
#include "conf/source.h"
#include "conf/upstream_conf.h"
#include "lib/arena.h"
#include "lib/err.h"

/*
 * A configuration, read and checked: immutable from snapshot_load() on, shared by all workers, counted. Everything in
 * it lives in its arena.
 */
struct diags;
struct filter;
struct shared_set;
struct yaml_node;
struct router;

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
    uint64_t memory_limit;                     /* bytes; UINT64_MAX: as the control group has it; 0: none */
    uint64_t watchdog;                         /* ns after which a worker is stuck: 5s; 0: nobody looks */
    uint64_t drain_delay, drain_timeout;       /* 0s, 8s */
    struct str user, group;                    /* who to become; names or numbers, "" : nobody else; the user's own */
    bool core_dumps;                           /* sandbox.core_dumps */
    enum seccomp_wish { SECCOMP_UNSAID, SECCOMP_OFF, SECCOMP_ON } seccomp;    /* unsaid: as the environment says */
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
    struct tls_shown *shown;                   /* tls_compile() lists them here, each path once; from the arena */
    struct tls_trusted *trusted;               /* the same */
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

#endif
