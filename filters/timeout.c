/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long things may take: one deadline of the request, counted from the arrival of its head, that queues, attempts and
 * pauses between them all spend; and the limits of the parts of an exchange.
 *
 * The core keeps all of these times (request.h); here is only what they are set to. What is not written stays what the
 * owner's own keys say. Of several filters the last word counts for a part, for it is the nearest to what it is about; of
 * deadlines the first one counts, for each was promised to somebody.
 *
 * A caller may say how long he will wait. That only ever shortens: who says too much, or nonsense, or nothing, gets what the
 * configuration says. An answer that began in time goes on, unless `total` is written: that is a bound on everything.
 *
 * It does not know the time in which a head must arrive: there is no request yet. Nor is it asked by attempts: the core
 * tells each endpoint what is left when it sends the request, which is later than any hook.
 */
#include "filters/timeout.h"

#include "conf/field.h"
#include "conf/load.h"
#include "figure.h"
#include "filter.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/tally.h"
#include "request.h"

#define CALLER_FIELD STR("X-Request-Timeout")
#define HOUR (3600 * NSEC_PER_SEC)

/* ---- options ---- */

static int client_header_read(void *at, const struct yaml_node *n, struct load *load)
{
    (void)at;
    return load_err(load, n, CODE_together, "client_header: cannot stand here, for while a head arrives there is no request yet; "
                    "it is header_timeout of the listener: listen: {at: ADDRESS, header_timeout: 10s}");
}

#define TIMEOUT(KEY, MAX, HELP)                                                                                    \
    {.key = #KEY, .type = FIELD_DURATION, .offset = offsetof(struct timeout_options, KEY), .min = NSEC_PER_MSEC,   \
     .max = MAX, .help = HELP}

static const struct field timeout_fields[] = {
    TIMEOUT(connect, HOUR,
            "How long connecting to an endpoint may take: 504 `connect_timeout`. Without it the upstream's `timeouts.connect` "
            "holds."),
    TIMEOUT(tls, HOUR,
            "How long the handshake with an `https` endpoint may take: 504 `connect_timeout`. Without it, connecting and the "
            "handshake share the time for `connect`."),
    TIMEOUT(first_byte, 24 * HOUR,
            "How long the first byte of an answer may take, from the request's last byte, or while a body waits for 100: 504 "
            "`first_byte_timeout`. Without it the upstream's `timeouts.first_byte` holds."),
    TIMEOUT(idle, 24 * HOUR,
            "How long an endpoint may send nothing in the middle of an answer, or take nothing of a request: 504 `idle_timeout`, "
            "or a cut. Without it the upstream's `timeouts.idle` holds; an upgraded connection has `timeouts.tunnel`."),
    TIMEOUT(total, 24 * HOUR,
            "How long everything may take, from the arrival of the request's head to the last byte of the answer, waiting, "
            "attempts, downloads, event streams and upgraded connections included: 504 `total_timeout`, or a cut. It stands in "
            "the place of the route's `timeout`, which ends with the head of the answer. Of several the shortest counts."),
    TIMEOUT(client_body, HOUR,
            "How long a client may send nothing in the middle of a body: 408 `client_timeout`. Without it the listener's "
            "`body_timeout` holds."),
    {.key = "client_header", .type = FIELD_CUSTOM, .parse = client_header_read, .form = "not here", .json = "false",
     .help = "How long a request's head may take to arrive is said by `header_timeout` of the listener."},
    {.type = FIELD_END},
};

/* What cannot happen before the deadline has ended the request is not what somebody meant. */
static void warn_if_above(const char *key, uint64_t part, const struct timeout_options *o, const struct load *load)
{
    const struct yaml_node *total = yaml_get(load->node, "total"), *at = yaml_get(load->node, key);
    if (o->total == 0 || part <= o->total || !total || !at)
        return;
    load_warn(load, at, CODE_pointless, "%s: %s cannot be, for total %s ends the request before", key,
              yaml_quoted(at).text, yaml_quoted(total).text);
}

static int timeout_check(void *options, struct load *load)
{
    const struct timeout_options *o = options;
    warn_if_above("connect", o->connect, o, load);
    warn_if_above("tls", o->tls, o, load);
    warn_if_above("first_byte", o->first_byte, o, load);
    return 0;
}

/* ---- what a caller says ---- */

/* No `m`: to some it is a minute, to others a thousandth of a second. */
bool timeout_parse(struct str s, uint64_t *ns)
{
    uint64_t unit = NSEC_PER_MSEC, n;

    if (s.len > 1 && s.at[s.len - 1] == 's') {
        bool ms = s.at[s.len - 2] == 'm';
        unit = ms ? NSEC_PER_MSEC : NSEC_PER_SEC;
        s.len -= ms ? 2 : 1;
    }
    if (!str_u64(s, &n) || n == 0 || n > TIME_NEVER / unit)
        return false;
    *ns = n * unit;
    return true;
}

/* ---- a request ---- */

enum count { COUNT_TAKEN, COUNT_IGNORED, COUNT_CONNECT, COUNT_FIRST_BYTE, COUNT_IDLE, COUNT_TOTAL, COUNT_CLIENT, COUNTS };

struct timeout {
    struct tally tally;
};

struct timeout_state {
    uint64_t deadline;               /* that this filter asks for; TIME_NEVER: none */
};

_Static_assert((int)COUNTS <= (int)TALLY_COUNTERS, "the tally has no room for all counters");

/* Counts go on over a reload; there is nothing else. */
static void timeout_adopt(void *shared, const void *options, bool fresh, uint64_t now)
{
    (void)shared;
    (void)options;
    (void)fresh;
    (void)now;
}

static void count(const struct call *call, enum count which)
{
    struct timeout *t = call->shared;
    tally_add(&t->tally, call->worker, which, 1);
}

/* The least of what the caller's fields say; TIME_NEVER: nothing that can be used. */
static uint64_t caller_limit(const struct call *call)
{
    const struct http_head *head = request_head(call->req);
    uint64_t least = TIME_NEVER, ns;
    struct str name, value;
    unsigned at = 0;
    bool ignored = false;

    if (!http_head_get(head, CALLER_FIELD).at)   /* most say nothing: that is found out faster */
        return TIME_NEVER;
    while (http_head_next(head, &at, &name, &value)) {
        if (!str_eq_nocase(name, CALLER_FIELD))
            continue;
        if (!timeout_parse(value, &ns))
            ignored = true;
        else if (ns < least)
            least = ns;
    }
    if (ignored)
        count(call, COUNT_IGNORED);
    if (least != TIME_NEVER)
        count(call, COUNT_TAKEN);
    return least;
}

static void set(uint64_t *to, uint64_t ns)
{
    if (ns > 0)
        *to = ns;
}

static enum verdict timeout_on_request(struct call *call)
{
    const struct timeout_options *o = call->options;
    struct timeout_state *state = call->state;
    struct request_times *times = request_times(call->req);
    uint64_t asked = caller_limit(call), limit = asked;

    if (o->total > 0 && o->total < limit)
        limit = o->total;
    state->deadline = time_after(request_arrived(call->req), limit);
    if (call->shadow)
        return FILTER_NEXT;
    set(&times->connect, o->connect);
    set(&times->tls, o->tls);
    set(&times->first_byte, o->first_byte);
    set(&times->idle, o->idle);
    set(&times->client_body, o->client_body);
    if (asked != TIME_NEVER)
        request_set_caller_deadline(call->req, time_after(request_arrived(call->req), asked));
    if (state->deadline != TIME_NEVER)
        request_set_deadline(call->req, state->deadline, o->total > 0);
    request_tell_left(call->req, CALLER_FIELD);
    return FILTER_NEXT;
}

/* Of a filter in shadow mode: would its deadline have ended it? The limits of parts leave no trace that could be judged. */
static bool outlived(const struct call *call, const struct outcome *out)
{
    const struct timeout_options *o = call->options;
    const struct timeout_state *state = call->state;
    uint64_t end = o->total > 0 || out->first_byte == 0 ? out->ended : out->first_byte;
    return end > state->deadline;
}

static void timeout_on_end(struct call *call, const struct outcome *out)
{
    static struct log_limit limit;
    if (call->shadow) {
        if (!outlived(call, out))
            return;
        count(call, COUNT_TOTAL);
        log_limited(&limit, LOG_INFO, "filter", "timeout: " STR_FMT ": would have ended a request (mode: shadow)",
                    STR_ARG(call->name));
        return;
    }
    switch (out->reason) {
    case REASON_connect_timeout: count(call, COUNT_CONNECT); break;
    case REASON_first_byte_timeout: count(call, COUNT_FIRST_BYTE); break;
    case REASON_idle_timeout: count(call, COUNT_IDLE); break;
    case REASON_total_timeout: count(call, COUNT_TOTAL); break;
    case REASON_client_timeout: count(call, COUNT_CLIENT); break;
    default: break;
    }
}

/* ---- what it counts ---- */

#define ENDED(REASON, HELP) \
    {.name = "timeout_total", .type = FIGURE_COUNTER, .label = "reason", .value = REASON, .help = HELP}

static const struct figure timeout_figures[] = {
    {.name = "timeout_caller_total", .type = FIGURE_COUNTER, .label = "result", .value = "taken",
     .help = "Requests that said in X-Request-Timeout how long their caller waits, by what came of it: ignored is what could "
             "not be read."},
    {.name = "timeout_caller_total", .type = FIGURE_COUNTER, .label = "result", .value = "ignored"},
    ENDED("connect_timeout", "Requests that ended for want of time, by what took it; in shadow mode those that would have."),
    ENDED("first_byte_timeout", NULL),
    ENDED("idle_timeout", NULL),
    ENDED("total_timeout", NULL),
    ENDED("client_timeout", NULL),
    {.name = NULL},
};

_Static_assert(sizeof timeout_figures / sizeof *timeout_figures == COUNTS + 1, "a row for each counter");

static void timeout_figures_read(void *shared, const void *options, uint64_t now, union figure_value *v)
{
    const struct timeout *t = shared;
    (void)options;
    (void)now;
    for (unsigned i = 0; i < COUNTS; i++)
        v[i].n = tally_sum(&t->tally, i);
}

const struct filter filter_timeout = {
    .name = "timeout",
    .help = "Says how long a request and its parts may take. The caller may shorten that with X-Request-Timeout (`2s`, `500ms` "
            "or whole milliseconds), in which endpoints are told how many milliseconds are left.",
    .places = PLACE_ANY,
    .fields = timeout_fields,
    .options_size = sizeof(struct timeout_options),
    .shared_size = sizeof(struct timeout),
    .state_size = sizeof(struct timeout_state),
    .options_check = timeout_check,
    .shared_adopt = timeout_adopt,
    .on_request = timeout_on_request,
    .on_end = timeout_on_end,
    .figures = timeout_figures,
    .figures_read = timeout_figures_read,
};
