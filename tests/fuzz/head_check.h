/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HEAD_CHECK_H
#define HEAD_CHECK_H

/*
 * What the head fuzzers share: feeding a parser in three ways, which must agree in everything, and a second, naive
 * reading of the rules (RFC 9112 and docs/design.md) that every accepted head must pass. Nothing of the parser's own
 * code is used in it.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "http/parse.h"
#include "lib/check.h"

/* A copy of just `n` bytes, so that a byte read behind it is found, as long as that is cheap. */
static enum parse feed(struct http_parser *p, const char *at, size_t n, size_t total)
{
    if (total > 1024)
        return http_parse(p, at, n);
    char *copy = malloc(n ? n : 1);
    memcpy(copy, at, n);
    enum parse r = http_parse(p, copy, n);
    free(copy);
    return r;
}

/* step 0: pieces of random size. */
static enum parse feed_in_steps(struct http_parser *p, const char *at, size_t len, size_t step, uint32_t seed)
{
    enum parse r = feed(p, at, 0, len);
    for (size_t n = 0; n < len && r == PARSE_MORE;) {
        seed = seed * 1664525 + 1013904223;
        n += step ? step : 1 + (seed >> 16) % 40;
        n = n < len ? n : len;
        r = feed(p, at, n, len);
    }
    return r;
}

static void check_same(const struct http_parser *a, const struct http_parser *b)
{
    check(a->head_len == b->head_len && a->n == b->n && a->minor == b->minor && a->status == b->status);
    check(a->start == b->start && a->method_len == b->method_len);
    check(a->target_at == b->target_at && a->target_len == b->target_len);
    check(a->host_at == b->host_at && a->host_len == b->host_len && a->path_at == b->path_at &&
        a->path_len == b->path_len);
    check(a->reason_at == b->reason_at && a->reason_len == b->reason_len);
    check(a->body == b->body && a->content_length == b->content_length && a->keep_alive == b->keep_alive);
    check(a->upgrade == b->upgrade && a->expect_continue == b->expect_continue && a->te_trailers == b->te_trailers);
    for (unsigned i = 0; i < a->n; i++) {
        const struct http_field *f = &a->fields[i], *g = &b->fields[i];
        check(f->at == g->at && f->name_len == g->name_len && f->value_off == g->value_off &&
            f->value_len == g->value_len);
        check(f->line_len == g->line_len && f->id == g->id && f->dropped == g->dropped);
    }
}

static enum parse parse_all_ways(struct http_parser *p, enum parse_kind kind, const struct http_limits *limits,
    const char *at,
                                 size_t len)
{
    static const size_t steps[] = {1, 0, 7};
    struct http_parser other;

    http_parser_init(p, kind, limits);
    enum parse r = feed(p, at, len, len);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        http_parser_init(&other, kind, limits);
        enum parse s = feed_in_steps(&other, at, len, steps[i], (uint32_t)len * 31 + (len ? (uint8_t)at[len / 2] : 0));
        check(r == s && p->fault == other.fault);
        if (r == PARSE_OK)
            check_same(p, &other);
    }
    check(r != PARSE_BAD || (p->fault > FAULT_NONE && p->fault < FAULT_COUNT));
    return r;
}

static int is_tchar(char c)
{
    return c && strchr("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", c) != NULL;
}

static int named(const char *at, size_t len, const char *name)
{
    return len == strlen(name) && !strncasecmp(at, name, len);
}

struct seen {
    unsigned hosts, lengths, encodings, fields;
};

/* One line without its CR LF. */
static void check_field(const char *at, size_t len, struct seen *s)
{
    const char *colon = memchr(at, ':', len);
    check(colon && colon > at);
    size_t n = (size_t)(colon - at), from = n + 1, to = len;
    for (size_t i = 0; i < n; i++)
        check(is_tchar(at[i]));
    for (size_t i = from; i < len; i++)
        check(at[i] == '\t' || ((unsigned char)at[i] >= ' ' && at[i] != 0x7f));
    while (from < to && (at[from] == ' ' || at[from] == '\t'))
        from++;
    while (to > from && (at[to - 1] == ' ' || at[to - 1] == '\t'))
        to--;
    s->fields++;
    s->hosts += (unsigned)named(at, n, "host");
    if (named(at, n, "content-length")) {
        s->lengths++;
        check(to > from);
        for (size_t i = from; i < to; i++)
            check(at[i] >= '0' && at[i] <= '9');
    }
    if (named(at, n, "transfer-encoding")) {
        s->encodings++;
        check(named(at + from, to - from, "chunked"));
    }
}

/* Reads a whole head again; `at` begins with the start line. */
static void check_head(const struct http_parser *p, const char *at, size_t len)
{
    struct seen s = {0, 0, 0, 0};
    unsigned line = 0;

    check(len >= 4 && !memcmp(at + len - 4, "\r\n\r\n", 4));
    for (size_t i = 0; i < len; line++) {
        const char *cr = memchr(at + i, '\r', len - i);
        check(cr && cr + 1 < at + len && cr[1] == '\n');
        size_t n = (size_t)(cr - at) - i;
        check(!memchr(at + i, '\n', n));
        check(n > 0 || i + 2 == len);
        if (line > 0 && n > 0)
            check_field(at + i, n, &s);
        i += n + 2;
    }
    check(s.fields == p->n && s.lengths <= 1 && s.encodings <= 1 && !(s.lengths && s.encodings));
    check(!s.encodings || p->minor == 1);
    if (p->kind == PARSE_REQUEST)
        check(s.hosts <= 1 && (s.hosts || p->minor == 0));
    check((p->body == BODY_CHUNKED) == (s.encodings == 1) && (p->body == BODY_LENGTH) == (s.lengths == 1));
    check(p->content_length <= INT64_MAX);
}

#endif
