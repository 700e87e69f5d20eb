/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway goes down: who is idle is closed, who waits for an answer gets it. */
#include "test.h"

#include "client.h"
#include "sim.h"

#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define OK_CLOSE "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"

/* As control.c orders it. */
static void drain(struct sim *s)
{
    struct worker *w = sim_worker(s, 0);
    w->draining = true;
    for (struct list *n = w->all_clients.next, *next; n != &w->all_clients; n = next) {
        next = n->next;
        client_drain(container_of(n, struct client, link));
    }
    sim_run(s);
}

TEST(idle_ones_are_closed)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *fresh = sim_client(s), *kept = sim_client(s);
    sim_say(kept, GET);
    sim_say(sim_next(s), OK);
    EXPECT_GOT(kept, OK);
    drain(s);
    EXPECT(sim_closed(kept));
    EXPECT_GOT(kept, "");
    sim_advance(s, 499 * NSEC_PER_MSEC);     /* it has just been let in, and may be about to ask */
    EXPECT(!sim_ended(fresh));
    sim_advance(s, 1 * NSEC_PER_MSEC);
    EXPECT(sim_closed(fresh));
    EXPECT_GOT(fresh, "");
    SIM_END(s);
}

TEST(a_new_one_is_answered_once)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *fresh = sim_client(s);
    drain(s);
    sim_advance(s, 400 * NSEC_PER_MSEC);
    sim_say(fresh, GET GET);
    sim_say(sim_next(s), OK);
    EXPECT_GOT(fresh, OK_CLOSE);
    sim_fin(fresh);
    sim_run(s);
    EXPECT(sim_closed(fresh));
    SIM_END(s);
}

TEST(requests_under_way_are_finished)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *head = sim_client(s), *wait = sim_client(s), *body = sim_client(s), *answer = sim_client(s);
    sim_say(wait, GET);
    struct sim_conn *uw = sim_next(s);
    sim_say(body, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo");
    struct sim_conn *ub = sim_next(s);
    sim_say(answer, GET);
    struct sim_conn *ua = sim_next(s);
    sim_say(ua, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
    sim_say(head, "GET / HT");
    drain(s);
    EXPECT(!sim_ended(head) && !sim_ended(wait) && !sim_ended(body) && !sim_ended(answer));

    sim_say(uw, OK);
    EXPECT_GOT(wait, OK_CLOSE);
    EXPECT(sim_closed(wait));
    sim_say(body, "dy");
    EXPECT_HAS(ub, "body");
    sim_say(ub, OK);
    EXPECT_GOT(body, OK_CLOSE);
    EXPECT(sim_closed(body));
    sim_say(ua, "k");
    EXPECT_GOT(answer, OK);                  /* its head was out already */
    EXPECT(sim_closed(answer));
    sim_clear(uw), sim_clear(ub), sim_clear(ua);
    sim_say(head, "TP/1.1\r\nHost: h\r\n\r\n");
    struct sim_conn *all[] = {uw, ub, ua};
    for (size_t i = 0; i < 3; i++) {
        if (sim_has(all[i], "GET / HTTP/1.1\r\n"))
            sim_say(all[i], OK);
    }
    EXPECT_GOT(head, OK_CLOSE);
    EXPECT(sim_closed(head));
    SIM_END(s);
}

TEST(what_was_answered_is_delivered)
{
    struct sim *s = sim_new(SIM_PLAIN);
    s->client_window = 10;
    struct sim_conn *c = sim_client(s);
    c->stalled = true;
    sim_say(c, GET);
    sim_say(sim_next(s), OK);
    EXPECT_EQ(sim_metric(s, METRIC_requests_in_flight), 0);
    drain(s);
    EXPECT(!sim_closed(c));
    c->stalled = false;
    sim_run(s);
    EXPECT_GOT(c, OK);
    EXPECT(sim_ended(c) && !sim_cut(c));
    sim_advance(s, 2 * NSEC_PER_SEC);
    EXPECT(sim_closed(c));
    SIM_END(s);
}

TEST(pipelined_requests_behind_the_last_answer_are_left)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET GET);
    struct sim_conn *u = sim_next(s);
    sim_clear(u);
    drain(s);
    sim_say(u, OK);
    EXPECT_GOT(c, OK_CLOSE);
    EXPECT(sim_ended(c));
    EXPECT_GOT(u, "");
    SIM_END(s);
}

TEST(a_tunnel_goes_on)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    sim_clear(c), sim_clear(u);
    drain(s);
    sim_say(c, "a");
    sim_say(u, "b");
    EXPECT_GOT(u, "a");
    EXPECT_GOT(c, "b");
    SIM_END(s);
}

/* What the drain did not wait for is cut: an answer that has not begun becomes a 503. */
TEST(the_end_of_patience)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *wait = sim_client(s), *answer = sim_client(s);
    sim_say(wait, GET);
    struct sim_conn *uw = sim_next(s);
    sim_say(answer, GET);
    struct sim_conn *ua = sim_next(s);
    sim_say(ua, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
    drain(s);
    struct worker *w = sim_worker(s, 0);
    while (!list_empty(&w->all_clients)) {
        struct client *c = container_of(w->all_clients.next, struct client, link);
        client_close(c, REASON_draining);
        if (c->state != CLIENT_CLOSED)
            client_close(c, REASON_draining);
    }
    sim_run(s);
    EXPECT_HAS(wait, "HTTP/1.1 503 Service Unavailable\r\n");
    EXPECT_HAS(wait, "\"reason\":\"draining\"");
    EXPECT(sim_closed(wait) && sim_closed(answer) && sim_closed(uw) && sim_closed(ua));
    EXPECT_GOT(answer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
    EXPECT_NOTHING_LEFT(s);
    SIM_END(s);
}
