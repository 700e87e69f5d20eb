/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdint.h>

/*
 * The one place where time comes from. `mono` is monotonic nanoseconds, for every decision; `wall` is nanoseconds since
 * 1970, for logs and Date only. `coarse` is `mono` as the kernel last noted it, at most CLOCK_COARSE_NS ago: a few
 * instructions, to see whether much time has passed. The real clock may be read by any thread; a manual one belongs to its test.
 */
struct clock {
    uint64_t (*mono)(const struct clock *);
    uint64_t (*coarse)(const struct clock *);
    uint64_t (*wall)(const struct clock *);
    uint64_t manual_mono, manual_wall;     /* of a manual clock */
};

#define NSEC_PER_SEC  ((uint64_t)1000000000)
#define NSEC_PER_MSEC ((uint64_t)1000000)
#define TIME_NEVER    UINT64_MAX
#define CLOCK_COARSE_NS (10 * NSEC_PER_MSEC)

extern const struct clock clock_real;
void clock_manual(struct clock *, uint64_t mono, uint64_t wall);
void clock_advance(struct clock *, uint64_t ns);              /* both; manual only */

static inline uint64_t clock_mono(const struct clock *c) { return c->mono(c); }
static inline uint64_t clock_coarse(const struct clock *c) { return c->coarse(c); }
static inline uint64_t clock_wall(const struct clock *c) { return c->wall(c); }

/* now + ns, saturating at TIME_NEVER. */
static inline uint64_t time_after(uint64_t now, uint64_t ns) { return now > TIME_NEVER - ns ? TIME_NEVER : now + ns; }

/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 5.6.7) into out[30]. */
void clock_http_date(uint64_t wall, char out[30]);
/* "2026-11-21T03:40:59.123456Z" into out[28]. */
void clock_rfc3339(uint64_t wall, char out[28]);

#endif
