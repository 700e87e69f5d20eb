/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOKEN_BUCKET_H
#define TOKEN_BUCKET_H

#include <stdint.h>
#include "filters/limit_algo.h"

/* The state of an instance, made by the filter's shared_adopt(). */
struct token_bucket;

/* Takes one token, or says how long until there is one. Any thread. */
struct limit_result token_bucket_take(struct token_bucket *, uint64_t now);

#endif
