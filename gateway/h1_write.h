/* SPDX-License-Identifier: Apache-2.0 */
#ifndef H1_WRITE_H
#define H1_WRITE_H

#include "http/headers.h"
#include "stream.h"

/*
 * What both HTTP/1.1 codecs write. Fields that came over HTTP/1.1 and were not dropped go as runs of the bytes that came.
 * The owning worker only.
 */

/* All fields that are not dropped, then the added ones; no empty line. `from` is the first byte of the head's own bytes to
 * be sent in front of its first field (a start line that goes on as it is), or NULL. */
void h1_put_fields(struct stream *, const struct http_head *, const char *from);
/* The empty line behind them: the head's own if it can be, so that it and the body behind it stay one run. */
void h1_put_end(struct stream *, const struct http_head *);
void h1_put_field(struct stream *, struct str name, struct str value);
/* A chunk of the chunked coding around `data`; nothing for an empty one. */
void h1_put_chunk(struct stream *, struct str data);
/* The last chunk and the trailer section; trailers may be NULL. */
void h1_put_last_chunk(struct stream *, const struct http_head *trailers);

/* Drops what may not stand in a trailer section that is sent on. */
void h1_filter_trailers(struct http_head *);

#define PUT_LIT(s, lit) stream_put((s), "" lit, sizeof(lit) - 1)

#endif
