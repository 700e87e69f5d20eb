/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One name for a request, the same in the caller's hands, in the logs here and at the upstream.
 *
 * A caller's own id is believed only where the configuration says so: else two callers could use one id, or someone
 * could write into another's traces. What a caller sent is gone in every spelling of the name before ours is set. An
 * id that a filter before this one set (the listener's, when the route names one too) is kept: a request has one.
 *
 * Ids are for telling requests apart, not for secrets: the worker's rng can be predicted by who sees enough of it.
 */
#include "filters/request_id.h"

#include "conf/field.h"
#include "conf/load.h"
#include "filter.h"
#include "http/name.h"
#include "request.h"

struct request_id_options {
    struct str header;
    bool trust, respond;
};

static const struct field request_id_fields[] = {
    {.key = "header", .type = FIELD_TOKEN, .offset = offsetof(struct request_id_options, header),
     .fallback = "x-request-id", .help = "The field that carries the id, to the upstream and back."},
    {.key = "trust", .type = FIELD_BOOL, .offset = offsetof(struct request_id_options, trust), .fallback = "false",
     .help = "Keep the id that a caller sends, if it is 1 to 128 visible characters."},
    {.key = "respond", .type = FIELD_BOOL, .offset = offsetof(struct request_id_options, respond), .fallback = "true",
     .help = "Send the id back to the caller."},
    {.type = FIELD_END},
};

bool request_id_ok(struct str id)
{
    if (id.len < 1 || id.len > REQUEST_ID_MAX)
        return false;
    for (size_t i = 0; i < id.len; i++)
        if (id.at[i] <= ' ' || id.at[i] > '~')
            return false;
    return true;
}

void request_id_make(struct rng *rng, char out[REQUEST_ID_LEN])
{
    static const char digits[] = "0123456789abcdef";
    uint64_t half[2] = {rng_next(rng), rng_next(rng)};
    char *p = out;

    half[0] = (half[0] & ~(uint64_t)0xf000) | 0x4000;                          /* version 4 */
    half[1] = (half[1] & ~((uint64_t)3 << 62)) | (uint64_t)2 << 62;            /* variant of RFC 9562 */
    for (unsigned i = 0; i < 32; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20)
            *p++ = '-';
        *p++ = digits[half[i / 16] >> (60 - 4 * (i % 16)) & 15];
    }
}

static int request_id_check(void *options, struct load *load)
{
    const struct request_id_options *o = options;
    if (http_name_is_reserved(o->header) || str_eq_nocase(o->header, STR("host")))
        return load_err(load, yaml_get(load->node, "header"), CODE_header,
                        "header: `" STR_FMT "` is not a field that can carry an id",
                        STR_ARG(o->header));
    return 0;
}

static bool brought(const struct request_id_options *o, const struct http_head *h, struct str *id)
{
    if (!o->trust || http_head_count(h, o->header) != 1)
        return false;
    *id = http_head_get(h, o->header);
    return request_id_ok(*id);
}

static enum verdict request_id_on_request(struct call *call)
{
    const struct request_id_options *o = call->options;
    struct http_head *h = request_head(call->req);
    char made[REQUEST_ID_LEN];
    struct str id = request_id(call->req);

    if (!id.at) {
        if (!brought(o, h, &id)) {
            request_id_make(call->rng, made);
            id = str_of(made, sizeof(made));
        }
        request_set_id(call->req, id);
    }
    http_head_set(h, request_arena(call->req), o->header, request_id(call->req));
    return FILTER_NEXT;
}

static enum verdict request_id_on_response(struct call *call)
{
    const struct request_id_options *o = call->options;
    if (o->respond)
        http_head_set(response_head(call->req), request_arena(call->req), o->header, request_id(call->req));
    return FILTER_NEXT;
}

const struct filter filter_request_id = {
    .name = "request_id",
    .help = "Gives each request an id, for logs, the upstream and the caller.",
    .places = PLACE_LISTENER | PLACE_ROUTE,
    .fields = request_id_fields,
    .options_size = sizeof(struct request_id_options),
    .options_check = request_id_check,
    .on_request = request_id_on_request,
    .on_response = request_id_on_response,
};
