/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_H
#define SOURCE_H

#include "lib/str.h"

/* A file of a configuration as it was read, which values and errors point into. Immutable; lives as long as the values. */
struct source {
    const char *name;                /* the path, as it was given */
    struct str text;                 /* absent: it could not be read */
};

/* A place in one. In characters, as YAML counts them, not in bytes. */
struct place {
    const struct source *source;     /* NULL: nowhere in a file */
    unsigned line, col;              /* 1-based; line 0: the file as a whole */
    unsigned width;                  /* of what is meant, on that line; 0: unknown */
};

#endif
