/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ERR_H
#define ERR_H

#include "check.h"

/*
 * Why loading or starting failed, for a person to read: what is wrong, where, and what to do. Functions that take one
 * return 0, or -1 with it filled in. The first error stands; later ones are dropped. It starts as {0}.
 */
struct err {
    char text[480];
    char file[160];        /* "" when there is no place */
    unsigned line, col;    /* 1-based; 0 when there is none */
};

/* Always returns -1, so that `return err_set(...)` reads well. */
int err_set(struct err *, const char *fmt, ...) printf_like(2, 3);
int err_set_at(struct err *, const char *file, unsigned line, unsigned col, const char *fmt, ...) printf_like(5, 6);

/* "file:line:col: text" into `out`, always terminated; returns `out`. */
const char *err_format(const struct err *, char *out, size_t cap);

#endif
