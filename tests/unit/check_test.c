/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/check.h"

#include "test.h"

struct outer {
    int before;
    int inner;
};

static void fails(void) { check(1 + 1 == 3); }
static void gets_where_it_must_not(void) { unreachable(); }
static void dump(void) { dprintf(2, "the hook ran\n"); }

static void fails_with_hook(void)
{
    check_set_hook(dump);
    check(1 + 1 == 3);
}

static void dump_badly(void)
{
    dprintf(2, "the hook ran\n");
    check(1 > 2);
}

static void fails_in_hook(void)
{
    check_set_hook(dump_badly);
    check(1 + 1 == 3);
}

TEST(a_true_condition_passes)
{
    check(1 + 1 == 2);
    EXPECT(true);
}

TEST(a_failed_check_says_what_and_where)
{
    EXPECT_DIES(fails, "weir: check failed: 1 + 1 == 3, at ");
    EXPECT_DIES(fails, "check_test.c:");
    EXPECT_DIES(fails, "in fails()\n");
    EXPECT_DIES(gets_where_it_must_not, "unreachable");
}

TEST(the_hook_runs_once)
{
    EXPECT_DIES(fails_with_hook, "fails_with_hook()\nthe hook ran\n");
    EXPECT_DIES(fails_in_hook, "the hook ran\nweir: check failed: 1 > 2");
}

TEST(container_and_length)
{
    struct outer o[3];
    EXPECT_EQ(container_of(&o[1].inner, struct outer, inner), &o[1]);
    EXPECT_EQ(array_len(o), 3);
}
