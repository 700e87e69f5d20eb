/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's side of a snapshot. The worker drops its hold when a newer snapshot comes; requests that began under the old one
 * keep it until they end. What must not begin anew with each configuration lives elsewhere: connections with endpoint.c, limits
 * with the filters' shared state, clients with their listeners.
 */
#include "view.h"

#include "filter.h"
#include "lib/check.h"
#include "lib/mem.h"
#include "listener.h"
#include "worker.h"

static void upstreams_open(struct view *v, const struct name_known *known)
{
    const struct snapshot *snap = v->snap;
    size_t number = 0;
    v->upstreams = mem_array(snap->n_upstreams, sizeof *v->upstreams);
    for (size_t i = 0; i < snap->n_upstreams; i++) {
        struct upstream *u = &v->upstreams[i];
        upstream_init(u, v->worker, &snap->upstreams[i], snap->shared);
        for (size_t e = 0; e < u->conf->n; e++, number++)
            if (known)
                endpoint_set_addresses(u->endpoints[e], known[number].v, known[number].n);
    }
}

static struct view *view_new(struct worker *w, struct snapshot *snap, const struct name_known *known)
{
    struct view *v = mem_zalloc(sizeof *v);
    v->worker = w;
    v->snap = snap;
    v->users = 1;
    snapshot_ref(snap);
    w->endpoints.view++;
    v->locals = mem_array(snap->n_instances, sizeof *v->locals);
    for (size_t i = 0; i < snap->n_instances; i++) {
        const struct instance *inst = snap->instances[i];
        if (!inst->type->local_size)
            continue;
        v->locals[i] = mem_zalloc(inst->type->local_size);
        if (inst->type->local_init)
            inst->type->local_init(v->locals[i], inst->options);
    }
    upstreams_open(v, known);
    return v;
}

void view_drop(struct view *v)
{
    check(v->users > 0);
    if (--v->users > 0)
        return;
    for (size_t i = 0; i < v->snap->n_upstreams; i++)
        upstream_fini(&v->upstreams[i]);
    for (size_t i = 0; i < v->snap->n_instances; i++) {
        const struct filter *type = v->snap->instances[i]->type;
        if (v->locals[i] && type->local_fini)
            type->local_fini(v->locals[i]);
        mem_free(v->locals[i]);
    }
    mem_free(v->upstreams);
    mem_free(v->locals);
    snapshot_unref(&v->snap);
    mem_free(v);
}

void view_retire(struct worker *w)
{
    struct view *v = w->view;
    w->view = NULL;
    for (size_t i = 0; i < v->snap->n_upstreams; i++)
        upstream_outdated(&v->upstreams[i]);
    view_drop(v);
}

/* ---- listeners ---- */

static const struct listen_conf *listen_at(const struct snapshot *snap, const struct address *at)
{
    for (size_t i = 0; i < snap->n_listens; i++)
        if (address_same(&snap->listens[i].address, at))
            return &snap->listens[i];
    return NULL;
}

static void listeners_change(struct worker *w, const struct view_change *change)
{
    for (struct list *n = w->listeners.next, *next; n != &w->listeners; n = next) {
        struct listener *l = container_of(n, struct listener, link);
        next = n->next;
        if (l->leaving)
            continue;
        const struct listen_conf *conf = listen_at(change->snap, &l->conf->address);
        if (conf)
            listener_set_view(l, w->view, conf);
        else
            listener_leave(l);
    }
    for (size_t i = 0; change->sockets && i < change->snap->n_listens; i++) {
        if (change->sockets[i] < 0)
            continue;
        struct listener *l = listener_new(w, w->view, &change->snap->listens[i], change->sockets[i]);
        if (w->accepting)
            listener_start(l);
    }
}

void view_change(struct worker *w, const struct view_change *change)
{
    struct view *v = view_new(w, change->snap, change->known);
    if (w->view)
        view_retire(w);
    w->view = v;
    listeners_change(w, change);
}
