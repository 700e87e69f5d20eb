/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A certificate in force comes to its end without anything being read, so what a load warns of must be said again: once a day,
 * from the start on, whatever is reloaded meanwhile. Files are not looked at here; that is conf_watch.c's.
 */
#include "certificates.h"

#include <event2/event.h>
#include <inttypes.h>
#include <string.h>
#include "exposition.h"
#include "lib/check.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "tls_files.h"

enum { A_DAY = 24 * 3600, TOLD_MAX = 19 };

struct certificates {
    struct snapshot *const *running;
    struct event *daily;
};

void certificates_ending(const struct snapshot *snap, uint64_t now, struct page *p)
{
    for (const struct tls_shown *s = snap ? snap->shown : NULL; s; s = s->next) {
        char end[28];
        if (s->until >= now + TLS_ENDS_SOON)
            continue;
        clock_rfc3339(s->until * NSEC_PER_SEC, end);
        uint64_t apart = (s->until > now ? s->until - now : now - s->until) / A_DAY;
        page_printf(p, "certificate " STR_FMT " (" STR_FMT ") %s at %.19sZ, ", STR_ARG(s->path), STR_ARG(s->subject),
                    s->until > now ? "expires" : "expired", end);
        page_printf(p, s->until > now ? "in %" PRIu64 " day%s: renew it\n" : "%" PRIu64 " day%s ago: renew it\n", apart,
                    apart == 1 ? "" : "s");
    }
}

bool certificate_same(const struct tls_shown *a, const struct tls_shown *b)
{
    return memcmp(a->print, b->print, sizeof a->print) == 0;
}

void certificates_renewed(const struct snapshot *before, const struct snapshot *after, struct page *p)
{
    size_t n = 0;
    for (const struct tls_shown *s = after->shown; s; s = s->next) {
        const struct tls_shown *old = tls_shown_find(before, s->path);
        char end[28];
        if ((old && certificate_same(old, s)) || n++ >= TOLD_MAX)
            continue;
        clock_rfc3339(s->until * NSEC_PER_SEC, end);
        page_printf(p, "certificate " STR_FMT ": " STR_FMT ", serial " STR_FMT ", until %.19sZ\n", STR_ARG(s->path),
                    STR_ARG(s->subject), STR_ARG(s->serial), end);
    }
    if (n > TOLD_MAX)
        page_printf(p, "and %zu more certificates\n", n - TOLD_MAX);
}

void certificates_json(const struct snapshot *snap, struct page *p)
{
    for (const struct tls_shown *s = snap->shown; s; s = s->next) {
        char end[28];
        clock_rfc3339(s->until * NSEC_PER_SEC, end);
        page_printf(p, "%s\n{\"file\":", s == snap->shown ? "[" : ",");
        page_json(p, s->path);
        page_printf(p, ",\"subject\":");
        page_json(p, s->subject);
        page_printf(p, ",\"serial\":");
        page_json(p, s->serial);
        page_printf(p, ",\"expires\":\"%.19sZ\"}", end);
    }
    page_printf(p, snap->shown ? "]" : "[]");
}

static void lists_metrics(const struct snapshot *snap, struct page *p)
{
    bool any = false;
    for (const struct tls_trusted *t = snap->trusted; t; t = t->next) {
        if (!t->lists || t->until == UINT64_MAX)
            continue;
        if (!any)
            exposition_head(p, "tls_crl_expiry_timestamp_seconds", "gauge",
                            "When the first list of revoked certificates ends that no later one follows, by file: from then on no "
                            "certificate of its CA is taken.");
        any = true;
        exposition_value(p, "tls_crl_expiry_timestamp_seconds", &(struct label){"crl", t->path}, 1, t->until);
    }
}

void certificates_metrics(const struct snapshot *snap, struct page *p)
{
    lists_metrics(snap, p);
    if (!snap->shown)
        return;
    exposition_head(p, "tls_certificate_expiry_timestamp_seconds", "gauge",
                    "When a certificate in force ends, by its file: those of listeners, and those that endpoints are shown.");
    for (const struct tls_shown *s = snap->shown; s; s = s->next)
        exposition_value(p, "tls_certificate_expiry_timestamp_seconds", &(struct label){"certificate", s->path}, 1, s->until);
}

static void daily_came(evutil_socket_t fd, short what, void *arg)
{
    const struct certificates *c = arg;
    struct page lines = {0};
    (void)fd, (void)what;
    certificates_ending(*c->running, clock_wall(&clock_real) / NSEC_PER_SEC, &lines);
    for (char *at = lines.len ? lines.at : NULL, *end; at && (end = strchr(at, '\n')) != NULL; at = end + 1)
        log_warn("tls", "%.*s", (int)(end - at), at);
    page_free(&lines);
}

struct certificates *certificates_new(struct event_base *base, struct snapshot *const *running)
{
    const struct timeval day = {.tv_sec = A_DAY};
    struct certificates *c = mem_zalloc(sizeof *c);
    c->running = running;
    c->daily = event_new(base, -1, EV_PERSIST, daily_came, c);
    check(c->daily && event_add(c->daily, &day) == 0);
    return c;
}

void certificates_free(struct certificates **at)
{
    struct certificates *c = *at;
    *at = NULL;
    if (!c)
        return;
    event_free(c->daily);
    mem_free(c);
}
