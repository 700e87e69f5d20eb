/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ADMIN_CONN_H
#define ADMIN_CONN_H

#include <event2/event_struct.h>
#include "admin.h"
#include "http/parse.h"
#include "lib/list.h"
#include "lib/log.h"

/*
 * Private to the admin listener: admin.c accepts, admin_conn.c reads a request and writes an answer, admin_page.c knows which
 * pages there are. Control thread.
 */
enum { ADMIN_CONNS_MAX = 64, ADMIN_HEAD_MAX = 8192 };

struct admin {
    struct event_base *base;
    struct event accept_event, resume_event;
    struct admin_source source;
    const struct admin_times *times;
    bool probes_only;
    int fd;                          /* -1: accepts no more */
    char *token;                     /* what must be known to see more than the probes; NULL: nothing */
    char *unix_path;                 /* to be removed at the end; NULL: none */
    struct list conns;
    unsigned n_conns;
    size_t bodies;                   /* bytes that are kept for bodies */
    struct log_limit limit;          /* of what is said about failures to accept, */
    struct log_limit refused;        /* and about those without the token */
    struct list link, heirloom;      /* among those handed over to an heir; those that this one is the heir of */
};

/* What a connection waits for; each has a deadline of its own. */
enum admin_state { ADMIN_HEAD, ADMIN_BODY, ADMIN_ANSWER, ADMIN_WRITE, ADMIN_LINGER };

struct admin_conn {
    struct list link;
    struct admin *admin;
    enum admin_state state;
    int fd;
    struct event io, deadline;
    struct http_parser parser;
    size_t in_len;
    char in[ADMIN_HEAD_MAX + 1];
    const struct admin_page *page;   /* that is asked for; NULL: not known yet, or none */
    char *body;                      /* NULL: none is read */
    size_t body_len, body_want;
    struct admin_answer *owed;       /* NULL: none */
    struct page out;
    size_t out_done;
};

struct admin_page;

/* Somebody came; the socket is the connection's. */
void admin_conn_new(struct admin *, int fd);
void admin_conn_close(struct admin_conn *);
/* A connection is gone. A listener that was handed over goes with its last one. */
void admin_conn_gone(struct admin *);
/* The whole answer of somebody who is not let in; closes the socket. */
void admin_refuse(int fd);

/* Finds c->page, which the head asks for. False: there is none, or not like that, and the answer is in c->out. */
bool admin_page_find(struct admin_conn *);
bool admin_page_has_body(const struct admin_page *);
/* Makes the page's answer: true when it is in c->out; false: it is owed, or was given already, and `c` may be gone. */
bool admin_page_answer(struct admin_conn *);
/* The answer to it is owed from now on. */
struct admin_answer *admin_answer_owe(struct admin_conn *);
/* An answer of one line into c->out. `more`: further fields of the head, each with its line end. */
void admin_say(struct admin_conn *, int status, const char *more, const char *text);
void admin_answer_put(struct page *out, int status, enum admin_type, const char *more, const struct page *body, bool head);

#endif
