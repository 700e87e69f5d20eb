/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLAN_IMPL_H
#define PLAN_IMPL_H

#include "conf/snapshot.h"
#include "filter.h"
#include "plan.h"

/*
 * Private to the plan: plan.c compares, plan_page.c tells. All of it lives in the plan's arena.
 */
enum plan_what { PLAN_SETTING, PLAN_LISTENER, PLAN_UPSTREAM, PLAN_ENDPOINT, PLAN_ROUTE, PLAN_FILTER, PLAN_CERTIFICATE, PLAN_TRUSTED,
                 PLAN_WHATS };
enum plan_how { PLAN_ADDED, PLAN_REMOVED, PLAN_CHANGED, PLAN_SAME, PLAN_HOWS };

struct plan_key {
    const char *key, *from, *to;
    struct plan_key *next;
};

struct plan_noted {
    enum plan_note kind;
    const char *text;
    struct plan_noted *next;
};

struct plan_item {
    enum plan_what what;
    enum plan_how how;
    struct str name;
    const char *type;                /* of a filter; else NULL */
    struct plan_key *keys, **keys_tail;
    struct plan_noted *notes, **notes_tail;
    struct plan_item *next;
};

struct plan {
    struct arena arena;
    uint64_t now;
    struct plan_item *items, **items_tail;
    size_t counts[PLAN_WHATS][PLAN_HOWS];
    size_t notes[PLAN_NOTES];
};

/* Where a filter's plan() says things. */
struct plan_notes {
    struct plan *plan;
    struct plan_item *item;
};

#endif
