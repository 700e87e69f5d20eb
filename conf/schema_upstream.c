/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `upstreams`: groups of endpoints with how they are chosen, spoken to and waited for. The endpoints themselves are
 * read in schema_endpoint.c.
 */
#include "conf/schema.h"

#include "conf/named.h"
#include "conf/show.h"
#include "conf/unit.h"
#include "conf/yaml.h"
#include "http/headers.h"
#include "http/uri.h"
#include "lib/clock.h"

#define HOUR (3600 * NSEC_PER_SEC)

static bool any_https(const struct upstream_conf *u)
{
    for (size_t i = 0; i < u->n; i++)
        if (u->endpoints[i].tls)
            return true;
    return false;
}

/* Behind `endpoints`, which the default goes by. */
static int host_read(void *at, const struct yaml_node *n, struct load *l)
{
    struct upstream_conf *u = at;
    unsigned port;

    if (!n->source && any_https(u)) {
        u->host_mode = HOST_ENDPOINT;
        show_text(l->show, STR("endpoint"), NULL, false);
        return 0;
    }
    if (n->type != YAML_SCALAR)
        return load_err(l, n, CODE_kind, "host: must be client, endpoint or a name");
    if (load_public(l, n, "a host's name") != 0)
        return -1;
    u->host_mode = HOST_NAME;
    if (str_eq(n->text, STR("client")))
        u->host_mode = HOST_CLIENT;
    else if (str_eq(n->text, STR("endpoint")))
        u->host_mode = HOST_ENDPOINT;
    else if (!uri_split_authority(n->text, &u->tls.name, &port))
        return load_err(l, n, CODE_host, "host: \"%s\" is neither client, endpoint nor a host's name", yaml_quoted(n).text);
    else
        u->host_name = n->text;
    return 0;
}

static int hash_key_read(struct upstream_conf *u, const struct yaml_node *n, struct load *l)
{
    static const struct { struct str prefix; enum hash_by by; } named[] = {
        {{"header:", 7}, HASH_HEADER}, {{"cookie:", 7}, HASH_COOKIE}, {{"query:", 6}, HASH_QUERY},
    };
    struct str text = n->type == YAML_SCALAR ? n->text : STR("");

    if (load_public(l, n, "a key") != 0)
        return -1;
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
    return load_err(l, n, CODE_key_expression, "balance.hash: must be client_ip, path, header:NAME, cookie:NAME or query:NAME");
}

static int balance_read(void *at, const struct yaml_node *n, struct load *l)
{
    static const char *const words[] = {"round_robin", "least_requests", NULL};
    static const struct field f = {.key = "balance", .type = FIELD_ENUM, .words = words};
    struct upstream_conf *u = at;
    int word = 0;

    if (n->type == YAML_MAP && n->n == 1 && str_eq(n->entries[0].key->text, STR("hash")))
        return hash_key_read(u, n->entries[0].value, l);
    if (n->type != YAML_SCALAR)
        return load_err(l, n, CODE_kind, "balance: must be round_robin, least_requests or {hash: KEY}");
    if (str_eq(n->text, STR("hash")))
        return load_err(l, n, CODE_missing_key, "balance: hash needs a key: {hash: client_ip}");
    if (field_read(&f, n, &word, l) != 0)
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

#define EJECT(KEY, TYPE) .key = #KEY, .type = FIELD_##TYPE, .offset = offsetof(struct eject_conf, KEY)

static const struct field eject_fields[] = {
    {EJECT(failures, COUNT), .fallback = "5", .max = 1000000, .help = "After so many failures in a row; 0: not for that."},
    {EJECT(ratio, PERCENT), .fallback = "50%", .max = 10000,
     .help = "When this part of the requests within `window` failed, or more; 0%: not for that."},
    {EJECT(min_requests, COUNT), .fallback = "20", .min = 1, .max = 1000000,
     .help = "How many requests there must be before `ratio` counts."},
    {EJECT(window, DURATION), .fallback = "10s", .min = NSEC_PER_SEC, .max = HOUR, .help = "What `ratio` looks back on."},
    {EJECT(base, DURATION), .fallback = "30s", .min = NSEC_PER_MSEC, .max = 24 * HOUR,
     .help = "For how long, the first time; the second time in a row (before it was in for as long as it had been out) for "
             "twice as long, the third for three times."},
    {EJECT(max, DURATION), .fallback = "300s", .min = NSEC_PER_MSEC, .max = 24 * HOUR, .help = "The longest ejection."},
    {EJECT(share, PERCENT), .fallback = "50%", .max = 10000,
     .help = "How many of the endpoints may be out when one is ejected, it included and rounded down: of one or with 0%, "
             "none ever is."},
    {.type = FIELD_END},
};

#define CHECK(KEY, TYPE) .key = #KEY, .type = FIELD_##TYPE, .offset = offsetof(struct check_conf, KEY)

static int status_read(struct status_range *at, const struct yaml_node *n, struct load *l)
{
    const char *dots = n->type == YAML_SCALAR && n->text.len ? memmem(n->text.at, n->text.len, "..", 2) : NULL;
    struct str from = n->text, to = n->text;
    uint64_t a = 0, b = 0;

    if (dots) {
        from.len = (size_t)(dots - from.at);
        to = str_of(dots + 2, n->text.len - from.len - 2);
    }
    if (n->type != YAML_SCALAR || !str_u64(from, &a) || !str_u64(to, &b) || a < 200 || b > 599 || a > b)
        return load_err(l, n, CODE_status, "status: must be a status from 200 to 599, a range such as 200..399, or a list of them");
    *at = (struct status_range){(uint16_t)a, (uint16_t)b};
    return 0;
}

static int statuses_read(void *at, const struct yaml_node *n, struct load *l)
{
    struct check_conf *c = container_of(at, struct check_conf, status);

    c->n_status = n->type == YAML_LIST ? n->n : 1;
    if (c->n_status == 0)
        return load_err(l, n, CODE_empty, "status: needs at least one");
    int res = 0;
    c->status = arena_zalloc(l->arena, c->n_status * sizeof(*c->status));
    for (size_t i = 0; i < c->n_status; i++)
        if (status_read(&c->status[i], n->type == YAML_LIST ? n->entries[i].value : n, l) != 0)
            res = -1;
    return res;
}

/* It is sent as it stands here. */
static int check_path_read(void *at, const struct yaml_node *n, struct load *l)
{
    struct str *path = at;
    bool ok = n->type == YAML_SCALAR && n->text.len > 0 && n->text.len <= 2048 && n->text.at[0] == '/';

    for (size_t i = 0; ok && i < n->text.len; i++)
        ok = n->text.at[i] > ' ' && n->text.at[i] < 0x7f && n->text.at[i] != '#';
    if (!ok)
        return load_err(l, n, CODE_path, "path: must begin with \"/\" and hold no blanks");
    *path = n->text;
    return 0;
}

static const struct field check_fields[] = {
    {CHECK(path, CUSTOM), .parse = check_path_read, .required = true, .form = "a path, with a query or without",
     .json = SCHEMA_REF("path"), .help = "What is asked for, with GET."},
    {CHECK(every, DURATION), .fallback = "5s", .min = 10 * NSEC_PER_MSEC, .max = HOUR, .help = "How often."},
    {CHECK(timeout, DURATION), .fallback = "2s", .min = NSEC_PER_MSEC, .max = HOUR,
     .help = "How long the head of an answer may take, connecting included; at most `every`, and no longer by default."},
    {CHECK(rise, COUNT), .fallback = "2", .min = 1, .max = 1000, .help = "Good answers in a row that bring it back."},
    {CHECK(fall, COUNT), .fallback = "3", .min = 1, .max = 1000, .help = "Failed checks in a row that take it out."},
    {CHECK(status, CUSTOM), .parse = statuses_read, .fallback = "200..399", .form = "a status, a range, or a list of them",
     .json = SCHEMA_ONE_OR_MORE("status"),
     .help = "Which answers are good ones."},
    {.type = FIELD_END},
};

static const char *const proxy_words[] = {"none", "v1", "v2", NULL};         /* 0, 1, 2 */

const struct field schema_upstream_fields[] = {
    {.key = "endpoints", .type = FIELD_CUSTOM, .parse = schema_endpoints_read, .required = true,
     .form = "a URL or a list of them",
     .json = SCHEMA_ONE_OR_MORE("endpoint"),
     .help = "Where the upstream is: `http://host:port` (port 80 by default), `https://host:port` (443), `http://[::1]:8000` "
             "or `unix:/run/api.sock`. Without a path."},
    {.key = "host", .type = FIELD_CUSTOM, .parse = host_read, .fallback = "client",
     .form = "`client`, `endpoint` or a name", .json = "{\"type\":\"string\"}",
     .help = "Which Host the upstream sees: the client's, the endpoint's own, or this one. An `https` endpoint is asked for that "
             "name (SNI), and must have a certificate of it. With an `https` endpoint the default is `endpoint`."},
    {.key = "tls", .type = FIELD_MAP, .sub = schema_tls_out_fields, .offset = offsetof(struct upstream_conf, tls),
     .help = "How `https` endpoints are spoken to. Their certificates are verified, against the system's CAs by default."},
    {.key = "balance", .type = FIELD_CUSTOM, .parse = balance_read, .fallback = "least_requests",
     .form = "`round_robin`, `least_requests` or `{hash: KEY}`",
     .json = "{\"anyOf\":[{\"enum\":[\"round_robin\",\"least_requests\"]},{\"type\":\"object\",\"required\":[\"hash\"],"
             "\"additionalProperties\":false,\"properties\":{\"hash\":{\"title\":\"upstreams.balance.hash\","
             "\"description\":\"What decides the endpoint.\",\"allOf\":[" SCHEMA_REF("hash_key") "]}}},"
             "{\"$ref\":\"#/$defs/variable\"}]}",
     .help = "How an endpoint is chosen. KEY is `client_ip`, `path`, `header:NAME`, `cookie:NAME` or `query:NAME`: "
             "the same key goes to the same endpoint as long as that is up."},
    {.key = "pool", .type = FIELD_MAP, .sub = pool_fields, .help = "Connections kept open for later requests."},
    {.key = "timeouts", .type = FIELD_MAP, .sub = timeout_fields, .help = "How long an exchange may take."},
    {.key = "proxy_protocol", .type = FIELD_ENUM, .offset = offsetof(struct upstream_conf, proxy_protocol), .words = proxy_words,
     .fallback = "none",
     .help = "Whether connections to endpoints begin with a header of the PROXY protocol that names the caller, and of which "
             "version. Such a connection serves no other caller. Endpoints must expect it, of health checks too."},
    {.key = "eject", .type = FIELD_MAP, .sub = eject_fields, .offset = offsetof(struct upstream_conf, eject),
     .help = "When an endpoint whose requests fail is left out for a while. A failure is: no connection, no answer in time, "
             "an answer cut short or broken, and 500, 502, 503, 504 and 529."},
    {.key = "health", .type = FIELD_MAP, .sub = check_fields, .offset = offsetof(struct upstream_conf, check),
     .help = "Endpoints are asked whether they are well, and left out while they say no. Not asked when this is not there."},
    {.key = "slow_start", .type = FIELD_DURATION, .offset = offsetof(struct upstream_conf, slow_start), .fallback = "10s",
     .max = HOUR, .help = "How long an endpoint that came back takes to get its whole share, from a tenth of it on; not with "
     "`hash`, nor when weir starts."},
    {.key = "filters", .type = FIELD_CUSTOM, .parse = schema_later_read, .form = "a list of filters",
     .json = SCHEMA_FILTERS_OF("upstream"), .help = "Filters of every request that goes here; they run last."},
    {.type = FIELD_END},
};

/* What two keys say together. */
static int health_check(struct upstream_conf *u, const struct yaml_node *n, struct load *l)
{
    int res = 0;

    if (u->eject.base > u->eject.max)
        res = load_err(l, yaml_get(n, "eject"), CODE_conflict, "eject: base (%s) is above max (%s)",
                       unit_text(FIELD_DURATION, u->eject.base).text, unit_text(FIELD_DURATION, u->eject.max).text);
    if (u->check.timeout > u->check.every && !yaml_get(yaml_get(n, "health"), "timeout"))
        u->check.timeout = u->check.every;
    if (u->check.path.len && u->check.timeout > u->check.every)
        res = load_err(l, yaml_get(n, "health"), CODE_conflict, "health: timeout (%s) is above every (%s)",
                       unit_text(FIELD_DURATION, u->check.timeout).text, unit_text(FIELD_DURATION, u->check.every).text);
    return res;
}

static int one_read(struct upstream_conf *u, const struct yaml_entry *e, struct load *l)
{
    int res = 0;

    u->node = e->value;
    if (!http_is_token(u->name))
        res = load_err(l, e->key, CODE_name, "an upstream's name may hold letters, digits, \"_\", \"-\" and \".\"");
    if (e->value->type != YAML_MAP)
        return load_err(l, e->value, CODE_kind, "upstream %s: must be a mapping with the key \"endpoints\"",
                        quoted(u->name).text);
    l->node = e->value;
    if (fields_read(schema_upstream_fields, e->value, u, l) != 0)
        res = -1;
    else if (health_check(u, e->value, l) != 0 || schema_tls_out_check(u, e->value, any_https(u), l) != 0)
        res = -1;
    struct str owner = arena_printf(l->arena, "upstream " STR_FMT, STR_ARG(u->name));
    return schema_chain_read(l, yaml_get(e->value, "filters"), PLACE_UPSTREAM, owner, &u->filters) != 0 ? -1 : res;
}

/* All are known by their names before the first is read: one in which something is wrong is none that is unknown. */
int schema_upstreams_read(void *at, const struct yaml_node *n, struct load *l)
{
    struct schema *schema = schema_of(l);
    struct snapshot *s = at;
    int res = 0;

    if (n->type != YAML_MAP) {
        schema->upstreams_broken = true;
        return load_err(l, n, CODE_kind, "upstreams: must be a mapping of names: {api: {endpoints: [...]}}");
    }
    s->upstreams = arena_zalloc(l->arena, (n->n + 1) * sizeof(*s->upstreams));
    s->n_upstreams = n->n;
    names_init(&schema->upstreams, l->arena, n->n);
    for (size_t i = 0; i < n->n; i++) {
        s->upstreams[i].index = (unsigned)i;
        s->upstreams[i].name = n->entries[i].key->text;
        names_put(&schema->upstreams, s->upstreams[i].name, &s->upstreams[i]);
    }
    for (size_t i = 0; i < n->n; i++) {
        show_enter(l->show, STR_FMT, STR_ARG(n->entries[i].key->text));
        if (one_read(&s->upstreams[i], &n->entries[i], l) != 0)
            res = -1;
        show_leave(l->show);
    }
    return res;
}
