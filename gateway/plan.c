/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compares two configurations as a reload does: by name.
 *
 * Whatever has the same name (a listener: the same address; an instance: the same type and name) is the same thing, and goes
 * on; what differs of it is told key by key, from the tables that read it. What that means for those under way only the
 * filter's type knows, and says (filter->plan()). So nothing here knows a key or a filter, but for the few settings of the
 * process that a reload cannot change.
 *
 * Things are found by a sorted index: ten thousand routes are compared in milliseconds.
 */
#include "plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "certificates.h"
#include "conf/diff.h"
#include "conf/schema.h"
#include "lib/clock.h"
#include "lib/mem.h"
#include "plan_impl.h"
#include "tls_authorities.h"
#include "tls_client.h"
#include "tls_context.h"
#include "tls_files.h"

/* ---- items ---- */

static void item_put(struct plan *p, struct plan_item *item)
{
    p->counts[item->what][item->how]++;
    if (item->how == PLAN_SAME)
        return;
    *p->items_tail = item;
    p->items_tail = &item->next;
}

static struct plan_item *item_new(struct plan *p, enum plan_what what, enum plan_how how, struct str name)
{
    struct plan_item *item = arena_zalloc(&p->arena, sizeof *item);
    *item = (struct plan_item){.what = what, .how = how, .name = name, .keys_tail = &item->keys,
                               .notes_tail = &item->notes};
    return item;
}

static void key_add(struct plan *p, struct plan_item *item, const char *key, struct str from, struct str to)
{
    struct plan_key *k = arena_zalloc(&p->arena, sizeof *k);
    *k = (struct plan_key){arena_strdup(&p->arena, str_c(key)), arena_strdup(&p->arena, from), arena_strdup(&p->arena, to), NULL};
    *item->keys_tail = k;
    item->keys_tail = &k->next;
    item->how = PLAN_CHANGED;
}

static void note_add(struct plan *p, struct plan_item *item, enum plan_note kind, struct str text)
{
    struct plan_noted *n = arena_zalloc(&p->arena, sizeof *n);
    *n = (struct plan_noted){kind, text.at, NULL};
    *item->notes_tail = n;
    item->notes_tail = &n->next;
    p->notes[kind]++;
}

/* For what no key tells: a file of CAs keeps its name when others are written into it. */
static void change_add(struct plan *p, struct plan_item *item, struct str text)
{
    item->how = PLAN_CHANGED;
    note_add(p, item, PLAN_KEEPS, text);
}

void plan_say(struct plan_notes *notes, enum plan_note kind, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    note_add(notes->plan, notes->item, kind, arena_copy(&notes->plan->arena, str_c(text)));
}

struct found { struct plan *plan; struct plan_item *item; };

static void key_found(void *ctx, const struct diff_key *k)
{
    const struct found *f = ctx;
    key_add(f->plan, f->item, k->key, str_c(k->from), str_c(k->to));
}

/* ---- by name ---- */

struct entry { struct str name; size_t at; };
struct index { struct entry *v; size_t n; };

static int by_name(const void *pa, const void *pb)
{
    const struct entry *a = pa, *b = pb;
    size_t len = a->name.len < b->name.len ? a->name.len : b->name.len;
    int order = len ? memcmp(a->name.at, b->name.at, len) : 0;
    return order ? order : a->name.len < b->name.len ? -1 : a->name.len > b->name.len;
}

/* The things of one kind on both sides, by whatever identifies them. */
struct kind {
    size_t (*count)(const void *owner);
    struct str (*name)(struct plan *, const void *owner, size_t i);
    void (*both)(struct plan *, const void *from, size_t i, const void *to, size_t k);
    void (*one)(struct plan *, const void *owner, size_t i, enum plan_how);
};

static struct index index_new(struct plan *p, const struct kind *kind, const void *owner)
{
    struct index x = {NULL, kind->count(owner)};
    x.v = mem_array(x.n + 1, sizeof *x.v);
    for (size_t i = 0; i < x.n; i++)
        x.v[i] = (struct entry){kind->name(p, owner, i), i};
    if (x.n > 1)
        qsort(x.v, x.n, sizeof *x.v, by_name);
    return x;
}

static const struct entry *index_find(const struct index *x, struct str name)
{
    const struct entry key = {name, 0};
    return x->n ? bsearch(&key, x->v, x->n, sizeof *x->v, by_name) : NULL;
}

/* What is new or stays in the order of the new one, then what is gone in that of the old one. */
static void kind_compare(struct plan *p, const struct kind *kind, const void *from, const void *to)
{
    struct index olds = index_new(p, kind, from), news = index_new(p, kind, to);
    for (size_t k = 0; k < news.n; k++) {
        const struct entry *old = index_find(&olds, kind->name(p, to, k));
        if (old)
            kind->both(p, from, old->at, to, k);
        else
            kind->one(p, to, k, PLAN_ADDED);
    }
    for (size_t i = 0; i < olds.n; i++)
        if (!index_find(&news, kind->name(p, from, i)))
            kind->one(p, from, i, PLAN_REMOVED);
    mem_free(olds.v);
    mem_free(news.v);
}

/* ---- lists of filters ---- */

static bool chain_same(const struct chain_conf *a, const struct chain_conf *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (a->v[i]->type != b->v[i]->type || !str_eq(a->v[i]->name, b->v[i]->name))
            return false;
    return true;
}

/* As in the file: a name, or the type of one that has none of its own. */
static struct str chain_text(struct plan *p, const struct chain_conf *c)
{
    struct page page = {0};
    page_printf(&page, "[");
    for (size_t i = 0; i < c->n; i++) {
        struct str name = c->v[i]->name, type = str_c(c->v[i]->type->name);
        bool own = !(name.len > type.len && str_ends_nocase(name, type) && name.at[name.len - type.len - 1] == ' ');
        page_printf(&page, "%s" STR_FMT, i ? ", " : "", STR_ARG(own ? name : type));
    }
    page_printf(&page, "]");
    struct str text = arena_copy(&p->arena, str_of(page.at, page.len));
    page_free(&page);
    return text;
}

static void chain_compare(struct plan *p, struct plan_item *item, const struct chain_conf *from, const struct chain_conf *to)
{
    if (!chain_same(from, to))
        key_add(p, item, "filters", chain_text(p, from), chain_text(p, to));
}

/* ---- listeners ---- */

static size_t listener_count(const void *s) { return ((const struct snapshot *)s)->n_listens; }
static const struct listen_conf *listener_at(const void *s, size_t i) { return &((const struct snapshot *)s)->listens[i]; }

/* ":80" and "0.0.0.0:80" are one. */
static struct str listener_name(struct plan *p, const void *s, size_t i)
{
    const struct listen_conf *c = listener_at(s, i);
    (void)p;
    return c->address.len ? str_of((const char *)&c->address.sa, c->address.len) : c->at;
}

/* Of a text that was to open no files it is not known. */
static bool asks_alike(const struct tls_conf *a, const struct tls_conf *b)
{
    bool known = (!a || a->server) && (!b || b->server);
    return !known || tls_asks_alike(a, b);
}

static void listener_both(struct plan *p, const void *from, size_t i, const void *to, size_t k)
{
    static const char *const skip[] = {"at", "filters", NULL};
    const struct listen_conf *a = listener_at(from, i), *b = listener_at(to, k);
    struct plan_item *item = item_new(p, PLAN_LISTENER, PLAN_SAME, b->at);
    struct found found = {p, item};
    diff_fields(schema_listen_fields, &(struct diff_side){a, a->node}, &(struct diff_side){b, b->node}, skip, key_found, &found);
    chain_compare(p, item, &a->filters, &b->filters);
    if (!asks_alike(a->tls, b->tls))
        change_add(p, item, STR("callers are asked for something else: connections end with their next answer, idle ones at once"));
    item_put(p, item);
}

static void listener_one(struct plan *p, const void *s, size_t i, enum plan_how how)
{
    item_put(p, item_new(p, PLAN_LISTENER, how, listener_at(s, i)->at));
}

static const struct kind listeners = {listener_count, listener_name, listener_both, listener_one};

/* ---- upstreams and their endpoints ---- */

static size_t endpoint_count(const void *u) { return ((const struct upstream_conf *)u)->n; }

static struct str endpoint_name(struct plan *p, const void *u, size_t i)
{
    const struct endpoint_conf *e = &((const struct upstream_conf *)u)->endpoints[i];
    (void)p;
    return e->host.len ? e->authority : e->url;
}

static void endpoint_both(struct plan *p, const void *from, size_t i, const void *to, size_t k)
{
    (void)from, (void)i, (void)to, (void)k;
    p->counts[PLAN_ENDPOINT][PLAN_SAME]++;
}

static void endpoint_one(struct plan *p, const void *of, size_t i, enum plan_how how)
{
    const struct upstream_conf *u = of;
    struct str name = arena_printf(&p->arena, STR_FMT " of " STR_FMT, STR_ARG(u->endpoints[i].url), STR_ARG(u->name));
    item_put(p, item_new(p, PLAN_ENDPOINT, how, name));
}

static const struct kind endpoints = {endpoint_count, endpoint_name, endpoint_both, endpoint_one};

static size_t upstream_count(const void *s) { return ((const struct snapshot *)s)->n_upstreams; }
static const struct upstream_conf *upstream_at(const void *s, size_t i) { return &((const struct snapshot *)s)->upstreams[i]; }

static struct str upstream_name(struct plan *p, const void *s, size_t i)
{
    (void)p;
    return upstream_at(s, i)->name;
}

static void upstream_both(struct plan *p, const void *from, size_t i, const void *to, size_t k)
{
    static const char *const skip[] = {"endpoints", "filters", NULL};
    const struct upstream_conf *a = upstream_at(from, i), *b = upstream_at(to, k);
    struct plan_item *item = item_new(p, PLAN_UPSTREAM, PLAN_SAME, b->name);
    struct found found = {p, item};
    diff_fields(schema_upstream_fields, &(struct diff_side){a, a->node}, &(struct diff_side){b, b->node}, skip, key_found,
                &found);
    chain_compare(p, item, &a->filters, &b->filters);
    if (a->tls.client && b->tls.client && !tls_client_same(a->tls.client, b->tls.client))
        change_add(p, item, STR("endpoints are checked or shown something else: connections end with their answer, idle ones at "
                                "once"));
    item_put(p, item);
    kind_compare(p, &endpoints, a, b);
}

static void upstream_one(struct plan *p, const void *s, size_t i, enum plan_how how)
{
    item_put(p, item_new(p, PLAN_UPSTREAM, how, upstream_at(s, i)->name));
}

static const struct kind upstreams = {upstream_count, upstream_name, upstream_both, upstream_one};

/* ---- routes ---- */

static size_t route_count(const void *s) { return ((const struct snapshot *)s)->n_routes; }
static const struct route_conf *route_at(const void *s, size_t i) { return &((const struct snapshot *)s)->routes[i]; }

static const struct yaml_node *route_node(const void *of, size_t i)
{
    const struct snapshot *s = of;
    return s->route_nodes ? s->route_nodes[i] : NULL;
}

static struct str route_name(struct plan *p, const void *s, size_t i)
{
    (void)p;
    return route_at(s, i)->name;
}

static void route_both(struct plan *p, const void *from, size_t i, const void *to, size_t k)
{
    static const char *const skip[] = {"name", "filters", NULL};
    const struct route_conf *a = route_at(from, i), *b = route_at(to, k);
    struct plan_item *item = item_new(p, PLAN_ROUTE, PLAN_SAME, b->name);
    struct found found = {p, item};
    diff_fields(schema_route_fields, &(struct diff_side){a, route_node(from, i)}, &(struct diff_side){b, route_node(to, k)}, skip,
                key_found, &found);
    chain_compare(p, item, &a->filters, &b->filters);
    item_put(p, item);
}

static void route_one(struct plan *p, const void *s, size_t i, enum plan_how how)
{
    item_put(p, item_new(p, PLAN_ROUTE, how, route_at(s, i)->name));
}

static const struct kind routes = {route_count, route_name, route_both, route_one};

/* ---- instances of filters ---- */

static size_t filter_count(const void *s) { return ((const struct snapshot *)s)->n_instances; }
static const struct instance *filter_at(const void *s, size_t i) { return ((const struct snapshot *)s)->instances[i]; }

static struct str filter_name(struct plan *p, const void *s, size_t i)
{
    const struct instance *in = filter_at(s, i);
    return arena_printf(&p->arena, "%s " STR_FMT, in->type->name, STR_ARG(in->name));
}

static struct plan_item *filter_item(struct plan *p, const struct instance *in, enum plan_how how)
{
    struct plan_item *item = item_new(p, PLAN_FILTER, how, in->name);
    item->type = in->type->name;
    return item;
}

static const char *mode_of(const struct instance *in) { return in->shadow ? "shadow" : "enforce"; }

static void filter_both(struct plan *p, const void *from, size_t i, const void *to, size_t k)
{
    const struct instance *a = filter_at(from, i), *b = filter_at(to, k);
    struct plan_item *item = filter_item(p, b, PLAN_SAME);
    struct found found = {p, item};
    diff_fields(b->type->fields, &(struct diff_side){a->options, a->node}, &(struct diff_side){b->options, b->node}, NULL,
                key_found, &found);
    if (a->shadow != b->shadow)
        key_add(p, item, "mode", str_c(mode_of(a)), str_c(mode_of(b)));
    if (item->how == PLAN_CHANGED && b->type->plan)
        b->type->plan(a->shared, a->options, b->options, p->now, &(struct plan_notes){p, item});
    item_put(p, item);
}

static void filter_one(struct plan *p, const void *s, size_t i, enum plan_how how)
{
    const struct instance *in = filter_at(s, i);
    struct plan_item *item = filter_item(p, in, how);
    if (how == PLAN_REMOVED && in->type->shared_size)
        note_add(p, item, PLAN_KEEPS, STR("what it counted is gone with the last request that uses it"));
    item_put(p, item);
}

static const struct kind filters = {filter_count, filter_name, filter_both, filter_one};

/* ---- the process ---- */

/* Each differing key is an item of its own. */
static void setting_found(void *ctx, const struct diff_key *k)
{
    struct plan *p = ctx;
    struct plan_item *item = item_new(p, PLAN_SETTING, PLAN_CHANGED, arena_copy(&p->arena, str_c(k->key)));
    key_add(p, item, k->key, str_c(k->from), str_c(k->to));
    if (strcmp(k->key, "workers") == 0)
        note_add(p, item, PLAN_RESTART, STR("it stays as it is until a restart"));
    item_put(p, item);
}

static void settings_compare(struct plan *p, const struct snapshot *from, const struct snapshot *to)
{
    static const char *const skip[] = {"version", "include", "define", "listen", "upstreams", "routes", NULL};
    diff_fields(schema_fields, &(struct diff_side){from, from->node}, &(struct diff_side){to, to->node}, skip, setting_found, p);
}

/* A file keeps its name when it is renewed, so nothing that is written tells. Which files there are, the owners' keys do. */
static void certificates_compare(struct plan *p, const struct snapshot *from, const struct snapshot *to)
{
    for (const struct tls_shown *b = to->shown; b; b = b->next) {
        const struct tls_shown *a = tls_shown_find(from, b->path);
        char before[28], after[28];
        if (!a)
            continue;
        struct plan_item *item = item_new(p, PLAN_CERTIFICATE, PLAN_SAME, b->path);
        if (!certificate_same(a, b)) {
            clock_rfc3339(a->until * NSEC_PER_SEC, before);
            clock_rfc3339(b->until * NSEC_PER_SEC, after);
            if (!str_eq(a->subject, b->subject))
                key_add(p, item, "subject", a->subject, b->subject);
            key_add(p, item, "serial", a->serial, b->serial);
            key_add(p, item, "expires", str_c(before), str_c(after));
        }
        item_put(p, item);
    }
}

static struct str print_text(struct plan *p, const unsigned char *print)
{
    return arena_printf(&p->arena, "%02x%02x%02x%02x...", print[0], print[1], print[2], print[3]);
}

/* CAs and their lists: what they decide over is not known here, only that they are others. */
static void trusted_compare(struct plan *p, const struct snapshot *from, const struct snapshot *to)
{
    for (const struct tls_trusted *b = to->trusted; b; b = b->next) {
        const struct tls_trusted *a = tls_trusted_find(from, b->path);
        if (!a)
            continue;
        struct plan_item *item = item_new(p, PLAN_TRUSTED, PLAN_SAME, b->path);
        if (memcmp(a->print, b->print, sizeof a->print) != 0)
            key_add(p, item, "sha256", print_text(p, a->print), print_text(p, b->print));
        item_put(p, item);
    }
}

struct plan *plan_new(const struct snapshot *from, const struct snapshot *to, uint64_t now)
{
    struct plan *p = mem_zalloc(sizeof *p);
    arena_init(&p->arena, NULL);
    p->now = now;
    p->items_tail = &p->items;
    settings_compare(p, from, to);
    kind_compare(p, &listeners, from, to);
    kind_compare(p, &upstreams, from, to);
    kind_compare(p, &routes, from, to);
    kind_compare(p, &filters, from, to);
    certificates_compare(p, from, to);
    trusted_compare(p, from, to);
    return p;
}

void plan_free(struct plan **at)
{
    struct plan *p = *at;
    *at = NULL;
    if (!p)
        return;
    arena_fini(&p->arena);
    mem_free(p);
}
