/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MEMORY_H
#define MEMORY_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/page.h"
#include "relief.h"

/*
 * Looks, from the control thread, at how much memory the process has of what it may have, and tells the workers when it is too
 * much. What they do then is relief.h's.
 */
struct event_base;
struct memory;
struct worker;

#define MEMORY_AUTO UINT64_MAX

/* `base` NULL: nobody looks but the caller (tests). Control thread, all of it. */
struct memory *memory_new(struct event_base *);
/* The workers that are told, once they have threads; they outlive memory_free(). */
void memory_begin(struct memory *, struct worker *, unsigned n);
/* The bound, in bytes; MEMORY_AUTO: that of the control group; 0: none. */
void memory_set(struct memory *, uint64_t limit);
/* Nobody is told any more: before the workers' threads end. */
void memory_end(struct memory *);
/* When all workers are gone, with their mail; NULL is legal. */
void memory_free(struct memory **);
/* What the process has, in bytes. When all workers have given back what they were told to, that goes to the system first. */
uint64_t memory_used(struct memory *);
/* One look at `used` bytes: changes the stage, tells the workers. */
void memory_look(struct memory *, uint64_t used, uint64_t now);
/* When to look again, from the last look. Sooner when it may come to something: what comes between two looks is not bounded. */
uint64_t memory_next_ns(const struct memory *);
/* Limit, use and stage, as Prometheus text. */
void memory_metrics(const struct memory *, struct page *);

/* The stage that follows `stage` with so much in use: up as far as it takes, down when there is some room below the mark. */
enum memory_stage memory_stage_next(enum memory_stage stage, uint64_t used, uint64_t limit);
/* The least bound of a control group and those above it; 0: there is none. `self`: as /proc/self/cgroup. `root`: as
 * /sys/fs/cgroup. */
uint64_t memory_of_cgroup(const char *root, const char *self);

#endif
