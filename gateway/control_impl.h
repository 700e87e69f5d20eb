/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_IMPL_H
#define CONTROL_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include "conf/snapshot.h"
#include "control.h"
#include "health.h"
#include "lib/mailbox.h"
#include "worker.h"

/* Shared between control.c, change.c, reload.c and pages.c, and by nobody else. All of it is the control thread's, but what is
 * atomic. */
struct access_log;
struct admin;
struct certificates;
struct conf_watch;
struct crowd;
struct memory;
struct names;
struct probes;
struct reload;
struct resolver;
struct watchdog;

enum { CONTROL_SIGNALS = 4 };

enum phase { PHASE_STARTING, PHASE_SERVING, PHASE_DELAY, PHASE_DRAINING };

struct control {
    struct event_base *base;
    const char *path;                /* of the configuration */
    struct shared_set *shared;
    struct snapshot *snap;           /* in force; one reference */
    struct healths healths;          /* of its upstreams */
    struct probes *checks;
    struct worker *workers;
    pthread_t *threads;
    unsigned n, started;             /* workers; those of them that have a thread */
    uint64_t files;                  /* that may be open */
    _Atomic uint64_t open_connections, kept_bytes;
    struct tls_tickets *tickets;     /* what all workers seal sessions with */
    struct crowd *crowd;             /* connections by address */
    struct mailbox mail;             /* what workers answer */
    struct event *mail_event;
    struct access_log *log;          /* NULL: none is written */
    struct watchdog *watchdog;
    struct memory *memory;
    struct certificates *certificates;
    struct resolver *resolver;
    struct names *names;
    struct admin *admin, *probes;
    struct reload *reload;
    struct conf_watch *watch;        /* of the files of the configuration */
    struct event *signals[CONTROL_SIGNALS], *tick;
    enum phase phase;
    uint64_t since;                  /* when the phase began */
    _Atomic unsigned drained;        /* workers that accept no more and counted whom they have */
    _Atomic unsigned cut;            /* requests that the drain did not wait for */
    bool twice;                      /* a second signal came */
};

/* How many workers that configuration asks for. */
unsigned control_workers(const struct snapshot *);
/* How many client connections may be open under that configuration. */
uint64_t control_connections(const struct control *, const struct snapshot *);
/* Warns when there are not enough files for as many. */
void control_connections_look(const struct control *, const struct snapshot *);

#endif
