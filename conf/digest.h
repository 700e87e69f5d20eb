/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DIGEST_H
#define DIGEST_H

#include <stddef.h>
#include <stdint.h>
#include "lib/str.h"

/*
 * A number that stands for a file's content, to see whether it changed. Not for proving anything to anybody: whoever
 * may write the file may also reload. Any thread.
 */
#define DIGEST_UNKNOWN 0             /* never of a text, nor of a file */

uint64_t digest_text(struct str);

/*
 * Of a file: the same as digest_text() of its content. At most *left bytes and one more are read, and taken off *left; of
 * a longer file it is the digest of so much. What cannot be read has a digest of its own by the reason: absent, not a
 * regular file, no permission. Never waits for a fifo or a device, and opens none.
 */
uint64_t digest_file(const char *path, size_t *left);
uint64_t digest_absent(void);        /* of a file that is not there */

#endif
