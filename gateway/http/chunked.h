/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CHUNKED_H
#define CHUNKED_H

#include <stddef.h>
#include <stdint.h>
#include "http/parse.h"
#include "lib/str.h"

/*
 * The chunked transfer coding (RFC 9112 7.1), strictly: hex digits, an optional extension that is checked and dropped,
 * CRLF and nothing else. Resumable at any byte; no allocation. The trailer section behind the last chunk is left to
 * http_parse(PARSE_TRAILERS).
 */
enum chunked_event {
    CHUNKED_MORE,            /* all was consumed, nothing to hand on */
    CHUNKED_DATA,            /* *data is payload */
    CHUNKED_LAST,            /* the last chunk's line was read: the trailer section begins at the next byte */
    CHUNKED_BAD,             /* fault says why */
};

struct chunked {
    uint64_t left;           /* of this chunk's payload */
    uint32_t ext;            /* extension bytes so far, of the whole body: capped */
    uint8_t state;
    uint8_t digits;
    uint8_t fault;           /* enum http_fault */
};

#define CHUNKED_EXT_MAX 4096         /* bytes of extensions in a body */
#define CHUNKED_DIGITS_MAX 64        /* of one size, leading zeros included */
#define CHUNKED_HEAD_MAX 20          /* bytes that chunked_head() writes at most */

void chunked_init(struct chunked *);
/* Reads from `at`; *used bytes are done with (payload included); goes on where it stopped at the next call. Payload is
 * handed on as it lies there, so one chunk may come in several slices. Not to be called again after LAST or BAD. */
enum chunked_event chunked_decode(struct chunked *, const char *at, size_t len, size_t *used, struct str *data);

/* "1a2b\r\n" of a chunk of `len` > 0 bytes; returns its length. The payload and "\r\n" follow. */
size_t chunked_head(char out[CHUNKED_HEAD_MAX], uint64_t len);

#endif
