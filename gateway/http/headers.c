/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of fields, and the list of a head's fields; headers.h says what each function means.
 *
 * A known name is found by its length and then compared as words with the case bit set, which is exact because a name
 * is a token. Fields that came are looked for by id where the name has one. Added fields are a list of a few; they are
 * walked.
 *
 * Two spellings that many back ends fold into one ("X_Forwarded_For", "X.Forwarded.For") are "alike". Whoever sets a
 * name removes all that are alike, else a client could slip in a second one behind the gateway's back.
 */
#include "http/headers.h"
#include "http/char.h"

#define IS(lit) char_same(n.at, lit, sizeof(lit) - 1)

enum header_id header_id(struct str n)
{
    switch (n.len) {
    case 2:
        return IS("te") ? HEADER_TE : HEADER_OTHER;
    case 3:
        return IS("via") ? HEADER_VIA : HEADER_OTHER;
    case 4:
        return IS("host") ? HEADER_HOST : IS("date") ? HEADER_DATE : HEADER_OTHER;
    case 6:
        return IS("server") ? HEADER_SERVER : IS("expect") ? HEADER_EXPECT : HEADER_OTHER;
    case 7:
        return IS("upgrade") ? HEADER_UPGRADE : IS("trailer") ? HEADER_TRAILER : HEADER_OTHER;
    case 8:
        return IS("location") ? HEADER_LOCATION : HEADER_OTHER;
    case 9:
        return IS("forwarded") ? HEADER_FORWARDED : IS("x-real-ip") ? HEADER_X_REAL_IP : HEADER_OTHER;
    case 10:
        return IS("connection") ? HEADER_CONNECTION : IS("keep-alive") ? HEADER_KEEP_ALIVE : HEADER_OTHER;
    case 12:
        return IS("content-type") ? HEADER_CONTENT_TYPE : IS("x-request-id") ? HEADER_X_REQUEST_ID :
               IS("max-forwards") ? HEADER_MAX_FORWARDS : HEADER_OTHER;
    case 13:
        return IS("authorization") ? HEADER_AUTHORIZATION : HEADER_OTHER;
    case 14:
        return IS("content-length") ? HEADER_CONTENT_LENGTH :
               IS("http2-settings") ? HEADER_HTTP2_SETTINGS : HEADER_OTHER;
    case 15:
        return IS("x-forwarded-for") ? HEADER_X_FORWARDED_FOR :
               IS("idempotency-key") ? HEADER_IDEMPOTENCY_KEY : HEADER_OTHER;
    case 16:
        return IS("x-forwarded-host") ? HEADER_X_FORWARDED_HOST : IS("x-forwarded-port") ? HEADER_X_FORWARDED_PORT :
               IS("proxy-connection") ? HEADER_PROXY_CONNECTION : HEADER_OTHER;
    case 17:
        return IS("transfer-encoding") ? HEADER_TRANSFER_ENCODING :
               IS("x-forwarded-proto") ? HEADER_X_FORWARDED_PROTO : HEADER_OTHER;
    case 18:
        return IS("proxy-authenticate") ? HEADER_PROXY_AUTHENTICATE : HEADER_OTHER;
    case 19:
        return IS("proxy-authorization") ? HEADER_PROXY_AUTHORIZATION : HEADER_OTHER;
    case 25:
        return IS("proxy-authentication-info") ? HEADER_PROXY_AUTHENTICATION_INFO : HEADER_OTHER;
    default:
        return HEADER_OTHER;
    }
}

/* As back ends fold it: lower case, and "-" for whatever is no letter or digit. */
static char fold(char c)
{
    return char_is(c, CHAR_PLAIN) ? str_lower(c) : '-';
}

bool http_name_alike(struct str a, struct str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (fold(a.at[i]) != fold(b.at[i]))
            return false;
    return true;
}

#define FOLD_MAX 64      /* longer than any name that is looked for */

static struct str fold_name(struct str name, char out[FOLD_MAX])
{
    size_t n = name.len < FOLD_MAX ? name.len : FOLD_MAX;
    for (size_t i = 0; i < n; i++)
        out[i] = fold(name.at[i]);
    return str_of(out, n);
}

bool http_name_is_alias(struct str name)
{
    char buf[FOLD_MAX];
    struct str folded = fold_name(name, buf);

    if (name.len > FOLD_MAX || str_eq_nocase(name, folded))
        return false;
    return header_id(folded) != HEADER_OTHER || str_starts(folded, STR("x-forwarded-"));
}

/* Is `f` to be sent, and of that name? `id` is the name's. */
static bool is_field(const struct http_head *h, const struct http_field *f, enum header_id id, struct str name)
{
    if (f->dropped || f->id != id)
        return false;
    return id != HEADER_OTHER || (f->name_len == name.len && str_eq_nocase(http_field_name(h, f), name));
}

struct str http_head_get(const struct http_head *h, struct str name)
{
    enum header_id id = header_id(name);

    for (unsigned i = 0; h->ids & HEADER_BIT(id) && i < h->n; i++)
        if (is_field(h, &h->fields[i], id, name))
            return http_field_value(h, &h->fields[i]);
    for (const struct http_added *a = h->added; a; a = a->next)
        if (str_eq_nocase(a->name, name))
            return a->value;
    return (struct str){NULL, 0};
}

struct str http_head_get_id(const struct http_head *h, enum header_id id)
{
    for (unsigned i = 0; h->ids & HEADER_BIT(id) && i < h->n; i++)
        if (h->fields[i].id == id && !h->fields[i].dropped)
            return http_field_value(h, &h->fields[i]);
    for (const struct http_added *a = h->added; a; a = a->next)
        if (header_id(a->name) == id)
            return a->value;
    return (struct str){NULL, 0};
}

unsigned http_head_count(const struct http_head *h, struct str name)
{
    enum header_id id = header_id(name);
    unsigned count = 0;

    for (unsigned i = 0; i < h->n; i++)
        count += is_field(h, &h->fields[i], id, name);
    for (const struct http_added *a = h->added; a; a = a->next)
        count += str_eq_nocase(a->name, name);
    return count;
}

bool http_head_next(const struct http_head *h, unsigned *at, struct str *name, struct str *value)
{
    for (; *at < h->n; (*at)++) {
        const struct http_field *f = &h->fields[*at];
        if (f->dropped)
            continue;
        *name = http_field_name(h, f);
        *value = http_field_value(h, f);
        (*at)++;
        return true;
    }
    const struct http_added *a = h->added;
    for (unsigned i = h->n; a && i < *at; i++)
        a = a->next;
    if (!a)
        return false;
    *name = a->name;
    *value = a->value;
    (*at)++;
    return true;
}

void http_head_copy(struct http_head *to, const struct http_head *from, struct arena *arena)
{
    size_t size = from->n * sizeof *from->fields;

    *to = *from;
    to->added = NULL;
    to->added_tail = NULL;
    if (size > 0)
        to->fields = memcpy(arena_alloc(arena, size), from->fields, size);
    for (const struct http_added *a = from->added; a; a = a->next)
        http_head_add(to, arena, a->name, a->value);
}

/* Takes out of the added ones all whose id is `id`, or whose name is alike if there is a name. */
static void remove_added(struct http_head *h, enum header_id id, struct str name)
{
    struct http_added **at = &h->added;

    h->added_tail = NULL;
    while (*at) {
        struct http_added *a = *at;
        if (name.at ? http_name_alike(a->name, name) : header_id(a->name) == id) {
            *at = a->next;
        } else {
            at = &a->next;
            h->added_tail = at;
        }
    }
}

void http_head_remove(struct http_head *h, struct str name)
{
    for (unsigned i = 0; i < h->n; i++) {
        struct http_field *f = &h->fields[i];
        if (f->name_len == name.len && !f->dropped && http_name_alike(http_field_name(h, f), name))
            f->dropped = true;
    }
    if (h->added)
        remove_added(h, HEADER_OTHER, name);
}

void http_head_remove_id(struct http_head *h, enum header_id id)
{
    for (unsigned i = 0; h->ids & HEADER_BIT(id) && i < h->n; i++)
        if (h->fields[i].id == id)
            h->fields[i].dropped = true;
    if (h->added)
        remove_added(h, id, (struct str){NULL, 0});
}

void http_head_set(struct http_head *h, struct arena *arena, struct str name, struct str value)
{
    http_head_remove(h, name);
    http_head_add(h, arena, name, value);
}

#define HOP_BY_HOP (HEADER_BIT(HEADER_CONNECTION) | HEADER_BIT(HEADER_KEEP_ALIVE) | HEADER_BIT(HEADER_PROXY_CONNECTION) | \
                    HEADER_BIT(HEADER_TE) | HEADER_BIT(HEADER_TRAILER) | HEADER_BIT(HEADER_TRANSFER_ENCODING) | \
                    HEADER_BIT(HEADER_UPGRADE) | HEADER_BIT(HEADER_HTTP2_SETTINGS) | HEADER_BIT(HEADER_PROXY_AUTHENTICATE) | \
                    HEADER_BIT(HEADER_PROXY_AUTHORIZATION) | HEADER_BIT(HEADER_PROXY_AUTHENTICATION_INFO))

static bool is_hop_by_hop(enum header_id id) { return HOP_BY_HOP & HEADER_BIT(id); }

/* What a client may not take away by listing it in Connection. */
static bool is_needed(enum header_id id)
{
    switch (id) {
    case HEADER_HOST:
    case HEADER_CONTENT_LENGTH:
    case HEADER_VIA:
    case HEADER_FORWARDED:
    case HEADER_X_FORWARDED_FOR:
    case HEADER_X_FORWARDED_PROTO:
    case HEADER_X_FORWARDED_HOST:
    case HEADER_X_FORWARDED_PORT:
    case HEADER_X_REAL_IP:
    case HEADER_X_REQUEST_ID:
    case HEADER_MAX_FORWARDS:
    case HEADER_DATE:
        return true;
    default:
        return false;
    }
}

static void drop_option(struct http_head *h, struct str option)
{
    enum header_id id = header_id(option);

    if (is_needed(id) || is_hop_by_hop(id))
        return;
    for (unsigned i = 0; i < h->n; i++)
        if (is_field(h, &h->fields[i], id, option))
            h->fields[i].dropped = true;
}

/* "close" and "keep-alive" alone are what nearly all have: then there is nothing to look for. */
static void drop_listed(struct http_head *h, struct str list)
{
    struct str option;

    while (str_list_next(&list, &option))
        if (!CHAR_SAME(option, "close") && !CHAR_SAME(option, "keep-alive"))
            drop_option(h, option);
}

static __attribute__((noinline)) void drop_hop_by_hop(struct http_head *h)
{
    for (unsigned i = 0; i < h->n; i++) {
        struct http_field *f = &h->fields[i];
        if (f->id == HEADER_CONNECTION && !f->dropped)
            drop_listed(h, http_field_value(h, f));
        if (is_hop_by_hop(f->id))
            f->dropped = true;
    }
}

void http_head_drop_hop_by_hop(struct http_head *h)
{
    if (h->ids & HOP_BY_HOP)
        drop_hop_by_hop(h);
}

/*
 * Names that must not come late (RFC 9110 6.5.1): a recipient that merged them into the head would frame, route,
 * authenticate, cache or interpret the message anew. A "-" at the end stands for all that begin so.
 */
static const char *const not_in_trailers[] = {
    "accept", "accept-", "access-control-", "age", "allow", "alt-svc", "authentication-info", "cache-control",
    "clear-site-data",
    "content-", "cookie", "cookie2", "cross-origin-", "early-data", "expires", "from", "if-", "link", "origin",
    "pragma",
    "priority", "proxy", "proxy-", "range", "referer", "refresh", "retry-after", "sec-", "set-cookie", "set-cookie2",
    "strict-transport-security", "user-agent", "vary", "warning", "www-authenticate", "x-api-key", "x-forwarded-",
    "x-http-method", "x-http-method-override", "x-method-override", "x-original-", "x-rewrite-url", "x-accel-",
};

bool http_trailer_allowed(struct str name)
{
    char buf[FOLD_MAX];
    struct str n = fold_name(name, buf);

    if (header_id(n) != HEADER_OTHER)
        return false;
    if (str_eq(n, STR("content-digest")))
        return true;      /* RFC 9530: made to be sent there */
    for (size_t i = 0; i < sizeof(not_in_trailers) / sizeof(not_in_trailers[0]); i++) {
        struct str bad = str_c(not_in_trailers[i]);
        if (bad.at[bad.len - 1] == '-' ? str_starts(n, bad) : str_eq(n, bad))
            return false;
    }
    return true;
}

bool http_is_token(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!char_is(s.at[i], CHAR_TOKEN))
            return false;
    return s.len > 0;
}

bool http_is_field_value(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!char_is(s.at[i], CHAR_VALUE))
            return false;
    return true;
}
