/* SPDX-License-Identifier: Apache-2.0 */
#include "tls_tickets.h"

#include "lib/clock.h"
#include "test.h"

/* What sealing gives; opening says what it thinks of the name. */
struct sealed { unsigned char name[16], iv[16]; };

static int use(struct tls_tickets *t, uint64_t now, struct sealed *s, int sealing)
{
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *mac = EVP_MAC_CTX_new(hmac);
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    int res = tls_tickets_use(t, now, s->name, s->iv, cipher, mac, sealing);
    EVP_CIPHER_CTX_free(cipher);
    EVP_MAC_CTX_free(mac);
    EVP_MAC_free(hmac);
    return res;
}

TEST(one_key_for_an_hour)
{
    struct tls_tickets *t = tls_tickets_new();
    struct sealed a, b;
    EXPECT_EQ(use(t, 1000, &a, 1), 1);
    EXPECT_EQ(use(t, TLS_TICKETS_TURN, &b, 1), 1);
    EXPECT(memcmp(a.name, b.name, sizeof a.name) == 0);
    EXPECT(memcmp(a.iv, b.iv, sizeof a.iv) != 0);
    EXPECT_EQ(use(t, TLS_TICKETS_TURN, &a, 0), 1);
    tls_tickets_free(&t);
    EXPECT(t == NULL);
}

TEST(another_key_after_it_and_old_tickets_are_renewed)
{
    struct tls_tickets *t = tls_tickets_new();
    struct sealed a, b;
    EXPECT_EQ(use(t, 1, &a, 1), 1);
    EXPECT_EQ(use(t, 1 + TLS_TICKETS_TURN, &a, 0), 2);
    EXPECT_EQ(use(t, 1 + TLS_TICKETS_TURN, &b, 1), 1);
    EXPECT(memcmp(a.name, b.name, sizeof a.name) != 0);
    EXPECT_EQ(use(t, 1 + TLS_TICKETS_TURN, &a, 0), 2);
    EXPECT_EQ(use(t, 1 + TLS_TICKETS_TURN, &b, 0), 1);
    tls_tickets_free(&t);
}

TEST(a_ticket_lives_for_two_hours_whenever_it_was_sealed)
{
    struct tls_tickets *t = tls_tickets_new();
    const uint64_t life = TLS_TICKETS_LIFE * NSEC_PER_SEC;
    struct sealed a, more;
    for (uint64_t hour = 1; hour < 30; hour++) {
        uint64_t made = hour * TLS_TICKETS_TURN;
        EXPECT_EQ(use(t, made, &a, 1), 1);
        EXPECT_EQ(use(t, made + TLS_TICKETS_TURN - 1, &a, 1), 1);        /* the last moment of its key */
        for (uint64_t at = made; at < made + TLS_TICKETS_TURN - 1 + life; at += TLS_TICKETS_TURN / 7) {
            struct tls_tickets *same = t;
            EXPECT(use(same, at, &a, 0) > 0);
        }
        EXPECT_EQ(use(t, made + TLS_TICKETS_TURN + life, &a, 0), 0);
        EXPECT_EQ(use(t, made + TLS_TICKETS_TURN, &more, 1), 1);
    }
    tls_tickets_free(&t);
}

TEST(keys_of_others_are_not_known)
{
    struct tls_tickets *t = tls_tickets_new(), *other = tls_tickets_new();
    struct sealed a;
    struct sealed zero = {.name = {0}};
    EXPECT_EQ(use(t, 5, &zero, 0), 0);           /* no key yet: a name of zeros is none */
    EXPECT_EQ(use(t, 5, &a, 1), 1);
    EXPECT_EQ(use(other, 5, &a, 0), 0);
    EXPECT_EQ(use(other, 5, &zero, 0), 0);
    tls_tickets_free(&t);
    tls_tickets_free(&other);
}
