/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a filter's options_check() may look up. All filters are read before any is checked, so that an attribute may be
 * used by a filter that stands in the file before its provider, and routes are known to the filters of upstreams.
 */
#include "conf/load.h"

#include <stdarg.h>
#include <stdio.h>
#include "conf/named.h"
#include "conf/snapshot.h"
#include "lib/log.h"

struct str load_route(const struct load *l, size_t i)
{
    return i < l->snap->n_routes ? l->snap->routes[i].name : (struct str){NULL, 0};
}

void load_warn(const struct load *l, const struct yaml_node *node, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (!node)
        node = l->node;
    log_warn("config", "%s:%u:%u: %s", l->file, node->line, node->col, text);
}

int load_attribute(struct load *l, struct str name, struct err *err)
{
    struct nearest near;

    nearest_init(&near, name);
    for (size_t i = 0; i < l->snap->attributes.n; i++) {
        if (str_eq(l->snap->attributes.v[i], name))
            return (int)i;
        nearest_try(&near, l->snap->attributes.v[i]);
    }
    return yaml_err(err, l, NULL, "no filter of this configuration provides \"%s\"%s", quoted(name).text,
                    nearest_hint(&near).text);
}
