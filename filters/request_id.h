/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REQUEST_ID_H
#define REQUEST_ID_H

#include <stdbool.h>
#include "lib/rng.h"
#include "lib/str.h"

#define REQUEST_ID_MAX 128           /* bytes of an id that a caller may bring */
#define REQUEST_ID_LEN 36            /* of one made here */

/* May an id from outside go into logs, answers and on to the upstream: 1 to 128 visible ASCII characters? */
bool request_id_ok(struct str);

/* A random UUID (RFC 9562 5.4), lower case. The rng's own thread. */
void request_id_make(struct rng *, char out[REQUEST_ID_LEN]);

#endif
