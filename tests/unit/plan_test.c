/* SPDX-License-Identifier: Apache-2.0 */
#include "plan.h"

#include "conf/diag.h"
#include "conf/field.h"
#include "conf/shared.h"
#include "conf/snapshot.h"
#include "filter.h"
#include "lib/clock.h"
#include "test.h"

struct cap_options { uint64_t max; };
struct cap_state { uint64_t held; };

static const struct field cap_fields[] = {
    {.key = "max", .type = FIELD_COUNT, .offset = offsetof(struct cap_options, max), .fallback = "5", .help = "How many."},
    {.type = FIELD_END},
};

static void cap_adopt(void *shared, const void *options, bool fresh, uint64_t now)
{
    struct cap_state *s = shared;
    (void)options, (void)fresh, (void)now;
    s->held = 12;
}

static void cap_plan(void *shared, const void *from, const void *to, uint64_t now, struct plan_notes *notes)
{
    const struct cap_state *s = shared;
    const struct cap_options *a = from, *b = to;
    EXPECT_EQ(now, 77);
    plan_say(notes, PLAN_KEEPS, "from %u to %u", (unsigned)a->max, (unsigned)b->max);
    if (s && s->held > b->max)
        plan_say(notes, PLAN_OVER, "%u held, %u allowed", (unsigned)s->held, (unsigned)b->max);
    if (a->max == 99)
        plan_say(notes, PLAN_RESTART, "waits");
}

static const struct field no_fields[] = {{.type = FIELD_END}};
static const struct filter cap = {.name = "cap", .places = PLACE_ANY, .fields = cap_fields, .plan = cap_plan,
    .options_size = sizeof(struct cap_options), .shared_size = sizeof(struct cap_state), .shared_adopt = cap_adopt};
static const struct filter mark = {.name = "mark", .places = PLACE_ANY, .fields = no_fields};
static const struct filter *const filters[] = {&cap, &mark, NULL};

static struct snapshot *load(const char *text)
{
    struct diags diags = {0};
    struct snapshot *s = NULL;
    struct page page = {0};
    if (!EXPECT_EQ(snapshot_load_text(str_c(text), "t.yaml", filters, &diags, &s), 0)) {
        diags_print(&diags, &page);
        printf("%s", page.at);
        page_free(&page);
    }
    diags_fini(&diags);
    return s;
}

enum form { TEXT, JSON, BRIEF };

/* Compares, and keeps what is said. `runs`: the first one is in force. */
static struct page said(const char *from, const char *to, bool runs, enum form form)
{
    struct shared_set *set = shared_set_new();
    struct snapshot *a = load(from), *b = load(to);
    struct page page = {0};
    if (runs)
        snapshot_open(a, set, 1);
    struct plan *plan = plan_new(a, b, 77);
    (form == TEXT ? plan_text : form == JSON ? plan_json : plan_brief)(plan, &page);
    EXPECT_EQ(plan_is_empty(plan), form == JSON ? strstr(page.at, "\"changes\":[]") != NULL : !strncmp(page.at, "nothing", 7));
    plan_free(&plan);
    EXPECT_EQ(plan, NULL);
    snapshot_unref(&a);
    snapshot_unref(&b);
    shared_set_free(set);
    return page;
}

#define TAIL "routes: [{match: /, respond: {}}]\n"
#define HEAD "version: 1\nlisten: 127.0.0.1:80\n"

TEST(each_kind_of_thing)
{
    static const struct { const char *name, *from, *to, *wanted; } rows[] = {
        {"nothing", HEAD TAIL, "listen: [\"127.0.0.1:80\"]\nversion: 1\nworkers: auto\n" TAIL,
         "nothing changes\nunchanged: 1 listener, 1 route\n"},
        {"settings", HEAD TAIL, HEAD "workers: 3\nlog: {to: none}\ntrusted_proxies: [10.0.0.0/8]\n" TAIL,
         "log.to: stdout -> none\nworkers: auto -> 3\n    it stays as it is until a restart\n"
         "trusted_proxies: none -> [10.0.0.0/8]\nunchanged: 1 listener, 1 route\n"},
        {"admin", HEAD TAIL, HEAD "admin: 127.0.0.1:99\n" TAIL, "admin: none -> 127.0.0.1:99\nunchanged: 1 listener, 1 route\n"},
        {"listeners", "version: 1\nlisten: [127.0.0.1:1, \":2\", unix:/a]\n" TAIL,
         "version: 1\nlisten: [unix:/b, {at: \"0.0.0.0:2\", half_close: keep, filters: [mark]}, 127.0.0.1:1]\n" TAIL,
         "listener unix:/b: added\n"
         "listener 0.0.0.0:2: changed\n    half_close: cancel -> keep\n    filters: [] -> [mark]\n"
         "listener unix:/a: removed\nfilter listen 0.0.0.0:2 mark: added\nunchanged: 1 listener, 1 route\n"},
        {"upstreams", HEAD "upstreams: {a: {endpoints: [http://x, http://y:80]}, b: {endpoints: http://x}}\n" TAIL,
         HEAD "upstreams: {c: {endpoints: http://x}, a: {endpoints: [\"http://Y\", http://z], timeouts: {idle: 3s}}}\n" TAIL,
         "upstream c: added\nupstream a: changed\n    timeouts.idle: 30s -> 3s\nendpoint http://z of a: added\n"
         "endpoint http://x of a: removed\nupstream b: removed\nunchanged: 1 listener, 1 endpoint, 1 route\n"},
        {"routes",
         HEAD "upstreams: {a: {endpoints: http://x}, b: {endpoints: http://y}}\n"
         "routes: [{match: /1, upstream: a}, {match: /2, upstream: a}, {name: n, match: /3, upstream: a, timeout: 60000ms}]\n",
         HEAD "upstreams: {a: {endpoints: http://x}, b: {endpoints: http://y}}\n"
         "routes: [{name: n, match: /4, upstream: a}, {match: {path: /2}, upstream: b, max_body: 1KiB}, {match: /5, upstream: a}]\n",
         "route n: changed\n    match: /3 -> /4\nroute /2: changed\n    upstream: a -> b\n    max_body: none -> 1KiB\n"
         "route /5: added\nroute /1: removed\nunchanged: 1 listener, 2 upstreams, 2 endpoints\n"},
        {"filters", HEAD "define: {x: cap, y: mark, z: mark}\nroutes: [{match: /, respond: {}, filters: [x, y, z]}]\n",
         HEAD "define: {x: {cap: {mode: shadow}}, y: cap}\nroutes: [{match: /, respond: {}, filters: [y, x, mark]}]\n",
         "route /: changed\n    filters: [x, y, z] -> [y, x, mark]\n"
         "filter x (cap): changed\n    mode: enforce -> shadow\n    from 5 to 5\n"
         "filter y (cap): added\nfilter route / mark: added\nfilter y (mark): removed\nfilter z (mark): removed\n"
         "unchanged: 1 listener\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].name);
        struct page page = said(rows[i].from, rows[i].to, false, TEXT);
        EXPECT_CSTR(page.at, rows[i].wanted);
        page_free(&page);
    }
}

#define CAP(max) HEAD "routes: [{match: /, respond: {}, filters: [{cap: {max: " max "}}]}]\n"

TEST(what_runs_says_what_is_over)
{
    static const struct { const char *from, *to; bool runs; const char *wanted; } rows[] = {
        {CAP("20"), CAP("8"), true, "    max: 20 -> 8\n    from 20 to 8\n  ! 12 held, 8 allowed\n"},
        {CAP("20"), CAP("12"), true, "    max: 20 -> 12\n    from 20 to 12\n"},
        {CAP("20"), CAP("8"), false, "    max: 20 -> 8\n    from 20 to 8\n"},
        {CAP("20"), CAP("20"), true, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char wanted[400];
        test_row("%zu", i);
        struct page page = said(rows[i].from, rows[i].to, rows[i].runs, TEXT);
        snprintf(wanted, sizeof wanted, "%s%s%s", rows[i].wanted[0] ? "filter route / cap: changed\n" : "nothing changes\n",
                 rows[i].wanted, rows[i].wanted[0] ? "unchanged: 1 listener, 1 route\n"
                                                   : "unchanged: 1 listener, 1 route, 1 filter\n");
        EXPECT_CSTR(page.at, wanted);
        page_free(&page);
    }
}

TEST(what_a_filter_counted_goes_with_it)
{
    struct page page = said(CAP("1"), HEAD TAIL, true, TEXT);
    EXPECT_CSTR(page.at, "route /: changed\n    filters: [cap] -> []\nfilter route / cap: removed\n"
                         "    what it counted is gone with the last request that uses it\nunchanged: 1 listener\n");
    page_free(&page);
}

TEST(as_json)
{
    struct page page = said(CAP("99"), CAP("8"), true, JSON);
    EXPECT_CSTR(page.at, "\"changes\":[\n"
        "{\"what\":\"filter\",\"name\":\"route / cap\",\"type\":\"cap\",\"change\":\"changed\","
        "\"keys\":[{\"key\":\"max\",\"from\":\"99\",\"to\":\"8\"}],\"notes\":[{\"kind\":\"keeps\",\"text\":\"from 99 to 8\"},"
        "{\"kind\":\"over\",\"text\":\"12 held, 8 allowed\"},{\"kind\":\"restart\",\"text\":\"waits\"}]}\n],\"more\":0,"
        "\"unchanged\":{\"listeners\":1,\"upstreams\":0,\"endpoints\":0,\"routes\":1,\"filters\":0,\"certificates\":0,\"authorities\":0},\"over\":1,\"restart\":1");
    page_free(&page);
    page = said(HEAD TAIL, HEAD TAIL, false, JSON);
    EXPECT(strstr(page.at, "\"changes\":[],\"more\":0,"));
    page_free(&page);
}

TEST(as_one_line)
{
    struct page page = said(HEAD TAIL, "version: 1\nlisten: [127.0.0.1:81, 127.0.0.1:82]\nworkers: 2\n" TAIL, false, BRIEF);
    EXPECT_CSTR(page.at, "1 setting changed, 2 listeners added, 1 listener removed");
    page_free(&page);
    page = said(HEAD TAIL, HEAD TAIL, false, BRIEF);
    EXPECT_CSTR(page.at, "nothing changed");
    page_free(&page);
}

TEST(ten_thousand_routes)
{
    enum { ROUTES = 10000 };
    struct page from = {0}, to = {0};
    page_printf(&from, HEAD "routes:\n");
    page_printf(&to, HEAD "routes:\n");
    for (unsigned i = 0; i < ROUTES; i++) {
        page_printf(&from, "- {match: /a/%u, respond: {body: x}, filters: [{cap: {max: 3}}]}\n", i);
        page_printf(&to, "- {match: /a/%u, respond: {body: %s}, filters: [{cap: {max: 3}}]}\n", ROUTES - i, i % 2 ? "x" : "y");
    }
    struct snapshot *a = load(from.at), *b = load(to.at);
    struct page page = {0};
    uint64_t begun = clock_mono(&clock_real);
    struct plan *plan = plan_new(a, b, 77);
    uint64_t took = clock_mono(&clock_real) - begun;
    plan_text(plan, &page);
    EXPECT(took < NSEC_PER_SEC);
    EXPECT(strstr(page.at, "\nand 4003 more\nunchanged: 1 listener, 5000 routes, 9999 filters\n"));
    printf("  a plan of %d routes takes %.1f ms\n", ROUTES, (double)took / 1e6);
    plan_free(&plan);
    snapshot_unref(&a);
    snapshot_unref(&b);
    page_free(&from);
    page_free(&to);
    page_free(&page);
}
