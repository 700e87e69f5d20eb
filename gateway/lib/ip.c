/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses and networks as text and bytes.
 *
 * Written out instead of inet_pton(): the text comes from the network and is not NUL-terminated, and what decides who
 * may enter must be read in one way only. IPv4 is four decimal numbers without leading zeros (RFC 6943 3.1.1: other
 * readers take them as octal); IPv6 is RFC 4291 2.2, without a zone. Text is written as RFC 5952 says.
 *
 * Invariant: ::ffff:a.b.c.d never stands in a struct ip as family 6, so that one caller is one address whichever kind
 * of socket it came through. Unused bytes are zero.
 */
#include "lib/ip.h"

#include <netinet/in.h>
#include <string.h>

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static struct ip of_v4(const void *four)
{
    struct ip ip = {.family = 4};
    memcpy(ip.bytes, four, 4);
    return ip;
}

static bool is_mapped(const uint8_t *sixteen) { return !memcmp(sixteen, mapped_prefix, sizeof(mapped_prefix)); }

static struct ip of_v6(const void *sixteen)
{
    struct ip ip = {.family = 6};
    memcpy(ip.bytes, sixteen, 16);
    return is_mapped(ip.bytes) ? of_v4(ip.bytes + 12) : ip;
}

/* 1*3DIGIT without leading zeros, at most `max`, up to the end of `s`. */
static bool parse_number(struct str s, unsigned max, unsigned *out)
{
    unsigned n = 0;

    if (s.len < 1 || s.len > 3 || (s.len > 1 && s.at[0] == '0'))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
        n = n * 10 + (unsigned)(s.at[i] - '0');
    }
    *out = n;
    return n <= max;
}

static bool parse_v4(struct str s, uint8_t out[4])
{
    for (unsigned i = 0; i < 4; i++) {
        const char *dot = s.len ? memchr(s.at, '.', s.len) : NULL;
        size_t len = dot ? (size_t)(dot - s.at) : s.len;
        unsigned n;

        if (!dot != (i == 3) || !parse_number(str_of(s.at, len), 255, &n))
            return false;
        out[i] = (uint8_t)n;
        if (dot)
            s = str_of(dot + 1, s.len - len - 1);
    }
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One to four hex digits at the front of `s`; returns how many, 0: none. */
static size_t parse_group(struct str s, unsigned *out)
{
    size_t n = 0;

    *out = 0;
    while (n < s.len && n < 4) {
        int d = hex_digit(s.at[n]);
        if (d < 0)
            break;
        *out = *out << 4 | (unsigned)d;
        n++;
    }
    return n;
}

/* The bytes as written: no folding here. */
static bool parse_v6(struct str s, uint8_t out[16])
{
    size_t at = 0, used = 0;         /* in the text, of out */
    size_t gap = SIZE_MAX;           /* where "::" stands in out */

    if (s.len >= 2 && s.at[0] == ':' && s.at[1] == ':') {
        gap = 0;
        at = 2;
    }
    while (at < s.len) {
        unsigned group;
        size_t digits = parse_group(str_of(s.at + at, s.len - at), &group);

        if (at + digits < s.len && s.at[at + digits] == '.') {
            if (used > 12 || !parse_v4(str_of(s.at + at, s.len - at), out + used))
                return false;
            used += 4;
            break;
        }
        if (digits == 0 || used > 14)
            return false;
        out[used++] = (uint8_t)(group >> 8);
        out[used++] = (uint8_t)group;
        at += digits;
        if (at == s.len)
            break;
        if (s.at[at++] != ':' || at == s.len)
            return false;
        if (s.at[at] == ':') {
            if (gap != SIZE_MAX)
                return false;
            gap = used;
            at++;
        }
    }
    if (gap == SIZE_MAX)
        return used == 16;
    if (used > 14)
        return false;
    memmove(out + 16 - (used - gap), out + gap, used - gap);
    memset(out + gap, 0, 16 - used);
    return true;
}

bool ip_parse(struct str s, struct ip *ip)
{
    uint8_t bytes[16];

    if (s.len >= IP_TEXT)
        return false;
    if (parse_v4(s, bytes))
        *ip = of_v4(bytes);
    else if (s.len > 1 && parse_v6(s, bytes))
        *ip = of_v6(bytes);
    else
        return false;
    return true;
}

static void mask(uint8_t *bytes, size_t len, unsigned bits)
{
    size_t whole = bits / 8;

    if (whole >= len)
        return;
    bytes[whole] &= (uint8_t)(0xff00 >> bits % 8);
    memset(bytes + whole + 1, 0, len - whole - 1);
}

bool cidr_parse(struct str s, struct cidr *net)
{
    const char *slash = s.len ? memchr(s.at, '/', s.len) : NULL;
    struct str address = slash ? str_of(s.at, (size_t)(slash - s.at)) : s;
    struct str suffix = slash ? str_of(slash + 1, s.len - address.len - 1) : str_of(NULL, 0);
    unsigned bits;
    uint8_t bytes[16];

    if (address.len >= IP_TEXT)
        return false;
    if (parse_v4(address, bytes)) {
        bits = 32;
        if (slash && !parse_number(suffix, 32, &bits))
            return false;
        mask(bytes, 4, bits);
        *net = (struct cidr){.ip = of_v4(bytes), .bits = (uint8_t)bits};
        return true;
    }
    bits = 128;
    if (address.len < 2 || !parse_v6(address, bytes) || (slash && !parse_number(suffix, 128, &bits)))
        return false;
    mask(bytes, 16, bits);
    *net = (struct cidr){.ip = of_v6(bytes), .bits = (uint8_t)bits};
    if (net->ip.family == 4)
        net->bits = (uint8_t)(bits - 96);      /* >= 96: the mapped prefix would not have outlived the mask */
    return true;
}

bool ip_eq(const struct ip *a, const struct ip *b)
{
    return a->family == b->family && !memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

bool cidr_holds(const struct cidr *net, const struct ip *ip)
{
    size_t whole = net->bits / 8;
    unsigned rest = net->bits % 8;

    if (net->ip.family != ip->family || ip->family == 0 || memcmp(net->ip.bytes, ip->bytes, whole) != 0)
        return false;
    return rest == 0 || ((net->ip.bytes[whole] ^ ip->bytes[whole]) & (0xff00 >> rest) & 0xff) == 0;
}

struct ip ip_of_sockaddr(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return of_v4(&((const struct sockaddr_in *)(const void *)sa)->sin_addr);
    if (sa->sa_family == AF_INET6)
        return of_v6(&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr);
    return (struct ip){.family = 0};
}

uint16_t port_of_sockaddr(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)(const void *)sa)->sin_port);
    if (sa->sa_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)(const void *)sa)->sin6_port);
    return 0;
}

static char *put_byte(char *p, unsigned n)
{
    if (n >= 100) {
        *p++ = (char)('0' + n / 100);
        n %= 100;
        *p++ = (char)('0' + n / 10);
    } else if (n >= 10) {
        *p++ = (char)('0' + n / 10);
    }
    *p++ = (char)('0' + n % 10);
    return p;
}

static char *put_group(char *p, unsigned group)
{
    static const char digits[] = "0123456789abcdef";

    for (int shift = 12; shift >= 0; shift -= 4)
        if (group >> shift || shift == 0)
            *p++ = digits[group >> shift & 15];
    return p;
}

/* The longest run of two or more zero groups, the first of equals (RFC 5952 4.2); len 0: none. */
static void longest_zeros(const unsigned g[8], unsigned *from, unsigned *len)
{
    *from = *len = 0;
    for (unsigned i = 0; i < 8; i++) {
        unsigned n = 0;
        while (i + n < 8 && g[i + n] == 0)
            n++;
        if (n > *len && n >= 2) {
            *from = i;
            *len = n;
        }
        i += n;
    }
}

static char *put_v6(char *p, const uint8_t *bytes)
{
    unsigned g[8], from, len;

    for (unsigned i = 0; i < 8; i++)
        g[i] = (unsigned)bytes[2 * i] << 8 | bytes[2 * i + 1];
    longest_zeros(g, &from, &len);
    for (unsigned i = 0; i < 8; i++) {
        if (len && i == from) {
            *p++ = ':';
            *p++ = ':';
            i += len - 1;
            continue;
        }
        if (i && !(len && i == from + len))
            *p++ = ':';
        p = put_group(p, g[i]);
    }
    return p;
}

size_t ip_format(const struct ip *ip, char out[IP_TEXT])
{
    char *p = out;

    if (ip->family == 4) {
        p = put_byte(p, ip->bytes[0]);
        for (unsigned i = 1; i < 4; i++) {
            *p++ = '.';
            p = put_byte(p, ip->bytes[i]);
        }
    } else if (ip->family == 6) {
        p = put_v6(p, ip->bytes);
    } else {
        memcpy(p, "unix", 4);
        p += 4;
    }
    *p = '\0';
    return (size_t)(p - out);
}
