/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CHAR_H
#define CHAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* What a byte may be a part of, and fast runs over bytes of one kind. Private to http/. Any thread. */

enum char_class {
    CHAR_TOKEN = 1,       /* tchar (RFC 9110 5.6.2) */
    CHAR_VALUE = 2,       /* of a field value: anything but CTL, and HTAB */
    CHAR_PATH = 4,        /* pchar and "/" (RFC 3986 3.3), but not "%" */
    CHAR_QUERY = 8,       /* the same and "?", and what browsers leave raw there: [ ] { } | ^ ` */
    CHAR_HOST = 16,       /* unreserved (RFC 3986 2.3): what a name to route by may hold */
    CHAR_HEX = 32,
    CHAR_PLAIN = 64,      /* letter, digit or "-": names that cannot be an alias of another name */
    CHAR_DIGIT = 128,
};

extern const uint8_t char_table[256];

static inline bool char_is(char c, enum char_class k)
{
    return (char_table[(unsigned char)c] & k) != 0;
}

/* The value of a hex digit; `c` must be one. */
static inline unsigned char_hex(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

/*
 * Runs: the first byte in [at, end) that does not belong, or `end`. They read nothing outside of [base, end): the last
 * block is one that ends at `end`, so it may begin before `at`. char_run_value() knows its class wholly but for HTAB;
 * the others stop early at bytes that are rare.
 */
#ifdef __SSE2__

static inline __m128i char_between(__m128i v, int from, int to)
{
    __m128i x = _mm_sub_epi8(v, _mm_set1_epi8((char)from));
    return _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8((char)(to - from))), x);
}

static inline __m128i char_equal(__m128i v, int c) { return _mm_cmpeq_epi8(v, _mm_set1_epi8((char)c)); }

static inline __m128i char_letters(__m128i v) { return char_between(_mm_or_si128(v, _mm_set1_epi8(0x20)), 'a', 'z'); }

static inline __m128i char_block(const char *at) { return _mm_loadu_si128((const __m128i *)(const void *)at); }

/* Each a bit for each byte that is not in the class. */
static inline unsigned char_not_value(__m128i v)
{
    __m128i ctl = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(ctl, char_equal(v, 0x7f)));
}

static inline unsigned char_not_plain(__m128i v)
{
    __m128i ok = _mm_or_si128(_mm_or_si128(char_letters(v), char_between(v, '0', '9')), char_equal(v, '-'));
    return (unsigned)_mm_movemask_epi8(ok) ^ 0xffff;
}

static inline unsigned char_not_path(__m128i v)
{
    __m128i ok = _mm_or_si128(char_letters(v), char_between(v, '&', ';'));
    ok = _mm_or_si128(ok, _mm_or_si128(char_equal(v, '='), char_equal(v, '_')));
    return (unsigned)_mm_movemask_epi8(ok) ^ 0xffff;
}

#define CHAR_RUN(NOT)                                                   \
    if (end - base >= 16) {                                             \
        const char *last = end - 16;                                    \
        for (; at <= last; at += 16) {                                  \
            unsigned out = NOT(char_block(at));                         \
            if (out)                                                    \
                return at + __builtin_ctz(out);                         \
        }                                                               \
        if (at < end) {                                                 \
            unsigned out = NOT(char_block(last)) >> (at - last);        \
            return out ? at + __builtin_ctz(out) : end;                 \
        }                                                               \
    }
#else
#define CHAR_RUN(NOT) (void)base;
#endif

/* The bytes of a field value, HTAB excepted. */
static inline const char *char_run_value(const char *base, const char *at, const char *end)
{
    CHAR_RUN(char_not_value)
    while (at < end && char_is(*at, CHAR_VALUE) && *at != '\t')
        at++;
    return at;
}

/* Letters, digits and "-". */
static inline const char *char_run_plain(const char *base, const char *at, const char *end)
{
    CHAR_RUN(char_not_plain)
    while (at < end && char_is(*at, CHAR_PLAIN))
        at++;
    return at;
}

/* Of a path or a query; stops at "?" and at characters that are rare there. */
static inline const char *char_run_path(const char *base, const char *at, const char *end)
{
    CHAR_RUN(char_not_path)
    while (at < end && char_is(*at, CHAR_PATH))
        at++;
    return at;
}

static inline uint64_t char_fold8(const char *at)
{
    uint64_t x;
    memcpy(&x, at, 8);
    return x | 0x2020202020202020;
}

static inline uint32_t char_fold4(const char *at)
{
    uint32_t x;
    memcpy(&x, at, 4);
    return x | 0x20202020;
}

/*
 * Are the `n` bytes at `at` those of `lit`, whatever their case? `lit` is lower case and holds letters, digits and "-"
 * only, and `at` holds no CTL: then folding by | 0x20 is exact. With `n` constant it is a compare of words.
 */
static inline __attribute__((always_inline)) bool char_same(const char *at, const char *lit, size_t n)
{
    if (n < 4) {
        for (size_t i = 0; i < n; i++)
            if ((at[i] | 0x20) != lit[i])
                return false;
        return true;
    }
    if (n < 8)
        return char_fold4(at) == char_fold4(lit) && char_fold4(at + n - 4) == char_fold4(lit + n - 4);
    for (size_t i = 0; i + 8 < n; i += 8)
        if (char_fold8(at + i) != char_fold8(lit + i))
            return false;
    return char_fold8(at + n - 8) == char_fold8(lit + n - 8);
}

#define CHAR_SAME(s, lit) ((s).len == sizeof(lit) - 1 && char_same((s).at, lit, sizeof(lit) - 1))

#endif
