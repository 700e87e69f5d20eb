/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forwarding fields: what is believed, what is added.
 *
 * Lists are read from the right, byte by byte and with quotes counted from the right too: what the trusted proxy wrote
 * last is read the same whatever a caller put before it. A caller's unbalanced quote can hide nothing but the caller's
 * own words.
 *
 * Adding is on the path of every request. From a peer that is not trusted, or says nothing, it is one pass over the
 * field ids and one run of bytes; only a trusted peer's lists are joined. What this file drops is marked
 * FORWARD_DROPPED instead of 1, so that a second call for another attempt finds the lists again.
 *
 * It does not look for loops, and does not judge Via.
 */
#include "forward.h"

#include "http/uri.h"

enum { HOPS_MAX = 32, FORWARD_DROPPED = 2 };

/* Bytes for the fixed parts of all lines, both addresses, and what put_peer() may write too far. */
#define ROOM 320

#define BIT(id) ((uint64_t)1 << (id))
#define LINE_FOR BIT(HEADER_X_FORWARDED_FOR)
#define LINE_PROTO BIT(HEADER_X_FORWARDED_PROTO)
#define LINE_HOST BIT(HEADER_X_FORWARDED_HOST)
#define LINE_FORWARDED BIT(HEADER_FORWARDED)
#define LINES_X (LINE_FOR | LINE_PROTO | LINE_HOST)
#define LINES_ALL (LINES_X | LINE_FORWARDED)
#define ONLY_TRUSTED (LINES_ALL | BIT(HEADER_X_REAL_IP) | BIT(HEADER_X_FORWARDED_PORT))

bool forward_trusts(const struct cidrs *trusted, const struct ip *ip)
{
    for (size_t i = 0; i < trusted->n; i++)
        if (cidr_holds(&trusted->v[i], ip))
            return true;
    return false;
}

/* ---- reading ---- */

/* A port behind a node: digits, or a hidden one (RFC 7239 6). */
static bool port_ok(struct str s)
{
    uint64_t port;
    if (s.len > 1 && s.at[0] == '_')
        return http_is_token(s);
    return s.len <= 5 && str_u64(s, &port) && port <= 65535;
}

/* "1.2.3.4", "1.2.3.4:80", "::1", "[::1]", "[::1]:80". */
static bool node_ip(struct str s, struct ip *ip)
{
    if (s.len && s.at[0] == '[') {
        const char *end = memchr(s.at, ']', s.len);
        if (!end)
            return false;
        size_t used = (size_t)(end + 1 - s.at);
        if (used < s.len && (s.at[used] != ':' || !port_ok(str_of(s.at + used + 1, s.len - used - 1))))
            return false;
        struct str inner = str_of(s.at + 1, used - 2);
        return inner.len && memchr(inner.at, ':', inner.len) && ip_parse(inner, ip);
    }
    const char *colon = s.len ? memchr(s.at, ':', s.len) : NULL;
    const char *dot = s.len ? memchr(s.at, '.', s.len) : NULL;
    if (colon && dot && dot < colon) {
        size_t used = (size_t)(colon - s.at);
        return port_ok(str_of(colon + 1, s.len - used - 1)) && ip_parse(str_of(s.at, used), ip);
    }
    return ip_parse(s, ip);
}

static bool is_escaped(struct str s, size_t at)
{
    size_t n = 0;
    while (n < at && s.at[at - 1 - n] == '\\')
        n++;
    return n % 2;
}

/* Takes the last element off a comma-separated list, empty ones skipped. With `quotes`, commas within quoted strings do
 * not divide; *ok is false when the quotes do not pair up. */
static bool list_take_last(struct str *list, bool quotes, struct str *element, bool *ok)
{
    *ok = true;
    while (list->len) {
        size_t i = list->len;
        bool inside = false;
        while (i && (inside || list->at[i - 1] != ',')) {
            i--;
            if (!quotes || list->at[i] != '"')
                continue;
            if (!is_escaped(*list, i))
                inside = !inside;
            else if (!inside)
                *ok = false;
        }
        *ok = *ok && !inside;
        *element = str_trim(str_of(list->at + i, list->len - i));
        list->len = i ? i - 1 : 0;
        if (element->len)
            return true;
    }
    return false;
}

/* Splits one `name=value` off the front of a Forwarded element; the value without its quotes. */
static bool pair_take(struct str *rest, struct str *name, struct str *value)
{
    const char *eq = memchr(rest->at, '=', rest->len);
    if (!eq)
        return false;
    *name = str_of(rest->at, (size_t)(eq - rest->at));
    struct str s = str_of(eq + 1, rest->len - name->len - 1);
    size_t i = 0;

    if (s.len && s.at[0] == '"') {
        for (i = 1; i < s.len && s.at[i] != '"'; i++)
            i += s.at[i] == '\\';
        if (i >= s.len)
            return false;
        *value = str_of(s.at + 1, i - 1);
        i++;
    } else {
        while (i < s.len && s.at[i] != ';')
            i++;
        *value = str_trim(str_of(s.at, i));
        i = value->len;
    }
    *rest = str_trim(str_of(s.at + i, s.len - i));
    if (rest->len && rest->at[0] != ';')
        return false;
    if (rest->len)
        *rest = str_trim(str_of(rest->at + 1, rest->len - 1));
    return true;
}

/* The address in the one `for` of a Forwarded element. */
static bool element_ip(struct str element, struct ip *ip)
{
    struct str name, value, node = {NULL, 0};

    while (element.len) {
        if (!pair_take(&element, &name, &value))
            return false;
        if (!str_eq_nocase(name, STR("for")))
            continue;
        if (node.at)
            return false;
        node = value;
    }
    return node.at && node_ip(node, ip);
}

static bool has_field(const struct http_head *h, enum header_id id)
{
    for (unsigned i = 0; i < h->n; i++)
        if (h->fields[i].id == id && !h->fields[i].dropped)
            return true;
    return false;
}

void forward_client_ip(const struct http_head *h, const struct ip *peer, const struct cidrs *trusted, struct ip *client)
{
    *client = *peer;
    if (trusted->n == 0 || !forward_trusts(trusted, peer))
        return;

    enum header_id id = has_field(h, HEADER_X_FORWARDED_FOR) ? HEADER_X_FORWARDED_FOR : HEADER_FORWARDED;
    bool quotes = id == HEADER_FORWARDED;
    unsigned hops = 0;
    for (unsigned i = h->n; i-- > 0;) {
        const struct http_field *f = &h->fields[i];
        if (f->id != id || f->dropped)
            continue;
        struct str list = http_field_value(h, f), element;
        bool ok;
        while (list_take_last(&list, quotes, &element, &ok)) {
            struct ip hop;
            if (!ok || hops++ == HOPS_MAX || !(quotes ? element_ip(element, &hop) : node_ip(element, &hop)))
                return;
            *client = hop;
            if (!forward_trusts(trusted, &hop))
                return;
        }
    }
}

static bool is_tls(struct str proto) { return str_eq_nocase(proto, STR("https")) || str_eq_nocase(proto, STR("wss")); }

static bool element_says_https(struct str rest, bool pairs)
{
    struct str name, value;
    if (!pairs)
        return is_tls(rest);
    while (rest.len && pair_take(&rest, &name, &value))
        if (str_eq_nocase(name, STR("proto")) && is_tls(value))
            return true;
    return false;
}

bool forward_says_https(const struct http_head *h)
{
    for (unsigned i = 0; i < h->n; i++) {
        const struct http_field *f = &h->fields[i];
        if (f->dropped || (f->id != HEADER_X_FORWARDED_PROTO && f->id != HEADER_FORWARDED))
            continue;
        bool pairs = f->id == HEADER_FORWARDED, ok;
        struct str list = http_field_value(h, f), element;
        while (list_take_last(&list, pairs, &element, &ok))
            if (ok && element_says_https(element, pairs))
                return true;
    }
    return false;
}

/* ---- writing ---- */

static inline char *put(char *p, const void *at, size_t len) { return (char *)memcpy(p, at, len) + len; }
#define PUT(p, lit) put(p, lit, sizeof(lit) - 1)

/* Copies a constant number of bytes and counts those that are meant: the room behind is ours, and is written next. */
static inline char *put_peer(char *p, const struct forward_peer *peer)
{
    if (peer->len <= 16)
        memcpy(p, peer->text, 16);
    else
        memcpy(p, peer->text, sizeof(peer->text));
    return p + peer->len;
}

static inline char *put_forwarded_element(char *p, const struct forward_args *a)
{
    if (a->peer->family == 4)
        p = put_peer(PUT(p, "for="), a->peer);
    else if (a->peer->family == 6)
        p = PUT(put_peer(PUT(p, "for=\"["), a->peer), "]\"");
    else
        p = PUT(p, "for=unknown");
    if (a->host.len && memchr(a->host.at, ':', a->host.len)) {       /* the rest of an authority is tchar */
        p = put(PUT(p, ";host=\""), a->host.at, a->host.len);
        p = PUT(p, "\"");
    } else if (a->host.len) {
        p = put(PUT(p, ";host="), a->host.at, a->host.len);
    }
    return a->tls ? PUT(p, ";proto=https\r\n") : PUT(p, ";proto=http\r\n");
}

/* The values of all lines of `id` that came, each with ", " behind it. */
static char *put_list(char *p, const struct http_head *h, enum header_id id)
{
    for (unsigned i = 0; i < h->n; i++) {
        const struct http_field *f = &h->fields[i];
        if (f->id != id || f->dropped != FORWARD_DROPPED || f->value_len == 0)
            continue;
        p = put(p, h->base + f->at + f->value_off, f->value_len);
        p = PUT(p, ", ");
    }
    return p;
}

static size_t list_size(const struct http_head *h)
{
    size_t size = 0;
    for (unsigned i = 0; i < h->n; i++)
        if (BIT(h->fields[i].id) & (LINE_FOR | LINE_FORWARDED))
            size += (size_t)h->fields[i].value_len + 2;
    return size;
}

/* X-Forwarded-Server, X-Forwarded-Prefix and others that have no id. Two bytes tell most apart. */
static inline bool is_x_forwarded(const char *name, size_t len)
{
    return (name[0] | 0x20) == 'x' && len > 12 && (name[2] | 0x20) == 'f' &&
           str_eq_nocase(str_of(name, 12), STR("x-forwarded-"));
}

static void drop_untrusted(struct http_head *h)
{
    const char *base = h->base;

    for (struct http_field *f = h->fields, *last = f + h->n; f < last; f++) {
        bool drop = f->id == HEADER_OTHER ? is_x_forwarded(base + f->at, f->name_len)
                                          : (ONLY_TRUSTED & BIT(f->id)) != 0;
        if (drop && !f->dropped)
            f->dropped = FORWARD_DROPPED;
    }
}

static bool value_ok(enum header_id id, struct str value)
{
    if (id == HEADER_X_FORWARDED_HOST)
        return uri_is_authority(value);
    return str_eq_nocase(value, STR("http")) || str_eq_nocase(value, STR("https"));
}

/* Is there one well-formed line that may stay? If not, all of them are dropped. */
static bool keep_single(struct http_head *h, enum header_id id)
{
    struct http_field *only = NULL;
    bool keep = true;

    for (unsigned i = 0; i < h->n; i++) {
        struct http_field *f = &h->fields[i];
        if (f->id != id || f->dropped == 1)
            continue;
        f->dropped = FORWARD_DROPPED;
        keep = keep && !only;
        only = f;
    }
    keep = keep && only && value_ok(id, http_field_value(h, only));
    if (keep)
        only->dropped = 0;
    return keep;
}

/* Which lines came from a trusted peer; drops the lists that are to be joined. */
static uint64_t take_trusted(struct http_head *h)
{
    uint64_t came = 0;

    for (unsigned i = 0; i < h->n; i++) {
        struct http_field *f = &h->fields[i];
        if (!(LINES_ALL & BIT(f->id)) || f->dropped == 1)
            continue;
        came |= BIT(f->id);
        if (BIT(f->id) & (LINE_FOR | LINE_FORWARDED))
            f->dropped = FORWARD_DROPPED;
    }
    return came;
}

/* Which lines we write for a trusted peer, given which came. */
static uint64_t lines_trusted(struct http_head *h, uint64_t came)
{
    uint64_t lines = LINES_ALL;

    if ((came & LINES_X) && !(came & LINE_FORWARDED))
        lines &= ~LINE_FORWARDED;
    if ((came & LINE_FORWARDED) && !(came & LINES_X))
        lines &= ~LINES_X;
    if ((came & LINE_PROTO) && keep_single(h, HEADER_X_FORWARDED_PROTO))
        lines &= ~LINE_PROTO;
    if ((came & LINE_HOST) && keep_single(h, HEADER_X_FORWARDED_HOST))
        lines &= ~LINE_HOST;
    return lines;
}

/* What a filter set is not said twice; what came of that name went when it was set. */
static uint64_t lines_not_added(const struct http_head *h, uint64_t lines)
{
    for (const struct http_added *a = h->added; a; a = a->next)
        lines &= ~BIT(header_id(a->name));
    return lines;
}

void forward_peer_init(struct forward_peer *p, const struct ip *ip)
{
    memset(p->text, 0, sizeof(p->text));
    p->family = ip->family;
    p->len = (uint8_t)ip_format(ip, p->text);
}

struct str forward_request(struct http_head *h, struct arena *arena, const struct forward_args *a)
{
    uint64_t lines = LINES_ALL, came = 0;
    size_t room = ROOM + 2 * a->host.len;

    if (!a->trusted)
        drop_untrusted(h);
    else if ((came = take_trusted(h)) != 0)
        lines = lines_trusted(h, came);
    if (came & (LINE_FOR | LINE_FORWARDED))
        room += list_size(h);
    if (h->added)
        lines = lines_not_added(h, lines);
    if (a->host.len == 0)
        lines &= ~LINE_HOST;
    if (a->peer->family == 0 && !(came & LINE_FOR))
        lines &= ~LINE_FOR;

    char *block = arena_alloc(arena, room), *p = block;
    p = h->minor ? PUT(p, "Via: 1.1 weir\r\n") : PUT(p, "Via: 1.0 weir\r\n");
    if (lines & LINE_FOR) {
        p = PUT(p, "X-Forwarded-For: ");
        if (came & LINE_FOR)
            p = put_list(p, h, HEADER_X_FORWARDED_FOR);
        p = a->peer->family ? put_peer(p, a->peer) : PUT(p, "unknown");
        p = PUT(p, "\r\n");
    }
    if (lines & LINE_PROTO)
        p = a->tls ? PUT(p, "X-Forwarded-Proto: https\r\n") : PUT(p, "X-Forwarded-Proto: http\r\n");
    if (lines & LINE_HOST)
        p = PUT(put(PUT(p, "X-Forwarded-Host: "), a->host.at, a->host.len), "\r\n");
    if (lines & LINE_FORWARDED) {
        p = PUT(p, "Forwarded: ");
        if (came & LINE_FORWARDED)
            p = put_list(p, h, HEADER_FORWARDED);
        p = put_forwarded_element(p, a);
    }
    check((size_t)(p - block) <= room);
    return str_of(block, (size_t)(p - block));
}

struct str forward_via(unsigned minor) { return minor ? STR("Via: 1.1 weir\r\n") : STR("Via: 1.0 weir\r\n"); }
