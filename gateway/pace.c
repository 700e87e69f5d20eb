/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a peer moves bytes fast enough.
 *
 * Whoever has the clock running calls pace_run() at each sign of life that costs it nothing to notice: bytes came, the
 * socket took some. That moves `due` and nothing else. The true count of what was taken is the kernel's and costs a system
 * call: it is asked for at a look alone, a second after the last sign. So of a peer that moves well it is never asked, and
 * of one that does not, once a second at most.
 *
 * What a peer takes has no beginning until the first look, which may not be put off: `end` stands for it until then.
 *
 * The time of a clock that stands is not lost, so that who is fast between many short stalls is not judged by one of them, and
 * who is slow cannot have a new window for each.
 */
#include "pace.h"

#include "lib/check.h"
#include "lib/clock.h"

static uint64_t window_of(const struct pace_rule *r)
{
    return r->silence > PACE_WINDOW_NS ? r->silence : PACE_WINDOW_NS;
}

static uint64_t look_of(const struct pace_rule *r) { return r->silence / 2 < PACE_LOOK_NS ? r->silence / 2 : PACE_LOOK_NS; }

static uint64_t wanted(const struct pace_rule *r)
{
    return (uint64_t)((unsigned __int128)r->rate * window_of(r) / NSEC_PER_SEC);
}

void pace_run(struct pace *p, enum pace_of of, const struct pace_rule *r, uint64_t now)
{
    if (p->of != of) {
        *p = (struct pace){.of = (uint8_t)of, .marked = of == PACE_SENDS, .goal = wanted(r)};
        p->end = p->marked ? window_of(r) : look_of(r);
    }
    if (!p->running)
        p->end = time_after(now, p->end);
    p->running = true;
    p->looked = false;
    p->due = time_after(now, look_of(r));
}

static void window_begin(struct pace *p, const struct pace_rule *r, uint64_t count, uint64_t now)
{
    p->marked = true;
    p->goal = count + wanted(r);
    p->end = time_after(now, window_of(r));
}

/* It is silent as far as was seen; is that so? */
static enum pace_verdict judge_silence(struct pace *p, const struct pace_rule *r, bool moved, uint64_t now)
{
    if (!p->looked) {
        p->looked = true;
        p->due = time_after(p->due, r->silence - look_of(r));
        return PACE_LOOK;
    }
    if (!moved)
        return PACE_SILENT;
    p->due = time_after(now, r->silence);
    return PACE_WELL;
}

enum pace_verdict pace_judge(struct pace *p, const struct pace_rule *r, uint64_t count, uint64_t now)
{
    bool moved = count != p->seen;
    check(p->running);
    p->seen = count;
    if (!p->marked) {
        window_begin(p, r, count, now);
    } else if (now >= p->end) {
        if (r->rate > 0 && (int64_t)(count - p->goal) < 0)
            return PACE_SLOW;
        window_begin(p, r, count, now);
    }
    if (now >= p->due)
        return judge_silence(p, r, moved, now);
    if (moved && p->looked)
        p->due = time_after(now, r->silence);
    return PACE_WELL;
}
