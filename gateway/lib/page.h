/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PAGE_H
#define PAGE_H

#include <stddef.h>
#include "str.h"

/* Growing text, for pages of the admin listener. Starts as {0}; `at` is NUL-terminated behind `len` once anything was
 * printed. One thread. */
struct page { char *at; size_t len, cap; };

void page_printf(struct page *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A label's value of the Prometheus text format: in double quotes, with backslash, quote and newline escaped. */
void page_label(struct page *, struct str value);
/* A JSON string in its quotes; what is no UTF-8 is replaced. */
void page_json(struct page *, struct str value);
void page_free(struct page *);

#endif
