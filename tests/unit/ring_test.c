/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/ring.h"

#include <pthread.h>
#include <sched.h>
#include "lib/rng.h"
#include "test.h"

static bool put(struct ring *r, const char *text)
{
    char *at = ring_reserve(r, strlen(text));
    if (!at)
        return false;
    memcpy(at, text, strlen(text));
    ring_commit(r, strlen(text));
    return true;
}

static struct str peek(struct ring *r)
{
    const char *at = NULL;
    size_t len = ring_peek(r, &at);
    return str_of(at, len);
}

static unsigned dropped(struct ring *r) { return (unsigned)atomic_load(&r->dropped); }

TEST(records_run_together)
{
    struct ring r;
    ring_init(&r, 60);
    EXPECT_EQ(r.size, 64);
    EXPECT_EQ(peek(&r).len, 0);
    EXPECT(put(&r, "one\n") && put(&r, "two\n"));
    EXPECT_STR(peek(&r), "one\ntwo\n");
    ring_release(&r, 4);
    EXPECT_STR(peek(&r), "two\n");
    EXPECT(put(&r, "three\n"));
    EXPECT_STR(peek(&r), "two\nthree\n");
    ring_release(&r, 10);
    EXPECT_EQ(peek(&r).len, 0);
    EXPECT_EQ(dropped(&r), 0);
    ring_fini(&r);
}

TEST(commit_less_or_nothing)
{
    struct ring r;
    ring_init(&r, 64);
    char *at = ring_reserve(&r, 30);
    memcpy(at, "ab", 2);
    EXPECT_EQ(peek(&r).len, 0);
    ring_commit(&r, 2);
    EXPECT(ring_reserve(&r, 30));
    ring_commit(&r, 0);
    EXPECT(put(&r, "cd"));
    EXPECT_STR(peek(&r), "abcd");
    ring_fini(&r);
}

TEST(full_drops_and_counts)
{
    struct ring r;
    ring_init(&r, 16);
    EXPECT(put(&r, "12345678") && put(&r, "1234567"));
    EXPECT(!put(&r, "ab"));
    EXPECT(!put(&r, "ab"));
    EXPECT_EQ(dropped(&r), 2);
    EXPECT(put(&r, "8"));
    EXPECT_STR(peek(&r), "1234567812345678");
    EXPECT(!put(&r, "x"));
    ring_release(&r, 8);
    EXPECT(put(&r, "x"));
    EXPECT_EQ(dropped(&r), 3);
    EXPECT(!ring_reserve(&r, 9));
    EXPECT(!ring_reserve(&r, SIZE_MAX));
    EXPECT_EQ(dropped(&r), 5);
    ring_fini(&r);
}

TEST(wraps_whole)
{
    struct ring r;
    ring_init(&r, 16);
    EXPECT(put(&r, "aaaaaa") && put(&r, "bbbbbb"));
    ring_release(&r, 6);
    EXPECT(put(&r, "cccccc"));
    EXPECT(!put(&r, "d"));
    EXPECT_STR(peek(&r), "bbbbbb");
    ring_release(&r, 6);
    EXPECT_STR(peek(&r), "cccccc");
    EXPECT(put(&r, "dddddd"));
    EXPECT_STR(peek(&r), "ccccccdddddd");
    ring_release(&r, 12);
    EXPECT(put(&r, "eeee"));
    EXPECT(put(&r, "ffff"));
    EXPECT_STR(peek(&r), "eeee");
    ring_release(&r, 4);
    EXPECT_STR(peek(&r), "ffff");
    ring_fini(&r);
}

/* A reservation at the next lap that comes to nothing, and then a shorter record that fits this one. */
TEST(given_up_at_the_wrap)
{
    struct ring r;
    ring_init(&r, 16);
    EXPECT(put(&r, "aaaaaaaa") && put(&r, "bbbb"));
    ring_release(&r, 12);
    EXPECT(ring_reserve(&r, 8));
    ring_commit(&r, 0);
    EXPECT(put(&r, "cc"));
    EXPECT(put(&r, "ddd"));
    EXPECT_STR(peek(&r), "cc");
    ring_release(&r, 2);
    EXPECT_STR(peek(&r), "ddd");
    ring_fini(&r);
}

TEST(half_the_size_always_fits_an_empty_ring)
{
    for (size_t start = 0; start < 32; start++) {
        struct ring r;
        test_row("%zu", start);
        ring_init(&r, 32);
        for (size_t i = 0; i < start; i++) {
            put(&r, "x");
            EXPECT_STR(peek(&r), "x");
            ring_release(&r, 1);
        }
        EXPECT(put(&r, "0123456789abcdef"));
        EXPECT_STR(peek(&r), "0123456789abcdef");
        EXPECT_EQ(dropped(&r), 0);
        ring_fini(&r);
    }
}

/* A record is its length (one byte), its number (four), and bytes that follow from both. */
enum { RECORDS = 100000, RECORD_MAX = 60 };

struct flow {
    struct ring ring;
    atomic_bool over;
    unsigned sent;
};

static void record_make(char *at, size_t len, uint32_t number)
{
    at[0] = (char)len;
    memcpy(at + 1, &number, 4);
    for (size_t i = 5; i < len; i++)
        at[i] = (char)(number * 31 + i);
}

static void *produce(void *context)
{
    struct flow *f = context;
    struct rng rng;
    rng_seed(&rng, 21);
    for (uint32_t i = 0; i < RECORDS; i++) {
        size_t len = 5 + rng_below(&rng, RECORD_MAX - 5);
        char *at = ring_reserve(&f->ring, len + rng_below(&rng, 3));
        if (at) {
            record_make(at, len, i);
            ring_commit(&f->ring, len);
            f->sent++;
        }
        if (i % 64 == 0)
            sched_yield();
    }
    atomic_store(&f->over, true);
    return NULL;
}

/* Whole records with growing numbers; returns how many, or -1. */
static int look_at(const char *at, size_t len, uint32_t *next)
{
    int n = 0;
    for (size_t size; len; at += size, len -= size, n++) {
        char want[256];
        uint32_t number;
        size = (unsigned char)at[0];
        if (size < 5 || size > len)
            return -1;
        memcpy(&number, at + 1, 4);
        record_make(want, size, number);
        if (number < *next || memcmp(want, at, size))
            return -1;
        *next = number + 1;
    }
    return n;
}

TEST(two_threads)
{
    static struct flow f;
    pthread_t producer;
    uint32_t next = 0;
    unsigned got = 0;

    ring_init(&f.ring, 1024);
    pthread_create(&producer, NULL, produce, &f);
    for (;;) {
        const char *at;
        bool over = atomic_load(&f.over);
        size_t len = ring_peek(&f.ring, &at);
        if (len == 0 && over)
            break;
        if (len == 0) {
            sched_yield();
            continue;
        }
        int n = look_at(at, len, &next);
        if (!EXPECT(n > 0))
            break;
        got += (unsigned)n;
        ring_release(&f.ring, len);
    }
    pthread_join(producer, NULL);
    EXPECT_EQ(got, f.sent);
    EXPECT_EQ(got + atomic_load(&f.ring.dropped), RECORDS);
    EXPECT(got > 0);
    ring_fini(&f.ring);
}

/* The same against a plain queue of texts, one thread, with parts of runs given back. */
TEST(random_steps)
{
    struct ring r;
    struct rng rng;
    static uint8_t queue[1 << 20];
    size_t written = 0, taken = 0;

    rng_seed(&rng, 22);
    ring_init(&r, 64);
    while (written < sizeof(queue) - 64) {
        size_t len = 1 + rng_below(&rng, 32);
        char *at = ring_reserve(&r, len);
        if (at) {
            len -= rng_below(&rng, len);
            for (size_t i = 0; i < len; i++)
                at[i] = (char)(queue[written + i] = (uint8_t)rng_next(&rng));
            written += len;
            ring_commit(&r, len);
        }
        if (rng_below(&rng, 3) == 0)
            continue;
        struct str run = peek(&r);
        if (!EXPECT(run.len <= written - taken) || !EXPECT(run.len > 0 || written == taken) ||
            !EXPECT(!memcmp(run.at, queue + taken, run.len)))
            return;
        size_t part = rng_below(&rng, run.len + 1);
        ring_release(&r, part);
        taken += part;
    }
    ring_fini(&r);
}
