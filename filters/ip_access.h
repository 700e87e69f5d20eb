/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IP_ACCESS_H
#define IP_ACCESS_H

#include <stdbool.h>
#include "conf/field.h"
#include "lib/ip.h"

/* Who may enter, by address. */
struct ip_access_options {
    struct cidrs allow, deny;
};

/* What is denied is denied; of the rest, whoever is allowed, or all if no list of allowed networks was given. A caller
 * without an address (a unix socket's) stands in no network. Any thread. */
bool ip_access_permits(const struct ip_access_options *, const struct ip *);

#endif
