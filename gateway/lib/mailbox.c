/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lock-free stack that is only ever emptied whole, so the ABA problem of taking single entries does not arise; turned
 * round, it is a queue.
 *
 * Only the post that finds the stack empty writes to the eventfd: later ones know that a wake-up is under way. Nothing
 * is lost, for drain clears the eventfd before it takes the stack: a post that comes between is taken with it, and
 * its wake-up is one too many; a post that comes after finds the stack empty and wakes again.
 *
 * A message belongs to the owner from the moment it is linked: post does not touch it again. The box itself must
 * outlive every post; whoever ends the poster threads sees to that.
 */
#include "lib/mailbox.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "lib/check.h"

void mailbox_init(struct mailbox *m, bool with_fd)
{
    atomic_init(&m->head, NULL);
    m->fd = with_fd ? eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) : -1;
    check(!with_fd || m->fd >= 0);
}

void mailbox_fini(struct mailbox *m)
{
    check(!atomic_load(&m->head));
    if (m->fd >= 0)
        close(m->fd);
    m->fd = -1;
}

/* EAGAIN, the counter at its end, is as good as written: the owner will wake. */
static void wake_owner(int fd)
{
    const uint64_t one = 1;
    while (write(fd, &one, sizeof(one)) < 0)
        if (errno != EINTR) {
            check(errno == EAGAIN);
            return;
        }
}

static void clear_wakeups(int fd)
{
    uint64_t count;
    while (read(fd, &count, sizeof(count)) < 0)
        if (errno != EINTR) {
            check(errno == EAGAIN);
            return;
        }
}

void mailbox_post(struct mailbox *m, struct mail *mail)
{
    const int fd = m->fd;
    struct mail *head = atomic_load_explicit(&m->head, memory_order_relaxed);
    do
        mail->next = head;
    while (!atomic_compare_exchange_weak_explicit(&m->head, &head, mail, memory_order_release, memory_order_relaxed));
    if (!head && fd >= 0)
        wake_owner(fd);
}

static struct mail *oldest_first(struct mail *newest)
{
    struct mail *done = NULL;
    while (newest) {
        struct mail *next = newest->next;
        newest->next = done;
        done = newest;
        newest = next;
    }
    return done;
}

unsigned mailbox_drain(struct mailbox *m, void *owner)
{
    unsigned n = 0;
    if (m->fd >= 0)
        clear_wakeups(m->fd);
    struct mail *mail = oldest_first(atomic_exchange_explicit(&m->head, NULL, memory_order_acquire));
    for (struct mail *next; mail; mail = next) {
        next = mail->next;
        mail->deliver(mail, owner);
        n++;
    }
    return n;
}
