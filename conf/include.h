/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INCLUDE_H
#define INCLUDE_H

#include "conf/yaml.h"

/*
 * A configuration of several files. The main one may say at its top level
 *
 *     include: [base.yaml, "routes-*.yaml"]
 *
 * Paths are relative to the main file's folder; those with a wildcard (conf/pattern.h) name the files that match, sorted by
 * name, or none. Each file is read once. It may hold any top-level section, but no further `include`: sections that are
 * mappings of names (define, upstreams) or lists (listen, routes, trusted_proxies) are joined in the order of the files, every
 * other one may stand in one file only. `version` must stand in the main file and may stand in the others.
 *
 * All files are read and their errors told, but when one could not be read, what it would have held is unknown and -1 is
 * returned. Control thread.
 */
#define INCLUDE_FILES_MAX 1000

/* The tree of the file `path` with all that it includes; set->sources lists what was read, also when something failed. */
int include_read(struct yaml_set *, const char *path, struct yaml_node **root) must_check;
/* The same for a text, which is taken for that of the file `name`. */
int include_read_text(struct yaml_set *, struct str text, const char *name, struct yaml_node **root) must_check;
/* The tree of a file for who wants a part of it, whatever is wrong with the rest: NULL when there is none, and always
 * `diags` says what is wrong. Nodes live in the arena. */
struct yaml_node *include_tree(struct arena *, const char *path, struct diags *);
/* What include_read() would read now, whatever is wrong with it: for who waits until a file that was refused is mended. */
void include_sources(const char *path, struct sources *);

#endif
