/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DOC_H
#define DOC_H

#include <stdio.h>

/*
 * The configuration's reference, from the tables that read it. Write errors are the stream's: ferror(). Any thread.
 */
struct filter;

void doc_manual(FILE *, const struct filter *const *filters);        /* Markdown */
void doc_schema(FILE *, const struct filter *const *filters);        /* JSON Schema, draft 2020-12 */

#endif
