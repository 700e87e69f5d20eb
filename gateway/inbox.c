/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes kept between reads. A half-parsed message stands at their front, and its parser's state beside them, for it holds
 * offsets from there: whoever keeps bytes keeps from the start of that message.
 *
 * How much is read at once. What the other side of a body does not take at once waits here, in memory of ours; what is not read
 * waits in the kernel, which slows its sender down. Of 8,000 that take slowly each would hold what one read brought too much. So
 * once a scratch buffer full has gone, the other side's kernel is asked how much more it has room for, and no more is read than
 * that, or INBOX_LEAST. Answers and requests of up to 64 KiB never ask; a fast taker has room for many reads.
 */
#include "inbox.h"

#include <string.h>
#include "lib/check.h"
#include "lib/mem.h"
#include "worker.h"

enum { REST_MIN = 2048, READ_MIN = 1024 };

struct str inbox_bytes(const struct inbox *b)
{
    return b->rest ? str_of(b->rest->bytes + b->rest->pos, b->rest->len - b->rest->pos) : str_of("", 0);
}

static void rest_reserve(struct inbox *b, size_t room)
{
    struct inbox_rest *r = b->rest;
    size_t used = r ? r->len : 0;
    if (r && r->cap - r->len >= room)
        return;
    size_t cap = used + room < REST_MIN ? REST_MIN : (used + room) * 2;
    struct inbox_rest *more = mem_realloc(r, sizeof *more + cap);
    if (!r) {
        more->parsing = false;
        more->pos = more->len = 0;
    }
    more->cap = cap;
    b->rest = more;
}

static size_t most(const struct stream *s)
{
    return s->room < INBOX_LEAST ? INBOX_LEAST : s->room < WORKER_SCRATCH ? s->room : WORKER_SCRATCH;
}

enum io inbox_read(struct inbox *b, struct stream *s, struct str *bytes)
{
    size_t n = 0;
    if (!b->rest) {
        enum io io = stream_read(s, s->worker->scratch, most(s), &n);
        s->room -= n < s->room ? (uint32_t)n : s->room;
        *bytes = str_of(s->worker->scratch, n);
        return io;
    }
    worker_flush(s->worker);         /* what is gathered may be of bytes that move */
    rest_reserve(b, READ_MIN);
    struct inbox_rest *r = b->rest;
    enum io io = stream_read(s, r->bytes + r->len, r->cap - r->len, &n);
    r->len += n;
    *bytes = inbox_bytes(b);
    return io;
}

void inbox_keep_rest(struct inbox *b, struct stream *s, struct str bytes, size_t used)
{
    struct inbox_rest *r = b->rest;
    check(used <= bytes.len);
    if (r)
        worker_flush(s->worker);
    if (used == bytes.len) {
        inbox_clear(b, s);
    } else if (r && bytes.at == r->bytes + r->pos) {
        memmove(r->bytes, r->bytes + r->pos + used, bytes.len - used);
        r->len = bytes.len - used;
        r->pos = 0;
    } else {
        check(!r || r->len == r->pos);
        rest_reserve(b, bytes.len - used);
        r = b->rest;
        r->pos = 0;
        r->len = bytes.len - used;
        memcpy(r->bytes, bytes.at + used, r->len);
    }
}

void inbox_clear(struct inbox *b, struct stream *s)
{
    if (!b->rest)
        return;
    worker_flush(s->worker);
    mem_free(b->rest);
    b->rest = NULL;
}

enum parse inbox_parse(struct inbox *b, enum parse_kind kind, struct str bytes, struct http_parser *fresh,
                       struct http_parser **parser)
{
    struct inbox_rest *r = b->rest;
    struct http_parser *p = fresh;
    if (r && r->parsing)
        p = &r->parser;
    else
        http_parser_init(p, kind, &http_limits_default);
    enum parse res = http_parse(p, bytes.at, bytes.len);
    *parser = p;
    if (res != PARSE_MORE && r)
        r->parsing = false;
    if (res == PARSE_MORE && p == fresh) {
        rest_reserve(b, 0);          /* a place for the parser; inbox_keep() brings the bytes */
        memcpy(&b->rest->parser, fresh, sizeof *fresh);
        b->rest->parsing = true;
    }
    return res;
}
