/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir fmt: the usual layout, for files (conf/format.h says what it is).
 *
 * A file is replaced by rename, so that nobody who reads it meanwhile, a running gateway among them, sees half of it. Links
 * are followed first: what they lead to is replaced, not they. Mode and owner stay; where they cannot, the file stays.
 */
#include "verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "conf/diag.h"
#include "conf/format.h"
#include "conf/source.h"
#include "conf/yaml.h"
#include "control.h"
#include "lib/arena.h"
#include "lib/page.h"

enum { CHANGES_SHOWN = 10 };

static bool cannot(const char *file, const char *what)
{
    fprintf(stderr, "weir fmt: %s: %s: %s\n", file, what, strerror(errno));
    return false;
}

static bool all_written(int fd, struct str text)
{
    while (text.len > 0) {
        ssize_t n = write(fd, text.at, text.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        text = str_of(text.at + n, text.len - (size_t)n);
    }
    return fsync(fd) == 0;
}

/* Beside the file, under a name that no pattern of an `include` matches. */
static bool file_replace(const char *file, struct str text)
{
    char path[PATH_MAX], fresh[PATH_MAX + 16];
    struct stat st;
    if (!realpath(file, path) || stat(path, &st) != 0)
        return cannot(file, "cannot find it");
    char *slash = strrchr(path, '/');
    snprintf(fresh, sizeof fresh, "%.*s/.%s.XXXXXX", (int)(slash - path), path, slash + 1);
    int fd = mkostemp(fresh, O_CLOEXEC);
    if (fd < 0)
        return cannot(file, "cannot write beside it");
    bool kept = fchown(fd, st.st_uid, st.st_gid) == 0 && fchmod(fd, st.st_mode & 07777) == 0;
    bool done = kept && all_written(fd, text) && rename(fresh, path) == 0;
    if (!done) {
        cannot(file, kept ? "cannot replace it" : "cannot keep its owner and mode");
        unlink(fresh);
    }
    close(fd);
    return done;
}

/* False: it could not be read, laid out or written, or is to be different and `look` asks only that. */
static bool format_apply(const char *file, const struct format *f, bool look)
{
    struct page page = {0};
    if (!format_differs(f))
        return true;
    if (!look)
        return file_replace(file, f->text);
    page_printf(&page, "%s: is not in the usual layout\n", file);
    format_print(f, CHANGES_SHOWN, &page);
    fputs(page.at, stdout);
    page_free(&page);
    return false;
}

static bool file_format(const char *file, bool look)
{
    struct arena arena;
    struct source_bytes bytes = {.text = STR("")};
    struct source_why why;
    struct diags diags = {0};
    struct format f;
    bool good = false;
    arena_init(&arena, NULL);
    if (source_read(&arena, file, yaml_limits_default.bytes, &bytes, &why) != SOURCE_FINE) {
        fprintf(stderr, "weir fmt: %s: %s\n", file, why.text);
    } else if (format_make(&f, bytes.text, file, &diags) != 0) {
        struct page page = {0};
        diags_print(&diags, &page);
        fputs(page.at, stderr);
        page_free(&page);
    } else {
        good = format_apply(file, &f, look);
        format_fini(&f);
    }
    diags_fini(&diags);
    arena_fini(&arena);
    return good;
}

int verb_fmt(int argc, char **argv)
{
    bool look = argc > 1 && strcmp(argv[1], "--check") == 0, good = true;
    int first = 1 + look;
    if (argc == first)
        return verbs_misused("fmt", "takes one FILE or more, and --check before them");
    for (int i = first; i < argc; i++)
        if (argv[i][0] == '-')
            return verbs_misused("fmt", "takes no %s; a file of that name is ./%s", argv[i], argv[i]);
    for (int i = first; i < argc; i++)
        good = file_format(argv[i], look) && good;
    return good ? EXIT_FINE : EXIT_CONFIG;
}
