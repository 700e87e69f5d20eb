/* SPDX-License-Identifier: Apache-2.0 */
/* Real files and real inotify, which tells at once; time is the test's. */
#include "conf_watch.h"

#include <event2/event.h>
#include <sys/resource.h>
#include "conf/digest.h"
#include "conf/source.h"
#include "folder.h"

static struct {
    struct clock clock;
    struct event_base *base;
    struct conf_watch *watch;
    struct arena arena;
    struct sources sources;
    int told;
    char cause[512];
    bool reads;                      /* the callback does what a reload does */
} world;

/* Reads them all, as a loader would, and says so. */
static void load(void)
{
    conf_watch_reading(world.watch);
    for (size_t i = 0; i < world.sources.n; i++) {
        size_t left = 1000000;
        world.sources.v[i].digest = digest_file(world.sources.v[i].path, &left);
    }
    conf_watch_loaded(world.watch, &world.sources);
}

static void on_change(void *ctx, const char *cause)
{
    EXPECT(ctx == &world);
    world.told++;
    size_t len = strlen(folder);
    const char *at = strstr(cause, folder);
    snprintf(world.cause, sizeof world.cause, "%.*s%s", at ? (int)(at - cause) : 500, cause, at ? at + len + 1 : "");
    if (world.reads)
        load();
}

static void start_with(const char *first, const char *second, uint64_t poll)
{
    memset(&world, 0, sizeof world);
    clock_manual(&world.clock, 1000 * NSEC_PER_SEC, 0);
    world.base = event_base_new();
    world.watch = conf_watch_new(world.base, &world.clock, on_change, &world);
    world.reads = true;
    arena_init(&world.arena, NULL);
    sources_init(&world.sources, &world.arena);
    EXPECT(sources_add(&world.sources, in_folder(first), SOURCE_MAIN));
    if (second)
        EXPECT(sources_add(&world.sources, in_folder(second), SOURCE_SECRET));
    conf_watch_set(world.watch, true, poll);
    load();
}

static void end(void)
{
    conf_watch_free(&world.watch);
    conf_watch_free(&world.watch);
    event_base_free(world.base);
    arena_fini(&world.arena);
    folder_drop();
}

/* Lets time pass in small steps; returns how often a change was told of meanwhile. */
static int told_in(unsigned ms)
{
    int before = world.told;
    for (unsigned i = 0; i < ms; i += 20) {
        clock_advance(&world.clock, 20 * NSEC_PER_MSEC);
        conf_watch_run(world.watch);
    }
    return world.told - before;
}

static void start(const char *text)
{
    folder_make();
    file_write("weir.yaml", text);
    start_with("weir.yaml", NULL, 0);
    EXPECT_EQ(told_in(1000), 0);
}

TEST(a_saved_file)
{
    start("1");
    file_write("weir.yaml", "2");
    EXPECT_EQ(told_in(180), 0);
    EXPECT_EQ(told_in(60), 1);
    EXPECT_CSTR(world.cause, "weir.yaml changed");
    EXPECT_EQ(told_in(10000), 0);
    file_write("weir.yaml", "3");
    EXPECT_EQ(told_in(300), 1);
    end();
}

TEST(saved_as_editors_do)
{
    start("1");
    /* vim: the old one becomes the backup, a new one is written, the backup goes. */
    move("weir.yaml", "weir.yaml~");
    EXPECT_EQ(told_in(100), 0);
    file_write("weir.yaml", "2");
    gone("weir.yaml~");
    EXPECT_EQ(told_in(300), 1);
    /* sed -i, and most others: a new one takes the name. */
    file_write("sedXYZ", "3");
    move("sedXYZ", "weir.yaml");
    EXPECT_EQ(told_in(300), 1);
    /* And once more, for the watch must not hang on the first file. */
    file_write("sedXYZ", "4");
    move("sedXYZ", "weir.yaml");
    EXPECT_EQ(told_in(300), 1);
    EXPECT_CSTR(world.cause, "weir.yaml changed");
    end();
}

TEST(written_in_pieces)
{
    start("1");
    int fd = open(in_folder("weir.yaml"), O_WRONLY | O_TRUNC);
    for (int i = 0; i < 10; i++) {
        EXPECT_EQ(write(fd, "piece\n", 6), 6);
        EXPECT_EQ(told_in(100), 0);
    }
    close(fd);
    EXPECT_EQ(told_in(300), 1);
    /* Opened for each piece: told once it is still. */
    for (int i = 0; i < 10; i++) {
        fd = open(in_folder("weir.yaml"), O_WRONLY | O_APPEND);
        EXPECT_EQ(write(fd, "more\n", 5), 5);
        close(fd);
        EXPECT_EQ(told_in(100), 0);
    }
    EXPECT_EQ(told_in(300), 1);
    EXPECT_EQ(told_in(5000), 0);
    end();
}

TEST(never_still)
{
    start("1");
    int told = 0;
    for (int i = 0; i < 100; i++) {
        char text[20];
        snprintf(text, sizeof text, "%d", i);
        file_write("weir.yaml", text);
        told += told_in(100);
    }
    EXPECT(told == 4 || told == 5);                        /* in 10 s */
    end();
}

TEST(a_config_map_swaps_its_link)
{
    folder_make();
    folder_add("..1");
    file_write("..1/weir.yaml", "1");
    link_to("..1", "..data");
    link_to("..data/weir.yaml", "weir.yaml");
    start_with("weir.yaml", NULL, 0);
    EXPECT_EQ(told_in(1000), 0);
    for (int i = 2; i < 5; i++) {
        char dir[20], file[40], text[20], old[20];
        snprintf(dir, sizeof dir, "..%d", i);
        snprintf(old, sizeof old, "..%d", i - 1);
        snprintf(file, sizeof file, "..%d/weir.yaml", i);
        snprintf(text, sizeof text, "%d", i);
        folder_add(dir);
        file_write(file, text);
        link_to(dir, "..data_tmp");
        EXPECT_EQ(told_in(1000), 0);
        move("..data_tmp", "..data");
        EXPECT_EQ(told_in(300), 1);
        snprintf(file, sizeof file, "..%d/weir.yaml", i - 1);
        gone(file);
        gone(old);
        EXPECT_EQ(told_in(1000), 0);
    }
    EXPECT_CSTR(world.cause, "weir.yaml changed");
    end();
}

TEST(a_swap_to_the_same_content_is_none)
{
    folder_make();
    folder_add("..1");
    folder_add("..2");
    file_write("..1/weir.yaml", "1");
    file_write("..2/weir.yaml", "1");
    link_to("..1", "..data");
    link_to("..data/weir.yaml", "weir.yaml");
    start_with("weir.yaml", NULL, 0);
    link_to("..2", "..data_tmp");
    move("..data_tmp", "..data");
    EXPECT_EQ(told_in(1000), 0);
    file_write("..2/weir.yaml", "2");                      /* it is the new folder that is watched now */
    EXPECT_EQ(told_in(300), 1);
    end();
}

TEST(touched_and_not_changed)
{
    start("1");
    EXPECT_EQ(utimensat(AT_FDCWD, in_folder("weir.yaml"), NULL, 0), 0);
    EXPECT_EQ(told_in(1000), 0);
    file_write("weir.yaml", "1");
    EXPECT_EQ(told_in(1000), 0);
    file_write("weir.yaml", "2");
    EXPECT_EQ(told_in(100), 0);
    file_write("weir.yaml", "1");                          /* thought better of it */
    EXPECT_EQ(told_in(5000), 0);
    end();
}

TEST(gone_for_a_moment)
{
    start("1");
    gone("weir.yaml");
    EXPECT_EQ(told_in(100), 0);
    file_write("weir.yaml", "1");
    EXPECT_EQ(told_in(1000), 0);
    gone("weir.yaml");
    EXPECT_EQ(told_in(300), 1);                            /* for longer */
    EXPECT_CSTR(world.cause, "weir.yaml is gone");
    file_write("weir.yaml", "1");
    EXPECT_EQ(told_in(300), 1);
    EXPECT_CSTR(world.cause, "weir.yaml is new");
    end();
}

TEST(its_folder_removed_and_made_anew)
{
    folder_make();
    folder_add("a");
    folder_add("a/etc");
    file_write("a/etc/weir.yaml", "1");
    start_with("a/etc/weir.yaml", NULL, 0);
    EXPECT_EQ(told_in(1000), 0);
    gone("a/etc/weir.yaml");
    gone("a/etc");
    gone("a");
    EXPECT_EQ(told_in(300), 1);
    folder_add("a");
    EXPECT_EQ(told_in(300), 0);
    folder_add("a/etc");
    EXPECT_EQ(told_in(300), 0);
    file_write("a/etc/weir.yaml", "1");
    EXPECT_EQ(told_in(300), 1);
    /* Another folder in its place. */
    folder_add("a/new");
    file_write("a/new/weir.yaml", "2");
    move("a/etc", "a/old");
    move("a/new", "a/etc");
    EXPECT_EQ(told_in(300), 1);
    EXPECT_CSTR(world.cause, "a/etc/weir.yaml changed");
    EXPECT_EQ(told_in(1000), 0);
    /* All at once, further up. */
    move("a", "b");
    folder_add("a");
    folder_add("a/etc");
    file_write("a/etc/weir.yaml", "3");
    EXPECT_EQ(told_in(1000), 0);                           /* nothing of it happened in a folder that is watched */
    conf_watch_set(world.watch, true, 5 * NSEC_PER_SEC);
    EXPECT_EQ(told_in(5400), 1);
    end();
}

TEST(a_secret)
{
    folder_make();
    folder_add("secrets");
    file_write("weir.yaml", "1");
    file_write("secrets/key", "1");
    start_with("weir.yaml", "secrets/key", 0);
    EXPECT_EQ(told_in(1000), 0);
    file_write("secrets/key.new", "2");
    move("secrets/key.new", "secrets/key");
    EXPECT_EQ(told_in(300), 1);
    EXPECT_CSTR(world.cause, "secrets/key changed");
    end();
}

TEST(a_new_file_for_a_pattern)
{
    folder_make();
    folder_add("conf.d");
    file_write("weir.yaml", "1");
    start_with("weir.yaml", NULL, 0);
    EXPECT(sources_add_glob(&world.sources, in_folder("conf.d/*.yaml")));
    load();
    EXPECT_EQ(told_in(1000), 0);
    file_write("conf.d/.a.yaml.swp", "1");
    file_write("conf.d/a.txt", "1");
    EXPECT_EQ(told_in(1000), 0);
    file_write("conf.d/a.yaml", "1");
    EXPECT_EQ(told_in(300), 1);
    EXPECT_CSTR(world.cause, "conf.d/a.yaml is new");
    EXPECT(sources_add(&world.sources, in_folder("conf.d/a.yaml"), SOURCE_INCLUDE));
    load();
    EXPECT_EQ(told_in(1000), 0);
    gone("conf.d/a.yaml");
    EXPECT_EQ(told_in(300), 1);
    EXPECT_CSTR(world.cause, "conf.d/a.yaml is gone");
    end();
}

TEST(what_failed_is_not_tried_again_until_it_changes)
{
    start("1");
    world.reads = false;                                   /* a reload that fails and does not know what it read */
    file_write("weir.yaml", "half a f");
    EXPECT_EQ(told_in(300), 1);
    conf_watch_reading(world.watch);
    conf_watch_failed(world.watch, NULL);
    EXPECT_EQ(told_in(20000), 0);
    file_write("weir.yaml", "half a file");
    EXPECT_EQ(told_in(300), 1);
    conf_watch_reading(world.watch);
    file_write("weir.yaml", "while it was read");
    conf_watch_failed(world.watch, NULL);
    EXPECT_EQ(told_in(600), 1);
    file_write("weir.yaml", "1");                          /* back to what runs: that is a change of what was tried */
    EXPECT_EQ(told_in(300), 1);
    end();
}

TEST(changed_while_it_was_loaded)
{
    folder_make();
    file_write("weir.yaml", "1");
    start_with("weir.yaml", NULL, 0);
    EXPECT_EQ(told_in(1000), 0);
    world.sources.v[0].digest = digest_text(STR("0"));     /* what the loader saw was gone when it was done */
    conf_watch_loaded(world.watch, &world.sources);
    EXPECT_EQ(told_in(600), 1);
    EXPECT_EQ(told_in(5000), 0);
    end();
}

/* The list of what a reload failed with is made behind it, when the files may hold something else already. */
TEST(mended_while_it_failed)
{
    start("1");
    world.reads = false;
    file_write("weir.yaml", "broken");
    conf_watch_reading(world.watch);
    file_write("weir.yaml", "mended");
    file_write("new.yaml", "1");
    EXPECT(sources_add(&world.sources, in_folder("new.yaml"), SOURCE_INCLUDE));
    world.sources.v[0].digest = digest_text(STR("mended"));
    world.sources.v[1].digest = digest_text(STR("1"));
    conf_watch_failed(world.watch, &world.sources);
    EXPECT_EQ(told_in(600), 1);
    EXPECT_CSTR(world.cause, "weir.yaml changed");
    file_write("new.yaml", "2");
    EXPECT_EQ(told_in(300), 1);
    EXPECT_CSTR(world.cause, "new.yaml changed");
    end();
}

TEST(a_reload_for_another_reason_is_no_change)
{
    start("1");
    file_write("weir.yaml", "2");
    EXPECT_EQ(told_in(100), 0);
    load();                                                /* a signal was quicker */
    EXPECT_EQ(told_in(5000), 0);
    file_write("weir.yaml", "3");
    EXPECT_EQ(told_in(100), 0);
    conf_watch_reading(world.watch);                       /* and it failed */
    conf_watch_failed(world.watch, NULL);
    EXPECT_EQ(told_in(5000), 0);
    end();
}

TEST(found_by_comparing_alone)
{
    struct rlimit before, none = {0, 0};
    folder_make();
    file_write("weir.yaml", "1");
    memset(&world, 0, sizeof world);
    /* No descriptor for inotify: as good as a mount that tells nothing. */
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    none.rlim_max = before.rlim_max;
    clock_manual(&world.clock, 1000 * NSEC_PER_SEC, 0);
    world.base = event_base_new();
    world.watch = conf_watch_new(world.base, &world.clock, on_change, &world);
    arena_init(&world.arena, NULL);
    sources_init(&world.sources, &world.arena);
    EXPECT(sources_add(&world.sources, in_folder("weir.yaml"), SOURCE_MAIN));
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    conf_watch_set(world.watch, true, 5 * NSEC_PER_SEC);
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    load();
    EXPECT_EQ(told_in(1000), 0);

    file_write("weir.yaml", "2");
    EXPECT_EQ(told_in(3900), 0);
    EXPECT_EQ(told_in(1600), 1);
    EXPECT_EQ(told_in(20000), 0);
    /* Looked at again after a while; told of when it is still, or after 2 s. */
    for (int i = 0; i < 380 && world.told == 1; i++) {
        char text[20];
        snprintf(text, sizeof text, "%d", i);
        file_write("weir.yaml", text);
        told_in(20);
    }
    EXPECT_EQ(world.told, 2);
    end();
}

TEST(half_written_when_compared)
{
    folder_make();
    file_write("weir.yaml", "1");
    start_with("weir.yaml", NULL, 5 * NSEC_PER_SEC);
    EXPECT_EQ(told_in(1000), 0);
    int fd = open(in_folder("weir.yaml"), O_WRONLY | O_TRUNC);
    int told = 0;
    for (int i = 0; i < 45; i++) {                         /* through the comparison at 5 s */
        EXPECT_EQ(write(fd, "piece\n", 6), 6);
        told += told_in(100);
    }
    EXPECT_EQ(told, 0);
    close(fd);
    EXPECT_EQ(told_in(300), 1);
    end();
}

TEST(turned_off_and_on)
{
    start("1");
    conf_watch_set(world.watch, false, 5 * NSEC_PER_SEC);
    file_write("weir.yaml", "2");
    EXPECT_EQ(told_in(20000), 0);
    conf_watch_set(world.watch, true, 5 * NSEC_PER_SEC);
    EXPECT_EQ(told_in(600), 1);
    conf_watch_set(world.watch, true, 0);
    EXPECT_EQ(told_in(20000), 0);
    end();
}

TEST(a_fifo_in_its_place_is_not_waited_for)
{
    start("1");
    gone("weir.yaml");
    EXPECT_EQ(mkfifo(in_folder("weir.yaml"), 0644), 0);
    EXPECT_EQ(told_in(300), 1);
    gone("weir.yaml");
    file_write("weir.yaml", "1");
    EXPECT_EQ(told_in(300), 1);
    end();
}

/* The one test in real time: that the event base does it all by itself. */
TEST(the_loop_does_it)
{
    folder_make();
    file_write("weir.yaml", "1");
    start_with("weir.yaml", NULL, 0);
    conf_watch_free(&world.watch);
    world.watch = conf_watch_new(world.base, &clock_real, on_change, &world);
    conf_watch_set(world.watch, true, 0);
    load();
    struct timeval settled = {.tv_usec = 300000};          /* after which inotify alone is left */
    event_base_loopexit(world.base, &settled);
    event_base_dispatch(world.base);
    EXPECT_EQ(world.told, 0);
    file_write("weir.yaml", "2");
    while (world.told == 0 && EXPECT_EQ(event_base_loop(world.base, EVLOOP_ONCE), 0)) {
    }
    EXPECT_CSTR(world.cause, "weir.yaml changed");
    end();
}
