/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers made here. Refusals say in one word why (reasons.def), for people and programs alike: a problem document
 * (RFC 9457), and a wait that was computed, stretched by up to a tenth so that callers do not come back together.
 */
#include "reply.h"

#include <stdio.h>
#include "core.h"
#include "lib/json.h"
#include "lib/check.h"

#define QUOTA_TYPE "https://iana.org/assignments/http-problem-types#quota-exceeded"

/* What a problem document says of a reason: the same each time, unless its detail is replaced. Nothing in reasons.def needs an
 * escape (reason_test.c). */
struct problem {
    struct str text;
    size_t detail_at, detail_len;    /* without the quotes */
};

#define BEFORE_DETAIL(title, status) "\"title\":\"" title "\",\"status\":" #status ",\"detail\":\""

static const struct problem problems[REASON_COUNT] = {
#define REASON(name, status, title, detail) \
    [REASON_##name] = {{BEFORE_DETAIL(title, status) detail "\",\"reason\":\"" #name "\"", \
                        sizeof(BEFORE_DETAIL(title, status) detail "\",\"reason\":\"" #name "\"") - 1}, \
                       sizeof(BEFORE_DETAIL(title, status)) - 1, sizeof(detail) - 1},
#include "reasons.def"
#undef REASON
};

void reply_header(struct request *r, struct reply *reply, struct str name, struct str value)
{
    struct reply_header *h = arena_alloc(&r->arena, sizeof *h);
    *h = (struct reply_header){name, value, NULL};
    if (!reply->tail)
        reply->tail = &reply->headers;
    *reply->tail = h;
    reply->tail = &h->next;
}

void reply_reason(struct request *r, struct reply *reply, enum reason reason, struct str detail)
{
    (void)r;
    check(reason_status(reason) != 0);
    *reply = (struct reply){.status = reason_status(reason), .reason = reason, .detail = detail, .problem = true};
}

void reply_of_conf(struct request *r, const struct respond_conf *conf, enum reason reason)
{
    r->reply = (struct reply){.status = (int)conf->status, .reason = reason, .body = conf->body};
    for (size_t i = 0; i < conf->headers.n; i++)
        reply_header(r, &r->reply, conf->headers.v[i].key, conf->headers.v[i].value);
}

/* The word for a status that reasons.def does not name; RFC 9110 lets it be empty. */
static struct str status_title(int status)
{
    static const struct { int status; const char *title; } known[] = {
        {200, "OK"}, {201, "Created"}, {202, "Accepted"}, {204, "No Content"}, {301, "Moved Permanently"},
        {302, "Found"}, {303, "See Other"}, {304, "Not Modified"}, {307, "Temporary Redirect"},
        {308, "Permanent Redirect"}, {400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"},
        {404, "Not Found"}, {410, "Gone"}, {429, "Too Many Requests"}, {500, "Internal Server Error"},
        {501, "Not Implemented"}, {502, "Bad Gateway"}, {503, "Service Unavailable"}, {504, "Gateway Timeout"},
    };
    for (size_t i = 0; i < array_len(known); i++) {
        if (known[i].status == status)
            return str_c(known[i].title);
    }
    return STR("");
}

/* w * (1 + U(0, 0.1)), in milliseconds, rounded up (POLICY.md, common rules). */
static uint64_t retry_ms(struct request *r, uint64_t wait)
{
    uint64_t a = time_after(wait, rng_below(&r->worker->rng, wait / 10 + 1));
    return a / NSEC_PER_MSEC + (a % NSEC_PER_MSEC != 0);
}

static void problem_fixed(struct json *j, const struct reply *reply)
{
    const struct problem *p = &problems[reply->reason];
    const size_t quoted = p->detail_at - 1, rest = p->detail_at + p->detail_len + 1;
    json_raw(j, reply->status == 429 ? STR("{\"type\":\"" QUOTA_TYPE "\",") : STR("{\"type\":\"about:blank\","));
    if (!reply->detail.at) {
        json_raw(j, p->text);
        return;
    }
    json_raw(j, str_of(p->text.at, quoted));
    json_string(j, reply->detail);
    json_raw(j, str_of(p->text.at + rest, p->text.len - rest));
}

static struct str problem_body(struct request *r, const struct reply *reply, uint64_t wait_ms)
{
    size_t cap = 256 + problems[reply->reason].text.len + JSON_STRING_MAX(reply->detail.len + reply->policy.len + r->id.len);
    char *text = arena_alloc(&r->arena, cap);
    struct json j = json_init(text, cap);
    problem_fixed(&j, reply);
    if (reply->policy.at) {
        json_raw(&j, STR(",\"policy\":"));
        json_string(&j, reply->policy);
    }
    if (wait_ms) {
        json_raw(&j, STR(",\"retry_after_ms\":"));
        json_u64(&j, wait_ms);
    }
    if (r->id.at) {
        json_raw(&j, STR(",\"request_id\":"));
        json_string(&j, r->id);
    }
    json_raw(&j, STR("}\n"));
    check(!j.full);
    return str_of(text, (size_t)(j.at - text));
}

static void add(struct request *r, struct str name, struct str value) { http_head_add(r->resp, &r->arena, name, value); }

static void add_retry_after(struct request *r, uint64_t ms)
{
    add(r, STR("Retry-After"), arena_u64(&r->arena, (ms + 999) / 1000));
    add(r, STR("retry-after-ms"), arena_u64(&r->arena, ms));
}

void reply_head(struct request *r)
{
    struct reply *reply = &r->reply;
    uint64_t wait_ms = reply->retry_after ? retry_ms(r, reply->retry_after) : 0;
    bool bodyless = reply->status == 204 || reply->status == 304;
    if (reply->problem && !reply->body.at) {
        reply->body = problem_body(r, reply, wait_ms);
        reply->content_type = STR("application/problem+json");
    }
    r->resp = arena_zalloc(&r->arena, sizeof *r->resp);
    r->resp->status = (uint16_t)reply->status;
    r->resp->minor = 1;
    r->resp->reason = reply->problem ? str_c(reason_title(reply->reason)) : status_title(reply->status);
    r->resp_trailers = NULL;
    add(r, STR("Date"), arena_copy(&r->arena, worker_date(r->worker)));
    if (reply->content_type.at)
        add(r, STR("Content-Type"), reply->content_type);
    for (const struct reply_header *h = reply->headers; h; h = h->next)
        add(r, h->name, h->value);
    if (wait_ms)
        add_retry_after(r, wait_ms);
    if (bodyless) {
        reply->body = (struct str){NULL, 0};
        r->resp_body = (struct body_frame){FRAME_NONE, 0};
        return;
    }
    add(r, STR("Content-Length"), arena_u64(&r->arena, reply->body.len));
    r->resp_body = (struct body_frame){FRAME_LENGTH, reply->body.len};
}
