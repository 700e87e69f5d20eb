/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_H
#define SIM_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "conf/snapshot.h"
#include "lib/clock.h"
#include "lib/list.h"
#include "lib/rng.h"
#include "lib/str.h"
#include "stream_mem.h"
#include "worker.h"

/*
 * A whole gateway on one thread: real workers on streams without sockets, under a clock that only the test moves. The test
 * plays the clients and the endpoints.
 *
 *     struct sim *s = sim_new(SIM_PLAIN);
 *     struct sim_conn *c = sim_client(s);
 *     sim_say(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
 *     struct sim_conn *u = sim_next(s);                     the connection that weir opened for it
 *     EXPECT_HAS(u, "GET / HTTP/1.1\r\n");
 *     sim_say(u, "HTTP/1.1 204 No Content\r\n\r\n");
 *     EXPECT_GOT(c, "HTTP/1.1 204 No Content\r\n\r\n");
 *     SIM_END(s);                                           closes everything; nothing may be left
 *
 * Include test.h before it. The same calls give the same result in every run. One thread.
 */
struct filter;
struct listener;
struct sim;
struct tls_tickets;

/* What becomes of a connection that weir opens. */
enum sim_connect {
    SIM_ACCEPT,
    SIM_REFUSE,              /* the error comes later, as from an endpoint that has no listener */
    SIM_REFUSE_NOW,          /* connect() itself fails */
    SIM_HANG,                /* nothing happens until sim_accept() or mem_reset(&c->end) */
};

/* A connection as its other end sees it. Lives until sim_end(). */
struct sim_conn {
    struct mem_end end;
    struct sim *sim;
    struct worker *worker;
    struct client *client;   /* NULL: it is an upstream connection */
    struct address address;  /* of an upstream connection: where to */
    char *got;               /* received and not yet cleared; NUL-terminated */
    size_t got_len, got_cap;
    uint64_t total;          /* bytes received so far */
    uint64_t sum;            /* of them: sim_sum() */
    bool stalled;            /* it takes nothing: bytes stay in `end.out` up to `end.window` */
    bool forgetful;          /* what it receives is counted in `total` and `sum`, and not kept */
    bool handed;             /* by sim_next() */
    struct sim_conn *next;   /* of all, newest first */
};

struct sim {
    struct clock clock;
    struct snapshot *snap;
    struct shared_set *shared;
    struct tls_tickets *tickets;
    const struct filter *const *filters;
    struct worker *workers;
    unsigned n_workers;
    _Atomic uint64_t open_connections, kept_bytes;
    struct list live;                        /* of struct mem_end: oldest first */
    struct sim_conn *all;
    struct rng rng;
    /* Knobs; may be turned at any time, for connections made from then on. */
    enum sim_connect connect;
    uint16_t refused_port;                   /* connects to it are refused whatever `connect` says; 0: none */
    size_t client_read_max, up_read_max;     /* bytes that one read gives; 0: no bound */
    size_t client_window, up_window;         /* bytes that the other side has room for; 0: no bound */
    bool shuffle;                            /* events of a turn come in a random order */
    uint64_t buffered_peak;                  /* the highest METRIC_buffered_bytes that was seen, of all workers */
};

#define SIM_HEAD "version: 1\nlisten: 127.0.0.1:8080\n"
#define SIM_PLAIN SIM_HEAD "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"]}}\n" \
                           "routes: [{match: /, upstream: api}]\n"

/* What weir adds to a request of sim_client() with "Host: h". */
#define SIM_FORWARD "Via: 1.1 weir\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n" \
                    "X-Forwarded-Host: h\r\nForwarded: for=192.0.2.1;host=h;proto=http\r\n"

struct sim_conf {
    const char *yaml;
    const struct filter *const *filters;     /* NULL-terminated; NULL: filters_all */
    unsigned workers;                        /* 0: 1 */
    uint64_t seed;
};

/* Ends the process, saying why, when the configuration is bad. The clock stands at 1000 s, and at a fixed date. */
struct sim *sim_new(const char *yaml);
struct sim *sim_new_with(const struct sim_conf *);
/* Clients and endpoints go away, pools time out; then writes into `left` what there still is, "" being right, and frees all. */
void sim_end(struct sim *, char *left, size_t cap);
/* The same question without ending anything: connections, requests, buffers, memory. For when all peers were told to go. */
void sim_left(struct sim *, char *left, size_t cap);

/* Another configuration for all workers, as the control thread gives it to them. */
void sim_reload(struct sim *, const char *yaml);
/* The same by halves: loaded, which changes limits for all, and then given to one worker after the other. */
void sim_load(struct sim *, const char *yaml);
void sim_reload_one(struct sim *, unsigned worker);

struct worker *sim_worker(struct sim *, unsigned i);
uint64_t sim_metric(struct sim *, enum metric);              /* of all workers */
uint64_t sim_reasons(struct sim *, enum reason);             /* requests that ended so, of all workers */

/* Runs events, mail and turns until nothing is left to do now. */
void sim_run(struct sim *);
/* Moves the clock, stopping at each timer that comes due on the way. */
void sim_advance(struct sim *, uint64_t ns);

struct sim_conn *sim_client(struct sim *);                   /* of worker 0, at the first listener */
struct sim_conn *sim_client_at(struct sim *, unsigned worker, size_t listener, struct str ip);
/* The oldest connection opened by weir that was not handed out yet; NULL: none. */
struct sim_conn *sim_next(struct sim *);
void sim_accept(struct sim_conn *);                          /* of SIM_HANG */

/* These do nothing by themselves: sim_run() makes weir see them. */
void sim_send(struct sim_conn *, const char *text);
void sim_send_str(struct sim_conn *, struct str);
void sim_fin(struct sim_conn *);
void sim_reset(struct sim_conn *);
/* Like sim_send(), then sim_run(). */
void sim_say(struct sim_conn *, const char *text);
/* Sends and runs byte by byte. */
void sim_drip(struct sim_conn *, struct str);
/* A stalled peer takes what there is up to `len` bytes, then runs. */
void sim_drink(struct sim_conn *, size_t len);

struct str sim_text(const struct sim_conn *);                /* what it has received since the last sim_clear() */
void sim_clear(struct sim_conn *);
bool sim_has(const struct sim_conn *, const char *part);
bool sim_closed(const struct sim_conn *);                    /* weir has closed it, or cut it */
bool sim_cut(const struct sim_conn *);                       /* with a reset */
bool sim_ended(const struct sim_conn *);                     /* weir sent its FIN, at least */
/* The body behind the first head in what was received; {NULL, 0}: there is no whole head. */
struct str sim_body(const struct sim_conn *);
/* A sum of bytes that depends on their order: to go on from `sum`, 0 at first. */
uint64_t sim_sum(uint64_t sum, const void *at, size_t len);
/* `len` bytes that look like nothing else, from a stream of such bytes at `offset`. */
void sim_fill(char *out, size_t len, uint64_t offset);

/* All that was received since the last time, to the byte; then it is cleared. */
#define EXPECT_GOT(conn, text)                          \
    do {                                                \
        EXPECT_STR_EQ(sim_text(conn), str_c(text));     \
        sim_clear(conn);                                \
    } while (0)
/* A part of it; on failure all of it is shown. */
#define EXPECT_HAS(conn, part)                                           \
    do {                                                                 \
        if (!sim_has(conn, part))                                        \
            EXPECT_STR(sim_text(conn), "something with " #part);         \
    } while (0)
#define EXPECT_HASNT(conn, part)                                         \
    do {                                                                 \
        if (sim_has(conn, part))                                         \
            EXPECT_STR(sim_text(conn), "something without " #part);      \
    } while (0)
#define EXPECT_NOTHING_LEFT(sim)                        \
    do {                                                \
        char left_[600];                                \
        sim_left(sim, left_, sizeof left_);             \
        EXPECT_CSTR(left_, "");                         \
    } while (0)
#define SIM_END(sim)                                    \
    do {                                                \
        char left_[600];                                \
        sim_end(sim, left_, sizeof left_);              \
        EXPECT_CSTR(left_, "");                         \
    } while (0)

#endif
