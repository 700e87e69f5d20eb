/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names by name, counted.
 *
 * resolve.c asks and asks again; here is who wants to know. The last good answer is kept with the name, for configurations
 * that come later; those that run were told when it came. A hash table, for a configuration may have thousands of
 * upstreams. What is done to an address (its port) is the endpoint's business.
 */
#include "names.h"

#include <string.h>
#include "lib/check.h"
#include "lib/hash.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/mem.h"

enum { BUCKETS_MIN = 64 };

struct name {
    struct list link;                /* in its bucket */
    struct names *names;
    struct str host;                 /* owned */
    uint64_t hash;
    size_t holds;                    /* endpoints of configurations that are held */
    struct resolve_watch *watch;
    struct address *v;               /* owned; the last good answer */
    size_t n;
    bool answered;                   /* its first look-up is over */
};

struct names {
    struct resolver *resolver;
    names_fn *fn;
    void *ctx;
    struct list *buckets;
    size_t size, n;
    size_t unanswered, unresolved;
};

static uint64_t hash_of(struct str host)
{
    static const struct hash_key key = {0x77656972, 0x6e616d65};
    return hash_str(&key, host);
}

static struct list *buckets_new(size_t n)
{
    struct list *b = mem_array(n, sizeof *b);
    for (size_t i = 0; i < n; i++)
        list_init(&b[i]);
    return b;
}

static struct name *name_find(const struct names *all, struct str host, uint64_t hash)
{
    const struct list *b = &all->buckets[hash & (all->size - 1)];
    for (struct list *l = b->next; l != b; l = l->next) {
        struct name *name = container_of(l, struct name, link);
        if (name->hash == hash && str_eq(name->host, host))
            return name;
    }
    return NULL;
}

static void names_came(void *ctx, const struct resolved *res)
{
    struct name *name = ctx;
    struct names *all = name->names;
    if (!name->answered)
        all->unanswered--;
    name->answered = true;
    if (res->n == 0) {
        log_warn("resolve", STR_FMT ": %s", STR_ARG(name->host), res->error ? res->error : "no address");
        return;
    }
    if (name->n == 0)
        all->unresolved--;
    mem_free(name->v);
    name->v = mem_array(res->n, sizeof *name->v);
    memcpy(name->v, res->v, res->n * sizeof *name->v);
    name->n = res->n;
    all->fn(all->ctx, name->host, name->v, name->n);
}

static void grow(struct names *all)
{
    struct list *old = all->buckets, *l;
    size_t n = all->size;
    all->size *= 2;
    all->buckets = buckets_new(all->size);
    for (size_t i = 0; i < n; i++)
        while ((l = list_pop(&old[i])) != NULL)
            list_push(&all->buckets[container_of(l, struct name, link)->hash & (all->size - 1)], l);
    mem_free(old);
}

static struct name *name_new(struct names *all, struct str host, uint64_t hash)
{
    struct name *name = mem_zalloc(sizeof *name);
    char *text = mem_alloc(host.len + 1);
    memcpy(text, host.at, host.len);
    text[host.len] = '\0';
    name->names = all;
    name->host = str_of(text, host.len);
    name->hash = hash;
    if (all->n >= all->size)
        grow(all);
    list_push(&all->buckets[hash & (all->size - 1)], &name->link);
    all->n++;
    all->unanswered++;
    all->unresolved++;
    name->watch = resolver_watch(all->resolver, name->host, names_came, name);
    return name;
}

static void name_free(struct name *name)
{
    struct names *all = name->names;
    resolver_unwatch(&name->watch);
    list_remove(&name->link);
    all->n--;
    all->unanswered -= !name->answered;
    all->unresolved -= name->n == 0;
    mem_free((void *)(uintptr_t)name->host.at);
    mem_free(name->v);
    mem_free(name);
}

struct names *names_new(struct resolver *resolver, names_fn *fn, void *ctx)
{
    struct names *all = mem_zalloc(sizeof *all);
    *all = (struct names){.resolver = resolver, .fn = fn, .ctx = ctx, .size = BUCKETS_MIN, .buckets = buckets_new(BUCKETS_MIN)};
    return all;
}

void names_free(struct names **at)
{
    struct names *all = *at;
    *at = NULL;
    if (!all)
        return;
    for (size_t i = 0; i < all->size; i++)
        while (!list_empty(&all->buckets[i]))
            name_free(container_of(all->buckets[i].next, struct name, link));
    mem_free(all->buckets);
    mem_free(all);
}

static void name_hold(struct names *all, struct str host)
{
    uint64_t hash = hash_of(host);
    struct name *name = name_find(all, host, hash);
    if (!name)
        name = name_new(all, host, hash);
    name->holds++;
}

static void name_drop(struct names *all, struct str host)
{
    struct name *name = name_find(all, host, hash_of(host));
    check(name && name->holds > 0);
    if (--name->holds == 0)
        name_free(name);
}

static void each_name(struct names *all, const struct snapshot *snap, void (*what)(struct names *, struct str))
{
    for (size_t u = 0; u < snap->n_upstreams; u++)
        for (size_t e = 0; e < snap->upstreams[u].n; e++)
            if (snap->upstreams[u].endpoints[e].address.len == 0)
                what(all, snap->upstreams[u].endpoints[e].host);
}

void names_hold(struct names *all, const struct snapshot *snap) { each_name(all, snap, name_hold); }
void names_drop(struct names *all, const struct snapshot *snap) { each_name(all, snap, name_drop); }

size_t names_unanswered(const struct names *all) { return all->unanswered; }
size_t names_unresolved(const struct names *all) { return all->unresolved; }

static struct name_known known_of(const struct names *all, const struct endpoint_conf *conf)
{
    const struct name *name = conf->address.len ? NULL : name_find(all, conf->host, hash_of(conf->host));
    return name ? (struct name_known){name->v, name->n} : (struct name_known){NULL, 0};
}

struct name_known *names_known(const struct names *all, const struct snapshot *snap)
{
    size_t n = 0, n_addresses = 0;
    for (size_t u = 0; u < snap->n_upstreams; u++)
        for (size_t e = 0; e < snap->upstreams[u].n; e++, n++)
            n_addresses += known_of(all, &snap->upstreams[u].endpoints[e]).n;
    struct name_known *out = mem_zalloc(n * sizeof *out + n_addresses * sizeof(struct address) + 1), *at = out;
    struct address *v = (struct address *)(void *)(out + n);
    for (size_t u = 0; u < snap->n_upstreams; u++) {
        for (size_t e = 0; e < snap->upstreams[u].n; e++, at++) {
            struct name_known known = known_of(all, &snap->upstreams[u].endpoints[e]);
            *at = (struct name_known){v, known.n};
            if (known.n > 0)
                memcpy(v, known.v, known.n * sizeof *v);
            v += known.n;
        }
    }
    return out;
}
