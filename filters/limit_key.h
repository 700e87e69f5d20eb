/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIMIT_KEY_H
#define LIMIT_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/check.h"
#include "lib/hash.h"
#include "lib/str.h"

/*
 * By what a limit tells callers apart (POLICY.md, common rules): `client_ip` (IPv6 by /64), `header:NAME`, `cookie:NAME`,
 * `query:NAME`, `param:NAME`, `host`, `route`, `consumer`; or `all`: one for everybody.
 *
 * A key is a list of alternatives, of which the first that the request has in full counts; an alternative is one part, or
 * several joined by " + ". An empty value is none. A request that has none of them falls to its client_ip. Two values of one
 * part (two lines of the header, two cookies, two query parameters of the name, equal or not) are ambiguous, and so is a header
 * in another spelling that back ends may take for the name (X_Api_Key): the request must be refused, or a caller could choose
 * which of them is counted here and which upstream. That goes for the alternative that counts and for those before it; what
 * stands behind it is not looked at.
 *
 * Values are compared as bytes: a header's without the blanks around it, of Authorization what follows the scheme, a cookie's
 * without blanks and quotes around it, a query parameter's and a path parameter's decoded, a host's in lower case.
 *
 * Parsed by the control thread into the snapshot's arena, immutable then; hashing is for any thread.
 */
struct request;
struct yaml_node;
struct load;

enum limit_part_type { PART_CLIENT_IP, PART_HEADER, PART_COOKIE, PART_QUERY, PART_PARAM, PART_HOST, PART_ROUTE, PART_CONSUMER };

struct limit_part {
    enum limit_part_type type;
    struct str name;                 /* of the header (as written), cookie, query parameter, path parameter */
    unsigned attribute;              /* of `consumer` */
    uint64_t domain;                 /* of type and name, so that equal values of two parts are not one key */
    bool credentials;                /* it is the header Authorization */
};

struct limit_alternative {
    struct limit_part *parts;
    size_t n;
    struct str text;                 /* "header:x-api-key + client_ip": as written, spaces made even */
};

struct limit_key {
    struct limit_alternative *v;
    size_t n;                        /* 0: `all`, or nothing was read */
    const struct yaml_node *node;    /* where it stands, for errors of limit_key_check(); NULL: a default */
};

/* Reader for a FIELD_CUSTOM row whose offset is that of a struct limit_key. One text, or a list of them. */
int limit_key_parse(void *at, const struct yaml_node *, struct load *) must_check;
/* In options_check(): `consumer` must have a provider. */
int limit_key_check(struct limit_key *, struct load *) must_check;
/* What may be written, for the row's `form` and `json`. */
#define LIMIT_KEY_FORM "`client_ip`, `header:NAME`, `cookie:NAME`, `query:NAME`, `param:NAME`, `host`, `route`, `consumer` or " \
                       "`all`; `a + b` for both; a list for the first present"
#define LIMIT_KEY_JSON "{\"anyOf\":[{\"$ref\":\"#/$defs/limit_key\"}," \
                       "{\"type\":\"array\",\"minItems\":1,\"items\":{\"$ref\":\"#/$defs/limit_key\"}}]}"

/* A request's key as a number: the same for the same caller, and without the secret not to be aimed at another's. False: it
 * is ambiguous, see above. The owning worker. */
bool limit_key_of(const struct limit_key *, struct request *, const struct hash_key *secret, uint64_t *out) must_check;

/* The number of the i-th alternative's key with these values of its parts, in order: what limit_key_of() gives to such a
 * request. i == n is the fall-back to client_ip (`all`: to everybody, with no values). False: another number of values, or an
 * address that is none. Any thread. */
bool limit_key_of_values(const struct limit_key *, size_t i, const struct str *values, size_t n,
                         const struct hash_key *secret, uint64_t *out) must_check;

/* Do both tell callers apart in the same way? */
bool limit_key_same(const struct limit_key *, const struct limit_key *);

#endif
