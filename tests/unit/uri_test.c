/* SPDX-License-Identifier: Apache-2.0 */
#include "http/uri.h"
#include "test.h"

TEST(paths)
{
    static const struct {
        const char *target, *path;      /* path NULL: refused; the same pointer value of text: same */
    } rows[] = {
        {"/", "/"}, {"/a/b", "/a/b"}, {"/a/b/", "/a/b/"}, {"*", "*"}, {"", "/"},
        {"//a//b//", "/a/b/"}, {"/./a", "/a"}, {"/a/.", "/a/"}, {"/a/..", "/"}, {"/a/../", "/"}, {"/a/b/../c", "/a/c"},
        {"/a//../b", "/b"}, {"/a/b/../..", "/"}, {"/.a/..b/...", "/.a/..b/..."}, {"/.", "/"}, {"/a./b../", "/a./b../"},
        {"/%61%2D%7e", "/a-~"}, {"/%2e%2E/a", NULL}, {"/a/%2e%2e/b", "/b"}, {"/a/.%2e", "/"},
        {"/%20%c3%A9", "/%20%C3%A9"},
        {"/%20", "/%20"}, {"/%252e%252e/", "/%252e%252e/"}, {"/%3Fa", "/%3Fa"}, {"/%3f", "/%3F"},
        {"/..", NULL}, {"/../a", NULL}, {"/a/../../b", NULL}, {"/%2f", NULL}, {"/%2F", NULL}, {"/a%5cb", NULL},
        {"/%00", NULL},
        {"/a\\b", NULL}, {"/%", NULL}, {"/%2", NULL}, {"/%zz", NULL}, {"/a b", NULL}, {"/a#b", NULL}, {"/\x80", NULL},
        {"/..;/a", NULL}, {"/a/..;x=y/b", NULL}, {"/.;", NULL}, {"/%2e%2e;/a", NULL}, {"/;v=1/a", "/;v=1/a"},
        {"/a;..", "/a;.."},
        {"a", NULL}, {"*a", NULL}, {"*?a", NULL},
        {"/a:b@c!$&'()*+,;=", "/a:b@c!$&'()*+,;="},
    };
    struct arena arena;

    arena_init(&arena, NULL);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct str path = {NULL, 0}, query = {NULL, 0}, in = str_c(rows[i].target), again;
        test_row("%s", rows[i].target);
        enum uri_result r = uri_normalise(&arena, in, &path, &query);
        EXPECT_EQ(r == URI_BAD, !rows[i].path);
        EXPECT_STR(path, rows[i].path);
        if (r == URI_BAD)
            continue;
        EXPECT_EQ(r, !strcmp(rows[i].target, rows[i].path) ? URI_SAME : URI_OK);
        EXPECT_EQ(path.at == in.at, r == URI_SAME);
        EXPECT_EQ(uri_normalise(&arena, path, &again, &query), URI_SAME);
        EXPECT_STR_EQ(again, path);
    }
    arena_fini(&arena);
}

TEST(queries_are_split_off_and_kept)
{
    static const struct {
        const char *target, *path, *query;
    } rows[] = {
        {"/a?b=c", "/a", "b=c"}, {"/a?", "/a", ""}, {"/a", "/a", NULL}, {"?x=1", "/", "x=1"},
        {"/a//b?/../%2f?", "/a/b", "/../%2f?"},
    };
    struct arena arena;

    arena_init(&arena, NULL);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct str path, query;
        test_row("%s", rows[i].target);
        EXPECT(uri_normalise(&arena, str_c(rows[i].target), &path, &query) != URI_BAD);
        EXPECT_STR(path, rows[i].path);
        EXPECT_STR(query, rows[i].query);
    }
    arena_fini(&arena);
}

TEST(authorities)
{
    static const struct {
        const char *text, *host;        /* host NULL: refused */
        unsigned port;
    } rows[] = {
        {"a", "a", 0}, {"a:80", "a", 80}, {"a:", "a", 0}, {"a:000080", "a", 80},
        {"A-b_c~d.example.", "A-b_c~d.example", 0},
        {"a.:1", "a", 1}, {"127.0.0.1:9100", "127.0.0.1", 9100}, {"[::1]", "::1", 0},
        {"[2001:db8::1]:443", "2001:db8::1", 443},
        {"[::ffff:1.2.3.4]", "::ffff:1.2.3.4", 0}, {"2130706433", "2130706433", 0},
        {"", NULL, 0}, {".", NULL, 0}, {":80", NULL, 0}, {"a:0", NULL, 0}, {"a:65536", NULL, 0},
        {"a:99999999999999999999", NULL, 0},
        {"a:-1", NULL, 0}, {"a:8x", NULL, 0}, {"a:80:80", NULL, 0}, {"[::1", NULL, 0}, {"[::1]x", NULL, 0},
        {"[g::1]", NULL, 0},
        {"[]", NULL, 0}, {"[::1%25eth0]", NULL, 0}, {"[v1.a]", NULL, 0}, {"[1.2.3.4]", NULL, 0}, {"::1", NULL, 0},
        {"u@a", NULL, 0},
        {"a b", NULL, 0}, {"a,b", NULL, 0}, {"a/b", NULL, 0}, {"a?b", NULL, 0}, {"a#b", NULL, 0}, {"a\\b", NULL, 0},
        {"a%2eb", NULL, 0},
        {"a..b", NULL, 0}, {".a", NULL, 0}, {"a..", NULL, 0}, {"\xc3\xa9", NULL, 0}, {"a\x7f", NULL, 0},
        {"{a}", NULL, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct str host = {NULL, 0};
        unsigned port = 0;
        test_row("%s", rows[i].text);
        bool ok = uri_split_authority(str_c(rows[i].text), &host, &port);
        EXPECT_EQ(ok, rows[i].host != NULL);
        EXPECT_EQ(uri_is_authority(str_c(rows[i].text)), ok);
        if (ok) {
            EXPECT_STR(host, rows[i].host);
            EXPECT_EQ(port, rows[i].port);
        }
    }
    char text[257];
    memset(text, 'a', sizeof(text));
    EXPECT(uri_is_authority(str_of(text, 255)));
    EXPECT(!uri_is_authority(str_of(text, 256)));
    EXPECT(!uri_is_authority(STR("a\0b")));
}

TEST(the_same_authority)
{
    EXPECT(uri_same_authority(STR("A.test"), STR("a.TEST."), 80));
    EXPECT(uri_same_authority(STR("a:80"), STR("a"), 80));
    EXPECT(!uri_same_authority(STR("a:80"), STR("a"), 443));
    EXPECT(!uri_same_authority(STR("a"), STR("b"), 80));
    EXPECT(!uri_same_authority(STR("a@b"), STR("a@b"), 80));
}

TEST(query_parameters)
{
    static const struct {
        const char *query, *name, *value;
    } rows[] = {
        {"a=1&b=2", "a", "1"}, {"a=1&b=2", "b", "2"}, {"a=1&a=2", "a", "1"}, {"a", "a", ""}, {"a=", "a", ""},
        {"&&a=1&", "a", "1"},
        {"ab=1&a=2", "a", "2"}, {"a=1", "ab", NULL}, {"", "a", NULL}, {"a=b=c", "a", "b=c"}, {"%61=1", "a", "1"},
        {"a%=1", "a%", "1"},
        {"a+b=%20", "a b", "%20"}, {"b=a", "a", NULL}, {"=1", "", "1"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct str value = {NULL, 0};
        test_row("%s of %s", rows[i].name, rows[i].query);
        EXPECT_EQ(uri_query_get(str_c(rows[i].query), str_c(rows[i].name), &value), rows[i].value != NULL);
        EXPECT_STR(value, rows[i].value);
    }
}

TEST(a_parameter_that_means_one_thing_to_all)
{
    static const struct {
        const char *query, *value;
        bool repeated;
    } rows[] = {
        {"a=1&b=2", "1", false}, {"b=2&a=1", "1", false}, {"a", "", false}, {"", NULL, false}, {NULL, NULL, false},
        {"b=1", NULL, false}, {"&&a=1&&", "1", false}, {"a=b=c", "b=c", false}, {"%61=1", "1", false},
        {"a=1&a=1", "1", true}, {"a=1&%61=2", "1", true}, {"a&a", "", true}, {"a=1&b=2&a", "1", true},
        {"a=1;b=2", "1", true}, {"b=2;a=1", "1", true}, {"b=1;c=2&a=1", "1", false}, {"a=1&b=1;a=2", "1", true},
        {"a=1;", "1", true}, {";a=1", "1", true}, {"a=%3B", "%3B", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct str value = {NULL, 0};
        bool repeated;
        test_row("%s", rows[i].query ? rows[i].query : "absent");
        EXPECT_EQ(uri_query_get_once(str_c(rows[i].query), STR("a"), &value, &repeated), rows[i].value != NULL);
        EXPECT_STR(value, rows[i].value);
        EXPECT_EQ(repeated, rows[i].repeated);
    }
}

TEST(decoded_parameters)
{
    static const struct {
        const char *raw, *decoded;
    } rows[] = {
        {"", ""}, {"abc", "abc"}, {"a+b", "a b"}, {"%61%2B%2b", "a++"}, {"%", "%"}, {"%4", "%4"}, {"%zz%41", "%zzA"},
        {"%%41", "%A"}, {"%C3%A9%7f", "\xc3\xa9\x7f"}, {"+%20+", "   "},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct str raw = str_c(rows[i].raw);
        char out[40];
        test_row("%s", rows[i].raw);
        EXPECT_STR(str_of(out, uri_query_decode(raw, out)), rows[i].decoded);
        EXPECT_EQ(uri_query_is_encoded(raw), strchr(rows[i].raw, '%') || strchr(rows[i].raw, '+'));
    }
    char nul[3];
    EXPECT_STR_EQ(str_of(nul, uri_query_decode(STR("%00"), nul)), STR("\0"));
}

TEST(a_segment_is_decoded)
{
    static const struct { const char *raw, *text; } rows[] = {
        {"", ""}, {"abc", "abc"}, {"a%40b", "a@b"}, {"%c3%A9", "\xc3\xa9"}, {"a+b", "a+b"}, {"%2B+", "++"}, {"%2", "%2"},
        {"%zz%", "%zz%"}, {"%2541", "%41"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        char out[20];
        test_row("%s", rows[i].raw);
        EXPECT_STR(str_of(out, uri_segment_decode(str_c(rows[i].raw), out)), rows[i].text);
    }
}
