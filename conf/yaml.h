/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONF_YAML_H              /* YAML_H is libyaml's own */
#define CONF_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include "conf/source.h"
#include "lib/arena.h"
#include "lib/check.h"
#include "lib/str.h"

/*
 * A YAML document as a small tree with places, read with libyaml's events. Bounded against hostile files: size, depth,
 * number of nodes, aliases. ${VAR} and ${file:...} are expanded in scalars while reading. Control thread.
 */
struct diags;

enum yaml_type { YAML_NULL, YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_node {
    enum yaml_type type;
    unsigned line, col;              /* 1-based */
    unsigned width;                  /* characters on that line, quotes included; 0: more than one line, or not a scalar */
    const struct source *source;
    struct str text;                 /* of a scalar, expanded */
    bool plain;                      /* a scalar without quotes */
    struct yaml_entry *entries;      /* of a list (key NULL) or map, in order */
    size_t n;
};

struct yaml_entry {
    struct yaml_node *key;           /* NULL in a list */
    struct yaml_node *value;
};

struct yaml_limits { size_t bytes, depth, nodes; };
extern const struct yaml_limits yaml_limits_default;       /* 16 MiB, 32, 1,000,000 */

/* Parses a source, which must live as long as the nodes do; those live in the arena. 0, or -1 and the list says why. */
int yaml_parse(struct arena *, const struct source *, const struct yaml_limits *, struct yaml_node **root,
               struct diags *) must_check;
/* Reads a whole file (bounded by limits->bytes) into the arena. */
int yaml_read_file(struct arena *, const char *path, const struct yaml_limits *, struct source *,
                   struct diags *) must_check;

/* The value of a key in a map; NULL: absent. Duplicates were refused by yaml_parse(). */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);

/* Where a node stands. */
struct place yaml_place(const struct yaml_node *);

/* Text as it may stand in an error: cut to a readable length, control characters as "?". Use it in place:
 * load_err(..., "\"%s\"", quoted(node->text).text). */
struct quoted { char text[96]; };
struct quoted quoted(struct str);
/* A node's value in the same way. */
struct quoted yaml_quoted(const struct yaml_node *);

#endif
