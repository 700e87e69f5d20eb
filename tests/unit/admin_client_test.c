/* SPDX-License-Identifier: Apache-2.0 */
#include "admin_client.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lib/clock.h"
#include "test.h"

struct server {
    int fd;
    const char *answer;
    char got[2000];
};

/* Answers one connection and closes it. */
static void *serve(void *context)
{
    struct server *s = context;
    int fd = accept(s->fd, NULL, NULL);
    size_t len = 0;
    /* With the body: a close with unread bytes would be a reset. */
    while (len < sizeof s->got - 1 && !strstr(s->got, strstr(s->got, "Content-Length: 3") ? "\r\n\r\nx y" : "\r\n\r\n")) {
        ssize_t n = recv(fd, s->got + len, sizeof s->got - 1 - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    if (s->answer[0])
        (void)!write(fd, s->answer, strlen(s->answer));
    close(fd);
    return NULL;
}

static int ask_server(struct server *s, const struct admin_ask *ask, struct page *body, struct err *err)
{
    struct address at = {.len = sizeof(struct sockaddr_in)};
    socklen_t len = sizeof at.in;
    pthread_t thread;
    at.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_EQ(bind(s->fd, &at.sa, at.len), 0);
    EXPECT_EQ(listen(s->fd, 1), 0);
    EXPECT_EQ(getsockname(s->fd, &at.sa, &len), 0);
    pthread_create(&thread, NULL, serve, s);
    int status = admin_ask(&at, ask, body, err);
    pthread_join(thread, NULL);
    close(s->fd);
    return status;
}

TEST(an_order_and_its_answer)
{
    static const struct { const char *answer; int status; const char *body, *error; } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine", 200, "fine", ""},
        {"HTTP/1.1 200 OK\r\nX: y\r\ncontent-length:  4 \r\n\r\nfine", 200, "fine", ""},
        {"HTTP/1.1 404 Not Found\r\n\r\n", 404, "", ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfine", -1, NULL, "cut off"},
        {"", -1, NULL, "no admin listener of weir"},
        {"SSH-2.0-x\r\n\r\n", -1, NULL, "no admin listener of weir"},
        {"HTTP/1.1 2x0 OK\r\n\r\n", -1, NULL, "no admin listener of weir"},
        {"HTTP/1.1 200 OK\r\nContent", -1, NULL, "no admin listener of weir"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct server s = {.answer = rows[i].answer};
        struct page body = {0};
        struct err err = {0};
        test_row("%zu", i);
        const struct admin_ask ask = {.method = "POST", .path = "/command?word=open", .body = STR("x y"), .accept = "text/plain",
                                      .token = "t0k3n", .patience = 5 * NSEC_PER_SEC};
        EXPECT_EQ(ask_server(&s, &ask, &body, &err), rows[i].status);
        EXPECT(!strncmp(s.got, "POST /command?word=open HTTP/1.1\r\nHost: ", 40));
        EXPECT(strstr(s.got, "\r\nAuthorization: Bearer t0k3n\r\n") != NULL);
        EXPECT(strstr(s.got, "\r\nContent-Length: 3\r\n") && strstr(s.got, "\r\nAccept: text/plain\r\n"));
        if (rows[i].body)
            EXPECT_CSTR(body.at, rows[i].body);
        EXPECT(strstr(err.text, rows[i].error));
        page_free(&body);
    }
}

TEST(reading_sends_no_length)
{
    struct server s = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
    const struct admin_ask ask = {.method = "GET", .path = "/readyz", .patience = 5 * NSEC_PER_SEC};
    struct page body = {0};
    struct err err = {0};
    EXPECT_EQ(ask_server(&s, &ask, &body, &err), 200);
    EXPECT_CSTR(s.got, "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    EXPECT_CSTR(body.at, "");
    page_free(&body);
}

/* A socket that listens, at an address of every interface or of this machine. */
static int listening(struct address *at, int family, bool any)
{
    socklen_t len = sizeof at->un;
    int fd = socket(family, SOCK_STREAM, 0);
    *at = (struct address){.len = family == AF_INET ? sizeof at->in : sizeof at->in6};
    at->sa.sa_family = (sa_family_t)family;
    if (family == AF_INET && !any)
        at->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, &at->sa, at->len) != 0 || listen(fd, 1) != 0 || getsockname(fd, &at->sa, &len) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

TEST(an_address_of_every_interface_is_this_machine)
{
    static const int families[] = {AF_INET, AF_INET6};
    for (size_t i = 0; i < 2; i++) {
        struct server s = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
        const struct admin_ask ask = {.method = "GET", .path = "/readyz", .patience = 5 * NSEC_PER_SEC};
        struct address at;
        struct page body = {0};
        struct err err = {0};
        pthread_t thread;
        test_row("%zu", i);
        s.fd = listening(&at, families[i], true);
        if (s.fd < 0 && families[i] == AF_INET6)         /* a machine without it */
            continue;
        pthread_create(&thread, NULL, serve, &s);
        EXPECT_EQ(admin_ask(&at, &ask, &body, &err), 200);
        pthread_join(thread, NULL);
        close(s.fd);
        page_free(&body);
    }
}

TEST(who_does_not_answer_is_waited_for_so_long_and_no_longer)
{
    const struct admin_ask ask = {.method = "GET", .path = "/readyz", .patience = 300 * NSEC_PER_MSEC};
    struct address at;
    struct page body = {0};
    struct err err = {0};
    int fd = listening(&at, AF_INET, false);
    uint64_t from = clock_mono(&clock_real);
    EXPECT_EQ(admin_ask(&at, &ask, &body, &err), -1);
    uint64_t took = clock_mono(&clock_real) - from;
    EXPECT(strstr(err.text, "did not answer: it takes too long"));
    EXPECT(took >= 250 * NSEC_PER_MSEC && took < 3 * NSEC_PER_SEC);
    close(fd);
}

/* The place is told: a verb found it in a file, which may not be the one that its caller had in mind. */
TEST(nobody_listens)
{
    static const char *const rows[][2] = {
        {"127.0.0.1:1", "at 127.0.0.1:1: Connection refused"},
        {"0.0.0.0:1", "at 127.0.0.1:1: Connection refused"},
        {"[::1]:1", "at [::1]:1: "},                                 /* or there is no IPv6 */
        {"unix:/nonexistent/x.sock", "at unix:/nonexistent/x.sock: No such file or directory"},
    };
    const struct admin_ask ask = {.method = "POST", .path = "/x", .patience = NSEC_PER_SEC};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct address at;
        struct page body = {0};
        struct err err = {0};
        test_row("%s", rows[i][0]);
        EXPECT_EQ(address_parse(str_c(rows[i][0]), &at, &err), 0);
        EXPECT_EQ(admin_ask(&at, &ask, &body, &err), -1);
        EXPECT(strstr(err.text, "cannot connect to the admin listener at "));
        EXPECT(strstr(err.text, rows[i][1]));
    }
}

TEST(values_in_a_query)
{
    struct page p = {0};
    admin_query_value(&p, STR("route /v1/ a+b&c=d%\xc3\xa9-_.~"));
    EXPECT_CSTR(p.at, "route%20%2Fv1%2F%20a%2Bb%26c%3Dd%25%C3%A9-_.%7E");
    page_free(&p);
}
