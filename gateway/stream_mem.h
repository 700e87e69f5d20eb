/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STREAM_MEM_H
#define STREAM_MEM_H

#include "stream.h"

/*
 * Streams without sockets, for simulation: one end is a worker's stream, the other a script's. Nothing happens by itself:
 * what the script did becomes an event when mem_pump() runs. One thread.
 */
struct mem_end {
    struct stream *stream;           /* the worker's end; NULL once it has closed it */
    struct list link;                /* the owner's list of ends */
    char *in, *out;                  /* to the worker; from the worker, not yet looked at by the script */
    size_t in_at, in_len, in_cap, out_len, out_cap;       /* in_at: what is unread begins there */
    size_t window;                   /* bytes that `out` takes before the worker's writes would block */
    size_t wake;                     /* ... and above which it is not told that there is room again; 0: told of any room */
    size_t read_max;                 /* bytes that one read gives; 0: no bound */
    unsigned events;                 /* STREAM_*: to be delivered */
    bool fin_in, reset_in;           /* the script ended, or broke, its direction */
    bool fin_out, closed_out;        /* the worker shut down, or closed */
    bool reset_out;                  /* ... with a reset */
    bool reset_last;                 /* a reset does not overtake the bytes before it; no event tells of it then */
    bool blocked;                    /* the worker wants to write and could not */
};

void mem_end_init(struct mem_end *, struct stream *, struct worker *, bool connecting,
                  void (*on_event)(struct stream *, unsigned what));
void mem_end_fini(struct mem_end *);

/* The script's side. */
void mem_send(struct mem_end *, const void *at, size_t len);
void mem_fin(struct mem_end *);
void mem_reset(struct mem_end *);
void mem_accept(struct mem_end *);                    /* a connecting stream is connected */
void mem_take(struct mem_end *, size_t len);          /* drops `len` bytes from the front of `out` */
/* Delivers the pending events of this end; true when there were any. */
bool mem_pump(struct mem_end *);

#endif
