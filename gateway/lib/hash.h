/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HASH_H
#define HASH_H

#include <stdint.h>
#include "str.h"

/* SipHash-1-3 (Aumasson and Bernstein 2012, reduced rounds): keyed, for tables whose keys an attacker may choose. */
struct hash_key {
    uint64_t k0, k1;
};

uint64_t hash_str(const struct hash_key *, struct str);
/* Case folded as str_eq_nocase() sees it. */
uint64_t hash_str_nocase(const struct hash_key *, struct str);

#endif
