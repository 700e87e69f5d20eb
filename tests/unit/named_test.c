/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "conf/named.h"
#include "lib/check.h"

TEST(the_first_repeat_of_the_file_is_found)
{
    struct named v[] = {{STR("b"), 0}, {STR("c"), 1}, {STR("a"), 2}, {STR("c"), 3}, {STR("a"), 4}, {STR("a"), 5}};
    const struct named *earlier = NULL, *again = named_repeated(v, array_len(v), &earlier);
    if (EXPECT(again != NULL)) {
        EXPECT_STR(again->name, "c");
        EXPECT_EQ(again->index, 3);
        EXPECT_EQ(earlier->index, 1);
    }
    struct named w[] = {{STR("ab"), 0}, {STR("a"), 1}, {STR(""), 2}};
    EXPECT(named_repeated(w, array_len(w), &earlier) == NULL);
    EXPECT(named_repeated(w, 0, &earlier) == NULL);
}

TEST(each_repeat_is_found_with_the_first)
{
    struct named v[] = {{STR("b"), 0}, {STR("c"), 1}, {STR("a"), 2}, {STR("c"), 3}, {STR("a"), 4}, {STR("a"), 5}};
    static const size_t wanted[][2] = {{4, 2}, {5, 2}, {3, 1}};
    const struct named *again, *first = NULL;
    size_t at = 0, n = 0;

    named_sort(v, array_len(v));
    for (; (again = named_next_repeat(v, array_len(v), &at, &first)) != NULL && n < array_len(wanted); n++) {
        EXPECT_EQ(again->index, wanted[n][0]);
        EXPECT_EQ(first->index, wanted[n][1]);
    }
    EXPECT_EQ(n, 3);
    EXPECT(again == NULL && named_next_repeat(v, array_len(v), &at, &first) == NULL);
    at = 0;
    EXPECT(named_next_repeat(v, 0, &at, &first) == NULL);
}

TEST(things_are_found_by_name)
{
    struct arena arena;
    struct names names = {NULL, 0};
    int things[1000];

    arena_init(&arena, NULL);
    EXPECT(names_get(&names, STR("a")) == NULL);
    names_init(&names, &arena, array_len(things));
    for (size_t i = 0; i < array_len(things); i++)
        names_put(&names, arena_printf(&arena, "name %zu", i), &things[i]);
    names_put(&names, STR("name 7"), &things[0]);
    for (size_t i = 0; i < array_len(things); i++)
        EXPECT_EQ(names_get(&names, arena_printf(&arena, "name %zu", i)), &things[i]);
    EXPECT(names_get(&names, STR("name 1000")) == NULL && names_get(&names, STR("")) == NULL);
    arena_fini(&arena);
}

TEST(the_nearest_word_is_meant)
{
    static const char *const words[] = {"upstream", "rewrite", "respond", "rate", "at", "match", "503"};
    static const struct { const char *word, *hint; } rows[] = {
        {"upstrem", "; did you mean \"upstream\"?"}, {"UPSTREAM", "; did you mean \"upstream\"?"},
        {"macth", "; did you mean \"match\"?"}, {"rat", "; did you mean \"rate\"?"}, {"reponds", "; did you mean \"respond\"?"},
        {"to", ""}, {"rut", ""}, {"bananas", ""}, {"502", ""}, {"5xx", ""}, {"", ""},
        {"upstreamupstreamupstreamupstreamupstreamupstream", ""},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct nearest n;
        test_row("%s", rows[i].word);
        nearest_init(&n, str_c(rows[i].word));
        for (size_t j = 0; j < array_len(words); j++)
            nearest_try(&n, str_c(words[j]));
        EXPECT_CSTR(nearest_hint(&n).text, rows[i].hint);
    }
}
