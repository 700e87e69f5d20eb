/* SPDX-License-Identifier: Apache-2.0 */
#include "filters/fair_queue.h"

#include "lib/check.h"
#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/rng.h"
#include "test.h"

#define MSEC NSEC_PER_MSEC
#define SEC  NSEC_PER_SEC

struct person {
    struct fair_node node;
    unsigned class, number;
    uint64_t flow;
};

static void join(struct fair_queue *q, struct person *p, unsigned class, uint64_t flow, uint64_t now)
{
    *p = (struct person){.class = class, .flow = flow};
    fair_queue_push(q, &p->node, class, flow, now);
    EXPECT_EQ(fair_node_class(&p->node), class);
}

static struct person *person_of(struct fair_node *n) { return n ? container_of(n, struct person, node) : NULL; }

static struct person *pop(struct fair_queue *q, unsigned class, uint64_t now)
{
    struct fair_node *n = fair_queue_pop(q, class, 2 * SEC, now);
    EXPECT(!n || !n->flow);
    return person_of(n);
}

TEST(an_empty_queue)
{
    struct fair_queue q = {0};
    for (unsigned class = 0; class < FAIR_CLASSES; class++) {
        EXPECT(!fair_queue_pop(&q, class, SEC, 5));
        EXPECT(!fair_queue_victim(&q, class, 1));
        EXPECT_EQ(fair_queue_position(&q, class, 1), 0);
    }
    fair_queue_fini(&q);
}

TEST(one_flow_is_first_in_first_out)
{
    struct fair_queue q = {0};
    struct person p[5];
    for (unsigned i = 0; i < 5; i++)
        join(&q, &p[i], 0, 7, i);
    EXPECT_EQ(q.waiting, 5);
    for (unsigned i = 0; i < 5; i++)
        EXPECT(pop(&q, 0, 10) == &p[i]);
    EXPECT(!pop(&q, 0, 10));
    fair_queue_fini(&q);
}

/* The loud one has 30 waiters for each of the quiet one, and is there first; who of it is served comes back at once. */
TEST(a_flow_30_times_louder_gets_every_second_slot)
{
    struct fair_queue q = {0};
    enum { LOUD = 30 * 20, QUIET = 20 };
    struct person *loud = mem_array(LOUD, sizeof *loud), *quiet = mem_array(QUIET, sizeof *quiet);
    for (unsigned i = 0; i < LOUD; i++)
        join(&q, &loud[i], 1, 1, i);
    for (unsigned i = 0; i < QUIET; i++)
        join(&q, &quiet[i], 1, 2, LOUD + i);
    for (unsigned i = 0; i < QUIET; i++) {
        struct person *p = pop(&q, 1, 10000);
        EXPECT_EQ(p->flow, 1);
        join(&q, p, 1, 1, 10000);
        EXPECT(pop(&q, 1, 10000) == &quiet[i]);
    }
    for (unsigned i = 0; i < LOUD; i++)
        EXPECT_EQ(pop(&q, 1, 10000)->flow, 1);
    fair_queue_fini(&q);
    mem_free(loud);
    mem_free(quiet);
}

/* A flow that keeps one waiter there, joining anew after each, gets its turn in each round and no more. */
TEST(coming_back_gains_nothing)
{
    struct fair_queue q = {0};
    struct person p[7];
    char order[32] = "";
    for (unsigned i = 0; i < 6; i++)
        join(&q, &p[i], 0, i / 2, 0);
    join(&q, &p[6], 0, 9, 0);
    for (unsigned i = 0; i < 12; i++) {
        struct person *got = pop(&q, 0, 1);
        order[i] = (char)('0' + got->flow);
        join(&q, got, 0, got->flow, 1);
    }
    EXPECT_CSTR(order, "012901290129");
    /* Who leaves and comes back stands behind all others. */
    fair_queue_remove(&q, &p[0].node, 2 * SEC, 1);
    fair_queue_remove(&q, &p[1].node, 2 * SEC, 1);
    join(&q, &p[0], 0, 0, 1);
    order[4] = '\0';
    for (unsigned i = 0; i < 4; i++)
        order[i] = (char)('0' + pop(&q, 0, 1)->flow);
    EXPECT_CSTR(order, "1290");
    while (pop(&q, 0, 1))
        ;
    fair_queue_fini(&q);
}

TEST(a_flow_that_goes_passes_its_turn_on)
{
    struct fair_queue q = {0};
    struct person p[3];
    for (unsigned i = 0; i < 3; i++)
        join(&q, &p[i], 0, i, 0);
    fair_queue_remove(&q, &p[0].node, SEC, 0);
    EXPECT(pop(&q, 0, 0) == &p[1]);
    EXPECT(pop(&q, 0, 0) == &p[2]);
    EXPECT(!pop(&q, 0, 0));
    fair_queue_fini(&q);
}

TEST(classes_are_apart)
{
    struct fair_queue q = {0};
    struct person p[8];
    for (unsigned i = 0; i < 8; i++)
        join(&q, &p[i], i % 4, 5, i);
    for (unsigned class = FAIR_CLASSES; class-- > 0;) {
        EXPECT(pop(&q, class, 9) == &p[class]);
        EXPECT(pop(&q, class, 9) == &p[class + 4]);
        EXPECT(!pop(&q, class, 9));
    }
    fair_queue_fini(&q);
}

TEST(position)
{
    struct fair_queue q = {0};
    struct person p[16];
    unsigned n = 0;
    for (unsigned i = 0; i < 6; i++)
        join(&q, &p[n++], 1, 1, 0);
    join(&q, &p[n++], 1, 2, 0);
    join(&q, &p[n++], 1, 3, 0);
    join(&q, &p[n++], 0, 1, 0);
    join(&q, &p[n++], 0, 4, 0);
    static const struct {
        unsigned class;
        uint64_t flow;
        uint32_t position;
    } rows[] = {
        {0, 1, 2},         /* all in the class: 2; (1 + 1) * 2 flows */
        {0, 9, 2},         /* 1 * 3 flows */
        {1, 1, 2 + 8},     /* 7 * 3 flows are more than all 8 */
        {1, 2, 2 + 6},     /* 2 * 3 */
        {1, 9, 2 + 4},     /* 1 * 4 */
        {2, 1, 10},        /* all before, none in its own */
        {3, 9, 10},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("class %u, flow %u", rows[i].class, (unsigned)rows[i].flow);
        EXPECT_EQ(fair_queue_position(&q, rows[i].class, rows[i].flow), rows[i].position);
    }
    while (n > 0)
        fair_queue_remove(&q, &p[--n].node, SEC, 0);
    fair_queue_fini(&q);
}

TEST(who_makes_room)
{
    struct fair_queue q = {0};
    struct person p[6];
    join(&q, &p[0], 1, 1, 0);
    join(&q, &p[1], 1, 1, 1);
    join(&q, &p[2], 1, 2, 2);
    /* Fewer than the longest has; as many; more important; less important. */
    EXPECT(person_of(fair_queue_victim(&q, 1, 9)) == &p[1]);
    EXPECT(person_of(fair_queue_victim(&q, 1, 2)) == &p[1]);
    EXPECT(!fair_queue_victim(&q, 1, 1));
    EXPECT(person_of(fair_queue_victim(&q, 0, 1)) == &p[1]);
    EXPECT(!fair_queue_victim(&q, 2, 9));
    /* The last class gives, although its flow is short. */
    join(&q, &p[3], 3, 1, 3);
    EXPECT(person_of(fair_queue_victim(&q, 1, 1)) == &p[3]);
    EXPECT(person_of(fair_queue_victim(&q, 2, 9)) == &p[3]);
    EXPECT(!fair_queue_victim(&q, 3, 1));
    EXPECT(person_of(fair_queue_victim(&q, 3, 2)) == &p[3]);
    fair_queue_remove(&q, &p[3].node, SEC, 3);
    /* Of two as long the one that became so last. */
    join(&q, &p[3], 1, 2, 3);
    EXPECT(person_of(fair_queue_victim(&q, 1, 9)) == &p[3]);
    EXPECT(!fair_queue_victim(&q, 1, 2));
    join(&q, &p[4], 1, 1, 4);
    join(&q, &p[5], 1, 3, 5);
    EXPECT(person_of(fair_queue_victim(&q, 1, 2)) == &p[4]);
    EXPECT_EQ(q.waiting, 6);
    for (unsigned i = 0; i < 6; i++)
        fair_queue_remove(&q, &p[i].node, SEC, 6);
    fair_queue_fini(&q);
}

/* Flows of the length that the table of lengths grew behind are not forgotten. */
TEST(the_longest_is_known_at_any_length)
{
    for (unsigned length = 1; length < 70; length++) {
        struct fair_queue q = {0};
        struct person p[2][70];
        test_row("%u", length);
        for (unsigned i = 0; i < length; i++)
            for (unsigned flow = 0; flow < 2; flow++)
                join(&q, &p[flow][i], 0, flow, i);
        join(&q, &p[1][length], 0, 1, length);
        EXPECT(person_of(fair_queue_victim(&q, 0, 0)) == &p[1][length]);
        for (unsigned i = 0; i < 2; i++)
            fair_queue_remove(&q, &p[1][length - i].node, SEC, length);
        EXPECT(person_of(fair_queue_victim(&q, 0, 9)) == &p[0][length - 1]);
        while (pop(&q, 0, length))
            ;
        fair_queue_fini(&q);
    }
}

/* The head is over half of 2 s at 1 s, and has been for 500 ms at 1.5 s. */
TEST(the_newest_first_from_the_nanosecond_on)
{
    static const struct {
        uint64_t seen, now;          /* 0: nobody looked before */
        bool newest;
    } rows[] = {
        {0, 0, false},
        {0, SEC, false},
        {0, 1500 * MSEC - 1, false},
        {0, 1500 * MSEC, true},
        {1200 * MSEC, 1500 * MSEC - 1, false},
        {1200 * MSEC, 1500 * MSEC, true},
        {SEC, 1500 * MSEC, true},
        {0, 100 * SEC, true},
    };
    const uint64_t start = 77 * SEC;
    for (size_t i = 0; i < array_len(rows); i++) {
        struct fair_queue q = {0};
        struct person p[4];
        test_row("%zu", i);
        for (unsigned k = 0; k < 4; k++)
            join(&q, &p[k], 0, 1, start + k);
        if (rows[i].seen)
            fair_queue_remove(&q, &p[2].node, 2 * SEC, start + rows[i].seen);
        else
            fair_queue_remove(&q, &p[2].node, 2 * SEC, start + 2);
        EXPECT(pop(&q, 0, start + rows[i].now) == &p[rows[i].newest ? 3 : 0]);
        EXPECT(pop(&q, 0, start + rows[i].now) == &p[1]);
        EXPECT(pop(&q, 0, start + rows[i].now) == &p[rows[i].newest ? 0 : 3]);
        fair_queue_fini(&q);
    }
}

/* Heads that follow each other, all over half of the longest wait, are no break; one that is not is. */
TEST(a_young_head_ends_the_count)
{
    for (int young = 0; young < 2; young++)
        for (int left = 0; left < 2; left++) {
            struct fair_queue q = {0};
            struct person p[4];
            test_row("%s head, %s", young ? "young" : "old", left ? "left" : "popped");
            join(&q, &p[0], 0, 1, 0);
            join(&q, &p[1], 0, 1, young ? 300 * MSEC : 299 * MSEC);
            join(&q, &p[2], 0, 1, 700 * MSEC);
            join(&q, &p[3], 0, 1, 700 * MSEC);
            /* At 1.3 s the second head has waited for half of 2 s, or a millisecond more. */
            if (left)
                fair_queue_remove(&q, &p[0].node, 2 * SEC, 1300 * MSEC);
            else
                EXPECT(pop(&q, 0, 1300 * MSEC) == &p[0]);
            EXPECT(pop(&q, 0, 1500 * MSEC) == &p[young ? 1 : 3]);
            while (pop(&q, 0, 1500 * MSEC))
                ;
            fair_queue_fini(&q);
        }
}

TEST(a_flow_that_was_empty_begins_anew)
{
    struct fair_queue q = {0};
    struct person p[3];
    join(&q, &p[0], 0, 1, 0);
    EXPECT(pop(&q, 0, 100 * SEC) == &p[0]);
    for (unsigned i = 0; i < 3; i++)
        join(&q, &p[i], 0, 1, 100 * SEC);
    EXPECT(pop(&q, 0, 101 * SEC) == &p[0]);
    EXPECT(pop(&q, 0, 101 * SEC + 500 * MSEC) == &p[2]);
    EXPECT(pop(&q, 0, 101 * SEC + 500 * MSEC) == &p[1]);
    fair_queue_fini(&q);
}

/* Newest first is within a flow; the flows go in turn as before. */
TEST(round_robin_stays)
{
    struct fair_queue q = {0};
    struct person p[6];
    static const unsigned wanted[] = {4, 1, 2, 3, 0, 5};
    for (unsigned i = 0; i < 6; i++)
        join(&q, &p[i], 0, i % 2, i % 2 ? 10 * SEC : 0);
    for (unsigned i = 0; i < 6; i++)
        EXPECT(pop(&q, 0, 10 * SEC) == &p[wanted[i]]);
    fair_queue_fini(&q);
}

TEST(extreme_times)
{
    struct fair_queue q = {0};
    struct person p[3];
    for (unsigned i = 0; i < 3; i++)
        join(&q, &p[i], 0, 1, UINT64_MAX - 10);
    EXPECT(pop(&q, 0, UINT64_MAX) == &p[0]);
    EXPECT(person_of(fair_queue_pop(&q, 0, UINT64_MAX, UINT64_MAX)) == &p[1]);
    /* A worker's clock may stand behind that of the worker that pushed. */
    EXPECT(pop(&q, 0, 0) == &p[2]);
    fair_queue_fini(&q);
}

/* --- against a slow model: arrays in the order of things, and each flow's whole history --------------------------- */

enum { PEOPLE = 1500, FLOWS = 700, HISTORY = 4000 };

struct model_flow {
    struct person *in[PEOPLE];
    unsigned n;
    uint64_t changed;                /* number of the operation that changed n last */
    uint64_t head_at[HISTORY], head_since[HISTORY];
    unsigned heads;
};

struct model {
    struct model_flow (*flow)[FLOWS];        /* [class] */
    unsigned ring[FAIR_CLASSES][FLOWS], flows[FAIR_CLASSES], waiting[FAIR_CLASSES];
    uint64_t operations, max_wait;
};

static void model_head(struct model_flow *f, uint64_t now)
{
    if (f->n == 0) {
        f->heads = 0;
    } else {
        check(f->heads < HISTORY);
        f->head_at[f->heads] = now;
        f->head_since[f->heads++] = f->in[0]->node.since;
    }
}

/* Goes back through the heads while each, when it took over, had waited for long, and the one before it too. */
static bool model_newest(const struct model *m, const struct model_flow *f, uint64_t now)
{
    uint64_t half = m->max_wait / 2, since = now;
    for (unsigned i = f->heads; i-- > 0;) {
        if (since <= f->head_since[i] + half)
            break;
        since = f->head_since[i] + half > f->head_at[i] ? f->head_since[i] + half : f->head_at[i];
        if (since != f->head_at[i])
            break;
    }
    return f->in[0]->node.since + half < now && now - since >= 500 * MSEC;
}

static void model_push(struct model *m, struct person *p, uint64_t now)
{
    struct model_flow *f = &m->flow[p->class][p->flow];
    f->in[f->n++] = p;
    f->changed = m->operations;
    m->waiting[p->class]++;
    if (f->n == 1) {
        m->ring[p->class][m->flows[p->class]++] = (unsigned)p->flow;
        model_head(f, now);
    }
}

static void model_remove(struct model *m, struct person *p, uint64_t now)
{
    struct model_flow *f = &m->flow[p->class][p->flow];
    unsigned *ring = m->ring[p->class], at = 0;
    while (f->in[at] != p)
        at++;
    memmove(&f->in[at], &f->in[at + 1], (--f->n - at) * sizeof f->in[0]);
    f->changed = m->operations;
    m->waiting[p->class]--;
    if (at == 0)
        model_head(f, now);
    if (f->n > 0)
        return;
    for (at = 0; ring[at] != p->flow;)
        at++;
    memmove(&ring[at], &ring[at + 1], (--m->flows[p->class] - at) * sizeof ring[0]);
}

static struct person *model_pop(struct model *m, unsigned class, uint64_t now)
{
    if (m->flows[class] == 0)
        return NULL;
    unsigned *ring = m->ring[class], first = ring[0], n = m->flows[class];
    struct model_flow *f = &m->flow[class][first];
    memmove(&ring[0], &ring[1], (n - 1) * sizeof ring[0]);
    ring[n - 1] = first;
    struct person *p = f->in[model_newest(m, f, now) ? f->n - 1 : 0];
    model_remove(m, p, now);
    return p;
}

static unsigned model_position(const struct model *m, unsigned class, uint64_t flow)
{
    unsigned own = m->flow[class][flow].n, before = 0;
    unsigned turns = (own + 1) * (m->flows[class] + (own == 0));
    for (unsigned i = 0; i < class; i++)
        before += m->waiting[i];
    return before + (turns < m->waiting[class] ? turns : m->waiting[class]);
}

static struct person *model_victim(const struct model *m, unsigned class, uint64_t flow)
{
    unsigned last = FAIR_CLASSES;
    while (last > 0 && m->waiting[last - 1] == 0)
        last--;
    if (last == 0 || --last < class)
        return NULL;
    const struct model_flow *longest = &m->flow[last][0];
    for (unsigned i = 1; i < FLOWS; i++) {
        const struct model_flow *f = &m->flow[last][i];
        if (f->n > longest->n || (f->n == longest->n && f->changed > longest->changed))
            longest = f;
    }
    if (last == class && m->flow[class][flow].n >= longest->n)
        return NULL;
    return longest->in[longest->n - 1];
}

struct run {
    struct fair_queue q;
    struct model m;
    struct person people[PEOPLE];
    unsigned in[PEOPLE], out[PEOPLE], n_in, n_out;   /* numbers of those who wait, and who do not */
    uint64_t now;
    struct rng rng;
};

static void run_left(struct run *r, struct person *p)
{
    unsigned at = 0;
    while (r->in[at] != p->number)
        at++;
    r->in[at] = r->in[--r->n_in];
    r->out[r->n_out++] = p->number;
}

static bool run_step(struct run *r, unsigned flows, unsigned push)
{
    unsigned class = (unsigned)rng_below(&r->rng, FAIR_CLASSES), what = (unsigned)rng_below(&r->rng, 100);
    uint64_t flow = rng_below(&r->rng, 2) ? rng_below(&r->rng, flows) : rng_below(&r->rng, 3);
    bool ok = true;
    r->m.operations++;
    r->now += rng_below(&r->rng, 2) ? 0 : rng_below(&r->rng, 40 * MSEC);
    if (what < push && r->n_out > 0) {
        struct person *p = &r->people[r->out[--r->n_out]];
        r->in[r->n_in++] = p->number;
        p->class = class;
        p->flow = flow;
        fair_queue_push(&r->q, &p->node, class, flow, r->now);
        model_push(&r->m, p, r->now);
    } else if (what < push + (100 - push) / 3 && r->n_in > 0) {
        struct person *p = &r->people[r->in[rng_below(&r->rng, r->n_in)]];
        model_remove(&r->m, p, r->now);
        fair_queue_remove(&r->q, &p->node, r->m.max_wait, r->now);
        run_left(r, p);
    } else {
        struct person *wanted = model_pop(&r->m, class, r->now);
        ok &= EXPECT(person_of(fair_queue_pop(&r->q, class, r->m.max_wait, r->now)) == wanted);
        if (wanted)
            run_left(r, wanted);
    }
    class = (unsigned)rng_below(&r->rng, FAIR_CLASSES);
    flow = rng_below(&r->rng, flows);
    ok &= EXPECT_EQ(r->q.waiting, r->n_in);
    ok &= EXPECT_EQ(r->q.classes[class].waiting, r->m.waiting[class]);
    ok &= EXPECT_EQ(r->q.classes[class].flows, r->m.flows[class]);
    ok &= EXPECT_EQ(fair_queue_position(&r->q, class, flow), model_position(&r->m, class, flow));
    ok &= EXPECT(person_of(fair_queue_victim(&r->q, class, flow)) == model_victim(&r->m, class, flow));
    return ok;
}

TEST(random_operations_against_a_model)
{
    static const struct {
        unsigned flows, push;        /* of 100 operations */
        uint64_t max_wait;
        unsigned steps;
    } rows[] = {{3, 50, 2 * SEC, 8000}, {12, 52, SEC, 8000}, {40, 45, 200 * MSEC, 4000}, {FLOWS, 70, 10 * SEC, 4000},
                {5, 80, 3 * SEC, 3000}};
    struct run *r = mem_zalloc(sizeof *r);
    r->m.flow = mem_array(FAIR_CLASSES * FLOWS, sizeof(struct model_flow));
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("row %zu", i);
        rng_seed(&r->rng, 4711 + i);
        r->m.max_wait = rows[i].max_wait;
        r->n_in = 0;
        r->n_out = PEOPLE;
        for (unsigned k = 0; k < PEOPLE; k++)
            r->people[k].number = r->out[k] = k;
        for (unsigned k = 0; k < rows[i].steps && run_step(r, rows[i].flows, rows[i].push); k++)
            ;
        while (r->n_in > 0 && run_step(r, rows[i].flows, 0))
            ;
        fair_queue_fini(&r->q);
    }
    mem_free(r->m.flow);
    mem_free(r);
}

static void fini_with_waiters(void)
{
    struct fair_queue q = {0};
    struct person p;
    join(&q, &p, 0, 1, 0);
    fair_queue_fini(&q);
}

static void push_twice(void)
{
    struct fair_queue q = {0};
    struct person p;
    join(&q, &p, 0, 1, 0);
    fair_queue_push(&q, &p.node, 0, 1, 0);
}

static void remove_what_does_not_wait(void)
{
    struct fair_queue q = {0};
    struct person p = {.class = 0};
    fair_queue_remove(&q, &p.node, 0, 0);
}

TEST(misuse_is_a_bug)
{
    EXPECT_DIES(fini_with_waiters, "check failed");
    EXPECT_DIES(push_twice, "check failed");
    EXPECT_DIES(remove_what_does_not_wait, "check failed");
}
