/* SPDX-License-Identifier: Apache-2.0 */
#include "http/chunked.h"
#include "lib/mem.h"
#include "test.h"

struct out {
    char body[256];
    size_t len, left;         /* left: bytes behind the last chunk's line */
    enum chunked_event end;
    enum http_fault fault;
};

/* Feeds `step` bytes at a time, each time from a block of just that size. */
static struct out decode(struct str in, size_t step)
{
    struct out o = {.end = CHUNKED_MORE};
    struct chunked c;

    chunked_init(&c);
    while (in.len && (o.end == CHUNKED_MORE || o.end == CHUNKED_DATA)) {
        struct str data = {NULL, 0};
        size_t used = 0, n = step < in.len ? step : in.len;
        char *copy = mem_alloc(n);
        memcpy(copy, in.at, n);
        o.end = chunked_decode(&c, copy, n, &used, &data);
        if (o.end == CHUNKED_DATA && EXPECT(data.len > 0 && o.len + data.len <= sizeof(o.body))) {
            memcpy(o.body + o.len, data.at, data.len);
            o.len += data.len;
        }
        EXPECT(used <= n && (used == n || o.end != CHUNKED_MORE));
        mem_free(copy);
        in = str_of(in.at + used, in.len - used);
    }
    if (o.end == CHUNKED_DATA)
        o.end = CHUNKED_MORE;
    o.left = in.len;
    o.fault = c.fault;
    return o;
}

TEST(bodies)
{
    static const struct {
        struct str in;
        const char *body;
        enum http_fault fault;      /* FAULT_NONE: it ends well; FAULT_COUNT: more is wanted */
    } rows[] = {
        {STR("5\r\nhello\r\n0\r\n"), "hello", FAULT_NONE},
        {STR("3\r\nhel\r\n02\r\nlo\r\n000\r\n"), "hello", FAULT_NONE},
        {STR("0\r\n"), "", FAULT_NONE},
        {STR("A\r\n0123456789\r\n0\r\n"), "0123456789", FAULT_NONE},
        {STR("5\r\nhello\r\n"), "hello", FAULT_COUNT},
        {STR("8\r\nhello"), "hello", FAULT_COUNT},
        {STR("5;a\r\nhello\r\n0;b=c;d=\"e\\\"f;\"\r\n"), "hello", FAULT_NONE},
        {STR("5 ; a = b ;c\r\nhello\r\n0\r\n"), "hello", FAULT_NONE},
        {STR("5;\r\nhello"), "", FAULT_CHUNK_EXT},
        {STR("5;=b\r\nhello"), "", FAULT_CHUNK_EXT},
        {STR("5;a=\r\nhello"), "", FAULT_CHUNK_EXT},
        {STR("5;a=\"b\r\nhello"), "", FAULT_CHUNK_EXT},
        {STR("5;a=\"b\"c\r\nhello"), "", FAULT_CHUNK_EXT},
        {STR("5;a \r\nhello"), "", FAULT_CHUNK_EXT},
        {STR("5;a=\x80\r\nhello"), "", FAULT_CHUNK_EXT},
        {STR("5;a=\"\x01\"\r\nhello"), "", FAULT_CHUNK_EXT},
        {STR("5;\nhello"), "", FAULT_LINE_END},
        {STR("5;a\nhello"), "", FAULT_LINE_END},
        {STR("5;a=\"\n\""), "", FAULT_LINE_END},
        {STR("5;a\rb\r\n"), "", FAULT_LINE_END},
        {STR("5\nhello"), "", FAULT_LINE_END},
        {STR("5\r\r\nhello"), "", FAULT_LINE_END},
        {STR("5 \r\nhello"), "", FAULT_CHUNK_EXT},
        {STR(" 5\r\nhello"), "", FAULT_CHUNK_SIZE},
        {STR("\r\nhello"), "", FAULT_CHUNK_SIZE},
        {STR("0x5\r\nhello"), "", FAULT_CHUNK_SIZE},
        {STR("-1\r\nhello"), "", FAULT_CHUNK_SIZE},
        {STR("5g\r\nhello"), "", FAULT_CHUNK_SIZE},
        {STR("0 5\r\nhello"), "", FAULT_CHUNK_EXT},
        {STR("8000000000000000\r\n"), "", FAULT_CHUNK_SIZE},
        {STR("10000000000000005\r\n"), "", FAULT_CHUNK_SIZE},
        {STR("7fffffffffffffff\r\nx"), "x", FAULT_COUNT},
        {STR("00000000000000000000000000000000000000000000000000000000000000005\r\n"), "", FAULT_CHUNK_SIZE},
        {STR("3\r\nhello\r\n"), "hel", FAULT_CHUNK_END},
        {STR("5\r\nhello\n0\r\n"), "hello", FAULT_CHUNK_END},
        {STR("5\r\nhello\r0\r\n"), "hello", FAULT_CHUNK_END},
        {STR("5\r\nhello\r\n\r\n"), "hello", FAULT_CHUNK_SIZE},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t step = 1; step < 80; step++) {
            test_row("%zu, %zu at a time", i, step);
            struct out o = decode(rows[i].in, step);
            EXPECT_STR(str_of(o.body, o.len), rows[i].body);
            EXPECT_EQ(o.end, rows[i].fault == FAULT_NONE ? CHUNKED_LAST :
                             rows[i].fault == FAULT_COUNT ? CHUNKED_MORE : CHUNKED_BAD);
            if (o.end == CHUNKED_BAD)
                EXPECT_EQ(o.fault, rows[i].fault);
        }
}

TEST(the_trailer_section_is_left)
{
    EXPECT_EQ(decode(STR("0\r\nA: b\r\n\r\n"), 99).left, 8);
    EXPECT_EQ(decode(STR("0\r\n\r\nGET"), 1).left, 5);
}

TEST(extensions_are_bounded_over_the_whole_body)
{
    struct chunked c;
    struct str data;
    char chunk[1100];
    size_t used, n = 0;

    n += (size_t)snprintf(chunk, sizeof(chunk), "1;");
    memset(chunk + n, 'e', 1000);
    n += 1000;
    memcpy(chunk + n, "\r\nx\r\n", 5);
    n += 5;
    chunked_init(&c);
    int good = 0;
    for (enum chunked_event e = CHUNKED_MORE; e != CHUNKED_BAD && good < 10; good++) {
        struct str in = str_of(chunk, n);
        while (in.len && e != CHUNKED_BAD) {
            e = chunked_decode(&c, in.at, in.len, &used, &data);
            in = str_of(in.at + used, in.len - used);
        }
    }
    EXPECT_EQ(good, 5);
    EXPECT_EQ(c.fault, FAULT_CHUNK_EXT);
}

TEST(many_small_chunks)
{
    char wire[6 * 200 + 3];
    for (int i = 0; i < 200; i++)
        memcpy(wire + 6 * i, "1\r\nx\r\n", 6);
    memcpy(wire + sizeof(wire) - 3, "0\r\n", 3);
    struct out o = decode(str_of(wire, sizeof(wire)), 99);
    EXPECT_EQ(o.end, CHUNKED_LAST);
    EXPECT_EQ(o.len, 200);
}

TEST(heads)
{
    static const struct {
        uint64_t len;
        const char *text;
    } rows[] = {{1, "1\r\n"}, {15, "f\r\n"}, {16, "10\r\n"}, {0x1a2b, "1a2b\r\n"},
    {UINT64_MAX, "ffffffffffffffff\r\n"}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char out[CHUNKED_HEAD_MAX];
        EXPECT_STR(str_of(out, chunked_head(out, rows[i].len)), rows[i].text);
    }
}
