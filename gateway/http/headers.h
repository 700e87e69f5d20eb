/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HEADERS_H
#define HEADERS_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/arena.h"
#include "lib/str.h"

/*
 * A message head as a list of name/value pairs. What came over HTTP/1.1 stays the bytes that came: a field is a set of
 * offsets into them, and neighbours that nobody dropped are written on as one run. Fields added here stand in a list
 * of their own. One thread.
 */

#define HTTP_FIELDS_MAX 100

/* Names that the core looks at; everything else is HEADER_OTHER. headers.c finds one by length and a switch. */
enum header_id {
    HEADER_OTHER = 0,
    HEADER_HOST, HEADER_CONTENT_LENGTH, HEADER_TRANSFER_ENCODING, HEADER_CONNECTION, HEADER_KEEP_ALIVE,
    HEADER_PROXY_CONNECTION, HEADER_TE, HEADER_TRAILER, HEADER_UPGRADE, HEADER_EXPECT, HEADER_VIA, HEADER_FORWARDED,
    HEADER_X_FORWARDED_FOR, HEADER_X_FORWARDED_PROTO, HEADER_X_FORWARDED_HOST, HEADER_HTTP2_SETTINGS,
    HEADER_PROXY_AUTHENTICATE, HEADER_PROXY_AUTHORIZATION, HEADER_PROXY_AUTHENTICATION_INFO, HEADER_DATE, HEADER_SERVER,
    HEADER_LOCATION, HEADER_CONTENT_TYPE, HEADER_IDEMPOTENCY_KEY, HEADER_MAX_FORWARDS, HEADER_X_REQUEST_ID,
    HEADER_AUTHORIZATION, HEADER_X_REAL_IP, HEADER_X_FORWARDED_PORT,
    HEADER_COUNT
};

/* A set of them, as a word. */
#define HEADER_BIT(id) (UINT32_C(1) << (id))
_Static_assert(HEADER_COUNT <= 32, "bits of a word");

/* Of a token, whatever its case. */
enum header_id header_id(struct str name);

/* Do many back ends (CGI, WSGI, Rack, PHP) take both names for one: equal but for case and what stands for a "-"? */
bool http_name_alike(struct str a, struct str b);
/* Is it another spelling of a name above, or of any X-Forwarded-*: "X_Forwarded_For", "Content.Length"? The parser
 * marks such fields of a request as dropped. */
bool http_name_is_alias(struct str name);

struct http_field {
    uint32_t at;                  /* of the line, from the head's base */
    uint16_t name_len;
    uint16_t value_off;           /* from `at` */
    uint16_t value_len;
    uint16_t line_len;            /* with its CRLF */
    uint8_t id;                   /* enum header_id */
    uint8_t dropped;              /* not to be sent on */
};

struct http_added {
    struct str name, value;       /* valid as long as the head is */
    struct http_added *next;
};

struct http_head {
    const char *base;                        /* the bytes as they came */
    struct http_field *fields;               /* in order */
    uint16_t n;                              /* how many */
    uint16_t status;                         /* of a response; 0: a request */
    uint8_t minor;                           /* of the version: HTTP/1.minor */
    uint32_t ids;                            /* HEADER_BIT of all that came, dropped or not: what is not there is not looked for */
    struct str method, target, reason;       /* into base */
    struct http_added *added, **added_tail;  /* in order; tail is NULL while empty */
};

static inline struct str http_field_name(const struct http_head *h, const struct http_field *f)
{
    return str_of(h->base + f->at, f->name_len);
}

static inline struct str http_field_value(const struct http_head *h, const struct http_field *f)
{
    return str_of(h->base + f->at + f->value_off, f->value_len);
}

/* The first field of that name that is not dropped, added ones included; {NULL, 0}: none. */
struct str http_head_get(const struct http_head *, struct str name);
struct str http_head_get_id(const struct http_head *, enum header_id);
/* How many lines of that name there are (dropped ones not counted). */
unsigned http_head_count(const struct http_head *, struct str name);
/* Visits all that will be sent, in order: *at starts at 0; false at the end. */
bool http_head_next(const struct http_head *, unsigned *at, struct str *name, struct str *value);

/* A copy that may be edited without the other one: of the fields, not of the bytes that they are. */
void http_head_copy(struct http_head *to, const struct http_head *from, struct arena *);

/* `name` and `value` must live as long as the head and hold no CR, LF or NUL (the caller checked). */
static inline void http_head_add(struct http_head *h, struct arena *arena, struct str name, struct str value)
{
    struct http_added *a = arena_alloc(arena, sizeof(*a));

    *a = (struct http_added){.name = name, .value = value};
    *(h->added_tail ? h->added_tail : &h->added) = a;
    h->added_tail = &a->next;
}
/* All of that name, added ones too, and all that are http_name_alike(): what the gateway sets, nobody else sets. */
void http_head_remove(struct http_head *, struct str name);
void http_head_remove_id(struct http_head *, enum header_id);
void http_head_set(struct http_head *, struct arena *, struct str name, struct str value);   /* remove, then add */

/* Drops what must not travel further (RFC 9110 7.6.1): the hop-by-hop fields and whatever Connection lists, except that
 * a name in Connection never takes away what the message's framing or routing needs (Host, Content-Length, and those
 * that the gateway itself sets: headers.c has the list). TE, Upgrade and Transfer-Encoding are dropped too: the codec
 * that sends writes its own. Added fields stay. Whoever decides by a field a client may list (credentials, keys) looks
 * at it before. */
void http_head_drop_hop_by_hop(struct http_head *);

/* May a field of that name stand in a trailer section that is sent on (RFC 9110 6.5.1)? */
bool http_trailer_allowed(struct str name);

/* 1*tchar (RFC 9110 5.6.2). */
bool http_is_token(struct str);
/* No CTL but HTAB. */
bool http_is_field_value(struct str);

#endif
