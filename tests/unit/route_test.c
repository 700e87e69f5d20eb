/* SPDX-License-Identifier: Apache-2.0 */
/* Which route a request takes: by table, and against a matcher that tries every route and compares all that match. */
#include "route_fixture.h"

#include "lib/rng.h"

struct row {
    const char *request, *route;                 /* NULL: none */
    bool other_method;
};

static void expect_rows(const char *lines, const struct row *rows, size_t n)
{
    struct routes rs;
    struct arena arena;

    arena_init(&arena, NULL);
    routes_from(&rs, lines);
    if (!EXPECT_EQ(routes_compile(&rs), 0))
        printf("    %s\n", rs.err.text);
    for (size_t i = 0; i < n && rs.snap.router; i++) {
        struct route_hit hit;
        memset(&hit, 0xaa, sizeof(hit));
        routes_find(&rs, &arena, str_c(rows[i].request), &hit);
        test_row("%s", rows[i].request);
        EXPECT_STR(hit.route ? hit.route->name : str_c(NULL), rows[i].route);
        EXPECT_EQ(hit.other_method, rows[i].other_method);
    }
    routes_fini(&rs);
    arena_fini(&arena);
}

#define EXPECT_ROWS(lines, ...)                                                   \
    do {                                                                          \
        static const struct row rows_[] = {__VA_ARGS__};                          \
        expect_rows(lines, rows_, array_len(rows_));                              \
    } while (0)

TEST(a_path_is_exact_or_a_subtree)
{
    EXPECT_ROWS("/a/b\n/a/b/\n/a/\n/\n/a/b/c",
                {"/a/b", "/a/b", false}, {"/a/b/", "/a/b/", false}, {"/a/b/d", "/a/b/", false},
                {"/a/b/c", "/a/b/c", false}, {"/a/b/c/", "/a/b/", false}, {"/a/bb", "/a/", false},
                {"/a/", "/a/", false}, {"/a", "/", false}, {"/", "/", false}, {"/aa/b", "/", false},
                {"/A/b", "/", false});
    EXPECT_ROWS("/a/b\n/c/",
                {"/", NULL, false}, {"/a", NULL, false}, {"/a/b/", NULL, false}, {"/c", NULL, false},
                {"/c/", "/c/", false}, {"/c/d/e/f", "/c/", false}, {"/cc/", NULL, false});
}

TEST(a_literal_comes_before_a_param_and_falls_back_to_it)
{
    EXPECT_ROWS("/users/:id\n/users/me\n/users/:id/posts\n/users/me/posts/\n/:any/me/x\n/users/",
                {"/users/me", "/users/me", false}, {"/users/7", "/users/:id", false},
                {"/users/me/posts", "/users/:id/posts", false}, {"/users/me/posts/1", "/users/me/posts/", false},
                {"/users/me/x", "/users/", false}, {"/users/7/x", "/users/", false}, {"/users/", "/users/", false},
                {"/users", NULL, false}, {"/other/me/x", "/:any/me/x", false}, {"/other/you/x", NULL, false});
}

TEST(a_param_takes_one_segment_that_is_not_empty)
{
    EXPECT_ROWS("/a/:x\n/b/:x/",
                {"/a/", NULL, false}, {"/a/1", "/a/:x", false}, {"/a/1/", NULL, false}, {"/a/1/2", NULL, false},
                {"/b/", NULL, false}, {"/b/1", NULL, false}, {"/b/1/", "/b/:x/", false}, {"/b/1/2/3", "/b/:x/", false});
}

TEST(hosts_exact_then_longest_suffix_then_any)
{
    EXPECT_ROWS("api.example.com/\n.example.com/\n.eu.example.com/\n/\n.org/",
                {"api.example.com/x", "api.example.com/", false}, {"API.Example.COM/x", "api.example.com/", false},
                {"b.example.com/x", ".example.com/", false}, {"a.b.example.com/x", ".example.com/", false},
                {"a.eu.example.com/x", ".eu.example.com/", false}, {"a.b.EU.example.com/x", ".eu.example.com/", false},
                {"eu.example.com/x", ".example.com/", false}, {"example.com/x", "/", false},
                {".example.com/x", "/", false}, {"badexample.com/x", "/", false}, {"x.org/", ".org/", false},
                {"1.2.3.4.5.6.7.8.9.org/", ".org/", false}, {"org/", "/", false}, {"/x", "/", false},
                {"::1/x", "/", false}, {"api.example.com.evil.net/x", "/", false}, {"..org/", ".org/", false},
                {"./", "/", false});
    EXPECT_ROWS("api.example.com/",
                {"/x", NULL, false}, {"other/x", NULL, false}, {"api.example.com/", "api.example.com/", false});
}

TEST(a_host_without_a_fitting_path_falls_back_to_the_next)
{
    EXPECT_ROWS("a.x.y/1\n.x.y/2\n.y/3\n/4\nPOST a.x.y/3",
                {"a.x.y/1", "a.x.y/1", false}, {"a.x.y/2", ".x.y/2", false}, {"a.x.y/3", ".y/3", false},
                {"a.x.y/4", "/4", false}, {"a.x.y/5", NULL, false}, {"POST a.x.y/3", "POST a.x.y/3", false});
}

TEST(methods_named_before_any_and_other_method)
{
    EXPECT_ROWS("/a\nGET,HEAD /a\nPOST /b\nPUT /b\nGET /c/d\nPOST /c/\nPOST h/e\nGET /e x=1",
                {"GET /a", "GET,HEAD /a", false}, {"HEAD /a", "GET,HEAD /a", false}, {"DELETE /a", "/a", false},
                {"PUT /b", "PUT /b", false}, {"GET /b", NULL, true}, {"get /a", "/a", false}, {"post /b", NULL, true},
                {"POST /c/d", "POST /c/", false}, {"GET /c/e", NULL, true}, {"GET /x", NULL, false},
                {"GET h/e", NULL, true}, {"GET h/e x=1", "GET /e x=1", false}, {"PUT /e", NULL, false},
                {"PUT /e x=1", NULL, true});
}

TEST(more_headers_first_then_file_order)
{
    EXPECT_ROWS("/a\n/a x=1\n/a x=*\n/a x=1 y=2\nGET /a\nPOST /a x=3",
                {"PUT /a", "/a", false}, {"PUT /a x=1", "/a x=1", false}, {"PUT /a X=1", "/a x=1", false},
                {"PUT /a x=2", "/a x=*", false}, {"PUT /a x=", "/a x=*", false}, {"PUT /a y=2", "/a", false},
                {"PUT /a y=2 x=1", "/a x=1 y=2", false}, {"GET /a x=1 y=2", "GET /a", false},
                {"POST /a x=1", "/a x=1", false}, {"POST /a x=3", "POST /a x=3", false});
    EXPECT_ROWS("GET,POST /a\nGET /a\n/b x=*\n/b x=1",
                {"GET /a", "GET,POST /a", false}, {"/b x=1", "/b x=*", false});
}

TEST(a_route_that_fails_by_header_gives_way_to_a_less_specific_one)
{
    EXPECT_ROWS("/a/b x=1\n/a/:p x=2\n/a/\n/ x=9",
                {"/a/b x=1", "/a/b x=1", false}, {"/a/b x=2", "/a/:p x=2", false}, {"/a/b", "/a/", false},
                {"/c x=9", "/ x=9", false}, {"/c", NULL, false});
}

TEST(one_route_for_everything)
{
    EXPECT_ROWS("/", {"/", "/", false}, {"DELETE h/a/b?", "/", false});
    EXPECT_ROWS("GET /", {"/", "GET /", false}, {"PUT /", NULL, true});
    EXPECT_ROWS("h/", {"h/x", "h/", false}, {"g/x", NULL, false});
    EXPECT_ROWS("/ x=*", {"/x", NULL, false}, {"/ x=1", "/ x=*", false});
}

TEST(an_asterisk_goes_to_the_root_subtree_alone)
{
    static const char *const sets[] = {"/", "/\n/a", "h/\n/a"};
    for (size_t i = 0; i < array_len(sets); i++) {
        struct routes rs;
        struct route_hit hit;
        routes_from(&rs, sets[i]);
        EXPECT_EQ(routes_compile(&rs), 0);
        route_find(rs.snap.router, STR("h"), STR("OPTIONS"), STR("*"), &(struct http_head){.n = 0}, &hit);
        EXPECT(hit.route == &rs.snap.routes[0]);
        EXPECT_EQ(hit.prefix_len, 0);
        routes_fini(&rs);
    }
}

static struct str param(const struct route_hit *hit, struct str name)
{
    for (unsigned i = 0; i < hit->n_params; i++)
        if (str_eq(hit->params[i].name, name))
            return hit->params[i].value;
    return (struct str){NULL, 0};
}

TEST(params_have_the_names_of_their_route)
{
    struct routes rs;
    struct route_hit hit;
    struct arena arena;

    arena_init(&arena, NULL);
    routes_from(&rs, "/:org/:repo/issues\nPOST /:owner/:name/issues\n/orgs/:id/none\n/t/:x/");
    EXPECT_EQ(routes_compile(&rs), 0);
    routes_find(&rs, &arena, STR("/orgs/weir/issues"), &hit);
    EXPECT_EQ(hit.n_params, 2);
    EXPECT_STR(param(&hit, STR("org")), "orgs");
    EXPECT_STR(param(&hit, STR("repo")), "weir");
    EXPECT_EQ(hit.prefix_len, 0);
    routes_find(&rs, &arena, STR("POST /a/b/issues"), &hit);
    EXPECT_STR(param(&hit, STR("owner")), "a");
    EXPECT_STR(param(&hit, STR("name")), "b");
    routes_find(&rs, &arena, STR("/t/abc/d/e"), &hit);
    EXPECT_EQ(hit.n_params, 1);
    EXPECT_STR(param(&hit, STR("x")), "abc");
    EXPECT_EQ(hit.prefix_len, strlen("/t/abc/"));
    routes_fini(&rs);
    arena_fini(&arena);
}

static void expect_rewrite(const char *line, const char *prefix, const char *to, const char *path, const char *wanted)
{
    struct routes rs;
    struct route_hit hit;

    routes_from(&rs, line);
    rs.snap.routes[0].rewrite.set = prefix || to;
    rs.snap.routes[0].rewrite.prefix = str_c(prefix);
    rs.snap.routes[0].rewrite.path = str_c(to);
    test_row("%s %s", line, path);
    EXPECT_EQ(routes_compile(&rs), 0);
    route_find(rs.snap.router, STR(""), STR("GET"), str_c(path), &(struct http_head){.n = 0}, &hit);
    EXPECT_STR(route_rewrite(&hit, str_c(path), &rs.snap.arena), wanted);
    routes_fini(&rs);
}

TEST(rewrite_prefix)
{
    expect_rewrite("/v1/", "/api", NULL, "/v1/x/y", "/api/x/y");
    expect_rewrite("/v1/", "/api/", NULL, "/v1/x/y/", "/api/x/y/");
    expect_rewrite("/v1/", "/api/", NULL, "/v1/", "/api/");
    expect_rewrite("/v1/", "/", NULL, "/v1/x", "/x");
    expect_rewrite("/v1/:id/", "/api", NULL, "/v1/7/x", "/api/x");
    expect_rewrite("/", "/api", NULL, "/x", "/api/x");
    expect_rewrite("/", "/api", NULL, "*", "*");
    expect_rewrite("/\n/b", "/api", NULL, "/x", "/api/x");
}

TEST(rewrite_whole_path)
{
    expect_rewrite("/users/:id", NULL, "/accounts/:id/profile", "/users/42", "/accounts/42/profile");
    expect_rewrite("/:a/:bb/", NULL, "/:bb/:a/", "/1/22/x", "/22/1/");
    expect_rewrite("/:a", NULL, "/:a/:a", "/%C3%A4", "/%C3%A4/%C3%A4");
    expect_rewrite("/a", NULL, "/x:y/b", "/a", "/x:y/b");
    expect_rewrite("/", NULL, "/fixed", "/any/thing", "/fixed");
}

TEST(without_a_rewrite_the_path_is_what_it_was)
{
    expect_rewrite("/users/:id", NULL, NULL, "/users/42", "/users/42");
    struct arena arena;
    arena_init(&arena, NULL);
    EXPECT_STR(route_rewrite(&(struct route_hit){.route = NULL}, STR("/x"), &arena), "/x");
    arena_fini(&arena);
}

/* ---- against a matcher that tries all ---- */

enum { ENDED, PARAM, LITERAL };

static bool path_segment(struct str path, unsigned i, struct str *out)
{
    struct str rest = str_of(path.at + 1, path.len - 1), tail;
    for (;; rest = tail) {
        *out = str_until(rest, '/', &tail);
        if (i-- == 0)
            return true;
        if (!tail.at)
            return false;
    }
}

static bool naive_path(struct str match, struct str path)
{
    struct str m, p;
    for (unsigned i = 0;; i++) {
        bool more_m = path_segment(match, i, &m), more_p = path_segment(path, i, &p);
        if (more_m && m.len == 0)
            return more_p;
        if (!more_m || !more_p)
            return more_m == more_p;
        if (m.at[0] == ':' ? p.len == 0 : !str_eq(m, p))
            return false;
    }
}

static bool naive_host(struct str match, struct str host)
{
    if (match.len == 0)
        return true;
    if (match.at[0] == '.')
        return host.len > match.len && str_ends_nocase(host, match);
    return str_eq_nocase(match, host);
}

static size_t host_rank(struct str match)
{
    return match.len == 0 ? 0 : match.at[0] == '.' ? match.len : 1000;
}

static int path_kind(struct str match, unsigned i)
{
    struct str m;
    if (!path_segment(match, i, &m) || m.len == 0)
        return ENDED;
    return m.at[0] == ':' ? PARAM : LITERAL;
}

/* Both match the same request. */
static bool naive_better(const struct route_conf *a, const struct route_conf *b)
{
    if (host_rank(a->match.host) != host_rank(b->match.host))
        return host_rank(a->match.host) > host_rank(b->match.host);
    for (unsigned i = 0; i < 8; i++)
        if (path_kind(a->match.path, i) != path_kind(b->match.path, i))
            return path_kind(a->match.path, i) > path_kind(b->match.path, i);
    if ((a->match.methods.n > 0) != (b->match.methods.n > 0))
        return a->match.methods.n > 0;
    if (a->match.headers.n != b->match.headers.n)
        return a->match.headers.n > b->match.headers.n;
    return a->index < b->index;
}

static bool naive_headers(const struct route_match *m, const struct route_match *q)
{
    for (size_t i = 0; i < m->headers.n; i++) {
        bool found = false;
        for (size_t j = 0; j < q->headers.n; j++)
            found |= str_eq_nocase(m->headers.v[i].key, q->headers.v[j].key)
                     && (str_eq(m->headers.v[i].value, STR("*"))
                         || str_eq(m->headers.v[i].value, q->headers.v[j].value));
        if (!found)
            return false;
    }
    return true;
}

static const struct route_conf *naive_find(const struct routes *rs, const struct route_match *q, bool *other)
{
    const struct route_conf *best = NULL;
    *other = false;
    for (size_t i = 0; i < rs->snap.n_routes; i++) {
        const struct route_conf *r = &rs->snap.routes[i];
        if (!naive_host(r->match.host, q->host) || !naive_path(r->match.path, q->path) || !naive_headers(&r->match, q))
            continue;
        bool fits = r->match.methods.n == 0;
        for (size_t m = 0; m < r->match.methods.n; m++)
            fits |= str_eq(r->match.methods.v[m], q->methods.v[0]);
        if (!fits)
            *other = true;
        else if (!best || naive_better(r, best))
            best = r;
    }
    *other &= !best;
    return best;
}

static const char *one_of(struct rng *rng, const char *const *v, size_t n) { return v[rng_below(rng, n)]; }
#define WORDS(...) ((const char *const[]){__VA_ARGS__})
#define ONE_OF(rng, ...) one_of(rng, WORDS(__VA_ARGS__), array_len(WORDS(__VA_ARGS__)))

static struct str random_route(struct rng *rng, char *out, size_t cap)
{
    size_t n = (size_t)snprintf(out, cap, "%s%s", ONE_OF(rng, "", "", "GET ", "POST ", "GET,PUT "),
                                ONE_OF(rng, "", "", "", ".x", "h.x", ".h.x", "g.h.x"));
    uint64_t depth = rng_below(rng, 5);
    for (uint64_t i = 0; i < depth; i++) {
        bool is_param = rng_below(rng, 3) == 0;
        n += (size_t)snprintf(out + n, cap - n, "/%s", is_param ? "" : ONE_OF(rng, "a", "b", "cc"));
        if (is_param)
            n += (size_t)snprintf(out + n, cap - n, ":%s%u", ONE_OF(rng, "p", "q"), (unsigned)i);
    }
    n += (size_t)snprintf(out + n, cap - n, "%s%s", depth == 0 || rng_below(rng, 3) == 0 ? "/" : "",
                          ONE_OF(rng, "", "", "", " x=1", " x=*", " x=1 y=1", " y=1"));
    return str_of(out, n);
}

static struct str random_request(struct rng *rng, char *out, size_t cap)
{
    size_t n = (size_t)snprintf(out, cap, "%s%s", ONE_OF(rng, "GET ", "POST ", "PUT "),
                                ONE_OF(rng, "", "x", "h.x", "g.h.x", "G.H.x", "f.x", "a.b.h.x"));
    uint64_t depth = rng_below(rng, 6);
    for (uint64_t i = 0; i < depth; i++)
        n += (size_t)snprintf(out + n, cap - n, "/%s", ONE_OF(rng, "a", "b", "cc", "d"));
    n += (size_t)snprintf(out + n, cap - n, "%s%s", depth == 0 || rng_below(rng, 3) == 0 ? "/" : "",
                          ONE_OF(rng, "", "", " x=1", " x=2", " x=1 y=1", " y=1"));
    return str_of(out, n);
}

static bool same_match(const struct route_conf *a, const struct route_conf *b)
{
    if (!str_eq(a->match.host, b->match.host) || a->match.methods.n != b->match.methods.n
        || a->match.headers.n != b->match.headers.n)
        return false;
    for (size_t i = 0; i < a->match.methods.n; i++)
        if (!str_eq(a->match.methods.v[i], b->match.methods.v[i]))
            return false;
    for (size_t i = 0; i < a->match.headers.n; i++)
        if (!str_eq(a->match.headers.v[i].key, b->match.headers.v[i].key)
            || !str_eq(a->match.headers.v[i].value, b->match.headers.v[i].value))
            return false;
    struct str s, t;
    for (unsigned i = 0;; i++) {
        bool more_s = path_segment(a->match.path, i, &s), more_t = path_segment(b->match.path, i, &t);
        if (!more_s || !more_t)
            return more_s == more_t;
        if (path_kind(a->match.path, i) != path_kind(b->match.path, i)
            || (path_kind(a->match.path, i) == LITERAL && !str_eq(s, t)))
            return false;
    }
}

static void check_params(const struct route_hit *hit, struct str path)
{
    unsigned n = 0;
    struct str m, p;
    for (unsigned i = 0; path_segment(hit->route->match.path, i, &m); i++) {
        if (m.len == 0 || m.at[0] != ':')
            continue;
        EXPECT(path_segment(path, i, &p));
        EXPECT_STR_EQ(hit->params[n].name, str_of(m.at + 1, m.len - 1));
        EXPECT_STR_EQ(hit->params[n].value, p);
        n++;
    }
    EXPECT_EQ(hit->n_params, n);
}

static void property_round(struct rng *rng, struct arena *arena)
{
    struct routes rs;
    char text[200];
    uint64_t n = 1 + rng_below(rng, 40);

    routes_init(&rs, n);
    for (uint64_t i = 0; i < n; i++) {
        const struct route_conf *r = routes_add(&rs, random_route(rng, text, sizeof(text)));
        for (size_t j = 0; j + 1 < rs.snap.n_routes; j++)
            if (same_match(&rs.snap.routes[j], r)) {
                rs.snap.n_routes--;
                break;
            }
    }
    if (!EXPECT_EQ(routes_compile(&rs), 0))
        printf("    %s\n", rs.err.text);
    for (unsigned i = 0; i < 100 && rs.snap.router; i++) {
        struct route_hit hit;
        struct route_conf q;
        bool other;
        struct str request = random_request(rng, text, sizeof(text));
        route_parse(arena, request, &q);
        struct str path = routes_find(&rs, arena, request, &hit);
        const struct route_conf *wanted = naive_find(&rs, &q.match, &other);
        test_row(STR_FMT, STR_ARG(request));
        EXPECT_STR_EQ(hit.route ? hit.route->name : STR("none"), wanted ? wanted->name : STR("none"));
        EXPECT_EQ(hit.other_method, other);
        if (!hit.route)
            continue;
        check_params(&hit, path);
        bool subtree = hit.route->match.path.at[hit.route->match.path.len - 1] == '/';
        EXPECT_EQ(hit.prefix_len > 0, subtree);
        EXPECT(!subtree || path.at[hit.prefix_len - 1] == '/');
    }
    routes_fini(&rs);
}

TEST(random_routes_and_requests_agree_with_a_matcher_that_tries_all)
{
    struct rng rng;

    rng_seed(&rng, 20260101);
    for (unsigned round = 0; round < 400; round++) {
        struct arena arena;
        arena_init(&arena, NULL);
        property_round(&rng, &arena);
        arena_fini(&arena);
    }
}

/* ---- what a look-up costs ---- */

static void many_init(struct routes *rs, unsigned n)
{
    char line[100];

    routes_init(rs, 3 * n + 2);
    for (unsigned i = 0; i < n; i++) {
        routes_add(rs, str_of(line, (size_t)snprintf(line, sizeof(line), "/svc%u/users/:id", i)));
        routes_add(rs, str_of(line, (size_t)snprintf(line, sizeof(line), "h%u.example.com/api/", i)));
        routes_add(rs, str_of(line, (size_t)snprintf(line, sizeof(line), "/svc%u/", i)));
    }
    routes_add(rs, STR(".example.com/static/"));
    EXPECT_EQ(routes_compile(rs), 0);
}

TEST(ten_thousand_routes_cost_what_ten_do)
{
    static const char *const requests[] = {
        "/svc3/users/42", "/svc4/other", "/none", "h1.example.com/api/x", "h1.example.com/static/x",
        "h2.example.com/svc2/users/1", "x.example.com/svc1/users/", "/svc1/users/2/3/4/5/6/7/8/9/0/1/2/3/4",
    };
    struct routes few, many;
    struct arena arena;

    arena_init(&arena, NULL);
    many_init(&few, 5);
    many_init(&many, 10000);
    for (size_t i = 0; i < array_len(requests); i++) {
        struct route_hit a, b;
        test_row("%s", requests[i]);
        routes_find(&few, &arena, str_c(requests[i]), &a);
        routes_find(&many, &arena, str_c(requests[i]), &b);
        EXPECT_EQ(!a.route, !b.route);
        if (a.route && b.route)
            EXPECT_STR_EQ(a.route->name, b.route->name);
        EXPECT_EQ(a.steps, b.steps);
        EXPECT(a.steps <= 7);
    }
    routes_fini(&few);
    routes_fini(&many);
    arena_fini(&arena);
}

TEST(hostile_hosts_and_paths_end_quickly)
{
    struct routes rs;
    struct route_hit hit;
    static char host[4000], path[60000];

    many_init(&rs, 5);
    memset(host, '.', sizeof(host));
    memset(path, '/', sizeof(path));
    for (size_t i = 0; i + 1 < sizeof(path); i += 2)
        path[i + 1] = 'a';
    for (size_t i = 0; i + 1 < sizeof(host); i += 2)
        host[i] = 'a';
    route_find(rs.snap.router, str_of(host, sizeof(host)), STR("GET"), str_of(path, sizeof(path)),
               &(struct http_head){.n = 0}, &hit);
    EXPECT(!hit.route);
    EXPECT(hit.steps <= 4);
    routes_fini(&rs);
}
