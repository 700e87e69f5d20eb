/* SPDX-License-Identifier: Apache-2.0 */
/* What filters may see and change of a request (request.h), and what the core tells the log of it. */
#include <string.h>

#include "access_log.h"
#include "core.h"
#include "forward.h"
#include "lib/check.h"
#include "lib/json.h"
#include "tls.h"
#include "upstream.h"
#include "view.h"

struct str request_method(const struct request *r) { return r->head.method; }
struct str request_path(const struct request *r) { return r->path; }
struct str request_query(const struct request *r) { return r->query; }
struct str request_host(const struct request *r) { return r->host; }
struct str request_id(const struct request *r) { return r->id; }
const struct ip *request_client(const struct request *r) { return &r->client; }
const struct ip *request_peer(const struct request *r) { return &r->peer; }
bool request_is_https(const struct request *r) { return r->https; }
uint64_t request_arrived(const struct request *r) { return r->arrived; }
uint64_t request_wall(const struct request *r) { return clock_wall(r->worker->clock); }
uint64_t request_deadline(const struct request *r) { return r->deadline; }
struct str request_endpoint(const struct request *r, size_t endpoint)
{
    check(r->leg.active && (endpoint == SIZE_MAX || endpoint < r->leg.conf->n));
    return endpoint == SIZE_MAX ? (struct str){NULL, 0} : r->leg.conf->endpoints[endpoint].url;
}

void request_note(struct request *r, enum reason note) { r->note = note; }

struct request_times *request_times(struct request *r) { return r->leg.active ? &r->leg.times : &r->times; }

void request_set_deadline(struct request *r, uint64_t at, bool absolute)
{
    if (at < r->deadline_asked)
        r->deadline_asked = at;
    r->deadline_absolute |= absolute;
    if (absolute)
        r->deadline = r->deadline_asked;         /* the route's own no longer holds */
    else if (at < r->deadline)
        r->deadline = at;
    if (timer_is_set(&r->wait) && r->deadline < r->wait.when)
        timer_set(&r->worker->timers, &r->wait, r->deadline);
}

void request_set_caller_deadline(struct request *r, uint64_t at)
{
    if (at < r->deadline_caller)
        r->deadline_caller = at;
    request_set_deadline(r, at, false);
}

void request_tell_left(struct request *r, struct str field) { r->left_field = field; }

unsigned request_attempts(const struct request *r) { return r->n_attempts; }
bool request_endpoint_picked(const struct request *r) { return r->att.endpoint != NULL; }
bool request_body_kept(const struct request *r) { return body_repeatable(r); }
bool request_endpoint_left(const struct request *r)
{
    check(r->leg.active);
    return upstream_next(r->leg.upstream, &r->leg.tried, 0) != ENDPOINT_NONE;
}

size_t request_endpoint_in_use(const struct request *r, size_t from)
{
    static const struct endpoint_set none;
    check(r->leg.active);
    return upstream_next(r->leg.upstream, &none, from);
}

bool request_committed(const struct request *r) { return r->committed; }
struct arena *request_arena(struct request *r) { return &r->arena; }
struct http_head *request_head(struct request *r) { return &r->head; }
struct http_head *response_head(struct request *r) { return r->resp; }
struct http_head *response_trailers(struct request *r) { return r->resp_trailers; }
int response_status(const struct request *r) { return r->resp ? r->resp->status : 0; }
void request_set_id(struct request *r, struct str id) { r->id = arena_copy(&r->arena, id); }

struct str request_route(const struct request *r)
{
    return r->hit.route ? r->hit.route->name : (struct str){NULL, 0};
}

struct str request_param(const struct request *r, struct str name)
{
    for (unsigned i = 0; i < r->hit.n_params; i++) {
        if (str_eq(r->hit.params[i].name, name))
            return r->hit.params[i].value;
    }
    return (struct str){NULL, 0};
}

struct str response_held(struct request *r, bool *whole)
{
    *whole = r->resp_whole;
    return body_flatten(r, &r->resp_kept, NULL);
}

struct str request_body_seen(struct request *r, bool *whole)
{
    *whole = r->body_whole;
    return body_flatten(r, &r->kept, &r->collected);         /* kept: a leg before this one has sent it */
}

struct str request_attribute(const struct request *r, unsigned index)
{
    check(index < r->view->snap->attributes.n);
    return r->attributes ? r->attributes[index] : (struct str){NULL, 0};
}

void request_set_attribute(struct request *r, unsigned index, struct str value)
{
    size_t n = r->view->snap->attributes.n;
    check(index < n);
    if (!r->attributes)
        r->attributes = arena_zalloc(&r->arena, n * sizeof *r->attributes);
    r->attributes[index] = arena_copy(&r->arena, value);
}

/* "name=value" pairs behind semicolons (RFC 6265 4.2.1), with blanks around each half as back ends take them (RFC 6265
 * 5.2); HTTP/2 clients may have sent several fields. */
static bool cookie_next(struct str *rest, struct str name, struct str *value)
{
    while (rest->len > 0) {
        const char *end = memchr(rest->at, ';', rest->len);
        size_t len = end ? (size_t)(end - rest->at) : rest->len;
        struct str pair = str_of(rest->at, len);
        const char *equals = memchr(pair.at, '=', pair.len);
        size_t half = equals ? (size_t)(equals - pair.at) : 0;
        *rest = end ? str_of(end + 1, rest->len - len - 1) : str_of("", 0);
        if (equals && str_eq(str_trim(str_of(pair.at, half)), name)) {
            *value = str_trim(str_of(equals + 1, len - half - 1));
            return true;
        }
    }
    return false;
}

struct str request_cookie(const struct request *r, struct str name, bool *repeated)
{
    struct str found = {NULL, 0}, field, rest, value;
    unsigned at = 0;
    if (repeated)
        *repeated = false;
    while (http_head_next(&r->head, &at, &field, &rest)) {
        if (!str_eq_nocase(field, STR("cookie")))
            continue;
        while (cookie_next(&rest, name, &value)) {
            if (!repeated)
                return value;
            *repeated = found.at != NULL;
            if (*repeated)
                return found;
            found = value;
        }
    }
    return found;
}

uint64_t request_body_timeout(const struct request *r, uint64_t own)
{
    uint64_t set = r->leg.active ? r->leg.times.client_body : r->times.client_body;
    return set ? set : own;
}

/* RFC 9110 9.2.2, and draft-ietf-httpapi-idempotency-key-header. */
bool request_safe_to_repeat(const struct request *r)
{
    static const char *const idempotent[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"};
    for (size_t i = 0; i < array_len(idempotent); i++) {
        if (str_eq(r->head.method, str_c(idempotent[i])))
            return true;
    }
    return http_head_get_id(&r->head, HEADER_IDEMPOTENCY_KEY).at != NULL;
}

/* Made as late as can be: what queues and connecting took is spent. Not put into the head, where the filters of another leg
 * would take it for what the caller said. */
static struct str with_left(struct request *r, struct str fields)
{
    enum { ROOM = sizeof(": \r\n") + 20 };
    uint64_t now = worker_now(r->worker), ms = r->deadline > now ? (r->deadline - now) / NSEC_PER_MSEC : 0;
    size_t cap = r->left_field.len + ROOM + fields.len;
    char *text = arena_alloc(&r->arena, cap);
    struct json j = json_init(text, cap);

    json_raw(&j, r->left_field);
    json_raw(&j, STR(": "));
    json_u64(&j, ms > 0 ? ms : 1);
    json_raw(&j, STR("\r\n"));
    json_raw(&j, fields);
    check(!j.full);
    return str_of(text, (size_t)(j.at - text));
}

void request_forward(struct request *r)
{
    if (r->left_field.at)
        http_head_remove(&r->head, r->left_field);
    struct forward_args args = {
        .peer = r->peer_text,
        .trusted = r->trusted,
        .tls = r->tls != NULL,
        .host = r->authority,
    };
    r->forward = forward_request(&r->head, &r->arena, &args);
    if (r->left_field.at && r->deadline != TIME_NEVER)
        r->forward = with_left(r, r->forward);
}

/* The client waits for a 100 that the upstream cannot, or has not been asked to, give. */
void request_continue(struct request *r)
{
    static const struct http_head head = {.status = 100, .minor = 1, .reason = {"Continue", 8}};
    if (!r->expect_continue || r->continued || r->body_in > 0)
        return;
    r->continued = true;
    http_head_remove_id(&r->head, HEADER_EXPECT);
    r->down->ops->interim(r->down, &head);
    r->down->ops->flush(r->down);
}

void request_log(struct request *r)
{
    struct worker *w = r->worker;
    uint64_t now = worker_now(w), duration = now > r->arrived ? now - r->arrived : 0;
    metrics_request(&w->metrics, r->reason, r->status, duration);
    if (r->body_in)
        metric_add(&w->metrics, METRIC_request_body_bytes_total, r->body_in);
    if (r->body_out)
        metric_add(&w->metrics, METRIC_response_body_bytes_total, r->body_out);
    if (!w->log)
        return;
    struct access_record record = {
        .wall = clock_wall(w->clock) - duration,
        .duration = duration,
        .first_byte = r->first_byte ? r->first_byte - r->arrived : 0,
        .bytes_in = r->body_in,
        .bytes_out = r->body_out,
        .connection = r->connection,
        .client = r->client,
        .status = (uint16_t)r->status,
        .attempts = (uint16_t)r->n_attempts,
        .reason = r->reason,
        .id = r->id,
        .method = r->head.method,
        .target = r->head.target,
        .host = r->authority,
        .route = request_route(r),
        .endpoint = r->att.endpoint ? r->att.endpoint->url : (struct str){NULL, 0},
        .fault = str_c(r->fault),
        .note = r->note,
        .policy = r->policy,
        .shadow = r->shadow,
        .waited = r->waited,
        .tls = r->tls ? r->tls->version : NULL,
        .sni = r->tls ? r->tls->asked : (struct str){NULL, 0},
        .subject = r->tls ? r->tls->subject : (struct str){NULL, 0},
        .minor = r->head.minor,
        .tunnel = r->att.upgraded,
    };
    access_log_put(w->log, &record);
}
