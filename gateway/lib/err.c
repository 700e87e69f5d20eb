/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps the first thing that went wrong: what follows is mostly its consequence. Too long a text ends in "...", so that
 * nobody takes the cut for the end of a sentence.
 */
#include "lib/err.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool is_set(const struct err *e) { return e->text[0] != '\0'; }

static void cut_mark(char *out, size_t cap, int wanted)
{
    if (wanted < 0)
        snprintf(out, cap, "?");
    else if ((size_t)wanted >= cap && cap > 3)
        memcpy(out + cap - 4, "...", 4);
}

static void fill(struct err *e, const char *fmt, va_list ap)
{
    cut_mark(e->text, sizeof(e->text), vsnprintf(e->text, sizeof(e->text), fmt, ap));
}

int err_set(struct err *e, const char *fmt, ...)
{
    if (is_set(e))
        return -1;
    va_list ap;
    va_start(ap, fmt);
    fill(e, fmt, ap);
    va_end(ap);
    return -1;
}

int err_set_at(struct err *e, const char *file, unsigned line, unsigned col, const char *fmt, ...)
{
    if (is_set(e))
        return -1;
    va_list ap;
    va_start(ap, fmt);
    fill(e, fmt, ap);
    va_end(ap);
    cut_mark(e->file, sizeof(e->file), snprintf(e->file, sizeof(e->file), "%s", file ? file : ""));
    e->line = line;
    e->col = col;
    return -1;
}

const char *err_format(const struct err *e, char *out, size_t cap)
{
    int n;
    if (!e->file[0])
        n = snprintf(out, cap, "%s", e->text);
    else if (!e->line)
        n = snprintf(out, cap, "%s: %s", e->file, e->text);
    else if (!e->col)
        n = snprintf(out, cap, "%s:%u: %s", e->file, e->line, e->text);
    else
        n = snprintf(out, cap, "%s:%u:%u: %s", e->file, e->line, e->col, e->text);
    cut_mark(out, cap, n);
    return out;
}
