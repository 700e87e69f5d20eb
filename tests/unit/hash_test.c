/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/hash.h"

#include "test.h"

/*
 * SipHash-c-d written down byte by byte, as the paper has it. It proves itself by the paper's SipHash-2-4 vectors, and
 * then says what SipHash-1-3 has to be.
 */
static uint64_t rotated(uint64_t x, unsigned n) { return (x << n) | (x >> (64 - n)); }

static void rounds(uint64_t v[4], int n)
{
    while (n-- > 0) {
        v[0] += v[1]; v[2] += v[3];
        v[1] = rotated(v[1], 13); v[3] = rotated(v[3], 16);
        v[1] ^= v[0]; v[3] ^= v[2];
        v[0] = rotated(v[0], 32);
        v[2] += v[1]; v[0] += v[3];
        v[1] = rotated(v[1], 17); v[3] = rotated(v[3], 21);
        v[1] ^= v[2]; v[3] ^= v[0];
        v[2] = rotated(v[2], 32);
    }
}

static uint64_t reference(int c, int d, const struct hash_key *key, const uint8_t *in, size_t len)
{
    static const char text[] = "somepseudorandomlygeneratedbytes";
    uint64_t v[4] = {0};
    for (int i = 0; i < 32; i++)
        v[i / 8] = v[i / 8] << 8 | (uint8_t)text[i];
    for (int i = 0; i < 4; i++)
        v[i] ^= i % 2 ? key->k1 : key->k0;
    for (size_t at = 0; at <= len; at += 8) {
        uint64_t m = 0;
        for (size_t i = 0; i < 8 && at + i < len; i++)
            m |= (uint64_t)in[at + i] << (8 * i);
        if (at + 8 > len)
            m |= (uint64_t)(len & 0xff) << 56;
        v[3] ^= m;
        rounds(v, c);
        v[0] ^= m;
    }
    v[2] ^= 0xff;
    rounds(v, d);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* The key of the vectors: bytes 00 to 0f; the messages: 00, 00 01, 00 01 02 ... */
static const struct hash_key paper_key = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};

TEST(the_reference_gives_the_published_2_4_vectors)
{
    static const struct { size_t len; uint64_t hash; } rows[] = {
        {0, 0x726fdb47dd0e0e31u}, {1, 0x74f839c593dc67fdu}, {2, 0x0d6c8009d9a94f5au}, {3, 0x85676696d7fb7e2du},
        {7, 0xab0200f58b01d137u}, {8, 0x93f5f5799a932462u}, {15, 0xa129ca6149be45e5u},
    };
    uint8_t in[64];
    for (unsigned i = 0; i < sizeof(in); i++)
        in[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        test_row("length %zu", rows[i].len);
        EXPECT_EQ(reference(2, 4, &paper_key, in, rows[i].len), rows[i].hash);
    }
}

TEST(hash_is_siphash_1_3_of_any_length)
{
    static const struct hash_key keys[] = {{0x0706050403020100u, 0x0f0e0d0c0b0a0908u}, {0, 0}, {UINT64_MAX, 1}};
    uint8_t in[300];
    for (unsigned i = 0; i < sizeof(in); i++)
        in[i] = (uint8_t)(i < 64 ? i : i * 37);
    for (size_t k = 0; k < 3; k++)
        for (size_t len = 0; len <= sizeof(in); len++) {
            test_row("key %zu, length %zu", k, len);
            EXPECT_EQ(hash_str(&keys[k], str_of((const char *)in, len)), reference(1, 3, &keys[k], in, len));
        }
    /* As other implementations have it. */
    EXPECT_EQ(hash_str(&paper_key, STR("")), 0xabac0158050fc4dcu);
}

TEST(absent_hashes_as_empty)
{
    EXPECT_EQ(hash_str(&paper_key, str_c(NULL)), hash_str(&paper_key, STR("")));
    EXPECT_EQ(hash_str_nocase(&paper_key, str_c(NULL)), hash_str(&paper_key, STR("")));
}

TEST(nocase_is_the_hash_of_the_lower_case)
{
    for (size_t len = 0; len < 40; len++)
        for (unsigned c = 0; c < 256; c++) {
            char in[40], low[40];
            for (size_t i = 0; i < len; i++) {
                in[i] = (char)(i % 3 == 0 ? c : 'A' + i % 26);
                low[i] = str_lower(in[i]);
            }
            if (!EXPECT_EQ(hash_str_nocase(&paper_key, str_of(in, len)), hash_str(&paper_key, str_of(low, len))))
                return;
        }
    EXPECT(hash_str(&paper_key, STR("Host")) != hash_str(&paper_key, STR("host")));
}

TEST(the_key_matters)
{
    struct hash_key other = paper_key;
    other.k1 ^= 1;
    EXPECT(hash_str(&paper_key, STR("a")) != hash_str(&other, STR("a")));
    other = paper_key;
    other.k0 ^= 1;
    EXPECT(hash_str(&paper_key, STR("a")) != hash_str(&other, STR("a")));
}
