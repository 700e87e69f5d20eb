/* SPDX-License-Identifier: Apache-2.0 */
#include "diag_fixture.h"

#include "conf/expand.h"

static void expect(const char *text, const char *wanted)
{
    static const struct source source = {"t", {NULL, 0}};
    static const struct place place = {&source, 3, 5, 0};
    struct diags diags = {.n = 0};
    struct arena arena;
    struct str out = STR("");
    struct err e = {.text = ""};
    char got[600] = "";

    arena_init(&arena, NULL);
    test_row("%s", text);
    int res = expand(&arena, str_c(text), &place, &out, &diags);
    EXPECT_EQ(diags_take(&diags, &e), res);
    if (res != 0)
        snprintf(got, sizeof(got), "%u:%u: %s", e.line, e.col, e.text);
    else
        snprintf(got, sizeof(got), STR_FMT, STR_ARG(out));
    EXPECT_CSTR(got, wanted);
    arena_fini(&arena);
}

TEST(variables)
{
    setenv("WEIR_TEST_A", "a ${B}", 1);
    setenv("WEIR_TEST_EMPTY", "", 1);
    unsetenv("WEIR_TEST_UNSET");
    static const struct { const char *text, *wanted; } rows[] = {
        {"", ""}, {"plain $ $$ {} $x }", "plain $ $$ {} $x }"},
        {"${WEIR_TEST_A}", "a ${B}"}, {"<${WEIR_TEST_A}${WEIR_TEST_A}>", "<a ${B}a ${B}>"},
        {"${WEIR_TEST_EMPTY}", ""}, {"${WEIR_TEST_EMPTY:-d e}", "d e"}, {"${WEIR_TEST_UNSET:-}", ""},
        {"${WEIR_TEST_A:-d}", "a ${B}"}, {"${WEIR_TEST_A:?m}", "a ${B}"},
        {"$${WEIR_TEST_A}", "${WEIR_TEST_A}"}, {"$$${WEIR_TEST_EMPTY:-x}", "$${WEIR_TEST_EMPTY:-x}"},
        {"${WEIR_TEST_UNSET}", "3:5: ${WEIR_TEST_UNSET} is not set; set it, or write ${WEIR_TEST_UNSET:-default}"},
        {"${WEIR_TEST_UNSET:?tell me}", "3:5: ${WEIR_TEST_UNSET} is not set: tell me"},
        {"${WEIR_TEST_EMPTY:?tell me}", "3:5: ${WEIR_TEST_EMPTY} is not set: tell me"},
        {"${}", "3:5: ${}: needs a variable's name: letters, digits and _"},
        {"x ${A", "3:5: \"${A\": ${ without its }; a literal ${ is written $${"},
        {"${file:x}", "3:5: ${file:x}: the path must be absolute"},
        {"${file:/dev/null}", "3:5: ${file:/dev/null}: not a regular file"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect(rows[i].text, rows[i].wanted);
}

TEST(a_value_is_bounded)
{
    static char big[60001], text[512] = "";
    memset(big, 'x', sizeof(big) - 1);
    setenv("WEIR_TEST_BIG", big, 1);
    for (int i = 0; i < 18; i++)
        strncat(text, "${WEIR_TEST_BIG}", sizeof(text) - strlen(text) - 1);
    expect(text, "3:5: the value is longer than 1 MiB once its variables are put in");
    unsetenv("WEIR_TEST_BIG");
}

TEST(what_files_hold)
{
    char path[] = "/tmp/weir_expand_test_XXXXXX", text[100], wanted[300];
    int fd = mkstemp(path);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!EXPECT(f != NULL))
        return;
    fputs("s3cret: ${X}\n", f);
    fflush(f);
    snprintf(text, sizeof(text), "${file:%s}", path);
    expect(text, "s3cret: ${X}");
    for (int i = 0; i < 70000; i++)
        fputc('x', f);
    fclose(f);
    snprintf(wanted, sizeof(wanted), "3:5: ${file:%s}: longer than 65536 bytes", path);
    expect(text, wanted);
    remove(path);
    snprintf(wanted, sizeof(wanted), "3:5: ${file:%s}: cannot open it: No such file or directory", path);
    expect(text, wanted);
}
