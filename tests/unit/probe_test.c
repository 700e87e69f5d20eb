/* SPDX-License-Identifier: Apache-2.0 */
/* Checks against scripted servers on loopback and unix sockets, all on one loop. The times are the real ones, and short. */
#include "probe.h"
#include "diag_fixture.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include "conf/shared.h"
#include "lib/log.h"
#include "lib/rng.h"

enum { SERVERS = 12, CONNS = 64 };
enum how { WHOLE, DRIP, SILENT, RESET, FLOOD };

#define INTERIM "HTTP/1.1 100 Continue\r\n\r\n"

struct server;

struct conn {
    struct server *server;
    struct event io;
    int fd;                          /* -1: free */
    size_t in_len, out;
    char in[2000];
};

/* Answers each request with `say`, then closes; `how` says in which pieces, if at all. */
struct server {
    struct event accept;
    struct address address;
    int fd;
    const char *say;
    enum how how;
    unsigned got;                    /* requests, or connections where it is silent */
    char request[2000];              /* the last */
    uint64_t first;                  /* when its first connection came; 0: none yet */
};

struct world {
    struct event_base *base;
    struct shared_set *set;
    struct snapshot *snap;
    struct healths healths;
    struct probes *probes;
    struct server servers[SERVERS];
    struct conn conns[CONNS];
    unsigned n;
    char dir[40];
};

static struct world world;

static void conn_end(struct conn *c)
{
    event_del(&c->io);
    close(c->fd);
    c->fd = -1;
}

static void conn_answer(struct conn *c)
{
    const struct server *s = c->server;
    size_t len = strlen(s->say);
    if (s->how == SILENT)
        return;
    if (s->how == RESET)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    while (s->how != RESET && c->out < len) {
        ssize_t n = send(c->fd, s->say + c->out, s->how == WHOLE ? len - c->out : 1, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        c->out += (size_t)n;
        if (s->how == FLOOD && c->out == len)
            c->out = sizeof INTERIM - 1;             /* of many */
        if (s->how != WHOLE && c->out < len) {
            struct timeval next = {0, 0};            /* when the loop has gone around */
            event_add(&c->io, &next);
            return;
        }
    }
    conn_end(c);
}

static void on_conn(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;
    if (c->out > 0) {
        conn_answer(c);
        return;
    }
    ssize_t n = what & EV_READ ? recv(fd, c->in + c->in_len, sizeof c->in - 1 - c->in_len, 0) : -1;
    if (n <= 0) {
        conn_end(c);
        return;
    }
    c->in_len += (size_t)n;
    c->in[c->in_len] = '\0';
    if (!strstr(c->in, "\r\n\r\n"))
        return;
    c->server->got++;
    memcpy(c->server->request, c->in, c->in_len + 1);
    conn_answer(c);
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    struct server *s = arg;
    struct conn *c = world.conns;
    (void)what;
    while (c->fd >= 0)
        c++;
    c->server = s;
    c->in_len = c->out = 0;
    c->fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (c->fd < 0)
        return;
    if (s->first == 0)
        s->first = clock_mono(&clock_real);
    event_assign(&c->io, world.base, c->fd, EV_READ | EV_PERSIST, on_conn, c);
    event_add(&c->io, NULL);
}

static struct server *server_listen(struct server *s, bool unix_socket)
{
    struct address *a = &s->address;
    *s = (struct server){.say = "HTTP/1.1 200 OK\r\n\r\n", .how = WHOLE};
    if (unix_socket) {
        a->un.sun_family = AF_UNIX;
        snprintf(a->un.sun_path, sizeof a->un.sun_path, "%s/%u", world.dir, world.n);
        a->len = sizeof a->un;
    } else {
        a->in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        a->len = sizeof a->in;
    }
    world.n++;
    s->fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(s->fd, &a->sa, a->len) || listen(s->fd, 16) || getsockname(s->fd, &a->sa, &a->len))
        abort();
    event_assign(&s->accept, world.base, s->fd, EV_READ | EV_PERSIST, on_accept, s);
    event_add(&s->accept, NULL);
    return s;
}

static void server_end(struct server *s)
{
    if (s->fd < 0)
        return;
    event_del(&s->accept);
    close(s->fd);
    s->fd = -1;
}

/* A port that nobody listens at. */
static struct address nowhere(void)
{
    struct address a = {.len = sizeof a.in};
    a.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, &a.sa, a.len) || getsockname(fd, &a.sa, &a.len))
        abort();
    close(fd);
    return a;
}

static void world_init(void)
{
    memset(&world, 0, sizeof world);
    world.base = event_base_new();
    world.set = shared_set_new();
    log_set_level(LOG_ERROR);
    snprintf(world.dir, sizeof world.dir, "/tmp/weir-probe-XXXXXX");
    if (!mkdtemp(world.dir))
        abort();
    for (unsigned i = 0; i < SERVERS; i++)
        world.servers[i].fd = -1;
    for (unsigned i = 0; i < CONNS; i++)
        world.conns[i].fd = -1;
}

static const struct filter *const no_filters[] = {NULL};

static void conf_read(const char *urls, const char *more)
{
    struct err err;
    char text[2000];
    uint64_t now = clock_mono(&clock_real);
    snprintf(text, sizeof text, "version: 1\nlisten: 127.0.0.1:80\nupstreams: {api: {endpoints: [%s]%s}}\n"
             "routes: [{match: /, upstream: api}]\n", urls, more);
    world.snap = snapshot_from(text, "t", no_filters, world.set, now, &err);
    EXPECT_CSTR(err.text, "");
    healths_open(&world.healths, world.snap, now);
}

/* `urls`: of the endpoints, quoted, with commas. */
static void probes_begin(const char *urls, const char *more, uint64_t seed)
{
    conf_read(urls, more);
    world.probes = probes_new(world.base, &clock_real, &world.healths, seed);
}

static void probes_end(void)
{
    probes_free(&world.probes);
    healths_close(&world.healths);
    snapshot_unref(&world.snap);
}

static unsigned open_files(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d))
        n++;
    closedir(d);
    return n;
}

static void world_fini(void)
{
    if (world.snap)
        probes_end();
    for (unsigned i = 0; i < SERVERS; i++)
        server_end(&world.servers[i]);
    for (unsigned i = 0; i < CONNS; i++)
        if (world.conns[i].fd >= 0)
            conn_end(&world.conns[i]);
    event_base_free(world.base);
    shared_set_free(world.set);
    for (unsigned i = 0; i < world.n; i++) {
        char path[80];
        snprintf(path, sizeof path, "%s/%u", world.dir, i);
        unlink(path);
    }
    rmdir(world.dir);
}

static struct health_seen seen_of(size_t at)
{
    struct health_seen seen;
    health_look(world.healths.v[0], at, clock_mono(&clock_real), &seen);
    return seen;
}

/* Until so many checks of an endpoint ended, for at most 5 s. */
static void run(size_t at, uint64_t n)
{
    uint64_t until = clock_mono(&clock_real) + 5 * NSEC_PER_SEC;
    while (seen_of(at).checks_ok + seen_of(at).checks_failed < n && clock_mono(&clock_real) < until) {
        struct timeval while_ = {0, 20000};
        event_base_loopexit(world.base, &while_);
        event_base_loop(world.base, EVLOOP_ONCE);
    }
    EXPECT(seen_of(at).checks_ok + seen_of(at).checks_failed >= n);
}

static void run_until(size_t at, const char *state)
{
    uint64_t until = clock_mono(&clock_real) + 5 * NSEC_PER_SEC;
    while (strcmp(health_state_name(seen_of(at).state), state) && clock_mono(&clock_real) < until)
        run(at, seen_of(at).checks_ok + seen_of(at).checks_failed + 1);
    EXPECT_CSTR(health_state_name(seen_of(at).state), state);
}

/* A seed with which the first check comes within 2 ms although the interval, and so the timeout, is long: a test that does not
 * want to see one time out must not depend on how busy the machine is. */
static uint64_t soon(uint64_t every)
{
    for (uint64_t seed = 0;; seed++) {
        struct rng rng;
        rng_seed(&rng, seed);
        if (rng_below(&rng, every) < 2 * NSEC_PER_MSEC)
            return seed;
    }
}

static const char *url_of(const struct server *s)
{
    static char url[130];
    if (s->address.sa.sa_family == AF_UNIX)
        snprintf(url, sizeof url, "\"unix:%s\"", s->address.un.sun_path);
    else
        snprintf(url, sizeof url, "\"http://127.0.0.1:%u\"", ntohs(s->address.in.sin_port));
    return url;
}

#define PATIENT ", health: {path: /healthz, every: 3s, timeout: 3s, fall: 1}"
#define CHECK(MORE) ", health: {path: /healthz, every: 10ms, timeout: 10ms" MORE "}"

/* ---- what is sent ---- */

TEST(the_request)
{
    static const struct { bool unix_socket; const char *more, *first, *host; } rows[] = {
        {false, "", "GET /healthz HTTP/1.1", NULL}, {true, "", "GET /healthz HTTP/1.1", "localhost"},
        {false, ", host: endpoint", "GET /healthz HTTP/1.1", NULL},
        {false, ", host: api.test", "GET /healthz HTTP/1.1", "api.test"},
        {true, ", host: \"api.test:81\"", "GET /healthz HTTP/1.1", "api.test:81"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        char more[200], wanted[400], own[80];
        world_init();
        struct server *s = server_listen(&world.servers[0], rows[i].unix_socket);
        snprintf(more, sizeof more, "%s" PATIENT, rows[i].more);
        snprintf(own, sizeof own, "127.0.0.1:%u", ntohs(s->address.in.sin_port));
        snprintf(wanted, sizeof wanted, "%s\r\nHost: %s\r\nUser-Agent: weir-health\r\nAccept: */*\r\nConnection: close\r\n\r\n",
                 rows[i].first, rows[i].host ? rows[i].host : own);
        test_row("%s", more);
        probes_begin(url_of(s), more, soon(3 * NSEC_PER_SEC));
        run(0, 1);
        EXPECT_CSTR(s->request, wanted);
        EXPECT_EQ(seen_of(0).checks_failed, 0);
        world_fini();
    }
}

TEST(a_path_with_a_query)
{
    world_init();
    struct server *s = server_listen(&world.servers[0], true);
    probes_begin(url_of(s), ", health: {path: \"/up?deep=1&x=%2F\", every: 10ms, timeout: 10ms}", 1);
    run(0, 1);
    EXPECT(strstr(s->request, "GET /up?deep=1&x=%2F HTTP/1.1\r\n") == s->request);
    world_fini();
}

/* ---- what comes back ---- */

static char large[20000];            /* a head */

TEST(answers)
{
    static const struct { const char *name, *say; enum how how; const char *failure; } rows[] = {
        {"200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", WHOLE, ""},
        {"1.0", "HTTP/1.0 200 OK\r\n\r\nok", WHOLE, ""},
        {"drip", "HTTP/1.1 204 No\r\n\r\n", DRIP, ""},
        {"redirect", "HTTP/1.1 302 There\r\nLocation: /x\r\n\r\n", WHOLE, ""},
        {"no body yet", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", WHOLE, ""},
        {"interim", INTERIM "HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", WHOLE, ""},
        {"interim, dripping", INTERIM "HTTP/1.1 200 OK\r\n\r\n", DRIP, ""},
        {"interim, then no", INTERIM "HTTP/1.1 503 OK\r\n\r\n", WHOLE, "503"},
        {"interim alone", INTERIM, WHOLE, "upstream_reset"},
        {"500", "HTTP/1.1 500 No\r\n\r\n", WHOLE, "500"},
        {"404", "HTTP/1.1 404 No\r\n\r\n", WHOLE, "404"},
        {"101", "HTTP/1.1 101 Switch\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", WHOLE, "101"},
        {"nonsense", "nonsense\r\n\r\n", WHOLE, "upstream_bad"},
        {"000", "HTTP/1.1 000 OK\r\n\r\n", WHOLE, "upstream_bad"},
        {"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", WHOLE, "upstream_bad"},
        {"closed", "", WHOLE, "upstream_reset"},
        {"closed in the head", "HTTP/1.1 200 OK\r\nA: b\r\n", WHOLE, "upstream_reset"},
        {"reset", "", RESET, "upstream_reset"},
        {"silent", "", SILENT, "first_byte_timeout"},
        {"too large", large, WHOLE, "upstream_bad"},
    };
    memset(large, 'x', sizeof large - 1);
    memcpy(large, "HTTP/1.1 200 OK\r\nA: ", 20);
    for (size_t k = 0; k < 2 * array_len(rows); k++) {
        size_t i = k / 2;
        test_row("%s, %s", rows[i].name, k % 2 ? "unix" : "tcp");
        world_init();
        struct server *s = server_listen(&world.servers[0], k % 2);
        s->say = rows[i].say;
        s->how = rows[i].how;
        if (rows[i].how == SILENT)
            probes_begin(url_of(s), CHECK(", fall: 1"), 1);
        else
            probes_begin(url_of(s), PATIENT, soon(3 * NSEC_PER_SEC));
        run(0, 1);
        EXPECT_CSTR(seen_of(0).last_failure.text, rows[i].failure);
        EXPECT_CSTR(health_state_name(seen_of(0).state), rows[i].failure[0] ? "down" : "up");
        world_fini();
    }
}

TEST(a_flood_of_interim_answers_ends_with_the_deadline)
{
    world_init();
    struct server *s = server_listen(&world.servers[0], true);
    s->say = INTERIM INTERIM;
    s->how = FLOOD;
    probes_begin(url_of(s), CHECK(""), 1);
    run(0, 2);
    EXPECT_EQ(seen_of(0).checks_ok, 0);
    EXPECT_CSTR(seen_of(0).last_failure.text, "first_byte_timeout");
    world_fini();
}

TEST(nobody_there)
{
    char url[80], gone[100];
    struct address a = nowhere();
    world_init();
    snprintf(gone, sizeof gone, "\"http://127.0.0.1:%u\", \"unix:%s/none\"", ntohs(a.in.sin_port), world.dir);
    probes_begin(gone, CHECK(""), 1);
    run(0, 3);
    run(1, 3);
    for (size_t i = 0; i < 2; i++) {
        EXPECT_CSTR(seen_of(i).last_failure.text, "connect_failed");
        EXPECT_CSTR(health_state_name(seen_of(i).state), "down");
    }
    probes_end();

    /* Somebody is, but never accepts: the queue is full. */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), held[3];
    a = (struct address){.len = sizeof a.in};
    a.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, &a.sa, a.len) || listen(fd, 0) || getsockname(fd, &a.sa, &a.len))
        abort();
    for (int i = 0; i < 3; i++) {
        held[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(held[i], &a.sa, a.len);
    }
    snprintf(url, sizeof url, "\"http://127.0.0.1:%u\"", ntohs(a.in.sin_port));
    probes_begin(url, CHECK(", fall: 1"), 1);
    run(0, 1);
    EXPECT_CSTR(seen_of(0).last_failure.text, "connect_timeout");
    for (int i = 0; i < 3; i++)
        close(held[i]);
    close(fd);
    world_fini();
}

TEST(it_goes_and_comes_back)
{
    world_init();
    struct server *s = server_listen(&world.servers[0], true);
    probes_begin(url_of(s), CHECK(""), 1);
    run(0, 3);
    EXPECT_CSTR(health_state_name(seen_of(0).state), "up");
    s->say = "HTTP/1.1 503 No\r\n\r\n";
    run_until(0, "down");
    s->say = "HTTP/1.1 200 OK\r\n\r\n";
    run_until(0, "ramping");
    world_fini();
}

/* ---- addresses ---- */

/* The check takes the next address each time, and the others while they refuse. */
TEST(several_addresses)
{
    world_init();
    struct server *a = server_listen(&world.servers[0], false), *b = server_listen(&world.servers[1], false);
    struct address v[3] = {nowhere(), a->address, b->address};
    probes_begin("\"http://name.test\"", CHECK(", fall: 1"), 1);
    struct timeval while_ = {0, 30000};
    event_base_loopexit(world.base, &while_);
    event_base_dispatch(world.base);
    EXPECT_EQ(seen_of(0).checks_ok + seen_of(0).checks_failed, 0);       /* nothing to ask yet */
    probes_addresses(world.probes, STR("name.test"), v, 3);
    health_addresses(world.healths.v[0]->v[0], 3);
    run(0, 9);
    EXPECT(strcmp(seen_of(0).last_failure.text, "connect_failed"));
    EXPECT(a->got >= 1 && b->got >= 1);
    server_end(a);
    server_end(b);
    v[1] = nowhere();
    probes_addresses(world.probes, STR("name.test"), v, 2);
    run(0, 12);
    run_until(0, "down");
    EXPECT_CSTR(seen_of(0).last_failure.text, "connect_failed");
    world_fini();
}

/* ---- another configuration ---- */

static void reload(const char *urls, const char *more)
{
    struct snapshot *old = world.snap;
    struct healths healths = world.healths;
    conf_read(urls, more);
    probes_change(world.probes, &world.healths, NULL);
    healths_close(&healths);
    snapshot_unref(&old);
}

/* However often it changes, a check that runs goes on to its end, and the next comes at its time. */
TEST(checks_go_on_over_changes)
{
    static const char every[] = ", health: {path: /, every: 40ms, timeout: 40ms, fall: 3}";
    world_init();
    struct server *s = server_listen(&world.servers[0], true);
    s->how = SILENT;
    probes_begin(url_of(s), every, 1);
    for (unsigned i = 0; i < 200 && strcmp(health_state_name(seen_of(0).state), "down"); i++) {
        struct timeval while_ = {0, 5000};
        event_base_loopexit(world.base, &while_);
        event_base_dispatch(world.base);
        reload(url_of(s), every);
    }
    EXPECT_CSTR(health_state_name(seen_of(0).state), "down");
    s->how = WHOLE;
    reload(url_of(s), every);
    run_until(0, "ramping");
    world_fini();
}

TEST(endpoints_that_come_and_go)
{
    char both[300];
    world_init();
    struct server *a = server_listen(&world.servers[0], true), *b = server_listen(&world.servers[1], true);
    probes_begin(url_of(a), CHECK(""), 1);
    run(0, 2);
    EXPECT_EQ(b->got, 0);
    snprintf(both, sizeof both, "%s", url_of(b));
    snprintf(both + strlen(both), sizeof both - strlen(both), ", %s", url_of(a));
    reload(both, CHECK(""));                                 /* it has another number now */
    run(0, 3);
    run(1, 5);
    reload(url_of(b), CHECK(""));
    unsigned got = a->got;
    run(0, 8);
    EXPECT(a->got <= got + 1);                               /* a connection may have been under way */
    reload(url_of(b), "");                                   /* no checks at all */
    got = b->got;
    struct timeval while_ = {0, 50000};
    event_base_loopexit(world.base, &while_);
    event_base_dispatch(world.base);
    EXPECT(b->got <= got + 1);
    world_fini();
}

/* What is asked now counts, not what was being asked. */
TEST(a_check_that_changes)
{
    world_init();
    struct server *s = server_listen(&world.servers[0], true);
    s->how = SILENT;
    probes_begin(url_of(s), ", health: {path: /old, every: 100s, timeout: 1s}", 1);
    reload(url_of(s), ", health: {path: /old, every: 500ms, timeout: 500ms}");    /* 100 s are not waited for */
    for (unsigned i = 0; i < 400 && s->got == 0; i++) {
        struct timeval while_ = {0, 5000};
        event_base_loopexit(world.base, &while_);
        event_base_dispatch(world.base);
    }
    EXPECT(s->got > 0);
    s->how = WHOLE;
    reload(url_of(s), ", health: {path: /new, every: 500ms, timeout: 500ms}");
    run(0, 1);
    EXPECT(!strncmp(s->request, "GET /new ", 9));
    EXPECT_EQ(seen_of(0).checks_failed, 0);
    world_fini();
}

/* One address refused, and there is no descriptor for the next: what weir lacks says nothing of the endpoint. */
TEST(short_of_files_between_two_addresses)
{
    struct rlimit before, none;
    world_init();
    struct address v[2] = {nowhere(), nowhere()};
    probes_begin("\"http://name.test\"", CHECK(", fall: 1"), 1);
    probes_addresses(world.probes, STR("name.test"), v, 2);
    health_addresses(world.healths.v[0]->v[0], 2);
    unsigned files = open_files();
    while (open_files() == files)
        event_base_loop(world.base, EVLOOP_ONCE);            /* until it connects */
    EXPECT_EQ(seen_of(0).checks_failed, 0);
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct timeval while_ = {0, 100000};
    event_base_loopexit(world.base, &while_);
    event_base_dispatch(world.base);
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_EQ(seen_of(0).checks_failed, 0);
    run(0, 1);                                               /* it goes on */
    world_fini();
}

/* ---- when ---- */

/* The loop stands still, as it does while a large configuration is read: the endpoint answered all the same. */
TEST(time_that_the_loop_missed_does_not_count)
{
    world_init();
    struct server *s = server_listen(&world.servers[0], false);
    probes_begin(url_of(s), ", health: {path: /, every: 40ms, timeout: 40ms, fall: 1}", 1);
    for (unsigned i = 0; i < 3; i++) {
        uint64_t until;
        unsigned files = open_files();
        while (open_files() <= files)
            event_base_loop(world.base, EVLOOP_ONCE);        /* until a check begins */
        until = clock_mono(&clock_real) + 300 * NSEC_PER_MSEC;
        while (clock_mono(&clock_real) < until) {
        }
        run(0, i + 1);
    }
    EXPECT_EQ(seen_of(0).checks_failed, 0);
    s->how = SILENT;                                         /* and one that does not answer is found out */
    run_until(0, "down");
    EXPECT_CSTR(seen_of(0).last_failure.text, "first_byte_timeout");
    world_fini();
}

/* Checks of many endpoints do not begin together, nor in their order. A machine that stands still now and then makes them
 * come together, but not three times. */
TEST(first_checks_are_spread)
{
    uint64_t longest = 0;
    unsigned turns = 0;
    for (unsigned k = 0; k < 3; k++) {
        char urls[1500] = "";
        uint64_t from = UINT64_MAX, to = 0;
        world_init();
        for (unsigned i = 0; i < SERVERS; i++) {
            strncat(urls, i ? ", " : "", 3);
            strncat(urls, url_of(server_listen(&world.servers[i], true)), 130);
        }
        probes_begin(urls, ", health: {path: /, every: 100ms, timeout: 100ms}", k);
        for (unsigned i = 0; i < SERVERS; i++)
            run(i, 1);
        for (unsigned i = 0; i < SERVERS; i++) {
            uint64_t at = world.servers[i].first;
            from = at < from ? at : from;
            to = at > to ? at : to;
            turns += i > 0 && at < world.servers[i - 1].first;
        }
        longest = to - from > longest ? to - from : longest;
        world_fini();
    }
    EXPECT(longest > 40 * NSEC_PER_MSEC);
    EXPECT(turns > 3);
}

/* One check in each interval, also after one that took all of it. */
TEST(the_interval)
{
    world_init();
    struct server *s = server_listen(&world.servers[0], true);
    uint64_t began = clock_mono(&clock_real);
    probes_begin(url_of(s), ", health: {path: /, every: 20ms, timeout: 20ms}", 1);
    run(0, 6);
    uint64_t took = clock_mono(&clock_real) - began;
    EXPECT(took >= 5 * 20 * NSEC_PER_MSEC);
    s->how = SILENT;
    run(0, 7);
    began = clock_mono(&clock_real);
    run(0, 11);
    took = clock_mono(&clock_real) - began;
    EXPECT(took >= 3 * 20 * NSEC_PER_MSEC);              /* the first may have begun before */
    world_fini();
}

TEST(only_upstreams_that_ask_for_it_are_checked)
{
    world_init();
    struct server *s = server_listen(&world.servers[0], true);
    probes_begin(url_of(s), "", 1);
    EXPECT_EQ(event_base_get_num_events(world.base, EVENT_BASE_COUNT_ADDED), 1);      /* the server's own */
    world_fini();
}

TEST(it_can_be_broken_off_at_any_time)
{
    static const enum how hows[] = {SILENT, DRIP, WHOLE};
    for (size_t i = 0; i < array_len(hows); i++) {
        unsigned before = open_files();
        world_init();
        struct server *s = server_listen(&world.servers[0], false);
        s->how = hows[i];
        probes_begin(url_of(s), ", health: {path: /, every: 10ms, timeout: 10ms}", i);
        for (unsigned k = 0; k < 20 && (hows[i] == WHOLE || s->got == 0); k++) {
            struct timeval while_ = {0, 1000};
            event_base_loopexit(world.base, &while_);
            event_base_loop(world.base, EVLOOP_ONCE);
        }
        world_fini();
        EXPECT_EQ(open_files(), before);
    }
    probes_free(&world.probes);                              /* NULL */
}
