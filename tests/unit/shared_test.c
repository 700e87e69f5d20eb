/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <pthread.h>
#include "conf/shared.h"
#include "filter.h"

struct state { int value, adopted; bool fresh; };
static _Atomic int finished;

static void adopt(void *shared, const void *options, bool fresh, uint64_t now)
{
    struct state *s = shared;
    (void)now;
    s->value += *(const int *)options;
    s->adopted++;
    s->fresh = fresh;
}

static void fini(void *shared) { (void)shared; finished++; }

static const struct filter one = {.name = "one", .shared_size = sizeof(struct state), .shared_adopt = adopt,
    .shared_fini = fini};
static const struct filter two = {.name = "two", .shared_size = 8};

TEST(state_is_found_by_type_and_name)
{
    struct shared_set *set = shared_set_new();
    int options = 5;
    finished = 0;
    struct state *a = shared_open(set, &one, STR("a"), &options, 1);
    EXPECT_EQ(a->value, 5);
    EXPECT(a->fresh);
    EXPECT_EQ(shared_open(set, &one, STR("a"), &options, 2), a);
    EXPECT_EQ(a->value, 10);
    EXPECT(!a->fresh);
    struct state *b = shared_open(set, &one, STR("b"), &options, 3);
    EXPECT(b != a);
    uint64_t *other = shared_open(set, &two, STR("a"), &options, 3);
    EXPECT((void *)other != (void *)a);
    EXPECT_EQ(*other, 0);
    shared_close(set, a);
    EXPECT_EQ(finished, 0);
    shared_close(set, a);
    EXPECT_EQ(finished, 1);
    a = shared_open(set, &one, STR("a"), &options, 4);
    EXPECT_EQ(a->value, 5);
    EXPECT(a->fresh);
    shared_close(set, a);
    shared_close(set, b);
    shared_close(set, other);
    shared_set_free(set);
    EXPECT_EQ(finished, 3);
}

TEST(many_names_and_generations)
{
    struct shared_set *set = shared_set_new();
    void *states[500];
    int options = 1;
    char name[16];
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        states[i] = shared_open(set, &two, str_c(name), &options, 1);
    }
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        EXPECT_EQ(shared_open(set, &two, str_c(name), &options, 1), states[i]);
    }
    for (int i = 0; i < 1000; i++)
        shared_close(set, states[i % 500]);
    EXPECT_EQ(shared_set_generation(set), 1);
    EXPECT_EQ(shared_set_generation(set), 2);
    shared_set_free(set);
}

struct work { struct shared_set *set; };

static void *open_and_close(void *arg)
{
    struct work *w = arg;
    char name[16];
    int options = 0;
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof(name), "n%d", i % 7);
        shared_close(w->set, shared_open(w->set, &two, str_c(name), &options, 1));
    }
    return NULL;
}

TEST(threads_may_close_while_others_open)
{
    struct work w = {shared_set_new()};
    pthread_t t[3];
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(pthread_create(&t[i], NULL, open_and_close, &w), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    shared_set_free(w.set);
}
