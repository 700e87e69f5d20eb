/* SPDX-License-Identifier: Apache-2.0 */
#include "tls_hello.h"

#include <string.h>
#include "test.h"

#define BYTES(s) s, sizeof(s) - 1

static const char huge[] = "its hello says that it is longer than 16 KiB";
static const char none[] = "what came is no handshake of TLS";

static const struct { const char *name, *at; size_t n; const char *fault; } rows[] = {
    {"a hello", BYTES("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), NULL},
    {"of 16 KiB", BYTES("\x16\x03\x01\x40\x00\x01\x00\x40\x00"), NULL},
    {"of a byte more", BYTES("\x16\x03\x01\x40\x00\x01\x00\x40\x01"), huge},
    {"over two records", BYTES("\x16\x03\x01\x00\x02\x01\x01\x16\x03\x01\x00\x02\x00\x00"), huge},
    {"an empty record first", BYTES("\x16\x03\x01\x00\x00\x16\x03\x01\x00\x04\x01\x00\x00\x10"), NULL},
    {"its length is still to come", BYTES("\x16\x03\x01\x40\x00\x01\x7f\xff"), NULL},
    {"noise", BYTES("\x00\x00\x00\x00\x40\xff\xff\xff\xff"), none},
    {"short noise", BYTES("\xff\xff\xff"), NULL},
};

/* However the bytes are cut. */
TEST(what_is_said_of_the_first_bytes)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t step = 1; step <= rows[i].n; step++) {
            struct tls_hello h = {0};
            const char *fault = NULL;
            test_row("%s, %zu at a time", rows[i].name, step);
            for (size_t at = 0; at < rows[i].n && !fault; at += step)
                fault = tls_hello_fault(&h, rows[i].at + at, rows[i].n - at < step ? rows[i].n - at : step);
            EXPECT(!fault == !rows[i].fault);
            if (fault && rows[i].fault)
                EXPECT_CSTR(fault, rows[i].fault);
        }
}

TEST(a_proxy_header_is_known)
{
    static const struct { const char *at; size_t n; bool known; } began[] = {
        {BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n"), true}, {BYTES("PROXY "), true}, {BYTES("PROXY"), false},
        {BYTES("PROXYING / HTTP/1.1\r\n"), false}, {BYTES("GET / HTTP/1.1\r\n"), false}, {BYTES(""), false},
        {BYTES("\r\n\r\n\0\r\nQUIT\n"), true}, {BYTES("\r\n\r\n\0\r\nQUIT"), false}, {BYTES("\r\n\r\n\0\r\nQUIT\n\x21\x11"), true},
        {BYTES("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00"), false},
    };
    for (size_t i = 0; i < sizeof began / sizeof *began; i++) {
        test_row("%zu", i);
        const char *what = tls_hello_stranger(began[i].at, began[i].n);
        EXPECT((what != NULL) == began[i].known);
        EXPECT(!what || strstr(what, "listen.proxy_protocol"));
    }
}
