/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker does while memory is short, and that nothing waits for good. */
#include "test.h"

#include "relief.h"
#include "sim.h"

#define SEC NSEC_PER_SEC
#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define POST(n) "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " #n "\r\n\r\n"
#define OK "HTTP/1.1 204 No Content\r\n\r\n"

static void stage(struct sim *s, enum memory_stage to)
{
    relief_set(sim_worker(s, 0), to);
    sim_run(s);
}

TEST(bodies_that_have_not_begun_wait)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *begun = sim_client(s), *late, *get;
    sim_say(begun, POST(10));
    sim_say(begun, "0123");
    struct sim_conn *u = sim_next(s), *v;
    stage(s, MEMORY_BODIES);
    sim_say(begun, "456789");
    EXPECT_HAS(u, "0123456789");
    sim_say(u, OK);
    EXPECT_GOT(begun, OK);
    late = sim_client(s);
    sim_say(late, POST(3) "abc");
    get = sim_client(s);
    sim_say(get, GET);
    v = sim_next(s);
    EXPECT_HASNT(u, "abc");
    if (v) {
        sim_say(v, OK);
        EXPECT_GOT(get, OK);
    }
    sim_advance(s, 45 * SEC);                /* it waits for us: no time of its own runs */
    EXPECT_GOT(late, "");
    EXPECT_EQ(sim_metric(s, METRIC_bodies_held_total), 1);
    stage(s, MEMORY_FINE);
    EXPECT(sim_has(u, "abc") || (v && sim_has(v, "abc")));
    SIM_END(s);
}

TEST(one_body_a_look_comes_in)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c[3], *u[3];
    stage(s, MEMORY_BODIES);
    for (int i = 0; i < 3; i++) {
        c[i] = sim_client(s);
        sim_say(c[i], POST(3) "abc");
        u[i] = sim_next(s);
        EXPECT_HASNT(u[i], "abc");
    }
    for (int i = 0; i < 3; i++) {
        relief_let_one(sim_worker(s, 0));
        sim_run(s);
        EXPECT_HAS(u[i], "abc");
        EXPECT(i == 2 || !sim_has(u[i + 1], "abc"));
        sim_say(u[i], OK);
        EXPECT_GOT(c[i], OK);
    }
    relief_let_one(sim_worker(s, 0));
    EXPECT_EQ(sim_metric(s, METRIC_bodies_held_total), 3);
    SIM_END(s);
}

TEST(a_held_body_whose_request_ends)
{
    struct sim *s = sim_new(SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"]}}\n"
                            "routes: [{match: /, upstream: api, timeout: 5s}]\n");
    struct sim_conn *c = sim_client(s), *gone = sim_client(s);
    stage(s, MEMORY_BODIES);
    sim_say(c, POST(3) "abc");
    sim_say(gone, POST(3) "abc");
    sim_reset(gone);
    sim_run(s);
    sim_advance(s, 5 * SEC);
    EXPECT_HAS(c, "HTTP/1.1 504 Gateway Timeout\r\n");
    EXPECT_HAS(c, "\"reason\":\"total_timeout\"");
    relief_let_one(sim_worker(s, 0));
    stage(s, MEMORY_FINE);
    EXPECT_EQ(sim_metric(s, METRIC_requests_in_flight), 0);
    SIM_END(s);
}

/* Little is kept of what is under way, and all of it arrives. */
TEST(a_long_answer_is_held_back_early)
{
    enum { MIB = 1024 * 1024 };
    static char block[MIB];
    struct sim *s = sim_new(SIM_PLAIN);
    s->client_window = 1000;
    s->up_read_max = 4096;
    struct sim_conn *c = sim_client(s);
    stage(s, MEMORY_BODIES);
    c->stalled = c->forgetful = true;
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\n\r\n");
    c->total = c->sum = 0;
    sim_fill(block, MIB, 0);
    sim_send_str(u, str_of(block, MIB));
    sim_fin(u);
    sim_run(s);
    EXPECT(s->buffered_peak <= 16 * 1024 + 4096);
    for (int i = 0; i < 100000 && c->end.out_len > 0; i++)
        sim_drink(c, 1000);
    EXPECT(s->buffered_peak <= 16 * 1024 + 4096);
    EXPECT(c->total > MIB);
    EXPECT_EQ(sim_reasons(s, REASON_none), 1);
    SIM_END(s);
}

TEST(new_requests_are_refused)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *begun = sim_client(s), *c = sim_client(s);
    sim_say(begun, GET);
    struct sim_conn *u = sim_next(s);
    stage(s, MEMORY_REQUESTS);
    sim_say(c, GET);
    EXPECT_HAS(c, "HTTP/1.1 503 Service Unavailable\r\n");
    EXPECT_HAS(c, "Retry-After: ");
    EXPECT_HAS(c, "\"reason\":\"memory_short\"");
    EXPECT_HAS(c, "Connection: close\r\n");
    EXPECT(sim_ended(c));
    EXPECT(sim_next(s) == NULL);
    sim_say(u, OK);
    EXPECT_HAS(begun, "HTTP/1.1 204 No Content\r\n");
    EXPECT_EQ(sim_reasons(s, REASON_memory_short), 1);
    stage(s, MEMORY_FINE);
    c = sim_client(s);
    sim_say(c, GET);
    EXPECT_GOT(c, "");                       /* it was let in */
    SIM_END(s);
}

TEST(what_is_only_kept_is_given_back)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    sim_say(u, OK);
    EXPECT_EQ(sim_metric(s, METRIC_upstream_connections_idle), 1);
    relief_give_back(sim_worker(s, 0));
    sim_run(s);
    EXPECT_EQ(sim_metric(s, METRIC_upstream_connections_idle), 0);
    EXPECT(sim_closed(u) && !sim_closed(c));
    EXPECT_EQ(sim_worker(s, 0)->buf_blocks.total, 0);
    sim_clear(c);
    sim_say(c, GET);
    sim_say(sim_next(s), OK);
    EXPECT_GOT(c, OK);
    SIM_END(s);
}
