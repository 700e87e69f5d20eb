/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ADMIN_H
#define ADMIN_H

#include <stdbool.h>
#include <sys/time.h>
#include "conf/snapshot.h"
#include "lib/err.h"
#include "lib/page.h"

/*
 * The admin listener, on the control thread: health, metrics, limits, what is in force, and orders. Small and apart from the
 * data path, so that it answers when the workers are busy. GET and HEAD, and POST for orders, which are not taken from web
 * pages; one request a connection; at most 64 at a time.
 */
struct event_base;
struct admin;

enum admin_type { ADMIN_TEXT, ADMIN_JSON, ADMIN_METRICS };

/* An answer that is owed. Who asked may be gone before it is given: the handle stays good. */
struct admin_answer;

struct admin_request {
    struct str query;                /* as it came; {NULL, 0}: none */
    struct str body;
    bool text;                       /* text is wanted rather than JSON: Accept names text/plain first */
};

/* Gives it, once for each handle, also when nobody waits any more; *answer is NULL then. Takes what the page holds. */
void admin_answer_give(struct admin_answer **, int status, enum admin_type, struct page *);

/* How long each part may take, before the connection is closed (waiting for the answer: 504). */
struct admin_times { struct timeval head, body, answer, write, linger; };
extern const struct admin_times admin_times_default;      /* 5 s, 10 s, 30 s, 5 s, 1 s */

enum { ADMIN_BODY_MAX = 16 << 20, ADMIN_BODIES_MAX = 64 << 20 };          /* bytes: of a request, of all at a time */

/* How the pages come about; one that is NULL is no page. Control thread. `request` is valid during the call; those that owe
 * an answer may give it then or later. */
struct admin_source {
    void (*metrics)(void *ctx, struct page *);
    bool (*ready)(void *ctx, struct page *why);        /* false: 503 with `why` */
    int (*limits)(void *ctx, struct str query, struct page *);       /* returns the status; `query` as it came */
    int (*upstreams)(void *ctx, struct str query, struct page *);    /* the same */
    int (*config)(void *ctx, struct str query, struct page *);       /* the same */
    int (*command)(void *ctx, struct str query, struct page *);      /* an order; the same */
    void (*reload)(void *ctx, const struct admin_request *, struct admin_answer *);    /* an order */
    void (*plan)(void *ctx, const struct admin_request *, struct admin_answer *);      /* an order, with a body */
    void *ctx;
    const struct admin_times *times;                   /* NULL: the default */
};

/* `probes_only`: only /healthz and /readyz. Everything else is for those who say the configuration's token, if it has one. A
 * unix socket is its owner's. */
int admin_open(struct event_base *, const struct listen_conf *, bool probes_only, const struct admin_source *,
               struct admin **out, struct err *) must_check;
/* From now on this token is asked for; {NULL, 0}: none. */
void admin_set_token(struct admin *, struct str token);
/* Another listener stands in the place of this one: it accepts nobody any more, but who is there gets an answer. It ends by
 * itself, at the latest with its heir. */
void admin_hand_over(struct admin **, struct admin *heir);
/* Closes what is open, also answers on their way. NULL is legal. */
void admin_close(struct admin **);
/* The port that it listens on (of port 0: the one it got); 0: a unix socket. */
unsigned admin_port(const struct admin *);

#endif
