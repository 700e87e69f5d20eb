/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lib/clock.h"
#include "test.h"

/* stderr becomes a socket that keeps writes apart: one recv() gives one write(). */
struct capture {
    int old, fd;
    char line[8192];
};

static void capture_begin(struct capture *c)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds))
        abort();
    c->old = dup(STDERR_FILENO);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    c->fd = fds[0];
}

static void capture_end(struct capture *c)
{
    dup2(c->old, STDERR_FILENO);
    close(c->old);
    close(c->fd);
}

/* The next line without its newline and time, or NULL. */
static const char *capture_next(struct capture *c)
{
    ssize_t n = recv(c->fd, c->line, sizeof(c->line) - 1, MSG_DONTWAIT);
    if (n <= 0)
        return NULL;
    c->line[n] = '\0';
    EXPECT_EQ(c->line[n - 1], '\n');
    EXPECT_EQ(strchr(c->line, '\n'), c->line + n - 1);
    EXPECT(n > 28 && c->line[4] == '-' && c->line[10] == 'T' && c->line[26] == 'Z' && c->line[27] == ' ');
    c->line[n - 1] = '\0';
    return c->line + 28;
}

TEST(a_line)
{
    struct capture c;
    capture_begin(&c);
    log_warn("upstream", "%s is down for %d s", "10.0.0.1:80", 5);
    EXPECT_CSTR(capture_next(&c), "warn upstream: 10.0.0.1:80 is down for 5 s");
    errno = ENOENT;
    log_error("start", "cannot open: %m");
    EXPECT_EQ(errno, ENOENT);
    EXPECT_CSTR(capture_next(&c), "error start: cannot open: No such file or directory");
    capture_end(&c);
}

TEST(levels)
{
    static const struct { enum log_level level; const char *heard; } rows[] = {
        {LOG_ERROR, "e"}, {LOG_WARN, "ew"}, {LOG_INFO, "ewi"}, {LOG_DEBUG, "ewid"},
    };
    struct capture c;
    capture_begin(&c);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char heard[8] = "";
        size_t n = 0;
        log_set_level(rows[i].level);
        log_error("a", "x");
        log_warn("a", "x");
        log_info("a", "x");
        log_debug("a", "x");
        for (const char *line; n < 7 && (line = capture_next(&c));)
            heard[n++] = line[0];
        EXPECT_CSTR(heard, rows[i].heard);
    }
    log_set_level(LOG_INFO);
    capture_end(&c);
}

TEST(control_characters_are_escaped)
{
    struct capture c;
    capture_begin(&c);
    log_info("area\n", "%s", "a\nb\r\t\x1b[31m\x7f \\ \"\xc3\xa4\"");
    EXPECT_CSTR(capture_next(&c), "info area\\x0a: a\\x0ab\\x0d\\x09\\x1b[31m\\x7f \\ \"\xc3\xa4\"");
    capture_end(&c);
}

TEST(long_lines_are_cut)
{
    static char text[5000];
    struct capture c;
    capture_begin(&c);
    for (size_t len = 1980; len < 2100; len++) {
        memset(text, 'x', len);
        text[len] = '\0';
        log_info("a", "%s", text);
        const char *line = capture_next(&c);
        size_t whole = strlen(c.line) + 1;
        bool is_cut = strcmp(line + strlen(line) - 3, "...") == 0;
        test_row("%zu", len);
        EXPECT(whole <= 2048);
        EXPECT_EQ(is_cut, 28 + strlen("info a: ") + len + 4 > 2048);
        EXPECT_EQ(strspn(line + 8, "x"), strlen(line) - 8 - (is_cut ? 3 : 0));
    }
    capture_end(&c);
}

TEST(no_half_escapes_or_characters_at_the_cut)
{
    static char text[5000];
    struct capture c;
    capture_begin(&c);
    for (size_t shift = 0; shift < 8; shift++) {
        test_row("%zu", shift);
        memset(text, 'x', shift);
        memset(text + shift, '\n', 1000);
        text[shift + 1000] = '\0';
        log_info("a", "%s", text);
        const char *line = capture_next(&c) + 8 + shift;
        while (!strncmp(line, "\\x0a", 4))
            line += 4;
        EXPECT_CSTR(line, "...");
        for (size_t i = 0; i < 1500; i++)
            memcpy(text + shift + i * 3, "\xe2\x82\xac", 3);
        text[shift + 4500] = '\0';
        log_info("a", "%s", text);
        line = capture_next(&c) + 8 + shift;
        while (!strncmp(line, "\xe2\x82\xac", 3))
            line += 3;
        EXPECT_CSTR(line, "...");
    }
    capture_end(&c);
}

TEST(limited_says_how_many_it_held)
{
    struct log_limit limit = {0};
    struct capture c;
    capture_begin(&c);
    for (int i = 0; i < 5; i++)
        log_limited(&limit, LOG_WARN, "accept", "no file left, %d", i);
    EXPECT_CSTR(capture_next(&c), "warn accept: no file left, 0");
    EXPECT_EQ(capture_next(&c), NULL);
    /* A second later. */
    limit.last_ns -= NSEC_PER_SEC;
    log_limited(&limit, LOG_WARN, "accept", "again");
    EXPECT_CSTR(capture_next(&c), "warn accept: (4 left out) again");
    limit.last_ns -= NSEC_PER_SEC;
    log_limited(&limit, LOG_DEBUG, "accept", "not wanted");
    log_limited(&limit, LOG_WARN, "accept", "and again");
    EXPECT_CSTR(capture_next(&c), "warn accept: and again");
    capture_end(&c);
}

/* Whoever logs goes on, though nobody reads. */
TEST(a_full_pipe_holds_nobody_up)
{
    char page[4096], got[4096];
    int fds[2], old = dup(STDERR_FILENO);
    memset(page, 'x', sizeof(page));
    if (pipe(fds))
        abort();
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    while (write(fds[1], page, sizeof(page)) > 0) {
    }
    fcntl(fds[1], F_SETFL, 0);
    dup2(fds[1], STDERR_FILENO);
    alarm(20);
    log_info("a", "lost");
    alarm(0);
    while (read(fds[0], got, sizeof(got)) == sizeof(got) && got[sizeof(got) - 1] == 'x') {
        struct pollfd p = {.fd = fds[0], .events = POLLIN};
        if (poll(&p, 1, 0) != 1)
            break;
    }
    log_info("a", "kept");
    ssize_t n = read(fds[0], got, sizeof(got) - 1);
    dup2(old, STDERR_FILENO);
    close(old);
    close(fds[0]);
    close(fds[1]);
    got[n > 0 ? n : 0] = '\0';
    EXPECT(strstr(got, "info a: kept\n") != NULL);
    EXPECT(strstr(got, "lost") == NULL);
}
