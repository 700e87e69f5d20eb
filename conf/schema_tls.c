/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `tls` of listeners: with which certificates, and of whom one is asked; and of upstreams: whom to
 * believe, and what to show. Files are only named here, and listed so that their change is
 * seen; what stands in them is read where TLS is (gateway/tls_context.c).
 *
 * A path that is not absolute counts from the folder of the file that it stands in: a configuration can be moved together
 * with its certificates.
 */
#include "conf/schema.h"

#include "conf/show.h"
#include "conf/yaml.h"
#include "http/headers.h"

#define PATH_MAX_LEN 1024

static struct str path_of(struct arena *a, const struct yaml_node *n)
{
    const char *slash = n->source ? strrchr(n->source->name, '/') : NULL;
    int folder = n->text.at[0] == '/' || !slash ? 0 : (int)(slash - n->source->name) + 1;
    return arena_printf(a, "%.*s" STR_FMT, folder, n->source ? n->source->name : "", STR_ARG(n->text));
}

static bool is_path(const struct yaml_node *n)
{
    return n->type == YAML_SCALAR && n->text.len > 0 && n->text.len <= PATH_MAX_LEN && !memchr(n->text.at, '\0', n->text.len);
}

static int path_read(void *at, const struct yaml_node *n, struct load *l)
{
    struct str *out = at;

    if (!is_path(n))
        return load_err(l, n, CODE_kind, "must be the path of a file");
    if (yaml_is_secret(n))
        return load_err(l, n, CODE_exposed, "\"%s\" holds a secret, and here stands the path of a file, not what is in it: write "
                        "`/path`, not `${file:/path}`; a variable that holds a path needs a name without KEY, TOKEN, SECRET, "
                        "PASS, CRED or AUTH", yaml_quoted(n).text);
    *out = path_of(l->arena, n);
    return 0;
}

/* Of every file. */
#define FROM_WHERE " A path that is not absolute counts from the folder of the configuration file that names it."

#define FILE_ROW(STRUCT, KEY) .key = #KEY, .type = FIELD_CUSTOM, .parse = path_read, .offset = offsetof(STRUCT, KEY), \
    .form = "a path", .json = "{\"type\":\"string\",\"minLength\":1}"

static const struct field pair_fields[] = {
    {FILE_ROW(struct tls_pair, certificate), .required = true,
     .help = "A file in PEM: the certificate first, then those of the CAs between it and the root. It serves the names in it "
             "(subjectAltName), `*.` included." FROM_WHERE},
    {FILE_ROW(struct tls_pair, key), .required = true,
     .help = "A file in PEM with its private key, not encrypted." FROM_WHERE},
    {FILE_ROW(struct tls_pair, ocsp),
     .help = "A file in DER with an OCSP response about the certificate, which is sent to those that ask for it (stapled)."
             FROM_WHERE},
    {.type = FIELD_END},
};

static int pair_read(struct tls_pair *p, const struct yaml_node *n, struct load *l)
{
    p->node = n;
    if (n->type != YAML_MAP)
        return load_err(l, n, CODE_kind, "certificates: must be {certificate: FILE, key: FILE}, or a list of these");
    return fields_read(pair_fields, n, p, l);
}

static int pairs_read(void *at, const struct yaml_node *n, struct load *l)
{
    struct tls_conf *c = at;
    int res = 0;

    size_t count = n->type == YAML_LIST ? n->n : 1;
    if (count == 0)
        return load_err(l, n, CODE_empty, "certificates: needs at least one");
    c->pairs = arena_zalloc(l->arena, count * sizeof(*c->pairs));
    c->n = count;
    for (size_t i = 0; i < count; i++) {
        show_enter(l->show, "[%zu]", i);
        if (pair_read(&c->pairs[i], n->type == YAML_LIST ? n->entries[i].value : n, l) != 0)
            res = -1;
        show_leave(l->show);
    }
    return res;
}

static int verify_read(void *at, const struct yaml_node *n, struct load *l)
{
    static const char *const words[] = {"required", "optional", NULL};
    static const struct field f = {.key = "verify", .type = FIELD_ENUM, .words = words};
    int word = 0;

    if (field_read(&f, n, &word, l) != 0)
        return -1;
    *(bool *)at = word == 1;
    return 0;
}

static int header_read(void *at, const struct yaml_node *n, struct load *l)
{
    static const struct field f = {.key = "header", .type = FIELD_TOKEN};
    struct str *name = at;

    if (field_read(&f, n, name, l) != 0)
        return -1;
    if (header_id(*name) != HEADER_OTHER)
        return load_err(l, n, CODE_header, "header: \"%s\" means something of its own", quoted(*name).text);
    struct pair pair = {.key = *name, .value = STR("x"), .shown = STR("x"), .node = n};
    return schema_headers_check(l, "header", &(struct pairs){&pair, 1});
}

/* ---- towards upstreams ---- */

#define FILE_AT(KEY, MEMBER) .key = KEY, .type = FIELD_CUSTOM, .parse = path_read, .form = "a path", \
    .offset = offsetof(struct tls_out_conf, MEMBER), .json = "{\"type\":\"string\",\"minLength\":1}"

static const char *const profiles[] = {"intermediate", "modern", NULL};

const struct field schema_tls_out_fields[] = {
    {FILE_AT("ca", ca),
     .help = "A file in PEM with the CAs whose certificates endpoints may have, in place of the system's." FROM_WHERE},
    {FILE_AT("crl", crl),
     .help = "A file in PEM with the lists of certificates that those CAs have revoked (CRL), one of each CA that endpoints' "
             "chains run through: of a CA without a list, or whose list has ended, no certificate is taken. It needs `ca`."
             FROM_WHERE},
    {FILE_AT("certificate", pair.certificate),
     .help = "A file in PEM with the certificate that endpoints are shown which ask who weir is, and the chain behind it."
             FROM_WHERE},
    {FILE_AT("key", pair.key), .help = "A file in PEM with its private key, not encrypted." FROM_WHERE},
    {.key = "verify", .type = FIELD_BOOL, .offset = offsetof(struct tls_out_conf, verify), .fallback = "true",
     .help = "`false`: whatever certificate an endpoint has is taken, so anybody on the way can be the endpoint. Warned of, "
             "logged, and told by `weir_upstream_tls_unverified`."},
    {.key = "profile", .type = FIELD_ENUM, .offset = offsetof(struct tls_out_conf, profile), .words = profiles,
     .fallback = "intermediate",
     .help = "`modern`: TLS 1.3 alone; `intermediate`: TLS 1.2 as well, with ephemeral keys and authenticated ciphers alone."},
    {.type = FIELD_END},
};

int schema_tls_out_check(struct upstream_conf *u, const struct yaml_node *upstream, bool any_https, struct load *l)
{
    struct tls_out_conf *c = &u->tls;
    const struct yaml_node *n = yaml_get(upstream, "tls");

    c->node = c->pair.node = n && n->type == YAML_MAP ? n : NULL;
    if (!c->node)
        return 0;
    if (!any_https)
        return load_err(l, n, CODE_together, "tls: no endpoint of upstream %s is https://", quoted(u->name).text);
    if (!c->pair.certificate.len != !c->pair.key.len)
        return load_err(l, n, CODE_together, "tls: %s",
                        c->pair.key.len ? "key needs the certificate that it is of" : "certificate needs its key");
    if (c->crl.len && !c->ca.len)
        return load_err(l, yaml_get(n, "crl"), CODE_together, "crl: needs `ca`, the file of the CAs that the lists are of");
    if (!c->verify && c->ca.len)
        return load_err(l, yaml_get(n, "verify"), CODE_together, "verify: false looks at no CA; remove it, or `ca`");
    if (!c->verify)
        load_warn(l, yaml_get(n, "verify"), CODE_unverified, "upstream %s: anybody on the way can pass for its endpoints, for "
                  "their certificates are not verified", quoted(u->name).text);
    return 0;
}

/* ---- towards clients ---- */

#define CLIENTS(KEY) .offset = offsetof(struct tls_conf, clients.KEY)

static const struct field client_fields[] = {
    {.key = "ca", .type = FIELD_CUSTOM, .parse = path_read, CLIENTS(ca), .required = true, .form = "a path",
     .json = "{\"type\":\"string\",\"minLength\":1}",
     .help = "A file in PEM with the CAs whose certificates are taken." FROM_WHERE},
    {.key = "crl", .type = FIELD_CUSTOM, .parse = path_read, CLIENTS(crl), .form = "a path",
     .json = "{\"type\":\"string\",\"minLength\":1}",
     .help = "A file in PEM with the lists of certificates that these CAs have revoked (CRL), one of each CA that callers' chains "
             "run through: of a CA without a list, or whose list has ended, no certificate is taken. With a new list no session "
             "is resumed and no connection kept that was made under the old one." FROM_WHERE},
    {.key = "verify", .type = FIELD_CUSTOM, .parse = verify_read, CLIENTS(optional), .fallback = "required",
     .form = "`required` or `optional`",
     .json = "{\"anyOf\":[{\"enum\":[\"required\",\"optional\"]}," SCHEMA_REF("variable") "]}",
     .help = "Whether a caller without a certificate is let in. One with a certificate of somebody else never is."},
    {.key = "header", .type = FIELD_CUSTOM, .parse = header_read, CLIENTS(header), .form = "a header's name",
     .json = SCHEMA_REF("token"),
     .help = "A field that tells upstreams the subject of the caller's certificate, as in RFC 4514. What callers send under that "
             "name, on whatever listener, is dropped. Every listener serves every route: a route that asks for the field "
             "(`header: {x-client-subject: \"*\"}` in its `match`) is for callers with a certificate alone."},
    {.type = FIELD_END},
};

const struct field schema_tls_fields[] = {
    {.key = "certificates", .type = FIELD_CUSTOM, .parse = pairs_read, .required = true, .sub = pair_fields,
     .form = "a mapping, or a list of these", .json = "{\"anyOf\":[@,{\"type\":\"array\",\"minItems\":1,\"items\":@}]}",
     .help = "Who weir is. Callers get the certificate of the name that they ask for (SNI): the name itself first, then `*.` "
             "in place of its first label; those that ask for another name, or none, get the first of the list. Of two with the "
             "same names and different kinds of key (RSA, ECDSA) each gets what it knows. The files are watched with the "
             "configuration's own."},
    {.key = "profile", .type = FIELD_ENUM, .offset = offsetof(struct tls_conf, profile), .words = profiles,
     .fallback = "intermediate",
     .help = "`modern`: TLS 1.3 alone; `intermediate`: TLS 1.2 as well, with ephemeral keys and authenticated ciphers alone."},
    {.key = "tickets", .type = FIELD_BOOL, .offset = offsetof(struct tls_conf, tickets), .fallback = "true",
     .help = "Whether callers may resume a session within two hours and so save a handshake. Keys of tickets change every hour and "
             "stay in memory."},
    {.key = "strict_sni", .type = FIELD_BOOL, .offset = offsetof(struct tls_conf, strict_sni), .fallback = "false",
     .help = "`true`: callers that ask for a name which no certificate has, or for none, are refused (alert `unrecognized_name`) "
             "and shown no certificate, so that whoever scans addresses does not learn names."},
    {.key = "clients", .type = FIELD_MAP, .sub = client_fields, .help = "Callers are asked for a certificate."},
    {.type = FIELD_END},
};

/* The keys of the one pair that many mean stand where other programs have them: one word about all of it. */
static const struct yaml_node *pair_astray(const struct yaml_node *tls)
{
    for (size_t i = 0; i < tls->n; i++)
        if (str_eq(tls->entries[i].key->text, STR("certificate")) && !yaml_get(tls, "certificates"))
            return tls->entries[i].key;
    return NULL;
}

int schema_tls_read(void *at, const struct yaml_node *n, struct load *l)
{
    struct tls_conf *c = arena_zalloc(l->arena, sizeof(*c));

    if (n->type != YAML_MAP)
        return load_err(l, n, CODE_kind, "tls: must be a mapping with the key \"certificates\"");
    c->node = n;
    const struct yaml_node *astray = pair_astray(n);
    if (astray)
        return load_err(l, astray, CODE_unknown_key, "tls: certificate and key stand in `certificates`: "
                        "tls: {certificates: {certificate: FILE, key: FILE}}");
    if (fields_read(schema_tls_fields, n, c, l) != 0)
        return -1;
    *(struct tls_conf **)at = c;
    return 0;
}

/* ---- the list of files ---- */

static void file_list(const struct yaml_node *map, const char *key, struct sources *sources)
{
    const struct yaml_node *n = map && map->type == YAML_MAP ? yaml_get(map, key) : NULL;
    if (n && !n->broken && is_path(n) && !yaml_is_secret(n))
        (void)!sources_add(sources, path_of(sources->arena, n).at, SOURCE_TLS);
}

static void pair_list(const struct yaml_node *pair, struct sources *sources)
{
    file_list(pair, "certificate", sources);
    file_list(pair, "key", sources);
    file_list(pair, "ocsp", sources);
}

static const struct yaml_node *part(const struct yaml_node *n, const char *key)
{
    return n && n->type == YAML_MAP ? yaml_get(n, key) : NULL;
}

static void listener_list(const struct yaml_node *listener, struct sources *sources)
{
    const struct yaml_node *tls = part(listener, "tls"), *pairs = part(tls, "certificates");

    if (pairs && pairs->type == YAML_LIST)
        for (size_t i = 0; i < pairs->n; i++)
            pair_list(pairs->entries[i].value, sources);
    else
        pair_list(pairs, sources);
    file_list(part(tls, "clients"), "ca", sources);
    file_list(part(tls, "clients"), "crl", sources);
}

static void upstream_list(const struct yaml_node *upstream, struct sources *sources)
{
    const struct yaml_node *tls = part(upstream, "tls");

    file_list(tls, "ca", sources);
    file_list(tls, "crl", sources);
    pair_list(tls, sources);
}

void schema_tls_files(const struct yaml_node *root, struct sources *sources)
{
    const struct yaml_node *listen = part(root, "listen"), *upstreams = part(root, "upstreams");

    if (sources->sealed)
        return;
    if (listen && listen->type == YAML_LIST)
        for (size_t i = 0; i < listen->n; i++)
            listener_list(listen->entries[i].value, sources);
    else
        listener_list(listen, sources);
    if (upstreams && upstreams->type == YAML_MAP)
        for (size_t i = 0; i < upstreams->n; i++)
            upstream_list(upstreams->entries[i].value, sources);
}
