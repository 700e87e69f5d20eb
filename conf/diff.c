/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Differences of two readings.
 *
 * A number is taken from where it was read to: that is what counts, also where the file says nothing and it follows from
 * another key. Other values have forms of their own that only their readers know; they are compared and shown as they are
 * written, and the default when they are not. So two ways to write the same may count as a difference, but nothing that
 * differs counts as the same.
 */
#include "conf/diff.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "conf/unit.h"
#include "conf/yaml.h"
#include "lib/clock.h"

enum { SHOWN_MAX = 200, PATH_CAP = 128 };

static bool is_number(const struct field *f)
{
    switch (f->type) {
    case FIELD_BOOL: case FIELD_COUNT: case FIELD_SIZE: case FIELD_DURATION: case FIELD_PERCENT: case FIELD_RATE:
    case FIELD_DURATION_RANGE: case FIELD_ENUM:
        return true;
    case FIELD_TEXT: case FIELD_TOKEN: case FIELD_TEXTS: case FIELD_PAIRS: case FIELD_CIDRS: case FIELD_MAP: case FIELD_CUSTOM:
    case FIELD_END:
        return false;
    }
    unreachable();
}

/* ---- showing ---- */

static void rate_print(const struct rate *r, struct page *p)
{
    const char *period = r->period == NSEC_PER_SEC ? "s" : r->period == 60 * NSEC_PER_SEC ? "min" : "h";
    page_printf(p, "%" PRIu64 "/%s", r->tokens, period);
}

static void number_print(const struct field *f, const void *at, struct page *p)
{
    const uint64_t *n = at;
    switch (f->type) {
    case FIELD_BOOL:
        page_printf(p, *(const bool *)at ? "true" : "false");
        break;
    case FIELD_PERCENT:
        page_printf(p, "%s", unit_text(f->type, *(const uint32_t *)at).text);
        break;
    case FIELD_RATE:
        rate_print(at, p);
        break;
    case FIELD_DURATION_RANGE:
        page_printf(p, "%s..%s", unit_text(FIELD_DURATION, n[0]).text, unit_text(FIELD_DURATION, n[1]).text);
        break;
    case FIELD_ENUM:
        page_printf(p, "%s", f->words[*(const int *)at]);
        break;
    default:
        page_printf(p, "%s", unit_text(f->type, *n).text);
    }
}

/* A little more than will be shown, so that it is seen that there is more. */
static void scalar_print(const struct yaml_node *n, struct page *p)
{
    struct str text = yaml_shown(n);
    size_t len = text.len < 2 * SHOWN_MAX ? text.len : 2 * SHOWN_MAX;
    for (size_t i = 0; i < len; i++)
        page_printf(p, "%c", (unsigned char)text.at[i] < ' ' || text.at[i] == 0x7f ? ' ' : text.at[i]);
    if (len == 0)
        page_printf(p, "\"\"");
}

/* In flow style, until it is too long. */
static void node_print(const struct yaml_node *n, size_t from, struct page *p)
{
    const char *ends = n->type == YAML_LIST ? "[]" : "{}";
    if (n->type == YAML_NULL)
        page_printf(p, "null");
    if (n->type == YAML_SCALAR)
        scalar_print(n, p);
    if (n->type == YAML_NULL || n->type == YAML_SCALAR)
        return;
    page_printf(p, "%c", ends[0]);
    for (size_t i = 0; i < n->n && p->len - from < SHOWN_MAX; i++) {
        if (i)
            page_printf(p, ", ");
        if (n->entries[i].key) {
            scalar_print(n->entries[i].key, p);
            page_printf(p, ": ");
        }
        node_print(n->entries[i].value, from, p);
    }
    page_printf(p, "%c", ends[1]);
}

/* Not within a character of several bytes. */
static void cut(struct page *p, size_t from)
{
    size_t len = from + SHOWN_MAX;
    if (p->len <= len)
        return;
    while (len > from && ((unsigned char)p->at[len] & 0xc0) == 0x80)
        len--;
    p->len = len;
    page_printf(p, "...");
}

/* Nothing is written, nothing follows from what is, and there is no default. */
static bool is_none(const struct field *f, const void *at, const struct yaml_node *node)
{
    static const char zeros[sizeof(uint64_t)] = {0};
    return !node && !f->fallback && (!is_number(f) || (f->type != FIELD_BOOL && f->type != FIELD_ENUM
                                                       && memcmp(at, zeros, f->type == FIELD_PERCENT ? 4 : 8) == 0));
}

void diff_value(const struct field *f, const void *at, const struct yaml_node *node, struct page *p)
{
    size_t from = p->len;
    if (is_none(f, at, node))
        page_printf(p, "none");
    else if (is_number(f) && !(node && yaml_is_secret(node)))
        number_print(f, at, p);
    else if (node)
        node_print(node, from, p);
    else
        page_printf(p, "%s", f->fallback);
    cut(p, from);
}

/* ---- comparing ---- */

static bool number_same(const struct field *f, const void *a, const void *b)
{
    switch (f->type) {
    case FIELD_BOOL:
        return *(const bool *)a == *(const bool *)b;
    case FIELD_PERCENT:
        return *(const uint32_t *)a == *(const uint32_t *)b;
    case FIELD_ENUM:
        return *(const int *)a == *(const int *)b;
    case FIELD_RATE: {
        const struct rate *x = a, *y = b;
        return x->tokens == y->tokens && x->period == y->period;
    }
    case FIELD_DURATION_RANGE:
        return memcmp(a, b, 2 * sizeof(uint64_t)) == 0;
    default:
        return *(const uint64_t *)a == *(const uint64_t *)b;
    }
}

static bool node_same(const struct yaml_node *a, const struct yaml_node *b)
{
    if (a->type != b->type)
        return false;
    if (a->type == YAML_SCALAR)
        return str_eq(a->text, b->text);
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const struct yaml_entry *x = &a->entries[i], *y = &b->entries[i];
        if ((x->key && !str_eq(x->key->text, y->key->text)) || !node_same(x->value, y->value))
            return false;
    }
    return true;
}

/* One value alone may be written without what it would stand in: a list of it, or a mapping with the key that it needs. */
static const struct yaml_node *without_shell(const struct field *f, const struct yaml_node *n)
{
    if (n->type == YAML_LIST && n->n == 1)
        return n->entries[0].value;
    for (const struct field *sub = f->type == FIELD_CUSTOM ? f->sub : NULL; sub && sub->type != FIELD_END; sub++)
        if (sub->required && n->type == YAML_MAP && n->n == 1 && yaml_get(n, sub->key))
            return n->entries[0].value;
    return n;
}

static bool written_same(const struct field *f, const struct yaml_node *a, const struct yaml_node *b)
{
    const struct yaml_node standard = {.type = YAML_SCALAR, .text = str_c(f->fallback), .plain = true};
    if (!a && !b)
        return true;
    if ((!a || !b) && !f->fallback)
        return false;
    a = a ? a : &standard;
    b = b ? b : &standard;
    if (a->type != b->type && (a->type == YAML_SCALAR || b->type == YAML_SCALAR))
        return node_same(a->type == YAML_SCALAR ? a : without_shell(f, a), b->type == YAML_SCALAR ? b : without_shell(f, b));
    return node_same(a, b);
}

static bool is_skipped(const char *key, const char *const *skip)
{
    for (; skip && *skip; skip++)
        if (strcmp(*skip, key) == 0)
            return true;
    return false;
}

struct diff {
    void (*found)(void *ctx, const struct diff_key *);
    void *ctx;
};

static void tell(const struct diff *d, const char *key, const struct field *f, const void *a, const struct yaml_node *was,
                 const void *b, const struct yaml_node *is)
{
    struct page from = {0}, to = {0};
    diff_value(f, a, was, &from);
    diff_value(f, b, is, &to);
    if (strcmp(from.at, to.at) == 0)         /* what differs is not shown */
        page_printf(&to, " (another)");
    d->found(d->ctx, &(struct diff_key){key, from.at, to.at});
    page_free(&from);
    page_free(&to);
}

static void walk(const struct diff *d, const char *path, const struct field *fields, const struct diff_side *from,
                 const struct diff_side *to, const char *const *skip)
{
    for (const struct field *f = fields; f && f->type != FIELD_END; f++) {
        const void *a = (const char *)from->options + f->offset, *b = (const char *)to->options + f->offset;
        const struct yaml_node *was = yaml_get(from->node, f->key), *is = yaml_get(to->node, f->key);
        char key[PATH_CAP];
        if (is_skipped(f->key, skip))
            continue;
        (void)snprintf(key, sizeof key, "%s%s%s", path, *path ? "." : "", f->key);
        if (f->type == FIELD_MAP)
            walk(d, key, f->sub, &(struct diff_side){a, was}, &(struct diff_side){b, is}, NULL);
        else if (is_number(f) ? !number_same(f, a, b) : !written_same(f, was, is))
            tell(d, key, f, a, was, b, is);
    }
}

void diff_fields(const struct field *fields, const struct diff_side *from, const struct diff_side *to, const char *const *skip,
                 void (*found)(void *ctx, const struct diff_key *), void *ctx)
{
    const struct diff d = {found, ctx};
    walk(&d, "", fields, from, to, skip);
}
