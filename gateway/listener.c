/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accepting. A bounded number of connections a turn, so that a flood of new ones does not starve those that are open; over
 * the cap a connection is answered 503 and closed at once. Without file descriptors it pauses instead of spinning.
 *
 * The event is level-triggered: what is left is reported again. So a turn takes as many as the last one found, twice as
 * many if there were more, and does not ask the kernel once more only to hear that there is nothing left.
 *
 * One that leaves goes on accepting for LAST_NS: a connection whose first bytes the kernel waits for (TCP_DEFER_ACCEPT), or
 * whose handshake is under way, would be reset by the close.
 */
#include "listener.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "client.h"
#include "crowd.h"
#include "forward.h"
#include "lib/check.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "tls_context.h"
#include "view.h"
#include "worker.h"

enum { ACCEPT_BUDGET = 64, BACKLOG = 4096, PAUSE_NS = 100000000, LAST_NS = 50000000 };

/* A socket file that nobody listens on any more may go; anything else in its place may not. Only a refused connection
 * says that nobody does: one that has to wait, or is not allowed, says that somebody may. */
static int clear_stale_unix(const struct listen_conf *conf, struct err *err)
{
    struct stat st;
    const char *path = conf->address.un.sun_path;
    if (lstat(path, &st) != 0)
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, "listen %s: the file exists and is no socket", conf->at.at);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(err, "listen %s: %s", conf->at.at, strerror(errno));
    int why = connect(fd, &conf->address.sa, conf->address.len) == 0 ? 0 : errno;
    close(fd);
    if (why == 0 || why == EAGAIN)
        return err_set(err, "listen %s: another process listens there", conf->at.at);
    if (why != ECONNREFUSED)
        return err_set(err, "listen %s: cannot tell whether another process listens there: %s", conf->at.at, strerror(why));
    return unlink(path) == 0 ? 0 : err_set(err, "listen %s: %s", conf->at.at, strerror(errno));
}

int listener_socket(const struct listen_conf *conf, unsigned how, int *out, struct err *err)
{
    const struct address *a = &conf->address;
    int one = 1, family = a->sa.sa_family;
    if (family == AF_UNIX && (how & LISTENER_FIRST) && clear_stale_unix(conf, err) != 0)
        return -1;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(err, "listen %s: %s", conf->at.at, strerror(errno));
    if (family != AF_UNIX) {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (!(how & LISTENER_TRY) && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0)
            goto fail;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);     /* inherited by what is accepted */
        /* In HTTP the client speaks first: a connection is handed over with its first bytes, or after a second. */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &one, sizeof one);
    }
    if (family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
    if (bind(fd, &a->sa, a->len) != 0)
        goto fail;
    if (!(how & LISTENER_TRY) && listen(fd, BACKLOG) != 0)
        goto fail;
    *out = fd;
    return 0;
fail:
    err_set(err, "listen %s: %s", conf->at.at, strerror(errno));
    close(fd);
    return -1;
}

static void listener_bury(struct worker *w, struct grave *g)
{
    (void)w;
    listener_free(container_of(g, struct listener, grave));
}

static void listener_again(struct timer *t, uint64_t now)
{
    (void)now;
    listener_start(container_of(t, struct listener, pause));
}

static void listener_pause(struct listener *l)
{
    if (!l->event)
        return;
    event_free(l->event);
    l->event = NULL;
}

size_t listener_refusal(const struct admission *a, char *out, size_t cap)
{
    char body[256];
    enum reason why = a->refused;
    uint64_t ms = (a->wait + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;
    int n = snprintf(body, sizeof body, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\","
                     "\"reason\":\"%s\"}\n", reason_title(why), reason_status(why), reason_detail(why), reason_name(why));
    check(n > 0 && (size_t)n < sizeof body);
    n = snprintf(out, cap, "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n"
                 "Retry-After: %llu\r\nretry-after-ms: %llu\r\nConnection: close\r\n\r\n%s", reason_status(why), reason_title(why),
                 n, (unsigned long long)(ms + 999) / 1000, (unsigned long long)ms, body);
    check(n > 0 && (size_t)n < cap);
    return (size_t)n;
}

/*
 * What has come is read away first: a close with unread bytes would be a reset, which can overtake the answer. Where TLS is
 * spoken, to say why would take the handshake that is refused.
 */
static void refuse(const struct listener *l, int fd, const struct admission *a)
{
    char text[LISTENER_REFUSAL_MAX], away[4096];
    if (!l->conf->tls) {
        if (send(fd, text, listener_refusal(a, text, sizeof text), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
            shutdown(fd, SHUT_WR);
        for (int i = 0; i < 16 && recv(fd, away, sizeof away, MSG_DONTWAIT) > 0; i++) {
        }
    }
    close(fd);
}

/* Without a word: who must not come here is told nothing. What he has sent already makes it a reset. */
static void turn_away(struct listener *l, int fd, const struct ip *ip)
{
    static struct log_limit limit;
    char text[IP_TEXT];
    close(fd);
    ip_format(ip, text);
    metric_add(&l->worker->metrics, METRIC_proxy_protocol_refused_total, 1);
    log_limited(&limit, LOG_WARN, "listener", STR_FMT ": a connection from %s, which is not in proxy_protocol.trusted, was closed",
                STR_ARG(l->conf->at), text);
}

/* The bound is of the whole process, and by default that of open files, which nobody wrote down. */
static void full_tell(struct listener *l)
{
    static struct log_limit limit;
    bool set = l->view->snap->max_connections != 0;
    metric_add(&l->worker->metrics, METRIC_client_connections_refused_total, 1);
    log_limited(&limit, LOG_WARN, "listener", STR_FMT ": a connection is refused: %llu are open, as many as %s",
                STR_ARG(l->conf->at), (unsigned long long)l->worker->max_connections,
                set ? "max_connections allows" : "the limit of open files allows; max_connections is not set");
}

static void greedy_tell(struct listener *l, const struct ip *peer, enum reason why)
{
    static struct log_limit limit;
    char text[IP_TEXT];
    ip_format(peer, text);
    metric_add(&l->worker->metrics, why == REASON_address_connections ? METRIC_address_connections_refused_total
                                                                      : METRIC_address_rate_refused_total, 1);
    log_limited(&limit, LOG_WARN, "listener", STR_FMT ": a connection from %s is refused: %s", STR_ARG(l->conf->at), text,
                reason_detail(why));
}

struct admission listener_admit(struct listener *l, const struct ip *peer)
{
    const struct per_address_conf *conf = &l->conf->per_address;
    struct worker *w = l->worker;
    struct admission a = {.refused = REASON_none};
    if ((!conf->connections && !conf->rate.tokens) || !w->crowd || peer->family == 0)
        return a;
    if (forward_trusts(&l->view->snap->trusted_proxies, peer))
        return a;                    /* many callers stand behind it */
    a.wait = NSEC_PER_SEC;
    uint64_t key = crowd_key(w->crowd, l->door, peer);
    enum crowd_verdict verdict = crowd_enter(w->crowd, key, conf, worker_now(w), &a.counted, &a.wait);
    if (verdict == CROWD_IN)
        return a;
    a.refused = verdict == CROWD_FULL ? REASON_address_connections : REASON_address_rate;
    greedy_tell(l, peer, a.refused);
    return a;
}

/* false: nothing more to be had now. */
static bool accept_one(struct listener *l)
{
    static struct log_limit limit;
    struct worker *w = l->worker;
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    int fd = accept4(l->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == ECONNABORTED || errno == EINTR)
            return true;
        if (errno != EAGAIN) {
            log_limited(&limit, LOG_ERROR, "listener", "accept on %s: %s", l->conf->at.at, strerror(errno));
            metric_add(&w->metrics, METRIC_accept_errors_total, 1);
            listener_pause(l);
            timer_set(&w->timers, &l->pause, time_after(worker_now(w), PAUSE_NS));
        }
        return false;
    }
    struct ip ip = ip_of_sockaddr((struct sockaddr *)&peer);
    enum client_start start = client_start_of(l->conf, &ip);
    if (start == CLIENT_REFUSED) {
        turn_away(l, fd, &ip);
        return true;
    }
    if (atomic_fetch_add_explicit(w->open_connections, 1, memory_order_relaxed) >= w->max_connections) {
        atomic_fetch_sub_explicit(w->open_connections, 1, memory_order_relaxed);
        full_tell(l);
        refuse(l, fd, &(struct admission){.refused = REASON_connections, .wait = NSEC_PER_SEC});
        return true;
    }
    struct admission a = {.refused = REASON_none};
    if (start == CLIENT_STARTS_PLAIN)
        a = listener_admit(l, &ip);      /* else it is not known yet whom it is for */
    if (a.refused == REASON_none) {
        client_accept(w, l, fd, &ip, a.counted);
        return true;
    }
    atomic_fetch_sub_explicit(w->open_connections, 1, memory_order_relaxed);
    refuse(l, fd, &a);
    return true;
}

static void listener_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct listener *l = arg;
    unsigned taken = 0;
    bool more = true;
    (void)worker_now(l->worker);
    while (taken < l->batch && (more = accept_one(l)))
        taken++;
    if (!more)
        l->batch = taken > 0 ? taken : 1;
    else if (l->batch < ACCEPT_BUDGET)
        l->batch *= 2;
}

static void listener_over(struct timer *t, uint64_t now)
{
    struct listener *l = container_of(t, struct listener, last);
    (void)now;
    listener_stop(l);
    if (l->clients == 0)
        worker_bury(l->worker, &l->grave, listener_bury);
}

struct listener *listener_new(struct worker *w, struct view *view, const struct listen_conf *conf, int fd)
{
    struct listener *l = mem_zalloc(sizeof *l);
    l->worker = w;
    l->view = view;
    view_use(view);
    l->conf = conf;
    l->fd = fd;
    l->batch = 1;
    l->door = w->crowd ? crowd_door(w->crowd, &conf->address) : 0;
    l->owns_name = fd >= 0 && w->id == 0 && conf->address.sa.sa_family == AF_UNIX;
    timer_init(&l->pause, listener_again);
    timer_init(&l->last, listener_over);
    list_append(&w->listeners, &l->link);
    return l;
}

void listener_start(struct listener *l)
{
    if (l->event || l->fd < 0 || l->worker->memory >= MEMORY_CONNECTIONS)
        return;
    l->event = event_new(l->worker->base, l->fd, EV_READ | EV_PERSIST, listener_event, l);
    check(l->event && event_add(l->event, NULL) == 0);
}

void listener_hold(struct listener *l) { listener_pause(l); }

void listener_last_call(struct listener *l)
{
    if (l->fd >= 0 && l->conf->address.sa.sa_family != AF_UNIX)
        (void)setsockopt(l->fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &(int){0}, sizeof(int));
}

/* While the socket still listens, so that whoever starts in our place cannot have made the file anew yet. */
static void name_remove(struct listener *l)
{
    if (l->owns_name)
        (void)unlink(l->conf->address.un.sun_path);
    l->owns_name = false;
}

void listener_stop(struct listener *l)
{
    if (l->fd < 0)
        return;
    name_remove(l);
    for (int i = 0; i < BACKLOG && accept_one(l); i++) {
    }
    listener_pause(l);
    timer_fini(&l->worker->timers, &l->pause);
    close(l->fd);
    l->fd = -1;
}

/* Who is connected got in under what was asked then: he is asked anew when he connects again. */
static void clients_outdate(struct listener *l)
{
    struct list *all = &l->worker->all_clients;
    l->asked++;
    for (struct list *n = all->next, *next; n != all; n = next) {
        struct client *c = container_of(n, struct client, link);
        next = n->next;
        if (c->listener == l)
            client_drain(c);
    }
}

void listener_set_view(struct listener *l, struct view *view, const struct listen_conf *conf)
{
    struct view *old = l->view;
    bool alike = tls_asks_alike(l->conf->tls, conf->tls);
    view_use(view);
    l->view = view;
    l->conf = conf;
    view_drop(old);
    if (!alike)
        clients_outdate(l);
}

void listener_leave(struct listener *l)
{
    l->leaving = true;
    name_remove(l);
    listener_last_call(l);
    timer_set(&l->worker->timers, &l->last, time_after(worker_now(l->worker), LAST_NS));
}

void listener_release(struct listener *l)
{
    check(l->clients > 0);
    if (--l->clients == 0 && l->leaving && !timer_is_set(&l->last))
        listener_free(l);
}

void listener_free(struct listener *l)
{
    listener_pause(l);
    timer_fini(&l->worker->timers, &l->pause);
    timer_fini(&l->worker->timers, &l->last);
    name_remove(l);
    if (l->fd >= 0)
        close(l->fd);
    list_remove(&l->link);
    view_drop(l->view);
    mem_free(l);
}
