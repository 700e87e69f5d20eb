/* SPDX-License-Identifier: Apache-2.0 */
/* The resolver against a small DNS server on the same event base. */
#include "resolve.h"
#include "test.h"
#include "dns_server.h"

#define TIMEOUT_MS 100

/* ---- who watches ---- */

struct watcher {
    struct server *server;
    struct resolver *resolver;
    struct resolve_watch *watch;
    unsigned calls;
    bool unwatch, stop;                  /* what the callback does */
    struct watcher *then;                /* watches "next.test" from within the callback */
    bool in_watch;
    size_t n;
    char text[300], error[100];          /* of the last call: addresses in order of text */
};

static void came(void *ctx, const struct resolved *res)
{
    struct watcher *w = ctx;
    char v[8][INET6_ADDRSTRLEN] = {{0}};

    EXPECT(!w->in_watch);
    w->calls++;
    w->n = res->n;
    snprintf(w->error, sizeof(w->error), "%s", res->error ? res->error : "");
    EXPECT_EQ(res->n == 0, res->error != NULL);
    for (size_t i = 0; i < res->n && i < 8; i++) {
        bool v4 = res->v[i].sa.sa_family == AF_INET;
        EXPECT_EQ(v4 ? res->v[i].in.sin_port : res->v[i].in6.sin6_port, 0);
        EXPECT_EQ(res->v[i].len, v4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        inet_ntop(res->v[i].sa.sa_family, v4 ? (void *)&res->v[i].in.sin_addr : (void *)&res->v[i].in6.sin6_addr, v[i],
                  sizeof(v[i]));
    }
    qsort(v, res->n < 8 ? res->n : 8, sizeof(v[0]), (int (*)(const void *, const void *))strcmp);
    size_t len = 0;
    w->text[0] = '\0';
    for (size_t i = 0; i < res->n && i < 8; i++)
        len += (size_t)snprintf(w->text + len, sizeof(w->text) - len, "%s%s", i > 0 ? " " : "", v[i]);
    for (size_t i = 0; i < res->n; i++)
        res->v[i].in.sin_port = htons(80);       /* what a callee may do must not look like a change */
    if (w->unwatch)
        resolver_unwatch(&w->watch);
    if (w->then)
        w->then->watch = resolver_watch(w->resolver, STR("next.test"), came, w->then);
    if (w->stop)
        event_base_loopbreak(w->server->base);
}

static void watch(struct watcher *w, struct resolver *r, struct server *s, const char *name)
{
    *w = (struct watcher){.server = s, .resolver = r, .stop = true, .in_watch = true, .unwatch = w->unwatch,
                          .then = w->then};
    w->watch = resolver_watch(r, str_c(name), came, w);
    w->in_watch = false;
}

/* One look-up of `name`, which gets this answer: the result, in w. */
static void look_up(const char *name, const struct answer *a, struct watcher *w)
{
    struct server s;
    struct zone z = {.name = name, .answers = a, .n = 1};

    server_init(&s, &z, 1);
    struct resolver *r = resolver_new_with_servers(s.base, &clock_real, s.at, TIMEOUT_MS);
    memset(w, 0, sizeof(*w));
    watch(w, r, &s, name);
    turn_for(s.base, 900);
    EXPECT_EQ(w->calls, 1);
    resolver_unwatch(&w->watch);
    EXPECT(!w->watch);
    resolver_free(r);
    server_fini(&s);
}

TEST(one_look_up_and_what_comes_of_it)
{
    static const struct { struct answer answer; const char *addresses, *error; } rows[] = {
        {{.v4 = {"10.0.0.1"}, .ttl = 60}, "10.0.0.1", ""},
        {{.v4 = {"10.0.0.1", "10.0.0.2"}, .v6 = {"fd00::1"}, .ttl = 60}, "10.0.0.1 10.0.0.2 fd00::1", ""},
        {{.v6 = {"fd00::1", "fd00::2"}, .ttl = 60}, "fd00::1 fd00::2", ""},
        {{.v4 = {"10.0.0.1", "10.0.0.1"}, .ttl = 60}, "10.0.0.1", ""},
        {{.v4 = {"10.0.0.3"}, .ttl = 60, .alias = "other.test", .alias_ttl = 60}, "10.0.0.3", ""},
        {{.rcode = 3}, "", "not found"},
        {{.ttl = 60}, "", "no data"},
        {{.rcode = 2}, "", "contact DNS servers"},
        {{.silent = true}, "", "Timeout"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct watcher w;
        test_row("row %zu", i);
        look_up("api.test", &rows[i].answer, &w);
        EXPECT_CSTR(w.text, rows[i].addresses);
        if (!EXPECT(strstr(w.error, rows[i].error)) || (!rows[i].error[0] && w.error[0]))
            printf("    %s\n", w.error);
    }
}

TEST(the_file_of_hosts_is_asked_too)
{
    struct watcher w;
    look_up("localhost", &(struct answer){.rcode = 3}, &w);
    EXPECT(strstr(w.text, "127.0.0.1") || strstr(w.text, "::1"));
}

TEST(a_name_that_is_none_fails_and_does_no_harm)
{
    static char longer[300];
    struct watcher w;
    memset(longer, 'a', sizeof(longer) - 1);
    look_up(longer, &(struct answer){.rcode = 3}, &w);
    EXPECT_EQ(w.n, 0);
    look_up("a..b", &(struct answer){.rcode = 3}, &w);
    EXPECT_EQ(w.n, 0);
}

/* Names side by side, each with its own fate after a TTL of 1 s, in one run of the loop. */
TEST(after_the_ttl_a_change_is_told_and_a_failure_is_not)
{
    static const struct answer
        changes[] = {{.v4 = {"10.0.0.1"}, .ttl = 1}, {.v4 = {"10.0.0.2"}, .ttl = 60}},
        rotates[] = {{.v4 = {"10.0.0.1", "10.0.0.2"}, .ttl = 1}, {.v4 = {"10.0.0.2", "10.0.0.1"}, .ttl = 60}},
        grows[] = {{.v4 = {"10.0.0.1"}, .ttl = 0}, {.v4 = {"10.0.0.1"}, .v6 = {"fd00::1"}, .ttl = 60}},
        breaks[] = {{.v4 = {"10.0.0.1"}, .ttl = 1}, {.rcode = 2}},
        vanishes[] = {{.v4 = {"10.0.0.1"}, .ttl = 1}, {.rcode = 3}},
        lasts[] = {{.v4 = {"10.0.0.1"}, .ttl = 2}, {.v4 = {"10.0.0.2"}, .ttl = 60}},
        alias[] = {{.v4 = {"10.0.0.1"}, .ttl = 60, .alias = "b.test", .alias_ttl = 1}, {.v4 = {"10.0.0.2"}, .ttl = 60}},
        comes[] = {{.rcode = 3}, {.v4 = {"10.0.0.7"}, .ttl = 60}},
        never[] = {{.rcode = 3}, {.rcode = 3}};
    static const struct {
        const char *name;
        const struct answer *answers;
        unsigned calls, asked;
        const char *text;
    } rows[] = {
        {"changes.test", changes, 2, 2, "10.0.0.2"},
        {"rotates.test", rotates, 1, 2, "10.0.0.1 10.0.0.2"},
        {"grows.test", grows, 2, 2, "10.0.0.1 fd00::1"},
        {"breaks.test", breaks, 1, 2, "10.0.0.1"},
        {"vanishes.test", vanishes, 1, 2, "10.0.0.1"},
        {"lasts.test", lasts, 1, 1, "10.0.0.1"},
        {"alias.test", alias, 2, 2, "10.0.0.2"},
        {"comes.test", comes, 2, 2, "10.0.0.7"},
        {"never.test", never, 1, 2, ""},
    };
    struct zone zones[array_len(rows)];
    struct watcher w[array_len(rows)];
    struct server s;

    memset(w, 0, sizeof(w));
    for (size_t i = 0; i < array_len(rows); i++)
        zones[i] = (struct zone){.name = rows[i].name, .answers = rows[i].answers, .n = 2};
    server_init(&s, zones, array_len(rows));
    struct resolver *r = resolver_new_with_servers(s.base, &clock_real, s.at, 300);
    for (size_t i = 0; i < array_len(rows); i++) {
        watch(&w[i], r, &s, rows[i].name);
        w[i].stop = false;
    }
    turn_for(s.base, 1500);
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%s", rows[i].name);
        EXPECT_EQ(w[i].calls, rows[i].calls);
        EXPECT_CSTR(w[i].text, rows[i].text);
        EXPECT(zones[i].asked >= rows[i].asked && (rows[i].asked > 1 || zones[i].asked == 1));
        resolver_unwatch(&w[i].watch);
    }
    resolver_free(r);
    server_fini(&s);
}

TEST(unwatch_within_the_callback_and_watch_another)
{
    static const struct answer a = {.v4 = {"10.0.0.1"}, .ttl = 60}, b = {.v4 = {"10.0.0.2"}, .ttl = 60};
    struct zone zones[] = {{.name = "first.test", .answers = &a, .n = 1}, {.name = "next.test", .answers = &b, .n = 1}};
    struct server s;

    server_init(&s, zones, 2);
    struct resolver *r = resolver_new_with_servers(s.base, &clock_real, s.at, TIMEOUT_MS);
    struct watcher next = {.server = &s, .stop = true}, first = {.unwatch = true, .then = &next};
    watch(&first, r, &s, "first.test");
    first.stop = false;
    turn_for(s.base, 900);
    EXPECT(!first.watch);
    EXPECT_EQ(first.calls, 1);
    EXPECT_EQ(next.calls, 1);
    EXPECT_CSTR(next.text, "10.0.0.2");
    resolver_unwatch(&next.watch);
    resolver_free(r);
    server_fini(&s);
}

TEST(unwatch_within_a_callback_that_comes_at_once_from_the_file_of_hosts)
{
    struct server s;

    server_init(&s, NULL, 0);
    struct resolver *r = resolver_new_with_servers(s.base, &clock_real, s.at, TIMEOUT_MS);
    struct watcher w = {.unwatch = true};
    watch(&w, r, &s, "localhost");
    turn_for(s.base, 900);
    EXPECT_EQ(w.calls, 1);
    EXPECT(!w.watch);
    resolver_free(r);
    server_fini(&s);
}

TEST(an_answer_after_unwatch_finds_nobody)
{
    static const struct answer a = {.v4 = {"10.0.0.1"}, .ttl = 1}, silent = {.silent = true};
    struct zone zones[] = {{.name = "late.test", .answers = &a, .n = 1},
                           {.name = "mute.test", .answers = &silent, .n = 1}};
    struct server s;
    struct watcher w[3] = {{.calls = 0}};

    server_init(&s, zones, 2);
    struct resolver *r = resolver_new_with_servers(s.base, &clock_real, s.at, TIMEOUT_MS);
    watch(&w[0], r, &s, "late.test");
    watch(&w[1], r, &s, "mute.test");
    watch(&w[2], r, &s, "late.test");
    resolver_unwatch(&w[2].watch);                       /* before it was asked */
    for (unsigned i = 0; i < 50 && zones[0].asked == 0; i++)
        event_base_loop(s.base, EVLOOP_ONCE);            /* until an answer is on its way */
    EXPECT_EQ(w[0].calls, 0);
    resolver_unwatch(&w[0].watch);
    resolver_unwatch(&w[1].watch);
    resolver_unwatch(&w[1].watch);
    turn_for(s.base, 400);
    EXPECT(zones[0].asked > 0 && zones[1].asked > 0);
    EXPECT_EQ(w[0].calls + w[1].calls + w[2].calls, 0);
    resolver_free(r);
    server_fini(&s);
}

TEST(the_resolver_goes_while_questions_are_out)
{
    static const struct answer silent = {.silent = true};
    struct zone z = {.name = "mute.test", .answers = &silent, .n = 1};
    struct server s;
    struct watcher w = {.calls = 0};

    server_init(&s, &z, 1);
    struct resolver *r = resolver_new_with_servers(s.base, &clock_real, s.at, 10000);
    watch(&w, r, &s, "mute.test");
    turn_for(s.base, 30);
    EXPECT(z.asked > 0);
    resolver_unwatch(&w.watch);
    resolver_free(r);
    EXPECT_EQ(w.calls, 0);
    server_fini(&s);
}

TEST(how_long_an_answer_stands)
{
    static const struct { uint32_t ttl; uint64_t seconds; } rows[] = {
        {0, 1}, {1, 1}, {2, 2}, {60, 60}, {300, 300}, {301, 300}, {86400, 300}, {UINT32_MAX, 300},
    };
    for (size_t i = 0; i < array_len(rows); i++)
        EXPECT_EQ(resolve_wait_good(rows[i].ttl), rows[i].seconds * NSEC_PER_SEC);
}

TEST(how_long_to_wait_after_failures)
{
    static const uint64_t seconds[] = {1, 2, 4, 8, 16, 30, 30};
    for (unsigned i = 0; i < array_len(seconds); i++)
        EXPECT_EQ(resolve_wait_failed(i + 1), seconds[i] * NSEC_PER_SEC);
    EXPECT_EQ(resolve_wait_failed(1000), 30 * NSEC_PER_SEC);
}
