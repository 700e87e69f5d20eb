/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a PROXY header: what they say does not depend on how they are cut, nor on what stands behind them; ends that were
 * read can be written in either version, and are then read as the same.
 */
#include <stdlib.h>
#include "http/proxy_protocol.h"
#include "lib/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Of memory of its own size, so that a byte behind it is not read unseen. */
static enum parse parse(const char *at, size_t len, struct proxy_header *h)
{
    char *copy = malloc(len ? len : 1);

    if (len)
        memcpy(copy, at, len);
    enum parse res = proxy_protocol_parse(str_of(copy, len), h);
    free(copy);
    return res;
}

static bool same(const struct proxy_header *a, const struct proxy_header *b)
{
    return a->len == b->len && a->version == b->version && a->named == b->named && proxy_ends_eq(&a->ends, &b->ends)
           && a->fault == b->fault;
}

static void check_pieces(const char *at, size_t size, enum parse res, const struct proxy_header *whole)
{
    struct proxy_header h;
    enum parse got = PARSE_MORE;

    for (size_t n = 0; n <= size && got == PARSE_MORE; n += 1 + (size > 300 ? size / 100 : 0))
        got = parse(at, n, &h);
    if (got == PARSE_MORE)
        got = parse(at, size, &h);
    check(got == res && same(&h, whole));
}

static void check_written(const struct proxy_ends *ends)
{
    for (unsigned version = 1; version <= 2; version++) {
        struct proxy_header h;
        char out[PROXY_WRITE_MAX];
        size_t len = proxy_protocol_write(version, ends, out);
        check(len < PROXY_WRITE_MAX && parse(out, len, &h) == PARSE_OK && h.len == len && h.version == version);
        check(h.named == (ends->source.family != 0));
        check(!h.named || proxy_ends_eq(&h.ends, ends));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data;
    struct proxy_header h, again;
    enum parse res = parse(at, size, &h);

    check_pieces(at, size, res, &h);
    check((res == PARSE_BAD) == (h.fault != NULL));
    check((res == PARSE_OK) == (h.len > 0) && h.len <= size && h.len <= PROXY_HEADER_MAX);
    if (res != PARSE_OK)
        return 0;
    check(h.version == 1 || h.version == 2);
    check(parse(at, h.len, &again) == PARSE_OK && same(&h, &again));
    check(parse(at, h.len - 1, &again) == PARSE_MORE);
    if (h.named)
        check_written(&h.ends);
    return 0;
}
