/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watching a configuration's files.
 *
 * Signs and proof are apart. A sign (signs.h) only says when to look. To look is to read all the files, and only digests that
 * differ from `tried` are a change. So a sign too few costs time and one too many costs a look, and neither does harm; times,
 * sizes and inodes decide nothing.
 *
 * Still means: no sign for a while. A change that was found without a sign is looked at again after that while, and must be the
 * same. A file that is never still is told of all the same, after a longer while; if it was half written and does not parse, its
 * next change brings the next try.
 *
 * Each look finds the directories anew before it reads: they come, go and are replaced, and links are turned. Watching comes
 * before reading, so what changes after the reading gives a sign. A directory that is watched for the first time may have been
 * filled before, even with a folder that is to be watched too: so places are found again until nothing new is among them.
 *
 * When inotify gives out (its limits are per user, so anybody's process may use them up), that is said once and the poll goes
 * on alone.
 */
#include "conf_watch.h"

#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include "conf/digest.h"
#include "conf/source.h"
#include "fingerprint.h"
#include "lib/arena.h"
#include "lib/check.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "mounts.h"
#include "signs.h"

enum { ROUNDS = 4 };

struct conf_watch {
    struct event_base *base;
    const struct clock *clock;
    conf_watch_fn *fn;
    void *ctx;
    bool on;
    uint64_t poll, next_poll;
    struct arena arena;              /* of `sources` */
    struct sources sources;
    struct fingerprint tried, seen;  /* seen: what the last look found without a sign */
    struct signs signs;              /* while it is on */
    struct event *readable, *timer;
    bool warned;                     /* that inotify gave out */
    bool stirred, by_sign;           /* something is to be looked at; a sign said so */
    uint64_t stirred_at, last_at;    /* the first and the last time that it was said */
};

/* ---- when ---- */

static void stir(struct conf_watch *w, uint64_t now, bool by_sign)
{
    if (!w->stirred)
        w->stirred_at = now;
    w->by_sign = (w->stirred && w->by_sign) || by_sign;
    w->stirred = true;
    w->last_at = now;
}

static void settle(struct conf_watch *w)
{
    w->stirred = false;
    fingerprint_fini(&w->seen);
}

static uint64_t due_at(const struct conf_watch *w)
{
    uint64_t still = time_after(w->last_at, CONF_WATCH_STILL), latest = time_after(w->stirred_at, CONF_WATCH_LATEST);
    if (w->stirred)
        return still < latest ? still : latest;
    return w->next_poll;
}

static void timer_arm(struct conf_watch *w, uint64_t now)
{
    uint64_t due = due_at(w), us = due > now ? (due - now + 999) / 1000 : 0;
    struct timeval tv = {(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};
    if (w->on && due != TIME_NEVER)
        check(evtimer_add(w->timer, &tv) == 0);
    else
        evtimer_del(w->timer);
}

/* ---- looking ---- */

static void say_gave_out(struct conf_watch *w)
{
    int why = w->signs.error;
    const char *what = why == ENOSPC ? " (raise fs.inotify.max_user_watches)"
                     : why == EMFILE ? " (raise fs.inotify.max_user_instances, or the limit of open files)" : "";
    if (why == 0 || w->warned)
        return;
    w->warned = true;
    if (w->poll)
        log_warn("watch", "inotify: %s%s; a changed configuration is found by the comparison every %llu ms alone",
                 strerror(why), what, (unsigned long long)(w->poll / NSEC_PER_MSEC));
    else
        log_warn("watch", "inotify: %s%s; a changed configuration may not be seen", strerror(why), what);
}

static void places_watch(struct conf_watch *w)
{
    bool fresh = true;
    for (int i = 0; i < ROUNDS && fresh; i++) {
        struct watch_places p;
        watch_places_init(&p);
        for (size_t f = 0; f < w->sources.n; f++)
            watch_places_file(&p, w->sources.v[f].path);
        for (size_t g = 0; g < w->sources.n_globs; g++)
            watch_places_pattern(&p, w->sources.globs[g]);
        watch_places_sort(&p);
        fresh = signs_watch(&w->signs, &p);
    }
    say_gave_out(w);
}

/* True: there is a change, and it is time to tell; `cause` says what it is. */
static bool look(struct conf_watch *w, uint64_t now, char *cause, size_t cap)
{
    struct fingerprint found = {0};
    bool late = w->stirred && now - w->stirred_at >= CONF_WATCH_LATEST;
    places_watch(w);
    fingerprint_take(&found, &w->sources);
    w->next_poll = w->poll ? time_after(now, w->poll) : TIME_NEVER;
    if (fingerprint_same(&found, &w->tried)) {
        fingerprint_fini(&found);
        settle(w);
        return false;
    }
    if (!late && !(w->stirred && (w->by_sign || fingerprint_same(&found, &w->seen)))) {
        fingerprint_move(&w->seen, &found);
        stir(w, now, false);
        return false;
    }
    fingerprint_say(&w->tried, &found, cause, cap);
    fingerprint_move(&w->tried, &found);
    settle(w);
    return true;
}

void conf_watch_run(struct conf_watch *w)
{
    uint64_t now = clock_mono(w->clock);
    char cause[512];
    if (!w->on)
        return;
    if (signs_read(&w->signs))
        stir(w, now, true);
    if (now >= due_at(w) && look(w, now, cause, sizeof cause))
        w->fn(w->ctx, cause);
    timer_arm(w, now);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    conf_watch_run(arg);
}

/* ---- what is watched ---- */

/* What is not in `tried` was not a source before. */
static void mounts_warn(const struct conf_watch *w, const struct sources *s)
{
    struct str mounts = mounts_read(MOUNTS_FILE);
    for (size_t i = 0; i < s->n; i++) {
        const struct source_file *f = &s->v[i];
        bool known = fingerprint_of(&w->tried, f->path) != DIGEST_UNKNOWN;
        if (f->kind == SOURCE_SECRET || known || !mounts_is_point(mounts, f->path))
            continue;
        log_warn("watch", "%s is a mount of its own: a file that is saved under its name outside never comes in, and a change "
                 "of it may not be seen; mount its folder instead", f->path);
    }
    mem_free((char *)mounts.at);
}

/* `failed`: what was seen before counts, not what the files hold by now. */
static void sources_copy(struct conf_watch *w, const struct sources *s, bool failed)
{
    arena_fini(&w->arena);
    arena_init(&w->arena, NULL);
    sources_init(&w->sources, &w->arena);
    for (size_t i = 0; i < s->n; i++) {
        struct source_file *f = sources_add(&w->sources, s->v[i].path, s->v[i].kind);
        uint64_t seen = failed ? fingerprint_of(&w->tried, s->v[i].path) : DIGEST_UNKNOWN;
        if (f)
            f->digest = seen == DIGEST_UNKNOWN ? s->v[i].digest : seen;
    }
    for (size_t i = 0; i < s->n_globs; i++)
        (void)!sources_add_glob(&w->sources, s->globs[i]);
}

void conf_watch_reading(struct conf_watch *w)
{
    if (w->on)
        fingerprint_take(&w->tried, &w->sources);
}

static void files_set(struct conf_watch *w, const struct sources *s, bool failed)
{
    uint64_t now = clock_mono(w->clock);
    if (s) {
        mounts_warn(w, s);
        sources_copy(w, s, failed);
        fingerprint_loaded(&w->tried, &w->sources);
    }
    if (!w->on)
        return;
    places_watch(w);
    settle(w);
    stir(w, now, false);
    timer_arm(w, now);
}

void conf_watch_loaded(struct conf_watch *w, const struct sources *s) { files_set(w, s, false); }

void conf_watch_dropped(struct conf_watch *w) { fingerprint_denied(&w->tried); }

void conf_watch_failed(struct conf_watch *w, const struct sources *s) { files_set(w, s, true); }

static void turn_on(struct conf_watch *w)
{
    signs_open(&w->signs);
    if (w->signs.fd >= 0) {
        w->readable = event_new(w->base, w->signs.fd, EV_READ | EV_PERSIST, on_event, w);
        check(w->readable && event_add(w->readable, NULL) == 0);
    }
    places_watch(w);
    stir(w, clock_mono(w->clock), false);
}

static void turn_off(struct conf_watch *w)
{
    if (w->readable)
        event_free(w->readable);
    w->readable = NULL;
    signs_close(&w->signs);
    settle(w);
}

void conf_watch_set(struct conf_watch *w, bool on, uint64_t poll)
{
    uint64_t now = clock_mono(w->clock);
    w->poll = poll;
    w->next_poll = poll ? time_after(now, poll) : TIME_NEVER;
    if (on && !w->on)
        turn_on(w);
    else if (!on && w->on)
        turn_off(w);
    w->on = on;
    timer_arm(w, now);
}

struct conf_watch *conf_watch_new(struct event_base *base, const struct clock *clock, conf_watch_fn *fn, void *ctx)
{
    struct conf_watch *w = mem_zalloc(sizeof *w);
    *w = (struct conf_watch){.base = base, .clock = clock, .fn = fn, .ctx = ctx, .next_poll = TIME_NEVER};
    w->signs.fd = -1;
    arena_init(&w->arena, NULL);
    sources_init(&w->sources, &w->arena);
    w->timer = evtimer_new(base, on_event, w);
    check(w->timer != NULL);
    return w;
}

void conf_watch_free(struct conf_watch **ptr)
{
    struct conf_watch *w = *ptr;
    if (!w)
        return;
    if (w->on)
        turn_off(w);
    event_free(w->timer);
    fingerprint_fini(&w->tried);
    fingerprint_fini(&w->seen);
    arena_fini(&w->arena);
    mem_free(w);
    *ptr = NULL;
}
