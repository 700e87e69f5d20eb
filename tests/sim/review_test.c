/* SPDX-License-Identifier: Apache-2.0 */
/* Odd turns of the data path that no rule of HTTP names, and that once went wrong. */
#include "test.h"

#include "client.h"
#include "filter.h"
#include "lib/check.h"
#include "lib/mem.h"
#include "lib/rng.h"
#include "reply.h"
#include "request.h"
#include "sim.h"

#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static void send_tiny_chunks(struct sim_conn *c, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        sim_send(c, "1\r\nx\r\n");
}

/* The other side is gone, and weir learns it in the middle of a read: what is left of the read has nowhere to go. */
TEST(tiny_chunks_to_a_client_that_has_gone)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    c->end.reset_in = true;                  /* no event of it yet */
    send_tiny_chunks(u, 10000);
    sim_run(s);
    EXPECT(sim_closed(c));
    EXPECT(sim_closed(u));
    SIM_END(s);
}

TEST(tiny_chunks_to_an_endpoint_that_has_gone)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    u->end.reset_in = true;
    send_tiny_chunks(c, 10000);
    sim_run(s);
    EXPECT_HAS(c, "HTTP/1.1 502 ");
    EXPECT(sim_closed(u));
    SIM_END(s);
}

#define INTERIM "HTTP/1.1 102 Processing\r\nX: y\r\n\r\n"

/* They cost memory and put timeouts off: an endpoint that does not come to an end has failed. */
TEST(a_flood_of_interim_answers)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    for (int i = 0; i < 2000; i++)
        sim_send(u, INTERIM);
    sim_run(s);
    EXPECT_EQ(sim_metric(s, METRIC_interim_dropped_total), 255 - 8);
    EXPECT(sim_closed(u));
    EXPECT_HAS(c, INTERIM "HTTP/1.1 502 ");
    EXPECT_EQ((size_t)(strstr(c->got, "HTTP/1.1 502") - c->got), 8 * (sizeof INTERIM - 1));
    SIM_END(s);
}

/* A reset that came together with bytes: the event tells of the bytes alone. */
TEST(a_reset_right_behind_bytes)
{
    static const struct { const char *request, *to_up, *answer, *then; bool by_client; uint64_t after; } rows[] = {
        {GET, "", "", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", false, 1},
        {GET, "", "HTTP/1.1 200 OK\r\nX: y\r\n\r\n", "abc", false, 1},
        {GET, "", "", "HTTP/1.1 200 OK\r\nConte", false, 0},
        {"GET /", "", "", " HTTP/1.", true, 0},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc", "abc", "", "def", true, 1},
        {"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "",
         "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "abc", true, 1},
        {"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "",
         "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "abc", false, 1},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_PLAIN);
        struct sim_conn *c = sim_client(s);
        sim_say(c, rows[i].request);
        struct sim_conn *u = sim_next(s), *gone = rows[i].by_client ? c : u;
        if (u && rows[i].answer[0])
            sim_say(u, rows[i].answer);
        gone->end.reset_in = gone->end.reset_last = true;
        sim_say(gone, rows[i].then);
        if (rows[i].after) {
            sim_advance(s, rows[i].after * NSEC_PER_SEC - 1);
            EXPECT(!sim_closed(gone));
            sim_advance(s, 1);
        }
        EXPECT(sim_closed(gone));
        EXPECT_EQ(sim_metric(s, METRIC_requests_in_flight), 0);
        SIM_END(s);
    }
}

/* ... and a silent one that is there has all of its time. */
TEST(silence_is_not_an_error)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    sim_advance(s, 30 * NSEC_PER_SEC - 1);
    EXPECT(!sim_closed(u));
    sim_advance(s, 1);
    EXPECT(sim_closed(u));
    EXPECT_EQ(sim_reasons(s, REASON_idle_timeout), 1);
    SIM_END(s);
}

/* A tunnel's client that takes nothing is not forgotten because it was looked at before. */
TEST(a_silent_tunnel_and_a_client_that_takes_nothing)
{
    for (uint64_t wait = 0; wait < 3; wait++) {
        test_row("%llu", (unsigned long long)wait);
        struct sim *s = sim_new(SIM_PLAIN);
        s->client_window = 1000;
        struct sim_conn *c = sim_client(s);
        sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        struct sim_conn *u = sim_next(s);
        sim_say(u, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        sim_say(c, "a");
        sim_advance(s, wait * NSEC_PER_SEC / 2);
        c->stalled = true;
        for (int i = 0; i < 200; i++)
            sim_say(u, "0123456789012345678901234567890123456789012345678901234567890123456789");
        EXPECT(!sim_closed(c));
        sim_advance(s, 30 * NSEC_PER_SEC);
        EXPECT(sim_closed(c));
        EXPECT_EQ(sim_reasons(s, REASON_client_slow), 1);
        SIM_END(s);
    }
}

TEST(no_length_where_there_is_no_body)
{
    static const struct { const char *request, *answer, *got; } rows[] = {
        {GET, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nX: y\r\n\r\n", "HTTP/1.1 204 No Content\r\nX: y\r\n\r\n"},
        {GET, "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nX: y\r\n\r\n" OK,
         "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" OK},
        {"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
         "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
        {GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
         "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_PLAIN);
        struct sim_conn *c = sim_client(s);
        sim_say(c, rows[i].request);
        sim_say(sim_next(s), rows[i].answer);
        EXPECT_GOT(c, rows[i].got);
        EXPECT(!sim_closed(c));
        SIM_END(s);
    }
}

/* An event may come late, for bytes that were read together with those before them: the connection is as good as before. */
TEST(an_event_for_nothing_leaves_the_pool_alone)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    struct sim_conn *u = sim_next(s);
    sim_say(u, OK);
    u->end.events |= STREAM_READ;
    sim_run(s);
    EXPECT(!sim_closed(u));
    sim_say(u, "x");
    EXPECT(sim_closed(u));
    SIM_END(s);
}

static enum verdict keep_waiting(struct call *call)
{
    wait_until(call, time_after(call->now, 20 * NSEC_PER_SEC));
    return FILTER_WAIT;
}

/* The 503 of a connection that is cut waits for a filter: there is no time for that. */
TEST(a_cut_while_the_answer_to_it_waits)
{
    static const struct filter waits = {.name = "waits", .places = PLACE_ANY, .on_response = keep_waiting};
    static const struct filter *const filters[] = {&waits, NULL};
    struct sim *s = sim_new_with(&(struct sim_conf){.filters = filters, .yaml =
        SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"]}}\n"
        "routes: [{match: /, upstream: api, filters: [waits]}]\n"});
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    client_close(c->client, REASON_draining);
    sim_run(s);
    EXPECT(sim_closed(c));
    EXPECT_NOTHING_LEFT(s);
    SIM_END(s);
}

static enum verdict wait_once(struct call *call)
{
    if (call->why != WHY_FIRST)
        return FILTER_NEXT;
    wait_until(call, time_after(call->now, NSEC_PER_SEC));
    return FILTER_WAIT;
}

static enum verdict wait_on_failure(struct call *call, const struct outcome *out)
{
    (void)out;
    return response_head(call->req) ? FILTER_NEXT : wait_once(call);
}

static const struct filter late = {.name = "late", .places = PLACE_ANY, .on_response = wait_once, .on_head = wait_on_failure};
static const struct filter *const late_ones[] = {&late, NULL};

static struct sim *late_sim(void)
{
    return sim_new_with(&(struct sim_conf){.filters = late_ones, .yaml =
        SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], filters: [late]}}\n"
        "routes: [{match: /, upstream: api}]\n"});
}

/* The bytes that a head came in are gone when it is sent at last. */
TEST(an_upgrade_that_a_filter_delays)
{
    struct sim *s = late_sim();
    struct sim_conn *c = sim_client(s);
    sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    struct sim_conn *u = sim_next(s);
    sim_say(u, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websock");
    sim_say(u, "et\r\n\r\n");
    EXPECT_GOT(c, "");
    sim_advance(s, NSEC_PER_SEC);
    EXPECT_GOT(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    SIM_END(s);
}

/* While there is no endpoint nothing is taken from the client. */
TEST(an_upload_whose_endpoint_has_gone)
{
    struct sim *s = late_sim();
    struct sim_conn *c = sim_client(s);
    sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nabc");
    struct sim_conn *u = sim_next(s);
    EXPECT_HAS(u, "\r\n\r\nabc");
    sim_reset(u);
    sim_run(s);
    sim_say(c, "0123456789");
    EXPECT_EQ(c->end.in_len, 10);
    sim_advance(s, 2 * NSEC_PER_SEC);
    EXPECT_HAS(c, "HTTP/1.1 502 ");
    SIM_END(s);
}

/* ---- everything at once ---- */

/* A filter that does anything that a filter may, without sense. */
static enum verdict any_of(struct call *call, const enum verdict *v, size_t n)
{
    enum verdict pick = rng_below(call->rng, 3) ? FILTER_NEXT : v[rng_below(call->rng, n)];
    switch (pick) {
    case FILTER_WAIT:
        wait_until(call, time_after(call->now, rng_below(call->rng, 3 * NSEC_PER_SEC)));
        break;
    case FILTER_FAIL:
        call->reason = REASON_denied;
        break;
    case FILTER_REPLY:
        *call->reply = (struct reply){.status = 200, .reason = REASON_replied, .body = STR("reply")};
        break;
    case FILTER_RETRY:
        call->not_before = time_after(call->now, rng_below(call->rng, 2) * NSEC_PER_SEC);
        break;
    case FILTER_FAILOVER:
        call->failover = STR("other");
        break;
    default:
        break;
    }
    return pick;
}

static const enum verdict entry[] = {FILTER_NEXT, FILTER_NEXT, FILTER_WAIT, FILTER_REPLY, FILTER_FAIL};
static const enum verdict on_answer[] = {FILTER_WAIT, FILTER_HOLD, FILTER_HOLD, FILTER_REPLY, FILTER_FAIL};
static const enum verdict on_head[] = {FILTER_WAIT, FILTER_HOLD, FILTER_REPLY, FILTER_FAIL, FILTER_RETRY, FILTER_FAILOVER};
static const enum verdict on_body[] = {FILTER_NEXT, FILTER_HOLD, FILTER_HOLD, FILTER_DROP, FILTER_FAIL};

static enum verdict chaos_entry(struct call *call) { return any_of(call, entry, array_len(entry)); }
static enum verdict chaos_response(struct call *call) { return any_of(call, on_answer, array_len(on_answer)); }

static enum verdict chaos_endpoint(struct call *call, size_t endpoint)
{
    return rng_below(call->rng, 4) + endpoint == 0 ? FILTER_FAIL : FILTER_NEXT;
}

static enum verdict chaos_head(struct call *call, const struct outcome *out)
{
    (void)out;
    if (request_attempts(call->req) > 5)
        return FILTER_NEXT;
    return any_of(call, on_head, array_len(on_head));
}

static enum verdict chaos_body(struct call *call, struct slice slice)
{
    (void)slice;
    if (rng_below(call->rng, 4) == 0)
        body_emit(call, "emitted", 7);
    return any_of(call, on_body, rng_below(call->rng, 20) ? 3 : 5);
}

static const struct filter chaos = {.name = "chaos", .places = PLACE_ANY, .hold_max = 3000, .hold_time = NSEC_PER_SEC,
    .resizes_body = true, .resizes_request_body = true, .on_request = chaos_entry, .on_request_body = chaos_body,
    .on_attempt = chaos_entry, .on_endpoint = chaos_endpoint, .on_head = chaos_head, .on_response = chaos_response,
    .on_response_body = chaos_body, .keep_body = 5000};
static const struct filter reader = {.name = "reader", .places = PLACE_ANY, .needs_body = 4000, .on_request = chaos_entry};
static const struct filter stoic = {.name = "stoic", .places = PLACE_ANY, .on_head = chaos_head,
    .on_response = chaos_response, .keep_body = 70000};
static const struct filter *const chaotic[] = {&chaos, &reader, &stoic, NULL};

#define CHAOS "version: 1\n" \
    "listen: [{at: \"127.0.0.1:8080\", filters: [shadow]}, {at: \"127.0.0.1:8081\", half_close: keep, filters: [chaos]}]\n" \
    "define: {shadow: {chaos: {mode: shadow}}}\n" \
    "upstreams:\n" \
    "  api: {endpoints: [\"http://127.0.0.1:81\", \"http://127.0.0.1:82\"], filters: [chaos, stoic], timeouts: {tunnel: 20s}}\n" \
    "  quiet: {endpoints: [\"http://127.0.0.1:83\"], filters: [stoic], timeouts: {tunnel: 20s}}\n" \
    "  other: {endpoints: [\"http://127.0.0.1:84\"], host: endpoint, timeouts: {tunnel: 20s}, pool: {max: 1}}\n" \
    "routes:\n" \
    "  - {match: /, upstream: api, filters: [reader, chaos]}\n" \
    "  - {match: /q, upstream: quiet, timeout: 5s}\n" \
    "  - {match: /o, upstream: other, max_body: 20KiB}\n" \
    "  - {match: /r, respond: {status: 200, body: pong}, filters: [stoic]}\n"

enum { CONNS = 12 };

struct world {
    struct sim *s;
    struct rng rng;
    struct sim_conn *client[CONNS], *up[CONNS];
    bool tunnels;
    char *bytes;
    size_t len, cap;
};

static bool one_in(struct world *w, uint64_t n) { return rng_below(&w->rng, n) == 0; }

static void add_text(struct world *w, const char *text, size_t len)
{
    if (w->len + len > w->cap) {
        w->cap = (w->len + len) * 2;
        w->bytes = mem_realloc(w->bytes, w->cap);
    }
    memcpy(w->bytes + w->len, text, len);
    w->len += len;
}

#define ADD(w, text) add_text(w, text, sizeof(text) - 1)

static size_t any_size(struct world *w)
{
    static const size_t sizes[] = {0, 1, 10, 100, 2000, 5000, 66000, 200000};
    return sizes[rng_below(&w->rng, array_len(sizes))];
}

static void add_body(struct world *w, bool chunked, size_t size)
{
    char *fill = mem_alloc(size + 1), head[40];
    memset(fill, 'x', size);
    if (!chunked)
        add_text(w, fill, size);
    size_t step = one_in(w, 4) ? 1 : 1 + rng_below(&w->rng, 5000);
    if (step == 1 && size > 20000)
        size = 20000;
    for (size_t at = 0; chunked && at < size; at += step) {
        size_t n = size - at < step ? size - at : step;
        add_text(w, head, (size_t)snprintf(head, sizeof head, "%zx%s\r\n", n, one_in(w, 100) ? ";a=\"b\"" : ""));
        add_text(w, fill, n);
        ADD(w, "\r\n");
    }
    if (chunked && one_in(w, 3))
        ADD(w, "0\r\nX-T: 1\r\n\r\n");
    else if (chunked)
        ADD(w, "0\r\n\r\n");
    mem_free(fill);
}

static void add_frame(struct world *w, bool body)
{
    size_t size = any_size(w);
    bool chunked = one_in(w, 2);
    char line[60];
    if (chunked)
        ADD(w, "Transfer-Encoding: chunked\r\n\r\n");
    else
        add_text(w, line, (size_t)snprintf(line, sizeof line, "Content-Length: %zu\r\n\r\n", size));
    if (body)
        add_body(w, chunked, size);
}

static void add_request(struct world *w)
{
    static const char *const lines[] = {"GET /", "GET /q", "POST /", "PUT /", "PUT /q", "POST /o", "HEAD /", "GET /r", "GET /o"};
    const char *line = lines[rng_below(&w->rng, array_len(lines))];
    add_text(w, line, strlen(line));
    if (one_in(w, 20))
        ADD(w, " HTTP/1.0\r\nConnection: keep-alive\r\nHost: h\r\n");
    else
        ADD(w, " HTTP/1.1\r\nHost: h\r\n");
    if (one_in(w, 20))
        ADD(w, "Connection: close\r\n");
    if (one_in(w, 5))
        ADD(w, "TE: trailers\r\n");
    if (line[0] == 'P') {
        if (one_in(w, 4))
            ADD(w, "Expect: 100-continue\r\n");
        add_frame(w, true);
    } else if (one_in(w, w->tunnels ? 1 : 8)) {
        ADD(w, "Connection: upgrade\r\nUpgrade: x\r\n\r\n");
    } else {
        ADD(w, "\r\n");
    }
}

static void add_answer(struct world *w)
{
    while (one_in(w, 5))
        ADD(w, "HTTP/1.1 100 Continue\r\n\r\n");
    switch (rng_below(&w->rng, w->tunnels ? 2 : 10)) {
    case 0:
        ADD(w, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello");
        break;
    case 1:
        ADD(w, "HTTP/1.1 204 No Content\r\n\r\n");
        break;
    case 2:
        ADD(w, "HTTP/1.1 200 OK\r\nX: y\r\n\r\n");
        add_body(w, false, any_size(w));
        break;
    case 3:
        ADD(w, "HTTP/1.1 200 OK\r\nConnection: close\r\n");
        add_frame(w, true);
        break;
    case 4:
        ADD(w, "HTTP/1.1 200 OK\r\n");
        add_frame(w, false);
        break;
    default:
        ADD(w, "HTTP/1.1 200 OK\r\n");
        add_frame(w, true);
    }
}

/* What was made is sent in one piece, or in two, or spoilt, or cut. */
static void send_made(struct world *w, struct sim_conn *c)
{
    if (one_in(w, 30) && w->len > 0)
        w->bytes[rng_below(&w->rng, w->len)] = (char)rng_below(&w->rng, 256);
    size_t len = one_in(w, 10) && w->len > 0 ? rng_below(&w->rng, w->len) : w->len;
    size_t first = one_in(w, 2) ? len : rng_below(&w->rng, len + 1);
    if (c->end.stream)
        sim_send_str(c, str_of(w->bytes, first));
    if (first < len)
        sim_run(w->s);
    if (first < len && c->end.stream)
        sim_send_str(c, str_of(w->bytes + first, len - first));
    w->len = 0;
}

static void disturb(struct world *w, struct sim_conn *c)
{
    switch (rng_below(&w->rng, 6)) {
    case 0:
        sim_fin(c);
        break;
    case 1:
        sim_reset(c);
        break;
    case 2:
        c->end.reset_in = true;          /* weir learns it by itself, or from the next event */
        sim_run(w->s);
        sim_reset(c);
        break;
    case 3:
        sim_drink(c, 1 + rng_below(&w->rng, 50000));
        break;
    default:
        c->stalled = !c->stalled;
    }
}

static void step(struct world *w)
{
    struct sim_conn **slot = &w->client[rng_below(&w->rng, CONNS)], *c;
    w->s->shuffle = one_in(w, 2);
    w->s->client_window = one_in(w, 2) ? 0 : 1 + rng_below(&w->rng, 100000);
    w->s->up_window = one_in(w, 2) ? 0 : 1 + rng_below(&w->rng, 100000);
    w->s->up_read_max = one_in(w, 3) ? 1 + rng_below(&w->rng, 3000) : 0;
    w->s->client_read_max = one_in(w, 3) ? 1 + rng_below(&w->rng, 3000) : 0;
    w->s->connect = one_in(w, 10) ? (enum sim_connect)rng_below(&w->rng, 4) : SIM_ACCEPT;
    switch (rng_below(&w->rng, 12)) {
    case 0: case 1: case 2: case 3:
        if (!*slot || !(*slot)->end.stream)
            (*slot = sim_client_at(w->s, 0, rng_below(&w->rng, 2), STR("192.0.2.1")))->forgetful = true;
        do
            add_request(w);
        while (one_in(w, 3));
        send_made(w, *slot);
        break;
    case 4: case 5: case 6: case 7:
        while ((c = sim_next(w->s)) != NULL) {
            c->forgetful = true;
            w->up[rng_below(&w->rng, CONNS)] = c;
        }
        slot = &w->up[rng_below(&w->rng, CONNS)];
        if (*slot && (*slot)->end.stream) {
            add_answer(w);
            send_made(w, *slot);
        }
        break;
    case 8: case 9:
        slot = one_in(w, 2) ? slot : &w->up[rng_below(&w->rng, CONNS)];
        if (*slot && (*slot)->end.stream)
            disturb(w, *slot);
        break;
    case 10:
        if (one_in(w, 20) && *slot && (*slot)->end.stream)
            client_close((*slot)->client, REASON_draining);
        else if (one_in(w, 20) && *slot && (*slot)->end.stream)
            client_drain((*slot)->client);
        break;
    default:
        sim_advance(w->s, rng_below(&w->rng, one_in(w, 5) ? 40 * NSEC_PER_SEC : NSEC_PER_SEC));
    }
    if (one_in(w, 2))
        sim_run(w->s);
}

TEST(whatever_happens_nothing_is_left)
{
    const char *from = getenv("REVIEW_SEED"), *n = getenv("REVIEW_RUNS");
    uint64_t first = from ? strtoull(from, NULL, 10) : 1, runs = n ? strtoull(n, NULL, 10) : 20;
    for (uint64_t seed = first; seed < first + runs; seed++) {
        test_row("seed %llu", (unsigned long long)seed);
        if (from)
            fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
        struct world w = {.s = sim_new_with(&(struct sim_conf){.yaml = CHAOS, .filters = chaotic, .seed = seed})};
        rng_seed(&w.rng, seed);
        w.tunnels = seed % 3 == 0;
        for (int i = 0; i < 400; i++)
            step(&w);
        EXPECT(w.s->buffered_peak < (size_t)CONNS * 1024 * 1024);
        mem_free(w.bytes);
        sim_advance(w.s, 3 * 3600 * NSEC_PER_SEC);           /* nobody does anything any more: time ends it all */
        EXPECT_NOTHING_LEFT(w.s);
        SIM_END(w.s);
    }
}
