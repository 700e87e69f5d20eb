/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/err.h"

#include "test.h"

TEST(set_returns_minus_one_and_the_first_stands)
{
    struct err e = {0};
    EXPECT_EQ(err_set_at(&e, "weir.yaml", 3, 7, "no such filter: %s", "tocken_bucket"), -1);
    EXPECT_EQ(err_set_at(&e, "other.yaml", 1, 1, "later"), -1);
    EXPECT_EQ(err_set(&e, "later still"), -1);
    EXPECT_CSTR(e.text, "no such filter: tocken_bucket");
    EXPECT_CSTR(e.file, "weir.yaml");
    EXPECT_EQ(e.line, 3);
    EXPECT_EQ(e.col, 7);
}

TEST(format_shows_as_much_place_as_there_is)
{
    static const struct { const char *file; unsigned line, col; const char *want; } rows[] = {
        {"", 0, 0, "bad"}, {NULL, 0, 0, "bad"}, {"f", 0, 0, "f: bad"}, {"f", 4, 0, "f:4: bad"},
        {"f", 4, 2, "f:4:2: bad"}, {"f", 0, 2, "f: bad"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err e = {0};
        char out[100];
        test_row("%zu", i);
        err_set_at(&e, rows[i].file, rows[i].line, rows[i].col, "bad");
        EXPECT_EQ(err_format(&e, out, sizeof(out)), out);
        EXPECT_CSTR(out, rows[i].want);
    }
    struct err e = {0};
    char out[100];
    err_set(&e, "%d of %d", 1, 2);
    EXPECT_CSTR(err_format(&e, out, sizeof(out)), "1 of 2");
}

TEST(what_is_cut_says_so)
{
    struct err e = {0};
    char out[12], tiny[1] = {'x'};
    err_set(&e, "%600d", 1);
    EXPECT_EQ(strlen(e.text), sizeof(e.text) - 1);
    EXPECT_CSTR(e.text + sizeof(e.text) - 4, "...");
    struct err place = {0};
    err_set_at(&place, "/etc/weir/weir.yaml", 10, 20, "text");
    EXPECT_CSTR(err_format(&place, out, sizeof(out)), "/etc/wei...");
    EXPECT_CSTR(err_format(&place, tiny, sizeof(tiny)), "");
}
