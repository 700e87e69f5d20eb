/* SPDX-License-Identifier: Apache-2.0 */
/* What each line is, and where it belongs. What is made of that: format_test.c. */
#include "conf/layout.h"

#include "conf/diag.h"
#include "test.h"

/* A line each: what it is, columns now and then, dashes; what is within a text has a "w", what ends within one an "o". */
static const char *of(const char *text)
{
    static const char kinds[] = {[LINE_BLANK] = 'b', [LINE_COMMENT] = '#', [LINE_ENTRY] = 'e', [LINE_MORE] = 'm', [LINE_TEXT] = 't'};
    static char out[1000];
    struct arena arena;
    struct layout layout;
    struct diags diags = {0};
    size_t len = 0;
    arena_init(&arena, NULL);
    char *copy = arena_strdup(&arena, str_c(text));
    struct source source = {"f", str_c(copy)};
    out[0] = '\0';
    if (layout_find(&layout, &arena, &source, copy, &diags) != 0)
        snprintf(out, sizeof out, "%s", diags.v[0]->text);
    else
        for (size_t i = 0; i < layout.n; i++) {
            const struct layout_line *l = &layout.v[i];
            len += (size_t)snprintf(out + len, sizeof out - len, "%s%c%u>%u", i ? " " : "", kinds[l->kind], l->col,
                                    l->kind == LINE_BLANK ? 0 : l->to);
            for (unsigned d = 0; d < l->dashes; d++)
                len += (size_t)snprintf(out + len, sizeof out - len, "-");
            len += (size_t)snprintf(out + len, sizeof out - len, "%s%s", l->within ? "w" : "", l->open ? "o" : "");
        }
    diags_fini(&diags);
    arena_fini(&arena);
    return out;
}

TEST(entries)
{
    EXPECT_CSTR(of("a: 1\nb:\n    c: 1\n"), "e0>0 e0>0 e4>2");
    EXPECT_CSTR(of("a:\n- b\n- c: 1\n  d: 1\ne:\n"), "e0>0 e0>2- e0>2- e2>4 e0>0");
    EXPECT_CSTR(of("- - a\n  - b\n-\n   c\n"), "e0>0-- e2>2- e0>0- e3>2");
}

TEST(blank_lines_and_comments)
{
    EXPECT_CSTR(of("# x\n\na:\n   # y\n   b: 1\n     \n   # z\n# e\n"), "#0>0 b0>0 e0>0 #3>2 e3>2 b5>0 #3>2 #0>0");
}

TEST(what_spans_lines)
{
    EXPECT_CSTR(of("a:\n    b: [1,\n      2]\n"), "e0>0 e4>2 m6>4");
    EXPECT_CSTR(of("a: x\n\n  y\n"), "e0>0o m0>2wo m2>2w");
    EXPECT_CSTR(of("a:\n    b: |\n      x\n       y\n\n    c: 1\n"), "e0>0 e4>2 t6>4 t6>4 b0>0 e4>2");
    EXPECT_CSTR(of("a:\n    b: |2+\n      x\n\n"), "e0>0 e4>2 t6>4 t6>4");
}

TEST(no_yaml)
{
    EXPECT_CSTR(of("a: @\n"), "not valid YAML: found character that cannot start any token");
    EXPECT_CSTR(of("? a\n: b\n"), "a key behind \"?\" is not supported; write it before its colon");
}
