/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a configuration: read, checked, counted, freed.
 *
 * Loading has two halves. The first reads and checks; it may fail and touches nothing outside the new arena. The second
 * opens the shared state of every instance, which changes limits for those who already run; it cannot fail. So a bad
 * file changes nothing.
 */
#include "conf/snapshot.h"

#include "conf/schema.h"
#include "conf/shared.h"
#include "conf/yaml.h"
#include "lib/mem.h"

static struct snapshot *snapshot_new(const char *name)
{
    struct snapshot *s = mem_zalloc(sizeof(*s));
    arena_init(&s->arena, NULL);
    s->file = arena_strdup(&s->arena, str_c(name));
    atomic_init(&s->refs, 1);
    return s;
}

static void snapshot_free(struct snapshot *s)
{
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

static int text_read(struct snapshot *s, const struct source *source, const struct filter *const *filters,
                       struct diags *diags)
{
    struct schema schema = {.load = {.arena = &s->arena, .snap = s, .filters = filters, .diags = diags}};
    struct yaml_node *root = NULL;

    schema.tail = &schema.instances;
    if (yaml_parse(&s->arena, source, &yaml_limits_default, &root, diags) != 0)
        return -1;
    return schema_read(&schema, root);
}

static int finish(struct snapshot *s, int res, struct snapshot **out)
{
    if (res == 0)
        *out = s;
    else
        snapshot_free(s);
    return res;
}

int snapshot_load_text(struct str text, const char *name, const struct filter *const *filters, struct diags *diags,
                       struct snapshot **out)
{
    struct snapshot *s = snapshot_new(name);
    struct source *source = arena_zalloc(&s->arena, sizeof(*source));

    *out = NULL;
    *source = (struct source){s->file, arena_copy(&s->arena, text)};
    return finish(s, text_read(s, source, filters, diags), out);
}

int snapshot_load(const char *path, const struct filter *const *filters, struct diags *diags, struct snapshot **out)
{
    struct snapshot *s = snapshot_new(path);
    struct source *source = arena_zalloc(&s->arena, sizeof(*source));

    *out = NULL;
    int res = yaml_read_file(&s->arena, path, &yaml_limits_default, source, diags);
    return finish(s, res == 0 ? text_read(s, source, filters, diags) : res, out);
}

void snapshot_ref(struct snapshot *s) { atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed); }

void snapshot_unref(struct snapshot **sp)
{
    struct snapshot *s = *sp;

    *sp = NULL;
    if (s && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
        snapshot_free(s);
}
