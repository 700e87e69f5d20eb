/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VERBS_H
#define VERBS_H

#include <stdbool.h>
#include "lib/check.h"

/*
 * What `weir` can be told to do. The table is what main() looks into, and what usage texts and the manual are made of. Main
 * thread.
 */
struct verb {
    const char *name;
    int (*run)(int argc, char **argv);       /* argv[0] is the verb's name; returns the exit status */
    const char *usage;               /* what stands behind `weir `, one form a line */
    const char *help;                /* one sentence */
    const char *more;                /* further sentences, on options; NULL: there is no more to say */
};

extern const struct verb verbs_all[];        /* in the order of the manual; ended by one without a name */

/* Looks up argv[1] and runs it. Returns the exit status of the process. */
int verbs_run(int argc, char **argv);
const struct verb *verbs_find(const char *name);           /* NULL: there is none */
/* Says on stderr what is wrong with how the verb was called, and how it is to be; returns EXIT_USAGE. */
int verbs_misused(const char *name, const char *fmt, ...) printf_like(2, 3);

/* The file that is meant when none is named: $WEIR_CONFIG, or /etc/weir/weir.yaml. */
const char *verbs_default_file(void);

/* verb_conf.c: verbs about files. */
int verb_run(int argc, char **argv);
int verb_check(int argc, char **argv);
int verb_show(int argc, char **argv);

/* verb_doc.c: verbs that say what there is to know. */
int verb_doc(int argc, char **argv);
int verb_schema(int argc, char **argv);
int verb_fmt(int argc, char **argv);                       /* verb_fmt.c */

/* verb_admin.c, verb_plan.c: verbs that ask a running gateway. */
int verb_plan(int argc, char **argv);
int verb_reload(int argc, char **argv);
int verb_healthcheck(int argc, char **argv);
int verb_breaker(int argc, char **argv);

#endif
