/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOUNTS_H
#define MOUNTS_H

#include <stdbool.h>
#include "lib/str.h"

/*
 * Is a file a mount of its own? `docker run -v ./weir.yaml:/etc/weir/weir.yaml` and a Kubernetes `subPath` make such ones.
 * They stand for the file that was there when the container started: one that is saved under its name later, as editors and
 * ConfigMaps do, never comes in. Control thread.
 */
#define MOUNTS_FILE "/proc/self/mountinfo"

/* Its text; the caller frees `at`. Absent when it cannot be read. */
struct str mounts_read(const char *file);

/* `mountinfo`: such a text (proc_pid_mountinfo(5)). `path` may be relative, and have links; false when it leads nowhere. */
bool mounts_is_point(struct str mountinfo, const char *path);

#endif
