/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A circuit breaker's states and its window.
 *
 * All that decides is one word: the phase, and the time that belongs to it (until when it is open; since when it is
 * half open or closed). No word comes twice, so that it also names the era: an attempt keeps the word that let it in,
 * and has a say only while it still stands. The word is changed with the lock held, by whoever finds it as expected:
 * so one thread wins each transition, and what goes with it (places of probes, counts, the ring of causes) is put
 * right before the new word is to be seen.
 *
 * The window is ten slots in a ring. Each counter carries the time at which its slot began, and the first to count in
 * a new slot throws out what stood there ten slots ago, in one exchange: nothing rotates them, an idle breaker costs
 * nothing, and a worker that is a little behind counts where it believes to be. One that is a whole window behind is
 * not heard. Because slots carry times and not numbers, another length of the window needs no conversion.
 *
 * Requests, failures and slow ones are counters of their own. Who looks between two of them sees a share that is too
 * low by one for an instant; the one who counts looks after it did.
 */
#include "filters/breaker_state.h"

#include "lib/check.h"
#include "lib/clock.h"
#include "lib/rng.h"

/* ---- the word ---- */

/* Zero is none of them: that is the era of what was not let in. */
enum stand {
    STAND_CLOSED = 1,                    /* since its time, without a ramp: from the beginning, or by the operator */
    STAND_CLOSED_AGAIN,                  /* its ramp begins at its time */
    STAND_HALF_OPEN,
    STAND_OPEN,                          /* until its time */
    STAND_HELD_OPEN,
    STAND_HELD_CLOSED,
};

#define STAND_BITS 3
#define TIME_MAX   (UINT64_MAX >> STAND_BITS)

/* The share that is let in when a ramp begins, and the least time that a probe has. */
#define RAMP_FROM  (BREAKER_ALL / 10)
#define PROBE_TIME NSEC_PER_SEC
#define TRIPS_MAX  64u

static uint64_t word_of(enum stand stand, uint64_t time)
{
    return (time < TIME_MAX ? time : TIME_MAX) << STAND_BITS | (uint64_t)stand;
}

static enum stand stand_of(uint64_t word) { return (enum stand)(word & ((1u << STAND_BITS) - 1)); }
static uint64_t time_of(uint64_t word) { return word >> STAND_BITS; }
static uint64_t word_read(const struct breaker_state *s)
{
    return atomic_load_explicit(&s->word, memory_order_acquire);
}

static void word_set(struct breaker_state *s, enum stand stand, uint64_t time)
{
    atomic_store_explicit(&s->word, word_of(stand, time), memory_order_release);
}

static uint64_t since(uint64_t then, uint64_t now) { return now > then ? now - then : 0; }

static bool is_ramping(const struct breaker_rule *rule, uint64_t word, uint64_t now)
{
    return stand_of(word) == STAND_CLOSED_AGAIN && since(time_of(word), now) < rule->ramp;
}

static enum breaker_phase phase_of(const struct breaker_rule *rule, uint64_t word, uint64_t now)
{
    switch (stand_of(word)) {
    case STAND_CLOSED_AGAIN:
        return is_ramping(rule, word, now) ? BREAKER_RAMPING : BREAKER_CLOSED;
    case STAND_CLOSED:
    case STAND_HELD_CLOSED:
        return BREAKER_CLOSED;
    case STAND_HALF_OPEN:
        return BREAKER_HALF_OPEN;
    case STAND_OPEN:
    case STAND_HELD_OPEN:
        return BREAKER_OPEN;
    }
    unreachable();
}

void breaker_state_init(struct breaker_state *s, enum breaker_hold hold)
{
    check(pthread_mutex_init(&s->lock, NULL) == 0);
    word_set(s, hold == BREAKER_HELD_OPEN ? STAND_HELD_OPEN
                : hold == BREAKER_HELD_CLOSED ? STAND_HELD_CLOSED : STAND_CLOSED, 0);
}

void breaker_state_fini(struct breaker_state *s) { check(pthread_mutex_destroy(&s->lock) == 0); }

static void locked(struct breaker_state *s) { check(pthread_mutex_lock(&s->lock) == 0); }
static void unlocked(struct breaker_state *s) { check(pthread_mutex_unlock(&s->lock) == 0); }

/* False: another was quicker, nothing is locked. */
static bool locked_in(struct breaker_state *s, uint64_t word)
{
    locked(s);
    if (word_read(s) == word)
        return true;
    unlocked(s);
    return false;
}

/* ---- the window ---- */

/* A counter: when its slot began, in units of 2^20 ns, modulo 2^36 (two years); and how many, which saturates. */
#define UNIT_BITS  20
#define COUNT_BITS 28
#define COUNT_MAX  (((uint64_t)1 << COUNT_BITS) - 1)
#define START_MASK (UINT64_MAX >> COUNT_BITS)

struct span {                            /* of the window at one moment, in units */
    uint64_t first, last, now;           /* when its oldest and its newest slot began */
    uint64_t length;
    unsigned at;                         /* the newest one's place */
};

static struct span span_at(const struct breaker_rule *rule, uint64_t now)
{
    uint64_t length = rule->window / BREAKER_SLOTS + (rule->window % BREAKER_SLOTS != 0);
    uint64_t n = now / length, oldest = n < BREAKER_SLOTS ? 0 : n - (BREAKER_SLOTS - 1);
    return (struct span){
        .first = oldest * length >> UNIT_BITS, .last = n * length >> UNIT_BITS, .now = now >> UNIT_BITS,
        .length = rule->window >> UNIT_BITS, .at = (unsigned)(n % BREAKER_SLOTS),
    };
}

static uint64_t distance(uint64_t from, uint64_t to) { return (to - from) & START_MASK; }

/* A counter that is not of this slot, and ahead, belongs to a thread whose time is ahead by a window, for the places
 * are the same: what comes late is dropped. One that is farther ahead is of no time that ever was. A slot of another
 * length (there was a reload) may have begun since this one did. */
static void count(_Atomic uint64_t *at, const struct span *span)
{
    uint64_t next, word = atomic_load_explicit(at, memory_order_relaxed);
    do {
        uint64_t ahead = distance(span->last, word >> COUNT_BITS);
        bool same = ahead <= span->now - span->last;
        if (same ? (word & COUNT_MAX) == COUNT_MAX : ahead < span->length + span->length / 2)
            return;
        next = same ? word + 1 : (span->last & START_MASK) << COUNT_BITS | 1;
    } while (!atomic_compare_exchange_weak_explicit(at, &word, next, memory_order_relaxed, memory_order_relaxed));
}

static uint64_t counted(const _Atomic uint64_t *at, const struct span *span)
{
    uint64_t word = atomic_load_explicit(at, memory_order_relaxed);
    return distance(span->first, word >> COUNT_BITS) <= span->now - span->first ? word & COUNT_MAX : 0;
}

struct sums { uint64_t requests, failures, slow; };

static struct sums window_sums(const struct breaker_state *s, const struct span *span)
{
    struct sums sums = {0};
    for (unsigned i = 0; i < BREAKER_SLOTS; i++) {
        sums.requests += counted(&s->slots[i].requests, span);
        sums.failures += counted(&s->slots[i].failures, span);
        sums.slow += counted(&s->slots[i].slow, span);
    }
    return sums;
}

static void window_add(struct breaker_state *s, const struct span *span, enum breaker_outcome what)
{
    struct breaker_slot *slot = &s->slots[span->at];
    count(&slot->requests, span);
    if (what == BREAKER_SUCCESS)
        return;
    count(what == BREAKER_FAILURE ? &slot->failures : &slot->slow, span);
    if (atomic_load_explicit(&s->last_bad, memory_order_relaxed) < span->last)
        atomic_store_explicit(&s->last_bad, span->last, memory_order_relaxed);
}

static void window_clear(struct breaker_state *s)
{
    for (unsigned i = 0; i < BREAKER_SLOTS; i++) {
        atomic_store_explicit(&s->slots[i].requests, 0, memory_order_relaxed);
        atomic_store_explicit(&s->slots[i].failures, 0, memory_order_relaxed);
        atomic_store_explicit(&s->slots[i].slow, 0, memory_order_relaxed);
    }
    atomic_store_explicit(&s->last_bad, 0, memory_order_relaxed);
    atomic_store_explicit(&s->n_causes, 0, memory_order_relaxed);
}

static bool is_share(uint64_t part, uint64_t all, uint32_t share) { return part * BREAKER_ALL >= all * share; }

static bool is_too_bad(const struct breaker_rule *rule, const struct sums *sums)
{
    return sums->requests >= rule->min_requests && (is_share(sums->failures, sums->requests, rule->errors)
           || (rule->slow && is_share(sums->slow, sums->requests, rule->slow)));
}

/* ---- causes ---- */

static void cause_add(struct breaker_state *s, uint32_t cause)
{
    uint32_t n = atomic_fetch_add_explicit(&s->n_causes, 1, memory_order_relaxed);
    atomic_store_explicit(&s->causes[n % BREAKER_CAUSES], cause, memory_order_relaxed);
}

static void causes_read(const struct breaker_state *s, struct breaker_change *change)
{
    uint32_t n = atomic_load_explicit(&s->n_causes, memory_order_relaxed);
    for (change->n_causes = 0; change->n_causes < BREAKER_CAUSES && change->n_causes < n; change->n_causes++)
        change->causes[change->n_causes] =
            atomic_load_explicit(&s->causes[(n - 1 - change->n_causes) % BREAKER_CAUSES], memory_order_relaxed);
}

/* ---- transitions: with the lock ---- */

static void changed(struct breaker_change *change, enum breaker_phase from, enum breaker_phase to,
                    const struct sums *sums)
{
    *change = (struct breaker_change){.made = true, .from = from, .to = to, .requests = sums->requests,
                                      .failures = sums->failures, .slow = sums->slow};
}

static uint64_t open_time(const struct breaker_rule *rule, uint32_t doublings, struct rng *rng)
{
    uint64_t time = rule->open_min;
    while (doublings-- > 0 && time < rule->open_max)
        time = time_after(time, time);
    if (time > rule->open_max)
        time = rule->open_max;
    uint64_t fifth = time / 5;
    return time_after(time - fifth, rng_below(rng, 2 * fifth + 1));
}

static void to_open(struct breaker_state *s, const struct breaker_now *now, const struct sums *sums,
                    struct breaker_change *change)
{
    enum breaker_phase from = phase_of(now->rule, word_read(s), now->time);
    if (from == BREAKER_CLOSED)
        s->trips = 0;                    /* its ramp was over: the trouble is a new one */
    uint64_t time = open_time(now->rule, s->trips, now->rng);
    s->trips += s->trips < TRIPS_MAX;
    changed(change, from, BREAKER_OPEN, sums);
    change->wait = time;
    causes_read(s, change);
    word_set(s, STAND_OPEN, time_after(now->time, time));
}

static void to_half_open(struct breaker_state *s, enum breaker_phase from, uint64_t now, struct breaker_change *change)
{
    for (unsigned i = 0; i < BREAKER_PROBES; i++)
        atomic_store_explicit(&s->probes[i], 0, memory_order_relaxed);
    atomic_store_explicit(&s->answered, 0, memory_order_relaxed);
    s->answered_slow = 0;
    changed(change, from, BREAKER_HALF_OPEN, &(struct sums){0});
    word_set(s, STAND_HALF_OPEN, now);
}

static void to_closed(struct breaker_state *s, const struct sums *sums, uint64_t now, struct breaker_change *change)
{
    window_clear(s);
    changed(change, BREAKER_HALF_OPEN, BREAKER_CLOSED, sums);
    word_set(s, STAND_CLOSED_AGAIN, now);
}

/* ---- probes ---- */

static unsigned probes_allowed(const struct breaker_state *s)
{
    uint32_t answered = atomic_load_explicit(&s->answered, memory_order_relaxed);
    return answered < 1 ? 1 : answered < 3 ? 2 : BREAKER_PROBES;
}

struct probes {
    unsigned n, free;                    /* under way; a free place */
    uint64_t first;                      /* the limit that is reached first; TIME_NEVER: none */
};

static struct probes probes_look(const struct breaker_state *s, uint64_t now)
{
    struct probes p = {.first = TIME_NEVER};
    for (unsigned i = 0; i < BREAKER_PROBES; i++) {
        uint64_t limit = atomic_load_explicit(&s->probes[i], memory_order_relaxed);
        if (limit <= now) {
            p.free = i;
            continue;
        }
        p.n++;
        if (limit < p.first)
            p.first = limit;
    }
    return p;
}

/* With the lock. A place is kept for open_min: a caller who drips his upload must not hold up all others; how the probe ends
 * later counts all the same. Its limit is later than any that ran out in its place, so that who had the place before cannot give
 * it back. */
static bool probe_take(struct breaker_state *s, const struct breaker_now *now, struct breaker_ask *ask)
{
    struct probes p = probes_look(s, now->time);
    uint64_t least = now->rule->open_min > PROBE_TIME ? now->rule->open_min : PROBE_TIME;
    uint64_t limit = time_after(now->time, least);
    if (p.n >= probes_allowed(s))
        return false;
    if (ask->deadline < limit)
        limit = ask->deadline > now->time ? ask->deadline : now->time + 1;
    ask->pass = (struct breaker_pass){.era = word_read(s), .limit = limit, .probe = p.free};
    atomic_store_explicit(&s->probes[p.free], limit, memory_order_relaxed);
    return true;
}

void breaker_state_return(struct breaker_state *s, const struct breaker_pass *pass)
{
    check(breaker_pass_is_probe(pass));
    if (!locked_in(s, pass->era))
        return;
    if (atomic_load_explicit(&s->probes[pass->probe], memory_order_relaxed) == pass->limit)
        atomic_store_explicit(&s->probes[pass->probe], 0, memory_order_relaxed);
    unlocked(s);
}

/* A place is free when a probe ends, which nobody knows, or at its limit; after open_min it is worth asking again. */
static uint64_t probe_wait(const struct breaker_state *s, const struct breaker_rule *rule, uint64_t now)
{
    uint64_t first = probes_look(s, now).first, wait = first == TIME_NEVER ? 1 : since(now, first);
    return wait < rule->open_min ? wait : rule->open_min;
}

/* ---- letting in ---- */

static bool is_drawn(const struct breaker_rule *rule, uint64_t word, uint64_t now, struct rng *rng)
{
    uint64_t passed = since(time_of(word), now);
    uint64_t share = RAMP_FROM + (uint64_t)((unsigned __int128)passed * (BREAKER_ALL - RAMP_FROM) / rule->ramp);
    return rng_below(rng, BREAKER_ALL) < share;
}

/* The refused are told to come back at any time of what is left of the ramp: not all of them at its end. */
static uint64_t ramp_wait(const struct breaker_rule *rule, uint64_t word, uint64_t now, struct rng *rng)
{
    return 1 + rng_below(rng, rule->ramp - since(time_of(word), now));
}

enum answer { ANSWER_YES, ANSWER_NO, ANSWER_LOOK_AGAIN };

static enum answer let_in(struct breaker_ask *ask, uint64_t era)
{
    ask->pass = (struct breaker_pass){.era = era};
    return ANSWER_YES;
}

static enum answer refused(struct breaker_ask *ask, uint64_t wait)
{
    ask->wait = wait;
    return ANSWER_NO;
}

static enum answer admit_ramping(const struct breaker_now *now, uint64_t word, struct breaker_ask *ask)
{
    bool in = !is_ramping(now->rule, word, now->time) || ask->lucky == word
              || is_drawn(now->rule, word, now->time, now->rng);
    return in ? let_in(ask, word) : refused(ask, ramp_wait(now->rule, word, now->time, now->rng));
}

/* Who finds its time over makes it half open, and is the first probe. */
static enum answer admit_open(struct breaker_state *s, const struct breaker_now *now, uint64_t word,
                              struct breaker_ask *ask)
{
    if (now->time < time_of(word))
        return refused(ask, time_of(word) - now->time);
    if (!locked_in(s, word))
        return ANSWER_LOOK_AGAIN;
    to_half_open(s, BREAKER_OPEN, now->time, &ask->change);
    check(probe_take(s, now, ask));
    unlocked(s);
    return ANSWER_YES;
}

static enum answer admit_half_open(struct breaker_state *s, const struct breaker_now *now, uint64_t word,
                                   struct breaker_ask *ask)
{
    bool taken = false;
    if (probes_look(s, now->time).n < probes_allowed(s)) {
        if (!locked_in(s, word))
            return ANSWER_LOOK_AGAIN;
        taken = probe_take(s, now, ask);
        unlocked(s);
    }
    return taken ? ANSWER_YES : refused(ask, probe_wait(s, now->rule, now->time));
}

static enum answer admit_in(struct breaker_state *s, const struct breaker_now *now, uint64_t word,
                            struct breaker_ask *ask)
{
    switch (stand_of(word)) {
    case STAND_CLOSED:
    case STAND_HELD_CLOSED:
        return let_in(ask, word);
    case STAND_CLOSED_AGAIN:
        return admit_ramping(now, word, ask);
    case STAND_HALF_OPEN:
        return admit_half_open(s, now, word, ask);
    case STAND_OPEN:
        return admit_open(s, now, word, ask);
    case STAND_HELD_OPEN:
        return refused(ask, now->rule->open_min);
    }
    unreachable();
}

/* Times beyond what a word can hold stand still. */
static struct breaker_now held(const struct breaker_now *now)
{
    return (struct breaker_now){now->rule, now->time < TIME_MAX ? now->time : TIME_MAX, now->rng};
}

bool breaker_state_admit(struct breaker_state *s, const struct breaker_now *when, struct breaker_ask *ask)
{
    const struct breaker_now now = held(when);
    enum answer answer;
    ask->change.made = false;
    do {
        answer = admit_in(s, &now, word_read(s), ask);
    } while (answer == ANSWER_LOOK_AGAIN);
    return answer == ANSWER_YES;
}

/* Its failure, when it is judged, would be one more. */
static bool would_open(const struct breaker_state *s, const struct breaker_now *now)
{
    struct span span = span_at(now->rule, now->time);
    struct sums sums = window_sums(s, &span);
    sums.requests++;
    sums.failures++;
    return is_too_bad(now->rule, &sums);
}

bool breaker_state_would_admit(const struct breaker_state *s, const struct breaker_now *when,
                               const struct breaker_pass *pass, uint64_t *lucky)
{
    const struct breaker_now now = held(when);
    uint64_t word = word_read(s);
    *lucky = 0;
    switch (stand_of(word)) {
    case STAND_CLOSED:
    case STAND_CLOSED_AGAIN:
        if (pass->era == word && would_open(s, &now))
            return false;
        if (is_ramping(now.rule, word, now.time) && !is_drawn(now.rule, word, now.time, now.rng))
            return false;
        *lucky = word;
        return true;
    case STAND_HALF_OPEN:
        return pass->era != word && probes_look(s, now.time).n < probes_allowed(s);
    case STAND_OPEN:
        return now.time >= time_of(word);
    case STAND_HELD_OPEN:
        return false;
    case STAND_HELD_CLOSED:
        return true;
    }
    unreachable();
}

/* ---- judging ---- */

static void judge_closed(struct breaker_state *s, const struct breaker_now *now, uint64_t word,
                         enum breaker_outcome what, struct breaker_change *change)
{
    struct span span = span_at(now->rule, now->time);
    window_add(s, &span, what);
    if (stand_of(word) == STAND_HELD_CLOSED || atomic_load_explicit(&s->last_bad, memory_order_relaxed) < span.first)
        return;
    struct sums sums = window_sums(s, &span);
    if (!is_too_bad(now->rule, &sums) || !locked_in(s, word))
        return;
    to_open(s, now, &sums, change);
    unlocked(s);
}

/* Slow answers are answers: whether they are too many is asked at the last one. */
static void judge_probe(struct breaker_state *s, const struct breaker_now *now, uint64_t word,
                        enum breaker_outcome what, struct breaker_change *change)
{
    const struct breaker_rule *rule = now->rule;
    bool failed = what == BREAKER_FAILURE;
    if (!locked_in(s, word))
        return;
    uint32_t answered = atomic_load_explicit(&s->answered, memory_order_relaxed) + !failed;
    atomic_store_explicit(&s->answered, answered, memory_order_relaxed);
    s->answered_slow += what == BREAKER_SLOW;
    struct sums sums = {answered + failed, failed, s->answered_slow};
    bool last = answered >= BREAKER_GOOD;
    if (failed || (last && rule->slow && is_share(sums.slow, sums.requests, rule->slow)))
        to_open(s, now, &sums, change);
    else if (last)
        to_closed(s, &sums, now->time, change);
    unlocked(s);
}

void breaker_state_judge(struct breaker_state *s, const struct breaker_now *when, const struct breaker_pass *pass,
                         enum breaker_outcome what, uint32_t cause, struct breaker_change *change)
{
    const struct breaker_now now = held(when);
    uint64_t word = word_read(s);
    change->made = false;
    if (pass->era != word || what == BREAKER_NEUTRAL || what == BREAKER_PRESSURE)
        return;
    if (what != BREAKER_SUCCESS)
        cause_add(s, cause);
    if (stand_of(word) == STAND_HALF_OPEN)
        judge_probe(s, &now, word, what, change);
    else
        judge_closed(s, &now, word, what, change);
}

/* ---- the operator ---- */

/* Of one that was closed the window goes on; one that was open begins with an empty one. */
static void to_held_closed(struct breaker_state *s, enum breaker_phase from, uint64_t now,
                           struct breaker_change *change)
{
    if (from != BREAKER_CLOSED) {
        window_clear(s);
        changed(change, from, BREAKER_CLOSED, &(struct sums){0});
    }
    word_set(s, STAND_HELD_CLOSED, now);
}

void breaker_state_hold(struct breaker_state *s, enum breaker_hold hold, uint64_t now, struct breaker_change *change)
{
    static const struct breaker_rule any = {.ramp = 0};
    change->made = false;
    locked(s);
    enum stand stand = stand_of(word_read(s));
    enum breaker_phase from = phase_of(&any, word_read(s), now);
    if (hold == BREAKER_HELD_OPEN && stand != STAND_HELD_OPEN) {
        if (from != BREAKER_OPEN)
            changed(change, from, BREAKER_OPEN, &(struct sums){0});
        word_set(s, STAND_HELD_OPEN, now);
    } else if (hold == BREAKER_HELD_CLOSED && stand != STAND_HELD_CLOSED) {
        to_held_closed(s, from, now, change);
    } else if (hold == BREAKER_AUTO && stand == STAND_HELD_OPEN) {
        s->trips = 0;
        to_half_open(s, from, now, change);
    } else if (hold == BREAKER_AUTO && stand == STAND_HELD_CLOSED) {
        word_set(s, STAND_CLOSED, now);
    }
    unlocked(s);
}

/* ---- telling ---- */

void breaker_state_view(const struct breaker_state *s, const struct breaker_rule *rule, uint64_t now,
                        struct breaker_view *v)
{
    uint64_t word = word_read(s);
    now = now < TIME_MAX ? now : TIME_MAX;
    struct span span = span_at(rule, now);
    struct sums sums = window_sums(s, &span);
    *v = (struct breaker_view){.phase = phase_of(rule, word, now), .requests = sums.requests, .failures = sums.failures,
                               .slow = sums.slow};
    if (stand_of(word) == STAND_HELD_OPEN || stand_of(word) == STAND_HELD_CLOSED)
        v->hold = stand_of(word) == STAND_HELD_OPEN ? BREAKER_HELD_OPEN : BREAKER_HELD_CLOSED;
    if (stand_of(word) == STAND_HALF_OPEN) {
        v->probes = probes_look(s, now).n;
        v->wait = v->probes < probes_allowed(s) ? 0 : probe_wait(s, rule, now);
    } else if (stand_of(word) == STAND_OPEN) {
        v->wait = since(now, time_of(word));
    } else if (stand_of(word) == STAND_HELD_OPEN) {
        v->wait = rule->open_min;
    }
}
