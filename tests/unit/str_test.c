/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/str.h"

#include "lib/mem.h"
#include "lib/word.h"
#include "test.h"

static const struct str absent = {NULL, 0};

/* On the heap without a byte to spare, so that AddressSanitizer sees a read over either end. */
static struct str exact(const char *at, size_t len)
{
    char *copy = mem_alloc(len);
    memcpy(copy, at, len);
    return str_of(copy, len);
}

static void exact_free(struct str s) { mem_free((void *)(uintptr_t)s.at); }

TEST(making)
{
    EXPECT_STR(STR("abc"), "abc");
    EXPECT_STR(str_c("abc"), "abc");
    EXPECT_STR(str_c(""), "");
    EXPECT_STR(str_c(NULL), NULL);
    EXPECT_STR(str_of("abcdef", 3), "abc");
    EXPECT_EQ(STR("a\0b").len, 3);
}

TEST(equality)
{
    static const struct { struct str a, b; bool same, nocase; } rows[] = {
        {{"", 0}, {"", 0}, true, true},
        {{NULL, 0}, {NULL, 0}, true, true},
        {{NULL, 0}, {"", 0}, true, true},
        {{NULL, 0}, {"a", 1}, false, false},
        {{"a", 1}, {"a", 1}, true, true},
        {{"a", 1}, {"A", 1}, false, true},
        {{"a", 1}, {"ab", 2}, false, false},
        {{"Content-Length", 14}, {"content-length", 14}, false, true},
        {{"Content-Length", 14}, {"content_length", 14}, false, false},
        {{"x\0y", 3}, {"x\0y", 3}, true, true},
        {{"x\0y", 3}, {"X\0z", 3}, false, false},
        {{"\xc3\xa4", 2}, {"\xc3\x84", 2}, false, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        test_row("%zu", i);
        EXPECT_EQ(str_eq(rows[i].a, rows[i].b), rows[i].same);
        EXPECT_EQ(str_eq_nocase(rows[i].a, rows[i].b), rows[i].nocase);
    }
}

TEST(lower_for_every_byte)
{
    for (unsigned c = 0; c < 256; c++) {
        unsigned want = c >= 'A' && c <= 'Z' ? c + 32 : c;
        test_row("%u", c);
        EXPECT_EQ((unsigned char)str_lower((char)c), want);
        for (unsigned shift = 0; shift < 64; shift += 8) {
            uint64_t around = ~((uint64_t)0xff << shift);
            EXPECT_EQ(word_lower((uint64_t)c << shift), (uint64_t)want << shift);
            EXPECT_EQ(word_lower((uint64_t)c << shift | around), (uint64_t)want << shift | around);
        }
    }
}

/* Each pair of bytes at each place of each length up to three words. */
TEST(nocase_looks_at_every_byte)
{
    static const unsigned char bytes[] = {0, 1, '@', 'A', 'Z', '[', '`', 'a', 'z', '{', 0x7f, 0x80, 0xc1, 0xe1, 0xff};
    for (size_t len = 1; len <= 24; len++)
        for (size_t at = 0; at < len; at++)
            for (size_t i = 0; i < sizeof(bytes) * sizeof(bytes); i++) {
                char a[24], b[24];
                memset(a, 'q', sizeof(a));
                memset(b, 'Q', sizeof(b));
                a[at] = (char)bytes[i / sizeof(bytes)];
                b[at] = (char)bytes[i % sizeof(bytes)];
                if (str_eq_nocase(str_of(a, len), str_of(b, len)) != (str_lower(a[at]) == str_lower(b[at]))) {
                    test_row("length %zu, at %zu, %02x and %02x", len, at, (uint8_t)a[at], (uint8_t)b[at]);
                    EXPECT_CSTR("differs", "as byte by byte");
                }
            }
}

TEST(nocase_reads_nothing_outside)
{
    for (size_t len = 1; len <= 40; len++) {
        char low[40], up[40];
        memset(low, 'k', sizeof(low));
        memset(up, 'K', sizeof(up));
        struct str a = exact(low, len), b = exact(up, len);
        EXPECT(str_eq_nocase(a, b));
        exact_free(a);
        exact_free(b);
    }
}

TEST(starts_and_ends)
{
    static const struct { const char *s, *part; bool starts, ends; } rows[] = {
        {"", "", true, true},           {NULL, NULL, true, true},        {"", "a", false, false},
        {"abc", "", true, true},        {"abc", NULL, true, true},       {"abc", "abc", true, true},
        {"abc", "ab", true, false},     {"abc", "bc", false, true},      {"abc", "AB", false, false},
        {"abc", "BC", false, true},     {"abc", "abcd", false, false},
        {"api.example.COM", ".example.com", false, true},
        {"aexample.com", ".example.com", false, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        test_row("%s %s", rows[i].s ? rows[i].s : "absent", rows[i].part ? rows[i].part : "absent");
        EXPECT_EQ(str_starts(str_c(rows[i].s), str_c(rows[i].part)), rows[i].starts);
        EXPECT_EQ(str_ends_nocase(str_c(rows[i].s), str_c(rows[i].part)), rows[i].ends);
    }
}

TEST(what_follows_a_run_is_not_part_of_it)
{
    EXPECT(!str_starts(str_of("abcd", 3), STR("abcd")));
    EXPECT(!str_ends_nocase(str_of(&"abcd"[1], 3), STR("abcd")));
}

TEST(trim)
{
    static const char *const rows[][2] = {
        {NULL, NULL}, {"", ""}, {" ", ""}, {" \t ", ""}, {"a", "a"}, {"  a b\t", "a b"}, {"\ta", "a"}, {"a \t", "a"},
        {"\r\na\v", "\r\na\v"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        test_row("%zu", i);
        EXPECT_STR(str_trim(str_c(rows[i][0])), rows[i][1]);
    }
}

TEST(numbers)
{
    static const struct { const char *s; bool ok; uint64_t n; } rows[] = {
        {"0", true, 0}, {"7", true, 7}, {"0010", true, 10}, {"18446744073709551615", true, UINT64_MAX},
        {"000000000000000000000000000000001", true, 1},
        {NULL, false, 0}, {"", false, 0}, {"18446744073709551616", false, 0}, {"18446744073709551625", false, 0},
        {"99999999999999999999", false, 0}, {"184467440737095516150", false, 0}, {"-1", false, 0}, {"+1", false, 0},
        {" 1", false, 0}, {"1 ", false, 0}, {"1a", false, 0}, {"0x1", false, 0}, {"1,2", false, 0}, {"/", false, 0},
        {":", false, 0}, {"\xb1", false, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t n = 0;
        test_row("%s", rows[i].s ? rows[i].s : "absent");
        EXPECT_EQ(str_u64(str_c(rows[i].s), &n), rows[i].ok);
        if (rows[i].ok)
            EXPECT_EQ(n, rows[i].n);
    }
}

TEST(number_left_alone_when_refused)
{
    uint64_t n = 42;
    EXPECT(!str_u64(STR("12x"), &n));
    EXPECT(!str_u64(absent, &n));
    EXPECT_EQ(n, 42);
}

TEST(lists)
{
    static const struct { const char *list, *elements[5]; } rows[] = {
        {NULL, {NULL}}, {"", {NULL}}, {",", {NULL}}, {" , ,\t, ", {NULL}}, {"a", {"a", NULL}},
        {"a,b", {"a", "b", NULL}}, {" a , b\t,c ", {"a", "b", "c", NULL}}, {",,a,,b,,", {"a", "b", NULL}},
        {"keep-alive, Upgrade", {"keep-alive", "Upgrade", NULL}}, {"a b,c;q=0.5", {"a b", "c;q=0.5", NULL}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct str rest = str_c(rows[i].list), element;
        test_row("%s", rows[i].list ? rows[i].list : "absent");
        for (const char *const *want = rows[i].elements; *want; want++) {
            EXPECT(str_list_next(&rest, &element));
            EXPECT_STR(element, *want);
        }
        EXPECT(!str_list_next(&rest, &element));
        EXPECT_STR(element, NULL);
        EXPECT(!str_list_next(&rest, &element));
    }
}
