/* SPDX-License-Identifier: Apache-2.0 */
#include "watch_places.h"

#include "folder.h"

static struct watch_places places;
static char text[8192];

/* "DIR NAME" a line, those in the folder only and counted from it; a pattern is NAME in slashes. */
static const char *say(void)
{
    size_t at = 0, len = strlen(folder);
    watch_places_sort(&places);
    text[0] = '\0';
    for (size_t i = 0; i < places.n; i++) {
        const struct watch_place *p = &places.v[i];
        if (strncmp(p->dir, folder, len) != 0)
            continue;
        const char *dir = p->dir[len] ? p->dir + len + 1 : ".";
        at += (size_t)snprintf(text + at, sizeof text - at, p->pattern ? "%s /" STR_FMT "/\n" : "%s " STR_FMT "\n", dir,
                               STR_ARG(p->name));
    }
    watch_places_fini(&places);
    return text;
}

static const char *of_file(const char *path)
{
    watch_places_init(&places);
    watch_places_file(&places, in_folder(path));
    return say();
}

static const char *of_pattern(const char *path)
{
    watch_places_init(&places);
    watch_places_pattern(&places, in_folder(path));
    return say();
}

TEST(a_plain_file)
{
    folder_make();
    folder_add("etc");
    file_write("etc/weir.yaml", "");
    EXPECT_CSTR(of_file("etc/weir.yaml"), "etc weir.yaml\n");
    EXPECT_CSTR(of_file("etc//weir.yaml"), "etc weir.yaml\n");
    EXPECT_CSTR(of_file("etc/none.yaml"), "etc none.yaml\n");
    folder_drop();
}

TEST(a_config_map)
{
    folder_make();
    folder_add("etc");
    folder_add("etc/..2026_1");
    file_write("etc/..2026_1/weir.yaml", "");
    link_to("..2026_1", "etc/..data");
    link_to("..data/weir.yaml", "etc/weir.yaml");
    EXPECT_CSTR(of_file("etc/weir.yaml"), "etc ..2026_1\netc ..data\netc weir.yaml\netc/..data weir.yaml\n");
    folder_drop();
}

TEST(links_on_the_way)
{
    folder_make();
    folder_add("releases");
    folder_add("releases/5");
    folder_add("releases/5/etc");
    file_write("releases/5/etc/weir.yaml", "");
    link_to("releases/5", "current");
    EXPECT_CSTR(of_file("current/etc/weir.yaml"), ". current\ncurrent/etc weir.yaml\nreleases 5\n");
    link_to(in_folder("current/etc"), "conf");             /* an absolute one */
    EXPECT_CSTR(of_file("conf/weir.yaml"), ". conf\n. current\nconf weir.yaml\ncurrent etc\nreleases 5\n");
    folder_drop();
}

TEST(what_is_missing_is_waited_for)
{
    folder_make();
    EXPECT_CSTR(of_file("a/b/weir.yaml"), ". a\na b\na/b weir.yaml\n");
    folder_add("a");
    EXPECT_CSTR(of_file("a/b/weir.yaml"), "a b\na/b weir.yaml\n");
    link_to("nowhere/there", "dangling");
    EXPECT_CSTR(of_file("dangling"), ". dangling\n. nowhere\nnowhere there\n");
    folder_drop();
}

TEST(loops_end)
{
    folder_make();
    link_to("b", "a");
    link_to("a", "b");
    link_to("c/x", "c");
    EXPECT_CSTR(of_file("a"), ". a\n. b\n");
    EXPECT_CSTR(of_file("a/file"), ". a\n. b\na file\n");
    EXPECT_CSTR(of_file("c"), ". c\nc x\n");
    folder_drop();
}

TEST(a_relative_path)
{
    char cwd[512];
    if (!getcwd(cwd, sizeof cwd))
        abort();
    folder_make();
    folder_add("d");
    EXPECT_EQ(chdir(folder), 0);
    watch_places_init(&places);
    watch_places_file(&places, "weir.yaml");
    watch_places_file(&places, "d/weir.yaml");
    watch_places_file(&places, "./d/weir.yaml");
    watch_places_file(&places, "/");
    watch_places_file(&places, "");
    watch_places_sort(&places);
    EXPECT_EQ(places.n, 3);
    EXPECT_CSTR(places.v[0].dir, ".");
    EXPECT_STR(places.v[0].name, "weir.yaml");
    EXPECT_CSTR(places.v[1].dir, "./d");
    EXPECT_CSTR(places.v[2].dir, "d");
    EXPECT_STR(places.v[2].name, "weir.yaml");
    watch_places_fini(&places);
    EXPECT_EQ(chdir(cwd), 0);
    folder_drop();
}

TEST(patterns)
{
    folder_make();
    folder_add("conf.d");
    folder_add("conf.d/a");
    folder_add("conf.d/b");
    folder_add("conf.d/.hidden");
    EXPECT_CSTR(of_pattern("conf.d/*.yaml"), "conf.d /*.yaml/\n");
    EXPECT_CSTR(of_pattern("none.d/*.yaml"), ". none.d\nnone.d /*.yaml/\n");
    EXPECT_CSTR(of_pattern("conf.d/*/weir.yaml"), "conf.d /*/\nconf.d/a weir.yaml\nconf.d/b weir.yaml\n");
    EXPECT_CSTR(of_pattern("conf.d/?/x/*.yaml"),
                "conf.d /?/\nconf.d/a x\nconf.d/a/x /*.yaml/\nconf.d/b x\nconf.d/b/x /*.yaml/\n");
    link_to("conf.d", "link.d");
    EXPECT_CSTR(of_pattern("link.d/*.yaml"), ". conf.d\n. link.d\nlink.d /*.yaml/\n");
    EXPECT_CSTR(of_pattern("conf.d/weir.yaml"), "conf.d weir.yaml\n");
    folder_drop();
}

TEST(thousands_of_files_share_their_way)
{
    char path[256];
    folder_make();
    folder_add("d");
    watch_places_init(&places);
    for (int i = 0; i < 3000; i++) {
        snprintf(path, sizeof path, "%s/d/%d.yaml", folder, i);
        watch_places_file(&places, path);
        watch_places_file(&places, path);
    }
    watch_places_sort(&places);
    EXPECT_EQ(places.n, 3000);
    watch_places_fini(&places);
    folder_drop();
}

TEST(there_is_an_end_to_it)
{
    char path[64];
    watch_places_init(&places);
    for (int i = 0; i < 2 * WATCH_PLACES_MAX; i++) {
        snprintf(path, sizeof path, "/none/%d", i);
        watch_places_file(&places, path);
    }
    EXPECT_EQ(places.n, WATCH_PLACES_MAX);
    watch_places_fini(&places);

    static char deep[4000];                                /* as deep as a path may be: it is walked, not recursed into */
    for (size_t i = 0; i + 3 < sizeof deep; i += 2)
        memcpy(deep + i, "/a", 3);
    watch_places_init(&places);
    watch_places_file(&places, deep);
    watch_places_sort(&places);
    EXPECT(places.n > 1000);
    watch_places_fini(&places);
}
