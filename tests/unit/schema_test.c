/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration holds once it is loaded. What is refused, and how: conf_files_test.c. */
#include "conf_fixture.h"

#include <arpa/inet.h>
#include <time.h>
#include "lib/clock.h"

TEST(defaults_are_those_of_the_manual)
{
    set = shared_set_new();
    struct snapshot *s = load(HEAD "upstreams: {a: {endpoints: http://A.example}}\nroutes:\n- {match: /x/, upstream: a}\n");
    if (!s)
        return;
    EXPECT_EQ(s->generation, 1);
    EXPECT_EQ(s->workers, 0);
    EXPECT_EQ(s->log_to, LOG_TO_STDOUT);
    EXPECT_EQ(s->drain_delay, 0);
    EXPECT_EQ(s->drain_timeout, 8 * NSEC_PER_SEC);
    EXPECT(!s->has_admin);
    EXPECT_EQ(s->probes.at.len, 0);
    EXPECT_EQ(s->n_listens, 1);
    EXPECT_EQ(s->listens[0].header_timeout, 10 * NSEC_PER_SEC);
    EXPECT_EQ(s->listens[0].body_timeout, 30 * NSEC_PER_SEC);
    EXPECT_EQ(s->listens[0].keepalive_timeout, 75 * NSEC_PER_SEC);
    EXPECT(!s->listens[0].half_close_keep);
    const struct upstream_conf *u = &s->upstreams[0];
    EXPECT_EQ(u->host_mode, HOST_CLIENT);
    EXPECT_EQ(u->balance, BALANCE_LEAST_REQUESTS);
    EXPECT_EQ(u->connect_timeout, 2 * NSEC_PER_SEC);
    EXPECT_EQ(u->first_byte_timeout, 30 * NSEC_PER_SEC);
    EXPECT_EQ(u->idle_timeout, 30 * NSEC_PER_SEC);
    EXPECT_EQ(u->tunnel_timeout, 3600 * NSEC_PER_SEC);
    EXPECT_EQ(u->pool_idle, 4 * NSEC_PER_SEC);
    EXPECT_EQ(u->pool_max, 256);
    EXPECT_STR(u->endpoints[0].host, "a.example");
    EXPECT_STR(u->endpoints[0].authority, "a.example");
    EXPECT_EQ(u->endpoints[0].port, 80);
    EXPECT_EQ(u->endpoints[0].address.len, 0);
    EXPECT_EQ(s->routes[0].upstream, u);
    EXPECT_STR(s->routes[0].name, "/x/");
    EXPECT_EQ(s->routes[0].total_timeout, 60 * NSEC_PER_SEC);
    EXPECT_EQ(s->routes[0].max_body, 0);
    snapshot_unref(&s);
    EXPECT(s == NULL);
    shared_set_free(set);
}

TEST(endpoints_by_number_and_path)
{
    set = shared_set_new();
    struct snapshot *s = load(HEAD "upstreams: {a: {endpoints: [\"http://[::1]:9\", http://10.0.0.1, unix:/r/a]}}\n"
                              "routes: [{match: /, upstream: a}]\n");
    if (!s)
        return;
    const struct endpoint_conf *e = s->upstreams[0].endpoints;
    EXPECT_STR(e[0].host, "::1");
    EXPECT_STR(e[0].authority, "[::1]:9");
    EXPECT_EQ(e[0].address.sa.sa_family, AF_INET6);
    EXPECT_EQ(e[0].address.in6.sin6_port, htons(9));
    EXPECT_STR(e[1].authority, "10.0.0.1");
    EXPECT_EQ(e[1].address.in.sin_addr.s_addr, htonl(0x0a000001));
    EXPECT_EQ(e[2].address.sa.sa_family, AF_UNIX);
    EXPECT_CSTR(e[2].address.un.sun_path, "/r/a");
    EXPECT_STR(e[2].authority, "localhost");
    EXPECT_STR(e[2].host, "");
    snapshot_unref(&s);
    shared_set_free(set);
}

TEST(defined_instances_are_shared_and_inline_ones_are_not)
{
    set = shared_set_new();
    struct snapshot *s = load(HEAD "define: {one: {limit: {max: 5, mode: shadow}}, unused: {limit: {max: 1}}}\nroutes:\n"
        "- {match: /a, respond: {}, filters: [one, {limit: {max: 6}}]}\n"
        "- {match: /b, respond: {}, filters: [{limit: {max: 7, name: mine}}, one, bodies]}\n");
    if (!s)
        return;
    const struct chain_conf *a = &s->routes[0].filters, *b = &s->routes[1].filters;
    EXPECT_EQ(s->n_instances, 4);
    EXPECT_EQ(a->n, 2);
    EXPECT_EQ(a->v[0], b->v[1]);
    EXPECT(a->v[0]->shadow);
    EXPECT(!a->v[1]->shadow);
    EXPECT_STR(a->v[0]->name, "one");
    EXPECT_STR(a->v[1]->name, "route /a limit");
    EXPECT_STR(b->v[0]->name, "mine");
    EXPECT_EQ(((struct limit_state *)a->v[1]->shared)->max, 6);
    EXPECT_EQ(((struct limit_state *)a->v[0]->shared)->adopted, 1);
    EXPECT_EQ(((struct limit_state *)a->v[0]->shared)->last_now, 7);
    for (unsigned i = 0; i < s->n_instances; i++)
        EXPECT_EQ(s->instances[i]->slot, i);
    EXPECT(!a->request_body && !a->resizes_body && a->keep_body == 0);
    EXPECT(b->request_body && b->response_body && b->resizes_body && b->resizes_request_body);
    EXPECT_EQ(b->keep_body, 100);
    EXPECT(b->v[2]->shared == NULL);
    snapshot_unref(&s);
    shared_set_free(set);
}

TEST(filters_stand_where_they_may)
{
    set = shared_set_new();
    load_or_fail("version: 1\nlisten: {at: 127.0.0.1:80, filters: [user]}\nroutes: [{match: /, respond: {}}]\n",
                 "2:38: user may not stand on a listener; only on a route or an upstream");
    load_or_fail(HEAD "define: {a: auth}\nupstreams: {u: {endpoints: http://u, filters: [a]}}\n"
                 "routes: [{match: /, upstream: u}]\n",
                 "4:48: auth may not stand on an upstream; only on a listener or a route");
    shared_set_free(set);
}

TEST(matches_and_rewrites)
{
    set = shared_set_new();
    struct snapshot *s = load(HEAD "upstreams: {u: {endpoints: http://u}}\nroutes:\n"
        "- {match: {path: \"/a/:id\", host: .Example.COM, method: [PUT, GET], header: {X-B: \"1\"}}, upstream: u, rewrite: /b/:id}\n"
        "- {match: /c/, upstream: u, rewrite: {prefix: /}}\n"
        "- {match: /ping, respond: {status: 404, headers: {X-A: b}, body: no}}\n");
    if (!s)
        return;
    const struct route_conf *r = s->routes;
    EXPECT_STR(r[0].name, "GET,PUT .example.com/a/:id x-b=1");
    EXPECT_STR(r[0].match.host, ".example.com");
    EXPECT_EQ(r[0].match.methods.n, 2);
    EXPECT(r[0].rewrite.set);
    EXPECT_STR(r[0].rewrite.path, "/b/:id");
    EXPECT_STR(r[1].rewrite.prefix, "/");
    EXPECT_EQ(r[1].index, 1);
    EXPECT(r[2].respond.set && !r[2].upstream);
    EXPECT_EQ(r[2].respond.status, 404);
    EXPECT_STR(r[2].respond.headers.v[0].key, "X-A");
    EXPECT_STR(r[2].respond.body, "no");
    snapshot_unref(&s);
    shared_set_free(set);
}

/* "head", `n` times "piece" with numbers put in, "tail": how it is refused, or "". */
static const char *refusal_of_many(const char *head, const char *piece, unsigned n, const char *tail)
{
    static char text[40000];
    static struct err err;
    size_t len = (size_t)snprintf(text, sizeof(text), "%s", head);

    for (unsigned i = 0; i < n; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, piece, i);
    snprintf(text + len, sizeof(text) - len, "%s", tail);
    set = shared_set_new();
    struct snapshot *s = snapshot_from(text, "t", filters_all, set, 1, &err);
    EXPECT_EQ(s != NULL, err.text[0] == '\0');
    snapshot_unref(&s);
    shared_set_free(set);
    return err.text;
}

/* What is compared pairwise or held by every route has a cap, so that a hostile file costs no minutes and gigabytes. */
TEST(matches_and_answers_have_caps)
{
    static const struct { const char *head, *piece, *tail; unsigned most; const char *text; } rows[] = {
        {HEAD "routes: [{match: {path: /, method: [", "M%u,", "]}, respond: {}}]\n", 64, "more than 64 methods"},
        {HEAD "routes: [{match: {path: /, header: {", "h%u: v,", "}}, respond: {}}]\n", 100, "more than 100, which"},
        {HEAD "routes: [{match: /, respond: {headers: {", "h%u: v,", "}}}]\n", 100, "more than 100"},
        {HEAD "routes: [{match: /", "a", ", respond: {}}]\n", 8191, "is longer than 8192 bytes"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        EXPECT_CSTR(refusal_of_many(rows[i].head, rows[i].piece, rows[i].most, rows[i].tail), "");
        EXPECT(strstr(refusal_of_many(rows[i].head, rows[i].piece, rows[i].most + 1, rows[i].tail), rows[i].text) != NULL);
    }
}

/* What each of many does must not cost as much as there are others: these took minutes, or would have. */
TEST(many_by_many)
{
    static const struct { const char *what, *head, *first, *middle, *second; unsigned n; size_t errors; } rows[] = {
        {"one unknown upstream, by alias", HEAD "upstreams:\n", "  upstream_number_%u: {endpoints: http://a}\n",
         "routes:\n- {match: /, upstream: &x upstream_nimber_z}\n", "- {match: /%u, upstream: *x}\n", 30000, 1},
        {"one unknown filter, by alias", HEAD "define:\n", "  filter_number_%u: request_id\n",
         "routes:\n- {match: /, respond: {}, filters: [&x filter_nimber_z]}\n", "- {match: /%u, respond: {}, filters: [*x]}\n", 30000, 1},
        {"a list of filters", HEAD "define:\n", "  f%u: request_id\n", "routes:\n- match: /\n  respond: {}\n  filters:\n", "  - f%u\n",
         200000, 0},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct diags diags = {.n = 0};
        struct page text = {0};
        struct snapshot *s = NULL;

        test_row("%s", rows[i].what);
        page_printf(&text, "%s", rows[i].head);
        for (unsigned k = 0; k < rows[i].n; k++)
            page_printf(&text, rows[i].first, k);
        page_printf(&text, "%s", rows[i].middle);
        for (unsigned k = 0; k < rows[i].n; k++)
            page_printf(&text, rows[i].second, k);
        clock_t before = clock();
        EXPECT_EQ(snapshot_load_text(str_of(text.at, text.len), "t", filters_all, &diags, &s), rows[i].errors ? -1 : 0);
        EXPECT((clock() - before) / CLOCKS_PER_SEC < 10);          /* 0.5 s without sanitizers on an idle machine */
        EXPECT_EQ(diags.errors, rows[i].errors);
        page_free(&text);
        snapshot_unref(&s);
        diags_fini(&diags);
    }
}

/* Everything is wrong: told in a bounded list, in about the time that a good file takes. */
TEST(ten_thousand_wrong_routes)
{
    static const struct { const char *what, *head, *each, *tail, *said; } rows[] = {
        {"values", HEAD "routes:\n", "- {match: v%u, respond: {status: 99}, timeout: 30}\n", "", "error E029: match: \"v0\" must begin"},
        {"same match", HEAD "routes:\n", "- {match: /, respond: {}} # %u\n", "", "error E050: the route at line 4 has the same match"},
        {"same name", HEAD "routes:\n", "- {match: /%u, name: x, respond: {}}\n", "", "error E040: the name \"x\" is taken"},
        {"unknown upstreams", HEAD "upstreams: {some_upstream: {endpoints: http://a}}\nroutes:\n",
         "- {match: /%u, upstream: some_upstraem}\n", "", "unknown upstream \"some_upstraem\"; did you mean \"some_upstream\"?"},
        {"upstreams", HEAD "upstreams:\n", "  upstream_number_%u: {endpoints: 5, balanc: x, filters: [nothing]}\n", "routes: []\n",
         "unknown key \"balanc\"; did you mean \"balance\"?"},
        {"definitions", HEAD "define:\n", "  d%u: {request_ids: {}}\n", "routes: []\n", "did you mean \"request_id\"?"},
        {"one filter's name", HEAD "routes:\n", "- {match: /%u, respond: {}, filters: [{request_id: {name: x}}]}\n", "",
         "error E040: the name \"x\" is taken by a filter at line 4"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct diags diags = {.n = 0};
        struct page text = {0}, said = {0};
        struct snapshot *s = NULL;

        test_row("%s", rows[i].what);
        page_printf(&text, "%s", rows[i].head);
        for (unsigned k = 0; k < 10000; k++)
            page_printf(&text, rows[i].each, k);
        page_printf(&text, "%s", rows[i].tail);
        clock_t before = clock();
        EXPECT_EQ(snapshot_load_text(str_of(text.at, text.len), "t", filters_all, &diags, &s), -1);
        EXPECT((clock() - before) / CLOCKS_PER_SEC < 10);          /* 0.1 s without sanitizers on an idle machine */
        EXPECT(s == NULL && diags.errors >= 9999 && diags.n <= DIAGS_MAX);
        diags_print(&diags, &said);
        EXPECT(strstr(said.at, rows[i].said) && strstr(said.at, " more errors\n"));
        EXPECT(said.len < 100000);
        page_free(&text);
        page_free(&said);
        diags_fini(&diags);
    }
}
