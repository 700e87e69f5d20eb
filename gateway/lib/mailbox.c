/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lock-free stack that is only ever emptied whole, so the ABA problem of taking single entries does not arise; turned
 * round, it is a queue.
 *
 * Only the post that finds the stack empty, and the owner not awake, writes to the eventfd: others know that a wake-up is
 * under way, or that the owner will look. Nothing is lost. The eventfd is cleared before the stack is taken: a post that
 * comes between is taken with it, and its wake-up is one too many; a post that comes after finds the stack empty and wakes
 * again. And who posts links first and looks at `awake` then, while the owner says that it sleeps first and looks into the
 * box then, both in the one order of memory_order_seq_cst: one of them sees the other.
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
    atomic_init(&m->awake, false);
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
    while (!atomic_compare_exchange_weak_explicit(&m->head, &head, mail, memory_order_seq_cst, memory_order_relaxed));
    /* The box outlives posts, so it may be looked at although the message is gone. */
    if (!head && fd >= 0 && !atomic_load_explicit(&m->awake, memory_order_seq_cst))
        wake_owner(fd);
}

bool mailbox_may_sleep(struct mailbox *m)
{
    atomic_store_explicit(&m->awake, false, memory_order_seq_cst);
    if (!atomic_load_explicit(&m->head, memory_order_seq_cst))
        return true;
    mailbox_awake(m);
    return false;
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
    struct mail *mail = oldest_first(atomic_exchange_explicit(&m->head, NULL, memory_order_acquire));
    for (struct mail *next; mail; mail = next) {
        next = mail->next;
        mail->deliver(mail, owner);
        n++;
    }
    return n;
}

unsigned mailbox_woken(struct mailbox *m, void *owner)
{
    if (m->fd >= 0)
        clear_wakeups(m->fd);
    return mailbox_drain(m, owner);
}
