/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PARSE_H
#define PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "http/headers.h"

/*
 * A strict parser of HTTP/1.x heads and trailer sections (RFC 9112). It is fed the whole of what has come so far, goes
 * on where it stopped, allocates nothing and holds offsets only, so that it may be copied together with its bytes.
 *
 * What it refuses, and with which status, is the table in ../../docs/design.md; in short: anything that two readers
 * could understand differently. No byte of a refused head is to be sent on. Any thread; a parser belongs to one
 * message.
 */

enum parse { PARSE_OK, PARSE_MORE, PARSE_BAD };

enum parse_kind { PARSE_REQUEST, PARSE_RESPONSE, PARSE_TRAILERS };

/* How long the body is (RFC 9112 6.3), as far as the head alone tells. */
enum body_kind { BODY_NONE, BODY_LENGTH, BODY_CHUNKED, BODY_UNTIL_CLOSE };

/* Why a head was refused. Each has an HTTP status (http_fault_status) and a sentence (http_fault_text). 400 where
 * nothing else is said; whatever it is, a response with a fault is answered with 502. */
enum http_fault {
    FAULT_NONE = 0,
    FAULT_NOT_HTTP,              /* 400: no request or status line at all; also TLS and HTTP/2 prefaces */
    FAULT_PROXY_HEADER,          /* 400: a header of the PROXY protocol, whole or the beginning of one */
    FAULT_METHOD, FAULT_TARGET, FAULT_VERSION_SYNTAX, FAULT_LINE_END, FAULT_STATUS,
    FAULT_VERSION,               /* 505 */
    FAULT_FIELD_NAME, FAULT_FIELD_VALUE, FAULT_FIELD_SPACE, FAULT_FOLD,
    FAULT_HOST_MISSING, FAULT_HOST_MANY, FAULT_HOST_SYNTAX, FAULT_HOST_MISMATCH,
    FAULT_LENGTH, FAULT_LENGTH_MANY, FAULT_LENGTH_AND_ENCODING, FAULT_ENCODING_MANY, FAULT_ENCODING_10,
    FAULT_ENCODING_SYNTAX,       /* no list of codings, or chunked where it may not stand */
    FAULT_ENCODING,              /* 501: a transfer coding other than chunked */
    FAULT_EXPECT,                /* 417: an expectation other than 100-continue */
    FAULT_CREDENTIALS_MANY,      /* more than one Authorization */
    FAULT_CONNECTION,            /* Connection lists more names than a head may have fields */
    FAULT_METHOD_REFUSED,        /* 501: CONNECT, TRACE, and methods of more than 64 bytes */
    FAULT_TARGET_LONG,           /* 414 */
    FAULT_HEAD_LONG, FAULT_FIELDS_MANY,       /* 431 */
    FAULT_CHUNK_SIZE, FAULT_CHUNK_EXT, FAULT_CHUNK_END, FAULT_TRAILER,   /* 400; chunked.h */
    FAULT_COUNT
};

struct http_limits {
    uint32_t head;               /* bytes of a head, request or status line included; <= 65535 */
    uint32_t target;             /* bytes of a request target */
    uint16_t fields;             /* <= HTTP_FIELDS_MAX */
};

extern const struct http_limits http_limits_default;      /* 32 KiB, 8 KiB, 100 */

struct http_parser {
    uint8_t kind;                /* enum parse_kind */
    uint8_t state;               /* private */
    uint8_t fault;               /* enum http_fault, after PARSE_BAD */
    uint8_t minor;               /* HTTP/1.minor */
    uint16_t status;             /* of a response */
    uint16_t n;                  /* fields so far */
    uint16_t seen;               /* private: which fields came and what they said */
    uint16_t options;            /* private: how many names Connection lists */
    uint32_t ids;                /* private: of the fields so far, as bits */
    uint32_t pos;                /* private: everything before is done with */
    uint32_t line;               /* private: where the line being read began */
    uint32_t head_len;           /* after PARSE_OK: bytes of the head, the empty line included */
    uint32_t method_len;         /* the method begins at `start` */
    uint32_t start;              /* where the start line begins (a request may be preceded by one empty line) */
    uint32_t target_at, target_len;
    uint32_t reason_at, reason_len;
    uint32_t host_at, host_len;  /* the authority to route by: of the absolute form if there is one, else Host */
    uint32_t path_at, path_len;  /* of a request: the target as origin form, or "*". What stood behind an absolute
                                    form's authority may be empty or "?query": uri_normalise() makes a path of it */
    uint64_t content_length;     /* of BODY_LENGTH; may be 0 */
    uint8_t body;                /* enum body_kind: a request's; a response's before http_response_body() */
    bool keep_alive;             /* what the version and Connection say */
    bool upgrade;                /* Connection: upgrade with an Upgrade field: HTTP/1.1 only, not for h2 or h2c, not
                                    with a request's body */
    bool expect_continue;        /* Expect: 100-continue: HTTP/1.1 only, and a body is to come */
    bool absolute;               /* the target came in absolute form */
    bool te_trailers;            /* TE holds "trailers" */
    struct http_limits limits;
    struct http_field fields[HTTP_FIELDS_MAX];
};

void http_parser_init(struct http_parser *, enum parse_kind, const struct http_limits *);

/* `base` and `len`: everything received of this message so far, from its first byte. PARSE_OK: the head is whole and
 * head_len bytes long; a trailer section's forbidden fields are marked as dropped. PARSE_MORE: call again with more
 * (the bytes may have moved). PARSE_BAD: `fault` says why; do not call again. What comes out, the fault included,
 * depends on the bytes alone, not on how they were cut. */
enum parse http_parse(struct http_parser *, const char *base, size_t len);

/* Fills `head` from a parsed message whose bytes now stand at `base` (they may have moved). The table of its n fields
 * is copied into the arena; the bytes are not. */
void http_parser_head(const struct http_parser *, const char *base, struct arena *, struct http_head *head);

/* The body of a response, which depends on the request too (RFC 9112 6.3): HEAD, 1xx, 204, 304 have none. */
enum body_kind http_response_body(const struct http_parser *, bool head_request);

int http_fault_status(enum http_fault);            /* 400, 414, 417, 431, 501, 505 */
const char *http_fault_name(enum http_fault);      /* "host_missing": a word for logs */
const char *http_fault_text(enum http_fault);      /* a sentence for a person */

#endif
