/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WORKER_H
#define WORKER_H

#include <event2/event.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "conf/snapshot.h"
#include "endpoint.h"
#include "lib/arena.h"
#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/list.h"
#include "lib/mailbox.h"
#include "lib/ring.h"
#include "lib/rng.h"
#include "metrics.h"
#include "relief.h"
#include "timers.h"
#include "trace.h"

/*
 * One thread that owns connections, requests, timers, pools and counters. Everything reachable from here is touched by
 * this thread alone, the mailbox and the counters' readers excepted.
 *
 * A turn: wait for events, run their callbacks, then mail, then what they left on the ready list, then due timers, then
 * write what is gathered, then free what died. Nothing is freed before the end of the turn.
 */
struct crowd;
struct stream;
struct request;
struct tls_tickets;
struct tls_worker;
struct view;
struct worker;

#define WORKER_SCRATCH (64 * 1024)
#define WORKERS_MAX 256
#define GATHER_MAX 64
#define GATHER_SMALL 8192

/* Where the bytes of the next writev are. */
struct gather {
    struct stream *owner;            /* NULL: empty */
    int n;
    size_t small_used;
    struct iovec v[GATHER_MAX];
    char small[GATHER_SMALL];        /* short-lived bytes: chunk heads, status lines */
};

/* Something to be freed at the end of the turn. Embedded in what dies. */
struct grave {
    struct grave *next;
    void (*bury)(struct worker *, struct grave *);
};

struct wake_slot {
    struct request *req;             /* NULL: free */
    uint64_t generation;
    uint32_t next_free;
};

struct worker {
    unsigned id;
    const struct clock *clock;
    struct event_base *base;         /* NULL: a simulation drives the turns */
    struct event *timer_event, *mail_event;
    uint64_t timer_at;               /* what timer_event is set to */
    uint64_t now;                    /* of this turn; 0: not read yet */
    struct timers timers;
    struct mailbox mailbox;
    struct rng rng;
    struct slab arena_blocks, buf_blocks, clients, upconns;
    struct gather gather;
    char *scratch;
    struct list ready;               /* of struct stream */
    struct grave *graves;
    struct view *view;               /* of the current snapshot */
    struct endpoints endpoints;      /* of all views */
    struct metrics metrics;
    _Atomic uint64_t longest_turn;   /* ns; of those over CLOCK_COARSE_NS, since the watchdog took it last */
    struct ring *log;                /* NULL: no access log */
    struct trace trace;
    struct wake_slot *wakes;
    uint32_t n_wakes, free_wake;     /* free_wake: index + 1; 0: none */
    struct list listeners, all_clients;
    enum memory_stage memory;                /* how short memory is */
    uint64_t connections;            /* accepted so far: numbers for the log */
    struct tls_worker *tls;          /* what tls.c needs; NULL before the first such stream */
    struct tls_tickets *tickets;     /* the process's */
    _Atomic uint64_t *open_connections;      /* of all workers, for the cap */
    uint64_t max_connections;
    struct crowd *crowd;                     /* of all workers, connections by address; NULL: not counted (tests/sim) */
    _Atomic uint64_t *kept_bytes;            /* of request bodies, of all workers, for their cap */
    bool accepting, draining, stopping;      /* accepting: listeners that are new start at once */
    uint64_t date_second;            /* what `date` says */
    char date[30];
    /* Asks for a stream to an address; tests/sim puts its own here. 0, or -1 with errno: failed at once. */
    int (*connect)(struct worker *, struct stream *, const struct address *, void (*on_event)(struct stream *, unsigned));
    void *sim;
};

void worker_init(struct worker *, unsigned id, const struct clock *, uint64_t seed, bool with_base);
void worker_fini(struct worker *);               /* all connections must be gone */

void worker_run(struct worker *);                /* turns until worker->stopping */
/* What follows a turn's events: ready list, timers, flush, graves. Returns true when there is work left for now. */
bool worker_turn(struct worker *);
uint64_t worker_next(const struct worker *);     /* ns of the next timer */

static inline uint64_t worker_now(struct worker *w)
{
    if (w->now == 0) {
        w->now = clock_mono(w->clock);
        mailbox_awake(&w->mailbox);
    }
    return w->now;
}

struct str worker_date(struct worker *);         /* for a Date field; the next call may overwrite it */
void gather_write(struct worker *);

/* Writes what is gathered. */
static inline void worker_flush(struct worker *w)
{
    if (w->gather.owner)
        gather_write(w);
}

void worker_bury(struct worker *, struct grave *, void (*bury)(struct worker *, struct grave *));

#endif
