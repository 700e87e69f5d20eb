/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lets a caller in by its address: the peer's, or what trusted proxies say (request_client).
 *
 * Looks at each network in turn: meant for dozens of them, not for block lists of thousands. It keeps no state. Shadow
 * mode is the core's.
 */
#include "filters/ip_access.h"

#include "conf/load.h"
#include "filter.h"
#include "request.h"

static const struct field ip_access_fields[] = {
    {.key = "allow", .type = FIELD_CIDRS, .offset = offsetof(struct ip_access_options, allow),
     .help = "Networks whose callers may enter; when given, all others are refused."},
    {.key = "deny", .type = FIELD_CIDRS, .offset = offsetof(struct ip_access_options, deny),
     .help = "Networks whose callers are refused, even if they are allowed too."},
    {.type = FIELD_END},
};

static bool holds(const struct cidrs *nets, const struct ip *ip)
{
    for (size_t i = 0; i < nets->n; i++)
        if (cidr_holds(&nets->v[i], ip))
            return true;
    return false;
}

bool ip_access_permits(const struct ip_access_options *o, const struct ip *ip)
{
    return !holds(&o->deny, ip) && (o->allow.n == 0 || holds(&o->allow, ip));
}

static int ip_access_check(void *options, struct load *load)
{
    const struct ip_access_options *o = options;
    if (o->allow.n == 0 && o->deny.n == 0)
        return load_err(load, load->node, CODE_missing_key, "ip_access needs at least one network in `allow` or `deny`");
    return 0;
}

static enum verdict ip_access_on_request(struct call *call)
{
    if (ip_access_permits(call->options, request_client(call->req)))
        return FILTER_NEXT;
    call->reason = REASON_denied;
    return FILTER_FAIL;
}

static enum verdict ip_access_peek(struct call *call)
{
    return ip_access_permits(call->options, request_client(call->req)) ? FILTER_NEXT : FILTER_FAIL;
}

const struct filter filter_ip_access = {
    .name = "ip_access",
    .help = "Refuses callers by their address, with 403.",
    .places = PLACE_ANY,
    .fields = ip_access_fields,
    .options_size = sizeof(struct ip_access_options),
    .options_check = ip_access_check,
    .on_request = ip_access_on_request,
    .peek = ip_access_peek,
};
