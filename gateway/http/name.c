/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which field names a configuration may not touch.
 *
 * The list of reserved names is written as text and not as ids, because it is compared with http_name_alike():
 * "content_length" must be refused as well as "content-length". It is read when a configuration is loaded, never on the
 * way of a request.
 */
#include "http/name.h"

#include "http/headers.h"
#include "lib/check.h"

static const char *const reserved[] = {
    "connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    "expect", "http2-settings", "proxy-authenticate", "proxy-authorization", "proxy-authentication-info", "via",
};

bool http_name_is_reserved(struct str name)
{
    for (size_t i = 0; i < array_len(reserved); i++)
        if (http_name_alike(name, str_c(reserved[i])))
            return true;
    return false;
}
