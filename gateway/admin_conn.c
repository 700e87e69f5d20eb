/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection of the admin listener: one request and its answer.
 *
 * A head is read, a body where the page takes one, then the page is asked; its answer is made whole in memory, written, and
 * the connection ended by shutdown and a short wait for the other side's end, so that the answer is not lost to a reset when
 * more follows that nobody reads. Each part has a deadline, which what trickles does not move.
 *
 * An answer may be owed: then the handle and the connection know each other, and whichever ends first tells the other. While
 * it is owed the socket is not looked at: that the other side is gone is found out by writing.
 *
 * A body has a length or there is none: what comes in chunks is answered 411. All bodies together are bounded, since 64
 * callers may send one.
 */
#include "admin_conn.h"

#include <errno.h>
#include <event2/event.h>
#include <unistd.h>
#include "lib/mem.h"

static const struct http_limits limits = {.head = ADMIN_HEAD_MAX, .target = 2048, .fields = HTTP_FIELDS_MAX};

struct admin_answer { struct admin_conn *conn; };        /* NULL: who asked is gone */

void admin_conn_close(struct admin_conn *c)
{
    struct admin *a = c->admin;
    event_del(&c->io);
    event_del(&c->deadline);
    close(c->fd);
    list_remove(&c->link);
    if (c->owed)
        c->owed->conn = NULL;
    if (c->body)
        a->bodies -= c->body_want;
    mem_free(c->body);
    page_free(&c->out);
    mem_free(c);
    a->n_conns--;
    admin_conn_gone(a);
}

/* From now on `what` is waited for (0: no event of the socket's), and at most for `time`. */
static void state_set(struct admin_conn *c, enum admin_state state, short what, const struct timeval *time)
{
    event_callback_fn callback = event_get_callback(&c->io);
    event_del(&c->io);
    c->state = state;
    event_add(&c->deadline, time);
    if (what == 0)
        return;
    event_assign(&c->io, c->admin->base, c->fd, (short)(what | EV_PERSIST), callback, c);
    event_add(&c->io, NULL);
}

/* ---- the answer ---- */

/* May close the connection, as all of these. */
static void conn_write(struct admin_conn *c)
{
    while (c->out_done < c->out.len) {
        ssize_t n = send(c->fd, c->out.at + c->out_done, c->out.len - c->out_done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            admin_conn_close(c);
            return;
        }
        c->out_done += (size_t)n;
    }
    shutdown(c->fd, SHUT_WR);
    state_set(c, ADMIN_LINGER, EV_READ, &c->admin->times->linger);
}

static void conn_answered(struct admin_conn *c)
{
    state_set(c, ADMIN_WRITE, EV_WRITE, &c->admin->times->write);
    conn_write(c);
}

static void conn_answer(struct admin_conn *c)
{
    state_set(c, ADMIN_ANSWER, 0, &c->admin->times->answer);
    if (admin_page_answer(c))
        conn_answered(c);
}

struct admin_answer *admin_answer_owe(struct admin_conn *c)
{
    struct admin_answer *answer = mem_alloc(sizeof *answer);
    answer->conn = c;
    c->owed = answer;
    return answer;
}

void admin_answer_give(struct admin_answer **at, int status, enum admin_type type, struct page *page)
{
    struct admin_answer *answer = *at;
    struct admin_conn *c = answer->conn;
    *at = NULL;
    mem_free(answer);
    if (c) {
        c->owed = NULL;
        admin_answer_put(&c->out, status, type, "", page, false);
    }
    page_free(page);
    if (c)
        conn_answered(c);
}

static void conn_linger(struct admin_conn *c)
{
    char away[16384];
    for (unsigned i = 0; i < 16; i++) {
        ssize_t n = recv(c->fd, away, sizeof(away), 0);
        if (n > 0 || (n < 0 && errno == EINTR))
            continue;
        if (n == 0 || errno != EAGAIN)
            admin_conn_close(c);
        return;
    }
}

/* ---- the request ---- */

static void body_read(struct admin_conn *c)
{
    while (c->body_len < c->body_want) {
        ssize_t n = recv(c->fd, c->body + c->body_len, c->body_want - c->body_len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            admin_conn_close(c);
            return;
        }
        c->body_len += (size_t)n;
    }
    conn_answer(c);
}

/* Somebody who waits to be asked for a body would wait for long. It is little, and goes into an empty socket or not at all. */
static void body_ask(const struct admin_conn *c)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (c->parser.expect_continue && c->body_len < c->body_want)
        (void)!send(c->fd, go_on, sizeof go_on - 1, MSG_NOSIGNAL);
}

/* False: the answer says why it is not read. */
static bool body_fits(struct admin_conn *c)
{
    const struct http_parser *p = &c->parser;
    if (p->body == BODY_CHUNKED) {
        admin_say(c, 411, "", "A body needs its length here: Content-Length.");
        return false;
    }
    if (p->body == BODY_LENGTH && p->content_length > ADMIN_BODY_MAX) {
        admin_say(c, 413, "", "The body is larger than 16 MiB.");
        return false;
    }
    if (p->body == BODY_LENGTH && p->content_length > ADMIN_BODIES_MAX - c->admin->bodies) {
        admin_say(c, 503, "Retry-After: 1\r\n", "Too many bodies at a time.");
        return false;
    }
    return true;
}

static void body_begin(struct admin_conn *c)
{
    if (!body_fits(c)) {
        conn_answered(c);
        return;
    }
    size_t here = c->in_len - c->parser.head_len;
    c->body_want = c->parser.body == BODY_LENGTH ? (size_t)c->parser.content_length : 0;
    c->body_len = here < c->body_want ? here : c->body_want;
    c->body = mem_alloc(c->body_want + 1);
    c->admin->bodies += c->body_want;
    memcpy(c->body, c->in + c->parser.head_len, c->body_len);
    state_set(c, ADMIN_BODY, EV_READ, &c->admin->times->body);
    body_ask(c);
    body_read(c);
}

static void head_read(struct admin_conn *c)
{
    ssize_t n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        admin_conn_close(c);
        return;
    }
    c->in_len += (size_t)n;
    enum parse result = http_parse(&c->parser, c->in, c->in_len);
    if (result == PARSE_MORE && c->in_len < sizeof(c->in))
        return;
    if (result == PARSE_OK) {
        if (!admin_page_find(c))
            conn_answered(c);
        else if (admin_page_has_body(c->page))
            body_begin(c);
        else
            conn_answer(c);
        return;
    }
    enum http_fault fault = result == PARSE_BAD ? (enum http_fault)c->parser.fault : FAULT_HEAD_LONG;
    admin_say(c, http_fault_status(fault), "", http_fault_text(fault));
    conn_answered(c);
}

/* ---- events ---- */

static void on_io(evutil_socket_t fd, short what, void *arg)
{
    struct admin_conn *c = arg;
    (void)fd;
    (void)what;
    switch (c->state) {
    case ADMIN_HEAD:
        head_read(c);
        return;
    case ADMIN_BODY:
        body_read(c);
        return;
    case ADMIN_WRITE:
        conn_write(c);
        return;
    case ADMIN_LINGER:
        conn_linger(c);
        return;
    case ADMIN_ANSWER:
        break;                       /* it listens to no event */
    }
    unreachable();
}

/* Who waited for an answer is told that there is none; it may still come, to nobody. */
static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct admin_conn *c = arg;
    (void)fd;
    (void)what;
    if (c->state != ADMIN_ANSWER) {
        admin_conn_close(c);
        return;
    }
    c->owed->conn = NULL;
    c->owed = NULL;
    admin_say(c, 504, "", "The answer takes too long; what was asked for may still be done.");
    conn_answered(c);
}

void admin_conn_new(struct admin *a, int fd)
{
    struct admin_conn *c = mem_alloc(sizeof(*c));
    *c = (struct admin_conn){.admin = a, .fd = fd};
    http_parser_init(&c->parser, PARSE_REQUEST, &limits);
    list_init(&c->link);
    list_append(&a->conns, &c->link);
    a->n_conns++;
    evtimer_assign(&c->deadline, a->base, on_deadline, c);
    event_assign(&c->io, a->base, fd, EV_READ | EV_PERSIST, on_io, c);
    state_set(c, ADMIN_HEAD, EV_READ, &a->times->head);
}

/* What has come is read away first: a close with unread bytes would be a reset that takes the answer with it. */
void admin_refuse(int fd)
{
    struct page out = {0}, body = {0};
    char away[4096];
    page_printf(&body, "Too many connections.\n");
    admin_answer_put(&out, 503, ADMIN_TEXT, "", &body, false);
    if (send(fd, out.at, out.len, MSG_NOSIGNAL) > 0)
        shutdown(fd, SHUT_WR);
    for (unsigned i = 0; i < 16 && recv(fd, away, sizeof(away), 0) > 0; i++) {
    }
    close(fd);
    page_free(&out);
    page_free(&body);
}
