/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UP_H1_IMPL_H
#define UP_H1_IMPL_H

#include "endpoint.h"
#include "tls.h"
#include "up_h1.h"

/* Shared between up_h1.c, up_h1_read.c and up_h1_write.c, and by nobody else. */

extern const struct up_ops upconn_ops;

void upconn_set_state(struct upconn *, enum upconn_state);
void upconn_fail(struct upconn *, enum reason, const char *fault);
enum reason upconn_lost(const struct upconn *);       /* what it is when the connection ends now */
void upconn_arm(struct upconn *, uint64_t ns);
void upconn_arm_exchange(struct upconn *);
uint64_t upconn_idle_limit(const struct upconn *);
/* TLS failed, before the exchange began or, when nothing of the answer has come, in it: counts, logs, and ends the attempt. */
void upconn_fail_tls(struct upconn *, struct tls_failure);
void upconn_read(struct upconn *);                    /* all there is; may end the attempt */
void upconn_release(struct up *, bool reuse);

#endif
