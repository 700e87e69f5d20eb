/* SPDX-License-Identifier: Apache-2.0 */
/* Errors as a person and a program read them. */
#include "diag_fixture.h"

static struct diags diags;
static struct page page;

static const char *printed(void)
{
    page_free(&page);
    page_printf(&page, "%s", "");
    diags_print(&diags, &page);
    return page.at;
}

static const char *as_json(void)
{
    page_free(&page);
    diags_json(&diags, &page);
    return page.at;
}

static void end(void)
{
    diags_fini(&diags);
    page_free(&page);
}

static void say_at(const char *text, unsigned line, unsigned col, unsigned width, const char *wanted)
{
    const struct source source = {"f.yaml", str_c(text)};
    const struct place place = {&source, line, col, width};

    EXPECT_EQ(diag_error(&diags, &place, CODE_unknown_key, "unknown key \"%s\"", "x"), -1);
    EXPECT_CSTR(printed(), wanted);
    end();
}

#define SAID "error E012: unknown key \"x\"\n"

/* Of a line that a machine wrote nothing is quoted: looking into it for each of many errors would take its time. */
TEST(a_line_of_megabytes_is_not_quoted)
{
    static char text[65600];

    memset(text, 'x', 65536);
    memcpy(text + 65536, "\n", 2);
    say_at(text, 1, 3, 1, "f.yaml:1:3: " SAID);
    text[65535] = '\n';
    say_at(text, 2, 1, 1, "f.yaml:2:1: " SAID "    2 | \n      | ^\n");
}

TEST(the_line_is_quoted_with_a_caret)
{
    say_at("a: 1\n  burts: 50\n", 2, 3, 5, "f.yaml:2:3: " SAID "    2 |   burts: 50\n      |   ^~~~~\n");
    say_at("burts: 50", 1, 1, 0, "f.yaml:1:1: " SAID "    1 | burts: 50\n      | ^\n");
    say_at("a\r\nb\r\n", 1, 2, 9, "f.yaml:1:2: " SAID "    1 | a\n      |  ^\n");
    say_at("a\r\nb\rc\n", 2, 2, 1, "f.yaml:2:2: " SAID "    2 | b?c\n      |  ^\n");
    say_at("\xef\xbb\xbf" "ab", 1, 2, 1, "f.yaml:1:2: " SAID "    1 | ab\n      |  ^\n");
    say_at("ab\n", 1, 3, 0, "f.yaml:1:3: " SAID "    1 | ab\n      |   ^\n");
    say_at("ab\n", 2, 1, 0, "f.yaml:2:1: " SAID "    2 | \n      | ^\n");
    say_at("ab\n", 0, 0, 0, "f.yaml: " SAID);
    say_at("ab\n", 9, 1, 0, "f.yaml:9:1: " SAID);
    say_at("ab\n", 1, 9, 0, "f.yaml:1:9: " SAID);
}

TEST(the_caret_stands_below_its_character)
{
    say_at("\tx\ty: z", 1, 4, 1, "f.yaml:1:4: " SAID "    1 | \tx\ty: z\n      | \t \t^\n");
    say_at("\xc3\xa9\xc3\xa9: z", 1, 5, 1, "f.yaml:1:5: " SAID "    1 | \xc3\xa9\xc3\xa9: z\n      |     ^\n");
    say_at("\xe6\x9d\xb1: \xe4\xba\xac\xe4\xba\xac.", 1, 4, 2,
           "f.yaml:1:4: " SAID "    1 | \xe6\x9d\xb1: \xe4\xba\xac\xe4\xba\xac.\n      |     ^~~~\n");
    say_at("e\xcc\x81: z", 1, 5, 1, "f.yaml:1:5: " SAID "    1 | e\xcc\x81: z\n      |    ^\n");
    say_at("\x1b[1m\x7f\xff: z", 1, 8, 1, "f.yaml:1:8: " SAID "    1 | ?[1m??: z\n      |        ^\n");
}

TEST(long_lines_are_cut_around_the_place)
{
    char text[1001], wanted[1000], blank[70];

    memset(blank, ' ', sizeof(blank));
    for (size_t i = 0; i < 1000; i++)
        text[i] = (char)('a' + i % 26);
    text[1000] = '\0';
    snprintf(wanted, sizeof(wanted), "f.yaml:1:500: " SAID "    1 | ...%.120s...\n      | %.62s^~~\n", text + 440, blank);
    say_at(text, 1, 500, 3, wanted);
    snprintf(wanted, sizeof(wanted), "f.yaml:1:2: " SAID "    1 | %.120s...\n      |  ^~~\n", text);
    say_at(text, 1, 2, 3, wanted);
    snprintf(wanted, sizeof(wanted), "f.yaml:1:1000: " SAID "    1 | ...%s\n      | %.62s^\n", text + 940, blank);
    say_at(text, 1, 1000, 3, wanted);
}

static void add(const struct source *source, unsigned line, unsigned col, const char *text)
{
    const struct place place = {source, line, col, 1};
    diag_error(&diags, source ? &place : NULL, CODE_kind, "%s", text);
}

TEST(they_come_in_reading_order)
{
    const struct source b = {"b.yaml", {NULL, 0}}, a = {"a.yaml", {NULL, 0}};

    diags_file(&diags, "b.yaml");
    diags_file(&diags, "a.yaml");
    add(&a, 1, 1, "fifth");
    add(&b, 7, 2, "third");
    add(&b, 7, 2, "fourth");
    add(&b, 2, 9, "second");
    add(&b, 2, 1, "first");
    add(&b, 7, 2, "third");
    EXPECT_EQ(diags.errors, 5);
    EXPECT_CSTR(printed(), "b.yaml:2:1: error E014: first\nb.yaml:2:9: error E014: second\nb.yaml:7:2: error E014: third\n"
                           "b.yaml:7:2: error E014: fourth\na.yaml:1:1: error E014: fifth\n");
    end();
}

TEST(a_list_is_bounded)
{
    const struct source s = {"f.yaml", {NULL, 0}};
    const struct place place = {&s, 3, 1, 1};

    for (unsigned i = 0; i < 250; i++) {
        EXPECT_EQ(diags_full(&diags), i >= DIAGS_MAX);
        add(&s, 1000 - i, 1, "x");
    }
    for (unsigned i = 0; i < 101; i++)
        diag_warn(&diags, &place, CODE_unused, "%u", i);
    EXPECT_EQ(diags.n, 2 * DIAGS_MAX);
    EXPECT_CSTR(diags_count(&diags).text, "250 errors, 101 warnings");
    EXPECT(strstr(printed(), "f.yaml:1000:1: error E014: x\nand 150 more errors\nand 1 more warnings\n") != NULL);
    EXPECT(strstr(as_json(), ",\n {\"more\":151}]\n") != NULL);
    end();
}

TEST(for_programs)
{
    const char *text = "a: 1\n\"b\\t\": 2\n";
    const struct source s = {"f\"1.yaml", str_c(text)};
    const struct place at = {&s, 2, 1, 5}, whole = {&s, 0, 0, 0};

    EXPECT_CSTR(as_json(), "[]\n");
    diag_error(&diags, &at, CODE_kind, "not \"%s\"", "b");
    diag_warn(&diags, &whole, CODE_mounted_file, "mounted");
    diag_error(&diags, NULL, CODE_overlap, "too much");
    EXPECT_CSTR(as_json(),
                "[{\"code\":\"W011\",\"severity\":\"warning\",\"file\":\"f\\\"1.yaml\",\"text\":\"mounted\"},\n"
                " {\"code\":\"E014\",\"severity\":\"error\",\"file\":\"f\\\"1.yaml\",\"line\":2,\"column\":1,\"width\":5,"
                "\"text\":\"not \\\"b\\\"\",\"source\":\"\\\"b\\\\t\\\": 2\"},\n"
                " {\"code\":\"E051\",\"severity\":\"error\",\"text\":\"too much\"}]\n");
    end();
}

TEST(codes_are_found)
{
    EXPECT_CSTR(diag_code_text(CODE_unknown_key).text, "E012");
    EXPECT_CSTR(diag_code_text(CODE_unused).text, "W001");
    EXPECT_EQ(diag_code_find(STR("E012"))->code, CODE_unknown_key);
    EXPECT_EQ(diag_code_find(STR("w1"))->code, CODE_unused);
    EXPECT(!diag_code_find(STR("E999")) && !diag_code_find(STR("E0")) && !diag_code_find(STR("X012")) && !diag_code_find(STR("")));
    EXPECT(!diag_code_find(STR("E1001")) && !diag_code_find(STR("E")) && !diag_code_find(STR("token_bucket")));
    for (const struct diag_meaning *m = diag_meanings; m->code; m++) {
        EXPECT_EQ(diag_code_find(str_c(diag_code_text(m->code).text)), m);
        EXPECT(m->meaning[strlen(m->meaning) - 1] == '.' && m->remedy[strlen(m->remedy) - 1] == '.');
        EXPECT(m == diag_meanings || m->code > m[-1].code);
    }
}
