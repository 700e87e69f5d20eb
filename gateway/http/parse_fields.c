/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The field section of a head, or a trailer section (RFC 9112 5): name ":" OWS value OWS CRLF, until an empty line. It
 * finds the lines and checks every byte; what a field means is for parse_framing.c.
 *
 * The line being read is fields[n], not counted yet. `pos` moves on with each call, so that a line which comes byte by
 * byte is looked at once; only a CR at the end of what has come is read twice.
 *
 * Nearly all lines are plain, and whole when they are reached: read_plain() takes those in one go. Whatever it does
 * not like it leaves to the states, which take the same line from its beginning, once, and know what is wrong with it.
 *
 * A name that holds anything but letters, digits and "-" may be another spelling of a known name ("X_Forwarded_For").
 * While the line is read, `dropped` holds whether such a byte was seen.
 */
#include "http/char.h"
#include "http/parse_impl.h"

static enum http_fault bad_name(const struct http_parser *p, char c, uint32_t at)
{
    if (c == ' ' || c == '\t')
        return at == p->line ? FAULT_FOLD : FAULT_FIELD_SPACE;
    return c == '\n' ? FAULT_LINE_END : FAULT_FIELD_NAME;
}

static enum parse field_name(struct http_parser *p, const char *base, uint32_t end)
{
    struct http_field *f = &p->fields[p->n];
    uint32_t i = (uint32_t)(char_run_plain(base, base + p->pos, base + end) - base);

    for (; i < end && char_is(base[i], CHAR_TOKEN); i++)
        if (!char_is(base[i], CHAR_PLAIN))
            f->dropped = true;
    p->pos = i;
    if (i == end)
        return PARSE_MORE;
    if (base[i] != ':' || i == p->line)
        return parse_refuse(p, bad_name(p, base[i], i));
    f->at = p->line;
    f->name_len = (uint16_t)(i - p->line);
    p->pos = i + 1;
    p->state = AT_VALUE;
    return PARSE_OK;
}

static bool is_space(char c) { return c == ' ' || c == '\t'; }

/* The fields that say something of the message itself. */
#define MEANINGFUL (HEADER_BIT(HEADER_HOST) | HEADER_BIT(HEADER_CONTENT_LENGTH) | HEADER_BIT(HEADER_TRANSFER_ENCODING) | \
                    HEADER_BIT(HEADER_CONNECTION) | HEADER_BIT(HEADER_UPGRADE) | HEADER_BIT(HEADER_EXPECT) | \
                    HEADER_BIT(HEADER_TE) | HEADER_BIT(HEADER_AUTHORIZATION))

/* Which field it is. Counts it. */
static inline enum header_id name_field(struct http_parser *p, const char *base, struct http_field *f)
{
    enum header_id id = header_id(str_of(base + f->at, f->name_len));
    f->id = (uint8_t)id;
    p->ids |= HEADER_BIT(id);
    p->n++;
    return id;
}

/* A line of a head that was checked and cut: finds out which field it is, and what it says. */
static inline enum http_fault take_field(struct http_parser *p, const char *base, struct http_field *f)
{
    return MEANINGFUL & HEADER_BIT(name_field(p, base, f)) ? parse_field_meaning(p, base, f) : FAULT_NONE;
}

/* The line of `f` ends at `cr`: cuts the value out. */
static enum http_fault field_done(struct http_parser *p, const char *base, struct http_field *f, uint32_t cr)
{
    uint32_t from = f->at + f->name_len + 1, to = cr;
    struct str name = str_of(base + f->at, f->name_len);

    while (from < to && is_space(base[from]))
        from++;
    while (to > from && is_space(base[to - 1]))
        to--;
    f->value_off = (uint16_t)(from - f->at);
    f->value_len = (uint16_t)(to - from);
    f->line_len = (uint16_t)(cr + 2 - f->at);
    if (p->kind == PARSE_TRAILERS)
        f->dropped = !http_trailer_allowed(name);
    else
        f->dropped = f->dropped && p->kind == PARSE_REQUEST && http_name_is_alias(name);
    if (p->kind != PARSE_TRAILERS)
        return take_field(p, base, f);
    (void)name_field(p, base, f);
    return FAULT_NONE;
}

/* From the beginning of a line: cuts whole lines of a plain name and a value with one space before and none behind, as
 * long as they come. Returns how many fields there are then; they are not taken yet. */
static uint32_t cut_plain(struct http_parser *p, const char *base, uint32_t end)
{
    const char *at = base + p->pos, *stop = base + end;
    uint32_t n = p->n;

    for (; n < p->limits.fields; n++) {
        const char *colon = char_run_plain(base, at, stop);
        if (colon == at || stop - colon < 4 || colon[0] != ':' || colon[1] != ' ' || (unsigned char)colon[2] <= ' ')
            break;
        const char *value = colon + 2, *cr = char_run_value(base, value, stop);
        if (stop - cr < 2 || cr[0] != '\r' || cr[1] != '\n' || cr[-1] == ' ')
            break;
        struct http_field *f = &p->fields[n];
        f->at = (uint32_t)(at - base);
        f->name_len = (uint16_t)(colon - at);
        f->value_off = (uint16_t)(value - at);
        f->value_len = (uint16_t)(cr - value);
        f->line_len = (uint16_t)(cr + 2 - at);
        f->dropped = false;
        at = cr + 2;
    }
    p->pos = (uint32_t)(at - base);
    return n;
}

static enum http_fault read_plain(struct http_parser *p, const char *base, uint32_t end)
{
    enum http_fault fault = FAULT_NONE;
    uint32_t n = cut_plain(p, base, end);

    while (fault == FAULT_NONE && p->n < n)
        fault = take_field(p, base, &p->fields[p->n]);
    return fault;
}

static enum parse field_value(struct http_parser *p, const char *base, uint32_t end)
{
    struct http_field *f = &p->fields[p->n];
    uint32_t i = parse_value_run(base, p->pos, end);

    if (i < end && base[i] != '\r' && base[i] != '\n')
        return parse_refuse(p, FAULT_FIELD_VALUE);
    enum parse r = parse_line_end(p, base, end, i, AT_FIELD);
    if (r != PARSE_OK)
        return r;
    enum http_fault fault = field_done(p, base, f, i);
    return fault == FAULT_NONE ? PARSE_OK : parse_refuse(p, fault);
}

/* At the beginning of a line: is it the empty one, or a field? */
static enum parse field_or_end(struct http_parser *p, const char *base, uint32_t end)
{
    enum http_fault fault = p->kind == PARSE_TRAILERS ? FAULT_NONE : read_plain(p, base, end);
    if (fault != FAULT_NONE)
        return parse_refuse(p, fault);
    if (p->pos == end)
        return PARSE_MORE;
    if (base[p->pos] == '\r')
        return parse_line_end(p, base, end, p->pos, AT_END);
    if (p->n == p->limits.fields)
        return parse_refuse(p, p->kind == PARSE_TRAILERS ? FAULT_TRAILER : FAULT_FIELDS_MANY);
    p->line = p->pos;
    p->fields[p->n].dropped = false;
    p->state = AT_NAME;
    return PARSE_OK;
}

enum parse parse_fields(struct http_parser *p, const char *base, uint32_t end)
{
    while (p->state != AT_END) {
        enum parse r = PARSE_OK;
        if (p->state == AT_FIELD)
            r = field_or_end(p, base, end);
        if (r == PARSE_OK && p->state == AT_NAME)
            r = field_name(p, base, end);
        if (r == PARSE_OK && p->state == AT_VALUE)
            r = field_value(p, base, end);
        if (r != PARSE_OK)
            return r;
    }
    p->head_len = p->pos;
    enum http_fault fault = p->kind == PARSE_TRAILERS ? FAULT_NONE : parse_framing(p, base);
    return fault == FAULT_NONE ? PARSE_OK : parse_refuse(p, fault);
}
