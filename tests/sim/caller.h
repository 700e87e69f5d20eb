/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CALLER_H
#define CALLER_H

#include <openssl/err.h>
#include <openssl/ssl.h>
#include "lib/check.h"
#include "lib/mem.h"
#include "sim.h"

/* A client of a simulation that speaks TLS: OpenSSL over the bytes of a struct sim_conn. Include test.h before it. */

/* With more keys of `tls`, or of the listener. */
#define TLS_ASKS(MORE) "version: 1\nlisten: [{at: '127.0.0.1:8080', tls: {certificates: " \
                       "{certificate: tests/conf/tls/server.pem, key: tests/conf/tls/server.key}" MORE "}}]\n"
#define TLS_HEAD(MORE) "version: 1\nlisten: [{at: '127.0.0.1:8080', tls: {certificates: " \
                       "{certificate: tests/conf/tls/server.pem, key: tests/conf/tls/server.key}}" MORE "}]\n"
#define TLS_ROUTES "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"]}}\nroutes: [{match: /, upstream: api}]\n"
#define SIM_TLS TLS_HEAD("") TLS_ROUTES
#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

struct caller {
    SSL_CTX *ctx;
    SSL *ssl;
    BIO *in, *out;
    struct sim_conn *c;
    size_t piece;                    /* bytes that go at a time; 0: all at once */
    char *text;                      /* what it has decrypted */
    size_t len, cap;
    bool ended;                      /* close_notify came */
    bool broken;
};

static inline struct caller *caller_on(struct sim_conn *c, int version)
{
    struct caller *t = mem_zalloc(sizeof *t);
    t->ctx = SSL_CTX_new(TLS_client_method());
    check(SSL_CTX_set_min_proto_version(t->ctx, version) == 1 && SSL_CTX_set_max_proto_version(t->ctx, version) == 1);
    t->ssl = SSL_new(t->ctx);
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(t->in, -1);
    SSL_set_bio(t->ssl, t->in, t->out);
    SSL_set_connect_state(t->ssl);
    t->c = c;
    return t;
}

static inline struct caller *caller_new(struct sim *s, int version) { return caller_on(sim_client(s), version); }

static inline void caller_free(struct caller *t)
{
    SSL_free(t->ssl);
    SSL_CTX_free(t->ctx);
    mem_free(t->text);
    mem_free(t);
}

/* What it has for the wire goes, without anybody running. */
static inline bool post(struct caller *t)
{
    char bytes[4096];
    int n = BIO_read(t->out, bytes, t->piece && t->piece < sizeof bytes ? (int)t->piece : (int)sizeof bytes);
    if (n > 0)
        sim_send_str(t->c, str_of(bytes, (size_t)n));
    return n > 0;
}

static inline bool take(struct caller *t)
{
    size_t n;
    struct str got = sim_text(t->c);
    if (got.len > 0)
        BIO_write(t->in, got.at, (int)got.len);
    sim_clear(t->c);
    do {
        if (t->len + 20000 > t->cap)
            t->text = mem_realloc(t->text, t->cap = (t->len + 20000) * 2);
        n = 0;
        ERR_clear_error();
        int res = SSL_read_ex(t->ssl, t->text + t->len, t->cap - t->len - 1, &n);
        int why = res == 1 ? 0 : SSL_get_error(t->ssl, res);
        t->len += n;
        t->text[t->len] = '\0';
        t->ended |= why == SSL_ERROR_ZERO_RETURN;
        t->broken |= why == SSL_ERROR_SSL;
    } while (n > 0);
    return got.len > 0;
}

/* Both sides go on until neither has anything to say. */
static inline void go(struct caller *t)
{
    bool more = true;
    take(t);
    while (more) {
        more = post(t);
        sim_run(t->c->sim);
        more |= take(t);
    }
}

static inline void say_str(struct caller *t, struct str s)
{
    size_t n;
    check(SSL_write_ex(t->ssl, s.at, s.len, &n) == 1);
    go(t);
}

static inline void say(struct caller *t, const char *text) { say_str(t, str_c(text)); }

static inline struct str heard(const struct caller *t) { return t->text ? str_of(t->text, t->len) : STR(""); }

#define EXPECT_HEARD(caller, wanted)                     \
    do {                                                 \
        EXPECT_STR_EQ(heard(caller), str_c(wanted));     \
        (caller)->len = 0;                               \
    } while (0)

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

/* A hello of a caller that nobody answers. */
static inline struct str hello_of(int version)
{
    static char bytes[4096];
    struct caller *t = caller_on(NULL, version);
    (void)SSL_do_handshake(t->ssl);
    ERR_clear_error();
    int n = BIO_read(t->out, bytes, sizeof bytes);
    caller_free(t);
    return str_of(bytes, (size_t)n);
}

#endif
