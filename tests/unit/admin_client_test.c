/* SPDX-License-Identifier: Apache-2.0 */
#include "admin_client.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>
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
    while (len < sizeof s->got - 1 && !strstr(s->got, "\r\n\r\n")) {
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

static int post_to(struct server *s, const char *path, struct page *body, struct err *err)
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
    int status = admin_post(&at, path, body, err);
    pthread_join(thread, NULL);
    close(s->fd);
    return status;
}

TEST(an_order_and_its_answer)
{
    static const struct { const char *answer; int status; const char *body, *error; } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nfine", 200, "fine", ""},
        {"HTTP/1.1 404 Not Found\r\n\r\n", 404, "", ""},
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
        EXPECT_EQ(post_to(&s, "/command?word=open", &body, &err), rows[i].status);
        EXPECT(!strncmp(s.got, "POST /command?word=open HTTP/1.1\r\nHost: ", 40));
        if (rows[i].body)
            EXPECT_CSTR(body.at, rows[i].body);
        EXPECT(strstr(err.text, rows[i].error));
        page_free(&body);
    }
}

TEST(nobody_listens)
{
    struct address at = {.len = sizeof(struct sockaddr_in)};
    socklen_t len = sizeof at.in;
    struct page body = {0};
    struct err err = {0};
    at.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_EQ(bind(fd, &at.sa, at.len), 0);
    EXPECT_EQ(getsockname(fd, &at.sa, &len), 0);
    EXPECT_EQ(admin_post(&at, "/x", &body, &err), -1);
    EXPECT(strstr(err.text, "cannot connect to the admin listener: Connection refused"));
    close(fd);
}

TEST(values_in_a_query)
{
    struct page p = {0};
    admin_query_value(&p, STR("route /v1/ a+b&c=d%\xc3\xa9-_.~"));
    EXPECT_CSTR(p.at, "route%20%2Fv1%2F%20a%2Bb%26c%3Dd%25%C3%A9-_.%7E");
    page_free(&p);
}
