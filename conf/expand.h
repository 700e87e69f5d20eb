/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPAND_H
#define EXPAND_H

#include "conf/diag.h"
#include "conf/source.h"
#include "lib/arena.h"
#include "lib/check.h"
#include "lib/str.h"

/*
 * Variables in a scalar of the configuration:
 *   ${VAR}             the environment's; unset is an error
 *   ${VAR:-default}    default when unset or empty
 *   ${VAR:?message}    the error's text when unset or empty
 *   ${file:/path}      what a file holds, without the line end at its end; at most EXPAND_FILE_MAX bytes of UTF-8
 *   $${                a literal ${
 * Values are not looked through again. Control thread.
 *
 * What comes from a file is secret, and what comes from a variable whose name says so (expand_is_secret()), or whose value is
 * a URL with a user in it: DATABASE_URL is mostly one with a password.
 */
#define EXPAND_FILE_MAX 65536
#define EXPAND_MAX ((size_t)1 << 20)      /* bytes of a scalar once its variables are put in */

/* A scalar as it stands in its file: where errors in it point. */
struct scalar {
    struct place place;              /* of its first character */
    struct str raw;                  /* from there to its end, quotes and escapes as they are */
};

struct expanded {
    struct str text;                 /* what the scalar means; the text given itself when nothing had to be changed */
    struct str shown;                /* the same with *** for each secret; `text` itself when it holds none */
};

/* Returns -1 when anything was wrong, which `diags` says of each variable; `out` is then what the rest gave. Files that
 * were read are added to `sources`. */
int expand(struct arena *, struct str text, const struct scalar *, struct sources *, struct diags *,
           struct expanded *out) must_check;

/*
 * Does a variable of that name hold a secret? A word of it (they are separated by "_") begins or ends with KEY, TOKEN,
 * SECRET, PASS, PASSWORD, PASSWD, CRED or AUTH, in any case; unless the last word says that it is something that is no
 * secret: a place (KEYCLOAK_HOST, AUTH_SERVICE_PORT) or a measure (TOKENS_PER_MINUTE).
 */
bool expand_is_secret(struct str name);
/* Is it a URL with a user's name, and perhaps a password, before the host? */
bool expand_has_user(struct str value);

#endif
