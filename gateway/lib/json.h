/* SPDX-License-Identifier: Apache-2.0 */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stdint.h>
#include "str.h"

/*
 * Writes JSON into a buffer that the caller gives. What does not fit is left out and `full` is set: the text is then of no
 * use. Nothing is checked about the order of calls. Any thread; one at a time.
 */
struct json {
    char *at, *end;
    bool full;
};

/* Bytes that a string of `n` bytes takes at most, quotes included. */
#define JSON_STRING_MAX(n) ((n) * 6 + 2)

static inline struct json json_init(char *out, size_t cap) { return (struct json){out, out + cap, false}; }

void json_raw(struct json *, struct str);              /* as it is */
/* A quoted string; "null" for {NULL, 0}. Control characters (C1 too), DEL and bytes that are no UTF-8 become \u00XX. */
void json_string(struct json *, struct str);
void json_u64(struct json *, uint64_t);
void json_ms(struct json *, uint64_t ns);              /* milliseconds with three decimals, cut off */

#endif
