/* SPDX-License-Identifier: Apache-2.0 */
/* To be preloaded: TCP connections go out from the address in BIND_FROM. For slowhttptest, which cannot be told. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

int connect(int fd, const struct sockaddr *to, socklen_t len)
{
    int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    const char *from = getenv("BIND_FROM");
    struct sockaddr_in at = {.sin_family = AF_INET};
    int type = 0, one = 1;
    socklen_t n = sizeof type;
    if (from && to->sa_family == AF_INET && inet_pton(AF_INET, from, &at.sin_addr) == 1
        && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM) {
        (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        (void)bind(fd, (const struct sockaddr *)&at, sizeof at);
    }
    return next(fd, to, len);
}
