/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes from a client: heads, bodies, tunnelled bytes. A head that breaks a rule is answered and the connection closed;
 * nothing of it, or behind it, is looked at again.
 */
#include <string.h>

#include "client_impl.h"
#include "core.h"
#include "h1_write.h"
#include "lib/check.h"
#include "listener.h"
#include "tls.h"

/* A callback's share in bytes, and in requests that were answered at once (their memory lasts until the end of the turn):
 * then others get their turn. */
enum { READ_BUDGET = 512 * 1024, HEAD_BUDGET = 32 };

static enum reason reason_of_fault(enum http_fault fault)
{
    switch (http_fault_status(fault)) {
    case 414: return REASON_target_too_long;
    case 417: return REASON_expectation;
    case 431: return REASON_head_too_large;
    case 501: return REASON_not_implemented;
    case 505: return REASON_version;
    default:  return REASON_bad_request;
    }
}

/* The stream may be closed before the request's line is written. */
static const struct tls_peer *peer_copy(struct request *r, const struct tls_peer *peer)
{
    struct tls_peer *copy = peer ? arena_zalloc(&r->arena, sizeof *copy) : NULL;
    if (copy) {
        *copy = *peer;
        copy->asked = arena_copy(&r->arena, peer->asked);
        copy->subject = arena_copy(&r->arena, peer->subject);
    }
    return copy;
}

static struct request *exchange_new(struct client *c)
{
    struct request *r = request_new(c->listener->view, &c->down, c->listener->conf, &c->peer, &c->peer_text, c->id);
    c->x = arena_zalloc(&r->arena, sizeof *c->x);
    r->tls = peer_copy(r, tls_peer(&c->s));
    c->down.req = r;
    c->fresh = false;
    c->paused = false;
    c->half_close_keep = c->listener->conf->half_close_keep;
    return r;
}

struct request *client_refused_request(struct client *c)
{
    struct request *r = exchange_new(c);
    c->x->minor = 1;
    c->x->body = BODY_UNTIL_CLOSE;       /* whatever comes is not understood: never body_done */
    client_set_state(c, CLIENT_BODY);
    c->paused = true;
    client_arm_state(c);
    return r;
}

static void refuse(struct client *c, enum http_fault fault)
{
    request_refuse(client_refused_request(c), reason_of_fault(fault), str_c(http_fault_name(fault)));
}

/* The protocol that the client asks to change to: the codec's to know, for the field is dropped on the way. */
static struct str upgrade_of(const struct http_parser *p, const struct http_head *head)
{
    return p->upgrade ? http_head_get_id(head, HEADER_UPGRADE) : (struct str){NULL, 0};
}

static void begin(struct client *c, const struct http_parser *p, const char *at)
{
    struct request *r = exchange_new(c);
    struct client_exchange *x = c->x;
    char *copy = arena_alloc(&r->arena, p->head_len);
    struct http_head head;
    memcpy(copy, at, p->head_len);
    http_parser_head(p, copy, &r->arena, &head);

    x->body = p->body;
    x->left = p->body == BODY_LENGTH ? p->content_length : 0;
    x->minor = p->minor;
    x->keep_alive = p->keep_alive;
    x->expects = p->expect_continue;
    x->head_request = str_eq(head.method, STR("HEAD"));
    x->body_done = p->body == BODY_NONE || (p->body == BODY_LENGTH && x->left == 0);
    chunked_init(&x->chunked);
    inbox_begin(&c->s);
    client_set_state(c, x->body_done ? CLIENT_BUSY : CLIENT_BODY);
    c->paused = !x->body_done;           /* until somebody wants it */
    if (c->pace.of == PACE_SENDS)
        c->pace.of = PACE_NONE;          /* each body has windows of its own */
    if (c->pace.running)
        client_arm_state(c);             /* it has still to take an answer */
    else
        timer_clear(&c->timer);

    struct request_start start = {
        .head = &head,
        .host = p->host_len ? str_of(copy + p->host_at, p->host_len) : (struct str){NULL, 0},
        .target = p->path_len ? str_of(copy + p->path_at, p->path_len) : STR("/"),
        .body = {x->body_done ? FRAME_NONE : p->body == BODY_LENGTH ? FRAME_LENGTH : FRAME_UNKNOWN, x->left},
        .upgrade = upgrade_of(p, &head),
        .expect_continue = p->expect_continue && !x->body_done,
        .te_trailers = p->te_trailers,
        .absolute = p->absolute,
    };
    request_begin(r, &start);
}

static size_t read_head(struct client *c, struct str bytes)
{
    struct http_parser fresh, *p;
    size_t len;
    switch (inbox_parse(&c->in, PARSE_REQUEST, bytes, &fresh, &p)) {
    case PARSE_MORE:
        c->s.readable = true;                /* STREAM_LOOK_NS */
        if (c->state == CLIENT_IDLE) {
            client_set_state(c, CLIENT_HEAD);
            if (!c->fresh)               /* a new connection's time runs from its beginning */
                client_arm_state(c);
        }
        return 0;
    case PARSE_BAD:
        refuse(c, p->fault);
        return 0;
    case PARSE_OK:
        break;
    }
    len = p->head_len;
    begin(c, p, bytes.at);
    return len;
}

static void body_end(struct client *c)
{
    c->x->body_done = true;
    if (c->state == CLIENT_BODY)
        client_set_state(c, CLIENT_BUSY);
    client_arm_state(c);
}

static void broken_body(struct client *c, enum http_fault fault)
{
    struct request *r = c->down.req;
    c->paused = true;
    c->x->keep_alive = false;
    r->fault = http_fault_name(fault);
    request_abort(r, REASON_bad_request);
}

static void give(struct client *c, struct str data, bool last)
{
    if (last)
        body_end(c);
    request_data(c->down.req, (struct slice){(const uint8_t *)data.at, data.len, last});
}

static size_t read_trailers(struct client *c, struct str bytes)
{
    struct request *r = c->down.req;
    struct http_parser fresh, *p;
    switch (inbox_parse(&c->in, PARSE_TRAILERS, bytes, &fresh, &p)) {
    case PARSE_MORE:
        return 0;
    case PARSE_BAD:
        broken_body(c, p->fault);
        return 0;
    case PARSE_OK:
        break;
    }
    size_t len = p->head_len;
    if (p->n > 0) {
        char *copy = arena_alloc(&r->arena, len);
        struct http_head *trailers = arena_alloc(&r->arena, sizeof *trailers);
        memcpy(copy, bytes.at, len);
        http_parser_head(p, copy, &r->arena, trailers);
        h1_filter_trailers(trailers);
        request_trailers(r, trailers);
    }
    give(c, str_of("", 0), true);
    return len;
}

static size_t read_chunked(struct client *c, struct str bytes)
{
    size_t used = 0;
    struct str data;
    switch (chunked_decode(&c->x->chunked, bytes.at, bytes.len, &used, &data)) {
    case CHUNKED_DATA:
        give(c, data, false);
        return used;
    case CHUNKED_LAST:
        c->x->in_trailers = true;
        return used;
    case CHUNKED_BAD:
        broken_body(c, c->x->chunked.fault);
        return 0;
    case CHUNKED_MORE:
        break;
    }
    return used;
}

static size_t read_body(struct client *c, struct str bytes)
{
    struct client_exchange *x = c->x;
    if (c->paused)
        return 0;
    if (c->state == CLIENT_TUNNEL) {
        give(c, bytes, false);
        return bytes.len;
    }
    if (x->body == BODY_CHUNKED)
        return x->in_trailers ? read_trailers(c, bytes) : read_chunked(c, bytes);
    size_t n = bytes.len < x->left ? bytes.len : (size_t)x->left;
    x->left -= n;
    give(c, str_of(bytes.at, n), x->left == 0);
    return n;
}

/* What is left of a body that was refused or answered early. */
static size_t discard(struct client *c, struct str bytes)
{
    size_t n = bytes.len < c->discard ? bytes.len : c->discard;
    c->discard -= (uint32_t)n;
    pace_sent(&c->pace, n);
    c->s.readable = true;                    /* STREAM_LOOK_NS: no answer will be written that would tell */
    client_arm_state(c);
    return n;
}

/* Does it ask faster than it takes answers? Then it is not read until it has taken them. */
static bool behind(const struct client *c) { return stream_backlog(&c->s) > 0; }

/* Uses up what it can, within the budget; stops when the state says that nothing is read. */
static void consume(struct client *c, struct str bytes)
{
    size_t used = 0;
    unsigned heads = 0;
    while (used < bytes.len && heads < HEAD_BUDGET) {
        struct str rest = str_of(bytes.at + used, bytes.len - used);
        size_t n = 0;
        switch ((enum client_state)c->state) {
        case CLIENT_IDLE:
        case CLIENT_HEAD:
            if (c->discard > 0)
                n = discard(c, rest);
            else if (!behind(c))
                n = read_head(c, rest);
            heads++;
            break;
        case CLIENT_BODY:
        case CLIENT_TUNNEL:
            n = read_body(c, rest);
            break;
        case CLIENT_LINGER:
            n = rest.len;
            break;
        default:
            break;
        }
        if (c->state == CLIENT_CLOSED)
            return;
        if (n == 0)
            break;
        used += n;
    }
    inbox_keep(&c->in, &c->s, bytes, used);
}

static void at_eof(struct client *c, enum io io)
{
    if (c->state == CLIENT_TUNNEL && io == IO_EOF)
        request_fin(c->down.req);
    else if (c->state == CLIENT_IDLE && io == IO_EOF && stream_backlog(&c->s) > 0 && c->half_close_keep)
        client_finish(c);            /* it still takes its last answer */
    else
        client_close(c, REASON_client_gone);
}

static bool wants_more(const struct client *c)
{
    switch ((enum client_state)c->state) {
    case CLIENT_IDLE:
    case CLIENT_HEAD:
        return c->discard > 0 || !behind(c);
    case CLIENT_LINGER:
        return true;
    case CLIENT_BODY:
    case CLIENT_TUNNEL:
        return !c->paused;
    default:
        return false;
    }
}

static void batch_end(struct client *c)
{
    if (c->state != CLIENT_CLOSED && c->down.req)
        request_batch_end(c->down.req);
}

/* Was something left that could be used? Then it comes back in the next turn. */
static bool left_over(struct client *c)
{
    if (!c->in.rest || c->in.rest->parsing || !wants_more(c))
        return false;
    stream_make_ready(&c->s);
    return true;
}

void client_read(struct client *c)
{
    size_t budget = READ_BUDGET;
    if (c->in.rest && !c->in.rest->parsing && wants_more(c)) {
        consume(c, inbox_bytes(&c->in));
        batch_end(c);
    }
    while (!left_over(c) && c->s.readable && wants_more(c)) {
        struct str bytes;
        if (c->s.room == 0)
            inbox_room(&c->s, c->down.req ? request_room(c->down.req) : WORKER_SCRATCH);
        size_t had = c->in.rest ? inbox_bytes(&c->in).len : 0;
        enum io io = inbox_read(&c->in, &c->s, &bytes);
        if (io == IO_AGAIN)
            return;
        if (io == IO_PLAIN) {
            c->s.readable = true;        /* the rest of what it says; it is not looked at */
            request_refuse(client_refused_request(c), REASON_tls_expected, (struct str){NULL, 0});
            return;
        }
        if (io != IO_OK) {
            at_eof(c, io);
            return;
        }
        if (c->state == CLIENT_BODY)
            c->x->expects = false;       /* it did not wait, or has got its 100 */
        if (c->state == CLIENT_BODY || c->state == CLIENT_TUNNEL) {
            pace_sent(&c->pace, bytes.len - had);
            client_arm_state(c);
        }
        consume(c, bytes);
        batch_end(c);
        if (bytes.len >= budget) {
            stream_make_ready(&c->s);
            return;
        }
        budget -= bytes.len;
    }
    if (c->s.hangup && (c->state == CLIENT_BUSY || (c->state == CLIENT_BODY && c->paused)) && !c->half_close_keep)
        client_close(c, REASON_client_gone);
}
