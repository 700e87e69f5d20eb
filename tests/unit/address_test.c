/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <arpa/inet.h>
#include "conf/schema.h"

TEST(addresses_by_number_and_path)
{
    static const struct { const char *text; int family; unsigned port; const char *host; } good[] = {
        {"127.0.0.1:80", AF_INET, 80, "127.0.0.1"}, {":8080", AF_INET, 8080, "0.0.0.0"}, {"[::1]:0", AF_INET6, 0, "::1"},
        {"[2001:db8::1]:65535", AF_INET6, 65535, "2001:db8::1"},
    };
    for (size_t i = 0; i < array_len(good); i++) {
        struct address a;
        struct err e = {.text = ""};
        char text[64] = "";
        test_row("%s", good[i].text);
        if (!EXPECT_EQ(address_parse(str_c(good[i].text), &a, &e), 0))
            continue;
        EXPECT_EQ(a.sa.sa_family, good[i].family);
        bool v4 = good[i].family == AF_INET;
        EXPECT_EQ(a.len, v4 ? sizeof(a.in) : sizeof(a.in6));
        EXPECT_EQ(ntohs(v4 ? a.in.sin_port : a.in6.sin6_port), good[i].port);
        EXPECT(inet_ntop(good[i].family, v4 ? (void *)&a.in.sin_addr : (void *)&a.in6.sin6_addr, text, sizeof(text)));
        EXPECT_CSTR(text, good[i].host);
    }
    struct address a;
    struct err e = {.text = ""};
    EXPECT_EQ(address_parse(STR("unix:/run/x"), &a, &e), 0);
    EXPECT_CSTR(a.un.sun_path, "/run/x");
    EXPECT_EQ(a.len, offsetof(struct sockaddr_un, sun_path) + 7);
}

TEST(what_is_no_address)
{
    static const char *const bad[] = {
        "", "80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:000080", "127.0.0.1:-1", "localhost:80",
        "[::1]", "[::1", "[]:80", "[::1]80", "::1:80", "[127.0.0.1]:80", "[::1]:80:80", "1.2.3.4.5:80", "unix:", "unix:x",
    };
    for (size_t i = 0; i < array_len(bad); i++) {
        struct address a;
        struct err e = {.text = ""};
        test_row("%s", bad[i]);
        EXPECT_EQ(address_parse(str_c(bad[i]), &a, &e), -1);
        EXPECT(e.text[0] != '\0');
    }
}

TEST(what_only_this_machine_reaches)
{
    static const struct { const char *text; bool local; } rows[] = {
        {"127.0.0.1:80", true}, {"127.255.255.254:80", true}, {"[::1]:80", true}, {"[::ffff:127.0.0.1]:80", true},
        {"unix:/run/a.sock", true}, {"0.0.0.0:80", false}, {":80", false}, {"[::]:80", false}, {"128.0.0.1:80", false},
        {"10.127.0.1:80", false}, {"[::ffff:10.0.0.1]:80", false}, {"[::127.0.0.1]:80", false}, {"[fe80::1]:80", false},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct address a;
        struct err e = {.text = ""};
        test_row("%s", rows[i].text);
        EXPECT_EQ(address_parse(str_c(rows[i].text), &a, &e), 0);
        EXPECT_EQ(address_is_local(&a), rows[i].local);
    }
}

TEST(host_names)
{
    static const char *const good[] = {"a", "api1", "a.b-c.example", "_srv.x", "1password.com", "a_b", "xn--bcher-kva.example"};
    static const char *const bad[] = {"", ".", "a.", ".a", "a..b", "-a", "a b", "a!", "10.0.0.300", "1", "a/b", "caf\xc3\xa9"};
    for (size_t i = 0; i < array_len(good); i++) {
        test_row("%s", good[i]);
        EXPECT(address_is_name(str_c(good[i])));
    }
    for (size_t i = 0; i < array_len(bad); i++) {
        test_row("%s", bad[i]);
        EXPECT(!address_is_name(str_c(bad[i])));
    }
}
