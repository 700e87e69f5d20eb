/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done with runs of bytes.
 *
 * Header names are compared on every request, so the comparison without case goes by words. Nothing here looks at the
 * locale, and nothing reads a byte outside of the run it was given.
 */
#include "lib/str.h"

#include "lib/word.h"

bool str_same_nocase(const char *a, const char *b, size_t len)
{
    size_t i = 0;
    for (; len - i >= 8; i += 8)
        if (word_lower(word_load(a + i)) != word_lower(word_load(b + i)))
            return false;
    return i == len || word_lower(word_load_part(a + i, len - i)) == word_lower(word_load_part(b + i, len - i));
}

bool str_starts(struct str s, struct str prefix)
{
    return s.len >= prefix.len && str_eq(str_of(s.at, prefix.len), prefix);
}

bool str_ends_nocase(struct str s, struct str suffix)
{
    if (suffix.len == 0)
        return true;
    return s.len >= suffix.len && str_same_nocase(s.at + (s.len - suffix.len), suffix.at, suffix.len);
}

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

struct str str_trim(struct str s)
{
    while (s.len && is_blank(s.at[s.len - 1]))
        s.len--;
    while (s.len && is_blank(s.at[0])) {
        s.at++;
        s.len--;
    }
    return s;
}

bool str_u64(struct str s, uint64_t *out)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned)(uint8_t)s.at[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(n, 10u, &n) || __builtin_add_overflow(n, digit, &n))
            return false;
    }
    if (s.len == 0)
        return false;
    *out = n;
    return true;
}

struct str str_of_u64(char room[U64_DIGITS], uint64_t v)
{
    char *at = room + U64_DIGITS;
    do {
        *--at = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    return str_of(at, (size_t)(room + U64_DIGITS - at));
}

bool str_list_next(struct str *rest, struct str *element)
{
    while (rest->len) {
        const char *comma = memchr(rest->at, ',', rest->len);
        size_t len = comma ? (size_t)(comma - rest->at) : rest->len;
        size_t step = comma ? len + 1 : len;
        *element = str_trim(str_of(rest->at, len));
        *rest = str_of(rest->at + step, rest->len - step);
        if (element->len)
            return true;
    }
    *element = (struct str){NULL, 0};
    return false;
}
