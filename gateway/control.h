/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_H
#define CONTROL_H

#include "conf/snapshot.h"
#include "lib/err.h"

/*
 * The control thread: starts the workers, watches signals and names, answers the admin listener, and brings everything to
 * an orderly end. Main thread.
 */

/* What `weir run` ends with. */
enum { EXIT_FINE = 0, EXIT_CONFIG = 1, EXIT_USAGE = 2, EXIT_CUT = 3 };

/* Loads and checks a configuration, routes included; *out holds one reference. */
int control_load(const char *path, struct shared_set *, struct snapshot **out, struct err *) must_check;

/* Runs until a signal ends it; returns the exit status, errors are logged. */
int control_run(const char *path);

#endif
