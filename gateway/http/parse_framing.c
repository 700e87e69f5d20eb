/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fields say about the message itself: its length (RFC 9112 6), its host, whether the connection stays,
 * upgrades, expectations. This is where requests are smuggled, so there is one reading or none:
 *
 *   - Content-Length: one line, one number. No list, not even of equals.
 *   - Transfer-Encoding: one line, just "chunked", never with Content-Length, never in HTTP/1.0.
 *   - Host: one, a plain authority, and the same as an absolute target's.
 *   - Authorization: at most one, so that who checks it and who reads it behind us see the same.
 *
 * RFC 9112 would let a proxy mend some of this. We do not: nobody who means well sends it.
 */
#include "http/char.h"
#include "http/parse_impl.h"
#include "http/uri.h"

static bool saw(struct http_parser *p, enum parse_seen bit)
{
    bool before = (p->seen & bit) != 0;
    p->seen |= (uint16_t)bit;
    return before;
}

/*
 * Most hosts are at most 16 bytes of letters, digits, "-" and dots, perhaps with a port of up to four digits: those
 * are known from one block. false: not surely one. A Host field has more than 16 bytes of head before its value's end.
 */
static bool is_plain_host(struct str s)
{
#ifdef __SSE2__
    if (s.len == 0 || s.len > 16)
        return false;
    __m128i v = char_block(s.at + s.len - 16);
    unsigned skip = 16 - (unsigned)s.len, all = 0xffffu >> skip;
    unsigned dot = (unsigned)_mm_movemask_epi8(char_equal(v, '.')) >> skip;
    unsigned colon = (unsigned)_mm_movemask_epi8(char_equal(v, ':')) >> skip;
    unsigned plain = (char_not_plain(v) ^ 0xffff) >> skip;
    unsigned end = colon ? colon : all + 1;       /* the bit behind the name, if there is but one colon */
    bool name = (plain | dot | colon) == all && !(dot & ((dot << 1) | 1)) && end != 1;
    if (!name || !colon)
        return name;
    unsigned digits = (unsigned)_mm_movemask_epi8(char_between(v, '0', '9')) >> skip;
    unsigned port = all & ~(colon | (colon - 1));
    return !(colon & (colon - 1)) && port && !(port & ~digits) && port < colon << 5 &&
           s.at[__builtin_ctz(port)] != '0';
#else
    (void)s;
    return false;
#endif
}

static enum http_fault take_host(struct http_parser *p, const char *base, struct str value)
{
    if (saw(p, SEEN_HOST))
        return FAULT_HOST_MANY;
    if (!is_plain_host(value) && !uri_is_authority(value))
        return FAULT_HOST_SYNTAX;
    if (!p->absolute) {
        p->host_at = (uint32_t)(value.at - base);
        p->host_len = (uint32_t)value.len;
    }
    return FAULT_NONE;
}

static enum http_fault take_length(struct http_parser *p, struct str value)
{
    if (saw(p, SEEN_LENGTH))
        return FAULT_LENGTH_MANY;
    if (!str_u64(value, &p->content_length) || p->content_length > INT64_MAX)
        return FAULT_LENGTH;
    return FAULT_NONE;
}

/* Not "chunked": is it at least a list of codings in which chunked comes last, if at all? */
static enum http_fault other_coding(struct str list)
{
    bool chunked = false;

    while (true) {
        const char *comma = list.len ? memchr(list.at, ',', list.len) : NULL;
        struct str coding = str_trim(str_of(list.at, comma ? (size_t)(comma - list.at) : list.len));
        if (chunked || !http_is_token(coding))
            return FAULT_ENCODING_SYNTAX;
        chunked = str_eq_nocase(coding, STR("chunked"));
        if (!comma)
            return FAULT_ENCODING;
        list = str_of(comma + 1, list.len - (size_t)(comma + 1 - list.at));
    }
}

static enum http_fault take_encoding(struct http_parser *p, struct str value)
{
    /* Anything but the plain word is refused at once, so a line that got this far was "chunked". */
    if (saw(p, SEEN_CHUNKED))
        return FAULT_ENCODING_MANY;
    return CHAR_SAME(value, "chunked") ? FAULT_NONE : other_coding(value);
}

static void take_option(struct http_parser *p, struct str option)
{
    if (CHAR_SAME(option, "keep-alive"))
        saw(p, SEEN_KEEP_ALIVE);
    else if (CHAR_SAME(option, "close"))
        saw(p, SEEN_CLOSE);
    else if (CHAR_SAME(option, "upgrade"))
        saw(p, SEEN_OPTION_UPGRADE);
}

/* Each option is looked up among the fields later: without a bound a list of thousands would cost a hundred times
 * that. */
static enum http_fault take_connection(struct http_parser *p, struct str value)
{
    struct str option;

    if (CHAR_SAME(value, "keep-alive")) {
        saw(p, SEEN_KEEP_ALIVE);
        return FAULT_NONE;
    }
    while (str_list_next(&value, &option)) {
        if (++p->options > HTTP_FIELDS_MAX)
            return FAULT_CONNECTION;
        take_option(p, option);
    }
    return FAULT_NONE;
}

/* HTTP/2 over the same connection is another protocol's front door: it is never passed on as an upgrade. */
static void take_upgrade(struct http_parser *p, struct str value)
{
    struct str protocol;

    while (str_list_next(&value, &protocol))
        saw(p, protocol.len >= 2 && char_same(protocol.at, "h2", 2) ? SEEN_UPGRADE_H2 : SEEN_UPGRADE);
}

static enum http_fault take_expect(struct http_parser *p, struct str value)
{
    struct str expectation;

    while (str_list_next(&value, &expectation)) {
        if (!str_eq_nocase(expectation, STR("100-continue")))
            return FAULT_EXPECT;
        saw(p, SEEN_EXPECT);
    }
    return FAULT_NONE;
}

static void take_te(struct http_parser *p, struct str value)
{
    struct str coding;

    while (str_list_next(&value, &coding))
        if (str_eq_nocase(coding, STR("trailers")))
            p->te_trailers = true;
}

/* Of a request alone. */
static enum http_fault request_field(struct http_parser *p, enum header_id id, struct str value)
{
    switch (id) {
    case HEADER_EXPECT:
        return take_expect(p, value);
    case HEADER_TE:
        take_te(p, value);
        return FAULT_NONE;
    case HEADER_AUTHORIZATION:
        return saw(p, SEEN_AUTHORIZATION) ? FAULT_CREDENTIALS_MANY : FAULT_NONE;
    default:
        return FAULT_NONE;
    }
}

/* Apart from the two that nearly all messages have: those need none of what reading lists takes. */
static __attribute__((noinline)) enum http_fault take_other(struct http_parser *p, enum header_id id, struct str value)
{
    switch (id) {
    case HEADER_TRANSFER_ENCODING:
        return take_encoding(p, value);
    case HEADER_CONNECTION:
        return take_connection(p, value);
    case HEADER_UPGRADE:
        take_upgrade(p, value);
        return FAULT_NONE;
    default:
        return p->kind == PARSE_REQUEST ? request_field(p, id, value) : FAULT_NONE;
    }
}

enum http_fault parse_field_meaning(struct http_parser *p, const char *base, const struct http_field *f)
{
    struct str value = str_of(base + f->at + f->value_off, f->value_len);

    if (f->id == HEADER_CONTENT_LENGTH)
        return take_length(p, value);
    if (f->id == HEADER_HOST)
        return p->kind == PARSE_REQUEST ? take_host(p, base, value) : FAULT_NONE;
    return take_other(p, (enum header_id)f->id, value);
}

/* RFC 9112 3.2.2 would have us ignore Host beside an absolute target. Two hosts in one request are no accident. */
static enum http_fault check_host(const struct http_parser *p, const char *base)
{
    if (!(p->seen & SEEN_HOST))
        return p->minor == 1 ? FAULT_HOST_MISSING : FAULT_NONE;
    if (!p->absolute)
        return FAULT_NONE;

    struct str target = str_of(base + p->host_at, p->host_len);
    bool tls = base[p->host_at - 4] == 's' || base[p->host_at - 4] == 'S';
    for (unsigned i = 0; i < p->n; i++) {
        const struct http_field *f = &p->fields[i];
        if (f->id == HEADER_HOST &&
            !uri_same_authority(target, str_of(base + f->at + f->value_off, f->value_len), tls ? 443 : 80))
            return FAULT_HOST_MISMATCH;
    }
    return FAULT_NONE;
}

static enum body_kind body_of(const struct http_parser *p)
{
    if (p->seen & SEEN_CHUNKED)
        return BODY_CHUNKED;
    if (p->seen & SEEN_LENGTH)
        return BODY_LENGTH;
    return p->kind == PARSE_REQUEST ? BODY_NONE : BODY_UNTIL_CLOSE;
}

enum http_fault parse_framing(struct http_parser *p, const char *base)
{
    const unsigned upgrade = SEEN_OPTION_UPGRADE | SEEN_UPGRADE;
    unsigned seen = p->seen;

    if ((seen & SEEN_CHUNKED) && (seen & SEEN_LENGTH))
        return FAULT_LENGTH_AND_ENCODING;
    if ((seen & SEEN_CHUNKED) && p->minor == 0)
        return FAULT_ENCODING_10;
    p->body = (uint8_t)body_of(p);
    bool sends = p->body == BODY_CHUNKED || p->content_length > 0;
    bool request = p->kind == PARSE_REQUEST;
    p->keep_alive = !(seen & SEEN_CLOSE) && (p->minor == 1 || (seen & SEEN_KEEP_ALIVE));
    p->upgrade = p->minor == 1 && (seen & (upgrade | SEEN_UPGRADE_H2)) == upgrade && !(request && sends);
    p->expect_continue = p->minor == 1 && (seen & SEEN_EXPECT) && sends;
    /* A 204 that announces a body it cannot have: what follows on the connection is anybody's guess. */
    if (p->status == 204 && sends)
        p->keep_alive = false;
    return request ? check_host(p, base) : FAULT_NONE;
}

enum body_kind http_response_body(const struct http_parser *p, bool head_request)
{
    if (head_request || p->status < 200 || p->status == 204 || p->status == 304)
        return BODY_NONE;
    return (enum body_kind)p->body;
}
