/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STR_H
#define STR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/*
 * A run of bytes somebody else owns. Not NUL-terminated. {NULL, 0} is "absent", {"", 0} is "empty"; all functions take
 * both, and comparing makes no difference between them. Any thread.
 */
struct str {
    const char *at;
    size_t len;
};

/* Body bytes on their way: payload only, never framing. `last` is set once, on the slice that ends the body. */
struct slice {
    const uint8_t *at;
    size_t len;
    bool last;
};

#define STR(lit) ((struct str){"" lit "", sizeof(lit) - 1})
#define STR_FMT "%.*s"
#define STR_ARG(s) (int)(s).len, (s).at

static inline struct str str_of(const char *at, size_t len) { return (struct str){at, len}; }
static inline struct str str_c(const char *text) { return (struct str){text, text ? strlen(text) : 0}; }

static inline bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || !memcmp(a.at, b.at, a.len));
}

/* ASCII only: what HTTP means by case-insensitive. */
bool str_same_nocase(const char *a, const char *b, size_t len);
static inline bool str_eq_nocase(struct str a, struct str b)
{
    return a.len == b.len && str_same_nocase(a.at, b.at, a.len);
}
static inline char str_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c; }

bool str_starts(struct str s, struct str prefix);
bool str_ends_nocase(struct str s, struct str suffix);

/* Without spaces and tabs at both ends (OWS of RFC 9110 5.6.3). */
struct str str_trim(struct str s);

/* 1*DIGIT to a number; false when empty, when anything else is in it, or when it overflows. */
bool str_u64(struct str s, uint64_t *out) __attribute__((warn_unused_result));

/* Decimal digits, in the end of `room`. */
#define U64_DIGITS 20
struct str str_of_u64(char room[U64_DIGITS], uint64_t);

/*
 * The next element of a comma-separated list (RFC 9110 5.6.1), trimmed, empty ones skipped; false at the end, with an
 * absent element. For lists of tokens: a comma within quotes separates too.
 */
bool str_list_next(struct str *rest, struct str *element);

#endif
