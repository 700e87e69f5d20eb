/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which route a request takes: the look-up. route_build.c makes the tree that is walked here.
 *
 * Each host has a tree of segments. A walk goes down the literal child first, then the :param child, then takes the
 * node's own subtree routes: the order of that walk is the order of precedence, so the first candidate whose method and
 * headers agree is the answer, and one that does not agree sends the walk on to the next best, in less specific hosts
 * too.
 *
 * What a look-up costs: one node a segment where literals and :params do not overlap; where they do, at most
 * ROUTE_STEPS_MAX nodes a host, which route_build.c has made sure of. The hosts tried are the exact one, as many
 * suffixes as the longest configured one has labels, and "any". The number of routes enters nowhere but in the size of
 * the hash tables. Nothing is allocated or copied: the host is folded while it is hashed, and params point into the
 * path.
 */
#include "route.h"
#include "lib/arena.h"
#include "route_tree.h"

struct search {
    const struct router *router;
    struct str method, path;
    const struct http_head *head;
    struct route_hit *hit;
};

static bool method_fits(const struct route_match *m, struct str method)
{
    for (size_t i = 0; i < m->methods.n; i++)
        if (str_eq(m->methods.v[i], method))
            return true;
    return m->methods.n == 0;
}

static bool headers_fit(const struct route_match *m, const struct http_head *head)
{
    for (size_t i = 0; i < m->headers.n; i++) {
        struct str value = http_head_get(head, m->headers.v[i].key);
        if (!value.at)
            return false;
        if (!str_eq(m->headers.v[i].value, STR("*")) && !str_eq(m->headers.v[i].value, value))
            return false;
    }
    return true;
}

static bool take(struct search *s, const struct route_list *list, size_t prefix_len, unsigned n_params)
{
    struct route_hit *hit = s->hit;

    for (size_t i = 0; i < list->n; i++) {
        const struct route_candidate *c = &list->v[i];
        hit->steps++;
        if (!headers_fit(&c->route->match, s->head))
            continue;
        if (!method_fits(&c->route->match, s->method)) {
            hit->other_method = true;
            continue;
        }
        hit->route = c->route;
        hit->other_method = false;
        hit->prefix_len = prefix_len;
        hit->n_params = n_params;
        for (unsigned p = 0; p < n_params; p++)
            hit->params[p].name = c->names[p];
        return true;
    }
    return false;
}

static const struct route_node *literal_child(const struct router *r, const struct route_node *node, struct str segment)
{
    if (node->n_literals == 0)
        return NULL;
    if (node->only)
        return str_eq(node->only->segment, segment) ? node->only : NULL;
    for (size_t at = route_literal_slot(r, node, segment); r->literals[at]; at = (at + 1) & r->literals_mask)
        if (r->literals[at]->parent == node && str_eq(r->literals[at]->segment, segment))
            return r->literals[at];
    return NULL;
}

/*
 * `at`: where the next segment starts; beyond the path's end when it ended without a "/". Recursion goes no deeper than
 * the tree, ROUTE_SEGMENTS_MAX.
 */
static bool walk(struct search *s, const struct route_node *node, size_t at, unsigned n_params)
{
    s->hit->steps++;
    if (at > s->path.len)
        return take(s, &node->exact, 0, n_params);

    const char *from = s->path.at + at;
    const char *slash = at < s->path.len ? memchr(from, '/', s->path.len - at) : NULL;
    struct str segment = str_of(from, slash ? (size_t)(slash - from) : s->path.len - at);
    if (segment.len > 0) {
        const struct route_node *child = literal_child(s->router, node, segment);
        if (child && walk(s, child, at + segment.len + 1, n_params))
            return true;
        if (node->param) {
            s->hit->params[n_params].value = segment;
            if (walk(s, node->param, at + segment.len + 1, n_params + 1))
                return true;
        }
    }
    return take(s, &node->subtree, at, n_params);
}

static bool search_tree(struct search *s, const struct route_node *root)
{
    if (s->path.len > 0 && s->path.at[0] == '/')
        return walk(s, root, 1, 0);
    s->hit->steps++;
    return take(s, &root->subtree, 0, 0);
}

static const struct route_node *host_root(const struct router *r, struct str name)
{
    if (name.len > r->host_len_max)
        return NULL;
    for (size_t at = route_host_slot(r, name); r->hosts[at]; at = (at + 1) & r->hosts_mask)
        if (str_eq_nocase(r->hosts[at]->name, name))
            return r->hosts[at]->root;
    return NULL;
}

static bool search_suffixes(struct search *s, struct str host)
{
    size_t dots = 0;

    for (size_t i = 0; i < host.len; i++)
        dots += host.at[i] == '.';
    for (size_t i = 0; i < host.len; i++) {
        if (host.at[i] != '.')
            continue;
        /* What starts at this dot has `dots` labels. A suffix does not match itself without a label before it. */
        if (dots-- > s->router->suffix_labels_max || i == 0)
            continue;
        const struct route_node *root = host_root(s->router, str_of(host.at + i, host.len - i));
        if (root && search_tree(s, root))
            return true;
    }
    return false;
}

static bool search_hosts(struct search *s, struct str host)
{
    /* A host that starts with a dot is no name: it must not find the suffix that is spelled like it. */
    const struct route_node *root = host.len > 0 && host.at[0] != '.' ? host_root(s->router, host) : NULL;

    if (root && search_tree(s, root))
        return true;
    return s->router->suffix_labels_max > 0 && search_suffixes(s, host);
}

void route_find(const struct router *r, struct str host, struct str method, struct str path,
                const struct http_head *head, struct route_hit *hit)
{
    hit->route = r->everything;
    hit->other_method = false;
    hit->prefix_len = path.len > 0 && path.at[0] == '/';
    hit->steps = 0;
    hit->n_params = 0;
    if (r->everything)
        return;

    struct search s = {.router = r, .method = method, .path = path, .head = head, .hit = hit};
    if (r->hosts && search_hosts(&s, host))
        return;
    if (r->any_host && search_tree(&s, r->any_host))
        return;
    hit->prefix_len = 0;
}

static struct str param_value(const struct route_hit *hit, struct str name)
{
    for (unsigned i = 0; i < hit->n_params; i++)
        if (str_eq(hit->params[i].name, name))
            return hit->params[i].value;
    return STR("");
}

/* Writes the template with its :params filled in to `out`, or only measures it when `out` is NULL; the length. */
static size_t fill_params(const struct route_hit *hit, struct str template, char *out)
{
    size_t len = 0;

    for (size_t at = 0; at < template.len;) {
        const char *from = template.at + at;
        const char *slash = memchr(from, '/', template.len - at);
        struct str piece = str_of(from, slash ? (size_t)(slash - from) : template.len - at);
        struct str text = piece.len > 0 && from[0] == ':' ? param_value(hit, str_of(from + 1, piece.len - 1)) : piece;
        if (out)
            memcpy(out + len, text.at, text.len);
        len += text.len;
        at += piece.len;
        if (slash) {
            if (out)
                out[len] = '/';
            len++;
            at++;
        }
    }
    return len;
}

static struct str replace_prefix(const struct route_hit *hit, struct str path, struct arena *arena)
{
    struct str prefix = hit->route->rewrite.prefix;
    struct str rest = str_of(path.at + hit->prefix_len, path.len - hit->prefix_len);

    if (prefix.len > 0 && prefix.at[prefix.len - 1] == '/')
        prefix.len--;
    char *out = arena_alloc(arena, prefix.len + 1 + rest.len);
    if (prefix.len > 0)
        memcpy(out, prefix.at, prefix.len);
    out[prefix.len] = '/';
    memcpy(out + prefix.len + 1, rest.at, rest.len);
    return str_of(out, prefix.len + 1 + rest.len);
}

struct str route_rewrite(const struct route_hit *hit, struct str path, struct arena *arena)
{
    if (!hit->route || !hit->route->rewrite.set || path.len == 0 || path.at[0] != '/')
        return path;
    struct str template = hit->route->rewrite.path;
    if (template.len == 0)
        return replace_prefix(hit, path, arena);
    size_t len = fill_params(hit, template, NULL);
    char *out = arena_alloc(arena, len);
    fill_params(hit, template, out);
    return str_of(out, len);
}
