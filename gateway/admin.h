/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ADMIN_H
#define ADMIN_H

#include <stdbool.h>
#include "conf/snapshot.h"
#include "lib/err.h"
#include "metrics.h"

/*
 * The admin listener, on the control thread: /metrics, /limits, /upstreams, /healthz, /readyz, and what is added later. Small
 * and apart from the data path, so that it answers when the workers are busy. GET and HEAD, and POST for orders; one request a
 * connection; at most 64 at a time; 5 s for a request.
 */
struct event_base;
struct admin;

/* How the pages come about. Control thread. */
struct admin_source {
    void (*metrics)(void *ctx, struct page *);
    bool (*ready)(void *ctx, struct page *why);        /* false: 503 with `why` */
    int (*limits)(void *ctx, struct str query, struct page *);       /* returns the status; `query` as it came */
    int (*upstreams)(void *ctx, struct str query, struct page *);    /* the same */
    int (*command)(void *ctx, struct str query, struct page *);      /* an order; the same */
    void *ctx;
};

/* `probes_only`: only /healthz and /readyz. */
int admin_open(struct event_base *, const struct listen_conf *, bool probes_only, const struct admin_source *,
               struct admin **out, struct err *) must_check;
/* Closes what is open, also answers on their way. NULL is legal. */
void admin_close(struct admin **);
/* The port that it listens on (of port 0: the one it got); 0: a unix socket. */
unsigned admin_port(const struct admin *);

#endif
