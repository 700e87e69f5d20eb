/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a configuration: read, checked, counted, freed.
 *
 * Loading has two halves. The first reads and checks; it may fail and touches nothing outside the new arena. The second
 * opens the shared state of every instance, which changes limits for those who already run; it cannot fail. So a bad
 * file changes nothing.
 */
#include "conf/snapshot.h"

#include "conf/diag.h"
#include "conf/include.h"
#include "conf/schema.h"
#include "conf/shared.h"
#include "conf/yaml.h"
#include "lib/mem.h"

struct snapshot_end {
    void (*run)(void *);
    void *arg;
    struct snapshot_end *next;
};

static struct snapshot *snapshot_new(const char *name)
{
    struct snapshot *s = mem_zalloc(sizeof(*s));
    arena_init(&s->arena, NULL);
    s->file = arena_strdup(&s->arena, str_c(name));
    atomic_init(&s->refs, 1);
    return s;
}

void snapshot_at_end(struct snapshot *s, void (*run)(void *), void *arg)
{
    struct snapshot_end *e = arena_alloc(&s->arena, sizeof(*e));
    *e = (struct snapshot_end){run, arg, s->ends};
    s->ends = e;
}

static void snapshot_free(struct snapshot *s)
{
    for (struct snapshot_end *e = s->ends; e; e = e->next)
        e->run(e->arg);
    for (size_t i = 0; i < s->n_instances; i++)
        if (s->instances[i]->shared)
            shared_close(s->shared, s->instances[i]->shared);
    arena_fini(&s->arena);
    mem_free(s);
}

void snapshot_open(struct snapshot *s, struct shared_set *shared, uint64_t now)
{
    check(!s->shared);
    s->shared = shared;
    s->generation = shared_set_generation(shared);
    for (size_t i = 0; i < s->n_instances; i++) {
        struct instance *in = s->instances[i];
        if (in->type->shared_size)
            in->shared = shared_open(shared, in->type, in->name, in->options, now);
    }
}

/* What the two ways to a configuration have in common: `path`, or `text` that goes by the name. */
static int load(const char *path, const struct str *text, bool sealed, const struct filter *const *filters,
                struct diags *diags, struct show *show, struct snapshot **out)
{
    struct snapshot *s = snapshot_new(path);
    struct schema schema = {.load = {.arena = &s->arena, .snap = s, .filters = filters, .diags = diags,
                                     .show = show}};
    struct yaml_set set = {.arena = &s->arena, .limits = &yaml_limits_default, .diags = diags, .sources = &s->sources};
    struct yaml_node *root = NULL;
    size_t before = diags->errors;

    *out = NULL;
    sources_init(&s->sources, &s->arena);
    s->sources.sealed = sealed;
    schema.tail = &schema.instances;
    int res = text ? include_read_text(&set, arena_copy(&s->arena, *text), path, &root) : include_read(&set, path, &root);
    if (res == 0)
        schema_tls_files(root, &s->sources);
    if (res == 0)
        res = schema_read(&schema, root);
    if (res != 0 || diags->errors > before) {
        snapshot_free(s);
        return -1;
    }
    *out = s;
    return 0;
}

int snapshot_load(const char *path, const struct filter *const *filters, struct diags *diags, struct snapshot **out)
{
    return load(path, NULL, false, filters, diags, NULL, out);
}

int snapshot_load_text(struct str text, const char *name, const struct filter *const *filters, struct diags *diags,
                       struct snapshot **out)
{
    return load(name, &text, false, filters, diags, NULL, out);
}

int snapshot_load_sealed(struct str text, const char *name, const struct filter *const *filters, struct diags *diags,
                         struct snapshot **out)
{
    return load(name, &text, true, filters, diags, NULL, out);
}

int snapshot_load_shown(const char *path, const struct filter *const *filters, struct diags *diags, struct show *show,
                        struct snapshot **out)
{
    return load(path, NULL, false, filters, diags, show, out);
}

void snapshot_ref(struct snapshot *s) { atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed); }

void snapshot_unref(struct snapshot **sp)
{
    struct snapshot *s = *sp;

    *sp = NULL;
    if (s && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
        snapshot_free(s);
}
