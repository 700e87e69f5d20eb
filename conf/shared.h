/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHARED_H
#define SHARED_H

#include "lib/str.h"
#include <stdint.h>

/*
 * State that outlives snapshots: of named instances, found again by type and name. Opened by the control thread (what has
 * no shared_adopt: by any), closed by any; the memory that it hands out is for any thread, by the filter's own rules.
 */
struct filter;
struct shared_set;

struct shared_set *shared_set_new(void);
void shared_set_free(struct shared_set *);                  /* all of it must have been closed; NULL is legal */
uint64_t shared_set_generation(struct shared_set *);        /* 1, 2, 3 ...: the number of the next snapshot */

/* The state of (type, name): made zeroed when new, then type->shared_adopt(). Counted: one shared_close() each. */
void *shared_open(struct shared_set *, const struct filter *type, struct str name, const void *options, uint64_t now);
void shared_close(struct shared_set *, void *state);        /* the last one calls type->shared_fini() and frees */

#endif
