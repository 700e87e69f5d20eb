/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_H
#define SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/arena.h"
#include "lib/check.h"
#include "lib/str.h"

/*
 * The files that a configuration is made of: one as it was read, which nodes and errors point to, and the list of all,
 * which whoever watches for changes goes through. Control thread.
 */
struct source {
    const char *name;                /* as errors call it: the path as it was written, or as it follows from it */
    struct str text;                 /* all of it, without a byte order mark */
};

/* A place in one: what an error points to. */
struct place {
    const struct source *source;
    unsigned line, col;              /* 1-based, col in characters; line 0: the file as a whole */
    unsigned width;                  /* characters; 0 is taken for 1 */
};

/* The text of a line (1 is the first) without its end; absent when there is none such. */
struct str source_line(const struct source *, unsigned line);

enum source_fault {
    SOURCE_FINE,
    SOURCE_UNREADABLE,               /* cannot be opened or read, or is no regular file */
    SOURCE_TOO_LONG,
    SOURCE_NOT_TEXT,                 /* no UTF-8, or a character that may not stand in a configuration */
};
struct source_why {
    char text[320];                  /* what is wrong, without the file's name: "cannot open it: Permission denied" */
    unsigned line, col;              /* of SOURCE_NOT_TEXT */
};

struct source_bytes {
    struct str text;
    uint64_t device, inode;          /* which file it was, whatever the path to it */
    uint64_t digest;                 /* conf/digest.h: for source_file, so that a change since is seen */
};

/* Reads a regular file of at most `max` bytes into the arena. Never waits for anyone: what is no regular file is not
 * even opened. A file that is written to meanwhile is refused, for what was read of it may be neither the old nor the new. */
enum source_fault source_read(struct arena *, const char *path, size_t max, struct source_bytes *,
                              struct source_why *) must_check;

/* Is it text that every reader of YAML sees alike? UTF-8 without control characters but tab and line ends (LF, CR LF).
 * `text` is set behind a byte order mark. */
enum source_fault source_check(struct str *text, struct source_why *) must_check;

/* ---- the list ---- */

enum source_kind { SOURCE_MAIN, SOURCE_INCLUDE, SOURCE_SECRET, SOURCE_TLS };
struct source_file {
    const char *path;                /* absolute; links are not followed in it */
    enum source_kind kind;
    uint64_t hash;                   /* of the path */
    uint64_t digest;                 /* conf/digest.h, of the bytes that were read; 0: not known */
    struct str secret;               /* what a SOURCE_SECRET holds, once it was read */
};
struct sources {
    struct source_file *v;           /* in the order of reading, each path once; also those that could not be read */
    size_t n;
    const char **globs;              /* absolute patterns, for conf/pattern.h */
    size_t n_globs;
    bool sealed;                     /* no file is opened and no variable looked up: for text from who knows where */
    struct arena *arena;
    size_t cap, cap_globs;
};
#define SOURCES_MAX 2000             /* files, and as many globs; further ones are not kept */

void sources_init(struct sources *, struct arena *);
/* The file's place in the list, where it stands from now on; NULL: the list is full. */
struct source_file *sources_add(struct sources *, const char *path, enum source_kind) must_check;
/* Is it one of the configuration's own files, and none of secrets? */
bool sources_has(const struct sources *, const char *path);
bool sources_add_glob(struct sources *, const char *pattern) must_check;       /* false: it is full */

#endif
