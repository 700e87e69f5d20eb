/* SPDX-License-Identifier: Apache-2.0 */
/* Heads and chunks of HTTP/1.1 as runs of bytes; stream_put() joins runs that touch. */
#include "h1_write.h"

#include <string.h>
#include "http/chunked.h"

/* Lines of that many bytes in all are copied into one run; longer ones go by reference. */
enum { LINES_COPIED = 2048 };

static size_t line_len(struct str name, struct str value) { return name.len + value.len + 4; }

/* Byte by byte between name and value: a copy of two would be a call. */
static char *line_make(char *p, struct str name, struct str value)
{
    p = (char *)memcpy(p, name.at, name.len) + name.len;
    *p++ = ':';
    *p++ = ' ';
    if (value.len > 0)
        p = (char *)memcpy(p, value.at, value.len) + value.len;
    *p++ = '\r';
    *p++ = '\n';
    return p;
}

void h1_put_field(struct stream *s, struct str name, struct str value)
{
    size_t len = line_len(name, value);
    if (len > LINES_COPIED) {
        stream_put(s, name.at, name.len);
        PUT_LIT(s, ": ");
        stream_put(s, value.at, value.len);
        PUT_LIT(s, "\r\n");
        return;
    }
    char *line = stream_room_short(s, len);
    line_make(line, name, value);
    stream_put_short(s, line, len);
}

static void put_added(struct stream *s, const struct http_added *first)
{
    size_t len = 0;
    for (const struct http_added *a = first; a; a = a->next)
        len += line_len(a->name, a->value);
    if (len > LINES_COPIED) {
        for (const struct http_added *a = first; a; a = a->next)
            h1_put_field(s, a->name, a->value);
        return;
    }
    char *lines = stream_room_short(s, len), *p = lines;
    for (const struct http_added *a = first; a; a = a->next)
        p = line_make(p, a->name, a->value);
    stream_put_short(s, lines, len);
}

void h1_put_fields(struct stream *s, const struct http_head *h, const char *from)
{
    const char *end = from;
    for (unsigned i = 0; i < h->n; i++) {
        const struct http_field *f = &h->fields[i];
        const char *line = h->base + f->at;
        if (i == 0 && from)
            end = line;
        if (!f->dropped) {
            if (!from)
                from = line;
            end = line + f->line_len;
        } else {
            if (from)
                stream_put(s, from, (size_t)(end - from));
            from = NULL;
        }
    }
    if (from && end)
        stream_put(s, from, (size_t)(end - from));
    if (h->added)
        put_added(s, h->added);
}

void h1_put_end(struct stream *s, const struct http_head *h)
{
    const struct http_field *last = h->n ? &h->fields[h->n - 1] : NULL;
    if (last && !last->dropped && !h->added)
        stream_put(s, h->base + last->at + last->line_len, 2);
    else if (h->added)
        stream_put_copy(s, "\r\n", 2);       /* joins the copied fields before it */
    else
        PUT_LIT(s, "\r\n");
}

static size_t chunk_room(struct str data) { return CHUNKED_HEAD_MAX + data.len + 2; }

/* A short one, such as an event of a stream, is one run: to send that takes a cheaper call than several do. */
static void put_short_chunk(struct stream *s, struct str data)
{
    char *chunk = stream_room_short(s, chunk_room(data)), *p = chunk;
    p += chunked_head(p, data.len);
    p = (char *)memcpy(p, data.at, data.len) + data.len;
    *p++ = '\r';
    *p++ = '\n';
    stream_put_short(s, chunk, (size_t)(p - chunk));
}

void h1_put_chunk(struct stream *s, struct str data)
{
    char head[CHUNKED_HEAD_MAX];
    if (data.len == 0)
        return;
    /* Of many, those that would have the others written first go by reference: one call takes more of them so. */
    if (data.len <= STREAM_SHORT && stream_has_short(s, chunk_room(data))) {
        put_short_chunk(s, data);
        return;
    }
    stream_put_copy(s, head, chunked_head(head, data.len));
    stream_put(s, data.at, data.len);
    PUT_LIT(s, "\r\n");
}

void h1_put_last_chunk(struct stream *s, const struct http_head *trailers)
{
    if (!trailers) {
        PUT_LIT(s, "0\r\n\r\n");
        return;
    }
    PUT_LIT(s, "0\r\n");
    h1_put_fields(s, trailers, NULL);
    PUT_LIT(s, "\r\n");
}

void h1_filter_trailers(struct http_head *h)
{
    http_head_drop_hop_by_hop(h);
    for (unsigned i = 0; i < h->n; i++) {
        if (!http_trailer_allowed(http_field_name(h, &h->fields[i])))
            h->fields[i].dropped = 1;
    }
}
