/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The columns of reasons.def as tables. What falls back is decided here too.
 */
#include "reason.h"

#include "lib/check.h"

struct row {
    const char *name, *title, *detail;
    int status;
};

static const struct row rows[REASON_COUNT] = {
#define REASON(name, status, title, detail) [REASON_##name] = {#name, title, detail, status},
#include "reasons.def"
#undef REASON
};

static const struct row *row_of(enum reason r)
{
    check((unsigned)r < REASON_COUNT);
    return &rows[r];
}

int reason_status(enum reason r) { return row_of(r)->status; }
const char *reason_name(enum reason r) { return row_of(r)->name; }
const char *reason_title(enum reason r) { return row_of(r)->title; }
const char *reason_detail(enum reason r) { return row_of(r)->detail; }

bool reason_falls_back(enum reason r)
{
    switch (r) {
    case REASON_unresolved:
    case REASON_no_endpoint:
    case REASON_breaker_open:
    case REASON_connect_failed:
    case REASON_connect_timeout:
    case REASON_tls_failed:
    case REASON_first_byte_timeout:
    case REASON_upstream_reset:
    case REASON_upstream_bad:
    case REASON_upstream_cut:
        return true;
    default:
        return false;
    }
}
