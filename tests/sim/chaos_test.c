/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many clients and endpoints that do anything at any time, seed by seed: every answer that is given belongs to its request,
 * in order and to the byte, bodies arrive as they were sent, and nothing is left at the end.
 */
#include "test.h"

#include "lib/check.h"
#include "lib/mem.h"
#include "sim.h"

enum { SEEDS = 60, STEPS = 400, PEERS = 600, BODY_MAX = 40000 };

/* A message at the front of some bytes; the body may have come in part. */
struct message {
    unsigned id;                 /* 0: none */
    int status;                  /* 0: a request */
    bool whole;
    size_t len;                  /* of it all, when whole */
    size_t body_len;             /* what there is */
    char body[BODY_MAX];
};

struct peer {
    struct sim_conn *conn;
    size_t pos;                  /* in what it received: the first message not dealt with */
    char *out;                   /* what it is about to send */
    size_t out_len, out_at, out_cap;
    unsigned ids[40], n_ids, answered;       /* of a client */
    bool fin_after;              /* of an endpoint: the answer ends with the connection */
    bool dead;
};

struct chaos {
    struct sim *sim;
    struct peer peers[PEERS];
    unsigned n, last_id, good, refused;
    bool calm;                   /* nobody leaves any more, and all answer */
};

static unsigned pick(struct chaos *x, unsigned n) { return (unsigned)rng_below(&x->sim->rng, n); }

static void put(struct peer *p, const void *at, size_t len)
{
    if (p->out_len + len > p->out_cap) {
        p->out_cap = (p->out_len + len) * 2;
        p->out = mem_realloc(p->out, p->out_cap);
    }
    memcpy(p->out + p->out_len, at, len);
    p->out_len += len;
}

__attribute__((format(printf, 2, 3))) static void putf(struct peer *p, const char *fmt, ...)
{
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    put(p, text, (size_t)n);
}

/* A body that belongs to `id` alone, in the framing that the head announced. */
static void put_body(struct chaos *x, struct peer *p, unsigned id, size_t len, bool chunked)
{
    static char bytes[BODY_MAX];
    sim_fill(bytes, len, (uint64_t)id * 1000003);
    for (size_t at = 0; chunked && at < len;) {
        size_t n = 1 + pick(x, (unsigned)(len - at));
        putf(p, "%zx%s\r\n", n, pick(x, 4) ? "" : ";ext=1");
        put(p, bytes + at, n);
        putf(p, "\r\n");
        at += n;
    }
    if (chunked)
        putf(p, "0\r\n%s\r\n", pick(x, 2) ? "" : "X-Trailer: 1\r\n");
    else
        put(p, bytes, len);
}

static size_t a_length(struct chaos *x)
{
    static const unsigned most[] = {1, 20, 3000, BODY_MAX};
    return pick(x, most[pick(x, 4)]);
}

static bool body_right(const struct message *m)
{
    static char want[BODY_MAX];
    sim_fill(want, m->body_len, (uint64_t)m->id * 1000003);
    return memcmp(want, m->body, m->body_len) == 0;
}

static void read_chunks(const char *at, const char *end, const char *start, struct message *m)
{
    for (;;) {
        const char *line = memmem(at, (size_t)(end - at), "\r\n", 2);
        if (!line)
            return;
        size_t len = strtoul(at, NULL, 16);
        at = line + 2;
        if (len == 0) {
            const char *last = memmem(line, (size_t)(end - line), "\r\n\r\n", 4);
            m->whole = last != NULL;
            m->len = last ? (size_t)(last + 4 - start) : 0;
            return;
        }
        size_t there = (size_t)(end - at) < len ? (size_t)(end - at) : len;
        memcpy(m->body + m->body_len, at, there);
        m->body_len += there;
        if (there < len || (size_t)(end - at) < len + 2)
            return;
        at += len + 2;
    }
}

/* false: not even its head is whole. */
static bool read_message(struct str in, struct message *m)
{
    char head[2000];
    const char *end = memmem(in.at, in.len, "\r\n\r\n", 4);
    m->id = 0, m->status = 0, m->whole = false, m->len = m->body_len = 0;
    if (!end)
        return false;
    size_t n = (size_t)(end + 4 - in.at);
    snprintf(head, sizeof head, "%.*s", (int)n, in.at);
    const char *id = strcasestr(head, "\r\nId: "), *len = strcasestr(head, "\r\nContent-Length: ");
    if (strncmp(head, "HTTP/1.1 ", 9) == 0)
        m->status = (int)strtol(head + 9, NULL, 10);
    m->id = id ? (unsigned)strtoul(id + 6, NULL, 10) : 0;
    if (strcasestr(head, "\r\nTransfer-Encoding: chunked")) {
        read_chunks(in.at + n, in.at + in.len, in.at, m);
        return true;
    }
    size_t want = len ? strtoul(len + 18, NULL, 10) : 0, there = in.len - n;
    m->body_len = there < want ? there : want;
    memcpy(m->body, in.at + n, m->body_len);
    m->whole = there >= want;
    m->len = n + want;
    return true;
}

static struct message message;

static bool next_message(struct peer *p)
{
    struct str got = sim_text(p->conn);
    return got.len > p->pos && read_message(str_of(got.at + p->pos, got.len - p->pos), &message);
}

static void new_peer(struct chaos *x, struct sim_conn *conn)
{
    if (x->n < PEERS)
        x->peers[x->n++] = (struct peer){.conn = conn};
}

static void ask(struct chaos *x, struct peer *p)
{
    static const char *const bodied[] = {"POST", "PUT"};
    if (p->n_ids == array_len(p->ids))
        return;
    unsigned id = ++x->last_id, kind = pick(x, 4);
    p->ids[p->n_ids++] = id;
    if (kind < 2) {
        putf(p, "GET /%u HTTP/1.1\r\nHost: h\r\nId: %u\r\n\r\n", id, id);
        return;
    }
    size_t len = a_length(x);
    putf(p, "%s /%u HTTP/1.1\r\nHost: h\r\nId: %u\r\n", bodied[pick(x, 2)], id, id);
    if (pick(x, 5) == 0)
        putf(p, "Expect: 100-continue\r\n");
    if (kind == 2)
        putf(p, "Content-Length: %zu\r\n\r\n", len);
    else
        putf(p, "Transfer-Encoding: chunked\r\n\r\n");
    put_body(x, p, id, len, kind == 3);
}

static void hear_client(struct chaos *x, struct peer *p)
{
    while (next_message(p)) {
        bool interim = message.status < 200;
        if (!interim && message.status == 200 && EXPECT(p->answered < p->n_ids)) {
            EXPECT_EQ(message.id, p->ids[p->answered]);
            EXPECT(body_right(&message));
        }
        if (!message.whole)
            return;
        p->pos += message.len;
        p->answered += !interim;
        x->good += message.status == 200;
        x->refused += message.status >= 400;
    }
}

/* Answers what stands at the front, whole or (sometimes) not. */
static void hear_endpoint(struct chaos *x, struct peer *p)
{
    if (p->out_at < p->out_len || p->fin_after || !next_message(p))
        return;
    EXPECT(message.id != 0);
    EXPECT(body_right(&message));
    if (!message.whole && (x->calm || pick(x, 20)))
        return;
    unsigned kind = pick(x, 6);
    size_t len = a_length(x);
    if (pick(x, 4) == 0)
        putf(p, "HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n");
    putf(p, "HTTP/1.1 200 OK\r\nId: %u\r\n%s", message.id, pick(x, 10) ? "" : "Connection: close\r\n");
    p->fin_after = kind == 0 || !message.whole;
    if (kind == 0)
        putf(p, "\r\n");
    else if (kind < 4)
        putf(p, "Content-Length: %zu\r\n\r\n", len);
    else
        putf(p, "Transfer-Encoding: chunked\r\n\r\n");
    put_body(x, p, message.id, len, kind >= 4);
    p->pos += message.len;
}

static void send_some(struct chaos *x, struct peer *p)
{
    size_t left = p->out_len - p->out_at;
    size_t n = x->calm || pick(x, 2) ? left : pick(x, (unsigned)left + 1);
    sim_send_str(p->conn, str_of(p->out + p->out_at, n));
    p->out_at += n;
    if (p->fin_after && p->out_at == p->out_len && !p->dead) {
        sim_fin(p->conn);
        p->dead = true;
    }
}

static void act(struct chaos *x, struct peer *p)
{
    bool client = p->conn->client != NULL;
    if (p->dead || sim_closed(p->conn))
        return;
    if (client && !x->calm && pick(x, 3) == 0)
        ask(x, p);
    if (p->out_at < p->out_len)
        send_some(x, p);
    if (x->calm || p->dead)
        return;
    unsigned mood = pick(x, 60);
    if (mood < 2) {
        p->dead = true;
        (mood ? sim_reset : sim_fin)(p->conn);
    } else if (mood < 4) {
        p->conn->stalled = !p->conn->stalled;
    }
}

static void look_around(struct chaos *x)
{
    struct sim_conn *u;
    sim_run(x->sim);
    while ((u = sim_next(x->sim)) != NULL)
        new_peer(x, u);
    for (unsigned i = 0; i < x->n; i++) {
        struct peer *p = &x->peers[i];
        if (p->conn->client)
            hear_client(x, p);
        else if (!p->dead && !sim_closed(p->conn))
            hear_endpoint(x, p);
    }
}

static void turn_knobs(struct chaos *x)
{
    static const size_t sizes[] = {0, 0, 0, 23, 300, 5000};
    struct sim *s = x->sim;
    s->client_read_max = sizes[pick(x, array_len(sizes))];
    s->up_read_max = sizes[pick(x, array_len(sizes))];
    s->client_window = sizes[pick(x, array_len(sizes))];
    s->up_window = sizes[pick(x, array_len(sizes))];
    s->connect = pick(x, 20) ? SIM_ACCEPT : SIM_REFUSE;
    s->shuffle = pick(x, 2);
}

/* Returns a sum of all that everybody received. */
static uint64_t chaos(uint64_t seed, unsigned *good, unsigned *refused)
{
    uint64_t sum = 0;
    struct chaos *x = mem_zalloc(sizeof *x);
    x->sim = sim_new_with(&(struct sim_conf){.seed = seed, .workers = 2, .yaml =
        SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\", \"http://127.0.0.1:82\"], pool: {max: 3}}}\n"
        "routes: [{match: /, upstream: api}]\n"});
    for (unsigned step = 0; step < STEPS; step++) {
        if (pick(x, 10) == 0) {
            turn_knobs(x);
            new_peer(x, sim_client_at(x->sim, pick(x, 2), 0, STR("192.0.2.1")));
        }
        if (x->n > 0)
            act(x, &x->peers[pick(x, x->n)]);
        if (pick(x, 8) == 0)
            sim_advance(x->sim, pick(x, 3000) * NSEC_PER_MSEC);
        if (pick(x, 3))
            look_around(x);
    }
    x->calm = true;
    x->sim->connect = SIM_ACCEPT;
    for (unsigned i = 0; i < x->n; i++)
        x->peers[i].conn->stalled = false;
    for (int round = 0; round < 60; round++) {
        look_around(x);
        for (unsigned i = 0; i < x->n; i++)
            act(x, &x->peers[i]);
    }
    for (unsigned i = 0; i < x->n; i++) {            /* who is still there has had all its answers */
        struct peer *p = &x->peers[i];
        if (p->conn->client && !p->dead && !sim_ended(p->conn))
            EXPECT_EQ(p->answered, p->n_ids);
        sum = sim_sum(sum, &p->conn->sum, sizeof p->conn->sum);
        mem_free(p->out);
    }
    *good += x->good;
    *refused += x->refused;
    SIM_END(x->sim);
    mem_free(x);
    return sum;
}

TEST(anything_may_happen)
{
    unsigned good = 0, refused = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        test_row("seed %d", (int)seed);
        chaos(seed, &good, &refused);
    }
    EXPECT(good > SEEDS * 10);
    EXPECT(refused > SEEDS / 10);
}

TEST(the_same_seed_gives_the_same)
{
    unsigned n = 0;
    EXPECT_EQ(chaos(7, &n, &n), chaos(7, &n, &n));
    EXPECT(chaos(7, &n, &n) != chaos(8, &n, &n));
}
