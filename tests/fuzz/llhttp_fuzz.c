/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Request heads, read by weir and by llhttp, the parser of Node.js, which stands in no file of this tree: Debian's package
 * node-llhttp has its source.
 *
 * A head that both accept must mean the same to both: where it ends, version, method, target, each field, and how the body
 * is framed. One that weir accepts and llhttp refuses is written to the folder that DISPUTED names, for a third to judge
 * (tests/tools/judge.py): it may be llhttp's own narrowness. That weir refuses what others accept is as it should be.
 *
 * llhttp knows a fixed list of methods, weir takes any token: such a head is shown to llhttp once more with POST.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define LLHTTP_STRICT_MODE 1
#include <llhttp/llhttp.h>
#include "http/parse.h"
#include "lib/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SAMPLES = 200, REASONS = 64 };

struct text {
    const char *at;
    size_t len;
};

struct reading {
    struct text target, names[HTTP_FIELDS_MAX + 1], values[HTTP_FIELDS_MAX + 1];
    size_t n;
    bool complete;
    uint16_t flags;                          /* of the head: a message without a body is over, and forgotten, by now */
    uint64_t length;
    unsigned major, minor;
    llhttp_t parser;
};

static int on_url(llhttp_t *p, const char *at, size_t len)
{
    struct reading *r = p->data;
    r->target = (struct text){at, len};
    return 0;
}

static int on_name(llhttp_t *p, const char *at, size_t len)
{
    struct reading *r = p->data;
    if (r->n <= HTTP_FIELDS_MAX) {
        r->names[r->n] = (struct text){at, len};
        r->values[r->n] = (struct text){at, 0};
        r->n++;
    }
    return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t len)
{
    struct reading *r = p->data;
    r->values[r->n - 1] = (struct text){at, len};
    return 0;
}

static int on_complete(llhttp_t *p)
{
    struct reading *r = p->data;
    r->complete = true;
    r->flags = p->flags;
    r->length = p->content_length;
    r->major = p->http_major;
    r->minor = p->http_minor;
    return 0;
}

static const llhttp_settings_t settings = {
    .on_url = on_url, .on_header_field = on_name, .on_header_value = on_value, .on_headers_complete = on_complete,
};

static llhttp_errno_t read_with_llhttp(struct reading *r, const char *at, size_t len)
{
    memset(r, 0, sizeof *r);
    llhttp_init(&r->parser, HTTP_REQUEST, &settings);
    r->parser.data = r;
    return llhttp_execute(&r->parser, at, len);
}

static bool same(struct text t, const char *at, size_t len)
{
    while (t.len > 0 && (t.at[t.len - 1] == ' ' || t.at[t.len - 1] == '\t'))
        t.len--;
    return t.len == len && (len == 0 || memcmp(t.at, at, len) == 0);
}

static void check_agreed(const struct http_parser *p, const char *at, const struct reading *r)
{
    check(r->complete);
    check(r->major == 1 && r->minor == p->minor);
    check(same(r->target, at + p->target_at, p->target_len));
    check(r->n == p->n);
    for (size_t i = 0; i < r->n; i++) {
        const struct http_field *f = &p->fields[i];
        const char *line = at + f->at;
        check(same(r->names[i], line, f->name_len));
        check(same(r->values[i], line + f->value_off, f->value_len));
    }
    check((p->body == BODY_CHUNKED) == !!(r->flags & F_CHUNKED));
    check((p->body == BODY_LENGTH) == !!(r->flags & F_CONTENT_LENGTH));
    check(p->body != BODY_LENGTH || p->content_length == r->length);
}

/* A coding that llhttp does not know, as "chunked" with a tab behind it. It refuses such a request; but not one that asks for
 * another protocol, of which it takes the body for what comes after. */
static bool coding_unknown(const struct reading *r) { return (r->flags & F_TRANSFER_ENCODING) && !(r->flags & F_CHUNKED); }

/* Some of each kind of refusal: there may be millions. Any of them with the same chance, so that a kind that is found late does
 * not stand behind the first ones of the same name. */
static void keep_disputed(const char *at, size_t len, const char *reason)
{
    static struct { const char *reason; size_t n; } kept[REASONS];
    const char *dir = getenv("DISPUTED");
    char path[4096];
    size_t i = 0;
    while (i < REASONS - 1 && kept[i].reason && strcmp(kept[i].reason, reason) != 0)
        i++;
    kept[i].reason = reason;
    size_t n = kept[i].n++, place = n < SAMPLES ? n : (size_t)rand() % (n + 1);
    if (!dir || place >= SAMPLES)
        return;
    snprintf(path, sizeof path, "%s/%zu-%zu", dir, i, place);
    FILE *f = fopen(path, "wb");
    check(f && fwrite(at, 1, len, f) == len);
    fclose(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct reading r;
    static struct http_parser p;
    const char *at = (const char *)data;

    http_parser_init(&p, PARSE_REQUEST, &http_limits_default);
    if (http_parse(&p, at, size) != PARSE_OK)
        return 0;
    llhttp_errno_t e = read_with_llhttp(&r, at, p.head_len);
    size_t len = p.head_len - p.start - p.method_len + 4;
    char *other = malloc(len);
    if (e == HPE_INVALID_METHOD) {
        memcpy(other, "POST", 4);
        memcpy(other + 4, at + p.start + p.method_len, len - 4);
        e = read_with_llhttp(&r, other, len);
    }
    if ((e == HPE_OK || e == HPE_PAUSED_UPGRADE) && !coding_unknown(&r)) {
        check_agreed(&p, at, &r);
        read_with_llhttp(&r, at, p.head_len - 1);
        check(!r.complete);                  /* nor does it end sooner for llhttp */
    } else {
        const char *reason = llhttp_get_error_reason(&r.parser);
        keep_disputed(at + p.start, p.head_len - p.start, reason ? reason : llhttp_errno_name(e));
    }
    free(other);
    return 0;
}
