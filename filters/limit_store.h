/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIMIT_STORE_H
#define LIMIT_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include "filters/limit_algo.h"

/*
 * The cells of many keys under one rule, shared by all workers: a table that holds a bounded number of keys in a
 * bounded memory, and forgets a key only when its bucket is full again, which is the same as never having seen it.
 * When it must forget one that is in debt, it counts it.
 *
 * A key is its hash: 64 bits of a keyed hash (lib/hash.h), so that nobody can aim at another's cell. Memory: 16 bytes
 * a slot, 4/3 of a slot for each of max_keys, taken as keys come (in steps of two) and then kept.
 *
 * Deciding is lock-free for a key that has a cell. A new key, growth and giving back take a lock over a small part of
 * the table. All times are monotonic ns, all amounts LIMIT_UNITs.
 */
struct limit_store;

/* Is there address space for a table of max_keys? limit_store_new() ends the process where there is none. */
bool limit_store_fits(uint64_t max_keys);
/* max_keys: 1 to 2^40. Control thread. */
struct limit_store *limit_store_new(uint64_t max_keys, const struct limit_rule *);
void limit_store_free(struct limit_store *);                 /* NULL is legal; nobody uses it any more */
uint64_t limit_store_max_keys(const struct limit_store *);

/* The rule in force, and another from now on (limit_rule_change() makes it from the old one). A decision made by the
 * rule of a moment ago counts as made before the change. Read: any thread. Set: control thread. */
void limit_store_rule(const struct limit_store *, struct limit_rule *);
void limit_store_set_rule(struct limit_store *, const struct limit_rule *);

/* Any thread, all of these.
 * May `cost` pass now, or within max_wait ns? Charges the key if so: exactly one of two workers gets the last token. */
struct limit_result limit_store_take(struct limit_store *, uint64_t key, uint64_t cost, uint64_t max_wait,
                                     uint64_t now);
/* The same answer for max_wait 0, charging nothing, making no cell. */
struct limit_result limit_store_peek(const struct limit_store *, uint64_t key, uint64_t cost, uint64_t now);
/* Takes back a charge for what did not happen (limit_refund()); `from` is of the result that charged it. At the time
 * of the charge all of it comes back; later less, or nothing: what the clock may have repaid since, and all of it
 * while somebody may be waiting for the time he was told. A key that was forgotten gets nothing: it owes nothing. */
void limit_store_refund(struct limit_store *, uint64_t key, uint64_t cost, struct limit_mark from, uint64_t now);
/* Replaces a charged estimate by what it really cost (limit_settle()): too much comes back as a refund would, too
 * little is charged in any case, also to a key that was forgotten. */
void limit_store_settle(struct limit_store *, uint64_t key, uint64_t estimated, uint64_t actual, struct limit_mark from,
                        uint64_t now);

struct limit_store_stats {
    uint64_t slots_max;              /* at the bound */
    uint64_t slots;                  /* there are now */
    uint64_t used;                   /* of them hold a key, also one whose bucket is full again */
    uint64_t bytes;                  /* of memory, all told */
    uint64_t evicted_in_debt;        /* keys forgotten while they owed something */
};
void limit_store_stats(const struct limit_store *, struct limit_store_stats *);

struct limit_store_owing {
    uint64_t owe, over;              /* keys whose bucket is not full; of them those that owe more than was asked for */
    bool all;                        /* of the whole table; false: it is large, and only a part was looked through */
};
/* How many keys owe more than `most` at `now`. Looks through the table: not for every request. */
void limit_store_owing(const struct limit_store *, uint64_t most, uint64_t now, struct limit_store_owing *);

#endif
