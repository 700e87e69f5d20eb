/* SPDX-License-Identifier: Apache-2.0 */
#include "fingerprint.h"

#include "conf/digest.h"
#include "conf/source.h"
#include "folder.h"

static struct arena arena;
static struct sources sources;
static struct fingerprint before, after;

static void start(void)
{
    folder_make();
    folder_add("d");
    arena_init(&arena, NULL);
    sources_init(&sources, &arena);
}

static void add(const char *path) { EXPECT(sources_add(&sources, in_folder(path), SOURCE_MAIN)); }

static void end(void)
{
    fingerprint_fini(&before);
    fingerprint_fini(&after);
    arena_fini(&arena);
    folder_drop();
}

/* What became different since `before`, with the folder's name left out. */
static const char *difference(void)
{
    static char out[300];
    fingerprint_take(&after, &sources);
    fingerprint_say(&before, &after, out, sizeof out);
    EXPECT_EQ(fingerprint_same(&before, &after), strcmp(out, "nothing changed") == 0);
    char *at = strstr(out, folder);
    if (at)
        memmove(at, at + strlen(folder) + 1, strlen(at + strlen(folder) + 1) + 1);
    fingerprint_move(&before, &after);
    return out;
}

TEST(what_changed)
{
    start();
    add("a.yaml");
    add("d/b.yaml");
    file_write("a.yaml", "1");
    file_write("d/b.yaml", "1");
    fingerprint_take(&before, &sources);
    EXPECT_EQ(before.n, 2);
    EXPECT_CSTR(difference(), "nothing changed");
    file_write("a.yaml", "1");
    EXPECT_CSTR(difference(), "nothing changed");
    file_write("a.yaml", "2");
    EXPECT_CSTR(difference(), "a.yaml changed");
    gone("d/b.yaml");
    EXPECT_CSTR(difference(), "d/b.yaml is gone");
    file_write("d/b.yaml", "1");
    EXPECT_CSTR(difference(), "d/b.yaml is new");
    file_write("a.yaml", "3");
    file_write("d/b.yaml", "3");
    EXPECT_CSTR(difference(), "2 files changed, a.yaml among them");
    end();
}

TEST(what_a_pattern_finds)
{
    start();
    add("a.yaml");
    EXPECT(sources_add_glob(&sources, in_folder("d/*.yaml")));
    file_write("a.yaml", "1");
    fingerprint_take(&before, &sources);
    file_write("d/new.yaml", "1");
    EXPECT_CSTR(difference(), "d/new.yaml is new");
    file_write("d/new.yaml", "2");                         /* though nobody said that it was read */
    EXPECT_CSTR(difference(), "d/new.yaml changed");
    file_write("d/new.yaml~", "1");
    file_write("d/.new.yaml.swp", "1");
    file_write("d/other.txt", "1");
    EXPECT_CSTR(difference(), "nothing changed");
    move("d/new.yaml", "d/newer.yaml");
    EXPECT_CSTR(difference(), "2 files changed, d/new.yaml among them");
    gone("d/newer.yaml");
    EXPECT_CSTR(difference(), "d/newer.yaml is gone");
    end();
}

TEST(what_was_loaded_stands)
{
    start();
    add("a.yaml");
    add("none.yaml");
    file_write("a.yaml", "new");
    sources.v[0].digest = digest_text(STR("old"));
    fingerprint_loaded(&before, &sources);
    EXPECT_CSTR(difference(), "a.yaml changed");
    sources.v[0].digest = DIGEST_UNKNOWN;
    fingerprint_loaded(&before, &sources);
    EXPECT_CSTR(difference(), "nothing changed");

    /* A file that was read is the same file when a pattern finds it. */
    sources.v[0].digest = digest_text(STR("new"));
    EXPECT(sources_add_glob(&sources, in_folder("*.yaml")));
    fingerprint_loaded(&before, &sources);
    EXPECT_EQ(before.n, 2);
    EXPECT_EQ(fingerprint_of(&before, in_folder("a.yaml")), digest_text(STR("new")));
    EXPECT_EQ(fingerprint_of(&before, in_folder("none.yaml")), digest_absent());
    EXPECT_EQ(fingerprint_of(&before, in_folder("b.yaml")), DIGEST_UNKNOWN);
    EXPECT_EQ(fingerprint_of(&before, in_folder("z.yaml")), DIGEST_UNKNOWN);
    EXPECT_CSTR(difference(), "nothing changed");
    end();
}

TEST(a_directory_and_a_fifo)
{
    start();
    add("d");
    EXPECT_EQ(mkfifo(in_folder("fifo"), 0644), 0);
    add("fifo");
    fingerprint_take(&before, &sources);
    EXPECT_CSTR(difference(), "nothing changed");
    gone("fifo");
    EXPECT_CSTR(difference(), "fifo is gone");
    file_write("fifo", "a file now");
    EXPECT_CSTR(difference(), "fifo is new");
    end();
}

TEST(bytes_are_bounded)
{
    start();
    const size_t half = FINGERPRINT_BYTES / 2 + 1;
    const char *names[] = {"1.yaml", "2.yaml", "3.yaml"};
    for (int i = 0; i < 3; i++) {
        add(names[i]);
        file_write(names[i], "x");
        EXPECT_EQ(truncate(in_folder(names[i]), (off_t)half), 0);
    }
    fingerprint_take(&before, &sources);
    EXPECT(before.v[0].digest != before.v[1].digest);      /* the same bytes, and fewer of them read */
    EXPECT_EQ(before.v[2].digest, digest_text(STR("x")));
    end();
}
