/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the mock answers, by path. An answer is begun when the request is whole, but for /echo (which sends the body back
 * while it comes), /drop and /ws (which look at the head alone).
 */
#include "mock_conn.h"

#include <inttypes.h>
#include <stdio.h>
#include "lib/json.h"
#include "lib/check.h"
#include "lib/clock.h"
#include "lib/mem.h"

#define SEEN_MAX ((size_t)64 << 10)          /* of a chat's body */
#define STREAM_LEN UINT64_MAX                /* an answer's length that is not known */

struct mock_path {
    const char *path;
    enum mock_kind kind;
    unsigned min, max;               /* numbers behind it */
};

static const struct mock_path paths[] = {
    {"/bytes", KIND_BYTES, 1, 1}, {"/delay", KIND_DELAY, 1, 2}, {"/status", KIND_STATUS, 1, 1}, {"/sse", KIND_SSE, 0, 2},
    {"/echo", KIND_ECHO, 0, 0}, {"/drop", KIND_DROP, 0, 0}, {"/hang", KIND_HANG, 0, 0},
    {"/v1/chat/completions", KIND_CHAT, 0, 0}, {"/stats", KIND_STATS, 0, 0}, {"/reset", KIND_RESET, 0, 0},
    {"/ws", KIND_WS, 0, 0},
};

/* "/12/34" to numbers; false: it is something else. */
static bool read_numbers(struct str rest, unsigned min, unsigned max, uint64_t *v)
{
    unsigned n = 0;
    while (rest.len) {
        if (rest.at[0] != '/' || n == max)
            return false;
        rest = str_of(rest.at + 1, rest.len - 1);
        const char *slash = memchr(rest.at, '/', rest.len);
        size_t len = slash ? (size_t)(slash - rest.at) : rest.len;
        if (!str_u64(str_of(rest.at, len), &v[n++]))
            return false;
        rest = str_of(rest.at + len, rest.len - len);
    }
    return n >= min;
}

static void find_kind(struct mock_conn *c, struct str path)
{
    const struct mock_options *o = &c->mock->options;
    const char *query = memchr(path.at, '?', path.len);
    if (query)
        path.len = (size_t)(query - path.at);
    c->kind = KIND_ECHO_JSON;
    for (size_t i = 0; i < array_len(paths); i++) {
        struct str prefix = str_c(paths[i].path);
        uint64_t v[2] = {0, 0};
        if (paths[i].kind == KIND_SSE) {
            v[0] = o->events;
            v[1] = o->interval / NSEC_PER_MSEC;
        }
        if (!str_starts(path, prefix))
            continue;
        if (!read_numbers(str_of(path.at + prefix.len, path.len - prefix.len), paths[i].min, paths[i].max, v))
            continue;
        c->kind = paths[i].kind;
        c->a = v[0];
        c->b = v[1];
    }
}

static void count_request(struct mock_conn *c)
{
    struct mock_stats *s = &c->mock->stats;
    uint64_t now = clock_mono(&clock_real);
    s->requests++;
    c->in_flight = true;
    if (++s->in_flight > s->max_in_flight)
        s->max_in_flight = s->in_flight;
    if (now - s->window_start >= 100 * NSEC_PER_MSEC) {
        s->window_start = now;
        s->in_window = 0;
    }
    if (++s->in_window > s->max_window)
        s->max_window = s->in_window;
}

static void put_head(struct mock_conn *c, int status, const char *type, uint64_t length)
{
    struct page p = {0};
    page_printf(&p, "HTTP/1.1 %d %s\r\n", status, status < 300 ? "OK" : "Status");
    if (type)
        page_printf(&p, "Content-Type: %s\r\n", type);
    if (length != STREAM_LEN && status != 204 && status != 304)
        page_printf(&p, "Content-Length: %" PRIu64 "\r\n", length);
    if (length == STREAM_LEN && c->old) {
        c->keep_alive = false;
    } else if (length == STREAM_LEN) {
        c->answer_chunked = true;
        page_printf(&p, "Transfer-Encoding: chunked\r\n");
    }
    if (!c->keep_alive)
        page_printf(&p, "Connection: close\r\n");
    else if (c->old)
        page_printf(&p, "Connection: keep-alive\r\n");
    page_printf(&p, "\r\n");
    mock_put_page(c, &p);
}

static void answer_whole(struct mock_conn *c, int status, const char *type, struct str body)
{
    bool none = status == 204 || status == 304;
    put_head(c, status, none ? NULL : type, body.len);
    if (!none)
        mock_put_body(c, body.at, body.len);
    mock_answered(c);
}

static void answer_page(struct mock_conn *c, const char *type, struct page *p)
{
    struct page body = *p;
    *p = (struct page){0};
    answer_whole(c, 200, type, str_of(body.at, body.len));
    page_free(&body);
}

static void answer_bytes(struct mock_conn *c, uint64_t n)
{
    put_head(c, 200, "application/octet-stream", n);
    c->fill = c->head_request ? 0 : n;
    c->state = MOCK_FILL;
}

static void answer_status(struct mock_conn *c)
{
    struct page p = {0};
    if (c->a < 100 || c->a > 599 || c->a == 101) {
        answer_whole(c, 400, "text/plain", STR("no such status\n"));
        return;
    }
    if (c->a < 200) {
        page_printf(&p, "HTTP/1.1 %" PRIu64 " Interim\r\nLink: </style.css>; rel=preload\r\n\r\n", c->a);
        if (!c->old)
            mock_put(c, p.at, p.len);
        page_free(&p);
        c->a = 200;
    }
    page_printf(&p, "status %" PRIu64 "\n", c->a);
    answer_whole(c, (int)c->a, "text/plain", str_of(p.at, p.len));
    page_free(&p);
}

static void answer_stats(struct mock_conn *c)
{
    const struct mock_stats *s = &c->mock->stats;
    struct page p = {0};
    page_printf(&p, "{\"requests\":%" PRIu64 ",\"in_flight\":%" PRIu64 ",\"max_in_flight\":%" PRIu64
                    ",\"max_per_100ms\":%" PRIu64 ",\"cancelled\":%" PRIu64
                    ",\"connections\":%" PRIu64 ",\"accepted\":%" PRIu64 "}\n",
                s->requests, s->in_flight, s->max_in_flight, s->max_window, s->cancelled, s->connections, s->accepted);
    answer_page(c, "application/json", &p);
}

static void answer_reset(struct mock_conn *c)
{
    struct mock_stats *s = &c->mock->stats;
    *s = (struct mock_stats){.in_flight = s->in_flight, .max_in_flight = s->in_flight, .connections = s->connections};
    answer_whole(c, 200, "text/plain", STR("reset\n"));
}

/* The request as JSON, made while its head is at hand. */
static void make_echo(struct mock_conn *c, const struct http_head *head, struct str path)
{
    size_t cap = JSON_STRING_MAX(head->method.len) + JSON_STRING_MAX(path.len) + 64;
    struct str name, value;
    for (unsigned at = 0; http_head_next(head, &at, &name, &value);)
        cap += JSON_STRING_MAX(name.len) + JSON_STRING_MAX(value.len) + 8;
    c->seen = (struct page){.at = mem_alloc(cap), .cap = cap};
    struct json j = json_init(c->seen.at, cap);
    json_raw(&j, STR("{\"method\":"));
    json_string(&j, head->method);
    json_raw(&j, STR(",\"path\":"));
    json_string(&j, path);
    json_raw(&j, STR(",\"headers\":["));
    bool first = true;
    for (unsigned at = 0; http_head_next(head, &at, &name, &value); first = false) {
        json_raw(&j, first ? STR("[") : STR(",["));
        json_string(&j, name);
        json_raw(&j, STR(","));
        json_string(&j, value);
        json_raw(&j, STR("]"));
    }
    json_raw(&j, STR("]}\n"));
    check(!j.full);
    c->seen.len = (size_t)(j.at - c->seen.at);
}

static void begin_events(struct mock_conn *c, uint64_t n, uint64_t gap)
{
    put_head(c, 200, "text/event-stream\r\nCache-Control: no-cache", STREAM_LEN);
    c->events_left = n;
    c->event_no = 0;
    c->event_gap = gap;
    mock_wait(c, MOCK_EVENTS, gap);
}

/* Is `"key": true` in the body seen so far? */
static bool says_true(const struct page *body, const char *key)
{
    const char *end = body->at + body->len, *at = body->at;
    size_t len = strlen(key);
    while (at && (at = memmem(at, (size_t)(end - at), key, len))) {
        at += len;
        while (at < end && strchr(" \t\r\n:", *at) && *at)
            at++;
        if (end - at >= 4 && !memcmp(at, "true", 4))
            return true;
    }
    return false;
}

static void answer_chat(struct mock_conn *c)
{
    const struct mock_options *o = &c->mock->options;
    c->a = says_true(&c->seen, "\"include_usage\"");
    if (says_true(&c->seen, "\"stream\"")) {
        begin_events(c, o->events, o->interval);
        return;
    }
    answer_whole(c, 200, "application/json",
                 STR("{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"mock\","
                     "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
                     "\"content\":\"Hello! How can I help you today?\"},"
                     "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":34,"
                     "\"total_tokens\":46}}\n"));
}

static void answer(struct mock_conn *c)
{
    switch (c->kind) {
    case KIND_ECHO_JSON:
        if (c->mock->options.size != MOCK_SIZE_ECHO)
            answer_bytes(c, c->mock->options.size);
        else
            answer_page(c, "application/json", &c->seen);
        return;
    case KIND_BYTES:
        answer_bytes(c, c->a);
        return;
    case KIND_DELAY:
        answer_bytes(c, c->b);
        return;
    case KIND_STATUS:
        answer_status(c);
        return;
    case KIND_SSE:
        begin_events(c, c->a, c->b * NSEC_PER_MSEC);
        return;
    case KIND_CHAT:
        answer_chat(c);
        return;
    case KIND_STATS:
        answer_stats(c);
        return;
    case KIND_RESET:
        answer_reset(c);
        return;
    case KIND_HANG:
        c->state = MOCK_HANG;
        return;
    case KIND_ECHO:
    case KIND_DROP:
    case KIND_WS:
        break;
    }
    unreachable();
}

static void begin_body_echo(struct mock_conn *c)
{
    put_head(c, 200, "application/octet-stream", c->request_chunked ? STREAM_LEN : c->body_left);
}

void mock_request(struct mock_conn *c, const struct http_head *head, struct str path)
{
    const struct mock_options *o = &c->mock->options;
    find_kind(c, path);
    if (c->kind == KIND_STATS || c->kind == KIND_RESET)
        return;
    count_request(c);
    if (rng_below(&c->mock->rng, 10000) < o->errors) {
        c->kind = KIND_STATUS;
        c->a = (uint64_t)o->error_status;
    }
    if (c->kind == KIND_DROP)
        c->gone = true;
    else if (c->kind == KIND_WS)
        mock_ws_open(c, head);
    else if (c->kind == KIND_ECHO)
        begin_body_echo(c);
    else if (c->kind == KIND_ECHO_JSON)
        make_echo(c, head, path);
}

void mock_request_body(struct mock_conn *c, struct str payload)
{
    if (c->kind == KIND_ECHO) {
        mock_put_body(c, payload.at, payload.len);
    } else if (c->kind == KIND_CHAT && c->seen.len + payload.len <= SEEN_MAX) {
        if (!c->seen.at)
            c->seen = (struct page){.at = mem_alloc(SEEN_MAX), .cap = SEEN_MAX};
        memcpy(c->seen.at + c->seen.len, payload.at, payload.len);
        c->seen.len += payload.len;
    }
}

void mock_request_trailers(struct mock_conn *c, const struct http_head *trailers)
{
    struct str name, value;
    if (c->kind != KIND_ECHO || !c->answer_chunked || c->head_request)
        return;
    struct page p = {0};
    page_printf(&p, "0\r\n");
    for (unsigned at = 0; http_head_next(trailers, &at, &name, &value);)
        if (http_trailer_allowed(name))
            page_printf(&p, STR_FMT ": " STR_FMT "\r\n", STR_ARG(name), STR_ARG(value));
    page_printf(&p, "\r\n");
    mock_put_page(c, &p);
}

void mock_request_end(struct mock_conn *c)
{
    const struct mock_options *o = &c->mock->options;
    if (c->kind == KIND_ECHO) {
        mock_answered(c);
        return;
    }
    uint64_t wait = 0;
    if (c->in_flight)
        wait = o->latency[0] + rng_below(&c->mock->rng, o->latency[1] - o->latency[0] + 1);
    if (c->kind == KIND_DELAY)
        wait += c->a * NSEC_PER_MSEC;
    if (wait)
        mock_wait(c, MOCK_DELAY, wait);
    else
        answer(c);
}

void mock_more(struct mock_conn *c)
{
    static const char blob[16384] = {[0 ... sizeof(blob) - 1] = 'x'};
    while (c->fill && c->out.len < MOCK_OUT_HIGH) {
        size_t n = c->fill < sizeof(blob) ? (size_t)c->fill : sizeof(blob);
        mock_put(c, blob, n);
        c->fill -= n;
    }
    if (c->fill == 0)
        mock_answered(c);
}

static void put_event(struct mock_conn *c)
{
    struct page p = {0};
    c->event_no++;
    if (c->kind == KIND_SSE)
        page_printf(&p, "id: %" PRIu64 "\ndata: {\"n\":%" PRIu64 ",\"t\":%" PRIu64 "}\n\n", c->event_no, c->event_no,
                    clock_mono(&clock_real) / NSEC_PER_MSEC);
    else
        page_printf(&p, "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\","
                        "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token%" PRIu64 "\"},\"finish_reason\":null}]}\n\n",
                    c->event_no);
    mock_put_body(c, p.at, p.len);
    page_free(&p);
}

static void put_last_event(struct mock_conn *c)
{
    if (c->kind == KIND_CHAT && c->a) {
        struct page p = {0};
        page_printf(&p, "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\","
                        "\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":%" PRIu64
                        ",\"total_tokens\":%" PRIu64 "}}\n\n", c->event_no, c->event_no + 12);
        mock_put_body(c, p.at, p.len);
        page_free(&p);
    }
    mock_put_body(c, "data: [DONE]\n\n", 14);
    mock_end_body(c);
    mock_answered(c);
}

void mock_timer(struct mock_conn *c)
{
    if (c->state == MOCK_DELAY) {
        answer(c);
        return;
    }
    if (c->state != MOCK_EVENTS)
        return;
    if (c->out.len >= MOCK_OUT_HIGH) {
        mock_wait(c, MOCK_EVENTS, c->event_gap + NSEC_PER_MSEC);
        return;
    }
    if (c->events_left == 0 || c->head_request) {
        put_last_event(c);
        return;
    }
    put_event(c);
    if (--c->events_left == 0)
        put_last_event(c);
    else
        mock_wait(c, MOCK_EVENTS, c->event_gap);
}
