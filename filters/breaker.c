/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A circuit breaker before an upstream, or before each of its endpoints: what fails too often is left alone for a
 * while, and then tried with care.
 *
 * The states and the window are breaker_state.h's. Here attempts meet them: let in before an endpoint is picked (or,
 * with `scope: endpoint`, when one was), judged by what the core saw of their end. That is at the last byte: a stream
 * that breaks off is a failure although its head said 200.
 *
 * The place of a probe is a lease of the attempt. The core gives it back before it says how the attempt ended; so
 * giving back judges nothing, and a probe that ends without a verdict (the client went, another filter refused it)
 * leaves no trace but a free place.
 *
 * In shadow mode all of this goes on as if it were enforced: what would have been refused passes, and its end is
 * counted, but has no say in the state. Probes are those that come when a probe's place is free.
 *
 * It knows nothing of retries, but for one thing: asked whether a further attempt may begin, it says no already when
 * the failure of the one in hand is what opens it. So the answer in hand goes out instead of a refusal.
 */
#include "conf/field.h"
#include "conf/load.h"
#include "figure.h"
#include "filter.h"
#include "filters/breaker_endpoints.h"
#include "filters/breaker_state.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/page.h"
#include "lib/rng.h"
#include "lib/tally.h"
#include "reply.h"
#include "request.h"

#define TIME_MOST (3600 * NSEC_PER_SEC)
#define COUNT_MOST 1000000u

enum breaker_scope { BREAKER_OF_UPSTREAM, BREAKER_OF_ENDPOINT };

struct breaker_slow { uint64_t over; uint32_t ratio; };

struct breaker_options {
    uint32_t errors;                     /* 1/100 % */
    int scope;                           /* enum breaker_scope */
    uint64_t window, min_requests, ramp;
    uint64_t open[2];
    struct breaker_slow slow;            /* over 0: not looked at */
    struct breaker_rule rule;            /* the same for breaker_state.h */
    struct str name;                     /* of the instance */
};

static const char *const scope_words[] = {"upstream", "endpoint", NULL};

static const struct field slow_fields[] = {
    {.key = "over", .type = FIELD_DURATION, .offset = offsetof(struct breaker_slow, over), .required = true,
     .min = NSEC_PER_MSEC, .max = TIME_MOST,
     .help = "An answer is slow whose head took longer, from when the endpoint was picked."},
    {.key = "ratio", .type = FIELD_PERCENT, .offset = offsetof(struct breaker_slow, ratio), .required = true, .min = 1,
     .help = "It opens when that share of all is slow."},
    {.type = FIELD_END},
};

#define OPTION(field) offsetof(struct breaker_options, field)

static const struct field breaker_fields[] = {
    {.key = "errors", .type = FIELD_PERCENT, .offset = OPTION(errors), .fallback = "50%", .min = 1,
     .help = "It opens when that share of the attempts in the window failed: no connection, a timeout, an answer cut "
             "off, or 500, 502, 503, 504 or 529. Answers of 4xx and clients that leave do not count at all."},
    {.key = "window", .type = FIELD_DURATION, .offset = OPTION(window), .fallback = "10s", .min = BREAKER_WINDOW_MIN,
     .max = TIME_MOST, .help = "How far back attempts count, in ten steps."},
    {.key = "min_requests", .type = FIELD_COUNT, .offset = OPTION(min_requests), .fallback = "20", .min = 1,
     .max = COUNT_MOST, .help = "It does not open on fewer attempts in the window."},
    {.key = "open", .type = FIELD_DURATION_RANGE, .offset = OPTION(open), .fallback = "5s..60s", .min = NSEC_PER_MSEC,
     .max = TIME_MOST,
     .help = "How long it stays open, the least and the most: twice as long whenever a probe fails, and 20% more or "
             "less. Then 1, 2 and 4 requests at a time are let in as probes, until 5 were answered."},
    {.key = "ramp", .type = FIELD_DURATION, .offset = OPTION(ramp), .fallback = "10s", .max = TIME_MOST,
     .help = "How long it takes, once closed, to let in all again, from 10% on."},
    {.key = "slow", .type = FIELD_MAP, .offset = OPTION(slow), .sub = slow_fields,
     .help = "Opens it also when too many answers are slow."},
    {.key = "scope", .type = FIELD_ENUM, .offset = OPTION(scope), .words = scope_words, .fallback = "upstream",
     .help = "`endpoint`: a breaker for each endpoint; the others are used while one is open."},
    {.type = FIELD_END},
};

static int breaker_check(void *options, struct load *load)
{
    struct breaker_options *o = options;
    o->name = load->name;
    o->rule = (struct breaker_rule){
        .errors = o->errors, .slow = o->slow.ratio, .min_requests = o->min_requests, .window = o->window,
        .open_min = o->open[0], .open_max = o->open[1], .ramp = o->ramp,
    };
    return 0;
}

/* ---- the instance's state ---- */

enum { COUNT_REFUSED = BREAKER_OUTCOMES, COUNT_UNGUARDED };
_Static_assert((int)COUNT_UNGUARDED < (int)TALLY_COUNTERS, "a counter for each");

struct breaker {
    struct breaker_state all;
    struct breaker_endpoints *endpoints;         /* NULL: never asked for */
    _Atomic int hold;                            /* enum breaker_hold */
    _Atomic uint64_t transitions[BREAKER_OPEN + 1];
    struct tally tally;
};

static enum breaker_hold hold_of(const struct breaker *b)
{
    return (enum breaker_hold)atomic_load_explicit(&b->hold, memory_order_relaxed);
}

static bool is_by_endpoint(const struct breaker_options *o) { return o->scope == BREAKER_OF_ENDPOINT; }

static void breaker_adopt(void *shared, const void *options, bool fresh, uint64_t now)
{
    struct breaker *b = shared;
    (void)now;
    if (fresh)
        breaker_state_init(&b->all, BREAKER_AUTO);
    if (is_by_endpoint(options) && !b->endpoints)        /* no worker looks there before it has these options */
        b->endpoints = breaker_endpoints_new(hold_of(b));
}

static void breaker_fini(void *shared)
{
    struct breaker *b = shared;
    breaker_state_fini(&b->all);
    breaker_endpoints_free(b->endpoints);
}

static void count(const struct call *call, unsigned which)
{
    struct breaker *b = call->shared;
    tally_add(&b->tally, call->worker, which, 1);
}

/* ---- the line for a transition ---- */

#define CAUSE_STATUS_BITS 16

static uint32_t cause_of(const struct outcome *out)
{
    return (uint32_t)out->reason << CAUSE_STATUS_BITS | ((uint32_t)out->status & ((1u << CAUSE_STATUS_BITS) - 1));
}

/* " (503, 503, connect_failed)": a status, unless something else ended it. */
static void causes_print(struct page *p, const struct breaker_change *change)
{
    for (unsigned i = 0; i < change->n_causes; i++) {
        enum reason reason = (enum reason)(change->causes[i] >> CAUSE_STATUS_BITS);
        unsigned status = change->causes[i] & ((1u << CAUSE_STATUS_BITS) - 1);
        page_printf(p, "%s", i ? ", " : " (");
        if (reason == REASON_none || reason == REASON_replied || reason_status(reason) == 0)
            page_printf(p, "%u", status);
        else
            page_printf(p, "%s", reason_name(reason));
    }
    page_printf(p, "%s", change->n_causes ? ")" : "");
}

static unsigned long long ms(uint64_t ns) { return ns / NSEC_PER_MSEC + (ns % NSEC_PER_MSEC != 0); }

static void change_print(struct page *p, const struct breaker_options *o, const struct breaker_change *c)
{
    const unsigned long long n = c->requests, failures = c->failures, slow = c->slow;
    switch (c->to) {
    case BREAKER_OPEN:
        page_printf(p, "open for %llu ms: of %llu %s %llu failed", ms(c->wait), n,
                    c->from == BREAKER_HALF_OPEN ? "probes" : "attempts", failures);
        if (o->slow.over)
            page_printf(p, ", %llu were slow", slow);
        causes_print(p, c);
        break;
    case BREAKER_HALF_OPEN:
        page_printf(p, "half open: probes are let in");
        break;
    case BREAKER_CLOSED:
        page_printf(p, "closed: %llu probes were answered", n);
        if (o->slow.over)
            page_printf(p, ", %llu of them slowly", slow);
        page_printf(p, "; all are let in again within %llu ms", ms(o->ramp));
        break;
    case BREAKER_RAMPING:
        unreachable();
    }
}

static void tell(const struct call *call, struct str url, const struct breaker_change *change)
{
    struct breaker *b = call->shared;
    struct page page = {0};
    if (!change->made)
        return;
    atomic_fetch_add_explicit(&b->transitions[change->to], 1, memory_order_relaxed);
    change_print(&page, call->options, change);
    log_at(change->to == BREAKER_OPEN ? LOG_WARN : LOG_INFO, "breaker", STR_FMT "%s" STR_FMT ": %s%s",
           STR_ARG(call->name), url.at ? ": " : "", STR_ARG(url), page.at, call->shadow ? " (mode: shadow)" : "");
    page_free(&page);
}

/* ---- an attempt ---- */

struct breaker_leg { uint64_t lucky; };          /* a further attempt was promised a place in a ramp */

struct breaker_attempt {
    struct breaker_state *at;            /* who let it in; NULL: nobody */
    struct str url;                      /* of an endpoint's; {NULL, 0}: the upstream's */
    struct breaker_pass pass;
    struct lease *lease;                 /* of a probe's place */
    uint64_t picked;                     /* when it went to its endpoint, ns */
};

static struct breaker_now moment(const struct call *call)
{
    const struct breaker_options *o = call->options;
    return (struct breaker_now){&o->rule, call->now, call->rng};
}

static void give_back(void *thing, uint64_t now)
{
    const struct breaker_attempt *a = thing;
    (void)now;
    breaker_state_return(a->at, &a->pass);
}

/* False: *wait is when to come again. */
static bool let_in(struct call *call, struct breaker_state *at, struct str url, uint64_t *wait)
{
    const struct breaker_now now = moment(call);
    const struct breaker_leg *leg = call->state;
    struct breaker_attempt *a = call->attempt_state;
    struct breaker_ask ask = {.deadline = request_deadline(call->req), .lucky = leg->lucky};
    bool in = breaker_state_admit(at, &now, &ask);

    tell(call, url, &ask.change);
    *wait = ask.wait;
    if (!in) {
        count(call, COUNT_REFUSED);
        return false;
    }
    a->at = at;
    a->url = url;
    a->pass = ask.pass;
    if (breaker_pass_is_probe(&a->pass))
        a->lease = lease_take(call, SCOPE_ATTEMPT, give_back, a);
    return true;
}

static enum verdict refuse(struct call *call, uint64_t wait)
{
    reply_reason(call->req, call->reply, REASON_breaker_open, (struct str){NULL, 0});
    call->reply->retry_after = wait;
    return FILTER_REPLY;
}

/* With a breaker for each endpoint nothing is known here, but an operator's word is. */
static enum verdict breaker_on_attempt(struct call *call)
{
    const struct breaker_options *o = call->options;
    struct breaker *b = call->shared;
    uint64_t wait;

    if (!is_by_endpoint(o))
        return let_in(call, &b->all, (struct str){NULL, 0}, &wait) ? FILTER_NEXT : refuse(call, wait);
    if (hold_of(b) != BREAKER_HELD_OPEN)
        return FILTER_NEXT;
    count(call, COUNT_REFUSED);
    return refuse(call, o->rule.open_min);
}

/* What an endpoint gave that another filter did not like then. */
static void forget_endpoint(struct breaker_attempt *a, uint64_t now)
{
    if (a->lease)
        lease_end(&a->lease, now);
    *a = (struct breaker_attempt){.at = NULL};
}

static enum verdict breaker_on_endpoint(struct call *call, size_t endpoint)
{
    static struct log_limit limit;
    struct breaker_attempt *a = call->attempt_state;
    struct breaker *b = call->shared;
    uint64_t wait;

    if (is_by_endpoint(call->options))
        forget_endpoint(a, call->now);
    a->picked = call->now;
    if (is_by_endpoint(call->options)) {
        struct breaker_endpoint *e = breaker_endpoints_get(b->endpoints, request_endpoint(call->req, endpoint));
        if (!e) {
            count(call, COUNT_UNGUARDED);
            log_limited(&limit, LOG_WARN, "breaker", STR_FMT ": %d endpoints were seen; those that are new have none",
                        STR_ARG(call->name), BREAKER_ENDPOINTS_MAX);
        } else if (!let_in(call, &e->state, e->url, &wait)) {
            call->reason = REASON_breaker_open;
            call->not_before = time_after(call->now, wait);
            return FILTER_FAIL;
        }
    }
    return FILTER_NEXT;
}

/* Should the attempt in hand have failed: it counts with who let it in. */
static bool would_let_in(struct call *call, const struct breaker_state *at)
{
    static const struct breaker_pass none;
    const struct breaker_now now = moment(call);
    const struct breaker_attempt *a = call->attempt_state;
    struct breaker_leg *leg = call->state;
    return breaker_state_would_admit(at, &now, a && a->at == at ? &a->pass : &none, &leg->lucky);
}

/* Which endpoint it will be, nobody knows yet; whoever is picked in vain, the one that lets it in is found. */
static bool breaker_may_attempt(struct call *call)
{
    const struct breaker *b = call->shared;

    if (!is_by_endpoint(call->options))
        return would_let_in(call, &b->all);
    if (hold_of(b) == BREAKER_HELD_OPEN)
        return false;
    for (size_t i = 0; (i = request_endpoint_in_use(call->req, i)) != SIZE_MAX; i++) {
        const struct breaker_endpoint *e = breaker_endpoints_find(b->endpoints, request_endpoint(call->req, i));
        if (!e || would_let_in(call, &e->state))
            return true;
    }
    return false;
}

/* ---- judging ---- */

static bool is_failure_status(int status)
{
    return status == 500 || (status >= 502 && status <= 504) || status == 529;
}

static enum breaker_outcome judge_answer(const struct breaker_options *o, const struct breaker_attempt *a,
                                         const struct outcome *out)
{
    if (out->status >= 400 && out->status < 500)
        return BREAKER_NEUTRAL;
    bool slow = o->slow.over && out->first_byte > a->picked && out->first_byte - a->picked > o->slow.over;
    return slow ? BREAKER_SLOW : BREAKER_SUCCESS;
}

/* An answer that began in time may be long, or taken slowly: then the deadline says nothing. Nor does the silence of a
 * tunnel, in which nobody knows who ought to speak. */
static enum breaker_outcome judge_late(const struct outcome *out)
{
    bool began = out->reason == REASON_total_timeout && out->first_byte;
    return began || out->status == 101 ? BREAKER_NEUTRAL : BREAKER_FAILURE;
}

/* What the upstream said counts, whoever ended it then; then who ended it. */
/* The upstream had begun well when somebody else ended it. That proves nothing for a window; for a probe it must, or an upstream
 * whose streams their readers end would stay half open for ever. */
static enum breaker_outcome judge_begun(const struct breaker_options *o, const struct breaker_attempt *a,
                                        const struct outcome *out)
{
    return breaker_pass_is_probe(&a->pass) && out->status != 0 ? judge_answer(o, a, out) : BREAKER_NEUTRAL;
}

static enum breaker_outcome judge(const struct breaker_options *o, const struct breaker_attempt *a,
                                  const struct outcome *out)
{
    bool satisfied = out->status != 0 && (out->reason == REASON_none || out->reason == REASON_replied);

    if (out->endpoint == SIZE_MAX)       /* it never came to that */
        return BREAKER_NEUTRAL;
    if (is_failure_status(out->status))
        return BREAKER_FAILURE;
    if (out->status == 429)
        return BREAKER_PRESSURE;
    switch (out->by) {
    case BY_DEADLINE:
        return judge_late(out) == BREAKER_FAILURE ? BREAKER_FAILURE : judge_begun(o, a, out);
    case BY_CLIENT:                      /* it cancelled; or it ended a tunnel, as is its right */
    case BY_US:                          /* a filter cannot go on; or it repeats or replaces a good answer */
        return satisfied ? judge_answer(o, a, out) : judge_begun(o, a, out);
    case BY_UPSTREAM:
        return satisfied ? judge_answer(o, a, out) : BREAKER_FAILURE;
    }
    unreachable();
}

/* What was refused here, and so never picked an endpoint, is in the other counter. */
static void breaker_on_attempt_end(struct call *call, const struct outcome *out)
{
    const struct breaker_now now = moment(call);
    const struct breaker_attempt *a = call->attempt_state;
    enum breaker_outcome what = judge(call->options, a, out);
    struct breaker_change change;

    if (a->at || out->endpoint != SIZE_MAX)
        count(call, what);
    if (!a->at)
        return;
    breaker_state_judge(a->at, &now, &a->pass, what, cause_of(out), &change);
    tell(call, a->url, &change);
}

/* ---- telling ---- */

#define OUTCOME(NAME, HELP) \
    {.name = "breaker_outcomes_total", .type = FIGURE_COUNTER, .label = "outcome", .value = NAME, .help = HELP}
#define TRANSITION(TO, HELP) \
    {.name = "breaker_transitions_total", .type = FIGURE_COUNTER, .label = "to", .value = TO, .help = HELP}

static const struct figure breaker_figures[] = {
    {.name = "breaker_state", .type = FIGURE_GAUGE,
     .help = "0 closed, 1 half open, 2 open, 3 closed and ramping up; of several endpoints the worst: 2, 1, 3, 0."},
    {.name = "breaker_forced", .type = FIGURE_GAUGE, .help = "0 no, 1 held open by an operator, 2 held closed."},
    {.name = "breaker_not_closed", .type = FIGURE_GAUGE,
     .help = "Breakers that are not closed, or still ramping up: with `scope: endpoint` endpoints, else 0 or 1."},
    {.name = "breaker_probes", .type = FIGURE_GAUGE, .help = "Probes under way."},
    TRANSITION("open", "Transitions, by the state that was entered."),
    TRANSITION("half_open", NULL),
    TRANSITION("closed", NULL),
    {.name = "breaker_refused_total", .type = FIGURE_COUNTER,
     .help = "Attempts that were not let in; with `scope: endpoint` once for each endpoint that was open to nobody."},
    OUTCOME("success", "Attempts by how they were judged at their end."),
    OUTCOME("failure", NULL),
    OUTCOME("slow", NULL),
    OUTCOME("neutral", NULL),
    OUTCOME("pressure", NULL),
    {.name = "breaker_unguarded_total", .type = FIGURE_COUNTER,
     .help = "Attempts at endpoints without a breaker, because there were too many in the life of the process."},
    {.name = NULL},
};

struct breaker_sum { enum breaker_phase worst; uint64_t not_closed, probes; };

static void sum_add(struct breaker_sum *sum, const struct breaker_state *s, const struct breaker_rule *rule,
                    uint64_t now)
{
    static const unsigned badness[] = {
        [BREAKER_CLOSED] = 0, [BREAKER_RAMPING] = 1, [BREAKER_HALF_OPEN] = 2, [BREAKER_OPEN] = 3,
    };
    struct breaker_view v;
    breaker_state_view(s, rule, now, &v);
    if (badness[v.phase] > badness[sum->worst])
        sum->worst = v.phase;
    sum->not_closed += v.phase != BREAKER_CLOSED;
    sum->probes += v.probes;
}

static void breaker_figures_read(void *shared, const void *options, uint64_t now, union figure_value *v)
{
    static const enum breaker_phase to[] = {BREAKER_OPEN, BREAKER_HALF_OPEN, BREAKER_CLOSED};
    const struct breaker_options *o = options;
    const struct breaker *b = shared;
    struct breaker_sum sum = {BREAKER_CLOSED, 0, 0};
    const struct breaker_endpoint *e;

    if (!is_by_endpoint(o))
        sum_add(&sum, &b->all, &o->rule, now);
    for (size_t at = 0; is_by_endpoint(o) && (e = breaker_endpoints_next(b->endpoints, &at)) != NULL;)
        sum_add(&sum, &e->state, &o->rule, now);
    (v++)->n = sum.worst;
    (v++)->n = hold_of(b);
    (v++)->n = sum.not_closed;
    (v++)->n = sum.probes;
    for (size_t i = 0; i < array_len(to); i++)
        (v++)->n = atomic_load_explicit(&b->transitions[to[i]], memory_order_relaxed);
    (v++)->n = tally_sum(&b->tally, COUNT_REFUSED);
    for (unsigned what = 0; what < BREAKER_OUTCOMES; what++)
        (v++)->n = tally_sum(&b->tally, what);
    v->n = tally_sum(&b->tally, COUNT_UNGUARDED);
}

static bool breaker_key_print(void *shared, const void *options, const struct str *values, size_t n, uint64_t now,
                              struct page *p)
{
    static const char *const phases[] = {"closed", "half_open", "open", "ramping"};
    static const char *const holds[] = {"auto", "open", "closed"};
    const struct breaker_options *o = options;
    const struct breaker *b = shared;
    struct breaker_view v;

    if (!is_by_endpoint(o) || n != 1)
        return false;
    const struct breaker_endpoint *e = breaker_endpoints_find(b->endpoints, values[0]);
    if (!e)
        return false;
    breaker_state_view(&e->state, &o->rule, now, &v);
    page_printf(p, ",\"key\":[{\"by\":\"endpoint\",\"state\":\"%s\",\"forced\":\"%s\",\"requests\":%llu,"
                "\"failures\":%llu,\"slow\":%llu,\"probes\":%llu,\"wait_ms\":%llu}]", phases[v.phase], holds[v.hold],
                (unsigned long long)v.requests, (unsigned long long)v.failures, (unsigned long long)v.slow,
                (unsigned long long)v.probes, ms(v.wait));
    return true;
}

static bool breaker_command(void *shared, const void *options, struct str word, uint64_t now)
{
    static const struct { const char *word; enum breaker_hold hold; const char *what; } words[] = {
        {"open", BREAKER_HELD_OPEN, "held open by an operator"},
        {"closed", BREAKER_HELD_CLOSED, "held closed by an operator"},
        {"auto", BREAKER_AUTO, "no longer held by an operator"},
    };
    const struct breaker_options *o = options;
    struct breaker *b = shared;
    struct breaker_change change;

    for (size_t i = 0; i < array_len(words); i++) {
        if (!str_eq(word, str_c(words[i].word)))
            continue;
        atomic_store_explicit(&b->hold, (int)words[i].hold, memory_order_relaxed);
        breaker_state_hold(&b->all, words[i].hold, now, &change);
        if (change.made && !is_by_endpoint(o))
            atomic_fetch_add_explicit(&b->transitions[change.to], 1, memory_order_relaxed);
        if (b->endpoints)
            breaker_endpoints_hold(b->endpoints, words[i].hold, now);
        log_info("breaker", STR_FMT ": %s", STR_ARG(o->name), words[i].what);
        return true;
    }
    return false;
}

/* Would the next failure open one that is closed? By the new rule, with what the window holds. */
static bool is_due(const struct breaker_rule *rule, const struct breaker_view *v)
{
    bool failed = (v->failures + 1) * BREAKER_ALL >= rule->errors * (v->requests + 1);
    bool slow = rule->slow && v->slow * BREAKER_ALL >= rule->slow * (v->requests + 1);
    return v->phase == BREAKER_CLOSED && v->hold == BREAKER_AUTO && v->requests + 1 >= rule->min_requests && (failed || slow);
}

static void state_say(const struct breaker_state *s, const struct breaker_rule *rule, uint64_t now, struct plan_notes *notes)
{
    static const char *const phases[] = {"closed", "half open", "open", "ramping up"};
    struct breaker_view v;
    breaker_state_view(s, rule, now, &v);
    plan_say(notes, PLAN_KEEPS, "it stays %s; the window holds %llu attempts, %llu of them failed", phases[v.phase],
             (unsigned long long)v.requests, (unsigned long long)v.failures);
    if (is_due(rule, &v))
        plan_say(notes, PLAN_OVER, "by the new rule the next failure opens it");
}

static void breaker_plan(void *shared, const void *was, const void *is, uint64_t now, struct plan_notes *notes)
{
    const struct breaker_options *from = was, *to = is;
    const struct breaker *b = shared;
    const struct breaker_endpoint *e;
    size_t n = 0, due = 0;

    if (from->scope != to->scope)
        plan_say(notes, PLAN_KEEPS, "%s", is_by_endpoint(to) ? "each endpoint's begins closed"
                                                             : "the upstream's begins as it last stood");
    if (!b || from->scope != to->scope)
        return;
    if (!is_by_endpoint(to)) {
        state_say(&b->all, &to->rule, now, notes);
        return;
    }
    for (size_t at = 0; (e = breaker_endpoints_next(b->endpoints, &at)) != NULL; n++) {
        struct breaker_view v;
        breaker_state_view(&e->state, &to->rule, now, &v);
        due += is_due(&to->rule, &v);
    }
    plan_say(notes, PLAN_KEEPS, "%zu endpoints keep their state and what their windows hold", n);
    if (due > 0)
        plan_say(notes, PLAN_OVER, "of %zu of them the next failure opens it by the new rule", due);
}

const struct filter filter_breaker = {
    .name = "breaker",
    .help = "Leaves an upstream alone that fails too often: answers 503 for a while, or what the route falls back to, "
            "and then tries it with a few requests.",
    .places = PLACE_UPSTREAM,
    .fields = breaker_fields,
    .options_size = sizeof(struct breaker_options),
    .shared_size = sizeof(struct breaker),
    .state_size = sizeof(struct breaker_leg),
    .attempt_size = sizeof(struct breaker_attempt),
    .options_check = breaker_check,
    .shared_adopt = breaker_adopt,
    .shared_fini = breaker_fini,
    .on_attempt = breaker_on_attempt,
    .may_attempt = breaker_may_attempt,
    .on_endpoint = breaker_on_endpoint,
    .on_attempt_end = breaker_on_attempt_end,
    .figures = breaker_figures,
    .figures_read = breaker_figures_read,
    .plan = breaker_plan,
    .key_print = breaker_key_print,
    .commands = "open, closed, auto",
    .command = breaker_command,
};
