/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A route's `match`, checked for what could never match or would match something else than it seems to: requests are
 * compared by their normalised path, so a match must be written in that form.
 */
#include "conf/schema.h"

#include <stdlib.h>
#include "conf/yaml.h"
#include "http/headers.h"
#include "http/uri.h"

#define PARAMS_MAX 16
#define PATH_MAX_LEN 8192    /* the longest target that a request may have */
#define METHODS_MAX 64
#define HEADERS_MAX 100      /* no request has more */

const struct field schema_match_fields[] = {
    {.key = "host", .type = FIELD_TEXT, .offset = offsetof(struct route_match, host),
     .help = "A host's name, or `.example.com` for every subdomain; without it, any."},
    {.key = "path", .type = FIELD_TEXT, .offset = offsetof(struct route_match, path), .required = true,
     .json = SCHEMA_REF("url_path"),
     .help = "A path: with a trailing `/` everything below it too, else exactly it; `/` is everything; a segment "
             "`:id` is any one segment."},
    {.key = "method", .type = FIELD_TEXTS, .offset = offsetof(struct route_match, methods),
     .json = SCHEMA_ONE_OR_MORE("method"),
     .help = "One method or a list of them; without it, any."},
    {.key = "header", .type = FIELD_PAIRS, .offset = offsetof(struct route_match, headers),
     .help = "Header fields that must be there with exactly that value; `\"*\"` is any value, an empty one too."},
    {.type = FIELD_END},
};

/* The next segment from *pos on, "" for the one behind a trailing slash; false: no more. */
static bool segment_next(struct str path, size_t *pos, struct str *segment)
{
    if (*pos >= path.len)
        return false;
    const char *at = path.at + *pos + 1;
    size_t left = path.len - *pos - 1;
    const char *slash = left ? memchr(at, '/', left) : NULL;
    *segment = str_of(at, slash ? (size_t)(slash - at) : left);
    *pos += segment->len + 1;
    return true;
}

bool schema_param_next(struct str path, size_t *pos, struct str *name)
{
    struct str s;
    while (segment_next(path, pos, &s))
        if (s.len && s.at[0] == ':') {
            *name = str_of(s.at + 1, s.len - 1);
            return true;
        }
    return false;
}

static bool is_param_name(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.at[i];
        bool alpha = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!alpha && !(i > 0 && c >= '0' && c <= '9'))
            return false;
    }
    return s.len > 0;
}

static int params_check(struct load *l, const struct yaml_node *n, const char *what, struct str path)
{
    struct str s;
    int res = 0;
    for (size_t pos = 0; segment_next(path, &pos, &s);) {
        if (s.len && s.at[s.len - 1] == '*')
            res = load_err(l, n, CODE_path, "%s: there is no \"*\"; a trailing \"/\" is everything below, "
                            "\":name\" one segment",
                            what);
        if (s.len && s.at[0] == ':' && !is_param_name(str_of(s.at + 1, s.len - 1)))
            res = load_err(l, n, CODE_path, "%s: \"%s\" must be \":\" and a name of letters, digits and \"_\", "
                           "a whole segment",
                           what, quoted(s).text);
    }
    return res;
}

/* The same rules, without a word on which part breaks them. */
static int secret_path_check(struct load *l, const struct yaml_node *n, const char *what, struct str path)
{
    struct str canonical, query;

    for (size_t i = 0; i < path.len; i++)
        if (path.at[i] == '?' || path.at[i] == '#' || (unsigned char)path.at[i] <= ' ' || (unsigned char)path.at[i] >= 0x7f)
            path.len = 0;
    if (path.len > 0 && path.len <= PATH_MAX_LEN && path.at[0] == '/' &&
        uri_normalise(l->arena, path, &canonical, &query) != URI_BAD && str_eq(canonical, path))
        return 0;
    return load_err(l, n, CODE_path, "%s: \"%s\" must begin with \"/\" and be in the normal form that requests have it in", what,
                    yaml_quoted(n).text);
}

int schema_path_check(struct load *l, const struct yaml_node *n, const char *what, struct str path, bool params)
{
    struct str canonical, query;

    if (n->type == YAML_SCALAR && yaml_is_secret(n))
        return secret_path_check(l, n, what, path);
    if (path.len == 0 || path.at[0] != '/')
        return load_err(l, n, CODE_path, "%s: \"%s\" must begin with \"/\"", what, quoted(path).text);
    if (path.len > PATH_MAX_LEN)
        return load_err(l, n, CODE_bounds, "%s: \"%s\" is longer than %d bytes, which no request is", what, quoted(path).text,
                        PATH_MAX_LEN);
    for (size_t i = 0; i < path.len; i++) {
        if (path.at[i] == '?' || path.at[i] == '#')
            return load_err(l, n, CODE_path, "%s: \"%s\": a path holds no \"%c\"; a literal one is percent-encoded", what,
                            quoted(path).text, path.at[i]);
        if ((unsigned char)path.at[i] <= ' ' || (unsigned char)path.at[i] >= 0x7f)
            return load_err(l, n, CODE_path, "%s: \"%s\": blanks and characters outside ASCII must be percent-encoded", what,
                            quoted(path).text);
    }
    if (params && memchr(path.at, '{', path.len))
        return load_err(l, n, CODE_path, "%s: \"%s\": a segment that may be anything is written \":name\", not \"{name}\"; a "
                        "literal brace is percent-encoded", what, quoted(path).text);
    enum uri_result res = uri_normalise(l->arena, path, &canonical, &query);
    if (res == URI_BAD)
        return load_err(l, n, CODE_path, "%s: \"%s\": no request has such a path: encoded slash, bad escape, "
                        "or above the root",
                        what, quoted(path).text);
    if (!str_eq(canonical, path))
        return load_err(l, n, CODE_path, "%s: \"%s\": requests have it in its normal form; write \"%s\"", what,
                        quoted(path).text, quoted(canonical).text);
    return params ? params_check(l, n, what, path) : 0;
}

static int params_differ(struct load *l, const struct yaml_node *n, struct str path)
{
    struct str names[PARAMS_MAX], name;
    size_t count = 0;

    for (size_t pos = 0; schema_param_next(path, &pos, &name);) {
        for (size_t i = 0; i < count; i++)
            if (str_eq(names[i], name))
                return load_err(l, n, CODE_repeated, "match: \":%s\" stands twice in the path", quoted(name).text);
        if (count == PARAMS_MAX)
            return load_err(l, n, CODE_bounds, "match: more than %d parameters", PARAMS_MAX);
        names[count++] = name;
    }
    return 0;
}

static int host_check(struct load *l, const struct yaml_node *n, struct str *host)
{
    struct ip ip;
    struct str name = str_starts(*host, STR(".")) ? str_of(host->at + 1, host->len - 1) : *host;
    char *low = arena_alloc(l->arena, host->len + 1);

    if (load_public(l, n, "a host's name") != 0)
        return -1;
    if (str_starts(*host, STR("*.")))
        return load_err(l, n, CODE_host, "match.host: write \"%s\" for every subdomain",
                        quoted(str_of(host->at + 1, host->len - 1)).text);
    if (!address_is_name(name) && !ip_parse(*host, &ip))
        return load_err(l, n, CODE_host, "match.host: \"%s\" is not a host's name; it has no scheme and no port",
                        quoted(*host).text);
    for (size_t i = 0; i < host->len; i++)
        low[i] = str_lower(host->at[i]);
    *host = str_of(low, host->len);
    return 0;
}

static int by_text(struct str a, struct str b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.at, b.at, len) : 0;
    return order ? order : a.len < b.len ? -1 : a.len > b.len;
}

static int by_method(const void *a, const void *b) { return by_text(*(const struct str *)a, *(const struct str *)b); }

static int by_header(const void *a, const void *b)
{
    return by_text(((const struct pair *)a)->key, ((const struct pair *)b)->key);
}

static int method_check(struct load *l, const struct yaml_node *n)
{
    if (load_public(l, n, "a method") != 0)
        return -1;
    if (str_eq(n->text, STR("*")))
        return load_err(l, n, CODE_method, "match.method: there is no \"*\"; leave the key out for any method");
    if (!http_is_token(n->text))
        return load_err(l, n, CODE_method, "match.method: \"%s\" is not a method", yaml_quoted(n).text);
    for (size_t j = 0; j < n->text.len; j++)
        if (n->text.at[j] >= 'a' && n->text.at[j] <= 'z')
            return load_err(l, n, CODE_method, "match.method: \"%s\": methods are written in capitals", yaml_quoted(n).text);
    return 0;
}

/* `n` is a scalar or a list of them. */
static int methods_check(struct load *l, const struct yaml_node *n, struct texts *methods)
{
    int res = 0;

    if (methods->n > METHODS_MAX)
        return load_err(l, n, CODE_bounds, "match.method: more than %d methods", METHODS_MAX);
    for (size_t i = 0; i < methods->n; i++)
        if (method_check(l, n->type == YAML_LIST ? n->entries[i].value : n) != 0)
            res = -1;
    if (methods->n > 1)
        qsort(methods->v, methods->n, sizeof(*methods->v), by_method);
    for (size_t i = 1; i < methods->n; i++)
        if (str_eq(methods->v[i - 1], methods->v[i]))
            res = load_err(l, n, CODE_repeated, "match.method: \"%s\" stands there twice", quoted(methods->v[i]).text);
    if (n->type == YAML_LIST && methods->n == 0)
        res = load_err(l, n, CODE_empty, "match.method: the list is empty; leave the key out for any method");
    return res;
}

/* `n` is a mapping of scalars. */
static int header_check(struct load *l, const struct yaml_node *n, struct pairs *headers)
{
    int res = 0;

    if (headers->n > HEADERS_MAX)
        return load_err(l, n, CODE_bounds, "match.header: more than %d, which no request has", HEADERS_MAX);
    for (size_t i = 0; i < headers->n; i++) {
        struct pair *p = &headers->v[i];
        if (!http_is_token(p->key))
            res = load_err(l, n->entries[i].key, CODE_header, "match.header: \"%s\" is not a header's name",
                           quoted(p->key).text);
        if (!http_is_field_value(p->value))
            res = load_err(l, n->entries[i].value, CODE_header, "match.header: no header has such a value");
        char *low = arena_alloc(l->arena, p->key.len + 1);
        for (size_t j = 0; j < p->key.len; j++)
            low[j] = str_lower(p->key.at[j]);
        p->key = str_of(low, p->key.len);
    }
    if (headers->n > 1)
        qsort(headers->v, headers->n, sizeof(*headers->v), by_header);
    for (size_t i = 1; i < headers->n; i++)
        if (str_eq(headers->v[i - 1].key, headers->v[i].key))
            res = load_err(l, headers->v[i].node, CODE_repeated, "match.header: \"%s\" stands there twice",
                           quoted(headers->v[i].key).text);
    return res;
}

/* Was it of the right kind, so that it was read? Else the field's reader has told. */
static bool all_scalars(const struct yaml_node *n)
{
    if (n && n->type == YAML_SCALAR)
        return true;
    for (size_t i = 0; n && i < n->n; i++)
        if (n->entries[i].value->type != YAML_SCALAR)
            return false;
    return n && n->type != YAML_NULL;
}

int schema_match_read(void *at, const struct yaml_node *n, struct load *l)
{
    struct route_match *m = at;
    const struct yaml_node *map = n->type == YAML_SCALAR ? schema_map_of(l, "path", n) : n;

    if (map->type != YAML_MAP)
        return load_err(l, n, CODE_kind, "match: must be a path, or a mapping with path, host, method, header");
    int res = fields_read(schema_match_fields, map, m, l);
    const struct yaml_node *path = yaml_get(map, "path"), *host = yaml_get(map, "host");
    const struct yaml_node *method = yaml_get(map, "method"), *header = yaml_get(map, "header");
    if (path && path->type == YAML_SCALAR &&
        (load_public(l, path, "a match") != 0 || schema_path_check(l, path, "match", m->path, true) != 0 ||
         params_differ(l, path, m->path) != 0))
        res = -1;
    if (host && host->type == YAML_SCALAR && host_check(l, host, &m->host) != 0)
        res = -1;
    if (method && method->type != YAML_MAP && all_scalars(method) && methods_check(l, method, &m->methods) != 0)
        res = -1;
    if (header && header->type == YAML_MAP && all_scalars(header) && header_check(l, header, &m->headers) != 0)
        res = -1;
    if (res != 0)
        m->path = (struct str){NULL, 0};         /* nothing that follows from it is told */
    return res;
}

/* Text that grows by doubling, so that a long match costs what it is long. */
struct text {
    struct arena *arena;
    char *at;
    size_t len, cap;
};

static void text_add(struct text *t, struct str s)
{
    if (s.len == 0)
        return;
    if (t->len + s.len > t->cap) {
        size_t cap = (t->len + s.len) * 2 + 64;
        char *more = arena_alloc(t->arena, cap);
        if (t->len)
            memcpy(more, t->at, t->len);
        t->at = more;
        t->cap = cap;
    }
    memcpy(t->at + t->len, s.at, s.len);
    t->len += s.len;
}

struct str schema_match_text(struct arena *a, const struct route_match *m, bool names)
{
    /* No part can hold a line feed, so texts to compare are unambiguous. */
    struct str sep = names ? STR(" ") : STR("\n"), s;
    struct text t = {.arena = a};

    for (size_t i = 0; i < m->methods.n; i++) {
        text_add(&t, i ? STR(",") : STR(""));
        text_add(&t, m->methods.v[i]);
    }
    if (m->methods.n || !names)
        text_add(&t, sep);
    text_add(&t, m->host);
    for (size_t pos = 0; segment_next(m->path, &pos, &s);) {
        text_add(&t, STR("/"));
        text_add(&t, s.len && s.at[0] == ':' && !names ? STR(":") : s);
    }
    for (size_t i = 0; i < m->headers.n; i++) {
        text_add(&t, sep);
        text_add(&t, m->headers.v[i].key);
        text_add(&t, STR("="));
        text_add(&t, names ? m->headers.v[i].shown : m->headers.v[i].value);
    }
    text_add(&t, STR("\0"));
    return str_of(t.at, t.len - 1);
}
