/* SPDX-License-Identifier: Apache-2.0 */
#include "config_page.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <sys/socket.h>
#include "conf/diag.h"
#include "control.h"
#include "lib/clock.h"
#include "folder.h"

#define CONF(body) "version: 1\nlisten: 127.0.0.1:80\nroutes: [{match: /, respond: {body: " body "}}]\n"

static struct snapshot *load(const char *text)
{
    struct diags diags = {0};
    struct snapshot *s = NULL;
    EXPECT_EQ(control_load_text(str_c(text), "/etc/w.yaml", NULL, &diags, &s), 0);
    diags_fini(&diags);
    return s;
}

/* The pages behind a listener of their own, asked from the same thread. */
struct fixture {
    struct event_base *base;
    struct admin *admin;
    struct snapshot *running;
    struct config_asker *asker;
    char out[8000];
};

static int config_source(void *ctx, struct str query, struct page *p)
{
    const struct fixture *f = ctx;
    (void)query;
    return config_page(f->running, (uint64_t)1700000000 * NSEC_PER_SEC, p);
}

static void plan_source(void *ctx, const struct admin_request *request, struct admin_answer *answer)
{
    const struct fixture *f = ctx;
    config_plan(f->running, request, answer);
}

static void reload_source(void *ctx, const struct admin_request *request, struct admin_answer *answer)
{
    struct fixture *f = ctx;
    f->asker = config_asker_new(request, answer);
}

static void setup(struct fixture *f)
{
    struct listen_conf conf = {.at = STR("127.0.0.1"), .address.len = sizeof(struct sockaddr_in)};
    struct admin_source source = {.config = config_source, .plan = plan_source, .reload = reload_source, .ctx = f};
    struct err err = {0};
    conf.address.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    *f = (struct fixture){.base = event_base_new(), .running = load(CONF("old"))};
    EXPECT_EQ(admin_open(f->base, &conf, false, &source, &f->admin, &err), 0);
}

static void teardown(struct fixture *f)
{
    admin_close(&f->admin);
    event_base_free(f->base);
    snapshot_unref(&f->running);
}

static int ask(struct fixture *f, const char *request, const char *body)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char head[1000];
    at.sin_port = htons((uint16_t)admin_port(f->admin));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_EQ(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    int n = snprintf(head, sizeof head, "%sHost: localhost\r\nContent-Length: %zu\r\n\r\n%s", request, strlen(body), body);
    EXPECT_EQ(send(fd, head, (size_t)n, MSG_NOSIGNAL), n);
    return fd;
}

/* The whole answer, in f->out. */
static const char *answer(struct fixture *f, int fd)
{
    uint64_t until = clock_mono(&clock_real) + 3 * NSEC_PER_SEC;
    size_t n = 0;
    ssize_t got = -1;
    while (got != 0 && clock_mono(&clock_real) < until) {
        event_base_loop(f->base, EVLOOP_NONBLOCK);
        got = recv(fd, f->out + n, sizeof f->out - 1 - n, MSG_DONTWAIT);
        n += got > 0 ? (size_t)got : 0;
    }
    EXPECT_EQ(got, 0);
    f->out[n] = '\0';
    close(fd);
    return f->out;
}

TEST(what_is_in_force)
{
    struct fixture f;
    setup(&f);
    const char *out = answer(&f, ask(&f, "GET /config HTTP/1.1\r\n", ""));
    EXPECT(strstr(out, "{\"file\":\"/etc/w.yaml\",\"generation\":0,\"loaded\":\"2023-11-14T22:13:20.000000Z\",\"listeners\":1,"
                       "\"upstreams\":0,\"routes\":1,\"filters\":0,\"sources\":[\n{\"file\":\"/etc/w.yaml\",\"bytes\":"));
    /* sha256sum of CONF("old") */
    EXPECT(strstr(out, "\"sha256\":\"91e53165d54265bb009cf8d19b52f49f2054ccf3feecad3c6ecfef262735cc52\"}],\"certificates\":[]}\n"));
    teardown(&f);
}

/* Whoever reaches the listener could else have any file read to them. */
TEST(a_file_that_is_no_part_of_what_runs_is_not_told)
{
    static const char *const lines[] = {"root:$6$SALTED:19000:0:99999:7:::\n", "SALTED\n", "a: 1\n\tSALTED: [\n", "routes: [SALTED]\n",
                                        "log: {to: SALTED}\n"};
    for (size_t i = 0; i < 2 * sizeof lines / sizeof *lines; i++) {
        struct fixture f;
        char body[400], head[200], path[64];
        test_row("%zu", i);
        folder_make();
        file_write("shadow", lines[i / 2]);
        snprintf(path, sizeof path, "%s", in_folder("shadow"));
        setup(&f);
        snprintf(head, sizeof head, "POST /plan?name=%s HTTP/1.1\r\n%s", i % 2 ? path : "%2Fetc%2Fw.yaml", i > 3 ? "Accept: text/plain\r\n" : "");
        snprintf(body, sizeof body, "include: %s\n" CONF("new"), path);
        const char *out = answer(&f, ask(&f, head, body));
        EXPECT(strstr(out, "HTTP/1.1 422 ") == out && strstr(out, i % 2 ? "E011" : path));
        EXPECT(!strstr(out, "SALTED"));
        teardown(&f);
        folder_drop();
    }
}

/* A file of the running configuration is told of as ever; and the file that a sent text stands for is not included in it. */
TEST(a_file_of_what_runs_is_told)
{
    struct fixture f;
    char body[400], text[400], head[200];
    folder_make();
    file_write("a.yaml", "define: {x: request_id}\n");
    snprintf(text, sizeof text, "include: %s\n" CONF("old"), in_folder("*.yaml"));
    file_write("main.yaml", text);
    setup(&f);
    snapshot_unref(&f.running);
    struct diags diags = {0};
    EXPECT_EQ(control_load(in_folder("main.yaml"), NULL, &diags, &f.running), 0);
    diags_fini(&diags);
    file_write("a.yaml", "defin: {x: request_id}\n");
    snprintf(head, sizeof head, "POST /plan?name=%s HTTP/1.1\r\nAccept: text/plain\r\n", in_folder("main.yaml"));
    snprintf(body, sizeof body, "include: %s\n" CONF("new"), in_folder("*.yaml"));
    const char *out = answer(&f, ask(&f, head, body));
    EXPECT(strstr(out, "HTTP/1.1 422 ") == out);
    EXPECT(strstr(out, "unknown key \"defin\"; did you mean") && strstr(out, "\n1 error;"));
    teardown(&f);
    folder_drop();
}

TEST(a_plan_of_what_is_sent)
{
    static const struct { const char *request, *body; int status; const char *says, *not; } rows[] = {
        {"POST /plan HTTP/1.1\r\n", CONF("new"), 200, "{\"result\":\"plan\",\"changes\":[\n{\"what\":\"route\",\"name\":\"/\"", "!"},
        {"POST /plan HTTP/1.1\r\n", CONF("new"), 200, ",\"warnings\":[]", "!"},
        {"POST /plan HTTP/1.1\r\nAccept: text/plain\r\n", CONF("new"), 200,
         "\r\n\r\nroute /: changed\n    respond: {body: old} -> {body: new}\nunchanged: 1 listener\n", "{\"result"},
        {"POST /plan HTTP/1.1\r\nAccept: text/plain\r\n", CONF("old"), 200, "nothing changes\n", "/:"},
        {"POST /plan HTTP/1.1\r\n", "version: 2\n", 422, "{\"result\":\"failed\",\"errors\":[", "/plan"},
        {"POST /plan HTTP/1.1\r\nAccept: text/plain\r\n", "nonsense: 2\n", 422, "/etc/w.yaml:1:1: error E012: ", "result"},
        {"POST /plan?name=%2Fa+b.yaml HTTP/1.1\r\nAccept: text/plain\r\n", "nonsense: 2\n", 422, "\r\n\r\n/a b.yaml:1:1: error", "w.yaml"},
        {"POST /plan HTTP/1.1\r\nAccept: text/plain\r\n", "nonsense: 2\n", 422, "; nothing was changed\n", "result"},
        {"POST /plan HTTP/1.1\r\nAccept: text/plain\r\n", "", 422, "/etc/w.yaml", "route"},     /* the file, which is not there */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fixture f;
        char status[40];
        test_row("%zu", i);
        setup(&f);
        const char *out = answer(&f, ask(&f, rows[i].request, rows[i].body));
        snprintf(status, sizeof status, "HTTP/1.1 %d ", rows[i].status);
        EXPECT(strstr(out, status) == out);
        EXPECT(strstr(out, rows[i].says) && !strstr(out, rows[i].not));
        teardown(&f);
    }
}

TEST(how_a_reload_ended)
{
    static const struct { const char *request; bool ok; const char *says; } rows[] = {
        {"POST /reload HTTP/1.1\r\n", true, "200 OK|{\"summary\":1}\n"},
        {"POST /reload HTTP/1.1\r\n", false, "422 Unprocessable Content|{\"summary\":1}\n"},
        {"POST /reload HTTP/1.1\r\nAccept: text/plain\r\n", true, "200 OK|reloaded\n"},
        {"POST /reload HTTP/1.1\r\nAccept: text/plain\r\n", false, "422 Unprocessable Content|error E060: no\n1 error; nothing was changed\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fixture f;
        struct diags diags = {0};
        struct page summary = {0};
        char got[600];
        test_row("%zu", i);
        setup(&f);
        int fd = ask(&f, rows[i].request, "");
        while (!f.asker)
            event_base_loop(f.base, EVLOOP_ONCE);
        page_printf(&summary, "{\"summary\":1}\n");
        if (!rows[i].ok)
            EXPECT_EQ(diag_error(&diags, NULL, CODE_restart, "no"), -1);
        config_reload_over(f.asker, rows[i].ok, &diags, &summary);
        EXPECT_CSTR(summary.at, "{\"summary\":1}\n");
        const char *out = answer(&f, fd), *body = strstr(out, "\r\n\r\n");
        snprintf(got, sizeof got, "%.*s|%s", (int)strcspn(out + 9, "\r"), out + 9, body ? body + 4 : "");
        EXPECT_CSTR(got, rows[i].says);
        page_free(&summary);
        diags_fini(&diags);
        teardown(&f);
    }
}
