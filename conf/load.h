/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LOAD_H
#define LOAD_H

#include "lib/arena.h"
#include "lib/err.h"
#include "conf/yaml.h"

/*
 * What is at hand while a configuration is being read: for field readers and a filter's options_check(). Control
 * thread.
 */
struct snapshot;
struct load {
    const char *file;                    /* for errors */
    struct arena *arena;                 /* of the snapshot being made */
    struct snapshot *snap;
    const struct filter *const *filters; /* the types there are; NULL-terminated */
    const struct yaml_node *node;        /* what is being read: where errors without a place point */
    struct str name;                     /* of the instance, in options_check() */
    struct str owner;                    /* of the filter being read: "route /v1/", "upstream api", "define x" */
};

/* The name of the i-th route, in the file's order; {NULL, 0}: there are no more. In options_check(). */
struct str load_route(const struct load *, size_t i);
/* Says in the log, with the place, what can be loaded and is hardly meant. `node` NULL: load->node. */
void load_warn(const struct load *, const struct yaml_node *, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The number of an attribute; -1 with an error when no filter of this configuration provides it. */
int load_attribute(struct load *, struct str name, struct err *) must_check;

#endif
