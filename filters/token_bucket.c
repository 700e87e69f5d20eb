/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Token buckets: one for each key, for all requests that pass an instance, whatever worker they came to.
 *
 * The arithmetic is limit_algo.h's, the table of buckets limit_store.h's, the keys limit_key.h's; here they meet a request.
 * A refusal charges nothing and says the exact wait. With `delay` a request that would soon pass is charged at once and
 * waits for its time, so that those behind it are told theirs.
 *
 * What was charged comes back when weir itself refuses before anything was sent: a 429 of a limit behind this one, a 503.
 * All else stays charged: an answer of the upstream, whatever it is, a caller who left, other refusals. A charge that was
 * delayed stays too: others were told their times by it.
 *
 * A reload changes the rule and nothing that is owed; max_keys it cannot change.
 *
 * It stands on listeners and routes alone: an upstream would be charged once for a leg and not for its retries. It does not
 * know costs that are known only afterwards.
 */
#include "conf/field.h"
#include "conf/load.h"
#include "figure.h"
#include "filter.h"
#include "filters/limit_key.h"
#include "filters/limit_store.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/page.h"
#include "lib/rng.h"
#include "lib/tally.h"
#include "reply.h"
#include "request.h"

#define BURST_MAX    1000000000u
#define MAX_KEYS_MAX 100000000u
#define DELAY_MAX    (3600 * NSEC_PER_SEC)

struct token_bucket_options {
    struct rate rate;
    uint64_t burst, cost;        /* tokens */
    uint64_t max_keys;
    uint64_t delay;              /* ns */
    bool headers;
    struct limit_key key;
    struct str name;             /* of the instance */
    struct str policy;           /* RateLimit-Policy, whole: "per_key";q=100;w=1 */
    struct str item;             /* RateLimit, what is always the same: "per_key";r= */
};

static const struct field token_bucket_fields[] = {
    {.key = "rate", .type = FIELD_RATE, .offset = offsetof(struct token_bucket_options, rate), .required = true,
     .help = "How many tokens a bucket gets, as 100/s, 6000/min or 10/h; at most 1,000,000 a second."},
    {.key = "burst", .type = FIELD_COUNT, .offset = offsetof(struct token_bucket_options, burst), .min = 1,
     .max = BURST_MAX,
     .help = "How many it holds, to be taken at once after a pause; without it, half a second of the rate, at least 1."},
    {.key = "key", .type = FIELD_CUSTOM, .offset = offsetof(struct token_bucket_options, key), .fallback = "client_ip",
     .parse = limit_key_parse, .form = LIMIT_KEY_FORM, .json = LIMIT_KEY_JSON,
     .help = "Who has a bucket of his own; who lacks all of it is limited by his address. The same part twice in a request "
             "is answered 400."},
    {.key = "cost", .type = FIELD_COUNT, .offset = offsetof(struct token_bucket_options, cost), .min = 1, .max = BURST_MAX,
     .fallback = "1", .help = "How many tokens a request takes."},
    {.key = "max_keys", .type = FIELD_COUNT, .offset = offsetof(struct token_bucket_options, max_keys), .min = 1,
     .max = MAX_KEYS_MAX, .fallback = "1000000",
     .help = "How many buckets are kept, in about 22 bytes each; beyond it the fullest are forgotten. A reload does not "
             "change it."},
    {.key = "delay", .type = FIELD_DURATION, .offset = offsetof(struct token_bucket_options, delay), .max = DELAY_MAX,
     .fallback = "0s", .help = "How long a request may wait for its tokens before it is refused."},
    {.key = "headers", .type = FIELD_BOOL, .offset = offsetof(struct token_bucket_options, headers), .fallback = "true",
     .help = "Whether answers to requests that passed carry RateLimit and RateLimit-Policy, as refusals always do."},
    {.type = FIELD_END},
};

enum decision { DECISION_ALLOWED, DECISION_DELAYED, DECISION_REFUSED, DECISION_AMBIGUOUS, DECISION_REFUNDED };

struct token_bucket {
    struct limit_store *store;
    struct hash_key secret;
    struct tally tally;                    /* by enum decision */
};

struct token_bucket_state {
    uint64_t key;                          /* what was charged, and where: for the refund */
    struct limit_mark from;
    uint64_t left, full;                   /* as decided: for the answer */
    uint64_t until;                        /* it may pass from then on */
    bool charged, delayed;
};

/* ---- loading ---- */

/* POLICY: half a second of the rate, at least 1. */
static uint64_t default_burst(const struct rate *rate)
{
    unsigned __int128 tokens = (unsigned __int128)rate->tokens * (NSEC_PER_SEC / 2) / rate->period;
    return tokens ? (uint64_t)tokens : 1;
}

/* A string of RFC 9651 3.3.3; what it cannot hold is a "?". */
static struct str sf_string(struct arena *arena, struct str text)
{
    char *out = arena_alloc(arena, 2 * text.len + 2);
    size_t n = 0;

    out[n++] = '"';
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (c == '"' || c == '\\')
            out[n++] = '\\';
        out[n++] = c >= ' ' && c <= '~' ? c : '?';
    }
    out[n++] = '"';
    return str_of(out, n);
}

/* The window is what fills the bucket, and the quota what comes in it. */
static void fields_prepare(struct token_bucket_options *o, struct load *load)
{
    unsigned __int128 second = (unsigned __int128)o->rate.tokens * NSEC_PER_SEC;      /* tokens, times the period */
    unsigned __int128 window = ((unsigned __int128)o->burst * o->rate.period + second - 1) / second;
    struct str name = sf_string(load->arena, load->name);

    o->name = load->name;
    o->policy = arena_printf(load->arena, STR_FMT ";q=%llu;w=%llu", STR_ARG(name),
                             (unsigned long long)(second * window / o->rate.period), (unsigned long long)window);
    o->item = arena_printf(load->arena, STR_FMT ";r=", STR_ARG(name));
}

static int token_bucket_check(void *options, struct load *load)
{
    struct token_bucket_options *o = options;
    bool given = o->burst != 0;
    int res = 0;

    if (!given)
        o->burst = default_burst(&o->rate);
    if (o->cost > o->burst)
        res = load_err(load, yaml_get(load->node, "cost"), CODE_over_burst,
                        "cost: %llu is above the burst of %llu%s: no request could "
                        "ever pass; say a burst of at least %llu", (unsigned long long)o->cost,
                        (unsigned long long)o->burst, given ? "" : " (half a second of the rate)",
                        (unsigned long long)o->cost);
    if (!limit_store_fits(o->max_keys))
        res = load_err(load, yaml_get(load->node, "max_keys"), CODE_conflict,
                        "max_keys: there is no address space for a table of %llu",
                        (unsigned long long)o->max_keys);
    fields_prepare(o, load);
    return limit_key_check(&o->key, load) != 0 ? -1 : res;
}

static void token_bucket_adopt(void *shared, const void *options, bool fresh, uint64_t now)
{
    const struct token_bucket_options *o = options;
    struct token_bucket *b = shared;
    uint64_t burst = o->burst * LIMIT_UNIT;
    struct limit_rule r = {.v0 = 0, .t0 = now, .tokens = o->rate.tokens, .period = o->rate.period, .burst = burst};

    if (fresh) {
        rng_entropy(&b->secret, sizeof(b->secret));
        b->store = limit_store_new(o->max_keys, &r);
        return;
    }
    if (limit_store_max_keys(b->store) != o->max_keys)
        log_warn("token_bucket", STR_FMT ": max_keys stays %llu; %llu takes effect at a restart", STR_ARG(o->name),
                 (unsigned long long)limit_store_max_keys(b->store), (unsigned long long)o->max_keys);
    limit_store_rule(b->store, &r);
    if (r.tokens == o->rate.tokens && r.period == o->rate.period && r.burst == burst)
        return;
    limit_rule_change(&r, o->rate.tokens, o->rate.period, burst, now);
    limit_store_set_rule(b->store, &r);
}

static void token_bucket_fini(void *shared)
{
    struct token_bucket *b = shared;
    limit_store_free(b->store);
}

/* ---- deciding ---- */

static uint64_t cost_of(const struct token_bucket_options *o) { return o->cost * LIMIT_UNIT; }

static uint64_t up(uint64_t ns, uint64_t unit) { return ns / unit + (ns % unit != 0); }

static struct str ratelimit_of(const struct token_bucket_options *o, struct request *r, uint64_t left, uint64_t full)
{
    size_t cap = o->item.len + 3 + 2 * 20;
    char *text = arena_alloc(request_arena(r), cap);
    struct json j = json_init(text, cap);      /* integers of RFC 9651 are written as JSON's */

    json_raw(&j, o->item);
    json_u64(&j, left / LIMIT_UNIT);
    json_raw(&j, STR(";t="));
    json_u64(&j, up(full, NSEC_PER_SEC));
    check(!j.full);
    return str_of(text, (size_t)(j.at - text));
}

static enum verdict refuse(struct call *call, const struct limit_result *res)
{
    const struct token_bucket_options *o = call->options;
    bool never = res->wait == LIMIT_NEVER;

    reply_reason(call->req, call->reply, never ? REASON_cost_over_burst : REASON_rate_limited, str_of(NULL, 0));
    call->reply->retry_after = never ? 0 : res->wait;
    reply_header(call->req, call->reply, STR("RateLimit-Policy"), o->policy);
    reply_header(call->req, call->reply, STR("RateLimit"), ratelimit_of(o, call->req, res->left, res->full));
    return FILTER_REPLY;
}

static enum verdict ambiguous(struct call *call)
{
    call->reason = REASON_ambiguous_key;
    return FILTER_FAIL;
}

/* Who could pass at the deadline and no sooner is refused: nothing would be left of the request. */
static uint64_t wait_max(const struct call *call)
{
    const struct token_bucket_options *o = call->options;
    uint64_t deadline = o->delay ? request_deadline(call->req) : 0;
    uint64_t room = deadline > call->now ? deadline - call->now - 1 : 0;

    return o->delay < room ? o->delay : room;
}

static void count(const struct call *call, enum decision what)
{
    struct token_bucket *b = call->shared;
    tally_add(&b->tally, call->worker, what, 1);
}

static enum verdict pass_in_time(struct call *call)
{
    const struct token_bucket_state *s = call->state;

    if (call->shadow || call->now >= s->until)
        return FILTER_NEXT;
    wait_until(call, s->until);
    return FILTER_WAIT;
}

static enum verdict token_bucket_on_request(struct call *call)
{
    const struct token_bucket_options *o = call->options;
    struct token_bucket *b = call->shared;
    struct token_bucket_state *s = call->state;

    if (s->charged)                        /* it waited */
        return pass_in_time(call);
    if (!limit_key_of(&o->key, call->req, &b->secret, &s->key)) {
        count(call, DECISION_AMBIGUOUS);
        return ambiguous(call);
    }
    struct limit_result res = limit_store_take(b->store, s->key, cost_of(o), wait_max(call), call->now);
    if (!res.ok) {
        count(call, DECISION_REFUSED);
        return refuse(call, &res);
    }
    s->charged = true;
    s->delayed = res.wait > 0;
    s->from = res.from;
    s->left = res.left;
    s->full = res.full;
    s->until = time_after(call->now, res.wait);
    count(call, s->delayed ? DECISION_DELAYED : DECISION_ALLOWED);
    return pass_in_time(call);
}

static enum verdict token_bucket_peek(struct call *call)
{
    const struct token_bucket_options *o = call->options;
    struct token_bucket *b = call->shared;
    uint64_t key;

    if (!limit_key_of(&o->key, call->req, &b->secret, &key))
        return ambiguous(call);
    struct limit_result res = limit_store_peek(b->store, key, cost_of(o), call->now);
    return res.ok || res.wait <= wait_max(call) ? FILTER_NEXT : refuse(call, &res);
}

static bool is_refund_status(int status) { return status == 429 || status == 503; }

/* A refusal made here is no answer that passes: whoever refused speaks for itself, and what was charged comes back. A route that
 * responds, whatever its status, refuses nobody. */
static enum verdict token_bucket_on_response(struct call *call)
{
    const struct token_bucket_options *o = call->options;
    const struct token_bucket_state *s = call->state;
    struct http_head *h = response_head(call->req);
    bool refusal = is_refund_status(reason_status(call->reason));

    if (!o->headers || !s->charged || call->shadow || refusal)
        return FILTER_NEXT;
    http_head_add(h, request_arena(call->req), STR("RateLimit-Policy"), o->policy);
    http_head_add(h, request_arena(call->req), STR("RateLimit"), ratelimit_of(o, call->req, s->left, s->full));
    return FILTER_NEXT;
}

static void token_bucket_on_end(struct call *call, const struct outcome *out)
{
    const struct token_bucket_options *o = call->options;
    const struct token_bucket_state *s = call->state;
    struct token_bucket *b = call->shared;

    if (!s->charged || s->delayed || out->sent || !is_refund_status(reason_status(out->reason)))
        return;
    limit_store_refund(b->store, s->key, cost_of(o), s->from, call->now);
    count(call, DECISION_REFUNDED);
}

/* ---- telling ---- */

static const struct figure token_bucket_figures[] = {
    {"token_bucket_requests_total", FIGURE_COUNTER, "decision", "allowed",
     "Requests by what a token bucket decided; refunded ones are counted as allowed too."},
    {"token_bucket_requests_total", FIGURE_COUNTER, "decision", "delayed", NULL},
    {"token_bucket_requests_total", FIGURE_COUNTER, "decision", "refused", NULL},
    {"token_bucket_requests_total", FIGURE_COUNTER, "decision", "ambiguous", NULL},
    {"token_bucket_requests_total", FIGURE_COUNTER, "decision", "refunded", NULL},
    {"token_bucket_keys", FIGURE_GAUGE, NULL, NULL, "Buckets kept, those that are full again and not yet reused included."},
    {"token_bucket_slots", FIGURE_GAUGE, NULL, NULL, "Buckets that the memory taken so far has room for."},
    {"token_bucket_bytes", FIGURE_GAUGE, NULL, NULL, "Memory taken for buckets."},
    {"token_bucket_evicted_in_debt_total", FIGURE_COUNTER, NULL, NULL,
     "Buckets forgotten before they were full again, because there were more keys than max_keys."},
    {.name = NULL},
};

static void token_bucket_figures_read(void *shared, const void *options, uint64_t now, union figure_value *v)
{
    const struct token_bucket *b = shared;
    struct limit_store_stats stats;

    (void)options;
    (void)now;
    for (unsigned d = DECISION_ALLOWED; d <= DECISION_REFUNDED; d++)
        (v++)->n = tally_sum(&b->tally, d);
    limit_store_stats(b->store, &stats);
    (v++)->n = stats.used;
    (v++)->n = stats.slots;
    (v++)->n = stats.bytes;
    v->n = stats.evicted_in_debt;
}

static void bucket_print(const struct token_bucket *b, const struct token_bucket_options *o, struct str by, uint64_t key,
                         uint64_t now, struct page *p)
{
    struct limit_result is = limit_store_peek(b->store, key, 0, now);
    struct limit_result next = limit_store_peek(b->store, key, cost_of(o), now);

    page_printf(p, "{\"by\":");
    page_json(p, by);
    page_printf(p, ",\"left\":%llu,\"burst\":%llu,\"wait_ms\":%llu,\"full_ms\":%llu}",
                (unsigned long long)(is.left / LIMIT_UNIT), (unsigned long long)o->burst,
                (unsigned long long)up(next.wait, NSEC_PER_MSEC), (unsigned long long)up(is.full, NSEC_PER_MSEC));
}

/* Is the fall-back written out? Nothing stands behind it then (limit_key.c). */
static bool ends_with_client_ip(const struct limit_key *k)
{
    const struct limit_alternative *last = k->n ? &k->v[k->n - 1] : NULL;
    return last && last->n == 1 && last->parts[0].type == PART_CLIENT_IP;
}

static bool token_bucket_key_print(void *shared, const void *options, const struct str *values, size_t n, uint64_t now,
                                   struct page *p)
{
    const struct token_bucket_options *o = options;
    const struct token_bucket *b = shared;
    size_t ways = o->key.n + !ends_with_client_ip(&o->key), printed = 0;

    for (size_t i = 0; i < ways; i++) {
        struct str by = i < o->key.n ? o->key.v[i].text : o->key.n ? STR("client_ip") : STR("all");
        uint64_t key;
        if (!limit_key_of_values(&o->key, i, values, n, &b->secret, &key))
            continue;
        page_printf(p, "%s", printed++ ? "," : ",\"key\":[");
        bucket_print(b, o, by, key, now, p);
    }
    if (printed)
        page_printf(p, "]");
    return printed > 0;
}

static bool rule_same(const struct token_bucket_options *a, const struct token_bucket_options *b)
{
    return a->rate.tokens == b->rate.tokens && a->rate.period == b->rate.period && a->burst == b->burst && a->cost == b->cost;
}

/* Who owes so much that the next request would not fit into what a bucket holds then. With `delay` he waits instead. */
static void over_say(const struct token_bucket *b, const struct token_bucket_options *to, uint64_t now, struct plan_notes *notes)
{
    struct limit_store_owing owing;
    limit_store_owing(b->store, (to->burst - to->cost) * LIMIT_UNIT, now, &owing);
    if (owing.over > 0)
        plan_say(notes, PLAN_OVER, "%s%llu of %llu callers with a debt owe too much for the next request: they %s until enough is "
                 "paid back", owing.all ? "" : "at least ", (unsigned long long)owing.over, (unsigned long long)owing.owe,
                 to->delay ? "wait, or are refused," : "are refused");
    else if (owing.owe > 0)
        plan_say(notes, PLAN_KEEPS, "%s%llu caller%s a debt, and none is refused for it", owing.all ? "" : "at least ",
                 (unsigned long long)owing.owe, owing.owe == 1 ? " has" : "s have");
    else
        plan_say(notes, PLAN_KEEPS, "nobody owes anything now");
}

static void token_bucket_plan(void *shared, const void *was, const void *is, uint64_t now, struct plan_notes *notes)
{
    const struct token_bucket_options *from = was, *to = is;
    const struct token_bucket *b = shared;
    bool same_keys = limit_key_same(&from->key, &to->key);

    if (!same_keys)
        plan_say(notes, PLAN_KEEPS, "callers are told apart in another way: whose key is new begins with a full bucket");
    else if (!rule_same(from, to))
        plan_say(notes, PLAN_KEEPS, "what callers owe stays owed; a full bucket holds %llu, and %llu before",
                 (unsigned long long)to->burst, (unsigned long long)from->burst);
    if (b && same_keys && !rule_same(from, to))
        over_say(b, to, now, notes);
    uint64_t kept = b ? limit_store_max_keys(b->store) : from->max_keys;
    if (kept != to->max_keys)
        plan_say(notes, PLAN_RESTART, "max_keys stays %llu until a restart", (unsigned long long)kept);
}

const struct filter filter_token_bucket = {
    .name = "token_bucket",
    .help = "Lets each caller's requests pass at a rate with bursts, and answers 429 to those above it.",
    .places = PLACE_LISTENER | PLACE_ROUTE,
    .fields = token_bucket_fields,
    .options_size = sizeof(struct token_bucket_options),
    .shared_size = sizeof(struct token_bucket),
    .state_size = sizeof(struct token_bucket_state),
    .options_check = token_bucket_check,
    .shared_adopt = token_bucket_adopt,
    .shared_fini = token_bucket_fini,
    .on_request = token_bucket_on_request,
    .on_response = token_bucket_on_response,
    .on_end = token_bucket_on_end,
    .peek = token_bucket_peek,
    .figures = token_bucket_figures,
    .figures_read = token_bucket_figures_read,
    .plan = token_bucket_plan,
    .key_print = token_bucket_key_print,
};
