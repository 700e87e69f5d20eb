/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ACTOR_H
#define ACTOR_H

#include <stddef.h>
#include "test.h"

#include "conf/field.h"
#include "filter.h"
#include "lib/check.h"
#include "lib/ip.h"
#include "lib/mem.h"
#include "reply.h"
#include "request.h"
#include "sim.h"

/*
 * A filter that does what the test's script says and notes every hook that is called.
 *
 *     PLAY(ACT("a", "request", FILTER_WAIT, .after = NSEC_PER_SEC));
 *     ... {actor: {id: a}} in the configuration ...
 *     EXPECT_NOTED("a.request a.request/timer a.attempt ...");
 *
 * The first line of the script that is not used up and fits who is asked, and where, is done; without one it is NEXT. Body
 * hooks are noted as a.up[bytes] and a.down[bytes], with a $ at the end of the body. Include before anything of its kind.
 */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"    /* a script names what it needs */

struct act {
    const char *who, *hook;
    enum verdict verdict;
    enum reason reason;              /* of FAIL */
    uint64_t after;                  /* ns: wait_until(now + after); of REPLY: it is a limit's, with this wait */
    uint64_t not_before;             /* of RETRY, from now */
    int status;                      /* of REPLY */
    const char *failover;
    const char *emit;
    int lease;                       /* 1 + scope: one is taken */
    bool always;                     /* not used up */
    void (*run)(struct call *);
    bool used;
};

struct actor_options { struct str id; };
struct actor_state { unsigned calls; bool ended; };

static struct act actor_script[16];
static char actor_noted[6000], actor_outcomes[3000];
static unsigned actor_granted, actor_refused;      /* hooks that ran because of a wake-up; wake-ups that met nobody */

static void note(const char *fmt, ...) printf_like(1, 2);
static void note(const char *fmt, ...)
{
    size_t n = strlen(actor_noted);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(actor_noted + n, sizeof actor_noted - n, fmt, ap);
    va_end(ap);
}

static inline void actor_clear(void) { actor_noted[0] = actor_outcomes[0] = '\0'; }

static inline void actor_play(const struct act *v, size_t n)
{
    check(n <= array_len(actor_script));
    memset(actor_script, 0, sizeof actor_script);
    if (n > 0)
        memcpy(actor_script, v, n * sizeof *v);
    actor_clear();
}

#define ACT(WHO, HOOK, VERDICT, ...) {.who = WHO, .hook = HOOK, .verdict = VERDICT, __VA_ARGS__}
#define PLAY(...)                                                                                                    \
    do {                                                                                                             \
        const struct act acts_[] = {__VA_ARGS__};                                                                    \
        actor_play(acts_, array_len(acts_));                                                                         \
    } while (0)
#define PLAY_NOTHING() actor_play(NULL, 0)

static void actor_gave_back(void *thing, uint64_t now)
{
    const struct act *a = thing;
    EXPECT(now > 0);
    note("%s.%s-back ", a->who, a->hook);
}

static struct act *actor_find(struct str id, const char *hook)
{
    for (size_t i = 0; i < array_len(actor_script) && actor_script[i].who; i++) {
        struct act *a = &actor_script[i];
        if (!a->used && str_eq(id, str_c(a->who)) && !strcmp(a->hook, hook))
            return a;
    }
    return NULL;
}

static void actor_note_call(const struct call *call, const char *hook, const struct slice *s)
{
    static const char *const why[] = {"", "/timer", "/granted", "/external"};
    const struct actor_options *o = call->options;
    note(STR_FMT ".%s%s", STR_ARG(o->id), hook, why[call->why]);
    if (s && s->len > 40)
        note("[%zu]%s", s->len, s->last ? "$" : "");
    else if (s)
        note("[%.*s]%s", (int)s->len, (const char *)s->at, s->last ? "$" : "");
    note(" ");
}

static enum verdict actor_act(struct call *call, const char *hook, const struct slice *s)
{
    const struct actor_options *o = call->options;
    struct actor_state *state = call->state;
    struct act *a = actor_find(o->id, hook);
    actor_granted += call->why == WHY_GRANTED;
    actor_note_call(call, hook, s);
    EXPECT(!state->ended);
    state->calls++;
    if (!a)
        return FILTER_NEXT;
    a->used = !a->always;
    if (a->after && a->verdict != FILTER_REPLY)
        wait_until(call, call->now + a->after);
    if (a->lease)
        lease_take(call, (enum scope)(a->lease - 1), actor_gave_back, a);
    if (a->run)
        a->run(call);
    if (a->emit)
        body_emit(call, a->emit, strlen(a->emit));
    if (a->verdict == FILTER_REPLY && a->after) {
        reply_reason(call->req, call->reply, REASON_rate_limited, (struct str){NULL, 0});
        call->reply->retry_after = a->after;
    } else if (a->verdict == FILTER_REPLY) {
        call->reply->status = a->status ? a->status : 418;
        call->reply->reason = REASON_replied;
        call->reply->body = STR("tea");
    }
    call->reason = a->reason;
    call->not_before = a->not_before ? call->now + a->not_before : 0;
    call->failover = str_c(a->failover);
    return a->verdict;
}

static void actor_note_outcome(const struct call *call, const char *hook, const struct outcome *out)
{
    static const char *const by[] = {"upstream", "client", "us", "deadline"};
    const struct actor_options *o = call->options;
    size_t n = strlen(actor_outcomes);
    snprintf(actor_outcomes + n, sizeof actor_outcomes - n, STR_FMT ".%s: by %s, %s, %d%s%s%s, in %llu, out %llu\n",
             STR_ARG(o->id), hook, by[out->by], reason_name(out->reason), out->status, out->sent ? ", sent" : "",
             out->committed ? ", committed" : "", out->complete ? ", complete" : "", (unsigned long long)out->bytes_in,
             (unsigned long long)out->bytes_out);
    EXPECT(out->started > 0 && out->ended >= out->started);
}

static enum verdict actor_request(struct call *c) { return actor_act(c, "request", NULL); }
static enum verdict actor_up(struct call *c, struct slice s) { return actor_act(c, "up", &s); }
static enum verdict actor_attempt(struct call *c) { return actor_act(c, "attempt", NULL); }
static enum verdict actor_response(struct call *c) { return actor_act(c, "response", NULL); }
static enum verdict actor_down(struct call *c, struct slice s) { return actor_act(c, "down", &s); }
static void actor_trailers(struct call *c) { (void)actor_act(c, "trailers", NULL); }

static enum verdict actor_endpoint(struct call *c, size_t endpoint)
{
    char hook[20];
    snprintf(hook, sizeof hook, "endpoint%zu", endpoint);
    return actor_act(c, hook, NULL);
}

static enum verdict actor_head(struct call *c, const struct outcome *out)
{
    enum verdict v;
    EXPECT((response_head(c->req) == NULL) == (out->reason != REASON_none));
    EXPECT_EQ(c->reason, out->reason);
    v = actor_act(c, "head", NULL);
    return v;
}

static void actor_attempt_end(struct call *c, const struct outcome *out)
{
    (void)actor_act(c, "attempt_end", NULL);
    actor_note_outcome(c, "attempt_end", out);
}

static void actor_end(struct call *c, const struct outcome *out)
{
    (void)actor_act(c, "end", NULL);
    actor_note_outcome(c, "end", out);
    ((struct actor_state *)c->state)->ended = true;
}

static void actor_over(struct wake *w)
{
    static unsigned granted;
    if (actor_granted == granted)
        actor_refused++;
    granted = actor_granted;
    mem_free(w);
}

static inline void actor_grant(struct wake_handle handle)
{
    struct wake *w = mem_zalloc(sizeof *w);
    *w = (struct wake){.handle = handle, .why = WHY_GRANTED, .over = actor_over};
    wake_post(w);
}

/* As its on_request would: a line of the script with the hook "peek". */
static enum verdict actor_peek(struct call *c) { return actor_act(c, "peek", NULL); }

static const struct field actor_fields[] = {
    {.key = "id", .type = FIELD_TEXT, .offset = offsetof(struct actor_options, id), .required = true, .help = "Who."},
    {.type = FIELD_END},
};

/* All hooks; what else there is to say of a filter behind the name. */
#define ACTOR(NAME, ...)                                                                                             \
    {.name = NAME, .places = PLACE_ANY, .fields = actor_fields, .options_size = sizeof(struct actor_options),        \
     .state_size = sizeof(struct actor_state), .on_request = actor_request, .on_request_body = actor_up,             \
     .on_attempt = actor_attempt, .on_endpoint = actor_endpoint, .on_head = actor_head,                              \
     .on_response = actor_response, .on_response_body = actor_down, .on_trailers = actor_trailers,                   \
     .on_attempt_end = actor_attempt_end, .on_end = actor_end, .peek = actor_peek, __VA_ARGS__}

#define EXPECT_NOTED(text)                              \
    do {                                                \
        EXPECT_CSTR(actor_noted, text);                 \
        actor_noted[0] = '\0';                          \
    } while (0)
#define EXPECT_OUTCOMES(text)                           \
    do {                                                \
        EXPECT_CSTR(actor_outcomes, text);              \
        actor_outcomes[0] = '\0';                       \
    } while (0)

/* The simulation ends with nothing left, and the script was played to its end. */
#define PLAY_END(sim)                                                                                                \
    do {                                                                                                             \
        SIM_END(sim);                                                                                                \
        for (size_t i_ = 0; i_ < array_len(actor_script) && actor_script[i_].who; i_++)                              \
            if (!actor_script[i_].used && !actor_script[i_].always)                                                  \
                EXPECT_STR(str_c(actor_script[i_].hook), "a hook that is called");                                   \
    } while (0)

#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

#endif
