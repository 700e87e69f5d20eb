/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading mappings by tables.
 *
 * Every error names the key, quotes what was written, and says what may be written. Bounds are told in the unit that
 * the value has in the file. Defaults are read by the same code as values: a table with a default that cannot be read
 * is a bug, and the first load finds it.
 */
#include "conf/field.h"

#include <stdio.h>
#include "conf/load.h"
#include "conf/named.h"
#include "conf/unit.h"
#include "conf/yaml.h"
#include "http/headers.h"

static const char *kind_of(const struct yaml_node *n)
{
    switch (n->type) {
    case YAML_NULL: return "nothing";
    case YAML_SCALAR: return "a single value";
    case YAML_LIST: return "a list";
    case YAML_MAP: return "a mapping";
    }
    return "something else";
}

static int wrong_kind(const struct field *f, const struct yaml_node *n, struct load *l, const char *wanted)
{
    return load_err(l, n, CODE_kind, "%s: must be %s, not %s", f->key, wanted, kind_of(n));
}

static int wrong(const struct field *f, const struct yaml_node *n, struct load *l, enum diag_code code, const char *what)
{
    return load_err(l, n, code, "%s: \"%s\" %s", f->key, quoted(n->text).text, what);
}

static int bounds_check(const struct field *f, uint64_t v, const struct yaml_node *n, struct load *l)
{
    uint64_t max = f->type == FIELD_PERCENT && f->max == 0 ? 10000 : f->max;

    if (v >= f->min && (max == 0 || v <= max))
        return 0;
    if (max == 0)
        return load_err(l, n, CODE_bounds, "%s: %s is too small; at least %s", f->key, quoted(n->text).text,
                        unit_text(f->type, f->min).text);
    if (f->min == 0)
        return load_err(l, n, CODE_bounds, "%s: %s is too large; at most %s", f->key, quoted(n->text).text,
                        unit_text(f->type, max).text);
    return load_err(l, n, CODE_bounds, "%s: %s is out of bounds; %s to %s", f->key, quoted(n->text).text,
                    unit_text(f->type, f->min).text, unit_text(f->type, max).text);
}

static int number_read(const struct field *f, const struct yaml_node *n, uint64_t *at, struct load *l)
{
    const char *what = f->type == FIELD_SIZE ? unit_size(n->text, at)
                     : f->type == FIELD_DURATION ? unit_duration(n->text, at) : unit_count(n->text, at);
    return what ? wrong(f, n, l, unit_code(what), what) : bounds_check(f, *at, n, l);
}

static int percent_read(const struct field *f, const struct yaml_node *n, uint32_t *at, struct load *l)
{
    const char *what = unit_percent(n->text, at);
    return what ? wrong(f, n, l, unit_code(what), what) : bounds_check(f, *at, n, l);
}

static int range_read(const struct field *f, const struct yaml_node *n, uint64_t at[2], struct load *l)
{
    const char *what = unit_duration_range(n->text, at);
    if (what)
        return wrong(f, n, l, unit_code(what), what);
    if (bounds_check(f, at[0], n, l) != 0)
        return -1;
    return bounds_check(f, at[1], n, l);
}

static int bool_read(const struct field *f, const struct yaml_node *n, bool *at, struct load *l)
{
    *at = str_eq(n->text, STR("true"));
    return *at || str_eq(n->text, STR("false")) ? 0 : wrong(f, n, l, CODE_boolean, "is neither true nor false");
}

static int enum_read(const struct field *f, const struct yaml_node *n, int *at, struct load *l)
{
    struct nearest near;
    char all[240];
    size_t len = 0;

    nearest_init(&near, n->text);
    for (int i = 0; f->words[i]; i++) {
        if (str_eq(str_c(f->words[i]), n->text)) {
            *at = i;
            return 0;
        }
        nearest_try(&near, str_c(f->words[i]));
        if (len < sizeof(all))
            len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s", i ? ", " : "", f->words[i]);
    }
    return load_err(l, n, CODE_word, "%s: \"%s\" is not one of %s%s", f->key, quoted(n->text).text, all,
                    nearest_hint(&near).text);
}

static int token_read(const struct field *f, const struct yaml_node *n, struct str *at, struct load *l)
{
    *at = n->text;
    return http_is_token(n->text) ? 0 : wrong(f, n, l, CODE_header, "is not a header's name: letters, digits and - only");
}

/* A scalar, or a list of them: how many, and each. */
static size_t items_count(const struct yaml_node *n) { return n->type == YAML_LIST ? n->n : 1; }

static const struct yaml_node *item(const struct yaml_node *n, size_t i)
{
    return n->type == YAML_LIST ? n->entries[i].value : n;
}

static int items_check(const struct field *f, const struct yaml_node *n, struct load *l)
{
    if (n->type != YAML_LIST && n->type != YAML_SCALAR)
        return wrong_kind(f, n, l, "a single value or a list of them");
    for (size_t i = 0; i < items_count(n); i++)
        if (item(n, i)->type != YAML_SCALAR)
            return wrong_kind(f, item(n, i), l, "a list of single values");
    return 0;
}

static int texts_read(const struct field *f, const struct yaml_node *n, struct texts *at, struct load *l)
{
    if (items_check(f, n, l) != 0)
        return -1;
    at->n = items_count(n);
    at->v = arena_zalloc(l->arena, (at->n + 1) * sizeof(*at->v));
    for (size_t i = 0; i < at->n; i++)
        at->v[i] = item(n, i)->text;
    return 0;
}

static int cidrs_read(const struct field *f, const struct yaml_node *n, struct cidrs *at, struct load *l)
{
    if (items_check(f, n, l) != 0)
        return -1;
    at->n = items_count(n);
    at->v = arena_zalloc(l->arena, (at->n + 1) * sizeof(*at->v));
    for (size_t i = 0; i < at->n; i++)
        if (!cidr_parse(item(n, i)->text, &at->v[i]))
            return wrong(f, item(n, i), l, CODE_network,
                         "is not a network; write it like 10.0.0.0/8, 2001:db8::/32 or 192.0.2.1");
    return 0;
}

static int pairs_read(const struct field *f, const struct yaml_node *n, struct pairs *at, struct load *l)
{
    if (n->type != YAML_MAP)
        return wrong_kind(f, n, l, "a mapping of names to values");
    at->n = n->n;
    at->v = arena_zalloc(l->arena, (at->n + 1) * sizeof(*at->v));
    for (size_t i = 0; i < n->n; i++) {
        const struct yaml_entry *en = &n->entries[i];
        if (en->value->type != YAML_SCALAR)
            return load_err(l, en->value, CODE_kind, "%s: the value of \"%s\" must be a single value, not %s; "
                            "an empty one is \"\"",
                            f->key, quoted(en->key->text).text, kind_of(en->value));
        at->v[i] = (struct pair){en->key->text, en->value->text, en->key};
    }
    return 0;
}

static int rate_read(const struct field *f, const struct yaml_node *n, struct rate *at, struct load *l)
{
    const char *what = unit_rate(n->text, at);
    return what ? wrong(f, n, l, unit_code(what), what) : 0;
}

static int scalar_read(const struct field *f, const struct yaml_node *n, void *at, struct load *l)
{
    if (n->type != YAML_SCALAR)
        return wrong_kind(f, n, l, "a single value");
    switch (f->type) {
    case FIELD_BOOL: return bool_read(f, n, at, l);
    case FIELD_COUNT: case FIELD_SIZE: case FIELD_DURATION: return number_read(f, n, at, l);
    case FIELD_PERCENT: return percent_read(f, n, at, l);
    case FIELD_RATE: return rate_read(f, n, at, l);
    case FIELD_DURATION_RANGE: return range_read(f, n, at, l);
    case FIELD_TEXT: *(struct str *)at = n->text; return 0;
    case FIELD_TOKEN: return token_read(f, n, at, l);
    case FIELD_ENUM: return enum_read(f, n, at, l);
    default: break;
    }
    unreachable();
}

int field_read(const struct field *f, const struct yaml_node *n, void *at, struct load *l)
{
    switch (f->type) {
    case FIELD_TEXTS: return texts_read(f, n, at, l);
    case FIELD_PAIRS: return pairs_read(f, n, at, l);
    case FIELD_CIDRS: return cidrs_read(f, n, at, l);
    case FIELD_CUSTOM: return f->parse(at, n, l);
    case FIELD_MAP:
        if (n->type != YAML_MAP && n->type != YAML_NULL)
            return wrong_kind(f, n, l, "a mapping");
        return fields_read(f->sub, n, at, l);
    default: return scalar_read(f, n, at, l);
    }
}

/* What stands when nothing is written. A mapping that is not there needs none of its required keys. */
static void default_read(const struct field *f, void *at, struct load *l)
{
    struct yaml_node n = {.type = YAML_SCALAR, .text = str_c(f->fallback), .plain = true};

    if (f->fallback)
        check(field_read(f, &n, at, l) == 0);
    for (const struct field *s = f->type == FIELD_MAP ? f->sub : NULL; s && s->type != FIELD_END; s++)
        default_read(s, (char *)at + s->offset, l);
}

static void *place_of(const struct field_set *s, const struct field *f) { return (char *)s->options + f->offset; }

static int keys_known(const struct field_set *sets, size_t n, const struct yaml_node *map, struct load *l)
{
    for (size_t i = 0; i < map->n; i++) {
        const struct yaml_node *key = map->entries[i].key;
        struct nearest near;
        bool known = false;

        nearest_init(&near, key->text);
        for (size_t s = 0; s < n; s++)
            for (const struct field *f = sets[s].fields; f && f->type != FIELD_END; f++) {
                known = known || str_eq(str_c(f->key), key->text);
                nearest_try(&near, str_c(f->key));
            }
        if (!known)
            return load_err(l, key, CODE_unknown_key, "unknown key \"%s\"%s", quoted(key->text).text, nearest_hint(&near).text);
    }
    return 0;
}

/* `map` NULL: nothing is written, defaults stand. */
static int set_read(const struct field_set *s, const struct yaml_node *map, struct load *l)
{
    for (const struct field *f = s->fields; f && f->type != FIELD_END; f++) {
        const struct yaml_node *value = yaml_get(map, f->key);
        if (!value && f->required)
            return load_err(l, map, CODE_missing_key, "%s is missing", f->key);
        if (value && value->type == YAML_NULL)
            return load_err(l, value, CODE_no_value, "%s: has no value; leave the key out for its default", f->key);
        if (!value)
            default_read(f, place_of(s, f), l);
        else if (field_read(f, value, place_of(s, f), l) != 0)
            return -1;
    }
    return 0;
}

int fields_read_sets(const struct field_set *sets, size_t n, const struct yaml_node *node, struct load *l)
{
    if (node && node->type == YAML_NULL)
        node = NULL;
    if (node && node->type != YAML_MAP)
        return load_err(l, node, CODE_kind, "must be a mapping (key: value), not %s", kind_of(node));
    if (node && keys_known(sets, n, node, l) != 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (set_read(&sets[i], node, l) != 0)
            return -1;
    return 0;
}

int fields_read(const struct field *fields, const struct yaml_node *node, void *options, struct load *l)
{
    struct field_set set = {fields, options};
    return fields_read_sets(&set, 1, node, l);
}
