/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_PROTOCOL_H
#define PROXY_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "http/parse.h"
#include "lib/ip.h"
#include "lib/str.h"

/*
 * The PROXY protocol, versions 1 and 2: a few bytes in front of a connection by which a proxy says for whom it was opened.
 * Pure functions of bytes, which allocate nothing. Any thread.
 *
 * Whether such a header may be believed is not known here. It is never guessed whether there is one: who calls this knows
 * that there must be.
 */

/* Of a header that is read: room for the addresses and 3.8 KiB of what else may stand behind them. A longer one is refused. */
#define PROXY_HEADER_MAX 4096
/* Of a header that is written. */
#define PROXY_WRITE_MAX 108

/* The two ends of a connection as its proxy saw them: who opened it, and where to. */
struct proxy_ends {
    struct ip source, dest;          /* family 0: no address; a unix socket's, or not known */
    uint16_t source_port, dest_port;
};

struct proxy_header {
    size_t len;                      /* its bytes; what stands behind them is the connection's own */
    uint8_t version;                 /* 1, 2 */
    bool named;                      /* `ends` says who it is for; else it stands for itself, as a health check of the proxy does */
    struct proxy_ends ends;
    const char *fault;               /* after PARSE_BAD: why, in a few words */
};

/* `bytes`: all that has come, from the connection's first byte. PARSE_MORE: it may become a header; call again with more. What
 * comes out, the fault included, depends on the bytes alone, not on how they were cut. */
enum parse proxy_protocol_parse(struct str bytes, struct proxy_header *);

/* A header that says these ends, or, with `ends` NULL, that the connection stands for itself. Without a source's address it says
 * that they are not known. Of ends of different families the IPv4 one is written as IPv6; a destination that is not known, as
 * zeros. Returns its length. */
size_t proxy_protocol_write(unsigned version, const struct proxy_ends *ends, char out[PROXY_WRITE_MAX]);

bool proxy_ends_eq(const struct proxy_ends *, const struct proxy_ends *);

#endif
