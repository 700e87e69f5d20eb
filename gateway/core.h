/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_H
#define CORE_H

#include <stdbool.h>
#include <stdint.h>
#include "chain.h"
#include "conf/snapshot.h"
#include "exchange.h"
#include "lib/arena.h"
#include "lib/buf.h"
#include "lib/check.h"
#include "lib/list.h"
#include "reply.h"
#include "request.h"
#include "route.h"
#include "timers.h"
#include "upstream.h"
#include "worker.h"

/*
 * A request as the core sees it: request.c, attempt.c, chain*.c, body.c and the API that filters use. Nobody else includes
 * this: codecs go through exchange.h, filters through request.h. The owning worker only.
 */

enum step {
    STEP_HEAD,       /* being made */
    STEP_ROUTE,
    STEP_BODY,       /* collecting the body for a filter */
    STEP_FILTER,     /* request scope's on_request */
    STEP_LEG,        /* the upstream's on_request */
    STEP_ATTEMPT,    /* on_attempt */
    STEP_PICK,       /* balance, on_endpoint, connect */
    STEP_SEND,       /* the request goes up; no final head yet */
    STEP_RECV,       /* on_head passed; the answer comes down */
    STEP_REPLY,      /* an answer made here goes down */
    STEP_TUNNEL,
    STEP_DONE,
    STEP_COUNT
};

/* A filter's part in one scope. */
struct use {
    const struct instance *inst;
    void *state, *attempt_state;
    struct held *req_held, *resp_held;       /* what HOLD keeps; NULL: never held */
    bool entered;                            /* of its scope: the end hook is owed */
    bool in_attempt;                         /* entered the attempt: on_attempt_end is owed */
};

struct attempt {
    struct request *req;
    struct up *up;                           /* NULL: none yet, or given back */
    struct endpoint *endpoint;               /* NULL: none picked */
    struct outcome out;
    const char *fault;                       /* the cause in a word, for the log */
    bool active;                             /* entered: its end is owed */
    bool connected;
    size_t addresses_tried;
    bool ended;                              /* the answer was read to its end */
    uint64_t picked;                         /* ns, when its endpoint was */
    bool upgraded;
    uint8_t interims;
    enum ended_by whose;                     /* BY_CLIENT, BY_US: it failed by their doing; else as its reason says */
};

struct leg {
    const struct upstream_conf *conf;
    struct upstream *upstream;
    struct use *uses;
    size_t n_uses;
    bool active;
    struct endpoint_set tried;               /* not to be picked again before all were */
    enum reason refused;                     /* why filters would have none of them; REASON_none: they did not say */
    uint64_t refused_until;                  /* the earliest that one of them may be asked again; 0: unknown */
    struct request_times times;              /* the request's, and what this upstream's filters say instead */
    struct outcome out;
};

/* Where a hook that waits goes on. */
struct cursor {
    size_t at;                               /* index of the filter */
    bool waiting;
    enum why why;
    uint64_t hold_until;                     /* of the filter that holds the head; 0: no such time */
    bool last_ask;                           /* its HOLD counts as NEXT: the hold is full, or its time is up */
};

struct request {
    struct down *down;                       /* NULL once done */
    struct worker *worker;
    struct view *view;
    const struct listen_conf *listen;
    struct arena arena;
    struct grave grave;
    enum step step;
    struct cursor cursor;
    uint64_t deadline;                       /* ns; TIME_NEVER: none. Whatever is awaited is awaited no longer */
    uint64_t deadline_caller;                /* what the caller asked for; TIME_NEVER: nothing */
    uint64_t deadline_asked;                 /* what filters asked for; TIME_NEVER: nothing. Never before `deadline` */
    bool deadline_absolute;                  /* it also holds once the answer's head went down */
    struct str left_field;                   /* tells an endpoint how long there still is; {NULL, 0}: none */
    struct request_times times;
    struct timer wait;                       /* for a wake-up, or the deadline while no endpoint's timer runs */
    struct http_head head;
    bool head_kept;                          /* head_before is as it was before the filters of an upstream had it */
    struct str target, path, query, host, id;
    struct ip peer, client;
    const struct forward_peer *peer_text;    /* the connection's */
    const struct tls_peer *tls;              /* a copy; NULL: plain */
    struct str *attributes;                  /* NULL: none set */
    struct str authority;                    /* as it came, with its port; {NULL, 0}: none (HTTP/1.0) */
    struct str upgrade;                      /* the protocol asked for */
    struct str forward;                      /* forward.h: ready lines to go up */
    bool expect_continue, te_trailers, absolute, has_host, trusted;      /* trusted: the peer is believed what it says of others */
    bool head_method, https;                 /* HEAD; the caller spoke TLS, with us or with who is trusted */
    bool committed, responding;              /* responding: the final head was given to the down */
    bool down_paused, up_paused, body_held;  /* body_held: it would be read, but memory is short (relief.h) */
    bool over;                               /* ended: nothing is called any more */
    bool resizes_request;                    /* some filter entered changes the length of the request's body */
    bool client_fin, upstream_fin;           /* of a tunnel */
    bool replayed;                           /* the one free repeat after a stale connection */
    bool continued;                          /* 100 was sent by us */
    bool sent;                               /* some byte of it went to some endpoint */
    bool fell_back;                          /* the route's fallback was entered, or answered */

    struct use *uses;                        /* listener's, then route's */
    size_t n_uses;
    struct list leases[SCOPE_COUNT];
    struct leg leg;
    struct attempt att;
    unsigned n_attempts;
    uint32_t wake_slot;                      /* + 1; 0: none */

    /* the request's body */
    struct body_frame body;
    struct http_head *trailers;
    uint64_t body_in;                        /* bytes from the client */
    uint64_t body_up;                        /* bytes that passed the hooks */
    bool body_whole;                         /* the last slice came */
    bool body_passed;                        /* ... and passed the hooks */
    bool body_sent;                          /* ... and was given to the present up */
    struct buf collected;                    /* for a filter that needs the body: the hooks have not seen it */
    struct buf kept;                         /* what went up, for another attempt */
    size_t keep_max, collect_max, hold_max;
    bool kept_all;                           /* `kept` is everything that went up */
    bool body_spoilt;                        /* a hook would not have some of it: it goes to nobody else */

    /* the response */
    struct http_head *resp;                  /* NULL: none yet */
    struct http_head *resp_trailers;
    struct body_frame resp_body;
    bool resp_held;                          /* on_head or on_response holds it */
    struct buf resp_kept;                    /* body bytes behind a held head */
    bool resp_whole;                         /* and there are no more */
    bool down_ended;                         /* the down was told that the answer is whole */
    uint64_t body_out;

    enum reason reason, note;
    const char *fault;
    enum ended_by by;                        /* who made an answer of ours needed */
    uint64_t arrived, first_byte, connection;
    uint64_t wait_began, waited;             /* ns; since when a hook waits (0: none does), and how long hooks waited before */
    struct str policy, shadow;               /* names of the instances that answered, that would have; {NULL, 0}: none */
    int status;                              /* what the client got; 0: nothing */
    bool hooks_up, hooks_down;               /* some filter entered looks at the request's, the answer's body */

    struct reply *spare_reply;               /* what a filter fills in whose reply must not touch the one at hand */

    /* Large, and not zeroed when a request begins. */
    struct reply reply;
    struct http_head head_before;
    struct route_hit hit;
};

/* request.c: steps, and the ways out */
extern const uint16_t step_edges[STEP_COUNT];                /* bits: where a step may lead */

static inline void request_set_step(struct request *r, enum step to)
{
    if (r->step == to)
        return;
    check(step_edges[r->step] >> to & 1);
    trace_step(&r->worker->trace, r->worker->now, 'r', r->connection, r->step, to);
    r->step = to;
}

void request_run(struct request *);                          /* steps until it must wait, or is over */
/* Answers with the reason's status if nothing is committed, else cuts. The request is over, or replying, after it. */
void request_fail(struct request *, enum reason, enum ended_by, const char *fault);
void request_end(struct request *, enum reason, enum ended_by);      /* the one way out */
void request_check_fins(struct request *, enum ended_by);    /* ends a tunnel that both sides have ended */
void request_wait(struct request *);                         /* parks it till the deadline at the latest */
/* A wake-up of the given kind for a hook that waits; nothing happens when none does. */
void request_resume(struct request *, enum why);
void request_forward(struct request *);                      /* r->forward, after the filters' edits */
void request_continue(struct request *);                     /* says 100 to a client that waits for it */
void request_log(struct request *);
/* Whose deadline it is that strikes. */
static inline enum ended_by request_deadline_of(const struct request *r)
{
    return r->deadline_caller <= r->deadline ? BY_CLIENT : BY_DEADLINE;
}
void reply_of_conf(struct request *, const struct respond_conf *, enum reason);      /* r->reply, as the configuration says */

/* respond.c: the answer on its way down */
void respond_reply(struct request *);                        /* sends r->reply through the hooks; the request ends */
void respond_skip(struct request *);                         /* on_response without the filter that waits */
void respond_head(struct request *);                         /* r->resp through on_response; from the cursor on */
void respond_data(struct request *, struct str);
void respond_finish(struct request *);                       /* no more body comes */
void respond_hold(struct request *, const struct filter *);  /* the head waits for more of the body */
void respond_check_end(struct request *);                    /* ends the request if the answer went down whole */
void head_persist(struct request *, struct http_head *);     /* it outlives the bytes that it came in */
void reply_head(struct request *);                           /* reply.c: r->resp and its frame from r->reply */

/* attempt.c */
void attempt_enter(struct request *);
bool attempt_pick(struct request *);                         /* picks and connects; false: it failed, and says so */
void attempt_finish(struct request *, enum ended_by, enum reason);   /* on_attempt_end, leases, up given back */
void attempt_judge(struct request *);                        /* on_head, from the cursor on, and what follows from it */
void leg_enter(struct request *, const struct upstream_conf *);
void leg_end(struct request *, enum ended_by, enum reason);
/* The leg failed for that reason: enters, or answers with, the route's fallback. False: there is none, or it is too late.
 * Unless a filter asked for it, a request that an endpoint may have acted on is not sent to another upstream. */
bool leg_fall_back(struct request *, enum reason, enum ended_by, bool asked);

/* body.c: the request's body on its way up */
void body_pause(struct request *);
void body_resume(struct request *), body_let_in(struct request *);     /* let_in: however short memory is */
void body_begin(struct request *);                           /* an attempt is connected: what is kept goes up, then the rest */
void body_to_up(struct request *, struct slice);             /* the sink behind the hooks */
bool body_repeatable(const struct request *);
void body_forget(struct request *);                          /* there will be no other attempt: what is kept goes */
void body_fini(struct request *);
struct str body_flatten(struct request *, const struct buf *, const struct buf *behind);   /* behind: may be NULL */

/* lease.c */
void leases_give_back(struct request *, enum scope);

static inline void leases_return(struct request *r, enum scope scope)
{
    if (!list_empty(&r->leases[scope]))
        leases_give_back(r, scope);
}

void wake_release(struct request *);
void wake_forget(struct request *);                          /* handles given out so far wake nobody */

#endif
