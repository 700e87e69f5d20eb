/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xoshiro256**, by the paper. Each owner has its own state: no lock, and a test that seeds it sees the same run twice.
 * A state of all zeros would stay there for ever; splitmix64 cannot make four zeros in a row.
 */
#include "lib/rng.h"

#include <errno.h>
#include <stddef.h>
#include <sys/random.h>
#include "lib/check.h"

static uint64_t rotl(uint64_t x, int n) { return x << n | x >> (64 - n); }

static uint64_t splitmix64(uint64_t *x)
{
    uint64_t z = *x += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void rng_seed(struct rng *r, uint64_t seed)
{
    for (size_t i = 0; i < array_len(r->s); i++)
        r->s[i] = splitmix64(&seed);
}

uint64_t rng_next(struct rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

/*
 * Multiplication instead of a remainder (Lemire 2019): the high half of a product is in [0, n); the draws whose low
 * half is below 2^64 mod n would make some results likelier, and are thrown away.
 */
uint64_t rng_below(struct rng *r, uint64_t n)
{
    check(n > 0);
    unsigned __int128 product = (unsigned __int128)rng_next(r) * n;
    if ((uint64_t)product < n) {
        uint64_t unfair = -n % n;
        while ((uint64_t)product < unfair)
            product = (unsigned __int128)rng_next(r) * n;
    }
    return (uint64_t)(product >> 64);
}

void rng_entropy(void *at, unsigned long len)
{
    char *to = at;
    while (len) {
        ssize_t n = getrandom(to, len, 0);
        check(n > 0 || errno == EINTR);
        if (n > 0) {
            to += n;
            len -= (unsigned long)n;
        }
    }
}
