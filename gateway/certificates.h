/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CERTIFICATES_H
#define CERTIFICATES_H

#include <stdbool.h>
#include <stdint.h>
#include "conf/snapshot.h"
#include "lib/page.h"

/*
 * The certificates in force, those of listeners and upstreams' own: when they end, for the log and the metrics. Control thread.
 */
struct certificates;
struct event_base;

/* Looks once a day at what *running is then (NULL: nothing), and warns of those that end soon. */
struct certificates *certificates_new(struct event_base *, struct snapshot *const *running);
void certificates_free(struct certificates **);        /* NULL is legal */

/* A line for each that ends within 7 days of `now` (wall, s), or has ended. */
void certificates_ending(const struct snapshot *, uint64_t now, struct page *);
/* A line for each that `before` (NULL: nothing) does not show from the same file: whose it is, its serial number and its end. In
 * 20 lines at most: the rest is counted. */
void certificates_renewed(const struct snapshot *before, const struct snapshot *after, struct page *);
/* [{"file", "subject", "serial", "expires"}] */
void certificates_json(const struct snapshot *, struct page *);
/* Both are shown from the same file; is it the same certificate? */
bool certificate_same(const struct tls_shown *, const struct tls_shown *);
/* And when the lists of revoked certificates end. */
void certificates_metrics(const struct snapshot *, struct page *);

#endif
