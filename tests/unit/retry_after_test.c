/* SPDX-License-Identifier: Apache-2.0 */
#include "http/retry_after.h"

#include "http/parse.h"
#include "lib/clock.h"
#include "test.h"

#define S(n)  ((n) * NSEC_PER_SEC)
#define MS(n) ((n) * NSEC_PER_MSEC)
#define WALL  (784111777 * NSEC_PER_SEC + 999999999)         /* Sun, 06 Nov 1994 08:49:37.999999999 GMT */
#define DATE(TIME) "Sun, 06 Nov 1994 " TIME " GMT"

static bool read_of(const char *fields, uint64_t *ns)
{
    static struct http_parser parser;
    struct http_head head;
    struct arena arena;
    char raw[1000];

    arena_init(&arena, NULL);
    http_parser_init(&parser, PARSE_RESPONSE, &http_limits_default);
    snprintf(raw, sizeof raw, "HTTP/1.1 503 Busy\r\n%s\r\n", fields);
    EXPECT_EQ(http_parse(&parser, raw, strlen(raw)), PARSE_OK);
    http_parser_head(&parser, raw, &arena, &head);
    bool given = http_retry_after(&head, WALL, ns);
    arena_fini(&arena);
    return given;
}

TEST(how_long)
{
    static const struct { const char *fields; bool given; uint64_t ns; } rows[] = {
        {"", false, 0},
        {"Retry-After: 0\r\n", true, 0},
        {"Retry-After: 1\r\n", true, S(1)},
        {"retry-after:   120  \r\n", true, S(120)},
        {"Retry-After: 007\r\n", true, S(7)},
        {"Retry-After: 99999999\r\n", true, S(99999999)},
        {"Retry-After: 18446744073\r\n", true, S(18446744073)},
        {"Retry-After: 18446744074\r\n", true, RETRY_AFTER_NEVER},
        {"Retry-After: 99999999999999999999999999999999\r\n", true, RETRY_AFTER_NEVER},
        /* a date counts from the answer's own, else from the clock */
        {"Retry-After: " DATE("08:50:00") "\r\n", true, S(23)},
        {"Retry-After: Sunday, 06-Nov-94 08:50:00 GMT\r\n", true, S(23)},
        {"Retry-After: Sun Nov  6 08:50:00 1994\r\n", true, S(23)},
        {"Retry-After: " DATE("08:49:37") "\r\n", true, 0},
        {"Retry-After: " DATE("08:49:36") "\r\n", true, 0},
        {"Retry-After: Mon, 01 Jan 1900 00:00:00 GMT\r\n", true, 0},
        {"Retry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n", true, RETRY_AFTER_NEVER},
        {"Date: " DATE("09:00:00") "\r\nRetry-After: " DATE("09:00:05") "\r\n", true, S(5)},
        {"Date: " DATE("07:00:00") "\r\nRetry-After: " DATE("07:00:05") "\r\n", true, S(5)},
        {"Date: nonsense\r\nRetry-After: " DATE("08:50:00") "\r\n", true, S(23)},
        {"Date: " DATE("09:00:00") "\r\nRetry-After: 5\r\n", true, S(5)},
        /* garbage */
        {"Retry-After:\r\n", false, 0},
        {"Retry-After: soon\r\n", false, 0},
        {"Retry-After: -5\r\n", false, 0},
        {"Retry-After: +5\r\n", false, 0},
        {"Retry-After: 5s\r\n", false, 0},
        {"Retry-After: 1.5\r\n", false, 0},
        {"Retry-After: 5, 6\r\n", false, 0},
        {"Retry-After: 0x10\r\n", false, 0},
        {"Retry-After: Sun, 06 Nov 1994\r\n", false, 0},
        /* milliseconds go first */
        {"retry-after-ms: 250\r\n", true, MS(250)},
        {"Retry-After: 1\r\nRetry-After-Ms: 250\r\n", true, MS(250)},
        {"retry-after-ms: 250.5\r\n", true, MS(251)},
        {"retry-after-ms: 250.000\r\n", true, MS(250)},
        {"retry-after-ms: 0\r\n", true, 0},
        {"retry-after-ms: 99999999999999999999999\r\n", true, RETRY_AFTER_NEVER},
        {"retry-after-ms: 99999999999999999999999.9\r\n", true, RETRY_AFTER_NEVER},
        {"retry-after-ms: x\r\nRetry-After: 2\r\n", true, S(2)},
        {"retry-after-ms: .5\r\nRetry-After: 2\r\n", true, S(2)},
        {"retry-after-ms: 5.\r\nRetry-After: 2\r\n", true, S(2)},
        {"retry-after-ms: 5.5.5\r\nRetry-After: 2\r\n", true, S(2)},
        {"retry-after-ms: -1\r\n", false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t ns = 0;
        test_row("%s", rows[i].fields);
        EXPECT_EQ(read_of(rows[i].fields, &ns), rows[i].given);
        if (rows[i].given)
            EXPECT_EQ(ns, rows[i].ns);
    }
}
