/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS contexts of a configuration.
 *
 * A site is what callers of some names get: a context of OpenSSL's, with one certificate for each kind of key. All sites of a
 * listener agree in everything else, for OpenSSL takes some of it from the site that it began with and some from the one that
 * the caller's name (SNI) led to.
 *
 * The name is looked up before anything else of a caller's hello is: so a ticket counts only for the site that gave it. What a
 * session may be resumed under (names, who may call) is its context id; a renewed certificate does not change that.
 *
 * Files are read whole and refused when they are written to meanwhile. What is wrong with them is told with OpenSSL's reason.
 * Not done here: bytes and connections (tls.c), lists of revoked certificates.
 */
#include "tls_context.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "conf/diag.h"
#include "conf/source.h"
#include "conf/yaml.h"
#include "lib/arena.h"
#include "lib/mem.h"
#include "stream.h"
#include "tls_authorities.h"
#include "tls_client.h"
#include "tls_files.h"
#include "tls_profile.h"
#include "tls_tickets.h"
#include "worker.h"

/* CALLERS_MAX: bytes of certificates that a caller may show. */
enum { CERTIFICATES_A_SITE = 4, HELLO_NAME_MAX = 255, CALLERS_MAX = 32 * 1024 };

struct staple {
    const X509 *certificate;         /* the site's */
    struct str response;             /* absent: none */
    uint64_t until;                  /* wall, s */
};

struct site {
    SSL_CTX *ctx;
    struct texts names;              /* sorted */
    struct staple staples[CERTIFICATES_A_SITE];
    int kinds[CERTIFICATES_A_SITE];  /* of keys */
    unsigned n;
    struct str from;                 /* the first certificate's file; while it is made */
};

struct site_name { struct str name; struct site *site; unsigned order; };

struct tls_server {
    _Atomic unsigned refs;
    struct arena arena;
    struct str at;                   /* the listener */
    struct site *sites;              /* the first is for whoever asks for none of the names */
    size_t n_sites;
    struct site_name *names;         /* sorted, each once */
    size_t n_names;
    bool tells;
    bool strict;                     /* nobody gets the first one for want of another */
    unsigned char asks[1 + 32];      /* whether callers show a certificate and have to, and of which CAs */
};

void tls_server_ref(struct tls_server *s) { atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed); }

void tls_server_unref(struct tls_server **sp)
{
    struct tls_server *s = *sp;
    *sp = NULL;
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < s->n_sites; i++)
        SSL_CTX_free(s->sites[i].ctx);
    arena_fini(&s->arena);
    mem_free(s);
}

bool tls_server_tells(const struct tls_server *s) { return s->tells; }

struct str tls_server_at(const struct tls_server *s) { return s->at; }

bool tls_asks_alike(const struct tls_conf *a, const struct tls_conf *b)
{
    if (!a || !b)
        return a == b;
    return a->server->tells == b->server->tells && memcmp(a->server->asks, b->server->asks, sizeof a->server->asks) == 0;
}

/* ---- names ---- */

static int str_compare(struct str a, struct str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.at, b.at, n) : 0;
    return c ? c : (a.len > b.len) - (a.len < b.len);
}

static const struct site *name_find(const struct tls_server *s, struct str name)
{
    size_t low = 0, high = s->n_names;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = str_compare(s->names[mid].name, name);
        if (c == 0)
            return s->names[mid].site;
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

static const struct site *site_find(const struct tls_server *s, struct str name)
{
    char lower[HELLO_NAME_MAX + 1];
    const struct site *site = NULL;
    if (name.len > 1 && name.at[name.len - 1] == '.')
        name.len--;
    if (name.len > 0 && name.len <= HELLO_NAME_MAX) {
        for (size_t i = 0; i < name.len; i++)
            lower[i] = str_lower(name.at[i]);
        site = name_find(s, str_of(lower, name.len));
        char *dot = memchr(lower, '.', name.len);
        if (!site && dot && dot > lower) {
            dot[-1] = '*';           /* in place of the first label */
            site = name_find(s, str_of(dot - 1, name.len - (size_t)(dot - 1 - lower)));
        }
    }
    return site;
}

SSL_CTX *tls_server_find(const struct tls_server *s, struct str name)
{
    const struct site *site = site_find(s, name);
    return site ? site->ctx : s->strict ? NULL : s->sites->ctx;
}

/* The host name of a server_name extension (RFC 6066 3): a list with one name of type 0. */
static struct str hello_name(const unsigned char *at, size_t len)
{
    const struct str none = {NULL, 0};
    if (len < 5 || (size_t)at[0] << 8 != ((len - 2) & ~(size_t)0xff) || at[1] != ((len - 2) & 0xff) || at[2] != 0)
        return none;
    size_t n = (size_t)at[3] << 8 | at[4];
    return n > 0 && n <= len - 5 ? str_of((const char *)at + 5, n) : none;
}

static int hello_came(SSL *ssl, int *alert, void *arg)
{
    const unsigned char *at = NULL;
    size_t len = 0;
    bool named = SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &at, &len) == 1;
    SSL_CTX *ctx = tls_server_find(arg, named ? hello_name(at, len) : (struct str){NULL, 0});
    if (!ctx) {
        *alert = SSL_AD_UNRECOGNIZED_NAME;
        return SSL_CLIENT_HELLO_ERROR;
    }
    if (ctx != SSL_get_SSL_CTX(ssl))
        SSL_set_SSL_CTX(ssl, ctx);
    return SSL_CLIENT_HELLO_SUCCESS;
}

/* ---- what OpenSSL asks while it shakes hands ---- */

/* Who offers protocols and not ours is told so: to speak HTTP/1.1 to it all the same would be a guess. */
static int alpn_asked(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len,
                      void *arg)
{
    static const unsigned char ours[] = "\x08http/1.1\x08http/1.0";
    unsigned char *chosen = NULL;
    (void)ssl, (void)arg;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int staple_asked(SSL *ssl, void *arg)
{
    const struct site *site = arg;
    const X509 *certificate = SSL_get_certificate(ssl);
    const struct stream *s = SSL_get_app_data(ssl);
    for (unsigned i = 0; i < site->n; i++) {
        const struct staple *staple = &site->staples[i];
        if (staple->certificate != certificate || !staple->response.len
            || clock_wall(s->worker->clock) / NSEC_PER_SEC >= staple->until)
            continue;
        unsigned char *copy = OPENSSL_memdup(staple->response.at, staple->response.len);
        if (!copy || SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)staple->response.len) != 1)
            return SSL_TLSEXT_ERR_NOACK;
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_NOACK;
}

static int ticket_asked(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int sealing)
{
    const struct stream *s = SSL_get_app_data(ssl);
    return tls_tickets_use(s->worker->tickets, worker_now(s->worker), name, iv, cipher, mac, sealing);
}

/* A resumed handshake asks for no certificate and looks at none, and gives a new ticket: who has one would come in with it for
 * ever. So a ticket says when the certificate was looked at, and so do those that come of it. */
static int ticket_made(SSL *ssl, void *arg)
{
    const struct stream *s = SSL_get_app_data(ssl);
    uint64_t now = worker_now(s->worker);
    (void)arg;
    return SSL_session_reused(ssl) ? 1 : SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), &now, sizeof now);
}

/* May it still pass for the certificate that was shown then? */
static bool session_holds(const struct stream *s, SSL_SESSION *session)
{
    const X509 *certificate = SSL_SESSION_get0_peer(session);
    void *at = NULL;
    uint64_t seen, now = worker_now(s->worker);
    size_t len = 0;
    if (!certificate)
        return true;
    if (SSL_SESSION_get0_ticket_appdata(session, &at, &len) != 1 || len != sizeof seen)
        return false;
    memcpy(&seen, at, sizeof seen);
    return (now < seen || now - seen < TLS_TICKETS_LIFE * NSEC_PER_SEC)
           && X509_cmp_current_time(X509_get0_notAfter(certificate)) > 0;
}

static SSL_TICKET_RETURN ticket_opened(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t name_len,
                                       SSL_TICKET_STATUS status, void *arg)
{
    (void)name, (void)name_len, (void)arg;
    if ((status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW) || !session_holds(SSL_get_app_data(ssl), session))
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

SSL *tls_server_ssl(struct tls_server *s)
{
    SSL *ssl = SSL_new(s->sites[0].ctx);
    check(ssl != NULL);
    SSL_set_accept_state(ssl);
    return ssl;
}

/* ---- making ---- */

struct make {
    struct tls_files files;
    const struct tls_conf *conf;
    struct tls_server *server;
    struct tls_authorities clients;  /* of conf->clients */
};

/* Does what every site of the listener has alike. */
static void site_set(const struct make *m, SSL_CTX *ctx)
{
    const struct tls_conf *conf = m->conf;
    uint64_t options = SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA;
    SSL_CTX_set_options(ctx, conf->tickets ? options : options | SSL_OP_NO_TICKET);
    tls_profile_set(ctx, conf->profile);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, conf->tickets ? 1 : 0);
    SSL_CTX_set_timeout(ctx, TLS_TICKETS_LIFE);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_asked);
    SSL_CTX_set_client_hello_cb(ctx, hello_came, m->server);
    SSL_CTX_set_alpn_select_cb(ctx, alpn_asked, NULL);
    if (m->clients.store) {
        SSL_CTX_set1_cert_store(ctx, m->clients.store);
        check(SSL_CTX_set_session_ticket_cb(ctx, ticket_made, ticket_opened, NULL) == 1);
        SSL_CTX_set_max_cert_list(ctx, CALLERS_MAX);
        SSL_CTX_set_client_CA_list(ctx, SSL_dup_CA_list(m->clients.names));
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (conf->clients.optional ? 0 : SSL_VERIFY_FAIL_IF_NO_PEER_CERT), NULL);
    }
}

/* What a session is good for: these names, and callers who have shown what is asked of them here. */
static void site_set_id(const struct make *m, const struct site *site)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    check(md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1);
    for (size_t i = 0; i < site->names.n; i++) {
        (void)EVP_DigestUpdate(md, site->names.v[i].at, site->names.v[i].len);
        (void)EVP_DigestUpdate(md, "", 1);
    }
    (void)EVP_DigestUpdate(md, m->server->asks, sizeof m->server->asks);
    check(EVP_DigestFinal_ex(md, digest, &len) == 1 && len >= SSL_MAX_SID_CTX_LENGTH);
    EVP_MD_CTX_free(md);
    check(SSL_CTX_set_session_id_context(site->ctx, digest, SSL_MAX_SID_CTX_LENGTH) == 1);
}

static bool names_same(const struct texts *a, const struct texts *b)
{
    for (size_t i = 0; i < a->n && i < b->n; i++)
        if (!str_eq(a->v[i], b->v[i]))
            return false;
    return a->n == b->n;
}

/* One that has the same names, and no key of that kind yet. */
static struct site *site_joined(struct tls_server *s, const struct texts *names, int kind)
{
    for (size_t i = 0; i < s->n_sites; i++) {
        struct site *site = &s->sites[i];
        bool taken = site->n == CERTIFICATES_A_SITE;
        for (unsigned k = 0; k < site->n; k++)
            taken |= site->kinds[k] == kind;
        if (!taken && names_same(&site->names, names))
            return site;
    }
    return NULL;
}

static struct site *site_new(const struct make *m, const struct texts *names)
{
    struct site *site = &m->server->sites[m->server->n_sites++];
    *site = (struct site){.ctx = SSL_CTX_new(TLS_server_method()), .names = *names};
    check(site->ctx != NULL);
    site_set(m, site->ctx);
    site_set_id(m, site);
    SSL_CTX_set_tlsext_status_cb(site->ctx, staple_asked);
    SSL_CTX_set_tlsext_status_arg(site->ctx, site);
    return site;
}

/* What can be used, and is of no use. */
static void pair_look(const struct make *m, const struct tls_pair *conf, const struct tls_identity *id)
{
    char why[400];
    if (X509_get_ext_by_NID(id->certificate, NID_subject_alt_name, -1) < 0)
        tls_files_warn(&m->files, conf->node, "certificate", CODE_nameless, conf->certificate,
                       "it has no subjectAltName, so callers that check names refuse it");
    if (X509_check_purpose(id->certificate, X509_PURPOSE_SSL_SERVER, 0) != 1)
        tls_files_warn(&m->files, conf->node, "certificate", CODE_purpose, conf->certificate,
                       "its keyUsage or extendedKeyUsage says that it is not for servers, so callers refuse it");
    for (size_t i = 0; i < m->server->n_sites && id->names.n > 0; i++) {
        const struct site *site = &m->server->sites[i];
        if (!names_same(&site->names, &id->names))
            continue;
        (void)snprintf(why, sizeof why, "it is never shown: \"%s\" stands before it, with the same names and kind of key",
                       quoted(site->from).text);
        tls_files_warn(&m->files, conf->node, "certificate", CODE_hidden, conf->certificate, why);
        return;
    }
}

static int pair_add(const struct make *m, const struct tls_pair *conf, const struct tls_identity *id)
{
    int kind = EVP_PKEY_get_base_id(id->key);
    struct site *site = site_joined(m->server, &id->names, kind);
    if (!site || id->names.n == 0)
        pair_look(m, conf, id);
    if (!site) {
        site = site_new(m, &id->names);
        site->from = conf->certificate;
    }
    ERR_clear_error();
    bool ok = SSL_CTX_use_certificate(site->ctx, id->certificate) == 1 && SSL_CTX_set1_chain(site->ctx, id->chain) == 1;
    if (!ok)
        return tls_files_wrong(&m->files, conf->node, "certificate", CODE_certificate, conf->certificate,
                               tls_identity_reason(id).text);
    if (SSL_CTX_use_PrivateKey(site->ctx, id->key) != 1)
        return tls_files_wrong(&m->files, conf->node, "key", CODE_private_key, conf->key, tls_reason().text);
    site->kinds[site->n] = kind;
    site->staples[site->n++] = (struct staple){id->certificate, id->ocsp, id->ocsp_until};
    return 0;
}

static int pair_make(struct make *m, const struct tls_pair *conf)
{
    struct tls_identity id = {0};
    int res = tls_files_identity(&m->files, conf, &m->server->arena, &id);
    if (res == 0)
        res = pair_add(m, conf, &id);
    tls_identity_fini(&id);
    return res;
}

static int site_name_compare(const void *a, const void *b)
{
    const struct site_name *x = a, *y = b;
    int c = str_compare(x->name, y->name);
    return c ? c : (x->order > y->order) - (x->order < y->order);
}

/* A name that stands in several certificates is the first one's. */
static void names_make(struct tls_server *s)
{
    size_t all = 0, n = 0;
    for (size_t i = 0; i < s->n_sites; i++)
        all += s->sites[i].names.n;
    s->names = arena_zalloc(&s->arena, (all + 1) * sizeof *s->names);
    for (size_t i = 0, at = 0; i < s->n_sites; i++)
        for (size_t k = 0; k < s->sites[i].names.n; k++)
            s->names[at++] = (struct site_name){s->sites[i].names.v[k], &s->sites[i], (unsigned)i};
    qsort(s->names, all, sizeof *s->names, site_name_compare);
    for (size_t i = 0; i < all; i++)
        if (n == 0 || !str_eq(s->names[n - 1].name, s->names[i].name))
            s->names[n++] = s->names[i];
    s->n_names = n;
}

static void server_drop(void *arg)
{
    struct tls_server *s = arg;
    tls_server_unref(&s);
}

static int server_make(struct snapshot *snap, const struct snapshot *running, const struct listen_conf *listen, struct diags *diags)
{
    struct tls_conf *conf = listen->tls;
    struct make m = {.files = {snap, running, diags}, .conf = conf, .server = mem_zalloc(sizeof *m.server)};
    int res = 0;
    atomic_init(&m.server->refs, 1);
    arena_init(&m.server->arena, NULL);
    m.server->sites = arena_zalloc(&m.server->arena, conf->n * sizeof *m.server->sites);
    m.server->at = arena_copy(&m.server->arena, listen->at);
    m.server->tells = conf->clients.header.len > 0;
    m.server->strict = conf->strict_sni;
    if (conf->clients.ca.len)
        res = tls_authorities_read(&m.files, yaml_get(conf->node, "clients"), conf->clients.ca, conf->clients.crl, &m.clients);
    m.server->asks[0] = m.clients.store ? conf->clients.optional ? 2 : 1 : 0;
    memcpy(m.server->asks + 1, m.clients.digest, sizeof m.clients.digest);
    for (size_t i = 0; i < conf->n; i++)
        if (pair_make(&m, &conf->pairs[i]) != 0)
            res = -1;
    names_make(m.server);
    tls_authorities_fini(&m.clients);
    if (res == 0) {
        conf->server = m.server;
        snapshot_at_end(snap, server_drop, m.server);
    } else {
        tls_server_unref(&m.server);
    }
    return res;
}

static void own_headers_list(struct snapshot *snap)
{
    snap->own_headers.v = arena_zalloc(&snap->arena, (snap->n_listens + 1) * sizeof(struct str));
    for (size_t i = 0; i < snap->n_listens; i++)
        if (snap->listens[i].tls && snap->listens[i].tls->clients.header.len)
            snap->own_headers.v[snap->own_headers.n++] = snap->listens[i].tls->clients.header;
}

int tls_compile(struct snapshot *snap, const struct snapshot *running, struct diags *diags)
{
    int res = 0;
    own_headers_list(snap);
    for (size_t i = 0; i < snap->n_listens && !snap->sources.sealed; i++)
        if (snap->listens[i].tls && server_make(snap, running, &snap->listens[i], diags) != 0)
            res = -1;
    if (!snap->sources.sealed && tls_client_compile(snap, running, diags) != 0)
        res = -1;
    return res;
}
