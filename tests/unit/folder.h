/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOLDER_H
#define FOLDER_H

/* A folder of the test's own, and short ways to do in it what editors and containers do. Paths count from the folder. */
#include "test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static inline const char *in_folder(const char *path)
{
    static char full[8][512];
    static unsigned next;
    char *out = full[next++ % 8];
    snprintf(out, sizeof full[0], "%s%s%s", folder, *path ? "/" : "", path);
    return out;
}

static inline void folder_make(void)
{
    snprintf(folder, sizeof folder, "/tmp/weir_test_XXXXXX");
    if (!mkdtemp(folder))
        abort();
}

static inline void folder_drop(void)
{
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", folder);
    EXPECT_EQ(system(cmd), 0);
}

static inline void file_write(const char *path, const char *text)
{
    int fd = open(in_folder(path), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    EXPECT(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static inline void folder_add(const char *path) { EXPECT_EQ(mkdir(in_folder(path), 0755), 0); }
static inline void link_to(const char *target, const char *path) { EXPECT_EQ(symlink(target, in_folder(path)), 0); }
static inline void move(const char *from, const char *to) { EXPECT_EQ(rename(in_folder(from), in_folder(to)), 0); }
static inline void gone(const char *path) { EXPECT_EQ(remove(in_folder(path)), 0); }

#endif
