/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Socket addresses from text, by number or by path. Names are not resolved here: whether an endpoint's name resolves
 * may change every minute and says nothing about the configuration.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include "conf/schema.h"
#include "conf/yaml.h"

bool address_split(struct str text, struct str *host, struct str *port, bool *bracketed)
{
    const char *end = text.at + text.len, *colon;

    *port = (struct str){NULL, 0};
    *bracketed = text.len > 0 && text.at[0] == '[';
    if (*bracketed) {
        const char *close = memchr(text.at, ']', text.len);
        if (!close || (close + 1 < end && close[1] != ':'))
            return false;
        *host = str_of(text.at + 1, (size_t)(close - text.at) - 1);
        colon = close + 1;
    } else {
        colon = text.len ? memchr(text.at, ':', text.len) : NULL;
        if (!colon)
            colon = end;
        *host = str_of(text.at, (size_t)(colon - text.at));
    }
    if (colon < end)
        *port = str_of(colon + 1, (size_t)(end - colon) - 1);
    return !(port->len && memchr(port->at, ':', port->len));
}

bool address_port(struct str s, uint16_t *port)
{
    uint64_t n;
    if (s.len > 5 || !str_u64(s, &n) || n > 65535)
        return false;
    *port = (uint16_t)n;
    return true;
}

bool address_is_name(struct str s)
{
    size_t label = 0, digits = 0;

    if (s.len == 0 || s.len > 253)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.at[i];
        bool digit = c >= '0' && c <= '9';
        if (c == '.') {
            if (label == 0)
                return false;
            label = digits = 0;
            continue;
        }
        if (!digit && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && c != '_' && (c != '-' || label == 0))
            return false;
        digits += digit;
        if (++label > 63)
            return false;
    }
    return label > 0 && digits < label;      /* a last label of digits is a mistyped IPv4 address */
}

void address_of_ip(const struct ip *ip, uint16_t port, struct address *a)
{
    *a = (struct address){.len = 0};
    if (ip->family == 4) {
        a->len = sizeof(a->in);
        a->in.sin_family = AF_INET;
        a->in.sin_port = htons(port);
        memcpy(&a->in.sin_addr, ip->bytes, 4);
    } else {
        a->len = sizeof(a->in6);
        a->in6.sin6_family = AF_INET6;
        a->in6.sin6_port = htons(port);
        memcpy(&a->in6.sin6_addr, ip->bytes, 16);
    }
}

int address_of_path(struct str path, struct address *a, struct err *err)
{
    *a = (struct address){.len = 0};
    if (path.len == 0 || path.at[0] != '/')
        return err_set(err, "a unix socket needs an absolute path: unix:/run/name.sock");
    if (path.len >= sizeof(a->un.sun_path))
        return err_set(err, "the path is longer than %zu bytes, which is all that a unix socket may have",
                       sizeof(a->un.sun_path) - 1);
    if (memchr(path.at, '\0', path.len))
        return err_set(err, "the path holds a NUL byte");
    a->un.sun_family = AF_UNIX;
    memcpy(a->un.sun_path, path.at, path.len);
    a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
    return 0;
}

int address_parse(struct str text, struct address *a, struct err *err)
{
    struct str host, port;
    struct ip ip = {.family = 4};
    uint16_t number;
    bool bracketed;

    if (str_starts(text, STR("unix:")))
        return address_of_path(str_of(text.at + 5, text.len - 5), a, err);
    if (!address_split(text, &host, &port, &bracketed))
        return err_set(err, "\"%s\" is not an address; write it like 127.0.0.1:8080, [::1]:8080 or unix:/run/weir.sock",
                       quoted(text).text);
    if (!port.at && address_port(host, &number))
        return err_set(err, "\"%s\" is a port alone; write it like 127.0.0.1:%u", quoted(text).text, number);
    if (!port.at)
        return err_set(err, "\"%s\" has no port; write it like 127.0.0.1:8080", quoted(text).text);
    if (!address_port(port, &number))
        return err_set(err, "\"%s\": the port must be a number from 0 to 65535", quoted(text).text);
    if ((host.len || bracketed) && (!ip_parse(host, &ip) || bracketed != (memchr(host.at, ':', host.len) != NULL)))
        return err_set(err, "\"%s\": the host must be an address by number, such as 127.0.0.1 or [::1]",
                       quoted(text).text);
    address_of_ip(&ip, number, a);
    return 0;
}

bool address_is_local(const struct address *a)
{
    static const unsigned char mapped[13] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127};
    switch (a->sa.sa_family) {
    case AF_INET:
        return ntohl(a->in.sin_addr.s_addr) >> 24 == 127;
    case AF_INET6:
        return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr) || memcmp(&a->in6.sin6_addr, mapped, sizeof mapped) == 0;
    default:
        return a->sa.sa_family == AF_UNIX;
    }
}

bool address_same(const struct address *a, const struct address *b)
{
    if (a->sa.sa_family != b->sa.sa_family)
        return false;
    switch (a->sa.sa_family) {
    case AF_INET:
        return a->in.sin_port == b->in.sin_port && a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    case AF_INET6:
        return a->in6.sin6_port == b->in6.sin6_port && a->in6.sin6_scope_id == b->in6.sin6_scope_id
               && memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof a->in6.sin6_addr) == 0;
    default:
        return a->len == b->len && memcmp(&a->un, &b->un, a->len) == 0;
    }
}
