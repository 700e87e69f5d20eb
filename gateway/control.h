/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_H
#define CONTROL_H

#include "conf/snapshot.h"
#include "lib/err.h"

/*
 * The control thread: starts the workers, watches signals and names, answers the admin listener, and brings everything to
 * an orderly end. Main thread.
 */

struct diags;

/* What `weir run` ends with. */
enum { EXIT_FINE = 0, EXIT_CONFIG = 1, EXIT_USAGE = 2, EXIT_CUT = 3 };

/* Reads, checks and compiles a configuration: what may fail of a reload, and touches nothing that runs. 0 with one reference
 * in *out; -1: the list says why. `running`: what is in force (NULL: nothing is), in which the same
 * certificates may have expired. */
int control_load(const char *path, const struct snapshot *running, struct diags *, struct snapshot **out) must_check;
/* The same of a text that is called `name`. */
int control_load_text(struct str text, const char *name, const struct snapshot *running, struct diags *,
                      struct snapshot **out) must_check;

/* Runs until a signal ends it; returns the exit status, errors are logged. */
int control_run(const char *path);

#endif
