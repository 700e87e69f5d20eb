/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SipHash-1-3: one round for each word of eight bytes, three at the end.
 *
 * Short of 2-4, which is meant for signatures, but enough where an attacker sees neither hashes nor the order of a
 * table, only its speed. Case is folded word by word on the way in: what holds no capital hashes the same both ways.
 */
#include "lib/hash.h"

#include <stdbool.h>
#include "lib/word.h"

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotl(uint64_t x, int n) { return x << n | x >> (64 - n); }

static inline void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = rotl(s->v1, 13) ^ s->v0;
    s->v0 = rotl(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotl(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotl(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotl(s->v1, 17) ^ s->v2;
    s->v2 = rotl(s->v2, 32);
}

static inline void sip_word(struct sip *s, uint64_t w)
{
    s->v3 ^= w;
    sip_round(s);
    s->v0 ^= w;
}

__attribute__((always_inline)) static inline uint64_t sip_hash(const struct hash_key *key, struct str str, bool fold)
{
    struct sip s = {
        .v0 = key->k0 ^ 0x736f6d6570736575u,
        .v1 = key->k1 ^ 0x646f72616e646f6du,
        .v2 = key->k0 ^ 0x6c7967656e657261u,
        .v3 = key->k1 ^ 0x7465646279746573u,
    };
    size_t i = 0;
    for (; str.len - i >= 8; i += 8) {
        uint64_t w = word_load(str.at + i);
        sip_word(&s, fold ? word_lower(w) : w);
    }
    uint64_t rest = i < str.len ? word_load_part(str.at + i, str.len - i) : 0;
    sip_word(&s, (fold ? word_lower(rest) : rest) | (uint64_t)str.len << 56);
    s.v2 ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t hash_str(const struct hash_key *key, struct str s) { return sip_hash(key, s, false); }

uint64_t hash_str_nocase(const struct hash_key *key, struct str s) { return sip_hash(key, s, true); }
