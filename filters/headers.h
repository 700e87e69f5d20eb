/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FILTERS_HEADERS_H
#define FILTERS_HEADERS_H

#include "conf/field.h"
#include "http/headers.h"
#include "lib/arena.h"

/* What is to be done to a head: first what is removed, then what is set, then what is added. */
struct headers_edit {
    struct pairs set, add;
    struct texts remove;
};

struct headers_options {
    struct headers_edit request, response;
};

/* `edit` must live as long as the head. The head's own thread. */
void headers_apply(const struct headers_edit *, struct http_head *, struct arena *);

#endif
