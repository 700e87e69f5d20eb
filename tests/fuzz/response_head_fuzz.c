/* SPDX-License-Identifier: Apache-2.0 */
/* Response heads, and trailer sections: as request_head_fuzz.c. */
#include "head_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_status_line(const struct http_parser *p, const char *at)
{
    check(!memcmp(at, p->minor ? "HTTP/1.1 " : "HTTP/1.0 ", 9));
    check(p->status >= 100 && p->status <= 599);
    check(at[9] - '0' == p->status / 100 && at[10] - '0' == p->status / 10 % 10 && at[11] - '0' == p->status % 10);
    check(at[12] == ' ' || at[12] == '\r');
    for (unsigned i = 0; i < p->reason_len; i++) {
        char c = at[p->reason_at + i];
        check(c == '\t' || ((unsigned char)c >= ' ' && c != 0x7f));
    }
}

static void check_trailers(const struct http_parser *p, const char *at)
{
    for (unsigned i = 0; i < p->n; i++) {
        const struct http_field *f = &p->fields[i];
        check(at[f->at + f->name_len] == ':');
        check(f->dropped || f->id == HEADER_OTHER);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_parser p;
    const char *at = (const char *)data;
    struct http_limits limits = {.head = 65535, .target = 0, .fields = 100};

    if (size && data[size - 1] & 1)
        limits = (struct http_limits){.head = 200, .target = 0, .fields = 5};
    if (parse_all_ways(&p, PARSE_RESPONSE, &limits, at, size) == PARSE_OK) {
        check_status_line(&p, at);
        check_head(&p, at, p.head_len);
        check(http_response_body(&p, true) == BODY_NONE);
    }
    if (parse_all_ways(&p, PARSE_TRAILERS, &limits, at, size) == PARSE_OK)
        check_trailers(&p, at);
    return 0;
}
