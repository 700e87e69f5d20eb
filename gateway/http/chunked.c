/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decoder of the chunked coding: one state a byte of a chunk's line, runs of payload in between.
 *
 *     chunk = 1*HEXDIG *( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] ) CRLF data CRLF
 *
 * The grammar is followed to the letter, because servers disagree exactly where it is not: a LF that ends an
 * extension, a quoted string over two lines, spaces behind a size. Extensions say nothing to us and are dropped; since
 * a sender can make them dwarf the data, their sum is bounded. So is the number of digits, leading zeros included.
 */
#include "http/chunked.h"
#include "http/char.h"

enum state {
    SIZE_FIRST, SIZE,        /* digits; one is needed */
    EXT_END,                 /* BWS behind a size or an extension: only ";" may follow */
    EXT_NAME_FIRST, EXT_NAME,
    EXT_EQUALS,              /* BWS behind a name: "=" or ";" */
    EXT_VALUE_FIRST, EXT_TOKEN, EXT_QUOTED, EXT_ESCAPE,
    EXT_CLOSED,              /* right behind a quoted string */
    LINE_LF, DATA, DATA_CR, DATA_LF, LAST,
};

void chunked_init(struct chunked *c)
{
    *c = (struct chunked){.state = SIZE_FIRST};
}

static enum http_fault size_digit(struct chunked *c, char at)
{
    if (c->left > INT64_MAX >> 4 || c->digits == CHUNKED_DIGITS_MAX)
        return FAULT_CHUNK_SIZE;
    c->left = c->left << 4 | char_hex(at);
    c->digits++;
    c->state = SIZE;
    return FAULT_NONE;
}

/* A byte behind a size, an extension's name or value: what else than more of it may come? */
static enum http_fault ext_next(struct chunked *c, char at, enum http_fault fault)
{
    switch (at) {
    case '\r':
        c->state = LINE_LF;
        return FAULT_NONE;
    case '\n':
        return FAULT_LINE_END;
    case ';':
        c->state = EXT_NAME_FIRST;
        return FAULT_NONE;
    case ' ':
    case '\t':
        c->state = c->state == EXT_NAME ? EXT_EQUALS : EXT_END;
        return FAULT_NONE;
    default:
        return fault;
    }
}

/* Inside an extension, where a line may not end. */
static enum http_fault ext_byte(struct chunked *c, char at)
{
    bool space = at == ' ' || at == '\t', token = char_is(at, CHAR_TOKEN);

    switch ((enum state)c->state) {
    case EXT_END:
        if (at == ';')
            c->state = EXT_NAME_FIRST;
        return space || at == ';' ? FAULT_NONE : FAULT_CHUNK_EXT;
    case EXT_NAME_FIRST:
        if (token)
            c->state = EXT_NAME;
        return space || token ? FAULT_NONE : FAULT_CHUNK_EXT;
    case EXT_EQUALS:
        if (at == '=' || at == ';')
            c->state = at == '=' ? EXT_VALUE_FIRST : EXT_NAME_FIRST;
        return space || at == '=' || at == ';' ? FAULT_NONE : FAULT_CHUNK_EXT;
    case EXT_VALUE_FIRST:
        if (token || at == '"')
            c->state = token ? EXT_TOKEN : EXT_QUOTED;
        return space || token || at == '"' ? FAULT_NONE : FAULT_CHUNK_EXT;
    case EXT_QUOTED:
        if (at == '"' || at == '\\')
            c->state = at == '"' ? EXT_CLOSED : EXT_ESCAPE;
        return char_is(at, CHAR_VALUE) ? FAULT_NONE : FAULT_CHUNK_EXT;
    default:
        c->state = EXT_QUOTED;
        return char_is(at, CHAR_VALUE) ? FAULT_NONE : FAULT_CHUNK_EXT;
    }
}

static enum http_fault line_byte(struct chunked *c, char at)
{
    switch ((enum state)c->state) {
    case SIZE_FIRST:
        return char_is(at, CHAR_HEX) ? size_digit(c, at) : at == '\n' ? FAULT_LINE_END : FAULT_CHUNK_SIZE;
    case SIZE:
        return char_is(at, CHAR_HEX) ? size_digit(c, at) : ext_next(c, at, FAULT_CHUNK_SIZE);
    case EXT_NAME:
        if (at == '=')
            c->state = EXT_VALUE_FIRST;
        return at == '=' || char_is(at, CHAR_TOKEN) ? FAULT_NONE : ext_next(c, at, FAULT_CHUNK_EXT);
    case EXT_TOKEN:
        return char_is(at, CHAR_TOKEN) ? FAULT_NONE : ext_next(c, at, FAULT_CHUNK_EXT);
    case EXT_CLOSED:
        return ext_next(c, at, FAULT_CHUNK_EXT);
    case LINE_LF:
        c->state = c->left ? DATA : LAST;
        return at == '\n' ? FAULT_NONE : FAULT_LINE_END;
    case DATA_CR:
        c->state = DATA_LF;
        return at == '\r' ? FAULT_NONE : FAULT_CHUNK_END;
    case DATA_LF:
        c->state = SIZE_FIRST;
        c->digits = 0;
        return at == '\n' ? FAULT_NONE : FAULT_CHUNK_END;
    default:
        return at == '\n' ? FAULT_LINE_END : ext_byte(c, at);
    }
}

/* Is the byte that led here part of an extension? */
static bool in_ext(const struct chunked *c)
{
    return c->state >= EXT_END && c->state <= EXT_CLOSED;
}

static struct str take_data(struct chunked *c, const char *at, size_t len)
{
    size_t n = c->left < len ? (size_t)c->left : len;

    c->left -= n;
    if (c->left == 0)
        c->state = DATA_CR;
    return str_of(at, n);
}

enum chunked_event chunked_decode(struct chunked *c, const char *at, size_t len, size_t *used, struct str *data)
{
    for (size_t i = 0; i < len; i++) {
        if (c->state == DATA) {
            *data = take_data(c, at + i, len - i);
            *used = i + data->len;
            return CHUNKED_DATA;
        }
        enum http_fault fault = line_byte(c, at[i]);
        if (fault == FAULT_NONE && in_ext(c) && ++c->ext > CHUNKED_EXT_MAX)
            fault = FAULT_CHUNK_EXT;
        if (fault != FAULT_NONE) {
            c->fault = (uint8_t)fault;
            *used = i;
            return CHUNKED_BAD;
        }
        if (c->state == LAST) {
            *used = i + 1;
            return CHUNKED_LAST;
        }
    }
    *used = len;
    return CHUNKED_MORE;
}

size_t chunked_head(char out[CHUNKED_HEAD_MAX], uint64_t len)
{
    size_t n = 1;

    for (uint64_t rest = len >> 4; rest; rest >>= 4)
        n++;
    for (size_t i = n; i > 0; i--, len >>= 4)
        out[i - 1] = "0123456789abcdef"[len & 15];
    out[n] = '\r';
    out[n + 1] = '\n';
    return n + 2;
}
