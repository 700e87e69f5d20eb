/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PROXY protocol as haproxy.org's proxy-protocol.txt has it.
 *
 * Strict where two readers could see different callers: one space between the words of a line, numbers without leading
 * zeros, lengths that fit to the byte, a checksum that holds. What the text leaves to the reader:
 *   - LOCAL, UNKNOWN, UNSPEC, and what is no stream: the connection stands for itself, and the rest of the header is skipped;
 *   - a unix socket's names say nothing that is of use here: its caller has no address;
 *   - further fields (TLVs) are checked for their form, and the checksum for what it says; none of the others is used.
 */
#include "http/proxy_protocol.h"

#include <netinet/in.h>
#include <stdio.h>
#include "lib/check.h"

/* The longest line of version 1 there can be, its end included. */
enum { LINE_LONGEST = 107 };
enum { FIXED = 16 };                 /* of version 2: what stands before the addresses */
enum { COMMAND_LOCAL = 0x20, COMMAND_PROXY = 0x21 };
enum { TLV_CRC32C = 3 };

static const char signature[12] = "\r\n\r\n\0\r\nQUIT\n";
static const char line_start[] = "PROXY ";

static enum parse bad(struct proxy_header *h, const char *fault)
{
    *h = (struct proxy_header){.fault = fault};
    return PARSE_BAD;
}

/* Do the two agree as far as both go? */
static bool agrees(struct str bytes, const char *start, size_t len)
{
    return memcmp(bytes.at, start, bytes.len < len ? bytes.len : len) == 0;
}

/* ---- version 1: a line ---- */

/* The next word of the line, which ends with one space, or with the line. */
static struct str word_next(struct str *rest)
{
    const char *space = rest->len > 0 ? memchr(rest->at, ' ', rest->len) : NULL;
    struct str word = str_of(rest->at, space ? (size_t)(space - rest->at) : rest->len);
    size_t used = word.len + (space ? 1 : 0);
    *rest = str_of(rest->at + used, rest->len - used);
    return word;
}

static bool port_read(struct str word, uint16_t *port)
{
    uint64_t n;
    if (word.len > 5 || (word.len > 1 && word.at[0] == '0') || !str_u64(word, &n) || n > UINT16_MAX)
        return false;
    *port = (uint16_t)n;
    return true;
}

/* An address that is written as one of the line's family. */
static bool address_read(struct str word, bool six, struct ip *ip)
{
    return (memchr(word.at, ':', word.len) != NULL) == six && ip_parse(word, ip);
}

static enum parse line_read(struct str line, struct proxy_header *h)
{
    struct str rest = str_of(line.at + sizeof line_start - 1, line.len - (sizeof line_start - 1));
    struct str family = word_next(&rest);
    struct proxy_ends *e = &h->ends;
    if (str_eq(family, STR("UNKNOWN")))
        return PARSE_OK;
    bool six = str_eq(family, STR("TCP6"));
    if (!six && !str_eq(family, STR("TCP4")))
        return bad(h, "the line names neither TCP4, TCP6 nor UNKNOWN");
    struct str source = word_next(&rest), dest = word_next(&rest), source_port = word_next(&rest);
    if (!address_read(source, six, &e->source) || !address_read(dest, six, &e->dest))
        return bad(h, "an address of the line is malformed");
    if (!port_read(source_port, &e->source_port) || !port_read(rest, &e->dest_port))
        return bad(h, "a port of the line is malformed");
    h->named = true;
    return PARSE_OK;
}

static enum parse parse_line(struct str bytes, struct proxy_header *h)
{
    size_t look = bytes.len < LINE_LONGEST ? bytes.len : LINE_LONGEST;
    const char *end = memchr(bytes.at, '\n', look);
    if (!end)
        return look < LINE_LONGEST ? PARSE_MORE : bad(h, "the line is too long");
    size_t len = (size_t)(end - bytes.at);       /* > 0: no end of a line stands in what it begins with */
    if (bytes.at[len - 1] != '\r')
        return bad(h, "the line does not end with CR LF");
    h->version = 1;
    h->len = len + 1;
    return line_read(str_of(bytes.at, len - 1), h);
}

/* ---- version 2: bytes ---- */

static unsigned u16_at(const char *at) { return (unsigned)(uint8_t)at[0] << 8 | (uint8_t)at[1]; }

/* Castagnoli's, four bits a step: a header is short, and most have none. `zero`: four bytes that count as zeros. */
static uint32_t crc32c(struct str bytes, const char *zero)
{
    static const uint32_t step[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes.len; i++) {
        const char *at = bytes.at + i;
        crc ^= at >= zero && at < zero + 4 ? 0 : (uint8_t)*at;
        crc = crc >> 4 ^ step[crc & 15];
        crc = crc >> 4 ^ step[crc & 15];
    }
    return ~crc;
}

/* What stands behind the addresses; `whole` is the header, for the checksum. */
static const char *fields_fault(struct str whole, struct str rest)
{
    bool summed = false;
    while (rest.len > 0) {
        if (rest.len < 3)
            return "a field behind the addresses is cut short";
        size_t len = u16_at(rest.at + 1);
        if (len > rest.len - 3)
            return "a field behind the addresses is longer than the header";
        const char *value = rest.at + 3;
        if (rest.at[0] == TLV_CRC32C) {
            if (len != 4 || summed)
                return "the checksum is malformed";
            summed = true;
            if (crc32c(whole, value) != (u16_at(value) << 16 | u16_at(value + 2)))
                return "the checksum is wrong";
        }
        rest = str_of(value + len, rest.len - 3 - len);
    }
    return NULL;
}

static struct ip ip_at(const char *at, bool six)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (six)
        memcpy(&in6.sin6_addr, at, 16);
    else
        memcpy(&in.sin_addr, at, 4);
    return ip_of_sockaddr(six ? (struct sockaddr *)&in6 : (struct sockaddr *)&in);
}

static void inet_read(const char *at, bool six, struct proxy_ends *e)
{
    size_t size = six ? 16 : 4;
    e->source = ip_at(at, six);
    e->dest = ip_at(at + size, six);
    e->source_port = (uint16_t)u16_at(at + 2 * size);
    e->dest_port = (uint16_t)u16_at(at + 2 * size + 2);
}

/* The families of addresses, and what carries them. */
enum { UNSPEC = 0x00, TCP4 = 0x11, UDP4 = 0x12, TCP6 = 0x21, UDP6 = 0x22, UNIX_STREAM = 0x31, UNIX_DGRAM = 0x32 };

static enum parse addresses_read(struct str whole, struct proxy_header *h)
{
    const char *at = whole.at + FIXED;
    size_t len = whole.len - FIXED, need;
    unsigned family = (uint8_t)whole.at[13];
    switch (family) {
    case UNSPEC:
    case UDP4:
    case UDP6:
    case UNIX_DGRAM:
        return PARSE_OK;
    case TCP4:
        need = 12;
        break;
    case TCP6:
        need = 36;
        break;
    case UNIX_STREAM:
        need = 216;
        break;
    default:
        return bad(h, "there is no such family of addresses");
    }
    if (len < need)
        return bad(h, "the header is too short for its addresses");
    const char *fault = fields_fault(whole, str_of(at + need, len - need));
    if (fault)
        return bad(h, fault);
    if (family != UNIX_STREAM)
        inet_read(at, family == TCP6, &h->ends);
    h->named = true;
    return PARSE_OK;
}

static enum parse parse_binary(struct str bytes, struct proxy_header *h)
{
    if (bytes.len >= 13 && (uint8_t)bytes.at[12] != COMMAND_LOCAL && (uint8_t)bytes.at[12] != COMMAND_PROXY)
        return bad(h, "there is no such version or command");
    if (bytes.len < FIXED)
        return PARSE_MORE;
    size_t len = FIXED + u16_at(bytes.at + 14);
    if (len > PROXY_HEADER_MAX)
        return bad(h, "the header is too long");
    if (bytes.len < len)
        return PARSE_MORE;
    h->version = 2;
    h->len = len;
    return bytes.at[12] == COMMAND_LOCAL ? PARSE_OK : addresses_read(str_of(bytes.at, len), h);
}

enum parse proxy_protocol_parse(struct str bytes, struct proxy_header *h)
{
    *h = (struct proxy_header){.len = 0};
    if (bytes.len == 0)
        return PARSE_MORE;
    if (agrees(bytes, signature, sizeof signature))
        return parse_binary(bytes, h);
    if (agrees(bytes, line_start, sizeof line_start - 1))
        return parse_line(bytes, h);
    return bad(h, "there is no header");
}

/* ---- writing ---- */

/* Both ends in one family. */
struct pair_text { char source[IP_TEXT + 7], dest[IP_TEXT + 7]; };

static bool is_known(const struct proxy_ends *e) { return e && e->source.family != 0; }
static bool is_six(const struct proxy_ends *e) { return e->source.family == 6 || e->dest.family == 6; }

static void ip_put(char *out, size_t cap, const struct ip *ip, bool six)
{
    char text[IP_TEXT];
    if (ip->family == 0) {
        (void)snprintf(out, cap, "%s", six ? "::" : "0.0.0.0");
        return;
    }
    ip_format(ip, text);
    (void)snprintf(out, cap, "%s%s", six && ip->family == 4 ? "::ffff:" : "", text);
}

static size_t line_write(const struct proxy_ends *e, char *out)
{
    struct pair_text text;
    if (!is_known(e))
        return (size_t)snprintf(out, PROXY_WRITE_MAX, "PROXY UNKNOWN\r\n");
    ip_put(text.source, sizeof text.source, &e->source, is_six(e));
    ip_put(text.dest, sizeof text.dest, &e->dest, is_six(e));
    return (size_t)snprintf(out, PROXY_WRITE_MAX, "PROXY %s %s %s %u %u\r\n", is_six(e) ? "TCP6" : "TCP4", text.source,
                            text.dest, e->source_port, e->dest_port);
}

static char *ip_bytes_put(char *out, const struct ip *ip, bool six)
{
    size_t size = six ? 16 : 4;
    memset(out, 0, size);
    if (six && ip->family == 4)
        memcpy(out + 10, (const char[]){'\xff', '\xff', (char)ip->bytes[0], (char)ip->bytes[1], (char)ip->bytes[2],
                                        (char)ip->bytes[3]}, 6);
    else if (ip->family != 0)
        memcpy(out, ip->bytes, size);
    return out + size;
}

static char *u16_put(char *out, size_t n)
{
    out[0] = (char)(n >> 8);
    out[1] = (char)n;
    return out + 2;
}

static size_t binary_write(const struct proxy_ends *e, char *out)
{
    char *p = out + FIXED;
    memcpy(out, signature, sizeof signature);
    out[12] = e ? COMMAND_PROXY : COMMAND_LOCAL;
    out[13] = (char)(!is_known(e) ? UNSPEC : is_six(e) ? TCP6 : TCP4);
    if (is_known(e)) {
        p = ip_bytes_put(p, &e->source, is_six(e));
        p = ip_bytes_put(p, &e->dest, is_six(e));
        p = u16_put(p, e->source_port);
        p = u16_put(p, e->dest_port);
    }
    u16_put(out + 14, (size_t)(p - out) - FIXED);
    return (size_t)(p - out);
}

size_t proxy_protocol_write(unsigned version, const struct proxy_ends *e, char out[PROXY_WRITE_MAX])
{
    check(version == 1 || version == 2);
    return version == 1 ? line_write(e, out) : binary_write(e, out);
}

bool proxy_ends_eq(const struct proxy_ends *a, const struct proxy_ends *b)
{
    return ip_eq(&a->source, &b->source) && ip_eq(&a->dest, &b->dest) && a->source_port == b->source_port
           && a->dest_port == b->dest_port;
}
