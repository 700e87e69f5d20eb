/* SPDX-License-Identifier: Apache-2.0 */
/*
 * State by (type, name) that outlives configurations.
 *
 * The control thread opens, but any thread may drop the last reference of a snapshot and so close; a lock guards the
 * table and the counts. No filter's code runs under it. It is taken when configurations come and go, never for a
 * request.
 */
#include "conf/shared.h"

#include <pthread.h>
#include "filter.h"
#include "lib/check.h"
#include "lib/hash.h"
#include "lib/list.h"
#include "lib/mem.h"

struct shared_entry {
    struct list link;                /* in its bucket */
    const struct filter *type;
    char *name;
    size_t name_len;
    uint64_t hash;
    size_t refs;
    _Alignas(max_align_t) unsigned char state[];
};

struct shared_set {
    pthread_mutex_t lock;
    struct list *buckets;
    size_t n_buckets, n;
    uint64_t generation;
};

static struct list *buckets_new(size_t n)
{
    struct list *b = mem_array(n, sizeof(*b));
    for (size_t i = 0; i < n; i++)
        list_init(&b[i]);
    return b;
}

struct shared_set *shared_set_new(void)
{
    struct shared_set *s = mem_zalloc(sizeof(*s));
    check(pthread_mutex_init(&s->lock, NULL) == 0);
    s->n_buckets = 64;
    s->buckets = buckets_new(s->n_buckets);
    return s;
}

void shared_set_free(struct shared_set *s)
{
    if (!s)
        return;
    check(s->n == 0);                /* every snapshot is gone before the set is */
    pthread_mutex_destroy(&s->lock);
    mem_free(s->buckets);
    mem_free(s);
}

uint64_t shared_set_generation(struct shared_set *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t g = ++s->generation;
    pthread_mutex_unlock(&s->lock);
    return g;
}

/* Names come from the configuration's author: the key need not be secret. */
static uint64_t hash_of(const struct filter *type, struct str name)
{
    const struct hash_key key = {0x77656972, (uintptr_t)type};
    return hash_str(&key, name);
}

static struct list *bucket_of(const struct shared_set *s, uint64_t hash)
{
    return &s->buckets[hash & (s->n_buckets - 1)];
}

static struct shared_entry *entry_find(const struct shared_set *s, const struct filter *type, struct str name,
                                       uint64_t hash)
{
    struct list *b = bucket_of(s, hash);
    for (struct list *l = b->next; l != b; l = l->next) {
        struct shared_entry *e = container_of(l, struct shared_entry, link);
        if (e->hash == hash && e->type == type && str_eq(str_of(e->name, e->name_len), name))
            return e;
    }
    return NULL;
}

static void grow(struct shared_set *s)
{
    struct list *old = s->buckets, *l;
    size_t n = s->n_buckets;

    s->n_buckets = n * 2;
    s->buckets = buckets_new(s->n_buckets);
    for (size_t i = 0; i < n; i++)
        while ((l = list_pop(&old[i])) != NULL)
            list_push(bucket_of(s, container_of(l, struct shared_entry, link)->hash), l);
    mem_free(old);
}

static struct shared_entry *entry_new(struct shared_set *s, const struct filter *type, struct str name, uint64_t hash)
{
    struct shared_entry *e = mem_zalloc(sizeof(*e) + type->shared_size);
    e->type = type;
    e->hash = hash;
    e->name = mem_zalloc(name.len + 1);
    e->name_len = name.len;
    if (name.len)
        memcpy(e->name, name.at, name.len);
    if (s->n >= s->n_buckets)
        grow(s);
    list_push(bucket_of(s, hash), &e->link);
    s->n++;
    return e;
}

void *shared_open(struct shared_set *s, const struct filter *type, struct str name, const void *options, uint64_t now)
{
    uint64_t hash = hash_of(type, name);

    pthread_mutex_lock(&s->lock);
    struct shared_entry *e = entry_find(s, type, name, hash);
    bool fresh = !e;
    if (fresh)
        e = entry_new(s, type, name, hash);
    e->refs++;
    pthread_mutex_unlock(&s->lock);

    /* Ours is one of the counts, so nobody frees it meanwhile. */
    if (type->shared_adopt)
        type->shared_adopt(e->state, options, fresh, now);
    return e->state;
}

void shared_close(struct shared_set *s, void *state)
{
    struct shared_entry *e = container_of(state, struct shared_entry, state);

    pthread_mutex_lock(&s->lock);
    check(e->refs > 0);
    bool last = --e->refs == 0;
    if (last) {
        list_remove(&e->link);
        s->n--;
    }
    pthread_mutex_unlock(&s->lock);
    if (!last)
        return;
    if (e->type->shared_fini)
        e->type->shared_fini(e->state);
    mem_free(e->name);
    mem_free(e);
}
