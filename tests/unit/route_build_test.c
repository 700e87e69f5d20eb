/* SPDX-License-Identifier: Apache-2.0 */
/* What a set of routes may not be, and what the error tells its author. */
#include "route_fixture.h"

static void expect_error(const char *lines, const char *part)
{
    struct routes rs;

    routes_from(&rs, lines);
    test_row("%s", lines);
    EXPECT_EQ(routes_compile(&rs), -1);
    if (!EXPECT(strstr(rs.err.text, part)))
        printf("    %s\n", rs.err.text);
    EXPECT(!rs.snap.router);
    routes_fini(&rs);
}

static void expect_fine(const char *lines)
{
    struct routes rs;

    routes_from(&rs, lines);
    test_row("%s", lines);
    if (!EXPECT_EQ(routes_compile(&rs), 0))
        printf("    %s\n", rs.err.text);
    EXPECT(rs.snap.router);
    routes_fini(&rs);
}

TEST(the_same_match_twice_names_both)
{
    static const struct { const char *lines, *error; } rows[] = {
        {"/a\n/b\n/a", "routes \"/a\" and \"/a\""},
        {"/:x/y\n/:z/y", "routes \"/:x/y\" and \"/:z/y\""},
        {"GET,POST /a\nPOST,GET /a", "routes \"GET,POST /a\" and \"POST,GET /a\""},
        {"GET /a\nGET,GET /a", "routes \"GET /a\" and \"GET,GET /a\""},
        {"/a x=1 y=2\n/a y=2 X=1", "routes \"/a x=1 y=2\" and \"/a y=2 X=1\""},
        {"h.example/a\nh.example/b/\nH.example/a", "routes \"h.example/a\" and \"H.example/a\""},
        {"/\nGET /\n/ x=*\nGET / x=*\n/", "routes \"/\" and \"/\""},
        {".x/a\n.X/a", "routes \".x/a\" and \".X/a\""},
    };
    for (size_t i = 0; i < array_len(rows); i++)
        expect_error(rows[i].lines, rows[i].error);
}

TEST(what_differs_in_anything_may_stand_side_by_side)
{
    expect_fine("/a\n/a/\nh/a\n.h/a\nGET /a\nPOST /a\nGET,POST /a\n/a x=1\n/a x=2\n/a x=*\n/a y=1\n/a x=1 y=1\n"
                "/:a\n/:a/");
    expect_fine("/a x=yz\n/a xy=z");
}

TEST(a_path_that_can_never_be_matched_is_an_error)
{
    static const struct { const char *lines, *error; } rows[] = {
        {"/a//b", "write \"/a/b\""},
        {"/a/./b", "write \"/a/b\""},
        {"/%61", "write \"/a\""},
        {"/a/../b/", "write \"/b/\""},
        {"/%c3", "write \"/%C3\""},
        {"/a%2fb", "no legal path"},
        {"/..", "no legal path"},
        {"/a?b", "no \"?\""},
        {"/a#b", "no \"#\""},
        {"/a/:", "names no :param"},
        {"/:a.b", "names no :param"},
        {"/:a/:b/:a", "\":a\" stands twice"},
        {"/:a/:b/:c/:d/:e/:f/:g/:h/:i/:j/:k/:l/:m/:n/:o/:p/:q", "more than 16 :params"},
    };
    for (size_t i = 0; i < array_len(rows); i++)
        expect_error(rows[i].lines, rows[i].error);
    expect_fine("/:a/:b/:c/:d/:e/:f/:g/:h/:i/:j/:k/:l/:m/:n/:o/:p");
    expect_fine("/v1/models/gemini:generate\n/a%C3%A4\n/a;b=c\n/~x");
}

TEST(a_path_without_a_leading_slash_is_an_error)
{
    static const char *const paths[] = {"", "a", "*"};
    for (size_t i = 0; i < array_len(paths); i++) {
        struct routes rs;
        routes_from(&rs, "/x");
        rs.snap.routes[0].match.path = str_c(paths[i]);
        EXPECT_EQ(routes_compile(&rs), -1);
        EXPECT(strstr(rs.err.text, "must start with \"/\""));
        routes_fini(&rs);
    }
}

TEST(a_path_has_no_more_segments_than_a_walk_may_recurse)
{
    for (size_t n = ROUTE_SEGMENTS_MAX; n <= ROUTE_SEGMENTS_MAX + 1; n++) {
        char path[2 * ROUTE_SEGMENTS_MAX + 3] = "";
        for (size_t i = 0; i < n; i++)
            memcpy(path + 2 * i, "/a", 2);
        if (n == ROUTE_SEGMENTS_MAX)
            expect_fine(path);
        else
            expect_error(path, "more than 64 segments");
    }
}

/* All 2^levels ways to write a path of literals "a" and :params. */
static void overlap_init(struct routes *rs, unsigned levels)
{
    routes_init(rs, (size_t)1 << levels);
    for (unsigned bits = 0; bits < 1u << levels; bits++) {
        char path[100];
        size_t len = 0;
        for (unsigned i = 0; i < levels; i++)
            len += (size_t)snprintf(path + len, sizeof(path) - len, bits >> i & 1 ? "/:p%u" : "/a", i);
        routes_add(rs, str_of(path, len));
    }
}

TEST(paths_that_overlap_without_bound_are_an_error)
{
    struct routes rs;

    overlap_init(&rs, 7);
    EXPECT_EQ(routes_compile(&rs), 0);
    routes_fini(&rs);

    overlap_init(&rs, 8);
    EXPECT_EQ(routes_compile(&rs), -1);
    EXPECT(strstr(rs.err.text, "overlap too much"));
    routes_fini(&rs);
}

TEST(the_bound_on_overlap_holds)
{
    struct routes rs;
    struct route_hit hit;

    overlap_init(&rs, 7);
    EXPECT_EQ(routes_compile(&rs), 0);
    struct str path = STR("/a/a/a/a/a/a/a/none");
    route_find(rs.snap.router, STR("h"), STR("GET"), path, &(struct http_head){.n = 0}, &hit);
    EXPECT(!hit.route);
    EXPECT(hit.steps > 200 && hit.steps <= ROUTE_STEPS_MAX);
    routes_fini(&rs);
}

static void expect_rewrite(const char *line, const char *prefix, const char *path, const char *error)
{
    struct routes rs;

    routes_from(&rs, line);
    rs.snap.routes[0].rewrite.set = true;
    rs.snap.routes[0].rewrite.prefix = str_c(prefix);
    rs.snap.routes[0].rewrite.path = str_c(path);
    test_row("%s prefix %s path %s", line, prefix ? prefix : "-", path ? path : "-");
    EXPECT_EQ(routes_compile(&rs), error ? -1 : 0);
    if (error && !EXPECT(strstr(rs.err.text, error)))
        printf("    %s\n", rs.err.text);
    routes_fini(&rs);
}

TEST(a_rewrite_must_fit_its_match)
{
    expect_rewrite("/a/", "/b", NULL, NULL);
    expect_rewrite("/a/", "/", NULL, NULL);
    expect_rewrite("/a/:id", NULL, "/x/:id/y", NULL);
    expect_rewrite("/a", "/b", NULL, "does not end with \"/\"");
    expect_rewrite("/a/", "b", NULL, "must start with \"/\"");
    expect_rewrite("/a/", NULL, NULL, "must start with \"/\"");
    expect_rewrite("/a/:id", NULL, "/x/:name", "\":name\", which path \"/a/:id\" does not have");
    expect_rewrite("/a/", "/b?c", NULL, "may hold no");
    expect_rewrite("/a/", "/b c", NULL, "may hold no");
    expect_rewrite("/a", NULL, "/b\r\nx: y", "may hold no");
    expect_rewrite("/a", NULL, "/\xc3\xa4", "may hold no");
}

TEST(no_routes_are_fine_and_match_nothing)
{
    struct routes rs;
    struct route_hit hit;

    routes_from(&rs, "");
    EXPECT_EQ(routes_compile(&rs), 0);
    route_find(rs.snap.router, STR("h"), STR("GET"), STR("/"), &(struct http_head){.n = 0}, &hit);
    EXPECT(!hit.route && !hit.other_method);
    routes_fini(&rs);
}

TEST(ten_thousand_routes_at_one_place_are_checked_quickly_and_exactly)
{
    for (int twice = 0; twice < 2; twice++) {
        struct routes rs;
        char line[60];
        routes_init(&rs, 10001);
        for (int i = 0; i < 10000; i++)
            routes_add(&rs, str_of(line, (size_t)snprintf(line, sizeof(line), "/a x-tenant=t%d", i)));
        if (twice)
            routes_add(&rs, STR("/a x-tenant=t5000"));
        EXPECT_EQ(routes_compile(&rs), twice ? -1 : 0);
        EXPECT(!twice || strstr(rs.err.text, "t5000"));
        routes_fini(&rs);
    }
}
