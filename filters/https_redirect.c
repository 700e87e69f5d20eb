/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends who spoke plain HTTP to the same place over TLS. With 308 (RFC 9110 15.4.9): the same method with the same body is to come
 * again, where 301 lets a caller turn a POST into a GET.
 *
 * The name is the one that the caller used: there is no other, and the answer is for him alone. It was checked when the head was
 * read, so it brings nothing else into the field. The path is the one that was matched, the query as it came.
 *
 * Behind a proxy that speaks TLS for weir the caller would be sent round in circles; so a trusted one's word counts, and the answer
 * is kept by nobody who might give it to others.
 */
#include "conf/field.h"
#include "filter.h"
#include "reply.h"
#include "request.h"

#include <stdio.h>
#include <string.h>

struct https_redirect_options {
    uint64_t port;
};

enum { HTTPS = 443 };

static const struct field https_redirect_fields[] = {
    {.key = "port", .type = FIELD_COUNT, .offset = offsetof(struct https_redirect_options, port), .fallback = "443", .min = 1,
     .max = UINT16_MAX, .help = "The port at which callers find TLS."},
    {.type = FIELD_END},
};

static struct str location(struct request *r, uint64_t port)
{
    struct str host = request_host(r), path = request_path(r), query = request_query(r);
    bool v6 = memchr(host.at, ':', host.len) != NULL;
    size_t cap = sizeof("https://[]:65535?") + host.len + path.len + query.len;
    char *text = arena_alloc(request_arena(r), cap), at[8] = "";
    if (port != HTTPS)
        (void)snprintf(at, sizeof at, ":%u", (unsigned)port);
    if (!str_starts(path, STR("/")))
        path = STR("/");                 /* of OPTIONS * */
    int n = snprintf(text, cap, "https://%s" STR_FMT "%s%s" STR_FMT "%s" STR_FMT, v6 ? "[" : "", STR_ARG(host), v6 ? "]" : "", at,
                     STR_ARG(path), query.at ? "?" : "", STR_ARG(query));
    check(n > 0 && (size_t)n < cap);
    return str_of(text, (size_t)n);
}

static enum verdict https_redirect_on_request(struct call *call)
{
    const struct https_redirect_options *o = call->options;
    if (request_is_https(call->req))
        return FILTER_NEXT;
    if (request_host(call->req).len == 0) {
        reply_reason(call->req, call->reply, REASON_bad_request, STR("without Host nobody can be sent to https"));
        return FILTER_REPLY;
    }
    *call->reply = (struct reply){.status = 308, .reason = REASON_replied};
    reply_header(call->req, call->reply, STR("Location"), location(call->req, o->port));
    reply_header(call->req, call->reply, STR("Cache-Control"), STR("no-store"));
    return FILTER_REPLY;
}

const struct filter filter_https_redirect = {
    .name = "https_redirect",
    .help = "Sends callers who did not speak TLS to the same place over TLS, with 308. A proxy in front that ends TLS must be in "
            "`trusted_proxies` and say so, by X-Forwarded-Proto or Forwarded; else its callers would be sent round in circles.",
    .places = PLACE_LISTENER | PLACE_ROUTE,
    .fields = https_redirect_fields,
    .options_size = sizeof(struct https_redirect_options),
    .on_request = https_redirect_on_request,
};
