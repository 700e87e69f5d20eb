/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FILTER_H
#define FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/check.h"
#include "lib/mailbox.h"
#include "lib/str.h"
#include "reason.h"

/*
 * What a filter is, and all that it may see.
 *
 * A request has one or more legs (an upstream entered for it: the route's own, a fallback), a leg has one or more
 * attempts (a try at one endpoint). A filter named on a listener or route lives in the request's scope; one named on an
 * upstream lives in the leg's, and is asked again for each attempt.
 *
 * Rules, kept by the core (chain.c) and not by the filter's good will:
 *   - hooks run on the worker that owns the request, never two at once for one request, in written order; response
 *     hooks and ends of scope in reverse;
 *   - for every scope that a filter entered, its end hook runs exactly once, whatever happened;
 *   - a lease taken in a scope is returned when the scope ends, before the end hook runs;
 *   - a wake-up asked for is cancelled before the scope ends: nothing ever resumes what is gone.
 */

struct request;      /* head, route, client, deadline: through request.h */
struct reply;        /* an answer made here: reply.h */
struct field;        /* an option's row: conf/field.h */
struct load;         /* what loading may look up: conf/load.h */
struct figure;       /* a row of what an instance counts: figure.h */
union figure_value;
struct page;         /* growing text: lib/page.h */
struct plan_notes;   /* what is said of an instance by plan() */
struct rng;

enum verdict {
    FILTER_NEXT = 0,     /* go on; in body hooks: let the slice pass, after whatever was held */
    FILTER_REPLY,        /* call->reply is filled in: answer the client, skip the rest */
    FILTER_WAIT,         /* a wake-up was asked for: the same hook runs again then. An answer made here waits for nobody past
                            the request's deadline */
    FILTER_FAIL,         /* call->reason says why; reasons.def has the answer */
    /* In on_head only, while nothing is committed to the client. NEXT when it cannot be: the deadline is too near, the body
     * was not kept whole (keep_body), a filter of the leg holds of it, there is no such upstream, there were 64 attempts. */
    FILTER_RETRY,        /* another attempt of this leg, not before call->not_before */
    FILTER_FAILOVER,     /* end this leg, enter the upstream named call->failover, or what the route's fallback says */
    /* In on_head, on_response and body hooks: */
    FILTER_HOLD,         /* keep what came, show me more; bounded by hold_max and hold_time: asked once more then, with
                            WHY_TIMER, and HOLD is NEXT. Without a hold_time the end of a body is such a bound too */
    /* In body hooks only. A FAIL there is the end of the request's body: no other attempt or upstream gets it. */
    FILTER_DROP,         /* this slice, and what is held, goes no further; FAIL unless resizes_(request_)body is said */
};

enum why { WHY_FIRST, WHY_TIMER, WHY_GRANTED, WHY_EXTERNAL };

enum scope { SCOPE_REQUEST, SCOPE_LEG, SCOPE_ATTEMPT, SCOPE_COUNT };

/* Where a filter may be named. */
enum { PLACE_LISTENER = 1, PLACE_ROUTE = 2, PLACE_UPSTREAM = 4, PLACE_ANY = 7 };

/* What a reload with other options means for an instance. */
enum plan_note {
    PLAN_KEEPS,              /* what becomes of its state */
    PLAN_OVER,               /* who or what is over the limit at once */
    PLAN_RESTART,            /* what waits for a restart */
    PLAN_NOTES
};

enum ended_by { BY_UPSTREAM, BY_CLIENT, BY_US, BY_DEADLINE };

/* How a scope ended: who, why, and what was seen of it. */
struct outcome {
    enum ended_by by;
    enum reason reason;        /* REASON_none: an answer came from upstream and was passed on */
    int status;                /* final status from upstream, 0: none */
    bool sent;                 /* some byte of the request went to the upstream */
    bool committed;            /* some byte of the final answer went to the client */
    bool complete;             /* the answer was read to its end */
    bool reused;               /* the attempt used a pooled connection */
    size_t endpoint;           /* its number in the upstream; SIZE_MAX: none was picked */
    uint64_t started, first_byte, ended;        /* monotonic ns; 0: did not happen */
    uint64_t bytes_in, bytes_out;               /* of bodies: from upstream, to upstream */
};

/* Everything that a hook may see. There are no globals. Valid during the hook only. */
struct call {
    struct request *req;
    struct str name;           /* of the instance, as in the configuration */
    const void *options;       /* parsed, immutable, shared by all workers */
    void *shared;              /* the named instance's state: any worker; atomics or its own lock */
    void *local;               /* this worker's part of it: no locks */
    void *state;               /* the state of the scope that the filter lives in: zeroed */
    void *attempt_state;       /* of this attempt: zeroed; NULL outside attempts or when attempt_size is 0 */
    uint64_t now;              /* monotonic ns: the only clock there is */
    struct rng *rng;           /* seeded; the only randomness there is */
    unsigned worker;           /* the worker's number, for counters that are kept apart by worker */
    bool shadow;               /* mode: shadow. What is decided is not done: a filter that would wait need not queue */
    enum why why;
    enum reason reason;        /* out: for FILTER_FAIL. In on_head: why there is no head, else REASON_none. In on_response: why
                                * it is answered here, REASON_none: it is the upstream's answer */
    uint64_t not_before;       /* out: for FILTER_RETRY; for FAIL of on_endpoint: when it may be asked again, 0: unknown. In
                                * may_attempt: when the attempt would begin */
    struct str failover;       /* out: for FILTER_FAILOVER; {NULL, 0}: the route's fallback */
    struct reply *reply;       /* out: for FILTER_REPLY; empty, also while another reply goes out */
    void *core;                /* the core's own */
};

struct filter {
    const char *name;                /* as in YAML */
    const char *help;                /* one sentence, for the manual */
    unsigned places;                 /* PLACE_* where it may be named */
    const struct field *fields;      /* key -> offset, type, bounds, default, help: parser, errors, schema and manual */
    size_t options_size;
    size_t shared_size;              /* of the instance's state for all workers; zeroed at first, kept by name */
    size_t local_size;               /* of a worker's own */
    size_t state_size;               /* of its scope's */
    size_t attempt_size;             /* of an attempt's; upstream filters only */
    size_t needs_body;               /* collect up to this before on_request; 0: does not look */
    bool needs_body_whole;           /* a larger body is answered 413; else on_request sees the first part of it */
    size_t keep_body;                /* keep this much for another attempt */
    size_t (*keep_body_of)(const void *options);     /* the same, when options say how much; NULL: keep_body */
    size_t hold_max;                 /* bytes that HOLD may keep; 0: it never holds */
    uint64_t hold_time;              /* ns */
    bool resizes_body;               /* its on_response_body changes the length: Content-Length is dropped */
    bool resizes_request_body;       /* its on_request_body does */
    const char *const *provides;     /* attributes set for filters after it, e.g. "consumer"; NULL-terminated */

    /* Control thread, when a configuration is loaded. -1 when something is wrong: load_err() says what; may block. */
    int (*options_check)(void *options, struct load *) must_check;
    /* Control thread: makes zeroed state ready, or takes over new options without losing what is owed. */
    void (*shared_adopt)(void *shared, const void *options, bool fresh, uint64_t now);
    void (*shared_fini)(void *shared);
    /* The owning worker, when a snapshot arrives or is retired. */
    void (*local_init)(void *local, const void *options);
    void (*local_fini)(void *local);

    /* The owning worker. Any may be NULL. */
    enum verdict (*on_request)(struct call *);                       /* its scope is entered: head (and body) is there */
    enum verdict (*on_request_body)(struct call *, struct slice);
    enum verdict (*on_attempt)(struct call *);                       /* before an endpoint is picked */
    /* Would it let an attempt begin? Takes nothing. Asked before a retry, and of another leg before that is entered: then no other
     * hook of it ran yet, and there is no attempt_state. */
    bool (*may_attempt)(struct call *);
    /* FILTER_FAIL: not this one, pick another; when none is left, call->reason and not_before say why and how long. */
    enum verdict (*on_endpoint)(struct call *, size_t endpoint);
    enum verdict (*on_head)(struct call *, const struct outcome *);  /* the final head is here, or what failed before it */
    enum verdict (*on_response)(struct call *);                      /* the head that will be sent, replies made here too */
    enum verdict (*on_response_body)(struct call *, struct slice);   /* body_emit() adds bytes */
    void (*on_trailers)(struct call *);                              /* response trailers, if any: request.h */
    void (*on_attempt_end)(struct call *, const struct outcome *);
    void (*on_end)(struct call *, const struct outcome *);           /* of the scope that it lives in, once */

    /* What would on_request decide now? Charges nothing. FILTER_REPLY fills call->reply as on_request does. */
    enum verdict (*peek)(struct call *);

    /* What an instance counts: rows ended by one without a name, and their values at `now`, in the rows' order. Control
     * thread, while workers go on. */
    const struct figure *figures;
    void (*figures_read)(void *shared, const void *options, uint64_t now, union figure_value *);
    /* An order of the operator's to one instance (POST /command, `weir breaker`). False: it knows no such word; `commands` lists
     * those that it knows. Control thread, while workers go on. */
    const char *commands;
    bool (*command)(void *shared, const void *options, struct str word, uint64_t now);
    /* What the change of options means, in sentences: plan_say(). `shared` is NULL when nobody knows what is under way.
     * Control thread, while workers go on. */
    void (*plan)(void *shared, const void *from, const void *to, uint64_t now, struct plan_notes *);
    /* What stands for one key, given by the values of its parts: members of a JSON object, each with a comma before it.
     * False: the instance has no keys, or not of so many parts. Control thread, while workers go on. */
    bool (*key_print)(void *shared, const void *options, const struct str *values, size_t n, uint64_t now, struct page *);
};

/* filters.def as an array, in its order; NULL-terminated (filters/registry.c). Tests may add theirs to a copy. */
extern const struct filter *const filters_all[];

/* In plan(): a sentence without its full stop. */
void plan_say(struct plan_notes *, enum plan_note, const char *fmt, ...) printf_like(3, 4);

/* Asks for the same hook again at `when` (why: WHY_TIMER); then return FILTER_WAIT, or FILTER_HOLD. */
void wait_until(struct call *, uint64_t when);

/* Something taken that must come back: the core calls give_back(thing, now) when the scope ends, unless lease_end() or
 * lease_forget() came first. */
struct lease;
struct lease *lease_take(struct call *, enum scope, void (*give_back)(void *thing, uint64_t now), void *thing);
void lease_end(struct lease **, uint64_t now);        /* gives back now */
void lease_forget(struct lease **);                   /* it is no longer owed (spent for good) */

/* For answers from elsewhere: another worker, a store on the network. A handle outlives its request safely: a wake for
 * what is gone, or for what no longer waits, is dropped by the owner. */
struct wake_handle {
    struct mailbox *mailbox;           /* of the owner; workers outlive all handles */
    uint32_t slot;
    uint64_t generation;
};
struct wake_handle wake_handle(struct call *);

/* A wake-up, embedded in what is granted, so that posting it needs no memory and cannot fail. */
struct wake {
    struct mail mail;
    struct wake_handle handle;
    enum why why;
    /* Runs on the owner's thread once the hook ran, or nobody was there to be woken: the message is the callee's again. What
     * was granted belongs in a lease: so it comes back although nobody took it. */
    void (*over)(struct wake *);
};
void wake_post(struct wake *);         /* any thread; handle, why and over are set */

/* In body hooks: adds bytes behind what has passed so far, before this slice. Copied. The filter must be one that says
 * resizes_body, or resizes_request_body. */
void body_emit(struct call *, const void *at, size_t len);

#endif
