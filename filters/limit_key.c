/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys of limits: how they are written, and what of a request they are.
 *
 * The number of a key is a keyed hash over its parts, each as two words: the part's domain (its type and name) and the
 * keyed hash of the value, or an address as it is. So every value has a place and a length of its own: ("ab", "c") is not
 * ("a", "bc"), and the header "x" with the value of the cookie "x" is another caller.
 *
 * What cannot be read in one way alone is ambiguous, as it is for paths (http/uri.c). A header does so also when there is
 * another spelling that many back ends take for the same name, alone or as a second line: else "X_Api_Key" would be a key that
 * they see and the limit does not. A query parameter, when only those back ends see it, or see it end earlier, that split at ";"
 * too. All parts of an alternative are looked at, although one is
 * missing: whether a request is refused does not depend on the order in which parts are written.
 *
 * It does not say which keys a client may choose freely: who limits by a header that nobody checks limits nobody.
 */
#include "filters/limit_key.h"

#include "conf/load.h"
#include "conf/named.h"
#include "conf/yaml.h"
#include "http/uri.h"
#include "lib/mem.h"
#include "request.h"

enum { PARTS_MAX = 4, ALTERNATIVES_MAX = 8 };

#define WORDS "client_ip, header:NAME, cookie:NAME, query:NAME, param:NAME, host, route, consumer or all"

static const struct { struct str word; bool named; } part_types[] = {
    [PART_CLIENT_IP] = {{"client_ip", 9}, false},
    [PART_HEADER] = {{"header", 6}, true},
    [PART_COOKIE] = {{"cookie", 6}, true},
    [PART_QUERY] = {{"query", 5}, true},
    [PART_PARAM] = {{"param", 5}, true},
    [PART_HOST] = {{"host", 4}, false},
    [PART_ROUTE] = {{"route", 5}, false},
    [PART_CONSUMER] = {{"consumer", 8}, false},
};

static const struct limit_part client_ip = {.type = PART_CLIENT_IP, .domain = PART_CLIENT_IP};

/* ---- reading ---- */

static int unknown(struct str text, struct str word, const struct yaml_node *n, struct load *l)
{
    struct nearest near;

    nearest_init(&near, word);
    for (size_t i = 0; i < array_len(part_types); i++)
        nearest_try(&near, part_types[i].word);
    return load_err(l, n, CODE_key_expression, "\"%s\" is nothing to tell callers apart by; write " WORDS "%s", quoted(text).text,
                    nearest_hint(&near).text);
}

/* Of the type and the name alone, so that a reload finds the keys that there are. A type without names is its own. */
static uint64_t domain_of(enum limit_part_type type, struct str name)
{
    const struct hash_key fixed = {0x77656972, type};

    if (!part_types[type].named)
        return type;
    return type == PART_HEADER ? hash_str_nocase(&fixed, name) : hash_str(&fixed, name);
}

static bool is_of_the_connection(struct str name)
{
    switch (header_id(name)) {
    case HEADER_CONNECTION:
    case HEADER_KEEP_ALIVE:
    case HEADER_PROXY_CONNECTION:
    case HEADER_TE:
    case HEADER_TRAILER:
    case HEADER_TRANSFER_ENCODING:
    case HEADER_UPGRADE:
    case HEADER_HTTP2_SETTINGS:
        return true;
    default:
        return false;
    }
}

/* "header:x-api-key" or "host". */
static int part_read(struct limit_part *p, struct str text, const struct yaml_node *n, struct load *l)
{
    const char *colon = text.len ? memchr(text.at, ':', text.len) : NULL;
    struct str word = colon ? str_of(text.at, (size_t)(colon - text.at)) : text;
    struct str name = colon ? str_of(colon + 1, text.len - word.len - 1) : str_of(NULL, 0);
    size_t type = 0;

    while (type < array_len(part_types) && !str_eq(part_types[type].word, word))
        type++;
    if (text.len == 0)
        return load_err(l, n, CODE_key_expression,
                        "\"%s\" lacks a part; " WORDS " is one, \"a + b\" is both", quoted(n->text).text);
    if (str_eq(text, STR("all")))
        return load_err(l, n, CODE_key_expression, "`all` is one key for everybody: it stands alone");
    if (type == array_len(part_types))
        return unknown(text, word, n, l);
    if (!part_types[type].named && colon)
        return load_err(l, n, CODE_key_expression, "\"%s\": " STR_FMT " takes no name", quoted(text).text, STR_ARG(word));
    if (part_types[type].named && name.len == 0)
        return load_err(l, n, CODE_key_expression, "\"%s\" lacks a name; write it like \"" STR_FMT ":NAME\"", quoted(text).text,
                        STR_ARG(word));
    if (part_types[type].named && !http_is_token(name))
        return load_err(l, n, CODE_key_expression,
                        STR_FMT ": \"%s\" is not a name: letters, digits and !#$%%&'*-.^_`|~ only", STR_ARG(word),
                        quoted(name).text);
    if (type == PART_HEADER && header_id(name) == HEADER_HOST)
        return load_err(l, n, CODE_key_expression, "header:%s: write `host`, which knows no port and no case", quoted(name).text);
    if (type == PART_HEADER && is_of_the_connection(name))
        return load_err(l, n, CODE_key_expression,
                        "header:%s belongs to the connection and is gone before filters run", quoted(name).text);
    *p = (struct limit_part){.type = (enum limit_part_type)type, .name = name,
                             .credentials = type == PART_HEADER && header_id(name) == HEADER_AUTHORIZATION,
                             .domain = domain_of((enum limit_part_type)type, name)};
    return 0;
}

static bool has_part(const struct limit_alternative *a, const struct limit_part *p)
{
    for (size_t i = 0; i < a->n; i++)
        if (a->parts[i].domain == p->domain)
            return true;
    return false;
}

/* "a + b" */
static int alternative_read(struct limit_alternative *a, const struct yaml_node *n, struct load *l)
{
    struct str rest = n->text;

    if (load_public(l, n, "what callers are told apart by") != 0)
        return -1;
    a->parts = arena_zalloc(l->arena, PARTS_MAX * sizeof(*a->parts));
    for (bool more = true; more;) {
        const char *plus = rest.len ? memchr(rest.at, '+', rest.len) : NULL;
        struct str text = str_trim(plus ? str_of(rest.at, (size_t)(plus - rest.at)) : rest);
        struct limit_part part;
        if (part_read(&part, text, n, l) != 0)
            return -1;
        if (has_part(a, &part))
            return load_err(l, n, CODE_key_expression, "\"%s\" stands twice in \"%s\"", quoted(text).text, quoted(n->text).text);
        if (a->n == PARTS_MAX)
            return load_err(l, n, CODE_key_expression, "\"%s\" joins too many parts; at most %d", quoted(n->text).text, PARTS_MAX);
        a->text = a->n ? arena_printf(l->arena, STR_FMT " + " STR_FMT, STR_ARG(a->text), STR_ARG(text)) : text;
        a->parts[a->n++] = part;
        more = plus != NULL;
        rest = plus ? str_of(plus + 1, rest.len - (size_t)(plus - rest.at) - 1) : rest;
    }
    return 0;
}

/* An alternative counts when none before it is there in full; so it never does when one of them is a part of it. */
static int reachable_check(const struct limit_alternative *earlier, const struct limit_alternative *a,
                           const struct yaml_node *n, struct load *l)
{
    bool same = earlier->n == a->n;

    for (size_t i = 0; i < earlier->n; i++) {
        bool has = has_part(a, &earlier->parts[i]);
        same = same && has;
        if (!has && earlier->parts[i].type != PART_CLIENT_IP)
            return 0;
    }
    if (same)
        return load_err(l, n, CODE_repeated, "\"%s\" stands twice in the list", quoted(a->text).text);
    if (earlier->n == 1 && earlier->parts[0].type == PART_CLIENT_IP)
        return load_err(l, n, CODE_key_expression,
                        "\"%s\" would never count: every request has a client_ip, which stands before it",
                        quoted(a->text).text);
    return load_err(l, n, CODE_key_expression, "\"%s\" would never count: who has it has \"%s\", which stands before it",
                    quoted(a->text).text, quoted(earlier->text).text);
}

static int list_read(struct limit_key *k, const struct yaml_node *const *items, size_t n, struct load *l)
{
    int res = 0;

    k->v = arena_zalloc(l->arena, n * sizeof(*k->v));
    for (size_t i = 0; i < n; i++) {
        struct limit_alternative *a = &k->v[k->n];
        if (items[i]->type != YAML_SCALAR) {
            res = load_err(l, items[i], CODE_kind, "a key is a single value, like \"header:x-api-key\"; " WORDS);
            continue;
        }
        *a = (struct limit_alternative){.n = 0};
        if (alternative_read(a, items[i], l) != 0) {
            res = -1;
            continue;
        }
        for (size_t j = 0; j < k->n; j++)
            if (reachable_check(&k->v[j], a, items[i], l) != 0) {
                res = -1;
                break;
            }
        k->n++;
    }
    return res;
}

int limit_key_parse(void *at, const struct yaml_node *node, struct load *l)
{
    const struct yaml_node *items[ALTERNATIVES_MAX] = {node};
    struct limit_key *k = at;
    size_t n = node->type == YAML_LIST ? node->n : 1;

    /* The node of a default is nowhere in the file, and gone soon. */
    *k = (struct limit_key){.node = node->line ? node : NULL};
    if (n == 0)
        return load_err(l, node, CODE_empty, "the list is empty; " WORDS " may stand there");
    if (n > ALTERNATIVES_MAX)
        return load_err(l, node, CODE_key_expression, "the list names %zu keys; at most %d", n, ALTERNATIVES_MAX);
    for (size_t i = 0; node->type == YAML_LIST && i < n; i++)
        items[i] = node->entries[i].value;
    if (n == 1 && items[0]->type == YAML_SCALAR && str_eq(str_trim(items[0]->text), STR("all")))
        return 0;
    return list_read(k, items, n, l);
}

int limit_key_check(struct limit_key *k, struct load *l)
{
    struct load at = *l;

    at.node = k->node ? k->node : l->node;
    for (size_t i = 0; i < k->n; i++)
        for (size_t j = 0; j < k->v[i].n; j++) {
            struct limit_part *p = &k->v[i].parts[j];
            int attribute = p->type == PART_CONSUMER ? load_attribute(&at, part_types[PART_CONSUMER].word) : 0;
            if (attribute < 0)
                return -1;
            p->attribute = (unsigned)attribute;
        }
    return 0;
}

/* ---- hashing ---- */

enum found { FOUND_NONE, FOUND_ONE, FOUND_SEVERAL };

/* A key on its way: the words that are hashed. */
struct mix {
    uint64_t words[2 * PARTS_MAX];
    size_t n;
};

static void mix_add(struct mix *m, uint64_t domain, uint64_t value)
{
    m->words[m->n++] = domain;
    m->words[m->n++] = value;
}

/* An address is a word of its own and needs no hash; of IPv6 its network: one subscriber has a /64 to choose from. Each family
 * has a domain: they are below all that domain_of() makes of a name, but for one chance in 2^53. */
static void mix_ip(struct mix *m, const struct ip *ip)
{
    uint64_t value = 0;

    memcpy(&value, ip->bytes, ip->family == 4 ? 4 : ip->family == 6 ? 8 : 0);
    mix_add(m, PART_CLIENT_IP | (uint64_t)ip->family << 8, value);
}

static uint64_t mix_end(const struct mix *m, const struct hash_key *secret)
{
    return hash_str(secret, str_of((const char *)m->words, m->n * sizeof(m->words[0])));
}

static uint64_t hash_everybody(const struct hash_key *secret) { return hash_str(secret, STR("all")); }

/* What a value says, where the same can be written in several ways: each of them would be another key, and have a bucket of
 * its own. Of credentials that is what follows the scheme, whose case means nothing, and the blanks behind it, which many back
 * ends take as one; of a cookie what stands within its quotes (RFC 6265 4.1.1). */
static struct str said(const struct limit_part *p, struct str value)
{
    size_t i = 0;

    if (p->type == PART_COOKIE && value.len > 1 && value.at[0] == '"' && value.at[value.len - 1] == '"')
        return str_of(value.at + 1, value.len - 2);
    while (p->credentials && i < value.len && value.at[i] != ' ' && value.at[i] != '\t')
        i++;
    return i < value.len && i > 0 ? str_trim(str_of(value.at + i, value.len - i)) : value;
}

static uint64_t hash_text(const struct limit_part *p, struct str value, const struct hash_key *secret)
{
    return p->type == PART_HOST ? hash_str_nocase(secret, value) : hash_str(secret, value);
}

/* A line of as many bytes in its name as the wanted one. */
static void header_seen(struct str name, struct str value, struct str wanted, struct str *found, bool *repeated)
{
    if (!http_name_alike(name, wanted))
        return;
    *repeated = *repeated || found->at || !str_eq_nocase(name, wanted);
    *found = value;
}

/* The line of the name; *repeated: there is another, or one of a name that is alike. */
static struct str header_get(const struct http_head *h, struct str wanted, bool *repeated)
{
    struct str found = {NULL, 0};

    *repeated = false;
    for (unsigned i = 0; i < h->n; i++) {
        const struct http_field *f = &h->fields[i];
        if (f->name_len == wanted.len && !f->dropped)
            header_seen(http_field_name(h, f), http_field_value(h, f), wanted, &found, repeated);
    }
    for (const struct http_added *a = h->added; a; a = a->next)
        if (a->name.len == wanted.len)
            header_seen(a->name, a->value, wanted, &found, repeated);
    return found;
}

static struct str query_get(struct request *r, struct str name, bool *repeated)
{
    struct str raw = {NULL, 0};

    if (!uri_query_get_once(request_query(r), name, &raw, repeated) || *repeated || !uri_query_is_encoded(raw))
        return raw;
    char *text = arena_alloc(request_arena(r), raw.len);
    return str_of(text, uri_query_decode(raw, text));
}

/* As most readers of cookies and of paths take it: %41 is A. */
static struct str decoded(struct request *r, struct str raw)
{
    if (!raw.len || !memchr(raw.at, '%', raw.len))
        return raw;
    char *text = arena_alloc(request_arena(r), raw.len);
    return str_of(text, uri_segment_decode(raw, text));
}

static struct str text_get(const struct limit_part *p, struct request *r, bool *repeated)
{
    switch (p->type) {
    case PART_HEADER: return header_get(request_head(r), p->name, repeated);
    case PART_COOKIE: return decoded(r, request_cookie(r, p->name, repeated));
    case PART_QUERY: return query_get(r, p->name, repeated);
    case PART_PARAM: return decoded(r, request_param(r, p->name));
    case PART_HOST: return request_host(r);
    case PART_ROUTE: return request_route(r);
    case PART_CONSUMER: return request_attribute(r, p->attribute);
    case PART_CLIENT_IP: break;
    }
    unreachable();
}

static enum found part_find(const struct limit_part *p, struct request *r, const struct hash_key *secret, struct mix *m)
{
    bool repeated = false;

    if (p->type == PART_CLIENT_IP) {
        mix_ip(m, request_client(r));
        return FOUND_ONE;
    }
    struct str value = said(p, text_get(p, r, &repeated));
    if (repeated)
        return FOUND_SEVERAL;
    if (value.len == 0)
        return FOUND_NONE;
    mix_add(m, p->domain, hash_text(p, value, secret));
    return FOUND_ONE;
}

static enum found alternative_find(const struct limit_alternative *a, struct request *r, const struct hash_key *secret,
                                   uint64_t *out)
{
    enum found all = FOUND_ONE;
    struct mix m;

    m.n = 0;
    for (size_t i = 0; i < a->n; i++) {
        enum found one = part_find(&a->parts[i], r, secret, &m);
        if (one == FOUND_SEVERAL)
            return one;
        if (one == FOUND_NONE)
            all = one;
    }
    if (all == FOUND_ONE)
        *out = mix_end(&m, secret);
    return all;
}

static uint64_t client_ip_key(const struct ip *ip, const struct hash_key *secret)
{
    struct mix m;

    m.n = 0;
    mix_ip(&m, ip);
    return mix_end(&m, secret);
}

bool limit_key_of(const struct limit_key *k, struct request *r, const struct hash_key *secret, uint64_t *out)
{
    for (size_t i = 0; i < k->n; i++) {
        enum found found = alternative_find(&k->v[i], r, secret, out);
        if (found != FOUND_NONE)
            return found == FOUND_ONE;
    }
    *out = k->n ? client_ip_key(request_client(r), secret) : hash_everybody(secret);
    return true;
}

/* An address as the log writes it. */
static bool ip_read(struct str text, struct ip *ip)
{
    *ip = (struct ip){.family = 0};
    return str_eq(text, STR("unix")) || ip_parse(text, ip);
}

static bool value_add(struct mix *m, const struct limit_part *p, struct str value, const struct hash_key *secret)
{
    if (p->type == PART_CLIENT_IP) {
        struct ip ip;
        if (!ip_read(value, &ip))
            return false;
        mix_ip(m, &ip);
        return true;
    }
    char *text = mem_alloc(value.len + 1);
    if (p->type == PART_COOKIE || p->type == PART_PARAM)
        value = str_of(text, uri_segment_decode(value, text));
    value = said(p, value);
    mix_add(m, p->domain, hash_text(p, value, secret));
    mem_free(text);
    return value.len > 0;
}

bool limit_key_of_values(const struct limit_key *k, size_t i, const struct str *values, size_t n,
                         const struct hash_key *secret, uint64_t *out)
{
    const struct limit_alternative fall_back = {.parts = (struct limit_part[]){client_ip}, .n = 1};
    const struct limit_alternative *a = i < k->n ? &k->v[i] : &fall_back;
    struct mix m = {.n = 0};

    if (k->n == 0) {
        *out = hash_everybody(secret);
        return i == 0 && n == 0;
    }
    if (i > k->n || n != a->n)
        return false;
    for (size_t j = 0; j < n; j++)
        if (!value_add(&m, &a->parts[j], values[j], secret))
            return false;
    *out = mix_end(&m, secret);
    return true;
}

bool limit_key_same(const struct limit_key *a, const struct limit_key *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = str_eq(a->v[i].text, b->v[i].text);
    return same;
}
