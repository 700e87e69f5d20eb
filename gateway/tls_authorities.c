/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CAs, and their lists of revoked certificates.
 *
 * Lists are OpenSSL's to look at: with one in the store every certificate of a chain is looked up, the CAs' included, and of a CA
 * without a list in force none is taken. What can be seen of that beforehand is warned of here. OpenSSL checks a list's signature
 * in each handshake, which takes as long as a digest of it: one reason why files are bounded (tls_files.c).
 */
#include "tls_authorities.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "conf/snapshot.h"
#include "conf/yaml.h"
#include "tls_files.h"

const struct tls_trusted *tls_trusted_find(const struct snapshot *snap, struct str path)
{
    for (const struct tls_trusted *t = snap ? snap->trusted : NULL; t; t = t->next)
        if (str_eq(t->path, path))
            return t;
    return NULL;
}

/* Several may name the same file. */
static struct tls_trusted *trusted_add(struct snapshot *snap, struct str path, struct str text)
{
    struct tls_trusted **end = &snap->trusted;
    for (; *end; end = &(*end)->next)
        if (str_eq((*end)->path, path))
            return *end;
    struct tls_trusted *t = *end = arena_zalloc(&snap->arena, sizeof *t);
    t->path = path;
    t->until = UINT64_MAX;
    check(EVP_Digest(text.at, text.len, t->print, NULL, EVP_sha256(), NULL) == 1);
    return t;
}

/* Both files make one; of the bytes that were read just now, whatever an earlier reading of the same file gave. */
static void digest_add(struct tls_authorities *a, struct str text)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    check(md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 && EVP_DigestUpdate(md, a->digest, sizeof a->digest) == 1
          && EVP_DigestUpdate(md, text.at, text.len) == 1 && EVP_DigestFinal_ex(md, a->digest, NULL) == 1);
    EVP_MD_CTX_free(md);
}

static void authority_add(struct tls_authorities *a, X509 *ca)
{
    X509_NAME *name = X509_NAME_dup(X509_get_subject_name(ca));
    check(name && sk_X509_NAME_push(a->names, name) > 0);
    if (X509_STORE_add_cert(a->store, ca) != 1)
        ERR_clear_error();           /* it stands there twice */
}

/* The CA's name stands behind `none`. */
static void name_warn(const struct tls_files *f, const struct yaml_node *node, struct str path, const char *none,
                      const X509_NAME *name)
{
    char why[400];
    struct arena arena;
    arena_init(&arena, NULL);
    (void)snprintf(why, sizeof why, "%s \"%s\": no certificate of that CA is taken", none,
                   quoted(tls_name_text(name, &arena)).text);
    tls_files_warn(f, node, "crl", CODE_no_crl, path, why);
    arena_fini(&arena);
}

static bool is_among(const STACK_OF(X509) *cas, const X509_NAME *name)
{
    for (int i = 0; i < sk_X509_num(cas); i++)
        if (X509_NAME_cmp(X509_get_subject_name(sk_X509_value(cas, i)), name) == 0)
            return true;
    return false;
}

/* Has it another signature than that of a CA of its name? Of a CA that is not in the file callers have to bring the certificate. */
static bool list_forged(X509_CRL *list, const STACK_OF(X509) *cas)
{
    bool named = false;
    for (int i = 0; i < sk_X509_num(cas); i++) {
        X509 *ca = sk_X509_value(cas, i);
        if (X509_NAME_cmp(X509_get_subject_name(ca), X509_CRL_get_issuer(list)) != 0)
            continue;
        if (X509_CRL_verify(list, X509_get0_pubkey(ca)) == 1)
            return false;
        named = true;
    }
    return named;
}

/* Is one of them, of that CA, in force now? OpenSSL takes that one then. */
static bool lists_hold(const STACK_OF(X509_CRL) *lists, const X509_NAME *ca)
{
    for (int i = 0; i < sk_X509_CRL_num(lists); i++) {
        X509_CRL *list = sk_X509_CRL_value(lists, i);
        const ASN1_TIME *to = X509_CRL_get0_nextUpdate(list);
        if (X509_NAME_cmp(ca, X509_CRL_get_issuer(list)) == 0 && X509_cmp_current_time(X509_CRL_get0_lastUpdate(list)) < 0
            && (!to || X509_cmp_current_time(to) > 0))
            return true;
    }
    return false;
}

/* A look-up sorts a list: the first one is made here, not by a worker. */
static int list_add(const struct tls_files *f, const struct yaml_node *node, struct str path, X509_CRL *list,
                    const STACK_OF(X509) *cas, struct tls_authorities *a)
{
    X509_REVOKED *found;
    if (list_forged(list, cas))
        return tls_files_wrong(f, node, "crl", CODE_crl_file, path, "a list has not the signature of the CA that it names");
    (void)X509_CRL_get0_by_serial(list, &found, X509_get0_serialNumber(sk_X509_value(cas, 0)));
    check(X509_STORE_add_crl(a->store, list) == 1);
    return 0;
}

static void lists_look(const struct tls_files *f, const struct yaml_node *node, struct str path, const STACK_OF(X509_CRL) *lists,
                       const STACK_OF(X509) *cas)
{
    static const char none[] = "it has no list in force of", mute[] = "no list counts without cRLSign in the keyUsage of";
    for (int i = 0; i < sk_X509_num(cas); i++) {
        X509 *ca = sk_X509_value(cas, i);
        if (!lists_hold(lists, X509_get_subject_name(ca)))
            name_warn(f, node, path, none, X509_get_subject_name(ca));
        else if (!(X509_get_key_usage(ca) & KU_CRL_SIGN))
            name_warn(f, node, path, mute, X509_get_subject_name(ca));
    }
    for (int i = 0; i < sk_X509_CRL_num(lists); i++) {
        const X509_NAME *of = X509_CRL_get_issuer(sk_X509_CRL_value(lists, i));
        if (!is_among(cas, of) && !lists_hold(lists, of))
            name_warn(f, node, path, none, of);
    }
}

static uint64_t list_end(const X509_CRL *list)
{
    struct tm tm;
    const ASN1_TIME *to = X509_CRL_get0_nextUpdate(list);
    time_t end = to && ASN1_TIME_to_tm(to, &tm) == 1 ? timegm(&tm) : -1;
    return !to ? UINT64_MAX : end > 0 ? (uint64_t)end : 0;
}

/* Of each CA the last one counts. */
static uint64_t lists_end(const STACK_OF(X509_CRL) *lists)
{
    uint64_t first = UINT64_MAX;
    for (int i = 0; i < sk_X509_CRL_num(lists); i++) {
        const X509_NAME *of = X509_CRL_get_issuer(sk_X509_CRL_value(lists, i));
        uint64_t last = 0;
        for (int k = 0; k < sk_X509_CRL_num(lists); k++) {
            const X509_CRL *other = sk_X509_CRL_value(lists, k);
            if (X509_NAME_cmp(of, X509_CRL_get_issuer(other)) == 0 && list_end(other) > last)
                last = list_end(other);
        }
        first = last < first ? last : first;
    }
    return first;
}

static STACK_OF(X509_CRL) *lists_read(const struct tls_bytes *b)
{
    STACK_OF(X509_CRL) *all = sk_X509_CRL_new_null();
    BIO *bio = tls_bytes_bio(b);
    X509_CRL *one;
    check(all != NULL);
    while ((one = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL)) != NULL)
        check(sk_X509_CRL_push(all, one) > 0);
    BIO_free(bio);
    if (tls_pem_ended())
        return all;
    sk_X509_CRL_pop_free(all, X509_CRL_free);
    return NULL;
}

/* Whoever has them looked at has all of a chain looked at (RFC 5280 6.3): an intermediate CA may be revoked like anybody. */
static int lists_take(const struct tls_files *f, const struct yaml_node *node, struct str path, const STACK_OF(X509) *cas,
                      struct tls_authorities *a)
{
    struct tls_bytes b;
    int res = 0;
    if (tls_bytes_read(f, node, "crl", path, &b) != 0)
        return -1;
    STACK_OF(X509_CRL) *all = lists_read(&b);
    struct tls_trusted *file = trusted_add(f->snap, path, b.text);
    file->lists = true;
    digest_add(a, b.text);
    tls_bytes_fini(&b);
    if (!all || sk_X509_CRL_num(all) == 0)
        res = tls_files_wrong(f, node, "crl", CODE_crl_file, path, all ? "it holds no list in PEM" : tls_reason().text);
    for (int i = 0; i < sk_X509_CRL_num(all) && res == 0; i++)
        res = list_add(f, node, path, sk_X509_CRL_value(all, i), cas, a);
    if (res == 0)
        lists_look(f, node, path, all, cas);
    file->until = lists_end(all);
    sk_X509_CRL_pop_free(all, X509_CRL_free);
    ERR_clear_error();
    check(X509_STORE_set_flags(a->store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) == 1);
    return res;
}

int tls_authorities_read(const struct tls_files *f, const struct yaml_node *node, struct str ca, struct str crl,
                          struct tls_authorities *a)
{
    struct tls_bytes b;
    *a = (struct tls_authorities){0};
    if (tls_bytes_read(f, node, "ca", ca, &b) != 0)
        return -1;
    BIO *bio = tls_bytes_bio(&b);
    STACK_OF(X509) *all = tls_certificates_read(bio);
    BIO_free(bio);
    (void)trusted_add(f->snap, ca, b.text);
    digest_add(a, b.text);
    tls_bytes_fini(&b);
    if (!all || sk_X509_num(all) == 0) {
        int res = tls_files_wrong(f, node, "ca", CODE_ca_file, ca, all ? "it holds no certificate in PEM" : tls_reason().text);
        sk_X509_pop_free(all, X509_free);
        return res;
    }
    a->store = X509_STORE_new();
    a->names = sk_X509_NAME_new_null();
    check(a->store && a->names);
    for (int i = 0; i < sk_X509_num(all); i++)
        authority_add(a, sk_X509_value(all, i));
    int res = crl.len ? lists_take(f, node, crl, all, a) : 0;
    sk_X509_pop_free(all, X509_free);
    if (res != 0)
        tls_authorities_fini(a);
    return res;
}

int tls_authorities_system(const struct tls_files *f, const struct yaml_node *node, struct tls_authorities *a)
{
    const char *const places[] = {
        secure_getenv(X509_get_default_cert_file_env()), X509_get_default_cert_file(), "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem",
    };
    *a = (struct tls_authorities){0};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (places[i] && *places[i] && access(places[i], F_OK) == 0)
            return tls_authorities_read(f, node, str_c(places[i]), (struct str){NULL, 0}, a);
    struct place place = tls_files_place(node, "ca");
    return diag_error(f->diags, &place, CODE_ca_file, "ca: this system has no file of CAs, or none where one usually is (%s): "
                      "name one", places[2]);
}

void tls_authorities_fini(struct tls_authorities *a)
{
    X509_STORE_free(a->store);
    sk_X509_NAME_pop_free(a->names, X509_NAME_free);
    *a = (struct tls_authorities){0};
}
