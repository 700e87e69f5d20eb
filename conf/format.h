/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMAT_H
#define FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include "lib/arena.h"
#include "lib/check.h"
#include "lib/page.h"
#include "lib/str.h"

/*
 * A YAML file in the usual layout: two columns a level, lists in mappings too; no tabs, no blanks at the ends of lines; at
 * most one blank line in a row, none at the beginning and the end; two blanks or more before a comment behind something.
 * Comments stay with what they are about, what stands in [] and {} and in texts over several lines is left as it was
 * written, and so is the space between a key and its value. Any thread.
 */
struct diags;

struct format_change {
    unsigned line;                   /* of the file as it is, 1-based */
    struct str before, after;        /* without their line's ends; `after` absent: the line goes */
};

struct format {
    struct arena arena;
    struct str text;                 /* what the file should be */
    struct format_change *v;         /* lines that are otherwise, in order */
    size_t n;
    bool mark, returns, cut;         /* the file has a byte order mark, lines that end with CR LF, a last line without end */
};

/*
 * Of a file's text; `name` is for errors. The result means the same: both were read and compared. -1: the list says why it
 * cannot be; nothing to free then. Doing it again changes nothing.
 */
int format_make(struct format *, struct str text, const char *name, struct diags *) must_check;
void format_fini(struct format *);

/* The file has to be changed. */
bool format_differs(const struct format *);
/* What is to be changed, as lines with their numbers, `most` of them:
 *    12 -     burst: 5
 *    12 +       burst: 5 */
void format_print(const struct format *, size_t most, struct page *);

#endif
