/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints as people and Prometheus see them: GET /upstreams, and a part of /metrics. */
#include "health.h"

#include <inttypes.h>
#include "exposition.h"
#include "lib/page.h"

const char *health_state_name(enum health_state state)
{
    static const char *const names[HEALTH_STATES] = {"up", "ramping", "ejected", "down", "unresolved"};
    return names[state];
}

static const char *balance_name(enum balance b)
{
    return b == BALANCE_ROUND_ROBIN ? "round_robin" : b == BALANCE_LEAST_REQUESTS ? "least_requests" : "hash";
}

static uint64_t ms_up(uint64_t ns) { return ns / NSEC_PER_MSEC + (ns % NSEC_PER_MSEC != 0); }

static void endpoint_json(struct health *h, size_t i, uint64_t now, struct page *p)
{
    struct health_seen s;
    health_look(h, i, now, &s);
    page_printf(p, "{\"url\":");
    page_json(p, h->conf->endpoints[i].url);
    page_printf(p, ",\"addresses\":%u,\"state\":\"%s\",\"share\":%u.%03u,\"in_flight\":%" PRIu64 ",\"ejections\":%" PRIu64
                   ",\"since_ms\":%" PRIu64 ",\"back_in_ms\":",
                s.addresses, health_state_name(s.state), s.share / BALANCE_FULL, s.share % BALANCE_FULL, s.in_flight,
                s.ejections, now > s.since ? (now - s.since) / NSEC_PER_MSEC : 0);
    if (s.state == HEALTH_EJECTED)
        page_printf(p, "%" PRIu64, ms_up(s.back_in));
    else
        page_printf(p, "null");
    page_printf(p, ",\"last_failure\":");
    if (s.last_failure.text[0])
        page_json(p, str_c(s.last_failure.text));
    else
        page_printf(p, "null");
    if (h->conf->check.path.len)
        page_printf(p, ",\"checks\":{\"ok\":%" PRIu64 ",\"failed\":%" PRIu64 "}}", s.checks_ok, s.checks_failed);
    else
        page_printf(p, ",\"checks\":null}");
}

static void upstream_json(struct health *h, uint64_t now, struct page *p)
{
    page_printf(p, "{\"name\":");
    page_json(p, h->conf->name);
    page_printf(p, ",\"balance\":\"%s\",\"endpoints\":[", balance_name(h->conf->balance));
    for (size_t i = 0; i < h->conf->n; i++) {
        page_printf(p, "%s\n  ", i ? "," : "");
        endpoint_json(h, i, now, p);
    }
    page_printf(p, "\n]}");
}

void healths_json(struct healths *all, uint64_t now, struct page *p)
{
    page_printf(p, "{\"upstreams\":[");
    for (size_t i = 0; i < all->n; i++) {
        page_printf(p, "%s\n", i ? "," : "");
        upstream_json(all->v[i], now, p);
    }
    page_printf(p, "%s]}\n", all->n ? "\n" : "");
}

static void states_print(struct health *h, uint64_t now, struct page *p)
{
    uint64_t counts[HEALTH_STATES] = {0};
    for (size_t i = 0; i < h->conf->n; i++) {
        struct health_seen s;
        health_look(h, i, now, &s);
        counts[s.state]++;
    }
    for (unsigned s = 0; s < HEALTH_STATES; s++) {
        const struct label labels[] = {{"upstream", h->conf->name}, {"state", str_c(health_state_name((enum health_state)s))}};
        exposition_value(p, "upstream_endpoints", labels, 2, counts[s]);
    }
}

static uint64_t load(const _Atomic uint64_t *at) { return atomic_load_explicit(at, memory_order_relaxed); }

static void checks_print(const struct health *h, struct page *p)
{
    const struct label ok[] = {{"upstream", h->conf->name}, {"result", STR("ok")}};
    const struct label failed[] = {{"upstream", h->conf->name}, {"result", STR("failed")}};
    exposition_value(p, "upstream_checks_total", ok, 2, load(&h->upstream->checks_ok));
    exposition_value(p, "upstream_checks_total", failed, 2, load(&h->upstream->checks_failed));
}

static void unverified_print(const struct healths *all, struct page *p)
{
    exposition_head(p, "upstream_tls_unverified", "gauge", "Whether certificates of https endpoints are taken unseen.");
    for (size_t i = 0; i < all->n; i++) {
        const struct upstream_conf *u = all->v[i]->conf;
        const struct label name = {"upstream", u->name};
        if (u->tls.client)
            exposition_value(p, "upstream_tls_unverified", &name, 1, !u->tls.verify);
    }
}

void healths_metrics(struct healths *all, uint64_t now, struct page *p)
{
    exposition_head(p, "upstream_endpoints", "gauge", "Endpoints of an upstream, by state.");
    for (size_t i = 0; i < all->n; i++)
        states_print(all->v[i], now, p);
    exposition_head(p, "upstream_ejections_total", "counter", "Times that an endpoint was ejected because requests failed.");
    for (size_t i = 0; i < all->n; i++) {
        const struct label name = {"upstream", all->v[i]->conf->name};
        exposition_value(p, "upstream_ejections_total", &name, 1, load(&all->v[i]->upstream->ejections));
    }
    exposition_head(p, "upstream_checks_total", "counter", "Checks of endpoints, by result.");
    for (size_t i = 0; i < all->n; i++)
        if (all->v[i]->conf->check.path.len)
            checks_print(all->v[i], p);
    unverified_print(all, p);
}
