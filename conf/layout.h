/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAYOUT_H
#define LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include "conf/source.h"
#include "lib/arena.h"
#include "lib/check.h"
#include "lib/str.h"

/*
 * Where each line of a YAML file stands and where it belongs: two columns a level, lists in mappings one level in. Any
 * thread.
 */
struct diags;

enum line_kind {
    LINE_BLANK,
    LINE_COMMENT,                    /* nothing but a comment */
    LINE_ENTRY,                      /* begins a key, an item of a list, or a value below its key */
    LINE_MORE,                       /* goes on with what a line before it began: [], {}, or a text over several lines */
    LINE_TEXT,                       /* of a text behind | or > */
};

struct layout_line {
    struct str text;                 /* without the line's end */
    enum line_kind kind;
    unsigned col;                    /* blanks at its beginning */
    unsigned to;                     /* how many there are to be. Of LINE_TEXT: behind the `col` first ones */
    unsigned dashes;                 /* of LINE_ENTRY: items of lists that begin here, one in the other */
    unsigned code;                   /* bytes of `text` before what can be a comment */
    bool within;                     /* begins within a text: a blank line counts */
    bool open;                       /* ends within a text */
};

struct layout {
    struct layout_line *v;
    size_t n;
};

/*
 * Of a source, whose text must be UTF-8 with lines ended by LF alone, the last one too. Tabs that separate become blanks in
 * `text`, which is the same memory. Lines live in the arena. 0, or -1 and the list says why it is no YAML.
 */
int layout_find(struct layout *, struct arena *, const struct source *, char *text, struct diags *) must_check;

#endif
