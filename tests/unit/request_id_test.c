/* SPDX-License-Identifier: Apache-2.0 */
#include "filters/request_id.h"

#include "conf/field.h"
#include "conf/load.h"
#include "filter.h"
#include "diag_fixture.h"

extern const struct filter filter_request_id;

TEST(an_id_made_here_is_a_random_uuid)
{
    struct rng rng;
    char id[REQUEST_ID_LEN];
    uint32_t ones[128] = {0}, n = 2000;

    rng_seed(&rng, 42);
    for (uint32_t i = 0; i < n; i++) {
        request_id_make(&rng, id);
        unsigned bit = 0;
        for (unsigned k = 0; k < REQUEST_ID_LEN; k++) {
            if (k == 8 || k == 13 || k == 18 || k == 23) {
                EXPECT_EQ(id[k], '-');
                continue;
            }
            const char *digit = memchr("0123456789abcdef", id[k], 16);
            if (!EXPECT(digit != NULL))
                return;
            unsigned v = (unsigned)(id[k] <= '9' ? id[k] - '0' : id[k] - 'a' + 10);
            for (unsigned b = 0; b < 4; b++)
                ones[bit++] += v >> (3 - b) & 1;
        }
        EXPECT_EQ(bit, 128);
        EXPECT_EQ(id[14], '4');
        EXPECT(strchr("89ab", id[19]) != NULL);
    }
    /* Every bit that is not fixed is as often one as zero. */
    for (unsigned bit = 0; bit < 128; bit++) {
        bool fixed = (bit >= 48 && bit < 52) || bit == 64 || bit == 65;
        test_row("bit %u", bit);
        EXPECT(fixed || (ones[bit] > n * 2 / 5 && ones[bit] < n * 3 / 5));
    }
}

TEST(the_same_seed_gives_the_same_ids_and_another_gives_others)
{
    struct rng a, b;
    char one[REQUEST_ID_LEN], two[REQUEST_ID_LEN];

    rng_seed(&a, 7);
    rng_seed(&b, 7);
    request_id_make(&a, one);
    request_id_make(&b, two);
    EXPECT(!memcmp(one, two, sizeof(one)));
    request_id_make(&b, two);
    EXPECT(memcmp(one, two, sizeof(one)) != 0);
}

TEST(which_ids_may_come_from_outside)
{
    char long_id[REQUEST_ID_MAX + 1];
    memset(long_id, 'x', sizeof(long_id));

    EXPECT(request_id_ok(STR("a")));
    EXPECT(request_id_ok(STR("0123-ABC_def/~!\"{}")));
    EXPECT(request_id_ok(str_of(long_id, REQUEST_ID_MAX)));
    EXPECT(!request_id_ok(str_of(long_id, REQUEST_ID_MAX + 1)));
    EXPECT(!request_id_ok(STR("")));
    EXPECT(!request_id_ok(str_of(NULL, 0)));
    EXPECT(!request_id_ok(STR("a b")));
    EXPECT(!request_id_ok(STR("a\tb")));
    EXPECT(!request_id_ok(STR("a\x7f")));
    EXPECT(!request_id_ok(STR("a\x1b[2J")));
    EXPECT(!request_id_ok(STR("caf\xc3\xa9")));
}

TEST(the_field_must_be_one_that_can_carry_it)
{
    static const struct { const char *yaml; bool ok; } rows[] = {
        {"{}", true}, {"{header: x-correlation-id, trust: true, respond: false}", true},
        {"{header: content-length}", false}, {"{header: Transfer-Encoding}", false}, {"{header: Host}", false},
        {"{header: connection}", false}, {"{header: \"a b\"}", false}, {"{header: \"\"}", false}, {"{heder: x}", false},
        {"{trust: maybe}", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct arena arena;
        struct err err;
        struct load load = {.arena = &arena};

        test_row("%s", rows[i].yaml);
        arena_init(&arena, NULL);
        void *options = arena_zalloc(&arena, filter_request_id.options_size);
        bool ok = options_from(&filter_request_id, rows[i].yaml, options, &load, &err) == 0;
        if (!EXPECT_EQ(ok, rows[i].ok))
            printf("%s\n", err.text);
        EXPECT(ok || err.text[0]);
        arena_fini(&arena);
    }
}
