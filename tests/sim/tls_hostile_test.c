/* SPDX-License-Identifier: Apache-2.0 */
/* TLS towards clients that are slow, or send what nobody should. */
#include "test.h"

#include "caller.h"
#include "lib/rng.h"

/* ---- time ---- */

TEST(a_handshake_has_the_time_of_a_head)
{
    struct str hello = hello_of(TLS1_3_VERSION);
    for (size_t n = 0; n < hello.len; n += n ? hello.len / 3 : 1) {
        test_row("%zu", n);
        struct sim *s = sim_new(SIM_TLS);
        struct sim_conn *c = sim_client(s);
        sim_send_str(c, str_of(hello.at, n));
        for (int i = 0; i < 9; i++)
            sim_advance(s, NSEC_PER_SEC);
        EXPECT(!sim_closed(c));
        EXPECT_EQ(c->end.in_len, n);         /* what is not whole costs nothing here: it stays in the socket */
        sim_advance(s, NSEC_PER_SEC);
        EXPECT(sim_closed(c));
        EXPECT_EQ(sim_metric(s, METRIC_tls_handshakes_failed_total), n > 0);
        SIM_END(s);
    }
}

/* ... whatever it does with ours. */
TEST(slow_reading_makes_a_handshake_no_longer)
{
    struct sim *s = sim_new(SIM_TLS);
    s->client_window = 100;
    struct sim_conn *c = sim_client(s);
    c->stalled = true;
    sim_send_str(c, hello_of(TLS1_3_VERSION));
    sim_run(s);
    EXPECT(sim_metric(s, METRIC_buffered_bytes) > 300);
    for (int i = 0; i < 9; i++) {
        sim_advance(s, NSEC_PER_SEC);
        sim_drink(c, 10);
    }
    EXPECT(!sim_closed(c));
    sim_advance(s, NSEC_PER_SEC);
    EXPECT(sim_closed(c));
    SIM_END(s);
}

TEST(hands_shaken_and_then_nothing)
{
    for (size_t i = 0; i < 2; i++) {
        struct sim *s = sim_new(SIM_TLS);
        struct caller *t = caller_new(s, versions[i]);
        sim_advance(s, 4 * NSEC_PER_SEC);
        go(t);
        EXPECT(SSL_is_init_finished(t->ssl));
        sim_advance(s, 6 * NSEC_PER_SEC - 1);
        EXPECT(!sim_closed(t->c));
        sim_advance(s, 1);
        go(t);
        EXPECT(sim_closed(t->c) && t->ended);
        EXPECT_EQ(sim_metric(s, METRIC_tls_handshakes_failed_total), 0);
        SIM_END(s);
        caller_free(t);
    }
}

/* ---- what nobody should send ---- */

TEST(renegotiation_is_refused)
{
    struct sim *s = sim_new(SIM_TLS);
    struct caller *t = caller_new(s, TLS1_2_VERSION);
    go(t);
    SSL_set_options(t->ssl, SSL_OP_LEGACY_SERVER_CONNECT);
    EXPECT_EQ(SSL_renegotiate(t->ssl), 1);
    (void)SSL_do_handshake(t->ssl);
    go(t);
    EXPECT(t->broken || t->ended);
    EXPECT_EQ(sim_metric(s, METRIC_tls_handshakes_total), 1);
    SIM_END(s);
    caller_free(t);
}

static void key_updates(struct caller *t, int n, int kind)
{
    for (int i = 0; i < n; i++) {
        check(SSL_key_update(t->ssl, kind) == 1);
        (void)SSL_do_handshake(t->ssl);
    }
}

TEST(new_keys_now_and_then)
{
    struct sim *s = sim_new(SIM_TLS);
    struct caller *t = caller_new(s, TLS1_3_VERSION);
    struct sim_conn *u = NULL;
    go(t);
    for (int i = 0; i < 20; i++) {
        key_updates(t, 100, SSL_KEY_UPDATE_REQUESTED);
        say(t, GET);
        u = u ? u : sim_next(s);
        sim_say(u, OK);
        go(t);
        EXPECT_HEARD(t, OK);
    }
    EXPECT(!sim_closed(t->c));
    SIM_END(s);
    caller_free(t);
}

TEST(new_keys_without_end)
{
    struct sim *s = sim_new(SIM_TLS);
    struct caller *t = caller_new(s, TLS1_3_VERSION);
    go(t);
    for (int i = 0; i < 100 && !sim_closed(t->c); i++) {
        key_updates(t, 100, SSL_KEY_UPDATE_NOT_REQUESTED);
        go(t);
    }
    EXPECT(sim_closed(t->c));
    SIM_END(s);
    caller_free(t);
}

/* It takes none of the answers, and sends a byte of a body every now and then. */
TEST(answers_to_new_keys_do_not_pile_up)
{
    struct sim *s = sim_new(SIM_TLS);
    s->client_window = 4000;
    struct caller *t = caller_new(s, TLS1_3_VERSION);
    go(t);
    say(t, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
    sim_next(s);
    t->c->stalled = true;
    for (int i = 0; i < 200 && !sim_closed(t->c); i++) {
        key_updates(t, 100, SSL_KEY_UPDATE_REQUESTED);
        say(t, "x");
    }
    EXPECT(sim_closed(t->c));
    EXPECT(s->buffered_peak < 100000);
    SIM_END(s);
    caller_free(t);
}

static bool refused_at_once(struct str bytes, size_t piece)
{
    struct sim *s = sim_new(SIM_TLS);
    struct sim_conn *c = sim_client(s);
    s->client_read_max = 0;
    for (size_t i = 0; i < bytes.len; i += piece) {
        sim_send_str(c, str_of(bytes.at + i, bytes.len - i < piece ? bytes.len - i : piece));
        sim_run(s);
    }
    bool closed = sim_closed(c);
    EXPECT_EQ(sim_metric(s, METRIC_tls_handshakes_failed_total), closed);
    SIM_END(s);
    return closed;
}

/* Nine bytes must not cost 128 KiB, however they are cut into records. */
TEST(a_hello_that_says_it_is_huge)
{
    static const struct { const char *bytes; size_t len; bool refused; } rows[] = {
        {"\x16\x03\x01\x00\x04\x01\x02\x00\x00", 9, true},
        {"\x16\x03\x01\x40\x00\x01\x00\x40\x01", 9, true},
        {"\x16\x03\x01\x40\x00\x01\x00\x40\x00", 9, false},
        {"\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x02\x01\xff\x16\x03\x01\x00\x01\xff", 19, true},
        {"\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x02\x00\x01\x16\x03\x01\x00\x01\xff", 19, false},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        struct str bytes = str_of(rows[i].bytes, rows[i].len);
        EXPECT_EQ(refused_at_once(bytes, bytes.len), rows[i].refused);
        EXPECT_EQ(refused_at_once(bytes, 1), rows[i].refused);
    }
}

TEST(a_large_hello_that_is_none_too_large)
{
    unsigned char protocols[12000];
    for (size_t i = 0; i < sizeof protocols; i += 100) {
        memset(protocols + i, 'x', 100);
        protocols[i] = 99;
    }
    memcpy(protocols + sizeof protocols - 100, "\x08http/1.1\x5a", 10);
    for (size_t i = 0; i < 4; i++) {
        struct sim *s = sim_new(SIM_TLS);
        struct caller *t = caller_new(s, versions[i % 2]);
        t->piece = i / 2 ? 1 : 0;
        check(SSL_set_alpn_protos(t->ssl, protocols, sizeof protocols) == 0);
        go(t);
        EXPECT(SSL_is_init_finished(t->ssl));
        SIM_END(s);
        caller_free(t);
    }
}

TEST(noise)
{
    struct rng rng;
    rng_seed(&rng, 4);
    struct str hello = hello_of(TLS1_2_VERSION);
    struct sim *s = sim_new(SIM_TLS);
    for (int i = 0; i < 3000; i++) {
        char bytes[600];
        size_t n = 1 + rng_next(&rng) % sizeof bytes;
        test_row("%d", i);
        for (size_t k = 0; k < n; k++)
            bytes[k] = (char)rng_next(&rng);
        if (i % 3 > 0) {                     /* a hello with some bytes changed */
            n = hello.len < sizeof bytes ? hello.len : sizeof bytes;
            memcpy(bytes, hello.at, n);
            for (int k = 0; k < 1 + i % 5; k++)
                bytes[rng_next(&rng) % n] = (char)rng_next(&rng);
        }
        struct sim_conn *c = sim_client(s);
        sim_send_str(c, str_of(bytes, n));
        sim_run(s);
        sim_fin(c);
        sim_run(s);
        EXPECT(sim_closed(c));
    }
    SIM_END(s);
}

TEST(bytes_changed_on_the_way_break_it)
{
    struct rng rng;
    rng_seed(&rng, 5);
    for (int i = 0; i < 40; i++) {
        test_row("%d", i);
        struct sim *s = sim_new(SIM_TLS);
        struct caller *t = caller_new(s, versions[i % 2]);
        char bytes[400];
        size_t n;
        go(t);
        check(SSL_write_ex(t->ssl, GET, sizeof GET - 1, &n) == 1);
        int len = BIO_read(t->out, bytes, sizeof bytes);
        bytes[3 + rng_next(&rng) % (uint64_t)(len - 3)] ^= (char)(1 + rng_next(&rng) % 255);
        sim_send_str(t->c, str_of(bytes, (size_t)len));
        sim_run(s);
        sim_fin(t->c);
        go(t);
        EXPECT(sim_closed(t->c));
        EXPECT(sim_next(s) == NULL);
        SIM_END(s);
        caller_free(t);
    }
}

TEST(plain_http_is_told_so)
{
    static const char *const rows[] = {GET, "G", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "XYZ"};
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        struct sim *s = sim_new(SIM_TLS);
        s->client_read_max = 1;
        struct sim_conn *c = sim_client(s);
        sim_say(c, rows[i]);
        EXPECT_HAS(c, "HTTP/1.1 400 Bad Request\r\n");
        EXPECT_HAS(c, "\"reason\":\"tls_expected\"");
        EXPECT(sim_ended(c));
        EXPECT_EQ(sim_reasons(s, REASON_tls_expected), 1);
        SIM_END(s);
    }
}

TEST(tls_where_plain_http_is_spoken)
{
    struct sim *s = sim_new(SIM_PLAIN);
    struct sim_conn *c = sim_client(s);
    sim_send_str(c, hello_of(TLS1_3_VERSION));
    sim_run(s);
    EXPECT_HAS(c, "HTTP/1.1 400 Bad Request\r\n");
    EXPECT(sim_ended(c));
    SIM_END(s);
}
