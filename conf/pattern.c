/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths with wildcards, expanded folder by folder.
 *
 * glob() of the C library reads folders whole and without bound; here every name looked at is counted, so that a
 * pattern such as a star in each folder of the root ends soon. A folder that cannot be read holds nothing: whether
 * something was to be found in it, nobody can say. Names are matched byte by byte, whatever the locale.
 */
#include "conf/pattern.h"

#include <dirent.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "lib/str.h"

struct search {
    struct arena *arena;
    struct pattern_names *names;
    size_t max, cap, *left;
};

bool pattern_is(const char *path) { return path[strcspn(path, "*?[")] != '\0'; }

static bool is_leftover(const char *name)
{
    size_t len = strlen(name);
    return name[0] == '.' || name[len - 1] == '~' || (name[0] == '#' && name[len - 1] == '#');
}

static enum pattern_result name_add(struct search *s, const char *path)
{
    struct pattern_names *names = s->names;

    if (names->n == s->max)
        return PATTERN_TOO_MANY;
    if (names->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 16;
        const char **more = arena_alloc(s->arena, s->cap * sizeof(*more));
        if (names->n)
            memcpy(more, names->v, names->n * sizeof(*more));
        names->v = more;
    }
    names->v[names->n++] = path;
    return PATTERN_FINE;
}

static enum pattern_result search(struct search *, const char *base, const char *rest);

/* `path` stands for a part of the pattern, whose rest is `rest` ("": that was all of it). */
static enum pattern_result found(struct search *s, const char *path, const char *rest)
{
    struct stat st;

    if (*rest)
        return search(s, path, rest);
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? PATTERN_FINE : name_add(s, path);
}

/* The names in the folder `base` that match `part`. */
static enum pattern_result folder_search(struct search *s, const char *base, const char *part, const char *rest)
{
    DIR *dir = *s->left > 0 ? opendir(*base ? base : ".") : NULL;
    enum pattern_result res = *s->left > 0 ? PATTERN_FINE : PATTERN_TOO_WIDE;

    for (struct dirent *e; dir && res == PATTERN_FINE && (e = readdir(dir));) {
        if (--*s->left == 0)
            res = PATTERN_TOO_WIDE;
        else if (!is_leftover(e->d_name) && fnmatch(part, e->d_name, FNM_PERIOD | FNM_NOESCAPE) == 0)
            res = found(s, arena_printf(s->arena, "%s%s", base, e->d_name).at, rest);
    }
    if (dir)
        closedir(dir);
    return res;
}

/* `base`: "" or a path with a slash at its end, or a folder's name behind which `rest` begins with one. */
static enum pattern_result search(struct search *s, const char *base, const char *rest)
{
    size_t slashes = strspn(rest, "/");
    size_t len = strcspn(rest + slashes, "/");
    const char *here = arena_printf(s->arena, "%s%.*s", base, (int)slashes, rest).at;
    const char *part = arena_strdup(s->arena, str_of(rest + slashes, len));

    rest += slashes + len;
    if (pattern_is(part))
        return folder_search(s, here, part, rest);
    struct stat st;
    const char *path = arena_printf(s->arena, "%s%s", here, part).at;
    return lstat(*path ? path : ".", &st) == 0 ? found(s, path, rest) : PATTERN_FINE;
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

enum pattern_result pattern_expand(struct arena *a, const char *pattern, size_t max, size_t *left, struct pattern_names *out)
{
    struct search s = {.arena = a, .names = out, .max = max, .left = left};

    *out = (struct pattern_names){NULL, 0};
    enum pattern_result res = search(&s, "", pattern);
    if (out->n > 1)
        qsort(out->v, out->n, sizeof(*out->v), by_name);
    return res;
}
