/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ROUTE_FIXTURE_H
#define ROUTE_FIXTURE_H

/*
 * Routes from one line each, "[METHOD,METHOD ][HOST]/PATH[ HEADER=VALUE]...", which is the route's name too; and
 * requests from the same kind of line, with one method.
 */
#include "diag_fixture.h"

#include "lib/mem.h"
#include "route.h"

struct routes {
    struct snapshot snap;
    struct err err;
    size_t room;
};

static inline bool word_next(struct str *rest, struct str *word, char sep)
{
    while (rest->len > 0 && rest->at[0] == sep)
        *rest = str_of(rest->at + 1, rest->len - 1);
    size_t len = 0;
    while (len < rest->len && rest->at[len] != sep)
        len++;
    *word = str_of(rest->at, len);
    *rest = str_of(rest->at + len, rest->len - len);
    return len > 0;
}

/* Splits at the first `c`, which is dropped; everything is `before` when there is none. */
static inline struct str str_until(struct str s, char c, struct str *after)
{
    const char *at = s.len > 0 ? memchr(s.at, c, s.len) : NULL;
    size_t len = at ? (size_t)(at - s.at) : s.len;
    *after = at ? str_of(at + 1, s.len - len - 1) : (struct str){NULL, 0};
    return str_of(s.at, len);
}

static inline void route_parse(struct arena *arena, struct str spec, struct route_conf *r)
{
    struct str rest = spec, word, method;

    memset(r, 0, sizeof(*r));
    r->name = spec;
    r->match.methods.v = arena_zalloc(arena, 20 * sizeof(struct str));
    r->match.headers.v = arena_zalloc(arena, 20 * sizeof(struct pair));
    word_next(&rest, &word, ' ');
    if (!memchr(word.at, '/', word.len)) {
        while (word_next(&word, &method, ','))
            r->match.methods.v[r->match.methods.n++] = method;
        word_next(&rest, &word, ' ');
    }
    r->match.host = str_until(word, '/', &method);
    r->match.path = str_of(word.at + r->match.host.len, word.len - r->match.host.len);
    while (word_next(&rest, &word, ' ')) {
        struct pair *p = &r->match.headers.v[r->match.headers.n++];
        p->key = str_until(word, '=', &p->value);
    }
}

static inline void routes_init(struct routes *rs, size_t room)
{
    memset(rs, 0, sizeof(*rs));
    arena_init(&rs->snap.arena, NULL);
    rs->snap.routes = mem_array(room + 1, sizeof(struct route_conf));
    rs->room = room;
}

static inline struct route_conf *routes_add(struct routes *rs, struct str spec)
{
    struct route_conf *r = &rs->snap.routes[rs->snap.n_routes];

    route_parse(&rs->snap.arena, arena_copy(&rs->snap.arena, spec), r);
    r->index = (unsigned)rs->snap.n_routes++;
    return r;
}

/* One route a line. */
static inline void routes_from(struct routes *rs, const char *lines)
{
    struct str rest = str_c(lines), line;

    routes_init(rs, 100);
    while (word_next(&rest, &line, '\n'))
        routes_add(rs, line);
}

/* As route_compile(), with the first error in rs->err. */
static inline int routes_compile(struct routes *rs)
{
    struct diags diags = {.n = 0};
    int res = route_compile(&rs->snap, &diags);
    EXPECT_EQ(diags_take(&diags, &rs->err), res);
    return res;
}

static inline void routes_fini(struct routes *rs)
{
    mem_free(rs->snap.routes);
    arena_fini(&rs->snap.arena);
}

/* The path that was looked up, which the hit's params point into, is the request's own spelling. */
static inline struct str routes_find(const struct routes *rs, struct arena *arena, struct str request,
                                     struct route_hit *hit)
{
    struct route_conf q;
    struct http_head head = {.method = STR("GET")};

    route_parse(arena, request, &q);
    if (q.match.methods.n > 0)
        head.method = q.match.methods.v[0];
    for (size_t i = 0; i < q.match.headers.n; i++)
        http_head_add(&head, arena, q.match.headers.v[i].key, q.match.headers.v[i].value);
    route_find(rs->snap.router, q.match.host, head.method, q.match.path, &head, hit);
    return q.match.path;
}

#endif
