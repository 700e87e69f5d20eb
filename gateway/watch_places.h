/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WATCH_PLACES_H
#define WATCH_PLACES_H

#include <stdbool.h>
#include <stddef.h>
#include "lib/arena.h"
#include "lib/str.h"

/*
 * Which directories to look into, and for which of their entries, to see that a path leads to another file: the folder of
 * the file, of each symbolic link on the way, and of the first part of the way that is missing. Looks at links and folders
 * and opens nothing. Control thread.
 */
struct watch_place {
    const char *dir;                 /* as it may be opened */
    struct str name;                 /* of an entry in it */
    bool pattern;                    /* `name` is one, of one part of a path */
};

struct watch_places {
    struct arena arena;
    struct watch_place *v;           /* watch_places_sort() sorts them by dir, then name */
    size_t n, cap;
    size_t *seen;                    /* a hash table of indices + 1 */
    size_t slots;
    size_t looked_at;                /* names in folders, for patterns: PATTERN_LOOKED_AT at most */
};

#define WATCH_PLACES_MAX 20000       /* what is above is left out */

void watch_places_init(struct watch_places *);
void watch_places_fini(struct watch_places *);

void watch_places_file(struct watch_places *, const char *path);
/* A pattern of conf/pattern.h: each part of it with a wildcard is looked for in all folders that the parts before match. */
void watch_places_pattern(struct watch_places *, const char *pattern);
void watch_places_sort(struct watch_places *);

#endif
