/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON for lines that may hold anything a caller sent: the text is always valid JSON and valid UTF-8, whatever the bytes
 * were, and holds nothing that a terminal would obey. A byte that is no part of a character is shown as the character of
 * its number, so that it can be read; that this is not the same as the character itself is accepted.
 */
#include "lib/json.h"

#include <string.h>

void json_raw(struct json *j, struct str s)
{
    if ((size_t)(j->end - j->at) < s.len) {
        j->full = true;
        return;
    }
    if (s.len)
        memcpy(j->at, s.at, s.len);
    j->at += s.len;
}

static void put_char(struct json *j, char c)
{
    if (j->at == j->end)
        j->full = true;
    else
        *j->at++ = c;
}

static bool continues(const unsigned char *p, size_t left, size_t n)
{
    if (left < n)
        return false;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return false;
    return true;
}

/* The length of the character at `p`, left >= 1; 0: none stands there (RFC 3629: no overlong form, no surrogate, no more
 * than U+10FFFF), or it is a control character of C1. */
static size_t utf8_len(const unsigned char *p, size_t left)
{
    if (p[0] < 0xc2)
        return 0;
    if (p[0] < 0xe0)
        return continues(p, left, 2) && !(p[0] == 0xc2 && p[1] < 0xa0) ? 2 : 0;
    if (p[0] < 0xf0) {
        if (!continues(p, left, 3) || (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0))
            return 0;
        return 3;
    }
    if (p[0] > 0xf4 || !continues(p, left, 4) || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90))
        return 0;
    return 4;
}

static bool is_plain(unsigned char c) { return c >= ' ' && c < 0x7f && c != '"' && c != '\\'; }

/* How many of the first bytes are plain: eight at a time, each tested for being below 0x20, above 0x7e, or one of the two
 * that are escaped (Warren, Hacker's Delight, 6-1). */
static size_t plain_run(const unsigned char *p, size_t len)
{
    const uint64_t ones = UINT64_MAX / 255, highs = ones * 0x80;
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        uint64_t v, quote, slash;
        memcpy(&v, p + i, 8);
        quote = v ^ (ones * '"');
        slash = v ^ (ones * '\\');
        uint64_t bad = v | (v + ones) | (v - ones * ' ') | (quote - ones) | (slash - ones);
        if (bad & highs)
            break;
    }
    while (i < len && is_plain(p[i]))
        i++;
    return i;
}

static void escape(struct json *j, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const struct { char c, as; } shorts[] = {
        {'"', '"'}, {'\\', '\\'}, {'\n', 'n'}, {'\r', 'r'}, {'\t', 't'},
    };
    for (size_t i = 0; i < sizeof(shorts) / sizeof(shorts[0]); i++) {
        if (c == (unsigned char)shorts[i].c) {
            json_raw(j, str_of((const char[]){'\\', shorts[i].as}, 2));
            return;
        }
    }
    json_raw(j, str_of((const char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6));
}

void json_string(struct json *j, struct str s)
{
    const unsigned char *p = (const unsigned char *)s.at;
    size_t i = 0, from = 0;

    if (!s.at) {
        json_raw(j, STR("null"));
        return;
    }
    put_char(j, '"');
    while (i < s.len) {
        size_t n = plain_run(p + i, s.len - i);
        if (n == 0 && p[i] >= 0x80)
            n = utf8_len(p + i, s.len - i);
        if (n) {
            i += n;
            continue;
        }
        json_raw(j, str_of(s.at + from, i - from));
        /* A C1 control is one character of two bytes: shown as that character, not as two broken bytes. */
        if (p[i] == 0xc2 && s.len - i > 1 && p[i + 1] >= 0x80 && p[i + 1] < 0xa0)
            i++;
        escape(j, p[i]);
        from = ++i;
    }
    json_raw(j, str_of(s.at + from, s.len - from));
    put_char(j, '"');
}

void json_u64(struct json *j, uint64_t v)
{
    char digits[U64_DIGITS];
    json_raw(j, str_of_u64(digits, v));
}

void json_ms(struct json *j, uint64_t ns)
{
    uint64_t us = ns / 1000;
    unsigned rest = (unsigned)(us % 1000);
    json_u64(j, us / 1000);
    json_raw(j, str_of((const char[]){'.', (char)('0' + rest / 100), (char)('0' + rest / 10 % 10),
                                      (char)('0' + rest % 10)}, 4));
}
