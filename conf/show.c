/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `weir show`: what is in force, value by value.
 *
 * Written values are shown as they were read, with variables expanded, in the form that YAML would take again. A default is
 * shown as the table writes it; a number that was worked out from other keys (`burst`: half a second of the rate) is read
 * back from where the reader put it, when all has been checked. A key that has neither a value nor a default is not in force
 * and not shown.
 */
#include "conf/show.h"

#include <stdarg.h>
#include <stdio.h>
#include "conf/schema.h"
#include "conf/unit.h"
#include "conf/yaml.h"
#include "lib/arena.h"
#include "lib/mem.h"
#include "lib/page.h"

#define DEPTH_MAX 40
#define PATH_CAP 512

struct entry {
    const char *path, *value;        /* `value` NULL: what `at` holds */
    const struct field *field;
    const void *at;
    const struct yaml_node *node;    /* NULL: a default */
    bool shared;                     /* it names a filter under `define` */
    struct entry *next;
};

struct show {
    struct arena arena;
    struct entry *first, **last;
    const struct yaml_node *root;
    bool mute;
    char path[PATH_CAP];
    struct { size_t path_len; struct entry **last; } stack[DEPTH_MAX];
    size_t depth, path_len;
};

struct show *show_new(void)
{
    struct show *s = mem_zalloc(sizeof(*s));
    arena_init(&s->arena, NULL);
    s->last = &s->first;
    return s;
}

void show_free(struct show **sp)
{
    if (*sp)
        arena_fini(&(*sp)->arena);
    mem_free(*sp);
    *sp = NULL;
}

/* --- while reading ------------------------------------------------------------------------------------------------ */

void show_root(struct show *s, const struct yaml_node *root)
{
    if (s)
        s->root = root;
}

void show_mute(struct show *s, bool mute)
{
    if (s)
        s->mute = mute;
}

void show_enter_slow(struct show *s, const char *fmt, ...)
{
    char part[PATH_CAP];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(part, sizeof(part), fmt, ap);
    va_end(ap);
    check(s->depth < DEPTH_MAX);         /* tables are not that deep, and lists stand in tables */
    s->stack[s->depth].path_len = s->path_len;
    s->stack[s->depth].last = s->last;
    s->depth++;
    int n = snprintf(s->path + s->path_len, sizeof(s->path) - s->path_len, "%s%s", s->path_len && *part != '[' ? "." : "", part);
    s->path_len += (size_t)n;
    if (s->path_len >= sizeof(s->path))
        s->path_len = sizeof(s->path) - 1;
}

void show_leave(struct show *s)
{
    if (!s)
        return;
    check(s->depth > 0);
    s->path_len = s->stack[--s->depth].path_len;
    s->path[s->path_len] = '\0';
}

static struct entry *entry_add(struct show *s, const struct yaml_node *node)
{
    struct entry *e = arena_zalloc(&s->arena, sizeof(*e));

    e->path = arena_strdup(&s->arena, str_c(s->path));
    e->node = node;
    *s->last = e;
    s->last = &e->next;
    return e;
}

static bool is_one_of(char c, const char *set) { return c && strchr(set, c) != NULL; }

/* Would YAML read it as this text, without quotes, also inside [] and {}? */
static bool is_plain(struct str s)
{
    if (s.len == 0 || is_one_of(s.at[0], ",[]{}#&*!|>'\"%@` ") || is_one_of(s.at[s.len - 1], " :"))
        return str_eq(s, STR("***"));    /* what stands for a secret */
    if (is_one_of(s.at[0], "-?:") && (s.len == 1 || s.at[1] == ' '))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.at[i] < ' ' || s.at[i] == 0x7f || is_one_of(s.at[i], ",[]{}"))
            return false;
        if ((s.at[i] == ':' && i + 1 < s.len && s.at[i + 1] == ' ') || (s.at[i] == ' ' && i + 1 < s.len && s.at[i + 1] == '#'))
            return false;
    }
    return true;
}

static void text_print(struct page *out, struct str s)
{
    if (is_plain(s))
        page_printf(out, STR_FMT, STR_ARG(s));
    else
        page_json(out, s);
}

/* What was written, in one line; never the text itself, which may hold a secret. */
static void node_print(struct page *out, const struct yaml_node *n)
{
    bool map = n->type == YAML_MAP;

    if (n->type == YAML_SCALAR)
        text_print(out, n->shown);
    else if (n->type != YAML_NULL)
        page_printf(out, map ? "{" : "[");
    for (size_t i = 0; i < n->n; i++) {
        page_printf(out, "%s", i ? ", " : "");
        if (map) {
            text_print(out, n->entries[i].key->shown);
            page_printf(out, ": ");
        }
        node_print(out, n->entries[i].value);
    }
    if (n->type == YAML_MAP || n->type == YAML_LIST)
        page_printf(out, map ? "}" : "]");
}

static void node_add(struct show *s, const struct yaml_node *n)
{
    struct page text = {0};

    page_printf(&text, "%s", "");
    node_print(&text, n);
    entry_add(s, n)->value = arena_strdup(&s->arena, str_of(text.at, text.len));
    page_free(&text);
}

void show_text(struct show *s, struct str name, const struct yaml_node *node, bool shared)
{
    struct page text = {0};

    if (!s || s->mute)
        return;
    text_print(&text, name);
    struct entry *e = entry_add(s, node);
    e->value = arena_strdup(&s->arena, str_of(text.at, text.len));
    e->shared = shared;
    page_free(&text);
}

/* A mapping that is not there at all: its rows' defaults stand, unless it would need to be there for them. */
static void defaults_add(struct show *s, const struct field *f, const char *at)
{
    for (const struct field *row = f->sub; row->type != FIELD_END; row++)
        if (row->required)
            return;
    for (const struct field *row = f->sub; row->type != FIELD_END; row++) {
        show_enter_slow(s, "%s", row->key);
        show_value(s, row, NULL, at + row->offset);
        show_leave(s);
    }
}

void show_value(struct show *s, const struct field *f, const struct yaml_node *n, const void *at)
{
    if (!s || s->mute || s->last != s->stack[s->depth - 1].last)
        return;
    if ((f->type == FIELD_CUSTOM && f->parse == schema_later_read) || f == schema_common_fields)
        return;                          /* told when they are known: filters, and a filter's name */
    if (f->type == FIELD_MAP && !n) {
        defaults_add(s, f, at);
    } else if (f->type == FIELD_PAIRS && n && n->n) {
        for (size_t i = 0; i < n->n; i++) {
            show_enter_slow(s, STR_FMT, STR_ARG(n->entries[i].key->text));
            node_add(s, n->entries[i].value);
            show_leave(s);
        }
    } else if (n) {
        node_add(s, n);
    } else {
        struct entry *e = entry_add(s, NULL);
        e->field = f;
        e->at = at;
        e->value = NULL;
    }
}

/* --- afterwards --------------------------------------------------------------------------------------------------- */

static bool same_number(const struct field *f, uint64_t now)
{
    struct str text = str_c(f->fallback);
    uint64_t number = 0;
    uint32_t share = 0;

    switch (f->type) {
    case FIELD_COUNT: return !unit_count(text, &number) && number == now;
    case FIELD_SIZE: return !unit_size(text, &number) && number == now;
    case FIELD_DURATION: return !unit_duration(text, &number) && number == now;
    case FIELD_PERCENT: return !unit_percent(text, &share) && share == now;
    default: return false;
    }
}

/* A default as it now is; false: there is none. */
static bool default_print(struct page *out, const struct field *f, const void *at)
{
    uint64_t now = 0;

    if (f->type == FIELD_COUNT || f->type == FIELD_SIZE || f->type == FIELD_DURATION)
        now = *(const uint64_t *)at;
    else if (f->type == FIELD_PERCENT)
        now = *(const uint32_t *)at;
    if (now && (!f->fallback || !same_number(f, now)))
        page_printf(out, "%s", unit_text(f->type, now).text);
    else if (f->fallback)
        text_print(out, str_c(f->fallback));
    else if (f->type == FIELD_TEXT && ((const struct str *)at)->len)
        text_print(out, *(const struct str *)at);
    else
        return false;
    return true;
}

/* The value, in memory of its own; NULL: not in force. */
static char *value_of(const struct entry *e, struct page *text)
{
    text->len = 0;
    if (e->value)
        page_printf(text, "%s", e->value);
    else if (!default_print(text, e->field, e->at))
        return NULL;
    return text->at;
}

static void line_print(const struct entry *e, struct page *out, struct page *text, bool json)
{
    const char *value = value_of(e, text);

    if (!value)
        return;
    if (!json && e->node)
        page_printf(out, "%s = %s  # %s:%u%s%s\n", e->path, value, e->node->source->name, e->node->line,
                    e->shared ? ", shared: define." : "", e->shared ? value : "");
    if (!json && !e->node)
        page_printf(out, "%s = %s  # default\n", e->path, value);
    if (!json)
        return;
    page_printf(out, "%s{\"path\":", out->len > 1 ? ",\n" : "");
    page_json(out, str_c(e->path));
    page_printf(out, ",\"value\":");
    page_json(out, str_c(value));
    if (e->node) {
        page_printf(out, ",\"file\":");
        page_json(out, str_c(e->node->source->name));
        page_printf(out, ",\"line\":%u", e->node->line);
    } else {
        page_printf(out, ",\"default\":true");
    }
    page_printf(out, e->shared ? ",\"shared\":true}" : "}");
}

static bool is_in(const struct entry *e, struct str section)
{
    return strncmp(e->path, section.at, section.len) == 0 &&
           (e->path[section.len] == '.' || e->path[section.len] == '[' || e->path[section.len] == '\0');
}

static bool is_written(const struct show *s, const struct entry *e)
{
    for (size_t i = 0; s->root && i < s->root->n; i++)
        if (is_in(e, s->root->entries[i].key->text))
            return true;
    return false;
}

/* Sections that the file has in its order, then those that it does not have. */
static void all_print(const struct show *s, struct page *out, bool json)
{
    struct page text = {0};

    for (size_t i = 0; s->root && i < s->root->n; i++)
        for (const struct entry *e = s->first; e; e = e->next)
            if (is_in(e, s->root->entries[i].key->text))
                line_print(e, out, &text, json);
    for (const struct entry *e = s->first; e; e = e->next)
        if (!is_written(s, e))
            line_print(e, out, &text, json);
    page_free(&text);
}

void show_print(const struct show *s, struct page *out) { all_print(s, out, false); }

void show_json(const struct show *s, struct page *out)
{
    struct page list = {0};

    page_printf(&list, "[");
    all_print(s, &list, true);
    page_printf(out, "%s]\n", list.at);
    page_free(&list);
}
