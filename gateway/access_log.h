/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ACCESS_LOG_H
#define ACCESS_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include "conf/snapshot.h"
#include "lib/err.h"
#include "lib/ip.h"
#include "lib/ring.h"
#include "reason.h"

/*
 * One JSON line a request. A worker puts a record into its ring and goes on; a writer thread makes the text and writes it in
 * large pieces. A full ring drops the record and counts it: a worker never waits for a disk or a pipe.
 */
struct access_record {
    uint64_t wall;                   /* ns since 1970, of the head's arrival */
    uint64_t duration, first_byte;   /* ns; first_byte: from arrival to the final head; 0: none */
    uint64_t bytes_in, bytes_out;    /* of bodies: from the client, to the client */
    uint64_t connection;             /* a number for the client's connection */
    struct ip client;
    uint16_t status;                 /* 0: cut without an answer */
    uint16_t attempts;
    enum reason reason;
    enum reason note;                /* why something was not done for it; REASON_none: nothing to say */
    uint64_t waited;                 /* ns that filters made it wait, in a queue or for tokens */
    struct str id, method, target, host, route, endpoint, fault;     /* fault: http_fault_name(), or an attempt's cause */
    struct str policy, shadow;       /* the filter's name that answered; that would have, were it not in shadow mode */
    const char *tls;                 /* its version, static; NULL: plain */
    struct str sni, subject;         /* the name asked for; of the caller's certificate */
    uint8_t minor;                   /* HTTP/1.minor of the request */
    bool tunnel;
};

struct access_log;

/* Starts the writer thread. LOG_TO_NONE gives NULL, which the others take as "log nothing". Control thread. */
int access_log_open(enum log_to, struct str path, unsigned workers, struct access_log **out, struct err *) must_check;
/* Writes what is in the rings, then ends the thread; a reader that takes nothing is given up after 2 s. Control thread,
 * after the workers. */
void access_log_close(struct access_log **);
/* Says that nothing is put any more: what is in the rings is written, and the thread ends. Control thread, after the workers;
 * access_log_close() does not wait then once access_log_ended() is true. */
void access_log_end(struct access_log *);
bool access_log_ended(const struct access_log *);
/* Opens the file again (after a rotation). Any thread. */
void access_log_reopen(struct access_log *);
struct ring *access_log_ring(struct access_log *, unsigned worker);
uint64_t access_log_dropped(const struct access_log *);        /* records, in all. Any thread */

/* The owning worker; a NULL ring (LOG_TO_NONE) takes nothing. Strings are copied, each cut at 8 KiB. */
void access_log_put(struct ring *, const struct access_record *);

/* Bytes of a line at most. */
#define ACCESS_STRING_MAX 8192
#define ACCESS_LINE_MAX (11 * (ACCESS_STRING_MAX * 6 + 2) + 1024)

/* The line as it is written, "\n" included; returns its length, 0 if `cap` is too small for it. Strings that are absent, and
 * first_byte_ms when there was none, are null; status 0 is written as 0. For the writer and its test. */
size_t access_log_format(const struct access_record *, char *out, size_t cap);

#endif
