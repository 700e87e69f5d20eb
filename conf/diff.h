/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DIFF_H
#define DIFF_H

#include "conf/field.h"
#include "lib/page.h"

/*
 * In which keys two readings of one table differ. It comes from the table alone, so that a new key is compared as soon as it
 * can be written. Control thread.
 */
struct yaml_node;

/* One reading: what came of it, and the mapping that was read (NULL: nothing was written). */
struct diff_side {
    const void *options;
    const struct yaml_node *node;
};

/* One key, "timeouts.connect" when it is in a mapping inside; its values as they would be written, defaults too, secrets as
 * ***. Texts are valid during the call. */
struct diff_key {
    const char *key;
    const char *from, *to;
};

/* Calls found() for each key that differs, in the table's order; keys in `skip` (ended by NULL; itself NULL: none) are not
 * compared. What is a number is compared as such: 1000ms is 1s. All else as it is written, short forms as their long ones. */
void diff_fields(const struct field *, const struct diff_side *from, const struct diff_side *to, const char *const *skip,
                 void (*found)(void *ctx, const struct diff_key *), void *ctx);

/* A field's value as it would be written, long ones cut: `at` is where it was read to, `node` what was written (NULL: the
 * default stands). */
void diff_value(const struct field *, const void *at, const struct yaml_node *node, struct page *);

#endif
