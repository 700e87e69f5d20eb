/* SPDX-License-Identifier: Apache-2.0 */
#include "filters/semaphore.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include "lib/check.h"
#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/rng.h"
#include "test.h"

#define MSEC NSEC_PER_MSEC
#define SEC  NSEC_PER_SEC

enum { PEOPLE = 24 };

/* Who asks, and where the mail for them goes: a worker with its requests, as far as a semaphore can tell. */
struct person {
    struct ticket ticket;
    struct semaphore_ask ask;
    uint64_t generation;             /* of its wait */
    unsigned woken;
    enum why why;
};

struct office {
    struct mailbox box;
    struct semaphores *all;
    struct person people[PEOPLE];
    uint64_t wait;                   /* what was told last */
    unsigned undelivered;            /* wakes for a wait that is over */
};

static void deliver(struct mail *mail, void *owner)
{
    struct wake *w = container_of(mail, struct wake, mail);
    struct office *o = owner;
    struct person *p = &o->people[w->handle.slot];
    if (p->generation == w->handle.generation) {
        p->woken++;
        p->why = w->why;
    } else {
        o->undelivered++;
    }
    w->over(w);
}

void wake_post(struct wake *w)
{
    w->mail.deliver = deliver;
    mailbox_post(w->handle.mailbox, &w->mail);
}

static struct semaphore_rule rule(uint32_t max, uint32_t queue)
{
    return (struct semaphore_rule){.max = max, .cap = {max, max, max, max}, .queue = queue, .max_wait = 2 * SEC};
}

static void office_open(struct office *o, bool keyed, struct semaphore_rule r)
{
    *o = (struct office){.all = semaphores_new(keyed, &r)};
    mailbox_init(&o->box, false);
}

static unsigned drain(struct office *o) { return mailbox_drain(&o->box, o); }

static void office_close(struct office *o)
{
    struct semaphore_stats s;
    for (unsigned i = 0; i < PEOPLE; i++)
        semaphore_leave(&o->people[i].ticket, 0);
    drain(o);
    semaphores_stats(o->all, &s);
    EXPECT_EQ(s.in_flight, 0);
    EXPECT_EQ(s.waiting, 0);
    semaphores_free(o->all);
    mailbox_fini(&o->box);
}

static enum semaphore_answer ask(struct office *o, struct person *p, uint64_t now)
{
    struct wake_handle handle = {&o->box, (uint32_t)(p - o->people), ++p->generation};
    p->woken = 0;
    o->wait = 0;
    if (semaphore_try(o->all, &p->ask, now, &p->ticket))
        return SEMAPHORE_ENTERED;
    EXPECT_EQ(p->ticket.state, TICKET_NONE);
    return semaphore_wait(o->all, &p->ask, handle, now, &p->ticket, &o->wait);
}

static enum semaphore_answer enter(struct office *o, unsigned i, unsigned class, uint64_t flow, uint64_t now)
{
    o->people[i].ask = (struct semaphore_ask){.flow = flow, .class = class, .deadline = TIME_NEVER};
    return ask(o, &o->people[i], now);
}

static enum semaphore_answer enter_key(struct office *o, unsigned i, uint64_t key)
{
    o->people[i].ask = (struct semaphore_ask){.key = key, .flow = i, .deadline = TIME_NEVER};
    return ask(o, &o->people[i], 0);
}

static void leave(struct office *o, unsigned i, uint64_t now)
{
    o->people[i].generation++;
    semaphore_leave(&o->people[i].ticket, now);
    EXPECT_EQ(o->people[i].ticket.state, TICKET_NONE);
}

static enum semaphore_answer claim(struct office *o, unsigned i, uint64_t now)
{
    o->wait = 0;
    return semaphore_claim(&o->people[i].ticket, now, &o->wait);
}

static void expect_out(struct office *o, uint64_t in_flight, uint64_t waiting)
{
    struct semaphore_stats s;
    semaphores_stats(o->all, &s);
    EXPECT_EQ(s.in_flight, in_flight);
    EXPECT_EQ(s.waiting, waiting);
}

TEST(no_more_than_max)
{
    for (int keyed = 0; keyed < 2; keyed++) {
        struct office o;
        struct semaphore_ask any = {.deadline = TIME_NEVER};
        struct ticket none = {.state = TICKET_NONE};
        office_open(&o, keyed, rule(3, 10));
        for (unsigned i = 0; i < 3; i++) {
            EXPECT(semaphore_try(o.all, &any, 7, &o.people[i].ticket));
            EXPECT_EQ(o.people[i].ticket.state, TICKET_HELD);
            EXPECT_EQ(o.people[i].ticket.since, 7);
        }
        EXPECT(!semaphore_try(o.all, &any, 7, &none));
        EXPECT_EQ(none.state, TICKET_NONE);
        expect_out(&o, 3, 0);
        leave(&o, 1, 8);
        expect_out(&o, 2, 0);
        EXPECT(semaphore_try(o.all, &any, 9, &o.people[1].ticket));
        EXPECT(!semaphore_try(o.all, &any, 9, &none));
        office_close(&o);
    }
}

TEST(a_slot_that_is_left_wakes_the_next)
{
    struct office o;
    office_open(&o, false, rule(1, 10));
    EXPECT_EQ(enter(&o, 0, 0, 1, 0), SEMAPHORE_ENTERED);
    EXPECT_EQ(enter(&o, 1, 0, 1, 1), SEMAPHORE_WAITS);
    EXPECT_EQ(enter(&o, 2, 0, 1, 2), SEMAPHORE_WAITS);
    EXPECT_EQ(o.people[1].ticket.state, TICKET_WAITING);
    EXPECT_EQ(o.people[1].ticket.since, 1);
    EXPECT_EQ(drain(&o), 0);
    expect_out(&o, 1, 2);
    leave(&o, 0, 5);
    expect_out(&o, 1, 1);
    EXPECT_EQ(drain(&o), 1);
    EXPECT_EQ(o.people[1].woken, 1);
    EXPECT_EQ(o.people[1].why, WHY_GRANTED);
    EXPECT_EQ(claim(&o, 1, 6), SEMAPHORE_ENTERED);
    EXPECT_EQ(o.people[1].ticket.state, TICKET_HELD);
    EXPECT_EQ(o.people[1].ticket.since, 6);
    leave(&o, 1, 7);
    EXPECT_EQ(drain(&o), 1);
    EXPECT_EQ(claim(&o, 2, 8), SEMAPHORE_ENTERED);
    leave(&o, 2, 9);
    EXPECT_EQ(drain(&o), 0);
    expect_out(&o, 0, 0);
    office_close(&o);
}

/* What semaphore_try() did not give may be there a moment later. */
TEST(a_slot_after_all)
{
    struct office o;
    struct semaphore_ask any = {.deadline = TIME_NEVER};
    office_open(&o, false, rule(1, 0));
    EXPECT_EQ(semaphore_wait(o.all, &any, (struct wake_handle){&o.box, 0, 0}, 5, &o.people[0].ticket, &o.wait),
              SEMAPHORE_ENTERED);
    EXPECT_EQ(o.people[0].ticket.since, 5);
    expect_out(&o, 1, 0);
    office_close(&o);
}

/* semaphore_try() leaves alone what has a queue, even if the slot is for this class only. */
TEST(a_try_passes_nobody)
{
    for (int keyed = 0; keyed < 2; keyed++) {
        struct office o;
        struct ticket t = {.state = TICKET_NONE};
        office_open(&o, keyed, (struct semaphore_rule){.max = 2, .cap = {2, 1, 1, 1}, .queue = 9, .max_wait = SEC});
        EXPECT_EQ(enter(&o, 0, 1, 1, 0), SEMAPHORE_ENTERED);
        EXPECT_EQ(enter(&o, 1, 1, 1, 0), SEMAPHORE_WAITS);
        EXPECT(!semaphore_try(o.all, &(struct semaphore_ask){.deadline = TIME_NEVER}, 0, &t));
        EXPECT_EQ(enter(&o, 2, 0, 1, 0), SEMAPHORE_ENTERED);
        office_close(&o);
    }
}

TEST(slots_kept_from_lower_classes)
{
    static const struct {
        unsigned class, out, enters;         /* by class 0 before; of its class after */
    } rows[] = {{0, 0, 8}, {1, 0, 6}, {2, 0, 3}, {3, 0, 1}, {1, 5, 1}, {1, 6, 0}, {3, 1, 0}, {0, 7, 1}, {0, 8, 0}};
    for (int keyed = 0; keyed < 2; keyed++)
        for (size_t i = 0; i < array_len(rows); i++) {
            struct office o;
            struct semaphore_rule r = {.max = 8, .cap = {8, 6, 3, 1}, .queue = 20, .max_wait = SEC};
            unsigned n = 0, entered = 0;
            test_row("%s %zu", keyed ? "keyed" : "one", i);
            office_open(&o, keyed, r);
            for (; n < rows[i].out; n++)
                EXPECT_EQ(enter(&o, n, 0, 1, 0), SEMAPHORE_ENTERED);
            for (; n < 12; n++)
                entered += enter(&o, n, rows[i].class, 1, 0) == SEMAPHORE_ENTERED;
            EXPECT_EQ(entered, rows[i].enters);
            office_close(&o);
        }
}

TEST(a_higher_class_goes_past_those_who_may_not_use_the_slot)
{
    struct office o;
    office_open(&o, false, (struct semaphore_rule){.max = 3, .cap = {3, 2, 1, 1}, .queue = 9, .max_wait = SEC});
    EXPECT_EQ(enter(&o, 0, 2, 1, 0), SEMAPHORE_ENTERED);
    EXPECT_EQ(enter(&o, 1, 2, 1, 0), SEMAPHORE_WAITS);
    EXPECT_EQ(enter(&o, 2, 1, 1, 0), SEMAPHORE_ENTERED);
    EXPECT_EQ(enter(&o, 3, 1, 1, 0), SEMAPHORE_WAITS);
    EXPECT_EQ(enter(&o, 4, 0, 1, 0), SEMAPHORE_ENTERED);
    EXPECT_EQ(enter(&o, 5, 0, 1, 0), SEMAPHORE_WAITS);
    expect_out(&o, 3, 3);
    leave(&o, 0, 0);                 /* 2 are out then: for class 0 alone */
    drain(&o);
    EXPECT_EQ(claim(&o, 5, 0), SEMAPHORE_ENTERED);
    leave(&o, 2, 0);
    EXPECT_EQ(drain(&o), 0);         /* 2 are out: not for class 1 */
    leave(&o, 4, 0);
    drain(&o);                       /* 1 is out: for class 1, not for class 2 */
    EXPECT_EQ(claim(&o, 1, 0), SEMAPHORE_WAITS);
    EXPECT_EQ(claim(&o, 3, 0), SEMAPHORE_ENTERED);
    leave(&o, 5, 0);
    EXPECT_EQ(drain(&o), 0);
    leave(&o, 3, 0);
    drain(&o);
    EXPECT_EQ(claim(&o, 1, 0), SEMAPHORE_ENTERED);
    office_close(&o);
}

/* Ten of the loud one wait before the quiet one comes with three. */
TEST(two_flows_take_turns)
{
    struct office o;
    char order[16] = "";
    office_open(&o, false, rule(1, 30));
    EXPECT_EQ(enter(&o, 0, 0, 9, 0), SEMAPHORE_ENTERED);
    for (unsigned i = 1; i <= 13; i++)
        EXPECT_EQ(enter(&o, i, 0, i > 10, 0), SEMAPHORE_WAITS);
    for (unsigned n = 0, last = 0; n < 13; n++) {
        leave(&o, last, 0);
        EXPECT_EQ(drain(&o), 1);
        for (unsigned i = 1; i <= 13; i++)
            if (o.people[i].woken) {
                o.people[i].woken = 0;
                EXPECT_EQ(claim(&o, i, 0), SEMAPHORE_ENTERED);
                order[n] = i > 10 ? 'q' : 'l';
                last = i;
            }
    }
    EXPECT_CSTR(order, "lqlqlqlllllll");
    office_close(&o);
}

TEST(newest_first_once_the_oldest_will_give_up)
{
    for (int late = 0; late < 2; late++) {
        struct office o;
        test_row("%d", late);
        office_open(&o, false, rule(1, 30));
        EXPECT_EQ(enter(&o, 0, 0, 1, 0), SEMAPHORE_ENTERED);
        for (unsigned i = 1; i <= 3; i++)
            EXPECT_EQ(enter(&o, i, 0, 1, i), SEMAPHORE_WAITS);
        leave(&o, 0, 1500 * MSEC + (uint64_t)late);
        drain(&o);
        EXPECT_EQ(o.people[late ? 3 : 1].woken, 1);
        EXPECT_EQ(o.people[late ? 1 : 3].woken, 0);
        office_close(&o);
    }
}

TEST(a_full_queue_makes_room_for_who_has_less)
{
    for (int keyed = 0; keyed < 2; keyed++) {
        struct office o;
        test_row("%s", keyed ? "keyed" : "one");
        office_open(&o, keyed, rule(1, 2));
        EXPECT_EQ(enter(&o, 0, 1, 9, 0), SEMAPHORE_ENTERED);
        EXPECT_EQ(enter(&o, 1, 1, 1, 0), SEMAPHORE_WAITS);
        EXPECT_EQ(enter(&o, 2, 1, 1, 1), SEMAPHORE_WAITS);
        EXPECT_EQ(enter(&o, 3, 1, 1, 2), SEMAPHORE_FULL);
        EXPECT_EQ(o.wait, MSEC);
        EXPECT_EQ(o.people[3].ticket.state, TICKET_NONE);
        EXPECT_EQ(enter(&o, 4, 1, 2, 3), SEMAPHORE_WAITS);
        expect_out(&o, 1, 2);
        EXPECT_EQ(drain(&o), 1);
        EXPECT_EQ(o.people[2].woken, 1);
        EXPECT_EQ(o.people[2].why, WHY_EXTERNAL);
        EXPECT_EQ(claim(&o, 2, 4), SEMAPHORE_FULL);
        EXPECT_EQ(o.wait, MSEC);
        EXPECT_EQ(o.people[2].ticket.state, TICKET_NONE);
        EXPECT_EQ(enter(&o, 5, 1, 2, 5), SEMAPHORE_FULL);        /* nobody has more than its flow */
        EXPECT_EQ(enter(&o, 6, 2, 3, 5), SEMAPHORE_FULL);
        EXPECT_EQ(enter(&o, 7, 0, 1, 5), SEMAPHORE_WAITS);       /* the class counts more than the flow */
        drain(&o);
        EXPECT_EQ(o.people[1].woken + o.people[4].woken, 1);
        expect_out(&o, 1, 2);
        leave(&o, 0, 6);
        drain(&o);
        EXPECT_EQ(claim(&o, 7, 6), SEMAPHORE_ENTERED);
        office_close(&o);
    }
}

TEST(no_queue)
{
    struct office o;
    office_open(&o, false, rule(1, 0));
    EXPECT_EQ(enter(&o, 0, 0, 1, 0), SEMAPHORE_ENTERED);
    EXPECT_EQ(enter(&o, 1, 0, 2, 0), SEMAPHORE_FULL);
    EXPECT_EQ(o.wait, MSEC);
    leave(&o, 0, 40 * MSEC);
    EXPECT_EQ(enter(&o, 0, 0, 1, 0), SEMAPHORE_ENTERED);
    EXPECT_EQ(enter(&o, 1, 0, 2, 0), SEMAPHORE_FULL);
    EXPECT_EQ(o.wait, 40 * MSEC);
    office_close(&o);
}

/* `waiting` of flow 1 are there; the newcomer is of flow 1 or 2, with `left` to its deadline. */
TEST(hopeless_at_once)
{
    static const struct {
        uint32_t max, waiting;
        uint64_t flow, service, max_wait, left;
        enum semaphore_answer answer;
        uint64_t wait;
    } rows[] = {
        {2, 0, 1, SEC, 2 * SEC, TIME_NEVER, SEMAPHORE_WAITS, 0},
        {1, 2, 1, SEC, 2 * SEC, TIME_NEVER, SEMAPHORE_WAITS, 0},
        {1, 3, 1, SEC, 2 * SEC, TIME_NEVER, SEMAPHORE_HOPELESS, 3 * SEC},
        {1, 2, 1, SEC, 2 * SEC - 1, TIME_NEVER, SEMAPHORE_HOPELESS, 2 * SEC},
        {1, 2, 1, SEC, 9 * SEC, 2 * SEC, SEMAPHORE_WAITS, 0},
        {1, 2, 1, SEC, 9 * SEC, 2 * SEC - 1, SEMAPHORE_HOPELESS, 2 * SEC},
        {3, 4, 1, SEC, 1333333333, TIME_NEVER, SEMAPHORE_WAITS, 0},
        {3, 4, 1, SEC, 1333333332, TIME_NEVER, SEMAPHORE_HOPELESS, 1333333333},
        {1, 6, 2, SEC, 2 * SEC, TIME_NEVER, SEMAPHORE_WAITS, 0},           /* its turn is the second */
        {1, 6, 2, SEC, 2 * SEC - 1, TIME_NEVER, SEMAPHORE_HOPELESS, 2 * SEC},
        {1, 0, 1, SEC, 2 * SEC, 0, SEMAPHORE_HOPELESS, SEC},               /* the deadline is now */
        {4, 0, 1, SEC, 2 * SEC, 0, SEMAPHORE_HOPELESS, SEC / 4},
        {4, 0, 1, 0, 2 * SEC, 0, SEMAPHORE_HOPELESS, MSEC},                /* nothing is known yet */
        {1, 9, 1, 0, 2 * SEC, 1, SEMAPHORE_WAITS, 0},
        {1, 0, 1, 0, 0, TIME_NEVER, SEMAPHORE_HOPELESS, MSEC},
        {1, 10, 1, UINT64_MAX / 2, 2 * SEC, TIME_NEVER, SEMAPHORE_HOPELESS, 40 * SEC},     /* one sample is no more than 4 s */
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct office o;
        struct semaphore_rule r = rule(rows[i].max, 20);
        struct person *p = &o.people[PEOPLE - 1];
        const uint64_t now = 5;
        unsigned n = 0;
        test_row("row %zu", i);
        office_open(&o, false, r);
        for (; n < rows[i].max; n++)
            EXPECT_EQ(enter(&o, n, 0, 1, now), SEMAPHORE_ENTERED);
        for (; n < rows[i].max + rows[i].waiting + 1; n++)
            EXPECT_EQ(enter(&o, n, 0, 1, now), SEMAPHORE_WAITS);
        /* The first sample is the average. Its slot goes to one of those who wait. */
        leave(&o, 0, now + rows[i].service);
        r.max_wait = rows[i].max_wait;
        semaphores_set_rule(o.all, &r, now);
        expect_out(&o, rows[i].max, rows[i].waiting);
        p->ask = (struct semaphore_ask){.flow = rows[i].flow, .deadline = time_after(now, rows[i].left)};
        EXPECT_EQ(ask(&o, p, now), rows[i].answer);
        EXPECT_EQ(o.wait, rows[i].wait);
        office_close(&o);
    }
}

TEST(the_average_service_time)
{
    static const uint64_t held[] = {800, 1600, 100, 825, 0, UINT64_MAX - 1000};
    static const uint64_t average[] = {800, 900, 800, 803, 703, (8 * 703 - 703) / 8 + 703};
    for (int keyed = 0; keyed < 2; keyed++) {
        struct office o;
        struct semaphore_stats s;
        office_open(&o, keyed, rule(1, 0));
        semaphores_stats(o.all, &s);
        EXPECT_EQ(s.service, 0);
        for (size_t i = 0; i < array_len(held); i++) {
            test_row("%s, sample %zu", keyed ? "keyed" : "one", i);
            EXPECT_EQ(enter_key(&o, 0, i), SEMAPHORE_ENTERED);
            leave(&o, 0, held[i]);
            semaphores_stats(o.all, &s);
            EXPECT_EQ(s.service, average[i]);
        }
        /* Time that stands before the slot was got is none. */
        EXPECT_EQ(enter(&o, 0, 0, 1, 1000), SEMAPHORE_ENTERED);
        leave(&o, 0, 999);
        semaphores_stats(o.all, &s);
        EXPECT_EQ(s.service, average[5] - average[5] / 8);
        office_close(&o);
    }
}

/* Its own timer may be there before the mail is. */
TEST(claimed_before_the_wake_came)
{
    for (int put_out = 0; put_out < 2; put_out++) {
        struct office o;
        test_row("%s", put_out ? "put out" : "granted");
        office_open(&o, false, rule(1, 2));
        EXPECT_EQ(enter(&o, 0, 0, 1, 0), SEMAPHORE_ENTERED);
        EXPECT_EQ(enter(&o, 1, 0, 1, 0), SEMAPHORE_WAITS);
        EXPECT_EQ(enter(&o, 2, 0, 1, 0), SEMAPHORE_WAITS);
        EXPECT_EQ(claim(&o, 1, 1), SEMAPHORE_WAITS);
        EXPECT_EQ(o.wait, MSEC);
        EXPECT_EQ(o.people[1].ticket.state, TICKET_WAITING);
        unsigned who = put_out ? 2 : 1;
        if (put_out)
            EXPECT_EQ(enter(&o, 3, 0, 2, 2), SEMAPHORE_WAITS);
        else
            leave(&o, 0, 2);
        EXPECT_EQ(claim(&o, who, 3), put_out ? SEMAPHORE_FULL : SEMAPHORE_ENTERED);
        o.people[who].generation++;
        EXPECT_EQ(drain(&o), 1);
        EXPECT_EQ(o.undelivered, 1);
        EXPECT_EQ(o.people[who].ticket.state, put_out ? TICKET_NONE : TICKET_HELD);
        office_close(&o);
    }
}

/* Whatever a ticket is, leaving it ends it, once; and the wake may be on its way, or not. */
TEST(left_in_every_state)
{
    enum { NOTHING, QUEUES, GRANTED, PUT_OUT, HOLDS, CLAIMED, STATES };
    for (int keyed = 0; keyed < 2; keyed++)
        for (int state = 0; state < STATES; state++)
            for (int delivered = 0; delivered < 2; delivered++) {
                struct office o;
                test_row("%s, state %d, wake %s", keyed ? "keyed" : "one", state, delivered ? "came" : "on its way");
                office_open(&o, keyed, rule(1, 2));
                EXPECT_EQ(enter(&o, 0, 0, 1, 0), SEMAPHORE_ENTERED);
                EXPECT_EQ(enter(&o, 1, 0, 1, 0), SEMAPHORE_WAITS);
                EXPECT_EQ(enter(&o, 2, 0, 1, 0), SEMAPHORE_WAITS);
                unsigned who = state == NOTHING ? 9 : state == PUT_OUT ? 2 : state == HOLDS ? 0 : 1;
                if (state == PUT_OUT)
                    EXPECT_EQ(enter(&o, 3, 0, 2, 0), SEMAPHORE_WAITS);
                if (state == GRANTED || state == CLAIMED)
                    leave(&o, 0, 0);
                if (delivered)
                    drain(&o);
                if (state == CLAIMED)
                    EXPECT_EQ(claim(&o, 1, 0), SEMAPHORE_ENTERED);
                bool gives = state >= GRANTED && state != PUT_OUT;
                leave(&o, who, 0);
                leave(&o, who, 0);
                expect_out(&o, 1, gives && state != HOLDS ? 0 : state == NOTHING || state == PUT_OUT ? 2 : 1);
                drain(&o);
                EXPECT_EQ(o.people[state == HOLDS ? 1 : 2].woken, gives || (state == PUT_OUT && delivered));
                leave(&o, who, 0);
                office_close(&o);
            }
}

TEST(a_lower_max_drains)
{
    for (int keyed = 0; keyed < 2; keyed++) {
        struct office o;
        struct semaphore_rule lower = rule(2, 9);
        test_row("%s", keyed ? "keyed" : "one");
        office_open(&o, keyed, rule(4, 9));
        for (unsigned i = 0; i < 6; i++)
            EXPECT_EQ(enter(&o, i, 0, 1, 0), i < 4 ? SEMAPHORE_ENTERED : SEMAPHORE_WAITS);
        semaphores_set_rule(o.all, &lower, 0);
        expect_out(&o, 4, 2);
        leave(&o, 0, 0);
        leave(&o, 1, 0);
        EXPECT_EQ(drain(&o), 0);
        expect_out(&o, 2, 2);
        leave(&o, 2, 0);
        drain(&o);
        EXPECT_EQ(o.people[4].woken, 1);
        expect_out(&o, 2, 1);
        EXPECT_EQ(enter(&o, 7, 0, 1, 0), SEMAPHORE_WAITS);
        office_close(&o);
    }
}

TEST(a_higher_max_wakes_who_fits)
{
    for (int keyed = 0; keyed < 2; keyed++) {
        struct office o;
        struct semaphore_rule higher = {.max = 4, .cap = {4, 3, 3, 1}, .queue = 9, .max_wait = SEC};
        test_row("%s", keyed ? "keyed" : "one");
        office_open(&o, keyed, rule(1, 9));
        for (unsigned i = 0; i < 7; i++)
            EXPECT_EQ(enter(&o, i, i ? i % 2 ? 3 : 1 : 0, 1, 0), i ? SEMAPHORE_WAITS : SEMAPHORE_ENTERED);
        semaphores_set_rule(o.all, &higher, 0);
        EXPECT_EQ(drain(&o), 2);
        expect_out(&o, 3, 4);
        EXPECT_EQ(o.people[2].woken + o.people[4].woken, 2);
        /* A queue over its new length drains too, and takes nobody more. */
        higher.queue = 0;
        semaphores_set_rule(o.all, &higher, 0);
        expect_out(&o, 3, 4);
        EXPECT_EQ(enter(&o, 8, 1, 2, 0), SEMAPHORE_FULL);
        EXPECT_EQ(enter(&o, 8, 0, 2, 0), SEMAPHORE_ENTERED);
        office_close(&o);
    }
}

TEST(keys_are_apart)
{
    struct office o;
    struct semaphore_stats s;
    office_open(&o, true, rule(1, 5));
    for (unsigned i = 0; i < 20; i++)
        EXPECT_EQ(enter_key(&o, i, i / 2), i % 2 ? SEMAPHORE_WAITS : SEMAPHORE_ENTERED);
    semaphores_stats(o.all, &s);
    EXPECT_EQ(s.in_flight, 10);
    EXPECT_EQ(s.waiting, 10);
    EXPECT_EQ(s.keys, 10);
    EXPECT(semaphores_of_key(o.all, 3, &s));
    EXPECT_EQ(s.in_flight, 1);
    EXPECT_EQ(s.waiting, 1);
    EXPECT_EQ(s.keys, 1);
    EXPECT(!semaphores_of_key(o.all, 10, &s));
    leave(&o, 6, 0);
    EXPECT_EQ(drain(&o), 1);
    EXPECT_EQ(claim(&o, 7, 0), SEMAPHORE_ENTERED);
    leave(&o, 7, 0);
    EXPECT(!semaphores_of_key(o.all, 3, &s));
    expect_out(&o, 9, 9);
    /* A higher max lets in one of each key. */
    struct semaphore_rule two = rule(2, 5);
    semaphores_set_rule(o.all, &two, 0);
    EXPECT_EQ(drain(&o), 9);
    expect_out(&o, 18, 0);
    office_close(&o);
}

/* The semaphore of a key that nobody uses is gone, even while somebody who was put out has not heard of it. */
TEST(put_out_of_a_key_that_is_gone)
{
    for (int leaves = 0; leaves < 2; leaves++) {
        struct office o;
        struct semaphore_stats s;
        office_open(&o, true, rule(1, 1));
        EXPECT_EQ(enter_key(&o, 0, 5), SEMAPHORE_ENTERED);
        EXPECT_EQ(enter_key(&o, 1, 5), SEMAPHORE_WAITS);
        EXPECT_EQ(enter_key(&o, 2, 5), SEMAPHORE_WAITS);
        leave(&o, 2, 0);
        leave(&o, 0, 0);
        EXPECT(!semaphores_of_key(o.all, 5, &s));
        if (leaves)
            leave(&o, 1, 0);
        else
            EXPECT_EQ(claim(&o, 1, 0), SEMAPHORE_FULL);
        office_close(&o);
    }
}

TEST(one_for_all_has_no_keys)
{
    struct office o;
    struct semaphore_stats s;
    office_open(&o, false, rule(2, 5));
    EXPECT(!semaphores_of_key(o.all, 1, &s));
    EXPECT_EQ(enter_key(&o, 0, 1), SEMAPHORE_ENTERED);
    EXPECT_EQ(enter_key(&o, 1, 2), SEMAPHORE_ENTERED);
    EXPECT_EQ(enter_key(&o, 2, 3), SEMAPHORE_WAITS);
    EXPECT(semaphores_of_key(o.all, 9, &s));
    EXPECT_EQ(s.in_flight, 2);
    EXPECT_EQ(s.waiting, 1);
    EXPECT_EQ(s.keys, 1);
    office_close(&o);
}

TEST(many_keys_at_once)
{
    enum { KEYS = 10000 };
    struct semaphore_rule r = rule(1, 5);
    struct semaphores *all = semaphores_new(true, &r);
    struct ticket *t = mem_array(KEYS, sizeof *t), none = {.state = TICKET_NONE};
    struct semaphore_stats s;
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < KEYS; i++)
            EXPECT(semaphore_try(all, &(struct semaphore_ask){.key = i * i, .deadline = TIME_NEVER}, 0, &t[i]));
        semaphores_stats(all, &s);
        EXPECT_EQ(s.in_flight, KEYS);
        EXPECT_EQ(s.keys, KEYS);
        for (uint64_t i = 0; i < KEYS; i++) {
            EXPECT(!semaphore_try(all, &(struct semaphore_ask){.key = i * i, .deadline = TIME_NEVER}, 0, &none));
            semaphore_leave(&t[i], 0);
        }
        semaphores_stats(all, &s);
        EXPECT_EQ(s.in_flight, 0);
        EXPECT_EQ(s.keys, 0);
    }
    semaphores_free(all);
    mem_free(t);
}

static void free_with_a_slot_out(void)
{
    struct office o;
    office_open(&o, false, rule(1, 5));
    enter(&o, 0, 0, 1, 0);
    semaphores_free(o.all);
}

static void free_with_a_key_out(void)
{
    struct office o;
    office_open(&o, true, rule(1, 5));
    enter(&o, 0, 0, 1, 0);
    semaphores_free(o.all);
}

static void enter_twice(void)
{
    struct office o;
    office_open(&o, false, rule(9, 5));
    enter(&o, 0, 0, 1, 0);
    enter(&o, 0, 0, 1, 0);
}

static void claim_nothing(void)
{
    struct office o;
    office_open(&o, false, rule(1, 5));
    claim(&o, 0, 0);
}

static void rule_without_slots(void) { semaphores_new(false, &(struct semaphore_rule){.max = 1, .cap = {1, 1, 1, 0}}); }
static void rule_that_grows(void) { semaphores_new(true, &(struct semaphore_rule){.max = 3, .cap = {3, 1, 2, 1}}); }

TEST(misuse_is_a_bug)
{
    EXPECT_DIES(free_with_a_slot_out, "check failed");
    EXPECT_DIES(free_with_a_key_out, "check failed");
    EXPECT_DIES(enter_twice, "check failed");
    EXPECT_DIES(claim_nothing, "check failed");
    EXPECT_DIES(rule_without_slots, "check failed");
    EXPECT_DIES(rule_that_grows, "check failed");
    semaphores_free(NULL);
}

/* --- random operations against a model ---------------------------------------------------------------------------- */

enum { KEYS = 3, FLOWS = 3 };

enum doing { IDLE, WAITS, GOT, HOLDS, OUT };         /* GOT, OUT: granted, put out, and not claimed yet */

struct model {
    struct office o;
    struct semaphore_rule rule;
    enum doing doing[PEOPLE];
    unsigned queue[PEOPLE], waiting;                 /* who waits, of all keys, in the order in which they came */
    unsigned held[KEYS];
    unsigned keys;
    uint64_t out_of;                                 /* flow of who heard last */
    struct rng rng;
};

static struct semaphore_ask *asked(struct model *m, unsigned i) { return &m->o.people[i].ask; }

static unsigned model_waiting(struct model *m, unsigned key)
{
    unsigned n = 0;
    for (unsigned i = 0; i < m->waiting; i++)
        n += asked(m, m->queue[i])->key == key;
    return n;
}

static unsigned model_length(struct model *m, unsigned key, unsigned class, uint64_t flow)
{
    unsigned n = 0;
    for (unsigned i = 0; i < m->waiting; i++) {
        const struct semaphore_ask *a = asked(m, m->queue[i]);
        n += a->key == key && a->class == class && a->flow == flow;
    }
    return n;
}

static unsigned model_longest(struct model *m, unsigned key, unsigned class)
{
    unsigned longest = 0;
    for (uint64_t flow = 0; flow < FLOWS; flow++) {
        unsigned n = model_length(m, key, class, flow);
        longest = n > longest ? n : longest;
    }
    return longest;
}

/* The first class of a key that waits, or the last. FAIR_CLASSES: nobody does. */
static unsigned model_class(struct model *m, unsigned key, bool last)
{
    unsigned found = FAIR_CLASSES;
    for (unsigned class = 0; class < FAIR_CLASSES; class++)
        if (model_longest(m, key, class) > 0 && (last || found == FAIR_CLASSES))
            found = class;
    return found;
}

static bool model_makes_room(struct model *m, const struct semaphore_ask *a)
{
    unsigned key = (unsigned)a->key, last = model_class(m, key, true);
    if (m->rule.queue == 0 || last == FAIR_CLASSES || last < a->class)
        return false;
    return last > a->class || model_length(m, key, last, a->flow) < model_longest(m, key, last);
}

static void model_unqueue(struct model *m, unsigned i)
{
    unsigned at = 0;
    while (m->queue[at] != i)
        at++;
    memmove(&m->queue[at], &m->queue[at + 1], (--m->waiting - at) * sizeof m->queue[0]);
}

/* Of its flow: the oldest there is, or the newest. */
static bool model_is_at_end(struct model *m, unsigned i, bool newest)
{
    const struct semaphore_ask *a = asked(m, i);
    unsigned first = PEOPLE, last = PEOPLE;
    for (unsigned k = 0; k < m->waiting; k++) {
        const struct semaphore_ask *b = asked(m, m->queue[k]);
        if (b->key == a->key && b->class == a->class && b->flow == a->flow) {
            first = first == PEOPLE ? m->queue[k] : first;
            last = m->queue[k];
        }
    }
    return i == (newest ? last : first);
}

/* Takes the mail and says whether all of it was right. A newcomer is not in the model's queue yet when somebody makes
 * room for it. */
static bool model_hear(struct model *m, unsigned grants, unsigned outs)
{
    bool ok = EXPECT_EQ(drain(&m->o), grants + outs);
    unsigned left = 0;
    for (unsigned k = 0; k < m->waiting;) {
        unsigned i = m->queue[k];
        struct person *p = &m->o.people[i];
        if (p->woken == 0) {
            k++;
            continue;
        }
        bool granted = p->why == WHY_GRANTED;
        ok &= EXPECT_EQ(p->woken, 1);
        ok &= EXPECT(model_is_at_end(m, i, !granted));
        ok &= EXPECT(!granted || m->held[p->ask.key] < m->rule.cap[p->ask.class]);
        m->held[p->ask.key] += granted;
        m->doing[i] = granted ? GOT : OUT;
        m->out_of = p->ask.flow;
        left += granted;
        model_unqueue(m, i);
        p->woken = 0;
    }
    return ok && EXPECT_EQ(left, grants);
}

/* How many get a slot, first classes first. */
static unsigned model_grants(struct model *m, unsigned key)
{
    unsigned grants = 0;
    for (unsigned class = 0; class < FAIR_CLASSES; class++)
        for (uint64_t flow = 0; flow < FLOWS; flow++)
            for (unsigned n = model_length(m, key, class, flow); n > 0; n--)
                grants += m->held[key] + grants < m->rule.cap[class];
    return grants;
}

static bool model_enter(struct model *m, unsigned i)
{
    struct semaphore_ask *a = asked(m, i);
    *a = (struct semaphore_ask){.key = rng_below(&m->rng, m->keys), .flow = rng_below(&m->rng, FLOWS),
                                .class = (unsigned)rng_below(&m->rng, FAIR_CLASSES), .deadline = TIME_NEVER};
    enum semaphore_answer answer = ask(&m->o, &m->o.people[i], 0);
    if (m->held[a->key] < m->rule.cap[a->class]) {
        m->held[a->key]++;
        m->doing[i] = HOLDS;
        return EXPECT_EQ(answer, SEMAPHORE_ENTERED);
    }
    bool full = model_waiting(m, (unsigned)a->key) >= m->rule.queue, room = full && model_makes_room(m, a);
    bool ok = EXPECT_EQ(answer, full && !room ? SEMAPHORE_FULL : SEMAPHORE_WAITS);
    unsigned last = model_class(m, (unsigned)a->key, true);
    unsigned longest = last < FAIR_CLASSES ? model_longest(m, (unsigned)a->key, last) : 0;
    ok &= model_hear(m, 0, room);
    ok &= EXPECT(!room || model_length(m, (unsigned)a->key, last, m->out_of) == longest - 1);
    if (answer == SEMAPHORE_WAITS) {
        m->doing[i] = WAITS;
        m->queue[m->waiting++] = i;
    }
    return ok;
}

static bool model_leave(struct model *m, unsigned i)
{
    unsigned key = (unsigned)asked(m, i)->key;
    if (m->doing[i] == WAITS)
        model_unqueue(m, i);
    m->held[key] -= m->doing[i] == HOLDS || m->doing[i] == GOT;
    m->doing[i] = IDLE;
    leave(&m->o, i, 0);
    return model_hear(m, model_grants(m, key), 0);
}

static bool model_claim(struct model *m, unsigned i)
{
    static const enum semaphore_answer answers[] = {[WAITS] = SEMAPHORE_WAITS, [GOT] = SEMAPHORE_ENTERED,
                                                    [OUT] = SEMAPHORE_FULL};
    bool ok = EXPECT_EQ(claim(&m->o, i, 0), answers[m->doing[i]]);
    m->doing[i] = m->doing[i] == GOT ? HOLDS : m->doing[i] == OUT ? IDLE : WAITS;
    return ok;
}

static bool model_rule(struct model *m)
{
    unsigned grants = 0, cap = 1 + (unsigned)rng_below(&m->rng, 6);
    m->rule = rule(cap, (uint32_t)rng_below(&m->rng, 8));
    for (unsigned class = 1; class < FAIR_CLASSES; class++)
        m->rule.cap[class] = cap = 1 + (unsigned)rng_below(&m->rng, cap);
    semaphores_set_rule(m->o.all, &m->rule, 0);
    for (unsigned key = 0; key < m->keys; key++)
        grants += model_grants(m, key);
    return model_hear(m, grants, 0);
}

static bool model_step(struct model *m)
{
    unsigned i = (unsigned)rng_below(&m->rng, PEOPLE), held = 0;
    struct semaphore_stats s;
    bool ok;
    if (rng_below(&m->rng, 50) == 0)
        ok = model_rule(m);
    else if (m->doing[i] == IDLE)
        ok = model_enter(m, i);
    else if (m->doing[i] == HOLDS || rng_below(&m->rng, 3) == 0)
        ok = model_leave(m, i);
    else
        ok = model_claim(m, i);
    for (unsigned key = 0; key < m->keys; key++) {
        held += m->held[key];
        unsigned class = model_class(m, key, false);
        ok &= EXPECT(class == FAIR_CLASSES || m->held[key] >= m->rule.cap[class]);
    }
    semaphores_stats(m->o.all, &s);
    return ok && EXPECT_EQ(s.in_flight, held) && EXPECT_EQ(s.waiting, m->waiting);
}

TEST(random_operations_against_a_model)
{
    for (int keyed = 0; keyed < 2; keyed++) {
        struct model *m = mem_zalloc(sizeof *m);
        test_row("%s", keyed ? "keyed" : "one");
        rng_seed(&m->rng, 99 + (uint64_t)keyed);
        m->keys = keyed ? KEYS : 1;
        m->rule = rule(2, 6);
        office_open(&m->o, keyed, m->rule);
        for (unsigned n = 0; n < 12000 && model_step(m); n++)
            ;
        office_close(&m->o);
        mem_free(m);
    }
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

enum { CREWS = 4, MEN = 6, ROUNDS = 10, STEPS = 60, CREW_KEYS = 5, PATIENCE_MS = 10000 };

struct yard {
    struct semaphores *all;
    struct semaphore_rule most;                      /* of every class, whatever the rule is at the moment */
    bool keyed;
    _Atomic unsigned inside[CREW_KEYS][FAIR_CLASSES];    /* [key][class]: holders of the class or one after it */
    _Atomic unsigned working;
};

struct crew {
    struct office o;
    struct yard *yard;
    struct rng rng;
    uint64_t now;
    unsigned granted, gave_up;
};

static unsigned key_of(const struct crew *c, const struct person *p)
{
    return c->yard->keyed ? (unsigned)p->ask.key : 0;
}

static void crew_enters(struct crew *c, struct person *p)
{
    for (unsigned class = 0; class <= p->ask.class; class++)
        EXPECT(atomic_fetch_add(&c->yard->inside[key_of(c, p)][class], 1) < c->yard->most.cap[class]);
}

static void crew_leaves(struct crew *c, struct person *p)
{
    if (p->ticket.state == TICKET_HELD)
        for (unsigned class = 0; class <= p->ask.class; class++)
            atomic_fetch_sub(&c->yard->inside[key_of(c, p)][class], 1);
    p->generation++;
    semaphore_leave(&p->ticket, ++c->now);
}

static void crew_claims(struct crew *c, struct person *p)
{
    enum semaphore_answer answer = semaphore_claim(&p->ticket, ++c->now, &c->o.wait);
    if (answer == SEMAPHORE_WAITS)
        return;
    p->woken = 0;
    p->generation++;
    c->granted += answer == SEMAPHORE_ENTERED;
    if (answer == SEMAPHORE_ENTERED)
        crew_enters(c, p);
}

static void crew_hears(struct crew *c)
{
    drain(&c->o);
    for (unsigned i = 0; i < MEN; i++)
        if (c->o.people[i].woken)
            crew_claims(c, &c->o.people[i]);
}

/* Sleeps until there is mail, which must come: all others go on and leave what they hold. */
static bool crew_sleeps(struct crew *c)
{
    struct pollfd p = {.fd = c->o.box.fd, .events = POLLIN};
    bool woken = EXPECT(poll(&p, 1, PATIENCE_MS) == 1);
    crew_hears(c);
    return woken;
}

static unsigned crew_count(const struct crew *c, enum ticket_state state)
{
    unsigned n = 0;
    for (unsigned i = 0; i < MEN; i++)
        n += c->o.people[i].ticket.state == state;
    return n;
}

static bool crew_step(struct crew *c)
{
    struct person *p = &c->o.people[rng_below(&c->rng, MEN)];
    uint64_t dice = rng_below(&c->rng, 16);
    if (p->ticket.state == TICKET_NONE) {
        p->ask = (struct semaphore_ask){.key = rng_below(&c->rng, CREW_KEYS), .flow = rng_below(&c->rng, 3),
                                        .class = (unsigned)rng_below(&c->rng, FAIR_CLASSES), .deadline = TIME_NEVER};
        enum semaphore_answer answer = ask(&c->o, p, ++c->now);
        if (answer == SEMAPHORE_ENTERED)
            crew_enters(c, p);
    } else if (p->ticket.state == TICKET_HELD) {
        crew_leaves(c, p);
    } else if (dice == 0) {
        c->gave_up++;
        crew_leaves(c, p);
    } else if (dice == 1) {
        crew_claims(c, p);
    }
    if (dice >= 12)
        crew_hears(c);
    if (crew_count(c, TICKET_WAITING) > MEN / 2 && crew_count(c, TICKET_HELD) == 0)
        return crew_sleeps(c);
    return true;
}

/* Nobody gives up now: whoever waits is granted a slot, or put out, because the others leave theirs. */
static bool crew_goes_home(struct crew *c)
{
    for (;;) {
        for (unsigned i = 0; i < MEN; i++)
            if (c->o.people[i].ticket.state == TICKET_HELD)
                crew_leaves(c, &c->o.people[i]);
        if (crew_count(c, TICKET_WAITING) == 0)
            return true;
        if (!crew_sleeps(c))
            return false;
    }
}

static void *crew_works(void *context)
{
    struct crew *c = context;
    bool ok = true;
    for (unsigned round = 0; round < ROUNDS && ok; round++) {
        for (unsigned step = 0; step < STEPS && ok; step++)
            ok = crew_step(c);
        ok = ok && crew_goes_home(c);
    }
    for (unsigned i = 0; i < MEN; i++)
        crew_leaves(c, &c->o.people[i]);
    atomic_fetch_sub(&c->yard->working, 1);
    return NULL;
}

/* Changes the rule all the time until the crews are done. */
static void yard_changes(struct yard *y, const struct semaphore_rule *lower)
{
    for (unsigned n = 0; atomic_load(&y->working) > 0; n++) {
        struct semaphore_stats s;
        semaphores_set_rule(y->all, n % 2 ? &y->most : lower, 5);
        semaphores_stats(y->all, &s);
        semaphores_of_key(y->all, n % CREW_KEYS, &s);
        sched_yield();
    }
    semaphores_set_rule(y->all, &y->most, 5);
}

static void run_crews(bool keyed, struct semaphore_rule most, const struct semaphore_rule *lower)
{
    struct yard *y = mem_zalloc(sizeof *y);
    struct crew *crews = mem_array(CREWS, sizeof *crews);
    struct semaphore_stats s;
    pthread_t threads[CREWS];
    unsigned granted = 0, gave_up = 0;

    y->most = most;
    y->keyed = keyed;
    y->all = semaphores_new(keyed, &most);
    atomic_store(&y->working, CREWS);
    for (unsigned i = 0; i < CREWS; i++) {
        struct crew *c = &crews[i];
        c->yard = y;
        c->o.all = y->all;
        c->now = SEC;
        rng_seed(&c->rng, i + 1);
        mailbox_init(&c->o.box, true);
        pthread_create(&threads[i], NULL, crew_works, c);
    }
    if (lower)
        yard_changes(y, lower);
    for (unsigned i = 0; i < CREWS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < CREWS; i++) {
        drain(&crews[i].o);
        mailbox_fini(&crews[i].o.box);
        granted += crews[i].granted;
        gave_up += crews[i].gave_up;
    }
    EXPECT((granted > 0 && gave_up > 0) || most.max >= MEN);
    semaphores_stats(y->all, &s);
    EXPECT_EQ(s.in_flight, 0);
    EXPECT_EQ(s.waiting, 0);
    EXPECT_EQ(s.keys, keyed ? 0 : 1);
    semaphores_free(y->all);
    mem_free(crews);
    mem_free(y);
}

/* ThreadSanitizer finds a race without meeting it, and takes its time; AddressSanitizer is slow at the heap. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SLOW 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SLOW 1
#endif
#endif
#ifndef SLOW
#define SLOW 0
#endif

/* No sleep, no system call: so that each step of one thread falls between any two of another. Who does not get a slot
 * looks once more, and gives up. */
struct hammer {
    struct office o;
    const struct semaphore_rule *rule;
    _Atomic unsigned *inside;
    unsigned blows, entered;
};

static void hammer_holds(struct hammer *h, struct person *p)
{
    EXPECT(atomic_fetch_add(h->inside, 1) < h->rule->max);
    h->entered++;
    atomic_fetch_sub(h->inside, 1);
    p->generation++;
    semaphore_leave(&p->ticket, 0);
}

static void *hammer_works(void *context)
{
    struct hammer *h = context;
    struct person *p = &h->o.people[0];
    for (unsigned i = 0; i < h->blows; i++) {
        p->ask = (struct semaphore_ask){.class = i % 2, .deadline = TIME_NEVER};
        enum semaphore_answer answer = ask(&h->o, p, 0);
        if (answer == SEMAPHORE_WAITS)
            answer = semaphore_claim(&p->ticket, 0, &h->o.wait);
        if (answer == SEMAPHORE_ENTERED)
            hammer_holds(h, p);
        p->generation++;
        semaphore_leave(&p->ticket, 0);
        drain(&h->o);
    }
    return NULL;
}

TEST(what_it_would_be_told)
{
    static const struct { uint32_t max, queue; unsigned class, waiting; bool own, later; enum semaphore_answer answer; } rows[] = {
        {2, 2, 0, 0, false, false, SEMAPHORE_WAITS},
        {2, 2, 0, 0, true, false, SEMAPHORE_ENTERED},
        {2, 2, 0, 0, true, true, SEMAPHORE_ENTERED},
        {2, 0, 0, 0, false, false, SEMAPHORE_FULL},
        {2, 0, 0, 0, true, true, SEMAPHORE_ENTERED},
        {2, 2, 0, 1, true, true, SEMAPHORE_WAITS},
        {2, 2, 0, 2, true, true, SEMAPHORE_FULL},
        {2, 2, 0, 2, true, false, SEMAPHORE_WAITS},
        {2, 2, 0, 2, false, false, SEMAPHORE_FULL},
        {2, 9, 0, 4, true, true, SEMAPHORE_WAITS},               /* one second of service: 4 / 2 s */
        {2, 9, 0, 5, true, true, SEMAPHORE_HOPELESS},
        {2, 9, 0, 5, true, false, SEMAPHORE_WAITS},
        {2, 9, 0, 6, true, false, SEMAPHORE_HOPELESS},
    };
    for (size_t i = 0; i < array_len(rows) * 2; i++) {
        size_t k = i / 2;
        struct office o;
        struct ticket none = {.state = TICKET_NONE};
        const struct semaphore_ask ask = {.flow = 7, .deadline = TIME_NEVER};
        const struct semaphore_rule usual = rule(rows[k].max, rows[k].queue);
        struct semaphore_rule patient = rule(rows[k].max, 9);
        patient.max_wait = 3600 * SEC;
        test_row("%zu", i);
        office_open(&o, i % 2, usual);
        EXPECT_EQ(enter(&o, 0, 0, 7, 0), SEMAPHORE_ENTERED);
        EXPECT_EQ(enter(&o, 1, 0, 7, 0), SEMAPHORE_ENTERED);
        leave(&o, 0, SEC);
        EXPECT_EQ(enter(&o, 0, 0, 7, SEC), SEMAPHORE_ENTERED);
        semaphores_set_rule(o.all, &patient, SEC);
        for (unsigned n = 0; n < rows[k].waiting; n++)
            EXPECT_EQ(enter(&o, 2 + n, 0, 7, SEC), SEMAPHORE_WAITS);
        semaphores_set_rule(o.all, &usual, SEC);
        EXPECT_EQ(semaphore_would(o.all, &ask, rows[k].own ? &o.people[0].ticket : &none, SEC + rows[k].later, SEC),
                  rows[k].answer);
        expect_out(&o, 2, rows[k].waiting);
        office_close(&o);
    }
}

TEST(threads_without_a_pause)
{
    enum { HAMMERS = 3, BLOWS = SLOW ? 50000 : 300000 };
    for (uint32_t max = 1; max <= 2; max++) {
        struct semaphore_rule r = {.max = max, .cap = {max, 1, 1, 1}, .queue = 2, .max_wait = SEC};
        struct semaphores *all = semaphores_new(false, &r);
        struct hammer *h = mem_array(HAMMERS, sizeof *h);
        pthread_t threads[HAMMERS];
        struct semaphore_stats s;
        _Atomic unsigned inside = 0;
        test_row("max %u", (unsigned)max);
        for (unsigned i = 0; i < HAMMERS; i++) {
            h[i] = (struct hammer){.o = {.all = all}, .rule = &r, .inside = &inside, .blows = BLOWS};
            mailbox_init(&h[i].o.box, false);
            pthread_create(&threads[i], NULL, hammer_works, &h[i]);
        }
        for (unsigned i = 0; i < HAMMERS; i++) {
            pthread_join(threads[i], NULL);
            EXPECT(h[i].entered > 0);
        }
        for (unsigned i = 0; i < HAMMERS; i++) {
            drain(&h[i].o);
            mailbox_fini(&h[i].o.box);
        }
        semaphores_stats(all, &s);
        EXPECT_EQ(s.in_flight, 0);
        EXPECT_EQ(s.waiting, 0);
        semaphores_free(all);
        mem_free(h);
    }
}

static struct semaphore_rule threads_rule(uint32_t max, uint32_t queue)
{
    return (struct semaphore_rule){.max = max, .cap = {max, max, (max + 1) / 2, (max + 2) / 3}, .queue = queue,
                                   .max_wait = 3600 * SEC};
}

TEST(threads_at_one_semaphore)
{
    run_crews(false, threads_rule(3, 8), NULL);
    run_crews(false, threads_rule(1, 20), NULL);
    run_crews(false, threads_rule(12, 20), NULL);
}

TEST(threads_at_many_keys)
{
    run_crews(true, threads_rule(1, 3), NULL);
    run_crews(true, threads_rule(2, 8), NULL);
}

TEST(threads_while_the_rule_changes)
{
    struct semaphore_rule lower = threads_rule(1, 4);
    run_crews(false, threads_rule(5, 8), &lower);
    run_crews(true, threads_rule(3, 4), &lower);
}

TEST(who_holds_more_than_would_be_allowed)
{
    struct office o;
    for (unsigned keyed = 0; keyed < 2; keyed++) {
        test_row(keyed ? "by key" : "for all");
        office_open(&o, keyed, rule(8, 0));
        EXPECT_EQ(semaphores_over(o.all, 0), 0);
        for (unsigned i = 0; i < 6; i++)         /* three of key 1, two of key 2, one of key 3 */
            EXPECT_EQ(enter_key(&o, i, i < 3 ? 1 : i < 5 ? 2 : 3), SEMAPHORE_ENTERED);
        EXPECT_EQ(semaphores_over(o.all, 0), keyed ? 3 : 1);
        EXPECT_EQ(semaphores_over(o.all, 1), keyed ? 2 : 1);
        EXPECT_EQ(semaphores_over(o.all, 3), keyed ? 0 : 1);
        EXPECT_EQ(semaphores_over(o.all, 6), 0);
        office_close(&o);
    }
}
