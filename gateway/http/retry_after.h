/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RETRY_AFTER_H
#define RETRY_AFTER_H

#include <stdbool.h>
#include <stdint.h>
#include "http/headers.h"
#include "lib/check.h"

#define RETRY_AFTER_NEVER UINT64_MAX

/*
 * How long an answer asks its reader to wait, in ns; RETRY_AFTER_NEVER when that is past the end of time. False: it does not
 * say, or not so that it can be read.
 *
 * `retry-after-ms` (milliseconds, as 1500 or 1500.5) goes before Retry-After (RFC 9110 10.2.3: seconds, or a date). A date
 * counts from the answer's own Date, so that no two clocks are compared, and without one from `wall` (ns since 1970); one
 * that has passed is no wait. Any thread.
 */
bool http_retry_after(const struct http_head *, uint64_t wall, uint64_t *ns) must_check;

#endif
