/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENDPOINT_H
#define ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "conf/snapshot.h"
#include "health.h"
#include "lib/list.h"
#include "lib/log.h"
#include "tls_session.h"

/*
 * A worker's side of an endpoint: its addresses, how busy it is, and the idle connections to it. Last in, first out: the
 * connection used last is the one that the other side has least reason to have closed. The owning worker only.
 *
 * It is found by the name of its upstream and its URL, which is all that tells one connection from another, and outlives
 * configurations: views that name the same endpoint share it. So a reload moves no connection, no address and no count.
 */
struct worker;
struct attempt;
struct up;
struct upconn;

struct endpoint {
    struct worker *worker;
    struct str url, host, authority;         /* owned; of endpoint_conf */
    struct address *addresses;               /* owned; of the conf, or resolved */
    size_t n_addresses, next_address;
    struct list idle;                        /* of struct upconn, newest first */
    unsigned n_idle;
    unsigned in_flight;                      /* attempts, of all views */
    bool http10;                             /* it answered as HTTP/1.0 last */
    uint16_t port;
    struct log_limit failures;               /* of the lines about them: each endpoint has its own, or one hides the others */
    struct health_endpoint *health;          /* for the count of what is in flight; kept open by each view that has it */
    struct tls_client *tls;                  /* of https; one reference, to the newest configuration's that has it */
    struct tls_session session;              /* to be resumed; `epoch` changes with what `tls` says */
    uint64_t idle_max, idle_time;            /* pool_max, pool_idle of the newest configuration that has it */
    /* What it is found by. */
    struct list by_id, by_host;              /* in their buckets of struct endpoints */
    struct str id;
    uint64_t id_hash, host_hash;
    unsigned holds;                          /* views that have it */
    uint64_t view;                           /* the number of the newest of them */
};

/* All that a worker has. */
struct endpoints {
    struct list *by_id, *by_host;            /* buckets, as many of each */
    size_t size, n;
    uint64_t view;                           /* the number of the current view; 1, 2, 3 ... */
};

void endpoints_init(struct endpoints *);
void endpoints_fini(struct endpoints *);                     /* all of them were dropped */

/* The endpoint of that upstream, found or made, for the view whose number is endpoints->view. One endpoint_drop() each. */
struct endpoint *endpoint_hold(struct worker *, const struct upstream_conf *, size_t i, struct health *);
/* The last one closes idle connections and frees; no attempt may be left then. */
void endpoint_drop(struct endpoint *);
/* Closes the idle connections to all of them. */
void endpoints_close_idle(struct worker *);
/* Closes its idle connections, and keeps none any more, unless the current view has it. */
void endpoint_outdated(struct endpoint *);

/* A connection for the attempt: from the pool unless `fresh`, else a new one, which reports attempt_connected() or
 * attempt_fail() later. NULL: it could not even be begun (errno). A pooled one is connected; *reused says so. */
struct up *endpoint_connect(struct endpoint *, struct attempt *, bool fresh, bool *reused);

/* For up_h1.c: puts a connection with nothing owed on it into the pool; false: it is full, or the endpoint is in no current
 * configuration: close it. */
bool endpoint_pool(struct endpoint *, struct upconn *);
void endpoint_unpool(struct endpoint *, struct upconn *);

/* For up_h1.c: a connection begins or ends to serve an attempt. */
void endpoint_begin(struct endpoint *);
void endpoint_end(struct endpoint *);

/* A port of 0 becomes the endpoint's. `n` 0: what was known stays. */
void endpoint_set_addresses(struct endpoint *, const struct address *, size_t n);

/* New addresses of a name, by mail, for all endpoints of the worker that have it as their host. Any thread. */
void endpoints_post_addresses(struct worker *, struct str host, const struct address *, size_t n);

#endif
