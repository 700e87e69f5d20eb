/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHOW_H
#define SHOW_H

#include <stdbool.h>
#include <stddef.h>
#include "conf/field.h"
#include "lib/check.h"
#include "lib/str.h"

/*
 * What is in force after a configuration was read: every value with where it stands, or that it is a default. Filled by the
 * readers of tables and lists while they read, so that no key can be forgotten. Control thread.
 *
 * Readers call the functions of the first group; for them NULL is nobody who wants to know, and costs nothing.
 */
struct page;
struct show;
struct yaml_node;

/* One step down: "key", or "[3]" of a list. Every one has its show_leave(). */
void show_enter_slow(struct show *, const char *fmt, ...) printf_like(2, 3);
#define show_enter(show, ...) ((show) ? show_enter_slow((show), __VA_ARGS__) : (void)0)
void show_leave(struct show *);
/* The value at the present path, once it was read: what is written there, or (NULL) the default that `at` now holds. `at` must
 * live until the list is printed. Nothing, when the values of a mapping were told one by one since show_enter(). */
void show_value(struct show *, const struct field *, const struct yaml_node *, const void *at);
/* A name that no table knows; `node` NULL: it stands nowhere. `shared`: of a filter under `define`. */
void show_text(struct show *, struct str name, const struct yaml_node *, bool shared);
/* Whether anything is noted: what is read meanwhile is told by the reader itself. */
void show_mute(struct show *, bool);
/* The document: sections are printed in its order. */
void show_root(struct show *, const struct yaml_node *);

struct show *show_new(void);
void show_free(struct show **);
/* "path = value  # file:line", or "# default", one a line; secrets as ***. The snapshot must still be there. */
void show_print(const struct show *, struct page *);
/* [{"path", "value", "file", "line"}], or "default": true for the last two. */
void show_json(const struct show *, struct page *);

#endif
