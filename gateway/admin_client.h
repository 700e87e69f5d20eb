/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ADMIN_CLIENT_H
#define ADMIN_CLIENT_H

#include "conf/snapshot.h"
#include "lib/err.h"
#include "lib/page.h"

/* Sends an order to a running gateway's admin listener and waits for the answer, at most 10 s. `path` with its query, as in
 * "/command?instance=x&word=open". Returns the status, with the answer's body in *body (page_free() it); -1 with an error
 * when there was none. Blocks: for the command line. */
int admin_post(const struct address *, const char *path, struct page *body, struct err *) must_check;

/* `value` as it must stand in a query. */
void admin_query_value(struct page *, struct str value);

#endif
