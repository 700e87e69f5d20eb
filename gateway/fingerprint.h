/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FINGERPRINT_H
#define FINGERPRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/arena.h"

/*
 * What a configuration's files hold, as a list of paths and digests: two that differ mean that a reload would read
 * something else. The files are those that were read, and those that the patterns of its `include` find now. Control thread.
 */
struct sources;

#define FINGERPRINT_BYTES ((size_t)64 << 20)   /* read in all; of files behind that their first byte counts */

struct print {
    const char *path;
    uint64_t digest;                 /* conf/digest.h */
};

struct fingerprint {
    struct arena arena;
    struct print *v;                 /* sorted by path, each once */
    size_t n;
};

/* Reads all of them. Starts as {0}, or what it held is given back. */
void fingerprint_take(struct fingerprint *, const struct sources *);
/* As the loader read them; the patterns are not asked, and digests that it did not give are read. */
void fingerprint_loaded(struct fingerprint *, const struct sources *);
void fingerprint_move(struct fingerprint *to, struct fingerprint *from);       /* leaves {0} */
void fingerprint_fini(struct fingerprint *);                                   /* {0} is legal */

/* After the user changed: of files that this one has no permission to read, that is what counts from now on. */
void fingerprint_denied(struct fingerprint *);

uint64_t fingerprint_of(const struct fingerprint *, const char *path);          /* DIGEST_UNKNOWN: it is not among them */
/* A file that is in one of them only is the same as one that is absent in that. */
bool fingerprint_same(const struct fingerprint *, const struct fingerprint *);
/* What is different, to be put behind "because": "/etc/weir/weir.yaml changed", "3 files changed, /etc/weir/a.yaml among
 * them". */
void fingerprint_say(const struct fingerprint *before, const struct fingerprint *after, char *out, size_t cap);

#endif
