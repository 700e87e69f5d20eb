/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What semaphores count, as it stands now: for pages and plans, never for a decision. Without keys it is one word; by key the
 * shards are added up one after the other, each right at its own moment.
 */
#include "filters/semaphore_impl.h"

#include "filters/semaphore_word.h"

static void stats_of(const struct semaphores *all, const struct semaphore *s, struct semaphore_stats *out)
{
    uint64_t word = word_load(&s->word);
    *out = (struct semaphore_stats){word_slots(word), word_places(word), 1, semaphore_service(all, s)};
}

void semaphores_stats(struct semaphores *all, struct semaphore_stats *out)
{
    if (!all->keyed) {
        stats_of(all, &all->one, out);
        return;
    }
    *out = (struct semaphore_stats){.service = atomic_load_explicit(&all->service, memory_order_relaxed)};
    for (size_t i = 0; i < all->n; i++) {
        struct shard *s = &all->shards[i];
        pthread_mutex_lock(&s->lock);
        out->in_flight += s->in_flight;
        out->waiting += s->waiting;
        out->keys += s->keys.n;
        pthread_mutex_unlock(&s->lock);
    }
}

static uint64_t shard_over(struct shard *shard, uint64_t max)
{
    uint64_t n = 0;
    pthread_mutex_lock(&shard->lock);
    for (uint32_t b = 0; b < shard->keys.size; b++)
        for (const struct semaphore *s = shard->keys.table[b]; s; s = s->chain)
            n += word_slots(word_load(&s->word)) > max;
    pthread_mutex_unlock(&shard->lock);
    return n;
}

uint64_t semaphores_over(struct semaphores *all, uint64_t max)
{
    uint64_t n = 0;
    if (!all->keyed)
        return word_slots(word_load(&all->one.word)) > max;
    for (size_t i = 0; i < all->n; i++)
        n += shard_over(&all->shards[i], max);
    return n;
}

#define ULL(n) (unsigned long long)(n)

static void slots_plan(struct semaphores *all, const struct semaphore_stats *now, uint64_t max, struct plan_notes *notes)
{
    uint64_t over = semaphores_over(all, max);
    if (over > 0 && all->keyed)
        plan_say(notes, PLAN_OVER, "%llu of %llu keys have more in flight than the %llu that are allowed: nobody is cut, newcomers "
                 "wait until enough have ended", ULL(over), ULL(now->keys), ULL(max));
    else if (now->in_flight > max && !all->keyed)
        plan_say(notes, PLAN_OVER, "%llu in flight, %llu allowed: nobody is cut, %llu too many until they end", ULL(now->in_flight),
                 ULL(max), ULL(now->in_flight - max));
    else if (now->in_flight > 0)
        plan_say(notes, PLAN_KEEPS, "%llu in flight keep their slots", ULL(now->in_flight));
    else
        plan_say(notes, PLAN_KEEPS, "nothing is in flight now");
}

void semaphores_plan(struct semaphores *all, const struct semaphore_rule *to, struct plan_notes *notes)
{
    struct semaphore_stats now;
    semaphores_stats(all, &now);
    slots_plan(all, &now, to->max, notes);
    if (now.waiting > to->queue && !all->keyed)
        plan_say(notes, PLAN_OVER, "%llu wait, and the queue holds %u: nobody is put out for that, newcomers are refused until "
                 "fewer wait", ULL(now.waiting), to->queue);
    else if (now.waiting > 0)
        plan_say(notes, PLAN_KEEPS, "%llu who wait keep their places", ULL(now.waiting));
}

bool semaphores_of_key(struct semaphores *all, uint64_t key, struct semaphore_stats *out)
{
    uint64_t hash = semaphore_hash(key);
    struct shard *shard = semaphore_shard(all, hash);
    pthread_mutex_lock(&shard->lock);
    const struct semaphore *s = all->keyed ? semaphore_keys_find(&shard->keys, hash) : &all->one;
    bool found = s && word_load(&s->word) != 0;
    if (found)
        stats_of(all, s, out);
    pthread_mutex_unlock(&shard->lock);
    return found;
}
