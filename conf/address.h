/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ADDRESS_H
#define ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "lib/err.h"
#include "lib/str.h"

/* A socket address: of a listener, or of an endpoint given by number or path. */
struct address {
    socklen_t len;                   /* 0: a name, to be resolved */
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
};

/* "127.0.0.1:80", "[::1]:80", "unix:/path", ":8080" (0.0.0.0). Only numbers and paths; a name is an error. */
int address_parse(struct str text, struct address *, struct err *) must_check;
/* Is it the same place, whatever it was written as? */
bool address_same(const struct address *, const struct address *);
/* Can it be reached from this machine alone? */
bool address_is_local(const struct address *);

#endif
