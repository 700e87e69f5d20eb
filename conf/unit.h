/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UNIT_H
#define UNIT_H

#include <stdint.h>
#include "conf/diag.h"
#include "conf/field.h"
#include "lib/str.h"

/* Numbers with units, as people write them. Any thread. */

/* What is wrong, as the end of a sentence that begins with the quoted text: `has no unit; write it like 250ms, 2s, 5m or 1h`. */
struct unit_fault {
    enum diag_code code;
    const char *text;
};

/* NULL: *out is set. */
const struct unit_fault *unit_count(struct str, uint64_t *out) must_check;
const struct unit_fault *unit_size(struct str, uint64_t *bytes) must_check;          /* 512B, 64KiB, 1MiB, 1GiB, 10kB, 1MB */
const struct unit_fault *unit_duration(struct str, uint64_t *ns) must_check;         /* 500us, 250ms, 2s, 5m, 1h */
const struct unit_fault *unit_duration_range(struct str, uint64_t ns[2]) must_check; /* 100ms..2s */
const struct unit_fault *unit_percent(struct str, uint32_t *hundredths) must_check;  /* 10%, 2.5% */
const struct unit_fault *unit_rate(struct str, struct rate *) must_check;            /* 100/s, 6000/min, 10/h; <= RATE_MAX/s */

/* What was probably meant by a text that was refused: `; did you mean "10s"?`, or "". What it names is never refused. Types:
 * COUNT, SIZE, DURATION, DURATION_RANGE, PERCENT, RATE. */
struct unit_hint { char text[96]; };
struct unit_hint unit_hint(enum field_type, struct str);

/* A number as it would be written in a configuration. Types: COUNT, SIZE, DURATION, PERCENT. */
struct unit_text { char text[32]; };
struct unit_text unit_text(enum field_type, uint64_t);

#endif
