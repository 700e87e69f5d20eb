/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay - the least work any proxy can do: an epoll loop that copies bytes between a client and one upstream
 * connection of its own, and reads nothing of them. Its CPU time a request is the floor for a proxy on this machine.
 *
 *   relay LISTEN_PORT UPSTREAM_PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FDS = 131072 };
static int peer[FDS];

int main(int argc, char **argv)
{
    if (argc < 3) return fprintf(stderr, "usage: relay LISTEN_PORT UPSTREAM_PORT\n"), 2;
    int one = 1, ep = epoll_create1(0), ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    signal(SIGPIPE, SIG_IGN);
    setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in up = a;
    up.sin_port = htons((uint16_t)atoi(argv[2]));
    if (bind(ls, (void *)&a, sizeof a) || listen(ls, 4096)) return perror("relay: bind"), 1;
    struct epoll_event e = {.events = EPOLLIN, .data.fd = ls};
    epoll_ctl(ep, EPOLL_CTL_ADD, ls, &e);
    static char buf[65536];
    for (;;) {
        struct epoll_event ev[256];
        int n = epoll_wait(ep, ev, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = ev[i].data.fd;
            if (fd == ls) {
                int c;
                while ((c = accept4(ls, 0, 0, SOCK_NONBLOCK)) >= 0) {
                    int u = socket(AF_INET, SOCK_STREAM, 0);
                    if (connect(u, (void *)&up, sizeof up)) { close(c); close(u); continue; }
                    setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    setsockopt(u, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    peer[c] = u;
                    peer[u] = c;
                    struct epoll_event ce = {.events = EPOLLIN | EPOLLET, .data.fd = c};
                    epoll_ctl(ep, EPOLL_CTL_ADD, c, &ce);
                    ce.data.fd = u;
                    epoll_ctl(ep, EPOLL_CTL_ADD, u, &ce);
                }
                continue;
            }
            if (!peer[fd]) continue;
            for (;;) {
                ssize_t r = recv(fd, buf, sizeof buf, MSG_DONTWAIT);
                if (r <= 0) {
                    if (r < 0 && errno == EAGAIN) break;
                    int p = peer[fd];
                    peer[fd] = peer[p] = 0;
                    close(fd);
                    close(p);
                    break;
                }
                for (ssize_t at = 0; at < r;) {
                    ssize_t w = send(peer[fd], buf + at, (size_t)(r - at), MSG_NOSIGNAL);
                    if (w < 0 && errno == EAGAIN) continue;
                    if (w < 0) break;
                    at += w;
                }
                if (r < (ssize_t)sizeof buf) break;
            }
        }
    }
}
