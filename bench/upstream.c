/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upstream - a minimal, fast HTTP/1.1 server to stand behind a gateway under test.
 *
 *   upstream [PORT]            default 9000, binds 127.0.0.1, one thread
 *
 * Behaviour is chosen by the path:
 *   /                  200, body "ok"
 *   /bytes/N           200, N body bytes
 *   /delay/MS          200 after MS milliseconds
 *   /delay/MS/N        the same with N body bytes
 *   /serve/MS/K         an upstream that collapses: K at a time take MS each, more in flight slow all of them down
 *                      (MS * (in flight / K)^1.5)
 *   /outage/S          answers /serve with 503 for S seconds from now
 *   /status/CODE       that status, small body
 *   /sse/K/MS          text/event-stream, K chunked events MS milliseconds apart, then "data: [DONE]"
 *   /v1/chat/completions   200, a chat completion with its usage (12 prompt tokens, 34 completion tokens)
 *   /drop              closes the connection without answering
 *   /hang              never answers
 *   /stats             JSON: requests seen, in flight now, the most in flight, the most in any 100 ms
 *   /reset             200, and sets those figures to zero
 * A request body (Content-Length or chunked) is read and thrown away.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { IN_MAX = 65536, CONNS = 65536 };

struct conn {
    int fd, used, len;
    char *in;                 /* bytes received and not yet parsed */
    uint64_t body_left;       /* body bytes still to be thrown away */
    int chunked;              /* the body ends with a last chunk */
    char *out;                /* bytes not yet sent */
    size_t out_len, out_cap;
    uint64_t due;             /* when the held answer goes out, 0: none held */
    int sse_left, sse_ms, hold_bytes, heap_at, pending, close_after;
};

static struct conn conns[CONNS];
static struct conn *heap[CONNS];
static int heap_n, ep;
static uint64_t seen, in_flight, max_in_flight, window_start, in_window, max_window;
static uint64_t outage_until;
static char *blob;
static size_t blob_cap;

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void heap_set(int i, struct conn *c) { heap[i] = c; c->heap_at = i; }

static void heap_fix(int i)
{
    struct conn *c = heap[i];
    while (i > 0 && heap[(i - 1) / 2]->due > c->due) { heap_set(i, heap[(i - 1) / 2]); i = (i - 1) / 2; }
    for (;;) {
        int k = 2 * i + 1;
        if (k >= heap_n) break;
        if (k + 1 < heap_n && heap[k + 1]->due < heap[k]->due) k++;
        if (heap[k]->due >= c->due) break;
        heap_set(i, heap[k]);
        i = k;
    }
    heap_set(i, c);
}

static void heap_push(struct conn *c, uint64_t due) { c->due = due; heap_set(heap_n++, c); heap_fix(heap_n - 1); }

static void heap_remove(struct conn *c)
{
    if (!c->due) return;
    int i = c->heap_at;
    c->due = 0;
    struct conn *last = heap[--heap_n];
    if (last != c) { heap_set(i, last); heap_fix(i); }
}

static void conn_close(struct conn *c)
{
    heap_remove(c);
    if (c->pending) { in_flight--; c->pending = 0; }
    close(c->fd);
    free(c->in);
    free(c->out);
    memset(c, 0, sizeof *c);
}

static void conn_flush(struct conn *c)
{
    size_t at = 0;
    while (at < c->out_len) {
        ssize_t n = send(c->fd, c->out + at, c->out_len - at, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN) break;
            conn_close(c);
            return;
        }
        at += (size_t)n;
    }
    memmove(c->out, c->out + at, c->out_len - at);
    c->out_len -= at;
    if (!c->out_len && c->close_after) { conn_close(c); return; }
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | (c->out_len ? EPOLLOUT : 0), .data.ptr = c};
    if (c->out_len || at > 65536) epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
}

static void conn_put(struct conn *c, const void *p, size_t n)
{
    if (c->out_len + n > c->out_cap) {
        c->out_cap = (c->out_len + n) * 2;
        c->out = realloc(c->out, c->out_cap);
    }
    memcpy(c->out + c->out_len, p, n);
    c->out_len += n;
}

static void answer(struct conn *c, int status, const char *type, const char *body, size_t n)
{
    char head[256];
    int h = snprintf(head, sizeof head,
                     "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", status,
                     status < 300 ? "OK" : "Status", type, n);
    conn_put(c, head, (size_t)h);
    conn_put(c, body, n);
    if (c->pending) { in_flight--; c->pending = 0; }
}

static void answer_bytes(struct conn *c, size_t n)
{
    if (n > blob_cap) { blob = realloc(blob, n); memset(blob, 'x', n); blob_cap = n; }
    answer(c, 200, "application/octet-stream", n ? blob : "", n);
}

static void request(struct conn *c, const char *path)
{
    uint64_t t = now_ms();
    if (!strncmp(path, "/stats ", 7)) {
        char b[256];
        int n = snprintf(b, sizeof b, "{\"requests\":%llu,\"in_flight\":%llu,\"max_in_flight\":%llu,\"max_per_100ms\":%llu}\n",
                         (unsigned long long)seen, (unsigned long long)in_flight, (unsigned long long)max_in_flight,
                         (unsigned long long)max_window);
        answer(c, 200, "application/json", b, (size_t)n);
        return;
    }
    if (!strncmp(path, "/reset ", 7)) {
        seen = max_in_flight = max_window = in_window = 0;
        answer(c, 200, "text/plain", "reset\n", 6);
        return;
    }
    seen++;
    c->pending = 1;
    if (++in_flight > max_in_flight) max_in_flight = in_flight;
    if (t - window_start >= 100) { window_start = t; in_window = 0; }
    if (++in_window > max_window) max_window = in_window;

    int a = 0, b = 0;
    if (sscanf(path, "/bytes/%d", &a) == 1) answer_bytes(c, (size_t)a);
    else if (sscanf(path, "/delay/%d/%d", &a, &b) >= 1) { c->hold_bytes = b; heap_push(c, t + (uint64_t)a); }
    else if (sscanf(path, "/serve/%d/%d", &a, &b) == 2) {
        double over = b > 0 && in_flight > (uint64_t)b ? (double)in_flight / b : 1;
        if (t < outage_until) answer(c, 503, "text/plain", "outage\n", 7);
        else heap_push(c, t + (uint64_t)(a * over * sqrt(over)));
    }
    else if (sscanf(path, "/outage/%d", &a) == 1) { outage_until = t + (uint64_t)a * 1000; answer(c, 200, "text/plain", "outage\n", 7); }
    else if (sscanf(path, "/status/%d", &a) == 1) answer(c, a, "text/plain", "status\n", 7);
    else if (sscanf(path, "/sse/%d/%d", &a, &b) == 2) {
        static const char h[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
                                "Transfer-Encoding: chunked\r\n\r\n";
        conn_put(c, h, sizeof h - 1);
        c->sse_left = a + 1;
        c->sse_ms = b;
        heap_push(c, t + (uint64_t)b);
    } else if (!strncmp(path, "/drop", 5)) { conn_close(c); }
    else if (!strncmp(path, "/hang", 5)) { /* never */ }
    else if (!strncmp(path, "/v1/chat/completions", 20)) {
        static const char chat[] = "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"gpt-4o-mini\","
            "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hello! How can I help you today?\"},"
            "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":34,\"total_tokens\":46}}";
        answer(c, 200, "application/json", chat, sizeof chat - 1);
    }
    else answer(c, 200, "text/plain", "ok", 2);
}

static void tick(struct conn *c)
{
    heap_remove(c);
    if (c->sse_left) {
        char ev[256], chunk[300];
        if (--c->sse_left) {
            int n = snprintf(ev, sizeof ev, "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"t\":%llu,"
                                            "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"}}]}\n\n",
                             (unsigned long long)now_ms());
            conn_put(c, chunk, (size_t)snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n", (unsigned)n, ev));
            heap_push(c, now_ms() + (uint64_t)c->sse_ms);
        } else {
            static const char last[] = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
            conn_put(c, last, sizeof last - 1);
            if (c->pending) { in_flight--; c->pending = 0; }
        }
    } else {
        answer_bytes(c, (size_t)c->hold_bytes);
    }
    conn_flush(c);
}

/* Takes whole requests off the front of c->in; returns -1 when the connection is gone. */
static int parse(struct conn *c)
{
    int at = 0;
    while (at < c->len) {
        if (c->body_left) {
            uint64_t n = (uint64_t)(c->len - at) < c->body_left ? (uint64_t)(c->len - at) : c->body_left;
            at += (int)n;
            c->body_left -= n;
            if (!c->body_left) goto ready;
            continue;
        }
        if (c->chunked) {
            char *end = memmem(c->in + at, (size_t)(c->len - at), "0\r\n\r\n", 5);
            if (!end) { if (c->len - at > 8) at = c->len - 8; break; }
            at = (int)(end - c->in) + 5;
            c->chunked = 0;
            goto ready;
        }
        char *end = memmem(c->in + at, (size_t)(c->len - at), "\r\n\r\n", 4);
        if (!end) break;
        *end = 0;
        char *head = c->in + at, *sp = strchr(head, ' ');
        at = (int)(end - c->in) + 4;
        static char path[CONNS][64];
        char *slot = path[c - conns];
        snprintf(slot, 64, "%s", sp ? sp + 1 : "/ ");
        char *cl = strcasestr(head, "\r\ncontent-length:");
        c->body_left = cl ? strtoull(cl + 17, 0, 10) : 0;
        c->chunked = !cl && strcasestr(head, "\r\ntransfer-encoding:") != 0;
        if (c->body_left || c->chunked) continue;
    ready:;
        int fd = c->fd;
        request(c, path[c - conns]);
        if (c->fd != fd) return -1;
    }
    memmove(c->in, c->in + at, (size_t)(c->len - at));
    c->len -= at;
    return 0;
}

int main(int argc, char **argv)
{
    int port = argc > 1 ? atoi(argv[1]) : 9000, one = 1;
    signal(SIGPIPE, SIG_IGN);
    int ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(ls, (void *)&a, sizeof a) || listen(ls, 4096)) { perror("upstream: bind"); return 1; }
    ep = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = 0};
    epoll_ctl(ep, EPOLL_CTL_ADD, ls, &e);
    for (;;) {
        struct epoll_event ev[256];
        uint64_t t = heap_n ? now_ms() : 0;
        int wait = heap_n ? (heap[0]->due > t ? (int)(heap[0]->due - t) : 0) : -1;
        int n = epoll_wait(ep, ev, 256, wait);
        for (int i = 0; i < n; i++) {
            struct conn *c = ev[i].data.ptr;
            if (!c) {
                int fd;
                while ((fd = accept4(ls, 0, 0, SOCK_NONBLOCK)) >= 0) {
                    if (fd >= CONNS) { close(fd); continue; }
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    struct conn *k = &conns[fd];
                    memset(k, 0, sizeof *k);
                    k->fd = fd;
                    k->in = malloc(IN_MAX);
                    struct epoll_event ce = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = k};
                    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ce);
                }
                continue;
            }
            if (!c->fd) continue;
            if (ev[i].events & EPOLLIN) {
                ssize_t r = recv(c->fd, c->in + c->len, (size_t)(IN_MAX - c->len), 0);
                if (r == 0 || (r < 0 && errno != EAGAIN)) { conn_close(c); continue; }
                if (r > 0) { c->len += (int)r; if (parse(c)) continue; }
            } else if (ev[i].events & (EPOLLERR | EPOLLHUP)) { conn_close(c); continue; }
            if (c->fd && c->out_len) conn_flush(c);
        }
        if (heap_n) {
            t = now_ms();
            while (heap_n && heap[0]->due <= t) tick(heap[0]);
        }
    }
}
