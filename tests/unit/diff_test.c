/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/diff.h"

#include "conf/diag.h"
#include "conf/load.h"
#include "conf/yaml.h"
#include "test.h"

struct inner { uint64_t idle; struct str name; };
struct all {
    bool flag;
    uint64_t count, size, time, range[2];
    uint32_t share;
    struct rate rate;
    int word;
    struct str text, token, match;
    struct texts texts;
    struct pairs pairs;
    struct cidrs nets;
    struct inner inner;
};

static const char *const words[] = {"slow", "fast", NULL};

/* Takes anything: what it means is its own affair. */
static int custom_read(void *at, const struct yaml_node *n, struct load *l)
{
    (void)at, (void)n, (void)l;
    return 0;
}

static const struct field inner_fields[] = {
    {.key = "idle", .type = FIELD_DURATION, .offset = offsetof(struct inner, idle), .fallback = "4s", .help = "H."},
    {.key = "name", .type = FIELD_TEXT, .offset = offsetof(struct inner, name), .help = "H."},
    {.type = FIELD_END},
};
static const struct field match_fields[] = {
    {.key = "host", .type = FIELD_TEXT, .help = "H."},
    {.key = "path", .type = FIELD_TEXT, .required = true, .help = "H."},
    {.type = FIELD_END},
};
#define ROW(KEY, TYPE) .key = #KEY, .type = FIELD_##TYPE, .offset = offsetof(struct all, KEY), .help = "H."
static const struct field fields[] = {
    {ROW(flag, BOOL)},
    {ROW(count, COUNT)},
    {ROW(size, SIZE), .fallback = "1KiB"},
    {ROW(time, DURATION), .fallback = "1s"},
    {ROW(share, PERCENT), .fallback = "10%"},
    {ROW(rate, RATE), .fallback = "60/min"},
    {ROW(range, DURATION_RANGE), .fallback = "1s..2s"},
    {ROW(word, ENUM), .words = words, .fallback = "slow"},
    {ROW(text, TEXT), .fallback = "none of it"},
    {ROW(token, TOKEN)},
    {ROW(texts, TEXTS)},
    {ROW(pairs, PAIRS)},
    {ROW(nets, CIDRS)},
    {ROW(match, CUSTOM), .parse = custom_read, .sub = match_fields, .fallback = "all"},
    {ROW(inner, MAP), .sub = inner_fields},
    {.type = FIELD_END},
};

struct reading {
    struct arena arena;
    struct diags diags;
    struct source source;
    struct yaml_node *root;
    struct all all;
};

static struct diff_side read_from(struct reading *r, const char *text)
{
    *r = (struct reading){.source = {.name = "t", .text = str_c(text)}};
    arena_init(&r->arena, NULL);
    struct load load = {.arena = &r->arena, .diags = &r->diags};
    EXPECT_EQ(yaml_parse(&r->arena, &r->source, &yaml_limits_default, &r->root, &r->diags), 0);
    load.node = r->root;
    EXPECT_EQ(fields_read(fields, r->root, &r->all, &load), 0);
    return (struct diff_side){&r->all, r->root};
}

static void reading_fini(struct reading *r)
{
    diags_fini(&r->diags);
    arena_fini(&r->arena);
}

static void found(void *ctx, const struct diff_key *k) { page_printf(ctx, "%s: %s -> %s;", k->key, k->from, k->to); }

static void expect_diff(const char *from, const char *to, const char *const *skip, const char *wanted)
{
    struct reading a, b;
    struct page page = {0};
    const struct diff_side x = read_from(&a, from), y = read_from(&b, to);
    diff_fields(fields, &x, &y, skip, found, &page);
    EXPECT_CSTR(page.len ? page.at : "", wanted);
    page_free(&page);
    reading_fini(&a);
    reading_fini(&b);
}

TEST(every_type)
{
    static const struct { const char *from, *to, *wanted; } rows[] = {
        {"{}", "{}", ""},
        {"flag: true", "flag: false", "flag: true -> false;"},
        {"{}", "flag: true", "flag: false -> true;"},
        {"{}", "count: 5", "count: none -> 5;"},
        {"size: 2048B", "size: 2KiB", ""},
        {"{}", "size: 3KiB", "size: 1KiB -> 3KiB;"},
        {"time: 1000ms", "{}", ""},
        {"time: 90s", "{}", "time: 90s -> 1s;"},
        {"share: 2.5%", "share: 100%", "share: 2.50% -> 100%;"},
        {"rate: 60/min", "rate: 1/s", "rate: 60/min -> 1/s;"},
        {"rate: 10/h", "{}", "rate: 10/h -> 60/min;"},
        {"range: 1s..3s", "range: 1000ms..2s", "range: 1s..3s -> 1s..2s;"},
        {"word: fast", "{}", "word: fast -> slow;"},
        {"text: none of it", "{}", ""},
        {"text: \"\"", "{}", "text: \"\" -> none of it;"},
        {"{}", "token: X-A", "token: none -> X-A;"},
        {"texts: a", "texts: [a]", ""},
        {"texts: a", "texts: [a, b]", "texts: a -> [a, b];"},
        {"pairs: {a: b, c: d}", "pairs: {a: b, c: e}", "pairs: {a: b, c: d} -> {a: b, c: e};"},
        {"pairs: {a: b}", "pairs: {e: b}", "pairs: {a: b} -> {e: b};"},
        {"nets: 10.0.0.0/8", "nets: [10.0.0.0/8, 1.2.3.4]", "nets: 10.0.0.0/8 -> [10.0.0.0/8, 1.2.3.4];"},
        {"match: /a", "match: {path: /a}", ""},
        {"match: /a", "match: {host: /a}", "match: /a -> {host: /a};"},
        {"match: {path: /a}", "match: {path: /a, host: h}", "match: {path: /a} -> {path: /a, host: h};"},
        {"match: all", "{}", ""},
        {"inner: {idle: 4s}", "{}", ""},
        {"inner: {idle: 5s, name: x}", "inner: {name: y}", "inner.idle: 5s -> 4s;inner.name: x -> y;"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s | %s", rows[i].from, rows[i].to);
        expect_diff(rows[i].from, rows[i].to, NULL, rows[i].wanted);
    }
}

TEST(secrets_are_not_shown)
{
    setenv("DIFF_TEST_TOKEN", "1", 1);
    expect_diff("{count: '${DIFF_TEST_TOKEN}', text: 'a ${DIFF_TEST_TOKEN}', texts: [x, '${DIFF_TEST_TOKEN}']}", "{count: 2}", NULL,
                "count: *** -> 2;text: a *** -> none of it;texts: [x, ***] -> none;");
    expect_diff("{text: '${DIFF_TEST_TOKEN}'}", "{text: '${DIFF_TEST_TOKEN:-x}'}", NULL, "");
    expect_diff("{text: '${DIFF_TEST_TOKEN}'}", "{text: '${DIFF_TEST_TOKEN}${DIFF_TEST_TOKEN}'}", NULL, "text: *** -> ******;");
    unsetenv("DIFF_TEST_TOKEN");
    expect_diff("{text: '${DIFF_TEST_TOKEN:-a}'}", "{text: '${DIFF_TEST_TOKEN:-b}'}", NULL, "text: *** -> *** (another);");
}

TEST(what_is_skipped_is_skipped_at_the_top_alone)
{
    static const char *const skip[] = {"count", "name", NULL};
    expect_diff("{count: 1, inner: {name: x}}", "{count: 2, inner: {name: y}}", skip, "inner.name: x -> y;");
}

TEST(long_values_are_cut_between_characters_and_control_characters_are_blanks)
{
    char from[1000], to[1000], wanted[2000], part[600] = "";
    for (unsigned i = 0; i < 250; i++)
        strcat(part, "\xc3\xa9");        /* é */
    snprintf(from, sizeof from, "text: x%s", part);
    snprintf(to, sizeof to, "text: \"a\\tb\\nc\\u007f\"");
    snprintf(wanted, sizeof wanted, "text: x%.*s... -> a b c ;", 198, part);
    expect_diff(from, to, NULL, wanted);
}

TEST(what_differs_only_where_it_is_not_shown_is_said)
{
    char from[1000], to[1000], wanted[2000], part[300];
    memset(part, 'x', sizeof part);
    part[sizeof part - 1] = '\0';
    snprintf(from, sizeof from, "text: %sa", part);
    snprintf(to, sizeof to, "text: %sb", part);
    snprintf(wanted, sizeof wanted, "text: %.200s... -> %.200s... (another);", part, part);
    expect_diff(from, to, NULL, wanted);
}
