/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of the process when a bug was found.
 *
 * The message goes out before the hook runs, and the hook runs once at most: if it fails a check itself, or another
 * thread fails one meanwhile, that one aborts at once. Nothing here allocates, for the heap may be what is broken.
 */
#include "lib/check.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static _Atomic(void (*)(void)) check_hook;

void check_set_hook(void (*hook)(void)) { atomic_store(&check_hook, hook); }

_Noreturn void check_failed(const char *cond, const char *file, int line, const char *func)
{
    dprintf(2, "weir: check failed: %s, at %s:%d in %s()\n", cond, file, line, func);
    void (*hook)(void) = atomic_exchange(&check_hook, NULL);
    if (hook)
        hook();
    abort();
}
