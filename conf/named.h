/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NAMED_H
#define NAMED_H

#include <stddef.h>
#include "lib/arena.h"
#include "lib/str.h"

/*
 * Names of things in a configuration: whether one stands twice, and which one was probably meant. Any thread.
 */
struct named {
    struct str name;
    size_t index;                    /* in the order of the file */
};

/* Sorts `v`. The first of the file that repeats an earlier one, with *earlier set to that; NULL: all differ. */
const struct named *named_repeated(struct named *v, size_t n, const struct named **earlier);

/* The same names, sorted: each that repeats an earlier one, with *first set to the first of them all; NULL: no more. *at starts as
 * 0, *first as NULL. */
void named_sort(struct named *v, size_t n);
const struct named *named_next_repeat(const struct named *v, size_t n, size_t *at, const struct named **first);

/* Things by name, found in the same time however many there are. The first of a name stands. */
struct names {
    struct names_slot { struct str name; void *thing; } *slots;
    size_t mask;
};
void names_init(struct names *, struct arena *, size_t most);        /* room for `most`, in the arena */
void names_put(struct names *, struct str name, void *thing);
void *names_get(const struct names *, struct str name);              /* NULL: there is none; also of {0} */

/* The nearest of several words to one that is unknown. */
struct nearest {
    struct str word;
    struct str best;                 /* {NULL, 0}: none is near */
    unsigned distance;
};

void nearest_init(struct nearest *, struct str word);
void nearest_try(struct nearest *, struct str candidate);

/* `; did you mean "best"?`, or "" when none is near. */
struct hint { char text[96]; };
struct hint nearest_hint(const struct nearest *);

#endif
