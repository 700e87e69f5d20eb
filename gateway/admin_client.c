/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other end of admin.c, for the command line: one request, one answer, one connection that the server closes. It
 * knows of HTTP what that server says: a status line, a head, and a body up to the end.
 */
#include "admin_client.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static const struct timeval patience = {10, 0};

void admin_query_value(struct page *p, struct str value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.at[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                     c == '.';
        page_printf(p, plain ? "%c" : "%%%02X", c);
    }
}

static int send_all(int fd, const struct page *p)
{
    for (size_t done = 0; done < p->len;) {
        ssize_t n = send(fd, p->at + done, p->len - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        done += (size_t)n;
    }
    return 0;
}

static int receive_all(int fd, struct page *answer)
{
    char piece[4096];
    for (;;) {
        ssize_t n = recv(fd, piece, sizeof piece, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return (int)n;
        page_printf(answer, "%.*s", (int)n, piece);
    }
}

/* The status, and the body in place of the whole answer; -1: it is none. */
static int answer_read(const struct page *answer, struct page *body)
{
    static const char version[] = "HTTP/1.1 ";
    const char *end = answer->len ? strstr(answer->at, "\r\n\r\n") : NULL;
    if (!end || strncmp(answer->at, version, strlen(version)) != 0)
        return -1;
    uint64_t status;
    if (!str_u64(str_of(answer->at + strlen(version), 3), &status))
        return -1;
    page_printf(body, "%s", end + 4);
    return (int)status;
}

int admin_post(const struct address *at, const char *path, struct page *body, struct err *err)
{
    struct page request = {0}, answer = {0};
    int status = -1, fd = socket(at->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(err, "socket: %s", strerror(errno));
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    page_printf(&request, "POST %s HTTP/1.1\r\nHost: weir\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", path);
    if (connect(fd, &at->sa, at->len) != 0)
        err_set(err, "cannot connect to the admin listener: %s", strerror(errno));
    else if (send_all(fd, &request) != 0 || receive_all(fd, &answer) != 0)
        err_set(err, "the admin listener did not answer: %s", strerror(errno));
    else if ((status = answer_read(&answer, body)) < 0)
        err_set(err, "what listens there is no admin listener of weir");
    close(fd);
    page_free(&request);
    page_free(&answer);
    return status;
}
