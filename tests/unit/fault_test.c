/* SPDX-License-Identifier: Apache-2.0 */
#include "http/parse.h"
#include "test.h"

TEST(every_fault_is_described)
{
    for (int i = 0; i < FAULT_COUNT; i++) {
        test_row("%d", i);
        const char *name = http_fault_name((enum http_fault)i), *text = http_fault_text((enum http_fault)i);
        int status = http_fault_status((enum http_fault)i);
        if (!EXPECT(name && *name && text))
            continue;
        EXPECT(strlen(text) > 20 && text[strlen(text) - 1] == '.');
        EXPECT_EQ(strspn(name, "abcdefghijklmnopqrstuvwxyz_0123456789"), strlen(name));
        EXPECT(status == 400 || status == 414 || status == 417 || status == 431 || status == 501 || status == 505);
        for (int k = 0; k < i; k++)
            EXPECT(strcmp(name, http_fault_name((enum http_fault)k)) != 0);
    }
    EXPECT_EQ(http_fault_status(FAULT_TARGET_LONG), 414);
    EXPECT_EQ(http_fault_status(FAULT_EXPECT), 417);
    EXPECT_EQ(http_fault_status(FAULT_HEAD_LONG), 431);
    EXPECT_EQ(http_fault_status(FAULT_ENCODING), 501);
    EXPECT_EQ(http_fault_status(FAULT_VERSION), 505);
}
