/* SPDX-License-Identifier: Apache-2.0 */
#include "watchdog.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "test.h"
#include "worker.h"

#define SEC NSEC_PER_SEC
#define MS  NSEC_PER_MSEC

/* A worker on a thread of its own, which can be told to hang in a callback. The watchdog's time is the test's. */
struct hang {
    struct mail mail;
    _Atomic bool begun, over;
};

struct kennel {
    struct worker workers[2];
    pthread_t threads[2];
    struct hang hang;
    struct watchdog *dog;
    uint64_t now;
    int stderr_was, file;
};

static void *run(void *arg)
{
    worker_run(arg);
    return NULL;
}

static void hang_here(struct mail *mail, void *owner)
{
    struct hang *h = container_of(mail, struct hang, mail);
    (void)owner;
    atomic_store(&h->begun, true);
    while (!atomic_load(&h->over))
        usleep(1000);
}

static void stop_here(struct mail *mail, void *owner)
{
    (void)mail;
    ((struct worker *)owner)->stopping = true;
}

static void kennel_open(struct kennel *k, uint64_t limit)
{
    memset(k, 0, sizeof *k);
    char path[] = "/tmp/weir-watchdog-XXXXXX";
    k->file = mkstemp(path);
    unlink(path);
    k->stderr_was = dup(STDERR_FILENO);
    EXPECT(k->file >= 0 && dup2(k->file, STDERR_FILENO) >= 0);
    log_set_level(LOG_INFO);
    k->now = 1000 * SEC;
    k->hang.mail.deliver = hang_here;
    k->dog = watchdog_new(NULL);
    for (unsigned i = 0; i < 2; i++) {
        worker_init(&k->workers[i], i, &clock_real, i, true);
        EXPECT(pthread_create(&k->threads[i], NULL, run, &k->workers[i]) == 0);
    }
    watchdog_set(k->dog, limit);
    watchdog_begin(k->dog, k->workers, k->threads, 2);
}

static void kennel_close(struct kennel *k)
{
    static struct mail stop[2];
    watchdog_end(k->dog);
    for (unsigned i = 0; i < 2; i++) {
        stop[i].deliver = stop_here;
        mailbox_post(&k->workers[i].mailbox, &stop[i]);
        pthread_join(k->threads[i], NULL);
        worker_fini(&k->workers[i]);
    }
    watchdog_free(&k->dog);
    EXPECT(dup2(k->stderr_was, STDERR_FILENO) >= 0);
    close(k->stderr_was);
    close(k->file);
}

/* What was logged so far. */
static const char *said(const struct kennel *k)
{
    static char text[16384];
    ssize_t n = pread(k->file, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static const char *figures(const struct kennel *k)
{
    static struct page page;
    page_free(&page);
    watchdog_metrics(k->dog, k->now, &page);
    return page.at;
}

static unsigned count(const char *text, const char *part)
{
    unsigned n = 0;
    for (const char *p = text; (p = strstr(p, part)) != NULL; p++)
        n++;
    return n;
}

/* The worker's own time is real: it gets some to answer in. */
static uint64_t look(struct kennel *k, uint64_t later)
{
    k->now += later;
    uint64_t next = watchdog_look(k->dog, k->now);
    usleep(20000);
    return next;
}

static void hang_up(struct kennel *k)
{
    mailbox_post(&k->workers[1].mailbox, &k->hang.mail);
    while (!atomic_load(&k->hang.begun))
        usleep(1000);
}

TEST(workers_that_turn_are_let_alone)
{
    struct kennel k;
    kennel_open(&k, 5 * SEC);
    for (int i = 0; i < 30; i++)
        EXPECT_EQ(look(&k, SEC), SEC);
    EXPECT_CSTR(said(&k), "");
    EXPECT(strstr(figures(&k), "\nweir_worker_stuck{worker=\"0\"} 0\nweir_worker_stuck{worker=\"1\"} 0\n") != NULL);
    kennel_close(&k);
}

TEST(one_that_hangs_is_said_with_its_stack)
{
    struct kennel k;
    kennel_open(&k, 5 * SEC);
    hang_up(&k);
    for (int i = 0; i < 5; i++)
        look(&k, SEC);
    EXPECT_CSTR(said(&k), "");               /* not before its time */
    look(&k, SEC);                           /* asks for the stack */
    look(&k, 10 * MS);
    EXPECT(strstr(said(&k), " error watchdog: worker 1 has not turned for 5.0 s; it stands here:\n") != NULL);
    EXPECT(strstr(said(&k), " error watchdog: #3 ") != NULL);
    EXPECT(strstr(said(&k), "watchdog_test+0x") != NULL);
    EXPECT(strstr(said(&k), "worker 0") == NULL);
    EXPECT(strstr(figures(&k), "\nweir_worker_stuck{worker=\"0\"} 0\nweir_worker_stuck{worker=\"1\"} 1\n") != NULL);
    EXPECT(strstr(figures(&k), "\nweir_worker_lag_seconds{worker=\"1\"} 5.010000\n") != NULL);
    for (int i = 0; i < 4; i++)
        look(&k, SEC);
    EXPECT_EQ(count(said(&k), "has not turned"), 1);
    look(&k, SEC);                           /* twice the time: once more */
    look(&k, SEC);
    look(&k, 10 * MS);
    EXPECT_EQ(count(said(&k), "has not turned"), 2);
    atomic_store(&k.hang.over, true);
    look(&k, SEC);
    look(&k, SEC);
    EXPECT_EQ(count(said(&k), " warn watchdog: worker 1 turns again, after 1"), 1);
    EXPECT(strstr(figures(&k), "\nweir_worker_stuck{worker=\"1\"} 0\n") != NULL);
    EXPECT(strstr(figures(&k), "\nweir_worker_stuck_total{worker=\"1\"} 1\n") != NULL);
    kennel_close(&k);
}

/* A thread that takes no signals, as one that waits for a disk. */
TEST(one_that_gives_no_stack)
{
    struct kennel k;
    kennel_open(&k, 2 * SEC);
    sigset_t usr2, before;
    sigemptyset(&usr2);
    sigaddset(&usr2, SIGUSR2);
    pthread_t deaf = k.threads[1];
    k.threads[1] = pthread_self();           /* whoever is asked instead has it blocked */
    pthread_sigmask(SIG_BLOCK, &usr2, &before);
    hang_up(&k);
    look(&k, SEC);
    look(&k, SEC);
    look(&k, SEC);
    EXPECT_EQ(look(&k, 50 * MS), 10 * MS);
    EXPECT_CSTR(said(&k), "");
    look(&k, 50 * MS);
    EXPECT(strstr(said(&k), "worker 1 has not turned for 2.1 s; it gives no stack") != NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);     /* it comes late: nobody wants it any more */
    EXPECT_EQ(count(said(&k), "#0"), 0);
    k.threads[1] = deaf;
    atomic_store(&k.hang.over, true);
    kennel_close(&k);
}

TEST(a_process_that_stood_still_is_not_its_workers_fault)
{
    struct kennel k;
    kennel_open(&k, 5 * SEC);
    hang_up(&k);
    look(&k, SEC);
    look(&k, 3600 * SEC);
    look(&k, 10 * MS);
    for (int i = 0; i < 4; i++)
        look(&k, SEC);
    EXPECT_CSTR(said(&k), "");
    look(&k, SEC);
    look(&k, 10 * MS);
    EXPECT(strstr(said(&k), "worker 1 has not turned for 5.0 s; it stands here") != NULL);
    atomic_store(&k.hang.over, true);
    kennel_close(&k);
}

TEST(switched_off_it_asks_nobody)
{
    struct kennel k;
    kennel_open(&k, 0);
    hang_up(&k);
    for (int i = 0; i < 100; i++)
        watchdog_look(k.dog, k.now += SEC);
    EXPECT_CSTR(said(&k), "");
    atomic_store(&k.hang.over, true);
    kennel_close(&k);
}

TEST(a_short_limit_is_looked_at_more_often)
{
    struct kennel k;
    kennel_open(&k, 200 * MS);
    EXPECT_EQ(look(&k, 50 * MS), 50 * MS);
    kennel_close(&k);
}

TEST(lag_is_shown_for_a_while)
{
    struct kennel k;
    kennel_open(&k, 0);
    hang_up(&k);
    usleep(50000);
    atomic_store(&k.hang.over, true);
    double lag = 0;
    for (int i = 0; i < 500 && lag == 0; i++) {
        look(&k, 0);
        const char *at = strstr(figures(&k), "\nweir_worker_lag_seconds{worker=\"1\"} ");
        EXPECT(at && sscanf(at, "\nweir_worker_lag_seconds{worker=\"1\"} %lf", &lag) == 1);
    }
    EXPECT(lag >= 0.04);
    EXPECT(atomic_load(&k.workers[1].metrics.v[METRIC_slow_turns_total]) >= 1);
    EXPECT(strstr(figures(&k), "\nweir_worker_lag_seconds{worker=\"0\"} 0.0") != NULL);
    look(&k, 9 * SEC);
    EXPECT(strstr(figures(&k), "\nweir_worker_lag_seconds{worker=\"1\"} 0.000000") == NULL);
    look(&k, 10 * SEC);
    look(&k, 10 * SEC);
    look(&k, 10 * SEC);
    EXPECT(strstr(figures(&k), "\nweir_worker_lag_seconds{worker=\"1\"} 0.000000") != NULL);
    kennel_close(&k);
}
