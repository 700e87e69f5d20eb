/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Canonical paths, authorities and query parameters; uri.h says what each is.
 *
 * A path is first read without writing: nearly all are canonical as they come, and are handed back as they are. Only
 * the others are written anew, never longer than they were. Both readings share one rule for a byte (unit_at), so that
 * they cannot disagree about what is canonical.
 *
 * What cannot be read in one way alone is refused: an encoded "/" or "\" (some servers decode them before they split,
 * some do not), NUL, and dot segments with a parameter ("..;x", which some servers climb with and some keep).
 */
#include "http/uri.h"
#include "http/char.h"
#include <arpa/inet.h>

#define AUTHORITY_MAX 255

/* One character of a path: what it is written as. */
struct unit {
    unsigned len;            /* bytes it takes where it stands; 0: it may not stand there */
    char out[3];
    unsigned out_len;
};

static struct unit unit_escape(struct str path, size_t i)
{
    if (path.len - i < 3 || !char_is(path.at[i + 1], CHAR_HEX) || !char_is(path.at[i + 2], CHAR_HEX))
        return (struct unit){.len = 0};
    char c = (char)(char_hex(path.at[i + 1]) << 4 | char_hex(path.at[i + 2]));
    if (c == '/' || c == '\\' || c == '\0')
        return (struct unit){.len = 0};
    if (char_is(c, CHAR_HOST))
        return (struct unit){.len = 3, .out = {c}, .out_len = 1};
    static const char hex[] = "0123456789ABCDEF";
    return (struct unit){.len = 3, .out = {'%', hex[(unsigned char)c >> 4], hex[c & 15]}, .out_len = 3};
}

static struct unit unit_at(struct str path, size_t i)
{
    char c = path.at[i];

    if (c == '%')
        return unit_escape(path, i);
    return (struct unit){.len = char_is(c, CHAR_PATH), .out = {c}, .out_len = 1};
}

enum segment { SEGMENT_PLAIN, SEGMENT_DOT, SEGMENT_DOTS, SEGMENT_BAD };

/* A segment, decoded. */
static enum segment segment_of(const char *at, size_t len)
{
    size_t dots = 0;

    while (dots < len && dots < 3 && at[dots] == '.')
        dots++;
    if (dots == 0 || dots == 3)
        return SEGMENT_PLAIN;
    if (dots < len)
        return at[dots] == ';' ? SEGMENT_BAD : SEGMENT_PLAIN;
    return dots == 1 ? SEGMENT_DOT : SEGMENT_DOTS;
}

/* Is the path canonical as it stands? URI_SAME, URI_BAD, or URI_OK: it must be written anew. */
static enum uri_result look(struct str path)
{
    size_t segment = 1;

    for (size_t i = 1; i < path.len;) {
        struct unit u = {.len = 1, .out_len = 1};
        if (path.at[i] == '%' || !char_is(path.at[i], CHAR_PATH))
            u = unit_at(path, i);
        if (u.len == 0)
            return URI_BAD;
        if (u.len == 3 && (u.out_len == 1 || memcmp(u.out, path.at + i, 3) != 0))
            return URI_OK;
        if (path.at[i] == '/') {
            if (i == segment || segment_of(path.at + segment, i - segment) != SEGMENT_PLAIN)
                return URI_OK;
            segment = i + 1;
        }
        i += u.len;
    }
    return segment_of(path.at + segment, path.len - segment) == SEGMENT_PLAIN ? URI_SAME : URI_OK;
}

/* A segment that was written to out[from..to) is whole: keeps it, or takes it away, and perhaps the one before.
 * Returns where the next one is written, behind a "/"; 0: refused. */
static size_t end_segment(const char *out, size_t from, size_t to)
{
    switch (segment_of(out + from, to - from)) {
    case SEGMENT_BAD:
        return 0;
    case SEGMENT_DOT:
        return from;
    case SEGMENT_DOTS:
        if (from == 1)
            return 0;
        for (from--; out[from - 1] != '/'; from--)
            ;
        return from;
    default:
        return to;
    }
}

/* Writes the canonical form of `path`, which begins with "/", to `out`; returns its length, 0: refused. */
static size_t rewrite(struct str path, char *out)
{
    size_t segment = 1, n = 1;

    out[0] = '/';
    for (size_t i = 1; i < path.len;) {
        struct unit u = unit_at(path, i);
        if (u.len == 0)
            return 0;
        i += u.len;
        if (u.out[0] != '/') {
            memcpy(out + n, u.out, u.out_len);
            n += u.out_len;
            continue;
        }
        size_t kept = end_segment(out, segment, n);
        if (kept == 0)
            return 0;
        if (kept == n && n > segment)
            out[kept++] = '/';
        segment = n = kept;
    }
    return end_segment(out, segment, n);
}

enum uri_result uri_normalise(struct arena *arena, struct str target, struct str *path, struct str *query)
{
    const char *mark = target.len ? memchr(target.at, '?', target.len) : NULL;
    struct str p = str_of(target.at, mark ? (size_t)(mark - target.at) : target.len);
    struct str q = mark ? str_of(mark + 1, target.len - p.len - 1) : (struct str){NULL, 0};
    enum uri_result r = URI_SAME;

    if (p.len == 0) {
        p = STR("/");
        r = URI_OK;
    } else if (p.at[0] == '/') {
        r = look(p);
    } else if (!str_eq(target, STR("*"))) {
        r = URI_BAD;
    }
    if (r == URI_OK && p.len > 1) {
        char *out = arena_alloc(arena, p.len);
        p = str_of(out, rewrite(p, out));
        r = p.len ? URI_OK : URI_BAD;
    }
    if (r == URI_BAD)
        return r;
    *path = p;
    *query = q;
    return r;
}

/* Labels of unreserved characters with a dot between them; one dot may end the name. Takes that off. */
static bool take_name(struct str *name)
{
    size_t n = name->len;

    if (n > 1 && name->at[n - 1] == '.')
        n--;
    for (size_t i = 0; i < n; i++)
        if (!char_is(name->at[i],
            CHAR_HOST) || (name->at[i] == '.' && (i == 0 || i + 1 == n || name->at[i - 1] == '.')))
            return false;
    name->len = n;
    return n > 0;
}

static bool is_ipv6(struct str s)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr addr;

    if (s.len >= sizeof(text) || memchr(s.at, '\0', s.len))
        return false;
    memcpy(text, s.at, s.len);
    text[s.len] = '\0';
    return inet_pton(AF_INET6, text, &addr) == 1;
}

/* "" or ":" and at most a port. */
static bool take_port(struct str s, unsigned *port)
{
    unsigned n = 0;

    *port = 0;
    if (s.len == 0)
        return true;
    if (s.at[0] != ':')
        return false;
    for (size_t i = 1; i < s.len; i++) {
        if (!char_is(s.at[i], CHAR_DIGIT))
            return false;
        n = n * 10 + (unsigned)(s.at[i] - '0');
        if (n > 65535)
            return false;
    }
    *port = n;
    return s.len == 1 || n > 0;
}

bool uri_split_authority(struct str authority, struct str *host, unsigned *port)
{
    if (authority.len == 0 || authority.len > AUTHORITY_MAX)
        return false;
    bool v6 = authority.at[0] == '[';
    const char *end = memchr(authority.at, v6 ? ']' : ':', authority.len);
    if (!end && v6)
        return false;
    size_t n = end ? (size_t)(end - authority.at) : authority.len;
    size_t rest = n + v6;

    *host = str_of(authority.at + v6, n - v6);
    return (v6 ? is_ipv6(*host) : take_name(host)) &&
           take_port(str_of(authority.at + rest, authority.len - rest), port);
}

bool uri_is_authority(struct str authority)
{
    struct str host;
    unsigned port;

    return uri_split_authority(authority, &host, &port);
}

bool uri_same_authority(struct str a, struct str b, unsigned port)
{
    struct str host_a, host_b;
    unsigned port_a, port_b;

    if (!uri_split_authority(a, &host_a, &port_a) || !uri_split_authority(b, &host_b, &port_b))
        return false;
    return str_eq_nocase(host_a, host_b) && (port_a ? port_a : port) == (port_b ? port_b : port);
}

/* The byte that a query holds at raw[*i], decoded; moves *i behind it. */
static char decoded_at(struct str raw, size_t *i)
{
    char c = raw.at[(*i)++];

    if (c == '+')
        return ' ';
    if (c != '%' || raw.len - *i < 2 || !char_is(raw.at[*i], CHAR_HEX) || !char_is(raw.at[*i + 1], CHAR_HEX))
        return c;
    c = (char)(char_hex(raw.at[*i]) << 4 | char_hex(raw.at[*i + 1]));
    *i += 2;
    return c;
}

/* Is `raw`, decoded, equal to `name`? */
static bool decoded_is(struct str raw, struct str name)
{
    size_t n = 0;

    for (size_t i = 0; i < raw.len; n++) {
        char c = decoded_at(raw, &i);
        if (n >= name.len || name.at[n] != c)
            return false;
    }
    return n == name.len;
}

/* "name=value" or "name" alone; is it of that name? */
static bool pair_is(struct str pair, struct str name, struct str *value)
{
    const char *equals = pair.len ? memchr(pair.at, '=', pair.len) : NULL;
    size_t n = equals ? (size_t)(equals - pair.at) : pair.len;

    if (pair.len == 0 || !decoded_is(str_of(pair.at, n), name))
        return false;
    *value = equals ? str_of(equals + 1, pair.len - n - 1) : str_of(pair.at + n, 0);
    return true;
}

bool uri_query_get(struct str query, struct str name, struct str *value)
{
    while (query.len) {
        const char *end = memchr(query.at, '&', query.len);
        struct str pair = str_of(query.at, end ? (size_t)(end - query.at) : query.len);
        if (pair_is(pair, name, value))
            return true;
        query = end ? str_of(end + 1, query.len - pair.len - 1) : str_of(query.at + query.len, 0);
    }
    return false;
}

bool uri_query_get_once(struct str query, struct str name, struct str *value, bool *repeated)
{
    char before = '&';
    bool found = false;

    *repeated = false;
    for (size_t i = 0, from = 0; query.len && i <= query.len; i++) {
        char after = i < query.len ? query.at[i] : '&';
        if (after != '&' && after != ';')
            continue;
        struct str at;
        if (pair_is(str_of(query.at + from, i - from), name, &at)) {
            *repeated = *repeated || found || before == ';' || after == ';';
            *value = found ? *value : at;
            found = true;
        }
        from = i + 1;
        before = after;
    }
    return found;
}

bool uri_query_is_encoded(struct str raw)
{
    return raw.len && (memchr(raw.at, '%', raw.len) || memchr(raw.at, '+', raw.len));
}

size_t uri_query_decode(struct str raw, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < raw.len; n++)
        out[n] = decoded_at(raw, &i);
    return n;
}

size_t uri_segment_decode(struct str raw, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < raw.len; n++)
        out[n] = raw.at[i] == '+' ? raw.at[i++] : decoded_at(raw, &i);
    return n;
}
