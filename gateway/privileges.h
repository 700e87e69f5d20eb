/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PRIVILEGES_H
#define PRIVILEGES_H

#include "lib/check.h"

/*
 * Giving up what a start may need and serving does not. In this order, at the start alone, on the main thread; what is given up
 * is given up by every thread, also those that begin later.
 */
struct diags;
struct snapshot;

/* No program that this process could be made to execute gets more than it has. Before any other thread begins. */
void privileges_begin(void);
/* Whether there are such a user and group here; -1: the list says which is not. Changes nothing, any time, any thread of a process
 * that has one. */
int privileges_check(const struct snapshot *, struct diags *) must_check;
/* Becomes the configuration's `user`, when ports are bound; the files that are opened from here on are that user's. -1: the
 * list says why it cannot. Without root there is nothing to give up, which is a warning when another user is named. */
int privileges_drop(const struct snapshot *, struct diags *) must_check;
/* When all is open and before anybody is served: no core dumps and no looking into the memory by others of the same user,
 * unless `sandbox.core_dumps`; and no system calls but those of sandbox.h, if `sandbox.seccomp`. -1: the list says why not. */
int privileges_seal(const struct snapshot *, struct diags *) must_check;

#endif
