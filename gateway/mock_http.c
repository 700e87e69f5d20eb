/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection to the mock: bytes in, requests one after the other, bytes out.
 *
 * conn_service() does all the work there is and then says what to wait for; nothing frees a connection but it and the end
 * of the process, others set `gone`. While an answer is being made the next request stays unread in `in`. The other
 * side's end in the middle of a wait cancels the answer: that is what a gateway does when its own client went away.
 */
#include "mock_conn.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lib/check.h"
#include "lib/clock.h"
#include "lib/mem.h"

#define LINGER (2 * NSEC_PER_SEC)

void mock_put(struct mock_conn *c, const void *at, size_t len) { buf_append(&c->out, &c->mock->blocks, at, len); }

void mock_put_page(struct mock_conn *c, struct page *p)
{
    mock_put(c, p->at, p->len);
    page_free(p);
}

void mock_put_body(struct mock_conn *c, const void *at, size_t len)
{
    char head[CHUNKED_HEAD_MAX];
    if (c->head_request || len == 0)
        return;
    if (c->answer_chunked)
        mock_put(c, head, chunked_head(head, len));
    mock_put(c, at, len);
    if (c->answer_chunked)
        mock_put(c, "\r\n", 2);
}

void mock_end_body(struct mock_conn *c)
{
    if (c->answer_chunked && !c->head_request)
        mock_put(c, "0\r\n\r\n", 5);
}

static void next_request(struct mock_conn *c)
{
    c->state = MOCK_HEAD;
    http_parser_init(&c->parser, PARSE_REQUEST, &http_limits_default);
}

void mock_answered(struct mock_conn *c)
{
    if (c->in_flight)
        c->mock->stats.in_flight--;
    c->in_flight = false;
    page_free(&c->seen);
    if (c->keep_alive)
        next_request(c);
    else
        c->state = MOCK_CLOSING;
}

void mock_wait(struct mock_conn *c, enum mock_state state, uint64_t ns)
{
    struct timeval t = {(time_t)(ns / NSEC_PER_SEC), (suseconds_t)(ns % NSEC_PER_SEC / 1000)};
    c->state = state;
    event_add(&c->timer, &t);
}

void mock_flush(struct mock_conn *c)
{
    while (c->out.len && !c->gone) {
        struct iovec v[16];
        struct msghdr m = {.msg_iov = v};
        m.msg_iovlen = (size_t)buf_peek(&c->out, v, 16);
        ssize_t n = sendmsg(c->fd, &m, MSG_NOSIGNAL);
        if (n >= 0) {
            buf_consume(&c->out, &c->mock->blocks, (size_t)n);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR) {
            c->gone = true;
        }
    }
}

/* Reading. Each of these takes what it can from `at`, and returns how much that was; 0: it needs more, or must wait. */

static void refuse(struct mock_conn *c, enum http_fault fault)
{
    struct page p = {0};
    const char *text = http_fault_text(fault);
    page_printf(&p, "HTTP/1.1 %d Refused\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s\n",
                http_fault_status(fault), strlen(text) + 1, text);
    mock_put_page(c, &p);
    c->keep_alive = false;
    mock_answered(c);
}

static void begin(struct mock_conn *c, const char *base)
{
    const struct http_parser *p = &c->parser;
    struct http_head head;
    struct arena arena;

    arena_init(&arena, NULL);
    http_parser_head(p, base, &arena, &head);
    c->keep_alive = p->keep_alive;
    c->old = p->minor == 0;
    c->head_request = str_eq(head.method, STR("HEAD"));
    c->request_chunked = p->body == BODY_CHUNKED;
    c->body_left = p->body == BODY_LENGTH ? p->content_length : 0;
    c->answer_chunked = false;
    c->state = MOCK_BODY;
    chunked_init(&c->chunked);
    bool has_body = c->request_chunked || c->body_left;
    if (has_body && p->expect_continue)
        mock_put(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    mock_request(c, &head, p->path_len ? str_of(base + p->path_at, p->path_len) : STR("/"));
    arena_fini(&arena);
    if (c->state == MOCK_BODY && !has_body && !c->gone)
        mock_request_end(c);
}

static size_t read_head(struct mock_conn *c, const char *at, size_t len)
{
    switch (http_parse(&c->parser, at, len)) {
    case PARSE_OK: {
        size_t used = c->parser.head_len;
        begin(c, at);
        return used;
    }
    case PARSE_BAD:
        refuse(c, (enum http_fault)c->parser.fault);
        return len;
    case PARSE_MORE:
        return 0;
    }
    unreachable();
}

static size_t read_chunks(struct mock_conn *c, const char *at, size_t len)
{
    size_t used = 0;
    struct str data = {NULL, 0};
    switch (chunked_decode(&c->chunked, at, len, &used, &data)) {
    case CHUNKED_MORE:
        return used;
    case CHUNKED_DATA:
        mock_request_body(c, data);
        return used;
    case CHUNKED_LAST:
        c->state = MOCK_TRAILERS;
        http_parser_init(&c->parser, PARSE_TRAILERS, &http_limits_default);
        return used;
    case CHUNKED_BAD:
        c->gone = true;
        return used;
    }
    unreachable();
}

static size_t read_body(struct mock_conn *c, const char *at, size_t len)
{
    if (c->request_chunked)
        return read_chunks(c, at, len);
    size_t n = len < c->body_left ? len : (size_t)c->body_left;
    c->body_left -= n;
    mock_request_body(c, str_of(at, n));
    if (c->body_left == 0)
        mock_request_end(c);
    return n;
}

static size_t read_trailers(struct mock_conn *c, const char *at, size_t len)
{
    enum parse result = http_parse(&c->parser, at, len);
    if (result != PARSE_OK) {
        c->gone = result == PARSE_BAD;
        return 0;
    }
    struct http_head trailers;
    struct arena arena;
    size_t used = c->parser.head_len;
    arena_init(&arena, NULL);
    http_parser_head(&c->parser, at, &arena, &trailers);
    mock_request_trailers(c, &trailers);
    arena_fini(&arena);
    mock_request_end(c);
    return used;
}

static bool may_take(const struct mock_conn *c)
{
    switch (c->state) {
    case MOCK_HEAD:
    case MOCK_BODY:
    case MOCK_TRAILERS:
    case MOCK_WS:
        return c->out.len < MOCK_OUT_HIGH;
    case MOCK_CLOSING:
        return true;
    default:
        return false;
    }
}

static size_t take(struct mock_conn *c, const char *at, size_t len)
{
    switch (c->state) {
    case MOCK_HEAD:
        return read_head(c, at, len);
    case MOCK_BODY:
        return read_body(c, at, len);
    case MOCK_TRAILERS:
        return read_trailers(c, at, len);
    case MOCK_WS:
        return mock_ws_data(c, at, len);
    default:
        return len;
    }
}

static bool take_all(struct mock_conn *c)
{
    size_t at = 0, used = 1;
    while (used && at < c->in_len && !c->gone && may_take(c)) {
        used = take(c, c->in + at, c->in_len - at);
        at += used;
    }
    c->in_len -= at;
    if (c->in_len) {
        if (at)
            memmove(c->in, c->in + at, c->in_len);
    } else {
        mem_free(c->in);
        c->in = NULL;
        c->in_cap = 0;
    }
    return at > 0;
}

static void read_some(struct mock_conn *c)
{
    ssize_t n = recv(c->fd, c->mock->scratch, MOCK_SCRATCH, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        c->gone = true;
        return;
    }
    if (n == 0) {
        c->eof = true;
        return;
    }
    if (c->in_len + (size_t)n > c->in_cap) {
        c->in_cap = c->in_len + (size_t)n;
        c->in = mem_realloc(c->in, c->in_cap);
    }
    memcpy(c->in + c->in_len, c->mock->scratch, (size_t)n);
    c->in_len += (size_t)n;
}

/* The other side has ended, and nothing that it sent waits for room in `out`. */
static void at_eof(struct mock_conn *c)
{
    switch (c->state) {
    case MOCK_HEAD:
    case MOCK_WS:
        c->state = MOCK_CLOSING;
        return;
    case MOCK_FILL:
    case MOCK_CLOSING:
        return;
    default:
        c->gone = true;
    }
}

static void finish(struct mock_conn *c)
{
    if (c->eof) {
        c->gone = true;
        return;
    }
    if (!evtimer_pending(&c->timer, NULL)) {
        shutdown(c->fd, SHUT_WR);
        mock_wait(c, MOCK_CLOSING, LINGER);
    }
}

static void on_io(evutil_socket_t fd, short what, void *arg);

static void wait_for(struct mock_conn *c)
{
    bool reads = may_take(c) || (c->in_len < MOCK_SCRATCH && c->state > MOCK_TRAILERS && c->state < MOCK_WS);
    short waits = (short)((reads && !c->eof ? EV_READ : 0) | (c->out.len || c->state == MOCK_FILL ? EV_WRITE : 0));
    if (waits == c->waits)
        return;
    if (c->waits)
        event_del(&c->io);
    c->waits = waits;
    if (waits) {
        event_assign(&c->io, c->mock->base, c->fd, (short)(waits | EV_PERSIST), on_io, c);
        event_add(&c->io, NULL);
    }
}

static void conn_service(struct mock_conn *c)
{
    bool more = true;
    for (unsigned round = 0; round < 16 && more && !c->gone; round++) {
        more = take_all(c);
        if (c->state == MOCK_FILL && c->out.len < MOCK_OUT_HIGH) {
            mock_more(c);
            more = true;
        }
        size_t before = c->out.len;
        mock_flush(c);
        more = more || (before >= MOCK_OUT_HIGH && c->out.len < MOCK_OUT_HIGH);
    }
    if (c->eof && !c->gone && c->out.len < MOCK_OUT_HIGH)
        at_eof(c);
    if (c->state == MOCK_CLOSING && c->out.len == 0 && !c->gone)
        finish(c);
    if (c->gone)
        mock_conn_free(c);
    else
        wait_for(c);
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
    struct mock_conn *c = arg;
    (void)fd;
    if (what & EV_READ)
        read_some(c);
    conn_service(c);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct mock_conn *c = arg;
    (void)fd;
    (void)what;
    if (c->state == MOCK_CLOSING)
        c->gone = true;
    else
        mock_timer(c);
    conn_service(c);
}

void mock_conn_new(struct mock *m, int fd)
{
    int one = 1;
    struct mock_conn *c = mem_zalloc(sizeof(*c));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c->mock = m;
    c->fd = fd;
    evtimer_assign(&c->timer, m->base, on_timer, c);
    list_init(&c->link);
    list_append(&m->conns, &c->link);
    m->stats.accepted++;
    m->stats.connections++;
    next_request(c);
    wait_for(c);
}

void mock_conn_free(struct mock_conn *c)
{
    struct mock *m = c->mock;
    if (c->in_flight) {
        m->stats.in_flight--;
        m->stats.cancelled++;
    }
    m->stats.connections--;
    if (c->waits)
        event_del(&c->io);
    event_del(&c->timer);
    close(c->fd);
    buf_clear(&c->out, &m->blocks);
    page_free(&c->seen);
    mem_free(c->in);
    list_remove(&c->link);
    mem_free(c);
}
