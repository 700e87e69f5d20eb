/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `upstreams`: groups of endpoints with how they are chosen, spoken to and waited for. The endpoints themselves are
 * read in schema_endpoint.c.
 */
#include "conf/schema.h"

#include "conf/named.h"
#include "conf/yaml.h"
#include "http/headers.h"
#include "http/uri.h"
#include "lib/clock.h"

#define HOUR (3600 * NSEC_PER_SEC)

static int host_read(void *at, const struct yaml_node *n, struct load *l, struct err *err)
{
    struct upstream_conf *u = at;

    if (n->type != YAML_SCALAR)
        return yaml_err(err, l, n, "host: must be client, endpoint or a name");
    u->host_mode = HOST_NAME;
    if (str_eq(n->text, STR("client")))
        u->host_mode = HOST_CLIENT;
    else if (str_eq(n->text, STR("endpoint")))
        u->host_mode = HOST_ENDPOINT;
    else if (!uri_is_authority(n->text))
        return yaml_err(err, l, n, "host: \"%s\" is neither client, endpoint nor a host's name", quoted(n->text).text);
    else
        u->host_name = n->text;
    return 0;
}

static int hash_key_read(struct upstream_conf *u, const struct yaml_node *n, struct load *l, struct err *err)
{
    static const struct { struct str prefix; enum hash_by by; } named[] = {
        {{"header:", 7}, HASH_HEADER}, {{"cookie:", 7}, HASH_COOKIE}, {{"query:", 6}, HASH_QUERY},
    };
    struct str text = n->type == YAML_SCALAR ? n->text : STR("");

    u->balance = BALANCE_HASH;
    u->hash_by = HASH_CLIENT_IP;
    if (str_eq(text, STR("client_ip")))
        return 0;
    u->hash_by = HASH_PATH;
    if (str_eq(text, STR("path")))
        return 0;
    for (size_t i = 0; i < array_len(named); i++) {
        if (!str_starts(text, named[i].prefix))
            continue;
        u->hash_by = named[i].by;
        u->hash_name = str_of(text.at + named[i].prefix.len, text.len - named[i].prefix.len);
        if (http_is_token(u->hash_name))
            return 0;
    }
    return yaml_err(err, l, n, "balance.hash: must be client_ip, path, header:NAME, cookie:NAME or query:NAME");
}

static int balance_read(void *at, const struct yaml_node *n, struct load *l, struct err *err)
{
    static const char *const words[] = {"round_robin", "least_requests", NULL};
    static const struct field f = {.key = "balance", .type = FIELD_ENUM, .words = words};
    struct upstream_conf *u = at;
    int word = 0;

    if (n->type == YAML_MAP && n->n == 1 && str_eq(n->entries[0].key->text, STR("hash")))
        return hash_key_read(u, n->entries[0].value, l, err);
    if (n->type != YAML_SCALAR)
        return yaml_err(err, l, n, "balance: must be round_robin, least_requests or {hash: KEY}");
    if (str_eq(n->text, STR("hash")))
        return yaml_err(err, l, n, "balance: hash needs a key: {hash: client_ip}");
    if (field_read(&f, n, &word, l, err) != 0)
        return -1;
    u->balance = word == 0 ? BALANCE_ROUND_ROBIN : BALANCE_LEAST_REQUESTS;
    return 0;
}

static const struct field pool_fields[] = {
    {.key = "idle", .type = FIELD_DURATION, .offset = offsetof(struct upstream_conf, pool_idle), .fallback = "4s",
     .min = NSEC_PER_MSEC, .max = HOUR,
     .help = "How long an unused connection is kept; below the endpoint's own keep-alive time, which often is 5s."},
    {.key = "max", .type = FIELD_COUNT, .offset = offsetof(struct upstream_conf, pool_max), .fallback = "256",
     .max = 65536, .help = "How many unused connections a worker keeps for an endpoint; 0: none."},
    {.type = FIELD_END},
};

#define TIMEOUT(KEY, DEFAULT, MAX, HELP)                                                                           \
    {.key = #KEY, .type = FIELD_DURATION, .offset = offsetof(struct upstream_conf, KEY##_timeout), .fallback = DEFAULT, \
     .min = NSEC_PER_MSEC, .max = MAX, .help = HELP}

static const struct field timeout_fields[] = {
    TIMEOUT(connect, "2s", HOUR, "How long connecting to an endpoint may take."),
    TIMEOUT(first_byte, "30s", 24 * HOUR, "How long the first byte of an answer may take, from the request's last byte."),
    TIMEOUT(idle, "30s", 24 * HOUR, "How long an exchange may stand still, in either direction."),
    TIMEOUT(tunnel, "1h", 168 * HOUR, "How long an upgraded connection may stand still."),
    {.type = FIELD_END},
};

const struct field schema_upstream_fields[] = {
    {.key = "endpoints", .type = FIELD_CUSTOM, .parse = schema_endpoints_read, .required = true,
     .form = "a URL or a list of them",
     .json = "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"string\"}}]}",
     .help = "Where the upstream is: `http://host:port` (port 80 by default), `http://[::1]:8000` or "
             "`unix:/run/api.sock`. Without a path."},
    {.key = "host", .type = FIELD_CUSTOM, .parse = host_read, .fallback = "client",
     .form = "`client`, `endpoint` or a name", .json = "{\"type\":\"string\"}",
     .help = "Which Host the upstream sees: the client's, the endpoint's own, or this one."},
    {.key = "balance", .type = FIELD_CUSTOM, .parse = balance_read, .fallback = "least_requests",
     .form = "`round_robin`, `least_requests` or `{hash: KEY}`",
     .json = "{\"anyOf\":[{\"enum\":[\"round_robin\",\"least_requests\"]},{\"type\":\"object\",\"required\":[\"hash\"],"
             "\"additionalProperties\":false,\"properties\":{\"hash\":{\"type\":\"string\"}}},"
             "{\"$ref\":\"#/$defs/variable\"}]}",
     .help = "How an endpoint is chosen. KEY is `client_ip`, `path`, `header:NAME`, `cookie:NAME` or `query:NAME`: "
             "the same key goes to the same endpoint as long as that is up."},
    {.key = "pool", .type = FIELD_MAP, .sub = pool_fields, .help = "Connections kept open for later requests."},
    {.key = "timeouts", .type = FIELD_MAP, .sub = timeout_fields, .help = "How long an exchange may take."},
    {.key = "filters", .type = FIELD_CUSTOM, .parse = schema_later_read, .form = "a list of filters",
     .json = SCHEMA_FILTERS_JSON, .help = "Filters of every request that goes here; they run last."},
    {.type = FIELD_END},
};

static int one_read(struct upstream_conf *u, const struct yaml_entry *e, struct load *l, struct err *err)
{
    if (!http_is_token(e->key->text))
        return yaml_err(err, l, e->key, "an upstream's name may hold letters, digits, \"_\", \"-\" and \".\"");
    u->name = e->key->text;
    if (e->value->type != YAML_MAP)
        return yaml_err(err, l, e->value, "upstream %s: must be a mapping with the key \"endpoints\"",
                        quoted(u->name).text);
    l->node = e->value;
    if (fields_read(schema_upstream_fields, e->value, u, l, err) != 0)
        return -1;
    struct str owner = arena_printf(l->arena, "upstream " STR_FMT, STR_ARG(u->name));
    return schema_chain_read(l, yaml_get(e->value, "filters"), PLACE_UPSTREAM, owner, &u->filters, err);
}

int schema_upstreams_read(void *at, const struct yaml_node *n, struct load *l, struct err *err)
{
    struct snapshot *s = at;

    if (n->type != YAML_MAP)
        return yaml_err(err, l, n, "upstreams: must be a mapping of names: {api: {endpoints: [...]}}");
    s->upstreams = arena_zalloc(l->arena, (n->n + 1) * sizeof(*s->upstreams));
    for (size_t i = 0; i < n->n; i++) {
        s->upstreams[i].index = (unsigned)i;
        if (one_read(&s->upstreams[i], &n->entries[i], l, err) != 0)
            return -1;
    }
    s->n_upstreams = n->n;
    return 0;
}
