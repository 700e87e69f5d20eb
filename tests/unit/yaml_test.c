/* SPDX-License-Identifier: Apache-2.0 */
#include "diag_fixture.h"

#include "conf/load.h"
#include "conf/yaml.h"

static struct arena arena;

/* The tree in one line: scalars as 'text'@line:col, so that places show too. */
static void print(const struct yaml_node *n, char *out, size_t cap)
{
    size_t len = strlen(out);
    switch (n->type) {
    case YAML_NULL: snprintf(out + len, cap - len, "null"); return;
    case YAML_SCALAR: snprintf(out + len, cap - len, STR_FMT "@%u:%u", STR_ARG(n->text), n->line, n->col); return;
    case YAML_LIST: case YAML_MAP: break;
    }
    snprintf(out + len, cap - len, n->type == YAML_MAP ? "{" : "[");
    for (size_t i = 0; i < n->n; i++) {
        if (n->entries[i].key) {
            len = strlen(out);
            snprintf(out + len, cap - len, STR_FMT "=", STR_ARG(n->entries[i].key->text));
        }
        print(n->entries[i].value, out, cap);
        len = strlen(out);
        snprintf(out + len, cap - len, i + 1 < n->n ? " " : "");
    }
    len = strlen(out);
    snprintf(out + len, cap - len, n->type == YAML_MAP ? "}" : "]");
}

static void expect(const char *text, const struct yaml_limits *limits, const char *wanted)
{
    struct yaml_node *root = NULL;
    struct source source = {"t", str_c(text)};
    struct diags diags = {.n = 0};
    struct err e = {.text = ""};
    char got[600] = "";

    arena_init(&arena, NULL);
    test_row("%s", text);
    int res = yaml_parse(&arena, &source, limits ? limits : &yaml_limits_default, &root, &diags);
    EXPECT_EQ(diags_take(&diags, &e), res);
    if (res != 0)
        snprintf(got, sizeof(got), "%u:%u: %s", e.line, e.col, e.text);
    else
        print(root, got, sizeof(got));
    EXPECT_CSTR(got, wanted);
    arena_fini(&arena);
}

TEST(trees_with_places)
{
    expect("a: 1\nb: [x, 'y z', \"\\n\"]\nc:\n  d: e\n", NULL, "{a=1@1:4 b=[x@2:5 y z@2:8 \n@2:15] c={d=e@4:6}}");
    expect("[]", NULL, "[]");
    expect("", NULL, "null");
    expect("# only a comment\n", NULL, "null");
    expect("a: ~\nb: ''\nc: null\nd:\ne: 'null'", NULL, "{a=null b=@2:4 c=null d=null e=null@5:4}");
    expect("a: |\n  x\n  y\n", NULL, "{a=x\ny\n@1:4}");
    expect("a: &x [1]\nb: *x\n", NULL, "{a=[1@1:8] b=[1@1:8]}");
    expect("\xef\xbb\xbf" "a: b", NULL, "{a=b@1:4}");
    expect("caf\xc3\xa9: [\xc3\xa9, b]", NULL, "{caf\xc3\xa9=[\xc3\xa9@1:8 b@1:11]}");
    expect("--- \na: b\n...\n", NULL, "{a=b@2:4}");
}

TEST(limits_hold)
{
    static const struct yaml_limits small = {.bytes = 60, .depth = 3, .nodes = 10};
    expect("[[[1]]]", &small, "[[[1@1:4]]]");
    expect("[[[[1]]]]", &small, "1:4: nested deeper than 3 levels");
    expect("[1,2,3,4,5,6,7,8,9]", &small, "[1@1:2 2@1:4 3@1:6 4@1:8 5@1:10 6@1:12 7@1:14 8@1:16 9@1:18]");
    expect("[1,2,3,4,5,6,7,8,9,0]", &small, "1:20: more than 10 values, aliases counted in full");
    expect("[&a [1,2,3], *a, *a]", &small, "1:18: more than 10 values, aliases counted in full");
    expect("[&a [[1]], [*a]]", &small, "1:13: nested deeper than 3 levels");
    expect("# 345678901234567890123456789012345678901234567890123456789 1", &small, "0:0: longer than 60 bytes");
    expect("&a [*a]", &small, "1:5: alias *a stands inside what it names");
}

TEST(variables_in_values_only)
{
    setenv("WEIR_TEST_A", "[x]: \"y", 1);
    setenv("WEIR_TEST_EMPTY", "", 1);
    unsetenv("WEIR_TEST_UNSET");
    expect("a: ${WEIR_TEST_A}", NULL, "{a=[x]: \"y@1:4}");
    expect("${WEIR_TEST_A}: 1", NULL, "{${WEIR_TEST_A}=1@1:17}");
    expect("a: '<${WEIR_TEST_EMPTY}|${WEIR_TEST_EMPTY:-d}|${WEIR_TEST_UNSET:-}>'", NULL, "{a=<|d|>@1:4}");
    expect("a: $${WEIR_TEST_A} $5 $$ }", NULL, "{a=${WEIR_TEST_A} $5 $$ }@1:4}");
    expect("a: ${WEIR_TEST_EMPTY}", NULL, "{a=@1:4}");
    expect("\n a: ${WEIR_TEST_UNSET}", NULL,
           "2:5: ${WEIR_TEST_UNSET} is not set; set it, or write ${WEIR_TEST_UNSET:-default}");
    expect("[\xc3\xa9, ${WEIR_TEST_A}]", NULL, "1:5: ${...} inside [] or {} must be quoted: \"${VAR}\"");
    struct yaml_limits few = {.bytes = 60, .depth = 4, .nodes = 10};
    setenv("WEIR_TEST_LONG", "0123456789abcdefghij0123456789", 1);
    expect("- ${WEIR_TEST_LONG}\n- ${WEIR_TEST_LONG}", &few,
           "[0123456789abcdefghij0123456789@1:3 0123456789abcdefghij0123456789@2:3]");
    expect("- ${WEIR_TEST_LONG}.\n- ${WEIR_TEST_LONG}", &few, "2:3: more than 60 bytes once variables are put in");
    expect("{a: $${X}}", NULL, "1:5: ${...} inside [] or {} must be quoted: \"${VAR}\"");
    expect("[\"${WEIR_TEST_EMPTY}\", cost$]", NULL, "[@1:2 cost$@1:24]");
}

TEST(keys_are_found)
{
    struct yaml_node *root = NULL;
    struct diags diags = {.n = 0};
    arena_init(&arena, NULL);
    EXPECT_EQ(yaml_from(&arena, "a: 1\nab: 2\n", &root, &diags), 0);
    EXPECT_STR(yaml_get(root, "ab")->text, "2");
    EXPECT(yaml_get(root, "b") == NULL);
    EXPECT(yaml_get(NULL, "b") == NULL);
    EXPECT(yaml_get(yaml_get(root, "a"), "b") == NULL);
    arena_fini(&arena);
}

TEST(text_in_errors_is_harmless)
{
    char text[300];
    memset(text, 'x', sizeof(text));
    EXPECT_CSTR(quoted(STR("a\nb\x1b[1m")).text, "a?b?[1m");
    EXPECT_EQ(strlen(quoted(str_of(text, 300)).text), 95);
    EXPECT_EQ(strlen(quoted(str_of(text, 92)).text), 92);
    EXPECT_CSTR(quoted(STR("")).text, "");
}
