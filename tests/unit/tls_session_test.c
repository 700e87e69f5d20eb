/* SPDX-License-Identifier: Apache-2.0 */
#include "tls_session.h"

#include <openssl/ssl.h>
#include "test.h"

static SSL_SESSION *session_new(void)
{
    SSL_SESSION *s = SSL_SESSION_new();
    EXPECT(s != NULL);
    return s;
}

TEST(for_one_name_and_a_time)
{
    struct tls_session s = {.epoch = 3};
    SSL_SESSION *a = session_new();
    EXPECT(tls_session_find(&s, STR("a.example"), 10) == NULL);
    tls_session_keep(&s, STR("a.example"), a, 100);
    EXPECT(tls_session_find(&s, STR("a.example"), 99) == a);
    EXPECT(tls_session_find(&s, STR("b.example"), 99) == NULL);
    EXPECT(tls_session_find(&s, STR("a.exampl"), 99) == NULL);
    EXPECT(tls_session_find(&s, STR("a.example"), 99) == a);       /* to ask for another does not lose it */
    EXPECT(tls_session_find(&s, STR("a.example"), 100) == NULL);
    EXPECT(tls_session_find(&s, STR("a.example"), 99) == NULL);    /* one that is too old is not kept */
    EXPECT_EQ(s.epoch, 3);
    tls_session_forget(&s);
}

TEST(the_newest_takes_the_place)
{
    struct tls_session s = {.epoch = 0};
    SSL_SESSION *a = session_new(), *b = session_new(), *c = session_new();
    SSL_SESSION_up_ref(a);
    tls_session_keep(&s, STR("a.example"), a, 100);
    tls_session_keep(&s, STR("a.example"), b, 200);
    EXPECT(tls_session_find(&s, STR("a.example"), 150) == b);
    tls_session_keep(&s, STR("longer.name.example"), c, 300);
    EXPECT(tls_session_find(&s, STR("a.example"), 150) == NULL);
    EXPECT(tls_session_find(&s, STR("longer.name.example"), 299) == c);
    tls_session_forget(&s);
    EXPECT(tls_session_find(&s, STR("longer.name.example"), 1) == NULL);
    tls_session_forget(&s);
    SSL_SESSION_free(a);             /* it was given back once, and is still ours */
}
