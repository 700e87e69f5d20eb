/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of TLS.
 *
 * What would fail at each handshake fails here once: a key that belongs to another certificate, one that is encrypted (nobody is
 * there to type), a certificate that is expired. OpenSSL itself looks at none of that before somebody calls.
 *
 * A file that holds less than it should, because it is being written, is either refused by source_read() or lacks the end of
 * its last block, which PEM sees: certificates are read until the error that says "no more", and any other is one.
 */
#include "tls_files.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "conf/source.h"
#include "conf/yaml.h"
#include "lib/clock.h"
#include "lib/mem.h"

enum { FILE_MAX = 4 * 1024 * 1024, NAME_MAX_LEN = 253 };

/* Does it say no more than that the one before it happened, or that nobody could read it? */
static bool says_nothing(unsigned long code)
{
    return ERR_GET_REASON(code) == ERR_R_NESTED_ASN1_ERROR || ERR_GET_LIB(code) == ERR_LIB_OSSL_DECODER;
}

struct tls_reason tls_reason(void)
{
    struct tls_reason r = {"no reason given"};
    unsigned long code = ERR_get_error(), next;
    while ((next = ERR_get_error()) != 0)
        if (!says_nothing(next))
            code = next;
    const char *word = code ? ERR_reason_error_string(code) : NULL;
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_CALLBACK_FAILED)       /* hello_came() alone fails */
        word = "no certificate has the name that it asked for, if any (tls.strict_sni)";
    bool cut = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_BAD_END_LINE;
    if (word)
        (void)snprintf(r.text, sizeof r.text, "%s%s", word, cut ? ": the file ends in the middle of it (half written?)" : "");
    else if (code)
        ERR_error_string_n(code, r.text, sizeof r.text);
    return r;
}

/* ---- errors and bytes ---- */

struct place tls_files_place(const struct yaml_node *node, const char *key)
{
    const struct yaml_node *at = node && node->type == YAML_MAP ? yaml_get(node, key) : NULL;
    return at ? yaml_place(at) : node ? yaml_place(node) : (struct place){NULL, 0, 0, 0};
}

int tls_files_wrong(const struct tls_files *f, const struct yaml_node *node, const char *key, enum diag_code code,
                    struct str path, const char *why)
{
    struct place place = tls_files_place(node, key);
    return diag_error(f->diags, &place, code, "%s \"%s\": %s", key, quoted(path).text, why);
}

void tls_files_warn(const struct tls_files *f, const struct yaml_node *node, const char *key, enum diag_code code,
                    struct str path, const char *why)
{
    struct place place = tls_files_place(node, key);
    diag_warn(f->diags, &place, code, "%s \"%s\": %s", key, quoted(path).text, why);
}

void tls_bytes_fini(struct tls_bytes *b)
{
    if (b->text.len)
        OPENSSL_cleanse((void *)(uintptr_t)b->text.at, b->text.len);
    arena_fini(&b->arena);
}

int tls_bytes_read(const struct tls_files *f, const struct yaml_node *node, const char *key, struct str path, struct tls_bytes *b)
{
    struct source_bytes read = {.inode = 0};
    struct source_why why;
    arena_init(&b->arena, NULL);
    b->text = (struct str){NULL, 0};
    const char *name = arena_strdup(&b->arena, path);
    if (source_read(&b->arena, name, FILE_MAX, &read, &why) != SOURCE_FINE) {
        arena_fini(&b->arena);
        return tls_files_wrong(f, node, key, CODE_tls_file, path, why.text);
    }
    struct source_file *listed = sources_add(&f->snap->sources, name, SOURCE_TLS);
    if (listed)
        listed->digest = read.digest;
    b->text = read.text;
    ERR_clear_error();
    return 0;
}

BIO *tls_bytes_bio(const struct tls_bytes *b)
{
    BIO *bio = BIO_new_mem_buf(b->text.len ? b->text.at : "", (int)b->text.len);
    check(bio != NULL);
    return bio;
}

/* Nobody is there to type a pass phrase. */
static int no_phrase(char *buf, int size, int writing, void *asked)
{
    (void)buf, (void)size, (void)writing;
    *(bool *)asked = true;
    return -1;
}

bool tls_pem_ended(void)
{
    unsigned long why = ERR_peek_last_error();
    if (ERR_GET_LIB(why) != ERR_LIB_PEM || ERR_GET_REASON(why) != PEM_R_NO_START_LINE)
        return false;
    ERR_clear_error();
    return true;
}

STACK_OF(X509) *tls_certificates_read(BIO *bio)
{
    STACK_OF(X509) *all = sk_X509_new_null();
    X509 *one;
    check(all != NULL);
    while ((one = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL)
        check(sk_X509_push(all, one) > 0);
    if (tls_pem_ended())
        return all;
    sk_X509_pop_free(all, X509_free);
    return NULL;
}

/* ---- a certificate ---- */

static int name_compare(const void *a, const void *b)
{
    const struct str *x = a, *y = b;
    size_t n = x->len < y->len ? x->len : y->len;
    int c = n ? memcmp(x->at, y->at, n) : 0;
    return c ? c : (x->len > y->len) - (x->len < y->len);
}

static void names_take(struct tls_identity *id, struct arena *arena)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(id->certificate, NID_subject_alt_name, NULL, NULL);
    int n = all ? sk_GENERAL_NAME_num(all) : 0;
    id->names.v = arena_zalloc(arena, ((size_t)n + 1) * sizeof *id->names.v);
    for (int i = 0; i < n; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);
        if (name->type != GEN_DNS)
            continue;
        size_t len = (size_t)ASN1_STRING_length(name->d.dNSName);
        const char *at = (const char *)ASN1_STRING_get0_data(name->d.dNSName);
        if (len == 0 || len > NAME_MAX_LEN || memchr(at, '\0', len))
            continue;
        char *lower = arena_alloc(arena, len);
        for (size_t k = 0; k < len; k++)
            lower[k] = str_lower(at[k]);
        id->names.v[id->names.n++] = str_of(lower, len);
    }
    GENERAL_NAMES_free(all);
    ERR_clear_error();
    qsort(id->names.v, id->names.n, sizeof *id->names.v, name_compare);
}

static const char *date_text(const ASN1_TIME *time, char *text, size_t cap)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(time, &tm) != 1 || strftime(text, cap, "%Y-%m-%d %H:%M:%SZ", &tm) == 0)
        (void)snprintf(text, cap, "a date that cannot be read");
    return text;
}

const struct tls_shown *tls_shown_find(const struct snapshot *snap, struct str path)
{
    for (const struct tls_shown *s = snap ? snap->shown : NULL; s; s = s->next)
        if (str_eq(s->path, path))
            return s;
    return NULL;
}

struct str tls_name_text(const X509_NAME *name, struct arena *arena)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *at = NULL;
    check(bio != NULL);
    (void)X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB);
    long len = BIO_get_mem_data(bio, &at);
    struct str text = arena_copy(arena, str_of(len > 0 ? at : "", len > 0 ? (size_t)len : 0));
    BIO_free(bio);
    return text;
}

static struct str serial_text(const X509 *certificate, struct arena *arena)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    char *hex = number ? BN_bn2hex(number) : NULL;
    struct str text = arena_copy(arena, str_c(hex ? hex : "0"));
    OPENSSL_free(hex);
    BN_free(number);
    return text;
}

static struct tls_shown *shown_make(struct arena *arena, struct str path, const X509 *certificate)
{
    struct tls_shown *s = arena_zalloc(arena, sizeof *s);
    struct tm tm;
    *s = (struct tls_shown){.path = path, .subject = tls_name_text(X509_get_subject_name(certificate), arena),
                            .serial = serial_text(certificate, arena)};
    time_t until = ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) == 1 ? timegm(&tm) : 0;
    s->until = until > 0 ? (uint64_t)until : 0;
    check(X509_digest(certificate, EVP_sha256(), s->print, NULL) == 1);
    ERR_clear_error();
    return s;
}

/* Several may name the same file. */
static const struct tls_shown *shown_add(struct snapshot *snap, struct str path, const X509 *certificate)
{
    struct tls_shown **end = &snap->shown;
    for (; *end; end = &(*end)->next)
        if (str_eq((*end)->path, path))
            return *end;
    *end = shown_make(&snap->arena, path, certificate);
    return *end;
}

/* One that is in force already expires whatever is done: refusing it would hold up every other change, and mend nothing. */
static int dates_check(const struct tls_files *f, const struct tls_pair *conf, const X509 *certificate)
{
    const struct tls_shown *shown = shown_add(f->snap, conf->certificate, certificate);
    const struct tls_shown *before = tls_shown_find(f->running, conf->certificate);
    const ASN1_TIME *from = X509_get0_notBefore(certificate), *to = X509_get0_notAfter(certificate);
    char date[40], why[160];
    if (X509_cmp_current_time(to) <= 0) {
        bool in_force = before && memcmp(before->print, shown->print, sizeof shown->print) == 0;
        (void)snprintf(why, sizeof why, "it expired at %s%s", date_text(to, date, sizeof date),
                       in_force ? "; kept because it is in force, but weir would not start with it" : "");
        if (in_force) {
            tls_files_warn(f, conf->node, "certificate", CODE_expires, conf->certificate, why);
            return 0;
        }
        return tls_files_wrong(f, conf->node, "certificate", CODE_certificate, conf->certificate, why);
    }
    if (X509_cmp_current_time(from) >= 0) {
        (void)snprintf(why, sizeof why, "it is not valid before %s", date_text(from, date, sizeof date));
        return tls_files_wrong(f, conf->node, "certificate", CODE_certificate, conf->certificate, why);
    }
    if (shown->until < clock_wall(&clock_real) / NSEC_PER_SEC + TLS_ENDS_SOON) {
        (void)snprintf(why, sizeof why, "it expires at %s", date_text(to, date, sizeof date));
        tls_files_warn(f, conf->node, "certificate", CODE_expires, conf->certificate, why);
    }
    return 0;
}

static int certificate_take(const struct tls_files *f, const struct tls_pair *conf, struct arena *arena, struct tls_identity *id)
{
    struct tls_bytes b;
    if (tls_bytes_read(f, conf->node, "certificate", conf->certificate, &b) != 0)
        return -1;
    BIO *bio = tls_bytes_bio(&b);
    id->chain = tls_certificates_read(bio);
    id->certificate = id->chain ? sk_X509_shift(id->chain) : NULL;
    BIO_free(bio);
    bool none = id->chain != NULL;
    tls_bytes_fini(&b);
    if (!id->certificate) {
        return tls_files_wrong(f, conf->node, "certificate", CODE_certificate, conf->certificate,
                               none ? "it holds no certificate in PEM" : tls_reason().text);
    }
    names_take(id, arena);
    return dates_check(f, conf, id->certificate);
}

/* Callers go from each to the one behind it. OpenSSL sends what the file holds, in its order, whatever that is. */
static void chain_check(const struct tls_files *f, const struct tls_pair *conf, const struct tls_identity *id)
{
    struct arena arena;
    char why[640];
    arena_init(&arena, NULL);
    X509 *one = id->certificate;
    for (int i = 0; i < sk_X509_num(id->chain); i++) {
        X509 *next = sk_X509_value(id->chain, i);
        if (X509_check_issued(next, one) != X509_V_OK) {
            (void)snprintf(why, sizeof why, "number %d in it (%.200s) has not issued the one before it (%.200s)", i + 2,
                           quoted(tls_name_text(X509_get_subject_name(next), &arena)).text,
                           quoted(tls_name_text(X509_get_subject_name(one), &arena)).text);
            tls_files_warn(f, conf->node, "certificate", CODE_chain, conf->certificate, why);
            break;
        }
        one = next;
    }
    arena_fini(&arena);
    ERR_clear_error();
}

/* Why there is no key in it. What OpenSSL says of one that is not whole is only that nobody could read it. */
static struct tls_reason key_reason(BIO *bio)
{
    struct tls_reason reason = tls_reason();
    bool whole = false, found = false;
    (void)BIO_reset(bio);
    do {
        char *name = NULL, *header = NULL;
        unsigned char *data = NULL;
        long len = 0;
        whole = PEM_read_bio(bio, &name, &header, &data, &len) == 1;
        found = whole && strstr(name, "PRIVATE KEY");
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_clear_free(data, (size_t)len);
    } while (whole && !found);
    if (!whole)
        reason = tls_reason();
    return reason;
}

static const char *misfit_text(const struct tls_pair *conf, X509 *certificate, char *why, size_t cap)
{
    struct arena arena;
    arena_init(&arena, NULL);
    if (X509_check_ca(certificate) == 1)
        (void)snprintf(why, cap, "it is not the key of the certificate: the first one in \"%s\" is a CA's (" STR_FMT "); the "
                       "server's own comes first", quoted(conf->certificate).text,
                       STR_ARG(tls_name_text(X509_get_subject_name(certificate), &arena)));
    else
        (void)snprintf(why, cap, "it is not the key of the certificate");
    arena_fini(&arena);
    return why;
}

static int key_take(const struct tls_files *f, const struct tls_pair *conf, struct tls_identity *id)
{
    struct tls_bytes b;
    bool asked = false;
    if (tls_bytes_read(f, conf->node, "key", conf->key, &b) != 0)
        return -1;
    bool pem = b.text.len && memmem(b.text.at, b.text.len, "PRIVATE KEY-----", 16);
    BIO *bio = tls_bytes_bio(&b);
    id->key = PEM_read_bio_PrivateKey(bio, NULL, no_phrase, &asked);
    struct tls_reason reason = {""};
    if (!id->key)
        reason = key_reason(bio);
    BIO_free(bio);
    tls_bytes_fini(&b);
    const char *why = NULL;
    char misfit[512];
    if (!id->key && asked) {
        why = "it is encrypted, and nobody is there to type a pass phrase";
    } else if (!id->key) {
        why = pem ? reason.text : "it holds no private key in PEM";
    } else if (id->certificate && X509_check_private_key(id->certificate, id->key) != 1) {
        why = misfit_text(conf, id->certificate, misfit, sizeof misfit);
        ERR_clear_error();
    }
    return why ? tls_files_wrong(f, conf->node, "key", CODE_private_key, conf->key, why) : 0;
}

/* ---- an OCSP response ---- */

/* By serial number and issuer's name; the issuer's key, which is in it too (RFC 6960 4.1.1), need not be at hand here. */
static bool is_about(OCSP_SINGLERESP *single, const X509 *certificate)
{
    OCSP_CERTID *id = (OCSP_CERTID *)(uintptr_t)OCSP_SINGLERESP_get0_id(single);
    unsigned char issuer[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    ASN1_OBJECT *hash = NULL;
    ASN1_OCTET_STRING *name = NULL;
    ASN1_INTEGER *serial = NULL;
    if (OCSP_id_get0_info(&name, &hash, NULL, &serial, id) != 1
        || ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(certificate)) != 0)
        return false;
    const EVP_MD *md = EVP_get_digestbyobj(hash);
    return md && X509_NAME_digest(X509_get_issuer_name(certificate), md, issuer, &len) == 1
           && len == (unsigned)ASN1_STRING_length(name) && memcmp(issuer, ASN1_STRING_get0_data(name), len) == 0;
}

static const char of_another[] = "it is about another certificate";

/* What is wrong with it; NULL: nothing. *until: wall, s. */
static const char *basic_check(OCSP_BASICRESP *basic, const X509 *certificate, uint64_t *until)
{
    ASN1_GENERALIZEDTIME *from = NULL, *to = NULL;
    for (int i = 0; i < OCSP_resp_count(basic); i++) {
        OCSP_SINGLERESP *single = OCSP_resp_get0(basic, i);
        struct tm tm;
        if (!is_about(single, certificate))
            continue;
        if (OCSP_single_get0_status(single, NULL, NULL, &from, &to) != V_OCSP_CERTSTATUS_GOOD)
            return "it does not say that the certificate is good";
        *until = UINT64_MAX;
        if (to && ASN1_TIME_to_tm(to, &tm) == 1)
            *until = (uint64_t)timegm(&tm);
        return NULL;
    }
    return of_another;
}

static const char *response_check(const struct tls_bytes *b, const X509 *certificate, uint64_t *until)
{
    const unsigned char *at = (const unsigned char *)b->text.at;
    OCSP_RESPONSE *response = b->text.len ? d2i_OCSP_RESPONSE(NULL, &at, (long)b->text.len) : NULL;
    OCSP_BASICRESP *basic = NULL;
    const char *why = "it is no OCSP response in DER";
    if (response && OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL)
        why = "it is an OCSP responder's refusal";
    else if (response && (basic = OCSP_response_get1_basic(response)) != NULL)
        why = basic_check(basic, certificate, until);
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(response);
    ERR_clear_error();
    return why;
}

/* One out of date is not sent, nor one about the certificate that was there before, and neither is a reason to stop: whoever renews
 * certificates need not be who renews these. */
static int ocsp_take(const struct tls_files *f, const struct tls_pair *conf, struct arena *arena, struct tls_identity *id)
{
    struct tls_bytes b;
    if (!conf->ocsp.len)
        return 0;
    if (tls_bytes_read(f, conf->node, "ocsp", conf->ocsp, &b) != 0)
        return -1;
    const char *why = response_check(&b, id->certificate, &id->ocsp_until);
    if (!why)
        id->ocsp = arena_copy(arena, b.text);
    tls_bytes_fini(&b);
    if (why == of_another) {
        tls_files_warn(f, conf->node, "ocsp", CODE_ocsp_other, conf->ocsp, "it is about another certificate, and will not be sent");
        return 0;
    }
    if (why)
        return tls_files_wrong(f, conf->node, "ocsp", CODE_ocsp_file, conf->ocsp, why);
    if (id->ocsp_until <= clock_wall(&clock_real) / NSEC_PER_SEC)
        tls_files_warn(f, conf->node, "ocsp", CODE_expires, conf->ocsp, "it is out of date, and will not be sent");
    return 0;
}

int tls_files_identity(const struct tls_files *f, const struct tls_pair *conf, struct arena *arena, struct tls_identity *id)
{
    *id = (struct tls_identity){0};
    int res = certificate_take(f, conf, arena, id);
    if (key_take(f, conf, id) != 0)
        res = -1;
    else if (res == 0)
        chain_check(f, conf, id);
    if (id->certificate && ocsp_take(f, conf, arena, id) != 0)
        res = -1;
    return res;
}

struct tls_reason tls_identity_reason(const struct tls_identity *id)
{
    unsigned long code = ERR_peek_error();
    struct tls_reason r = tls_reason();
    size_t n = strlen(r.text);
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_EE_KEY_TOO_SMALL)
        (void)snprintf(r.text + n, sizeof r.text - n, ": its key has %d bits", EVP_PKEY_get_bits(id->key));
    return r;
}

void tls_identity_fini(struct tls_identity *id)
{
    X509_free(id->certificate);
    sk_X509_pop_free(id->chain, X509_free);
    EVP_PKEY_free(id->key);
    *id = (struct tls_identity){0};
}
