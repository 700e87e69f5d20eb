/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include "http/char.h"
#include "test.h"

TEST(char_classes)
{
    for (int i = 0; i < 256; i++) {
        bool alnum = i < 128 && isalnum(i), unreserved = alnum || (i && i < 128 && strchr("-._~", i));
        bool path = unreserved || (i && i < 128 && strchr("!$&'()*+,;=:@/", i));
        char c = (char)i;
        test_row("%d", i);
        EXPECT_EQ(char_is(c, CHAR_TOKEN), alnum || (i && i < 128 && strchr("!#$%&'*+-.^_`|~", i)));
        EXPECT_EQ(char_is(c, CHAR_VALUE), i == '\t' || (i >= ' ' && i != 0x7f));
        EXPECT_EQ(char_is(c, CHAR_PATH), path);
        EXPECT_EQ(char_is(c, CHAR_QUERY), path || (i && i < 128 && strchr("?[]{}|^`", i)));
        EXPECT_EQ(char_is(c, CHAR_HOST), unreserved);
        EXPECT_EQ(char_is(c, CHAR_HEX), i < 128 && isxdigit(i));
        EXPECT_EQ(char_is(c, CHAR_DIGIT), i >= '0' && i <= '9');
        EXPECT_EQ(char_is(c, CHAR_PLAIN), alnum || i == '-');
    }
}

/* Each byte at each place of texts of many lengths: what the fast runs find is what the table says. */
TEST(runs_agree_with_the_table)
{
    char text[40];

    for (int c = 0; c < 256; c++)
        for (uint32_t len = 1; len < sizeof(text); len++) {
            uint32_t at = (uint32_t)(c * 7) % len;
            memset(text, 'a', sizeof(text));
            text[at] = (char)c;
            test_row("byte %d at %u of %u", c, at, len);
            const char *bad = text + at, *end = text + len;
            for (const char *from = text; from <= bad; from += 5) {
                EXPECT(char_run_value(text, from, end) == (char_is((char)c, CHAR_VALUE) && c != '\t' ? end : bad));
                EXPECT(char_run_plain(text, from, end) == (char_is((char)c, CHAR_PLAIN) ? end : bad));
                const char *path = char_run_path(text, from, end);
                EXPECT(path == bad || (path == end && char_is((char)c, CHAR_PATH)));
            }
            EXPECT(char_run_value(text, bad + 1, end) == end);
        }
}

TEST(words_compare_without_case)
{
    EXPECT(char_same("TE", "te", 2));
    EXPECT(char_same("HosT", "host", 4));
    EXPECT(char_same("Expect", "expect", 6));
    EXPECT(char_same("CONTENT-LENGTH", "content-length", 14));
    EXPECT(char_same("Proxy-Authentication-Info", "proxy-authentication-info", 25));
    EXPECT(!char_same("Proxy-AuthentiXation-Info", "proxy-authentication-info", 25));
    EXPECT(!char_same("Expert", "expect", 6));
    EXPECT(!char_same("tf", "te", 2));
    EXPECT(CHAR_SAME(STR("Close"), "close") && !CHAR_SAME(STR("closed"), "close"));
}

TEST(hex_digits)
{
    EXPECT_EQ(char_hex('0'), 0);
    EXPECT_EQ(char_hex('9'), 9);
    EXPECT_EQ(char_hex('a'), 10);
    EXPECT_EQ(char_hex('F'), 15);
}
