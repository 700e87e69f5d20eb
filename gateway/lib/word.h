/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WORD_H
#define WORD_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Eight bytes of a string at once, as one little-endian number. Pure; any thread. */

static inline uint64_t word_load(const char *at)
{
    uint64_t w;
    memcpy(&w, at, sizeof(w));
    return le64toh(w);
}

/* The `n` < 8 bytes at `at`, the rest zero. Nothing outside of them is read. */
static inline uint64_t word_load_part(const char *at, size_t n)
{
    if (n >= 4) {
        uint32_t low, high;
        memcpy(&low, at, sizeof(low));
        memcpy(&high, at + n - 4, sizeof(high));
        return le32toh(low) | (uint64_t)le32toh(high) << (8 * (n - 4));
    }
    if (n == 0)
        return 0;
    return (uint64_t)(uint8_t)at[0] | (uint64_t)(uint8_t)at[n / 2] << (8 * (n / 2)) |
           (uint64_t)(uint8_t)at[n - 1] << (8 * (n - 1));
}

/* A to Z become a to z; every other byte stays what it is. */
static inline uint64_t word_lower(uint64_t w)
{
    const uint64_t ones = 0x0101010101010101u, high = ones * 0x80;
    uint64_t low_bits = w & ~high;
    uint64_t from_a = low_bits + ones * (0x80 - 'A');      /* the high bit of a byte says: >= 'A' */
    uint64_t past_z = low_bits + ones * (0x7f - 'Z');      /* > 'Z' */
    return w | ((from_a & ~past_z & ~w & high) >> 2);
}

#endif
