/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLY_H
#define REPLY_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/str.h"
#include "reason.h"

/*
 * An answer made here. Filled in by a filter (call->reply) or by the core from reasons.def; sent through the on_response
 * hooks of the filters entered. Everything it points to lives in the request's arena or the snapshot. The owning worker.
 */
struct request;

struct reply_header {
    struct str name, value;
    struct reply_header *next;
};

struct reply {
    int status;
    enum reason reason;                  /* REASON_replied, or why it was refused */
    struct str content_type;             /* {NULL, 0}: none */
    struct str body;
    struct reply_header *headers, **tail;
    uint64_t retry_after;                /* ns, exact; 0: no Retry-After. The core adds the jitter of POLICY.md */
    struct str policy;                   /* the instance's name, for the problem body; {NULL, 0}: none */
    struct str detail;                   /* a sentence for it; {NULL, 0}: the table's */
    bool problem;                        /* the body is to be made: application/problem+json (RFC 9457) */
};

/* Name and value must live as long as the request: constants, the configuration, its arena. */
void reply_header(struct request *, struct reply *, struct str name, struct str value);

/* Status and reason from reasons.def, with a problem+json body that is made when the answer goes out: retry_after and policy
 * may still be set. `detail` {NULL, 0}: the table's; else it must live as long as the request. */
void reply_reason(struct request *, struct reply *, enum reason, struct str detail);

#endif
