/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From "reload!" to "it is in force".
 *
 *   IDLE      somebody asks -> a timer of no time, so that many who ask at once share one
 *   LOOKUPS   the file was read, what may fail was prepared; names that are new have their first look-up, 2 s at the most,
 *             so that their first request is not told that nothing resolves. Until here all can be undone
 *   WORKERS   the commit: until every worker has changed
 *
 * The commit reads the clock anew: reading a large file takes a while, and a bucket must not be given that while twice.
 *
 * A configuration that was replaced lives as long as requests that began under it. Workers drop their parts as they end; the
 * control thread keeps one reference and looks now and then whether it is the last, so that no worker has to free ten thousand
 * routes between two requests.
 */
#include "reload.h"

#include <event2/event.h>
#include <string.h>
#include "access_log.h"
#include "admin.h"
#include "certificates.h"
#include "change.h"
#include "changes.h"
#include "conf/include.h"
#include "conf_watch.h"
#include "control_impl.h"
#include "exposition.h"
#include "lib/check.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "names.h"

enum { LOOKUPS_MS = 2000, LOOKUPS_POLL_MS = 2, RETIRED_POLL_MS = 50, ADMIN_LAST_MS = 1000, ERRORS_LOGGED = 20 };

struct asker {
    struct list link;
    char *cause;
    reload_done *done;
    void *ctx;
};

/* What is left of a configuration that was replaced. */
struct retired {
    struct list link;
    struct snapshot *snap;           /* the last reference but those of requests; or */
    struct access_log *log;          /* it writes what it has; or */
    struct admin *admin;             /* it answers who is there, */
    uint64_t until;                  /* until then, ns, or until the next reload */
};

struct reload {
    struct control *control;
    enum { RELOAD_IDLE, RELOAD_LOOKUPS, RELOAD_WORKERS } state;
    struct list waiting, told;       /* askers: of the next one, of the one that runs */
    struct event *next, *retire;
    struct change change;
    struct changes changes;          /* counted */
    struct page renewed;             /* certificates, a line each */
    struct diags diags;
    uint64_t began, lookups_until;   /* ns */
    struct list retired;
    uint64_t log_dropped;
    /* For the metrics. */
    bool last_ok;
    uint64_t results[RELOAD_RESULTS], loaded_wall;
};

const char *reload_result_name(enum reload_result result)
{
    static const char *const names[RELOAD_RESULTS] = {"ok", "failed", "refused"};
    return names[result];
}

static void wake_in(struct event *timer, unsigned ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    check(evtimer_add(timer, &tv) == 0);
}

static double ms_since(uint64_t began) { return (double)(clock_mono(&clock_real) - began) / 1e6; }

/* ---- telling ---- */

static struct str cause_of(const struct reload *r)
{
    return list_empty(&r->told) ? STR("reload") : str_c(container_of(r->told.next, struct asker, link)->cause);
}

static void lines_log(struct page *text, enum log_level level)
{
    char *at = text->len ? text->at : NULL;
    for (unsigned i = 0; at && *at && i < ERRORS_LOGGED; i++) {
        char *end = strchr(at, '\n');
        if (end)
            *end = '\0';
        log_at(level, "reload", "%s", at);
        at = end ? end + 1 : NULL;
    }
}

static void result_log(struct reload *r, enum reload_result result, double ms)
{
    struct page changes = {0}, warnings = {0}, errors = {0};
    diags_print_kind(&r->diags, true, &warnings);
    diags_print_kind(&r->diags, false, &errors);
    if (result == RELOAD_OK) {
        changes_print(&r->changes, &changes);
        log_info("reload", STR_FMT ": ok in %.1f ms, generation %llu: %s", STR_ARG(cause_of(r)), ms,
                 (unsigned long long)r->control->snap->generation, changes.at);
        lines_log(&r->renewed, LOG_INFO);
        lines_log(&warnings, LOG_WARN);
    } else {
        log_error("reload", STR_FMT ": %s after %.1f ms, nothing changed: %s", STR_ARG(cause_of(r)), reload_result_name(result),
                  ms, diags_count(&r->diags).text);
        lines_log(&warnings, LOG_WARN);
        lines_log(&errors, LOG_ERROR);   /* last: they are why, and what a look at the log's end finds */
    }
    page_free(&changes);
    page_free(&warnings);
    page_free(&errors);
}

static void summary_make(const struct reload *r, enum reload_result result, double ms, struct page *p)
{
    const struct snapshot *snap = r->control->snap;
    page_printf(p, "{\"result\":\"%s\",\"cause\":", reload_result_name(result));
    page_json(p, cause_of(r));
    page_printf(p, ",\"generation\":%llu,\"took_ms\":%.3f", snap ? (unsigned long long)snap->generation : 0, ms);
    if (result == RELOAD_OK) {
        page_printf(p, ",\"changes\":");
        changes_json(&r->changes, p);
    }
    page_printf(p, ",\"%s\":", result == RELOAD_OK ? "warnings" : "errors");
    diags_json(&r->diags, p);
    page_printf(p, "}\n");
}

static void asker_free(struct asker *a)
{
    mem_free(a->cause);
    mem_free(a);
}

static void next_set(struct reload *r)
{
    if (r->state == RELOAD_IDLE && !list_empty(&r->waiting) && r->control->phase != PHASE_STARTING)
        wake_in(r->next, 0);
}

/* The one way out of every reload. */
static void reload_end(struct reload *r, enum reload_result result)
{
    struct page summary = {0};
    struct diags diags = r->diags;
    struct list told, *n;
    double ms = ms_since(r->began);
    r->results[result]++;
    r->last_ok = result == RELOAD_OK;
    if (result == RELOAD_OK)
        r->loaded_wall = clock_wall(&clock_real);
    result_log(r, result, ms);
    summary_make(r, result, ms, &summary);
    list_init(&told);
    while ((n = list_pop(&r->told)) != NULL)
        list_append(&told, n);
    r->diags = (struct diags){0};
    page_free(&r->renewed);
    r->state = RELOAD_IDLE;
    while ((n = list_pop(&told)) != NULL) {          /* any of these may ask again */
        struct asker *a = container_of(n, struct asker, link);
        if (a->done)
            a->done(a->ctx, result == RELOAD_OK, &diags, &summary);
        asker_free(a);
    }
    diags_fini(&diags);
    page_free(&summary);
    next_set(r);
}

/* ---- what was replaced ---- */

static bool is_over(const struct retired *old)
{
    if (old->snap)
        return atomic_load_explicit(&old->snap->refs, memory_order_acquire) == 1;
    return old->log ? access_log_ended(old->log) : clock_mono(&clock_real) >= old->until;
}

static void retired_free(struct reload *r, struct retired *old)
{
    list_remove(&old->link);
    if (old->snap)
        snapshot_unref(&old->snap);
    if (old->log) {
        r->log_dropped += access_log_dropped(old->log);
        access_log_close(&old->log);
    }
    admin_close(&old->admin);
    mem_free(old);
}

static void retire_came(evutil_socket_t fd, short what, void *arg)
{
    struct reload *r = arg;
    (void)fd, (void)what;
    for (struct list *n = r->retired.next, *next; n != &r->retired; n = next) {
        struct retired *old = container_of(n, struct retired, link);
        next = n->next;
        if (is_over(old))
            retired_free(r, old);
    }
    if (!list_empty(&r->retired))
        wake_in(r->retire, RETIRED_POLL_MS);
}

static void retired_add(struct reload *r, const struct retired *what)
{
    struct retired *old = mem_zalloc(sizeof *old);
    *old = *what;
    list_append(&r->retired, &old->link);
    wake_in(r->retire, 0);
}

void reload_retire(struct reload *r, struct snapshot *snap) { retired_add(r, &(struct retired){.snap = snap}); }

void reload_retire_log(struct reload *r, struct access_log *log)
{
    access_log_end(log);
    retired_add(r, &(struct retired){.log = log});
}

void reload_retire_admin(struct reload *r, struct admin *admin)
{
    uint64_t until = time_after(clock_mono(&clock_real), ADMIN_LAST_MS * NSEC_PER_MSEC);
    retired_add(r, &(struct retired){.admin = admin, .until = until});
}

/* Its address may be asked for again. */
static void retired_admins_close(struct reload *r)
{
    for (struct list *n = r->retired.next, *next; n != &r->retired; n = next) {
        next = n->next;
        if (container_of(n, struct retired, link)->admin)
            retired_free(r, container_of(n, struct retired, link));
    }
}

uint64_t reload_loaded(const struct reload *r) { return r->loaded_wall; }

/* Those that still write count already, or a counter would go down for a while. */
uint64_t reload_log_dropped(const struct reload *r)
{
    uint64_t n = r->log_dropped;
    for (const struct list *l = r->retired.next; l != &r->retired; l = l->next)
        n += access_log_dropped(container_of(l, struct retired, link)->log);
    return n;
}

static uint64_t snapshots(const struct reload *r)
{
    uint64_t n = 1;
    for (const struct list *l = r->retired.next; l != &r->retired; l = l->next)
        n += container_of(l, struct retired, link)->snap != NULL;
    return n;
}

/* ---- the way ---- */

static void reload_refuse(struct reload *r)
{
    (void)diag_error(&r->diags, NULL, CODE_stopping, "weir is stopping and takes no new configuration");
    reload_end(r, RELOAD_REFUSED);
}

static void workers_changed(struct control *c) { reload_end(c->reload, RELOAD_OK); }

static void lookups_end(struct reload *r)
{
    r->state = RELOAD_WORKERS;
    conf_watch_set(r->control->watch, r->change.snap->watch, r->change.snap->watch_poll);
    change_commit(&r->change, workers_changed);
}

static void lookups_wait(struct reload *r)
{
    bool over = names_unanswered(r->control->names) == 0 || clock_mono(&clock_real) >= r->lookups_until;
    if (over)
        lookups_end(r);
    else
        wake_in(r->next, LOOKUPS_POLL_MS);
}

/* What takes effect at a start alone, compared with what runs: the configuration in force may wait for a restart itself. */
static void warn_of_restart(struct reload *r, const struct snapshot *snap)
{
    if (control_workers(snap) != r->control->n)
        diag_warn(&r->diags, NULL, CODE_waits_for_restart, "`workers` waits for a restart: %u run%s", r->control->n,
                  r->control->n == 1 ? "s" : "");
    const struct snapshot *now = r->control->snap;
    if (!str_eq(now->user, snap->user) || !str_eq(now->group, snap->group) || now->core_dumps != snap->core_dumps ||
        now->seccomp != snap->seccomp)
        diag_warn(&r->diags, NULL, CODE_waits_for_restart, "`user`, `group` and `sandbox` wait for a restart");
}

/* Whose change is worth another try: all that it was to be read from. */
static void failed_files_watch(struct control *c)
{
    struct arena arena;
    struct sources sources;
    arena_init(&arena, NULL);
    sources_init(&sources, &arena);
    include_sources(c->path, &sources);
    conf_watch_failed(c->watch, &sources);
    arena_fini(&arena);
}

/* The file is read and checked. */
static int reload_read(struct reload *r, struct snapshot **snap)
{
    struct control *c = r->control;
    conf_watch_reading(c->watch);
    if (control_load(c->path, c->snap, &r->diags, snap) != 0) {
        failed_files_watch(c);
        return -1;
    }
    conf_watch_loaded(c->watch, &(*snap)->sources);
    return 0;
}

static void reload_begin(struct reload *r)
{
    struct control *c = r->control;
    struct snapshot *snap = NULL;
    struct list *n;
    r->began = clock_mono(&clock_real);
    while ((n = list_pop(&r->waiting)) != NULL)
        list_append(&r->told, n);
    if (c->phase >= PHASE_DELAY) {
        reload_refuse(r);
        return;
    }
    retired_admins_close(r);
    if (reload_read(r, &snap) != 0 || change_prepare(&r->change, c, snap, &r->diags) != 0) {
        reload_end(r, RELOAD_FAILED);
        return;
    }
    warn_of_restart(r, snap);
    changes_count(&r->changes, c->snap, snap);
    certificates_renewed(c->snap, snap, &r->renewed);
    names_hold(c->names, snap);
    r->lookups_until = time_after(clock_mono(&clock_real), LOOKUPS_MS * NSEC_PER_MSEC);
    r->state = RELOAD_LOOKUPS;
    lookups_wait(r);
}

static void next_came(evutil_socket_t fd, short what, void *arg)
{
    struct reload *r = arg;
    (void)fd, (void)what;
    if (r->state == RELOAD_IDLE && !list_empty(&r->waiting))
        reload_begin(r);
    else if (r->state == RELOAD_LOOKUPS)
        lookups_wait(r);
}

void reload_phase(struct reload *r)
{
    if (r->control->phase >= PHASE_DELAY && r->state == RELOAD_LOOKUPS) {
        names_drop(r->control->names, r->change.snap);
        change_undo(&r->change);
        reload_refuse(r);
    }
    next_set(r);
}

void control_reload(struct control *c, const char *cause, reload_done *done, void *ctx)
{
    struct asker *a = mem_zalloc(sizeof *a);
    *a = (struct asker){.cause = mem_strdup(cause), .done = done, .ctx = ctx};
    list_append(&c->reload->waiting, &a->link);
    next_set(c->reload);
}

/* ---- the object ---- */

void reload_metrics(const struct reload *r, struct page *p)
{
    exposition_head(p, "config_reload_success", "gauge", "Whether the last reload was taken: 1, or 0: it changed nothing.");
    exposition_value(p, "config_reload_success", NULL, 0, r->last_ok);
    exposition_head(p, "config_reloads_total", "counter", "Reloads, by result.");
    for (unsigned i = 0; i < RELOAD_RESULTS; i++) {
        const struct label label = {"result", str_c(reload_result_name((enum reload_result)i))};
        exposition_value(p, "config_reloads_total", &label, 1, r->results[i]);
    }
    exposition_head(p, "config_generation", "gauge", "The number of the configuration in force; the first is 1.");
    exposition_value(p, "config_generation", NULL, 0, r->control->snap->generation);
    exposition_head(p, "config_loaded_timestamp_seconds", "gauge", "When the configuration in force was loaded.");
    exposition_value(p, "config_loaded_timestamp_seconds", NULL, 0, r->loaded_wall / NSEC_PER_SEC);
    exposition_head(p, "config_snapshots", "gauge",
                    "Configurations in memory: the one in force, and those that requests end under.");
    exposition_value(p, "config_snapshots", NULL, 0, snapshots(r));
}

struct reload *reload_new(struct control *c)
{
    struct reload *r = mem_zalloc(sizeof *r);
    r->control = c;
    r->last_ok = true;
    r->loaded_wall = clock_wall(&clock_real);
    list_init(&r->waiting);
    list_init(&r->told);
    list_init(&r->retired);
    r->next = evtimer_new(c->base, next_came, r);
    r->retire = evtimer_new(c->base, retire_came, r);
    check(r->next && r->retire);
    return r;
}

void reload_free(struct reload **at)
{
    struct reload *r = *at;
    struct list *n;
    if (!r)
        return;
    check(r->state != RELOAD_WORKERS);               /* their mail came back when they ended */
    reload_phase(r);
    while ((n = list_pop(&r->waiting)) != NULL)
        list_append(&r->told, n);
    if (!list_empty(&r->told))
        reload_refuse(r);
    while (!list_empty(&r->retired))
        retired_free(r, container_of(r->retired.next, struct retired, link));
    event_free(r->next);
    event_free(r->retire);
    *at = NULL;
    mem_free(r);
}
