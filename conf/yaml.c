/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A YAML document as a tree with places, from libyaml's events.
 *
 * Only the part of YAML that people write by hand is taken: one document, mappings with scalar keys, no tags, no merge
 * keys. What YAML leaves open (a key twice) is refused.
 *
 * Bounds: bytes, before and after variables are put in, depth, nodes and anchors. An alias shares the node that its
 * anchor names, and counts as many nodes and levels as that has, so that whoever walks the tree does bounded work too. A
 * node may not hold an alias to itself.
 *
 * Not done here: what a scalar means. "yes" and "1e3" are texts until a field table reads them.
 */
#include "conf/yaml.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>
#include <yaml.h>
#include "conf/diag.h"
#include "conf/expand.h"
#include "conf/named.h"
#include "lib/mem.h"

#define ANCHORS_MAX 1000

const struct yaml_limits yaml_limits_default = {.bytes = (size_t)16 << 20, .depth = 32, .nodes = 1000000};

struct anchor {
    struct str name;
    struct yaml_node *node;          /* NULL while it is being read */
    size_t weight, height;           /* nodes in it, levels of it */
    struct anchor *next;
};

struct reader {
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event;
    struct arena *arena;
    const struct source *source;
    struct str text;                 /* the source's, without a byte order mark */
    const struct yaml_limits *limits;
    struct diags *diags;
    size_t nodes;                    /* so far, aliases counted with all that they hold */
    size_t expanded;                 /* bytes of values that variables were put into */
    struct anchor *anchors;
    size_t n_anchors;
    size_t chars, bytes;             /* a place in the text in both measures: byte_at() goes on from it */
};

static int err_at(struct reader *, const yaml_mark_t *, enum diag_code, const char *fmt, ...) printf_like(4, 5);

static int err_at(struct reader *r, const yaml_mark_t *mark, enum diag_code code, const char *fmt, ...)
{
    struct place place = {r->source, (unsigned)mark->line + 1, (unsigned)mark->column + 1, 0};
    va_list ap;

    /* The end of a scalar at hand is what is known of how long the wrong thing is. */
    if (r->has_event && mark == &r->event.start_mark && r->event.end_mark.line == mark->line)
        place.width = (unsigned)(r->event.end_mark.column - mark->column);
    va_start(ap, fmt);
    diag_add(r->diags, &place, code, fmt, ap);
    va_end(ap);
    return -1;
}

/* libyaml counts characters; the byte at one of them. Cheap as long as places come in order. */
static char byte_at(struct reader *r, size_t chars)
{
    if (chars < r->chars)
        r->chars = r->bytes = 0;
    while (r->chars < chars && r->bytes < r->text.len) {
        do
            r->bytes++;
        while (r->bytes < r->text.len && ((unsigned char)r->text.at[r->bytes] & 0xc0) == 0x80);
        r->chars++;
    }
    return r->bytes < r->text.len ? r->text.at[r->bytes] : '\0';
}

/* The place of a byte, as libyaml would count it. */
static yaml_mark_t mark_of(struct str text, size_t offset)
{
    yaml_mark_t m = {0, 0, 0};
    for (size_t i = 0; i < offset && i < text.len; i++) {
        if (text.at[i] == '\n') {
            m.line++;
            m.column = 0;
        } else if (((unsigned char)text.at[i] & 0xc0) != 0x80) {
            m.column++;
        }
    }
    return m;
}

static int parser_err(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem ? p->problem : "unknown error";

    if (p->error == YAML_READER_ERROR) {
        yaml_mark_t m = mark_of(r->text, p->problem_offset);
        return err_at(r, &m, CODE_not_text, "not UTF-8 text: %s", problem);
    }
    if (p->error == YAML_SCANNER_ERROR && byte_at(r, p->problem_mark.index) == '\t')
        return err_at(r, &p->problem_mark, CODE_not_yaml, "not valid YAML: a tab may not indent or separate here; use spaces");
    if (p->context)
        return err_at(r, &p->problem_mark, CODE_not_yaml, "not valid YAML: %s, %s that begins at %zu:%zu", problem, p->context,
                      p->context_mark.line + 1, p->context_mark.column + 1);
    return err_at(r, &p->problem_mark, CODE_not_yaml, "not valid YAML: %s", problem);
}

static void event_drop(struct reader *r)
{
    if (r->has_event)
        yaml_event_delete(&r->event);
    r->has_event = false;
}

static int event_next(struct reader *r)
{
    event_drop(r);
    if (!yaml_parser_parse(&r->parser, &r->event))
        return parser_err(r);
    r->has_event = true;
    return 0;
}

static struct yaml_node *node_new(struct reader *r, enum yaml_type type)
{
    struct yaml_node *n = arena_zalloc(r->arena, sizeof(*n));
    n->type = type;
    n->line = (unsigned)r->event.start_mark.line + 1;
    n->col = (unsigned)r->event.start_mark.column + 1;
    n->source = r->source;
    if (type == YAML_SCALAR && r->event.end_mark.line == r->event.start_mark.line)
        n->width = (unsigned)(r->event.end_mark.column - r->event.start_mark.column);
    return n;
}

/* Counts a node, or an alias to many. */
static int count(struct reader *r, size_t nodes)
{
    if (nodes > r->limits->nodes - r->nodes)
        return err_at(r, &r->event.start_mark, CODE_too_much, "more than %zu values, aliases counted in full", r->limits->nodes);
    r->nodes += nodes;
    return 0;
}

static const struct anchor *anchor_find(const struct reader *r, struct str name)
{
    const struct anchor *a = r->anchors;
    while (a && !str_eq(a->name, name))
        a = a->next;
    return a;
}

/* NULL: the node has no anchor, or there are too many (*res is -1). */
static struct anchor *anchor_open(struct reader *r, const yaml_char_t *name, int *res)
{
    *res = 0;
    if (!name)
        return NULL;
    if (++r->n_anchors > ANCHORS_MAX) {
        *res = err_at(r, &r->event.start_mark, CODE_too_much, "more than %d anchors", ANCHORS_MAX);
        return NULL;
    }
    struct anchor *a = arena_zalloc(r->arena, sizeof(*a));
    a->name = arena_copy(r->arena, str_c((const char *)name));
    a->next = r->anchors;
    r->anchors = a;
    return a;
}

static bool is_null(struct str s)
{
    return s.len == 0 || str_eq(s, STR("~")) || str_eq(s, STR("null")) || str_eq(s, STR("Null")) ||
           str_eq(s, STR("NULL"));
}

/* The text of the scalar event at hand; `value`: variables are put in. */
static int scalar_text(struct reader *r, struct yaml_node *n, bool value)
{
    const yaml_event_t *e = &r->event;
    struct str text = str_of((const char *)e->data.scalar.value, e->data.scalar.length);

    n->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (e->data.scalar.tag)
        return err_at(r, &e->start_mark, CODE_yaml_feature, "tags such as %s are not supported", quoted(
                      str_c((const char *)e->data.scalar.tag)).text);
    if (text.len && memchr(text.at, '\0', text.len))
        return err_at(r, &e->start_mark, CODE_not_text, "a NUL byte may not stand in a value");
    if (n->plain && text.len && text.at[text.len - 1] == '$' && byte_at(r, e->end_mark.index) == '{')
        return err_at(r, &e->start_mark, CODE_variable_form, "${...} inside [] or {} must be quoted: \"${VAR}\"");
    n->text = arena_copy(r->arena, text);
    if (!value)
        return 0;
    if (n->plain && is_null(n->text))
        n->type = YAML_NULL;
    struct place place = yaml_place(n);
    struct str before = n->text;
    if (expand(r->arena, before, &place, &n->text, r->diags) != 0)
        return -1;
    if (n->text.at != before.at)
        r->expanded += n->text.len;
    if (r->expanded > r->limits->bytes)
        return err_at(r, &e->start_mark, CODE_too_much, "more than %zu bytes once variables are put in", r->limits->bytes);
    return 0;
}

static void entries_grow(struct reader *r, struct yaml_node *n, size_t *cap)
{
    if (n->n < *cap)
        return;
    size_t more = *cap ? *cap * 2 : 4;
    struct yaml_entry *v = arena_alloc(r->arena, more * sizeof(*v));
    if (n->n)
        memcpy(v, n->entries, n->n * sizeof(*v));
    n->entries = v;
    *cap = more;
}

static int node_read(struct reader *, size_t depth, struct yaml_node **, size_t *height);

static int list_read(struct reader *r, struct yaml_node *n, size_t depth, size_t *height)
{
    size_t cap = 0;
    for (;;) {
        if (event_next(r) != 0)
            return -1;
        if (r->event.type == YAML_SEQUENCE_END_EVENT)
            return 0;
        struct yaml_entry e = {NULL, NULL};
        size_t h = 0;
        if (node_read(r, depth + 1, &e.value, &h) != 0)
            return -1;
        entries_grow(r, n, &cap);
        *height = h + 1 > *height ? h + 1 : *height;
        n->entries[n->n++] = e;
    }
}

static int key_read(struct reader *r, struct yaml_node **out)
{
    if (r->event.type != YAML_SCALAR_EVENT)
        return err_at(r, &r->event.start_mark, CODE_yaml_feature, "a key must be a plain text");
    if (r->event.data.scalar.anchor)
        return err_at(r, &r->event.start_mark, CODE_yaml_feature, "a key may not have an anchor");
    *out = node_new(r, YAML_SCALAR);
    if (scalar_text(r, *out, false) != 0 || count(r, 1) != 0)
        return -1;
    if ((*out)->text.len == 0)
        return err_at(r, &r->event.start_mark, CODE_not_yaml, "a key is missing before the colon");
    if ((*out)->plain && str_eq((*out)->text, STR("<<")))
        return err_at(r, &r->event.start_mark, CODE_yaml_feature, "merge keys (<<) are not supported; write the keys out");
    return 0;
}

static int keys_differ(struct reader *r, const struct yaml_node *map)
{
    struct named *v = mem_array(map->n + 1, sizeof(*v));
    const struct named *earlier = NULL;

    for (size_t i = 0; i < map->n; i++)
        v[i] = (struct named){map->entries[i].key->text, i};
    const struct named *again = named_repeated(v, map->n, &earlier);
    int res = 0;
    if (again) {
        const struct yaml_node *key = map->entries[again->index].key;
        struct place place = yaml_place(key);
        res = diag_error(r->diags, &place, CODE_key_twice, "key \"%s\" stands here twice; the first is at line %u",
                         quoted(key->text).text, map->entries[earlier->index].key->line);
    }
    mem_free(v);
    return res;
}

static int map_read(struct reader *r, struct yaml_node *n, size_t depth, size_t *height)
{
    size_t cap = 0;
    for (;;) {
        if (event_next(r) != 0)
            return -1;
        if (r->event.type == YAML_MAPPING_END_EVENT)
            return keys_differ(r, n);
        struct yaml_entry e = {NULL, NULL};
        size_t h = 0;
        if (key_read(r, &e.key) != 0 || event_next(r) != 0 || node_read(r, depth + 1, &e.value, &h) != 0)
            return -1;
        entries_grow(r, n, &cap);
        *height = h + 1 > *height ? h + 1 : *height;
        n->entries[n->n++] = e;
    }
}

static int alias_read(struct reader *r, size_t depth, struct yaml_node **out, size_t *height)
{
    struct str name = str_c((const char *)r->event.data.alias.anchor);
    const struct anchor *a = anchor_find(r, name);

    if (!a)
        return err_at(r, &r->event.start_mark, CODE_alias, "unknown alias *%s", quoted(name).text);
    if (!a->node)
        return err_at(r, &r->event.start_mark, CODE_alias, "alias *%s stands inside what it names", quoted(name).text);
    if (depth + a->height > r->limits->depth + 1)
        return err_at(r, &r->event.start_mark, CODE_too_much, "nested deeper than %zu levels", r->limits->depth);
    *out = a->node;
    *height = a->height;
    return count(r, a->weight);
}

/* A list or mapping, whose start event is at hand. */
static int collection_read(struct reader *r, size_t depth, struct yaml_node **out, size_t *height)
{
    bool list = r->event.type == YAML_SEQUENCE_START_EVENT;
    const yaml_char_t *tag = list ? r->event.data.sequence_start.tag : r->event.data.mapping_start.tag;

    if (tag)
        return err_at(r, &r->event.start_mark, CODE_yaml_feature, "tags such as %s are not supported",
                      quoted(str_c((const char *)tag)).text);
    if (depth > r->limits->depth)
        return err_at(r, &r->event.start_mark, CODE_too_much, "nested deeper than %zu levels", r->limits->depth);
    struct yaml_node *n = *out = node_new(r, list ? YAML_LIST : YAML_MAP);
    return list ? list_read(r, n, depth, height) : map_read(r, n, depth, height);
}

static const yaml_char_t *event_anchor(const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_SCALAR_EVENT: return e->data.scalar.anchor;
    case YAML_SEQUENCE_START_EVENT: return e->data.sequence_start.anchor;
    case YAML_MAPPING_START_EVENT: return e->data.mapping_start.anchor;
    default: return NULL;
    }
}

/* Reads the node whose first event is at hand. *height (0 at first): how many levels it has below itself. */
static int node_read(struct reader *r, size_t depth, struct yaml_node **out, size_t *height)
{
    if (r->event.type == YAML_ALIAS_EVENT)
        return alias_read(r, depth, out, height);

    int res;
    size_t before = r->nodes;
    struct anchor *a = anchor_open(r, event_anchor(&r->event), &res);
    if (res != 0 || count(r, 1) != 0)
        return -1;
    if (r->event.type == YAML_SCALAR_EVENT) {
        *out = node_new(r, YAML_SCALAR);
        res = scalar_text(r, *out, true);
    } else {
        res = collection_read(r, depth, out, height);
    }
    if (a) {
        a->node = *out;
        a->weight = r->nodes - before;
        a->height = *height;
    }
    return res;
}

static int document_read(struct reader *r, struct yaml_node **root)
{
    size_t height = 0;

    if (event_next(r) != 0 || event_next(r) != 0)          /* stream start, document start */
        return -1;
    if (r->event.type == YAML_STREAM_END_EVENT) {
        *root = node_new(r, YAML_NULL);
        (*root)->line = (*root)->col = 1;
        return 0;
    }
    if (event_next(r) != 0 || node_read(r, 1, root, &height) != 0)
        return -1;
    if (event_next(r) != 0 || event_next(r) != 0)          /* document end, stream end */
        return -1;
    if (r->event.type != YAML_STREAM_END_EVENT)
        return err_at(r, &r->event.start_mark, CODE_yaml_feature, "a second document (---) begins here; a configuration is one");
    return 0;
}

int yaml_parse(struct arena *arena, const struct source *source, const struct yaml_limits *limits,
               struct yaml_node **root, struct diags *diags)
{
    struct reader r = {.arena = arena, .source = source, .text = source->text, .limits = limits, .diags = diags};
    struct place whole = {source, 0, 0, 0};

    diags_file(diags, source->name);
    if (str_starts(r.text, STR("\xef\xbb\xbf")))
        r.text = str_of(r.text.at + 3, r.text.len - 3);
    if (r.text.len > limits->bytes)
        return diag_error(diags, &whole, CODE_too_much, "longer than %zu bytes", limits->bytes);
    check(yaml_parser_initialize(&r.parser));
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)(r.text.at ? r.text.at : ""), r.text.len);
    int res = document_read(&r, root);
    event_drop(&r);
    yaml_parser_delete(&r.parser);
    return res;
}

static int read_all(int fd, size_t max, char **out, size_t *len)
{
    size_t cap = 8192;
    char *text = mem_alloc(cap);

    *len = 0;
    for (;;) {
        ssize_t n = read(fd, text + *len, cap - *len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || *len > max) {
            *out = text;
            return n < 0 ? -1 : 0;
        }
        *len += (size_t)n;
        if (*len == cap)
            text = mem_realloc(text, cap *= 2);
    }
}

int yaml_read_file(struct arena *arena, const char *path, const struct yaml_limits *limits, struct source *source,
                   struct diags *diags)
{
    struct place whole = {source, 0, 0, 0};
    char *all = NULL;
    size_t len = 0;
    int res = 0, fd = open(path, O_RDONLY | O_CLOEXEC);

    *source = (struct source){.name = arena_strdup(arena, str_c(path))};
    diags_file(diags, path);
    if (fd < 0)
        return diag_error(diags, &whole, CODE_unreadable, "cannot open it: %s", strerror(errno));
    if (read_all(fd, limits->bytes, &all, &len) != 0)
        res = diag_error(diags, &whole, CODE_unreadable, "cannot read it: %s", strerror(errno));
    else if (len > limits->bytes)
        res = diag_error(diags, &whole, CODE_too_much, "longer than %zu bytes", limits->bytes);
    else
        source->text = arena_copy(arena, str_of(all, len));
    mem_free(all);
    close(fd);
    return res;
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
    struct str k = str_c(key);
    if (!map || map->type != YAML_MAP)
        return NULL;
    for (size_t i = 0; i < map->n; i++)
        if (str_eq(map->entries[i].key->text, k))
            return map->entries[i].value;
    return NULL;
}

struct place yaml_place(const struct yaml_node *n) { return (struct place){n->source, n->line, n->col, n->width}; }

struct quoted quoted(struct str s)
{
    struct quoted q;
    const size_t most = sizeof(q.text) - 4;
    size_t n = s.len < most ? s.len : most;

    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s.at[i];
        q.text[i] = (char)(c < ' ' || c == 0x7f ? '?' : c);
    }
    memcpy(q.text + n, "...", 4);
    if (s.len <= most)
        q.text[n] = '\0';
    return q;
}

struct quoted yaml_quoted(const struct yaml_node *n) { return quoted(n->text); }
