/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "lib/clock.h"
#include "lib/mem.h"
#include "test.h"
#include "worker.h"

#define SEC NSEC_PER_SEC
#define MIB ((uint64_t)1 << 20)

TEST(stages_have_room_between_up_and_down)
{
    static const struct { enum memory_stage from; unsigned used; enum memory_stage to; } rows[] = {
        {MEMORY_FINE, 79, MEMORY_FINE}, {MEMORY_FINE, 80, MEMORY_BODIES}, {MEMORY_FINE, 90, MEMORY_REQUESTS},
        {MEMORY_FINE, 200, MEMORY_CONNECTIONS}, {MEMORY_BODIES, 75, MEMORY_BODIES}, {MEMORY_BODIES, 74, MEMORY_FINE},
        {MEMORY_REQUESTS, 85, MEMORY_REQUESTS}, {MEMORY_REQUESTS, 84, MEMORY_BODIES}, {MEMORY_REQUESTS, 10, MEMORY_FINE},
        {MEMORY_CONNECTIONS, 90, MEMORY_CONNECTIONS}, {MEMORY_CONNECTIONS, 89, MEMORY_REQUESTS},
        {MEMORY_CONNECTIONS, 0, MEMORY_FINE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%zu", i);
        EXPECT_EQ(memory_stage_next(rows[i].from, rows[i].used * MIB, 100 * MIB), rows[i].to);
        EXPECT_EQ(memory_stage_next(rows[i].from, rows[i].used * MIB, 0), MEMORY_FINE);
    }
}

static void put(const char *root, const char *path, const char *text)
{
    char at[600];
    for (size_t i = 1; path[i]; i++) {
        if (path[i] != '/')
            continue;
        snprintf(at, sizeof at, "%s%.*s", root, (int)i, path);
        (void)mkdir(at, 0700);
    }
    snprintf(at, sizeof at, "%s%s", root, path);
    FILE *f = fopen(at, "w");
    EXPECT(f != NULL);
    fputs(text, f);
    fclose(f);
}

TEST(the_least_bound_of_the_groups)
{
    static const struct { const char *self; uint64_t bound; } rows[] = {
        {"0::/a/b\n", 1000}, {"0::/a\n", 5000}, {"0::/\n", 0}, {"0::/gone/b\n", 0}, {"0::/a/gone\n", 5000}, {"", 0}, {"x\n", 0},
        {"7:cpu,memory:/v1\n", 700}, {"7:memory:/v1/none\n", 700}, {"7:cpu:/v1\n", 0}, {"7:memory:/v1\n0::/a/b\n", 700},
    };
    char root[] = "/tmp/weir-memory-XXXXXX", self[64], wipe[64];
    EXPECT(mkdtemp(root) != NULL);
    put(root, "/a/memory.max", "5000\n");
    put(root, "/a/b/memory.max", "1000\n");
    put(root, "/a/b/c/memory.max", "max\n");
    put(root, "/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put(root, "/memory/v1/memory.limit_in_bytes", "700\n");
    snprintf(self, sizeof self, "%s/self", root);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].self);
        put(root, "/self", rows[i].self);
        EXPECT_EQ(memory_of_cgroup(root, self), rows[i].bound);
    }
    put(root, "/self", "0::/a/b/c\n");
    EXPECT_EQ(memory_of_cgroup(root, self), 1000);
    EXPECT_EQ(memory_of_cgroup(root, "/nowhere"), 0);
    snprintf(wipe, sizeof wipe, "rm -r %s", root);
    EXPECT_EQ(system(wipe), 0);
}

/* A guard of 1000 MiB and the workers that it tells. */
static struct memory *begin(struct worker *w, unsigned n)
{
    struct memory *m = memory_new(NULL);
    for (unsigned i = 0; i < n; i++)
        worker_init(&w[i], i, &clock_real, 1, false);
    memory_begin(m, w, n);
    memory_set(m, 1000 * MIB);
    return m;
}

static void end(struct memory *m, struct worker *w, unsigned n)
{
    memory_end(m);
    for (unsigned i = 0; i < n; i++)
        worker_fini(&w[i]);
    memory_free(&m);
}

static void look(struct memory *m, struct worker *w, uint64_t used, uint64_t now)
{
    memory_look(m, used, now);
    (void)worker_turn(w);
    (void)mailbox_drain(&w->mailbox, w);
}

TEST(workers_are_told)
{
    struct worker w;
    struct memory *m = begin(&w, 1);
    look(m, &w, 100 * MIB, 1000 * SEC);
    EXPECT_EQ(w.memory, MEMORY_FINE);
    look(m, &w, 850 * MIB, 1001 * SEC);      /* first, what is free is given back */
    EXPECT_EQ(w.memory, MEMORY_FINE);
    look(m, &w, 850 * MIB, 1001 * SEC + SEC / 4);
    EXPECT_EQ(w.memory, MEMORY_BODIES);
    look(m, &w, 960 * MIB, 1002 * SEC);
    EXPECT_EQ(w.memory, MEMORY_CONNECTIONS);
    memory_look(m, 100 * MIB, 1003 * SEC);   /* one that has not turned */
    memory_look(m, 920 * MIB, 1004 * SEC);
    EXPECT_EQ(w.memory, MEMORY_CONNECTIONS);
    look(m, &w, 920 * MIB, 1005 * SEC);
    look(m, &w, 920 * MIB, 1006 * SEC);
    EXPECT_EQ(w.memory, MEMORY_REQUESTS);
    look(m, &w, 100 * MIB, 1007 * SEC);
    look(m, &w, 100 * MIB, 1008 * SEC);
    EXPECT_EQ(w.memory, MEMORY_FINE);
    memory_set(m, 0);
    look(m, &w, 2000 * MIB, 1009 * SEC);
    EXPECT_EQ(w.memory, MEMORY_FINE);
    end(m, &w, 1);
}

TEST(looks_come_closer_as_the_bound_does)
{
    struct memory *m = memory_new(NULL);
    memory_set(m, 1000 * MIB);
    memory_look(m, 499 * MIB, 1000 * SEC);
    EXPECT_EQ(memory_next_ns(m), SEC / 4);
    memory_look(m, 500 * MIB, 1001 * SEC);
    EXPECT_EQ(memory_next_ns(m), SEC / 50);
    memory_set(m, 0);
    EXPECT_EQ(memory_next_ns(m), SEC / 4);
    memory_end(m);
    memory_free(&m);
}

/* What a worker has not given back yet is not held against it. */
TEST(a_stage_waits_for_what_is_given_back)
{
    struct worker w;
    struct memory *m = begin(&w, 1);
    memory_look(m, 850 * MIB, 1000 * SEC);
    look(m, &w, 850 * MIB, 1000 * SEC + SEC / 50);
    EXPECT_EQ(w.memory, MEMORY_FINE);
    look(m, &w, 850 * MIB, 1000 * SEC + SEC / 25);
    EXPECT_EQ(w.memory, MEMORY_BODIES);
    end(m, &w, 1);
}

/* The system has it by the next look, though something that is still needed lies behind it in the heap. */
TEST(what_is_given_back_is_the_systems)
{
    enum { BLOCKS = 8192 };
    static void *blocks[BLOCKS];
    struct worker w;
    if (SLAB_HEAP)
        return;
    struct memory *m = begin(&w, 1);
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i] = memset(slab_alloc(&w.arena_blocks), 1, ARENA_BLOCK);
    void *behind = mem_alloc(100000);
    for (size_t i = 0; i < BLOCKS; i++)
        slab_free(&w.arena_blocks, blocks[i]);
    uint64_t before = memory_used(m);
    look(m, &w, 850 * MIB, 1000 * SEC);
    EXPECT(memory_used(m) + BLOCKS * ARENA_BLOCK / 2 < before);
    mem_free(behind);
    end(m, &w, 1);
}

static unsigned trims;

/* In place of the C library's, which it calls. */
int malloc_trim(size_t pad)
{
    int (*next)(size_t) = NULL;
    void *at = dlsym(RTLD_NEXT, "malloc_trim");
    memcpy(&next, &at, sizeof next);
    trims++;
    return next ? next(pad) : 0;
}

TEST(a_trim_waits_for_all_that_is_given_back_and_is_one)
{
    struct worker w[2];
    struct memory *m = begin(w, 2);
    memory_look(m, 850 * MIB, 1000 * SEC);
    trims = 0;
    for (unsigned i = 0; i < 2; i++) {
        (void)memory_used(m);
        EXPECT_EQ(trims, 0);
        (void)mailbox_drain(&w[i].mailbox, &w[i]);
    }
    (void)memory_used(m);
    (void)memory_used(m);
    EXPECT_EQ(trims, 1);
    end(m, w, 2);
}

TEST(too_much_at_once_is_not_waited_for)
{
    struct worker w;
    struct memory *m = begin(&w, 1);
    look(m, &w, 930 * MIB, 1000 * SEC);
    EXPECT_EQ(w.memory, MEMORY_REQUESTS);
    struct page page = {0};
    memory_metrics(m, &page);
    EXPECT(strstr(page.at, "\nweir_memory_stage 2\n") != NULL);
    EXPECT(strstr(page.at, "\nweir_memory_limit_bytes 1048576000\n") != NULL);
    EXPECT(strstr(page.at, "\nweir_memory_stages_total 1\n") != NULL);
    page_free(&page);
    end(m, &w, 1);
}
