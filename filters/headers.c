/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets, adds and removes fields of the request on its way up and of the response on its way down.
 *
 * Names and values are checked when the configuration is loaded, so that what is written on can never break a message
 * apart; fields of framing and of one hop belong to the codecs and cannot be named. What is set or removed goes in
 * every spelling that an upstream may take for the name: http_head_remove() sees to that.
 *
 * Values are fixed texts: the YAML reader has put variables of the environment in already, nothing of the request is.
 */
#include "filters/headers.h"

#include "conf/load.h"
#include "filter.h"
#include "http/name.h"
#include "request.h"

static const struct field edit_fields[] = {
    {.key = "set", .type = FIELD_PAIRS, .offset = offsetof(struct headers_edit, set),
     .help = "Fields to send with these values, in place of all that have the name."},
    {.key = "add", .type = FIELD_PAIRS, .offset = offsetof(struct headers_edit, add),
     .help = "Fields to send besides those that have the name."},
    {.key = "remove", .type = FIELD_TEXTS, .offset = offsetof(struct headers_edit, remove),
     .help = "Names of fields that are not sent on."},
    {.type = FIELD_END},
};

static const struct field headers_fields[] = {
    {.key = "request", .type = FIELD_MAP, .offset = offsetof(struct headers_options, request), .sub = edit_fields,
     .help = "What to do to the request before it goes to the upstream."},
    {.key = "response", .type = FIELD_MAP, .offset = offsetof(struct headers_options, response), .sub = edit_fields,
     .help = "What to do to the response before it goes to the caller."},
    {.type = FIELD_END},
};

/* Why the name cannot stand there; NULL: it can. */
static const char *name_fault(struct str name, bool request)
{
    if (!http_is_token(name))
        return "is no field name: letters, digits and !#$%&'*+-.^_`|~ only";
    if (http_name_is_reserved(name))
        return "cannot be changed: it is about the connection or the framing, which weir does itself";
    if (request && str_eq_nocase(name, STR("host")))
        return "cannot be changed here: say `host:` of the upstream";
    return NULL;
}

static int check_pairs(const struct pairs *pairs, bool request, const struct load *load)
{
    int res = 0;

    for (size_t i = 0; i < pairs->n; i++) {
        const struct pair *p = &pairs->v[i];
        const char *fault = name_fault(p->key, request);
        if (fault)
            res = load_err(load, p->node, CODE_header, "`" STR_FMT "` %s", STR_ARG(p->key), fault);
        if (!http_is_field_value(p->value))
            res = load_err(load, p->node, CODE_header, "the value of `" STR_FMT "` holds a line break or another control "
                           "character", STR_ARG(p->key));
    }
    return res;
}

static int check_edit(const struct headers_edit *e, const char *key, struct load *load)
{
    const struct yaml_node *remove = yaml_get(yaml_get(load->node, key), "remove");
    bool request = !strcmp(key, "request");
    int res = 0;

    if (check_pairs(&e->set, request, load) != 0)
        res = -1;
    if (check_pairs(&e->add, request, load) != 0)
        res = -1;
    for (size_t i = 0; i < e->remove.n; i++) {
        const char *fault = name_fault(e->remove.v[i], request);
        const struct yaml_node *at = remove && remove->type == YAML_LIST ? remove->entries[i].value : remove;
        if (fault)
            res = load_err(load, at, CODE_header, "%s: remove: `" STR_FMT "` %s", key, STR_ARG(e->remove.v[i]), fault);
    }
    return res;
}

static int headers_check(void *options, struct load *load)
{
    const struct headers_options *o = options;
    int res = check_edit(&o->request, "request", load);
    return check_edit(&o->response, "response", load) != 0 ? -1 : res;
}

void headers_apply(const struct headers_edit *e, struct http_head *h, struct arena *arena)
{
    for (size_t i = 0; i < e->remove.n; i++)
        http_head_remove(h, e->remove.v[i]);
    for (size_t i = 0; i < e->set.n; i++)
        http_head_set(h, arena, e->set.v[i].key, e->set.v[i].value);
    for (size_t i = 0; i < e->add.n; i++)
        http_head_add(h, arena, e->add.v[i].key, e->add.v[i].value);
}

static enum verdict headers_on_request(struct call *call)
{
    const struct headers_options *o = call->options;
    headers_apply(&o->request, request_head(call->req), request_arena(call->req));
    return FILTER_NEXT;
}

static enum verdict headers_on_response(struct call *call)
{
    const struct headers_options *o = call->options;
    headers_apply(&o->response, response_head(call->req), request_arena(call->req));
    return FILTER_NEXT;
}

const struct filter filter_headers = {
    .name = "headers",
    .help = "Sets, adds and removes header fields of requests and responses.",
    .places = PLACE_ANY,
    .fields = headers_fields,
    .options_size = sizeof(struct headers_options),
    .options_check = headers_check,
    .on_request = headers_on_request,
    .on_response = headers_on_response,
};
