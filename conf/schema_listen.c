/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets: of clients, of the admin interface, of probes. No address may be given twice, whoever would listen
 * there: SO_REUSEPORT would let two sockets share it, and each would get a part of the connections.
 */
#include "conf/schema.h"

#include "conf/named.h"
#include "conf/show.h"
#include "conf/yaml.h"
#include "lib/clock.h"
#include "lib/mem.h"

#define HOUR (3600 * NSEC_PER_SEC)
#define GIB ((uint64_t)1 << 30)

static int half_close_read(void *at, const struct yaml_node *n, struct load *l)
{
    static const char *const words[] = {"cancel", "keep", NULL};
    static const struct field f = {.key = "half_close", .type = FIELD_ENUM, .words = words};
    int word = 0;

    if (field_read(&f, n, &word, l) != 0)
        return -1;
    *(bool *)at = word == 1;
    return 0;
}

static const char *const others_words[] = {"refuse", "serve", NULL};

static const struct field proxy_fields[] = {
    {.key = "trusted", .type = FIELD_CIDRS, .offset = offsetof(struct listen_proxy_conf, trusted),
     .help = "Networks of the proxies in front. A connection from there must begin with a header, or it is closed. Must be set, "
             "but not for a unix socket: there every connection begins with one."},
    {.key = "others", .type = FIELD_ENUM, .offset = offsetof(struct listen_proxy_conf, others), .words = others_words,
     .fallback = "refuse",
     .help = "What becomes of connections from elsewhere: closed at once (`refuse`), or served as callers of their own, whose "
             "headers would be no HTTP (`serve`)."},
    {.type = FIELD_END},
};

static const struct field per_address_fields[] = {
    {.key = "connections", .type = FIELD_COUNT, .offset = offsetof(struct per_address_conf, connections), .min = 1,
     .max = 10000000, .help = "How many connections one address may have open here at once. One more is answered 429 and closed."},
    {.key = "rate", .type = FIELD_RATE, .offset = offsetof(struct per_address_conf, rate),
     .help = "How many new connections one address may open here in a time, and so how many handshakes; as many at once. One more "
             "is answered 429 and closed."},
    {.type = FIELD_END},
};

const struct field schema_listen_fields[] = {
    {.key = "at", .type = FIELD_TEXT, .offset = offsetof(struct listen_conf, at), .required = true,
     .json = SCHEMA_REF("address"),
     .help = "The address: `127.0.0.1:8080`, `[::1]:8080`, `:8080` (every IPv4 address) or `unix:/run/weir.sock`."},
    {.key = "header_timeout", .type = FIELD_DURATION, .offset = offsetof(struct listen_conf, header_timeout),
     .fallback = "10s", .min = NSEC_PER_MSEC, .max = HOUR,
     .help = "How long a request's head may take to arrive; a connection's first one with all that stands before it, a header of "
             "the PROXY protocol and the handshake of TLS."},
    {.key = "body_timeout", .type = FIELD_DURATION, .offset = offsetof(struct listen_conf, body_timeout),
     .fallback = "30s", .min = NSEC_PER_MSEC, .max = HOUR,
     .help = "How long a client may send nothing in the middle of a body, or take nothing of its answer."},
    {.key = "min_rate", .type = FIELD_SIZE, .offset = offsetof(struct listen_conf, min_rate), .fallback = "500B", .max = GIB,
     .help = "How many bytes a second a client must send of a body, and take of its answer, over `body_timeout` (at least 10s) of "
             "time in which it could; `0B`: any. A body that is slower is answered 408, an answer is cut."},
    {.key = "keepalive_timeout", .type = FIELD_DURATION, .offset = offsetof(struct listen_conf, keepalive_timeout),
     .fallback = "75s", .min = NSEC_PER_MSEC, .max = 24 * HOUR,
     .help = "How long a connection is kept open between requests."},
    {.key = "half_close", .type = FIELD_CUSTOM, .parse = half_close_read,
     .offset = offsetof(struct listen_conf, half_close_keep), .fallback = "cancel", .form = "`cancel` or `keep`",
     .json = "{\"anyOf\":[{\"enum\":[\"cancel\",\"keep\"]}," SCHEMA_REF("variable") "]}",
     .help = "What a client's end of sending means after a whole request: it went away (`cancel`), or it still reads."},
    {.key = "tls", .type = FIELD_CUSTOM, .parse = schema_tls_read, .offset = offsetof(struct listen_conf, tls),
     .sub = schema_tls_fields, .form = "a mapping", .json = "@",
     .help = "TLS is spoken here, and nothing else: plain HTTP is answered with a 400 that says so."},
    {.key = "proxy_protocol", .type = FIELD_MAP, .sub = proxy_fields, .offset = offsetof(struct listen_conf, proxy),
     .help = "The PROXY protocol, version 1 or 2: a proxy in front that does not speak HTTP itself says by a header before the "
             "first byte whom a connection is for, and that address is the caller's."},
    {.key = "per_address", .type = FIELD_MAP, .sub = per_address_fields, .offset = offsetof(struct listen_conf, per_address),
     .help = "What one client address may have, of all workers together; of IPv6 the first 64 bits are the address. "
             "`trusted_proxies` and unix sockets are not bound by it: many callers stand behind them. With `proxy_protocol`, "
              "the address is the one that the header names; where TLS is spoken, a connection too many is closed without a word."},
    {.key = "filters", .type = FIELD_CUSTOM, .parse = schema_later_read, .form = "a list of filters",
     .json = SCHEMA_FILTERS_OF("listener"), .help = "Filters of every request that comes in here; they run first."},
    {.type = FIELD_END},
};

/* Without trusted networks every connection would be refused, or the key would do nothing. */
static int proxy_check(struct listen_conf *c, const struct yaml_node *map, struct load *l)
{
    const struct yaml_node *n = yaml_get(map, "proxy_protocol");
    const struct yaml_node *trusted = yaml_get(n, "trusted");
    bool is_unix = c->address.sa.sa_family == AF_UNIX;

    c->proxy.on = n != NULL;
    if (is_unix && trusted)
        return load_err(l, trusted, CODE_conflict, "proxy_protocol: trusted: a unix socket's peers have no address; every one is "
                        "trusted who may open the socket");
    if (is_unix || !n || c->proxy.trusted.n > 0)
        return 0;
    if (trusted)
        return load_err(l, trusted, CODE_empty, "proxy_protocol: trusted: needs at least one network");
    return load_err(l, n, CODE_missing_key, "proxy_protocol: trusted is missing: the networks of the proxies in front");
}

static int one_read(struct listen_conf *c, const struct yaml_node *n, struct load *l)
{
    struct err why = {.text = ""};
    const struct yaml_node *map = n->type == YAML_SCALAR ? schema_map_of(l, "at", n) : n;

    if (map->type != YAML_MAP)
        return load_err(l, n, CODE_kind, "a listener is an address such as 127.0.0.1:8080, or a mapping with the key \"at\"");
    l->node = map;
    c->node = map;
    int res = fields_read(schema_listen_fields, map, c, l);
    const struct yaml_node *at = yaml_get(map, "at");
    if (at && at->type == YAML_SCALAR && load_public(l, at, "an address") != 0)
        return -1;
    if (at && at->type == YAML_SCALAR && address_parse(c->at, &c->address, &why) != 0)
        res = load_err(l, at, CODE_address, "%s", why.text);
    if (res == 0 && proxy_check(c, map, l) != 0)
        res = -1;
    const struct yaml_node *bounds = yaml_get(map, "per_address");
    if (res == 0 && bounds && !c->per_address.connections && !yaml_get(bounds, "rate"))
        load_warn(l, bounds, CODE_pointless, "per_address: binds nobody: it needs connections or rate");
    struct str owner = arena_printf(l->arena, "listen " STR_FMT, STR_ARG(c->at));
    return schema_chain_read(l, yaml_get(map, "filters"), PLACE_LISTENER, owner, &c->filters) != 0 ? -1 : res;
}

int schema_listens_read(void *at, const struct yaml_node *n, struct load *l)
{
    struct snapshot *s = at;
    size_t count = n->type == YAML_LIST ? n->n : 1;
    int res = 0;

    if (count == 0)
        return load_err(l, n, CODE_empty, "listen: needs at least one address");
    s->listens = arena_zalloc(l->arena, count * sizeof(*s->listens));
    for (size_t i = 0; i < count; i++) {
        show_enter(l->show, "[%zu]", i);
        if (one_read(&s->listens[i], n->type == YAML_LIST ? n->entries[i].value : n, l) != 0)
            res = -1;
        show_leave(l->show);
    }
    s->n_listens = count;
    return res;
}

/* ---- weir's own listeners ---- */

const char *admin_token_fault(struct str token)
{
    for (size_t i = 0; i < token.len; i++)
        if (token.at[i] <= ' ' || token.at[i] >= 0x7f)
            return "holds a character that is not visible ASCII";
    return token.len < ADMIN_TOKEN_MIN ? "is shorter than 16 characters"
         : token.len > ADMIN_TOKEN_MAX ? "is longer than 512 characters" : NULL;
}

/* What stands in the file is in version control, in `weir show` and in backups: it is no secret. */
static int admin_token_read(void *at, const struct yaml_node *n, struct load *l)
{
    struct str *out = at;

    if (n->type != YAML_SCALAR)
        return load_err(l, n, CODE_kind, "token: must be a single value");
    if (!yaml_is_secret(n))
        return load_err(l, n, CODE_exposed, "token: must come from outside of the file: \"${file:/run/secrets/weir-admin}\", or a "
                        "variable with TOKEN in its name");
    const char *fault = admin_token_fault(n->text);
    if (fault)
        return load_err(l, n, CODE_bounds, "token: it %s", fault);
    *out = n->text;
    return 0;
}

const struct field schema_admin_fields[] = {
    {.key = "at", .type = FIELD_TEXT, .offset = offsetof(struct listen_conf, at), .required = true,
     .json = SCHEMA_REF("address"), .help = "The address. Of a unix socket, weir's own user (and root) may ask."},
    {.key = "token", .type = FIELD_CUSTOM, .parse = admin_token_read, .offset = offsetof(struct listen_conf, token),
     .form = "a secret of 16 characters or more, as `${file:...}` or a variable", .json = SCHEMA_REF("variable"),
     .help = "What `Authorization: Bearer` must say in every request but those for /healthz and /readyz. Required unless the "
             "address is of loopback or a unix socket. The verbs of weir take it from this file, or from $WEIR_ADMIN_TOKEN."},
    {.type = FIELD_END},
};

static int own_read(struct listen_conf *c, const struct yaml_node *n, struct load *l)
{
    struct err why = {.text = ""};
    bool brief = n->type == YAML_SCALAR;
    const struct yaml_node *map = brief ? schema_map_of(l, "at", n) : n;

    if (brief)
        show_mute(l->show, true);        /* it is told as what is written, an address */
    int res = fields_read(schema_admin_fields, map, c, l);
    if (brief)
        show_mute(l->show, false);
    const struct yaml_node *at = yaml_get(map, "at");
    if (!at || at->type != YAML_SCALAR)
        return -1;
    if (load_public(l, at, "an address") != 0)
        return -1;
    return address_parse(c->at, &c->address, &why) != 0 ? load_err(l, at, CODE_address, "%s", why.text) : res;
}

int schema_admin_read(void *at, const struct yaml_node *n, struct load *l)
{
    struct snapshot *s = at;
    s->has_admin = true;
    if (n->type != YAML_SCALAR && n->type != YAML_MAP)
        return load_err(l, n, CODE_kind, "admin: must be an address such as 127.0.0.1:9901, or a mapping with the key \"at\"");
    if (own_read(&s->admin, n, l) != 0)
        return -1;
    if (s->admin.token.len == 0 && !address_is_local(&s->admin.address))
        return load_err(l, n, CODE_unguarded, "admin: others than this machine may reach " STR_FMT ", so a token is needed: "
                        "{at: \"" STR_FMT "\", token: \"${file:/run/secrets/weir-admin}\"}", STR_ARG(s->admin.at),
                        STR_ARG(s->admin.at));
    return 0;
}

int schema_probes_read(void *at, const struct yaml_node *n, struct load *l)
{
    struct snapshot *s = at;
    if (n->type != YAML_SCALAR)
        return load_err(l, n, CODE_kind, "probes: must be an address such as 127.0.0.1:9902");
    return own_read(&s->probes, n, l);
}

/* Port 0 is a different port each time. */
static bool any_port(const struct address *a)
{
    return (a->sa.sa_family == AF_INET && a->in.sin_port == 0) ||
           (a->sa.sa_family == AF_INET6 && a->in6.sin6_port == 0);
}

static void named_add(struct named *v, size_t *n, size_t index, const struct listen_conf *c)
{
    if (c->address.len && !any_port(&c->address))
        v[(*n)++] = (struct named){str_of((const char *)&c->address.sa, c->address.len), index};
}

/* Where the listener of that index stands in the file. */
static const struct yaml_node *place_of(const struct snapshot *s, const struct yaml_node *root, size_t index)
{
    const struct yaml_node *listen = yaml_get(root, "listen");

    if (index == s->n_listens)
        return yaml_get(root, "admin");
    if (index > s->n_listens)
        return yaml_get(root, "probes");
    return listen->type == YAML_LIST ? listen->entries[index].value : listen;
}

int schema_listens_check(struct schema *schema, const struct yaml_node *root)
{
    const struct snapshot *s = schema->load.snap;
    struct named *v = mem_array(s->n_listens + 2, sizeof(*v));
    const struct named *again, *first = NULL;
    size_t n = 0, at = 0;
    int res = 0;

    for (size_t i = 0; i < s->n_listens; i++)
        named_add(v, &n, i, &s->listens[i]);
    named_add(v, &n, s->n_listens, &s->admin);
    named_add(v, &n, s->n_listens + 1, &s->probes);
    named_sort(v, n);
    while ((again = named_next_repeat(v, n, &at, &first)) != NULL)
        res = load_err(&schema->load, place_of(s, root, again->index), CODE_address_taken,
                       "this address is taken at %s already",
                       yaml_where(place_of(s, root, first->index), place_of(s, root, again->index)).text);
    mem_free(v);
    return res;
}
