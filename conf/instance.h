/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_H
#define INSTANCE_H

#include <stdbool.h>
#include <stddef.h>
#include "lib/str.h"

/* What is configured of filters: each of them, and their order somewhere. Part of a snapshot. */
struct filter;
struct yaml_node;

/* A filter as named in the configuration. */
struct instance {
    const struct filter *type;
    struct str name;                 /* "per_key", or "route /v1/ token_bucket" of an inline one: its identity */
    const void *options;
    void *shared;                    /* of shared_open(); NULL when the type has none */
    unsigned slot;                   /* dense, 0-based: index of a worker's local state */
    bool shadow;                     /* mode: shadow */
    const struct yaml_node *node;    /* its options as written; NULL: none */
};

struct chain_conf {
    const struct instance *const *v;
    size_t n;
    bool request_body;               /* some have on_request_body */
    bool response_body;              /* some have on_response_body */
    bool resizes_body, resizes_request_body;
    size_t keep_body;                /* the largest */
};

#endif
