/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DIAG_H
#define DIAG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include "conf/source.h"
#include "lib/arena.h"
#include "lib/check.h"
#include "lib/page.h"

/*
 * What is wrong with a configuration: all of it, each with a stable code, its place, and the line quoted. Control thread.
 */
#define DIAG_WARNING 1000

enum diag_code {
    CODE_none,
#define ERROR(number, name, meaning, remedy) CODE_##name = (number),
#define WARNING(number, name, meaning, remedy) CODE_##name = DIAG_WARNING + (number),
#include "conf/codes.def"
#undef ERROR
#undef WARNING
};

/* What a code means, for the manual: one sentence each. */
struct diag_meaning {
    enum diag_code code;             /* CODE_none ends the table */
    const char *name, *meaning, *remedy;
};
extern const struct diag_meaning diag_meanings[];

struct diag_code_text { char text[8]; };
struct diag_code_text diag_code_text(enum diag_code);        /* "E012", "W001" */
const struct diag_meaning *diag_code_find(struct str);       /* of "E012" or "e12"; NULL: there is none */

/* One error or warning. Strings live as long as the list. */
struct diag {
    enum diag_code code;
    bool warning;
    unsigned order;                  /* of the file, as the files were read */
    const char *file;                /* "" when there is no place */
    unsigned line, col, width;       /* 1-based, in characters; line 0: the file as a whole */
    const char *text;                /* what is wrong, and what was expected */
    const char *quote, *caret;       /* the line, or the part of it around the place; what stands below. NULL: none */
};

/*
 * Starts as {0}. Sorted: by file in the order of diags_file(), then line and column; what has no place comes last. At most
 * DIAGS_MAX errors and as many warnings are kept; the rest is only counted. One that says the same of the same place again is
 * dropped.
 */
#define DIAGS_MAX 100

struct diags {
    struct arena arena;
    struct diag *v[2 * DIAGS_MAX];
    size_t n;
    size_t errors, warnings;         /* kept or not */
    struct diag_file { const char *name; struct diag_file *next; } *files;
    struct { const struct source *source; size_t offset; unsigned line; } seek;     /* where the last quoted line was */
};

void diags_fini(struct diags *);                             /* frees; it is {0} again */
/* Says that a file is read now: its errors come behind those of files before it. */
void diags_file(struct diags *, const char *name);
/* Nothing more will be kept, so that costly advice need not be worked out. */
static inline bool diags_full(const struct diags *d) { return d->errors >= DIAGS_MAX; }

/* Was something with that code said of this place? Then it is seen again through an alias, and need not be looked into. */
bool diags_has(const struct diags *, const struct place *, enum diag_code);

/* `place` NULL: none. Always returns -1. */
int diag_error(struct diags *, const struct place *, enum diag_code, const char *fmt, ...) printf_like(4, 5);
void diag_warn(struct diags *, const struct place *, enum diag_code, const char *fmt, ...) printf_like(4, 5);
/* The code says which of the two it is. */
void diag_add(struct diags *, const struct place *, enum diag_code, const char *fmt, va_list);

/*
 *   weir.yaml:12:9: error E012: unknown key "burts"; did you mean "burst"?
 *      12 |         burts: 50
 *         |         ^~~~~
 * for each, and at the end "and N more errors" when some were not kept.
 */
void diags_print(const struct diags *, struct page *);
void diags_print_kind(const struct diags *, bool warnings, struct page *);       /* the warnings alone, or the errors */
/* A JSON array: {"code", "severity", "file", "line", "column", "width", "text", "source"} each, without those that are not
 * known; {"more": N} at the end when some were not kept. */
void diags_json(const struct diags *, struct page *);
/* For a list that somebody gets to see who may not read every file: of what is wrong in files that `may_see` does not know,
 * place and code stay, and no content is told. */
void diags_withhold(struct diags *, bool (*may_see)(void *ctx, const char *file), void *ctx);
/* "2 errors, 1 warning"; "" when there are none. */
struct diags_count { char text[64]; };
struct diags_count diags_count(const struct diags *);

#endif
