/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters as they are named in a configuration: `define`, and the `filters` list of a listener, route or upstream.
 *
 * An instance from `define` is one struct, and so one shared state, for all who name it. An inline filter is an
 * instance of its own; its identity across reloads is its owner's name and its type, or its `name:`.
 *
 * What is wrong in one filter is told, and the next is read. A filter in which something is wrong is `broken`: it keeps its name
 * and its place, and nothing that would follow from it is told.
 *
 * options_check() runs after all was read, when every attribute is known. Only instances that some chain holds get a
 * slot, shared state and a say in which attributes there are; an unused definition is only checked.
 */
#include "conf/schema.h"

#include <stdio.h>
#include "conf/named.h"
#include "conf/show.h"
#include "conf/yaml.h"
#include "lib/mem.h"

static const char *const modes[] = {"enforce", "shadow", NULL};

const struct field schema_common_fields[] = {
    {.key = "name", .type = FIELD_TEXT, .offset = offsetof(struct schema_common, name),
     .help = "What the filter is called in answers, logs and metrics, and by which its state survives a reload; by "
             "default its owner and its type. Not under `define`, where the key is the name."},
    {.key = "mode", .type = FIELD_ENUM, .offset = offsetof(struct schema_common, shadow), .words = modes,
     .fallback = "enforce", .help = "`shadow` decides, counts and logs, but lets through."},
    {.type = FIELD_END},
};

static const struct filter *type_find(const struct load *l, struct str name)
{
    for (const struct filter *const *f = l->filters; *f; f++)
        if (str_eq(str_c((*f)->name), name))
            return *f;
    return NULL;
}

static struct schema_instance *define_find(struct load *l, struct str name) { return names_get(&schema_of(l)->defined, name); }

/* `names_too`: a name from `define` may stand here. */
static void unknown_filter(struct load *l, const struct yaml_node *at, bool names_too)
{
    struct place place = yaml_place(at);
    struct nearest near;

    l->filters_unknown = true;
    if ((names_too && schema_of(l)->define_broken) || diags_has(l->diags, &place, CODE_unknown_name))
        return;
    nearest_init(&near, at->text);
    for (const struct filter *const *f = l->filters; *f; f++)
        nearest_try(&near, str_c((*f)->name));
    for (struct schema_instance *i = schema_of(l)->instances; names_too && i && !diags_full(l->diags); i = i->next)
        if (i->defined)
            nearest_try(&near, i->inst.name);
    (void)load_err(l, at, CODE_unknown_name, "unknown filter \"%s\"%s", yaml_quoted(at).text, nearest_hint(&near).text);
}

static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.at[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
                  c == '.';
        if (!ok)
            return false;
    }
    return s.len > 0 && s.len <= 64;
}

static int name_check(struct load *l, const struct yaml_node *at, struct str name)
{
    if (load_public(l, at, "a name") != 0)
        return -1;
    if (!is_name(name))
        return load_err(l, at, CODE_name, "the name \"%s\" must be 1 to 64 letters, digits, \"_\", \"-\" or \".\"",
                        quoted(name).text);
    if (type_find(l, name))
        return load_err(l, at, CODE_reserved_name,
                        "the name \"%s\" is a filter's type; an instance needs another", quoted(name).text);
    return 0;
}

static int options_read(struct load *l, struct schema_instance *i, const struct yaml_node *options, struct schema_common *common)
{
    const char *type = i->inst.type->name;

    if (options && options->type != YAML_MAP && options->type != YAML_NULL)
        return load_err(l, options, CODE_kind, "%s: its options must be a mapping: {%s: {key: value}}", type, type);
    const struct field_set sets[] = {{i->inst.type->fields, i->options}, {schema_common_fields, common}};
    l->node = i->node;
    return fields_read_sets(sets, array_len(sets), options, l);
}

/* What `name:` among an inline filter's options says; {NULL, 0}: nothing that can be used. */
static struct str name_read(struct load *l, struct schema_instance *i, const struct yaml_node *options, struct str name)
{
    const struct yaml_node *named = yaml_get(options, "name");

    if (!named || named->type != YAML_SCALAR)
        return (struct str){NULL, 0};
    if (i->defined)
        (void)load_err(l, named, CODE_together, "a filter under define is named by its key, \"%s\"", quoted(name).text);
    else if (name_check(l, named, named->text) == 0)
        return named->text;
    i->broken = true;
    return (struct str){NULL, 0};
}

/* One filter with its options (NULL: all defaults). `node` is where it stands; `name` {NULL, 0}: inline. */
static struct schema_instance *instance_read(struct load *l, const struct filter *type, const struct yaml_node *node,
                                             const struct yaml_node *options, struct str name, struct str owner)
{
    struct schema *schema = schema_of(l);
    struct schema_instance *i = arena_zalloc(l->arena, sizeof(*i));
    struct schema_common common = {.shadow = 0};

    i->options = arena_zalloc(l->arena, type->options_size ? type->options_size : 1);
    i->inst.type = type;
    i->inst.options = i->options;
    i->inst.node = options;
    i->node = options && options->type == YAML_MAP ? options : node;
    i->owner = owner;
    i->defined = name.at != NULL;
    show_enter(l->show, "%s", type->name);
    i->broken = options_read(l, i, options, &common) != 0;
    struct str given = name_read(l, i, options, name);
    i->inst.shadow = common.shadow == 1;
    i->inst.name = i->defined ? name : given.at ? given : arena_printf(l->arena, STR_FMT " %s", STR_ARG(owner), type->name);
    if (!i->defined) {
        show_enter(l->show, "name");
        show_text(l->show, i->inst.name, yaml_get(options, "name"), false);
        show_leave(l->show);
    }
    show_leave(l->show);
    *schema->tail = i;
    schema->tail = &i->next;
    schema->n_instances++;
    return i;
}

/* No filter's type: an instance with options, or a word that nobody knows. */
static void not_a_type(struct load *l, const struct yaml_node *key)
{
    struct schema_instance *defined = define_find(l, key->text);

    if (!defined) {
        unknown_filter(l, key, false);
        return;
    }
    defined->used = true;
    (void)load_err(l, key, CODE_filter_form, "\"%s\" is an instance from define: write its name alone, without options",
                   quoted(key->text).text);
}

/* {type: options}: the type, and where its options are; NULL: an error, which was told. */
static const struct filter *one_key(struct load *l, const struct yaml_node *n, const struct yaml_node **options)
{
    if (n->type != YAML_MAP) {
        (void)load_err(l, n, CODE_filter_form,
                       "a filter is a name, or a mapping with its type as the only key: {type: {options}}");
        return NULL;
    }
    if (n->n != 1) {
        (void)load_err(l, n, CODE_filter_form, "a filter is a mapping with its type as the only key, not %zu keys; "
                       "its options stand one level deeper", n->n);
        return NULL;
    }
    const struct filter *type = type_find(l, n->entries[0].key->text);
    if (!type)
        not_a_type(l, n->entries[0].key);
    *options = n->entries[0].value;
    return type;
}

/* A filter's type alone, or with options; NULL: an error, which was told. */
static const struct filter *type_read(struct load *l, const struct yaml_node *n, bool in_list, const struct yaml_node **options)
{
    if (n->type != YAML_SCALAR)
        return one_key(l, n, options);
    const struct filter *type = type_find(l, n->text);
    if (!type)
        unknown_filter(l, n, in_list);
    return type;
}

/* Its type and options; NULL: they cannot be read. */
static struct schema_instance *define_read(struct load *l, const struct yaml_entry *e)
{
    const struct yaml_node *options = NULL;
    int res = name_check(l, e->key, e->key->text);
    const struct filter *type = type_read(l, e->value, false, &options);

    if (!type)
        return NULL;
    struct schema_instance *i = instance_read(l, type, e->value, options, e->key->text,
                                              arena_printf(l->arena, "define " STR_FMT, STR_ARG(e->key->text)));
    i->broken = i->broken || res != 0;
    return i;
}

/* A name whose filter cannot be read is known all the same, so that its users are not called wrong too. */
static int define_one(struct load *l, const struct yaml_entry *e)
{
    static const struct schema_instance unread = {.defined = true, .broken = true};
    struct schema_instance *i = define_read(l, e);

    if (!i) {
        i = arena_zalloc(l->arena, sizeof(*i));
        *i = unread;
        i->inst.name = e->key->text;
    }
    names_put(&schema_of(l)->defined, e->key->text, i);
    return i->broken ? -1 : 0;
}

int schema_define_read(void *at, const struct yaml_node *n, struct load *l)
{
    struct schema *schema = schema_of(l);
    int res = 0;

    (void)at;
    if (n->type != YAML_MAP) {
        schema->define_broken = true;
        return load_err(l, n, CODE_kind, "define: must be a mapping of names to filters: {name: {type: {options}}}");
    }
    names_init(&schema->defined, l->arena, n->n);
    for (size_t i = 0; i < n->n; i++) {
        show_enter(l->show, STR_FMT, STR_ARG(n->entries[i].key->text));
        if (define_one(l, &n->entries[i]) != 0)
            res = -1;
        show_leave(l->show);
    }
    return res;
}

static int place_check(struct load *l, const struct yaml_node *n, const struct filter *type, unsigned place)
{
    static const char *const names[] = {"a listener", "a route", "an upstream"};
    char allowed[64] = "";
    const char *here = "";
    size_t len = 0;

    if (type->places & place)
        return 0;
    for (unsigned i = 0; i < array_len(names); i++) {
        if (place == 1u << i)
            here = names[i];
        if (type->places & 1u << i && len < sizeof(allowed))
            len += (size_t)snprintf(allowed + len, sizeof(allowed) - len, "%s%s", len ? " or " : "", names[i]);
    }
    return load_err(l, n, CODE_filter_place, "%s may not stand on %s; only on %s", type->name, here, allowed);
}

/* One item of a list. NULL: it cannot be read, may not stand here, or has been found wrong where it is defined. */
static struct schema_instance *item_read(struct load *l, const struct yaml_node *n, unsigned place, struct str owner)
{
    const struct yaml_node *options = NULL;
    struct schema_instance *i = n->type == YAML_SCALAR ? define_find(l, n->text) : NULL;

    if (i) {
        i->used = true;
        return i->inst.type && place_check(l, n, i->inst.type, place) == 0 ? i : NULL;
    }
    const struct filter *type = type_read(l, n, true, &options);
    if (!type)
        return NULL;
    int res = place_check(l, n, type, place);
    i = instance_read(l, type, n, options, (struct str){NULL, 0}, owner);
    i->broken = i->broken || res != 0;
    return i;
}

static void chain_flags(struct chain_conf *c, const struct instance *in)
{
    const struct filter *t = in->type;
    size_t keep = t->keep_body_of ? t->keep_body_of(in->options) : t->keep_body;
    c->request_body = c->request_body || t->on_request_body;
    c->response_body = c->response_body || t->on_response_body;
    c->resizes_body = c->resizes_body || t->resizes_body;
    c->resizes_request_body = c->resizes_request_body || t->resizes_request_body;
    c->keep_body = c->keep_body > keep ? c->keep_body : keep;
}

int schema_chain_read(struct load *l, const struct yaml_node *n, unsigned place, struct str owner, struct chain_conf *out)
{
    int res = 0;

    if (!n || n->type == YAML_NULL)          /* of which the table's reader has told */
        return 0;
    if (n->type != YAML_LIST)
        return load_err(l, n, CODE_kind, "filters: must be a list");
    const struct instance **v = arena_zalloc(l->arena, (n->n + 1) * sizeof(*v));
    for (size_t i = 0; i < n->n; i++) {
        show_enter(l->show, "filters[%zu]", i);
        struct schema_instance *s = item_read(l, n->entries[i].value, place, owner);
        if (s && s->defined)
            show_text(l->show, s->inst.name, n->entries[i].value, true);
        show_leave(l->show);
        if (!s || s->broken)
            res = -1;
        if (s && s->last == out)
            res = load_err(l, n->entries[i].value, CODE_repeated, "\"%s\" stands twice in this list",
                           quoted(s->inst.name).text);
        if (!s)
            continue;
        s->used = true;
        s->last = out;
        v[out->n++] = &s->inst;
        if (!s->broken)
            chain_flags(out, &s->inst);
    }
    out->v = v;
    return res;
}

/* Those that may run. */
static int names_check(struct schema *s)
{
    struct named *v = mem_array(s->n_instances + 1, sizeof(*v));
    const struct schema_instance **by_index = mem_array(s->n_instances + 1, sizeof(struct schema_instance *));
    const struct named *again, *first = NULL;
    size_t n = 0, at = 0;
    int res = 0;

    for (const struct schema_instance *i = s->instances; i; i = i->next)
        if (!i->broken) {
            v[n] = (struct named){i->inst.name, n};
            by_index[n++] = i;
        }
    named_sort(v, n);
    while ((again = named_next_repeat(v, n, &at, &first)) != NULL) {
        const struct schema_instance *i = by_index[again->index];
        const char *type = i->inst.type->name;
        if (is_name(i->inst.name))
            res = load_err(&s->load, i->node, CODE_name_taken, "the name \"%s\" is taken by a filter at %s; to share "
                           "one, put it under define", quoted(i->inst.name).text,
                           yaml_where(by_index[first->index]->node, i->node).text);
        else if (i->owner.at == by_index[first->index]->owner.at)        /* else two owners have one name, and were told */
            res = load_err(&s->load, i->node, CODE_name_taken, "a second %s in one list needs a name: {%s: {name: ...}}", type,
                           type);
    }
    mem_free(v);
    mem_free(by_index);
    return res;
}

static void attribute_add(struct texts *t, struct str name)
{
    for (size_t i = 0; i < t->n; i++)
        if (str_eq(t->v[i], name))
            return;
    t->v[t->n++] = name;
}

static void attributes_collect(struct schema *s)
{
    struct texts *t = &s->load.snap->attributes;
    size_t n = 0;

    for (const struct filter *const *f = s->load.filters; *f; f++)
        for (const char *const *p = (*f)->provides; p && *p; p++)
            n++;
    t->v = arena_zalloc(s->load.arena, (n + 1) * sizeof(*t->v));
    for (const struct schema_instance *i = s->instances; i; i = i->next)
        for (const char *const *p = i->used ? i->inst.type->provides : NULL; p && *p; p++)
            attribute_add(t, str_c(*p));
}

static void slots_give(struct schema *s)
{
    struct snapshot *snap = s->load.snap;

    snap->instances = arena_zalloc(s->load.arena, (s->n_instances + 1) * sizeof(struct instance *));
    for (struct schema_instance *i = s->instances; i; i = i->next)
        if (i->used) {
            i->inst.slot = (unsigned)snap->n_instances;
            snap->instances[snap->n_instances++] = &i->inst;
        }
}

static int instance_check(struct schema *s, struct schema_instance *i)
{
    const struct filter *type = i->inst.type;

    s->load.node = i->node;
    s->load.owner = i->owner;
    s->load.name = i->inst.name;
    if (!i->used && !i->broken && !s->load.filters_unknown)
        load_warn(&s->load, NULL, CODE_unused, "\"%s\" is defined and nobody uses it", quoted(i->inst.name).text);
    return type->options_check && !i->broken ? type->options_check(i->options, &s->load) : 0;
}

int schema_instances_check(struct schema *s)
{
    int res = names_check(s);

    attributes_collect(s);
    for (struct schema_instance *i = s->instances; i; i = i->next)
        if (instance_check(s, i) != 0)
            res = -1;
    slots_give(s);
    return res;
}
