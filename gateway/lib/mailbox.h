/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MAILBOX_H
#define MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Messages to a worker. Any thread posts; the owner drains. The link is part of the message, so posting cannot fail.
 * Delivery is in the order of posting for each poster.
 */
struct mail {
    struct mail *next;
    /* Runs on the owner's thread, with the owner's context. The message is the callee's from then on. */
    void (*deliver)(struct mail *, void *owner);
};

struct mailbox {
    _Atomic(struct mail *) head;     /* newest first */
    _Atomic bool awake;              /* the owner looks into the box before it sleeps: it need not be woken */
    int fd;                          /* an eventfd, readable when there may be mail; -1: nobody is to be woken */
};

void mailbox_init(struct mailbox *, bool with_fd);
void mailbox_fini(struct mailbox *);                        /* must be empty */
void mailbox_post(struct mailbox *, struct mail *);         /* any thread */
/* The owner, from now on until mailbox_may_sleep(): it will look into the box by itself. */
static inline void mailbox_awake(struct mailbox *m) { atomic_store_explicit(&m->awake, true, memory_order_relaxed); }
/* The owner, before it waits for events: true when it may, and will be woken by mail; false: there is mail to be drained. */
bool mailbox_may_sleep(struct mailbox *);
/* Is there mail? Owner's thread. */
static inline bool mailbox_has(const struct mailbox *m)
{
    return atomic_load_explicit(&m->head, memory_order_relaxed) != NULL;
}
/* Delivers what has come; returns how many. Owner's thread. */
unsigned mailbox_drain(struct mailbox *, void *owner);
/* The same because the eventfd is readable: clears that first. */
unsigned mailbox_woken(struct mailbox *, void *owner);

#endif
