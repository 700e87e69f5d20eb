/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoints of a worker and their pools. Connections themselves are up_h1.c's.
 *
 * An endpoint with several addresses takes them in turn: the next connection goes to the next address, so that one dead
 * address does not hold the name down.
 *
 * Connections that begin with a PROXY header are kept too, each for the caller that it names, who often asks again on the same
 * connection; and with `host: client` those of TLS, each for the name that its certificate was checked for. To find the right one,
 * a bounded number is looked at; and for the newest there is always room, for callers come and go.
 *
 * An endpoint belongs to the worker and is only held by views, because its connections do: what an old request gives back
 * after a reload is the next request's, and balancing counts what is in flight for either. A view has a number, and an
 * endpoint the number of the newest view that holds it; when that is not the worker's current one, the endpoint is gone from
 * the configuration, is held by requests that began before, and keeps no connection.
 */
#include "endpoint.h"

#include <stdio.h>
#include <string.h>
#include "exchange.h"
#include "lib/check.h"
#include "lib/hash.h"
#include "lib/mem.h"
#include "tls_client.h"
#include "up_h1.h"
#include "worker.h"

enum { BUCKETS_MIN = 16, LOOK_MAX = 256 };

/* Names come from the configuration's author: the key need not be secret. */
static uint64_t hash_of(struct str s)
{
    static const struct hash_key key = {0x77656972, 0x656e6470};
    return hash_str(&key, s);
}

/* ---- the table ---- */

static struct list *buckets_new(size_t n)
{
    struct list *b = mem_array(n, sizeof *b);
    for (size_t i = 0; i < n; i++)
        list_init(&b[i]);
    return b;
}

void endpoints_init(struct endpoints *all)
{
    *all = (struct endpoints){.size = BUCKETS_MIN, .by_id = buckets_new(BUCKETS_MIN), .by_host = buckets_new(BUCKETS_MIN)};
}

void endpoints_fini(struct endpoints *all)
{
    check(all->n == 0);
    mem_free(all->by_id);
    mem_free(all->by_host);
}

static void table_add(struct endpoints *all, struct endpoint *e)
{
    list_push(&all->by_id[e->id_hash & (all->size - 1)], &e->by_id);
    list_push(&all->by_host[e->host_hash & (all->size - 1)], &e->by_host);
}

static void table_grow(struct endpoints *all)
{
    struct endpoints old = *all;
    struct list *l;
    all->size *= 2;
    all->by_id = buckets_new(all->size);
    all->by_host = buckets_new(all->size);
    for (size_t i = 0; i < old.size; i++) {
        while ((l = list_pop(&old.by_id[i])) != NULL) {
            struct endpoint *e = container_of(l, struct endpoint, by_id);
            list_remove(&e->by_host);
            table_add(all, e);
        }
    }
    mem_free(old.by_id);
    mem_free(old.by_host);
}

static struct endpoint *table_find(const struct endpoints *all, struct str id, uint64_t hash)
{
    const struct list *b = &all->by_id[hash & (all->size - 1)];
    for (struct list *l = b->next; l != b; l = l->next) {
        struct endpoint *e = container_of(l, struct endpoint, by_id);
        if (e->id_hash == hash && str_eq(e->id, id))
            return e;
    }
    return NULL;
}

/* ---- one of them ---- */

static struct str text_copy(struct str s)
{
    char *at = mem_alloc(s.len + 1);
    if (s.len > 0)
        memcpy(at, s.at, s.len);
    at[s.len] = '\0';
    return str_of(at, s.len);
}

static struct endpoint *endpoint_new(struct worker *w, const struct endpoint_conf *conf, struct str id, uint64_t hash)
{
    struct endpoint *e = mem_zalloc(sizeof *e);
    e->worker = w;
    e->url = text_copy(conf->url);
    e->host = text_copy(conf->host);
    e->authority = text_copy(conf->authority);
    e->port = conf->port;
    e->id = text_copy(id);
    e->id_hash = hash;
    e->host_hash = hash_of(e->host);
    list_init(&e->idle);
    list_init(&e->by_id);
    list_init(&e->by_host);
    if (w->endpoints.n >= w->endpoints.size)
        table_grow(&w->endpoints);
    table_add(&w->endpoints, e);
    w->endpoints.n++;
    return e;
}

static void oldest_close(struct endpoint *e)
{
    struct upconn *c = container_of(e->idle.prev, struct upconn, link);
    endpoint_unpool(e, c);
    upconn_close(c);
}

/* A lowered pool_max holds for those that wait in the pool already: the oldest go. */
static void idle_trim(struct endpoint *e)
{
    while (e->n_idle > e->idle_max)
        oldest_close(e);
}

/* What is believed, or shown, has changed: connections that were made before serve nobody any more. */
static void tls_set(struct endpoint *e, struct tls_client *client)
{
    struct tls_client *old = e->tls;
    if (client)
        tls_client_ref(client);
    e->tls = client;
    if (old && !tls_client_same(old, client)) {
        upconn_close_idle(e);
        tls_session_forget(&e->session);
        e->session.epoch++;
    }
    tls_client_unref(&old);
}

struct endpoint *endpoint_hold(struct worker *w, const struct upstream_conf *conf, size_t i, struct health *health)
{
    const struct endpoint_conf *its = &conf->endpoints[i];
    size_t len = conf->name.len + 1 + its->url.len;
    char *id = mem_alloc(len + 1);               /* an upstream's name holds no blank */
    (void)snprintf(id, len + 1, STR_FMT " " STR_FMT, STR_ARG(conf->name), STR_ARG(its->url));
    uint64_t hash = hash_of(str_of(id, len));
    struct endpoint *e = table_find(&w->endpoints, str_of(id, len), hash);
    if (!e)
        e = endpoint_new(w, its, str_of(id, len), hash);
    mem_free(id);
    e->holds++;
    e->view = w->endpoints.view;
    e->health = health->v[i];
    e->idle_max = conf->pool_max;
    e->idle_time = conf->pool_idle;
    tls_set(e, its->tls ? conf->tls.client : NULL);
    idle_trim(e);
    if (its->address.len && e->n_addresses == 0)
        endpoint_set_addresses(e, &its->address, 1);
    return e;
}

void endpoint_drop(struct endpoint *e)
{
    check(e->holds > 0);
    if (--e->holds > 0)
        return;
    check(e->in_flight == 0);
    upconn_close_idle(e);
    list_remove(&e->by_id);
    list_remove(&e->by_host);
    e->worker->endpoints.n--;
    tls_session_forget(&e->session);
    tls_client_unref(&e->tls);
    mem_free(e->addresses);
    mem_free((void *)(uintptr_t)e->url.at);
    mem_free((void *)(uintptr_t)e->host.at);
    mem_free((void *)(uintptr_t)e->authority.at);
    mem_free((void *)(uintptr_t)e->id.at);
    mem_free(e);
}

static bool is_current(const struct endpoint *e) { return e->view == e->worker->endpoints.view; }

void endpoint_outdated(struct endpoint *e)
{
    if (!is_current(e))
        upconn_close_idle(e);
}

void endpoints_close_idle(struct worker *w)
{
    for (size_t i = 0; i < w->endpoints.size; i++)
        for (struct list *l = w->endpoints.by_id[i].next; l != &w->endpoints.by_id[i]; l = l->next)
            upconn_close_idle(container_of(l, struct endpoint, by_id));
}

/* ---- addresses ---- */

static void port_fill(struct address *a, uint16_t port)
{
    if (a->sa.sa_family == AF_INET && a->in.sin_port == 0)
        a->in.sin_port = htons(port);
    else if (a->sa.sa_family == AF_INET6 && a->in6.sin6_port == 0)
        a->in6.sin6_port = htons(port);
}

void endpoint_set_addresses(struct endpoint *e, const struct address *v, size_t n)
{
    if (n == 0)
        return;
    mem_free(e->addresses);
    e->addresses = mem_array(n, sizeof *v);
    memcpy(e->addresses, v, n * sizeof *v);
    for (size_t i = 0; i < n; i++)
        port_fill(&e->addresses[i], e->port);
    e->n_addresses = n;
    e->next_address = 0;
    health_addresses(e->health, n);
}

struct addresses_mail {
    struct mail mail;
    struct str host;                     /* behind the addresses */
    size_t n;
    struct address v[];
};

static void addresses_deliver(struct mail *mail, void *owner)
{
    struct addresses_mail *m = container_of(mail, struct addresses_mail, mail);
    struct endpoints *all = &((struct worker *)owner)->endpoints;
    uint64_t hash = hash_of(m->host);
    struct list *b = &all->by_host[hash & (all->size - 1)];
    for (struct list *l = b->next; l != b; l = l->next) {
        struct endpoint *e = container_of(l, struct endpoint, by_host);
        if (e->host_hash == hash && str_eq(e->host, m->host))
            endpoint_set_addresses(e, m->v, m->n);
    }
    mem_free(m);
}

void endpoints_post_addresses(struct worker *w, struct str host, const struct address *v, size_t n)
{
    struct addresses_mail *m = mem_zalloc(sizeof *m + n * sizeof *v + host.len);
    m->mail.deliver = addresses_deliver;
    m->host = str_of((char *)&m->v[n], host.len);
    m->n = n;
    if (n > 0)
        memcpy(m->v, v, n * sizeof *v);
    memcpy(&m->v[n], host.at, host.len);
    mailbox_post(&w->mailbox, &m->mail);
}

/* ---- connections ---- */

static void in_flight_add(struct endpoint *e, int by)
{
    e->in_flight += (unsigned)by;
    health_in_flight(e->health, e->worker->id, by);
}

void endpoint_begin(struct endpoint *e) { in_flight_add(e, 1); }
void endpoint_end(struct endpoint *e) { in_flight_add(e, -1); }

/* The newest of its idle connections that may serve whoever needs such a one; mostly the first. */
static struct upconn *idle_find(struct endpoint *e, const struct upconn_need *need)
{
    unsigned looks = 0;
    for (struct list *l = e->idle.next; l != &e->idle && looks < LOOK_MAX; l = l->next, looks++) {
        struct upconn *c = container_of(l, struct upconn, link);
        if (upconn_suits(c, need))
            return c;
    }
    return NULL;
}

struct up *endpoint_connect(struct endpoint *e, struct attempt *att, bool fresh, bool *reused)
{
    struct worker *w = e->worker;
    struct upconn_need need;
    upconn_need_of(e, att, &need);
    struct upconn *c = fresh ? NULL : idle_find(e, &need);
    *reused = false;
    if (c) {
        endpoint_unpool(e, c);
        *reused = true;
        metric_add(&w->metrics, METRIC_upstream_reuses_total, 1);
        upconn_begin(c, att);
        return &c->up;
    }
    const struct address *a = &e->addresses[e->next_address];
    e->next_address = (e->next_address + 1) % e->n_addresses;
    c = upconn_open(e, a, att, &need);
    return c ? &c->up : NULL;
}

bool endpoint_pool(struct endpoint *e, struct upconn *c)
{
    if (!is_current(e) || e->idle_max == 0 || !upconn_is_current(c))
        return false;
    if (e->n_idle >= e->idle_max && !c->proxy && !c->s.tls)
        return false;
    if (e->n_idle >= e->idle_max)
        oldest_close(e);
    list_push(&e->idle, &c->link);
    e->n_idle++;
    metric_add(&e->worker->metrics, METRIC_upstream_connections_idle, 1);
    return true;
}

void endpoint_unpool(struct endpoint *e, struct upconn *c)
{
    list_remove(&c->link);
    e->n_idle--;
    metric_sub(&e->worker->metrics, METRIC_upstream_connections_idle, 1);
}
