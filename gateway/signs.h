/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIGNS_H
#define SIGNS_H

#include <stdbool.h>
#include <stddef.h>
#include "watch_places.h"

/*
 * Signs that an entry of a directory is another one, or was written and closed: inotify on the directories of a set of
 * places. May give none where the kernel is not told (network file systems, some container hosts). Control thread.
 */
struct watched;
struct signs {
    int fd;                          /* readable when there may be one; -1: there are none, error says why */
    int error;                       /* an errno: inotify, or a watch of a directory, is not to be had; 0: all is well */
    struct watch_places places;      /* those that are watched */
    struct watched *dirs;
    size_t n;
};

void signs_open(struct signs *);
void signs_close(struct signs *);

/* Watches these from now on, which it takes, and no others. True: a directory is among them that was not watched before,
 * and what is in it may have changed unseen until now. */
bool signs_watch(struct signs *, struct watch_places *);

/* Takes what came so far; true: there was a sign. Never waits. */
bool signs_read(struct signs *);

#endif
