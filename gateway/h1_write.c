/* SPDX-License-Identifier: Apache-2.0 */
/* Heads and chunks of HTTP/1.1 as runs of bytes; stream_put() joins runs that touch. */
#include "h1_write.h"

#include <string.h>
#include "http/chunked.h"

void h1_put_field(struct stream *s, struct str name, struct str value)
{
    char line[512];
    if (name.len + value.len + 4 > sizeof line) {
        stream_put(s, name.at, name.len);
        PUT_LIT(s, ": ");
        stream_put(s, value.at, value.len);
        PUT_LIT(s, "\r\n");
        return;
    }
    size_t n = name.len;
    memcpy(line, name.at, n);
    line[n++] = ':';                 /* byte by byte: a checked copy of two would be a call */
    line[n++] = ' ';
    if (value.len > 0)
        memcpy(line + n, value.at, value.len);
    n += value.len;
    line[n++] = '\r';
    line[n++] = '\n';
    stream_put_copy(s, line, n);
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
    for (const struct http_added *a = h->added; a; a = a->next)
        h1_put_field(s, a->name, a->value);
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

void h1_put_chunk(struct stream *s, struct str data)
{
    char head[CHUNKED_HEAD_MAX];
    if (data.len == 0)
        return;
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
