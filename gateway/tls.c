/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS as a kind of stream, over another kind.
 *
 * OpenSSL reads from the stream beneath by a BIO of ours, straight into its own buffer, as much as there is (read_ahead): one
 * recv for what is usually one record. A short read is taken for drained, as with plain streams, so that no second recv asks.
 *
 * It writes by the same BIO into the worker's `sealed`, which always has room; so nothing that OpenSSL does ever waits for
 * writing, and all that one call makes (a flight of a handshake, several records) is one send. What the socket does not take goes
 * to the stream's `out`, sealed as it is. So a backlog here means what it means for plain streams.
 *
 * What is gathered is sealed in records as large as they may be, small runs copied together, for a record costs 22 bytes and its
 * own seal.
 *
 * Invariants:
 *   - `sealed` and OpenSSL's queue of errors are empty between calls;
 *   - records leave in the order in which they were sealed, and close_notify is said behind whole records alone;
 *   - bytes that are no data are bounded: a handshake, or key updates without end, end the stream. So are the answers to
 *     key updates that the other side does not take, and what a hello may say of its own length.
 *
 * Not done here: whom to trust and what to present (tls_context.c, tls_client.c), time.
 */
#include "tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include "conf/yaml.h"
#include "http/headers.h"
#include "lib/check.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "stream.h"
#include "tls_client.h"
#include "tls_context.h"
#include "tls_files.h"
#include "tls_hello.h"
#include "tls_session.h"
#include "worker.h"

/* SEALED_SEND: what is worth a send of its own. SILENT_MAX: of bytes that are no data, in a row. ANSWERS_MAX: of those that the
 * other side asks for behind a backlog. */
enum { RECORD = 16 * 1024, SEALED_MIN = 20 * 1024, SEALED_SEND = 64 * 1024, SILENT_MAX = 128 * 1024,
       ANSWERS_MAX = 16 * 1024, SUBJECT_MAX = 2048 };

struct tls_worker {
    BIO_METHOD *method;
    struct slab streams;             /* of struct tls */
    char *sealed;                    /* bytes for the wire */
    size_t n, cap;
    char record[RECORD];             /* small runs on their way into one */
};

struct tls {
    SSL *ssl;
    const struct stream_ops *under;
    struct tls_server *server;       /* one reference; NULL: the client's end */
    const char *who;                 /* of a server's */
    struct {                         /* of a client's: */
        struct tls_session *sessions;
        char *name;                  /* owned; in lower case */
        size_t name_len;
        uint64_t until;              /* how long a session that is resumed holds */
        unsigned epoch;
        struct tls_failure failure;
    } out;
    struct tls_peer peer;
    char *subject;
    struct tls_hello hello;
    size_t silent;                   /* bytes read since the last that were data */
    size_t answers;                  /* bytes of them, since there was no backlog */
    enum io end;                     /* what reads give from now on; IO_OK: it goes on */
    bool came;                       /* something has come: */
    bool began;                      /* it was read */
    bool done;                       /* hands are shaken */
    bool drained;                    /* the stream beneath had no more when it was asked last: */
    bool sure;                       /* it said so; else a short read did */
    bool plain;
    bool eof;                        /* of the stream beneath */
    bool swollen;                    /* OpenSSL has made buffers for a ticket, and would keep them until something is written */
    bool notified;                   /* close_notify was said */
    const char *refused;             /* why it is not read on; NULL: it is */
};

/* ---- between OpenSSL and the stream beneath ---- */

/* For bio_read(): why what was read is not taken; NULL: it is. */
static const char *refusal(struct tls *t, const char *at, size_t n)
{
    if (t->silent > SILENT_MAX)
        return "more bytes than a handshake has, and no data";
    return t->done ? NULL : tls_hello_fault(&t->hello, at, n);
}

static int bio_read(BIO *bio, char *at, int cap)
{
    struct stream *s = BIO_get_data(bio);
    struct tls *t = s->tls;
    size_t n = 0;
    BIO_set_retry_read(bio);
    if (t->drained || t->plain || cap <= 0)
        return -1;
    enum io io = t->under->read(s, at, (size_t)cap, &n);
    if (io == IO_OK) {
        /* A handshake begins with 22, and a method with a letter. */
        t->plain = !t->began && at[0] >= 'A' && at[0] <= 'Z';
        const char *stranger = t->began || !t->server ? NULL : tls_hello_stranger(at, n);
        t->began = true;
        t->drained = n < (size_t)cap && !s->hangup;
        t->silent += n;
        t->refused = stranger;
        if (t->plain)
            return -1;
        BIO_clear_retry_flags(bio);
        if (!stranger)
            t->refused = refusal(t, at, n);
        return t->refused ? -1 : (int)n;
    }
    if (io == IO_AGAIN) {
        t->drained = t->sure = true;
        return -1;
    }
    BIO_clear_retry_flags(bio);
    t->eof = io == IO_EOF;
    return t->eof ? 0 : -1;
}

static int bio_write(BIO *bio, const char *at, int len)
{
    struct tls_worker *w = ((struct stream *)BIO_get_data(bio))->worker->tls;
    BIO_clear_retry_flags(bio);
    if (len <= 0)
        return 0;
    if (w->n + (size_t)len > w->cap) {
        w->cap = w->n + (size_t)len + SEALED_MIN;
        w->sealed = mem_realloc(w->sealed, w->cap);
    }
    memcpy(w->sealed + w->n, at, (size_t)len);
    w->n += (size_t)len;
    return len;
}

static long bio_ctrl(BIO *bio, int what, long number, void *at)
{
    (void)number, (void)at;
    if (what == BIO_CTRL_EOF)
        return ((struct stream *)BIO_get_data(bio))->tls->eof;
    return what == BIO_CTRL_FLUSH || what == BIO_CTRL_DUP;
}

static struct tls_worker *worker_of(struct worker *w)
{
    struct tls_worker *t = w->tls;
    if (t)
        return t;
    w->tls = t = mem_zalloc(sizeof *t);
    t->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "weir");
    check(t->method && BIO_meth_set_read(t->method, bio_read) == 1 && BIO_meth_set_write(t->method, bio_write) == 1
          && BIO_meth_set_ctrl(t->method, bio_ctrl) == 1);
    slab_init(&t->streams, sizeof(struct tls), 64);
    return t;
}

void tls_worker_free(struct tls_worker **tp)
{
    struct tls_worker *t = *tp;
    *tp = NULL;
    if (!t)
        return;
    BIO_meth_free(t->method);
    slab_fini(&t->streams);
    mem_free(t->sealed);
    mem_free(t);
}

/* What OpenSSL has written goes on. */
static void sealed_send(struct stream *s)
{
    struct tls_worker *w = s->worker->tls;
    size_t n = w->n;
    w->n = 0;
    if (n > 0)
        stream_send(s, &(struct iovec){w->sealed, n}, 1);
}

/* ---- the handshake ---- */

static void subject_take(struct tls *t)
{
    X509 *certificate = SSL_get0_peer_certificate(t->ssl);
    BIO *text = certificate && t->server && tls_server_tells(t->server) ? BIO_new(BIO_s_mem()) : NULL;
    char *at = NULL;
    if (text && X509_NAME_print_ex(text, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) >= 0) {
        long n = BIO_get_mem_data(text, &at);
        /* One that is too long is left out: a part of it may be somebody else's name. */
        if (n > 0 && n <= SUBJECT_MAX && http_is_field_value(str_of(at, (size_t)n))) {
            t->subject = mem_alloc((size_t)n);
            memcpy(t->subject, at, (size_t)n);
            t->peer.subject = str_of(t->subject, (size_t)n);
        }
    }
    BIO_free(text);
    ERR_clear_error();
}

static struct str name_asked(const struct tls *t)
{
    const char *name = t->server ? SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name) : NULL;
    return name ? str_c(name) : (struct str){NULL, 0};
}

static void handshake_done(struct stream *s)
{
    struct tls *t = s->tls;
    t->done = true;
    t->silent = 0;
    t->peer.version = SSL_get_version(t->ssl);
    t->peer.resumed = SSL_session_reused(t->ssl) == 1;
    t->peer.asked = name_asked(t);
    subject_take(t);
    metric_add(&s->worker->metrics, t->server ? METRIC_tls_handshakes_total : METRIC_upstream_tls_handshakes_total, 1);
    if (t->peer.resumed)
        metric_add(&s->worker->metrics,
                   t->server ? METRIC_tls_handshakes_resumed_total : METRIC_upstream_tls_handshakes_resumed_total, 1);
}

static void failure_tell(struct stream *s, const char *why)
{
    static struct log_limit limit;
    const struct str asked = name_asked(s->tls);
    if (!s->tls->done)
        metric_add(&s->worker->metrics, METRIC_tls_handshakes_failed_total, 1);
    log_limited(&limit, LOG_WARN, "tls", "listener " STR_FMT ": %s: %s: %s%s%s%s", STR_ARG(tls_server_at(s->tls->server)),
                s->tls->who, s->tls->done ? "broke off" : "handshake failed", why, asked.at ? "; it asked for \"" : "",
                asked.at ? quoted(asked).text : "", asked.at ? "\"" : "");
}

/* OpenSSL's reason; of a certificate, also what is wrong with it. */
static void reason_tell(struct stream *s)
{
    char text[240];
    long verify = SSL_get_verify_result(s->tls->ssl);
    struct tls_reason reason = tls_reason();
    (void)snprintf(text, sizeof text, "%s%s%s", reason.text, verify == X509_V_OK ? "" : ": ",
                   verify == X509_V_OK ? "" : X509_verify_cert_error_string(verify));
    failure_tell(s, text);
}

/* The other end is an endpoint. A session may be what it did not like. */
static void client_failed(struct tls *t)
{
    t->out.failure = tls_client_failure(t->ssl);
    if (t->plain)
        t->out.failure.text = "it speaks HTTP without TLS";
    else if (t->refused)
        t->out.failure.text = t->refused;
    else if (!t->out.failure.text && t->eof)
        t->out.failure.text = t->done ? "ended without close_notify" : "the connection ended";
    else if (!t->out.failure.text && !t->done)
        t->out.failure.text = "the connection broke";
    if (!t->done && t->out.epoch == t->out.sessions->epoch)
        tls_session_forget(t->out.sessions);
}

/* What ended it, when it was neither the other side's close_notify nor want of bytes. */
static void failed(struct stream *s)
{
    struct tls *t = s->tls;
    t->end = IO_ERR;
    if (!t->server)
        client_failed(t);
    else if (t->refused)
        failure_tell(s, t->refused);
    else if (ERR_peek_last_error() != 0 && !t->eof)
        reason_tell(s);
    else if (t->began && !t->done)
        failure_tell(s, "the connection ended");
    ERR_clear_error();
}

/* ---- the stream ---- */

static void tls_free(struct stream *s)
{
    struct tls *t = s->tls;
    SSL_free(t->ssl);
    tls_server_unref(&t->server);
    mem_free(t->subject);
    mem_free(t->out.name);
    slab_free(&s->worker->tls->streams, t);
    s->tls = NULL;
}

/* Takes what reading said when it gave no bytes. */
static enum io read_end(struct stream *s)
{
    struct tls *t = s->tls;
    switch (SSL_get_error(t->ssl, -1)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return t->plain ? IO_PLAIN : IO_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        t->end = IO_EOF;
        break;
    default:
        failed(s);
    }
    return t->end;
}

static enum io turn_plain(struct stream *s)
{
    failure_tell(s, s->tls->refused ? s->tls->refused : "plain HTTP");
    s->ops = s->tls->under;
    tls_free(s);
    return IO_PLAIN;
}

/* What the other side asks for (new keys) and does not take would wait here without a bound. */
static void answers_count(struct stream *s)
{
    struct tls *t = s->tls;
    t->answers = s->out.len > 0 ? t->answers + s->worker->tls->n : 0;
    if (t->answers <= ANSWERS_MAX || t->end != IO_OK)
        return;
    t->refused = "it asks for new keys and does not take them";
    failed(s);
}

/* A short read may have been the last before an error, of which there is no second event (STREAM_LOOK_NS). To have nothing to show
 * for it, as in a handshake or in half a record, is rare: so it is asked once more at once. */
static bool ask_again(struct tls *t)
{
    bool again = t->drained && !t->sure;
    if (again)
        t->drained = false;
    return again;
}

/* A caller's hello stays in the socket until its first record is whole: OpenSSL would hold 32 KiB meanwhile, for whoever sends a
 * byte, or none. What is none, says that it is huge or will not go on is OpenSSL's at once. */
static bool hello_waits(struct stream *s)
{
    struct tls *t = s->tls;
    const char *at = s->worker->scratch;
    struct tls_hello hello = {0};
    size_t n = 0;
    if (!t->server || t->began || s->hangup)
        return false;
    enum io io = t->under->peek(s, s->worker->scratch, 5 + RECORD, &n);
    if (io != IO_OK)
        return io == IO_AGAIN;
    t->came = true;
    if (at[0] != 22 || tls_hello_fault(&hello, at, n) || t->under->broken(s))
        return false;
    size_t record = n < 5 ? RECORD : (size_t)(unsigned char)at[3] << 8 | (unsigned char)at[4];
    return record <= RECORD && n < 5 + record;
}

static enum io tls_read(struct stream *s, void *at, size_t cap, size_t *n)
{
    struct tls *t = s->tls;
    enum io end = t->end;
    *n = 0;
    if (hello_waits(s))
        return IO_AGAIN;
    t->drained = t->sure = false;
    while (end == IO_OK && *n < cap) {
        size_t got = 0;
        if (SSL_read_ex(t->ssl, (char *)at + *n, cap - *n, &got) != 1) {
            end = read_end(s);
            if (end == IO_AGAIN && *n == 0 && ask_again(t))
                end = IO_OK;
        } else {
            t->silent = 0;
            *n += got;
            if (t->drained && !SSL_has_pending(t->ssl))
                end = IO_AGAIN;
        }
    }
    if (!t->done && SSL_is_init_finished(t->ssl) && t->end != IO_ERR)
        handshake_done(s);
    if (t->swollen && SSL_free_buffers(t->ssl) == 1)
        t->swollen = false;
    answers_count(s);
    sealed_send(s);
    if (end == IO_PLAIN)
        return turn_plain(s);
    if (t->end != IO_OK)
        s->hangup = true;            /* read on, to the end */
    return *n > 0 ? IO_OK : t->end != IO_OK ? t->end : end;
}

static bool seal_record(struct tls *t, const void *at, size_t len)
{
    size_t done;
    if (SSL_write_ex(t->ssl, at, len, &done) == 1)
        return true;
    ERR_clear_error();
    return false;
}

/* A large run, or the last one, is sealed where it lies; small ones are copied together first. */
static bool tls_seal(struct stream *s, const struct iovec *v, int n)
{
    struct tls_worker *w = s->worker->tls;
    size_t used = 0;
    bool ok = s->tls->done && !s->tls->notified;
    for (int i = 0; i < n; i++) {
        const char *at = v[i].iov_base;
        for (size_t left = v[i].iov_len, part; ok && left > 0; at += part, left -= part) {
            if (used == 0 && (left >= RECORD || i == n - 1)) {
                part = left < SEALED_SEND ? left : SEALED_SEND;
                ok = seal_record(s->tls, at, part);
            } else {
                part = left < RECORD - used ? left : RECORD - used;
                memcpy(w->record + used, at, part);
                used = (used + part) % RECORD;
                if (used == 0)
                    ok = seal_record(s->tls, w->record, RECORD);
            }
            if (w->n >= SEALED_SEND)
                sealed_send(s);
        }
    }
    if (ok && used > 0)
        ok = seal_record(s->tls, w->record, used);
    sealed_send(s);
    return ok;
}

static enum io tls_writev(struct stream *s, const struct iovec *v, int n, size_t *done)
{
    return s->tls->under->writev(s, v, n, done);
}

static size_t tls_held(struct stream *s) { return s->tls->under->held(s); }
static size_t tls_room(struct stream *s) { return s->tls->under->room(s); }
static bool tls_broken(struct stream *s) { return s->tls->under->broken(s); }

static bool notify(struct tls *t)
{
    if (!t->done || t->notified || t->end == IO_ERR)
        return false;
    t->notified = true;
    (void)SSL_shutdown(t->ssl);
    ERR_clear_error();
    return true;
}

static void tls_shutdown(struct stream *s)
{
    if (notify(s->tls)) {
        sealed_send(s);
        if (s->out.len > 0) {
            s->fin = true;           /* once that is gone too */
            return;
        }
    }
    s->tls->under->shutdown(s);
}

/* The last word is said as far as the socket takes it at once. */
static void tls_close(struct stream *s, bool reset)
{
    struct tls *t = s->tls;
    struct tls_worker *w = s->worker->tls;
    const struct stream_ops *under = t->under;
    size_t done;
    if (!reset && !s->failed && notify(t))
        (void)under->writev(s, &(struct iovec){w->sealed, w->n}, 1, &done);
    w->n = 0;
    if (t->server && (t->came || t->began) && !t->done && t->end == IO_OK)
        failure_tell(s, "it was closed here, with the handshake under way: mostly, header_timeout was over");
    tls_free(s);
    under->close(s, reset);
}

static const struct stream_ops tls_ops = {
    .read = tls_read, .writev = tls_writev, .seal = tls_seal, .held = tls_held, .room = tls_room, .broken = tls_broken,
    .shutdown = tls_shutdown, .close = tls_close,
};

static struct tls *tls_open(struct stream *s, SSL *ssl)
{
    struct tls_worker *w = worker_of(s->worker);
    struct tls *t = slab_zalloc(&w->streams);
    BIO *bio = BIO_new(w->method);
    check(bio != NULL && !s->tls);
    BIO_set_data(bio, s);
    BIO_set_init(bio, 1);
    *t = (struct tls){.ssl = ssl, .under = s->ops};
    SSL_set_app_data(ssl, s);
    SSL_set_bio(ssl, bio, bio);
    s->tls = t;
    s->ops = &tls_ops;
    return t;
}

void tls_accept(struct stream *s, struct tls_server *server, const char *who)
{
    struct tls *t = tls_open(s, tls_server_ssl(server));
    tls_server_ref(server);
    t->server = server;
    t->who = who;
}

/* ---- the client's end ---- */

void tls_connect(struct stream *s, const struct tls_client *client, struct str name, struct tls_session *sessions)
{
    uint64_t now = worker_now(s->worker);
    stream_flush(s);                 /* in front of the hello, and not under its seal */
    char *own = mem_alloc(name.len + 1);
    for (size_t i = 0; i < name.len; i++)
        own[i] = str_lower(name.at[i]);
    struct tls *t = tls_open(s, tls_client_ssl(client, str_of(own, name.len)));
    t->out.sessions = sessions;
    t->out.epoch = sessions->epoch;
    t->out.name = own;
    t->out.name_len = name.len;
    SSL_SESSION *session = tls_session_find(sessions, str_of(own, name.len), now);
    if (session && SSL_set_session(t->ssl, session) == 1)
        t->out.until = sessions->until;
}

enum tls_shake tls_shake(struct stream *s)
{
    struct tls *t = s->tls;
    enum io end = t->end;
    t->drained = t->sure = false;
    while (end == IO_OK && !t->done) {
        if (SSL_do_handshake(t->ssl) == 1)
            handshake_done(s);
        else if ((end = read_end(s)) == IO_AGAIN && ask_again(t))
            end = IO_OK;
        else if (end != IO_AGAIN && t->end != IO_ERR)
            failed(s);               /* plain HTTP, or an end in the middle */
    }
    sealed_send(s);
    if (t->end == IO_ERR)
        return TLS_FAILED;
    if (!t->done)
        return TLS_SHAKING;
    s->readable = !t->drained || SSL_has_pending(t->ssl) == 1;       /* more may have come with the last of it */
    return TLS_SHAKEN;
}

struct tls_failure tls_failure(const struct stream *s) { return s->tls->out.failure; }

bool tls_is_current(const struct stream *s) { return s->tls->out.epoch == s->tls->out.sessions->epoch; }

bool tls_suits(const struct stream *s, struct str name)
{
    const struct tls *t = s->tls;
    return tls_is_current(s) && str_eq_nocase(str_of(t->out.name, t->out.name_len), name);
}

/* A new one may come with each connection, also a resumed one: that is good for as long as the one that it came of. */
int tls_session_came(SSL *ssl, SSL_SESSION *session)
{
    struct stream *s = SSL_get_app_data(ssl);
    struct tls *t = s ? s->tls : NULL;
    if (!t || !tls_is_current(s) || !SSL_SESSION_is_resumable(session))
        return 0;
    t->swollen = true;
    uint64_t until = SSL_session_reused(ssl) ? t->out.until : time_after(worker_now(s->worker), TLS_SESSION_LIFE);
    tls_session_keep(t->out.sessions, str_of(t->out.name, t->out.name_len), session, until);
    return 1;
}

const struct tls_peer *tls_peer(const struct stream *s) { return s->tls && s->tls->done ? &s->tls->peer : NULL; }
