/* SPDX-License-Identifier: Apache-2.0 */
/* Chunked bodies: however they are cut, the payload, the end and the fault are the same; encoded again, they decode to
 * it. */
#include <stdlib.h>
#include "http/chunked.h"
#include "lib/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct out {
    char *body;
    size_t len, rest;
    enum chunked_event end;
    enum http_fault fault;
};

static struct out decode(const char *at, size_t len, size_t step, uint32_t seed)
{
    struct out o = {.body = malloc(len + 1), .end = CHUNKED_MORE};
    struct chunked c;

    chunked_init(&c);
    while (len && (o.end == CHUNKED_MORE || o.end == CHUNKED_DATA)) {
        struct str data = {NULL, 0};
        size_t used = 0;
        seed = seed * 1664525 + 1013904223;
        size_t n = step ? step : 1 + (seed >> 16) % 9;
        n = n < len ? n : len;
        o.end = chunked_decode(&c, at, n, &used, &data);
        check(used <= n && (used == n || o.end != CHUNKED_MORE));
        if (o.end == CHUNKED_DATA) {
            check(data.len && data.at >= at && data.at + data.len == at + used);
            memcpy(o.body + o.len, data.at, data.len);
            o.len += data.len;
        }
        at += used;
        len -= used;
    }
    o.end = o.end == CHUNKED_DATA ? CHUNKED_MORE : o.end;
    o.rest = len;
    o.fault = c.fault;
    return o;
}

/* Sends the payload on as a proxy would, in chunks of at most `size` bytes. */
static size_t encode(const struct out *o, size_t size, char *wire)
{
    size_t n = 0;

    for (size_t i = 0; i < o->len; i += size) {
        size_t k = o->len - i < size ? o->len - i : size;
        n += chunked_head(wire + n, k);
        memcpy(wire + n, o->body + i, k);
        memcpy(wire + n + k, "\r\n", 2);
        n += k + 2;
    }
    memcpy(wire + n, "0\r\n", 3);
    return n + 3;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t steps[] = {1, 0, 5};
    const char *at = (const char *)data;
    struct out a = decode(at, size, size ? size : 1, 0);

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct out b = decode(at, size, steps[i], (uint32_t)size);
        check(a.len == b.len && !memcmp(a.body, b.body, a.len) && a.end == b.end);
        check(a.fault == b.fault && (a.end != CHUNKED_LAST || a.rest == b.rest));
        free(b.body);
    }
    check((a.end == CHUNKED_BAD) == (a.fault != FAULT_NONE));
    char *wire = malloc(a.len * (CHUNKED_HEAD_MAX + 3) + 3);
    struct out c = decode(wire, encode(&a, 1 + size % 50, wire), 3, 0);
    check(c.end == CHUNKED_LAST && c.rest == 0 && c.len == a.len && !memcmp(a.body, c.body, a.len));
    free(wire);
    free(a.body);
    free(c.body);
    return 0;
}
