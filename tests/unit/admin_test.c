/* SPDX-License-Identifier: Apache-2.0 */
#include "admin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "lib/clock.h"
#include "tests/unit/test.h"

/* The listener under test and a client on the same thread: the loop is stepped while the client waits. */
struct fixture {
    struct event_base *base;
    struct admin *admin;
    bool ready;
    struct admin_answer *owed;       /* of a reload that takes its time */
    char body[100];                  /* the beginning of what came with the last plan */
    size_t body_len;
};

static void metrics_source(void *ctx, struct page *p)
{
    (void)ctx;
    page_printf(p, "weir_x 1\n");
}

static void big_source(void *ctx, struct page *p)
{
    (void)ctx;
    for (unsigned i = 0; i < 500000; i++)
        page_printf(p, "weir_x 12345678\n");
}

static bool ready_source(void *ctx, struct page *why)
{
    struct fixture *f = ctx;
    if (!f->ready)
        page_printf(why, "draining");
    return f->ready;
}

static int limits_source(void *ctx, struct str query, struct page *p)
{
    (void)ctx;
    page_printf(p, "{\"query\":");
    page_json(p, query);
    page_printf(p, "}\n");
    return str_eq(query, STR("instance=none")) ? 404 : 200;
}

/* Its answer is given later, by reload_over(). */
static void reload_source(void *ctx, const struct admin_request *request, struct admin_answer *answer)
{
    struct fixture *f = ctx;
    (void)request;
    f->owed = answer;
}

static void reload_over(struct fixture *f, int status)
{
    struct page page = {0};
    page_printf(&page, "{\"done\":true}\n");
    admin_answer_give(&f->owed, status, ADMIN_JSON, &page);
    EXPECT_EQ(f->owed, NULL);
    EXPECT_EQ(page.at, NULL);
}

static void plan_source(void *ctx, const struct admin_request *request, struct admin_answer *answer)
{
    struct fixture *f = ctx;
    struct page page = {0};
    f->body_len = request->body.len;
    memcpy(f->body, request->body.at, request->body.len < sizeof f->body ? request->body.len : sizeof f->body);
    page_printf(&page, "%s of %zu bytes\n", request->text ? "text" : "json", request->body.len);
    admin_answer_give(&answer, 422, request->text ? ADMIN_TEXT : ADMIN_JSON, &page);
}

static const struct admin_times quick = {
    .head = {0, 300000}, .body = {0, 300000}, .answer = {0, 300000}, .write = {5, 0}, .linger = {1, 0},
};

static void open_at(struct fixture *f, const struct listen_conf *conf, bool probes_only,
                    void (*metrics)(void *, struct page *), const struct admin_times *times)
{
    struct admin_source source = {
        .metrics = metrics, .ready = ready_source, .limits = limits_source, .command = limits_source,
        .reload = reload_source, .plan = plan_source, .ctx = f, .times = times,
    };
    struct err err = {0};
    *f = (struct fixture){.base = event_base_new(), .ready = true};
    if (!EXPECT_EQ(admin_open(f->base, conf, probes_only, &source, &f->admin, &err), 0))
        printf("%s\n", err.text);
}

static struct listen_conf loopback(unsigned port)
{
    struct listen_conf conf = {.at = STR("127.0.0.1")};
    conf.address.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    conf.address.len = sizeof(conf.address.in);
    return conf;
}

static void setup(struct fixture *f, bool probes_only)
{
    struct listen_conf conf = loopback(0);
    open_at(f, &conf, probes_only, metrics_source, NULL);
}

static void setup_quick(struct fixture *f)
{
    struct listen_conf conf = loopback(0);
    open_at(f, &conf, false, metrics_source, &quick);
}

static void teardown(struct fixture *f)
{
    admin_close(&f->admin);
    event_base_free(f->base);
}

static void step(struct fixture *f) { event_base_loop(f->base, EVLOOP_NONBLOCK); }

static int dial(const struct fixture *f)
{
    struct listen_conf conf = loopback(admin_port(f->admin));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_EQ(connect(fd, &conf.address.sa, conf.address.len), 0);
    return fd;
}

static void say(int fd, const char *text, size_t len) { EXPECT_EQ(send(fd, text, len, MSG_NOSIGNAL), (ssize_t)len); }

/* Reads until the other side's end, or `ms` went by without it; returns what came. */
static struct str read_all(struct fixture *f, int fd, char *out, size_t cap, unsigned ms, bool *ended)
{
    uint64_t until = clock_mono(&clock_real) + ms * NSEC_PER_MSEC;
    size_t n = 0;
    *ended = false;
    while (!*ended && clock_mono(&clock_real) < until && n < cap - 1) {
        step(f);
        ssize_t got = recv(fd, out + n, cap - 1 - n, MSG_DONTWAIT);
        if (got > 0)
            n += (size_t)got;
        else if (got == 0 || errno != EAGAIN)
            *ended = true;
        else
            poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 5);
    }
    out[n] = '\0';
    return str_of(out, n);
}

/* One request, its whole answer; the other side must end the connection. */
static const char *ask(struct fixture *f, const char *request, char *out, size_t cap)
{
    int fd = dial(f);
    bool ended;
    say(fd, request, strlen(request));
    read_all(f, fd, out, cap, 3000, &ended);
    EXPECT(ended);
    close(fd);
    step(f);
    return out;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"

static const char *body_of(const char *answer)
{
    const char *at = strstr(answer, "\r\n\r\n");
    return at ? at + 4 : "no body";
}

TEST(pages)
{
    static const struct { const char *request, *status, *body; } rows[] = {
        {GET("/healthz"), "HTTP/1.1 200 OK\r\n", "ok\n"},
        {GET("/readyz"), "HTTP/1.1 200 OK\r\n", "ok\n"},
        {GET("/metrics"), "HTTP/1.1 200 OK\r\n", "weir_x 1\n"},
        {GET("/metrics?x=y"), "HTTP/1.1 200 OK\r\n", "weir_x 1\n"},
        {"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200 OK\r\n", "ok\n"},
        {"GET /healthz HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n", "ok\n"},
        {"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200 OK\r\n", ""},
        {GET("/"), "HTTP/1.1 404 Not Found\r\n", NULL},
        {GET("/metricsx"), "HTTP/1.1 404 Not Found\r\n", NULL},
        {GET("/%6detrics"), "HTTP/1.1 404 Not Found\r\n", NULL},
        {"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 405 Method Not Allowed\r\n", NULL},
        {"nonsense\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n", NULL},
        {"GET /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n", NULL},
        {"GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n", "HTTP/1.1 505 ", NULL},
    };
    struct fixture f;
    char out[4000];
    setup(&f, false);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        test_row("%.25s", rows[i].request);
        ask(&f, rows[i].request, out, sizeof(out));
        EXPECT(!strncmp(out, rows[i].status, strlen(rows[i].status)));
        EXPECT(strstr(out, "\r\nConnection: close\r\n"));
        EXPECT(strstr(out, "\r\nDate: "));
        if (rows[i].body)
            EXPECT_CSTR(body_of(out), rows[i].body);
    }
    teardown(&f);
}

TEST(head_tells_the_length_of_get)
{
    struct fixture f;
    char out[4000];
    setup(&f, false);
    EXPECT(strstr(ask(&f, "HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", out, sizeof(out)), "\r\nContent-Length: 9\r\n"));
    teardown(&f);
}

TEST(another_method_is_told_which_are_allowed)
{
    struct fixture f;
    char out[4000];
    setup(&f, false);
    ask(&f, "DELETE /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", out, sizeof(out));
    EXPECT(strstr(out, " 405 ") && strstr(out, "\r\nAllow: GET, HEAD\r\n"));
    teardown(&f);
}

TEST(a_wrong_path_is_told_the_right_ones)
{
    struct fixture f;
    char out[4000];
    setup(&f, false);
    EXPECT(strstr(ask(&f, GET("/x"), out, sizeof(out)), "/healthz\n/readyz\n/metrics\n"));
    teardown(&f);
}

TEST(the_probes_listener_has_probes_only)
{
    struct fixture f;
    char out[4000];
    setup(&f, true);
    EXPECT(strstr(ask(&f, GET("/healthz"), out, sizeof(out)), " 200 OK"));
    EXPECT(strstr(ask(&f, GET("/readyz"), out, sizeof(out)), " 200 OK"));
    EXPECT(strstr(ask(&f, GET("/metrics"), out, sizeof(out)), " 404 "));
    EXPECT(!strstr(body_of(out), "/metrics"));
    teardown(&f);
}

TEST(not_ready_says_why)
{
    struct fixture f;
    char out[4000];
    setup(&f, false);
    f.ready = false;
    EXPECT(strstr(ask(&f, GET("/readyz"), out, sizeof(out)), " 503 Service Unavailable\r\n"));
    EXPECT_CSTR(body_of(out), "draining\n");
    EXPECT(strstr(ask(&f, GET("/healthz"), out, sizeof(out)), " 200 OK"));
    teardown(&f);
}

TEST(a_head_may_come_byte_by_byte)
{
    struct fixture f;
    char out[4000];
    bool ended;
    setup(&f, false);
    int fd = dial(&f);
    for (const char *c = GET("/healthz"); *c; c++) {
        say(fd, c, 1);
        step(&f);
    }
    EXPECT(strstr(read_all(&f, fd, out, sizeof(out), 3000, &ended).at, "\r\n\r\nok\n"));
    EXPECT(ended);
    close(fd);
    teardown(&f);
}

TEST(too_large_a_head_is_431)
{
    struct fixture f;
    static char request[20000];
    char out[4000];
    setup(&f, false);
    int n = snprintf(request, sizeof(request), "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ");
    memset(request + n, 'x', 9000);
    memcpy(request + n + 9000, "\r\n\r\n", 5);
    EXPECT(strstr(ask(&f, request, out, sizeof(out)), " 431 "));
    teardown(&f);
}

TEST(a_body_behind_the_head_does_not_cost_the_answer)
{
    struct fixture f;
    static char body[200000];
    char out[4000];
    bool ended;
    setup(&f, false);
    int fd = dial(&f);
    const char *head = "POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
    say(fd, head, strlen(head));
    say(fd, body, sizeof(body));
    EXPECT(strstr(read_all(&f, fd, out, sizeof(out), 3000, &ended).at, " 405 "));
    EXPECT(ended);
    close(fd);
    teardown(&f);
}

TEST(a_large_page_to_a_slow_reader)
{
    struct fixture f;
    static char out[9 << 20];
    struct listen_conf conf = loopback(0);
    bool ended;
    open_at(&f, &conf, false, big_source, NULL);
    int fd = dial(&f);
    say(fd, GET("/metrics"), strlen(GET("/metrics")));
    for (unsigned i = 0; i < 20; i++)
        step(&f);
    struct str got = read_all(&f, fd, out, sizeof(out), 4000, &ended);
    EXPECT(ended);
    EXPECT_EQ(got.len - (size_t)(body_of(out) - out), 500000 * 16);
    close(fd);
    teardown(&f);
}

TEST(who_says_nothing_is_closed)
{
    struct fixture f;
    char out[4000];
    bool ended;
    setup_quick(&f);
    int fd = dial(&f);
    say(fd, "GET /he", 7);
    uint64_t from = clock_mono(&clock_real);
    EXPECT_EQ(read_all(&f, fd, out, sizeof(out), 3000, &ended).len, 0);
    EXPECT(ended);
    uint64_t took = clock_mono(&clock_real) - from;
    EXPECT(took > 250 * NSEC_PER_MSEC && took < 2000 * NSEC_PER_MSEC);
    close(fd);
    teardown(&f);
    EXPECT_EQ(admin_times_default.head.tv_sec, 5);
}

TEST(the_65th_connection_is_refused_and_a_free_place_is_used)
{
    struct fixture f;
    char out[4000];
    int fds[64];
    setup(&f, false);
    for (unsigned i = 0; i < 64; i++) {
        fds[i] = dial(&f);
        step(&f);
    }
    EXPECT(strstr(ask(&f, GET("/healthz"), out, sizeof(out)), " 503 "));
    close(fds[7]);
    for (unsigned i = 0; i < 10; i++)
        step(&f);
    EXPECT(strstr(ask(&f, GET("/healthz"), out, sizeof(out)), " 200 "));
    for (unsigned i = 0; i < 64; i++)
        if (i != 7)
            close(fds[i]);
    teardown(&f);
}

TEST(a_client_that_goes_leaves_nothing)
{
    struct fixture f;
    setup(&f, false);
    for (unsigned i = 0; i < 200; i++) {
        int fd = dial(&f);
        say(fd, GET("/metrics"), i % (strlen(GET("/metrics")) + 1));
        step(&f);
        close(fd);
        step(&f);
    }
    char out[4000];
    EXPECT(strstr(ask(&f, GET("/healthz"), out, sizeof(out)), " 200 "));
    teardown(&f);
}

TEST(limits_gets_the_query_and_says_the_status)
{
    struct fixture f;
    char out[4000];
    setup(&f, false);
    ask(&f, GET("/limits?key=a%20b&key=c"), out, sizeof(out));
    EXPECT(strstr(out, "HTTP/1.1 200 OK\r\n"));
    EXPECT(strstr(out, "Content-Type: application/json\r\n"));
    EXPECT(strstr(out, "\r\n\r\n{\"query\":\"key=a%20b&key=c\"}\n"));
    EXPECT(strstr(ask(&f, GET("/limits"), out, sizeof(out)), "{\"query\":null}"));
    EXPECT(strstr(ask(&f, GET("/limits?instance=none"), out, sizeof(out)), "HTTP/1.1 404 "));
    teardown(&f);
    setup(&f, true);
    EXPECT(strstr(ask(&f, GET("/limits"), out, sizeof(out)), "HTTP/1.1 404 "));
    teardown(&f);
}

TEST(orders_are_posted_and_not_by_web_pages)
{
    static const struct { const char *request; int status; const char *text; } rows[] = {
        {"POST /command?instance=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 200, "{\"query\":\"instance=a\"}"},
        {"POST /command HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", 200, "{\"query\":null}"},
        {"GET /command HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "Allow: POST\r\n"},
        {"POST /limits HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 405, "Allow: GET, HEAD\r\n"},
        {"POST /command HTTP/1.1\r\nHost: localhost\r\noRigin: http://x\r\nContent-Length: 0\r\n\r\n", 403, "web pages"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fixture f;
        char out[4000], status[32];
        test_row("%zu", i);
        setup(&f, false);
        ask(&f, rows[i].request, out, sizeof(out));
        snprintf(status, sizeof(status), "HTTP/1.1 %d ", rows[i].status);
        EXPECT(strstr(out, status) == out);
        EXPECT(strstr(out, rows[i].text));
        teardown(&f);
    }
}

#define BEARER(method, path, token) method " " path " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nAuthorization: " token "\r\n\r\n"
#define TOKEN "0123456789abcdef"

TEST(a_token_is_asked_for_everywhere_but_at_the_probes)
{
    static const struct { const char *request; int status; } rows[] = {
        {GET("/healthz"), 200},
        {GET("/readyz"), 200},
        {GET("/metrics"), 401},
        {GET("/limits"), 401},
        {GET("/nothing"), 401},
        {"POST /reload HTTP/1.1\r\nHost: localhost\r\n\r\n", 401},
        {"POST /command HTTP/1.1\r\nHost: localhost\r\nOrigin: http://x\r\n\r\n", 401},
        {"POST /plan HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n", 401},
        {BEARER("GET", "/metrics", "Bearer " TOKEN), 200},
        {BEARER("GET", "/metrics", "bEARER   " TOKEN " "), 200},
        {BEARER("POST", "/command", "Bearer " TOKEN), 200},
        {BEARER("GET", "/nothing", "Bearer " TOKEN), 404},
        {BEARER("GET", "/command", "Bearer " TOKEN), 405},
        {BEARER("GET", "/metrics", "Bearer " TOKEN "0"), 401},
        {BEARER("GET", "/metrics", "Bearer 0123456789abcde"), 401},
        {BEARER("GET", "/metrics", "Bearer 0123456789abcdeF"), 401},
        {BEARER("GET", "/metrics", "Bearer"), 401},
        {BEARER("GET", "/metrics", "Bearer "), 401},
        {BEARER("GET", "/metrics", ""), 401},
        {BEARER("GET", "/metrics", "Basic " TOKEN), 401},
        {BEARER("GET", "/metrics", TOKEN), 401},
        {"GET /metrics?token=" TOKEN " HTTP/1.1\r\nHost: localhost\r\n\r\n", 401},
    };
    struct fixture f;
    struct listen_conf conf = loopback(0);
    conf.token = STR(TOKEN);
    open_at(&f, &conf, false, metrics_source, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[4000], status[32];
        test_row("%zu: %.60s", i, rows[i].request);
        ask(&f, rows[i].request, out, sizeof out);
        snprintf(status, sizeof status, "HTTP/1.1 %d ", rows[i].status);
        EXPECT(strstr(out, status) == out);
        EXPECT_EQ(strstr(out, "\r\nWWW-Authenticate: Bearer realm=\"weir\"\r\n") != NULL, rows[i].status == 401);
        EXPECT(rows[i].status != 401 || !strstr(body_of(out), "/metrics"));
    }
    teardown(&f);
}

TEST(a_token_may_change_come_and_go)
{
    struct fixture f;
    char out[4000];
    setup(&f, false);
    EXPECT(strstr(ask(&f, GET("/metrics"), out, sizeof out), " 200 "));
    admin_set_token(f.admin, STR("fedcba9876543210"));
    EXPECT(strstr(ask(&f, GET("/metrics"), out, sizeof out), " 401 "));
    EXPECT(strstr(ask(&f, BEARER("GET", "/metrics", "Bearer " TOKEN), out, sizeof out), " 401 "));
    admin_set_token(f.admin, STR(TOKEN));
    EXPECT(strstr(ask(&f, BEARER("GET", "/metrics", "Bearer " TOKEN), out, sizeof out), " 200 "));
    admin_set_token(f.admin, (struct str){NULL, 0});
    EXPECT(strstr(ask(&f, GET("/metrics"), out, sizeof out), " 200 "));
    teardown(&f);
}

/* ---- bodies ---- */

#define PLAN(fields) "POST /plan HTTP/1.1\r\nHost: localhost\r\n" fields "\r\n"

TEST(a_body_comes_with_its_head_or_in_pieces)
{
    static const size_t cuts[] = {0, 1, 4, 5};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        static const char head[] = PLAN("Content-Length: 5\r\n");
        struct fixture f;
        char out[4000], first[200];
        bool ended;
        test_row("%zu bytes with the head", cuts[i]);
        setup(&f, false);
        int fd = dial(&f);
        snprintf(first, sizeof first, "%s%.*s", head, (int)cuts[i], "hello");
        say(fd, first, strlen(first));
        for (size_t k = cuts[i]; k < 5; k++) {
            step(&f);
            EXPECT_EQ(f.body_len, 0);
            say(fd, &"hello"[k], 1);
        }
        read_all(&f, fd, out, sizeof out, 3000, &ended);
        EXPECT(ended);
        EXPECT(strstr(out, "HTTP/1.1 422 Unprocessable Content\r\n") == out);
        EXPECT_CSTR(body_of(out), "json of 5 bytes\n");
        EXPECT(!memcmp(f.body, "hello", 5));
        close(fd);
        teardown(&f);
    }
}

/* Whoever owns a name can let it point to 127.0.0.1, and a page of that name may read what comes from there. */
TEST(a_name_that_is_not_this_machines_is_told_nothing)
{
    static const struct { const char *host; int status; } rows[] = {
        {"localhost", 200}, {"LOCALHOST:9901", 200}, {"localhost.", 200}, {"a.localhost:1", 200}, {"127.0.0.1", 200},
        {"127.0.0.1:9901", 200}, {"[::1]:9901", 200}, {"10.1.2.3", 200},
        {"evil.example", 403}, {"evil.example:9901", 403}, {"localhost.evil.example", 403}, {"evillocalhost", 403},
        {"127.0.0.1.evil.example", 403}, {"weir", 403}, {".localhost", 400},
    };
    static const char *const paths[] = {"/metrics", "/config", "/nothing"};
    char request[200], out[4000], status[32];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fixture f;
        test_row("%s", rows[i].host);
        setup(&f, false);
        for (size_t k = 0; k < (rows[i].status == 200 ? 1 : sizeof paths / sizeof *paths); k++) {
            snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", paths[k], rows[i].host);
            snprintf(status, sizeof status, "HTTP/1.1 %d ", rows[i].status);
            EXPECT(strstr(ask(&f, request, out, sizeof out), status) == out);
        }
        snprintf(request, sizeof request, "GET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n", rows[i].host);
        EXPECT(rows[i].status == 400 || strstr(ask(&f, request, out, sizeof out), "HTTP/1.1 200 ") == out);
        teardown(&f);
    }
}

TEST(with_a_token_any_name_will_do)
{
    struct fixture f;
    char out[4000];
    setup(&f, false);
    admin_set_token(f.admin, STR(TOKEN));
    ask(&f, "GET /metrics HTTP/1.1\r\nHost: weir.example\r\nAuthorization: Bearer " TOKEN "\r\n\r\n", out, sizeof out);
    EXPECT(strstr(out, "HTTP/1.1 200 ") == out);
    teardown(&f);
}

TEST(a_web_page_gives_no_orders)
{
    static const struct { const char *fields; int status; } rows[] = {
        {"", 200},
        {"Sec-Fetch-Site: none\r\n", 200},
        {"Origin: http://evil.example\r\n", 403},
        {"Origin: null\r\n", 403},
        {"Origin: http://localhost:9901\r\n", 403},
        {"Referer: http://evil.example/\r\n", 403},
        {"Sec-Fetch-Site: cross-site\r\n", 403},
        {"Sec-Fetch-Site: same-site\r\n", 403},
        {"Sec-Fetch-Site: same-origin\r\n", 403},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fixture f;
        char request[300], out[4000], status[32];
        test_row("%s", rows[i].fields);
        setup(&f, false);
        snprintf(request, sizeof request, "POST /command HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n%s\r\n", rows[i].fields);
        snprintf(status, sizeof status, "HTTP/1.1 %d ", rows[i].status);
        EXPECT(strstr(ask(&f, request, out, sizeof out), status) == out);
        snprintf(request, sizeof request, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n%s\r\n", rows[i].fields);
        EXPECT(strstr(ask(&f, request, out, sizeof out), "HTTP/1.1 200 ") == out);
        EXPECT(strstr(out, "\r\nX-Content-Type-Options: nosniff\r\nCross-Origin-Resource-Policy: same-origin\r\n"));
        EXPECT(!strstr(out, "Access-Control"));
        teardown(&f);
    }
}

TEST(which_bodies_are_read)
{
    static const struct { const char *request; int status; const char *text; } rows[] = {
        {PLAN(""), 422, "json of 0 bytes\n"},
        {PLAN("Content-Length: 0\r\n"), 422, "json of 0 bytes\n"},
        {PLAN("Content-Length: 2\r\n") "ab and more", 422, "json of 2 bytes\n"},
        {PLAN("Transfer-Encoding: chunked\r\n") "0\r\n\r\n", 411, "Content-Length"},
        {PLAN("Content-Length: 16777217\r\n"), 413, "larger than 16 MiB"},
        {PLAN("Content-Length: 18446744073709551615\r\n"), 400, ""},
        {PLAN("Content-Length: 3\r\nOrigin: http://x\r\n"), 403, "web pages"},
        {"GET /plan HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "POST it"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fixture f;
        char out[4000], status[32];
        test_row("%zu", i);
        setup(&f, false);
        ask(&f, rows[i].request, out, sizeof out);
        snprintf(status, sizeof status, "HTTP/1.1 %d ", rows[i].status);
        EXPECT(strstr(out, status) == out);
        EXPECT(strstr(body_of(out), rows[i].text));
        teardown(&f);
    }
}

TEST(the_largest_body)
{
    enum { SIZE = 16 << 20 };
    struct fixture f;
    char out[4000];
    char *body = calloc(1, SIZE);
    bool ended;
    setup(&f, false);
    int fd = dial(&f);
    const char *head = PLAN("Content-Length: 16777216\r\n");
    say(fd, head, strlen(head));
    memset(body, 'x', SIZE);
    for (size_t done = 0; done < SIZE;) {
        ssize_t n = send(fd, body + done, SIZE - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            done += (size_t)n;
        else if (!EXPECT_EQ(errno, EAGAIN))
            break;
        step(&f);
    }
    read_all(&f, fd, out, sizeof out, 3000, &ended);
    EXPECT_CSTR(body_of(out), "json of 16777216 bytes\n");
    EXPECT(ended && f.body[99] == 'x');
    close(fd);
    free(body);
    teardown(&f);
}

TEST(bodies_are_bounded_all_together)
{
    struct fixture f;
    char out[4000];
    int fds[4];
    const char *head = PLAN("Content-Length: 16777216\r\n");
    setup(&f, false);
    for (unsigned i = 0; i < 4; i++) {
        fds[i] = dial(&f);
        say(fds[i], head, strlen(head));
        step(&f);
        step(&f);
    }
    EXPECT(strstr(ask(&f, PLAN("Content-Length: 1\r\n") "x", out, sizeof out), " 503 "));
    for (unsigned i = 0; i < 4; i++)
        close(fds[i]);
    for (unsigned i = 0; i < 10; i++)
        step(&f);
    EXPECT(strstr(ask(&f, PLAN("Content-Length: 1\r\n") "x", out, sizeof out), "json of 1 bytes"));
    teardown(&f);
}

TEST(who_waits_to_be_asked_for_the_body_is_asked)
{
    struct fixture f;
    char out[4000];
    bool ended;
    setup(&f, false);
    int fd = dial(&f);
    const char *head = PLAN("Content-Length: 5\r\nExpect: 100-continue\r\n");
    say(fd, head, strlen(head));
    read_all(&f, fd, out, sizeof out, 100, &ended);
    EXPECT_CSTR(out, "HTTP/1.1 100 Continue\r\n\r\n");
    say(fd, "hello", 5);
    EXPECT(strstr(read_all(&f, fd, out, sizeof out, 3000, &ended).at, "json of 5 bytes"));
    EXPECT(ended);
    close(fd);
    teardown(&f);
}

TEST(a_body_that_does_not_come_ends_the_connection)
{
    struct fixture f;
    char out[4000];
    bool ended;
    setup_quick(&f);
    int fd = dial(&f);
    const char *head = PLAN("Content-Length: 5\r\n") "hell";
    say(fd, head, strlen(head));
    EXPECT_EQ(read_all(&f, fd, out, sizeof out, 3000, &ended).len, 0);
    EXPECT(ended);
    EXPECT_EQ(f.body_len, 0);
    close(fd);
    teardown(&f);
}

TEST(which_form_is_wanted)
{
    static const struct { const char *request, *answer; } rows[] = {
        {PLAN(""), "json of"},
        {PLAN("Accept: */*\r\n"), "json of"},
        {PLAN("Accept: text/plain\r\n"), "text of"},
        {PLAN("ACCEPT: text/html, Text/Plain; charset=utf-8, application/json\r\n"), "text of"},
        {PLAN("Accept: application/json, text/plain\r\n"), "json of"},
        {PLAN("Accept: text/plaintext\r\n"), "json of"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fixture f;
        char out[4000];
        test_row("%zu", i);
        setup(&f, false);
        ask(&f, rows[i].request, out, sizeof out);
        EXPECT(strstr(body_of(out), rows[i].answer));
        EXPECT(strstr(out, rows[i].answer[0] == 't' ? "Content-Type: text/plain" : "Content-Type: application/json"));
        teardown(&f);
    }
}

/* ---- answers that come later ---- */

#define RELOAD "POST /reload HTTP/1.1\r\nHost: localhost\r\n\r\n"

static int ask_reload(struct fixture *f)
{
    int fd = dial(f);
    say(fd, RELOAD, strlen(RELOAD));
    for (unsigned i = 0; i < 10 && !f->owed; i++)
        step(f);
    EXPECT(f->owed);
    return fd;
}

TEST(an_answer_may_come_later)
{
    struct fixture f;
    char out[4000];
    bool ended;
    setup(&f, false);
    int fd = ask_reload(&f);
    EXPECT_EQ(read_all(&f, fd, out, sizeof out, 50, &ended).len, 0);
    EXPECT(!ended);
    EXPECT(strstr(ask(&f, GET("/healthz"), out, sizeof out), " 200 "));      /* nobody else waits for it */
    reload_over(&f, 200);
    EXPECT(strstr(read_all(&f, fd, out, sizeof out, 3000, &ended).at, "HTTP/1.1 200 OK\r\n"));
    EXPECT(ended);
    EXPECT_CSTR(body_of(out), "{\"done\":true}\n");
    close(fd);
    teardown(&f);
}

TEST(who_asked_may_be_gone)
{
    struct fixture f;
    char out[4000];
    setup(&f, false);
    int fd = ask_reload(&f);
    close(fd);
    for (unsigned i = 0; i < 5; i++)
        step(&f);
    reload_over(&f, 200);
    EXPECT(strstr(ask(&f, GET("/healthz"), out, sizeof out), " 200 "));
    teardown(&f);
}

TEST(the_listener_may_be_gone)
{
    struct fixture f;
    setup(&f, false);
    int fd = ask_reload(&f);
    admin_close(&f.admin);
    reload_over(&f, 200);
    close(fd);
    teardown(&f);
}

TEST(an_answer_that_takes_too_long_is_504)
{
    struct fixture f;
    char out[4000];
    bool ended;
    setup_quick(&f);
    int fd = ask_reload(&f);
    EXPECT(strstr(read_all(&f, fd, out, sizeof out, 3000, &ended).at, "HTTP/1.1 504 "));
    EXPECT(ended && strstr(body_of(out), "may still be done"));
    reload_over(&f, 200);
    close(fd);
    teardown(&f);
}

/* A reload that moves the listener is answered through the old one. */
TEST(a_listener_that_is_replaced_answers_who_is_there)
{
    struct fixture f, next;
    char out[4000];
    bool ended;
    setup(&f, false);
    setup(&next, false);
    struct listen_conf old = loopback(admin_port(f.admin));
    int fd = ask_reload(&f);
    int late = dial(&f);             /* it stands at the door */
    admin_hand_over(&f.admin, next.admin);
    EXPECT_EQ(f.admin, NULL);
    reload_over(&f, 200);
    EXPECT(strstr(read_all(&f, fd, out, sizeof out, 3000, &ended).at, "{\"done\":true}"));
    say(late, GET("/healthz"), strlen(GET("/healthz")));
    EXPECT(strstr(read_all(&f, late, out, sizeof out, 3000, &ended).at, "\r\n\r\nok\n"));
    close(fd);
    close(late);
    int refused = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_EQ(connect(refused, &old.address.sa, old.address.len), -1);
    close(refused);
    for (unsigned i = 0; i < 5; i++)
        step(&f);
    EXPECT(strstr(ask(&next, GET("/healthz"), out, sizeof out), " 200 "));
    teardown(&f);
    teardown(&next);
}

TEST(what_was_handed_over_ends_with_its_heir)
{
    struct fixture f, next, last;
    setup(&f, false);
    setup(&next, false);
    setup(&last, false);
    struct event_base *unused = next.base;
    int fd = ask_reload(&f);
    admin_hand_over(&f.admin, next.admin);
    admin_hand_over(&next.admin, last.admin);
    teardown(&last);
    reload_over(&f, 200);
    close(fd);
    teardown(&f);
    event_base_free(unused);
}

TEST(a_page_without_a_source_is_none)
{
    struct fixture f;
    struct admin_source source = {.metrics = metrics_source, .ready = ready_source, .ctx = &f};
    struct listen_conf conf = loopback(0);
    struct err err = {0};
    char out[4000];
    f = (struct fixture){.base = event_base_new(), .ready = true};
    EXPECT_EQ(admin_open(f.base, &conf, false, &source, &f.admin, &err), 0);
    EXPECT(strstr(ask(&f, RELOAD, out, sizeof out), " 404 "));
    EXPECT_CSTR(body_of(out), "There is no such page here. There are:\n/healthz\n/readyz\n/metrics\n");
    teardown(&f);
}

TEST(a_taken_port_is_an_error)
{
    struct fixture f;
    struct admin *second = NULL;
    struct admin_source source = {.metrics = metrics_source, .ready = ready_source, .limits = limits_source, .command = limits_source, .ctx = &f};
    struct err err = {0};
    setup(&f, false);
    struct listen_conf conf = loopback(admin_port(f.admin));
    EXPECT_EQ(admin_open(f.base, &conf, false, &source, &second, &err), -1);
    EXPECT(strstr(err.text, "127.0.0.1"));
    EXPECT_EQ(second, NULL);
    teardown(&f);
}

TEST(a_unix_socket_is_served_replaced_and_removed)
{
    struct fixture f;
    struct listen_conf conf = {.at = STR("unix:test")};
    char dir[] = "/tmp/weir-admin-XXXXXX", out[4000];
    bool ended;
    EXPECT(mkdtemp(dir));
    conf.address.un.sun_family = AF_UNIX;
    snprintf(conf.address.un.sun_path, sizeof(conf.address.un.sun_path), "%s/s", dir);
    conf.address.len = sizeof(conf.address.un);

    int left = socket(AF_UNIX, SOCK_STREAM, 0);
    EXPECT_EQ(bind(left, &conf.address.sa, conf.address.len), 0);
    close(left);

    open_at(&f, &conf, false, metrics_source, NULL);
    struct stat st;
    EXPECT_EQ(stat(conf.address.un.sun_path, &st), 0);
    EXPECT_EQ(st.st_mode & 0777, 0600);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    EXPECT_EQ(connect(fd, &conf.address.sa, conf.address.len), 0);
    say(fd, GET("/healthz"), strlen(GET("/healthz")));
    EXPECT(strstr(read_all(&f, fd, out, sizeof(out), 3000, &ended).at, " 200 OK"));
    close(fd);
    teardown(&f);
    EXPECT(access(conf.address.un.sun_path, F_OK));
    rmdir(dir);
}
