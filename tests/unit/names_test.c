/* SPDX-License-Identifier: Apache-2.0 */
/* Names of configurations that come and go, with a DNS server of its own: what is looked up, and what is known when. */
#include "names.h"

#include "conf/diag.h"
#include "filter.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "test.h"
#include "dns_server.h"

#define TIMEOUT_MS 100
#define CONF(endpoints) "version: 1\nlisten: 127.0.0.1:80\nupstreams: {a: {endpoints: [" endpoints "]}}\n" \
                        "routes: [{match: /, upstream: a}]\n"

static const struct answer one[] = {{.v4 = {"10.0.0.1"}, .ttl = 60}};
static const struct answer two[] = {{.v4 = {"10.0.0.2", "10.0.0.3"}, .ttl = 60}};
static const struct answer silent[] = {{.silent = true}};
static const struct answer moves[] = {{.v4 = {"10.0.0.8"}, .ttl = 1}, {.v4 = {"10.0.0.9"}, .ttl = 60}};

static struct {
    struct zone zones[4];
    struct server server;
    struct resolver *resolver;
    struct names *names;
    char told[400];              /* "one.test=1 ..." */
} world;

static void came(void *ctx, struct str host, const struct address *v, size_t n)
{
    size_t len = strlen(world.told);
    (void)ctx;
    EXPECT_EQ(v[0].in.sin_port, 0);
    snprintf(world.told + len, sizeof world.told - len, "%s" STR_FMT "=%zu:%u", len ? " " : "", STR_ARG(host), n,
             ntohl(v[0].in.sin_addr.s_addr) & 0xff);
}

static void begin(void)
{
    memset(&world, 0, sizeof world);
    log_set_level(LOG_ERROR);
    world.zones[0] = (struct zone){.name = "one.test", .answers = one, .n = 1};
    world.zones[1] = (struct zone){.name = "two.test", .answers = two, .n = 1};
    world.zones[2] = (struct zone){.name = "silent.test", .answers = silent, .n = 1};
    world.zones[3] = (struct zone){.name = "moves.test", .answers = moves, .n = 2};
    server_init(&world.server, world.zones, 4);
    world.resolver = resolver_new_with_servers(world.server.base, &clock_real, world.server.at, TIMEOUT_MS);
    world.names = names_new(world.resolver, came, NULL);
}

static void end(void)
{
    names_free(&world.names);
    resolver_free(world.resolver);
    server_fini(&world.server);
}

static struct snapshot *conf_of(const char *text)
{
    struct diags diags = {.n = 0};
    struct snapshot *snap = NULL;
    EXPECT_EQ(snapshot_load_text(str_c(text), "t", filters_all, &diags, &snap), 0);
    diags_fini(&diags);
    return snap;
}

static struct snapshot *hold(const char *text)
{
    struct snapshot *snap = conf_of(text);
    names_hold(world.names, snap);
    return snap;
}

static void drop(struct snapshot *snap)
{
    names_drop(world.names, snap);
    snapshot_unref(&snap);
}

static void turns_until(size_t unanswered)
{
    for (unsigned i = 0; i < 200 && names_unanswered(world.names) > unanswered; i++)
        turn_for(world.server.base, 10);
    EXPECT_EQ(names_unanswered(world.names), unanswered);
}

/* "1:1 - 2:2": count and last byte of the first, for each endpoint. */
static void expect_known(const struct snapshot *snap, const char *wanted)
{
    struct name_known *known = names_known(world.names, snap);
    char text[200] = "";
    for (size_t i = 0; i < snap->upstreams[0].n; i++) {
        size_t len = strlen(text);
        if (known[i].n > 0)
            snprintf(text + len, sizeof text - len, "%s%zu:%u", i ? " " : "", known[i].n,
                     ntohl(known[i].v[0].in.sin_addr.s_addr) & 0xff);
        else
            snprintf(text + len, sizeof text - len, "%s-", i ? " " : "");
    }
    EXPECT_CSTR(text, wanted);
    mem_free(known);
}

TEST(one_question_a_name)
{
    begin();
    struct snapshot *s = hold(CONF("\"http://one.test:1\", \"http://one.test:2\", \"http://192.0.2.7\", \"http://two.test\""));
    EXPECT_EQ(names_unanswered(world.names), 2);
    EXPECT_EQ(names_unresolved(world.names), 2);
    EXPECT_CSTR(world.told, "");                             /* nothing from within */
    expect_known(s, "- - - -");
    turns_until(0);
    EXPECT_EQ(names_unresolved(world.names), 0);
    EXPECT_EQ(world.zones[0].asked, 1);
    EXPECT(!strcmp(world.told, "one.test=1:1 two.test=2:2") || !strcmp(world.told, "two.test=2:2 one.test=1:1"));
    expect_known(s, "1:1 1:1 - 2:2");
    drop(s);
    end();
}

/* The next configuration knows at once what the one before knew; what only that one had is looked up no more. */
TEST(a_name_outlives_its_configuration)
{
    begin();
    struct snapshot *old = hold(CONF("\"http://one.test:1\", \"http://two.test\""));
    turns_until(0);
    struct snapshot *new = hold(CONF("\"http://one.test:7\", \"http://silent.test\""));
    EXPECT_EQ(names_unanswered(world.names), 1);
    expect_known(new, "1:1 -");
    drop(old);
    expect_known(new, "1:1 -");
    EXPECT_EQ(world.zones[0].asked, 1);
    turns_until(0);                                          /* silence is an answer too */
    EXPECT_EQ(names_unresolved(world.names), 1);
    struct snapshot *back = hold(CONF("\"http://two.test\""));
    expect_known(back, "-");                                 /* it was given up meanwhile */
    EXPECT_EQ(names_unanswered(world.names), 1);
    turns_until(0);
    expect_known(back, "2:2");
    drop(new);
    EXPECT_EQ(names_unresolved(world.names), 0);
    drop(back);
    end();
}

/* A candidate that is given up takes nothing with it. */
TEST(a_candidate_that_comes_to_nothing)
{
    begin();
    struct snapshot *old = hold(CONF("\"http://one.test:1\""));
    turns_until(0);
    struct snapshot *candidate = hold(CONF("\"http://one.test:1\", \"http://two.test\", \"http://silent.test\""));
    EXPECT_EQ(names_unanswered(world.names), 2);
    EXPECT_EQ(names_unresolved(world.names), 2);
    drop(candidate);
    EXPECT_EQ(names_unanswered(world.names), 0);
    EXPECT_EQ(names_unresolved(world.names), 0);
    expect_known(old, "1:1");
    turn_for(world.server.base, 50);
    EXPECT_CSTR(world.told, "one.test=1:1");
    drop(old);
    end();
}

TEST(a_name_that_moves_is_told_again)
{
    begin();
    struct snapshot *s = hold(CONF("\"http://moves.test:1\""));
    turns_until(0);
    for (unsigned i = 0; i < 300 && world.zones[3].asked < 2; i++)
        turn_for(world.server.base, 10);
    turn_for(world.server.base, 50);
    EXPECT_CSTR(world.told, "moves.test=1:8 moves.test=1:9");
    expect_known(s, "1:9");
    drop(s);
    end();
}

TEST(very_many)
{
    static char text[40000];
    size_t len = 0;
    begin();
    len += (size_t)snprintf(text, sizeof text, "version: 1\nlisten: 127.0.0.1:80\nroutes: [{match: /, upstream: a}]\n"
                                               "upstreams: {a: {endpoints: [");
    for (unsigned i = 0; i < 500; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s\"http://h%u.test\"", i ? ", " : "", i);
    snprintf(text + len, sizeof text - len, "]}}\n");
    struct snapshot *s = hold(text);
    EXPECT_EQ(names_unanswered(world.names), 500);
    names_hold(world.names, s);
    EXPECT_EQ(names_unanswered(world.names), 500);
    names_drop(world.names, s);
    EXPECT_EQ(names_unanswered(world.names), 500);
    drop(s);
    EXPECT_EQ(names_unanswered(world.names), 0);
    end();
}
