/* SPDX-License-Identifier: Apache-2.0 */
/* Chunks: what goes to the wire, and in how many writes. */
#include "h1_write.h"

#include <stdio.h>
#include <string.h>
#include "lib/mem.h"
#include "test.h"
#include "worker.h"

static struct {
    char at[256 * 1024];
    size_t len;
    unsigned writes, runs;
} wire;

static enum io wire_writev(struct stream *s, const struct iovec *v, int n, size_t *done)
{
    (void)s;
    wire.writes++;
    wire.runs += (unsigned)n;
    *done = 0;
    for (int i = 0; i < n && EXPECT(wire.len + v[i].iov_len <= sizeof wire.at); i++) {
        memcpy(wire.at + wire.len, v[i].iov_base, v[i].iov_len);
        wire.len += v[i].iov_len;
        *done += v[i].iov_len;
    }
    return IO_OK;
}

static const struct stream_ops wire_ops = {.writev = wire_writev};

/* All that one read brought. */
static void chunks_put(const char *data, size_t len, unsigned n)
{
    struct worker *w = mem_zalloc(sizeof *w);
    struct stream s;
    worker_init(w, 0, &clock_real, 1, false);
    stream_init(&s, &wire_ops, w, NULL);
    wire.len = wire.writes = wire.runs = 0;
    for (unsigned i = 0; i < n; i++)
        h1_put_chunk(&s, str_of(data + i, len));
    (void)stream_flush(&s);
    worker_fini(w);
    mem_free(w);
}

/* Each is `len` bytes from the next place on. */
static void expect_wire(const char *data, size_t len, unsigned n)
{
    const char *at = wire.at;
    for (unsigned i = 0; i < n; i++) {
        char head[32];
        int h = snprintf(head, sizeof head, "%zx\r\n", len);
        if (!EXPECT((size_t)(at - wire.at) + (size_t)h + len + 2 <= wire.len) || !EXPECT(memcmp(at, head, (size_t)h) == 0)
            || !EXPECT(memcmp(at + h, data + i, len) == 0) || !EXPECT(memcmp(at + h + len, "\r\n", 2) == 0))
            return;
        at += (size_t)h + len + 2;
    }
    EXPECT_EQ((size_t)(at - wire.at), wire.len);
}

/* As many as 64 KiB have, but for the shortest. */
TEST(chunks_of_one_read)
{
    static const struct { size_t len; unsigned n, writes, runs; } rows[] = {
        {1, 1, 1, 1},     {200, 1, 1, 1},   {1024, 1, 1, 1}, {1025, 1, 1, 3},  {20000, 1, 1, 3},
        {1, 350, 1, 1},   {200, 36, 1, 1},  {200, 300, 8, 8 * 64}, {500, 128, 4, 4 * 64}, {1000, 64, 3, 3 * 64},
        {1024, 64, 3, 3 * 64}, {1025, 64, 4, 4 * 64},
    };
    static char data[32 * 1024];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)('a' + i % 23);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%u of %zu", rows[i].n, rows[i].len);
        chunks_put(data, rows[i].len, rows[i].n);
        expect_wire(data, rows[i].len, rows[i].n);
        EXPECT(wire.writes <= rows[i].writes);
        EXPECT(wire.runs <= rows[i].runs);
    }
}
