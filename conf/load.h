/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LOAD_H
#define LOAD_H

#include "lib/arena.h"
#include "conf/diag.h"
#include "conf/yaml.h"

/*
 * What is at hand while a configuration is being read: for field readers and a filter's options_check(). Control
 * thread.
 */
struct show;
struct snapshot;
struct load {
    struct diags *diags;                 /* what is wrong goes there */
    struct show *show;                   /* who wants to know what is in force; NULL: nobody */
    struct arena *arena;                 /* of the snapshot being made */
    struct snapshot *snap;
    const struct filter *const *filters; /* the types there are; NULL-terminated */
    const struct yaml_node *node;        /* what is being read: where errors without a place point */
    struct str name;                     /* of the instance, in options_check() */
    bool filters_unknown;                /* some filter could not be read: what it provides is missing, and not told again */
    struct str owner;                    /* of the filter being read: "route /v1/", "upstream api", "define x" */
};

/* The name of the i-th route, in the file's order; {NULL, 0}: there are no more. In options_check(). */
struct str load_route(const struct load *, size_t i);
/*
 * What is wrong, at a node; NULL: at load->node. Always -1, so that `return load_err(...)` reads well. It is good form to go
 * on and find what else is wrong, as long as that does not follow from this.
 */
int load_err(const struct load *, const struct yaml_node *, enum diag_code, const char *fmt, ...) printf_like(4, 5);
/* For a value that is printed as it is, in the log, in metrics or in answers: -1 with an error when it holds a secret.
 * `what` it is: "an address". */
int load_public(const struct load *, const struct yaml_node *, const char *what) must_check;
/* What can be loaded and is hardly meant. */
void load_warn(const struct load *, const struct yaml_node *, enum diag_code, const char *fmt, ...) printf_like(4, 5);
/* The number of an attribute; -1 with an error at load->node when no filter of this configuration provides it. */
int load_attribute(const struct load *, struct str name) must_check;

#endif
