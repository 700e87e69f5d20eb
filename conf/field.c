/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading mappings by tables.
 *
 * Every error names the key, quotes what was written, and says what may be written. Bounds are told in the unit that
 * the value has in the file. Defaults are read by the same code as values: a table with a default that cannot be read
 * is a bug, and the first load finds it.
 *
 * Reading goes on after an error: every key of a mapping and every item of a list is looked at. A value that cannot be read
 * leaves its default, so that whoever goes on finds a sane one; but what depends on it should not be judged.
 */
#include "conf/field.h"

#include <stdio.h>
#include "conf/load.h"
#include "conf/named.h"
#include "conf/show.h"
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

static int bounds_check(const struct field *f, uint64_t v, const struct yaml_node *n, struct load *l)
{
    uint64_t max = f->type == FIELD_PERCENT && f->max == 0 ? 10000 : f->max;

    if (v >= f->min && (max == 0 || v <= max))
        return 0;
    if (max == 0)
        return load_err(l, n, CODE_bounds, "%s: %s is too small; at least %s", f->key, yaml_quoted(n).text,
                        unit_text(f->type, f->min).text);
    if (f->min == 0)
        return load_err(l, n, CODE_bounds, "%s: %s is too large; at most %s", f->key, yaml_quoted(n).text,
                        unit_text(f->type, max).text);
    return load_err(l, n, CODE_bounds, "%s: %s is out of bounds; %s to %s", f->key, yaml_quoted(n).text,
                    unit_text(f->type, f->min).text, unit_text(f->type, max).text);
}

/* As refused by one of the readers of numbers. */
static int wrong_number(const struct field *f, const struct yaml_node *n, struct load *l, const struct unit_fault *fault)
{
    return load_err(l, n, fault->code, "%s: \"%s\" %s%s", f->key, yaml_quoted(n).text, fault->text,
                    unit_hint(f->type, yaml_shown(n)).text);
}

static int number_read(const struct field *f, const struct yaml_node *n, uint64_t *at, struct load *l)
{
    const struct unit_fault *fault = f->type == FIELD_SIZE ? unit_size(n->text, at)
                                   : f->type == FIELD_DURATION ? unit_duration(n->text, at) : unit_count(n->text, at);
    return fault ? wrong_number(f, n, l, fault) : bounds_check(f, *at, n, l);
}

static int percent_read(const struct field *f, const struct yaml_node *n, uint32_t *at, struct load *l)
{
    const struct unit_fault *fault = unit_percent(n->text, at);
    return fault ? wrong_number(f, n, l, fault) : bounds_check(f, *at, n, l);
}

static int range_read(const struct field *f, const struct yaml_node *n, uint64_t at[2], struct load *l)
{
    const struct unit_fault *fault = unit_duration_range(n->text, at);
    if (fault)
        return wrong_number(f, n, l, fault);
    if (bounds_check(f, at[0], n, l) != 0)
        return -1;
    return bounds_check(f, at[1], n, l);
}

static int rate_read(const struct field *f, const struct yaml_node *n, struct rate *at, struct load *l)
{
    const struct unit_fault *fault = unit_rate(n->text, at);
    return fault ? wrong_number(f, n, l, fault) : 0;
}

/* What was a boolean in YAML 1.1, or is one elsewhere: what to write instead; NULL: none of these. */
static const char *boolean_meant(struct str s)
{
    static const char *const yes[] = {"true", "yes", "on", "y", "1"}, *const no[] = {"false", "no", "off", "n", "0"};

    for (size_t i = 0; i < array_len(yes); i++) {
        if (str_eq_nocase(s, str_c(yes[i])))
            return "true";
        if (str_eq_nocase(s, str_c(no[i])))
            return "false";
    }
    return NULL;
}

static int bool_read(const struct field *f, const struct yaml_node *n, bool *at, struct load *l)
{
    *at = str_eq(n->text, STR("true"));
    if (*at || str_eq(n->text, STR("false")))
        return 0;
    const char *meant = boolean_meant(n->text);
    return load_err(l, n, CODE_boolean, "%s: \"%s\" is neither true nor false%s%s", f->key, yaml_quoted(n).text,
                    meant ? "; write " : "", meant ? meant : "");
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
    return load_err(l, n, CODE_word, "%s: \"%s\" is not one of %s%s", f->key, yaml_quoted(n).text, all,
                    nearest_hint(&near).text);
}

static int token_read(const struct field *f, const struct yaml_node *n, struct str *at, struct load *l)
{
    *at = n->text;
    if (load_public(l, n, "a header's name") != 0)
        return -1;
    if (http_is_token(n->text))
        return 0;
    return load_err(l, n, CODE_header, "%s: \"%s\" is not a header's name: letters, digits and - only", f->key,
                    yaml_quoted(n).text);
}

/* A scalar, or a list of them: how many, and each. */
static size_t items_count(const struct yaml_node *n) { return n->type == YAML_LIST ? n->n : 1; }

static const struct yaml_node *item(const struct yaml_node *n, size_t i)
{
    return n->type == YAML_LIST ? n->entries[i].value : n;
}

static int items_check(const struct field *f, const struct yaml_node *n, struct load *l)
{
    int res = 0;

    if (n->type != YAML_LIST && n->type != YAML_SCALAR)
        return wrong_kind(f, n, l, "a single value or a list of them");
    for (size_t i = 0; i < items_count(n); i++)
        if (item(n, i)->type != YAML_SCALAR)
            res = wrong_kind(f, item(n, i), l, "a list of single values");
    return res;
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
    int res = items_check(f, n, l);

    if (n->type != YAML_LIST && n->type != YAML_SCALAR)
        return -1;
    at->n = items_count(n);
    at->v = arena_zalloc(l->arena, (at->n + 1) * sizeof(*at->v));
    for (size_t i = 0; i < at->n; i++) {
        const struct yaml_node *one = item(n, i);
        if (one->type == YAML_SCALAR && !cidr_parse(one->text, &at->v[i]))
            res = load_err(l, one, CODE_network, "%s: \"%s\" is not a network; write it like 10.0.0.0/8, 2001:db8::/32 or "
                           "192.0.2.1", f->key, yaml_quoted(one).text);
    }
    return res;
}

static int pairs_read(const struct field *f, const struct yaml_node *n, struct pairs *at, struct load *l)
{
    int res = 0;

    if (n->type != YAML_MAP)
        return wrong_kind(f, n, l, "a mapping of names to values");
    at->v = arena_zalloc(l->arena, (n->n + 1) * sizeof(*at->v));
    for (size_t i = 0; i < n->n; i++) {
        const struct yaml_entry *e = &n->entries[i];
        if (e->value->type == YAML_SCALAR)
            at->v[at->n++] = (struct pair){e->key->text, e->value->text, yaml_shown(e->value), e->key};
        else
            res = load_err(l, e->value, CODE_kind, "%s: the value of \"%s\" must be a single value, not %s; an empty one is "
                           "\"\"", f->key, quoted(e->key->text).text, kind_of(e->value));
    }
    return res;
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

static bool is_key(const struct field_set *sets, size_t n, struct str key)
{
    for (size_t s = 0; s < n; s++)
        for (const struct field *f = sets[s].fields; f && f->type != FIELD_END; f++)
            if (str_eq(str_c(f->key), key))
                return true;
    return false;
}

static struct nearest key_nearest(const struct field_set *sets, size_t n, struct str key)
{
    struct nearest near;

    nearest_init(&near, key);
    for (size_t s = 0; s < n; s++)
        for (const struct field *f = sets[s].fields; f && f->type != FIELD_END; f++)
            nearest_try(&near, str_c(f->key));
    return near;
}

static int keys_known(const struct field_set *sets, size_t n, const struct yaml_node *map, struct load *l)
{
    int res = 0;

    for (size_t i = 0; i < map->n; i++) {
        const struct yaml_node *key = map->entries[i].key;
        if (is_key(sets, n, key->text))
            continue;
        struct nearest near = {.distance = 0};
        if (!diags_full(l->diags))
            near = key_nearest(sets, n, key->text);
        res = load_err(l, key, CODE_unknown_key, "unknown key \"%s\"%s", quoted(key->text).text, nearest_hint(&near).text);
    }
    return res;
}

/* A required key is not missing when it is there under a name that was refused as a slip of the pen. */
static bool is_misspelt(const struct field_set *sets, size_t n, const struct yaml_node *map, const char *wanted,
                        const struct diags *diags)
{
    if (diags_full(diags))
        return true;                 /* nobody would be told that it is missing */
    for (size_t i = 0; map && i < map->n; i++) {
        struct str key = map->entries[i].key->text;
        if (!is_key(sets, n, key) && str_eq(key_nearest(sets, n, key).best, str_c(wanted)))
            return true;
    }
    return false;
}

/* One row of a table; `value` NULL: nothing is written. */
static int row_read(const struct field *f, const struct yaml_node *value, void *at, struct load *l)
{
    int res = 0;

    show_enter(l->show, "%s", f->key);
    if (value && value->type == YAML_NULL)
        res = load_err(l, value, CODE_no_value, f->required ? "%s: has no value, and needs one"
                                                            : "%s: has no value; leave the key out for its default", f->key);
    else if (value)
        res = field_read(f, value, at, l);
    if (!value || (res != 0 && f->type != FIELD_MAP && f->type != FIELD_CUSTOM))
        default_read(f, at, l);
    show_value(l->show, f, value, at);
    show_leave(l->show);
    return res;
}

/* `map` NULL: nothing is written, defaults stand. */
static int set_read(const struct field_set *sets, size_t n, size_t s, const struct yaml_node *map, struct load *l)
{
    int res = 0;

    for (const struct field *f = sets[s].fields; f && f->type != FIELD_END; f++) {
        const struct yaml_node *value = yaml_get(map, f->key);
        if (!value && f->required && !is_misspelt(sets, n, map, f->key, l->diags))
            res = load_err(l, map, CODE_missing_key, "%s is missing", f->key);
        if (row_read(f, value, place_of(&sets[s], f), l) != 0)
            res = -1;
    }
    return res;
}

int fields_read_sets(const struct field_set *sets, size_t n, const struct yaml_node *node, struct load *l)
{
    int res = 0;

    if (node && node->type == YAML_NULL)
        node = NULL;
    if (node && node->type != YAML_MAP)
        return load_err(l, node, CODE_kind, "must be a mapping (key: value), not %s", kind_of(node));
    if (node)
        res = keys_known(sets, n, node, l);
    for (size_t i = 0; i < n; i++)
        if (set_read(sets, n, i, node, l) != 0)
            res = -1;
    return res;
}

int fields_read(const struct field *fields, const struct yaml_node *node, void *options, struct load *l)
{
    struct field_set set = {fields, options};
    return fields_read_sets(&set, 1, node, l);
}

bool fields_misspelt(const struct field *fields, const struct yaml_node *map, const char *key, const struct load *l)
{
    struct field_set set = {fields, NULL};
    return is_misspelt(&set, 1, map, key, l->diags);
}
