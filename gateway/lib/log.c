/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process's own log.
 *
 * A line is built on the stack and goes out in one write(2), so that lines of several threads, and of several processes
 * on one pipe, do not mix. What callers or files put into a text cannot end the line or steer a terminal: control
 * characters are escaped as \xNN. A line has at most LOG_LINE bytes; a longer one ends in "...". If stderr cannot be
 * written there is nobody to tell: after 10 ms the line is lost, and a reader that is stuck holds nobody up. A pipe that
 * polls as writable takes PIPE_BUF bytes at once, so that a write behind a poll does not sleep; the lock keeps another
 * thread from coming between.
 *
 * The level and that lock are the mutable globals, with the sink itself: logging works before anything else does.
 */
#include "lib/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "lib/clock.h"

#define LOG_WAIT 10                  /* ms */
#define LOG_LINE 2048                /* bytes, the newline among them */

_Static_assert(LOG_LINE <= PIPE_BUF, "a line must fit where a pipe polls as writable");

static _Atomic(enum log_level) log_level = LOG_INFO;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

static const char *const level_names[] = {
    [LOG_ERROR] = "error",
    [LOG_WARN] = "warn",
    [LOG_INFO] = "info",
    [LOG_DEBUG] = "debug",
};

struct line {
    size_t len;
    bool cut;
    char bytes[LOG_LINE];
};

void log_set_level(enum log_level level) { atomic_store_explicit(&log_level, level, memory_order_relaxed); }

static bool is_wanted(enum log_level level)
{
    return level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

/* All or nothing, so that no escape is cut in two; leaves room for "..." and the newline. */
static void line_add(struct line *l, const char *at, size_t len)
{
    if (l->cut || len > LOG_LINE - 4 - l->len) {
        l->cut = true;
        return;
    }
    memcpy(l->bytes + l->len, at, len);
    l->len += len;
}

static void line_add_text(struct line *l, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    for (const char *p = text; *p && !l->cut; p++) {
        unsigned char c = (unsigned char)*p;
        if (c >= ' ' && c != 0x7f)
            line_add(l, p, 1);
        else
            line_add(l, (char[]){'\\', 'x', hex[c >> 4], hex[c & 15]}, 4);
    }
}

/* Takes off a last character of UTF-8 beyond ASCII, for it may be half of one. */
static void line_trim_character(struct line *l)
{
    size_t n = l->len;
    while (n && l->len - n < 3 && ((unsigned char)l->bytes[n - 1] & 0xc0) == 0x80)
        n--;
    if (n && (unsigned char)l->bytes[n - 1] >= 0xc0)
        l->len = n - 1;
}

static void line_write(struct line *l)
{
    if (l->cut) {
        line_trim_character(l);
        memcpy(l->bytes + l->len, "...", 3);
        l->len += 3;
    }
    l->bytes[l->len++] = '\n';
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
    pthread_mutex_lock(&log_lock);
    while (poll(&p, 1, LOG_WAIT) > 0 && write(STDERR_FILENO, l->bytes, l->len) < 0 && errno == EINTR)
        ;
    pthread_mutex_unlock(&log_lock);
}

static void log_text(enum log_level level, const char *area, unsigned held, const char *fmt, va_list ap)
{
    char text[LOG_LINE], when[28], more[48];
    struct line l = {.len = 0};
    const int saved = errno;

    int n = vsnprintf(text, sizeof(text), fmt, ap);
    clock_rfc3339(clock_wall(&clock_real), when);
    line_add_text(&l, when);
    line_add(&l, " ", 1);
    line_add_text(&l, level_names[level]);
    line_add(&l, " ", 1);
    line_add_text(&l, area);
    line_add(&l, ": ", 2);
    if (held) {
        snprintf(more, sizeof(more), "(%u left out) ", held);
        line_add_text(&l, more);
    }
    line_add_text(&l, n < 0 ? "(no text)" : text);
    if (n >= (int)sizeof(text))
        l.cut = true;
    line_write(&l);
    errno = saved;
}

void log_at(enum log_level level, const char *area, const char *fmt, ...)
{
    if (!is_wanted(level))
        return;
    va_list ap;
    va_start(ap, fmt);
    log_text(level, area, 0, fmt, ap);
    va_end(ap);
}

/* Of several threads that come at once, the one that moves last_ns speaks; the others count as held. */
static bool may_speak(struct log_limit *limit)
{
    unsigned long long now = clock_mono(&clock_real);
    unsigned long long last = atomic_load_explicit(&limit->last_ns, memory_order_relaxed);
    if (last != 0 && now < last + NSEC_PER_SEC)
        return false;
    return atomic_compare_exchange_strong_explicit(&limit->last_ns, &last, now, memory_order_relaxed,
                                                   memory_order_relaxed);
}

void log_limited(struct log_limit *limit, enum log_level level, const char *area, const char *fmt, ...)
{
    if (!is_wanted(level))
        return;
    if (!may_speak(limit)) {
        atomic_fetch_add_explicit(&limit->held, 1, memory_order_relaxed);
        return;
    }
    unsigned held = atomic_exchange_explicit(&limit->held, 0, memory_order_relaxed);
    va_list ap;
    va_start(ap, fmt);
    log_text(level, area, held, fmt, ap);
    va_end(ap);
}
