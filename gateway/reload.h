/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RELOAD_H
#define RELOAD_H

#include <stdbool.h>
#include <stdint.h>
#include "conf/diag.h"
#include "lib/page.h"

/*
 * Reloads: asked for by a signal, the admin listener or the watch of the file; one at a time. A reload that fails changes
 * nothing and says why. Control thread.
 */
struct control;
struct reload;
struct snapshot;
struct access_log;
struct admin;

enum reload_result { RELOAD_OK, RELOAD_FAILED, RELOAD_REFUSED, RELOAD_RESULTS };
const char *reload_result_name(enum reload_result);          /* "ok", "failed", "refused" */

/* How it ended; all workers have the configuration then. The diagnostics hold errors, if it is not ok, and warnings in any case;
 * the summary is a JSON object: result, cause, generation, took_ms, changes by kind, and errors and warnings. For the call. */
typedef void reload_done(void *ctx, bool ok, const struct diags *, struct page *summary);

/* The file is read and put in force: soon, from the loop, never from within this. A reload that is under way ends first; who asks
 * meanwhile shares the one after it. While weir starts it waits, while it drains it is refused. `cause`: a word or two for the
 * log, copied. `done` may be NULL. */
void control_reload(struct control *, const char *cause, reload_done *done, void *ctx);

/* ---- for control.c and change.c ---- */

struct reload *reload_new(struct control *);
void reload_free(struct reload **);                          /* the workers have ended. Whoever still waits is told */
void reload_phase(struct reload *);                          /* the control's phase has changed */
/* From now on it is the process's past: freed, or closed, as soon as nobody needs it any more. */
void reload_retire(struct reload *, struct snapshot *);
void reload_retire_log(struct reload *, struct access_log *);
void reload_retire_admin(struct reload *, struct admin *);
uint64_t reload_log_dropped(const struct reload *);          /* by logs that were replaced */
uint64_t reload_loaded(const struct reload *);               /* when what is in force was loaded, wall, ns */
void reload_metrics(const struct reload *, struct page *);

#endif
