/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ADMIN_CLIENT_H
#define ADMIN_CLIENT_H

#include "conf/snapshot.h"
#include "lib/err.h"
#include "lib/page.h"

/*
 * The other end of the admin listener, for the command line. Blocks. Any thread.
 */
struct admin_ask {
    const char *method;              /* "GET", "POST" */
    const char *path;                /* with its query: "/command?instance=x&word=open" */
    struct str body;                 /* of a POST */
    const char *token;               /* for "Authorization: Bearer"; NULL or "": none */
    const char *accept;              /* the form that is wanted, "text/plain"; NULL: any */
    uint64_t patience;               /* ns for everything, connecting included */
};

/* Asks, and waits for the answer. Returns its status, with its body in *body (page_free() it; NUL-terminated, also when empty);
 * -1 with an error when there was none, or not a whole one. An address that is none to connect to (0.0.0.0, [::]) stands for
 * this machine. */
int admin_ask(const struct address *, const struct admin_ask *, struct page *body, struct err *) must_check;

/* `value` as it must stand in a query. */
void admin_query_value(struct page *, struct str value);

#endif
