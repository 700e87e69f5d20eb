/* SPDX-License-Identifier: Apache-2.0 */
/* Options of the timeout filter, and how a caller's word is read. What comes of it: tests/sim/timeout_filter_test.c. */
#include "filters/timeout.h"

#include "conf/field.h"
#include "conf/load.h"
#include "figure.h"
#include "filter.h"
#include "lib/clock.h"
#include "diag_fixture.h"

extern const struct filter filter_timeout;

#define MS NSEC_PER_MSEC
#define SEC NSEC_PER_SEC

TEST(what_a_caller_may_say)
{
    static const struct { const char *text; uint64_t ns; } rows[] = {         /* 0: it is nothing */
        {"1", MS}, {"250", 250 * MS}, {"250ms", 250 * MS}, {"2s", 2 * SEC}, {"007s", 7 * SEC}, {"1000000", 1000 * SEC},
        {"18446744073709", 18446744073709 * MS}, {"18446744073709ms", 18446744073709 * MS}, {"18446744073710", 0},
        {"18446744073s", 18446744073 * SEC}, {"18446744074s", 0}, {"18446744073709551615", 0},
        {"18446744073709551616", 0}, {"18446744073709551617s", 0}, {"99999999999999999999999999", 0},
        {"", 0}, {"0", 0}, {"0s", 0}, {"0ms", 0}, {"000", 0}, {"s", 0}, {"ms", 0}, {"ss", 0}, {"mss", 0}, {"2ss", 0},
        {"2sm", 0}, {"2m", 0}, {"2h", 0}, {"2us", 0}, {"2mms", 0}, {"2sms", 0}, {"2S", 0}, {"2MS", 0}, {"2Ms", 0},
        {"-2s", 0}, {"+2s", 0}, {"-2", 0}, {"+2", 0}, {"1.5s", 0}, {".5s", 0}, {"1,5s", 0}, {"1e3", 0}, {"0x10", 0},
        {"1_000", 0}, {" 2s", 0}, {"2s ", 0}, {"2 s", 0}, {"2s,3s", 0}, {"2s;a", 0}, {"2\t", 0}, {"\"2s\"", 0}, {"inf", 0},
        {"\xd9\xa2", 0},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        uint64_t ns = 77;
        test_row("%s", rows[i].text);
        EXPECT_EQ(timeout_parse(str_c(rows[i].text), &ns), rows[i].ns > 0);
        EXPECT_EQ(ns, rows[i].ns > 0 ? rows[i].ns : 77);
    }
    uint64_t ns = 77;
    EXPECT(!timeout_parse(str_of("2\0s", 3), &ns) && !timeout_parse((struct str){NULL, 0}, &ns));
    EXPECT(timeout_parse(str_of("2sms", 2), &ns) && ns == 2 * SEC);          /* it reads no further */
}

static int options_read(struct arena *arena, const char *yaml, struct timeout_options *o, struct err *err)
{
    struct load load = {.arena = arena, .name = STR("mine")};

    memset(o, 0, sizeof *o);
    return options_from(&filter_timeout, yaml, o, &load, err);
}

TEST(options)
{
    struct arena arena;
    struct timeout_options o;
    struct err err = {.text = ""};

    arena_init(&arena, NULL);
    EXPECT_EQ(options_read(&arena, "{connect: 1ms, tls: 2ms, first_byte: 3ms, idle: 4ms, total: 5ms, client_body: 6ms}", &o,
                           &err), 0);
    EXPECT_EQ(o.connect, 1 * MS);
    EXPECT_EQ(o.tls, 2 * MS);
    EXPECT_EQ(o.first_byte, 3 * MS);
    EXPECT_EQ(o.idle, 4 * MS);
    EXPECT_EQ(o.total, 5 * MS);
    EXPECT_EQ(o.client_body, 6 * MS);
    EXPECT_EQ(options_read(&arena, "{}", &o, &err), 0);
    EXPECT_EQ(o.connect + o.tls + o.first_byte + o.idle + o.total + o.client_body, 0);
    EXPECT_EQ(options_read(&arena, "{client_header: 5s}", &o, &err), -1);
    EXPECT(strstr(err.text, "header_timeout of the listener") != NULL);
    EXPECT_EQ(err.line, 1);
    arena_fini(&arena);
}

TEST(what_cannot_be_is_warned_of)
{
    static const struct { const char *yaml; const char *said[3]; } rows[] = {
        {"total: 1s\nfirst_byte: 2s\n", {"2:13: first_byte: 2s cannot be, for total 1s ends the request before\n"}},
        {"idle: 1s\nconnect: 2s\ntotal: 1999ms\n", {"2:10: connect: 2s cannot be, for total 1999ms ends the request before\n"}},
        {"total: 1s\ntls: 1001ms\n", {"2:6: tls: 1001ms cannot be, for total 1s ends the request before\n"}},
        {"total: 1ms\nconnect: 1s\ntls: 1s\nfirst_byte: 1s\n", {"connect: 1s", "tls: 1s", "first_byte: 1s"}},
        {"total: 1s\nconnect: 1s\ntls: 1s\nfirst_byte: 1s\n", {NULL}},
        {"total: 1s\nidle: 30s\nclient_body: 30s\n", {NULL}},
        {"connect: 1h\nfirst_byte: 1ms\n", {NULL}},
        {"{}", {NULL}},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct arena arena;
        struct timeout_options o;
        struct err err = {.text = ""};
        const char *got = diags_warned;
        size_t lines = 0, wanted = 0;

        test_row("%s", rows[i].yaml);
        arena_init(&arena, NULL);
        int res = options_read(&arena, rows[i].yaml, &o, &err);
        EXPECT_EQ(res, 0);
        for (const char *at = got; (at = strchr(at, '\n')) != NULL; at++)
            lines++;
        for (; wanted < array_len(rows[i].said) && rows[i].said[wanted]; wanted++)
            if (!strstr(got, rows[i].said[wanted]))
                EXPECT_CSTR(got, rows[i].said[wanted]);
        EXPECT_EQ(lines, wanted);
        arena_fini(&arena);
    }
}

TEST(figures_have_a_value_each)
{
    union figure_value v[17];
    void *shared = calloc(1, filter_timeout.shared_size);
    size_t n = 0;

    for (size_t i = 0; i < array_len(v); i++)
        v[i].n = 99;
    filter_timeout.figures_read(shared, NULL, 1, v);
    for (; filter_timeout.figures[n].name; n++) {
        EXPECT_EQ(v[n].n, 0);
        EXPECT(filter_timeout.figures[n].help || (n && !strcmp(filter_timeout.figures[n].name, filter_timeout.figures[n - 1].name)));
    }
    EXPECT_EQ(v[n].n, 99);
    EXPECT_EQ(n, 7);
    free(shared);
}
