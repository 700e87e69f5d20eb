/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must come back, and who may be woken.
 *
 * A lease hangs in its scope's list from the moment that it is taken, so that the end of the scope finds it however the
 * scope ends. A wake-up names a slot of the worker and the slot's generation, which changes whenever the wait that it was
 * made for is over: a late one meets another generation and is refused.
 */
#include "core.h"
#include "lib/check.h"
#include "lib/mem.h"

struct lease {
    struct list link;
    void (*give_back)(void *thing, uint64_t now);
    void *thing;
};

struct lease *lease_take(struct call *call, enum scope scope, void (*give_back)(void *thing, uint64_t now), void *thing)
{
    struct request *r = call->req;
    struct lease *l = arena_alloc(&r->arena, sizeof *l);
    check(scope != SCOPE_ATTEMPT || r->att.active);
    check(scope != SCOPE_LEG || r->leg.active);
    l->give_back = give_back;
    l->thing = thing;
    list_push(&r->leases[scope], &l->link);
    return l;
}

void lease_forget(struct lease **lease)
{
    list_remove(&(*lease)->link);
    *lease = NULL;
}

void lease_end(struct lease **lease, uint64_t now)
{
    struct lease *l = *lease;
    lease_forget(lease);
    l->give_back(l->thing, now);
}

/* Newest first. */
void leases_give_back(struct request *r, enum scope scope)
{
    while (!list_empty(&r->leases[scope])) {
        struct lease *l = container_of(r->leases[scope].next, struct lease, link);
        lease_end(&l, worker_now(r->worker));
    }
}

static uint32_t slot_take(struct worker *w)
{
    if (w->free_wake == 0) {
        uint32_t n = w->n_wakes ? w->n_wakes * 2 : 64;
        w->wakes = mem_realloc(w->wakes, n * sizeof *w->wakes);
        for (uint32_t i = n; i-- > w->n_wakes;) {
            w->wakes[i] = (struct wake_slot){.next_free = w->free_wake};
            w->free_wake = i + 1;
        }
        w->n_wakes = n;
    }
    uint32_t slot = w->free_wake - 1;
    w->free_wake = w->wakes[slot].next_free;
    return slot;
}

struct wake_handle wake_handle(struct call *call)
{
    struct request *r = call->req;
    struct worker *w = r->worker;
    if (r->wake_slot == 0) {
        uint32_t slot = slot_take(w);
        w->wakes[slot].req = r;
        r->wake_slot = slot + 1;
    }
    return (struct wake_handle){&w->mailbox, r->wake_slot - 1, w->wakes[r->wake_slot - 1].generation};
}

void wake_forget(struct request *r)
{
    if (r->wake_slot)
        r->worker->wakes[r->wake_slot - 1].generation++;
}

void wake_release(struct request *r)
{
    struct worker *w = r->worker;
    if (!r->wake_slot)
        return;
    struct wake_slot *slot = &w->wakes[r->wake_slot - 1];
    slot->generation++;
    slot->req = NULL;
    slot->next_free = w->free_wake;
    w->free_wake = r->wake_slot;
    r->wake_slot = 0;
}

static void wake_deliver(struct mail *mail, void *owner)
{
    struct wake *m = container_of(mail, struct wake, mail);
    struct worker *w = owner;
    struct wake_slot *slot = &w->wakes[m->handle.slot];
    if (slot->req && slot->generation == m->handle.generation && slot->req->cursor.waiting)
        request_resume(slot->req, m->why);
    m->over(m);
}

void wake_post(struct wake *m)
{
    m->mail.deliver = wake_deliver;
    mailbox_post(m->handle.mailbox, &m->mail);
}
