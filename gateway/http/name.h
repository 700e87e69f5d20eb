/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NAME_H
#define NAME_H

#include <stdbool.h>
#include "lib/str.h"

/* Names of fields that somebody sets by configuration. Any thread. */

/*
 * Does the name, in any spelling, belong to the codec that sends: framing, and what is between two neighbours only
 * (RFC 9110 7.6.1)? Such a field may not be set, added or taken away by configuration.
 */
bool http_name_is_reserved(struct str name);

#endif
