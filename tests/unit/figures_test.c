/* SPDX-License-Identifier: Apache-2.0 */
#include "figures.h"

#include "conf/snapshot.h"
#include "figure.h"
#include "filter.h"
#include "lib/histogram.h"
#include "test.h"

static const struct figure rows[] = {
    {.name = "gate_refused_total", .type = FIGURE_COUNTER, .label = "reason", .value = "full", .help = "Refused."},
    {.name = "gate_refused_total", .type = FIGURE_COUNTER, .label = "reason", .value = "late"},
    {.name = "gate_open", .type = FIGURE_GAUGE, .help = "Open."},
    {.name = "wait_seconds", .type = FIGURE_HISTOGRAM, .help = "Waits."},
    {.name = NULL},
};

static struct histogram waits;

static void read_all(void *shared, const void *options, uint64_t now, union figure_value *v)
{
    const uint64_t *base = shared;
    (void)options;
    v[0].n = *base + now;
    v[1].n = *base + 2;
    v[2].n = *base + 3;
    v[3].histogram = &waits;
}

static bool print_key(void *shared, const void *options, const struct str *values, size_t n, uint64_t now, struct page *p)
{
    (void)shared, (void)options, (void)now;
    page_printf(p, ",\"key\":[");
    for (size_t i = 0; i < n; i++) {
        page_printf(p, "%s", i ? "," : "");
        page_json(p, values[i]);
    }
    page_printf(p, "]");
    return true;
}

static char ordered[40];

static bool obey(void *shared, const void *options, struct str word, uint64_t now)
{
    (void)options;
    if (!str_eq(word, STR("open")) && !str_eq(word, STR("shut up")))
        return false;
    snprintf(ordered, sizeof ordered, STR_FMT " %d at %d", STR_ARG(word), (int)*(const uint64_t *)shared, (int)now);
    return true;
}

static const struct filter gate = {.name = "gate", .commands = "open, shut up", .command = obey, .figures = rows, .figures_read = read_all, .key_print = print_key};
static const struct filter dumb = {.name = "dumb"};

static uint64_t bases[] = {100, 200};
static const struct instance one = {.type = &gate, .name = {"one", 3}, .shared = &bases[0]};
static const struct instance other = {.type = &dumb, .name = {"other", 5}};
static const struct instance two = {.type = &gate, .name = {"t\"wo", 4}, .shared = &bases[1], .shadow = true};
static struct instance *instances[] = {(struct instance *)&one, (struct instance *)&other, (struct instance *)&two};
static const struct snapshot snap = {.instances = instances, .n_instances = 3, .generation = 9};

TEST(metrics_stand_by_name_then_by_instance)
{
    struct page p = {0};
    figures_metrics(&snap, 1, &p);
    EXPECT(strstr(p.at, "# HELP weir_gate_refused_total Refused.\n# TYPE weir_gate_refused_total counter\n"
                        "weir_gate_refused_total{instance=\"one\",mode=\"enforce\",reason=\"full\"} 101\n"
                        "weir_gate_refused_total{instance=\"one\",mode=\"enforce\",reason=\"late\"} 102\n"
                        "weir_gate_refused_total{instance=\"t\\\"wo\",mode=\"shadow\",reason=\"full\"} 201\n"
                        "weir_gate_refused_total{instance=\"t\\\"wo\",mode=\"shadow\",reason=\"late\"} 202\n"
                        "# HELP weir_gate_open Open.\n# TYPE weir_gate_open gauge\n"
                        "weir_gate_open{instance=\"one\",mode=\"enforce\"} 103\n"
                        "weir_gate_open{instance=\"t\\\"wo\",mode=\"shadow\"} 203\n"
                        "# HELP weir_wait_seconds Waits.\n# TYPE weir_wait_seconds histogram\n"
                        "weir_wait_seconds_bucket{instance=\"one\",mode=\"enforce\",le=\"0.0005\"} 0\n") == p.at);
    EXPECT(strstr(p.at, "weir_wait_seconds_count{instance=\"t\\\"wo\",mode=\"shadow\"} 0\n"));
    EXPECT(!strstr(p.at, "other"));
    page_free(&p);
}

TEST(limits)
{
    static const struct { const char *query; int status; const char *text; } cases[] = {
        {"", 200, "{\"generation\":9,\"limits\":[\n"
         "{\"instance\":\"one\",\"type\":\"gate\",\"mode\":\"enforce\",\"refused_total\":{\"full\":101,\"late\":102},\"open\":103,"
         "\"wait_seconds\":{\"count\":0,\"mean_ms\":0.000}},\n"
         "{\"instance\":\"t\\\"wo\",\"type\":\"gate\",\"mode\":\"shadow\",\"refused_total\":{\"full\":201,\"late\":202},\"open\":203,"
         "\"wait_seconds\":{\"count\":0,\"mean_ms\":0.000}}\n]}\n"},
        {"instance=on%65&key=a%2Bb&x=1&key=+c", 200, "{\"generation\":9,\"limits\":[\n"
         "{\"instance\":\"one\",\"type\":\"gate\",\"mode\":\"enforce\",\"refused_total\":{\"full\":101,\"late\":102},\"open\":103,"
         "\"wait_seconds\":{\"count\":0,\"mean_ms\":0.000},\"key\":[\"a+b\",\" c\"]}\n]}\n"},
        {"instance=none", 404, "{\"error\":\"no limit of this name\",\"instance\":\"none\"}\n"},
        {"instance=other", 404, "{\"error\":\"no limit of this name\",\"instance\":\"other\"}\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct page p = {0};
        test_row("%s", cases[i].query);
        EXPECT_EQ(figures_limits(&snap, str_c(cases[i].query), 1, &p), cases[i].status);
        EXPECT_CSTR(p.at, cases[i].text);
        page_free(&p);
    }
}

TEST(no_limits)
{
    struct page p = {0};
    const struct snapshot empty = {.generation = 1};
    EXPECT_EQ(figures_limits(&empty, STR(""), 1, &p), 200);
    EXPECT_CSTR(p.at, "{\"generation\":1,\"limits\":[]}\n");
    p.len = 0;
    figures_metrics(&empty, 1, &p);
    EXPECT_EQ(p.len, 0);
    page_free(&p);
}

TEST(orders)
{
    static const struct { const char *query; int status; const char *text, *ordered; } cases[] = {
        {"instance=one&word=open", 200, "{\"instance\":\"one\",\"word\":\"open\"}\n", "open 100 at 1"},
        {"word=shut%20up&instance=t%22wo", 200, "{\"instance\":\"t\\\"wo\",\"word\":\"shut up\"}\n", "shut up 200 at 1"},
        {"instance=one&word=dance", 400, "{\"error\":\"the order must be one of: open, shut up\",\"word\":\"dance\"}\n", ""},
        {"instance=one", 400, "{\"error\":\"the order must be one of: open, shut up\",\"word\":null}\n", ""},
        {"instance=other&word=open", 404, "{\"error\":\"no instance of this name takes orders\",\"instance\":\"other\","
         "\"instances\":[\"one\",\"t\\\"wo\"]}\n", ""},
        {"", 404, "{\"error\":\"no instance of this name takes orders\",\"instance\":null,"
         "\"instances\":[\"one\",\"t\\\"wo\"]}\n", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct page p = {0};
        test_row("%s", cases[i].query);
        ordered[0] = '\0';
        EXPECT_EQ(figures_command(&snap, str_c(cases[i].query), 1, &p), cases[i].status);
        EXPECT_CSTR(p.at, cases[i].text);
        EXPECT_CSTR(ordered, cases[i].ordered);
        page_free(&p);
    }
}
