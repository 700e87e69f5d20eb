/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WATCHDOG_H
#define WATCHDOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "lib/page.h"

/*
 * Looks from the control thread whether the workers' loops turn. A worker that has not taken a message for the limit is
 * said to be stuck, with its stack; when it turns again, that is said too. Nothing is done to it: a process that is no
 * longer well is its supervisor's to end, and the log says where it stood.
 *
 * Control thread, all of it. A stack is taken with SIGUSR2, sent to the worker alone: the workers' threads must not block it.
 */
struct event_base;
struct watchdog;
struct worker;

/* One process has one. `base` NULL: nobody looks but the caller (tests). */
struct watchdog *watchdog_new(struct event_base *);
/* The workers that are looked after, once they have threads. Both arrays outlive watchdog_free(). */
void watchdog_begin(struct watchdog *, struct worker *, const pthread_t *, unsigned n);
/* After how many ns a worker is stuck; 0: nobody asks, but lag is measured. Takes effect with the next look. */
void watchdog_set(struct watchdog *, uint64_t limit);
/* Nobody is looked after any more: to be called before the workers' threads end. */
void watchdog_end(struct watchdog *);
/* When all workers are gone, with their mail; NULL is legal. */
void watchdog_free(struct watchdog **);

/* Looks once. Returns ns until it wants to look again. */
uint64_t watchdog_look(struct watchdog *, uint64_t now);
/* Each worker's lag and whether it is stuck, as Prometheus text. */
void watchdog_metrics(const struct watchdog *, uint64_t now, struct page *);

#endif
