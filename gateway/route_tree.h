/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ROUTE_TREE_H
#define ROUTE_TREE_H

#include <stddef.h>
#include <stdint.h>
#include "conf/snapshot.h"
#include "lib/hash.h"

/*
 * The compiled routes, between route_build.c that makes them and route.c that looks up; nobody else includes this.
 * Immutable once built, all of it in the snapshot's arena.
 */
struct route_candidate {
    const struct route_conf *route;
    const struct str *names;         /* of its :params, without the colon; as many as lie on the way to it */
};

/* In the order of precedence. */
struct route_list {
    const struct route_candidate *v;
    size_t n;
};

/* What the segments walked so far have in common. Literal children stand in the router's table, under their parent. */
struct route_node {
    struct str segment;                          /* the literal that leads here */
    const struct route_node *parent;
    const struct route_node *param;              /* the child for any one segment */
    const struct route_node *only;               /* the literal child, when there is just one: needs no hash */
    unsigned n_literals;
    unsigned number;                             /* in the order of making: a child's is above its parent's */
    struct route_list exact, subtree;
};

struct route_host {
    struct str name;                             /* "example.com", ".example.com" */
    const struct route_node *root;
};

struct router {
    const struct route_conf *everything;         /* set when "/" is the only route and asks for nothing more */
    struct hash_key key;
    const struct route_node *any_host;           /* NULL: no route without a host */
    const struct route_host **hosts;             /* open addressing, less than half full; NULL: no host is named */
    size_t hosts_mask;
    size_t host_len_max;                         /* of exact ones and suffixes */
    unsigned suffix_labels_max;                  /* 0: there are no suffixes */
    const struct route_node **literals;          /* open addressing, less than half full */
    size_t literals_mask;
};

static inline size_t route_host_slot(const struct router *r, struct str name)
{
    return hash_str_nocase(&r->key, name) & r->hosts_mask;
}

static inline size_t route_literal_slot(const struct router *r, const struct route_node *parent, struct str segment)
{
    return (hash_str(&r->key, segment) + parent->number * UINT64_C(0x9e3779b97f4a7c15)) & r->literals_mask;
}

#endif
