/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FIGURES_H
#define FIGURES_H

#include <stdint.h>
#include "lib/page.h"

/*
 * What the instances of a configuration count (figure.h), for the pages of the admin listener. Control thread, while the
 * workers go on. Instances whose filter has no figures are left out.
 */
struct snapshot;

/* Every figure with the labels instance, mode (enforce or shadow) and its own; for /metrics. */
void figures_metrics(const struct snapshot *, uint64_t now, struct page *);

/* The same as a JSON document, for /limits. `query`: instance=NAME for one of them alone; key=VALUE for what stands for that
 * key (of a key of several parts: several key=, in their order). Returns the status: 200, or 404 with an explanation when no
 * instance is named so. */
int figures_limits(const struct snapshot *, struct str query, uint64_t now, struct page *);

/* An order of the operator's, for POST /command: instance=NAME&word=WORD. Returns the status: 200, 404 when no instance that
 * takes orders is named so, 400 when it does not know the word. */
int figures_command(const struct snapshot *, struct str query, uint64_t now, struct page *);

#endif
