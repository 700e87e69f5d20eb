/* SPDX-License-Identifier: Apache-2.0 */
#include "reason.h"

#include "test.h"

TEST(a_reason_has_its_row)
{
    EXPECT_EQ(reason_status(REASON_none), 0);
    EXPECT_CSTR(reason_name(REASON_none), "none");
    EXPECT_EQ(reason_status(REASON_rate_limited), 429);
    EXPECT_CSTR(reason_name(REASON_rate_limited), "rate_limited");
    EXPECT_CSTR(reason_title(REASON_rate_limited), "Too Many Requests");
    EXPECT_CSTR(reason_detail(REASON_rate_limited), "the caller's rate is used up");
    EXPECT_EQ(reason_status(REASON_denied), 403);
    EXPECT_EQ(reason_status(REASON_internal), 500);
    EXPECT_EQ(reason_status(REASON_total_timeout), 504);
    EXPECT_EQ(reason_status(REASON_client_gone), 0);
}

TEST(every_row_can_be_shown)
{
    for (int r = 0; r < REASON_COUNT; r++) {
        test_row("%d", r);
        int status = reason_status((enum reason)r);
        const char *name = reason_name((enum reason)r);
        test_row("%s", name);
        EXPECT(status == 0 || (status >= 400 && status <= 599));
        EXPECT_EQ(reason_title((enum reason)r)[0] != '\0', status != 0);
        EXPECT(reason_detail((enum reason)r)[0] != '\0');
        EXPECT(strlen(name) > 0 && strlen(name) <= 32);
        EXPECT_EQ(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
        /* Stands in a JSON string and a metric's label as it is. */
        EXPECT(!strpbrk(reason_detail((enum reason)r), "\"\\\r\n") && !strpbrk(reason_title((enum reason)r), "\"\\\r\n"));
        for (int other = 0; other < r; other++)
            EXPECT(strcmp(name, reason_name((enum reason)other)) != 0);
    }
}
