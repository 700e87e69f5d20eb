/* SPDX-License-Identifier: Apache-2.0 */
#include "diag_fixture.h"

#include "conf/field.h"
#include "conf/load.h"

struct inner { uint64_t wait; };
struct all {
    bool flag;
    uint64_t count, size, wait, range[2];
    uint32_t share;
    struct rate rate;
    struct str text, token;
    int word;
    struct texts texts;
    struct pairs pairs;
    struct cidrs cidrs;
    struct inner inner;
    unsigned custom;
};

static int custom_read(void *at, const struct yaml_node *n, struct load *l)
{
    if (n->text.len > 3)
        return load_err(l, n, CODE_bounds, "custom: too long");
    *(unsigned *)at = (unsigned)n->text.len;
    return 0;
}

static const char *const words[] = {"one", "two", NULL};
#define AT(m) offsetof(struct all, m)
static const struct field inner_fields[] = {
    {.key = "wait", .type = FIELD_DURATION, .offset = offsetof(struct inner, wait), .fallback = "3s", .help = "h"},
    {.key = "must", .type = FIELD_COUNT, .offset = offsetof(struct inner, wait), .required = true, .help = "h"},
    {.type = FIELD_END},
};
static const struct field fields[] = {
    {.key = "flag", .type = FIELD_BOOL, .offset = AT(flag), .fallback = "true", .help = "h"},
    {.key = "count", .type = FIELD_COUNT, .offset = AT(count), .fallback = "4", .min = 2, .max = 9, .help = "h"},
    {.key = "size", .type = FIELD_SIZE, .offset = AT(size), .fallback = "1KiB", .max = 1048576, .help = "h"},
    {.key = "wait", .type = FIELD_DURATION, .offset = AT(wait), .min = 1000000, .help = "h"},
    {.key = "range", .type = FIELD_DURATION_RANGE, .offset = AT(range), .fallback = "1s..2s", .max = 60000000000, .help = "h"},
    {.key = "share", .type = FIELD_PERCENT, .offset = AT(share), .fallback = "2.5%", .help = "h"},
    {.key = "rate", .type = FIELD_RATE, .offset = AT(rate), .fallback = "10/s", .help = "h"},
    {.key = "text", .type = FIELD_TEXT, .offset = AT(text), .help = "h"},
    {.key = "token", .type = FIELD_TOKEN, .offset = AT(token), .fallback = "x-id", .help = "h"},
    {.key = "word", .type = FIELD_ENUM, .offset = AT(word), .words = words, .fallback = "two", .help = "h"},
    {.key = "texts", .type = FIELD_TEXTS, .offset = AT(texts), .help = "h"},
    {.key = "pairs", .type = FIELD_PAIRS, .offset = AT(pairs), .help = "h"},
    {.key = "cidrs", .type = FIELD_CIDRS, .offset = AT(cidrs), .fallback = "10.0.0.0/8", .help = "h"},
    {.key = "inner", .type = FIELD_MAP, .offset = AT(inner), .sub = inner_fields, .help = "h"},
    {.key = "custom", .type = FIELD_CUSTOM, .offset = AT(custom), .parse = custom_read, .fallback = "ab", .help = "h"},
    {.type = FIELD_END},
};

static struct arena arena;

/* Reads into *o; "" or "line:col: text". */
static void read_text(const char *text, struct all *o, char *got, size_t cap)
{
    struct yaml_node *root = NULL;
    struct err e = {.text = ""};
    struct diags diags = {.n = 0};
    struct load l = {.diags = &diags, .arena = &arena};

    memset(o, 0, sizeof(*o));
    got[0] = '\0';
    int res = yaml_from(&arena, text, &root, &diags) != 0 || fields_read(fields, root, o, &l) != 0 ? -1 : 0;
    EXPECT_EQ(diags_take(&diags, &e), res);
    if (res != 0)
        snprintf(got, cap, "%u:%u: %s", e.line, e.col, e.text);
}

TEST(defaults)
{
    struct all o;
    char got[600];
    arena_init(&arena, NULL);
    read_text("{}", &o, got, sizeof(got));
    EXPECT_CSTR(got, "");
    EXPECT(o.flag);
    EXPECT_EQ(o.count, 4);
    EXPECT_EQ(o.size, 1024);
    EXPECT_EQ(o.wait, 0);
    EXPECT_EQ(o.range[1], 2000000000);
    EXPECT_EQ(o.share, 250);
    EXPECT_EQ(o.rate.tokens, 10);
    EXPECT_STR(o.text, NULL);
    EXPECT_STR(o.token, "x-id");
    EXPECT_EQ(o.word, 1);
    EXPECT_EQ(o.texts.n, 0);
    EXPECT_EQ(o.cidrs.n, 1);
    EXPECT_EQ(o.inner.wait, 3000000000);
    EXPECT_EQ(o.custom, 2);
    arena_fini(&arena);
}

TEST(values)
{
    struct all o;
    char got[600];
    arena_init(&arena, NULL);
    read_text("{flag: false, count: 9, size: 1MiB, wait: 1ms, range: 1ms..1m, share: 100%, rate: 7/h, text: '',\n"
              "token: X-Y, word: one, texts: [a, b], pairs: {x: 1, y: ''}, cidrs: ['::/0', 1.2.3.4],\n"
              "inner: {must: 5}, custom: abc}", &o, got, sizeof(got));
    EXPECT_CSTR(got, "");
    EXPECT(!o.flag);
    EXPECT_EQ(o.count, 9);
    EXPECT_EQ(o.size, 1048576);
    EXPECT_EQ(o.wait, 1000000);
    EXPECT_EQ(o.range[1], 60000000000);
    EXPECT_EQ(o.share, 10000);
    EXPECT_EQ(o.rate.period, 3600000000000);
    EXPECT_STR(o.text, "");
    EXPECT_STR(o.token, "X-Y");
    EXPECT_EQ(o.word, 0);
    EXPECT_EQ(o.texts.n, 2);
    EXPECT_STR(o.texts.v[1], "b");
    EXPECT_EQ(o.pairs.n, 2);
    EXPECT_STR(o.pairs.v[0].key, "x");
    EXPECT_STR(o.pairs.v[0].value, "1");
    EXPECT_EQ(o.pairs.v[0].node->line, 2);
    EXPECT_EQ(o.cidrs.n, 2);
    EXPECT_EQ(o.inner.wait, 5);
    EXPECT_EQ(o.custom, 3);
    read_text("texts: one", &o, got, sizeof(got));
    EXPECT_STR(o.texts.v[0], "one");
    arena_fini(&arena);
}

TEST(errors)
{
    static const struct { const char *text, *wanted; } rows[] = {
        {"flag: yes", "1:7: flag: \"yes\" is neither true nor false; write true"},
        {"count: 1", "1:8: count: 1 is out of bounds; 2 to 9"},
        {"count: 10", "1:8: count: 10 is out of bounds; 2 to 9"},
        {"count: 18446744073709551616", "1:8: count: \"18446744073709551616\" is too large"},
        {"count: [1]", "1:8: count: must be a single value, not a list"},
        {"size: 2MiB", "1:7: size: 2MiB is too large; at most 1MiB"},
        {"wait: 999us", "1:7: wait: 999us is too small; at least 1ms"},
        {"range: 1s..61s", "1:8: range: 1s..61s is too large; at most 1m"},
        {"share: 101%", "1:8: share: 101% is too large; at most 100%"},
        {"token: 'a b'", "1:8: token: \"a b\" is not a header's name: letters, digits and - only"},
        {"word: tow", "1:7: word: \"tow\" is not one of one, two; did you mean \"two\"?"},
        {"texts: {a: b}", "1:8: texts: must be a single value or a list of them, not a mapping"},
        {"texts: [a, [b]]", "1:12: texts: must be a list of single values, not a list"},
        {"pairs: [a]", "1:8: pairs: must be a mapping of names to values, not a list"},
        {"cidrs: [10.0.0.0/8, x]",
         "1:21: cidrs: \"x\" is not a network; write it like 10.0.0.0/8, 2001:db8::/32 or 192.0.2.1"},
        {"inner: 5", "1:8: inner: must be a mapping, not a single value"},
        {"inner: {}", "1:8: must is missing"},
        {"inner: {wiat: 1s, must: 1}", "1:9: unknown key \"wiat\"; did you mean \"wait\"?"},
        {"custom: abcd", "1:9: custom: too long"},
        {"text:", "1:6: text: has no value; leave the key out for its default"},
        {"txet: a", "1:1: unknown key \"txet\"; did you mean \"text\"?"},
        {"[a]", "1:1: must be a mapping (key: value), not a list"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct all o;
        char got[600];
        test_row("%s", rows[i].text);
        arena_init(&arena, NULL);
        read_text(rows[i].text, &o, got, sizeof(got));
        EXPECT_CSTR(got, rows[i].wanted);
        arena_fini(&arena);
    }
}

TEST(nothing_written_still_needs_what_is_required)
{
    struct inner o = {0};
    struct err e = {.text = ""};
    struct source source = {"t", {NULL, 0}};
    struct yaml_node place = {.source = &source, .line = 3, .col = 5};
    struct diags diags = {.n = 0};
    struct load l = {.diags = &diags, .arena = &arena, .node = &place};
    arena_init(&arena, NULL);
    EXPECT_EQ(fields_read(inner_fields, NULL, &o, &l), -1);
    EXPECT_EQ(diags_take(&diags, &e), -1);
    EXPECT_CSTR(e.text, "must is missing");
    EXPECT_EQ(e.line, 3);
    arena_fini(&arena);
}
