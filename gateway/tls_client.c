/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS contexts towards endpoints.
 *
 * Certificates are checked against one store that is read when the configuration is, also the system's: what is looked up in
 * folders of OpenSSL's own would be read by workers, between requests.
 *
 * What is asked for (SNI) is what the certificate must be of, and nothing else: an alternative name of that kind, the subject's
 * common name never.
 *
 * OpenSSL keeps no sessions here; one for an endpoint is kept by whoever has it (tls_session.c), when tls.c hands it on.
 */
#include "tls_client.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <string.h>
#include "lib/arena.h"
#include "lib/ip.h"
#include "lib/mem.h"
#include "tls.h"
#include "tls_authorities.h"
#include "tls_files.h"
#include "tls_profile.h"

struct tls_client {
    _Atomic unsigned refs;
    SSL_CTX *ctx;
    bool verifies;
    unsigned char digest[32];        /* of all that it is made of */
};

void tls_client_ref(struct tls_client *c) { atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed); }

void tls_client_unref(struct tls_client **cp)
{
    struct tls_client *c = *cp;
    *cp = NULL;
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(c->ctx);
    mem_free(c);
}

bool tls_client_same(const struct tls_client *a, const struct tls_client *b)
{
    return a == b || (a && b && memcmp(a->digest, b->digest, sizeof a->digest) == 0);
}

/* ---- a connection ---- */

SSL *tls_client_ssl(const struct tls_client *c, struct str name)
{
    char text[256];
    struct ip ip;
    SSL *ssl = SSL_new(c->ctx);
    check(ssl && name.len > 0 && name.len < sizeof text && name.at[0] != '.');  /* as it is where names are read */
    memcpy(text, name.at, name.len);
    text[name.len] = '\0';
    SSL_set_connect_state(ssl);
    bool number = ip_parse(name, &ip);
    bool ok = number || SSL_set_tlsext_host_name(ssl, text) == 1;
    if (ok && c->verifies)
        ok = number ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), text) == 1 : SSL_set1_host(ssl, text) == 1;
    check(ok);
    return ssl;
}

/* What an alert of theirs means for whoever has to mend it. */
static const char *alert_text(int reason, unsigned long code)
{
    switch (reason) {
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        return "tlsv13 alert certificate required: the endpoint asks for a certificate (tls.certificate)";
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
        return "tlsv1 alert unknown ca: the endpoint does not know the CA of the certificate that it is shown (tls.certificate)";
    default:
        return ERR_reason_error_string(code);
    }
}

struct tls_failure tls_client_failure(const SSL *ssl)
{
    struct tls_failure f = {NULL, false};
    unsigned long code = ERR_peek_last_error();
    long verdict = SSL_get_verify_result(ssl);
    int reason = ERR_GET_REASON(code);
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason == SSL_R_CERTIFICATE_VERIFY_FAILED && verdict != X509_V_OK)
        f = (struct tls_failure){X509_verify_cert_error_string(verdict), true};
    else if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason != SSL_R_UNEXPECTED_EOF_WHILE_READING)
        f = (struct tls_failure){alert_text(reason, code), reason > SSL_AD_REASON_OFFSET};
    else if (code && reason != SSL_R_UNEXPECTED_EOF_WHILE_READING)
        f.text = ERR_reason_error_string(code);
    ERR_clear_error();
    return f;
}

/* ---- making ---- */

/* A file of CAs that several upstreams name is read once. */
struct store {
    struct str path, crl;
    struct tls_authorities authorities;
    bool broken;
};

struct make {
    struct tls_files files;
    struct snapshot *snap;
    struct store *stores;
    size_t n_stores;
};

static struct store *store_of(struct make *m, const struct upstream_conf *u)
{
    const struct yaml_node *node = u->tls.node ? u->tls.node : u->node;
    for (size_t i = 0; i < m->n_stores; i++)
        if (str_eq(m->stores[i].path, u->tls.ca) && str_eq(m->stores[i].crl, u->tls.crl))
            return &m->stores[i];
    struct store *s = &m->stores[m->n_stores++];
    s->path = u->tls.ca;
    s->crl = u->tls.crl;
    int res = s->path.len ? tls_authorities_read(&m->files, node, s->path, s->crl, &s->authorities)
                          : tls_authorities_system(&m->files, node, &s->authorities);
    s->broken = res != 0;
    return s;
}

static void ctx_set(SSL_CTX *ctx, const struct tls_out_conf *conf)
{
    static const unsigned char protocols[] = "\x08http/1.1";
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    tls_profile_set(ctx, conf->profile);
    check(SSL_CTX_set_alpn_protos(ctx, protocols, sizeof protocols - 1) == 0);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, tls_session_came);
}

static void ctx_believe(SSL_CTX *ctx, X509_STORE *store)
{
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx);
    SSL_CTX_set1_cert_store(ctx, store);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
}

static void certificate_digest(EVP_MD_CTX *digest, const X509 *certificate)
{
    unsigned char print[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    check(X509_digest(certificate, EVP_sha256(), print, &len) == 1 && EVP_DigestUpdate(digest, print, len) == 1);
}

static int identity_take(struct make *m, SSL_CTX *ctx, const struct tls_out_conf *conf, EVP_MD_CTX *digest)
{
    struct tls_identity id = {0};
    int res = tls_files_identity(&m->files, &conf->pair, &m->snap->arena, &id);
    if (res == 0) {
        bool ok = SSL_CTX_use_certificate(ctx, id.certificate) == 1 && SSL_CTX_set1_chain(ctx, id.chain) == 1;
        if (!ok || SSL_CTX_use_PrivateKey(ctx, id.key) != 1)
            res = tls_files_wrong(&m->files, conf->node, "certificate", CODE_certificate, conf->pair.certificate,
                                  tls_identity_reason(&id).text);
        certificate_digest(digest, id.certificate);
        for (int i = 0; i < sk_X509_num(id.chain); i++)
            certificate_digest(digest, sk_X509_value(id.chain, i));
    }
    tls_identity_fini(&id);
    return res;
}

static int client_fill(struct make *m, struct tls_client *c, const struct upstream_conf *u)
{
    const unsigned char words[2] = {u->tls.verify, (unsigned char)u->tls.profile};
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    struct store *store = u->tls.verify ? store_of(m, u) : NULL;
    int res = store && store->broken ? -1 : 0;
    check(digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 && EVP_DigestUpdate(digest, words, sizeof words) == 1);
    ctx_set(c->ctx, &u->tls);
    if (store && res == 0) {
        ctx_believe(c->ctx, store->authorities.store);
        check(EVP_DigestUpdate(digest, store->authorities.digest, sizeof store->authorities.digest) == 1);
    }
    if (u->tls.pair.certificate.len && identity_take(m, c->ctx, &u->tls, digest) != 0)
        res = -1;
    check(EVP_DigestFinal_ex(digest, c->digest, NULL) == 1);
    EVP_MD_CTX_free(digest);
    return res;
}

static void client_drop(void *arg)
{
    struct tls_client *c = arg;
    tls_client_unref(&c);
}

/* Belongs to the snapshot, be it any good or not. */
static int client_make(struct make *m, struct upstream_conf *u)
{
    struct tls_client *c = mem_zalloc(sizeof *c);
    atomic_init(&c->refs, 1);
    c->ctx = SSL_CTX_new(TLS_client_method());
    c->verifies = u->tls.verify;
    check(c->ctx != NULL);
    u->tls.client = c;
    snapshot_at_end(m->snap, client_drop, c);
    return client_fill(m, c, u);
}

static bool confs_same(const struct tls_out_conf *a, const struct tls_out_conf *b)
{
    return a->verify == b->verify && a->profile == b->profile && str_eq(a->ca, b->ca) && str_eq(a->crl, b->crl)
           && str_eq(a->pair.certificate, b->pair.certificate) && str_eq(a->pair.key, b->pair.key);
}

static bool is_https(const struct upstream_conf *u)
{
    for (size_t i = 0; i < u->n; i++)
        if (u->endpoints[i].tls)
            return true;
    return false;
}

/* Most say nothing, and so the same. */
static int upstream_make(struct make *m, size_t i, const struct upstream_conf **makers, size_t *n)
{
    struct upstream_conf *u = &m->snap->upstreams[i];
    if (!is_https(u))
        return 0;
    for (size_t k = 0; k < *n; k++) {
        if (!confs_same(&makers[k]->tls, &u->tls))
            continue;
        u->tls.client = makers[k]->tls.client;       /* what is wrong with it was told */
        return 0;
    }
    makers[(*n)++] = u;
    return client_make(m, u);
}

int tls_client_compile(struct snapshot *snap, const struct snapshot *running, struct diags *diags)
{
    struct make m = {.files = {snap, running, diags}, .snap = snap,
                     .stores = mem_array(snap->n_upstreams, sizeof *m.stores)};
    const struct upstream_conf **makers = mem_array(snap->n_upstreams, sizeof *makers);
    size_t n = 0;
    int res = 0;
    for (size_t i = 0; i < snap->n_upstreams; i++)
        if (upstream_make(&m, i, makers, &n) != 0)
            res = -1;
    for (size_t i = 0; i < m.n_stores; i++)
        tls_authorities_fini(&m.stores[i].authorities);
    mem_free(m.stores);
    mem_free(makers);
    return res;
}
