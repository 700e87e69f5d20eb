/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DOC_FORM_H
#define DOC_FORM_H

#include <stdbool.h>
#include "conf/field.h"
#include "filter.h"

/*
 * A row of a field table in words, and all rows one after the other: what the manual, the man page and `weir doc KEY`
 * have in common. What is written in a file stands in `backquotes`. Any thread.
 */
struct page;

void doc_value(struct page *, const struct field *);     /* what may be written, with its bounds */
void doc_default(struct page *, const struct field *);   /* "required", "none", or the default in backquotes */
void doc_places(struct page *, const struct filter *);   /* "May stand on routes. Provides `x`." */

/* One key, as doc_walk() comes by. */
struct doc_key {
    const char *path;                /* "upstreams.health.path", "token_bucket.rate"; of the visit only */
    const struct field *field;       /* NULL: `path` is a filter's type */
    const struct filter *filter;     /* whose option it is; NULL: none's */
    bool common;                     /* an option that every filter has */
};
typedef void doc_visit(void *ctx, const struct doc_key *);

/* Visits every key that a configuration may hold, mappings before what is in them: the sections of the file, then each
 * filter with its options and those that all have. */
void doc_walk(const struct filter *const *filters, doc_visit *, void *ctx);

#define DOC_PATH_CAP 128
/* "path.key"; `path` may be "". */
struct doc_path { char text[DOC_PATH_CAP]; };
struct doc_path doc_path(const char *path, const char *key);

/* Is the mapping one of names that the file chooses: upstreams.NAME.key? */
bool doc_is_named(const struct field *);

#endif
