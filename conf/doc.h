/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DOC_H
#define DOC_H

#include <stdbool.h>
#include "filter.h"
#include "lib/str.h"

/*
 * The configuration's reference, from the tables that read it. All print behind what the page holds. Any thread.
 */
struct page;

void doc_manual(struct page *, const struct filter *const *filters);        /* docs/reference.md */
void doc_man(struct page *, const struct filter *const *filters);           /* weir.yaml(5), in roff */
void doc_schema(struct page *, const struct filter *const *filters);        /* JSON Schema, draft 2020-12 */
void doc_schema_included(struct page *);     /* that of included files; refers to the former as weir.schema.json */

/* What one word means, as text for a terminal: a key by its path ("upstreams.health.every", names and indices may stand in
 * it as they do in a file), a filter, a filter's option, a reason, a fault. A last part alone will do if only one key has it.
 * False: it means nothing, and the page says what may have been meant. */
bool doc_word(struct page *, const struct filter *const *filters, struct str word);

#endif
