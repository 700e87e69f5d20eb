/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory guard's look: resident memory against the bound.
 *
 * Resident memory is what the kernel ends a process for, whoever asked for it: buffers, TLS, the C library's own. Counting
 * what weir hands out would miss a half of that. It has one flaw, that what was freed may still be resident; so before a stage
 * is entered the workers give their free lists back, and again every GIVE_NS while it lasts; when all have, the C library is
 * asked to do the same with what it got from them, before the next look.
 *
 * Between two looks the streams' own bounds hold, one by one; how many of them begin is held by nothing but the next look. So
 * it comes after NEAR_NS once half of the bound is in use: at 20 KiB for each of 5,000 new connections a second that is 2 MiB
 * between two looks, and a read of 20 bytes costs nothing.
 *
 * The marks are shares of the bound, and a stage is left 5 % below its mark, so that it is not entered and left by the
 * same few requests.
 *
 * Invariant: a message is the worker's from its posting until `out` falls, and memory_free() comes after that.
 */
#include "memory.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "lib/check.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "worker.h"

enum { NEAR = 50, ENTER_BODIES = 80, ENTER_REQUESTS = 90, ENTER_CONNECTIONS = 95, LEAVE = 5 };

#define GIVE_NS (5 * NSEC_PER_SEC)
#define FAR_NS (250 * NSEC_PER_MSEC)
#define NEAR_NS (20 * NSEC_PER_MSEC)
#define NO_BOUND (1ull << 60)                /* control groups write a number of this size for none */

/* To one worker. */
struct order {
    struct mail mail;
    _Atomic bool out;
    enum memory_stage stage;
    bool give_back;
};

struct memory {
    struct event *tick;
    int statm;                       /* -1: not to be had */
    struct worker *workers;
    struct order *orders;
    unsigned n;                      /* 0: nobody is told */
    uint64_t limit, used;
    enum memory_stage stage;
    uint64_t told;                   /* when all workers were told their stage last, new or not */
    uint64_t gave;                   /* when free lists were given back last; 0: never */
    bool trim;                       /* when all have given back */
    uint64_t entered;                /* how often a stage was entered */
};

/* ---- the bound ---- */

static uint64_t read_bound(const char *path)
{
    char text[64];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    uint64_t bound = strtoull(text, NULL, 10);       /* "max": 0 */
    return bound >= NO_BOUND ? 0 : bound;
}

/* Of the group and all above it. In a container the group's path may be the host's, and not exist: then only what does counts. */
static uint64_t least_bound(const char *root, const char *sub, char *group, const char *file)
{
    uint64_t least = 0;
    for (;;) {
        char path[4096];
        int n = snprintf(path, sizeof path, "%s%s%s/%s", root, sub, group, file);
        uint64_t bound = n > 0 && (size_t)n < sizeof path ? read_bound(path) : 0;
        if (bound > 0 && (least == 0 || bound < least))
            least = bound;
        char *slash = strrchr(group, '/');
        if (!slash)
            return least;
        *slash = '\0';
    }
}

uint64_t memory_of_cgroup(const char *root, const char *self)
{
    char line[2048];
    uint64_t least = 0;
    FILE *f = fopen(self, "re");
    while (f && fgets(line, sizeof line, f)) {
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        controllers++;
        group[strcspn(group, "\n")] = '\0';
        uint64_t bound = 0;
        if (*controllers == '\0')
            bound = least_bound(root, "", group, "memory.max");
        else if (strstr(controllers, "memory"))
            bound = least_bound(root, "/memory", group, "memory.limit_in_bytes");
        if (bound > 0 && (least == 0 || bound < least))
            least = bound;
    }
    if (f)
        (void)fclose(f);
    return least;
}

/* ---- stages ---- */

static const unsigned marks[] = {[MEMORY_FINE] = 0, [MEMORY_BODIES] = ENTER_BODIES, [MEMORY_REQUESTS] = ENTER_REQUESTS,
                                 [MEMORY_CONNECTIONS] = ENTER_CONNECTIONS};

static uint64_t share_of(uint64_t limit, unsigned percent)
{
    return limit / 100 * percent + limit % 100 * percent / 100;
}

enum memory_stage memory_stage_next(enum memory_stage stage, uint64_t used, uint64_t limit)
{
    if (limit == 0)
        return MEMORY_FINE;
    while (stage < MEMORY_CONNECTIONS && used >= share_of(limit, marks[stage + 1]))
        stage++;
    while (stage > MEMORY_FINE && used < share_of(limit, marks[stage] - LEAVE))
        stage--;
    return stage;
}

static void stage_say(const struct memory *m, enum memory_stage from)
{
    static const char *const what[] = {
        [MEMORY_FINE] = "there is room again",
        [MEMORY_BODIES] = "request bodies that have not begun wait",
        [MEMORY_REQUESTS] = "new requests are refused",
        [MEMORY_CONNECTIONS] = "no connections are accepted",
    };
    uint64_t mib = 1 << 20;
    if (m->stage > from)
        log_warn("memory", "%" PRIu64 " of %" PRIu64 " MiB are in use: %s", m->used / mib, m->limit / mib, what[m->stage]);
    else
        log_info("memory", "%" PRIu64 " of %" PRIu64 " MiB are in use: %s", m->used / mib, m->limit / mib, what[m->stage]);
}

/* ---- orders ---- */

static void order_taken(struct mail *mail, void *owner)
{
    struct order *o = container_of(mail, struct order, mail);
    struct worker *w = owner;
    if (o->give_back)
        relief_give_back(w);
    if (w->memory != o->stage)
        relief_set(w, o->stage);
    else if (o->stage != MEMORY_FINE)
        relief_let_one(w);
    atomic_store_explicit(&o->out, false, memory_order_release);
}

/* Whether a worker has still to give back what it was told to. */
static bool giving_back(const struct memory *m)
{
    for (unsigned i = 0; i < m->n; i++)
        if (m->orders[i].give_back && atomic_load_explicit(&m->orders[i].out, memory_order_acquire))
            return true;
    return false;
}

/* A worker that has not taken the last one gets the next one later. `again`: those too that know their stage (relief_let_one). */
static void order_all(struct memory *m, bool give_back, bool again)
{
    for (unsigned i = 0; i < m->n; i++) {
        struct order *o = &m->orders[i];
        if (atomic_load_explicit(&o->out, memory_order_acquire))
            continue;
        if (!give_back && o->stage == m->stage && (m->stage == MEMORY_FINE || !again))
            continue;
        o->stage = m->stage;
        o->give_back = give_back;
        atomic_store_explicit(&o->out, true, memory_order_relaxed);
        mailbox_post(&m->workers[i].mailbox, &o->mail);
    }
}

void memory_look(struct memory *m, uint64_t used, uint64_t now)
{
    enum memory_stage before = m->stage, next = memory_stage_next(before, used, m->limit);
    bool give_back = next > MEMORY_FINE && (m->gave == 0 || now - m->gave >= GIVE_NS);
    m->used = used;
    if (give_back) {
        m->gave = now;
        m->trim = true;
    }
    if (before == MEMORY_FINE && next == MEMORY_BODIES && (give_back || giving_back(m)))
        next = before;               /* the next look sees what that was good for */
    m->stage = next;
    m->entered += next > before;
    if (next != before)
        stage_say(m, before);
    bool again = now - m->told >= FAR_NS;
    if (again)
        m->told = now;
    order_all(m, give_back, again);
}

uint64_t memory_next_ns(const struct memory *m)
{
    return m->limit > 0 && m->used >= share_of(m->limit, NEAR) ? NEAR_NS : FAR_NS;
}

static uint64_t resident(const struct memory *m)
{
    char text[128];
    ssize_t n = m->statm >= 0 ? pread(m->statm, text, sizeof text - 1, 0) : -1;
    text[n > 0 ? n : 0] = '\0';
    const char *second = strchr(text, ' ');
    return second ? strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

uint64_t memory_used(struct memory *m)
{
    if (m->trim && !giving_back(m)) {
        m->trim = false;
        mem_trim();
    }
    return resident(m);
}

static void tick_set(struct memory *m)
{
    const struct timeval tv = {0, (suseconds_t)(memory_next_ns(m) / 1000)};
    check(event_add(m->tick, &tv) == 0);
}

static void tick_came(evutil_socket_t fd, short what, void *arg)
{
    struct memory *m = arg;
    (void)fd, (void)what;
    memory_look(m, memory_used(m), clock_mono(&clock_real));
    tick_set(m);
}

struct memory *memory_new(struct event_base *base)
{
    struct memory *m = mem_zalloc(sizeof *m);
    m->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (m->statm < 0)
        log_warn("memory", "/proc/self/statm: %s; memory is not guarded", strerror(errno));
    if (base) {
        m->tick = evtimer_new(base, tick_came, m);
        check(m->tick != NULL);
    }
    return m;
}

void memory_begin(struct memory *m, struct worker *workers, unsigned n)
{
    m->workers = workers;
    m->orders = mem_array(n, sizeof *m->orders);
    for (unsigned i = 0; i < n; i++)
        m->orders[i].mail.deliver = order_taken;
    m->n = n;
    if (m->tick)
        tick_set(m);
}

void memory_set(struct memory *m, uint64_t limit)
{
    uint64_t before = m->limit, mib = 1 << 20;
    m->limit = limit == MEMORY_AUTO ? memory_of_cgroup("/sys/fs/cgroup", "/proc/self/cgroup") : limit;
    m->used = resident(m);
    if (m->limit != before && m->limit > 0)
        log_info("memory", "the bound is %" PRIu64 " MiB; %" PRIu64 " are in use", m->limit / mib, m->used / mib);
    if (m->limit > 0 && m->used >= share_of(m->limit, ENTER_BODIES - LEAVE))
        log_warn("memory", "the bound leaves no room: what is in use already is nearly all of it");
}

void memory_end(struct memory *m)
{
    m->n = 0;
    if (m->tick)
        event_del(m->tick);
}

void memory_free(struct memory **at)
{
    struct memory *m = *at;
    *at = NULL;
    if (!m)
        return;
    if (m->tick)
        event_free(m->tick);
    if (m->statm >= 0)
        close(m->statm);
    mem_free(m->orders);
    mem_free(m);
}

void memory_metrics(const struct memory *m, struct page *page)
{
    page_printf(page, "# HELP weir_memory_limit_bytes What the process may have of memory; 0: no bound is known.\n"
                      "# TYPE weir_memory_limit_bytes gauge\nweir_memory_limit_bytes %" PRIu64 "\n", m->limit);
    page_printf(page, "# HELP weir_memory_resident_bytes What it has, at the last look.\n"
                      "# TYPE weir_memory_resident_bytes gauge\nweir_memory_resident_bytes %" PRIu64 "\n", m->used);
    page_printf(page, "# HELP weir_memory_stage 0: fine; 1: request bodies wait; 2: requests are refused; 3: nobody is accepted.\n"
                      "# TYPE weir_memory_stage gauge\nweir_memory_stage %d\n", (int)m->stage);
    page_printf(page, "# HELP weir_memory_stages_total How often a higher stage was entered.\n"
                      "# TYPE weir_memory_stages_total counter\nweir_memory_stages_total %" PRIu64 "\n", m->entered);
}
