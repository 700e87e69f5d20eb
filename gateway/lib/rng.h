/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RNG_H
#define RNG_H

#include <stdint.h>

/* xoshiro256** (Blackman and Vigna 2018), seeded through splitmix64. For jitter, ids and balancing; not for secrets. */
struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *, uint64_t seed);
uint64_t rng_next(struct rng *);
uint64_t rng_below(struct rng *, uint64_t n);          /* uniform in [0, n); n > 0 */
/* From the system, for seeds and hash keys. Ends the process when there is none. */
void rng_entropy(void *at, unsigned long len);

#endif
