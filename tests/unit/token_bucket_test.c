/* SPDX-License-Identifier: Apache-2.0 */
/* The filter by itself, with a stand-in for the request; in a whole gateway it is seen in tests/sim/token_bucket_test.c. */
#include "diag_fixture.h"

#include <pthread.h>
#include <sched.h>
#include "conf/field.h"
#include "conf/load.h"
#include "conf/snapshot.h"
#include "figure.h"
#include "filter.h"
#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/page.h"
#include "reply.h"
#include "request.h"

extern const struct filter filter_token_bucket;

static const struct filter *const type = &filter_token_bucket;

/* ---- what the core would do ---- */

struct request {
    struct arena arena;
    struct http_head head, *resp;
    struct ip client;
    uint64_t deadline;
    uint64_t wait_until;
};

struct str request_query(const struct request *r) { return (void)r, str_of(NULL, 0); }
struct str request_host(const struct request *r) { return (void)r, str_of(NULL, 0); }
struct str request_route(const struct request *r) { return (void)r, str_of(NULL, 0); }
struct str request_param(const struct request *r, struct str n) { return (void)r, (void)n, str_of(NULL, 0); }
struct str request_attribute(const struct request *r, unsigned i) { return (void)r, (void)i, str_of(NULL, 0); }
struct str request_cookie(const struct request *r, struct str n, bool *again)
{
    return (void)r, (void)n, *again = false, str_of(NULL, 0);
}
const struct ip *request_client(const struct request *r) { return &r->client; }
struct arena *request_arena(struct request *r) { return &r->arena; }
struct http_head *request_head(struct request *r) { return &r->head; }
struct http_head *response_head(struct request *r) { return r->resp; }
uint64_t request_deadline(const struct request *r) { return r->deadline; }
void wait_until(struct call *call, uint64_t when) { call->req->wait_until = when; }

void reply_reason(struct request *r, struct reply *reply, enum reason reason, struct str detail)
{
    (void)r;
    *reply = (struct reply){.status = reason_status(reason), .reason = reason, .detail = detail, .problem = true};
}

void reply_header(struct request *r, struct reply *reply, struct str name, struct str value)
{
    struct reply_header *h = arena_alloc(&r->arena, sizeof *h);
    *h = (struct reply_header){name, value, NULL};
    if (!reply->tail)
        reply->tail = &reply->headers;
    *reply->tail = h;
    reply->tail = &h->next;
}

/* ---- an instance as a configuration makes it ---- */

struct bucket {
    struct arena arena;
    void *options, *shared;
};

static int options_read(struct bucket *b, const char *yaml, const char *name, struct err *err)
{
    struct snapshot snap = {.refs = 0};
    struct load load = {.arena = &b->arena, .snap = &snap, .name = str_c(name)};

    b->options = arena_zalloc(&b->arena, type->options_size);
    return options_from(type, yaml, b->options, &load, err);
}

static void options_must_read(struct bucket *b, const char *yaml)
{
    struct err err = {.text = ""};
    if (!EXPECT_EQ(options_read(b, yaml, "per_key", &err), 0))
        printf("%s\n", err.text);
}

static void begin(struct bucket *b, const char *yaml, uint64_t now)
{
    arena_init(&b->arena, NULL);
    options_must_read(b, yaml);
    b->shared = mem_zalloc(type->shared_size);
    type->shared_adopt(b->shared, b->options, true, now);
}

static void reload(struct bucket *b, const char *yaml, uint64_t now)
{
    options_must_read(b, yaml);
    type->shared_adopt(b->shared, b->options, false, now);
}

static void end(struct bucket *b)
{
    type->shared_fini(b->shared);
    mem_free(b->shared);
    arena_fini(&b->arena);
}

/* ---- a request that passes it, or does not ---- */

struct ask {
    struct request req;
    struct reply reply;
    struct call call;
};

static void ask_begin(struct ask *a, const struct bucket *b, uint64_t now)
{
    *a = (struct ask){.req.client = {.family = 4, .bytes = {192, 0, 2, 1}}, .req.deadline = TIME_NEVER};
    arena_init(&a->req.arena, NULL);
    a->call = (struct call){.req = &a->req, .name = STR("per_key"), .options = b->options, .shared = b->shared, .now = now,
                            .state = arena_zalloc(&a->req.arena, type->state_size), .reply = &a->reply};
}

static void ask_end(struct ask *a, enum reason reason, bool sent)
{
    type->on_end(&a->call, &(struct outcome){.reason = reason, .sent = sent});
    arena_fini(&a->req.arena);
}

static enum verdict ask(const struct bucket *b, uint64_t now, uint64_t *wait)
{
    struct ask a;
    ask_begin(&a, b, now);
    enum verdict v = type->on_request(&a.call);
    *wait = a.reply.retry_after;
    ask_end(&a, REASON_none, v == FILTER_NEXT);
    return v;
}

static enum verdict peek(const struct bucket *b, uint64_t now, uint64_t *wait)
{
    struct ask a;
    ask_begin(&a, b, now);
    enum verdict v = type->peek(&a.call);
    *wait = a.reply.retry_after;
    arena_fini(&a.req.arena);
    return v;
}

/* How many pass at `now`. */
static unsigned pass(const struct bucket *b, uint64_t now, unsigned most)
{
    unsigned n = 0;
    uint64_t wait;
    while (n < most && ask(b, now, &wait) == FILTER_NEXT)
        n++;
    return n;
}

static struct str reply_value(const struct reply *r, const char *name)
{
    for (const struct reply_header *h = r->headers; h; h = h->next)
        if (str_eq(h->name, str_c(name)))
            return h->value;
    return str_of(NULL, 0);
}

static uint64_t figure(const struct bucket *b, const char *name, const char *value)
{
    union figure_value v[20];
    size_t n = 0, at = 20;

    for (; type->figures[n].name; n++)
        if (!strcmp(type->figures[n].name, name) && (!value || !strcmp(type->figures[n].value, value)))
            at = n;
    memset(v, 0xee, sizeof v);
    type->figures_read(b->shared, b->options, NSEC_PER_SEC, v);
    EXPECT_EQ(v[n].n, 0xeeeeeeeeeeeeeeee);
    return EXPECT(at < n) ? v[at].n : 0;
}

static uint64_t decisions(const struct bucket *b, const char *which)
{
    return figure(b, "token_bucket_requests_total", which);
}

/* ---- options ---- */

TEST(what_may_be_written)
{
    static const struct { const char *yaml, *policy; unsigned burst; } rows[] = {
        {"{rate: 100/s}", "\"per_key\";q=100;w=1", 50},
        {"{rate: 100/s, burst: 7}", "\"per_key\";q=100;w=1", 7},
        {"{rate: 100/s, burst: 101}", "\"per_key\";q=200;w=2", 101},
        {"{rate: 1/s}", "\"per_key\";q=1;w=1", 1},
        {"{rate: 3/s}", "\"per_key\";q=3;w=1", 1},
        {"{rate: 4/s}", "\"per_key\";q=4;w=1", 2},
        {"{rate: 10/h}", "\"per_key\";q=1;w=360", 1},
        {"{rate: 7/min, burst: 3}", "\"per_key\";q=3;w=26", 3},
        {"{rate: 6000/min}", "\"per_key\";q=100;w=1", 50},
        {"{rate: 1000000/s, burst: 1000000000}", "\"per_key\";q=1000000000;w=1000", 1500},
        {"{rate: 1/h, burst: 1000000000}", "\"per_key\";q=1000000000;w=3600000000000", 1500},
        {"{rate: 1000/s, burst: 1, key: all, cost: 1, max_keys: 1, delay: 0s, headers: true}", "\"per_key\";q=1000;w=1", 1},
        {"{rate: 10/s, burst: 20, cost: 7}", "\"per_key\";q=20;w=2", 2},
        {"{rate: 10/s, max_keys: 100000000, burst: 1}", "\"per_key\";q=10;w=1", 1},
        {"{rate: 10/s, burst: 4, key: [\"header:x + host\", client_ip]}", "\"per_key\";q=10;w=1", 4},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct bucket b;
        struct ask a;
        test_row("%s", rows[i].yaml);
        begin(&b, rows[i].yaml, NSEC_PER_SEC);
        EXPECT_EQ(pass(&b, NSEC_PER_SEC, 1500), rows[i].burst);
        ask_begin(&a, &b, NSEC_PER_SEC);
        if (rows[i].burst < 1500) {
            EXPECT_EQ(type->on_request(&a.call), FILTER_REPLY);
            EXPECT_STR(reply_value(&a.reply, "RateLimit-Policy"), rows[i].policy);
        }
        ask_end(&a, REASON_rate_limited, false);
        end(&b);
    }
}

TEST(what_may_not)
{
    static const struct { const char *yaml; unsigned col; const char *error; } rows[] = {
        {"{burst: 10}", 1, "rate is missing"},
        {"{rate: 0/s}", 8, "rate: \"0/s\" must be more than 0"},
        {"{rate: 0}", 8, "rate: \"0\" has no unit; write it like 100/s, 6000/min or 10/h"},
        {"{rate: -5/s}", 8, "rate: \"-5/s\" is not a rate; write it like 100/s, 6000/min or 10/h"},
        {"{rate: 1000001/s}", 8, "rate: \"1000001/s\" is too large; at most 1000000/s"},
        {"{rate: 99000000/min}", 8, "rate: \"99000000/min\" is too large; at most 1000000/s"},
        {"{rate: 10/s, burst: 0}", 21, "burst: 0 is out of bounds; 1 to 1000000000"},
        {"{rate: 10/s, burst: 1000000001}", 21, "burst: 1000000001 is out of bounds; 1 to 1000000000"},
        {"{rate: 10/s, cost: 0}", 20, "cost: 0 is out of bounds; 1 to 1000000000"},
        {"{rate: 10/s, burst: 50, cost: 60}", 31, "cost: 60 is above the burst of 50: no request could ever pass; say a "
         "burst of at least 60"},
        {"{cost: 51, rate: 100/s}", 8, "cost: 51 is above the burst of 50 (half a second of the rate): no request could "
         "ever pass; say a burst of at least 51"},
        {"{rate: 10/s, max_keys: 0}", 24, "max_keys: 0 is out of bounds; 1 to 100000000"},
        {"{rate: 10/s, max_keys: 100000001}", 24, "max_keys: 100000001 is out of bounds; 1 to 100000000"},
        {"{rate: 10/s, delay: 2}", 21, "delay: \"2\" has no unit; write it like 250ms, 2s, 5m or 1h"},
        {"{rate: 10/s, delay: 2h}", 21, "delay: 2h is too large; at most 1h"},
        {"{rate: 10/s, headers: no}", 23, "headers: \"no\" is neither true nor false; write false"},
        {"{rate: 10/s, key: ip}", 19, "\"ip\" is nothing to tell callers apart by; write client_ip, header:NAME, cookie:NAME, "
         "query:NAME, param:NAME, host, route, consumer or all"},
        {"{rate: 10/s, key: consumer}", 19, "no filter of this configuration provides \"consumer\""},
        {"{rate: 10/s, bursts: 1}", 14, "unknown key \"bursts\"; did you mean \"burst\"?"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct err err = {.text = ""};
        struct bucket b;
        test_row("%s", rows[i].yaml);
        arena_init(&b.arena, NULL);
        EXPECT_EQ(options_read(&b, rows[i].yaml, "per_key", &err), -1);
        EXPECT_CSTR(err.text, rows[i].error);
        EXPECT_EQ(err.line, 1);
        EXPECT_EQ(err.col, rows[i].col);
        arena_fini(&b.arena);
    }
}

TEST(a_name_in_a_field_is_a_string_of_structured_fields)
{
    static const struct { const char *name, *policy; } rows[] = {
        {"route /v1/ token_bucket", "\"route /v1/ token_bucket\";q=1;w=1"},
        {"a\"b\\c", "\"a\\\"b\\\\c\";q=1;w=1"},
        {"caf\xc3\xa9\t~\x7f", "\"caf???~?\";q=1;w=1"},
        {"", "\"\";q=1;w=1"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct err err = {.text = ""};
        struct bucket b;
        struct ask a;
        test_row("%s", rows[i].name);
        begin(&b, "{rate: 1/s}", 0);
        EXPECT_EQ(options_read(&b, "{rate: 1/s}", rows[i].name, &err), 0);
        pass(&b, 0, 1);
        ask_begin(&a, &b, 0);
        type->on_request(&a.call);
        EXPECT_STR(reply_value(&a.reply, "RateLimit-Policy"), rows[i].policy);
        ask_end(&a, REASON_rate_limited, false);
        end(&b);
    }
}

/* ---- decisions ---- */

TEST(a_burst_then_the_rate)
{
    struct bucket b;
    uint64_t now = 1000 * NSEC_PER_SEC, wait;
    begin(&b, "{rate: 100/s, burst: 50}", now);
    EXPECT_EQ(pass(&b, now, 1000), 50);
    EXPECT_EQ(ask(&b, now, &wait), FILTER_REPLY);
    EXPECT_EQ(wait, NSEC_PER_SEC / 100);
    EXPECT_EQ(ask(&b, now + wait - 1, &wait), FILTER_REPLY);
    EXPECT_EQ(wait, 1);
    EXPECT_EQ(pass(&b, now + NSEC_PER_SEC / 100, 1000), 1);
    EXPECT_EQ(pass(&b, now + NSEC_PER_SEC / 2, 1000), 49);
    EXPECT_EQ(pass(&b, now + 60 * NSEC_PER_SEC, 1000), 50);
    EXPECT_EQ(pass(&b, now, 1000), 0);
    EXPECT_EQ(decisions(&b, "allowed"), 150);
    EXPECT_EQ(decisions(&b, "refused"), 7);          /* one behind each run of those that passed, and two alone */
    EXPECT_EQ(figure(&b, "token_bucket_keys", NULL), 1);
    EXPECT(figure(&b, "token_bucket_slots", NULL) >= 1);
    EXPECT(figure(&b, "token_bucket_bytes", NULL) >= 16);
    EXPECT_EQ(figure(&b, "token_bucket_evicted_in_debt_total", NULL), 0);
    end(&b);
}

TEST(a_peek_says_the_same_and_charges_and_counts_nothing)
{
    struct bucket b;
    struct ask asked, peeked;
    uint64_t wait;
    begin(&b, "{rate: 10/s, burst: 3, cost: 3}", 0);
    for (int i = 0; i < 100; i++)
        EXPECT_EQ(peek(&b, 0, &wait), FILTER_NEXT);
    EXPECT_EQ(pass(&b, 0, 100), 1);
    ask_begin(&peeked, &b, 1000);
    ask_begin(&asked, &b, 1000);
    EXPECT_EQ(type->peek(&peeked.call), FILTER_REPLY);
    EXPECT_EQ(decisions(&b, "refused"), 1);
    EXPECT_EQ(type->on_request(&asked.call), FILTER_REPLY);
    EXPECT_EQ(peeked.reply.status, 429);
    EXPECT_EQ(peeked.reply.reason, REASON_rate_limited);
    EXPECT_EQ(peeked.reply.retry_after, 3 * NSEC_PER_SEC / 10 - 1000);
    EXPECT_EQ(asked.reply.retry_after, peeked.reply.retry_after);
    EXPECT_STR(reply_value(&peeked.reply, "RateLimit"), "\"per_key\";r=0;t=1");
    EXPECT_STR(reply_value(&asked.reply, "RateLimit"), "\"per_key\";r=0;t=1");
    EXPECT_EQ(decisions(&b, "allowed"), 1);
    EXPECT_EQ(decisions(&b, "refused"), 2);
    EXPECT_EQ(figure(&b, "token_bucket_keys", NULL), 1);
    ask_end(&asked, REASON_rate_limited, false);
    arena_fini(&peeked.req.arena);
    end(&b);
}

TEST(an_ambiguous_key_fails)
{
    struct bucket b;
    begin(&b, "{rate: 1/s, burst: 5, key: header:x}", 0);
    for (int peeking = 0; peeking < 2; peeking++) {
        struct ask a;
        ask_begin(&a, &b, 0);
        http_head_add(&a.req.head, &a.req.arena, STR("X"), STR("a"));
        http_head_add(&a.req.head, &a.req.arena, STR("x"), STR("a"));
        EXPECT_EQ(peeking ? type->peek(&a.call) : type->on_request(&a.call), FILTER_FAIL);
        EXPECT_EQ(a.call.reason, REASON_ambiguous_key);
        ask_end(&a, REASON_ambiguous_key, false);
    }
    EXPECT_EQ(decisions(&b, "ambiguous"), 1);
    EXPECT_EQ(decisions(&b, "allowed"), 0);
    EXPECT_EQ(decisions(&b, "refunded"), 0);
    EXPECT_EQ(pass(&b, 0, 100), 5);
    end(&b);
}

TEST(what_is_given_back)
{
    static const struct { enum reason reason; bool sent, back; } rows[] = {
        {REASON_rate_limited, false, true},          /* of a bucket behind this one */
        {REASON_cost_over_burst, false, true},
        {REASON_queue_full, false, true},
        {REASON_no_endpoint, false, true},
        {REASON_queue_timeout, true, false},         /* something was sent before */
        {REASON_none, true, false},
        {REASON_none, false, false},
        {REASON_replied, false, false},
        {REASON_client_gone, false, false},
        {REASON_denied, false, false},
        {REASON_ambiguous_key, false, false},
        {REASON_connect_failed, false, false},
        {REASON_total_timeout, false, false},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct bucket b;
        struct ask a;
        test_row("%s%s", reason_name(rows[i].reason), rows[i].sent ? ", sent" : "");
        begin(&b, "{rate: 1/h, burst: 3}", 0);
        ask_begin(&a, &b, 0);
        EXPECT_EQ(type->on_request(&a.call), FILTER_NEXT);
        ask_end(&a, rows[i].reason, rows[i].sent);
        EXPECT_EQ(decisions(&b, "refunded"), rows[i].back);
        EXPECT_EQ(pass(&b, 0, 100), rows[i].back ? 3 : 2);
        end(&b);
    }
}

/* A request that was refused itself owes nothing and gets nothing back. */
TEST(a_refusal_is_not_refunded)
{
    struct bucket b;
    struct ask a;
    begin(&b, "{rate: 1/h, burst: 2}", 0);
    EXPECT_EQ(pass(&b, 0, 2), 2);
    ask_begin(&a, &b, 0);
    EXPECT_EQ(type->on_request(&a.call), FILTER_REPLY);
    ask_end(&a, REASON_rate_limited, false);
    EXPECT_EQ(decisions(&b, "refunded"), 0);
    EXPECT_EQ(pass(&b, 0, 2), 0);
    end(&b);
}

TEST(a_delay)
{
    struct bucket b;
    struct ask a[3];
    uint64_t wait;
    begin(&b, "{rate: 10/s, burst: 1, delay: 200ms}", 0);
    for (int i = 0; i < 3; i++) {
        ask_begin(&a[i], &b, 0);
        EXPECT_EQ(type->on_request(&a[i].call), i ? FILTER_WAIT : FILTER_NEXT);
        EXPECT_EQ(a[i].req.wait_until, (uint64_t)i * 100 * NSEC_PER_MSEC);
    }
    EXPECT_EQ(peek(&b, 0, &wait), FILTER_REPLY);
    EXPECT_EQ(wait, 300 * NSEC_PER_MSEC);
    EXPECT_EQ(peek(&b, 100 * NSEC_PER_MSEC, &wait), FILTER_NEXT);
    EXPECT_EQ(ask(&b, 0, &wait), FILTER_REPLY);
    EXPECT_EQ(wait, 300 * NSEC_PER_MSEC);

    a[1].call.now = 100 * NSEC_PER_MSEC - 1;         /* woken by something else */
    a[1].call.why = WHY_EXTERNAL;
    a[1].req.wait_until = 0;
    EXPECT_EQ(type->on_request(&a[1].call), FILTER_WAIT);
    EXPECT_EQ(a[1].req.wait_until, 100 * NSEC_PER_MSEC);
    a[1].call.now++;
    a[1].call.why = WHY_TIMER;
    EXPECT_EQ(type->on_request(&a[1].call), FILTER_NEXT);

    ask_end(&a[2], REASON_draining, false);          /* it waited, so others were told theirs by it */
    ask_end(&a[1], REASON_none, true);
    ask_end(&a[0], REASON_none, true);
    EXPECT_EQ(decisions(&b, "refunded"), 0);
    EXPECT_EQ(decisions(&b, "allowed"), 1);
    EXPECT_EQ(decisions(&b, "delayed"), 2);
    EXPECT_EQ(decisions(&b, "refused"), 1);
    end(&b);
}

TEST(nobody_waits_past_its_deadline)
{
    static const struct { uint64_t deadline; enum verdict verdict; } rows[] = {
        {0, FILTER_REPLY}, {1, FILTER_REPLY}, {NSEC_PER_SEC - 1, FILTER_REPLY}, {NSEC_PER_SEC, FILTER_REPLY},
        {NSEC_PER_SEC + 1, FILTER_WAIT}, {TIME_NEVER, FILTER_WAIT},
    };
    for (size_t i = 0; i < array_len(rows); i++)
        for (int peeking = 0; peeking < 2; peeking++) {
            struct bucket b;
            struct ask a;
            test_row("%zu %d", i, peeking);
            begin(&b, "{rate: 1/s, burst: 1, delay: 1h}", 0);
            EXPECT_EQ(pass(&b, 0, 1), 1);
            ask_begin(&a, &b, 0);
            a.req.deadline = rows[i].deadline;
            if (peeking)
                EXPECT_EQ(type->peek(&a.call), rows[i].verdict == FILTER_WAIT ? FILTER_NEXT : FILTER_REPLY);
            else
                EXPECT_EQ(type->on_request(&a.call), rows[i].verdict);
            EXPECT_EQ(a.reply.retry_after, rows[i].verdict == FILTER_REPLY ? NSEC_PER_SEC : 0);
            ask_end(&a, REASON_none, false);
            end(&b);
        }
}

TEST(a_shadow_decides_and_does_not_wait)
{
    struct bucket b;
    begin(&b, "{rate: 1/s, burst: 1, delay: 1s}", 0);
    static const enum verdict wanted[] = {FILTER_NEXT, FILTER_NEXT, FILTER_REPLY};
    for (size_t i = 0; i < array_len(wanted); i++) {
        struct ask a;
        ask_begin(&a, &b, 0);
        a.call.shadow = true;
        EXPECT_EQ(type->on_request(&a.call), wanted[i]);
        EXPECT_EQ(a.req.wait_until, 0);
        ask_end(&a, REASON_none, true);
    }
    EXPECT_EQ(decisions(&b, "delayed"), 1);
    EXPECT_EQ(decisions(&b, "refused"), 1);
    end(&b);
}

TEST(what_an_answer_tells)
{
    static const struct { const char *yaml; bool shadow, refused; int status; enum reason reason; const char *field; } rows[] = {
        {"{rate: 1/s, burst: 5}", false, false, 200, REASON_none, "\"per_key\";r=4;t=1"},
        {"{rate: 1/min, burst: 5, cost: 2}", false, false, 200, REASON_none, "\"per_key\";r=3;t=120"},
        {"{rate: 1/s, burst: 5}", false, false, 503, REASON_none, "\"per_key\";r=4;t=1"},
        {"{rate: 1/s, burst: 5}", false, false, 404, REASON_no_route, "\"per_key\";r=4;t=1"},
        {"{rate: 1/s, burst: 5}", false, false, 200, REASON_replied, "\"per_key\";r=4;t=1"},
        {"{rate: 1/s, burst: 5}", false, false, 503, REASON_replied, "\"per_key\";r=4;t=1"},      /* a route says so */
        {"{rate: 1/s, burst: 5}", false, false, 429, REASON_replied, "\"per_key\";r=4;t=1"},
        {"{rate: 1/s, burst: 5}", false, false, 503, REASON_queue_full, NULL},   /* it will be given back */
        {"{rate: 1/s, burst: 5}", false, false, 200, REASON_breaker_open, NULL}, /* ... also if the fallback is an answer */
        {"{rate: 1/s, burst: 5}", false, false, 429, REASON_rate_limited, NULL},
        {"{rate: 1/s, burst: 5, headers: false}", false, false, 200, REASON_none, NULL},
        {"{rate: 1/s, burst: 5}", true, false, 200, REASON_none, NULL},
        {"{rate: 1/s, burst: 1}", false, true, 429, REASON_rate_limited, NULL},  /* the reply says it already */
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct http_head h = {.status = (uint16_t)rows[i].status};
        struct bucket b;
        struct ask a;
        test_row("%zu", i);
        begin(&b, rows[i].yaml, 0);
        if (rows[i].refused)
            pass(&b, 0, 1);
        ask_begin(&a, &b, 0);
        a.req.resp = &h;
        a.call.shadow = rows[i].shadow;
        EXPECT_EQ(type->on_request(&a.call), rows[i].refused ? FILTER_REPLY : FILTER_NEXT);
        a.call.now = NSEC_PER_SEC;                   /* what is told is what was decided */
        a.call.reason = rows[i].reason;
        EXPECT_EQ(type->on_response(&a.call), FILTER_NEXT);
        EXPECT_STR(http_head_get(&h, STR("ratelimit")), rows[i].field);
        EXPECT_EQ(http_head_count(&h, STR("RateLimit-Policy")), rows[i].field != NULL);
        ask_end(&a, REASON_none, true);
        end(&b);
    }
}

TEST(what_stands_for_a_key)
{
    struct bucket b;
    struct page p = {.len = 0};
    struct str values[2] = {STR("192.0.2.1"), STR("x")};

    begin(&b, "{rate: 10/s, burst: 3, key: [header:x, client_ip + cookie:c], cost: 2}", 0);
    EXPECT_EQ(pass(&b, 0, 10), 1);
    EXPECT(type->key_print(b.shared, b.options, values, 1, 50 * NSEC_PER_MSEC, &p));
    EXPECT_CSTR(p.at, ",\"key\":[{\"by\":\"header:x\",\"left\":3,\"burst\":3,\"wait_ms\":0,\"full_ms\":0},"
                      "{\"by\":\"client_ip\",\"left\":1,\"burst\":3,\"wait_ms\":50,\"full_ms\":150}]");
    page_free(&p);
    EXPECT(type->key_print(b.shared, b.options, values, 2, 0, &p));
    EXPECT_CSTR(p.at, ",\"key\":[{\"by\":\"client_ip + cookie:c\",\"left\":3,\"burst\":3,\"wait_ms\":0,\"full_ms\":0}]");
    page_free(&p);
    EXPECT(!type->key_print(b.shared, b.options, values, 0, 0, &p));
    EXPECT(p.at == NULL);
    EXPECT(type->key_print(b.shared, b.options, values + 1, 1, 0, &p));
    EXPECT_CSTR(p.at, ",\"key\":[{\"by\":\"header:x\",\"left\":3,\"burst\":3,\"wait_ms\":0,\"full_ms\":0}]");
    page_free(&p);
    EXPECT_EQ(figure(&b, "token_bucket_keys", NULL), 1);
    end(&b);

    begin(&b, "{rate: 10/s, burst: 3, key: [header:x, client_ip]}", 0);          /* not told twice */
    EXPECT(type->key_print(b.shared, b.options, values, 1, 0, &p));
    EXPECT_CSTR(p.at, ",\"key\":[{\"by\":\"header:x\",\"left\":3,\"burst\":3,\"wait_ms\":0,\"full_ms\":0},"
                      "{\"by\":\"client_ip\",\"left\":3,\"burst\":3,\"wait_ms\":0,\"full_ms\":0}]");
    page_free(&p);
    end(&b);

    begin(&b, "{rate: 10/s, burst: 3, key: all}", 0);
    EXPECT(!type->key_print(b.shared, b.options, values, 1, 0, &p));
    EXPECT(type->key_print(b.shared, b.options, values, 0, 0, &p));
    EXPECT_CSTR(p.at, ",\"key\":[{\"by\":\"all\",\"left\":3,\"burst\":3,\"wait_ms\":0,\"full_ms\":0}]");
    page_free(&p);
    end(&b);
}

/* ---- reloads and threads ---- */

TEST(a_reload_keeps_what_is_owed_and_mints_nothing)
{
    struct bucket b;
    uint64_t now = 5 * NSEC_PER_SEC, wait;
    begin(&b, "{rate: 10/s, burst: 10}", now);
    EXPECT_EQ(pass(&b, now, 8), 8);

    reload(&b, "{rate: 10/s, burst: 10}", now + NSEC_PER_SEC / 10);         /* nothing changed: nor does the bucket */
    EXPECT_EQ(pass(&b, now + NSEC_PER_SEC / 10, 100), 3);

    now += NSEC_PER_SEC / 10;
    for (int i = 0; i < 20; i++) {
        reload(&b, "{rate: 1/h, burst: 1}", now);
        reload(&b, "{rate: 10/s, burst: 10}", now);
    }
    EXPECT_EQ(pass(&b, now, 100), 0);
    EXPECT_EQ(ask(&b, now, &wait), FILTER_REPLY);
    EXPECT_EQ(wait, NSEC_PER_SEC / 10);

    reload(&b, "{rate: 1000/s, burst: 10}", now);                           /* the debt of 10 is paid back faster */
    EXPECT_EQ(ask(&b, now, &wait), FILTER_REPLY);
    EXPECT_EQ(wait, NSEC_PER_SEC / 1000);
    EXPECT_EQ(pass(&b, now + 5 * NSEC_PER_SEC / 1000, 100), 5);

    reload(&b, "{rate: 1000/s, burst: 10, key: [header:x, client_ip]}", now + 5 * NSEC_PER_SEC / 1000);
    EXPECT_EQ(pass(&b, now + 5 * NSEC_PER_SEC / 1000, 100), 0);             /* written otherwise, the same caller */
    end(&b);
}

/* What was said on stderr, by lines of the process's own log. */
static void heard(void (*run)(struct bucket *, const char *, uint64_t), struct bucket *b, const char *yaml, char *out,
                  size_t cap)
{
    FILE *file = tmpfile();
    int before = dup(STDERR_FILENO);

    fflush(stderr);
    dup2(fileno(file), STDERR_FILENO);
    run(b, yaml, NSEC_PER_SEC);
    dup2(before, STDERR_FILENO);
    close(before);
    rewind(file);
    out[fread(out, 1, cap - 1, file)] = '\0';
    fclose(file);
}

TEST(a_reload_does_not_change_max_keys_and_says_so)
{
    struct bucket b;
    char said[300];
    begin(&b, "{rate: 1/s, max_keys: 10}", 0);
    heard(reload, &b, "{rate: 1/s, max_keys: 20}", said, sizeof said);
    EXPECT(strstr(said, " warn token_bucket: per_key: max_keys stays 10; 20 takes effect at a restart\n") != NULL);
    heard(reload, &b, "{rate: 2/s, max_keys: 10}", said, sizeof said);
    EXPECT_CSTR(said, "");
    end(&b);
}

enum { THREADS = 4, ROUNDS = 300, BURST = 1000, TOKENS_A_ROUND = 50 };

struct hammer {
    pthread_barrier_t barrier;
    struct bucket bucket;
    _Atomic unsigned admitted;
    _Atomic unsigned worker;
    _Atomic uint64_t now;
    _Atomic bool over;
};

static bool hammer_once(struct hammer *h, unsigned worker)
{
    struct ask a;
    ask_begin(&a, &h->bucket, h->now);
    a.call.worker = worker;
    bool ok = type->on_request(&a.call) == FILTER_NEXT;
    ask_end(&a, REASON_none, ok);
    if (ok)
        h->admitted++;
    return ok;
}

/* All ask at the same instant until each is refused, then the clock goes on. */
static void *hammer_in_step(void *arg)
{
    struct hammer *h = arg;
    unsigned worker = h->worker++;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&h->barrier);
        while (hammer_once(h, worker))
            ;
        pthread_barrier_wait(&h->barrier);
    }
    return NULL;
}

TEST(four_workers_at_once_get_exactly_what_one_would)
{
    struct hammer h = {.now = NSEC_PER_SEC};
    pthread_t threads[THREADS];

    begin(&h.bucket, "{rate: 1000/s, burst: 1000}", h.now);
    pthread_barrier_init(&h.barrier, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, hammer_in_step, &h), 0);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&h.barrier);
        pthread_barrier_wait(&h.barrier);
        EXPECT_EQ(h.admitted, BURST + round * TOKENS_A_ROUND);
        h.now += TOKENS_A_ROUND * NSEC_PER_SEC / 1000;
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    EXPECT_EQ(decisions(&h.bucket, "allowed"), h.admitted);
    EXPECT_EQ(decisions(&h.bucket, "refused"), ROUNDS * THREADS);
    pthread_barrier_destroy(&h.barrier);
    end(&h.bucket);
}

static void *hammer_free(void *arg)
{
    struct hammer *h = arg;
    while (!h->over)
        hammer_once(h, 0);
    return NULL;
}

/*
 * While the rule is changed, nobody decides by half a rule. The rules are such that a torn one shows: neither is faster
 * than 1/s, but the tokens of the first in the period of the second are 1000/s. The workers stand ten seconds after the
 * changes: ten tokens by a true rule, ten thousand by a torn one, and the cell would stand as far ahead.
 */
TEST(a_reload_under_load_mints_nothing)
{
    struct hammer h = {.now = 3610 * NSEC_PER_SEC};
    pthread_t threads[THREADS];
    void *rules[2];
    uint64_t wait;

    begin(&h.bucket, "{rate: 1000/h, burst: 5}", 3600 * NSEC_PER_SEC);
    rules[0] = h.bucket.options;
    options_must_read(&h.bucket, "{rate: 1/s, burst: 5}");
    rules[1] = h.bucket.options;
    for (int i = 0; i < THREADS; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, hammer_free, &h), 0);
    while (h.admitted == 0)
        sched_yield();
    for (int i = 1; i <= 100000; i++)
        type->shared_adopt(h.bucket.shared, rules[i % 2], false, 3600 * NSEC_PER_SEC);
    h.over = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    EXPECT(h.admitted >= 5);
    EXPECT(h.admitted <= 15);
    ask(&h.bucket, h.now, &wait);
    EXPECT(wait <= 60 * NSEC_PER_SEC);
    end(&h.bucket);
}
