/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inotify, told by places.
 *
 * Directories are watched, and events are kept to the names that matter: a log file in the same folder, or all that goes on in
 * /tmp, is no sign. Writing to a file is none either (IN_MODIFY is not asked for), closing it is.
 *
 * inotify knows directories, not paths: several paths may lead to one watch, and a path to another one later. So each set of
 * places is watched anew; for a directory that was watched already the kernel gives the number it had.
 */
#include "signs.h"

#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>
#include "lib/mem.h"

enum {
    ASKED_FOR = IN_CLOSE_WRITE | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MOVE_SELF |
                IN_ONLYDIR,
    /* Of the directory itself: removed and unmounted ones are ignored by the kernel from then on. */
    OF_ITSELF = IN_ATTRIB | IN_MOVE_SELF | IN_IGNORED,
    READS_MAX = 64,                  /* of a call: whoever floods the folder must not keep the thread */
};

/* A directory: a run of places with the same `dir`. */
struct watched {
    int wd;
    size_t first, n;
};

void signs_open(struct signs *s)
{
    *s = (struct signs){.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC)};
    if (s->fd < 0)
        s->error = errno;
    watch_places_init(&s->places);
}

void signs_close(struct signs *s)
{
    if (s->fd >= 0)
        close(s->fd);
    watch_places_fini(&s->places);
    mem_free(s->dirs);
    *s = (struct signs){.fd = -1};
}

static bool has(const struct watched *v, size_t n, int wd)
{
    for (size_t i = 0; i < n; i++)
        if (v[i].wd == wd)
            return true;
    return false;
}

/* The run of places that begins at `first`. */
static size_t run_length(const struct watch_places *p, size_t first)
{
    size_t n = 1;
    while (first + n < p->n && strcmp(p->v[first + n].dir, p->v[first].dir) == 0)
        n++;
    return n;
}

bool signs_watch(struct signs *s, struct watch_places *places)
{
    struct watched *dirs = mem_array(places->n, sizeof *dirs);
    size_t n = 0;
    bool fresh = false;
    if (s->fd >= 0)
        s->error = 0;
    for (size_t i = 0, run; i < places->n && s->fd >= 0; i += run) {
        run = run_length(places, i);
        int wd = inotify_add_watch(s->fd, places->v[i].dir, ASKED_FOR);
        /* Absent, or no directory, or forbidden: that will show when the file is read, and an entry above is watched. */
        if (wd < 0 && (errno == ENOSPC || errno == ENOMEM))
            s->error = errno;
        if (wd < 0)
            continue;
        fresh |= !has(s->dirs, s->n, wd) && !has(dirs, n, wd);
        dirs[n++] = (struct watched){wd, i, run};
    }
    for (size_t i = 0; i < s->n; i++)
        if (!has(dirs, n, s->dirs[i].wd))
            (void)inotify_rm_watch(s->fd, s->dirs[i].wd);      /* it may have gone with its directory */
    mem_free(s->dirs);
    watch_places_fini(&s->places);
    s->dirs = dirs;
    s->n = n;
    s->places = *places;
    *places = (struct watch_places){0};
    return fresh;
}

static bool names(const struct watch_place *place, const char *entry)
{
    if (place->pattern)
        return fnmatch(place->name.at, entry, FNM_PERIOD | FNM_NOESCAPE) == 0;
    return strcmp(place->name.at, entry) == 0;
}

static bool is_sign(const struct signs *s, const struct inotify_event *e)
{
    if (e->mask & IN_Q_OVERFLOW)
        return true;
    for (size_t d = 0; d < s->n; d++) {
        if (s->dirs[d].wd != e->wd)
            continue;
        if (e->len == 0)
            return (e->mask & OF_ITSELF) != 0;
        for (size_t i = 0; i < s->dirs[d].n; i++)
            if (names(&s->places.v[s->dirs[d].first + i], e->name))
                return true;
    }
    return false;
}

bool signs_read(struct signs *s)
{
    _Alignas(struct inotify_event) char some[16 * 1024];
    bool sign = false;
    for (int reads = 0; s->fd >= 0 && reads < READS_MAX; reads++) {
        ssize_t n = read(s->fd, some, sizeof some);
        if (n <= 0)
            break;
        const struct inotify_event *e;
        for (ssize_t at = 0; at < n && !sign; at += (ssize_t)(sizeof *e + e->len)) {
            e = (const void *)(some + at);
            sign = is_sign(s, e);
        }
    }
    return sign;
}
