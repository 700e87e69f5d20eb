/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPAND_H
#define EXPAND_H

#include "conf/source.h"
#include "lib/arena.h"
#include "lib/check.h"
#include "lib/str.h"

/*
 * Variables in a scalar of the configuration:
 *   ${VAR}             the environment's; unset is an error
 *   ${VAR:-default}    default when unset or empty
 *   ${VAR:?message}    the error's text when unset or empty
 *   ${file:/path}      what a file holds, without the line end at its end; at most EXPAND_FILE_MAX bytes
 *   $${                a literal ${
 * Values are not looked through again. Control thread.
 */
#define EXPAND_FILE_MAX 65536

struct diags;

/* *out lives in the arena, or is `text` itself when nothing had to be changed. */
int expand(struct arena *, struct str text, const struct place *, struct str *out, struct diags *) must_check;

#endif
