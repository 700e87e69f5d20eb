/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DNS_SERVER_H
#define DNS_SERVER_H

/*
 * A small DNS server on an event base. It answers by a table of names, which says for each question in turn what comes: so a name
 * can change, fail, or fall silent between two look-ups. Include test.h before it.
 */
#include <arpa/inet.h>
#include <event2/event.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lib/check.h"

struct answer {
    const char *v4[3], *v6[2];
    uint32_t ttl;
    int rcode;                   /* 2: SERVFAIL, 3: NXDOMAIN */
    bool silent;
    const char *alias;           /* a CNAME stands before the addresses, with alias_ttl */
    uint32_t alias_ttl;
};

struct zone {
    const char *name;
    const struct answer *answers;        /* for the first, second ... look-up; the last one stays */
    unsigned n;
    unsigned asked;                      /* A questions */
};

struct server {
    struct event_base *base;
    struct event *event;
    int fd;
    char at[40];
    struct zone *zones;
    size_t n_zones;
};

static inline size_t put16(uint8_t *p, unsigned x) { return p[0] = (uint8_t)(x >> 8), p[1] = (uint8_t)x, 2; }
static inline size_t put32(uint8_t *p, uint32_t x) { return put16(p, x >> 16) + put16(p + 2, x & 0xffff); }

static inline size_t put_name(uint8_t *p, const char *name)
{
    size_t at = 0;
    while (*name) {
        size_t len = strcspn(name, ".");
        p[at++] = (uint8_t)len;
        memcpy(p + at, name, len);
        at += len;
        name += len + (name[len] == '.');
    }
    p[at++] = 0;
    return at;
}

static inline size_t put_record(uint8_t *p, const char *owner, unsigned type, uint32_t ttl, const void *data, size_t len)
{
    size_t at = put_name(p, owner);
    at += put16(p + at, type);
    at += put16(p + at, 1);
    at += put32(p + at, ttl);
    at += put16(p + at, (unsigned)len);
    memcpy(p + at, data, len);
    return at + len;
}

/* Reads the question's name, with dots, and its type; returns where the question ends. */
static inline size_t read_question(const uint8_t *q, size_t len, char *name, size_t cap, unsigned *type)
{
    size_t at = 12, n = 0;
    while (at < len && q[at]) {
        size_t label = q[at++];
        if (at + label + 5 > len || n + label + 2 > cap)
            return 0;
        if (n > 0)
            name[n++] = '.';
        memcpy(name + n, q + at, label);
        n += label;
        at += label;
    }
    name[n] = '\0';
    *type = (unsigned)(q[at + 1] << 8 | q[at + 2]);
    return at + 5;
}

static inline size_t put_answer(uint8_t *out, size_t at, const char *name, unsigned type, const struct answer *a)
{
    unsigned n = 0;
    const char *owner = a->alias ? a->alias : name;
    uint8_t data[300];

    if (a->alias && !a->rcode && ++n)
        at += put_record(out + at, name, 5, a->alias_ttl, data, put_name(data, a->alias));
    for (size_t i = 0; type == 1 && i < array_len(a->v4) && a->v4[i]; i++, n++) {
        inet_pton(AF_INET, a->v4[i], data);
        at += put_record(out + at, owner, 1, a->ttl, data, 4);
    }
    for (size_t i = 0; type == 28 && i < array_len(a->v6) && a->v6[i]; i++, n++) {
        inet_pton(AF_INET6, a->v6[i], data);
        at += put_record(out + at, owner, 28, a->ttl, data, 16);
    }
    out[2] = 0x81;
    out[3] = (uint8_t)(0x80 | a->rcode);
    put16(out + 6, n);
    return at;
}

static inline void server_read(int fd, short what, void *ctx)
{
    struct server *s = ctx;
    uint8_t packet[1500] = {0};
    struct sockaddr_in from;
    socklen_t from_len = sizeof(from);
    char name[300];
    unsigned type;

    (void)what;
    ssize_t len = recvfrom(fd, packet, 512, 0, (struct sockaddr *)&from, &from_len);
    size_t end = len > 12 ? read_question(packet, (size_t)len, name, sizeof(name), &type) : 0;
    if (end == 0)
        return;
    static const struct answer nowhere = {.rcode = 3};
    const struct answer *a = &nowhere;
    for (size_t i = 0; i < s->n_zones; i++) {
        struct zone *z = &s->zones[i];
        if (strcmp(z->name, name) != 0)
            continue;
        z->asked += type == 1;
        unsigned nth = z->asked > 0 ? z->asked - 1 : 0;
        a = &z->answers[nth < z->n ? nth : z->n - 1];
    }
    if (a->silent)
        return;
    put16(packet + 10, 0);               /* additional records are cut off */
    end = put_answer(packet, end, name, type, a);
    sendto(fd, packet, end, 0, (struct sockaddr *)&from, from_len);
}

static inline void server_init(struct server *s, struct zone *zones, size_t n)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);

    *s = (struct server){.base = event_base_new(), .zones = zones, .n_zones = n};
    s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    EXPECT_EQ(bind(s->fd, (struct sockaddr *)&at, len), 0);
    EXPECT_EQ(getsockname(s->fd, (struct sockaddr *)&at, &len), 0);
    snprintf(s->at, sizeof(s->at), "127.0.0.1:%u", ntohs(at.sin_port));
    s->event = event_new(s->base, s->fd, EV_READ | EV_PERSIST, server_read, s);
    event_add(s->event, NULL);
}

static inline void server_fini(struct server *s)
{
    event_free(s->event);
    close(s->fd);
    event_base_free(s->base);
}

static inline void turn_for(struct event_base *base, unsigned ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    event_base_loopexit(base, &tv);
    event_base_dispatch(base);
}

#endif
