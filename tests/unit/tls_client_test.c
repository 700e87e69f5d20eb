/* SPDX-License-Identifier: Apache-2.0 */
/* What upstreams share, and whom a connection believes. The certificates are those of tests/conf/tls; run from the repository's
 * root. */
#include "tls_client.h"

#include <openssl/err.h>
#include "conf/diag.h"
#include "control.h"
#include "lib/page.h"
#include "test.h"
#include "tls.h"

#define CA "tests/conf/tls/ca.pem"
#define HEAD "version: 1\nlisten: 127.0.0.1:8080\nroutes: [{match: /, respond: {status: 204}}]\nupstreams:\n"

static struct snapshot *load(const char *upstreams)
{
    struct snapshot *snap = NULL;
    struct diags diags = {.n = 0};
    struct page text = {0}, said = {0};
    page_printf(&text, HEAD "%s", upstreams);
    int res = control_load_text(str_of(text.at, text.len), "x.yaml", NULL, &diags, &snap);
    diags_print(&diags, &said);
    if (res != 0)
        test_row("%s", said.at);
    EXPECT_EQ(res, 0);
    page_free(&text);
    page_free(&said);
    diags_fini(&diags);
    return snap;
}

static struct tls_client *client_of(const struct snapshot *snap, size_t i) { return snap->upstreams[i].tls.client; }

TEST(upstreams_that_say_the_same_share)
{
    struct snapshot *s = load("  a: {endpoints: https://a, tls: {ca: " CA "}}\n"
                              "  b: {endpoints: http://b}\n"
                              "  c: {endpoints: [http://x, https://c], tls: {ca: " CA "}}\n"
                              "  d: {endpoints: https://d, tls: {verify: false}}\n"
                              "  e: {endpoints: https://e, tls: {ca: " CA ", profile: modern}}\n"
                              "  f: {endpoints: https://f, tls: {ca: tests/conf/tls/server.pem}}\n"
                              "  g: {endpoints: https://g, tls: {ca: " CA ", certificate: tests/conf/tls/server.pem, "
                              "key: tests/conf/tls/server.key}}\n");
    EXPECT(client_of(s, 0) != NULL && client_of(s, 0) == client_of(s, 2));
    EXPECT(client_of(s, 1) == NULL);
    for (size_t i = 0; i < s->n_upstreams; i++)
        for (size_t k = 0; k < i; k++)
            EXPECT_EQ(tls_client_same(client_of(s, i), client_of(s, k)), i == 2 && k == 0);
    struct snapshot *again = load("  g: {endpoints: https://g, tls: {ca: " CA ", certificate: tests/conf/tls/server.pem, "
                                  "key: tests/conf/tls/server.key}}\n  a: {endpoints: https://a, tls: {ca: " CA "}}\n");
    EXPECT(client_of(again, 0) != client_of(s, 6));
    EXPECT(tls_client_same(client_of(again, 0), client_of(s, 6)));
    EXPECT(tls_client_same(client_of(again, 1), client_of(s, 0)));
    snapshot_unref(&again);
    snapshot_unref(&s);
}

TEST(a_client_outlives_its_configuration)
{
    struct snapshot *s = load("  a: {endpoints: https://a, tls: {ca: " CA "}}\n");
    struct tls_client *c = client_of(s, 0);
    tls_client_ref(c);
    snapshot_unref(&s);
    SSL *ssl = tls_client_ssl(c, STR("a.example"));
    tls_client_unref(&c);
    EXPECT(c == NULL);
    EXPECT_CSTR(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name), "a.example");
    SSL_free(ssl);
}

TEST(an_address_is_not_asked_for)
{
    struct snapshot *s = load("  a: {endpoints: https://a, tls: {ca: " CA "}}\n");
    static const char *const numbers[] = {"127.0.0.1", "::1", "2001:db8::9"};
    for (size_t i = 0; i < 3; i++) {
        SSL *ssl = tls_client_ssl(client_of(s, 0), str_c(numbers[i]));
        EXPECT(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) == NULL);
        SSL_free(ssl);
    }
    snapshot_unref(&s);
}

/* ---- whom it believes ---- */

static SSL_CTX *server_new(const char *name)
{
    char pem[100], key[100];
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    snprintf(pem, sizeof pem, "tests/conf/tls/%s.pem", name);
    snprintf(key, sizeof key, "tests/conf/tls/%s.key", name);
    EXPECT(SSL_CTX_use_certificate_file(ctx, pem, SSL_FILETYPE_PEM) == 1);
    EXPECT(SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) == 1);
    return ctx;
}

/* Shakes hands in memory; what the client has to say. */
static struct tls_failure shake(SSL *ssl, SSL_CTX *server)
{
    struct tls_failure failure = {NULL, false};
    SSL *there = SSL_new(server);
    BIO *a, *b;
    EXPECT(BIO_new_bio_pair(&a, 0, &b, 0) == 1);
    SSL_set_bio(ssl, a, a);
    SSL_set_bio(there, b, b);
    SSL_set_accept_state(there);
    for (int i = 0; i < 20 && !failure.text && !(SSL_is_init_finished(ssl) && SSL_is_init_finished(there)); i++) {
        ERR_clear_error();
        int res = SSL_do_handshake(ssl);
        int why = SSL_get_error(ssl, res);
        if (res != 1 && why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
            failure = tls_client_failure(ssl);
        ERR_clear_error();
        (void)SSL_do_handshake(there);
        ERR_clear_error();
    }
    EXPECT(failure.text || SSL_is_init_finished(ssl));
    SSL_free(there);
    return failure;
}

TEST(whom_it_believes)
{
    static const struct { const char *tls, *server, *name, *why; } rows[] = {
        {"ca: " CA, "server", "test.example", NULL},
        {"ca: " CA, "server", "TEST.Example", NULL},
        {"ca: " CA, "server", "127.0.0.1", NULL},
        {"ca: " CA, "server", "127.0.0.2", "IP address mismatch"},
        {"ca: " CA, "server", "example", "hostname mismatch"},
        {"ca: " CA, "server", "a.test.example", "hostname mismatch"},
        {"ca: " CA, "wild", "a.wild.example", NULL},
        {"ca: " CA, "wild", "wild.example", "hostname mismatch"},
        {"ca: " CA, "wild", "a.b.wild.example", "hostname mismatch"},
        {"ca: tests/conf/tls/wild.pem", "server", "test.example", "unable to get local issuer certificate"},
        {"verify: false", "server", "nobody.example", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char yaml[200];
        snprintf(yaml, sizeof yaml, "  a: {endpoints: https://a, tls: {%s}}\n", rows[i].tls);
        struct snapshot *s = load(yaml);
        SSL_CTX *server = server_new(rows[i].server);
        SSL *ssl = tls_client_ssl(client_of(s, 0), str_c(rows[i].name));
        test_row("%zu", i);
        struct tls_failure failure = shake(ssl, server);
        EXPECT_CSTR(failure.text ? failure.text : "", rows[i].why ? rows[i].why : "");
        EXPECT_EQ(failure.refused, rows[i].why != NULL);
        SSL_free(ssl);
        SSL_CTX_free(server);
        snapshot_unref(&s);
    }
}

TEST(what_it_speaks)
{
    struct snapshot *s = load("  a: {endpoints: https://a, tls: {ca: " CA "}}\n"
                              "  b: {endpoints: https://a, tls: {ca: " CA ", profile: modern}}\n");
    static const struct { size_t upstream; int version; bool spoken; } rows[] = {
        {0, TLS1_3_VERSION, true}, {0, TLS1_2_VERSION, true}, {0, TLS1_1_VERSION, false},
        {1, TLS1_3_VERSION, true}, {1, TLS1_2_VERSION, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        SSL_CTX *server = server_new("server");
        SSL_CTX_set_security_level(server, 0);
        SSL_CTX_set_min_proto_version(server, TLS1_VERSION);
        SSL_CTX_set_max_proto_version(server, rows[i].version);
        SSL *ssl = tls_client_ssl(client_of(s, rows[i].upstream), STR("localhost"));
        test_row("%zu", i);
        struct tls_failure failure = shake(ssl, server);
        EXPECT_EQ(failure.text == NULL, rows[i].spoken);
        EXPECT_EQ(failure.refused, !rows[i].spoken);
        if (rows[i].spoken)
            EXPECT_EQ(SSL_version(ssl), rows[i].version);
        SSL_free(ssl);
        SSL_CTX_free(server);
    }
    snapshot_unref(&s);
}
