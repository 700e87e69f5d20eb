/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's side of the memory guard.
 *
 * Nothing that was begun is stopped for want of memory: what is under way holds memory, and ending it is what gives that
 * back. So a body that has begun is read on, within the bounds that it always has, and narrower ones: its source is paused as soon
 * as a byte waits here (respond.c), and goes on when its sink has taken all. That needs the sinks alone.
 *
 * A body that has not begun waits. Its request may hold a slot that another one needs, whose body is here already. Such a
 * circle is broken twice: the request's deadline runs, and every quarter of a second one body a worker is let in, whatever the
 * stage says.
 */
#include "relief.h"

#include "client.h"
#include "core.h"
#include "endpoint.h"
#include "listener.h"
#include "stream.h"
#include "worker.h"

static bool let_in(struct worker *w, bool all)
{
    for (struct list *l = w->all_clients.next; l != &w->all_clients; l = l->next) {
        struct request *r = container_of(l, struct client, link)->down.req;
        if (r && r->body_held) {
            body_let_in(r);
            if (!all)
                return true;
        }
    }
    return false;
}

void relief_let_one(struct worker *w) { (void)let_in(w, false); }

void relief_set(struct worker *w, enum memory_stage stage)
{
    enum memory_stage before = w->memory;
    w->memory = stage;
    if (stage == MEMORY_FINE && before != MEMORY_FINE)
        (void)let_in(w, true);
    if ((stage >= MEMORY_CONNECTIONS) == (before >= MEMORY_CONNECTIONS))
        return;
    for (struct list *l = w->listeners.next; l != &w->listeners; l = l->next) {
        struct listener *listener = container_of(l, struct listener, link);
        if (stage >= MEMORY_CONNECTIONS)
            listener_hold(listener);
        else if (w->accepting)
            listener_start(listener);
    }
}

void relief_give_back(struct worker *w)
{
    endpoints_close_idle(w);
    slab_trim(&w->buf_blocks);
    slab_trim(&w->arena_blocks);
    slab_trim(&w->clients);
    slab_trim(&w->upconns);
}
