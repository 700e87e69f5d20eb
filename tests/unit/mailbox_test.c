/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/mailbox.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>
#include "lib/check.h"
#include "lib/mem.h"
#include "test.h"

enum { POSTERS = 4, LETTERS = 20000 };

struct letter {
    struct mail mail;
    unsigned poster, number;
};

struct owner {
    struct mailbox *box;
    unsigned next[POSTERS];
    unsigned got;
};

static void take(struct mail *m, void *context)
{
    struct letter *l = container_of(m, struct letter, mail);
    struct owner *o = context;
    EXPECT_EQ(l->number, o->next[l->poster]);
    o->next[l->poster] = l->number + 1;
    o->got++;
    mem_free(l);
}

static void post(struct mailbox *box, unsigned poster, unsigned number)
{
    struct letter *l = mem_alloc(sizeof(*l));
    *l = (struct letter){.mail = {.deliver = take}, .poster = poster, .number = number};
    mailbox_post(box, &l->mail);
}

static bool is_readable(const struct mailbox *box, int timeout_ms)
{
    struct pollfd p = {.fd = box->fd, .events = POLLIN};
    return poll(&p, 1, timeout_ms) == 1;
}

TEST(in_order_and_woken_once)
{
    struct mailbox box;
    struct owner o = {.box = &box};
    mailbox_init(&box, true);
    EXPECT(!is_readable(&box, 0));
    EXPECT_EQ(mailbox_drain(&box, &o), 0);
    for (unsigned i = 0; i < 5; i++)
        post(&box, 0, i);
    EXPECT(is_readable(&box, 0));
    uint64_t wakeups = 0;
    EXPECT_EQ(read(box.fd, &wakeups, sizeof(wakeups)), 8);
    EXPECT_EQ(wakeups, 1);
    EXPECT_EQ(mailbox_woken(&box, &o), 5);
    EXPECT_EQ(o.got, 5);
    EXPECT(!is_readable(&box, 0));
    post(&box, 0, 5);
    EXPECT(is_readable(&box, 0));
    EXPECT_EQ(mailbox_woken(&box, &o), 1);
    EXPECT(!is_readable(&box, 0));
    mailbox_fini(&box);
}

TEST(an_owner_that_is_awake_is_not_woken)
{
    struct mailbox box;
    struct owner o = {.box = &box};
    mailbox_init(&box, true);
    mailbox_awake(&box);
    post(&box, 0, 0);
    EXPECT(!is_readable(&box, 0));
    EXPECT(mailbox_has(&box));
    EXPECT(!mailbox_may_sleep(&box));
    post(&box, 0, 1);
    EXPECT(!is_readable(&box, 0));
    EXPECT_EQ(mailbox_drain(&box, &o), 2);
    EXPECT(!mailbox_has(&box));
    EXPECT(mailbox_may_sleep(&box));
    post(&box, 0, 2);
    EXPECT(is_readable(&box, 0));
    EXPECT_EQ(mailbox_woken(&box, &o), 1);
    mailbox_fini(&box);
}

static void post_another(struct mail *m, void *context)
{
    struct owner *o = context;
    struct letter *l = container_of(m, struct letter, mail);
    if (l->number++ < 3)
        mailbox_post(o->box, m);
    else
        mem_free(l);
}

TEST(what_a_delivery_posts_comes_next_time)
{
    struct mailbox box;
    struct owner o = {.box = &box};
    struct letter *l = mem_zalloc(sizeof(*l));
    mailbox_init(&box, true);
    l->mail.deliver = post_another;
    mailbox_post(&box, &l->mail);
    for (int i = 0; i < 4; i++) {
        EXPECT(is_readable(&box, 0));
        EXPECT_EQ(mailbox_woken(&box, &o), 1);
    }
    EXPECT(!is_readable(&box, 0));
    EXPECT_EQ(mailbox_drain(&box, &o), 0);
    mailbox_fini(&box);
}

TEST(without_an_fd)
{
    struct mailbox box;
    struct owner o = {.box = &box};
    mailbox_init(&box, false);
    EXPECT_EQ(box.fd, -1);
    post(&box, 1, 0);
    post(&box, 1, 1);
    EXPECT_EQ(mailbox_drain(&box, &o), 2);
    mailbox_fini(&box);
}

struct poster {
    struct mailbox *box;
    unsigned number;
};

static void *post_many(void *context)
{
    const struct poster *p = context;
    for (unsigned i = 0; i < LETTERS; i++)
        post(p->box, p->number, i);
    return NULL;
}

/* The owner sleeps until the eventfd says so: a lost wake-up would leave it asleep. `stays_up`: it looks by itself as long as
 * there is something, as a worker does. */
static void owner_of_four_posters(bool stays_up)
{
    struct mailbox box;
    struct owner o = {.box = &box};
    struct poster posters[POSTERS];
    pthread_t threads[POSTERS];

    mailbox_init(&box, true);
    for (unsigned i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){&box, i};
        pthread_create(&threads[i], NULL, post_many, &posters[i]);
    }
    while (o.got < POSTERS * LETTERS) {
        if (stays_up && !mailbox_may_sleep(&box)) {
            mailbox_drain(&box, &o);
            continue;
        }
        if (!EXPECT(is_readable(&box, 10000)))
            break;
        mailbox_woken(&box, &o);
        if (stays_up)
            mailbox_awake(&box);
    }
    for (unsigned i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    mailbox_drain(&box, &o);
    EXPECT_EQ(o.got, POSTERS * LETTERS);
    mailbox_fini(&box);
}

TEST(four_posters) { owner_of_four_posters(false); }
TEST(four_posters_and_an_owner_that_stays_up) { owner_of_four_posters(true); }

static void fini_with_mail(void)
{
    struct mailbox box;
    static struct mail mail;
    mailbox_init(&box, false);
    mailbox_post(&box, &mail);
    mailbox_fini(&box);
}

TEST(mail_left_behind_is_a_bug) { EXPECT_DIES(fini_with_mail, "check failed"); }
