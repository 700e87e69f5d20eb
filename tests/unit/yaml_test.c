/* SPDX-License-Identifier: Apache-2.0 */
#include "diag_fixture.h"

#include <time.h>
#include "conf/diag.h"
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
    struct yaml_limits few = {.bytes = 65, .depth = 4, .nodes = 10};
    setenv("WEIR_TEST_LONG", "0123456789abcdefghij0123456789", 1);
    expect("- ${WEIR_TEST_LONG}\n- ${WEIR_TEST_LONG}", &few,
           "[0123456789abcdefghij0123456789@1:3 0123456789abcdefghij0123456789@2:3]");
    expect("- ${WEIR_TEST_LONG}.\n- ${WEIR_TEST_LONG}", &few, "2:3: more than 65 bytes in all once variables are put in");
    expect("{a: $${X}}", NULL, "1:5: ${...} inside [] or {} must be quoted: \"${VAR}\"");
    expect("[\"${WEIR_TEST_EMPTY}\", cost$]", NULL, "[@1:2 cost$@1:24]");
}

/* All errors of a text, "line:col+width: text", and then what could be made of it. */
static void expect_all(const char *text, const char *wanted)
{
    struct yaml_node *root = NULL;
    struct source source = {"t", str_c(text)};
    struct diags diags = {.n = 0};
    struct sources sources;
    struct yaml_set set = {.arena = &arena, .limits = &yaml_limits_default, .diags = &diags, .sources = &sources};
    char got[2000] = "";

    arena_init(&arena, NULL);
    sources_init(&sources, &arena);
    test_row("%s", text);
    int res = yaml_read(&set, &source, &root);
    for (size_t i = 0; i < diags.n; i++)
        snprintf(got + strlen(got), sizeof(got) - strlen(got), "%u:%u+%u: %s %s\n", diags.v[i]->line, diags.v[i]->col,
                 diags.v[i]->width, diag_code_text(diags.v[i]->code).text, diags.v[i]->text);
    if (res == 0)
        print(root, got, sizeof(got));
    EXPECT_CSTR(got, wanted);
    diags_fini(&diags);
    arena_fini(&arena);
}

TEST(reading_goes_on_behind_errors)
{
    expect_all("a: !!str x\nb: 1\nb: 2\nc: *none\nd: ${}\n<<: {x: y}\n? [k]\n: v\ne: 3\n",
               "1:4+7: E005 tags such as tag:yaml.org,2002:str are not supported\n"
               "3:1+1: E006 key \"b\" stands here twice; the first is at line 2\n"
               "4:4+5: E007 unknown alias *none\n"
               "5:4+3: E009 ${}: needs a variable's name: letters, digits and _\n"
               "6:1+2: E005 merge keys (<<) are not supported; write the keys out\n"
               "7:3+1: E005 a key must be a plain text\n"
               "{a=@1:4 b=1@2:4 c=@4:4 d=@5:4 e=3@9:4}");
    expect_all("a: 1\na: 2\nb: 3\na: 4\n", "2:1+1: E006 key \"a\" stands here twice; the first is at line 1\n"
               "4:1+1: E006 key \"a\" stands here twice; the first is at line 1\n{a=1@1:4 b=3@3:4}");
    expect_all("a: &x {b: *x}\n", "1:11+2: E007 alias *x stands inside what it names\n{a={b=@1:11}}");
    expect_all("a: \"x\\0y\"\nb: 1\n", "1:4+6: E003 a NUL byte may not stand in a value\n{a=@1:4 b=1@2:4}");
    expect_all("a: 1\n---\nb: 2\n",
               "2:1+3: E005 a second document (---) begins here; a configuration is one\n{a=1@1:4}");
    expect_all("a: ${}\nb: [\n", "1:4+3: E009 ${}: needs a variable's name: letters, digits and _\n"
               "3:1+0: E004 not valid YAML: did not find expected node content, while parsing a flow node that begins at 3:1\n");
    expect_all("# c\n%TAG ! tag:x,2000:\n---\na: b\n", "2:1+1: E005 directives such as %TAG ! tag:x,2000: are not supported\n");
    expect_all("%YAML 1.1\n---\na: b\n", "{a=b@3:4}");
    expect_all("a\n\n\xc3\xa9 \x01", "3:3+0: E003 a control character may not stand in a configuration; in a quoted "
               "text write an escape such as \\x1b\n");
}

/* `n` times `unit` between `before` and `after`: what is said of it, and that it takes no time worth the name. */
static void expect_soon(const char *before, const char *unit, size_t n, const char *after, const char *wanted)
{
    size_t len = strlen(unit), at = strlen(before);
    char *text = malloc(at + n * len + strlen(after) + 1);
    struct yaml_node *root = NULL;
    struct diags diags = {.n = 0};
    struct timespec from, to;

    memcpy(text, before, at);
    for (size_t i = 0; i < n; i++, at += len)
        memcpy(text + at, unit, len);
    strcpy(text + at, after);
    struct source source = {"t", str_c(text)};
    arena_init(&arena, NULL);
    test_row("%zu times %s", n, unit);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    (void)!yaml_parse(&arena, &source, &yaml_limits_default, &root, &diags);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    EXPECT_CSTR(diags.n ? diags.v[0]->text : "", wanted);
    EXPECT(to.tv_sec - from.tv_sec < 20);
    if (getenv("WEIR_TEST_SHOW_TIMES"))
        printf("%8.3f s %s\n", (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9, test_row_text);
    diags_fini(&diags);
    arena_fini(&arena);
    free(text);
}

TEST(hostile_texts_end_soon)
{
    static const char deep[] = "nested deeper than 32 levels", many[] = "more than 1000000 values, aliases counted in full";
    static const char anchors[] = "more than 1000 anchors", scalar[] = "a single value of more than 1048576 bytes";

    static const char inside[] = "\"${${} ${} ${} ${} ${} ${} ${} ${} ${} ${} ${} ${} ${} ${} ${} ${} ${} ${} ${} ${} ${} "
                                 "${} ${...\": a variable inside a variable is not supported";

    expect_soon("", "[", 10000, "", deep);
    expect_soon("", "[", 8000000, "", deep);
    expect_soon("", "{a: ", 10000, "", deep);
    expect_soon("", "- ", 10000, "x", deep);
    expect_soon("", "? ", 10000, "x", "a key must be a plain text");
    expect_soon("a: ", "x", 10000000, "", scalar);
    expect_soon("a: \"", "x", 10000000, "\"", scalar);
    expect_soon("a: |\n", "  xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n", 300000, "", scalar);
    expect_soon("a: ", "x\n  ", 2000000, "", scalar);
    expect_soon("a: \"", "\\\n", 4000000, "\"", "");
    expect_soon("", "x", 10000000, ": 1", scalar);
    expect_soon("? ", "x", 10000000, "\n: 1", scalar);
    expect_soon("", "#\n", 8000000, "", "");
    expect_soon("", "\n", 16000000, "", "");
    expect_soon("", "- x\n", 2000000, "", many);
    expect_soon("[", "x,", 2000000, "]", many);
    expect_soon("a: ", "&a ", 2000000, "x", "not valid YAML: did not find expected key, while parsing a block mapping that begins at 1:1");
    expect_soon("", "- &a x\n", 1000000, "", anchors);
    expect_soon("a: &", "a", 10000000, " x", "");
    expect_soon("- &a [x,x,x,x,x,x,x,x,x,x]\n", "- [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n", 100000, "", many);
    expect_soon("- &a x\n", "- *a\n", 900000, "", "");
    expect_soon("", "- *a\n", 900000, "", "unknown alias *a");
    expect_soon("", "a: 1\n", 400000, "", "key \"a\" stands here twice; the first is at line 1");
    expect_soon("", "- !!x y\n", 400000, "", "tags such as tag:yaml.org,2002:x are not supported");
    expect_soon("", "%TAG !a! tag:x:\n", 1000000, "", "directives such as %TAG !a! tag:x: are not supported");
    expect_soon("a: '", "${} ", 2000000, "'", "a single value of more than 1048576 bytes");
    expect_soon("", "- ${}\n", 400000, "", "${}: needs a variable's name: letters, digits and _");
    expect_soon("a: \"\\x24{", "${} ", 200000, "\"", inside);
}

/* Each level names the one before it ten times: ten to the ninth values in a few hundred bytes. */
TEST(a_bomb_of_aliases)
{
    expect("a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
           "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n"
           "f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]\n", NULL,
           "6:29: more than 1000000 values, aliases counted in full");
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
    diags_fini(&diags);
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
