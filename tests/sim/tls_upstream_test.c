/* SPDX-License-Identifier: Apache-2.0 */
/* TLS towards endpoints, byte by byte, over streams that take and give as little as the test wants. */
#include "test.h"

#include "caller.h"

#define UP(MORE) SIM_HEAD "upstreams: {api: {endpoints: [\"https://127.0.0.1:81\"], tls: {ca: tests/conf/tls/ca.pem}" MORE "}}\n" \
                 "routes: [{match: /, upstream: api}]\n"

/* Keys of tickets are the context's. */
static SSL_CTX *server_new(int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    check(SSL_CTX_use_certificate_file(ctx, "tests/conf/tls/server.pem", SSL_FILETYPE_PEM) == 1);
    check(SSL_CTX_use_PrivateKey_file(ctx, "tests/conf/tls/server.key", SSL_FILETYPE_PEM) == 1);
    check(SSL_CTX_set_min_proto_version(ctx, version) == 1 && SSL_CTX_set_max_proto_version(ctx, version) == 1);
    return ctx;
}

/* The other end of the connection that weir opens next. */
static struct caller *endpoint_new(struct sim *s, SSL_CTX *ctx)
{
    struct caller *t = mem_zalloc(sizeof *t);
    SSL_CTX_up_ref(ctx);
    t->ctx = ctx;
    t->ssl = SSL_new(ctx);
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(t->in, -1);
    SSL_set_bio(t->ssl, t->in, t->out);
    SSL_set_accept_state(t->ssl);
    t->c = sim_next(s);
    check(t->c != NULL);
    return t;
}

static bool has(const struct caller *t, const char *part) { return t->text && strstr(t->text, part) != NULL; }

struct cut { size_t piece, read_max, window; };
static const struct cut cuts[] = {{0, 0, 0}, {1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {1, 1, 1}, {7, 3, 5}, {100, 50, 1000}, {0, 5, 0}};

TEST(an_exchange_in_any_pieces)
{
    for (size_t i = 0; i < array_len(cuts) * 2; i++) {
        const struct cut *cut = &cuts[i / 2];
        test_row("%zu", i);
        SSL_CTX *ctx = server_new(versions[i % 2]);
        struct sim *s = sim_new(UP(""));
        s->up_read_max = cut->read_max;
        s->up_window = cut->window;
        struct sim_conn *c = sim_client(s);
        struct caller *u = NULL;
        for (int round = 0; round < 3; round++) {
            sim_say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
            if (!u) {
                u = endpoint_new(s, ctx);
                u->piece = cut->piece;
            }
            go(u);
            EXPECT(has(u, "POST / HTTP/1.1\r\n") && has(u, "Host: 127.0.0.1:81\r\n") && has(u, "\r\n\r\nhello"));
            u->len = 0;
            say(u, OK);
            EXPECT_GOT(c, OK);
        }
        EXPECT_EQ(sim_metric(s, METRIC_upstream_tls_handshakes_total), 1);
        EXPECT_EQ(sim_metric(s, METRIC_upstream_connections_idle), 1);
        EXPECT_EQ(sim_metric(s, METRIC_upstream_tls_handshakes_failed_total), 0);
        SIM_END(s);
        caller_free(u);
        SSL_CTX_free(ctx);
    }
}

/* Tickets come with a reset: no event tells of that, and nobody shall wait for an answer until it is too late. */
TEST(an_error_behind_bytes_that_are_no_data)
{
    SSL_CTX *ctx = server_new(TLS1_3_VERSION);
    struct sim *s = sim_new(UP(""));
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    struct caller *u = endpoint_new(s, ctx);
    take(u), post(u), sim_run(s);            /* its flight; weir's and the request are on their way */
    u->c->end.reset_last = true;
    take(u), post(u);                        /* tickets */
    u->c->end.reset_in = true;
    sim_run(s);
    EXPECT_HAS(c, "HTTP/1.1 502 Bad Gateway\r\n");
    EXPECT_HAS(c, "\"reason\":\"upstream_reset\"");
    EXPECT_EQ(sim_metric(s, METRIC_upstream_tls_handshakes_total), 1);
    SIM_END(s);
    caller_free(u);
    SSL_CTX_free(ctx);
}

TEST(an_end_counts_only_with_close_notify)
{
    for (size_t i = 0; i < 4; i++) {
        bool notified = i / 2;
        test_row("%zu", i);
        SSL_CTX *ctx = server_new(versions[i % 2]);
        struct sim *s = sim_new(UP(""));
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        struct caller *u = endpoint_new(s, ctx);
        go(u);
        say(u, "HTTP/1.1 200 OK\r\n\r\nall that there");
        say(u, " is");
        if (notified) {
            (void)SSL_shutdown(u->ssl);
            go(u);
        }
        sim_fin(u->c);
        sim_run(s);
        EXPECT_HAS(c, "all that there");
        EXPECT_EQ(sim_has(c, "\r\n0\r\n\r\n"), notified);
        EXPECT_EQ(sim_reasons(s, notified ? REASON_none : REASON_upstream_cut), 1);
        SIM_END(s);
        caller_free(u);
        SSL_CTX_free(ctx);
    }
}

/* One request on a connection that the endpoint closes behind the answer. */
static bool resumed(struct sim *s, SSL_CTX *ctx)
{
    struct sim_conn *c = sim_client(s);
    sim_say(c, GET);
    struct caller *u = endpoint_new(s, ctx);
    go(u);
    say(u, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    EXPECT_HAS(c, "\r\n\r\nok");
    bool was = SSL_session_reused(u->ssl);
    sim_fin(c);
    sim_run(s);
    caller_free(u);
    return was;
}

/* A session that comes of a resumed one does not live longer than that: once an hour the certificate is looked at. */
TEST(a_session_holds_for_an_hour)
{
    for (size_t i = 0; i < 2; i++) {
        test_row("%zu", i);
        SSL_CTX *ctx = server_new(versions[i]), *other = server_new(versions[i]);
        struct sim *s = sim_new(UP(""));
        EXPECT(!resumed(s, ctx));
        EXPECT(resumed(s, ctx));
        sim_advance(s, 3000 * NSEC_PER_SEC);
        EXPECT(resumed(s, ctx));
        sim_advance(s, 700 * NSEC_PER_SEC);
        EXPECT(!resumed(s, ctx));
        EXPECT(resumed(s, ctx));
        EXPECT(!resumed(s, other));          /* an endpoint that does not know it: all the same */
        EXPECT(resumed(s, other));
        EXPECT_EQ(sim_metric(s, METRIC_upstream_tls_handshakes_total), 7);
        EXPECT_EQ(sim_metric(s, METRIC_upstream_tls_handshakes_resumed_total), 4);
        EXPECT_EQ(sim_metric(s, METRIC_upstream_tls_handshakes_failed_total), 0);
        sim_reload(s, UP(", pool: {idle: 2s}"));
        EXPECT(resumed(s, other));           /* whom to believe is the same */
        sim_reload(s, SIM_HEAD "upstreams: {api: {endpoints: [\"https://127.0.0.1:81\"], tls: {verify: false}}}\n"
                                "routes: [{match: /, upstream: api}]\n");
        EXPECT(!resumed(s, other));
        EXPECT(resumed(s, other));
        sim_reload(s, UP(""));
        EXPECT(!resumed(s, other));
        SIM_END(s);
        SSL_CTX_free(ctx);
        SSL_CTX_free(other);
    }
}

TEST(a_handshake_that_stalls)
{
    static const struct { const char *more; uint64_t ms; } rows[] = {
        {"", 2000}, {", timeouts: {connect: 500ms}", 500}, {", filters: [{timeout: {tls: 300ms}}]", 300},
        {", timeouts: {connect: 100ms}, filters: [{timeout: {tls: 300ms}}]", 300},
    };
    for (size_t i = 0; i < array_len(rows) * 2; i++) {
        char yaml[600];
        snprintf(yaml, sizeof yaml, "%supstreams: {api: {endpoints: [\"https://127.0.0.1:81\"], tls: {ca: tests/conf/tls/ca.pem}%s}}\n"
                 "routes: [{match: /, upstream: api}]\n", SIM_HEAD, rows[i / 2].more);
        test_row("%zu", i);
        SSL_CTX *ctx = server_new(TLS1_3_VERSION);
        struct sim *s = sim_new(yaml);
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        struct caller *u = endpoint_new(s, ctx);
        if (i % 2) {                         /* in the middle of its flight */
            u->piece = 100;
            take(u), post(u);
        }
        sim_advance(s, rows[i / 2].ms * NSEC_PER_MSEC - 2 * NSEC_PER_MSEC);
        EXPECT_GOT(c, "");
        sim_advance(s, 4 * NSEC_PER_MSEC);
        EXPECT_HAS(c, "HTTP/1.1 504 Gateway Timeout\r\n");
        EXPECT_HAS(c, "\"reason\":\"connect_timeout\"");
        EXPECT(sim_closed(u->c));
        EXPECT_EQ(sim_metric(s, METRIC_upstream_tls_handshakes_failed_total), 1);
        SIM_END(s);
        caller_free(u);
        SSL_CTX_free(ctx);
    }
}

/* Its first words come with the connection, so there is no other event. */
TEST(an_endpoint_that_speaks_first)
{
    static const struct { const char *says; bool ends; } rows[] = {
        {"SSH-2.0-OpenSSH_9.2\r\n", false}, {"HTTP/1.1 408 Request Timeout\r\n\r\n", false},
        {"", true}, {"220 mail\r\n", true},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(UP(""));
        s->connect = SIM_HANG;
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        struct sim_conn *u = sim_next(s);
        sim_accept(u);
        if (rows[i].says[0])
            sim_send(u, rows[i].says);
        if (rows[i].ends)
            sim_fin(u);
        sim_run(s);
        EXPECT_HAS(c, "HTTP/1.1 502 Bad Gateway\r\n");
        EXPECT_HAS(c, "\"reason\":\"tls_failed\"");
        EXPECT(sim_closed(u));
        EXPECT_EQ(sim_metric(s, METRIC_upstream_tls_handshakes_failed_total), 1);
        SIM_END(s);
    }
}

/* The client goes, at any moment: nothing may be left. */
TEST(the_client_goes_while_hands_are_shaken)
{
    for (size_t piece = 0; piece < 1400; piece += 100) {
        test_row("%zu", piece);
        SSL_CTX *ctx = server_new(TLS1_3_VERSION);
        struct sim *s = sim_new(UP(""));
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        struct caller *u = endpoint_new(s, ctx);
        take(u);
        u->piece = piece;
        if (piece)
            post(u);
        sim_run(s);
        sim_reset(c);
        sim_run(s);
        EXPECT(sim_closed(u->c));
        EXPECT_NOTHING_LEFT(s);
        SIM_END(s);
        caller_free(u);
        SSL_CTX_free(ctx);
    }
}

TEST(a_connection_that_was_closed_while_idle)
{
    static const struct { bool notified, reset; } rows[] = {{true, false}, {false, false}, {false, true}};
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        SSL_CTX *ctx = server_new(TLS1_3_VERSION);
        struct sim *s = sim_new(UP(""));
        struct sim_conn *c = sim_client(s);
        sim_say(c, GET);
        struct caller *u = endpoint_new(s, ctx), *v;
        go(u);
        say(u, OK);
        EXPECT_GOT(c, OK);
        if (rows[i].notified) {
            (void)SSL_shutdown(u->ssl);
            post(u);
        }
        if (rows[i].reset)
            sim_reset(u->c);
        else
            sim_fin(u->c);
        sim_send(c, GET);                    /* either may be seen first */
        sim_run(s);
        v = endpoint_new(s, ctx);
        go(v);
        say(v, OK);
        EXPECT_GOT(c, OK);
        SIM_END(s);
        caller_free(u);
        caller_free(v);
        SSL_CTX_free(ctx);
    }
}
