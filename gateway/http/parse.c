/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver of the head parser, and the start lines: of a request (RFC 9112 3) and of a response (RFC 9112 4).
 *
 * Each state reads one element and goes on as far as the bytes reach; `pos` is where it stopped. A state looks at
 * bytes in order and decides by them alone, and none looks past the limit of the head: so the outcome is a function of
 * the bytes, however they were cut. What is looked at twice after a cut is at most a dozen bytes (a version, a scheme,
 * an escape).
 *
 * The forms of a target (RFC 9112 3.2): a path with an optional query; an http or https URL, whose authority is then
 * the one to route by and must be that of Host; "*" of OPTIONS. CONNECT, and with it the authority form, is refused.
 *
 * It does not normalise: that is uri.c, for whoever matches paths.
 */
#include "http/char.h"
#include "http/parse_impl.h"
#include "http/uri.h"
#include "lib/mem.h"

#define METHOD_MAX 64

const struct http_limits http_limits_default = {.head = 32768, .target = 8192, .fields = HTTP_FIELDS_MAX};

void http_parser_init(struct http_parser *p, enum parse_kind kind, const struct http_limits *limits)
{
    mem_zero(p, offsetof(struct http_parser, limits));      /* the table behind is filled before it is read */
    p->kind = (uint8_t)kind;
    p->state = kind == PARSE_TRAILERS ? AT_FIELD : kind == PARSE_REQUEST ? AT_START : AT_STATUS;
    p->limits = limits ? *limits : http_limits_default;
    if (p->limits.head > UINT16_MAX)
        p->limits.head = UINT16_MAX;
    if (p->limits.fields > HTTP_FIELDS_MAX)
        p->limits.fields = HTTP_FIELDS_MAX;
}

/* What begins a header of the PROXY protocol, version 2: chosen so that a server of HTTP refuses it. It may have come in part. */
static enum parse read_signature(struct http_parser *p, const char *base, uint32_t end)
{
    static const char signature[12] = "\r\n\r\n\0\r\nQUIT\n";
    uint32_t len = end < sizeof signature ? end : sizeof signature;

    if (memcmp(base, signature, len) != 0)
        return parse_refuse(p, FAULT_NOT_HTTP);
    return len < sizeof signature ? PARSE_MORE : parse_refuse(p, FAULT_PROXY_HEADER);
}

/* One empty line before a request is forgiven: old clients send it behind a body (RFC 9112 2.2). */
static enum parse read_start(struct http_parser *p, const char *base, uint32_t end)
{
    if (p->pos == end)
        return PARSE_MORE;
    char c = base[p->pos];
    if (p->pos == 0 && c == '\r')
        return parse_line_end(p, base, end, 0, AT_START);
    if (c == '\n')
        return parse_refuse(p, FAULT_LINE_END);
    if (c == '\r')
        return read_signature(p, base, end);
    if (!char_is(c, CHAR_TOKEN))
        return parse_refuse(p, c >= ' ' && c < 0x7f ? FAULT_METHOD : FAULT_NOT_HTTP);
    p->start = p->pos;
    p->state = AT_METHOD;
    return PARSE_OK;
}

static enum parse method_done(struct http_parser *p, uint32_t len)
{
    p->method_len = len;
    p->target_at = p->pos = p->start + len + 1;
    p->state = AT_TARGET;
    return PARSE_OK;
}

static enum parse read_method(struct http_parser *p, const char *base, uint32_t end)
{
    uint32_t i = p->pos;

    if (end - p->start >= 5 && !memcmp(base + p->start, "GET ", 4))
        return method_done(p, 3);
    if (end - p->start >= 5 && !memcmp(base + p->start, "POST ", 5))
        return method_done(p, 4);
    while (i < end && char_is(base[i], CHAR_TOKEN) && i - p->start <= METHOD_MAX)
        i++;
    p->pos = i;
    if (i - p->start > METHOD_MAX)
        return parse_refuse(p, FAULT_METHOD_REFUSED);
    if (i == end)
        return PARSE_MORE;
    if (base[i] == '\n')
        return parse_refuse(p, FAULT_LINE_END);
    if (base[i] != ' ')
        return parse_refuse(p, base[i] == '\r' ? FAULT_NOT_HTTP : FAULT_METHOD);
    struct str method = str_of(base + p->start, i - p->start);
    if (str_eq(method, STR("PRI")))          /* of HTTP/2 prefaces alone (RFC 9113 3.4): others take what follows for HTTP/2 */
        return parse_refuse(p, FAULT_NOT_HTTP);
    if (str_eq(method, STR("CONNECT")) || str_eq(method, STR("TRACE")))
        return parse_refuse(p, FAULT_METHOD_REFUSED);
    return method_done(p, (uint32_t)method.len);
}

/* How many of the first `len` bytes are those of "http://" or "https://", whichever goes further. */
static uint32_t scheme_run(const char *at, uint32_t len, uint32_t *whole)
{
    static const char scheme[2][9] = {"http://", "https://"};
    uint32_t best = 0;

    for (uint32_t k = 0; k < 2; k++) {
        uint32_t n = 7 + k, i = 0;
        while (i < n && i < len && str_lower(at[i]) == scheme[k][i])
            i++;
        if (i > best) {
            best = i;
            *whole = n;
        }
    }
    return best;
}

/* A target that is none, at its first byte that fits nothing. "PROXY TCP4 ..." is no request, but version 1 of that protocol. */
static enum http_fault target_fault(const struct http_parser *p, const char *base, char stop)
{
    if (stop == '\n')
        return FAULT_LINE_END;
    return str_eq(str_of(base + p->start, p->method_len), STR("PROXY")) ? FAULT_PROXY_HEADER : FAULT_TARGET;
}

static enum parse read_target(struct http_parser *p, const char *base, uint32_t end)
{
    uint32_t at = p->target_at, len = end - at, whole = 0;

    if (len == 0)
        return PARSE_MORE;
    if (base[at] == '/' || base[at] == '*') {
        p->path_at = at;
        p->pos = at + 1;
        p->state = AT_PATH;
        return PARSE_OK;
    }
    uint32_t run = scheme_run(base + at, len, &whole);
    if (run == 0 || (run < len && run < whole))
        return parse_refuse(p, target_fault(p, base, base[at + run]));
    if (run < whole)
        return PARSE_MORE;
    p->absolute = true;
    p->host_at = p->pos = at + whole;
    p->state = AT_AUTHORITY;
    return PARSE_OK;
}

/* Up to where may a target be read: a byte more than it may have, to see that it goes on. */
static uint32_t target_limit(const struct http_parser *p, uint32_t end)
{
    uint32_t left = end - p->target_at;
    return left > p->limits.target ? p->target_at + p->limits.target + 1 : end;
}

/* A target's scan stopped at `i`, `stop` at the latest, and not at a byte that ends it. */
static enum parse target_stop(struct http_parser *p, const char *base, uint32_t i, uint32_t stop)
{
    p->pos = i;
    if (i - p->target_at > p->limits.target)
        return parse_refuse(p, FAULT_TARGET_LONG);
    if (i == stop)
        return PARSE_MORE;
    if (base[i] == '\n')
        return parse_refuse(p, FAULT_LINE_END);
    return parse_refuse(p, base[i] == '\r' ? FAULT_VERSION_SYNTAX : FAULT_TARGET);
}

static enum parse read_authority(struct http_parser *p, const char *base, uint32_t end)
{
    uint32_t stop = target_limit(p, end), i = p->pos;

    while (i < stop && (char_is(base[i], CHAR_HOST) || base[i] == ':' || base[i] == '[' || base[i] == ']'))
        i++;
    if (i == stop || i - p->target_at > p->limits.target || (base[i] != '/' && base[i] != '?' && base[i] != ' '))
        return target_stop(p, base, i, stop);
    p->host_len = i - p->host_at;
    if (!uri_is_authority(str_of(base + p->host_at, p->host_len)))
        return parse_refuse(p, FAULT_TARGET);
    p->path_at = p->pos = i;
    p->state = AT_PATH;
    return PARSE_OK;
}

static enum parse target_done(struct http_parser *p, uint32_t i)
{
    p->target_len = i - p->target_at;
    p->path_len = i - p->path_at;
    p->pos = i + 1;
    p->state = AT_VERSION;
    return PARSE_OK;
}

/* A path, or a query once the state says so. What follows a "*" is read as if it were one, and refused with the line.
 * */
static enum parse read_path(struct http_parser *p, const char *base, uint32_t end)
{
    uint32_t stop = target_limit(p, end), i = p->pos;

    while (i < stop) {
        i = (uint32_t)(char_run_path(base, base + i, base + stop) - base);
        if (i == stop || i - p->target_at > p->limits.target)
            break;
        if (base[i] == ' ')
            return target_done(p, i);
        if (char_is(base[i], p->state == AT_PATH ? CHAR_PATH : CHAR_QUERY)) {
            i++;
        } else if (base[i] == '?') {
            p->state = AT_QUERY;
            i++;
        } else if (base[i] == '%') {
            for (uint32_t k = i + 1; k <= i + 2; k++) {
                if (k >= end) {
                    p->pos = i;
                    return PARSE_MORE;
                }
                if (!char_is(base[k], CHAR_HEX))
                    return parse_refuse(p, FAULT_TARGET);
            }
            i += 3;
        } else {
            break;
        }
    }
    return target_stop(p, base, i, stop);
}

/* How many of the first `len` bytes (8 at most are looked at) are those of "HTTP/" DIGIT "." DIGIT. */
static uint32_t version_run(const char *at, uint32_t len)
{
    static const char form[] = "HTTP/0.0";
    uint32_t i = 0;

    while (i < 8 && i < len && (form[i] == '0' ? char_is(at[i], CHAR_DIGIT) : at[i] == form[i]))
        i++;
    return i;
}

/* The version that stands whole at `at`. */
static enum http_fault take_version(struct http_parser *p, const char *at)
{
    if (at[5] != '1' || (at[7] != '0' && at[7] != '1'))
        return FAULT_VERSION;
    p->minor = at[7] == '1';
    return FAULT_NONE;
}

/* "*" is for OPTIONS alone. */
static enum http_fault check_request_line(const struct http_parser *p, const char *base, enum http_fault version)
{
    struct str method = str_of(base + p->start, p->method_len);

    if (base[p->target_at] != '*' || version != FAULT_NONE)
        return version;
    return p->target_len == 1 && str_eq(method, STR("OPTIONS")) ? FAULT_NONE : FAULT_TARGET;
}

static enum parse read_version(struct http_parser *p, const char *base, uint32_t end)
{
    const char *at = base + p->pos;
    uint32_t from = p->pos, len = end - from;

    if (len >= 10 && base[p->target_at] != '*' && !memcmp(at, "HTTP/1.1\r\n", 10)) {
        p->minor = 1;
        p->pos = from + 10;
        p->state = AT_FIELD;
        return PARSE_OK;
    }
    uint32_t run = version_run(at, len);
    if (run == len)
        return PARSE_MORE;
    if (run < 8 || (at[8] != '\r' && at[8] != '\n'))
        return parse_refuse(p, at[run] == '\n' ? FAULT_LINE_END : FAULT_VERSION_SYNTAX);
    enum parse r = parse_line_end(p, base, end, from + 8, AT_FIELD);
    if (r != PARSE_OK) {
        p->pos = from;
        return r;
    }
    enum http_fault fault = check_request_line(p, base, take_version(p, at));
    return fault == FAULT_NONE ? PARSE_OK : parse_refuse(p, fault);
}

/* "HTTP/1.1 200 ", as nearly all begin. */
static bool is_plain_status(const char *base, uint32_t end)
{
    return end > 12 && !memcmp(base, "HTTP/1.1 ", 9) && char_is(base[9], CHAR_DIGIT) && char_is(base[10], CHAR_DIGIT) &&
           char_is(base[11], CHAR_DIGIT);
}

/* The version and the three digits of any other, as far as they have come. */
static enum parse check_status(struct http_parser *p, const char *base, uint32_t end)
{
    uint32_t i = version_run(base, end);

    if (i < 8 && i < end)
        return parse_refuse(p, FAULT_NOT_HTTP);
    if (i == 8 && take_version(p, base) != FAULT_NONE)
        return parse_refuse(p, FAULT_VERSION);
    for (; i < end && i < 12; i++)
        if (i == 8 ? base[i] != ' ' : !char_is(base[i], CHAR_DIGIT))
            return parse_refuse(p, base[i] == '\n' ? FAULT_LINE_END : FAULT_STATUS);
    return i >= end ? PARSE_MORE : PARSE_OK;
}

/* "HTTP/1.1 200", and what follows it: a space and a reason, or the end of the line. */
static enum parse read_status(struct http_parser *p, const char *base, uint32_t end)
{
    if (is_plain_status(base, end)) {
        p->minor = 1;
    } else {
        enum parse r = check_status(p, base, end);
        if (r != PARSE_OK)
            return r;
    }
    p->status = (uint16_t)((base[9] - '0') * 100 + (base[10] - '0') * 10 + (base[11] - '0'));
    if (p->status < 100 || p->status > 599)
        return parse_refuse(p, FAULT_STATUS);
    if (base[12] != ' ' && base[12] != '\r')
        return parse_refuse(p, base[12] == '\n' ? FAULT_LINE_END : FAULT_STATUS);
    p->reason_at = p->pos = base[12] == ' ' ? 13 : 12;
    p->state = AT_REASON;
    return PARSE_OK;
}

static enum parse read_reason(struct http_parser *p, const char *base, uint32_t end)
{
    uint32_t i = parse_value_run(base, p->pos, end);

    if (i < end && base[i] != '\r' && base[i] != '\n')
        return parse_refuse(p, FAULT_STATUS);
    p->reason_len = i - p->reason_at;
    return parse_line_end(p, base, end, i, AT_FIELD);
}

static enum parse read_start_line(struct http_parser *p, const char *base, uint32_t end)
{
    enum parse r = PARSE_OK;

    while (r == PARSE_OK && p->state < AT_FIELD) {
        switch ((enum parse_state)p->state) {
        case AT_START:     r = read_start(p, base, end); break;
        case AT_METHOD:    r = read_method(p, base, end); break;
        case AT_TARGET:    r = read_target(p, base, end); break;
        case AT_AUTHORITY: r = read_authority(p, base, end); break;
        case AT_PATH:
        case AT_QUERY:     r = read_path(p, base, end); break;
        case AT_VERSION:   r = read_version(p, base, end); break;
        case AT_STATUS:    r = read_status(p, base, end); break;
        case AT_REASON:    r = read_reason(p, base, end); break;
        default:           return r;
        }
    }
    return r;
}

enum parse http_parse(struct http_parser *p, const char *base, size_t len)
{
    uint32_t end = len < p->limits.head ? (uint32_t)len : p->limits.head;
    enum parse r = read_start_line(p, base, end);

    if (r == PARSE_OK)
        r = parse_fields(p, base, end);
    if (r == PARSE_MORE && len >= p->limits.head)
        return parse_refuse(p, p->kind == PARSE_TRAILERS ? FAULT_TRAILER : FAULT_HEAD_LONG);
    return r;
}

void http_parser_head(const struct http_parser *p, const char *base, struct arena *arena, struct http_head *head)
{
    size_t size = p->n * sizeof(p->fields[0]);
    const struct str none = {NULL, 0};

    head->base = base;
    head->fields = arena_alloc(arena, size ? size : 1);
    memcpy(head->fields, p->fields, size);
    head->n = p->n;
    head->status = p->status;
    head->minor = p->minor;
    head->ids = p->ids;
    head->method = head->target = head->reason = none;
    head->added = NULL;
    head->added_tail = NULL;
    if (p->kind == PARSE_REQUEST) {
        head->method = str_of(base + p->start, p->method_len);
        head->target = str_of(base + p->target_at, p->target_len);
    } else if (p->kind == PARSE_RESPONSE) {
        head->reason = str_of(base + p->reason_at, p->reason_len);
    }
}
