/* SPDX-License-Identifier: Apache-2.0 */
/* What may be written of a limit and what comes of it; what an instance keeps over a reload. Waiting and being refused need
 * requests: tests/sim/concurrency*_test.c. */
#include "filters/concurrency.h"

#include "conf/load.h"
#include "conf/snapshot.h"
#include "figure.h"
#include "filter.h"
#include "lib/clock.h"
#include "lib/histogram.h"
#include "lib/mem.h"
#include "lib/page.h"
#include "diag_fixture.h"

extern const struct filter filter_concurrency;

static const struct filter *const type = &filter_concurrency;

enum { ROUTES = 1000 };

/* The routes that there are: "/r0" to "/r999" and some more. */
static struct snapshot *routes_made(struct arena *arena)
{
    static const char *const more[] = {"/a", "/b/", "c d"};
    struct snapshot *s = arena_zalloc(arena, sizeof *s);
    s->n_routes = ROUTES + array_len(more);
    s->routes = arena_zalloc(arena, s->n_routes * sizeof *s->routes);
    for (unsigned i = 0; i < s->n_routes; i++)
        s->routes[i].name = i < ROUTES ? arena_printf(arena, "/r%u", i) : str_c(more[i - ROUTES]);
    return s;
}

static int options_read(struct arena *arena, const char *yaml, struct concurrency_options *o, struct err *err)
{
    struct load load = {.arena = arena, .snap = routes_made(arena)};

    memset(o, 0, sizeof *o);
    return options_from(type, yaml, o, &load, err);
}

static void must_read(struct arena *arena, const char *yaml, struct concurrency_options *o)
{
    struct err err;
    if (!EXPECT_EQ(options_read(arena, yaml, o, &err), 0))
        printf("%s\n", err.text);
}

#define WITH_CLASSES "priority: {routes: {/a: high}}"

TEST(what_may_be_written)
{
    static const struct { const char *yaml; uint32_t max, queue; uint64_t max_wait; uint32_t cap[FAIR_CLASSES]; } rows[] = {
        {"{max: 20}", 20, 100, 2 * NSEC_PER_SEC, {20, 20, 20, 20}},
        {"{max: 1}", 1, 5, 2 * NSEC_PER_SEC, {1, 1, 1, 1}},
        {"{max: 7, queue: 0}", 7, 0, 2 * NSEC_PER_SEC, {7, 7, 7, 7}},
        {"{max: 7, queue: 1, max_wait: 1ms}", 7, 1, NSEC_PER_MSEC, {7, 7, 7, 7}},
        {"{max: 200000, max_wait: 1h}", 200000, 1000000, 3600 * NSEC_PER_SEC, {200000, 200000, 200000, 200000}},
        {"{max: 199999}", 199999, 999995, 2 * NSEC_PER_SEC, {199999, 199999, 199999, 199999}},
        {"{max: 1000000, queue: 1000000}", 1000000, 1000000, 2 * NSEC_PER_SEC, {1000000, 1000000, 1000000, 1000000}},
        {"{max: 10, reserve: 10%, " WITH_CLASSES "}", 10, 50, 2 * NSEC_PER_SEC, {10, 9, 9, 9}},
        {"{max: 10, reserve: 11%, " WITH_CLASSES "}", 10, 50, 2 * NSEC_PER_SEC, {10, 8, 8, 8}},
        {"{max: 10, reserve: 0.01%, " WITH_CLASSES "}", 10, 50, 2 * NSEC_PER_SEC, {10, 9, 9, 9}},
        {"{max: 10, reserve: 0%, " WITH_CLASSES "}", 10, 50, 2 * NSEC_PER_SEC, {10, 10, 10, 10}},
        {"{max: 10, reserve: 90%, " WITH_CLASSES "}", 10, 50, 2 * NSEC_PER_SEC, {10, 1, 1, 1}},
        {"{max: 20, reserve: {critical: 10%, high: 10%, normal: 5%}, " WITH_CLASSES "}", 20, 100, 2 * NSEC_PER_SEC,
         {20, 18, 16, 15}},
        {"{max: 20, reserve: {normal: 5%}, " WITH_CLASSES "}", 20, 100, 2 * NSEC_PER_SEC, {20, 20, 20, 19}},
        {"{max: 4, reserve: {critical: 1%, high: 1%, normal: 1%}, " WITH_CLASSES "}", 4, 20, 2 * NSEC_PER_SEC, {4, 3, 2, 1}},
        {"{max: 1000000, reserve: 33.33%, " WITH_CLASSES "}", 1000000, 1000000, 2 * NSEC_PER_SEC,
         {1000000, 666700, 666700, 666700}},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct arena arena;
        struct concurrency_options o;
        test_row("%s", rows[i].yaml);
        arena_init(&arena, NULL);
        must_read(&arena, rows[i].yaml, &o);
        EXPECT_EQ(o.rule.max, rows[i].max);
        EXPECT_EQ(o.rule.queue, rows[i].queue);
        EXPECT_EQ(o.rule.max_wait, rows[i].max_wait);
        for (unsigned k = 0; k < FAIR_CLASSES; k++)
            EXPECT_EQ(o.rule.cap[k], rows[i].cap[k]);
        arena_fini(&arena);
    }
}

TEST(what_may_not)
{
    static const struct { const char *yaml, *error; } rows[] = {
        {"{}", "max is missing"},
        {"{max: 0}", "max: 0 is out of bounds; 1 to 1000000"},
        {"{max: 1000001}", "max: 1000001 is out of bounds; 1 to 1000000"},
        {"{max: 10%}", "max"},
        {"{max: 1, queue: 1000001}", "queue: 1000001 is too large; at most 1000000"},
        {"{max: 1, max_wait: 0s}", "max_wait: 0s is out of bounds; 1ms to 1h"},
        {"{max: 1, max_wait: 2}", "has no unit"},
        {"{max: 1, max_wait: 61m}", "max_wait: 61m is out of bounds; 1ms to 1h"},
        {"{max: 1, key: ip}", "\"ip\" is nothing to tell callers apart by"},
        {"{max: 1, fair_by: []}", "the list is empty"},
        {"{max: 1, fairby: host}", "unknown key \"fairby\"; did you mean \"fair_by\"?"},
        {"{max: 1, priority: high}", "priority: must be a mapping"},
        {"{max: 1, priority: {default: urgent}}", "default: \"urgent\" is not one of critical, high, normal, low"},
        {"{max: 1, priority: {routes: {/a: hihg}}}", "is not one of critical, high, normal, low; did you mean \"high\"?"},
        {"{max: 1, priority: {routes: {/a: high, c-d: low}}}", "there is no route \"c-d\"; did you mean \"c d\"?"},
        {"{max: 1, priority: {routes: {nothing-like-it: low}}}", "there is no route \"nothing-like-it\""},
        {"{max: 1, priority: {routes: [/a]}}", "routes: must be a mapping of routes' names to classes"},
        {"{max: 1, priority: {routes: {}}}", "routes: must be a mapping of routes' names to classes"},
        {"{max: 1, priority: {header: x-p}}", "priority: header \"x-p\" is believed of nobody"},
        {"{max: 1, priority: {header: x-p, trusted: []}}", "priority: header \"x-p\" is believed of nobody"},
        {"{max: 1, priority: {header: \"x p\", trusted: 10.0.0.0/8}}", "is not a header's name"},
        {"{max: 1, priority: {trusted: 10.0.0.0/8}}", "no header is named"},
        {"{max: 1, priority: {header: x-p, trusted: 10.0.0.0/33}}", "is not a network"},
        {"{max: 9, reserve: 10%}", "reserve: all requests are of one class"},
        {"{max: 9, reserve: 10%, priority: {default: low}}", "reserve: all requests are of one class"},
        {"{max: 9, reserve: 0.1, " WITH_CLASSES "}", "reserve"},
        {"{max: 9, reserve: 101%, " WITH_CLASSES "}", "reserve: 101% is too large; at most 100%"},
        {"{max: 9, reserve: [10%], " WITH_CLASSES "}", "reserve: must be a share of max, or a mapping"},
        {"{max: 9, reserve: {low: 10%}, " WITH_CLASSES "}", "unknown key \"low\""},
        {"{max: 9, reserve: {critcal: 10%}, " WITH_CLASSES "}", "did you mean \"critical\"?"},
        {"{max: 1, reserve: 1%, " WITH_CLASSES "}",
         "reserve: of 1 slots critical keeps 1, high 0 and normal 0, which leaves none for high"},
        {"{max: 3, reserve: {critical: 40%, high: 30%}, " WITH_CLASSES "}",
         "reserve: of 3 slots critical keeps 2, high 1 and normal 0, which leaves none for normal"},
        {"{max: 10, reserve: {critical: 50%, high: 30%, normal: 30%}, " WITH_CLASSES "}",
         "reserve: of 10 slots critical keeps 5, high 3 and normal 3, which leaves none for low"},
        {"{max: 10, reserve: 100%, " WITH_CLASSES "}", "which leaves none for high"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct arena arena;
        struct concurrency_options o;
        struct err err;
        test_row("%s", rows[i].yaml);
        arena_init(&arena, NULL);
        EXPECT_EQ(options_read(&arena, rows[i].yaml, &o, &err), -1);
        if (!EXPECT(strstr(err.text, rows[i].error) != NULL))
            printf("%s\n", err.text);
        EXPECT_EQ(err.line, 1);
        arena_fini(&arena);
    }
}

TEST(what_class_a_request_is_of)
{
    static const struct { const char *route, *word; unsigned class; } rows[] = {
        {"/none", NULL, CLASS_LOW}, {"/a", NULL, CLASS_HIGH}, {"/b/", NULL, CLASS_CRITICAL}, {"c d", NULL, CLASS_NORMAL},
        {"/a", "normal", CLASS_NORMAL}, {"/a", "critical", CLASS_CRITICAL}, {"/b/", "low", CLASS_LOW},
        {"/b/", "high", CLASS_HIGH}, {"/a", "", CLASS_HIGH}, {"/a", "hig", CLASS_HIGH}, {"/b/", "higher", CLASS_CRITICAL},
        {"", NULL, CLASS_LOW}, {NULL, NULL, CLASS_LOW},
    };
    struct arena arena;
    struct concurrency_options o;
    arena_init(&arena, NULL);
    must_read(&arena, "{max: 1, priority: {default: low, routes: {/a: high, /b/: critical, c d: normal}}}", &o);
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        EXPECT_EQ(concurrency_class(&o.priority, str_c(rows[i].route), str_c(rows[i].word)), rows[i].class);
    }
    must_read(&arena, "{max: 1}", &o);
    EXPECT_EQ(concurrency_class(&o.priority, STR("/a"), (struct str){NULL, 0}), CLASS_NORMAL);
    arena_fini(&arena);
}

TEST(each_of_many_routes_is_found)
{
    static const char *const words[] = {"critical", "high", "normal", "low"};
    static char yaml[40 * ROUTES], name[20];
    struct arena arena;
    struct concurrency_options o;
    size_t len = (size_t)snprintf(yaml, sizeof yaml, "{max: 1, priority: {routes: {");
    for (unsigned i = 0; i < ROUTES; i++)
        len += (size_t)snprintf(yaml + len, sizeof yaml - len, "%s/r%u: %s", i ? ", " : "", i, words[i * 7 % 4]);
    snprintf(yaml + len, sizeof yaml - len, "}}}");
    arena_init(&arena, NULL);
    must_read(&arena, yaml, &o);
    for (unsigned i = 0; i < ROUTES; i++) {
        snprintf(name, sizeof name, "/r%u", i);
        EXPECT_EQ(concurrency_class(&o.priority, str_c(name), (struct str){NULL, 0}), i * 7 % 4);
        snprintf(name, sizeof name, "/s%u", i);
        EXPECT_EQ(concurrency_class(&o.priority, str_c(name), (struct str){NULL, 0}), CLASS_NORMAL);
    }
    arena_fini(&arena);
}

TEST(whose_word_is_taken)
{
    static const struct { const char *ip; bool taken; } rows[] = {
        {"10.0.0.1", true}, {"10.255.0.1", true}, {"11.0.0.1", false}, {"192.0.2.7", true}, {"192.0.2.8", false},
        {"2001:db8::7", true}, {"2001:db9::7", false},
    };
    struct arena arena;
    struct concurrency_options o, nobody;
    arena_init(&arena, NULL);
    must_read(&arena, "{max: 1, priority: {header: x-p, trusted: [10.0.0.0/8, 192.0.2.7, \"2001:db8::/32\"]}}", &o);
    must_read(&arena, "{max: 1}", &nobody);
    for (size_t i = 0; i < array_len(rows); i++) {
        struct ip ip;
        test_row("%s", rows[i].ip);
        EXPECT(ip_parse(str_c(rows[i].ip), &ip));
        EXPECT_EQ(concurrency_trusts(&o.priority, &ip), rows[i].taken);
        EXPECT(!concurrency_trusts(&nobody.priority, &ip));
    }
    const struct ip unix_peer = {.family = 0};
    EXPECT(!concurrency_trusts(&o.priority, &unix_peer));
    arena_fini(&arena);
}

TEST(rows_and_values_of_its_figures)
{
    static const char *const names[] = {
        "concurrency_entered_total", "concurrency_queued_total", "concurrency_refused_total", "concurrency_refused_total",
        "concurrency_refused_total", "concurrency_refused_total", "concurrency_refused_total", "concurrency_refused_total",
        "concurrency_in_flight", "concurrency_waiting",
        "concurrency_max", "concurrency_keys", "concurrency_wait_seconds",
    };
    union figure_value v[array_len(names)];
    struct arena arena;
    struct concurrency_options o;
    void *shared = mem_zalloc(type->shared_size);
    arena_init(&arena, NULL);
    must_read(&arena, "{max: 17}", &o);
    type->shared_adopt(shared, &o, true, 1);
    type->figures_read(shared, &o, 1, v);
    for (size_t i = 0; i < array_len(names); i++) {
        EXPECT_CSTR(type->figures[i].name, names[i]);
        if (i == 12)
            EXPECT(v[i].histogram != NULL);
        else
            EXPECT_EQ(v[i].n, i == 10 ? 17 : i == 11 ? 1 : 0);
    }
    EXPECT(type->figures[array_len(names)].name == NULL);
    type->shared_fini(shared);
    mem_free(shared);
    arena_fini(&arena);
}

/* Both kinds of semaphores may be there, whichever came first. */
TEST(a_reload_may_change_anything)
{
    static const char *const rows[] = {
        "{max: 5}", "{max: 1, key: host}", "{max: 9, key: client_ip}", "{max: 3, fair_by: host}", "{max: 3, key: all}",
        "{max: 2, key: [host, client_ip], queue: 0}", "{max: 10, " WITH_CLASSES ", reserve: 50%}",
    };
    struct arena arena;
    struct concurrency_options o;
    union figure_value v[13];
    arena_init(&arena, NULL);
    for (size_t first = 0; first < array_len(rows); first++) {
        void *shared = mem_zalloc(type->shared_size);
        for (size_t i = 0; i < 2 * array_len(rows); i++) {
            const char *yaml = rows[(first + i * 3) % array_len(rows)];
            test_row("%s", yaml);
            must_read(&arena, yaml, &o);
            type->shared_adopt(shared, &o, i == 0, i + 1);
            type->figures_read(shared, &o, i + 1, v);
            EXPECT_EQ(v[10].n, o.max);
            EXPECT_EQ(v[11].n, o.key.n == 0);
        }
        type->shared_fini(shared);
        mem_free(shared);
    }
    arena_fini(&arena);
}

TEST(who_has_no_key_has_nothing_to_print)
{
    struct arena arena;
    struct concurrency_options o;
    struct page page = {0};
    const struct str values[] = {STR("a"), STR("b")};
    void *shared = mem_zalloc(type->shared_size);
    arena_init(&arena, NULL);
    must_read(&arena, "{max: 5}", &o);
    type->shared_adopt(shared, &o, true, 1);
    EXPECT(!type->key_print(shared, &o, values, 1, 1, &page));
    must_read(&arena, "{max: 5, key: [\"header:a + query:b\", host]}", &o);
    type->shared_adopt(shared, &o, false, 2);
    EXPECT(!type->key_print(shared, &o, values, 0, 2, &page));
    EXPECT_EQ(page.len, 0);
    EXPECT(type->key_print(shared, &o, values, 2, 2, &page));
    EXPECT_CSTR(page.at, ",\"key\":[{\"by\":\"header:a + query:b\",\"in_flight\":0,\"waiting\":0,\"max\":5}]");
    page.len = 0;
    EXPECT(type->key_print(shared, &o, values, 1, 2, &page));            /* "a" is no address */
    EXPECT_CSTR(page.at, ",\"key\":[{\"by\":\"host\",\"in_flight\":0,\"waiting\":0,\"max\":5}]");
    page_free(&page);
    type->shared_fini(shared);
    mem_free(shared);
    arena_fini(&arena);
}
