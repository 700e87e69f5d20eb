/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's side of a snapshot. The worker drops its hold when a newer snapshot comes; requests that began under the old one
 * keep it until they end.
 */
#include "view.h"

#include <string.h>
#include "filter.h"
#include "lib/check.h"
#include "lib/mem.h"
#include "worker.h"

struct view *view_new(struct worker *w, struct snapshot *snap)
{
    struct view *v = mem_zalloc(sizeof *v);
    v->worker = w;
    v->snap = snap;
    v->users = 1;
    snapshot_ref(snap);
    v->locals = mem_array(snap->n_instances, sizeof *v->locals);
    for (size_t i = 0; i < snap->n_instances; i++) {
        const struct instance *inst = snap->instances[i];
        if (!inst->type->local_size)
            continue;
        v->locals[i] = mem_zalloc(inst->type->local_size);
        if (inst->type->local_init)
            inst->type->local_init(v->locals[i], inst->options);
    }
    v->upstreams = mem_array(snap->n_upstreams, sizeof *v->upstreams);
    for (size_t i = 0; i < snap->n_upstreams; i++)
        upstream_init(&v->upstreams[i], w, &snap->upstreams[i], snap->shared);
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
    view_drop(v);
}

void worker_view_set(struct worker *w, struct snapshot *snap)
{
    struct view *v = view_new(w, snap);
    if (w->view)
        view_retire(w);
    w->view = v;
}

struct addresses_mail {
    struct mail mail;
    const struct snapshot *snap;         /* compared only */
    size_t upstream, endpoint, n;
    struct address v[];
};

static void addresses_deliver(struct mail *mail, void *owner)
{
    struct addresses_mail *m = container_of(mail, struct addresses_mail, mail);
    struct worker *w = owner;
    if (w->view && w->view->snap == m->snap)
        endpoint_set_addresses(&w->view->upstreams[m->upstream].endpoints[m->endpoint], m->v, m->n);
    mem_free(m);
}

void view_post_addresses(struct worker *w, const struct snapshot *snap, size_t upstream, size_t endpoint,
                         const struct address *v, size_t n)
{
    struct addresses_mail *m = mem_zalloc(sizeof *m + n * sizeof *v);
    m->mail.deliver = addresses_deliver;
    m->snap = snap;
    m->upstream = upstream;
    m->endpoint = endpoint;
    m->n = n;
    if (n > 0)
        memcpy(m->v, v, n * sizeof *v);
    mailbox_post(&w->mailbox, &m->mail);
}
