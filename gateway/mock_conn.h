/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOCK_CONN_H
#define MOCK_CONN_H

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>
#include "http/chunked.h"
#include "http/parse.h"
#include "lib/buf.h"
#include "lib/list.h"
#include "lib/rng.h"
#include "lib/slab.h"
#include "metrics.h"

/*
 * What the files of `weir mock` share: the server and a connection to it. One thread; nothing else includes this.
 * mock.c has the loop, mock_options.c the command line, mock_http.c a connection's bytes, mock_paths.c the answers,
 * mock_ws.c WebSocket.
 */
struct event_base;

#define MOCK_OUT_HIGH ((size_t)256 << 10)     /* bytes waiting to be sent, past which nothing is added */

struct mock_options {
    uint64_t latency[2];             /* ns: before an answer, drawn from [from, to] */
    uint32_t errors;                 /* of 10,000 requests */
    int error_status;
    uint64_t size;                   /* body bytes of any other path; SIZE_ECHO: a JSON echo */
    uint64_t events;                 /* of an event stream that does not say */
    uint64_t interval;               /* ns between them */
};

#define MOCK_SIZE_ECHO UINT64_MAX

struct mock_stats {
    uint64_t requests, in_flight, max_in_flight;
    uint64_t cancelled;              /* the caller went before the answer was whole */
    uint64_t accepted, connections;
    uint64_t window_start, in_window, max_window;     /* of 100 ms */
};

struct mock {
    struct event_base *base;
    struct mock_options options;
    struct mock_stats stats;
    struct slab blocks;
    struct rng rng;
    struct list conns;
    char *scratch;                   /* MOCK_SCRATCH bytes to read into */
};

#define MOCK_SCRATCH ((size_t)64 << 10)

enum mock_state {
    MOCK_HEAD,           /* reading a request's head */
    MOCK_BODY,           /* its body */
    MOCK_TRAILERS,       /* its trailer section */
    MOCK_DELAY,          /* the answer is due at the timer */
    MOCK_FILL,           /* an answer of `fill` more bytes is on its way */
    MOCK_EVENTS,         /* an event stream */
    MOCK_HANG,           /* no answer will come */
    MOCK_WS,             /* a WebSocket */
    MOCK_CLOSING,        /* what is to be sent is sent, then the connection ends */
};

/* What a path asks for. */
enum mock_kind {
    KIND_ECHO_JSON, KIND_BYTES, KIND_DELAY, KIND_STATUS, KIND_SSE, KIND_ECHO, KIND_DROP, KIND_HANG, KIND_CHAT, KIND_STATS,
    KIND_RESET, KIND_WS,
};

struct mock_ws {
    uint8_t head[14];
    unsigned head_len;               /* so far */
    uint64_t left;                   /* of this frame's payload */
    unsigned at;                     /* place in the mask */
    bool in_frame;
    bool close;                      /* this frame is a close: the last one */
};

struct mock_conn {
    struct list link;
    struct mock *mock;
    int fd;
    enum mock_state state;
    struct event io, timer;
    short waits;                     /* EV_READ, EV_WRITE: what `io` is set to; -1: not set */
    char *in;                        /* read and not yet used */
    size_t in_len, in_cap;
    bool eof;                        /* the other side has ended */
    bool gone;                       /* to be freed by whoever runs the connection */
    struct buf out;
    struct http_parser parser;
    struct chunked chunked;
    uint64_t body_left;

    /* The request and its answer. */
    enum mock_kind kind;
    uint64_t a, b;                   /* the path's numbers */
    int status;
    bool in_flight;
    bool head_request, keep_alive, old;          /* old: HTTP/1.0 */
    bool request_chunked, answer_chunked;
    uint64_t fill;                   /* bytes still to be made */
    uint64_t events_left, event_no;
    uint64_t event_gap;              /* ns */
    struct page seen;                /* of a chat: the body's beginning; of an echo: the answer's body */
    struct mock_ws ws;
};

/* mock_options.c. Returns 0, or -1 with what is wrong told on stderr; 1: help was asked for and shown. */
#define MOCK_LISTEN_MAX 16
struct mock_listen { const char *at[MOCK_LISTEN_MAX]; unsigned n; };
int mock_options_read(int argc, char **argv, struct mock_options *, struct mock_listen *);

/* mock_http.c */
void mock_conn_new(struct mock *, int fd);
void mock_conn_free(struct mock_conn *);
void mock_put(struct mock_conn *, const void *at, size_t len);
void mock_put_page(struct mock_conn *, struct page *);         /* and frees it */
/* Payload of an answer, as a chunk if the answer is chunked. */
void mock_put_body(struct mock_conn *, const void *at, size_t len);
void mock_end_body(struct mock_conn *);                        /* of a chunked one: the last chunk, without trailers */
/* The answer is whole in `out`: counts it, and goes on to the next request or to the end. */
void mock_answered(struct mock_conn *);
void mock_wait(struct mock_conn *, enum mock_state, uint64_t ns);          /* on_timer comes after that time */
void mock_flush(struct mock_conn *);

/* mock_paths.c */
/* A request's head was read: finds what it asks for; an answer that starts before the body's end is begun. */
void mock_request(struct mock_conn *, const struct http_head *, struct str path);
void mock_request_body(struct mock_conn *, struct str payload);
void mock_request_trailers(struct mock_conn *, const struct http_head *);
/* The request is whole. */
void mock_request_end(struct mock_conn *);
void mock_timer(struct mock_conn *);
/* There is room in `out` again: goes on with a long answer. */
void mock_more(struct mock_conn *);

/* mock_ws.c */
void mock_ws_open(struct mock_conn *, const struct http_head *);
/* Takes bytes of frames; returns how many were used. */
size_t mock_ws_data(struct mock_conn *, const char *at, size_t len);

#endif
