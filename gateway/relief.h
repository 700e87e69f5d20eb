/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RELIEF_H
#define RELIEF_H

#include <stdbool.h>

/* What a worker does while memory is short. Each stage does what those before it do. The owning worker only. */
struct worker;

enum memory_stage {
    MEMORY_FINE,
    MEMORY_BODIES,       /* request bodies that have not begun wait; what is under way is held back at the first byte too much */
    MEMORY_REQUESTS,     /* new requests are refused, and their connections closed */
    MEMORY_CONNECTIONS,  /* nobody is accepted */
};

/* `stage` holds from now on. */
void relief_set(struct worker *, enum memory_stage stage);
/* Gives back what is only kept: idle connections to endpoints, blocks on free lists. */
void relief_give_back(struct worker *);
/* One body that waits may come in, so that nobody who waits for what its request holds waits for good. */
void relief_let_one(struct worker *);

#endif
