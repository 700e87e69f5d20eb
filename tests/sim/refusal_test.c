/* SPDX-License-Identifier: Apache-2.0 */
/* Which of several limits answers, and whom it names; what is said then, to the byte. */
#include "actor.h"

static const struct filter actor = ACTOR("actor"), giver = ACTOR("giver");
static const struct filter *const filters[] = {&actor, &giver, NULL};

#define YAML                                                                                                         \
    SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"]}}\n"                                            \
    "routes:\n"                                                                                                      \
    "  - match: /\n    upstream: api\n    filters: [{actor: {id: a, name: first}}, {actor: {id: b, name: second}},"   \
    " {giver: {id: c, mode: shadow, name: third}}, {giver: {id: d, name: fourth}}]\n"

#define LIMIT(WHO, HOOK, SECONDS) \
    ACT(WHO, HOOK, FILTER_REPLY, .after = SECONDS * NSEC_PER_SEC, .always = true)

static struct sim *start(void) { return sim_new_with(&(struct sim_conf){.yaml = YAML, .filters = filters}); }

/* retry-after-ms is the wait, and up to a tenth more. */
static void expect_wait(struct sim_conn *c, uint64_t seconds)
{
    const char *at = strstr(c->got, "\r\nretry-after-ms: ");
    if (!EXPECT(at != NULL))
        return;
    uint64_t ms = strtoull(at + strlen("\r\nretry-after-ms: "), NULL, 10);
    EXPECT(ms >= seconds * 1000 && ms <= seconds * 1100);
}

TEST(the_longest_wait_is_told)
{
    static const struct { uint64_t a, b, c, d; uint64_t told; const char *policy; } rows[] = {
        {5, 0, 0, 0, 5, "first"}, {5, 3, 0, 0, 5, "first"}, {5, 8, 0, 0, 8, "second"}, {5, 8, 0, 9, 9, "fourth"},
        {5, 8, 100, 7, 8, "second"}, {0, 4, 0, 6, 6, "fourth"}, {0, 4, 0, 0, 4, "second"}, {0, 0, 0, 2, 2, "fourth"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct act script[8];
        size_t n = 0;
        const uint64_t waits[] = {rows[i].a, rows[i].b, rows[i].c, rows[i].d};
        static const char *const who[] = {"a", "b", "c", "d"};
        test_row("%zu", i);
        for (size_t k = 0; k < 4; k++) {
            if (!waits[k])
                continue;
            script[n++] = (struct act)LIMIT(who[k], "request", waits[k]);
            script[n++] = (struct act)LIMIT(who[k], "peek", waits[k]);
        }
        actor_play(script, n);
        struct sim *s = start();
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        char policy[40];
        snprintf(policy, sizeof policy, "\"policy\":\"%s\"", rows[i].policy);
        EXPECT_HAS(c, "HTTP/1.1 429 Too Many Requests\r\n");
        EXPECT_HAS(c, policy);
        expect_wait(c, rows[i].told);
        EXPECT(strstr(actor_noted, ".peek") == NULL || !strstr(actor_noted, "c.peek"));
        SIM_END(s);
    }
}

/* The others were never entered: nothing of theirs has to end. */
TEST(asking_the_others_enters_nothing)
{
    PLAY(LIMIT("a", "request", 1), LIMIT("b", "peek", 2));
    struct sim *s = start();
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    EXPECT_HAS(c, "\"policy\":\"second\"");
    EXPECT(strstr(actor_noted, "a.request b.peek d.peek a.response a.down[") == actor_noted);
    EXPECT(strstr(actor_noted, "] a.down[]$ a.end ") != NULL);
    SIM_END(s);
}

TEST(a_failure_names_who_failed)
{
    PLAY(ACT("b", "request", FILTER_FAIL, .reason = REASON_denied));
    struct sim *s = start();
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    EXPECT_HAS(c, "HTTP/1.1 403 Forbidden\r\n");
    EXPECT_HAS(c, "\"policy\":\"second\"");
    EXPECT(!strstr(actor_noted, "peek"));
    PLAY_END(s);
}

/* A detail of its own stands in the place of the table's. */
TEST(a_problem_document_is_whole)
{
    static const char yaml[] = SIM_HEAD "routes:\n  - {match: /a/, filters: [https_redirect], respond: {status: 200}}\n";
    static const struct { const char *ask, *body; } rows[] = {
        {"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
         "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,\"detail\":\"no route matches\","
         "\"reason\":\"no_route\"}\n"},
        {"GET /a/ HTTP/1.0\r\n\r\n",
         "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,"
         "\"detail\":\"without Host nobody can be sent to https\","
         "\"reason\":\"bad_request\",\"policy\":\"route /a/ https_redirect\"}\n"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(yaml);
        struct sim_conn *c = sim_client(s);
        sim_say(c, rows[i].ask);
        EXPECT_STR_EQ(sim_body(c), str_c(rows[i].body));
        SIM_END(s);
    }
}

/* Short lines are copied into one run, long ones go by reference; a line does not see which. */
TEST(fields_of_any_length_are_written_in_order)
{
    static const size_t lens[][3] = {{1, 2, 3}, {1000, 1000, 1000}, {3, 4000, 3}, {2043, 1, 1}, {2044, 2045, 2043}};
    static char value[3][4001], yaml[16000], want[16000];
    for (size_t i = 0; i < array_len(lens); i++) {
        test_row("%zu", i);
        for (size_t k = 0; k < 3; k++)
            snprintf(value[k], sizeof value[k], "%0*d", (int)lens[i][k], (int)k + 1);
        snprintf(yaml, sizeof yaml, SIM_HEAD "routes:\n  - {match: /, respond: {status: 200, body: ok, headers: "
                 "{X-A: \"%s\", X-B: \"%s\", X-C: \"%s\"}}}\n", value[0], value[1], value[2]);
        snprintf(want, sizeof want, "\r\nX-A: %s\r\nX-B: %s\r\nX-C: %s\r\nContent-Length: 2\r\n\r\nok",
                 value[0], value[1], value[2]);
        struct sim *s = sim_new(yaml);
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        EXPECT_HAS(c, want);
        SIM_END(s);
    }
}
