/* SPDX-License-Identifier: Apache-2.0 */
/* A route's fallback: another upstream, or an answer, when its own upstream cannot. */
#include "actor.h"

extern const struct filter filter_headers;
static const struct filter actor = ACTOR("actor"), keeper = ACTOR("keeper", .keep_body = 1000);
static const struct filter *const filters[] = {&actor, &keeper, &filter_headers, NULL};

#define YAML(FALLBACK)                                                                                               \
    SIM_HEAD "upstreams:\n"                                                                                          \
    "  api: {endpoints: [\"http://127.0.0.1:81\"], filters: [{actor: {id: t}}]}\n"                                   \
    "  spare: {endpoints: [\"http://127.0.0.1:82\"], filters: [{actor: {id: f}}]}\n"                                 \
    "routes:\n"                                                                                                      \
    "  - {match: /, upstream: api, fallback: " FALLBACK ", filters: [{keeper: {id: r}}]}\n"

#define ANSWER "{respond: {status: 200, headers: {x-stale: \"1\"}, body: cached}}"
#define BAD "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nbad"

static struct sim *start(const char *yaml)
{
    return sim_new_with(&(struct sim_conf){.yaml = yaml, .filters = filters});
}

static unsigned port_of(const struct sim_conn *u) { return ntohs(u->address.in.sin_port); }

enum way { REFUSED, REFUSED_NOW, RESET, FIN, GARBAGE, HANGS, SILENT, WAYS };

/* Has the route's upstream fail in the given way. */
static void fail(struct sim *s, struct sim_conn *u, enum way way)
{
    switch (way) {
    case RESET: mem_reset(&u->end); break;
    case FIN: mem_fin(&u->end); break;
    case GARBAGE: sim_say(u, "nonsense\r\n\r\n"); break;
    case HANGS: sim_advance(s, 3 * NSEC_PER_SEC); break;
    case SILENT: sim_advance(s, 31 * NSEC_PER_SEC); break;
    default: break;
    }
    sim_run(s);
}

static struct sim_conn *ask(struct sim *s, enum way way, const char *request)
{
    static const enum sim_connect connects[WAYS] = {
        [REFUSED] = SIM_REFUSE, [REFUSED_NOW] = SIM_REFUSE_NOW, [HANGS] = SIM_HANG,
    };
    struct sim_conn *c = sim_client(s);
    s->connect = connects[way];
    sim_say(c, request);
    s->connect = SIM_ACCEPT;
    struct sim_conn *u = sim_next(s);
    while (u && port_of(u) == 81) {
        fail(s, u, way);
        u = sim_next(s);
    }
    if (u)
        sim_say(u, OK);
    return c;
}

TEST(another_upstream)
{
    for (int way = 0; way < WAYS; way++) {
        test_row("%d", way);
        if (way == REFUSED_NOW || way == REFUSED)
            continue;                /* the spare one's connect would be refused in the same turn */
        PLAY_NOTHING();
        struct sim *s = start(YAML("spare"));
        struct sim_conn *c = ask(s, (enum way)way, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
        EXPECT_GOT(c, OK);
        EXPECT(strstr(actor_noted, "t.attempt_end t.end f.request f.attempt f.endpoint0 ") != NULL);
        EXPECT_EQ(sim_reasons(s, REASON_none), 1);
        PLAY_END(s);
    }
}

TEST(an_answer)
{
    for (int way = 0; way < WAYS; way++) {
        test_row("%d", way);
        PLAY_NOTHING();
        struct sim *s = start(YAML(ANSWER));
        struct sim_conn *c = ask(s, (enum way)way, GET);
        EXPECT_HAS(c, "HTTP/1.1 200 OK\r\n");
        EXPECT_HAS(c, "x-stale: 1\r\n");
        EXPECT_HAS(c, "\r\n\r\ncached");
        EXPECT(strstr(actor_noted, "t.attempt_end t.end r.response ") != NULL);
        EXPECT_EQ(sim_reasons(s, REASON_none), 0);
        PLAY_END(s);
    }
}

/* What filters say by a word. */
TEST(a_filter_refuses_or_fails_over)
{
    static const struct { struct act act; bool falls; } rows[] = {
        {ACT("t", "attempt", FILTER_FAIL, .reason = REASON_breaker_open), true},
        {ACT("t", "request", FILTER_FAIL, .reason = REASON_no_endpoint), true},
        {ACT("t", "attempt", FILTER_FAIL, .reason = REASON_denied), false},
        {ACT("t", "attempt", FILTER_FAIL, .reason = REASON_queue_full), false},
        {ACT("t", "head", FILTER_FAILOVER), true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%zu", i);
        actor_play(&rows[i].act, 1);
        struct sim *s = start(YAML("spare"));
        struct sim_conn *c = sim_client(s), *u;
        sim_say(c, GET);
        u = sim_next(s);
        if (u && port_of(u) == 81) {
            sim_say(u, BAD);
            u = sim_next(s);
        }
        EXPECT_EQ(u != NULL, rows[i].falls);
        if (u) {
            EXPECT_EQ(port_of(u), 82);
            sim_say(u, OK);
            EXPECT_GOT(c, OK);
        }
        PLAY_END(s);
    }
}

/* The spare one fails too: its own failure is told, and that is the end. */
TEST(once)
{
    PLAY(ACT("f", "attempt", FILTER_FAIL, .reason = REASON_breaker_open, .always = true));
    struct sim *s = start(YAML("spare"));
    struct sim_conn *c = ask(s, RESET, GET);
    EXPECT_HAS(c, "HTTP/1.1 503 Service Unavailable\r\n");
    EXPECT_HAS(c, "\"reason\":\"breaker_open\"");
    PLAY_END(s);
}

TEST(not_once_something_was_answered)
{
    PLAY_NOTHING();
    struct sim *s = start(YAML("spare"));
    struct sim_conn *c = sim_client(s), *u;
    sim_say(c, GET);
    u = sim_next(s);
    sim_say(u, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    mem_reset(&u->end);
    sim_run(s);
    EXPECT_EQ(sim_next(s), NULL);
    EXPECT(sim_ended(c) || sim_closed(c));
    PLAY_END(s);
}

/* A body that was not kept cannot be sent to another; an answer needs none. */
TEST(a_body_that_is_gone)
{
    static const char *const fallbacks[] = {YAML("spare"), YAML(ANSWER)};
    static char body[2001];
    memset(body, 'x', sizeof body - 1);
    for (int i = 0; i < 2; i++) {
        test_row("%d", i);
        PLAY_NOTHING();
        struct sim *s = start(fallbacks[i]);
        struct sim_conn *c = sim_client(s), *u;
        sim_send(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n");
        sim_say(c, body);
        u = sim_next(s);
        mem_reset(&u->end);
        sim_run(s);
        EXPECT_EQ(sim_next(s), NULL);
        EXPECT_HAS(c, i == 0 ? "HTTP/1.1 502 " : "HTTP/1.1 200 OK\r\n");
        PLAY_END(s);
    }
}

/* What an endpoint may have acted on is not sent to another upstream; answered it can be. */
/* What a body's hook refused is lost: no other upstream can have the body, whatever the reason is called. */
TEST(a_body_that_a_hook_refused)
{
    static const struct { const char *who, *fallback, *answer; } rows[] = {
        {"t", YAML("spare"), "\"reason\":\"no_endpoint\""}, {"r", YAML("spare"), "\"reason\":\"no_endpoint\""},
        {"t", YAML(ANSWER), "cached"}, {"r", YAML(ANSWER), "cached"},
    };
    for (size_t i = 0; i < array_len(rows) * 3; i++) {
        unsigned pieces = (unsigned)(i % 3);
        test_row("%zu, %u before", i / 3, pieces);
        PLAY(ACT(rows[i / 3].who, "up", pieces > 0 ? FILTER_NEXT : FILTER_FAIL, .reason = REASON_no_endpoint),
             ACT(rows[i / 3].who, "up", pieces > 1 ? FILTER_NEXT : FILTER_FAIL, .reason = REASON_no_endpoint),
             ACT(rows[i / 3].who, "up", FILTER_FAIL, .reason = REASON_no_endpoint));
        struct sim *s = start(rows[i / 3].fallback);
        struct sim_conn *c = sim_client(s);
        sim_say(c, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 15\r\n\r\n");
        EXPECT(sim_next(s) != NULL);
        for (unsigned k = 0; k < 3; k++)
            sim_say(c, "hello");
        EXPECT_EQ(sim_next(s), NULL);
        EXPECT_HAS(c, rows[i / 3].answer);
        SIM_END(s);
    }
}

TEST(a_post_that_was_sent)
{
    static const struct { const char *yaml, *request; bool falls; } rows[] = {
        {YAML("spare"), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", false},
        {YAML("spare"), "POST / HTTP/1.1\r\nHost: h\r\nIdempotency-Key: 1\r\nContent-Length: 5\r\n\r\nhello", true},
        {YAML(ANSWER), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", true},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        PLAY_NOTHING();
        struct sim *s = start(rows[i].yaml);
        struct sim_conn *c = ask(s, RESET, rows[i].request);
        EXPECT_HAS(c, rows[i].falls ? "HTTP/1.1 200 OK\r\n" : "HTTP/1.1 502 ");
        PLAY_END(s);
    }
    PLAY_NOTHING();
    struct sim *s = start(YAML("spare"));
    struct sim_conn *c = ask(s, HANGS, rows[0].request);      /* nothing was sent */
    EXPECT_GOT(c, OK);
    PLAY_END(s);
}

/* What one upstream is sent, its credentials and its name, the other is not; what the route's filters set goes to both. */
TEST(each_upstream_has_its_own_head)
{
    static const struct { const char *host, *first; } rows[] = {
        {"client", "Host: h\r\n"}, {"endpoint", "Host: 127.0.0.1:81\r\n"}, {"api.test", "Host: api.test\r\n"},
    };
    for (size_t i = 0; i < 2 * array_len(rows); i++) {
        bool set = i % 2, named = i >= array_len(rows);
        char yaml[1200];
        test_row("%zu", i);
        PLAY(ACT("t", "head", FILTER_FAILOVER, .failover = named ? "spare" : NULL));
        snprintf(yaml, sizeof yaml, SIM_HEAD "upstreams:\n"
                 "  api: {endpoints: [\"http://127.0.0.1:81\"], host: %s, filters: [{actor: {id: t}}%s]}\n"
                 "  spare: {endpoints: [\"http://127.0.0.1:82\"], filters: [{headers: {request: {add: {X-Spare: s}}}}]}\n"
                 "routes: [{match: /, upstream: api, fallback: spare, filters: [{headers: {request: {set: {X-Route: r}}}},"
                 " {keeper: {id: r}}]}]\n", rows[i / 2].host,
                 set ? ", {headers: {request: {set: {Authorization: secret, X-Route: mine}, remove: [X-Caller]}}}" : "");
        struct sim *s = start(yaml);
        struct sim_conn *c = sim_client(s), *u;
        sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nX-Caller: c\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
        u = sim_next(s);
        EXPECT_EQ(port_of(u), 81);
        EXPECT(strstr(u->got, rows[i / 2].first) != NULL);
        EXPECT_EQ(sim_has(u, "Authorization: secret\r\n"), set);
        EXPECT_EQ(sim_has(u, "X-Route: mine\r\n"), set);
        EXPECT_EQ(sim_has(u, "X-Caller: c\r\n"), !set);
        sim_say(u, BAD);
        u = sim_next(s);
        EXPECT_EQ(port_of(u), 82);
        EXPECT_HAS(u, "POST / HTTP/1.1\r\nHost: h\r\n");
        EXPECT_HAS(u, "X-Caller: c\r\n");
        EXPECT_HAS(u, "Content-Length: 2\r\n");
        EXPECT_HAS(u, "Expect: 100-continue\r\n");
        EXPECT_HAS(u, "X-Route: r\r\n");
        EXPECT_HAS(u, "X-Spare: s\r\n");
        EXPECT_HASNT(u, "Authorization");
        EXPECT_HASNT(u, "mine");
        sim_say(c, "hi");
        EXPECT_HAS(u, "\r\n\r\nhi");
        sim_say(u, OK);
        EXPECT_HAS(c, "HTTP/1.1 200 OK\r\n");
        PLAY_END(s);
    }
}

/* All requests together keep so many bytes: one more is not kept, and cannot be sent again. */
TEST(too_many_bytes_are_kept_already)
{
    static const struct { uint64_t others; bool kept; } rows[] = {{(63 << 20) + (1008 << 10), true}, {(63 << 20) + (1008 << 10) + 1, false}};
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        PLAY_NOTHING();
        struct sim *s = start(YAML("spare"));
        struct sim_conn *c = sim_client(s), *u;
        sim_say(c, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
        u = sim_next(s);
        atomic_store(&s->kept_bytes, rows[i].others);
        sim_say(c, "hello");
        EXPECT_EQ(atomic_load(&s->kept_bytes), rows[i].others + (rows[i].kept ? 16384 : 0));
        mem_reset(&u->end);
        sim_run(s);
        u = sim_next(s);
        EXPECT_EQ(u != NULL, rows[i].kept);
        if (u) {
            EXPECT_HAS(u, "\r\n\r\nhello");
            sim_say(u, OK);
        } else {
            EXPECT_HAS(c, "HTTP/1.1 502 ");
        }
        EXPECT_EQ(atomic_load(&s->kept_bytes), rows[i].others);
        atomic_store(&s->kept_bytes, 0);
        PLAY_END(s);
    }
}
