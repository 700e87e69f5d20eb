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

TEST(the_nearest_word_is_meant)
{
    static const char *const words[] = {"upstream", "rewrite", "respond", "rate", "at", "match"};
    static const struct { const char *word, *hint; } rows[] = {
        {"upstrem", "; did you mean \"upstream\"?"}, {"UPSTREAM", "; did you mean \"upstream\"?"},
        {"macth", "; did you mean \"match\"?"}, {"rat", "; did you mean \"rate\"?"}, {"reponds", "; did you mean \"respond\"?"},
        {"to", ""}, {"bananas", ""}, {"", ""},
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
