/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mount points, from /proc/self/mountinfo: of each line the fifth field, with blanks and backslashes written as \ooo. What
 * cannot be read or understood is no mount point: this serves a warning, nothing depends on it.
 */
#include "mounts.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>
#include "lib/mem.h"

enum { POINT_FIELD = 5, TEXT_MAX = 4 * 1024 * 1024, READ_SIZE = 64 * 1024 };

static struct str field_of(struct str line, unsigned number)
{
    for (unsigned i = 1;; i++) {
        const char *end = line.len ? memchr(line.at, ' ', line.len) : NULL;
        size_t len = end ? (size_t)(end - line.at) : line.len;
        if (i == number)
            return str_of(line.at, len);
        if (!end)
            return str_of(NULL, 0);
        line = str_of(end + 1, line.len - len - 1);
    }
}

static bool is_octal(char c) { return c >= '0' && c <= '7'; }

/* Does the escaped text say `plain`? */
static bool says(struct str escaped, struct str plain)
{
    size_t at = 0, i = 0;
    while (at < escaped.len && i < plain.len) {
        const char *e = escaped.at + at;
        char c = *e;
        size_t used = 1;
        if (c == '\\' && escaped.len - at >= 4 && is_octal(e[1]) && is_octal(e[2]) && is_octal(e[3])) {
            c = (char)((e[1] - '0') << 6 | (e[2] - '0') << 3 | (e[3] - '0'));
            used = 4;
        }
        if (c != plain.at[i])
            return false;
        at += used;
        i++;
    }
    return at == escaped.len && i == plain.len;
}

static bool holds(struct str mountinfo, struct str path)
{
    while (mountinfo.len > 0) {
        const char *end = memchr(mountinfo.at, '\n', mountinfo.len);
        size_t len = end ? (size_t)(end - mountinfo.at) : mountinfo.len;
        struct str point = field_of(str_of(mountinfo.at, len), POINT_FIELD);
        if (point.len > 0 && says(point, path))
            return true;
        size_t used = end ? len + 1 : len;
        mountinfo = str_of(mountinfo.at + used, mountinfo.len - used);
    }
    return false;
}

struct str mounts_read(const char *file)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    char *text = NULL;
    size_t len = 0;
    ssize_t n = 0;
    if (fd < 0)
        return str_of(NULL, 0);
    do {
        len += (size_t)n;
        text = mem_realloc(text, len + READ_SIZE);
        n = read(fd, text + len, READ_SIZE);
    } while (n > 0 && len < TEXT_MAX);
    close(fd);
    return str_of(text, len);
}

bool mounts_is_point(struct str mountinfo, const char *path)
{
    char real[PATH_MAX];
    return realpath(path, real) && holds(mountinfo, str_c(real));
}
