/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retries: tries a request again when an endpoint could not be reached, broke off or said that it cannot, as long as that
 * is safe, in time, and does not add up to a flood.
 *
 * The core does the work (attempt.c): it ends the failed attempt, with all its leases, before the wait; it picks an endpoint
 * that was not tried, and sends the kept body again. Here it is decided whether, and when:
 *   - a failure is what `when` lists, a 429 only if it says when to come back;
 *   - it must be safe: nothing was sent, or the answer says that nothing was done (429; 503 with Retry-After), or the request
 *     may be repeated anyhow;
 *   - a wait that was asked for is kept to, plus up to a tenth so that those who were told the same do not come back
 *     together; it is never shorter than the usual one. A failed connect goes to another endpoint at once. All else waits
 *     anywhere in [0, min(cap, base * 2^n)];
 *   - the budget is the instance's, for all workers (retry_budget.h). One retry is taken out of it when it is decided on, as a
 *     lease of the leg: it comes back if the retry came to no endpoint, because another filter would not let it or the caller went.
 * When there will be no retry although one would be safe, the route's fallback is asked for, if it has one.
 *
 * Whether a retry was made is seen when its attempt is judged, or when the leg ends: so requests that succeed at once pay
 * for little else than that one hook. A pooled connection that was closed unused is replaced by the core and is no retry.
 *
 * It does not hedge, and does not look at bodies.
 */
#include "conf/field.h"
#include "conf/load.h"
#include "conf/named.h"
#include "figure.h"
#include "filter.h"
#include "filters/retry_budget.h"
#include "http/headers.h"
#include "http/retry_after.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/rng.h"
#include "lib/tally.h"
#include "request.h"

#define MAX_MAX     10u
#define BODY_MAX    (64u * 1024 * 1024)
#define BACKOFF_MAX (3600 * NSEC_PER_SEC)
#define CLIENT_TRIES 3u                    /* what client libraries do by themselves as a rule */
#define USUAL_TOTAL (60 * NSEC_PER_SEC)    /* of a route, when it does not say otherwise */

enum when {
    WHEN_CONNECT = 1, WHEN_RESET = 2, WHEN_TIMEOUT = 4, WHEN_502 = 8, WHEN_503 = 16, WHEN_504 = 32, WHEN_529 = 64,
    WHEN_429 = 128,
};

enum cause { CAUSE_CONNECT, CAUSE_RESET, CAUSE_TIMEOUT, CAUSE_5XX, CAUSE_429, CAUSE_COUNT };

/* Why there was no retry; then what else is counted. */
enum {
    NOT_BUDGET, NOT_UNSAFE, NOT_DEADLINE, NOT_BODY, NOT_REFUSED, NOT_ASKED, EXHAUSTED, CLIENT_RETRY, COUNTED,
};

struct retry_options {
    uint64_t max;
    uint64_t backoff[2];                   /* ns: base and cap */
    int jitter_none;
    uint32_t budget;                       /* 1/100 % */
    unsigned when;                         /* enum when */
    uint64_t body;
};

struct retry {
    struct retry_budget budget;
    struct tally retries;                  /* by enum cause */
    struct tally counted;
};

struct retry_state {
    unsigned judged;                       /* number of the attempt that on_head saw last */
    unsigned tries;                        /* attempts of this leg that it saw */
    struct lease *lease;                   /* of a retry that was decided on and not seen yet; then: */
    struct request *req;
    struct retry *retry;
    const struct retry_options *options;
    unsigned worker;
    enum cause cause;
    bool answered;                         /* an answer goes out */
};

/* ---- loading ---- */

static const struct { const char *word; enum when bit; } whens[] = {
    {"connect", WHEN_CONNECT}, {"reset", WHEN_RESET}, {"timeout", WHEN_TIMEOUT}, {"502", WHEN_502}, {"503", WHEN_503},
    {"504", WHEN_504}, {"529", WHEN_529}, {"429", WHEN_429},
};

#define WHEN_FORM "a list of `connect`, `reset`, `timeout`, `502`, `503`, `504`, `529`, `429`"
#define WHEN_JSON "{\"anyOf\":[{\"type\":[\"string\",\"integer\"]},{\"type\":\"array\",\"minItems\":1," \
                  "\"items\":{\"enum\":[\"connect\",\"reset\",\"timeout\",\"502\",\"503\",\"504\",\"529\",\"429\"," \
                  "502,503,504,529,429]}}]}"

static int when_word(unsigned *when, struct str word, const struct yaml_node *n, struct load *load)
{
    struct nearest near;

    nearest_init(&near, word);
    for (size_t i = 0; i < array_len(whens); i++) {
        if (str_eq(str_c(whens[i].word), word)) {
            *when |= whens[i].bit;
            return 0;
        }
        nearest_try(&near, str_c(whens[i].word));
    }
    return load_err(load, n, CODE_word, "when: \"%s\" is not one of connect, reset, timeout, 502, 503, 504, 529, 429%s",
                    quoted(yaml_is_secret(n) ? n->shown : word).text, nearest_hint(&near).text);
}

static int when_list(unsigned *when, const struct yaml_node *n, struct load *load)
{
    int res = 0;

    for (size_t i = 0; i < n->n; i++) {
        const struct yaml_node *item = n->entries[i].value;
        if (item->type != YAML_SCALAR)
            res = load_err(load, item, CODE_kind, "when: must be a list of words");
        else if (when_word(when, item->text, item, load) != 0)
            res = -1;
    }
    return res;
}

/* A list, or its items with commas in one scalar, as the default is written. */
static int when_parse(void *at, const struct yaml_node *n, struct load *load)
{
    unsigned *when = at;
    struct str rest = n->text, word;
    int res = 0;

    *when = 0;
    if (n->type == YAML_MAP)
        return load_err(load, n, CODE_kind, "when: must be a list of words, not a mapping");
    if (n->type == YAML_LIST)
        res = when_list(when, n, load);
    while (n->type == YAML_SCALAR && str_list_next(&rest, &word))
        if (when_word(when, word, n, load) != 0)
            res = -1;
    if (*when == 0 && res == 0)
        res = load_err(load, n, CODE_empty, "when: is empty; to switch retries off say max: 0");
    return res;
}

static const char *const jitters[] = {"full", "none", NULL};

static const struct field retry_fields[] = {
    {.key = "max", .type = FIELD_COUNT, .offset = offsetof(struct retry_options, max), .max = MAX_MAX, .fallback = "2",
     .help = "How often a request is tried again after its first try."},
    {.key = "backoff", .type = FIELD_DURATION_RANGE, .offset = offsetof(struct retry_options, backoff),
     .min = NSEC_PER_MSEC, .max = BACKOFF_MAX, .fallback = "100ms..2s",
     .help = "The wait before the first retry, which doubles with each further one, and its limit. A failed connect goes to "
             "another endpoint without a wait; Retry-After is kept to."},
    {.key = "jitter", .type = FIELD_ENUM, .offset = offsetof(struct retry_options, jitter_none), .words = jitters,
     .fallback = "full", .help = "`full` waits a random part of it; `none` all of it."},
    {.key = "budget", .type = FIELD_PERCENT, .offset = offsetof(struct retry_options, budget), .fallback = "10%",
     .help = "How many retries there may be for the first tries of all requests; one a second, and ten at once, are always "
             "allowed."},
    {.key = "when", .type = FIELD_CUSTOM, .offset = offsetof(struct retry_options, when),
     .fallback = "connect, reset, 502, 503, 504, 529, 429", .parse = when_parse, .form = WHEN_FORM, .json = WHEN_JSON,
     .help = "Failures after which it is tried again; 502 is an answer that breaks a rule of HTTP too, 504 and `timeout` one "
             "that did not begin in time. A 429 must say when to come back."},
    {.key = "body", .type = FIELD_SIZE, .offset = offsetof(struct retry_options, body), .max = BODY_MAX,
     .fallback = "256KiB", .help = "How much of a request's body is kept to be sent again; with a larger one it is tried again "
                                   "only if nothing of it was sent."},
    {.type = FIELD_END},
};

static int retry_check(void *options, struct load *load)
{
    const struct retry_options *o = options;

    if (o->max > CLIENT_TRIES)
        load_warn(load, yaml_get(load->node, "max"), CODE_many_tries, "max: %llu makes up to %llu tries of a request; with the "
                  "%u that client libraries make by themselves one call becomes up to %llu", (unsigned long long)o->max,
                  (unsigned long long)o->max + 1, CLIENT_TRIES, (unsigned long long)(o->max + 1) * CLIENT_TRIES);
    if (o->backoff[1] >= USUAL_TOTAL)
        load_warn(load, yaml_get(load->node, "backoff"), CODE_pointless, "backoff: up to %llus is no less than the %llus that a "
                  "request has in all by default: retries after it are not made",
                  (unsigned long long)(o->backoff[1] / NSEC_PER_SEC), (unsigned long long)(USUAL_TOTAL / NSEC_PER_SEC));
    return 0;
}

static size_t retry_keep_body(const void *options)
{
    const struct retry_options *o = options;
    return o->max ? (size_t)o->body : 0;
}

static void retry_adopt(void *shared, const void *options, bool fresh, uint64_t now)
{
    struct retry *t = shared;

    (void)options;
    if (fresh)
        retry_budget_init(&t->budget, now);
}

/* ---- what failed ---- */

struct failure {
    unsigned when;                         /* which of enum when it is */
    enum cause cause;
    bool asked;                            /* the answer says when to come back: */
    uint64_t after;                        /* ns from now */
};

static struct failure failure_of_reason(enum reason reason)
{
    switch (reason) {
    case REASON_connect_failed:
    case REASON_connect_timeout:
    case REASON_tls_failed:
        return (struct failure){.when = WHEN_CONNECT, .cause = CAUSE_CONNECT};
    case REASON_upstream_reset:
    case REASON_upstream_cut:
        return (struct failure){.when = WHEN_RESET, .cause = CAUSE_RESET};
    case REASON_first_byte_timeout:
    case REASON_idle_timeout:
        return (struct failure){.when = WHEN_TIMEOUT | WHEN_504, .cause = CAUSE_TIMEOUT};
    case REASON_upstream_bad:
        return (struct failure){.when = WHEN_502, .cause = CAUSE_5XX};
    default:
        return (struct failure){.when = 0};
    }
}

static struct failure failure_of_status(struct request *r, int status)
{
    struct failure f = {.when = status == 502 ? WHEN_502 : status == 503 ? WHEN_503 : status == 504 ? WHEN_504
                              : status == 529 ? WHEN_529 : status == 429 ? WHEN_429 : 0,
                        .cause = status == 429 ? CAUSE_429 : CAUSE_5XX};

    if (status == 429 || status == 503)
        f.asked = http_retry_after(response_head(r), request_wall(r), &f.after);
    return f;
}

static bool is_safe(const struct call *call, const struct outcome *out, const struct failure *f)
{
    return !out->sent || f->cause == CAUSE_429 || (f->when == WHEN_503 && f->asked) || request_safe_to_repeat(call->req);
}

/* ---- when to try again ---- */

/* U(0, most). */
static uint64_t draw(const struct call *call, uint64_t most) { return most ? rng_below(call->rng, most + 1) : 0; }

/* At most `room`. */
static uint64_t backoff(const struct call *call, uint64_t room)
{
    const struct retry_options *o = call->options;
    const struct retry_state *s = call->state;
    uint64_t wait = o->backoff[0] << (s->tries - 1);         /* an hour, ten times doubled, fits */

    if (wait > o->backoff[1])
        wait = o->backoff[1];
    if (wait > room)
        wait = room;
    return o->jitter_none ? wait : draw(call, wait);
}

/* False: it would be too late. Who was told to come back soon, or at once, waits no less than usually: others were told the same.
 * Of that, and of the tenth, only what fits is drawn from. Without a deadline a caller is not kept for longer than he would
 * usually be. */
static bool time_find(struct call *call, const struct failure *f, uint64_t deadline)
{
    if (deadline == TIME_NEVER)
        deadline = time_after(call->now, USUAL_TOTAL);
    if (!f->asked) {
        bool at_once = f->cause == CAUSE_CONNECT && request_endpoint_left(call->req);
        call->not_before = at_once ? call->now : time_after(call->now, backoff(call, TIME_NEVER));
        return call->not_before < deadline;
    }
    uint64_t earliest = time_after(call->now, f->after);
    if (earliest >= deadline)
        return false;
    uint64_t tenth = f->after / 10, room = deadline - earliest - 1;
    uint64_t usual = call->now + backoff(call, deadline - call->now - 1);
    call->not_before = earliest + draw(call, tenth < room ? tenth : room);
    if (call->not_before < usual)
        call->not_before = usual;
    return true;
}

/* ---- deciding ---- */

static void count(const struct call *call, unsigned what)
{
    struct retry *t = call->shared;
    tally_add(&t->counted, call->worker, what, 1);
}

static void count_retry(struct retry *t, unsigned worker, enum cause cause) { tally_add(&t->retries, worker, cause, 1); }

/* The leg ends, an answer goes out, or the retry found no endpoint. One that came to an endpoint is paid for, whatever became
 * of it. */
static void lease_back(void *thing, uint64_t now)
{
    const struct retry_state *s = thing;
    bool made = request_attempts(s->req) != s->judged && request_endpoint_picked(s->req);

    if (made)
        count_retry(s->retry, s->worker, s->cause);
    else
        retry_budget_give_back(&s->retry->budget, s->options->budget, now);
    if (!made && s->answered)              /* the core, or a filter that it had to pass, would not have it */
        tally_add(&s->retry->counted, s->worker, NOT_REFUSED, 1);
}

static void lease_begin(struct call *call, enum cause cause)
{
    struct retry_state *s = call->state;

    s->req = call->req;
    s->retry = call->shared;
    s->options = call->options;
    s->worker = call->worker;
    s->cause = cause;
    s->lease = lease_take(call, SCOPE_LEG, lease_back, s);
}

/* The attempt after the decision is here. `made`: it came to an endpoint. */
static void lease_settle(struct call *call, bool made)
{
    struct retry_state *s = call->state;

    if (made) {
        lease_forget(&s->lease);
        count_retry(call->shared, call->worker, s->cause);
        return;
    }
    s->judged = request_attempts(call->req);
    lease_end(&s->lease, call->now);
}

static bool is_client_retry(struct request *r)
{
    struct str n = http_head_get(request_head(r), STR("x-stainless-retry-count"));
    return n.len > 0 && n.at[0] >= '1' && n.at[0] <= '9';
}

/* An attempt is seen for the first time. */
static void attempt_note(struct call *call, const struct outcome *out)
{
    const struct retry_options *o = call->options;
    struct retry *t = call->shared;
    struct retry_state *s = call->state;
    bool tried = out->endpoint != SIZE_MAX;

    if (s->lease)
        lease_settle(call, tried);
    if (s->tries++ > 0)
        return;
    if (tried)
        retry_budget_deposit(&t->budget, o->budget, call->now);
    if (is_client_retry(call->req))
        count(call, CLIENT_RETRY);
}

static bool take(struct call *call)
{
    const struct retry_options *o = call->options;
    struct retry *t = call->shared;

    if (call->shadow)
        return retry_budget_left(&t->budget, o->budget, call->now) > 0;
    return retry_budget_take(&t->budget, o->budget, call->now);
}

static enum verdict retry_not(struct call *call, unsigned why)
{
    count(call, why);
    if (call->shadow || why == NOT_UNSAFE || why == NOT_ASKED)
        return FILTER_NEXT;
    if (why == NOT_BUDGET)
        request_note(call->req, REASON_retry_budget);
    call->failover = str_of(NULL, 0);
    return FILTER_FAILOVER;
}

/* A failure without an answer is logged by the core. */
static void retry_tell(const struct call *call, const struct outcome *out)
{
    static struct log_limit limit;

    if (out->status)
        log_limited(&limit, LOG_WARN, "retry", STR_FMT ": " STR_FMT ": status %d, to be tried again after %llu ms",
                    STR_ARG(call->name), STR_ARG(request_endpoint(call->req, out->endpoint)), out->status,
                    (unsigned long long)((call->not_before - call->now) / NSEC_PER_MSEC));
}

static enum verdict retry_decide(struct call *call, const struct outcome *out, const struct failure *f)
{
    const struct retry_options *o = call->options;
    const struct retry_state *s = call->state;

    if (f->cause == CAUSE_429 && !f->asked)
        return retry_not(call, NOT_ASKED);
    if (!is_safe(call, out, f))
        return retry_not(call, NOT_UNSAFE);
    if (s->tries > o->max)
        return retry_not(call, EXHAUSTED);
    if (!request_body_kept(call->req))
        return retry_not(call, NOT_BODY);
    if (!time_find(call, f, request_deadline(call->req)))
        return retry_not(call, NOT_DEADLINE);
    if (!take(call))
        return retry_not(call, NOT_BUDGET);
    if (call->shadow) {
        count_retry(call->shared, call->worker, f->cause);
        return FILTER_RETRY;
    }
    lease_begin(call, f->cause);
    retry_tell(call, out);
    return FILTER_RETRY;
}

static enum verdict retry_on_head(struct call *call, const struct outcome *out)
{
    const struct retry_options *o = call->options;
    struct retry_state *s = call->state;
    unsigned attempt = request_attempts(call->req);

    if (s->judged != attempt)
        attempt_note(call, out);
    s->judged = attempt;
    if (out->reason == REASON_none && out->status < 429)
        return FILTER_NEXT;
    struct failure f = out->reason != REASON_none ? failure_of_reason(out->reason)
                                                  : failure_of_status(call->req, out->status);
    if (!(f.when & o->when) || s->lease)
        return FILTER_NEXT;              /* with a lease: this attempt was judged before, and the core said no */
    return retry_decide(call, out, &f);
}

/* ---- telling ---- */

/* Tells how many tries it took, those of a leg before this one too. One is not worth a line. */
static enum verdict retry_on_response(struct call *call)
{
    unsigned n = request_attempts(call->req);
    struct arena *arena = request_arena(call->req);
    struct retry_state *s = call->state;

    s->answered = true;
    if (s->lease)                        /* not at the end of the leg: the answer may be long */
        lease_end(&s->lease, call->now);
    if (n > 1 && !call->shadow)
        http_head_set(response_head(call->req), arena, STR("x-weir-attempts"), arena_u64(arena, n));
    return FILTER_NEXT;
}

static const struct figure retry_figures[] = {
    {"retry_attempts_total", FIGURE_COUNTER, "cause", "connect", "Retries by what went wrong before."},
    {"retry_attempts_total", FIGURE_COUNTER, "cause", "reset", NULL},
    {"retry_attempts_total", FIGURE_COUNTER, "cause", "timeout", NULL},
    {"retry_attempts_total", FIGURE_COUNTER, "cause", "status_5xx", NULL},
    {"retry_attempts_total", FIGURE_COUNTER, "cause", "status_429", NULL},
    {"retry_not_done_total", FIGURE_COUNTER, "reason", "budget",
     "Failures that were not tried again, by why: nothing left in the budget; the request must not be sent twice; the wait "
     "would be too long; its body was not kept; another filter would not let it begin; a 429 that does not say when."},
    {"retry_not_done_total", FIGURE_COUNTER, "reason", "unsafe", NULL},
    {"retry_not_done_total", FIGURE_COUNTER, "reason", "deadline", NULL},
    {"retry_not_done_total", FIGURE_COUNTER, "reason", "body", NULL},
    {"retry_not_done_total", FIGURE_COUNTER, "reason", "refused", NULL},
    {"retry_not_done_total", FIGURE_COUNTER, "reason", "no_retry_after", NULL},
    {"retry_exhausted_total", FIGURE_COUNTER, NULL, NULL, "Requests that failed in all the tries that they may have."},
    {"retry_client_retries_total", FIGURE_COUNTER, NULL, NULL,
     "Requests that their clients sent again by themselves (x-stainless-retry-count)."},
    {"retry_budget_balance", FIGURE_GAUGE, NULL, NULL, "Retries that may be made at once, by all workers."},
    {.name = NULL},
};

static void retry_figures_read(void *shared, const void *options, uint64_t now, union figure_value *v)
{
    const struct retry_options *o = options;
    const struct retry *t = shared;

    for (unsigned i = 0; i < CAUSE_COUNT; i++)
        (v++)->n = tally_sum(&t->retries, i);
    for (unsigned i = 0; i < COUNTED; i++)
        (v++)->n = tally_sum(&t->counted, i);
    v->n = retry_budget_left(&t->budget, o->budget, now);
}

const struct filter filter_retry = {
    .name = "retry",
    .help = "Tries a request again when an endpoint fails, where that is safe, within a budget for all requests.",
    .places = PLACE_UPSTREAM,
    .fields = retry_fields,
    .options_size = sizeof(struct retry_options),
    .shared_size = sizeof(struct retry),
    .state_size = sizeof(struct retry_state),
    .keep_body_of = retry_keep_body,
    .options_check = retry_check,
    .shared_adopt = retry_adopt,
    .on_head = retry_on_head,
    .on_response = retry_on_response,
    .figures = retry_figures,
    .figures_read = retry_figures_read,
};
