/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the files of a configuration, and joining them to one tree.
 *
 * A file is known by its device and inode, not by its path: however many patterns and links lead to it, it counts once,
 * and a pattern may match the main file itself without harm. Named outright twice, it is a mistake and an error.
 *
 * Nodes keep the file they came from, so whoever reads the joined tree sees no files and still blames the right one. Not
 * done here: what the sections hold, beyond whether they can be joined.
 */
#include "conf/include.h"

#include <stdio.h>
#include "conf/diag.h"
#include "conf/pattern.h"
#include "conf/schema.h"

#define PATH_MAX_LEN 1024
#define SECTIONS_MAX 64

/* One top-level section of the joined tree. */
struct section {
    struct yaml_node *value;         /* NULL: in no file yet */
    const struct yaml_node *key;     /* where it stood first */
    bool joined;                     /* `value` is a node of its own, which grows */
    size_t cap;
};

struct inclusion {
    struct yaml_set *set;
    const char *main;                /* its name */
    struct yaml_node *root;          /* of the main file; becomes the joined one */
    size_t cap;
    struct section sections[SECTIONS_MAX];       /* one for each row of schema_fields */
    struct file_id { uint64_t device, inode; } ids[INCLUDE_FILES_MAX + 1];
    size_t n_files;
    size_t names_left;               /* for patterns to look at */
    bool failed;
};

/* ---- joining ---- */

/* How sections of several files become one; those that are not listed cannot. */
static const struct { const char *key; enum yaml_type type; bool alone; const char *form; } joinable[] = {
    {"define", YAML_MAP, false, "a mapping"},
    {"upstreams", YAML_MAP, false, "a mapping"},
    {"listen", YAML_LIST, true, "an address or a list of them"},         /* alone: one without a list is a list of one */
    {"routes", YAML_LIST, false, "a list"},
    {"trusted_proxies", YAML_LIST, true, "a network or a list of them"},
};

static int join_rule(struct str key)
{
    for (size_t i = 0; i < array_len(joinable); i++)
        if (str_eq(str_c(joinable[i].key), key))
            return (int)i;
    return -1;
}

/* The section's own node, to which parts can be added. */
static void section_open(struct inclusion *in, struct section *s, enum yaml_type type)
{
    struct yaml_node *own = arena_zalloc(in->set->arena, sizeof(*own));

    *own = *s->value;
    own->type = type;
    own->entries = NULL;
    own->n = 0;
    own->text = own->shown = STR("");
    s->value = own;
    s->joined = true;
    for (size_t i = 0; i < in->root->n; i++)
        if (in->root->entries[i].key == s->key)
            in->root->entries[i].value = own;
}

/* Adds what one file says. What cannot be joined is left out, and said. */
static void part_add(struct inclusion *in, struct section *s, int rule, struct yaml_node *part)
{
    bool alone = joinable[rule].alone && part->type == YAML_SCALAR;
    alone = alone || (joinable[rule].alone && joinable[rule].type == YAML_LIST && part->type == YAML_MAP);

    if (part->broken || (part->type != joinable[rule].type && !alone)) {
        struct place at = yaml_place(part);
        if (!part->broken)
            (void)diag_error(in->set->diags, &at, part->type == YAML_NULL ? CODE_no_value : CODE_kind,
                             "%s: must be %s", joinable[rule].key, joinable[rule].form);
        s->value->broken = true;
        return;
    }
    if (alone)
        yaml_add(in->set->arena, s->value, &s->cap, (struct yaml_entry){NULL, part});
    for (size_t i = 0; !alone && i < part->n; i++)
        yaml_add(in->set->arena, s->value, &s->cap, part->entries[i]);
}

static void section_join(struct inclusion *in, struct section *s, const struct yaml_entry *e)
{
    int rule = join_rule(e->key->text);
    struct place at = yaml_place(e->key);

    if (rule < 0) {
        (void)diag_error(in->set->diags, &at, CODE_name_taken, "%s: may stand in one file only, and stands at %s already",
                         quoted(e->key->text).text, yaml_where(s->key, e->key).text);
        return;
    }
    if (!s->joined) {
        struct yaml_node *first = s->value;
        section_open(in, s, joinable[rule].type);
        part_add(in, s, rule, first);
    }
    part_add(in, s, rule, e->value);
}

static struct section *section_find(struct inclusion *in, struct str key)
{
    for (size_t i = 0; schema_fields[i].type != FIELD_END; i++) {
        check(i < SECTIONS_MAX);
        if (str_eq(str_c(schema_fields[i].key), key))
            return &in->sections[i];
    }
    return NULL;
}

/* Takes one entry of an included file's top level. */
static void entry_take(struct inclusion *in, const struct yaml_entry *e)
{
    struct section *s = section_find(in, e->key->text);
    struct place at = yaml_place(e->key);

    if (str_eq(e->key->text, STR("include"))) {
        (void)diag_error(in->set->diags, &at, CODE_include, "include: a file that is included may not include others; "
                         "name them in %s", in->main);
    } else if (str_eq(e->key->text, STR("version"))) {
        at = yaml_place(e->value);
        if (!e->value->broken && (e->value->type != YAML_SCALAR || !str_eq(e->value->text, STR("1"))))
            (void)diag_error(in->set->diags, &at, CODE_word, "version: must be 1, the only one that there is");
    } else if (s && s->value) {
        section_join(in, s, e);
    } else {
        yaml_add(in->set->arena, in->root, &in->cap, *e);
        if (s)
            *s = (struct section){.value = e->value, .key = e->key};
    }
}

static void file_join(struct inclusion *in, const struct yaml_node *root)
{
    struct place at = yaml_place(root);

    if (root->type == YAML_MAP) {
        for (size_t i = 0; i < root->n; i++)
            entry_take(in, &root->entries[i]);
    } else if (root->type != YAML_NULL && !root->broken) {
        (void)diag_error(in->set->diags, &at, CODE_kind,
                         "an included file must be a mapping with sections of the configuration: routes, upstreams, ...");
    }
}

/* Names of one section that came from several files. */
static void names_check(struct inclusion *in)
{
    for (size_t i = 0; i < SECTIONS_MAX; i++) {
        struct section *s = &in->sections[i];
        if (s->joined && s->value->type == YAML_MAP)
            (void)yaml_keys_unique(s->value, in->set->diags);
    }
}

/* ---- reading ---- */

static struct source *source_new(struct arena *a, const char *name, struct str text)
{
    struct source *s = arena_zalloc(a, sizeof(*s));
    *s = (struct source){arena_strdup(a, str_c(name)), text};
    return s;
}

/* The main file by its name too: of a text that goes by it nobody knows which file that is. */
static bool is_known(const struct inclusion *in, const char *path, const struct source_bytes *b)
{
    if (strcmp(path, in->main) == 0)
        return true;
    for (size_t i = 0; i < in->n_files; i++)
        if (in->ids[i].device == b->device && in->ids[i].inode == b->inode)
            return true;
    return false;
}

static void include_failed(struct inclusion *, const struct yaml_node *, enum diag_code, const char *fmt, ...)
    printf_like(4, 5);

static void include_failed(struct inclusion *in, const struct yaml_node *n, enum diag_code code, const char *fmt, ...)
{
    struct place at = yaml_place(n);
    va_list ap;

    va_start(ap, fmt);
    diag_add(in->set->diags, &at, code, fmt, ap);
    va_end(ap);
    in->failed = true;
}

/* Reads one file that `n` names; `by_pattern`: as one of several, perhaps. */
static void file_include(struct inclusion *in, const struct yaml_node *n, const char *path, bool by_pattern)
{
    struct yaml_set *set = in->set;
    struct source_bytes bytes;
    struct source_why why;
    struct yaml_node *root;

    struct source_file *file = sources_add(set->sources, path, SOURCE_INCLUDE);
    if (!file) {
        include_failed(in, n, CODE_too_much, "include: more than %d files", SOURCES_MAX);
        return;
    }
    enum source_fault fault = source_read(set->arena, path, set->limits->bytes - set->bytes, &bytes, &why);
    if (fault != SOURCE_FINE) {
        include_failed(in, n, fault == SOURCE_TOO_LONG ? CODE_too_much : CODE_include, "include: %s: %s%s",
                       quoted(str_c(path)).text, why.text,
                       fault == SOURCE_TOO_LONG && set->bytes ? ", which is what the files before it left" : "");
        return;
    }
    file->digest = bytes.digest;
    if (is_known(in, path, &bytes)) {
        if (!by_pattern)
            include_failed(in, n, CODE_include, "include: %s is part of this configuration already",
                           quoted(str_c(path)).text);
        return;
    }
    if (in->n_files == INCLUDE_FILES_MAX + 1) {
        include_failed(in, n, CODE_too_much, "include: more than %d files", INCLUDE_FILES_MAX);
        return;
    }
    in->ids[in->n_files++] = (struct file_id){bytes.device, bytes.inode};
    struct source *source = source_new(set->arena, path, bytes.text);
    diags_file(set->diags, source->name);
    if (yaml_read(set, source, &root) == 0)
        file_join(in, root);
    else
        in->failed = true;
}

static void pattern_include(struct inclusion *in, const struct yaml_node *n, const char *pattern)
{
    struct pattern_names names = {NULL, 0};
    bool listed = sources_add_glob(in->set->sources, pattern);
    enum pattern_result res = !listed ? PATTERN_TOO_MANY
                            : pattern_expand(in->set->arena, pattern, INCLUDE_FILES_MAX, &in->names_left, &names);

    if (res == PATTERN_TOO_MANY)
        include_failed(in, n, CODE_too_much, "include: more than %d files", INCLUDE_FILES_MAX);
    else if (res == PATTERN_TOO_WIDE)
        include_failed(in, n, CODE_too_much, "include: %s: more than %d names to look at, by all patterns together",
                       quoted(n->shown).text, PATTERN_LOOKED_AT);
    for (size_t i = 0; res == PATTERN_FINE && i < names.n; i++)
        file_include(in, n, names.v[i], true);
}

/* The path that a file's `include` means: relative to the folder of the main file. */
static const char *path_of(const struct inclusion *in, struct str path)
{
    const char *slash = strrchr(in->main, '/');
    int folder = path.len && path.at[0] == '/' ? 0 : slash ? (int)(slash - in->main) + 1 : 0;
    return arena_printf(in->set->arena, "%.*s" STR_FMT, folder, in->main, STR_ARG(path)).at;
}

static void item_include(struct inclusion *in, const struct yaml_node *n)
{
    if (n->broken) {
        in->failed = true;
    } else if (n->type != YAML_SCALAR || n->text.len == 0) {
        include_failed(in, n, CODE_kind, "include: must be a path or a list of paths");
    } else if (yaml_is_secret(n)) {
        include_failed(in, n, CODE_exposed, "include: a path is printed, and so no place for a secret: %s",
                       quoted(n->shown).text);
    } else if (n->text.len > PATH_MAX_LEN) {
        include_failed(in, n, CODE_too_much, "include: a path of more than %d bytes", PATH_MAX_LEN);
    } else if (in->set->sources->sealed) {
        include_failed(in, n, CODE_include, "include: no files are read here");
    } else {
        const char *path = path_of(in, n->text);
        if (pattern_is(path))
            pattern_include(in, n, path);
        else
            file_include(in, n, path, false);
    }
}

/* Reads what the main file includes into its tree. */
static int main_complete(struct inclusion *in)
{
    const struct yaml_node *list = yaml_get(in->root, "include");

    for (size_t i = 0; i < in->root->n; i++) {
        struct section *s = section_find(in, in->root->entries[i].key->text);
        if (s)
            *s = (struct section){.value = in->root->entries[i].value, .key = in->root->entries[i].key};
    }
    if (list->type == YAML_LIST && list->n == 0)
        include_failed(in, list, CODE_empty, "include: the list is empty");
    for (size_t i = 0; list->type == YAML_LIST && i < list->n; i++)
        item_include(in, list->entries[i].value);
    if (list->type != YAML_LIST)
        item_include(in, list);
    names_check(in);
    return in->failed ? -1 : 0;
}

static int main_read(struct yaml_set *set, const struct source *source, const struct source_bytes *id,
                     struct yaml_node **root)
{
    diags_file(set->diags, source->name);
    if (yaml_read(set, source, root) != 0)
        return -1;
    if (!yaml_get(*root, "include"))
        return 0;
    struct inclusion *in = arena_zalloc(set->arena, sizeof(*in));
    in->set = set;
    in->main = source->name;
    in->root = *root;
    in->names_left = PATTERN_LOOKED_AT;
    if (id)
        in->ids[in->n_files++] = (struct file_id){id->device, id->inode};
    return main_complete(in);
}

int include_read_text(struct yaml_set *set, struct str text, const char *name, struct yaml_node **root)
{
    return main_read(set, source_new(set->arena, name, text), NULL, root);
}

int include_read(struct yaml_set *set, const char *path, struct yaml_node **root)
{
    struct source *source = source_new(set->arena, path, (struct str){NULL, 0});
    struct place whole = {source, 0, 0, 0};
    struct source_bytes bytes = {.inode = 0};
    struct source_why why;

    *root = NULL;
    struct source_file *file = sources_add(set->sources, path, SOURCE_MAIN);
    check(file);
    enum source_fault fault = source_read(set->arena, path, set->limits->bytes, &bytes, &why);
    if (fault != SOURCE_FINE)
        return diag_error(set->diags, &whole, fault == SOURCE_TOO_LONG ? CODE_too_much : CODE_unreadable, "%s", why.text);
    file->digest = bytes.digest;
    source->text = bytes.text;
    return main_read(set, source, &bytes, root);
}

struct yaml_node *include_tree(struct arena *arena, const char *path, struct diags *diags)
{
    struct sources sources;
    struct yaml_set set = {.arena = arena, .limits = &yaml_limits_default, .diags = diags, .sources = &sources};
    struct yaml_node *root = NULL;

    sources_init(&sources, arena);
    (void)!include_read(&set, path, &root);
    return root;
}

void include_sources(const char *path, struct sources *sources)
{
    struct diags ignored = {.n = 0};
    struct arena nodes;
    struct yaml_set set = {.arena = &nodes, .limits = &yaml_limits_default, .diags = &ignored, .sources = sources};
    struct yaml_node *root;

    arena_init(&nodes, NULL);
    if (include_read(&set, path, &root) == 0)
        schema_tls_files(root, sources);
    arena_fini(&nodes);
    diags_fini(&ignored);
}
