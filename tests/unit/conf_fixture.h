/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONF_FIXTURE_H
#define CONF_FIXTURE_H

/* Filters of the tests' own, and configurations from text: for the tests of conf/. */
#include "diag_fixture.h"

struct limit_options { uint64_t max; };
struct limit_state { uint64_t max, adopted, last_now; bool was_fresh; };
struct user_options { struct str key; int attribute; };

static const struct field limit_fields[] = {
    {.key = "max", .type = FIELD_COUNT, .offset = offsetof(struct limit_options, max), .required = true, .min = 1,
     .help = "How many."},
    {.type = FIELD_END},
};
static const struct field user_fields[] = {
    {.key = "key", .type = FIELD_TEXT, .offset = offsetof(struct user_options, key), .fallback = "consumer",
     .help = "Whose."},
    {.type = FIELD_END},
};
static const struct field no_fields[] = {{.type = FIELD_END}};

static void limit_adopt(void *shared, const void *options, bool fresh, uint64_t now)
{
    struct limit_state *s = shared;
    s->max = ((const struct limit_options *)options)->max;
    s->adopted++;
    s->was_fresh = fresh;
    s->last_now = now;
}

static int user_check(void *options, struct load *l)
{
    struct user_options *o = options;
    o->attribute = load_attribute(l, o->key);
    return o->attribute < 0 ? -1 : 0;
}

static enum verdict body_pass(struct call *c, struct slice s) { (void)c, (void)s; return FILTER_NEXT; }

static const char *const provided[] = {"consumer", "plan", NULL};

static const struct filter limit = {.name = "limit", .places = PLACE_ANY, .fields = limit_fields,
    .options_size = sizeof(struct limit_options), .shared_size = sizeof(struct limit_state),
    .shared_adopt = limit_adopt};
static const struct filter user = {.name = "user", .places = PLACE_ROUTE | PLACE_UPSTREAM, .fields = user_fields,
    .options_size = sizeof(struct user_options), .options_check = user_check};
static const struct filter auth = {.name = "auth", .places = PLACE_LISTENER | PLACE_ROUTE, .fields = no_fields,
    .provides = provided};
static const struct filter bodies = {.name = "bodies", .places = PLACE_ANY, .on_request_body = body_pass,
    .on_response_body = body_pass, .resizes_body = true, .resizes_request_body = true, .keep_body = 100};
static const struct filter *const filters[] = {&limit, &user, &auth, &bodies, NULL};

static struct shared_set *set;          /* each test makes and frees its own */

static struct snapshot *load_or_fail(const char *text, const char *wanted)
{
    struct err err;
    char got[600] = "";
    struct snapshot *s = snapshot_from(text, "t.yaml", filters, set, 7, &err);

    if (!s)
        snprintf(got, sizeof(got), "%u:%u: %s", err.line, err.col, err.text);
    EXPECT_CSTR(got, wanted);
    return s;
}

static inline struct snapshot *load(const char *text) { return load_or_fail(text, ""); }

#define HEAD "version: 1\nlisten: 127.0.0.1:80\n"

#endif
