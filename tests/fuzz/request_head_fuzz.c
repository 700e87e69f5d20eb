/* SPDX-License-Identifier: Apache-2.0 */
/* Request heads: the outcome does not depend on how the bytes are cut, and what is accepted passes a second reading. */
#include "head_check.h"
#include "http/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_request_line(const struct http_parser *p, const char *at)
{
    const char *sp = memchr(at, ' ', p->head_len), *target = sp + 1;
    check(sp && sp > at);
    for (const char *m = at; m < sp; m++)
        check(is_tchar(*m));
    check((size_t)(sp - at) == p->method_len);
    const char *end = memchr(target, ' ', p->head_len);
    check(end && end > target);
    for (const char *t = target; t < end; t++)
        check(*t > ' ' && *t < 0x7f && *t != '#' && *t != '"' && *t != '<' && *t != '>' && *t != '\\');
    check(*target == '/' || !strncasecmp(target, "http", 4) || (*target == '*' && end == target + 1));
    check(!memcmp(end, p->minor ? " HTTP/1.1\r\n" : " HTTP/1.0\r\n", 11));
}

static void check_uri(const struct http_parser *p, const char *base)
{
    struct arena arena;
    struct str path, query, host;
    unsigned port;

    arena_init(&arena, NULL);
    if (uri_normalise(&arena, str_of(base + p->path_at, p->path_len), &path, &query) != URI_BAD)
        check(path.len && (path.at[0] == '/' || path.at[0] == '*'));
    if (p->host_len)
        check(uri_split_authority(str_of(base + p->host_at, p->host_len), &host, &port) && host.len);
    struct http_head head;
    http_parser_head(p, base, &arena, &head);
    http_head_drop_hop_by_hop(&head);
    check(!http_head_get_id(&head, HEADER_CONNECTION).at && !http_head_get_id(&head, HEADER_TRANSFER_ENCODING).at);
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_parser p;
    const char *at = (const char *)data;
    struct http_limits limits = http_limits_default;

    if (size && data[size - 1] & 1)
        limits = (struct http_limits){.head = 300, .target = 40, .fields = 6};
    if (parse_all_ways(&p, PARSE_REQUEST, &limits, at, size) != PARSE_OK)
        return 0;
    check(p.start == 0 || (p.start == 2 && !memcmp(at, "\r\n", 2)));
    check_request_line(&p, at + p.start);
    check_head(&p, at + p.start, p.head_len - p.start);
    check_uri(&p, at);
    return 0;
}
