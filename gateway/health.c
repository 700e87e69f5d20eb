/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoints going out and coming back; health.h says when.
 *
 * An endpoint that is well is one word that is 0, so that a pick costs a load each. An ejection ends by the clock and not by
 * a timer: who asks first after it says so in the log, and who asks first after the ramp puts the 0 back.
 *
 * Whoever takes an endpoint out has the upstream's turn meanwhile, so that two workers cannot eject more than the cap
 * together. A worker that finds the turn taken does not wait: the row of failures stands, and the next one asks again. Who
 * brings the result of a check, or opens the state of a new configuration, waits for it, for the time of a few stores.
 *
 * The rolling window is kept apart for workers in stripes, and added up only when an attempt failed. A word of it holds the
 * number of its slot in time, and counts of bad attempts and of all; at the end of their range both are halved, which keeps
 * their ratio. Counts may miss what is added while a slot changes hands: a few in a row of thousands.
 */
#include "health.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include "conf/shared.h"
#include "lib/check.h"
#include "lib/log.h"
#include "lib/mem.h"

enum { EPOCH_BITS = 28, COUNT_BITS = 18, STATUS_CAUSE = 0x10000 };

#define COUNT_MAX ((UINT64_C(1) << COUNT_BITS) - 1)
#define EPOCH_MAX ((UINT64_C(1) << EPOCH_BITS) - 1)
#define LOWEST_SHARE (BALANCE_FULL / 10)

/* Never part of a chain: what shared state is found by. Zeroed state is ready, so any thread may open it. */
static const struct filter upstream_type = {
    .name = "health of an upstream", .help = "What health keeps of an upstream.", .shared_size = sizeof(struct health_upstream),
};
static const struct filter endpoint_type = {
    .name = "health of an endpoint", .help = "What health keeps of an endpoint.", .shared_size = sizeof(struct health_endpoint),
};

#define LOAD(at) atomic_load_explicit((at), memory_order_relaxed)
#define STORE(at, v) atomic_store_explicit((at), (v), memory_order_relaxed)

/* ---- turns ---- */

static bool turn_try(struct health *h) { return !atomic_exchange_explicit(&h->upstream->turn, true, memory_order_acquire); }

static void turn_take(struct health *h)
{
    while (!turn_try(h))
        sched_yield();
}

static void turn_end(struct health *h) { atomic_store_explicit(&h->upstream->turn, false, memory_order_release); }

/* ---- causes ---- */

static uint32_t cause_of(enum reason reason, int status)
{
    return status ? STATUS_CAUSE | (uint32_t)status : (uint32_t)reason;
}

static struct health_cause cause_text(uint32_t cause)
{
    struct health_cause c = {""};
    if (cause & STATUS_CAUSE)
        (void)snprintf(c.text, sizeof c.text, "%u", cause & 0xffff);
    else if (cause)
        (void)snprintf(c.text, sizeof c.text, "%s", reason_name((enum reason)cause));
    return c;
}

static const char *url_of(const struct health *h, size_t i) { return h->conf->endpoints[i].url.at; }

/* ---- the window ---- */

/* What counting goes on from when a slot is of another time, or full. */
static uint64_t slot_make(uint64_t old, uint64_t epoch)
{
    uint64_t all = old & COUNT_MAX, bads = old >> COUNT_BITS & COUNT_MAX;
    if (old >> (2 * COUNT_BITS) != epoch)
        all = bads = 0;
    return epoch << (2 * COUNT_BITS) | (bads / 2) << COUNT_BITS | all / 2;
}

static void window_add(struct health *h, struct health_endpoint *e, unsigned worker, bool bad, uint64_t now)
{
    uint64_t number = now / h->slot_ns, epoch = number & EPOCH_MAX;
    _Atomic uint64_t *slot = &e->stripes[worker % HEALTH_STRIPES].slots[number % HEALTH_SLOTS];
    uint64_t old = LOAD(slot), next;
    do {
        bool fits = old >> (2 * COUNT_BITS) == epoch && (old & COUNT_MAX) < COUNT_MAX;
        next = (fits ? old : slot_make(old, epoch)) + 1 + ((uint64_t)bad << COUNT_BITS);
    } while (!atomic_compare_exchange_weak_explicit(slot, &old, next, memory_order_relaxed, memory_order_relaxed));
}

static void window_sum(const struct health *h, const struct health_endpoint *e, uint64_t now, uint64_t *bads, uint64_t *all)
{
    uint64_t epoch = now / h->slot_ns;
    *bads = *all = 0;
    for (unsigned s = 0; s < HEALTH_STRIPES; s++) {
        for (unsigned i = 0; i < HEALTH_SLOTS; i++) {
            uint64_t w = LOAD(&e->stripes[s].slots[i]);
            if (((epoch - (w >> (2 * COUNT_BITS))) & EPOCH_MAX) >= HEALTH_SLOTS)
                continue;
            *bads += w >> COUNT_BITS & COUNT_MAX;
            *all += w & COUNT_MAX;
        }
    }
}

/* A life begins: what was counted belongs to the last one. */
static void counts_clear(struct health_endpoint *e)
{
    STORE(&e->streak, 0);
    for (unsigned s = 0; s < HEALTH_STRIPES; s++)
        for (unsigned i = 0; i < HEALTH_SLOTS; i++)
            STORE(&e->stripes[s].slots[i], 0);
}

/* ---- ejection ---- */

static bool is_out(const struct health_endpoint *e, uint64_t now)
{
    return LOAD(&e->back) > now || LOAD(&e->addresses) == 0;
}

static bool may_eject(const struct health *h, const struct health_endpoint *e, uint64_t now)
{
    size_t out = 1;
    if (is_out(e, now))
        return false;
    for (size_t i = 0; i < h->conf->n && out <= h->most_out; i++)
        out += is_out(h->v[i], now);
    return out <= h->most_out;
}

/* The turn is ours. Returns how long it is out. */
static uint64_t eject(struct health *h, struct health_endpoint *e, uint64_t now)
{
    const struct eject_conf *conf = &h->conf->eject;
    uint64_t was_for = LOAD(&e->ejected_for), was_until = LOAD(&e->ejected_until);
    bool again = was_for && now < time_after(was_until, was_for);
    uint32_t row = again ? LOAD(&e->in_a_row) : 0;
    row += row < UINT32_MAX;
    uint64_t length = conf->base > conf->max / row ? conf->max : conf->base * row;
    uint64_t until = time_after(now, length);
    STORE(&e->in_a_row, row);
    STORE(&e->ejected_for, length);
    STORE(&e->ejected_until, until);
    STORE(&e->out_since, now);
    STORE(&e->untold, true);
    STORE(&e->returned, until);
    counts_clear(e);
    STORE(&e->ejections, LOAD(&e->ejections) + 1);
    atomic_fetch_add_explicit(&h->upstream->ejections, 1, memory_order_relaxed);
    atomic_store_explicit(&e->back, until, memory_order_release);
    return length;
}

/* Returns why it is to be ejected, as a text; NULL: it is not. */
static const char *fault_of(const struct health *h, const struct health_endpoint *e, uint32_t streak, uint64_t now,
                            char *text, size_t cap)
{
    const struct eject_conf *conf = &h->conf->eject;
    uint64_t bads, all;
    if (conf->failures && streak >= conf->failures) {
        (void)snprintf(text, cap, "%" PRIu32 " failures in a row", streak);
        return text;
    }
    if (!conf->ratio)
        return NULL;
    window_sum(h, e, now, &bads, &all);
    if (all < conf->min_requests || bads * 10000 < all * conf->ratio)
        return NULL;
    (void)snprintf(text, cap, "%" PRIu64 " of %" PRIu64 " requests failed", bads, all);
    return text;
}

static void failed(struct health *h, size_t i, uint32_t cause, uint64_t now)
{
    struct health_endpoint *e = h->v[i];
    uint32_t streak = atomic_fetch_add_explicit(&e->streak, 1, memory_order_relaxed) + 1;
    char text[80];
    if (!may_eject(h, e, now) || !fault_of(h, e, streak, now, text, sizeof text) || !turn_try(h))
        return;
    uint64_t length = may_eject(h, e, now) ? eject(h, e, now) : 0;
    uint32_t row = LOAD(&e->in_a_row);
    turn_end(h);
    if (length)
        log_warn("health", STR_FMT ": %s: ejected for %.3f s, time %" PRIu32 " in a row: %s, the last: %s",
                 STR_ARG(h->conf->name), url_of(h, i), (double)length / NSEC_PER_SEC, row, text, cause_text(cause).text);
}

static bool status_is_bad(int status)
{
    return status == 500 || (status >= 502 && status <= 504) || status == 529;
}

/* What the endpoint said counts, whoever ended it then; then who ended it. */
enum health_mark health_mark(const struct outcome *out)
{
    bool satisfied = out->status != 0 && (out->reason == REASON_none || out->reason == REASON_replied);
    if (status_is_bad(out->status))
        return HEALTH_BAD;
    if (satisfied)
        return out->status >= 400 && out->status < 500 ? HEALTH_NEUTRAL : HEALTH_GOOD;
    switch (out->by) {
    case BY_CLIENT:
    case BY_US:
        return HEALTH_NEUTRAL;
    case BY_UPSTREAM:
        return HEALTH_BAD;
    case BY_DEADLINE:
        break;
    }
    if (out->reason == REASON_total_timeout)         /* an answer may be long; it was none that was slow */
        return out->first_byte ? HEALTH_NEUTRAL : HEALTH_BAD;
    return out->status == 101 ? HEALTH_NEUTRAL : HEALTH_BAD;         /* whoever ought to speak in a tunnel */
}

void health_report(struct health *h, size_t i, unsigned worker, const struct outcome *out)
{
    struct health_endpoint *e = h->v[i];
    enum health_mark mark = health_mark(out);
    if (mark == HEALTH_NEUTRAL)
        return;
    uint32_t cause = 0;
    if (mark == HEALTH_BAD) {
        cause = cause_of(out->reason, status_is_bad(out->status) ? out->status : 0);
        STORE(&e->last_failure, cause);
    }
    if (h->most_out == 0 || out->started < LOAD(&e->returned))
        return;
    if (h->conf->eject.ratio)
        window_add(h, e, worker, cause != 0, out->ended);
    if (cause)
        failed(h, i, cause, out->ended);
    else if (LOAD(&e->streak) != 0)
        STORE(&e->streak, 0);
}

/* ---- return ---- */

static double ramp_seconds(const struct health *h) { return (double)h->conf->slow_start / NSEC_PER_SEC; }

unsigned health_share(struct health *h, size_t i, uint64_t now)
{
    struct health_endpoint *e = h->v[i];
    uint64_t back = atomic_load_explicit(&e->back, memory_order_acquire), ramp = h->conf->slow_start;
    if (back == 0)
        return BALANCE_FULL;
    if (now < back)
        return 0;
    if (LOAD(&e->untold) && atomic_exchange(&e->untold, false))
        log_info("health", STR_FMT ": %s: back from its ejection, whole again in %.3f s", STR_ARG(h->conf->name),
                 url_of(h, i), ramp_seconds(h));
    uint64_t past = now - back;
    if (past < ramp)
        return LOWEST_SHARE + (unsigned)(past * (BALANCE_FULL - LOWEST_SHARE) / ramp);
    atomic_compare_exchange_strong(&e->back, &back, 0);      /* fails: it is out again, and the next pick sees that */
    return BALANCE_FULL;
}

/* ---- checks ---- */

static void go_down(struct health *h, size_t i, uint32_t fails, uint32_t cause, uint64_t now)
{
    struct health_endpoint *e = h->v[i];
    turn_take(h);
    STORE(&e->down, true);
    STORE(&e->out_since, now);
    STORE(&e->returned, TIME_NEVER);
    atomic_store_explicit(&e->back, TIME_NEVER, memory_order_release);
    turn_end(h);
    log_warn("health", STR_FMT ": %s: down: %" PRIu32 " check%s in a row failed, the last: %s", STR_ARG(h->conf->name),
             url_of(h, i), fails, fails == 1 ? "" : "s", cause_text(cause).text);
}

/* It stays out as long as it is ejected for. */
static void come_up(struct health *h, size_t i, const char *why, uint64_t now)
{
    struct health_endpoint *e = h->v[i];
    turn_take(h);
    uint64_t until = LOAD(&e->ejected_until), back = until > now ? until : now;
    STORE(&e->down, false);
    STORE(&e->returned, back);
    if (until <= now)
        STORE(&e->untold, false);
    counts_clear(e);
    atomic_store_explicit(&e->back, back, memory_order_release);
    turn_end(h);
    log_info("health", STR_FMT ": %s: up: %s, whole again in %.3f s", STR_ARG(h->conf->name), url_of(h, i), why,
             (double)(back - now) / NSEC_PER_SEC + ramp_seconds(h));
}

static bool status_is_wanted(const struct check_conf *conf, int status)
{
    for (size_t i = 0; i < conf->n_status; i++)
        if (status >= conf->status[i].from && status <= conf->status[i].to)
            return true;
    return false;
}

void health_checked(struct health *h, size_t i, enum reason reason, int status, uint64_t now)
{
    const struct check_conf *conf = &h->conf->check;
    struct health_endpoint *e = h->v[i];
    bool ok = reason == REASON_none && status_is_wanted(conf, status);
    if (!ok && reason == REASON_none && status == 429)
        return;                      /* it asks for less: that is pressure, of checks as of requests, and says not how it is */
    uint32_t passes = ok ? LOAD(&e->passes) + 1 : 0, fails = ok ? 0 : LOAD(&e->fails) + 1;
    char why[60];
    STORE(&e->passes, passes);
    STORE(&e->fails, fails);
    _Atomic uint64_t *of_endpoint = ok ? &e->checks_ok : &e->checks_failed;
    STORE(of_endpoint, LOAD(of_endpoint) + 1);
    atomic_fetch_add_explicit(ok ? &h->upstream->checks_ok : &h->upstream->checks_failed, 1, memory_order_relaxed);
    if (!ok) {
        uint32_t cause = cause_of(reason, reason == REASON_none ? status : 0);
        STORE(&e->last_failure, cause);
        if (!LOAD(&e->down) && fails >= conf->fall)
            go_down(h, i, fails, cause, now);
        return;
    }
    if (!LOAD(&e->down) || passes < conf->rise)
        return;
    (void)snprintf(why, sizeof why, "%" PRIu32 " check%s in a row passed", passes, passes == 1 ? "" : "s");
    come_up(h, i, why, now);
}

/* ---- handles ---- */

/* What took it out is no longer asked for. */
static void adopt(struct health *h, size_t i, uint64_t now)
{
    struct health_endpoint *e = h->v[i];
    if (h->most_out == 0 && LOAD(&e->ejected_until) > now) {
        turn_take(h);
        STORE(&e->ejected_until, now);
        turn_end(h);
        if (!LOAD(&e->down))
            come_up(h, i, "endpoints are not ejected any more", now);
    }
    if (LOAD(&e->down) && !h->conf->check.path.len)
        come_up(h, i, "it is not checked any more", now);
}

static struct health_endpoint *endpoint_open(struct health *h, size_t i, uint64_t now)
{
    const struct endpoint_conf *conf = &h->conf->endpoints[i];
    size_t len = h->conf->name.len + 1 + conf->url.len;
    char *name = mem_alloc(len + 1);             /* an upstream's name holds no blank */
    (void)snprintf(name, len + 1, STR_FMT " " STR_FMT, STR_ARG(h->conf->name), STR_ARG(conf->url));
    struct health_endpoint *e = shared_open(h->set, &endpoint_type, str_of(name, len), NULL, now);
    mem_free(name);
    uint64_t never = 0;
    atomic_compare_exchange_strong(&e->seen, &never, now);
    if (conf->address.len)
        STORE(&e->addresses, 1);
    return e;
}

struct health *health_open(struct shared_set *set, const struct upstream_conf *conf, uint64_t now)
{
    struct health *h = mem_zalloc(sizeof *h);
    h->conf = conf;
    h->set = set;
    h->upstream = shared_open(set, &upstream_type, conf->name, NULL, now);
    h->most_out = conf->eject.failures || conf->eject.ratio ? (size_t)((uint64_t)conf->n * conf->eject.share / 10000) : 0;
    h->slot_ns = conf->eject.window / HEALTH_SLOTS;
    h->v = mem_array(conf->n, sizeof *h->v);
    for (size_t i = 0; i < conf->n; i++) {
        h->v[i] = endpoint_open(h, i, now);
        adopt(h, i, now);
    }
    return h;
}

void health_close(struct health **at)
{
    struct health *h = *at;
    *at = NULL;
    if (!h)
        return;
    for (size_t i = 0; i < h->conf->n; i++)
        shared_close(h->set, h->v[i]);
    shared_close(h->set, h->upstream);
    mem_free(h->v);
    mem_free(h);
}

void healths_open(struct healths *all, struct snapshot *snap, uint64_t now)
{
    all->n = snap->n_upstreams;
    all->v = mem_array(all->n, sizeof(struct health *));
    for (size_t i = 0; i < all->n; i++)
        all->v[i] = health_open(snap->shared, &snap->upstreams[i], now);
}

void healths_close(struct healths *all)
{
    for (size_t i = 0; i < all->n; i++)
        health_close(&all->v[i]);
    mem_free(all->v);
    *all = (struct healths){NULL, 0};
}

/* ---- looking ---- */

void health_look(struct health *h, size_t i, uint64_t now, struct health_seen *seen)
{
    struct health_endpoint *e = h->v[i];
    uint64_t returned = LOAD(&e->returned), ramp = h->conf->slow_start;
    *seen = (struct health_seen){.share = health_share(h, i, now), .addresses = LOAD(&e->addresses),
                                 .ejections = LOAD(&e->ejections), .checks_ok = LOAD(&e->checks_ok),
                                 .checks_failed = LOAD(&e->checks_failed), .last_failure = cause_text(LOAD(&e->last_failure))};
    for (unsigned s = 0; s < HEALTH_STRIPES; s++)
        seen->in_flight += LOAD(&e->stripes[s].in_flight);
    if ((int64_t)seen->in_flight < 0)            /* an end was seen, and its beginning in another stripe was not */
        seen->in_flight = 0;
    if (seen->addresses == 0) {
        seen->state = HEALTH_UNRESOLVED;
        seen->share = 0;
        seen->since = LOAD(&e->seen);
    } else if (LOAD(&e->down)) {
        seen->state = HEALTH_DOWN;
        seen->since = LOAD(&e->out_since);
    } else if (seen->share == 0) {
        seen->state = HEALTH_EJECTED;
        seen->since = LOAD(&e->out_since);
        seen->back_in = returned > now ? returned - now : 0;
    } else if (seen->share < BALANCE_FULL) {
        seen->state = HEALTH_RAMPING;
        seen->since = returned;
    } else {
        seen->state = HEALTH_UP;
        seen->since = returned ? time_after(returned, ramp) : LOAD(&e->seen);
    }
}
