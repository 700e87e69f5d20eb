/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REASON_H
#define REASON_H

#include <stdbool.h>

/* Why a request ended as it did: reasons.def, as an enum. Any thread. */
enum reason {
#define REASON(name, status, title, detail) REASON_##name,
#include "reasons.def"
#undef REASON
    REASON_COUNT
};

int reason_status(enum reason);              /* 0: none is answered */
const char *reason_name(enum reason);        /* the word */
const char *reason_title(enum reason);
const char *reason_detail(enum reason);
/* The upstream could not answer, and another might: what a route's fallback is for. */
bool reason_falls_back(enum reason);

#endif
