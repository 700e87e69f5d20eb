/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BREAKER_STATE_H
#define BREAKER_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A circuit breaker as a state machine over a rolling window, without requests: attempts are let in, end, and are
 * judged.
 *
 *     closed     all are let in. Opens when, of at least `min_requests` in the window, the share of failures is
 *                `errors` or more, or that of slow ones `slow` or more.
 *     open       nobody, until a jittered time: open_min * 2^k, at most open_max, +-20 %. k is how many times it has
 *                opened before since it last stood closed for longer than its ramp.
 *     half open  probes: one at a time, after a good answer two, after three four. A failed one opens it; five answers
 *                close it, unless too many of them were slow.
 *     ramping    closed for less than `ramp`: lets in a share that rises from 10 to 100 %, drawn for each.
 *     held open, held closed: by the operator, until breaker_state_hold(BREAKER_AUTO).
 *
 * What was let in is judged by the era that it was let in: whatever ends after the next transition moves nothing, so
 * that slow failures from before an outage's end do not open it again. A probe's place is free again when it ends, or
 * at its limit: one that never ends holds up nobody.
 *
 * Any thread, with one `now` each that may be a little behind another's. Nothing is locked but transitions and what a
 * probe does. A rule may differ from call to call: the newest counts from then on.
 */
struct rng;

enum { BREAKER_SLOTS = 10, BREAKER_PROBES = 4, BREAKER_GOOD = 5, BREAKER_CAUSES = 3 };

#define BREAKER_ALL 10000u               /* 100 % in the rule's unit */

struct breaker_rule {
    uint32_t errors, slow;               /* shares of what the window holds, in 1/100 %; slow 0: not looked at */
    uint64_t min_requests;               /* > 0 */
    uint64_t window;                     /* ns, >= BREAKER_WINDOW_MIN */
    uint64_t open_min, open_max;         /* ns, > 0 */
    uint64_t ramp;                       /* ns; 0: none */
};
#define BREAKER_WINDOW_MIN ((uint64_t)100000000)

/* As the figure breaker_state shows it. */
enum breaker_phase { BREAKER_CLOSED, BREAKER_HALF_OPEN, BREAKER_OPEN, BREAKER_RAMPING };

enum breaker_outcome {
    BREAKER_SUCCESS,
    BREAKER_FAILURE,
    BREAKER_SLOW,                        /* a good answer that took too long */
    BREAKER_NEUTRAL,                     /* says nothing about the upstream */
    BREAKER_PRESSURE,                    /* 429: it asks for less, which is no failure */
    BREAKER_OUTCOMES,
};

enum breaker_hold { BREAKER_AUTO, BREAKER_HELD_OPEN, BREAKER_HELD_CLOSED };

struct breaker_slot { _Atomic uint64_t requests, failures, slow; };

struct breaker_state {
    _Atomic uint64_t word;               /* where it stands, and since or until when: the era */
    _Atomic uint64_t last_bad;           /* the newest slot with a failure or a slow one */
    _Atomic uint64_t probes[BREAKER_PROBES];     /* the limit of each probe under way, ns; 0: free */
    _Atomic uint32_t answered;           /* by probes, in this half open: good ones */
    uint32_t answered_slow;              /* of them */
    uint32_t trips;                      /* times opened in a row: k + 1 */
    _Atomic uint32_t n_causes, causes[BREAKER_CAUSES];       /* the newest, in a ring */
    pthread_mutex_t lock;                /* for transitions, and what probes change */
    char apart[64];                      /* from what every attempt reads */
    struct breaker_slot slots[BREAKER_SLOTS];
};

/* What an attempt holds that was let in. Zeroed: it was not. */
struct breaker_pass {
    uint64_t era;
    uint64_t limit;                      /* of a probe: its place is free again then; 0: it is none */
    unsigned probe;                      /* its place */
};

/* A transition that this call made: for the one line in the log. */
struct breaker_change {
    bool made;
    enum breaker_phase from, to;
    uint64_t requests, failures, slow;   /* of the window when it opened from closed; else of the probes */
    uint64_t wait;                       /* ns that it will be open */
    unsigned n_causes;
    uint32_t causes[BREAKER_CAUSES];     /* the newest first */
};

/* When, by which numbers, with which luck. */
struct breaker_now {
    const struct breaker_rule *rule;
    uint64_t time;                       /* ns */
    struct rng *rng;
};

struct breaker_ask {
    uint64_t deadline;                   /* a probe keeps its place until then at the latest; ns, TIME_NEVER: none */
    uint64_t lucky;                      /* what breaker_state_would_admit() gave, or 0 */
    struct breaker_pass pass;            /* out, when it is let in: zeroed before */
    uint64_t wait;                       /* out, when it is not: when to come again; ns, > 0 */
    struct breaker_change change;        /* out */
};

void breaker_state_init(struct breaker_state *, enum breaker_hold);      /* of zeroed memory */
void breaker_state_fini(struct breaker_state *);

/* May an attempt go? True: its pass is to be given to breaker_state_judge() when it ends and, if it is a probe, to
 * breaker_state_return() before. */
bool breaker_state_admit(struct breaker_state *, const struct breaker_now *, struct breaker_ask *);

/* Would a further attempt be let in, should the one with this pass be judged a failure? Takes nothing. *lucky is for
 * the ask of the further one, so that its luck is not tried twice. */
bool breaker_state_would_admit(const struct breaker_state *, const struct breaker_now *, const struct breaker_pass *,
                               uint64_t *lucky);

static inline bool breaker_pass_is_probe(const struct breaker_pass *p) { return p->limit != 0; }

/* A probe's place is free again, unjudged. Once a pass. */
void breaker_state_return(struct breaker_state *, const struct breaker_pass *);

/* How what was let in has ended. `cause` is kept for the log if it was a failure or slow. */
void breaker_state_judge(struct breaker_state *, const struct breaker_now *, const struct breaker_pass *,
                         enum breaker_outcome, uint32_t cause, struct breaker_change *);

/* The operator's word. What was held open goes on half open; what was held closed, closed. */
void breaker_state_hold(struct breaker_state *, enum breaker_hold, uint64_t now, struct breaker_change *);

struct breaker_view {
    enum breaker_phase phase;
    enum breaker_hold hold;
    uint64_t requests, failures, slow;   /* in the window */
    uint64_t probes;                     /* under way */
    uint64_t wait;                       /* ns until it may be tried again; 0: now */
};
void breaker_state_view(const struct breaker_state *, const struct breaker_rule *, uint64_t now, struct breaker_view *);

#endif
