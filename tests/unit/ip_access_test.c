/* SPDX-License-Identifier: Apache-2.0 */
#include "filters/ip_access.h"

#include "conf/load.h"
#include "filter.h"
#include "diag_fixture.h"

extern const struct filter filter_ip_access;

static int options_read(struct arena *arena, const char *yaml, struct ip_access_options *o, struct err *err)
{
    struct load load = {.arena = arena};

    memset(o, 0, sizeof(*o));
    return options_from(&filter_ip_access, yaml, o, &load, err);
}

TEST(who_may_enter)
{
    static const struct { const char *yaml, *ip; bool permits; } rows[] = {
        {"{allow: [10.0.0.0/8]}", "10.1.2.3", true},
        {"{allow: [10.0.0.0/8]}", "11.1.2.3", false},
        {"{allow: [10.0.0.0/8]}", "::1", false},
        {"{allow: 192.0.2.7}", "192.0.2.7", true},
        {"{allow: 192.0.2.7}", "192.0.2.8", false},
        {"{allow: [10.0.0.0/8], deny: [10.9.0.0/16]}", "10.8.0.1", true},
        {"{allow: [10.0.0.0/8], deny: [10.9.0.0/16]}", "10.9.0.1", false},
        {"{allow: [10.9.0.1], deny: [10.0.0.0/8]}", "10.9.0.1", false},       /* deny is first, however wide */
        {"{deny: [10.0.0.0/8, \"2001:db8::/32\"]}", "10.0.0.1", false},
        {"{deny: [10.0.0.0/8, \"2001:db8::/32\"]}", "2001:db8::1", false},
        {"{deny: [10.0.0.0/8, \"2001:db8::/32\"]}", "192.0.2.1", true},
        {"{deny: [10.0.0.0/8]}", "::ffff:10.0.0.1", false},                   /* the same caller on another socket */
        {"{allow: [0.0.0.0/0, \"::/0\"]}", "2001:db8::1", true},
        {"{deny: [0.0.0.0/0]}", "unix", true},
        {"{allow: [0.0.0.0/0, \"::/0\"]}", "unix", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct arena arena;
        struct ip_access_options o;
        struct err err = {.text = ""};
        struct ip ip = {.family = 0};

        test_row("%s %s", rows[i].yaml, rows[i].ip);
        arena_init(&arena, NULL);
        if (!EXPECT_EQ(options_read(&arena, rows[i].yaml, &o, &err), 0))
            printf("%s\n", err.text);
        EXPECT(!strcmp(rows[i].ip, "unix") || ip_parse(str_c(rows[i].ip), &ip));
        EXPECT_EQ(ip_access_permits(&o, &ip), rows[i].permits);
        arena_fini(&arena);
    }
}

TEST(what_cannot_be_meant_is_refused)
{
    static const struct { const char *yaml, *error; } rows[] = {
        {"{}", "allow"}, {"{allow: [], deny: []}", "allow"}, {"{allow: [10.0.0.0/33]}", "10.0.0.0/33"},
        {"{allow: [example.com]}", "example.com"}, {"{permit: [10.0.0.0/8]}", "permit"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct arena arena;
        struct ip_access_options o;
        struct err err = {.text = ""};

        test_row("%s", rows[i].yaml);
        arena_init(&arena, NULL);
        EXPECT_EQ(options_read(&arena, rows[i].yaml, &o, &err), -1);
        if (!EXPECT(strstr(err.text, rows[i].error) != NULL))
            printf("%s\n", err.text);
        EXPECT_EQ(err.line, 1);
        arena_fini(&arena);
    }
}
