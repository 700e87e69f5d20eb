/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counting connections by address.
 *
 * 64 parts, each with a lock of its own that is held for one look-up, never two at once; a connection takes it when it
 * comes and when it goes, and only at listeners that have a cap. A part is a table with linear probing. A key is 64 bits
 * of a keyed hash, so that nobody can aim at another's cell or at one part.
 *
 * The rate is GCRA in time: `free_at` is when the address has the whole burst again, and each connection moves it on by
 * period / number. The burst is the number itself: 10/min is ten at once, then one each six seconds.
 *
 * Invariant: a cell with connections is never forgotten, so what entered counted is found when it leaves.
 */
#include "crowd.h"

#include <pthread.h>
#include <string.h>
#include "exposition.h"
#include "lib/check.h"
#include "lib/mem.h"

enum { PARTS = 64, PART_BITS = 6, SIZE_MIN = 16, LOOK_AT = 16 };

struct cell {
    uint64_t key;                    /* 0: empty */
    uint64_t free_at;
    uint32_t open;
};

struct part {
    pthread_mutex_t lock;
    struct cell *cells;
    size_t size, used;               /* size: 0, or a power of two */
    size_t hand;                     /* where the next one to be forgotten is looked for */
    uint64_t forgotten, uncounted;
};

struct crowd {
    struct hash_key secret;
    size_t size_max;                 /* of a part */
    struct part *parts;
};

struct crowd *crowd_new(const struct hash_key *secret, size_t most)
{
    struct crowd *c = mem_zalloc(sizeof *c);
    c->secret = *secret;
    c->size_max = SIZE_MIN;
    while (c->size_max * PARTS * 3 / 4 < most)
        c->size_max *= 2;
    c->parts = mem_array(PARTS, sizeof *c->parts);
    for (int i = 0; i < PARTS; i++)
        check(pthread_mutex_init(&c->parts[i].lock, NULL) == 0);
    return c;
}

void crowd_free(struct crowd **crowd)
{
    struct crowd *c = *crowd;
    *crowd = NULL;
    if (!c)
        return;
    for (int i = 0; i < PARTS; i++) {
        struct part *p = &c->parts[i];
        for (size_t at = 0; at < p->size; at++)
            check(p->cells[at].open == 0);
        pthread_mutex_destroy(&p->lock);
        mem_free(p->cells);
    }
    mem_free(c->parts);
    mem_free(c);
}

uint64_t crowd_door(const struct crowd *c, const struct address *a)
{
    return hash_str(&c->secret, str_of((const char *)&a->sa, a->len));
}

uint64_t crowd_key(const struct crowd *c, uint64_t door, const struct ip *ip)
{
    char text[1 + 8 + sizeof door] = {(char)ip->family};
    memcpy(text + 1, ip->bytes, ip->family == 6 ? 8 : 4);
    memcpy(text + 9, &door, sizeof door);
    uint64_t key = hash_str(&c->secret, str_of(text, sizeof text));
    return key ? key : 1;
}

/* ---- a part's table; under its lock ---- */

static size_t home(const struct part *p, uint64_t key) { return (size_t)(key >> PART_BITS) & (p->size - 1); }

/* Its place, or the empty one where it would be. */
static size_t place(const struct part *p, uint64_t key)
{
    size_t i = home(p, key);
    while (p->cells[i].key != 0 && p->cells[i].key != key)
        i = (i + 1) & (p->size - 1);
    return i;
}

static struct cell *find(const struct part *p, uint64_t key)
{
    struct cell *cell = p->size ? &p->cells[place(p, key)] : NULL;
    return cell && cell->key ? cell : NULL;
}

/* What stands behind it moves up, so that no look-up ends too early. */
static void take_out(struct part *p, size_t hole)
{
    size_t mask = p->size - 1;
    for (size_t i = (hole + 1) & mask; p->cells[i].key != 0; i = (i + 1) & mask) {
        if (((i - home(p, p->cells[i].key)) & mask) < ((i - hole) & mask))
            continue;                /* it would come to stand before its home */
        p->cells[hole] = p->cells[i];
        hole = i;
    }
    p->cells[hole] = (struct cell){0};
    p->used--;
}

static bool over(const struct cell *cell, uint64_t now) { return cell->open == 0 && cell->free_at <= now; }

/* Another table, without those that are over; of the same size if most were. */
static void renew(struct crowd *c, struct part *p, uint64_t now)
{
    struct part old = *p;
    size_t n = 0, size = SIZE_MIN;
    for (size_t i = 0; i < old.size; i++)
        n += old.cells[i].key != 0 && !over(&old.cells[i], now);
    while (size < c->size_max && size < 2 * (n + 1))
        size *= 2;
    p->size = size;
    p->used = n;
    p->cells = mem_array(size, sizeof *p->cells);
    for (size_t i = 0; i < old.size; i++)
        if (old.cells[i].key != 0 && !over(&old.cells[i], now))
            p->cells[place(p, old.cells[i].key)] = old.cells[i];
    mem_free(old.cells);
}

/* Of a few cells, the one that is free soonest goes. */
static bool forget_one(struct part *p, uint64_t now)
{
    const struct cell *best = NULL;
    for (int i = 0; i < LOOK_AT; i++) {
        const struct cell *cell = &p->cells[p->hand];
        p->hand = (p->hand + 1) & (p->size - 1);
        if (cell->key != 0 && cell->open == 0 && (!best || cell->free_at < best->free_at))
            best = cell;
    }
    if (!best)
        return false;
    p->forgotten += !over(best, now);
    take_out(p, (size_t)(best - p->cells));
    return true;
}

/* A cell of its own for a key that has none; NULL: there is no room. */
static struct cell *add(struct crowd *c, struct part *p, uint64_t key, uint64_t now)
{
    if ((p->used + 1) * 4 > p->size * 3) {
        if (p->size < c->size_max)
            renew(c, p, now);
        else if (!forget_one(p, now))
            return NULL;
    }
    struct cell *cell = &p->cells[place(p, key)];
    cell->key = key;
    p->used++;
    return cell;
}

static bool too_fast(const struct cell *cell, const struct rate *rate, uint64_t now, uint64_t *next, uint64_t *wait)
{
    uint64_t step = rate->period / rate->tokens, from = cell && cell->free_at > now ? cell->free_at : now;
    *next = from + step;
    if (*next <= now + rate->period)
        return false;
    *wait = *next - now - rate->period;
    return true;
}

/* ---- for all ---- */

static struct part *enter_part(struct crowd *c, uint64_t key)
{
    struct part *p = &c->parts[key & (PARTS - 1)];
    pthread_mutex_lock(&p->lock);
    return p;
}

static void leave_part(struct part *p) { pthread_mutex_unlock(&p->lock); }

enum crowd_verdict crowd_enter(struct crowd *c, uint64_t key, const struct per_address_conf *conf, uint64_t now, bool *counted,
                               uint64_t *wait)
{
    enum crowd_verdict verdict = CROWD_IN;
    uint64_t next = 0;
    struct part *p = enter_part(c, key);
    struct cell *cell = find(p, key);
    *counted = false;
    if (cell && conf->connections && cell->open >= conf->connections) {
        verdict = CROWD_FULL;
    } else if (conf->rate.tokens && too_fast(cell, &conf->rate, now, &next, wait)) {
        verdict = CROWD_FAST;
    } else if (cell || (cell = add(c, p, key, now)) != NULL) {
        cell->open++;
        if (next)
            cell->free_at = next;
        *counted = true;
    } else {
        p->uncounted++;
    }
    leave_part(p);
    return verdict;
}

void crowd_leave(struct crowd *c, uint64_t key, uint64_t now)
{
    struct part *p = enter_part(c, key);
    struct cell *cell = find(p, key);
    check(cell && cell->open > 0);
    cell->open--;
    if (over(cell, now))
        take_out(p, (size_t)(cell - p->cells));
    leave_part(p);
}

void crowd_stats(struct crowd *c, struct crowd_stats *stats)
{
    *stats = (struct crowd_stats){0};
    for (int i = 0; i < PARTS; i++) {
        struct part *p = &c->parts[i];
        pthread_mutex_lock(&p->lock);
        stats->cells += p->used;
        stats->forgotten += p->forgotten;
        stats->uncounted += p->uncounted;
        pthread_mutex_unlock(&p->lock);
    }
}

void crowd_metrics(struct crowd *c, struct page *page)
{
    struct crowd_stats stats;
    crowd_stats(c, &stats);
    exposition_head(page, "addresses", "gauge", "Client addresses in the table of per_address.");
    exposition_value(page, "addresses", NULL, 0, stats.cells);
    exposition_head(page, "addresses_forgotten_total", "counter",
                    "Client addresses whose rate was forgotten because that table was full.");
    exposition_value(page, "addresses_forgotten_total", NULL, 0, stats.forgotten);
    exposition_head(page, "addresses_uncounted_total", "counter",
                    "Client connections let in uncounted because that table was full.");
    exposition_value(page, "addresses_uncounted_total", NULL, 0, stats.uncounted);
}
