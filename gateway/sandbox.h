/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SANDBOX_H
#define SANDBOX_H

#include <stdbool.h>
#include "lib/check.h"

/*
 * From here on the kernel does for this process, and for what it may turn into, no more than a running gateway asks of it. It
 * holds for every thread, those that run and those that begin later, and cannot be undone.
 */
struct err;

enum sandbox_log { SANDBOX_NO_LOG_FILE, SANDBOX_LOG_FILE };

/* LOG_FILE: files may be appended to and made, as a log is opened; else nothing can be opened for writing. -1: the kernel or the
 * library would not, and nothing has changed. Once, on the main thread, when all is open. */
int sandbox_enter(enum sandbox_log, struct err *) must_check;

#endif
