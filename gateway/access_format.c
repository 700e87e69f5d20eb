/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request's line in the access log: one flat JSON object, keys always in the same order, so that a person can read
 * down a column and a program needs no schema. Pure: the writer thread calls it, its test too.
 */
#include "access_log.h"

#include "lib/json.h"
#include "lib/clock.h"

static void key(struct json *j, struct str name)
{
    json_raw(j, STR(",\""));
    json_raw(j, name);
    json_raw(j, STR("\":"));
}

static void put_string(struct json *j, struct str name, struct str value)
{
    key(j, name);
    json_string(j, value);
}

static void put_u64(struct json *j, struct str name, uint64_t value)
{
    key(j, name);
    json_u64(j, value);
}

static void put_caller(struct json *j, const struct access_record *r)
{
    char text[IP_TEXT > 28 ? IP_TEXT : 28];
    clock_rfc3339(r->wall, text);
    json_raw(j, STR("{\"time\":\""));
    json_raw(j, str_c(text));
    json_raw(j, STR("\""));
    put_string(j, STR("id"), r->id);
    put_string(j, STR("client"), str_of(text, ip_format(&r->client, text)));
}

static void put_tls(struct json *j, const struct access_record *r)
{
    if (r->tls)
        put_string(j, STR("tls_version"), str_c(r->tls));
    if (r->sni.at)
        put_string(j, STR("sni"), r->sni);
    if (r->subject.at)
        put_string(j, STR("tls_subject"), r->subject);
}

size_t access_log_format(const struct access_record *r, char *out, size_t cap)
{
    struct json j = json_init(out, cap);

    put_caller(&j, r);
    put_string(&j, STR("method"), r->method);
    put_string(&j, STR("target"), r->target);
    put_string(&j, STR("host"), r->host);
    put_string(&j, STR("route"), r->route);
    put_string(&j, STR("endpoint"), r->endpoint);
    put_u64(&j, STR("status"), r->status);
    put_string(&j, STR("reason"), str_c(reason_name(r->reason)));
    if (r->fault.len)
        put_string(&j, STR("fault"), r->fault);
    if (r->note != REASON_none)
        put_string(&j, STR("note"), str_c(reason_name(r->note)));
    if (r->policy.len)
        put_string(&j, STR("policy"), r->policy);
    if (r->shadow.len)
        put_string(&j, STR("shadow"), r->shadow);
    put_u64(&j, STR("bytes_in"), r->bytes_in);
    put_u64(&j, STR("bytes_out"), r->bytes_out);
    key(&j, STR("duration_ms"));
    json_ms(&j, r->duration);
    key(&j, STR("first_byte_ms"));
    if (r->first_byte)
        json_ms(&j, r->first_byte);
    else
        json_raw(&j, STR("null"));
    if (r->waited) {
        key(&j, STR("waited_ms"));
        json_ms(&j, r->waited);
    }
    put_u64(&j, STR("attempts"), r->attempts);
    key(&j, STR("version"));
    json_raw(&j, STR("\"1."));
    json_u64(&j, r->minor);
    json_raw(&j, STR("\""));
    put_u64(&j, STR("conn"), r->connection);
    put_tls(&j, r);
    if (r->tunnel)
        json_raw(&j, STR(",\"tunnel\":true"));
    json_raw(&j, STR("}\n"));
    return j.full ? 0 : (size_t)(j.at - out);
}
