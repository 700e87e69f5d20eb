/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IP_H
#define IP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include "str.h"

/* An IP address without a port. IPv4 that came mapped into IPv6 (::ffff:a.b.c.d) is kept as IPv4. Any thread. */
struct ip {
    uint8_t family;          /* 4, 6; 0: none (a unix socket's peer) */
    uint8_t bytes[16];       /* network order; the first 4 of IPv4 */
};

/* A network: the first `bits` bits of `ip`. The bits behind them are zero. */
struct cidr {
    struct ip ip;
    uint8_t bits;
};

#define IP_TEXT 46           /* bytes that ip_format() may write, NUL included */

/* Strict: no leading zeros, ports, brackets, zones or spaces. */
bool ip_parse(struct str, struct ip *) __attribute__((warn_unused_result));
/* "10.0.0.0/8", or one address. Host bits are taken off: "10.1.2.3/8" is 10.0.0.0/8. IPv4 networks never hold IPv6
 * addresses nor the other way round; "::ffff:10.0.0.0/104" is 10.0.0.0/8. */
bool cidr_parse(struct str, struct cidr *) __attribute__((warn_unused_result));
bool ip_eq(const struct ip *, const struct ip *);
/* Never true of family 0. */
bool cidr_holds(const struct cidr *, const struct ip *);
struct ip ip_of_sockaddr(const struct sockaddr *);
uint16_t port_of_sockaddr(const struct sockaddr *);
/* Text of RFC 5952; returns its length; "unix" for family 0. */
size_t ip_format(const struct ip *, char out[IP_TEXT]);

#endif
