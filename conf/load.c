/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a filter's options_check() may look up. All filters are read before any is checked, so that an attribute may be
 * used by a filter that stands in the file before its provider, and routes are known to the filters of upstreams.
 */
#include "conf/load.h"

#include <stdarg.h>
#include "conf/named.h"
#include "conf/snapshot.h"

struct str load_route(const struct load *l, size_t i)
{
    return i < l->snap->n_routes ? l->snap->routes[i].name : (struct str){NULL, 0};
}

static void add(const struct load *l, const struct yaml_node *node, enum diag_code code, const char *fmt, va_list ap)
{
    const struct yaml_node *at = node ? node : l->node;
    struct place place = at ? yaml_place(at) : (struct place){NULL, 0, 0, 0};

    if (node && node->broken)
        return;                      /* it was said what is wrong with it */
    diag_add(l->diags, &place, code, fmt, ap);
}

int load_err(const struct load *l, const struct yaml_node *node, enum diag_code code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add(l, node, code, fmt, ap);
    va_end(ap);
    return -1;
}

void load_warn(const struct load *l, const struct yaml_node *node, enum diag_code code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add(l, node, code, fmt, ap);
    va_end(ap);
}

int load_public(const struct load *l, const struct yaml_node *n, const char *what)
{
    if (n->type != YAML_SCALAR || !yaml_is_secret(n))
        return 0;
    return load_err(l, n, CODE_exposed, "\"%s\" holds a secret, and %s is printed as it is; if it is none, take a variable "
                    "without KEY, TOKEN, SECRET, PASS, CRED or AUTH in its name", yaml_quoted(n).text, what);
}

int load_attribute(const struct load *l, struct str name)
{
    struct nearest near;

    if (l->filters_unknown)
        return 0;
    nearest_init(&near, name);
    for (size_t i = 0; i < l->snap->attributes.n; i++) {
        if (str_eq(l->snap->attributes.v[i], name))
            return (int)i;
        nearest_try(&near, l->snap->attributes.v[i]);
    }
    return load_err(l, NULL, CODE_attribute, "no filter of this configuration provides \"%s\"%s", quoted(name).text,
                    nearest_hint(&near).text);
}
