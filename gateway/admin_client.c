/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks an admin listener: one request, one answer, one connection that the server closes. It knows of HTTP what that server
 * says: a status line, a head with a length, and a body of it.
 *
 * A server that will not have a body answers before it was sent: so a failure to send is none until there is no answer either.
 */
#include "admin_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include "lib/clock.h"

void admin_query_value(struct page *p, struct str value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.at[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                     c == '.';
        page_printf(p, plain ? "%c" : "%%%02X", c);
    }
}

/* Whoever listens on every address of this machine is reached by its own. */
static struct address reachable(const struct address *at)
{
    struct address to = *at;
    if (to.sa.sa_family == AF_INET && to.in.sin_addr.s_addr == htonl(INADDR_ANY))
        to.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (to.sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&to.in6.sin6_addr))
        to.in6.sin6_addr = in6addr_loopback;
    return to;
}

/* As it would stand in a configuration: a verb read it in a file that its caller may not have in mind. */
struct place_text { char text[sizeof ((struct sockaddr_un *)NULL)->sun_path + 8]; };

static struct place_text place_text(const struct address *a)
{
    struct place_text t;
    char ip[INET6_ADDRSTRLEN] = "";
    bool six = a->sa.sa_family == AF_INET6;
    if (a->sa.sa_family == AF_UNIX) {
        (void)snprintf(t.text, sizeof t.text, "unix:%s", a->un.sun_path);
        return t;
    }
    (void)inet_ntop(a->sa.sa_family, six ? (const void *)&a->in6.sin6_addr : &a->in.sin_addr, ip, sizeof ip);
    (void)snprintf(t.text, sizeof t.text, six ? "[%s]:%u" : "%s:%u", ip, ntohs(six ? a->in6.sin6_port : a->in.sin_port));
    return t;
}

/* Until when the next call on the socket may take; false: that is over. */
static bool patience_set(int fd, uint64_t until)
{
    uint64_t now = clock_mono(&clock_real), left = until > now ? until - now : 0;
    struct timeval time = {(time_t)(left / NSEC_PER_SEC), (suseconds_t)(left % NSEC_PER_SEC / 1000)};
    if (left < 1000) {               /* and zero would mean for ever */
        errno = ETIMEDOUT;
        return false;
    }
    return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) == 0
           && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time) == 0;
}

static int send_all(int fd, struct str text, uint64_t until)
{
    for (size_t done = 0; done < text.len;) {
        if (!patience_set(fd, until))
            return -1;
        ssize_t n = send(fd, text.at + done, text.len - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        done += (size_t)n;
    }
    return 0;
}

/* What comes until the other side ends; a reset behind an answer is an end too. */
static int receive_all(int fd, uint64_t until, struct page *answer)
{
    char piece[16384];
    for (;;) {
        if (!patience_set(fd, until))
            return -1;
        ssize_t n = recv(fd, piece, sizeof piece, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && !(errno == ECONNRESET && answer->len > 0))
            return -1;
        if (n <= 0)
            return 0;
        page_printf(answer, "%.*s", (int)n, piece);
    }
}

/* Of a field of the head, which ends with an empty line; {NULL, 0}: it is not there. */
static struct str value_of(const char *head, struct str name)
{
    const char *line = head, *stop;
    for (; (stop = strstr(line, "\r\n")) != line; line = stop + 2) {
        size_t len = (size_t)(stop - line);
        if (len > name.len && line[name.len] == ':' && str_same_nocase(line, name.at, name.len))
            return str_trim(str_of(line + name.len + 1, len - name.len - 1));
    }
    return (struct str){NULL, 0};
}

/* The status, and the body in place of the whole answer. */
static int answer_read(const struct address *to, const struct page *answer, struct page *body, struct err *err)
{
    static const char version[] = "HTTP/1.1 ";
    const char *end = answer->len ? strstr(answer->at, "\r\n\r\n") : NULL;
    uint64_t status, length;
    if (!end || strncmp(answer->at, version, strlen(version)) != 0
        || !str_u64(str_of(answer->at + strlen(version), 3), &status))
        return err_set(err, "what listens at %s is no admin listener of weir", place_text(to).text);
    struct str said = value_of(answer->at, STR("Content-Length"));
    size_t came = answer->len - (size_t)(end + 4 - answer->at);
    if (said.at && (!str_u64(said, &length) || came < length))
        return err_set(err, "the admin listener's answer was cut off");
    page_printf(body, "%s", end + 4);
    return (int)status;
}

static const char *failure(void)
{
    return errno == EAGAIN || errno == EINPROGRESS || errno == ETIMEDOUT ? "it takes too long" : strerror(errno);
}

static int exchange(int fd, const struct address *to, const struct admin_ask *ask, struct page *body, struct err *err)
{
    uint64_t until = time_after(clock_mono(&clock_real), ask->patience);
    struct page head = {0}, answer = {0};
    int status = -1;
    page_printf(&head, "%s %s HTTP/1.1\r\nHost: localhost\r\n", ask->method, ask->path);
    if (ask->accept)
        page_printf(&head, "Accept: %s\r\n", ask->accept);
    if (ask->token && *ask->token)
        page_printf(&head, "Authorization: Bearer %s\r\n", ask->token);
    if (strcmp(ask->method, "POST") == 0)
        page_printf(&head, "Content-Length: %zu\r\n", ask->body.len);
    page_printf(&head, "Connection: close\r\n\r\n");
    if (!patience_set(fd, until) || connect(fd, &to->sa, to->len) != 0) {
        const char *why = failure();
        err_set(err, "cannot connect to the admin listener at %s: %s", place_text(to).text, why);
    } else {
        int sent = send_all(fd, str_of(head.at, head.len), until);
        if (sent == 0)
            sent = send_all(fd, ask->body, until);
        int why = errno;
        if (receive_all(fd, until, &answer) != 0 || (sent != 0 && answer.len == 0)) {
            errno = sent != 0 ? why : errno;
            const char *said = failure();
            err_set(err, "the admin listener at %s did not answer: %s", place_text(to).text, said);
        } else {
            status = answer_read(to, &answer, body, err);
        }
    }
    page_free(&head);
    page_free(&answer);
    return status;
}

int admin_ask(const struct address *at, const struct admin_ask *ask, struct page *body, struct err *err)
{
    struct address to = reachable(at);
    int fd = socket(to.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(err, "socket: %s", strerror(errno));
    int status = exchange(fd, &to, ask, body, err);
    close(fd);
    return status;
}
