/* SPDX-License-Identifier: Apache-2.0 */
/* The timeout filter: what strikes, at which nanosecond, with which word, and that nothing is left then. */
#include "actor.h"

#include "figure.h"

#define MS NSEC_PER_MSEC
#define SEC NSEC_PER_SEC

extern const struct filter filter_timeout;
static const struct filter actor = ACTOR("actor", .hold_max = 1000, .hold_time = 30 * SEC);
static const struct filter *const filters[] = {&filter_timeout, &actor, NULL};

/* Filters of the three places; behind them the owners' own times, which no filter here has. */
#define CONF3(LISTENER, ROUTE, UPSTREAM)                                                                             \
    "version: 1\n"                                                                                                   \
    "listen: [{at: \"127.0.0.1:8080\", header_timeout: 99s, body_timeout: 45s, min_rate: 0B, filters: [" LISTENER "]}]\n"\
    "upstreams:\n"                                                                                                   \
    "  api: {endpoints: [\"http://127.0.0.1:81\", \"http://127.0.0.1:82\"], filters: [" UPSTREAM "],\n"              \
    "        timeouts: {connect: 41s, first_byte: 42s, idle: 43s, tunnel: 44s}}\n"                                   \
    "  other: {endpoints: [\"http://127.0.0.1:83\"], timeouts: {connect: 41s, first_byte: 42s, idle: 43s}}\n"        \
    "routes: [{match: /, upstream: api, fallback: other, timeout: 60s, filters: [" ROUTE "]}]\n"
#define CONF(UPSTREAM) CONF3("", "", UPSTREAM)
#define FILTER(OPTIONS) "{timeout: {" OPTIONS "}}"
#define ACT_A "{actor: {id: a}}"

#define POST(LENGTH) "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " LENGTH "\r\n\r\n"
#define EXPECTS "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
#define ASKING(LINES) "GET / HTTP/1.1\r\nHost: h\r\n" LINES "\r\n"
#define UPGRADE ASKING("Connection: upgrade\r\nUpgrade: x\r\n")
#define STREAM "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
#define DOWNLOAD "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx"
#define UNTIL_CLOSE "HTTP/1.1 200 OK\r\n\r\nx"
#define YES "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
#define BUSY "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"

static struct sim *start(const char *yaml)
{
    actor_clear();
    return sim_new_with(&(struct sim_conf){.yaml = yaml, .filters = filters});
}

/* Nothing happens to `conn` before `ns` are over; then something does. */
static void strikes_after(struct sim *s, struct sim_conn *conn, uint64_t ns)
{
    size_t before = sim_text(conn).len;
    sim_advance(s, ns - 1);
    EXPECT_EQ(sim_text(conn).len, before);
    EXPECT(!sim_ended(conn) && !sim_closed(conn));
    sim_advance(s, 1);
    EXPECT(sim_text(conn).len > before || sim_closed(conn));
}

/* `status` NULL: it is cut, and nothing more is said. */
static void expect_end(struct sim *s, struct sim_conn *c, const char *status, enum reason reason)
{
    char word[80];
    snprintf(word, sizeof word, "\"reason\":\"%s\"", reason_name(reason));
    if (status && !sim_has(c, status))
        EXPECT_STR(sim_text(c), status);
    EXPECT_EQ(sim_has(c, word), status != NULL);
    if (!status)
        EXPECT(sim_closed(c) && !sim_has(c, "\r\n0\r\n\r\n"));
    EXPECT_EQ(sim_reasons(s, reason), 1);
    EXPECT_EQ(sim_metric(s, METRIC_requests_in_flight), 0);
    EXPECT_EQ(sim_metric(s, METRIC_upstream_connections), 0);
    EXPECT_EQ(sim_metric(s, METRIC_tunnels), 0);
}

static uint64_t figure(const struct sim *s, const char *value)
{
    union figure_value v[16];
    for (size_t i = 0; i < s->snap->n_instances; i++) {
        const struct instance *in = s->snap->instances[i];
        if (in->type != &filter_timeout)
            continue;
        in->type->figures_read(in->shared, in->options, clock_mono(&s->clock), v);
        for (size_t k = 0; in->type->figures[k].name; k++)
            if (!strcmp(in->type->figures[k].value, value))
                return v[k].n;
    }
    check(false);
}

/* The endpoint's connection is there once it was asked; one that is stuck takes no byte. */
static struct sim_conn *ask(struct sim *s, struct sim_conn *c, const char *request, bool stuck)
{
    if (stuck) {
        s->connect = SIM_HANG;
        s->up_window = 10;
    }
    sim_say(c, request);
    struct sim_conn *u = sim_next(s);
    if (u && stuck) {
        u->stalled = true;
        sim_accept(u);
        sim_run(s);
    }
    return u;
}

/* ---- the parts ---- */

struct part {
    const char *name, *options, *request;
    enum sim_connect connect;
    bool stuck;
    const char *answer;
    uint64_t own;                    /* seconds: the time of the owner */
    const char *status;
    enum reason reason;
};

#define S408 "HTTP/1.1 408 Request Timeout\r\n"
#define S504 "HTTP/1.1 504 Gateway Timeout\r\n"

static const struct part parts[] = {
    {"connect", "connect: 3s", GET, SIM_HANG, false, NULL, 41, S504, REASON_connect_timeout},
    {"first byte", "first_byte: 3s", GET, SIM_ACCEPT, false, NULL, 42, S504, REASON_first_byte_timeout},
    {"rest of the head", "first_byte: 3s", GET, SIM_ACCEPT, false, "HTTP/1.1 200", 42, S504, REASON_first_byte_timeout},
    {"100", "first_byte: 3s", EXPECTS, SIM_ACCEPT, false, NULL, 42, S504, REASON_first_byte_timeout},
    {"a body that is not taken", "idle: 3s", POST("9000") "x", SIM_ACCEPT, true, NULL, 43, S504, REASON_idle_timeout},
    {"a whole request that is not taken", "first_byte: 3s", GET, SIM_ACCEPT, true, NULL, 42, S504, REASON_first_byte_timeout},
    {"a download", "idle: 3s", GET, SIM_ACCEPT, false, DOWNLOAD, 43, NULL, REASON_idle_timeout},
    {"an event stream", "idle: 3s", GET, SIM_ACCEPT, false, STREAM, 43, NULL, REASON_idle_timeout},
    {"a client's body", "client_body: 3s", POST("9"), SIM_ACCEPT, false, NULL, 45, S408, REASON_client_timeout},
    {"a client's body in pieces", "client_body: 3s", POST("9") "123", SIM_ACCEPT, false, NULL, 45, S408,
     REASON_client_timeout},
    {"total", "total: 3s", GET, SIM_ACCEPT, false, NULL, 0, S504, REASON_total_timeout},
    {"total while connecting", "total: 3s", GET, SIM_HANG, false, NULL, 0, S504, REASON_total_timeout},
    {"total while a body comes", "total: 3s", POST("9") "1", SIM_ACCEPT, false, NULL, 0, S504, REASON_total_timeout},
    {"total while a body waits", "total: 3s", EXPECTS, SIM_ACCEPT, false, NULL, 0, S504, REASON_total_timeout},
    {"total of what is stuck", "total: 3s", POST("9") "1", SIM_ACCEPT, true, NULL, 0, S504, REASON_total_timeout},
    {"total and a part at once", "total: 3s, first_byte: 3s", GET, SIM_ACCEPT, false, NULL, 0, S504, REASON_total_timeout},
};

static void part_strikes(const struct part *p, const char *yaml, uint64_t after)
{
    PLAY(ACT("a", "attempt", FILTER_NEXT, .lease = 1 + SCOPE_ATTEMPT), ACT("a", "request", FILTER_NEXT, .lease = 1 + SCOPE_LEG));
    struct sim *s = sim_new_with(&(struct sim_conf){.yaml = yaml, .filters = filters});
    struct sim_conn *c = sim_client(s), *u;
    s->connect = p->connect;
    u = ask(s, c, p->request, p->stuck);
    check(u != NULL);
    if (p->answer)
        sim_say(u, p->answer);
    strikes_after(s, c, after);
    EXPECT(sim_closed(u));
    EXPECT(strstr(actor_noted, "a.attempt-back ") != NULL && strstr(actor_noted, "a.request-back ") != NULL);
    expect_end(s, c, p->status, p->reason);
    PLAY_END(s);
}

TEST(each_part_in_each_place)
{
    static const char *const places[] = {"listener", "route", "upstream"};
    for (size_t i = 0; i < array_len(parts) * 3; i++) {
        const struct part *p = &parts[i / 3];
        char yaml[2000], filter[200];
        test_row("%s, %s", p->name, places[i % 3]);
        snprintf(filter, sizeof filter, FILTER("%s"), p->options);
        snprintf(yaml, sizeof yaml, "version: 1\n"
                 "listen: [{at: \"127.0.0.1:8080\", header_timeout: 99s, body_timeout: 45s, min_rate: 0B, filters: [%s]}]\n"
                 "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], filters: [" ACT_A "%s%s],\n"
                 "  timeouts: {connect: 41s, first_byte: 42s, idle: 43s}}}\n"
                 "routes: [{match: /, upstream: api, timeout: 60s, filters: [%s]}]\n",
                 i % 3 == 0 ? filter : "", i % 3 == 2 ? "," : "", i % 3 == 2 ? filter : "", i % 3 == 1 ? filter : "");
        part_strikes(p, yaml, 3 * SEC);
    }
}

#define NO_FALLBACK(FILTERS)                                                                                         \
    "version: 1\n"                                                                                                   \
    "listen: [{at: \"127.0.0.1:8080\", header_timeout: 99s, body_timeout: 45s, min_rate: 0B}]\n"                     \
    "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], filters: [" ACT_A ", " FILTERS "],\n"                   \
    "  timeouts: {connect: 41s, first_byte: 42s, idle: 43s}}}\n"                                                     \
    "routes: [{match: /, upstream: api, timeout: 60s}]\n"

TEST(what_is_not_written_stays_the_owners)
{
    for (size_t i = 0; i < array_len(parts); i++) {
        test_row("%s", parts[i].name);
        if (parts[i].own)
            part_strikes(&parts[i], NO_FALLBACK("timeout"), parts[i].own * SEC);
    }
}

TEST(of_several_filters_the_last_word_counts)
{
    static const char *const rows[] = {
        CONF3(FILTER("first_byte: 1s"), FILTER("first_byte: 2s"), FILTER("first_byte: 3s")),
        CONF3(FILTER("first_byte: 50s"), FILTER("first_byte: 3s"), FILTER("idle: 1s")),
        CONF3(FILTER("first_byte: 3s"), "timeout", "timeout"),
        CONF3("", FILTER("first_byte: 1s") ", " FILTER("name: b, first_byte: 3s"), ""),
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        struct sim *s = start(rows[i]);
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        struct sim_conn *u = sim_next(s);
        sim_advance(s, 3 * SEC - 1);
        EXPECT(!sim_closed(u));
        sim_advance(s, 1);
        EXPECT(sim_closed(u));
        SIM_END(s);
    }
}

/* A filter may also give more time than the owner does. */
TEST(longer_than_the_owners)
{
    struct sim *s = start(NO_FALLBACK(FILTER("first_byte: 50s")));
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    strikes_after(s, c, 50 * SEC);
    expect_end(s, c, S504, REASON_first_byte_timeout);
    SIM_END(s);
}

/* What an upstream's filter says is said of that upstream; what a route's says, of all of them. */
TEST(another_upstream_has_its_own_times)
{
    static const struct { const char *yaml; uint64_t second; } rows[] = {
        {CONF(FILTER("first_byte: 3s")), 42 * SEC},
        {CONF3("", FILTER("first_byte: 5s"), FILTER("first_byte: 3s")), 5 * SEC},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        struct sim *s = start(rows[i].yaml);
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        struct sim_conn *u = sim_next(s);
        sim_advance(s, 3 * SEC);
        EXPECT(sim_closed(u));
        u = sim_next(s);
        EXPECT_EQ(ntohs(u->address.in.sin_port), 83);
        strikes_after(s, c, rows[i].second);
        expect_end(s, c, S504, REASON_first_byte_timeout);
        SIM_END(s);
    }
}

/* An endpoint that has all there is of a body does not wait for itself: a slow client is no fault of it. */
TEST(a_client_that_stops_sending_is_not_the_endpoints_fault)
{
    struct sim *s = start(NO_FALLBACK(FILTER("idle: 2s, client_body: 5s")));
    struct sim_conn *c = sim_client(s), *u;
    sim_say(c, POST("5"));
    u = sim_next(s);
    for (int i = 0; i < 4; i++) {
        sim_advance(s, 5 * SEC - 1);
        sim_say(c, "x");
    }
    EXPECT_HAS(u, "xxxx");
    strikes_after(s, c, 5 * SEC);
    expect_end(s, c, S408, REASON_client_timeout);
    SIM_END(s);

    s = start(NO_FALLBACK(FILTER("idle: 2s, client_body: 5s, first_byte: 7s")));
    c = sim_client(s);
    sim_say(c, POST("5"));
    sim_advance(s, 4 * SEC);
    sim_say(c, "xxxxx");
    strikes_after(s, c, 7 * SEC);
    expect_end(s, c, S504, REASON_first_byte_timeout);
    SIM_END(s);
}

/* The request was sent whole, but the endpoint takes it in pieces: until the last one it is `idle` that counts. */
TEST(an_endpoint_that_takes_a_request_slowly)
{
    struct sim *s = start(NO_FALLBACK(FILTER("idle: 2s, first_byte: 5s")));
    struct sim_conn *c = sim_client(s), *u;
    u = ask(s, c, GET, true);
    for (int i = 0; i < 4; i++) {
        sim_drink(u, 5);
        sim_advance(s, 2 * SEC - 1);
        EXPECT_GOT(c, "");
    }
    sim_advance(s, 1);
    expect_end(s, c, S504, REASON_idle_timeout);
    SIM_END(s);

    s = start(NO_FALLBACK(FILTER("idle: 2s, first_byte: 5s")));
    c = sim_client(s);
    u = ask(s, c, GET, true);
    sim_drink(u, 5);
    sim_advance(s, SEC);
    u->stalled = false;
    sim_run(s);
    strikes_after(s, c, 5 * SEC);
    expect_end(s, c, S504, REASON_first_byte_timeout);
    SIM_END(s);
}

/* An answer that keeps moving is not idle. */
TEST(idle_is_between_bytes)
{
    struct sim *s = start(CONF(FILTER("idle: 3s, first_byte: 1s")));
    struct sim_conn *c = sim_client(s), *u;
    sim_say(c, GET);
    u = sim_next(s);
    sim_say(u, STREAM);
    for (int i = 0; i < 50; i++) {
        sim_advance(s, 3 * SEC - 1);
        sim_say(u, "1\r\nx\r\n");
    }
    sim_clear(c);
    strikes_after(s, c, 3 * SEC);
    expect_end(s, c, NULL, REASON_idle_timeout);
    SIM_END(s);
}

TEST(a_tunnel_has_its_own_idle_time)
{
    struct sim *s = start(CONF(FILTER("idle: 3s")));
    struct sim_conn *c = sim_client(s);
    sim_say(c, UPGRADE);
    sim_say(sim_next(s), YES);
    strikes_after(s, c, 44 * SEC);
    expect_end(s, c, NULL, REASON_idle_timeout);
    SIM_END(s);
}

/* ---- the deadline ---- */

/* Queueing spends it: nothing is opened, and who waits is told at the nanosecond. */
TEST(the_deadline_in_a_wait_of_another_filter)
{
    static const struct { const char *hook; bool asked; } rows[] = {{"request", false}, {"attempt", false}, {"head", true},
                                                                    {"response", true}};
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%s", rows[i].hook);
        PLAY(ACT("a", rows[i].hook, FILTER_WAIT, .after = 50 * SEC));
        struct sim *s = sim_new_with(&(struct sim_conf){.yaml = CONF3("", FILTER("total: 3s"), ACT_A), .filters = filters});
        struct sim_conn *c = sim_client(s), *u;
        sim_say(c, GET);
        u = sim_next(s);
        EXPECT_EQ(u != NULL, rows[i].asked);
        if (u)
            sim_say(u, DOWNLOAD);
        strikes_after(s, c, 3 * SEC);
        EXPECT(strstr(actor_noted, "/timer") == NULL);
        expect_end(s, c, S504, REASON_total_timeout);
        PLAY_END(s);
    }
}

/* Time that was waited before the filter is asked is spent all the same. */
TEST(the_deadline_counts_from_the_heads_arrival)
{
    PLAY(ACT("a", "request", FILTER_WAIT, .after = 2 * SEC));
    struct sim *s = sim_new_with(&(struct sim_conf){.yaml = CONF3(ACT_A, FILTER("total: 3s"), ""), .filters = filters});
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    sim_advance(s, 2 * SEC);
    struct sim_conn *u = sim_next(s);
    EXPECT_HAS(u, "X-Request-Timeout: 1000\r\n");
    strikes_after(s, c, 1 * SEC);
    expect_end(s, c, S504, REASON_total_timeout);
    PLAY_END(s);
}

/* ... and when nothing is left, no endpoint hears of the request. */
TEST(a_deadline_that_has_passed)
{
    static const struct { uint64_t wait; bool asked; } rows[] = {{3 * SEC - 1, true}, {3 * SEC, false}, {5 * SEC, false}};
    for (size_t i = 0; i < array_len(rows) * 2; i++) {
        test_row("%" PRIu64 " %zu", rows[i / 2].wait, i % 2);
        PLAY(ACT("a", "request", FILTER_WAIT, .after = rows[i / 2].wait),
             ACT("b", "attempt", FILTER_NEXT, .lease = 1 + SCOPE_ATTEMPT));
        struct sim *s = sim_new_with(&(struct sim_conf){
            .yaml = i % 2 ? CONF3(ACT_A, "", "{actor: {id: b}}, " FILTER("total: 3s"))
                          : CONF3(ACT_A, FILTER("total: 3s"), "{actor: {id: b}}"), .filters = filters});
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        sim_advance(s, rows[i / 2].wait);
        struct sim_conn *u = sim_next(s);
        EXPECT_EQ(u != NULL, rows[i / 2].asked);
        if (rows[i / 2].asked) {
            EXPECT_HAS(u, "X-Request-Timeout: 1\r\n");
            sim_advance(s, 1);
        }
        EXPECT(strstr(actor_noted, "b.attempt-back ") != NULL);
        /* One that was asked in the last nanosecond is not to blame. */
        EXPECT(strstr(actor_outcomes, rows[i / 2].asked ? "b.attempt_end: by us, total_timeout, 0"
                                                        : "b.attempt_end: by deadline, total_timeout, 0") != NULL);
        expect_end(s, c, S504, REASON_total_timeout);
        PLAY_END(s);
    }
}

/* Attempts and the pauses between them spend it, and each endpoint is told what is left. */
TEST(the_deadline_over_attempts)
{
    PLAY(ACT("a", "head", FILTER_RETRY, .not_before = SEC), ACT("a", "head", FILTER_RETRY, .not_before = 500 * MS));
    struct sim *s = sim_new_with(&(struct sim_conf){.yaml = CONF(ACT_A ", " FILTER("total: 5s, first_byte: 2s")),
                                                    .filters = filters});
    struct sim_conn *c = sim_client(s), *u;
    sim_say(c, GET);
    u = sim_next(s);
    EXPECT_HAS(u, "X-Request-Timeout: 5000\r\n");
    sim_advance(s, 200 * MS + 1);
    sim_say(u, BUSY);
    EXPECT(sim_closed(u));
    sim_advance(s, SEC);
    u = sim_next(s);
    EXPECT_HAS(u, "X-Request-Timeout: 3799\r\n");
    EXPECT_HASNT(u, "5000");
    sim_advance(s, 2 * SEC);                     /* first_byte: the limit of a try */
    EXPECT(sim_closed(u));
    sim_advance(s, 500 * MS);
    u = sim_next(s);
    EXPECT_HAS(u, "X-Request-Timeout: 1299\r\n");
    EXPECT_GOT(c, "");
    strikes_after(s, c, 1300 * MS - 1);          /* what is left, although first_byte is longer */
    EXPECT(sim_closed(u));
    expect_end(s, c, S504, REASON_total_timeout);
    EXPECT_EQ(sim_metric(s, METRIC_attempts_total), 3);
    PLAY_END(s);
}

/* A pause that would outlast it is not begun: the fallback is asked at once. */
TEST(a_pause_longer_than_what_is_left)
{
    static const struct { uint64_t pause; bool again; } rows[] = {{2 * SEC - 1, true}, {2 * SEC, false}};
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%" PRIu64, rows[i].pause);
        PLAY(ACT("a", "head", FILTER_RETRY, .not_before = rows[i].pause));
        struct sim *s = sim_new_with(&(struct sim_conf){.yaml = CONF(ACT_A ", " FILTER("total: 5s")), .filters = filters});
        struct sim_conn *c = sim_client(s), *u;
        sim_say(c, GET);
        u = sim_next(s);
        sim_advance(s, 3 * SEC);
        sim_say(u, BUSY);
        EXPECT_EQ(sim_next(s) != NULL, !rows[i].again);
        EXPECT_GOT(c, "");
        if (rows[i].again) {
            sim_advance(s, rows[i].pause);
            EXPECT_HAS(sim_next(s), "X-Request-Timeout: 1\r\n");
            EXPECT_GOT(c, "");
            sim_advance(s, 1);
            expect_end(s, c, S504, REASON_total_timeout);
        }
        PLAY_END(s);
    }
}

/* Connecting spends it as well. */
TEST(what_is_left_after_connecting)
{
    struct sim *s = start(CONF(FILTER("total: 5s")));
    struct sim_conn *c = sim_client(s), *u;
    s->connect = SIM_HANG;
    sim_say(c, GET);
    u = sim_next(s);
    sim_advance(s, 1500 * MS);
    sim_accept(u);
    sim_run(s);
    EXPECT_HAS(u, "X-Request-Timeout: 3500\r\n");
    strikes_after(s, c, 3500 * MS);
    SIM_END(s);
}

static void bring_forward(struct call *call) { request_set_deadline(call->req, call->now + 2 * SEC, false); }

/* A filter that waits already may still bring the deadline forward. */
TEST(a_deadline_that_is_set_while_waiting)
{
    PLAY(ACT("a", "request", FILTER_WAIT, .after = 9 * SEC, .run = bring_forward));
    struct sim *s = sim_new_with(&(struct sim_conf){.yaml = CONF3("", ACT_A, ""), .filters = filters});
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    strikes_after(s, c, 2 * SEC);
    expect_end(s, c, S504, REASON_total_timeout);
    PLAY_END(s);
}

/* What one filter asked for, a later one's longer total does not undo. */
TEST(a_deadline_before_a_longer_total)
{
    PLAY(ACT("a", "request", FILTER_NEXT, .run = bring_forward));
    struct sim *s = sim_new_with(&(struct sim_conf){.yaml = CONF3(ACT_A, FILTER("total: 5s"), ""), .filters = filters});
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    strikes_after(s, c, 2 * SEC);
    expect_end(s, c, S504, REASON_total_timeout);
    PLAY_END(s);
}

/* ---- absolute or not ---- */

static const struct { const char *name, *request, *answer; bool slow; } bodies[] = {
    {"event stream", GET, STREAM, false},
    {"download", GET, DOWNLOAD, false},
    {"until close", GET, UNTIL_CLOSE, false},
    {"tunnel", UPGRADE, YES, false},
    {"an answer before the body came", POST("9"), DOWNLOAD, false},
    {"a client that takes nothing", GET, DOWNLOAD, true},
};

TEST(a_total_that_is_written_cuts_what_still_comes)
{
    for (size_t i = 0; i < array_len(bodies) * 2; i++) {
        test_row("%s%s", bodies[i / 2].name, i % 2 ? ", moving" : "");
        PLAY(ACT("a", "attempt", FILTER_NEXT, .lease = 1 + SCOPE_ATTEMPT));
        struct sim *s = sim_new_with(&(struct sim_conf){.yaml = CONF3("", FILTER("total: 20s"), ACT_A), .filters = filters});
        if (bodies[i / 2].slow)
            s->client_window = 10;
        struct sim_conn *c = sim_client(s), *u;
        c->stalled = bodies[i / 2].slow;
        sim_say(c, bodies[i / 2].request);
        u = sim_next(s);
        sim_advance(s, 5 * SEC);
        sim_say(u, bodies[i / 2].answer);
        for (int t = 5; i % 2 && t < 19; t++) {
            sim_advance(s, SEC);
            sim_say(u, i / 2 ? "yy" : "1\r\ny\r\n");
            if (c->stalled)
                sim_drink(c, 1);
        }
        EXPECT(!sim_closed(c) && !sim_closed(u));
        sim_advance(s, (i % 2 ? SEC : 15 * SEC) - 1);
        EXPECT(!sim_closed(c) && !sim_closed(u));
        sim_advance(s, 1);
        EXPECT(sim_closed(c) && sim_closed(u));
        EXPECT(strstr(actor_outcomes, "a.attempt_end: by deadline, total_timeout, ") != NULL);
        EXPECT(strstr(actor_noted, "a.attempt-back ") != NULL);
        expect_end(s, c, NULL, REASON_total_timeout);
        EXPECT_NOTHING_LEFT(s);
        PLAY_END(s);
    }
}

/* ... also while the endpoint is not read, because its client takes nothing. */
TEST(a_total_while_the_answer_stands_still)
{
    static char block[1 << 20];
    struct sim *s = start(CONF(FILTER("total: 20s, idle: 2s")));
    s->client_window = 1000;
    struct sim_conn *c = sim_client(s), *u;
    c->stalled = true;
    sim_say(c, GET);
    u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n");
    sim_fill(block, sizeof block, 0);
    sim_send_str(u, str_of(block, sizeof block));
    sim_run(s);
    EXPECT(sim_metric(s, METRIC_pauses_total) > 0);
    sim_advance(s, 20 * SEC - 1);
    EXPECT(!sim_closed(c) && !sim_closed(u));
    sim_advance(s, 1);
    EXPECT(sim_closed(c) && sim_closed(u));
    expect_end(s, c, NULL, REASON_total_timeout);
    EXPECT_NOTHING_LEFT(s);
    SIM_END(s);
}

/* The same instant as the end of another wait: it is the deadline that has passed. */
TEST(the_deadline_and_idle_at_once)
{
    struct sim *s = start(CONF(FILTER("total: 4s, idle: 4s")));
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    sim_say(sim_next(s), DOWNLOAD);
    strikes_after(s, c, 4 * SEC);
    expect_end(s, c, NULL, REASON_total_timeout);
    SIM_END(s);
}

TEST(a_deadline_of_the_route_or_the_caller_ends_with_the_head)
{
    for (size_t i = 0; i < array_len(bodies) - 1; i++) {
        test_row("%s", bodies[i].name);
        char request[200];
        struct sim *s = start(CONF("timeout"));
        struct sim_conn *c = sim_client(s), *u;
        const char *rest = strstr(bodies[i].request, "Host: h\r\n") + 9;
        snprintf(request, sizeof request, "%.*sX-Request-Timeout: 3s\r\n%s", (int)(rest - bodies[i].request),
                 bodies[i].request, rest);
        sim_say(c, request);
        u = sim_next(s);
        sim_advance(s, 3 * SEC - 1);
        sim_say(u, bodies[i].answer);
        for (int k = 0; k < 10; k++) {
            sim_advance(s, 40 * SEC);
            sim_say(u, i ? "y" : "1\r\ny\r\n");
            sim_say(c, "z");
        }
        EXPECT(!sim_closed(c) && !sim_closed(u));
        SIM_END(s);
    }
}

/* What the route says ends with the head; a total that is written stands in its place, whichever is longer. */
TEST(a_total_stands_in_the_place_of_the_routes_own)
{
    static const struct { const char *name, *yaml; uint64_t ns; bool absolute; } rows[] = {
        {"route", CONF3("", "timeout", FILTER("first_byte: 80s")), 60 * SEC, false},
        {"longer", CONF3("", "", FILTER("total: 70s, first_byte: 80s, idle: 80s")), 70 * SEC, true},
        {"shorter", CONF3("", FILTER("total: 30s, idle: 80s"), ""), 30 * SEC, true},
        {"the first", CONF3(FILTER("total: 30s"), FILTER("total: 70s, idle: 80s"), ""), 30 * SEC, true},
        {"the last", CONF3(FILTER("total: 70s"), "", FILTER("total: 30s, idle: 80s")), 30 * SEC, true},
        {"both longer", CONF3(FILTER("total: 80s"), "", FILTER("total: 70s, first_byte: 90s, idle: 90s")), 70 * SEC, true},
    };
    for (size_t i = 0; i < array_len(rows) * 2; i++) {
        test_row("%s, %s", rows[i / 2].name, i % 2 ? "head" : "no head");
        struct sim *s = start(rows[i / 2].yaml);
        struct sim_conn *c = sim_client(s), *u;
        sim_say(c, GET);
        u = sim_next(s);
        char left[60];
        snprintf(left, sizeof left, "X-Request-Timeout: %" PRIu64 "\r\n", rows[i / 2].ns / MS);
        EXPECT(sim_has(u, left));
        sim_advance(s, rows[i / 2].ns - SEC);
        if (i % 2)
            sim_say(u, STREAM);
        strikes_after(s, c, i % 2 && !rows[i / 2].absolute ? 43 * SEC : SEC);
        expect_end(s, c, i % 2 ? NULL : S504, i % 2 && !rows[i / 2].absolute ? REASON_idle_timeout : REASON_total_timeout);
        SIM_END(s);
    }
}

/* ---- holds ---- */

TEST(the_deadline_and_a_hold_of_another_filter)
{
    static const struct { const char *hook, *more; bool cut; } rows[] = {
        {"head", "", false}, {"response", "", false}, {"down", "", true}, {"down", "0\r\n\r\n", true},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%s%s", rows[i].hook, rows[i].more);
        PLAY(ACT("a", rows[i].hook, FILTER_HOLD, .always = true));
        struct sim *s = sim_new_with(&(struct sim_conf){.yaml = CONF3("", FILTER("total: 6s"), ACT_A), .filters = filters});
        struct sim_conn *c = sim_client(s), *u;
        sim_say(c, GET);
        u = sim_next(s);
        sim_say(u, STREAM);
        if (rows[i].more[0])
            sim_say(u, rows[i].more);
        EXPECT_EQ(sim_has(c, "200 OK"), rows[i].cut);
        strikes_after(s, c, 6 * SEC);
        EXPECT_HASNT(c, "1\r\nx\r\n");
        EXPECT(sim_closed(u));
        EXPECT_EQ(sim_metric(s, METRIC_requests_in_flight), 0);
        EXPECT_EQ(sim_reasons(s, REASON_total_timeout), 1);
        if (rows[i].cut)
            EXPECT(sim_closed(c));
        else
            EXPECT_HAS(c, S504);
        PLAY_END(s);
    }
}

/* A body on its way up that a filter holds. */
TEST(the_deadline_and_a_held_request)
{
    PLAY(ACT("a", "up", FILTER_HOLD));
    struct sim *s = sim_new_with(&(struct sim_conf){.yaml = CONF3("", FILTER("total: 6s"), ACT_A), .filters = filters});
    struct sim_conn *c = sim_client(s);
    sim_say(c, POST("2") "ab");
    EXPECT_HASNT(sim_next(s), "ab");
    strikes_after(s, c, 6 * SEC);
    expect_end(s, c, S504, REASON_total_timeout);
    PLAY_END(s);
}

/* ---- the caller ---- */

TEST(a_caller_shortens_and_never_lengthens)
{
    static const struct { const char *lines; uint64_t ns; unsigned taken, ignored; } rows[] = {
        {"", 30 * SEC, 0, 0},
        {"X-Request-Timeout: 2s\r\n", 2 * SEC, 1, 0},
        {"x-request-timeout:2s\r\n", 2 * SEC, 1, 0},
        {"X-Request-Timeout:  \t 2s \t\r\n", 2 * SEC, 1, 0},
        {"X-Request-Timeout: 500ms\r\n", 500 * MS, 1, 0},
        {"X-Request-Timeout: 1500\r\n", 1500 * MS, 1, 0},
        {"X-Request-Timeout: 1\r\n", 1 * MS, 1, 0},
        {"X-Request-Timeout: 0002s\r\n", 2 * SEC, 1, 0},
        {"X-Request-Timeout: 29999\r\n", 29999 * MS, 1, 0},
        {"X-Request-Timeout: 30s\r\n", 30 * SEC, 1, 0},
        {"X-Request-Timeout: 31s\r\n", 30 * SEC, 1, 0},
        {"X-Request-Timeout: 18446744073s\r\n", 30 * SEC, 1, 0},
        {"X-Request-Timeout: 18446744074s\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: 18446744073709551615\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: 18446744073709551617\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: 100000000000000000000000000000\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: 0\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: 0s\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout:\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: s\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: ms\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: -1\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: +1\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: 1.5s\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: 1e3\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: 0x10\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: 2 s\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: 2S\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: 1m\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: 1h\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: 500us\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: 2s, 3s\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: 2s;q=1\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: soon\r\n", 30 * SEC, 0, 1},
        {"X-Request-Timeout: 3s\r\nX-Request-Timeout: 2s\r\n", 2 * SEC, 1, 0},
        {"X-Request-Timeout: 2s\r\nA: b\r\nX-Request-Timeout: 3s\r\n", 2 * SEC, 1, 0},
        {"X-Request-Timeout: soon\r\nX-Request-Timeout: 2s\r\n", 2 * SEC, 1, 1},
        {"X_Request_Timeout: 2s\r\n", 30 * SEC, 0, 0},
        {"X-Request-Timeouts: 2s\r\n", 30 * SEC, 0, 0},
    };
    for (size_t i = 0; i < array_len(rows) * 2; i++) {
        char request[200], left[60];
        const char *what = rows[i / 2].lines;
        bool absolute = i % 2;
        test_row("%.*s, %s", (int)strcspn(what, "\r"), what, absolute ? "total" : "route");
        struct sim *s = sim_new_with(&(struct sim_conf){
            .yaml = absolute ? CONF3(FILTER("total: 30s"), "", "")
                             : SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], timeouts: {first_byte: 99s}}}\n"
                               "routes: [{match: /, upstream: api, timeout: 30s, filters: [timeout]}]\n", .filters = filters});
        struct sim_conn *c = sim_client(s), *u;
        snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: h\r\n%s\r\n", what);
        sim_say(c, request);
        u = sim_next(s);
        snprintf(left, sizeof left, "X-Request-Timeout: %" PRIu64 "\r\n", rows[i / 2].ns / MS);
        EXPECT_STR_EQ(sim_has(u, left) ? STR("") : sim_text(u), STR(""));
        sim_clear(c);
        strikes_after(s, c, rows[i / 2].ns);
        expect_end(s, c, S504, REASON_total_timeout);
        EXPECT_EQ(figure(s, "taken"), rows[i / 2].taken);
        EXPECT_EQ(figure(s, "ignored"), rows[i / 2].ignored);
        EXPECT_EQ(figure(s, "total_timeout"), 1);
        SIM_END(s);
    }
}

static unsigned times_in(const struct sim_conn *u, const char *word)
{
    unsigned n = 0;
    for (const char *at = u->got; at && (at = strcasestr(at, word)) != NULL; at++)
        n++;
    return n;
}

/* One field and no other that could be taken for it; the caller's own never. */
TEST(what_an_endpoint_sees)
{
    static const struct { const char *lines, *left; } rows[] = {
        {"", "X-Request-Timeout: 30000\r\n"},
        {"x-request-timeout: 2s\r\n", "X-Request-Timeout: 2000\r\n"},
        {"X-Request-Timeout: 99s\r\n", "X-Request-Timeout: 30000\r\n"},
        {"X-Request-Timeout: nonsense\r\nX-Request-Timeout: 7s\r\n", "X-Request-Timeout: 7000\r\n"},
        {"X_Request_Timeout: 7s\r\nX.REQUEST-Timeout: 8s\r\n", "X-Request-Timeout: 30000\r\n"},
    };
    for (size_t i = 0; i < array_len(rows) * 3; i++) {
        static const char *const yaml[] = {CONF3(FILTER("total: 30s"), "", ""), CONF3("", FILTER("total: 30s"), "timeout"),
                                           CONF3("", "", FILTER("total: 30s"))};
        char request[200];
        test_row("%s %zu", rows[i / 3].lines, i % 3);
        struct sim *s = start(yaml[i % 3]);
        struct sim_conn *c = sim_client(s), *u;
        snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: h\r\n%s\r\n", rows[i / 3].lines);
        sim_say(c, request);
        u = sim_next(s);
        EXPECT(sim_has(u, rows[i / 3].left));
        EXPECT_EQ(times_in(u, "request"), 1);
        SIM_END(s);
    }
}

/* Both a route's and an upstream's filter read what the caller said, and both keep to it. */
TEST(a_caller_who_is_heard_twice)
{
    struct sim *s = start(CONF3(FILTER("idle: 50s"), "", FILTER("total: 30s")));
    struct sim_conn *c = sim_client(s), *u;
    sim_say(c, ASKING("X-Request-Timeout: 2s\r\n"));
    u = sim_next(s);
    EXPECT_HAS(u, "X-Request-Timeout: 2000\r\n");
    sim_advance(s, SEC);
    sim_say(u, STREAM);
    strikes_after(s, c, SEC);                    /* the total is written: it holds for the stream too */
    expect_end(s, c, NULL, REASON_total_timeout);
    SIM_END(s);
}

/* ---- shadow, and without a filter ---- */

TEST(in_shadow_mode_it_only_counts)
{
    static const struct { const char *options, *request; uint64_t wait; const char *answer; uint64_t then; unsigned counted; } rows[] = {
        {"total: 3s", GET, 3 * SEC, OK, 0, 0},
        {"total: 3s", GET, 3 * SEC + 1, OK, 0, 1},
        {"total: 3s", GET, SEC, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", 3 * SEC, 1},
        {"idle: 1s", ASKING("X-Request-Timeout: 2s\r\n"), SEC, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", 3 * SEC, 0},
        {"idle: 1s", ASKING("X-Request-Timeout: 2s\r\n"), 2 * SEC + 1, OK, 0, 1},
        {"first_byte: 1s, connect: 1s", GET, 5 * SEC, OK, 0, 0},
    };
    for (size_t i = 0; i < array_len(rows) * 2; i++) {
        char yaml[1000], filter[100];
        test_row("%zu %zu", i / 2, i % 2);
        snprintf(filter, sizeof filter, "{timeout: {%s, mode: shadow}}", rows[i / 2].options);
        snprintf(yaml, sizeof yaml, SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], filters: [%s]}}\n"
                 "routes: [{match: /, upstream: api, filters: [%s]}]\n", i % 2 ? filter : "", i % 2 ? "" : filter);
        struct sim *s = start(yaml);
        struct sim_conn *c = sim_client(s), *u;
        sim_say(c, rows[i / 2].request);
        u = sim_next(s);
        EXPECT_EQ(times_in(u, "X-Request-Timeout: 2s\r\n"), strstr(rows[i / 2].request, "2s") != NULL);
        EXPECT_EQ(times_in(u, "X-Request-Timeout"), strstr(rows[i / 2].request, "2s") != NULL);
        sim_advance(s, rows[i / 2].wait);
        sim_say(u, rows[i / 2].answer);
        sim_advance(s, rows[i / 2].then);
        if (rows[i / 2].then)
            sim_say(u, "k");
        EXPECT_GOT(c, OK);
        EXPECT_EQ(figure(s, "total_timeout"), rows[i / 2].counted);
        SIM_END(s);
    }
}

TEST(without_the_filter_nothing_is_said_or_heard)
{
    struct sim *s = start(CONF(""));
    struct sim_conn *c = sim_client(s), *u;
    sim_say(c, ASKING("X-Request-Timeout: 2s\r\n"));
    u = sim_next(s);
    EXPECT_EQ(times_in(u, "X-Request-Timeout"), 1);
    EXPECT_HAS(u, "X-Request-Timeout: 2s\r\n");
    sim_advance(s, 40 * SEC);
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    SIM_END(s);
}

/* ---- figures ---- */

TEST(what_it_counts)
{
    for (size_t i = 0; i < array_len(parts); i++) {
        static const char *const all[] = {"connect_timeout", "first_byte_timeout", "idle_timeout", "total_timeout",
                                          "client_timeout"};
        char yaml[1000];
        test_row("%s", parts[i].name);
        snprintf(yaml, sizeof yaml, SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], filters: [" FILTER("%s")
                 "], timeouts: {connect: 9s}}}\nroutes: [{match: /, upstream: api}]\n", parts[i].options);
        struct sim *s = start(yaml);
        s->connect = parts[i].connect;
        struct sim_conn *c = sim_client(s), *u;
        u = ask(s, c, parts[i].request, parts[i].stuck);
        if (parts[i].answer)
            sim_say(u, parts[i].answer);
        for (size_t k = 0; k < array_len(all); k++)
            EXPECT_EQ(figure(s, all[k]), 0);
        sim_advance(s, 3 * SEC);
        for (size_t k = 0; k < array_len(all); k++)
            EXPECT_EQ(figure(s, all[k]), !strcmp(all[k], reason_name(parts[i].reason)));
        SIM_END(s);
    }
}

/* That a caller would not wait longer is no failure of the upstream's: a breaker must not count it. */
TEST(whose_deadline_it_was)
{
    static const struct { const char *options, *asks, *by; } rows[] = {
        {"total: 3s", "", "t.attempt_end: by deadline, total_timeout"},
        {"total: 3s", "X-Request-Timeout: 2s\r\n", "t.attempt_end: by client, total_timeout"},
        {"total: 3s", "X-Request-Timeout: 4s\r\n", "t.attempt_end: by deadline, total_timeout"},
        {"first_byte: 9s", "X-Request-Timeout: 2s\r\n", "t.attempt_end: by client, total_timeout"},
        {"first_byte: 1s", "X-Request-Timeout: 2s\r\n", "t.attempt_end: by deadline, first_byte_timeout"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        char yaml[1500], request[200];
        test_row("%zu", i);
        snprintf(yaml, sizeof yaml, "%s{timeout: {%s}}%s", SIM_HEAD
                 "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], filters: [{actor: {id: t}}]}}\n"
                 "routes: [{match: /, upstream: api, filters: [", rows[i].options, "]}]\n");
        snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: h\r\n%s\r\n", rows[i].asks);
        struct sim *s = start(yaml);
        struct sim_conn *c = sim_client(s);
        sim_say(c, request);
        EXPECT(sim_next(s) != NULL);
        sim_advance(s, 5 * SEC);
        EXPECT_HAS(c, "HTTP/1.1 504 ");
        EXPECT(strstr(actor_outcomes, rows[i].by) == actor_outcomes);
        PLAY_END(s);
    }
}

/* What is left was told to the first endpoint; the filter of the next leg does not take it for what the caller said. */
TEST(what_one_endpoint_was_told_binds_no_other)
{
    struct sim *s = start("version: 1\nlisten: 127.0.0.1:8080\nupstreams:\n"
                          "  api: {endpoints: [\"http://127.0.0.1:81\"], filters: [" ACT_A ", {timeout: {total: 10s}}]}\n"
                          "  other: {endpoints: [\"http://127.0.0.1:83\"], filters: [{timeout: {total: 10s}}]}\n"
                          "routes: [{match: /, upstream: api, fallback: other}]\n");
    PLAY(ACT("a", "attempt", FILTER_WAIT, .after = 4 * SEC));
    struct sim_conn *c = sim_client(s), *u;
    sim_say(c, ASKING("X-Request-Timeout: 9s\r\n"));
    sim_advance(s, 4 * SEC);
    if (EXPECT((u = sim_next(s)) != NULL)) {
        EXPECT_HAS(u, "\r\nX-Request-Timeout: 5000\r\n");
        sim_advance(s, 1 * SEC);
        sim_reset(u);
        sim_run(s);
    }
    if (EXPECT((u = sim_next(s)) != NULL)) {
        EXPECT_HAS(u, "\r\nX-Request-Timeout: 4000\r\n");
        EXPECT_HASNT(u, "X-Request-Timeout: 9s");
    }
    strikes_after(s, c, 4 * SEC);
    EXPECT_HAS(c, S504);
    SIM_END(s);
}
