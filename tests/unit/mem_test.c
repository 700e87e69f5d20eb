/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/mem.h"

#include "test.h"

/* Failing allocations must reach the code under test. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

static volatile size_t too_much = SIZE_MAX / 4;

static void alloc_too_much(void) { mem_free(mem_alloc(too_much)); }
static void zalloc_too_much(void) { mem_free(mem_zalloc(too_much)); }
static void realloc_too_much(void) { mem_free(mem_realloc(NULL, too_much)); }
static void array_too_much(void) { mem_free(mem_array(too_much, 8)); }

static bool is_zero(const char *at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (at[i])
            return false;
    return true;
}

TEST(what_is_said_to_be_zeroed_is)
{
    for (size_t n = 0; n < 5000; n = n * 3 + 1) {
        char *dirt = mem_alloc(n);
        memset(dirt, 0xff, n);
        mem_free(dirt);
        char *a = mem_zalloc(n), *b = mem_array(n, 3);
        EXPECT(is_zero(a, n));
        EXPECT(is_zero(b, n * 3));
        mem_free(a);
        mem_free(b);
    }
}

TEST(nothing_is_never_null)
{
    void *got[] = {mem_alloc(0), mem_zalloc(0), mem_array(0, 8), mem_array(8, 0), mem_realloc(NULL, 0)};
    for (size_t i = 0; i < sizeof(got) / sizeof(got[0]); i++) {
        test_row("%zu", i);
        EXPECT(got[i]);
        mem_free(got[i]);
    }
    mem_free(NULL);
}

TEST(realloc_keeps_what_was_there)
{
    char *p = mem_strdup("weir");
    p = mem_realloc(p, 100000);
    EXPECT_CSTR(p, "weir");
    p = mem_realloc(p, 5);
    EXPECT_CSTR(p, "weir");
    mem_free(p);
}

TEST(strdup_is_a_copy)
{
    const char text[] = "abc";
    char *p = mem_strdup(text), *empty = mem_strdup("");
    EXPECT(p != text);
    EXPECT_CSTR(p, "abc");
    EXPECT_CSTR(empty, "");
    mem_free(p);
    mem_free(empty);
}

/* ThreadSanitizer and the like may end the process in their own way first. */
TEST(no_memory_ends_the_process)
{
    char said[80];
    snprintf(said, sizeof(said), "weir: out of memory (%zu bytes)\n", too_much);
    EXPECT_DIES(alloc_too_much, said);
    EXPECT_DIES(zalloc_too_much, said);
    EXPECT_DIES(realloc_too_much, said);
    EXPECT_DIES(array_too_much, "weir: out of memory (");
}
