/* SPDX-License-Identifier: Apache-2.0 */
/* Two sorted lists of names, merged: ten thousand routes take a few milliseconds, whatever moved in the file. */
#include "changes.h"

#include <stdlib.h>
#include <string.h>
#include "filter.h"
#include "lib/mem.h"

static const char *const kinds[CHANGED_KINDS] = {"listeners", "upstreams", "endpoints", "routes", "filters"};

/* What something is found again by. */
struct label_of { struct str of, name; };

struct labels { struct label_of *v; size_t n; };

static void label_add(struct labels *l, struct str of, struct str name) { l->v[l->n++] = (struct label_of){of, name}; }

static size_t most_of(const struct snapshot *s, enum change_kind kind)
{
    size_t n = 0;
    switch (kind) {
    case CHANGED_LISTENERS:
        return s->n_listens;
    case CHANGED_UPSTREAMS:
        return s->n_upstreams;
    case CHANGED_ENDPOINTS:
        for (size_t i = 0; i < s->n_upstreams; i++)
            n += s->upstreams[i].n;
        return n;
    case CHANGED_ROUTES:
        return s->n_routes;
    default:
        return s->n_instances;
    }
}

static int str_compare(struct str a, struct str b)
{
    int c = a.len && b.len ? memcmp(a.at, b.at, a.len < b.len ? a.len : b.len) : 0;
    return c ? c : a.len < b.len ? -1 : a.len > b.len;
}

static int label_compare(const void *a, const void *b)
{
    const struct label_of *x = a, *y = b;
    int c = str_compare(x->of, y->of);
    return c ? c : str_compare(x->name, y->name);
}

static struct labels labels_of(const struct snapshot *s, enum change_kind kind)
{
    const struct str none = {NULL, 0};
    struct labels l = {mem_array(most_of(s, kind), sizeof(struct label_of)), 0};
    for (size_t i = 0; kind == CHANGED_LISTENERS && i < s->n_listens; i++)
        label_add(&l, none, s->listens[i].at);
    for (size_t i = 0; kind == CHANGED_UPSTREAMS && i < s->n_upstreams; i++)
        label_add(&l, none, s->upstreams[i].name);
    for (size_t i = 0; kind == CHANGED_ENDPOINTS && i < s->n_upstreams; i++)
        for (size_t e = 0; e < s->upstreams[i].n; e++)
            label_add(&l, s->upstreams[i].name, s->upstreams[i].endpoints[e].url);
    for (size_t i = 0; kind == CHANGED_ROUTES && i < s->n_routes; i++)
        label_add(&l, none, s->routes[i].name);
    for (size_t i = 0; kind == CHANGED_FILTERS && i < s->n_instances; i++)
        label_add(&l, str_c(s->instances[i]->type->name), s->instances[i]->name);
    if (l.n > 1)
        qsort(l.v, l.n, sizeof *l.v, label_compare);
    return l;
}

void changes_count(struct changes *out, const struct snapshot *before, const struct snapshot *after)
{
    *out = (struct changes){0};
    for (unsigned kind = 0; kind < CHANGED_KINDS; kind++) {
        struct labels a = labels_of(before, (enum change_kind)kind), b = labels_of(after, (enum change_kind)kind);
        size_t i = 0, k = 0, same = 0;
        while (i < a.n && k < b.n) {
            int c = label_compare(&a.v[i], &b.v[k]);
            same += c == 0;
            i += c <= 0;
            k += c >= 0;
        }
        out->v[kind].now = b.n;
        out->v[kind].added = b.n - same;
        out->v[kind].removed = a.n - same;
        mem_free(a.v);
        mem_free(b.v);
    }
}

void changes_print(const struct changes *c, struct page *p)
{
    for (unsigned kind = 0; kind < CHANGED_KINDS; kind++) {
        size_t added = c->v[kind].added, removed = c->v[kind].removed;
        page_printf(p, "%s%s %zu", kind ? ", " : "", kinds[kind], c->v[kind].now);
        if (added && removed)
            page_printf(p, " (+%zu -%zu)", added, removed);
        else if (added)
            page_printf(p, " (+%zu)", added);
        else if (removed)
            page_printf(p, " (-%zu)", removed);
    }
}

void changes_json(const struct changes *c, struct page *p)
{
    for (unsigned kind = 0; kind < CHANGED_KINDS; kind++)
        page_printf(p, "%s\"%s\":{\"now\":%zu,\"added\":%zu,\"removed\":%zu}", kind ? "," : "{", kinds[kind], c->v[kind].now,
                    c->v[kind].added, c->v[kind].removed);
    page_printf(p, "}");
}
