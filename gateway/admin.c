/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin listener: a socket, and those who came to it.
 *
 * What runs through it is a scrape, a few probes and now and then an order, so level-triggered events and a timer each are fine
 * here. Who comes as the 65th is answered 503 at once.
 *
 * A reload may give the listener another address, and be asked for through the old one. So the old one is not closed but handed
 * over: it lets nobody in any more, and is gone when the last of those who are there has got an answer.
 *
 * Who may ask: whoever says the token. Where none is configured, whoever reaches the address, which is then one of this machine:
 * the configuration sees to that, and a unix socket is made for its owner alone.
 *
 * Not here: what the pages say (admin_source).
 */
#include "admin.h"

#include <errno.h>
#include <event2/event.h>
#include <sys/stat.h>
#include <unistd.h>
#include "admin_conn.h"
#include "lib/mem.h"

static const struct timeval accept_pause = {0, 100000};

const struct admin_times admin_times_default = {
    .head = {5, 0}, .body = {10, 0}, .answer = {30, 0}, .write = {5, 0}, .linger = {1, 0},
};

static void on_accept(evutil_socket_t listener, short what, void *arg)
{
    struct admin *a = arg;
    (void)what;
    for (unsigned i = 0; i < ADMIN_CONNS_MAX; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0 && a->n_conns < ADMIN_CONNS_MAX) {
            admin_conn_new(a, fd);
        } else if (fd >= 0) {
            admin_refuse(fd);
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
    if (bind(a->fd, &at->sa, at->len) != 0)
        return err_set(err, "admin: cannot listen on " STR_FMT ": %s", STR_ARG(conf->at), strerror(errno));
    if (at->sa.sa_family == AF_UNIX && at->un.sun_path[0])
        a->unix_path = mem_strdup(at->un.sun_path);
    /* Before it listens, so that nobody else can have come in. */
    if ((a->unix_path && chmod(a->unix_path, S_IRUSR | S_IWUSR) != 0) || listen(a->fd, ADMIN_CONNS_MAX) != 0) {
        err_set(err, "admin: cannot listen on " STR_FMT ": %s", STR_ARG(conf->at), strerror(errno));
        if (a->unix_path)
            unlink(a->unix_path);
        mem_free(a->unix_path);
        return -1;
    }
    return 0;
}

void admin_set_token(struct admin *a, struct str token)
{
    char *old = a->token;
    a->token = NULL;
    if (token.len) {
        a->token = mem_zalloc(token.len + 1);
        memcpy(a->token, token.at, token.len);
    }
    if (old)
        explicit_bzero(old, strlen(old));
    mem_free(old);
}

int admin_open(struct event_base *base, const struct listen_conf *conf, bool probes_only, const struct admin_source *source,
               struct admin **out, struct err *err)
{
    struct admin *a = mem_zalloc(sizeof(*a));
    *out = NULL;
    a->base = base;
    a->source = *source;
    a->times = source->times ? source->times : &admin_times_default;
    a->probes_only = probes_only;
    a->fd = -1;
    list_init(&a->conns);
    list_init(&a->link);
    list_init(&a->heirloom);
    if (listen_on(a, conf, err)) {
        if (a->fd >= 0)
            close(a->fd);
        mem_free(a);
        return -1;
    }
    if (!probes_only)
        admin_set_token(a, conf->token);
    event_assign(&a->accept_event, base, a->fd, EV_READ | EV_PERSIST, on_accept, a);
    evtimer_assign(&a->resume_event, base, on_resume, a);
    event_add(&a->accept_event, NULL);
    *out = a;
    return 0;
}

static void stop_accepting(struct admin *a)
{
    if (a->fd < 0)
        return;
    event_del(&a->accept_event);
    event_del(&a->resume_event);
    close(a->fd);
    a->fd = -1;
    if (a->unix_path)
        unlink(a->unix_path);
    mem_free(a->unix_path);
    a->unix_path = NULL;
}

static void admin_free(struct admin *a)
{
    stop_accepting(a);
    list_remove(&a->link);
    admin_set_token(a, (struct str){NULL, 0});
    mem_free(a);
}

void admin_conn_gone(struct admin *a)
{
    if (a->fd < 0 && a->n_conns == 0)
        admin_free(a);
}

void admin_hand_over(struct admin **at, struct admin *heir)
{
    struct admin *a = *at;
    struct list *older;
    *at = NULL;
    if (!a)
        return;
    while ((older = list_pop(&a->heirloom)) != NULL)
        list_append(&heir->heirloom, older);
    list_append(&heir->heirloom, &a->link);
    on_accept(a->fd, 0, a);          /* who stands at the door already was told that somebody is here */
    stop_accepting(a);
    admin_conn_gone(a);
}

void admin_close(struct admin **at)
{
    struct admin *a = *at;
    *at = NULL;
    if (!a)
        return;
    while (!list_empty(&a->heirloom)) {
        struct admin *older = container_of(a->heirloom.next, struct admin, link);
        admin_close(&older);
    }
    stop_accepting(a);
    a->n_conns++;                    /* of its own, so that the last one to go does not take it along */
    while (!list_empty(&a->conns))
        admin_conn_close(container_of(a->conns.next, struct admin_conn, link));
    admin_free(a);
}

unsigned admin_port(const struct admin *a)
{
    struct address at = {0};
    at.len = sizeof(at.un);
    if (getsockname(a->fd, &at.sa, &at.len))
        return 0;
    return at.sa.sa_family == AF_UNIX ? 0 : port_of_sockaddr(&at.sa);
}
