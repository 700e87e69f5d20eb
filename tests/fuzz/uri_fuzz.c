/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Targets, authorities and queries. A canonical path is its own canonical form, and decodes to the same bytes as it
 * came from, but for its segments; it holds nothing that a reader could still take for something else.
 */
#include <stdlib.h>
#include "http/uri.h"
#include "lib/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void check_segment(const char *at, size_t len)
{
    size_t bare = memchr(at, ';', len) ? (size_t)((const char *)memchr(at, ';', len) - at) : len;
    check(!(bare == 1 && at[0] == '.') && !(bare == 2 && at[0] == '.' && at[1] == '.'));
}

static void check_canonical(struct str path)
{
    size_t segment = 1;

    check(path.at[0] == '/');
    for (size_t i = 1; i < path.len; i++) {
        char c = path.at[i];
        check(c > ' ' && c < 0x7f && !strchr("\"#<>?[\\]^`{|}", c));
        if (c == '/') {
            check(i > segment);
            check_segment(path.at + segment, i - segment);
            segment = i + 1;
        } else if (c == '%') {
            check(i + 2 < path.len && hex(path.at[i + 1]) >= 0 && hex(path.at[i + 2]) >= 0);
            int v = hex(path.at[i + 1]) * 16 + hex(path.at[i + 2]);
            check(v != 0 && v != '/' && v != '\\');
            check(v >= 0x80 || !strchr("-._~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", v));
        }
    }
    check_segment(path.at + segment, path.len - segment);
}

static void check_path(struct str target)
{
    struct arena arena;
    struct str path, query, again, none;

    arena_init(&arena, NULL);
    enum uri_result r = uri_normalise(&arena, target, &path, &query);
    if (r != URI_BAD && !(path.len == 1 && path.at[0] == '*')) {
        check_canonical(path);
        check((r == URI_SAME) == (path.at == target.at));
        check(r == URI_OK || target.len == path.len + (query.at ? query.len + 1 : 0));
        check(uri_normalise(&arena, path, &again, &none) == URI_SAME && str_eq(path, again) && !none.at);
    }
    arena_fini(&arena);
}

static void check_authority(struct str s)
{
    struct str host, again;
    unsigned port, none;

    if (!uri_split_authority(s, &host, &port))
        return;
    check(host.len && port <= 65535 && s.len <= 255);
    check(uri_same_authority(s, s, 80));
    bool v6 = s.at[0] == '[';
    check(v6 || (uri_split_authority(host, &again, &none) && str_eq(host, again) && !none));
    for (size_t i = 0; i < host.len; i++)
        check(host.at[i] > ' ' && host.at[i] < 0x7f && !strchr("/?#@\\,%[]", host.at[i]));
}

static void check_query(struct str query)
{
    struct str value, name = str_of(query.at, query.len < 3 ? query.len : 3);

    if (uri_query_get(query, name, &value))
        check(value.at >= query.at && value.at + value.len <= query.at + query.len && !memchr(value.at, '&',
            value.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size ? size : 1);

    if (size)
        memcpy(copy, data, size);
    check_path(str_of(copy, size));
    check_authority(str_of(copy, size));
    check_query(str_of(copy, size));
    free(copy);
    return 0;
}
