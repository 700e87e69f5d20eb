/* SPDX-License-Identifier: Apache-2.0 */
/* TLS towards clients, byte by byte, over streams that take and give as little as the test wants: exchanges and their ends. */
#include "test.h"

#include "caller.h"

/* ---- pieces ---- */

struct cut { size_t piece, read_max, window; };
static const struct cut cuts[] = {{0, 0, 0}, {1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {1, 1, 1}, {7, 3, 5}, {100, 50, 1000}, {0, 5, 0}};

TEST(an_exchange_in_any_pieces)
{
    for (size_t i = 0; i < array_len(cuts) * 2; i++) {
        const struct cut *cut = &cuts[i / 2];
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_TLS);
        s->client_read_max = cut->read_max;
        s->client_window = cut->window;
        struct caller *t = caller_new(s, versions[i % 2]);
        t->piece = cut->piece;
        go(t);
        EXPECT(SSL_is_init_finished(t->ssl));
        EXPECT_EQ(sim_metric(s, METRIC_tls_handshakes_total), 1);
        for (int round = 0; round < 3; round++) {
            static struct sim_conn *u;
            say(t, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
            u = round ? u : sim_next(s);
            EXPECT_STR_EQ(sim_body(u), STR("hello"));
            sim_clear(u);
            sim_say(u, OK);
            go(t);
            EXPECT_HEARD(t, OK);
        }
        EXPECT(!sim_closed(t->c));
        EXPECT_EQ(sim_metric(s, METRIC_tls_handshakes_failed_total), 0);
        SIM_END(s);
        caller_free(t);
    }
}

/* Larger than what OpenSSL, the scratch buffer and a record hold; the socket takes and gives odd amounts. */
TEST(large_bodies_both_ways)
{
    enum { LEN = 400000 };
    static const struct cut rows[] = {{0, 0, 0}, {4096, 1000, 1000}, {0, 16709, 16384}, {1000, 0, 100}, {0, 100, 70000}};
    char *body = mem_alloc(LEN);
    sim_fill(body, LEN, 7);
    for (size_t i = 0; i < array_len(rows) * 2; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_TLS);
        s->client_read_max = rows[i / 2].read_max;
        s->client_window = rows[i / 2].window;
        struct caller *t = caller_new(s, versions[i % 2]);
        t->piece = rows[i / 2].piece;
        go(t);
        say(t, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 400000\r\n\r\n");
        struct sim_conn *u = sim_next(s);
        say_str(t, str_of(body, LEN));
        EXPECT_STR_EQ(sim_body(u), str_of(body, LEN));
        sim_send(u, "HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n");
        sim_send_str(u, str_of(body, LEN));
        go(t);
        EXPECT(t->len > LEN && memcmp(t->text + t->len - LEN, body, LEN) == 0);
        EXPECT_EQ(sim_metric(s, METRIC_buffered_bytes), 0);
        SIM_END(s);
        caller_free(t);
    }
    mem_free(body);
}

/* ---- edges ---- */

/* No event comes for what was read from the socket already: all of it must be used without one. */
TEST(what_stands_decrypted_or_sealed_is_used_without_a_further_event)
{
    for (size_t i = 0; i < 2; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_TLS);
        struct caller *t = caller_new(s, versions[i]);
        size_t n;
        go(t);
        for (int k = 0; k < 40; k++)         /* a record each, all in one piece */
            check(SSL_write_ex(t->ssl, GET, sizeof GET - 1, &n) == 1);
        while (post(t)) {
        }
        sim_run(s);
        struct sim_conn *u = sim_next(s);
        for (int k = 0; k < 40; k++) {
            EXPECT_HAS(u, "GET / ");
            sim_clear(u);
            sim_say(u, OK);
        }
        go(t);
        EXPECT_EQ(t->len, 40 * (sizeof OK - 1));
        EXPECT_EQ(t->c->end.in_len, 0);
        SIM_END(s);
        caller_free(t);
    }
}

/* The endpoint takes nothing for a while: the caller is not read, and its bytes stand in the socket and in OpenSSL. */
TEST(a_pause_in_the_middle_of_records)
{
    enum { LEN = 1000000 };
    char *body = mem_alloc(LEN);
    sim_fill(body, LEN, 1);
    for (size_t i = 0; i < 2; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_TLS);
        s->up_window = 1000;
        struct caller *t = caller_new(s, versions[i]);
        go(t);
        say(t, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
        struct sim_conn *u = sim_next(s);
        u->stalled = true;
        say_str(t, str_of(body, LEN));
        EXPECT(t->c->end.in_len > LEN / 2);
        EXPECT(s->buffered_peak < 300000);
        for (int k = 0; k < 3000 && (t->c->end.in_len > 0 || sim_metric(s, METRIC_buffered_bytes) > 0); k++)
            sim_drink(u, 1000);
        u->stalled = false;
        sim_drink(u, 1000);
        EXPECT_STR_EQ(sim_body(u), str_of(body, LEN));
        sim_say(u, OK);
        go(t);
        EXPECT_HEARD(t, OK);
        SIM_END(s);
        caller_free(t);
    }
    mem_free(body);
}

/* ... and the other way: what the caller does not take waits sealed, bounded, and comes whole and in order. */
TEST(a_caller_that_stops_in_the_middle_of_a_record)
{
    enum { LEN = 1000000 };
    char *body = mem_alloc(LEN);
    sim_fill(body, LEN, 2);
    for (size_t i = 0; i < 2; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_TLS);
        s->client_window = 3000;
        struct caller *t = caller_new(s, versions[i]);
        go(t);
        say(t, GET);
        struct sim_conn *u = sim_next(s);
        t->c->stalled = true;
        sim_send(u, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        sim_send_str(u, str_of(body, LEN));
        sim_run(s);
        EXPECT(s->buffered_peak < 300000);
        sim_drink(t->c, 777);
        EXPECT(!sim_closed(t->c));
        t->c->stalled = false;
        sim_drink(t->c, 777);
        go(t);
        EXPECT(t->len > LEN && memcmp(t->text + t->len - LEN, body, LEN) == 0);
        SIM_END(s);
        caller_free(t);
    }
    mem_free(body);
}

/* ---- ends ---- */

TEST(a_close_notify_is_an_end_and_is_answered)
{
    for (size_t i = 0; i < 2; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_TLS);
        struct caller *t = caller_new(s, versions[i]);
        go(t);
        SSL_shutdown(t->ssl);
        go(t);
        EXPECT(sim_closed(t->c) && !sim_cut(t->c));
        EXPECT(t->ended && !t->broken);
        SIM_END(s);
        caller_free(t);
    }
}

TEST(an_answer_that_closes_ends_with_a_close_notify)
{
    for (size_t i = 0; i < 4; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_TLS);
        s->client_window = i / 2 ? 10 : 0;
        struct caller *t = caller_new(s, versions[i % 2]);
        go(t);
        say(t, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        sim_say(sim_next(s), OK);
        go(t);
        EXPECT(sim_ended(t->c));
        EXPECT(t->ended);
        EXPECT(strstr(t->text, "\r\n\r\nok") != NULL);
        SIM_END(s);
        caller_free(t);
    }
}

/* An answer that is cut must not look whole: neither a close_notify behind it, nor half of a record before one. */
TEST(an_answer_that_is_cut_has_no_close_notify)
{
    static const struct { const char *request; bool stalled; } rows[] = {
        {"GET / HTTP/1.0\r\nHost: h\r\n\r\n", false}, {"GET / HTTP/1.0\r\nHost: h\r\n\r\n", true}, {GET, true},
    };
    for (size_t i = 0; i < 2 * array_len(rows); i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_TLS);
        s->client_window = rows[i / 2].stalled ? 50 : 0;
        struct caller *t = caller_new(s, versions[i % 2]);
        go(t);
        say(t, rows[i / 2].request);
        struct sim_conn *u = sim_next(s);
        t->c->stalled = rows[i / 2].stalled;
        sim_say(u, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        t->c->end.window = SIZE_MAX;         /* there is room again, and nobody knows yet */
        sim_reset(u);
        sim_run(s);
        EXPECT(sim_closed(t->c));
        EXPECT(!rows[i / 2].stalled || t->c->end.out_len == 50);
        sim_drink(t->c, 1000);
        go(t);
        EXPECT(!t->ended && !t->broken);
        SIM_END(s);
        caller_free(t);
    }
}

TEST(a_request_and_an_end_in_one_piece)
{
    static const char *const keep[] = {SIM_TLS, TLS_HEAD(", half_close: keep") TLS_ROUTES};
    for (size_t i = 0; i < 8; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(keep[i / 2 % 2]);
        struct caller *t = caller_new(s, versions[i % 2]);
        size_t n;
        go(t);
        check(SSL_write_ex(t->ssl, GET, sizeof GET - 1, &n) == 1);
        SSL_shutdown(t->ssl);
        while (post(t)) {
        }
        if (i / 4)
            sim_fin(t->c);
        sim_run(s);
        if (i / 2 % 2) {
            sim_say(sim_next(s), OK);
            go(t);
            EXPECT_HEARD(t, OK);
            EXPECT(t->ended);
        }
        EXPECT(sim_closed(t->c));
        SIM_END(s);
        caller_free(t);
    }
}

/* The end of the wire is not the end of a body. */
TEST(a_body_that_ends_without_a_close_notify_is_not_whole)
{
    for (size_t i = 0; i < 4; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_TLS);
        struct caller *t = caller_new(s, versions[i % 2]);
        go(t);
        say(t, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        struct sim_conn *u = sim_next(s);
        sim_say(u, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        say(t, "abc");
        if (i / 2) {
            SSL_shutdown(t->ssl);
            go(t);
        }
        sim_fin(t->c);
        sim_run(s);
        EXPECT_HAS(u, "abc");
        EXPECT_EQ(sim_closed(t->c), i / 2 == 0);         /* a half-closed tunnel lives on */
        EXPECT(sim_ended(u));
        SIM_END(s);
        caller_free(t);
    }
}

TEST(bytes_and_the_end_of_the_wire_in_one_piece)
{
    static const char *const rows[] = {"GET / HT", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc"};
    for (size_t i = 0; i < 4; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_TLS);
        struct caller *t = caller_new(s, versions[i % 2]);
        size_t n;
        go(t);
        check(SSL_write_ex(t->ssl, rows[i / 2], strlen(rows[i / 2]), &n) == 1);
        while (post(t)) {
        }
        sim_fin(t->c);
        sim_run(s);
        EXPECT(sim_closed(t->c));
        SIM_END(s);
        caller_free(t);
    }
}

TEST(cut_at_every_byte_of_the_handshake_and_a_request)
{
    for (size_t n = 1, end = 0; !end; n += n < 12 ? 1 : 13) {
        for (int how = 0; how < 6; how++) {
            test_row("%zu %d", n, how);
            struct sim *s = sim_new(SIM_TLS);
            struct caller *t = caller_new(s, versions[how % 2]);
            size_t left = n;
            bool asked = false;
            t->piece = 1;
            take(t);
            while (left > 0 && !end) {
                if (post(t)) {
                    left--;
                    sim_run(s);
                } else if (!take(t) && SSL_is_init_finished(t->ssl)) {
                    end = asked;
                    if (!asked)
                        check(SSL_write(t->ssl, GET, sizeof GET - 1) > 0);
                    asked = true;
                }
            }
            if (how / 2 == 0)
                sim_fin(t->c);
            else if (how / 2 == 1)
                sim_reset(t->c);
            sim_run(s);
            if (how / 2 == 2)
                sim_advance(s, 100 * NSEC_PER_SEC);
            bool whole = asked && BIO_ctrl_pending(t->out) == 0;         /* it is answered by a 504 in time */
            EXPECT(sim_closed(t->c) || (whole && how / 2 == 2));
            SIM_END(s);
            caller_free(t);
            ERR_clear_error();
        }
    }
}

/* ---- sessions ---- */

/* The same names and keys, but the second listener asks for certificates: a session of the first opens nothing there. */
TEST(a_session_is_no_way_around_a_certificate)
{
    static const char pair[] = "{certificate: tests/conf/tls/server.pem, key: tests/conf/tls/server.key}";
    char yaml[1000];
    snprintf(yaml, sizeof yaml, "version: 1\nlisten: [{at: '127.0.0.1:8080', tls: {certificates: %s}}, {at: '127.0.0.1:8081', "
             "tls: {certificates: %s, clients: {ca: tests/conf/tls/ca.pem}}}]\n" TLS_ROUTES, pair, pair);
    for (size_t i = 0; i < 4; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(yaml);
        struct caller *first = caller_new(s, versions[i % 2]);
        go(first);
        struct caller *then = caller_on(sim_client_at(s, 0, i / 2, STR("192.0.2.1")), versions[i % 2]);
        SSL_SESSION *session = SSL_get1_session(first->ssl);
        check(SSL_set_session(then->ssl, session) == 1);
        SSL_SESSION_free(session);
        go(then);
        EXPECT_EQ(then->broken, i / 2 == 1);
        EXPECT_EQ(sim_metric(s, METRIC_tls_handshakes_resumed_total), i / 2 == 0);
        SIM_END(s);
        caller_free(first);
        caller_free(then);
    }
}

/* ---- staples ---- */

#define STAPLING "version: 1\nlisten: [{at: '127.0.0.1:8080', tls: {certificates: {certificate: tests/conf/tls/server.pem, " \
                 "key: tests/conf/tls/server.key, ocsp: tests/conf/tls/server.ocsp}}}]\n" TLS_ROUTES

TEST(a_staple_is_sent_to_who_asks_until_it_is_out_of_date)
{
    for (size_t i = 0; i < 6; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(STAPLING);
        const unsigned char *got = NULL;
        if (i / 2 == 2)
            s->clock.manual_wall += 300ull * 365 * 24 * 3600 * NSEC_PER_SEC;
        struct caller *t = caller_new(s, versions[i % 2]);
        if (i / 2 > 0)
            SSL_set_tlsext_status_type(t->ssl, TLSEXT_STATUSTYPE_ocsp);
        go(t);
        EXPECT(SSL_is_init_finished(t->ssl));
        EXPECT_EQ(SSL_get_tlsext_status_ocsp_resp(t->ssl, &got) > 0, i / 2 == 1);
        SIM_END(s);
        caller_free(t);
    }
}

/* ---- reloads ---- */

#define ASKING(VERIFY) TLS_ASKS(", clients: {ca: tests/conf/tls/ca.pem, verify: " VERIFY "}") TLS_ROUTES

TEST(callers_are_told_whose_certificates_are_taken)
{
    for (size_t i = 0; i < 2; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(ASKING("optional"));
        struct caller *t = caller_new(s, versions[i]);
        go(t);
        EXPECT_EQ(sk_X509_NAME_num(SSL_get0_peer_CA_list(t->ssl)), 1);
        SIM_END(s);
        caller_free(t);
    }
}

/* Callers stay over a reload; but who got in when less, or something else, was asked of him is asked anew. */
TEST(who_got_in_under_other_rules_comes_again)
{
    static const struct { const char *before, *after; bool stays; } rows[] = {
        {SIM_TLS, SIM_TLS, true},
        {SIM_TLS, TLS_ASKS(", profile: modern") TLS_ROUTES, true},
        {ASKING("optional"), ASKING("optional"), true},
        {SIM_TLS, ASKING("required"), false},
        {ASKING("optional"), ASKING("required"), false},
        {ASKING("optional"), SIM_TLS, false},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(rows[i].before);
        struct caller *idle = caller_new(s, TLS1_3_VERSION), *busy = caller_new(s, TLS1_3_VERSION);
        go(idle);
        go(busy);
        say(idle, GET);
        struct sim_conn *u = sim_next(s);
        sim_say(u, OK);
        go(idle);
        say(busy, GET);
        sim_reload(s, rows[i].after);
        go(idle);
        EXPECT_EQ(sim_closed(idle->c), !rows[i].stays);
        EXPECT_EQ(idle->ended, !rows[i].stays);
        EXPECT(!sim_closed(busy->c));
        sim_say(u, OK);
        go(busy);
        EXPECT(busy->text && strstr(busy->text, "\r\n\r\nok"));
        EXPECT_EQ(busy->text && strstr(busy->text, "Connection: close\r\n"), !rows[i].stays);
        EXPECT_EQ(sim_closed(busy->c), !rows[i].stays);
        struct caller *next = caller_new(s, TLS1_3_VERSION);
        go(next);
        EXPECT_EQ(next->broken, strstr(rows[i].after, "required") != NULL);
        caller_free(next);
        SIM_END(s);
        caller_free(idle);
        caller_free(busy);
    }
}

/* A handshake with the session of the one before; was it resumed? */
static bool comes_again(struct sim *s, int version, SSL_SESSION **session)
{
    struct caller *t = caller_new(s, version);
    check(SSL_use_certificate_file(t->ssl, "tests/conf/tls/client.pem", SSL_FILETYPE_PEM) == 1);
    check(SSL_use_PrivateKey_file(t->ssl, "tests/conf/tls/client.key", SSL_FILETYPE_PEM) == 1);
    if (*session)
        check(SSL_set_session(t->ssl, *session) == 1);
    go(t);
    EXPECT(SSL_is_init_finished(t->ssl) && !sim_closed(t->c));
    SSL_SESSION_free(*session);
    *session = SSL_get1_session(t->ssl);
    bool was = SSL_session_reused(t->ssl);
    (void)SSL_shutdown(t->ssl);
    go(t);
    caller_free(t);
    return was;
}

/* Nobody is known for ever by a certificate that he once had: what comes of a session does not live longer than that. */
TEST(a_certificate_is_looked_at_once_in_two_hours)
{
    for (size_t i = 0; i < 2; i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(TLS_ASKS(", clients: {ca: tests/conf/tls/client.pem}") TLS_ROUTES);
        SSL_SESSION *session = NULL;
        EXPECT(!comes_again(s, versions[i], &session));
        for (int k = 0; k < 2; k++) {
            sim_advance(s, 3550 * NSEC_PER_SEC);
            EXPECT(comes_again(s, versions[i], &session));
        }
        sim_advance(s, 110 * NSEC_PER_SEC);
        EXPECT(!comes_again(s, versions[i], &session));
        EXPECT(comes_again(s, versions[i], &session));
        SSL_SESSION_free(session);
        SIM_END(s);
    }
}
