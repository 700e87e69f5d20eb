/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/format.h"

#include <dirent.h>
#include "conf/diag.h"
#include "test.h"

static struct page page;

/* What `text` becomes; checks on the way that it is final, and that what is said to change does. */
static const char *made(const char *text)
{
    static char out[64 * 1024];
    struct format f, again;
    struct diags diags = {0};
    out[0] = '\0';
    if (format_make(&f, str_c(text), "f.yaml", &diags) != 0) {
        page_free(&page);
        diags_print(&diags, &page);
        diags_fini(&diags);
        return page.at;
    }
    snprintf(out, sizeof out, STR_FMT, STR_ARG(f.text));
    EXPECT_EQ(format_differs(&f), strcmp(out, text) != 0);
    if (EXPECT_EQ(format_make(&again, f.text, "again", &diags), 0)) {
        EXPECT_STR_EQ(again.text, f.text);
        EXPECT(!format_differs(&again));
        format_fini(&again);
    }
    format_fini(&f);
    diags_fini(&diags);
    return out;
}

#define EXPECT_MADE(text, wanted) EXPECT_CSTR(made(text), wanted)
#define EXPECT_KEPT(text) EXPECT_CSTR(made(text), text)

TEST(levels)
{
    EXPECT_KEPT("a: 1\nb:\n  c: 2\n  d:\n    - e\n    - f: 1\n      g: 2\n");
    EXPECT_MADE("b:\n    c: 2\n    d:\n     e: 1\n", "b:\n  c: 2\n  d:\n    e: 1\n");
    EXPECT_MADE("a:\n- x: 1\n  y: 2\n- z\nb: 1\n", "a:\n  - x: 1\n    y: 2\n  - z\nb: 1\n");
    EXPECT_MADE("a:\n    -   x: 1\n        y:\n          -  z\n", "a:\n  - x: 1\n    y:\n      - z\n");
    EXPECT_MADE("- a:\n  - b\n  - c\n- - d\n  - -   e\n    - f\n", "- a:\n    - b\n    - c\n- - d\n  - - e\n    - f\n");
    EXPECT_MADE("a:\n - b:\n   - c:\n     - d\n", "a:\n  - b:\n      - c:\n          - d\n");
    EXPECT_MADE("-\n    a: 1\n    b: 2\n-  \n  - c\n", "-\n  a: 1\n  b: 2\n-\n  - c\n");
    EXPECT_MADE("a:\n      1\nb:\n      [x,\n       y]\n", "a:\n  1\nb:\n  [x,\n   y]\n");
    EXPECT_MADE("a: &x\n    b: 1\nc:\n    *x\nd:\n    &y\n    e: 1\n", "a: &x\n  b: 1\nc:\n  *x\nd:\n  &y\n  e: 1\n");
    EXPECT_MADE("  a: 1\n  b:\n     c: 1\n", "a: 1\nb:\n  c: 1\n");
    EXPECT_MADE("---\na:\n    b\n...\n", "---\na:\n  b\n...\n");
}

TEST(blanks)
{
    EXPECT_MADE("a: 1  \n\n\n\nb: 2\n   \n\nc: 3", "a: 1\n\nb: 2\n\nc: 3\n");
    EXPECT_MADE("\n\na: 1\n\n", "a: 1\n");
    EXPECT_MADE("a: 1\n\n\n", "a: 1\n");
    EXPECT_MADE("a: 1\n  ", "a: 1\n");
    EXPECT_MADE("\xef\xbb\xbf" "a: 1\r\nb: 2\r\n", "a: 1\nb: 2\n");
    EXPECT_MADE("a:\t1\nb: [1,\t2\t]\t# x\n", "a: 1\nb: [1, 2 ]  # x\n");
    EXPECT_KEPT("a:    1\nlong: 2\n");
    EXPECT_MADE("", "");
    EXPECT_MADE("\n\n", "");
    EXPECT_MADE("# only\n\n", "# only\n");
}

TEST(comments)
{
    EXPECT_MADE("a: 1 # one\nb: 2# none\nc: 3     # far\n", "a: 1  # one\nb: 2# none\nc: 3     # far\n");
    EXPECT_MADE("# head\n\n# of a\na:\n# of b\n    b: 1\n    # of c\n    c: 2\n# of d\nd: 1\n",
                "# head\n\n# of a\na:\n  # of b\n  b: 1\n  # of c\n  c: 2\n# of d\nd: 1\n");
    EXPECT_MADE("a:\n- 1\n# of 2\n- 2\n# of b\nb: 1\n", "a:\n  - 1\n  # of 2\n  - 2\n# of b\nb: 1\n");
    /* What was commented out at the end of a level stays there. */
    EXPECT_MADE("a:\n    - b: 1\n      c: 1\n      # d: 1\n    - b: 2\n      # e: 1\n    # - b: 3\nf: 1\n",
                "a:\n  - b: 1\n    c: 1\n    # d: 1\n  - b: 2\n    # e: 1\n  # - b: 3\nf: 1\n");
    EXPECT_MADE("a:\n    b: 1\n    # c: 1\n", "a:\n  b: 1\n  # c: 1\n");
    EXPECT_MADE("a:\n    b: 1\n\n    # c: 1\n\n# end\n", "a:\n  b: 1\n\n  # c: 1\n\n# end\n");
    /* What is in line with nothing goes with what follows, unless a value is still to come. */
    EXPECT_MADE("a: 1\n    # odd\nb: 2\n", "a: 1\n# odd\nb: 2\n");
    EXPECT_MADE("a:\n    # none yet\nb: 2\n", "a:\n  # none yet\nb: 2\n");
    EXPECT_MADE("a: 1\n   # end\n", "a: 1\n# end\n");
    EXPECT_MADE("-   # of it\n    a: 1\n", "-   # of it\n  a: 1\n");
    EXPECT_MADE("- # of it\n  a: 1\n", "-  # of it\n  a: 1\n");
    EXPECT_KEPT("a: \"#no\"  # yes\nb: x#no\nc: '# no'\n");
    EXPECT_MADE("a: 1  # x\ty  \n", "a: 1  # x y\n");
    EXPECT_MADE("a: &x  # here\n    b: *x\n# \xc3\xa9\nc: \"\xc3\xa9\" # \xc3\xa9\n", "a: &x  # here\n  b: *x\n# \xc3\xa9\nc: \"\xc3\xa9\"  # \xc3\xa9\n");
}

TEST(what_stands_in_brackets)
{
    EXPECT_KEPT("a: [1,2,  3]\nb: {x: 1,y: 2}\n");
    EXPECT_MADE("a:\n    b: [\n        1,\n\n\n        2,  \n    ]\n    c: {x: 1,\n        # of y\n        y: 2}\n",
                "a:\n  b: [\n      1,\n\n      2,\n  ]\n  c: {x: 1,\n      # of y\n      y: 2}\n");
    EXPECT_MADE("-   [1,\n     2]\n-   a: [1,\n         2]\n", "- [1,\n   2]\n- a: [1,\n       2]\n");
    EXPECT_MADE("a:\n- {b: 1, # one\n  c: 2}\n", "a:\n  - {b: 1,  # one\n    c: 2}\n");
    EXPECT_KEPT("a: [\n1\n]\n");
}

TEST(texts_over_several_lines)
{
    EXPECT_MADE("a:\n    b: one\n      two\n\n\n      three\n    c: 1\n", "a:\n  b: one\n    two\n\n\n    three\n  c: 1\n");
    EXPECT_MADE("a: \"one\n\n   two \\\n   three\\  \n   four\"\nb: 'x  \n  y'  # c\n",
                "a: \"one\n\n   two \\\n   three\\  \n   four\"\nb: 'x\n  y'  # c\n");
    EXPECT_MADE("-   one\n    two\n-   \"three\n four\"\n", "- one\n  two\n- \"three\n  four\"\n");
    EXPECT_MADE("a:\n  b: x\n   y # c\n", "a:\n  b: x\n    y  # c\n");
    EXPECT_MADE("a: [\"x\n\n\n y\", z\n w]\n", "a: [\"x\n\n\n y\", z\n w]\n");
    EXPECT_MADE("a:\n    'it # is\n    # no comment'\n", "a:\n  'it # is\n  # no comment'\n");
}

TEST(texts_behind_a_bar)
{
    EXPECT_KEPT("a: |\n  one\n    two  \n\n\n  three # no comment\n\nb: >-\n  x\n");
    EXPECT_MADE("a:\n    b: |\n          one\n            two  \n         \n\n            \n          three\n\n\n    c: 1\n",
                "a:\n  b: |\n    one\n      two  \n\n\n      \n    three\n\n  c: 1\n");
    EXPECT_MADE("a:\n- |   # c\n one\n- >-\n      two\n# of c\nc: 1\n", "a:\n  - |   # c\n    one\n  - >-\n    two\n# of c\nc: 1\n");
    EXPECT_KEPT("a: |+\n  one\n\n\n\nb: 1\n");
    EXPECT_KEPT("a:\n  b: |+\n    one\n\n\n");
    EXPECT_MADE("a: |\n  one\n\n\n", "a: |\n  one\n");
    EXPECT_MADE("a:\n    b: |2\n        one\n       two\n", "a:\n  b: |2\n      one\n     two\n");
    EXPECT_MADE("a:\n- |1-\n   one\n  two\n", "a:\n  - |1-\n     one\n    two\n");
    EXPECT_MADE("a: |\n one\n \ttwo\nb: >\n\n  two\n", "a: |\n  one\n  \ttwo\nb: >\n\n  two\n");
    EXPECT_MADE("a: |\n      \n\nb: |+\n      \n\nc: |-\n", "a: |\n\nb: |+\n\n\nc: |-\n");
    EXPECT_MADE("|\n one\n", "|\n  one\n");
    EXPECT_MADE("a:\n    b: |\n        #!/bin/sh\n        # x\n    # of c\n    c: 1\n",
                "a:\n  b: |\n    #!/bin/sh\n    # x\n  # of c\n  c: 1\n");
}

/* A line feed more would be one in the text. */
TEST(a_text_at_the_end_of_a_file_without_line_feed)
{
    EXPECT_KEPT("a:\n  b: |\n    hello");
    EXPECT_MADE("a:\n   b: >\n     hello\n     you", "a:\n  b: >\n    hello\n    you");
    EXPECT_MADE("a:\r\n   b: |\r\n     hello", "a:\n  b: |\n    hello");
    EXPECT_MADE("b: hello", "b: hello\n");
}

TEST(what_cannot_be)
{
    EXPECT_CSTR(made("a: [1\nb: 2\n"), "f.yaml:2:2: error E004: not valid YAML: did not find expected ',' or ']'\n"
                                       "    2 | b: 2\n      |  ^\n");
    EXPECT(strstr(made("a: 1\n b: 2\n"), "f.yaml:2:3: error E004: ") != NULL);
    EXPECT(strstr(made("a:\n\tb: 2\n"), "f.yaml:2:1: error E004: ") != NULL);
    EXPECT(strstr(made("a: \xff\n"), "f.yaml:1:4: error E003: ") != NULL);
    EXPECT(strstr(made("a:\n  ? b\n  : c\n"), "f.yaml:2:3: error E005: a key behind \"?\"") != NULL);
    EXPECT(strstr(made("  ---\n"), "f.yaml:1:3: error E004: this cannot be laid out as usual without changing what it means") != NULL);
    EXPECT(strstr(made("a: *\n"), "error E004: ") != NULL);
}

TEST(what_is_shown)
{
    struct format f;
    struct diags diags = {0};
    struct page out = {0};
    EXPECT_EQ(format_make(&f, STR("a:\n- 1 \n\n\n  # c\nb: 1\n"), "f.yaml", &diags), 0);
    EXPECT_EQ(f.n, 3);
    format_print(&f, 10, &out);
    EXPECT_CSTR(out.at, "     2 - - 1 \n     2 +   - 1\n     4 -\n     5 -   # c\n     5 + # c\n");
    out.len = 0;
    format_print(&f, 1, &out);
    EXPECT_CSTR(out.at, "     2 - - 1 \n     2 +   - 1\n       and 2 more lines\n");
    format_fini(&f);
    out.len = 0;
    EXPECT_EQ(format_make(&f, STR("\xef\xbb\xbf" "a: 1\r\n"), "f.yaml", &diags), 0);
    format_print(&f, 1, &out);
    EXPECT_CSTR(out.at, "  a byte order mark at the beginning\n  lines that end with CR LF\n");
    format_fini(&f);
    out.len = 0;
    EXPECT_EQ(format_make(&f, STR("a: 1\n\n \nb"), "f.yaml", &diags), -1);
    EXPECT_EQ(format_make(&f, STR("a: 1\n\nb: 1\n \n\nc: 1"), "f.yaml", &diags), 0);
    format_print(&f, 9, &out);
    EXPECT_CSTR(out.at, "  no line feed at the end\n     4 -  \n     4 +\n     5 -\n");
    format_fini(&f);
    page_free(&out);
    diags_fini(&diags);
}

/* Every file there is can be laid out, means the same (format_make() sees to it), and that is final. */
static unsigned folder_try(const char *path)
{
    unsigned n = 0;
    DIR *dir = opendir(path);
    if (!EXPECT(dir != NULL))
        return 0;
    for (struct dirent *e; (e = readdir(dir));) {
        char name[300], text[64 * 1024];
        if (!strstr(e->d_name, ".yaml"))
            continue;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        test_row("%s", name);
        FILE *f = fopen(name, "r");
        size_t len = f ? fread(text, 1, sizeof text - 1, f) : 0;
        text[len] = '\0';
        if (f)
            fclose(f);
        if (strlen(text) == len && len < sizeof text - 1)
            n += !strstr(made(text), "error E");
        page_free(&page);
    }
    closedir(dir);
    return n;
}

TEST(all_the_files_there_are)
{
    EXPECT(folder_try("tests/conf/good") >= 12);
    EXPECT(folder_try("tests/conf/bad") >= 100);
    EXPECT(folder_try("conf") >= 1);
    EXPECT(folder_try("conf/examples") >= 3);
    EXPECT(folder_try("docker/etc") >= 1);
    EXPECT(folder_try("bench") >= 5);
}

/* Anything may be made of these pieces; what is YAML must come out final and with its meaning, which `made` looks at. */
TEST(whatever_it_is)
{
    static const char *const pieces[] = {"a: ", "b:\n", "- ", "-\n", "  ", "    ", " ", "\n", "\n\n", "# c\n", " # c\n", "x", "|\n", ">-\n",
                                         "|+\n", "|1\n", "[", "]", "{", "}", ", ", "\"", "'", "x\ny", "&k ", "*k", "c: 1\n", "- d\n", "? ",
                                         "\t", "\\", "---\n", "\xc3\xa9", "!t "};
    unsigned long long seed = 88172645463325252u;
    unsigned yaml = 0;
    for (int i = 0; i < 60000; i++) {
        char text[400] = "";
        size_t len = 0;
        for (int n = 2 + i % 14; n > 0; n--) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            len += (size_t)snprintf(text + len, sizeof text - len, "%s", pieces[seed % (sizeof pieces / sizeof *pieces)]);
        }
        test_row("%s", text);
        const char *out = made(text);
        yaml += !strstr(out, "error E");
        EXPECT(!strstr(out, "cannot be laid out") || strstr(text, "---"));       /* at the first column it is a mark */
    }
    test_row("all");
    EXPECT(yaml > 3000);
    page_free(&page);
}
