/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an upstream says of when to come back, and dates. A date that is read is one that can be written, and is then the
 * same; a wait is never longer for the same words said later.
 */
#include <stdlib.h>
#include "http/date.h"
#include "http/retry_after.h"
#include "lib/check.h"
#include "lib/clock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_date(struct str s, int64_t now)
{
    int64_t at, again;
    char text[30];

    if (!http_date_parse(s, now, &at))
        return;
    check(at >= -62167219200 && at <= 253402300800);
    if (at < 0 || at > 18000000000)
        return;                      /* clock_http_date() has no more than 64 bits of ns */
    clock_http_date((uint64_t)at * NSEC_PER_SEC, text);
    check(http_date_parse(str_of(text, 29), now, &again) && again == at);
}

/* The first line is Date, the second Retry-After, the third retry-after-ms. */
static void check_wait(const char *at, size_t size, uint64_t wall)
{
    static const char *const names[] = {"date", "retry-after", "retry-after-ms"};
    struct http_head h = {.status = 503};
    struct arena arena;
    uint64_t ns = 0, later = 0;
    size_t len;

    arena_init(&arena, NULL);
    for (unsigned i = 0; i < array_len(names) && size > 0; i++, at += len, size -= len) {
        const char *end = memchr(at, '\n', size);
        len = end ? (size_t)(end - at) : size;
        if (len > 0)
            http_head_add(&h, &arena, str_c(names[i]), str_of(at, len));
        len += end != NULL;
    }
    bool given = http_retry_after(&h, wall, &ns);
    if (given && !http_head_get_id(&h, HEADER_DATE).at) {
        check(http_retry_after(&h, wall + NSEC_PER_SEC, &later) == given);
        check(later <= ns || ns == 0);
    }
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t now = 0;
    size_t n = size < sizeof now ? size : sizeof now;
    char *copy = malloc(size ? size : 1);

    if (size)
        memcpy(copy, data, size);
    memcpy(&now, copy, n);
    check_date(str_of(copy, size), now);
    check_date(str_of(copy + n, size - n), now);
    check_wait(copy + n, size - n, now * NSEC_PER_SEC);
    free(copy);
    return 0;
}
