/* SPDX-License-Identifier: Apache-2.0 */
/* What goes to a client: heads with our own framing and connection fields, bodies, ends. */
#include <string.h>

#include "client_impl.h"
#include "h1_write.h"
#include "lib/check.h"

static struct client *client_of(struct down *d) { return container_of(d, struct client, down); }

/* A longer reason says nothing to a program (RFC 9112 4). */
enum { REASON_PHRASE_MAX = 96 };

static void put_status_line(struct stream *s, const struct http_head *h)
{
    struct str version = STR("HTTP/1.1 "), reason = h->reason.len < REASON_PHRASE_MAX ? h->reason : STR("");
    size_t len = version.len + 4 + reason.len + 2;
    char *line = stream_room_short(s, len), *p = line;
    check(h->status >= 100 && h->status <= 999);
    p = (char *)memcpy(p, version.at, version.len) + version.len;
    *p++ = (char)('0' + h->status / 100);
    *p++ = (char)('0' + h->status / 10 % 10);
    *p++ = (char)('0' + h->status % 10);
    *p++ = ' ';
    if (reason.len > 0)
        p = (char *)memcpy(p, reason.at, reason.len) + reason.len;
    memcpy(p, "\r\n", 2);
    stream_put_short(s, line, len);
}

/* The status line and the fields. */
static void put_head(struct stream *s, const struct http_head *h)
{
    const char *from = h->minor == 1 && h->n > 0 ? h->base : NULL;
    if (!from)
        put_status_line(s, h);
    h1_put_fields(s, h, from);
}

static void client_interim(struct down *d, const struct http_head *h)
{
    struct client *c = client_of(d);
    if (c->x->minor == 0 || c->x->head_put)
        return;
    put_head(&c->s, h);
    PUT_LIT(&c->s, "\r\n");
    if (h->status == 100 && c->x->expects) {
        c->x->expects = false;           /* its body's time begins */
        client_arm_state(c);
    }
}

static void put_connection(struct client *c, const struct http_head *h)
{
    struct client_exchange *x = c->x;
    if (h->status == 101)
        return;                      /* the core put Connection: upgrade */
    if (x->close)
        PUT_LIT(&c->s, "Connection: close\r\n");
    else if (x->minor == 0)
        PUT_LIT(&c->s, "Connection: keep-alive\r\n");
}

/* Can the connection go on when the rest of the request's body is not wanted? */
static bool may_discard(const struct client_exchange *x)
{
    return x->body_done || (x->body == BODY_LENGTH && x->left <= CLIENT_DISCARD_MAX && !x->expects);
}

static void client_head(struct down *d, const struct http_head *h, struct body_frame frame)
{
    struct client *c = client_of(d);
    struct client_exchange *x = c->x;
    check(!x->head_put);
    x->head_put = true;
    x->no_body = x->head_request || h->status == 204 || h->status == 304 || h->status < 200;
    x->chunked_out = frame.kind == FRAME_UNKNOWN && !x->no_body && x->minor == 1;
    x->until_close = frame.kind == FRAME_UNKNOWN && !x->no_body && x->minor == 0;
    x->close = !x->keep_alive || x->until_close || client_is_last(c) || !may_discard(x);
    put_head(&c->s, h);
    put_connection(c, h);
    if (x->chunked_out)
        PUT_LIT(&c->s, "Transfer-Encoding: chunked\r\n\r\n");
    else
        h1_put_end(&c->s, h);
}

static void client_data(struct down *d, struct str data)
{
    struct client *c = client_of(d);
    if (c->x->no_body && c->state != CLIENT_TUNNEL)
        return;
    if (c->x->chunked_out)
        h1_put_chunk(&c->s, data);
    else if (data.len <= STREAM_SHORT && stream_ends_copied(&c->s))
        stream_put_copy(&c->s, data.at, data.len);
    else
        stream_put(&c->s, data.at, data.len);
}

static void client_end(struct down *d, const struct http_head *trailers)
{
    struct client *c = client_of(d);
    if (c->x->chunked_out)
        h1_put_last_chunk(&c->s, trailers);
    c->x->ended = true;
}

static size_t client_flush(struct down *d)
{
    struct client *c = client_of(d);
    size_t backlog = stream_flush(&c->s);
    if (backlog > 0 && !(c->pace.running && c->pace.of == PACE_TAKES))
        client_arm_state(c);         /* the time in which it must take something */
    return backlog;
}

static size_t client_room(struct down *d) { return stream_room(&client_of(d)->s); }

static void client_pause(struct down *d)
{
    struct client *c = client_of(d);
    if (c->paused)
        return;
    c->paused = true;
    c->s.room = 0;
    client_arm_state(c);
}

static void client_resume(struct down *d)
{
    struct client *c = client_of(d);
    if (!c->paused)
        return;
    c->paused = false;
    if (c->state == CLIENT_BODY || c->state == CLIENT_TUNNEL) {
        client_arm_state(c);
        if (c->s.readable || c->in.rest || c->s.hangup)
            stream_make_ready(&c->s);
    }
}

static void client_tunnel(struct down *d)
{
    struct client *c = client_of(d);
    client_set_state(c, CLIENT_TUNNEL);
    c->paused = false;
    client_arm_state(c);
    if (c->s.readable || c->in.rest || c->s.hangup)
        stream_make_ready(&c->s);
}

static void client_fin(struct down *d) { stream_finish(&client_of(d)->s); }

const struct down_ops client_ops = {
    .interim = client_interim, .head = client_head, .data = client_data, .end = client_end, .flush = client_flush,
    .room = client_room, .pause = client_pause, .resume = client_resume, .tunnel = client_tunnel, .fin = client_fin,
    .done = client_done, .ends = client_ends,
};
