/* SPDX-License-Identifier: Apache-2.0 */
/* The pages of the admin listener: what the parts of the process have to say, put together. */
#include "pages.h"

#include "access_log.h"
#include "certificates.h"
#include "config_page.h"
#include "control_impl.h"
#include "crowd.h"
#include "figures.h"
#include "memory.h"
#include "names.h"
#include "reload.h"
#include "watchdog.h"

static void page_metrics(void *ctx, struct page *page)
{
    struct control *c = ctx;
    struct metrics *v[WORKERS_MAX];
    for (unsigned i = 0; i < c->n; i++)
        v[i] = &c->workers[i].metrics;
    metrics_print(v, c->n, page);
    figures_metrics(c->snap, clock_mono(&clock_real), page);
    healths_metrics(&c->healths, clock_mono(&clock_real), page);
    reload_metrics(c->reload, page);
    crowd_metrics(c->crowd, page);
    watchdog_metrics(c->watchdog, clock_mono(&clock_real), page);
    memory_metrics(c->memory, page);
    certificates_metrics(c->snap, page);
    page_printf(page, "# HELP weir_access_log_dropped_total Access log lines lost because the writer was behind.\n"
                      "# TYPE weir_access_log_dropped_total counter\nweir_access_log_dropped_total %llu\n",
                (unsigned long long)access_log_dropped(c->log) + reload_log_dropped(c->reload));
    page_printf(page, "# HELP weir_names_unresolved Endpoint names that no address is known for.\n"
                      "# TYPE weir_names_unresolved gauge\nweir_names_unresolved %zu\n", names_unresolved(c->names));
}

static int page_limits(void *ctx, struct str query, struct page *page)
{
    const struct control *c = ctx;
    return figures_limits(c->snap, query, clock_mono(&clock_real), page);
}

static int page_upstreams(void *ctx, struct str query, struct page *page)
{
    struct control *c = ctx;
    (void)query;
    healths_json(&c->healths, clock_mono(&clock_real), page);
    return 200;
}

static int page_command(void *ctx, struct str query, struct page *page)
{
    const struct control *c = ctx;
    return figures_command(c->snap, query, clock_mono(&clock_real), page);
}

static int page_config(void *ctx, struct str query, struct page *page)
{
    const struct control *c = ctx;
    (void)query;
    return config_page(c->snap, reload_loaded(c->reload), page);
}

static void page_reload(void *ctx, const struct admin_request *request, struct admin_answer *answer)
{
    control_reload(ctx, "POST /reload", config_reload_over, config_asker_new(request, answer));
}

static void page_plan(void *ctx, const struct admin_request *request, struct admin_answer *answer)
{
    const struct control *c = ctx;
    config_plan(c->snap, request, answer);
}

static bool page_ready(void *ctx, struct page *why)
{
    struct control *c = ctx;
    if (c->phase == PHASE_SERVING)
        return true;
    page_printf(why, c->phase == PHASE_STARTING ? "starting\n" : "draining\n");
    return false;
}

struct admin_source pages_source(struct control *c)
{
    return (struct admin_source){.metrics = page_metrics, .ready = page_ready, .limits = page_limits,
                                  .upstreams = page_upstreams, .config = page_config, .command = page_command,
                                  .reload = page_reload, .plan = page_plan, .ctx = c};
}
