/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONF_WATCH_H
#define CONF_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/clock.h"

/*
 * Tells when a configuration's files hold something else than was read last: the main file, what it includes, and the
 * files of ${file:...}. Directories are watched (inotify), for a file that is saved is often another file by the same name;
 * and all contents are compared every `poll`, for some mounts tell nothing. Control thread; it must not be blocked by a
 * file, so only regular ones are read.
 *
 * A change is told of when the files have been still for 200 ms, or after 2 s though they are not. Told once: what was
 * told of counts as tried, however the reload ends. Files that changed and are as they were again are no change.
 */
struct conf_watch;
struct event_base;
struct sources;

#define CONF_WATCH_STILL (200 * NSEC_PER_MSEC)
#define CONF_WATCH_LATEST (2 * NSEC_PER_SEC)

/* `cause`, for the call only: "/etc/weir/weir.yaml changed". It may call anything here but conf_watch_free(). */
typedef void conf_watch_fn(void *ctx, const char *cause);

struct conf_watch *conf_watch_new(struct event_base *, const struct clock *, conf_watch_fn *, void *ctx);
void conf_watch_free(struct conf_watch **);            /* NULL is legal */

/*
 * Before a configuration is read for whatever reason: what the files hold now counts as tried.
 */
void conf_watch_reading(struct conf_watch *);

/*
 * After it was read: `sources` says from what, and holds the digests of what was read. Copied. Looks whether they changed
 * since. Warns of a main or included file that is a mount of its own (mounts.h), once a file.
 */
void conf_watch_loaded(struct conf_watch *, const struct sources *);

/* After conf_watch_loaded(), when this process became another user: that it may not read a file any more is no change of it. */
void conf_watch_dropped(struct conf_watch *);

/* After it could not be read: `sources` says from what, as far as is known; NULL: the files are the same ones as before. What
 * conf_watch_reading() saw counts as tried, of files that were not known then what is in `sources`. */
void conf_watch_failed(struct conf_watch *, const struct sources *);

/* `on` false: nothing is watched. `poll`: ns; 0: never compared without a sign. At first: off. */
void conf_watch_set(struct conf_watch *, bool on, uint64_t poll);

/* Does what is due by the clock. The event base calls it by itself; for tests with a manual clock. */
void conf_watch_run(struct conf_watch *);

#endif
