/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/json.h"

#include "tests/unit/test.h"

static struct str string_of(struct str in, char *out, size_t cap)
{
    struct json j = json_init(out, cap);
    json_string(&j, in);
    EXPECT(!j.full);
    return str_of(out, (size_t)(j.at - out));
}

TEST(strings)
{
    static const struct { struct str in; const char *out; } rows[] = {
        {{NULL, 0}, "null"},
        {STR(""), "\"\""},
        {STR("/v1/a?b=c&d=%20"), "\"/v1/a?b=c&d=%20\""},
        {STR("a\"b\\c/d"), "\"a\\\"b\\\\c/d\""},
        {STR("\n\r\t"), "\"\\n\\r\\t\""},
        {STR("\0\x01\x1f\x7f"), "\"\\u0000\\u0001\\u001f\\u007f\""},
        {STR("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"), "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\""},
        {STR("\xff\xfe"), "\"\\u00ff\\u00fe\""},
        {STR("\xc3"), "\"\\u00c3\""},                              /* cut in a character */
        {STR("\xe2\x82"), "\"\\u00e2\\u0082\""},
        {STR("\xc0\xaf"), "\"\\u00c0\\u00af\""},                   /* overlong */
        {STR("\xe0\x80\xaf"), "\"\\u00e0\\u0080\\u00af\""},
        {STR("\xf0\x80\x80\xaf"), "\"\\u00f0\\u0080\\u0080\\u00af\""},
        {STR("\xed\xa0\x80"), "\"\\u00ed\\u00a0\\u0080\""},        /* a surrogate */
        {STR("\xed\x9f\xbf"), "\"\xed\x9f\xbf\""},
        {STR("\xf4\x8f\xbf\xbf"), "\"\xf4\x8f\xbf\xbf\""},
        {STR("\xf4\x90\x80\x80"), "\"\\u00f4\\u0090\\u0080\\u0080\""},
        {STR("\xf5\x80\x80\x80"), "\"\\u00f5\\u0080\\u0080\\u0080\""},
        {STR("\x80x"), "\"\\u0080x\""},
        {STR("\xc2\x9b" "31m"), "\"\\u009b31m\""},                 /* a terminal's escape in C1 */
        {STR("\xc2\xa0"), "\"\xc2\xa0\""},
        {STR("\xc3\"x"), "\"\\u00c3\\\"x\""},                      /* the quote is not swallowed */
    };
    char out[200];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        test_row("row %zu", i);
        EXPECT_STR(string_of(rows[i].in, out, sizeof(out)), rows[i].out);
    }
}

TEST(every_byte_alone_is_within_the_bound)
{
    char out[JSON_STRING_MAX(1)];
    for (unsigned c = 0; c < 256; c++) {
        char in = (char)c;
        test_row("byte %u", c);
        struct str s = string_of(str_of(&in, 1), out, sizeof(out));
        EXPECT(s.len >= 3 && s.at[0] == '"' && s.at[s.len - 1] == '"');
        for (size_t i = 0; i < s.len; i++)
            EXPECT((unsigned char)s.at[i] >= ' ' && (unsigned char)s.at[i] < 0x7f);
    }
}

TEST(numbers)
{
    static const struct { uint64_t v; const char *out; } rows[] = {
        {0, "0"}, {9, "9"}, {10, "10"}, {1234567890, "1234567890"}, {UINT64_MAX, "18446744073709551615"},
    };
    static const struct { uint64_t ns; const char *out; } times[] = {
        {0, "0.000"}, {999, "0.000"}, {1000, "0.001"}, {1999999, "1.999"}, {60000000000, "60000.000"},
        {1234567890, "1234.567"}, {UINT64_MAX, "18446744073709.551"},
    };
    char out[40];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct json j = json_init(out, sizeof(out));
        json_u64(&j, rows[i].v);
        EXPECT_STR(str_of(out, (size_t)(j.at - out)), rows[i].out);
    }
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        struct json j = json_init(out, sizeof(out));
        json_ms(&j, times[i].ns);
        EXPECT_STR(str_of(out, (size_t)(j.at - out)), times[i].out);
    }
}

TEST(too_small_a_buffer_is_told_and_never_overrun)
{
    for (size_t cap = 0; cap < 8; cap++) {
        char out[9];
        memset(out, '#', sizeof(out));
        struct json j = json_init(out, cap);
        json_string(&j, STR("a\x01"));
        test_row("%zu bytes", cap);
        EXPECT(j.full);
        for (size_t i = cap; i < sizeof(out); i++)
            EXPECT_EQ(out[i], '#');
    }
}

/* Wherever a byte stands among plain ones, it becomes what it becomes alone. */
TEST(each_byte_at_each_place)
{
    char in[25], out[400], alone[20];
    for (unsigned byte = 0; byte < 256; byte++) {
        const char one = (char)byte;
        struct str escaped = string_of(str_of(&one, 1), alone, sizeof(alone));
        for (size_t at = 0; at < sizeof(in); at++) {
            memset(in, '~', sizeof(in));
            in[at] = one;
            struct str got = string_of(str_of(in, sizeof(in)), out, sizeof(out));
            test_row("%u %zu", byte, at);
            EXPECT_EQ(got.len, escaped.len + sizeof(in) - 1);
            EXPECT(!memcmp(got.at + 1 + at, escaped.at + 1, escaped.len - 2));
            EXPECT(got.at[got.len - 2] == (at + 1 == sizeof(in) ? escaped.at[escaped.len - 2] : '~'));
        }
    }
}
