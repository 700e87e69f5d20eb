/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Four classes, each a ring of the flows that wait in it, each flow a list of waiters, oldest first.
 *
 * A flow exists while it has waiters. One that begins to wait joins its ring just behind the others, which is before
 * the flow whose turn it is; so it overtakes nobody, and a flow gains nothing by leaving and coming back. A pop takes
 * one waiter of the flow whose turn it is and passes the turn on: every waiter costs the same, one slot, so the
 * deficits of deficit round robin are always used up within their own turn and need not be kept.
 *
 * Flows hang in a list of all flows of their length, too. A length changes by one at a time, so the longest is always
 * known without a search.
 *
 * Adaptive LIFO needs to know since when a flow's head has been over half of the longest wait without a break. The head
 * changes in pop and remove only (a push into a flow that waits does not change it), and both look at it before and
 * after: what they find is therefore exact, although nobody looks in between.
 *
 * Every step takes a time that does not depend on how many wait, growth of the tables apart. Flows are named by hashes
 * with a secret (limit_key.h), so the table's own mixing need not withstand anybody.
 */
#include "filters/fair_queue.h"

#include "lib/check.h"
#include "lib/clock.h"
#include "lib/mem.h"

#define LIFO_AFTER (500 * NSEC_PER_MSEC)

enum { TABLE_FIRST = 8, LENGTHS_FIRST = 8 };

struct fair_flow {
    struct list waiters;             /* oldest first */
    struct list peers;               /* in by_length[waiting] */
    struct fair_flow *next, *prev;   /* in the ring */
    struct fair_flow *chain;         /* in the table, or among the free ones */
    uint64_t id;
    uint64_t over_since;             /* the head's wait is over half of the longest; TIME_NEVER: it was not yet */
    unsigned class;
    uint32_t waiting;
};

static struct fair_node *node_of(struct list *link) { return container_of(link, struct fair_node, link); }

/* --- the table ---------------------------------------------------------------------------------------------------- */

static struct fair_flow **bucket(const struct fair_queue *q, unsigned class, uint64_t id)
{
    uint64_t mixed = (id + class * 0xd1b54a32d192ed03u) * 0x9e3779b97f4a7c15u;
    return &q->table[mixed >> 32 & (q->table_size - 1)];
}

static struct fair_flow *find(const struct fair_queue *q, unsigned class, uint64_t id)
{
    if (q->flows == 0)
        return NULL;
    struct fair_flow *f = *bucket(q, class, id);
    while (f && (f->id != id || f->class != class))
        f = f->chain;
    return f;
}

static void table_add(struct fair_queue *q, struct fair_flow *f)
{
    struct fair_flow **at = bucket(q, f->class, f->id);
    f->chain = *at;
    *at = f;
}

static void table_remove(struct fair_queue *q, struct fair_flow *f)
{
    struct fair_flow **at = bucket(q, f->class, f->id);
    while (*at != f)
        at = &(*at)->chain;
    *at = f->chain;
}

static void table_grow(struct fair_queue *q)
{
    struct fair_flow **old = q->table;
    uint32_t n = q->table_size;
    q->table_size = n ? n * 2 : TABLE_FIRST;
    q->table = mem_array(q->table_size, sizeof(struct fair_flow *));
    for (uint32_t i = 0; i < n; i++)
        for (struct fair_flow *f = old[i], *next; f; f = next) {
            next = f->chain;
            table_add(q, f);
        }
    mem_free(old);
}

/* --- the lengths -------------------------------------------------------------------------------------------------- */

/* A list is moved by putting its new head beside the old one, and taking that out. */
static void lengths_grow(struct fair_class *c)
{
    uint32_t lengths = c->lengths ? c->lengths * 2 : LENGTHS_FIRST;
    struct list *by_length = mem_array(lengths, sizeof(struct list));
    for (uint32_t i = 0; i < lengths; i++) {
        list_init(&by_length[i]);
        if (i < c->lengths) {
            list_insert(&c->by_length[i], &by_length[i]);
            list_remove(&c->by_length[i]);
        }
    }
    mem_free(c->by_length);
    c->by_length = by_length;
    c->lengths = lengths;
}

/* By one up or down. */
static void set_length(struct fair_class *c, struct fair_flow *f, uint32_t n)
{
    list_remove(&f->peers);
    f->waiting = n;
    if (n >= c->lengths)
        lengths_grow(c);
    if (n > 0)
        list_push(&c->by_length[n], &f->peers);
    if (n > c->longest)
        c->longest = n;
    else if (list_empty(&c->by_length[c->longest]))
        c->longest--;
}

/* --- flows -------------------------------------------------------------------------------------------------------- */

static void ring_join(struct fair_class *c, struct fair_flow *f)
{
    if (!c->turn) {
        f->next = f->prev = f;
        c->turn = f;
    } else {
        f->next = c->turn;
        f->prev = c->turn->prev;
        f->prev->next = f;
        f->next->prev = f;
    }
    c->flows++;
}

static void ring_leave(struct fair_class *c, struct fair_flow *f)
{
    if (c->turn == f)
        c->turn = f->next == f ? NULL : f->next;
    f->prev->next = f->next;
    f->next->prev = f->prev;
    c->flows--;
}

static struct fair_flow *flow_begin(struct fair_queue *q, unsigned class, uint64_t id)
{
    struct fair_flow *f = q->free;
    if (f)
        q->free = f->chain;
    else
        f = mem_alloc(sizeof *f);
    *f = (struct fair_flow){.id = id, .class = class, .over_since = TIME_NEVER};
    list_init(&f->waiters);
    list_init(&f->peers);
    if (q->flows == q->table_size)
        table_grow(q);
    table_add(q, f);
    q->flows++;
    ring_join(&q->classes[class], f);
    return f;
}

static void flow_end(struct fair_queue *q, struct fair_flow *f)
{
    ring_leave(&q->classes[f->class], f);
    table_remove(q, f);
    q->flows--;
    f->chain = q->free;
    q->free = f;
}

static void look_at_head(struct fair_flow *f, uint64_t max_wait, uint64_t now)
{
    uint64_t half = time_after(node_of(f->waiters.next)->since, max_wait / 2);
    if (now <= half)
        f->over_since = TIME_NEVER;
    else if (f->over_since == TIME_NEVER)
        f->over_since = half;
}

static bool newest_first(const struct fair_flow *f, uint64_t now)
{
    return f->over_since != TIME_NEVER && now >= time_after(f->over_since, LIFO_AFTER);
}

/* --- the queue ---------------------------------------------------------------------------------------------------- */

void fair_queue_fini(struct fair_queue *q)
{
    check(q->waiting == 0 && q->flows == 0);
    for (struct fair_flow *f = q->free, *next; f; f = next) {
        next = f->chain;
        mem_free(f);
    }
    for (unsigned i = 0; i < FAIR_CLASSES; i++)
        mem_free(q->classes[i].by_length);
    mem_free(q->table);
    *q = (struct fair_queue){.waiting = 0};
}

void fair_queue_push(struct fair_queue *q, struct fair_node *node, unsigned class, uint64_t flow, uint64_t now)
{
    check(class < FAIR_CLASSES && !node->flow);
    struct fair_class *c = &q->classes[class];
    struct fair_flow *f = find(q, class, flow);
    if (!f)
        f = flow_begin(q, class, flow);
    node->flow = f;
    node->since = now;
    list_append(&f->waiters, &node->link);
    set_length(c, f, f->waiting + 1);
    c->waiting++;
    q->waiting++;
}

void fair_queue_remove(struct fair_queue *q, struct fair_node *node, uint64_t max_wait, uint64_t now)
{
    struct fair_flow *f = node->flow;
    check(f);
    struct fair_class *c = &q->classes[f->class];
    look_at_head(f, max_wait, now);
    node->flow = NULL;
    list_remove(&node->link);
    set_length(c, f, f->waiting - 1);
    c->waiting--;
    q->waiting--;
    if (f->waiting == 0)
        flow_end(q, f);
    else
        look_at_head(f, max_wait, now);
}

struct fair_node *fair_queue_pop(struct fair_queue *q, unsigned class, uint64_t max_wait, uint64_t now)
{
    check(class < FAIR_CLASSES);
    struct fair_class *c = &q->classes[class];
    struct fair_flow *f = c->turn;
    if (!f)
        return NULL;
    look_at_head(f, max_wait, now);
    struct fair_node *node = node_of(newest_first(f, now) ? f->waiters.prev : f->waiters.next);
    c->turn = f->next;
    fair_queue_remove(q, node, max_wait, now);
    return node;
}

unsigned fair_node_class(const struct fair_node *node)
{
    check(node->flow);
    return node->flow->class;
}

uint32_t fair_queue_position(const struct fair_queue *q, unsigned class, uint64_t flow)
{
    check(class < FAIR_CLASSES);
    const struct fair_class *c = &q->classes[class];
    const struct fair_flow *f = find(q, class, flow);
    uint64_t rounds = f ? (uint64_t)f->waiting + 1 : 1;
    uint64_t in_turn = rounds * (f ? c->flows : (uint64_t)c->flows + 1);
    uint32_t before = c->waiting < in_turn ? c->waiting : (uint32_t)in_turn;
    for (unsigned i = 0; i < class; i++)
        before += q->classes[i].waiting;
    return before;
}

struct fair_node *fair_queue_victim(const struct fair_queue *q, unsigned class, uint64_t flow)
{
    check(class < FAIR_CLASSES);
    for (unsigned last = FAIR_CLASSES; last-- > class;) {
        const struct fair_class *c = &q->classes[last];
        if (c->waiting == 0)
            continue;
        if (last == class) {
            const struct fair_flow *own = find(q, class, flow);
            if (own && own->waiting >= c->longest)
                return NULL;
        }
        const struct fair_flow *f = container_of(c->by_length[c->longest].next, struct fair_flow, peers);
        return node_of(f->waiters.prev);
    }
    return NULL;
}
