/* SPDX-License-Identifier: Apache-2.0 */
#ifndef URI_H
#define URI_H

#include <stdbool.h>
#include "lib/arena.h"
#include "lib/str.h"

/*
 * Request targets and authorities (RFC 3986, RFC 9112 3.2). What is matched is what is sent: one canonical path
 * decides the route and goes to the upstream.
 */

enum uri_result {
    URI_OK,
    URI_SAME,            /* canonical as it came: no copy was made */
    URI_BAD,             /* encoded slash, backslash or NUL, a bad percent escape, above the root, a dot segment with a
                            parameter ("..;x"), or no path at all */
};

/*
 * Normalises the path of an origin-form target ("/a/b?query"; the query is split off and left as it came): unreserved
 * characters are percent-decoded, other escapes get upper-case hex, dot segments are removed, runs of slashes become
 * one. "*" stays; an empty path (of an absolute form) becomes "/". URI_SAME: *path points into target. Idempotent.
 * *query is {NULL, 0} when there is no "?". URI_BAD leaves both alone.
 */
enum uri_result uri_normalise(struct arena *, struct str target, struct str *path, struct str *query);

/*
 * Is it an authority to route by: a name, IPv4 or [IPv6], with an optional port of 1 to 65535 (":" alone counts as
 * none)? Stricter than RFC 3986's reg-name: unreserved characters only, no empty label, at most 255 bytes; a name with
 * escapes or sub-delimiters is one that two readers would understand differently. No userinfo, no IPv6 zone, not empty.
 */
bool uri_is_authority(struct str);
/* Splits it; the host keeps its brackets off, a trailing dot is taken off; port 0: none. false: not well-formed. */
bool uri_split_authority(struct str authority, struct str *host, unsigned *port) __attribute__((warn_unused_result));

/* Are two authorities, split as above, the same place? `port` is what no port means (80, 443). */
bool uri_same_authority(struct str a, struct str b, unsigned port);

/* The value of the first parameter `name` in a query string, as it came (not decoded); false: absent. The names in the
 * query are compared decoded ("+" is a space), as the upstream will read them. "a" and "a=" have an empty value. */
bool uri_query_get(struct str query, struct str name, struct str *value);

/* The same for a parameter that must mean one thing to everybody who reads it. *repeated: it is there more than once, or it
 * is for those alone who take ";" for a "&" too, or to them it ends earlier. */
bool uri_query_get_once(struct str query, struct str name, struct str *value, bool *repeated);

/* Is a parameter's value, as it came, other bytes than it says? */
bool uri_query_is_encoded(struct str raw);
/* Decodes one into `out`, which has room for raw.len bytes: "+" is a space, what is no escape stays. Returns its length. */
size_t uri_query_decode(struct str raw, char *out);
/* The same for a segment of a path, where "+" is itself. */
size_t uri_segment_decode(struct str raw, char *out);

#endif
