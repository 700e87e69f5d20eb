/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PATTERN_H
#define PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include "lib/arena.h"
#include "lib/check.h"

/*
 * Paths with wildcards, as `include` takes them: "*" is any run of characters, "?" any one, "[a-z]" one of several,
 * never a slash. What begins with a dot, and what editors leave behind (`x~`, `#x#`), is not matched by a wildcard. Any
 * thread.
 */
struct pattern_names {
    const char **v;                  /* paths as the pattern writes them, sorted by byte */
    size_t n;
};
enum pattern_result {
    PATTERN_FINE,                    /* none may be a match, too */
    PATTERN_TOO_MANY,                /* more than `max` match */
    PATTERN_TOO_WIDE,                /* no more names may be looked at */
};
#define PATTERN_LOOKED_AT 100000     /* names, by all patterns of a configuration */

bool pattern_is(const char *path);
/* *left: how many names may be looked at; what it takes is taken off. */
enum pattern_result pattern_expand(struct arena *, const char *pattern, size_t max, size_t *left, struct pattern_names *)
    must_check;

#endif
