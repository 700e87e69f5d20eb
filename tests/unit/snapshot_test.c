/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a snapshot: references, and shared state over reloads. */
#include "conf_fixture.h"

#include <pthread.h>

TEST(state_outlives_a_reload_by_name)
{
    set = shared_set_new();
    struct snapshot *old = load(HEAD "routes: [{match: /, respond: {}, filters: [{limit: {max: 5}}]}]\n");
    struct snapshot *new = load(HEAD "routes: [{match: /, respond: {}, filters: [{limit: {max: 9}}]}]\n");
    if (!old || !new)
        return;
    struct limit_state *state = new->instances[0]->shared;
    EXPECT_EQ(old->instances[0]->shared, state);
    EXPECT_EQ(state->max, 9);
    EXPECT(!state->was_fresh);
    EXPECT_EQ(new->generation, old->generation + 1);
    snapshot_unref(&old);
    EXPECT_EQ(state->adopted, 2);

    /* A bad file leaves what runs alone, even when its bad part comes last. */
    load_or_fail(HEAD "routes:\n- {match: /, respond: {}, filters: [{limit: {max: 1}}, user]}\n",
                 "4:56: no filter of this configuration provides \"consumer\"");
    EXPECT_EQ(state->max, 9);
    snapshot_unref(&new);
    shared_set_free(set);
}

static void *drop(void *arg)
{
    struct snapshot *s = arg;
    snapshot_unref(&s);
    return NULL;
}

TEST(any_thread_may_drop_the_last_reference)
{
    set = shared_set_new();
    struct snapshot *s = load(HEAD "routes: [{match: /, respond: {}, filters: [{limit: {max: 5}}]}]\n");
    if (!s)
        return;
    pthread_t t[4];
    for (int i = 0; i < 4; i++) {
        snapshot_ref(s);
        EXPECT_EQ(pthread_create(&t[i], NULL, drop, s), 0);
    }
    snapshot_unref(&s);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    shared_set_free(set);          /* checks that all was closed */
}
