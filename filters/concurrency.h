/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONCURRENCY_H
#define CONCURRENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "conf/field.h"
#include "filters/limit_key.h"
#include "filters/semaphore.h"
#include "lib/check.h"
#include "lib/ip.h"
#include "lib/str.h"

struct load;

/* How many requests may be at an upstream at once, and who is served first of those who wait. */
enum concurrency_class { CLASS_CRITICAL, CLASS_HIGH, CLASS_NORMAL, CLASS_LOW };

struct concurrency_route {
    struct str name;                 /* {NULL, 0}: a free slot of the table */
    int class;
    bool known;                      /* there is such a route */
};

struct concurrency_priority {
    int fallback;
    struct {
        struct concurrency_route *table;         /* by the name's hash, at most half full; NULL: none */
        size_t mask;
    } routes;
    struct str header;               /* {NULL, 0}: none */
    struct cidrs trusted;            /* whose word in the header is taken */
};

struct concurrency_options {
    uint64_t max, queue, max_wait;
    struct limit_key fair_by, key;
    struct concurrency_priority priority;
    uint32_t reserve[FAIR_CLASSES];  /* 1/100 % of max that a class keeps from those after it */
    struct semaphore_rule rule;      /* what comes of it all */
};

/* concurrency_options.c: the table that reads them, and what is checked once all is read (of struct filter). */
extern const struct field concurrency_fields[];
int concurrency_check(void *options, struct load *) must_check;

/* May this caller say in a header what class he is of? */
bool concurrency_trusts(const struct concurrency_priority *, const struct ip *client);
/* The class of a request of the given route; `word` is what a caller who may say so said, {NULL, 0}: nothing. */
unsigned concurrency_class(const struct concurrency_priority *, struct str route, struct str word);

#endif
