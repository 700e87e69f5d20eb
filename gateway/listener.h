/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LISTENER_H
#define LISTENER_H

#include <stdbool.h>
#include "conf/snapshot.h"
#include "lib/err.h"
#include "lib/list.h"
#include "reason.h"
#include "timers.h"
#include "worker.h"

/*
 * A worker's listening socket. Every worker has one of its own for an address (SO_REUSEPORT), so that the kernel spreads
 * connections and nobody shares a queue; a unix socket is one for all, and each worker takes from it.
 */
struct worker;
struct event;
struct view;

struct listener {
    struct worker *worker;
    struct view *view;               /* what its requests begin under; used */
    const struct listen_conf *conf;  /* of the view's snapshot */
    struct list link;                /* in worker->listeners */
    int fd;                          /* owned; -1: closed, or a simulation's */
    struct event *event;             /* NULL while nothing is accepted */
    unsigned batch;                  /* connections to take in a turn */
    bool owns_name;                  /* it removes the file of its unix socket: the first worker's does */
    bool leaving;                    /* its address is in the configuration no more */
    uint64_t door;                   /* what its address is called in the worker's crowd */
    uint16_t asked;                  /* goes up when other certificates are asked of callers than before */
    unsigned clients;                /* that came by it and are not buried yet */
    struct timer pause;              /* for want of file descriptors */
    struct timer last;               /* while it leaves: when the socket closes */
    struct grave grave;
};

struct admission {
    enum reason refused;             /* REASON_none: it is let in */
    bool counted;                    /* it is in the worker's crowd: crowd_leave() is owed */
    uint64_t wait;                   /* ns until it may be worth to come again */
};

enum { LISTENER_REFUSAL_MAX = 640 };

/*
 * A bound, listening socket. Control thread. Sockets of one user share a TCP address, and the kernel deals connections out. The
 * first of an address (FIRST) clears a stale unix socket away. TRY, of TCP: it shares with nobody and does not listen, so that it
 * fails where anybody does; to be closed again.
 */
enum { LISTENER_FIRST = 1, LISTENER_TRY = 2 };
int listener_socket(const struct listen_conf *, unsigned how, int *fd, struct err *) must_check;

/* Takes `fd` over; accepts nothing before listener_start(). The conf is of the view's snapshot. */
struct listener *listener_new(struct worker *, struct view *, const struct listen_conf *, int fd);
/* Requests that begin from now on do so under this view. Its socket and its connections stay; but when other certificates are
 * asked of callers now, each connection ends with its next answer, or at once if it is idle. */
void listener_set_view(struct listener *, struct view *, const struct listen_conf *);
/* For good, under the view that it has: a unix socket's file goes at once, what still comes in for a moment is taken, then the
 * socket closes. Each connection ends with its next answer, or when it was idle for too long, and with the last one, unseen,
 * the listener. */
void listener_leave(struct listener *);
/* For client.c: a client of it is buried. */
void listener_release(struct listener *);
/* May this address have one more connection here, by `per_address`? A refusal is counted and logged. */
struct admission listener_admit(struct listener *, const struct ip *peer) must_check;
/* The whole answer to a connection that is refused; nothing is read of the request that it answers. Returns its length. */
size_t listener_refusal(const struct admission *, char *out, size_t cap);
void listener_start(struct listener *);          /* unless memory is too short for it */
/* Nothing is accepted until listener_start(); what comes waits in the kernel. */
void listener_hold(struct listener *);
/* It will stop soon: connections are taken as they come, without their first bytes, for one that the kernel holds
 * back would be reset when the socket closes. */
void listener_last_call(struct listener *);
/* Removes a unix socket's file, takes what stands in the queue, then closes the socket. The listener itself stays as long
 * as its clients. */
void listener_stop(struct listener *);
void listener_free(struct listener *);

#endif
