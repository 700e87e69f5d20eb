/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/page.h"

#include "test.h"

TEST(it_grows)
{
    struct page p = {0};
    for (int i = 0; i < 10000; i++)
        page_printf(&p, "%d,", i % 10);
    EXPECT_EQ(p.len, 20000);
    EXPECT_EQ(strlen(p.at), 20000);
    EXPECT(!strncmp(p.at + 19990, "5,6,7,8,9,", 10));
    page_printf(&p, "%s", "");
    EXPECT_EQ(p.len, 20000);
    page_free(&p);
    EXPECT(!p.at && p.len == 0 && p.cap == 0);
}

TEST(what_is_quoted)
{
    static const struct { struct str in; const char *label, *json; } rows[] = {
        {STR("plain"), "\"plain\"", "\"plain\""},
        {STR(""), "\"\"", "\"\""},
        {STR("a\"b\\c\nd"), "\"a\\\"b\\\\c\\nd\"", "\"a\\\"b\\\\c\\nd\""},
        {STR("\t\x01"), "\"\t\x01\"", "\"\\t\\u0001\""},
        {{NULL, 0}, "\"\"", "null"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct page p = {0};
        test_row("%zu", i);
        page_label(&p, rows[i].in);
        EXPECT_CSTR(p.at, rows[i].label);
        page_printf(&p, "|");
        page_json(&p, rows[i].in);
        EXPECT_CSTR(strchr(p.at, '|') + 1, rows[i].json);
        EXPECT_EQ(p.len, strlen(p.at));
        page_free(&p);
    }
}

/* The room for a string is what it may take at the most: none of it is written beside. */
TEST(strings_of_any_length)
{
    static char text[300];
    memset(text, 1, sizeof text);
    for (size_t len = 0; len < sizeof text; len++) {
        struct page p = {0};
        page_json(&p, str_of(text, len));
        page_json(&p, str_of(text, len));
        EXPECT_EQ(p.len, 2 * (6 * len + 2));
        EXPECT_EQ(p.at[p.len], '\0');
        page_free(&p);
    }
}
