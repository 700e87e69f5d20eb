/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A YAML document as a tree with places, from libyaml's events.
 *
 * Only the part of YAML that people write by hand is taken: one document, mappings with scalar keys, no tags, no merge
 * keys. What YAML leaves open (a key twice) is refused.
 *
 * Errors that leave the structure as it is (a tag, a key twice, a variable that is not set) do not end the reading: what
 * they are about is left out or marked broken, so that all of them are told at once and nothing else is blamed for them. A broken
 * rule of YAML and a crossed bound do end it: nobody knows what would come then.
 *
 * Bounds: bytes, before and after variables are put in, depth, nodes and anchors. An alias shares the node that its
 * anchor names, and counts as many nodes and levels as that has, so that whoever walks the tree does bounded work too. A
 * node may not hold an alias to itself.
 *
 * Not done here: what a scalar means. "yes" and "1e3" are texts until a field table reads them.
 */
#include "conf/yaml.h"

#include <stdio.h>
#include <yaml.h>
#include "conf/diag.h"
#include "conf/expand.h"

#define ANCHORS_MAX 1000
#define SCALAR_MAX EXPAND_MAX

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
    struct yaml_set *set;
    const struct source *source;
    struct str text;                 /* of the source, without a byte order mark */
    struct anchor *anchors;
    size_t n_anchors;
    size_t chars, bytes;             /* a place in the text in both measures: byte_at() goes on from it */
};

/* ---- places and errors ---- */

static int fail(struct reader *, const yaml_mark_t *, enum diag_code, const char *fmt, ...) printf_like(4, 5);

static int fail(struct reader *r, const yaml_mark_t *mark, enum diag_code code, const char *fmt, ...)
{
    struct place place = {r->source, (unsigned)mark->line + 1, (unsigned)mark->column + 1, 0};
    va_list ap;

    /* The end of the event at hand is what is known of how long the wrong thing is. */
    if (r->has_event && mark == &r->event.start_mark && r->event.end_mark.line == mark->line)
        place.width = (unsigned)(r->event.end_mark.column - mark->column);
    va_start(ap, fmt);
    diag_add(r->set->diags, &place, code, fmt, ap);
    va_end(ap);
    return -1;
}

/* An error at the event at hand that does not end the reading. */
#define complain(r, ...) ((void)fail(r, &(r)->event.start_mark, __VA_ARGS__))

/* libyaml counts characters; the byte where one of them begins. Cheap as long as places come in order. */
static size_t byte_of(struct reader *r, size_t chars)
{
    struct str text = r->text;

    if (chars < r->chars)
        r->chars = r->bytes = 0;
    while (r->chars < chars && r->bytes < text.len) {
        do
            r->bytes++;
        while (r->bytes < text.len && ((unsigned char)text.at[r->bytes] & 0xc0) == 0x80);
        r->chars++;
    }
    return r->bytes;
}

static char byte_at(struct reader *r, size_t chars)
{
    size_t i = byte_of(r, chars);
    return i < r->text.len ? r->text.at[i] : '\0';
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

static int parser_failed(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem ? p->problem : "unknown error";

    if (p->error == YAML_READER_ERROR) {
        yaml_mark_t m = mark_of(r->text, p->problem_offset);
        return fail(r, &m, CODE_not_text, "not UTF-8 text: %s", problem);
    }
    if (p->error == YAML_SCANNER_ERROR && byte_at(r, p->problem_mark.index) == '\t')
        return fail(r, &p->problem_mark, CODE_not_yaml,
                    "not valid YAML: a tab may not indent or separate here; use spaces");
    /* What people write who mean a text, such as host: *.example.com, and what libyaml has no good word for. */
    size_t begin = p->context ? p->context_mark.index : p->problem_mark.index;
    char first = p->error == YAML_SCANNER_ERROR ? byte_at(r, begin) : '\0';
    if (first == '*' || first == '&' || first == '@' || first == '`' || first == '%')
        return fail(r, p->context ? &p->context_mark : &p->problem_mark, CODE_not_yaml,
                    "not valid YAML: a text that begins with \"%c\" must be in quotes", first);
    if (p->context)
        return fail(r, &p->problem_mark, CODE_not_yaml, "not valid YAML: %s, %s that begins at %zu:%zu", problem,
                    p->context, p->context_mark.line + 1, p->context_mark.column + 1);
    return fail(r, &p->problem_mark, CODE_not_yaml, "not valid YAML: %s", problem);
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
        return parser_failed(r);
    r->has_event = true;
    return 0;
}

/* ---- nodes ---- */

static struct yaml_node *node_new(struct reader *r, enum yaml_type type)
{
    const yaml_mark_t *from = &r->event.start_mark, *to = &r->event.end_mark;
    struct yaml_node *n = arena_zalloc(r->set->arena, sizeof(*n));

    n->type = type;
    n->line = (unsigned)from->line + 1;
    n->col = (unsigned)from->column + 1;
    n->source = r->source;
    if (type == YAML_SCALAR && to->line == from->line)
        n->width = (unsigned)(to->column - from->column);
    return n;
}

/* What stands where nothing can be made of what was written. */
static struct yaml_node *node_broken(struct reader *r)
{
    struct yaml_node *n = node_new(r, YAML_SCALAR);
    n->text = n->shown = STR("");
    n->broken = true;
    return n;
}

/* Counts a node, or an alias to many. */
static int count(struct reader *r, size_t nodes)
{
    size_t most = r->set->limits->nodes;
    if (nodes > most - r->set->nodes)
        return fail(r, &r->event.start_mark, CODE_too_much, "more than %zu values, aliases counted in full", most);
    r->set->nodes += nodes;
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
        *res = fail(r, &r->event.start_mark, CODE_too_much, "more than %d anchors", ANCHORS_MAX);
        return NULL;
    }
    struct anchor *a = arena_zalloc(r->set->arena, sizeof(*a));
    a->name = arena_copy(r->set->arena, str_c((const char *)name));
    a->next = r->anchors;
    r->anchors = a;
    return a;
}

/* ---- scalars ---- */

static bool is_null(struct str s)
{
    return s.len == 0 || str_eq(s, STR("~")) || str_eq(s, STR("null")) || str_eq(s, STR("Null")) ||
           str_eq(s, STR("NULL"));
}

/* Bytes that variables made values longer by count too: a small file may not become a large tree. */
static int bytes_count(struct reader *r, size_t bytes)
{
    size_t most = r->set->limits->bytes;
    if (bytes > most - r->set->bytes)
        return fail(r, &r->event.start_mark, CODE_too_much, "more than %zu bytes in all once variables are put in", most);
    r->set->bytes += bytes;
    return 0;
}

static int scalar_expand(struct reader *r, struct yaml_node *n)
{
    struct scalar scalar = {yaml_place(n), {NULL, 0}};
    struct expanded e = {n->text, n->text};
    size_t before = n->text.len;

    if (before >= 2 && memmem(n->text.at, before, "${", 2)) {
        size_t from = byte_of(r, r->event.start_mark.index), to = byte_of(r, r->event.end_mark.index);
        scalar.raw = str_of(r->text.at + from, to - from);
        n->broken = expand(r->set->arena, n->text, &scalar, r->set->sources, r->set->diags, &e) != 0;
    }
    n->text = e.text;
    n->shown = e.shown;
    return bytes_count(r, n->text.len > before ? n->text.len - before : 0);
}

/* What is wrong with the scalar event at hand, whatever it means; false: nothing. */
static bool scalar_is_wrong(struct reader *r, struct str text)
{
    const yaml_event_t *e = &r->event;

    if (e->data.scalar.tag)
        complain(r, CODE_yaml_feature, "tags such as %s are not supported",
                 quoted(str_c((const char *)e->data.scalar.tag)).text);
    else if (text.len > SCALAR_MAX)
        complain(r, CODE_too_much, "a single value of more than %zu bytes", SCALAR_MAX);
    else if (text.len && memchr(text.at, '\0', text.len))
        complain(r, CODE_not_text, "a NUL byte may not stand in a value");
    else
        return false;
    return true;
}

/* Reads the scalar event at hand; `value`: variables are put in. */
static int scalar_read(struct reader *r, bool value, struct yaml_node **out)
{
    const yaml_event_t *e = &r->event;
    struct str text = str_of((const char *)e->data.scalar.value, e->data.scalar.length);
    bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;

    if (scalar_is_wrong(r, text)) {
        *out = node_broken(r);
        return 0;
    }
    /* In [] and {} the "{" ends the text and begins a mapping: nothing behind it could be understood. */
    if (plain && text.len && text.at[text.len - 1] == '$' && byte_at(r, e->end_mark.index) == '{')
        return fail(r, &e->start_mark, CODE_variable_form, "${...} inside [] or {} must be quoted: \"${VAR}\"");
    struct yaml_node *n = *out = node_new(r, value && plain && is_null(text) ? YAML_NULL : YAML_SCALAR);
    n->plain = plain;
    n->text = n->shown = arena_copy(r->set->arena, text);
    return value ? scalar_expand(r, n) : 0;
}

/* ---- lists and mappings ---- */

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
        *height = h + 1 > *height ? h + 1 : *height;
        yaml_add(r->set->arena, n, &cap, e);
    }
}

/* *out is NULL when the entry is to be left out. */
static int key_read(struct reader *r, size_t depth, struct yaml_node **out)
{
    size_t height = 0;

    *out = NULL;
    if (r->event.type != YAML_SCALAR_EVENT) {
        complain(r, CODE_yaml_feature, "a key must be a plain text");
        return node_read(r, depth + 1, out, &height) != 0 ? -1 : (*out = NULL, 0);
    }
    if (r->event.data.scalar.anchor)
        complain(r, CODE_yaml_feature, "a key may not have an anchor");
    if (scalar_read(r, false, out) != 0 || count(r, 1) != 0)
        return -1;
    struct str text = (*out)->text;
    if (text.len == 0 && !(*out)->broken)
        complain(r, CODE_not_yaml, "a key is missing before the colon");
    if ((*out)->plain && str_eq(text, STR("<<")))
        complain(r, CODE_yaml_feature, "merge keys (<<) are not supported; write the keys out");
    if (text.len == 0 || ((*out)->plain && str_eq(text, STR("<<"))))
        *out = NULL;
    return 0;
}

static int map_read(struct reader *r, struct yaml_node *n, size_t depth, size_t *height)
{
    size_t cap = 0;
    for (;;) {
        if (event_next(r) != 0)
            return -1;
        if (r->event.type == YAML_MAPPING_END_EVENT) {
            (void)yaml_keys_unique(n, r->set->diags);
            return 0;
        }
        struct yaml_entry e = {NULL, NULL};
        size_t h = 0;
        if (key_read(r, depth, &e.key) != 0 || event_next(r) != 0 || node_read(r, depth + 1, &e.value, &h) != 0)
            return -1;
        *height = h + 1 > *height ? h + 1 : *height;
        if (e.key)
            yaml_add(r->set->arena, n, &cap, e);
    }
}

static int alias_read(struct reader *r, size_t depth, struct yaml_node **out, size_t *height)
{
    struct str name = str_c((const char *)r->event.data.alias.anchor);
    const struct anchor *a = anchor_find(r, name);

    if (!a || !a->node) {
        complain(r, CODE_alias, a ? "alias *%s stands inside what it names" : "unknown alias *%s", quoted(name).text);
        *out = node_broken(r);
        return count(r, 1);
    }
    if (depth + a->height > r->set->limits->depth + 1)
        return fail(r, &r->event.start_mark, CODE_too_much, "nested deeper than %zu levels", r->set->limits->depth);
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
        complain(r, CODE_yaml_feature, "tags such as %s are not supported", quoted(str_c((const char *)tag)).text);
    if (depth > r->set->limits->depth)
        return fail(r, &r->event.start_mark, CODE_too_much, "nested deeper than %zu levels", r->set->limits->depth);
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
    size_t before = r->set->nodes;
    struct anchor *a = anchor_open(r, event_anchor(&r->event), &res);
    if (res != 0 || count(r, 1) != 0)
        return -1;
    if (r->event.type == YAML_SCALAR_EVENT)
        res = scalar_read(r, true, out);
    else
        res = collection_read(r, depth, out, height);
    if (a) {
        a->node = *out;
        a->weight = r->set->nodes - before;
        a->height = *height;
    }
    return res;
}

/* ---- documents ---- */

/* libyaml compares each %TAG with all before it: a file full of them would keep it busy for hours. Tags are not
 * supported anyway. */
static int directives_check(struct reader *r)
{
    struct place at = {r->source, 1, 1, 1};
    struct str rest = r->text, line;

    for (; rest.len > 0; at.line++) {
        const char *end = memchr(rest.at, '\n', rest.len);
        size_t len = end ? (size_t)(end - rest.at) + 1 : rest.len;
        line = str_of(rest.at, end ? len - 1 : len);
        rest = str_of(rest.at + len, rest.len - len);
        bool directive = line.len && line.at[0] == '%';
        if (directive && !str_starts(line, STR("%YAML")))
            return diag_error(r->set->diags, &at, CODE_yaml_feature, "directives such as %s are not supported",
                              quoted(line).text);
        line = str_trim(line);
        if (!directive && line.len && line.at[0] != '#' && line.at[0] != '\r')
            break;
    }
    return 0;
}

/* Is it text, and not too much of it? */
static int text_check(struct reader *r)
{
    struct yaml_set *set = r->set;
    struct place at = {r->source, 0, 0, 0};
    struct source_why why;

    if (r->text.len > set->limits->bytes - set->bytes)
        return diag_error(set->diags, &at, CODE_too_much, "longer than %zu bytes%s", set->limits->bytes,
                          set->bytes ? ", together with what was read before it" : "");
    set->bytes += r->text.len;
    if (source_check(&r->text, &why) == SOURCE_FINE)
        return directives_check(r);
    at.line = why.line;
    at.col = why.col;
    return diag_error(set->diags, &at, CODE_not_text, "%s", why.text);
}

static int events_next(struct reader *r, unsigned n)
{
    while (n > 0 && event_next(r) == 0)
        n--;
    return n == 0 ? 0 : -1;
}

static int document_read(struct reader *r, struct yaml_node **root)
{
    size_t height = 0;

    if (events_next(r, 2) != 0)                            /* stream start, document start */
        return -1;
    if (r->event.type == YAML_STREAM_END_EVENT) {
        *root = node_new(r, YAML_NULL);
        (*root)->line = (*root)->col = 1;
        return 0;
    }
    if (event_next(r) != 0 || node_read(r, 1, root, &height) != 0)
        return -1;
    if (events_next(r, 2) != 0)                            /* document end, stream end */
        return -1;
    if (r->event.type != YAML_STREAM_END_EVENT)
        complain(r, CODE_yaml_feature, "a second document (---) begins here; a configuration is one");
    return 0;
}

int yaml_read(struct yaml_set *set, const struct source *source, struct yaml_node **root)
{
    struct reader r = {.set = set, .source = source, .text = source->text};

    *root = NULL;
    if (text_check(&r) != 0)
        return -1;
    check(yaml_parser_initialize(&r.parser));             /* fails for want of memory alone, as mem_alloc() does */
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)(r.text.at ? r.text.at : ""), r.text.len);
    int res = document_read(&r, root);
    event_drop(&r);
    yaml_parser_delete(&r.parser);
    return res;
}

int yaml_parse(struct arena *arena, const struct source *source, const struct yaml_limits *limits,
               struct yaml_node **root, struct diags *diags)
{
    struct sources sources;
    struct yaml_set set = {.arena = arena, .limits = limits, .diags = diags, .sources = &sources};
    size_t before = diags->errors;

    sources_init(&sources, arena);
    return yaml_read(&set, source, root) != 0 || diags->errors > before ? -1 : 0;
}

int yaml_read_file(struct arena *arena, const char *path, const struct yaml_limits *limits, struct source *source,
                   struct diags *diags)
{
    struct place whole = {source, 0, 0, 0};
    struct source_bytes bytes;
    struct source_why why;

    *source = (struct source){arena_strdup(arena, str_c(path)), {NULL, 0}};
    enum source_fault fault = source_read(arena, path, limits->bytes, &bytes, &why);
    if (fault != SOURCE_FINE)
        return diag_error(diags, &whole, fault == SOURCE_TOO_LONG ? CODE_too_much : CODE_unreadable, "%s", why.text);
    source->text = bytes.text;
    return 0;
}
