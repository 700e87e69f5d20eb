/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token bucket for all requests that pass an instance, whatever worker they came to: exact for the process.
 *
 * The arithmetic is limit_algo.h's. The bucket is one atomic cell, charged by compare and exchange on a local copy; a
 * refusal writes nothing. The rule is read by all workers and replaced by the control thread when a reload changed it.
 * It is kept twice: `turn` says which copy is the rule, the other one is written first, then `turn` goes on. A reader
 * looks at `turn` again after reading and starts over if it moved, and so never decides by half a rule; a writer that
 * is stopped in the middle holds up nobody, for it is not the copy being read that it writes. All words are atomics,
 * with acquire and release on each: a reader that saw one word of a newer rule also sees that `turn` had moved.
 *
 * A decision by the rule of a moment ago, while it is being replaced, counts as made before the change: cells only grow
 * by what is admitted, so nothing is minted.
 *
 * What it does not do: keys, costs, waiting for a token. It stands on listeners and routes alone: an upstream would be
 * charged once for a leg and not for its retries.
 */
#include "filters/token_bucket.h"

#include <stdatomic.h>
#include "conf/field.h"
#include "conf/load.h"
#include "filter.h"
#include "lib/clock.h"
#include "reply.h"

#define BURST_MAX 1000000000u

struct token_bucket_options {
    struct rate rate;
    uint64_t burst;              /* tokens */
};

static const struct field token_bucket_fields[] = {
    {.key = "rate", .type = FIELD_RATE, .offset = offsetof(struct token_bucket_options, rate), .required = true,
     .help = "How many requests pass in the long run, as 100/s, 6000/min or 10/h; at most 1,000,000 a second."},
    {.key = "burst", .type = FIELD_COUNT, .offset = offsetof(struct token_bucket_options, burst), .min = 1,
     .max = BURST_MAX,
     .help = "How many may pass at once after a pause; without it, half a second of the rate, at least 1."},
    {.type = FIELD_END},
};

enum { RULE_V0, RULE_T0, RULE_TOKENS, RULE_PERIOD, RULE_BURST, RULE_WORDS };

struct token_bucket {
    _Atomic uint64_t cell;                 /* workers write */
    char apart[56];                        /* the rule, which hardly ever changes, is not in the cell's cache line */
    _Atomic uint64_t turn;                 /* its last bit: which copy is the rule; control writes */
    _Atomic uint64_t copies[2][RULE_WORDS];
};

static void copy_load(_Atomic uint64_t *copy, struct limit_rule *r)
{
    r->v0 = atomic_load_explicit(&copy[RULE_V0], memory_order_acquire);
    r->t0 = atomic_load_explicit(&copy[RULE_T0], memory_order_acquire);
    r->tokens = atomic_load_explicit(&copy[RULE_TOKENS], memory_order_acquire);
    r->period = atomic_load_explicit(&copy[RULE_PERIOD], memory_order_acquire);
    r->burst = atomic_load_explicit(&copy[RULE_BURST], memory_order_acquire);
}

static void copy_store(_Atomic uint64_t *copy, const struct limit_rule *r)
{
    atomic_store_explicit(&copy[RULE_V0], r->v0, memory_order_release);
    atomic_store_explicit(&copy[RULE_T0], r->t0, memory_order_release);
    atomic_store_explicit(&copy[RULE_TOKENS], r->tokens, memory_order_release);
    atomic_store_explicit(&copy[RULE_PERIOD], r->period, memory_order_release);
    atomic_store_explicit(&copy[RULE_BURST], r->burst, memory_order_release);
}

static void rule_load(struct token_bucket *b, struct limit_rule *r)
{
    uint64_t turn;
    do {
        turn = atomic_load_explicit(&b->turn, memory_order_acquire);
        copy_load(b->copies[turn & 1], r);
    } while (atomic_load_explicit(&b->turn, memory_order_relaxed) != turn);
}

static void rule_store(struct token_bucket *b, const struct limit_rule *r)
{
    uint64_t turn = atomic_load_explicit(&b->turn, memory_order_relaxed) + 1;
    copy_store(b->copies[turn & 1], r);
    atomic_store_explicit(&b->turn, turn, memory_order_release);
}

/* POLICY: half a second of the rate, at least 1. */
static uint64_t default_burst(const struct rate *rate)
{
    unsigned __int128 tokens = (unsigned __int128)rate->tokens * (NSEC_PER_SEC / 2) / rate->period;
    return tokens ? (uint64_t)tokens : 1;
}

static int token_bucket_check(void *options, struct load *load, struct err *err)
{
    struct token_bucket_options *o = options;

    if (o->rate.tokens == 0 || o->rate.period == 0)
        return yaml_err(err, load, load->node, "rate: must be above 0; to refuse all, use a route with `respond`");
    if ((unsigned __int128)o->rate.tokens * NSEC_PER_SEC > (unsigned __int128)o->rate.period * LIMIT_RATE_MAX)
        return yaml_err(err, load, load->node, "rate: must be at most 1000000/s");
    if (o->burst == 0)
        o->burst = default_burst(&o->rate);
    return 0;
}

static void token_bucket_adopt(void *shared, const void *options, bool fresh, uint64_t now)
{
    const struct token_bucket_options *o = options;
    struct token_bucket *b = shared;
    uint64_t burst = o->burst * LIMIT_UNIT;
    struct limit_rule r = {.v0 = 0, .t0 = now, .tokens = o->rate.tokens, .period = o->rate.period, .burst = burst};

    if (!fresh) {
        rule_load(b, &r);
        if (r.tokens == o->rate.tokens && r.period == o->rate.period && r.burst == burst)
            return;
        limit_rule_change(&r, o->rate.tokens, o->rate.period, burst, now);
    }
    rule_store(b, &r);
}

struct limit_result token_bucket_take(struct token_bucket *b, uint64_t now)
{
    struct limit_rule rule;
    uint64_t seen = atomic_load_explicit(&b->cell, memory_order_relaxed);

    rule_load(b, &rule);
    for (;;) {
        uint64_t next = seen;
        struct limit_result res = limit_take(&next, &rule, LIMIT_UNIT, now);
        if (!res.ok || atomic_compare_exchange_weak_explicit(&b->cell, &seen, next, memory_order_relaxed,
                                                             memory_order_relaxed))
            return res;
    }
}

static enum verdict answer(struct call *call, struct limit_result res)
{
    if (res.ok)
        return FILTER_NEXT;
    reply_reason(call->req, call->reply, REASON_rate_limited, str_of(NULL, 0));
    call->reply->retry_after = res.wait;
    return FILTER_REPLY;
}

static enum verdict token_bucket_on_request(struct call *call)
{
    return answer(call, token_bucket_take(call->shared, call->now));
}

static enum verdict token_bucket_peek(struct call *call)
{
    struct token_bucket *b = call->shared;
    struct limit_rule rule;

    rule_load(b, &rule);
    return answer(call, limit_peek(atomic_load_explicit(&b->cell, memory_order_relaxed), &rule, LIMIT_UNIT, call->now));
}

const struct filter filter_token_bucket = {
    .name = "token_bucket",
    .help = "Lets requests pass at a rate with bursts, and answers 429 to those above it.",
    .places = PLACE_LISTENER | PLACE_ROUTE,
    .fields = token_bucket_fields,
    .options_size = sizeof(struct token_bucket_options),
    .shared_size = sizeof(struct token_bucket),
    .options_check = token_bucket_check,
    .shared_adopt = token_bucket_adopt,
    .on_request = token_bucket_on_request,
    .peek = token_bucket_peek,
};
