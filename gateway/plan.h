/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLAN_H
#define PLAN_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/page.h"

/*
 * What a reload would change, or did: of listeners, upstreams, routes, filters' instances and settings, by name; which keys,
 * from what to what; and what becomes of the state of those who are kept. Control thread.
 */
struct snapshot;
struct plan;

/* `from` may run, then instances look at what is under way; `to` need not be opened. Both must stay until the plan is freed. */
struct plan *plan_new(const struct snapshot *from, const struct snapshot *to, uint64_t now);
void plan_free(struct plan **);

bool plan_is_empty(const struct plan *);             /* nothing differs */

/* One line for each thing, its keys and notes below it; what is over a limit at once is marked "!". */
void plan_text(const struct plan *, struct page *);
/* Members of a JSON object: "changes": [{"what", "name", "type", "change", "keys": [{"key", "from", "to"}],
 * "notes": [{"kind", "text"}]}], "unchanged": {"routes": N ...}, "over": N, "restart": N: how many notes of these kinds. */
void plan_json(const struct plan *, struct page *);
/* For one line of a log: "2 routes changed, 1 listener added", or "nothing changed". */
void plan_brief(const struct plan *, struct page *);

#endif
