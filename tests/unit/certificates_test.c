/* SPDX-License-Identifier: Apache-2.0 */
#include "certificates.h"

#include <string.h>
#include "lib/page.h"
#include "test.h"

#define DAY ((uint64_t)24 * 3600)
#define NOW (20000 * DAY)

TEST(those_that_end_within_7_days_are_told)
{
    const struct { uint64_t until; const char *line; } rows[] = {
        {NOW + 8 * DAY, ""}, {NOW + 7 * DAY, ""},
        {NOW + 7 * DAY - 1, "certificate a.pem (CN=a) expires at 2024-10-10T23:59:59Z, in 6 days: renew it\n"},
        {NOW + DAY, "certificate a.pem (CN=a) expires at 2024-10-05T00:00:00Z, in 1 day: renew it\n"},
        {NOW + 1, "certificate a.pem (CN=a) expires at 2024-10-04T00:00:01Z, in 0 days: renew it\n"},
        {NOW, "certificate a.pem (CN=a) expired at 2024-10-04T00:00:00Z, 0 days ago: renew it\n"},
        {NOW - 3 * DAY, "certificate a.pem (CN=a) expired at 2024-10-01T00:00:00Z, 3 days ago: renew it\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%zu", i);
        struct tls_shown fine = {.path = STR("b.pem"), .subject = STR("CN=b"), .until = NOW + 90 * DAY};
        struct tls_shown shown = {.next = &fine, .path = STR("a.pem"), .subject = STR("CN=a"), .until = rows[i].until};
        const struct snapshot snap = {.shown = &shown};
        struct page page = {0};
        certificates_ending(&snap, NOW, &page);
        EXPECT_CSTR(page.len ? page.at : "", rows[i].line);
        page_free(&page);
    }
}

TEST(nothing_is_told_of_nothing)
{
    const struct snapshot snap = {.shown = NULL};
    struct page page = {0};
    certificates_ending(NULL, NOW, &page);
    certificates_ending(&snap, NOW, &page);
    certificates_metrics(&snap, &page);
    EXPECT_EQ(page.len, 0);
}

TEST(each_has_a_line_in_the_metrics)
{
    struct tls_shown two = {.path = STR("/b\"c.pem"), .until = 12};
    struct tls_shown one = {.next = &two, .path = STR("/a.pem"), .until = 1800000000};
    const struct snapshot snap = {.shown = &one};
    struct page page = {0};
    certificates_metrics(&snap, &page);
    EXPECT(strstr(page.at, "# TYPE weir_tls_certificate_expiry_timestamp_seconds gauge\n") != NULL);
    EXPECT(strstr(page.at, "\nweir_tls_certificate_expiry_timestamp_seconds{certificate=\"/a.pem\"} 1800000000\n") != NULL);
    EXPECT(strstr(page.at, "{certificate=\"/b\\\"c.pem\"} 12\n") != NULL);
    page_free(&page);
}

TEST(lists_that_end_have_one_too)
{
    struct tls_trusted ca = {.path = STR("/ca.pem"), .until = UINT64_MAX};
    struct tls_trusted endless = {.next = &ca, .path = STR("/endless.crl"), .lists = true, .until = UINT64_MAX};
    struct tls_trusted one = {.next = &endless, .path = STR("/one.crl"), .lists = true, .until = 1800000000};
    struct snapshot snap = {.trusted = &one};
    struct page page = {0};
    certificates_metrics(&snap, &page);
    EXPECT(strstr(page.at, "# TYPE weir_tls_crl_expiry_timestamp_seconds gauge\n") != NULL);
    EXPECT(strstr(page.at, "\nweir_tls_crl_expiry_timestamp_seconds{crl=\"/one.crl\"} 1800000000\n") != NULL);
    EXPECT(strstr(page.at, "endless") == NULL && strstr(page.at, "/ca.pem") == NULL);
    page_free(&page);
    snap.trusted = &endless;
    certificates_metrics(&snap, &page);
    EXPECT_EQ(page.len, 0);
}
