/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keyed table of token buckets; limit_store.h says what it promises.
 *
 * Shape. Shards, each a table of 2^bits buckets of 8 slots of (tag, cell); the tag is the key, never 0. A key is of
 * one shard, by the upper bits of its hash, and may stand in either of two buckets, by the lower bits; a new one
 * takes the emptier. Address space for the bound is reserved once and the kernel gives memory as it is touched. A
 * shard grows in place: bucket j splits into j and j + 2^bits, so nothing is allocated, nothing is freed while the
 * table lives, and a reader with an old `bits` looks at slots that are still slots. What all shards add with one more
 * bit stands side by side: a small table is small in pages too.
 *
 * Invariants:
 *   - A slot changes by a 16-byte compare and exchange of tag and cell together: a charge never lands on a slot that
 *     was given to another key meanwhile, or moved.
 *   - Tags change under the shard's lock only. So a key has one slot, and who finds none looks again under the lock:
 *     a key that is just being moved is in no slot for a moment.
 *   - A slot whose cell is at or behind the clock is as good as empty, and is reused before the shard grows. `forgot`
 *     is the latest cell that went that way; an unknown key is taken to stand there, so that a worker whose clock is
 *     behind the one that forgot a key mints nothing.
 *   - When both buckets are full of debtors and the shard may not grow, one of them moves to its other bucket; when
 *     that cannot be either, the one closest to full goes, and is counted.
 *   - A refusal and a peek write nothing.
 *
 * Giving back needs the sum of what the key was given back since its charge (limit_algo.h). A shard keeps a few such
 * sums, each for a share of its keys, which errs to the safe side; a mark holds the cell plus the sum of its time.
 * The sum is read before the cell by a charge, and added to after the cell was lowered, under the lock: a charge sees
 * at most the sum that belongs to its cell. Whether anybody was ever told to wait is one word of the table: before
 * that no refund needs to care.
 *
 * Reading tag, cell and tag again is not one read: a slot that was given to another key and back between them would
 * yield the other's cell. That takes two turns of the lock in a nanosecond, and costs one wrong refusal; no charge.
 *
 * What it does not do: shrink. Memory once touched is kept for the next burst of keys.
 */
#include "filters/limit_store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include "filters/limit_rule.h"
#include "lib/check.h"
#include "lib/mem.h"

#if !defined(__GCC_HAVE_SYNC_COMPARE_AND_SWAP_16) && !defined(__aarch64__)
#error "limit_store.c needs a 16-byte compare and exchange: build with -mcx16 on x86-64"
#endif

enum {
    SLOTS = 8,                   /* a bucket; two cache lines */
    KEYS_A_BUCKET = 6,           /* at the bound: three quarters full */
    BITS_MAX = 9,                /* a shard of 4096 slots: splitting the half of it takes a tenth of a millisecond */
    BITS_FEW = 6,                /* below this many bits a shard would hold too few keys for shards to fill evenly */
    SHARDS_FEW = 8,              /* rounding up to whole shards then costs at most an eighth */
    GIVEN = 7,
    PAGE = 4096,
    OWING_BUCKETS = 1 << 18,     /* that are looked through at a time: 32 MiB, about ten milliseconds */
};
#define MAX_KEYS ((uint64_t)1 << 40)

struct pair {
    uint64_t tag, cell;
};

union slot {
    struct {
        _Atomic uint64_t tag, cell;
    } is;
    unsigned __int128 both;
};

struct bucket {
    _Alignas(128) union slot slots[SLOTS];
};

/* The first cache line is read by every decision, the second one only under the lock and by who finds no cell. */
struct shard {
    _Alignas(64) _Atomic uint32_t bits;
    _Atomic uint32_t used;
    _Atomic uint64_t given[GIVEN];
    _Alignas(64) pthread_mutex_t lock;
    _Atomic uint64_t forgot;
    _Atomic uint64_t evicted_in_debt;
};

struct limit_store {
    uint64_t max_keys;
    uint64_t n_shards;
    unsigned bits_max;
    size_t reserved;                       /* bytes of address space at `shards`, and behind them `buckets` */
    struct shard *shards;
    struct bucket *buckets;
    _Atomic bool told_to_wait;             /* has anybody ever been? */
    struct limit_rule_cell rule;
};

/* Where a key may be, as its shard is now. */
struct home {
    uint64_t tag;
    struct shard *shard;
    struct bucket *buckets[2];
    _Atomic uint64_t *given;
};

static uint64_t add_sat(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }
static uint64_t sub_floor(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }
static uint64_t later(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* --- the rule ---------------------------------------------------------------------------------------------------- */

void limit_store_rule(const struct limit_store *st, struct limit_rule *r) { limit_rule_load(&st->rule, r); }
void limit_store_set_rule(struct limit_store *st, const struct limit_rule *r) { limit_rule_store(&st->rule, r); }

/* --- slots ------------------------------------------------------------------------------------------------------- */

static unsigned __int128 both_of(struct pair p)
{
    unsigned __int128 both;
    memcpy(&both, &p, sizeof(both));
    return both;
}

static struct pair slot_read(union slot *s)
{
    struct pair p;
    p.tag = atomic_load_explicit(&s->is.tag, memory_order_acquire);
    p.cell = atomic_load_explicit(&s->is.cell, memory_order_acquire);
    return p;
}

/* A full barrier. */
static bool slot_swap(union slot *s, struct pair was, struct pair is)
{
    return __sync_bool_compare_and_swap(&s->both, both_of(was), both_of(is));
}

/* --- where a key may be ------------------------------------------------------------------------------------------ */

/* Bucket 0 of all shards, then bucket 1 of all, 2 and 3 of all, 4 to 7 of all: what each adds with one more bit. */
static struct bucket *bucket_at(const struct limit_store *st, uint64_t shard, uint64_t j)
{
    if (j == 0)
        return &st->buckets[shard];
    const unsigned level = 63 - (unsigned)__builtin_clzll(j);
    return &st->buckets[((st->n_shards + shard) << level) + (j - ((uint64_t)1 << level))];
}

/* The two are never the same, once there are two. They lie in one page: a large table misses the TLB at each page. */
static uint64_t first_of(uint64_t tag, unsigned bits) { return tag & (((uint64_t)1 << bits) - 1); }
static uint64_t second_of(uint64_t tag, unsigned bits)
{
    return first_of(tag ^ ((tag >> BITS_MAX & (PAGE / sizeof(struct bucket) - 1)) | 1), bits);
}

static uint64_t shard_of(const struct limit_store *st, uint64_t tag)
{
    return (uint64_t)((unsigned __int128)tag * st->n_shards >> 64);
}

static struct home home_of(const struct limit_store *st, uint64_t key)
{
    struct home h = {.tag = key ? key : 1};
    const uint64_t shard = shard_of(st, h.tag);

    h.shard = &st->shards[shard];
    h.given = &h.shard->given[(h.tag >> 2 * BITS_MAX & 0xffffff) % GIVEN];
    const unsigned bits = atomic_load_explicit(&h.shard->bits, memory_order_acquire);
    h.buckets[0] = bucket_at(st, shard, first_of(h.tag, bits));
    h.buckets[1] = bucket_at(st, shard, second_of(h.tag, bits));
    for (int i = 0; i < 2; i++) {
        __builtin_prefetch(&h.buckets[i]->slots[0]);
        __builtin_prefetch(&h.buckets[i]->slots[SLOTS / 2]);
    }
    return h;
}

/* The key's slot and what was seen in it; NULL: none, or, without the lock, it is being moved. */
static union slot *home_find(const struct home *h, struct pair *seen)
{
    for (int i = 0; i < 2; i++) {
        for (union slot *s = h->buckets[i]->slots; s < h->buckets[i]->slots + SLOTS; s++) {
            if (atomic_load_explicit(&s->is.tag, memory_order_relaxed) != h->tag)
                continue;
            *seen = slot_read(s);
            if (seen->tag == h->tag && atomic_load_explicit(&s->is.tag, memory_order_relaxed) == h->tag)
                return s;
        }
    }
    return NULL;
}

/* Its shard is locked; `h` is made anew, for the shard may have grown before it was. */
static void home_lock(const struct limit_store *st, struct home *h)
{
    check(pthread_mutex_lock(&h->shard->lock) == 0);
    *h = home_of(st, h->tag);
}

static void home_unlock(struct home *h) { check(pthread_mutex_unlock(&h->shard->lock) == 0); }

/* --- under the lock: room for a key ------------------------------------------------------------------------------ */

static void count(_Atomic uint32_t *n, uint32_t add)
{
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + add, memory_order_relaxed);
}

/* Forgets who is in a slot. False: he was charged meanwhile. */
static bool slot_vacate(struct shard *sh, union slot *s, struct pair was, uint64_t v)
{
    if (was.tag == 0)
        return true;
    if (!slot_swap(s, was, (struct pair){0, 0}))
        return false;
    count(&sh->used, UINT32_MAX);
    if (was.cell > v)
        atomic_fetch_add_explicit(&sh->evicted_in_debt, 1, memory_order_relaxed);
    else if (was.cell > atomic_load_explicit(&sh->forgot, memory_order_relaxed))
        atomic_store_explicit(&sh->forgot, was.cell, memory_order_relaxed);
    return true;
}

/* Moves a key to an empty slot. For a moment it is in neither: who looks without the lock comes and takes the lock. */
static void slot_move(union slot *from, union slot *to)
{
    struct pair p;
    do {
        p = slot_read(from);
    } while (!slot_swap(from, p, (struct pair){0, 0}));
    check(slot_swap(to, (struct pair){0, 0}, p));
}

/* Moves to bucket j + 2^bits those of j who belong there with one bit more, and drops whose bucket is full again. */
static void bucket_split(const struct limit_store *st, struct shard *sh, uint64_t j, unsigned bits, uint64_t v)
{
    const uint64_t shard = (uint64_t)(sh - st->shards);
    struct bucket *from = bucket_at(st, shard, j);
    union slot *to = bucket_at(st, shard, j + ((uint64_t)1 << bits))->slots;

    for (union slot *s = from->slots; s < from->slots + SLOTS; s++) {
        const struct pair p = slot_read(s);
        if (p.cell <= v && slot_vacate(sh, s, p, v))
            continue;
        if (first_of(p.tag, bits + 1) != j && second_of(p.tag, bits + 1) != j)
            slot_move(s, to++);
    }
}

static bool shard_grow(const struct limit_store *st, struct shard *sh, uint64_t v)
{
    const unsigned bits = atomic_load_explicit(&sh->bits, memory_order_relaxed);

    if (bits == st->bits_max)
        return false;
    for (uint64_t j = 0; j < (uint64_t)1 << bits; j++)
        bucket_split(st, sh, j, bits, v);
    atomic_store_explicit(&sh->bits, bits + 1, memory_order_release);
    return true;
}

/* A slot that is empty or as good as that, or NULL, and how many are not. */
static union slot *bucket_free(struct bucket *b, uint64_t v, struct pair *was, unsigned *debtors)
{
    union slot *vacant = NULL;

    *debtors = 0;
    for (union slot *s = b->slots; s < b->slots + SLOTS; s++) {
        const struct pair p = slot_read(s);
        if (p.cell > v) {
            ++*debtors;
        } else if (!vacant) {
            vacant = s;
            *was = p;
        }
    }
    return vacant;
}

/* The same in the one of both buckets that has fewer debtors. */
static union slot *home_free(const struct home *h, uint64_t v, struct pair *was)
{
    struct pair other_was;
    unsigned debtors, other_debtors;
    union slot *s = bucket_free(h->buckets[0], v, was, &debtors);
    union slot *other = bucket_free(h->buckets[1], v, &other_was, &other_debtors);

    if (other_debtors >= debtors)
        return s;
    *was = other_was;
    return other;
}

/* Empties a slot by moving its key to the other one of its buckets; NULL: all of those are full of debtors too. */
static union slot *home_shift(const struct limit_store *st, const struct home *h, uint64_t v)
{
    for (int i = 0; i < 2; i++) {
        for (union slot *s = h->buckets[i]->slots; s < h->buckets[i]->slots + SLOTS; s++) {
            const struct home its = home_of(st, slot_read(s).tag);
            struct pair was;
            unsigned debtors;
            union slot *to = bucket_free(its.buckets[its.buckets[0] == h->buckets[i]], v, &was, &debtors);
            if (to && slot_vacate(h->shard, to, was, v)) {
                slot_move(s, to);
                return s;
            }
        }
    }
    return NULL;
}

/* The slot closest to being full again. */
static union slot *home_poorest(const struct home *h, struct pair *was)
{
    union slot *best = NULL;

    for (int i = 0; i < 2; i++) {
        for (union slot *s = h->buckets[i]->slots; s < h->buckets[i]->slots + SLOTS; s++) {
            const struct pair p = slot_read(s);
            if (!best || p.cell < was->cell) {
                best = s;
                *was = p;
            }
        }
    }
    return best;
}

/* Gives a key that has no slot one with this cell; `v` is where the clock stands. */
static void home_insert(const struct limit_store *st, struct home *h, uint64_t cell, uint64_t v)
{
    struct pair was = {0, 0};
    union slot *s;

    do {
        while (!(s = home_free(h, v, &was)) && shard_grow(st, h->shard, v))
            *h = home_of(st, h->tag);
        if (!s && (s = home_shift(st, h, v)))
            was = (struct pair){0, 0};
        if (!s)
            s = home_poorest(h, &was);
    } while (!slot_vacate(h->shard, s, was, v));
    check(slot_swap(s, (struct pair){0, 0}, (struct pair){h->tag, cell}));
    count(&h->shard->used, 1);
}

/* --- deciding ---------------------------------------------------------------------------------------------------- */

/* What is asked. */
struct ask {
    struct limit_rule rule;
    uint64_t cost, max_wait, now;
};

/* Decides for a cell, which becomes what it is after the charge. `given` was read before the cell. */
static struct limit_result ask_cell(struct limit_store *st, const struct ask *a, uint64_t *cell, uint64_t given)
{
    struct limit_result res = limit_reserve(cell, &a->rule, a->cost, a->max_wait, a->now);

    res.from.cell = add_sat(res.from.cell, given);
    if (res.ok && res.wait > 0 && !atomic_load_explicit(&st->told_to_wait, memory_order_relaxed))
        atomic_store_explicit(&st->told_to_wait, true, memory_order_relaxed);
    return res;
}

/* False: the key has no cell, or, without the lock, it is being moved. */
static bool home_ask(struct limit_store *st, const struct home *h, const struct ask *a, struct limit_result *res)
{
    for (;;) {
        const uint64_t given = atomic_load_explicit(h->given, memory_order_acquire);
        struct pair seen;
        union slot *s = home_find(h, &seen);
        if (!s)
            return false;
        struct pair next = seen;
        *res = ask_cell(st, a, &next.cell, given);
        if (!res->ok || a->cost == 0 || slot_swap(s, seen, next))
            return true;
    }
}

struct limit_result limit_store_take(struct limit_store *st, uint64_t key, uint64_t cost, uint64_t max_wait,
                                     uint64_t now)
{
    struct ask a = {.cost = cost, .max_wait = max_wait, .now = now};
    struct home h = home_of(st, key);
    struct limit_result res;

    limit_store_rule(st, &a.rule);
    if (home_ask(st, &h, &a, &res))
        return res;

    home_lock(st, &h);
    if (!home_ask(st, &h, &a, &res)) {
        uint64_t cell = atomic_load_explicit(&h.shard->forgot, memory_order_relaxed);
        res = ask_cell(st, &a, &cell, atomic_load_explicit(h.given, memory_order_relaxed));
        if (res.ok && cost > 0)
            home_insert(st, &h, cell, res.from.clock);
    }
    home_unlock(&h);
    return res;
}

struct limit_result limit_store_peek(const struct limit_store *st, uint64_t key, uint64_t cost, uint64_t now)
{
    struct home h = home_of(st, key);
    struct limit_rule rule;
    struct pair seen;

    limit_store_rule(st, &rule);
    if (!home_find(&h, &seen)) {
        home_lock(st, &h);
        if (!home_find(&h, &seen))
            seen.cell = atomic_load_explicit(&h.shard->forgot, memory_order_relaxed);
        home_unlock(&h);
    }
    return limit_peek(seen.cell, &rule, cost, now);
}

/* --- giving back and charging more ------------------------------------------------------------------------------- */

static bool home_charge(const struct home *h, const struct limit_rule *rule, uint64_t more, uint64_t now)
{
    struct pair seen;
    union slot *s;

    while ((s = home_find(h, &seen))) {
        struct pair next = seen;
        limit_settle(&next.cell, rule, 0, more, (struct limit_mark){0, 0}, now);
        if (slot_swap(s, seen, next))
            return true;
    }
    return false;
}

static void charge_more(struct limit_store *st, uint64_t key, uint64_t more, uint64_t now)
{
    struct home h = home_of(st, key);
    struct limit_rule rule;

    limit_store_rule(st, &rule);
    if (home_charge(&h, &rule, more, now))
        return;
    home_lock(st, &h);
    if (!home_charge(&h, &rule, more, now)) {
        const uint64_t v = limit_clock(&rule, now);
        const uint64_t cell = later(atomic_load_explicit(&h.shard->forgot, memory_order_relaxed), v);
        home_insert(st, &h, add_sat(cell, more), v);
    }
    home_unlock(&h);
}

void limit_store_settle(struct limit_store *st, uint64_t key, uint64_t estimated, uint64_t actual,
                        struct limit_mark from, uint64_t now)
{
    if (actual > estimated)
        charge_more(st, key, actual - estimated, now);
    if (actual >= estimated)
        return;

    struct home h = home_of(st, key);
    struct limit_rule rule;
    struct pair seen;
    union slot *s;

    limit_store_rule(st, &rule);
    home_lock(st, &h);
    const uint64_t given = atomic_load_explicit(h.given, memory_order_relaxed);
    from.cell = sub_floor(from.cell, given);
    while ((s = home_find(&h, &seen))) {
        struct pair next = seen;
        if (atomic_load_explicit(&st->told_to_wait, memory_order_relaxed) && limit_waits(seen.cell, &rule, now))
            break;
        const uint64_t back = limit_settle(&next.cell, &rule, estimated, actual, from, now);
        if (back == 0)
            break;
        if (slot_swap(s, seen, next)) {
            atomic_store_explicit(h.given, add_sat(given, back), memory_order_release);
            break;
        }
    }
    home_unlock(&h);
}

void limit_store_refund(struct limit_store *st, uint64_t key, uint64_t cost, struct limit_mark from, uint64_t now)
{
    limit_store_settle(st, key, cost, 0, from, now);
}

/* --- the table --------------------------------------------------------------------------------------------------- */

static void shape(struct limit_store *st)
{
    const uint64_t buckets = (st->max_keys + KEYS_A_BUCKET - 1) / KEYS_A_BUCKET;
    const uint64_t few = (uint64_t)1 << BITS_FEW;

    if (buckets <= few) {
        while ((uint64_t)1 << st->bits_max < buckets)
            st->bits_max++;
    } else {
        st->bits_max = BITS_FEW;
        while (st->bits_max < BITS_MAX && buckets >> (st->bits_max + 1) >= SHARDS_FEW)
            st->bits_max++;
    }
    st->n_shards = (buckets + ((uint64_t)1 << st->bits_max) - 1) >> st->bits_max;
}

static size_t head_size(const struct limit_store *st) { return (st->n_shards * sizeof(struct shard) + PAGE - 1) / PAGE * PAGE; }

/* Address space for all that it may become. */
static char *reserve(struct limit_store *st, uint64_t max_keys)
{
    check(max_keys > 0 && max_keys <= MAX_KEYS);
    st->max_keys = max_keys;
    shape(st);
    st->reserved = head_size(st) + (st->n_shards * sizeof(struct bucket) << st->bits_max);
    return mmap(NULL, st->reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

bool limit_store_fits(uint64_t max_keys)
{
    struct limit_store st = {0};
    char *at = reserve(&st, max_keys);
    return at != MAP_FAILED && munmap(at, st.reserved) == 0;
}

struct limit_store *limit_store_new(uint64_t max_keys, const struct limit_rule *rule)
{
    struct limit_store *st = mem_zalloc(sizeof(*st));
    char *at = reserve(st, max_keys);
    check(at != MAP_FAILED);
    madvise(at, st->reserved, MADV_NOHUGEPAGE);  /* where huge pages are the rule, the first key would cost 2 MiB */
    st->shards = (struct shard *)(void *)at;
    st->buckets = (struct bucket *)(void *)(at + head_size(st));
    for (uint64_t i = 0; i < st->n_shards; i++)
        check(pthread_mutex_init(&st->shards[i].lock, NULL) == 0);
    limit_store_set_rule(st, rule);
    return st;
}

void limit_store_free(struct limit_store *st)
{
    if (!st)
        return;
    for (uint64_t i = 0; i < st->n_shards; i++)
        check(pthread_mutex_destroy(&st->shards[i].lock) == 0);
    check(munmap(st->shards, st->reserved) == 0);
    mem_free(st);
}

uint64_t limit_store_max_keys(const struct limit_store *st) { return st->max_keys; }

void limit_store_stats(const struct limit_store *st, struct limit_store_stats *stats)
{
    *stats = (struct limit_store_stats){.slots_max = st->n_shards * SLOTS << st->bits_max};
    for (uint64_t i = 0; i < st->n_shards; i++) {
        const struct shard *sh = &st->shards[i];
        stats->slots += (uint64_t)SLOTS << atomic_load_explicit(&sh->bits, memory_order_relaxed);
        stats->used += atomic_load_explicit(&sh->used, memory_order_relaxed);
        stats->evicted_in_debt += atomic_load_explicit(&sh->evicted_in_debt, memory_order_relaxed);
    }
    stats->bytes = sizeof(*st) + st->n_shards * sizeof(struct shard) + stats->slots * sizeof(union slot);
}

/* A key that is moved meanwhile may be counted twice or not at all: it is a figure, not a decision. */
void limit_store_owing(const struct limit_store *st, uint64_t most, uint64_t now, struct limit_store_owing *out)
{
    struct limit_rule rule;
    limit_store_rule(st, &rule);
    const uint64_t v = limit_clock(&rule, now);
    *out = (struct limit_store_owing){.all = true};
    for (uint64_t i = 0, looked = 0; i < st->n_shards; i++) {
        const uint64_t n = (uint64_t)1 << atomic_load_explicit(&st->shards[i].bits, memory_order_acquire);
        if ((looked += n) > OWING_BUCKETS && i > 0) {
            out->all = false;
            return;
        }
        for (uint64_t j = 0; j < n; j++)
            for (union slot *s = bucket_at(st, i, j)->slots, *end = s + SLOTS; s < end; s++) {
                const struct pair p = slot_read(s);
                out->owe += p.tag && p.cell > v;
                out->over += p.tag && sub_floor(p.cell, v) > most;
            }
    }
}
