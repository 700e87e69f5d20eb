/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PACE_H
#define PACE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * How fast one peer moves bytes: those that it sends, or those that it takes. Judged over windows of the peer's own time,
 * which runs from pace_run() to pace_stop(): while it is to send, or has something to take. Pure; one thread.
 *
 * A peer is let go when it was silent for `silence`, or when it moved less than `rate` in a whole window, which is as long
 * as `silence`, and PACE_WINDOW_NS at least: so a stall is forgiven that `silence` forgives.
 */
struct pace_rule {
    uint64_t rate;                   /* bytes a second; 0: any */
    uint64_t silence;                /* ns; TIME_NEVER: any, and no window either */
};

#define PACE_WINDOW_NS 10000000000ull
#define PACE_LOOK_NS 1000000000ull   /* how long after a sign of life the first look is; half of `silence` when that is less */

enum pace_of { PACE_NONE, PACE_SENDS, PACE_TAKES };
enum pace_verdict { PACE_WELL, PACE_LOOK, PACE_SILENT, PACE_SLOW };      /* LOOK: well, and silent since the last sign */

struct pace {
    uint64_t end;                    /* of the window; while the clock stands: what is left of it */
    uint64_t due;                    /* of the next look; when looked: of the end of patience with silence */
    uint64_t goal;                   /* the count to be reached by its end */
    uint64_t seen;                   /* PACE_SENDS: the count itself. PACE_TAKES: as it was at the last look */
    uint8_t of;                      /* enum pace_of */
    bool running, marked, looked;
};

/* The clock runs, and `now` there was a sign of life. Another direction than before begins anew. */
void pace_run(struct pace *, enum pace_of, const struct pace_rule *, uint64_t now);
static inline void pace_stop(struct pace *p, uint64_t now)
{
    if (p->running)
        p->end = p->end > now ? p->end - now : 0;
    p->running = false;
}

/* When pace_judge() is to be called; of a clock that runs. */
static inline uint64_t pace_next(const struct pace *p) { return p->due < p->end ? p->due : p->end; }
/* So many bytes came. Only of PACE_SENDS is that counted. */
static inline void pace_sent(struct pace *p, uint64_t bytes) { p->seen += p->of == PACE_SENDS ? bytes : 0; }
/* `count`: bytes moved so far; only differences mean something. */
enum pace_verdict pace_judge(struct pace *, const struct pace_rule *, uint64_t count, uint64_t now);

#endif
