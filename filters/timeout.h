/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TIMEOUT_H
#define TIMEOUT_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/str.h"

/* How long a request and its parts may take, in ns; 0: as the owner's own keys say. */
struct timeout_options {
    uint64_t connect, tls, first_byte, idle, client_body;
    uint64_t total;                  /* from the arrival of the head to the last byte of the answer */
};

/* What a caller may say of his patience: `2s`, `500ms`, or whole milliseconds, more than 0. False: it is none of these, and
 * *ns is as it was. */
bool timeout_parse(struct str, uint64_t *ns);

#endif
