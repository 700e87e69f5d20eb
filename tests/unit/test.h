/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_H
#define TEST_H

/*
 * A tiny harness for unit tests: one program for each source file, with any number of
 *
 *     TEST(what_it_shows) { ... EXPECT_EQ(got, wanted); ... }
 *
 * They run in the order of the file. A failed expectation is printed with its place and the test goes on. The program
 * ends with "N passed, N failed" (tests) and exits with 1 if one failed. With an argument, only the tests whose name
 * contains it run. Expectations may stand in helper functions and in other threads too.
 */

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lib/str.h"

struct test {
    const char *name;
    void (*run)(void);
    struct test *next;
};

static struct test *test_first, **test_last = &test_first;
static const char *test_name;
static char test_row_text[200];
static _Atomic unsigned test_failures;              /* of the test that runs */

#define TEST(NAME)                                                                   \
    static void test_run_##NAME(void);                                               \
    static struct test test_of_##NAME = {#NAME, test_run_##NAME, NULL};              \
    __attribute__((constructor)) static void test_add_##NAME(void)                   \
    {                                                                                \
        *test_last = &test_of_##NAME;                                                \
        test_last = &test_of_##NAME.next;                                            \
    }                                                                                \
    static void test_run_##NAME(void)

/* Which row of a table is being tried; printed with failures until the next call, or the end of the test. */
__attribute__((format(printf, 1, 2))) static inline void test_row(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(test_row_text, sizeof(test_row_text), fmt, ap);
    va_end(ap);
}

static inline void test_fail(const char *file, int line)
{
    test_failures++;
    printf("%s:%d: %s", file, line, test_name);
    if (test_row_text[0])
        printf(" [%s]", test_row_text);
    printf(": ");
}

/* Quoted, with what does not print escaped; "absent" for {NULL, 0}. */
static inline void test_print_str(struct str s)
{
    if (!s.at) {
        printf("absent");
        return;
    }
    putchar('"');
    for (size_t i = 0; i < s.len && i < 1000; i++) {
        unsigned char c = (unsigned char)s.at[i];
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c >= ' ' && c < 0x7f)
            putchar(c);
        else
            printf("\\x%02x", c);
    }
    printf(s.len > 1000 ? "\"... (%zu bytes)" : "\"", s.len);
}

static inline bool test_cond(bool ok, const char *text, const char *file, int line)
{
    if (!ok) {
        test_fail(file, line);
        printf("not so: %s\n", text);
    }
    return ok;
}

static inline bool test_eq(unsigned long long a, unsigned long long b, const char *text, const char *file, int line)
{
    if (a == b)
        return true;
    test_fail(file, line);
    printf("%s is %llu", text, a);
    if (a > INT64_MAX)
        printf(" (%lld)", (long long)a);
    printf(", wanted %llu", b);
    if (b > INT64_MAX)
        printf(" (%lld)", (long long)b);
    printf("\n");
    return false;
}

static inline bool test_str(struct str a, struct str b, const char *text, const char *file, int line)
{
    if (a.len == b.len && (a.len == 0 || !memcmp(a.at, b.at, a.len)) && !a.at == !b.at)
        return true;
    test_fail(file, line);
    printf("%s is ", text);
    test_print_str(a);
    printf(", wanted ");
    test_print_str(b);
    printf("\n");
    return false;
}

/* Runs `run` in a child that must abort, having written `text` to stderr. */
static inline bool test_dies(void (*run)(void), const char *text, const char *name, const char *file, int line)
{
    char said[4000];
    size_t n = 0;
    int fds[2], status = 0;

    fflush(stdout);
    if (pipe(fds))
        abort();
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        dup2(fds[1], STDERR_FILENO);
        run();
        _exit(0);
    }
    close(fds[1]);
    for (ssize_t got; n < sizeof(said) - 1 && (got = read(fds[0], said + n, sizeof(said) - 1 - n)) > 0;)
        n += (size_t)got;
    said[n] = '\0';
    close(fds[0]);
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(said, text))
        return true;
    test_fail(file, line);
    printf("%s() ended with status %x and said ", name, (unsigned)status);
    test_print_str(str_c(said));
    printf(", wanted abort and \"%s\"\n", text);
    return false;
}

/* All of these are also expressions: true when what is expected is so. */

#define EXPECT(cond) test_cond((cond) ? true : false, #cond, __FILE__, __LINE__)

/* Integers, enums, bools and pointers: first what came out, then what is wanted. */
#define EXPECT_EQ(got, wanted) \
    test_eq((unsigned long long)(got), (unsigned long long)(wanted), #got, __FILE__, __LINE__)

/* A struct str against a C string (or NULL: absent). Absent and empty differ. */
#define EXPECT_STR(got, wanted) test_str((got), str_c(wanted), #got, __FILE__, __LINE__)

/* Two struct strs, which may hold any bytes. */
#define EXPECT_STR_EQ(got, wanted) test_str((got), (wanted), #got, __FILE__, __LINE__)

/* Two C strings. */
#define EXPECT_CSTR(got, wanted) test_str(str_c(got), str_c(wanted), #got, __FILE__, __LINE__)

/* A function (void) that must abort, after saying so. */
#define EXPECT_DIES(run, text) test_dies((run), (text), #run, __FILE__, __LINE__)

int main(int argc, char **argv)
{
    unsigned passed = 0, failed = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (const struct test *t = test_first; t; t = t->next) {
        if (argc > 1 && !strstr(t->name, argv[1]))
            continue;
        test_name = t->name;
        test_row_text[0] = '\0';
        test_failures = 0;
        t->run();
        if (test_failures)
            failed++;
        else
            passed++;
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed > 0;
}

#endif
