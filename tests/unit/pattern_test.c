/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include "conf/pattern.h"

static char folder[] = "/tmp/weir_pattern_test_XXXXXX";

static void touch(const char *name)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    EXPECT(fd >= 0);
    close(fd);
}

static void folder_make(const char *name)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    EXPECT_EQ(mkdir(path, 0700), 0);
}

static void begin(void)
{
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    EXPECT(mkdtemp(folder) != NULL);
}

static void end(void)
{
    char cmd[200];
    snprintf(cmd, sizeof(cmd), "rm -rf %s", folder);
    EXPECT_EQ(system(cmd), 0);
}

/* What a pattern below the folder finds, without the folder, separated by blanks. */
static void expect(const char *pattern, size_t max, enum pattern_result result, const char *wanted)
{
    struct pattern_names names;
    struct arena a;
    char full[300], got[1000] = "";

    arena_init(&a, NULL);
    test_row("%s", pattern);
    snprintf(full, sizeof(full), "%s/%s", folder, pattern);
    size_t left = PATTERN_LOOKED_AT;
    EXPECT_EQ(pattern_expand(&a, full, max, &left, &names), result);
    for (size_t i = 0; result == PATTERN_FINE && i < names.n; i++)
        snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s", i ? " " : "", names.v[i] + strlen(folder) + 1);
    EXPECT_CSTR(got, wanted);
    arena_fini(&a);
}

TEST(names_sorted)
{
    static const char *const names[] = {"b.yaml", "a.yaml", "10.yaml", "9.yaml", "x.txt", ".hidden.yaml", "a.yaml~",
                                        "#a.yaml#", ".#a.yaml", "a.yaml.swp", "B.yaml"};
    begin();
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        touch(names[i]);
    folder_make("sub.yaml");
    touch("sub.yaml/c.yaml");
    folder_make("other");
    touch("other/c.yaml");
    touch("other/d.yaml");
    expect("*.yaml", 99, PATTERN_FINE, "10.yaml 9.yaml B.yaml a.yaml b.yaml");
    expect("?.yaml", 99, PATTERN_FINE, "9.yaml B.yaml a.yaml b.yaml");
    expect("[a-z].yaml", 99, PATTERN_FINE, "a.yaml b.yaml");
    expect("*", 99, PATTERN_FINE, "10.yaml 9.yaml B.yaml a.yaml a.yaml.swp b.yaml x.txt");
    expect(".*", 99, PATTERN_FINE, "");
    expect("*/c.yaml", 99, PATTERN_FINE, "other/c.yaml sub.yaml/c.yaml");
    expect("*/*.yaml", 99, PATTERN_FINE, "other/c.yaml other/d.yaml sub.yaml/c.yaml");
    expect("o*//c.yaml", 99, PATTERN_FINE, "other//c.yaml");
    expect("none/*.yaml", 99, PATTERN_FINE, "");
    expect("x.txt/*", 99, PATTERN_FINE, "");
    expect("*.none", 99, PATTERN_FINE, "");
    expect("*.yaml", 5, PATTERN_FINE, "10.yaml 9.yaml B.yaml a.yaml b.yaml");
    expect("*.yaml", 4, PATTERN_TOO_MANY, "");
    end();
}

TEST(relative_to_here)
{
    size_t left = PATTERN_LOOKED_AT;
    struct pattern_names names;
    struct arena a;

    arena_init(&a, NULL);
    EXPECT_EQ(pattern_expand(&a, "conf/weir.ya*", 9, &left, &names), PATTERN_FINE);
    EXPECT_EQ(names.n, 1);
    EXPECT_CSTR(names.n ? names.v[0] : "", "conf/weir.yaml");
    EXPECT_EQ(pattern_expand(&a, "Makefil?", 9, &left, &names), PATTERN_FINE);
    EXPECT_CSTR(names.n ? names.v[0] : "", "Makefile");
    arena_fini(&a);
}

TEST(what_is_a_pattern)
{
    EXPECT(pattern_is("a/*.yaml") && pattern_is("?") && pattern_is("[a]"));
    EXPECT(!pattern_is("a/b.yaml") && !pattern_is(""));
}

/* The sort of pattern that makes a simple matcher try for ever, and one that would look at a whole machine. */
TEST(a_search_is_bounded)
{
    struct timespec from, to;
    size_t left = PATTERN_LOOKED_AT;
    struct pattern_names names;
    struct arena a;
    char name[260], pattern[400];

    begin();
    memset(name, 'a', 250);
    name[250] = '\0';
    touch(name);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    snprintf(pattern, sizeof(pattern), "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b");
    expect(pattern, 9, PATTERN_FINE, "");
    arena_init(&a, NULL);
    EXPECT(pattern_expand(&a, "/*/*/*/*/*/*/*/*/*/no such file", 9, &left, &names) != PATTERN_TOO_MANY);
    size_t before = left;
    EXPECT(pattern_expand(&a, "/*", 1000, &left, &names) == (before ? PATTERN_FINE : PATTERN_TOO_WIDE));
    EXPECT(before ? left < before : left == 0);
    left = 0;
    EXPECT_EQ(pattern_expand(&a, "/*", 1000, &left, &names), PATTERN_TOO_WIDE);
    left = 3;
    EXPECT_EQ(pattern_expand(&a, "/*", 1000, &left, &names), PATTERN_TOO_WIDE);
    EXPECT_EQ(left, 0);
    arena_fini(&a);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    EXPECT(to.tv_sec - from.tv_sec < 10);
    end();
}
