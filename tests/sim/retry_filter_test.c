/* SPDX-License-Identifier: Apache-2.0 */
/* Retries as callers and endpoints see them; by itself the filter is tested in tests/unit/retry_test.c. */
#include "actor.h"

#include "figure.h"
#include "lib/log.h"
#include "worker.h"

extern const struct filter filter_retry, filter_headers;

#define SEC  NSEC_PER_SEC
#define MSEC NSEC_PER_MSEC

/* A breaker that is open as soon as the test says so. */
static bool gate_shut;
static bool gate_may(struct call *call) { return (void)call, !gate_shut; }
static const struct filter gate = {.name = "gate", .places = PLACE_ANY, .may_attempt = gate_may};
static const struct filter actor = ACTOR("actor");
static const struct filter *const filters[] = {&filter_retry, &filter_headers, &actor, &gate, NULL};

#define E(N) "\"http://127.0.0.1:" N "\""
#define YAML(ENDPOINTS, OPTIONS, ROUTE)                                                                              \
    SIM_HEAD "upstreams:\n"                                                                                          \
    "  api: {endpoints: [" ENDPOINTS "], balance: round_robin, timeouts: {connect: 1s, first_byte: 3s},\n"           \
    "        filters: [{actor: {id: x}}, gate, {retry: {" OPTIONS "}}]}\n"                                            \
    "  spare: {endpoints: [" E("89") "]}\n"                                                                          \
    "routes: [{match: /, upstream: api" ROUTE "}]\n"
#define ONE(OPTIONS) YAML(E("81"), OPTIONS, "")
#define TWO(OPTIONS) YAML(E("81") ", " E("82"), OPTIONS, "")
#define THREE(OPTIONS) YAML(E("81") ", " E("82") ", " E("83"), OPTIONS, "")
#define EXACT "jitter: none"

#define POST "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
#define KEYED "POST / HTTP/1.1\r\nHost: h\r\nIdempotency-Key: k\r\nContent-Length: 5\r\n\r\nhello"
#define ANSWER(STATUS, FIELDS) "HTTP/1.1 " STATUS " X\r\n" FIELDS "Content-Length: 4\r\n\r\nbusy"
#define BUSY ANSWER("503", "")
#define DONE(N) "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx-weir-attempts: " N "\r\n\r\nok"

static struct sim *start_with(const char *yaml, unsigned workers)
{
    actor_clear();
    gate_shut = false;
    log_set_level(LOG_ERROR);
    return sim_new_with(&(struct sim_conf){.yaml = yaml, .filters = filters, .workers = workers});
}

static struct sim *start(const char *yaml) { return start_with(yaml, 1); }

static unsigned port_of(const struct sim_conn *u) { return u ? ntohs(u->address.in.sin_port) : 0; }

/* What the first instance of a retry counts. */
static uint64_t figure(struct sim *s, const char *name, const char *value)
{
    union figure_value v[20];
    for (size_t i = 0; i < s->snap->n_instances; i++) {
        const struct instance *in = s->snap->instances[i];
        if (in->type != &filter_retry)
            continue;
        in->type->figures_read(in->shared, in->options, s->clock.manual_mono, v);
        for (size_t k = 0; in->type->figures[k].name; k++)
            if (!strcmp(in->type->figures[k].name, name) && (!value || !strcmp(in->type->figures[k].value, value)))
                return v[k].n;
    }
    EXPECT_CSTR(name, "a figure");
    return 0;
}

static uint64_t left(struct sim *s) { return figure(s, "retry_budget_balance", NULL); }
static uint64_t not_done(struct sim *s, const char *why) { return figure(s, "retry_not_done_total", why); }

/* A request of a new client, and the first connection for it. */
static struct sim_conn *ask(struct sim *s, const char *request, struct sim_conn **u)
{
    struct sim_conn *c = sim_client(s);
    sim_say(c, request);
    *u = sim_next(s);
    return c;
}

/* How long it is from now until weir connects again, to the ns; UINT64_MAX: not within `most`. */
static uint64_t until_next(struct sim *s, uint64_t most, struct sim_conn **u)
{
    uint64_t began = s->clock.manual_mono;
    while ((*u = sim_next(s)) == NULL && s->clock.manual_mono - began < most) {
        uint64_t next = worker_next(sim_worker(s, 0)), now = s->clock.manual_mono;
        uint64_t end = began + most;
        sim_advance(s, (next > now && next < end ? next : end) - now);
    }
    return *u ? s->clock.manual_mono - began : UINT64_MAX;
}

/* ---- what may be sent again ---- */

enum way { ANSWERS, REFUSES, HANGS, RESETS, FINS, RESETS_IN_HEAD, GARBAGE, STALLS, DRIPS };

/* The endpoint on the other end of `u` fails in the given way. */
static void fail(struct sim *s, struct sim_conn *u, enum way way, const char *answer)
{
    switch (way) {
    case ANSWERS: sim_say(u, answer); break;
    case REFUSES: mem_reset(&u->end); break;
    case HANGS: sim_advance(s, SEC); break;
    case RESETS: sim_reset(u); break;
    case FINS: sim_fin(u); break;
    case RESETS_IN_HEAD: sim_say(u, "HTTP/1.1 200 OK\r\nContent-Le"); sim_reset(u); break;
    case GARBAGE: sim_say(u, "nonsense\r\n\r\n"); break;
    case STALLS: sim_advance(s, 3 * SEC); break;
    case DRIPS: sim_drip(u, STR(BUSY)); break;
    }
    sim_run(s);
}

static enum sim_connect connect_of(enum way way) { return way == REFUSES || way == HANGS ? SIM_HANG : SIM_ACCEPT; }

TEST(which_failures_of_which_methods)
{
    static const char busy_later[] = ANSWER("503", "Retry-After: 1\r\n"), many[] = ANSWER("429", ""),
                      many_later[] = ANSWER("429", "Retry-After: 1\r\n");
    static const struct { const char *name; enum way way; const char *answer; bool get, post; const char *cause, *not; } rows[] = {
        {"refused", REFUSES, NULL, true, true, "connect", NULL},
        {"no connection in time", HANGS, NULL, true, true, "connect", NULL},
        {"reset", RESETS, NULL, true, false, "reset", "unsafe"},
        {"closed", FINS, NULL, true, false, "reset", "unsafe"},
        {"broken off in the head", RESETS_IN_HEAD, NULL, true, false, "reset", "unsafe"},
        {"garbage", GARBAGE, NULL, true, false, "status_5xx", "unsafe"},
        {"no answer in time", STALLS, NULL, true, false, "timeout", "unsafe"},
        {"502", ANSWERS, ANSWER("502", ""), true, false, "status_5xx", "unsafe"},
        {"503", ANSWERS, BUSY, true, false, "status_5xx", "unsafe"},
        {"503 byte by byte", DRIPS, NULL, true, false, "status_5xx", "unsafe"},
        {"503 with Retry-After", ANSWERS, busy_later, true, true, "status_5xx", NULL},
        {"503 with a bad Retry-After", ANSWERS, ANSWER("503", "Retry-After: soon\r\n"), true, false, "status_5xx", "unsafe"},
        {"504", ANSWERS, ANSWER("504", ""), true, false, "status_5xx", "unsafe"},
        {"502 with Retry-After", ANSWERS, ANSWER("502", "Retry-After: 1\r\n"), true, false, "status_5xx", "unsafe"},
        {"529", ANSWERS, ANSWER("529", ""), true, false, "status_5xx", "unsafe"},
        {"429", ANSWERS, many, false, false, NULL, "no_retry_after"},
        {"429 with Retry-After", ANSWERS, many_later, true, true, "status_429", NULL},
        {"500", ANSWERS, ANSWER("500", ""), false, false, NULL, NULL},
        {"404", ANSWERS, ANSWER("404", "Retry-After: 1\r\n"), false, false, NULL, NULL},
        {"999, which is none", ANSWERS, ANSWER("999", ""), true, false, "status_5xx", "unsafe"},
        {"000, which is none", ANSWERS, ANSWER("000", ""), true, false, "status_5xx", "unsafe"},
    };
    static const char *const requests[] = {GET, POST, KEYED};
    for (size_t i = 0; i < array_len(rows) * array_len(requests); i++) {
        size_t k = i / array_len(requests), which = i % array_len(requests);
        bool again = which == 1 ? rows[k].post : rows[k].get;
        struct sim_conn *u, *c;
        test_row("%s, %.4s", rows[k].name, requests[which]);
        struct sim *s = start(TWO(EXACT));
        s->connect = connect_of(rows[k].way);
        c = ask(s, requests[which], &u);
        s->connect = SIM_ACCEPT;
        fail(s, u, rows[k].way, rows[k].answer);
        sim_advance(s, 1100 * MSEC);
        struct sim_conn *v = sim_next(s);
        EXPECT_EQ(v != NULL, again);
        if (v && again) {
            EXPECT(port_of(v) != port_of(u));
            EXPECT_HAS(v, which ? "\r\n\r\nhello" : "GET / HTTP/1.1\r\n");
            EXPECT_GOT(c, "");
            sim_say(v, OK);
            EXPECT_GOT(c, DONE("2"));
            EXPECT_EQ(figure(s, "retry_attempts_total", rows[k].cause), 1);
        } else if (rows[k].answer && !strstr(rows[k].name, "none")) {
            EXPECT(!strncmp(c->got, rows[k].answer, 14));            /* as it is */
            EXPECT_HASNT(c, "x-weir-attempts");
        } else {
            EXPECT_HAS(c, "HTTP/1.1 50");
        }
        if (!again && rows[k].not)
            EXPECT_EQ(not_done(s, rows[k].not), 1);
        EXPECT_EQ(left(s), 10);                                      /* a second has paid in what it took */
        SIM_END(s);
    }
}

/* Once a byte of an answer went to the client there is no other try, whatever comes. */
TEST(nothing_after_the_answer_began)
{
    static const char *const answers[] = {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"};
    for (size_t i = 0; i < array_len(answers); i++) {
        struct sim *s = start(TWO(""));
        struct sim_conn *u, *c = ask(s, GET, &u);
        sim_say(u, answers[i]);
        sim_reset(u);
        sim_advance(s, 5 * SEC);
        EXPECT(sim_next(s) == NULL);
        EXPECT_HAS(c, "HTTP/1.1 200 OK\r\n");
        EXPECT(sim_closed(c));
        SIM_END(s);
    }
}

/* An interim answer is no answer. */
TEST(after_a_100_it_may_still_be_tried_again)
{
    struct sim *s = start(TWO(EXACT));
    struct sim_conn *u, *c = ask(s, GET, &u);
    sim_say(u, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
    sim_say(u, BUSY);
    sim_advance(s, 100 * MSEC);
    u = sim_next(s);
    if (EXPECT(u != NULL))
        sim_say(u, OK);
    EXPECT_HAS(c, DONE("2"));
    SIM_END(s);
}

/* A pooled connection that was closed is replaced by the core: no retry, and nothing out of the budget. */
TEST(a_stale_connection_is_free)
{
    struct sim *s = start(ONE("max: 0"));
    struct sim_conn *u, *c = ask(s, GET, &u);
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    sim_say(c, GET);
    EXPECT_HAS(u, "GET / HTTP/1.1\r\n");
    sim_reset(u);
    sim_run(s);
    u = sim_next(s);
    if (EXPECT(u != NULL))
        sim_say(u, OK);
    EXPECT_GOT(c, OK);
    EXPECT_EQ(left(s), 10);
    SIM_END(s);
}

/* ---- how often, and where ---- */

TEST(max)
{
    static const struct { const char *yaml; unsigned tries; } rows[] = {
        {ONE(EXACT), 3}, {TWO(EXACT), 3}, {THREE(EXACT ", max: 5"), 6}, {ONE("max: 0"), 1}, {TWO(EXACT ", max: 1"), 2},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct sim *s = start(rows[i].yaml);
        struct sim_conn *u, *c = ask(s, GET, &u);
        char line[40];
        unsigned n = 0;
        test_row("%zu", i);
        while (u && n < 20) {
            n++;
            sim_say(u, BUSY);
            until_next(s, 5 * SEC, &u);
        }
        EXPECT_EQ(n, rows[i].tries);
        snprintf(line, sizeof line, "x-weir-attempts: %u\r\n", n);
        EXPECT_HAS(c, "HTTP/1.1 503 X\r\n");
        EXPECT_EQ(sim_has(c, line), n > 1);
        EXPECT_HAS(c, "\r\n\r\nbusy");
        EXPECT_EQ(figure(s, "retry_exhausted_total", NULL), 1);
        EXPECT_EQ(figure(s, "retry_attempts_total", "status_5xx"), rows[i].tries - 1);
        SIM_END(s);
    }
}

TEST(waits_double)
{
    static const uint64_t want[] = {100 * MSEC, 200 * MSEC, 400 * MSEC, 500 * MSEC, 500 * MSEC};
    struct sim *s = start(ONE(EXACT ", max: 5, backoff: 100ms..500ms"));
    struct sim_conn *u, *c = ask(s, GET, &u);
    for (size_t i = 0; i < array_len(want) && u; i++) {
        sim_say(u, BUSY);
        EXPECT(sim_closed(u));
        EXPECT_EQ(until_next(s, 5 * SEC, &u), want[i]);
    }
    if (u)
        sim_say(u, OK);
    EXPECT_GOT(c, DONE("6"));
    SIM_END(s);
}

/* Endpoints that were not tried come first; a failed connect goes to them at once, and to one that was tried after a wait. */
TEST(another_endpoint_first)
{
    static const struct { const char *yaml; unsigned endpoints; } rows[] = {{ONE(EXACT), 1}, {TWO(EXACT), 2}, {THREE(EXACT), 3}};
    for (size_t i = 0; i < array_len(rows) * 2; i++) {
        bool refuse = i % 2;
        unsigned seen = 0;
        struct sim *s = start(rows[i / 2].yaml);
        struct sim_conn *u, *c;
        test_row("%u endpoints, %s", rows[i / 2].endpoints, refuse ? "refused" : "503");
        s->connect = refuse ? SIM_HANG : SIM_ACCEPT;
        c = ask(s, GET, &u);
        for (unsigned n = 0; n < 3 && EXPECT(u != NULL); n++) {
            unsigned bit = 1u << (port_of(u) - 81);
            EXPECT(!(seen & bit) || n >= rows[i / 2].endpoints);
            seen |= bit;
            if (refuse)
                mem_reset(&u->end);
            else
                sim_send(u, BUSY);
            sim_run(s);
            uint64_t wait = until_next(s, 5 * SEC, &u);
            if (n == 2)
                EXPECT(u == NULL);
            else if (refuse && n + 1 < rows[i / 2].endpoints)
                EXPECT_EQ(wait, 0);
            else
                EXPECT_EQ(wait, (n ? 200 : 100) * MSEC);
        }
        EXPECT_HAS(c, refuse ? "HTTP/1.1 502 Bad Gateway\r\n" : "HTTP/1.1 503 X\r\n");
        EXPECT_HAS(c, "x-weir-attempts: 3\r\n");
        SIM_END(s);
    }
}

/* connect() itself fails: the whole request comes to its end without time passing. */
TEST(refused_before_it_began)
{
    struct sim *s = start(TWO(EXACT));
    struct sim_conn *u, *c;
    s->connect = SIM_REFUSE_NOW;
    c = ask(s, POST, &u);
    sim_advance(s, SEC);
    EXPECT_HAS(c, "HTTP/1.1 502 Bad Gateway\r\n");
    EXPECT_HAS(c, "connect_failed");
    EXPECT_HAS(c, "x-weir-attempts: 3\r\n");
    EXPECT_EQ(figure(s, "retry_attempts_total", "connect"), 2);
    SIM_END(s);
}

/* ---- Retry-After ---- */

TEST(retry_after_is_kept_to)
{
    static const struct { const char *fields; bool again; uint64_t wait; } rows[] = {
        {"Retry-After: 2\r\n", true, 2 * SEC},
        {"Retry-After: 0\r\n", true, 0},
        {"retry-after-ms: 1500\r\n", true, 1500 * MSEC},
        {"Retry-After: 9\r\nretry-after-ms: 1500\r\n", true, 1500 * MSEC},
        {"Retry-After: Sun, 06 Nov 1994 08:49:40 GMT\r\n", true, 3 * SEC},
        {"Retry-After: Sunday, 06-Nov-94 08:49:40 GMT\r\n", true, 3 * SEC},
        {"Retry-After: Sun Nov  6 08:49:40 1994\r\n", true, 3 * SEC},
        {"Retry-After: Sun, 06 Nov 1994 08:00:00 GMT\r\n", true, 0},
        {"Date: Sun, 06 Nov 2044 08:00:00 GMT\r\nRetry-After: Sun, 06 Nov 2044 08:00:04 GMT\r\n", true, 4 * SEC},
        {"Retry-After: 54\r\n", true, 54 * SEC},
        {"Retry-After: 60\r\n", false, 0},
        {"Retry-After: 99999999\r\n", false, 0},
        {"Retry-After: 99999999999999999999999999\r\n", false, 0},
        {"Retry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n", false, 0},
    };
    for (size_t i = 0; i < array_len(rows) * 2; i++) {
        const char *fields = rows[i / 2].fields;
        char answer[300];
        struct sim *s = start(TWO(""));
        struct sim_conn *u, *c = ask(s, POST, &u);
        int status = i % 2 ? 429 : 503;
        test_row("%d %s", status, fields);
        snprintf(answer, sizeof answer, "HTTP/1.1 %d X\r\n%sContent-Length: 4\r\n\r\nbusy", status, fields);
        sim_say(u, answer);
        EXPECT_EQ(sim_closed(c), false);
        uint64_t wait = until_next(s, 59 * SEC, &u);
        EXPECT_EQ(u != NULL, rows[i / 2].again);
        if (u) {
            uint64_t more = rows[i / 2].wait ? rows[i / 2].wait / 10 : 100 * MSEC;       /* now is as soon as usual */
            EXPECT(wait >= rows[i / 2].wait && wait <= rows[i / 2].wait + more);
            sim_say(u, OK);
            EXPECT_GOT(c, DONE("2"));
        } else {
            EXPECT(!strncmp(c->got, answer, 14));
            EXPECT_EQ(not_done(s, "deadline"), 1);
            EXPECT_EQ(left(s), 10);
        }
        SIM_END(s);
    }
}

/* ---- bodies ---- */

/* `len` bytes with Content-Length or in chunks of 1000, sent in pieces. */
static void send_body(struct sim_conn *c, size_t len, bool chunked)
{
    static char body[300 * 1024], head[200];
    sim_fill(body, len, 0);
    if (chunked)
        sim_send(c, "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    else
        snprintf(head, sizeof head, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", len);
    if (!chunked)
        sim_send(c, head);
    for (size_t at = 0; at < len; at += 1000) {
        size_t n = len - at < 1000 ? len - at : 1000;
        if (chunked) {
            snprintf(head, sizeof head, "%zx\r\n", n);
            sim_send(c, head);
        }
        sim_send_str(c, str_of(body + at, n));
        if (chunked)
            sim_send(c, "\r\n");
        if (at % 64000 == 0)
            sim_run(c->sim);
    }
    if (chunked)
        sim_send(c, "0\r\n\r\n");
    sim_run(c->sim);
}

/* The payload in what an endpoint got, chunks or not. */
static bool got_body(const struct sim_conn *u, size_t len)
{
    static char want[300 * 1024], got[300 * 1024];
    struct str b = sim_body(u);
    size_t n = 0;
    sim_fill(want, len, 0);
    if (!sim_has(u, "Transfer-Encoding: chunked\r\n"))
        return b.len == len && !memcmp(b.at, want, len);
    while (b.len > 2) {
        char *end;
        size_t chunk = strtoul(b.at, &end, 16);
        if (chunk == 0)
            return n == len && !memcmp(got, want, len);
        if (end + 2 + chunk + 2 > b.at + b.len || n + chunk > sizeof got)
            return false;
        memcpy(got + n, end + 2, chunk);
        n += chunk;
        b = str_of(end + 2 + chunk + 2, (size_t)(b.at + b.len - (end + 2 + chunk + 2)));
    }
    return false;
}

TEST(a_body_is_sent_again_to_the_byte)
{
    enum { KIB = 1024 };
    static const struct { size_t len; const char *yaml; bool again; } rows[] = {
        {1, TWO(EXACT), true}, {4096, TWO(EXACT), true}, {16384, TWO(EXACT), true}, {100000, TWO(EXACT), true},
        {256 * KIB, TWO(EXACT), true}, {256 * KIB + 1, TWO(EXACT), false}, {999, TWO(EXACT ", body: 1000B"), true},
        {1000, TWO(EXACT ", body: 1000B"), true}, {1001, TWO(EXACT ", body: 1000B"), false}, {1, TWO(EXACT ", body: 0B"), false},
    };
    for (size_t i = 0; i < array_len(rows) * 2; i++) {
        struct sim *s = start(rows[i / 2].yaml);
        struct sim_conn *u, *c = sim_client(s);
        test_row("%zu, %s", rows[i / 2].len, i % 2 ? "chunked" : "with a length");
        send_body(c, rows[i / 2].len, i % 2);
        u = sim_next(s);
        EXPECT(got_body(u, rows[i / 2].len));
        sim_say(u, BUSY);
        for (int again = 0; again < 2; again++) {                    /* and a second time, from the same copy */
            until_next(s, SEC, &u);
            if (!EXPECT_EQ(u != NULL, rows[i / 2].again) || !u)
                break;
            EXPECT(got_body(u, rows[i / 2].len));
            sim_say(u, again ? OK : BUSY);
        }
        if (rows[i / 2].again) {
            EXPECT_GOT(c, DONE("3"));
        } else {
            EXPECT_HAS(c, "HTTP/1.1 503 X\r\n");
            EXPECT_EQ(not_done(s, "body"), 1);
            EXPECT_EQ(left(s), 10);
        }
        EXPECT_EQ(atomic_load(&s->kept_bytes), 0);
        SIM_END(s);
    }
}

/* The rest of a body that is still on its way goes to the new endpoint behind what is kept. */
TEST(a_body_that_still_comes)
{
    struct sim *s = start(TWO(EXACT));
    struct sim_conn *u, *c = ask(s, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n01234", &u);
    EXPECT_HAS(u, "\r\n\r\n01234");
    sim_reset(u);
    sim_run(s);
    sim_say(c, "56");
    until_next(s, SEC, &u);
    EXPECT_HAS(u, "\r\n\r\n0123456");
    sim_say(c, "789");
    EXPECT_HAS(u, "\r\n\r\n0123456789");
    sim_say(u, OK);
    EXPECT_GOT(c, DONE("2"));
    SIM_END(s);
}

/* What is kept goes when the answer begins, not when it ends. */
TEST(a_stream_keeps_no_body)
{
    struct sim *s = start(TWO(""));
    struct sim_conn *u, *c = ask(s, POST, &u);
    EXPECT_EQ(atomic_load(&s->kept_bytes), 16384);
    sim_say(u, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    EXPECT_EQ(atomic_load(&s->kept_bytes), 0);
    sim_say(u, "2\r\nok\r\n0\r\n\r\n");
    EXPECT_HAS(c, "2\r\nok\r\n0\r\n\r\n");
    SIM_END(s);
}

/* All requests together keep 64 MiB: beyond that a request goes on, and is not tried again. */
TEST(too_much_is_kept_already)
{
    for (int full = 0; full < 2; full++) {
        struct sim *s = start(TWO(EXACT));
        struct sim_conn *u, *c;
        uint64_t others = (64u << 20) - 16384 + (full ? 1 : 0);
        test_row("%d", full);
        atomic_store(&s->kept_bytes, others);
        c = ask(s, KEYED, &u);
        EXPECT_HAS(u, "\r\n\r\nhello");
        sim_say(u, BUSY);
        until_next(s, SEC, &u);
        EXPECT_EQ(u == NULL, full);
        if (u)
            sim_say(u, OK);
        EXPECT_HAS(c, full ? "HTTP/1.1 503 X\r\n" : "HTTP/1.1 200 OK\r\n");
        EXPECT_EQ(not_done(s, "body"), full);
        EXPECT_EQ(atomic_load(&s->kept_bytes), others);
        atomic_store(&s->kept_bytes, 0);
        SIM_END(s);
    }
}

/* ---- the budget ---- */

#define BUSY_CLOSE ANSWER("503", "Connection: close\r\n")

/* A request that fails in all its tries; how many connections it made. */
static unsigned fail_all(struct sim *s, unsigned worker)
{
    struct sim_conn *c = sim_client_at(s, worker, 0, STR("192.0.2.1")), *u;
    unsigned n = 0;
    sim_say(c, GET);
    while ((u = sim_next(s)) != NULL) {
        n++;
        sim_say(u, BUSY_CLOSE);
        sim_advance(s, MSEC);
    }
    EXPECT_HAS(c, "HTTP/1.1 503 X\r\n");
    sim_fin(c);
    return n;
}

TEST(a_budget_for_all_workers)
{
    for (unsigned workers = 1; workers <= 2; workers++) {
        struct sim *s = start_with(ONE("max: 1, budget: 10%, " EXACT ", backoff: 1ms..1ms"), workers);
        unsigned tries = 0;
        test_row("%u workers", workers);
        for (unsigned i = 0; i < 200; i++)
            tries += fail_all(s, i % workers);
        /* 10 at first, 20 of 200 first attempts but for what came in while it was full, and less than one a second */
        EXPECT(tries >= 228 && tries <= 230);
        EXPECT_EQ(not_done(s, "budget"), 400 - tries);
        EXPECT_EQ(left(s), 0);
        EXPECT_EQ(figure(s, "retry_attempts_total", "status_5xx"), tries - 200);

        sim_advance(s, 3 * SEC);                                     /* it comes back: one a second */
        EXPECT_EQ(left(s), 3);
        EXPECT_EQ(fail_all(s, 0), 2);
        SIM_END(s);
    }
}

/* Endpoints answer whatever they were asked, on connections that stay open: with 503 when luck is below `busy`, by a reset
 * below `reset`, of 100. How many requests they got. */
static unsigned serve(struct sim *s, struct rng *rng, unsigned busy, unsigned reset)
{
    unsigned n = 0;
    for (struct sim_conn *u = s->all; u; u = u->next) {
        if (u->client || sim_closed(u) || u->got_len == 0)
            continue;
        uint64_t luck = rng_below(rng, 100);
        n++;
        sim_clear(u);
        if (luck < reset)
            sim_reset(u);
        else
            sim_send(u, luck < busy ? BUSY : OK);
    }
    sim_run(s);
    return n;
}

enum { CLIENTS = 20 };

/* `rounds` requests of each client; how many were answered with 200. *upstream: how many the endpoints got. */
static unsigned load(struct sim *s, unsigned rounds, unsigned busy, unsigned reset, unsigned *upstream)
{
    struct sim_conn *c[CLIENTS];
    struct rng rng;
    unsigned good = 0, waiting;
    rng_seed(&rng, 5);
    *upstream = 0;
    for (unsigned i = 0; i < CLIENTS; i++)
        c[i] = sim_client(s);
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < CLIENTS; i++)
            sim_send(c[i], GET);
        sim_run(s);
        do {
            *upstream += serve(s, &rng, busy, reset);
            waiting = 0;
            for (unsigned i = 0; i < CLIENTS; i++)
                waiting += c[i]->got_len == 0;
            sim_advance(s, waiting ? 5 * MSEC : MSEC);
        } while (waiting);
        for (unsigned i = 0; i < CLIENTS; i++) {
            good += sim_has(c[i], "HTTP/1.1 200 OK\r\n");
            EXPECT(sim_has(c[i], "HTTP/1.1 200 OK\r\n") || sim_has(c[i], "HTTP/1.1 503 X\r\n")
                   || sim_has(c[i], "HTTP/1.1 502 Bad Gateway\r\n"));
            sim_clear(c[i]);
        }
    }
    return good;
}

TEST(an_outage_is_not_made_worse)
{
    struct sim *s = start(THREE("max: 2, backoff: 1ms..5ms"));
    uint64_t began = s->clock.manual_mono;
    unsigned upstream, good = load(s, 500, 100, 0, &upstream);
    unsigned seconds = (unsigned)((s->clock.manual_mono - began) / SEC);
    EXPECT_EQ(good, 0);
    if (!EXPECT(upstream <= 10000 + 200 + 1000 + seconds && upstream <= 11500 && upstream >= 10990))
        printf("%u upstream in %u s\n", upstream, seconds);
    SIM_END(s);
}

/* 5 % answer 503 and 1 % break off: nearly all succeed, at little cost. */
TEST(a_flaky_upstream)
{
    struct sim *s = start(TWO("max: 2, backoff: 1ms..5ms"));
    unsigned upstream, good = load(s, 500, 6, 1, &upstream);
    if (!EXPECT(good >= 9990 && upstream >= 10500 && upstream <= 11000))
        printf("%u good, %u upstream\n", good, upstream);
    SIM_END(s);
}

TEST(nothing_is_taken_for_what_was_not_done)
{
    struct sim *s = start(ONE("budget: 0%, " EXACT));
    struct sim_conn *u, *c = ask(s, GET, &u);
    sim_say(u, BUSY);
    EXPECT_EQ(left(s), 9);
    sim_fin(c);                                                      /* the caller goes while it waits */
    sim_run(s);
    EXPECT_EQ(left(s), 10);
    sim_advance(s, SEC);
    EXPECT(sim_next(s) == NULL);

    gate_shut = true;                                                /* another filter would not let it begin */
    c = ask(s, GET, &u);
    sim_say(u, BUSY);
    EXPECT_HAS(c, "HTTP/1.1 503 X\r\n");
    EXPECT_EQ(left(s), 10);
    EXPECT_EQ(not_done(s, "refused"), 1);
    EXPECT_EQ(figure(s, "retry_attempts_total", "status_5xx"), 0);

    struct sim_conn *same = u;
    c = ask(s, GET, &u);                                             /* at once, not when the long answer has ended */
    EXPECT(u == NULL && (u = same) != NULL);
    sim_say(u, "HTTP/1.1 503 X\r\nContent-Length: 100\r\n\r\nhalf");
    EXPECT_EQ(left(s), 10);
    sim_reset(c);
    sim_run(s);
    SIM_END(s);

    PLAY(ACT("x", "attempt", FILTER_NEXT), ACT("x", "attempt", FILTER_FAIL, .reason = REASON_queue_full));
    gate_shut = false;                                               /* a queue that was full in the end */
    s = sim_new_with(&(struct sim_conf){.yaml = ONE("budget: 0%, " EXACT), .filters = filters});
    c = ask(s, GET, &u);
    sim_say(u, BUSY);
    EXPECT_EQ(left(s), 9);
    sim_advance(s, 100 * MSEC);
    EXPECT_HAS(c, "\"reason\":\"queue_full\"");
    EXPECT_EQ(left(s), 10);
    EXPECT_EQ(not_done(s, "refused"), 1);
    EXPECT_EQ(figure(s, "retry_attempts_total", "status_5xx"), 0);
    PLAY_END(s);
}

/* The caller goes while the second try is under way: that one was made. */
TEST(a_try_under_way_is_paid_for)
{
    struct sim *s = start(ONE("budget: 0%, " EXACT));
    struct sim_conn *u, *c = ask(s, GET, &u);
    sim_say(u, BUSY);
    until_next(s, SEC, &u);
    EXPECT(u != NULL);
    sim_fin(c);
    sim_run(s);
    EXPECT_EQ(left(s), 9);
    EXPECT_EQ(figure(s, "retry_attempts_total", "status_5xx"), 1);
    SIM_END(s);
}

/* ---- with others ---- */

/* What an attempt holds is free during the wait. */
TEST(nothing_is_held_while_it_waits)
{
    PLAY(ACT("x", "attempt", FILTER_NEXT, .lease = 1 + SCOPE_ATTEMPT));
    gate_shut = false;
    log_set_level(LOG_ERROR);
    struct sim *s = sim_new_with(&(struct sim_conf){.yaml = ONE(EXACT), .filters = filters});
    struct sim_conn *u, *c = ask(s, GET, &u);
    sim_say(u, BUSY);
    EXPECT(strstr(actor_noted, "x.attempt-back ") != NULL);
    EXPECT(sim_closed(u));
    until_next(s, SEC, &u);
    sim_say(u, OK);
    EXPECT_GOT(c, DONE("2"));
    PLAY_END(s);
}

#define FALLS(OPTIONS, WHERE) YAML(E("81") ", " E("82"), OPTIONS, ", fallback: " WHERE)
#define ELSE "{respond: {status: 200, body: cached}}"

TEST(the_fallback_after_the_tries)
{
    static const char late[] = ANSWER("503", "Retry-After: 99999999\r\n");
    static const struct { const char *name, *yaml, *request, *answer; unsigned tries; bool falls; } rows[] = {
        {"tries ran out", FALLS(EXACT ", max: 1", "spare"), GET, BUSY, 2, true},
        {"with a body", FALLS(EXACT ", max: 1", "spare"), KEYED, BUSY, 2, true},
        {"none at all", FALLS("max: 0", "spare"), GET, BUSY, 1, true},
        {"an answer instead", FALLS("max: 0", ELSE), GET, BUSY, 1, true},
        {"too long a wait", FALLS("", "spare"), POST, late, 1, true},
        {"not safe", FALLS("", "spare"), POST, BUSY, 1, false},
        {"not in the list", FALLS("", "spare"), GET, ANSWER("500", ""), 1, false},
        {"429 that does not say when", FALLS("", "spare"), GET, ANSWER("429", ""), 1, false},
        {"in shadow", FALLS("mode: shadow, max: 0", "spare"), GET, BUSY, 1, false},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct sim *s = start(rows[i].yaml);
        struct sim_conn *u, *c = ask(s, rows[i].request, &u);
        unsigned n = 0;
        test_row("%s", rows[i].name);
        for (; u && port_of(u) != 89; n++) {
            sim_say(u, rows[i].answer);
            until_next(s, SEC, &u);
        }
        EXPECT_EQ(n, rows[i].tries);
        if (u)
            sim_say(u, OK);
        EXPECT_EQ(sim_has(c, "HTTP/1.1 200 OK\r\n"), rows[i].falls);
        EXPECT(rows[i].falls || !strncmp(c->got, rows[i].answer, 14));
        SIM_END(s);
    }
}

TEST(the_fallback_when_the_budget_is_gone)
{
    struct sim *s = start(FALLS(EXACT ", max: 1, backoff: 1ms..1ms, budget: 0%", ELSE));
    unsigned tries = 0;
    for (int i = 0; i < 12; i++) {
        struct sim_conn *u, *c = ask(s, GET, &u);
        for (; u; until_next(s, MSEC, &u), tries++)
            sim_say(u, BUSY_CLOSE);
        EXPECT_HAS(c, "\r\n\r\ncached");
    }
    EXPECT_EQ(tries, 22);
    EXPECT_EQ(not_done(s, "budget"), 2);
    SIM_END(s);
}

/* Shadow counts what it would do, and nothing comes of it. */
TEST(shadow)
{
    struct sim *s = start(TWO(EXACT ", mode: shadow"));
    for (unsigned i = 1; i <= 15; i++) {
        struct sim_conn *u, *c = ask(s, GET, &u);
        sim_say(u, BUSY_CLOSE);
        EXPECT_GOT(c, BUSY);                                         /* no line of ours either */
        EXPECT(sim_next(s) == NULL);
        EXPECT_EQ(figure(s, "retry_attempts_total", "status_5xx"), i);
        EXPECT_EQ(left(s), 10);
    }
    SIM_END(s);
}

/* The number is ours, whatever the endpoint says of its own tries; and a filter of the route may take it out. */
TEST(how_many_tries)
{
    struct sim *s = start(TWO(EXACT));
    struct sim_conn *u, *c = ask(s, GET, &u);
    sim_say(u, BUSY);
    until_next(s, SEC, &u);
    sim_say(u, "HTTP/1.1 200 OK\r\nX-Weir-Attempts: 7\r\nContent-Length: 2\r\n\r\nok");
    EXPECT_HAS(c, "x-weir-attempts: 2\r\n");
    EXPECT_HASNT(c, "7");
    SIM_END(s);

    s = start(ONE("max: 10, " EXACT ", backoff: 1ms..1ms"));
    c = ask(s, GET, &u);
    for (int i = 0; i < 10 && u; i++) {
        sim_say(u, BUSY);
        until_next(s, SEC, &u);
    }
    if (u)
        sim_say(u, OK);
    EXPECT_GOT(c, DONE("11"));
    SIM_END(s);

    s = start(YAML(E("81"), EXACT, ", filters: [{headers: {response: {remove: [x-weir-attempts]}}}]"));
    c = ask(s, GET, &u);
    sim_say(u, BUSY);
    until_next(s, SEC, &u);
    sim_say(u, OK);
    EXPECT_GOT(c, OK);
    SIM_END(s);
}

/* All that is awaited ends with the deadline, tries and waits too. */
TEST(the_deadline_pays_for_all)
{
    struct sim *s = start(YAML(E("81"), "max: 10, " EXACT ", backoff: 4s..4s", ", timeout: 10s"));
    struct sim_conn *u, *c = ask(s, GET, &u);
    for (int i = 0; i < 3 && EXPECT(u != NULL); i++) {
        sim_say(u, BUSY);
        EXPECT_EQ(until_next(s, 5 * SEC, &u), i < 2 ? 4 * SEC : UINT64_MAX);       /* the third would be at 12 s */
    }
    EXPECT_HAS(c, "HTTP/1.1 503 X\r\n");
    EXPECT_HAS(c, "x-weir-attempts: 3\r\n");
    EXPECT_EQ(not_done(s, "deadline"), 1);
    SIM_END(s);
}
