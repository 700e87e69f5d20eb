/* SPDX-License-Identifier: Apache-2.0 */
/* Limits by token buckets as callers see them; by itself the filter is tested in tests/unit/token_bucket_test.c. */
#include "actor.h"

#include "conf/shared.h"
#include "listener.h"
#include "route.h"
#include "worker.h"

extern const struct filter filter_token_bucket;

#define SEC NSEC_PER_SEC
#define MSEC NSEC_PER_MSEC

/* Says who the caller is: what stands in X-User. */
static enum verdict auth_request(struct call *call)
{
    request_set_attribute(call->req, 0, http_head_get(request_head(call->req), STR("x-user")));
    return FILTER_NEXT;
}

static const char *const auth_provides[] = {"consumer", NULL};
static const struct filter auth = {.name = "auth", .places = PLACE_ANY, .provides = auth_provides,
                                   .on_request = auth_request};
static const struct filter actor = ACTOR("actor");
static const struct filter *const filters[] = {&filter_token_bucket, &actor, &auth, NULL};

#define API SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], filters: [{actor: {id: up}}]}}\n"
#define PROXIED(LIST) API "routes: [{match: /, upstream: api, filters: [" LIST "]}]\n"
#define ANSWERED(LIST) SIM_HEAD "routes: [{match: /, respond: {body: ok}, filters: [" LIST "]}]\n"
#define GET_WITH(FIELDS) "GET / HTTP/1.1\r\nHost: h\r\n" FIELDS "\r\n"
#define BUCKET(NAME, RATE, BURST) "{token_bucket: {rate: " RATE ", burst: " BURST ", name: " NAME "}}"
#define GET_AT(TARGET) "GET " TARGET " HTTP/1.1\r\nHost: h\r\n\r\n"

static struct sim *start_with(const char *yaml, unsigned workers)
{
    actor_clear();
    return sim_new_with(&(struct sim_conf){.yaml = yaml, .filters = filters, .workers = workers});
}

static struct sim *start(const char *yaml) { return start_with(yaml, 1); }

static struct sim_conn *client(struct sim *s, const char *ip) { return sim_client_at(s, 0, 0, str_c(ip)); }

/* The status of the answer to a request; 0: there is none yet. */
static int ask(struct sim_conn *c, const char *request)
{
    sim_clear(c);
    sim_say(c, request);
    return c->got_len > 12 ? (int)strtol(c->got + 9, NULL, 10) : 0;
}

/* How many of the same pass before one is refused. */
static unsigned pass(struct sim_conn *c, const char *request)
{
    unsigned n = 0;
    while (n < 100 && ask(c, request) == 200)
        n++;
    EXPECT_EQ(ask(c, request), 429);
    return n;
}

/* What stands behind "NAME: " in the head, in a line of its own; "": no such line. The nth of them, from 0. */
static const char *field(const struct sim_conn *c, const char *name, unsigned nth)
{
    static char value[200];
    size_t len = strlen(name);
    value[0] = '\0';
    for (const char *p = c->got; p && *p && strncmp(p, "\r\n\r\n", 4); p++)
        if (!strncmp(p, "\r\n", 2) && !strncmp(p + 2, name, len) && !strncmp(p + 2 + len, ": ", 2) && nth-- == 0) {
            snprintf(value, sizeof value, "%.*s", (int)strcspn(p + 4 + len, "\r"), p + 4 + len);
            break;
        }
    return value;
}

/* The wait that is told: as it is or up to a tenth longer, in both fields and in the body. */
static void expect_wait(const struct sim_conn *c, uint64_t ns)
{
    char member[60];
    uint64_t ms = strtoull(field(c, "retry-after-ms", 0), NULL, 10), s = strtoull(field(c, "Retry-After", 0), NULL, 10);
    uint64_t most = ns + ns / 10;
    if (!EXPECT(ms >= (ns + MSEC - 1) / MSEC && ms <= (most + MSEC - 1) / MSEC))
        printf("told %llu ms\n", (unsigned long long)ms);
    EXPECT_EQ(s, (ms + 999) / 1000);
    snprintf(member, sizeof member, "\"retry_after_ms\":%llu", (unsigned long long)ms);
    EXPECT_HAS(c, member);
}

/* Answers the request that is there upstream. */
static void serve(struct sim *s, struct sim_conn **u)
{
    struct sim_conn *opened = sim_next(s);
    *u = opened ? opened : *u;
    if (!EXPECT(*u && (*u)->got_len > 0))
        return;
    sim_clear(*u);
    sim_say(*u, OK);
}

/* ---- whose bucket ---- */

#define KEYED(KEY) ANSWERED("auth, {token_bucket: {rate: 1/h, burst: 1, key: " KEY "}}")

TEST(who_shares_a_bucket)
{
    static const char one[] = "192.0.2.1", two[] = "192.0.2.2";
    static const struct { const char *yaml, *ip[2], *request[2]; bool shared; } rows[] = {
        {ANSWERED("{token_bucket: {rate: 1/h, burst: 1}}"), {one, one}, {GET, GET_WITH("X: y\r\n")}, true},
        {ANSWERED("{token_bucket: {rate: 1/h, burst: 1}}"), {one, two}, {GET, GET}, false},
        {KEYED("client_ip"), {one, two}, {GET, GET}, false},
        {KEYED("client_ip"), {"2001:db8::1", "2001:db8::ffff:1"}, {GET, GET}, true},
        {KEYED("client_ip"), {"2001:db8::1", "2001:db8:0:1::1"}, {GET, GET}, false},
        {"trusted_proxies: [192.0.2.0/24]\n" KEYED("client_ip"), {one, two},
         {GET_WITH("X-Forwarded-For: 9.9.9.9\r\n"), GET_WITH("X-Forwarded-For: 9.9.9.9\r\n")}, true},
        {KEYED("client_ip"), {one, one}, {GET, GET_WITH("X-Forwarded-For: 9.9.9.9\r\n")}, true},
        {KEYED("all"), {one, two}, {GET, GET}, true},
        {KEYED("header:x-key"), {one, two}, {GET_WITH("X-Key: a\r\n"), GET_WITH("x-key:  a \r\n")}, true},
        {KEYED("header:x-key"), {one, one}, {GET_WITH("X-Key: a\r\n"), GET_WITH("X-Key: b\r\n")}, false},
        {KEYED("header:x-key"), {one, one}, {GET, GET_WITH("X-Key: \r\n")}, true},         /* both fall to client_ip */
        {KEYED("header:x-key"), {one, two}, {GET, GET}, false},
        {KEYED("header:x-key"), {one, one}, {GET, GET_WITH("X-Key: a\r\n")}, false},
        {KEYED("cookie:sid"), {one, two}, {GET_WITH("Cookie: a=1; sid=x\r\n"), GET_WITH("Cookie: sid=x; b=2\r\n")}, true},
        {KEYED("cookie:sid"), {one, one}, {GET_WITH("Cookie: sid=x\r\n"), GET_WITH("Cookie: sid=y\r\n")}, false},
        {KEYED("cookie:sid"), {one, two}, {GET_WITH("Cookie: sid=x\r\n"), GET_WITH("Cookie: a=1; sid =\t x ;b=2\r\n")}, true},
        {KEYED("cookie:sid"), {one, two}, {GET_WITH("Cookie: sid=x\r\n"), GET_WITH("Cookie: sid=\"x\"\r\n")}, true},
        {KEYED("cookie:sid"), {one, one}, {GET, GET_WITH("Cookie: sid; sidx=1; sid= ; x=sid\r\n")}, true},
        {KEYED("header:authorization"), {one, two}, {GET_WITH("Authorization: Bearer a\r\n"),
                                                     GET_WITH("Authorization: bEARER  \t a\r\n")}, true},
        {KEYED("query:k"), {one, two}, {GET_AT("/?k=a"), GET_AT("/?x&k=%61")}, true},
        {KEYED("query:k"), {one, one}, {GET_AT("/?k=a"), GET_AT("/?k=b")}, false},
        {KEYED("host"), {one, two}, {GET, "GET / HTTP/1.1\r\nHost: H:8080\r\n\r\n"}, true},
        {KEYED("host"), {one, one}, {GET, "GET / HTTP/1.1\r\nHost: i\r\n\r\n"}, false},
        {KEYED("consumer"), {one, two}, {GET_WITH("X-User: u\r\n"), GET_WITH("X-User: u\r\n")}, true},
        {KEYED("consumer"), {one, one}, {GET_WITH("X-User: u\r\n"), GET_WITH("X-User: v\r\n")}, false},
        {KEYED("\"header:x-key + client_ip\""), {one, two}, {GET_WITH("X-Key: a\r\n"), GET_WITH("X-Key: a\r\n")}, false},
        {KEYED("[header:x-key, consumer, client_ip]"), {one, two},
         {GET_WITH("X-User: u\r\nX-Key:\r\n"), GET_WITH("X-User: u\r\n")}, true},
        {KEYED("[header:x-key, consumer, client_ip]"), {one, two},
         {GET_WITH("X-User: u\r\nX-Key: k\r\n"), GET_WITH("X-User: v\r\nX-Key: k\r\n")}, true},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        struct sim *s = start(rows[i].yaml);
        EXPECT_EQ(ask(client(s, rows[i].ip[0]), rows[i].request[0]), 200);
        EXPECT_EQ(ask(client(s, rows[i].ip[1]), rows[i].request[1]), rows[i].shared ? 429 : 200);
        SIM_END(s);
    }
}

TEST(buckets_by_route_and_parameter)
{
    static const char yaml[] =
        SIM_HEAD "define:\n  by_route: {token_bucket: {rate: 1/h, burst: 1, key: route}}\n"
        "  by_id: {token_bucket: {rate: 1/h, burst: 1, key: param:id}}\n"
        "routes:\n"
        "  - {match: /a/, respond: {body: a}, filters: [by_route]}\n"
        "  - {match: /b/, respond: {body: b}, filters: [by_route]}\n"
        "  - {match: \"/u/:id/x\", respond: {body: u}, filters: [by_id]}\n"
        "  - {match: \"/v/:id\", respond: {body: v}, filters: [by_id]}\n";
    struct sim *s = start(yaml);
    struct sim_conn *c = sim_client(s);
    EXPECT_EQ(ask(c, GET_AT("/a/1")), 200);
    EXPECT_EQ(ask(c, GET_AT("/b/1")), 200);
    EXPECT_EQ(ask(c, GET_AT("/a/2")), 429);
    EXPECT_EQ(ask(c, GET_AT("/u/7/x")), 200);
    EXPECT_EQ(ask(c, GET_AT("/v/%37")), 429);
    EXPECT_EQ(ask(c, GET_AT("/v/8")), 200);
    SIM_END(s);
}

TEST(the_same_part_twice_is_refused)
{
    static const struct { const char *key, *request; } rows[] = {
        {"header:x-key", GET_WITH("X-Key: a\r\nX-Key: a\r\n")},
        {"header:x-key", GET_WITH("X-Key: a\r\nX_Key: b\r\n")},
        {"header:x-key", GET_WITH("X_Key: a\r\n")},               /* its limit would not see what a back end may */
        {"header:x-key", GET_WITH("Connection: x-key\r\nX-Key: a\r\nX.Key: a\r\n")},
        {"[header:x-key, client_ip]", GET_WITH("X-Key: a\r\nx-key:\r\n")},
        {"cookie:sid", GET_WITH("Cookie: sid=a; sid =a\r\n")},
        {"cookie:sid", GET_WITH("Cookie: sid=a; sid=b\r\n")},
        {"cookie:sid", GET_WITH("Cookie: sid=a\r\nCookie: sid=a\r\n")},
        {"query:k", GET_AT("/?k=a&%6b=a")},
        {"query:k", GET_AT("/?k=a;k=b")},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        char yaml[300];
        test_row("%s %zu", rows[i].key, i);
        snprintf(yaml, sizeof yaml, ANSWERED("{token_bucket: {rate: 1/h, burst: 2, key: %s, name: who}}"), rows[i].key);
        struct sim *s = start(yaml);
        struct sim_conn *c = sim_client(s);
        EXPECT_EQ(ask(c, rows[i].request), 400);
        EXPECT_HAS(c, "\"reason\":\"ambiguous_key\"");
        EXPECT_HAS(c, "\"policy\":\"who\"");
        EXPECT_HASNT(c, "etry-");
        EXPECT_EQ(sim_reasons(s, REASON_ambiguous_key), 1);
        EXPECT_EQ(pass(c, GET), 2);                 /* and nobody was charged for it */
        SIM_END(s);
    }
}

TEST(two_workers_hold_the_limit_of_one)
{
    struct sim *s = start_with(ANSWERED("{token_bucket: {rate: 1/h, burst: 7, key: all}}"), 2);
    struct sim_conn *c[2] = {sim_client_at(s, 0, 0, STR("192.0.2.1")), sim_client_at(s, 1, 0, STR("192.0.2.2"))};
    unsigned passed = 0;
    for (unsigned i = 0; i < 20; i++)
        passed += ask(c[i * 3 / 2 % 2], GET) == 200;
    EXPECT_EQ(passed, 7);
    SIM_END(s);
}

TEST(a_bucket_on_the_listener_is_before_all_routes)
{
    struct sim *s = start("version: 1\nlisten: {at: 127.0.0.1:8080, filters: [{token_bucket: {rate: 1/h, burst: 2}}]}\n"
                          "routes:\n  - {match: /a, respond: {body: a}}\n  - {match: /b, respond: {body: b}}\n");
    struct sim_conn *c = sim_client(s);
    EXPECT_EQ(ask(c, GET_AT("/a")), 200);
    EXPECT_EQ(ask(c, GET_AT("/b")), 200);
    EXPECT_EQ(ask(c, GET_AT("/a")), 429);
    EXPECT_HAS(c, "\"policy\":\"listen 127.0.0.1:8080 token_bucket\"");
    SIM_END(s);
}

/* ---- what is told ---- */

TEST(the_wait_is_exact)
{
    static const struct { const char *yaml; unsigned burst; uint64_t after, wait; } rows[] = {
        {ANSWERED("{token_bucket: {rate: 1/s, burst: 1}}"), 1, 0, SEC},
        {ANSWERED("{token_bucket: {rate: 1/s, burst: 1}}"), 1, 400 * MSEC, 600 * MSEC},
        {ANSWERED("{token_bucket: {rate: 1/s, burst: 1}}"), 1, SEC - 1, 1},
        {ANSWERED("{token_bucket: {rate: 3/s, burst: 2}}"), 2, 0, 333333334},
        {ANSWERED("{token_bucket: {rate: 10/h, burst: 3}}"), 3, 0, 360 * SEC},
        {ANSWERED("{token_bucket: {rate: 10/s, burst: 25, cost: 10}}"), 2, 0, 500 * MSEC},
        {ANSWERED("{token_bucket: {rate: 10/s, burst: 10, cost: 10}}"), 1, 250 * MSEC, 750 * MSEC},
        {ANSWERED("{token_bucket: {rate: 1000000/s, burst: 5}}"), 5, 0, 1000},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        struct sim *s = start(rows[i].yaml);
        struct sim_conn *c = sim_client(s);
        for (unsigned k = 0; k < rows[i].burst; k++)
            EXPECT_EQ(ask(c, GET), 200);
        EXPECT_EQ(ask(c, GET), 429);
        sim_advance(s, rows[i].after);
        EXPECT_EQ(ask(c, GET), 429);
        EXPECT_HAS(c, "\"reason\":\"rate_limited\"");
        expect_wait(c, rows[i].wait);
        sim_advance(s, rows[i].wait - 1);
        c = sim_client(s);
        EXPECT_EQ(ask(c, GET), 429);
        sim_advance(s, 1);
        EXPECT_EQ(ask(c, GET), 200);
        SIM_END(s);
    }
}

TEST(the_fields_of_the_draft)
{
    struct sim *s = start(PROXIED("{token_bucket: {rate: 30/min, burst: 7, cost: 3, name: per.key}}"));
    struct sim_conn *c = sim_client(s), *u = NULL;
    EXPECT_EQ(ask(c, GET), 0);
    sim_advance(s, 10 * SEC);                       /* what is told is as it was decided */
    u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nRateLimit: \"theirs\";r=9;t=9\r\nContent-Length: 2\r\n\r\nok");
    EXPECT_GOT(c, "HTTP/1.1 200 OK\r\nRateLimit: \"theirs\";r=9;t=9\r\nContent-Length: 2\r\n"
                  "RateLimit-Policy: \"per.key\";q=7;w=14\r\nRateLimit: \"per.key\";r=4;t=6\r\n\r\nok");
    sim_say(c, GET);                                /* 7 again: the pause was long enough */
    serve(s, &u);
    EXPECT_CSTR(field(c, "RateLimit", 0), "\"per.key\";r=4;t=6");
    sim_clear(c);
    sim_say(c, GET);
    sim_clear(u);
    sim_say(u, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    EXPECT_CSTR(field(c, "RateLimit", 0), "\"per.key\";r=1;t=12");
    EXPECT_EQ(ask(c, GET), 429);
    EXPECT_CSTR(field(c, "RateLimit-Policy", 0), "\"per.key\";q=7;w=14");
    EXPECT_CSTR(field(c, "RateLimit", 0), "\"per.key\";r=1;t=12");
    EXPECT_CSTR(field(c, "RateLimit", 1), "");
    EXPECT_HAS(c, "\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\"");
    EXPECT_HAS(c, "\"policy\":\"per.key\"");
    expect_wait(c, 4 * SEC);
    SIM_END(s);
}

/* A route's own answer is none of weir's refusals, whatever its status: it is charged, and says so. */
TEST(a_route_that_answers_503)
{
    static const int statuses[] = {200, 404, 429, 503};
    for (size_t i = 0; i < array_len(statuses); i++) {
        char yaml[400];
        test_row("%d", statuses[i]);
        snprintf(yaml, sizeof yaml, SIM_HEAD "routes: [{match: /, respond: {status: %d, body: later}, filters: ["
                 "{token_bucket: {rate: 1/h, burst: 2}}]}]\n", statuses[i]);
        struct sim *s = start(yaml);
        struct sim_conn *c = sim_client(s);
        EXPECT_EQ(ask(c, GET), statuses[i]);
        EXPECT_CSTR(field(c, "RateLimit", 0), "\"route / token_bucket\";r=1;t=3600");
        EXPECT_EQ(ask(c, GET), statuses[i]);
        EXPECT_CSTR(field(c, "RateLimit", 0), "\"route / token_bucket\";r=0;t=7200");
        EXPECT_EQ(ask(c, GET), 429);
        EXPECT_HAS(c, "rate_limited");
        SIM_END(s);
    }
}

TEST(no_fields_where_they_are_switched_off)
{
    struct sim *s = start(ANSWERED("{token_bucket: {rate: 1/s, burst: 1, headers: false}}"));
    struct sim_conn *c = sim_client(s);
    EXPECT_EQ(ask(c, GET), 200);
    EXPECT_HASNT(c, "RateLimit");
    EXPECT_EQ(ask(c, GET), 429);
    EXPECT_CSTR(field(c, "RateLimit", 0), "\"route / token_bucket\";r=0;t=1");
    EXPECT_CSTR(field(c, "RateLimit-Policy", 0), "\"route / token_bucket\";q=1;w=1");
    SIM_END(s);
}

TEST(each_bucket_that_was_passed_tells)
{
    struct sim *s = start(ANSWERED(BUCKET("a", "1/s", "5") ", " BUCKET("b", "1/min", "9")));
    struct sim_conn *c = sim_client(s);
    EXPECT_EQ(ask(c, GET), 200);
    EXPECT_CSTR(field(c, "RateLimit", 0), "\"b\";r=8;t=60");
    EXPECT_CSTR(field(c, "RateLimit", 1), "\"a\";r=4;t=1");
    SIM_END(s);
}

/* ---- several buckets ---- */

TEST(the_longest_wait_is_told)
{
    static const struct { const char *yaml; uint64_t wait; const char *policy; } rows[] = {
        {ANSWERED(BUCKET("a", "1/s", "1") ", " BUCKET("b", "1/min", "1")), 60 * SEC, "b"},
        {ANSWERED(BUCKET("a", "1/min", "1") ", " BUCKET("b", "1/s", "1")), 60 * SEC, "a"},
        {ANSWERED(BUCKET("a", "1/s", "1") ", " BUCKET("b", "1/min", "1") ", " BUCKET("c", "1/h", "2")), 60 * SEC, "b"},
        {ANSWERED(BUCKET("a", "1/min", "5") ", " BUCKET("b", "1/s", "1") ", " BUCKET("c", "1/h", "1")), 3600 * SEC, "c"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        char member[40], policy[60];
        test_row("%zu", i);
        struct sim *s = start(rows[i].yaml);
        struct sim_conn *c = sim_client(s);
        EXPECT_EQ(ask(c, GET), 200);
        EXPECT_EQ(ask(c, GET), 429);
        expect_wait(c, rows[i].wait);
        snprintf(member, sizeof member, "\"policy\":\"%s\"", rows[i].policy);
        EXPECT_HAS(c, member);
        snprintf(policy, sizeof policy, "\"%s\";r=0;t=%llu", rows[i].policy, (unsigned long long)(rows[i].wait / SEC));
        EXPECT_CSTR(field(c, "RateLimit", 0), policy);
        EXPECT_CSTR(field(c, "RateLimit", 1), "");  /* of those that were passed: they get it back */
        sim_advance(s, rows[i].wait - 1);           /* and it is true: nothing passes before */
        c = sim_client(s);
        EXPECT_EQ(ask(c, GET), 429);
        sim_advance(s, 1);
        EXPECT_EQ(ask(c, GET), 200);
        SIM_END(s);
    }
}

#define TWO_ROUTES(UPSTREAM)                                                                                         \
    API "define: {first: " BUCKET_OF("4") "}\n"                                                                      \
    "routes:\n  - {match: /, " UPSTREAM ", filters: [first, " BUCKET("second", "1/h", "2") "]}\n"                    \
    "  - {match: /first, respond: {body: ok}, filters: [first]}\n"
#define BUCKET_OF(BURST) "{token_bucket: {rate: 1/h, burst: " BURST "}}"
#define GET_FIRST GET_AT("/first")

TEST(a_bucket_behind_it_refuses_and_it_has_its_token_back)
{
    struct sim *s = start(TWO_ROUTES("respond: {body: ok}"));
    struct sim_conn *c = sim_client(s);
    EXPECT_EQ(ask(c, GET), 200);
    EXPECT_EQ(ask(c, GET), 200);
    for (int i = 0; i < 10; i++)
        EXPECT_EQ(ask(c, GET), 429);                /* `second` is empty; `first` has 2, each time */
    EXPECT_EQ(pass(c, GET_FIRST), 2);
    EXPECT_EQ(ask(c, GET), 429);                    /* now `first` refuses, and `second` is not charged */
    SIM_END(s);
}

/* ---- what is given back ---- */

TEST(a_refusal_of_the_gateway_costs_nothing)
{
    static const struct { enum reason reason; int status; bool back; } rows[] = {
        {REASON_queue_full, 503, true}, {REASON_no_endpoint, 503, true}, {REASON_concurrency_limited, 429, true},
        {REASON_denied, 403, false}, {REASON_filter_failed, 502, false},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%s", reason_name(rows[i].reason));
        struct sim *s = start(TWO_ROUTES("upstream: api"));
        struct sim_conn *c = sim_client(s);
        PLAY(ACT("up", "attempt", FILTER_FAIL, .reason = rows[i].reason));
        EXPECT_EQ(ask(c, GET), rows[i].status);
        EXPECT_EQ(strstr(c->got, "RateLimit") != NULL, !rows[i].back);
        EXPECT_EQ(pass(c, GET_FIRST), rows[i].back ? 4 : 3);
        PLAY_END(s);
    }
}

TEST(what_is_not_given_back)
{
    static const enum { CONNECT_FAILS, LEFT_WHILE_CONNECTING, LEFT_WHILE_ANSWERED, ANSWER_503 } rows[] = {
        CONNECT_FAILS, LEFT_WHILE_CONNECTING, LEFT_WHILE_ANSWERED, ANSWER_503,
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        struct sim *s = start(TWO_ROUTES("upstream: api"));
        struct sim_conn *c = sim_client(s), *again = sim_client(s);
        s->connect = rows[i] == CONNECT_FAILS ? SIM_REFUSE : rows[i] == LEFT_WHILE_CONNECTING ? SIM_HANG : SIM_ACCEPT;
        EXPECT_EQ(ask(c, GET), rows[i] == CONNECT_FAILS ? 502 : 0);
        if (rows[i] == LEFT_WHILE_CONNECTING || rows[i] == LEFT_WHILE_ANSWERED) {
            sim_reset(c);
            sim_run(s);
        } else if (rows[i] == ANSWER_503) {
            sim_say(sim_next(s), "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
            EXPECT_HAS(c, "HTTP/1.1 503 ");
        }
        EXPECT_EQ(pass(again, GET_FIRST), 3);
        SIM_END(s);
    }
}

/* ---- delay ---- */

#define DELAYED PROXIED("{token_bucket: {rate: 10/s, burst: 1, delay: 250ms}}")

TEST(a_delayed_request_goes_at_its_time)
{
    struct sim *s = start(DELAYED);
    struct sim_conn *c[4], *u = NULL;
    for (int i = 0; i < 4; i++) {
        c[i] = sim_client(s);
        EXPECT_EQ(ask(c[i], GET), i == 3 ? 429 : 0);
    }
    expect_wait(c[3], 300 * MSEC);
    serve(s, &u);
    EXPECT_HAS(c[0], "HTTP/1.1 200 OK\r\n");
    for (int i = 1; i < 3; i++) {
        sim_advance(s, 100 * MSEC - 1);
        EXPECT(sim_next(s) == NULL && u->got_len == 0);
        sim_advance(s, 1);
        serve(s, &u);
        EXPECT_HAS(c[i], "HTTP/1.1 200 OK\r\n");
        EXPECT_CSTR(field(c[i], "RateLimit", 0), "\"route / token_bucket\";r=0;t=1");
    }
    SIM_END(s);
}

TEST(a_caller_who_leaves_while_it_waits)
{
    struct sim *s = start(DELAYED);
    struct sim_conn *c[3], *u = NULL;
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(ask(c[i] = sim_client(s), GET), 0);
    serve(s, &u);
    sim_reset(c[1]);
    sim_run(s);
    EXPECT_EQ(sim_reasons(s, REASON_client_gone), 1);
    sim_advance(s, 200 * MSEC - 1);                 /* its time is spent: the third was told its own */
    EXPECT(sim_next(s) == NULL && u->got_len == 0);
    sim_advance(s, 1);
    serve(s, &u);
    EXPECT_HAS(c[2], "HTTP/1.1 200 OK\r\n");
    SIM_END(s);
}

TEST(who_would_wait_past_its_deadline_is_refused)
{
    struct sim *s = start(API "routes: [{match: /, upstream: api, timeout: 100ms, filters: ["
                          "{token_bucket: {rate: 10/s, burst: 1, delay: 1h}}]}]\n");
    struct sim_conn *c = sim_client(s), *d = sim_client(s), *u = NULL;
    EXPECT_EQ(ask(c, GET), 0);
    serve(s, &u);
    EXPECT_EQ(ask(c, GET), 429);                    /* at the deadline is too late */
    expect_wait(c, 100 * MSEC);
    sim_advance(s, 1);
    EXPECT_EQ(ask(d, GET), 0);
    sim_advance(s, 100 * MSEC - 2);
    EXPECT_EQ(u->got_len, 0);
    sim_advance(s, 1);
    serve(s, &u);
    EXPECT_HAS(d, "HTTP/1.1 200 OK\r\n");
    SIM_END(s);
}

TEST(a_shadow_neither_refuses_nor_delays_nor_tells)
{
    struct sim *s = start(ANSWERED("{token_bucket: {rate: 1/h, burst: 1, mode: shadow}}, "
                                   "{token_bucket: {rate: 1/s, burst: 1, delay: 2s, mode: shadow, name: slow}}, "
                                   "{token_bucket: {rate: 1/h, burst: 4, name: real}}"));
    struct sim_conn *c = sim_client(s);
    for (int i = 0; i < 4; i++) {
        EXPECT_EQ(ask(c, GET), 200);
        EXPECT_CSTR(field(c, "RateLimit", 1), "");
        EXPECT_HAS(c, "RateLimit: \"real\"");
    }
    EXPECT_EQ(ask(c, GET), 429);
    EXPECT_HAS(c, "\"policy\":\"real\"");
    EXPECT_EQ(sim_reasons(s, REASON_rate_limited), 1);
    SIM_END(s);
}

/* ---- reload ---- */

TEST(a_reload_keeps_what_is_owed)
{
    struct sim *s = start(ANSWERED("{token_bucket: {rate: 1/s, burst: 10, key: header:x-key}}"));
    sim_advance(s, 20 * SEC);
    struct sim_conn *c = sim_client(s);
    for (int i = 0; i < 10; i++)
        EXPECT_EQ(ask(c, GET_WITH("X-Key: a\r\n")), 200);
    for (int i = 0; i < 3; i++) {                   /* lower and higher again: nothing is minted */
        sim_reload(s, ANSWERED("{token_bucket: {rate: 1/h, burst: 1, key: header:x-key}}"));
        EXPECT_EQ(ask(c, GET_WITH("X-Key: a\r\n")), 429);
        sim_reload(s, ANSWERED("{token_bucket: {rate: 1/s, burst: 10, key: [\"header:x-key\", host]}}"));
        EXPECT_EQ(ask(c, GET_WITH("X-Key: a\r\n")), 429);
        expect_wait(c, SEC);
    }
    EXPECT_EQ(ask(c, GET_WITH("X-Key: b\r\n")), 200);
    sim_reload(s, ANSWERED("{token_bucket: {rate: 100/s, burst: 10, key: header:x-key}}"));
    EXPECT_EQ(ask(c, GET_WITH("X-Key: a\r\n")), 429);
    expect_wait(c, 10 * MSEC);                      /* the same debt, paid faster */
    sim_advance(s, 50 * MSEC);
    EXPECT_EQ(pass(c, GET_WITH("X-Key: a\r\n")), 5);
    SIM_END(s);
}

/* Who waits keeps the time that it was told, and its bucket, though the configuration it came by is gone. */
TEST(a_reload_while_a_request_waits)
{
    struct sim *s = start(DELAYED);
    struct sim_conn *c = sim_client(s), *d = sim_client(s), *u = NULL;
    EXPECT_EQ(ask(c, GET), 0);
    EXPECT_EQ(ask(d, GET), 0);
    serve(s, &u);
    sim_reload(s, PROXIED(""));
    sim_advance(s, 100 * MSEC - 1);
    EXPECT(sim_next(s) == NULL);
    sim_advance(s, 1);
    serve(s, &u);
    EXPECT_HAS(d, "HTTP/1.1 200 OK\r\n");
    SIM_END(s);
}
