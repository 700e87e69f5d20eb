/* SPDX-License-Identifier: Apache-2.0 */
#include "verbs.h"

#include <fcntl.h>
#include "test.h"

/* What is printed while `argv` is run, on both streams. */
static int said(const char *const *argv, char *out, size_t cap)
{
    char path[] = "/tmp/weir-verbs-XXXXXX";
    char *args[8] = {NULL};
    int argc = 0, fd = mkstemp(path), streams[2] = {dup(STDOUT_FILENO), dup(STDERR_FILENO)};
    for (; argv[argc]; argc++)
        args[argc] = (char *)(uintptr_t)argv[argc];
    fflush(NULL);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    int status = verbs_run(argc, args);
    fflush(NULL);
    dup2(streams[0], STDOUT_FILENO);
    dup2(streams[1], STDERR_FILENO);
    ssize_t n = pread(fd, out, cap - 1, 0);
    out[n < 0 ? 0 : n] = '\0';
    close(streams[0]);
    close(streams[1]);
    close(fd);
    unlink(path);
    return status;
}

TEST(every_verb_says_what_it_is_and_how_it_is_called)
{
    for (const struct verb *v = verbs_all; v->name; v++) {
        test_row("%s", v->name);
        EXPECT(v->run && v->help && v->help[strlen(v->help) - 1] == '.');
        EXPECT(!strncmp(v->usage, v->name, strlen(v->name)));
        EXPECT(verbs_find(v->name) == v);
        char out[4000];
        EXPECT_EQ(said((const char *const[]){"weir", "help", v->name, NULL}, out, sizeof out), 0);
        EXPECT(!strncmp(out, "usage: weir ", 12) && strstr(out, v->help));
        EXPECT_EQ(said((const char *const[]){"weir", v->name, "--help", NULL}, out, sizeof out), 0);
        EXPECT(strstr(out, "sage: weir"));
    }
    EXPECT(!verbs_find("nonsense"));
}

TEST(what_is_wrong_with_a_call)
{
    static const struct { const char *argv[7]; const char *says; } rows[] = {
        {{"weir"}, "a verb is missing"},
        {{"weir", "chekc"}, "unknown verb \"chekc\"; did you mean \"check\"?"},
        {{"weir", "help", "chekc"}, "did you mean \"check\"?"},
        {{"weir", "run", "FILE"}, "usage: weir run [-c FILE]"},
        {{"weir", "version", "x"}, "takes nothing"},
        {{"weir", "check", "--jsno"}, "takes one FILE, and --json before it"},
        {{"weir", "check", "--json", "-q"}, "takes one FILE, and --json before it"},
        {{"weir", "reload", "-c"}, "-c needs a file behind it"},
        {{"weir", "reload", "-a", "x", "-c", "y"}, "one -c or one -a"},
        {{"weir", "reload", "x"}, "does not know what to do with \"x\""},
        {{"weir", "reload", "--offline"}, "knows no --offline"},
        {{"weir", "healthcheck", "--json"}, "knows no --json"},
        {{"weir", "breaker", "-a", "127.0.0.1:1", "x"}, "an instance's name, and open, closed or auto"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[4000];
        test_row("%zu", i);
        EXPECT_EQ(said(rows[i].argv, out, sizeof out), 2);
        EXPECT(strstr(out, rows[i].says));
    }
}

TEST(which_file_is_meant)
{
    unsetenv("WEIR_CONFIG");
    EXPECT_CSTR(verbs_default_file(), "/etc/weir/weir.yaml");
    setenv("WEIR_CONFIG", "", 1);
    EXPECT_CSTR(verbs_default_file(), "/etc/weir/weir.yaml");
    setenv("WEIR_CONFIG", "/x.yaml", 1);
    EXPECT_CSTR(verbs_default_file(), "/x.yaml");
}
