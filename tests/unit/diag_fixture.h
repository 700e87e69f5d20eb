/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DIAG_FIXTURE_H
#define DIAG_FIXTURE_H

/* Configurations from text, and the first error as one value: for tests that are about something else than the list. */
#include "test.h"

#include "conf/field.h"
#include "conf/load.h"
#include "conf/shared.h"
#include "conf/snapshot.h"
#include "conf/yaml.h"
#include "filter.h"
#include "lib/err.h"

/* The warnings of the last diags_take(), "line:col: text" each. */
static char diags_warned[2000];

/* Moves the first error into *err; the list is freed. Returns 0 when there was none, else -1. */
static inline int diags_take(struct diags *d, struct err *err)
{
    size_t len = 0;

    diags_warned[0] = '\0';
    for (size_t i = 0; i < d->n && len < sizeof(diags_warned); i++)
        if (d->v[i]->warning)
            len += (size_t)snprintf(diags_warned + len, sizeof(diags_warned) - len, "%u:%u: %s\n", d->v[i]->line,
                                    d->v[i]->col, d->v[i]->text);
    for (size_t i = 0; i < d->n && !err->text[0]; i++)
        if (!d->v[i]->warning)
            err_set_at(err, d->v[i]->file, d->v[i]->line, d->v[i]->col, "%s", d->v[i]->text);
    int res = d->errors > 0 ? -1 : 0;
    diags_fini(d);
    return res;
}

static inline int yaml_from(struct arena *arena, const char *text, struct yaml_node **root, struct diags *diags)
{
    struct source *source = arena_zalloc(arena, sizeof(*source));
    *source = (struct source){"test.yaml", str_c(text)};
    return yaml_parse(arena, source, &yaml_limits_default, root, diags);
}

/* A filter's options as a configuration reads and checks them. */
static inline int options_from(const struct filter *type, const char *yaml, void *options, struct load *load, struct err *err)
{
    struct yaml_node *node = NULL;
    struct diags diags = {.n = 0};

    *err = (struct err){.text = ""};
    load->diags = &diags;
    if (yaml_from(load->arena, yaml, &node, &diags) == 0) {
        load->node = node;
        int res = fields_read(type->fields, node, options, load);
        if (res == 0 && type->options_check)
            res = type->options_check(options, load);
        EXPECT_EQ(res != 0, diags.errors > 0);
    }
    return diags_take(&diags, err);
}

/* Loads and opens; NULL and *err when it is refused. */
static inline struct snapshot *snapshot_from(const char *yaml, const char *name, const struct filter *const *filters,
                                             struct shared_set *set, uint64_t now, struct err *err)
{
    struct snapshot *s = NULL;
    struct diags diags = {.n = 0};
    int res = snapshot_load_text(str_c(yaml), name, filters, &diags, &s);

    *err = (struct err){.text = ""};
    EXPECT_EQ(res != 0, diags.errors > 0);
    EXPECT_EQ(res == 0, s != NULL);
    (void)diags_take(&diags, err);
    if (s)
        snapshot_open(s, set, now);
    return s;
}

#endif
