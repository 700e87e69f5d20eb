/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes from an endpoint. An endpoint is as little trusted as a client: a head or a framing that breaks a rule ends
 * the exchange, and what came behind an answer is never taken for the next one's.
 */
#include <string.h>

#include "core.h"
#include "h1_write.h"
#include "lib/check.h"
#include "up_h1_impl.h"

enum { READ_BUDGET = 512 * 1024 };       /* bytes a callback: then others get their turn */

/* The answer is whole; what follows it in this read makes the connection unfit for another exchange. */
static void answer_done(struct upconn *c, bool extra, struct http_head *trailers)
{
    c->recv = RECV_DONE;
    c->extra = extra;
    attempt_end(c->up.att, trailers);
}

static void bad(struct upconn *c, enum http_fault fault)
{
    upconn_fail(c, REASON_upstream_bad, http_fault_name(fault));
}

static size_t interim(struct upconn *c, const struct http_parser *p, const char *at)
{
    struct attempt *att = c->up.att;
    struct http_head head;
    http_parser_head(p, at, &att->req->arena, &head);
    http_head_drop_hop_by_hop(&head);
    http_head_remove_id(&head, HEADER_CONTENT_LENGTH);
    c->spoke = true;
    if (p->status == 100)
        c->await_continue = false;
    upconn_arm_exchange(c);
    size_t len = p->head_len;        /* the parser goes with the connection */
    attempt_interim(att, &head);
    return len;
}

static struct body_frame frame_of(const struct upconn *c, const struct http_parser *p)
{
    switch (c->body) {
    case BODY_LENGTH:
        return (struct body_frame){FRAME_LENGTH, p->content_length};
    case BODY_NONE:
        return (struct body_frame){FRAME_NONE, 0};
    default:
        return (struct body_frame){FRAME_UNKNOWN, 0};
    }
}

/* The final head, or 101. */
static size_t final_head(struct upconn *c, const struct http_parser *p, struct str bytes)
{
    struct attempt *att = c->up.att;
    bool upgraded = p->status == 101;
    size_t head_len = p->head_len;
    if (upgraded && (att->req->upgrade.len == 0 || !p->upgrade)) {
        upconn_fail(c, REASON_upstream_bad, "unasked_upgrade");
        return 0;
    }
    struct http_head *head = arena_alloc(&att->req->arena, sizeof *head);
    http_parser_head(p, bytes.at, &att->req->arena, head);
    if (upgraded || p->status == 204)    /* a client could wait for a body that cannot come (RFC 9110 8.6) */
        http_head_remove_id(head, HEADER_CONTENT_LENGTH);
    c->keep_alive = p->keep_alive;
    c->endpoint->http10 = p->minor == 0;
    c->body = http_response_body(p, c->head_request);
    c->left = c->body == BODY_LENGTH ? p->content_length : 0;
    chunked_init(&c->chunked);
    c->recv = RECV_BODY;
    struct body_frame frame = frame_of(c, p);
    if (upgraded)
        upconn_set_state(c, UPCONN_TUNNEL);
    uint64_t x = c->exchange;
    attempt_head(att, head, frame, upgraded);
    if (c->exchange != x)
        return 0;
    if (!upgraded && (c->body == BODY_NONE || (c->body == BODY_LENGTH && c->left == 0)))
        answer_done(c, bytes.len > head_len, NULL);
    return head_len;
}

static size_t read_head(struct upconn *c, struct str bytes)
{
    struct http_parser fresh, *p;
    switch (inbox_parse(&c->in, PARSE_RESPONSE, bytes, &fresh, &p)) {
    case PARSE_MORE:
        c->s.readable = true;            /* STREAM_LOOK_NS */
        return 0;
    case PARSE_BAD:
        bad(c, p->fault);
        return 0;
    case PARSE_OK:
        break;
    }
    if (p->status < 200 && p->status != 101)
        return interim(c, p, bytes.at);
    return final_head(c, p, bytes);
}

static size_t read_trailers(struct upconn *c, struct str bytes)
{
    struct attempt *att = c->up.att;
    struct http_parser fresh, *p;
    switch (inbox_parse(&c->in, PARSE_TRAILERS, bytes, &fresh, &p)) {
    case PARSE_MORE:
        return 0;
    case PARSE_BAD:
        bad(c, p->fault);
        return 0;
    case PARSE_OK:
        break;
    }
    size_t len = p->head_len;
    struct http_head trailers;
    if (p->n > 0) {
        http_parser_head(p, bytes.at, &att->req->arena, &trailers);
        h1_filter_trailers(&trailers);
    }
    answer_done(c, bytes.len > len, p->n > 0 ? &trailers : NULL);
    return len;
}

static size_t read_chunked(struct upconn *c, struct str bytes)
{
    size_t used = 0;
    struct str data;
    switch (chunked_decode(&c->chunked, bytes.at, bytes.len, &used, &data)) {
    case CHUNKED_DATA:
        attempt_data(c->up.att, data);
        return used;
    case CHUNKED_LAST:
        c->recv = RECV_TRAILERS;
        return used;
    case CHUNKED_BAD:
        bad(c, c->chunked.fault);
        return 0;
    case CHUNKED_MORE:
        break;
    }
    return used;
}

static size_t read_body(struct upconn *c, struct str bytes)
{
    if (c->body == BODY_CHUNKED)
        return read_chunked(c, bytes);
    if (c->body == BODY_LENGTH) {
        size_t n = bytes.len < c->left ? bytes.len : (size_t)c->left;
        c->left -= n;
        uint64_t x = c->exchange;
        attempt_data(c->up.att, str_of(bytes.at, n));
        if (c->left == 0 && c->exchange == x)
            answer_done(c, bytes.len > n, NULL);
        return n;
    }
    attempt_data(c->up.att, bytes);
    return bytes.len;
}

/* Uses up what it can of `bytes`; false: the exchange is over, and the connection no longer the caller's. */
static bool consume(struct upconn *c, struct str bytes)
{
    uint64_t x = c->exchange;
    size_t used = 0;
    while (used < bytes.len && !c->paused && c->recv != RECV_DONE) {
        struct str rest = str_of(bytes.at + used, bytes.len - used);
        size_t n = c->recv == RECV_HEAD ? read_head(c, rest) : c->recv == RECV_BODY ? read_body(c, rest)
                                                                                   : read_trailers(c, rest);
        if (c->exchange != x)
            return false;
        if (n == 0)
            break;
        used += n;
    }
    if (c->recv == RECV_DONE) {          /* the answer is whole, but the attempt goes on: the request is not */
        c->extra |= used < bytes.len;
        used = bytes.len;
    }
    inbox_keep(&c->in, &c->s, bytes, used);
    return true;
}

/* What TLS had to say when reading gave an error. An endpoint that does not like what it was shown may say so behind the handshake
 * (TLS 1.3), and then it has not looked at the request. */
static void broken(struct upconn *c)
{
    struct tls_failure failure = c->s.tls ? tls_failure(&c->s) : (struct tls_failure){NULL, false};
    if (failure.refused && !c->up.att->out.reused && upconn_lost(c) == REASON_upstream_reset)
        upconn_fail_tls(c, failure);
    else
        upconn_fail(c, upconn_lost(c), failure.text ? failure.text : "reset");
}

static void ended(struct upconn *c, enum io io)
{
    struct attempt *att = c->up.att;
    if (c->state == UPCONN_TUNNEL && io == IO_EOF) {
        attempt_fin(att);
    } else if (c->recv == RECV_BODY && c->body == BODY_UNTIL_CLOSE && io == IO_EOF && c->state == UPCONN_BUSY) {
        c->keep_alive = false;
        answer_done(c, false, NULL);
    } else if (io == IO_ERR) {
        broken(c);
    } else {
        upconn_fail(c, upconn_lost(c), "closed");
    }
}

void upconn_read(struct upconn *c)
{
    uint64_t x = c->exchange;
    size_t budget = READ_BUDGET;
    if (c->in.rest && !c->paused) {
        struct str kept = inbox_bytes(&c->in);
        bool parsing = c->in.rest->parsing;
        if (!parsing && !consume(c, kept))
            return;
        attempt_batch_end(c->up.att);
    }
    while (c->exchange == x && c->s.readable && !c->paused) {
        struct str bytes;
        if (c->s.room == 0)
            inbox_room(&c->s, attempt_room(c->up.att));
        enum io io = inbox_read(&c->in, &c->s, &bytes);
        if (io == IO_AGAIN)
            return;
        if (io != IO_OK) {
            ended(c, io);
            return;
        }
        if (!consume(c, bytes))
            return;
        if (c->recv != RECV_HEAD && c->recv != RECV_DONE && !c->paused)
            upconn_arm_exchange(c);
        attempt_batch_end(c->up.att);
        if (bytes.len >= budget) {
            stream_make_ready(&c->s);
            return;
        }
        budget -= bytes.len;
    }
}
