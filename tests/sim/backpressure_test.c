/* SPDX-License-Identifier: Apache-2.0 */
/* A fast side and a slow one: what lies between them stays small, and every byte arrives. */
#include "test.h"

#include "sim.h"

enum { MIB = 1024 * 1024, BLOCK = 256 * 1024, KEPT = 8 * 1024, PEAK = 64 * 1024 + 4 * KEPT };

static char block[BLOCK];

/* The most that waited before the last block went, of which a rest may be kept. */
static uint64_t peak;

/* Pours `total` bytes into `from` while `to` drinks `sip` bytes at a time; returns their sum. */
static uint64_t pour(struct sim_conn *from, struct sim_conn *to, uint64_t total, size_t sip)
{
    uint64_t sum = 0, start = to->total;
    for (uint64_t sent = 0; sent < total; sent += BLOCK) {
        sim_fill(block, BLOCK, sent);
        sum = sim_sum(sum, block, BLOCK);
        peak = from->sim->buffered_peak;
        sim_send_str(from, str_of(block, BLOCK));
        sim_run(from->sim);
        while (from->end.in_len > BLOCK / 2)
            sim_drink(to, sip);
    }
    while (to->total - start < total && to->end.out_len > 0)
        sim_drink(to, sip);
    return sum;
}

static void sip_start(struct sim_conn *c)
{
    sim_clear(c);
    c->total = c->sum = 0;
    c->forgetful = true;
}

/*
 * What one read brought and a slow side does not take is held for as long as it likes. So it is small, unless it is the body's
 * first. `first`: how much of that waits at the most.
 */
static const struct { size_t window, sip, read, first; } takers[] = {
    {200000, 50000, 0, 0}, {200000, 100, 0, 0}, {66000, 16384, 0, 0}, {4096, 4096, 1448, 0}, {4096, 1000, 0, 60 * 1024},
};

TEST(a_download_to_a_slow_client)
{
    for (size_t i = 0; i < sizeof takers / sizeof *takers; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_PLAIN);
        s->client_window = takers[i].window;
        s->up_read_max = takers[i].read;
        struct sim_conn *c = sim_client(s);
        sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        struct sim_conn *u = sim_next(s);
        sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n");
        sip_start(c);
        c->stalled = true;
        uint64_t sum = pour(u, c, 10 * MIB, takers[i].sip);
        EXPECT_EQ(c->total, 10 * MIB);
        EXPECT_EQ(c->sum, sum);
        EXPECT(peak > 100 && peak <= (takers[i].first ? takers[i].first : KEPT) + 200);
        EXPECT(s->buffered_peak <= PEAK);
        EXPECT(sim_metric(s, METRIC_pauses_total) > 10);
        EXPECT_EQ(sim_metric(s, METRIC_buffered_bytes), 0);
        EXPECT(!sim_closed(u) && !sim_closed(c));
        EXPECT_EQ(sim_reasons(s, REASON_none), 1);
        SIM_END(s);
    }
}

TEST(an_upload_to_a_slow_endpoint)
{
    for (size_t i = 0; i < sizeof takers / sizeof *takers; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_PLAIN);
        s->up_window = takers[i].window;
        s->client_read_max = takers[i].read;
        struct sim_conn *c = sim_client(s);
        sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10485760\r\n\r\n");
        struct sim_conn *u = sim_next(s);
        sip_start(u);
        u->stalled = true;
        uint64_t sum = pour(c, u, 10 * MIB, takers[i].sip);
        EXPECT_EQ(u->total, 10 * MIB);
        EXPECT_EQ(u->sum, sum);
        EXPECT(peak > 100 && peak <= (takers[i].first ? takers[i].first : KEPT) + 200);
        EXPECT(s->buffered_peak <= PEAK);
        EXPECT(sim_metric(s, METRIC_pauses_total) > 10);
        EXPECT_EQ(sim_metric(s, METRIC_buffered_bytes), 0);
        sim_say(u, "HTTP/1.1 204 No Content\r\n\r\n");
        EXPECT_GOT(c, "HTTP/1.1 204 No Content\r\n\r\n");
        EXPECT(!sim_closed(u) && !sim_closed(c));
        SIM_END(s);
    }
}

/* Chunks of one byte: the framing is more than the data, and counts as well. */
TEST(a_chunked_download_of_tiny_chunks)
{
    struct sim *s = sim_new(SIM_PLAIN);
    s->client_window = 1000;
    struct sim_conn *c = sim_client(s);
    sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    sip_start(c);
    c->stalled = true;
    for (int i = 0; i < 100000; i++)
        sim_send(u, "1\r\nx\r\n");
    sim_send(u, "0\r\n\r\n");
    sim_run(s);
    while (c->end.out_len > 0)
        sim_drink(c, 5000);
    EXPECT_EQ(c->total, 600005);
    EXPECT(s->buffered_peak < PEAK);
    EXPECT(!sim_closed(u));
    SIM_END(s);
}

/* While the client takes nothing, the endpoint's slowness is not counted; when it does again, it is. */
TEST(a_pause_is_not_the_endpoints_fault)
{
    struct sim *s = sim_new("version: 1\nlisten: [{at: \"127.0.0.1:8080\", body_timeout: 1h}]\n"
                            "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], timeouts: {idle: 2s}}}\n"
                            "routes: [{match: /, upstream: api}]\n");
    s->client_window = 1000;
    struct sim_conn *c = sim_client(s);
    sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n");
    c->stalled = true;
    sim_fill(block, BLOCK, 0);
    sim_send_str(u, str_of(block, BLOCK));
    sim_run(s);
    sim_advance(s, 600 * NSEC_PER_SEC);
    EXPECT(!sim_closed(u) && !sim_closed(c));
    c->stalled = false;
    sim_run(s);
    sim_advance(s, 2 * NSEC_PER_SEC);
    EXPECT(sim_closed(u) && sim_closed(c));
    EXPECT_EQ(sim_reasons(s, REASON_idle_timeout), 1);
    SIM_END(s);
}

/* Both directions at once, each slow. */
TEST(both_ways_at_once)
{
    struct sim *s = sim_new(SIM_PLAIN);
    s->client_window = s->up_window = 10000;
    struct sim_conn *c = sim_client(s);
    sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2097152\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 2097152\r\n\r\n");
    sip_start(c), sip_start(u);
    c->stalled = u->stalled = true;
    uint64_t sum = 0;
    for (uint64_t sent = 0; sent < 2 * MIB; sent += BLOCK) {
        sim_fill(block, BLOCK, sent);
        sum = sim_sum(sum, block, BLOCK);
        sim_send_str(c, str_of(block, BLOCK));
        sim_send_str(u, str_of(block, BLOCK));
    }
    sim_run(s);
    while (c->end.out_len > 0 || u->end.out_len > 0) {
        sim_drink(c, 5000);
        sim_drink(u, 7000);
    }
    EXPECT_EQ(c->total, 2 * MIB);
    EXPECT_EQ(u->total, 2 * MIB);
    EXPECT_EQ(c->sum, sum);
    EXPECT_EQ(u->sum, sum);
    EXPECT(s->buffered_peak < 2 * PEAK);
    EXPECT(!sim_closed(c));
    SIM_END(s);
}
