/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A semaphore is a word (semaphore_word.h), slots that are out and waiters, and a queue. The lock of its shard guards
 * the queue. While nobody waits, slots come and go by exchanges of the word alone; while somebody waits, only who has
 * the lock changes it.
 *
 * Why no wake-up is lost. A waiter comes by an exchange that also proves that its class may not use a slot: the word
 * said so at that very moment. A slot given back earlier is in that word, or the exchange fails and is tried again; one
 * given back later meets a word with a waiter, must take the lock, finds the waiter queued (the newcomer pushes before
 * it unlocks), and grants. A grant changes both halves of the word at once: whoever comes without the lock, when the
 * last waiter has gone, finds a count that is right. A higher max is set under the lock and grants there; a newcomer
 * decides under the lock too: it comes before that and is granted, or after and sees it. A lower max may be missed by
 * who looked a moment ago: that one counts as entered before the change.
 *
 * Invariant, checked before each unlock: no class that waits may use a free slot. A newcomer of a class that may use
 * slots kept from the classes that wait goes past them for that reason, and by the invariant past nobody else.
 *
 * A waiter is shared by its owner's worker and, through the queue, by everybody. Under the lock it goes from QUEUED to
 * GRANTED or PUT_OUT once, and a wake is posted after the unlock; from then on it belongs to its owner's thread, where
 * two things end it: the ticket is claimed or left, and the wake is over. The second frees it. The wake holds nothing:
 * the slot is the ticket's, so a grant whose request is gone comes back by the ticket's lease, and a wake that is
 * delivered late finds no semaphore that it would need.
 *
 * By key: shards of a lock each, with a table of the semaphores that are in use; all is done under the lock, which is
 * shared with few. Nobody takes two locks. There is one rule in each shard, so that one lock is all that a decision
 * needs. A key that is in use has an average of the service time of its own.
 *
 * Not done here: timers (the caller's, by claim and leave), counting of refusals, and cutting what is over a lower max.
 */
#include "filters/semaphore.h"

#include "filters/semaphore_impl.h"
#include "filters/semaphore_word.h"
#include "filters/semaphore_time.h"
#include "lib/check.h"
#include "lib/clock.h"
#include "lib/mem.h"


enum waiter_state { QUEUED, GRANTED, PUT_OUT };

struct waiter {
    struct fair_node node;
    struct wake wake;
    struct shard *shard;
    struct semaphore *sem;           /* gone for all it knows once it is PUT_OUT */
    struct waiter *next;             /* of those to be woken after the unlock */
    uint64_t flow;
    unsigned class;
    uint64_t wait;                   /* of PUT_OUT: what it is told */
    _Atomic enum waiter_state state;
    bool ended, woken;               /* the owner's: the ticket is done with it; the wake is over */
};

static uint32_t cap_of(const struct shard *s, unsigned class)
{
    return atomic_load_explicit(&s->cap[class], memory_order_relaxed);
}

/* --- under a shard's lock ----------------------------------------------------------------------------------------- */

struct visit {
    struct semaphores *all;
    struct shard *shard;
    struct semaphore *sem;           /* that is looked at; NULL: none */
    uint64_t before;                 /* its word then */
    struct waiter *woken, **last;
};

static void visit_begin(struct visit *v, struct semaphores *all, struct shard *shard)
{
    pthread_mutex_lock(&shard->lock);
    *v = (struct visit){.all = all, .shard = shard};
    v->last = &v->woken;
}

static void visit_see(struct visit *v, struct semaphore *s)
{
    v->sem = s;
    v->before = word_load(&s->word);
}

static void visit_ask(struct visit *v, struct semaphores *all, uint64_t key)
{
    uint64_t hash = semaphore_hash(key);
    visit_begin(v, all, semaphore_shard(all, hash));
    struct semaphore *s = all->keyed ? semaphore_keys_find(&v->shard->keys, hash) : &all->one;
    visit_see(v, s ? s : semaphore_keys_add(&v->shard->keys, hash));
}

static void check_nobody_waits_for_what_is_free(const struct visit *v)
{
    const struct fair_queue *q = &v->sem->queue;
    uint64_t word = word_load(&v->sem->word);
    check(word_places(word) == q->waiting);
    if (q->waiting == 0)
        return;
    for (unsigned i = 0; i < FAIR_CLASSES; i++)
        check(q->classes[i].waiting == 0 || word_slots(word) >= cap_of(v->shard, i));
}

static void visit_seen(struct visit *v)
{
    struct semaphore *s = v->sem;
    check_nobody_waits_for_what_is_free(v);
    v->sem = NULL;
    if (!v->all->keyed)
        return;
    uint64_t word = word_load(&s->word);
    v->shard->in_flight += (uint64_t)word_slots(word) - word_slots(v->before);
    v->shard->waiting += (uint64_t)word_places(word) - word_places(v->before);
    if (word == 0)
        semaphore_keys_drop(&v->shard->keys, s);
}

/* Posting may write to an eventfd, so it comes after the unlock; it may end a waiter, so its next one is read first. */
static void visit_end(struct visit *v)
{
    if (v->sem)
        visit_seen(v);
    pthread_mutex_unlock(&v->shard->lock);
    for (struct waiter *w = v->woken, *next; w; w = next) {
        next = w->next;
        wake_post(&w->wake);
    }
}

static void wake_at_end(struct visit *v, struct waiter *w, enum waiter_state state, enum why why)
{
    w->wake.why = why;
    w->next = NULL;
    *v->last = w;
    v->last = &w->next;
    atomic_store_explicit(&w->state, state, memory_order_release);
}

static int first_class_waiting(const struct fair_queue *q)
{
    for (int i = 0; i < FAIR_CLASSES; i++)
        if (q->classes[i].waiting > 0)
            return i;
    return -1;
}

/* No class may use more slots than one before it: if the first that waits may use none, nobody may. */
static void grant(struct visit *v, uint64_t now)
{
    struct fair_queue *q = &v->sem->queue;
    for (;;) {
        int class = first_class_waiting(q);
        if (class < 0 || word_slots(word_load(&v->sem->word)) >= cap_of(v->shard, (unsigned)class))
            return;
        struct fair_node *node = fair_queue_pop(q, (unsigned)class, v->shard->max_wait, now);
        word_grant(&v->sem->word);
        wake_at_end(v, container_of(node, struct waiter, node), GRANTED, WHY_GRANTED);
    }
}

static void give_back_slot(struct visit *v, uint64_t now)
{
    word_return_slot(&v->sem->word);
    grant(v, now);
}

/* --- how long it may take ----------------------------------------------------------------------------------------- */

/* `gone`: so many of those before it do not count. */
static uint64_t wait_behind(const struct visit *v, unsigned class, uint64_t flow, uint32_t gone)
{
    uint32_t position = fair_queue_position(&v->sem->queue, class, flow);
    unsigned __int128 wait = position > gone ? position - gone : 0;
    wait = wait * semaphore_service(v->all, v->sem) / cap_of(v->shard, class);
    return wait > UINT64_MAX ? UINT64_MAX : (uint64_t)wait;
}

static uint64_t expected_wait(const struct visit *v, unsigned class, uint64_t flow) { return wait_behind(v, class, flow, 0); }

/* What a caller is told: not sooner than the next slot is likely to come back. */
static uint64_t told_wait(const struct visit *v, unsigned class, uint64_t flow)
{
    uint64_t wait = expected_wait(v, class, flow);
    uint64_t next = semaphore_service(v->all, v->sem) / cap_of(v->shard, class);
    if (next == 0)                   /* nothing of this key has ended yet: that of all keys is better than nothing */
        next = atomic_load_explicit(&v->all->service, memory_order_relaxed) / cap_of(v->shard, class);
    if (wait < next)
        wait = next;
    return wait < NSEC_PER_MSEC ? NSEC_PER_MSEC : wait;
}

/* --- waiters ------------------------------------------------------------------------------------------------------ */

static enum waiter_state state_of(const struct waiter *w)
{
    return atomic_load_explicit(&w->state, memory_order_acquire);
}

static void waiter_woken(struct wake *wake)
{
    struct waiter *w = container_of(wake, struct waiter, wake);
    w->woken = true;
    if (w->ended)
        mem_free(w);
}

/* Of one that was, or will be, woken. */
static void waiter_end(struct waiter *w)
{
    w->ended = true;
    if (w->woken)
        mem_free(w);
}

static struct waiter *waiter_new(const struct visit *v, const struct semaphore_ask *ask, struct wake_handle handle)
{
    struct waiter *w = mem_zalloc(sizeof *w);
    w->wake.handle = handle;
    w->wake.over = waiter_woken;
    w->shard = v->shard;
    w->sem = v->sem;
    w->flow = ask->flow;
    w->class = ask->class;
    atomic_init(&w->state, QUEUED);
    return w;
}

/* For a newcomer, who takes its place in the word. */
static void put_out(struct visit *v, struct waiter *w, uint64_t now)
{
    fair_queue_remove(&v->sem->queue, &w->node, v->shard->max_wait, now);
    w->wait = told_wait(v, w->class, w->flow);
    wake_at_end(v, w, PUT_OUT, WHY_EXTERNAL);
}

/* --- tickets ------------------------------------------------------------------------------------------------------ */

static void hold(struct ticket *t, struct semaphores *all, struct semaphore *s, uint64_t now)
{
    *t = (struct ticket){.state = TICKET_HELD, .all = all, .sem = s, .since = now};
}

bool semaphore_try(struct semaphores *all, const struct semaphore_ask *ask, uint64_t now, struct ticket *t)
{
    check(t->state == TICKET_NONE && ask->class < FAIR_CLASSES);
    if (!all->keyed) {
        if (!word_take_slot(&all->one.word, cap_of(&all->shards[0], ask->class)))
            return false;
        hold(t, all, &all->one, now);
        return true;
    }
    struct visit v;
    visit_ask(&v, all, ask->key);
    bool taken = word_take_slot(&v.sem->word, cap_of(v.shard, ask->class));
    if (taken)
        hold(t, all, v.sem, now);
    visit_end(&v);
    return taken;
}

/* May it queue, at `now`, when `gone` of those who wait have got their slot? *out: who has to make room for it; NULL:
 * nobody has to. */
static enum semaphore_answer judge(const struct visit *v, const struct semaphore_ask *ask, uint64_t now, uint32_t gone,
                                   struct waiter **out)
{
    const struct fair_queue *q = &v->sem->queue;
    *out = NULL;
    if (q->waiting - gone >= v->shard->queue) {
        struct fair_node *node = v->shard->queue > 0 ? fair_queue_victim(q, ask->class, ask->flow) : NULL;
        if (!node)
            return SEMAPHORE_FULL;
        *out = container_of(node, struct waiter, node);
    }
    uint64_t left = ask->deadline > now ? ask->deadline - now : 0;
    if (left > v->shard->max_wait)
        left = v->shard->max_wait;
    return left == 0 || wait_behind(v, ask->class, ask->flow, gone) > left ? SEMAPHORE_HOPELESS : SEMAPHORE_WAITS;
}

static enum semaphore_answer enter_or_queue(struct visit *v, const struct semaphore_ask *ask, struct wake_handle handle,
                                            uint64_t now, struct ticket *t, uint64_t *wait)
{
    uint32_t cap = cap_of(v->shard, ask->class);
    struct waiter *out = NULL;
    do {
        if (word_pass(&v->sem->word, cap)) {
            hold(t, v->all, v->sem, now);
            return SEMAPHORE_ENTERED;
        }
        enum semaphore_answer answer = judge(v, ask, now, 0, &out);
        if (answer != SEMAPHORE_WAITS) {
            *wait = told_wait(v, ask->class, ask->flow);
            return answer;
        }
    } while (!out && !word_take_place(&v->sem->word, cap));
    /* With somebody to put out the word stands still: as many wait as before. */
    if (out)
        put_out(v, out, now);
    struct waiter *w = waiter_new(v, ask, handle);
    fair_queue_push(&v->sem->queue, &w->node, ask->class, ask->flow, now);
    *t = (struct ticket){.state = TICKET_WAITING, .all = v->all, .sem = v->sem, .waiter = w, .since = now};
    return SEMAPHORE_WAITS;
}

enum semaphore_answer semaphore_wait(struct semaphores *all, const struct semaphore_ask *ask, struct wake_handle handle,
                                     uint64_t now, struct ticket *t, uint64_t *wait)
{
    struct visit v;
    check(t->state == TICKET_NONE && ask->class < FAIR_CLASSES);
    visit_ask(&v, all, ask->key);
    enum semaphore_answer answer = enter_or_queue(&v, ask, handle, now, t, wait);
    visit_end(&v);
    return answer;
}

/* A slot given back now goes to who waits, or is free. */
static enum semaphore_answer foresee(const struct visit *v, const struct semaphore_ask *ask, const struct ticket *own,
                                     uint64_t when, uint64_t now)
{
    bool mine = own->state == TICKET_HELD && own->sem == v->sem;
    uint32_t slots = word_slots(word_load(&v->sem->word)) - mine;
    int first = first_class_waiting(&v->sem->queue);
    bool passed_on = mine && first >= 0 && slots < cap_of(v->shard, (unsigned)first);
    struct waiter *out;
    if (slots + passed_on < cap_of(v->shard, ask->class))
        return SEMAPHORE_ENTERED;
    return judge(v, ask, when, passed_on && when <= now, &out);
}

enum semaphore_answer semaphore_would(struct semaphores *all, const struct semaphore_ask *ask, const struct ticket *own,
                                      uint64_t when, uint64_t now)
{
    uint64_t hash = semaphore_hash(ask->key);
    enum semaphore_answer answer = SEMAPHORE_ENTERED;        /* a key that is not in use has all its slots */
    struct visit v;
    check(ask->class < FAIR_CLASSES);
    visit_begin(&v, all, semaphore_shard(all, hash));
    struct semaphore *s = all->keyed ? semaphore_keys_find(&v.shard->keys, hash) : &all->one;
    if (s) {
        visit_see(&v, s);
        answer = foresee(&v, ask, own, when, now);
    }
    visit_end(&v);
    return answer;
}

/* What it is told if it still waits. */
static enum waiter_state look_again(const struct ticket *t, uint64_t *wait)
{
    struct waiter *w = t->waiter;
    struct visit v;
    visit_begin(&v, t->all, w->shard);
    enum waiter_state state = state_of(w);
    if (state == QUEUED) {
        visit_see(&v, w->sem);
        *wait = told_wait(&v, w->class, w->flow);
    }
    visit_end(&v);
    return state;
}

enum semaphore_answer semaphore_claim(struct ticket *t, uint64_t now, uint64_t *wait)
{
    check(t->state == TICKET_WAITING);
    struct waiter *w = t->waiter;
    enum waiter_state state = state_of(w);
    if (state == QUEUED && (state = look_again(t, wait)) == QUEUED)
        return SEMAPHORE_WAITS;
    if (state == GRANTED) {
        hold(t, t->all, w->sem, now);
    } else {
        *wait = w->wait;
        *t = (struct ticket){.state = TICKET_NONE};
    }
    waiter_end(w);
    return state == GRANTED ? SEMAPHORE_ENTERED : SEMAPHORE_FULL;
}

static void leave_slot(const struct ticket *t, uint64_t now)
{
    uint64_t held = now > t->since ? now - t->since : 0;
    uint64_t most = atomic_load_explicit(&t->all->service_max, memory_order_relaxed);
    semaphore_time_learn(&t->all->service, most, held);
    if (!t->all->keyed && word_drop_slot(&t->sem->word))
        return;
    struct visit v;
    visit_begin(&v, t->all, semaphore_shard(t->all, t->sem->hash));
    visit_see(&v, t->sem);
    semaphore_time_learn(&t->sem->service, most, held);
    give_back_slot(&v, now);
    visit_end(&v);
}

static void leave_queue(const struct ticket *t, uint64_t now)
{
    struct waiter *w = t->waiter;
    struct visit v;
    visit_begin(&v, t->all, w->shard);
    enum waiter_state state = state_of(w);
    if (state == QUEUED) {
        visit_see(&v, w->sem);
        fair_queue_remove(&w->sem->queue, &w->node, v.shard->max_wait, now);
        word_drop_place(&w->sem->word);
    } else if (state == GRANTED) {
        visit_see(&v, w->sem);
        give_back_slot(&v, now);
    }
    visit_end(&v);
    if (state == QUEUED)
        mem_free(w);
    else
        waiter_end(w);
}

void semaphore_leave(struct ticket *t, uint64_t now)
{
    const struct ticket was = *t;
    *t = (struct ticket){.state = TICKET_NONE};
    if (was.state == TICKET_HELD)
        leave_slot(&was, now);
    else if (was.state == TICKET_WAITING)
        leave_queue(&was, now);
}

/* --- all of them -------------------------------------------------------------------------------------------------- */

static void rule_check(const struct semaphore_rule *r)
{
    check(r->max > 0 && r->cap[0] == r->max && r->cap[FAIR_CLASSES - 1] > 0);
    for (unsigned i = 1; i < FAIR_CLASSES; i++)
        check(r->cap[i] <= r->cap[i - 1]);
}

static void rule_set(struct shard *s, const struct semaphore_rule *r)
{
    for (unsigned i = 0; i < FAIR_CLASSES; i++)
        atomic_store_explicit(&s->cap[i], r->cap[i], memory_order_relaxed);
    s->queue = r->queue;
    s->max_wait = r->max_wait;
}

static void service_bound(struct semaphores *all, const struct semaphore_rule *r)
{
    atomic_store_explicit(&all->service_max, semaphore_time_most(r->max_wait, r->max), memory_order_relaxed);
}

struct semaphores *semaphores_new(bool keyed, const struct semaphore_rule *rule)
{
    size_t n = keyed ? (size_t)1 << SHARD_BITS : 1;
    struct semaphores *all = mem_zalloc(sizeof *all + n * sizeof all->shards[0]);
    rule_check(rule);
    all->keyed = keyed;
    all->n = n;
    service_bound(all, rule);
    for (size_t i = 0; i < n; i++) {
        struct shard *s = &all->shards[i];
        pthread_mutex_init(&s->lock, NULL);
        rule_set(s, rule);
        if (keyed)
            semaphore_keys_init(&s->keys);
    }
    return all;
}

void semaphores_free(struct semaphores *all)
{
    if (!all)
        return;
    check(word_load(&all->one.word) == 0);
    fair_queue_fini(&all->one.queue);
    for (size_t i = 0; i < all->n; i++) {
        if (all->keyed)
            semaphore_keys_fini(&all->shards[i].keys);
        pthread_mutex_destroy(&all->shards[i].lock);
    }
    mem_free(all);
}

static void grant_keys(struct visit *v, uint64_t now)
{
    const struct semaphore_keys *keys = &v->shard->keys;
    for (uint32_t i = 0; i < keys->size && v->shard->waiting > 0; i++)
        for (struct semaphore *s = keys->table[i]; s; s = s->chain) {
            visit_see(v, s);
            grant(v, now);
            visit_seen(v);
        }
}

void semaphores_set_rule(struct semaphores *all, const struct semaphore_rule *rule, uint64_t now)
{
    rule_check(rule);
    service_bound(all, rule);
    for (size_t i = 0; i < all->n; i++) {
        struct visit v;
        visit_begin(&v, all, &all->shards[i]);
        rule_set(v.shard, rule);
        if (all->keyed) {
            grant_keys(&v, now);
        } else {
            visit_see(&v, &all->one);
            grant(&v, now);
        }
        visit_end(&v);
    }
}
