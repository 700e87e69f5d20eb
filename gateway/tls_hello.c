/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hello before OpenSSL sees it. OpenSSL makes room for all of a message as soon as it has read how long that is: nine bytes would
 * hold 128 KiB.
 *
 * What operators meet in its place most is named: a load balancer in front that was told to send PROXY headers, where a reason of
 * OpenSSL's, or "plain HTTP", would send them looking for something else.
 *
 * Nothing is refused here: that is the caller's.
 */
#include "tls_hello.h"

#include <string.h>

enum { HELLO_MAX = 16 * 1024, RECORD_HEAD = 5, HANDSHAKE = 22 };

static void hello_take(struct tls_hello *h, const char *at, size_t n)
{
    for (; n > 0 && h->seen < 4; at++, n--) {
        if (h->left > 0) {
            h->left--;
            h->seen++;
            h->says = h->says << 8 | (unsigned char)*at;
        } else {
            h->length = (uint16_t)(h->length << 8 | (unsigned char)*at);
            h->head = (uint8_t)((h->head + 1) % RECORD_HEAD);
            h->left = h->head == 0 ? h->length : 0;
        }
    }
}

const char *tls_hello_fault(struct tls_hello *h, const char *at, size_t n)
{
    if (n > 0 && !h->came) {
        h->came = true;
        h->shakes = at[0] == HANDSHAKE;
    }
    hello_take(h, at, n);
    if (h->seen < 4 || (h->says & 0xffffff) <= HELLO_MAX)
        return NULL;
    return h->shakes ? "its hello says that it is longer than 16 KiB" : "what came is no handshake of TLS";
}

const char *tls_hello_stranger(const char *at, size_t n)
{
    static const char one[6] = "PROXY ", two[12] = "\r\n\r\n\0\r\nQUIT\n";
    bool proxied = (n >= sizeof one && memcmp(at, one, sizeof one) == 0) || (n >= sizeof two && memcmp(at, two, sizeof two) == 0);
    return proxied ? "a header of the PROXY protocol came, which is not expected from there (listen.proxy_protocol)" : NULL;
}
