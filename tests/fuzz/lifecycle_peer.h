/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIFECYCLE_PEER_H
#define LIFECYCLE_PEER_H

/*
 * Clients and endpoints for lifecycle_fuzz.c, and a reading of all that they get.
 *
 * A peer is tame as long as it only sends what is made here; then what it gets can be foretold: each answer is its own request's,
 * in order and to the byte, none is whole that was cut. One that sent bytes of the input is wild: what comes of that must
 * still be well-formed HTTP.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "http/chunked.h"
#include "http/parse.h"
#include "lib/check.h"
#include "sim.h"

enum { ASKED_MAX = 32, PEERS_MAX = 600, BODY_MAX = 200000 };

enum stage { READ_HEAD, READ_LENGTH, READ_CHUNKS, READ_TRAILERS, READ_TO_END, READ_NOTHING };

struct asked {
    unsigned id;
    bool head, upgrade;
};

struct peer {
    struct sim_conn *conn;
    unsigned born;                           /* at which step */
    bool client, wild, fin, fin_after;       /* fin_after: once `out` is sent */
    char *out;                               /* what it is about to send */
    size_t out_len, out_at, out_cap;
    struct asked asked[ASKED_MAX];           /* of a client */
    unsigned n_asked, n_answered;
    /* Where it stands in what it got. */
    enum stage stage;
    size_t pos;
    uint64_t left, at, want;                 /* of this body: to come; come; UINT64_MAX: nobody said */
    struct chunked chunks;
    struct asked now;                        /* the message being read; id 0: it says none */
    bool owes;                               /* of an endpoint: it has a head, and no answer was made for it */
    bool whole;                              /* ... and its body */
    bool odd;                                /* it has answered unasked, or sent bytes of the input */
};

static struct world {
    struct sim *sim;
    struct peer *peers[PEERS_MAX];
    unsigned n, last_id, step;
    bool wild_client, wild_endpoint;         /* one of that kind was */
    bool spoilt;                             /* a filter has changed bodies */
} world;

/* ---- sending ---- */

static void put(struct peer *p, const void *at, size_t len)
{
    if (p->out_len + len > p->out_cap) {
        p->out_cap = (p->out_len + len) * 2;
        p->out = realloc(p->out, p->out_cap);
    }
    if (len > 0)
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

static uint64_t body_at(unsigned id, bool request) { return (uint64_t)id * 1000003 + (request ? 500000 : 0); }

static void put_body(struct peer *p, unsigned id, size_t len, bool chunked, unsigned style)
{
    static char bytes[BODY_MAX];
    sim_fill(bytes, len, body_at(id, p->client));
    for (size_t at = 0; chunked && at < len;) {
        size_t n = style & 1 ? (len + 2) / 3 : len;
        n = n < len - at ? n : len - at;
        putf(p, "%zx%s\r\n", n, style & 2 ? ";e=\"1\"" : "");
        put(p, bytes + at, n);
        putf(p, "\r\n");
        at += n;
    }
    if (chunked)
        putf(p, "0\r\n%s\r\n", style & 4 ? "X-Trailer: 1\r\n" : "");
    else
        put(p, bytes, len);
}

static void put_request(struct peer *p, unsigned kind, unsigned style, size_t len)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT"};
    if (p->n_asked == ASKED_MAX || p->fin)
        return;
    const char *method = methods[kind & 3];
    bool old = (style & 0xe0) == 0xe0, chunked = kind & 8 && !old, body = kind & 4, upgrade = !body && (style & 0x18) == 0x18;
    unsigned id = ++world.last_id;
    p->asked[p->n_asked++] = (struct asked){id, (kind & 3) == 1, upgrade};
    putf(p, "%s /%s/%u HTTP/1.%d\r\nHost: h\r\nId: %u\r\nKey: %u\r\n", method, kind & 16 ? "a" : "b", id, !old, id, kind >> 6);
    if (style & 8 && body)
        putf(p, "Expect: 100-continue\r\n");
    if ((style & 0x60) == 0x60)
        putf(p, old ? "Connection: keep-alive\r\n" : "Connection: close\r\n");
    if (upgrade)
        putf(p, "Connection: upgrade\r\nUpgrade: x\r\n");
    if (kind & 32)
        putf(p, "Idempotency-Key: %u\r\n", id);
    if (body)
        putf(p, "Len: %zu\r\n", len);
    if (body && chunked)
        putf(p, "Transfer-Encoding: chunked\r\n\r\n");
    else if (body)
        putf(p, "Content-Length: %zu\r\n\r\n", len);
    else
        putf(p, "\r\n");
    if (body)
        put_body(p, id, len, chunked, style);
}

/* An endpoint's answer to what it read last, even if it was not asked. */
static void put_answer(struct peer *p, unsigned kind, unsigned style, size_t len)
{
    static const int statuses[] = {200, 200, 200, 204, 304, 500, 503, 429, 101, 502, 200, 201, 404, 200, 200, 529};
    const struct sim_conn *c = p->conn;
    int status = statuses[kind & 15];
    unsigned framing = kind >> 4 & 3;
    if (p->fin || p->fin_after || p->stage == READ_NOTHING)
        return;
    /* What nobody asked for must be nobody's answer. If it cannot be told whether somebody did, it names nobody. */
    bool known = p->owes || (p->whole && p->out_at == p->out_len && !c->stalled && c->end.in_len == 0 && c->end.out_len == 0);
    unsigned id = known ? p->now.id : 0;
    p->odd |= !p->owes;
    p->owes = false;
    if (style & 1)
        putf(p, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
    putf(p, "HTTP/1.%d %d Is So\r\n", (style & 0x18) != 0x18, status);
    if (id)
        putf(p, "Id: %u\r\n", id);
    if (style & 32 || status == 429)
        putf(p, "Retry-After: %u\r\n", style >> 6);
    if (status == 101) {
        putf(p, "Connection: upgrade\r\nUpgrade: x\r\n\r\n");
        if (p->now.upgrade)
            p->stage = READ_NOTHING;
        return;
    }
    if ((style & 6) == 6)
        putf(p, "Connection: close\r\n");
    bool bodiless = status == 204 || status == 304 || p->now.head;
    if (status == 204) {
        putf(p, "\r\n");
        return;
    }
    p->fin_after |= framing == 0 && !bodiless;
    if (framing > 0)
        putf(p, "Len: %zu\r\n", len);
    if (framing == 1 || framing == 2 || (style & 0x18) == 0x18)
        putf(p, framing == 0 ? "\r\n" : "Content-Length: %zu\r\n\r\n", len);
    else
        putf(p, framing == 0 ? "\r\n" : "Transfer-Encoding: chunked\r\n\r\n");
    if (!bodiless)
        put_body(p, id, len, framing == 3 && (style & 0x18) != 0x18, style >> 1);
}

static void send_out(struct peer *p, size_t most)
{
    size_t n = p->out_len - p->out_at;
    if (p->fin)
        return;
    n = n < most ? n : most;
    if (n == 0 && !p->fin_after)
        return;
    if (n > 0)
        sim_send_str(p->conn, str_of(p->out + p->out_at, n));
    p->out_at += n;
    if (p->fin_after && p->out_at == p->out_len) {
        p->fin = true;
        sim_fin(p->conn);
    }
}

/* ---- reading ---- */

static uint64_t number_of(const struct http_head *h, const char *name, uint64_t none)
{
    struct str v = http_head_get(h, str_c(name));
    char text[24];
    if (!v.at || v.len >= sizeof text)
        return none;
    memcpy(text, v.at, v.len);
    text[v.len] = '\0';
    return strtoull(text, NULL, 10);
}

static bool tame(const struct peer *p)
{
    return p->client ? !p->wild && !world.wild_endpoint : !world.wild_client;
}

static void message_end(struct peer *p)
{
    if (tame(p) && !world.spoilt && p->now.id && p->want != UINT64_MAX && !p->now.head)
        check(p->at == p->want);             /* one that was cut must not look whole */
    if (p->client)
        p->n_answered++;
    p->whole = true;
    p->stage = READ_HEAD;
}

static void body_bytes(struct peer *p, const char *at, size_t len)
{
    static char want[4096];
    if (!tame(p) || world.spoilt || p->now.id == 0) {
        p->at += len;
        return;
    }
    for (size_t done = 0, n; done < len; done += n) {
        n = len - done < sizeof want ? len - done : sizeof want;
        sim_fill(want, n, body_at(p->now.id, !p->client) + p->at);
        check(memcmp(want, at + done, n) == 0);
        p->at += n;
    }
}

static void request_read(struct peer *p, const struct http_parser *h)
{
    static const enum stage stages[] = {[BODY_LENGTH] = READ_LENGTH, [BODY_CHUNKED] = READ_CHUNKS};
    p->stage = h->body == BODY_NONE ? READ_HEAD : stages[h->body];
    check(p->odd || (!p->owes && p->out_at == p->out_len));  /* the answer before is whole */
    p->now.upgrade = h->upgrade;
    p->owes = true;
    p->whole = false;
}

static void answer_read(struct peer *p, const struct http_parser *h)
{
    const struct asked *asked = &p->asked[p->n_answered];
    bool known = p->n_answered < p->n_asked;
    if (h->status == 101) {
        check(p->wild || (known && asked->upgrade));
        p->stage = READ_NOTHING;
        return;
    }
    if (h->status < 200) {
        p->stage = READ_HEAD;
        return;
    }
    check(p->wild || known);                 /* nobody gets more answers than he asked for */
    if (tame(p) && p->now.id)
        check(p->now.id == asked->id);
    p->now.head = known && asked->head;
    if (h->status == 408) {                  /* to a head that came in part: who knows whether that is HEAD */
        p->stage = READ_NOTHING;
        return;
    }
    static const enum stage stages[] = {[BODY_LENGTH] = READ_LENGTH, [BODY_CHUNKED] = READ_CHUNKS,
                                        [BODY_UNTIL_CLOSE] = READ_TO_END};
    enum body_kind body = http_response_body(h, p->now.head);
    p->stage = body == BODY_NONE ? READ_HEAD : stages[body];
    if (body == BODY_NONE) {
        p->want = UINT64_MAX;
        message_end(p);
    }
}

/* False: more is needed. */
static bool read_head(struct peer *p, struct str in)
{
    static const struct http_limits limits = {.head = 65535, .target = 65000, .fields = HTTP_FIELDS_MAX};
    static struct http_parser h;
    http_parser_init(&h, p->client ? PARSE_RESPONSE : PARSE_REQUEST, &limits);
    enum parse r = http_parse(&h, in.at, in.len);
    if (r == PARSE_BAD && (h.fault == FAULT_FIELDS_MANY || h.fault == FAULT_HEAD_LONG)) {
        p->stage = READ_NOTHING;             /* it was as long as it may be, and weir has added some */
        return false;
    }
    check(r != PARSE_BAD);
    if (r == PARSE_MORE)
        return false;
    struct arena arena;
    struct http_head head;
    arena_init(&arena, NULL);
    http_parser_head(&h, in.at, &arena, &head);
    p->now = (struct asked){.id = (unsigned)number_of(&head, "Id", 0)};
    p->want = number_of(&head, "Len", UINT64_MAX);
    p->at = 0;
    p->left = h.content_length;
    p->pos += h.head_len;
    chunked_init(&p->chunks);
    p->now.head = !p->client && str_eq(head.method, STR("HEAD"));
    arena_fini(&arena);
    if (p->client) {
        answer_read(p, &h);
    } else {
        request_read(p, &h);
        if (p->stage == READ_HEAD) {
            p->want = UINT64_MAX;
            message_end(p);
        }
    }
    return true;
}

static bool read_length(struct peer *p, struct str in)
{
    size_t n = in.len < p->left ? in.len : (size_t)p->left;
    body_bytes(p, in.at, n);
    p->pos += n;
    p->left -= n;
    if (p->left > 0)
        return false;
    message_end(p);
    return true;
}

static bool read_chunks(struct peer *p, struct str in)
{
    size_t used = 0;
    struct str data;
    enum chunked_event e = chunked_decode(&p->chunks, in.at, in.len, &used, &data);
    check(e != CHUNKED_BAD);
    p->pos += used;
    if (e == CHUNKED_DATA)
        body_bytes(p, data.at, data.len);
    if (e == CHUNKED_LAST)
        p->stage = READ_TRAILERS;
    return e != CHUNKED_MORE;
}

static bool read_trailers(struct peer *p, struct str in)
{
    static struct http_parser t;
    http_parser_init(&t, PARSE_TRAILERS, &http_limits_default);
    enum parse r = http_parse(&t, in.at, in.len);
    check(r != PARSE_BAD);
    if (r == PARSE_MORE)
        return false;
    p->pos += t.head_len;
    message_end(p);
    return true;
}

/* Reads on in what it got since the last time. */
static void hear(struct peer *p)
{
    for (;;) {
        struct str in = sim_text(p->conn);
        if (in.len <= p->pos && p->stage != READ_LENGTH)
            return;
        in = str_of(in.at + p->pos, in.len - p->pos);
        bool more = false;
        switch (p->stage) {
        case READ_HEAD:
            more = !(p->client && p->wild) && read_head(p, in);      /* nobody knows what a wild one has asked */
            break;
        case READ_LENGTH:
            more = read_length(p, in);
            break;
        case READ_CHUNKS:
            more = read_chunks(p, in);
            break;
        case READ_TRAILERS:
            more = read_trailers(p, in);
            break;
        case READ_TO_END:
            body_bytes(p, in.at, in.len);
            p->pos += in.len;
            return;
        case READ_NOTHING:
            return;
        }
        if (!more)
            return;
    }
}

static struct peer *peer_new(struct sim_conn *conn)
{
    if (world.n == PEERS_MAX)
        return NULL;
    struct peer *p = calloc(1, sizeof *p);
    p->conn = conn;
    p->born = world.step;
    p->client = conn->client != NULL;
    world.peers[world.n++] = p;
    return p;
}

/* What everybody has got, for whoever looks into a failure: check_set_hook(). */
static void peers_print(void)
{
    for (unsigned i = 0; i < world.n; i++) {
        const struct peer *p = world.peers[i];
        struct str got = sim_text(p->conn);
        fprintf(stderr, "---- %u: %s%s%s, at step %u, read to %zu of %zu, answers %u of %u, sent %zu of %zu\n", i,
                p->client ? "client" : "endpoint", p->wild ? ", wild" : "", sim_closed(p->conn) ? ", closed" : "", p->born,
                p->pos, got.len, p->n_answered, p->n_asked, p->out_at, p->out_len);
        size_t most = got.len < 1000 ? got.len : 1000;
        fprintf(stderr, "%.*s\n", (int)most, got.at);
        if (got.len > most)
            fprintf(stderr, "....%.*s\n", (int)most, got.at + got.len - most);
    }
}

static void peers_free(void)
{
    for (unsigned i = 0; i < world.n; i++) {
        free(world.peers[i]->out);
        free(world.peers[i]);
    }
    memset(&world, 0, sizeof world);
}

#endif
