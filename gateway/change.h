/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CHANGE_H
#define CHANGE_H

#include "conf/snapshot.h"
#include "lib/check.h"

/*
 * Putting a configuration in force, at the start and at every reload: first what can fail, which changes nothing that runs,
 * then what cannot. Control thread.
 */
struct access_log;
struct admin;
struct control;
struct diags;
struct name_known;

struct change {
    struct control *control;
    struct snapshot *snap;           /* one reference */
    int *sockets;                    /* of listeners that are new: by worker, then by listener; -1: not new */
    bool admin_new, probes_new, log_new;
    struct admin *admin, *probes;    /* of those that are new; NULL: there is to be none */
    struct access_log *log;
    struct name_known *known;        /* for the workers: as of the commit */
    unsigned awaited;                /* workers that have not changed yet */
    void (*done)(struct control *);
};

/* What may fail: sockets of new listeners, the admin listeners, the log's file. -1: all of it is undone. Takes the caller's
 * reference of the snapshot in either case. */
int change_prepare(struct change *, struct control *, struct snapshot *, struct diags *) must_check;
/* It is not to be after all. Addresses that were made are unmade. */
void change_undo(struct change *);
/* Cannot fail: limits change at once, each worker changes in one turn. `done` (may be NULL) when all of them have, from the loop;
 * of workers that have no thread yet, at once. The control's parts follow then. The change stays where it is until then. */
void change_commit(struct change *, void (*done)(struct control *));

#endif
