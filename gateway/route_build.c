/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiles a snapshot's routes into the tree that route.c walks.
 *
 * First every route is checked and walked into the tree, which makes nodes and leaves an entry: "this route, at this
 * node, exact or subtree". Then the entries are sorted once to find equal matches, and once more into the order of
 * precedence, in which they become the nodes' candidate lists. Each step is O(n log n): a configuration of 10,000
 * routes is built in milliseconds.
 *
 * The hash key is fixed. Keyed hashing protects tables that callers can fill; these are filled by the configuration
 * alone, so the longest run of full slots is decided at load, and the same file always builds the same tables.
 */
#include <stdlib.h>
#include "http/uri.h"
#include "lib/mem.h"
#include "conf/diag.h"
#include "conf/yaml.h"
#include "route.h"
#include "route_tree.h"

struct node_draft {
    struct route_node node;
    struct node_draft *made_before;
    unsigned literal_cost, param_cost;           /* the most nodes that a path visits below */
    const struct route_conf *route;              /* the one that it was made for */
};

struct entry {
    const struct route_conf *route;
    struct route_node *node;
    const struct str *names;
    uint64_t signature;                          /* equal for equal method and header conditions */
    bool subtree;
};

struct build {
    struct snapshot *snap;
    struct router *router;
    struct node_draft *newest;
    unsigned n_nodes;
    struct entry *entries;                       /* one a route, but for those in which something is wrong */
    size_t n_entries;
    const struct route_conf *route;              /* being added */
    struct diags *diags;
};

static const struct hash_key fixed_key = {UINT64_C(0x77656972207265e9), UINT64_C(0x726f757465732e31)};

/* Splits off the first segment: "a/b" gives "a" and leaves "b"; false when `rest` was the last one. */
static bool next_segment(struct str *rest, struct str *segment)
{
    const char *slash = rest->len > 0 ? memchr(rest->at, '/', rest->len) : NULL;

    *segment = str_of(rest->at, slash ? (size_t)(slash - rest->at) : rest->len);
    if (!slash)
        return false;
    *rest = str_of(slash + 1, rest->len - segment->len - 1);
    return true;
}

static bool is_param(struct str segment) { return segment.len > 0 && segment.at[0] == ':'; }
static struct str param_name(struct str segment) { return str_of(segment.at + 1, segment.len - 1); }
static bool is_subtree(const struct route_conf *r) { return r->match.path.at[r->match.path.len - 1] == '/'; }
static struct str below_root(struct str path) { return str_of(path.at + 1, path.len - 1); }

static bool is_param_name(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = str_lower(name.at[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '-')
            return false;
    }
    return name.len > 0;
}

static bool path_has_param(struct str path, struct str name)
{
    struct str rest = below_root(path), segment;
    bool more;

    do {
        more = next_segment(&rest, &segment);
        if (is_param(segment) && str_eq(param_name(segment), name))
            return true;
    } while (more);
    return false;
}

/* Where a route's key stands, or the route itself. */
static struct place place_of(const struct build *b, const struct route_conf *r, const char *key)
{
    const struct yaml_node *route = b->snap->route_nodes ? b->snap->route_nodes[r->index] : NULL;
    const struct yaml_node *at = yaml_get(route, key);

    return at ? yaml_place(at) : route ? yaml_place(route) : (struct place){NULL, 0, 0, 0};
}

static int fail(struct build *b, const struct route_conf *r, const char *key, enum diag_code code, const char *fmt, ...)
    printf_like(5, 6);

static int fail(struct build *b, const struct route_conf *r, const char *key, enum diag_code code, const char *fmt, ...)
{
    struct place place = place_of(b, r, key);
    va_list ap;

    va_start(ap, fmt);
    diag_add(b->diags, &place, code, fmt, ap);
    va_end(ap);
    return -1;
}

/* What is matched is the normalised path, so a match in any other form would never be taken. */
static int check_normal(struct build *b, const struct route_conf *r)
{
    struct str path, query = {NULL, 0}, want = r->match.path;
    struct arena scratch;
    int res = 0;

    if (want.len == 0 || want.at[0] != '/')
        return fail(b, r, "match", CODE_path, "path \"" STR_FMT "\" must start with \"/\"", STR_ARG(want));
    if (memchr(want.at, '?', want.len) || memchr(want.at, '#', want.len))
        return fail(b, r, "match", CODE_path, "path \"" STR_FMT "\" may hold no \"?\" and no \"#\"", STR_ARG(want));
    arena_init(&scratch, NULL);
    enum uri_result normal = uri_normalise(&scratch, want, &path, &query);
    if (normal == URI_BAD)
        res = fail(b, r, "match", CODE_path, "path \"" STR_FMT "\" is no legal path: requests for it are refused", STR_ARG(want));
    else if (!str_eq(path, want))
        res = fail(b, r, "match", CODE_path, "path \"" STR_FMT "\" would never match: write \"" STR_FMT "\", its normal form",
                   STR_ARG(want), STR_ARG(path));
    arena_fini(&scratch);
    return res;
}

static int check_rewrite(struct build *b, const struct route_conf *r)
{
    bool whole = r->rewrite.path.len > 0;
    struct str to = whole ? r->rewrite.path : r->rewrite.prefix, segment;

    if (!r->rewrite.set)
        return 0;
    if (!whole && !is_subtree(r))
        return fail(b, r, "rewrite", CODE_rewrite,
                    "rewrite replaces the prefix of a subtree, but path \"" STR_FMT "\" does not end with \"/\"",
                    STR_ARG(r->match.path));
    if (to.len == 0 || to.at[0] != '/')
        return fail(b, r, "rewrite", CODE_rewrite, "rewrite \"" STR_FMT "\" must start with \"/\"", STR_ARG(to));
    for (size_t i = 0; i < to.len; i++)
        if (to.at[i] <= ' ' || to.at[i] >= 0x7f || to.at[i] == '?' || to.at[i] == '#')
            return fail(b, r, "rewrite", CODE_rewrite,
                        "rewrite \"" STR_FMT "\" may hold no space, control, \"?\", \"#\" or non-ASCII character",
                        STR_ARG(to));
    if (!whole)
        return 0;
    for (struct str rest = below_root(to);;) {
        bool more = next_segment(&rest, &segment);
        if (is_param(segment) && !path_has_param(r->match.path, param_name(segment)))
            return fail(b, r, "rewrite", CODE_rewrite, "rewrite uses \"" STR_FMT "\", which path \"" STR_FMT "\" does not have",
                        STR_ARG(segment), STR_ARG(r->match.path));
        if (!more)
            return 0;
    }
}

/* Every node made is in the snapshot's arena, linked from the newest to the oldest. */
static struct node_draft *add_node(struct build *b, const struct route_node *parent, struct str segment)
{
    struct node_draft *d = arena_zalloc(&b->snap->arena, sizeof(*d));

    d->node = (struct route_node){.segment = segment, .parent = parent, .number = b->n_nodes++};
    d->made_before = b->newest;
    d->route = b->route;
    b->newest = d;
    return d;
}

static struct node_draft *draft_of(const struct route_node *node)
{
    return node ? container_of(node, struct node_draft, node) : NULL;
}

static struct node_draft *param_child(struct build *b, struct node_draft *parent)
{
    if (!parent->node.param)
        parent->node.param = &add_node(b, &parent->node, (struct str){NULL, 0})->node;
    return draft_of(parent->node.param);
}

static struct node_draft *literal_child(struct build *b, struct node_draft *parent, struct str segment)
{
    struct router *r = b->router;
    size_t at = route_literal_slot(r, &parent->node, segment);

    for (; r->literals[at]; at = (at + 1) & r->literals_mask)
        if (r->literals[at]->parent == &parent->node && str_eq(r->literals[at]->segment, segment))
            return draft_of(r->literals[at]);
    r->literals[at] = &add_node(b, &parent->node, segment)->node;
    parent->node.only = parent->node.n_literals++ == 0 ? r->literals[at] : NULL;
    return draft_of(r->literals[at]);
}

static struct node_draft *host_root(struct build *b, struct str name)
{
    struct router *r = b->router;

    if (name.len == 0) {
        if (!r->any_host)
            r->any_host = &add_node(b, NULL, (struct str){NULL, 0})->node;
        return draft_of(r->any_host);
    }
    size_t at = route_host_slot(r, name);
    for (; r->hosts[at]; at = (at + 1) & r->hosts_mask)
        if (str_eq_nocase(r->hosts[at]->name, name))
            return draft_of(r->hosts[at]->root);

    struct route_host *host = arena_zalloc(&b->snap->arena, sizeof(*host));
    struct node_draft *root = add_node(b, NULL, (struct str){NULL, 0});
    *host = (struct route_host){.name = name, .root = &root->node};
    r->hosts[at] = host;
    if (name.len > r->host_len_max)
        r->host_len_max = name.len;
    unsigned labels = 0;
    for (size_t i = 0; i < name.len; i++)
        labels += name.at[i] == '.';
    if (name.at[0] == '.' && labels > r->suffix_labels_max)
        r->suffix_labels_max = labels;
    return root;
}

static int add_name(struct build *b, const struct route_conf *r, struct str *names, unsigned *n, struct str segment)
{
    struct str name = param_name(segment);

    if (!is_param_name(name))
        return fail(b, r, "match", CODE_path,
                    "\"" STR_FMT "\" in path \"" STR_FMT "\" names no :param: use letters, digits, _ and -",
                    STR_ARG(segment), STR_ARG(r->match.path));
    for (unsigned i = 0; i < *n; i++)
        if (str_eq(names[i], name))
            return fail(b, r, "match", CODE_repeated, "\"" STR_FMT "\" stands twice in path \"" STR_FMT "\"", STR_ARG(segment),
                        STR_ARG(r->match.path));
    if (*n == ROUTE_PARAMS_MAX)
        return fail(b, r, "match", CODE_bounds,
                    "path \"" STR_FMT "\" has more than %d :params", STR_ARG(r->match.path), ROUTE_PARAMS_MAX);
    names[(*n)++] = name;
    return 0;
}

/* Walks the route's path into the tree; the entry gets the node where it ends. */
static int add_path(struct build *b, const struct route_conf *r, struct entry *e)
{
    struct node_draft *node = host_root(b, r->match.host);
    struct str rest = below_root(r->match.path), segment, names[ROUTE_PARAMS_MAX];
    unsigned n_names = 0, n_segments = 0;
    bool more;

    do {
        more = next_segment(&rest, &segment);
        if (segment.len == 0)
            break;
        if (++n_segments > ROUTE_SEGMENTS_MAX)
            return fail(b, r, "match", CODE_bounds, "its path has more than %d segments", ROUTE_SEGMENTS_MAX);
        if (is_param(segment) && add_name(b, r, names, &n_names, segment) < 0)
            return -1;
        node = is_param(segment) ? param_child(b, node) : literal_child(b, node, segment);
    } while (more);

    struct str *kept = arena_alloc(&b->snap->arena, n_names * sizeof(*kept) + 1);
    for (unsigned i = 0; i < n_names; i++)
        kept[i] = names[i];
    *e = (struct entry){.route = r, .node = &node->node, .names = kept, .subtree = is_subtree(r)};
    return 0;
}

static bool texts_hold(const struct texts *t, struct str s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(t->v[i], s))
            return true;
    return false;
}

static bool pairs_hold(const struct pairs *p, const struct pair *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq_nocase(p->v[i].key, want->key) && str_eq(p->v[i].value, want->value))
            return true;
    return false;
}

/* A sum over the conditions as a set: neither order nor repetition makes a difference. */
static uint64_t signature(const struct route_match *m)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < m->methods.n; i++)
        if (!texts_hold(&m->methods, m->methods.v[i], i))
            sum += hash_str(&fixed_key, m->methods.v[i]);
    for (size_t i = 0; i < m->headers.n; i++) {
        const struct pair *p = &m->headers.v[i];
        struct hash_key of_name = {hash_str_nocase(&fixed_key, p->key), fixed_key.k1};
        if (!pairs_hold(&m->headers, p, i))
            sum += hash_str(&of_name, p->value);
    }
    return sum;
}

static bool same_conditions(const struct route_match *a, const struct route_match *b)
{
    bool same = true;

    for (size_t i = 0; i < a->methods.n; i++)
        same = same && texts_hold(&b->methods, a->methods.v[i], b->methods.n);
    for (size_t i = 0; i < b->methods.n; i++)
        same = same && texts_hold(&a->methods, b->methods.v[i], a->methods.n);
    for (size_t i = 0; i < a->headers.n; i++)
        same = same && pairs_hold(&b->headers, &a->headers.v[i], b->headers.n);
    for (size_t i = 0; i < b->headers.n; i++)
        same = same && pairs_hold(&a->headers, &b->headers.v[i], a->headers.n);
    return same;
}

static int compare(uint64_t a, uint64_t b) { return (a > b) - (a < b); }

static int compare_place(const struct entry *a, const struct entry *b)
{
    int by_node = compare(a->node->number, b->node->number);
    return by_node ? by_node : compare(a->subtree, b->subtree);
}

static bool same_place(const struct entry *a, const struct entry *b) { return compare_place(a, b) == 0; }

static int by_signature(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;
    int res = compare_place(a, b);

    if (!res)
        res = compare(a->signature, b->signature);
    return res ? res : compare(a->route->index, b->route->index);
}

static int by_precedence(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;
    int res = compare_place(a, b);

    if (!res)
        res = compare(a->route->match.methods.n == 0, b->route->match.methods.n == 0);
    if (!res)
        res = compare(b->route->match.headers.n, a->route->match.headers.n);
    return res ? res : compare(a->route->index, b->route->index);
}

static int check_repeated(struct build *b)
{
    struct entry *e = b->entries;
    int res = 0;

    if (b->n_entries > 1)
        qsort(e, b->n_entries, sizeof(*e), by_signature);
    for (size_t i = 1; i < b->n_entries; i++) {
        if (!same_place(&e[i - 1], &e[i]) || !same_conditions(&e[i - 1].route->match, &e[i].route->match))
            continue;
        res = fail(b, e[i].route, "match", CODE_same_match,
                   "routes \"" STR_FMT "\" and \"" STR_FMT "\" match exactly the same requests, so the second "
                   "could never be taken: remove one, or give it another host, path, method or header",
                   STR_ARG(e[i - 1].route->name), STR_ARG(e[i].route->name));
    }
    return res;
}

static void fill_lists(struct build *b)
{
    struct entry *e = b->entries;
    size_t n = b->n_entries;
    struct route_candidate *v = arena_alloc(&b->snap->arena, n * sizeof(*v));

    qsort(e, n, sizeof(*e), by_precedence);
    for (size_t i = 0; i < n; i++) {
        struct route_list *list = e[i].subtree ? &e[i].node->subtree : &e[i].node->exact;
        v[i] = (struct route_candidate){.route = e[i].route, .names = e[i].names};
        if (list->n++ == 0)
            list->v = &v[i];
    }
}

/*
 * The most nodes a path can visit below each host, from the leaves up: a node, its costliest literal child and its
 * :param child. It counts too much when those two could not both match one path, which is on the safe side.
 */
static int check_cost(struct build *b)
{
    for (struct node_draft *d = b->newest; d; d = d->made_before) {
        struct node_draft *parent = draft_of(d->node.parent);
        unsigned cost = 1 + d->literal_cost + d->param_cost;
        if (cost > ROUTE_STEPS_MAX)
            return fail(b, d->route, "match", CODE_overlap, "the paths of this route and of others overlap too much: literals and "
                        ":params at the same places would make a look-up try more than %d combinations; let fewer segments be "
                        "both", ROUTE_STEPS_MAX);
        if (!parent)
            continue;
        if (parent->node.param == &d->node)
            parent->param_cost = cost;
        else if (cost > parent->literal_cost)
            parent->literal_cost = cost;
    }
    return 0;
}

/* More than twice as many slots as entries. */
static size_t slots_for(size_t n)
{
    size_t slots = 4;

    while (slots <= 2 * n)
        slots *= 2;
    return slots;
}

static void size_tables(struct build *b)
{
    struct router *r = b->router;
    size_t hosts = 0, segments = 0;

    for (size_t i = 0; i < b->snap->n_routes; i++) {
        const struct route_match *m = &b->snap->routes[i].match;
        hosts += m->host.len > 0;
        for (size_t at = 0; at < m->path.len; at++)
            segments += m->path.at[at] == '/';
    }
    if (hosts > 0) {
        r->hosts = arena_zalloc(&b->snap->arena, slots_for(hosts) * sizeof(struct route_host *));
        r->hosts_mask = slots_for(hosts) - 1;
    }
    r->literals = arena_zalloc(&b->snap->arena, slots_for(segments) * sizeof(struct route_node *));
    r->literals_mask = slots_for(segments) - 1;
}

static bool takes_everything(const struct snapshot *snap)
{
    const struct route_match *m = snap->n_routes == 1 ? &snap->routes[0].match : NULL;
    return m && str_eq(m->path, STR("/")) && m->host.len == 0 && m->methods.n == 0 && m->headers.n == 0;
}

static int build(struct build *b)
{
    struct snapshot *snap = b->snap;

    int res = 0;

    size_tables(b);
    for (size_t i = 0; i < snap->n_routes; i++) {
        const struct route_conf *r = b->route = &snap->routes[i];
        struct entry *e = &b->entries[b->n_entries];
        if (check_normal(b, r) < 0 || check_rewrite(b, r) < 0 || add_path(b, r, e) < 0) {
            res = -1;
            continue;
        }
        e->signature = signature(&r->match);
        b->n_entries++;
    }
    if (check_repeated(b) < 0 || check_cost(b) < 0 || res < 0)
        return -1;
    fill_lists(b);
    if (takes_everything(snap))
        b->router->everything = &snap->routes[0];
    return 0;
}

int route_compile(struct snapshot *snap, struct diags *diags)
{
    struct router *router = arena_zalloc(&snap->arena, sizeof(*router));
    struct build b = {.snap = snap, .router = router, .diags = diags};

    router->key = fixed_key;
    b.entries = mem_array(snap->n_routes + 1, sizeof(*b.entries));
    int res = build(&b);
    mem_free(b.entries);
    if (res == 0)
        snap->router = router;
    return res;
}
