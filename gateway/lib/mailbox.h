/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MAILBOX_H
#define MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>

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
    int fd;                          /* an eventfd, readable when there may be mail; -1: nobody is to be woken */
};

void mailbox_init(struct mailbox *, bool with_fd);
void mailbox_fini(struct mailbox *);                        /* must be empty */
void mailbox_post(struct mailbox *, struct mail *);         /* any thread */
/* Delivers what has come; returns how many. Owner's thread. Clears the eventfd first. */
unsigned mailbox_drain(struct mailbox *, void *owner);

#endif
