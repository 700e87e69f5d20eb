/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HTTP_DATE_H
#define HTTP_DATE_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/check.h"
#include "lib/str.h"

/*
 * An HTTP date (RFC 9110 5.6.7) in seconds since 1970, below 0 for one before: IMF-fixdate, or one of the two old forms
 * that a recipient must still take, RFC 850 and asctime. Spaces around it are allowed, and nothing else: the words are
 * case-sensitive, the day must be in the calendar. Only that the weekday is one is looked at, not whether it is the date's.
 *
 * `now`, in seconds since 1970: a year of two digits is the last such year that is not over 50 years ahead of it.
 *
 * Writing dates: lib/clock.h. Any thread.
 */
bool http_date_parse(struct str text, int64_t now, int64_t *seconds) must_check;

#endif
