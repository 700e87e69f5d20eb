/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEMA_H
#define SCHEMA_H

#include "conf/load.h"
#include "conf/named.h"
#include "conf/snapshot.h"
#include "filter.h"

/*
 * Private to conf/: what a configuration may hold, section by section, and what is at hand while one is read. The
 * tables are also what the manual and the JSON schema are made of.
 */

/* A filter as read, before anything is opened for it. */
struct schema_instance {
    struct instance inst;
    void *options;                       /* inst.options, writable while loading */
    const struct yaml_node *node;        /* where it stands */
    struct str owner;
    bool defined;                        /* under `define` */
    bool used;                           /* some chain names it */
    const struct chain_conf *last;       /* the last chain that holds it */
    bool broken;                         /* something in it is wrong: known by its name, and not judged further */
    struct schema_instance *next;
};

struct schema {
    struct load load;
    struct schema_instance *instances, **tail;   /* in the order of the file */
    size_t n_instances;
    struct names defined;                /* of `define`: struct schema_instance */
    struct names upstreams;              /* struct upstream_conf; those in which something is wrong too */
    /* What is wrong elsewhere already, so that names which may come from there are not called unknown. */
    bool define_broken, upstreams_broken, filters_unknown;
};

static inline struct schema *schema_of(struct load *l) { return container_of(l, struct schema, load); }

extern const struct field schema_fields[];           /* the top level; options: struct snapshot */
extern const struct field schema_listen_fields[];    /* struct listen_conf */
extern const struct field schema_admin_fields[];     /* struct listen_conf, of `admin` */
extern const struct field schema_upstream_fields[];  /* struct upstream_conf */
extern const struct field schema_route_fields[];     /* struct route_conf */
extern const struct field schema_match_fields[];     /* struct route_match */
extern const struct field schema_common_fields[];    /* name and mode, of every filter: struct schema_common */

struct schema_common { struct str name; int shadow; };

/* Reads the whole document into load.snap; nothing outside its arena is touched. All that is wrong is told. */
int schema_read(struct schema *, const struct yaml_node *root) must_check;

/* For keys that are read once the rest of their mapping is known: accepts anything, stores nothing. */
int schema_later_read(void *at, const struct yaml_node *, struct load *) must_check;
/* The long form of a short one: {key: value}, at the value's place. */
const struct yaml_node *schema_map_of(struct load *, const char *key, const struct yaml_node *value);
/* For a row's `json`: what stands under that name in doc_schema.c. */
#define SCHEMA_REF(name) "{\"$ref\":\"#/$defs/" name "\"}"
#define SCHEMA_ONE_OR_MORE(name) \
    "{\"anyOf\":[" SCHEMA_REF(name) ",{\"type\":\"array\",\"minItems\":1,\"items\":" SCHEMA_REF(name) "}]}"
#define SCHEMA_FILTERS_OF(place) "{\"type\":\"array\",\"items\":" SCHEMA_REF(place "_filter") "}"
/* Exactly one of two keys; to be put behind "@" in an "allOf". */
#define SCHEMA_ONE_OF(a, b) "{\"oneOf\":[{\"required\":[\"" a "\"]},{\"required\":[\"" b "\"]}]}"

/* schema_listen.c: `listen`, `admin`, `probes` (at: the snapshot). */
int schema_listens_read(void *at, const struct yaml_node *, struct load *) must_check;
int schema_admin_read(void *at, const struct yaml_node *, struct load *) must_check;
int schema_probes_read(void *at, const struct yaml_node *, struct load *) must_check;
int schema_listens_check(struct schema *, const struct yaml_node *root) must_check;

/* schema_tls.c: a listener's `tls` (at: struct tls_conf *). */
int schema_tls_read(void *at, const struct yaml_node *, struct load *) must_check;
extern const struct field schema_tls_fields[];       /* struct tls_conf */
/* An upstream's `tls`: struct tls_out_conf; and what its keys say together, and with the endpoints. */
extern const struct field schema_tls_out_fields[];
int schema_tls_out_check(struct upstream_conf *, const struct yaml_node *upstream, bool any_https, struct load *) must_check;
/* Lists the files that sections of TLS name, whatever else is wrong with them. */
void schema_tls_files(const struct yaml_node *root, struct sources *);

/* schema_upstream.c, schema_endpoint.c: `upstreams` (at: the snapshot), one upstream's `endpoints`. */
int schema_upstreams_read(void *at, const struct yaml_node *, struct load *) must_check;
int schema_endpoints_read(void *at, const struct yaml_node *, struct load *) must_check;

/* schema_route.c: `routes` (at: the snapshot). */
int schema_routes_read(void *at, const struct yaml_node *, struct load *) must_check;

/* schema_match.c: a route's `match` (at: struct route_match); one in which something is wrong is left without a path. */
int schema_match_read(void *at, const struct yaml_node *, struct load *) must_check;
/* The match in one line, such that two are the same if and only if they match the same requests; `names`: with the
 * names of parameters (for people), else without (to compare). */
struct str schema_match_text(struct arena *, const struct route_match *, bool names);
/* Is it a canonical path, as requests have it after normalising? `params`: may segments be ":name"? */
int schema_path_check(struct load *, const struct yaml_node *, const char *what, struct str path, bool params) must_check;
/* The next ":name" segment from *pos on; false: no more. */
bool schema_param_next(struct str path, size_t *pos, struct str *name);

/* schema_filter.c: `define` (at: the snapshot), and a list of filters (at: struct chain_conf; the place and the owner
 * come from the load). */
int schema_define_read(void *at, const struct yaml_node *, struct load *) must_check;
int schema_chain_read(struct load *, const struct yaml_node *, unsigned place, struct str owner, struct chain_conf *) must_check;
/* After everything was read: names, attributes, slots, options_check() of all. */
int schema_instances_check(struct schema *) must_check;

/* Names and values of header fields that weir is told to send: well-formed, and not its own to set. */
int schema_headers_check(struct load *, const char *key, const struct pairs *) must_check;

/* address.c: splits "host:port" or "[v6]:port"; false: neither. `port` is {NULL, 0} when there is none. */
bool address_split(struct str text, struct str *host, struct str *port, bool *bracketed) must_check;
/* A decimal port, 0 to 65535. */
bool address_port(struct str, uint16_t *port) must_check;
/* A host name: labels of letters, digits, "-" and "_". */
bool address_is_name(struct str);
/* An address by number, or a unix socket's. */
void address_of_ip(const struct ip *, uint16_t port, struct address *);
int address_of_path(struct str path, struct address *, struct err *) must_check;

#endif
