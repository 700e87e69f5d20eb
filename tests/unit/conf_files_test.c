/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole files with the real filters: those of tests/conf/good and those that come with weir load; those of
 * tests/conf/bad are refused with the text that their first line says. Run from the repository's root.
 */
#include "diag_fixture.h"

#include <glob.h>

static void environment_set(void)
{
    setenv("WEIR_TEST_ADDRESS", "127.0.0.1:8080", 1);
    setenv("WEIR_TEST_EMPTY", "", 1);
    unsetenv("WEIR_TEST_UNSET");
    unsetenv("MODEL_HOST");
    unsetenv("MODEL_KEY");
}

/* "line:col: text", or "" when the file loads. */
static void load(const char *path, char *out, size_t cap)
{
    struct snapshot *s = NULL;
    struct diags diags = {.n = 0};
    struct err err = {.text = ""};

    out[0] = '\0';
    int res = snapshot_load(path, filters_all, &diags, &s);
    EXPECT_EQ(diags_take(&diags, &err), res);
    if (res != 0)
        snprintf(out, cap, "%u:%u: %s", err.line, err.col, err.text);
    EXPECT_EQ(s == NULL, out[0] != '\0');
    if (!s)
        EXPECT_CSTR(err.file, path);
    snapshot_unref(&s);
}

static void all_load(const char *pattern, size_t at_least)
{
    glob_t files;
    char got[600];

    EXPECT_EQ(glob(pattern, 0, NULL, &files), 0);
    EXPECT(files.gl_pathc >= at_least);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        test_row("%s", files.gl_pathv[i]);
        load(files.gl_pathv[i], got, sizeof(got));
        EXPECT_CSTR(got, "");
    }
    globfree(&files);
}

TEST(good_files_load)
{
    environment_set();
    all_load("tests/conf/good/*.yaml", 6);
}

TEST(files_that_come_with_it_load)
{
    environment_set();
    all_load("conf/*.yaml", 1);
    all_load("conf/examples/*.yaml", 3);
}

static void wanted_read(const char *path, char *out, size_t cap)
{
    static const char mark[] = "# error: ";
    FILE *f = fopen(path, "r");

    out[0] = '\0';
    if (EXPECT(f != NULL)) {
        EXPECT(fgets(out, (int)cap, f) != NULL);
        fclose(f);
    }
    out[strcspn(out, "\n")] = '\0';
    if (EXPECT(!strncmp(out, mark, sizeof(mark) - 1)))
        memmove(out, out + sizeof(mark) - 1, strlen(out) - (sizeof(mark) - 1) + 1);
}

TEST(bad_files_are_refused_with_their_text)
{
    glob_t files;
    char got[600], wanted[600];

    environment_set();
    EXPECT_EQ(glob("tests/conf/bad/*.yaml", 0, NULL, &files), 0);
    EXPECT(files.gl_pathc >= 100);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        test_row("%s", files.gl_pathv[i]);
        wanted_read(files.gl_pathv[i], wanted, sizeof(wanted));
        load(files.gl_pathv[i], got, sizeof(got));
        EXPECT_CSTR(got, wanted);
    }
    globfree(&files);
}

TEST(a_missing_file_is_named)
{
    struct snapshot *s = NULL;
    struct diags diags = {.n = 0};

    EXPECT_EQ(snapshot_load("tests/conf/none.yaml", filters_all, &diags, &s), -1);
    EXPECT_CSTR(diags.v[0]->file, "tests/conf/none.yaml");
    EXPECT_CSTR(diags.v[0]->text, "cannot open it: No such file or directory");
    EXPECT_EQ(diags.v[0]->code, CODE_unreadable);
    EXPECT_EQ(snapshot_load("tests/conf", filters_all, &diags, &s), -1);
    EXPECT_CSTR(diags.v[1]->text, "cannot read it: Is a directory");
    diags_fini(&diags);
}
