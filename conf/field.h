/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FIELD_H
#define FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/arena.h"
#include "lib/check.h"
#include "lib/ip.h"

/*
 * Tables that say what a YAML mapping may hold and where each value goes. One table gives the parser, its errors, the
 * JSON schema and the manual: a key exists once. Control thread.
 */
struct yaml_node;
struct load;

enum field_type {
    FIELD_END = 0,
    FIELD_BOOL,          /* bool */
    FIELD_COUNT,         /* uint64_t; a plain integer */
    FIELD_SIZE,          /* uint64_t bytes; 512B, 64KiB, 1MiB, 1GiB, 10kB, 1MB */
    FIELD_DURATION,      /* uint64_t ns; 250ms, 2s, 5m, 1h, 500us */
    FIELD_PERCENT,       /* uint32_t in 1/100 %; 10%, 2.5%; at most 100% unless `max` says else */
    FIELD_RATE,          /* struct rate; 100/s, 6000/min, 10/h */
    FIELD_DURATION_RANGE,/* uint64_t[2]; 100ms..2s */
    FIELD_TEXT,          /* struct str */
    FIELD_TOKEN,         /* struct str; 1*tchar: a header's name */
    FIELD_ENUM,          /* int: index into `words` */
    FIELD_TEXTS,         /* struct texts; one scalar or a list of them */
    FIELD_PAIRS,         /* struct pairs; a mapping of scalars, in order */
    FIELD_CIDRS,         /* struct cidrs; one or a list */
    FIELD_MAP,           /* a mapping with a table of its own: `sub`, whose offsets count from this field's */
    FIELD_CUSTOM,        /* `parse` does it */
};

#define RATE_MAX 1000000u                                        /* tokens a second */

struct rate { uint64_t tokens, period; };                        /* tokens a period; period in ns */
struct texts { struct str *v; size_t n; };
struct pair { struct str key, value, shown; const struct yaml_node *node; };   /* of the key; while loading only */
struct pairs { struct pair *v; size_t n; };
struct cidrs { struct cidr *v; size_t n; };

struct field {
    const char *key;
    enum field_type type;
    size_t offset;                   /* into the options */
    const char *help;                /* one sentence, for the manual: required (make lint) */
    const char *fallback;            /* the default, written as in YAML; NULL: zero, and the manual says "none" */
    bool required;
    uint64_t min, max;               /* of numbers, in the type's own unit; max 0: no bound */
    const char *const *words;        /* of FIELD_ENUM; NULL-terminated */
    int (*parse)(void *at, const struct yaml_node *, struct load *) must_check;   /* FIELD_CUSTOM */
    const struct field *sub;         /* of FIELD_MAP; of FIELD_CUSTOM: for the manual and the JSON schema only */
    const char *form;                /* FIELD_CUSTOM: what may be written, in a few words, for the manual */
    const char *json;                /* FIELD_CUSTOM: its JSON schema; "@" stands for that of `sub` */
};

/* Reads a mapping into `options` (zeroed, of the size that the table's offsets need): what the mapping says, or the
 * default, in the table's order. Unknown keys, wrong types and bounds are errors with their place and, for a key,
 * the nearest one that exists; all of them are told, -1 says that there were any. `node` NULL (or a null value): defaults only; a
 * required field is then an error at load->node. */
int fields_read(const struct field *, const struct yaml_node *, void *options, struct load *) must_check;

/* The same for one mapping that feeds several tables, each with options of its own; they have no key in common. */
struct field_set { const struct field *fields; void *options; };
int fields_read_sets(const struct field_set *, size_t n, const struct yaml_node *, struct load *) must_check;

/* Is there an unknown key in the mapping that was probably meant for this one of the table? */
bool fields_misspelt(const struct field *, const struct yaml_node *map, const char *key, const struct load *);

/* One value of the given type; shared with hand-written readers. */
int field_read(const struct field *, const struct yaml_node *, void *at, struct load *) must_check;

#endif
