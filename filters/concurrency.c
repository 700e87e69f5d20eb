/* SPDX-License-Identifier: Apache-2.0 */
/*
 * At most `max` requests at an upstream at once, for the whole process; the others wait in a fair queue, or are told at once
 * that they would wait in vain.
 *
 * The slot belongs to an attempt. It is asked for before the endpoint is picked and is a lease of the attempt's scope from the
 * moment that the semaphore knows the request, also while it only waits: so whatever ends the attempt gives back whatever the
 * ticket is then, a place in the queue or a slot, and no other line of this file has to think of it. A retry's pause and
 * a slow client fall outside of attempts, and so hold no slot.
 *
 * A reload that adds or takes away `key` changes what a ticket in flight counts in. So an instance has two sets, one semaphore
 * for all and one a key, each made when it is first asked for; the options of a request say which one it asks, and the other one
 * drains, by the rule that it had: a `max` for all says nothing about one a key. Until it has drained, requests of both
 * configurations may be at the upstream at once.
 *
 * In shadow mode nobody waits and nobody is refused: who would find a slot takes one, so that `in_flight` goes up to `max`
 * as it would; who would not is counted as one who would have had to wait (with `queue: 0`: as refused) and takes none. Whether
 * the wait would have been too long is not known then.
 *
 * What it does not do: the order of the queue (fair_queue.h), the slots (semaphore.h), what tells callers apart (limit_key.h).
 */
#include "filters/concurrency.h"

#include "conf/load.h"
#include "figure.h"
#include "filter.h"
#include "lib/clock.h"
#include "lib/hash.h"
#include "lib/histogram.h"
#include "lib/page.h"
#include "lib/rng.h"
#include "lib/tally.h"
#include "reply.h"
#include "request.h"

/* ---- the instance's state ---- */

enum {
    COUNT_ENTERED, COUNT_QUEUED, COUNT_FULL, COUNT_HOPELESS, COUNT_TIMEOUT, COUNT_AMBIGUOUS, COUNT_DEADLINE, COUNT_LEFT,
    COUNTS,
};

_Static_assert((int)COUNTS <= (int)TALLY_COUNTERS, "the tally has no room for all counters");

struct concurrency {
    struct semaphores *for_all, *by_key;         /* NULL: never asked for */
    struct hash_key secret;
    struct tally tally;
    struct histogram waits;
};

static bool is_keyed(const struct concurrency_options *o) { return o->key.n > 0; }

static struct semaphores *semaphores_of(const struct concurrency *c, const struct concurrency_options *o)
{
    return is_keyed(o) ? c->by_key : c->for_all;
}

static void concurrency_adopt(void *shared, const void *options, bool fresh, uint64_t now)
{
    const struct concurrency_options *o = options;
    struct concurrency *c = shared;
    struct semaphores **asked = is_keyed(o) ? &c->by_key : &c->for_all;

    if (fresh)
        rng_entropy(&c->secret, sizeof c->secret);
    if (*asked)
        semaphores_set_rule(*asked, &o->rule, now);
    else                             /* no worker looks at this one before it has the snapshot that asks for it */
        *asked = semaphores_new(is_keyed(o), &o->rule);
}

static void concurrency_fini(void *shared)
{
    struct concurrency *c = shared;
    semaphores_free(c->for_all);
    semaphores_free(c->by_key);
}

/* ---- an attempt ---- */

/* Of a leg: all its attempts count for the same caller, though what is sent up may lose the field that said who it is. */
struct concurrency_leg {
    bool made;
    struct semaphore_ask ask;
};

struct concurrency_attempt {
    struct ticket ticket;
    struct lease *lease;             /* NULL: not asked yet */
    uint64_t queued_at;              /* ns */
    const struct request *req;       /* of one that waits, for who counts that it left: */
    struct tally *tally;
    unsigned worker;
};

static void count(const struct call *call, unsigned which)
{
    struct concurrency *c = call->shared;
    tally_add(&c->tally, call->worker, which, 1);
}

/* Two lines of the header are no word. */
static struct str word_of(const struct call *call, const struct concurrency_priority *p)
{
    const struct http_head *head = request_head(call->req);
    if (!p->header.at || !concurrency_trusts(p, request_client(call->req)) || http_head_count(head, p->header) != 1)
        return (struct str){NULL, 0};
    return http_head_get(head, p->header);
}

/* False: what tells callers apart is ambiguous. */
static bool ask_make(const struct call *call, struct concurrency_leg *leg)
{
    const struct concurrency_options *o = call->options;
    const struct concurrency *c = call->shared;
    struct semaphore_ask *ask = &leg->ask;

    if (leg->made) {
        ask->deadline = request_deadline(call->req);
        return true;
    }

    *ask = (struct semaphore_ask){.deadline = request_deadline(call->req)};
    if (is_keyed(o) && !limit_key_of(&o->key, call->req, &c->secret, &ask->key))
        return false;
    if (o->fair_by.n > 0 && !limit_key_of(&o->fair_by, call->req, &c->secret, &ask->flow))
        return false;
    ask->class = concurrency_class(&o->priority, request_route(call->req), word_of(call, &o->priority));
    leg->made = true;
    return true;
}

/* What a refusal is called: the upstream's limit is ours (503), a limit of one key is the caller's (429). */
static const struct refusal {
    enum reason reason;
    const char *own;                 /* the detail when it is the caller's own */
} refusals[] = {
    [COUNT_FULL] = {REASON_queue_full, "the caller has as many requests under way and waiting as it may"},
    [COUNT_HOPELESS] = {REASON_queue_hopeless, "the caller's requests that wait are more than this one can wait for"},
    [COUNT_TIMEOUT] = {REASON_queue_timeout, "the caller's other requests took longer than this one could wait"},
};

static enum verdict refuse(struct call *call, unsigned why, uint64_t wait)
{
    const struct refusal *r = &refusals[why];
    if (is_keyed(call->options))
        reply_reason(call->req, call->reply, REASON_concurrency_limited, str_c(r->own));
    else
        reply_reason(call->req, call->reply, r->reason, (struct str){NULL, 0});
    call->reply->retry_after = wait ? wait : 1;
    count(call, why);
    return FILTER_REPLY;
}

static void give_back(void *thing, uint64_t now) { semaphore_leave(thing, now); }

static void owe(struct call *call, struct concurrency_attempt *a)
{
    a->lease = lease_take(call, SCOPE_ATTEMPT, give_back, &a->ticket);
}

/* Of one that waited. Did it leave before it took its slot? Then no hook was told. */
static void give_back_waiting(void *thing, uint64_t now)
{
    struct concurrency_attempt *a = thing;
    if (a->ticket.state == TICKET_WAITING)
        tally_add(a->tally, a->worker, request_deadline(a->req) <= now ? COUNT_DEADLINE : COUNT_LEFT, 1);
    semaphore_leave(&a->ticket, now);
}

static enum verdict await(struct call *call, struct concurrency_attempt *a, uint64_t most)
{
    struct concurrency *c = call->shared;
    a->lease = lease_take(call, SCOPE_ATTEMPT, give_back_waiting, a);
    a->queued_at = call->now;
    a->req = call->req;
    a->tally = &c->tally;
    a->worker = call->worker;
    count(call, COUNT_QUEUED);
    wait_until(call, time_after(call->now, most));
    return FILTER_WAIT;
}

static enum verdict would_wait(struct call *call)
{
    const struct concurrency_options *o = call->options;
    if (o->queue == 0)
        return refuse(call, COUNT_FULL, 0);
    count(call, COUNT_QUEUED);
    return FILTER_NEXT;
}

static enum verdict ask_first(struct call *call, struct concurrency_attempt *a)
{
    const struct concurrency_options *o = call->options;
    struct semaphores *all = semaphores_of(call->shared, o);
    struct concurrency_leg *leg = call->state;
    uint64_t wait = 0;

    if (!ask_make(call, leg)) {
        count(call, COUNT_AMBIGUOUS);
        call->reason = REASON_ambiguous_key;
        return FILTER_FAIL;
    }
    enum semaphore_answer answer = SEMAPHORE_ENTERED;
    if (!semaphore_try(all, &leg->ask, call->now, &a->ticket)) {
        if (call->shadow)
            return would_wait(call);
        answer = semaphore_wait(all, &leg->ask, wake_handle(call), call->now, &a->ticket, &wait);
    }
    switch (answer) {
    case SEMAPHORE_ENTERED:
        owe(call, a);
        count(call, COUNT_ENTERED);
        return FILTER_NEXT;
    case SEMAPHORE_WAITS:
        return await(call, a, o->max_wait);
    case SEMAPHORE_FULL:
        return refuse(call, COUNT_FULL, wait);
    case SEMAPHORE_HOPELESS:
        return refuse(call, COUNT_HOPELESS, wait);
    }
    unreachable();
}

/* Before the lease ends, so that it finds nobody waiting. */
static enum verdict give_up(struct call *call, struct concurrency_attempt *a, unsigned why, uint64_t wait)
{
    semaphore_leave(&a->ticket, call->now);
    lease_end(&a->lease, call->now);
    return refuse(call, why, wait);
}

/* Woken: by a grant, by being put out, or by the end of its patience. What it is by now, only the ticket knows. A slot that
 * comes too late is given back unclaimed: it was never used, and says nothing about how long a slot is held. */
static enum verdict ask_again(struct call *call, struct concurrency_attempt *a)
{
    struct concurrency *c = call->shared;
    uint64_t waited = call->now - a->queued_at, wait;

    if (request_deadline(call->req) <= call->now) {
        lease_end(&a->lease, call->now);
        call->reason = REASON_total_timeout;
        return FILTER_FAIL;
    }
    switch (semaphore_claim(&a->ticket, call->now, &wait)) {
    case SEMAPHORE_ENTERED:
        histogram_add(&c->waits, waited);
        count(call, COUNT_ENTERED);
        return FILTER_NEXT;
    case SEMAPHORE_WAITS:            /* nobody woke it but its own timer */
        return give_up(call, a, COUNT_TIMEOUT, wait);
    case SEMAPHORE_FULL:
        return give_up(call, a, COUNT_FULL, wait);
    case SEMAPHORE_HOPELESS:
        break;                       /* is said to newcomers only */
    }
    unreachable();
}

static enum verdict concurrency_on_attempt(struct call *call)
{
    struct concurrency_attempt *a = call->attempt_state;
    return a->lease ? ask_again(call, a) : ask_first(call, a);
}

/* A retry that would be refused is not begun: the answer in hand goes out instead. */
static bool concurrency_may_attempt(struct call *call)
{
    static const struct ticket none;
    const struct concurrency_attempt *a = call->attempt_state;
    struct concurrency_leg *leg = call->state;

    if (!ask_make(call, leg))
        return false;
    enum semaphore_answer answer = semaphore_would(semaphores_of(call->shared, call->options), &leg->ask,
                                                   a ? &a->ticket : &none, call->not_before, call->now);
    return answer == SEMAPHORE_ENTERED || answer == SEMAPHORE_WAITS;
}

/* ---- what it counts ---- */

#define REFUSED(REASON, HELP) \
    {.name = "concurrency_refused_total", .type = FIGURE_COUNTER, .label = "reason", .value = REASON, .help = HELP}

static const struct figure concurrency_figures[] = {
    {.name = "concurrency_entered_total", .type = FIGURE_COUNTER, .help = "Attempts that got a slot, at once or after a wait."},
    {.name = "concurrency_queued_total", .type = FIGURE_COUNTER,
     .help = "Attempts that had to wait, whatever came of it; in shadow mode those that would have had to."},
    REFUSED("queue_full", "Attempts that got no slot, by why; total_timeout: the deadline passed while they waited; left: they "
            "went while they waited, for the client closed or weir stops."),
    REFUSED("queue_hopeless", NULL),
    REFUSED("queue_timeout", NULL),
    REFUSED("ambiguous_key", NULL),
    REFUSED("total_timeout", NULL),
    REFUSED("left", NULL),
    {.name = "concurrency_in_flight", .type = FIGURE_GAUGE, .help = "Slots taken now, of all keys."},
    {.name = "concurrency_waiting", .type = FIGURE_GAUGE, .help = "Attempts that wait for a slot now, of all keys."},
    {.name = "concurrency_max", .type = FIGURE_GAUGE, .help = "Slots there are; with `key`, for each key."},
    {.name = "concurrency_keys", .type = FIGURE_GAUGE, .help = "Keys that hold a slot or wait for one now; without `key`, 1."},
    {.name = "concurrency_wait_seconds", .type = FIGURE_HISTOGRAM, .help = "How long those waited who had to and got a slot."},
    {.name = NULL},
};

/* Both sets hold what may be at the upstream: one of them drains after a reload that changed `key`. */
static void stats_read(const struct concurrency *c, const struct concurrency_options *o, struct semaphore_stats *out)
{
    struct semaphores *const sets[] = {c->for_all, c->by_key};
    struct semaphore_stats one;

    *out = (struct semaphore_stats){0};
    for (unsigned i = 0; i < 2; i++) {
        if (!sets[i])
            continue;
        semaphores_stats(sets[i], &one);
        out->in_flight += one.in_flight;
        out->waiting += one.waiting;
        if (sets[i] == semaphores_of(c, o))
            out->keys = one.keys;
    }
}

static void concurrency_figures_read(void *shared, const void *options, uint64_t now, union figure_value *v)
{
    const struct concurrency_options *o = options;
    const struct concurrency *c = shared;
    struct semaphore_stats stats;

    (void)now;
    stats_read(c, o, &stats);
    for (unsigned which = COUNT_ENTERED; which < COUNTS; which++)
        (v++)->n = tally_sum(&c->tally, which);
    (v++)->n = stats.in_flight;
    (v++)->n = stats.waiting;
    (v++)->n = o->max;
    (v++)->n = stats.keys;
    v->histogram = &c->waits;
}

static void key_row_print(const struct concurrency *c, const struct concurrency_options *o, struct str by, uint64_t key,
                          bool first, struct page *page)
{
    struct semaphore_stats stats = {0};
    (void)semaphores_of_key(c->by_key, key, &stats);         /* of whom nothing is known, nothing is under way */
    page_printf(page, "%s{\"by\":", first ? ",\"key\":[" : ",");
    page_json(page, by);
    page_printf(page, ",\"in_flight\":%llu,\"waiting\":%llu,\"max\":%u}", (unsigned long long)stats.in_flight,
                (unsigned long long)stats.waiting, o->rule.max);
}

/* A row for each way in which these values may be a key: which one a request with them has, depends on the rest of it. */
static bool concurrency_key_print(void *shared, const void *options, const struct str *values, size_t n, uint64_t now,
                                  struct page *page)
{
    const struct concurrency_options *o = options;
    const struct concurrency *c = shared;
    bool some = false, has_client_ip = false;
    uint64_t key;

    (void)now;
    for (size_t i = 0; is_keyed(o) && i <= o->key.n; i++) {
        struct str by = i < o->key.n ? o->key.v[i].text : STR("client_ip");
        if (i < o->key.n ? o->key.v[i].n != n : has_client_ip)
            continue;
        has_client_ip |= str_eq(by, STR("client_ip"));
        if (!limit_key_of_values(&o->key, i, values, n, &c->secret, &key))
            continue;
        key_row_print(c, o, by, key, !some, page);
        some = true;
    }
    if (some)
        page_printf(page, "]");
    return some;
}

/* ---- a reload ---- */

static void concurrency_plan(void *shared, const void *was, const void *is, uint64_t now, struct plan_notes *notes)
{
    const struct concurrency_options *from = was, *to = is;
    const struct concurrency *c = shared;

    (void)now;
    if (!limit_key_same(&from->key, &to->key))
        plan_say(notes, PLAN_KEEPS, "slots are counted by another key: those in flight do not count under the new one, and until "
                 "they end there may be more than it allows");
    else if (c && semaphores_of(c, from))
        semaphores_plan(semaphores_of(c, from), &to->rule, notes);
}

const struct filter filter_concurrency = {
    .name = "concurrency",
    .help = "Lets only so many requests be at the upstream at once; the others wait their turn, for a while, or are refused "
            "with 503.",
    .places = PLACE_UPSTREAM,
    .fields = concurrency_fields,
    .options_size = sizeof(struct concurrency_options),
    .shared_size = sizeof(struct concurrency),
    .state_size = sizeof(struct concurrency_leg),
    .attempt_size = sizeof(struct concurrency_attempt),
    .options_check = concurrency_check,
    .shared_adopt = concurrency_adopt,
    .shared_fini = concurrency_fini,
    .on_attempt = concurrency_on_attempt,
    .may_attempt = concurrency_may_attempt,
    .figures = concurrency_figures,
    .figures_read = concurrency_figures_read,
    .plan = concurrency_plan,
    .key_print = concurrency_key_print,
};
