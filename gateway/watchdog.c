/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watchdog's look, once a second, or four times in the limit if that is less.
 *
 * Each worker has one message of the watchdog's under way at the most. One that has not come back for the limit means that the
 * worker's loop does not turn, whatever it does instead. An idle worker is woken once a second by it. A look that comes much
 * too late says that this thread, and so most likely the process, stood still: then all messages count from now.
 *
 * Lag is measured by the workers themselves (worker.c): the longest turn is what an event waited at the most. It is shown for the
 * last one or two spans of ten seconds, so that two scrapers do not take it from each other.
 *
 * The stack. The signal's handler has no argument that could be trusted (a signal can be forged), so what it fills is named by
 * one static pointer, the one mutable global here, and it fills it on the thread that it is meant for alone. In it only
 * backtrace() is called, which allocates nothing once it was called before (watchdog_new()), and names are looked up later, here.
 * One stack is taken at a time; a worker that waits in the kernel without being interruptible gives none.
 *
 * Invariant: a message is the worker's from its posting until `out` falls, and watchdog_free() comes after that.
 */
#include "watchdog.h"

#include <dlfcn.h>
#include <errno.h>
#include <event2/event.h>
#include <execinfo.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include "exposition.h"
#include "lib/check.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "worker.h"

enum { FRAMES = 48 };

#define LOOK_NS  NSEC_PER_SEC
#define STACK_NS (100 * NSEC_PER_MSEC)       /* how long a stack may take */
#define SPAN_NS  (10 * NSEC_PER_SEC)

/* Who has the frames: in TAKING the handler, else this thread. */
enum stack_state { STACK_FREE, STACK_WANTED, STACK_TAKING, STACK_TAKEN };

struct stack {
    _Atomic int state;
    pthread_t thread;                /* whose it is to be */
    int n;
    void *frames[FRAMES];
};

static _Atomic(struct stack *) the_stack;        /* of the one watchdog */

enum dog_state { DOG_FINE, DOG_ASKED, DOG_SAID };

/* Of one worker. */
struct dog {
    struct mail mail;
    _Atomic bool out;                /* the mail is under way */
    uint64_t posted;
    enum dog_state state;
    uint64_t asked;                  /* DOG_ASKED: when for its stack */
    uint64_t next;                   /* DOG_SAID: how long it must be stuck to be said again */
    uint64_t stuck_times;
    uint64_t lag, lag_before;        /* the longest turn of this span, of the one before */
};

struct watchdog {
    struct event *tick;              /* NULL: the caller looks */
    struct worker *workers;
    const pthread_t *threads;
    unsigned n;                      /* 0: nobody is looked after */
    unsigned n_dogs;
    struct dog *dogs;
    uint64_t limit, last, span;      /* span: when this one began */
    struct dog *asking;              /* whose stack is asked for */
    struct stack stack;
};

/* ---- stacks ---- */

/* On the stuck worker's thread; or on any, if somebody else sends the signal. */
static void stack_take(int sig)
{
    int saved = errno;
    struct stack *s = atomic_load(&the_stack);
    int state = STACK_WANTED;
    (void)sig;
    if (s && atomic_load(&s->state) == STACK_WANTED && pthread_equal(s->thread, pthread_self())
        && atomic_compare_exchange_strong(&s->state, &state, STACK_TAKING)) {
        s->n = backtrace(s->frames, FRAMES);
        atomic_store(&s->state, STACK_TAKEN);
    }
    errno = saved;
}

static void stack_log(const struct stack *s)
{
    for (int i = 0; i < s->n; i++) {
        Dl_info info;
        uintptr_t at = (uintptr_t)s->frames[i];
        if (dladdr(s->frames[i], &info) && info.dli_fname)
            log_error("watchdog", "#%d %s+0x%" PRIxPTR "%s%s", i, info.dli_fname, at - (uintptr_t)info.dli_fbase,
                      info.dli_sname ? " " : "", info.dli_sname ? info.dli_sname : "");
        else
            log_error("watchdog", "#%d 0x%" PRIxPTR, i, at);
    }
}

/* false: another worker's is being taken. */
static bool stack_ask(struct watchdog *d, unsigned i)
{
    int state = atomic_load(&d->stack.state);
    if (d->asking || state == STACK_TAKING)
        return false;
    d->asking = &d->dogs[i];
    d->stack.thread = d->threads[i];
    atomic_store(&d->stack.state, STACK_WANTED);
    check(pthread_kill(d->threads[i], SIGUSR2) == 0);
    return true;
}

/* No more of it, unless the handler is at it. */
static void stack_withdraw(struct watchdog *d)
{
    int state = STACK_WANTED;
    (void)atomic_compare_exchange_strong(&d->stack.state, &state, STACK_FREE);
}

/* ---- one worker ---- */

static void mail_taken(struct mail *mail, void *owner)
{
    (void)owner;
    atomic_store_explicit(&container_of(mail, struct dog, mail)->out, false, memory_order_release);
}

static double seconds(uint64_t ns) { return (double)ns / (double)NSEC_PER_SEC; }

static void say_stuck(struct watchdog *d, unsigned i, uint64_t now)
{
    struct dog *dog = &d->dogs[i];
    bool taken = atomic_load(&d->stack.state) == STACK_TAKEN;
    log_error("watchdog", "worker %u has not turned for %.1f s; %s", i, seconds(now - dog->posted),
              taken ? "it stands here:" : "it gives no stack: it waits in the kernel, or is stopped");
    if (taken)
        stack_log(&d->stack);
    d->asking = NULL;
    dog->state = DOG_SAID;
    dog->next = 2 * (now - dog->posted);
}

static void turns_again(struct watchdog *d, unsigned i, uint64_t now)
{
    struct dog *dog = &d->dogs[i];
    if (d->asking == dog) {
        stack_withdraw(d);
        d->asking = NULL;
    }
    if (dog->state != DOG_FINE)
        log_warn("watchdog", "worker %u turns again, after %.1f s", i, seconds(now - dog->posted));
    dog->state = DOG_FINE;
    dog->next = 0;
}

/* Its mail is out. Returns when it is to be looked at again. */
static uint64_t look_stuck(struct watchdog *d, unsigned i, uint64_t now)
{
    struct dog *dog = &d->dogs[i];
    uint64_t stuck = now - dog->posted;
    if (dog->state == DOG_ASKED) {
        if (now - dog->asked >= STACK_NS)
            stack_withdraw(d);
        int state = atomic_load(&d->stack.state);
        if (state == STACK_WANTED || state == STACK_TAKING)
            return STACK_NS / 10;
        say_stuck(d, i, now);
        return TIME_NEVER;
    }
    if (stuck < d->limit || stuck < dog->next)
        return TIME_NEVER;
    if (!stack_ask(d, i))
        return STACK_NS / 10;
    dog->stuck_times += dog->state == DOG_FINE;
    dog->state = DOG_ASKED;
    dog->asked = now;
    return STACK_NS / 10;
}

static uint64_t look_at(struct watchdog *d, unsigned i, uint64_t now)
{
    struct dog *dog = &d->dogs[i];
    if (atomic_load_explicit(&dog->out, memory_order_acquire))
        return d->limit ? look_stuck(d, i, now) : TIME_NEVER;
    turns_again(d, i, now);
    if (!d->limit)
        return TIME_NEVER;
    dog->posted = now;
    atomic_store_explicit(&dog->out, true, memory_order_relaxed);
    mailbox_post(&d->workers[i].mailbox, &dog->mail);
    return TIME_NEVER;
}

/* ---- all ---- */

static void lag_look(struct watchdog *d, uint64_t now)
{
    bool next = now - d->span >= SPAN_NS;
    for (unsigned i = 0; i < d->n; i++) {
        struct dog *dog = &d->dogs[i];
        uint64_t turn = atomic_exchange_explicit(&d->workers[i].longest_turn, 0, memory_order_relaxed);
        if (next) {
            dog->lag_before = now - d->span < 2 * SPAN_NS ? dog->lag : 0;
            dog->lag = 0;
        }
        if (turn > dog->lag)
            dog->lag = turn;
    }
    if (next)
        d->span = now;
}

/* This thread did not run, so nobody can say what the workers did meanwhile. */
static void stood_still(struct watchdog *d, uint64_t now)
{
    for (unsigned i = 0; i < d->n; i++)
        if (d->dogs[i].state == DOG_FINE)
            d->dogs[i].posted = now;
}

static uint64_t look_every(const struct watchdog *d) { return d->limit && d->limit / 4 < LOOK_NS ? d->limit / 4 : LOOK_NS; }

uint64_t watchdog_look(struct watchdog *d, uint64_t now)
{
    uint64_t next = look_every(d);
    if (d->last && now - d->last > 2 * next)
        stood_still(d, now);
    d->last = now;
    lag_look(d, now);
    for (unsigned i = 0; i < d->n; i++) {
        uint64_t wants = look_at(d, i, now);
        next = wants < next ? wants : next;
    }
    return next;
}

static void tick_came(evutil_socket_t fd, short what, void *arg)
{
    struct watchdog *d = arg;
    (void)fd, (void)what;
    uint64_t us = watchdog_look(d, clock_mono(&clock_real)) / 1000;
    struct timeval tv = {.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};
    check(evtimer_add(d->tick, &tv) == 0);
}

struct watchdog *watchdog_new(struct event_base *base)
{
    struct watchdog *d = mem_zalloc(sizeof *d);
    struct sigaction act = {.sa_handler = stack_take, .sa_flags = SA_RESTART};
    struct stack *none = NULL;
    (void)backtrace(d->stack.frames, FRAMES);        /* it loads what it needs now */
    check(atomic_compare_exchange_strong(&the_stack, &none, &d->stack));
    sigemptyset(&act.sa_mask);
    check(sigaction(SIGUSR2, &act, NULL) == 0);
    if (base) {
        d->tick = evtimer_new(base, tick_came, d);
        check(d->tick != NULL);
    }
    return d;
}

void watchdog_begin(struct watchdog *d, struct worker *workers, const pthread_t *threads, unsigned n)
{
    check(!d->dogs);
    d->workers = workers;
    d->threads = threads;
    d->dogs = mem_array(n, sizeof *d->dogs);
    d->n = d->n_dogs = n;
    for (unsigned i = 0; i < n; i++)
        d->dogs[i].mail.deliver = mail_taken;
    if (d->tick)
        tick_came(-1, 0, d);
}

void watchdog_set(struct watchdog *d, uint64_t limit) { d->limit = limit; }

void watchdog_end(struct watchdog *d)
{
    d->n = 0;
    stack_withdraw(d);
    if (d->tick)
        event_free(d->tick);
    d->tick = NULL;
}

void watchdog_free(struct watchdog **watchdog)
{
    struct watchdog *d = *watchdog;
    *watchdog = NULL;
    if (!d)
        return;
    watchdog_end(d);
    atomic_store(&the_stack, NULL);
    for (unsigned i = 0; i < d->n_dogs; i++)
        check(!atomic_load(&d->dogs[i].out));
    mem_free(d->dogs);
    mem_free(d);
}

/* ---- figures ---- */

/* A turn that has not ended counts too, as soon as that is known. */
static uint64_t lag_of(const struct dog *dog, uint64_t limit, uint64_t now)
{
    uint64_t lag = dog->lag > dog->lag_before ? dog->lag : dog->lag_before;
    bool out = limit && atomic_load_explicit(&dog->out, memory_order_relaxed);
    return out && now > dog->posted && now - dog->posted > lag ? now - dog->posted : lag;
}

static struct label label_of(unsigned worker, char text[12])
{
    snprintf(text, 12, "%u", worker);
    return (struct label){"worker", str_c(text)};
}

void watchdog_metrics(const struct watchdog *d, uint64_t now, struct page *page)
{
    char text[12];
    exposition_head(page, "worker_lag_seconds", "gauge", "The longest turn of a worker's loop in the last 10 to 20 seconds, 0 "
                    "under 10 ms: so long an event waited at the most.");
    for (unsigned i = 0; i < d->n; i++)
        page_printf(page, "weir_worker_lag_seconds{worker=\"%u\"} %.6f\n", i, seconds(lag_of(&d->dogs[i], d->limit, now)));
    exposition_head(page, "worker_stuck", "gauge", "1 for a worker that has not turned for longer than watchdog allows.");
    for (unsigned i = 0; i < d->n; i++) {
        struct label worker = label_of(i, text);
        exposition_value(page, "worker_stuck", &worker, 1, d->dogs[i].state != DOG_FINE);
    }
    exposition_head(page, "worker_stuck_total", "counter", "How often the watchdog found the worker stuck.");
    for (unsigned i = 0; i < d->n; i++) {
        struct label worker = label_of(i, text);
        exposition_value(page, "worker_stuck_total", &worker, 1, d->dogs[i].stuck_times);
    }
}
