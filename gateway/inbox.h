/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INBOX_H
#define INBOX_H

#include "http/parse.h"
#include "stream.h"

/*
 * What a connection has read and not used yet. Most reads are used up where they land, in the worker's scratch buffer; only
 * a head in pieces, a paused body or a pipelined request is kept, and only then is there memory. Bytes kept here may be
 * gathered for writing: whatever moves or frees them writes first. The owning worker only.
 */
struct inbox {
    struct inbox_rest *rest;         /* NULL: nothing kept */
};

struct inbox_rest {
    bool parsing;                    /* `parser` is in the middle of the bytes */
    size_t pos, len, cap;            /* bytes[pos .. len) are unused */
    struct http_parser parser;
    char bytes[];
};

/* The least that is read at once, when the other side has no room that we know of. */
enum { INBOX_LEAST = 8 * 1024 };

/* A message begins: so much is read before anybody asks for room. */
static inline void inbox_begin(struct stream *s) { s->room = WORKER_SCRATCH; }
/* So much will go on at once. To be said before a read when s->room is used up (0). */
static inline void inbox_room(struct stream *s, size_t room) { s->room = room < UINT32_MAX ? (uint32_t)room : UINT32_MAX; }

/* The unused bytes: what was kept. len 0: nothing. */
struct str inbox_bytes(const struct inbox *);
/* Reads more behind what is kept; on IO_OK *bytes is all there is now, kept ones first. */
enum io inbox_read(struct inbox *, struct stream *, struct str *bytes);
void inbox_keep_rest(struct inbox *, struct stream *, struct str bytes, size_t used);        /* of inbox_keep(): all but nothing */
/* The first `used` of `bytes` (as given by the two above) are done with; the rest is kept. */
static inline void inbox_keep(struct inbox *b, struct stream *s, struct str bytes, size_t used)
{
    if (b->rest || used != bytes.len)
        inbox_keep_rest(b, s, bytes, used);
}
void inbox_clear(struct inbox *, struct stream *);

/* Parses a message at the front of `bytes`, going on where it stopped. On PARSE_OK and PARSE_BAD *parser points to the
 * result, which holds until the next call on this worker's connections: `fresh` is where a first try parses.
 * On PARSE_MORE the caller keeps all of `bytes`. */
enum parse inbox_parse(struct inbox *, enum parse_kind, struct str bytes, struct http_parser *fresh,
                       struct http_parser **parser);

#endif
