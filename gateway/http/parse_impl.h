/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PARSE_IMPL_H
#define PARSE_IMPL_H

#include "http/char.h"
#include "http/parse.h"

/* Shared by the files of the head parser only: parse.c (start lines), parse_fields.c, parse_framing.c. */

/* What the parser reads next, at `pos`. Everything from AT_FIELD on is of the field section. */
enum parse_state {
    AT_START, AT_METHOD, AT_TARGET, AT_AUTHORITY, AT_PATH, AT_QUERY, AT_VERSION, AT_STATUS, AT_REASON,
    AT_FIELD, AT_NAME, AT_VALUE, AT_END,
};

/* Bits of `seen`. */
enum parse_seen {
    SEEN_HOST = 1, SEEN_LENGTH = 2, SEEN_CHUNKED = 4, SEEN_CLOSE = 8, SEEN_KEEP_ALIVE = 16, SEEN_OPTION_UPGRADE = 32,
    SEEN_UPGRADE = 64, SEEN_UPGRADE_H2 = 128, SEEN_EXPECT = 256, SEEN_AUTHORIZATION = 512,
};

/* Both go on until there is no more; PARSE_MORE: all up to `end` was looked at. */
enum parse parse_fields(struct http_parser *, const char *base, uint32_t end);

/* A field of which the core knows the name came: what it says of the message. */
enum http_fault parse_field_meaning(struct http_parser *, const char *base, const struct http_field *);
/* The head is whole: do its fields go together, and what do they say of body and connection? */
enum http_fault parse_framing(struct http_parser *, const char *base);

static inline enum parse parse_refuse(struct http_parser *p, enum http_fault f)
{
    p->fault = (uint8_t)f;
    return PARSE_BAD;
}

/* Takes the CR LF that should stand at `at`, and goes on behind it in state `next`. */
static inline enum parse parse_line_end(struct http_parser *p, const char *base, uint32_t end, uint32_t at,
    uint8_t next)
{
    p->pos = at;
    if (at == end)
        return PARSE_MORE;
    if (base[at] != '\r')
        return parse_refuse(p, FAULT_LINE_END);
    if (at + 1 == end)
        return PARSE_MORE;
    if (base[at + 1] != '\n')
        return parse_refuse(p, FAULT_LINE_END);
    p->pos = at + 2;
    p->state = next;
    return PARSE_OK;
}

/* Where the value, or reason, that stands at `at` ends; `end`: not yet. */
static inline uint32_t parse_value_run(const char *base, uint32_t at, uint32_t end)
{
    const char *p = char_run_value(base, base + at, base + end);
    while (p < base + end && *p == '\t')
        p = char_run_value(base, p + 1, base + end);
    return (uint32_t)(p - base);
}

#endif
