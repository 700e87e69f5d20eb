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
 *
 * What a scalar means is the core schema of YAML 1.2, less what nobody writes on purpose. Without quotes, an empty one, ~,
 * null, Null and NULL are no value at all. Every other one is a text until a table of fields reads it: a boolean is true or
 * false and nothing else (yes, on and the like are texts, as in 1.2), a number is decimal digits (no sign, exponent, octal
 * or hexadecimal form, no _ between digits), with a unit where there could be more than one. Quotes change nothing but the
 * first: "5" is 5 where a number belongs, and "null" is a text. There are no dates, no tags and no merge keys.
 */
struct diags;

enum yaml_type { YAML_NULL, YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_node {
    enum yaml_type type;
    unsigned line, col;              /* 1-based */
    unsigned width;                  /* characters on that line, quotes included; 0: more than one line, or not a scalar */
    const struct source *source;
    struct str text;                 /* of a scalar, expanded */
    struct str shown;                /* the same with *** for what is secret: for whatever people see; absent: `text` */
    bool plain;                      /* a scalar without quotes */
    bool broken;                     /* an error was said of it already; what follows from that is not worth one */
    struct yaml_entry *entries;      /* of a list (key NULL) or map, in order */
    size_t n;
};

struct yaml_entry {
    struct yaml_node *key;           /* NULL in a list */
    struct yaml_node *value;
};

struct yaml_limits { size_t bytes, depth, nodes; };
extern const struct yaml_limits yaml_limits_default;       /* 16 MiB, 32, 1,000,000 */

/* The files of one configuration: what they share while they are read. */
struct yaml_set {
    struct arena *arena;             /* of the nodes */
    const struct yaml_limits *limits;        /* of all together; depth of each */
    struct diags *diags;
    struct sources *sources;         /* files that variables name are added to it */
    size_t bytes, nodes;             /* so far */
};

/* Parses a source, which must live as long as the nodes do, and goes on behind errors where that is sound: 0 with the tree
 * (wrong parts left out, or `broken`), though errors may have been added to the list; -1: there is no tree. */
int yaml_read(struct yaml_set *, const struct source *, struct yaml_node **root) must_check;
/* The same for one source by itself: -1 when there was any error. */
int yaml_parse(struct arena *, const struct source *, const struct yaml_limits *, struct yaml_node **root,
               struct diags *) must_check;

/* Reads a file into the arena, for whoever needs its text as it is; -1, and the list says why. */
int yaml_read_file(struct arena *, const char *path, const struct yaml_limits *, struct source *,
                   struct diags *) must_check;

/* ---- nodes: yaml_node.c ---- */

/* The value of a key in a map; NULL: absent. */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);
/* Where a node stands. */
struct place yaml_place(const struct yaml_node *);
/* Does it hold a secret? */
static inline bool yaml_is_secret(const struct yaml_node *n) { return n->shown.at && n->shown.at != n->text.at; }
/* Its text for people. */
static inline struct str yaml_shown(const struct yaml_node *n) { return n->shown.at ? n->shown : n->text; }
/* One more entry at the end of a list or map; *cap (0 at first) is how much room there is. */
void yaml_add(struct arena *, struct yaml_node *, size_t *cap, struct yaml_entry);
/* Leaves out entries of a map whose key stood before, each with an error that says where. Returns -1 if there were any. */
int yaml_keys_unique(struct yaml_node *map, struct diags *);

/* Where a node stands, for an error at another: "line 3", or "base.yaml:3" when that is another file. */
struct yaml_where { char text[200]; };
struct yaml_where yaml_where(const struct yaml_node *, const struct yaml_node *seen_from);

/* Text as it may stand in an error: cut to a readable length, control characters as "?". Use it in place:
 * load_err(..., "\"%s\"", quoted(node->shown).text). Of a node always `shown`, never `text`. */
struct quoted { char text[96]; };
struct quoted quoted(struct str);
/* A node's value in the same way. */
struct quoted yaml_quoted(const struct yaml_node *);

#endif
