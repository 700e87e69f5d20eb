/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VERB_ADMIN_H
#define VERB_ADMIN_H

#include <stdbool.h>
#include "admin_client.h"
#include "verbs.h"

/*
 * Private to the verbs that ask a running gateway: how they are called, whom they ask, and what they print. Main thread.
 */
enum { COMMAND_WORDS = 2 };

/* What stands behind a verb: options in any place, and words. */
struct command {
    const char *verb;
    const char *file, *address;      /* -c, -a; at most one of them */
    bool json, offline;
    char token[ADMIN_TOKEN_MAX + 1]; /* that the gateway asks for, once command_whom() found it; "": none is known */
    const char *words[COMMAND_WORDS];
    int n;
};

/* Reads the arguments, with at most `most` words. EXIT_FINE; or the status, and what is wrong was said. */
int command_read(struct command *, const char *verb, int most, int argc, char **argv) must_check;

/* The address of who is to be asked: the one that was given, or that of the first of the keys that the file has; and of `admin`
 * the token, which $WEIR_ADMIN_TOKEN or the file has. -1: it was said why there is none. */
int command_whom(struct command *, const char *const *keys, struct address *) must_check;
extern const char *const command_admin[];        /* the key `admin` */

/* Asks, in the form that was asked for, and prints the answer: on stderr when it is an error in words. Returns the status. */
int command_tell(const struct command *, const struct address *, struct admin_ask *);

#endif
