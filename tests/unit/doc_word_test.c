/* SPDX-License-Identifier: Apache-2.0 */
/* `weir doc WORD`: what a word finds. */
#include "test.h"

#include "conf/doc.h"
#include "lib/page.h"

static void word_is(const char *word, bool found, const char *begins)
{
    struct page p = {0};
    test_row("%s", word);
    EXPECT_EQ(doc_word(&p, filters_all, str_c(word)), found);
    if (!EXPECT(p.at && strncmp(p.at, begins, strlen(begins)) == 0))
        printf("got: %s\n", p.at);
    page_free(&p);
}

static void word_has(const char *word, const char *text, bool wanted)
{
    struct page p = {0};
    test_row("%s has %s", word, text);
    EXPECT(doc_word(&p, filters_all, str_c(word)));
    EXPECT_EQ(strstr(p.at, text) != NULL, wanted);
    page_free(&p);
}

TEST(a_path_is_one_key)
{
    word_is("token_bucket.rate", true, "token_bucket.rate\n    rate: `100/s`, `6000/min`, `10/h`; required\n    How many");
    word_is("upstreams.health.every", true, "upstreams.health.every\n    duration: `250ms`, `2s`, 10ms to 1h; default `5s`\n");
    word_is("routes", true, "routes\n    a list of mappings; required\n");
}

TEST(a_mapping_brings_what_is_in_it)
{
    word_has("upstreams.health", "\n  upstreams.health.every\n", true);
    word_has("upstreams.health", "upstreams.eject", false);
    word_has("routes", "\n  routes.fallback.respond.status\n", true);
}

TEST(a_filter_brings_its_options)
{
    word_is("token_bucket", true, "token_bucket\n    filter\n");
    word_has("token_bucket", "May stand on listeners, routes.", true);
    word_has("token_bucket", "\n  token_bucket.burst\n", true);
    word_has("token_bucket", "\n  token_bucket.mode\n", true);
}

TEST(what_stands_in_a_file_is_left_out)
{
    word_is("upstreams.api.health.path", true, "upstreams.health.path\n");
    word_is("routes[12].match.path", true, "routes.match.path\n");
    word_is("routes[0].filters[2].token_bucket.rate", true, "token_bucket.rate\n");
    word_is("upstreams.api.filters[0].retry", true, "retry\n    filter\n");
    word_is("define.per_key.token_bucket.key", true, "token_bucket.key\n");
    word_is("upstreams.filters", true, "upstreams.filters\n");
    word_is("define", true, "define\n");
}

TEST(a_last_part_is_enough)
{
    word_is("burst", true, "token_bucket.burst\n");
    word_is("mode", true, "token_bucket.mode\n");
    word_has("mode", "Every filter has this option.", true);
    word_has("mode", "concurrency.mode", false);
    word_has("name", "routes.name\n", true);
    word_has("name", "Every filter has this option.", true);
}

TEST(a_whole_path_goes_before_last_parts)
{
    word_is("timeout", true, "timeout\n    filter\n");
    word_has("timeout", "\nSee also drain.timeout", true);
    word_has("routes.timeout", "\nSee also drain.timeout, upstreams.health.timeout, timeout\n", true);
    word_has("token_bucket.burst", "See also", false);
}

TEST(reasons_are_words_too)
{
    word_is("queue_full", true, "queue_full\n    reason why a request ended as it did; answered with 503 Service Unavailable\n");
}

TEST(faults_of_the_access_log_are_words_too)
{
    word_is("not_http", true, "not_http\n    fault of a message, in the access log beside the reason; of a request answered with 400, of "
            "an answer with 502\n    This is no HTTP/1.x message; perhaps TLS");
    word_has("method", "\nmethod\n    fault of a message", true);     /* and a key */
    word_is("method", true, "routes.match.method\n");
    word_is("none", true, "none\n    reason why");
    word_is("host_mising", false, "nothing is called \"host_mising\"; did you mean \"host_missing\"?");
}

TEST(codes_say_what_to_do)
{
    word_is("E012", true, "E012 unknown_key\n    There is no such key here.\n\n    Check its spelling");
    word_is("e12", true, "E012 unknown_key\n");
    word_is("E999", false, "nothing is called \"E999\"");
}

TEST(what_is_unknown_says_what_was_meant)
{
    word_is("upstreams.helth", false, "nothing is called \"upstreams.helth\"; did you mean \"upstreams.health\"?\n");
    word_is("burts", false, "nothing is called \"burts\"; did you mean \"burst\"?\n");
    word_is("queue_fulll", false, "nothing is called \"queue_fulll\"; did you mean \"queue_full\"?\n");
    word_is("zzzzzzzzzzzz", false, "nothing is called \"zzzzzzzzzzzz\"\n");
    word_is("", false, "nothing is called \"\"\n");
    word_is("...", false, "nothing is called \"...\"\n");
    word_is("[", false, "nothing is called \"[\"\n");
}

TEST(no_line_is_too_wide)
{
    struct page p = {0};
    EXPECT(doc_word(&p, filters_all, STR("upstreams")));
    for (const char *line = p.at; *line; line += strcspn(line, "\n") + 1)
        EXPECT(strcspn(line, "\n") <= 100);
    page_free(&p);
}
