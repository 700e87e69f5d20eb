/* SPDX-License-Identifier: Apache-2.0 */
/* A control thread and one worker on one thread, so that what happens between two of their steps can be chosen. */
#include "change.h"

#include <event2/event.h>
#include <unistd.h>
#include "access_log.h"
#include "conf/diag.h"
#include "conf/shared.h"
#include "control_impl.h"
#include "filter.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "listener.h"
#include "names.h"
#include "probe.h"
#include "reload.h"
#include "resolve.h"
#include "memory.h"
#include "watchdog.h"
#include "test.h"
#include "dns_server.h"

enum { TIMEOUT_MS = 100 };

static const struct answer here[] = {{.v4 = {"127.0.0.1"}, .ttl = 60}};

static struct {
    struct zone zones[1];
    struct server server;
    struct control control;
    struct worker worker;
    struct change change;
    char dir[40];
    unsigned done;
} world;

static void came(void *ctx, struct str host, const struct address *v, size_t n)
{
    struct control *c = ctx;
    endpoints_post_addresses(c->workers, host, v, n);
    probes_addresses(c->checks, host, v, n);
}

static void done(struct control *c)
{
    (void)c;
    world.done++;
}

#define NO_LOG "log: {to: none}\n"
#define ROUTES "routes: [{match: /, respond: {status: 200}}]\n"

static struct snapshot *conf_of(const char *more)
{
    struct diags diags = {.n = 0};
    struct snapshot *snap = NULL;
    char text[1000];
    snprintf(text, sizeof text, "version: 1\nlisten: unix:%s/s\nworkers: 1\n%s", world.dir, more);
    EXPECT_EQ(snapshot_load_text(str_c(text), "t", filters_all, &diags, &snap), 0);
    diags_fini(&diags);
    return snap;
}

/* All steps of a change that the control thread does at once. */
static void commit(const char *more)
{
    struct diags diags = {.n = 0};
    struct snapshot *snap = conf_of(more);
    EXPECT_EQ(change_prepare(&world.change, &world.control, snap, &diags), 0);
    names_hold(world.control.names, snap);
    change_commit(&world.change, done);
    diags_fini(&diags);
}

/* The worker changes, and says so. */
static void mail_deliver(void)
{
    mailbox_drain(&world.worker.mailbox, &world.worker);
    mailbox_drain(&world.control.mail, &world.control);
}

static void begin(void)
{
    struct control *c = &world.control;
    memset(&world, 0, sizeof world);
    log_set_level(LOG_ERROR);
    snprintf(world.dir, sizeof world.dir, "/tmp/weir-change-XXXXXX");
    EXPECT(mkdtemp(world.dir) != NULL);
    world.zones[0] = (struct zone){.name = "here.test", .answers = here, .n = 1};
    server_init(&world.server, world.zones, 1);
    *c = (struct control){.base = world.server.base, .path = "t", .shared = shared_set_new(), .workers = &world.worker, .n = 1,
                          .files = 1000, .phase = PHASE_SERVING};
    mailbox_init(&c->mail, false);
    c->resolver = resolver_new_with_servers(c->base, &clock_real, world.server.at, TIMEOUT_MS);
    c->watchdog = watchdog_new(NULL);
    c->memory = memory_new(NULL);
    c->names = names_new(c->resolver, came, c);
    c->checks = probes_new(c->base, &clock_real, &c->healths, 1);
    c->reload = reload_new(c);
    worker_init(&world.worker, 0, &clock_real, 1, false);
    world.worker.open_connections = &c->open_connections;
    commit(NO_LOG ROUTES);
    EXPECT_EQ(world.done, 1);
    c->started = 1;
}

static void end(void)
{
    struct control *c = &world.control;
    while (!list_empty(&world.worker.listeners))
        listener_free(container_of(world.worker.listeners.next, struct listener, link));
    worker_fini(&world.worker);
    mailbox_drain(&c->mail, c);
    reload_free(&c->reload);
    names_free(&c->names);
    watchdog_free(&c->watchdog);
    memory_free(&c->memory);
    resolver_free(c->resolver);
    probes_free(&c->checks);
    healths_close(&c->healths);
    mailbox_fini(&c->mail);
    snapshot_unref(&c->snap);
    shared_set_free(c->shared);
    server_fini(&world.server);
    EXPECT_EQ(rmdir(world.dir), 0);
}

static void turns_until_answered(void)
{
    for (unsigned i = 0; i < 200 && names_unanswered(world.control.names) > 0; i++)
        turn_for(world.control.base, 10);
    EXPECT_EQ(names_unanswered(world.control.names), 0);
}

static struct health_seen seen(void)
{
    struct health_seen seen;
    health_look(world.control.healths.v[0], 0, clock_mono(&clock_real), &seen);
    return seen;
}

/* The answer comes when the workers are told, and have not all changed yet. It is told once. */
TEST(a_name_that_is_found_meanwhile_is_checked)
{
    begin();
    commit(NO_LOG "upstreams: {a: {endpoints: \"http://here.test:1\", health: {path: /, every: 10ms, timeout: 10ms}}}\n"
           "routes: [{match: /, upstream: a}]\n");
    turns_until_answered();
    EXPECT_EQ(world.done, 1);
    mail_deliver();
    EXPECT_EQ(world.done, 2);
    EXPECT_EQ(seen().addresses, 1);
    for (unsigned i = 0; i < 200 && seen().checks_failed + seen().checks_ok == 0; i++)
        turn_for(world.control.base, 10);
    EXPECT(seen().checks_failed + seen().checks_ok > 0);
    end();
}

static uint64_t dropped(void) { return access_log_dropped(world.control.log) + reload_log_dropped(world.control.reload); }

/* What a log lost counts while it is the log, while it writes what it has, and when it is gone. */
TEST(lost_lines_stay_counted)
{
    begin();
    commit("log: {to: /dev/full}\n" ROUTES);
    mail_deliver();
    access_log_put(world.worker.log, &(struct access_record){.status = 200});
    for (unsigned i = 0; i < 500 && dropped() == 0; i++)
        turn_for(world.control.base, 10);
    EXPECT_EQ(dropped(), 1);
    commit(NO_LOG ROUTES);
    mail_deliver();
    EXPECT(world.control.log == NULL);
    EXPECT_EQ(dropped(), 1);
    for (unsigned i = 0; i < 30; i++) {
        turn_for(world.control.base, 10);
        EXPECT_EQ(dropped(), 1);
    }
    end();
}
