/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include "conf/expand.h"

/* What `text`, which stands in line 3 from column 5 on as `raw`, becomes: "TEXT", "TEXT | SHOWN" when a part is secret, or each
 * error with its place and width. */
static void expect_raw(const char *text, const char *raw, const char *wanted)
{
    static const struct source source = {"t", {NULL, 0}};
    struct scalar scalar = {{&source, 3, 5, 0}, str_c(raw)};
    struct arena arena;
    struct sources sources;
    struct diags diags = {.n = 0};
    struct expanded out;
    char got[1200] = "";

    arena_init(&arena, NULL);
    sources_init(&sources, &arena);
    test_row("%s", text);
    int res = expand(&arena, str_c(text), &scalar, &sources, &diags, &out);
    EXPECT_EQ(res != 0, diags.n > 0);
    for (size_t i = 0; i < diags.n; i++)
        snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%u:%u+%u: %s %s", i ? "\n" : "", diags.v[i]->line,
                 diags.v[i]->col, diags.v[i]->width, diag_code_text(diags.v[i]->code).text, diags.v[i]->text);
    if (res == 0 && out.text.at == out.shown.at)
        snprintf(got, sizeof(got), STR_FMT, STR_ARG(out.text));
    else if (res == 0)
        snprintf(got, sizeof(got), STR_FMT " | " STR_FMT, STR_ARG(out.text), STR_ARG(out.shown));
    EXPECT_CSTR(got, wanted);
    diags_fini(&diags);
    arena_fini(&arena);
}

static void expect(const char *text, const char *wanted) { expect_raw(text, text, wanted); }

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
        {"${WEIR_TEST_UNSET}",
         "3:5+18: E008 ${WEIR_TEST_UNSET} is not set; set it, or write ${WEIR_TEST_UNSET:-default}"},
        {"${WEIR_TEST_UNSET:?tell me}", "3:5+27: E008 ${WEIR_TEST_UNSET} is not set: tell me"},
        {"${WEIR_TEST_EMPTY:?tell me}", "3:5+27: E008 ${WEIR_TEST_EMPTY} is not set: tell me"},
        {"${}", "3:5+3: E009 ${}: needs a variable's name: letters, digits and _"},
        {"${9}", "3:5+4: E009 ${9}: needs a variable's name: letters, digits and _"},
        {"${A:=b}", "3:5+7: E009 ${A:=b}: write ${VAR}, ${VAR:-default}, ${VAR:?message} or ${file:/path}"},
        {"x ${A", "3:7+3: E009 \"${A\": ${ without its }; a literal ${ is written $${"},
        {"${", "3:5+2: E009 \"${\": ${ without its }; a literal ${ is written $${"},
        {"${A${B}}", "3:5+7: E009 \"${A${B}}\": a variable inside a variable is not supported"},
        {"${file:x}", "3:5+9: E010 ${file:x}: the path must be absolute"},
        {"${file:/dev/null}",
         "3:5+17: E010 ${file:/dev/null}: cannot read it: it is a device, and must be a regular file"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect(rows[i].text, rows[i].wanted);
}

TEST(each_error_points_to_its_variable)
{
    static const char wrong[] = "E009 ${}: needs a variable's name: letters, digits and _";
    char wanted[300];

    snprintf(wanted, sizeof(wanted), "3:6+3: %s\n3:15+3: %s", wrong, wrong);
    expect("x${} $${é ${}", wanted);                           /* the column counts characters */
    snprintf(wanted, sizeof(wanted), "4:3+3: %s", wrong);
    expect_raw("ab cd ${}", "\"ab cd\n  ${}\"", wanted);       /* a folded one has it on its second line */
    snprintf(wanted, sizeof(wanted), "3:10+3: %s", wrong);
    expect_raw("\t\n${}", "\"\\t\\n${}\"", wanted);
    snprintf(wanted, sizeof(wanted), "3:5+0: %s", wrong);
    expect_raw("${}", "\"\\x24{}\"", wanted);                  /* nowhere in the file as it is here: the scalar's place */
    expect_raw("${}", NULL, wanted);
}

TEST(a_value_is_bounded)
{
    static char big[60001], text[512] = "";
    memset(big, 'x', sizeof(big) - 1);
    setenv("WEIR_TEST_BIG", big, 1);
    for (int i = 0; i < 18; i++)
        strncat(text, "${WEIR_TEST_BIG}", sizeof(text) - strlen(text) - 1);
    expect(text, "3:277+16: E002 the value is longer than 1 MiB once its variables are put in");
    unsetenv("WEIR_TEST_BIG");

    /* A hundred thousand errors cost no more than ten. */
    char *many = malloc(400001);
    for (int i = 0; i < 100000; i++)
        memcpy(many + 4 * i, "${} ", 5);
    const struct source source = {"t", str_c(many)};
    struct scalar scalar = {{&source, 1, 1, 0}, str_c(many)};
    struct diags diags = {.n = 0};
    struct sources sources;
    struct expanded out;
    struct arena arena;
    arena_init(&arena, NULL);
    sources_init(&sources, &arena);
    EXPECT_EQ(expand(&arena, str_c(many), &scalar, &sources, &diags, &out), -1);
    EXPECT_EQ(diags.errors, 10);
    diags_fini(&diags);
    arena_fini(&arena);
    free(many);
}

TEST(what_files_hold)
{
    char path[] = "/tmp/weir_expand_test_XXXXXX", text[200], wanted[300];
    int fd = mkstemp(path);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!EXPECT(f != NULL))
        return;
    fputs("s3cret: ${X}\n", f);
    fflush(f);
    snprintf(text, sizeof(text), "Bearer ${file:%s}.", path);
    expect(text, "Bearer s3cret: ${X}. | Bearer ***.");
    snprintf(text, sizeof(text), "${file:%s}", path);
    for (int i = 0; i < 70000; i++)
        fputc('x', f);
    fflush(f);
    snprintf(wanted, sizeof(wanted), "3:5+%zu: E010 ${file:%s}: longer than 65536 bytes", strlen(text), path);
    expect(text, wanted);
    EXPECT_EQ(ftruncate(fd, 5), 0);
    EXPECT_EQ(pwrite(fd, "a\xff" "b", 3, 0), 3);
    snprintf(wanted, sizeof(wanted), "3:5+%zu: E010 ${file:%s}: not UTF-8; save it as UTF-8", strlen(text), path);
    expect(text, wanted);
    fclose(f);
    remove(path);
    snprintf(wanted, sizeof(wanted), "3:5+%zu: E010 ${file:%s}: cannot open it: No such file or directory",
             strlen(text), path);
    expect(text, wanted);
    EXPECT_EQ(mkfifo(path, 0600), 0);
    alarm(10);
    snprintf(wanted, sizeof(wanted), "3:5+%zu: E010 ${file:%s}: cannot read it: it is a pipe, and must be a regular file",
             strlen(text), path);
    expect(text, wanted);
    alarm(0);
    remove(path);
}

/* A file that is named by a thousand routes is read once, so that all of them have the same. */
TEST(a_file_is_read_once)
{
    char path[] = "/tmp/weir_expand_test_XXXXXX", text[100];
    struct scalar scalar = {{NULL, 1, 1, 0}, {NULL, 0}};
    struct diags diags = {.n = 0};
    struct sources sources;
    struct expanded out;
    struct arena arena;
    int fd = mkstemp(path);

    EXPECT_EQ(write(fd, "one\r\n", 5), 5);
    snprintf(text, sizeof(text), "${file:%s}", path);
    arena_init(&arena, NULL);
    sources_init(&sources, &arena);
    EXPECT_EQ(expand(&arena, str_c(text), &scalar, &sources, &diags, &out), 0);
    EXPECT_EQ(pwrite(fd, "two", 3, 0), 3);
    EXPECT_EQ(expand(&arena, str_c(text), &scalar, &sources, &diags, &out), 0);
    EXPECT_STR(out.text, "one");
    EXPECT_EQ(sources.n, 1);
    EXPECT_CSTR(sources.n ? sources.v[0].path : "", path);
    close(fd);
    remove(path);
    arena_fini(&arena);
}

/* Nor is one that cannot be read gone through for each of very many errors, of which nobody is told. */
TEST(a_file_is_not_read_for_errors_that_are_not_told)
{
    char path[] = "/tmp/weir_expand_test_XXXXXX", text[100];
    const struct source source = {"t", {NULL, 0}};
    struct diags diags = {.n = 0};
    struct sources sources;
    struct expanded out;
    struct arena arena;
    int fd = mkstemp(path);

    snprintf(text, sizeof(text), "${file:%s.not}", path);
    arena_init(&arena, NULL);
    sources_init(&sources, &arena);
    for (unsigned i = 1; i <= DIAGS_MAX; i++) {
        const struct scalar scalar = {{&source, i, 1, 0}, {NULL, 0}};
        EXPECT_EQ(expand(&arena, str_c(text), &scalar, &sources, &diags, &out), -1);
    }
    EXPECT(diags_full(&diags));
    snprintf(text, sizeof(text), "${file:%s}", path);
    const struct scalar last = {{&source, DIAGS_MAX + 1, 1, 0}, {NULL, 0}};
    EXPECT_EQ(expand(&arena, str_c(text), &last, &sources, &diags, &out), -1);
    EXPECT(sources.n == 2 && sources.v[1].digest == 0);      /* known to the watch, and was not read */
    close(fd);
    remove(path);
    diags_fini(&diags);
    arena_fini(&arena);
}

TEST(names_of_secrets)
{
    static const char *const secret[] = {"KEY", "API_KEY", "APIKEY", "OPENAI_API_KEY_2", "token", "GITHUB_TOKENS",
        "DB_PASS", "PASSWORD", "DB_PASSWD", "PASSPHRASE_FILE", "CREDENTIALS", "AUTHORIZATION", "Client_Secret", "MYSQLPASS",
        "AUTH", "HOST_KEY", "PGPASSWORD", "MYSQL_ROOTPASSWD"};
    static const char *const open[] = {"HOST", "MODEL", "", "_", "PORT", "KEYCLOAK_HOST", "AUTH_SERVICE_PORT", "AUTH_URL",
        "TOKENS_PER_MINUTE", "TOKEN_RATE", "COMPASSION", "LIMIT"};
    for (size_t i = 0; i < sizeof(secret) / sizeof(secret[0]); i++) {
        test_row("%s", secret[i]);
        EXPECT(expand_is_secret(str_c(secret[i])));
    }
    for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++) {
        test_row("%s", open[i]);
        EXPECT(!expand_is_secret(str_c(open[i])));
    }
    setenv("WEIR_TEST_KEY", "k", 1);
    expect("a ${WEIR_TEST_KEY} ${WEIR_TEST_NONE_KEY:-d}", "a k d | a *** ***");
    setenv("WEIR_TEST_URL", "postgres://u:p@db/x", 1);
    expect("${WEIR_TEST_URL}", "postgres://u:p@db/x | ***");
    setenv("WEIR_TEST_URL", "http://u:p/@db", 1);
    expect("${WEIR_TEST_URL}", "http://u:p/@db | ***");
    setenv("WEIR_TEST_URL", "http://db/x", 1);
    expect("${WEIR_TEST_URL}", "http://db/x");
}

TEST(nothing_outside_is_reached_when_sealed)
{
    struct scalar scalar = {{NULL, 1, 1, 0}, {NULL, 0}};
    struct diags diags = {.n = 0};
    struct sources sources;
    struct expanded out;
    struct arena arena;

    setenv("WEIR_TEST_A", "a", 1);
    arena_init(&arena, NULL);
    sources_init(&sources, &arena);
    sources.sealed = true;
    EXPECT_EQ(expand(&arena, STR("${WEIR_TEST_A:-b}"), &scalar, &sources, &diags, &out), 0);
    EXPECT_STR(out.text, "b");
    EXPECT_EQ(expand(&arena, STR("${WEIR_TEST_A}"), &scalar, &sources, &diags, &out), -1);
    EXPECT_EQ(expand(&arena, STR("${file:/proc/self/comm}"), &scalar, &sources, &diags, &out), -1);
    EXPECT_EQ(sources.n, 0);
    diags_fini(&diags);
    arena_fini(&arena);
}
