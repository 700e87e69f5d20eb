/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole files with the real filters: those of tests/conf/good and those that come with weir load without a warning; of those
 * of tests/conf/bad everything is told that is wrong with them, as the .txt beside each says, and so with tests/conf/warned. Run from the repository's root.
 *
 * With WEIR_GOLDEN set the .txt files are written anew (make golden): look at what changed before you keep it.
 */
#include "diag_fixture.h"

#include <glob.h>
#include "control.h"

static void environment_set(void)
{
    setenv("WEIR_TEST_ADDRESS", "127.0.0.1:8080", 1);
    setenv("WEIR_TEST_EMPTY", "", 1);
    unsetenv("WEIR_TEST_UNSET");
    unsetenv("MODEL_HOST");
    unsetenv("MODEL_KEY");
}

static bool seen[2 * DIAG_WARNING];           /* codes */

/* What is said of a file; "" when there is nothing to say. */
static struct page said(const char *path)
{
    struct snapshot *s = NULL;
    struct diags diags = {.n = 0};
    struct page page = {0};

    int res = control_load(path, NULL, &diags, &s);
    EXPECT_EQ(res != 0, diags.errors > 0);
    EXPECT_EQ(s != NULL, res == 0);
    for (size_t i = 0; i < diags.n; i++) {
        seen[diags.v[i]->code] = true;
        EXPECT(diags.v[i]->file[0] != '\0');
    }
    page_printf(&page, "%s", "");
    diags_print(&diags, &page);
    snapshot_unref(&s);
    diags_fini(&diags);
    return page;
}

static void all_load(const char *pattern, size_t at_least)
{
    glob_t files;

    EXPECT_EQ(glob(pattern, 0, NULL, &files), 0);
    EXPECT(files.gl_pathc >= at_least);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        test_row("%s", files.gl_pathv[i]);
        struct page page = said(files.gl_pathv[i]);
        EXPECT_CSTR(page.at, "");
        page_free(&page);
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

static void golden_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    if (EXPECT(f != NULL)) {
        fputs(text, f);
        fclose(f);
    }
}

static void golden_compare(const char *path, const char *got)
{
    static char wanted[100000];
    FILE *f = fopen(path, "r");

    if (!f) {
        test_cond(false, "it has no .txt beside it; make golden writes it", __FILE__, __LINE__);
        return;
    }
    wanted[fread(wanted, 1, sizeof(wanted) - 1, f)] = '\0';
    fclose(f);
    /* The first line that differs, not the whole page. */
    struct str g = str_c(got), w = str_c(wanted);
    while (g.len && w.len) {
        size_t gl = (size_t)(strchrnul(g.at, '\n') - g.at), wl = (size_t)(strchrnul(w.at, '\n') - w.at);
        if (!EXPECT_STR_EQ(str_of(g.at, gl), str_of(w.at, wl)))
            return;
        g = str_c(g.at + gl + (g.at[gl] == '\n'));
        w = str_c(w.at + wl + (w.at[wl] == '\n'));
    }
    EXPECT_STR_EQ(g, w);
}

static void all_say(const char *pattern, size_t at_least, bool refused)
{
    glob_t files;

    environment_set();
    EXPECT_EQ(glob(pattern, 0, NULL, &files), 0);
    EXPECT(files.gl_pathc >= at_least);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        char golden[300];
        test_row("%s", files.gl_pathv[i]);
        snprintf(golden, sizeof(golden), "%.*stxt", (int)strlen(files.gl_pathv[i]) - 4, files.gl_pathv[i]);
        struct page page = said(files.gl_pathv[i]);
        EXPECT_EQ(strstr(page.at, "error E") != NULL, refused);
        EXPECT(page.len > 0);
        (getenv("WEIR_GOLDEN") ? golden_write : golden_compare)(golden, page.at);
        page_free(&page);
    }
    globfree(&files);
}

TEST(golden_texts_of_bad_files) { all_say("tests/conf/bad/*.yaml", 120, true); }

TEST(golden_texts_of_files_with_warnings) { all_say("tests/conf/warned/*.yaml", 3, false); }

/* Codes that no file of this folder can give: of a running gateway, and that it is not there. */
static bool is_of_others(enum diag_code code)
{
    return (code >= 60 && code < 70) || code >= DIAG_WARNING + 10 || code == CODE_unreadable
           || code == CODE_expires || code == CODE_nameless || code == CODE_chain     /* tests/e2e/tls_test.py makes */
           || code == CODE_purpose;                                                   /* such certificates */
}

TEST(each_code_has_a_bad_file)
{
    for (const struct diag_meaning *m = diag_meanings; m->code; m++) {
        test_row("%s %s", diag_code_text(m->code).text, m->name);
        EXPECT(is_of_others(m->code) || seen[m->code]);
    }
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
    EXPECT_CSTR(diags.v[1]->text, "cannot read it: it is a directory, and must be a regular file");
    diags_fini(&diags);
}
