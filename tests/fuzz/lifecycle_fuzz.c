/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole gateway of two workers, driven by bytes: clients, endpoints, filters, time, reloads and closes, in any order.
 *
 * Whatever happens:
 *   - a request begun ends once, and so does every scope of it that a filter entered; leases come back before that;
 *   - what weir sends is well-formed; a tame client gets its own answers, in order, to the byte, and none that was cut looks
 *     whole; an endpoint gets no request before it has answered the one before;
 *   - after an hour in which nobody does anything, timeouts alone have ended everything: no connection, request, timer, buffer,
 *     view, slot or probe is left.
 *
 * An input is a list of steps, a byte each and then what it takes. Without its highest bit nothing runs after it: what the
 * next step does falls into the same turn.
 */
#include <stdint.h>
#include "lifecycle_peer.h"
#include "lifecycle_spy.h"
#include "client.h"
#include "conf/shared.h"
#include "figure.h"
#include "filter.h"
#include "view.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS_MAX = 400, INPUT_MAX = 4096, WORKERS = 2 };

#define TIMES "timeouts: {connect: 2s, first_byte: 10s, idle: 10s, tunnel: 5m}"
#define URL(PORT) "\"http://127.0.0.1:" PORT "\""
#define BUSY(MAX, WAIT) "concurrency: {max: " MAX ", queue: 3, max_wait: " WAIT ", fair_by: [\"header:key\"]}"
#define SHORT_BREAKER "breaker: {min_requests: 2, window: 1s, open: 100ms..1s, ramp: 1s}"

static const char *const confs[] = {
    SIM_HEAD "upstreams: {api: {endpoints: [" URL("81") ", " URL("82") "], pool: {max: 2}, " TIMES "}}\n"
    "routes: [{match: /, upstream: api}]\n",

    "version: 1\nlisten: [{at: 127.0.0.1:8080, filters: [spy]}]\n"
    "upstreams: {api: {endpoints: [" URL("81") "], " TIMES ", filters: [{" BUSY("1", "2s") "}, {" SHORT_BREAKER "}, "
    "{retry: {backoff: 10ms..100ms, budget: 100%, body: 2KiB}}, {timeout: {first_byte: 3s}}, spy_leg]}}\n"
    "routes: [{match: /, upstream: api, timeout: 8s, filters: [{token_bucket: {rate: 2/s, burst: 6, key: client_ip, delay: 1s}}],\n"
    "  fallback: {respond: {status: 503, body: back}}}]\n",

    "version: 1\nlisten: [{at: 127.0.0.1:8080, half_close: keep, filters: [request_id]}]\n"
    "upstreams:\n"
    "  api: {endpoints: [" URL("81") ", " URL("82") "], " TIMES ", balance: round_robin, eject: {failures: 2, base: 1s, max: 2s},\n"
    "        filters: [spy_leg, {" BUSY("2", "1s") "}, {breaker: {scope: endpoint, min_requests: 2, window: 1s, open: 100ms..1s}}, retry]}\n"
    "  other: {endpoints: [" URL("83") "], " TIMES ", filters: [{concurrency: {max: 1, key: [\"header:key\"]}}]}\n"
    "routes:\n"
    "  - {match: /a/, upstream: api, fallback: other, max_body: 3KiB, filters: [spy_body, spy]}\n"
    "  - {match: /, upstream: api, fallback: other, timeout: 20s, filters: [spy, {headers: {response: {set: {x-a: b}}}}]}\n",

    "version: 1\nlisten: [{at: 127.0.0.1:8080, body_timeout: 3s, keepalive_timeout: 2s, header_timeout: 1s, filters: [spy]}]\n"
    "upstreams: {api: {endpoints: [" URL("82") "], " TIMES ", pool: {max: 0}, filters: [{" BUSY("3", "100ms") "}, spy_leg,\n"
    "  {timeout: {total: 5s, client_body: 1s}}, {breaker: {mode: shadow, min_requests: 1}}]}}\n"
    "routes: [{match: /a/, respond: {status: 200, body: here}, filters: [spy_body]}, {match: /, upstream: api}]\n",

    "version: 1\nlisten: [127.0.0.1:8081]\n"
    "upstreams: {api: {endpoints: [" URL("81") ", " URL("83") "], " TIMES ", filters: [retry, spy_leg]}}\n"
    "routes: [{match: /, upstream: api, filters: [spy]}]\n",
};

/* The rest of the input. */
struct bytes {
    const uint8_t *at, *end;
};

static unsigned next(struct bytes *b) { return b->at < b->end ? *b->at++ : 0; }

static size_t next_length(struct bytes *b)
{
    static const unsigned times[] = {0, 1, 1, 1, 16, 16, 120, 700};
    unsigned n = next(b);
    return (size_t)next(b) * times[n & 7] + (n >> 3);
}

/* ---- steps ---- */

/* Among those of a kind that are open; NULL: none is. */
static struct peer *pick(struct bytes *b, bool clients, bool endpoints)
{
    struct peer *some[PEERS_MAX];
    unsigned n = 0;
    for (unsigned i = 0; i < world.n; i++) {
        struct peer *p = world.peers[i];
        if (!sim_closed(p->conn) && (p->client ? clients : endpoints))
            some[n++] = p;
    }
    unsigned at = next(b);
    return n ? some[at % n] : NULL;
}

static void arrive(struct bytes *b)
{
    static const char *const ips[] = {"192.0.2.1", "192.0.2.2"};
    unsigned how = next(b);
    if (sim_worker(world.sim, how & 1)->view->snap == world.sim->snap)
        peer_new(sim_client_at(world.sim, how & 1, 0, str_c(ips[how >> 1 & 1])));
}

static void ask(struct bytes *b)
{
    struct peer *p = pick(b, true, false);
    unsigned kind = next(b), style = next(b);
    size_t len = kind & 4 ? next_length(b) : 0;
    if (p)
        put_request(p, kind, style, len);
}

static void look_around(void)
{
    struct sim_conn *u;
    while ((u = sim_next(world.sim)) != NULL)
        peer_new(u);
    for (unsigned i = 0; i < world.n; i++)
        hear(world.peers[i]);
}

static void settle(void)
{
    sim_run(world.sim);
    look_around();
}

/* One that nobody asked for comes when all is quiet: then it is nobody's. */
static void answer(struct bytes *b, struct peer *p)
{
    unsigned kind = next(b), style = next(b);
    size_t len = next_length(b);
    if (p && !p->owes)
        settle();
    if (!p)
        return;
    bool asked = p->owes;
    put_answer(p, kind, style, len);
    if (asked)
        return;
    send_out(p, SIZE_MAX);
    settle();
}

static void send_wild(struct bytes *b)
{
    struct peer *p = pick(b, true, true);
    size_t len = next(b) % 128, left = (size_t)(b->end - b->at);
    len = len < left ? len : left;
    if (p && !p->fin) {
        p->wild = p->odd = true;
        world.wild_client |= p->client;
        world.wild_endpoint |= !p->client;
        send_out(p, SIZE_MAX);
        sim_send_str(p->conn, str_of((const char *)b->at, len));
    }
    b->at += len;
}

static void leave(struct bytes *b, bool reset)
{
    struct peer *p = pick(b, true, true);
    if (!p)
        return;
    p->fin = true;
    if (reset)
        p->conn->end.reset_last = next(b) & 1;
    (reset ? sim_reset : sim_fin)(p->conn);
}

static void reload_rest(void)
{
    for (unsigned i = 0; i < WORKERS; i++)
        if (sim_worker(world.sim, i)->view->snap != world.sim->snap)
            sim_reload_one(world.sim, i);
}

/* All workers, or one of them now and the others later. */
static void reload(struct bytes *b)
{
    unsigned how = next(b);
    reload_rest();
    sim_load(world.sim, confs[(how >> 2) % array_len(confs)]);
    if (how & 2)
        sim_reload_one(world.sim, how & 1);
    else
        reload_rest();
}

static void drain(struct bytes *b)
{
    struct worker *w = sim_worker(world.sim, next(b) % WORKERS);
    w->draining = true;
    for (struct list *n = w->all_clients.next, *after; n != &w->all_clients; n = after) {
        after = n->next;
        client_drain(container_of(n, struct client, link));
    }
}

static void turn_knobs(struct bytes *b)
{
    static const size_t sizes[] = {0, 0, 1, 23, 300, 5000, 0, 70000};
    unsigned n = next(b), m = next(b);
    struct sim *s = world.sim;
    s->client_read_max = sizes[n & 7];
    s->up_read_max = sizes[n >> 3 & 7];
    s->client_window = sizes[m & 7];
    s->up_window = sizes[m >> 3 & 7];
    s->shuffle = m >> 6 & 1;
    s->connect = n >> 6 ? SIM_ACCEPT : m >> 7 ? SIM_HANG : SIM_REFUSE;
    if (n >> 6 == 3 && m >> 7)
        s->connect = SIM_REFUSE_NOW;
}

static void script(struct bytes *b)
{
    struct spy_act act = {(uint8_t)(next(b) % SPY_HOOKS), (uint8_t)next(b), (uint8_t)next(b)};
    if (spy.n_acts < SPY_ACTS)
        spy.acts[spy.n_acts++] = act;
    world.spoilt |= act.hook == SPY_UP || act.hook == SPY_DOWN;
}

static void answer_all(struct bytes *b)
{
    const struct bytes same = *b;
    for (unsigned i = 0; i < world.n; i++) {
        struct peer *p = world.peers[i];
        *b = same;
        if (p->client || !p->owes || !p->whole)
            continue;
        answer(b, p);
        send_out(p, SIZE_MAX);
    }
}

static void send_step(struct bytes *b, bool all)
{
    struct peer *p = pick(b, true, true);
    size_t most = all ? SIZE_MAX : next_length(b);
    if (p)
        send_out(p, most);
}

static void stall(struct bytes *b, bool toggle)
{
    struct peer *p = pick(b, true, true);
    size_t len = toggle ? 0 : next_length(b);
    if (p && toggle)
        p->conn->stalled = !p->conn->stalled;
    else if (p)
        sim_drink(p->conn, len);
}

static void wait_some(struct bytes *b, uint64_t unit) { sim_advance(world.sim, next(b) * unit + 1); }

static void connect_one(struct bytes *b)
{
    struct peer *p = pick(b, false, true);
    if (p && p->conn->end.stream && p->conn->end.stream->connecting)
        sim_accept(p->conn);
}

static void step(struct bytes *b)
{
    unsigned what = next(b);
    switch (what % 26) {
    case 0: case 1: arrive(b); break;
    case 2: case 3: case 4: ask(b); break;
    case 5: case 6: send_step(b, true); break;
    case 7: send_step(b, false); break;
    case 8: case 9: answer(b, pick(b, false, true)); break;
    case 10: answer_all(b); break;
    case 11: send_wild(b); break;
    case 12: leave(b, false); break;
    case 13: leave(b, true); break;
    case 14: stall(b, true); break;
    case 15: stall(b, false); break;
    case 16: wait_some(b, NSEC_PER_MSEC); break;
    case 17: wait_some(b, 100 * NSEC_PER_MSEC); break;
    case 18: reload(b); break;
    case 19: reload_rest(); break;
    case 20: turn_knobs(b); break;
    case 21: case 22: script(b); break;
    case 23: spy_grant(next(b)); break;
    case 24: connect_one(b); break;
    default: drain(b); break;
    }
    if (what & 128)
        settle();
    else
        look_around();
}

/* ---- the end ---- */

/* Of shared state: nobody has anything any more. */
static void figures_are_calm(const struct instance *in)
{
    static const char *const zero[] = {"concurrency_in_flight", "concurrency_waiting", "breaker_probes"};
    union figure_value v[64];
    const struct figure *f = in->type->figures;
    if (!f)
        return;
    in->type->figures_read(in->shared, in->options, clock_mono(&world.sim->clock), v);
    for (size_t i = 0; f[i].name; i++)
        for (size_t k = 0; k < array_len(zero); k++)
            check(strcmp(f[i].name, zero[k]) != 0 || v[i].n == 0);
}

static void nothing_left(const char *left)
{
    if (left[0])
        fprintf(stderr, "left: %s\n", left);
    check(!left[0]);
}

static void end(void)
{
    char left[600];
    struct sim *s = world.sim;
    reload_rest();
    settle();
    sim_advance(s, 3600 * NSEC_PER_SEC);
    look_around();
    sim_left(s, left, sizeof left);
    nothing_left(left);
    check(spy.scopes == 0 && spy.attempts == 0 && spy.leases == 0);
    for (size_t i = 0; i < s->snap->n_instances; i++)
        figures_are_calm(s->snap->instances[i]);
    sim_end(s, left, sizeof left);
    nothing_left(left);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct filter *filters[40];
    struct bytes b = {data, data + size};
    if (size < 4 || size > INPUT_MAX)
        return 0;
    if (!filters[0]) {
        static const struct filter *const own[] = {&spy_of_request, &spy_of_leg, &spy_of_body};
        size_t n = 0;
        for (; filters_all[n]; n++)
            filters[n] = filters_all[n];
        for (size_t i = 0; i < array_len(own); i++)
            filters[n++] = own[i];
        check(n < array_len(filters));
    }
    check_set_hook(peers_print);
    memset(&spy, 0, sizeof spy);
    unsigned first = next(&b);
    world.sim = sim_new_with(&(struct sim_conf){.yaml = confs[first % array_len(confs)], .filters = filters,
                                                .workers = WORKERS, .seed = next(&b)});
    world.sim->connect = SIM_ACCEPT;
    for (; world.step < STEPS_MAX && b.at < b.end; world.step++)
        step(&b);
    end();
    peers_free();
    return 0;
}
