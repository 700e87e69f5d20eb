/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPOSITION_H
#define EXPOSITION_H

#include <stdint.h>
#include "lib/histogram.h"
#include "lib/page.h"

/*
 * Pieces of the Prometheus text format (version 0.0.4). Every name gets the prefix weir_. Any thread.
 */

/* A label's name and value; {NULL} : none. */
struct label { const char *name; struct str value; };

void exposition_head(struct page *, const char *name, const char *type, const char *help);
void exposition_value(struct page *, const char *name, const struct label *, unsigned n_labels, uint64_t value);
/* The counts of the buckets (the last is +Inf), and the sum in ns. The count is the sum of the buckets printed. */
void exposition_histogram(struct page *, const char *name, const struct label *, unsigned n_labels,
                          const uint64_t counts[HISTOGRAM_BUCKETS + 1], uint64_t sum_ns);

#endif
