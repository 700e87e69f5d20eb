/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/ip.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>
#include "test.h"

static struct str text_of(const struct ip *ip, char out[IP_TEXT])
{
    size_t len = ip_format(ip, out);
    EXPECT_EQ(out[len], '\0');
    return str_of(out, len);
}

TEST(addresses_are_read_and_written_in_their_one_form)
{
    static const struct { const char *in, *out; unsigned family; } rows[] = {
        {"0.0.0.0", "0.0.0.0", 4},
        {"127.0.0.1", "127.0.0.1", 4},
        {"255.255.255.255", "255.255.255.255", 4},
        {"10.99.100.9", "10.99.100.9", 4},
        {"::", "::", 6},
        {"::1", "::1", 6},
        {"1::", "1::", 6},
        {"2001:DB8::A", "2001:db8::a", 6},
        {"2001:0db8:0000:0000:0000:0000:0000:000a", "2001:db8::a", 6},
        {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1", 6},      /* one zero group is not shortened */
        {"2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1", 6},
        {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1", 6},         /* the first of equal runs */
        {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1", 6},               /* the longer run */
        {"1:2:3:4:5:6:0:0", "1:2:3:4:5:6::", 6},
        {"0:0:3:4:5:6:7:8", "::3:4:5:6:7:8", 6},
        {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8", 6},
        {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0", 6},
        {"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8", 6},
        {"64:ff9b::192.0.2.33", "64:ff9b::c000:221", 6},
        {"1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304", 6},
        {"::1.2.3.4", "::102:304", 6},
        {"::ffff:1.2.3.4", "1.2.3.4", 4},                         /* one caller, one address */
        {"::FFFF:102:304", "1.2.3.4", 4},
        {"0:0:0:0:0:ffff:1.2.3.4", "1.2.3.4", 4},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 6},
        {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 6},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct ip ip;
        char out[IP_TEXT];
        test_row("%s", rows[i].in);
        if (!EXPECT(ip_parse(str_c(rows[i].in), &ip)))
            continue;
        EXPECT_EQ(ip.family, rows[i].family);
        EXPECT_STR(text_of(&ip, out), rows[i].out);
    }
}

TEST(what_two_readers_could_read_differently_is_refused)
{
    static const char *const rows[] = {
        "", "1", "1.2", "1.2.3", "1.2.3.", ".1.2.3", "1..2.3", "1.2.3.4.", "1.2.3.4.5", "256.1.1.1", "1.1.1.256",
        "01.2.3.4", "1.2.3.00", "0x7f.0.0.1", "2130706433", "1.2.3.4 ", " 1.2.3.4", "1.2.3.4:80", "1.2.3.-4",
        "1.2.3.+4",
        "1.2.3.1000",
        ":", ":::", "1:", ":1", "1:2", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8",
        "1:2:3:4::5:6:7:8", "1::2::3", "12345::", "1:::2", "g::", "::1%eth0", "[::1]", "::1.2.3", "::1.2.3.256",
        "::01.2.3.4",
        "1:2:3:4:5:6:7:1.2.3.4", "1.2.3.4::", "::1.2.3.4:5", "1:2:3:4:5:6:7:", "::1:", "::1 ", "fe80::/64",
        "0000:0000:0000:0000:0000:0000:0000:0000000000000001",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct ip ip;
        test_row("%s", rows[i]);
        EXPECT(!ip_parse(str_c(rows[i]), &ip));
    }
    struct ip ip;
    test_row("NUL inside");
    EXPECT(!ip_parse(STR("1.2.3.4\0"), &ip));
    EXPECT(!ip_parse(str_of(NULL, 0), &ip));
}

TEST(agrees_with_the_system_on_random_addresses)
{
    uint64_t x = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        struct ip ip = {.family = 6}, back;
        char out[IP_TEXT], sys[INET6_ADDRSTRLEN];
        for (int b = 0; b < 16; b++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            ip.bytes[b] = x % 3 ? 0 : (uint8_t)(x >> 20);         /* many zeros: runs of them are the hard part */
        }
        if (!EXPECT(inet_ntop(AF_INET6, ip.bytes, sys, sizeof(sys))) || strchr(sys, '.'))
            continue;                                             /* mapped, or written with dots by the system alone */
        if (!EXPECT_STR(text_of(&ip, out), sys))
            break;
        EXPECT(ip_parse(str_c(sys), &back) && ip_eq(&ip, &back));
    }
}

TEST(a_network_holds_what_it_says)
{
    static const struct { const char *net, *ip; bool holds; } rows[] = {
        {"10.0.0.0/8", "10.255.0.1", true}, {"10.0.0.0/8", "11.0.0.0", false},
        {"10.1.2.3/8", "10.200.0.1", true},                       /* host bits are taken off */
        {"192.168.1.128/25", "192.168.1.128", true}, {"192.168.1.128/25", "192.168.1.127", false},
        {"192.168.1.4/31", "192.168.1.5", true}, {"192.168.1.4/31", "192.168.1.6", false},
        {"1.2.3.4", "1.2.3.4", true}, {"1.2.3.4", "1.2.3.5", false}, {"1.2.3.4/32", "1.2.3.4", true},
        {"0.0.0.0/0", "255.1.1.1", true}, {"0.0.0.0/0", "::1", false},
        {"::/0", "2001:db8::1", true}, {"::/0", "1.2.3.4", false},
        {"::1", "::1", true}, {"::1", "::2", false},
        {"2001:db8::/32", "2001:db8:ffff::1", true}, {"2001:db8::/32", "2001:db9::1", false},
        {"2001:db8::/33", "2001:db8:7fff::1", true}, {"2001:db8::/33", "2001:db8:8000::1", false},
        {"::ffff:10.0.0.0/104", "10.9.9.9", true}, {"::ffff:10.0.0.0/104", "11.0.0.0", false},
        {"::ffff:0:0/96", "9.9.9.9", true}, {"::ffff:1.2.3.4", "1.2.3.4", true},
        {"::ffff:0:0/80", "::1", true}, {"::ffff:0:0/80", "1.2.3.4", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct cidr net;
        struct ip ip;
        test_row("%s holds %s", rows[i].net, rows[i].ip);
        if (EXPECT(cidr_parse(str_c(rows[i].net), &net)) && EXPECT(ip_parse(str_c(rows[i].ip), &ip)))
            EXPECT_EQ(cidr_holds(&net, &ip), rows[i].holds);
    }

    static const char *const bad[] = {
        "", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0/8", "::/129",
        "::/",
        "::/1000", "10.0.0.0/ 8", "10.0.0.0/255.0.0.0", "host/8",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cidr net;
        test_row("%s", bad[i]);
        EXPECT(!cidr_parse(str_c(bad[i]), &net));
    }
}

TEST(host_bits_are_zero_in_what_was_read)
{
    struct cidr net;
    char out[IP_TEXT];
    EXPECT(cidr_parse(STR("10.1.2.3/12"), &net));
    EXPECT_STR(text_of(&net.ip, out), "10.0.0.0");
    EXPECT(cidr_parse(STR("2001:db8:ffff:ffff::1/36"), &net));
    EXPECT_STR(text_of(&net.ip, out), "2001:db8:f000::");
}

TEST(socket_addresses)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(8080), .sin_addr.s_addr = htonl(0x7f000001)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(443)};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    char out[IP_TEXT];

    struct ip ip = ip_of_sockaddr((const struct sockaddr *)&in);
    EXPECT_STR(text_of(&ip, out), "127.0.0.1");
    EXPECT_EQ(port_of_sockaddr((const struct sockaddr *)&in), 8080);

    inet_pton(AF_INET6, "2001:db8::1", &in6.sin6_addr);
    ip = ip_of_sockaddr((const struct sockaddr *)&in6);
    EXPECT_STR(text_of(&ip, out), "2001:db8::1");
    EXPECT_EQ(port_of_sockaddr((const struct sockaddr *)&in6), 443);

    inet_pton(AF_INET6, "::ffff:9.8.7.6", &in6.sin6_addr);
    ip = ip_of_sockaddr((const struct sockaddr *)&in6);
    EXPECT_EQ(ip.family, 4);
    EXPECT_STR(text_of(&ip, out), "9.8.7.6");

    ip = ip_of_sockaddr((const struct sockaddr *)&un);
    EXPECT_STR(text_of(&ip, out), "unix");
    EXPECT_EQ(port_of_sockaddr((const struct sockaddr *)&un), 0);
    struct cidr all = {.bits = 0};
    EXPECT(!cidr_holds(&all, &ip));
}
