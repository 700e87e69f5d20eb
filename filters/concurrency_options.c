/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a concurrency limit is told: its options, how they are checked against each other and against the routes that there
 * are, and what class a request is of by them. Once read they do not change.
 */
#include "filters/concurrency.h"

#include "conf/load.h"
#include "conf/named.h"
#include "lib/clock.h"
#include "lib/hash.h"

#define COUNT_MAX 1000000u
#define PERCENT_ALL 10000u           /* 100 % in FIELD_PERCENT's unit */

static const char *const class_words[] = {"critical", "high", "normal", "low", NULL};
#define CLASS_JSON "{\"anyOf\":[{\"enum\":[\"critical\",\"high\",\"normal\",\"low\"]},{\"$ref\":\"#/$defs/variable\"}]}"

/* Names come from the configuration's author: the key need not be secret. */
static size_t route_slot(const struct concurrency_priority *p, struct str name)
{
    static const struct hash_key key = {0x70726f697269, 0x726f757465};
    size_t i = hash_str(&key, name) & p->routes.mask;
    while (p->routes.table[i].name.at && !str_eq(p->routes.table[i].name, name))
        i = (i + 1) & p->routes.mask;
    return i;
}

static int routes_read(void *at, const struct yaml_node *n, struct load *l)
{
    static const struct field one = {.key = "routes", .type = FIELD_ENUM, .words = class_words};
    struct concurrency_priority *p = at;
    size_t size = 2;
    int res = 0;

    if (n->type != YAML_MAP || n->n == 0)
        return load_err(l, n, CODE_kind, "routes: must be a mapping of routes' names to classes: {\"/v1/\": high}");
    while (size < n->n * 2)
        size *= 2;
    p->routes.table = arena_zalloc(l->arena, size * sizeof *p->routes.table);
    p->routes.mask = size - 1;
    for (size_t i = 0; i < n->n; i++) {
        const struct yaml_entry *e = &n->entries[i];
        int class;
        if (field_read(&one, e->value, &class, l) != 0)
            res = -1;
        else
            p->routes.table[route_slot(p, e->key->text)] = (struct concurrency_route){e->key->text, class, false};
    }
    return res;
}

#define PRIORITY(field) offsetof(struct concurrency_priority, field)

static const struct field priority_fields[] = {
    {.key = "default", .type = FIELD_ENUM, .offset = PRIORITY(fallback), .words = class_words, .fallback = "normal",
     .help = "The class of a request about which nothing else is said."},
    {.key = "routes", .type = FIELD_CUSTOM, .parse = routes_read, .form = "a mapping of routes' names to classes",
     .json = "{\"type\":\"object\",\"minProperties\":1,\"additionalProperties\":" CLASS_JSON "}",
     .help = "The class of a route's requests."},
    {.key = "header", .type = FIELD_TOKEN, .offset = PRIORITY(header),
     .help = "A header field in which a trusted caller may name the class; it goes before `routes`. Anything but one of the "
             "four words is as if the field were not there."},
    {.key = "trusted", .type = FIELD_CIDRS, .offset = PRIORITY(trusted),
     .help = "Networks of the callers whose header is believed; required with `header`."},
    {.type = FIELD_END},
};

/* Of the last class nothing can be kept from anybody. */
static const struct field reserve_fields[] = {
    {.key = "critical", .type = FIELD_PERCENT, .offset = CLASS_CRITICAL * sizeof(uint32_t),
     .help = "What is kept for critical requests."},
    {.key = "high", .type = FIELD_PERCENT, .offset = CLASS_HIGH * sizeof(uint32_t),
     .help = "What is kept from normal and low ones."},
    {.key = "normal", .type = FIELD_PERCENT, .offset = CLASS_NORMAL * sizeof(uint32_t),
     .help = "What is kept from low ones."},
    {.type = FIELD_END},
};

static int reserve_read(void *at, const struct yaml_node *n, struct load *l)
{
    static const struct field one = {.key = "reserve", .type = FIELD_PERCENT};
    if (n->type == YAML_SCALAR)
        return field_read(&one, n, (uint32_t *)at + CLASS_CRITICAL, l);
    if (n->type != YAML_MAP)
        return load_err(l, n, CODE_kind, "reserve: must be a share of max, or a mapping of classes to shares: {high: 10%%}");
    return fields_read(reserve_fields, n, at, l);
}

#define OPTION(field) offsetof(struct concurrency_options, field)

const struct field concurrency_fields[] = {
    {.key = "max", .type = FIELD_COUNT, .offset = OPTION(max), .required = true, .min = 1, .max = COUNT_MAX,
     .help = "How many attempts may be at the upstream at once, of all workers; with `key`, of each key."},
    {.key = "queue", .type = FIELD_COUNT, .offset = OPTION(queue), .max = COUNT_MAX,
     .help = "How many more may wait; by default 5 times `max`. 0: who finds no slot is refused at once."},
    {.key = "max_wait", .type = FIELD_DURATION, .offset = OPTION(max_wait), .fallback = "2s", .min = NSEC_PER_MSEC,
     .max = 3600 * NSEC_PER_SEC,
     .help = "How long one may wait. Who is expected to wait longer, or past the request's deadline, is refused at once."},
    {.key = "fair_by", .type = FIELD_CUSTOM, .parse = limit_key_parse, .offset = OPTION(fair_by), .form = LIMIT_KEY_FORM,
     .json = LIMIT_KEY_JSON,
     .help = "Whose requests take turns in the queue, so that a loud caller waits behind its own; by default first come, "
             "first served."},
    {.key = "key", .type = FIELD_CUSTOM, .parse = limit_key_parse, .offset = OPTION(key), .form = LIMIT_KEY_FORM,
     .json = LIMIT_KEY_JSON,
     .help = "A limit and a queue for each caller instead of one for all; refusals are then 429 instead of 503."},
    {.key = "priority", .type = FIELD_MAP, .offset = OPTION(priority), .sub = priority_fields,
     .help = "Who is served first: four classes, `critical`, `high`, `normal` and `low`. A class waits until no one of "
             "those before it does."},
    {.key = "reserve", .type = FIELD_CUSTOM, .parse = reserve_read, .offset = OPTION(reserve), .sub = reserve_fields,
     .form = "a share of `max`, which is that of `critical`, or a mapping of classes to shares",
     .json = "{\"anyOf\":[{\"type\":\"string\"},@]}",
     .help = "Slots that a class keeps from all classes after it, rounded up; each class must be left one."},
    {.type = FIELD_END},
};

/* One look at each route, and one at each name: both may be many. */
static int routes_check(struct concurrency_priority *p, const struct yaml_node *n, struct load *l)
{
    struct nearest near;
    struct str name;
    int res = 0;

    for (size_t i = 0; n && (name = load_route(l, i)).at != NULL; i++)
        p->routes.table[route_slot(p, name)].known = true;
    for (size_t k = 0; n && k < n->n; k++) {
        const struct yaml_node *key = n->entries[k].key;
        if (p->routes.table[route_slot(p, key->text)].known)
            continue;
        nearest_init(&near, key->text);
        for (size_t i = 0; !diags_full(l->diags) && (name = load_route(l, i)).at != NULL; i++)
            nearest_try(&near, name);
        res = load_err(l, key, CODE_unknown_name, "routes: there is no route \"%s\"%s", quoted(key->text).text,
                       nearest_hint(&near).text);
    }
    return res;
}

static int priority_check(const struct concurrency_priority *p, const struct yaml_node *n, struct load *l)
{
    const struct yaml_node *header = yaml_get(n, "header"), *trusted = yaml_get(n, "trusted");
    if (header && p->trusted.n == 0)
        return load_err(l, trusted ? trusted : header, CODE_together, "priority: header \"%s\" is believed of nobody; name the "
                        "networks that may set it: trusted: [10.0.0.0/8]", quoted(p->header).text);
    if (trusted && !header)
        return load_err(l, trusted, CODE_together, "priority: trusted says whose header is believed, and no header is named");
    return 0;
}

/* The slots that each class may use: cap(k) = max - the sum over j < k of ceil(share_j * max). */
static int caps_make(struct concurrency_options *o, const struct yaml_node *n, struct load *l)
{
    uint64_t kept[FAIR_CLASSES] = {0}, cap = o->max;

    for (unsigned class = 0; class < FAIR_CLASSES; class++) {
        if (cap == 0)
            return load_err(l, n, CODE_conflict, "reserve: of %u slots critical keeps %u, high %u and normal %u, which leaves none "
                            "for %s", (unsigned)o->max, (unsigned)kept[CLASS_CRITICAL], (unsigned)kept[CLASS_HIGH],
                            (unsigned)kept[CLASS_NORMAL], class_words[class]);
        o->rule.cap[class] = (uint32_t)cap;
        kept[class] = (o->reserve[class] * o->max + PERCENT_ALL - 1) / PERCENT_ALL;
        cap -= kept[class] < cap ? kept[class] : cap;
    }
    return 0;
}

int concurrency_check(void *options, struct load *load)
{
    struct concurrency_options *o = options;
    const struct yaml_node *priority = yaml_get(load->node, "priority"), *reserve = yaml_get(load->node, "reserve");

    if (!yaml_get(load->node, "queue"))
        o->queue = o->max < COUNT_MAX / 5 ? o->max * 5 : COUNT_MAX;
    /* All of them, not up to the first that finds something. */
    int res = limit_key_check(&o->fair_by, load) | limit_key_check(&o->key, load) |
              routes_check(&o->priority, yaml_get(priority, "routes"), load) | priority_check(&o->priority, priority, load);
    if (reserve && !o->priority.routes.table && !o->priority.header.at)
        return load_err(load, reserve, CODE_together, "reserve: all requests are of one class; give them theirs by `routes` or "
                        "`header` of `priority`");
    o->rule.max = (uint32_t)o->max;
    o->rule.queue = (uint32_t)o->queue;
    o->rule.max_wait = o->max_wait;
    return caps_make(o, reserve, load) != 0 ? -1 : res;
}

bool concurrency_trusts(const struct concurrency_priority *p, const struct ip *client)
{
    for (size_t i = 0; i < p->trusted.n; i++)
        if (cidr_holds(&p->trusted.v[i], client))
            return true;
    return false;
}

unsigned concurrency_class(const struct concurrency_priority *p, struct str route, struct str word)
{
    for (unsigned class = 0; word.at && class < FAIR_CLASSES; class++)
        if (str_eq(word, str_c(class_words[class])))
            return class;
    if (p->routes.table && route.at) {
        const struct concurrency_route *r = &p->routes.table[route_slot(p, route)];
        if (r->name.at)
            return (unsigned)r->class;
    }
    return (unsigned)p->fallback;
}
