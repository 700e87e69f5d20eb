/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repeated names, and the nearest known name to an unknown one.
 *
 * Repeats are found by sorting, so that a file with very many keys loads in reasonable time. Nearness is the number of
 * letters inserted, dropped, changed or swapped with their neighbour; more than a third of the word is no likeness.
 */
#include "named.h"

#include <stdio.h>
#include <stdlib.h>
#include "lib/hash.h"

#define WORD_MAX 40          /* longer words are not compared */

static int by_name_and_place(const void *pa, const void *pb)
{
    const struct named *a = pa, *b = pb;
    size_t len = a->name.len < b->name.len ? a->name.len : b->name.len;
    int order = len ? memcmp(a->name.at, b->name.at, len) : 0;

    if (order != 0)
        return order;
    if (a->name.len != b->name.len)
        return a->name.len < b->name.len ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

const struct named *named_repeated(struct named *v, size_t n, const struct named **earlier)
{
    const struct named *found = NULL;

    if (n < 2)
        return NULL;
    qsort(v, n, sizeof(*v), by_name_and_place);
    for (size_t i = 1; i < n; i++) {
        if (!str_eq(v[i - 1].name, v[i].name) || (found && found->index < v[i].index))
            continue;
        found = &v[i];
        *earlier = &v[i - 1];
    }
    return found;
}

void named_sort(struct named *v, size_t n)
{
    if (n > 1)
        qsort(v, n, sizeof(*v), by_name_and_place);
}

const struct named *named_next_repeat(const struct named *v, size_t n, size_t *at, const struct named **first)
{
    size_t i = *at + 1;

    while (i < n && !str_eq(v[i - 1].name, v[i].name))
        i++;
    *at = i;
    if (i >= n)
        return NULL;
    if (!*first || !str_eq((*first)->name, v[i].name))
        *first = &v[i - 1];
    return &v[i];
}

/* Names come from the configuration's author: the key need not be secret. */
static size_t slot_of(const struct names *names, struct str name)
{
    static const struct hash_key key = {0x6e616d6564, 0x7468696e6773};
    size_t i = hash_str(&key, name) & names->mask;

    while (names->slots[i].thing && !str_eq(names->slots[i].name, name))
        i = (i + 1) & names->mask;
    return i;
}

void names_init(struct names *names, struct arena *arena, size_t most)
{
    size_t size = 4;

    while (size < most * 2)
        size *= 2;
    *names = (struct names){arena_zalloc(arena, size * sizeof(*names->slots)), size - 1};
}

void names_put(struct names *names, struct str name, void *thing)
{
    struct names_slot *s = &names->slots[slot_of(names, name)];
    if (!s->thing)
        *s = (struct names_slot){name, thing};
}

void *names_get(const struct names *names, struct str name)
{
    return names->slots ? names->slots[slot_of(names, name)].thing : NULL;
}

/* A number is not like another. */
static bool is_number(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
    return true;
}

void nearest_init(struct nearest *n, struct str word)
{
    *n = (struct nearest){.word = word, .distance = (unsigned)(word.len < 3 ? 2 : word.len / 3 + 2)};
}

static unsigned least(unsigned a, unsigned b) { return a < b ? a : b; }

/* Optimal string alignment distance, by rows: two before, before, this. */
static unsigned distance(struct str a, struct str b)
{
    unsigned rows[3][WORD_MAX + 1];
    unsigned *before2 = rows[0], *before = rows[1], *row = rows[2];

    for (unsigned j = 0; j <= b.len; j++)
        before[j] = j;
    for (unsigned i = 1; i <= a.len; i++) {
        row[0] = i;
        for (unsigned j = 1; j <= b.len; j++) {
            char ca = str_lower(a.at[i - 1]), cb = str_lower(b.at[j - 1]);
            row[j] = least(least(before[j] + 1, row[j - 1] + 1), before[j - 1] + (ca != cb));
            if (i > 1 && j > 1 && ca == str_lower(b.at[j - 2]) && str_lower(a.at[i - 2]) == cb)
                row[j] = least(row[j], before2[j - 2] + 1);
        }
        unsigned *oldest = before2;
        before2 = before;
        before = row;
        row = oldest;
    }
    return before[b.len];
}

void nearest_try(struct nearest *n, struct str candidate)
{
    if (n->word.len == 0 || n->word.len > WORD_MAX || candidate.len > WORD_MAX || is_number(candidate))
        return;
    size_t more = candidate.len > n->word.len ? candidate.len - n->word.len : n->word.len - candidate.len;
    if (more >= n->distance)
        return;
    unsigned d = distance(n->word, candidate);
    size_t longer = candidate.len > n->word.len ? candidate.len : n->word.len;
    if (d < n->distance && 2 * d < longer) {         /* most of it stays: "foo" does not mean "fmt" */
        n->distance = d;
        n->best = candidate;
    }
}

struct hint nearest_hint(const struct nearest *n)
{
    struct hint h = {""};
    if (n->best.at)
        (void)snprintf(h.text, sizeof(h.text), "; did you mean \"" STR_FMT "\"?", STR_ARG(n->best));
    return h;
}
