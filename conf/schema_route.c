/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `routes`: what is done with a request that matches. A route has an upstream or an answer of its own, never both,
 * never neither. Two routes with the same match are refused: the second could never be reached. Whether a match is
 * partly hidden by others depends on their order of precedence, and is no error.
 */
#include "conf/schema.h"

#include "conf/named.h"
#include "conf/show.h"
#include "conf/yaml.h"
#include "http/headers.h"
#include "http/name.h"
#include "lib/clock.h"
#include "lib/mem.h"

#define HEADERS_MAX 100      /* of an answer made here */

#define ROUTE(field) offsetof(struct route_conf, field)

#define RESPOND(field) offsetof(struct respond_conf, field)

static const struct field respond_fields[] = {
    {.key = "status", .type = FIELD_COUNT, .offset = RESPOND(status), .fallback = "200", .min = 200, .max = 599,
     .help = "The status."},
    {.key = "headers", .type = FIELD_PAIRS, .offset = RESPOND(headers), .help = "Header fields."},
    {.key = "body", .type = FIELD_TEXT, .offset = RESPOND(body), .help = "The body."},
    {.type = FIELD_END},
};

static const struct field rewrite_fields[] = {
    {.key = "prefix", .type = FIELD_TEXT, .offset = ROUTE(rewrite.prefix),
     .help = "What stands in the place of the matched part of the path; begins and ends with `/`, and the match ends "
             "with `/` too."},
    {.key = "path", .type = FIELD_TEXT, .offset = ROUTE(rewrite.path),
     .help = "The whole new path; `:id` is what the match's `:id` was."},
    {.type = FIELD_END},
};

static int header_check(struct load *l, const char *key, const struct pair *p)
{
    int res = 0;

    if (!http_is_token(p->key))
        res = load_err(l, p->node, CODE_header, "%s: \"%s\" is not a header's name", key, quoted(p->key).text);
    else if (http_name_is_reserved(p->key))
        res = load_err(l, p->node, CODE_header, "%s: \"%s\" is set by weir itself", key, quoted(p->key).text);
    if (!http_is_field_value(p->value))
        res = load_err(l, p->node, CODE_header, "%s: the value of \"%s\" holds a line break or another control character",
                       key, quoted(p->key).text);
    return res;
}

int schema_headers_check(struct load *l, const char *key, const struct pairs *pairs)
{
    int res = 0;

    if (pairs->n > HEADERS_MAX)
        return load_err(l, NULL, CODE_bounds, "%s: more than %d", key, HEADERS_MAX);
    for (size_t i = 0; i < pairs->n; i++) {
        const struct pair *p = &pairs->v[i];
        if (header_check(l, key, p) != 0)
            res = -1;
        for (size_t j = 0; j < i; j++)
            if (str_eq_nocase(pairs->v[j].key, p->key))
                res = load_err(l, p->node, CODE_repeated, "%s: \"%s\" stands there twice", key, quoted(p->key).text);
    }
    return res;
}

static int respond_read(void *at, const struct yaml_node *n, struct load *l)
{
    struct respond_conf *r = at;
    const struct yaml_node *body = yaml_get(n, "body");

    r->set = true;
    int res = fields_read(respond_fields, n, r, l);
    if (schema_headers_check(l, "respond.headers", &r->headers) != 0)
        res = -1;
    if (r->body.len && (r->status == 204 || r->status == 304))
        res = load_err(l, body, CODE_status, "respond.body: an answer with status %u has no body", (unsigned)r->status);
    return res;
}

static int unknown_upstream(const struct yaml_node *n, struct load *l)
{
    struct nearest near;

    struct place at = yaml_place(n);

    if (schema_of(l)->upstreams_broken)
        return 0;
    if (diags_has(l->diags, &at, CODE_unknown_name))
        return -1;
    nearest_init(&near, n->text);
    for (size_t i = 0; i < l->snap->n_upstreams && !diags_full(l->diags); i++)
        nearest_try(&near, l->snap->upstreams[i].name);
    return load_err(l, n, CODE_unknown_name, "unknown upstream \"%s\"%s", yaml_quoted(n).text, nearest_hint(&near).text);
}

static int upstream_read(void *at, const struct yaml_node *n, struct load *l)
{
    const struct upstream_conf **u = at;

    if (n->type != YAML_SCALAR)
        return load_err(l, n, CODE_kind, "upstream: must be the name of one");
    *u = names_get(&schema_of(l)->upstreams, n->text);
    return *u ? 0 : unknown_upstream(n, l);
}

static const struct field fallback_fields[] = {
    {.key = "upstream", .type = FIELD_CUSTOM, .parse = upstream_read, .offset = ROUTE(fallback.upstream),
     .form = "an upstream's name", .json = "{\"type\":\"string\"}", .help = "Where the request goes instead."},
    {.key = "respond", .type = FIELD_CUSTOM, .parse = respond_read, .offset = ROUTE(fallback.respond),
     .sub = respond_fields, .form = "a mapping", .help = "Or: the answer that it gets from weir itself."},
    {.type = FIELD_END},
};

/* Exactly one of two keys, which may be wrong in itself. */
static bool one_of(const struct yaml_node *map, const char *a, const char *b) { return !yaml_get(map, a) != !yaml_get(map, b); }

static int fallback_read(void *at, const struct yaml_node *n, struct load *l)
{
    struct route_conf *r = at;
    const struct yaml_node *map = n->type == YAML_SCALAR ? schema_map_of(l, "upstream", n) : n;

    if (map->type != YAML_MAP)
        return load_err(l, n, CODE_kind, "fallback: must be an upstream's name, or {respond: {status: 503}}");
    int res = fields_read(fallback_fields, map, r, l);
    if (res == 0 && !one_of(map, "upstream", "respond"))
        res = load_err(l, n, CODE_together, "fallback: needs an upstream or a respond, and only one of them");
    return res;
}

static int prefix_check(const struct route_conf *r, const struct yaml_node *n, struct load *l)
{
    struct str match = r->match.path, prefix = r->rewrite.prefix;

    if (match.len && match.at[match.len - 1] != '/')
        return load_err(l, n, CODE_rewrite, "rewrite.prefix: the match \"%s\" is one path; "
                        "a prefix needs one that ends with \"/\"",
                        quoted(match).text);
    if (schema_path_check(l, n, "rewrite.prefix", prefix, false) != 0)
        return -1;
    if (prefix.at[prefix.len - 1] != '/')
        return load_err(l, n, CODE_rewrite, "rewrite.prefix: \"%s\" must end with \"/\"", yaml_quoted(n).text);
    return 0;
}

static int path_check(const struct route_conf *r, const struct yaml_node *n, struct load *l)
{
    struct str name, known;
    int res = 0;

    if (schema_path_check(l, n, "rewrite", r->rewrite.path, true) != 0)
        return -1;
    for (size_t pos = 0; r->match.path.len && schema_param_next(r->rewrite.path, &pos, &name);) {
        bool found = false;
        for (size_t p = 0; !found && schema_param_next(r->match.path, &p, &known);)
            found = str_eq(known, name);
        if (!found)
            res = load_err(l, n, CODE_rewrite, "rewrite: the match has no \":%s\"",
                           quoted(yaml_is_secret(n) ? STR("***") : name).text);
    }
    return res;
}

static int rewrite_read(void *at, const struct yaml_node *n, struct load *l)
{
    struct route_conf *r = at;
    const struct yaml_node *map = n->type == YAML_SCALAR ? schema_map_of(l, "path", n) : n;

    if (map->type != YAML_MAP)
        return load_err(l, n, CODE_kind, "rewrite: must be a path, or {prefix: /path/}");
    if (fields_read(rewrite_fields, map, r, l) != 0)
        return -1;
    if (!one_of(map, "prefix", "path"))
        return load_err(l, n, CODE_together, "rewrite: needs a prefix or a path, and only one of them");
    const struct yaml_node *prefix = yaml_get(map, "prefix");
    r->rewrite.set = true;
    return prefix ? prefix_check(r, prefix, l) : path_check(r, yaml_get(map, "path"), l);
}

const struct field schema_route_fields[] = {
    {.key = "name", .type = FIELD_TEXT, .offset = ROUTE(name),
     .help = "What the route is called in logs and metrics; by default its match."},
    {.key = "match", .type = FIELD_CUSTOM, .parse = schema_match_read, .offset = ROUTE(match), .required = true,
     .sub = schema_match_fields, .form = "a path or a mapping", .json = "{\"anyOf\":[" SCHEMA_REF("url_path") ",@]}",
     .help = "Which requests are meant."},
    {.key = "upstream", .type = FIELD_CUSTOM, .parse = upstream_read, .offset = ROUTE(upstream),
     .form = "an upstream's name", .json = "{\"type\":\"string\"}", .help = "Where they go."},
    {.key = "fallback", .type = FIELD_CUSTOM, .parse = fallback_read, .sub = fallback_fields,
     .form = "an upstream's name or a mapping",
     .json = "{\"anyOf\":[{\"type\":\"string\"},{\"allOf\":[@," SCHEMA_ONE_OF("upstream", "respond") "]}]}",
     .help = "What happens when that upstream cannot answer (its breaker is open, no endpoint is left, or all tries "
             "failed) and nothing was sent to the client yet."},
    {.key = "respond", .type = FIELD_CUSTOM, .parse = respond_read, .offset = ROUTE(respond), .sub = respond_fields,
     .form = "a mapping", .help = "Or: the answer that they get from weir itself."},
    {.key = "rewrite", .type = FIELD_CUSTOM, .parse = rewrite_read, .sub = rewrite_fields,
     .form = "a path or a mapping",
     .json = "{\"anyOf\":[" SCHEMA_REF("url_path") ",{\"allOf\":[@," SCHEMA_ONE_OF("prefix", "path") "]}]}",
     .help = "The path that the upstream sees instead; the query stays."},
    {.key = "max_body", .type = FIELD_SIZE, .offset = ROUTE(max_body), .min = 1,
     .help = "The largest request body that is let through; a larger one is answered 413. Without it there is no bound."},
    {.key = "timeout", .type = FIELD_DURATION, .offset = ROUTE(total_timeout), .fallback = "60s", .min = NSEC_PER_MSEC,
     .max = 24 * 3600 * NSEC_PER_SEC,
     .help = "How long the head of the final answer may take from the arrival of the request's, waiting included."},
    {.key = "filters", .type = FIELD_CUSTOM, .parse = schema_later_read, .form = "a list of filters",
     .json = SCHEMA_FILTERS_OF("route"), .help = "Filters of these requests; they run after the listener's."},
    {.type = FIELD_END},
};

static bool is_printable(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.at[i] < ' ' || s.at[i] == 0x7f)
            return false;
    return s.len > 0 && s.len <= 200;
}

/* What its keys say together. */
static int keys_check(const struct route_conf *r, const struct yaml_node *n, struct load *l)
{
    const struct yaml_node *upstream = yaml_get(n, "upstream"), *respond = yaml_get(n, "respond");
    const struct yaml_node *fallback = yaml_get(n, "fallback"), *rewrite = yaml_get(n, "rewrite");
    int res = 0;

    if (upstream && respond)
        res = load_err(l, respond, CODE_together, "a route has an upstream or a respond, not both");
    if (respond && !upstream && rewrite)
        res = load_err(l, rewrite, CODE_together, "rewrite: a route with respond sends nothing on");
    if (respond && !upstream && fallback)
        res = load_err(l, fallback, CODE_together, "fallback: a route with respond has no upstream that could fail");
    if (fallback && r->upstream && r->fallback.upstream == r->upstream)
        res = load_err(l, fallback, CODE_conflict, "fallback: is the route's own upstream");
    return res;
}

/* {NULL, 0}: nothing that it can be called. */
static int name_read(struct route_conf *r, const struct yaml_node *n, struct load *l)
{
    const struct yaml_node *name = yaml_get(n, "name");
    bool scalar = name && name->type == YAML_SCALAR;
    bool exposed = scalar && load_public(l, name, "a name") != 0;
    bool ok = scalar && !exposed && is_printable(r->name);

    if (!ok)
        r->name = r->match.path.len && !name ? schema_match_text(l->arena, &r->match, true) : (struct str){NULL, 0};
    if (exposed)
        return -1;
    if (scalar && !ok)
        return load_err(l, name, CODE_name, "name: must be 1 to 200 printable characters");
    return 0;
}

/* Whose filters a route's are: by its name; without one, by its number, so that none is another's. */
static struct str owner_of(const struct route_conf *r, struct load *l)
{
    return r->name.at ? arena_printf(l->arena, "route " STR_FMT, STR_ARG(r->name))
                      : arena_printf(l->arena, "route #%u", r->index + 1);
}

static int one_read(struct route_conf *r, const struct yaml_node *n, struct load *l)
{
    if (n->type != YAML_MAP)
        return load_err(l, n, CODE_kind, "a route is a mapping with match and upstream, or match and respond");
    l->node = n;
    int res = fields_read(schema_route_fields, n, r, l);
    if (!yaml_get(n, "upstream") && !yaml_get(n, "respond") && !fields_misspelt(schema_route_fields, n, "upstream", l) &&
        !fields_misspelt(schema_route_fields, n, "respond", l))
        res = load_err(l, n, CODE_together, "a route needs an upstream, or a respond");
    if (keys_check(r, n, l) != 0 || name_read(r, n, l) != 0)
        res = -1;
    if (schema_chain_read(l, yaml_get(n, "filters"), PLACE_ROUTE, owner_of(r, l), &r->filters) != 0)
        res = -1;
    return res;
}

/* Two sorts of names: what a route matches, and what it is called. What could not be read is left out. */
static int matches_differ(struct snapshot *s, const struct yaml_node *n, struct named *v, struct load *l)
{
    const struct named *again, *first = NULL;
    size_t count = 0, at = 0;
    int res = 0;

    for (size_t i = 0; i < s->n_routes; i++)
        if (s->routes[i].match.path.len)
            v[count++] = (struct named){schema_match_text(l->arena, &s->routes[i].match, false), i};
    named_sort(v, count);
    while ((again = named_next_repeat(v, count, &at, &first)) != NULL)
        res = load_err(l, yaml_get(n->entries[again->index].value, "match"), CODE_same_match,
                       "the route at %s has the same match; this one could never be reached",
                       yaml_where(n->entries[first->index].value, n->entries[again->index].value).text);
    return res;
}

static bool same_match(const struct snapshot *s, size_t a, size_t b, struct load *l)
{
    return str_eq(schema_match_text(l->arena, &s->routes[a].match, false), schema_match_text(l->arena, &s->routes[b].match, false));
}

static int names_differ(struct snapshot *s, const struct yaml_node *n, struct named *v, struct load *l)
{
    const struct named *again, *first = NULL;
    size_t count = 0, at = 0;
    int res = 0;

    for (size_t i = 0; i < s->n_routes; i++)
        if (s->routes[i].name.at)
            v[count++] = (struct named){s->routes[i].name, i};
    named_sort(v, count);
    while ((again = named_next_repeat(v, count, &at, &first)) != NULL) {
        const struct yaml_node *route = n->entries[again->index].value, *name = yaml_get(route, "name");
        /* Without a name it is called by its match, and two such are told of that. */
        if (name || yaml_get(n->entries[first->index].value, "name"))
            res = load_err(l, name ? name : route, CODE_name_taken, "the name \"%s\" is taken by the route at %s",
                           quoted(again->name).text, yaml_where(n->entries[first->index].value, route).text);
        else if (!same_match(s, first->index, again->index, l))
            res = load_err(l, route, CODE_name_taken, "this route is called by its match, \"%s\", as is the one at %s, for they "
                           "differ in a secret alone; give it a name", quoted(again->name).text,
                           yaml_where(n->entries[first->index].value, route).text);
    }
    return res;
}

static int all_differ(struct snapshot *s, const struct yaml_node *n, struct load *l)
{
    struct named *v = mem_array(s->n_routes, sizeof(*v));
    int res = matches_differ(s, n, v, l);

    if (names_differ(s, n, v, l) != 0)
        res = -1;
    mem_free(v);
    return res;
}

int schema_routes_read(void *at, const struct yaml_node *n, struct load *l)
{
    struct snapshot *s = at;
    int res = 0;

    if (n->type != YAML_LIST)
        return load_err(l, n, CODE_kind, "routes: must be a list: - {match: /path, upstream: name}");
    if (n->n == 0)
        return load_err(l, n, CODE_empty, "routes: needs at least one");
    s->routes = arena_zalloc(l->arena, n->n * sizeof(*s->routes));
    const struct yaml_node **nodes = arena_zalloc(l->arena, n->n * sizeof(*nodes));
    s->route_nodes = nodes;
    for (size_t i = 0; i < n->n; i++) {
        s->routes[i].index = (unsigned)i;
        nodes[i] = n->entries[i].value;
        show_enter(l->show, "[%zu]", i);
        if (one_read(&s->routes[i], n->entries[i].value, l) != 0)
            res = -1;
        show_leave(l->show);
    }
    s->n_routes = n->n;
    if (all_differ(s, n, l) != 0)
        res = -1;
    return res;
}
