/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SEMAPHORE_H
#define SEMAPHORE_H

#include <stdbool.h>
#include <stdint.h>
#include "filter.h"
#include "filters/fair_queue.h"

/*
 * Counted slots for all workers, with a fair queue in front: one semaphore, or one a key.
 *
 * Exact for the process: never more than `cap` slots of a class are out, and no waiter exists whose class may use a
 * free slot. Entering and leaving is one compare and exchange while nobody waits; a lock is taken only to queue, to
 * leave a queue and to grant, and, of semaphores by key, to find one.
 *
 * A ticket is all that a caller holds: nothing, a place in the queue, or a slot. It ends by semaphore_leave(), whatever
 * it is then and however often that is said. It belongs to the caller's worker, and so do all calls with it.
 */
struct semaphores;
struct waiter;

struct semaphore_rule {
    uint32_t max;                    /* slots, > 0 */
    uint32_t cap[FAIR_CLASSES];      /* slots that a class may use, 0 < cap <= max, the first is max, none grows */
    uint32_t queue;                  /* waiters at the most */
    uint64_t max_wait;               /* ns in the queue */
};

enum ticket_state { TICKET_NONE, TICKET_WAITING, TICKET_HELD };

struct ticket {
    enum ticket_state state;
    struct semaphores *all;
    struct semaphore *sem;
    struct waiter *waiter;           /* of TICKET_WAITING */
    uint64_t since;                  /* ns: when the slot was got; of TICKET_WAITING, when the wait began */
};

struct semaphore_ask {
    uint64_t key;                    /* which semaphore; not looked at when there is only one */
    uint64_t flow;                   /* of fair_by */
    unsigned class;
    uint64_t deadline;               /* ns; TIME_NEVER: none */
};

enum semaphore_answer {
    SEMAPHORE_ENTERED,               /* the ticket holds a slot */
    SEMAPHORE_WAITS,                 /* it waits; the handle is woken when it got a slot, or was put out */
    SEMAPHORE_FULL,                  /* the queue is, and nobody in it has to make room; or it had to itself */
    SEMAPHORE_HOPELESS,              /* it would wait longer than max_wait, or than the deadline allows */
};

/* Control thread. */
struct semaphores *semaphores_new(bool keyed, const struct semaphore_rule *);
void semaphores_free(struct semaphores *);                   /* all tickets have ended; NULL is legal */
/* Nobody is cut: what is over a lower max drains; waiters that a higher one lets in are woken. */
void semaphores_set_rule(struct semaphores *, const struct semaphore_rule *, uint64_t now);

/* A slot, if one is free and nobody waits. False: semaphore_wait(). The ticket is TICKET_NONE before. */
bool semaphore_try(struct semaphores *, const struct semaphore_ask *, uint64_t now, struct ticket *);
/* A slot after all, a place in the queue, or a refusal: *wait is then the expected wait, ns, > 0. */
enum semaphore_answer semaphore_wait(struct semaphores *, const struct semaphore_ask *, struct wake_handle,
                                     uint64_t now, struct ticket *, uint64_t *wait);
/* What it would be told if it came at `when`, not before `now`, and left `own` now: another ticket of its caller's, which holds a
 * slot or nothing. Takes nothing. A place that `own` makes free is its only if it comes at once: others wait for that too. */
enum semaphore_answer semaphore_would(struct semaphores *, const struct semaphore_ask *, const struct ticket *own,
                                      uint64_t when, uint64_t now);
/* For a ticket that waits, when its hook was woken, by whomever: did it get its slot? SEMAPHORE_FULL: it was put out,
 * the ticket is over. SEMAPHORE_WAITS: not yet; who then gives up says semaphore_leave(). *wait is set for both: what
 * the caller would have to expect if it came now, ns, > 0. */
enum semaphore_answer semaphore_claim(struct ticket *, uint64_t now, uint64_t *wait);
/* Gives back what the ticket is: a slot goes to the next waiter. The ticket is TICKET_NONE after. */
void semaphore_leave(struct ticket *, uint64_t now);

struct semaphore_stats {
    uint64_t in_flight, waiting;     /* of all keys */
    uint64_t keys;                   /* semaphores that somebody holds or waits for; without keys: 1 */
    uint64_t service;                /* ns that a slot is held, moving average (EWMA, 1/8) */
};
void semaphores_stats(struct semaphores *, struct semaphore_stats *);                     /* any thread */
/* How many keys hold more than `max` slots (without keys: 1 or 0). Any thread; goes through all keys. */
uint64_t semaphores_over(struct semaphores *, uint64_t max);
/* Says what another rule means for those who hold or wait (filter.h, plan_say()). Any thread. */
void semaphores_plan(struct semaphores *, const struct semaphore_rule *, struct plan_notes *);
/* Of one key; false: nobody holds or waits. Any thread. */
bool semaphores_of_key(struct semaphores *, uint64_t key, struct semaphore_stats *);

#endif
