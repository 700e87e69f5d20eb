/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An upstream's endpoints: URLs of a scheme, a host and a port, and nothing else. Names are lower-cased, so that what
 * is the same host is the same text; they are resolved later, and again and again.
 */
#include "conf/expand.h"
#include "conf/named.h"
#include "conf/schema.h"
#include "conf/yaml.h"
#include "lib/mem.h"

#define HTTP_PORT 80
#define HTTPS_PORT 443

static struct str lower(struct arena *a, struct str s)
{
    char *out = arena_alloc(a, s.len + 1);
    for (size_t i = 0; i < s.len; i++)
        out[i] = str_lower(s.at[i]);
    out[s.len] = '\0';
    return str_of(out, s.len);
}

static int unix_read(struct endpoint_conf *e, const struct yaml_node *n, struct load *l)
{
    struct err why = {.text = ""};

    e->host = STR("");
    if (address_of_path(str_of(e->url.at + 5, e->url.len - 5), &e->address, &why) != 0)
        return load_err(l, n, CODE_endpoint, "endpoint \"%s\": %s", quoted(e->url).text, why.text);
    e->authority = STR("localhost");
    return 0;
}

static struct str authority_of(struct arena *a, const struct endpoint_conf *e)
{
    bool v6 = e->address.len && e->address.sa.sa_family == AF_INET6;
    struct str host = v6 ? arena_printf(a, "[" STR_FMT "]", STR_ARG(e->host)) : e->host;
    return e->port == (e->tls ? HTTPS_PORT : HTTP_PORT) ? host : arena_printf(a, STR_FMT ":%u", STR_ARG(host), e->port);
}

static bool holds(struct str s, char c) { return s.len && memchr(s.at, c, s.len); }

/* `rest`: what stands behind "http://" or "https://". */
static int http_read(struct endpoint_conf *e, struct str rest, const struct yaml_node *n, struct load *l)
{
    const char *url = arena_strdup(l->arena, str_c(quoted(e->url).text));
    struct str host, port;
    struct ip ip;
    bool bracketed;

    if (holds(rest, '/') || holds(rest, '?') || holds(rest, '#'))
        return load_err(l, n, CODE_endpoint, "endpoint \"%s\": may not have a path; a route's rewrite does that", url);
    if (!address_split(rest, &host, &port, &bracketed) || host.len == 0)
        return load_err(l, n, CODE_endpoint, "endpoint \"%s\": write it like http://host:8000 or http://[::1]:8000", url);
    e->port = e->tls ? HTTPS_PORT : HTTP_PORT;
    if (port.at && (!address_port(port, &e->port) || e->port == 0))
        return load_err(l, n, CODE_endpoint, "endpoint \"%s\": the port must be a number from 1 to 65535", url);
    e->host = lower(l->arena, host);
    if (ip_parse(host, &ip) && bracketed == holds(host, ':'))
        address_of_ip(&ip, e->port, &e->address);
    else if (bracketed || !address_is_name(host))
        return load_err(l, n, CODE_endpoint, "endpoint \"%s\": \"%s\" is neither a host's name nor an address", url,
                        quoted(host).text);
    e->authority = authority_of(l->arena, e);
    return 0;
}

static bool has_scheme(struct str url, struct str scheme, struct str *rest)
{
    if (url.len < scheme.len || !str_eq_nocase(str_of(url.at, scheme.len), scheme))
        return false;
    *rest = str_of(url.at + scheme.len, url.len - scheme.len);
    return true;
}

static int one_read(struct endpoint_conf *e, const struct yaml_node *n, struct load *l)
{
    struct str rest;

    if (n->type != YAML_SCALAR)
        return load_err(l, n, CODE_kind, "an endpoint is a URL such as http://host:8000");
    if (expand_has_user(n->text))            /* told without the URL */
        return load_err(l, n, CODE_endpoint, "endpoint: a URL with a user name or a password in it may not stand here");
    if (load_public(l, n, "an address") != 0)
        return -1;
    e->url = n->text;
    if (str_starts(e->url, STR("unix:")))
        return unix_read(e, n, l);
    e->tls = has_scheme(e->url, STR("https://"), &rest);
    if (!e->tls && !has_scheme(e->url, STR("http://"), &rest))
        return load_err(l, n, CODE_endpoint, "endpoint \"%s\": must begin with http://, https:// or unix:", quoted(e->url).text);
    return http_read(e, rest, n, l);
}

/* The same place, whatever it was written as. */
static struct str identity_of(struct arena *a, const struct endpoint_conf *e)
{
    if (e->host.len == 0)
        return e->url;
    return e->tls ? arena_printf(a, "https://" STR_FMT, STR_ARG(e->authority)) : e->authority;
}

/* Those that could be read; the same host is the same text then. */
static int all_differ(const struct upstream_conf *u, const struct yaml_node *n, struct load *l)
{
    struct named *v = mem_array(u->n + 1, sizeof(*v));
    const struct named *again, *first = NULL;
    size_t count = 0, at = 0;
    int res = 0;

    for (size_t i = 0; i < u->n; i++) {
        const struct endpoint_conf *e = &u->endpoints[i];
        if (e->authority.at)
            v[count++] = (struct named){identity_of(l->arena, e), i};
    }
    named_sort(v, count);
    while ((again = named_next_repeat(v, count, &at, &first)) != NULL)
        res = load_err(l, n->entries[again->index].value, CODE_repeated, "endpoint \"%s\" stands here twice",
                       quoted(again->name).text);
    mem_free(v);
    return res;
}

int schema_endpoints_read(void *at, const struct yaml_node *n, struct load *l)
{
    struct upstream_conf *u = at;
    int res = 0;

    if (n->type == YAML_MAP)
        return load_err(l, n, CODE_kind, "endpoints: must be a URL or a list of them");
    size_t count = n->type == YAML_LIST ? n->n : 1;
    if (count == 0)
        return load_err(l, n, CODE_empty, "endpoints: needs at least one");
    u->endpoints = arena_zalloc(l->arena, count * sizeof(*u->endpoints));
    u->n = count;
    for (size_t i = 0; i < count; i++)
        if (one_read(&u->endpoints[i], n->type == YAML_LIST ? n->entries[i].value : n, l) != 0)
            res = -1;
    return all_differ(u, n, l) != 0 ? -1 : res;
}
