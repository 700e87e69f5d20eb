/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `weir mock`: an upstream in one thread, to try a configuration against and to test with.
 *
 * It serves HTTP/1.1 with keep-alive, pipelining, chunked bodies and back-pressure in both directions, so that what is seen
 * through the gateway can be compared with what is seen without. It is no server for anything else: all its connections
 * are trusted not to be hostile, and none has a deadline.
 */
#include "mock.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>
#include "conf/snapshot.h"
#include "lib/err.h"
#include "lib/mem.h"
#include "mock_conn.h"

struct mock_listener {
    struct mock *mock;
    struct event accept;
    int fd;
    char *unix_path;                 /* NULL: none */
};

static void on_accept(evutil_socket_t listener, short what, void *arg)
{
    struct mock_listener *l = arg;
    (void)what;
    for (unsigned i = 0; i < 64; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        mock_conn_new(l->mock, fd);
    }
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
    struct mock *m = arg;
    (void)fd;
    (void)what;
    event_base_loopbreak(m->base);
}

/* Tells where it listens, in the words of --listen: a port that was 0 is the one it got. */
static void tell(const struct mock_listener *l, const char *at)
{
    struct address real = {0};
    char host[IP_TEXT];
    real.len = sizeof(real.un);
    if (l->unix_path || getsockname(l->fd, &real.sa, &real.len)) {
        printf("mock upstream on %s\n", at);
    } else {
        struct ip ip = ip_of_sockaddr(&real.sa);
        host[ip_format(&ip, host)] = '\0';
        printf(ip.family == 6 ? "mock upstream on [%s]:%u\n" : "mock upstream on %s:%u\n", host,
               port_of_sockaddr(&real.sa));
    }
    fflush(stdout);
}

static int listener_open(struct mock *m, struct mock_listener *l, const char *at)
{
    struct address address;
    struct err err = {0};
    int one = 1;

    l->mock = m;
    if (address_parse(str_c(at), &address, &err)) {
        fprintf(stderr, "weir mock: --listen %s: %s\n", at, err.text);
        return -1;
    }
    l->fd = socket(address.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd >= 0 && address.sa.sa_family != AF_UNIX)
        setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (l->fd < 0 || bind(l->fd, &address.sa, address.len) || listen(l->fd, 4096)) {
        fprintf(stderr, "weir mock: cannot listen on %s: %s\n", at, strerror(errno));
        return -1;
    }
    if (address.sa.sa_family == AF_UNIX)
        l->unix_path = mem_strdup(address.un.sun_path);
    event_assign(&l->accept, m->base, l->fd, EV_READ | EV_PERSIST, on_accept, l);
    event_add(&l->accept, NULL);
    tell(l, at);
    return 0;
}

static void listener_close(struct mock_listener *l)
{
    if (event_initialized(&l->accept))
        event_del(&l->accept);
    if (l->fd >= 0)
        close(l->fd);
    if (l->unix_path)
        unlink(l->unix_path);
    mem_free(l->unix_path);
}

static void raise_files(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static void mock_init(struct mock *m)
{
    uint64_t seed;
    rng_entropy(&seed, sizeof(seed));
    rng_seed(&m->rng, seed);
    m->base = event_base_new();
    check(m->base != NULL);
    slab_init(&m->blocks, BUF_BLOCK, 16);
    list_init(&m->conns);
    m->scratch = mem_alloc(MOCK_SCRATCH);
}

static void mock_fini(struct mock *m)
{
    while (!list_empty(&m->conns))
        mock_conn_free(container_of(m->conns.next, struct mock_conn, link));
    slab_fini(&m->blocks);
    mem_free(m->scratch);
    event_base_free(m->base);
}

/* Returns whether all is listening. */
static bool serve(struct mock *m, const struct mock_listen *listen, struct mock_listener *listeners)
{
    for (unsigned i = 0; i < listen->n; i++)
        if (listener_open(m, &listeners[i], listen->at[i]))
            return false;
    event_base_dispatch(m->base);
    return true;
}

int mock_main(int argc, char **argv)
{
    static const int signals[] = {SIGTERM, SIGINT};
    struct mock m = {0};
    struct mock_listen listen;
    struct mock_listener listeners[MOCK_LISTEN_MAX] = {0};
    struct event *ends[array_len(signals)];

    int result = mock_options_read(argc, argv, &m.options, &listen);
    if (result)
        return result < 0 ? 2 : 0;
    (void)signal(SIGPIPE, SIG_IGN);
    raise_files();
    mock_init(&m);
    for (size_t i = 0; i < array_len(signals); i++) {
        ends[i] = evsignal_new(m.base, signals[i], on_signal, &m);
        event_add(ends[i], NULL);
    }
    for (unsigned i = 0; i < listen.n; i++)
        listeners[i].fd = -1;
    bool served = serve(&m, &listen, listeners);
    for (unsigned i = 0; i < listen.n; i++)
        listener_close(&listeners[i]);
    for (size_t i = 0; i < array_len(signals); i++)
        event_free(ends[i]);
    mock_fini(&m);
    return served ? 0 : 1;
}
