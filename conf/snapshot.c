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

/* What cannot fail: from here on the snapshot counts. */
static void snapshot_open(struct snapshot *s, struct shared_set *shared, uint64_t now)
{
    s->shared = shared;
    s->generation = shared_set_generation(shared);
    for (size_t i = 0; i < s->n_instances; i++) {
        struct instance *in = s->instances[i];
        if (in->type->shared_size)
            in->shared = shared_open(shared, in->type, in->name, in->options, now);
    }
}

static int text_read(struct snapshot *s, struct str text, const struct filter *const *filters, struct err *err)
{
    struct schema schema = {.load = {.file = s->file, .arena = &s->arena, .snap = s, .filters = filters}};
    struct yaml_node *root = NULL;

    schema.tail = &schema.instances;
    if (yaml_parse(&s->arena, s->file, text, &yaml_limits_default, &root, err) != 0)
        return -1;
    return schema_read(&schema, root, err);
}

int snapshot_load_text(struct str text, const char *name, const struct filter *const *filters,
                       struct shared_set *shared, uint64_t now, struct snapshot **out, struct err *err)
{
    struct snapshot *s = snapshot_new(name);

    *out = NULL;
    if (text_read(s, text, filters, err) != 0) {
        snapshot_free(s);
        return -1;
    }
    snapshot_open(s, shared, now);
    *out = s;
    return 0;
}

int snapshot_load(const char *path, const struct filter *const *filters, struct shared_set *shared, uint64_t now,
                  struct snapshot **out, struct err *err)
{
    struct arena file;
    struct str text = STR("");

    *out = NULL;
    arena_init(&file, NULL);
    int res = yaml_read_file(&file, path, &yaml_limits_default, &text, err);
    if (res == 0)
        res = snapshot_load_text(text, path, filters, shared, now, out, err);
    arena_fini(&file);
    return res;
}

void snapshot_ref(struct snapshot *s) { atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed); }

void snapshot_unref(struct snapshot **sp)
{
    struct snapshot *s = *sp;

    *sp = NULL;
    if (s && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
        snapshot_free(s);
}
