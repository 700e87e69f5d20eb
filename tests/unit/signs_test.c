/* SPDX-License-Identifier: Apache-2.0 */
#include "signs.h"

#include <errno.h>
#include <sys/resource.h>
#include "folder.h"

static struct signs signs;

/* True: a directory that was not watched before is among them. */
static bool watch_file(const char *path)
{
    struct watch_places p;
    watch_places_init(&p);
    watch_places_file(&p, in_folder(path));
    watch_places_sort(&p);
    return signs_watch(&signs, &p);
}

static bool watch_pattern(const char *path)
{
    struct watch_places p;
    watch_places_init(&p);
    watch_places_pattern(&p, in_folder(path));
    watch_places_sort(&p);
    return signs_watch(&signs, &p);
}

static void start(void)
{
    folder_make();
    folder_add("etc");
    file_write("etc/weir.yaml", "1");
    signs_open(&signs);
    EXPECT(signs.fd >= 0);
    EXPECT(watch_file("etc/weir.yaml"));
    EXPECT(!signs_read(&signs));
}

static void end(void)
{
    signs_close(&signs);
    folder_drop();
}

TEST(what_is_a_sign)
{
    start();
    file_write("etc/weir.yaml", "2");
    EXPECT(signs_read(&signs));
    EXPECT(!signs_read(&signs));
    EXPECT_EQ(chmod(in_folder("etc/weir.yaml"), 0600), 0);
    EXPECT(signs_read(&signs));
    move("etc/weir.yaml", "etc/weir.yaml~");
    EXPECT(signs_read(&signs));
    move("etc/weir.yaml~", "etc/weir.yaml");
    EXPECT(signs_read(&signs));
    gone("etc/weir.yaml");
    EXPECT(signs_read(&signs));
    end();
}

TEST(what_is_none)
{
    start();
    file_write("etc/access.log", "x");
    file_write("etc/weir.yaml~", "x");
    file_write("etc/weir.yam", "x");
    move("etc/weir.yam", "etc/other");
    gone("etc/other");
    folder_add("other");
    EXPECT(!signs_read(&signs));
    int fd = open(in_folder("etc/weir.yaml"), O_RDONLY);
    char c;
    EXPECT_EQ(read(fd, &c, 1), 1);
    close(fd);
    EXPECT(!signs_read(&signs));

    /* Writing is none, closing is: nobody wants to hear of every line of a log. */
    fd = open(in_folder("etc/weir.yaml"), O_WRONLY | O_APPEND);
    EXPECT_EQ(write(fd, "x", 1), 1);
    EXPECT(!signs_read(&signs));
    close(fd);
    EXPECT(signs_read(&signs));
    end();
}

TEST(a_directory_that_goes_is_a_sign)
{
    start();
    move("etc", "old");
    EXPECT(signs_read(&signs));
    EXPECT(watch_file("etc/weir.yaml"));                   /* where it is to come */
    EXPECT(!signs_read(&signs));
    file_write("old/weir.yaml", "2");                      /* no longer ours */
    EXPECT(!signs_read(&signs));
    folder_add("etc");
    EXPECT(signs_read(&signs));
    EXPECT(watch_file("etc/weir.yaml"));
    file_write("etc/weir.yaml", "3");
    EXPECT(signs_read(&signs));
    gone("etc/weir.yaml");
    gone("etc");
    EXPECT(signs_read(&signs));
    end();
}

/* How many directories the kernel watches for us. */
static int watches(void)
{
    char line[300];
    int n = 0;
    snprintf(line, sizeof line, "/proc/self/fdinfo/%d", signs.fd);
    FILE *f = fopen(line, "r");
    while (f && fgets(line, sizeof line, f))
        n += strncmp(line, "inotify ", 8) == 0;
    if (f)
        fclose(f);
    return n;
}

TEST(no_watch_is_left_behind)
{
    start();
    EXPECT_EQ(watches(), 1);
    EXPECT(watch_file("a/weir.yaml"));
    EXPECT_EQ(watches(), 1);
    folder_add("a");
    EXPECT(watch_file("a/weir.yaml"));
    EXPECT_EQ(watches(), 1);
    link_to("a", "link");
    EXPECT(watch_file("link/weir.yaml"));
    EXPECT_EQ(watches(), 2);
    EXPECT(!watch_file("link/weir.yaml"));
    EXPECT_EQ(watches(), 2);
    end();
}

TEST(watching_again_is_no_sign)
{
    start();
    for (int i = 0; i < 3; i++) {
        EXPECT(!watch_file("etc/weir.yaml"));
        EXPECT(!signs_read(&signs));
    }
    EXPECT(watch_file("weir.yaml"));                       /* elsewhere, and no more there */
    EXPECT(!signs_read(&signs));
    file_write("etc/weir.yaml", "2");
    EXPECT(!signs_read(&signs));
    file_write("weir.yaml", "2");
    EXPECT(signs_read(&signs));
    end();
}

TEST(two_ways_to_one_directory)
{
    struct watch_places p;
    start();
    link_to("etc", "link");
    watch_places_init(&p);
    watch_places_file(&p, in_folder("etc/weir.yaml"));
    watch_places_file(&p, in_folder("link/more.yaml"));
    watch_places_sort(&p);
    EXPECT(signs_watch(&signs, &p));
    file_write("etc/more.yaml", "1");
    EXPECT(signs_read(&signs));
    file_write("etc/weir.yaml", "1");
    EXPECT(signs_read(&signs));
    gone("link");
    EXPECT(signs_read(&signs));
    end();
}

TEST(patterns_are_matched)
{
    start();
    EXPECT(!watch_pattern("etc/*.yaml"));                  /* the directory was watched already */
    file_write("etc/a.yaml", "1");
    EXPECT(signs_read(&signs));
    file_write("etc/a.txt", "1");
    file_write("etc/.a.yaml", "1");
    EXPECT(!signs_read(&signs));
    end();
}

TEST(more_than_the_kernel_keeps_is_a_sign)
{
    FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
    int max = 16384;
    if (f && fscanf(f, "%d", &max) != 1)
        max = 16384;
    if (f)
        fclose(f);
    start();
    file_write("etc/a", "");
    file_write("etc/b", "");
    for (int i = 0; i <= max; i++)                         /* none of them is one by itself */
        EXPECT_EQ(chmod(in_folder(i % 2 ? "etc/a" : "etc/b"), 0600), 0);
    bool sign = false;
    for (int i = 0; i < 100 && !sign; i++)
        sign = signs_read(&signs);
    EXPECT(sign);
    end();
}

TEST(without_descriptors)
{
    struct rlimit before, none = {0, 0};
    folder_make();
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    none.rlim_max = before.rlim_max;
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    signs_open(&signs);
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_EQ(signs.fd, -1);
    EXPECT_EQ(signs.error, EMFILE);
    EXPECT(!watch_file("weir.yaml"));
    EXPECT_EQ(signs.error, EMFILE);
    EXPECT(!signs_read(&signs));
    end();
}
