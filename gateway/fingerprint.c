/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content of many files as a sorted list of digests; comparing two walks both at once.
 *
 * No file is trusted by its times and size: on the mounts where a change must be looked for at all, they are what lags
 * behind or lies. So each is read, as far as the loader would.
 */
#include "fingerprint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "conf/digest.h"
#include "conf/pattern.h"
#include "conf/source.h"
#include "lib/mem.h"
#include "lib/str.h"

static void add(struct fingerprint *f, size_t *cap, const char *path, uint64_t digest)
{
    if (f->n == *cap) {
        *cap = *cap ? *cap * 2 : 16;
        f->v = mem_realloc(f->v, *cap * sizeof *f->v);
    }
    f->v[f->n++] = (struct print){arena_strdup(&f->arena, str_c(path)), digest};
}

static void add_matches(struct fingerprint *f, size_t *cap, const char *pattern, size_t *names_left)
{
    struct pattern_names found;
    /* Too many, or too wide: those that were found stand for them, as they do for the loader, which refuses. */
    (void)!pattern_expand(&f->arena, pattern, SOURCES_MAX, names_left, &found);
    for (size_t i = 0; i < found.n; i++)
        add(f, cap, found.v[i], DIGEST_UNKNOWN);
}

static int print_cmp(const void *one, const void *other)
{
    const struct print *a = one, *b = other;
    int by_path = strcmp(a->path, b->path);
    /* A digest that is known goes first: it is the one that is kept. */
    return by_path ? by_path : (a->digest == DIGEST_UNKNOWN) - (b->digest == DIGEST_UNKNOWN);
}

static void sort_unique(struct fingerprint *f)
{
    size_t n = 0;
    if (f->n > 0)
        qsort(f->v, f->n, sizeof *f->v, print_cmp);
    for (size_t i = 0; i < f->n; i++)
        if (n == 0 || strcmp(f->v[i].path, f->v[n - 1].path) != 0)
            f->v[n++] = f->v[i];
    f->n = n;
}

static void take(struct fingerprint *f, const struct sources *s, bool loaded)
{
    size_t cap = 0, left = FINGERPRINT_BYTES, names_left = PATTERN_LOOKED_AT;
    fingerprint_fini(f);
    arena_init(&f->arena, NULL);
    for (size_t i = 0; i < s->n; i++)
        add(f, &cap, s->v[i].path, loaded ? s->v[i].digest : DIGEST_UNKNOWN);
    for (size_t i = 0; i < s->n_globs && !loaded; i++)
        add_matches(f, &cap, s->globs[i], &names_left);
    sort_unique(f);
    for (size_t i = 0; i < f->n; i++)
        if (f->v[i].digest == DIGEST_UNKNOWN)
            f->v[i].digest = digest_file(f->v[i].path, &left);
}

void fingerprint_take(struct fingerprint *f, const struct sources *s) { take(f, s, false); }

void fingerprint_loaded(struct fingerprint *f, const struct sources *s) { take(f, s, true); }

void fingerprint_denied(struct fingerprint *f)
{
    for (size_t i = 0; i < f->n; i++) {
        size_t left = 0;
        if (access(f->v[i].path, R_OK) != 0 && errno == EACCES)
            f->v[i].digest = digest_file(f->v[i].path, &left);
    }
}

void fingerprint_fini(struct fingerprint *f)
{
    if (f->v || f->arena.last)
        arena_fini(&f->arena);
    mem_free(f->v);
    *f = (struct fingerprint){0};
}

void fingerprint_move(struct fingerprint *to, struct fingerprint *from)
{
    fingerprint_fini(to);
    *to = *from;
    *from = (struct fingerprint){0};
}

uint64_t fingerprint_of(const struct fingerprint *f, const char *path)
{
    size_t low = 0, high = f->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(f->v[mid].path, path);
        if (order == 0)
            return f->v[mid].digest;
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return DIGEST_UNKNOWN;
}

/* The next path in either; false at the end. */
struct pair_walk {
    const struct fingerprint *a, *b;
    size_t i, j;
};

static bool walk_next(struct pair_walk *w, const char **path, uint64_t *a, uint64_t *b)
{
    const struct print *x = w->i < w->a->n ? &w->a->v[w->i] : NULL, *y = w->j < w->b->n ? &w->b->v[w->j] : NULL;
    if (!x && !y)
        return false;
    int order = !y ? -1 : !x ? 1 : strcmp(x->path, y->path);
    *path = order <= 0 ? x->path : y->path;
    *a = order <= 0 ? x->digest : digest_absent();
    *b = order >= 0 ? y->digest : digest_absent();
    w->i += order <= 0;
    w->j += order >= 0;
    return true;
}

bool fingerprint_same(const struct fingerprint *one, const struct fingerprint *other)
{
    struct pair_walk w = {.a = one, .b = other};
    const char *path;
    uint64_t a, b;
    while (walk_next(&w, &path, &a, &b))
        if (a != b)
            return false;
    return true;
}

void fingerprint_say(const struct fingerprint *before, const struct fingerprint *after, char *out, size_t cap)
{
    struct pair_walk w = {.a = before, .b = after};
    const char *path, *first = NULL;
    uint64_t a, b, first_a = 0, first_b = 0;
    size_t n = 0;
    while (walk_next(&w, &path, &a, &b)) {
        if (a == b)
            continue;
        if (n++ == 0) {
            first = path;
            first_a = a;
            first_b = b;
        }
    }
    if (n == 0)
        snprintf(out, cap, "nothing changed");
    else if (n == 1)
        snprintf(out, cap, "%s %s", first, first_a == digest_absent() ? "is new" : first_b == digest_absent() ? "is gone"
                                                                                                       : "changed");
    else
        snprintf(out, cap, "%zu files changed, %s among them", n, first);
}
