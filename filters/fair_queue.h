/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FAIR_QUEUE_H
#define FAIR_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/list.h"

/*
 * Who waits for a slot, in the order in which they get one (POLICY.md, concurrency): the class first; in a class the
 * flows (keys of fair_by) in turn, one slot each: deficit round robin (Shreedhar and Varghese 1995) where every packet
 * has the same size; in a flow the oldest first, or the newest first while the oldest has waited longer than half the
 * longest wait for 500 ms: then the oldest will give up anyway, and the newest can still be served in time (adaptive
 * LIFO).
 *
 * A plain structure: no lock, no clock. Zeroed is empty; it takes memory only while somebody waits or has waited.
 */
enum { FAIR_CLASSES = 4 };           /* 0 is served first */

struct fair_flow;

/* Embedded in what waits. In a queue from push to pop or remove. */
struct fair_node {
    struct list link;
    struct fair_flow *flow;          /* NULL: in no queue */
    uint64_t since;                  /* ns, when it was pushed */
};

struct fair_class {
    struct fair_flow *turn;          /* the ring of flows that wait: whose turn it is; NULL: nobody waits */
    uint32_t waiting, flows;
    struct list *by_length;          /* [n]: flows with n waiters */
    uint32_t longest, lengths;       /* the longest flow's waiters; entries of by_length */
};

struct fair_queue {
    struct fair_class classes[FAIR_CLASSES];
    struct fair_flow **table;        /* (class, flow) -> struct, chained */
    uint32_t table_size, flows;
    uint32_t waiting;                /* of all classes */
    struct fair_flow *free;          /* flows to be used again */
};

void fair_queue_fini(struct fair_queue *);                   /* must be empty; then it is as if zeroed */
void fair_queue_push(struct fair_queue *, struct fair_node *, unsigned class, uint64_t flow, uint64_t now);
/* The longest wait and the time are for the flow's next head: has it waited long too? */
void fair_queue_remove(struct fair_queue *, struct fair_node *, uint64_t max_wait, uint64_t now);
/* The next one of the given class, taken out; NULL: nobody of it waits. */
struct fair_node *fair_queue_pop(struct fair_queue *, unsigned class, uint64_t max_wait, uint64_t now);
unsigned fair_node_class(const struct fair_node *);

/* How many are served before a newcomer at the most: min(those who wait in its class, (own flow's + 1) * flows that
 * wait, its own counted), and all who wait in classes before it. */
uint32_t fair_queue_position(const struct fair_queue *, unsigned class, uint64_t flow);

/* Who has to make room for a newcomer when the queue is full: the newest of the longest flow of the last class that
 * waits, if that class comes after the newcomer's, or is the newcomer's and the flow is longer than the newcomer's own
 * would be without it. Of several longest flows the one whose length changed last. NULL: nobody, the newcomer is
 * refused. Stays in the queue. */
struct fair_node *fair_queue_victim(const struct fair_queue *, unsigned class, uint64_t flow);

#endif
