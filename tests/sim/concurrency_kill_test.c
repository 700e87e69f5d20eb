/* SPDX-License-Identifier: Apache-2.0 */
/* Whoever ends a request, and wherever it stands then: its slot, or its place in the queue, is free at that moment, and all
 * slots can be had again. */
#include "concurrency_sim.h"

#include "client.h"

enum { MAX = 2 };
#define CONF LIMITED("{concurrency: {max: 2, queue: 3, max_wait: 5s, fair_by: \"header:x-key\"}}, {actor: {id: u}}")
#define BIG "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
#define BUSY "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
#define POST "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"
#define UPGRADE "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
#define UPGRADED "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"

/* One request that is to die, and what others hold and wait for then. */
struct scene {
    struct sim *s;
    struct sim_conn *client, *up;                /* its own; up NULL: there is none */
    unsigned worker;
    unsigned held, waiting;                      /* of others, once it is gone */
};

/* ---- killers ---- */

static void client_resets(struct scene *x) { sim_reset(x->client); }
static void client_ends(struct scene *x) { sim_fin(x->client); }
static void upstream_resets(struct scene *x) { sim_reset(x->up); }
static void upstream_ends(struct scene *x) { sim_fin(x->up); }

/* Whatever timer there is runs out: connect, deadline, idle, of the tunnel too. The others' do as well. */
static void time_passes(struct scene *x)
{
    sim_advance(x->s, 2 * 3600 * SEC);
    x->held = x->waiting = 0;
}

/* All who wait came at the same time. */
static void patience_ends(struct scene *x)
{
    sim_advance(x->s, 5 * SEC);
    x->waiting = 0;
}

/* As at the end of a drain, for this one alone. */
static void drain_cuts(struct scene *x)
{
    struct worker *w = x->client->worker;
    for (int twice = 0; twice < 2; twice++)
        for (struct list *n = w->all_clients.next, *next; n != &w->all_clients; n = next) {
            struct client *c = container_of(n, struct client, link);
            next = n->next;
            if (c == x->client->client && c->state != CLIENT_CLOSED)
                client_close(c, REASON_draining);
        }
}

enum killer { C_RESET, C_FIN, U_RESET, U_FIN, TIME, PATIENCE, CUT, KILLERS };

static const struct { const char *name; void (*kill)(struct scene *); } killers[KILLERS] = {
    [C_RESET] = {"the client resets", client_resets},
    [C_FIN] = {"the client ends", client_ends},
    [U_RESET] = {"the upstream resets", upstream_resets},
    [U_FIN] = {"the upstream ends", upstream_ends},
    [TIME] = {"time passes", time_passes},
    [PATIENCE] = {"max_wait passes", patience_ends},
    [CUT] = {"the drain cuts", drain_cuts},
};

/* ---- steps ---- */

static struct sim_conn *victim(struct scene *x, const char *text)
{
    x->client = sim_client_at(x->s, x->worker, 0, STR("192.0.2.1"));
    sim_say(x->client, text);
    return x->client;
}

/* Up to the connection that was opened for it. */
static void asked(struct scene *x, const char *text)
{
    victim(x, text);
    x->up = sim_next(x->s);
}

static void got(struct scene *x, const char *request, const char *answer_so_far)
{
    asked(x, request);
    sim_say(x->up, answer_so_far);
}

/* Others have all slots, and `n` of the victim's key wait. */
static void fill(struct scene *x, unsigned n)
{
    for (unsigned i = 0; i < MAX; i++)
        ask_with(x->s, 0, "/", "X-Key: x\r\n");
    for (unsigned i = 0; i < n; i++)
        ask_with(x->s, i, "/", "X-Key: a\r\n");
    x->held = MAX;
    x->waiting = n;
}

#define GET_A "GET / HTTP/1.1\r\nHost: h\r\nX-Key: a\r\n\r\n"

static void connected(struct scene *x) { victim(x, ""); }
static void half_head(struct scene *x) { victim(x, "GET / HTTP/1.1\r\nHo"); }

static void queued(struct scene *x)
{
    fill(x, 0);
    victim(x, GET_A);
    EXPECT_EQ(waiting(x->s), 1);
}

static void queued_with_its_body(struct scene *x)
{
    fill(x, 0);
    victim(x, POST "12345");
    EXPECT_EQ(waiting(x->s), 1);
}

static void queued_between_others(struct scene *x)
{
    fill(x, 1);
    victim(x, GET_A);
    ask_with(x->s, 0, "/", "X-Key: a\r\n");
    x->waiting = 2;
    EXPECT_EQ(waiting(x->s), 3);
}

/* A slot was given back to it by the other's worker; its own has not read its mail. */
static void granted(struct scene *x)
{
    queued(x);
    struct sim_conn *u = busy_one(x->s);
    sim_clear(u);
    sim_send(u, OK);
    mem_pump(&u->end);
    EXPECT_EQ(in_flight(x->s), MAX);
    EXPECT_EQ(waiting(x->s), 0);
    x->held = MAX - 1;
}

/* The same by a reload with a higher max. */
static void granted_by_reload(struct scene *x)
{
    queued(x);
    sim_load(x->s, LIMITED("{concurrency: {max: 3}}"));      /* no worker has it yet */
    EXPECT_EQ(in_flight(x->s), 3);
    sim_reload(x->s, CONF);
}

/* It had to make room for another key's; its worker has not read its mail. */
static void put_out(struct scene *x)
{
    fill(x, 2);
    victim(x, GET_A);
    struct sim_conn *c = sim_client_at(x->s, 0, 0, STR("192.0.2.1"));
    sim_send(c, "GET / HTTP/1.1\r\nHost: h\r\nX-Key: b\r\n\r\n");
    mem_pump(&c->end);
    x->waiting = 3;
    EXPECT_EQ(waiting(x->s), 3);
}

static void connecting(struct scene *x)
{
    x->s->connect = SIM_HANG;
    asked(x, GET);
}

static void a_filter_waits_with_the_slot(struct scene *x)
{
    PLAY(ACT("u", "attempt", FILTER_WAIT));
    victim(x, GET);
    EXPECT_EQ(in_flight(x->s), 1);
}

static void body_half_sent(struct scene *x) { asked(x, POST "1234"); }

static void body_behind_a_slow_upstream(struct scene *x)
{
    static char bytes[300000];
    x->s->up_window = 1000;
    victim(x, "");
    sim_send(x->client, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n");
    sim_run(x->s);
    x->up = sim_next(x->s);
    x->up->stalled = true;
    sim_fill(bytes, sizeof bytes, 0);
    sim_send_str(x->client, str_of(bytes, sizeof bytes));
    sim_run(x->s);
}

static void waits_for_100(struct scene *x)
{
    asked(x, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n");
}

static void sent(struct scene *x) { asked(x, GET); }
static void sent_with_body(struct scene *x) { asked(x, POST "1234567890"); }
static void early_hints(struct scene *x) { got(x, GET, "HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n"); }
static void half_answer_head(struct scene *x) { got(x, GET, "HTTP/1.1 200 OK\r\nConte"); }
static void answer_head(struct scene *x) { got(x, GET, BIG); }
static void half_answer(struct scene *x) { got(x, GET, BIG "12345"); }
static void half_answer_to_half_a_body(struct scene *x) { got(x, POST "123", BIG "12345"); }
static void half_a_chunk(struct scene *x) { got(x, GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123"); }
static void answer_without_length(struct scene *x) { got(x, GET, "HTTP/1.1 200 OK\r\n\r\n123"); }

static void head_is_held(struct scene *x)
{
    PLAY(ACT("u", "head", FILTER_HOLD, .always = true));
    got(x, GET, BIG "12345");
    EXPECT(!is_answered(x->client));
}

static void a_filter_waits_with_the_answer(struct scene *x)
{
    PLAY(ACT("u", "response", FILTER_WAIT));
    got(x, GET, BIG "12345");
    EXPECT(!is_answered(x->client));
}

static void answer_for_a_slow_client(struct scene *x)
{
    static char bytes[400000];
    x->s->client_window = 1000;
    asked(x, GET);
    x->client->stalled = true;
    sim_fill(bytes, sizeof bytes, 0);
    sim_send(x->up, "HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n");
    sim_send_str(x->up, str_of(bytes, sizeof bytes));
    sim_run(x->s);
    EXPECT_EQ(in_flight(x->s), 1);
}

static void whole_answer_for_a_slow_client(struct scene *x)
{
    x->s->client_window = 10;
    asked(x, GET);
    x->client->stalled = true;
    sim_say(x->up, BIG "1234567890");
    EXPECT_EQ(in_flight(x->s), 0);
}

static void kept_alive(struct scene *x) { got(x, GET, OK); }

static void asked_again(struct scene *x)
{
    got(x, GET, OK);
    sim_say(x->client, GET);
    EXPECT_EQ(in_flight(x->s), 1);
}

static void another_behind_it(struct scene *x) { asked(x, GET GET); }

static void the_one_behind_it(struct scene *x)
{
    got(x, GET GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    x->up = sim_next(x->s);
    EXPECT_EQ(in_flight(x->s), 1);
}

static void pause_before_another_attempt(struct scene *x)
{
    PLAY(ACT("u", "head", FILTER_RETRY, .not_before = SEC));
    got(x, GET, BUSY);
    EXPECT_EQ(in_flight(x->s), 0);
    x->up = NULL;
}

static void second_attempt(struct scene *x)
{
    pause_before_another_attempt(x);
    sim_advance(x->s, SEC);
    x->up = sim_next(x->s);
    EXPECT_EQ(in_flight(x->s), 1);
}

static void second_attempt_queued(struct scene *x)
{
    pause_before_another_attempt(x);
    fill(x, 0);
    sim_advance(x->s, SEC);
    EXPECT_EQ(waiting(x->s), 1);
}

static void tunnel(struct scene *x) { got(x, UPGRADE, UPGRADED); }
static void tunnel_half_closed(struct scene *x)
{
    tunnel(x);
    sim_fin(x->up);
    sim_run(x->s);
    EXPECT_EQ(in_flight(x->s), 1);
}

#define BIT(killer) (1u << (killer))

/* `lives`: bits of the killers who do not end it here: a pooled connection that is closed is replaced, a tunnel can be ended
 * on one side, what stands behind a slow client's pause is not seen yet, what is not connected cannot end, who stands behind
 * a dead one comes next. `waits`: there is a max_wait to pass. */
static const struct { const char *name; void (*enter)(struct scene *); unsigned lives; bool waits; } steps[] = {
    {"connected", connected, 0, false},
    {"half a head", half_head, 0, false},
    {"queued", queued, 0, true},
    {"queued with half a body", queued_with_its_body, 0, true},
    {"queued between others", queued_between_others, 0, true},
    {"granted, not told yet", granted, 0, false},
    {"granted by a reload, not told yet", granted_by_reload, 0, false},
    {"put out, not told yet", put_out, 0, true},
    {"connecting", connecting, BIT(U_FIN), false},
    {"another filter waits", a_filter_waits_with_the_slot, 0, false},
    {"half of the body is sent", body_half_sent, 0, false},
    {"the body waits for the upstream", body_behind_a_slow_upstream, 0, false},
    {"waits for 100", waits_for_100, 0, false},
    {"sent", sent, 0, false},
    {"sent with its body", sent_with_body, 0, false},
    {"early hints", early_hints, 0, false},
    {"half of the answer's head", half_answer_head, 0, false},
    {"the answer's head", answer_head, 0, false},
    {"half of the answer", half_answer, 0, false},
    {"half of the answer to half a body", half_answer_to_half_a_body, 0, false},
    {"half a chunk", half_a_chunk, 0, false},
    {"an answer without length", answer_without_length, 0, false},
    {"the head is held", head_is_held, 0, false},
    {"a filter waits with the answer", a_filter_waits_with_the_answer, BIT(U_FIN) | BIT(U_RESET), false},
    {"a slow client", answer_for_a_slow_client, BIT(U_FIN) | BIT(U_RESET), false},
    {"a slow client, the upstream is done", whole_answer_for_a_slow_client, 0, false},
    {"kept alive", kept_alive, 0, false},
    {"asked again", asked_again, BIT(U_FIN) | BIT(U_RESET), false},
    {"another stands behind it", another_behind_it, BIT(U_FIN) | BIT(U_RESET), false},
    {"the one behind it", the_one_behind_it, 0, false},
    {"before another attempt", pause_before_another_attempt, 0, false},
    {"the second attempt", second_attempt, 0, false},
    {"the second attempt, queued", second_attempt_queued, 0, true},
    {"a tunnel", tunnel, BIT(C_FIN) | BIT(U_FIN), false},
    {"a tunnel ended by the upstream", tunnel_half_closed, BIT(U_FIN), false},
};

static void sweep(struct sim *s)
{
    for (struct sim_conn *c = s->all; c; c = c->next) {
        c->stalled = false;
        if (!sim_closed(c))
            sim_reset(c);
    }
    PLAY_NOTHING();
    sim_run(s);
    s->up_window = s->client_window = 0;
}

static void die_at(size_t step, enum killer killer, unsigned workers)
{
    struct scene x = {.worker = workers - 1};
    PLAY_NOTHING();
    x.s = start(CONF, workers);
    steps[step].enter(&x);
    bool there = (killer != U_RESET && killer != U_FIN) || (x.up && !sim_closed(x.up));
    if (there && (killer != PATIENCE || steps[step].waits)) {
        killers[killer].kill(&x);
        sim_run(x.s);
        if (!(steps[step].lives & BIT(killer))) {
            EXPECT_EQ(in_flight(x.s), x.held);
            EXPECT_EQ(waiting(x.s), x.waiting);
        }
    }
    sweep(x.s);
    expect_all_slots(x.s, MAX);
    SIM_END(x.s);
}

TEST(any_step_any_killer)
{
    for (size_t step = 0; step < array_len(steps); step++)
        for (unsigned k = 0; k < KILLERS; k++)
            for (unsigned workers = 1; workers <= 3; workers++) {
                test_row("%s, %s, %u workers", steps[step].name, killers[k].name, workers);
                die_at(step, (enum killer)k, workers);
            }
}

/* ---- every byte ---- */

static const char chunked_post[] = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";

static const char *const answers[] = {
    "HTTP/1.1 103 Hints\r\n\r\n" BIG "1234567890",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc",
    "HTTP/1.1 204 No\r\n\r\n",
};

/* At each iteration all connections are new, so none is replaced by another. */
static void begin(struct scene *x)
{
    sweep(x->s);
    x->client = sim_client_at(x->s, x->worker, 0, STR("192.0.2.1"));
    x->up = NULL;
    x->held = x->waiting = 0;
}

static void after_so_much_of_the_request(struct scene *x, enum killer killer)
{
    for (size_t n = 0; n < sizeof chunked_post; n++) {
        test_row("%s after %zu bytes of the request", killers[killer].name, n);
        begin(x);
        sim_send_str(x->client, str_of(chunked_post, n));
        sim_run(x->s);
        x->up = sim_next(x->s);
        EXPECT_EQ(in_flight(x->s), x->up != NULL);
        if (!x->up && (killer == U_RESET || killer == U_FIN))
            continue;
        killers[killer].kill(x);
        sim_run(x->s);
        EXPECT_EQ(in_flight(x->s), 0);
    }
}

static void after_so_much_of_the_answer(struct scene *x, enum killer killer, const char *text)
{
    size_t len = strlen(text);
    for (size_t n = 0; n <= len; n++) {
        test_row("%s after %zu bytes of %.*s", killers[killer].name, n, (int)strcspn(text, "\r"), text);
        begin(x);
        sim_say(x->client, GET);
        x->up = sim_next(x->s);
        sim_send_str(x->up, str_of(text, n));
        sim_run(x->s);
        EXPECT_EQ(in_flight(x->s), n < len || text == answers[2]);
        killers[killer].kill(x);
        sim_run(x->s);
        EXPECT_EQ(in_flight(x->s), 0);
    }
}

/* With no slot to spare, one that leaked would stop all that follow. */
TEST(any_byte_any_killer)
{
    static const enum killer of_bytes[] = {C_RESET, C_FIN, U_RESET, U_FIN, TIME, CUT};
    for (size_t k = 0; k < array_len(of_bytes); k++) {
        struct scene x = {.s = start(LIMITED("{concurrency: {max: 1}}"), 2), .worker = k % 2};
        PLAY_NOTHING();
        after_so_much_of_the_request(&x, of_bytes[k]);
        for (size_t i = 0; i < array_len(answers); i++)
            after_so_much_of_the_answer(&x, of_bytes[k], answers[i]);
        sweep(x.s);
        expect_all_slots(x.s, 1);
        SIM_END(x.s);
    }
}

/* An endpoint that cannot be reached, over and over, with others waiting behind. */
TEST(an_endpoint_that_refuses)
{
    static const enum sim_connect how[] = {SIM_REFUSE, SIM_REFUSE_NOW, SIM_HANG};
    for (size_t i = 0; i < array_len(how) * 3; i++) {
        unsigned workers = (unsigned)(i % 3) + 1;
        struct sim *s = start(CONF, workers);
        struct sim_conn *c[5];
        test_row("%zu, %u workers", i / 3, workers);
        PLAY_NOTHING();
        s->connect = how[i / 3];
        for (unsigned k = 0; k < 5; k++)
            c[k] = ask(s, k);
        EXPECT_EQ(in_flight(s), s->connect == SIM_HANG ? MAX : 0);
        sim_advance(s, 20 * SEC);
        for (unsigned k = 0; k < 5; k++)
            EXPECT(is_answered(c[k]));
        expect_all_slots(s, MAX);
        SIM_END(s);
    }
}

/* ---- anything ---- */

enum { SEEDS = 40, STEPS = 500, PEERS = 400 };

struct peer {
    struct sim_conn *conn;
    unsigned asked;
    const char *rest;                /* what it has begun to say; NULL: nothing */
    bool dead;                       /* it went away by itself */
};

struct chaos {
    struct sim *s;
    struct rng rng;
    struct peer peers[PEERS];
    unsigned n, requests, answered, bound, max;
};

static unsigned pick(struct chaos *x, unsigned n) { return (unsigned)rng_below(&x->rng, n); }

static const char *chaos_conf(unsigned max)
{
    static char text[600];
    snprintf(text, sizeof text, UPSTREAM("{concurrency: {max: %u, queue: 8, max_wait: 2s, fair_by: \"header:x-key\", "
             "priority: {header: x-class, trusted: [192.0.2.0/24]}, reserve: 20%%}}, {actor: {id: u}}")
             "routes: [{match: /, upstream: api, timeout: 9s}]\n", max);
    return text;
}

static struct peer *peer_of(struct chaos *x, struct sim_conn *c)
{
    for (unsigned i = 0; i < x->n; i++)
        if (x->peers[i].conn == c)
            return &x->peers[i];
    check(x->n < PEERS);
    x->peers[x->n] = (struct peer){.conn = c};
    return &x->peers[x->n++];
}

static bool is_open(const struct peer *p) { return !p->dead && !sim_closed(p->conn); }

/* One that is open, of a client or of the endpoint. */
static struct peer *any_peer(struct chaos *x, bool client)
{
    for (unsigned tries = 0; x->n > 0 && tries < 20; tries++) {
        struct peer *p = &x->peers[pick(x, x->n)];
        if (is_open(p) && (p->conn->client != NULL) == client)
            return p;
    }
    return NULL;
}

static void somebody_asks(struct chaos *x)
{
    static const char *const words[] = {"critical", "high", "normal", "low", "none"};
    char text[300];
    struct peer *p = pick(x, 3) ? any_peer(x, true) : NULL;
    if (!p && x->n < PEERS - 100)
        p = peer_of(x, sim_client_at(x->s, pick(x, x->s->n_workers), 0, STR("192.0.2.1")));
    if (!p || p->rest)
        return;
    bool post = pick(x, 4) == 0;
    snprintf(text, sizeof text, "%s / HTTP/1.1\r\nHost: h\r\nX-Key: %u\r\nX-Class: %s\r\n%s\r\n", post ? "POST" : "GET",
             pick(x, 3), words[pick(x, 5)], post ? "Content-Length: 6\r\n" : "");
    sim_send(p->conn, text);
    p->rest = post ? "abcdef" : NULL;
    p->asked++;
    x->requests++;
}

static void go_on(struct peer *p)
{
    sim_send(p->conn, p->rest);
    p->rest = NULL;
}

/* An answer whole, in part, or an end of one. */
static void endpoint_answers(struct chaos *x, struct peer *p)
{
    static const char *const beginnings[] = {OK, BUSY, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwhat",
                                             "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "HTTP/1.1 103 A\r\n\r\n"};
    static const char *const rests[] = {NULL, NULL, NULL, "lo", OK};
    unsigned i = pick(x, array_len(rests));
    if (p->rest) {
        go_on(p);
    } else {
        sim_send(p->conn, beginnings[i]);
        p->rest = rests[i];
    }
    if (!p->rest)
        sim_clear(p->conn);
}

static void somebody_goes(struct chaos *x, struct peer *p)
{
    if (!p)
        return;
    (pick(x, 2) ? sim_reset : sim_fin)(p->conn);
    p->dead = true;
}

static unsigned busy_peers(struct chaos *x)
{
    unsigned n = 0;
    struct sim_conn *u;
    while ((u = sim_next(x->s)) != NULL)
        (void)peer_of(x, u);
    for (unsigned i = 0; i < x->n; i++)
        n += is_open(&x->peers[i]) && is_busy(x->peers[i].conn);
    return n;
}

/* What holds at any time. Over a lower max it only goes down. */
static void look(struct chaos *x)
{
    sim_run(x->s);
    unsigned now = (unsigned)in_flight(x->s);
    EXPECT(now <= x->bound);
    EXPECT(busy_peers(x) <= now);
    EXPECT(waiting(x->s) <= 8);
    if (x->bound > x->max)
        x->bound = now > x->max ? now : x->max;
}

static void new_max(struct chaos *x)
{
    look(x);
    x->max = 2 + pick(x, 6);
    sim_reload(x->s, chaos_conf(x->max));
    x->bound = x->max > x->bound ? x->max : x->bound;
}

static void anything(struct chaos *x)
{
    static const enum sim_connect connects[] = {SIM_ACCEPT, SIM_ACCEPT, SIM_ACCEPT, SIM_REFUSE, SIM_REFUSE_NOW, SIM_HANG};
    struct peer *p;
    switch (pick(x, 20)) {
    default:
        somebody_asks(x);
        break;
    case 0: case 1: case 2: case 3: case 4: case 5:
        p = any_peer(x, false);
        if (p && (p->rest || is_busy(p->conn)))
            endpoint_answers(x, p);
        break;
    case 6:
        somebody_goes(x, any_peer(x, true));
        break;
    case 7:
        somebody_goes(x, any_peer(x, false));
        break;
    case 8: case 9:
        if ((p = any_peer(x, true)) != NULL && p->rest)
            go_on(p);
        break;
    case 10:
        x->s->connect = connects[pick(x, array_len(connects))];
        x->s->shuffle = pick(x, 2);
        break;
    case 11: case 12:
        sim_advance(x->s, pick(x, 1500) * MSEC);
        break;
    case 13:
        if (pick(x, 4) == 0)
            new_max(x);
        break;
    }
}

/* All that was begun is gone on with. */
static void calm_down(struct chaos *x)
{
    x->s->connect = SIM_ACCEPT;
    for (int round = 0; round < 40; round++) {
        look(x);
        for (unsigned i = 0; i < x->n; i++) {
            struct peer *p = &x->peers[i];
            bool client = p->conn->client != NULL;
            if (is_open(p) && p->rest)
                go_on(p);
            else if (is_open(p) && !client && is_busy(p->conn))
                sim_send(p->conn, OK);
            else
                continue;
            if (!client && !p->rest)
                sim_clear(p->conn);
        }
        sim_advance(x->s, SEC);
    }
}

static unsigned answers_of(const struct sim_conn *c)
{
    unsigned n = 0;
    for (const char *at = c->got; at && (at = strstr(at, "HTTP/1.1 ")) != NULL; at += 9)
        n += at[9] != '1';
    return n;
}

static void chaos(struct chaos *x, uint64_t seed)
{
    *x = (struct chaos){.max = 4, .bound = 4};
    PLAY(ACT("u", "head", FILTER_RETRY), ACT("u", "head", FILTER_RETRY, .not_before = SEC));
    rng_seed(&x->rng, seed);
    x->s = sim_new_with(&(struct sim_conf){.yaml = chaos_conf(4), .filters = filters, .workers = 3, .seed = seed});
    for (unsigned step = 0; step < STEPS; step++) {
        anything(x);
        if (pick(x, 3))
            look(x);
    }
    calm_down(x);
    EXPECT_EQ(in_flight(x->s), 0);
    EXPECT_EQ(waiting(x->s), 0);
    for (unsigned i = 0; i < x->n; i++) {
        struct peer *p = &x->peers[i];
        unsigned n = answers_of(p->conn);
        if (!p->conn->client)
            continue;
        EXPECT(n <= p->asked);
        if (is_open(p))
            EXPECT_EQ(n, p->asked);
        x->answered += n;
    }
    sweep(x->s);
    sim_reload(x->s, LIMITED("{concurrency: {max: 3}}"));
    expect_all_slots(x->s, 3);
}

TEST(anything_may_happen)
{
    static struct chaos x;
    unsigned requests = 0, answered = 0, most_waited = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        test_row("seed %d", (int)seed);
        chaos(&x, seed);
        requests += x.requests;
        answered += x.answered;
        most_waited += (unsigned)figure(x.s, "concurrency_queued_total", NULL);
        SIM_END(x.s);
    }
    EXPECT(requests > 2000);
    EXPECT(answered > requests / 2);
    EXPECT(most_waited > requests / 10);
}
