/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CHANGES_H
#define CHANGES_H

#include <stddef.h>
#include "conf/snapshot.h"
#include "lib/page.h"

/* What came and what went from one configuration to the next, in numbers, by name. What changed under the same name is not
 * looked at. */
enum change_kind { CHANGED_LISTENERS, CHANGED_UPSTREAMS, CHANGED_ENDPOINTS, CHANGED_ROUTES, CHANGED_FILTERS, CHANGED_KINDS };

struct changes {
    struct { size_t now, added, removed; } v[CHANGED_KINDS];
};

void changes_count(struct changes *, const struct snapshot *before, const struct snapshot *after);

/* "listeners 2 (+1), upstreams 3, endpoints 5 (+1 -1), routes 10, filters 4" */
void changes_print(const struct changes *, struct page *);
/* {"listeners": {"now": 2, "added": 1, "removed": 0}, ...} */
void changes_json(const struct changes *, struct page *);

#endif
