/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin listener.
 *
 * A connection is one request: its head is read, one answer is made whole in memory, written, and the connection ended by
 * shutdown and a short wait for the other side's end, so that the answer is not lost to a reset when a body follows the
 * head. One deadline holds from accept to the last byte, whatever trickles; a second, short one for the wait. Who comes
 * as the 65th is answered 503 at once.
 *
 * Level-triggered events and a timer each are fine here: what runs through this listener is a scrape and a few probes.
 * Not here: what the pages say (admin_source), who may ask (bind it to an address that only those reach).
 */
#include "admin.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "http/parse.h"
#include "lib/clock.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/mem.h"

enum { CONNS_MAX = 64, HEAD_MAX = 8192 };

static const struct timeval request_time = {5, 0}, linger_time = {1, 0}, accept_pause = {0, 100000};
static const struct http_limits limits = {.head = HEAD_MAX, .target = 2048, .fields = HTTP_FIELDS_MAX};

struct admin {
    struct event_base *base;
    struct event accept_event, resume_event;
    struct admin_source source;
    bool probes_only;
    int fd;
    char *unix_path;                 /* to be removed at the end; NULL: none */
    struct list conns;
    unsigned n_conns;
    struct log_limit limit;          /* of what is said about failures to accept */
};

enum admin_state { ADMIN_READ, ADMIN_WRITE, ADMIN_LINGER };

struct admin_conn {
    struct list link;
    struct admin *admin;
    enum admin_state state;
    int fd;
    struct event io, deadline;
    struct http_parser parser;
    size_t in_len;
    char in[HEAD_MAX + 1];
    struct page out;
    size_t out_done;
};

struct admin_page {
    const char *path;
    bool probe;                      /* is also on the probes' listener */
    int (*make)(struct admin *, struct str query, struct page *);     /* returns the status */
    const char *type;
    bool order;                      /* POST: it changes something */
};

#define TEXT_TYPE "text/plain; charset=utf-8"

static int metrics_page(struct admin *a, struct str query, struct page *p)
{
    (void)query;
    a->source.metrics(a->source.ctx, p);
    return 200;
}

static int healthz_page(struct admin *a, struct str query, struct page *p)
{
    (void)query;
    (void)a;
    page_printf(p, "ok\n");
    return 200;
}

static int readyz_page(struct admin *a, struct str query, struct page *p)
{
    (void)query;
    if (!a->source.ready(a->source.ctx, p)) {
        if (p->len == 0 || p->at[p->len - 1] != '\n')
            page_printf(p, "%s\n", p->len ? "" : "not ready");
        return 503;
    }
    p->len = 0;
    page_printf(p, "ok\n");
    return 200;
}

static int limits_page(struct admin *a, struct str query, struct page *p)
{
    return a->source.limits(a->source.ctx, query, p);
}

static int upstreams_page(struct admin *a, struct str query, struct page *p)
{
    return a->source.upstreams(a->source.ctx, query, p);
}

static int command_page(struct admin *a, struct str query, struct page *p)
{
    return a->source.command(a->source.ctx, query, p);
}

static const struct admin_page pages[] = {
    {"/healthz", true, healthz_page, TEXT_TYPE, false},
    {"/readyz", true, readyz_page, TEXT_TYPE, false},
    {"/metrics", false, metrics_page, "text/plain; version=0.0.4; charset=utf-8", false},
    {"/limits", false, limits_page, "application/json", false},
    {"/upstreams", false, upstreams_page, "application/json", false},
    {"/command", false, command_page, "application/json", true},
};

static void conn_close(struct admin_conn *c)
{
    event_del(&c->io);
    event_del(&c->deadline);
    close(c->fd);
    list_remove(&c->link);
    c->admin->n_conns--;
    page_free(&c->out);
    mem_free(c);
}

static const char *phrase(int status)
{
    static const struct { int status; const char *text; } rows[] = {
        {200, "OK"}, {400, "Bad Request"}, {403, "Forbidden"}, {404, "Not Found"}, {405, "Method Not Allowed"},
        {414, "URI Too Long"}, {417, "Expectation Failed"}, {431, "Request Header Fields Too Large"},
        {501, "Not Implemented"}, {503, "Service Unavailable"}, {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < array_len(rows); i++)
        if (rows[i].status == status)
            return rows[i].text;
    return "Error";
}

/* The whole answer into `out`; the body's bytes are left out for HEAD. */
static void put_answer(struct page *out, int status, const char *type, const char *more, const struct page *body, bool head)
{
    char date[30];
    clock_http_date(clock_wall(&clock_real), date);
    page_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n"
                     "%sConnection: close\r\n\r\n", status, phrase(status), date, type, body->len, more);
    if (!head && body->len)
        page_printf(out, "%s", body->at);
}

static void answer_text(struct page *out, int status, const char *more, const char *text)
{
    struct page body = {0};
    page_printf(&body, "%s\n", text);
    put_answer(out, status, TEXT_TYPE, more, &body, false);
    page_free(&body);
}

static void answer_unknown(struct admin_conn *c, bool head)
{
    struct page body = {0};
    page_printf(&body, "There is no such page here. There are:\n");
    for (size_t i = 0; i < array_len(pages); i++)
        if (pages[i].probe || !c->admin->probes_only)
            page_printf(&body, "%s\n", pages[i].path);
    put_answer(&c->out, 404, TEXT_TYPE, "", &body, head);
    page_free(&body);
}

/* A page in a browser can send orders to whatever its user can reach; it says where it comes from. */
static bool from_a_browser(const struct admin_conn *c)
{
    const struct http_parser *p = &c->parser;
    for (unsigned i = 0; i < p->n; i++)
        if (str_eq_nocase(str_of(c->in + p->fields[i].at, p->fields[i].name_len), STR("origin")))
            return true;
    return false;
}

/* May it be done to the page? Answers if not. */
static bool method_fits(struct admin_conn *c, const struct admin_page *page, struct str method)
{
    bool get = str_eq(method, STR("GET")) || str_eq(method, STR("HEAD"));
    if (page->order && from_a_browser(c)) {
        answer_text(&c->out, 403, "", "Orders are not taken from web pages.");
        return false;
    }
    if (page->order ? str_eq(method, STR("POST")) : get)
        return true;
    answer_text(&c->out, 405, page->order ? "Allow: POST\r\n" : "Allow: GET, HEAD\r\n",
                page->order ? "This is an order: POST it." : "Only GET and HEAD are served here.");
    return false;
}

static void answer(struct admin_conn *c)
{
    const struct http_parser *p = &c->parser;
    struct str method = str_of(c->in + p->start, p->method_len);
    struct str path = str_of(c->in + p->path_at, p->path_len);
    const char *mark = path.len ? memchr(path.at, '?', path.len) : NULL;
    struct str query = {NULL, 0};
    bool head = str_eq(method, STR("HEAD"));

    if (mark) {
        query = str_of(mark + 1, path.len - (size_t)(mark - path.at) - 1);
        path.len = (size_t)(mark - path.at);
    }
    for (size_t i = 0; i < array_len(pages); i++) {
        if ((c->admin->probes_only && !pages[i].probe) || !str_eq(path, str_c(pages[i].path)))
            continue;
        if (!method_fits(c, &pages[i], method))
            return;
        struct page body = {0};
        int status = pages[i].make(c->admin, query, &body);
        put_answer(&c->out, status, pages[i].type, "", &body, head);
        page_free(&body);
        return;
    }
    answer_unknown(c, head);
}

/* From now on `what` is waited for, at most for `time` (NULL: the deadline stays). */
static void conn_set_state(struct admin_conn *c, enum admin_state state, short what, const struct timeval *time)
{
    event_callback_fn callback = event_get_callback(&c->io);
    event_del(&c->io);
    c->state = state;
    event_assign(&c->io, c->admin->base, c->fd, (short)(what | EV_PERSIST), callback, c);
    event_add(&c->io, NULL);
    if (time)
        event_add(&c->deadline, time);
}

/* These return false when the connection is closed. */

static bool conn_write(struct admin_conn *c)
{
    while (c->out_done < c->out.len) {
        ssize_t n = send(c->fd, c->out.at + c->out_done, c->out.len - c->out_done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n < 0) {
            conn_close(c);
            return false;
        }
        c->out_done += (size_t)n;
    }
    shutdown(c->fd, SHUT_WR);
    conn_set_state(c, ADMIN_LINGER, EV_READ, &linger_time);
    return true;
}

static void conn_linger(struct admin_conn *c)
{
    char away[16384];
    for (unsigned i = 0; i < 16; i++) {
        ssize_t n = recv(c->fd, away, sizeof(away), 0);
        if (n > 0 || (n < 0 && errno == EINTR))
            continue;
        if (n == 0 || errno != EAGAIN)
            conn_close(c);
        return;
    }
}

static void conn_read(struct admin_conn *c)
{
    ssize_t n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        conn_close(c);
        return;
    }
    c->in_len += (size_t)n;
    enum parse result = http_parse(&c->parser, c->in, c->in_len);
    if (result == PARSE_MORE && c->in_len < sizeof(c->in))
        return;
    if (result == PARSE_OK) {
        answer(c);
    } else {
        enum http_fault fault = result == PARSE_BAD ? (enum http_fault)c->parser.fault : FAULT_HEAD_LONG;
        answer_text(&c->out, http_fault_status(fault), "", http_fault_text(fault));
    }
    conn_set_state(c, ADMIN_WRITE, EV_WRITE, NULL);
    conn_write(c);
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
    struct admin_conn *c = arg;
    (void)fd;
    (void)what;
    switch (c->state) {
    case ADMIN_READ:
        conn_read(c);
        return;
    case ADMIN_WRITE:
        conn_write(c);
        return;
    case ADMIN_LINGER:
        conn_linger(c);
        return;
    }
    unreachable();
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    conn_close(arg);
}

/* What has come is read away first: a close with unread bytes would be a reset that takes the answer with it. */
static void refuse(int fd)
{
    struct page out = {0};
    char away[4096];
    answer_text(&out, 503, "", "Too many connections.");
    if (send(fd, out.at, out.len, MSG_NOSIGNAL) > 0)
        shutdown(fd, SHUT_WR);
    for (unsigned i = 0; i < 16 && recv(fd, away, sizeof(away), 0) > 0; i++) {
    }
    close(fd);
    page_free(&out);
}

static void conn_new(struct admin *a, int fd)
{
    struct admin_conn *c = mem_alloc(sizeof(*c));
    c->admin = a;
    c->fd = fd;
    c->state = ADMIN_READ;
    c->in_len = c->out_done = 0;
    c->out = (struct page){0};
    http_parser_init(&c->parser, PARSE_REQUEST, &limits);
    list_init(&c->link);
    list_append(&a->conns, &c->link);
    a->n_conns++;
    evtimer_assign(&c->deadline, a->base, on_deadline, c);
    event_add(&c->deadline, &request_time);
    event_assign(&c->io, a->base, fd, EV_READ | EV_PERSIST, on_io, c);
    event_add(&c->io, NULL);
}

static void on_accept(evutil_socket_t listener, short what, void *arg)
{
    struct admin *a = arg;
    (void)what;
    for (unsigned i = 0; i < CONNS_MAX; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0 && a->n_conns < CONNS_MAX) {
            conn_new(a, fd);
        } else if (fd >= 0) {
            refuse(fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            /* The connection stays in the queue and the listener readable: pause instead of spinning. */
            log_limited(&a->limit, LOG_WARN, "admin", "accept: %s", strerror(errno));
            event_del(&a->accept_event);
            event_add(&a->resume_event, &accept_pause);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    struct admin *a = arg;
    (void)fd;
    (void)what;
    event_add(&a->accept_event, NULL);
}

/* A socket's file that a process left behind is removed; one that somebody listens on is not. */
static void remove_stale(const struct address *at)
{
    struct stat st;
    if (at->sa.sa_family != AF_UNIX || !at->un.sun_path[0] || lstat(at->un.sun_path, &st) || !S_ISSOCK(st.st_mode))
        return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (connect(fd, &at->sa, at->len) && errno == ECONNREFUSED)
        unlink(at->un.sun_path);
    close(fd);
}

static int listen_on(struct admin *a, const struct listen_conf *conf, struct err *err)
{
    const struct address *at = &conf->address;
    int one = 1;
    remove_stale(at);
    a->fd = socket(at->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (a->fd < 0)
        return err_set(err, "admin: " STR_FMT ": socket: %s", STR_ARG(conf->at), strerror(errno));
    if (at->sa.sa_family != AF_UNIX)
        setsockopt(a->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(a->fd, &at->sa, at->len) || listen(a->fd, CONNS_MAX))
        return err_set(err, "admin: cannot listen on " STR_FMT ": %s", STR_ARG(conf->at), strerror(errno));
    if (at->sa.sa_family == AF_UNIX && at->un.sun_path[0])
        a->unix_path = mem_strdup(at->un.sun_path);
    return 0;
}

int admin_open(struct event_base *base, const struct listen_conf *conf, bool probes_only, const struct admin_source *source,
               struct admin **out, struct err *err)
{
    struct admin *a = mem_zalloc(sizeof(*a));
    *out = NULL;
    a->base = base;
    a->source = *source;
    a->probes_only = probes_only;
    a->fd = -1;
    list_init(&a->conns);
    if (listen_on(a, conf, err)) {
        if (a->fd >= 0)
            close(a->fd);
        mem_free(a);
        return -1;
    }
    event_assign(&a->accept_event, base, a->fd, EV_READ | EV_PERSIST, on_accept, a);
    evtimer_assign(&a->resume_event, base, on_resume, a);
    event_add(&a->accept_event, NULL);
    *out = a;
    return 0;
}

void admin_close(struct admin **at)
{
    struct admin *a = *at;
    *at = NULL;
    if (!a)
        return;
    while (!list_empty(&a->conns))
        conn_close(container_of(a->conns.next, struct admin_conn, link));
    event_del(&a->accept_event);
    event_del(&a->resume_event);
    close(a->fd);
    if (a->unix_path)
        unlink(a->unix_path);
    mem_free(a->unix_path);
    mem_free(a);
}

unsigned admin_port(const struct admin *a)
{
    struct address at = {0};
    at.len = sizeof(at.un);
    if (getsockname(a->fd, &at.sa, &at.len))
        return 0;
    return at.sa.sa_family == AF_UNIX ? 0 : port_of_sockaddr(&at.sa);
}
