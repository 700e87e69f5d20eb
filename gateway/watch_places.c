/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a path to the directories in which a change would make it lead elsewhere.
 *
 * A watch on the file itself would be of no use: editors and Kubernetes put another file in its place. What changes is an
 * entry of a directory, so places are pairs of both. In a ConfigMap, weir.yaml is a link to ..data/weir.yaml and ..data one
 * to a folder with a date: that makes the places (., weir.yaml), (., ..data), (., the folder), (..data, weir.yaml).
 *
 * A folder above that is renamed while no link is involved is not seen; telling its entries from all others would mean to
 * be woken by whatever happens in /etc or /tmp. The watch compares contents from time to time for such cases.
 *
 * A place is walked on from only when it is new, which is what ends loops of links and keeps the work near the number of
 * folders, however many files are in them. Paths are never shortened as texts: "a/../b" may lead elsewhere than "b".
 */
#include "watch_places.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "conf/pattern.h"
#include "lib/hash.h"
#include "lib/mem.h"

static void dir_walk(struct watch_places *, const char *dir);

void watch_places_init(struct watch_places *p)
{
    *p = (struct watch_places){.slots = 256};
    arena_init(&p->arena, NULL);
    p->seen = mem_array(p->slots, sizeof *p->seen);
}

void watch_places_fini(struct watch_places *p)
{
    arena_fini(&p->arena);
    mem_free(p->v);
    mem_free(p->seen);
    *p = (struct watch_places){0};
}

/* ---- the set of them ---- */

static bool same(const struct watch_place *a, const struct watch_place *b)
{
    return a->pattern == b->pattern && str_eq(a->name, b->name) && strcmp(a->dir, b->dir) == 0;
}

static size_t slot_of(const struct watch_places *p, const struct watch_place *place)
{
    struct hash_key key = {0, place->pattern};
    key.k0 = hash_str(&key, str_c(place->dir));
    size_t i = hash_str(&key, place->name) & (p->slots - 1);
    while (p->seen[i] && !same(&p->v[p->seen[i] - 1], place))
        i = (i + 1) & (p->slots - 1);
    return i;
}

static void grow(struct watch_places *p)
{
    p->cap = p->cap ? p->cap * 2 : 64;
    p->v = mem_realloc(p->v, p->cap * sizeof *p->v);
    mem_free(p->seen);
    p->slots = p->cap * 4;
    p->seen = mem_array(p->slots, sizeof *p->seen);
    for (size_t i = 0; i < p->n; i++)
        p->seen[slot_of(p, &p->v[i])] = i + 1;
}

/* False: it was there, or there are too many. */
static bool place_add(struct watch_places *p, const char *dir, struct str name, bool pattern)
{
    struct watch_place place = {dir, name, pattern};
    if (p->n == p->cap)
        grow(p);
    size_t i = slot_of(p, &place);
    if (p->seen[i] || p->n >= WATCH_PLACES_MAX)
        return false;
    p->v[p->n++] = place;
    p->seen[i] = p->n;
    return true;
}

/* ---- paths ---- */

/* "/a/b" is "b" in "/a"; "b" is in ".", "/b" in "/". False for what is no entry of anything: "/", "." and "". */
static bool split(struct watch_places *p, const char *path, const char **dir, struct str *name)
{
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    size_t at = len;
    while (at > 0 && path[at - 1] != '/')
        at--;
    *name = arena_copy(&p->arena, str_of(path + at, len - at));
    while (at > 1 && path[at - 1] == '/')
        at--;
    *dir = at == 0 ? "." : arena_strdup(&p->arena, str_of(path, at));
    return name->len > 0 && !(at == 0 && str_eq(*name, STR(".")));
}

static const char *join(struct watch_places *p, const char *dir, struct str name)
{
    return arena_printf(&p->arena, "%s/" STR_FMT, strcmp(dir, "/") == 0 ? "" : dir, STR_ARG(name)).at;
}

/* Where a link leads to; NULL: it is none. */
static const char *link_target(struct watch_places *p, const char *path, const char *dir)
{
    char to[PATH_MAX];
    ssize_t n = readlink(path, to, sizeof to);
    if (n <= 0 || (size_t)n >= sizeof to)
        return NULL;
    struct str target = str_of(to, (size_t)n);
    return to[0] == '/' ? arena_strdup(&p->arena, target) : join(p, dir, target);
}

/* An entry, the way to it, and where it leads if it is a link. */
static void entry_walk(struct watch_places *p, const char *path)
{
    const char *dir, *target;
    struct str name;
    while (split(p, path, &dir, &name) && place_add(p, dir, name, false)) {
        dir_walk(p, dir);
        target = link_target(p, path, dir);
        if (!target)
            return;
        path = target;
    }
}

/* The links and the gaps on the way to a directory. */
static void dir_walk(struct watch_places *p, const char *dir)
{
    /* The empty name, which is no entry's, marks a directory as walked. */
    while (place_add(p, dir, STR(""), false)) {
        struct stat st;
        const char *above;
        struct str name;
        int res = lstat(dir, &st);
        if (!split(p, dir, &above, &name))
            return;
        if ((res == 0 && S_ISLNK(st.st_mode)) || (res != 0 && errno == ENOENT)) {
            entry_walk(p, dir);
            return;
        }
        dir = above;
    }
}

void watch_places_file(struct watch_places *p, const char *path) { entry_walk(p, path); }

/* ---- patterns ---- */

static void pattern_walk(struct watch_places *, const char *base, const char *rest);

/* `rest`, of a pattern, in each folder in `dir` that matches `part`. */
static void folders_walk(struct watch_places *p, const char *dir, const char *part, const char *rest)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d)) && p->looked_at < PATTERN_LOOKED_AT; p->looked_at++)
        if (fnmatch(part, e->d_name, FNM_PERIOD | FNM_NOESCAPE) == 0)
            pattern_walk(p, join(p, dir, str_c(e->d_name)), rest);
    if (d)
        closedir(d);
}

/* `base`: a path without wildcards, "" for none; `rest`: what follows, with the slash in front if there is one. */
static void pattern_walk(struct watch_places *p, const char *base, const char *rest)
{
    for (;;) {
        size_t slashes = strspn(rest, "/"), len = strcspn(rest + slashes, "/");
        const char *part = arena_strdup(&p->arena, str_of(rest + slashes, len));
        const char *next = rest + slashes + len;
        if (pattern_is(part)) {
            const char *dir = *base ? base : slashes ? "/" : ".";
            if (!place_add(p, dir, str_c(part), true))
                return;
            dir_walk(p, dir);
            if (*next)
                folders_walk(p, dir, part, next);
            return;
        }
        base = arena_printf(&p->arena, "%s%.*s%s", base, (int)slashes, rest, part).at;
        if (*next == '\0') {
            entry_walk(p, base);
            return;
        }
        rest = next;
    }
}

void watch_places_pattern(struct watch_places *p, const char *pattern) { pattern_walk(p, "", pattern); }

/* ---- order ---- */

static int place_cmp(const void *one, const void *other)
{
    const struct watch_place *a = one, *b = other;
    int by_dir = strcmp(a->dir, b->dir);
    return by_dir ? by_dir : strcmp(a->name.at, b->name.at);
}

/* What marked folders as walked goes: the watch knows them by their entries. */
void watch_places_sort(struct watch_places *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++)
        if (p->v[i].name.len > 0)
            p->v[n++] = p->v[i];
    p->n = n;
    if (n > 0)
        qsort(p->v, n, sizeof *p->v, place_cmp);
}
