/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/buf.h"

#include "lib/rng.h"
#include "test.h"

/* The byte at place `n` of an endless text without a short period. */
static uint8_t byte_at(size_t n) { return (uint8_t)(n ^ n >> 8 ^ n * 7 >> 16); }

static void append(struct buf *b, struct slab *blocks, size_t *written, size_t len)
{
    static uint8_t bytes[100000];
    for (size_t i = 0; i < len; i++)
        bytes[i] = byte_at(*written + i);
    buf_append(b, blocks, bytes, len);
    *written += len;
}

/* What peek shows is the text from `read` on, all of it. */
static bool shows(const struct buf *b, size_t read)
{
    struct iovec v[100];
    int n = buf_peek(b, v, 100);
    size_t seen = 0;
    for (int i = 0; i < n; i++) {
        if (v[i].iov_len == 0)
            return false;
        for (size_t j = 0; j < v[i].iov_len; j++)
            if (((const uint8_t *)v[i].iov_base)[j] != byte_at(read + seen++))
                return false;
    }
    return seen == b->len;
}

TEST(bytes_come_out_as_they_went_in)
{
    struct slab blocks;
    struct buf b = {0};
    struct rng rng;
    size_t written = 0, taken = 0;

    rng_seed(&rng, 3);
    slab_init(&blocks, BUF_BLOCK, 2);
    for (int i = 0; i < 2000; i++) {
        if (b.len < 300000 && rng_below(&rng, 2))
            append(&b, &blocks, &written, rng_below(&rng, rng_below(&rng, 8) ? 3000 : 60000));
        else {
            size_t n = rng_below(&rng, b.len + 1);
            buf_consume(&b, &blocks, n);
            taken += n;
        }
        if (!EXPECT_EQ(b.len, written - taken) || !EXPECT(shows(&b, taken)))
            break;
        EXPECT(b.len != 0 || blocks.used == 0);
    }
    buf_consume(&b, &blocks, b.len);
    EXPECT_EQ(blocks.used, 0);
    slab_fini(&blocks);
}

TEST(empty_holds_nothing)
{
    struct slab blocks;
    struct buf b = {0};
    struct iovec v[2];
    size_t written = 0;

    slab_init(&blocks, BUF_BLOCK, 2);
    EXPECT_EQ(buf_peek(&b, v, 2), 0);
    buf_append(&b, &blocks, "", 0);
    buf_consume(&b, &blocks, 0);
    EXPECT_EQ(blocks.used, 0);
    append(&b, &blocks, &written, 50000);
    EXPECT_EQ(blocks.used, 4);
    EXPECT_EQ(buf_peek(&b, v, 2), 2);
    buf_clear(&b, &blocks);
    EXPECT_EQ(b.len, 0);
    EXPECT_EQ(blocks.used, 0);
    EXPECT_EQ(buf_peek(&b, v, 2), 0);
    buf_clear(&b, &blocks);
    slab_fini(&blocks);
}

static void consume_too_much(void)
{
    struct slab blocks;
    struct buf b = {0};
    slab_init(&blocks, BUF_BLOCK, 2);
    buf_append(&b, &blocks, "abc", 3);
    buf_consume(&b, &blocks, 4);
}

TEST(more_than_there_is_is_a_bug) { EXPECT_DIES(consume_too_much, "len <= b->len"); }
